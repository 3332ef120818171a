//! Which services to look at, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longshore_model::records::TaskStatus;
use longshore_model::{Id, Scope};
use longshore_seams::Timestamp;

use super::ServiceScheduler;
use crate::changes::Change;
use crate::engine::CommitObserver;
use crate::reconcilers::Reconcilers;

/// Account and region, cluster, name.
pub(super) type Key = (Scope, Id, String);

#[derive(Debug, Default)]
pub(super) struct Agenda(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    services: BTreeSet<Key>,
    /// Clusters in which room was made, or lost.
    clusters: BTreeSet<(Scope, Id)>,
    due: BTreeMap<Key, Timestamp>,
    next_pass: Option<Timestamp>,
}

impl Agenda {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, keys: impl IntoIterator<Item = Key>) {
        self.inner().services.extend(keys);
    }

    /// Moves what has come due to the front; answers the clusters whose services are to be looked at.
    pub(super) fn due(&self, now: Timestamp) -> BTreeSet<(Scope, Id)> {
        let mut inner = self.inner();
        let due: Vec<Key> = inner.due.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for key in due {
            inner.due.remove(&key);
            inner.services.insert(key);
        }
        std::mem::take(&mut inner.clusters)
    }

    /// Whether it is time to look at every service; if so, it is not for the next `period`.
    pub(super) fn begin_pass(&self, now: Timestamp, period: Duration) -> bool {
        let mut inner = self.inner();
        let begin = inner.next_pass.is_none_or(|at| at <= now);
        if begin {
            inner.next_pass = Some(now.plus(period));
        }
        begin
    }

    pub(super) fn take(&self, most: usize) -> Vec<Key> {
        let mut inner = self.inner();
        let mut taken = Vec::new();
        while taken.len() < most {
            let Some(key) = inner.services.pop_first() else { break };
            taken.push(key);
        }
        taken
    }

    /// Looks at the service again at `due`.
    pub(super) fn wait(&self, key: &Key, due: Option<Timestamp>) {
        match due {
            Some(at) => self.inner().due.insert(key.clone(), at),
            None => self.inner().due.remove(key),
        };
    }
}

/// Puts what commits have changed on the agenda, and wakes the loop.
#[derive(Debug)]
pub struct ServiceWaker {
    agenda: Arc<Agenda>,
    reconcilers: Arc<Reconcilers>,
}

impl ServiceWaker {
    pub(super) fn new(agenda: Arc<Agenda>, reconcilers: Arc<Reconcilers>) -> Self {
        Self { agenda, reconcilers }
    }
}

impl CommitObserver for ServiceWaker {
    fn committed(&self, changes: &[Change]) {
        let mut inner = self.agenda.inner();
        for change in changes {
            match change {
                Change::PutService(scope, record) => {
                    inner.services.insert((scope.clone(), record.cluster, record.name.clone()));
                }
                Change::PutTask(scope, task) => {
                    if let Some(name) = task.group.strip_prefix("service:") {
                        inner.services.insert((scope.clone(), task.cluster, name.to_owned()));
                    }
                    if task.last_status == TaskStatus::Stopped {
                        inner.clusters.insert((scope.clone(), task.cluster));
                    }
                }
                Change::PutContainerInstance(scope, record) => {
                    inner.clusters.insert((scope.clone(), record.cluster));
                }
                Change::AgentConnected(scope, cluster, ..) => {
                    inner.clusters.insert((scope.clone(), *cluster));
                }
                _ => {}
            }
        }
        let work = !inner.services.is_empty() || !inner.clusters.is_empty();
        drop(inner);
        if work {
            self.reconcilers.wake(ServiceScheduler::NAME);
        }
    }
}
