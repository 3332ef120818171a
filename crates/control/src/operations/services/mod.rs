//! Services.

mod create;
mod delete;
mod describe;
mod rollout;
mod service_deployments;
mod service_revisions;
#[cfg(test)]
mod tests;
mod update;
mod view;

pub use create::create_service;
pub use delete::delete_service;
pub use describe::{describe_services, list_services, list_services_by_namespace};
pub(crate) use service_deployments::freeze_counts;
pub use service_deployments::{
    continue_service_deployment, describe_service_deployments, list_service_deployments, stop_service_deployment,
};
pub use service_revisions::describe_service_revisions;
pub use update::update_service;

use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_api::ecs::{Service, error};
use longshore_model::Scope;
use longshore_model::records::TaskDefinitionRecord;
use longshore_model::service::ServiceRecord;

use crate::operations::identifiers::name_in;
use crate::operations::tasks::{placement, run};
use crate::state::ClusterState;

/// The service of `cluster` that `named` (name, short or long ARN) means, whatever its status.
///
/// # Errors
/// `InvalidParameterException` for an ARN of something else or of another cluster.
pub fn find_service<'a>(
    cluster: &'a ClusterState,
    scope: &Scope,
    named: &str,
) -> Result<Option<&'a Arc<ServiceRecord>>, ServiceError> {
    Ok(cluster.services.get(name_in("service", cluster, scope, named)?))
}

fn resolve_service<'a>(
    cluster: &'a ClusterState,
    scope: &Scope,
    named: Option<&str>,
) -> Result<&'a Arc<ServiceRecord>, ServiceError> {
    find_service(cluster, scope, named.unwrap_or(""))?
        .ok_or_else(|| error::service_not_found_exception("Service not found."))
}

/// Checks what needs the cluster and the task definition beside the settings themselves.
fn check_in_cluster(
    cluster: &ClusterState,
    settings: &Service,
    definition: Option<&TaskDefinitionRecord>,
) -> Result<(), ServiceError> {
    for item in settings.capacity_provider_strategy.iter().flatten() {
        let named = item.capacity_provider.as_deref().unwrap_or("");
        let name = named.rsplit('/').next().unwrap_or(named);
        if !cluster.record.capacity_providers.iter().any(|known| known == name) {
            return Err(error::invalid_parameter_exception(format!(
                "The specified capacity provider '{name}' is not associated with the cluster {}.",
                cluster.record.name
            )));
        }
    }
    placement::strategies(settings.placement_strategy.as_deref())?;
    if let Some(definition) = definition {
        placement::constraints(&definition.definition, settings.placement_constraints.as_deref())?;
        if let Some(launch_type) = &settings.launch_type {
            run::check_compatible(&definition.definition, launch_type)?;
        }
    }
    Ok(())
}

/// A precise refusal of what no part of this control plane acts on.
fn check_supported(given: &[(&str, bool)]) -> Result<(), ServiceError> {
    match given.iter().find(|(_, given)| *given) {
        Some((member, _)) => Err(error::unsupported_feature_exception(format!(
            "A service with {member} is not supported yet: leave it out."
        ))),
        None => Ok(()),
    }
}
