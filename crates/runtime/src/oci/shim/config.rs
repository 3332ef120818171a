//! From a container's record to the configuration that libcontainer runs.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use serde_json::{Value, json};

use super::capabilities;
use super::seccomp;
use super::user::User;
use crate::oci::cgroups::Hierarchies;
use crate::oci::record::ContainerRecord;
use crate::{Device, MountSource, NetworkMode, Resources};

/// Where the init process is in a container that asks for one.
pub(super) const INIT_PATH: &str = "/sbin/longshore-init";

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Less than this is raised, because no container could start under it.
const MIN_MEMORY_BYTES: u64 = 6 << 20;
const DEFAULT_SHM_BYTES: u64 = 64 << 20;

/// What is known only on the machine, once the root file system is there.
pub(super) struct Circumstances<'a> {
    pub(super) user: User,
    pub(super) hostname: String,
    pub(super) cgroup: String,
    /// Mounts over the image's files, in order.
    pub(super) mounts: Vec<BindMount>,
    /// Namespaces that are joined: type → path.
    pub(super) joined: BTreeMap<&'static str, String>,
    pub(super) hierarchies: &'a Hierarchies,
    /// The executable that is the init process.
    pub(super) exe: &'a Path,
    /// Memory file systems: target, bytes (0 no limit), options.
    pub(super) tmpfs: Vec<(String, u64, Vec<String>)>,
}

/// A path of the host in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BindMount {
    pub(super) source: String,
    pub(super) target: String,
    pub(super) read_only: bool,
}

/// The command of a container: the specification's over the image's, as Docker combines them.
pub(crate) fn command(record: &ContainerRecord) -> Vec<String> {
    let (spec, image) = (&record.spec, &record.image);
    let not_empty = |list: &Vec<String>| !list.is_empty() && list != &[String::new()];
    let entrypoint = spec.entrypoint.as_ref().or(image.entrypoint.as_ref()).filter(|list| not_empty(list));
    // An entry point of one's own makes the image's command meaningless.
    let image_command = if spec.entrypoint.is_some() { None } else { image.cmd.as_ref() };
    let command = spec.command.as_ref().filter(|list| !list.is_empty()).or(image_command);
    entrypoint.into_iter().chain(command).flatten().cloned().collect()
}

/// Environment: the image's, then the container's over it.
fn environment(record: &ContainerRecord, hostname: &str, home: &str) -> Vec<String> {
    let mut variables: Vec<String> = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if record.spec.tty {
        variables.push("TERM=xterm".to_owned());
    }
    let own = record.spec.environment.iter().map(|(name, value)| format!("{name}={value}"));
    for variable in record.image.env.iter().flatten().cloned().chain(own) {
        let name = |text: &str| text.split('=').next().unwrap_or_default().to_owned();
        match variables.iter_mut().find(|known| name(known) == name(&variable)) {
            Some(known) => *known = variable,
            None => variables.push(variable),
        }
    }
    if !variables.iter().any(|variable| variable.starts_with("HOME=")) {
        variables.push(format!("HOME={home}"));
    }
    variables
}

/// The working directory.
pub(super) fn working_dir(record: &ContainerRecord) -> String {
    let dir = record.spec.working_dir.as_ref().or(record.image.working_dir.as_ref());
    dir.filter(|dir| !dir.is_empty()).cloned().unwrap_or_else(|| "/".to_owned())
}

/// The capabilities of a container.
///
/// # Errors
/// A sentence that names an unknown one.
fn capability_set(record: &ContainerRecord) -> Result<BTreeSet<String>, String> {
    let spec = &record.spec;
    capabilities::resolve(spec.privileged, &spec.cap_add, &spec.cap_drop, capabilities::available())
        .map_err(|name| format!("unknown capability {name:?} in linuxParameters.capabilities"))
}

