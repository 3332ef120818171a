//! One step of one service: what its tasks are, and what is to be done about it.

use std::sync::Arc;

use longshore_api::ecs::{DeploymentControllerType, DeploymentRolloutState, HealthStatus, TaskStopCode};
use longshore_model::records::{ContainerInstanceStatus, DesiredStatus, TaskRecord, TaskStatus};
use longshore_model::service::{Bounds, Counts, DeploymentRecord, ServiceRecord, ServiceStatus, step, throttle};
use longshore_model::task::{self, StopCause};
use longshore_model::{Id, Scope};
use longshore_scheduler::{Candidate, Refusal, Request, place, refusals, scale_in};
use longshore_seams::{Random, Timestamp};

use super::ServiceSchedulerLimits;
use super::launch::{launch, strategies, unplaced};
use crate::operations::tasks::launch::Launch;
use crate::state::{ClusterState, InstanceState, ScopeState};

/// Most tasks that one step starts, and most that it stops: a transaction has its limits.
const AT_ONCE: usize = 40;

/// A task that has not ended.
struct Live<'a> {
    task: &'a Arc<TaskRecord>,
    /// Of the PRIMARY deployment, and where it may stay.
    new: bool,
    /// It is to run.
    wanted: bool,
    healthy: bool,
}

/// A step in the making.
pub(super) struct Work<'a> {
    scope: &'a Scope,
    records: &'a ScopeState,
    cluster: &'a ClusterState,
    now: Timestamp,
    random: &'a dyn Random,
    limits: ServiceSchedulerLimits,
    live: Vec<Live<'a>>,
    /// The service as it becomes.
    pub record: ServiceRecord,
    /// Tasks that are made or changed.
    pub changed: Vec<TaskRecord>,
    /// When to look again, though nothing may have happened.
    pub due: Option<Timestamp>,
}

impl<'a> Work<'a> {
    pub(super) fn new(
        scope: &'a Scope,
        records: &'a ScopeState,
        cluster: &'a ClusterState,
        service: &ServiceRecord,
        now: Timestamp,
        random: &'a dyn Random,
        limits: ServiceSchedulerLimits,
    ) -> Self {
        let record = service.clone();
        let (live, changed) = (Vec::new(), Vec::new());
        Self { scope, records, cluster, now, random, limits, live, record, changed, due: None }
    }

    pub(super) fn run(&mut self) {
        if self.record.status == ServiceStatus::Inactive {
            return;
        }
        self.look();
        if self.record.status == ServiceStatus::Draining {
            return self.drain();
        }
        if self.record.controller() == DeploymentControllerType::External {
            return;
        }
        self.count_failures();
        if self.break_circuit() {
            return;
        }
        self.replace_unhealthy();
        if self.record.is_daemon() {
            self.daemon();
        } else {
            self.replica();
        }
        self.retire();
        self.settle();
    }

    fn look_again_at(&mut self, at: Timestamp) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    fn say(&mut self, message: &str) {
        let id = self.random.uuid();
        self.record.say(id, self.now, message);
    }

    /// The tasks of all deployments.
    fn look(&mut self) {
        let mut settling = None;
        for (at, deployment) in self.record.deployments.iter().enumerate() {
            let ids = self.cluster.index.started_by.get(&deployment.id).into_iter().flatten();
            for task in ids.filter_map(|id| self.cluster.tasks.get(id)) {
                if task.last_status == TaskStatus::Stopped {
                    continue;
                }
                let wanted = task.desired_status == DesiredStatus::Running;
                let new = at == 0 && !self.is_draining(task);
                let (healthy, settles) = self.health(task);
                settling = settling.into_iter().chain(settles).min();
                self.live.push(Live { task, new, wanted, healthy: wanted && healthy });
            }
        }
        if let Some(at) = settling {
            self.look_again_at(at);
        }
    }

    fn is_draining(&self, task: &TaskRecord) -> bool {
        let instance = task.container_instance.and_then(|id| self.cluster.instances.get(&id));
        instance.is_none_or(|instance| instance.record.status != ContainerInstanceStatus::Active)
    }

