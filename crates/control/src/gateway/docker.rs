//! The container settings that travel as Docker's own JSON.

use std::collections::BTreeMap;

use longshore_api::ecs::{ContainerDefinition, DeviceCgroupPermission, LinuxParameters, NetworkMode};
use longshore_protocol::docker::{Config, DeviceMapping, DockerConfig, Healthcheck, HostConfig, LogConfig, Ulimit};

const MIB: i64 = 1 << 20;
const SECOND_NS: i64 = 1_000_000_000;

/// Limits of open files that Fargate sets when a definition has none of its own (guide chapter 2).
const FARGATE_FILES: (i64, i64) = (1024, 4096);

/// As [`docker_config`], with what Fargate adds.
pub(super) fn docker_config_on_fargate(
    definition: &ContainerDefinition,
    mode: Option<&NetworkMode>,
    api: Option<&str>,
) -> DockerConfig {
    let mut host = host_config(definition, mode);
    if !host.ulimits.iter().any(|limit| limit.name == "nofile") {
        host.ulimits.push(Ulimit { name: "nofile".to_owned(), soft: FARGATE_FILES.0, hard: FARGATE_FILES.1 });
    }
    DockerConfig::new(&config(definition), &host, api)
}

/// Builds `dockerConfig`. `api` is the Docker API version the container is to be made with.
pub(super) fn docker_config(
    definition: &ContainerDefinition,
    mode: Option<&NetworkMode>,
    api: Option<&str>,
) -> DockerConfig {
    DockerConfig::new(&config(definition), &host_config(definition, mode), api)
}

fn text(value: Option<&String>) -> String {
    value.cloned().unwrap_or_default()
}

fn config(definition: &ContainerDefinition) -> Config {
    Config {
        hostname: text(definition.hostname.as_ref()),
        user: text(definition.user.as_ref()),
        working_dir: text(definition.working_directory.as_ref()),
        tty: definition.pseudo_terminal.unwrap_or(false),
        open_stdin: definition.interactive.unwrap_or(false),
        network_disabled: definition.disable_networking.unwrap_or(false),
        labels: definition.docker_labels.clone().unwrap_or_default(),
        healthcheck: healthcheck(definition),
        ..Config::default()
    }
}

fn healthcheck(definition: &ContainerDefinition) -> Option<Healthcheck> {
    let check = definition.health_check.as_ref()?;
    let seconds = |value: Option<i32>| i64::from(value.unwrap_or(0)) * SECOND_NS;
    Some(Healthcheck {
        test: check.command.clone().unwrap_or_default(),
        interval: seconds(check.interval),
        timeout: seconds(check.timeout),
        retries: i64::from(check.retries.unwrap_or(0)),
        start_period: seconds(check.start_period),
    })
}

fn host_config(definition: &ContainerDefinition, mode: Option<&NetworkMode>) -> HostConfig {
    let mut host = HostConfig {
        network_mode: match mode {
            None | Some(NetworkMode::Bridge) => "bridge".to_owned(),
            // The agent joins the containers to the task's own network.
            Some(NetworkMode::Awsvpc) => String::new(),
            Some(other) => other.as_str().to_owned(),
        },
        memory_reservation: i64::from(definition.memory_reservation.unwrap_or(0)) * MIB,
        log_config: definition.log_configuration.as_ref().map(|log| LogConfig {
            kind: log.log_driver.as_ref().map_or_else(String::new, |driver| driver.as_str().to_owned()),
            config: log.options.clone().unwrap_or_default(),
        }),
        privileged: definition.privileged.unwrap_or(false),
        readonly_rootfs: definition.readonly_root_filesystem.unwrap_or(false),
        ulimits: ulimits(definition),
        sysctls: sysctls(definition),
        dns: definition.dns_servers.clone().unwrap_or_default(),
        dns_search: definition.dns_search_domains.clone().unwrap_or_default(),
        extra_hosts: extra_hosts(definition),
        security_opt: definition.docker_security_options.clone().unwrap_or_default(),
        ..HostConfig::default()
    };
    if let Some(linux) = &definition.linux_parameters {
        apply_linux(&mut host, linux, definition.memory);
    }
    host
}

fn ulimits(definition: &ContainerDefinition) -> Vec<Ulimit> {
    let ulimits = definition.ulimits.iter().flatten();
    let ulimits = ulimits.map(|ulimit| Ulimit {
        name: ulimit.name.as_ref().map_or_else(String::new, |name| name.as_str().to_owned()),
        soft: i64::from(ulimit.soft_limit.unwrap_or(0)),
        hard: i64::from(ulimit.hard_limit.unwrap_or(0)),
    });
    ulimits.collect()
}

fn sysctls(definition: &ContainerDefinition) -> BTreeMap<String, String> {
    let controls = definition.system_controls.iter().flatten();
    controls.filter_map(|control| Some((control.namespace.clone()?, text(control.value.as_ref())))).collect()
}

fn extra_hosts(definition: &ContainerDefinition) -> Vec<String> {
    let entries = definition.extra_hosts.iter().flatten();
    entries.map(|entry| format!("{}:{}", text(entry.hostname.as_ref()), text(entry.ip_address.as_ref()))).collect()
}

