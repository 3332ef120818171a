//! Ports, names and the proxy: what the network mode allows.

use longshore_api::ecs::{
    ContainerDefinition, NetworkMode, PortMapping, ProxyConfiguration, TaskDefinition, TransportProtocol,
};

use super::container::setting;
use super::{Check, list, name, network_mode, refuse, text};
use crate::names;

/// Largest port number.
const MAX_PORT: i32 = 65_535;
/// Most ranges of dynamically mapped ports in one container.
const MAX_PORT_RANGES: usize = 100;
/// Longest name of a port mapping.
const MAX_PORT_NAME: usize = 64;

pub(super) fn check(definition: &TaskDefinition) -> Check {
    let mode = network_mode(definition);
    let mut host_ports: Vec<HostPorts> = Vec::new();
    let mut port_names: Vec<&str> = Vec::new();
    for container in list(&definition.container_definitions) {
        let mappings = list(&container.port_mappings);
        if mode == NetworkMode::None && !mappings.is_empty() {
            return Err(refuse("Port mappings are not supported when networkMode=none."));
        }
        if mappings.iter().filter(|mapping| mapping.container_port_range.is_some()).count() > MAX_PORT_RANGES {
            return Err(setting("portMappings", container, format!("more than {MAX_PORT_RANGES} port ranges")));
        }
        container_ports(container, mappings)?;
        for mapping in mappings {
            if let Some(ports) = port_mapping(mapping, container, &mode)? {
                if let Some(port) = host_ports.iter().find_map(|earlier| earlier.overlap(&ports)) {
                    let protocol = ports.protocol.as_str().to_ascii_uppercase();
                    return Err(refuse(format!("{protocol} host port '{port}' is mapped multiple times in task.")));
                }
                host_ports.push(ports);
            }
            if let Some(name) = mapping.name.as_deref() {
                port_name(name, container)?;
                if port_names.contains(&name) {
                    let why = format!("the name '{name}' is used more than once in the task definition");
                    return Err(setting("portMappings", container, why));
                }
                port_names.push(name);
            }
        }
        container_network(container, &mode)?;
    }
    match &definition.proxy_configuration {
        Some(proxy) => proxy_configuration(proxy, definition, &mode),
        None => Ok(()),
    }
}

/// Within a container a range may not cover a port that another mapping has.
fn container_ports(container: &ContainerDefinition, mappings: &[PortMapping]) -> Check {
    let mut claimed: Vec<(bool, HostPorts)> = Vec::new();
    for mapping in mappings {
        let range = mapping.container_port_range.as_deref().and_then(port_range);
        let Some((first, last)) = range.or(mapping.container_port.map(|port| (port, port))) else { continue };
        let protocol = mapping.protocol.clone().unwrap_or(TransportProtocol::Tcp);
        let (ranged, ports) = (range.is_some(), HostPorts { protocol, first, last });
        let twice = claimed.iter().filter(|(other, _)| ranged || *other);
        if let Some(port) = twice.filter_map(|(_, earlier)| earlier.overlap(&ports)).next() {
            let why = format!("the port {port} of a containerPortRange is in another mapping, too");
            return Err(setting("portMappings", container, why));
        }
        claimed.push((ranged, ports));
    }
    Ok(())
}

/// Host ports that a mapping claims, inclusive.
#[derive(Clone)]
struct HostPorts {
    protocol: TransportProtocol,
    first: i32,
    last: i32,
}

impl HostPorts {
    fn overlap(&self, other: &Self) -> Option<i32> {
        let first = self.first.max(other.first);
        (self.protocol == other.protocol && first <= self.last.min(other.last)).then_some(first)
    }
}

/// Checks one mapping; answers the fixed host ports that it claims.
fn port_mapping(
    mapping: &PortMapping,
    container: &ContainerDefinition,
    mode: &NetworkMode,
) -> Result<Option<HostPorts>, longshore_api::ServiceError> {
    let protocol = mapping.protocol.clone().unwrap_or(TransportProtocol::Tcp);
    let mapped = !matches!(mode, NetworkMode::Awsvpc | NetworkMode::Host);
    if let Some(range) = &mapping.container_port_range {
        if *mode == NetworkMode::Host {
            let why = "a containerPortRange needs network mode bridge or awsvpc";
            return Err(setting("portMappings", container, why));
        }
        if mapping.container_port.is_some() || mapping.host_port.is_some_and(|port| port != 0) {
            let why = "a mapping with containerPortRange can't have a containerPort or a hostPort";
            return Err(setting("portMappings", container, why));
        }
        let Some((first, last)) = port_range(range) else {
            let why = format!("'{range}' is not two ports between 1 and {MAX_PORT} with a hyphen between them");
            return Err(setting("containerPortRange", container, why));
        };
        return Ok((!mapped).then_some(HostPorts { protocol, first, last }));
    }
    let invalid = |member: &str| refuse(format!("Invalid '{member}' setting for container '{}'.", name(container)));
    let container_port = mapping.container_port.unwrap_or(0);
    if !(1..=MAX_PORT).contains(&container_port) {
        return Err(invalid("containerPort"));
    }
    let host_port = mapping.host_port.unwrap_or(0);
    if !(0..=MAX_PORT).contains(&host_port) {
        return Err(invalid("hostPort"));
    }
    if !mapped && host_port != container_port {
        return Err(refuse(format!(
            "When networkMode={}, the host ports and container ports in port mappings must match.",
            mode.as_str()
        )));
    }
    Ok((host_port != 0).then_some(HostPorts { protocol, first: host_port, last: host_port }))
}

