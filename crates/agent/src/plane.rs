//! [`ControlPlane`]: the agent's whole network, as a seam.

use std::collections::BTreeMap;
use std::fmt::Debug;

use longshore_protocol::query::{AcsQuery, TcsQuery};
use longshore_seams::{BoxFuture, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// Why a call did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The service refused it: HTTP 4xx with an exception.
    #[error("{operation}: {code}: {message}")]
    Refused {
        /// Operation.
        operation: &'static str,
        /// Exception, e.g. `InvalidParameterException`.
        code: String,
        /// Its words.
        message: String,
    },
    /// The service asks to come back later, or failed itself: throttling, HTTP 5xx.
    #[error("{operation}: {code}: {message}")]
    Busy {
        /// Operation.
        operation: &'static str,
        /// Exception.
        code: String,
        /// Its words.
        message: String,
    },
    /// No answer.
    #[error("{operation}: {message}")]
    Unreachable {
        /// Operation.
        operation: &'static str,
        /// What happened.
        message: String,
    },
}

impl CallError {
    /// The exception's name; empty when there was no answer.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Refused { code, .. } | Self::Busy { code, .. } => code,
            Self::Unreachable { .. } => "",
        }
    }

    /// Whether the service refused the call for what it says.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

/// Result of a call.
pub type CallResult<T> = Result<T, CallError>;

/// Keys with which an agent signs. Never logged.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentCredentials {
    /// Access key.
    pub access_key_id: String,
    /// Secret key.
    pub secret_access_key: String,
    /// Session token, for keys that expire.
    #[serde(default)]
    pub session_token: Option<String>,
    /// When they end; absent for keys that do not.
    #[serde(default)]
    pub expiration: Option<Timestamp>,
}

impl Debug for AgentCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentCredentials")
            .field("access_key_id", &self.access_key_id)
            .field("expiration", &self.expiration)
            .finish_non_exhaustive()
    }
}

/// What joining answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The agent's own keys.
    pub credentials: AgentCredentials,
    /// Cluster to register in.
    pub cluster: String,
    /// Region to sign for.
    pub region: String,
}

/// An attribute of a container instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attribute {
    /// Name.
    pub name: String,
    /// Value; absent on capabilities.
    pub value: Option<String>,
}

/// A resource of a container instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// An amount: `CPU` in units, `MEMORY` in MiB.
    Integer(&'static str, i32),
    /// A set: `PORTS`, `PORTS_UDP`, as reserved.
    StringSet(&'static str, Vec<String>),
}

/// `RegisterContainerInstance`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceRegistration {
    /// Cluster, as configured.
    pub cluster: String,
    /// The instance that comes back.
    pub container_instance_arn: Option<String>,
    /// What it can do.
    pub attributes: Vec<Attribute>,
    /// What it has.
    pub total_resources: Vec<Resource>,
    /// Tags, at the first registration.
    pub tags: BTreeMap<String, String>,
    /// Version of the agent.
    pub agent_version: String,
    /// Commit the agent was built from.
    pub agent_hash: String,
    /// Version of the container engine.
    pub docker_version: String,
}

/// Its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredInstance {
    /// ARN of the container instance.
    pub container_instance_arn: String,
    /// Its attributes.
    pub attributes: Vec<Attribute>,
}

/// `DiscoverPollEndpoint`'s answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// Where work comes from.
    pub endpoint: String,
    /// Where telemetry goes.
    pub telemetry_endpoint: String,
}

/// Status of a task or container, as reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ReportedStatus {
    /// Nothing was reported yet.
    #[default]
    None,
    /// On its way.
    Pending,
    /// Running.
    Running,
    /// Ended.
    Stopped,
}

impl ReportedStatus {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
        }
    }
}

/// A published port, as reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkBinding {
    /// Host address.
    pub bind_ip: String,
    /// Port in the container.
    pub container_port: u16,
    /// Port on the host.
    pub host_port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
}

/// What is new about a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerStateChange {
    /// Its name in the task definition.
    pub container_name: String,
    /// Its status.
    pub status: ReportedStatus,
    /// The runtime's id.
    pub runtime_id: Option<String>,
    /// Exit code.
    pub exit_code: Option<i32>,
    /// Manifest digest of its image.
    pub image_digest: Option<String>,
    /// `<Name>: <text>`; at most 1024 characters.
    pub reason: Option<String>,
    /// Published ports.
    pub network_bindings: Vec<NetworkBinding>,
}

