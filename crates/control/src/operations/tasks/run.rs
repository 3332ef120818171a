//! RunTask: places tasks inside the call.

use std::sync::Arc;

use longshore_api::{ServiceError, ecs};
use longshore_model::Scope;
use longshore_model::records::{ContainerInstanceStatus, TaskRecord};
use longshore_scheduler::{Placement, place};
use longshore_wire::RequestContext;

use super::launch::{Launch, failure};
use super::placement::{constraints, strategies};
use super::tagging::task_tags;
use super::{network, view};
use crate::changes::{Change, Changes};
use crate::engine::Engine;
use crate::operations::account_settings::{check_taggable, wants_short_arns};
use crate::operations::idempotency::{Token, Used};
use crate::operations::resolve_cluster;
use crate::operations::task_definitions::resolve_active;
use crate::service::scope_of;
use crate::state::{ClusterState, InstanceState, State};

/// Most tasks of one call.
const MAX_COUNT: usize = 10;
/// Most failures in one answer.
const MAX_FAILURES: usize = 100;

/// Places and starts up to ten tasks of one task definition.
///
/// # Errors
/// `ClusterNotFoundException`, `ClientException`, `InvalidParameterException`, `ConflictException`
/// (a client token with another request), `UnsupportedFeatureException`.
pub async fn run_task(
    engine: &Engine,
    context: &RequestContext,
    input: ecs::RunTaskRequest,
) -> Result<ecs::RunTaskResponse, ServiceError> {
    let scope = scope_of(context);
    let wanted = input.count.unwrap_or(1);
    let count = usize::try_from(wanted).ok().filter(|count| (1..=MAX_COUNT).contains(count)).ok_or_else(|| {
        let message = format!("count is {wanted}; it must be between 1 and {MAX_COUNT}.");
        ecs::error::invalid_parameter_exception(message)
    })?;
    let token = Token::of("RunTask", input.client_token.as_deref(), &input)?;
    let strategies = strategies(input.placement_strategy.as_deref())?;
    let now = engine.seams().clock.now();
    let random = &*engine.seams().random;
    engine
        .write(|state, changes| {
            let cluster = resolve_cluster(state.scope(&scope), &scope, input.cluster.as_deref())?;
            if let Used::Before(ids) =
                token.look_up(state.scope(&scope), now, |id| scope.task_arn(&cluster.record.name, id))?
            {
                let tasks = ids.iter().filter_map(|id| cluster.tasks.get(id));
                let tasks = tasks.map(|task| shown(&scope, cluster, task)).collect();
                return Ok(ecs::RunTaskResponse { tasks: Some(tasks), failures: Some(Vec::new()) });
            }
            let launch = read(&input, state, &scope, cluster, &context.principal.arn())?;
            let constraints = constraints(&launch.definition.definition, input.placement_constraints.as_deref())?;
            let instances = candidates(cluster)?;
            let request = launch.request(constraints, strategies);
            let nodes: Vec<_> = instances.iter().map(|instance| instance.node()).collect();
            let placement = place(&nodes, &request, count, random);
            network::check_placed(&launch.definition.definition, !placement.assignments.is_empty())?;
            let failures = failures(&scope, cluster, &instances, &placement);
            let mut tasks = Vec::new();
            for assignment in placement.assignments {
                let instance = instances[assignment.node];
                tasks.push(launch.record(cluster, instance, assignment.gpus, now, random));
            }
            token.remember(&scope, cluster.record.id, tasks.iter().map(|task| task.id).collect(), now, changes);
            let views = tasks.iter().map(|task| shown(&scope, cluster, task)).collect();
            put(&scope, tasks, changes);
            Ok(ecs::RunTaskResponse { tasks: Some(views), failures: Some(failures) })
        })
        .await
}

fn shown(scope: &Scope, cluster: &ClusterState, task: &TaskRecord) -> ecs::Task {
    view::view(scope, &cluster.record.name, task, true, true)
}

/// Adds the tasks of one call.
pub(super) fn put(scope: &Scope, tasks: Vec<TaskRecord>, changes: &mut Changes) {
    for task in tasks {
        changes.push(Change::PutTask(scope.clone(), Arc::new(task)));
    }
}

