//! One step of one daemon: where its tasks are, and what is to be done about it.

use std::collections::BTreeSet;
use std::sync::Arc;

use longshore_api::ecs::{DaemonDeploymentStatus, DaemonPropagateTags, HealthStatus};
use longshore_model::Id;
use longshore_model::daemon::{
    DaemonDeploymentRecord, DaemonRecord, DaemonRevisionRecord, DaemonStatus, Rollback, Target, at_once, bake_time,
    failure_threshold,
};
use longshore_model::records::{ContainerInstanceStatus, DesiredStatus, Tags, TaskRecord, TaskStatus};
use longshore_model::service::throttle;
use longshore_model::task::{self, StopCause};
use longshore_scheduler::{Request, place};
use longshore_seams::{Random, Timestamp};

use crate::operations::daemons::live_tasks;
use crate::operations::tasks::capacity::{Spot, Unplaced, candidates};
use crate::operations::tasks::launch::Launch;
use crate::operations::tasks::placement;
use crate::reconcilers::room::Room;
use crate::reconcilers::services::launch::unplaced;
use crate::reconcilers::services::may_host;
use crate::state::{ClusterState, InstanceState, ScopeState};

/// A task that has not ended.
struct Live<'a> {
    task: &'a Arc<TaskRecord>,
    /// Of the revision that is wanted.
    new: bool,
    /// It is to run.
    wanted: bool,
}

impl Live<'_> {
    fn runs(&self) -> bool {
        let fit = !task::is_checked(self.task) || self.task.health == Some(HealthStatus::Healthy);
        self.wanted && self.task.last_status == TaskStatus::Running && fit
    }

    fn is_on(&self, instances: &BTreeSet<Id>) -> bool {
        self.task.container_instance.is_some_and(|id| instances.contains(&id))
    }
}

/// A step in the making.
pub(super) struct Work<'a> {
    records: &'a ScopeState,
    cluster: &'a ClusterState,
    now: Timestamp,
    random: &'a dyn Random,
    live: Vec<Live<'a>>,
    /// The daemon as it becomes.
    pub record: DaemonRecord,
    /// Whether it is to be forgotten.
    pub gone: bool,
    /// Tasks that are made or changed.
    pub changed: Vec<TaskRecord>,
    /// What is left for more of them.
    room: Room,
    /// When to look again, though nothing may have happened.
    pub due: Option<Timestamp>,
}

impl<'a> Work<'a> {
    pub(super) fn new(
        records: &'a ScopeState,
        cluster: &'a ClusterState,
        daemon: &DaemonRecord,
        now: Timestamp,
        random: &'a dyn Random,
    ) -> Self {
        let (live, record, changed) = (Vec::new(), daemon.clone(), Vec::new());
        let room = Room::default();
        Self { records, cluster, now, random, live, record, gone: false, changed, room, due: None }
    }

    pub(super) fn run(&mut self) {
        let Some((target, revision)) = self.target() else { return };
        self.look(&revision);
        if self.record.status == DaemonStatus::DeleteInProgress {
            return self.delete();
        }
        self.begin();
        self.count_failures(&revision);
        let launch = self.launch(&revision);
        let hosts = match &launch {
            Ok((_, request)) => self.hosts(&target, request),
            Err(_) => Vec::new(),
        };
        if self.break_circuit(hosts.len()) {
            // What is wanted now is something else: the next step begins with that.
            return;
        }
        match launch {
            Err(why) => self.refuse(why),
            Ok((launch, request)) => {
                self.stop_misplaced(&target, &hosts);
                self.replace(&hosts);
                self.start(&launch, &request, &hosts);
                self.settle(&hosts);
            }
        }
    }

    fn target(&self) -> Option<(Target, DaemonRevisionRecord)> {
        let target = self.record.current()?.target().clone();
        let revision = self.record.revision(&target.revision)?.clone();
        Some((target, revision))
    }

    fn deployment(&mut self) -> Option<&mut DaemonDeploymentRecord> {
        self.record.deployments.first_mut()
    }

