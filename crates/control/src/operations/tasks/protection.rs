//! GetTaskProtection and UpdateTaskProtection.

use std::sync::Arc;
use std::time::Duration;

use longshore_api::{ServiceError, ecs};
use longshore_model::Scope;
use longshore_model::records::{DesiredStatus, TaskRecord};
use longshore_seams::Timestamp;
use longshore_wire::RequestContext;

use super::find_task;
use crate::changes::Change;
use crate::engine::Engine;
use crate::operations::resolve_cluster;
use crate::service::scope_of;
use crate::state::ClusterState;

/// Most tasks whose protection one call shows.
const MOST_SHOWN: usize = 100;
/// Most tasks whose protection one call changes.
const MOST_CHANGED: usize = 10;
/// Minutes of protection when a request does not say.
const DEFAULT_MINUTES: i32 = 120;
/// Most minutes of protection: 48 hours.
const MAX_MINUTES: i32 = 2_880;

fn check_count(named: &[String], most: usize) -> Result<(), ServiceError> {
    if named.is_empty() {
        return Err(ecs::error::invalid_parameter_exception("Tasks cannot be empty."));
    }
    if named.len() > most {
        let message = format!("taskIds can have at most {most} items.");
        return Err(ecs::error::invalid_parameter_exception(message));
    }
    Ok(())
}

/// The task that a request names, or why it can't have protection: it is not there, or no service keeps it running.
fn protectable<'a>(
    cluster: &'a ClusterState,
    scope: &Scope,
    named: &str,
) -> Result<Result<&'a Arc<TaskRecord>, ecs::Failure>, ServiceError> {
    let name = &cluster.record.name;
    let failure = |arn: String, reason: &str, detail: Option<&str>| ecs::Failure {
        arn: Some(arn),
        reason: Some(reason.to_owned()),
        detail: detail.map(str::to_owned),
    };
    let Some(task) = find_task(cluster, scope, named)? else {
        let arn = if named.starts_with("arn:") {
            named.to_owned()
        } else {
            scope.ecs_arn(format_args!("task/{name}/{named}"))
        };
        return Ok(Err(failure(arn, "MISSING", None)));
    };
    let of_service = task.group.starts_with("service:");
    if of_service && task.desired_status == DesiredStatus::Running {
        return Ok(Ok(task));
    }
    let detail = if of_service { "The task is stopping or stopped." } else { "The task is not part of a service." };
    Ok(Err(failure(scope.task_arn(name, task.id), "TASK_NOT_VALID", Some(detail))))
}

fn view(scope: &Scope, cluster: &ClusterState, task: &TaskRecord, now: Timestamp) -> ecs::ProtectedTask {
    let until = task.protected_until.filter(|until| *until > now);
    ecs::ProtectedTask {
        task_arn: Some(scope.task_arn(&cluster.record.name, task.id)),
        protection_enabled: Some(until.is_some()),
        expiration_date: until,
    }
}

/// Shows whether tasks of services are protected from being scaled in, and until when.
///
/// # Errors
/// `ClusterNotFoundException`; `InvalidParameterException` for no tasks, too many, or ARNs of something else.
pub async fn get_task_protection(
    engine: &Engine,
    context: &RequestContext,
    input: ecs::GetTaskProtectionRequest,
) -> Result<ecs::GetTaskProtectionResponse, ServiceError> {
    let scope = scope_of(context);
    let named = input.tasks.unwrap_or_default();
    check_count(&named, MOST_SHOWN)?;
    let now = engine.seams().clock.now();
    let (tasks, failures) = engine
        .read(|state| {
            let cluster = resolve_cluster(state.scope(&scope), &scope, input.cluster.as_deref())?;
            let (mut tasks, mut failures) = (Vec::new(), Vec::new());
            for named in &named {
                match protectable(cluster, &scope, named)? {
                    Ok(task) => tasks.push(view(&scope, cluster, task, now)),
                    Err(failure) => failures.push(failure),
                }
            }
            Ok::<_, ServiceError>((tasks, failures))
        })
        .await?;
    Ok(ecs::GetTaskProtectionResponse { protected_tasks: Some(tasks), failures: Some(failures) })
}

