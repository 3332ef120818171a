//! From the payload's container to the runtime's: Docker's names are read over the payload's own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use longshore_protocol::docker::{Config, DockerConfig, Healthcheck, HostConfig};
use longshore_protocol::task::{Container, ContainerOverrides, PortMapping, Task, Volume};
use longshore_runtime::{
    ContainerSpec, Device, HealthCheck, LogTarget, Mount, MountSource, NetworkMode, PortBinding, Protocol, Resources,
    VolumeSpec,
};

use super::graph::AWSVPC;
use crate::labels;
use crate::logs::LogDestination;

/// Docker takes no smaller hard limit.
const LEAST_MEMORY_MIB: i64 = 4;

/// A container's settings, read and checked, before the ids of other containers are known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    /// Everything but links and taken-over volumes.
    pub spec: ContainerSpec,
    /// (container name, alias).
    pub links: Vec<(String, String)>,
    /// (container name, read-only).
    pub volumes_from: Vec<(String, bool)>,
    /// Where the agent ships its output.
    pub logs: Option<LogDestination>,
    /// Ports reported without asking the runtime: those of host mode.
    pub host_ports: Vec<PortBinding>,
}

/// Why a container can't be made from its settings: `<Name>: <text>`, as reported.
pub(crate) type Reason = String;

/// Checks what the real agent checks before it takes a task at all.
///
/// # Errors
/// The words for the task's reason.
pub(crate) fn check_task(task: &Task) -> Result<(), String> {
    match task.desired_status.as_str() {
        "NONE" | "MANIFEST_PULLED" | "CREATED" | "RUNNING" | "STOPPED" => {}
        other => return Err(format!("unrecognized desired status {other:?}")),
    }
    for container in &task.containers {
        overrides(container)?;
        for mapping in &container.port_mappings {
            protocol(mapping)?;
        }
    }
    for volume in &task.volumes {
        match (volume.kind.as_str(), &volume.host) {
            ("" | "host", None) => return Err(format!("volume {:?} has no host configuration", volume.name)),
            ("" | "host", Some(_)) | ("docker" | "efs", _) => {}
            (other, _) => return Err(format!("volume {:?} has the unknown type {other:?}", volume.name)),
        }
    }
    if let Some(limit) = task.memory.filter(|limit| *limit > 0)
        && let Some(over) = task.containers.iter().find(|container| container.memory.unwrap_or(0) > limit)
    {
        return Err(format!("container {:?} has more memory than its task's {limit} MiB", over.name));
    }
    if task.pid_mode == "task" || task.ipc_mode == "task" {
        return Err("pidMode and ipcMode task are not provided on this container instance".to_owned());
    }
    Ok(())
}

fn overrides(container: &Container) -> Result<ContainerOverrides, String> {
    let Some(text) = container.overrides.as_ref().map(|text| text.0.as_str()).filter(|text| !text.is_empty()) else {
        return Ok(ContainerOverrides::default());
    };
    let members: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|error| format!("overrides of container {:?}: {error}", container.name))?;
    if let Some(name) = members.keys().find(|name| !name.eq_ignore_ascii_case("command")) {
        return Err(format!("overrides of container {:?} hold {name:?}; only command is known", container.name));
    }
    serde_json::from_str(text).map_err(|error| format!("overrides of container {:?}: {error}", container.name))
}

fn protocol(mapping: &PortMapping) -> Result<Protocol, String> {
    match mapping.protocol.as_str() {
        "" | "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        other => Err(format!("unrecognized transport protocol {other:?}")),
    }
}

/// Memory that a container takes of the books, MiB: its reservation when it has one, else its limit.
pub(crate) fn booked_memory(container: &Container) -> i64 {
    let host_config = container.docker_config.as_ref().and_then(|texts| texts.host_config().ok()).unwrap_or_default();
    match host_config.memory_reservation >> 20 {
        0 => container.memory.unwrap_or(0),
        reserved => reserved,
    }
}

