//! `PlanCreateService` and `PlanUpdateService`: dry runs of services.
//!
//! The call is made as the real one is, on a copy of the cluster; then the service scheduler itself goes to work on
//! that copy, whose connected agents do at once what they are told and whose tasks are all healthy as soon as they may
//! be. Functions of lifecycle hooks succeed. What keeps the copy from becoming steady keeps the service from it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use longshore_api::longshore as api;
use longshore_api::{ServiceError, Shape, Value, ecs};
use longshore_model::records::{ContainerInstanceStatus, DesiredStatus, FamilyRecord, TaskRecord, TaskStatus};
use longshore_model::service::{Bounds, HookAnswer, ServiceDeploymentRecord, ServiceRecord, TaskSetStatus};
use longshore_model::{Id, Scope};
use longshore_seams::Timestamp;
use longshore_wire::RequestContext;

use super::invalid;
use super::service::Subject;
use crate::changes::{Change, Changes};
use crate::engine::Engine;
use crate::operations::resolve_cluster;
use crate::operations::services::{Caller, prepare_create, prepare_update};
use crate::operations::tasks::capacity::Means;
use crate::reconcilers::ServiceSchedulerLimits;
use crate::reconcilers::services::{Conditions, NoSignals, advance};
use crate::state::{ClusterState, State};

/// Most steps that a plan has.
const MAX_STEPS: usize = 200;
/// Most times that the scheduler is asked for one step.
const MAX_ROUNDS: usize = 1000;
/// Most tasks whose places one step names.
const MAX_PLACEMENTS: usize = 100;
/// Most service events that are answered.
const MAX_EVENTS: usize = 50;
/// How far ahead is looked: longer than the longest bake time and pause.
const HORIZON: Duration = Duration::from_secs(30 * 24 * 3600);

/// Says how a service that is to be made would get its tasks.
///
/// # Errors
/// What CreateService would answer; `InvalidParameterException` when the request is not one of CreateService.
pub async fn plan_create_service(
    engine: &Engine,
    context: &RequestContext,
    input: &api::PlanCreateServiceRequest,
) -> Result<api::PlanServiceResponse, ServiceError> {
    let asked: ecs::CreateServiceRequest = parse(input.create_service.as_deref(), "createService", "CreateService")?;
    plan(engine, context, asked.cluster.as_deref(), |state, caller, changes| {
        prepare_create(state, caller, &asked, None, changes).map(|answer| answer.service)
    })
    .await
}

/// Says how a service would get from what it is to what it is to be.
///
/// # Errors
/// What UpdateService would answer; `InvalidParameterException` when the request is not one of UpdateService.
pub async fn plan_update_service(
    engine: &Engine,
    context: &RequestContext,
    input: &api::PlanUpdateServiceRequest,
) -> Result<api::PlanServiceResponse, ServiceError> {
    let asked: ecs::UpdateServiceRequest = parse(input.update_service.as_deref(), "updateService", "UpdateService")?;
    plan(engine, context, asked.cluster.as_deref(), |state, caller, changes| {
        prepare_update(state, caller, &asked, None, changes).map(|answer| answer.service)
    })
    .await
}

fn parse<T: Shape>(text: Option<&str>, member: &str, operation: &str) -> Result<T, ServiceError> {
    let value = Value::from_json(text.unwrap_or("").as_bytes())
        .map_err(|error| invalid(format!("{member} is no JSON object of a {operation} request: {error}")))?;
    T::read(&value, &mut longshore_api::Path::default())
        .map_err(|error| invalid(format!("{member} is no {operation} request: {error}")))
}

