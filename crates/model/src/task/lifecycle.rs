//! The life of a task: what may become of it, from the guide's chapter 14 ("Task Lifecycle").
//!
//! Every function here takes the task as it is and answers it as it becomes, or `None` when
//! nothing changes. `STOPPED` is final.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_api::ecs::{HealthStatus, TaskStopCode};
use longshore_seams::Timestamp;

use crate::records::{Delivery, DesiredStatus, TaskRecord, TaskStatus};
use crate::vpc::InterfaceStatus;

/// Why a task is to stop, or has stopped.
#[derive(Clone, Debug, PartialEq)]
pub struct StopCause {
    /// As a code.
    pub code: TaskStopCode,
    /// In words.
    pub reason: String,
}

impl StopCause {
    /// The user called StopTask, perhaps with a reason.
    #[must_use]
    pub fn user(reason: Option<&str>) -> Self {
        let reason = reason.filter(|reason| !reason.is_empty()).unwrap_or("Task stopped by user");
        Self { code: TaskStopCode::UserInitiated, reason: reason.to_owned() }
    }

    /// An essential container ended by itself.
    #[must_use]
    pub fn essential_container() -> Self {
        Self { code: TaskStopCode::EssentialContainerExited, reason: "Essential container in task exited".to_owned() }
    }

    /// The service scheduler does not want it any more.
    #[must_use]
    pub fn service_scheduler(deployment: &str) -> Self {
        Self {
            code: TaskStopCode::ServiceSchedulerInitiated,
            reason: format!("Scaling activity initiated by (deployment {deployment})"),
        }
    }

    /// Its essential containers failed their health checks.
    #[must_use]
    pub fn unhealthy() -> Self {
        Self { code: TaskStopCode::ServiceSchedulerInitiated, reason: "Task failed container health checks".to_owned() }
    }

    /// A load balancer's health checks failed; `place` names it.
    #[must_use]
    pub fn unhealthy_target(place: &str) -> Self {
        Self {
            code: TaskStopCode::ServiceSchedulerInitiated,
            reason: format!("Task failed ELB health checks in {place}"),
        }
    }

    /// The capacity that FARGATE_SPOT gave it is taken back (guide chapter 3, "Handling Fargate Spot Termination
    /// Notices").
    #[must_use]
    pub fn spot_interruption() -> Self {
        Self { code: TaskStopCode::TerminationNotice, reason: "Your Spot Task was interrupted.".to_owned() }
    }

    /// What it ran on is retired or refreshed.
    #[must_use]
    pub fn maintenance() -> Self {
        Self {
            code: TaskStopCode::TerminationNotice,
            reason: "ECS is performing maintenance on the underlying infrastructure hosting the task.".to_owned(),
        }
    }

    /// It never ran.
    #[must_use]
    pub fn failed_to_start(reason: &str) -> Self {
        let reason = if reason.is_empty() { "Task failed to start" } else { reason };
        Self { code: TaskStopCode::TaskFailedToStart, reason: reason.to_owned() }
    }

    /// Nobody made its network interface in time.
    #[must_use]
    pub fn no_interface() -> Self {
        Self::failed_to_start("Timeout waiting for network interface provisioning to complete.")
    }

    /// Its capacity provider had no room for it for so long; `lacking` says what was missing.
    #[must_use]
    pub fn no_capacity(provider: &str, waited: Duration, lacking: &str) -> Self {
        Self::failed_to_start(&format!(
            "{lacking}: the capacity provider {provider} had no capacity for the task within {} seconds",
            waited.as_secs()
        ))
    }

    /// Its container instance was deregistered with `force`.
    #[must_use]
    pub fn forced_deregistration() -> Self {
        Self {
            code: TaskStopCode::UserInitiated,
            reason: "Container instance deregistration forced by user.".to_owned(),
        }
    }
}

/// Makes a change, and counts it in `version` when the API shows it.
pub(super) fn changed(task: &TaskRecord, change: impl FnOnce(&mut TaskRecord)) -> Option<TaskRecord> {
    let mut after = task.clone();
    change(&mut after);
    settle(&mut after);
    if after == *task {
        return None;
    }
    let delivered = std::mem::replace(&mut after.delivered, task.delivered);
    if after != *task {
        after.version += 1;
    }
    after.delivered = delivered;
    Some(after)
}

/// A running task whose agent has been told to stop it is STOPPING: all that is waited for is the agent.
fn settle(task: &mut TaskRecord) {
    if task.last_status == TaskStatus::Running
        && task.desired_status == DesiredStatus::Stopped
        && task.delivered == Delivery::Stop
    {
        task.last_status = TaskStatus::Stopping;
    }
}

