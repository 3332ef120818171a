//! Capacity providers: the record, the two that every account has, and what may be asked of others.

mod group;
mod managed;

pub use group::{group, update};
pub use managed::{provider as managed_instances, update as update_managed_instances};

use longshore_api::ServiceError;
use longshore_api::ecs::{
    self, AutoScalingGroupProvider, CapacityProviderStatus, CapacityProviderType, CapacityProviderUpdateStatus,
    LaunchType, ManagedInstancesProvider, error,
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

/// What is behind a capacity provider, with its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Source {
    /// An Auto Scaling group, with defaults filled in.
    #[serde(rename = "group")]
    Group(AutoScalingGroupProvider),
    /// Managed instances of one cluster.
    #[serde(rename = "managed_instances")]
    ManagedInstances(Box<ManagedInstances>),
}

/// Managed instances: they, and so their capacity provider, belong to one cluster (API reference,
/// `CreateCapacityProvider`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManagedInstances {
    /// The cluster's name. It cannot be deleted before the capacity provider.
    pub cluster: String,
    /// The settings, as they were given.
    pub provider: ManagedInstancesProvider,
}

/// A capacity provider that somebody made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CapacityProviderRecord {
    /// Its name: unique in an account and region.
    pub name: String,
    /// ACTIVE, or INACTIVE once it was deleted.
    pub status: CapacityProviderStatus,
    /// How the last change of it went; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_status: Option<CapacityProviderUpdateStatus>,
    /// What is behind it.
    #[serde(flatten)]
    pub source: Source,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it became INACTIVE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
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
        matches!(&self.source, Source::Group(given) if group::is_scaled(given.managed_scaling.as_ref()))
    }

    /// Whether more instances may come when tasks do not fit: tasks wait for them.
    #[must_use]
    pub fn grows(&self) -> bool {
        self.is_scaled() || matches!(self.source, Source::ManagedInstances(_))
    }

    /// The name of its Auto Scaling group, which may have been given by its ARN; none of managed instances.
    #[must_use]
    pub fn group_name(&self) -> Option<&str> {
        let Source::Group(group) = &self.source else { return None };
        let given = group.auto_scaling_group_arn.as_deref().unwrap_or_default();
        Some(given.rsplit_once(":autoScalingGroupName/").map_or(given, |(_, name)| name))
    }

    /// The name of the only cluster that can use it; none of an Auto Scaling group, which any can.
    #[must_use]
    pub fn cluster(&self) -> Option<&str> {
        match &self.source {
            Source::Group(_) => None,
            Source::ManagedInstances(managed) => Some(&managed.cluster),
        }
    }

    /// The launch type that tasks on it show.
    #[must_use]
    pub fn launch_type(&self) -> LaunchType {
        match &self.source {
            Source::Group(_) => LaunchType::Ec2,
            Source::ManagedInstances(_) => LaunchType::ManagedInstances,
        }
    }

    /// As answers show it; tags only when asked for.
    #[must_use]
    pub fn view(&self, scope: &Scope, with_tags: bool) -> ecs::CapacityProvider {
        let view = ecs::CapacityProvider {
            capacity_provider_arn: Some(arn(scope, &self.name)),
            name: Some(self.name.clone()),
            status: Some(self.status.clone()),
            update_status: self.update_status.clone(),
            tags: Some(if with_tags { tags::to_list(&self.tags) } else { Vec::new() }),
            ..ecs::CapacityProvider::default()
        };
        match &self.source {
            Source::Group(group) => ecs::CapacityProvider {
                auto_scaling_group_provider: Some(group.clone()),
                r#type: Some(CapacityProviderType::Ec2Autoscaling),
                ..view
            },
            Source::ManagedInstances(managed) => ecs::CapacityProvider {
                cluster: Some(managed.cluster.clone()),
                managed_instances_provider: Some(managed.provider.clone()),
                r#type: Some(CapacityProviderType::ManagedInstances),
                ..view
            },
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

    #[test]
    fn records_from_before_managed_instances_are_read() {
        let stored = br#"{"name":"a","status":"ACTIVE","group":{"autoScalingGroupArn":"g"},"created_at":0}"#;
        let record: CapacityProviderRecord = crate::record::decode(&[&[1], &stored[..]].concat()).unwrap();
        assert_eq!((record.group_name(), record.deleted_at), (Some("g"), None));
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let managed = ManagedInstances { cluster: "c".to_owned(), provider: ManagedInstancesProvider::default() };
        for source in [Source::Group(AutoScalingGroupProvider::default()), Source::ManagedInstances(Box::new(managed))]
        {
            let record = CapacityProviderRecord {
                name: "a".to_owned(),
                status: CapacityProviderStatus::Active,
                update_status: None,
                source,
                created_at: Timestamp::from_millis(5),
                deleted_at: None,
                tags: Tags::default(),
            };
            let read: CapacityProviderRecord = crate::record::decode(&crate::record::encode(&record)).unwrap();
            assert_eq!(read, record);
        }
    }
}
