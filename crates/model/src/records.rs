//! The records of the store. They hold ids, not ARNs; ARNs are built at the edge.

use longshore_api::ecs;
use longshore_seams::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Id;
use crate::ebs::EbsVolume;
use crate::record::Record;
pub use crate::tags::Tags;
use crate::vpc::Interface;

/// An incarnation of a cluster: names are reused while old incarnations are INACTIVE.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// The incarnation.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// ACTIVE or INACTIVE.
    pub status: ClusterStatus,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it became INACTIVE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// Settings as given, e.g. `containerInsights`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<ecs::ClusterSetting>,
    /// Execute-command and managed-storage configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<ecs::ClusterConfiguration>,
    /// Associated capacity providers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capacity_providers: Vec<String>,
    /// What its capacity providers brought along: scaling policies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<ecs::Attachment>,
    /// Used when a request names no launch type and no strategy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub default_strategy: Vec<ecs::CapacityProviderStrategyItem>,
    /// Service Connect namespace ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_connect_namespace: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

impl Record for ClusterRecord {
    const KIND: &'static str = "cluster";
    const FORMAT: u8 = 1;
}

/// Where a cluster is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ClusterStatus {
    /// Usable.
    Active,
    /// Deleted; still described.
    Inactive,
}

impl ClusterStatus {
    /// As ECS spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Inactive => "INACTIVE",
        }
    }
}

/// A family's counter: a revision number is never given twice, also after deletion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FamilyRecord {
    /// The family.
    pub family: String,
    /// The last revision number given.
    pub last_revision: u32,
}

impl Record for FamilyRecord {
    const KIND: &'static str = "task definition family";
    const FORMAT: u8 = 1;
}

/// A revision of a task definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskDefinitionRecord {
    /// The family.
    pub family: String,
    /// The revision.
    pub revision: u32,
    /// ACTIVE, INACTIVE or DELETE_IN_PROGRESS.
    pub status: TaskDefinitionStatus,
    /// The normalised definition. ARN, status and times are not in it: they come from this record.
    pub definition: ecs::TaskDefinition,
    /// When it was registered.
    pub registered_at: Timestamp,
    /// ARN of the principal that registered it.
    pub registered_by: String,
    /// When it was deregistered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deregistered_at: Option<Timestamp>,
    /// When its deletion was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_requested_at: Option<Timestamp>,
    /// What only a daemon's definition has; none in any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daemon: Option<crate::daemon::DaemonPart>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

impl Record for TaskDefinitionRecord {
    const KIND: &'static str = "task definition";
    const FORMAT: u8 = 1;
}

/// Where a task definition is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskDefinitionStatus {
    /// Usable.
    Active,
    /// Deregistered.
    Inactive,
    /// Deleted, but something may still use it.
    DeleteInProgress,
}

impl TaskDefinitionStatus {
    /// As ECS spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Inactive => "INACTIVE",
            Self::DeleteInProgress => "DELETE_IN_PROGRESS",
        }
    }
}

/// A container instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerInstanceRecord {
    /// Its id.
    pub id: Id,
    /// The cluster's incarnation.
    pub cluster: Id,
    /// ACTIVE, DRAINING, INACTIVE, …
    pub status: ContainerInstanceStatus,
    /// Why it has that status, when there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// Changes with every change of the record.
    pub version: i64,
    /// When it was registered first.
    pub registered_at: Timestamp,
    /// When it was deregistered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deregistered_at: Option<Timestamp>,
    /// Credential grant that may speak for it; none when a root key registered it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// EC2 instance id, when it has an identity document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ec2_instance_id: Option<String>,
    /// Agent and engine versions, as the agent said when it last connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_info: Option<ecs::VersionInfo>,
    /// Attributes: registered and put.
    pub attributes: Vec<ecs::Attribute>,
    /// CPU, MEMORY, PORTS (reserved), PORTS_UDP, … as registered.
    pub registered_resources: Vec<ecs::Resource>,
    /// Numbers of payloads and manifests up to this one may have been given to the agent; never goes back.
    #[serde(default)]
    pub last_sequence: i64,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

impl Record for ContainerInstanceRecord {
    const KIND: &'static str = "container instance";
    const FORMAT: u8 = 1;
}

/// Where a container instance is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ContainerInstanceStatus {
    /// Being registered.
    Registering,
    /// Registration failed.
    RegistrationFailed,
    /// Takes tasks.
    Active,
    /// Takes no new tasks.
    Draining,
    /// Being deregistered.
    Deregistering,
    /// Deregistered; kept a while.
    Inactive,
}

impl ContainerInstanceStatus {
    /// As ECS spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registering => "REGISTERING",
            Self::RegistrationFailed => "REGISTRATION_FAILED",
            Self::Active => "ACTIVE",
            Self::Draining => "DRAINING",
            Self::Deregistering => "DEREGISTERING",
            Self::Inactive => "INACTIVE",
        }
    }
}

