//! A task definition family in the working set.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use longshore_model::records::{FamilyRecord, TaskDefinitionRecord, TaskDefinitionStatus};

/// A task definition family.
#[derive(Debug)]
pub struct FamilyState {
    /// Its counter.
    pub record: Arc<FamilyRecord>,
    /// Its revisions.
    pub revisions: BTreeMap<u32, Arc<TaskDefinitionRecord>>,
    /// How many live tasks use each revision.
    pub tasks: BTreeMap<u32, usize>,
    by_status: BTreeMap<TaskDefinitionStatus, BTreeSet<u32>>,
}

impl FamilyState {
    pub(super) fn new(record: Arc<FamilyRecord>) -> Self {
        Self { record, revisions: BTreeMap::new(), tasks: BTreeMap::new(), by_status: BTreeMap::new() }
    }

    /// Puts a counter into `families`.
    pub(super) fn put_in(families: &mut BTreeMap<String, Self>, record: &Arc<FamilyRecord>) {
        match families.get_mut(&record.family) {
            Some(family) => family.record = record.clone(),
            None => {
                families.insert(record.family.clone(), Self::new(record.clone()));
            }
        }
    }

    /// Revisions with `status`, oldest first.
    #[must_use]
    pub fn with_status(&self, status: TaskDefinitionStatus) -> &BTreeSet<u32> {
        static NONE: BTreeSet<u32> = BTreeSet::new();
        self.by_status.get(&status).unwrap_or(&NONE)
    }

    /// The newest ACTIVE revision.
    #[must_use]
    pub fn newest_active(&self) -> Option<&Arc<TaskDefinitionRecord>> {
        self.revisions.get(self.with_status(TaskDefinitionStatus::Active).last()?)
    }

    pub(super) fn put(&mut self, record: &Arc<TaskDefinitionRecord>) {
        let revision = record.revision;
        if let Some(old) = self.revisions.insert(revision, record.clone()) {
            self.forget_status(old.status, revision);
        }
        self.by_status.entry(record.status).or_default().insert(revision);
    }

    pub(super) fn delete(&mut self, revision: u32) {
        if let Some(old) = self.revisions.remove(&revision) {
            self.forget_status(old.status, revision);
        }
    }

    fn forget_status(&mut self, status: TaskDefinitionStatus, revision: u32) {
        if let Some(revisions) = self.by_status.get_mut(&status) {
            revisions.remove(&revision);
        }
    }

    /// A task that uses `revision` came to life.
    pub(super) fn task_began(&mut self, revision: u32) {
        *self.tasks.entry(revision).or_default() += 1;
    }

    /// A task that used `revision` is live no more.
    pub(super) fn task_ended(&mut self, revision: u32) {
        if let Some(count) = self.tasks.get_mut(&revision) {
            *count -= 1;
            if *count == 0 {
                self.tasks.remove(&revision);
            }
        }
    }
}