/// Whether an essential container has a health check.
#[must_use]
pub fn is_checked(task: &TaskRecord) -> bool {
    task.containers.iter().any(|container| container.essential && container.health.is_some())
}

/// Whether a task ended without ever having run, and not because somebody wanted so.
#[must_use]
pub fn has_failed(task: &TaskRecord) -> bool {
    let wanted = matches!(task.stop_code, Some(TaskStopCode::UserInitiated | TaskStopCode::ServiceSchedulerInitiated));
    task.last_status == TaskStatus::Stopped && task.times.started.is_none() && !wanted
}

/// Whether a task ended by itself within this time of its start.
#[must_use]
pub fn has_crashed(task: &TaskRecord, within: Duration) -> bool {
    let (Some(started), Some(stopped)) = (task.times.started, task.times.stopped) else { return false };
    let by_itself = task.stop_code == Some(TaskStopCode::EssentialContainerExited);
    task.last_status == TaskStatus::Stopped && by_itself && stopped < started.plus(within)
}

/// Wants the task stopped. The first cause stands.
#[must_use]
pub fn stop(task: &TaskRecord, cause: &StopCause, now: Timestamp) -> Option<TaskRecord> {
    if task.desired_status == DesiredStatus::Stopped {
        return None;
    }
    changed(task, |task| {
        task.desired_status = DesiredStatus::Stopped;
        task.stop_code = Some(cause.code.clone());
        task.stopped_reason = Some(cause.reason.clone());
        task.times.stopping = Some(now);
        // Nobody has to be told: it is on no container instance.
        if task.container_instance.is_none() {
            end(task, now);
        }
    })
}

/// The task is gone with its container instance: STOPPED at once, no agent will confirm it.
#[must_use]
pub fn lost(task: &TaskRecord, cause: &StopCause, now: Timestamp) -> Option<TaskRecord> {
    if task.last_status == TaskStatus::Stopped {
        return None;
    }
    changed(task, |task| {
        if task.desired_status == DesiredStatus::Running {
            task.stop_code = Some(cause.code.clone());
            task.stopped_reason = Some(cause.reason.clone());
        }
        end(task, now);
    })
}

/// STOPPED, with every time that a stopped task has.
pub(super) fn end(task: &mut TaskRecord, now: Timestamp) {
    task.desired_status = DesiredStatus::Stopped;
    task.last_status = TaskStatus::Stopped;
    task.waiting = None;
    let began = task.times.execution_stopped.unwrap_or(now);
    task.times.stopping.get_or_insert(began);
    task.times.stopped = Some(now);
    if let Some(interface) = &mut task.interface {
        interface.status = InterfaceStatus::Deleted;
    }
    for container in &mut task.containers {
        container.last_status = TaskStatus::Stopped;
    }
}

/// What a task with a network interface is between its end and STOPPED: DEPROVISIONING. `stopped`, which follows
/// from `before`, is counted on.
#[must_use]
pub fn deprovisioning(before: &TaskRecord, stopped: &mut TaskRecord) -> Option<TaskRecord> {
    let passes = stopped.last_status == TaskStatus::Stopped && before.last_status < TaskStatus::Deprovisioning;
    if !passes || stopped.interface.is_none() {
        return None;
    }
    let mut between = TaskRecord { last_status: TaskStatus::Deprovisioning, ..stopped.clone() };
    between.times.stopped = None;
    if let Some(interface) = &mut between.interface {
        interface.status = InterfaceStatus::Detaching;
    }
    stopped.version += 1;
    Some(between)
}

/// The agent has acknowledged the task's start or stop.
#[must_use]
pub fn delivered(task: &TaskRecord, delivery: Delivery) -> Option<TaskRecord> {
    if task.delivered >= delivery || task.last_status == TaskStatus::Stopped {
        return None;
    }
    changed(task, |task| {
        task.delivered = delivery;
        let Some(interface) = &mut task.interface else { return };
        interface.status = interface.status.max(InterfaceStatus::Attaching);
        if task.last_status == TaskStatus::Provisioning {
            task.last_status = TaskStatus::Pending;
        }
    })
}

/// Takes what the health checks say, by container name. A container without a health check in the
/// task definition (its `health` is `None`) has no health, whatever is reported.
#[must_use]
pub fn health(task: &TaskRecord, reported: &BTreeMap<String, HealthStatus>) -> Option<TaskRecord> {
    if task.last_status == TaskStatus::Stopped {
        return None;
    }
    changed(task, |task| {
        for container in &mut task.containers {
            if let (Some(health), Some(status)) = (&mut container.health, reported.get(&container.name)) {
                *health = status.clone();
            }
        }
        task.health = Some(of_essentials(task));
    })
}

