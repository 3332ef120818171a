//! The sandbox: Docker's defaults, and the ways out of it.

use super::World;
use crate::{ContainerSpec, Device, Mount, MountSource};

/// Docker's default capabilities, as `/proc/PID/status` prints them.
const DEFAULT_CAPABILITIES: u64 = 0x0000_0000_a804_25fb;
const NET_RAW: u64 = 1 << 13;
const NET_ADMIN: u64 = 1 << 12;
const SYS_ADMIN: u64 = 1 << 21;

async fn status(world: &World, spec: ContainerSpec, field: &str) -> String {
    let command = format!("grep ^{field}: /proc/self/status | cut -f 2");
    let spec = ContainerSpec { command: world.shell(&command).command, ..spec };
    world.output(&spec).await
}

async fn capabilities(world: &World, spec: ContainerSpec) -> u64 {
    u64::from_str_radix(&status(world, spec, "CapEff").await, 16).unwrap()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// Whether this machine's root has every capability itself: Docker can't start a privileged container
/// where it has not (in a container, say), and its default set is still Docker's.
fn host_has_all_capabilities() -> bool {
    let last: u32 = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap().trim().parse().unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    let all = u64::MAX >> (63 - last);
    let has_all = u64::from_str_radix(effective.trim(), 16).unwrap() == all;
    if !has_all {
        eprintln!("not checked: this machine's root lacks capabilities");
    }
    has_all
}

/// Docker's set, no more and no less.
pub async fn capabilities_are_docker_s_default_set(world: &World) {
    for field in ["CapEff", "CapPrm", "CapBnd"] {
        let set = u64::from_str_radix(&status(world, world.spec(&[]), field).await, 16).unwrap();
        assert_eq!(set, DEFAULT_CAPABILITIES, "{field} is {set:016x}");
    }
}

/// Capabilities are added and dropped by name.
pub async fn capabilities_can_be_added_and_dropped(world: &World) {
    let spec =
        ContainerSpec { cap_add: words(&["NET_ADMIN", "SYS_ADMIN"]), cap_drop: words(&["NET_RAW"]), ..world.spec(&[]) };
    let expected = (DEFAULT_CAPABILITIES | NET_ADMIN | SYS_ADMIN) & !NET_RAW;
    let set = capabilities(world, spec).await;
    assert_eq!(set, expected, "{set:016x}");
}

/// `ALL` is all: added, less what is dropped; dropped, but for what is added.
pub async fn all_capabilities_can_be_added_or_dropped(world: &World) {
    let dropped = ContainerSpec { cap_add: words(&["NET_RAW"]), cap_drop: words(&["ALL"]), ..world.spec(&[]) };
    assert_eq!(capabilities(world, dropped).await, NET_RAW);
    if !host_has_all_capabilities() {
        return;
    }
    let added = ContainerSpec { cap_add: words(&["ALL"]), cap_drop: words(&["NET_RAW"]), ..world.spec(&[]) };
    let set = capabilities(world, added).await;
    assert!(set & DEFAULT_CAPABILITIES == DEFAULT_CAPABILITIES & !NET_RAW && set & SYS_ADMIN != 0, "{set:016x}");
}

/// Another user than root has none in effect.
pub async fn another_user_has_no_capabilities(world: &World) {
    let spec = ContainerSpec { user: Some("app".to_owned()), ..world.spec(&[]) };
    assert_eq!(capabilities(world, spec).await, 0);
}

/// System calls are filtered.
pub async fn system_calls_are_filtered(world: &World) {
    assert_eq!(status(world, world.spec(&[]), "Seccomp").await, "2");
    let finished = world.run(&world.spec(&["unshare", "-U", "true"])).await;
    assert_ne!(finished.state.exit_code, Some(0));
    assert!(finished.stderr.contains("Operation not permitted"), "{}", finished.stderr);
}

/// The filter lets through what a granted capability is for.
pub async fn the_filter_follows_the_capabilities(world: &World) {
    let script = "unshare -m true && echo allowed";
    let spec = ContainerSpec { cap_add: words(&["SYS_ADMIN"]), ..world.shell(script) };
    assert_eq!(world.output(&spec).await, "allowed");
}

/// The filter can be left out.
pub async fn the_filter_can_be_left_out(world: &World) {
    let spec = ContainerSpec { security_opt: words(&["seccomp=unconfined"]), ..world.spec(&[]) };
    assert_eq!(status(world, spec, "Seccomp").await, "0");
}

/// Nothing can be mounted.
pub async fn mounting_is_refused(world: &World) {
    let finished = world.run(&world.spec(&["mount", "-t", "tmpfs", "none", "/tmp"])).await;
    assert_ne!(finished.state.exit_code, Some(0));
    assert_eq!(world.output(&world.shell("grep -c ' /tmp ' /proc/mounts || true")).await, "0");
}

/// `no-new-privileges` is passed on, and not set without.
pub async fn new_privileges_can_be_ruled_out(world: &World) {
    assert_eq!(status(world, world.spec(&[]), "NoNewPrivs").await, "0");
    let spec = ContainerSpec { security_opt: words(&["no-new-privileges"]), ..world.spec(&[]) };
    assert_eq!(status(world, spec, "NoNewPrivs").await, "1");
}

/// The kernel's secrets can't be read, and its settings not written.
pub async fn kernel_files_are_masked_or_read_only(world: &World) {
    let script = "for f in /proc/kcore /proc/keys /proc/timer_list /proc/latency_stats /proc/sched_debug; do \
            [ -e $f ] && [ $(head -c 1 $f | wc -c) != 0 ] && echo $f can be read; done; \
        for d in /proc/acpi /proc/scsi /sys/firmware; do \
            [ -e $d ] && [ $(ls $d | wc -l) != 0 ] && echo $d has entries; done; \
        for p in bus fs irq sys sysrq-trigger; do \
            [ -e /proc/$p ] && ! grep -q \"^[^ ]* /proc/$p [^ ]* ro,\" /proc/mounts && echo /proc/$p is writable; done; \
        echo 1 > /proc/sys/kernel/panic && echo a kernel setting was written; \
        mkdir /sys/fs/cgroup/memory/x 2>/dev/null && echo a cgroup was made; \
        echo checked";
    assert_eq!(world.output(&world.shell(script)).await, "checked");
}

/// A privileged container has all capabilities and devices, no filter, and writable settings.
// spec: 05-098
pub async fn a_privileged_container_is_not_sandboxed(world: &World) {
    if !host_has_all_capabilities() {
        return;
    }
    let privileged = || ContainerSpec { privileged: true, ..world.spec(&[]) };
    let set = capabilities(world, privileged()).await;
    assert!(set & SYS_ADMIN != 0 && set & DEFAULT_CAPABILITIES == DEFAULT_CAPABILITIES, "{set:016x}");
    assert_eq!(status(world, privileged(), "Seccomp").await, "0");
    let script = "grep -q '^sysfs /sys sysfs rw' /proc/mounts && [ -e /dev/kmsg ] && \
        [ $(grep -c ' /proc/sys ' /proc/mounts) = 0 ] && echo free";
    let spec = ContainerSpec { command: world.shell(script).command, ..privileged() };
    assert_eq!(world.output(&spec).await, "free");
}

/// The usual devices and no others; others can't be made to work either.
pub async fn only_harmless_devices_are_there(world: &World) {
    let script = "for d in null zero full random urandom tty; do [ -c /dev/$d ] || echo $d missing; done; \
        for d in mem kmsg sda vda nvme0n1 loop0; do [ -e /dev/$d ] && echo $d there; done; \
        [ -L /dev/stdin ] && [ -L /dev/fd ] && [ -c /dev/ptmx -o -L /dev/ptmx ] || echo links missing; \
        mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg 2>&1 | grep -q 'not permitted' && echo checked";
    assert_eq!(world.output(&world.shell(script)).await, "checked");
}

/// A host's device appears under the name asked for, with the permissions asked for.
pub async fn a_device_can_be_given(world: &World) {
    let device =
        Device { host_path: "/dev/kmsg".into(), container_path: "/dev/messages".into(), permissions: "r".to_owned() };
    let script = "[ -c /dev/messages ] && dd if=/dev/messages bs=8192 count=1 of=/dev/null 2>/dev/null && echo read; \
        echo x 2>/dev/null > /dev/messages || echo not written";
    let spec = ContainerSpec { devices: vec![device], cap_add: words(&["SYSLOG"]), ..world.shell(script) };
    assert_eq!(world.output(&spec).await, "read\nnot written");
}

/// A device that the host does not have is an error that names it.
pub async fn a_missing_device_is_an_error(world: &World) {
    let device =
        Device { host_path: "/dev/none-such".into(), container_path: "/dev/x".into(), permissions: "rwm".into() };
    let spec = ContainerSpec { devices: vec![device], ..world.spec(&["true"]) };
    let error = match world.runtime.create(&spec).await {
        Ok(id) => world.runtime.start(&id).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(error.to_string().contains("/dev/none-such"), "{error}");
}

/// The root file system can be made read-only; what is mounted in it stays writable.
// spec: 05-087
pub async fn the_root_file_system_can_be_read_only(world: &World) {
    let script = "touch /etc/x 2>&1 | grep -o 'Read-only file system'; touch /run/x /dev/shm/x && echo tmpfs written";
    let mount = Mount { source: MountSource::Tmpfs(0, Vec::new()), target: "/run".to_owned(), read_only: false };
    let spec = ContainerSpec { readonly_rootfs: true, mounts: vec![mount], ..world.shell(script) };
    assert_eq!(world.output(&spec).await, "Read-only file system\ntmpfs written");
    assert_eq!(world.output(&world.shell("touch /etc/x && echo written")).await, "written");
}
