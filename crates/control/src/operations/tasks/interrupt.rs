//! InterruptFargateTasks: what Fargate does to tasks by itself elsewhere, an operator does here.
//!
//! A Spot interruption takes the capacity of FARGATE_SPOT back (guide chapter 3, "Handling Fargate Spot Termination
//! Notices"); a retirement ends tasks on a date (chapter 14, "Task Retirement"); recycling refreshes the machines below
//! tasks of services (chapter 14, "Fargate Task Recycling").

use std::sync::Arc;

use longshore_api::longshore::{
    FargateInterruption, InterruptFargateTasksRequest, InterruptFargateTasksResponse, error,
};
use longshore_api::{ServiceError, ecs};
use longshore_model::capacity_provider::FARGATE_SPOT;
use longshore_model::fargate;
use longshore_model::records::{DesiredStatus, TaskRecord};
use longshore_model::task::{self, StopCause};
use longshore_model::{Id, Scope};
use longshore_seams::Timestamp;

use super::find_task;
use crate::changes::{Change, Changes};
use crate::engine::Engine;
use crate::operations::idempotency::{Token, Used};
use crate::operations::resolve_cluster;
use crate::state::ScopeState;

/// The oldest platform version whose tasks are recycled.
const RECYCLED_FROM: &str = "1.3.0";
/// Tasks that one transaction changes, below its limit.
const AT_ONCE: usize = 90;
/// Most tasks that a client token remembers.
const REMEMBERED: usize = 10_000;

/// What is done to a task, and when.
struct Interruption {
    kind: FargateInterruption,
    at: Option<Timestamp>,
}

impl Interruption {
    fn read(input: &InterruptFargateTasksRequest) -> Result<Self, ServiceError> {
        let kind = input.interruption.clone().unwrap_or(FargateInterruption::SpotInterruption);
        if input.at.is_some() && kind != FargateInterruption::TaskRetirement {
            return Err(invalid(format!("at is a date for TASK_RETIREMENT only: a {} begins at once.", kind.as_str())));
        }
        Ok(Self { kind, at: input.at })
    }

    /// Why a task is not concerned; `None` when it is.
    fn obstacle(&self, task: &TaskRecord) -> Option<&'static str> {
        if task.launch_type != ecs::LaunchType::Fargate {
            return Some("is not on Fargate");
        }
        if task.desired_status != DesiredStatus::Running {
            return Some("is stopping or has stopped");
        }
        match self.kind {
            FargateInterruption::SpotInterruption if task.capacity_provider.as_deref() != Some(FARGATE_SPOT) => {
                Some("was not placed by the capacity provider FARGATE_SPOT")
            }
            FargateInterruption::TaskRecycling if !task.group.starts_with("service:") => Some("is of no service"),
            FargateInterruption::TaskRecycling
                if task.platform_version.as_deref().is_none_or(|it| fargate::is_older(it, RECYCLED_FROM)) =>
            {
                Some("is on a platform version older than 1.3.0")
            }
            _ => None,
        }
    }

    /// Whether the task is as an interruption like this one leaves it.
    fn has_taken(&self, task: &TaskRecord) -> bool {
        task.stop_code == Some(ecs::TaskStopCode::TerminationNotice)
            || (self.at.is_some() && task.retires_at == self.at)
    }

    /// The task as it becomes; `None` when nothing changes.
    fn apply(&self, task: &TaskRecord, now: Timestamp) -> Option<TaskRecord> {
        let cause = match self.kind {
            FargateInterruption::SpotInterruption => StopCause::spot_interruption(),
            _ => match self.at {
                Some(at) if at > now => {
                    let changes = task.retires_at != Some(at);
                    return changes.then(|| TaskRecord { retires_at: Some(at), ..task.clone() });
                }
                _ => StopCause::maintenance(),
            },
        };
        task::stop(task, &cause, now)
    }
}