/// The configuration.
///
/// # Errors
/// A sentence about what in the specification cannot be done.
pub(super) fn build(record: &ContainerRecord, on: &Circumstances<'_>) -> Result<Value, String> {
    let spec = &record.spec;
    let mut args = command(record);
    let cwd = working_dir(record);
    if spec.init {
        args.splice(0..0, [INIT_PATH, "init", "--"].map(str::to_owned));
    }
    let capabilities = capability_set(record)?;
    let user = &on.user;
    let mut process = json!({
        "terminal": spec.tty,
        "user": { "uid": user.uid, "gid": user.gid, "additionalGids": user.additional_gids },
        "args": args,
        "env": environment(record, &on.hostname, &user.home),
        "cwd": cwd,
        "capabilities": { "bounding": &capabilities, "effective": &capabilities, "permitted": &capabilities },
        "rlimits": rlimits(&spec.resources)?,
    });
    let security = SecurityOptions::parse(&spec.security_opt)?;
    // Left out when false: libcontainer takes the member's presence for truth.
    if security.no_new_privileges {
        process["noNewPrivileges"] = json!(true);
    }
    let mut linux = json!({
        "namespaces": namespaces(record, &on.joined),
        "cgroupsPath": on.cgroup,
        "resources": resources(record, on.hierarchies)?,
        "devices": devices(record)?,
        "rootfsPropagation": "private",
        "sysctl": sysctls(record),
    });
    if !spec.privileged {
        linux["maskedPaths"] = json!(MASKED_PATHS);
        let mut read_only = READ_ONLY_PATHS.to_vec();
        if !on.hierarchies.is_v2() {
            read_only.push("/sys/fs/cgroup");
        }
        linux["readonlyPaths"] = json!(read_only);
        if !security.unconfined {
            linux["seccomp"] = seccomp::profile(&capabilities);
        }
    }
    Ok(json!({
        "ociVersion": "1.0.2",
        "root": { "path": "rootfs", "readonly": spec.readonly_rootfs },
        "hostname": on.hostname,
        "process": process,
        "mounts": mounts(record, on)?,
        "linux": linux,
    }))
}

const MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Docker's security options.
#[derive(Debug, Default, PartialEq, Eq)]
struct SecurityOptions {
    no_new_privileges: bool,
    unconfined: bool,
}

impl SecurityOptions {
    fn parse(options: &[String]) -> Result<Self, String> {
        let mut parsed = Self::default();
        for option in options {
            match option.replacen(':', "=", 1).as_str() {
                "no-new-privileges" | "no-new-privileges=true" => parsed.no_new_privileges = true,
                "no-new-privileges=false" | "apparmor=unconfined" | "label=disable" => {}
                "seccomp=unconfined" => parsed.unconfined = true,
                _ => return Err(format!("security option {option:?} is not supported by the embedded runtime")),
            }
        }
        Ok(parsed)
    }
}

/// Checks, when a container is made, what would otherwise fail when it is started.
///
/// # Errors
/// A sentence about what in the specification cannot be done.
pub(crate) fn check(record: &ContainerRecord) -> Result<(), String> {
    if command(record).is_empty() {
        return Err(format!("no command specified: neither the container nor image {} has one", record.spec.image));
    }
    let cwd = working_dir(record);
    if !cwd.starts_with('/') {
        return Err(format!("the working directory {cwd:?} is invalid, it needs to be an absolute path"));
    }
    if let Some(mount) = record.spec.mounts.iter().find(|mount| !mount.target.starts_with('/')) {
        return Err(format!("invalid mount path {:?}: mount path must be absolute", mount.target));
    }
    for mount in &record.spec.mounts {
        if let MountSource::Volume(name) = &mount.source
            && !is_volume_name(name)
        {
            return Err(format!(
                "{name:?} is no volume name: letters, digits, '_', '.' and '-', beginning with a letter or digit"
            ));
        }
    }
    capability_set(record)?;
    rlimits(&record.spec.resources)?;
    SecurityOptions::parse(&record.spec.security_opt).map(drop)
}

/// Whether `name` may name a volume: it becomes a directory.
pub(crate) fn is_volume_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    name.len() <= 255 && name.bytes().all(fits) && name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
}

fn namespaces(record: &ContainerRecord, joined: &BTreeMap<&'static str, String>) -> Vec<Value> {
    let spec = &record.spec;
    let mut own = vec!["mount", "uts", "cgroup"];
    if spec.pid_mode.is_none() {
        own.push("pid");
    }
    if spec.ipc_mode.as_deref().is_none_or(|mode| mode == "none") {
        own.push("ipc");
    }
    let mut namespaces: Vec<Value> = own.iter().map(|kind| json!({ "type": kind })).collect();
    namespaces.extend(joined.iter().map(|(kind, path)| json!({ "type": kind, "path": path })));
    namespaces
}

