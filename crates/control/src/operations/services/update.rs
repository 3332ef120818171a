//! UpdateService.

use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_api::ecs::{
    DeploymentControllerType, TaskDefinition, UpdateServiceRequest, UpdateServiceResponse, error,
};
use longshore_model::express::ExpressRecord;
use longshore_model::service::{self, RevisionSettings, ServiceRecord, ServiceStatus};
use longshore_wire::RequestContext;

use super::rollout::begin;
use super::view::view;
use super::{Caller, beside, check_in_cluster, resolve_service};
use crate::changes::{Change, Changes};
use crate::engine::Engine;
use crate::operations::resolve_cluster;
use crate::operations::task_definitions::{Reference, resolve_active};
use crate::state::State;

/// Changes a service. A new task definition, or `forceNewDeployment`, begins a deployment; a new
/// desired count alone does not.
///
/// # Errors
/// `ClusterNotFoundException`, `ServiceNotFoundException`, `ServiceNotActiveException`,
/// `ClientException` (no such task definition), `InvalidParameterException`, `UnsupportedFeatureException`.
pub async fn update_service(
    engine: &Engine,
    context: &RequestContext,
    input: UpdateServiceRequest,
) -> Result<UpdateServiceResponse, ServiceError> {
    update(engine, context, input, None).await
}

/// As [`update_service`]; `express` replaces what makes the service an Express gateway service.
///
/// # Errors
/// As [`update_service`].
pub(crate) async fn update(
    engine: &Engine,
    context: &RequestContext,
    input: UpdateServiceRequest,
    express: Option<Box<ExpressRecord>>,
) -> Result<UpdateServiceResponse, ServiceError> {
    let caller = Caller::new(engine, context);
    engine.write(|state, changes| prepare(state, &caller, &input, express, changes)).await
}

/// What UpdateService does, without doing it: its changes. A dry run ends here.
///
/// # Errors
/// As [`update_service`].
pub(crate) fn prepare(
    state: &State,
    caller: &Caller<'_>,
    input: &UpdateServiceRequest,
    express: Option<Box<ExpressRecord>>,
    changes: &mut Changes,
) -> Result<UpdateServiceResponse, ServiceError> {
    let Caller { ref scope, quotas, now, random, .. } = *caller;
    let cluster = resolve_cluster(state.scope(scope), scope, input.cluster.as_deref())?;
    let before = resolve_service(cluster, scope, input.service.as_deref())?;
    if before.status != ServiceStatus::Active {
        return Err(error::service_not_active_exception("Service was not ACTIVE."));
    }
    check_controller(before, input)?;
    let mut record = ServiceRecord::clone(before);
    record.settings = service::updated(&before.settings, input)?;
    let default_namespace = cluster.record.service_connect_namespace.as_deref();
    record.revision_settings = before.revision_settings.updated(input, default_namespace)?;
    record.express = express.or(record.express);
    if let Some(desired) = input.desired_count.filter(|_| !before.is_daemon()) {
        quotas.check_desired_count(desired)?;
        record.desired_count = desired;
    }
    let primary = before.deployments.first();
    let external = before.controller() == DeploymentControllerType::External;
    let current = before.sources().next().filter(|_| !external);
    let definition = match (input.task_definition.as_deref().filter(|named| !named.is_empty()), current) {
        (Some(named), _) => Some(resolve_active(state.scope(scope), scope, named)?),
        // The revision that runs may have been deregistered since; it goes on.
        (None, Some(current)) => {
            let reference = Reference { family: &current.family, revision: Some(current.revision) };
            reference.find(state.scope(scope))
        }
        (None, None) => None,
    };
    if let Some(definition) = definition.filter(|_| input.load_balancers.is_none()) {
        check_balanced(before, &definition.definition)?;
    }
    service::check(&record.settings, record.desired_count, definition.map(|it| &it.definition))?;
    service::settle_platform(&mut record.settings, definition.map(|it| &it.definition));
    let (named, task_definition) = ((cluster, record.name.as_str()), definition.map(|it| &it.definition));
    let (own, settings) = (&record.revision_settings, &record.settings);
    beside::check(state.scope(scope), scope, named, own, settings, task_definition)?;
    if input.gateway_connectors.is_some() {
        beside::check_gateways(state.scope(scope), cluster, own)?;
    }
    check_in_cluster(state.scope(scope), scope, cluster, &record.settings, definition.map(|it| &**it))?;
    if let (Some(definition), Some(primary)) = (definition, primary) {
        let same = definition.family == primary.family && definition.revision == primary.revision;
        if !same || input.force_new_deployment == Some(true) || moved(before, &record) {
            begin(scope, cluster, &mut record, definition, (now, random), changes);
        } else if primary.desired_count != record.desired_count {
            record.deployments[0].desired_count = record.desired_count;
            record.deployments[0].updated_at = now;
        }
    }
    record.rescale(now);
    let service = Some(view(scope, cluster, &record, true));
    if record != **before {
        for at in 0..record.sources().count() {
            if let Some(source) = record.source_mut(at) {
                source.refused = None;
            }
        }
        changes.push(Change::PutService(scope.clone(), Arc::new(record)));
    }
    Ok::<_, ServiceError>(UpdateServiceResponse { service })
}

