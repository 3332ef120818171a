//! What commits say about services or daemons.

use std::sync::Arc;

use longshore_model::records::TaskStatus;

use super::Reconcilers;
use super::agenda::{Agenda, Key};
use crate::changes::Change;
use crate::engine::CommitObserver;

/// Puts what commits have changed on the agenda of a loop, and wakes it.
#[derive(Debug)]
pub struct Waker {
    /// The loop.
    pub(super) name: &'static str,
    /// The service or daemon that a change is about.
    pub(super) about: fn(&Change) -> Option<Key>,
    pub(super) agenda: Arc<Agenda>,
    pub(super) reconcilers: Arc<Reconcilers>,
}

impl CommitObserver for Waker {
    fn committed(&self, changes: &[Change]) {
        let work = self.agenda.note(|noted| {
            noted.keys.extend(changes.iter().filter_map(self.about));
            for change in changes {
                match change {
                    // Room for what found none, or the last task that something had to wait for.
                    Change::PutTask(scope, task) if task.last_status == TaskStatus::Stopped => {
                        noted.clusters.insert((scope.clone(), task.cluster));
                    }
                    Change::PutContainerInstance(scope, record) => {
                        noted.clusters.insert((scope.clone(), record.cluster));
                    }
                    Change::AgentConnected(scope, cluster, ..) => {
                        noted.clusters.insert((scope.clone(), *cluster));
                    }
                    _ => {}
                }
            }
        });
        if work {
            self.reconcilers.wake(self.name);
        }
    }
}
