//! StopTask.

use std::sync::Arc;

use longshore_api::{ServiceError, ecs};
use longshore_model::task::{self, StopCause};
use longshore_wire::RequestContext;

use super::{find_task, view};
use crate::changes::Change;
use crate::engine::Engine;
use crate::operations::resolve_cluster;
use crate::service::scope_of;

/// Most characters of a reason that are kept.
const MAX_REASON: usize = 1024;

/// Wants a task stopped; its agent is told as soon as this is durable. A task that is already
/// stopping or stopped is answered as it is.
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
            let cluster = resolve_cluster(state.scope(&scope), &scope, input.cluster.as_deref())?;
            let found = find_task(cluster, &scope, &named)?
                .ok_or_else(|| ecs::error::invalid_parameter_exception("The referenced task was not found."))?;
            let stopped = task::stop(found, &StopCause::user(reason.as_deref()), now).map(Arc::new);
            let task = stopped.as_ref().unwrap_or(found);
            let instance = task.container_instance.and_then(|id| cluster.instances.get(&id));
            let connected = instance.is_some_and(|instance| instance.agent_connected());
            let view = view::view(&scope, &cluster.record.name, task, connected, true);
            if let Some(stopped) = stopped {
                changes.push(Change::PutTask(scope.clone(), stopped));
            }
            Ok(ecs::StopTaskResponse { task: Some(view) })
        })
        .await
}
