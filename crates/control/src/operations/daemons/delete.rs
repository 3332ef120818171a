//! DeleteDaemon.

use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_api::ecs::{DaemonDeploymentStatus, DeleteDaemonRequest, DeleteDaemonResponse};
use longshore_model::daemon::{DaemonRecord, DaemonStatus};
use longshore_wire::RequestContext;

use super::{api_status, current_deployment_arn, resolve_active};
use crate::changes::Change;
use crate::engine::Engine;
use crate::service::scope_of;

/// Has a daemon's tasks stopped; it is forgotten after them.
///
/// # Errors
/// `ClusterNotFoundException`, `DaemonNotFoundException`, `DaemonNotActiveException`,
/// `InvalidParameterException`.
pub async fn delete(
    engine: &Engine,
    context: &RequestContext,
    input: DeleteDaemonRequest,
) -> Result<DeleteDaemonResponse, ServiceError> {
    let scope = scope_of(context);
    let arn = input.daemon_arn.unwrap_or_default();
    let now = engine.seams().clock.now();
    engine
        .write(|state, changes| {
            let (cluster, before) = resolve_active(state.scope(&scope), &scope, &arn)?;
            let mut record = DaemonRecord::clone(before);
            record.status = DaemonStatus::DeleteInProgress;
            record.updated_at = now;
            if let Some(open) = record.deployments.first_mut().filter(|it| it.is_open()) {
                let reason = "Stopped because the daemon is being deleted.".to_owned();
                open.finish(DaemonDeploymentStatus::Stopped, now, Some(reason));
            }
            let answer = DeleteDaemonResponse {
                daemon_arn: Some(arn.clone()),
                status: api_status(&record),
                created_at: Some(record.created_at),
                updated_at: Some(now),
                deployment_arn: current_deployment_arn(&scope, cluster, &record),
            };
            changes.push(Change::PutDaemon(scope.clone(), Arc::new(record)));
            Ok::<_, ServiceError>(answer)
        })
        .await
}
