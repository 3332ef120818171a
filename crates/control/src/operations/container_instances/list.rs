//! ListContainerInstances.

use longshore_api::{ServiceError, ecs};
use longshore_model::Id;
use longshore_model::records::ContainerInstanceStatus;
use longshore_scheduler::Query;
use longshore_wire::RequestContext;

use crate::engine::Engine;
use crate::operations::resolve_cluster;
use crate::pagination::PageRequest;
use crate::service::scope_of;

/// Lists ARNs, of all statuses but INACTIVE or of one; `filter` is a cluster query expression.
///
/// # Errors
/// `ClusterNotFoundException`, `InvalidParameterException`.
pub async fn list_container_instances(
    engine: &Engine,
    context: &RequestContext,
    input: ecs::ListContainerInstancesRequest,
) -> Result<ecs::ListContainerInstancesResponse, ServiceError> {
    let scope = scope_of(context);
    let page = PageRequest::parse(
        "ListContainerInstances",
        input.max_results.map(i64::from),
        input.next_token.as_deref(),
        100,
    )?;
    let filter = input.filter.as_deref().filter(|text| !text.trim().is_empty()).map(Query::parse).transpose();
    let filter = filter.map_err(|error| ecs::error::invalid_parameter_exception(error.to_string()))?;
    engine
        .read(|state| {
            let cluster = resolve_cluster(state.scope(&scope), &scope, input.cluster.as_deref())?;
            let status_matches = |status: ContainerInstanceStatus| match &input.status {
                Some(wanted) => wanted.as_str() == status.as_str(),
                None => status != ContainerInstanceStatus::Inactive,
            };
            let after = page.after.as_deref().and_then(|after| after.parse::<Id>().ok());
            let rest =
                (after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded), std::ops::Bound::Unbounded);
            let matching = cluster
                .instances
                .range::<Id, _>(rest)
                .filter(|(_, instance)| !instance.is_hidden())
                .filter(|(_, instance)| status_matches(instance.record.status))
                .filter(|(_, instance)| filter.as_ref().is_none_or(|filter| filter.matches(instance.node())))
                .map(|(id, _)| (id.to_string(), scope.container_instance_arn(&cluster.record.name, *id)));
            let (arns, next_token) = page.take(matching);
            Ok(ecs::ListContainerInstancesResponse { container_instance_arns: Some(arns), next_token })
        })
        .await
}
