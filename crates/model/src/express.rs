//! Express gateway services: one container, its service and its task definition made from a few members.

use longshore_api::ServiceError;
use longshore_api::ecs::{
    self, AccessType, AssignPublicIp, AwsVpcConfiguration, CPUArchitecture, Compatibility, ContainerDefinition,
    ExpressCpuArchitecture, ExpressGatewayContainer, ExpressGatewayScalingTarget,
    ExpressGatewayServiceAwsLogsConfiguration, ExpressGatewayServiceConfiguration,
    ExpressGatewayServiceNetworkConfiguration, ExpressGatewayServiceScalingMetric, IngressPathSummary,
    LogConfiguration, LogDriver, NetworkConfiguration, NetworkMode, OSFamily, PortMapping,
    RegisterTaskDefinitionRequest, RepositoryCredentials, RuntimePlatform, TransportProtocol, error,
};
use longshore_seams::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Scope, vpc};

/// Most configurations that a service keeps: the current one and those that may still run.
const MAX_CONFIGURATIONS: usize = 10;
/// Name of the only container.
const CONTAINER: &str = "Main";
const CPU: &str = "256";
const MEMORY: &str = "512";
const PORT: i32 = 80;
const HEALTH_CHECK_PATH: &str = "/ping";
/// Fewest and most tasks, and the percentage of use that scaling aims at.
const SCALING: (i32, i32, i32) = (1, 20, 60);
/// Most tasks of a service (guide chapter 22).
const MAX_TASKS: i32 = 5000;

/// Said of a service whose ingress path nothing serves.
pub const NO_INGRESS: &str =
    "No load balancer serves the ingress path here: the tasks are reached at their own addresses.";

/// What makes a service an Express gateway service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExpressRecord {
    /// What would make its load balancer.
    pub infrastructure_role_arn: String,
    /// What its deployments were made of, the newest first.
    pub configurations: Vec<ExpressConfiguration>,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// What a deployment of an Express gateway service is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExpressConfiguration {
    /// Family and revision of the task definition.
    pub definition: (String, u32),
    /// With defaults filled in. ARNs and ingress paths are not in it.
    pub settings: ExpressGatewayServiceConfiguration,
}

impl ExpressRecord {
    /// The newest configuration.
    #[must_use]
    pub fn current(&self) -> ExpressGatewayServiceConfiguration {
        self.configurations.first().map(|it| it.settings.clone()).unwrap_or_default()
    }

    /// Puts a configuration in front; it replaces the one that it changes without another task definition.
    pub fn put(&mut self, new: ExpressConfiguration, now: Timestamp) {
        self.configurations.retain(|known| known.definition != new.definition);
        self.configurations.insert(0, new);
        self.configurations.truncate(MAX_CONFIGURATIONS);
        self.updated_at = now;
    }

    /// The configuration that runs with a task definition.
    #[must_use]
    pub fn of(&self, family: &str, revision: u32) -> Option<&ExpressConfiguration> {
        self.configurations.iter().find(|it| it.definition.0 == family && it.definition.1 == revision)
    }
}

/// The members that creation and update have in common, as given.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// As in the request.
    pub execution_role_arn: Option<String>,
    /// As in the request.
    pub task_role_arn: Option<String>,
    /// As in the request.
    pub task_definition_arn: Option<String>,
    /// As in the request.
    pub health_check_path: Option<String>,
    /// As in the request.
    pub primary_container: Option<ExpressGatewayContainer>,
    /// As in the request.
    pub network_configuration: Option<ExpressGatewayServiceNetworkConfiguration>,
    /// As in the request.
    pub cpu: Option<String>,
    /// As in the request.
    pub memory: Option<String>,
    /// As in the request.
    pub cpu_architecture: Option<ExpressCpuArchitecture>,
    /// As in the request.
    pub scaling_target: Option<ExpressGatewayScalingTarget>,
}

fn refused<T>(message: impl Into<String>) -> Result<T, ServiceError> {
    Err(error::invalid_parameter_exception(message))
}

impl Wishes {
    /// Whether they say something about the task definition.
    fn define(&self) -> bool {
        self.primary_container.is_some()
            || self.execution_role_arn.is_some()
            || self.task_role_arn.is_some()
            || self.cpu.is_some()
            || self.memory.is_some()
            || self.cpu_architecture.is_some()
    }

