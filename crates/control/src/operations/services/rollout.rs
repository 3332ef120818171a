//! How a deployment begins, and how it is stopped for another.

use std::sync::Arc;

use longshore_api::ecs::{Deployment, DeploymentRolloutState, Service, ServiceDeploymentStatus, TaskDefinition};
use longshore_model::records::TaskDefinitionRecord;
use longshore_model::service::{
    DeploymentRecord, RevisionSettings, ServiceDeploymentRecord, ServiceRecord, ServiceRevisionRecord, connect,
};
use longshore_model::{Scope, fargate};
use longshore_seams::{Random, Timestamp};

use crate::changes::{Change, Changes};
use crate::state::ClusterState;

/// Ten digits and nine more, as the ids of ECS's own deployments.
pub(crate) fn deployment_id(random: &dyn Random) -> String {
    format!("ecs-svc/{:019}", random.below(10_000_000_000_000_000_000))
}

/// The number of a platform version: that of LATEST is settled when the deployment is made.
fn platform(given: &str, definition: &TaskDefinition) -> String {
    fargate::platform_version(Some(given), definition, false).unwrap_or(given).to_owned()
}

/// A deployment that has just begun.
pub(crate) fn deployment(
    definition: &TaskDefinitionRecord,
    settings: &Service,
    desired_count: i32,
    now: Timestamp,
    random: &dyn Random,
) -> DeploymentRecord {
    let id = deployment_id(random);
    DeploymentRecord {
        family: definition.family.clone(),
        revision: definition.revision,
        settings: Deployment {
            launch_type: settings.launch_type.clone(),
            capacity_provider_strategy: settings.capacity_provider_strategy.clone(),
            platform_version: settings.platform_version.as_deref().map(|given| platform(given, &definition.definition)),
            platform_family: settings.platform_family.clone(),
            network_configuration: settings.network_configuration.clone(),
            ..Deployment::default()
        },
        desired_count,
        created_at: now,
        updated_at: now,
        rollout_state: DeploymentRolloutState::InProgress,
        rollout_reason: format!("ECS deployment {id} in progress."),
        failed_tasks: 0,
        healthy_at_failure: None,
        failures_in_a_row: 0,
        counted: None,
        retry_at: None,
        refused: None,
        id,
    }
}

/// Keeps in a deployment what of `beside` deployments show.
fn show(scope: &Scope, beside: &RevisionSettings, deployment: &mut DeploymentRecord) {
    let shown = &mut deployment.settings;
    shown.service_connect_configuration.clone_from(&beside.service_connect);
    shown.service_connect_resources = beside.service_connect.as_ref().map(|it| connect::resources(scope, it));
    shown.volume_configurations = Some(beside.volumes.clone()).filter(|list| !list.is_empty());
    shown.vpc_lattice_configurations = Some(beside.vpc_lattice.clone()).filter(|list| !list.is_empty());
}

/// Begins a deployment of `record` with its settings as they are: its PRIMARY deployment, its service
/// revision and its service deployment, which stops one that still goes on.
pub(super) fn begin(
    scope: &Scope,
    cluster: &ClusterState,
    record: &mut ServiceRecord,
    definition: &TaskDefinitionRecord,
    (now, random): (Timestamp, &dyn Random),
    changes: &mut Changes,
) {
    stop_ongoing(scope, cluster, record, "A new service deployment was started.", now, changes);
    let mut new = deployment(definition, &record.settings, record.desired_count, now, random);
    show(scope, &record.revision_settings, &mut new);
    let settings = (&record.settings, &record.revision_settings);
    let revision = ServiceRevisionRecord::of(record.cluster, &record.name, settings, &new, &definition.definition);
    let service_deployment = ServiceDeploymentRecord::begin(record, &new, random);
    record.service_deployment = Some(service_deployment.id.clone());
    record.deployments.insert(0, new);
    changes.push(Change::PutServiceRevision(scope.clone(), Arc::new(revision)));
    changes.push(Change::PutServiceDeployment(scope.clone(), Arc::new(service_deployment)));
}

/// Stops the service deployment of `record`, if one goes on, because something else takes its place.
pub(super) fn stop_ongoing(
    scope: &Scope,
    cluster: &ClusterState,
    record: &ServiceRecord,
    reason: &str,
    now: Timestamp,
    changes: &mut Changes,
) {
    let Some(ongoing) = cluster.service_deployment(record).filter(|it| it.is_ongoing()) else { return };
    let mut stopped = ServiceDeploymentRecord::clone(ongoing);
    stopped.become_status(ServiceDeploymentStatus::Stopped, Some(reason.to_owned()), now);
    super::service_deployments::freeze_counts(cluster, record, &mut stopped);
    changes.push(Change::PutServiceDeployment(scope.clone(), Arc::new(stopped)));
}
