//! The task's state machine: events in, actions and reports out. Pure; [`super::actor`] does what it says.
//!
//! Each container goes None → Pulled → Created → Running → Stopped and never back. A container with
//! work in progress (`busy`) is left alone until that work's event comes.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use longshore_protocol::task::Task;
use longshore_runtime::{ContainerState, ContainerStatus, Health, ImageInfo, PortBinding, RuntimeError};
use longshore_seams::Timestamp;
use serde::{Deserialize, Serialize};

use super::graph::{self, Edge};
use super::record::{ContainerRecord, TaskState};
use super::reporting::shorten;
use crate::plane::{ReportedStatus, TaskStateChange};

/// Exit code reported for a container that a failed dependency held back.
const HELD_BACK: i32 = 143;
/// `restartAttemptPeriod` when the policy has none.
const RESTART_PERIOD: Duration = Duration::from_secs(300);
/// How far a container has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Known {
    /// Nothing was done.
    #[default]
    None,
    /// Its image is present.
    Pulled,
    /// It is made.
    Created,
    /// It runs.
    Running,
    /// It has ended, or never will begin.
    Stopped,
}

/// Work in progress on a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    Pull,
    Create,
    Start,
    Stop,
}

/// What is to be done; the number is the container's place in the task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Pull(usize),
    Create(usize),
    Start(usize),
    Stop(usize, Duration),
    /// Something may have been missed: look.
    Inspect(usize),
}

/// What has happened to a container.
#[derive(Debug)]
pub(crate) enum Event {
    Pulled(usize, Result<ImageInfo, RuntimeError>),
    Created(usize, Result<(String, Option<ImageInfo>), CreateError>),
    Started(usize, Result<ContainerState, StartError>),
    /// The stop call ended.
    Stopped(usize, Result<ContainerState, RuntimeError>),
    /// The runtime's word on it, asked for or not.
    Observed(usize, Result<ContainerState, RuntimeError>),
}

/// Why a container was not made.
#[derive(Debug)]
pub(crate) enum CreateError {
    /// Its settings can't be read: the reason as reported.
    Settings(String),
    /// A volume of the task could not be made.
    Volume(RuntimeError),
    /// The runtime refused.
    Runtime(RuntimeError),
}

/// Why a container was not started.
#[derive(Debug)]
pub(crate) enum StartError {
    /// Its log stream could not be made.
    Logs(String),
    /// The runtime refused.
    Runtime(RuntimeError),
}

/// One container.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unit {
    pub known: Known,
    pub busy: Option<Busy>,
    pub runtime_id: Option<String>,
    pub ever_ran: bool,
    pub exit_code: Option<i32>,
    pub reason: Option<String>,
    pub image_digest: Option<String>,
    pub ports: Vec<PortBinding>,
    /// Address in the runtime's network, last seen.
    pub address: Option<IpAddr>,
    /// Ports of a container in host mode, which the runtime does not bind.
    pub host_ports: Vec<PortBinding>,
    pub health: Option<(Health, Timestamp)>,
    pub created_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub restart_count: u32,
    /// What the control plane has taken.
    pub accepted: ReportedStatus,
    /// What was last put into a report.
    pub(super) reported: ReportedStatus,
    /// The digest was put into a report.
    pub(super) digest_reported: bool,
    /// An exit was seen while it was being restarted.
    look_again: bool,
    /// Its image came from a registry.
    pub(super) pulled: bool,
    /// When its image was first looked for.
    looked_at: Option<Timestamp>,
    /// It has to be pulled before it can be made.
    image_missing: bool,
    /// It ended and its policy wants it back.
    restart: bool,
}

/// Waiting times of containers that say nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults {
    pub start_timeout: Duration,
    pub stop_timeout: Duration,
    /// Pull before making, even when the image is present.
    pub pull_first: bool,
    /// A present image will do when that pull fails.
    pub fall_back: bool,
}

/// A task.
#[derive(Debug)]
pub(crate) struct Machine {
    pub task: Task,
    pub units: Vec<Unit>,
    edges: Vec<Edge>,
    defaults: Defaults,
    pub(super) cluster: String,
    /// The task is to end.
    pub stopping: bool,
    pub execution_stopped_at: Option<Timestamp>,
    pub pull_started_at: Option<Timestamp>,
    pub pull_stopped_at: Option<Timestamp>,
    pub stopped_at: Option<Timestamp>,
    /// The task's reason; almost always empty.
    pub reason: String,
    pub accepted: ReportedStatus,
    pub(super) reported: ReportedStatus,
    pub(super) reports: VecDeque<TaskStateChange>,
    /// When a waiting time ends, if one runs.
    pub wake_at: Option<Timestamp>,
}

