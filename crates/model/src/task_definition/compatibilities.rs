//! Which launch types a definition can be run with.

use longshore_api::ServiceError;
use longshore_api::ecs::{
    Compatibility, ContainerDefinition, LogDriver, NetworkMode, PidMode, ResourceType, TaskDefinition,
};

use super::attributes::is_ecr_image;
use super::container::MAX_FARGATE_STOP_TIMEOUT;
use super::defaults::invalid_task_size;
use super::{is_windows, list, name, network_mode, refuse, size, text};

/// The one capability that Fargate adds.
const FARGATE_CAPABILITY: &str = "SYS_PTRACE";

/// The launch types that `definition` can be run with, having checked those that it requires.
///
/// EC2 and FARGATE are found out; EXTERNAL and MANAGED_INSTANCES are listed when they are asked for.
pub(super) fn check(definition: &TaskDefinition) -> Result<Vec<Compatibility>, ServiceError> {
    let required = |wanted: Compatibility| list(&definition.requires_compatibilities).contains(&wanted);
    let fargate = fargate_obstacle(definition);
    let mut compatible = Vec::new();
    if required(Compatibility::External) {
        external(definition)?;
        compatible.push(Compatibility::External);
    }
    if !fits_container_instance(definition)
        && (fargate.is_some() || required(Compatibility::Ec2))
        && !required(Compatibility::Fargate)
    {
        return Err(invalid_task_size("cpu"));
    }
    compatible.push(Compatibility::Ec2);
    match fargate {
        None => compatible.push(Compatibility::Fargate),
        Some(obstacle) if required(Compatibility::Fargate) => return Err(obstacle),
        Some(_) => {}
    }
    if required(Compatibility::ManagedInstances) {
        managed_instances(definition)?;
        compatible.push(Compatibility::ManagedInstances);
    }
    Ok(compatible)
}

fn fits_container_instance(definition: &TaskDefinition) -> bool {
    definition.cpu.as_deref().and_then(size::parse_cpu).is_none_or(size::is_task_cpu)
}

/// Guide of 2023, "External instances": no awsvpc network mode and nothing that builds on it.
fn external(definition: &TaskDefinition) -> Result<(), ServiceError> {
    if network_mode(definition) == NetworkMode::Awsvpc {
        return Err(refuse("External instances do not support network mode 'awsvpc'."));
    }
    if list(&definition.volumes).iter().any(|volume| volume.efs_volume_configuration.is_some()) {
        return Err(refuse("External instances do not support efsVolumeConfiguration."));
    }
    Ok(())
}

fn managed_instances(definition: &TaskDefinition) -> Result<(), ServiceError> {
    match network_mode(definition) {
        NetworkMode::Awsvpc | NetworkMode::Host => Ok(()),
        other => Err(refuse(format!("Managed instances do not support network mode '{}'.", other.as_str()))),
    }
}

/// What keeps `definition` from running on Fargate; none when it can.
///
/// The members of guide chapter 2, less those that Fargate has taken since (see
/// [`needs_current_fargate`]).
#[must_use]
pub fn fargate_obstacle(definition: &TaskDefinition) -> Option<ServiceError> {
    if definition.network_mode != Some(NetworkMode::Awsvpc) {
        return Some(refuse("Fargate only supports network mode ‘awsvpc’."));
    }
    task_size(definition)
        .or_else(|| task_members(definition))
        .or_else(|| list(&definition.container_definitions).iter().find_map(|each| container(each, definition)))
        .or_else(|| volumes(definition))
}

/// The member of `definition` that Fargate has only from platform version 1.4.0 on, if it uses one.
#[must_use]
pub fn needs_current_fargate(definition: &TaskDefinition) -> Option<&'static str> {
    if definition.pid_mode.is_some() {
        return Some("pidMode");
    }
    if definition.ephemeral_storage.is_some() {
        return Some("ephemeralStorage");
    }
    if list(&definition.volumes).iter().any(|volume| volume.efs_volume_configuration.is_some()) {
        return Some("efsVolumeConfiguration");
    }
    let containers = list(&definition.container_definitions);
    let uses = |test: fn(&ContainerDefinition) -> bool| containers.iter().any(test);
    if uses(|each| !list(&each.environment_files).is_empty()) {
        return Some("environmentFiles");
    }
    if uses(|each| !list(&each.system_controls).is_empty()) {
        return Some("systemControls");
    }
    if uses(takes_part_of_a_secret) {
        return Some("JSON key or version of a secret");
    }
    uses(|each| !added_capabilities(each).is_empty()).then_some("capabilities")
}

fn task_size(definition: &TaskDefinition) -> Option<ServiceError> {
    let missing = |member| Some(refuse(format!("Fargate requires that '{member}' be defined at the task level.")));
    let Some(cpu) = definition.cpu.as_deref() else { return missing("cpu") };
    let Some(memory) = definition.memory.as_deref() else { return missing("memory") };
    let known = size::parse_cpu(cpu)
        .zip(size::parse_memory(memory))
        .is_some_and(|(cpu, memory)| size::is_fargate_size(cpu, memory));
    (!known).then(|| {
        refuse(format!(
            "No Fargate configuration exists for given values: {cpu} CPU, {memory} memory. See the Amazon ECS documentation for the valid values."
        ))
    })
}

fn unsupported(member: &str) -> Option<ServiceError> {
    Some(refuse(format!("Fargate compatible task definitions do not support {member}")))
}

