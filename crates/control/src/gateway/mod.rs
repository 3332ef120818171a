//! The gateway: where agents connect. ACS carries work down and acknowledgements up, TCS telemetry up.
//!
//! A commit that touches a task or a container instance wakes the connection of that instance,
//! which looks at the state and tells its agent what it has not been told: no polling, and the
//! same path after a reconnect, a restart and in the happy case.
//!
//! Invariant: nothing reaches an agent before it is durable.

mod acs;
mod address;
mod docker;
mod payload;
mod registry;
mod roles;
mod tcs;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use longshore_api::ServiceError;
use longshore_model::Id;
use longshore_model::records::{ContainerInstanceStatus, TaskStatus};
use longshore_protocol::query::{AcsQuery, TcsQuery};
use longshore_protocol::tcs::TaskMetric;
use longshore_seams::{BoxFuture, Timestamp};
use longshore_wire::{RequestContext, Upgrade};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::changes::Change;
use crate::engine::{CommitObserver, Engine};
use crate::keyring::Keyring;
use address::Address;
use registry::{End, Registry};

type Socket = hyper_util::rt::TokioIo<hyper::upgrade::Upgraded>;

/// The gateway over an [`Engine`]. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gateway {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    engine: Engine,
    registry: Registry,
    metrics: Mutex<BTreeMap<Id, TaskMetric>>,
    /// Seals the sessions of task roles; without it tasks get no keys.
    keyring: OnceLock<Arc<Keyring>>,
    /// When the keys of a task's role, which its agent has acknowledged, are to be renewed.
    renewals: Mutex<BTreeMap<Id, Timestamp>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gateway {
    /// A gateway that hears of every commit of `engine`.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        let inner = Arc::new(Inner {
            engine: engine.clone(),
            registry: Registry::default(),
            metrics: Mutex::default(),
            keyring: OnceLock::new(),
            renewals: Mutex::default(),
        });
        engine.observe(Arc::new(Ears(Arc::downgrade(&inner))));
        Self { inner }
    }

    /// Gives tasks that have a role keys of it from now on, sealed by `keyring`; the first one stays.
    pub fn issue_role_credentials(&self, keyring: Arc<Keyring>) {
        self.inner.keyring.get_or_init(|| keyring);
    }

    /// The paths it serves, for the front door.
    #[must_use]
    pub fn upgrades(&self) -> Vec<Arc<dyn Upgrade>> {
        vec![Arc::new(AcsPath(self.clone())), Arc::new(TcsPath(self.clone()))]
    }

    /// What the task used when its agent last told; only of tasks that are not STOPPED.
    #[must_use]
    pub fn metrics(&self, task: Id) -> Option<TaskMetric> {
        locked(&self.inner.metrics).get(&task).cloned()
    }

    /// Serves an agent's ACS connection until it ends, on a stream that is past the handshake.
    ///
    /// # Errors
    /// `InactiveInstanceException`, `InvalidInstanceException` or `AccessDeniedException`: the handshake is refused.
    pub async fn serve_acs<S>(&self, context: &RequestContext, query: &AcsQuery, socket: S) -> Result<(), ServiceError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let address = Address::resolve(&self.inner.engine, context, &query.container_instance_arn, &query.cluster)?;
        acs::serve(&self.inner, address, query, socket).await;
        Ok(())
    }

    /// Serves an agent's TCS connection until it ends, on a stream that is past the handshake.
    ///
    /// # Errors
    /// As [`Self::serve_acs`].
    pub async fn serve_tcs<S>(&self, context: &RequestContext, query: &TcsQuery, socket: S) -> Result<(), ServiceError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let address = Address::resolve(&self.inner.engine, context, &query.container_instance, &query.cluster)?;
        tcs::serve(&self.inner, address, socket).await;
        Ok(())
    }

    /// Tells the agent of `instance` about `tasks` again, when it is connected.
    pub(crate) fn tell_again(&self, instance: Id, tasks: impl Iterator<Item = Id>) {
        if let Some(mailbox) = self.inner.registry.get(instance) {
            tasks.for_each(|task| mailbox.task(task, true));
        }
    }
}

/// Hears of commits. Holds the gateway weakly: the engine does not keep it alive.
struct Ears(std::sync::Weak<Inner>);

impl CommitObserver for Ears {
    fn committed(&self, changes: &[Change]) {
        let Some(inner) = self.0.upgrade() else { return };
        for change in changes {
            match change {
                Change::PutTask(_, task) => {
                    if let Some(mailbox) = task.container_instance.and_then(|id| inner.registry.get(id)) {
                        mailbox.task(task.id, false);
                    }
                    if task.last_status == TaskStatus::Stopped {
                        locked(&inner.metrics).remove(&task.id);
                        locked(&inner.renewals).remove(&task.id);
                    }
                }
                Change::PutContainerInstance(_, record) if record.status == ContainerInstanceStatus::Inactive => {
                    if let Some(mailbox) = inner.registry.get(record.id) {
                        mailbox.end(End::Deregistered);
                    }
                }
                _ => {}
            }
        }
    }
}

struct AcsPath(Gateway);

fn pairs(query: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    query.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

impl Upgrade for AcsPath {
    fn path(&self) -> &'static str {
        "/acs/ws"
    }

    fn accept(&self, context: &RequestContext, query: &[(String, String)]) -> Result<(), ServiceError> {
        let query = AcsQuery::from_pairs(pairs(query));
        Address::resolve(&self.0.inner.engine, context, &query.container_instance_arn, &query.cluster).map(|_| ())
    }

    fn serve(&self, context: RequestContext, query: Vec<(String, String)>, socket: Socket) -> BoxFuture<'static, ()> {
        let gateway = self.0.clone();
        Box::pin(async move {
            // It may have been deregistered since the handshake was accepted.
            if let Err(error) = gateway.serve_acs(&context, &AcsQuery::from_pairs(pairs(&query)), socket).await {
                tracing::debug!(%error, "connection dropped");
            }
        })
    }
}

struct TcsPath(Gateway);

impl Upgrade for TcsPath {
    fn path(&self) -> &'static str {
        "/tcs/ws"
    }

    fn accept(&self, context: &RequestContext, query: &[(String, String)]) -> Result<(), ServiceError> {
        let query = TcsQuery::from_pairs(pairs(query));
        Address::resolve(&self.0.inner.engine, context, &query.container_instance, &query.cluster).map(|_| ())
    }

    fn serve(&self, context: RequestContext, query: Vec<(String, String)>, socket: Socket) -> BoxFuture<'static, ()> {
        let gateway = self.0.clone();
        Box::pin(async move {
            if let Err(error) = gateway.serve_tcs(&context, &TcsQuery::from_pairs(pairs(&query)), socket).await {
                tracing::debug!(%error, "connection dropped");
            }
        })
    }
}