impl Machine {
    /// A task that was just received.
    pub fn new(task: Task, cluster: &str, defaults: Defaults) -> Self {
        let units = vec![Unit::default(); task.containers.len()];
        let graph = graph::edges(&task);
        let mut machine = Self {
            task,
            units,
            edges: Vec::new(),
            defaults,
            cluster: cluster.to_owned(),
            stopping: false,
            execution_stopped_at: None,
            pull_started_at: None,
            pull_stopped_at: None,
            stopped_at: None,
            reason: String::new(),
            accepted: ReportedStatus::None,
            reported: ReportedStatus::None,
            reports: VecDeque::new(),
            wake_at: None,
        };
        match graph {
            Ok(edges) => machine.edges = edges,
            Err(words) => {
                machine.reason = words;
                machine.stopping = true;
            }
        }
        machine
    }

    /// A task as it was recorded; follow with [`Self::adopt`] for each container that is there.
    pub fn restore(task: Task, cluster: &str, defaults: Defaults, record: &TaskState) -> Self {
        let mut machine = Self::new(task, cluster, defaults);
        machine.stopping |= record.stopping;
        machine.execution_stopped_at = record.execution_stopped_at;
        machine.pull_started_at = record.pull_started_at;
        machine.pull_stopped_at = record.pull_stopped_at;
        machine.stopped_at = record.stopped_at;
        machine.accepted = record.accepted;
        machine.reported = record.accepted;
        for (unit, container) in machine.units.iter_mut().zip(&machine.task.containers) {
            let Some(saved) = record.containers.get(&container.name) else { continue };
            saved.restore(unit);
        }
        machine
    }

    /// What is to be recorded.
    pub fn record(&self) -> TaskState {
        let containers = self.task.containers.iter().zip(&self.units);
        TaskState {
            stopping: self.stopping,
            execution_stopped_at: self.execution_stopped_at,
            pull_started_at: self.pull_started_at,
            pull_stopped_at: self.pull_stopped_at,
            stopped_at: self.stopped_at,
            accepted: self.accepted,
            containers: containers
                .map(|(container, unit)| (container.name.clone(), ContainerRecord::of(unit)))
                .collect(),
        }
    }

    /// Takes over a container that is there already. `now` is when it was seen.
    pub fn adopt(&mut self, index: usize, state: ContainerState, now: Timestamp) {
        let unit = &mut self.units[index];
        if unit.known == Known::Stopped {
            unit.runtime_id = Some(state.id);
            return;
        }
        unit.runtime_id = Some(state.id.clone());
        unit.created_at = Some(state.created_at);
        match (state.status, state.started_at) {
            (ContainerStatus::Created, _) => unit.known = Known::Created,
            (ContainerStatus::Running, _) => self.has_started(index, &state, now),
            (ContainerStatus::Exited, None) => {
                let words = state.error.unwrap_or_else(|| "it ended without having started".to_owned());
                self.fail(index, &format!("CannotStartContainerError: {words}"), now);
            }
            (ContainerStatus::Exited, Some(_)) => {
                self.has_started(index, &state, now);
                self.report(now);
                self.has_exited(index, &state, now);
            }
        }
        self.report(now);
    }

    /// After the last [`Self::adopt`]: containers that ran and are no longer there have vanished.
    pub fn adopted(&mut self, now: Timestamp) {
        for index in 0..self.units.len() {
            let unit = &self.units[index];
            if unit.known >= Known::Running && unit.known < Known::Stopped && unit.started_at.is_none() {
                self.fail(index, "ContainerVanishedError: the container is no longer there", now);
            }
        }
        self.settle(now);
        self.report(now);
    }

    /// The task is to end.
    pub fn stop(&mut self, now: Timestamp) {
        if !self.stopping {
            self.stopping = true;
            self.execution_stopped_at.get_or_insert(now);
        }
    }

    /// Ends a task that was never begun, with a reason.
    pub fn refuse(&mut self, reason: &str, now: Timestamp) {
        self.reason = shorten(reason);
        self.stop(now);
        for unit in &mut self.units {
            unit.known = Known::Stopped;
            unit.busy = None;
        }
        self.settle(now);
        self.report(now);
    }

