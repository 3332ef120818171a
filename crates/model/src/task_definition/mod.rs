//! What RegisterTaskDefinition accepts, and what ECS makes of it.
//!
//! The rules are those of guide chapters 4 to 8 where ECS of today has no other; the messages are
//! ECS's own where they are publicly known. [`validate_and_normalise`] first fills in what ECS
//! fills in, then checks, so that a normalised definition is its own normal form.

mod attributes;
mod compatibilities;
mod container;
mod defaults;
mod dependencies;
mod environment;
mod linux;
mod logging;
mod network;
mod size;
mod volumes;

#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;

use longshore_api::ServiceError;
use longshore_api::ecs::{
    ContainerDefinition, IsolationMode, NetworkMode, OSFamily, RegisterTaskDefinitionRequest, TaskDefinition,
    TaskDefinitionPlacementConstraintType, error,
};

use crate::names;

pub use compatibilities::{fargate_obstacle, managed_instances_obstacle, needs_current_fargate};
pub use container::MIN_MEMORY_MIB;
pub use size::{is_fargate_size, parse_cpu, parse_memory};

/// What `ephemeralStorage` may ask for, GiB.
pub const EPHEMERAL_STORAGE_GIB: RangeInclusive<i32> = 21..=200;

/// Bounds of a task definition (guide chapter 22, "Service quotas").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most container definitions.
    pub containers: usize,
    /// Most bytes of the definition as JSON.
    pub document_bytes: usize,
    /// Most environment files of one container.
    pub environment_files: usize,
    /// Most placement constraints.
    pub placement_constraints: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { containers: 10, document_bytes: 64 << 10, environment_files: 10, placement_constraints: 10 }
    }
}

type Check = Result<(), ServiceError>;

/// Checks what overrides may have made of `container`: its environment and its resource requirements.
///
/// # Errors
/// As [`validate_and_normalise`].
pub fn check_overridden(container: &ContainerDefinition, definition: &TaskDefinition) -> Check {
    environment::check(container, definition, &Limits::default())?;
    container::resource_requirements(container, definition)
}

/// Checks `request` and answers the definition that ECS would store: defaults filled in, sizes as
/// whole numbers, `requiresAttributes` and `compatibilities` computed. ARN, revision, status, times
/// and tags are not in it.
///
/// # Errors
/// `ClientException` with ECS's own message where it is known, else one that names the container,
/// the member and the value.
pub fn validate_and_normalise(
    request: RegisterTaskDefinitionRequest,
    limits: &Limits,
) -> Result<TaskDefinition, ServiceError> {
    document_size(&request, limits)?;
    let mut definition = defaults::fill(request)?;
    family(text(&definition.family))?;
    containers(&definition, limits)?;
    task(&definition, limits)?;
    volumes::check(&definition)?;
    for container in list(&definition.container_definitions) {
        container::check(container, &definition, limits)?;
    }
    container::devices(&definition)?;
    task_sums(&definition)?;
    network::check(&definition)?;
    dependencies::check(&definition)?;
    logging::check(&definition)?;
    definition.compatibilities = Some(compatibilities::check(&definition)?);
    definition.requires_attributes = Some(attributes::required(&definition));
    Ok(definition)
}

/// The network mode in force: `bridge` unless the definition says otherwise.
#[must_use]
pub fn network_mode(definition: &TaskDefinition) -> NetworkMode {
    definition.network_mode.clone().unwrap_or(NetworkMode::Bridge)
}

fn refuse(message: impl Into<String>) -> ServiceError {
    error::client_exception(message)
}

fn text(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or_default()
}

fn list<T>(value: &Option<Vec<T>>) -> &[T] {
    value.as_deref().unwrap_or_default()
}

fn name(container: &ContainerDefinition) -> &str {
    text(&container.name)
}

fn is_windows(definition: &TaskDefinition) -> bool {
    let family = definition.runtime_platform.as_ref().and_then(|platform| platform.operating_system_family.as_ref());
    family.is_some_and(|family| OSFamily::as_str(family).starts_with("WINDOWS"))
}

fn document_size(request: &RegisterTaskDefinitionRequest, limits: &Limits) -> Check {
    let bytes = longshore_api::to_json(request).len();
    if bytes > limits.document_bytes {
        let most = limits.document_bytes;
        return Err(refuse(format!("Actual length: '{bytes}'. Max allowed length is '{most}' bytes.")));
    }
    Ok(())
}

fn family(family: &str) -> Check {
    if family.trim().is_empty() {
        return Err(refuse("Family should not be null or blank."));
    }
    if !names::has_name_characters(family) {
        return Err(refuse("Family contains invalid characters."));
    }
    if family.len() > names::MAX_NAME {
        return Err(refuse(format!(
            "Family is {} characters long; at most {} are allowed.",
            family.len(),
            names::MAX_NAME
        )));
    }
    Ok(())
}