    /// The configuration that they make of `before`, which is the default one for a new service.
    /// `log_group` is where output goes unless they say something else.
    ///
    /// # Errors
    /// `InvalidParameterException`, naming the first rule that is broken.
    pub fn settle(
        self,
        scope: &Scope,
        before: Option<&ExpressGatewayServiceConfiguration>,
        log_group: &str,
    ) -> Result<ExpressGatewayServiceConfiguration, ServiceError> {
        if self.task_definition_arn.is_some() && self.define() {
            return refused(
                "taskDefinitionArn was given together with members that make a task definition (primaryContainer, executionRoleArn, taskRoleArn, cpu, memory, cpuArchitecture): give either.",
            );
        }
        let known = before.cloned().unwrap_or_default();
        let defined = self.define();
        let mut after = ExpressGatewayServiceConfiguration {
            health_check_path: self.health_check_path.or(known.health_check_path),
            network_configuration: Some(network(scope, self.network_configuration, known.network_configuration)),
            scaling_target: Some(scaling(self.scaling_target, known.scaling_target)?),
            ..ExpressGatewayServiceConfiguration::default()
        };
        let path = after.health_check_path.get_or_insert_with(|| HEALTH_CHECK_PATH.to_owned());
        if !path.starts_with('/') {
            return refused(format!("healthCheckPath '{path}' must begin with a slash."));
        }
        let named = self.task_definition_arn.or(known.task_definition_arn.filter(|_| !defined));
        if named.is_some() {
            after.task_definition_arn = named;
            return Ok(after);
        }
        after.execution_role_arn = self.execution_role_arn.or(known.execution_role_arn);
        if after.execution_role_arn.is_none() {
            return refused(
                "executionRoleArn is needed with primaryContainer: with it images are pulled and output is kept.",
            );
        }
        after.task_role_arn = self.task_role_arn.or(known.task_role_arn);
        after.cpu = self.cpu.or(known.cpu).or_else(|| Some(CPU.to_owned()));
        after.memory = self.memory.or(known.memory).or_else(|| Some(MEMORY.to_owned()));
        after.cpu_architecture =
            self.cpu_architecture.or(known.cpu_architecture).or(Some(ExpressCpuArchitecture::X8664));
        after.primary_container = Some(container(self.primary_container, known.primary_container, log_group)?);
        Ok(after)
    }
}

fn network(
    scope: &Scope,
    given: Option<ExpressGatewayServiceNetworkConfiguration>,
    known: Option<ExpressGatewayServiceNetworkConfiguration>,
) -> ExpressGatewayServiceNetworkConfiguration {
    let (given, known) = (given.unwrap_or_default(), known.unwrap_or_default());
    let default = || vpc::default_subnets(scope).into_iter().map(|subnet| subnet.id).collect();
    ExpressGatewayServiceNetworkConfiguration {
        security_groups: Some(given.security_groups.or(known.security_groups).unwrap_or_default()),
        subnets: Some(given.subnets.filter(|it| !it.is_empty()).or(known.subnets).unwrap_or_else(default)),
    }
}

fn scaling(
    given: Option<ExpressGatewayScalingTarget>,
    known: Option<ExpressGatewayScalingTarget>,
) -> Result<ExpressGatewayScalingTarget, ServiceError> {
    let (given, known) = (given.unwrap_or_default(), known.unwrap_or_default());
    let least = given.min_task_count.or(known.min_task_count).unwrap_or(SCALING.0);
    let most = given.max_task_count.or(known.max_task_count).unwrap_or_else(|| SCALING.1.max(least));
    let aim = given.auto_scaling_target_value.or(known.auto_scaling_target_value).unwrap_or(SCALING.2);
    let metric = given.auto_scaling_metric.or(known.auto_scaling_metric);
    let metric = metric.unwrap_or(ExpressGatewayServiceScalingMetric::AverageCpu);
    if least < 0 || least > most || most > MAX_TASKS {
        return refused(format!(
            "scalingTarget has minTaskCount {least} and maxTaskCount {most}: they must lie between 0 and {MAX_TASKS}, the first not above the second."
        ));
    }
    let percent = metric != ExpressGatewayServiceScalingMetric::RequestCountPerTarget;
    if aim < 1 || (percent && aim > 100) {
        return refused(format!(
            "autoScalingTargetValue {aim} is no value of {}: use a percentage from 1 to 100, or a number of requests.",
            metric.as_str()
        ));
    }
    Ok(ExpressGatewayScalingTarget {
        min_task_count: Some(least),
        max_task_count: Some(most),
        auto_scaling_metric: Some(metric),
        auto_scaling_target_value: Some(aim),
    })
}

