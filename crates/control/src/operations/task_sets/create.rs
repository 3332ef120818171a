//! CreateTaskSet.

use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_api::ecs::{
    CreateTaskSetRequest, CreateTaskSetResponse, DeploymentControllerType, LaunchType, Service, StabilityStatus, error,
};
use longshore_model::records::{Tags, TaskDefinitionRecord};
use longshore_model::service::{self, MAX_TASK_SETS, ServiceRecord, TaskSetRecord, TaskSetStatus, check_scale};
use longshore_model::{ebs, tags};
use longshore_seams::{Random, Timestamp};
use longshore_wire::RequestContext;

use super::resolve_service;
use super::view::view;
use crate::changes::Change;
use crate::engine::Engine;
use crate::operations::resolve_cluster;
use crate::operations::services::{check_in_cluster, deployment};
use crate::operations::task_definitions::resolve_active;
use crate::service::scope_of;

/// Most characters of a client token.
const MAX_TOKEN: usize = 36;

/// Makes a task set of a service with the EXTERNAL controller; its tasks follow.
///
/// # Errors
/// `ClusterNotFoundException`, `ServiceNotFoundException`, `ServiceNotActiveException`, `LimitExceededException`,
/// `ClientException` (no such task definition), `InvalidParameterException`.
pub async fn create_task_set(
    engine: &Engine,
    context: &RequestContext,
    input: CreateTaskSetRequest,
) -> Result<CreateTaskSetResponse, ServiceError> {
    let scope = scope_of(context);
    let scale = check_scale(input.scale.as_ref())?;
    let tags = tags::on_creation(input.tags.as_deref())?;
    check_token(input.client_token.as_deref())?;
    let given = settings(&input);
    let (now, random) = (engine.seams().clock.now(), &*engine.seams().random);
    engine
        .write(|state, changes| {
            let cluster = resolve_cluster(state.scope(&scope), &scope, input.cluster.as_deref())?;
            let before = resolve_service(cluster, &scope, input.service.as_deref())?;
            check_external(before)?;
            let token = input.client_token.as_deref().filter(|token| !token.is_empty());
            let made = before.task_sets.iter().find(|set| token.is_some() && set.client_token.as_deref() == token);
            if let Some(made) = made {
                return Ok(CreateTaskSetResponse { task_set: Some(view(&scope, cluster, &before.name, made, true)) });
            }
            if before.task_sets.len() >= MAX_TASK_SETS {
                return Err(error::limit_exceeded_exception(format!(
                    "The service {} has {MAX_TASK_SETS} task sets, which is the most: delete one first.",
                    before.name
                )));
            }
            let definition =
                resolve_active(state.scope(&scope), &scope, input.task_definition.as_deref().unwrap_or(""))?;
            let mut settings = given;
            if settings.launch_type.is_none() && settings.capacity_provider_strategy.is_none() {
                // The cluster's default comes before the launch type EC2.
                match &cluster.record.default_strategy {
                    none if none.is_empty() => settings.launch_type = Some(LaunchType::Ec2),
                    default => settings.capacity_provider_strategy = Some(default.clone()),
                }
            }
            service::check_task_set(&settings, &definition.definition)?;
            ebs::check(&[], settings.launch_type.as_ref(), &definition.definition)?;
            service::settle_platform(&mut settings, Some(&definition.definition));
            check_in_cluster(state.scope(&scope), &scope, cluster, &settings, Some(definition))?;
            let mut set = task_set(definition, settings, tags, (now, random));
            set.scale = scale;
            set.external_id.clone_from(&input.external_id);
            set.client_token = token.map(str::to_owned);
            set.rescale(before.desired_count, now);
            let mut record = ServiceRecord::clone(before);
            let task_set = Some(view(&scope, cluster, &record.name, &set, true));
            record.task_sets.push(set);
            changes.push(Change::PutService(scope.clone(), Arc::new(record)));
            Ok::<_, ServiceError>(CreateTaskSetResponse { task_set })
        })
        .await
}

fn check_token(token: Option<&str>) -> Result<(), ServiceError> {
    let Some(token) = token else { return Ok(()) };
    if token.len() > MAX_TOKEN || !token.bytes().all(|byte| (33..=126).contains(&byte)) {
        return Err(error::invalid_parameter_exception(format!(
            "clientToken is not valid: it may have at most {MAX_TOKEN} characters in the range of 33 to 126."
        )));
    }
    Ok(())
}

fn check_external(service: &ServiceRecord) -> Result<(), ServiceError> {
    if service.controller() == DeploymentControllerType::External {
        return Ok(());
    }
    Err(error::invalid_parameter_exception(format!(
        "The service {} has the {} deployment controller, which makes its task sets itself.",
        service.name,
        service.controller().as_str()
    )))
}

/// What the request says, as the settings of a service.
fn settings(input: &CreateTaskSetRequest) -> Service {
    Service {
        load_balancers: input.load_balancers.clone(),
        service_registries: input.service_registries.clone(),
        launch_type: input.launch_type.clone(),
        capacity_provider_strategy: input.capacity_provider_strategy.as_deref().and_then(service::whole_strategy),
        platform_version: input.platform_version.clone(),
        network_configuration: input.network_configuration.clone().map(service::with_public_ip),
        ..Service::default()
    }
}

fn task_set(
    definition: &TaskDefinitionRecord,
    settings: Service,
    tags: Tags,
    (now, random): (Timestamp, &dyn Random),
) -> TaskSetRecord {
    TaskSetRecord {
        deployment: deployment(definition, &settings, 0, now, random),
        status: TaskSetStatus::Active,
        scale: 0.0,
        external_id: None,
        load_balancers: settings.load_balancers.unwrap_or_default(),
        service_registries: settings.service_registries.unwrap_or_default(),
        stability: StabilityStatus::Stabilizing,
        stability_at: now,
        client_token: None,
        tags,
    }
}

/// The task set with which a service of the CODE_DEPLOY controller begins.
pub(crate) fn first_task_set(
    definition: &TaskDefinitionRecord,
    service: &ServiceRecord,
    (now, random): (Timestamp, &dyn Random),
) -> TaskSetRecord {
    let mut set = task_set(definition, service.settings.clone(), Tags::new(), (now, random));
    (set.status, set.scale) = (TaskSetStatus::Primary, 100.0);
    set.rescale(service.desired_count, now);
    set
}
