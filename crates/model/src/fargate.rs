//! Fargate: platform versions, and what a container instance says that lends itself to it.

use longshore_api::ServiceError;
use longshore_api::ecs::{OSFamily, TaskDefinition, error};

use crate::task_definition::needs_current_fargate;

/// Built-in attribute with which an agent lends its machine to Fargate tasks: [`LENDS_ALSO`] or [`LENDS_ONLY`].
pub const LENDING: &str = "ecs.longshore.fargate";
/// The container instance runs tasks of its cluster, too.
pub const LENDS_ALSO: &str = "also";
/// The container instance is hidden: it runs nothing else and is never shown.
pub const LENDS_ONLY: &str = "only";

/// The newest Linux platform version: what LATEST means (guide, "Linux platform versions").
pub const CURRENT: &str = "1.4.0";
/// The Linux platform version before it. Older ones were withdrawn.
const BEFORE: &str = "1.3.0";
/// The only Windows platform version.
const WINDOWS: &str = "1.0.0";
/// The version that a request means when it says nothing.
pub const LATEST: &str = "LATEST";

/// Said when no lent machine has room.
pub const NO_CAPACITY: &str =
    "Capacity is unavailable at this time. Please try again later or in a different availability zone";

/// GiB of storage that a task has when its definition says nothing (platform version 1.4.0).
pub const STORAGE_GIB: i32 = 20;

fn is_windows(definition: &TaskDefinition) -> bool {
    let family = definition.runtime_platform.as_ref().and_then(|platform| platform.operating_system_family.as_ref());
    family.is_some_and(|family| family.as_str().starts_with("WINDOWS"))
}

/// The platform version that `given` means for `definition`.
///
/// # Errors
/// `PlatformUnknownException` for one that does not exist or was withdrawn,
/// `PlatformTaskDefinitionIncompatibilityException` for one that lacks what the definition uses.
pub fn platform_version(
    given: Option<&str>,
    definition: &TaskDefinition,
    execute_command: bool,
) -> Result<&'static str, ServiceError> {
    let windows = is_windows(definition);
    let current = if windows { WINDOWS } else { CURRENT };
    let version = match given.filter(|given| !given.is_empty()) {
        None | Some(LATEST) => current,
        Some(given) if given == current => current,
        Some(BEFORE) if !windows => BEFORE,
        Some(_) => return Err(error::platform_unknown_exception("The specified platform does not exist.")),
    };
    if version == BEFORE {
        let lacks = needs_current_fargate(definition).or(execute_command.then_some("enableExecuteCommand"));
        if let Some(member) = lacks {
            return Err(error::platform_task_definition_incompatibility_exception(format!(
                "One or more of the requested capabilities are not supported. The platform version {version} has no {member}: use {CURRENT}."
            )));
        }
    }
    Ok(version)
}

/// Whether the platform version `version` came before `than`. What is no version is older than every one.
#[must_use]
pub fn is_older(version: &str, than: &str) -> bool {
    let numbers = |text: &str| text.split('.').map(|part| part.parse::<u32>().ok()).collect::<Option<Vec<u32>>>();
    numbers(version) < numbers(than)
}

/// The platform family of tasks of `definition`, e.g. `Linux`.
#[must_use]
pub fn platform_family(definition: &TaskDefinition) -> String {
    let family = definition.runtime_platform.as_ref().and_then(|platform| platform.operating_system_family.as_ref());
    match family {
        None | Some(OSFamily::Linux) => "Linux".to_owned(),
        // WINDOWS_SERVER_2019_CORE becomes Windows_Server_2019_Core.
        Some(family) => {
            let words = family.as_str().split('_').map(|word| {
                let (first, rest) = word.split_at(word.len().min(1));
                format!("{first}{}", rest.to_ascii_lowercase())
            });
            words.collect::<Vec<_>>().join("_")
        }
    }
}

#[cfg(test)]
mod tests {
    use longshore_api::ecs::{
        ContainerCondition, ContainerDefinition, ContainerDependency, EphemeralStorage, ProxyConfiguration,
        ProxyConfigurationType, RuntimePlatform, Volume,
    };

