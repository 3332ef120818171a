//! What RunTask and StartTask have in common: from a request to the record of a new task.

use longshore_api::{ServiceError, ecs};
use longshore_model::ebs::{self, EbsVolume};
use longshore_model::fargate::{self, STORAGE_GIB};
use longshore_model::records::{
    ContainerRecord, Delivery, DesiredStatus, Reservation, Tags, TaskDefinitionRecord, TaskRecord, TaskStatus,
    TaskTimes, Waiting,
};
use longshore_model::task_definition::{EPHEMERAL_STORAGE_GIB, MIN_MEMORY_MIB, check_overridden};
use longshore_model::vpc::Interface;
use longshore_model::{Id, Scope, names, task};
use longshore_scheduler::{Attribute, Constraint, Refusal, Request, Strategy};
use longshore_seams::{Random, Timestamp};

use super::capacity::{Capacity, Network, Spot, platform_attributes};
use super::network;
use super::placement::required_attributes;
use crate::state::ClusterState;

/// Attribute of instances that run outside EC2, where tasks of launch type EXTERNAL go.
const EXTERNAL: &str = "ecs.capability.external";
/// Attribute of instances that names their processor architecture; their tasks have it, too.
pub(super) const CPU_ARCHITECTURE: &str = "ecs.cpu-architecture";

const MAX_GROUP: usize = 255;
const MAX_STARTED_BY: usize = 128;
const MAX_REFERENCE: usize = 1024;
const MAX_OVERRIDES: usize = 8192;

/// The members that both calls have, checked as far as the request alone allows.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub definition: &'a TaskDefinitionRecord,
    pub overrides: Option<&'a ecs::TaskOverride>,
    pub group: String,
    pub started_by: Option<&'a str>,
    pub enable_execute_command: bool,
    pub launch_type: ecs::LaunchType,
    pub tags: Tags,
    /// Whether the task's ARN has the short format.
    pub short_arn: bool,
    pub network: Network,
    /// Version and family of the platform, on Fargate.
    platform: Option<(&'static str, String)>,
    containers: Vec<ecs::ContainerDefinition>,
    reservation: Reservation,
    /// Name and configuration of the volume that is configured at launch.
    volume: Option<(String, ecs::TaskManagedEBSVolumeConfiguration)>,
}

impl<'a> Launch<'a> {
    /// Merges definition and overrides.
    ///
    /// # Errors
    /// `InvalidParameterException` for a bad group, `startedBy` or overrides.
    pub fn new(
        definition: &'a TaskDefinitionRecord,
        overrides: Option<&'a ecs::TaskOverride>,
        group: Option<&str>,
        started_by: Option<&'a str>,
    ) -> Result<Self, ServiceError> {
        check_text("startedBy", started_by, MAX_STARTED_BY)?;
        let group = group.filter(|group| !group.is_empty());
        check_text("group", group, MAX_GROUP)?;
        if group.is_some_and(|group| group.starts_with("service:")) {
            return Err(ecs::error::invalid_parameter_exception("Invalid namespace for group."));
        }
        if let Some(overrides) = overrides {
            check_overrides(&definition.definition, overrides)?;
        }
        let containers = task::effective_containers(&definition.definition, overrides);
        for given in overrides.iter().flat_map(|overrides| overrides.container_overrides.iter().flatten()) {
            let container = containers.iter().filter(|container| container.name == given.name);
            for container in container {
                check_overridden(container, &definition.definition)
                    .map_err(|refused| ecs::error::invalid_parameter_exception(refused.message))?;
            }
        }
        let reservation = task::reservation(&definition.definition, &containers, overrides);
        Ok(Self {
            definition,
            overrides,
            group: group.map_or_else(|| format!("family:{}", definition.family), str::to_owned),
            started_by,
            enable_execute_command: false,
            launch_type: ecs::LaunchType::Ec2,
            tags: Tags::new(),
            short_arn: false,
            network: Network::default(),
            platform: None,
            containers,
            reservation,
            volume: None,
        })
    }

