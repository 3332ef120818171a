//! A container instance in the working set, with what placement needs of it kept up to date.

use std::collections::BTreeSet;
use std::sync::Arc;

use longshore_api::ecs::InstanceHealthCheckResult;
use longshore_model::Id;
use longshore_model::container_instance::{Books, books};
use longshore_model::records::{ContainerInstanceRecord, ContainerInstanceStatus, TaskRecord, TaskStatus};
use longshore_scheduler::Node;

/// A container instance with what is on it.
#[derive(Debug)]
pub struct InstanceState {
    /// Its record.
    pub record: Arc<ContainerInstanceRecord>,
    /// Its tasks, STOPPED ones included.
    pub tasks: BTreeSet<Id>,
    /// Its checks as the agent last told them. Not stored.
    pub checks: Arc<Vec<InstanceHealthCheckResult>>,
    node: Node,
    registered: Books,
    pending: usize,
}

impl InstanceState {
    pub(super) fn new(record: Arc<ContainerInstanceRecord>) -> Self {
        let registered = books(&record.registered_resources);
        let node = Node { remaining: registered.clone(), ..Node::default() };
        let (tasks, checks) = (BTreeSet::new(), Arc::default());
        let mut instance = Self { record, tasks, checks, node, registered, pending: 0 };
        instance.describe();
        instance
    }

    /// What placement sees of it.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Whether its agent's ACS connection stands. Not stored: false after a restart.
    #[must_use]
    pub fn agent_connected(&self) -> bool {
        self.node.agent_connected
    }

    /// Numbers of RUNNING and of pending tasks on it.
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
            let registered = books(&record.registered_resources);
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

    /// Copies what the record says into the node.
    fn describe(&mut self) {
        let record = &self.record;
        self.node.id = record.id.to_string();
        self.node.active = record.status == ContainerInstanceStatus::Active;
        self.node.agent_version = record.version_info.as_ref().and_then(|info| info.agent_version.clone());
        self.node.ec2_instance_id.clone_from(&record.ec2_instance_id);
        self.node.registered_at = record.registered_at;
        let pairs = record.attributes.iter().filter_map(|it| Some((it.name.clone()?, it.value.clone())));
        self.node.attributes = pairs.collect();
    }

    pub(super) fn add_task(&mut self, task: &TaskRecord) {
        self.tasks.insert(task.id);
        if task.last_status == TaskStatus::Stopped {
            return;
        }
        self.node.remaining.take_with(&task.reservation, &gpus(task));
        match self.node.groups.get_mut(&task.group) {
            Some(count) => *count += 1,
            None => {
                self.node.groups.insert(task.group.clone(), 1);
            }
        }
        self.node.running_tasks += u32::from(task.last_status == TaskStatus::Running);
        self.pending += usize::from(task.last_status < TaskStatus::Running);
    }

    pub(super) fn remove_task(&mut self, task: &TaskRecord) {
        self.tasks.remove(&task.id);
        if task.last_status == TaskStatus::Stopped {
            return;
        }
        self.node.remaining.give_back(&task.reservation, &gpus(task), &self.registered);
        if let Some(count) = self.node.groups.get_mut(&task.group) {
            *count -= 1;
            if *count == 0 {
                self.node.groups.remove(&task.group);
            }
        }
        self.node.running_tasks -= u32::from(task.last_status == TaskStatus::Running);
        self.pending -= usize::from(task.last_status < TaskStatus::Running);
    }
}

fn gpus(task: &TaskRecord) -> Vec<String> {
    task.containers.iter().flat_map(|container| container.gpu_ids.iter().cloned()).collect()
}