    /// Whether a task counts as healthy, and when it will if nothing happens.
    fn health(&self, task: &TaskRecord) -> (bool, Option<Timestamp>) {
        if task.last_status != TaskStatus::Running {
            return (false, None);
        }
        if is_checked(task) {
            return (task.health == Some(HealthStatus::Healthy), None);
        }
        let settled = task.times.started.unwrap_or(task.created_at).plus(self.limits.settle);
        if settled <= self.now { (true, None) } else { (false, Some(settled)) }
    }

    /// Counts the PRIMARY deployment's tasks that ended since the last look: those that never ran throttle.
    fn count_failures(&mut self) {
        let Some(primary) = self.record.deployments.first_mut() else { return };
        let ids = self.cluster.index.started_by.get(&primary.id).into_iter().flatten();
        let mut ended: Vec<(Timestamp, Id, bool)> = ids
            .filter_map(|id| self.cluster.tasks.get(id))
            .filter_map(|task| {
                let key = (task.times.stopped?, task.id);
                (primary.counted.is_none_or(|counted| key > counted)).then(|| (key.0, key.1, has_failed(task)))
            })
            .collect();
        ended.sort_unstable();
        let before = throttle(primary.failures_in_a_row);
        for (at, id, failed) in ended {
            primary.counted = Some((at, id));
            primary.failed_tasks += i32::from(failed);
            primary.failures_in_a_row = if failed { primary.failures_in_a_row + 1 } else { 0 };
            primary.retry_at = throttle(primary.failures_in_a_row).map(|wait| at.plus(wait));
        }
        let runs = self.live.iter().any(|it| it.new && it.task.last_status == TaskStatus::Running);
        if runs && primary.failures_in_a_row > 0 {
            (primary.failures_in_a_row, primary.retry_at) = (0, None);
        }
        if before.is_none() && throttle(primary.failures_in_a_row).is_some() {
            self.say("is unable to consistently start tasks successfully.");
        }
    }

    /// Fails a deployment whose tasks keep failing, if the service has a circuit breaker, and goes
    /// back to the last one that was completed. Answers whether the PRIMARY deployment is another.
    fn break_circuit(&mut self) -> bool {
        let configuration = self.record.settings.deployment_configuration.as_ref();
        let Some(breaker) = configuration.and_then(|it| it.deployment_circuit_breaker.clone()) else { return false };
        let threshold = failure_threshold(self.record.desired_count);
        let now = self.now;
        let Some(primary) = self.record.deployments.first_mut() else { return false };
        let fails = breaker.enable == Some(true)
            && primary.rollout_state == DeploymentRolloutState::InProgress
            && primary.failed_tasks >= threshold;
        if !fails {
            return false;
        }
        primary.rollout_state = DeploymentRolloutState::Failed;
        primary.rollout_reason = "ECS deployment circuit breaker: tasks failed to start.".to_owned();
        primary.updated_at = now;
        let id = primary.id.clone();
        self.say(&format!("(deployment {id}) deployment failed: tasks failed to start."));
        let good = self.record.last_completed.as_deref().filter(|good| good.id != id).cloned();
        match good.filter(|_| breaker.rollback == Some(true)) {
            Some(good) => self.roll_back(good),
            None => false,
        }
    }

    fn roll_back(&mut self, good: DeploymentRecord) -> bool {
        let deployments = &mut self.record.deployments;
        // Its tasks may run still: then nothing has to be started.
        let mut back = match deployments.iter().position(|it| it.id == good.id) {
            Some(at) => deployments.remove(at),
            None => good,
        };
        back.rollout_state = DeploymentRolloutState::InProgress;
        back.rollout_reason = format!("ECS deployment circuit breaker: rolling back to deploymentId {}.", back.id);
        back.updated_at = self.now;
        (back.failed_tasks, back.failures_in_a_row, back.retry_at) = (0, 0, None);
        let message = format!("rolling back to (deployment {}).", back.id);
        deployments.insert(0, back);
        self.say(&message);
        true
    }

