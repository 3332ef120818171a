//! DescribeClusters and ListClusters.

use std::ops::Bound;

use longshore_api::ServiceError;
use longshore_api::ecs::{
    DescribeClustersRequest, DescribeClustersResponse, Failure, ListClustersRequest, ListClustersResponse, error,
};
use longshore_model::records::ClusterStatus;
use longshore_wire::RequestContext;

use super::{Field, Include, view};
use crate::engine::Engine;
use crate::operations::DEFAULT_CLUSTER;
use crate::pagination::PageRequest;
use crate::service::scope_of;

/// Most clusters in one call, and in one page.
const MOST: usize = 100;

/// Describes clusters, INACTIVE ones included; the one called `default` when none is named.
///
/// # Errors
/// `InvalidParameterException` for blank names or more than 100.
pub async fn describe(
    engine: &Engine,
    context: &RequestContext,
    input: DescribeClustersRequest,
) -> Result<DescribeClustersResponse, ServiceError> {
    let named = input.clusters.filter(|named| !named.is_empty()).unwrap_or_else(|| vec![DEFAULT_CLUSTER.to_owned()]);
    if named.iter().any(|name| name.trim().is_empty()) {
        return Err(error::invalid_parameter_exception("Clusters can not be blank."));
    }
    if named.len() > MOST {
        let message = format!("{} clusters are too many: at most {MOST} can be described in one call.", named.len());
        return Err(error::invalid_parameter_exception(message));
    }
    let include: Include = input.include.iter().flatten().filter_map(Field::of).collect();
    let scope = scope_of(context);
    let (clusters, failures) = engine
        .read(|state| {
            let state = state.scope(&scope);
            let (mut clusters, mut failures) = (Vec::new(), Vec::new());
            for named in &named {
                match scope.cluster_name(named).and_then(|name| state.cluster_named(name)) {
                    Some(cluster) => clusters.push(view(&scope, cluster, &cluster.record, &include)),
                    None => {
                        let arn = if named.starts_with("arn:") { named.clone() } else { scope.cluster_arn(named) };
                        failures.push(Failure { arn: Some(arn), reason: Some("MISSING".to_owned()), detail: None });
                    }
                }
            }
            (clusters, failures)
        })
        .await;
    Ok(DescribeClustersResponse { clusters: Some(clusters), failures: Some(failures) })
}

/// Lists the ARNs of ACTIVE clusters, by name.
///
/// # Errors
/// `InvalidParameterException` for a page size out of range or a foreign token.
pub async fn list(
    engine: &Engine,
    context: &RequestContext,
    input: ListClustersRequest,
) -> Result<ListClustersResponse, ServiceError> {
    let page = PageRequest::parse("ListClusters", input.max_results.map(i64::from), input.next_token.as_deref(), MOST)?;
    let scope = scope_of(context);
    let (arns, next_token) = engine
        .read(|state| {
            let start = page.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let active = state
                .scope(&scope)
                .clusters_from(start)
                .filter(|(_, cluster)| cluster.record.status == ClusterStatus::Active)
                .map(|(name, _)| (name.to_owned(), scope.cluster_arn(name)));
            page.take(active)
        })
        .await;
    Ok(ListClustersResponse { cluster_arns: Some(arns), next_token })
}
