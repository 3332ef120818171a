//! Deadlines of tasks: those that never start, those that retire, those whose stop is not confirmed, and those
//! whose container instance is gone.

use std::sync::Arc;
use std::time::Duration;

use longshore_api::ServiceError;
use longshore_model::records::{ContainerInstanceStatus, DesiredStatus, TaskRecord, TaskStatus};
use longshore_model::task::{self, StopCause};
use longshore_model::{Id, Scope};
use longshore_scheduler::Refusal;
use longshore_seams::{BoxFuture, Timestamp};

use super::{Reconciler, Round};
use crate::changes::Change;
use crate::engine::Engine;
use crate::gateway::Gateway;
use crate::operations::container_instances::give_up_more;
use crate::operations::tasks::capacity::{Means, Unplaced};
use crate::operations::tasks::waiting::{place_waiting, relaunch};
use crate::state::{ClusterState, ScopeState, State};

/// Most tasks stopped by one transaction.
const STOPPED_AT_ONCE: usize = 90;

/// How long tasks may take.
#[derive(Clone, Copy, Debug)]
pub struct TaskDeadlinesLimits {
    /// From placement to RUNNING. An agent keeps a task that does not fit waiting without a word,
    /// and everything after it too.
    pub pending: Duration,
    /// From its placement until an awsvpc task's agent is at work on its network interface.
    pub provisioning: Duration,
    /// From creation until a container instance of its capacity provider takes a task that waits for capacity. ECS
    /// promises something between 10 and 30 minutes.
    pub waiting: Duration,
    /// From the wish to stop until the agent is told again.
    pub stopping: Duration,
}

impl Default for TaskDeadlinesLimits {
    fn default() -> Self {
        Self {
            pending: Duration::from_secs(3 * 3600),
            provisioning: Duration::from_secs(10 * 60),
            waiting: Duration::from_secs(30 * 60),
            stopping: Duration::from_secs(90),
        }
    }
}

/// The loop.
#[derive(Debug)]
pub struct TaskDeadlines {
    engine: Engine,
    gateway: Gateway,
    limits: TaskDeadlinesLimits,
}

impl TaskDeadlines {
    /// The loop with these limits.
    #[must_use]
    pub fn new(engine: Engine, gateway: Gateway, limits: TaskDeadlinesLimits) -> Self {
        Self { engine, gateway, limits }
    }
}

impl Reconciler for TaskDeadlines {
    fn name(&self) -> &'static str {
        "task-deadlines"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(30)
    }

    fn round(&self) -> BoxFuture<'_, Result<Round, String>> {
        Box::pin(async move {
            let now = self.engine.seams().clock.now();
            let abandoned = self.engine.peek(abandoned);
            if let Some((scope, instance)) = abandoned {
                give_up_more(&self.engine, &scope, instance).await.map_err(|error| error.to_string())?;
                return Ok(Round::More);
            }
            let stopped = self.stop_overdue(now).await.map_err(|error| error.to_string())?;
            let retired = self.retire(now).await.map_err(|error| error.to_string())?;
            if stopped + retired > 0 {
                return Ok(Round::More);
            }
            for (instance, task) in self.engine.peek(|state| unconfirmed(state, now, self.limits.stopping)) {
                self.gateway.tell_again(instance, std::iter::once(task));
            }
            Ok(Round::Done)
        })
    }
}

