//! Gateway connectors: what a service may ask for. No load balancer stands behind a gateway here.

use std::ops::RangeInclusive;

use longshore_api::ServiceError;
use longshore_api::ecs::{
    AccessType, DeploymentControllerType, GatewayConnector, GatewayConnectorHealthCheck, NetworkMode, Service,
    TaskDefinition,
};

use super::revision_settings::{named_port, refused};

/// Bounds of health checks, as of an Application Load Balancer's.
const PORT: RangeInclusive<i32> = 1..=65535;
const TIMEOUT_SECONDS: RangeInclusive<i32> = 2..=120;
const INTERVAL_SECONDS: RangeInclusive<i32> = 5..=300;
const THRESHOLD: RangeInclusive<i32> = 2..=10;
/// Most characters of a health check's path.
const MAX_PATH: usize = 1024;

/// Checks connectors together with the service's settings and its task definition.
///
/// # Errors
/// `InvalidParameterException`, naming the first rule that is broken.
pub(super) fn check(
    connectors: &[GatewayConnector],
    settings: &Service,
    definition: Option<&TaskDefinition>,
) -> Result<(), ServiceError> {
    if connectors.is_empty() {
        return Ok(());
    }
    let controller = settings.deployment_controller.as_ref().and_then(|it| it.r#type.as_ref());
    if let Some(other) = controller.filter(|it| **it != DeploymentControllerType::Ecs) {
        return refused(format!(
            "Gateway connectors are not supported with the {} deployment controller: use ECS.",
            other.as_str()
        ));
    }
    for connector in connectors {
        if let Some(definition) = definition {
            if definition.network_mode != Some(NetworkMode::Awsvpc) {
                return refused("Gateway connectors need a task definition with the network mode awsvpc.");
            }
            named_port(definition, "A gateway connector", connector.port_name.as_deref())?;
        }
        if let Some(health_check) = &connector.health_check {
            check_health_check(health_check)?;
        }
        let types = access_types(connector);
        if types.len() == 2 && types[0] == types[1] {
            return refused(format!("The accessType {} of a gateway connector is given twice.", types[0].as_str()));
        }
    }
    Ok(())
}

/// Which kinds of gateways a connector takes; all when none is given.
#[must_use]
pub fn access_types(connector: &GatewayConnector) -> &[AccessType] {
    connector.filters.as_ref().and_then(|it| it.access_types.as_deref()).unwrap_or_default()
}

fn check_health_check(given: &GatewayConnectorHealthCheck) -> Result<(), ServiceError> {
    let bounded = [
        ("healthCheckPort", given.health_check_port, PORT),
        ("healthCheckTimeoutSeconds", given.health_check_timeout_seconds, TIMEOUT_SECONDS),
        ("healthCheckIntervalSeconds", given.health_check_interval_seconds, INTERVAL_SECONDS),
        ("healthyThresholdCount", given.healthy_threshold_count, THRESHOLD),
        ("unhealthyThresholdCount", given.unhealthy_threshold_count, THRESHOLD),
    ];
    for (member, value, bounds) in bounded {
        if let Some(value) = value.filter(|value| !bounds.contains(value)) {
            return refused(format!(
                "{member} is {value}; it must be between {} and {}.",
                bounds.start(),
                bounds.end()
            ));
        }
    }
    let path = given.health_check_path.as_deref();
    if let Some(path) = path.filter(|path| !path.starts_with('/') || path.len() > MAX_PATH) {
        return refused(format!(
            "The healthCheckPath '{path}' is not valid: it begins with a slash and has at most {MAX_PATH} characters."
        ));
    }
    if let (Some(timeout), Some(interval)) = (given.health_check_timeout_seconds, given.health_check_interval_seconds)
        && timeout >= interval
    {
        return refused(format!(
            "healthCheckTimeoutSeconds is {timeout}; it must be less than healthCheckIntervalSeconds, which is {interval}."
        ));
    }
    Ok(())
}