    fn look(&mut self, revision: &DaemonRevisionRecord) {
        let started_by = revision.started_by();
        let live = live_tasks(self.cluster, &self.record.name).map(|task| Live {
            task,
            new: task.started_by.as_deref() == Some(&started_by),
            wanted: task.desired_status == DesiredStatus::Running,
        });
        self.live = live.collect();
    }

    fn delete(&mut self) {
        let all = self.which(|_| true);
        self.stop(all, "the daemon is being deleted");
        self.gone = self.live.is_empty();
    }

    fn begin(&mut self) {
        let now = self.now;
        if let Some(deployment) = self.deployment()
            && deployment.status == DaemonDeploymentStatus::Pending
        {
            deployment.status = DaemonDeploymentStatus::InProgress;
            deployment.started_at = Some(now);
        }
    }

    /// Counts the tasks of the revision that ended since the last look: those that never ran throttle.
    fn count_failures(&mut self, revision: &DaemonRevisionRecord) {
        let cluster = self.cluster;
        let running = self.live.iter().filter(|it| it.new && it.task.last_status == TaskStatus::Running);
        let begun: Option<Timestamp> = running.filter_map(|it| it.task.times.started).max();
        let Some(deployment) = self.deployment() else { return };
        let ids = cluster.index.started_by.get(&revision.started_by()).into_iter().flatten();
        let mut ended: Vec<((Timestamp, Id), bool)> = ids
            .filter_map(|id| cluster.tasks.get(id))
            .filter_map(|task| Some(((task.times.stopped?, task.id), task::has_failed(task))))
            .filter(|(at, _)| *at > deployment.counted)
            .collect();
        ended.sort_unstable();
        for (at, failed) in ended {
            deployment.counted = at;
            deployment.failed_tasks += i32::from(failed);
            deployment.failures_in_a_row = if failed { deployment.failures_in_a_row + 1 } else { 0 };
            deployment.retry_at = throttle(deployment.failures_in_a_row).map(|wait| at.0.plus(wait));
        }
        // What has run all the time says nothing about whether tasks start.
        if begun.is_some_and(|at| at >= deployment.counted.0) && deployment.failures_in_a_row > 0 {
            (deployment.failures_in_a_row, deployment.retry_at) = (0, None);
        }
    }

    /// Gives up a deployment whose tasks keep failing, and goes back to what the last one that
    /// succeeded had put on the instances. Answers whether it did so.
    fn break_circuit(&mut self, hosts: usize) -> bool {
        let (now, completed) = (self.now, self.record.completed.clone());
        let Some(deployment) = self.deployment() else { return false };
        if !deployment.is_open() || deployment.failed_tasks < failure_threshold(hosts) {
            return false;
        }
        let reason = "Daemon deployment circuit breaker: tasks failed to start.".to_owned();
        deployment.broken = true;
        if deployment.rollback.is_some() {
            deployment.finish(DaemonDeploymentStatus::RollbackFailed, now, Some(reason));
            return true;
        }
        let Some(target) = completed.filter(|good| good.revision != deployment.wanted.revision) else {
            let reason = format!("{reason} There is no earlier revision to roll back to.");
            deployment.finish(DaemonDeploymentStatus::Stopped, now, Some(reason));
            return true;
        };
        deployment.status = DaemonDeploymentStatus::RollbackInProgress;
        deployment.status_reason = Some(reason.clone());
        deployment.rollback = Some(Rollback { reason, started_at: now, target });
        deployment.baking_since = None;
        (deployment.failed_tasks, deployment.failures_in_a_row, deployment.retry_at) = (0, 0, None);
        // What the earlier revision did before does not count.
        deployment.counted = (now, deployment.counted.1);
        true
    }

