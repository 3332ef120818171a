//! One container definition by itself.

use longshore_api::ecs::{ContainerDefinition, HealthCheck, ResourceRequirement, ResourceType, TaskDefinition};

use super::{Check, Limits, environment, is_windows, linux, list, name, refuse, text};
use crate::names;

/// Docker's own least memory for a container, in MiB, when the guide was written.
pub const MIN_MEMORY_MIB: i32 = 4;
/// Longest stop timeout on Fargate, in seconds.
pub(super) const MAX_FARGATE_STOP_TIMEOUT: i32 = 120;
/// Shortest start and stop timeout on Fargate, in seconds.
pub(super) const MIN_FARGATE_TIMEOUT: i32 = 2;
/// What a container says that takes all devices of a kind.
pub(super) const ALL: &str = "ALL";
/// Most credential specifications of a container.
const MAX_CREDENTIAL_SPECS: usize = 1;

/// Name and image: what everything else is said about.
pub(super) fn names(container: &ContainerDefinition) -> Check {
    let name = name(container);
    if name.is_empty() {
        return Err(refuse("Container.name should not be null or empty."));
    }
    if !names::has_name_characters(name) {
        return Err(refuse("Container.name contains invalid characters."));
    }
    if name.len() > names::MAX_NAME {
        return Err(refuse(format!(
            "Container.name is {} characters long; at most {} are allowed.",
            name.len(),
            names::MAX_NAME
        )));
    }
    let image = text(&container.image);
    if image.is_empty() {
        return Err(refuse("Container.image should not be null or empty."));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_:./#@".contains(&byte);
    if !image.bytes().all(allowed) {
        return Err(refuse("Container.image contains invalid characters."));
    }
    if image.starts_with([':', '@']) {
        return Err(refuse("Container.image repository should not be null or empty."));
    }
    if image.len() > names::MAX_NAME {
        return Err(refuse(format!(
            "Container.image of container '{name}' is {} characters long; at most {} are allowed.",
            image.len(),
            names::MAX_NAME
        )));
    }
    Ok(())
}

pub(super) fn check(container: &ContainerDefinition, definition: &TaskDefinition, limits: &Limits) -> Check {
    sizes(container, definition)?;
    for (member, timeout) in [("startTimeout", container.start_timeout), ("stopTimeout", container.stop_timeout)] {
        if let Some(seconds) = timeout.filter(|seconds| *seconds < 0) {
            return Err(setting(member, container, format!("{seconds} is less than 0 seconds")));
        }
    }
    if let Some(check) = &container.health_check {
        health_check(check, container)?;
    }
    if let Some(policy) = &container.restart_policy {
        if let Some(period) = policy.restart_attempt_period.filter(|period| !(60..=1800).contains(period)) {
            return Err(setting(
                "restartAttemptPeriod",
                container,
                format!("{period} is not between 60 and 1800 seconds"),
            ));
        }
        let codes = list(&policy.ignored_exit_codes).len();
        if codes > 50 {
            return Err(setting("ignoredExitCodes", container, format!("{codes} exit codes are more than 50")));
        }
    }
    if let Some(user) = &container.user {
        user_name(user, container)?;
    }
    resource_requirements(container, definition)?;
    credential_specs(container)?;
    if is_windows(definition) {
        windows(container)?;
    }
    environment::check(container, definition, limits)?;
    linux::check(container, definition)
}

/// `Invalid 'MEMBER' setting for container 'NAME'`, and why.
pub(super) fn setting(
    member: &str,
    container: &ContainerDefinition,
    why: impl std::fmt::Display,
) -> longshore_api::ServiceError {
    refuse(format!("Invalid '{member}' setting for container '{}': {why}.", name(container)))
}

fn sizes(container: &ContainerDefinition, definition: &TaskDefinition) -> Check {
    if let Some(cpu) = container.cpu.filter(|cpu| *cpu < 0) {
        return Err(setting("cpu", container, format!("{cpu} is less than 0 CPU units")));
    }
    let (memory, reservation) = (container.memory, container.memory_reservation);
    for (member, size) in [("memory", memory), ("memoryReservation", reservation)] {
        if let Some(size) = size.filter(|size| *size < MIN_MEMORY_MIB) {
            return Err(setting(member, container, format!("{size} is less than {MIN_MEMORY_MIB} MiB")));
        }
    }
    if memory.is_none() && reservation.is_none() && definition.memory.is_none() {
        return Err(refuse(format!(
            "Invalid setting for container '{}'. At least one of 'memory' or 'memoryReservation' must be specified.",
            name(container)
        )));
    }
    // The guide wants `memory` to be the greater one; ECS accepts equality.
    match (memory, reservation) {
        (Some(memory), Some(reservation)) if memory < reservation => {
            let why = format!("{memory} is less than memoryReservation, which is {reservation}");
            Err(setting("memory", container, why))
        }
        _ => Ok(()),
    }
}

fn health_check(check: &HealthCheck, container: &ContainerDefinition) -> Check {
    let command = list(&check.command);
    if command.is_empty() {
        return Err(setting("healthCheck", container, "the command must not be empty"));
    }
    if command.len() == 1 && matches!(command[0].as_str(), "CMD" | "CMD-SHELL") {
        return Err(setting("healthCheck", container, format!("{} is followed by no command", command[0])));
    }
    for (member, value, range) in [
        ("healthCheck.interval", check.interval, 5..=300),
        ("healthCheck.timeout", check.timeout, 2..=60),
        ("healthCheck.retries", check.retries, 1..=10),
        ("healthCheck.startPeriod", check.start_period, 0..=300),
    ] {
        if let Some(value) = value.filter(|value| !range.contains(value)) {
            let why = format!("{value} is not between {} and {}", range.start(), range.end());
            return Err(setting(member, container, why));
        }
    }
    Ok(())
}

/// `user`, `user:group`, with names or numbers on either side (guide chapter 5).
fn user_name(user: &str, container: &ContainerDefinition) -> Check {
    let mut parts = user.split(':');
    let well_formed = parts.clone().count() <= 2
        && parts.all(|part| !part.is_empty() && !part.starts_with('-') && !part.contains(char::is_whitespace));
    if well_formed {
        return Ok(());
    }
    let why = format!(
        "'{user}' is none of user, user:group, uid, uid:gid, user:gid, uid:group with ids that are not negative"
    );
    Err(setting("user", container, why))
}

pub(super) fn resource_requirements(container: &ContainerDefinition, definition: &TaskDefinition) -> Check {
    list(&container.resource_requirements)
        .iter()
        .try_for_each(|requirement| resource_requirement(requirement, container, definition))
}

/// What containers ask for together: they share GPUs all in the same way, and one of them has the Neuron devices.
pub(super) fn devices(definition: &TaskDefinition) -> Check {
    let containers = list(&definition.container_definitions);
    let asks = |container: &ContainerDefinition, kind: ResourceType| {
        list(&container.resource_requirements).iter().any(|each| each.r#type == Some(kind.clone()))
    };
    let on_gpu = containers.iter().flat_map(|each| list(&each.resource_requirements));
    let on_gpu: Vec<_> = on_gpu.filter(|each| each.r#type == Some(ResourceType::Gpu)).collect();
    let sharing = on_gpu.iter().filter(|each| each.sharing_strategy.is_some()).count();
    if sharing != 0 && sharing != on_gpu.len() {
        return Err(refuse(
            "The containers of a task definition that require GPUs must all give a value, or all a sharingStrategy.",
        ));
    }
    if containers.iter().filter(|each| asks(each, ResourceType::NeuronDevice)).count() > 1 {
        return Err(refuse("Only one container of a task definition can require NeuronDevice resources."));
    }
    Ok(())
}

/// Credential specifications are named by ARN behind a scheme.
fn credential_specs(container: &ContainerDefinition) -> Check {
    let specs = list(&container.credential_specs);
    if specs.len() > MAX_CREDENTIAL_SPECS {
        let why = format!("{} specifications are more than {MAX_CREDENTIAL_SPECS}", specs.len());
        return Err(setting("credentialSpecs", container, why));
    }
    let well_formed = |spec: &&String| {
        let rest = spec.strip_prefix("credentialspecdomainless:").or_else(|| spec.strip_prefix("credentialspec:"));
        rest.is_some_and(|arn| arn.starts_with("arn:"))
    };
    match specs.iter().find(|spec| !well_formed(spec)) {
        Some(spec) => {
            let why = format!("'{spec}' is neither credentialspec:ARN nor credentialspecdomainless:ARN");
            Err(setting("credentialSpecs", container, why))
        }
        None => Ok(()),
    }
}

fn resource_requirement(
    requirement: &ResourceRequirement,
    container: &ContainerDefinition,
    definition: &TaskDefinition,
) -> Check {
    let value = text(&requirement.value);
    let wrong = |why: &str| Err(setting("resourceRequirements", container, why));
    if let Some(strategy) = &requirement.sharing_strategy {
        if requirement.r#type != Some(ResourceType::Gpu) {
            return wrong("a sharingStrategy is for GPUs only");
        }
        if requirement.value.is_some() {
            return wrong("a GPU has a value or a sharingStrategy, not both");
        }
        if strategy.nvidia_mps.is_none() {
            return wrong("sharingStrategy must have exactly one member: give nvidiaMps");
        }
        return Ok(());
    }
    match &requirement.r#type {
        Some(ResourceType::Gpu) => {
            let is_count = value.parse::<u32>().is_ok_and(|count| count > 0);
            if !is_count && value != ALL {
                return wrong(&format!("'{value}' is no number of GPUs"));
            }
        }
        Some(ResourceType::NeuronDevice) if value != ALL => {
            return wrong(&format!("'{value}' is not valid for NeuronDevice: use {ALL}"));
        }
        Some(ResourceType::InferenceAccelerator) => {
            let declared = list(&definition.inference_accelerators);
            if !declared.iter().any(|accelerator| text(&accelerator.device_name) == value) {
                let why = format!("the task definition declares no inference accelerator '{value}'");
                return Err(setting("resourceRequirements", container, why));
            }
        }
        _ => {}
    }
    Ok(())
}

/// Members that Windows containers don't have (guide chapters 5 and 25).
fn windows(container: &ContainerDefinition) -> Check {
    let used = [
        ("linuxParameters", container.linux_parameters.is_some()),
        ("privileged", container.privileged == Some(true)),
        ("readonlyRootFilesystem", container.readonly_root_filesystem == Some(true)),
        ("disableNetworking", container.disable_networking == Some(true)),
        ("dnsServers", !list(&container.dns_servers).is_empty()),
        ("dnsSearchDomains", !list(&container.dns_search_domains).is_empty()),
        ("extraHosts", !list(&container.extra_hosts).is_empty()),
        ("systemControls", !list(&container.system_controls).is_empty()),
    ];
    match used.into_iter().find(|(_, used)| *used) {
        Some((member, _)) => Err(setting(member, container, "Windows containers do not support it")),
        None => Ok(()),
    }
}
