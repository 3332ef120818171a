//! DeleteService.

use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_api::ecs::{DeleteServiceRequest, DeleteServiceResponse, error};
use longshore_model::service::{ServiceRecord, ServiceStatus};
use longshore_wire::RequestContext;

use super::resolve_service;
use super::rollout::stop_ongoing;
use super::view::view;
use crate::changes::Change;
use crate::engine::Engine;
use crate::operations::resolve_cluster;
use crate::service::scope_of;

/// Makes a service DRAINING; it is INACTIVE once none of its tasks runs any more.
///
/// # Errors
/// `ClusterNotFoundException`, `ServiceNotFoundException` (also when it is INACTIVE),
/// `InvalidParameterException` while tasks are wanted and `force` is not given.
pub async fn delete_service(
    engine: &Engine,
    context: &RequestContext,
    input: DeleteServiceRequest,
) -> Result<DeleteServiceResponse, ServiceError> {
    let scope = scope_of(context);
    let now = engine.seams().clock.now();
    engine
        .write(|state, changes| {
            let cluster = resolve_cluster(state.scope(&scope), &scope, input.cluster.as_deref())?;
            let before = resolve_service(cluster, &scope, input.service.as_deref())?;
            if before.status == ServiceStatus::Inactive {
                // The model has no ServiceNotActiveException here.
                return Err(error::service_not_found_exception("Service not found."));
            }
            let wanted = before.desired_count > 0 && !before.is_daemon();
            if before.status == ServiceStatus::Active && wanted && input.force != Some(true) {
                return Err(error::invalid_parameter_exception(
                    "The service cannot be stopped while it is scaled above 0.",
                ));
            }
            stop_ongoing(&scope, cluster, before, "The service was deleted.", now, changes);
            let mut record = ServiceRecord::clone(before);
            record.status = ServiceStatus::Draining;
            record.desired_count = 0;
            for deployment in &mut record.deployments {
                if deployment.desired_count != 0 {
                    deployment.desired_count = 0;
                    deployment.updated_at = now;
                }
            }
            let service = Some(view(&scope, cluster, &record, true));
            if record != **before {
                changes.push(Change::PutService(scope.clone(), Arc::new(record)));
            }
            Ok::<_, ServiceError>(DeleteServiceResponse { service })
        })
        .await
}