fn rlimits(resources: &Resources) -> Result<Vec<Value>, String> {
    const NAMES: [&str; 15] = [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let limit = |(name, soft, hard): &(String, i64, i64)| {
        if !NAMES.contains(&name.as_str()) {
            return Err(format!("unknown ulimit {name:?}"));
        }
        // -1 is unlimited.
        let value = |number: i64| u64::try_from(number).unwrap_or(u64::MAX);
        let kind = format!("RLIMIT_{}", name.to_ascii_uppercase());
        Ok(json!({ "type": kind, "soft": value(*soft), "hard": value(*hard) }))
    };
    resources.ulimits.iter().map(limit).collect()
}

fn sysctls(record: &ContainerRecord) -> BTreeMap<String, String> {
    let own_network = !matches!(record.spec.network, NetworkMode::Host | NetworkMode::Container(_));
    let mut sysctls = BTreeMap::new();
    if (own_network || record.spec.network_disabled) && !record.spec.privileged {
        sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        sysctls.insert("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned());
    }
    sysctls.extend(record.spec.sysctls.clone());
    sysctls
}

fn resources(record: &ContainerRecord, hierarchies: &Hierarchies) -> Result<Value, String> {
    let wanted = &record.spec.resources;
    let mut resources = json!({ "devices": device_rules(record)? });
    let mut cpu = json!({});
    if wanted.cpu_shares > 0 {
        cpu["shares"] = json!(wanted.cpu_shares.clamp(2, 262_144));
    }
    if wanted.cpu_quota_us > 0 {
        cpu["quota"] = json!(wanted.cpu_quota_us);
        cpu["period"] = json!(if wanted.cpu_period_us == 0 { 100_000 } else { wanted.cpu_period_us });
    }
    if cpu != json!({}) {
        resources["cpu"] = cpu;
    }
    let mut memory = json!({});
    if wanted.memory_bytes > 0 {
        let limit = wanted.memory_bytes.max(MIN_MEMORY_BYTES);
        memory["limit"] = json!(limit);
        if hierarchies.has_swap_limit() {
            let twice = i64::try_from(limit.saturating_mul(2)).unwrap_or(i64::MAX);
            let wanted = wanted.memory_swap_bytes;
            let together = if wanted < 0 { wanted } else { wanted.max(i64::try_from(limit).unwrap_or(i64::MAX)) };
            memory["swap"] = json!(if wanted == 0 { twice } else { together });
        }
    }
    if wanted.memory_reservation_bytes > 0 {
        memory["reservation"] = json!(wanted.memory_reservation_bytes);
    }
    if let Some(swappiness) = wanted.swappiness.filter(|_| !hierarchies.is_v2()) {
        memory["swappiness"] = json!(swappiness);
    }
    if memory != json!({}) {
        resources["memory"] = memory;
    }
    if let Some(limit) = wanted.pids_limit.filter(|limit| *limit != 0) {
        resources["pids"] = json!({ "limit": limit });
    }
    Ok(resources)
}

/// Everything is denied but making nodes and using the harmless ones; libcontainer adds those.
fn device_rules(record: &ContainerRecord) -> Result<Vec<Value>, String> {
    if record.spec.privileged {
        return Ok(vec![json!({ "allow": true, "access": "rwm" })]);
    }
    let mut rules = vec![json!({ "allow": false, "access": "rwm" })];
    for device in &record.spec.devices {
        let access = if device.permissions.is_empty() { "rwm" } else { &device.permissions };
        for node in nodes(device)? {
            let (kind, major, minor) = (node.kind, node.major, node.minor);
            rules.push(json!({ "allow": true, "type": kind, "major": major, "minor": minor, "access": access }));
        }
    }
    Ok(rules)
}

fn devices(record: &ContainerRecord) -> Result<Vec<Value>, String> {
    let mut found = Vec::new();
    if record.spec.privileged {
        let all = Device { host_path: "/dev".into(), container_path: "/dev".into(), permissions: String::new() };
        found.extend(nodes(&all)?);
    }
    for device in &record.spec.devices {
        found.extend(nodes(device)?);
    }
    // libcontainer makes these itself.
    const OWN: [&str; 7] =
        ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/console"];
    found.retain(|node| !OWN.contains(&node.path.as_str()));
    Ok(found.iter().map(Node::json).collect())
}

struct Node {
    path: String,
    kind: &'static str,
    major: u32,
    minor: u32,
    mode: u32,
    uid: u32,
    gid: u32,
}

impl Node {
    fn json(&self) -> Value {
        json!({
            "path": self.path, "type": self.kind, "major": self.major, "minor": self.minor,
            "fileMode": self.mode, "uid": self.uid, "gid": self.gid,
        })
    }
}

/// The device, or the devices in the directory, that `device` names.
fn nodes(device: &Device) -> Result<Vec<Node>, String> {
    let host = &device.host_path;
    let target =
        if device.container_path.as_os_str().is_empty() { host.clone() } else { device.container_path.clone() };
    let metadata = std::fs::metadata(host)
        .map_err(|error| format!("error gathering device information for {}: {error}", host.display()))?;
    if metadata.is_dir() {
        let mut found = Vec::new();
        let entries = std::fs::read_dir(host).map_err(|error| format!("{}: {error}", host.display()))?;
        for entry in entries.flatten() {
            // These are mounts of the container's own.
            let skipped = ["pts", "shm", "fd", "mqueue", "console", ".lxc", ".udev"];
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            if is_link || skipped.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            let (host_path, container_path) = (entry.path(), target.join(entry.file_name()));
            // A device that goes away meanwhile is not there.
            found.extend(nodes(&Device { host_path, container_path, permissions: String::new() }).unwrap_or_default());
        }
        return Ok(found);
    }
    let kind = metadata.file_type();
    let kind = match (kind.is_char_device(), kind.is_block_device()) {
        (true, _) => "c",
        (_, true) => "b",
        // Other files in a directory of devices (a socket) are none.
        _ => return Ok(Vec::new()),
    };
    Ok(vec![Node {
        path: target.display().to_string(),
        kind,
        major: rustix::fs::major(metadata.rdev()),
        minor: rustix::fs::minor(metadata.rdev()),
        mode: metadata.mode() & 0o777,
        uid: metadata.uid(),
        gid: metadata.gid(),
    }])
}

fn mounts(record: &ContainerRecord, on: &Circumstances<'_>) -> Result<Vec<Value>, String> {
    let spec = &record.spec;
    let mount = |target: &str, kind: &str, source: &str, options: &[&str]| json!({ "destination": target, "type": kind, "source": source, "options": options });
    let sys = if spec.privileged { "rw" } else { "ro" };
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", sys]),
    ];
    if on.hierarchies.is_v2() {
        mounts.push(mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", sys]));
    } else {
        // libcontainer's own mounts of version 1 would be writable.
        mounts.push(mount("/sys/fs/cgroup", "tmpfs", "tmpfs", &["nosuid", "noexec", "nodev", "mode=755"]));
        for (name, directory) in on.hierarchies.v1_directories(&on.cgroup) {
            let (target, source) = (format!("/sys/fs/cgroup/{name}"), directory.display().to_string());
            mounts.push(mount(&target, "bind", &source, &["bind", "nosuid", "noexec", "nodev", sys]));
        }
    }
    if spec.ipc_mode.as_deref() == Some("host") {
        mounts.push(mount("/dev/mqueue", "bind", "/dev/mqueue", &["rbind", "nosuid", "noexec", "nodev"]));
    } else {
        mounts.push(mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]));
    }
    let mut own = Vec::new();
    for (target, bytes, options) in &on.tmpfs {
        let mut all: Vec<String> = ["nosuid", "nodev", "noexec"].map(str::to_owned).to_vec();
        for option in options {
            let opposite = option.strip_prefix("no").map_or_else(|| format!("no{option}"), str::to_owned);
            all.retain(|known| *known != opposite && known != option);
            all.push(option.clone());
        }
        if *bytes > 0 {
            all.push(format!("size={bytes}"));
        }
        own.push(json!({ "destination": target, "type": "tmpfs", "source": "tmpfs", "options": all }));
    }
    for bind in &on.mounts {
        let access = if bind.read_only { "ro" } else { "rw" };
        own.push(mount(&bind.target, "bind", &bind.source, &["rbind", "rprivate", access]));
    }
    if spec.init {
        own.push(mount(INIT_PATH, "bind", &on.exe.display().to_string(), &["bind", "ro"]));
    }
    // Parents first, or they would hide what is below them; a mount of the container's own replaces the usual one.
    let target = |mount: &Value| mount["destination"].as_str().unwrap_or_default().trim_end_matches('/').to_owned();
    own.sort_by_key(|mount| target(mount).matches('/').count());
    mounts.retain(|usual| !own.iter().any(|own| target(own) == target(usual)));
    mounts.extend(own);
    Ok(mounts)
}