/// Volumes that live as long as the task.
pub(crate) fn task_volumes(task: &Task) -> Vec<VolumeSpec> {
    let labels = labels::of_volume(task);
    let mut volumes = Vec::new();
    for volume in &task.volumes {
        match (&volume.host, &volume.docker_volume_configuration) {
            (_, Some(docker)) if docker.scope != "shared" => volumes.push(VolumeSpec {
                name: task_volume_name(task, volume),
                driver: docker.driver.clone(),
                driver_opts: docker.driver_opts.clone(),
                labels: labels.iter().chain(&docker.labels).map(|(k, v)| (k.clone(), v.clone())).collect(),
            }),
            (Some(host), None) if host.source_path.is_empty() => volumes.push(VolumeSpec {
                name: task_volume_name(task, volume),
                labels: labels.clone(),
                ..VolumeSpec::default()
            }),
            _ => {}
        }
    }
    volumes
}

/// Shared volumes that have to be made when they are not there.
pub(crate) fn shared_volumes(task: &Task) -> Vec<VolumeSpec> {
    let configured =
        task.volumes.iter().filter_map(|volume| Some((volume, volume.docker_volume_configuration.as_ref()?)));
    configured
        .filter(|(_, docker)| docker.scope == "shared" && docker.autoprovision)
        .map(|(volume, docker)| VolumeSpec {
            name: volume.name.clone(),
            driver: docker.driver.clone(),
            driver_opts: docker.driver_opts.clone(),
            labels: docker.labels.clone(),
        })
        .collect()
}

fn task_volume_name(task: &Task, volume: &Volume) -> String {
    labels::unique_name(task, &volume.name)
}

/// Reads a container's settings.
///
/// # Errors
/// The reason with which the container fails.
pub(crate) fn settings(task: &Task, index: usize, cluster: &str) -> Result<Settings, Reason> {
    // A task of Fargate may be of another cluster than the container instance.
    let cluster = task.task_cluster_arn.rsplit_once('/').map_or(cluster, |(_, name)| name);
    let container = &task.containers[index];
    let none = DockerConfig::default();
    let texts = container.docker_config.as_ref().unwrap_or(&none);
    let config = texts.config().map_err(|error| format!("DockerClientConfigError: {error}"))?;
    let host_config = texts.host_config().map_err(|error| format!("HostConfigError: {error}"))?;
    if container.health_check_type == "docker" && config.healthcheck.is_none() {
        return Err("DockerClientConfigError: docker health check is nil while container health check type is DOCKER"
            .to_owned());
    }
    if let Some(what) = missing_feature(task, container) {
        return Err(format!("CannotCreateContainerError: {what} are not provided on this container instance"));
    }
    let network = network(&host_config, &config)?;
    let ports = if task.network_mode == AWSVPC { Vec::new() } else { ports(container, &network)? };
    let logs = LogDestination::of(task, container, host_config.log_config.as_ref(), cluster);
    let command = overrides(container).ok().and_then(|overrides| overrides.command);
    let mut spec = ContainerSpec {
        name: labels::unique_name(task, &container.name),
        task_id: task.id().to_owned(),
        image: container.image.clone(),
        labels: config.labels.clone(),
        entrypoint: config.entrypoint.clone().or_else(|| container.entry_point.clone()).filter(|list| !list.is_empty()),
        command: config.cmd.clone().or(command).or_else(|| container.command.clone()).filter(|list| !list.is_empty()),
        environment: environment(container, &config),
        working_dir: given(&config.working_dir),
        user: given(&config.user),
        hostname: given(&config.hostname),
        tty: config.tty,
        open_stdin: config.open_stdin,
        resources: resources(task, container, &host_config),
        privileged: host_config.privileged,
        readonly_rootfs: host_config.readonly_rootfs,
        cap_add: host_config.cap_add.clone(),
        cap_drop: host_config.cap_drop.clone(),
        security_opt: host_config.security_opt.clone(),
        init: host_config.init.unwrap_or(false),
        devices: devices(&host_config),
        sysctls: host_config.sysctls.clone(),
        dns: host_config.dns.clone(),
        dns_search: host_config.dns_search.clone(),
        extra_hosts: extra_hosts(&host_config),
        network_disabled: config.network_disabled,
        mounts: mounts(task, container, &host_config)?,
        pid_mode: given(&host_config.pid_mode).or_else(|| given(&task.pid_mode)),
        ipc_mode: given(&host_config.ipc_mode).or_else(|| given(&task.ipc_mode)),
        health_check: config.healthcheck.as_ref().map(health_check),
        log: log_target(&host_config, logs.is_some()),
        stop_signal: given(&config.stop_signal),
        ..ContainerSpec::default()
    };
    let host_ports = if network == NetworkMode::Host { ports.clone() } else { Vec::new() };
    if network == NetworkMode::Bridge {
        spec.ports = ports;
    }
    spec.network = network;
    spec.labels.extend(labels::of_container(task, index, cluster));
    let split = |link: &String| match link.split_once(':') {
        Some((name, alias)) => (name.to_owned(), alias.to_owned()),
        None => (link.clone(), link.clone()),
    };
    let volumes_from = container.volumes_from.iter().map(|from| (from.source_container.clone(), from.read_only));
    Ok(Settings {
        spec,
        links: container.links.iter().map(split).collect(),
        volumes_from: volumes_from.collect(),
        logs,
        host_ports,
    })
}

