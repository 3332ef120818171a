//! StartTask: the caller says where.

use std::collections::BTreeMap;

use longshore_api::{ServiceError, ecs};
use longshore_model::{Id, Scope, ebs};
use longshore_scheduler::{Request, place};
use longshore_wire::RequestContext;

use super::capacity::{Capacity, Spot};
use super::launch::{Launch, check_reference, failure};
use super::run::put;
use super::tagging::task_tags;
use super::view;
use crate::engine::Engine;
use crate::operations::account_settings::{check_taggable, wants_short_arns};
use crate::operations::container_instances::find_instance;
use crate::operations::resolve_cluster;
use crate::operations::task_definitions::resolve_active;
use crate::service::scope_of;
use crate::state::{ClusterState, InstanceState, State};

/// Most container instances of one call.
const MAX_INSTANCES: usize = 10;

/// Starts one task on each container instance named; those that can't take it are failures.
///
/// # Errors
/// `ClusterNotFoundException`, `ClientException`, `InvalidParameterException`, `UnsupportedFeatureException`.
pub async fn start_task(
    engine: &Engine,
    context: &RequestContext,
    input: ecs::StartTaskRequest,
) -> Result<ecs::StartTaskResponse, ServiceError> {
    let scope = scope_of(context);
    let named = input.container_instances.clone().unwrap_or_default();
    if named.is_empty() {
        return Err(ecs::error::invalid_parameter_exception("Container instances cannot be empty."));
    }
    if named.len() > MAX_INSTANCES {
        let message = format!("instanceIds can have at most {MAX_INSTANCES} items.");
        return Err(ecs::error::invalid_parameter_exception(message));
    }
    let now = engine.seams().clock.now();
    let random = &*engine.seams().random;
    engine
        .write(|state, changes| {
            let cluster = resolve_cluster(state.scope(&scope), &scope, input.cluster.as_deref())?;
            let launch = read(&input, state, &scope, cluster, &context.principal.arn())?;
            // The caller has chosen: only what the instance must have is asked, not what is preferred.
            let request = launch.request(Vec::new(), Vec::new());
            let mut taken: BTreeMap<Id, usize> = BTreeMap::new();
            let (mut tasks, mut failures) = (Vec::new(), Vec::new());
            for named in &named {
                match admit(&scope, cluster, named, &request, &mut taken, random)? {
                    Ok((instance, gpus)) => {
                        let spot = Spot::on(&launch, instance, gpus, None);
                        tasks.push(launch.record(cluster, spot, now, random));
                    }
                    Err(failure) => failures.push(failure),
                }
            }
            let name = &cluster.record.name;
            let views = tasks.iter().map(|task| view::view(&scope, name, task, true, true)).collect();
            put(&scope, tasks, changes);
            Ok(ecs::StartTaskResponse { tasks: Some(views), failures: Some(failures) })
        })
        .await
}

fn read<'a>(
    input: &'a ecs::StartTaskRequest,
    state: &'a State,
    scope: &Scope,
    cluster: &ClusterState,
    caller: &str,
) -> Result<Launch<'a>, ServiceError> {
    let definition = resolve_active(state.scope(scope), scope, input.task_definition.as_deref().unwrap_or(""))?;
    check_reference(input.reference_id.as_deref())?;
    let overrides = input.overrides.as_ref();
    let mut launch = Launch::new(definition, overrides, input.group.as_deref(), input.started_by.as_deref())?;
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
    let on_instances = Capacity::LaunchType(ecs::LaunchType::Ec2);
    launch.settle(scope, &on_instances, None, input.network_configuration.as_ref())?;
    let volumes = input.volume_configurations.as_deref().unwrap_or_default();
    ebs::check_propagation(volumes)?;
    launch.attach(volumes)?;
    launch.tags = task_tags(
        input.tags.as_deref(),
        input.propagate_tags.as_ref(),
        input.enable_ecs_managed_tags.unwrap_or(false),
        definition,
        &cluster.record.name,
    )?;
    Ok(launch)
}

type Admitted<'a> = Result<(&'a InstanceState, Vec<String>), ecs::Failure>;

/// Whether the instance called `named` takes one task more than those in `taken`.
fn admit<'a>(
    scope: &Scope,
    cluster: &'a ClusterState,
    named: &str,
    request: &Request,
    taken: &mut BTreeMap<Id, usize>,
    random: &dyn longshore_seams::Random,
) -> Result<Admitted<'a>, ServiceError> {
    let Some(instance) = find_instance(cluster, scope, named)? else {
        let arn = if named.starts_with("arn:") {
            named.to_owned()
        } else {
            scope.ecs_arn(format_args!("container-instance/{}/{named}", cluster.record.name))
        };
        let missing = ecs::Failure { arn: Some(arn), reason: Some("MISSING".to_owned()), detail: None };
        return Ok(Err(missing));
    };
    let before = taken.entry(instance.record.id).or_default();
    let mut placement = place(&[instance.node()], request, *before + 1, random);
    if let Some(refused) = placement.refused.first() {
        let arn = scope.container_instance_arn(&cluster.record.name, instance.record.id);
        return Ok(Err(failure(arn, &refused.refusals)));
    }
    *before += 1;
    let gpus = placement.assignments.pop().map(|assignment| assignment.gpus).unwrap_or_default();
    Ok(Ok((instance, gpus)))
}
