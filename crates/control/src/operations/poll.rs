//! DiscoverPollEndpoint: where agents connect.

use longshore_api::{ServiceError, ecs};
use longshore_wire::RequestContext;

use super::container_instances::{check_speaks_for, find_instance};
use super::resolve_cluster;
use crate::engine::Engine;
use crate::service::scope_of;

/// Answers the endpoints under the URL by which the agent reached us. Agents add `/ws` themselves
/// and keep the answer for hours, so an empty one is never given.
///
/// # Errors
/// `AccessDeniedException` when an agent asks for another's container instance.
pub async fn discover_poll_endpoint(
    engine: &Engine,
    context: &RequestContext,
    input: ecs::DiscoverPollEndpointRequest,
) -> Result<ecs::DiscoverPollEndpointResponse, ServiceError> {
    let scope = scope_of(context);
    engine
        .read(|state| {
            let named = input.container_instance.as_deref().unwrap_or("");
            let Ok(cluster) = resolve_cluster(state.scope(&scope), &scope, input.cluster.as_deref()) else {
                return Ok(());
            };
            match find_instance(cluster, &scope, named) {
                Ok(Some(instance)) => check_speaks_for(context, &instance.record),
                // The handshake tells an instance that is unknown.
                Ok(None) | Err(_) => Ok(()),
            }
        })
        .await?;
    let base = context.base_url.trim_end_matches('/');
    Ok(ecs::DiscoverPollEndpointResponse {
        endpoint: Some(format!("{base}/acs")),
        telemetry_endpoint: Some(format!("{base}/tcs")),
        ..ecs::DiscoverPollEndpointResponse::default()
    })
}