    /// Settles the volume that each task gets, once the launch type is settled.
    ///
    /// # Errors
    /// `InvalidParameterException` for volumes that do not fit the task definition or are out of their bounds.
    pub fn attach(&mut self, volumes: &[ecs::TaskVolumeConfiguration]) -> Result<(), ServiceError> {
        ebs::check(volumes, Some(&self.launch_type), &self.definition.definition)?;
        let named = |it: &ecs::TaskVolumeConfiguration| Some((it.name.clone()?, it.managed_ebs_volume.clone()?));
        self.volume = volumes.first().and_then(named);
        Ok(())
    }

    /// Settles where the tasks may go, once `enable_execute_command` is set.
    ///
    /// # Errors
    /// `InvalidParameterException` for a definition that the launch type does not take, a platform version on
    /// EC2 and a network configuration out of its rules; `PlatformUnknownException`,
    /// `PlatformTaskDefinitionIncompatibilityException`.
    pub fn settle(
        &mut self,
        scope: &Scope,
        capacity: &Capacity,
        platform_version: Option<&str>,
        configuration: Option<&ecs::NetworkConfiguration>,
    ) -> Result<(), ServiceError> {
        let definition = &self.definition.definition;
        self.launch_type = capacity.launch_type();
        capacity.check_definition(definition)?;
        if capacity.is_fargate() {
            let version = fargate::platform_version(platform_version, definition, self.enable_execute_command)?;
            self.platform = Some((version, fargate::platform_family(definition)));
            self.check_fargate_size()?;
            // Fargate's interfaces are not those of the machine that is lent to it.
            self.reservation.interfaces = 0;
        } else if platform_version.is_some_and(|version| !version.is_empty()) {
            let message = "The platform version must be null when specifying an EC2 launch type.";
            return Err(ecs::error::invalid_parameter_exception(message));
        }
        self.network = network::check(scope, definition, configuration, &self.launch_type)?;
        Ok(())
    }

    /// Overrides must leave a size that Fargate has.
    fn check_fargate_size(&self) -> Result<(), ServiceError> {
        let (cpu, memory) = (self.reservation.cpu, self.reservation.memory_mib);
        let is_size = |cpu: u32, memory: u32| longshore_model::task_definition::is_fargate_size(cpu, memory);
        if u32::try_from(cpu).ok().zip(u32::try_from(memory).ok()).is_some_and(|(cpu, memory)| is_size(cpu, memory)) {
            return Ok(());
        }
        let message = format!("No Fargate configuration exists for given values: {cpu} CPU, {memory} memory.");
        Err(ecs::error::client_exception(message))
    }

    /// What placement is asked.
    pub fn request(&self, constraints: Vec<Constraint>, strategies: Vec<Strategy>) -> Request {
        let definition = &self.definition.definition;
        let mut attributes = required_attributes(definition);
        if definition.runtime_platform.is_some() {
            attributes.extend(platform_attributes(definition));
        }
        if self.launch_type == ecs::LaunchType::External {
            attributes.push(Attribute { name: EXTERNAL.to_owned(), value: None });
        }
        Request {
            demand: self.reservation.clone(),
            attributes,
            constraints,
            strategies,
            group: self.group.clone(),
            zones: self.network.zones(),
            lent: false,
        }
    }

    /// The record of a task at `spot`.
    pub fn record(&self, cluster: &ClusterState, spot: Spot<'_>, now: Timestamp, random: &dyn Random) -> TaskRecord {
        let mut task = self.unplaced(cluster, now, random);
        self.put_on(&mut task, spot, now, random);
        task
    }

    /// The record of a task that waits for capacity of `provider`.
    pub fn waiting(
        &self,
        cluster: &ClusterState,
        provider: &str,
        waiting: Waiting,
        now: Timestamp,
        random: &dyn Random,
    ) -> TaskRecord {
        let mut task = self.unplaced(cluster, now, random);
        task.capacity_provider = Some(provider.to_owned());
        task.waiting = Some(Box::new(waiting));
        task
    }

