//! `requiresAttributes`: what a container instance must be able to do to run a definition.
//!
//! An instance's agent registers these attributes; placement asks for them. Which member needs
//! which attribute is read off definitions that ECS answered.

use std::collections::BTreeSet;

use longshore_api::ecs::{
    Attribute, ContainerDefinition, FirelensConfigurationType, LogDriver, NetworkMode, TaskDefinition,
};

use super::environment::{SecretSource, secret_source};
use super::{list, network_mode, size, text};

/// Whether `image` lies in an ECR registry: `ACCOUNT.dkr.ecr.REGION.amazonaws.com/…`.
pub(super) fn is_ecr_image(image: &str) -> bool {
    let Some((host, _)) = image.split_once('/') else { return false };
    let Some((account, rest)) = host.split_once(".dkr.ecr.") else { return false };
    account.len() == 12
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && (rest.ends_with(".amazonaws.com") || rest.ends_with(".amazonaws.com.cn"))
}

/// The attributes that `definition` requires, by name.
pub(super) fn required(definition: &TaskDefinition) -> Vec<Attribute> {
    let mut names = BTreeSet::new();
    task(definition, &mut names);
    for each in list(&definition.container_definitions) {
        container(each, definition, &mut names);
    }
    names.into_iter().map(|name| Attribute { name: Some(name), ..Attribute::default() }).collect()
}

fn capability(name: &str) -> String {
    format!("ecs.capability.{name}")
}

fn docker_capability(name: &str) -> String {
    format!("com.amazonaws.ecs.capability.{name}")
}

fn docker_api(version: &str) -> String {
    docker_capability(&format!("docker-remote-api.{version}"))
}

fn task(definition: &TaskDefinition, names: &mut BTreeSet<String>) {
    let mode = network_mode(definition);
    if mode == NetworkMode::Awsvpc {
        names.extend([capability("task-eni"), docker_api("1.18")]);
    }
    if definition.task_role_arn.is_some() {
        let on_host = mode == NetworkMode::Host;
        names.insert(docker_capability(if on_host { "task-iam-role-network-host" } else { "task-iam-role" }));
    }
    if definition.pid_mode.is_some() || definition.ipc_mode.is_some() {
        names.insert(capability("pid-ipc-namespace-sharing"));
    }
    if definition.proxy_configuration.is_some() {
        names.insert(capability("aws-appmesh"));
    }
    if definition.ephemeral_storage.is_some() {
        names.insert(capability("extensible-ephemeral-storage"));
    }
    if definition.enable_fault_injection == Some(true) {
        names.insert(capability("fault-injection"));
    }
    if definition.cpu.as_deref().and_then(size::parse_cpu).is_some_and(|cpu| cpu > size::MAX_CLASSIC_TASK_CPU) {
        names.insert(capability("increased-task-cpu-limit"));
    }
    if !list(&definition.inference_accelerators).is_empty() {
        names.insert(capability("task-eia"));
    }
    for volume in list(&definition.volumes) {
        if let Some(docker) = &volume.docker_volume_configuration {
            let driver = docker.driver.as_deref().unwrap_or("local");
            names.extend([capability(&format!("docker-plugin.{driver}")), docker_api("1.25")]);
        }
        if volume.efs_volume_configuration.is_some() {
            names.extend([capability("efs"), capability("efsAuth"), docker_api("1.25")]);
        }
        if volume.fsx_windows_file_server_volume_configuration.is_some() {
            names.insert(capability("fsxWindowsFileServer"));
        }
        if volume.s3files_volume_configuration.is_some() {
            names.insert(capability("storage.s3-files"));
        }
        if volume.configured_at_launch == Some(true) {
            names.insert(capability("storage.ebs-task-volume-attach"));
        }
    }
}

