//! Indexes of the tasks of a cluster.

use std::collections::{BTreeMap, BTreeSet};

use longshore_model::Id;
use longshore_model::records::{DesiredStatus, TaskRecord, TaskStatus};

use crate::quotas::FargateTasks;

/// Ways to find tasks without looking at all of them.
#[derive(Debug, Default)]
pub struct TaskIndex {
    /// By task definition family.
    pub family: BTreeMap<String, BTreeSet<Id>>,
    /// By `startedBy`.
    pub started_by: BTreeMap<String, BTreeSet<Id>>,
    /// By group.
    pub group: BTreeMap<String, BTreeSet<Id>>,
    /// By desired status: RUNNING.
    pub wanted: BTreeSet<Id>,
    /// By desired status: STOPPED.
    pub unwanted: BTreeSet<Id>,
    /// Not yet RUNNING.
    pub pending: BTreeSet<Id>,
    /// To stop, but not yet STOPPED.
    pub stopping: BTreeSet<Id>,
    /// To retire, by when.
    pub retiring: BTreeSet<(longshore_seams::Timestamp, Id)>,
    /// STOPPED, by when.
    pub stopped: BTreeSet<(longshore_seams::Timestamp, Id)>,
    /// RUNNING tasks.
    pub running_count: usize,
    /// Numbers of tasks on Fargate that quotas count.
    pub fargate: FargateTasks,
    /// Numbers of RUNNING and of pending tasks by launch type.
    pub launch_types: BTreeMap<String, (usize, usize)>,
}

fn add(index: &mut BTreeMap<String, BTreeSet<Id>>, key: &str, id: Id) {
    match index.get_mut(key) {
        Some(ids) => {
            ids.insert(id);
        }
        None => {
            index.insert(key.to_owned(), BTreeSet::from([id]));
        }
    }
}

fn remove(index: &mut BTreeMap<String, BTreeSet<Id>>, key: &str, id: Id) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}

/// Whether a task counts as pending: everything before RUNNING.
fn is_pending(task: &TaskRecord) -> bool {
    task.last_status < TaskStatus::Running
}

impl TaskIndex {
    fn counts(&mut self, task: &TaskRecord) -> &mut (usize, usize) {
        let name = task.launch_type.as_str();
        if !self.launch_types.contains_key(name) {
            self.launch_types.insert(name.to_owned(), (0, 0));
        }
        self.launch_types.get_mut(name).expect("was inserted above")
    }

    pub(super) fn insert(&mut self, task: &TaskRecord) {
        // Families of daemon task definitions are others, though their names may be the same.
        if task.daemon.is_none() {
            add(&mut self.family, &task.family, task.id);
        }
        add(&mut self.group, &task.group, task.id);
        if let Some(started_by) = &task.started_by {
            add(&mut self.started_by, started_by, task.id);
        }
        match task.desired_status {
            DesiredStatus::Running => self.wanted.insert(task.id),
            DesiredStatus::Stopped => self.unwanted.insert(task.id),
        };
        if task.desired_status == DesiredStatus::Stopped && task.last_status != TaskStatus::Stopped {
            self.stopping.insert(task.id);
        }
        if let Some(at) = task.retires_at.filter(|_| task.desired_status == DesiredStatus::Running) {
            self.retiring.insert((at, task.id));
        }
        if is_pending(task) {
            self.pending.insert(task.id);
            self.counts(task).1 += 1;
        }
        if task.last_status == TaskStatus::Running {
            self.running_count += 1;
            self.counts(task).0 += 1;
        }
        self.fargate += FargateTasks::of(task);
        if task.last_status == TaskStatus::Stopped {
            self.stopped.insert((task.times.stopped.unwrap_or(task.created_at), task.id));
        }
    }

    pub(super) fn remove(&mut self, task: &TaskRecord) {
        remove(&mut self.family, &task.family, task.id);
        remove(&mut self.group, &task.group, task.id);
        if let Some(started_by) = &task.started_by {
            remove(&mut self.started_by, started_by, task.id);
        }
        self.wanted.remove(&task.id);
        self.unwanted.remove(&task.id);
        self.stopping.remove(&task.id);
        if let Some(at) = task.retires_at {
            self.retiring.remove(&(at, task.id));
        }
        if self.pending.remove(&task.id) {
            self.counts(task).1 -= 1;
        }
        if task.last_status == TaskStatus::Running {
            self.running_count -= 1;
            self.counts(task).0 -= 1;
        }
        self.fargate -= FargateTasks::of(task);
        self.stopped.remove(&(task.times.stopped.unwrap_or(task.created_at), task.id));
    }
}
