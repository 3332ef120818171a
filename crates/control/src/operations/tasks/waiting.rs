//! Tasks that wait for capacity (guide chapter 3, "Using managed scaling").
//!
//! RunTask accepts a task that does not fit now when its capacity provider may still grow: the task is PROVISIONING, on
//! no container instance, until one of the provider has room. ECS does not say in which order such tasks are placed.
//! Here each provider has one queue, in the order of acceptance. A task that does not fit lets those behind it pass for
//! a while ([`PASSED_FOR`]): room that is of no use to it stays of use. Then it holds them up ([`HOLDS_FOR`]), so that
//! the room that is given back gathers for it, provided that an instance of the provider could take it at all. So a
//! large task does not starve, and nobody is held up longer than both times together: only tasks that were accepted
//! earlier do so, and none is older than that.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_api::ecs;
use longshore_model::Scope;
use longshore_model::capacity_provider::CAPACITY_PROVIDER;
use longshore_model::records::{TaskRecord, Waiting};
use longshore_scheduler::{Attribute, Node, Request, obstacles, service_default};
use longshore_seams::Timestamp;

use super::capacity::{Capacity, Means, Placed, candidates, place_tasks};
use super::launch::Launch;
use super::placement::{constraints, strategies};
use crate::state::{ClusterState, ScopeState};

/// So long those behind it may pass a task that does not fit.
const PASSED_FOR: Duration = Duration::from_secs(5 * 60);
/// So long it holds them up after that.
const HOLDS_FOR: Duration = Duration::from_secs(5 * 60);
/// Kinds of waiting tasks that one look asks for a place; those behind them come when some of these are gone. As many as
/// may wait in a cluster by default.
const MAX_KINDS: usize = 500;
/// Kinds that one look asks whether they have a home, which takes a look at every container instance.
const MAX_HOMES: usize = 20;

/// The capacity providers among those of `capacity` for whose instances tasks wait.
pub(super) fn growing(records: &ScopeState, capacity: &Capacity) -> Vec<String> {
    let Capacity::Strategy(_, providers) = capacity else { return Vec::new() };
    let grows =
        |name: &str| records.capacity_providers.get(name).is_some_and(|known| known.is_active() && known.grows());
    providers.iter().map(|provider| provider.name.clone()).filter(|name| grows(name)).collect()
}

/// The turn of the next task that waits for `provider`.
pub(super) fn next_turn(cluster: &ClusterState, provider: &str) -> u64 {
    let last = cluster.index.waiting.get(provider).and_then(|queue| queue.last());
    last.map_or(1, |(turn, _)| turn + 1)
}

/// What is kept of a call for a task that waits.
pub(super) fn keep(input: &ecs::RunTaskRequest, turn: u64) -> Waiting {
    Waiting {
        turn,
        placement_constraints: input.placement_constraints.clone().unwrap_or_default(),
        placement_strategy: input.placement_strategy.clone().unwrap_or_default(),
        network_configuration: input.network_configuration.clone(),
    }
}

/// The launch of a waiting task, as when it was accepted; `None` when what it was made from is gone, or can't be read
/// any more.
pub(crate) fn relaunch<'a>(
    scope: &Scope,
    records: &'a ScopeState,
    task: &'a TaskRecord,
) -> Option<(Launch<'a>, Request)> {
    let waiting = task.waiting.as_deref()?;
    let definition = records.definition_of(task)?;
    let mut launch =
        Launch::new(definition, task.overrides.as_deref(), Some(&task.group), task.started_by.as_deref()).ok()?;
    launch.enable_execute_command = task.enable_execute_command;
    let capacity = Capacity::Strategy(task.launch_type.clone(), Vec::new());
    launch.settle(scope, &capacity, None, waiting.network_configuration.as_ref()).ok()?;
    let constraints = constraints(&definition.definition, Some(&waiting.placement_constraints)).ok()?;
    let strategies = if task.launch_type == ecs::LaunchType::ManagedInstances {
        service_default()
    } else {
        strategies(Some(&waiting.placement_strategy)).ok()?
    };
    let request = launch.request(constraints, strategies);
    Some((launch, request))
}

