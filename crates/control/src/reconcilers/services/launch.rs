//! Tasks of a service, from its PRIMARY deployment and its settings.

use longshore_api::ecs::{LaunchType, NetworkMode, PropagateTags};
use longshore_model::Scope;
use longshore_model::records::{Tags, TaskDefinitionRecord};
use longshore_model::service::{DeploymentRecord, ServiceRecord};
use longshore_scheduler::{Placement, Refusal, Request, Strategy, service_default};

use crate::operations::account_settings::wants_short_arns;
use crate::operations::tasks::launch::Launch;
use crate::operations::tasks::placement;
use crate::state::{ClusterState, InstanceState, ScopeState};

/// The launch of tasks of `deployment`, or why there can be none, in the words of a service event.
pub(super) fn launch<'a>(
    scope: &Scope,
    records: &'a ScopeState,
    cluster: &ClusterState,
    service: &ServiceRecord,
    deployment: &'a DeploymentRecord,
) -> Result<(Launch<'a>, Request), String> {
    let unable = |reason: &str| format!("was unable to place a task. Reason: {reason}");
    let family = records.families.get(&deployment.family);
    let Some(definition) = family.and_then(|family| family.revisions.get(&deployment.revision)) else {
        return Err(unable(&format!("TaskDefinition {}:{} is gone.", deployment.family, deployment.revision)));
    };
    if deployment.settings.launch_type == Some(LaunchType::Fargate) {
        return Err(unable(
            "Capacity is unavailable at this time. Please try again later or in a different availability zone.",
        ));
    }
    if deployment.settings.capacity_provider_strategy.as_ref().is_some_and(|it| !it.is_empty()) {
        return Err(unable("Capacity provider strategies place no tasks yet: use launchType EC2."));
    }
    if definition.definition.network_mode == Some(NetworkMode::Awsvpc) {
        return Err(unable("Tasks with networkMode 'awsvpc' are not supported yet: use bridge, host or none."));
    }
    let words = |error: longshore_api::ServiceError| unable(&error.message);
    let mut launch = Launch::new(definition, None, None, Some(&deployment.id)).map_err(words)?;
    launch.group = service.group();
    launch.launch_type = deployment.settings.launch_type.clone().unwrap_or(LaunchType::Ec2);
    launch.enable_execute_command = service.settings.enable_execute_command.unwrap_or(false);
    launch.short_arn = wants_short_arns(records, scope, &service.created_by, "taskLongArnFormat");
    launch.tags = tags(cluster, service, definition);
    let given = service.settings.placement_constraints.as_deref();
    let constraints = placement::constraints(&definition.definition, given).map_err(words)?;
    let request = launch.request(constraints, strategies(service));
    Ok((launch, request))
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

/// What ECS says when no container instance took a task.
pub(super) fn unplaced(instances: &[&InstanceState], placement: &Placement) -> String {
    let mut message =
        "was unable to place a task because no container instance met all of its requirements.".to_owned();
    // The closest is the one that had the least against it.
    match placement.refused.iter().min_by_key(|refused| refused.refusals.len()) {
        None => message.push_str(" Reason: No Container Instances were found in your cluster."),
        Some(closest) => {
            let id = instances[closest.node].record.id;
            let what = match closest.refusals.first() {
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
            };
            message.push_str(&format!(" The closest matching (container-instance {id}) {what}"));
        }
    }
    message.push_str(" For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.");
    message
}
