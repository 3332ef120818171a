//! The service scheduler: keeps the tasks of every service as its deployments want them.
//!
//! Each service is one step at a time: one transaction that looks at the state again, so that a
//! step that was planned on old news cannot harm. Commits say which services to look at; every
//! one is looked at now and then all the same.

mod expiry;
mod health;
pub(crate) mod launch;
mod rebalance;
mod replace;
mod rollout;
mod signals;
mod stages;
mod task_sets;
pub(super) mod work;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_crashes;
#[cfg(test)]
mod tests_health;
#[cfg(test)]
mod tests_hooks;
#[cfg(test)]
mod tests_placement;
#[cfg(test)]
mod tests_replace;
#[cfg(test)]
mod tests_rules;
#[cfg(test)]
mod tests_service_deployments;
#[cfg(test)]
mod tests_stages;

pub use expiry::{ServiceExpiry, ServiceExpiryLimits};
pub use signals::{NoSignals, ServiceSignals, TargetHealth};
pub(crate) use work::{Conditions, may_host};

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use longshore_api::ServiceError;
use longshore_model::{Id, Scope};
use longshore_seams::{BoxFuture, Timestamp};

use self::work::Work;
use super::agenda::{Agenda, Key};
use super::{Reconciler, Reconcilers, Round, Waker};
use crate::changes::{Change, Changes};
use crate::engine::Engine;
use crate::state::State;

/// Most services of one round.
const BATCH: usize = 64;
/// Services whose steps wait for the disk together.
const TOGETHER: usize = 8;
/// Services with fewer tasks are looked at as often as anything happens to them.
const LARGE: usize = 200;
/// Rest for each task of a large service that was looked at for nothing: while thousands of tasks report one by one,
/// looking at all of them each time would leave the state to nobody else.
const REST: Duration = Duration::from_micros(5);

/// Times of the service scheduler.
#[derive(Clone, Copy, Debug)]
pub struct ServiceSchedulerLimits {
    /// From RUNNING until a task without health checks shows that its deployment works. One that ends by itself before
    /// it counts as healthy is a failure of a deployment that goes on.
    pub prove: Duration,
    /// From RUNNING until a task without health checks counts as healthy (guide chapter 15).
    pub settle: Duration,
    /// Between two looks at every service.
    pub look_again: Duration,
    /// Until a steady state that lasts is said again.
    pub steady_again: Duration,
    /// Until a refused placement that lasts is said again.
    pub refused_again: Duration,
}

impl Default for ServiceSchedulerLimits {
    fn default() -> Self {
        Self {
            prove: Duration::from_secs(5),
            settle: Duration::from_secs(40),
            look_again: Duration::from_secs(10),
            steady_again: Duration::from_secs(6 * 3600),
            refused_again: Duration::from_secs(6 * 3600),
        }
    }
}

/// The loop.
#[derive(Debug)]
pub struct ServiceScheduler {
    engine: Engine,
    limits: ServiceSchedulerLimits,
    signals: Arc<dyn ServiceSignals>,
    has_functions: bool,
    agenda: Arc<Agenda>,
    /// Services in which the last step changed something: the next one probably does, too.
    busy: Mutex<BTreeSet<Key>>,
}

impl ServiceScheduler {
    /// The loop's name.
    pub const NAME: &'static str = "service-scheduler";

    /// The loop with these limits.
    #[must_use]
    pub fn new(engine: Engine, limits: ServiceSchedulerLimits) -> Self {
        let (signals, agenda, busy) = (Arc::new(NoSignals), Arc::default(), Mutex::default());
        Self { engine, limits, signals, has_functions: false, agenda, busy }
    }

    /// The loop with what load balancers and alarms say.
    #[must_use]
    pub fn with_signals(self, signals: Arc<dyn ServiceSignals>) -> Self {
        Self { signals, ..self }
    }

    /// The loop where the functions of lifecycle hooks can be invoked.
    #[must_use]
    pub fn with_functions(self, has_functions: bool) -> Self {
        Self { has_functions, ..self }
    }

    /// What tells the loop about commits.
    #[must_use]
    pub fn waker(&self, reconcilers: Arc<Reconcilers>) -> Waker {
        Waker { name: Self::NAME, about: service_of, agenda: self.agenda.clone(), reconcilers }
    }

