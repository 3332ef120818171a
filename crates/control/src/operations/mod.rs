//! The operations, one file per resource. Each is: resolve, validate (pure), one transaction, answer.

pub mod account_settings;
#[cfg(test)]
pub(crate) mod answers;
#[cfg(test)]
mod arn_format_tests;
pub mod capacity_providers;
pub mod clusters;
pub mod container_instances;
pub mod daemon_task_definitions;
pub mod daemons;
pub mod express_services;
pub mod gateways;
pub(crate) mod idempotency;
pub(crate) mod identifiers;
pub mod poll;
#[cfg(test)]
mod quota_tests;
pub mod services;
pub mod submit;
#[cfg(test)]
mod tag_tests;
pub mod tags;
pub mod task_definitions;
pub mod task_sets;
pub mod tasks;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
pub(crate) mod testing_instances;

use longshore_api::{ServiceError, ecs};
use longshore_model::{Scope, names};

use crate::state::{ClusterState, ScopeState};

/// The cluster used when a request names none.
pub const DEFAULT_CLUSTER: &str = "default";

/// The ACTIVE cluster that a request names, by name or ARN; the one called `default` when it names none.
///
/// # Errors
/// `InvalidParameterException` for an ARN of something else, `ClusterNotFoundException`.
pub fn resolve_cluster<'a>(
    state: &'a ScopeState,
    scope: &Scope,
    named: Option<&str>,
) -> Result<&'a ClusterState, ServiceError> {
    let named = named.filter(|name| !name.is_empty()).unwrap_or(DEFAULT_CLUSTER);
    let name = scope.cluster_name(named).ok_or_else(|| {
        ecs::error::invalid_parameter_exception(format!(
            "Invalid identifier: {named} is not a cluster of this account and region."
        ))
    })?;
    if !names::is_name(name) {
        let message = format!("Cluster must match ^[a-zA-Z0-9\\-_]{{1,255}}$, but was {name}");
        return Err(ecs::error::invalid_parameter_exception(message));
    }
    state.active_cluster(name).ok_or_else(|| match state.cluster_named(name) {
        Some(_) => ecs::error::cluster_not_found_exception("The referenced cluster was inactive."),
        None => cluster_not_found(),
    })
}

/// The same refusal whether the cluster is INACTIVE or never was: agents make a cluster that is not found, and a deleted
/// one cannot be deleted again.
pub(crate) fn plainly_not_found(refused: ServiceError) -> ServiceError {
    if refused.code == cluster_not_found().code { cluster_not_found() } else { refused }
}

/// ECS's own words.
#[must_use]
pub fn cluster_not_found() -> ServiceError {
    ecs::error::cluster_not_found_exception("Cluster not found.")
}