impl TaskDeadlines {
    /// Stops tasks that have been pending for too long; answers how many.
    async fn stop_overdue(&self, now: Timestamp) -> Result<usize, ServiceError> {
        let TaskDeadlinesLimits { pending: limit, provisioning, waiting, .. } = self.limits;
        let means = Means { random: &*self.engine.seams().random, quotas: self.engine.quotas() };
        let reason = format!("Task did not reach RUNNING within {} seconds", limit.as_secs());
        let (late, bare) = (StopCause::failed_to_start(&reason), StopCause::no_interface());
        self.engine
            .write(|state, changes| {
                for (scope, state) in state.scopes() {
                    for cluster in state.clusters.values() {
                        let pending = cluster.index.pending.iter().filter_map(|id| cluster.tasks.get(id));
                        let overdue = pending.filter_map(|task| {
                            if task.waiting.is_some() {
                                let late = now.since(task.created_at) > waiting;
                                let lacking = || lacking(scope, state, cluster, task, means);
                                let provider = task.capacity_provider.as_deref().unwrap_or_default();
                                let cause = late.then(|| StopCause::no_capacity(provider, waiting, &lacking()));
                                return task::stop(task, &cause?, now);
                            }
                            // Before that, it may have waited for capacity.
                            let age = now.since(task.times.connectivity.unwrap_or(task.created_at));
                            let unprovisioned = task.last_status == TaskStatus::Provisioning && age > provisioning;
                            let cause = if unprovisioned { &bare } else { &late };
                            (unprovisioned || age > limit).then(|| task::stop(task, cause, now)).flatten()
                        });
                        for stopped in overdue {
                            if changes.len() == STOPPED_AT_ONCE {
                                return Ok(changes.len());
                            }
                            changes.push(Change::PutTask(scope.clone(), Arc::new(stopped)));
                        }
                    }
                }
                Ok(changes.len())
            })
            .await
    }

    /// Stops tasks whose retirement date has come; answers how many.
    async fn retire(&self, now: Timestamp) -> Result<usize, ServiceError> {
        self.engine
            .write(|state, changes| {
                for (scope, state) in state.scopes() {
                    for cluster in state.clusters.values() {
                        let due = cluster.index.retiring.iter().take_while(|(at, _)| *at <= now);
                        let due = due.filter_map(|(_, id)| cluster.tasks.get(id));
                        for stopped in due.filter_map(|task| task::stop(task, &StopCause::maintenance(), now)) {
                            if changes.len() == STOPPED_AT_ONCE {
                                return Ok(changes.len());
                            }
                            changes.push(Change::PutTask(scope.clone(), Arc::new(stopped)));
                        }
                    }
                }
                Ok(changes.len())
            })
            .await
    }
}

/// What a waiting task lacks, in the words of a failure: of the container instance that lacks the least.
fn lacking(scope: &Scope, records: &ScopeState, cluster: &ClusterState, task: &TaskRecord, means: Means<'_>) -> String {
    const EMPTY: &str = "EMPTY CAPACITY PROVIDER";
    let Some((launch, request)) = relaunch(scope, records, task) else { return EMPTY.to_owned() };
    let placed = place_waiting(records, cluster, task, (&launch, &request), 1, means);
    let Some(Unplaced::Instances(refused)) = placed.unplaced.first() else { return EMPTY.to_owned() };
    let closest = refused.iter().map(|(_, refusals)| refusals).min_by_key(|refusals| refusals.len());
    closest.and_then(|refusals| refusals.first()).map_or(EMPTY, Refusal::reason).to_owned()
}

/// A deregistered instance whose tasks were not all given up: scope, instance.
fn abandoned(state: &State) -> Option<(Scope, Id)> {
    state.scopes().find_map(|(scope, state)| {
        state.clusters.values().find_map(|cluster| {
            let gone = cluster.instances.values().find(|instance| {
                instance.record.status == ContainerInstanceStatus::Inactive && !instance.node().groups.is_empty()
            })?;
            Some((scope.clone(), gone.record.id))
        })
    })
}

/// Tasks on connected instances that were to stop long ago: instance, task.
fn unconfirmed(state: &State, now: Timestamp, limit: Duration) -> Vec<(Id, Id)> {
    let clusters =
        state.scopes().flat_map(|(_, records)| records.clusters.values().map(move |cluster| (records, cluster)));
    let late = clusters.flat_map(|(records, cluster)| {
        cluster.index.stopping.iter().filter_map(move |id| {
            let task = cluster.tasks.get(id).filter(|task| task.desired_status == DesiredStatus::Stopped)?;
            let instance = records.host(task)?;
            let asked = task.times.stopping?;
            (instance.agent_connected() && now.since(asked) > limit).then_some((instance.record.id, task.id))
        })
    });
    late.collect()
}
