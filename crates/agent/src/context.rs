//! What every part of a running agent shares.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use longshore_protocol::acs::RoleCredentials;
use longshore_runtime::ContainerRuntime;
use longshore_seams::{Clock, Seams, Timestamp};
use tokio::sync::{Notify, watch};

use crate::config::AgentConfig;
use crate::journal::Journal;
use crate::plane::ControlPlane;
use crate::reports::Reporter;
use crate::view::Registry;

/// Shared parts; the cluster is known by now.
#[derive(Debug)]
pub(crate) struct Context {
    pub config: AgentConfig,
    /// Cluster, as configured or as joining answered.
    pub cluster: String,
    pub runtime: Arc<dyn ContainerRuntime>,
    pub plane: Arc<dyn ControlPlane>,
    pub seams: Seams,
    pub journal: Journal,
    pub reporter: Reporter,
    pub registry: Arc<Registry>,
    /// Notified when the control plane is reachable again.
    pub back: Notify,
    pub check: RuntimeCheck,
    pub credentials: Arc<CredentialStore>,
    /// Containers can ask for the keys of their task's role.
    pub task_roles: bool,
    /// True once the agent ends.
    pub shutdown: watch::Receiver<bool>,
}

impl Context {
    /// Resolves when the agent ends.
    pub async fn ended(&self) {
        ended(self.shutdown.clone()).await;
    }
}

/// Resolves when the agent ends.
pub(crate) async fn ended(mut shutdown: watch::Receiver<bool>) {
    // Whoever could ask for the end is gone: that is the end.
    let _ = shutdown.wait_for(|ended| *ended).await;
}

/// What a look at the runtime has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    pub healthy: bool,
    /// When it was looked at.
    pub at: Timestamp,
    /// Since when it has been so.
    pub since: Timestamp,
}

/// Looks at the runtime when asked to.
#[derive(Debug, Default)]
pub(crate) struct RuntimeCheck {
    wanted: Notify,
    last: Mutex<(Option<Checked>, bool)>,
}

impl RuntimeCheck {
    /// Asks for a look.
    pub fn request(&self) {
        self.wanted.notify_one();
    }

    /// The last look, once.
    pub fn take(&self) -> Option<Checked> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut last.1, false).then_some(last.0).flatten()
    }

    /// Looks whenever asked, until the agent ends.
    pub async fn run(&self, runtime: &dyn ContainerRuntime, clock: &dyn Clock) {
        loop {
            let healthy = match runtime.info().await {
                Ok(_) => true,
                Err(error) => {
                    tracing::error!(%error, "the container runtime does not answer");
                    false
                }
            };
            self.note(healthy, clock.now());
            self.wanted.notified().await;
        }
    }

    fn note(&self, healthy: bool, at: Timestamp) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let since = last.0.filter(|earlier| earlier.healthy == healthy).map_or(at, |earlier| earlier.since);
        *last = (Some(Checked { healthy, at, since }), true);
    }
}

/// Keys of tasks' roles, in memory only: after a restart the control plane sends them again.
#[derive(Debug, Default)]
pub(crate) struct CredentialStore {
    /// By credentials id: (task ARN, keys).
    known: Mutex<BTreeMap<String, (String, RoleCredentials)>>,
}

impl CredentialStore {
    pub fn put(&self, task: &str, credentials: RoleCredentials) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(credentials.credentials_id.clone(), (task.to_owned(), credentials));
    }

    /// The keys that are known by `credentials_id`.
    pub fn get(&self, credentials_id: &str) -> Option<RoleCredentials> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(credentials_id).map(|(_, keys)| keys.clone())
    }

    /// Forgets the keys of a task.
    pub fn remove(&self, task: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, (owner, _)| owner != task);
    }
}
