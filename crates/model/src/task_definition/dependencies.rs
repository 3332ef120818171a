//! `dependsOn`, `links` and `volumesFrom`: what containers want of each other.

use std::collections::BTreeMap;

use longshore_api::ecs::{ContainerCondition, ContainerDefinition, NetworkMode, TaskDefinition};

use super::container::setting;
use super::{Check, list, name, network_mode, refuse, text};
use crate::names;

pub(super) fn check(definition: &TaskDefinition) -> Check {
    let containers = list(&definition.container_definitions);
    let by_name: BTreeMap<&str, &ContainerDefinition> = containers.iter().map(|each| (name(each), each)).collect();
    for container in containers {
        depends_on(container, &by_name)?;
        links(container, definition, &by_name)?;
        volumes_from(container, &by_name)?;
    }
    let dependencies = |container: &ContainerDefinition| -> Vec<String> {
        list(&container.depends_on).iter().map(|each| text(&each.container_name).to_owned()).collect()
    };
    if has_cycle(containers, dependencies) {
        return Err(refuse("Container dependencies should not have a cycle."));
    }
    let linked = |container: &ContainerDefinition| -> Vec<String> {
        list(&container.links).iter().map(|link| link_parts(link).0.to_owned()).collect()
    };
    if has_cycle(containers, linked) {
        return Err(refuse("Container links should not have a cycle."));
    }
    let sources = |container: &ContainerDefinition| -> Vec<String> {
        list(&container.volumes_from).iter().map(|each| text(&each.source_container).to_owned()).collect()
    };
    if has_cycle(containers, sources) {
        return Err(refuse("Containers should not take volumes from each other in a cycle."));
    }
    Ok(())
}

fn depends_on(container: &ContainerDefinition, by_name: &BTreeMap<&str, &ContainerDefinition>) -> Check {
    for dependency in list(&container.depends_on) {
        let target_name = text(&dependency.container_name);
        let Some(target) = by_name.get(target_name) else {
            // The stray plus sign is ECS's.
            return Err(refuse(format!("Cannot depend on container + '{target_name}' because it does not exist")));
        };
        match &dependency.condition {
            Some(ContainerCondition::Success | ContainerCondition::Complete) if target.essential == Some(true) => {
                return Err(refuse(
                    "A dependency container with SUCCESS or COMPLETE condition cannot be an essential container",
                ));
            }
            Some(ContainerCondition::Healthy) if target.health_check.is_none() => {
                let why = format!("container '{target_name}' has no health check to become HEALTHY by");
                return Err(setting("dependsOn", container, why));
            }
            _ => {}
        }
    }
    Ok(())
}

/// `name` or `name:alias`.
fn link_parts(link: &str) -> (&str, &str) {
    link.split_once(':').unwrap_or((link, link))
}

fn links(
    container: &ContainerDefinition,
    definition: &TaskDefinition,
    by_name: &BTreeMap<&str, &ContainerDefinition>,
) -> Check {
    let links = list(&container.links);
    let mode = network_mode(definition);
    if !links.is_empty() && mode != NetworkMode::Bridge {
        return Err(refuse(format!("Links are not supported when networkMode={}.", mode.as_str())));
    }
    for link in links {
        let (target, alias) = link_parts(link);
        if !names::is_name(target) || !names::is_name(alias) {
            return Err(setting("links", container, format!("'{link}' is not of the form name:internalName")));
        }
        if !by_name.contains_key(target) {
            return Err(setting("links", container, format!("there is no container '{target}'")));
        }
    }
    Ok(())
}

fn volumes_from(container: &ContainerDefinition, by_name: &BTreeMap<&str, &ContainerDefinition>) -> Check {
    for from in list(&container.volumes_from) {
        let source = text(&from.source_container);
        if !by_name.contains_key(source) {
            return Err(setting("volumesFrom", container, format!("there is no container '{source}'")));
        }
    }
    Ok(())
}

/// Whether following `edges` leads from some container back to itself.
fn has_cycle(containers: &[ContainerDefinition], edges: impl Fn(&ContainerDefinition) -> Vec<String>) -> bool {
    let mut waiting: BTreeMap<&str, Vec<String>> = containers.iter().map(|each| (name(each), edges(each))).collect();
    // Containers that wait for none of the others leave; in a cycle nobody can.
    loop {
        let free: Vec<&str> = waiting
            .iter()
            .filter(|(_, targets)| !targets.iter().any(|target| waiting.contains_key(target.as_str())))
            .map(|(container, _)| *container)
            .collect();
        if free.is_empty() {
            return !waiting.is_empty();
        }
        for container in free {
            waiting.remove(container);
        }
    }
}
