//! Which services or daemons to look at, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longshore_model::{Id, Scope};
use longshore_seams::Timestamp;

use crate::engine::Engine;
use crate::state::ClusterState;

/// Account and region, cluster, name.
pub(super) type Key = (Scope, Id, String);

#[derive(Debug, Default)]
pub(super) struct Agenda(Mutex<Inner>);

/// What commits put on an agenda.
#[derive(Debug, Default)]
pub(super) struct Inner {
    /// What has changed.
    pub keys: BTreeSet<Key>,
    /// Clusters in which room was made, or lost.
    pub clusters: BTreeSet<(Scope, Id)>,
    due: BTreeMap<Key, Timestamp>,
    /// By the monotonic clock: one that is set back must not keep the loop from looking.
    next_pass: Option<Duration>,
}

impl Agenda {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `note` put things on the agenda; answers whether there is something on it.
    pub(super) fn note(&self, note: impl FnOnce(&mut Inner)) -> bool {
        let mut inner = self.inner();
        note(&mut inner);
        !inner.keys.is_empty() || !inner.clusters.is_empty()
    }

    pub(super) fn add(&self, keys: impl IntoIterator<Item = Key>) {
        self.inner().keys.extend(keys);
    }

    /// Moves what has come due to the front; answers the clusters in which everything is to be looked at.
    fn due(&self, now: Timestamp) -> BTreeSet<(Scope, Id)> {
        let mut inner = self.inner();
        let due: Vec<Key> = inner.due.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for key in due {
            inner.due.remove(&key);
            inner.keys.insert(key);
        }
        std::mem::take(&mut inner.clusters)
    }

    /// Whether it is time to look at everything; if so, it is not for the next `period`.
    fn begin_pass(&self, now: Duration, period: Duration) -> bool {
        let mut inner = self.inner();
        let begin = inner.next_pass.is_none_or(|at| at <= now);
        if begin {
            inner.next_pass = Some(now.saturating_add(period));
        }
        begin
    }

    /// Puts on the agenda what is due, and everything when that is due; answers the next `most`.
    /// `names` are a cluster's services or daemons.
    pub(super) fn next(
        &self,
        engine: &Engine,
        look_again: Duration,
        most: usize,
        names: impl Fn(&ClusterState) -> Vec<String>,
    ) -> Vec<Key> {
        let clock = &engine.seams().clock;
        let clusters = self.due(clock.now());
        let every = self.begin_pass(clock.monotonic(), look_again);
        if every || !clusters.is_empty() {
            let keys: Vec<Key> = engine.peek(|state| {
                let all = state
                    .scopes()
                    .flat_map(|(scope, records)| records.clusters.values().map(move |cluster| (scope, cluster)));
                let looked_at =
                    all.filter(|(scope, cluster)| every || clusters.contains(&((*scope).clone(), cluster.record.id)));
                let keys = looked_at.flat_map(|(scope, cluster)| {
                    names(cluster).into_iter().map(move |name| (scope.clone(), cluster.record.id, name))
                });
                keys.collect()
            });
            self.add(keys);
        }
        self.take(most)
    }

    fn take(&self, most: usize) -> Vec<Key> {
        let mut inner = self.inner();
        let mut taken = Vec::new();
        while taken.len() < most {
            let Some(key) = inner.keys.pop_first() else { break };
            taken.push(key);
        }
        taken
    }

    /// Looks at it again at `due`.
    pub(super) fn wait(&self, key: &Key, due: Option<Timestamp>) {
        match due {
            Some(at) => self.inner().due.insert(key.clone(), at),
            None => self.inner().due.remove(key),
        };
    }
}
