//! Gateways, the clusters that may use them, and their routes.
//!
//! No load balancer stands behind a gateway here, so nothing routes through one: they are records.

mod associations;
mod change;
mod describe;
mod routes;
#[cfg(test)]
mod tests;

pub use associations::{associate, disassociate, list_associations};
pub use change::{create, delete, update};
pub use describe::{describe, describe_resources, list};
pub use routes::{describe_route, list_routes};

use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_api::ecs::{GatewayClusterAssociationStatus, error};
use longshore_model::gateway::{self, GatewayAssociationRecord, GatewayRecord};
use longshore_model::records::ClusterStatus;
use longshore_model::{Id, Scope};

use crate::state::{ClusterState, ScopeState};

fn not_found(named: &str) -> ServiceError {
    error::gateway_not_found_exception(format!("Gateway not found: {named}"))
}

/// The gateway that `named` (name or ARN) means. There is none any more once it is DELETED.
///
/// # Errors
/// `InvalidParameterException` for an ARN of something else, `GatewayNotFoundException`.
fn find_usable<'a>(state: &'a ScopeState, scope: &Scope, named: &str) -> Result<&'a Arc<GatewayRecord>, ServiceError> {
    let name = gateway::name_of(scope, named).ok_or_else(|| {
        error::invalid_parameter_exception(format!(
            "Invalid identifier: {named} is not a gateway of this account and region."
        ))
    })?;
    state.gateways.get(name).filter(|known| known.is_usable()).ok_or_else(|| not_found(named))
}

/// The association of a gateway with a cluster, when it stands.
fn active_association(state: &ScopeState, gateway: Id, cluster: Id) -> Option<&Arc<GatewayAssociationRecord>> {
    state.gateway_associations.get(&gateway)?.get(&cluster).filter(|known| known.active)
}

/// The associations of a gateway, each with its cluster and status. They end with their cluster.
fn associations_of(
    state: &ScopeState,
    gateway: Id,
) -> impl Iterator<Item = (&ClusterState, GatewayClusterAssociationStatus)> {
    let associations = state.gateway_associations.get(&gateway).into_iter().flatten();
    associations.filter_map(|(cluster, record)| {
        let cluster = state.clusters.get(cluster)?;
        Some((cluster, status(cluster, record)))
    })
}

fn status(cluster: &ClusterState, record: &GatewayAssociationRecord) -> GatewayClusterAssociationStatus {
    if record.active && cluster.record.status == ClusterStatus::Active {
        GatewayClusterAssociationStatus::Active
    } else {
        GatewayClusterAssociationStatus::Inactive
    }
}