/// What the container asks for and would silently have to do without.
fn missing_feature(task: &Task, container: &Container) -> Option<&'static str> {
    let gpu = task.associations.iter().any(|association| association.containers.contains(&container.name));
    [
        (!container.secrets.is_empty(), "secrets"),
        (!container.environment_files.is_empty(), "environment files"),
        (container.firelens_configuration.is_some(), "FireLens log routers"),
        (!container.credential_specs.is_empty(), "credential specifications"),
        (gpu, "accelerators"),
    ]
    .into_iter()
    .find_map(|(asked, what)| asked.then_some(what))
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn environment(container: &Container, config: &Config) -> BTreeMap<String, String> {
    let mut environment = container.environment.clone();
    for entry in &config.env {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        environment.insert(name.to_owned(), value.to_owned());
    }
    environment
}

fn network(host_config: &HostConfig, config: &Config) -> Result<NetworkMode, Reason> {
    if config.network_disabled {
        return Ok(NetworkMode::None);
    }
    match host_config.network_mode.as_str() {
        "" | "default" | "bridge" => Ok(NetworkMode::Bridge),
        "host" => Ok(NetworkMode::Host),
        "none" => Ok(NetworkMode::None),
        other => match other.strip_prefix("container:") {
            Some(id) => Ok(NetworkMode::Container(id.to_owned())),
            None => Err(format!("HostConfigError: the network mode {other:?} is not known")),
        },
    }
}

fn ports(container: &Container, network: &NetworkMode) -> Result<Vec<PortBinding>, Reason> {
    let mut ports = Vec::new();
    for mapping in &container.port_mappings {
        let protocol = protocol(mapping).map_err(|error| format!("HostConfigError: {error}"))?;
        if !mapping.container_port_range.is_empty() {
            return Err(format!(
                "HostConfigError: the port range {} can not be published on this container instance",
                mapping.container_port_range
            ));
        }
        let host_port = if *network == NetworkMode::Host { mapping.container_port } else { mapping.host_port };
        ports.push(PortBinding { container_port: mapping.container_port, host_port, protocol, host_ip: None });
    }
    Ok(ports)
}

