//! Services.

mod beside;
#[cfg(test)]
mod connect_tests;
#[cfg(test)]
mod connector_tests;
mod create;
mod delete;
mod describe;
#[cfg(test)]
mod lattice_tests;
#[cfg(test)]
mod parameter_tests;
mod rollout;
mod service_deployments;
mod service_revisions;
#[cfg(test)]
mod tests;
mod update;
mod view;

pub use create::create_service;
pub(crate) use create::{create, prepare as prepare_create};
pub use delete::delete_service;
pub use describe::{describe_services, list_services, list_services_by_namespace};
pub(crate) use rollout::deployment;
pub(crate) use service_deployments::freeze_counts;
pub use service_deployments::{
    continue_service_deployment, describe_service_deployments, list_service_deployments, stop_service_deployment,
};
pub use service_revisions::describe_service_revisions;
pub use update::update_service;
pub(crate) use update::{prepare as prepare_update, update};
pub(crate) use view::counts;

use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_api::ecs::{Service, error};
use longshore_model::Scope;
use longshore_model::records::TaskDefinitionRecord;
use longshore_model::service::ServiceRecord;
use longshore_seams::{Random, Timestamp};
use longshore_wire::RequestContext;

use crate::engine::Engine;
use crate::operations::identifiers::name_in;
use crate::operations::tasks::capacity::Capacity;
use crate::operations::tasks::launch::Launch;
use crate::operations::tasks::placement;
use crate::quotas::Quotas;
use crate::service::scope_of;
use crate::state::{ClusterState, ScopeState};

/// Who makes or changes a service, where and when.
pub(crate) struct Caller<'a> {
    pub scope: Scope,
    /// The principal's ARN.
    pub arn: String,
    pub quotas: &'a Quotas,
    pub now: Timestamp,
    pub random: &'a dyn Random,
}

impl<'a> Caller<'a> {
    /// Who calls, now.
    pub(crate) fn new(engine: &'a Engine, context: &RequestContext) -> Self {
        let seams = engine.seams();
        Self {
            scope: scope_of(context),
            arn: context.principal.arn(),
            quotas: engine.quotas(),
            now: seams.clock.now(),
            random: &*seams.random,
        }
    }
}

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
pub(crate) fn check_in_cluster(
    state: &ScopeState,
    scope: &Scope,
    cluster: &ClusterState,
    settings: &Service,
    definition: Option<&TaskDefinitionRecord>,
) -> Result<(), ServiceError> {
    let strategy = settings.capacity_provider_strategy.as_deref();
    let capacity = Capacity::of(state, scope, cluster, settings.launch_type.as_ref(), strategy)?;
    placement::strategies(settings.placement_strategy.as_deref())?;
    capacity.check_placement_strategies(settings.placement_strategy.as_deref())?;
    let Some(definition) = definition else { return Ok(()) };
    placement::constraints(&definition.definition, settings.placement_constraints.as_deref())?;
    let mut launch = Launch::new(definition, None, None, None)?;
    launch.enable_execute_command = settings.enable_execute_command.unwrap_or(false);
    launch.settle(scope, &capacity, settings.platform_version.as_deref(), settings.network_configuration.as_ref())
}
