//! Auto Scaling groups behind capacity providers.

use longshore_api::ServiceError;
use longshore_api::ecs::{
    self, AutoScalingGroupProvider, ManagedDraining, ManagedScaling, ManagedScalingStatus,
    ManagedTerminationProtection, error,
};

use crate::{Arn, Scope};

pub(super) fn is_scaled(scaling: Option<&ManagedScaling>) -> bool {
    scaling.is_some_and(|scaling| scaling.status == Some(ManagedScalingStatus::Enabled))
}

/// What a request gives for a group, with the API's defaults.
///
/// # Errors
/// `ClientException` for what names no Auto Scaling group of `scope`; as [`update`].
pub fn group(scope: &Scope, given: AutoScalingGroupProvider) -> Result<AutoScalingGroupProvider, ServiceError> {
    let arn = given.auto_scaling_group_arn.unwrap_or_default();
    check_group(scope, &arn)?;
    // Asking for something of managed scaling turns it on.
    let asked = given.managed_scaling.is_some();
    let base = AutoScalingGroupProvider {
        auto_scaling_group_arn: Some(arn),
        managed_scaling: Some(ManagedScaling {
            status: Some(if asked { ManagedScalingStatus::Enabled } else { ManagedScalingStatus::Disabled }),
            target_capacity: Some(100),
            minimum_scaling_step_size: Some(1),
            maximum_scaling_step_size: Some(10_000),
            instance_warmup_period: Some(300),
        }),
        managed_termination_protection: Some(ManagedTerminationProtection::Disabled),
        managed_draining: Some(ManagedDraining::Enabled),
    };
    let changes = ecs::AutoScalingGroupProviderUpdate {
        managed_scaling: given.managed_scaling,
        managed_termination_protection: given.managed_termination_protection,
        managed_draining: given.managed_draining,
    };
    update(&base, changes)
}

/// A group is given by its ARN or its name (API reference, `AutoScalingGroupProvider`).
fn check_group(scope: &Scope, text: &str) -> Result<(), ServiceError> {
    if !text.is_empty() && !text.starts_with("arn:") {
        return Ok(());
    }
    let is_group = |arn: &Arn<'_>| {
        arn.service == "autoscaling"
            && (arn.region, arn.account) == (scope.region.as_str(), scope.account.as_str())
            && arn
                .resource
                .strip_prefix("autoScalingGroup:")
                .is_some_and(|rest| rest.split_once(":autoScalingGroupName/").is_some_and(|(_, name)| !name.is_empty()))
    };
    if Arn::parse(text).as_ref().is_some_and(is_group) {
        return Ok(());
    }
    Err(error::client_exception(format!(
        "The Auto Scaling group ARN '{text}' is invalid: give the ARN or the name of a group of this account and region."
    )))
}

/// `group` with `changes` made; what they leave out stays.
///
/// # Errors
/// `InvalidParameterException` when steps cross, `ClientException` for termination protection without managed scaling.
pub fn update(
    group: &AutoScalingGroupProvider,
    changes: ecs::AutoScalingGroupProviderUpdate,
) -> Result<AutoScalingGroupProvider, ServiceError> {
    let mut group = group.clone();
    if let Some(given) = changes.managed_scaling {
        let known = group.managed_scaling.take().unwrap_or_default();
        group.managed_scaling = Some(ManagedScaling {
            status: given.status.or(known.status),
            target_capacity: given.target_capacity.or(known.target_capacity),
            minimum_scaling_step_size: given.minimum_scaling_step_size.or(known.minimum_scaling_step_size),
            maximum_scaling_step_size: given.maximum_scaling_step_size.or(known.maximum_scaling_step_size),
            instance_warmup_period: given.instance_warmup_period.or(known.instance_warmup_period),
        });
    }
    if changes.managed_termination_protection.is_some() {
        group.managed_termination_protection = changes.managed_termination_protection;
    }
    if changes.managed_draining.is_some() {
        group.managed_draining = changes.managed_draining;
    }
    check(&group)?;
    Ok(group)
}

fn check(group: &AutoScalingGroupProvider) -> Result<(), ServiceError> {
    let invalid = |member: &str, value: &str| {
        Err(error::invalid_parameter_exception(format!("{member} is '{value}': use ENABLED or DISABLED.")))
    };
    let scaling = group.managed_scaling.clone().unwrap_or_default();
    if let Some(ManagedScalingStatus::UnknownVariant(value)) = &scaling.status {
        return invalid("managedScaling.status", value);
    }
    if let Some(ManagedTerminationProtection::UnknownVariant(value)) = &group.managed_termination_protection {
        return invalid("managedTerminationProtection", value);
    }
    if let Some(ManagedDraining::UnknownVariant(value)) = &group.managed_draining {
        return invalid("managedDraining", value);
    }
    if let (Some(least), Some(most)) = (scaling.minimum_scaling_step_size, scaling.maximum_scaling_step_size)
        && least > most
    {
        return Err(error::invalid_parameter_exception(format!(
            "minimumScalingStepSize {least} is more than maximumScalingStepSize {most}."
        )));
    }
    let protected = group.managed_termination_protection == Some(ManagedTerminationProtection::Enabled);
    if protected && !is_scaled(Some(&scaling)) {
        return Err(error::client_exception(
            "The managed termination protection setting for the capacity provider is invalid: it needs managed scaling to be ENABLED.",
        ));
    }
    Ok(())
}
