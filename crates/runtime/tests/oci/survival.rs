//! What is left when processes are killed with SIGKILL.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::StreamExt;
use longshore_runtime::oci::{ImageConfig, OciOptions, OciRuntime};
use longshore_runtime::{
    ContainerEventKind, ContainerRuntime, ContainerSpec, ContainerState, ContainerStatus, LogCursor, Mount,
    MountSource, NetworkMode, PortBinding,
};
use longshore_seams::{Clock, Seams, SystemClock};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::world::{PATIENCE, World, running, shim_exe, wait_for_end};

/// Tells the child where its root is and what to start, as JSON.
const CHILD: &str = "LONGSHORE_TEST_CHILD";

/// Not a test: what another process does until it is killed.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_starts_a_container() {
    let Ok(order) = std::env::var(CHILD) else { return };
    let (root, id, spec): (PathBuf, String, ContainerSpec) = serde_json::from_str(&order).unwrap();
    let runtime = OciRuntime::open(root, &id, OciOptions::new(shim_exe()), Seams::system()).await.unwrap();
    let container = runtime.create(&spec).await.unwrap();
    runtime.start(&container).await.unwrap();
    println!("started {container}");
    std::future::pending::<()>().await;
}

/// As [`CHILD`], for the process that never stops making, starting and removing containers.
const BUSY_CHILD: &str = "LONGSHORE_TEST_BUSY_CHILD";

/// Not a test: what another process does until it is killed.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_is_busy() {
    let Ok(order) = std::env::var(BUSY_CHILD) else { return };
    let (root, id): (PathBuf, String) = serde_json::from_str(&order).unwrap();
    let runtime = OciRuntime::open(root, &id, OciOptions::new(shim_exe()), Seams::system()).await.unwrap();
    println!("started");
    for number in 0.. {
        let some = (0..3).map(|part| {
            let spec = ContainerSpec { init: false, ..server(&format!("busy-{number}-{part}")) };
            let runtime = &runtime;
            async move {
                let id = runtime.create(&spec).await.unwrap();
                runtime.start(&id).await.unwrap();
                if part > 0 {
                    runtime.remove(&id).await.unwrap();
                }
            }
        });
        futures_util::future::join_all(some).await;
    }
}

/// Has another process start the container; answers that process and the container's id.
fn start_elsewhere(world: &World, spec: &ContainerSpec) -> (Child, String) {
    let order = (world.dir.path().join("runtime"), &world.id, spec);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "survival::child_that_starts_a_container", "--nocapture"])
        .env(CHILD, serde_json::to_string(&order).unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let started = |line: std::io::Result<String>| Some(line.unwrap().split_once("started ")?.1.to_owned());
    let id = lines.into_iter().find_map(started).expect("the other process starts the container");
    (child, id)
}

fn kill_now(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Kills the task's shim.
fn kill_shim(world: &World, spec: &ContainerSpec) {
    let lock = world.dir.path().join("runtime/shims").join(format!("{}.lock", spec.task_id));
    let pid: i32 = std::fs::read_to_string(lock).unwrap().trim().parse().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let clock = SystemClock::new();
    while !holds() {
        assert!(clock.monotonic() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

/// Whether a process is gone, or waits only for a parent that reaps it.
fn is_gone(pid: Option<u32>) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.unwrap()));
    stat.map_or(true, |stat| stat.contains(") Z"))
}

fn get(port: u16) -> std::io::Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"GET /greeting HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A web server with a published port.
fn server(name: &str) -> ContainerSpec {
    let line = "mkdir /www; echo hello > /www/greeting; echo listening; exec httpd -f -h /www";
    ContainerSpec {
        command: Some(vec!["sh".to_owned(), "-c".to_owned(), line.to_owned()]),
        network: NetworkMode::Bridge,
        // As PID 1 a web server without a handler would ignore TERM.
        init: true,
        ports: vec![PortBinding { container_port: 80, ..PortBinding::default() }],
        ..running(name, "")
    }
}

/// Ends with 5 when `gate/go` appears on the host.
fn gated(name: &str, gate: &Path) -> ContainerSpec {
    let line = "until [ -e /gate/go ]; do sleep 0.01; done; echo ending; exit 5";
    ContainerSpec {
        command: Some(vec!["sh".to_owned(), "-c".to_owned(), line.to_owned()]),
        mounts: vec![Mount {
            source: MountSource::Host(gate.to_owned()),
            target: "/gate".to_owned(),
            read_only: false,
        }],
        ..running(name, "")
    }
}

fn names_of_groups(world: &World) -> Vec<String> {
    let groups = ["memory", "devices", "pids", ""]
        .map(|controller| Path::new("/sys/fs/cgroup").join(controller).join(format!("longshore-{}", world.id)));
    let entries = groups.iter().filter_map(|group| std::fs::read_dir(group).ok()).flatten().flatten();
    entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.path().display().to_string()).collect()
}

