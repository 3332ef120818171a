//! Amazon EBS volumes that tasks are launched with: what may be asked for, and how they are shown.
//!
//! No EBS makes volumes here. Such a volume is a directory of the task's own on its container instance, and its
//! size is not enforced.

use std::ops::RangeInclusive;

use longshore_api::ServiceError;
use longshore_api::ecs::{
    Attachment, DeploymentControllerType, KeyValuePair, LaunchType, PropagateTags, SchedulingStrategy, Service,
    ServiceVolumeConfiguration, TaskDefinition, TaskFilesystemType, TaskManagedEBSVolumeConfiguration,
    TaskManagedEBSVolumeTerminationPolicy, TaskVolumeConfiguration, Volume, error,
};
use serde::{Deserialize, Serialize};

use crate::records::TaskStatus;
use crate::{names, tags, vpc};

/// What a type of volume takes.
struct VolumeType {
    name: &'static str,
    size_gib: RangeInclusive<i32>,
    /// None for a type that has as many as it has.
    iops: Option<RangeInclusive<i32>>,
    needs_iops: bool,
}

const fn volume_type(name: &'static str, least: i32, most: i32) -> VolumeType {
    VolumeType { name, size_gib: least..=most, iops: None, needs_iops: false }
}

/// The types of volumes, and their bounds as the API reference of ECS has them.
const VOLUME_TYPES: [VolumeType; 7] = [
    VolumeType { iops: Some(3_000..=16_000), ..volume_type(GP3, 1, 16_384) },
    volume_type("gp2", 1, 16_384),
    VolumeType { iops: Some(100..=64_000), needs_iops: true, ..volume_type("io1", 4, 16_384) },
    VolumeType { iops: Some(100..=256_000), needs_iops: true, ..volume_type("io2", 4, 16_384) },
    volume_type("st1", 125, 16_384),
    volume_type("sc1", 125, 16_384),
    volume_type("standard", 1, 1_024),
];

/// The type of a volume that is given none, and the only one with a throughput.
const GP3: &str = "gp3";
/// MiB/s of a gp3 volume.
const THROUGHPUT: RangeInclusive<i32> = 125..=1_000;
/// MiB/s at which a volume is filled from its snapshot.
const INITIALIZATION_RATE: RangeInclusive<i32> = 100..=300;

fn refused<T>(message: impl Into<String>) -> Result<T, ServiceError> {
    Err(error::invalid_parameter_exception(message))
}

/// The volumes of a service's tasks, given as those of a task: each goes with its task.
#[must_use]
pub fn of_service(volumes: &[ServiceVolumeConfiguration]) -> Vec<TaskVolumeConfiguration> {
    let ebs = |it: &longshore_api::ecs::ServiceManagedEBSVolumeConfiguration| TaskManagedEBSVolumeConfiguration {
        encrypted: it.encrypted,
        kms_key_id: it.kms_key_id.clone(),
        volume_type: it.volume_type.clone(),
        size_in_gi_b: it.size_in_gi_b,
        snapshot_id: it.snapshot_id.clone(),
        volume_initialization_rate: it.volume_initialization_rate,
        iops: it.iops,
        throughput: it.throughput,
        tag_specifications: it.tag_specifications.clone(),
        role_arn: it.role_arn.clone(),
        filesystem_type: it.filesystem_type.clone(),
        termination_policy: Some(TaskManagedEBSVolumeTerminationPolicy { delete_on_termination: Some(true) }),
    };
    let task = |volume: &ServiceVolumeConfiguration| TaskVolumeConfiguration {
        name: volume.name.clone(),
        managed_ebs_volume: volume.managed_ebs_volume.as_ref().map(ebs),
    };
    volumes.iter().map(task).collect()
}