/// States of a task (guide chapter 14, "Task lifecycle"). They only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TaskStatus {
    /// Work before launch, e.g. a network interface.
    Provisioning,
    /// Placed; waiting for the agent.
    Pending,
    /// Launched; work before RUNNING.
    Activating,
    /// Runs.
    Running,
    /// Work before stopping.
    Deactivating,
    /// Waiting for the agent to stop it.
    Stopping,
    /// Work after stopping.
    Deprovisioning,
    /// Ended.
    Stopped,
}

impl TaskStatus {
    /// As ECS spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "PROVISIONING",
            Self::Pending => "PENDING",
            Self::Activating => "ACTIVATING",
            Self::Running => "RUNNING",
            Self::Deactivating => "DEACTIVATING",
            Self::Stopping => "STOPPING",
            Self::Deprovisioning => "DEPROVISIONING",
            Self::Stopped => "STOPPED",
        }
    }
}

/// What is wanted of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DesiredStatus {
    /// It is to run.
    Running,
    /// It is to end, or has ended.
    Stopped,
}

impl DesiredStatus {
    /// As ECS spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
        }
    }
}

/// What a task takes of its container instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// CPU units.
    pub cpu: i64,
    /// MiB.
    pub memory_mib: i64,
    /// Fixed TCP host ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tcp_ports: Vec<u16>,
    /// Fixed UDP host ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub udp_ports: Vec<u16>,
    /// Number of GPUs.
    #[serde(default)]
    pub gpus: i64,
    /// Elastic network interfaces: one for an awsvpc task on a container instance.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interfaces: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// A task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Its id.
    pub id: Id,
    /// The cluster's incarnation.
    pub cluster: Id,
    /// Task definition family.
    pub family: String,
    /// Task definition revision.
    pub revision: u32,
    /// The container instance it was placed on. On Fargate it may be another cluster's, and is never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_instance: Option<Id>,
    /// Where it is.
    pub last_status: TaskStatus,
    /// What is wanted.
    pub desired_status: DesiredStatus,
    /// Grows by one with each change that the API shows.
    pub version: i64,
    /// `family:NAME`, `service:NAME`, or the caller's.
    pub group: String,
    /// The daemon it belongs to: family and revision are then those of a daemon task definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daemon: Option<String>,
    /// The caller's mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_by: Option<String>,
    /// EC2, FARGATE or EXTERNAL.
    pub launch_type: ecs::LaunchType,
    /// Capacity provider that placed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_provider: Option<String>,
    /// Availability zone of its container instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability_zone: Option<String>,
    /// Processor architecture of its container instance, as its attribute `ecs.cpu-architecture` says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_architecture: Option<String>,
    /// Platform version, on Fargate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_version: Option<String>,
    /// Platform family, on Fargate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_family: Option<String>,
    /// Its network interface, with network mode awsvpc.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<Box<Interface>>,
    /// The volume that it was launched with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ebs_volume: Option<Box<EbsVolume>>,
    /// GiB of storage that it has for itself, when that is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ephemeral_storage_gib: Option<i32>,
    /// The containers, in the task definition's order.
    pub containers: Vec<ContainerRecord>,
    /// What the caller overrode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrides: Option<Box<ecs::TaskOverride>>,
    /// Task-level CPU units, as text, when the definition or an override has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Task-level MiB, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// What it takes of its container instance.
    pub reservation: Reservation,
    /// Whether execute-command was asked for.
    #[serde(default)]
    pub enable_execute_command: bool,
    /// Until when its service may not scale it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected_until: Option<Timestamp>,
    /// When it is stopped, because what it runs on is retired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retires_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Times reported or set on the way; absent until then.
    #[serde(default)]
    pub times: TaskTimes,
    /// Why it stopped, as a code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_code: Option<ecs::TaskStopCode>,
    /// Why it stopped, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_reason: Option<String>,
    /// Health of its essential containers together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<ecs::HealthStatus>,
    /// What the agent has acknowledged: nothing, the start, or the stop.
    #[serde(default)]
    pub delivered: Delivery,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// It waits for capacity of its capacity provider: how it is to be placed then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Box<Waiting>>,
}

/// What the placement of a waiting task needs besides its record: these members of the RunTask call that made it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// Its place among the waiting tasks of its capacity provider; grows in the order in which they were accepted.
    pub turn: u64,
    /// `placementConstraints`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub placement_constraints: Vec<ecs::PlacementConstraint>,
    /// `placementStrategy`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub placement_strategy: Vec<ecs::PlacementStrategy>,
    /// `networkConfiguration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_configuration: Option<ecs::NetworkConfiguration>,
}

impl Record for TaskRecord {
    const KIND: &'static str = "task";
    const FORMAT: u8 = 1;
}

/// A task's times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskTimes {
    /// Its agent was connected first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connectivity: Option<Timestamp>,
    /// The pull began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_started: Option<Timestamp>,
    /// The pull ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_stopped: Option<Timestamp>,
    /// It became RUNNING.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// Stopping was asked for or began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopping: Option<Timestamp>,
    /// Its containers began to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_stopped: Option<Timestamp>,
    /// It became STOPPED.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Timestamp>,
}

