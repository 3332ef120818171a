//! DeregisterContainerInstance.

use std::sync::Arc;

use longshore_api::{ServiceError, ecs};
use longshore_model::records::{ContainerInstanceRecord, ContainerInstanceStatus, TaskStatus};
use longshore_model::task::{self, StopCause};
use longshore_model::{Id, Scope};
use longshore_wire::RequestContext;

use super::{Include, registered_instance, view};
use crate::changes::{Change, Changes};
use crate::engine::Engine;
use crate::operations::resolve_cluster;
use crate::service::scope_of;
use crate::state::{ScopeState, State};

/// Most tasks that one transaction gives up.
const TASKS_AT_ONCE: usize = 90;

/// Takes a container instance out of its cluster. With `force` its tasks are given up: STOPPED,
/// though their containers go on; without, tasks on it are an error.
///
/// # Errors
/// `ClusterNotFoundException`, `InvalidParameterException`.
pub async fn deregister_container_instance(
    engine: &Engine,
    context: &RequestContext,
    input: ecs::DeregisterContainerInstanceRequest,
) -> Result<ecs::DeregisterContainerInstanceResponse, ServiceError> {
    let scope = scope_of(context);
    let named = input.container_instance.unwrap_or_default();
    let force = input.force.unwrap_or(false);
    let now = engine.seams().clock.now();
    let (cluster, id) = engine
        .write(|state, changes| -> Result<_, ServiceError> {
            let records = state.scope(&scope);
            let cluster = resolve_cluster(records, &scope, input.cluster.as_deref())?;
            let instance = registered_instance(cluster, &scope, &named)?;
            if !force && !instance.node().groups.is_empty() {
                return Err(ecs::error::invalid_parameter_exception("Found running tasks on the instance."));
            }
            let record = ContainerInstanceRecord {
                status: ContainerInstanceStatus::Inactive,
                version: instance.record.version + 1,
                deregistered_at: Some(now),
                ..(*instance.record).clone()
            };
            changes.push(Change::PutContainerInstance(scope.clone(), Arc::new(record)));
            give_up_tasks(&scope, records, instance.record.id, now, changes);
            Ok((cluster.record.id, instance.record.id))
        })
        .await?;
    // What is left when this is interrupted, the reconciler of task deadlines gives up.
    while give_up_more(engine, &scope, id).await? {}
    let view = engine
        .read(|state: &State| {
            let cluster = state.scope(&scope).clusters.get(&cluster)?;
            let mut view = view(&scope, cluster, cluster.instances.get(&id)?, Include::default());
            // The connection is closed as soon as the gateway hears of it.
            view.agent_connected = Some(false);
            Some(view)
        })
        .await;
    Ok(ecs::DeregisterContainerInstanceResponse { container_instance: view })
}

/// Gives up more tasks of an INACTIVE instance; whether there were any.
///
/// # Errors
/// The transaction's.
pub(crate) async fn give_up_more(engine: &Engine, scope: &Scope, id: Id) -> Result<bool, ServiceError> {
    let now = engine.seams().clock.now();
    engine
        .write(|state, changes| -> Result<bool, ServiceError> {
            give_up_tasks(scope, state.scope(scope), id, now, changes);
            Ok(!changes.is_empty())
        })
        .await
}

fn give_up_tasks(scope: &Scope, records: &ScopeState, id: Id, now: longshore_seams::Timestamp, changes: &mut Changes) {
    let Some((cluster, instance)) = records.instance(id) else { return };
    let live = records.tasks_on(cluster, instance).map(|(_, task)| task);
    let live = live.filter(|task| task.last_status != TaskStatus::Stopped).take(TASKS_AT_ONCE);
    let cause = StopCause::forced_deregistration();
    for stopped in live.filter_map(|task| task::lost(task, &cause, now)) {
        changes.push(Change::PutTask(scope.clone(), Arc::new(stopped)));
    }
}