    /// Puts a task that has no place yet at `spot`.
    pub fn put_on(&self, task: &mut TaskRecord, spot: Spot<'_>, now: Timestamp, random: &dyn Random) {
        let Spot { instance, gpus, provider, subnet } = spot;
        let mut gpus = gpus.into_iter();
        for (container, definition) in task.containers.iter_mut().zip(&self.containers) {
            container.gpu_ids = gpus.by_ref().take(wanted_gpus(definition)).collect();
        }
        let attribute = |name: &str| instance.node().attributes.get(name).cloned().flatten();
        let zone = subnet.as_ref().and_then(|subnet| subnet.zone.clone());
        task.availability_zone = zone.or_else(|| attribute(longshore_scheduler::ZONE));
        task.cpu_architecture = attribute(CPU_ARCHITECTURE);
        // An awsvpc task is PROVISIONING until its agent is at work on the network interface.
        task.interface = subnet.map(|subnet| {
            let public = self.network.public_ip;
            Box::new(Interface { public, ..Interface::new(random.uuid(), subnet.id) })
        });
        task.last_status = if task.interface.is_some() { TaskStatus::Provisioning } else { TaskStatus::Pending };
        task.container_instance = Some(instance.record.id);
        task.capacity_provider = provider;
        task.times.connectivity = Some(now);
        task.waiting = None;
    }

    /// The record of a task that has no place yet.
    fn unplaced(&self, cluster: &ClusterState, now: Timestamp, random: &dyn Random) -> TaskRecord {
        let containers = self.containers.iter().map(|definition| container(definition, random)).collect();
        let ebs_volume = self
            .volume
            .clone()
            .map(|(name, configuration)| Box::new(EbsVolume { attachment: random.uuid(), name, configuration }));
        let storage = self.overrides.and_then(|it| it.ephemeral_storage.as_ref());
        let storage = storage.or(self.definition.definition.ephemeral_storage.as_ref()).and_then(|it| it.size_in_gi_b);
        TaskRecord {
            id: if self.short_arn { Id::random_short(random) } else { Id::random(random) },
            cluster: cluster.record.id,
            family: self.definition.family.clone(),
            revision: self.definition.revision,
            container_instance: None,
            last_status: TaskStatus::Provisioning,
            desired_status: DesiredStatus::Running,
            version: 1,
            group: self.group.clone(),
            daemon: None,
            started_by: self.started_by.map(str::to_owned),
            launch_type: self.launch_type.clone(),
            capacity_provider: None,
            availability_zone: None,
            cpu_architecture: None,
            platform_version: self.platform.as_ref().map(|(version, _)| (*version).to_owned()),
            platform_family: self.platform.as_ref().map(|(_, family)| family.clone()),
            interface: None,
            ebs_volume,
            ephemeral_storage_gib: storage.or(self.platform.as_ref().map(|_| STORAGE_GIB)),
            containers,
            overrides: self.overrides.cloned().map(Box::new),
            cpu: Some(self.reservation.cpu.to_string()),
            memory: Some(self.reservation.memory_mib.to_string()),
            reservation: self.reservation.clone(),
            enable_execute_command: self.enable_execute_command,
            protected_until: None,
            retires_at: None,
            created_at: now,
            times: TaskTimes::default(),
            stop_code: None,
            stopped_reason: None,
            health: Some(ecs::HealthStatus::Unknown),
            delivered: Delivery::None,
            tags: self.tags.clone(),
            waiting: None,
        }
    }
}

