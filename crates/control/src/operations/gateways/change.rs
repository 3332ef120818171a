//! CreateGateway, UpdateGateway and DeleteGateway.

use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_api::ecs::{
    CreateGatewayRequest, CreateGatewayResponse, DeleteGatewayRequest, DeleteGatewayResponse,
    GatewayClusterAssociationStatus, GatewayStatus, PropagateGatewayTags, UpdateGatewayRequest, UpdateGatewayResponse,
    error,
};
use longshore_model::gateway::{self, GatewayRecord};
use longshore_model::{Id, Scope, tags};
use longshore_wire::RequestContext;

use super::{associations_of, find_usable};
use crate::changes::Change;
use crate::engine::Engine;
use crate::service::scope_of;
use crate::state::ScopeState;

/// Most gateways of an account in a region.
const MAX_GATEWAYS: usize = 500;
/// Most characters of a client token.
const MAX_TOKEN: usize = 64;

/// Makes a gateway, protected from deletion unless told otherwise. A client token of an earlier call
/// answers the gateway which that call made, whatever else is asked for.
///
/// # Errors
/// `InvalidParameterException` for members out of their rules, `ClientException` when the name is taken or the
/// account has all gateways it may have.
pub async fn create(
    engine: &Engine,
    context: &RequestContext,
    input: CreateGatewayRequest,
) -> Result<CreateGatewayResponse, ServiceError> {
    let scope = scope_of(context);
    let name = input.name.unwrap_or_default();
    gateway::check_name(&name)?;
    let role = input.infrastructure_role_arn.unwrap_or_default();
    gateway::check_infrastructure_role(&role)?;
    let token = input.client_token.filter(|token| !token.is_empty());
    if token.as_ref().is_some_and(|token| token.len() > MAX_TOKEN || !token.is_ascii()) {
        let message = format!("clientToken is not valid: it may have at most {MAX_TOKEN} ASCII characters.");
        return Err(error::invalid_parameter_exception(message));
    }
    let now = engine.seams().clock.now();
    let record = GatewayRecord {
        id: Id::random(&*engine.seams().random),
        name,
        status: GatewayStatus::Active,
        infrastructure_role_arn: role,
        deletion_protection: input.deletion_protection.unwrap_or(true),
        configuration: gateway::configuration(&scope, input.configuration)?,
        propagate_tags: input.propagate_tags.unwrap_or(PropagateGatewayTags::Gateway),
        client_token: token,
        created_at: now,
        updated_at: now,
        tags: tags::on_creation(input.tags.as_deref())?,
    };
    engine
        .write(|state, changes| {
            let known = state.scope(&scope);
            if let Some(earlier) = made_with(known, record.client_token.as_deref()) {
                return Ok(created(&scope, earlier));
            }
            check_new(known, &record)?;
            let answer = created(&scope, &record);
            changes.push(Change::PutGateway(scope.clone(), Arc::new(record)));
            Ok::<_, ServiceError>(answer)
        })
        .await
}

fn created(scope: &Scope, record: &GatewayRecord) -> CreateGatewayResponse {
    CreateGatewayResponse {
        gateway_arn: Some(record.arn(scope)),
        name: Some(record.name.clone()),
        status: Some(record.status.clone()),
    }
}

/// The gateway that an earlier call with the same token made.
fn made_with<'a>(state: &'a ScopeState, token: Option<&str>) -> Option<&'a GatewayRecord> {
    let token = token?;
    let mut usable = state.gateways.values().filter(|known| known.is_usable());
    usable.find(|known| known.client_token.as_deref() == Some(token)).map(|known| &**known)
}

/// Refuses a name that is taken, and more gateways than an account may have.
fn check_new(state: &ScopeState, wanted: &GatewayRecord) -> Result<(), ServiceError> {
    if state.gateways.get(&wanted.name).is_some_and(|known| known.is_usable()) {
        return Err(error::client_exception(format!(
            "The gateway {} already exists. To change it, update it.",
            wanted.name
        )));
    }
    if state.gateways.values().filter(|known| known.is_usable()).count() >= MAX_GATEWAYS {
        return Err(error::client_exception(format!(
            "The account has {MAX_GATEWAYS} gateways in this region, which is the most it can have. Delete some first."
        )));
    }
    Ok(())
}

/// Changes a gateway; what is not given stays. It answers that the update is under way, as ECS does; there
/// are no load balancers to change, so it is complete at once.
///
/// # Errors
/// `GatewayNotFoundException`, `InvalidParameterException`.
pub async fn update(
    engine: &Engine,
    context: &RequestContext,
    input: UpdateGatewayRequest,
) -> Result<UpdateGatewayResponse, ServiceError> {
    let scope = scope_of(context);
    let named = input.gateway.unwrap_or_default();
    if let Some(role) = &input.infrastructure_role_arn {
        gateway::check_infrastructure_role(role)?;
    }
    let now = engine.seams().clock.now();
    engine
        .write(|state, changes| {
            let mut record = GatewayRecord::clone(find_usable(state.scope(&scope), &scope, &named)?);
            if let Some(given) = input.configuration {
                record.configuration = gateway::updated(&scope, &record.configuration, given)?;
            }
            record.infrastructure_role_arn = input.infrastructure_role_arn.unwrap_or(record.infrastructure_role_arn);
            record.deletion_protection = input.deletion_protection.unwrap_or(record.deletion_protection);
            record.propagate_tags = input.propagate_tags.unwrap_or(record.propagate_tags);
            record.status = GatewayStatus::UpdateComplete;
            record.updated_at = now;
            let answer = UpdateGatewayResponse {
                gateway_arn: Some(record.arn(&scope)),
                name: Some(record.name.clone()),
                status: Some(GatewayStatus::UpdateInProgress),
            };
            changes.push(Change::PutGateway(scope.clone(), Arc::new(record)));
            Ok::<_, ServiceError>(answer)
        })
        .await
}

/// Makes a gateway DELETED; it is listed as such for an hour, and its name is free again.
///
/// # Errors
/// `GatewayNotFoundException`, `ClientException` while it is protected or a cluster is associated with it.
pub async fn delete(
    engine: &Engine,
    context: &RequestContext,
    input: DeleteGatewayRequest,
) -> Result<DeleteGatewayResponse, ServiceError> {
    let scope = scope_of(context);
    let named = input.gateway.unwrap_or_default();
    let now = engine.seams().clock.now();
    engine
        .write(|state, changes| {
            let records = state.scope(&scope);
            let mut record = GatewayRecord::clone(find_usable(records, &scope, &named)?);
            let name = &record.name;
            if record.deletion_protection {
                return Err(error::client_exception(format!(
                    "The gateway {name} has deletion protection: update it with deletionProtection false first."
                )));
            }
            let mut users = associations_of(records, record.id);
            let user = users.find(|(_, status)| *status == GatewayClusterAssociationStatus::Active);
            if let Some((cluster, _)) = user {
                return Err(error::client_exception(format!(
                    "The gateway {name} is associated with the cluster {}: disassociate it first.",
                    cluster.record.name
                )));
            }
            record.status = GatewayStatus::Deleted;
            record.updated_at = now;
            let answer = DeleteGatewayResponse {
                gateway_arn: Some(record.arn(&scope)),
                name: Some(record.name.clone()),
                status: Some(record.status.clone()),
            };
            changes.push(Change::PutGateway(scope.clone(), Arc::new(record)));
            Ok::<_, ServiceError>(answer)
        })
        .await
}
