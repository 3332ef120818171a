//! What is known of a service's deployments beside the service itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use longshore_model::service::{ServiceDeploymentRecord, ServiceRecord, ServiceRevisionRecord};

use super::ClusterState;

/// Service deployments and revisions of one service.
#[derive(Debug, Default)]
pub struct ServiceHistory {
    /// Service deployments by id.
    pub deployments: BTreeMap<String, Arc<ServiceDeploymentRecord>>,
    /// Service revisions by number.
    pub revisions: BTreeMap<String, Arc<ServiceRevisionRecord>>,
}

impl ServiceHistory {
    fn is_empty(&self) -> bool {
        self.deployments.is_empty() && self.revisions.is_empty()
    }
}

impl ClusterState {
    /// The newest service deployment of a service.
    #[must_use]
    pub fn service_deployment(&self, service: &ServiceRecord) -> Option<&Arc<ServiceDeploymentRecord>> {
        let id = service.service_deployment.as_ref()?;
        self.service_history.get(&service.name)?.deployments.get(id)
    }

    fn history_of(&mut self, service: &str) -> &mut ServiceHistory {
        self.service_history.entry(service.to_owned()).or_default()
    }

    pub(super) fn put_service_deployment(&mut self, record: &Arc<ServiceDeploymentRecord>) {
        self.history_of(&record.service).deployments.insert(record.id.clone(), record.clone());
    }

    pub(super) fn put_service_revision(&mut self, record: &Arc<ServiceRevisionRecord>) {
        self.history_of(&record.service).revisions.insert(record.number.clone(), record.clone());
    }

    pub(super) fn delete_service_deployment(&mut self, service: &str, id: &str) {
        self.history_of(service).deployments.remove(id);
        self.forget_empty(service);
    }

    pub(super) fn delete_service_revision(&mut self, service: &str, number: &str) {
        self.history_of(service).revisions.remove(number);
        self.forget_empty(service);
    }

    fn forget_empty(&mut self, service: &str) {
        if self.service_history.get(service).is_some_and(ServiceHistory::is_empty) {
            self.service_history.remove(service);
        }
    }
}