/// Asks for places for `count` tasks like a waiting one.
pub(crate) fn place_waiting<'a>(
    records: &'a ScopeState,
    cluster: &'a ClusterState,
    task: &TaskRecord,
    (launch, request): (&Launch<'_>, &Request),
    count: usize,
    means: Means<'_>,
) -> Placed<'a> {
    let order = vec![task.capacity_provider.as_deref(); count];
    place_tasks(records, cluster, launch, request, &order, means)
}

/// What a waiting task, or a call of RunTask, asks for.
#[derive(PartialEq)]
struct Asked<'a> {
    definition: (&'a str, u32),
    group: &'a str,
    overrides: Option<&'a ecs::TaskOverride>,
    constraints: &'a [ecs::PlacementConstraint],
    strategies: &'a [ecs::PlacementStrategy],
    network: Option<&'a ecs::NetworkConfiguration>,
}

impl<'a> Asked<'a> {
    fn by(task: &'a TaskRecord) -> Option<Self> {
        let waiting = task.waiting.as_deref()?;
        Some(Self {
            definition: (&task.family, task.revision),
            group: &task.group,
            overrides: task.overrides.as_deref(),
            constraints: &waiting.placement_constraints,
            strategies: &waiting.placement_strategy,
            network: waiting.network_configuration.as_ref(),
        })
    }

    fn in_call(input: &'a ecs::RunTaskRequest, launch: &'a Launch<'_>) -> Self {
        Self {
            definition: (&launch.definition.family, launch.definition.revision),
            group: &launch.group,
            overrides: launch.overrides,
            constraints: input.placement_constraints.as_deref().unwrap_or_default(),
            strategies: input.placement_strategy.as_deref().unwrap_or_default(),
            network: input.network_configuration.as_ref(),
        }
    }
}

/// Whether two waiting tasks of a capacity provider ask for the same.
fn alike(one: &TaskRecord, other: &TaskRecord) -> bool {
    Asked::by(one) == Asked::by(other)
}

/// Whether tasks that ask for what a call asks for wait already: its own come after them.
pub(super) fn is_asked_for(
    cluster: &ClusterState,
    provider: &str,
    input: &ecs::RunTaskRequest,
    launch: &Launch<'_>,
) -> bool {
    let asked = Some(Asked::in_call(input, launch));
    queue(cluster, provider).any(|task| Asked::by(task) == asked)
}

/// Whether a task has waited so long that it holds up those behind it.
fn is_impatient(task: &TaskRecord, now: Timestamp) -> bool {
    let waited = now.since(task.created_at);
    (PASSED_FOR..PASSED_FOR + HOLDS_FOR).contains(&waited)
}

/// Whether some container instance of the provider could take the task if nothing were on it.
fn has_a_home(scope: &Scope, records: &ScopeState, cluster: &ClusterState, task: &TaskRecord) -> bool {
    let Some((_, mut request)) = relaunch(scope, records, task) else { return false };
    let provider = task.capacity_provider.clone();
    request.attributes.push(Attribute { name: CAPACITY_PROVIDER.to_owned(), value: provider });
    candidates(cluster, task.capacity_provider.as_deref()).into_iter().any(|instance| {
        let all = instance.registered();
        if all.cpu < request.demand.cpu || all.memory < request.demand.memory_mib {
            return false;
        }
        let empty = Node { remaining: all.clone(), groups: BTreeMap::new(), ..instance.node().clone() };
        obstacles(&empty, &request).is_empty()
    })
}

/// The kinds of tasks that a look at a queue has found, each with whether it has a home (asked once).
struct Kinds<'a> {
    scope: &'a Scope,
    records: &'a ScopeState,
    cluster: &'a ClusterState,
    known: Vec<(&'a TaskRecord, Option<bool>)>,
}

impl<'a> Kinds<'a> {
    fn none(scope: &'a Scope, records: &'a ScopeState, cluster: &'a ClusterState) -> Self {
        Self { scope, records, cluster, known: Vec::new() }
    }

