//! Capacity providers: the record, the two that every account has, and what may be asked of others.

use longshore_api::ServiceError;
use longshore_api::ecs::{
    self, AutoScalingGroupProvider, CapacityProviderStatus, CapacityProviderType, CapacityProviderUpdateStatus,
    ManagedDraining, ManagedScaling, ManagedScalingStatus, ManagedTerminationProtection, error,
};
use longshore_seams::Timestamp;
use serde::{Deserialize, Serialize};

use crate::record::Record;
use crate::records::Tags;
use crate::{Arn, Scope, names, tags};

/// Capacity providers that every account has without making them (guide chapter 3).
pub const BUILT_IN: [&str; 2] = ["FARGATE", FARGATE_SPOT];
/// The built-in one whose tasks may be interrupted.
pub const FARGATE_SPOT: &str = "FARGATE_SPOT";
/// Built-in attribute with which an agent says to which capacity provider its machine belongs.
pub const CAPACITY_PROVIDER: &str = "ecs.longshore.capacity-provider";
/// Beginnings of names, in any case, that are not for users.
const RESERVED_PREFIXES: [&str; 3] = ["aws", "ecs", "fargate"];

/// A capacity provider over an Auto Scaling group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CapacityProviderRecord {
    /// Its name: unique in an account and region.
    pub name: String,
    /// ACTIVE, or INACTIVE once it was deleted.
    pub status: CapacityProviderStatus,
    /// How the last change of it went; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_status: Option<CapacityProviderUpdateStatus>,
    /// The group and its settings, with defaults filled in.
    pub group: AutoScalingGroupProvider,
    /// When it was made.
    pub created_at: Timestamp,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

impl Record for CapacityProviderRecord {
    const KIND: &'static str = "capacity provider";
    const FORMAT: u8 = 1;
}

impl CapacityProviderRecord {
    /// Whether it can be used.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.status == CapacityProviderStatus::Active
    }

    /// Whether ECS scales its group.
    #[must_use]
    pub fn is_scaled(&self) -> bool {
        is_scaled(self.group.managed_scaling.as_ref())
    }

    /// The name of its group, which may have been given by its ARN.
    #[must_use]
    pub fn group_name(&self) -> &str {
        let given = self.group.auto_scaling_group_arn.as_deref().unwrap_or_default();
        given.rsplit_once(":autoScalingGroupName/").map_or(given, |(_, name)| name)
    }

    /// As answers show it; tags only when asked for.
    #[must_use]
    pub fn view(&self, scope: &Scope, with_tags: bool) -> ecs::CapacityProvider {
        ecs::CapacityProvider {
            capacity_provider_arn: Some(arn(scope, &self.name)),
            name: Some(self.name.clone()),
            status: Some(self.status.clone()),
            auto_scaling_group_provider: Some(self.group.clone()),
            update_status: self.update_status.clone(),
            tags: Some(if with_tags { tags::to_list(&self.tags) } else { Vec::new() }),
            r#type: Some(CapacityProviderType::Ec2Autoscaling),
            ..ecs::CapacityProvider::default()
        }
    }
}

/// `…:capacity-provider/NAME`.
#[must_use]
pub fn arn(scope: &Scope, name: &str) -> String {
    scope.ecs_arn(format_args!("capacity-provider/{name}"))
}

/// The name in `named`, which is a name or the ARN of a capacity provider of `scope`.
#[must_use]
pub fn name_of<'a>(scope: &Scope, named: &'a str) -> Option<&'a str> {
    if !named.starts_with("arn:") {
        return Some(named);
    }
    Arn::parse(named).filter(|arn| arn.is_ecs_in(scope))?.resource_of("capacity-provider")
}

/// FARGATE or FARGATE_SPOT as answers show it.
#[must_use]
pub fn built_in(scope: &Scope, name: &'static str) -> ecs::CapacityProvider {
    ecs::CapacityProvider {
        capacity_provider_arn: Some(arn(scope, name)),
        name: Some(name.to_owned()),
        status: Some(CapacityProviderStatus::Active),
        tags: Some(Vec::new()),
        r#type: Some(CapacityProviderType::from(name)),
        ..ecs::CapacityProvider::default()
    }
}

/// A new capacity provider's name.
///
/// # Errors
/// `ClientException`.
pub fn check_name(name: &str) -> Result<(), ServiceError> {
    let reserved = |prefix: &&str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    if names::is_name(name) && !RESERVED_PREFIXES.iter().any(reserved) {
        return Ok(());
    }
    Err(error::client_exception(format!(
        "The capacity provider name '{name}' is invalid: use 1 to 255 letters, digits, underscores and hyphens, and no name that begins with {}.",
        RESERVED_PREFIXES.join(", ")
    )))
}

fn is_scaled(scaling: Option<&ManagedScaling>) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_ecs_without_the_reserved_beginnings() {
        for name in ["a", "my_provider-1", "aw", &"x".repeat(255)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "a b", "aws-x", "ECSx", "Fargate", "FARGATE_SPOT", &"x".repeat(256)] {
            assert_eq!(check_name(name).unwrap_err().code, "ClientException", "{name}");
        }
    }

    #[test]
    fn a_provider_is_named_by_name_or_arn() {
        let scope = Scope::new("123456789012", "eu-west-1");
        assert_eq!(name_of(&scope, "a"), Some("a"));
        assert_eq!(name_of(&scope, &arn(&scope, "a")), Some("a"));
        assert_eq!(name_of(&scope, "arn:aws:ecs:us-east-1:123456789012:capacity-provider/a"), None);
        assert_eq!(name_of(&scope, &scope.cluster_arn("a")), None);
    }
}
