//! RunTask: places tasks inside the call.

use std::ops::Add;
use std::sync::Arc;

use longshore_api::{ServiceError, ecs};
use longshore_model::fargate::NO_CAPACITY;
use longshore_model::records::TaskRecord;
use longshore_model::{Id, Scope, ebs};
use longshore_scheduler::{Request, service_default};
use longshore_seams::Timestamp;
use longshore_wire::RequestContext;

use super::capacity::{Capacity, Means, Placed, Unplaced, place_tasks};
use super::launch::{Launch, check_reference, failure};
use super::placement::{constraints, strategies};
use super::tagging::task_tags;
use super::view;
use super::waiting::{growing, is_asked_for, is_held, keep, next_turn};
use crate::changes::{Change, Changes};
use crate::engine::Engine;
use crate::operations::account_settings::{check_taggable, wants_short_arns};
use crate::operations::idempotency::{Token, Used};
use crate::operations::resolve_cluster;
use crate::operations::task_definitions::resolve_active;
use crate::quotas::FargateTasks;
use crate::service::scope_of;
use crate::state::{ClusterState, State};

/// Most tasks of one call.
const MAX_COUNT: usize = 10;
/// Most failures in one answer.
const MAX_FAILURES: usize = 100;

/// Places and starts up to ten tasks of one task definition.
///
/// # Errors
/// `ClusterNotFoundException`, `ClientException`, `InvalidParameterException`, `ConflictException`
/// (a client token with another request), `UnsupportedFeatureException`; `ThrottlingException` for tasks on Fargate
/// beyond the quota.
pub async fn run_task(
    engine: &Engine,
    context: &RequestContext,
    input: ecs::RunTaskRequest,
) -> Result<ecs::RunTaskResponse, ServiceError> {
    let scope = scope_of(context);
    let count = count_of(&input)?;
    let token = Token::of("RunTask", input.client_token.as_deref(), &input)?;
    let now = engine.seams().clock.now();
    let random = &*engine.seams().random;
    let means = Means { random, quotas: engine.quotas() };
    engine
        .write(|state, changes| {
            let cluster = resolve_cluster(state.scope(&scope), &scope, input.cluster.as_deref())?;
            let records = state.scope(&scope);
            let arn = |of: Option<Id>, id| {
                let home = of.and_then(|of| records.clusters.get(&of)).unwrap_or(cluster);
                scope.task_arn(&home.record.name, id)
            };
            if let Used::Before(ids) = token.look_up(records, now, arn)? {
                let tasks = ids.iter().filter_map(|id| cluster.tasks.get(id));
                let tasks = tasks.map(|task| shown(&scope, cluster, task)).collect();
                return Ok(ecs::RunTaskResponse { tasks: Some(tasks), failures: Some(Vec::new()) });
            }
            let caller = context.principal.arn();
            let Planned { launch, placed: Placed { spots, unplaced }, waits, .. } =
                plan(&input, count, state, &scope, cluster, &caller, (means, now))?;
            let missing: Vec<_> = unplaced.into_iter().filter(|it| !waits.bars(it)).collect();
            let mut failures = failures(&scope, cluster, &missing)?;
            failures.extend((0..waits.refused).map(|_| too_many_wait()));
            if launch.launch_type == ecs::LaunchType::Fargate {
                let rate = engine.quotas().fargate_launches_per_second;
                let tasks = spots.iter().map(|spot| FargateTasks::one(spot.is_on_fargate_spot(), false));
                engine.launch_rate().take(&scope, &tasks.fold(FargateTasks::default(), Add::add), rate, now)?;
            }
            let mut tasks = Vec::new();
            for spot in spots {
                tasks.push(launch.record(cluster, spot, now, random));
            }
            for provider in &waits.providers {
                let earlier = tasks.iter().filter(|task| is_waiting_for(task, provider)).count();
                let turn = next_turn(cluster, provider).saturating_add(earlier as u64);
                tasks.push(launch.waiting(cluster, provider, keep(&input, turn), now, random));
            }
            token.remember(&scope, cluster.record.id, tasks.iter().map(|task| task.id).collect(), now, changes);
            let views = tasks.iter().map(|task| shown(&scope, cluster, task)).collect();
            put(&scope, tasks, changes);
            Ok(ecs::RunTaskResponse { tasks: Some(views), failures: Some(failures) })
        })
        .await
}

/// The number of tasks that a call asks for.
///
/// # Errors
/// `InvalidParameterException`.
pub(crate) fn count_of(input: &ecs::RunTaskRequest) -> Result<usize, ServiceError> {
    let wanted = input.count.unwrap_or(1);
    usize::try_from(wanted).ok().filter(|count| (1..=MAX_COUNT).contains(count)).ok_or_else(|| {
        let message = format!("count is {wanted}; it must be between 1 and {MAX_COUNT}.");
        ecs::error::invalid_parameter_exception(message)
    })
}

/// What a call would do.
#[derive(Debug)]
pub(crate) struct Planned<'a> {
    pub launch: Launch<'a>,
    pub request: Request,
    pub placed: Placed<'a>,
    pub waits: Waits,
}

/// Tasks of a call that are accepted without a place.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    /// The capacity provider of each.
    pub providers: Vec<String>,
    /// Further ones that may not wait, because too many do.
    pub refused: usize,
    /// The capacity providers of the call for whose instances tasks may wait.
    growing: Vec<String>,
}

