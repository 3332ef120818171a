//! Log drivers and FireLens.

use longshore_api::ecs::{
    ContainerCondition, ContainerDefinition, LogConfiguration, LogDriver, NetworkMode, TaskDefinition,
};

use super::container::setting;
use super::environment::{needs_execution_role, secret_list};
use super::{Check, list, network_mode, refuse, text};

/// What the awslogs driver can be told (guide chapter 7; the driver's own besides).
const AWSLOGS_OPTIONS: &[&str] = &[
    "awslogs-group",
    "awslogs-region",
    "awslogs-stream-prefix",
    "awslogs-create-group",
    "awslogs-datetime-format",
    "awslogs-multiline-pattern",
    "awslogs-endpoint",
    "awslogs-stream",
    "awslogs-force-flush-interval-seconds",
    "awslogs-max-buffered-events",
    "awslogs-credentials-endpoint",
    "awslogs-format",
    "tag",
    "mode",
    "max-buffer-size",
];

/// What the awslogs driver must be told, in the order in which ECS lists it.
const AWSLOGS_REQUIRED: &[&str] = &["awslogs-region", "awslogs-group"];

pub(super) fn check(definition: &TaskDefinition) -> Check {
    let containers = list(&definition.container_definitions);
    for container in containers {
        if let Some(configuration) = &container.log_configuration {
            log_configuration(configuration, container, definition)?;
        }
    }
    firelens(containers, definition)
}

fn log_configuration(
    configuration: &LogConfiguration,
    container: &ContainerDefinition,
    definition: &TaskDefinition,
) -> Check {
    let secrets = list(&configuration.secret_options);
    secret_list("secretOptions", secrets, container)?;
    if !secrets.is_empty() && definition.execution_role_arn.is_none() {
        return Err(needs_execution_role("container secrets"));
    }
    if configuration.log_driver != Some(LogDriver::Awslogs) {
        return Ok(());
    }
    let given = |option: &str| configuration.options.as_ref().and_then(|options| options.get(option));
    let missing: Vec<&str> =
        AWSLOGS_REQUIRED.iter().copied().filter(|option| given(option).is_none_or(String::is_empty)).collect();
    if !missing.is_empty() {
        return Err(refuse(format!("Log driver awslogs requires options: {}", missing.join(", "))));
    }
    let unknown: Vec<&str> = configuration
        .options
        .iter()
        .flatten()
        .map(|(option, _)| option.as_str())
        .filter(|option| !AWSLOGS_OPTIONS.contains(option))
        .collect();
    if !unknown.is_empty() {
        return Err(refuse(format!("Log driver awslogs disallows options: {}", unknown.join(", "))));
    }
    Ok(())
}

/// Whether a container sends its logs through the task's log router.
fn uses_firelens(container: &ContainerDefinition) -> bool {
    container.log_configuration.as_ref().is_some_and(|logs| logs.log_driver == Some(LogDriver::Awsfirelens))
}

/// Guide chapter 7, "Custom log routing".
fn firelens(containers: &[ContainerDefinition], definition: &TaskDefinition) -> Check {
    let routers: Vec<_> = containers.iter().filter(|container| container.firelens_configuration.is_some()).collect();
    let users: Vec<_> = containers.iter().filter(|container| uses_firelens(container)).collect();
    let Some(router) = routers.first() else {
        if users.is_empty() {
            return Ok(());
        }
        return Err(refuse(
            "When awsfirelens log driver is specified in log configuration, a firelens configuration object must be configured in one of the containers.",
        ));
    };
    if users.is_empty() {
        return Err(refuse(
            "When a firelensConfiguration object is specified, at least one container has to be configured with the awsfirelens log driver.",
        ));
    }
    if routers.len() > 1 {
        return Err(setting("firelensConfiguration", routers[1], "only one container of a task can be the log router"));
    }
    if router.essential != Some(true) {
        return Err(setting("firelensConfiguration", router, "the log router must be essential"));
    }
    if uses_firelens(router) {
        return Err(setting("logConfiguration", router, "the log router can't send its own logs through itself"));
    }
    if matches!(network_mode(definition), NetworkMode::None) {
        return Err(setting("firelensConfiguration", router, "it is not supported when networkMode=none"));
    }
    router_options(router)?;
    for container in containers {
        for dependency in list(&container.depends_on) {
            let on_router = text(&dependency.container_name) == text(&router.name);
            let allowed = matches!(dependency.condition, Some(ContainerCondition::Start | ContainerCondition::Healthy));
            if on_router && !allowed {
                let why = "a dependency on the log router must have the condition START or HEALTHY";
                return Err(setting("dependsOn", container, why));
            }
        }
    }
    Ok(())
}

/// The file types that a log router's configuration may come from.
const CONFIG_FILE_TYPES: [&str; 2] = ["s3", "file"];
/// Files that FireLens writes itself.
const RESERVED_FILES: [&str; 2] = ["/fluent-bit/etc/fluent-bit.conf", "/fluentd/etc/fluent.conf"];

fn router_options(router: &ContainerDefinition) -> Check {
    let options = router.firelens_configuration.as_ref().and_then(|firelens| firelens.options.as_ref());
    let option = |name: &str| options.and_then(|options| options.get(name)).map(String::as_str);
    let refused = |why: String| Err(setting("firelensConfiguration", router, why));
    match (option("config-file-type"), option("config-file-value")) {
        (Some(kind), _) if !CONFIG_FILE_TYPES.contains(&kind) => {
            refused(format!("config-file-type must be s3 or file, not '{kind}'"))
        }
        (Some(_), None) => refused("config-file-type needs a config-file-value".to_owned()),
        (None, Some(_)) => refused("config-file-value needs a config-file-type".to_owned()),
        (Some("file"), Some(path)) if RESERVED_FILES.contains(&path) => {
            refused(format!("'{path}' is written by FireLens itself: name another config-file-value"))
        }
        _ => Ok(()),
    }
}
