//! Limits.

use super::World;
use crate::{ContainerSpec, Resources};

/// A script that prints a cgroup file's content: `controller file` under version 1, `file` under version 2.
fn cgroup_file(controller: &str, version_1: &str, version_2: &str) -> String {
    format!(
        "if [ -e /sys/fs/cgroup/cgroup.controllers ]; then cat /sys/fs/cgroup/{version_2}; \
         else cat /sys/fs/cgroup/{controller}/{version_1}; fi"
    )
}

fn is_cgroup_v2() -> bool {
    std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

async fn limited(world: &World, resources: Resources, script: &str) -> String {
    world.output(&ContainerSpec { resources, ..world.shell(script) }).await
}

/// The hard limit is the cgroup's.
// spec: 05-023
pub async fn memory_is_limited(world: &World) {
    let resources = Resources { memory_bytes: 64 << 20, ..Resources::default() };
    let script = cgroup_file("memory", "memory.limit_in_bytes", "memory.max");
    assert_eq!(limited(world, resources, &script).await, (64 << 20).to_string());
}

/// A limit that no container could run under is raised.
pub async fn too_small_a_memory_limit_is_raised(world: &World) {
    let resources = Resources { memory_bytes: 4 << 20, ..Resources::default() };
    let script = cgroup_file("memory", "memory.limit_in_bytes", "memory.max");
    assert_eq!(limited(world, resources, &script).await, (6 << 20).to_string());
}

/// The soft limit leaves the hard one open.
// spec: 05-029
pub async fn memory_is_reserved(world: &World) {
    let resources = Resources { memory_reservation_bytes: 32 << 20, ..Resources::default() };
    let script = cgroup_file("memory", "memory.soft_limit_in_bytes", "memory.low");
    assert_eq!(limited(world, resources.clone(), &script).await, (32 << 20).to_string());
    let script = cgroup_file("memory", "memory.limit_in_bytes", "memory.max");
    let hard = limited(world, resources, &script).await;
    assert!(hard == "max" || hard.parse::<u64>().unwrap() > 1 << 50, "{hard}");
}

/// Swap is limited together with memory; how readily the kernel swaps is version 1's to be told.
// spec: 26-017, 31-016
pub async fn swap_is_limited(world: &World) {
    let resources = || Resources {
        memory_bytes: 64 << 20,
        memory_swap_bytes: 96 << 20,
        swappiness: Some(10),
        ..Resources::default()
    };
    let script = cgroup_file("memory", "memory.memsw.limit_in_bytes", "memory.swap.max");
    let found = limited(world, resources(), &format!("({script}) 2>/dev/null || echo none")).await;
    if found == "none" {
        // This kernel does not account for swap.
        return;
    }
    let limit = if is_cgroup_v2() { 32 << 20 } else { 96 << 20 };
    assert_eq!(found, limit.to_string());
    if !is_cgroup_v2() {
        assert_eq!(limited(world, resources(), "cat /sys/fs/cgroup/memory/memory.swappiness").await, "10");
    }
}

/// Who uses more memory than the limit is killed, and it is said why.
// spec: 05-023
pub async fn exceeding_the_memory_limit_kills(world: &World) {
    let resources = Resources { memory_bytes: 16 << 20, memory_swap_bytes: 16 << 20, ..Resources::default() };
    let finished = world.run(&ContainerSpec { resources, ..world.spec(&["tail", "/dev/zero"]) }).await;
    assert_eq!(finished.state.exit_code, Some(137));
    assert!(finished.state.oom_killed);
    let killed = world.start(&world.service()).await;
    world.runtime.kill(&killed.id, 9).await.unwrap();
    assert!(!world.ended(&killed.id).await.oom_killed);
}

/// CPU shares are the cgroup's weight.
// spec: 05-057
pub async fn cpu_shares_are_the_cgroup_s_weight(world: &World) {
    let resources = Resources { cpu_shares: 512, ..Resources::default() };
    let weight = limited(world, resources, &cgroup_file("cpu", "cpu.shares", "cpu.weight")).await;
    // Version 2 counts from 1 to 10000.
    assert_eq!(weight, if is_cgroup_v2() { "20" } else { "512" });
}

/// The quota is the cgroup's.
pub async fn cpu_time_is_limited(world: &World) {
    let resources = Resources { cpu_quota_us: 25_000, cpu_period_us: 50_000, ..Resources::default() };
    let script = if is_cgroup_v2() {
        "cat /sys/fs/cgroup/cpu.max"
    } else {
        "echo $(cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us)"
    };
    assert_eq!(limited(world, resources, script).await, "25000 50000");
}

/// No more processes than that.
pub async fn processes_are_limited(world: &World) {
    let resources = || Resources { pids_limit: Some(8), ..Resources::default() };
    assert_eq!(limited(world, resources(), &cgroup_file("pids", "pids.max", "pids.max")).await, "8");
    let script = "for n in 1 2 3 4 5 6 7 8 9; do sleep 60 & done";
    let finished = world.run(&ContainerSpec { resources: resources(), ..world.shell(script) }).await;
    assert!(finished.stderr.contains("can't fork"), "{finished:?}");
}

/// Limits of a process, soft and hard.
// spec: 05-102
pub async fn process_limits_apply(world: &World) {
    let ulimits = vec![("nofile".to_owned(), 100, 200), ("core".to_owned(), 0, 0)];
    let resources = Resources { ulimits, ..Resources::default() };
    assert_eq!(limited(world, resources, "ulimit -Sn; ulimit -Hn; ulimit -Hc").await, "100\n200\n0");
}

/// Shared memory has the size asked for, and 64 MiB else.
pub async fn shared_memory_has_its_size(world: &World) {
    let script = "df -k /dev/shm | tail -1 | awk '{print $2}'";
    assert_eq!(limited(world, Resources::default(), script).await, "65536");
    let resources = Resources { shm_bytes: 8 << 20, ..Resources::default() };
    assert_eq!(limited(world, resources, script).await, "8192");
}

/// Kernel parameters of the container's own namespaces.
pub async fn kernel_parameters_are_set(world: &World) {
    let sysctls = [("net.core.somaxconn", "777"), ("kernel.msgmax", "4096")];
    let sysctls = sysctls.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let spec = world.spec(&["cat", "/proc/sys/net/core/somaxconn", "/proc/sys/kernel/msgmax"]);
    assert_eq!(world.output(&ContainerSpec { sysctls, ..spec }).await, "777\n4096");
}

/// Usage is counted from the start.
pub async fn usage_is_counted(world: &World) {
    let script = "dd if=/dev/zero of=/dev/shm/x bs=1M count=4 2>/dev/null; i=0; \
        while [ $i -lt 20000 ]; do i=$((i+1)); done; echo ready; sleep 3600";
    let started = world.start(&world.shell(script)).await;
    world.written(&started.id, "ready").await;
    let stats = world.runtime.stats(&started.id).await.unwrap();
    assert!(stats.cpu_nanos > 1_000_000, "{stats:?}");
    assert!((100 << 10..1 << 30).contains(&stats.memory_bytes), "{stats:?}");
    let later = world.runtime.stats(&started.id).await.unwrap();
    assert!(later.cpu_nanos >= stats.cpu_nanos);
}