fn port_range(range: &str) -> Option<(i32, i32)> {
    let port = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten().filter(|port| (1..=MAX_PORT).contains(port))
    };
    let (first, last) = range.split_once('-')?;
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then_some((first, last))
}

fn port_name(name: &str, container: &ContainerDefinition) -> Check {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins && name.len() <= MAX_PORT_NAME && name.bytes().all(allowed) {
        return Ok(());
    }
    let why = format!(
        "the name '{name}' is not made of 1 to {MAX_PORT_NAME} lower-case letters, digits, underscores and hyphens, beginning with a letter or digit"
    );
    Err(setting("portMappings", container, why))
}

/// Names and resolvers: in awsvpc mode the task's own network namespace has them, not its containers.
fn container_network(container: &ContainerDefinition, mode: &NetworkMode) -> Check {
    if *mode == NetworkMode::Awsvpc {
        let used = [
            ("hostname", container.hostname.is_some()),
            ("disableNetworking", container.disable_networking == Some(true)),
            ("dnsServers", !list(&container.dns_servers).is_empty()),
            ("dnsSearchDomains", !list(&container.dns_search_domains).is_empty()),
            ("extraHosts", !list(&container.extra_hosts).is_empty()),
        ];
        if let Some((member, _)) = used.into_iter().find(|(_, used)| *used) {
            return Err(refuse(format!("{member} is not supported on container when networkMode=awsvpc.")));
        }
    }
    if let Some(domain) = list(&container.dns_search_domains).iter().find(|domain| !is_search_domain(domain)) {
        return Err(setting("dnsSearchDomains", container, format!("'{domain}' is no domain name")));
    }
    for host in list(&container.extra_hosts) {
        let (hostname, address) = (text(&host.hostname), text(&host.ip_address));
        if hostname.is_empty() || address.parse::<std::net::IpAddr>().is_err() {
            let why = format!("'{hostname}' with address '{address}' is no host name with an IP address");
            return Err(setting("extraHosts", container, why));
        }
    }
    Ok(())
}

/// `^[a-zA-Z0-9-.]{0,253}[a-zA-Z0-9]$` (guide chapter 5).
fn is_search_domain(domain: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    domain.len() <= 254
        && domain.bytes().all(allowed)
        && domain.bytes().next_back().is_some_and(|byte| byte.is_ascii_alphanumeric())
}

/// The App Mesh proxy (guide chapter 5, "Proxy configuration").
fn proxy_configuration(proxy: &ProxyConfiguration, definition: &TaskDefinition, mode: &NetworkMode) -> Check {
    if *mode != NetworkMode::Awsvpc {
        return Err(refuse("proxyConfiguration is only supported when networkMode=awsvpc."));
    }
    let proxy_name = text(&proxy.container_name);
    if !names::is_name(proxy_name)
        || !list(&definition.container_definitions).iter().any(|each| name(each) == proxy_name)
    {
        return Err(refuse(format!("The proxy container '{proxy_name}' is not a container of the task definition.")));
    }
    let property = |wanted: &str| {
        let found = list(&proxy.properties).iter().find(|property| text(&property.name) == wanted);
        found.map(|property| text(&property.value)).unwrap_or_default()
    };
    for required in ["ProxyIngressPort", "AppPorts", "ProxyEgressPort"] {
        if property(required).is_empty() {
            return Err(refuse(format!("The proxyConfiguration needs a value for the property {required}.")));
        }
    }
    if property("IgnoredUID").is_empty() && property("IgnoredGID").is_empty() {
        return Err(refuse("The proxyConfiguration needs a value for the property IgnoredUID or IgnoredGID."));
    }
    Ok(())
}