    /// The launch of tasks of the revision, or why there can be none.
    fn launch(&self, revision: &DaemonRevisionRecord) -> Result<(Launch<'a>, Request), String> {
        let family = self.records.daemon_families.get(&revision.family);
        let Some(definition) = family.and_then(|family| family.revisions.get(&revision.revision)) else {
            return Err(format!("The daemon task definition {}:{} is gone.", revision.family, revision.revision));
        };
        let words = |error: longshore_api::ServiceError| error.message;
        let mut launch = Launch::new(definition, None, None, None).map_err(words)?;
        launch.group = DaemonRecord::group_of(&self.record.name);
        launch.enable_execute_command = revision.enable_execute_command;
        launch.tags = self.tags(revision);
        let constraints = placement::constraints(&definition.definition, None).map_err(words)?;
        let request = launch.request(constraints, Vec::new());
        Ok((launch, request))
    }

    fn tags(&self, revision: &DaemonRevisionRecord) -> Tags {
        let mut tags = match revision.propagate_tags {
            DaemonPropagateTags::Daemon => self.record.tags.clone(),
            _ => Tags::new(),
        };
        if revision.enable_ecs_managed_tags {
            tags.insert("aws:ecs:clusterName".to_owned(), self.cluster.record.name.clone());
            tags.insert("aws:ecs:daemonName".to_owned(), self.record.name.clone());
        }
        tags
    }