async fn plan(
    engine: &Engine,
    context: &RequestContext,
    cluster: Option<&str>,
    call: impl FnOnce(&State, &Caller<'_>, &mut Changes) -> Result<Option<ecs::Service>, ServiceError>,
) -> Result<api::PlanServiceResponse, ServiceError> {
    let caller = Caller::new(engine, context);
    let Caller { ref scope, quotas, now, random, .. } = caller;
    // Only the records are taken under the lock; what is done with them takes as long as it takes.
    let (copied, cluster, name) = engine
        .read(|state| {
            let mut changes = Changes::default();
            let service = call(state, &caller, &mut changes)?;
            let cluster = resolve_cluster(state.scope(scope), scope, cluster)?;
            let name = service.and_then(|it| it.service_name).unwrap_or_default();
            let mut copied = copy(state, scope, cluster, &name, &changes.list);
            copied.extend(changes.list);
            Ok::<_, ServiceError>((copied, cluster.record.id, name))
        })
        .await?;
    let mut state = State::default();
    copied.iter().for_each(|change| state.apply(change));
    let means = Means { random, quotas };
    let mut rehearsal = Rehearsal { state, scope, cluster, name, begun: now, now, means };
    Ok(rehearsal.play())
}

/// What the scheduler looks at for the service `name`: the cluster and who lends it machines, with what runs there.
fn copy(state: &State, scope: &Scope, cluster: &ClusterState, name: &str, more: &[Change]) -> Vec<Change> {
    let records = state.scope(scope);
    let put = |record| Change::PutCluster(scope.clone(), record);
    let lending = records.clusters.values().filter(|other| {
        other.record.id != cluster.record.id && other.instances.values().any(crate::state::InstanceState::is_lent)
    });
    let clusters: Vec<&ClusterState> = lending.chain([cluster]).collect();
    let mut list: Vec<Change> = clusters.iter().map(|it| put(it.record.clone())).collect();
    list.extend(records.account_settings.values().map(|it| Change::PutAccountSetting(scope.clone(), it.clone())));
    list.extend(records.capacity_providers.values().map(|it| Change::PutCapacityProvider(scope.clone(), it.clone())));
    let known = cluster.services.get(name);
    let planned = more.iter().find_map(|change| match change {
        Change::PutService(_, record) => Some(record),
        _ => None,
    });
    for source in known.into_iter().chain(planned).flat_map(|service| service.sources()) {
        let Some(family) = records.families.get(&source.family) else { continue };
        list.push(Change::PutFamily(scope.clone(), Arc::new(FamilyRecord::clone(&family.record))));
        let revision = family.revisions.get(&source.revision);
        list.extend(revision.map(|it| Change::PutTaskDefinition(scope.clone(), it.clone())));
    }
    let mut tasks = Vec::new();
    let mut homes: BTreeSet<Id> = clusters.iter().map(|it| it.record.id).collect();
    for home in clusters {
        let own = home.record.id == cluster.record.id;
        for instance in home.instances.values().filter(|it| own || it.is_lent()) {
            if instance.record.status == ContainerInstanceStatus::Inactive {
                continue;
            }
            let id = instance.record.id;
            list.push(Change::PutContainerInstance(scope.clone(), instance.record.clone()));
            list.push(Change::AgentConnected(scope.clone(), home.record.id, id, instance.agent_connected()));
            let there = records.tasks_on(home, instance);
            for (of, task) in there.filter(|(_, task)| task.last_status != TaskStatus::Stopped) {
                // A lent machine runs Fargate tasks of other clusters, too.
                if homes.insert(of.record.id) {
                    list.push(put(of.record.clone()));
                }
                tasks.push(task.clone());
            }
        }
    }
    list.extend(tasks.into_iter().map(|task| Change::PutTask(scope.clone(), task)));
    if let Some(service) = known {
        list.push(Change::PutService(scope.clone(), service.clone()));
        let deployment = cluster.service_deployment(service).cloned();
        list.extend(deployment.map(|it| Change::PutServiceDeployment(scope.clone(), it)));
    }
    list
}

/// A copy of a cluster on which a service is played to its end.
struct Rehearsal<'a> {
    state: State,
    scope: &'a Scope,
    cluster: Id,
    name: String,
    begun: Timestamp,
    now: Timestamp,
    means: Means<'a>,
}

