//! DescribeTaskSets.

use longshore_api::ServiceError;
use longshore_api::ecs::{DescribeTaskSetsRequest, DescribeTaskSetsResponse, Failure, TaskSetField};
use longshore_wire::RequestContext;

use super::view::view;
use super::{resolve_service, task_set_id};
use crate::engine::Engine;
use crate::operations::resolve_cluster;
use crate::service::scope_of;

/// Describes task sets of a service: those named, or all.
///
/// # Errors
/// `ClusterNotFoundException`, `ServiceNotFoundException`, `ServiceNotActiveException`,
/// `InvalidParameterException` for a service that has no task sets or the ARN of another's.
pub async fn describe_task_sets(
    engine: &Engine,
    context: &RequestContext,
    input: DescribeTaskSetsRequest,
) -> Result<DescribeTaskSetsResponse, ServiceError> {
    let scope = scope_of(context);
    let with_tags = input.include.iter().flatten().any(|field| *field == TaskSetField::Tags);
    let named = input.task_sets.unwrap_or_default();
    engine
        .read(|state| {
            let cluster = resolve_cluster(state.scope(&scope), &scope, input.cluster.as_deref())?;
            let service = resolve_service(cluster, &scope, input.service.as_deref())?;
            let (mut task_sets, mut failures) = (Vec::new(), Vec::new());
            if named.is_empty() {
                task_sets
                    .extend(service.task_sets.iter().map(|it| view(&scope, cluster, &service.name, it, with_tags)));
            }
            for named in &named {
                let id = task_set_id(&scope, &cluster.record.name, &service.name, named)?;
                match service.task_set(id) {
                    Some(record) => task_sets.push(view(&scope, cluster, &service.name, record, with_tags)),
                    None => failures.push(Failure {
                        arn: Some(scope.task_set_arn(&cluster.record.name, &service.name, id)),
                        reason: Some("MISSING".to_owned()),
                        detail: None,
                    }),
                }
            }
            Ok(DescribeTaskSetsResponse { task_sets: Some(task_sets), failures: Some(failures) })
        })
        .await
}