fn container(container: &ContainerDefinition, definition: &TaskDefinition, names: &mut BTreeSet<String>) {
    let has_execution_role = definition.execution_role_arn.is_some();
    if is_ecr_image(text(&container.image)) {
        names.insert(docker_capability("ecr-auth"));
        if has_execution_role {
            names.insert(capability("execution-role-ecr-pull"));
        }
    }
    if container.repository_credentials.is_some() {
        names.insert(capability("private-registry-authentication.secretsmanager"));
    }
    if container.readonly_root_filesystem == Some(true) {
        names.insert(docker_api("1.17"));
    }
    if !list(&container.ulimits).is_empty() || container.docker_labels.as_ref().is_some_and(|labels| !labels.is_empty())
    {
        names.insert(docker_api("1.18"));
    }
    if container.memory_reservation.is_some() {
        names.insert(docker_api("1.21"));
    }
    if container.privileged == Some(true) {
        names.insert(docker_capability("privileged-container"));
    }
    for option in list(&container.docker_security_options) {
        if option.starts_with("apparmor") {
            names.insert(docker_capability("apparmor"));
        } else if option.starts_with("label") {
            names.insert(docker_capability("selinux"));
        }
    }
    if let Some(check) = &container.health_check {
        // A start period came to Docker after the check itself.
        let version = if check.start_period.is_some() { "1.29" } else { "1.24" };
        names.extend([capability("container-health-check"), docker_api(version)]);
    }
    if !list(&container.depends_on).is_empty() {
        names.insert(capability("container-ordering"));
    }
    if container.restart_policy.as_ref().is_some_and(|policy| policy.enabled == Some(true)) {
        names.insert(capability("container-restart-policy"));
    }
    if list(&container.port_mappings).iter().any(|mapping| mapping.container_port_range.is_some()) {
        names.insert(capability("network.container-port-range"));
    }
    if !list(&container.environment_files).is_empty() {
        names.insert(capability("env-files.s3"));
    }
    for secret in list(&container.secrets) {
        names.extend(
            secret_store(&secret.value_from).map(|store| capability(&format!("secrets.{store}.environment-variables"))),
        );
    }
    linux_parameters(container, names);
    logs(container, has_execution_role, names);
}

/// `asm` or `ssm`, as attributes call the two.
fn secret_store(value_from: &Option<String>) -> Option<&'static str> {
    secret_source(text(value_from)).map(|source| match source {
        SecretSource::SecretsManager => "asm",
        SecretSource::ParameterStore => "ssm",
    })
}

fn linux_parameters(container: &ContainerDefinition, names: &mut BTreeSet<String>) {
    let Some(linux) = &container.linux_parameters else { return };
    if linux.init_process_enabled == Some(true) {
        names.insert(docker_api("1.25"));
    }
    if linux.shared_memory_size.is_some() || !list(&linux.tmpfs).is_empty() {
        names.insert(docker_api("1.22"));
    }
}

fn logs(container: &ContainerDefinition, has_execution_role: bool, names: &mut BTreeSet<String>) {
    if let Some(firelens) = &container.firelens_configuration {
        match &firelens.r#type {
            Some(FirelensConfigurationType::Fluentd) => names.insert(capability("firelens.fluentd")),
            _ => names.insert(capability("firelens.fluentbit")),
        };
        if let Some(kind) = firelens.options.as_ref().and_then(|options| options.get("config-file-type")) {
            names.insert(capability(&format!("firelens.options.config.{kind}")));
        }
    }
    let Some(configuration) = &container.log_configuration else { return };
    let Some(driver) = &configuration.log_driver else { return };
    names.insert(docker_capability(&format!("logging-driver.{}", driver.as_str())));
    match driver {
        LogDriver::Awslogs => {
            names.insert(docker_api("1.19"));
            if has_execution_role {
                names.insert(capability("execution-role-awslogs"));
            }
        }
        LogDriver::Fluentd => {
            names.insert(docker_api("1.19"));
        }
        LogDriver::Splunk => {
            names.insert(docker_api("1.22"));
        }
        LogDriver::Awsfirelens => {}
        _ => {
            names.insert(docker_api("1.18"));
        }
    }
    for secret in list(&configuration.secret_options) {
        names.extend(
            secret_store(&secret.value_from).map(|store| capability(&format!("secrets.{store}.bootstrap.log-driver"))),
        );
    }
}
