//! The loop that places tasks which wait for capacity, once a container instance of their capacity provider has room.
//!
//! In what order is said in `operations/tasks/waiting.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use longshore_api::ServiceError;
use longshore_model::records::TaskRecord;
use longshore_model::task::{self, StopCause};
use longshore_seams::{BoxFuture, Timestamp};

use super::agenda::{Agenda, Key};
use super::room::Room;
use super::{Reconciler, Reconcilers, Round, Waker};
use crate::changes::Change;
use crate::engine::{CommitObserver, Engine};
use crate::operations::tasks::capacity::Means;
use crate::operations::tasks::waiting::{Found, first_that_fit};
use crate::state::State;

/// Most capacity providers of one round.
const BATCH: usize = 16;

/// Times of the loop.
#[derive(Clone, Copy, Debug)]
pub struct WaitingTasksLimits {
    /// Between two looks at every queue: the patience of waiting tasks ends without anybody saying so.
    pub look_again: Duration,
}

impl Default for WaitingTasksLimits {
    fn default() -> Self {
        Self { look_again: Duration::from_secs(15) }
    }
}

/// The loop.
#[derive(Debug)]
pub struct WaitingTasks {
    engine: Engine,
    limits: WaitingTasksLimits,
    agenda: Arc<Agenda>,
    idle: Arc<AtomicBool>,
}

/// What tells the loop about commits: nothing while nobody waits, which is nearly always.
#[derive(Debug)]
pub struct WaitingTasksWaker {
    waker: Waker,
    idle: Arc<AtomicBool>,
}

impl CommitObserver for WaitingTasksWaker {
    fn committed(&self, changes: &[Change]) {
        if changes.iter().any(|change| queue_of(change).is_some()) {
            self.idle.store(false, Ordering::SeqCst);
        }
        if !self.idle.load(Ordering::SeqCst) {
            self.waker.committed(changes);
        }
    }
}

impl WaitingTasks {
    /// The loop's name.
    pub const NAME: &'static str = "waiting-tasks";

    /// The loop with these limits.
    #[must_use]
    pub fn new(engine: Engine, limits: WaitingTasksLimits) -> Self {
        Self { engine, limits, agenda: Arc::default(), idle: Arc::default() }
    }

    /// What tells the loop about commits.
    #[must_use]
    pub fn waker(&self, reconcilers: Arc<Reconcilers>) -> WaitingTasksWaker {
        let waker = Waker { name: Self::NAME, about: queue_of, agenda: self.agenda.clone(), reconcilers };
        WaitingTasksWaker { waker, idle: self.idle.clone() }
    }

    /// Finds out whether anybody waits. A task that begins to wait meanwhile is seen, or its commit says so afterwards.
    fn look_for_work(&self) {
        self.idle.store(true, Ordering::SeqCst);
        let waits = |state: &State| {
            let mut clusters = state.scopes().flat_map(|(_, records)| records.clusters.values());
            clusters.any(|cluster| !cluster.index.waiting.is_empty())
        };
        if self.engine.peek(waits) {
            self.idle.store(false, Ordering::SeqCst);
        }
    }

    fn next(&self) -> Vec<Key> {
        self.agenda.next(&self.engine, self.limits.look_again, BATCH, |cluster| {
            cluster.index.waiting.keys().cloned().collect()
        })
    }

    /// Places the first tasks of a queue that fit; looks first without holding anybody up.
    async fn step(&self, key: &Key) -> Result<(), ServiceError> {
        let now = self.engine.seams().clock.now();
        if self.engine.peek(|state| self.plan(state, key, now).is_empty()) {
            return Ok(());
        }
        let changed = self
            .engine
            .write(|state, changes| {
                for task in self.plan(state, key, now) {
                    changes.push(Change::PutTask(key.0.clone(), Arc::new(task)));
                }
                Ok::<_, ServiceError>(!changes.is_empty())
            })
            .await?;
        if changed {
            self.agenda.add([key.clone()]);
        }
        Ok(())
    }

    /// The next tasks to be changed, as they become.
    fn plan(&self, state: &State, (scope, cluster, provider): &Key, now: Timestamp) -> Vec<TaskRecord> {
        let records = state.scope(scope);
        let Some(cluster) = records.clusters.get(cluster).filter(|_| !state.closing) else { return Vec::new() };
        let random = &*self.engine.seams().random;
        let means = Means { random, quotas: self.engine.quotas() };
        let mut room = Room::default();
        match first_that_fit(scope, records, cluster, provider, (now, room.tasks()), means) {
            None => Vec::new(),
            Some(Found::Lost(task)) => {
                let gone = StopCause::failed_to_start("The task definition of the task is gone.");
                task::stop(task, &gone, now).into_iter().collect()
            }
            Some(Found::Places(batch, launch, placed)) => {
                let mut tasks = Vec::new();
                for (task, spot) in batch.into_iter().zip(placed.spots) {
                    if !room.take(task) {
                        break;
                    }
                    let mut task = task.clone();
                    launch.put_on(&mut task, spot, now, random);
                    task.version += 1;
                    tasks.push(task);
                }
                tasks
            }
        }
    }
}

/// The queue that a change is about.
fn queue_of(change: &Change) -> Option<Key> {
    match change {
        Change::PutTask(scope, task) if task.waiting.is_some() => {
            Some((scope.clone(), task.cluster, task.capacity_provider.clone()?))
        }
        _ => None,
    }
}

impl Reconciler for WaitingTasks {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn period(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn round(&self) -> BoxFuture<'_, Result<Round, String>> {
        Box::pin(async move {
            self.look_for_work();
            let batch = self.next();
            for key in &batch {
                self.step(key).await.map_err(|error| format!("capacity provider {}: {error}", key.2))?;
            }
            Ok(if batch.is_empty() { Round::Done } else { Round::More })
        })
    }
}
