//! DescribeTasks.

use longshore_api::{ServiceError, ecs};
use longshore_wire::RequestContext;

use super::{find_task, view};
use crate::engine::Engine;
use crate::operations::resolve_cluster;
use crate::service::scope_of;

/// Most tasks of one call.
const MAX_NAMED: usize = 100;

/// Describes up to 100 tasks; those that can't be found are failures.
///
/// # Errors
/// `ClusterNotFoundException`, `InvalidParameterException`.
pub async fn describe_tasks(
    engine: &Engine,
    context: &RequestContext,
    input: ecs::DescribeTasksRequest,
) -> Result<ecs::DescribeTasksResponse, ServiceError> {
    let scope = scope_of(context);
    let named = input.tasks.unwrap_or_default();
    if named.is_empty() {
        return Err(ecs::error::invalid_parameter_exception("Tasks cannot be empty."));
    }
    if named.len() > MAX_NAMED {
        let message = format!("taskIds can have at most {MAX_NAMED} items.");
        return Err(ecs::error::invalid_parameter_exception(message));
    }
    let with_tags = input.include.is_some_and(|fields| fields.contains(&ecs::TaskField::Tags));
    engine
        .read(|state| {
            let records = state.scope(&scope);
            let cluster = resolve_cluster(records, &scope, input.cluster.as_deref())?;
            let (mut tasks, mut failures) = (Vec::new(), Vec::new());
            for named in &named {
                let Some(task) = find_task(cluster, &scope, named)? else {
                    let arn = if named.starts_with("arn:") {
                        named.clone()
                    } else {
                        scope.ecs_arn(format_args!("task/{}/{named}", cluster.record.name))
                    };
                    let reason = Some("MISSING".to_owned());
                    failures.push(ecs::Failure { arn: Some(arn), reason, detail: None });
                    continue;
                };
                let connected = records.agent_connected(task);
                tasks.push(view::view(&scope, &cluster.record.name, task, connected, with_tags));
            }
            Ok(ecs::DescribeTasksResponse { tasks: Some(tasks), failures: Some(failures) })
        })
        .await
}
