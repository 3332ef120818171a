//! What is kept of a daemon, its revisions and its deployments.

use longshore_api::ecs::{
    DaemonDeploymentConfiguration, DaemonDeploymentStatus, DaemonPropagateTags, DaemonStatus as ApiStatus,
};
use longshore_seams::Timestamp;
use serde::{Deserialize, Serialize};

use crate::record::Record;
use crate::records::Tags;
use crate::{Id, Scope};

/// Most deployments that a daemon keeps; the oldest go first.
pub const MAX_DEPLOYMENTS: usize = 100;

/// A daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DaemonRecord {
    /// The cluster's incarnation.
    pub cluster: Id,
    /// Its name, unique in the cluster.
    pub name: String,
    /// ACTIVE or DELETE_IN_PROGRESS; a deleted one is forgotten.
    pub status: DaemonStatus,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed by a call.
    pub updated_at: Timestamp,
    /// Client token of the call that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
    /// Its revisions, the newest first: those that a deployment or a task still speaks of.
    pub revisions: Vec<DaemonRevisionRecord>,
    /// Its deployments, the current one first. Never empty.
    pub deployments: Vec<DaemonDeploymentRecord>,
    /// What the last deployment that succeeded put on the instances: where a failing one goes back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed: Option<Target>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

impl Record for DaemonRecord {
    const KIND: &'static str = "daemon";
    const FORMAT: u8 = 1;
}

impl DaemonRecord {
    /// The group of the tasks of the daemon called `name`.
    #[must_use]
    pub fn group_of(name: &str) -> String {
        format!("daemon:{name}")
    }

    /// `…:daemon/CLUSTER/NAME`.
    #[must_use]
    pub fn arn(&self, scope: &Scope, cluster: &str) -> String {
        scope.ecs_arn(format_args!("daemon/{cluster}/{}", self.name))
    }

    /// `…:daemon-revision/CLUSTER/NAME/ID`.
    #[must_use]
    pub fn revision_arn(&self, scope: &Scope, cluster: &str, revision: &str) -> String {
        scope.ecs_arn(format_args!("daemon-revision/{cluster}/{}/{revision}", self.name))
    }

    /// `…:daemon-deployment/CLUSTER/NAME/ID`.
    #[must_use]
    pub fn deployment_arn(&self, scope: &Scope, cluster: &str, deployment: &str) -> String {
        scope.ecs_arn(format_args!("daemon-deployment/{cluster}/{}/{deployment}", self.name))
    }

    /// The revision with this id.
    #[must_use]
    pub fn revision(&self, id: &str) -> Option<&DaemonRevisionRecord> {
        self.revisions.iter().find(|revision| revision.id == id)
    }

    /// The current deployment.
    #[must_use]
    pub fn current(&self) -> Option<&DaemonDeploymentRecord> {
        self.deployments.first()
    }

    /// Whether it may still need this daemon task definition.
    #[must_use]
    pub fn uses(&self, family: &str, revision: u32) -> bool {
        let current = self.current().map(|it| it.target().revision.as_str());
        let completed = self.completed.as_ref().map(|it| it.revision.as_str());
        let mut needed = [current, completed].into_iter().flatten().filter_map(|id| self.revision(id));
        needed.any(|it| it.family == family && it.revision == revision)
    }

    /// Whether it wants tasks on the instances of the capacity provider `name`.
    #[must_use]
    pub fn is_on(&self, provider: &str) -> bool {
        self.current().is_some_and(|it| it.target().capacity_providers.iter().any(|name| name == provider))
    }

    /// Puts a deployment in front, and forgets the oldest and the revisions that nobody speaks of.
    pub fn deploy(&mut self, deployment: DaemonDeploymentRecord, live: &[String]) {
        self.deployments.insert(0, deployment);
        self.deployments.truncate(MAX_DEPLOYMENTS);
        let (deployments, completed) = (&self.deployments, &self.completed);
        self.revisions.retain(|revision| {
            let id = &revision.id;
            live.contains(id)
                || completed.as_ref().is_some_and(|it| it.revision == *id)
                || deployments.iter().any(|it| {
                    it.wanted.revision == *id
                        || it.sources.contains(id)
                        || it.rollback.as_ref().is_some_and(|back| back.target.revision == *id)
                })
        });
    }
}

