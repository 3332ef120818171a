//! Indexes of the tasks of a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use longshore_model::Id;
use longshore_model::records::{DesiredStatus, TaskRecord, TaskStatus};
use longshore_seams::Timestamp;

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
    /// Waiting for capacity, by capacity provider, in the order in which they were accepted.
    pub waiting: BTreeMap<String, BTreeSet<(u64, Id)>>,
    /// To stop, but not yet STOPPED.
    pub stopping: BTreeSet<Id>,
    /// To retire, by when.
    pub retiring: BTreeSet<(Timestamp, Id)>,
    /// STOPPED, by when.
    pub stopped: BTreeSet<(Timestamp, Id)>,
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

fn is_wanted(task: &TaskRecord) -> bool {
    task.desired_status == DesiredStatus::Running
}

fn is_stopping(task: &TaskRecord) -> bool {
    !is_wanted(task) && task.last_status != TaskStatus::Stopped
}

/// When it stopped.
fn stopped(task: &TaskRecord) -> Option<(Timestamp, Id)> {
    let at = task.times.stopped.unwrap_or(task.created_at);
    (task.last_status == TaskStatus::Stopped).then_some((at, task.id))
}

/// When it is to retire.
fn retiring(task: &TaskRecord) -> Option<(Timestamp, Id)> {
    Some((task.retires_at.filter(|_| is_wanted(task))?, task.id))
}

/// The capacity provider that it waits for, and its turn there.
fn waiting(task: &TaskRecord) -> Option<(&str, (u64, Id))> {
    let waiting = task.waiting.as_ref()?;
    Some((task.capacity_provider.as_deref()?, (waiting.turn, task.id)))
}

impl TaskIndex {
    /// How many tasks wait for capacity, of all capacity providers together.
    #[must_use]
    pub fn waiting_count(&self) -> usize {
        self.waiting.values().map(BTreeSet::len).sum()
    }

    /// A task waits from now on, or waits no more.
    fn queue(&mut self, old: Option<&TaskRecord>, new: Option<&TaskRecord>) {
        let (before, now) = (old.and_then(waiting), new.and_then(waiting));
        if before == now {
            return;
        }
        if let Some((provider, turn)) = before
            && let Some(queue) = self.waiting.get_mut(provider)
        {
            queue.remove(&turn);
            if queue.is_empty() {
                self.waiting.remove(provider);
            }
        }
        if let Some((provider, turn)) = now {
            self.waiting.entry(provider.to_owned()).or_default().insert(turn);
        }
    }

    fn count(&mut self, task: &TaskRecord) {
        self.running_count += usize::from(task.last_status == TaskStatus::Running);
        let counts = self.counts(task);
        counts.0 += usize::from(task.last_status == TaskStatus::Running);
        counts.1 += usize::from(is_pending(task));
        self.fargate += FargateTasks::of(task);
    }

    fn counts(&mut self, task: &TaskRecord) -> &mut (usize, usize) {
        let name = task.launch_type.as_str();
        if !self.launch_types.contains_key(name) {
            self.launch_types.insert(name.to_owned(), (0, 0));
        }
        self.launch_types.get_mut(name).expect("was inserted above")
    }

    /// A task came, changed or went: `old` is as it was, `new` as it is. What it keeps is not looked at.
    pub(super) fn change(&mut self, old: Option<&TaskRecord>, new: Option<&TaskRecord>) {
        let Some(id) = new.or(old).map(|task| task.id) else { return };
        // Families of daemon task definitions are others, though their names may be the same.
        rename(&mut self.family, id, old, new, |task| task.daemon.is_none().then_some(&task.family));
        rename(&mut self.group, id, old, new, |task| Some(&task.group));
        rename(&mut self.started_by, id, old, new, |task| task.started_by.as_ref());
        let is = |kind: &dyn Fn(&TaskRecord) -> bool| (old.is_some_and(kind), new.is_some_and(kind));
        turn(&mut self.wanted, id, is(&is_wanted));
        turn(&mut self.unwanted, id, is(&|task| !is_wanted(task)));
        turn(&mut self.stopping, id, is(&is_stopping));
        turn(&mut self.pending, id, is(&is_pending));
        self.queue(old, new);
        plan(&mut self.stopped, old.and_then(stopped), new.and_then(stopped));
        plan(&mut self.retiring, old.and_then(retiring), new.and_then(retiring));
        if let Some(old) = old {
            self.running_count -= usize::from(old.last_status == TaskStatus::Running);
            let counts = self.counts(old);
            counts.0 -= usize::from(old.last_status == TaskStatus::Running);
            counts.1 -= usize::from(is_pending(old));
            self.fargate -= FargateTasks::of(old);
        }
        if let Some(new) = new {
            self.count(new);
        }
    }
}

