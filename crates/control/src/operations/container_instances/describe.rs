//! DescribeContainerInstances.

use longshore_api::ecs::{ContainerInstanceField, ContainerInstanceHealthStatus, InstanceHealthCheckState};
use longshore_api::{ServiceError, ecs};
use longshore_wire::RequestContext;

use super::{Include, MAX_NAMED, find_instance, missing, view};
use crate::engine::Engine;
use crate::operations::resolve_cluster;
use crate::service::scope_of;
use crate::state::InstanceState;

/// Describes up to 100 container instances; those that can't be found are failures.
///
/// # Errors
/// `ClusterNotFoundException`, `InvalidParameterException`.
pub async fn describe_container_instances(
    engine: &Engine,
    context: &RequestContext,
    input: ecs::DescribeContainerInstancesRequest,
) -> Result<ecs::DescribeContainerInstancesResponse, ServiceError> {
    let scope = scope_of(context);
    let named = input.container_instances.unwrap_or_default();
    if named.is_empty() {
        return Err(ecs::error::invalid_parameter_exception("Container instances cannot be empty."));
    }
    if named.len() > MAX_NAMED {
        let message = format!("instanceIds can have at most {MAX_NAMED} items.");
        return Err(ecs::error::invalid_parameter_exception(message));
    }
    let fields = input.include.unwrap_or_default();
    let include = Include {
        tags: fields.contains(&ContainerInstanceField::Tags),
        health: fields.contains(&ContainerInstanceField::ContainerInstanceHealth),
    };
    engine
        .read(|state| {
            let cluster = resolve_cluster(state.scope(&scope), &scope, input.cluster.as_deref())?;
            let (mut found, mut failures) = (Vec::new(), Vec::new());
            for named in &named {
                match find_instance(cluster, &scope, named)? {
                    Some(instance) => found.push(view(&scope, cluster, instance, include)),
                    None => failures.push(missing(&scope, cluster, named)),
                }
            }
            Ok(ecs::DescribeContainerInstancesResponse { container_instances: Some(found), failures: Some(failures) })
        })
        .await
}

/// The checks of an instance and the worst of them.
pub(super) fn health(instance: &InstanceState) -> ContainerInstanceHealthStatus {
    let rank = |state: &InstanceHealthCheckState| match state {
        InstanceHealthCheckState::Impaired => 3,
        InstanceHealthCheckState::InsufficientData => 2,
        InstanceHealthCheckState::Initializing => 1,
        _ => 0,
    };
    let states = instance.checks.iter().filter_map(|check| check.status.clone());
    let worst = states.max_by_key(rank).unwrap_or(InstanceHealthCheckState::InsufficientData);
    ContainerInstanceHealthStatus { overall_status: Some(worst), details: Some((*instance.checks).clone()) }
}