/// Checks the volumes of a service together with its settings and its task definition.
///
/// # Errors
/// `InvalidParameterException`, naming the first rule that is broken.
pub fn check_service(
    volumes: &[ServiceVolumeConfiguration],
    settings: &Service,
    definition: Option<&TaskDefinition>,
) -> Result<(), ServiceError> {
    if !volumes.is_empty() {
        if settings.scheduling_strategy == Some(SchedulingStrategy::Daemon) {
            return refused("volumeConfigurations are not supported with the DAEMON scheduling strategy: use REPLICA.");
        }
        let controller = settings.deployment_controller.as_ref().and_then(|it| it.r#type.as_ref());
        if let Some(other) = controller.filter(|it| **it != DeploymentControllerType::Ecs) {
            return refused(format!(
                "volumeConfigurations are not supported with the {} deployment controller: use ECS.",
                other.as_str()
            ));
        }
    }
    let Some(definition) = definition else { return Ok(()) };
    check(&of_service(volumes), settings.launch_type.as_ref(), definition)
}

/// Only the volumes of services can have the tags of their service.
///
/// # Errors
/// `InvalidParameterException`.
pub fn check_propagation(volumes: &[TaskVolumeConfiguration]) -> Result<(), ServiceError> {
    let ebs = volumes.iter().filter_map(|volume| volume.managed_ebs_volume.as_ref());
    let mut specifications = ebs.flat_map(|it| it.tag_specifications.iter().flatten());
    if specifications.any(|it| it.propagate_tags == Some(PropagateTags::Service)) {
        return refused(
            "The tags of a service can only be propagated to the volumes of a service's tasks: use TASK_DEFINITION.",
        );
    }
    Ok(())
}

/// Checks what a task is launched with against what its task definition leaves to its launch.
///
/// # Errors
/// `InvalidParameterException`, naming the first rule that is broken.
pub fn check(
    volumes: &[TaskVolumeConfiguration],
    launch_type: Option<&LaunchType>,
    definition: &TaskDefinition,
) -> Result<(), ServiceError> {
    let wanted = at_launch(definition);
    if volumes.len() > 1 {
        return refused(format!(
            "volumeConfigurations can have at most 1 item: one volume of a task is configured at launch, and {} were given.",
            volumes.len()
        ));
    }
    match (wanted, volumes.first()) {
        (None, None) => Ok(()),
        (None, Some(_)) => {
            refused("Volume configuration provided but no matching configuredAtLaunch volume found in task definition.")
        }
        (Some(wanted), None) => refused(format!(
            "The task definition has the volume '{}', which is configured at launch: give its configuration in volumeConfigurations.",
            wanted.name.as_deref().unwrap_or_default()
        )),
        (Some(wanted), Some(given)) if wanted.name != given.name => {
            refused("Volume configuration provided but no matching configuredAtLaunch volume found in task definition.")
        }
        (Some(_), Some(_)) if launch_type == Some(&LaunchType::External) => {
            refused("volumeConfigurations are not supported with the EXTERNAL launch type.")
        }
        (Some(_), Some(given)) => check_volume(given),
    }
}

/// The volume that a task definition leaves to the launch of its tasks.
#[must_use]
pub fn at_launch(definition: &TaskDefinition) -> Option<&Volume> {
    definition.volumes.iter().flatten().find(|volume| volume.configured_at_launch == Some(true))
}

fn check_volume(given: &TaskVolumeConfiguration) -> Result<(), ServiceError> {
    let name = given.name.as_deref().unwrap_or_default();
    let Some(ebs) = &given.managed_ebs_volume else {
        return refused(format!("The configuration of the volume '{name}' needs a managedEBSVolume."));
    };
    let role = ebs.role_arn.as_deref().unwrap_or_default();
    if !(role.starts_with("arn:") && names::is_role(role)) {
        return refused(format!("The roleArn '{role}' of the volume '{name}' is not the ARN of a role."));
    }
    let named = ebs.volume_type.as_deref().unwrap_or(GP3);
    let Some(kind) = VOLUME_TYPES.iter().find(|it| it.name == named) else {
        let all: Vec<_> = VOLUME_TYPES.iter().map(|it| it.name).collect();
        return refused(format!("The volumeType '{named}' of the volume '{name}' is not one of {}.", all.join(", ")));
    };
    check_source(ebs, name)?;
    check_bounds(ebs, name, kind)?;
    if ebs.kms_key_id.is_some() && ebs.encrypted == Some(false) {
        return refused(format!("The volume '{name}' has a kmsKeyId, but is not to be encrypted."));
    }
    for specification in ebs.tag_specifications.iter().flatten() {
        tags::on_creation(specification.tags.as_deref())?;
    }
    Ok(())
}

/// A volume is empty and has a size, or comes from a snapshot, which has one.
fn check_source(ebs: &TaskManagedEBSVolumeConfiguration, name: &str) -> Result<(), ServiceError> {
    match (&ebs.snapshot_id, ebs.size_in_gi_b) {
        (None, None) => return refused(format!("The volume '{name}' needs a sizeInGiB or a snapshotId.")),
        (Some(snapshot), _) if !snapshot.starts_with("snap-") => {
            return refused(format!("The snapshotId '{snapshot}' of the volume '{name}' is not a snapshot's id."));
        }
        _ => {}
    }
    let Some(rate) = ebs.volume_initialization_rate else { return Ok(()) };
    if ebs.snapshot_id.is_none() {
        return refused(format!(
            "The volume '{name}' has a volumeInitializationRate, but no snapshotId to be filled from."
        ));
    }
    within("volumeInitializationRate", rate, &INITIALIZATION_RATE, name)
}

fn within(member: &str, value: i32, bounds: &RangeInclusive<i32>, name: &str) -> Result<(), ServiceError> {
    if bounds.contains(&value) {
        return Ok(());
    }
    refused(format!(
        "The {member} of the volume '{name}' is {value}; it must be between {} and {}.",
        bounds.start(),
        bounds.end()
    ))
}

fn check_bounds(ebs: &TaskManagedEBSVolumeConfiguration, name: &str, kind: &VolumeType) -> Result<(), ServiceError> {
    if let Some(size) = ebs.size_in_gi_b {
        within("sizeInGiB", size, &kind.size_gib, name)?;
    }
    match (&kind.iops, ebs.iops) {
        (None, Some(_)) => {
            return refused(format!("The volume '{name}' is of the type {}, which takes no iops.", kind.name));
        }
        (Some(_), None) if kind.needs_iops => {
            return refused(format!("The volume '{name}' is of the type {}, which needs iops.", kind.name));
        }
        (Some(bounds), Some(iops)) => within("iops", iops, bounds, name)?,
        _ => {}
    }
    match ebs.throughput {
        Some(_) if kind.name != GP3 => {
            refused(format!("The volume '{name}' is of the type {}; only gp3 takes a throughput.", kind.name))
        }
        Some(throughput) => within("throughput", throughput, &THROUGHPUT, name),
        None => Ok(()),
    }
}

/// The volume that a task was launched with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EbsVolume {
    /// UUID of its attachment.
    pub attachment: String,
    /// Its name in the task definition.
    pub name: String,
    /// What was asked for.
    pub configuration: TaskManagedEBSVolumeConfiguration,
}

