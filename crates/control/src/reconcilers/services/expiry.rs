//! What is forgotten of services: deleted ones, and deployments of long ago.

use std::collections::BTreeSet;
use std::time::Duration;

use longshore_api::ServiceError;
use longshore_model::Scope;
use longshore_model::service::{DeploymentRecord, ServiceRecord, ServiceStatus};
use longshore_seams::{BoxFuture, Timestamp};

use crate::changes::{Change, Changes};
use crate::engine::Engine;
use crate::reconcilers::{Reconciler, Round};
use crate::state::{ClusterState, ServiceHistory, State};

/// Most deletions of one transaction.
const DELETED_AT_ONCE: usize = 90;

/// How much is kept of services.
#[derive(Clone, Copy, Debug)]
pub struct ServiceExpiryLimits {
    /// How long an INACTIVE service can still be described.
    pub inactive: Duration,
    /// How long a service deployment that has ended can still be described.
    pub service_deployments: Duration,
    /// Most service deployments that a service keeps; the oldest go first.
    pub service_deployment_count: usize,
}

impl Default for ServiceExpiryLimits {
    fn default() -> Self {
        Self {
            inactive: Duration::from_secs(3600),
            service_deployments: Duration::from_secs(90 * 24 * 3600),
            service_deployment_count: 100,
        }
    }
}

/// Forgets INACTIVE services after a while, their service deployments and revisions at once, and
/// service deployments of long ago with the revisions that only they used.
#[derive(Debug)]
pub struct ServiceExpiry {
    engine: Engine,
    limits: ServiceExpiryLimits,
}

impl ServiceExpiry {
    /// The loop with these limits.
    #[must_use]
    pub fn new(engine: Engine, limits: ServiceExpiryLimits) -> Self {
        Self { engine, limits }
    }

    fn plan(&self, state: &State, now: Timestamp, changes: &mut Changes) {
        for (scope, records) in state.scopes() {
            for cluster in records.clusters.values() {
                self.inactive(scope, cluster, now, changes);
                for (name, history) in &cluster.service_history {
                    if changes.len() < DELETED_AT_ONCE {
                        self.history(scope, cluster, (name, history), now, changes);
                    }
                }
            }
        }
        changes.list.truncate(DELETED_AT_ONCE);
    }

    fn inactive(&self, scope: &Scope, cluster: &ClusterState, now: Timestamp, changes: &mut Changes) {
        for service in cluster.services_with(ServiceStatus::Inactive) {
            let since = service.inactive_at.unwrap_or(service.created_at);
            if now.since(since) > self.limits.inactive {
                changes.push(Change::DeleteService(scope.clone(), cluster.record.id, service.name.clone()));
            }
        }
    }

    fn history(
        &self,
        scope: &Scope,
        cluster: &ClusterState,
        (name, history): (&str, &ServiceHistory),
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let service = cluster.services.get(name).filter(|it| it.status != ServiceStatus::Inactive);
        let mut deployments: Vec<_> = history.deployments.values().collect();
        deployments.sort_unstable_by_key(|it| std::cmp::Reverse((it.created_at, it.id.clone())));
        let mut used = service.map(|it| in_use(it)).unwrap_or_default();
        for (at, deployment) in deployments.into_iter().enumerate() {
            let own = service.is_some_and(|service| {
                service.service_deployment.as_ref() == Some(&deployment.id) || deployment.is_ongoing()
            });
            let old =
                now.since(deployment.finished_at.unwrap_or(deployment.created_at)) > self.limits.service_deployments;
            let kept = service.is_some() && (own || (!old && at < self.limits.service_deployment_count));
            if kept {
                let revisions = deployment.sources.iter().chain([&deployment.target]);
                used.extend(revisions.map(|it| it.number.as_str()));
            } else {
                let (name, id) = (name.to_owned(), deployment.id.clone());
                changes.push(Change::DeleteServiceDeployment(scope.clone(), cluster.record.id, name, id));
            }
        }
        for number in history.revisions.keys().filter(|number| !used.contains(number.as_str())) {
            let (name, number) = (name.to_owned(), number.clone());
            changes.push(Change::DeleteServiceRevision(scope.clone(), cluster.record.id, name, number));
        }
    }
}

/// Numbers of the revisions that a service itself needs.
fn in_use(service: &ServiceRecord) -> BTreeSet<&str> {
    service.deployments.iter().chain(service.last_completed.as_deref()).map(DeploymentRecord::number).collect()
}

impl Reconciler for ServiceExpiry {
    fn name(&self) -> &'static str {
        "service-expiry"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn round(&self) -> BoxFuture<'_, Result<Round, String>> {
        let now = self.engine.seams().clock.now();
        Box::pin(async move {
            let planned: Result<usize, ServiceError> = self
                .engine
                .write(|state, changes| {
                    self.plan(state, now, changes);
                    Ok(changes.len())
                })
                .await;
            let deleted = planned.map_err(|error| error.to_string())?;
            Ok(if deleted == DELETED_AT_ONCE { Round::More } else { Round::Done })
        })
    }
}
