//! One step of one service: what its tasks are, and what is to be done about it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use longshore_api::ecs::{DeploymentControllerType, DeploymentRolloutState, HealthStatus, LaunchType};
use longshore_model::records::{ContainerInstanceStatus, DesiredStatus, TaskRecord, TaskStatus};
use longshore_model::service::{
    Bounds, Counts, DeploymentRecord, ServiceDeploymentRecord, ServiceRecord, ServiceStatus, step,
};
use longshore_model::task::{self, StopCause};
use longshore_model::{Id, Scope};
use longshore_scheduler::{Candidate, Refusal, Request, place, refusals, scale_in};
use longshore_seams::{Random, Timestamp};

use super::ServiceSchedulerLimits;
use super::health::Health;
use super::launch::{launch, strategies, unplaced};
use super::signals::ServiceSignals;
use crate::operations::tasks::capacity::{Means, Spot, Unplaced, candidates, place_tasks};
use crate::operations::tasks::launch::Launch;
use crate::quotas::Quotas;
use crate::reconcilers::room::Room;
use crate::state::{ClusterState, InstanceState, ScopeState};

/// Most tasks that one message names.
const NAMED_AT_ONCE: usize = 10;

/// The time over which launches are counted.
const LAUNCH_WINDOW: Duration = Duration::from_secs(60);

/// A task that has not ended.
pub(super) struct Live<'a> {
    pub(super) task: &'a Arc<TaskRecord>,
    /// Which of the service's sources started it: 0 is the PRIMARY deployment.
    pub(super) of: usize,
    /// Its container instance goes, or it has to make room elsewhere.
    pub(super) leaves: bool,
    /// It fails its checks, and stays until another has taken its place: why it is stopped then.
    pub(super) ails: Option<StopCause>,
    /// It is to run.
    pub(super) wanted: bool,
    /// It has not gone beyond RUNNING: it counts towards what the service has.
    pub(super) there: bool,
    /// It runs, and every check that it has says that it is well.
    pub(super) fit: bool,
    /// It is fit, and has run for a moment when nothing checks it.
    pub(super) proven: bool,
    /// It counts towards what has to be healthy.
    pub(super) healthy: bool,
}

/// Under which conditions a step is made.
#[derive(Clone, Copy)]
pub(crate) struct Conditions<'a> {
    pub now: Timestamp,
    pub random: &'a dyn Random,
    pub quotas: &'a Quotas,
    pub limits: ServiceSchedulerLimits,
    pub signals: &'a dyn ServiceSignals,
    /// Whether the functions of lifecycle hooks can be invoked.
    pub has_functions: bool,
}

/// A step in the making.
pub(super) struct Work<'a> {
    pub(super) scope: &'a Scope,
    pub(super) records: &'a ScopeState,
    pub(super) cluster: &'a ClusterState,
    pub(super) now: Timestamp,
    pub(super) random: &'a dyn Random,
    pub(super) quotas: &'a Quotas,
    pub(super) limits: ServiceSchedulerLimits,
    pub(super) signals: &'a dyn ServiceSignals,
    pub(super) has_functions: bool,
    pub(super) live: Vec<Live<'a>>,
    /// Tasks that have ended, with the source that started them.
    pub(super) ended: Vec<(usize, &'a Arc<TaskRecord>)>,
    /// The service as it becomes.
    pub record: ServiceRecord,
    /// Its service deployment as it becomes, if one goes on.
    pub deployment: Option<ServiceDeploymentRecord>,
    /// Tasks that are made or changed.
    pub changed: Vec<TaskRecord>,
    /// What is left for more of them.
    room: Room,
    /// When to look again, though nothing may have happened.
    pub due: Option<Timestamp>,
}

impl Live<'_> {
    /// Whether it is of this source, and where it may stay.
    pub(super) fn is_new(&self, at: usize) -> bool {
        self.of == at && !self.leaves && self.ails.is_none()
    }
}

