//! What must hold at every moment, whatever happens. Nothing here asks the code under test how it counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_api::ecs::{HealthStatus, TaskStopCode};
use longshore_control::changes::Change;
use longshore_control::engine::CommitObserver;
use longshore_control::state::State;
use longshore_model::records::{
    ContainerInstanceRecord, ContainerInstanceStatus, DesiredStatus, TaskRecord, TaskStatus,
};
use longshore_model::service::{ServiceDeploymentRecord, ServiceRecord, ServiceStatus};
use longshore_model::{Id, Scope};

use crate::executor::{Executor, locked};
use crate::network::{ACCOUNT, REGION};
use crate::rollouts;
use crate::signals;
use crate::speaker::Speaker;
use crate::trace::Trace;
use crate::waiting;

/// Something that must never be was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which rule, for telling one violation from another.
    pub rule: &'static str,
    /// When.
    pub at: Duration,
    /// What was seen.
    pub what: String,
}

/// What was acknowledged to the operator, and so must never be lost.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promises {
    pub tasks: BTreeSet<Id>,
    pub stopped: BTreeSet<Id>,
    /// Tasks whose capacity was taken back.
    pub reclaimed: BTreeSet<Id>,
    pub services: BTreeSet<String>,
    pub deleted: BTreeSet<String>,
    pub definitions: BTreeSet<(String, u32)>,
    /// Hooks that were resolved.
    pub hooks: BTreeSet<String>,
    /// Service deployments that were to be rolled back.
    pub rolled_back: BTreeSet<String>,
    /// Task sets that were made.
    pub task_sets: BTreeSet<(String, String)>,
    /// Task sets that were deleted.
    pub retired: BTreeSet<(String, String)>,
    /// By service: the acknowledged number of tasks, then those asked for since.
    pub desired: BTreeMap<String, Vec<i32>>,
}

/// The control plane as its commits have shown it.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub tasks: BTreeMap<Id, Arc<TaskRecord>>,
    pub services: BTreeMap<String, Arc<ServiceRecord>>,
    pub instances: BTreeMap<Id, Arc<ContainerInstanceRecord>>,
    /// Service deployments by id.
    pub deployments: BTreeMap<String, Arc<ServiceDeploymentRecord>>,
    /// When each task was first seen RUNNING, and each service deployment at all; by the world's time.
    pub runs_since: BTreeMap<Id, Duration>,
    pub seen_since: BTreeMap<String, Duration>,
    /// When a service was last seen to move tasks to another zone; by the world's time.
    pub rebalanced: Option<Duration>,
    /// When a task that had waited for capacity was last placed; by the world's time.
    pub placed: Option<Duration>,
    archived: BTreeSet<Id>,
    definitions: BTreeSet<(String, u32)>,
}

/// The checks. Clones share what they know.
#[derive(Clone, Debug)]
pub(crate) struct Checks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    executor: Executor,
    trace: Trace,
    speaker: Speaker,
    /// The server's clock was set: its times are not the world's.
    server_clock_set: AtomicBool,
    model: Mutex<Model>,
    promises: Mutex<Promises>,
    violation: Mutex<Option<Violation>>,
}

fn is_live(task: &TaskRecord) -> bool {
    task.last_status != TaskStatus::Stopped
}

fn service_of(task: &TaskRecord) -> Option<&str> {
    task.group.strip_prefix("service:")
}

impl Checks {
    pub fn new(executor: Executor, trace: Trace, speaker: Speaker) -> Self {
        Self(Arc::new(Inner {
            executor,
            trace,
            speaker,
            server_clock_set: AtomicBool::new(false),
            model: Mutex::default(),
            promises: Mutex::default(),
            violation: Mutex::default(),
        }))
    }

    /// The server's clock was set.
    pub fn note_server_clock(&self) {
        self.0.server_clock_set.store(true, Ordering::Relaxed);
    }

    /// Notes a violation; the first one stands.
    pub fn violate(&self, rule: &'static str, what: String) {
        let at = self.0.executor.now();
        self.0.trace.say(&self.0.executor, format!("VIOLATION of {rule}: {what}"));
        locked(&self.0.violation).get_or_insert(Violation { rule, at, what });
    }

