//! Why something is as it is: `Explain` of a task or service, and `PlanRunTask`, a dry run.
//!
//! Both go through the code that places for real, and then ask it again, in detail, about the
//! container instances that refused.

use std::collections::BTreeMap;

use longshore_api::longshore as api;
use longshore_api::{ServiceError, Shape, Value, ecs};
use longshore_model::records::{DesiredStatus, TaskRecord, TaskStatus};
use longshore_model::service::{ServiceRecord, ServiceStatus};
use longshore_model::{Id, Scope};
use longshore_scheduler::{Node, Obstacle, Request, obstacles, smallest_change};
use longshore_wire::RequestContext;

use crate::engine::Engine;
use crate::operations::resolve_cluster;
use crate::operations::services::find_service;
use crate::operations::tasks::capacity::{Placed, Unplaced, on_fargate, place_tasks};
use crate::operations::tasks::find_task;
use crate::operations::tasks::launch::Launch;
use crate::operations::tasks::run;
use crate::reconcilers::services::launch::{launch, unplaced};
use crate::service::scope_of;
use crate::state::{ClusterState, InstanceState, ScopeState};

/// Most container instances whose refusals are answered.
const MAX_REFUSALS: usize = 100;
/// Most service events that an explanation repeats.
const MAX_EVENTS: usize = 5;

/// What stood in the way of tasks that were not placed.
#[derive(Default)]
struct Why {
    refusals: Vec<api::InstanceRefusal>,
    smallest_change: Option<String>,
}

/// Asks each container instance that refused a task again, as it would be after the tasks that were placed.
fn why(scope: &Scope, cluster: &ClusterState, launch: &Launch<'_>, request: &Request, placed: &Placed<'_>) -> Why {
    let mut taken: BTreeMap<Id, usize> = BTreeMap::new();
    for spot in &placed.spots {
        *taken.entry(spot.instance.record.id).or_default() += 1;
    }
    let after = |instance: &InstanceState, request: &Request| -> Node {
        let mut node = instance.node().clone();
        let count = taken.get(&instance.record.id).copied().unwrap_or(0);
        for _ in 0..count {
            node.remaining.take(&request.demand);
        }
        if count > 0 {
            let tasks = u32::try_from(count).unwrap_or(u32::MAX);
            *node.groups.entry(request.group.clone()).or_default() += tasks;
        }
        node
    };
    let mut why = Why::default();
    let mut named: Vec<(String, Vec<Obstacle>)> = Vec::new();
    for unplaced in &placed.unplaced {
        match unplaced {
            Unplaced::Instances(refused) => {
                for (instance, _) in refused {
                    let found = obstacles(&after(instance, request), request);
                    let arn = scope.container_instance_arn(&cluster.record.name, instance.record.id);
                    why.refusals.push(refusal(Some(arn), &found));
                    named.push((format!("container instance {}", instance.record.id), found));
                }
            }
            Unplaced::Fargate(refused) => {
                let request = on_fargate(launch, request);
                for (instance, _) in refused {
                    let found = obstacles(&after(instance, &request), &request);
                    // Whose machine it is, is nobody's business but the operator's.
                    why.refusals.push(refusal(None, &found));
                    named.push(("a machine that is lent to Fargate".to_owned(), found));
                }
                why.smallest_change = Some(
                    "Lend a machine to Fargate: 'longshore up' does unless --no-fargate is given, 'longshore agent --fargate' does elsewhere."
                        .to_owned(),
                );
            }
            Unplaced::Empty(None) => {
                why.smallest_change = Some(format!(
                    "Register a container instance in the cluster {}, or set one of its own to ACTIVE.",
                    cluster.record.name
                ));
            }
            Unplaced::Empty(Some(provider)) => {
                why.smallest_change = Some(format!(
                    "Register a container instance that belongs to the capacity provider {provider} ('longshore agent --capacity-provider {provider}')."
                ));
            }
        }
    }
    why.smallest_change = smallest_change(&named).or(why.smallest_change);
    why.refusals.truncate(MAX_REFUSALS);
    why
}

fn refusal(arn: Option<String>, obstacles: &[Obstacle]) -> api::InstanceRefusal {
    let reason = |obstacle: &Obstacle| api::RefusalReason {
        reason: Some(obstacle.refusal.reason().to_owned()),
        detail: Some(obstacle.detail.clone()),
        needed: obstacle.needed,
        available: obstacle.available,
    };
    api::InstanceRefusal { container_instance_arn: arn, reasons: Some(obstacles.iter().map(reason).collect()) }
}

