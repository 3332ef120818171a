//! ListTasks.

use std::collections::BTreeSet;
use std::ops::Bound;

use longshore_api::{ServiceError, ecs};
use longshore_model::daemon::DaemonRecord;
use longshore_model::records::TaskRecord;
use longshore_model::{Id, Scope};
use longshore_wire::RequestContext;

use crate::engine::Engine;
use crate::operations::container_instances::find_instance;
use crate::operations::identifiers::name_in;
use crate::operations::resolve_cluster;
use crate::pagination::PageRequest;
use crate::service::scope_of;
use crate::state::ClusterState;

/// Lists the ARNs of tasks that pass every filter; without `desiredStatus`, of those that are to run.
///
/// # Errors
/// `ClusterNotFoundException`, `ServiceNotFoundException`, `InvalidParameterException`.
pub async fn list_tasks(
    engine: &Engine,
    context: &RequestContext,
    input: ecs::ListTasksRequest,
) -> Result<ecs::ListTasksResponse, ServiceError> {
    let scope = scope_of(context);
    let page = PageRequest::parse("ListTasks", input.max_results.map(i64::from), input.next_token.as_deref(), 100)?;
    engine
        .read(|state| {
            let cluster = resolve_cluster(state.scope(&scope), &scope, input.cluster.as_deref())?;
            let filter = Filter::read(&input, cluster, &scope)?;
            let after = page.after.as_deref().and_then(|after| after.parse::<Id>().ok());
            let rest = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
            let candidates = filter.smallest.iter().flat_map(|ids| ids.range::<Id, _>(rest));
            let matching = candidates
                .filter_map(|id| cluster.tasks.get(id))
                .filter(|task| filter.accepts(task))
                .map(|task| (task.id.to_string(), scope.task_arn(&cluster.record.name, task.id)));
            let (arns, next_token) = page.take(matching);
            Ok(ecs::ListTasksResponse { task_arns: Some(arns), next_token })
        })
        .await
}

/// The filters of a call and the smallest index that answers one of them.
struct Filter<'a> {
    instance: Option<Id>,
    family: Option<&'a str>,
    started_by: Option<&'a str>,
    group: Option<String>,
    daemon: Option<&'a str>,
    desired_status: &'a str,
    launch_type: Option<&'a ecs::LaunchType>,
    /// `None` when nothing can match.
    smallest: Option<&'a BTreeSet<Id>>,
}

impl<'a> Filter<'a> {
    fn read(input: &'a ecs::ListTasksRequest, cluster: &'a ClusterState, scope: &Scope) -> Result<Self, ServiceError> {
        let given = |text: &'a Option<String>| text.as_deref().filter(|text| !text.is_empty());
        let others = [&input.container_instance, &input.family, &input.service_name, &input.daemon_name];
        let other = input.launch_type.is_some() || others.into_iter().any(|other| given(other).is_some());
        if other && given(&input.started_by).is_some() {
            // The desired status is no filter in this sense: there is always one.
            let message = "cannot specify startedBy with other arguments";
            return Err(ecs::error::invalid_parameter_exception(message));
        }
        let named = |kind: &str, text| given(text).map(|text| name_in(kind, cluster, scope, text)).transpose();
        let mut filter = Self {
            instance: None,
            family: given(&input.family),
            started_by: given(&input.started_by),
            group: named("service", &input.service_name)?.map(|service| format!("service:{service}")),
            daemon: named("daemon", &input.daemon_name)?,
            desired_status: input.desired_status.as_ref().map_or("RUNNING", |status| status.as_str()),
            launch_type: input.launch_type.as_ref(),
            smallest: None,
        };
        let index = &cluster.index;
        // Each filter that was given has an index; one without an entry matches nothing.
        let mut indexes = vec![match filter.desired_status {
            "RUNNING" => Some(&index.wanted),
            "STOPPED" => Some(&index.unwanted),
            // ECS takes PENDING and answers nothing: no task is ever wanted pending.
            _ => None,
        }];
        if let Some(named) = given(&input.container_instance) {
            let instance = find_instance(cluster, scope, named)?.ok_or_else(|| {
                ecs::error::invalid_parameter_exception("The referenced container instance was not found.")
            })?;
            filter.instance = Some(instance.record.id);
            indexes.push(Some(&instance.tasks));
        }
        if let Some(family) = filter.family {
            indexes.push(index.family.get(family));
        }
        if let Some(started_by) = filter.started_by {
            indexes.push(index.started_by.get(started_by));
        }
        if let Some(group) = &filter.group {
            let tasks = index.group.get(group);
            let name = group.strip_prefix("service:").unwrap_or(group);
            if tasks.is_none() && !cluster.services.contains_key(name) {
                return Err(ecs::error::service_not_found_exception("Service not found."));
            }
            indexes.push(tasks);
        }
        if let Some(daemon) = filter.daemon {
            indexes.push(index.group.get(&DaemonRecord::group_of(daemon)));
        }
        let all: Option<Vec<&BTreeSet<Id>>> = indexes.into_iter().collect();
        filter.smallest = all.and_then(|all| all.into_iter().min_by_key(|ids| ids.len()));
        Ok(filter)
    }

    fn accepts(&self, task: &TaskRecord) -> bool {
        task.desired_status.as_str() == self.desired_status
            && (self.instance.is_none() || task.container_instance == self.instance)
            && self.family.is_none_or(|family| task.family == family)
            && self.started_by.is_none_or(|mark| task.started_by.as_deref() == Some(mark))
            && self.group.as_ref().is_none_or(|group| task.group == *group)
            && self.daemon.is_none_or(|daemon| task.daemon.as_deref() == Some(daemon))
            && self.launch_type.is_none_or(|launch_type| task.launch_type == *launch_type)
    }
}
