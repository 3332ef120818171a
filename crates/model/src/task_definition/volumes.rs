//! Volumes and where they are mounted.

use longshore_api::ecs::{
    EFSAuthorizationConfigIAM, EFSTransitEncryption, EFSVolumeConfiguration, S3FilesVolumeConfiguration, Scope,
    TaskDefinition, Volume,
};

use super::container::setting;
use super::{Check, list, refuse, text};
use crate::names;

pub(super) fn check(definition: &TaskDefinition) -> Check {
    let volumes = list(&definition.volumes);
    for (at, volume) in volumes.iter().enumerate() {
        let name = text(&volume.name);
        if name.is_empty() {
            return Err(refuse("Volume.name should not be null or empty."));
        }
        if !names::is_name(name) {
            return Err(refuse(format!(
                "Volume.name '{name}' is not made of 1 to {} letters, digits, hyphens and underscores.",
                names::MAX_NAME
            )));
        }
        if volumes[..at].iter().any(|earlier| earlier.name == volume.name) {
            return Err(refuse(format!(
                "Volume names must be unique in a task definition: '{name}' is used more than once."
            )));
        }
        configuration(volume)?;
    }
    if volumes.iter().filter(|volume| volume.configured_at_launch == Some(true)).count() > 1 {
        return Err(refuse("Only one volume of a task definition can be configured at launch."));
    }
    mount_points(definition)
}

fn configuration(volume: &Volume) -> Check {
    let name = text(&volume.name);
    let kinds = [
        volume.host.is_some(),
        volume.docker_volume_configuration.is_some(),
        volume.efs_volume_configuration.is_some(),
        volume.s3files_volume_configuration.is_some(),
        volume.fsx_windows_file_server_volume_configuration.is_some(),
        volume.configured_at_launch == Some(true),
    ];
    if kinds.into_iter().filter(|used| *used).count() > 1 {
        return Err(refuse(
            "When the volume parameter is specified, only one volume configuration type should be used.",
        ));
    }
    if let Some(path) = volume.host.as_ref().and_then(|host| host.source_path.as_ref())
        && path.trim().is_empty()
    {
        return Err(refuse("host.sourcePath should not be blank."));
    }
    if let Some(docker) = &volume.docker_volume_configuration
        && docker.autoprovision == Some(true)
        && docker.scope == Some(Scope::Task)
    {
        return Err(refuse(format!("Volume '{name}' has scope task: autoprovision must be false or left out.")));
    }
    if let Some(s3files) = &volume.s3files_volume_configuration {
        s3files_configuration(s3files, name)?;
    }
    match &volume.efs_volume_configuration {
        Some(efs) => efs_configuration(efs, name),
        None => Ok(()),
    }
}

/// An access point has a root directory of its own: the configuration's must be left out or `/`.
fn check_root(directory: Option<&str>, name: &str) -> Check {
    match directory.filter(|directory| !matches!(*directory, "" | "/")) {
        Some(directory) => Err(refuse(format!(
            "Volume '{name}' uses an access point: its rootDirectory must be left out or '/', not '{directory}'."
        ))),
        None => Ok(()),
    }
}

fn s3files_configuration(s3files: &S3FilesVolumeConfiguration, name: &str) -> Check {
    let file_system = text(&s3files.file_system_arn);
    if !file_system.starts_with("arn:") {
        return Err(refuse(format!(
            "Volume '{name}' needs the full ARN of a file system in its s3filesVolumeConfiguration, not '{file_system}'."
        )));
    }
    let Some(access_point) = s3files.access_point_arn.as_deref() else { return Ok(()) };
    if !access_point.starts_with("arn:") {
        return Err(refuse(format!("Volume '{name}' needs the full ARN of its access point, not '{access_point}'.")));
    }
    check_root(s3files.root_directory.as_deref(), name)
}

fn efs_configuration(efs: &EFSVolumeConfiguration, name: &str) -> Check {
    if text(&efs.file_system_id).is_empty() {
        return Err(refuse(format!("Volume '{name}' needs a fileSystemId in its efsVolumeConfiguration.")));
    }
    if let Some(port) = efs.transit_encryption_port.filter(|port| !(0..=65_535).contains(port)) {
        return Err(refuse(format!("transitEncryptionPort {port} of volume '{name}' is not between 0 and 65535.")));
    }
    let authorized = efs.authorization_config.as_ref().is_some_and(|config| {
        config.access_point_id.is_some() || config.iam == Some(EFSAuthorizationConfigIAM::Enabled)
    });
    if authorized && efs.transit_encryption != Some(EFSTransitEncryption::Enabled) {
        return Err(refuse(format!(
            "Volume '{name}' uses an access point or IAM authorization: transitEncryption must be ENABLED."
        )));
    }
    if efs.authorization_config.as_ref().is_some_and(|config| config.access_point_id.is_some()) {
        check_root(efs.root_directory.as_deref(), name)?;
    }
    Ok(())
}

fn mount_points(definition: &TaskDefinition) -> Check {
    let known = |name: &str| list(&definition.volumes).iter().any(|volume| text(&volume.name) == name);
    for container in list(&definition.container_definitions) {
        let mounts = list(&container.mount_points);
        for (at, mount) in mounts.iter().enumerate() {
            let volume = mount.source_volume.as_deref().unwrap_or("null");
            if !known(volume) {
                return Err(refuse(format!("Unknown volume '{volume}'.")));
            }
            if text(&mount.container_path).is_empty() {
                return Err(setting("mountPoints", container, format!("volume '{volume}' has no containerPath")));
            }
            if mounts[..at].iter().any(|earlier| earlier.container_path == mount.container_path) {
                let why = format!("'{}' is mounted more than once", text(&mount.container_path));
                return Err(setting("mountPoints", container, why));
            }
        }
    }
    Ok(())
}