fn resources(task: &Task, container: &Container, host_config: &HostConfig) -> Resources {
    let whole = |value: i64| u64::try_from(value).unwrap_or(0);
    let shares = if host_config.cpu_shares > 0 { host_config.cpu_shares } else { container.cpu.unwrap_or(0) };
    let memory_mib = match container.memory.unwrap_or(0) {
        0 => task.memory.unwrap_or(0),
        limit => limit,
    };
    let memory = match host_config.memory {
        0 if memory_mib > 0 => memory_mib.max(LEAST_MEMORY_MIB).saturating_mul(1 << 20),
        limit => limit,
    };
    let mut resources = Resources {
        cpu_shares: whole(shares.clamp(2, 262_144)),
        cpu_quota_us: host_config.cpu_quota,
        cpu_period_us: whole(host_config.cpu_period),
        memory_bytes: whole(memory),
        memory_reservation_bytes: whole(host_config.memory_reservation),
        memory_swap_bytes: host_config.memory_swap,
        swappiness: host_config.memory_swappiness.and_then(|value| u64::try_from(value).ok()),
        pids_limit: host_config.pids_limit,
        shm_bytes: whole(host_config.shm_size),
        ulimits: host_config.ulimits.iter().map(|limit| (limit.name.clone(), limit.soft, limit.hard)).collect(),
    };
    if let Some(cpu) = task.cpu.filter(|cpu| *cpu > 0.0)
        && resources.cpu_quota_us == 0
    {
        resources.cpu_period_us = 100_000;
        // At most a few thousand cores: far inside the type.
        #[expect(clippy::cast_possible_truncation, reason = "bounded above by the line before it is used")]
        let quota = (cpu.min(10_000.0) * 100_000.0) as i64;
        resources.cpu_quota_us = quota.max(1000);
    }
    resources
}

fn devices(host_config: &HostConfig) -> Vec<Device> {
    let mapped = host_config.devices.iter().map(|device| Device {
        host_path: PathBuf::from(&device.path_on_host),
        container_path: PathBuf::from(given(&device.path_in_container).unwrap_or_else(|| device.path_on_host.clone())),
        permissions: given(&device.cgroup_permissions).unwrap_or_else(|| "rwm".to_owned()),
    });
    mapped.collect()
}

fn extra_hosts(host_config: &HostConfig) -> Vec<(String, String)> {
    let split = |entry: &String| entry.split_once(':').map(|(name, ip)| (name.to_owned(), ip.to_owned()));
    host_config.extra_hosts.iter().filter_map(split).collect()
}

fn mounts(task: &Task, container: &Container, host_config: &HostConfig) -> Result<Vec<Mount>, Reason> {
    let mut mounts = Vec::new();
    for point in &container.mount_points {
        let volume = task.volumes.iter().find(|volume| volume.name == point.source_volume).ok_or_else(|| {
            format!(
                "InvalidVolumeError: container {} mounts the unknown volume {:?}",
                container.name, point.source_volume
            )
        })?;
        let source = match (&volume.host, &volume.docker_volume_configuration) {
            (_, Some(docker)) if docker.scope == "shared" => MountSource::Volume(volume.name.clone()),
            (Some(host), None) if !host.source_path.is_empty() => MountSource::Host(PathBuf::from(&host.source_path)),
            (Some(_), None) | (_, Some(_)) => MountSource::Volume(task_volume_name(task, volume)),
            (None, None) => {
                return Err(format!(
                    "InvalidVolumeError: volume {:?} has a type that is not provided on this container instance",
                    volume.name
                ));
            }
        };
        mounts.push(Mount { source, target: point.container_path.clone(), read_only: point.read_only });
    }
    for bind in &host_config.binds {
        let mut parts = bind.split(':');
        let (Some(source), Some(target)) = (parts.next(), parts.next()) else {
            return Err(format!("HostConfigError: the bind {bind:?} has no target"));
        };
        let source = match source.starts_with('/') {
            true => MountSource::Host(PathBuf::from(source)),
            false => MountSource::Volume(source.to_owned()),
        };
        let read_only = parts.any(|options| options.split(',').any(|option| option == "ro"));
        mounts.push(Mount { source, target: target.to_owned(), read_only });
    }
    for (path, options) in &host_config.tmpfs {
        let (sizes, rest): (Vec<&str>, Vec<&str>) =
            options.split(',').filter(|option| !option.is_empty()).partition(|option| option.starts_with("size="));
        let size = sizes.first().map_or(Some(0), |size| bytes(&size["size=".len()..]));
        let size =
            size.ok_or_else(|| format!("HostConfigError: the tmpfs {path} has the unreadable size in {options:?}"))?;
        let options = rest.into_iter().map(str::to_owned).collect();
        mounts.push(Mount { source: MountSource::Tmpfs(size, options), target: path.clone(), read_only: false });
    }
    Ok(mounts)
}