    fn replace_unhealthy(&mut self) {
        let now = self.now;
        let grace = self.record.settings.health_check_grace_period_seconds.unwrap_or(0);
        let grace = std::time::Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        let is_bad = |it: &Live<'_>| {
            let started = it.task.times.started.unwrap_or(now);
            it.wanted
                && it.task.last_status == TaskStatus::Running
                && it.task.health == Some(HealthStatus::Unhealthy)
                && started.plus(grace) <= now
        };
        let bad: Vec<usize> = (0..self.live.len()).filter(|at| is_bad(&self.live[*at])).take(AT_ONCE).collect();
        for at in bad {
            let id = self.live[at].task.id;
            self.stop_one(at, &StopCause::unhealthy());
            self.say(&format!("(task {id}) failed container health checks."));
        }
    }

    fn stop_one(&mut self, at: usize, cause: &StopCause) {
        let live = &mut self.live[at];
        if let Some(stopped) = task::stop(live.task, cause, self.now) {
            self.changed.push(stopped);
        }
        (live.wanted, live.healthy) = (false, false);
    }

    /// Stops tasks for the scheduler's own reasons.
    fn stop(&mut self, mut which: Vec<usize>) {
        which.truncate(AT_ONCE.saturating_sub(self.changed.len()));
        if which.is_empty() {
            return;
        }
        let mut message = format!("has stopped {} running tasks:", which.len());
        for at in which {
            message.push_str(&format!(" (task {})", self.live[at].task.id));
            let cause = StopCause::service_scheduler(self.live[at].task.started_by.as_deref().unwrap_or(""));
            self.stop_one(at, &cause);
        }
        message.push('.');
        self.say(&message);
    }

    fn which(&self, accepts: impl Fn(&Live<'_>) -> bool) -> Vec<usize> {
        (0..self.live.len()).filter(|at| self.live[*at].wanted && accepts(&self.live[*at])).collect()
    }

    /// Whether stopping an old task takes nothing that keeps the service above `floor`. One that
    /// runs but has not settled may stay until the new tasks alone are enough.
    fn is_dispensable(&self, it: &Live<'_>, floor: usize) -> bool {
        let settling = it.task.last_status == TaskStatus::Running && it.task.health != Some(HealthStatus::Unhealthy);
        let enough = || self.live.iter().filter(|it| it.wanted && it.new && it.healthy).count() >= floor;
        !it.new && !it.healthy && (!settling || enough())
    }

    fn counts(&self, floor: usize) -> Counts {
        let count = |accepts: &dyn Fn(&Live<'_>) -> bool| self.live.iter().filter(|it| accepts(it)).count();
        Counts {
            total: count(&|it| it.task.last_status <= TaskStatus::Running),
            new: count(&|it| it.wanted && it.new),
            old_unhealthy: count(&|it| it.wanted && self.is_dispensable(it, floor)),
            old_healthy: count(&|it| it.wanted && !it.new && it.healthy),
            new_healthy: count(&|it| it.wanted && it.new && it.healthy),
        }
    }

    fn drain(&mut self) {
        let all = self.which(|_| true);
        self.stop(all);
        let runs = self.live.iter().any(|it| it.wanted || it.task.last_status < TaskStatus::Deactivating);
        if !runs {
            self.record.status = ServiceStatus::Inactive;
            self.record.deployments.clear();
        }
    }

    fn replica(&mut self) {
        let desired = usize::try_from(self.record.desired_count).unwrap_or(0);
        let bounds = Bounds::of(desired, self.record.settings.deployment_configuration.as_ref());
        let next = step(desired, bounds, self.counts(bounds.floor));
        let strategies = strategies(&self.record);
        let choose = |work: &Self, among: Vec<usize>, count: usize| -> Vec<usize> {
            let protected = |at: &usize| work.live[*at].task.protected_until.is_some_and(|until| until > work.now);
            let among: Vec<usize> = among.into_iter().filter(|at| !protected(at)).collect();
            let candidates: Vec<Candidate<'_>> = among.iter().map(|at| work.candidate(*at)).collect();
            scale_in(&candidates, &strategies, count).into_iter().map(|chosen| among[chosen]).collect()
        };
        let mut stops = choose(self, self.which(|it| it.new), next.stop_new);
        stops.extend(choose(self, self.which(|it| self.is_dispensable(it, bounds.floor)), next.stop_old_unhealthy));
        stops.extend(choose(self, self.which(|it| !it.new && it.healthy), next.stop_old_healthy));
        self.stop(stops);
        if next.deadlock {
            self.refuse("was unable to stop or start tasks during a deployment because of the service deployment configuration. Update the minimumHealthyPercent or maximumPercent value and try again.");
        } else if next.start > 0 {
            self.start(next.start.min(AT_ONCE));
        } else {
            self.record.refused = None;
        }
    }

    fn candidate(&self, at: usize) -> Candidate<'a> {
        let task = self.live[at].task;
        let cluster = self.cluster;
        Candidate {
            node: task.container_instance.and_then(|id| cluster.instances.get(&id)).map(InstanceState::node),
            running: task.last_status == TaskStatus::Running,
            created_at: task.created_at,
            freed: (task.reservation.cpu, task.reservation.memory_mib),
        }
    }

    /// Says once that something cannot be done, and again when it stays so.
    fn refuse(&mut self, message: &str) {
        let again = self.limits.refused_again;
        let known = self.record.refused.as_ref();
        if known.is_some_and(|(at, said)| said == message && at.plus(again) > self.now) {
            return;
        }
        self.record.refused = Some((self.now, message.to_owned()));
        self.say(message);
    }

    fn start(&mut self, count: usize) {
        if let Some(at) = self.throttled() {
            return self.look_again_at(at);
        }
        let Some(primary) = self.record.deployments.first().cloned() else { return };
        let (records, cluster) = (self.records, self.cluster);
        match launch(records, cluster, &self.record, &primary) {
            Err(why) => self.refuse(&why),
            Ok((launch, request)) => {
                let instances = active(cluster);
                let nodes: Vec<_> = instances.iter().map(|instance| instance.node()).collect();
                let placement = place(&nodes, &request, count, self.random);
                let made = placement.assignments.iter().map(|it| (instances[it.node], it.gpus.clone())).collect();
                let placed_all = placement.assignments.len() == count;
                self.make(&launch, made);
                if placed_all {
                    self.record.refused = None;
                } else {
                    self.refuse(&unplaced(&instances, &placement));
                }
            }
        }
    }

    /// Until when no task is started: a while after failures, for good in a failed deployment.
    fn throttled(&self) -> Option<Timestamp> {
        let primary = self.record.deployments.first()?;
        if primary.rollout_state == DeploymentRolloutState::Failed {
            return Some(self.now.plus(self.limits.steady_again));
        }
        self.record.deployments.first()?.retry_at.filter(|at| *at > self.now)
    }

    /// New tasks on these instances.
    fn make(&mut self, launch: &Launch<'_>, on: Vec<(&InstanceState, Vec<String>)>) {
        if on.is_empty() {
            return;
        }
        let mut message = format!("has started {} tasks:", on.len());
        for (instance, gpus) in on {
            let task = launch.record(self.cluster, instance, gpus, self.now, self.random);
            message.push_str(&format!(" (task {})", task.id));
            self.changed.push(task);
        }
        message.push('.');
        self.say(&message);
    }

    fn daemon(&mut self) {
        let Some(primary) = self.record.deployments.first().cloned() else { return };
        let (records, cluster) = (self.records, self.cluster);
        let (launch, request) = match launch(records, cluster, &self.record, &primary) {
            Ok(found) => found,
            Err(why) => return self.refuse(&why),
        };
        let instances: Vec<&InstanceState> =
            active(cluster).into_iter().filter(|instance| may_host(instance, &request)).collect();
        self.record.desired_count = i32::try_from(instances.len()).unwrap_or(i32::MAX);
        let hosts = |task: &TaskRecord| instances.iter().any(|it| Some(it.record.id) == task.container_instance);
        // What may not stay goes at once; the rest as the deployment's floor allows.
        let mut stops = self.which(|it| !hosts(it.task));
        let bounds = Bounds::of(instances.len(), self.record.settings.deployment_configuration.as_ref());
        let healthy = self.which(|it| it.healthy && hosts(it.task)).len();
        stops.extend(self.which(|it| self.is_dispensable(it, bounds.floor) && hosts(it.task)));
        let old = self.which(|it| !it.new && it.healthy && hosts(it.task));
        stops.extend(old.into_iter().take(healthy.saturating_sub(bounds.floor)));
        self.stop(stops);
        if let Some(at) = self.throttled() {
            return self.look_again_at(at);
        }
        let bare = instances.into_iter().filter(|instance| {
            let on = |it: &Live<'_>| it.task.container_instance == Some(instance.record.id);
            !self.live.iter().any(|it| on(it) && it.task.last_status <= TaskStatus::Running)
        });
        let (mut made, mut refused) = (Vec::new(), None);
        for instance in bare.take(AT_ONCE) {
            let mut placement = place(&[instance.node()], &request, 1, self.random);
            match placement.assignments.pop() {
                Some(assignment) => made.push((instance, assignment.gpus)),
                None => refused = Some(unplaced(&[instance], &placement)),
            }
        }
        self.make(&launch, made);
        match refused {
            Some(why) => self.refuse(&why),
            None => self.record.refused = None,
        }
    }

    /// Deployments of the past go when none of their tasks runs any more.
    fn retire(&mut self) {
        let live = &self.live;
        let mut first = true;
        self.record.deployments.retain(|deployment| {
            std::mem::take(&mut first)
                || live.iter().any(|it| {
                    it.task.started_by.as_deref() == Some(&deployment.id) && it.task.last_status <= TaskStatus::Running
                })
        });
        let (now, desired) = (self.now, self.record.desired_count);
        for (at, deployment) in self.record.deployments.iter_mut().enumerate() {
            let mine = |it: &&Live<'_>| it.wanted && it.task.started_by.as_deref() == Some(&deployment.id);
            let old = i32::try_from(live.iter().filter(mine).count()).unwrap_or(i32::MAX);
            let wanted = if at == 0 { desired } else { old };
            if deployment.desired_count != wanted {
                (deployment.desired_count, deployment.updated_at) = (wanted, now);
            }
        }
    }

    /// Says that the service is steady, or notes that it is not.
    fn settle(&mut self) {
        let desired = usize::try_from(self.record.desired_count).unwrap_or(0);
        let runs = |it: &&Live<'_>| {
            let fit = !is_checked(it.task) || it.task.health == Some(HealthStatus::Healthy);
            it.wanted && it.new && it.task.last_status == TaskStatus::Running && fit
        };
        let running = self.live.iter().filter(runs).count();
        let others = self.live.iter().filter(|it| it.task.last_status <= TaskStatus::Running).count() - running;
        let steady = self.record.deployments.len() == 1 && running == desired && others == 0 && self.changed.is_empty();
        if !steady {
            self.record.steady_at = None;
            return;
        }
        let (now, again) = (self.now, self.limits.steady_again);
        let primary = &mut self.record.deployments[0];
        if primary.rollout_state == DeploymentRolloutState::InProgress {
            primary.rollout_state = DeploymentRolloutState::Completed;
            primary.rollout_reason = format!("ECS deployment {} completed.", primary.id);
            primary.updated_at = now;
            self.record.last_completed = Some(Box::new(primary.clone()));
            let message = format!("(deployment {}) deployment completed.", self.record.deployments[0].id);
            self.say(&message);
        }
        if self.record.steady_at.is_none_or(|said| said.plus(again) <= now) {
            self.record.steady_at = Some(now);
            self.say("has reached a steady state.");
        }
    }
}

