//! Stopped tasks leave the store for the history after a while.

use std::time::Duration;

use longshore_api::ServiceError;
use longshore_model::records::TaskRecord;
use longshore_model::{Id, Scope};
use longshore_seams::{BoxFuture, Timestamp};
use longshore_store::segments::{Record, SegmentLog};

use super::{Reconciler, Round};
use crate::changes::Change;
use crate::engine::Engine;
use crate::state::State;

/// Most tasks of one transaction.
const MOVED_AT_ONCE: usize = 90;

/// What stays in the store.
#[derive(Clone, Copy, Debug)]
pub struct ArchiverLimits {
    /// How long a stopped task stays; ECS shows one for at least an hour.
    pub age: Duration,
    /// Most stopped tasks of one cluster; the oldest go first.
    pub count: usize,
}

impl Default for ArchiverLimits {
    fn default() -> Self {
        Self { age: Duration::from_secs(3600), count: 100_000 }
    }
}

/// A stopped task as history keeps it.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct StoppedTask {
    /// Account and region.
    pub scope: Scope,
    /// The task as it ended.
    pub task: TaskRecord,
}

/// The loop.
#[derive(Debug)]
pub struct Archiver {
    engine: Engine,
    history: SegmentLog,
    limits: ArchiverLimits,
}

impl Archiver {
    /// The loop that moves tasks to `history`.
    #[must_use]
    pub fn new(engine: Engine, history: SegmentLog, limits: ArchiverLimits) -> Self {
        Self { engine, history, limits }
    }
}

impl Reconciler for Archiver {
    fn name(&self) -> &'static str {
        "stopped-task-archiver"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn round(&self) -> BoxFuture<'_, Result<Round, String>> {
        Box::pin(async move {
            let now = self.engine.seams().clock.now();
            let batch = self.engine.read(|state| overdue(state, now, self.limits)).await;
            if batch.is_empty() {
                return Ok(Round::Done);
            }
            let more = if batch.len() == MOVED_AT_ONCE { Round::More } else { Round::Done };
            // Kept before it is deleted: a crash in between leaves a task in both, never in none.
            let mut writes = Vec::with_capacity(batch.len());
            for stopped in &batch {
                let payload = serde_json::to_vec(stopped).map_err(|error| error.to_string())?;
                let task = &stopped.task;
                let last = task.times.stopped.unwrap_or(now);
                writes.push(self.history.append(Record {
                    key: key(task.cluster),
                    first: task.created_at,
                    last,
                    payload,
                }));
            }
            for write in writes {
                write.await.map_err(|error| error.to_string())?;
            }
            let deleted: Result<(), ServiceError> = self
                .engine
                .write(|_, changes| {
                    for StoppedTask { scope, task } in &batch {
                        changes.push(Change::DeleteTask(scope.clone(), task.cluster, task.id));
                    }
                    Ok(())
                })
                .await;
            deleted.map_err(|error| error.to_string())?;
            Ok(more)
        })
    }
}

/// By what history finds the tasks of a cluster: the first 64 bits of its id.
#[must_use]
pub fn key(cluster: Id) -> u64 {
    u64::from_str_radix(&cluster.to_string()[..16], 16).unwrap_or(0)
}

/// The oldest stopped tasks that are too old, or too many.
fn overdue(state: &State, now: Timestamp, limits: ArchiverLimits) -> Vec<StoppedTask> {
    let mut batch = Vec::new();
    for (scope, state) in state.scopes() {
        for cluster in state.clusters.values() {
            let stopped = &cluster.index.stopped;
            let surplus = stopped.len().saturating_sub(limits.count);
            for (at, (when, id)) in stopped.iter().enumerate() {
                if batch.len() == MOVED_AT_ONCE || (at >= surplus && now.since(*when) <= limits.age) {
                    break;
                }
                if let Some(task) = cluster.tasks.get(id) {
                    batch.push(StoppedTask { scope: scope.clone(), task: (**task).clone() });
                }
            }
        }
    }
    batch
}
