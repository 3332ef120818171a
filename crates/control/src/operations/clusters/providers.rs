//! PutClusterCapacityProviders.

use longshore_api::ServiceError;
use longshore_api::ecs::{PutClusterCapacityProvidersRequest, PutClusterCapacityProvidersResponse};
use longshore_wire::RequestContext;

use super::{change, rules};
use crate::engine::Engine;

/// Replaces a cluster's capacity providers and its default strategy.
///
/// # Errors
/// `ClusterNotFoundException`; `InvalidParameterException` for unknown providers or a strategy out of its rules.
pub async fn put_capacity_providers(
    engine: &Engine,
    context: &RequestContext,
    input: PutClusterCapacityProvidersRequest,
) -> Result<PutClusterCapacityProvidersResponse, ServiceError> {
    let providers = input.capacity_providers.unwrap_or_default();
    rules::capacity_providers(&providers)?;
    let strategy = rules::strategy(input.default_capacity_provider_strategy.unwrap_or_default(), &providers)?;
    let cluster = change::change(engine, context, input.cluster.as_deref(), |record| {
        record.capacity_providers = providers;
        record.default_strategy = strategy;
        Ok(())
    })
    .await?;
    Ok(PutClusterCapacityProvidersResponse { cluster: Some(cluster) })
}
