//! The daemon scheduler: keeps one task of every daemon on each container instance of its capacity
//! providers, and rolls deployments over the instances.
//!
//! One transaction a step and daemon, as the service scheduler does it.

mod work;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use longshore_api::ServiceError;
use longshore_seams::BoxFuture;

use self::work::Work;
use super::agenda::{Agenda, Key};
use super::{Reconciler, Reconcilers, Round, Waker};
use crate::changes::Change;
use crate::engine::Engine;

/// Most daemons of one round.
const BATCH: usize = 64;

/// Times of the daemon scheduler.
#[derive(Clone, Copy, Debug)]
pub struct DaemonSchedulerLimits {
    /// Between two looks at every daemon.
    pub look_again: Duration,
}

impl Default for DaemonSchedulerLimits {
    fn default() -> Self {
        Self { look_again: Duration::from_secs(10) }
    }
}

/// The loop.
#[derive(Debug)]
pub struct DaemonScheduler {
    engine: Engine,
    limits: DaemonSchedulerLimits,
    agenda: Arc<Agenda>,
}

impl DaemonScheduler {
    /// The loop's name.
    pub const NAME: &'static str = "daemon-scheduler";

    /// The loop with these limits.
    #[must_use]
    pub fn new(engine: Engine, limits: DaemonSchedulerLimits) -> Self {
        Self { engine, limits, agenda: Arc::default() }
    }

    /// What tells the loop about commits.
    #[must_use]
    pub fn waker(&self, reconcilers: Arc<Reconcilers>) -> Waker {
        Waker { name: Self::NAME, about: daemon_of, agenda: self.agenda.clone(), reconcilers }
    }

    fn next(&self) -> Vec<Key> {
        self.agenda
            .next(&self.engine, self.limits.look_again, BATCH, |cluster| cluster.daemons.keys().cloned().collect())
    }

    /// One step of one daemon.
    async fn step(&self, key: &Key) -> Result<(), ServiceError> {
        let (scope, cluster, name) = key;
        let now = self.engine.seams().clock.now();
        let random = &*self.engine.seams().random;
        let (changed, due) = self
            .engine
            .write(|state, changes| {
                if state.closing {
                    return Ok((false, None));
                }
                let records = state.scope(scope);
                let Some(cluster) = records.clusters.get(cluster) else { return Ok((false, None)) };
                let Some(before) = cluster.daemons.get(name) else { return Ok((false, None)) };
                let mut work = Work::new(records, cluster, before, now, random);
                work.run();
                for task in work.changed {
                    changes.push(Change::PutTask(scope.clone(), Arc::new(task)));
                }
                if work.gone {
                    changes.push(Change::DeleteDaemon(scope.clone(), cluster.record.id, name.clone()));
                } else if work.record != **before {
                    changes.push(Change::PutDaemon(scope.clone(), Arc::new(work.record)));
                }
                Ok::<_, ServiceError>((!changes.is_empty(), work.due))
            })
            .await?;
        if changed {
            self.agenda.add([key.clone()]);
        }
        self.agenda.wait(key, due);
        Ok(())
    }
}

/// The daemon that a change is about.
fn daemon_of(change: &Change) -> Option<Key> {
    match change {
        Change::PutDaemon(scope, record) => Some((scope.clone(), record.cluster, record.name.clone())),
        Change::PutTask(scope, task) => Some((scope.clone(), task.cluster, task.daemon.clone()?)),
        _ => None,
    }
}

impl Reconciler for DaemonScheduler {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn period(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn round(&self) -> BoxFuture<'_, Result<Round, String>> {
        Box::pin(async move {
            let batch = self.next();
            for key in &batch {
                self.step(key).await.map_err(|error| format!("daemon {}: {error}", key.2))?;
            }
            Ok(if batch.is_empty() { Round::Done } else { Round::More })
        })
    }
}