    /// The kind of a task; the second value says whether it is a new one.
    fn of(&mut self, task: &'a TaskRecord) -> (usize, bool) {
        if let Some(at) = self.known.iter().position(|(known, _)| alike(known, task)) {
            return (at, false);
        }
        self.known.push((task, None));
        (self.known.len() - 1, true)
    }

    /// Whether `task`, which is of this kind and does not fit now, holds up those behind it.
    fn holds(&mut self, kind: usize, task: &TaskRecord, now: Timestamp) -> bool {
        if !is_impatient(task, now) {
            return false;
        }
        let (scope, records, cluster) = (self.scope, self.records, self.cluster);
        let asked = self.known.iter().filter(|(_, home)| home.is_some()).count();
        let (known, home) = &mut self.known[kind];
        if home.is_none() && asked == MAX_HOMES {
            return false;
        }
        *home.get_or_insert_with(|| has_a_home(scope, records, cluster, known))
    }
}

/// The tasks that wait for a capacity provider, in order.
pub(crate) fn queue<'a>(cluster: &'a ClusterState, provider: &str) -> impl Iterator<Item = &'a TaskRecord> {
    let turns = cluster.index.waiting.get(provider).into_iter().flatten();
    turns.filter_map(|(_, id)| cluster.tasks.get(id)).map(|task| &**task)
}

/// Whether a waiting task keeps new ones from being placed on the instances of its capacity provider.
pub(super) fn is_held(
    scope: &Scope,
    records: &ScopeState,
    cluster: &ClusterState,
    provider: &str,
    now: Timestamp,
) -> bool {
    let mut kinds = Kinds::none(scope, records, cluster);
    for task in queue(cluster, provider).filter(|task| is_impatient(task, now)) {
        let (kind, _) = kinds.of(task);
        if kind == MAX_KINDS {
            return false;
        }
        if kinds.holds(kind, task, now) {
            return true;
        }
    }
    false
}

/// Whether some container instance of the provider takes a task now; does not ask why the others refuse.
fn has_room(cluster: &ClusterState, provider: &str, request: &Request, means: Means<'_>) -> bool {
    let of_provider = Attribute { name: CAPACITY_PROVIDER.to_owned(), value: Some(provider.to_owned()) };
    let mut request = request.clone();
    request.attributes.push(of_provider);
    cluster.placement.has_room(&request, means.random, |id| cluster.instances[&id].node())
}

/// What one look at a queue found.
pub(crate) enum Found<'a> {
    /// Tasks, one kind in a row, with the launch that they share and places for the first of them.
    Places(Vec<&'a TaskRecord>, Box<Launch<'a>>, Placed<'a>),
    /// A task that can't be launched any more.
    Lost(&'a TaskRecord),
}

/// The first tasks in the queue of `provider` that fit now, at most `most` of them.
pub(crate) fn first_that_fit<'a>(
    scope: &'a Scope,
    records: &'a ScopeState,
    cluster: &'a ClusterState,
    provider: &str,
    (now, most): (Timestamp, usize),
    means: Means<'_>,
) -> Option<Found<'a>> {
    let mut kinds = Kinds::none(scope, records, cluster);
    let mut tasks = queue(cluster, provider).peekable();
    while let Some(task) = tasks.next() {
        let (kind, new) = kinds.of(task);
        if new {
            if kind == MAX_KINDS {
                return None;
            }
            let mut batch = vec![task];
            let Some((launch, request)) = relaunch(scope, records, task) else { return Some(Found::Lost(task)) };
            while let Some(next) = tasks.peek().copied().filter(|next| batch.len() < most && alike(task, next)) {
                batch.push(next);
                tasks.next();
            }
            if has_room(cluster, provider, &request, means) {
                let placed = place_waiting(records, cluster, task, (&launch, &request), batch.len(), means);
                return Some(Found::Places(batch, Box::new(launch), placed));
            }
            if batch.iter().any(|task| kinds.holds(kind, task, now)) {
                return None;
            }
        } else if kinds.holds(kind, task, now) {
            return None;
        }
    }
    None
}
