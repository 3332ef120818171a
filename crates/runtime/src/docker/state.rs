//! What Docker says of a container, in our words. Pure.

use std::net::IpAddr;

use bollard::models::{
    ContainerConfig, ContainerInspectResponse, ContainerState as DockerState, ContainerStateStatusEnum,
    HealthStatusEnum, NetworkSettings,
};
use longshore_seams::Timestamp;

use super::ROOT_LABEL;
use crate::{ContainerState, ContainerStatus, Health, PortBinding, Protocol};

/// The state that an inspection shows.
pub(super) fn container_state(inspected: ContainerInspectResponse) -> ContainerState {
    let state = inspected.state.unwrap_or_default();
    let config = inspected.config.unwrap_or_default();
    let network = inspected.network_settings.unwrap_or_default();
    let created_at = inspected.created.as_deref().and_then(timestamp).unwrap_or_default();
    let started_at = state.started_at.as_deref().and_then(timestamp);
    let error = state.error.clone().filter(|error| !error.is_empty());
    let status = status(&state, error.is_some());
    let running = status == ContainerStatus::Running;
    let exit_code = (status == ContainerStatus::Exited && started_at.is_some())
        .then(|| state.exit_code.and_then(|code| i32::try_from(code).ok()))
        .flatten();
    ContainerState {
        id: inspected.id.unwrap_or_default(),
        name: inspected.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        status,
        pid: state.pid.filter(|_| running).and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0),
        exit_code,
        oom_killed: state.oom_killed.unwrap_or(false),
        error,
        created_at,
        started_at,
        finished_at: state.finished_at.as_deref().filter(|_| !running).and_then(timestamp),
        health: health(&state, &config, started_at.unwrap_or(created_at)),
        ports: if running { ports(&network) } else { Vec::new() },
        ip: address(&network).filter(|_| running),
        image_id: inspected.image.unwrap_or_default(),
        labels: config.labels.unwrap_or_default().into_iter().filter(|(name, _)| name != ROOT_LABEL).collect(),
    }
}

fn status(state: &DockerState, failed: bool) -> ContainerStatus {
    match state.status {
        Some(ContainerStateStatusEnum::CREATED) if !failed => ContainerStatus::Created,
        Some(
            ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::PAUSED | ContainerStateStatusEnum::RESTARTING,
        ) => ContainerStatus::Running,
        // A start that failed leaves Docker's state at "created" with an error.
        _ => ContainerStatus::Exited,
    }
}

/// A point in time as Docker prints it; `None` for its zero (year 1) and for anything malformed.
pub(super) fn timestamp(text: &str) -> Option<Timestamp> {
    nanoseconds(text).map(|nanos| Timestamp::from_millis(nanos.div_euclid(1_000_000)))
}

/// Nanoseconds since the epoch of a time as Docker prints it.
pub(super) fn nanoseconds(text: &str) -> Option<i64> {
    let parsed: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(parsed.as_nanosecond()).ok()
}

fn health(state: &DockerState, config: &ContainerConfig, since: Timestamp) -> Option<(Health, Timestamp)> {
    let test = config.healthcheck.as_ref()?.test.as_ref()?;
    if test.first().is_none_or(|form| form == "NONE") {
        return None;
    }
    let health = state.health.as_ref()?;
    let result = match health.status? {
        HealthStatusEnum::HEALTHY => Health::Healthy,
        HealthStatusEnum::UNHEALTHY => Health::Unhealthy,
        _ => Health::Starting,
    };
    let last = health.log.as_ref().and_then(|log| log.last()).and_then(|probe| timestamp(probe.end.as_deref()?));
    Some((result, last.unwrap_or(since)))
}

fn ports(network: &NetworkSettings) -> Vec<PortBinding> {
    let mut ports = Vec::new();
    for (key, bindings) in network.ports.iter().flatten() {
        let Some((container_port, protocol)) = port_key(key) else { continue };
        for binding in bindings.iter().flatten() {
            let Some(host_port) = binding.host_port.as_deref().and_then(|port| port.parse().ok()) else { continue };
            ports.push(PortBinding {
                container_port,
                host_port,
                protocol,
                host_ip: binding.host_ip.as_deref().and_then(|ip| ip.parse().ok()),
            });
        }
    }
    ports.sort_by_key(|port| (port.container_port, port.protocol, port.host_ip, port.host_port));
    ports
}

/// Docker's `80/tcp`.
pub(super) fn port_key(key: &str) -> Option<(u16, Protocol)> {
    let (port, protocol) = key.split_once('/')?;
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    Some((port.parse().ok()?, protocol))
}

fn address(network: &NetworkSettings) -> Option<IpAddr> {
    let endpoints = network.networks.as_ref()?;
    endpoints.values().find_map(|endpoint| endpoint.ip_address.as_deref()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn state_of(value: serde_json::Value) -> ContainerState {
        container_state(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn a_failed_start_is_an_end_without_exit_code() {
        let state = state_of(json!({
            "Id": "1", "Created": "2026-11-22T04:00:00.5Z",
            "State": {"Status": "created", "ExitCode": 127, "Error": "no such file",
                "StartedAt": "0001-01-01T00:00:00Z", "FinishedAt": "0001-01-01T00:00:00Z"}
        }));
        assert_eq!((state.status, state.exit_code), (ContainerStatus::Exited, None));
        assert_eq!(state.error.as_deref(), Some("no such file"));
        assert_eq!((state.started_at, state.finished_at), (None, None));
    }

    #[test]
    fn a_zero_time_is_absent() {
        assert_eq!(timestamp("0001-01-01T00:00:00Z"), None);
        assert_eq!(timestamp("2026-11-22T04:00:00.123456789+01:00").unwrap().as_millis(), 1_795_316_400_123);
    }

    #[test]
    fn an_image_s_own_health_check_is_not_reported() {
        let state = state_of(json!({
            "State": {"Status": "running", "Health": {"Status": "none"}},
            "Config": {"Healthcheck": {"Test": ["NONE"]}}
        }));
        assert_eq!(state.health, None);
    }

    #[test]
    fn published_ports_are_in_order_of_container_port() {
        let state = state_of(json!({
            "State": {"Status": "running"},
            "NetworkSettings": {"Ports": {
                "90/udp": null,
                "80/udp": [{"HostIp": "0.0.0.0", "HostPort": "40001"}],
                "80/tcp": [{"HostIp": "::", "HostPort": "40000"}, {"HostIp": "0.0.0.0", "HostPort": "40000"}]
            }}
        }));
        let ports: Vec<_> = state.ports.iter().map(|p| (p.container_port, p.protocol, p.host_ip.unwrap())).collect();
        let (v4, v6) = ("0.0.0.0".parse().unwrap(), "::".parse().unwrap());
        assert_eq!(ports, [(80, Protocol::Tcp, v4), (80, Protocol::Tcp, v6), (80, Protocol::Udp, v4)]);
    }
}
