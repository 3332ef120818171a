//! What the embedded runtime does in its own way; what every runtime does is in the conformance suite.

use std::time::Duration;

use longshore_runtime::{ContainerRuntime, ContainerSpec, HealthCheck, RuntimeError};

use crate::world::{World, running, spec};

#[tokio::test(flavor = "multi_thread")]
async fn a_command_in_a_container_is_confined_as_its_first_process() {
    let Some(world) = World::open().await else { return };
    let confined = ContainerSpec { user: Some("web".to_owned()), ..running("confined", "sleep 1000") };
    let state = world.start(&confined).await;
    let shell = |line: &str| vec!["sh".to_owned(), "-c".to_owned(), line.to_owned()];
    let exec = async |line: &str| world.runtime.exec(&state.id, shell(line), Duration::from_secs(10)).await.unwrap();
    assert_eq!(exec("id -u; id -g; id -G; exit 3").await, (3, "33\n34\n34 50\n".to_owned()));
    let status = "grep -E '^(Seccomp|CapEff|CapBnd|NoNewPrivs):' /proc/self/status";
    let own = exec(status).await.1;
    let first = exec(&status.replace("self", "1")).await.1;
    assert_eq!(own, first);
    assert!(own.contains("Seccomp:\t2"), "{own}");
    assert_eq!(exec("cat /proc/1/comm").await.1, "sleep\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_takes_too_long_is_killed() {
    let Some(world) = World::open().await else { return };
    let state = world.start(&running("slow", "sleep 1000")).await;
    let command = vec!["sleep".to_owned(), "1000".to_owned()];
    let (code, _) = world.runtime.exec(&state.id, command, Duration::from_millis(50)).await.unwrap();
    assert_eq!(code, 137);
}

#[tokio::test(flavor = "multi_thread")]
async fn init_reaps_orphans_and_passes_the_exit_code_on() {
    let Some(world) = World::open().await else { return };
    let with_init = || ContainerSpec { init: true, ..spec("init") };
    let (code, output) = world.shell_in(with_init(), "cat /proc/1/cmdline | head -c 20; exit 9").await;
    assert_eq!(code, 9);
    assert!(output.contains("longshore-init"), "{output}");
    // The subshell's child becomes an orphan that ends; without an init it would stay as a zombie.
    let line = "(sleep 0.01 &) ; sleep 0.2; ps | grep -c '[Zz]ombie\\|\\[sleep\\]' || true";
    let (_, zombies) = world.shell_in(with_init(), line).await;
    assert_eq!(zombies, "0\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_have_their_usual_meaning_in_a_container() {
    let Some(world) = World::open().await else { return };
    let state = world.run(&running("signals", "grep -E ^Sig(Blk|Ign): /proc/self/status")).await;
    let output = world.output(&state.id).await;
    let masks = output.lines().map(|line| u64::from_str_radix(line.split_once('\t').unwrap().1, 16).unwrap());
    // The two that belong to the C library stay as they are.
    let masks: Vec<u64> = masks.map(|mask| mask & !(3 << 31)).collect();
    assert_eq!(masks, [0, 0], "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_descriptor_of_the_shim_is_open_in_a_container() {
    let Some(world) = World::open().await else { return };
    let (_, output) = world.shell_in(spec("descriptors"), "ls /proc/self/fd").await;
    // 3 is the directory that ls reads.
    assert_eq!(output, "0\n1\n2\n3\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn cgroups_can_be_seen_but_not_changed() {
    let Some(world) = World::open().await else { return };
    let line =
        "for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $d/new 2>/dev/null && echo made in $d; done; echo done";
    let (_, output) = world.shell_in(spec("cgroups"), line).await;
    assert_eq!(output, "done\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_goes_on_being_checked_while_the_runtime_is_away() {
    let Some(world) = World::open().await else { return };
    let check = HealthCheck {
        test: vec!["CMD-SHELL".to_owned(), "test -e /tmp/well".to_owned()],
        interval: Duration::from_millis(20),
        timeout: Duration::from_secs(5),
        retries: 1,
        start_period: Duration::ZERO,
    };
    let state = world.start(&ContainerSpec { health_check: Some(check), ..running("health", "sleep 1000") }).await;
    let touch = vec!["touch".to_owned(), "/tmp/well".to_owned()];
    world.runtime.exec(&state.id, touch, Duration::from_secs(5)).await.unwrap();
    let path = world.dir.path().join("runtime/containers").join(&state.id).join("health.json");
    let healthy = || std::fs::read_to_string(&path).is_ok_and(|text| text.contains("\"healthy\""));
    let waited = async {
        while !healthy() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::world::PATIENCE, waited).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_name_can_not_lead_out_of_the_root() {
    let Some(world) = World::open().await else { return };
    for name in ["../evil", "a/b", "", ".hidden"] {
        let volume = longshore_runtime::VolumeSpec { name: name.to_owned(), ..Default::default() };
        let error = world.runtime.create_volume(&volume).await.unwrap_err();
        assert!(matches!(error, RuntimeError::Create(_)), "{name:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_takes_less_than_a_megabyte_of_its_own() {
    let Some(world) = World::open().await else { return };
    let spec = running("small", "sleep 1000");
    world.start(&spec).await;
    let lock = world.dir.path().join("runtime/shims").join(format!("{}.lock", spec.task_id));
    let pid = std::fs::read_to_string(lock).unwrap();
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", pid.trim())).unwrap();
    let field = |name: &str| {
        let line = rollup.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let private_kib = field("Private_Dirty:") + field("Private_Clean:");
    println!("shim: {private_kib} KiB private, {} KiB dirty\n{rollup}", field("Private_Dirty:"));
    // Files that nobody else has mapped now count as private too, and a debug build's are large.
    if !cfg!(debug_assertions) {
        assert!(field("Private_Dirty:") <= 1024);
    }
}
