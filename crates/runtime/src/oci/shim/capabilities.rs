//! Which capabilities a container has.

use std::collections::BTreeSet;

/// Capabilities in the order of their kernel numbers, without `CAP_`.
const ALL: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What Docker gives a container that asks for nothing.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// A container's capabilities, with `CAP_`, as far as `available` (the mask of `CapPrm`) has them.
///
/// # Errors
/// The name of an unknown capability.
pub(super) fn resolve(
    privileged: bool,
    add: &[String],
    drop: &[String],
    available: u64,
) -> Result<BTreeSet<String>, String> {
    let (add, drop) = (normalize(add)?, normalize(drop)?);
    let everything = || ALL.iter().copied().collect::<BTreeSet<&str>>();
    let set: BTreeSet<&str> = if privileged {
        everything()
    } else {
        let base = if drop.contains("ALL") {
            BTreeSet::new()
        } else if add.contains("ALL") {
            everything()
        } else {
            DEFAULT.into_iter().collect()
        };
        let added = if add.contains("ALL") { everything() } else { add };
        base.union(&added).copied().filter(|name| !drop.contains(name)).collect()
    };
    let has = |name: &&str| ALL.iter().position(|known| known == name).is_some_and(|bit| available >> bit & 1 == 1);
    Ok(set.into_iter().filter(has).map(|name| format!("CAP_{name}")).collect())
}

fn normalize(names: &[String]) -> Result<BTreeSet<&'static str>, String> {
    let known = |name: &String| {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if bare == "ALL" {
            return Ok("ALL");
        }
        ALL.iter().find(|known| **known == bare).copied().ok_or_else(|| name.clone())
    };
    names.iter().map(known).collect()
}

/// The mask of capabilities this process may pass on; none when it cannot be read.
pub(super) fn available() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let permitted = status.lines().find_map(|line| line.strip_prefix("CapPrm:"));
    permitted.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: u64 = (1 << 41) - 1;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    fn resolved(add: &[&str], drop: &[&str]) -> BTreeSet<String> {
        resolve(false, &names(add), &names(drop), EVERY).unwrap()
    }

    #[test]
    fn without_wishes_a_container_has_dockers_fourteen() {
        let set = resolved(&[], &[]);
        assert_eq!(set.len(), 14);
        assert!(set.contains("CAP_NET_RAW") && !set.contains("CAP_SYS_ADMIN"));
    }

    #[test]
    fn adding_and_dropping_follow_docker() {
        assert!(resolved(&["SYS_PTRACE"], &[]).contains("CAP_SYS_PTRACE"));
        assert!(!resolved(&[], &["cap_net_raw"]).contains("CAP_NET_RAW"));
        assert_eq!(resolved(&["CHOWN"], &["ALL"]), BTreeSet::from(["CAP_CHOWN".to_owned()]));
        assert_eq!(resolved(&["ALL"], &[]).len(), 41);
        assert_eq!(resolved(&["ALL"], &["MKNOD"]).len(), 40);
    }

    #[test]
    fn an_unknown_capability_is_named() {
        assert_eq!(resolve(false, &names(&["FLY"]), &[], EVERY), Err("FLY".to_owned()));
    }

    #[test]
    fn nobody_gets_what_the_runtime_itself_has_not() {
        let without_resource = EVERY & !(1 << 24);
        let set = resolve(true, &[], &[], without_resource).unwrap();
        assert!(set.len() == 40 && !set.contains("CAP_SYS_RESOURCE"));
    }
}