    /// The next services to look at.
    fn next(&self) -> Vec<Key> {
        self.agenda
            .next(&self.engine, self.limits.look_again, BATCH, |cluster| cluster.services.keys().cloned().collect())
    }

    /// One step of one service; answers how many tasks it looked at for nothing.
    async fn step(&self, key: &Key) -> Result<usize, ServiceError> {
        let (scope, cluster, name) = key;
        let now = self.engine.seams().clock.now();
        let random = &*self.engine.seams().random;
        let conditions = Conditions {
            now,
            random,
            quotas: self.engine.quotas(),
            limits: self.limits,
            signals: &*self.signals,
            has_functions: self.has_functions,
        };
        if !self.busy().remove(key) {
            // Most steps find nothing to do: others may go on while this one looks.
            let (changed, due, looked) = self.engine.peek(|state| {
                let mut changes = Changes::default();
                let due = advance(state, scope, *cluster, name, conditions, &mut changes);
                (!changes.is_empty(), due, tasks_of(state, scope, *cluster, name))
            });
            if !changed {
                self.agenda.wait(key, due);
                return Ok(looked);
            }
        }
        let (changed, due) = self
            .engine
            .write(|state, changes| {
                let due = advance(state, scope, *cluster, name, conditions, changes);
                Ok::<_, ServiceError>((!changes.is_empty(), due))
            })
            .await?;
        if changed {
            self.busy().insert(key.clone());
            self.agenda.add([key.clone()]);
        }
        self.agenda.wait(key, due);
        Ok(0)
    }

    fn busy(&self) -> MutexGuard<'_, BTreeSet<Key>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One step of one service: what it does goes to `changes`. Answers when to look again though nothing may have happened.
pub(crate) fn advance(
    state: &State,
    scope: &Scope,
    cluster: Id,
    name: &str,
    conditions: Conditions<'_>,
    changes: &mut Changes,
) -> Option<Timestamp> {
    if state.closing {
        return None;
    }
    let records = state.scope(scope);
    let cluster = records.clusters.get(&cluster)?;
    let before = cluster.services.get(name)?;
    let mut work = Work::new(scope, records, cluster, before, conditions);
    work.run();
    let known = cluster.service_deployment(before);
    if let Some(deployment) = work.deployment.filter(|it| known.is_none_or(|known| **known != *it)) {
        changes.push(Change::PutServiceDeployment(scope.clone(), Arc::new(deployment)));
    }
    for task in work.changed {
        changes.push(Change::PutTask(scope.clone(), Arc::new(task)));
    }
    if work.record != **before {
        changes.push(Change::PutService(scope.clone(), Arc::new(work.record)));
    }
    work.due
}

/// How many tasks a look at a service goes through.
fn tasks_of(state: &State, scope: &Scope, cluster: Id, name: &str) -> usize {
    let Some(cluster) = state.scope(scope).clusters.get(&cluster) else { return 0 };
    let sources = cluster.services.get(name).into_iter().flat_map(|service| service.sources());
    sources.filter_map(|source| cluster.index.started_by.get(&source.id)).map(BTreeSet::len).sum()
}

/// The service that a change is about.
fn service_of(change: &Change) -> Option<Key> {
    match change {
        Change::PutService(scope, record) => Some((scope.clone(), record.cluster, record.name.clone())),
        // To be stopped or continued is all that happens to it from outside.
        Change::PutServiceDeployment(scope, record) => Some((scope.clone(), record.cluster, record.service.clone())),
        Change::PutTask(scope, task) => {
            let name = task.group.strip_prefix("service:")?;
            Some((scope.clone(), task.cluster, name.to_owned()))
        }
        _ => None,
    }
}

impl Reconciler for ServiceScheduler {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn period(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn round(&self) -> BoxFuture<'_, Result<Round, String>> {
        Box::pin(async move {
            let batch = self.next();
            let step = async |key: &Key| self.step(key).await.map_err(|error| format!("service {}: {error}", key.2));
            let looked: Vec<usize> = stream::iter(&batch).map(step).buffered(TOGETHER).try_collect().await?;
            let in_vain: usize = looked.into_iter().filter(|tasks| *tasks >= LARGE).sum();
            if let Some(tasks) = u32::try_from(in_vain).ok().filter(|tasks| *tasks > 0) {
                self.engine.seams().clock.sleep(REST * tasks).await;
            }
            Ok(if batch.is_empty() { Round::Done } else { Round::More })
        })
    }
}
