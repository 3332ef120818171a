//! Reconcilers: loops that take no input.
//!
//! Each looks at the state, plans, changes what is not as it should be in one transaction, and
//! repeats until there is nothing left; it runs when woken and periodically. So the happy path and
//! recovery from a crash are the same.

mod agenda;
mod archiver;
mod daemons;
mod deadlines;
mod delivery;
mod expiry;
mod lifecycle_hooks;
mod room;
pub(crate) mod services;
mod waiting;
mod waker;

#[cfg(test)]
mod tests;

pub use archiver::{Archiver, ArchiverLimits};
pub use daemons::{DaemonScheduler, DaemonSchedulerLimits};
pub use deadlines::{TaskDeadlines, TaskDeadlinesLimits};
pub use delivery::EventDelivery;
pub use expiry::{
    CapacityProviderExpiry, ClientTokenExpiry, ClusterExpiry, ContainerInstanceExpiry, DaemonTaskDefinitionDeletion,
    GatewayExpiry, TaskDefinitionDeletion,
};
pub(crate) use lifecycle_hooks::NO_ENDPOINT;
pub use lifecycle_hooks::{HookFunctions, HookWaker, InvocationError, LifecycleHooks, NoFunctions};
pub use services::{
    NoSignals, ServiceExpiry, ServiceExpiryLimits, ServiceScheduler, ServiceSchedulerLimits, ServiceSignals,
    TargetHealth,
};
pub use waiting::{WaitingTasks, WaitingTasksLimits, WaitingTasksWaker};
pub use waker::Waker;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longshore_api::longshore as api;
use longshore_seams::{BoxFuture, Seams};
use tokio::sync::Notify;

use crate::admin::ReconcilerStatus;

/// Most rounds of one run, so that one busy loop cannot starve its status.
const MAX_ROUNDS: usize = 1_000;

/// What a round came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// Everything is as it should be.
    Done,
    /// Something was changed; there may be more.
    More,
}

/// One loop.
pub trait Reconciler: Send + Sync {
    /// Its name in status and logs.
    fn name(&self) -> &'static str;

    /// Longest time between two runs.
    fn period(&self) -> Duration;

    /// Looks, plans, and makes one transaction's worth of changes. The error says in words why it could not.
    fn round(&self) -> BoxFuture<'_, Result<Round, String>>;
}

/// Runs `reconciler` until a round finds nothing to do.
///
/// # Errors
/// The first failing round's.
pub async fn run_once(reconciler: &dyn Reconciler) -> Result<(), String> {
    for _ in 0..MAX_ROUNDS {
        if reconciler.round().await? == Round::Done {
            break;
        }
    }
    Ok(())
}

/// The running loops and how they are doing.
#[derive(Debug)]
pub struct Reconcilers {
    seams: Seams,
    entries: Mutex<BTreeMap<&'static str, Entry>>,
}

#[derive(Debug)]
struct Entry {
    status: api::Reconciler,
    wake: Arc<Notify>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reconcilers {
    /// No loops yet.
    #[must_use]
    pub fn new(seams: Seams) -> Arc<Self> {
        Arc::new(Self { seams, entries: Mutex::default() })
    }

    /// Starts a loop. It ends with the process.
    pub fn start(self: &Arc<Self>, reconciler: Arc<dyn Reconciler>) {
        let name = reconciler.name();
        let wake = Arc::new(Notify::new());
        let status = api::Reconciler {
            name: Some(name.to_owned()),
            last_result: Some(api::ReconcilerResult::NeverRun),
            run_count: Some(0),
            failure_count: Some(0),
            ..api::Reconciler::default()
        };
        locked(&self.entries).insert(name, Entry { status, wake: wake.clone() });
        let this = self.clone();
        let work = async move {
            loop {
                this.run(&*reconciler).await;
                let clock = &this.seams.clock;
                tokio::select! {
                    biased;
                    () = wake.notified() => {}
                    () = clock.sleep(reconciler.period()) => {}
                }
            }
        };
        self.seams.spawner.spawn(name, Box::pin(work));
    }

    /// Lets the loop called `name` run now.
    pub fn wake(&self, name: &str) {
        if let Some(entry) = locked(&self.entries).get(name) {
            entry.wake.notify_one();
        }
    }

    async fn run(&self, reconciler: &dyn Reconciler) {
        let name = reconciler.name();
        let clock = &self.seams.clock;
        self.note(name, |status| {
            status.last_started_at = Some(clock.now());
            status.last_result = Some(api::ReconcilerResult::Running);
            status.next_run_at = None;
        });
        let result = run_once(reconciler).await;
        if let Err(reason) = &result {
            tracing::warn!(reconciler = name, reason, "a reconciler failed; it runs again");
        }
        self.note(name, |status| {
            let now = clock.now();
            status.last_finished_at = Some(now);
            status.next_run_at = Some(now.plus(reconciler.period()));
            status.run_count = status.run_count.map(|count| count + 1);
            status.last_reason.clone_from(&result.as_ref().err().cloned());
            status.last_result = Some(if result.is_ok() {
                api::ReconcilerResult::Succeeded
            } else {
                status.failure_count = status.failure_count.map(|count| count + 1);
                api::ReconcilerResult::Failed
            });
        });
    }

    fn note(&self, name: &str, change: impl FnOnce(&mut api::Reconciler)) {
        if let Some(entry) = locked(&self.entries).get_mut(name) {
            change(&mut entry.status);
        }
    }
}

impl ReconcilerStatus for Reconcilers {
    fn reconcilers(&self) -> Vec<api::Reconciler> {
        locked(&self.entries).values().map(|entry| entry.status.clone()).collect()
    }
}