    /// Takes an event in.
    pub fn apply(&mut self, event: Event, now: Timestamp) {
        match event {
            Event::Pulled(index, result) => self.pulled(index, result, now),
            Event::Created(index, result) => self.created(index, result, now),
            Event::Started(index, result) => self.started(index, result, now),
            Event::Stopped(index, result) => {
                self.units[index].busy = None;
                match result {
                    Ok(state) => self.observe(index, &state, now),
                    Err(error) => self.lost(index, &error, "CannotStopContainerError", now),
                }
            }
            Event::Observed(index, result) => match result {
                Ok(state) => self.observe(index, &state, now),
                Err(error) => self.lost(index, &error, "CannotInspectContainerError", now),
            },
        }
        self.settle(now);
        self.report(now);
    }

    /// What is to be done now. Containers it names are busy until their event comes.
    pub fn plan(&mut self, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        self.wake_at = None;
        // Failing one container can stop the task, and that others: at most one round a container.
        for _ in 0..=self.units.len() {
            self.fail_held_back(now);
            self.settle(now);
        }
        for index in 0..self.units.len() {
            if self.units[index].look_again && self.units[index].busy.is_none() {
                self.units[index].look_again = false;
                actions.push(Action::Inspect(index));
            }
            if self.units[index].busy.is_some() {
                continue;
            }
            let action = if self.stopping { self.next_down(index) } else { self.next_up(index) };
            actions.extend(action);
        }
        self.settle(now);
        self.report(now);
        for action in &actions {
            if let Action::Pull(index) | Action::Create(index) = action {
                self.units[*index].looked_at.get_or_insert(now);
            }
        }
        if actions.iter().any(|action| matches!(action, Action::Pull(_))) {
            self.pull_started_at.get_or_insert(now);
        }
        actions
    }

    /// Whether the task has ended.
    pub fn is_stopped(&self) -> bool {
        self.units.iter().all(|unit| unit.known == Known::Stopped)
    }

    /// The container whose network the one at `index` joins, in network mode awsvpc.
    pub fn joined_network(&self, index: usize) -> Option<usize> {
        let owner = graph::network_owner(&self.task, &self.edges)?;
        graph::joins(&self.edges, owner, index).then_some(owner)
    }

