//! Why a task is as it is.

use longshore_api::ecs;
use longshore_api::longshore as api;
use longshore_model::Scope;
use longshore_model::records::{ContainerRecord, Delivery, DesiredStatus, TaskRecord, TaskStatus};
use longshore_seams::Timestamp;

use super::Why;
use super::causes::{culprit, of_container};
use crate::operations::tasks::capacity::{Means, Unplaced};
use crate::operations::tasks::waiting::{place_waiting, queue, relaunch};
use crate::state::{ClusterState, InstanceState, ScopeState};

/// A sentence, and what would help.
pub(super) type Verdict = (String, Option<String>);

/// Explains a task.
pub(super) fn explain(
    scope: &Scope,
    records: &ScopeState,
    cluster: &ClusterState,
    task: &TaskRecord,
    now: Timestamp,
) -> api::ExplainResponse {
    let (summary, change) = verdict(records, task, now);
    api::ExplainResponse {
        arn: Some(scope.task_arn(&cluster.record.name, task.id)),
        status: Some(task.last_status.as_str().to_owned()),
        summary: Some(summary),
        details: Some(details(task)),
        refusals: Some(Vec::new()),
        smallest_change: change,
    }
}

/// Explains a task that waits for capacity.
pub(super) fn explain_waiting(
    scope: &Scope,
    records: &ScopeState,
    cluster: &ClusterState,
    task: &TaskRecord,
    (now, means): (Timestamp, Means<'_>),
) -> api::ExplainResponse {
    let provider = task.capacity_provider.as_deref().unwrap_or_default();
    let age = now.since(task.created_at).as_secs();
    let before = queue(cluster, provider).take_while(|other| other.id != task.id).count();
    let mut summary = format!(
        "The task is PROVISIONING: for {age} s it has been waiting for capacity of the capacity provider {provider}."
    );
    let mut why = Why::default();
    if let Some((launch, request)) = relaunch(scope, records, task) {
        let placed = place_waiting(records, cluster, task, (&launch, &request), 1, means);
        let refused = placed.unplaced.first();
        summary.push_str(&match refused {
            Some(Unplaced::Instances(refused)) => {
                format!(" None of its container instances ({}) takes the task now.", refused.len())
            }
            Some(_) => " It has no container instance.".to_owned(),
            None => " One of its container instances has room for the task now.".to_owned(),
        });
        why = super::why(scope, cluster, &launch, &request, &placed);
    }
    if before > 0 {
        summary.push_str(&format!(" Tasks that were accepted earlier and wait for it, too: {before}."));
    }
    api::ExplainResponse {
        arn: Some(scope.task_arn(&cluster.record.name, task.id)),
        status: Some(task.last_status.as_str().to_owned()),
        summary: Some(summary),
        details: Some(Vec::new()),
        refusals: Some(why.refusals),
        smallest_change: why.smallest_change,
    }
}

/// The one thing to know of a task.
pub(super) fn verdict(records: &ScopeState, task: &TaskRecord, now: Timestamp) -> Verdict {
    let host = records.host(task);
    let place = match host {
        _ if task.launch_type == ecs::LaunchType::Fargate => "a machine that is lent to Fargate".to_owned(),
        Some(host) => format!("container instance {}", host.record.id),
        None => "no container instance".to_owned(),
    };
    let connected = host.is_some_and(InstanceState::agent_connected);
    match (task.last_status, task.desired_status) {
        (TaskStatus::Stopped, _) => stopped(task),
        (_, DesiredStatus::Stopped) if connected => {
            (format!("The task is to stop: the agent of {place} is at it."), None)
        }
        (status, _) if !connected => {
            let change = format!("Start the agent of {place}, or its connection to this server.");
            (format!("The task is {} on {place}, whose agent is not connected.", status.as_str()), Some(change))
        }
        (TaskStatus::Running, _) => running(task, &place),
        _ => starting(records, task, &place, now),
    }
}

fn stopped(task: &TaskRecord) -> Verdict {
    let reason = task.stopped_reason.as_deref().unwrap_or("no reason was given");
    let mut text = format!("The task has stopped: {reason}");
    let wanted =
        matches!(task.stop_code, Some(ecs::TaskStopCode::UserInitiated | ecs::TaskStopCode::ServiceSchedulerInitiated));
    if reason.starts_with("Task failed container health checks") {
        let sick = task.containers.iter().find(|it| it.health == Some(ecs::HealthStatus::Unhealthy));
        let name = sick.or(task.containers.first()).map_or("", |it| it.name.as_str());
        let change =
            format!("See why the healthCheck command of the container {name} fails, or give it a longer startPeriod.");
        return (text, Some(change));
    }
    if reason.starts_with("Task failed ELB health checks") {
        let change = "See why the load balancer's health checks fail, or give the service a longer healthCheckGracePeriodSeconds.";
        return (text, Some(change.to_owned()));
    }
    if reason.starts_with("Timeout waiting for network interface") {
        return (
            text,
            Some(
                "See whether the container instance's agent takes tasks: it never attached the network interface."
                    .to_owned(),
            ),
        );
    }
    match culprit(task).and_then(of_container) {
        Some((cause, remedy)) if !wanted => {
            if !cause.ends_with(reason) {
                text = format!("{text}. {cause}");
            }
            (text, remedy)
        }
        _ => (text, None),
    }
}

fn running(task: &TaskRecord, place: &str) -> Verdict {
    let sick = task.containers.iter().find(|it| it.health == Some(ecs::HealthStatus::Unhealthy));
    match sick {
        Some(container) => (
            format!("The task runs on {place}, but its container {} fails its health check.", container.name),
            Some(format!("See why the healthCheck command of the container {} fails.", container.name)),
        ),
        None => (format!("The task runs on {place}."), None),
    }
}

fn starting(records: &ScopeState, task: &TaskRecord, place: &str, now: Timestamp) -> Verdict {
    let status = task.last_status.as_str();
    let since = |at: Timestamp| now.since(at).as_secs();
    if let Some((cause, remedy)) = culprit(task).and_then(of_container) {
        return (format!("The task is {status} on {place}. {cause}"), remedy);
    }
    if task.delivered == Delivery::None {
        let age = since(task.created_at);
        return (format!("The task is {status}: for {age} s the agent of {place} has not taken it over."), None);
    }
    if let (Some(began), None) = (task.times.pull_started, task.times.pull_stopped) {
        let images: Vec<&str> = task.containers.iter().map(|it| it.image.as_str()).collect();
        let text = format!(
            "The task is {status} on {place}: for {} s its agent has been pulling {}.",
            since(began),
            images.join(", ")
        );
        return (text, None);
    }
    let definition = records.definition_of(task);
    let containers = definition.and_then(|it| it.definition.container_definitions.as_deref()).unwrap_or_default();
    let waits = containers.iter().find_map(|definition| waits_for(task, definition));
    match waits {
        Some(text) => (format!("The task is {status} on {place}: {text}."), None),
        None => (format!("The task is {status} on {place}: its agent is starting it."), None),
    }
}

/// Which dependency a container that does not run yet waits for.
fn waits_for(task: &TaskRecord, definition: &ecs::ContainerDefinition) -> Option<String> {
    let of = |name: &Option<String>| task.containers.iter().find(|it| Some(&it.name) == name.as_ref());
    let own = of(&definition.name).filter(|it| it.last_status < TaskStatus::Running)?;
    definition.depends_on.iter().flatten().find_map(|dependency| {
        let other = of(&dependency.container_name)?;
        let condition = dependency.condition.as_ref()?;
        let met = is_met(other, condition);
        (!met).then(|| {
            let health = other.health.as_ref().map(|health| format!(", {}", health.as_str())).unwrap_or_default();
            format!(
                "container {} waits for {} to be {}, which is {}{health}",
                own.name,
                other.name,
                condition.as_str(),
                other.last_status.as_str()
            )
        })
    })
}

fn is_met(container: &ContainerRecord, condition: &ecs::ContainerCondition) -> bool {
    match condition {
        ecs::ContainerCondition::Start => container.last_status >= TaskStatus::Running,
        ecs::ContainerCondition::Healthy => container.health == Some(ecs::HealthStatus::Healthy),
        ecs::ContainerCondition::Success => container.exit_code == Some(0),
        _ => container.last_status == TaskStatus::Stopped,
    }
}

fn details(task: &TaskRecord) -> Vec<String> {
    let mut details = Vec::new();
    if let Some(code) = &task.stop_code {
        details.push(format!("Stop code: {}.", code.as_str()));
    }
    for container in &task.containers {
        let mut line = format!("Container {} is {}", container.name, container.last_status.as_str());
        if let Some(code) = container.exit_code {
            line.push_str(&format!(", exit code {code}"));
        }
        if let Some(reason) = &container.reason {
            line.push_str(&format!(": {reason}"));
        }
        details.push(line);
    }
    details
}
