//! Resources as the API names them: CPU, MEMORY, PORTS, PORTS_UDP, GPU.

use std::collections::BTreeSet;

use longshore_api::ecs::{PlatformDevice, PlatformDeviceType, Resource};

use super::Books;

/// The registered resources of an instance: those of the request, with its GPUs as one resource more.
#[must_use]
pub fn registered(total: &[Resource], devices: &[PlatformDevice]) -> Vec<Resource> {
    let mut resources: Vec<Resource> = total.iter().map(complete).collect();
    let gpus = devices.iter().filter(|device| device.r#type == Some(PlatformDeviceType::Gpu));
    let gpus: Vec<String> = gpus.filter_map(|device| device.id.clone()).collect();
    if !gpus.is_empty() && !resources.iter().any(|resource| resource.name.as_deref() == Some("GPU")) {
        resources.push(string_set("GPU", gpus));
    }
    resources
}

/// ECS answers every member of a resource, those of other types as zero.
fn complete(resource: &Resource) -> Resource {
    Resource {
        double_value: resource.double_value.or(Some(0.0)),
        long_value: resource.long_value.or(Some(0)),
        integer_value: resource.integer_value.or(Some(0)),
        ..resource.clone()
    }
}

fn string_set(name: &str, values: Vec<String>) -> Resource {
    complete(&Resource {
        name: Some(name.to_owned()),
        r#type: Some("STRINGSET".to_owned()),
        string_set_value: Some(values),
        ..Resource::default()
    })
}

/// The books that `resources` open.
#[must_use]
pub fn books(resources: &[Resource]) -> Books {
    let mut books = Books::default();
    for resource in resources {
        match resource.name.as_deref() {
            Some("CPU") => books.cpu = amount(resource),
            Some("MEMORY") => books.memory = amount(resource),
            Some("PORTS") => books.tcp_ports = ports(resource),
            Some("PORTS_UDP") => books.udp_ports = ports(resource),
            Some("GPU") => books.gpus = resource.string_set_value.iter().flatten().cloned().collect(),
            _ => {}
        }
    }
    books
}

fn amount(resource: &Resource) -> i64 {
    let integer = resource.integer_value.map(i64::from).filter(|value| *value != 0);
    #[expect(clippy::cast_possible_truncation, reason = "resources are far below 2^53")]
    let double = || resource.double_value.map(|value| value as i64);
    integer.or(resource.long_value.filter(|value| *value != 0)).or_else(double).unwrap_or(0)
}

fn ports(resource: &Resource) -> BTreeSet<u16> {
    resource.string_set_value.iter().flatten().filter_map(|port| port.parse().ok()).collect()
}

/// `registered` with the amounts that `remaining` has left; a resource that the books don't keep stays as it is.
#[must_use]
pub fn remaining(registered: &[Resource], remaining: &Books) -> Vec<Resource> {
    let texts = |ports: &BTreeSet<u16>| ports.iter().map(u16::to_string).collect();
    registered
        .iter()
        .map(|resource| {
            let mut left = resource.clone();
            let integer =
                |value: i64| Some(i32::try_from(value).unwrap_or(if value < 0 { i32::MIN } else { i32::MAX }));
            match resource.name.as_deref() {
                Some("CPU") => left.integer_value = integer(remaining.cpu),
                Some("MEMORY") => left.integer_value = integer(remaining.memory),
                Some("PORTS") => left.string_set_value = Some(texts(&remaining.tcp_ports)),
                Some("PORTS_UDP") => left.string_set_value = Some(texts(&remaining.udp_ports)),
                Some("GPU") => left.string_set_value = Some(remaining.gpus.iter().cloned().collect()),
                _ => {}
            }
            left
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integer(name: &str, value: i32) -> Resource {
        Resource {
            name: Some(name.to_owned()),
            r#type: Some("INTEGER".to_owned()),
            integer_value: Some(value),
            ..Resource::default()
        }
    }

    #[test]
    fn books_are_opened_from_what_was_registered() {
        let ports = Resource { string_set_value: Some(vec!["22".to_owned(), "x".to_owned()]), ..integer("PORTS", 0) };
        let gpu = PlatformDevice { id: Some("GPU-1".to_owned()), r#type: Some(PlatformDeviceType::Gpu) };
        let registered = registered(&[integer("CPU", 2048), integer("MEMORY", 1000), ports], &[gpu]);
        let books = books(&registered);
        assert_eq!((books.cpu, books.memory), (2048, 1000));
        assert_eq!(books.tcp_ports, [22].into());
        assert_eq!(books.gpus, ["GPU-1".to_owned()].into());
    }

    // spec: 10-071
    #[test]
    fn remaining_resources_have_the_same_names_with_what_is_left() {
        let registered = registered(&[integer("CPU", 2048), integer("MEMORY", 1000)], &[]);
        let left = Books { cpu: 2000, memory: 900, ..Books::default() };
        let remaining = remaining(&registered, &left);
        assert_eq!(remaining[0].integer_value, Some(2000));
        assert_eq!(remaining[1].integer_value, Some(900));
        assert_eq!(remaining[1].name, registered[1].name);
    }
}
