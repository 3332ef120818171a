//! A task set as answers show it.

use longshore_api::ecs::{Scale, ScaleUnit, TaskSet};
use longshore_model::service::TaskSetRecord;
use longshore_model::{Scope, tags};

use crate::operations::services::counts;
use crate::state::ClusterState;

/// Counts of `cluster`, the rest of `record`; tags only when asked for.
pub(crate) fn view(
    scope: &Scope,
    cluster: &ClusterState,
    service: &str,
    record: &TaskSetRecord,
    with_tags: bool,
) -> TaskSet {
    let name = &cluster.record.name;
    let own = &record.deployment;
    let (pending, running) = counts(cluster, &own.id);
    TaskSet {
        id: Some(own.id.clone()),
        task_set_arn: Some(scope.task_set_arn(name, service, &own.id)),
        service_arn: Some(scope.service_arn(name, service)),
        cluster_arn: Some(scope.cluster_arn(name)),
        started_by: None,
        external_id: record.external_id.clone(),
        status: Some(record.status.as_str().to_owned()),
        task_definition: Some(scope.task_definition_arn(&own.family, own.revision)),
        computed_desired_count: Some(own.desired_count),
        pending_count: Some(pending),
        running_count: Some(running),
        created_at: Some(own.created_at),
        updated_at: Some(own.updated_at),
        launch_type: own.settings.launch_type.clone(),
        capacity_provider_strategy: own.settings.capacity_provider_strategy.clone(),
        platform_version: own.settings.platform_version.clone(),
        platform_family: own.settings.platform_family.clone(),
        network_configuration: own.settings.network_configuration.clone(),
        load_balancers: Some(record.load_balancers.clone()),
        service_registries: Some(record.service_registries.clone()),
        scale: Some(Scale { value: Some(record.scale), unit: Some(ScaleUnit::Percent) }),
        stability_status: Some(record.stability.clone()),
        stability_status_at: Some(record.stability_at),
        tags: with_tags.then(|| tags::to_list(&record.tags)),
        fargate_ephemeral_storage: None,
    }
}