    pub fn violation(&self) -> Option<Violation> {
        locked(&self.0.violation).clone()
    }

    pub fn promise(&self, note: impl FnOnce(&mut Promises)) {
        note(&mut locked(&self.0.promises));
    }

    pub fn look<T>(&self, look: impl FnOnce(&Model) -> T) -> T {
        look(&locked(&self.0.model))
    }

    /// A server has loaded what is durable: nothing that was acknowledged may be missing.
    pub fn reload(&self, state: &State) {
        let scope = Scope::new(ACCOUNT, REGION);
        let records = state.scope(&scope);
        let now = self.0.executor.now();
        {
            let mut model = locked(&self.0.model);
            let before = std::mem::take(&mut *model);
            *model = Model {
                archived: before.archived,
                runs_since: before.runs_since,
                seen_since: before.seen_since,
                rebalanced: before.rebalanced,
                placed: before.placed,
                ..Model::default()
            };
            for cluster in records.clusters.values() {
                model.tasks.extend(cluster.tasks.iter().map(|(id, task)| (*id, task.clone())));
                // Nobody saw the commits that a crash let through.
                for task in cluster.tasks.values().filter(|task| task.last_status == TaskStatus::Running) {
                    model.runs_since.entry(task.id).or_insert(Duration::ZERO);
                }
                model.services.extend(cluster.services.iter().map(|(name, it)| (name.clone(), it.clone())));
                model.instances.extend(cluster.instances.iter().map(|(id, it)| (*id, it.record.clone())));
                let deployments = cluster.service_history.values().flat_map(|history| history.deployments.values());
                for it in deployments {
                    model.seen_since.entry(it.id.clone()).or_insert(now);
                    model.deployments.insert(it.id.clone(), it.clone());
                }
            }
            for (name, family) in &records.families {
                model.definitions.extend(family.revisions.keys().map(|revision| (name.clone(), *revision)));
            }
        }
        self.check_promises();
    }

    /// No acknowledged call is lost.
    pub fn check_promises(&self) {
        let promises = locked(&self.0.promises).clone();
        let broken = self.look(|model| {
            let known = |id: &Id| model.tasks.contains_key(id) || model.archived.contains(id);
            let lost = promises.tasks.iter().find(|id| !known(id)).map(|id| format!("task {id} of RunTask"));
            let unstopped = promises
                .stopped
                .iter()
                .find(|id| model.tasks.get(id).is_some_and(|task| task.desired_status == DesiredStatus::Running));
            let unstopped = unstopped.map(|id| format!("StopTask of {id}"));
            let kept = promises.reclaimed.iter().find(|id| {
                model.tasks.get(id).is_some_and(|task| task.stop_code != Some(TaskStopCode::TerminationNotice))
            });
            let kept = kept.map(|id| format!("InterruptFargateTasks of {id}"));
            let gone = promises.services.iter().find(|name| !model.services.contains_key(*name));
            let gone = gone.map(|name| format!("CreateService of {name}"));
            let undeleted = promises
                .deleted
                .iter()
                .find(|name| model.services.get(*name).is_some_and(|service| service.status == ServiceStatus::Active));
            let undeleted = undeleted.map(|name| format!("DeleteService of {name}"));
            let undefined = promises.definitions.iter().find(|it| !model.definitions.contains(it));
            let undefined =
                undefined.map(|(family, revision)| format!("RegisterTaskDefinition of {family}:{revision}"));
            // An update that came after the deletion was refused.
            let counts = |it: &ServiceRecord| !it.is_daemon() && it.status == ServiceStatus::Active;
            let changed = promises.desired.iter().find(|(name, allowed)| {
                model.services.get(*name).is_some_and(|it| counts(it) && !allowed.contains(&it.desired_count))
            });
            let changed = changed.map(|(name, allowed)| format!("UpdateService of {name}: {allowed:?} tasks"));
            let rollout = rollouts::broken_promise(model, &promises);
            lost.or(unstopped).or(kept).or(gone).or(undeleted).or(undefined).or(changed).or(rollout)
        });
        if let Some(what) = broken {
            self.violate("acknowledged-call-lost", what);
        }
    }

