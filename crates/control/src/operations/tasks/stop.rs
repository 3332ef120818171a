//! StopTask.

use std::sync::Arc;
use std::time::Duration;

use longshore_api::{ServiceError, ecs};
use longshore_model::Scope;
use longshore_model::records::{Tags, TaskRecord, TaskStatus};
use longshore_model::task::{self, StopCause};
use longshore_wire::RequestContext;

use super::{find_task, view};
use crate::changes::Change;
use crate::engine::Engine;
use crate::operations::resolve_cluster;
use crate::service::scope_of;
use crate::state::{ClusterState, ScopeState, State};

/// Between two looks at tasks that stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Tasks that one transaction stops, well below its limit.
const STOP_CHUNK: usize = 50;
/// Most characters of a reason that are kept.
const MAX_REASON: usize = 1024;

/// Wants a task stopped; its agent is told as soon as this is durable. The task's tags are deleted. A task that
/// is already stopping or stopped is answered as it is.
///
/// # Errors
/// `ClusterNotFoundException`, `InvalidParameterException`.
pub async fn stop_task(
    engine: &Engine,
    context: &RequestContext,
    input: ecs::StopTaskRequest,
) -> Result<ecs::StopTaskResponse, ServiceError> {
    let scope = scope_of(context);
    let named = input.task.unwrap_or_default();
    let reason: Option<String> = input.reason.map(|reason| reason.chars().take(MAX_REASON).collect());
    let now = engine.seams().clock.now();
    engine
        .write(|state, changes| {
            let records = state.scope(&scope);
            let cluster = resolve_cluster(records, &scope, input.cluster.as_deref())?;
            let found = find_task(cluster, &scope, &named)?
                .ok_or_else(|| ecs::error::invalid_parameter_exception("The referenced task was not found."))?;
            let stopped = task::stop(found, &StopCause::user(reason.as_deref()), now);
            let stopped = stopped.map(|task| Arc::new(TaskRecord { tags: Tags::default(), ..task }));
            let task = stopped.as_ref().unwrap_or(found);
            let view = view::view(&scope, &cluster.record.name, task, records.agent_connected(task), true);
            if let Some(stopped) = stopped {
                changes.push(Change::PutTask(scope.clone(), stopped));
            }
            Ok(ecs::StopTaskResponse { task: Some(view) })
        })
        .await
}

/// Wants every task of every account stopped; resolves once those whose agents are connected have.
///
/// # Errors
/// The store's.
pub async fn stop_every_task(engine: &Engine, reason: &str) -> Result<(), ServiceError> {
    let now = engine.seams().clock.now();
    loop {
        let left = engine
            .write(|state, changes| {
                if !state.closing {
                    changes.push(Change::Closing);
                }
                let wanted: Vec<(&Scope, &Arc<TaskRecord>)> = every_task(state)
                    .filter(|(_, cluster, task)| cluster.index.wanted.contains(&task.id))
                    .map(|(scope, _, task)| (scope, task))
                    .take(STOP_CHUNK)
                    .collect();
                for (scope, found) in &wanted {
                    if let Some(stopped) = task::stop(found, &StopCause::user(Some(reason)), now) {
                        changes.push(Change::PutTask((*scope).clone(), Arc::new(stopped)));
                    }
                }
                Ok::<_, ServiceError>(!changes.is_empty())
            })
            .await?;
        if !left {
            break;
        }
    }
    while engine.peek(|state| every_task(state).any(|(scope, _, task)| is_ending(state.scope(scope), task))) {
        engine.seams().clock.sleep(LOOK_EVERY).await;
    }
    Ok(())
}

fn every_task(state: &State) -> impl Iterator<Item = (&Scope, &ClusterState, &Arc<TaskRecord>)> {
    let clusters =
        state.scopes().flat_map(|(scope, records)| records.clusters.values().map(move |cluster| (scope, cluster)));
    clusters.flat_map(|(scope, cluster)| cluster.tasks.values().map(move |task| (scope, cluster, task)))
}

/// Whether somebody is at work on stopping it.
fn is_ending(records: &ScopeState, task: &TaskRecord) -> bool {
    task.last_status != TaskStatus::Stopped && records.agent_connected(task)
}
