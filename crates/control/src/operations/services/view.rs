//! A service as answers show it.

use longshore_api::ecs::{
    Deployment, DeploymentControllerType, ResourceManagementType, Service, ServiceCurrentRevisionSummary,
};
use longshore_model::records::TaskStatus;
use longshore_model::service::{DeploymentRecord, ServiceRecord, TaskSetRecord, TaskSetStatus};
use longshore_model::{Scope, tags};

use crate::operations::task_sets;
use crate::state::ClusterState;

/// Numbers of pending and of RUNNING tasks with this `startedBy`.
pub(crate) fn counts(cluster: &ClusterState, started_by: &str) -> (i32, i32) {
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
    let (pending, running) =
        record.sources().map(|it| counts(cluster, &it.id)).fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
    let primary = record.deployments.first();
    let primary_set = record.task_sets.iter().find(|set| set.status == TaskSetStatus::Primary);
    let task_sets =
        record.task_sets.iter().map(|it| task_sets::view(scope, cluster, &record.name, it, with_tags)).collect();
    let settings = primary_set.map_or_else(|| record.settings.clone(), |set| shown(&record.settings, set));
    let balanced = settings.load_balancers.as_ref().is_some_and(|it| !it.is_empty());
    let revisions = record.deployments.iter().map(|it| revision(scope, cluster, record, it)).collect();
    let service_deployment = record.service_deployment.as_deref();
    Service {
        service_arn: Some(record.arn(scope, name)),
        service_name: Some(record.name.clone()),
        cluster_arn: Some(scope.cluster_arn(name)),
        status: Some(record.status.as_str().to_owned()),
        desired_count: Some(record.desired_count),
        running_count: Some(running),
        pending_count: Some(pending),
        task_definition: primary
            .or(primary_set.map(|it| &it.deployment))
            .or(record.last_completed.as_deref())
            .map(|it| scope.task_definition_arn(&it.family, it.revision)),
        task_sets: (record.controller() != DeploymentControllerType::Ecs).then_some(task_sets),
        events: Some(record.events.clone()),
        created_at: Some(record.created_at),
        created_by: Some(record.created_by.clone()),
        current_service_deployment: service_deployment.map(|id| scope.service_deployment_arn(name, &record.name, id)),
        current_service_revisions: Some(revisions),
        role_arn: settings.role_arn.clone().or_else(|| linked_role(scope, &settings)),
        resource_management_type: Some(managed_by(record)),
        health_check_grace_period_seconds: settings.health_check_grace_period_seconds.or(balanced.then_some(0)),
        tags: with_tags.then(|| tags::to_list(&record.tags)),
        deployments: Some(deployments),
        ..settings
    }
}

/// The service-linked role, for services that ECS itself connects to other services of AWS.
fn linked_role(scope: &Scope, settings: &Service) -> Option<String> {
    let uses = |list: usize| list > 0;
    let connects = settings.network_configuration.is_some()
        || uses(settings.load_balancers.as_ref().map_or(0, Vec::len))
        || uses(settings.service_registries.as_ref().map_or(0, Vec::len));
    let name = "aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS";
    connects.then(|| format!("arn:{}:iam::{}:role/{name}", scope.partition(), scope.account))
}

/// Who decides about the resources of a service: ECS itself about those of Express gateway services.
pub(super) fn managed_by(record: &ServiceRecord) -> ResourceManagementType {
    if record.express.is_some() { ResourceManagementType::Ecs } else { ResourceManagementType::Customer }
}

/// What the service shows once it has a PRIMARY task set: that one's settings in place of its own.
fn shown(own: &Service, set: &TaskSetRecord) -> Service {
    let of = &set.deployment.settings;
    Service {
        launch_type: of.launch_type.clone(),
        capacity_provider_strategy: of.capacity_provider_strategy.clone(),
        platform_version: of.platform_version.clone(),
        platform_family: of.platform_family.clone(),
        network_configuration: of.network_configuration.clone(),
        load_balancers: Some(set.load_balancers.clone()),
        service_registries: Some(set.service_registries.clone()),
        ..own.clone()
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
