//! From create to remove.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_seams::Timestamp;

use super::World;
use super::image::TestImage;
use crate::{ContainerSpec, ContainerStatus, LogCursor, Resources, RuntimeError};

/// Time for a container that does as it is told.
const PATIENCE: Duration = Duration::from_secs(15);
const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;

/// Made, running, ended: with a pid only while it runs, and times in order.
pub async fn a_container_runs_to_its_end(world: &World) {
    let spec = world.spec(&["sh", "-c", "read go"]);
    let spec = ContainerSpec { open_stdin: true, ..spec };
    let id = world.runtime.create(&spec).await.unwrap();
    assert_eq!(id.len(), 64);
    let created = world.runtime.inspect(&id).await.unwrap();
    assert_eq!((created.status, created.pid, created.exit_code), (ContainerStatus::Created, None, None));
    assert_eq!((created.started_at, created.finished_at), (None, None));
    let started = world.runtime.start(&id).await.unwrap();
    assert_eq!((started.status, started.exit_code), (ContainerStatus::Running, None));
    assert!(started.pid.is_some() && started.finished_at.is_none());
    world.runtime.kill(&id, SIGKILL).await.unwrap();
    let ended = world.ended(&id).await;
    assert_eq!((ended.status, ended.pid, ended.error), (ContainerStatus::Exited, None, None));
    let times = [Some(ended.created_at), ended.started_at, ended.finished_at, Some(world.seams.clock.now())];
    assert!(times.iter().all(|time| time.is_some_and(|time| time > Timestamp::from_secs(1_700_000_000))), "{times:?}");
    assert!(times.is_sorted(), "{times:?}");
}

