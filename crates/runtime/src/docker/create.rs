//! A [`ContainerSpec`] in Docker's words. Pure.

use std::collections::BTreeMap;

use bollard::models::{
    ContainerCreateBody, DeviceMapping, HealthConfig, HostConfig, HostConfigLogConfig, Mount as DockerMount, MountType,
    MountVolumeOptions, PortBinding as DockerPortBinding, ResourcesUlimits,
};

use super::ROOT_LABEL;
use crate::{
    ContainerSpec, HealthCheck, LogTarget, MountSource, NetworkMode, PortBinding, Resources, RuntimeError,
    RuntimeResult,
};

/// Docker refuses a memory limit below this.
const LEAST_MEMORY_BYTES: u64 = 6 * 1024 * 1024;
/// The kernel refuses CPU shares below this.
const LEAST_CPU_SHARES: u64 = 2;
/// Captured output is kept in a ring of two files of this size, as Docker's option takes it.
const LOG_FILE_SIZE: &str = "16m";

/// The body of Docker's create call.
///
/// # Errors
/// [`RuntimeError::Create`] for a value that Docker's API cannot carry.
pub(super) fn create_body(spec: &ContainerSpec, root_id: &str) -> RuntimeResult<ContainerCreateBody> {
    Ok(ContainerCreateBody {
        image: Some(spec.image.clone()),
        hostname: spec.hostname.clone(),
        user: spec.user.clone(),
        tty: Some(spec.tty),
        open_stdin: Some(spec.open_stdin),
        env: Some(spec.environment.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        cmd: spec.command.clone(),
        entrypoint: spec.entrypoint.clone(),
        working_dir: spec.working_dir.clone(),
        network_disabled: spec.network_disabled.then_some(true),
        labels: Some(all_labels(spec, root_id).into_iter().collect()),
        stop_signal: spec.stop_signal.clone(),
        exposed_ports: Some(spec.ports.iter().map(port_key).collect()),
        healthcheck: Some(health_config(spec.health_check.as_ref())),
        host_config: Some(host_config(spec, root_id)?),
        ..ContainerCreateBody::default()
    })
}

/// The labels that the container will carry.
pub(super) fn all_labels(spec: &ContainerSpec, root_id: &str) -> BTreeMap<String, String> {
    let mut labels = spec.labels.clone();
    labels.insert(ROOT_LABEL.to_owned(), root_id.to_owned());
    labels
}

fn host_config(spec: &ContainerSpec, root_id: &str) -> RuntimeResult<HostConfig> {
    let mut config = HostConfig {
        network_mode: Some(network_mode(spec)),
        privileged: Some(spec.privileged),
        readonly_rootfs: Some(spec.readonly_rootfs),
        cap_add: non_empty(&spec.cap_add),
        cap_drop: non_empty(&spec.cap_drop),
        security_opt: non_empty(&spec.security_opt),
        init: spec.init.then_some(true),
        dns: non_empty(&spec.dns),
        dns_search: non_empty(&spec.dns_search),
        extra_hosts: Some(spec.extra_hosts.iter().map(|(name, address)| format!("{name}:{address}")).collect()),
        links: Some(spec.links.iter().map(|(id, alias)| format!("{id}:{alias}")).collect()),
        volumes_from: Some(spec.volumes_from.iter().map(volumes_from).collect()),
        pid_mode: spec.pid_mode.clone(),
        ipc_mode: spec.ipc_mode.clone(),
        cgroup_parent: spec.cgroup_parent.clone(),
        log_config: Some(log_config(&spec.log)),
        sysctls: Some(spec.sysctls.clone().into_iter().collect()),
        ..HostConfig::default()
    };
    config.devices = Some(
        spec.devices
            .iter()
            .map(|device| DeviceMapping {
                path_on_host: Some(device.host_path.to_string_lossy().into_owned()),
                path_in_container: Some(device.container_path.to_string_lossy().into_owned()),
                cgroup_permissions: Some(device.permissions.clone()),
            })
            .collect(),
    );
    set_ports(&mut config, &spec.ports);
    set_mounts(&mut config, spec, root_id)?;
    set_resources(&mut config, &spec.resources)?;
    Ok(config)
}

fn non_empty(values: &[String]) -> Option<Vec<String>> {
    (!values.is_empty()).then(|| values.to_vec())
}

fn network_mode(spec: &ContainerSpec) -> String {
    if spec.network_disabled {
        return "none".to_owned();
    }
    match &spec.network {
        NetworkMode::Bridge => "default".to_owned(),
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Container(id) => format!("container:{id}"),
    }
}

fn volumes_from((id, read_only): &(String, bool)) -> String {
    format!("{id}:{}", if *read_only { "ro" } else { "rw" })
}

fn port_key(port: &PortBinding) -> String {
    format!("{}/{}", port.container_port, port.protocol)
}

fn set_ports(config: &mut HostConfig, ports: &[PortBinding]) {
    let mut bindings: BTreeMap<String, Option<Vec<DockerPortBinding>>> = BTreeMap::new();
    for port in ports {
        bindings.entry(port_key(port)).or_default().get_or_insert_default().push(DockerPortBinding {
            host_ip: port.host_ip.map(|ip| ip.to_string()),
            host_port: (port.host_port != 0).then(|| port.host_port.to_string()),
        });
    }
    config.port_bindings = Some(bindings.into_iter().collect());
}

fn set_mounts(config: &mut HostConfig, spec: &ContainerSpec, root_id: &str) -> RuntimeResult<()> {
    let mut binds = Vec::new();
    let mut mounts = Vec::new();
    let mut tmpfs = BTreeMap::new();
    for mount in &spec.mounts {
        match &mount.source {
            // A bind, not a mount object: only binds make a missing directory on the host.
            MountSource::Host(path) => {
                let path = path.to_string_lossy();
                if path.contains(':') || mount.target.contains(':') {
                    return Err(RuntimeError::Create(format!(
                        "Docker cannot mount {path} at {}: neither path may contain a colon",
                        mount.target
                    )));
                }
                let mode = if mount.read_only { "ro" } else { "rw" };
                binds.push(format!("{path}:{}:{mode}", mount.target));
            }
            MountSource::Volume(name) => mounts.push(DockerMount {
                typ: Some(MountType::VOLUME),
                source: Some(name.clone()),
                target: Some(mount.target.clone()),
                read_only: Some(mount.read_only),
                volume_options: Some(MountVolumeOptions {
                    labels: Some([(ROOT_LABEL.to_owned(), root_id.to_owned())].into()),
                    ..MountVolumeOptions::default()
                }),
                ..DockerMount::default()
            }),
            MountSource::Tmpfs(size, options) => {
                let mut options = options.clone();
                if *size > 0 {
                    options.push(format!("size={size}"));
                }
                if mount.read_only {
                    options.push("ro".to_owned());
                }
                tmpfs.insert(mount.target.clone(), options.join(","));
            }
        }
    }
    config.binds = Some(binds);
    config.mounts = Some(mounts);
    config.tmpfs = Some(tmpfs.into_iter().collect());
    Ok(())
}

fn set_resources(config: &mut HostConfig, resources: &Resources) -> RuntimeResult<()> {
    let memory = at_least(resources.memory_bytes, LEAST_MEMORY_BYTES);
    config.memory = limit("memory_bytes", memory)?;
    config.memory_reservation =
        limit("memory_reservation_bytes", at_least(resources.memory_reservation_bytes, LEAST_MEMORY_BYTES))?;
    config.memory_swap = match resources.memory_swap_bytes {
        0 => None,
        swap if swap < 0 => Some(-1),
        // Memory may have been raised above what the two were to be together.
        swap => Some(swap.max(config.memory.unwrap_or(0))),
    };
    config.memory_swappiness = resources.swappiness.map(|value| number("swappiness", value)).transpose()?;
    config.cpu_shares = limit("cpu_shares", at_least(resources.cpu_shares, LEAST_CPU_SHARES))?;
    config.cpu_quota = (resources.cpu_quota_us > 0).then_some(resources.cpu_quota_us);
    config.cpu_period = limit("cpu_period_us", resources.cpu_period_us)?;
    config.pids_limit = resources.pids_limit.filter(|most| *most > 0);
    config.shm_size = limit("shm_bytes", resources.shm_bytes)?;
    config.ulimits = Some(
        resources
            .ulimits
            .iter()
            .map(|(name, soft, hard)| ResourcesUlimits {
                name: Some(name.clone()),
                soft: Some(*soft),
                hard: Some(*hard),
            })
            .collect(),
    );
    Ok(())
}

/// `value`, raised to `least` unless it is 0, which means no limit.
fn at_least(value: u64, least: u64) -> u64 {
    if value == 0 { 0 } else { value.max(least) }
}

fn limit(name: &str, value: u64) -> RuntimeResult<Option<i64>> {
    if value == 0 { Ok(None) } else { number(name, value).map(Some) }
}

fn number(name: &str, value: u64) -> RuntimeResult<i64> {
    i64::try_from(value).map_err(|_| RuntimeError::Create(format!("{name} is {value}: the most is {}", i64::MAX)))
}

/// An image's own health check never counts (05-045), so without one in the specification it is off.
fn health_config(check: Option<&HealthCheck>) -> HealthConfig {
    let Some(check) = check else {
        return HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() };
    };
    let mut test = check.test.clone();
    if !matches!(test.first().map(String::as_str), Some("CMD" | "CMD-SHELL" | "NONE")) {
        test.insert(0, "CMD".to_owned());
    }
    let nanos = |duration: std::time::Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    HealthConfig {
        test: Some(test),
        interval: Some(nanos(check.interval)),
        timeout: Some(nanos(check.timeout)),
        retries: Some(i64::from(check.retries)),
        start_period: Some(nanos(check.start_period)),
        start_interval: None,
    }
}

