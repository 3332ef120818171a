//! A container instance in the working set, with what placement needs of it kept up to date.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use longshore_api::ecs::{InstanceHealthCheckResult, LaunchType};
use longshore_model::Id;
use longshore_model::capacity_provider::CAPACITY_PROVIDER;
use longshore_model::container_instance::interfaces::task_interfaces;
use longshore_model::container_instance::{Books, attributes, books};
use longshore_model::fargate::{LENDING, LENDS_ALSO, LENDS_ONLY};
use longshore_model::records::{ContainerInstanceRecord, ContainerInstanceStatus, TaskRecord, TaskStatus};
use longshore_scheduler::Node;

/// A container instance with what is on it.
#[derive(Debug)]
pub struct InstanceState {
    /// Its record.
    pub record: Arc<ContainerInstanceRecord>,
    /// Its tasks, STOPPED ones included; not those of Fargate.
    pub tasks: BTreeSet<Id>,
    /// Tasks of Fargate that it is lent to, with their clusters, STOPPED ones included.
    pub lent: BTreeMap<Id, Id>,
    /// Its checks as the agent last told them. Not stored.
    pub checks: Arc<Vec<InstanceHealthCheckResult>>,
    node: Node,
    registered: Books,
    pending: usize,
    lending: Lending,
    capacity_provider: Option<String>,
    changes: i64,
}

/// So much a version grows with each number that is set aside for the agent: more than there are changes meanwhile, so
/// that versions only rise, also across restarts, without a write for each change.
const VERSIONS_A_NUMBER: i64 = 100;

/// The version that answers and events show of a container instance that has changed so often since the start.
#[must_use]
pub fn version_of(record: &ContainerInstanceRecord, changes: i64) -> i64 {
    record.version + record.last_sequence.saturating_mul(VERSIONS_A_NUMBER) + changes
}

/// Whether a container instance runs tasks of Fargate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lending {
    No,
    /// Besides those of its cluster.
    Also,
    /// Nothing else: it is never shown.
    Only,
}

/// The group under which all tasks of Fargate are counted on the machines lent to them. No request
/// can name it.
pub const LENT_GROUP: &str = "\0fargate";

impl InstanceState {
    pub(super) fn new(record: Arc<ContainerInstanceRecord>) -> Self {
        let registered = books(&record.registered_resources);
        let node = Node { remaining: registered.clone(), ..Node::default() };
        let mut instance = Self {
            record,
            tasks: BTreeSet::new(),
            lent: BTreeMap::new(),
            checks: Arc::default(),
            node,
            registered,
            pending: 0,
            lending: Lending::No,
            capacity_provider: None,
            changes: 0,
        };
        instance.describe();
        instance
    }

    /// Its version: grows with each change of its record, its resources and its connection.
    #[must_use]
    pub fn version(&self) -> i64 {
        version_of(&self.record, self.changes)
    }

    /// Changes since the start that were told of.
    pub(crate) fn changes(&self) -> i64 {
        self.changes
    }

    pub(super) fn count_change(&mut self) {
        self.changes += 1;
    }

    /// What placement sees of it.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// What it has in all.
    pub(crate) fn registered(&self) -> &Books {
        &self.registered
    }

    /// Whether its agent's ACS connection stands. Not stored: false after a restart.
    #[must_use]
    pub fn agent_connected(&self) -> bool {
        self.node.agent_connected
    }

