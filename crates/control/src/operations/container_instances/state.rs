//! UpdateContainerInstancesState.

use std::sync::Arc;

use longshore_api::{ServiceError, ecs};
use longshore_model::records::{ContainerInstanceRecord, ContainerInstanceStatus};
use longshore_wire::RequestContext;

use super::{Include, check_speaks_for, failure, find_instance, missing, view};
use crate::changes::Change;
use crate::engine::Engine;
use crate::operations::resolve_cluster;
use crate::service::scope_of;

/// Most container instances in one call.
const MAX_UPDATED: usize = 10;

/// Drains container instances, or takes them back into service.
///
/// # Errors
/// `ClusterNotFoundException`, `InvalidParameterException`, `AccessDeniedException`.
pub async fn update_container_instances_state(
    engine: &Engine,
    context: &RequestContext,
    input: ecs::UpdateContainerInstancesStateRequest,
) -> Result<ecs::UpdateContainerInstancesStateResponse, ServiceError> {
    let scope = scope_of(context);
    let status = match &input.status {
        Some(ecs::ContainerInstanceStatus::Active) => ContainerInstanceStatus::Active,
        Some(ecs::ContainerInstanceStatus::Draining) => ContainerInstanceStatus::Draining,
        other => {
            let other = other.as_ref().map_or("", ecs::ContainerInstanceStatus::as_str);
            let message = format!("Container instances cannot be set to '{other}': use ACTIVE or DRAINING.");
            return Err(ecs::error::invalid_parameter_exception(message));
        }
    };
    let named = input.container_instances.unwrap_or_default();
    if named.is_empty() {
        return Err(ecs::error::invalid_parameter_exception("Container instances cannot be empty."));
    }
    if named.len() > MAX_UPDATED {
        let message = format!("instanceIds can have at most {MAX_UPDATED} items.");
        return Err(ecs::error::invalid_parameter_exception(message));
    }
    let (ids, failures) = engine
        .write(|state, changes| -> Result<_, ServiceError> {
            let cluster = resolve_cluster(state.scope(&scope), &scope, input.cluster.as_deref())?;
            let (mut ids, mut failures) = (Vec::new(), Vec::new());
            for named in &named {
                let Some(instance) = find_instance(cluster, &scope, named)? else {
                    failures.push(missing(&scope, cluster, named));
                    continue;
                };
                check_speaks_for(context, &instance.record)?;
                if instance.record.status == ContainerInstanceStatus::Inactive {
                    failures.push(failure(&scope, cluster, named, "INACTIVE"));
                    continue;
                }
                ids.push((cluster.record.id, instance.record.id));
                if instance.record.status != status {
                    let version = instance.record.version + 1;
                    let record = ContainerInstanceRecord { status, version, ..(*instance.record).clone() };
                    changes.push(Change::PutContainerInstance(scope.clone(), Arc::new(record)));
                }
            }
            Ok((ids, failures))
        })
        .await?;
    let views = engine.peek(|state| {
        let instances = ids.iter().filter_map(|(cluster, id)| {
            let cluster = state.scope(&scope).clusters.get(cluster)?;
            Some(view(&scope, cluster, cluster.instances.get(id)?, Include::default()))
        });
        instances.collect()
    });
    Ok(ecs::UpdateContainerInstancesStateResponse { container_instances: Some(views), failures: Some(failures) })
}