/// How many GPUs a container gets.
fn wanted_gpus(definition: &ecs::ContainerDefinition) -> usize {
    let requirements = definition.resource_requirements.as_deref().unwrap_or_default();
    let wanted = requirements.iter().filter(|requirement| requirement.r#type == Some(ecs::ResourceType::Gpu));
    wanted.map(|it| it.value.as_deref().and_then(|value| value.parse::<usize>().ok()).unwrap_or(1)).sum()
}

fn container(definition: &ecs::ContainerDefinition, random: &dyn Random) -> ContainerRecord {
    let text = |amount: Option<i32>| amount.map(|amount| amount.to_string());
    ContainerRecord {
        id: random.uuid(),
        name: definition.name.clone().unwrap_or_default(),
        image: definition.image.clone().unwrap_or_default(),
        image_digest: None,
        runtime_id: None,
        last_status: TaskStatus::Pending,
        essential: definition.essential.unwrap_or(true),
        exit_code: None,
        reason: None,
        network_bindings: Vec::new(),
        health: definition.health_check.as_ref().map(|_| ecs::HealthStatus::Unknown),
        cpu: Some(definition.cpu.unwrap_or(0).to_string()),
        memory: text(definition.memory),
        memory_reservation: text(definition.memory_reservation),
        gpu_ids: Vec::new(),
    }
}

/// Checks the caller's own id of a call, which nothing else looks at.
pub(super) fn check_reference(given: Option<&str>) -> Result<(), ServiceError> {
    check_text("referenceId", given, MAX_REFERENCE)
}

fn check_text(member: &str, text: Option<&str>, most: usize) -> Result<(), ServiceError> {
    let length = text.map_or(0, |text| text.chars().count());
    if length > most {
        let message = format!("{member} longer than {most}.");
        return Err(ecs::error::invalid_parameter_exception(message));
    }
    Ok(())
}

fn check_overrides(definition: &ecs::TaskDefinition, overrides: &ecs::TaskOverride) -> Result<(), ServiceError> {
    if let Some(name) = task::unknown_container(definition, overrides) {
        return Err(ecs::error::invalid_parameter_exception(format!(
            "Override for container named {name} is not a container in the TaskDefinition."
        )));
    }
    let length = serde_json::to_string(overrides).map_or(0, |text| text.chars().count());
    if length > MAX_OVERRIDES {
        return Err(ecs::error::invalid_parameter_exception(format!(
            "The overrides have {length} characters; at most {MAX_OVERRIDES} are allowed."
        )));
    }
    if let Some(cpu) = overrides.cpu.as_deref().filter(|cpu| task::cpu_units(cpu).is_none_or(|units| units < 1)) {
        return Err(ecs::error::invalid_parameter_exception(format!("Invalid 'cpu' setting for task: {cpu}.")));
    }
    let too_little = |memory: &&str| task::memory_mib(memory).is_none_or(|mib| mib < i64::from(MIN_MEMORY_MIB));
    if let Some(memory) = overrides.memory.as_deref().filter(too_little) {
        return Err(ecs::error::invalid_parameter_exception(format!("Invalid 'memory' setting for task: {memory}.")));
    }
    let roles = [&overrides.task_role_arn, &overrides.execution_role_arn];
    if roles.into_iter().flatten().any(|role| !role.is_empty() && !names::is_role(role)) {
        return Err(ecs::error::invalid_parameter_exception("Role is not valid"));
    }
    let storage = overrides.ephemeral_storage.as_ref().and_then(|storage| storage.size_in_gi_b);
    if let Some(size) = storage.filter(|size| !EPHEMERAL_STORAGE_GIB.contains(size)) {
        return Err(ecs::error::invalid_parameter_exception(format!(
            "Invalid 'sizeInGiB' setting for ephemeralStorage: {size} is not between {} and {}.",
            EPHEMERAL_STORAGE_GIB.start(),
            EPHEMERAL_STORAGE_GIB.end()
        )));
    }
    overrides.container_overrides.iter().flatten().try_for_each(check_container_override)
}

/// An override may not reserve less than a container can have: below zero it would give room away.
fn check_container_override(given: &ecs::ContainerOverride) -> Result<(), ServiceError> {
    let least = [
        ("cpu", given.cpu, 0),
        ("memory", given.memory, MIN_MEMORY_MIB),
        ("memoryReservation", given.memory_reservation, MIN_MEMORY_MIB),
    ];
    for (member, value, least) in least {
        if let Some(value) = value.filter(|value| *value < least) {
            let name = given.name.as_deref().unwrap_or_default();
            return Err(ecs::error::invalid_parameter_exception(format!(
                "Invalid '{member}' setting for the override of container '{name}': {value} is less than {least}."
            )));
        }
    }
    Ok(())
}

/// The failure of a container instance that refused a task.
pub(super) fn failure(arn: String, refusals: &[Refusal]) -> ecs::Failure {
    let lacking: Vec<&str> = refusals
        .iter()
        .filter_map(|refusal| match refusal {
            Refusal::Attribute(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    ecs::Failure {
        arn: Some(arn),
        reason: refusals.first().map(|refusal| refusal.reason().to_owned()),
        detail: (!lacking.is_empty()).then(|| format!("It lacks the attributes {}.", lacking.join(", "))),
    }
}
