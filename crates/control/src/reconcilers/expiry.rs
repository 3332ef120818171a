//! What is forgotten after a while: client tokens, deregistered container instances, deleted clusters, capacity
//! providers and task definitions.

use std::sync::Arc;
use std::time::Duration;

use longshore_api::ServiceError;
use longshore_model::gateway::GatewayAssociationRecord;
use longshore_model::records::{ClusterStatus, ContainerInstanceStatus};
use longshore_seams::{BoxFuture, Timestamp};

use super::{Reconciler, Round};
use crate::changes::{Change, Changes};
use crate::engine::Engine;
use crate::operations::{daemon_task_definitions, task_definitions};
use crate::state::State;

/// Most deletions of one transaction.
const DELETED_AT_ONCE: usize = 90;

/// How long a deregistered container instance can still be described (guide chapter 10).
const INACTIVE_INSTANCE_LIFE: Duration = Duration::from_secs(3600);

fn more(deleted: usize) -> Round {
    if deleted == DELETED_AT_ONCE { Round::More } else { Round::Done }
}

async fn delete(engine: &Engine, plan: impl FnOnce(&State, &mut Changes)) -> Result<Round, String> {
    let deleted: Result<usize, ServiceError> = engine
        .write(|state, changes| {
            plan(state, changes);
            Ok(changes.len())
        })
        .await;
    deleted.map(more).map_err(|error| error.to_string())
}

/// Forgets client tokens whose time is over.
#[derive(Debug)]
pub struct ClientTokenExpiry(
    /// The working set.
    pub Engine,
);

impl Reconciler for ClientTokenExpiry {
    fn name(&self) -> &'static str {
        "client-token-expiry"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(300)
    }

    fn round(&self) -> BoxFuture<'_, Result<Round, String>> {
        let now = self.0.seams().clock.now();
        Box::pin(delete(&self.0, move |state, changes| expired_tokens(state, now, changes)))
    }
}

fn expired_tokens(state: &State, now: Timestamp, changes: &mut Changes) {
    for (scope, state) in state.scopes() {
        for record in state.idempotency.values().filter(|record| record.expires_at <= now) {
            if changes.len() == DELETED_AT_ONCE {
                return;
            }
            changes.push(Change::DeleteIdempotency(scope.clone(), record.operation.clone(), record.token.clone()));
        }
    }
}

/// Forgets deregistered container instances after an hour, once their tasks are in the history.
#[derive(Debug)]
pub struct ContainerInstanceExpiry(
    /// The working set.
    pub Engine,
);

impl Reconciler for ContainerInstanceExpiry {
    fn name(&self) -> &'static str {
        "container-instance-expiry"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn round(&self) -> BoxFuture<'_, Result<Round, String>> {
        let now = self.0.seams().clock.now();
        Box::pin(delete(&self.0, move |state, changes| expired_instances(state, now, changes)))
    }
}

fn expired_instances(state: &State, now: Timestamp, changes: &mut Changes) {
    for (scope, state) in state.scopes() {
        for cluster in state.clusters.values() {
            let expired = cluster.instances.values().filter(|instance| {
                let record = &instance.record;
                record.status == ContainerInstanceStatus::Inactive
                    && instance.tasks.is_empty()
                    && instance.lent.is_empty()
                    && now.since(record.deregistered_at.unwrap_or(record.registered_at)) > INACTIVE_INSTANCE_LIFE
            });
            for instance in expired {
                if changes.len() == DELETED_AT_ONCE {
                    return;
                }
                let (cluster, id) = (cluster.record.id, instance.record.id);
                changes.push(Change::DeleteContainerInstance(scope.clone(), cluster, id));
            }
        }
    }
}

/// How long an INACTIVE cluster can still be described.
const INACTIVE_CLUSTER_LIFE: Duration = Duration::from_secs(3600);

/// Forgets INACTIVE clusters after an hour, once everything that was in them is forgotten.
#[derive(Debug)]
pub struct ClusterExpiry(
    /// The working set.
    pub Engine,
);

impl Reconciler for ClusterExpiry {
    fn name(&self) -> &'static str {
        "cluster-expiry"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn round(&self) -> BoxFuture<'_, Result<Round, String>> {
        let now = self.0.seams().clock.now();
        Box::pin(delete(&self.0, move |state, changes| expired_clusters(state, now, changes)))
    }
}

fn expired_clusters(state: &State, now: Timestamp, changes: &mut Changes) {
    for (scope, state) in state.scopes() {
        let expired = state.clusters.values().filter(|cluster| {
            let record = &cluster.record;
            record.status == ClusterStatus::Inactive
                && now.since(record.deleted_at.unwrap_or(record.created_at)) > INACTIVE_CLUSTER_LIFE
                && cluster.is_bare()
        });
        for cluster in expired {
            if changes.len() == DELETED_AT_ONCE {
                return;
            }
            changes.push(Change::DeleteCluster(scope.clone(), cluster.record.id));
        }
    }
}