    /// Whether it exists for Fargate only: it belongs to no cluster that anybody sees.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.lending == Lending::Only
    }

    /// Whether it runs tasks of Fargate.
    #[must_use]
    pub fn is_lent(&self) -> bool {
        self.lending != Lending::No && self.record.status != ContainerInstanceStatus::Inactive
    }

    /// The capacity provider that it belongs to.
    #[must_use]
    pub fn capacity_provider(&self) -> Option<&str> {
        self.capacity_provider.as_deref()
    }

    /// Numbers of RUNNING and of pending tasks on it; not those of Fargate.
    #[must_use]
    pub fn task_counts(&self) -> (usize, usize) {
        (self.node.running_tasks as usize, self.pending)
    }

    pub(super) fn set_connected(&mut self, connected: bool) {
        self.node.agent_connected = connected;
    }

    /// Replaces the record; tasks keep what they have taken, also when the instance came back smaller.
    pub(super) fn set_record(&mut self, record: Arc<ContainerInstanceRecord>) {
        if record.registered_resources != self.record.registered_resources {
            let mut registered = books(&record.registered_resources);
            registered.interfaces = self.registered.interfaces;
            let (old, left) = (&self.registered, &mut self.node.remaining);
            left.cpu += registered.cpu - old.cpu;
            left.memory += registered.memory - old.memory;
            let moved = |left: &BTreeSet<u16>, old: &BTreeSet<u16>, new: &BTreeSet<u16>| -> BTreeSet<u16> {
                left.difference(old).chain(new).copied().collect()
            };
            left.tcp_ports = moved(&left.tcp_ports, &old.tcp_ports, &registered.tcp_ports);
            left.udp_ports = moved(&left.udp_ports, &old.udp_ports, &registered.udp_ports);
            let given: BTreeSet<&String> = old.gpus.difference(&left.gpus).collect();
            left.gpus = registered.gpus.iter().filter(|gpu| !given.contains(gpu)).cloned().collect();
            self.registered = registered;
        }
        self.record = record;
        self.describe();
    }

    /// Keeps the books of network interfaces; tasks keep those they have when the number changes.
    fn count_interfaces(&mut self) {
        let registered = task_interfaces(&self.record.attributes);
        if registered == self.registered.interfaces {
            return;
        }
        let taken = match (self.registered.interfaces, self.node.remaining.interfaces) {
            (Some(had), Some(left)) => had - left,
            _ => 0,
        };
        self.registered.interfaces = registered;
        self.node.remaining.interfaces = registered.map(|all| all - taken);
    }

    /// Copies what the record says into the node.
    fn describe(&mut self) {
        let record = self.record.clone();
        self.node.id = record.id.to_string();
        self.node.active = record.status == ContainerInstanceStatus::Active;
        self.node.agent_version = record.version_info.as_ref().and_then(|info| info.agent_version.clone());
        self.node.ec2_instance_id.clone_from(&record.ec2_instance_id);
        self.node.registered_at = record.registered_at;
        let pairs = record.attributes.iter().filter_map(|it| Some((it.name.clone()?, it.value.clone())));
        self.node.attributes = pairs.collect();
        self.count_interfaces();
        self.lending = match attributes::value(&record.attributes, LENDING) {
            Some(LENDS_ALSO) => Lending::Also,
            Some(LENDS_ONLY) => Lending::Only,
            _ => Lending::No,
        };
        self.capacity_provider = attributes::value(&record.attributes, CAPACITY_PROVIDER).map(str::to_owned);
    }

    pub(super) fn add_task(&mut self, task: &TaskRecord) {
        let lent = is_lent(task);
        if lent {
            self.lent.insert(task.id, task.cluster);
        } else {
            self.tasks.insert(task.id);
        }
        if task.last_status == TaskStatus::Stopped {
            return;
        }
        self.node.remaining.take_with(&task.reservation, &gpus(task));
        let group = group(task);
        match self.node.groups.get_mut(group) {
            Some(count) => *count += 1,
            None => {
                self.node.groups.insert(group.to_owned(), 1);
            }
        }
        if !lent {
            self.node.running_tasks += u32::from(task.last_status == TaskStatus::Running);
            self.pending += usize::from(task.last_status < TaskStatus::Running);
        }
    }

    pub(super) fn remove_task(&mut self, task: &TaskRecord) {
        let lent = is_lent(task);
        if lent {
            self.lent.remove(&task.id);
        } else {
            self.tasks.remove(&task.id);
        }
        if task.last_status == TaskStatus::Stopped {
            return;
        }
        self.node.remaining.give_back(&task.reservation, &gpus(task), &self.registered);
        let group = group(task);
        if let Some(count) = self.node.groups.get_mut(group) {
            *count -= 1;
            if *count == 0 {
                self.node.groups.remove(group);
            }
        }
        if !lent {
            self.node.running_tasks -= u32::from(task.last_status == TaskStatus::Running);
            self.pending -= usize::from(task.last_status < TaskStatus::Running);
        }
    }
}

/// Whether a task is one of Fargate, on a machine that is lent to it.
pub(crate) fn is_lent(task: &TaskRecord) -> bool {
    task.launch_type == LaunchType::Fargate
}

/// The group under which placement counts `task` on its machine.
pub(super) fn group(task: &TaskRecord) -> &str {
    if is_lent(task) { LENT_GROUP } else { &task.group }
}

fn gpus(task: &TaskRecord) -> Vec<String> {
    task.containers.iter().flat_map(|container| container.gpu_ids.iter().cloned()).collect()
}
