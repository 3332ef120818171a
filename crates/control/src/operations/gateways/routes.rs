//! DescribeGatewayRoute and ListGatewayRoutes: there are no routes, because no service can be
//! connected to a gateway.

use longshore_api::ServiceError;
use longshore_api::ecs::{
    DescribeGatewayRouteRequest, DescribeGatewayRouteResponse, ListGatewayRoutesRequest, ListGatewayRoutesResponse,
    error,
};
use longshore_model::Arn;
use longshore_wire::RequestContext;

use super::describe::MOST;
use super::find_usable;
use crate::engine::Engine;
use crate::pagination::PageRequest;
use crate::service::scope_of;

/// Describes a route.
///
/// # Errors
/// `ResourceNotFoundException`, `InvalidParameterException` for what is no ARN of one.
pub async fn describe_route(
    _engine: &Engine,
    context: &RequestContext,
    input: DescribeGatewayRouteRequest,
) -> Result<DescribeGatewayRouteResponse, ServiceError> {
    let scope = scope_of(context);
    let arn = input.gateway_route_arn.unwrap_or_default();
    let route = Arn::parse(&arn).filter(|it| it.is_ecs_in(&scope)).and_then(|it| it.resource_of("gateway-route"));
    Err(match route {
        Some(_) => error::resource_not_found_exception(format!("Gateway route not found: {arn}")),
        None => error::invalid_parameter_exception(format!(
            "Invalid identifier: {arn} is no ARN of a gateway route of this account and region."
        )),
    })
}

/// Lists routes.
///
/// # Errors
/// `GatewayNotFoundException`, `InvalidParameterException`.
pub async fn list_routes(
    engine: &Engine,
    context: &RequestContext,
    input: ListGatewayRoutesRequest,
) -> Result<ListGatewayRoutesResponse, ServiceError> {
    let scope = scope_of(context);
    PageRequest::parse("ListGatewayRoutes", input.max_results.map(i64::from), input.next_token.as_deref(), MOST)?;
    if let Some(named) = input.gateway.as_deref().filter(|named| !named.is_empty()) {
        engine.read(|state| find_usable(state.scope(&scope), &scope, named).map(drop)).await?;
    }
    Ok(ListGatewayRoutesResponse { gateway_routes: Some(Vec::new()), next_token: None })
}