fn invalid(message: impl Into<String>) -> ServiceError {
    ecs::error::invalid_parameter_exception(message)
}

/// Says where RunTask would place its tasks, and why not all of them, without running any.
///
/// # Errors
/// What RunTask would answer; `InvalidParameterException` when the request is not one of RunTask.
pub async fn plan_run_task(
    engine: &Engine,
    context: &RequestContext,
    input: &api::PlanRunTaskRequest,
) -> Result<api::PlanRunTaskResponse, ServiceError> {
    let scope = scope_of(context);
    let text = input.run_task.as_deref().unwrap_or("");
    let value = Value::from_json(text.as_bytes());
    let value = value.map_err(|error| invalid(format!("runTask is no JSON object of a RunTask request: {error}")))?;
    let asked = ecs::RunTaskRequest::read(&value, &mut longshore_api::Path::default());
    let asked = asked.map_err(|error| invalid(format!("runTask is no RunTask request: {error}")))?;
    let count = run::count_of(&asked)?;
    let random = &*engine.seams().random;
    engine
        .read(|state| {
            let cluster = resolve_cluster(state.scope(&scope), &scope, asked.cluster.as_deref())?;
            let planned = run::plan(&asked, count, state, &scope, cluster, &context.principal.arn(), random)?;
            let (launch, placed) = (&planned.launch, &planned.placed);
            let why = why(&scope, cluster, launch, &planned.request, placed);
            let missing = count - placed.spots.len();
            let summary = match missing {
                0 => format!("All of {count} tasks would be placed."),
                _ => format!("{} of {count} tasks would be placed.", placed.spots.len()),
            };
            Ok(api::PlanRunTaskResponse {
                placements: Some(placements(&scope, cluster, launch, placed)),
                refusals: Some(why.refusals),
                unplaced: i64::try_from(missing).ok(),
                summary: Some(summary),
                smallest_change: why.smallest_change,
            })
        })
        .await
}

fn placements(
    scope: &Scope,
    cluster: &ClusterState,
    launch: &Launch<'_>,
    placed: &Placed<'_>,
) -> Vec<api::PlannedTask> {
    let fargate = launch.launch_type == ecs::LaunchType::Fargate;
    let zone = |instance: &InstanceState| instance.node().attributes.get(longshore_scheduler::ZONE).cloned().flatten();
    let planned = placed.spots.iter().map(|spot| api::PlannedTask {
        container_instance_arn: (!fargate)
            .then(|| scope.container_instance_arn(&cluster.record.name, spot.instance.record.id)),
        launch_type: Some(launch.launch_type.as_str().to_owned()),
        capacity_provider: spot.provider.clone(),
        availability_zone: spot.subnet.as_ref().and_then(|it| it.zone.clone()).or_else(|| zone(spot.instance)),
        subnet: spot.subnet.as_ref().map(|subnet| subnet.id.clone()),
    });
    planned.collect()
}

/// Says why a task or a service is as it is, and what would help.
///
/// # Errors
/// `ClusterNotFoundException`; `ResourceNotFoundException` when the cluster has no such task or service.
pub async fn explain(
    engine: &Engine,
    context: &RequestContext,
    input: &api::ExplainRequest,
) -> Result<api::ExplainResponse, ServiceError> {
    let scope = scope_of(context);
    let named = input.resource.as_deref().unwrap_or("");
    let random = &*engine.seams().random;
    engine
        .read(|state| {
            let records = state.scope(&scope);
            let cluster = resolve_cluster(records, &scope, input.cluster.as_deref())?;
            // A service's name may not be one of a task, and the other way round: the one that fits is meant.
            if let Ok(Some(task)) = find_task(cluster, &scope, named) {
                return Ok(of_task(&scope, records, cluster, task));
            }
            if let Ok(Some(service)) = find_service(cluster, &scope, named) {
                let room = |launch: &Launch<'_>, request: &Request, order: &[Option<&str>]| {
                    place_tasks(records, cluster, launch, request, order, random)
                };
                return Ok(of_service(&scope, records, cluster, service, room));
            }
            Err(ServiceError::client(
                "ResourceNotFoundException",
                format!(
                    "The cluster {} has no task and no service called '{named}': give a task's id or ARN, or a service's name or ARN.",
                    cluster.record.name
                ),
            ))
        })
        .await
}