impl Rehearsal<'_> {
    fn play(&mut self) -> api::PlanServiceResponse {
        let before = self.service().events.len();
        let bounds = self.bounds();
        let mut steps = Vec::new();
        while steps.len() < MAX_STEPS {
            let (step, due) = self.step();
            steps.extend(step);
            if self.is_steady() {
                break;
            }
            if self.agents_act() {
                continue;
            }
            match due {
                Some(due) if due > self.now && due.since(self.begun) < HORIZON => self.now = due,
                _ => break,
            }
        }
        let converges = self.is_steady();
        let service = self.service();
        let events = service.events.len().saturating_sub(before);
        let mut said: Vec<String> =
            service.events.iter().take(events.min(MAX_EVENTS)).filter_map(|event| event.message.clone()).collect();
        said.reverse();
        let (started, stopped) = (sum(&steps, |it| it.started), sum(&steps, |it| it.stopped));
        let seconds = self.now.since(self.begun).as_secs();
        let outcome = match converges {
            true => format!("would be steady after {seconds} s"),
            false => "would not become steady".to_owned(),
        };
        let summary = format!(
            "The service {} {outcome}: {} steps start {started} tasks and stop {stopped}, if all tasks start at once and are healthy as soon as they may be.",
            self.name,
            steps.len()
        );
        let why = (!converges).then(|| self.subject().explain());
        api::PlanServiceResponse {
            summary: Some(summary),
            converges: Some(converges),
            cause: why.as_ref().and_then(|why| why.summary.clone()),
            maximum_tasks: i64::try_from(bounds.cap).ok(),
            minimum_healthy_tasks: i64::try_from(bounds.floor).ok(),
            steps: Some(steps),
            events: Some(said),
            refusals: Some(why.as_ref().and_then(|why| why.refusals.clone()).unwrap_or_default()),
            smallest_change: why.and_then(|why| why.smallest_change),
        }
    }

    fn home(&self) -> &ClusterState {
        &self.state.scope(self.scope).clusters[&self.cluster]
    }

    fn service(&self) -> &ServiceRecord {
        &self.home().services[&self.name]
    }

    fn subject(&self) -> Subject<'_> {
        let (scope, now, means) = (self.scope, self.now, self.means);
        let (records, cluster) = (self.state.scope(scope), self.home());
        Subject { scope, records, cluster, service: self.service(), now, means }
    }

    fn bounds(&self) -> Bounds {
        let service = self.service();
        let active = |it: &&crate::state::InstanceState| it.record.status == ContainerInstanceStatus::Active;
        let desired = match service.is_daemon() {
            true => self.home().visible_instances().filter(active).count(),
            false => usize::try_from(service.desired_count).unwrap_or(0),
        };
        Bounds::of(desired, service.settings.deployment_configuration.as_ref())
    }

    /// The service's tasks that have not ended.
    fn live(&self) -> Vec<Arc<TaskRecord>> {
        let group = self.service().group();
        let ids = self.home().index.group.get(&group).into_iter().flatten();
        let tasks = ids.filter_map(|id| self.home().tasks.get(id));
        tasks.filter(|task| task.last_status != TaskStatus::Stopped).cloned().collect()
    }

    /// Lets the scheduler do all that it can before agents act; answers when it would look again.
    fn step(&mut self) -> (Option<api::PlannedStep>, Option<Timestamp>) {
        let conditions = Conditions {
            now: self.now,
            random: self.means.random,
            quotas: self.means.quotas,
            limits: ServiceSchedulerLimits::default(),
            signals: &NoSignals,
            has_functions: true,
        };
        let (mut started, mut stopped, mut due) = (Vec::new(), 0, None);
        for _ in 0..MAX_ROUNDS {
            let mut changes = Changes::default();
            due = advance(&self.state, self.scope, self.cluster, &self.name, conditions, &mut changes);
            if changes.is_empty() && !self.functions_succeed() {
                break;
            }
            for change in &changes.list {
                if let Change::PutTask(_, task) = change {
                    match self.home().tasks.get(&task.id) {
                        None => started.push(task.clone()),
                        Some(known) => stopped += i64::from(known.desired_status != task.desired_status),
                    }
                }
                self.state.apply(change);
            }
        }
        if started.is_empty() && stopped == 0 {
            return (None, due);
        }
        (Some(self.told(&started, stopped)), due)
    }

    fn told(&self, started: &[Arc<TaskRecord>], stopped: i64) -> api::PlannedStep {
        let newest = self.service().sources().next().map(|source| source.id.clone());
        let live = self.live();
        let wanted = || live.iter().filter(|task| task.desired_status == DesiredStatus::Running);
        let (new, old): (Vec<_>, Vec<_>) = wanted().partition(|task| task.started_by == newest);
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        api::PlannedStep {
            seconds: i64::try_from(self.now.since(self.begun).as_secs()).ok(),
            started: Some(number(started.len())),
            stopped: Some(stopped),
            new_tasks: Some(number(new.len())),
            old_tasks: Some(number(old.len())),
            placements: Some(started.iter().take(MAX_PLACEMENTS).map(|task| self.place(task)).collect()),
        }
    }

    fn place(&self, task: &TaskRecord) -> api::PlannedTask {
        let shown = task.container_instance.filter(|_| task.launch_type != ecs::LaunchType::Fargate);
        api::PlannedTask {
            container_instance_arn: shown.map(|id| self.scope.container_instance_arn(&self.home().record.name, id)),
            launch_type: Some(task.launch_type.as_str().to_owned()),
            capacity_provider: task.capacity_provider.clone(),
            availability_zone: task.availability_zone.clone(),
            subnet: task.interface.as_ref().map(|interface| interface.subnet.clone()),
        }
    }

    /// Every connected agent starts and stops what it is to; answers whether there was anything.
    fn agents_act(&mut self) -> bool {
        let records = self.state.scope(self.scope);
        let connected = |task: &TaskRecord| records.agent_connected(task);
        let acts: Vec<TaskRecord> =
            self.live().iter().filter(|task| connected(task)).filter_map(|task| acted(task, self.now)).collect();
        let any = !acts.is_empty();
        for task in acts {
            self.state.apply(&Change::PutTask(self.scope.clone(), Arc::new(task)));
        }
        any
    }

    /// Lets the functions of lifecycle hooks succeed that are waited for; answers whether there were any.
    fn functions_succeed(&mut self) -> bool {
        let Some(deployment) = self.home().service_deployment(self.service()) else { return false };
        let mut after = ServiceDeploymentRecord::clone(deployment);
        let open: Vec<_> = after.open_functions().map(|(hook, function)| (hook.id.clone(), function.answers)).collect();
        if open.is_empty() {
            return false;
        }
        for (id, invocation) in &open {
            after.answer_hook(id, *invocation, HookAnswer::Succeeded, self.now);
        }
        self.state.apply(&Change::PutServiceDeployment(self.scope.clone(), Arc::new(after)));
        true
    }

    fn is_steady(&self) -> bool {
        let service = self.service();
        let live = self.live();
        let goes_on = self.home().service_deployment(service).is_some_and(|deployment| deployment.is_ongoing());
        let own = |id: &str| live.iter().filter(|task| task.started_by.as_deref() == Some(id)).count();
        let sources = service.sources().count() - service.deployments.len().saturating_sub(1);
        let drained = service.task_sets.iter().all(|set| set.status != TaskSetStatus::Draining);
        let all_run =
            service.sources().all(|it| usize::try_from(it.desired_count).is_ok_and(|most| own(&it.id) == most));
        let well = live
            .iter()
            .all(|task| task.last_status == TaskStatus::Running && task.desired_status == DesiredStatus::Running);
        !goes_on
            && drained
            && well
            && all_run
            && sources == service.sources().count()
            && self.daemon_is_everywhere(&live)
    }

    /// Whether a daemon has a task wherever it belongs; true of any other service.
    fn daemon_is_everywhere(&self, live: &[Arc<TaskRecord>]) -> bool {
        let service = self.service();
        !service.is_daemon() || usize::try_from(service.desired_count).is_ok_and(|wanted| live.len() == wanted)
    }
}

/// The task after its agent has done what it is told; none when there is nothing to do.
fn acted(task: &TaskRecord, now: Timestamp) -> Option<TaskRecord> {
    let mut after = task.clone();
    if task.desired_status == DesiredStatus::Stopped {
        after.last_status = TaskStatus::Stopped;
        after.times.stopped = Some(now);
        return Some(after);
    }
    after.last_status = TaskStatus::Running;
    after.times.started.get_or_insert(now);
    let checked = after.containers.iter_mut().filter_map(|container| container.health.as_mut());
    let mut any = false;
    for health in checked {
        *health = ecs::HealthStatus::Healthy;
        any = true;
    }
    if any {
        after.health = Some(ecs::HealthStatus::Healthy);
    }
    (after != *task).then_some(after)
}

fn sum(steps: &[api::PlannedStep], of: impl Fn(&api::PlannedStep) -> Option<i64>) -> i64 {
    steps.iter().filter_map(of).sum()
}
