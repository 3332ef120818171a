//! What CreateService and UpdateService accept, and the defaults they fill in.

use longshore_api::ServiceError;
use longshore_api::ecs::{
    AssignPublicIp, AvailabilityZoneRebalancing, CapacityProviderStrategyItem, CreateServiceRequest,
    DeploymentCircuitBreaker, DeploymentConfiguration, DeploymentController, DeploymentControllerType,
    DeploymentStrategy, LaunchType, LoadBalancer, NetworkConfiguration, NetworkMode, PlacementConstraint,
    PlacementStrategy, PlacementStrategyType, PropagateTags, SchedulingStrategy, Service, ServiceRegistry,
    TaskDefinition, UpdateServiceRequest, error,
};

use super::strategy::check_strategy;
use crate::capacity_provider::BUILT_IN;
use crate::{fargate, names};

const MAX_TARGET_GROUPS: usize = 5;
const MAX_STRATEGIES: usize = 5;
const MAX_SUBNETS: usize = 16;
const MAX_SECURITY_GROUPS: usize = 5;
const MAX_TOKEN: usize = 36;

fn refused<T>(message: impl Into<String>) -> Result<T, ServiceError> {
    Err(error::invalid_parameter_exception(message))
}

fn some<T>(list: Option<&Vec<T>>) -> &[T] {
    list.map_or(&[], Vec::as_slice)
}

/// Clients send empty texts for what they leave out.
fn given(text: &Option<String>) -> Option<String> {
    text.clone().filter(|text| !text.is_empty())
}

