//! DeleteCluster.

use std::collections::BTreeSet;
use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_api::ecs::{DeleteClusterRequest, DeleteClusterResponse, error};
use longshore_model::records::{ClusterRecord, ClusterStatus};
use longshore_model::service::ServiceStatus;
use longshore_wire::RequestContext;

use super::view;
use crate::changes::Change;
use crate::engine::Engine;
use crate::operations::{plainly_not_found, resolve_cluster};
use crate::service::scope_of;
use crate::state::{ClusterState, ScopeState};

/// Makes an empty cluster INACTIVE; it stays describable for a while and its name is free again.
///
/// # Errors
/// `ClusterNotFoundException`, `ClusterContainsContainerInstancesException`, `ClusterContainsServicesException`,
/// `ClusterContainsTasksException`, `ClusterContainsCapacityProviderException` while managed instances belong to it.
pub async fn delete(
    engine: &Engine,
    context: &RequestContext,
    input: DeleteClusterRequest,
) -> Result<DeleteClusterResponse, ServiceError> {
    let scope = scope_of(context);
    let now = engine.seams().clock.now();
    let cluster = engine
        .write(|state, changes| {
            let state = state.scope(&scope);
            let cluster = resolve_cluster(state, &scope, input.cluster.as_deref());
            let cluster = cluster.map_err(plainly_not_found)?;
            check_empty(cluster)?;
            check_no_managed_instances(state, cluster)?;
            let record = Arc::new(ClusterRecord {
                status: ClusterStatus::Inactive,
                deleted_at: Some(now),
                ..ClusterRecord::clone(&cluster.record)
            });
            changes.push(Change::PutCluster(scope.clone(), record.clone()));
            Ok::<_, ServiceError>(view(&scope, cluster, &record, &BTreeSet::new()))
        })
        .await?;
    Ok(DeleteClusterResponse { cluster: Some(cluster) })
}

fn check_empty(cluster: &ClusterState) -> Result<(), ServiceError> {
    if cluster.registered_instances() > 0 {
        return Err(error::cluster_contains_container_instances_exception(
            "The Cluster cannot be deleted while Container Instances are active or draining.",
        ));
    }
    if cluster.services.values().any(|service| service.status != ServiceStatus::Inactive) {
        return Err(error::cluster_contains_services_exception(
            "The Cluster cannot be deleted while Services are active.",
        ));
    }
    if let Some(daemon) = cluster.daemons.keys().next() {
        return Err(error::cluster_contains_services_exception(format!(
            "The Cluster cannot be deleted while Daemons are active: delete the daemon {daemon} first."
        )));
    }
    if cluster.tasks.len() > cluster.index.stopped.len() {
        return Err(error::cluster_contains_tasks_exception("The Cluster cannot be deleted while Tasks are active."));
    }
    Ok(())
}

/// Their capacity providers cannot outlive the cluster to which they belong.
fn check_no_managed_instances(state: &ScopeState, cluster: &ClusterState) -> Result<(), ServiceError> {
    let own = |name: &&String| state.capacity_providers.get(*name).is_some_and(|known| known.cluster().is_some());
    let Some(name) = cluster.record.capacity_providers.iter().find(own) else { return Ok(()) };
    Err(error::cluster_contains_capacity_provider_exception(format!(
        "The Cluster cannot be deleted while Managed Instances capacity providers are active: delete the capacity provider {name} first."
    )))
}
