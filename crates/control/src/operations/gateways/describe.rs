//! DescribeGateway, DescribeGatewayResources and ListGateways.

use std::ops::Bound;

use longshore_api::ServiceError;
use longshore_api::ecs::{
    DescribeGatewayRequest, DescribeGatewayResourcesRequest, DescribeGatewayResourcesResponse, DescribeGatewayResponse,
    GatewayInfrastructureResources, GatewayResources, GatewayStatus, ListGatewaysRequest, ListGatewaysResponse, error,
};
use longshore_model::gateway;
use longshore_wire::RequestContext;

use super::find_usable;
use crate::engine::Engine;
use crate::pagination::PageRequest;
use crate::service::scope_of;

/// Most items of one page.
pub(super) const MOST: usize = 100;
/// Most load balancers of one page, and when a call does not say.
const RESOURCES: (usize, i64) = (20, 10);
/// Most names by which gateways are filtered.
const MAX_NAMES: usize = 10;

/// Describes a gateway.
///
/// # Errors
/// `GatewayNotFoundException`, `InvalidParameterException`.
pub async fn describe(
    engine: &Engine,
    context: &RequestContext,
    input: DescribeGatewayRequest,
) -> Result<DescribeGatewayResponse, ServiceError> {
    let scope = scope_of(context);
    let named = input.gateway.unwrap_or_default();
    let found = engine.read(|state| find_usable(state.scope(&scope), &scope, &named).cloned()).await?;
    Ok(DescribeGatewayResponse { gateway: Some(found.view(&scope)) })
}

/// Describes what a gateway is made of: no load balancers, as long as nothing routes through it.
///
/// # Errors
/// `GatewayNotFoundException`, `InvalidParameterException`.
pub async fn describe_resources(
    engine: &Engine,
    context: &RequestContext,
    input: DescribeGatewayResourcesRequest,
) -> Result<DescribeGatewayResourcesResponse, ServiceError> {
    let scope = scope_of(context);
    let wanted = input.max_results.map_or(RESOURCES.1, i64::from);
    PageRequest::parse("DescribeGatewayResources", Some(wanted), input.next_token.as_deref(), RESOURCES.0)?;
    let named = input.gateway.unwrap_or_default();
    let found = engine.read(|state| find_usable(state.scope(&scope), &scope, &named).cloned()).await?;
    let resources = GatewayResources {
        gateway_arn: Some(found.arn(&scope)),
        resources: Some(GatewayInfrastructureResources { host_shared_alb: Some(Vec::new()) }),
    };
    Ok(DescribeGatewayResourcesResponse { gateway_resources: Some(resources), next_token: None })
}

/// Lists the gateways that pass every filter, by name; DELETED ones only when their status is asked for.
///
/// # Errors
/// `InvalidParameterException` for a page size out of range, a foreign token, too many names, or an ARN of
/// something else.
pub async fn list(
    engine: &Engine,
    context: &RequestContext,
    input: ListGatewaysRequest,
) -> Result<ListGatewaysResponse, ServiceError> {
    let scope = scope_of(context);
    let page = PageRequest::parse("ListGateways", input.max_results.map(i64::from), input.next_token.as_deref(), MOST)?;
    let given = input.names.as_ref().map_or(0, Vec::len);
    if given > MAX_NAMES {
        let message = format!("names can have at most {MAX_NAMES} items; {given} were given.");
        return Err(error::invalid_parameter_exception(message));
    }
    let mut names = Vec::new();
    for named in input.names.iter().flatten() {
        names.push(gateway::name_of(&scope, named).ok_or_else(|| {
            error::invalid_parameter_exception(format!("Invalid identifier: {named} is not the name of a gateway."))
        })?);
    }
    let statuses = input.status.unwrap_or_default();
    let wanted = |status: &GatewayStatus| match &statuses[..] {
        [] => *status != GatewayStatus::Deleted,
        given => given.contains(status),
    };
    let (gateways, next_token) = engine
        .read(|state| {
            let start = page.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let rest = state.scope(&scope).gateways.range::<str, _>((start, Bound::Unbounded));
            let matching = rest
                .filter(|(name, record)| wanted(&record.status) && (names.is_empty() || names.contains(&name.as_str())))
                .map(|(name, record)| (name.clone(), record.summary(&scope)));
            page.take(matching)
        })
        .await;
    Ok(ListGatewaysResponse { gateways: Some(gateways), next_token })
}