impl<'a> Work<'a> {
    pub(super) fn new(
        scope: &'a Scope,
        records: &'a ScopeState,
        cluster: &'a ClusterState,
        service: &ServiceRecord,
        conditions: Conditions<'a>,
    ) -> Self {
        let Conditions { now, random, quotas, limits, signals, has_functions } = conditions;
        let record = service.clone();
        let deployment = cluster.service_deployment(service).filter(|it| it.is_ongoing()).map(|it| (**it).clone());
        let (live, ended, changed) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            scope,
            records,
            cluster,
            now,
            random,
            quotas,
            limits,
            signals,
            has_functions,
            live,
            ended,
            record,
            deployment,
            changed,
            room: Room::default(),
            due: None,
        }
    }

    pub(super) fn run(&mut self) {
        if self.record.status == ServiceStatus::Inactive {
            return;
        }
        self.look();
        if self.record.status == ServiceStatus::Draining {
            return self.drain();
        }
        if self.record.controller() != DeploymentControllerType::Ecs {
            return self.task_sets();
        }
        if self.begin() {
            return;
        }
        self.count_failures(0);
        if self.break_circuit() || self.obey_alarms() {
            return;
        }
        self.replace_unhealthy();
        if self.record.is_daemon() {
            self.daemon();
        } else if self.is_staged() {
            self.stage();
        } else {
            self.rebalance();
            // What is restored takes of the room that the cap leaves: the rest is for the next step.
            if !self.restore() {
                self.keep(0, false);
            }
        }
        self.retire();
        self.settle();
    }

    pub(super) fn look_again_at(&mut self, at: Timestamp) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    pub(super) fn say(&mut self, message: &str) {
        let id = self.random.uuid();
        self.record.say(id, self.now, message);
    }

    /// Says something of one source: a task set is named.
    pub(super) fn say_of(&mut self, at: usize, message: &str) {
        let set = at.checked_sub(self.record.deployments.len()).and_then(|at| self.record.task_sets.get(at));
        let id = self.random.uuid();
        match set.map(|set| set.deployment.id.clone()) {
            Some(set) => self.record.say_of(&set, id, self.now, message),
            None => self.record.say(id, self.now, message),
        }
    }

    /// The tasks of all deployments and task sets.
    fn look(&mut self) {
        let mut settling = None;
        for (of, source) in self.record.sources().enumerate() {
            let ids = self.cluster.index.started_by.get(&source.id).into_iter().flatten();
            for task in ids.filter_map(|id| self.cluster.tasks.get(id)) {
                if task.last_status == TaskStatus::Stopped {
                    self.ended.push((of, task));
                    continue;
                }
                let wanted = task.desired_status == DesiredStatus::Running;
                let there = task.last_status <= TaskStatus::Running;
                let leaves = self.is_draining(task);
                let health = self.health(of, task);
                settling = settling.into_iter().chain(health.settles).min();
                let healthy = wanted && health.healthy;
                let Health { fit, proven, .. } = health;
                let ails = None;
                self.live.push(Live { task, of, leaves, ails, wanted, there, fit, proven, healthy });
            }
        }
        if let Some(at) = settling {
            self.look_again_at(at);
        }
    }

    fn is_draining(&self, task: &TaskRecord) -> bool {
        // What an operator does with a machine that is lent to Fargate is no business of its tasks.
        if task.launch_type == LaunchType::Fargate {
            return false;
        }
        let instance = self.records.host(task);
        instance.is_none_or(|instance| instance.record.status != ContainerInstanceStatus::Active)
    }

    /// Stops a task; answers whether there was room for that in this step.
    pub(super) fn stop_one(&mut self, at: usize, cause: &StopCause) -> bool {
        let live = &mut self.live[at];
        if let Some(stopped) = task::stop(live.task, cause, self.now) {
            if !self.room.take(&stopped) {
                return false;
            }
            self.changed.push(stopped);
        }
        (live.wanted, live.healthy) = (false, false);
        true
    }

    /// Stops tasks for the scheduler's own reasons.
    fn stop(&mut self, which: Vec<usize>) {
        let mut stopped = Vec::new();
        for at in which {
            let cause = StopCause::service_scheduler(self.live[at].task.started_by.as_deref().unwrap_or(""));
            if !self.stop_one(at, &cause) {
                break;
            }
            stopped.push(at);
        }
        for stopped in stopped.chunks(NAMED_AT_ONCE) {
            let named: String = stopped.iter().map(|at| format!(" (task {})", self.live[*at].task.id)).collect();
            self.say_of(self.live[stopped[0]].of, &format!("has stopped {} running tasks:{named}.", stopped.len()));
        }
    }

    pub(super) fn which(&self, accepts: impl Fn(&Live<'_>) -> bool) -> Vec<usize> {
        (0..self.live.len()).filter(|at| self.live[*at].wanted && accepts(&self.live[*at])).collect()
    }

    /// Whether stopping an old task takes nothing that keeps the service above `floor`. One that
    /// runs but has not settled may stay until those that have are enough.
    fn is_dispensable(&self, it: &Live<'_>, at: usize, floor: usize) -> bool {
        let settling = (it.task.last_status == TaskStatus::Running || self.is_restored(it))
            && it.task.health != Some(HealthStatus::Unhealthy);
        let enough = || self.live.iter().filter(|it| it.wanted && it.healthy).count() >= floor;
        !it.is_new(at) && it.ails.is_none() && !it.healthy && (!settling || enough())
    }

    /// The tasks as [`step`] sees them: `alone`, those of other sources do not count.
    fn counts(&self, at: usize, alone: bool, floor: usize) -> Counts {
        let seen = |it: &&Live<'_>| !alone || it.of == at;
        let count =
            |accepts: &dyn Fn(&Live<'_>) -> bool| self.live.iter().filter(seen).filter(|it| accepts(it)).count();
        Counts {
            total: count(&|it| it.there),
            new: count(&|it| it.wanted && it.is_new(at)),
            old_unhealthy: count(&|it| it.wanted && self.is_dispensable(it, at, floor)),
            old_healthy: count(&|it| it.wanted && !it.is_new(at) && it.healthy),
            new_healthy: count(&|it| it.wanted && it.is_new(at) && it.healthy),
        }
    }

    fn drain(&mut self) {
        let all = self.which(|_| true);
        self.stop(all);
        let runs = self.live.iter().any(|it| it.wanted || it.task.last_status < TaskStatus::Deactivating);
        if !runs {
            self.record.status = ServiceStatus::Inactive;
            self.record.inactive_at = Some(self.now);
            // Nothing goes back to the one that was completed any more; what is shown is the task definition that the
            // service had in the end.
            let last = self.record.deployments.first().cloned();
            self.record.last_completed = last.map(Box::new).or_else(|| self.record.last_completed.take());
            self.record.deployments.clear();
            self.record.task_sets.clear();
        }
    }

    /// Keeps as many tasks of a source as it wants. Tasks of the others make way for them, except `alone`.
    pub(super) fn keep(&mut self, at: usize, alone: bool) {
        let desired = self.source(at).map_or(0, |it| usize::try_from(it.desired_count).unwrap_or(0));
        let mut bounds = Bounds::of(desired, self.record.settings.deployment_configuration.as_ref());
        if self.has_failed(at) {
            // It replaces nothing any more: what ran before it stays beside it, healthy as its own tasks may be.
            bounds.floor = bounds.cap.max(desired);
        } else if self.record.rebalancing {
            // Nothing has to go: fewer than wanted is too few.
            bounds.floor = desired;
        }
        let next = step(desired, bounds, self.counts(at, alone, bounds.floor));
        let seen = |it: &Live<'_>| !alone || it.of == at;
        let strategies = strategies(&self.record);
        let choose = |work: &Self, among: Vec<usize>, count: usize| -> Vec<usize> {
            if count == 0 {
                return Vec::new();
            }
            let protected = |at: &usize| work.live[*at].task.protected_until.is_some_and(|until| until > work.now);
            let among: Vec<usize> = among.into_iter().filter(|at| !protected(at)).collect();
            let candidates: Vec<Candidate<'_>> = among.iter().map(|at| work.candidate(*at)).collect();
            scale_in(&candidates, &strategies, count, work.random).into_iter().map(|chosen| among[chosen]).collect()
        };
        let mut stops = choose(self, self.which(|it| it.is_new(at)), next.stop_new);
        let mut protected = (stops.len() < next.stop_new).then_some(at);
        let unhealthy = self.which(|it| seen(it) && self.is_dispensable(it, at, bounds.floor));
        stops.extend(choose(self, unhealthy, next.stop_old_unhealthy));
        let healthy = self.which(|it| seen(it) && !it.is_new(at) && it.healthy);
        let goes = choose(self, healthy.clone(), next.stop_old_healthy);
        if goes.len() < next.stop_old_healthy {
            let stays = healthy.into_iter().find(|stays| !goes.contains(stays));
            protected = protected.or(stays.map(|stays| self.live[stays].of));
        }
        stops.extend(goes);
        self.stop(stops);
        if next.deadlock {
            self.refuse(at, "was unable to stop or start tasks during a deployment because of the service deployment configuration. Update the minimumHealthyPercent or maximumPercent value and try again.");
        } else if let Some(of) = protected.filter(|_| next.start == 0) {
            let set = self.source(of).map(|it| it.id.clone()).unwrap_or_default();
            self.refuse(at, &format!("was unable to reach steady state because task set ({set}) was unable to scale in. Reason: The number of protected tasks are more than the desired count of tasks."));
        } else if next.start > 0 {
            self.start(at, next.start.min(self.room.tasks()));
        } else {
            self.accept(at);
        }
        self.release_ailing(at, desired, next.start);
    }

    fn candidate(&self, at: usize) -> Candidate<'a> {
        let task = self.live[at].task;
        let records = self.records;
        Candidate {
            node: records.host(task).map(InstanceState::node),
            // A machine may have come back in another zone since.
            zone: task.availability_zone.as_deref(),
            running: task.last_status == TaskStatus::Running,
            created_at: task.created_at,
            freed: (task.reservation.cpu, task.reservation.memory_mib),
        }
    }

    /// Says once that something cannot be done, and again when it stays so.
    fn refuse(&mut self, of: usize, message: &str) {
        let (now, again) = (self.now, self.limits.refused_again);
        let Some(source) = self.record.source_mut(of) else { return };
        if source.refused.as_ref().is_some_and(|(at, said)| said == message && at.plus(again) > now) {
            return;
        }
        source.refused = Some((now, message.to_owned()));
        self.say_of(of, message);
    }

    /// Nothing is refused any more.
    fn accept(&mut self, of: usize) {
        if let Some(source) = self.record.source_mut(of) {
            source.refused = None;
        }
    }

    pub(super) fn source(&self, at: usize) -> Option<&DeploymentRecord> {
        self.record.sources().nth(at)
    }

    pub(super) fn start(&mut self, of: usize, count: usize) {
        if self.changed.iter().any(|task| !self.cluster.tasks.contains_key(&task.id)) {
            // Places are sought in the state before this step: those that it has taken are seen by the next one.
            return;
        }
        if let Some(at) = self.throttled(of) {
            return self.look_again_at(at);
        }
        let count = count.min(self.launches_left(of));
        if count == 0 {
            return;
        }
        let Some(source) = self.source(of).cloned() else { return };
        let (records, cluster) = (self.records, self.cluster);
        match launch(self.scope, records, cluster, &self.record, &source) {
            Err(why) => self.refuse(of, &why),
            Ok((launch, request, capacity)) => {
                let existing = |provider: &str| {
                    let mine = |it: &&Live<'_>| it.is_new(of) && it.task.capacity_provider.as_deref() == Some(provider);
                    self.live.iter().filter(|it| it.wanted).filter(mine).count()
                };
                let order = capacity.order(existing, count);
                let means = Means { random: self.random, quotas: self.quotas };
                let placed = place_tasks(records, cluster, &launch, &request, &order, means);
                self.make(of, &launch, placed.spots);
                match placed.unplaced.first() {
                    None => self.accept(of),
                    Some(why) => self.refuse(of, &unplaced(why)),
                }
            }
        }
    }

    /// How many tasks may still be started now; says so when there are none left.
    fn launches_left(&mut self, of: usize) -> usize {
        let most = self.quotas.service_task_launches_per_minute;
        if most == 0 {
            return usize::MAX;
        }
        let index = &self.cluster.index.started_by;
        let ids = self.record.sources().filter_map(|source| index.get(&source.id)).flatten();
        let launched = ids.filter_map(|id| self.cluster.tasks.get(id)).map(|task| task.created_at);
        let recent: Vec<Timestamp> = launched.filter(|at| at.plus(LAUNCH_WINDOW) > self.now).collect();
        let left = most.saturating_sub(recent.len());
        if left == 0 {
            self.refuse(of, "operations are being throttled. Will try again later.");
            self.look_again_at(recent.into_iter().min().map_or(self.now, |first| first).plus(LAUNCH_WINDOW));
        }
        left
    }

    /// Whether a deployment has failed and starts nothing any more.
    pub(super) fn has_failed(&self, at: usize) -> bool {
        self.source(at).is_some_and(|it| it.rollout_state == DeploymentRolloutState::Failed)
    }

    /// Until when no task is started: a while after failures, for good in a failed deployment.
    fn throttled(&self, of: usize) -> Option<Timestamp> {
        if self.has_failed(of) {
            return Some(self.now.plus(self.limits.steady_again));
        }
        self.source(of)?.retry_at.filter(|at| *at > self.now)
    }

    /// New tasks on these instances.
    fn make(&mut self, of: usize, launch: &Launch<'_>, on: Vec<Spot<'_>>) {
        let before = self.changed.len();
        for spot in on {
            let task = launch.record(self.cluster, spot, self.now, self.random);
            if !self.room.take(&task) {
                // It is for the next step, which comes at once after this one.
                break;
            }
            self.changed.push(task);
        }
        let started: Vec<Id> = self.changed[before..].iter().map(|task| task.id).collect();
        for started in started.chunks(NAMED_AT_ONCE) {
            let named: String = started.iter().map(|id| format!(" (task {id})")).collect();
            self.say_of(of, &format!("has started {} tasks:{named}.", started.len()));
        }
    }

    fn daemon(&mut self) {
        let Some(primary) = self.record.deployments.first().cloned() else { return };
        let (records, cluster) = (self.records, self.cluster);
        let (launch, request, _) = match launch(self.scope, records, cluster, &self.record, &primary) {
            Ok(found) => found,
            Err(why) => return self.refuse(0, &why),
        };
        let instances: Vec<&InstanceState> =
            candidates(cluster, None).into_iter().filter(|instance| may_host(instance, &request)).collect();
        self.record.desired_count = i32::try_from(instances.len()).unwrap_or(i32::MAX);
        let wanted_on: BTreeSet<Id> = instances.iter().map(|it| it.record.id).collect();
        let hosts = |task: &TaskRecord| task.container_instance.is_some_and(|id| wanted_on.contains(&id));
        // What may not stay goes at once; the rest as the deployment's floor allows.
        let mut stops = self.which(|it| !hosts(it.task));
        self.note_violations(&stops);
        let bounds = Bounds::of(instances.len(), self.record.settings.deployment_configuration.as_ref());
        let healthy = self.which(|it| it.healthy && hosts(it.task)).len();
        stops.extend(self.which(|it| self.is_dispensable(it, 0, bounds.floor) && hosts(it.task)));
        let old = self.which(|it| !it.is_new(0) && it.healthy && hosts(it.task));
        stops.extend(old.into_iter().take(healthy.saturating_sub(bounds.floor)));
        self.stop(stops);
        if let Some(at) = self.throttled(0) {
            return self.look_again_at(at);
        }
        let served: BTreeSet<Id> =
            self.live.iter().filter(|it| it.there).filter_map(|it| it.task.container_instance).collect();
        let bare = instances.into_iter().filter(|instance| !served.contains(&instance.record.id));
        let bare: Vec<&InstanceState> = bare.take(self.room.tasks()).collect();
        let left = if bare.is_empty() { 0 } else { self.launches_left(0) };
        if left == 0 && !bare.is_empty() {
            return;
        }
        let (mut made, mut refused) = (Vec::new(), None);
        for instance in bare.into_iter().take(left) {
            let mut placement = place(&[instance.node()], &request, 1, self.random);
            match placement.assignments.pop() {
                Some(assignment) => made.push(Spot::on(&launch, instance, assignment.gpus, None)),
                None => {
                    let why = placement.refused.into_iter().map(|refused| (instance, refused.refusals));
                    refused = Some(unplaced(&Unplaced::Instances(why.collect())));
                }
            }
        }
        self.make(0, &launch, made);
        match refused {
            Some(why) => self.refuse(0, &why),
            None => self.accept(0),
        }
    }
}

impl Work<'_> {
    /// Says which tasks of a daemon have to go though their container instances take tasks.
    fn note_violations(&mut self, stops: &[usize]) {
        let violating = stops.iter().filter(|at| !self.live[**at].leaves);
        let violating: String = violating.map(|at| format!(" (task {})", self.live[*at].task.id)).collect();
        if !violating.is_empty() {
            self.say(&format!("has tasks that no longer meet the placement constraints of the service:{violating}."));
        }
    }
}

impl std::fmt::Debug for Work<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work").field("scope", self.scope).field("service", &self.record.name).finish_non_exhaustive()
    }
}

/// Whether the daemon belongs on the instance, be there room now or not.
pub(crate) fn may_host(instance: &InstanceState, request: &Request) -> bool {
    let bars = |refusal: &Refusal| matches!(refusal, Refusal::Inactive | Refusal::Attribute(_) | Refusal::MemberOf);
    !refusals(instance.node(), request).iter().any(bars)
}
