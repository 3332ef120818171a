//! `networkConfiguration` of a launch call.

use longshore_api::ServiceError;
use longshore_api::ecs::{AssignPublicIp, NetworkConfiguration, NetworkMode, TaskDefinition, error};

const MAX_SUBNETS: usize = 16;
const MAX_SECURITY_GROUPS: usize = 5;

/// Checks that a task of `definition` on a container instance may have this network configuration.
///
/// # Errors
/// `InvalidParameterException`.
pub(super) fn check(
    definition: &TaskDefinition,
    configuration: Option<&NetworkConfiguration>,
) -> Result<(), ServiceError> {
    let awsvpc = definition.network_mode == Some(NetworkMode::Awsvpc);
    let given = configuration.and_then(|configuration| configuration.awsvpc_configuration.as_ref());
    let Some(given) = given else {
        return if awsvpc {
            Err(error::invalid_parameter_exception(
                "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
            ))
        } else {
            Ok(())
        };
    };
    if !awsvpc {
        return Err(error::invalid_parameter_exception(
            "Network Configuration is not valid for the given networkMode of this task definition.",
        ));
    }
    let subnets = given.subnets.as_ref().map_or(0, Vec::len);
    if subnets == 0 {
        return Err(error::invalid_parameter_exception("subnets can not be empty."));
    }
    if subnets > MAX_SUBNETS {
        let message = format!("subnets can have at most {MAX_SUBNETS} items; {subnets} were given.");
        return Err(error::invalid_parameter_exception(message));
    }
    let groups = given.security_groups.as_ref().map_or(0, Vec::len);
    if groups > MAX_SECURITY_GROUPS {
        let message = format!("securityGroups can have at most {MAX_SECURITY_GROUPS} items; {groups} were given.");
        return Err(error::invalid_parameter_exception(message));
    }
    if given.assign_public_ip == Some(AssignPublicIp::Enabled) {
        return Err(error::invalid_parameter_exception("Assign public IP is not supported for this launch type."));
    }
    Ok(())
}

/// A placed awsvpc task needs a network interface, which nothing here can attach yet.
///
/// # Errors
/// `UnsupportedFeatureException`.
pub(super) fn check_placed(definition: &TaskDefinition, placed: bool) -> Result<(), ServiceError> {
    if placed && definition.network_mode == Some(NetworkMode::Awsvpc) {
        return Err(error::unsupported_feature_exception(
            "Tasks with networkMode 'awsvpc' are not supported yet: use bridge, host or none.",
        ));
    }
    Ok(())
}
