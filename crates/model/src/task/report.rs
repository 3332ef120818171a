//! What an agent reports, merged into the task.

use std::net::Ipv4Addr;

use longshore_api::ecs::NetworkBinding;
use longshore_seams::Timestamp;

use super::StopCause;
use super::lifecycle::{changed, end};
use crate::records::{ContainerRecord, DesiredStatus, TaskRecord, TaskStatus};
use crate::vpc::{Interface, InterfaceStatus};

/// Most characters of a reason that are kept; agents cut at the same length.
const MAX_REASON: usize = 1024;

/// A task's state as its agent saw it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskReport {
    /// PENDING, RUNNING or STOPPED; `None` when only containers are reported.
    pub status: Option<TaskStatus>,
    /// Why, when the agent knows; mostly empty.
    pub reason: String,
    /// When the image pull began, by the agent's clock.
    pub pull_started: Option<Timestamp>,
    /// When it ended.
    pub pull_stopped: Option<Timestamp>,
    /// When the containers began to end.
    pub execution_stopped: Option<Timestamp>,
    /// News of containers, in order; one may come twice.
    pub containers: Vec<ContainerReport>,
}

/// A container's state as its agent saw it. What is absent or empty says nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerReport {
    /// Its name in the task definition.
    pub name: String,
    /// PENDING, RUNNING or STOPPED.
    pub status: Option<TaskStatus>,
    /// The runtime's id.
    pub runtime_id: String,
    /// How it ended.
    pub exit_code: Option<i64>,
    /// Manifest digest.
    pub image_digest: String,
    /// What went wrong.
    pub reason: String,
    /// Published ports.
    pub network_bindings: Vec<NetworkBinding>,
}

/// Merges a report. Nothing that is known is erased, nothing goes back, and a STOPPED task stays as it is.
///
/// The agent's times are clamped between the task's creation and `now`: its clock may be wrong.
#[must_use]
pub fn report(task: &TaskRecord, report: &TaskReport, now: Timestamp) -> Option<TaskRecord> {
    if task.last_status == TaskStatus::Stopped {
        return None;
    }
    changed(task, |task| {
        let clamp = |time: Timestamp| time.min(now).max(task.created_at);
        let keep = |known: Option<Timestamp>, told: Option<Timestamp>| known.or(told.map(clamp));
        let times = task.times;
        task.times.pull_started = keep(times.pull_started, report.pull_started);
        task.times.pull_stopped = keep(times.pull_stopped, report.pull_stopped);
        // A container that ends at once may have ended before its start was heard of.
        let ended = report.execution_stopped.map(|at| times.started.map_or(at, |started| at.max(started)));
        task.times.execution_stopped = keep(times.execution_stopped, ended);
        for news in &report.containers {
            if let Some(interface) = &mut task.interface {
                attach(interface, news);
            }
            if let Some(container) = task.containers.iter_mut().find(|container| container.name == news.name) {
                merge(container, news, task.interface.is_some());
            }
        }
        match report.status {
            Some(TaskStatus::Stopped) => {
                if task.desired_status == DesiredStatus::Running {
                    let cause = cause(task, &report.reason);
                    task.stop_code = Some(cause.code);
                    task.stopped_reason = Some(cause.reason);
                }
                end(task, now);
            }
            Some(TaskStatus::Running) if task.last_status < TaskStatus::Running => {
                task.last_status = TaskStatus::Running;
                task.times.started.get_or_insert(now);
            }
            Some(TaskStatus::Pending) if task.last_status < TaskStatus::Pending => {
                task.last_status = TaskStatus::Pending;
            }
            _ => {}
        }
    })
}

/// The containers of an awsvpc task share its interface: the address in their bindings is the interface's.
fn attach(interface: &mut Interface, news: &ContainerReport) {
    let mut addresses = news.network_bindings.iter().filter_map(|binding| binding.bind_ip.as_deref()?.parse().ok());
    if let Some(address) = addresses.find(|address: &Ipv4Addr| !address.is_unspecified()) {
        interface.address = Some(address);
        interface.status = interface.status.max(InterfaceStatus::Attached);
    }
}

fn merge(container: &mut ContainerRecord, news: &ContainerReport, own_interface: bool) {
    // A report may carry an exit code before it says STOPPED; after STOPPED the first one stands.
    let ended = container.last_status == TaskStatus::Stopped;
    if news.exit_code.is_some() && !(ended && container.exit_code.is_some()) {
        container.exit_code = news.exit_code;
    }
    if let Some(status) = news.status.filter(|status| *status > container.last_status) {
        container.last_status = status;
    }
    if !news.runtime_id.is_empty() {
        container.runtime_id = Some(news.runtime_id.clone());
    }
    if !news.image_digest.is_empty() {
        container.image_digest = Some(news.image_digest.clone());
    }
    if !news.reason.is_empty() {
        container.reason = Some(news.reason.chars().take(MAX_REASON).collect());
    }
    if !news.network_bindings.is_empty() && !own_interface {
        container.network_bindings.clone_from(&news.network_bindings);
    }
}