fn containers(definition: &TaskDefinition, limits: &Limits) -> Check {
    let containers = list(&definition.container_definitions);
    if containers.is_empty() {
        return Err(refuse("Container list cannot be empty."));
    }
    if containers.len() > limits.containers {
        return Err(refuse("Too many containers."));
    }
    for (at, container) in containers.iter().enumerate() {
        container::names(container)?;
        if containers[..at].iter().any(|earlier| earlier.name == container.name) {
            return Err(refuse(format!(
                "Container names must be unique in a task definition: '{}' is used more than once.",
                name(container)
            )));
        }
    }
    if !containers.iter().any(|container| container.essential == Some(true)) {
        return Err(refuse("At least one container in the task definition must be essential."));
    }
    Ok(())
}

fn task(definition: &TaskDefinition, limits: &Limits) -> Check {
    for role in [&definition.task_role_arn, &definition.execution_role_arn].into_iter().flatten() {
        if !names::is_role(role) {
            return Err(refuse("Role is not valid"));
        }
    }
    if is_windows(definition) && !matches!(definition.network_mode, None | Some(NetworkMode::Awsvpc)) {
        return Err(refuse(
            "Task definitions with a Windows operatingSystemFamily must leave networkMode out or set it to awsvpc.",
        ));
    }
    placement_constraints(definition, limits)?;
    if let Some(trusted) = &definition.trusted_execution_configuration
        && trusted.isolation_mode == Some(IsolationMode::ConfidentialSandbox)
        && text(&trusted.attestation_policy).is_empty()
    {
        return Err(refuse("The isolationMode CONFIDENTIAL_SANDBOX needs an attestationPolicy."));
    }
    let storage = definition.ephemeral_storage.as_ref().and_then(|storage| storage.size_in_gi_b);
    if let Some(size) = storage.filter(|size| !EPHEMERAL_STORAGE_GIB.contains(size)) {
        return Err(refuse(format!(
            "Invalid 'sizeInGiB' setting for ephemeralStorage: {size} is not between {} and {}.",
            EPHEMERAL_STORAGE_GIB.start(),
            EPHEMERAL_STORAGE_GIB.end()
        )));
    }
    let accelerators = list(&definition.inference_accelerators);
    for (at, accelerator) in accelerators.iter().enumerate() {
        if accelerators[..at].iter().any(|earlier| earlier.device_name == accelerator.device_name) {
            let device = text(&accelerator.device_name);
            return Err(refuse(format!("The inference accelerator '{device}' is declared more than once.")));
        }
    }
    Ok(())
}

fn placement_constraints(definition: &TaskDefinition, limits: &Limits) -> Check {
    let constraints = list(&definition.placement_constraints);
    if constraints.len() > limits.placement_constraints {
        return Err(refuse(format!(
            "A task definition can have at most {} placement constraints; this one has {}.",
            limits.placement_constraints,
            constraints.len()
        )));
    }
    for constraint in constraints {
        if constraint.r#type != Some(TaskDefinitionPlacementConstraintType::MemberOf) {
            return Err(refuse("The type of a placement constraint in a task definition must be memberOf."));
        }
        if constraint.expression.as_deref().is_some_and(|expression| expression.trim().is_empty()) {
            return Err(refuse("The expression of a placement constraint must not be blank."));
        }
    }
    Ok(())
}

/// What the containers take together must fit in what the task has (guide chapter 5).
fn task_sums(definition: &TaskDefinition) -> Check {
    let containers = list(&definition.container_definitions);
    let task_size = |value: &Option<String>| value.as_ref().and_then(|text| text.parse::<i64>().ok());
    if let Some(memory) = task_size(&definition.memory) {
        if let Some(container) = containers.iter().find(|container| i64::from(container.memory.unwrap_or(0)) > memory) {
            let name = name(container);
            return Err(refuse(format!("The 'memory' setting for container '{name}' is greater than for the task.")));
        }
        let reserved: i64 = containers.iter().map(reserved_memory).sum();
        if reserved > memory {
            let soft =
                containers.iter().all(|container| container.memory.is_none() || container.memory_reservation.is_some());
            let member = if soft { "memoryReservation" } else { "memory" };
            return Err(refuse(format!(
                "The sum of all container '{member}' values cannot be greater than the value of the task 'memory'."
            )));
        }
    }
    if let Some(cpu) = task_size(&definition.cpu) {
        let reserved: i64 = containers.iter().map(|container| i64::from(container.cpu.unwrap_or(0))).sum();
        if reserved > cpu {
            return Err(refuse(
                "The sum of all container 'cpu' values cannot be greater than the value of the task 'cpu'.",
            ));
        }
    }
    Ok(())
}

/// MiB that a container reserves: `memoryReservation`, else `memory` (guide chapter 5).
fn reserved_memory(container: &ContainerDefinition) -> i64 {
    i64::from(container.memory_reservation.or(container.memory).unwrap_or(0))
}
