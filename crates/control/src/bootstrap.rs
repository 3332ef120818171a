//! What the first start makes in an empty store.

use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_model::records::{ClusterRecord, ClusterStatus, Tags};
use longshore_model::{Id, Scope};

use crate::changes::Change;
use crate::engine::Engine;
use crate::operations::DEFAULT_CLUSTER;

/// Makes the cluster `default` in `scope`, unless a cluster of that name is there.
///
/// # Errors
/// The store's.
pub async fn default_cluster(engine: &Engine, scope: &Scope) -> Result<(), ServiceError> {
    let now = engine.seams().clock.now();
    let id = Id::random(&*engine.seams().random);
    engine
        .write(|state, changes| {
            if state.scope(scope).active_cluster(DEFAULT_CLUSTER).is_some() {
                return Ok(());
            }
            let cluster = ClusterRecord {
                id,
                name: DEFAULT_CLUSTER.to_owned(),
                status: ClusterStatus::Active,
                created_at: now,
                deleted_at: None,
                settings: Vec::new(),
                configuration: None,
                capacity_providers: Vec::new(),
                attachments: Vec::new(),
                default_strategy: Vec::new(),
                service_connect_namespace: None,
                tags: Tags::new(),
            };
            changes.push(Change::PutCluster(scope.clone(), Arc::new(cluster)));
            Ok(())
        })
        .await
}