    fn take(&self, changes: &[Change]) {
        let mut before: BTreeMap<Id, Option<Arc<TaskRecord>>> = BTreeMap::new();
        let mut moved = Vec::new();
        let now = self.0.executor.now();
        {
            let mut model = locked(&self.0.model);
            for change in changes {
                match change {
                    Change::PutTask(_, task) => {
                        if task.last_status == TaskStatus::Running {
                            model.runs_since.entry(task.id).or_insert(now);
                        }
                        if model.tasks.get(&task.id).is_some_and(|old| old.waiting.is_some()) && task.waiting.is_none()
                        {
                            model.placed = Some(now);
                        }
                        let old = model.tasks.insert(task.id, task.clone());
                        before.entry(task.id).or_insert(old);
                    }
                    Change::DeleteTask(_, _, id) => {
                        model.tasks.remove(id);
                        model.archived.insert(*id);
                    }
                    Change::PutService(_, service) => {
                        if service.rebalancing {
                            model.rebalanced = Some(now);
                        }
                        model.services.insert(service.name.clone(), service.clone());
                    }
                    Change::PutServiceDeployment(_, deployment) => {
                        model.seen_since.entry(deployment.id.clone()).or_insert(now);
                        let old = model.deployments.insert(deployment.id.clone(), deployment.clone());
                        moved.extend(old.map(|old| (old, deployment.clone())));
                    }
                    Change::DeleteServiceDeployment(_, _, _, id) => {
                        model.deployments.remove(id);
                    }
                    Change::PutContainerInstance(_, instance) => {
                        model.instances.insert(instance.id, instance.clone());
                    }
                    Change::DeleteContainerInstance(_, _, id) => {
                        model.instances.remove(id);
                    }
                    Change::PutTaskDefinition(_, record) => {
                        model.definitions.insert((record.family.clone(), record.revision));
                    }
                    _ => {}
                }
            }
        }
        let after: Vec<(Option<Arc<TaskRecord>>, Arc<TaskRecord>)> = self.look(|model| {
            before.into_iter().filter_map(|(id, old)| Some((old, model.tasks.get(&id)?.clone()))).collect()
        });
        for (old, new) in &after {
            self.tell(old.as_deref(), new);
            self.check_task(old.as_deref(), new);
        }
        self.check_services(&after);
        for (old, new) in &moved {
            if let Some(what) = rollouts::wrong_move(old, new) {
                self.violate("deployment-out-of-order", what);
            }
            if let Some(what) = rollouts::made_up(self.0.speaker.functions(), new) {
                self.violate("hook-made-up", what);
            }
            if let Some((rule, what)) = signals::wrong_outcome(&self.0.speaker, old, new, now) {
                self.violate(rule, what);
            }
        }
        for change in changes {
            if let Change::PutService(_, service) = change
                && let Some(event) = service.events.first().filter(|event| event.created_at.is_some())
            {
                let key = event.id.clone().unwrap_or_default();
                self.0.trace.once(&self.0.executor, key, event.message.clone().unwrap_or_default());
            }
        }
    }

    fn tell(&self, old: Option<&TaskRecord>, new: &TaskRecord) {
        let words = |task: &TaskRecord| format!("{}/{}", task.last_status.as_str(), task.desired_status.as_str());
        let status = words(new);
        if old.is_some_and(|old| words(old) == status) {
            return;
        }
        let machine = self.look(|model| {
            let instance = new.container_instance.and_then(|id| model.instances.get(&id));
            instance.and_then(|instance| instance.grant.clone()).unwrap_or_default()
        });
        let reason = new.stopped_reason.as_deref().unwrap_or("");
        let id = &new.id.to_string()[..6];
        let definition = format!("{}:{}", new.family, new.revision);
        self.0.trace.say(&self.0.executor, format!("task {id} {definition} on {machine}: {status} {reason}"));
    }

