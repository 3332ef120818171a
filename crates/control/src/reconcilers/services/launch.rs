//! Tasks of a service, from its PRIMARY deployment and its settings.

use longshore_api::ecs::PropagateTags;
use longshore_model::fargate::NO_CAPACITY;
use longshore_model::records::{Tags, TaskDefinitionRecord};
use longshore_model::service::{DeploymentRecord, ServiceRecord};
use longshore_model::{Scope, ebs};
use longshore_scheduler::{Refusal, Request, Strategy, service_default};

use crate::operations::account_settings::{check_taggable, wants_short_arns};
use crate::operations::tasks::capacity::{Capacity, Unplaced};
use crate::operations::tasks::launch::Launch;
use crate::operations::tasks::placement;
use crate::state::{ClusterState, ScopeState};

/// The launch of tasks of `deployment` with what decides where they go, or why there can be none, in
/// the words of a service event.
pub(crate) fn launch<'a>(
    scope: &Scope,
    records: &'a ScopeState,
    cluster: &ClusterState,
    service: &ServiceRecord,
    deployment: &'a DeploymentRecord,
) -> Result<(Launch<'a>, Request, Capacity), String> {
    let unable = |reason: &str| format!("was unable to place a task. Reason: {reason}");
    let family = records.families.get(&deployment.family);
    let Some(definition) = family.and_then(|family| family.revisions.get(&deployment.revision)) else {
        return Err(unable(&format!("TaskDefinition {}:{} is gone.", deployment.family, deployment.revision)));
    };
    let words = |error: longshore_api::ServiceError| unable(&error.message);
    let settings = &deployment.settings;
    let strategy = settings.capacity_provider_strategy.as_deref();
    let capacity = Capacity::of(records, scope, cluster, settings.launch_type.as_ref(), strategy).map_err(words)?;
    let mut launch = Launch::new(definition, None, None, Some(&deployment.id)).map_err(words)?;
    launch.group = service.group();
    launch.enable_execute_command = service.settings.enable_execute_command.unwrap_or(false);
    launch.short_arn = wants_short_arns(records, scope, &service.created_by, "taskLongArnFormat");
    launch.tags = tags(cluster, service, definition);
    // The maker of the service may have gone back to the short format since.
    check_taggable(launch.short_arn, &[("add tags to the task", !launch.tags.is_empty())]).map_err(words)?;
    let network = settings.network_configuration.as_ref();
    launch.settle(scope, &capacity, settings.platform_version.as_deref(), network).map_err(words)?;
    launch.attach(&ebs::of_service(settings.volume_configurations.as_deref().unwrap_or_default())).map_err(words)?;
    let given = service.settings.placement_constraints.as_deref();
    let constraints = placement::constraints(&definition.definition, given).map_err(words)?;
    let request = launch.request(constraints, strategies(service));
    Ok((launch, request, capacity))
}

/// The service's strategies; ECS's default when it has none.
pub(super) fn strategies(service: &ServiceRecord) -> Vec<Strategy> {
    // They were read when the service was made.
    let given = placement::strategies(service.settings.placement_strategy.as_deref()).unwrap_or_default();
    if given.is_empty() { service_default() } else { given }
}

fn tags(cluster: &ClusterState, service: &ServiceRecord, definition: &TaskDefinitionRecord) -> Tags {
    let mut tags = match &service.settings.propagate_tags {
        Some(PropagateTags::Service) => service.tags.clone(),
        Some(PropagateTags::TaskDefinition) => definition.tags.clone(),
        _ => Tags::new(),
    };
    if service.settings.enable_ecs_managed_tags == Some(true) {
        tags.insert("aws:ecs:clusterName".to_owned(), cluster.record.name.clone());
        tags.insert("aws:ecs:serviceName".to_owned(), service.name.clone());
    }
    tags
}

/// What ECS says of tasks that were not placed.
pub(crate) fn unplaced(unplaced: &Unplaced<'_>) -> String {
    const NONE: &str = "was unable to place a task because no container instance met all of its requirements.";
    const MORE: &str = "For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.";
    match unplaced {
        Unplaced::Fargate(_) => format!("was unable to place a task. Reason: {NO_CAPACITY}. {MORE}"),
        Unplaced::Quota(quota) => format!("was unable to place a task. Reason: {}. {MORE}", quota.reason()),
        Unplaced::Empty(None) => {
            format!("{NONE} Reason: No Container Instances were found in your cluster. {MORE}")
        }
        Unplaced::Empty(Some(_)) => {
            format!("{NONE} Reason: No Container Instances were found in your capacity provider. {MORE}")
        }
        Unplaced::Instances(refused) => {
            // The closest is the one that had the least against it.
            let Some((instance, refusals)) = refused.iter().min_by_key(|(_, refusals)| refusals.len()) else {
                return format!("{NONE} {MORE}");
            };
            let id = instance.record.id;
            format!("{NONE} The closest matching (container-instance {id}) {} {MORE}", obstacle(refusals))
        }
    }
}

/// What stands in the way of a task on one container instance.
fn obstacle(refusals: &[Refusal]) -> String {
    match refusals.first() {
        Some(Refusal::Resource(shortage)) => match shortage.reason() {
            "RESOURCE:CPU" => "has insufficient CPU units available.".to_owned(),
            "RESOURCE:MEMORY" => "has insufficient memory available.".to_owned(),
            reason if reason.starts_with("RESOURCE:PORTS") => {
                "is already using a port required by your task.".to_owned()
            }
            reason => format!("encountered error \"{reason}\"."),
        },
        Some(Refusal::Attribute(_)) => "is missing an attribute required by your task.".to_owned(),
        other => format!("encountered error \"{}\".", other.map_or("", Refusal::reason)),
    }
}
