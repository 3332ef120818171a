//! Containers, behind one trait: [`ContainerRuntime`].
//!
//! Implementations: [`docker`] (Docker Engine API ≥ 1.41) and [`oci`] (the embedded runtime: a
//! single-threaded shim a task, no Docker needed). The agent cannot tell which one it has; one
//! conformance suite runs against both.
//!
//! Invariant: decides nothing; what runs is found from the containers' labels and the runtime root.

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod docker;
pub mod memory;
pub mod oci;
mod reference;
pub mod sim;
mod spec;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use futures_util::stream::BoxStream;
use longshore_seams::{BoxFuture, Timestamp};

pub use spec::*;

/// What a runtime is and can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeInfo {
    /// `docker` or `oci`.
    pub name: &'static str,
    /// Version of the engine, e.g. `20.10.24+dfsg1`.
    pub version: String,
    /// Docker API versions whose features it has, e.g. `1.17` … `1.41`.
    pub docker_api_versions: Vec<String>,
    /// Log drivers that a container may name.
    pub log_drivers: Vec<String>,
}

/// An image that is present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageInfo {
    /// The reference it was asked for by.
    pub reference: String,
    /// Configuration digest, `sha256:…`.
    pub id: String,
    /// Manifest digest, for images that came from a registry.
    pub digest: Option<String>,
    /// Bytes on disk.
    pub size_bytes: u64,
}

/// Credentials for a registry.
#[derive(Clone)]
pub struct RegistryAuth {
    /// User name.
    pub username: String,
    /// Password or token. Never logged.
    pub password: String,
}

impl Debug for RegistryAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryAuth").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerStatus {
    /// Made, not started.
    Created,
    /// Its first process runs.
    Running,
    /// Its first process has ended, or could not be started.
    Exited,
}

/// Result of a container's health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// No result yet.
    Starting,
    /// The last check passed.
    Healthy,
    /// `retries` checks in a row failed.
    Unhealthy,
}

/// A container as the runtime knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerState {
    /// The runtime's id: 64 hexadecimal digits.
    pub id: String,
    /// [`ContainerSpec::name`].
    pub name: String,
    /// [`ContainerSpec::labels`].
    pub labels: BTreeMap<String, String>,
    /// Where it is.
    pub status: ContainerStatus,
    /// Its first process on the host, while running.
    pub pid: Option<u32>,
    /// Exit code once exited: the process's own, or 128 + signal. Absent when it never started.
    pub exit_code: Option<i32>,
    /// Whether the kernel killed it for memory.
    pub oom_killed: bool,
    /// Why it could not be started, in the runtime's words.
    pub error: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Result of the health check; absent without one.
    pub health: Option<(Health, Timestamp)>,
    /// Published ports, host ports filled in. Absent until started.
    pub ports: Vec<PortBinding>,
    /// Address in the runtime's network.
    pub ip: Option<std::net::IpAddr>,
    /// Image configuration digest.
    pub image_id: String,
}

/// Something that happened to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerEvent {
    /// Its id.
    pub id: String,
    /// What happened.
    pub kind: ContainerEventKind,
}

/// Kinds of [`ContainerEvent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerEventKind {
    /// Its first process runs.
    Started,
    /// Its first process ended: inspect for how.
    Exited,
    /// Its health changed.
    Health(Health),
    /// Events may have been missed (the connection broke): inspect everything.
    Resync,
}

/// Which of the two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A place in a container's captured output. Opaque but for its order; survives restarts of the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogCursor(pub u64);

/// One captured line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Where reading goes on after this line.
    pub next: LogCursor,
    /// Which output.
    pub stream: OutputStream,
    /// When it was written.
    pub at: Timestamp,
    /// The line without its newline; at most 256 KiB, longer ones are split.
    pub line: Vec<u8>,
}

/// One sample of what a container uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContainerStats {
    /// CPU time used since start, nanoseconds over all cores.
    pub cpu_nanos: u64,
    /// Memory in use without page cache, bytes.
    pub memory_bytes: u64,
    /// Received since start: bytes, packets, errors, drops.
    pub rx: [u64; 4],
    /// Sent since start: bytes, packets, errors, drops.
    pub tx: [u64; 4],
    /// Bytes read from block devices.
    pub read_bytes: u64,
    /// Bytes written to block devices.
    pub write_bytes: u64,
}

/// How far a pull or import is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullProgress {
    /// Layer digest, or empty for the image as a whole.
    pub layer: String,
    /// What is being done.
    pub action: String,
    /// Bytes done.
    pub done_bytes: u64,
    /// Bytes in all; 0 when unknown.
    pub total_bytes: u64,
}