    fn check_task(&self, old: Option<&TaskRecord>, new: &TaskRecord) {
        let id = new.id;
        if !is_live(new) {
            if new.stop_code.is_none() || new.stopped_reason.as_deref().unwrap_or("").is_empty() {
                self.violate("stopped-without-reason", format!("task {id} of {}", new.group));
            }
            let taken = new.containers.iter().filter_map(|it| it.reason.as_deref());
            if let Some(reason) = taken.into_iter().find(|reason| reason.contains("already in use")) {
                self.violate("port-taken-twice", format!("task {id}: {reason}"));
            }
        }
        if let Some((rule, what)) = self.look(|model| waiting::wrong_state(model, old, new)) {
            self.violate(rule, what);
        }
        if old.is_none_or(|old| old.container_instance != new.container_instance) {
            self.check_placement(new);
        }
        let Some(old) = old else { return };
        let clock_set = self.0.server_clock_set.load(Ordering::Relaxed);
        let now = self.0.executor.now();
        let wrong = self
            .look(|model| signals::wrong_replacement(model, &self.0.speaker, old, new, (!clock_set).then_some(now)));
        if let Some((rule, what)) = wrong {
            self.violate(rule, what);
        }
        if new.last_status < old.last_status {
            let (from, to) = (old.last_status.as_str(), new.last_status.as_str());
            self.violate("task-went-back", format!("task {id} went from {from} to {to}"));
        }
        if old.desired_status == DesiredStatus::Stopped && new.desired_status == DesiredStatus::Running {
            self.violate("task-went-back", format!("task {id} was to stop and is to run again"));
        }
    }

    /// A new task takes only what its container instance has left.
    fn check_placement(&self, new: &TaskRecord) {
        let Some(instance) = new.container_instance else { return };
        let wrong = self.look(|model| {
            let mine = || model.tasks.values().filter(|it| it.container_instance == Some(instance) && is_live(it));
            let mut ports = BTreeSet::new();
            if let Some(port) = mine().flat_map(|task| &task.reservation.tcp_ports).find(|port| !ports.insert(**port)) {
                return Some(("port-taken-twice", format!("port {port} of container instance {instance}")));
            }
            let record = model.instances.get(&instance)?;
            let total = |name: &str| {
                let found = record.registered_resources.iter().find(|it| it.name.as_deref() == Some(name));
                i64::from(found.and_then(|it| it.integer_value).unwrap_or(0))
            };
            let (cpu, memory) = mine()
                .fold((0, 0), |(cpu, memory), task| (cpu + task.reservation.cpu, memory + task.reservation.memory_mib));
            let fits = cpu <= total("CPU") && memory <= total("MEMORY");
            (!fits).then(|| ("oversubscribed", format!("container instance {instance}: {cpu} CPU units, {memory} MiB")))
        });
        if let Some((rule, what)) = wrong {
            self.violate(rule, what);
        }
    }