fn of_task(scope: &Scope, records: &ScopeState, cluster: &ClusterState, task: &TaskRecord) -> api::ExplainResponse {
    let host = records.host(task);
    let place = match host {
        _ if task.launch_type == ecs::LaunchType::Fargate => "a machine that is lent to Fargate".to_owned(),
        Some(host) => format!("container instance {}", host.record.id),
        None => "no container instance".to_owned(),
    };
    let connected = host.is_some_and(InstanceState::agent_connected);
    let mut change = None;
    let summary = match (task.last_status, task.desired_status) {
        (TaskStatus::Stopped, _) => {
            let reason = task.stopped_reason.as_deref().unwrap_or("no reason was given");
            format!("The task has stopped: {reason}")
        }
        (_, DesiredStatus::Stopped) if connected => format!("The task is to stop: the agent of {place} is at it."),
        (status, _) if !connected => {
            change = Some(format!("Start the agent of {place}, or its connection to this server."));
            format!("The task is {} on {place}, whose agent is not connected.", status.as_str())
        }
        (TaskStatus::Running, _) => format!("The task runs on {place}."),
        (status, _) => format!("The task is {} on {place}: its agent is starting it.", status.as_str()),
    };
    let mut details = Vec::new();
    if let Some(code) = &task.stop_code {
        details.push(format!("Stop code: {}.", code.as_str()));
    }
    for container in &task.containers {
        let mut line = format!("Container {} is {}", container.name, container.last_status.as_str());
        if let Some(code) = container.exit_code {
            line.push_str(&format!(", exit code {code}"));
        }
        if let Some(reason) = &container.reason {
            line.push_str(&format!(": {reason}"));
        }
        details.push(line);
    }
    api::ExplainResponse {
        arn: Some(scope.task_arn(&cluster.record.name, task.id)),
        status: Some(task.last_status.as_str().to_owned()),
        summary: Some(summary),
        details: Some(details),
        refusals: Some(Vec::new()),
        smallest_change: change,
    }
}

fn of_service<'a>(
    scope: &Scope,
    records: &'a ScopeState,
    cluster: &'a ClusterState,
    service: &'a ServiceRecord,
    room: impl Fn(&Launch<'_>, &Request, &[Option<&str>]) -> Placed<'a>,
) -> api::ExplainResponse {
    let mut answer = api::ExplainResponse {
        arn: Some(scope.service_arn(&cluster.record.name, &service.name)),
        status: Some(service.status.as_str().to_owned()),
        refusals: Some(Vec::new()),
        ..api::ExplainResponse::default()
    };
    let mut details = Vec::new();
    let Some(primary) = service.deployments.first().filter(|_| service.status == ServiceStatus::Active) else {
        answer.summary = Some(format!("The service is {}: it starts no tasks.", service.status.as_str()));
        return answer;
    };
    let ids = cluster.index.started_by.get(&primary.id).into_iter().flatten();
    let live = ids.filter_map(|id| cluster.tasks.get(id)).filter(|task| task.desired_status == DesiredStatus::Running);
    let (running, pending) = live.fold((0, 0), |(running, pending), task| match task.last_status {
        TaskStatus::Running => (running + 1, pending),
        status if status < TaskStatus::Running => (running, pending + 1),
        _ => (running, pending),
    });
    details.push(format!(
        "Deployment {} is {}: {running} of {} tasks run, {pending} are pending, {} have failed.",
        primary.id,
        primary.rollout_state.as_str(),
        service.desired_count,
        primary.failed_tasks
    ));
    if let Some(until) = primary.retry_at {
        details.push(format!("After failed starts no task is started before {}.", until.as_secs()));
    }
    let missing = service.desired_count - running - pending;
    match launch(scope, records, cluster, service, primary) {
        Err(reason) => {
            answer.summary = Some(format!("The service {reason}"));
        }
        Ok((launch, request, capacity)) => {
            let order = capacity.order(|_| 0, 1);
            let placed = room(&launch, &request, &order);
            let why = why(scope, cluster, &launch, &request, &placed);
            answer.refusals = Some(why.refusals);
            answer.summary = Some(match placed.unplaced.first() {
                _ if missing <= 0 => "The service has all the tasks that it wants.".to_owned(),
                Some(why) => format!("The service {}", unplaced(why)),
                None => format!("The service wants {missing} more tasks; there is room for the next one."),
            });
            answer.smallest_change = why.smallest_change.filter(|_| missing > 0);
        }
    }
    details.extend(service.events.iter().take(MAX_EVENTS).filter_map(|event| event.message.clone()));
    answer.details = Some(details);
    answer
}

#[cfg(test)]
mod tests;