fn apply_linux(host: &mut HostConfig, linux: &LinuxParameters, memory_mib: Option<i32>) {
    if let Some(capabilities) = &linux.capabilities {
        host.cap_add = capabilities.add.clone().unwrap_or_default();
        host.cap_drop = capabilities.drop.clone().unwrap_or_default();
    }
    host.init = linux.init_process_enabled;
    host.shm_size = i64::from(linux.shared_memory_size.unwrap_or(0)) * MIB;
    for mount in linux.tmpfs.iter().flatten() {
        let mut options = vec![format!("size={}m", mount.size.unwrap_or(0))];
        options.extend(mount.mount_options.iter().flatten().cloned());
        host.tmpfs.insert(text(mount.container_path.as_ref()), options.join(","));
    }
    for device in linux.devices.iter().flatten() {
        let path = text(device.host_path.as_ref());
        host.devices.push(DeviceMapping {
            path_in_container: device.container_path.clone().unwrap_or_else(|| path.clone()),
            path_on_host: path,
            cgroup_permissions: permissions(device.permissions.as_deref().unwrap_or_default()),
        });
    }
    // Docker counts memory and swap together; swappiness means nothing without a swap limit.
    if let (Some(swap), Some(memory)) = (linux.max_swap, memory_mib) {
        host.memory_swap = (i64::from(memory) + i64::from(swap)) * MIB;
        host.memory_swappiness = linux.swappiness.map(i64::from);
    }
}

/// All of them when none is named.
fn permissions(named: &[DeviceCgroupPermission]) -> String {
    if named.is_empty() {
        return "rwm".to_owned();
    }
    let letters = [
        (DeviceCgroupPermission::Read, 'r'),
        (DeviceCgroupPermission::Write, 'w'),
        (DeviceCgroupPermission::Mknod, 'm'),
    ];
    letters.iter().filter(|(permission, _)| named.contains(permission)).map(|(_, letter)| letter).collect()
}

#[cfg(test)]
mod tests {
    use longshore_api::ecs::{Device, HealthCheck, KernelCapabilities, LogConfiguration, LogDriver, Tmpfs};

    use super::*;

    fn host(definition: &ContainerDefinition, mode: Option<NetworkMode>) -> HostConfig {
        docker_config(definition, mode.as_ref(), None).host_config().unwrap()
    }

    // spec: 02-025, 02-026
    #[test]
    fn fargate_limits_open_files_unless_the_definition_does() {
        let limits = |definition: &ContainerDefinition| {
            let host = docker_config_on_fargate(definition, Some(&NetworkMode::Awsvpc), None).host_config().unwrap();
            host.ulimits.iter().map(|limit| (limit.name.clone(), limit.soft, limit.hard)).collect::<Vec<_>>()
        };
        assert_eq!(limits(&ContainerDefinition::default()), [("nofile".to_owned(), 1024, 4096)]);
        let own = longshore_api::ecs::Ulimit {
            name: Some(longshore_api::ecs::UlimitName::Nofile),
            soft_limit: Some(2048),
            hard_limit: Some(8192),
        };
        let definition = ContainerDefinition { ulimits: Some(vec![own]), ..ContainerDefinition::default() };
        assert_eq!(limits(&definition), [("nofile".to_owned(), 2048, 8192)]);
    }

    #[test]
    fn the_network_mode_is_always_named() {
        let plain = ContainerDefinition::default();
        assert_eq!(host(&plain, None).network_mode, "bridge");
        assert_eq!(host(&plain, Some(NetworkMode::Host)).network_mode, "host");
        assert_eq!(host(&plain, Some(NetworkMode::None)).network_mode, "none");
    }

    // spec: 10-072, 10-073, 31-016, 10-074
    #[test]
    fn swap_is_counted_with_memory_and_swappiness_needs_it() {
        let with = |max_swap, swappiness| {
            let linux = LinuxParameters { max_swap, swappiness, ..LinuxParameters::default() };
            let definition = ContainerDefinition {
                memory: Some(100),
                linux_parameters: Some(linux),
                ..ContainerDefinition::default()
            };
            let host = host(&definition, None);
            (host.memory_swap / MIB, host.memory_swappiness)
        };
        assert_eq!(with(Some(50), Some(10)), (150, Some(10)));
        assert_eq!(with(Some(0), None), (100, None));
        // Nothing said: Docker's own, twice the memory.
        assert_eq!(with(None, None), (0, None));
        assert_eq!(with(None, Some(10)), (0, None));
    }

    #[test]
    fn settings_go_where_docker_reads_them() {
        let linux = LinuxParameters {
            capabilities: Some(KernelCapabilities { add: Some(vec!["SYS_ADMIN".into()]), drop: None }),
            devices: Some(vec![Device { host_path: Some("/dev/fuse".into()), ..Device::default() }]),
            shared_memory_size: Some(2),
            tmpfs: Some(vec![Tmpfs {
                container_path: Some("/t".into()),
                size: Some(16),
                mount_options: Some(vec!["noexec".into()]),
            }]),
            ..LinuxParameters::default()
        };
        let definition = ContainerDefinition {
            linux_parameters: Some(linux),
            memory_reservation: Some(32),
            log_configuration: Some(LogConfiguration {
                log_driver: Some(LogDriver::Awslogs),
                options: Some([("awslogs-group".to_owned(), "g".to_owned())].into()),
                secret_options: None,
            }),
            health_check: Some(HealthCheck {
                command: Some(vec!["CMD-SHELL".into(), "true".into()]),
                interval: Some(5),
                ..HealthCheck::default()
            }),
            ..ContainerDefinition::default()
        };
        let host = host(&definition, None);
        assert_eq!(host.cap_add, ["SYS_ADMIN"]);
        assert_eq!(host.devices[0].path_in_container, "/dev/fuse");
        assert_eq!(host.devices[0].cgroup_permissions, "rwm");
        assert_eq!((host.shm_size, host.memory_reservation), (2 * MIB, 32 * MIB));
        assert_eq!(host.tmpfs["/t"], "size=16m,noexec");
        assert_eq!(host.log_config.unwrap().kind, "awslogs");
        let check = docker_config(&definition, None, None).config().unwrap().healthcheck.unwrap();
        assert_eq!(check.interval, 5_000_000_000);
    }
}
