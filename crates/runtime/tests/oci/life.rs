//! From made to removed.

use longshore_runtime::{ContainerRuntime, ContainerStatus, LogCursor, NetworkMode, OutputStream};

use crate::world::{World, running};

#[tokio::test(flavor = "multi_thread")]
async fn a_container_on_the_bridge_runs_writes_ends_and_is_removed() {
    let Some(world) = World::open().await else { return };
    let mut spec = running("first", "sh");
    spec.network = NetworkMode::Bridge;
    spec.command = Some(vec!["sh".to_owned(), "-c".to_owned(), "echo out; echo err >&2; exit 7".to_owned()]);
    let id = world.runtime.create(&spec).await.unwrap();
    assert_eq!(world.runtime.inspect(&id).await.unwrap().status, ContainerStatus::Created);
    world.runtime.start(&id).await.unwrap();
    let ended = world.ended(&id).await;
    assert_eq!(ended.exit_code, Some(7));
    let mut lines = world.lines(&id, LogCursor::default()).await;
    lines.sort_by_key(|line| line.stream);
    let lines: Vec<(OutputStream, &[u8])> = lines.iter().map(|line| (line.stream, &line.line[..])).collect();
    assert_eq!(lines, [(OutputStream::Stdout, &b"out"[..]), (OutputStream::Stderr, b"err")]);
    world.runtime.remove(&id).await.unwrap();
    assert!(world.runtime.inspect(&id).await.is_err());
}