/// `SubmitTaskStateChange`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskStateChange {
    /// Cluster, as configured.
    pub cluster: String,
    /// ARN of the task.
    pub task: String,
    /// The task's status.
    pub status: ReportedStatus,
    /// Why, when the task could not be taken; mostly empty. At most 1024 characters.
    pub reason: String,
    /// When the first pull began.
    pub pull_started_at: Option<Timestamp>,
    /// When the last pull ended.
    pub pull_stopped_at: Option<Timestamp>,
    /// When the task began to end.
    pub execution_stopped_at: Option<Timestamp>,
    /// What is new about containers, in order.
    pub containers: Vec<ContainerStateChange>,
}

/// A line of a container's output on its way to the log service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEvent {
    /// When it was written.
    pub timestamp: Timestamp,
    /// The line.
    pub message: String,
}

/// A log stream's address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogStreamName {
    /// Region of the log service; the agent's own when absent.
    pub region: Option<String>,
    /// Log group.
    pub group: String,
    /// Log stream.
    pub stream: String,
}

/// What goes out on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// A message.
    Text(String),
    /// A close frame; nothing follows.
    Close(u16, String),
}

/// What comes in on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A message.
    Text(String),
    /// The connection is closed; nothing follows. A cut connection closes with 1006.
    Closed(u16, String),
}

/// A WebSocket. Dropping it cuts the connection.
#[derive(Debug)]
pub struct Connection {
    /// To the server.
    pub outgoing: mpsc::Sender<Outgoing>,
    /// From the server.
    pub incoming: mpsc::Receiver<Incoming>,
}

/// Why a connection could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The handshake was refused with this body.
    #[error("the handshake was refused with status {status}: {body}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Body, shortened.
        body: String,
    },
    /// No answer.
    #[error("{0}")]
    Unreachable(String),
}

/// Everything that an agent asks of a control plane.
///
/// Calls are signed with the credentials last given to [`Self::use_credentials`] and are not retried here.
pub trait ControlPlane: Send + Sync + Debug {
    /// Signs with these from now on, for this region.
    fn use_credentials(&self, credentials: &AgentCredentials, region: &str);

    /// Exchanges a one-time token for credentials. Not signed.
    fn join_agent<'a>(&'a self, token: &'a str) -> BoxFuture<'a, CallResult<Joined>>;

    /// New credentials for the ones in use.
    fn rotate_agent_credentials(&self) -> BoxFuture<'_, CallResult<AgentCredentials>>;

    /// Makes a cluster.
    fn create_cluster<'a>(&'a self, name: &'a str) -> BoxFuture<'a, CallResult<()>>;

    /// Registers the container instance, or brings it back.
    fn register_container_instance(
        &self,
        registration: InstanceRegistration,
    ) -> BoxFuture<'_, CallResult<RegisteredInstance>>;

    /// Where to connect to.
    fn discover_poll_endpoint<'a>(
        &'a self,
        cluster: &'a str,
        container_instance_arn: &'a str,
    ) -> BoxFuture<'a, CallResult<Endpoints>>;

    /// Reports a task.
    fn submit_task_state_change(&self, change: TaskStateChange) -> BoxFuture<'_, CallResult<()>>;

    /// Makes a log group; an existing one is no error.
    fn create_log_group<'a>(&'a self, region: Option<&'a str>, group: &'a str) -> BoxFuture<'a, CallResult<()>>;

    /// Makes a log stream; an existing one is no error.
    fn create_log_stream<'a>(&'a self, name: &'a LogStreamName) -> BoxFuture<'a, CallResult<()>>;

    /// Appends to a log stream.
    fn put_log_events<'a>(&'a self, name: &'a LogStreamName, events: Vec<LogEvent>) -> BoxFuture<'a, CallResult<()>>;

    /// Opens `<endpoint>/ws` with a signed handshake.
    fn connect_acs<'a>(
        &'a self,
        endpoint: &'a str,
        query: &'a AcsQuery,
    ) -> BoxFuture<'a, Result<Connection, ConnectError>>;

    /// Opens `<endpoint>/ws` with a signed handshake; the implementation puts signed header lines before each message.
    fn connect_tcs<'a>(
        &'a self,
        endpoint: &'a str,
        query: &'a TcsQuery,
    ) -> BoxFuture<'a, Result<Connection, ConnectError>>;
}
