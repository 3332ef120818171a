//! Clusters.

mod change;
mod create;
mod delete;
mod describe;
mod providers;
mod rules;
#[cfg(test)]
mod tests;

pub use change::{update, update_settings};
pub use create::create;
pub use delete::delete;
pub use describe::{describe, list};
pub use providers::put_capacity_providers;

use std::collections::BTreeSet;

use longshore_api::ecs::{Cluster, ClusterField, ClusterServiceConnectDefaults, KeyValuePair, LaunchType};
use longshore_model::records::ClusterRecord;
use longshore_model::service::ServiceStatus;
use longshore_model::{Scope, tags};

use crate::state::ClusterState;

/// What a description shows beside the basics.
type Include = BTreeSet<Field>;

/// As `ClusterField`, but ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Field {
    Attachments,
    Configurations,
    Settings,
    Statistics,
    Tags,
}

impl Field {
    fn of(field: &ClusterField) -> Option<Self> {
        Some(match field {
            ClusterField::Attachments => Self::Attachments,
            ClusterField::Configurations => Self::Configurations,
            ClusterField::Settings => Self::Settings,
            ClusterField::Statistics => Self::Statistics,
            ClusterField::Tags => Self::Tags,
            ClusterField::UnknownVariant(_) => return None,
        })
    }

    /// What the calls that make or change a cluster answer.
    fn of_changes() -> Include {
        BTreeSet::from([Self::Configurations, Self::Settings, Self::Tags])
    }
}

fn count(count: usize) -> Option<i32> {
    Some(i32::try_from(count).unwrap_or(i32::MAX))
}

/// The API's view of a cluster: counts of `cluster`, the rest of `record`, which is its own or what it is about to be.
fn view(scope: &Scope, cluster: &ClusterState, record: &ClusterRecord, include: &Include) -> Cluster {
    let shown = |field| include.contains(&field);
    Cluster {
        cluster_arn: Some(scope.cluster_arn(&record.name)),
        cluster_name: Some(record.name.clone()),
        configuration: record.configuration.clone().filter(|_| shown(Field::Configurations)),
        status: Some(record.status.as_str().to_owned()),
        registered_container_instances_count: count(cluster.registered_instances()),
        running_tasks_count: count(cluster.index.running_count),
        pending_tasks_count: count(cluster.index.pending.len()),
        active_services_count: count(cluster.services_with(ServiceStatus::Active).count()),
        statistics: Some(if shown(Field::Statistics) { statistics(cluster) } else { Vec::new() }),
        tags: Some(if shown(Field::Tags) { tags::to_list(&record.tags) } else { Vec::new() }),
        settings: Some(if shown(Field::Settings) { rules::effective_settings(record) } else { Vec::new() }),
        capacity_providers: Some(record.capacity_providers.clone()),
        default_capacity_provider_strategy: Some(record.default_strategy.clone()),
        attachments: shown(Field::Attachments).then(|| record.attachments.clone()),
        attachments_status: (shown(Field::Attachments) && !record.attachments.is_empty())
            .then(|| "UPDATE_COMPLETE".to_owned()),
        service_connect_defaults: record
            .service_connect_namespace
            .clone()
            .map(|namespace| ClusterServiceConnectDefaults { namespace: Some(namespace) }),
    }
}

/// Counts by launch type (API reference, `ClusterField`).
fn statistics(cluster: &ClusterState) -> Vec<KeyValuePair> {
    let types = [(LaunchType::Ec2, "EC2"), (LaunchType::Fargate, "Fargate"), (LaunchType::External, "External")];
    let tasks =
        |launch_type: &LaunchType| cluster.index.launch_types.get(launch_type.as_str()).copied().unwrap_or_default();
    let services = |status: ServiceStatus, launch_type: &LaunchType| {
        cluster.services_with(status).filter(|it| it.settings.launch_type.as_ref() == Some(launch_type)).count()
    };
    let mut pairs = Vec::new();
    let mut add = |name: String, value: usize| {
        pairs.push(KeyValuePair { name: Some(name), value: Some(value.to_string()) });
    };
    for (launch_type, name) in &types {
        add(format!("running{name}TasksCount"), tasks(launch_type).0);
    }
    for (launch_type, name) in &types {
        add(format!("pending{name}TasksCount"), tasks(launch_type).1);
    }
    for (launch_type, name) in &types {
        add(format!("active{name}ServiceCount"), services(ServiceStatus::Active, launch_type));
    }
    for (launch_type, name) in &types {
        add(format!("draining{name}ServiceCount"), services(ServiceStatus::Draining, launch_type));
    }
    pairs
}