/// UNHEALTHY when an essential container is, HEALTHY when all that are checked are, else UNKNOWN.
fn of_essentials(task: &TaskRecord) -> HealthStatus {
    let checked = || task.containers.iter().filter(|container| container.essential).filter_map(|it| it.health.as_ref());
    if checked().any(|health| *health == HealthStatus::Unhealthy) {
        HealthStatus::Unhealthy
    } else if checked().next().is_some() && checked().all(|health| *health == HealthStatus::Healthy) {
        HealthStatus::Healthy
    } else {
        HealthStatus::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{container, task};
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    #[test]
    fn a_user_s_words_become_the_stopped_reason() {
        let stopped = stop(&task(), &StopCause::user(Some("enough")), at(10)).unwrap();
        assert_eq!(stopped.stop_code, Some(TaskStopCode::UserInitiated));
        assert_eq!(stopped.stopped_reason.as_deref(), Some("enough"));
        assert_eq!(stopped.desired_status, DesiredStatus::Stopped);
        assert_eq!(stopped.last_status, TaskStatus::Pending);
        assert_eq!((stopped.version, stopped.times.stopping), (2, Some(at(10))));
        assert_eq!(StopCause::user(None).reason, "Task stopped by user");
    }

    #[test]
    fn the_first_cause_of_a_stop_stands() {
        let stopped = stop(&task(), &StopCause::user(Some("enough")), at(10)).unwrap();
        assert_eq!(stop(&stopped, &StopCause::user(Some("again")), at(11)), None);
        let gone = lost(&stopped, &StopCause::forced_deregistration(), at(12)).unwrap();
        assert_eq!(gone.stopped_reason.as_deref(), Some("enough"));
    }

    // spec: 14-110
    #[test]
    fn a_running_task_is_stopping_once_its_agent_has_the_stop() {
        let running = TaskRecord { last_status: TaskStatus::Running, ..task() };
        let wanted = stop(&running, &StopCause::user(None), at(10)).unwrap();
        assert_eq!(wanted.last_status, TaskStatus::Running);
        let stopping = delivered(&wanted, Delivery::Stop).unwrap();
        assert_eq!((stopping.last_status, stopping.version), (TaskStatus::Stopping, 3));
    }

    #[test]
    fn an_acknowledgement_that_the_api_does_not_show_leaves_the_version() {
        let taken = delivered(&task(), Delivery::Start).unwrap();
        assert_eq!((taken.delivered, taken.version), (Delivery::Start, 1));
        assert_eq!(delivered(&taken, Delivery::Start), None);
    }

    // spec: 24-005
    #[test]
    fn a_lost_task_is_stopped_at_once() {
        let gone = lost(&task(), &StopCause::forced_deregistration(), at(12)).unwrap();
        assert_eq!(gone.last_status, TaskStatus::Stopped);
        assert_eq!(gone.stopped_reason.as_deref(), Some("Container instance deregistration forced by user."));
        assert_eq!(gone.times.stopped, Some(at(12)));
        assert!(gone.containers.iter().all(|container| container.last_status == TaskStatus::Stopped));
        assert_eq!(lost(&gone, &StopCause::user(None), at(13)), None);
    }

    // spec: 05-046, 05-047
    #[test]
    fn health_is_that_of_the_essential_containers() {
        let mut checked = task();
        checked.containers = vec![container("main", true), container("side", false), container("plain", true)];
        checked.containers[0].health = Some(HealthStatus::Unknown);
        checked.containers[1].health = Some(HealthStatus::Unknown);
        let say = |task: &TaskRecord, name: &str, status: HealthStatus| {
            health(task, &[(name.to_owned(), status)].into()).map(|task| task.health.unwrap())
        };
        assert_eq!(say(&checked, "side", HealthStatus::Unhealthy), Some(HealthStatus::Unknown));
        assert_eq!(say(&checked, "main", HealthStatus::Healthy), Some(HealthStatus::Healthy));
        assert_eq!(say(&checked, "main", HealthStatus::Unhealthy), Some(HealthStatus::Unhealthy));
        let unchecked = TaskRecord { health: Some(HealthStatus::Unknown), ..task() };
        assert_eq!(say(&unchecked, "main", HealthStatus::Healthy), None);
    }
}