/// Size of a container's /dev/shm, bytes.
pub(super) fn shm_bytes(resources: &Resources) -> u64 {
    if resources.shm_bytes == 0 { DEFAULT_SHM_BYTES } else { resources.shm_bytes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::image::ImageConfig;
    use crate::{ContainerSpec, Mount};
    use longshore_seams::Timestamp;

    fn record(spec: ContainerSpec, image: ImageConfig) -> ContainerRecord {
        let created_at = Timestamp::default();
        ContainerRecord { id: "a".repeat(64), spec, image_id: String::new(), image, layers: Vec::new(), created_at }
    }

    fn list(words: &str) -> Option<Vec<String>> {
        Some(words.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect())
    }

    fn build_for(spec: ContainerSpec) -> Value {
        let user = User { uid: 0, gid: 0, additional_gids: Vec::new(), home: "/root".to_owned() };
        let hierarchies = Hierarchies::default();
        let on = Circumstances {
            user,
            hostname: "host".to_owned(),
            cgroup: "/a".to_owned(),
            mounts: Vec::new(),
            joined: BTreeMap::new(),
            hierarchies: &hierarchies,
            exe: Path::new("/bin/longshore"),
            tmpfs: Vec::new(),
        };
        build(&record(spec, ImageConfig { cmd: list("true"), ..ImageConfig::default() }), &on).unwrap()
    }

    #[test]
    fn commands_combine_as_dockers() {
        let image = ImageConfig { entrypoint: list("/entry"), cmd: list("a b"), ..ImageConfig::default() };
        let table = [
            (None, None, "/entry a b"),
            (None, list("c"), "/entry c"),
            (list("/own"), None, "/own"),
            (list("/own"), list("c"), "/own c"),
            (Some(Vec::new()), list("c"), "c"),
        ];
        for (entrypoint, command_, expected) in table {
            let spec = ContainerSpec { entrypoint, command: command_, ..ContainerSpec::default() };
            assert_eq!(Some(command(&record(spec, image.clone()))), list(expected));
        }
    }

    #[test]
    fn the_containers_environment_is_over_the_images() {
        let image = ImageConfig { env: list("A=image B=image PATH=/bin"), ..ImageConfig::default() };
        let environment_ = BTreeMap::from([("B".to_owned(), "own".to_owned())]);
        let spec = ContainerSpec { environment: environment_, ..ContainerSpec::default() };
        let variables = environment(&record(spec, image), "host", "/root");
        assert_eq!(Some(variables), list("PATH=/bin HOSTNAME=host A=image B=own HOME=/root"));
    }

    #[test]
    fn no_new_privileges_is_left_out_unless_asked_for() {
        assert!(build_for(ContainerSpec::default())["process"].get("noNewPrivileges").is_none());
        let spec = ContainerSpec { security_opt: vec!["no-new-privileges".to_owned()], ..ContainerSpec::default() };
        assert_eq!(build_for(spec)["process"]["noNewPrivileges"], true);
    }

    #[test]
    fn privileged_containers_are_not_confined() {
        let plain = build_for(ContainerSpec::default());
        assert!(plain["linux"]["seccomp"].is_object() && plain["linux"]["maskedPaths"].is_array());
        let privileged = build_for(ContainerSpec { privileged: true, ..ContainerSpec::default() });
        assert!(privileged["linux"].get("seccomp").is_none() && privileged["linux"].get("maskedPaths").is_none());
    }

    #[test]
    fn libcontainer_reads_the_configuration() {
        let _: oci_spec::runtime::Spec = serde_json::from_value(build_for(ContainerSpec::default())).unwrap();
    }

    #[test]
    fn what_can_not_be_done_is_said_when_a_container_is_made() {
        let with_command = ContainerSpec { command: list("true"), ..ContainerSpec::default() };
        let mount =
            Mount { source: MountSource::Tmpfs(0, Vec::new()), target: "relative".to_owned(), read_only: false };
        let table = [
            (ContainerSpec::default(), "no command"),
            (ContainerSpec { mounts: vec![mount], ..with_command.clone() }, "must be absolute"),
            (ContainerSpec { cap_add: vec!["FLY".to_owned()], ..with_command.clone() }, "FLY"),
            (ContainerSpec { security_opt: vec!["label:type:x".to_owned()], ..with_command.clone() }, "label:type:x"),
            (ContainerSpec { working_dir: Some("x".to_owned()), ..with_command }, "absolute path"),
        ];
        for (spec, expected) in table {
            let error = check(&record(spec, ImageConfig::default())).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