    use super::*;

    // spec: 02-047, 30-001, 30-028, 30-029, 31-004
    #[test]
    fn latest_is_the_newest_version_and_withdrawn_ones_are_refused() {
        let plain = TaskDefinition::default();
        let version = |given| platform_version(given, &plain, false);
        assert_eq!(version(None), Ok("1.4.0"));
        assert_eq!(version(Some("LATEST")), Ok("1.4.0"));
        assert_eq!(version(Some("1.4.0")), Ok("1.4.0"));
        assert_eq!(version(Some("1.3.0")), Ok("1.3.0"));
        for withdrawn in ["1.0.0", "1.1.0", "1.2.0", "9.9.9", "latest"] {
            assert_eq!(version(Some(withdrawn)).unwrap_err().code, "PlatformUnknownException", "{withdrawn}");
        }
    }

    #[test]
    fn a_version_that_lacks_what_the_definition_uses_is_refused() {
        let large = TaskDefinition {
            ephemeral_storage: Some(EphemeralStorage { size_in_gi_b: Some(30) }),
            ..TaskDefinition::default()
        };
        let refused = platform_version(Some("1.3.0"), &large, false).unwrap_err();
        assert_eq!(refused.code, "PlatformTaskDefinitionIncompatibilityException");
        assert!(refused.message.contains("ephemeralStorage"), "{}", refused.message);
        assert!(platform_version(Some("1.3.0"), &TaskDefinition::default(), true).is_err());
        let volume = Volume { configured_at_launch: Some(true), ..Volume::default() };
        let with_volume = TaskDefinition { volumes: Some(vec![volume]), ..TaskDefinition::default() };
        let refused = platform_version(Some("1.3.0"), &with_volume, false).unwrap_err();
        assert!(refused.message.contains("configuredAtLaunch"), "{}", refused.message);
        assert_eq!(platform_version(Some("1.4.0"), &large, true), Ok("1.4.0"));
    }

    #[test]
    fn versions_are_older_by_their_numbers_not_by_their_letters() {
        for (version, than, older) in [
            ("1.2.0", "1.3.0", true),
            ("1.3.0", "1.3.0", false),
            ("1.10.0", "1.3.0", false),
            ("1.3.0", "1.10.0", true),
            ("2.0.0", "1.3.0", false),
            ("LATEST", "1.3.0", true),
        ] {
            assert_eq!(is_older(version, than), older, "{version} and {than}");
        }
    }

    // spec: 30-021
    #[test]
    fn proxies_dependencies_and_timeouts_are_there_since_1_3_0() {
        let proxy = ProxyConfiguration {
            container_name: Some("envoy".to_owned()),
            r#type: Some(ProxyConfigurationType::Appmesh),
            ..ProxyConfiguration::default()
        };
        let dependency = ContainerDependency {
            container_name: Some("envoy".to_owned()),
            condition: Some(ContainerCondition::Healthy),
        };
        let app = ContainerDefinition {
            depends_on: Some(vec![dependency]),
            start_timeout: Some(60),
            stop_timeout: Some(60),
            ..ContainerDefinition::default()
        };
        let meshed = TaskDefinition {
            proxy_configuration: Some(proxy),
            container_definitions: Some(vec![app]),
            ..TaskDefinition::default()
        };
        assert_eq!(platform_version(Some("1.3.0"), &meshed, false), Ok("1.3.0"));
    }

    // spec: 30-004
    #[test]
    fn families_are_written_in_words() {
        let on = |family: &str| TaskDefinition {
            runtime_platform: Some(RuntimePlatform {
                operating_system_family: Some(family.into()),
                ..RuntimePlatform::default()
            }),
            ..TaskDefinition::default()
        };
        assert_eq!(platform_family(&TaskDefinition::default()), "Linux");
        assert_eq!(platform_family(&on("LINUX")), "Linux");
        assert_eq!(platform_family(&on("WINDOWS_SERVER_2019_CORE")), "Windows_Server_2019_Core");
        assert_eq!(platform_version(None, &on("WINDOWS_SERVER_2019_CORE"), false), Ok("1.0.0"));
    }
}
