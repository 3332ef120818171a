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
        let run = |enabled: bool| json!({"taskDefinition": "web", "enableExecuteCommand": enabled});
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
}
