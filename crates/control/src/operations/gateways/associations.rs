//! AssociateGatewayWithCluster, DisassociateGatewayFromCluster and ListGatewayClusterAssociations.

use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_api::ecs::{
    AssociateGatewayWithClusterRequest, AssociateGatewayWithClusterResponse, DisassociateGatewayFromClusterRequest,
    DisassociateGatewayFromClusterResponse, GatewayClusterAssociationStatus, GatewayClusterAssociationSummary,
    ListGatewayClusterAssociationsRequest, ListGatewayClusterAssociationsResponse, error,
};
use longshore_model::gateway::{self, GatewayAssociationRecord};
use longshore_wire::RequestContext;

use super::describe::MOST;
use super::{active_association, associations_of, find_usable};
use crate::changes::Change;
use crate::engine::Engine;
use crate::operations::resolve_cluster;
use crate::pagination::PageRequest;
use crate::service::scope_of;

/// Most gateways of one cluster.
const MAX_OF_CLUSTER: usize = 5;

/// Lets the services of a cluster route through a gateway. What is so already stays so.
///
/// # Errors
/// `GatewayNotFoundException`, `ClusterNotFoundException`, `InvalidParameterException`; `ClientException` when the
/// cluster has all gateways it may have.
pub async fn associate(
    engine: &Engine,
    context: &RequestContext,
    input: AssociateGatewayWithClusterRequest,
) -> Result<AssociateGatewayWithClusterResponse, ServiceError> {
    let scope = scope_of(context);
    let named = input.gateway.unwrap_or_default();
    let updated_at = engine.seams().clock.now();
    engine
        .write(|state, changes| {
            let records = state.scope(&scope);
            let gateway = find_usable(records, &scope, &named)?;
            let cluster = resolve_cluster(records, &scope, input.cluster.as_deref())?;
            let (gateway_id, cluster_id) = (gateway.id, cluster.record.id);
            if active_association(records, gateway_id, cluster_id).is_none() {
                let of_cluster = records.gateway_associations.values().filter_map(|of| of.get(&cluster_id));
                if of_cluster.filter(|known| known.active).count() >= MAX_OF_CLUSTER {
                    return Err(error::client_exception(format!(
                        "The cluster {} is associated with {MAX_OF_CLUSTER} gateways, which is the most: disassociate one first.",
                        cluster.record.name
                    )));
                }
                let record =
                    GatewayAssociationRecord { gateway: gateway_id, cluster: cluster_id, active: true, updated_at };
                changes.push(Change::PutGatewayAssociation(scope.clone(), Arc::new(record)));
            }
            Ok::<_, ServiceError>(AssociateGatewayWithClusterResponse {
                gateway_arn: Some(gateway.arn(&scope)),
                cluster_arn: Some(scope.cluster_arn(&cluster.record.name)),
                status: Some(GatewayClusterAssociationStatus::Active),
            })
        })
        .await
}

/// Ends an association; it is INACTIVE for an hour.
///
/// # Errors
/// `GatewayNotFoundException`, `ClusterNotFoundException`, `ResourceNotFoundException` when there is none,
/// `InvalidParameterException`.
pub async fn disassociate(
    engine: &Engine,
    context: &RequestContext,
    input: DisassociateGatewayFromClusterRequest,
) -> Result<DisassociateGatewayFromClusterResponse, ServiceError> {
    let scope = scope_of(context);
    let named = input.gateway.unwrap_or_default();
    let updated_at = engine.seams().clock.now();
    engine
        .write(|state, changes| {
            let records = state.scope(&scope);
            let gateway = find_usable(records, &scope, &named)?;
            let cluster = resolve_cluster(records, &scope, input.cluster.as_deref())?;
            let known = active_association(records, gateway.id, cluster.record.id).ok_or_else(|| {
                error::resource_not_found_exception(format!(
                    "The gateway {} is not associated with the cluster {}.",
                    gateway.name, cluster.record.name
                ))
            })?;
            let record =
                GatewayAssociationRecord { active: false, updated_at, ..GatewayAssociationRecord::clone(known) };
            changes.push(Change::PutGatewayAssociation(scope.clone(), Arc::new(record)));
            Ok::<_, ServiceError>(DisassociateGatewayFromClusterResponse {
                gateway_arn: Some(gateway.arn(&scope)),
                cluster_arn: Some(scope.cluster_arn(&cluster.record.name)),
                status: Some(GatewayClusterAssociationStatus::Inactive),
            })
        })
        .await
}

/// Lists the associations that pass every filter, by gateway and cluster; INACTIVE ones only when
/// their status is asked for. What a filter names need not exist.
///
/// # Errors
/// `InvalidParameterException` for a page size out of range, a foreign token, or an ARN of something else.
pub async fn list_associations(
    engine: &Engine,
    context: &RequestContext,
    input: ListGatewayClusterAssociationsRequest,
) -> Result<ListGatewayClusterAssociationsResponse, ServiceError> {
    const LIST: &str = "ListGatewayClusterAssociations";
    let scope = scope_of(context);
    let page = PageRequest::parse(LIST, input.max_results.map(i64::from), input.next_token.as_deref(), MOST)?;
    let invalid = |named: &str, kind: &str| {
        error::invalid_parameter_exception(format!(
            "Invalid identifier: {named} is not a {kind} of this account and region."
        ))
    };
    let named = input.gateway.as_deref().filter(|named| !named.is_empty());
    let gateway =
        named.map(|named| gateway::name_of(&scope, named).ok_or_else(|| invalid(named, "gateway"))).transpose()?;
    let named = input.cluster.as_deref().filter(|named| !named.is_empty());
    let cluster = named.map(|named| scope.cluster_name(named).ok_or_else(|| invalid(named, "cluster"))).transpose()?;
    let statuses = input.status.unwrap_or_default();
    let wanted = |status: &GatewayClusterAssociationStatus| match &statuses[..] {
        [] => *status != GatewayClusterAssociationStatus::Inactive,
        given => given.contains(status),
    };
    let (associations, next_token) = engine
        .read(|state| {
            let records = state.scope(&scope);
            let gateways = records.gateways.values().filter(|it| gateway.is_none_or(|name| it.name == name));
            let all = gateways.flat_map(|it| associations_of(records, it.id).map(move |found| (it, found)));
            let mut found: Vec<(String, GatewayClusterAssociationSummary)> = all
                .filter(|(_, (of, status))| wanted(status) && cluster.is_none_or(|name| of.record.name == name))
                .map(|(gateway, (of, status))| {
                    // A name has had several clusters, one after another: the id tells them apart.
                    let key = format!("{}/{}/{}", gateway.name, of.record.name, of.record.id);
                    let summary = GatewayClusterAssociationSummary {
                        gateway_arn: Some(gateway.arn(&scope)),
                        cluster_arn: Some(scope.cluster_arn(&of.record.name)),
                        status: Some(status),
                    };
                    (key, summary)
                })
                .filter(|(key, _)| page.after.as_ref().is_none_or(|after| key > after))
                .collect();
            found.sort_by(|(one, _), (other, _)| one.cmp(other));
            page.take(found.into_iter())
        })
        .await;
    Ok(ListGatewayClusterAssociationsResponse { gateway_cluster_associations: Some(associations), next_token })
}