/// Where a daemon is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DaemonStatus {
    /// Keeps its tasks running.
    Active,
    /// Its tasks are being stopped; it is forgotten after them.
    DeleteInProgress,
}

impl From<DaemonStatus> for ApiStatus {
    fn from(status: DaemonStatus) -> Self {
        match status {
            DaemonStatus::Active => Self::Active,
            DaemonStatus::DeleteInProgress => Self::DeleteInProgress,
        }
    }
}

/// What its tasks are made of: never changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DaemonRevisionRecord {
    /// Digits, unique in the daemon.
    pub id: String,
    /// Family of the daemon task definition.
    pub family: String,
    /// Its revision.
    pub revision: u32,
    /// Where the tags of tasks come from.
    pub propagate_tags: DaemonPropagateTags,
    /// Whether tasks get ECS's own tags.
    pub enable_ecs_managed_tags: bool,
    /// Whether commands can be executed in the tasks' containers.
    pub enable_execute_command: bool,
    /// Whether an instance without the daemon counts as impaired.
    pub critical: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

impl DaemonRevisionRecord {
    /// The `startedBy` of its tasks.
    #[must_use]
    pub fn started_by(&self) -> String {
        format!("ecs-daemon/{}", self.id)
    }

    /// Whether its tasks are like those of `other`.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let other = Self { id: self.id.clone(), created_at: self.created_at, ..other.clone() };
        *self == other
    }
}

/// A revision and where its tasks are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Id of the daemon revision.
    pub revision: String,
    /// Names of capacity providers.
    pub capacity_providers: Vec<String>,
}

/// A deployment of a daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DaemonDeploymentRecord {
    /// Digits, unique in the daemon.
    pub id: String,
    /// Where it is.
    pub status: DaemonDeploymentStatus,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// What it is to put on the instances.
    pub wanted: Target,
    /// Ids of the revisions that ran when it was made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// Drain, bake time and alarms, with defaults filled in.
    pub configuration: DaemonDeploymentConfiguration,
    /// When it was made.
    pub created_at: Timestamp,
    /// When the first step was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Timestamp>,
    /// When it ended, however it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// When every instance had the new task: the bake time begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baking_since: Option<Timestamp>,
    /// Tasks that ended without ever running.
    #[serde(default)]
    pub failed_tasks: i32,
    /// Whether the circuit breaker has given it up.
    #[serde(default)]
    pub broken: bool,
    /// Of its failures, the last ones in a row: what throttles.
    #[serde(default)]
    pub failures_in_a_row: u32,
    /// Stops up to this one have been counted.
    pub counted: (Timestamp, Id),
    /// No task is started before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// How it went back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Rollback>,
}

impl DaemonDeploymentRecord {
    /// What is to be on the instances now: what it goes back to once it has failed.
    #[must_use]
    pub fn target(&self) -> &Target {
        self.rollback.as_ref().map_or(&self.wanted, |rollback| &rollback.target)
    }

    /// Whether there is something left to do.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(
            self.status,
            DaemonDeploymentStatus::Pending
                | DaemonDeploymentStatus::InProgress
                | DaemonDeploymentStatus::RollbackInProgress
        )
    }

    /// Ends it.
    pub fn finish(&mut self, status: DaemonDeploymentStatus, now: Timestamp, reason: Option<String>) {
        if status == DaemonDeploymentStatus::Stopped {
            self.stopped_at = Some(now);
        }
        self.status = status;
        self.status_reason = reason;
        self.finished_at = Some(now);
    }
}

/// How a deployment went back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rollback {
    /// Why.
    pub reason: String,
    /// When it began.
    pub started_at: Timestamp,
    /// Where it goes back to.
    pub target: Target,
}
