//! Container instances.

mod agent;
mod attributes;
mod deregister;
mod describe;
mod list;
mod register;
mod state;
#[cfg(test)]
mod tests;

pub use agent::update_container_agent;
pub use attributes::{delete_attributes, list_attributes, put_attributes};
pub use deregister::deregister_container_instance;
pub(crate) use deregister::give_up_more;
pub use describe::describe_container_instances;
pub use list::list_container_instances;
pub use register::register_container_instance;
pub use state::update_container_instances_state;

use longshore_api::{ServiceError, ecs};
use longshore_model::records::{ContainerInstanceRecord, ContainerInstanceStatus};
use longshore_model::{Scope, container_instance, tags};
use longshore_wire::{Principal, RequestContext};

use crate::operations::identifiers::id_in;
use crate::state::{ClusterState, InstanceState};

/// Most container instances that one call may name.
pub const MAX_NAMED: usize = 100;

/// The container instance of `cluster` that `named` (id, short or long ARN) means; `None` when there is none
/// that users see.
///
/// # Errors
/// `InvalidParameterException` for an ARN of something else or of another cluster, or for what is no id.
pub fn find_instance<'a>(
    cluster: &'a ClusterState,
    scope: &Scope,
    named: &str,
) -> Result<Option<&'a InstanceState>, ServiceError> {
    let id = id_in("container-instance", "containerInstanceId", cluster, scope, named)?;
    let found = id.and_then(|id| cluster.instances.get(&id));
    Ok(found.filter(|instance| !instance.is_hidden()))
}

/// As [`find_instance`]; one that is not there, or no longer registered, is an error.
///
/// # Errors
/// `InvalidParameterException`.
pub fn registered_instance<'a>(
    cluster: &'a ClusterState,
    scope: &Scope,
    named: &str,
) -> Result<&'a InstanceState, ServiceError> {
    let instance = find_instance(cluster, scope, named)?;
    instance
        .filter(|instance| instance.record.status != ContainerInstanceStatus::Inactive)
        .ok_or_else(|| ecs::error::invalid_parameter_exception("The referenced container instance was not found."))
}

/// An agent may speak only for the container instance that its grant is bound to.
///
/// # Errors
/// `AccessDeniedException`.
pub fn check_speaks_for(context: &RequestContext, instance: &ContainerInstanceRecord) -> Result<(), ServiceError> {
    match &context.principal {
        Principal::Root { .. } => Ok(()),
        Principal::ContainerInstance { grant, .. } if instance.grant.as_ref() == Some(grant) => Ok(()),
        principal => Err(ecs::error::access_denied_exception(format!(
            "User: {} may speak only for its own container instance, not for {}.",
            principal.arn(),
            instance.id
        ))),
    }
}

/// The failure of a container instance that can't be found, named by its ARN.
fn missing(scope: &Scope, cluster: &ClusterState, named: &str) -> ecs::Failure {
    failure(scope, cluster, named, "MISSING")
}

fn failure(scope: &Scope, cluster: &ClusterState, named: &str, reason: &str) -> ecs::Failure {
    let arn = if named.starts_with("arn:") {
        named.to_owned()
    } else {
        scope.ecs_arn(format_args!("container-instance/{}/{named}", cluster.record.name))
    };
    ecs::Failure { arn: Some(arn), reason: Some(reason.to_owned()), ..ecs::Failure::default() }
}

/// What an answer shows besides the plain members.
#[derive(Clone, Copy, Debug, Default)]
struct Include {
    tags: bool,
    health: bool,
}

/// A container instance as answers show it.
fn view(scope: &Scope, cluster: &ClusterState, instance: &InstanceState, include: Include) -> ecs::ContainerInstance {
    let record = &instance.record;
    let (running, pending) = instance.task_counts();
    let count = |count: usize| Some(i32::try_from(count).unwrap_or(i32::MAX));
    ecs::ContainerInstance {
        container_instance_arn: Some(scope.container_instance_arn(&cluster.record.name, record.id)),
        ec2_instance_id: record.ec2_instance_id.clone(),
        version: Some(instance.version()),
        version_info: Some(record.version_info.clone().unwrap_or_default()),
        remaining_resources: Some(container_instance::remaining(
            &record.registered_resources,
            &instance.node().remaining,
        )),
        registered_resources: Some(record.registered_resources.clone()),
        status: Some(record.status.as_str().to_owned()),
        status_reason: record.status_reason.clone(),
        agent_connected: Some(instance.agent_connected()),
        running_tasks_count: count(running),
        pending_tasks_count: count(pending),
        attributes: Some(record.attributes.clone()),
        registered_at: Some(record.registered_at),
        attachments: Some(Vec::new()),
        capacity_provider_name: instance.capacity_provider().map(str::to_owned),
        tags: Some(if include.tags { tags::to_list(&record.tags) } else { Vec::new() }),
        health_status: include.health.then(|| describe::health(instance)),
        ..ecs::ContainerInstance::default()
    }
}