fn container(
    given: Option<ExpressGatewayContainer>,
    known: Option<ExpressGatewayContainer>,
    log_group: &str,
) -> Result<ExpressGatewayContainer, ServiceError> {
    if given.is_none() && known.is_none() {
        return refused("An Express gateway service needs a primaryContainer or a taskDefinitionArn.");
    }
    let (given, known) = (given.unwrap_or_default(), known.unwrap_or_default());
    let logs = || ExpressGatewayServiceAwsLogsConfiguration {
        log_group: Some(log_group.to_owned()),
        log_stream_prefix: Some("ecs".to_owned()),
    };
    let port = given.container_port.or(known.container_port).unwrap_or(PORT);
    if !(1..=65_535).contains(&port) {
        return refused(format!("containerPort is {port}; it must be between 1 and 65535."));
    }
    Ok(ExpressGatewayContainer {
        image: given.image.or(known.image),
        container_port: Some(port),
        aws_logs_configuration: Some(
            given.aws_logs_configuration.or(known.aws_logs_configuration).unwrap_or_else(logs),
        ),
        repository_credentials: given.repository_credentials.or(known.repository_credentials),
        command: given.command.or(known.command),
        environment: given.environment.or(known.environment),
        secrets: given.secrets.or(known.secrets),
    })
}

/// Whether tasks of the two run with the same task definition.
#[must_use]
pub fn is_same_task(one: &ExpressGatewayServiceConfiguration, other: &ExpressGatewayServiceConfiguration) -> bool {
    let task = |of: &ExpressGatewayServiceConfiguration| ExpressGatewayServiceConfiguration {
        health_check_path: None,
        network_configuration: None,
        scaling_target: None,
        ..of.clone()
    };
    task(one) == task(other)
}

/// Refuses a task definition of the user's own that an ingress path could not lead to: it needs a container
/// named Main with one port mapping, by TCP, with a container port and a name.
///
/// # Errors
/// `InvalidParameterException`.
pub fn check_own_definition(named: &str, definition: &ecs::TaskDefinition) -> Result<(), ServiceError> {
    let containers = definition.container_definitions.as_deref().unwrap_or_default();
    let Some(main) = containers.iter().find(|it| it.name.as_deref() == Some(CONTAINER)) else {
        return refused(format!("The task definition {named} has no container named {CONTAINER}."));
    };
    let mappings = main.port_mappings.as_deref().unwrap_or_default();
    let fits = |it: &PortMapping| {
        let tcp = it.protocol.as_ref().is_none_or(|protocol| *protocol == TransportProtocol::Tcp);
        tcp && it.container_port.is_some() && it.name.as_deref().is_some_and(|name| !name.is_empty())
    };
    match mappings {
        [one] if fits(one) => Ok(()),
        _ => refused(format!(
            "The container {CONTAINER} of the task definition {named} must have a single TCP port mapping, with a containerPort and a name."
        )),
    }
}

/// The task definition that a configuration without one asks for.
#[must_use]
pub fn definition(
    scope: &Scope,
    family: &str,
    settings: &ExpressGatewayServiceConfiguration,
) -> RegisterTaskDefinitionRequest {
    let given = settings.primary_container.clone().unwrap_or_default();
    let port = PortMapping { container_port: given.container_port, ..PortMapping::default() };
    let credentials = given.repository_credentials.filter(|it| it.credentials_parameter.is_some());
    let arm = settings.cpu_architecture == Some(ExpressCpuArchitecture::Arm64);
    let container = ContainerDefinition {
        name: Some(CONTAINER.to_owned()),
        image: given.image,
        essential: Some(true),
        port_mappings: Some(vec![port]),
        command: given.command,
        environment: given.environment,
        secrets: given.secrets,
        repository_credentials: credentials
            .map(|it| RepositoryCredentials { credentials_parameter: it.credentials_parameter }),
        log_configuration: given.aws_logs_configuration.map(|logs| logging(scope, logs)),
        ..ContainerDefinition::default()
    };
    RegisterTaskDefinitionRequest {
        family: Some(family.to_owned()),
        task_role_arn: settings.task_role_arn.clone(),
        execution_role_arn: settings.execution_role_arn.clone(),
        network_mode: Some(NetworkMode::Awsvpc),
        container_definitions: Some(vec![container]),
        requires_compatibilities: Some(vec![Compatibility::Fargate]),
        cpu: settings.cpu.clone(),
        memory: settings.memory.clone(),
        runtime_platform: Some(RuntimePlatform {
            cpu_architecture: Some(if arm { CPUArchitecture::Arm64 } else { CPUArchitecture::X8664 }),
            operating_system_family: Some(OSFamily::Linux),
        }),
        ..RegisterTaskDefinitionRequest::default()
    }
}

fn logging(scope: &Scope, logs: ExpressGatewayServiceAwsLogsConfiguration) -> LogConfiguration {
    let option = |name: &str, value: Option<String>| (name.to_owned(), value.unwrap_or_default());
    LogConfiguration {
        log_driver: Some(LogDriver::Awslogs),
        options: Some(
            [
                option("awslogs-group", logs.log_group),
                option("awslogs-stream-prefix", logs.log_stream_prefix),
                option("awslogs-region", Some(scope.region.clone())),
                option("awslogs-create-group", Some("true".to_owned())),
            ]
            .into(),
        ),
        secret_options: None,
    }
}