    /// The instances that are to have a task.
    fn hosts(&self, target: &Target, request: &Request) -> Vec<&'a InstanceState> {
        let providers = target.capacity_providers.iter();
        let instances = providers.flat_map(|provider| candidates(self.cluster, Some(provider)));
        instances.filter(|instance| may_host(instance, request)).collect()
    }

    fn which(&self, accepts: impl Fn(&Live<'_>) -> bool) -> Vec<usize> {
        (0..self.live.len()).filter(|at| self.live[*at].wanted && accepts(&self.live[*at])).collect()
    }

    /// The container instances of these tasks.
    fn places(&self, accepts: impl Fn(&Live<'_>) -> bool) -> BTreeSet<Id> {
        self.live.iter().filter(|it| accepts(it)).filter_map(|it| it.task.container_instance).collect()
    }

    fn stop(&mut self, which: Vec<usize>, why: &str) {
        let reason = format!("Scaling activity initiated by (daemon {}): {why}", self.record.name);
        for at in which {
            let cause = StopCause { reason: reason.clone(), ..StopCause::service_scheduler("") };
            if let Some(stopped) = task::stop(self.live[at].task, &cause, self.now) {
                if !self.room.take(&stopped) {
                    return;
                }
                self.changed.push(stopped);
            }
            self.live[at].wanted = false;
        }
    }

    /// Stops what is on an instance where it is not wanted, or twice on one, or unhealthy.
    fn stop_misplaced(&mut self, target: &Target, hosts: &[&InstanceState]) {
        let wanted_on = ids(hosts);
        let away = self.which(|it| !it.is_on(&wanted_on) && !self.stays(it.task, target));
        self.stop(away, "its container instance is not one of the daemon's");
        let mut seen = BTreeSet::new();
        let newest_first = (0..self.live.len()).rev().filter(|at| self.live[*at].wanted);
        let twice = newest_first.filter(|at| !seen.insert(self.live[*at].task.container_instance)).collect();
        self.stop(twice, "the container instance has another task of the daemon");
        let unhealthy = self.which(|it| it.task.health == Some(HealthStatus::Unhealthy));
        self.stop(unhealthy, "it failed container health checks");
    }

    /// Whether a task stays though its instance takes none: a daemon leaves a DRAINING instance last.
    fn stays(&self, task: &TaskRecord, target: &Target) -> bool {
        let Some(instance) = task.container_instance.and_then(|id| self.cluster.instances.get(&id)) else {
            return false;
        };
        let of_daemon =
            instance.capacity_provider().is_some_and(|name| target.capacity_providers.iter().any(|it| it == name));
        let others = || {
            let mut tasks = self.records.tasks_on(self.cluster, instance);
            tasks.any(|(_, it)| it.daemon.is_none() && it.last_status != TaskStatus::Stopped)
        };
        of_daemon && instance.record.status == ContainerInstanceStatus::Draining && others()
    }

    /// Stops tasks of other revisions, no more at a time than the deployment may drain.
    fn replace(&mut self, hosts: &[&InstanceState]) {
        let Some(configuration) = self.record.current().map(|it| it.configuration.clone()) else { return };
        let wanted_on = ids(hosts);
        let served = self.places(|it| it.runs()).intersection(&wanted_on).count();
        let room = at_once(hosts.len(), &configuration).saturating_sub(hosts.len() - served);
        let mut old = self.which(|it| !it.new && !it.runs() && it.is_on(&wanted_on));
        old.extend(self.which(|it| !it.new && it.runs() && it.is_on(&wanted_on)).into_iter().take(room));
        self.stop(old, "a deployment replaces it");
    }

    fn start(&mut self, launch: &Launch<'_>, request: &Request, hosts: &[&InstanceState]) {
        let Some(deployment) = self.record.current() else { return };
        if matches!(deployment.status, DaemonDeploymentStatus::Stopped | DaemonDeploymentStatus::RollbackFailed) {
            // It was given up: only another deployment starts tasks again.
            return;
        }
        if let Some(at) = deployment.retry_at.filter(|at| *at > self.now) {
            self.due = Some(at);
            return;
        }
        let Some((_, revision)) = self.target() else { return };
        let occupied = self.places(|it| it.task.last_status <= TaskStatus::Running);
        let bare: Vec<&InstanceState> =
            hosts.iter().copied().filter(|host| !occupied.contains(&host.record.id)).collect();
        let mut refused = None;
        for instance in bare.into_iter().take(self.room.tasks()) {
            let mut placement = place(&[instance.node()], request, 1, self.random);
            match placement.assignments.pop() {
                Some(assignment) => {
                    let spot = Spot::on(launch, instance, assignment.gpus, instance.capacity_provider());
                    let made = launch.record(self.cluster, spot, self.now, self.random);
                    if !self.room.take(&made) {
                        break;
                    }
                    self.changed.push(TaskRecord {
                        daemon: Some(self.record.name.clone()),
                        started_by: Some(revision.started_by()),
                        ..made
                    });
                }
                None => {
                    let why = placement.refused.into_iter().map(|refused| (instance, refused.refusals));
                    refused = Some(unplaced(&Unplaced::Instances(why.collect())));
                }
            }
        }
        match refused {
            Some(why) => self.refuse(format!("(daemon {}) {why}", self.record.name)),
            None => self.accept(),
        }
    }

    /// Says why a deployment does not go on.
    fn refuse(&mut self, why: String) {
        if let Some(deployment) = self.deployment().filter(|it| it.status == DaemonDeploymentStatus::InProgress) {
            deployment.status_reason = Some(why);
        }
    }

    fn accept(&mut self) {
        if let Some(deployment) = self.deployment().filter(|it| it.status == DaemonDeploymentStatus::InProgress) {
            deployment.status_reason = None;
        }
    }

    /// Ends a deployment once every instance has had the new task for its bake time.
    fn settle(&mut self, hosts: &[&InstanceState]) {
        let done = self.changed.is_empty()
            && self.live.iter().all(|it| it.new || it.task.last_status > TaskStatus::Running)
            && ids(hosts).is_subset(&self.places(|it| it.new && it.runs()));
        let now = self.now;
        let Some(deployment) = self.deployment().filter(|it| it.is_open()) else { return };
        if !done {
            return;
        }
        let since = *deployment.baking_since.get_or_insert(now);
        let rolled_back = deployment.rollback.is_some();
        // What is gone back to has been baked before.
        let end = if rolled_back { since } else { since.plus(bake_time(&deployment.configuration)) };
        if end > now {
            self.due = Some(end);
            return;
        }
        if rolled_back {
            let reason = deployment.status_reason.take();
            deployment.finish(DaemonDeploymentStatus::RollbackSuccessful, now, reason);
        } else {
            deployment.finish(DaemonDeploymentStatus::Successful, now, None);
        }
        self.record.completed = self.record.current().map(|it| it.target().clone());
    }
}

fn ids(instances: &[&InstanceState]) -> BTreeSet<Id> {
    instances.iter().map(|it| it.record.id).collect()
}
