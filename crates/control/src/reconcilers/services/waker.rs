//! What commits say about services.

use std::sync::Arc;

use longshore_model::records::TaskStatus;

use super::ServiceScheduler;
use crate::changes::Change;
use crate::engine::CommitObserver;
use crate::reconcilers::Reconcilers;
use crate::reconcilers::agenda::Agenda;

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
        let work = self.agenda.note(|noted| {
            for change in changes {
                match change {
                    Change::PutService(scope, record) => {
                        noted.keys.insert((scope.clone(), record.cluster, record.name.clone()));
                    }
                    Change::PutTask(scope, task) => {
                        if let Some(name) = task.group.strip_prefix("service:") {
                            noted.keys.insert((scope.clone(), task.cluster, name.to_owned()));
                        }
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
            self.reconcilers.wake(ServiceScheduler::NAME);
        }
    }
}
