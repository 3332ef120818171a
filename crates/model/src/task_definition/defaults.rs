//! What ECS fills in before it stores and answers a task definition.

use longshore_api::ServiceError;
use longshore_api::ecs::{
    ContainerDefinition, HealthCheck, HostVolumeProperties, NetworkMode, PortMapping, RegisterTaskDefinitionRequest,
    Scope, TaskDefinition, TransportProtocol, Volume,
};

use super::{refuse, size};

/// Seconds between health checks, for one check, and failures until UNHEALTHY (guide chapter 5).
const HEALTH_CHECK: (i32, i32, i32) = (30, 5, 3);
/// Seconds that a container must run before it is restarted again.
const RESTART_ATTEMPT_PERIOD: i32 = 300;

/// The definition of `request` with every default that ECS shows.
pub(super) fn fill(request: RegisterTaskDefinitionRequest) -> Result<TaskDefinition, ServiceError> {
    let mode = request.network_mode.clone().unwrap_or(NetworkMode::Bridge);
    let mut containers = request.container_definitions.unwrap_or_default();
    for definition in &mut containers {
        container(definition, &mode);
    }
    let mut volumes = request.volumes.unwrap_or_default();
    volumes.iter_mut().for_each(volume);
    Ok(TaskDefinition {
        family: request.family,
        task_role_arn: request.task_role_arn.filter(|role| !role.is_empty()),
        execution_role_arn: request.execution_role_arn.filter(|role| !role.is_empty()),
        network_mode: request.network_mode,
        container_definitions: Some(containers),
        volumes: Some(volumes),
        placement_constraints: Some(request.placement_constraints.unwrap_or_default()),
        requires_compatibilities: request.requires_compatibilities.filter(|required| !required.is_empty()),
        cpu: task_size(request.cpu, "cpu", size::parse_cpu)?,
        memory: task_size(request.memory, "memory", size::parse_memory)?,
        pid_mode: request.pid_mode,
        ipc_mode: request.ipc_mode,
        proxy_configuration: request.proxy_configuration,
        inference_accelerators: request.inference_accelerators,
        ephemeral_storage: request.ephemeral_storage,
        runtime_platform: request.runtime_platform,
        enable_fault_injection: request.enable_fault_injection,
        trusted_execution_configuration: request.trusted_execution_configuration,
        ..TaskDefinition::default()
    })
}

/// A task's `cpu` or `memory` as the whole number that ECS answers.
fn task_size(
    given: Option<String>,
    member: &str,
    parse: fn(&str) -> Option<u32>,
) -> Result<Option<String>, ServiceError> {
    let Some(text) = given else { return Ok(None) };
    match parse(&text).filter(|size| *size > 0) {
        Some(size) => Ok(Some(size.to_string())),
        None => Err(invalid_task_size(member)),
    }
}

pub(super) fn invalid_task_size(member: &str) -> ServiceError {
    refuse(format!(
        "Invalid '{member}' setting for task. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."
    ))
}

fn container(definition: &mut ContainerDefinition, mode: &NetworkMode) {
    definition.cpu.get_or_insert(0);
    definition.essential.get_or_insert(true);
    definition.environment.get_or_insert_default();
    definition.mount_points.get_or_insert_default();
    definition.volumes_from.get_or_insert_default();
    definition.system_controls.get_or_insert_default();
    for mapping in definition.port_mappings.get_or_insert_default() {
        port_mapping(mapping, mode);
    }
    if let Some(check) = &mut definition.health_check {
        health_check(check);
    }
    if let Some(policy) = &mut definition.restart_policy
        && policy.enabled == Some(true)
    {
        policy.restart_attempt_period.get_or_insert(RESTART_ATTEMPT_PERIOD);
    }
    // The log router reads the sockets of the other containers, so it runs as root unless told otherwise.
    if definition.firelens_configuration.is_some() {
        definition.user.get_or_insert_with(|| "0".to_owned());
    }
}

fn port_mapping(mapping: &mut PortMapping, mode: &NetworkMode) {
    mapping.protocol.get_or_insert(TransportProtocol::Tcp);
    if mapping.container_port_range.is_some() {
        return;
    }
    // Without a network of the task's own behind it there is nothing to map: the port is the container's.
    let mapped = !matches!(mode, NetworkMode::Awsvpc | NetworkMode::Host);
    match mapping.host_port {
        None if mapped => mapping.host_port = Some(0),
        None | Some(0) if !mapped => mapping.host_port = mapping.container_port,
        _ => {}
    }
}

fn health_check(check: &mut HealthCheck) {
    let (interval, timeout, retries) = HEALTH_CHECK;
    check.interval.get_or_insert(interval);
    check.timeout.get_or_insert(timeout);
    check.retries.get_or_insert(retries);
    if let Some(command) = &mut check.command
        && command.first().is_some_and(|first| first != "CMD" && first != "CMD-SHELL")
    {
        command.insert(0, "CMD".to_owned());
    }
}

fn volume(volume: &mut Volume) {
    let configured = volume.docker_volume_configuration.is_some()
        || volume.efs_volume_configuration.is_some()
        || volume.s3files_volume_configuration.is_some()
        || volume.fsx_windows_file_server_volume_configuration.is_some()
        || volume.configured_at_launch == Some(true);
    if !configured {
        volume.host.get_or_insert_with(HostVolumeProperties::default);
    } else if volume.host.as_ref().is_some_and(|host| host.source_path.is_none()) {
        // Clients send an empty `host` beside the configuration that they mean.
        volume.host = None;
    }
    if let Some(docker) = &mut volume.docker_volume_configuration {
        // Only volumes that are shared are provisioned when they are missing.
        let scope = if docker.autoprovision == Some(true) { Scope::Shared } else { Scope::Task };
        docker.scope.get_or_insert(scope);
    }
    if let Some(efs) = &mut volume.efs_volume_configuration {
        efs.root_directory.get_or_insert_with(|| "/".to_owned());
    }
}
