//! Daemon task definitions: what a task definition of a daemon may say, and how answers show it.
//!
//! They are kept as the task definition that runs, so that placement and agents need not tell them
//! apart; what only a daemon's definition has is in [`DaemonPart`].

use std::collections::BTreeMap;

use longshore_api::ServiceError;
use longshore_api::ecs::{
    ContainerDefinition, DaemonContainerDefinition, DaemonIpcMode, DaemonLinuxParameters, DaemonPidMode,
    DaemonTaskDefinition, DaemonTaskDefinitionStatus, DaemonVolume, IpcMode, LinuxParameters, LogDriver,
    LogDriverVolumeConfiguration, PidMode, RegisterDaemonTaskDefinitionRequest, RegisterTaskDefinitionRequest,
    TaskDefinition, Volume, error,
};
use longshore_seams::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Scope;
use crate::records::{TaskDefinitionRecord, TaskDefinitionStatus};
use crate::task_definition::{Limits, validate_and_normalise};

/// What a daemon task definition has and a task definition has not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DaemonPart {
    /// As given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_mode: Option<DaemonPidMode>,
    /// As given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipc_mode: Option<DaemonIpcMode>,
    /// Volumes that belong to a log driver, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub log_driver_volumes: BTreeMap<String, LogDriver>,
    /// When nothing used it any more after its deletion was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
}

/// `…:daemon-task-definition/FAMILY:REVISION`.
#[must_use]
pub fn arn(scope: &Scope, family: &str, revision: u32) -> String {
    scope.ecs_arn(format_args!("daemon-task-definition/{family}:{revision}"))
}

/// Where a daemon task definition is in its life.
#[must_use]
pub fn status(record: &TaskDefinitionRecord) -> DaemonTaskDefinitionStatus {
    let deleted = record.daemon.as_ref().is_some_and(|part| part.deleted_at.is_some());
    match record.status {
        TaskDefinitionStatus::Active => DaemonTaskDefinitionStatus::Active,
        _ if deleted => DaemonTaskDefinitionStatus::Deleted,
        _ => DaemonTaskDefinitionStatus::DeleteInProgress,
    }
}

/// Checks `request` by the rules of task definitions; answers the definition that runs.
///
/// A `shared` namespace is the container instance's own: what a daemon shares, it shares with
/// everything on the instance.
///
/// # Errors
/// `ClientException`, as for a task definition.
pub fn validate(request: RegisterDaemonTaskDefinitionRequest) -> Result<(TaskDefinition, DaemonPart), ServiceError> {
    let part = DaemonPart {
        log_driver_volumes: log_driver_volumes(request.volumes.as_deref().unwrap_or_default())?,
        pid_mode: request.pid_mode,
        ipc_mode: request.ipc_mode,
        deleted_at: None,
    };
    let volume = |volume: DaemonVolume| Volume { name: volume.name, host: volume.host, ..Volume::default() };
    let request = RegisterTaskDefinitionRequest {
        family: request.family,
        task_role_arn: request.task_role_arn,
        execution_role_arn: request.execution_role_arn,
        container_definitions: request.container_definitions.map(|all| all.into_iter().map(container).collect()),
        volumes: request.volumes.map(|all| all.into_iter().map(volume).collect()),
        cpu: request.cpu,
        memory: request.memory,
        pid_mode: (part.pid_mode == Some(DaemonPidMode::Shared)).then_some(PidMode::Host),
        ipc_mode: (part.ipc_mode == Some(DaemonIpcMode::Shared)).then_some(IpcMode::Host),
        ..RegisterTaskDefinitionRequest::default()
    };
    Ok((validate_and_normalise(request, &Limits::default())?, part))
}

fn log_driver_volumes(volumes: &[DaemonVolume]) -> Result<BTreeMap<String, LogDriver>, ServiceError> {
    let mut drivers = BTreeMap::new();
    for volume in volumes {
        let Some(configuration) = &volume.log_driver_volume_configuration else { continue };
        let name = volume.name.clone().unwrap_or_default();
        if volume.host.is_some() {
            return Err(error::client_exception(format!(
                "Volume '{name}' has both host and logDriverVolumeConfiguration: give one of them."
            )));
        }
        drivers.extend(configuration.driver.clone().map(|driver| (name, driver)));
    }
    Ok(drivers)
}