impl EbsVolume {
    /// `vol-` and 17 digits.
    #[must_use]
    pub fn id(&self) -> String {
        format!("vol-{}", vpc::digits(&self.attachment))
    }

    /// As a task in this state shows it among its attachments.
    #[must_use]
    pub fn attachment(&self, task: TaskStatus) -> Attachment {
        let status = match task {
            TaskStatus::Provisioning | TaskStatus::Pending => "ATTACHING",
            TaskStatus::Activating | TaskStatus::Running | TaskStatus::Deactivating | TaskStatus::Stopping => {
                "ATTACHED"
            }
            TaskStatus::Deprovisioning => "DETACHING",
            TaskStatus::Stopped => "DELETED",
        };
        Attachment {
            id: Some(self.attachment.clone()),
            r#type: Some("AmazonElasticBlockStorage".to_owned()),
            status: Some(status.to_owned()),
            details: Some(self.details()),
        }
    }

    fn details(&self) -> Vec<KeyValuePair> {
        let given = &self.configuration;
        let number = |value: Option<i32>| value.map(|value| value.to_string());
        let deleted = given.termination_policy.as_ref().and_then(|it| it.delete_on_termination).unwrap_or(true);
        let filesystem = given.filesystem_type.as_ref().unwrap_or(&TaskFilesystemType::Xfs);
        let all = [
            ("volumeId", Some(self.id())),
            ("volumeName", Some(self.name.clone())),
            ("roleArn", given.role_arn.clone()),
            ("volumeType", Some(given.volume_type.clone().unwrap_or_else(|| GP3.to_owned()))),
            ("sizeInGiB", number(given.size_in_gi_b)),
            ("snapshotId", given.snapshot_id.clone()),
            ("volumeInitializationRate", number(given.volume_initialization_rate)),
            ("iops", number(given.iops)),
            ("throughput", number(given.throughput)),
            ("encrypted", given.encrypted.map(|encrypted| encrypted.to_string())),
            ("kmsKeyId", given.kms_key_id.clone()),
            ("filesystemType", Some(filesystem.as_str().to_owned())),
            ("deleteOnTermination", Some(deleted.to_string())),
        ];
        let pair = |(name, value): (&str, Option<String>)| {
            Some(KeyValuePair { name: Some(name.to_owned()), value: Some(value?) })
        };
        all.into_iter().filter_map(pair).collect()
    }
}
