//! What the container instance says it is: attributes by which tasks are placed, and resources.

use std::collections::BTreeSet;

use longshore_runtime::RuntimeInfo;

use crate::config::AgentConfig;
use crate::plane::{Attribute, InstanceRegistration, Resource};

/// Capabilities of this agent whatever the runtime: each stands for something that works here.
const CAPABILITIES: [&str; 11] = [
    "com.amazonaws.ecs.capability.privileged-container",
    "ecs.capability.container-health-check",
    "ecs.capability.container-ordering",
    "ecs.capability.container-restart-policy",
    "ecs.capability.docker-plugin.local",
    // The agent ships with its own keys, so a task's execution role changes nothing.
    "ecs.capability.execution-role-awslogs",
    "ecs.capability.full-sync",
    "ecs.capability.increased-task-cpu-limit",
    // A directory of the task's own stands for the volume.
    "ecs.capability.storage.ebs-task-volume-attach",
    "ecs.capability.task-cpu-mem-limit",
    // Its containers share a network namespace with an address of its own.
    "ecs.capability.task-eni",
];

/// Containers with a network of their own can ask for the keys of their task's role.
const TASK_ROLES: &str = "com.amazonaws.ecs.capability.task-iam-role";
const REMOTE_API: &str = "com.amazonaws.ecs.capability.docker-remote-api.";
const LOG_DRIVER: &str = "com.amazonaws.ecs.capability.logging-driver.";

/// The registration of this host.
pub(crate) fn registration(
    config: &AgentConfig,
    cluster: &str,
    container_instance_arn: Option<&str>,
    runtime: &RuntimeInfo,
    task_roles: bool,
) -> InstanceRegistration {
    let first = container_instance_arn.is_none();
    InstanceRegistration {
        cluster: cluster.to_owned(),
        container_instance_arn: container_instance_arn.map(str::to_owned),
        attributes: attributes(config, runtime, first, task_roles),
        total_resources: resources(config),
        tags: if first { config.tags.clone() } else { Default::default() },
        agent_version: config.version.clone(),
        agent_hash: config.hash.clone(),
        docker_version: runtime.version.clone(),
    }
}

/// The attributes without a value that an agent registers on such a runtime: what works there.
#[must_use]
pub fn capabilities(runtime: &RuntimeInfo) -> Vec<String> {
    let mut names: Vec<String> = CAPABILITIES.map(str::to_owned).into();
    names.extend(runtime.docker_api_versions.iter().map(|version| format!("{REMOTE_API}{version}")));
    // These three are the agent's own doing, whatever the runtime has.
    let own = ["awslogs", "json-file", "none"].map(str::to_owned);
    let drivers: BTreeSet<&String> = runtime.log_drivers.iter().chain(&own).collect();
    names.extend(drivers.into_iter().map(|driver| format!("{LOG_DRIVER}{driver}")));
    names
}