/// Why a task stopped that nobody had asked to stop.
fn cause(task: &TaskRecord, reason: &str) -> StopCause {
    let reason: String = reason.chars().take(MAX_REASON).collect();
    // A container that was held back by a failed dependency has an exit code, but never had an id.
    let ran = |container: &ContainerRecord| {
        container.essential && container.exit_code.is_some() && container.runtime_id.is_some()
    };
    if task.times.started.is_none() && !task.containers.iter().any(ran) {
        return StopCause::failed_to_start(&reason);
    }
    let cause = StopCause::essential_container();
    if reason.is_empty() { cause } else { StopCause { reason, ..cause } }
}

#[cfg(test)]
pub(super) mod tests {
    use longshore_api::ecs::{LaunchType, TaskStopCode};

    use super::*;
    use crate::Id;
    use crate::records::{Delivery, Reservation, Tags, TaskTimes};

    fn id(digit: char) -> Id {
        digit.to_string().repeat(32).parse().unwrap()
    }

    pub(in crate::task) fn container(name: &str, essential: bool) -> ContainerRecord {
        ContainerRecord {
            id: "u".to_owned(),
            name: name.to_owned(),
            image: "i".to_owned(),
            image_digest: None,
            runtime_id: None,
            last_status: TaskStatus::Pending,
            essential,
            exit_code: None,
            reason: None,
            network_bindings: Vec::new(),
            health: None,
            cpu: None,
            memory: None,
            memory_reservation: None,
            gpu_ids: Vec::new(),
        }
    }

