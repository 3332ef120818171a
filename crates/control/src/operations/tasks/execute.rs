//! ExecuteCommand.

use longshore_api::{ServiceError, ecs};
use longshore_model::records::{TaskRecord, TaskStatus};
use longshore_wire::RequestContext;

use crate::engine::Engine;
use crate::operations::identifiers::id_in;
use crate::operations::resolve_cluster;
use crate::service::scope_of;

fn invalid(message: impl Into<String>) -> ServiceError {
    ecs::error::invalid_parameter_exception(message)
}

/// Sessions are opened with the task's role: a task in which commands are to be run needs one, of its definition
/// or of its overrides.
///
/// # Errors
/// `InvalidParameterException`.
pub(super) fn check_task_role(
    enabled: bool,
    definition: &ecs::TaskDefinition,
    overrides: Option<&ecs::TaskOverride>,
) -> Result<(), ServiceError> {
    let own = overrides.and_then(|it| it.task_role_arn.as_deref()).is_some_and(|role| !role.is_empty());
    if enabled && !own && !has_task_role(definition) {
        return Err(invalid(
            "The execute command failed because a valid task role is not being used. Specify a valid task role in your task definition or as a task override and try again.",
        ));
    }
    Ok(())
}

/// Whether tasks of `definition` have a role.
pub(crate) fn has_task_role(definition: &ecs::TaskDefinition) -> bool {
    definition.task_role_arn.as_deref().is_some_and(|role| !role.is_empty())
}

/// Refuses what ECS refuses; what is left would need a session, which this version can't open.
///
/// # Errors
/// `ClusterNotFoundException`; `InvalidParameterException` for a task or container that can't run commands;
/// `TargetNotConnectedException` otherwise.
pub async fn execute_command(
    engine: &Engine,
    context: &RequestContext,
    input: ecs::ExecuteCommandRequest,
) -> Result<ecs::ExecuteCommandResponse, ServiceError> {
    let scope = scope_of(context);
    if input.command.as_deref().is_none_or(|command| command.trim().is_empty()) {
        return Err(invalid("The command is blank: name a program that the container has."));
    }
    if input.interactive != Some(true) {
        return Err(invalid("Interactive is the only mode supported: set interactive to true."));
    }
    let named = input.task.unwrap_or_default();
    engine
        .read(|state| {
            let cluster = resolve_cluster(state.scope(&scope), &scope, input.cluster.as_deref())?;
            let id = id_in("task", "task", cluster, &scope, &named)?;
            let task = id.and_then(|id| cluster.tasks.get(&id));
            let task = task.ok_or_else(|| invalid("The referenced task was not found."))?;
            let container = target(task, input.container.as_deref())?;
            Err(ecs::error::target_not_connected_exception(format!(
                "The execute command failed: this version of Longshore can't open a session with container {container} of task {}.",
                scope.task_arn(&cluster.record.name, task.id)
            )))
        })
        .await
}

/// The container of `task` that a command can run in.
fn target<'a>(task: &'a TaskRecord, named: Option<&str>) -> Result<&'a str, ServiceError> {
    if task.last_status != TaskStatus::Running {
        return Err(invalid(format!(
            "The execute command failed because the task is {}: it must be RUNNING.",
            task.last_status.as_str()
        )));
    }
    if !task.enable_execute_command {
        return Err(invalid(
            "The execute command failed because execute command was not enabled when the task was run or the execute command agent isn't running. Wait and try again or run a new task with execute command enabled and try again.",
        ));
    }
    let container = match (named.filter(|named| !named.is_empty()), &task.containers[..]) {
        (Some(named), containers) => containers
            .iter()
            .find(|container| container.name == named)
            .ok_or_else(|| invalid(format!("The task has no container called {named}.")))?,
        (None, [only]) => only,
        (None, containers) => {
            let names: Vec<_> = containers.iter().map(|container| container.name.as_str()).collect();
            return Err(invalid(format!("The task has several containers: name one of {}.", names.join(", "))));
        }
    };
    if container.last_status != TaskStatus::Running {
        let (name, status) = (&container.name, container.last_status.as_str());
        return Err(invalid(format!("The container {name} is {status}: it must be RUNNING.")));
    }
    Ok(&container.name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::operations::testing::World;

    // spec: 31-046
    #[tokio::test]
    async fn a_command_needs_a_running_task_that_was_started_for_it() {
        let world = World::with_default_cluster().await;
        world.instance(4096, 4096, &[]).await;
        world.family("web", 10, 10, json!({})).await;
        let role = json!({"taskRoleArn": "arn:aws:iam::123456789012:role/task"});
        let run = |enabled: bool| json!({"taskDefinition": "web", "enableExecuteCommand": enabled, "overrides": role});
        let execute = async |task: &serde_json::Value, container: Option<&str>, interactive: bool| {
            let input = json!({"task": task, "container": container, "command": "ls", "interactive": interactive});
            world.refused("ExecuteCommand", input).await
        };
        let plain = world.ok("RunTask", run(false)).await["tasks"][0]["taskArn"].clone();
        let (code, message) = execute(&plain, None, true).await;
        assert_eq!(code, "InvalidParameterException");
        assert!(message.contains("must be RUNNING"), "{message}");
        world.report(&plain, "RUNNING", None).await;
        let (code, message) = execute(&plain, None, true).await;
        assert_eq!(code, "InvalidParameterException");
        assert!(message.contains("execute command was not enabled"), "{message}");
        let enabled = world.ok("RunTask", run(true)).await["tasks"][0]["taskArn"].clone();
        world.report(&enabled, "RUNNING", None).await;
        assert_eq!(execute(&enabled, Some("side"), true).await.0, "InvalidParameterException");
        assert_eq!(execute(&enabled, None, false).await.0, "InvalidParameterException");
        assert_eq!(execute(&json!("0".repeat(32)), None, true).await.0, "InvalidParameterException");
        assert_eq!(execute(&enabled, Some("main"), true).await.0, "TargetNotConnectedException");
    }

    #[tokio::test]
    async fn commands_are_run_only_in_tasks_that_have_a_role() {
        let world = World::with_default_cluster().await;
        let instance = world.instance(4096, 4096, &[]).await;
        world.family("web", 10, 10, json!({})).await;
        let container = json!({"name": "main", "image": "busybox", "memory": 10});
        let role = "arn:aws:iam::123456789012:role/task";
        let own = json!({"family": "own", "taskRoleArn": role, "containerDefinitions": [container]});
        world.ok("RegisterTaskDefinition", own).await;
        for (operation, instances) in [("RunTask", json!(null)), ("StartTask", json!([instance]))] {
            let input = |family: &str, overrides: serde_json::Value| {
                json!({"taskDefinition": family, "containerInstances": instances, "enableExecuteCommand": true,
                    "overrides": overrides})
            };
            for overrides in [json!(null), json!({"taskRoleArn": ""})] {
                let (code, message) = world.refused(operation, input("web", overrides)).await;
                assert_eq!(code, "InvalidParameterException", "{operation}");
                assert!(message.contains("a valid task role is not being used"), "{message}");
            }
            world.ok(operation, input("web", json!({"taskRoleArn": role}))).await;
            world.ok(operation, input("own", json!(null))).await;
        }
    }
}