fn attributes(config: &AgentConfig, runtime: &RuntimeInfo, first: bool, task_roles: bool) -> Vec<Attribute> {
    let valued = |name: &str, value: &str| Attribute { name: name.to_owned(), value: Some(value.to_owned()) };
    let mut attributes: Vec<Attribute> =
        capabilities(runtime).into_iter().map(|name| Attribute { name, value: None }).collect();
    if task_roles {
        attributes.push(Attribute { name: TASK_ROLES.to_owned(), value: None });
    }
    attributes.push(valued("ecs.os-type", "linux"));
    attributes.push(valued("ecs.os-family", "LINUX"));
    attributes.push(valued("ecs.os-type-detailed", "LINUX"));
    attributes.push(valued("ecs.cpu-architecture", if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" }));
    if let Some(zone) = &config.availability_zone {
        attributes.push(valued("ecs.availability-zone", zone));
    }
    // Built-in ones are replaced at each registration, custom ones stay as users have set them.
    let sent = config.attributes.iter().filter(|(name, _)| first || name.starts_with("ecs."));
    attributes.extend(sent.map(|(name, value)| valued(name, value)));
    attributes
}

/// CPU units offered to tasks.
pub(crate) fn cpu_units(config: &AgentConfig) -> i32 {
    i32::try_from(config.cores.saturating_mul(1024)).unwrap_or(i32::MAX)
}

/// Memory offered to tasks, MiB.
pub(crate) fn memory_mib(config: &AgentConfig) -> i32 {
    i32::try_from(config.memory_mib.saturating_sub(config.reserved_memory_mib)).unwrap_or(i32::MAX)
}

fn resources(config: &AgentConfig) -> Vec<Resource> {
    let ports = |ports: &[u16]| ports.iter().map(u16::to_string).collect();
    vec![
        Resource::Integer("CPU", cpu_units(config)),
        Resource::Integer("MEMORY", memory_mib(config)),
        Resource::StringSet("PORTS", ports(&config.reserved_ports)),
        Resource::StringSet("PORTS_UDP", ports(&config.reserved_udp_ports)),
    ]
}

/// The first attribute that was registered with a value and did not come back with it.
pub(crate) fn mismatch<'a>(sent: &'a [Attribute], answered: &[Attribute]) -> Option<&'a Attribute> {
    let valued = sent.iter().filter(|attribute| attribute.value.as_deref().is_some_and(|value| !value.is_empty()));
    valued.into_iter().find(|attribute| !answered.contains(attribute))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> AgentConfig {
        let mut config = AgentConfig::new("/d".into(), 2, 24_105);
        config.attributes.insert("stack".into(), "prod".into());
        config.attributes.insert("ecs.longshore.fargate".into(), "also".into());
        config.tags.insert("k".into(), "v".into());
        config
    }

    fn runtime() -> RuntimeInfo {
        RuntimeInfo {
            name: "docker",
            version: "20.10.24".into(),
            docker_api_versions: vec!["1.17".into(), "1.41".into()],
            log_drivers: vec!["json-file".into(), "syslog".into()],
        }
    }

    fn names(registration: &InstanceRegistration) -> Vec<String> {
        registration
            .attributes
            .iter()
            .map(|attribute| match &attribute.value {
                Some(value) => format!("{}={value}", attribute.name),
                None => attribute.name.clone(),
            })
            .collect()
    }

    // spec: 14-048, 14-049, 14-054, 19-052, 12-045, 05-097, 23-019
    #[test]
    fn attributes_say_what_works_and_custom_ones_come_with_the_first_registration_only() {
        let first = registration(&config(), "demo", None, &runtime(), false);
        let named = names(&first);
        for expected in [
            "ecs.os-type=linux",
            "ecs.cpu-architecture=x86_64",
            "stack=prod",
            "com.amazonaws.ecs.capability.docker-remote-api.1.17",
            "com.amazonaws.ecs.capability.docker-remote-api.1.41",
            "com.amazonaws.ecs.capability.logging-driver.syslog",
            "com.amazonaws.ecs.capability.logging-driver.awslogs",
            "com.amazonaws.ecs.capability.logging-driver.json-file",
            "com.amazonaws.ecs.capability.privileged-container",
        ] {
            assert!(named.contains(&expected.to_owned()), "{expected} in {named:?}");
        }
        assert!(!named.iter().any(|name| name.contains("task-iam-role")));
        let with_roles = names(&registration(&config(), "demo", None, &runtime(), true));
        let roles: Vec<&String> = with_roles.iter().filter(|name| name.contains("task-iam-role")).collect();
        assert_eq!(roles, [TASK_ROLES]);
        assert_eq!((&first.docker_version, &first.agent_version), (&runtime().version, &config().version));
        let again = registration(&config(), "demo", Some("arn:i"), &runtime(), false);
        assert!(!names(&again).contains(&"stack=prod".to_owned()));
        assert!(names(&again).contains(&"ecs.longshore.fargate=also".to_owned()));
        assert!(again.tags.is_empty() && !first.tags.is_empty());
    }

    // spec: 10-068, 10-070, 12-006, 05-059
    #[test]
    fn resources_are_cores_memory_less_the_reserved_and_reserved_ports() {
        let mut config = config();
        config.reserved_memory_mib = 256;
        let resources = registration(&config, "demo", None, &runtime(), false).total_resources;
        assert_eq!(resources[0], Resource::Integer("CPU", 2048));
        assert_eq!(resources[1], Resource::Integer("MEMORY", 24_105 - 256));
        let ports = ["22", "2375", "2376", "51678", "51679"].map(str::to_owned).to_vec();
        assert_eq!(resources[2], Resource::StringSet("PORTS", ports));
        assert_eq!(resources[3], Resource::StringSet("PORTS_UDP", Vec::new()));
    }

    #[test]
    fn a_value_that_does_not_come_back_is_a_mismatch() {
        let sent = registration(&config(), "demo", None, &runtime(), false).attributes;
        assert_eq!(mismatch(&sent, &sent), None);
        let valued: Vec<Attribute> = sent.iter().filter(|attribute| attribute.value.is_some()).cloned().collect();
        assert_eq!(mismatch(&sent, &valued), None);
        assert_eq!(mismatch(&sent, &valued[1..]), Some(&valued[0]));
    }
}