    /// A commit that starts tasks of a service stays below its cap; one that stops healthy ones, above its floor.
    fn check_services(&self, after: &[(Option<Arc<TaskRecord>>, Arc<TaskRecord>)]) {
        let mut started: BTreeSet<&str> = BTreeSet::new();
        let mut stopped: BTreeSet<&str> = BTreeSet::new();
        for (old, new) in after {
            let Some(service) = service_of(new) else { continue };
            match old {
                None => drop(started.insert(service)),
                Some(old) if self.is_scaled_in(old, new) => drop(stopped.insert(service)),
                Some(_) => {}
            }
        }
        for name in started.union(&stopped) {
            let wrong = self.look(|model| {
                let service = model.services.get(*name)?;
                let mine = || model.tasks.values().filter(|task| service_of(task) == Some(name));
                if service.is_daemon() {
                    return one_an_instance(mine());
                }
                if !service.task_sets.is_empty() || rollouts::is_staged(service) {
                    let tasks: Vec<&TaskRecord> = mine().map(|task| &**task).collect();
                    let scaled_in = || {
                        let mut pairs = after.iter().filter_map(|(old, new)| Some((old.as_deref()?, new)));
                        pairs.any(|(old, new)| {
                            service_of(new) == Some(name)
                                && rollouts::is_blue(service, new)
                                && self.is_scaled_in_with(model, old, new)
                        })
                    };
                    let has_started = |source: &str| {
                        after.iter().any(|(old, new)| old.is_none() && new.started_by.as_deref() == Some(source))
                    };
                    return rollouts::wrong_counts(model, service, &tasks, has_started, scaled_in);
                }
                let percent = |given: Option<i32>, default: i64| given.map_or(default, i64::from);
                let configuration = service.settings.deployment_configuration.as_ref();
                let most = percent(configuration.and_then(|it| it.maximum_percent), 200);
                let least = percent(configuration.and_then(|it| it.minimum_healthy_percent), 100);
                let desired = i64::from(service.desired_count);
                let (cap, floor) = (desired * most / 100, (desired * least + 99) / 100);
                let count = |accepts: &dyn Fn(&TaskRecord) -> bool| {
                    i64::try_from(mine().filter(|task| accepts(task)).count()).unwrap_or(i64::MAX)
                };
                let total = count(&|task| task.last_status <= TaskStatus::Running);
                if started.contains(name) && total > cap {
                    return Some(("above-maximum", format!("service {name}: {total} tasks, at most {cap}")));
                }
                // While old tasks make way for new ones, a new one counts when its load balancer has decided.
                let scaled_in = after.iter().filter_map(|(old, new)| Some((old.as_deref()?, new)));
                let mut scaled_in = scaled_in
                    .filter(|(old, new)| service_of(new) == Some(name) && self.is_scaled_in_with(model, old, new));
                let primary = service.deployments.first().map(|it| it.id.as_str());
                let rolls =
                    signals::is_balanced(service) && scaled_in.all(|(_, new)| new.started_by.as_deref() != primary);
                let running = count(&|task| {
                    task.last_status == TaskStatus::Running
                        && task.desired_status == DesiredStatus::Running
                        && (!rolls || self.0.speaker.has_decided(task.id))
                });
                if stopped.contains(name) && service.status == ServiceStatus::Active && running < floor {
                    let what = format!("service {name}: {running} tasks stay, at least {floor} must");
                    return Some(("below-minimum", what));
                }
                None
            });
            if let Some((rule, what)) = wrong {
                self.violate(rule, what);
            }
        }
    }

    /// Whether the service scheduler stopped a task that was well and where it may be.
    fn is_scaled_in(&self, old: &TaskRecord, new: &TaskRecord) -> bool {
        self.look(|model| self.is_scaled_in_with(model, old, new))
    }

    fn is_scaled_in_with(&self, model: &Model, old: &TaskRecord, new: &TaskRecord) -> bool {
        let told = old.desired_status == DesiredStatus::Running && new.desired_status == DesiredStatus::Stopped;
        let scheduler = new.stop_code == Some(TaskStopCode::ServiceSchedulerInitiated);
        let well = old.last_status == TaskStatus::Running
            && old.health != Some(HealthStatus::Unhealthy)
            && !self.0.speaker.is_sick(old.id);
        let instance = old.container_instance.and_then(|id| model.instances.get(&id));
        let stays = instance.is_some_and(|instance| instance.status == ContainerInstanceStatus::Active);
        told && scheduler && well && stays
    }
}

fn one_an_instance<'a>(tasks: impl Iterator<Item = &'a Arc<TaskRecord>>) -> Option<(&'static str, String)> {
    let mut seen = BTreeSet::new();
    let live =
        tasks.filter(|task| task.last_status <= TaskStatus::Running && task.desired_status == DesiredStatus::Running);
    let twice = live.into_iter().find(|task| !seen.insert(task.container_instance))?;
    Some(("daemon-twice", format!("two tasks of {} on one container instance", twice.group)))
}

impl CommitObserver for Checks {
    fn committed(&self, changes: &[Change]) {
        self.take(changes);
    }
}
