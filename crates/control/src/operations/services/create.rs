//! CreateService.

use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_api::ecs::{
    CreateServiceRequest, CreateServiceResponse, DeploymentControllerType, LaunchType, PropagateTags,
    SchedulingStrategy, error,
};
use longshore_model::express::ExpressRecord;
use longshore_model::service::{self, RevisionSettings, ServiceRecord, ServiceStatus};
use longshore_model::tags;
use longshore_wire::RequestContext;

use super::rollout::begin;
use super::view::view;
use super::{Caller, beside, check_in_cluster};
use crate::changes::{Change, Changes};
use crate::engine::Engine;
use crate::operations::account_settings::{check_taggable, wants_short_arns};
use crate::operations::resolve_cluster;
use crate::operations::task_definitions::resolve_active;
use crate::operations::task_sets::first_task_set;
use crate::state::{ClusterState, State};

/// Makes a service; its tasks follow.
///
/// # Errors
/// `ClusterNotFoundException`, `ClientException` (no such task definition), `InvalidParameterException`,
/// `UnsupportedFeatureException`.
pub async fn create_service(
    engine: &Engine,
    context: &RequestContext,
    input: CreateServiceRequest,
) -> Result<CreateServiceResponse, ServiceError> {
    create(engine, context, input, None).await
}

/// As [`create_service`]; with `express`, the service becomes an Express gateway service.
///
/// # Errors
/// As [`create_service`].
pub(crate) async fn create(
    engine: &Engine,
    context: &RequestContext,
    input: CreateServiceRequest,
    express: Option<Box<ExpressRecord>>,
) -> Result<CreateServiceResponse, ServiceError> {
    let caller = Caller::new(engine, context);
    engine.write(|state, changes| prepare(state, &caller, &input, express, changes)).await
}

/// What CreateService does, without doing it: its changes. A dry run ends here.
///
/// # Errors
/// As [`create_service`].
pub(crate) fn prepare(
    state: &State,
    caller: &Caller<'_>,
    input: &CreateServiceRequest,
    express: Option<Box<ExpressRecord>>,
    changes: &mut Changes,
) -> Result<CreateServiceResponse, ServiceError> {
    let Caller { ref scope, quotas, now, random, .. } = *caller;
    let given = service::from_request(input)?;
    let tags = tags::on_creation(input.tags.as_deref())?;
    let name = input.service_name.clone().unwrap_or_default();
    let cluster = resolve_cluster(state.scope(scope), scope, input.cluster.as_deref())?;
    if let Some(existing) = known(cluster, &name, input.client_token.as_deref())? {
        let service = Some(view(scope, cluster, existing, true));
        return Ok(CreateServiceResponse { service });
    }
    let mut settings = given;
    let revision_settings = RevisionSettings::of(input, cluster.record.service_connect_namespace.as_deref())?;
    let external = settings.deployment_controller.as_ref().and_then(|it| it.r#type.clone())
        == Some(DeploymentControllerType::External);
    let named = input.task_definition.as_deref().filter(|named| !named.is_empty());
    let definition = named.map(|named| resolve_active(state.scope(scope), scope, named)).transpose()?;
    let desired = input.desired_count.unwrap_or(0);
    if settings.launch_type.is_none() && settings.capacity_provider_strategy.is_none() && !external {
        // The cluster's default comes before the launch type EC2.
        match &cluster.record.default_strategy {
            none if none.is_empty() => settings.launch_type = Some(LaunchType::Ec2),
            default => settings.capacity_provider_strategy = Some(default.clone()),
        }
    }
    service::check(&settings, desired, definition.map(|it| &it.definition))?;
    service::settle_platform(&mut settings, definition.map(|it| &it.definition));
    let task_definition = definition.map(|it| &it.definition);
    beside::check(state.scope(scope), scope, (cluster, &name), &revision_settings, &settings, task_definition)?;
    beside::check_gateways(state.scope(scope), cluster, &revision_settings)?;
    check_in_cluster(state.scope(scope), scope, cluster, &settings, definition.map(|it| &**it))?;
    let daemon = settings.scheduling_strategy == Some(SchedulingStrategy::Daemon);
    let desired = if daemon { 0 } else { desired };
    quotas.check_desired_count(desired)?;
    let kept = cluster.services.values().filter(|service| service.status != ServiceStatus::Inactive);
    quotas.check_services(kept.count())?;
    let maker = caller.arn.clone();
    let short_arn = wants_short_arns(state.scope(scope), scope, &maker, "serviceLongArnFormat");
    let propagates = settings.propagate_tags.as_ref().is_some_and(|it| *it != PropagateTags::None);
    check_taggable(
        short_arn,
        &[
            ("add tags to the service", !tags.is_empty()),
            ("propagate tags", propagates),
            ("work with ECS managed tags", settings.enable_ecs_managed_tags == Some(true)),
        ],
    )?;
    let mut record = ServiceRecord {
        cluster: cluster.record.id,
        short_arn,
        name: name.clone(),
        status: ServiceStatus::Active,
        desired_count: desired,
        settings,
        revision_settings,
        created_at: now,
        created_by: maker,
        client_token: input.client_token.clone(),
        deployments: Vec::new(),
        last_completed: None,
        service_deployment: None,
        inactive_at: None,
        events: Vec::new(),
        steady_at: None,
        rebalancing: false,
        task_sets: Vec::new(),
        express,
        tags,
    };
    match (definition, record.controller()) {
        (Some(definition), DeploymentControllerType::CodeDeploy) => {
            record.task_sets.push(first_task_set(definition, &record, (now, random)));
        }
        (Some(definition), _) => begin(scope, cluster, &mut record, definition, (now, random), changes),
        (None, _) => {}
    }
    let service = Some(view(scope, cluster, &record, true));
    changes.push(Change::PutService(scope.clone(), Arc::new(record)));
    Ok::<_, ServiceError>(CreateServiceResponse { service })
}

/// The service that an earlier call with the same name and token made.
fn known<'a>(
    cluster: &'a ClusterState,
    name: &str,
    token: Option<&str>,
) -> Result<Option<&'a ServiceRecord>, ServiceError> {
    match cluster.services.get(name) {
        None => Ok(None),
        Some(existing) => match existing.status {
            ServiceStatus::Inactive => Ok(None),
            ServiceStatus::Draining => {
                Err(error::invalid_parameter_exception("Unable to Start a service that is still Draining."))
            }
            ServiceStatus::Active if token.is_some() && existing.client_token.as_deref() == token => Ok(Some(existing)),
            ServiceStatus::Active => Err(error::invalid_parameter_exception("Creation of service was not idempotent.")),
        },
    }
}
