//! `networkConfiguration` of a launch call.

use longshore_api::ServiceError;
use longshore_api::ecs::{AssignPublicIp, LaunchType, NetworkConfiguration, NetworkMode, TaskDefinition, error};
use longshore_model::{Scope, vpc};

use super::capacity::Network;

const MAX_SUBNETS: usize = 16;
const MAX_SECURITY_GROUPS: usize = 5;

fn invalid(message: impl Into<String>) -> ServiceError {
    error::invalid_parameter_exception(message)
}

/// Checks that tasks of `definition` may have this network configuration, and reads its subnets.
///
/// # Errors
/// `InvalidParameterException`.
pub(crate) fn check(
    scope: &Scope,
    definition: &TaskDefinition,
    configuration: Option<&NetworkConfiguration>,
    launch_type: &LaunchType,
) -> Result<Network, ServiceError> {
    let awsvpc = definition.network_mode == Some(NetworkMode::Awsvpc);
    let given = configuration.and_then(|configuration| configuration.awsvpc_configuration.as_ref());
    let Some(given) = given else {
        return if awsvpc {
            Err(invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified."))
        } else {
            Ok(Network::default())
        };
    };
    if !awsvpc {
        return Err(invalid("Network Configuration is not valid for the given networkMode of this task definition."));
    }
    let named = given.subnets.as_deref().unwrap_or_default();
    if named.is_empty() {
        return Err(invalid("subnets can not be empty."));
    }
    if named.len() > MAX_SUBNETS {
        return Err(invalid(format!("subnets can have at most {MAX_SUBNETS} items; {} were given.", named.len())));
    }
    let groups = given.security_groups.as_deref().unwrap_or_default();
    if groups.len() > MAX_SECURITY_GROUPS {
        return Err(invalid(format!(
            "securityGroups can have at most {MAX_SECURITY_GROUPS} items; {} were given.",
            groups.len()
        )));
    }
    if given.assign_public_ip == Some(AssignPublicIp::Enabled) && *launch_type != LaunchType::Fargate {
        return Err(invalid("Assign public IP is not supported for this launch type."));
    }
    let subnets = named.iter().map(|id| {
        vpc::subnet(scope, id).ok_or_else(|| {
            invalid(format!(
                "Error retrieving subnet information for [{id}]: The subnet ID '{id}' does not exist (ErrorCode: InvalidSubnetID.NotFound)"
            ))
        })
    });
    let subnets = subnets.collect::<Result<_, _>>()?;
    if let Some(id) = groups.iter().find(|id| !vpc::is_security_group(id)) {
        return Err(invalid(format!(
            "Error retrieving security group information for [{id}]: The security group '{id}' does not exist (ErrorCode: InvalidGroup.NotFound)"
        )));
    }
    Ok(Network { subnets, public_ip: given.assign_public_ip == Some(AssignPublicIp::Enabled) })
}