/// How long an INACTIVE capacity provider can still be described.
const INACTIVE_PROVIDER_LIFE: Duration = Duration::from_secs(3600);

/// Forgets INACTIVE capacity providers after an hour.
#[derive(Debug)]
pub struct CapacityProviderExpiry(
    /// The working set.
    pub Engine,
);

impl Reconciler for CapacityProviderExpiry {
    fn name(&self) -> &'static str {
        "capacity-provider-expiry"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn round(&self) -> BoxFuture<'_, Result<Round, String>> {
        let now = self.0.seams().clock.now();
        Box::pin(delete(&self.0, move |state, changes| expired_providers(state, now, changes)))
    }
}

fn expired_providers(state: &State, now: Timestamp, changes: &mut Changes) {
    for (scope, state) in state.scopes() {
        let expired = state.capacity_providers.values().filter(|record| {
            !record.is_active() && now.since(record.deleted_at.unwrap_or(record.created_at)) > INACTIVE_PROVIDER_LIFE
        });
        for record in expired {
            if changes.len() == DELETED_AT_ONCE {
                return;
            }
            changes.push(Change::DeleteCapacityProvider(scope.clone(), record.name.clone()));
        }
    }
}

/// Deletes task definitions for good that were to be deleted and that nothing uses any more.
#[derive(Debug)]
pub struct TaskDefinitionDeletion(
    /// The working set.
    pub Engine,
);

impl Reconciler for TaskDefinitionDeletion {
    fn name(&self) -> &'static str {
        "task-definition-deletion"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn round(&self) -> BoxFuture<'_, Result<Round, String>> {
        Box::pin(async move {
            let deleted = task_definitions::finish_deletions(&self.0).await.map_err(|error| error.to_string())?;
            Ok(if deleted == 0 { Round::Done } else { Round::More })
        })
    }
}

/// Makes daemon task definitions DELETED that were to be deleted and that nothing uses any more, and
/// forgets them an hour later.
#[derive(Debug)]
pub struct DaemonTaskDefinitionDeletion(
    /// The working set.
    pub Engine,
);

impl Reconciler for DaemonTaskDefinitionDeletion {
    fn name(&self) -> &'static str {
        "daemon-task-definition-deletion"
    }

    /// Short: clients wait for DELETED.
    fn period(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn round(&self) -> BoxFuture<'_, Result<Round, String>> {
        Box::pin(async move {
            let moved = daemon_task_definitions::finish_deletions(&self.0).await.map_err(|error| error.to_string())?;
            Ok(if moved == 0 { Round::Done } else { Round::More })
        })
    }
}

/// How long a DELETED gateway and an INACTIVE association can still be seen.
const GATEWAY_LIFE: Duration = Duration::from_secs(3600);

/// Forgets DELETED gateways and INACTIVE associations after an hour, and associations of clusters that are gone.
#[derive(Debug)]
pub struct GatewayExpiry(
    /// The working set.
    pub Engine,
);

impl Reconciler for GatewayExpiry {
    fn name(&self) -> &'static str {
        "gateway-expiry"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn round(&self) -> BoxFuture<'_, Result<Round, String>> {
        let now = self.0.seams().clock.now();
        Box::pin(delete(&self.0, move |state, changes| expired_gateways(state, now, changes)))
    }
}

fn expired_gateways(state: &State, now: Timestamp, changes: &mut Changes) {
    for (scope, state) in state.scopes() {
        let associations = state.gateway_associations.values().flat_map(|of_gateway| of_gateway.values());
        let is_over = |record: &&Arc<GatewayAssociationRecord>| {
            let cluster = state.clusters.get(&record.cluster).map(|cluster| cluster.record.status);
            let gateway = state.gateways.values().any(|gateway| gateway.id == record.gateway);
            !gateway
                || cluster != Some(ClusterStatus::Active)
                || (!record.active && now.since(record.updated_at) > GATEWAY_LIFE)
        };
        let over = associations.filter(is_over);
        let deleted = state.gateways.values().filter(|it| !it.is_usable() && now.since(it.updated_at) > GATEWAY_LIFE);
        let all = over
            .map(|it| Change::DeleteGatewayAssociation(scope.clone(), it.gateway, it.cluster))
            .chain(deleted.map(|it| Change::DeleteGateway(scope.clone(), it.name.clone())));
        for change in all {
            if changes.len() == DELETED_AT_ONCE {
                return;
            }
            changes.push(change);
        }
    }
}
