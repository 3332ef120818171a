//! VPC Lattice: what a service may ask for. Nothing registers its tasks with target groups here.

use longshore_api::ServiceError;
use longshore_api::ecs::{
    DeploymentControllerType, DeploymentStrategy, LaunchType, Service, TaskDefinition, VpcLatticeConfiguration,
};

use super::revision_settings::{named_port, refused};
use crate::{Arn, names};

/// Most target groups of a service, as of load balancers.
const MAX_TARGET_GROUPS: usize = 5;

/// Checks configurations together with the service's settings and its task definition.
///
/// # Errors
/// `InvalidParameterException`, naming the first rule that is broken.
pub(super) fn check(
    configurations: &[VpcLatticeConfiguration],
    settings: &Service,
    definition: Option<&TaskDefinition>,
) -> Result<(), ServiceError> {
    if configurations.is_empty() {
        return Ok(());
    }
    if configurations.len() > MAX_TARGET_GROUPS {
        return refused(format!("vpcLatticeConfigurations can have at most {MAX_TARGET_GROUPS} items."));
    }
    let controller = settings.deployment_controller.as_ref().and_then(|it| it.r#type.as_ref());
    if let Some(other) = controller.filter(|it| **it != DeploymentControllerType::Ecs) {
        return refused(format!(
            "VPC Lattice is not supported with the {} deployment controller: use ECS.",
            other.as_str()
        ));
    }
    if settings.launch_type == Some(LaunchType::External) {
        return refused("VPC Lattice is not supported with the EXTERNAL launch type.");
    }
    let strategy = settings.deployment_configuration.as_ref().and_then(|it| it.strategy.as_ref());
    let rolling = strategy.is_none_or(|it| *it == DeploymentStrategy::Rolling);
    for (at, configuration) in configurations.iter().enumerate() {
        if let Some(definition) = definition {
            named_port(definition, "A VPC Lattice configuration", configuration.port_name.as_deref())?;
        }
        check_arns(configuration)?;
        let shares = |it: &VpcLatticeConfiguration| {
            it.target_group_arn == configuration.target_group_arn && it.port_name == configuration.port_name
        };
        if configurations[..at].iter().any(shares) {
            return refused(format!(
                "The target group {} is in two VPC Lattice configurations of the port '{}': once is enough.",
                configuration.target_group_arn.as_deref().unwrap_or_default(),
                configuration.port_name.as_deref().unwrap_or_default()
            ));
        }
        check_shift(configuration, rolling)?;
    }
    Ok(())
}

fn is_lattice(text: &str, prefix: &str) -> bool {
    Arn::parse(text).is_some_and(|arn| arn.service == "vpc-lattice" && arn.resource.starts_with(prefix))
}

fn check_target_group(member: &str, given: Option<&str>) -> Result<(), ServiceError> {
    let given = given.unwrap_or_default();
    if is_lattice(given, "targetgroup/") {
        return Ok(());
    }
    refused(format!("The {member} '{given}' is not the ARN of a VPC Lattice target group."))
}

fn check_arns(configuration: &VpcLatticeConfiguration) -> Result<(), ServiceError> {
    check_target_group("targetGroupArn", configuration.target_group_arn.as_deref())?;
    let role = configuration.role_arn.as_deref().unwrap_or_default();
    if !(role.starts_with("arn:") && names::is_role(role)) {
        return refused(format!("The roleArn '{role}' of a VPC Lattice configuration is not the ARN of a role."));
    }
    Ok(())
}

/// What a deployment needs that moves traffic from one target group to another.
fn check_shift(configuration: &VpcLatticeConfiguration, rolling: bool) -> Result<(), ServiceError> {
    let Some(advanced) = &configuration.advanced_configuration else { return Ok(()) };
    if rolling {
        return refused(
            "The advancedConfiguration of VPC Lattice is only valid with the deployment strategies BLUE_GREEN, LINEAR and CANARY.",
        );
    }
    check_target_group("alternateTargetGroupArn", advanced.alternate_target_group_arn.as_deref())?;
    if advanced.alternate_target_group_arn == configuration.target_group_arn {
        return refused("The alternateTargetGroupArn of a VPC Lattice configuration must be another than its own.");
    }
    let rules = [
        ("productionListenerRule", advanced.production_listener_rule.as_deref()),
        ("testListenerRule", advanced.test_listener_rule.as_deref()),
    ];
    if rules[0].1.is_none() {
        return refused("The advancedConfiguration of VPC Lattice needs a productionListenerRule.");
    }
    let wrong = rules.into_iter().find(|(_, rule)| rule.is_some_and(|arn| !is_lattice(arn, "service/")));
    match wrong {
        Some((member, rule)) => {
            refused(format!("The {member} '{}' is not the ARN of a VPC Lattice rule.", rule.unwrap_or_default()))
        }
        None => Ok(()),
    }
}
