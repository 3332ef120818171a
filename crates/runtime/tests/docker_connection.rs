//! The Docker runtime over connections that break, engines that are too old, and sockets that don't answer.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use longshore_runtime::conformance::{Subject, World, check};
use longshore_runtime::docker::{DockerRuntime, detect};
use longshore_runtime::{ContainerEventKind, ContainerRuntime, LogCursor, RuntimeError, RuntimeResult};
use longshore_seams::{BoxFuture, Seams};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

/// Hands connections on to Docker until told to break them.
struct Proxy {
    socket: PathBuf,
    breaks: watch::Sender<u32>,
    _directory: tempfile::TempDir,
}

impl Proxy {
    fn start(engine: PathBuf) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let breaks = watch::Sender::new(0);
        let broken = breaks.clone();
        Seams::system().spawner.spawn(
            "proxy",
            Box::pin(async move {
                while let Ok((client, _)) = listener.accept().await {
                    let (engine, broken) = (engine.clone(), broken.subscribe());
                    Seams::system().spawner.spawn("proxied", Box::pin(forward(client, engine, broken)));
                }
            }),
        );
        Self { socket, breaks, _directory: directory }
    }

    fn break_connections(&self) {
        self.breaks.send_modify(|breaks| *breaks += 1);
    }
}

async fn forward(mut client: UnixStream, engine: PathBuf, mut broken: watch::Receiver<u32>) {
    let mut engine = UnixStream::connect(engine).await.unwrap();
    tokio::select! {
        _ = broken.changed() => {}
        _ = tokio::io::copy_bidirectional(&mut client, &mut engine) => {}
    }
}

struct Direct {
    root_id: String,
}

impl Subject for Direct {
    fn open(&self) -> BoxFuture<'_, RuntimeResult<Arc<dyn ContainerRuntime>>> {
        Box::pin(async {
            let runtime = DockerRuntime::connect(&engine().await, &self.root_id, Seams::system()).await?;
            Ok(Arc::new(runtime) as Arc<dyn ContainerRuntime>)
        })
    }
}

async fn engine() -> PathBuf {
    detect(&Seams::system()).await.expect("these tests need a running Docker Engine")
}

/// Runs a test with a world on Docker, and the same root through a proxy.
fn through_proxy(test: for<'a> fn(&'a World, Proxy, DockerRuntime) -> BoxFuture<'a, ()>) {
    let root_id = Seams::system().random.hex32();
    check(Direct { root_id: root_id.clone() }, move |world| {
        Box::pin(async move {
            let proxy = Proxy::start(engine().await);
            let runtime = DockerRuntime::connect(&proxy.socket, &root_id, Seams::system()).await.unwrap();
            test(world, proxy, runtime).await;
        })
    });
}

#[test]
fn events_resync_after_the_connection_broke_and_go_on() {
    through_proxy(|world, proxy, runtime| {
        Box::pin(async move {
            let mut events = runtime.events();
            assert_eq!(events.next().await.unwrap().kind, ContainerEventKind::Resync);
            let first = world.start(&world.service()).await;
            assert_eq!(events.next().await.unwrap().id, first.id);
            proxy.break_connections();
            let resync = tokio::time::timeout(Duration::from_secs(10), events.next()).await.unwrap().unwrap();
            assert_eq!(resync.kind, ContainerEventKind::Resync);
            world.runtime.kill(&first.id, 9).await.unwrap();
            let ended = tokio::time::timeout(Duration::from_secs(10), events.next()).await.unwrap().unwrap();
            assert_eq!((ended.id, ended.kind), (first.id, ContainerEventKind::Exited));
        })
    });
}

#[test]
fn output_is_complete_over_broken_connections() {
    through_proxy(|world, proxy, runtime| {
        Box::pin(async move {
            let script = "i=0; while [ $i -lt 400 ]; do echo $i; i=$((i+1)); [ $((i % 40)) = 0 ] && sleep 0.1; done";
            let started = world.start(&world.shell(script)).await;
            let mut lines = runtime.logs(&started.id, LogCursor::default()).await.unwrap();
            let mut read = Vec::new();
            while let Some(line) = lines.next().await {
                read.push(String::from_utf8(line.unwrap().line).unwrap());
                if read.len() % 90 == 0 {
                    proxy.break_connections();
                }
            }
            assert_eq!(read, (0..400).map(|number| number.to_string()).collect::<Vec<_>>());
        })
    });
}

#[test]
fn output_of_a_removed_container_ends() {
    through_proxy(|world, proxy, runtime| {
        Box::pin(async move {
            let started = world.start(&world.shell("echo first; sleep 3600")).await;
            let mut lines = runtime.logs(&started.id, LogCursor::default()).await.unwrap();
            assert_eq!(lines.next().await.unwrap().unwrap().line, b"first");
            world.runtime.remove(&started.id).await.unwrap();
            assert!(lines.next().await.is_none());
            drop(proxy);
        })
    });
}

/// A server that answers every request with the same body.
fn engine_that_says(socket: &Path, body: &'static str) {
    let listener = UnixListener::bind(socket).unwrap();
    Seams::system().spawner.spawn(
        "engine",
        Box::pin(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                // A request whose first byte is here will be answered whatever it is.
                client.read_u8().await.unwrap();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                client.write_all((head + body).as_bytes()).await.unwrap();
            }
        }),
    );
}

#[tokio::test]
async fn an_engine_that_is_too_old_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("docker.sock");
    engine_that_says(&socket, r#"{"ApiVersion":"1.40","MinAPIVersion":"1.12","Version":"19.03.15"}"#);
    let error = DockerRuntime::connect(&socket, "root", Seams::system()).await.unwrap_err();
    let RuntimeError::Unavailable(text) = error else { panic!("{error:?}") };
    assert!(text.contains("1.40") && text.contains("1.41") && text.contains(&*socket.to_string_lossy()), "{text}");
}

#[tokio::test]
async fn a_missing_engine_is_named() {
    let error = DockerRuntime::connect(Path::new("/no/such.sock"), "root", Seams::system()).await.unwrap_err();
    assert!(error.to_string().contains("/no/such.sock"), "{error}");
}
