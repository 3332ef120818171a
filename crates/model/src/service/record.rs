//! What is kept of a service.

use longshore_api::ecs;
use longshore_seams::Timestamp;
use serde::{Deserialize, Serialize};

use super::{RevisionSettings, TaskSetRecord};
use crate::express::ExpressRecord;
use crate::record::Record;
use crate::records::Tags;
use crate::{Id, Scope};

/// Most events that a service keeps; the oldest go first.
pub const MAX_EVENTS: usize = 100;

/// A service. An INACTIVE one makes way for a new one of its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// The cluster's incarnation.
    pub cluster: Id,
    /// Its name, unique in the cluster.
    pub name: String,
    /// ACTIVE, DRAINING or INACTIVE.
    pub status: ServiceStatus,
    /// How many tasks are wanted; for DAEMON, how many container instances take one.
    pub desired_count: i32,
    /// Whether its maker had opted out of the long ARN format.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub short_arn: bool,
    /// What the request said, with defaults filled in. ARNs, counts, status and times are not in it.
    pub settings: ecs::Service,
    /// What it was asked for beside them.
    #[serde(default, skip_serializing_if = "RevisionSettings::is_empty")]
    pub revision_settings: RevisionSettings,
    /// When it was made.
    pub created_at: Timestamp,
    /// ARN of the principal that made it.
    pub created_by: String,
    /// Client token of the call that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
    /// The PRIMARY deployment, then the ACTIVE ones from new to old. None with the EXTERNAL controller.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deployments: Vec<DeploymentRecord>,
    /// The last deployment that was completed, as it was then: where a circuit breaker goes back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_completed: Option<Box<DeploymentRecord>>,
    /// The newest service deployment, by id. None for what was made before there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_deployment: Option<String>,
    /// When it became INACTIVE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inactive_at: Option<Timestamp>,
    /// Whether its tasks are being moved between Availability Zones.
    #[serde(default)]
    pub rebalancing: bool,
    /// Task sets, from old to new: what runs its tasks unless ECS itself decides about its deployments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub task_sets: Vec<TaskSetRecord>,
    /// What makes it an Express gateway service; none for any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub express: Option<Box<ExpressRecord>>,
    /// What happened, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<ecs::ServiceEvent>,
    /// When its steady state was last said; none while it is not steady.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steady_at: Option<Timestamp>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

impl Record for ServiceRecord {
    const KIND: &'static str = "service";
    const FORMAT: u8 = 1;
}

impl ServiceRecord {
    /// `…:service/CLUSTER/NAME`, or `…:service/NAME` in the short format.
    #[must_use]
    pub fn arn(&self, scope: &Scope, cluster: &str) -> String {
        if self.short_arn {
            return scope.ecs_arn(format_args!("service/{}", self.name));
        }
        scope.service_arn(cluster, &self.name)
    }

    /// The group of its tasks.
    #[must_use]
    pub fn group(&self) -> String {
        format!("service:{}", self.name)
    }

    /// Whether it keeps one task on every container instance.
    #[must_use]
    pub fn is_daemon(&self) -> bool {
        self.settings.scheduling_strategy == Some(ecs::SchedulingStrategy::Daemon)
    }

    /// Who decides about its deployments.
    #[must_use]
    pub fn controller(&self) -> ecs::DeploymentControllerType {
        let given = self.settings.deployment_controller.as_ref().and_then(|it| it.r#type.clone());
        given.unwrap_or(ecs::DeploymentControllerType::Ecs)
    }

    /// What starts its tasks: its deployments, or those of its task sets.
    pub fn sources(&self) -> impl Iterator<Item = &DeploymentRecord> {
        self.deployments.iter().chain(self.task_sets.iter().map(|set| &set.deployment))
    }

    /// The `at`-th of [`Self::sources`].
    pub fn source_mut(&mut self, at: usize) -> Option<&mut DeploymentRecord> {
        let sets = self.task_sets.iter_mut().map(|set| &mut set.deployment);
        self.deployments.iter_mut().chain(sets).nth(at)
    }

    /// The task set that `id` names.
    #[must_use]
    pub fn task_set(&self, id: &str) -> Option<&TaskSetRecord> {
        self.task_sets.iter().find(|set| set.deployment.id == id)
    }

    /// Computes anew how many tasks each task set wants.
    pub fn rescale(&mut self, now: Timestamp) {
        let desired = self.desired_count;
        for set in &mut self.task_sets {
            set.rescale(desired, now);
        }
    }

    /// Adds an event, in front.
    pub fn say(&mut self, id: String, now: Timestamp, message: impl std::fmt::Display) {
        self.add_event(id, now, format!("(service {}) {message}", self.name));
    }

    /// Adds an event of a task set, in front.
    pub fn say_of(&mut self, task_set: &str, id: String, now: Timestamp, message: impl std::fmt::Display) {
        self.add_event(id, now, format!("(service {}, taskSet {task_set}) {message}", self.name));
    }

    fn add_event(&mut self, id: String, now: Timestamp, message: String) {
        let message = Some(message);
        self.events.insert(0, ecs::ServiceEvent { id: Some(id), created_at: Some(now), message });
        self.events.truncate(MAX_EVENTS);
    }
}

/// Where a service is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ServiceStatus {
    /// Keeps its tasks running.
    Active,
    /// Deleted; tasks still run.
    Draining,
    /// Deleted; still described.
    Inactive,
}

impl ServiceStatus {
    /// As ECS spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Draining => "DRAINING",
            Self::Inactive => "INACTIVE",
        }
    }
}

/// A deployment of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeploymentRecord {
    /// `ecs-svc/` and digits: the `startedBy` of its tasks.
    pub id: String,
    /// Task definition family.
    pub family: String,
    /// Task definition revision.
    pub revision: u32,
    /// Launch type, network configuration and what else a deployment keeps for itself.
    pub settings: ecs::Deployment,
    /// How many of its tasks are wanted.
    pub desired_count: i32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// IN_PROGRESS, COMPLETED or FAILED.
    pub rollout_state: ecs::DeploymentRolloutState,
    /// Why, in words.
    pub rollout_reason: String,
    /// Tasks that ended without ever running.
    #[serde(default)]
    pub failed_tasks: i32,
    /// How many of its tasks worked when the last one failed: more than that, and one has become healthy since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_at_failure: Option<usize>,
    /// Of these, the last ones in a row: what throttles.
    #[serde(default)]
    pub failures_in_a_row: u32,
    /// Stops up to this one have been counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<(Timestamp, Id)>,
    /// No task is started before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// What was last said about a task that could not be placed, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<(Timestamp, String)>,
}

impl DeploymentRecord {
    /// The digits of its id: the number of its service revision.
    #[must_use]
    pub fn number(&self) -> &str {
        self.id.rsplit('/').next().unwrap_or(&self.id)
    }

    /// Counts a task that failed while so many others worked.
    pub fn fail_one(&mut self, healthy: usize) {
        self.failed_tasks += 1;
        self.healthy_at_failure = Some(healthy);
    }

    /// Forgets the failures when a task has become healthy since the last one.
    pub fn note_healthy(&mut self, healthy: usize) {
        if self.healthy_at_failure.is_none_or(|then| healthy > then) && healthy > 0 {
            self.forget_failures();
        }
    }

    /// Starts to count failures anew; what throttles stays.
    pub fn forget_failures(&mut self) {
        (self.failed_tasks, self.healthy_at_failure) = (0, None);
    }
}
