//! DescribeServices, ListServices and ListServicesByNamespace.

use std::collections::BTreeSet;
use std::ops::Bound;

use longshore_api::ServiceError;
use longshore_api::ecs::{
    DescribeServicesRequest, DescribeServicesResponse, Failure, ListServicesByNamespaceRequest,
    ListServicesByNamespaceResponse, ListServicesRequest, ListServicesResponse, ServiceField, error,
};
use longshore_model::service::ServiceStatus;
use longshore_wire::RequestContext;

use super::find_service;
use super::view::{managed_by, view};
use crate::engine::Engine;
use crate::operations::resolve_cluster;
use crate::pagination::PageRequest;
use crate::service::scope_of;
use crate::state::ClusterState;

/// Most services of one description.
const MOST: usize = 10;
/// Most services of one page, and how many it has when the request does not say.
const PAGE: (usize, i64) = (100, 10);

/// Describes services of a cluster, DRAINING and INACTIVE ones included.
///
/// # Errors
/// `ClusterNotFoundException`, `InvalidParameterException`.
pub async fn describe_services(
    engine: &Engine,
    context: &RequestContext,
    input: DescribeServicesRequest,
) -> Result<DescribeServicesResponse, ServiceError> {
    let scope = scope_of(context);
    let named = input.services.unwrap_or_default();
    if named.is_empty() {
        return Err(error::invalid_parameter_exception("Services cannot be empty."));
    }
    if named.len() > MOST {
        let message = format!("service names can have at most {MOST} items.");
        return Err(error::invalid_parameter_exception(message));
    }
    let with_tags = input.include.iter().flatten().any(|field| *field == ServiceField::Tags);
    engine
        .read(|state| {
            let cluster = resolve_cluster(state.scope(&scope), &scope, input.cluster.as_deref())?;
            let (mut services, mut failures) = (Vec::new(), Vec::new());
            for named in &named {
                match find_service(cluster, &scope, named)? {
                    Some(record) => services.push(view(&scope, cluster, record, with_tags)),
                    None => {
                        let whole = named.starts_with("arn:");
                        // ECS does not say which cluster it looked in.
                        let arn = if whole { named.clone() } else { scope.ecs_arn(format_args!("service/{named}")) };
                        failures.push(Failure { arn: Some(arn), reason: Some("MISSING".to_owned()), detail: None });
                    }
                }
            }
            Ok(DescribeServicesResponse { services: Some(services), failures: Some(failures) })
        })
        .await
}

/// Lists the ARNs of a cluster's ACTIVE services that pass every filter, by name.
///
/// # Errors
/// `ClusterNotFoundException`, `InvalidParameterException`.
pub async fn list_services(
    engine: &Engine,
    context: &RequestContext,
    input: ListServicesRequest,
) -> Result<ListServicesResponse, ServiceError> {
    let scope = scope_of(context);
    let wanted = input.max_results.map_or(PAGE.1, i64::from);
    let page = PageRequest::parse("ListServices", Some(wanted), input.next_token.as_deref(), PAGE.0)?;
    engine
        .read(|state| {
            let cluster = resolve_cluster(state.scope(&scope), &scope, input.cluster.as_deref())?;
            let start = page.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let rest = cluster.services.range::<str, _>((start, Bound::Unbounded));
            let matching = rest
                .filter(|(_, record)| record.status == ServiceStatus::Active)
                .filter(|(_, record)| {
                    let settings = &record.settings;
                    (input.launch_type.is_none() || settings.launch_type == input.launch_type)
                        && (input.scheduling_strategy.is_none()
                            || settings.scheduling_strategy == input.scheduling_strategy)
                        && input.resource_management_type.as_ref().is_none_or(|wanted| managed_by(record) == *wanted)
                })
                .map(|(name, record)| (name.clone(), record.arn(&scope, &cluster.record.name)));
            let (arns, next_token) = page.take(matching);
            Ok(ListServicesResponse { service_arns: Some(arns), next_token })
        })
        .await
}

/// Lists the ARNs of the ACTIVE services of a Cloud Map namespace, in whichever cluster they are. There are the
/// namespaces that clusters have as their default, and those that services use.
///
/// # Errors
/// `InvalidParameterException` for a page size out of range or a foreign token, `NamespaceNotFoundException`.
pub async fn list_services_by_namespace(
    engine: &Engine,
    context: &RequestContext,
    input: ListServicesByNamespaceRequest,
) -> Result<ListServicesByNamespaceResponse, ServiceError> {
    let wanted = input.max_results.map_or(PAGE.1, i64::from);
    let page = PageRequest::parse("ListServicesByNamespace", Some(wanted), input.next_token.as_deref(), PAGE.0)?;
    let (scope, named) = (scope_of(context), input.namespace);
    engine
        .read(|state| {
            let clusters = &state.scope(&scope).clusters;
            let mut arns = BTreeSet::new();
            for cluster in clusters.values() {
                let active = cluster.services.values().filter(|it| it.status == ServiceStatus::Active);
                let mine = active
                    .filter(|it| it.revision_settings.service_connect.as_ref().is_some_and(|it| it.namespace == named));
                arns.extend(mine.map(|it| it.arn(&scope, &cluster.record.name)));
            }
            let default = |cluster: &ClusterState| cluster.record.service_connect_namespace == named;
            if arns.is_empty() && !clusters.values().any(default) {
                return Err(error::namespace_not_found_exception("The specified namespace wasn't found."));
            }
            let after = page.after.as_deref();
            let rest = arns.into_iter().filter(|arn| after.is_none_or(|after| arn.as_str() > after));
            let (service_arns, next_token) = page.take(rest.map(|arn| (arn.clone(), arn)));
            Ok(ListServicesByNamespaceResponse { service_arns: Some(service_arns), next_token })
        })
        .await
}
