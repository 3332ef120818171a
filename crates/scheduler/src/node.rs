//! A container instance as placement sees it.

use std::collections::BTreeMap;

use longshore_model::container_instance::Books;
use longshore_seams::Timestamp;

/// A container instance with what it has left and what it runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Its id.
    pub id: String,
    /// Whether its status is `ACTIVE`; a `DRAINING` one gets no new tasks.
    pub active: bool,
    /// Whether its agent is connected.
    pub agent_connected: bool,
    /// The agent's version, once it has connected.
    pub agent_version: Option<String>,
    /// Its EC2 (or made-up) instance id.
    pub ec2_instance_id: Option<String>,
    /// When it registered.
    pub registered_at: Timestamp,
    /// Number of its tasks that are `RUNNING`.
    pub running_tasks: u32,
    /// Built-in and custom attributes.
    pub attributes: BTreeMap<String, Option<String>>,
    /// Resources that no task has taken.
    pub remaining: Books,
    /// Number of tasks that are not `STOPPED`, by task group.
    pub groups: BTreeMap<String, u32>,
}

impl Node {
    /// Number of tasks of `group` on it that are not `STOPPED`.
    #[must_use]
    pub fn tasks_in(&self, group: &str) -> u32 {
        self.groups.get(group).copied().unwrap_or(0)
    }
}