fn container(given: DaemonContainerDefinition) -> ContainerDefinition {
    let linux = |given: DaemonLinuxParameters| LinuxParameters {
        capabilities: given.capabilities,
        devices: given.devices,
        init_process_enabled: given.init_process_enabled,
        tmpfs: given.tmpfs,
        ..LinuxParameters::default()
    };
    ContainerDefinition {
        name: given.name,
        image: given.image,
        memory: given.memory,
        memory_reservation: given.memory_reservation,
        repository_credentials: given.repository_credentials,
        health_check: given.health_check,
        cpu: given.cpu,
        essential: given.essential,
        entry_point: given.entry_point,
        command: given.command,
        working_directory: given.working_directory,
        environment_files: given.environment_files,
        environment: given.environment,
        secrets: given.secrets,
        readonly_root_filesystem: given.readonly_root_filesystem,
        mount_points: given.mount_points,
        log_configuration: given.log_configuration,
        firelens_configuration: given.firelens_configuration,
        privileged: given.privileged,
        user: given.user,
        ulimits: given.ulimits,
        linux_parameters: given.linux_parameters.map(linux),
        depends_on: given.depends_on,
        start_timeout: given.start_timeout,
        stop_timeout: given.stop_timeout,
        system_controls: given.system_controls,
        interactive: given.interactive,
        pseudo_terminal: given.pseudo_terminal,
        restart_policy: given.restart_policy,
        ..ContainerDefinition::default()
    }
}

fn shown_container(kept: &ContainerDefinition) -> DaemonContainerDefinition {
    let kept = kept.clone();
    let linux = |kept: LinuxParameters| DaemonLinuxParameters {
        capabilities: kept.capabilities,
        devices: kept.devices,
        init_process_enabled: kept.init_process_enabled,
        tmpfs: kept.tmpfs,
    };
    DaemonContainerDefinition {
        name: kept.name,
        image: kept.image,
        memory: kept.memory,
        memory_reservation: kept.memory_reservation,
        repository_credentials: kept.repository_credentials,
        health_check: kept.health_check,
        cpu: kept.cpu,
        essential: kept.essential,
        entry_point: kept.entry_point,
        command: kept.command,
        working_directory: kept.working_directory,
        environment_files: kept.environment_files,
        environment: kept.environment,
        secrets: kept.secrets,
        readonly_root_filesystem: kept.readonly_root_filesystem,
        mount_points: kept.mount_points,
        log_configuration: kept.log_configuration,
        firelens_configuration: kept.firelens_configuration,
        privileged: kept.privileged,
        user: kept.user,
        ulimits: kept.ulimits,
        linux_parameters: kept.linux_parameters.map(linux),
        depends_on: kept.depends_on,
        start_timeout: kept.start_timeout,
        stop_timeout: kept.stop_timeout,
        system_controls: kept.system_controls,
        interactive: kept.interactive,
        pseudo_terminal: kept.pseudo_terminal,
        restart_policy: kept.restart_policy,
    }
}

/// As DescribeDaemonTaskDefinition shows it.
#[must_use]
pub fn view(scope: &Scope, record: &TaskDefinitionRecord) -> DaemonTaskDefinition {
    let (definition, part) = (&record.definition, record.daemon.clone().unwrap_or_default());
    let volume = |volume: &Volume| {
        let driver = volume.name.as_ref().and_then(|name| part.log_driver_volumes.get(name)).cloned();
        DaemonVolume {
            name: volume.name.clone(),
            host: volume.host.clone().filter(|_| driver.is_none()),
            log_driver_volume_configuration: driver.map(|it| LogDriverVolumeConfiguration { driver: Some(it) }),
        }
    };
    DaemonTaskDefinition {
        daemon_task_definition_arn: Some(arn(scope, &record.family, record.revision)),
        family: Some(record.family.clone()),
        revision: i32::try_from(record.revision).ok(),
        task_role_arn: definition.task_role_arn.clone(),
        execution_role_arn: definition.execution_role_arn.clone(),
        container_definitions: Some(definition.container_definitions.iter().flatten().map(shown_container).collect()),
        volumes: Some(definition.volumes.iter().flatten().map(volume).collect()),
        cpu: definition.cpu.clone(),
        memory: definition.memory.clone(),
        status: Some(status(record)),
        registered_at: Some(record.registered_at),
        delete_requested_at: record.delete_requested_at,
        registered_by: Some(record.registered_by.clone()),
        pid_mode: part.pid_mode,
        ipc_mode: part.ipc_mode,
    }
}