fn links(world: &World) -> usize {
    let bridge = format!("/sys/class/net/ls-{}/brif", world.id);
    std::fs::read_dir(bridge).map(Iterator::count).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_runtime_leaves_containers_and_their_ports_alone() {
    let Some(world) = World::open().await else { return };
    let spec = server("survivor");
    let (child, id) = start_elsewhere(&world, &spec);
    let before = world.runtime.inspect(&id).await.unwrap();
    let port = before.ports[0].host_port;
    wait_until("the port answers", || get(port).is_ok());
    kill_now(child);
    assert!(get(port).unwrap().contains("hello"));
    let runtime = world.reopen().await;
    let after: ContainerState = runtime.inspect(&id).await.unwrap();
    assert_eq!(after, before);
    assert!(get(port).unwrap().contains("hello"));
    let mut events = runtime.events();
    let ended = runtime.stop(&id, Duration::from_secs(5)).await.unwrap();
    assert_eq!(ended.exit_code, Some(143));
    let told = async { while events.next().await.unwrap().kind != ContainerEventKind::Exited {} };
    tokio::time::timeout(PATIENCE, told).await.unwrap();
    assert!(get(port).is_err());
    assert_eq!(world.output(&id).await, "listening\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_ends_while_nobody_looks_keeps_its_code_and_output() {
    let Some(world) = World::open().await else { return };
    let gate = tempfile::tempdir().unwrap();
    let (child, id) = start_elsewhere(&world, &gated("unseen", gate.path()));
    let pid = world.runtime.inspect(&id).await.unwrap().pid;
    kill_now(child);
    std::fs::write(gate.path().join("go"), "").unwrap();
    wait_until("the container ends", || is_gone(pid));
    let reopened = world.reopen().await;
    let state = wait_for_end(&reopened, &id).await;
    assert_eq!((state.exit_code, state.error), (Some(5), None));
    assert_eq!(world.output(&id).await, "ending\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_containers_of_a_killed_shim_are_ended_and_reported() {
    let Some(world) = World::open().await else { return };
    let spec = server("orphan");
    let state = world.start(&spec).await;
    kill_shim(&world, &spec);
    let ended = world.ended(&state.id).await;
    assert_eq!((ended.status, ended.exit_code), (ContainerStatus::Exited, Some(137)));
    assert!(ended.error.unwrap().contains("shim"));
    assert!(is_gone(state.pid));
    assert!(get(state.ports[0].host_port).is_err());
    world.runtime.remove(&state.id).await.unwrap();
    assert_eq!(names_of_groups(&world), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_containers_of_a_shim_killed_along_with_the_runtime_are_found_ended() {
    let Some(world) = World::open().await else { return };
    let spec = ContainerSpec { network: NetworkMode::Bridge, ..running("both", "sleep 1000") };
    let (child, id) = start_elsewhere(&world, &spec);
    let pid = world.runtime.inspect(&id).await.unwrap().pid;
    kill_now(child);
    kill_shim(&world, &spec);
    let runtime = world.reopen().await;
    let ended = wait_for_end(&runtime, &id).await;
    assert_eq!(ended.exit_code, Some(137));
    wait_until("its process is gone", || is_gone(pid));
    wait_until("its groups are gone", || names_of_groups(&world).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_output_goes_on_after_a_restart() {
    let Some(world) = World::open().await else { return };
    let gate = tempfile::tempdir().unwrap();
    let (child, id) = start_elsewhere(&world, &gated("reader", gate.path()));
    std::fs::write(gate.path().join("go"), "").unwrap();
    world.ended(&id).await;
    kill_now(child);
    let first = world.lines(&id, LogCursor::default()).await;
    let runtime = world.reopen().await;
    let rest: Vec<_> = runtime.logs(&id, first[0].next).await.unwrap().collect().await;
    assert_eq!((first.len(), rest.len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn cleanup_leaves_no_process_group_or_link() {
    let Some(world) = World::open().await else { return };
    let one = world.start(&server("one")).await;
    let two = world.start(&running("two", "sleep 1000")).await;
    world.runtime.cleanup().await.unwrap();
    assert!(is_gone(one.pid) && is_gone(two.pid));
    assert_eq!((names_of_groups(&world), links(&world)), (Vec::new(), 0));
    let shims = || std::fs::read_to_string("/proc/mounts").unwrap().contains(&*world.dir.path().to_string_lossy());
    assert!(!shims(), "a mount is left");
    assert!(!Path::new(&format!("/sys/class/net/ls-{}", world.id)).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_killed_at_any_moment_leaves_nothing_that_is_not_found_again() {
    let Some(world) = World::open().await else { return };
    let seams = Seams::system();
    let root = world.dir.path().join("runtime");
    for cycle in 0..8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "survival::child_that_is_busy", "--nocapture"])
            .env(BUSY_CHILD, serde_json::to_string(&(&root, &world.id)).unwrap())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("started")));
        // Any moment: that is what is tested.
        seams.clock.sleep(Duration::from_millis(seams.random.below(250))).await;
        kill_now(child);
        let runtime = world.reopen().await;
        for state in runtime.list(&BTreeMap::new()).await.unwrap() {
            if state.status == ContainerStatus::Running {
                assert!(!is_gone(state.pid), "cycle {cycle}: {state:?}");
            }
        }
        runtime.cleanup().await.unwrap();
        assert_eq!((names_of_groups(&world), links(&world)), (Vec::new(), 0), "cycle {cycle}");
        // They end once they have answered that their last container is gone.
        wait_until("the shims end", || processes_of(&root) == 0);
        assert_eq!(std::fs::read_dir(root.join("shims")).unwrap().count(), 0, "cycle {cycle}");
    }
}

/// Processes that have `root` in their command line: shims.
fn processes_of(root: &Path) -> usize {
    let root = root.to_string_lossy();
    let of_root = |entry: std::io::Result<std::fs::DirEntry>| {
        let command = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command).into_owned();
        (command.contains("\0shim\0") && command.contains(&*root)).then_some(())
    };
    std::fs::read_dir("/proc").unwrap().filter_map(of_root).count()
}

/// What is ready for the next containers, and what is half made, belongs to the process that runs them.
#[tokio::test(flavor = "multi_thread")]
async fn who_only_comes_for_images_takes_nothing_over() {
    let Some(world) = World::open().await else { return };
    let answers = |state: &ContainerState| {
        let port = state.ports[0].host_port;
        wait_until("a container answers at its port", || get(port).is_ok_and(|answer| answer.contains("hello")));
    };
    answers(&world.start(&server("first")).await);
    let made = world.runtime.create(&server("made")).await.unwrap();
    let visitor = world.visit();
    visitor.build_image("other", Vec::new(), ImageConfig::default()).await.unwrap();
    assert_eq!(visitor.images().await.unwrap().len(), 2);
    visitor.remove_image("other").await.unwrap();
    answers(&world.runtime.start(&made).await.unwrap());
    for number in 0..5 {
        answers(&world.start(&server(&format!("later-{number}"))).await);
    }
}
