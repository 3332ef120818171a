//! What commits say about daemons.

use std::sync::Arc;

use longshore_model::records::TaskStatus;

use super::DaemonScheduler;
use crate::changes::Change;
use crate::engine::CommitObserver;
use crate::reconcilers::Reconcilers;
use crate::reconcilers::agenda::Agenda;

/// Puts what commits have changed on the agenda, and wakes the loop.
#[derive(Debug)]
pub struct DaemonWaker {
    agenda: Arc<Agenda>,
    reconcilers: Arc<Reconcilers>,
}

impl DaemonWaker {
    pub(super) fn new(agenda: Arc<Agenda>, reconcilers: Arc<Reconcilers>) -> Self {
        Self { agenda, reconcilers }
    }
}

impl CommitObserver for DaemonWaker {
    fn committed(&self, changes: &[Change]) {
        let work = self.agenda.note(|noted| {
            for change in changes {
                match change {
                    Change::PutDaemon(scope, record) => {
                        noted.keys.insert((scope.clone(), record.cluster, record.name.clone()));
                    }
                    Change::PutTask(scope, task) => {
                        if let Some(name) = &task.daemon {
                            noted.keys.insert((scope.clone(), task.cluster, name.clone()));
                        }
                        // Room for a daemon that found none, or the last task that one had to wait for.
                        if task.last_status == TaskStatus::Stopped {
                            noted.clusters.insert((scope.clone(), task.cluster));
                        }
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
            self.reconcilers.wake(DaemonScheduler::NAME);
        }
    }
}
