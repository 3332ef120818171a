//! A task as its agent is told: definition and overrides merged, in the agent's words.

use longshore_api::ecs::{self, ContainerDefinition, TransportProtocol};
use longshore_model::records::{ContainerInstanceRecord, TaskDefinitionRecord, TaskRecord};
use longshore_model::{Arn, Scope, task};
use longshore_protocol::JsonText;
use longshore_protocol::docker::DockerConfig;
use longshore_protocol::task::{
    AsmAuthData, Association, Container, Dependency, DockerVolumeConfiguration, EcrAuthData, EfsAuthorizationConfig,
    EfsVolumeConfiguration, EnvironmentFile, FirelensConfiguration, HostVolume, MountPoint, PortMapping,
    RegistryAuthentication, RestartPolicy, Secret, Task, Volume, VolumeFrom,
};

use super::docker::{docker_config, docker_config_on_fargate};

/// Attribute that says which Docker API version an agent's engine speaks.
const DOCKER_API: &str = "com.amazonaws.ecs.capability.docker-remote-api.";
/// The lowest version that knows every setting we send.
const DOCKER_API_NEEDED: (u32, u32) = (1, 25);

/// The message that stops a task: its name is enough, and credentials in it would replace newer ones.
pub(super) fn stop(scope: &Scope, cluster: &str, task: &TaskRecord) -> Task {
    Task {
        arn: scope.task_arn(cluster, task.id),
        task_cluster_arn: scope.cluster_arn(cluster),
        desired_status: "STOPPED".to_owned(),
        ..Task::default()
    }
}

/// The message that starts a task.
pub(super) fn start(
    scope: &Scope,
    cluster: &str,
    record: &TaskRecord,
    definition: &TaskDefinitionRecord,
    instance: &ContainerInstanceRecord,
) -> Task {
    let overrides = record.overrides.as_deref();
    let definition = &definition.definition;
    let containers = task::effective_containers(definition, overrides);
    let task_cpu = overrides.and_then(|it| it.cpu.as_deref()).or(definition.cpu.as_deref()).and_then(task::cpu_units);
    let task_memory = overrides.and_then(|it| it.memory.as_deref()).or(definition.memory.as_deref());
    let api = docker_api(instance);
    let context = Context { scope, cluster, record, definition, api: api.as_deref() };
    Task {
        arn: scope.task_arn(cluster, record.id),
        task_cluster_arn: scope.cluster_arn(cluster),
        desired_status: "RUNNING".to_owned(),
        family: record.family.clone(),
        version: record.revision.to_string(),
        containers: containers.iter().map(|container| context.container(container)).collect(),
        volumes: definition.volumes.iter().flatten().map(volume).collect(),
        #[expect(clippy::cast_precision_loss, reason = "CPU units are far below 2^53")]
        cpu: task_cpu.map(|units| units as f64 / 1024.0),
        memory: task_memory.and_then(task::memory_mib),
        network_mode: definition.network_mode.as_ref().map_or("bridge", |mode| mode.as_str()).to_owned(),
        pid_mode: definition.pid_mode.as_ref().map_or("", |mode| mode.as_str()).to_owned(),
        ipc_mode: definition.ipc_mode.as_ref().map_or("", |mode| mode.as_str()).to_owned(),
        associations: associations(record),
        launch_type: record.launch_type.as_str().to_owned(),
        service_name: record.group.strip_prefix("service:").unwrap_or("").to_owned(),
        group: record.group.clone(),
        enable_fault_injection: definition.enable_fault_injection.unwrap_or(false),
        overrides: JsonText("{}".to_owned()),
        task_definition_account_id: scope.account.clone(),
        ..Task::default()
    }
}

/// The lowest registered API version that is enough; none lets the agent choose.
fn docker_api(instance: &ContainerInstanceRecord) -> Option<String> {
    let versions = instance.attributes.iter().filter_map(|attribute| {
        let text = attribute.name.as_deref()?.strip_prefix(DOCKER_API)?;
        let (major, minor) = text.split_once('.')?;
        let version: (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
        (version >= DOCKER_API_NEEDED).then_some((version, text))
    });
    versions.min().map(|(_, text)| text.to_owned())
}

/// Which container gets which GPU.
fn associations(record: &TaskRecord) -> Vec<Association> {
    let given = record.containers.iter().flat_map(|container| {
        container.gpu_ids.iter().map(|gpu| Association {
            name: gpu.clone(),
            kind: "gpu".to_owned(),
            containers: vec![container.name.clone()],
        })
    });
    given.collect()
}

struct Context<'a> {
    scope: &'a Scope,
    cluster: &'a str,
    record: &'a TaskRecord,
    definition: &'a ecs::TaskDefinition,
    api: Option<&'a str>,
}

fn text(value: Option<&String>) -> String {
    value.cloned().unwrap_or_default()
}