/// The tasks of a cluster, as they are read, in the order of their ids.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    tasks: Vec<Arc<TaskRecord>>,
    family: Names,
    started_by: Names,
    group: Names,
    wanted: Vec<Id>,
    unwanted: Vec<Id>,
    pending: Vec<Id>,
    stopping: Vec<Id>,
    /// What takes little to keep.
    rest: TaskIndex,
}

impl Gathered {
    pub(super) fn add(&mut self, task: Arc<TaskRecord>) {
        let id = task.id;
        if task.daemon.is_none() {
            self.family.add(&task.family, id);
        }
        self.group.add(&task.group, id);
        if let Some(mark) = &task.started_by {
            self.started_by.add(mark, id);
        }
        if is_wanted(&task) { &mut self.wanted } else { &mut self.unwanted }.push(id);
        self.pending.extend(is_pending(&task).then_some(id));
        self.stopping.extend(is_stopping(&task).then_some(id));
        self.rest.queue(None, Some(&task));
        self.rest.stopped.extend(stopped(&task));
        self.rest.retiring.extend(retiring(&task));
        self.rest.count(&task);
        self.tasks.push(task);
    }

    pub(super) fn finish(self) -> (BTreeMap<Id, Arc<TaskRecord>>, TaskIndex) {
        let set = |ids: Vec<Id>| ids.into_iter().collect();
        let index = TaskIndex {
            family: self.family.finish(),
            started_by: self.started_by.finish(),
            group: self.group.finish(),
            wanted: set(self.wanted),
            unwanted: set(self.unwanted),
            pending: set(self.pending),
            stopping: set(self.stopping),
            ..self.rest
        };
        (self.tasks.into_iter().map(|task| (task.id, task)).collect(), index)
    }
}

/// The ids of tasks by a name that they have.
#[derive(Debug, Default)]
#[expect(clippy::disallowed_types, reason = "a million names are looked up, and the order goes nowhere")]
struct Names(std::collections::HashMap<String, Vec<Id>>);

impl Names {
    fn add(&mut self, name: &str, id: Id) {
        match self.0.get_mut(name) {
            Some(ids) => ids.push(id),
            None => {
                self.0.insert(name.to_owned(), vec![id]);
            }
        }
    }

    fn finish(self) -> BTreeMap<String, BTreeSet<Id>> {
        self.0.into_iter().map(|(name, ids)| (name, ids.into_iter().collect())).collect()
    }
}

/// Moves `id` from the name that `old` has to that of `new`.
fn rename<'a>(
    index: &mut BTreeMap<String, BTreeSet<Id>>,
    id: Id,
    old: Option<&'a TaskRecord>,
    new: Option<&'a TaskRecord>,
    name: impl Fn(&'a TaskRecord) -> Option<&'a String>,
) {
    let (before, now) = (old.and_then(&name), new.and_then(&name));
    if before == now {
        return;
    }
    if let Some(before) = before {
        remove(index, before, id);
    }
    if let Some(now) = now {
        add(index, now, id);
    }
}

/// Moves a task to another time.
fn plan(times: &mut BTreeSet<(Timestamp, Id)>, before: Option<(Timestamp, Id)>, now: Option<(Timestamp, Id)>) {
    if before == now {
        return;
    }
    if let Some(before) = before {
        times.remove(&before);
    }
    times.extend(now);
}

/// Puts `id` into `set` or takes it out.
fn turn(set: &mut BTreeSet<Id>, id: Id, (was, is): (bool, bool)) {
    match (was, is) {
        (false, true) => {
            set.insert(id);
        }
        (true, false) => {
            set.remove(&id);
        }
        _ => {}
    }
}