/// How the service's tasks are connected: with public addresses, as the ones behind a public ingress path.
#[must_use]
pub fn network_configuration(settings: &ExpressGatewayServiceConfiguration) -> NetworkConfiguration {
    let given = settings.network_configuration.clone().unwrap_or_default();
    NetworkConfiguration {
        awsvpc_configuration: Some(AwsVpcConfiguration {
            subnets: given.subnets,
            security_groups: given.security_groups,
            assign_public_ip: Some(AssignPublicIp::Enabled),
        }),
    }
}

/// How many tasks are wanted as long as nothing scales: the fewest, or what there are within the bounds.
#[must_use]
pub fn desired_count(settings: &ExpressGatewayServiceConfiguration, now: Option<i32>) -> i32 {
    let target = settings.scaling_target.clone().unwrap_or_default();
    let least = target.min_task_count.unwrap_or(SCALING.0);
    let most = target.max_task_count.unwrap_or(SCALING.1).max(least);
    now.map_or(least, |now| now.clamp(least, most))
}

/// The public name under which a load balancer would serve the service.
#[must_use]
pub fn ingress_paths(scope: &Scope, service: &str, id: &str) -> Vec<IngressPathSummary> {
    let host = service.to_ascii_lowercase().replace('_', "-");
    vec![IngressPathSummary {
        access_type: Some(AccessType::Public),
        endpoint: Some(format!("{host}-{}.ecs.{}.on.aws", &id[..id.len().min(12)], scope.region)),
    }]
}

/// Where a service is in its life, in the words of Express gateway services.
#[must_use]
pub fn status(status: &str) -> ecs::ExpressGatewayServiceStatus {
    let reason = (status == "ACTIVE").then(|| NO_INGRESS.to_owned());
    ecs::ExpressGatewayServiceStatus {
        status_code: Some(ecs::ExpressGatewayServiceStatusCode::from(status)),
        status_reason: reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        Scope::new("123456789012", "eu-west-1")
    }

    fn wishes() -> Wishes {
        Wishes {
            execution_role_arn: Some("arn:aws:iam::123456789012:role/execution".to_owned()),
            primary_container: Some(ExpressGatewayContainer {
                image: Some("web".to_owned()),
                ..ExpressGatewayContainer::default()
            }),
            ..Wishes::default()
        }
    }

    #[test]
    fn a_configuration_has_defaults_and_an_update_keeps_what_it_does_not_say() {
        let first = wishes().settle(&scope(), None, "/aws/ecs/web").unwrap();
        assert_eq!((first.cpu.as_deref(), first.memory.as_deref()), (Some("256"), Some("512")));
        assert_eq!(first.primary_container.as_ref().unwrap().container_port, Some(80));
        assert_eq!(desired_count(&first, None), 1);
        let target = ExpressGatewayScalingTarget { min_task_count: Some(3), ..ExpressGatewayScalingTarget::default() };
        let change = Wishes { scaling_target: Some(target), ..Wishes::default() };
        let second = change.settle(&scope(), Some(&first), "").unwrap();
        assert!(is_same_task(&first, &second));
        assert_eq!((desired_count(&second, Some(2)), desired_count(&second, Some(30))), (3, 20));
        let other = Wishes { cpu: Some("512".to_owned()), ..Wishes::default() };
        assert!(!is_same_task(&first, &other.settle(&scope(), Some(&first), "").unwrap()));
    }

    #[test]
    fn the_definition_that_is_made_is_one_of_fargate() {
        let settings = wishes().settle(&scope(), None, "/aws/ecs/web").unwrap();
        let request = definition(&scope(), "default-web", &settings);
        let made = crate::task_definition::validate_and_normalise(request, &Default::default()).unwrap();
        assert!(made.compatibilities.unwrap().contains(&Compatibility::Fargate));
    }

    #[test]
    fn bounds_are_kept() {
        let scaled = |least: i32, most: i32, aim: i32| Wishes {
            scaling_target: Some(ExpressGatewayScalingTarget {
                min_task_count: Some(least),
                max_task_count: Some(most),
                auto_scaling_target_value: Some(aim),
                auto_scaling_metric: None,
            }),
            ..wishes()
        };
        for bad in [
            scaled(2, 1, 60),
            scaled(-1, 1, 60),
            scaled(1, 5001, 60),
            scaled(1, 2, 0),
            scaled(1, 2, 101),
            Wishes { health_check_path: Some("ping".to_owned()), ..wishes() },
            Wishes { execution_role_arn: None, ..wishes() },
            Wishes { primary_container: None, ..wishes() },
            Wishes { task_definition_arn: Some("web:1".to_owned()), ..wishes() },
        ] {
            let refused = bad.clone().settle(&scope(), None, "").unwrap_err();
            assert_eq!(refused.code, "InvalidParameterException", "{bad:?}");
        }
    }
}