/// How much of a task's wishes its agent has taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Delivery {
    /// Nothing was acknowledged.
    #[default]
    None,
    /// The start was acknowledged.
    Start,
    /// The stop was acknowledged.
    Stop,
}

/// A container of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// UUID at the end of its ARN.
    pub id: String,
    /// Its name in the task definition.
    pub name: String,
    /// Its image reference.
    pub image: String,
    /// Manifest digest, when the agent reported one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
    /// The runtime's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_id: Option<String>,
    /// PENDING, RUNNING or STOPPED.
    pub last_status: TaskStatus,
    /// Whether the task ends with it.
    pub essential: bool,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Published ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub network_bindings: Vec<ecs::NetworkBinding>,
    /// Result of its health check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<ecs::HealthStatus>,
    /// CPU units, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Hard limit in MiB, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// Soft limit in MiB, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_reservation: Option<String>,
    /// GPUs given to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpu_ids: Vec<String>,
}

/// The answer that a client token already got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyRecord {
    /// Operation, e.g. `RunTask`.
    pub operation: String,
    /// The client's token.
    pub token: String,
    /// Hash of the request, to refuse the token with another body.
    pub request_hash: String,
    /// Ids of what the call made.
    pub made: Vec<Id>,
    /// Cluster incarnation of what the call made.
    pub cluster: Option<Id>,
    /// When the token is forgotten.
    pub expires_at: Timestamp,
}

impl Record for IdempotencyRecord {
    const KIND: &'static str = "client token";
    const FORMAT: u8 = 1;
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRecord {
    /// Twelve digits.
    pub id: String,
    /// What its people call it.
    pub name: String,
    /// Whether its root may manage accounts and the server itself: the first account.
    #[serde(default)]
    pub operator: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Record for AccountRecord {
    const KIND: &'static str = "account";
    const FORMAT: u8 = 1;
}

/// An access key. Its secret is sealed with the server's key ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKeyRecord {
    /// `AKIA…` (long-lived) or `ASIA…` (temporary).
    pub id: String,
    /// Whose account.
    pub account: String,
    /// Sealed secret.
    pub sealed_secret: Vec<u8>,
    /// Sealed session token, for temporary keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_session_token: Option<Vec<u8>>,
    /// Grant that it belongs to, for an agent's key; none for an account root's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl Record for AccessKeyRecord {
    const KIND: &'static str = "access key";
    const FORMAT: u8 = 1;
}

/// What a joined agent may speak for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRecord {
    /// Its id.
    pub id: String,
    /// Account and region that were joined.
    pub scope: crate::Scope,
    /// Name of the cluster that was joined.
    pub cluster: String,
    /// The container instance that it is bound to, from its first registration on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_instance: Option<Id>,
    /// When the agent joined.
    pub created_at: Timestamp,
}

impl Record for GrantRecord {
    const KIND: &'static str = "agent grant";
    const FORMAT: u8 = 1;
}

/// A one-time token with which an agent may join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinTokenRecord {
    /// SHA-256 of the token, in hex: the token itself is not kept.
    pub hash: String,
    /// Account and region to join.
    pub scope: crate::Scope,
    /// Cluster to join.
    pub cluster: String,
    /// When it is no longer taken.
    pub expires_at: Timestamp,
}

impl Record for JoinTokenRecord {
    const KIND: &'static str = "join token";
    const FORMAT: u8 = 1;
}

/// What one transaction made happen, waiting to be delivered. Written in that transaction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutboxRecord {
    /// Order among all records of this store: that of their commits.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// The events, in the order of their causes.
    pub events: Vec<OutboxEvent>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutboxEvent {
    /// Event id (a UUID).
    pub id: String,
    /// Account and region.
    pub scope: crate::Scope,
    /// `ECS Task State Change`, …
    pub detail_type: String,
    /// ARNs of what it is about.
    pub resources: Vec<String>,
    /// The event's own part.
    pub detail: Detail,
}

/// A JSON object that is kept as text: it is written once, and read by those to whom it is delivered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Detail(Box<RawValue>);

impl Detail {
    /// What is written in `json`, which is an object.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn new(json: String) -> Self {
        let is_object = json.starts_with('{');
        let raw = RawValue::from_string(json).ok().filter(|_| is_object);
        Self(raw.expect("the details of events are written by this program"))
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// The same with more members, whose values are JSON.
    #[must_use]
    pub fn with(&self, members: &[(&str, String)]) -> Self {
        let mut text = self.text().trim_end().strip_suffix('}').unwrap_or("{").to_owned();
        for (name, value) in members {
            let comma = if text.ends_with('{') { "" } else { "," };
            text.push_str(&format!("{comma}\"{name}\":{value}"));
        }
        text.push('}');
        Self::new(text)
    }
}

impl PartialEq for Detail {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Record for OutboxRecord {
    const KIND: &'static str = "event";
    const FORMAT: u8 = 1;
}
