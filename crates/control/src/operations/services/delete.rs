//! DeleteService.

use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_api::ecs::{DeleteServiceRequest, DeleteServiceResponse, DeploymentControllerType, error};
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
            if before.status == ServiceStatus::Active && input.force != Some(true) {
                check_scaled_down(before)?;
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

/// Refuses what still wants tasks. With the EXTERNAL controller only task sets do.
fn check_scaled_down(service: &ServiceRecord) -> Result<(), ServiceError> {
    let refused = |message: &str| Err(error::invalid_parameter_exception(message));
    if service.controller() == DeploymentControllerType::External {
        return match service.sources().any(|source| source.desired_count > 0) {
            true => refused("The service cannot be stopped while deployments are active."),
            false => Ok(()),
        };
    }
    if service.desired_count > 0 && !service.is_daemon() {
        return refused("The service cannot be stopped while it is scaled above 0.");
    }
    Ok(())
}