/// What it was made from can be read back.
pub async fn a_container_keeps_its_name_and_labels(world: &World) {
    let labels: BTreeMap<String, String> =
        [("com.amazonaws.ecs.cluster", "default"), ("empty", ""), ("odd", "a=b,c \"d\" é")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
    let spec = ContainerSpec { labels: labels.clone(), ..world.spec(&["true"]) };
    let id = world.runtime.create(&spec).await.unwrap();
    let state = world.runtime.inspect(&id).await.unwrap();
    assert_eq!((state.name, state.labels), (spec.name.clone(), labels));
    let image = world.runtime.image(&spec.image).await.unwrap().unwrap();
    assert_eq!(state.image_id, image.id);
}

/// The exit code is the process's own.
pub async fn the_exit_code_is_the_process_s_own(world: &World) {
    assert_eq!(world.run(&world.shell("exit 42")).await.state.exit_code, Some(42));
}

/// A killed process counts as 128 + signal.
pub async fn a_killed_process_exits_with_137(world: &World) {
    let started = world.start(&world.service()).await;
    world.runtime.kill(&started.id, SIGKILL).await.unwrap();
    assert_eq!(world.ended(&started.id).await.exit_code, Some(137));
}

/// So does one that TERM ends.
pub async fn a_terminated_process_exits_with_143(world: &World) {
    // Without an init the kernel shields the first process from signals that it does not handle.
    let started = world.start(&ContainerSpec { init: true, ..world.spec(&["sleep", "3600"]) }).await;
    world.runtime.kill(&started.id, SIGTERM).await.unwrap();
    assert_eq!(world.ended(&started.id).await.exit_code, Some(143));
}

/// Stop asks first, and waits for the answer.
// spec: 15-091
pub async fn stop_lets_the_process_end_by_itself(world: &World) {
    let spec = world.shell("trap 'echo stopping; exit 7' TERM; echo ready; while :; do sleep 3600 & wait $!; done");
    let started = world.start(&spec).await;
    world.written(&started.id, "ready").await;
    let stopped = world.runtime.stop(&started.id, PATIENCE).await.unwrap();
    assert_eq!((stopped.status, stopped.exit_code), (ContainerStatus::Exited, Some(7)));
    world.written(&started.id, "stopping").await;
}

/// Then it kills.
// spec: 15-091
pub async fn stop_kills_after_the_timeout(world: &World) {
    let started = world.start(&world.shell("trap '' TERM; echo ready; sleep 3600")).await;
    world.written(&started.id, "ready").await;
    let before = world.seams.clock.monotonic();
    let stopped = world.runtime.stop(&started.id, Duration::from_secs(1)).await.unwrap();
    assert_eq!((stopped.status, stopped.exit_code), (ContainerStatus::Exited, Some(137)));
    assert!(world.seams.clock.monotonic() - before >= Duration::from_secs(1));
}

/// A container can name another signal than TERM.
pub async fn stop_sends_the_container_s_own_signal(world: &World) {
    let script = "trap 'exit 9' USR1; trap 'exit 1' TERM; echo ready; while :; do sleep 3600 & wait $!; done";
    let spec = ContainerSpec { stop_signal: Some("SIGUSR1".to_owned()), ..world.shell(script) };
    let started = world.start(&spec).await;
    world.written(&started.id, "ready").await;
    assert_eq!(world.runtime.stop(&started.id, PATIENCE).await.unwrap().exit_code, Some(9));
}

/// So can its image.
pub async fn stop_sends_the_image_s_signal(world: &World) {
    let reference = format!("localhost/{}:1", world.unique("image"));
    let image = TestImage { stop_signal: Some("SIGUSR2".to_owned()), ..TestImage::named(&reference) };
    world.import(&image).await;
    let script = "trap 'exit 9' USR2; trap 'exit 1' TERM; echo ready; while :; do sleep 3600 & wait $!; done";
    let started = world.start(&ContainerSpec { image: reference.clone(), ..world.shell(script) }).await;
    world.written(&started.id, "ready").await;
    assert_eq!(world.runtime.stop(&started.id, PATIENCE).await.unwrap().exit_code, Some(9));
    world.runtime.remove(&started.id).await.unwrap();
    world.runtime.remove_image(&reference).await.unwrap();
}

/// The same name and labels again are the same container.
pub async fn create_again_answers_the_same_container(world: &World) {
    let spec = ContainerSpec { labels: [("a".to_owned(), "1".to_owned())].into(), ..world.service() };
    let id = world.runtime.create(&spec).await.unwrap();
    assert_eq!(world.runtime.create(&spec).await.unwrap(), id);
    let started = world.runtime.start(&id).await.unwrap();
    assert_eq!(world.runtime.create(&spec).await.unwrap(), id);
    assert_eq!(world.runtime.inspect(&id).await.unwrap().pid, started.pid);
    let other = ContainerSpec { labels: [("a".to_owned(), "2".to_owned())].into(), ..spec };
    assert!(matches!(world.runtime.create(&other).await, Err(RuntimeError::Create(_))));
}

/// Whatever is done twice succeeds twice.
pub async fn repeated_calls_succeed(world: &World) {
    let started = world.start(&world.service()).await;
    let id = started.id;
    assert_eq!(world.runtime.start(&id).await.unwrap().pid, started.pid);
    let stopped = world.runtime.stop(&id, PATIENCE).await.unwrap();
    assert_eq!(world.runtime.stop(&id, PATIENCE).await.unwrap(), stopped);
    world.runtime.kill(&id, SIGKILL).await.unwrap();
    world.runtime.remove(&id).await.unwrap();
    world.runtime.remove(&id).await.unwrap();
}

/// Remove kills, and nothing is left to be asked about.
pub async fn remove_kills_a_running_container(world: &World) {
    let started = world.start(&world.shell("trap '' TERM; sleep 3600")).await;
    world.runtime.remove(&started.id).await.unwrap();
    let gone = world.runtime.inspect(&started.id).await;
    assert!(matches!(gone, Err(RuntimeError::NoSuchContainer(id)) if id == started.id));
    assert!(world.runtime.list(&BTreeMap::new()).await.unwrap().is_empty());
}

/// The name of a removed container can be used again.
pub async fn a_removed_name_is_free(world: &World) {
    let spec = world.spec(&["true"]);
    let first = world.runtime.create(&spec).await.unwrap();
    world.runtime.remove(&first).await.unwrap();
    assert_ne!(world.runtime.create(&spec).await.unwrap(), first);
}

/// Every call about an unknown container says so.
pub async fn an_unknown_container_is_named_in_the_error(world: &World) {
    let id = "0123456789abcdef".repeat(4);
    let runtime = &world.runtime;
    let errors = [
        runtime.inspect(&id).await.err(),
        runtime.start(&id).await.err(),
        runtime.stop(&id, PATIENCE).await.err(),
        runtime.kill(&id, SIGTERM).await.err(),
        runtime.stats(&id).await.err(),
        runtime.logs(&id, LogCursor::default()).await.err(),
    ];
    for error in errors {
        assert!(matches!(&error, Some(RuntimeError::NoSuchContainer(named)) if *named == id), "{error:?}");
    }
}

/// A container needs its image.
pub async fn a_missing_image_is_named_in_the_error(world: &World) {
    let spec = ContainerSpec { image: "localhost/never-imported:1".to_owned(), ..world.spec(&["true"]) };
    let error = world.runtime.create(&spec).await.unwrap_err();
    assert!(matches!(&error, RuntimeError::NoSuchImage(image) if *image == spec.image), "{error:?}");
}

/// A container whose program is not there fails to start, and says why from then on.
pub async fn a_missing_executable_fails_the_start(world: &World) {
    let id = world.runtime.create(&world.spec(&["/no/such/program"])).await.unwrap();
    let error = world.runtime.start(&id).await.unwrap_err();
    assert!(matches!(&error, RuntimeError::Start(text) if text.contains("/no/such/program")), "{error:?}");
    let state = world.runtime.inspect(&id).await.unwrap();
    assert_eq!((state.status, state.pid, state.exit_code), (ContainerStatus::Exited, None, None));
    assert!(state.error.unwrap().contains("/no/such/program"));
    world.runtime.remove(&id).await.unwrap();
}

/// So does one whose program can't be executed.
pub async fn a_file_that_is_no_program_fails_the_start(world: &World) {
    let id = world.runtime.create(&world.spec(&["/etc/passwd"])).await.unwrap();
    assert!(matches!(world.runtime.start(&id).await, Err(RuntimeError::Start(_))));
}

/// Containers are found by their labels, in order of their names.
pub async fn list_finds_by_labels(world: &World) {
    let mut specs: Vec<ContainerSpec> = Vec::new();
    for (task, family) in [("2", "a"), ("1", "a"), ("1", "b")] {
        let labels = [("task".to_owned(), task.to_owned()), ("family".to_owned(), family.to_owned())];
        let name = format!("{}-{task}{family}", world.prefix);
        specs.push(ContainerSpec { name, labels: labels.into(), ..world.spec(&["true"]) });
    }
    for spec in &specs {
        world.runtime.create(spec).await.unwrap();
    }
    let found = async |labels: &[(&str, &str)]| -> Vec<String> {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let states = world.runtime.list(&labels).await.unwrap();
        states.into_iter().map(|state| state.name[world.prefix.len() + 1..].to_owned()).collect()
    };
    assert_eq!(found(&[]).await, ["1a", "1b", "2a"]);
    assert_eq!(found(&[("task", "1")]).await, ["1a", "1b"]);
    assert_eq!(found(&[("task", "1"), ("family", "b")]).await, ["1b"]);
    assert!(found(&[("task", "3")]).await.is_empty());
}

/// A restarted process finds, reads and controls what it started before.
pub async fn a_reopened_root_has_its_containers(world: &World) {
    let labels = [("task".to_owned(), "adopted".to_owned())];
    let spec = ContainerSpec { labels: labels.clone().into(), ..world.shell("echo before; read go; exit 3") };
    let spec = ContainerSpec { open_stdin: true, ..spec };
    let started = world.start(&spec).await;
    world.written(&started.id, "before").await;
    let reopened = world.reopen().await;
    let found = reopened.list(&labels.into()).await.unwrap();
    assert_eq!(found, [world.runtime.inspect(&started.id).await.unwrap()]);
    assert_eq!(found[0].pid, started.pid);
    assert_eq!(reopened.create(&spec).await.unwrap(), started.id);
    reopened.kill(&started.id, SIGKILL).await.unwrap();
    assert_eq!(world.ended(&started.id).await.exit_code, Some(137));
    let ended = reopened.inspect(&started.id).await.unwrap();
    assert_eq!(ended, world.runtime.inspect(&started.id).await.unwrap());
    reopened.remove(&started.id).await.unwrap();
    assert!(world.runtime.inspect(&started.id).await.is_err());
}

/// Limits of one container leave another's alone, and many run side by side.
pub async fn containers_run_side_by_side(world: &World) {
    let spec = |code: usize| ContainerSpec {
        resources: Resources { memory_bytes: 32 << 20, ..Resources::default() },
        ..world.shell(&format!("exit {code}"))
    };
    let specs: Vec<ContainerSpec> = (0..4).map(spec).collect();
    let runs = futures_util::future::join_all(specs.iter().map(|spec| world.run(spec))).await;
    let codes: Vec<_> = runs.iter().map(|run| run.state.exit_code.unwrap()).collect();
    assert_eq!(codes, [0, 1, 2, 3]);
}

/// Cleanup removes what runs, what has ended, what was only made, and volumes; and can be repeated.
pub async fn cleanup_leaves_nothing(world: &World) {
    let started = world.start(&world.shell("trap '' TERM; sleep 3600")).await;
    world.run(&world.spec(&["true"])).await;
    world.runtime.create(&world.spec(&["true"])).await.unwrap();
    let volume = crate::VolumeSpec { name: world.unique("volume"), ..crate::VolumeSpec::default() };
    let directory = world.runtime.create_volume(&volume).await.unwrap();
    world.runtime.cleanup().await.unwrap();
    assert!(world.runtime.list(&BTreeMap::new()).await.unwrap().is_empty());
    assert!(!std::path::Path::new(&directory).exists());
    assert!(!std::path::Path::new(&format!("/proc/{}", started.pid.unwrap())).exists());
    world.runtime.cleanup().await.unwrap();
}

/// What it is, and what it can do.
pub async fn a_runtime_says_what_it_is(world: &World) {
    let info = world.runtime.info().await.unwrap();
    assert!(["docker", "oci"].contains(&info.name));
    assert!(!info.version.is_empty());
    assert!(info.docker_api_versions.contains(&"1.17".to_owned()), "{info:?}");
    assert!(info.log_drivers.contains(&"json-file".to_owned()), "{info:?}");
}
