//! What waits for what inside a task.

use std::fmt;

use longshore_protocol::task::Task;

use super::machine::{Known, Unit};

/// Network mode of tasks whose containers share a network of their own.
pub(crate) const AWSVPC: &str = "awsvpc";

/// What has to be true of the dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It is made (`volumesFrom`).
    Create,
    /// It has started (`links`, `dependsOn`).
    Start,
    /// It has ended.
    Complete,
    /// It has ended with 0.
    Success,
    /// Its health check passes.
    Healthy,
}

impl Condition {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "CREATE" => Self::Create,
            "START" => Self::Start,
            "COMPLETE" => Self::Complete,
            "SUCCESS" => Self::Success,
            "HEALTHY" => Self::Healthy,
            _ => return None,
        })
    }

    /// Whether the dependency's `startTimeout` bounds the wait.
    pub fn has_timeout(self) -> bool {
        matches!(self, Self::Complete | Self::Success | Self::Healthy)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "CREATE",
            Self::Start => "START",
            Self::Complete => "COMPLETE",
            Self::Success => "SUCCESS",
            Self::Healthy => "HEALTHY",
        })
    }
}

/// `dependant` waits for `dependency`; both are places in the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    pub dependant: usize,
    pub dependency: usize,
    pub condition: Condition,
}

/// The task's edges.
///
/// # Errors
/// The words for the task's reason, when they name a missing container, an unknown condition, or form a cycle.
pub(crate) fn edges(task: &Task) -> Result<Vec<Edge>, String> {
    let unresolvable = || format!("Task dependencies cannot be resolved, taskArn: {}", task.arn);
    let place = |name: &str| task.containers.iter().position(|container| container.name == name);
    let mut edges = Vec::new();
    for (dependant, container) in task.containers.iter().enumerate() {
        let mut add = |name: &str, condition: Option<Condition>| -> Option<()> {
            edges.push(Edge { dependant, dependency: place(name)?, condition: condition? });
            Some(())
        };
        for dependency in &container.depends_on {
            add(&dependency.container_name, Condition::parse(&dependency.condition)).ok_or_else(unresolvable)?;
        }
        for link in &container.links {
            let name = link.split_once(':').map_or(link.as_str(), |(name, _)| name);
            add(name, Some(Condition::Start)).ok_or_else(unresolvable)?;
        }
        for from in &container.volumes_from {
            add(&from.source_container, Some(Condition::Create)).ok_or_else(unresolvable)?;
        }
    }
    if has_cycle(task.containers.len(), &edges) {
        return Err(unresolvable());
    }
    if let Some(owner) = network_owner(task, &edges) {
        let joining = (0..task.containers.len()).filter(|place| joins(&edges, owner, *place));
        let joining: Vec<Edge> = joining
            .map(|dependant| Edge { dependant, dependency: owner, condition: Condition::Start })
            .filter(|edge| !edges.contains(edge))
            .collect();
        edges.extend(joining);
    }
    Ok(edges)
}

/// In network mode awsvpc, the container whose network the others join: the first that waits for no
/// other one that stays, and is not itself waited for to end.
pub(crate) fn network_owner(task: &Task, edges: &[Edge]) -> Option<usize> {
    if task.network_mode != AWSVPC {
        return None;
    }
    let ends = |place: usize| {
        edges
            .iter()
            .any(|edge| edge.dependency == place && matches!(edge.condition, Condition::Complete | Condition::Success))
    };
    let first =
        |place: &usize| !ends(*place) && !edges.iter().any(|edge| edge.dependant == *place && !ends(edge.dependency));
    (0..task.containers.len()).find(first)
}

/// Whether the container at `place` joins the network of `owner`: those that the owner itself waits
/// for come before it, and have networks of their own.
pub(crate) fn joins(edges: &[Edge], owner: usize, place: usize) -> bool {
    place != owner && !waits_for(edges, owner, place)
}

/// Whether `dependant` waits for `dependency`, be it by way of others.
fn waits_for(edges: &[Edge], dependant: usize, dependency: usize) -> bool {
    let mut direct = edges.iter().filter(|edge| edge.dependant == dependant);
    direct.any(|edge| edge.dependency == dependency || waits_for(edges, edge.dependency, dependency))
}

/// Takes away containers that wait for nothing that is left, until none can be taken.
fn has_cycle(count: usize, edges: &[Edge]) -> bool {
    let mut left = vec![true; count];
    loop {
        let free = (0..count)
            .find(|place| left[*place] && !edges.iter().any(|edge| edge.dependant == *place && left[edge.dependency]));
        match free {
            Some(place) => left[place] = false,
            None => return left.contains(&true),
        }
    }
}

/// Whether what `condition` asks is true of `dependency`.
pub(crate) fn met(condition: Condition, dependency: &Unit) -> bool {
    let ended = dependency.known == Known::Stopped && dependency.ever_ran;
    match condition {
        Condition::Create => dependency.runtime_id.is_some(),
        Condition::Start => dependency.ever_ran,
        Condition::Complete => ended,
        Condition::Success => ended && dependency.exit_code == Some(0),
        Condition::Healthy => {
            dependency.known == Known::Running
                && dependency.health.is_some_and(|(health, _)| health == longshore_runtime::Health::Healthy)
        }
    }
}

#[cfg(test)]
mod tests {
    use longshore_protocol::task::{Container, Dependency};

    use super::*;

    fn task(containers: &[(&str, &[(&str, &str)])]) -> Task {
        let container = |(name, waits): &(&str, &[(&str, &str)])| Container {
            name: (*name).to_owned(),
            depends_on: waits
                .iter()
                .map(|(container, condition)| Dependency {
                    container_name: (*container).to_owned(),
                    condition: (*condition).to_owned(),
                })
                .collect(),
            ..Container::default()
        };
        Task {
            network_mode: AWSVPC.to_owned(),
            containers: containers.iter().map(container).collect(),
            ..Task::default()
        }
    }

    fn joined(task: &Task) -> (Option<usize>, Vec<usize>) {
        let edges = edges(task).unwrap();
        let owner = network_owner(task, &edges);
        let joining =
            (0..task.containers.len()).filter(|place| owner.is_some_and(|owner| joins(&edges, owner, *place)));
        (owner, joining.collect())
    }

    #[test]
    fn containers_of_an_awsvpc_task_join_the_first_that_stays() {
        assert_eq!(joined(&task(&[("a", &[]), ("b", &[])])), (Some(0), vec![1]));
        assert_eq!(joined(&task(&[("app", &[("envoy", "HEALTHY")]), ("envoy", &[])])), (Some(1), vec![0]));
        let bridged = Task { network_mode: "bridge".to_owned(), ..task(&[("a", &[]), ("b", &[])]) };
        assert_eq!(joined(&bridged), (None, vec![]));
    }

    #[test]
    fn what_ends_before_the_owner_begins_has_a_network_of_its_own() {
        let with_init = task(&[("init", &[]), ("app", &[("init", "SUCCESS")]), ("side", &[])]);
        assert_eq!(joined(&with_init), (Some(1), vec![2]));
    }
}