/// Protects tasks of services from being scaled in for a while, or ends that.
///
/// # Errors
/// `ClusterNotFoundException`; `InvalidParameterException` for no tasks, too many, ARNs of something else, or a time
/// out of range.
pub async fn update_task_protection(
    engine: &Engine,
    context: &RequestContext,
    input: ecs::UpdateTaskProtectionRequest,
) -> Result<ecs::UpdateTaskProtectionResponse, ServiceError> {
    let scope = scope_of(context);
    let named = input.tasks.unwrap_or_default();
    check_count(&named, MOST_CHANGED)?;
    let minutes = input.expires_in_minutes.unwrap_or(DEFAULT_MINUTES);
    let seconds = u64::try_from(minutes).ok().filter(|_| (1..=MAX_MINUTES).contains(&minutes)).map(|it| it * 60);
    let seconds = seconds.ok_or_else(|| {
        let message = format!("expiresInMinutes is {minutes}; it must be between 1 and {MAX_MINUTES}.");
        ecs::error::invalid_parameter_exception(message)
    })?;
    let now = engine.seams().clock.now();
    let until = input.protection_enabled.unwrap_or(false).then(|| now.plus(Duration::from_secs(seconds)));
    let (tasks, failures) = engine
        .write(|state, changes| {
            let cluster = resolve_cluster(state.scope(&scope), &scope, input.cluster.as_deref())?;
            let (mut tasks, mut failures) = (Vec::new(), Vec::new());
            for named in &named {
                match protectable(cluster, &scope, named)? {
                    Ok(task) => {
                        let task = TaskRecord { protected_until: until, ..TaskRecord::clone(task) };
                        tasks.push(view(&scope, cluster, &task, now));
                        changes.push(Change::PutTask(scope.clone(), Arc::new(task)));
                    }
                    Err(failure) => failures.push(failure),
                }
            }
            Ok::<_, ServiceError>((tasks, failures))
        })
        .await?;
    Ok(ecs::UpdateTaskProtectionResponse { protected_tasks: Some(tasks), failures: Some(failures) })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use longshore_model::records::{TaskRecord, TaskStatus};
    use serde_json::{Value as Json, json};

    use crate::changes::Change;
    use crate::operations::testing::World;

    async fn service_task(world: &World) -> (TaskRecord, String) {
        let task = world.put_task("default", "web", 1, TaskStatus::Running).await;
        let task = TaskRecord { group: "service:web".to_owned(), ..task };
        world.change(|changes| changes.push(Change::PutTask(world.scope(), Arc::new(task.clone())))).await;
        let arn = world.arn(&format!("task/default/{}", task.id));
        (task, arn)
    }

    async fn shown(world: &World, task: &str) -> Json {
        world.ok("GetTaskProtection", json!({"cluster": "default", "tasks": [task]})).await
    }

    fn update(tasks: &[&str], enabled: bool, minutes: Option<i64>) -> Json {
        json!({"cluster": "default", "tasks": tasks, "protectionEnabled": enabled, "expiresInMinutes": minutes})
    }

    #[tokio::test]
    async fn protection_of_a_service_task_ends_by_itself_or_by_request() {
        let world = World::with_default_cluster().await;
        let (_, arn) = service_task(&world).await;
        let off = json!({"protectedTasks": [{"taskArn": arn, "protectionEnabled": false}], "failures": []});
        assert_eq!(shown(&world, &arn).await, off);
        let on = world.ok("UpdateTaskProtection", update(&[&arn], true, Some(1))).await;
        assert_eq!(on["protectedTasks"][0]["protectionEnabled"], true);
        assert_eq!(on["protectedTasks"][0]["expirationDate"].as_f64(), Some(1_700_000_060.0));
        let world = world.restarted().await;
        assert_eq!(shown(&world, &arn).await, on);
        world.clock.advance(Duration::from_secs(60));
        assert_eq!(shown(&world, &arn).await, off);
        let on = world.ok("UpdateTaskProtection", update(&[&arn], true, None)).await;
        assert_eq!(on["protectedTasks"][0]["expirationDate"].as_f64(), Some(1_700_007_260.0));
        assert_eq!(world.ok("UpdateTaskProtection", update(&[&arn], false, None)).await, off);
    }

    #[tokio::test]
    async fn only_tasks_of_services_have_protection() {
        let world = World::with_default_cluster().await;
        let (_, arn) = service_task(&world).await;
        let alone = world.put_task("default", "web", 1, TaskStatus::Running).await.id.to_string();
        let missing = "0".repeat(32);
        let answer = world.ok("UpdateTaskProtection", update(&[&alone, &missing, &arn], true, None)).await;
        assert_eq!(answer["protectedTasks"].as_array().unwrap().len(), 1);
        let reasons: Vec<_> = answer["failures"].as_array().unwrap().iter().map(|it| it["reason"].clone()).collect();
        assert_eq!(reasons, ["TASK_NOT_VALID", "MISSING"]);
        assert_eq!(shown(&world, &alone).await["failures"][0]["reason"], "TASK_NOT_VALID");
    }

    #[tokio::test]
    async fn times_and_numbers_of_tasks_have_limits() {
        let world = World::with_default_cluster().await;
        let (_, arn) = service_task(&world).await;
        for minutes in [0, -1, 2_881] {
            let refused = world.refused("UpdateTaskProtection", update(&[&arn], true, Some(minutes))).await;
            assert_eq!(refused.0, "InvalidParameterException", "{minutes}");
        }
        world.ok("UpdateTaskProtection", update(&[&arn], true, Some(2_880))).await;
        for tasks in [vec![], vec![arn.as_str(); 11]] {
            assert_eq!(
                world.refused("UpdateTaskProtection", update(&tasks, true, None)).await.0,
                "InvalidParameterException"
            );
        }
        let other = json!({"cluster": "nothing", "tasks": [arn]});
        assert_eq!(world.refused("GetTaskProtection", other).await.0, "ClusterNotFoundException");
    }
}