impl Context<'_> {
    fn container(&self, definition: &ContainerDefinition) -> Container {
        let name = text(definition.name.as_ref());
        let known = self.record.containers.iter().find(|container| container.name == name);
        let id = known.map_or("", |container| container.id.as_str());
        let environment = definition.environment.iter().flatten();
        Container {
            image: text(definition.image.as_ref()),
            cpu: Some(i64::from(definition.cpu.unwrap_or(0))),
            memory: Some(i64::from(definition.memory.unwrap_or(0))),
            essential: definition.essential.unwrap_or(true),
            command: definition.command.clone().filter(|command| !command.is_empty()),
            entry_point: definition.entry_point.clone().filter(|entry| !entry.is_empty()),
            environment: environment
                .filter_map(|variable| Some((variable.name.clone()?, text(variable.value.as_ref()))))
                .collect(),
            environment_files: environment_files(definition),
            secrets: self.secrets(definition),
            port_mappings: self.port_mappings(definition),
            mount_points: mount_points(definition),
            volumes_from: volumes_from(definition),
            links: definition.links.clone().unwrap_or_default(),
            depends_on: dependencies(definition),
            start_timeout: definition.start_timeout.map(i64::from),
            stop_timeout: definition.stop_timeout.map(i64::from),
            health_check_type: definition.health_check.as_ref().map_or("", |_| "docker").to_owned(),
            restart_policy: restart_policy(definition),
            registry_authentication: self.registry_authentication(definition),
            firelens_configuration: firelens(definition),
            credential_specs: definition.credential_specs.clone().unwrap_or_default(),
            container_arn: self.scope.container_arn(self.cluster, self.record.id, id),
            overrides: Some(JsonText("{}".to_owned())),
            docker_config: Some(self.docker_config(definition)),
            name,
            ..Container::default()
        }
    }

    fn docker_config(&self, definition: &ContainerDefinition) -> DockerConfig {
        let mode = self.definition.network_mode.as_ref();
        match self.record.launch_type {
            ecs::LaunchType::Fargate => docker_config_on_fargate(definition, mode, self.api),
            _ => docker_config(definition, mode, self.api),
        }
    }

    fn port_mappings(&self, definition: &ContainerDefinition) -> Vec<PortMapping> {
        let host_network = self.definition.network_mode == Some(ecs::NetworkMode::Host);
        let port = |port: Option<i32>| port.and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
        let mappings = definition.port_mappings.iter().flatten().map(|mapping| {
            let udp = mapping.protocol == Some(TransportProtocol::Udp);
            let fixed = port(mapping.host_port);
            PortMapping {
                container_port: port(mapping.container_port),
                host_port: if host_network && fixed == 0 { port(mapping.container_port) } else { fixed },
                container_port_range: text(mapping.container_port_range.as_ref()),
                protocol: if udp { "udp" } else { "tcp" }.to_owned(),
            }
        });
        mappings.collect()
    }

    fn secrets(&self, definition: &ContainerDefinition) -> Vec<Secret> {
        let secret = |secret: &ecs::Secret, target: &str| {
            let from = text(secret.value_from.as_ref());
            let arn = Arn::parse(&from);
            let manager = arn.as_ref().is_some_and(|arn| arn.service == "secretsmanager");
            let region = arn.as_ref().map_or(self.scope.region.as_str(), |arn| arn.region).to_owned();
            let (provider, target) = (if manager { "asm" } else { "ssm" }.to_owned(), target.to_owned());
            let kind = if target == "LOG_DRIVER" { "BOOTSTRAP" } else { "ENVIRONMENT_VARIABLE" }.to_owned();
            let name = text(secret.name.as_ref());
            Secret { name, value_from: from, region, provider, kind, target, ..Secret::default() }
        };
        let own = definition.secrets.iter().flatten().map(|it| secret(it, "CONTAINER"));
        let log = definition.log_configuration.iter().flat_map(|log| log.secret_options.iter().flatten());
        own.chain(log.map(|it| secret(it, "LOG_DRIVER"))).collect()
    }

    fn registry_authentication(&self, definition: &ContainerDefinition) -> Option<RegistryAuthentication> {
        if let Some(parameter) =
            definition.repository_credentials.as_ref().and_then(|it| it.credentials_parameter.clone())
        {
            let region = Arn::parse(&parameter).map_or(self.scope.region.as_str(), |arn| arn.region).to_owned();
            return Some(RegistryAuthentication {
                kind: "asm".to_owned(),
                asm_auth_data: Some(AsmAuthData { credentials_parameter: parameter, region }),
                ecr_auth_data: None,
            });
        }
        let (registry_id, region) = ecr_registry(definition.image.as_deref().unwrap_or(""))?;
        let ecr = EcrAuthData {
            registry_id: registry_id.to_owned(),
            region: region.to_owned(),
            use_execution_role: self.definition.execution_role_arn.is_some(),
            ..EcrAuthData::default()
        };
        Some(RegistryAuthentication { kind: "ecr".to_owned(), ecr_auth_data: Some(ecr), asm_auth_data: None })
    }
}