/// Interrupts tasks of `scope`: those that are named, or the oldest ones that it concerns, of one cluster or of all.
/// Each is told as by Fargate: an event and SIGTERM at once, SIGKILL after its `stopTimeout`. With a client token a
/// repeated request goes on with the same tasks and answers them again, as long as they are not in history.
///
/// # Errors
/// `InvalidParameterException`, also for a named task that it can't concern; `ResourceNotFoundException`;
/// `ConflictException` for a client token that was used with another request.
pub async fn interrupt_fargate_tasks(
    engine: &Engine,
    scope: &Scope,
    input: &InterruptFargateTasksRequest,
) -> Result<InterruptFargateTasksResponse, ServiceError> {
    let interruption = Interruption::read(input)?;
    let now = engine.seams().clock.now();
    let token = Token::of("InterruptFargateTasks", input.client_token.as_deref(), input)?;
    // Which tasks it takes is settled before it takes the first one: there may be more of them than a transaction holds.
    let (chosen, again) = engine
        .write(|state, changes: &mut Changes| {
            let records = state.scope(scope);
            let used = token.look_up(records, now, |_, id| arn(records, scope, id).unwrap_or_default());
            if let Used::Before(ids) = used.map_err(of_this_api)? {
                return Ok((ids, true));
            }
            let chosen = choose(records, scope, input, &interruption)?;
            if input.client_token.is_some() && chosen.len() > REMEMBERED {
                return Err(invalid(format!(
                    "{} tasks are concerned; with a clientToken it can be at most {REMEMBERED}: give count, or no clientToken.",
                    chosen.len()
                )));
            }
            token.remember_in_any_cluster(scope, chosen.clone(), now, changes);
            Ok((chosen, false))
        })
        .await?;
    let mut arns = Vec::new();
    for chunk in chosen.chunks(AT_ONCE) {
        let changed: Result<Vec<String>, ServiceError> = engine
            .write(|state, changes: &mut Changes| {
                let records = state.scope(scope);
                let mut arns = Vec::new();
                for id in chunk {
                    let found = records.cluster_of_task(*id).and_then(|cluster| cluster.tasks.get(id));
                    let Some(task) = found else { continue };
                    let concerned = interruption.obstacle(task).is_none();
                    // Something else may have stopped it since it was chosen: then it was not this that did.
                    if concerned || (again && interruption.has_taken(task)) {
                        arns.extend(arn(records, scope, *id));
                    }
                    if let Some(task) = interruption.apply(task, now).filter(|_| concerned) {
                        changes.push(Change::PutTask(scope.clone(), Arc::new(task)));
                    }
                }
                Ok(arns)
            })
            .await;
        arns.extend(changed?);
    }
    Ok(InterruptFargateTasksResponse { task_arns: Some(arns) })
}

fn arn(records: &ScopeState, scope: &Scope, id: Id) -> Option<String> {
    records.cluster_of_task(id).map(|cluster| scope.task_arn(&cluster.record.name, id))
}

/// Each task that is interrupted.
fn choose(
    records: &ScopeState,
    scope: &Scope,
    input: &InterruptFargateTasksRequest,
    interruption: &Interruption,
) -> Result<Vec<Id>, ServiceError> {
    let named = input.tasks.as_deref().unwrap_or_default();
    if !named.is_empty() {
        if input.count.is_some() {
            return Err(invalid("Give tasks or count, not both: count is for tasks that are not named."));
        }
        let cluster = resolve_cluster(records, scope, input.cluster.as_deref()).map_err(of_this_api)?;
        return named
            .iter()
            .map(|name| {
                let task = find_task(cluster, scope, name).map_err(of_this_api)?;
                let task = task.ok_or_else(|| {
                    let cluster = &cluster.record.name;
                    error::resource_not_found_exception(format!("The cluster {cluster} has no task {name}."))
                })?;
                match interruption.obstacle(task) {
                    None => Ok(task.id),
                    Some(obstacle) => Err(invalid(format!("The task {name} {obstacle}."))),
                }
            })
            .collect();
    }
    let clusters = match input.cluster.as_deref().filter(|name| !name.is_empty()) {
        None => records.clusters.values().collect(),
        Some(name) => vec![resolve_cluster(records, scope, Some(name)).map_err(of_this_api)?],
    };
    let mut concerned: Vec<_> = clusters
        .into_iter()
        .flat_map(|cluster| {
            let wanted = cluster.index.wanted.iter().filter_map(|id| cluster.tasks.get(id));
            let concerned = wanted.filter(|task| interruption.obstacle(task).is_none());
            concerned.map(|task| (task.created_at, cluster.record.id, task.id))
        })
        .collect();
    concerned.sort_unstable();
    let count = input.count.map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(0));
    Ok(concerned.into_iter().take(count).map(|(_, _, task)| task).collect())
}

fn invalid(message: impl Into<String>) -> ServiceError {
    error::invalid_parameter_exception(message)
}

/// ECS's own refusals in the exceptions that Longshore's API has.
fn of_this_api(refused: ServiceError) -> ServiceError {
    match refused.code {
        "ClusterNotFoundException" => error::resource_not_found_exception(refused.message),
        "ConflictException" => error::conflict_exception(refused.message),
        _ => refused,
    }
}
