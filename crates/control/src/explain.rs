//! Why something is as it is: `Explain` of a task or service; and what would be, the dry runs `PlanRunTask`,
//! `PlanCreateService` and `PlanUpdateService`.
//!
//! All go through the code that places for real, and then ask it again, in detail, about the
//! container instances that refused.

mod causes;
mod plan_service;
mod service;
mod task;

pub use plan_service::{plan_create_service, plan_update_service};

use std::collections::BTreeMap;

use longshore_api::longshore as api;
use longshore_api::{ServiceError, Shape, Value, ecs};
use longshore_model::{Id, Scope};
use longshore_scheduler::{Node, Obstacle, Request, obstacles, smallest_change};
use longshore_wire::RequestContext;

use self::service::Subject;
use crate::engine::Engine;
use crate::operations::resolve_cluster;
use crate::operations::services::find_service;
use crate::operations::tasks::capacity::{Means, Placed, Unplaced, on_fargate};
use crate::operations::tasks::find_task;
use crate::operations::tasks::launch::Launch;
use crate::operations::tasks::run;
use crate::service::scope_of;
use crate::state::{ClusterState, InstanceState};

/// Most container instances whose refusals are answered.
const MAX_REFUSALS: usize = 100;

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
            Unplaced::Quota(quota) => {
                let name = quota.name();
                why.smallest_change = Some(format!(
                    "Raise the quota {name} ('longshore server --quota {name}=NUMBER'), or stop tasks that it counts."
                ));
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
    let now = engine.seams().clock.now();
    let means = Means { random: &*engine.seams().random, quotas: engine.quotas() };
    engine
        .read(|state| {
            let cluster = resolve_cluster(state.scope(&scope), &scope, asked.cluster.as_deref())?;
            let planned = run::plan(&asked, count, state, &scope, cluster, &context.principal.arn(), (means, now))?;
            let (launch, placed) = (&planned.launch, &planned.placed);
            let why = why(&scope, cluster, launch, &planned.request, placed);
            let missing = count - placed.spots.len();
            let summary = match missing {
                0 => format!("All of {count} tasks would be placed."),
                _ => format!("{} of {count} tasks would be placed.{}", placed.spots.len(), would_wait(&planned.waits)),
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

/// Says of tasks that have no place which of them RunTask would accept all the same.
fn would_wait(waits: &run::Waits) -> String {
    let mut text = String::new();
    let mut names: Vec<&String> = waits.providers.iter().collect();
    names.dedup();
    for name in names {
        let count = waits.providers.iter().filter(|it| *it == name).count();
        text.push_str(&format!(" {count} would wait, PROVISIONING, for capacity of the capacity provider {name}."));
    }
    if waits.refused > 0 {
        text.push_str(&format!(" {} would be refused: too many tasks of the cluster wait already.", waits.refused));
    }
    text
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
    let now = engine.seams().clock.now();
    let means = Means { random: &*engine.seams().random, quotas: engine.quotas() };
    engine
        .read(|state| {
            let records = state.scope(&scope);
            let cluster = resolve_cluster(records, &scope, input.cluster.as_deref())?;
            // A service's name may not be one of a task, and the other way round: the one that fits is meant.
            if let Ok(Some(task)) = find_task(cluster, &scope, named) {
                if task.waiting.is_some() {
                    return Ok(task::explain_waiting(&scope, records, cluster, task, (now, means)));
                }
                return Ok(task::explain(&scope, records, cluster, task, now));
            }
            if let Ok(Some(service)) = find_service(cluster, &scope, named) {
                return Ok(Subject { scope: &scope, records, cluster, service, now, means }.explain());
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

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_causes;
#[cfg(test)]
mod tests_plan;
