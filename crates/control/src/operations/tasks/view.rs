//! A task as answers show it.

use longshore_api::ecs;
use longshore_model::records::{ContainerRecord, TaskRecord, TaskStatus};
use longshore_model::{Scope, daemon, tags};

use super::launch::CPU_ARCHITECTURE;

/// Why the agent of execute-command does not run.
const NO_SESSIONS: &str = "This version of Longshore can't open sessions with containers.";

/// `agent_connected` is that of the task's container instance; tags only when asked for.
pub(crate) fn view(
    scope: &Scope,
    cluster: &str,
    task: &TaskRecord,
    agent_connected: bool,
    with_tags: bool,
) -> ecs::Task {
    let times = &task.times;
    let task_arn = scope.task_arn(cluster, task.id);
    let connectivity = if agent_connected { ecs::Connectivity::Connected } else { ecs::Connectivity::Disconnected };
    ecs::Task {
        attachments: Some(attachments(scope, task)),
        attributes: Some(task.cpu_architecture.as_deref().map(architecture).into_iter().collect()),
        availability_zone: task.availability_zone.clone(),
        capacity_provider_name: task.capacity_provider.clone(),
        cluster_arn: Some(scope.cluster_arn(cluster)),
        connectivity: times.connectivity.map(|_| connectivity),
        connectivity_at: times.connectivity,
        container_instance_arn: task
            .container_instance
            .filter(|_| task.launch_type != ecs::LaunchType::Fargate)
            .map(|id| scope.container_instance_arn(cluster, id)),
        containers: Some(shown(task).iter().map(|it| container(scope, cluster, task, &task_arn, it)).collect()),
        cpu: task.cpu.clone(),
        created_at: Some(task.created_at),
        desired_status: Some(task.desired_status.as_str().to_owned()),
        ephemeral_storage: task.ephemeral_storage_gib.map(|gib| ecs::EphemeralStorage { size_in_gi_b: Some(gib) }),
        enable_execute_command: Some(task.enable_execute_command),
        execution_stopped_at: times.execution_stopped,
        fargate_ephemeral_storage: fargate_storage(task),
        group: Some(task.group.clone()),
        health_status: Some(task.health.clone().unwrap_or(ecs::HealthStatus::Unknown)),
        last_status: Some(task.last_status.as_str().to_owned()),
        launch_type: Some(task.launch_type.clone()),
        memory: task.memory.clone(),
        overrides: Some(overrides(task)),
        platform_family: task.platform_family.clone(),
        platform_version: task.platform_version.clone(),
        pull_started_at: times.pull_started,
        pull_stopped_at: times.pull_stopped,
        started_at: times.started,
        started_by: task.started_by.clone(),
        stop_code: task.stop_code.clone(),
        stopped_at: times.stopped,
        stopped_reason: task.stopped_reason.clone(),
        stopping_at: times.stopping,
        tags: Some(if with_tags { tags::to_list(&task.tags) } else { Vec::new() }),
        task_definition_arn: Some(definition_arn(scope, task)),
        task_arn: Some(task_arn),
        version: Some(task.version),
        ..ecs::Task::default()
    }
}

/// A task has no containers while it waits for capacity (guide chapter 3, "Step 4: Run a Task").
fn shown(task: &TaskRecord) -> &[ContainerRecord] {
    if task.waiting.is_some() { &[] } else { &task.containers }
}

fn attachments(scope: &Scope, task: &TaskRecord) -> Vec<ecs::Attachment> {
    let interface = task.interface.iter().map(|it| it.attachment(&scope.region));
    interface.chain(task.ebs_volume.iter().map(|it| it.attachment(task.last_status))).collect()
}

fn architecture(value: &str) -> ecs::Attribute {
    let (name, value) = (Some(CPU_ARCHITECTURE.to_owned()), Some(value.to_owned()));
    ecs::Attribute { name, value, ..ecs::Attribute::default() }
}

/// Fargate tells the size of a task's storage in a member of its own, too.
fn fargate_storage(task: &TaskRecord) -> Option<ecs::TaskEphemeralStorage> {
    let gib = task.ephemeral_storage_gib.filter(|_| task.launch_type == ecs::LaunchType::Fargate)?;
    Some(ecs::TaskEphemeralStorage { size_in_gi_b: Some(gib), ..ecs::TaskEphemeralStorage::default() })
}

/// The agent that execute-command needs in a container. It does not stay: no session can be opened here.
fn execute_command_agent(container: &ContainerRecord) -> ecs::ManagedAgent {
    let (status, reason) = match container.last_status {
        TaskStatus::Running => (TaskStatus::Stopped, Some(NO_SESSIONS.to_owned())),
        status => (status, None),
    };
    ecs::ManagedAgent {
        name: Some(ecs::ManagedAgentName::ExecuteCommandAgent),
        last_status: Some(status.as_str().to_owned()),
        reason,
        last_started_at: None,
    }
}

fn definition_arn(scope: &Scope, task: &TaskRecord) -> String {
    match &task.daemon {
        None => scope.task_definition_arn(&task.family, task.revision),
        Some(_) => daemon::task_definition_arn(scope, &task.family, task.revision),
    }
}

/// Every container is listed, overridden or not; the lists are there, empty or not.
fn overrides(task: &TaskRecord) -> ecs::TaskOverride {
    let mut overrides = task.overrides.as_deref().cloned().unwrap_or_default();
    let given = overrides.container_overrides.take().unwrap_or_default();
    let of = |name: &String| {
        let own = given.iter().find(|own| own.name.as_ref() == Some(name)).cloned();
        own.unwrap_or_else(|| ecs::ContainerOverride { name: Some(name.clone()), ..Default::default() })
    };
    overrides.container_overrides = Some(shown(task).iter().map(|container| of(&container.name)).collect());
    overrides.inference_accelerator_overrides.get_or_insert_default();
    overrides
}

fn container(
    scope: &Scope,
    cluster: &str,
    task: &TaskRecord,
    task_arn: &str,
    container: &ContainerRecord,
) -> ecs::Container {
    let ended = container.last_status == TaskStatus::Stopped;
    let exit_code = container.exit_code.filter(|_| ended).and_then(|code| i32::try_from(code).ok());
    ecs::Container {
        container_arn: Some(scope.container_arn(cluster, task.id, &container.id)),
        task_arn: Some(task_arn.to_owned()),
        name: Some(container.name.clone()),
        image: Some(container.image.clone()),
        image_digest: container.image_digest.clone(),
        runtime_id: container.runtime_id.clone(),
        last_status: Some(container.last_status.as_str().to_owned()),
        exit_code,
        reason: container.reason.clone(),
        network_bindings: Some(container.network_bindings.clone()),
        network_interfaces: Some(task.interface.iter().filter_map(|it| it.of_container()).collect()),
        health_status: Some(container.health.clone().unwrap_or(ecs::HealthStatus::Unknown)),
        cpu: container.cpu.clone(),
        memory: container.memory.clone(),
        memory_reservation: container.memory_reservation.clone(),
        managed_agents: task.enable_execute_command.then(|| vec![execute_command_agent(container)]),
        gpu_ids: (!container.gpu_ids.is_empty()).then(|| container.gpu_ids.clone()),
        ..ecs::Container::default()
    }
}
