//! Task sets: the deployments of services with the EXTERNAL controller.

mod change;
mod create;
mod describe;
#[cfg(test)]
mod tests;
mod view;

pub use change::{delete_task_set, update_service_primary_task_set, update_task_set};
pub use create::create_task_set;
pub(crate) use create::first_task_set;
pub use describe::describe_task_sets;
pub(crate) use view::view;

use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_api::ecs::{DeploymentControllerType, error};
use longshore_model::Scope;
use longshore_model::service::{ServiceRecord, ServiceStatus};

use super::services::find_service;
use crate::state::ClusterState;

/// The service that a call on task sets means: ACTIVE, and of a controller that has task sets.
fn resolve_service<'a>(
    cluster: &'a ClusterState,
    scope: &Scope,
    named: Option<&str>,
) -> Result<&'a Arc<ServiceRecord>, ServiceError> {
    let found = find_service(cluster, scope, named.unwrap_or(""))?;
    let service = found.ok_or_else(|| error::service_not_found_exception("Service not found."))?;
    if service.status != ServiceStatus::Active {
        return Err(error::service_not_active_exception("Service was not ACTIVE."));
    }
    if service.controller() == DeploymentControllerType::Ecs {
        return Err(error::invalid_parameter_exception(format!(
            "The service {} has the ECS deployment controller: task sets are for services with the EXTERNAL one.",
            service.name
        )));
    }
    Ok(service)
}

/// The id in a reference to a task set of `service`: the id itself, or its ARN.
fn task_set_id<'a>(scope: &Scope, cluster: &str, service: &str, named: &'a str) -> Result<&'a str, ServiceError> {
    if !named.starts_with("arn:") {
        return Ok(named);
    }
    match scope.in_service("task-set", named) {
        Some((of, in_service, id)) if of == cluster && in_service == service => Ok(id),
        _ => Err(error::invalid_parameter_exception(format!(
            "Invalid identifier: {named} is not a task set of the service {service}."
        ))),
    }
}

/// Where in `service` the task set is that `named` means.
fn position(
    scope: &Scope,
    cluster: &ClusterState,
    service: &ServiceRecord,
    named: Option<&str>,
) -> Result<usize, ServiceError> {
    let named = named.unwrap_or("");
    let id = task_set_id(scope, &cluster.record.name, &service.name, named)?;
    service.task_sets.iter().position(|set| set.deployment.id == id).ok_or_else(|| {
        error::task_set_not_found_exception(format!(
            "The task set {named} does not exist in the service {}.",
            service.name
        ))
    })
}
