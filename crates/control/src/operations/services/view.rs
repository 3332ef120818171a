//! A service as answers show it.

use longshore_api::ecs::{
    Deployment, DeploymentControllerType, ResourceManagementType, Service, ServiceCurrentRevisionSummary,
};
use longshore_model::records::TaskStatus;
use longshore_model::service::{DeploymentRecord, ServiceRecord};
use longshore_model::{Scope, tags};

use crate::state::ClusterState;

/// Numbers of pending and of RUNNING tasks with this `startedBy`.
pub(super) fn counts(cluster: &ClusterState, started_by: &str) -> (i32, i32) {
    let ids = cluster.index.started_by.get(started_by).into_iter().flatten();
    ids.filter_map(|id| cluster.tasks.get(id)).fold((0, 0), |(pending, running), task| {
        let status = task.last_status;
        (pending + i32::from(status < TaskStatus::Running), running + i32::from(status == TaskStatus::Running))
    })
}

/// Counts of `cluster`, the rest of `record`; tags only when asked for.
pub(super) fn view(scope: &Scope, cluster: &ClusterState, record: &ServiceRecord, with_tags: bool) -> Service {
    let name = &cluster.record.name;
    let deployments: Vec<Deployment> =
        record.deployments.iter().enumerate().map(|(at, it)| deployment(scope, cluster, it, at == 0)).collect();
    let sum = |count: fn(&Deployment) -> Option<i32>| Some(deployments.iter().filter_map(count).sum());
    let primary = record.deployments.first();
    let external = record.controller() == DeploymentControllerType::External;
    let revisions = record.deployments.iter().map(|it| revision(scope, cluster, record, it)).collect();
    let service_deployment = record.service_deployment.as_deref();
    Service {
        service_arn: Some(record.arn(scope, name)),
        service_name: Some(record.name.clone()),
        cluster_arn: Some(scope.cluster_arn(name)),
        status: Some(record.status.as_str().to_owned()),
        desired_count: Some(record.desired_count),
        running_count: sum(|deployment| deployment.running_count),
        pending_count: sum(|deployment| deployment.pending_count),
        task_definition: primary.map(|it| scope.task_definition_arn(&it.family, it.revision)),
        task_sets: external.then(Vec::new),
        events: Some(record.events.clone()),
        created_at: Some(record.created_at),
        created_by: Some(record.created_by.clone()),
        current_service_deployment: service_deployment.map(|id| scope.service_deployment_arn(name, &record.name, id)),
        current_service_revisions: Some(revisions),
        resource_management_type: Some(ResourceManagementType::Customer),
        tags: with_tags.then(|| tags::to_list(&record.tags)),
        deployments: Some(deployments),
        ..record.settings.clone()
    }
}

fn revision(
    scope: &Scope,
    cluster: &ClusterState,
    service: &ServiceRecord,
    record: &DeploymentRecord,
) -> ServiceCurrentRevisionSummary {
    let (pending, running) = counts(cluster, &record.id);
    ServiceCurrentRevisionSummary {
        arn: Some(scope.service_revision_arn(&cluster.record.name, &service.name, record.number())),
        requested_task_count: Some(record.desired_count),
        running_task_count: Some(running),
        pending_task_count: Some(pending),
    }
}

fn deployment(scope: &Scope, cluster: &ClusterState, record: &DeploymentRecord, primary: bool) -> Deployment {
    let (pending, running) = counts(cluster, &record.id);
    Deployment {
        id: Some(record.id.clone()),
        status: Some(if primary { "PRIMARY" } else { "ACTIVE" }.to_owned()),
        task_definition: Some(scope.task_definition_arn(&record.family, record.revision)),
        desired_count: Some(record.desired_count),
        pending_count: Some(pending),
        running_count: Some(running),
        failed_tasks: Some(record.failed_tasks),
        created_at: Some(record.created_at),
        updated_at: Some(record.updated_at),
        rollout_state: Some(record.rollout_state.clone()),
        rollout_state_reason: Some(record.rollout_reason.clone()),
        ..record.settings.clone()
    }
}
