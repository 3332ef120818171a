//! Placing tasks on a snapshot of a cluster.

use std::collections::BTreeMap;

use longshore_model::container_instance::Shortage;
use longshore_model::records::Reservation;
use longshore_seams::Random;

use crate::strategy::{PeerCounts, Strategy, best};
use crate::{Node, Query, ZONE};

/// What a task needs, and how it is to be placed.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Resources.
    pub demand: Reservation,
    /// Attributes that an instance must have.
    pub attributes: Vec<Attribute>,
    /// Binding rules, those of the task definition and of the call together.
    pub constraints: Vec<Constraint>,
    /// Preferences, in order; none means random.
    pub strategies: Vec<Strategy>,
    /// The task group, whose tasks are the peers of `spread` and `distinctInstance`.
    pub group: String,
    /// Availability zones that the task's subnets are in; none asks for no zone.
    pub zones: Vec<String>,
    /// Whether it asks for a machine that is lent to Fargate: DRAINING, which is about the tasks of
    /// the instance's own cluster, does not count then.
    pub lent: bool,
}

/// An attribute that an instance must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// The value it must have; `None` asks for the name alone.
    pub value: Option<String>,
}

/// A binding rule.
#[derive(Clone, Debug)]
pub enum Constraint {
    /// No other task of the group on the instance.
    DistinctInstance,
    /// The expression selects the instance.
    MemberOf(Query),
}

/// Why an instance does not get a task.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// It is not `ACTIVE`.
    Inactive,
    /// Its agent is not connected.
    Agent,
    /// It is in another zone than the task's subnets.
    Location,
    /// It lacks this attribute.
    Attribute(String),
    /// It lacks a resource.
    Resource(Shortage),
    /// A task of the group is on it already.
    DistinctInstance,
    /// An expression does not select it.
    MemberOf,
}

impl Refusal {
    /// The failure reason as ECS answers it.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Inactive => "INACTIVE",
            Self::Agent => "AGENT",
            Self::Location => "LOCATION",
            Self::Attribute(_) => "ATTRIBUTE",
            Self::Resource(shortage) => shortage.reason(),
            Self::DistinctInstance => "DistinctInstance placement constraint unsatisfied.",
            Self::MemberOf => "MemberOf placement constraint unsatisfied.",
        }
    }
}

/// A task placed. `K` is how the caller calls instances: by their place in a list, or by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment<K = usize> {
    /// The instance.
    pub node: K,
    /// Ids of the GPUs given to the task.
    pub gpus: Vec<String>,
}

/// An instance that refused a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused<K = usize> {
    /// The instance.
    pub node: K,
    /// Everything that stood in the way, the one that ECS names first; never empty.
    pub refusals: Vec<Refusal>,
}

/// The plan for one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement<K = usize> {
    /// Tasks placed, at most as many as asked for.
    pub assignments: Vec<Assignment<K>>,
    /// When fewer were placed: what each instance said to the first that was not.
    pub refused: Vec<Refused<K>>,
}

impl<K> Default for Placement<K> {
    fn default() -> Self {
        Self { assignments: Vec::new(), refused: Vec::new() }
    }
}

/// Everything that keeps `request` off `node`; empty when it can go there.
#[must_use]
pub fn refusals(node: &Node, request: &Request) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    if !node.active && !request.lent {
        refusals.push(Refusal::Inactive);
    }
    if !node.agent_connected {
        refusals.push(Refusal::Agent);
    }
    if !is_in_zone(node, request) {
        refusals.push(Refusal::Location);
    }
    for wanted in &request.attributes {
        if !has_attribute(node, wanted) {
            refusals.push(Refusal::Attribute(wanted.name.clone()));
        }
    }
    refusals.extend(node.remaining.shortages(&request.demand).into_iter().map(Refusal::Resource));
    for constraint in &request.constraints {
        match constraint {
            Constraint::DistinctInstance if node.tasks_in(&request.group) > 0 => {
                refusals.push(Refusal::DistinctInstance)
            }
            Constraint::MemberOf(query) if !query.matches(node) => refusals.push(Refusal::MemberOf),
            _ => {}
        }
    }
    refusals
}

pub(crate) fn accepts(node: &Node, request: &Request) -> bool {
    (node.active || request.lent)
        && node.agent_connected
        && is_in_zone(node, request)
        && node.remaining.fits(&request.demand)
        && request.attributes.iter().all(|wanted| has_attribute(node, wanted))
        && request.constraints.iter().all(|constraint| match constraint {
            Constraint::DistinctInstance => node.tasks_in(&request.group) == 0,
            Constraint::MemberOf(query) => query.matches(node),
        })
}

fn is_in_zone(node: &Node, request: &Request) -> bool {
    let zone = || node.attributes.get(ZONE).and_then(Option::as_ref);
    request.zones.is_empty() || zone().is_some_and(|zone| request.zones.contains(zone))
}

pub(crate) fn has_attribute(node: &Node, wanted: &Attribute) -> bool {
    node.attributes.get(&wanted.name).is_some_and(|value| wanted.value.is_none() || *value == wanted.value)
}

/// Places up to `count` tasks, one after another, each seeing those before it.
///
/// Order of selection as the guide (chapter 14) has it: resources, constraints, strategies; what
/// is left equal is chosen by `random`.
#[must_use]
pub fn place(nodes: &[&Node], request: &Request, count: usize, random: &dyn Random) -> Placement {
    // Instances as they are after the tasks placed so far; only those that got one are copied.
    let mut changed: BTreeMap<usize, Node> = BTreeMap::new();
    let mut peers = PeerCounts::count(&request.strategies, nodes, &request.group);
    let mut placement = Placement::default();
    for _ in 0..count {
        let node = |at: usize| changed.get(&at).unwrap_or(nodes[at]);
        let feasible: Vec<usize> = (0..nodes.len()).filter(|at| accepts(node(*at), request)).collect();
        let candidates = best(&request.strategies, &peers, &request.group, feasible, node);
        let pick = random.below(candidates.len() as u64);
        let Some(chosen) = usize::try_from(pick).ok().and_then(|pick| candidates.get(pick)).copied() else {
            placement.refused =
                (0..nodes.len()).map(|at| Refused { node: at, refusals: refusals(node(at), request) }).collect();
            break;
        };
        let after = changed.entry(chosen).or_insert_with(|| nodes[chosen].clone());
        let gpus = after.remaining.take(&request.demand);
        *after.groups.entry(request.group.clone()).or_default() += 1;
        peers.add(nodes[chosen]);
        placement.assignments.push(Assignment { node: chosen, gpus });
    }
    placement
}

#[cfg(test)]
mod tests;
