//! Tasks.

#[cfg(test)]
mod answer_tests;
pub(crate) mod capacity;
#[cfg(test)]
pub(crate) mod capacity_tests;
mod describe;
mod execute;
mod interrupt;
#[cfg(test)]
mod interrupt_tests;
pub(crate) mod launch;
#[cfg(test)]
mod launch_type_tests;
mod list;
mod network;
pub(crate) mod placement;
mod protection;
#[cfg(test)]
mod rule_tests;
pub(crate) mod run;
mod start;
mod stop;
mod tagging;
#[cfg(test)]
mod tests;
mod view;
#[cfg(test)]
mod volume_tests;
pub(crate) mod waiting;
#[cfg(test)]
mod waiting_tests;

pub use describe::describe_tasks;
pub use execute::execute_command;
pub use interrupt::interrupt_fargate_tasks;
pub use list::list_tasks;
pub use protection::{get_task_protection, update_task_protection};
pub use run::run_task;
pub use start::start_task;
pub use stop::{stop_every_task, stop_task};

use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_model::Scope;
use longshore_model::records::TaskRecord;

use crate::operations::identifiers::id_in;
use crate::state::ClusterState;

/// The task of `cluster` that `named` (id, short or long ARN) means; `None` when there is none.
///
/// # Errors
/// `InvalidParameterException` for an ARN of something else or of another cluster, or for what is no id.
pub fn find_task<'a>(
    cluster: &'a ClusterState,
    scope: &Scope,
    named: &str,
) -> Result<Option<&'a Arc<TaskRecord>>, ServiceError> {
    let id = id_in("task", "taskId", cluster, scope, named)?;
    Ok(id.and_then(|id| cluster.tasks.get(&id)))
}

/// A task as an event tells of it: without its tags.
pub(crate) fn task_detail(
    scope: &longshore_model::Scope,
    cluster: &str,
    task: &longshore_model::records::TaskRecord,
    agent_connected: bool,
) -> longshore_api::ecs::Task {
    view::view(scope, cluster, task, agent_connected, false)
}