fn read<'a>(
    input: &'a ecs::RunTaskRequest,
    state: &'a State,
    scope: &Scope,
    cluster: &ClusterState,
    caller: &str,
) -> Result<Launch<'a>, ServiceError> {
    let definition = resolve_active(state.scope(scope), scope, input.task_definition.as_deref().unwrap_or(""))?;
    let launch_type = launch_type(input, cluster, &definition.definition)?;
    if input.volume_configurations.as_ref().is_some_and(|volumes| !volumes.is_empty()) {
        let message = "RunTask with volumeConfigurations is not supported: Amazon EBS volumes cannot be attached here.";
        return Err(ecs::error::unsupported_feature_exception(message));
    }
    network::check(&definition.definition, input.network_configuration.as_ref())?;
    let overrides = input.overrides.as_ref();
    let mut launch = Launch::new(definition, overrides, input.group.as_deref(), input.started_by.as_deref())?;
    launch.launch_type = launch_type;
    launch.enable_execute_command = input.enable_execute_command.unwrap_or(false);
    launch.short_arn = wants_short_arns(state.scope(scope), scope, caller, "taskLongArnFormat");
    check_taggable(
        launch.short_arn,
        &[
            ("add tags to the task", input.tags.as_ref().is_some_and(|tags| !tags.is_empty())),
            ("propagate tags", input.propagate_tags.as_ref().is_some_and(|it| *it != ecs::PropagateTags::None)),
            ("work with ECS managed tags", input.enable_ecs_managed_tags == Some(true)),
        ],
    )?;
    launch.tags = task_tags(
        input.tags.as_deref(),
        input.propagate_tags.as_ref(),
        input.enable_ecs_managed_tags.unwrap_or(false),
        definition,
        &cluster.record.name,
    )?;
    Ok(launch)
}

fn launch_type(
    input: &ecs::RunTaskRequest,
    cluster: &ClusterState,
    definition: &ecs::TaskDefinition,
) -> Result<ecs::LaunchType, ServiceError> {
    let strategy = input.capacity_provider_strategy.as_ref().is_some_and(|strategy| !strategy.is_empty());
    if strategy && input.launch_type.is_some() {
        let message = "launchType and capacityProviderStrategy cannot be given together: give one of them.";
        return Err(ecs::error::invalid_parameter_exception(message));
    }
    if strategy || (input.launch_type.is_none() && !cluster.record.default_strategy.is_empty()) {
        let message = "RunTask with a capacity provider strategy is not supported yet: give launchType EC2.";
        return Err(ecs::error::unsupported_feature_exception(message));
    }
    let launch_type = input.launch_type.clone().unwrap_or(ecs::LaunchType::Ec2);
    let placed = input.placement_constraints.as_ref().is_some_and(|it| !it.is_empty())
        || input.placement_strategy.as_ref().is_some_and(|it| !it.is_empty());
    match &launch_type {
        ecs::LaunchType::Ec2 | ecs::LaunchType::External => {
            if input.platform_version.is_some() {
                let message = "The platform version must be null when specifying an EC2 launch type.";
                return Err(ecs::error::invalid_parameter_exception(message));
            }
            check_compatible(definition, &launch_type)?;
            Ok(launch_type)
        }
        ecs::LaunchType::Fargate if placed => Err(ecs::error::invalid_parameter_exception(
            "Placement constraints and placement strategies are not supported with the FARGATE launch type.",
        )),
        other => Err(ecs::error::unsupported_feature_exception(format!(
            "The launch type {} is not supported yet: use EC2.",
            other.as_str()
        ))),
    }
}

/// Refuses a definition that was registered for other launch types only.
///
/// # Errors
/// `InvalidParameterException`.
pub(crate) fn check_compatible(
    definition: &ecs::TaskDefinition,
    launch_type: &ecs::LaunchType,
) -> Result<(), ServiceError> {
    let required = definition.requires_compatibilities.as_deref().unwrap_or_default();
    if required.is_empty() || required.iter().any(|compatibility| compatibility.as_str() == launch_type.as_str()) {
        return Ok(());
    }
    let message = format!("Task definition does not support launch_type {}.", launch_type.as_str());
    Err(ecs::error::invalid_parameter_exception(message))
}

/// The ACTIVE container instances.
fn candidates(cluster: &ClusterState) -> Result<Vec<&InstanceState>, ServiceError> {
    let active = |instance: &&InstanceState| instance.record.status == ContainerInstanceStatus::Active;
    let instances: Vec<&InstanceState> = cluster.instances.values().filter(active).collect();
    if instances.is_empty() {
        let message = "No Container Instances were found in your cluster.";
        return Err(ecs::error::invalid_parameter_exception(message));
    }
    Ok(instances)
}

fn failures(
    scope: &Scope,
    cluster: &ClusterState,
    instances: &[&InstanceState],
    placement: &Placement,
) -> Vec<ecs::Failure> {
    let refused = placement.refused.iter().take(MAX_FAILURES);
    refused
        .map(|refused| {
            let arn = scope.container_instance_arn(&cluster.record.name, instances[refused.node].record.id);
            failure(arn, &refused.refusals)
        })
        .collect()
}
