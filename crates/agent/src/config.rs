//! What an agent is told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::plane::AgentCredentials;

/// Where the agent's first credentials come from; later ones are its own.
#[derive(Clone)]
pub enum CredentialSource {
    /// Keys that were given to it.
    Given(AgentCredentials),
    /// A one-time token to exchange for keys.
    JoinToken(String),
    /// Only what an earlier run saved.
    Saved,
}

impl std::fmt::Debug for CredentialSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Given(_) => "Given",
            Self::JoinToken(_) => "JoinToken",
            Self::Saved => "Saved",
        })
    }
}

/// When an image is pulled (`ECS_IMAGE_PULL_BEHAVIOR`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullBehavior {
    /// Pull when it is not present.
    #[default]
    PreferCached,
    /// Pull; fall back on the present one.
    Default,
    /// Pull; fail when that fails.
    Always,
}

/// What an agent is told. Durations and names as in the real agent's variables, given in brackets.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// The data directory: the cache is in `agent/`, the records that must not be lost in `runtime/agent/`.
    pub data_dir: PathBuf,
    /// Where credentials come from.
    pub credentials: CredentialSource,
    /// Cluster to register in (`ECS_CLUSTER`); `default` when absent.
    pub cluster: Option<String>,
    /// Region to sign for (`AWS_DEFAULT_REGION`); what joining answered when absent.
    pub region: Option<String>,
    /// Value of the attribute `ecs.availability-zone`.
    pub availability_zone: Option<String>,
    /// Custom attributes, at the first registration (`ECS_INSTANCE_ATTRIBUTES`).
    pub attributes: BTreeMap<String, String>,
    /// Tags, at the first registration (`ECS_CONTAINER_INSTANCE_TAGS`).
    pub tags: BTreeMap<String, String>,
    /// Cores of the host.
    pub cores: u32,
    /// Memory of the host, MiB.
    pub memory_mib: u64,
    /// Memory not offered to tasks, MiB (`ECS_RESERVED_MEMORY`).
    pub reserved_memory_mib: u64,
    /// TCP ports not offered to tasks (`ECS_RESERVED_PORTS`).
    pub reserved_ports: Vec<u16>,
    /// UDP ports not offered to tasks (`ECS_RESERVED_PORTS_UDP`).
    pub reserved_udp_ports: Vec<u16>,
    /// When images are pulled (`ECS_IMAGE_PULL_BEHAVIOR`).
    pub pull_behavior: PullBehavior,
    /// Tries to pull an image before its container fails.
    pub pull_attempts: u32,
    /// From TERM to KILL when a container says nothing (`ECS_CONTAINER_STOP_TIMEOUT`).
    pub stop_timeout: Duration,
    /// How long others wait for a container that says nothing (`ECS_CONTAINER_START_TIMEOUT`).
    pub start_timeout: Duration,
    /// How long a stopped task's containers are kept (`ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION`).
    pub cleanup_wait: Duration,
    /// Most stopped tasks kept; the oldest go first.
    pub kept_tasks: usize,
    /// Version of the agent.
    pub version: String,
    /// Commit the agent was built from.
    pub hash: String,
}

impl AgentConfig {
    /// The defaults, for a host with so many cores and so much memory.
    #[must_use]
    pub fn new(data_dir: PathBuf, cores: u32, memory_mib: u64) -> Self {
        Self {
            data_dir,
            credentials: CredentialSource::Saved,
            cluster: None,
            region: None,
            availability_zone: None,
            attributes: BTreeMap::new(),
            tags: BTreeMap::new(),
            cores,
            memory_mib,
            reserved_memory_mib: 0,
            reserved_ports: vec![22, 2375, 2376, 51678, 51679],
            reserved_udp_ports: Vec::new(),
            pull_behavior: PullBehavior::PreferCached,
            pull_attempts: 4,
            stop_timeout: Duration::from_secs(30),
            start_timeout: Duration::from_secs(180),
            cleanup_wait: Duration::from_secs(3600),
            kept_tasks: 200,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            hash: "00000000".to_owned(),
        }
    }

    /// Cluster to name in calls.
    #[must_use]
    pub fn cluster_name(&self) -> &str {
        self.cluster.as_deref().unwrap_or("default")
    }
}

/// Cores and memory (MiB) of this host, as the kernel tells.
///
/// # Errors
/// When `/proc/meminfo` can not be read or has no `MemTotal`.
pub fn host_capacity(disk: &dyn longshore_seams::Disk) -> std::io::Result<(u32, u64)> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let text = disk.read(std::path::Path::new("/proc/meminfo"))?.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    let kib = kib.ok_or_else(|| std::io::Error::other("/proc/meminfo has no MemTotal line"))?;
    Ok((u32::try_from(cores).unwrap_or(u32::MAX), kib / 1024))
}
