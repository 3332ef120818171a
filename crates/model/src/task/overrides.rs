//! A task definition's containers with a task's overrides merged in.

use longshore_api::ecs::{ContainerDefinition, ContainerOverride, KeyValuePair, TaskDefinition, TaskOverride};

/// The containers as they are to run. Whatever an override does not name keeps the definition's
/// value; variables are added or replaced by name; files of variables and resource requirements
/// are replaced as a whole.
#[must_use]
pub fn effective_containers(definition: &TaskDefinition, overrides: Option<&TaskOverride>) -> Vec<ContainerDefinition> {
    let mut containers = definition.container_definitions.clone().unwrap_or_default();
    for changes in container_overrides(overrides) {
        if let Some(container) = containers.iter_mut().find(|container| container.name == changes.name) {
            apply(container, changes);
        }
    }
    containers
}

/// The first container that `overrides` names and `definition` does not have.
#[must_use]
pub fn unknown_container<'a>(definition: &TaskDefinition, overrides: &'a TaskOverride) -> Option<&'a str> {
    let containers = definition.container_definitions.as_deref().unwrap_or_default();
    container_overrides(Some(overrides))
        .find(|changes| !containers.iter().any(|container| container.name == changes.name))
        .map(|changes| changes.name.as_deref().unwrap_or(""))
}

fn container_overrides(overrides: Option<&TaskOverride>) -> impl Iterator<Item = &ContainerOverride> {
    overrides.and_then(|overrides| overrides.container_overrides.as_deref()).unwrap_or_default().iter()
}

fn apply(container: &mut ContainerDefinition, changes: &ContainerOverride) {
    if let Some(command) = &changes.command {
        container.command = Some(command.clone());
    }
    if changes.cpu.is_some() {
        container.cpu = changes.cpu;
    }
    if changes.memory.is_some() {
        container.memory = changes.memory;
    }
    if changes.memory_reservation.is_some() {
        container.memory_reservation = changes.memory_reservation;
    }
    if let Some(files) = &changes.environment_files {
        container.environment_files = Some(files.clone());
    }
    if let Some(requirements) = &changes.resource_requirements {
        container.resource_requirements = Some(requirements.clone());
    }
    if let Some(environment) = &changes.environment {
        merge_environment(container.environment.get_or_insert_default(), environment);
    }
}

fn merge_environment(variables: &mut Vec<KeyValuePair>, changes: &[KeyValuePair]) {
    for change in changes {
        match variables.iter_mut().find(|variable| variable.name == change.name) {
            Some(variable) => variable.value.clone_from(&change.value),
            None => variables.push(change.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> KeyValuePair {
        KeyValuePair { name: Some(name.to_owned()), value: Some(value.to_owned()) }
    }

    fn definition() -> TaskDefinition {
        let main = ContainerDefinition {
            name: Some("main".to_owned()),
            image: Some("busybox".to_owned()),
            command: Some(vec!["sleep".to_owned()]),
            environment: Some(vec![pair("A", "1"), pair("B", "2")]),
            cpu: Some(10),
            ..ContainerDefinition::default()
        };
        let side =
            ContainerDefinition { name: Some("side".to_owned()), cpu: Some(5), ..ContainerDefinition::default() };
        TaskDefinition { container_definitions: Some(vec![main, side]), ..TaskDefinition::default() }
    }

    fn overriding(changes: ContainerOverride) -> TaskOverride {
        TaskOverride { container_overrides: Some(vec![changes]), ..TaskOverride::default() }
    }

    // spec: 14-018, 14-019
    #[test]
    fn only_named_fields_change_and_variables_merge_by_name() {
        let changes = ContainerOverride {
            name: Some("main".to_owned()),
            environment: Some(vec![pair("B", "3"), pair("C", "4")]),
            ..ContainerOverride::default()
        };
        let containers = effective_containers(&definition(), Some(&overriding(changes)));
        assert_eq!(containers[0].environment, Some(vec![pair("A", "1"), pair("B", "3"), pair("C", "4")]));
        assert_eq!(containers[0].command, definition().container_definitions.unwrap()[0].command);
        assert_eq!(containers[1], definition().container_definitions.unwrap()[1]);
    }

    // spec: 14-016
    #[test]
    fn a_command_override_replaces_the_command() {
        let changes = ContainerOverride {
            name: Some("main".to_owned()),
            command: Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), "echo hi".to_owned()]),
            ..ContainerOverride::default()
        };
        let containers = effective_containers(&definition(), Some(&overriding(changes.clone())));
        assert_eq!(containers[0].command, changes.command);
    }

    #[test]
    fn a_container_that_is_not_in_the_definition_is_found_out() {
        let changes = ContainerOverride { name: Some("other".to_owned()), ..ContainerOverride::default() };
        assert_eq!(unknown_container(&definition(), &overriding(changes)), Some("other"));
        assert_eq!(unknown_container(&definition(), &TaskOverride::default()), None);
    }
}
