//! What runs here, for everyone who only looks: telemetry, manifests, endpoints.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longshore_runtime::Health;
use longshore_seams::Timestamp;
use tokio::sync::Notify;

use crate::plane::ReportedStatus;

/// A task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskView {
    /// ARN.
    pub arn: String,
    /// ARN of its cluster.
    pub cluster_arn: String,
    /// Task definition family.
    pub family: String,
    /// Task definition revision.
    pub version: String,
    /// Whether it is to run.
    pub desired_running: bool,
    /// Its status.
    pub known: ReportedStatus,
    /// Its containers.
    pub containers: Vec<ContainerView>,
}

/// A container.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerView {
    /// Name in the task definition.
    pub name: String,
    /// The runtime's id, once made.
    pub runtime_id: Option<String>,
    /// Whether it runs.
    pub running: bool,
    /// Whether its task definition has a health check: an image's own is not reported.
    pub health_check: bool,
    /// Result of the health check.
    pub health: Option<(Health, Timestamp)>,
    /// Restarts in place.
    pub restart_count: u32,
    /// Whether it has a network of its own to count.
    pub own_network: bool,
}

/// All tasks by ARN.
#[derive(Debug, Default)]
pub struct Registry {
    tasks: Mutex<BTreeMap<String, Arc<TaskView>>>,
    health_changed: Notify,
}

impl Registry {
    /// All tasks.
    #[must_use]
    pub fn tasks(&self) -> Vec<Arc<TaskView>> {
        self.locked().values().cloned().collect()
    }

    /// One task.
    #[must_use]
    pub fn task(&self, arn: &str) -> Option<Arc<TaskView>> {
        self.locked().get(arn).cloned()
    }

    /// Resolves after the health of a container has changed.
    pub async fn health_changed(&self) {
        self.health_changed.notified().await;
    }

    pub(crate) fn put(&self, view: TaskView) {
        let health = |view: &TaskView| -> Vec<_> {
            view.containers
                .iter()
                .filter(|container| container.health_check)
                .map(|container| container.health)
                .collect()
        };
        let earlier = self.locked().insert(view.arn.clone(), Arc::new(view.clone()));
        let now = health(&view);
        if earlier.map_or(!now.is_empty(), |earlier| health(&earlier) != now) {
            self.health_changed.notify_one();
        }
    }

    pub(crate) fn remove(&self, arn: &str) {
        self.locked().remove(arn);
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, Arc<TaskView>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
