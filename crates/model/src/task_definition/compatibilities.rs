//! Which launch types a definition can be run with.

use longshore_api::ServiceError;
use longshore_api::ecs::{
    Compatibility, ContainerDefinition, IsolationMode, LogDriver, NetworkMode, PidMode, ResourceType, TaskDefinition,
};

use super::attributes::is_ecr_image;
use super::container::{MAX_FARGATE_STOP_TIMEOUT, MIN_FARGATE_TIMEOUT};
use super::defaults::invalid_task_size;
use super::{is_windows, list, name, network_mode, refuse, size, text};

/// The one capability that Fargate adds.
const FARGATE_CAPABILITY: &str = "SYS_PTRACE";

/// The launch types that `definition` can be run with, having checked those that it requires.
///
/// In the order of ECS's answers. Who requires EC2 alone has the guide's answer, EC2 and FARGATE at most; ECS lists
/// EXTERNAL and MANAGED_INSTANCES too where they fit, since it has them.
pub(super) fn check(definition: &TaskDefinition) -> Result<Vec<Compatibility>, ServiceError> {
    let required = list(&definition.requires_compatibilities);
    let managed_only = only_on_managed_instances(definition);
    let fargate = fargate_obstacle(definition);
    let requires = |wanted: Compatibility| required.contains(&wanted);
    if !fits_container_instance(definition)
        && (fargate.is_some() || requires(Compatibility::Ec2))
        && !requires(Compatibility::Fargate)
    {
        return Err(invalid_task_size("cpu"));
    }
    let as_in_guide = required == [Compatibility::Ec2];
    let mut compatible = Vec::new();
    for (launch_type, obstacle, is_listed) in [
        (Compatibility::External, managed_only.clone().or_else(|| external_obstacle(definition)), !as_in_guide),
        (Compatibility::Ec2, managed_only, true),
        (Compatibility::ManagedInstances, managed_instances_obstacle(definition), !as_in_guide),
        (Compatibility::Fargate, fargate, true),
    ] {
        match obstacle {
            Some(obstacle) if requires(launch_type.clone()) => return Err(obstacle),
            None if is_listed => compatible.push(launch_type),
            _ => {}
        }
    }
    match managed_instances_obstacle(definition) {
        // What needs managed instances and has a member that they do not take runs nowhere.
        Some(obstacle) if compatible.is_empty() => Err(obstacle),
        _ => Ok(compatible),
    }
}

/// What keeps `definition` from running anywhere but on managed instances; none when it can.
fn only_on_managed_instances(definition: &TaskDefinition) -> Option<ServiceError> {
    let needs = |what: &str| Some(refuse(format!("{what} is supported on managed instances only.")));
    let trusted = definition.trusted_execution_configuration.as_ref().and_then(|it| it.isolation_mode.as_ref());
    if let Some(mode) = trusted.filter(|mode| **mode != IsolationMode::Shared) {
        return needs(&format!("The isolationMode {}", mode.as_str()));
    }
    let containers = list(&definition.container_definitions);
    let mut requirements = containers.iter().flat_map(|each| list(&each.resource_requirements));
    if requirements.any(|each| each.r#type == Some(ResourceType::NeuronDevice)) {
        return needs("The resource type NeuronDevice");
    }
    None
}

fn fits_container_instance(definition: &TaskDefinition) -> bool {
    definition.cpu.as_deref().and_then(size::parse_cpu).is_none_or(size::is_task_cpu)
}

/// Guide of 2023, "External instances": no awsvpc network mode and nothing that builds on it.
fn external_obstacle(definition: &TaskDefinition) -> Option<ServiceError> {
    if network_mode(definition) == NetworkMode::Awsvpc {
        return Some(refuse("External instances do not support network mode 'awsvpc'."));
    }
    let containers = list(&definition.container_definitions);
    let mut requirements = containers.iter().flat_map(|each| list(&each.resource_requirements));
    if requirements.any(|each| each.sharing_strategy.is_some()) {
        return Some(refuse("External instances do not support GPU sharing."));
    }
    let efs = list(&definition.volumes).iter().any(|volume| volume.efs_volume_configuration.is_some());
    efs.then(|| refuse("External instances do not support efsVolumeConfiguration."))
}

