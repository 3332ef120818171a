//! Kernel-facing members: capabilities, devices, tmpfs, swap, ulimits, sysctls.

use longshore_api::ecs::{ContainerDefinition, IpcMode, LinuxParameters, NetworkMode, TaskDefinition};

use super::container::setting;
use super::{Check, list, network_mode, text};

/// Capabilities that may be added (guide chapter 5; its misprint SETCAP is SETFCAP).
const CAPABILITIES: &[&str] = &[
    "ALL",
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "SYSLOG",
    "WAKE_ALARM",
];

/// May be added, but not dropped.
const NOT_DROPPED: &str = "AUDIT_READ";

/// Options of a tmpfs mount (guide chapter 5); `mode`, `uid`, … take a value after `=`.
const TMPFS_OPTIONS: &[&str] = &[
    "defaults",
    "ro",
    "rw",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "sync",
    "async",
    "dirsync",
    "remount",
    "mand",
    "nomand",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "bind",
    "rbind",
    "unbindable",
    "runbindable",
    "private",
    "rprivate",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "mode",
    "uid",
    "gid",
    "nr_inodes",
    "nr_blocks",
    "mpol",
];

/// Sysctls of an IPC namespace (guide chapter 5; `fs.mqueue.*` besides).
const IPC_SYSCTLS: &[&str] = &[
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

pub(super) fn check(container: &ContainerDefinition, definition: &TaskDefinition) -> Check {
    if let Some(parameters) = &container.linux_parameters {
        linux_parameters(parameters, container)?;
    }
    ulimits(container)?;
    system_controls(container, definition)
}

fn linux_parameters(parameters: &LinuxParameters, container: &ContainerDefinition) -> Check {
    if let Some(capabilities) = &parameters.capabilities {
        let unknown = |capability: &&String| !CAPABILITIES.contains(&capability.as_str());
        if let Some(capability) = list(&capabilities.add).iter().find(unknown) {
            return Err(setting("capabilities", container, format!("'{capability}' can't be added")));
        }
        let refused = |capability: &&String| unknown(capability) || capability.as_str() == NOT_DROPPED;
        if let Some(capability) = list(&capabilities.drop).iter().find(refused) {
            return Err(setting("capabilities", container, format!("'{capability}' can't be dropped")));
        }
    }
    for device in list(&parameters.devices) {
        if text(&device.host_path).is_empty() {
            return Err(setting("devices", container, "a device has no hostPath"));
        }
    }
    for tmpfs in list(&parameters.tmpfs) {
        let path = text(&tmpfs.container_path);
        if !path.starts_with('/') {
            return Err(setting("tmpfs", container, format!("containerPath '{path}' is not absolute")));
        }
        if tmpfs.size.unwrap_or(0) <= 0 {
            return Err(setting("tmpfs", container, format!("the size of '{path}' must be at least 1 MiB")));
        }
        let unknown = |option: &&String| {
            let option = option.split_once('=').map_or(option.as_str(), |(option, _)| option);
            !TMPFS_OPTIONS.contains(&option)
        };
        if let Some(option) = list(&tmpfs.mount_options).iter().find(unknown) {
            return Err(setting("tmpfs", container, format!("'{option}' is no mount option of '{path}'")));
        }
    }
    for (member, value, range) in [
        ("maxSwap", parameters.max_swap, 0..=i32::MAX),
        ("swappiness", parameters.swappiness, 0..=100),
        ("sharedMemorySize", parameters.shared_memory_size, 1..=i32::MAX),
    ] {
        if let Some(value) = value.filter(|value| !range.contains(value)) {
            return Err(setting(member, container, format!("{value} is out of range")));
        }
    }
    Ok(())
}

fn ulimits(container: &ContainerDefinition) -> Check {
    let ulimits = list(&container.ulimits);
    for (at, ulimit) in ulimits.iter().enumerate() {
        let name = ulimit.name.as_ref().map_or("", |name| name.as_str());
        let (Some(soft), Some(hard)) = (ulimit.soft_limit, ulimit.hard_limit) else {
            return Err(setting("ulimits", container, format!("{name} needs a softLimit and a hardLimit")));
        };
        // -1 is no limit at all.
        if soft < -1 || hard < -1 || (hard != -1 && (soft == -1 || soft > hard)) {
            return Err(setting("ulimits", container, format!("softLimit {soft} of {name} is above hardLimit {hard}")));
        }
        if ulimits[..at].iter().any(|earlier| earlier.name == ulimit.name) {
            return Err(setting("ulimits", container, format!("{name} is given more than once")));
        }
    }
    Ok(())
}

fn system_controls(container: &ContainerDefinition, definition: &TaskDefinition) -> Check {
    for control in list(&container.system_controls) {
        let namespace = text(&control.namespace);
        let ipc = IPC_SYSCTLS.contains(&namespace) || namespace.starts_with("fs.mqueue.");
        if !ipc && !namespace.starts_with("net.") {
            let why = format!("'{namespace}' is not a parameter of a container's own network or IPC namespace");
            return Err(setting("systemControls", container, why));
        }
        if !ipc && network_mode(definition) == NetworkMode::Host {
            let why = format!("'{namespace}' is not supported when networkMode=host");
            return Err(setting("systemControls", container, why));
        }
        if ipc && definition.ipc_mode == Some(IpcMode::Host) {
            let why = format!("'{namespace}' is not supported when ipcMode=host");
            return Err(setting("systemControls", container, why));
        }
    }
    Ok(())
}