/// `64m` → 67108864.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

fn health_check(check: &Healthcheck) -> HealthCheck {
    let time = |nanos: i64, default: u64| match u64::try_from(nanos).unwrap_or(0) {
        0 => Duration::from_secs(default),
        nanos => Duration::from_nanos(nanos),
    };
    let test = match check.test.first().map(String::as_str) {
        Some("CMD" | "CMD-SHELL" | "NONE") | None => check.test.clone(),
        Some(_) => std::iter::once("CMD".to_owned()).chain(check.test.iter().cloned()).collect(),
    };
    HealthCheck {
        test,
        interval: time(check.interval, 30),
        timeout: time(check.timeout, 30),
        retries: u32::try_from(check.retries).ok().filter(|retries| *retries > 0).unwrap_or(3),
        start_period: time(check.start_period, 0),
    }
}

fn log_target(host_config: &HostConfig, shipped: bool) -> LogTarget {
    match &host_config.log_config {
        Some(log) if log.kind == "none" => LogTarget::None,
        Some(log) if !shipped => LogTarget::Driver(log.kind.clone(), log.config.clone()),
        _ => LogTarget::Capture,
    }
}

/// The address a binding is reported with.
pub(crate) fn bind_ip(binding: &PortBinding) -> String {
    binding.host_ip.map_or_else(|| "0.0.0.0".to_owned(), |ip: IpAddr| ip.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_protocol::docker::{DeviceMapping, LogConfig, Ulimit};
    use longshore_protocol::task::{DockerVolumeConfiguration, HostVolume, MountPoint};

    fn task_with(container: Container) -> Task {
        Task {
            arn: "arn:aws:ecs:r:000000000000:task/demo/21f1fc998c994086bc954725551ffc9d".into(),
            family: "web".into(),
            version: "3".into(),
            desired_status: "RUNNING".into(),
            containers: vec![Container { name: "main".into(), image: "i".into(), ..container }],
            ..Task::default()
        }
    }

    fn with_host_config(host_config: HostConfig) -> Task {
        let texts = DockerConfig::new(&Config::default(), &host_config, None);
        task_with(Container { docker_config: Some(texts), ..Container::default() })
    }

    // spec: 05-061
    #[test]
    fn cpu_below_2_becomes_2_shares() {
        for (cpu, shares) in [(None, 2), (Some(0), 2), (Some(1), 2), (Some(64), 64), (Some(1 << 30), 262_144)] {
            let task = task_with(Container { cpu, ..Container::default() });
            assert_eq!(settings(&task, 0, "demo").unwrap().spec.resources.cpu_shares, shares, "{cpu:?}");
        }
    }

    #[test]
    fn memory_is_a_hard_limit_of_at_least_4_mib() {
        for (mib, bytes) in [(None, 0), (Some(1), 4 << 20), (Some(32), 32 << 20)] {
            let task = task_with(Container { memory: mib, ..Container::default() });
            assert_eq!(settings(&task, 0, "demo").unwrap().spec.resources.memory_bytes, bytes, "{mib:?}");
        }
    }

    #[test]
    fn dockers_names_win_over_the_payloads() {
        let config = Config {
            cmd: Some(vec!["config".into()]),
            env: vec!["A=config".into()],
            user: "app".into(),
            ..Config::default()
        };
        let host_config = HostConfig {
            memory: 64 << 20,
            ulimits: vec![Ulimit { name: "nofile".into(), soft: 1, hard: 2 }],
            devices: vec![DeviceMapping { path_on_host: "/dev/fuse".into(), ..DeviceMapping::default() }],
            tmpfs: [("/scratch".to_owned(), "size=64m,noexec".to_owned())].into(),
            extra_hosts: vec!["db:10.0.0.1".into()],
            ..HostConfig::default()
        };
        let task = task_with(Container {
            command: Some(vec!["payload".into()]),
            memory: Some(32),
            environment: [("A".to_owned(), "payload".to_owned()), ("B".to_owned(), "b".to_owned())].into(),
            docker_config: Some(DockerConfig::new(&config, &host_config, None)),
            ..Container::default()
        });
        let spec = settings(&task, 0, "demo").unwrap().spec;
        assert_eq!(spec.command, Some(vec!["config".to_owned()]));
        assert_eq!(spec.environment, [("A".to_owned(), "config".to_owned()), ("B".to_owned(), "b".to_owned())].into());
        assert_eq!((spec.resources.memory_bytes, spec.user.as_deref()), (64 << 20, Some("app")));
        assert_eq!(spec.resources.ulimits, [("nofile".to_owned(), 1, 2)]);
        assert_eq!(spec.devices[0].container_path, PathBuf::from("/dev/fuse"));
        assert_eq!(spec.mounts[0].source, MountSource::Tmpfs(64 << 20, vec!["noexec".to_owned()]));
        assert_eq!(spec.extra_hosts, [("db".to_owned(), "10.0.0.1".to_owned())]);
    }

    #[test]
    fn a_commands_override_replaces_it_and_anything_else_refuses_the_task() {
        let overridden = |text: &str| {
            let overrides = Some(longshore_protocol::JsonText(text.to_owned()));
            task_with(Container { command: Some(vec!["a".into()]), overrides, ..Container::default() })
        };
        let spec = settings(&overridden(r#"{"command":["b"]}"#), 0, "demo").unwrap().spec;
        assert_eq!(spec.command, Some(vec!["b".to_owned()]));
        assert!(check_task(&overridden("{}")).is_ok());
        assert!(check_task(&overridden(r#"{"cpu":3}"#)).unwrap_err().contains("cpu"));
    }

    // spec: 13-033, 13-034, 05-104
    #[test]
    fn containers_carry_the_standard_labels_over_the_users() {
        let config = Config {
            labels: [("com.amazonaws.ecs.cluster".to_owned(), "mine".to_owned()), ("k".to_owned(), "v".to_owned())]
                .into(),
            ..Config::default()
        };
        let texts = DockerConfig::new(&config, &HostConfig::default(), None);
        let task = task_with(Container { docker_config: Some(texts), ..Container::default() });
        let spec = settings(&task, 0, "demo").unwrap().spec;
        assert_eq!(spec.labels["com.amazonaws.ecs.cluster"], "demo");
        assert_eq!(spec.labels["com.amazonaws.ecs.container-name"], "main");
        assert_eq!(spec.labels["com.amazonaws.ecs.task-arn"], task.arn);
        assert_eq!(spec.labels["com.amazonaws.ecs.task-definition-family"], "web");
        assert_eq!(spec.labels["com.amazonaws.ecs.task-definition-version"], "3");
        assert_eq!(spec.labels["k"], "v");
        let hex = spec.name.strip_prefix("ecs-web-3-main-").unwrap();
        assert!(hex.len() == 20 && hex.bytes().all(|digit| digit.is_ascii_hexdigit()), "{hex}");
    }

    #[test]
    fn volumes_become_mounts() {
        let mut task = task_with(Container {
            mount_points: vec![
                MountPoint { source_volume: "host".into(), container_path: "/h".into(), read_only: true },
                MountPoint { source_volume: "task".into(), container_path: "/t".into(), read_only: false },
                MountPoint { source_volume: "shared".into(), container_path: "/s".into(), read_only: false },
            ],
            ..Container::default()
        });
        task.volumes = vec![
            Volume { name: "host".into(), host: Some(HostVolume { source_path: "/srv".into() }), ..Volume::default() },
            Volume { name: "task".into(), host: Some(HostVolume::default()), ..Volume::default() },
            Volume {
                name: "shared".into(),
                kind: "docker".into(),
                docker_volume_configuration: Some(DockerVolumeConfiguration {
                    scope: "shared".into(),
                    autoprovision: true,
                    ..DockerVolumeConfiguration::default()
                }),
                ..Volume::default()
            },
        ];
        let mounts = settings(&task, 0, "demo").unwrap().spec.mounts;
        assert_eq!(mounts[0].source, MountSource::Host("/srv".into()));
        assert!(mounts[0].read_only);
        assert_eq!(mounts[1].source, MountSource::Volume(task_volumes(&task)[0].name.clone()));
        assert_eq!(mounts[2].source, MountSource::Volume("shared".into()));
        assert_eq!(shared_volumes(&task)[0].name, "shared");
        task.volumes.clear();
        assert!(settings(&task, 0, "demo").unwrap_err().starts_with("InvalidVolumeError: "));
    }

    #[test]
    fn a_container_is_not_run_without_what_it_asks_for() {
        let secret = longshore_protocol::task::Secret { name: "TOKEN".into(), ..Default::default() };
        let task = task_with(Container { secrets: vec![secret], ..Container::default() });
        let words = settings(&task, 0, "demo").unwrap_err();
        assert_eq!(words, "CannotCreateContainerError: secrets are not provided on this container instance");
    }

    #[test]
    fn bad_docker_texts_fail_the_container_by_name() {
        let bad = |config: Option<&str>, host_config: Option<&str>| {
            let texts = DockerConfig {
                config: config.map(str::to_owned),
                host_config: host_config.map(str::to_owned),
                version: None,
            };
            settings(&task_with(Container { docker_config: Some(texts), ..Container::default() }), 0, "c").unwrap_err()
        };
        assert!(bad(Some("{"), None).starts_with("DockerClientConfigError: "));
        assert!(bad(None, Some("{")).starts_with("HostConfigError: "));
    }

    #[test]
    fn host_mode_publishes_nothing_and_reports_the_ports() {
        let mut task = with_host_config(HostConfig { network_mode: "host".into(), ..HostConfig::default() });
        task.containers[0].port_mappings = vec![PortMapping { container_port: 80, ..PortMapping::default() }];
        let settings = settings(&task, 0, "demo").unwrap();
        assert!(settings.spec.ports.is_empty());
        assert_eq!((settings.host_ports[0].host_port, settings.spec.network), (80, NetworkMode::Host));
    }

    // spec: 05-051
    #[test]
    fn a_health_check_without_a_form_is_an_exec_form() {
        let check = Healthcheck { test: vec!["true".into()], interval: 5_000_000_000, ..Healthcheck::default() };
        let read = health_check(&check);
        assert_eq!(read.test, ["CMD", "true"]);
        assert_eq!((read.interval, read.timeout, read.retries), (Duration::from_secs(5), Duration::from_secs(30), 3));
    }

    #[test]
    fn log_drivers_go_to_capture_nowhere_or_the_engine() {
        let target = |kind: &str| {
            let log = LogConfig { kind: kind.into(), config: BTreeMap::new() };
            let task = with_host_config(HostConfig { log_config: Some(log), ..HostConfig::default() });
            settings(&task, 0, "demo").unwrap().spec.log
        };
        assert_eq!(target("awslogs"), LogTarget::Capture);
        assert_eq!(target("json-file"), LogTarget::Capture);
        assert_eq!(target("none"), LogTarget::None);
        assert!(matches!(target("syslog"), LogTarget::Driver(name, _) if name == "syslog"));
    }
}