impl Waits {
    /// Those of the tasks in `order` that got no place and whose capacity provider may grow.
    fn of(growing: Vec<String>, order: &[Option<&str>], placed: &Placed<'_>, room: usize) -> Self {
        let mut waits = Self { growing, ..Self::default() };
        for name in &waits.growing {
            let wanted = order.iter().filter(|it| **it == Some(name.as_str())).count();
            let found = placed.spots.iter().filter(|spot| spot.provider.as_ref() == Some(name)).count();
            waits.providers.extend((found..wanted).map(|_| name.clone()));
        }
        waits.refused = waits.providers.len().saturating_sub(room);
        waits.providers.truncate(room);
        waits
    }

    /// Whether tasks wait instead of being refused for this reason.
    pub fn bars(&self, unplaced: &Unplaced<'_>) -> bool {
        unplaced.provider().is_some_and(|name| self.growing.iter().any(|it| it == name))
    }
}

/// Validates a call and finds places for its tasks; a dry run ends here.
///
/// # Errors
/// As [`run_task`].
pub(crate) fn plan<'a>(
    input: &'a ecs::RunTaskRequest,
    count: usize,
    state: &'a State,
    scope: &Scope,
    cluster: &'a ClusterState,
    caller: &str,
    (means, now): (Means<'_>, Timestamp),
) -> Result<Planned<'a>, ServiceError> {
    let mut strategies = strategies(input.placement_strategy.as_deref())?;
    let (launch, capacity) = read(input, state, scope, cluster, caller)?;
    if launch.launch_type == ecs::LaunchType::ManagedInstances {
        // Nobody can ask for it there, and tasks are spread over the zones all the same.
        strategies = service_default();
    }
    let constraints = constraints(&launch.definition.definition, input.placement_constraints.as_deref())?;
    let request = launch.request(constraints, strategies);
    let order = capacity.order(|_| 0, count);
    let records = state.scope(scope);
    let growing = growing(records, &capacity);
    let queues =
        |name: &&str| is_asked_for(cluster, name, input, &launch) || is_held(scope, records, cluster, name, now);
    let held: Vec<&str> = growing.iter().map(String::as_str).filter(queues).collect();
    let free: Vec<Option<&str>> =
        order.iter().copied().filter(|it| !it.is_some_and(|name| held.contains(&name))).collect();
    let placed = place_tasks(records, cluster, &launch, &request, &free, means);
    let room = means.quotas.provisioning_tasks_per_cluster.saturating_sub(cluster.index.waiting_count());
    let waits = Waits::of(growing.clone(), &order, &placed, room);
    Ok(Planned { launch, request, placed, waits })
}

/// The failure of a task that may not wait for capacity.
fn too_many_wait() -> ecs::Failure {
    let reason = "You've reached the limit on the number of tasks that can wait for capacity in a cluster";
    ecs::Failure { reason: Some(reason.to_owned()), ..ecs::Failure::default() }
}

fn is_waiting_for(task: &TaskRecord, provider: &str) -> bool {
    task.waiting.is_some() && task.capacity_provider.as_deref() == Some(provider)
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
) -> Result<(Launch<'a>, Capacity), ServiceError> {
    let records = state.scope(scope);
    let definition = resolve_active(records, scope, input.task_definition.as_deref().unwrap_or(""))?;
    let strategy = input.capacity_provider_strategy.as_deref();
    let capacity = Capacity::of(records, scope, cluster, input.launch_type.as_ref(), strategy)?;
    check_placement(input, &capacity)?;
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
    launch.settle(scope, &capacity, input.platform_version.as_deref(), input.network_configuration.as_ref())?;
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
    Ok((launch, capacity))
}

/// Fargate chooses places itself.
fn check_placement(input: &ecs::RunTaskRequest, capacity: &Capacity) -> Result<(), ServiceError> {
    if capacity.is_fargate() && input.placement_constraints.as_ref().is_some_and(|it| !it.is_empty()) {
        let message = "Placement constraints are not supported with FARGATE launch type.";
        return Err(ecs::error::invalid_parameter_exception(message));
    }
    capacity.check_placement_strategies(input.placement_strategy.as_deref())
}

fn failures(
    scope: &Scope,
    cluster: &ClusterState,
    unplaced: &[Unplaced<'_>],
) -> Result<Vec<ecs::Failure>, ServiceError> {
    let mut failures = Vec::new();
    for unplaced in unplaced {
        match unplaced {
            Unplaced::Instances(refused) => failures.extend(refused.iter().map(|(instance, refusals)| {
                failure(scope.container_instance_arn(&cluster.record.name, instance.record.id), refusals)
            })),
            Unplaced::Fargate(_) => {
                let reason = Some(NO_CAPACITY.to_owned());
                failures.push(ecs::Failure { reason, ..ecs::Failure::default() });
            }
            Unplaced::Quota(quota) => {
                let reason = Some(quota.reason().to_owned());
                failures.push(ecs::Failure { reason, ..ecs::Failure::default() });
            }
            Unplaced::Empty(provider) => {
                let place = if provider.is_some() { "capacity provider" } else { "cluster" };
                let message = format!("No Container Instances were found in your {place}.");
                return Err(ecs::error::invalid_parameter_exception(message));
            }
        }
    }
    failures.truncate(MAX_FAILURES);
    Ok(failures)
}
