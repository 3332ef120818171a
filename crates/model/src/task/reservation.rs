//! What a task takes of its container instance: the same sums that the agent keeps in its books.

use longshore_api::ecs::{
    ContainerDefinition, NetworkMode, PortMapping, ResourceType, TaskDefinition, TaskOverride, TransportProtocol,
};

use crate::records::Reservation;

/// CPU units in a task-level `cpu`: `256`, `.25 vCPU`, `1 vcpu`.
#[must_use]
pub fn cpu_units(text: &str) -> Option<i64> {
    scaled(text, &["vcpu"])
}

/// MiB in a task-level `memory`: `512`, `1GB`, `2 gb`.
#[must_use]
pub fn memory_mib(text: &str) -> Option<i64> {
    scaled(text, &["gb"])
}

/// A whole number, or a decimal number of units that are 1024 each.
fn scaled(text: &str, units: &[&str]) -> Option<i64> {
    let text = text.trim().to_ascii_lowercase();
    match units.iter().find_map(|unit| text.strip_suffix(unit)) {
        Some(number) => {
            let number: f64 = number.trim().parse().ok()?;
            #[expect(clippy::cast_possible_truncation, reason = "checked to be finite and in range")]
            (number.is_finite() && (0.0..1e9).contains(&number)).then(|| (number * 1024.0).round() as i64)
        }
        None => text.parse().ok(),
    }
}

/// The reservation of a task with these (effective) containers.
///
/// CPU and memory are the task's own when it has them, else the containers' sums, where a soft
/// limit counts before a hard one (guide chapter 5, `memoryReservation`). Only fixed host ports are reserved.
#[must_use]
pub fn reservation(
    definition: &TaskDefinition,
    containers: &[ContainerDefinition],
    overrides: Option<&TaskOverride>,
) -> Reservation {
    let task_cpu = overrides.and_then(|it| it.cpu.as_deref()).or(definition.cpu.as_deref()).and_then(cpu_units);
    let task_memory =
        overrides.and_then(|it| it.memory.as_deref()).or(definition.memory.as_deref()).and_then(memory_mib);
    let cpu = || containers.iter().map(|container| i64::from(container.cpu.unwrap_or(0))).sum();
    let memory_of = |container: &ContainerDefinition| container.memory_reservation.or(container.memory).unwrap_or(0);
    let memory = || containers.iter().map(|container| i64::from(memory_of(container))).sum();
    let mut reservation = Reservation {
        cpu: task_cpu.unwrap_or_else(cpu),
        memory_mib: task_memory.unwrap_or_else(memory),
        gpus: containers.iter().map(gpus).sum(),
        interfaces: i64::from(definition.network_mode == Some(NetworkMode::Awsvpc)),
        ..Reservation::default()
    };
    for mapping in containers.iter().flat_map(|container| container.port_mappings.as_deref().unwrap_or_default()) {
        let Some(port) = host_port(definition.network_mode.as_ref(), mapping) else { continue };
        let ports = match mapping.protocol {
            Some(TransportProtocol::Udp) => &mut reservation.udp_ports,
            _ => &mut reservation.tcp_ports,
        };
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    reservation
}

/// The fixed host port of a mapping. In `host` mode the container's port is the host's.
fn host_port(mode: Option<&NetworkMode>, mapping: &PortMapping) -> Option<u16> {
    let fixed = mapping.host_port.filter(|port| *port > 0);
    let port = match mode {
        Some(NetworkMode::Awsvpc | NetworkMode::None) => None,
        Some(NetworkMode::Host) => fixed.or(mapping.container_port),
        _ => fixed,
    };
    port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0)
}

/// GPUs of a container. One that shares a GPU, or takes all that there are, needs one at least.
fn gpus(container: &ContainerDefinition) -> i64 {
    let requirements = container.resource_requirements.as_deref().unwrap_or_default();
    requirements
        .iter()
        .filter(|requirement| requirement.r#type == Some(ResourceType::Gpu))
        .map(|requirement| requirement.value.as_deref().and_then(|value| value.parse::<i64>().ok()).unwrap_or(1))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(cpu: i32, memory: i32, soft: Option<i32>) -> ContainerDefinition {
        ContainerDefinition {
            cpu: Some(cpu),
            memory: Some(memory),
            memory_reservation: soft,
            ..ContainerDefinition::default()
        }
    }

    fn mapping(container: i32, host: Option<i32>, protocol: Option<TransportProtocol>) -> PortMapping {
        PortMapping { container_port: Some(container), host_port: host, protocol, ..PortMapping::default() }
    }

    // spec: 05-027
    #[test]
    fn a_soft_limit_is_what_is_reserved() {
        let containers = [container(10, 300, Some(128)), container(20, 64, None)];
        let taken = reservation(&TaskDefinition::default(), &containers, None);
        assert_eq!((taken.cpu, taken.memory_mib), (30, 192));
    }

    #[test]
    fn task_level_sizes_win_over_the_containers_and_overrides_over_both() {
        let definition =
            TaskDefinition { cpu: Some("256".into()), memory: Some("512".into()), ..TaskDefinition::default() };
        let containers = [container(10, 300, None)];
        let taken = reservation(&definition, &containers, None);
        assert_eq!((taken.cpu, taken.memory_mib), (256, 512));
        let overrides =
            TaskOverride { cpu: Some("1 vCPU".into()), memory: Some("2GB".into()), ..TaskOverride::default() };
        let taken = reservation(&definition, &containers, Some(&overrides));
        assert_eq!((taken.cpu, taken.memory_mib), (1024, 2048));
    }

    // spec: 05-041, 05-012
    #[test]
    fn only_fixed_host_ports_are_reserved() {
        let ports = vec![
            mapping(80, Some(8080), None),
            mapping(81, Some(0), None),
            mapping(82, None, None),
            mapping(53, Some(53), Some(TransportProtocol::Udp)),
        ];
        let containers = [ContainerDefinition { port_mappings: Some(ports), ..ContainerDefinition::default() }];
        let with_mode = |mode| {
            let definition = TaskDefinition { network_mode: Some(mode), ..TaskDefinition::default() };
            let taken = reservation(&definition, &containers, None);
            (taken.tcp_ports, taken.udp_ports)
        };
        assert_eq!(with_mode(NetworkMode::Bridge), (vec![8080], vec![53]));
        assert_eq!(with_mode(NetworkMode::Host), (vec![8080, 81, 82], vec![53]));
        assert_eq!(with_mode(NetworkMode::Awsvpc), (vec![], vec![]));
    }

    #[test]
    fn sizes_are_read_in_units_and_in_words() {
        assert_eq!(cpu_units("256"), Some(256));
        assert_eq!(cpu_units(".25 vCPU"), Some(256));
        assert_eq!(cpu_units("much"), None);
        assert_eq!(memory_mib("0.5 GB"), Some(512));
        assert_eq!(memory_mib("1e99GB"), None);
    }
}