/// The containers and ports that load balancers were given must stay in the task definition (guide chapter 24).
fn check_balanced(service: &ServiceRecord, definition: &TaskDefinition) -> Result<(), ServiceError> {
    let has = |name: &Option<String>, port: Option<i32>| {
        let mut containers = definition.container_definitions.iter().flatten().filter(|it| it.name == *name);
        containers.any(|it| it.port_mappings.iter().flatten().any(|mapping| mapping.container_port == port))
    };
    let mut balancers = service.settings.load_balancers.iter().flatten();
    if balancers.all(|balancer| has(&balancer.container_name, balancer.container_port)) {
        return Ok(());
    }
    Err(error::invalid_parameter_exception(format!(
        "Unable to update the service {}: Load balancer container name or port changed in task definition.",
        service.name
    )))
}

/// Whether running tasks have to be replaced to take the new settings.
fn moved(before: &ServiceRecord, after: &ServiceRecord) -> bool {
    if before.revision_settings != after.revision_settings {
        return true;
    }
    let (before, after) = (&before.settings, &after.settings);
    before.network_configuration != after.network_configuration
        || before.platform_version != after.platform_version
        || before.launch_type != after.launch_type
        || before.capacity_provider_strategy != after.capacity_provider_strategy
        || before.load_balancers != after.load_balancers
        || before.service_registries != after.service_registries
}

fn check_controller(record: &ServiceRecord, input: &UpdateServiceRequest) -> Result<(), ServiceError> {
    let beyond = input.task_definition.is_some()
        || input.network_configuration.is_some()
        || input.platform_version.is_some()
        || input.capacity_provider_strategy.is_some()
        || input.load_balancers.is_some()
        || input.service_registries.is_some()
        || RevisionSettings::are_in(input)
        || input.force_new_deployment == Some(true);
    if record.controller() == DeploymentControllerType::CodeDeploy {
        return check_code_deploy(input);
    }
    if record.controller() == DeploymentControllerType::External && beyond {
        return Err(error::invalid_parameter_exception(
            "With the EXTERNAL deployment controller, UpdateService changes only the desired count, the placement constraints and strategies, the health check grace period, and which tags tasks get: use task sets for the rest.",
        ));
    }
    Ok(())
}

/// What CodeDeploy alone may change of its services, in ECS's own words.
fn check_code_deploy(input: &UpdateServiceRequest) -> Result<(), ServiceError> {
    let refused = [
        ("update task definition", input.task_definition.is_some()),
        ("update network parameters", input.network_configuration.is_some()),
        ("update platform version", input.platform_version.is_some()),
        ("update capacity provider strategy", input.capacity_provider_strategy.is_some()),
        ("update load balancers", input.load_balancers.is_some()),
        ("update service registries", input.service_registries.is_some()),
        (
            "update Service Connect, volumes, VPC Lattice, gateway connectors or monitoring",
            RevisionSettings::are_in(input),
        ),
        ("force a new deployment", input.force_new_deployment == Some(true)),
    ];
    match refused.iter().find(|(_, given)| *given) {
        Some((what, _)) => Err(error::invalid_parameter_exception(format!(
            "Unable to {what} on services with a CODE_DEPLOY deployment controller. Use AWS CodeDeploy to trigger a new deployment."
        ))),
        None => Ok(()),
    }
}