/// The settings of a new service: the request's, with ECS's defaults.
///
/// # Errors
/// `InvalidParameterException` for a name, token or count that no service may have.
pub fn from_request(input: &CreateServiceRequest) -> Result<Service, ServiceError> {
    let name = input.service_name.clone().unwrap_or_default();
    if name.is_empty() || name.len() > names::MAX_NAME || !names::has_name_characters(&name) {
        return refused(format!(
            "Service name '{name}' is not valid: use 1 to {} letters, digits, hyphens and underscores.",
            names::MAX_NAME
        ));
    }
    if let Some(token) = input.client_token.as_deref().filter(|token| token.len() > MAX_TOKEN || !token.is_ascii()) {
        return refused(format!(
            "clientToken has {} characters; it may have at most {MAX_TOKEN} ASCII characters.",
            token.chars().count()
        ));
    }
    let scheduling = input.scheduling_strategy.clone().unwrap_or(SchedulingStrategy::Replica);
    let controller =
        input.deployment_controller.clone().and_then(|it| it.r#type).unwrap_or(DeploymentControllerType::Ecs);
    if scheduling == SchedulingStrategy::Replica
        && controller != DeploymentControllerType::External
        && input.desired_count.is_none()
    {
        return refused("Desired count is required for a service with the REPLICA scheduling strategy.");
    }
    check_daemon_count(&scheduling, input.desired_count)?;
    // Only ECS's own deployments have percentages that can be chosen.
    let own = input.deployment_configuration.clone().filter(|_| controller == DeploymentControllerType::Ecs);
    let mut settings = Service {
        load_balancers: Some(input.load_balancers.clone().unwrap_or_default()),
        service_registries: Some(input.service_registries.clone().unwrap_or_default()),
        launch_type: input.launch_type.clone(),
        capacity_provider_strategy: input.capacity_provider_strategy.as_deref().and_then(whole_strategy),
        platform_version: given(&input.platform_version),
        deployment_configuration: Some(deployment_configuration(own.unwrap_or_default(), &scheduling)),
        role_arn: given(&input.role),
        placement_constraints: Some(input.placement_constraints.clone().unwrap_or_default()),
        placement_strategy: Some(placement_strategy(input.placement_strategy.as_deref().unwrap_or_default())),
        network_configuration: input.network_configuration.clone().map(with_public_ip),
        health_check_grace_period_seconds: input.health_check_grace_period_seconds,
        availability_zone_rebalancing: input.availability_zone_rebalancing.clone(),
        scheduling_strategy: Some(scheduling),
        deployment_controller: Some(DeploymentController { r#type: Some(controller) }),
        enable_ecs_managed_tags: Some(input.enable_ecs_managed_tags.unwrap_or(false)),
        propagate_tags: Some(input.propagate_tags.clone().unwrap_or(PropagateTags::None)),
        enable_execute_command: Some(input.enable_execute_command.unwrap_or(false)),
        ..Service::default()
    };
    if settings.availability_zone_rebalancing.is_none() {
        let can = unbalanceable(&settings).is_none();
        let default = if can { AvailabilityZoneRebalancing::Enabled } else { AvailabilityZoneRebalancing::Disabled };
        settings.availability_zone_rebalancing = Some(default);
    }
    Ok(settings)
}

/// A daemon has as many tasks as there are container instances for it: no other count can be asked for.
fn check_daemon_count(scheduling: &SchedulingStrategy, desired: Option<i32>) -> Result<(), ServiceError> {
    if *scheduling == SchedulingStrategy::Daemon && desired.is_some() {
        return refused(
            "The daemon scheduling strategy does not support a desired count for services. Remove the desired count value and try again",
        );
    }
    Ok(())
}

/// Why the tasks of a service cannot be moved between Availability Zones; none when they can.
fn unbalanceable(settings: &Service) -> Option<&'static str> {
    let configuration = settings.deployment_configuration.as_ref();
    let first = some(settings.placement_strategy.as_ref()).first();
    let by_zone = |strategy: &PlacementStrategy| {
        let field = strategy.field.as_deref().unwrap_or("");
        strategy.r#type == Some(PlacementStrategyType::Spread) && field == "attribute:ecs.availability-zone"
    };
    let by_constraint = |it: &PlacementConstraint| {
        it.expression.as_deref().is_some_and(|expression| expression.contains("ecs.availability-zone"))
    };
    if settings.scheduling_strategy == Some(SchedulingStrategy::Daemon) {
        Some("the DAEMON scheduling strategy")
    } else if controller(settings).is_some_and(|it| *it != DeploymentControllerType::Ecs) {
        Some("a deployment controller other than ECS")
    } else if settings.launch_type == Some(LaunchType::External) {
        Some("the EXTERNAL launch type")
    } else if configuration.and_then(|it| it.maximum_percent).is_some_and(|most| most <= 100) {
        Some("a maximumPercent of 100 or less")
    } else if some(settings.load_balancers.as_ref()).iter().any(|it| it.load_balancer_name.is_some()) {
        Some("a Classic Load Balancer")
    } else if first.is_some_and(|strategy| !by_zone(strategy)) {
        Some("a first placement strategy other than spread over attribute:ecs.availability-zone")
    } else if some(settings.placement_constraints.as_ref()).iter().any(by_constraint) {
        Some("a placement constraint on ecs.availability-zone")
    } else {
        None
    }
}

fn check_rebalancing(settings: &Service) -> Result<(), ServiceError> {
    match &settings.availability_zone_rebalancing {
        Some(AvailabilityZoneRebalancing::Enabled) => match unbalanceable(settings) {
            Some(why) => refused(format!("Availability Zone rebalancing is not supported with {why}: disable it.")),
            None => Ok(()),
        },
        Some(AvailabilityZoneRebalancing::UnknownVariant(other)) => {
            refused(format!("availabilityZoneRebalancing '{other}' is not valid: use ENABLED or DISABLED."))
        }
        _ => Ok(()),
    }
}

/// The settings of a service after an update: members that are given replace those that were.
///
/// # Errors
/// `InvalidParameterException` for what cannot change that way.
pub fn updated(before: &Service, input: &UpdateServiceRequest) -> Result<Service, ServiceError> {
    let mut after = before.clone();
    let scheduling = before.scheduling_strategy.clone().unwrap_or(SchedulingStrategy::Replica);
    check_daemon_count(&scheduling, input.desired_count)?;
    let own = controller(before).is_none_or(|it| *it == DeploymentControllerType::Ecs);
    if let Some(given) = input.deployment_configuration.as_ref().filter(|_| own) {
        let old = before.deployment_configuration.clone().unwrap_or_default();
        let merged = super::strategy::merged(&old, given);
        after.deployment_configuration = Some(deployment_configuration(merged, &scheduling));
    }
    if let Some(strategy) = &input.capacity_provider_strategy {
        let forced = input.force_new_deployment == Some(true);
        let strategy = whole_strategy(strategy);
        if strategy.is_some() && strategy != before.capacity_provider_strategy && !forced {
            return refused(
                "When switching from launch type to capacity provider strategy on an existing service, or making a change to a capacity provider strategy on a service that is already using one, you must force a new deployment.",
            );
        }
        after.launch_type = if strategy.is_none() { Some(LaunchType::Ec2) } else { None };
        after.capacity_provider_strategy = strategy;
    }
    let replace = |old: &mut Option<NetworkConfiguration>| {
        if let Some(given) = input.network_configuration.clone() {
            *old = Some(with_public_ip(given));
        }
    };
    replace(&mut after.network_configuration);
    macro_rules! take {
        ($($member:ident),*) => { $(if input.$member.is_some() { after.$member.clone_from(&input.$member); })* };
    }
    take!(
        availability_zone_rebalancing,
        placement_constraints,
        health_check_grace_period_seconds,
        enable_execute_command,
        enable_ecs_managed_tags,
        load_balancers,
        propagate_tags,
        service_registries
    );
    after.platform_version = given(&input.platform_version).or(after.platform_version);
    if let Some(given) = &input.placement_strategy {
        after.placement_strategy = Some(placement_strategy(given));
    }
    if input.availability_zone_rebalancing.is_none() && unbalanceable(&after).is_some() {
        after.availability_zone_rebalancing = Some(AvailabilityZoneRebalancing::Disabled);
    }
    if input.deployment_controller.as_ref().is_some_and(|given| Some(given) != before.deployment_controller.as_ref()) {
        return refused("The deployment controller of a service cannot be changed: create a new service.");
    }
    Ok(after)
}

/// A placement strategy as answers show it: to spread over hosts is to spread over instance ids.
fn placement_strategy(given: &[PlacementStrategy]) -> Vec<PlacementStrategy> {
    let is_host = |it: &PlacementStrategy| it.field.as_deref().is_some_and(|field| field.eq_ignore_ascii_case("host"));
    let shown = |it: &PlacementStrategy| PlacementStrategy {
        field: if is_host(it) { Some("instanceId".to_owned()) } else { it.field.clone() },
        ..it.clone()
    };
    given.iter().map(shown).collect()
}

/// A capacity provider strategy with the defaults that answers show: weight 0, base 0. None for one without items.
#[must_use]
pub fn whole_strategy(given: &[CapacityProviderStrategyItem]) -> Option<Vec<CapacityProviderStrategyItem>> {
    let whole = |item: &CapacityProviderStrategyItem| CapacityProviderStrategyItem {
        weight: Some(item.weight.unwrap_or(0)),
        base: Some(item.base.unwrap_or(0)),
        ..item.clone()
    };
    (!given.is_empty()).then(|| given.iter().map(whole).collect())
}

/// `assignPublicIp` is DISABLED unless said otherwise.
#[must_use]
pub fn with_public_ip(mut configuration: NetworkConfiguration) -> NetworkConfiguration {
    if let Some(awsvpc) = &mut configuration.awsvpc_configuration {
        awsvpc.assign_public_ip.get_or_insert(AssignPublicIp::Disabled);
        awsvpc.security_groups.get_or_insert_default();
    }
    configuration
}

fn deployment_configuration(
    mut configuration: DeploymentConfiguration,
    scheduling: &SchedulingStrategy,
) -> DeploymentConfiguration {
    let (most, least) = if *scheduling == SchedulingStrategy::Daemon { (100, 0) } else { (200, 100) };
    configuration.maximum_percent.get_or_insert(most);
    configuration.minimum_healthy_percent.get_or_insert(least);
    configuration.strategy.get_or_insert(DeploymentStrategy::Rolling);
    configuration.bake_time_in_minutes.get_or_insert(0);
    let off = DeploymentCircuitBreaker { enable: Some(false), rollback: Some(false), ..Default::default() };
    configuration.deployment_circuit_breaker.get_or_insert(off);
    configuration
}

/// Checks the settings of a service together with its task definition, which only the EXTERNAL controller goes without.
///
/// # Errors
/// `InvalidParameterException`, naming the first rule that is broken; `UnsupportedFeatureException`.
pub fn check(settings: &Service, desired_count: i32, definition: Option<&TaskDefinition>) -> Result<(), ServiceError> {
    if desired_count < 0 {
        return refused(format!("desiredCount is {desired_count}; it cannot be negative."));
    }
    check_enums(settings)?;
    check_scheduling(settings)?;
    check_percents(settings)?;
    check_strategy(settings)?;
    check_capacity(settings)?;
    check_placement(settings)?;
    check_rebalancing(settings)?;
    check_load_balancers(settings, definition)?;
    if let Some(definition) = definition {
        check_network(settings, definition)?;
        check_registries(settings, definition)?;
    }
    check_controller(settings, definition)
}

/// Whether its tasks run on Fargate: by launch type, or by capacity providers.
pub(super) fn is_fargate(settings: &Service) -> bool {
    let named = |item: &CapacityProviderStrategyItem| {
        let named = item.capacity_provider.as_deref().unwrap_or("");
        BUILT_IN.contains(&named.rsplit('/').next().unwrap_or(named))
    };
    settings.launch_type == Some(LaunchType::Fargate)
        || some(settings.capacity_provider_strategy.as_ref()).iter().any(named)
}

/// Fills in the platform that a service on Fargate shows, and takes it from one that has left Fargate.
pub fn settle_platform(settings: &mut Service, definition: Option<&TaskDefinition>) {
    if is_fargate(settings) {
        settings.platform_version.get_or_insert_with(|| fargate::LATEST.to_owned());
        settings.platform_family = definition.map(fargate::platform_family);
    } else {
        settings.platform_family = None;
    }
}

/// Checks the settings of a task set, given as those of a service, together with its task definition.
///
/// # Errors
/// `InvalidParameterException`, naming the first rule that is broken.
pub fn check_task_set(settings: &Service, definition: &TaskDefinition) -> Result<(), ServiceError> {
    check_enums(settings)?;
    check_capacity(settings)?;
    check_load_balancers(settings, Some(definition))?;
    if some(settings.load_balancers.as_ref()).iter().any(|it| it.load_balancer_name.is_some()) {
        return refused("Task sets do not support Classic Load Balancers: use a target group.");
    }
    check_network(settings, definition)?;
    check_registries(settings, definition)
}

fn check_enums(settings: &Service) -> Result<(), ServiceError> {
    let unknown = |member: &str, value: &str| refused(format!("{member} '{value}' is not valid."));
    match (&settings.scheduling_strategy, &settings.launch_type, &settings.propagate_tags) {
        (Some(it @ SchedulingStrategy::UnknownVariant(_)), ..) => unknown("schedulingStrategy", it.as_str()),
        (_, Some(it @ LaunchType::UnknownVariant(_)), _) => unknown("launchType", it.as_str()),
        (.., Some(it @ PropagateTags::UnknownVariant(_))) => unknown("propagateTags", it.as_str()),
        _ => Ok(()),
    }
}

fn controller(settings: &Service) -> Option<&DeploymentControllerType> {
    settings.deployment_controller.as_ref().and_then(|it| it.r#type.as_ref())
}

fn check_scheduling(settings: &Service) -> Result<(), ServiceError> {
    if settings.scheduling_strategy != Some(SchedulingStrategy::Daemon) {
        return Ok(());
    }
    if is_fargate(settings) {
        return refused("The DAEMON scheduling strategy is not supported with the FARGATE launch type: use EC2.");
    }
    if let Some(other) = controller(settings).filter(|it| **it != DeploymentControllerType::Ecs) {
        return refused(format!(
            "The DAEMON scheduling strategy is not supported with the {} deployment controller: use ECS.",
            other.as_str()
        ));
    }
    if some(settings.load_balancers.as_ref()).iter().any(|it| it.load_balancer_name.is_some()) {
        return refused("The DAEMON scheduling strategy does not support Classic Load Balancers.");
    }
    if !some(settings.placement_strategy.as_ref()).is_empty() {
        return refused("Placement strategies are not supported with the DAEMON scheduling strategy.");
    }
    Ok(())
}

fn check_percents(settings: &Service) -> Result<(), ServiceError> {
    let Some(configuration) = &settings.deployment_configuration else { return Ok(()) };
    let (most, least) =
        (configuration.maximum_percent.unwrap_or_default(), configuration.minimum_healthy_percent.unwrap_or_default());
    if settings.scheduling_strategy == Some(SchedulingStrategy::Daemon) && most > 100 {
        return refused(
            "The daemon scheduling strategy does not support values above 100 for maximumPercent on a deployment configuration. Change the maximumPercent value to 100, and try again",
        );
    }
    if most < 100 {
        return refused(format!("maximumPercent is {most}; it must be at least 100."));
    }
    if !(0..=100).contains(&least) {
        return refused(format!("minimumHealthyPercent is {least}; it must be between 0 and 100."));
    }
    Ok(())
}

fn check_capacity(settings: &Service) -> Result<(), ServiceError> {
    let strategy = some(settings.capacity_provider_strategy.as_ref());
    if !strategy.is_empty() && settings.launch_type.is_some() {
        return refused(
            "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.",
        );
    }
    if strategy.iter().filter(|item| item.base.unwrap_or(0) > 0).count() > 1 {
        return refused("Only one capacity provider in a strategy can have a base that is not 0.");
    }
    let fargate = is_fargate(settings);
    if settings.platform_version.is_some() && !fargate {
        return refused("The platform version must be null when specifying an EC2 launch type.");
    }
    if fargate && !some(settings.placement_constraints.as_ref()).is_empty() {
        return refused("Placement constraints are not supported with FARGATE launch type.");
    }
    if fargate && !some(settings.placement_strategy.as_ref()).is_empty() {
        return refused("Placement strategies are not supported with FARGATE launch type.");
    }
    Ok(())
}

fn check_placement(settings: &Service) -> Result<(), ServiceError> {
    let count = some(settings.placement_strategy.as_ref()).len();
    if count > MAX_STRATEGIES {
        return refused(format!("{count} placement strategies are too many: a service can have {MAX_STRATEGIES}."));
    }
    Ok(())
}

/// Whether `definition` has a container called `name`, and whether it maps `port`.
fn has_port(definition: &TaskDefinition, name: &str, port: i32) -> (bool, bool) {
    let containers = some(definition.container_definitions.as_ref());
    let Some(container) = containers.iter().find(|it| it.name.as_deref() == Some(name)) else { return (false, false) };
    (true, some(container.port_mappings.as_ref()).iter().any(|mapping| mapping.container_port == Some(port)))
}

fn check_target(definition: &TaskDefinition, name: &str, port: i32) -> Result<(), ServiceError> {
    match has_port(definition, name, port) {
        (false, _) => refused(format!("The container {name} does not exist in the task definition.")),
        (_, false) => refused(format!("The container {name} did not have a container port {port} defined.")),
        _ => Ok(()),
    }
}

fn check_load_balancers(settings: &Service, definition: Option<&TaskDefinition>) -> Result<(), ServiceError> {
    let balancers = some(settings.load_balancers.as_ref());
    if balancers.len() > MAX_TARGET_GROUPS {
        return refused(format!("load balancers can have at most {MAX_TARGET_GROUPS} items."));
    }
    let classic = balancers.iter().filter(|it| it.load_balancer_name.is_some()).count();
    if classic > 0 && balancers.len() > 1 {
        return refused("A service can have one Classic Load Balancer, or up to five target groups, but not both.");
    }
    let awsvpc = definition.is_some_and(|it| it.network_mode == Some(NetworkMode::Awsvpc));
    for balancer in balancers {
        check_load_balancer(balancer, definition, awsvpc)?;
    }
    // It holds for the health checks of containers, too: a service without load balancers can have one.
    if let Some(seconds) = settings.health_check_grace_period_seconds.filter(|seconds| *seconds < 0) {
        return refused(format!("healthCheckGracePeriodSeconds is {seconds}; it cannot be negative."));
    }
    if settings.role_arn.is_some() && balancers.is_empty() {
        return refused("role is only valid for services that are configured to use load balancers.");
    }
    if settings.role_arn.is_some() && awsvpc {
        return refused("You cannot specify an IAM role for services that require a service linked role.");
    }
    Ok(())
}

fn check_load_balancer(
    balancer: &LoadBalancer,
    definition: Option<&TaskDefinition>,
    awsvpc: bool,
) -> Result<(), ServiceError> {
    match (&balancer.target_group_arn, &balancer.load_balancer_name) {
        (Some(_), Some(_)) => {
            return refused(
                "loadBalancerName and targetGroupArn cannot both be specified. You must specify either a loadBalancerName or a targetGroupArn.",
            );
        }
        (None, None) => return refused("A load balancer needs a targetGroupArn or a loadBalancerName."),
        (None, Some(_)) if awsvpc => {
            return refused("Classic Load Balancers are not supported with the awsvpc network mode.");
        }
        _ => {}
    }
    let (Some(name), Some(port)) = (&balancer.container_name, balancer.container_port) else {
        return refused("A load balancer needs a containerName and a containerPort.");
    };
    definition.map_or(Ok(()), |definition| check_target(definition, name, port))
}

fn check_network(settings: &Service, definition: &TaskDefinition) -> Result<(), ServiceError> {
    let awsvpc = definition.network_mode == Some(NetworkMode::Awsvpc);
    let fargate = is_fargate(settings);
    if fargate && !awsvpc {
        return refused("Task definition does not support launch_type FARGATE.");
    }
    let given = settings.network_configuration.as_ref().and_then(|it| it.awsvpc_configuration.as_ref());
    match given {
        None if awsvpc => refused("Network Configuration must be provided when networkMode 'awsvpc' is specified."),
        None => Ok(()),
        Some(_) if !awsvpc => {
            refused("Network Configuration is not valid for the given networkMode of this task definition.")
        }
        Some(given) => {
            let (subnets, groups) = (some(given.subnets.as_ref()).len(), some(given.security_groups.as_ref()).len());
            if subnets == 0 {
                return refused("subnets can not be empty.");
            }
            if subnets > MAX_SUBNETS {
                return refused(format!("subnets can have at most {MAX_SUBNETS} items; {subnets} were given."));
            }
            if groups > MAX_SECURITY_GROUPS {
                return refused(format!(
                    "securityGroups can have at most {MAX_SECURITY_GROUPS} items; {groups} were given."
                ));
            }
            if given.assign_public_ip == Some(AssignPublicIp::Enabled) && !fargate {
                return refused("Assign public IP is not supported for this launch type.");
            }
            Ok(())
        }
    }
}

fn check_registries(settings: &Service, definition: &TaskDefinition) -> Result<(), ServiceError> {
    for registry in some(settings.service_registries.as_ref()) {
        check_registry(registry, definition)?;
    }
    Ok(())
}

fn check_registry(registry: &ServiceRegistry, definition: &TaskDefinition) -> Result<(), ServiceError> {
    if registry.registry_arn.as_deref().unwrap_or("").is_empty() {
        return refused("A service registry needs a registryArn.");
    }
    let target = (registry.container_name.as_deref(), registry.container_port);
    match (&definition.network_mode, target) {
        (Some(NetworkMode::None), _) => refused("Service registries are not supported with networkMode 'none'."),
        (Some(NetworkMode::Awsvpc), (None, None)) => Ok(()),
        (Some(NetworkMode::Awsvpc), _) if registry.port.is_some() => {
            refused("A service registry takes either port, or containerName and containerPort, not both.")
        }
        (_, (Some(name), Some(port))) => check_target(definition, name, port),
        _ => refused(
            "When specifying 'host' or 'bridge' for networkMode, values for 'containerName' and 'containerPort' must be specified from the task definition.",
        ),
    }
}

fn check_controller(settings: &Service, definition: Option<&TaskDefinition>) -> Result<(), ServiceError> {
    match controller(settings) {
        None | Some(DeploymentControllerType::Ecs) if definition.is_none() => {
            refused("TaskDefinition can not be blank.")
        }
        None | Some(DeploymentControllerType::Ecs) => Ok(()),
        Some(DeploymentControllerType::CodeDeploy) => check_code_deploy(settings, definition),
        Some(DeploymentControllerType::External) => {
            let task_set_only = definition.is_some()
                || settings.network_configuration.is_some()
                || settings.platform_version.is_some()
                || settings.launch_type.is_some()
                || !some(settings.capacity_provider_strategy.as_ref()).is_empty()
                || !some(settings.load_balancers.as_ref()).is_empty()
                || !some(settings.service_registries.as_ref()).is_empty();
            if task_set_only {
                return refused(
                    "With the EXTERNAL deployment controller, task definition, launch type, capacity provider strategy, platform version, network configuration, load balancers and service registries belong to the task sets: leave them out.",
                );
            }
            Ok(())
        }
        Some(other) => refused(format!("The deployment controller type '{}' is not valid.", other.as_str())),
    }
}

fn check_code_deploy(settings: &Service, definition: Option<&TaskDefinition>) -> Result<(), ServiceError> {
    if definition.is_none() {
        return refused("TaskDefinition can not be blank.");
    }
    let balancers = some(settings.load_balancers.as_ref());
    if balancers.is_empty() {
        return refused("The CODE_DEPLOY deployment controller needs a load balancer with a target group.");
    }
    if balancers.iter().any(|it| it.load_balancer_name.is_some()) {
        return refused("The CODE_DEPLOY deployment controller does not support Classic Load Balancers.");
    }
    if !some(settings.capacity_provider_strategy.as_ref()).is_empty() {
        return refused("The CODE_DEPLOY deployment controller does not support capacity provider strategies.");
    }
    Ok(())
}