/// What keeps `definition` from running on managed instances; none when it can (developer guide, "Task definition
/// differences for Amazon ECS Managed Instances").
#[must_use]
pub fn managed_instances_obstacle(definition: &TaskDefinition) -> Option<ServiceError> {
    let unsupported = |what: &str| Some(refuse(format!("Managed instances do not support {what}.")));
    match network_mode(definition) {
        NetworkMode::Awsvpc | NetworkMode::Host | NetworkMode::None => {}
        other => return unsupported(&format!("network mode '{}'", other.as_str())),
    }
    if is_windows(definition) {
        return unsupported("Windows");
    }
    for (member, is_given) in [
        ("ephemeralStorage", definition.ephemeral_storage.is_some()),
        ("inferenceAccelerators", !list(&definition.inference_accelerators).is_empty()),
        ("ipcMode", definition.ipc_mode.is_some()),
        ("proxyConfiguration", definition.proxy_configuration.is_some()),
    ] {
        if is_given {
            return unsupported(member);
        }
    }
    for volume in list(&definition.volumes) {
        if volume.docker_volume_configuration.is_some() {
            return unsupported("dockerVolumeConfiguration");
        }
        if volume.fsx_windows_file_server_volume_configuration.is_some() {
            return unsupported("fsxWindowsFileServerVolumeConfiguration");
        }
    }
    let containers = list(&definition.container_definitions);
    containers.iter().find_map(unmanageable_member).and_then(unsupported)
}

/// The first member of a container that managed instances do not take.
fn unmanageable_member(container: &ContainerDefinition) -> Option<&'static str> {
    let linux = container.linux_parameters.as_ref();
    let is_given = |strings: &Option<Vec<String>>| !list(strings).is_empty();
    [
        ("disableNetworking", container.disable_networking == Some(true)),
        ("dnsSearchDomains", is_given(&container.dns_search_domains)),
        ("dnsServers", is_given(&container.dns_servers)),
        ("dockerSecurityOptions", is_given(&container.docker_security_options)),
        ("extraHosts", !list(&container.extra_hosts).is_empty()),
        ("hostname", container.hostname.is_some()),
        ("links", is_given(&container.links)),
        ("maxSwap", linux.is_some_and(|linux| linux.max_swap.is_some())),
        ("sharedMemorySize", linux.is_some_and(|linux| linux.shared_memory_size.is_some())),
        ("swappiness", linux.is_some_and(|linux| linux.swappiness.is_some())),
        ("tmpfs", linux.is_some_and(|linux| !list(&linux.tmpfs).is_empty())),
    ]
    .into_iter()
    .find_map(|(member, is_given)| is_given.then_some(member))
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
    only_on_managed_instances(definition)
        .or_else(|| task_size(definition))
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
    if list(&definition.volumes).iter().any(|volume| volume.configured_at_launch == Some(true)) {
        return Some("configuredAtLaunch");
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
    for (member, timeout) in [("startTimeout", container.start_timeout), ("stopTimeout", container.stop_timeout)] {
        if let Some(seconds) = timeout.filter(|seconds| *seconds < MIN_FARGATE_TIMEOUT) {
            return Some(refuse(format!(
                "The {member} of container '{}' is {seconds} seconds; Fargate allows {MIN_FARGATE_TIMEOUT} at least.",
                name(container)
            )));
        }
    }
    if let Some(seconds) = container.start_timeout.filter(|seconds| *seconds > MAX_FARGATE_STOP_TIMEOUT) {
        return Some(refuse(format!(
            "The startTimeout of container '{}' is {seconds} seconds, more than the {MAX_FARGATE_STOP_TIMEOUT} that Fargate allows.",
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
