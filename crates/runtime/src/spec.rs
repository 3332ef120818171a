//! What a container is to be, in terms that every runtime can follow.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Everything needed to make a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    /// Unique name: `ecs-<family>-<revision>-<container>-<hex>`.
    pub name: String,
    /// Id of its task: containers of one task share a shim in the embedded runtime.
    pub task_id: String,
    /// Image reference; the image is present.
    pub image: String,
    /// Labels; they are the truth about whose container this is.
    pub labels: BTreeMap<String, String>,
    /// Replaces the image's entry point.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    pub command: Option<Vec<String>>,
    /// Environment over the image's.
    pub environment: BTreeMap<String, String>,
    /// Replaces the image's working directory.
    pub working_dir: Option<String>,
    /// Replaces the image's user: `user`, `user:group`, `uid`, `uid:gid`, …
    pub user: Option<String>,
    /// Host name; the first 12 digits of the id when absent.
    pub hostname: Option<String>,
    /// Allocates a terminal.
    pub tty: bool,
    /// Keeps standard input open.
    pub open_stdin: bool,
    /// Limits.
    pub resources: Resources,
    /// All capabilities and devices.
    pub privileged: bool,
    /// The root file system is read-only.
    pub readonly_rootfs: bool,
    /// Capabilities over Docker's default set, without `CAP_`; `ALL` means all.
    pub cap_add: Vec<String>,
    /// Capabilities taken from it.
    pub cap_drop: Vec<String>,
    /// Docker's security options (`no-new-privileges`, `seccomp=unconfined`, …).
    pub security_opt: Vec<String>,
    /// Runs an init process as PID 1 that reaps and forwards signals.
    pub init: bool,
    /// Host devices.
    pub devices: Vec<Device>,
    /// Kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// Name servers instead of the host's.
    pub dns: Vec<String>,
    /// Search domains instead of the host's.
    pub dns_search: Vec<String>,
    /// Further lines of /etc/hosts: (name, address).
    pub extra_hosts: Vec<(String, String)>,
    /// Links to containers of the same task: (container id, alias).
    pub links: Vec<(String, String)>,
    /// Network.
    pub network: NetworkMode,
    /// No network at all but loopback, whatever `network` says.
    pub network_disabled: bool,
    /// Published ports.
    pub ports: Vec<PortBinding>,
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// Containers whose mounts are taken over: (container id, read-only).
    pub volumes_from: Vec<(String, bool)>,
    /// PID namespace: `None` own, `host`, or `container:<id>`.
    pub pid_mode: Option<String>,
    /// IPC namespace: `None` own, `shareable` own and open to `container:`, `host`, `none`, or `container:<id>`.
    pub ipc_mode: Option<String>,
    /// Health check.
    pub health_check: Option<HealthCheck>,
    /// cgroup of the task, below which the container's is made.
    pub cgroup_parent: Option<String>,
    /// Where output goes.
    pub log: LogTarget,
    /// Signal that asks it to stop, e.g. `SIGTERM`; the image's when absent.
    pub stop_signal: Option<String>,
}

/// Limits of a container. Absent or 0 means none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Relative CPU weight, 2 to 262144; 1024 is a core.
    pub cpu_shares: u64,
    /// CPU time a period, microseconds.
    pub cpu_quota_us: i64,
    /// The period, microseconds; 100000 when 0.
    pub cpu_period_us: u64,
    /// Hard memory limit, bytes.
    pub memory_bytes: u64,
    /// Soft memory limit, bytes.
    pub memory_reservation_bytes: u64,
    /// Memory and swap together, bytes; -1 unlimited; 0 the runtime's default.
    pub memory_swap_bytes: i64,
    /// 0 to 100.
    pub swappiness: Option<u64>,
    /// Most processes.
    pub pids_limit: Option<i64>,
    /// Size of /dev/shm, bytes; 64 MiB when 0.
    pub shm_bytes: u64,
    /// (name without `RLIMIT_`, lower case; soft; hard).
    pub ulimits: Vec<(String, i64, i64)>,
}

/// A host device in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Path on the host.
    pub host_path: PathBuf,
    /// Path in the container.
    pub container_path: PathBuf,
    /// Of `rwm`.
    pub permissions: String,
}

/// A container's network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkMode {
    /// The runtime's bridge, with an address of its own.
    #[default]
    Bridge,
    /// The host's.
    Host,
    /// Loopback only.
    None,
    /// That of another container (its id).
    Container(String),
}

/// tcp or udp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A published port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortBinding {
    /// Port in the container.
    pub container_port: u16,
    /// Port on the host; 0 lets the runtime choose one from 32768 to 60999.
    pub host_port: u16,
    /// tcp or udp.
    pub protocol: Protocol,
    /// Host address; all when absent.
    pub host_ip: Option<std::net::IpAddr>,
}

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// What is mounted.
    pub source: MountSource,
    /// Where.
    pub target: String,
    /// Not writable.
    pub read_only: bool,
}

/// What a [`Mount`] shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// A path of the host, made as a directory when it is not there.
    Host(PathBuf),
    /// A volume made with [`crate::ContainerRuntime::create_volume`]. An empty one gets the image's files.
    Volume(String),
    /// Memory: size in bytes (0 no limit), mount options.
    Tmpfs(u64, Vec<String>),
}

/// A named volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeSpec {
    /// Unique name.
    pub name: String,
    /// Driver; `local` when empty.
    pub driver: String,
    /// Driver options.
    pub driver_opts: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A health check as Docker understands it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// `["CMD", …]` or `["CMD-SHELL", line]`.
    pub test: Vec<String>,
    /// Between checks.
    pub interval: Duration,
    /// A check that takes longer has failed.
    pub timeout: Duration,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
    /// Failures in this time after the start do not count.
    pub start_period: Duration,
}

/// Where a container's output goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogTarget {
    /// Kept by the runtime for [`crate::ContainerRuntime::logs`], in a bounded ring on disk.
    #[default]
    Capture,
    /// Nowhere.
    None,
    /// A log driver of the engine's own, with its options.
    Driver(String, BTreeMap<String, String>),
}