/// Account and region in `ACCOUNT.dkr.ecr.REGION.amazonaws.com…/…`.
fn ecr_registry(image: &str) -> Option<(&str, &str)> {
    let (host, _) = image.split_once('/')?;
    let (account, rest) = host.split_once(".dkr.ecr.")?;
    let (region, domain) = rest.split_once('.')?;
    (account.len() == 12 && domain.starts_with("amazonaws.com")).then_some((account, region))
}

fn environment_files(definition: &ContainerDefinition) -> Vec<EnvironmentFile> {
    let files = definition.environment_files.iter().flatten();
    let files = files.map(|file| EnvironmentFile {
        value: text(file.value.as_ref()),
        kind: file.r#type.as_ref().map_or("s3", |kind| kind.as_str()).to_owned(),
    });
    files.collect()
}

fn mount_points(definition: &ContainerDefinition) -> Vec<MountPoint> {
    let points = definition.mount_points.iter().flatten();
    let points = points.map(|point| MountPoint {
        source_volume: text(point.source_volume.as_ref()),
        container_path: text(point.container_path.as_ref()),
        read_only: point.read_only.unwrap_or(false),
    });
    points.collect()
}

fn volumes_from(definition: &ContainerDefinition) -> Vec<VolumeFrom> {
    let sources = definition.volumes_from.iter().flatten();
    let sources = sources.map(|source| VolumeFrom {
        source_container: text(source.source_container.as_ref()),
        read_only: source.read_only.unwrap_or(false),
    });
    sources.collect()
}

fn dependencies(definition: &ContainerDefinition) -> Vec<Dependency> {
    let dependencies = definition.depends_on.iter().flatten();
    let dependencies = dependencies.map(|dependency| Dependency {
        container_name: text(dependency.container_name.as_ref()),
        condition: dependency.condition.as_ref().map_or("START", |condition| condition.as_str()).to_owned(),
    });
    dependencies.collect()
}

fn restart_policy(definition: &ContainerDefinition) -> Option<RestartPolicy> {
    let policy = definition.restart_policy.as_ref()?;
    Some(RestartPolicy {
        enabled: policy.enabled.unwrap_or(false),
        ignored_exit_codes: policy.ignored_exit_codes.iter().flatten().map(|code| i64::from(*code)).collect(),
        restart_attempt_period: policy.restart_attempt_period.map(i64::from),
    })
}

fn firelens(definition: &ContainerDefinition) -> Option<FirelensConfiguration> {
    let firelens = definition.firelens_configuration.as_ref()?;
    Some(FirelensConfiguration {
        kind: firelens.r#type.as_ref().map_or("", |kind| kind.as_str()).to_owned(),
        options: firelens.options.clone().unwrap_or_default(),
    })
}

fn volume(volume: &ecs::Volume) -> Volume {
    let name = text(volume.name.as_ref());
    if let Some(docker) = &volume.docker_volume_configuration {
        let docker = DockerVolumeConfiguration {
            scope: docker.scope.as_ref().map_or("task", |scope| scope.as_str()).to_owned(),
            autoprovision: docker.autoprovision.unwrap_or(false),
            driver: text(docker.driver.as_ref()),
            driver_opts: docker.driver_opts.clone().unwrap_or_default(),
            labels: docker.labels.clone().unwrap_or_default(),
        };
        let kind = "docker".to_owned();
        return Volume { name, kind, docker_volume_configuration: Some(docker), ..Volume::default() };
    }
    if let Some(efs) = &volume.efs_volume_configuration {
        let authorization = efs.authorization_config.as_ref().map(|config| EfsAuthorizationConfig {
            access_point_id: text(config.access_point_id.as_ref()),
            iam: config.iam.as_ref().map_or("", |iam| iam.as_str()).to_owned(),
        });
        let efs = EfsVolumeConfiguration {
            file_system_id: text(efs.file_system_id.as_ref()),
            root_directory: text(efs.root_directory.as_ref()),
            transit_encryption: efs.transit_encryption.as_ref().map_or("", |it| it.as_str()).to_owned(),
            transit_encryption_port: efs.transit_encryption_port.map(i64::from),
            authorization_config: authorization,
        };
        return Volume { name, kind: "efs".to_owned(), efs_volume_configuration: Some(efs), ..Volume::default() };
    }
    // `host` has to be there, also for a volume that lives only as long as the task.
    let source_path = volume.host.as_ref().and_then(|host| host.source_path.clone()).unwrap_or_default();
    Volume { name, kind: "host".to_owned(), host: Some(HostVolume { source_path }), ..Volume::default() }
}