    /// Place of a container in the task.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.task.containers.iter().position(|container| container.name == name)
    }

    fn pulled(&mut self, index: usize, result: Result<ImageInfo, RuntimeError>, now: Timestamp) {
        let unit = &mut self.units[index];
        if unit.busy != Some(Busy::Pull) {
            return;
        }
        unit.busy = None;
        self.pull_stopped_at = Some(now);
        match result {
            Ok(image) => {
                unit.known = Known::Pulled;
                unit.pulled = true;
                unit.image_digest = image.digest;
            }
            Err(error) if self.defaults.fall_back => {
                unit.known = Known::Pulled;
                unit.reason = Some(shorten(&format!("CannotPullImageManifestError: {error}")));
            }
            Err(error) => self.fail(index, &format!("CannotPullContainerError: {error}"), now),
        }
    }

    fn created(&mut self, index: usize, result: Result<(String, Option<ImageInfo>), CreateError>, now: Timestamp) {
        let unit = &mut self.units[index];
        if unit.busy != Some(Busy::Create) {
            return;
        }
        unit.busy = None;
        match result {
            Ok((id, image)) => {
                // Finding an image that is here counts as a pull that took no time, as ECS's agent counts it.
                if unit.known == Known::None {
                    self.pull_started_at.get_or_insert(unit.looked_at.unwrap_or(now));
                    self.pull_stopped_at = Some(now);
                }
                unit.known = Known::Created;
                unit.created_at = Some(now);
                unit.runtime_id = Some(id);
                unit.image_digest = unit.image_digest.take().or_else(|| image.and_then(|image| image.digest));
            }
            Err(CreateError::Runtime(RuntimeError::NoSuchImage(_))) if unit.known == Known::None => {
                unit.image_missing = true;
            }
            Err(CreateError::Settings(reason)) => self.fail(index, &reason, now),
            Err(CreateError::Volume(error)) => self.fail(index, &format!("CannotCreateVolumeError: {error}"), now),
            Err(CreateError::Runtime(error)) => self.fail(index, &format!("CannotCreateContainerError: {error}"), now),
        }
    }

    fn started(&mut self, index: usize, result: Result<ContainerState, StartError>, now: Timestamp) {
        let unit = &mut self.units[index];
        if unit.busy != Some(Busy::Start) {
            // It was seen to run, and to end, before the call came back: only what that could not tell is new.
            if let (Ok(state), true) = (result, unit.ports.is_empty()) {
                unit.ports = state.ports;
            }
            return;
        }
        unit.busy = None;
        match result {
            Ok(state) => {
                self.has_started(index, &state, now);
                self.report(now);
                if state.status == ContainerStatus::Exited {
                    self.has_exited(index, &state, now);
                }
            }
            Err(StartError::Logs(words)) => {
                self.fail(
                    index,
                    &format!("CannotStartContainerError: failed to initialize logging driver: {words}"),
                    now,
                );
            }
            Err(StartError::Runtime(error)) => {
                self.fail(index, &format!("CannotStartContainerError: {error}"), now);
            }
        }
    }

    /// The runtime's word on a container that may have moved on by itself.
    fn observe(&mut self, index: usize, state: &ContainerState, now: Timestamp) {
        let unit = &mut self.units[index];
        match (state.status, unit.known) {
            (ContainerStatus::Running, Known::Running) => {
                unit.health = state.health;
                if unit.ports.is_empty() {
                    unit.ports.clone_from(&state.ports);
                }
            }
            (ContainerStatus::Exited, Known::Running) if unit.busy == Some(Busy::Start) => {
                // A restart is under way: this may be the end of the run before.
                unit.look_again = true;
            }
            (ContainerStatus::Exited, Known::Running) => {
                unit.busy = None;
                self.has_exited(index, state, now);
            }
            (ContainerStatus::Exited, Known::Created)
                if unit.busy == Some(Busy::Start) && state.started_at.is_some() =>
            {
                unit.busy = None;
                self.has_started(index, state, now);
                self.report(now);
                self.has_exited(index, state, now);
            }
            _ => {}
        }
    }

    /// A call on a container that should run did not succeed.
    fn lost(&mut self, index: usize, error: &RuntimeError, name: &str, now: Timestamp) {
        match error {
            RuntimeError::NoSuchContainer(_) if self.units[index].known >= Known::Created => {
                self.fail(index, "ContainerVanishedError: the container is no longer there", now);
            }
            RuntimeError::NoSuchContainer(_) => {}
            // The runtime is away: the next look, or the next try to stop, will tell.
            error => tracing::warn!(task = %self.task.arn, container = index, "{name}: {error}"),
        }
    }

    fn has_started(&mut self, index: usize, state: &ContainerState, now: Timestamp) {
        let unit = &mut self.units[index];
        unit.known = Known::Running;
        unit.ever_ran = true;
        unit.started_at = state.started_at.or(Some(now));
        unit.health = state.health;
        unit.ports.clone_from(&state.ports);
        unit.address = state.ip.or(unit.address);
    }

    fn has_exited(&mut self, index: usize, state: &ContainerState, now: Timestamp) {
        let ended = state.finished_at.unwrap_or(now);
        if self.restarts(index, state, ended) {
            // Still RUNNING to the outside.
            let unit = &mut self.units[index];
            unit.restart_count = unit.restart_count.saturating_add(1);
            unit.restart = true;
            return;
        }
        let unit = &mut self.units[index];
        unit.known = Known::Stopped;
        unit.busy = None;
        unit.exit_code = state.exit_code;
        unit.finished_at = Some(ended);
        unit.health = None;
        if state.oom_killed {
            unit.reason = Some("OutOfMemoryError: Container killed due to memory usage".to_owned());
        } else if let Some(error) = state.error.as_deref().filter(|error| !error.is_empty()) {
            unit.reason = Some(shorten(&format!("CannotStartContainerError: {error}")));
        }
        if self.task.containers[index].essential {
            self.execution_stopped_at.get_or_insert(ended);
        }
    }

    fn restarts(&self, index: usize, state: &ContainerState, ended: Timestamp) -> bool {
        let Some(policy) = self.task.containers[index].restart_policy.as_ref().filter(|policy| policy.enabled) else {
            return false;
        };
        let period = policy.restart_attempt_period.and_then(|secs| u64::try_from(secs).ok());
        let period = period.map_or(RESTART_PERIOD, Duration::from_secs);
        let code = i64::from(state.exit_code.unwrap_or(-1));
        let ran = state.started_at.map_or(Duration::ZERO, |started| ended.since(started));
        !self.stopping && !policy.ignored_exit_codes.contains(&code) && ran >= period
    }

    /// Ends a container that can go no further.
    fn fail(&mut self, index: usize, reason: &str, now: Timestamp) {
        tracing::info!(task = %self.task.arn, container = %self.task.containers[index].name, reason, "container failed");
        let unit = &mut self.units[index];
        unit.known = Known::Stopped;
        unit.busy = None;
        unit.reason = Some(shorten(reason));
        unit.finished_at = Some(now);
        unit.health = None;
        if self.task.containers[index].essential {
            self.execution_stopped_at.get_or_insert(now);
        }
    }

    /// Ends containers whose dependencies can't be met any more, and with them the task; sets [`Self::wake_at`]
    /// for those that may yet.
    fn fail_held_back(&mut self, now: Timestamp) {
        if self.stopping {
            return;
        }
        let mut failed = None;
        for edge in &self.edges {
            let (dependant, dependency) = (&self.units[edge.dependant], &self.units[edge.dependency]);
            if dependant.known >= Known::Created || dependant.busy.is_some() || graph::met(edge.condition, dependency) {
                continue;
            }
            let container = &self.task.containers[edge.dependency];
            if dependency.known == Known::Stopped {
                let words = format!(
                    "dependency on container {} with condition {} can not be met",
                    container.name, edge.condition
                );
                failed = Some((edge.dependant, words));
                break;
            }
            let (true, Some(started)) = (edge.condition.has_timeout(), dependency.started_at) else { continue };
            let timeout = container.start_timeout.and_then(|secs| u64::try_from(secs).ok()).filter(|secs| *secs > 0);
            let until = started.plus(timeout.map_or(self.defaults.start_timeout, Duration::from_secs));
            if until <= now {
                let words = format!("timed out waiting for container {} to be {}", container.name, edge.condition);
                failed = Some((edge.dependant, words));
                break;
            }
            self.wake_at = Some(self.wake_at.map_or(until, |at| at.min(until)));
        }
        if let Some((index, words)) = failed {
            self.fail(index, &format!("TaskDependencyError: {words}"), now);
            self.units[index].exit_code = Some(HELD_BACK);
            self.stop(now);
        }
    }

    fn next_up(&mut self, index: usize) -> Option<Action> {
        let ready = self.edges.iter().filter(|edge| edge.dependant == index);
        let ready = ready.into_iter().all(|edge| graph::met(edge.condition, &self.units[edge.dependency]));
        let unit = &mut self.units[index];
        match unit.known {
            Known::None if ready && (self.defaults.pull_first || unit.image_missing) => {
                unit.busy = Some(Busy::Pull);
                Some(Action::Pull(index))
            }
            Known::None | Known::Pulled if ready => {
                unit.busy = Some(Busy::Create);
                Some(Action::Create(index))
            }
            Known::Created => {
                unit.busy = Some(Busy::Start);
                Some(Action::Start(index))
            }
            Known::Running if unit.restart => {
                unit.busy = Some(Busy::Start);
                unit.restart = false;
                Some(Action::Start(index))
            }
            _ => None,
        }
    }

    /// Dependents go first: what others need stays until they are down.
    fn next_down(&mut self, index: usize) -> Option<Action> {
        let mut dependents = self.edges.iter().filter(|edge| edge.dependency == index);
        if dependents.any(|edge| self.units[edge.dependant].known != Known::Stopped) {
            return None;
        }
        let unit = &mut self.units[index];
        if unit.known != Known::Running {
            return None;
        }
        unit.busy = Some(Busy::Stop);
        let timeout = self.task.containers[index].stop_timeout.and_then(|secs| u64::try_from(secs).ok());
        Some(Action::Stop(index, timeout.map_or(self.defaults.stop_timeout, Duration::from_secs)))
    }

    /// Draws the consequences for the task as a whole.
    fn settle(&mut self, now: Timestamp) {
        let mut containers = self.task.containers.iter().zip(&self.units);
        if containers.any(|(container, unit)| container.essential && unit.known == Known::Stopped) {
            self.stop(now);
        }
        if self.stopping {
            for unit in &mut self.units {
                let waits = unit.known < Known::Running && matches!(unit.busy, None | Some(Busy::Pull));
                if waits {
                    unit.known = Known::Stopped;
                    unit.busy = None;
                }
            }
        }
        if self.is_stopped() && !self.units.is_empty() {
            self.execution_stopped_at.get_or_insert(now);
            self.stopped_at.get_or_insert(now);
        }
    }
}