/// Why the runtime could not do something.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RuntimeError {
    /// No such container.
    #[error("no such container: {0}")]
    NoSuchContainer(String),
    /// The image is not present.
    #[error("no such image: {0}")]
    NoSuchImage(String),
    /// The image could not be pulled.
    #[error("{0}")]
    Pull(String),
    /// The archive could not be imported.
    #[error("{0}")]
    Import(String),
    /// The container could not be made: something in its specification cannot be done.
    #[error("{0}")]
    Create(String),
    /// The container could not be started.
    #[error("{0}")]
    Start(String),
    /// A published port is taken on this host.
    #[error("port {port}/{protocol} is already in use on this host")]
    PortInUse {
        /// The host port.
        port: u16,
        /// tcp or udp.
        protocol: Protocol,
    },
    /// The runtime has no such feature.
    #[error("the {runtime} runtime can not do {feature}")]
    Unsupported {
        /// Which runtime.
        runtime: &'static str,
        /// What it can't do.
        feature: String,
    },
    /// The runtime itself cannot be reached or failed.
    #[error("the container runtime failed: {0}")]
    Unavailable(String),
}

/// Result of a runtime call.
pub type RuntimeResult<T> = Result<T, RuntimeError>;

/// A way to run containers.
///
/// All calls may be repeated: making a container under a name that exists with the same labels
/// answers that container; starting a started one, stopping a stopped one and removing a removed
/// one succeed. Nothing here may be lost by killing the calling process at any moment.
pub trait ContainerRuntime: Send + Sync + Debug {
    /// What it is and can do.
    fn info(&self) -> BoxFuture<'_, RuntimeResult<RuntimeInfo>>;

    /// The image, when it is present.
    fn image<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, RuntimeResult<Option<ImageInfo>>>;

    /// Fetches an image from its registry.
    fn pull<'a>(
        &'a self,
        reference: &'a str,
        auth: Option<RegistryAuth>,
        progress: &'a (dyn Fn(PullProgress) + Send + Sync),
    ) -> BoxFuture<'a, RuntimeResult<ImageInfo>>;

    /// Imports a `docker save` archive or an OCI layout (a directory, or a tar of one); answers the images in it.
    /// `name` names an image that carries no name of its own.
    fn import<'a>(
        &'a self,
        archive: &'a Path,
        name: Option<&'a str>,
        progress: &'a (dyn Fn(PullProgress) + Send + Sync),
    ) -> BoxFuture<'a, RuntimeResult<Vec<ImageInfo>>>;

    /// All images.
    fn images(&self) -> BoxFuture<'_, RuntimeResult<Vec<ImageInfo>>>;

    /// Removes an image; a missing one is no error.
    fn remove_image<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, RuntimeResult<()>>;

    /// Makes a container; answers its id.
    fn create<'a>(&'a self, spec: &'a ContainerSpec) -> BoxFuture<'a, RuntimeResult<String>>;

    /// Starts a made container; answers its state with ports filled in.
    fn start<'a>(&'a self, id: &'a str) -> BoxFuture<'a, RuntimeResult<ContainerState>>;

    /// Sends the stop signal, then KILL after `timeout`; answers when the container has ended.
    fn stop<'a>(&'a self, id: &'a str, timeout: Duration) -> BoxFuture<'a, RuntimeResult<ContainerState>>;

    /// Sends a signal to the container's first process.
    fn kill<'a>(&'a self, id: &'a str, signal: i32) -> BoxFuture<'a, RuntimeResult<()>>;

    /// Removes a container, killing it first, with its files and network; a missing one is no error.
    fn remove<'a>(&'a self, id: &'a str) -> BoxFuture<'a, RuntimeResult<()>>;

    /// The container's state.
    fn inspect<'a>(&'a self, id: &'a str) -> BoxFuture<'a, RuntimeResult<ContainerState>>;

    /// All containers that this data directory owns and that carry all of `labels`, by name.
    fn list<'a>(&'a self, labels: &'a BTreeMap<String, String>) -> BoxFuture<'a, RuntimeResult<Vec<ContainerState>>>;

    /// Everything that happens from now on. Begins with a `Resync`; never ends by itself.
    fn events(&self) -> BoxStream<'static, ContainerEvent>;

    /// Captured output from `from` on, following until the container has ended and all is read.
    fn logs<'a>(
        &'a self,
        id: &'a str,
        from: LogCursor,
    ) -> BoxFuture<'a, RuntimeResult<BoxStream<'static, RuntimeResult<LogLine>>>>;

    /// What the container uses now.
    fn stats<'a>(&'a self, id: &'a str) -> BoxFuture<'a, RuntimeResult<ContainerStats>>;

    /// Makes a named volume; answers its directory on the host. An existing one is no error.
    fn create_volume<'a>(&'a self, volume: &'a VolumeSpec) -> BoxFuture<'a, RuntimeResult<String>>;

    /// Removes a named volume; a missing one is no error.
    fn remove_volume<'a>(&'a self, name: &'a str) -> BoxFuture<'a, RuntimeResult<()>>;

    /// Removes everything that this data directory owns: containers, shims, networks, NAT rules, mounts, cgroups.
    fn cleanup(&self) -> BoxFuture<'_, RuntimeResult<()>>;
}