#[cfg(test)]
mod tests {
    use longshore_api::ecs::HostVolumeProperties;

    use super::*;
    use crate::records::Tags;

    fn request() -> RegisterDaemonTaskDefinitionRequest {
        let container = DaemonContainerDefinition {
            name: Some("agent".to_owned()),
            image: Some("agent".to_owned()),
            memory: Some(64),
            ..DaemonContainerDefinition::default()
        };
        RegisterDaemonTaskDefinitionRequest {
            family: Some("agent".to_owned()),
            container_definitions: Some(vec![container]),
            ..RegisterDaemonTaskDefinitionRequest::default()
        }
    }

    fn record(request: RegisterDaemonTaskDefinitionRequest) -> TaskDefinitionRecord {
        let (definition, part) = validate(request).unwrap();
        TaskDefinitionRecord {
            family: "agent".to_owned(),
            revision: 1,
            status: TaskDefinitionStatus::Active,
            definition,
            registered_at: Timestamp::default(),
            registered_by: String::new(),
            deregistered_at: None,
            delete_requested_at: None,
            daemon: Some(part),
            tags: Tags::new(),
        }
    }

    fn shown(request: RegisterDaemonTaskDefinitionRequest) -> DaemonTaskDefinition {
        view(&Scope::new("123456789012", "eu-west-1"), &record(request))
    }

    #[test]
    fn what_is_shown_is_its_own_normal_form() {
        let mut first = request();
        first.pid_mode = Some(DaemonPidMode::Shared);
        first.ipc_mode = Some(DaemonIpcMode::None);
        let host = HostVolumeProperties { source_path: Some("/var/log".to_owned()) };
        let volume =
            DaemonVolume { name: Some("logs".to_owned()), host: Some(host), log_driver_volume_configuration: None };
        first.volumes = Some(vec![volume]);
        let once = shown(first.clone());
        let again = RegisterDaemonTaskDefinitionRequest {
            container_definitions: once.container_definitions.clone(),
            volumes: once.volumes.clone(),
            ..first
        };
        assert_eq!(shown(again), once);
        assert_eq!(once.container_definitions.unwrap()[0].essential, Some(true));
    }

    #[test]
    fn a_shared_namespace_is_the_instance_s_own() {
        let mut shared = request();
        shared.pid_mode = Some(DaemonPidMode::Shared);
        shared.ipc_mode = Some(DaemonIpcMode::Shared);
        let (definition, _) = validate(shared).unwrap();
        assert_eq!((definition.pid_mode, definition.ipc_mode), (Some(PidMode::Host), Some(IpcMode::Host)));
        let (definition, _) = validate(request()).unwrap();
        assert_eq!((definition.pid_mode, definition.ipc_mode), (None, None));
    }

    #[test]
    fn a_volume_belongs_to_the_instance_or_to_a_log_driver() {
        let mut both = request();
        let driver = LogDriverVolumeConfiguration { driver: Some(LogDriver::Fluentd) };
        let mut volume = DaemonVolume {
            name: Some("logs".to_owned()),
            host: None,
            log_driver_volume_configuration: Some(driver.clone()),
        };
        both.volumes = Some(vec![volume.clone()]);
        let volumes = shown(both.clone()).volumes.unwrap();
        assert_eq!((volumes[0].host.clone(), volumes[0].log_driver_volume_configuration.clone()), (None, Some(driver)));
        volume.host = Some(HostVolumeProperties::default());
        both.volumes = Some(vec![volume]);
        assert_eq!(validate(both).unwrap_err().code, "ClientException");
    }
}
