//! What is remembered of a task across restarts of the agent, beyond what its containers tell.

use std::collections::BTreeMap;

use longshore_protocol::task::Task;
use longshore_seams::Timestamp;
use serde::{Deserialize, Serialize};

use super::machine::{Known, Unit};
use crate::plane::ReportedStatus;

/// A task as it was taken: written once, synced before it is acknowledged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TaskRecord {
    /// [`Self::FORMAT`] of the version that wrote it.
    pub format: u32,
    /// The payload, without credentials.
    pub task: Task,
}

impl TaskRecord {
    /// Version of the format; an older one is read, a newer one refused.
    pub const FORMAT: u32 = 1;

    /// That of `task`.
    pub fn of(task: &Task) -> Self {
        Self { format: Self::FORMAT, task: crate::labels::without_credentials(task) }
    }
}

/// How far a task has come: written after every change, not synced; without it the containers tell.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TaskState {
    /// It is to end.
    pub stopping: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_stopped_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_stopped_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Timestamp>,
    /// The status that the control plane has taken.
    pub accepted: ReportedStatus,
    /// By container name.
    pub containers: BTreeMap<String, ContainerRecord>,
}

/// A container.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ContainerRecord {
    pub known: Known,
    pub ever_ran: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    pub restart_count: u32,
    /// The status that the control plane has taken.
    pub accepted: ReportedStatus,
}

impl ContainerRecord {
    pub fn of(unit: &Unit) -> Self {
        Self {
            known: unit.known,
            ever_ran: unit.ever_ran,
            runtime_id: unit.runtime_id.clone(),
            exit_code: unit.exit_code,
            reason: unit.reason.clone(),
            image_digest: unit.image_digest.clone(),
            finished_at: unit.finished_at,
            restart_count: unit.restart_count,
            accepted: unit.accepted,
        }
    }

    /// Gives back what only the record knows: how far an unfinished container really is, the runtime tells.
    pub fn restore(&self, unit: &mut Unit) {
        unit.known = match self.known {
            Known::Stopped => Known::Stopped,
            Known::Running => Known::Running,
            Known::None | Known::Pulled | Known::Created => Known::None,
        };
        unit.ever_ran = self.ever_ran;
        unit.exit_code = self.exit_code;
        unit.reason.clone_from(&self.reason);
        unit.image_digest.clone_from(&self.image_digest);
        unit.finished_at = self.finished_at;
        unit.restart_count = self.restart_count;
        unit.accepted = self.accepted;
        if self.known == Known::Stopped {
            unit.runtime_id.clone_from(&self.runtime_id);
        }
    }
}