impl std::fmt::Debug for Work<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work").field("scope", self.scope).field("service", &self.record.name).finish_non_exhaustive()
    }
}

/// Failed tasks at which a circuit breaker acts: half of the wanted ones, at least 3 and at most 200.
fn failure_threshold(desired: i32) -> i32 {
    desired.saturating_add(1).div_euclid(2).clamp(3, 200)
}

/// Whether an essential container has a health check.
fn is_checked(task: &TaskRecord) -> bool {
    task.containers.iter().any(|container| container.essential && container.health.is_some())
}

/// Whether a task ended without ever having run, and not because somebody wanted so.
fn has_failed(task: &TaskRecord) -> bool {
    let wanted = matches!(task.stop_code, Some(TaskStopCode::UserInitiated | TaskStopCode::ServiceSchedulerInitiated));
    task.times.started.is_none() && !wanted
}

fn active(cluster: &ClusterState) -> Vec<&InstanceState> {
    let active = |it: &&InstanceState| it.record.status == ContainerInstanceStatus::Active;
    cluster.instances.values().filter(active).collect()
}

/// Whether the daemon belongs on the instance, be there room now or not.
fn may_host(instance: &InstanceState, request: &Request) -> bool {
    let bars = |refusal: &Refusal| matches!(refusal, Refusal::Inactive | Refusal::Attribute(_) | Refusal::MemberOf);
    !refusals(instance.node(), request).iter().any(bars)
}