    pub(in crate::task) fn task() -> TaskRecord {
        TaskRecord {
            id: id('a'),
            cluster: id('c'),
            family: "f".to_owned(),
            revision: 1,
            container_instance: Some(id('b')),
            last_status: TaskStatus::Pending,
            desired_status: DesiredStatus::Running,
            version: 1,
            group: "family:f".to_owned(),
            daemon: None,
            started_by: None,
            launch_type: LaunchType::Ec2,
            capacity_provider: None,
            availability_zone: None,
            cpu_architecture: None,
            platform_version: None,
            platform_family: None,
            interface: None,
            ebs_volume: None,
            ephemeral_storage_gib: None,
            containers: vec![container("main", true), container("side", false)],
            overrides: None,
            cpu: None,
            memory: None,
            reservation: Reservation::default(),
            enable_execute_command: false,
            protected_until: None,
            retires_at: None,
            created_at: Timestamp::from_secs(1),
            times: TaskTimes::default(),
            stop_code: None,
            stopped_reason: None,
            health: None,
            delivered: Delivery::None,
            tags: Tags::new(),
            waiting: None,
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    fn news(name: &str, status: TaskStatus, exit_code: Option<i64>) -> ContainerReport {
        ContainerReport {
            name: name.to_owned(),
            status: Some(status),
            runtime_id: "r".to_owned(),
            exit_code,
            ..ContainerReport::default()
        }
    }

    fn says(status: TaskStatus, containers: Vec<ContainerReport>) -> TaskReport {
        TaskReport { status: Some(status), containers, ..TaskReport::default() }
    }

    fn running() -> TaskRecord {
        report(&task(), &says(TaskStatus::Running, vec![news("main", TaskStatus::Running, None)]), at(5)).unwrap()
    }

    // spec: 14-108
    #[test]
    fn running_sets_started_at_once() {
        let task = running();
        assert_eq!((task.last_status, task.times.started, task.version), (TaskStatus::Running, Some(at(5)), 2));
        assert_eq!(task.containers[0].last_status, TaskStatus::Running);
        assert_eq!(report(&task, &says(TaskStatus::Running, vec![]), at(6)), None);
    }

    #[test]
    fn a_report_never_takes_a_task_back() {
        let task = running();
        assert_eq!(
            report(&task, &says(TaskStatus::Pending, vec![news("main", TaskStatus::Pending, None)]), at(6)),
            None
        );
    }

    // spec: 14-112, 14-113, 24-006, 05-064
    #[test]
    fn an_essential_exit_gets_its_code_and_reason_from_us() {
        let ended = says(TaskStatus::Stopped, vec![news("main", TaskStatus::Stopped, Some(0))]);
        let task = report(&running(), &ended, at(9)).unwrap();
        assert_eq!(task.stop_code, Some(TaskStopCode::EssentialContainerExited));
        assert_eq!(task.stopped_reason.as_deref(), Some("Essential container in task exited"));
        assert_eq!(task.containers[0].exit_code, Some(0));
        assert_eq!(task.last_status, TaskStatus::Stopped);
        assert_eq!((task.times.stopping, task.times.stopped), (Some(at(9)), Some(at(9))));
        assert_eq!(task.desired_status, DesiredStatus::Stopped);
    }

    #[test]
    fn a_task_that_goes_straight_to_stopped_with_an_exit_code_has_run() {
        let ended = says(
            TaskStatus::Stopped,
            vec![news("main", TaskStatus::Running, None), news("main", TaskStatus::Stopped, Some(3))],
        );
        let task = report(&task(), &ended, at(9)).unwrap();
        assert_eq!(task.stop_code, Some(TaskStopCode::EssentialContainerExited));
        assert_eq!(task.containers[0].exit_code, Some(3));
    }

    // spec: 24-007
    #[test]
    fn a_task_that_never_ran_failed_to_start() {
        let failed = ContainerReport {
            name: "main".to_owned(),
            status: Some(TaskStatus::Stopped),
            reason: "CannotPullContainerError: Error: image tutum/bogus:latest not found".to_owned(),
            ..ContainerReport::default()
        };
        let task = report(&task(), &says(TaskStatus::Stopped, vec![failed.clone()]), at(9)).unwrap();
        assert_eq!(task.stop_code, Some(TaskStopCode::TaskFailedToStart));
        assert_eq!(task.stopped_reason.as_deref(), Some("Task failed to start"));
        assert_eq!(task.containers[0].reason.as_deref(), Some(failed.reason.as_str()));
        assert_eq!(task.containers[0].exit_code, None);
    }

    #[test]
    fn a_container_held_back_by_its_dependency_has_not_run() {
        let held = ContainerReport { runtime_id: String::new(), ..news("main", TaskStatus::Stopped, Some(143)) };
        let task = report(&task(), &says(TaskStatus::Stopped, vec![held]), at(9)).unwrap();
        assert_eq!(task.stop_code, Some(TaskStopCode::TaskFailedToStart));
    }

    #[test]
    fn the_agent_s_reason_stands_when_it_gives_one() {
        let unreadable =
            TaskReport { reason: "UnrecogniedTaskError: x".to_owned(), ..says(TaskStatus::Stopped, vec![]) };
        let task = report(&task(), &unreadable, at(9)).unwrap();
        assert_eq!(task.stopped_reason.as_deref(), Some("UnrecogniedTaskError: x"));
    }

    #[test]
    fn the_user_s_reason_outlives_the_agent_s_report() {
        let wanted = super::super::stop(&running(), &StopCause::user(Some("enough")), at(7)).unwrap();
        let ended = says(TaskStatus::Stopped, vec![news("main", TaskStatus::Stopped, Some(137))]);
        let task = report(&wanted, &ended, at(9)).unwrap();
        assert_eq!(task.stop_code, Some(TaskStopCode::UserInitiated));
        assert_eq!(task.stopped_reason.as_deref(), Some("enough"));
        assert_eq!(task.containers[0].exit_code, Some(137));
        assert_eq!(task.times.stopping, Some(at(7)));
    }

    #[test]
    fn stopped_is_final() {
        let task = report(&running(), &says(TaskStatus::Stopped, vec![]), at(9)).unwrap();
        let later = says(TaskStatus::Stopped, vec![news("main", TaskStatus::Stopped, Some(1))]);
        assert_eq!(report(&task, &later, at(10)), None);
        assert_eq!(report(&task, &says(TaskStatus::Running, vec![]), at(10)), None);
    }

    #[test]
    fn an_exit_code_is_not_erased_by_a_later_report() {
        let side =
            report(&running(), &says(TaskStatus::Running, vec![news("side", TaskStatus::Stopped, Some(4))]), at(6));
        let again = says(TaskStatus::Stopped, vec![news("side", TaskStatus::Stopped, None)]);
        assert_eq!(report(&side.unwrap(), &again, at(9)).unwrap().containers[1].exit_code, Some(4));
    }

    #[test]
    fn a_task_never_ends_before_it_started() {
        let told = TaskReport { execution_stopped: Some(at(2)), ..says(TaskStatus::Stopped, vec![]) };
        let times = report(&running(), &told, at(9)).unwrap().times;
        assert!(times.started > Some(at(2)));
        assert_eq!((times.execution_stopped, times.stopping), (times.started, times.started));
    }

    #[test]
    fn the_agent_s_times_are_clamped_to_ours() {
        let told = TaskReport {
            pull_started: Some(at(0)),
            pull_stopped: Some(at(1_000_000)),
            execution_stopped: Some(at(4)),
            ..says(TaskStatus::Stopped, vec![])
        };
        let times = report(&task(), &told, at(9)).unwrap().times;
        assert_eq!((times.pull_started, times.pull_stopped), (Some(at(1)), Some(at(9))));
        assert_eq!((times.execution_stopped, times.stopping, times.stopped), (Some(at(4)), Some(at(4)), Some(at(9))));
    }

    #[test]
    fn an_unknown_container_is_passed_over() {
        let other = says(TaskStatus::Pending, vec![news("other", TaskStatus::Running, None)]);
        assert_eq!(report(&task(), &other, at(5)), None);
    }
}
