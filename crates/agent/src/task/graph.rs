//! What waits for what inside a task.

use std::fmt;

use longshore_protocol::task::Task;

use super::machine::{Known, Unit};

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
    if has_cycle(task.containers.len(), &edges) { Err(unresolvable()) } else { Ok(edges) }
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
