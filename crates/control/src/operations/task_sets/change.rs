//! UpdateTaskSet, UpdateServicePrimaryTaskSet and DeleteTaskSet.

use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_api::ecs::{
    DeleteTaskSetRequest, DeleteTaskSetResponse, TaskSet, UpdateServicePrimaryTaskSetRequest,
    UpdateServicePrimaryTaskSetResponse, UpdateTaskSetRequest, UpdateTaskSetResponse, error,
};
use longshore_model::service::{ServiceRecord, TaskSetStatus, check_scale};
use longshore_seams::Timestamp;
use longshore_wire::RequestContext;

use super::view::view;
use super::{position, resolve_service};
use crate::changes::Change;
use crate::engine::Engine;
use crate::operations::resolve_cluster;
use crate::service::scope_of;

/// Names of a task set in a request.
struct Named<'a> {
    cluster: Option<&'a str>,
    service: Option<&'a str>,
    task_set: Option<&'a str>,
}

/// Changes the task set that a request names, which must not be DRAINING; answers it.
async fn change(
    engine: &Engine,
    context: &RequestContext,
    named: Named<'_>,
    change: impl FnOnce(&mut ServiceRecord, usize, Timestamp) -> Result<(), ServiceError>,
) -> Result<TaskSet, ServiceError> {
    let scope = scope_of(context);
    let now = engine.seams().clock.now();
    engine
        .write(|state, changes| {
            let cluster = resolve_cluster(state.scope(&scope), &scope, named.cluster)?;
            let before = resolve_service(cluster, &scope, named.service)?;
            let at = position(&scope, cluster, before, named.task_set)?;
            let mut record = ServiceRecord::clone(before);
            change(&mut record, at, now)?;
            record.rescale(now);
            let task_set = view(&scope, cluster, &record.name, &record.task_sets[at], true);
            if record != **before {
                changes.push(Change::PutService(scope.clone(), Arc::new(record)));
            }
            Ok::<_, ServiceError>(task_set)
        })
        .await
}

fn check_not_draining(record: &ServiceRecord, at: usize) -> Result<(), ServiceError> {
    let set = &record.task_sets[at];
    if set.status != TaskSetStatus::Draining {
        return Ok(());
    }
    Err(error::invalid_parameter_exception(format!(
        "The task set {} is DRAINING: it has been deleted and cannot be changed.",
        set.deployment.id
    )))
}

/// Changes the scale of a task set.
///
/// # Errors
/// `ClusterNotFoundException`, `ServiceNotFoundException`, `ServiceNotActiveException`, `TaskSetNotFoundException`,
/// `InvalidParameterException`.
pub async fn update_task_set(
    engine: &Engine,
    context: &RequestContext,
    input: UpdateTaskSetRequest,
) -> Result<UpdateTaskSetResponse, ServiceError> {
    let scale = check_scale(input.scale.as_ref())?;
    let named = Named {
        cluster: input.cluster.as_deref(),
        service: input.service.as_deref(),
        task_set: input.task_set.as_deref(),
    };
    let rescale = |record: &mut ServiceRecord, at: usize, now: Timestamp| {
        check_not_draining(record, at)?;
        let set = &mut record.task_sets[at];
        #[expect(clippy::float_cmp, reason = "a scale that is given again is the same number")]
        let same = set.scale == scale;
        if !same {
            (set.scale, set.deployment.updated_at) = (scale, now);
        }
        set.deployment.refused = None;
        Ok(())
    };
    let task_set = change(engine, context, named, rescale).await?;
    Ok(UpdateTaskSetResponse { task_set: Some(task_set) })
}

/// Makes a task set the one that the service shows. The one before becomes ACTIVE.
///
/// # Errors
/// As [`update_task_set`].
pub async fn update_service_primary_task_set(
    engine: &Engine,
    context: &RequestContext,
    input: UpdateServicePrimaryTaskSetRequest,
) -> Result<UpdateServicePrimaryTaskSetResponse, ServiceError> {
    let named = Named {
        cluster: input.cluster.as_deref(),
        service: input.service.as_deref(),
        task_set: input.primary_task_set.as_deref(),
    };
    let promote = |record: &mut ServiceRecord, at: usize, now: Timestamp| {
        check_not_draining(record, at)?;
        for (other, set) in record.task_sets.iter_mut().enumerate() {
            let status = match set.status {
                _ if other == at => TaskSetStatus::Primary,
                TaskSetStatus::Primary => TaskSetStatus::Active,
                same => same,
            };
            if set.status != status {
                (set.status, set.deployment.updated_at) = (status, now);
            }
        }
        Ok(())
    };
    let task_set = change(engine, context, named, promote).await?;
    Ok(UpdateServicePrimaryTaskSetResponse { task_set: Some(task_set) })
}

/// Makes a task set DRAINING; it is gone with the last of its tasks.
///
/// # Errors
/// As [`update_task_set`]; `InvalidParameterException` while it wants tasks and `force` is not given.
pub async fn delete_task_set(
    engine: &Engine,
    context: &RequestContext,
    input: DeleteTaskSetRequest,
) -> Result<DeleteTaskSetResponse, ServiceError> {
    let named = Named {
        cluster: input.cluster.as_deref(),
        service: input.service.as_deref(),
        task_set: input.task_set.as_deref(),
    };
    let force = input.force == Some(true);
    let delete = |record: &mut ServiceRecord, at: usize, now: Timestamp| {
        let set = &mut record.task_sets[at];
        if set.deployment.desired_count > 0 && !force {
            return Err(error::invalid_parameter_exception(format!(
                "The task set {} cannot be deleted while it is scaled above 0: scale it to 0, or use force.",
                set.deployment.id
            )));
        }
        if set.status != TaskSetStatus::Draining {
            (set.status, set.deployment.updated_at) = (TaskSetStatus::Draining, now);
        }
        Ok(())
    };
    let task_set = change(engine, context, named, delete).await?;
    Ok(DeleteTaskSetResponse { task_set: Some(task_set) })
}
