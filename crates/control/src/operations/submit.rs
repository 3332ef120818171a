//! SubmitTaskStateChange, SubmitContainerStateChange, SubmitAttachmentStateChanges: agents' reports.
//!
//! An agent repeats a report until it is taken, and holds back everything after it. So a
//! well-formed report of something that is no longer known is acknowledged all the same.

use std::sync::Arc;

use longshore_api::{ServiceError, ecs};
use longshore_model::Id;
use longshore_model::arn::InCluster;
use longshore_model::records::TaskStatus;
use longshore_model::task::{ContainerReport, TaskReport, deprovisioning, report};
use longshore_wire::{Principal, RequestContext};

use super::container_instances::check_speaks_for;
use super::resolve_cluster;
use super::tasks::find_task;
use crate::changes::Change;
use crate::engine::Engine;
use crate::service::scope_of;

const ACKNOWLEDGMENT: &str = "ACK";

/// Takes an agent's report of a task.
///
/// # Errors
/// `InvalidParameterException` for a status that does not exist, `AccessDeniedException` for a task of another instance.
pub async fn submit_task_state_change(
    engine: &Engine,
    context: &RequestContext,
    input: ecs::SubmitTaskStateChangeRequest,
) -> Result<ecs::SubmitTaskStateChangeResponse, ServiceError> {
    let report = TaskReport {
        status: status(input.status.as_deref())?,
        reason: input.reason.unwrap_or_default(),
        pull_started: input.pull_started_at,
        pull_stopped: input.pull_stopped_at,
        execution_stopped: input.execution_stopped_at,
        containers: input.containers.unwrap_or_default().into_iter().map(container).collect::<Result<_, _>>()?,
    };
    take(engine, context, input.cluster.as_deref(), input.task.as_deref(), &report).await?;
    Ok(ecs::SubmitTaskStateChangeResponse { acknowledgment: Some(ACKNOWLEDGMENT.to_owned()) })
}

/// Takes an agent's report of one container.
///
/// # Errors
/// As [`submit_task_state_change`].
pub async fn submit_container_state_change(
    engine: &Engine,
    context: &RequestContext,
    input: ecs::SubmitContainerStateChangeRequest,
) -> Result<ecs::SubmitContainerStateChangeResponse, ServiceError> {
    let news = container(ecs::ContainerStateChange {
        container_name: input.container_name,
        image_digest: None,
        runtime_id: input.runtime_id,
        exit_code: input.exit_code,
        network_bindings: input.network_bindings,
        reason: input.reason,
        status: input.status,
    })?;
    let report = TaskReport { containers: vec![news], ..TaskReport::default() };
    take(engine, context, input.cluster.as_deref(), input.task.as_deref(), &report).await?;
    Ok(ecs::SubmitContainerStateChangeResponse { acknowledgment: Some(ACKNOWLEDGMENT.to_owned()) })
}

/// Acknowledges an agent's report of attachments: nothing here attaches any.
///
/// # Errors
/// None.
pub async fn submit_attachment_state_changes(
    _engine: &Engine,
    _context: &RequestContext,
    _input: ecs::SubmitAttachmentStateChangesRequest,
) -> Result<ecs::SubmitAttachmentStateChangesResponse, ServiceError> {
    Ok(ecs::SubmitAttachmentStateChangesResponse { acknowledgment: Some(ACKNOWLEDGMENT.to_owned()) })
}

async fn take(
    engine: &Engine,
    context: &RequestContext,
    cluster: Option<&str>,
    task: Option<&str>,
    news: &TaskReport,
) -> Result<(), ServiceError> {
    let scope = scope_of(context);
    let now = engine.seams().clock.now();
    engine
        .write(|state, changes| {
            let task = task.unwrap_or("");
            let records = state.scope(&scope);
            // A task of Fargate may be of another cluster than the agent's: its ARN says of which.
            let cluster = match scope.in_cluster("task", task) {
                InCluster::Qualified(of, _) => records.cluster_named(of),
                InCluster::Bare(id) if id.parse().is_ok_and(Id::is_short_format) => {
                    id.parse().ok().and_then(|id| records.cluster_of_task(id))
                }
                _ => resolve_cluster(records, &scope, cluster).ok(),
            };
            let Some(cluster) = cluster else { return Ok(()) };
            let Ok(Some(task)) = find_task(cluster, &scope, task) else { return Ok(()) };
            if task.waiting.is_some() {
                // It is with no agent yet: there is nothing to report of it.
                return Ok(());
            }
            match records.host(task) {
                Some(instance) => check_speaks_for(context, &instance.record)?,
                None if matches!(context.principal, Principal::Root { .. }) => {}
                None => return Ok(()),
            }
            if let Some(mut changed) = report(task, news, now) {
                // Its interface went with its containers: there is nothing to wait for.
                if let Some(between) = deprovisioning(task, &mut changed) {
                    changes.push(Change::PutTask(scope.clone(), Arc::new(between)));
                }
                changes.push(Change::PutTask(scope.clone(), Arc::new(changed)));
            }
            Ok(())
        })
        .await
}

/// Absent and empty say nothing; states that an agent passes through on the way count as PENDING.
fn status(text: Option<&str>) -> Result<Option<TaskStatus>, ServiceError> {
    Ok(Some(match text.unwrap_or("") {
        "" => return Ok(None),
        "PENDING" | "NONE" | "PULLED" | "CREATED" | "MANIFEST_PULLED" | "RESOURCES_PROVISIONED" => TaskStatus::Pending,
        "RUNNING" => TaskStatus::Running,
        "STOPPED" => TaskStatus::Stopped,
        other => {
            let message = format!("The status '{other}' is not valid: use PENDING, RUNNING or STOPPED.");
            return Err(ecs::error::invalid_parameter_exception(message));
        }
    }))
}

fn container(news: ecs::ContainerStateChange) -> Result<ContainerReport, ServiceError> {
    Ok(ContainerReport {
        name: news.container_name.unwrap_or_default(),
        status: status(news.status.as_deref())?,
        runtime_id: news.runtime_id.unwrap_or_default(),
        exit_code: news.exit_code.map(i64::from),
        image_digest: news.image_digest.unwrap_or_default(),
        reason: news.reason.unwrap_or_default(),
        network_bindings: news.network_bindings.unwrap_or_default(),
    })
}