fn task_members(definition: &TaskDefinition) -> Option<ServiceError> {
    let task_level = |member| Some(refuse(format!("Tasks using the Fargate launch type do not support {member}.")));
    if definition.ipc_mode.is_some() {
        return task_level("ipcMode");
    }
    if definition.pid_mode.as_ref().is_some_and(|mode| *mode != PidMode::Task) {
        return task_level("pidMode 'host'. The supported value for pidMode is 'task'");
    }
    if !list(&definition.placement_constraints).is_empty() {
        return unsupported("placementConstraints");
    }
    if !list(&definition.inference_accelerators).is_empty() {
        return unsupported("inferenceAccelerators");
    }
    None
}

fn added_capabilities(container: &ContainerDefinition) -> &[String] {
    let capabilities = container.linux_parameters.as_ref().and_then(|linux| linux.capabilities.as_ref());
    capabilities.map_or(&[], |capabilities| list(&capabilities.add))
}

fn container(container: &ContainerDefinition, definition: &TaskDefinition) -> Option<ServiceError> {
    if let Some(linux) = &container.linux_parameters {
        let used = [
            ("devices", !list(&linux.devices).is_empty()),
            ("sharedMemorySize", linux.shared_memory_size.is_some()),
            ("tmpfs", !list(&linux.tmpfs).is_empty()),
            ("maxSwap", linux.max_swap.is_some()),
            ("swappiness", linux.swappiness.is_some()),
            (
                "capabilities.add other than SYS_PTRACE",
                added_capabilities(container).iter().any(|each| each != FARGATE_CAPABILITY),
            ),
        ];
        if let Some((member, _)) = used.into_iter().find(|(_, used)| *used) {
            return unsupported(member);
        }
    }
    let used = [
        ("links", !list(&container.links).is_empty()),
        ("privileged", container.privileged == Some(true)),
        ("dockerSecurityOptions", !list(&container.docker_security_options).is_empty()),
        ("disableNetworking", container.disable_networking == Some(true)),
        ("dnsServers", !list(&container.dns_servers).is_empty()),
        ("dnsSearchDomains", !list(&container.dns_search_domains).is_empty()),
        ("extraHosts", !list(&container.extra_hosts).is_empty()),
    ];
    if let Some((member, _)) = used.into_iter().find(|(_, used)| *used) {
        return unsupported(member);
    }
    if list(&container.resource_requirements).iter().any(|each| each.r#type == Some(ResourceType::Gpu)) {
        return Some(refuse("Tasks using the Fargate launch type do not support GPU resource requirements."));
    }
    if container.stop_timeout.is_some_and(|seconds| seconds > MAX_FARGATE_STOP_TIMEOUT) {
        return Some(refuse(format!(
            "The stopTimeout of container '{}' is more than the {MAX_FARGATE_STOP_TIMEOUT} seconds that Fargate allows.",
            name(container)
        )));
    }
    logs(container, definition).or_else(|| {
        let needs_role = is_ecr_image(text(&container.image)) && definition.execution_role_arn.is_none();
        needs_role.then(|| refuse("Fargate requires task definition to have execution role ARN to support ECR images."))
    })
}

fn logs(container: &ContainerDefinition, definition: &TaskDefinition) -> Option<ServiceError> {
    let file_type =
        container.firelens_configuration.as_ref().and_then(|each| each.options.as_ref()?.get("config-file-type"));
    if file_type.is_some_and(|kind| kind == "s3") {
        return unsupported("the config-file-type s3 of firelensConfiguration");
    }
    let driver = container.log_configuration.as_ref()?.log_driver.as_ref()?;
    match driver {
        LogDriver::Awslogs if definition.execution_role_arn.is_none() => {
            Some(refuse("Fargate requires task definition to have execution role ARN to support log driver awslogs."))
        }
        LogDriver::Awslogs if !has_stream_prefix(container) => Some(refuse(
            "Fargate requires log configuration options to include awslogs-stream-prefix to support log driver awslogs.",
        )),
        LogDriver::Awslogs | LogDriver::Splunk | LogDriver::Awsfirelens => None,
        other => Some(refuse(format!(
            "{} is not a valid log driver. Must be one of [awslogs,splunk,awsfirelens]",
            other.as_str()
        ))),
    }
}

fn has_stream_prefix(container: &ContainerDefinition) -> bool {
    let options = container.log_configuration.as_ref().and_then(|logs| logs.options.as_ref());
    options.is_some_and(|options| options.get("awslogs-stream-prefix").is_some_and(|prefix| !prefix.is_empty()))
}

/// Whether one of the container's secrets is a JSON key or a version of a Secrets Manager secret: its ARN goes on
/// after the name of the secret.
fn takes_part_of_a_secret(container: &ContainerDefinition) -> bool {
    let of_logs = container.log_configuration.as_ref().map_or(&[][..], |logs| list(&logs.secret_options));
    list(&container.secrets).iter().chain(of_logs).any(|secret| {
        let from = text(&secret.value_from);
        from.starts_with("arn:") && from.contains(":secretsmanager:") && from.split(':').count() > 7
    })
}

fn volumes(definition: &TaskDefinition) -> Option<ServiceError> {
    for volume in list(&definition.volumes) {
        if volume.host.as_ref().is_some_and(|host| host.source_path.is_some()) {
            return unsupported("sourcePath");
        }
        if volume.docker_volume_configuration.is_some() {
            return unsupported("dockerVolumeConfiguration");
        }
        if volume.fsx_windows_file_server_volume_configuration.is_some() && !is_windows(definition) {
            return unsupported("fsxWindowsFileServerVolumeConfiguration");
        }
    }
    None
}