fn log_config(log: &LogTarget) -> HostConfigLogConfig {
    let (driver, options): (&str, BTreeMap<String, String>) = match log {
        LogTarget::Capture => (
            "json-file",
            [("max-size", LOG_FILE_SIZE), ("max-file", "2")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        ),
        LogTarget::None => ("none", BTreeMap::new()),
        LogTarget::Driver(name, options) => (name, options.clone()),
    };
    HostConfigLogConfig { typ: Some(driver.to_owned()), config: Some(options.into_iter().collect()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mount;

    fn host_config_of(spec: &ContainerSpec) -> HostConfig {
        create_body(spec, "root").unwrap().host_config.unwrap()
    }

    #[test]
    fn memory_below_docker_s_least_is_raised_with_swap() {
        let resources = Resources { memory_bytes: 4 << 20, memory_swap_bytes: 5 << 20, ..Resources::default() };
        let config = host_config_of(&ContainerSpec { resources, ..ContainerSpec::default() });
        assert_eq!(config.memory, Some(6 << 20));
        assert_eq!(config.memory_swap, Some(6 << 20));
    }

    #[test]
    fn absent_limits_are_left_to_docker() {
        let config = host_config_of(&ContainerSpec::default());
        assert_eq!((config.memory, config.cpu_shares, config.memory_swap, config.pids_limit), (None, None, None, None));
    }

    #[test]
    fn a_health_check_without_a_form_is_an_executable() {
        let check = HealthCheck { test: vec!["true".to_owned()], ..HealthCheck::default() };
        assert_eq!(health_config(Some(&check)).test.unwrap(), ["CMD", "true"]);
    }

    #[test]
    fn a_colon_in_a_mounted_path_is_refused() {
        let mount = Mount { source: MountSource::Host("/a:b".into()), target: "/c".to_owned(), read_only: false };
        let error =
            create_body(&ContainerSpec { mounts: vec![mount], ..ContainerSpec::default() }, "root").unwrap_err();
        assert!(error.to_string().contains("/a:b"));
    }
}
