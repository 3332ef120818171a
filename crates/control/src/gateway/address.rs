//! The container instance that a connection speaks for.

use std::sync::Arc;

use longshore_api::ServiceError;
use longshore_model::arn::InCluster;
use longshore_model::records::{ContainerInstanceStatus, TaskRecord};
use longshore_model::{Id, Scope};
use longshore_protocol::INACTIVE_INSTANCE;
use longshore_wire::RequestContext;

use crate::engine::Engine;
use crate::operations::container_instances::check_speaks_for;
use crate::service::scope_of;
use crate::state::{ClusterState, InstanceState, State};

/// Where a connected container instance is in the state.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub scope: Scope,
    pub cluster: Id,
    pub cluster_name: String,
    pub instance: Id,
}

impl Address {
    /// The instance named by its ARN, or by its id in the cluster `cluster`.
    ///
    /// # Errors
    /// `InactiveInstanceException` (the word makes agents wait an hour) when it was deregistered,
    /// `InvalidInstanceException` when it is unknown, `AccessDeniedException` when the caller is another's agent.
    pub fn resolve(
        engine: &Engine,
        context: &RequestContext,
        named: &str,
        cluster: &str,
    ) -> Result<Self, ServiceError> {
        let scope = scope_of(context);
        let (of, id) = match scope.in_cluster("container-instance", named) {
            InCluster::Qualified(of, id) => (of, id),
            InCluster::Bare(id) => (scope.cluster_name(cluster).unwrap_or(cluster), id),
            InCluster::Foreign => return Err(unknown(named)),
        };
        let id: Id = id.parse().map_err(|_| unknown(named))?;
        engine.peek(|state| {
            let cluster = state.scope(&scope).cluster_named(of).ok_or_else(|| unknown(named))?;
            let instance = cluster.instances.get(&id).ok_or_else(|| unknown(named))?;
            check_speaks_for(context, &instance.record)?;
            if instance.record.status == ContainerInstanceStatus::Inactive {
                let message = format!("The container instance {named} was deregistered.");
                return Err(ServiceError::client(INACTIVE_INSTANCE, message));
            }
            let (cluster, cluster_name) = (cluster.record.id, cluster.record.name.clone());
            Ok(Self { scope: scope.clone(), cluster, cluster_name, instance: id })
        })
    }

    /// The cluster and the instance, as long as they are there.
    pub fn look_up<'a>(&self, state: &'a State) -> Option<(&'a ClusterState, &'a InstanceState)> {
        let cluster = state.scope(&self.scope).clusters.get(&self.cluster)?;
        Some((cluster, cluster.instances.get(&self.instance)?))
    }

    /// The task called `id` when it is on this container instance, with its cluster.
    pub fn task_here<'a>(&self, state: &'a State, id: Id) -> Option<(&'a ClusterState, &'a Arc<TaskRecord>)> {
        let (own, instance) = self.look_up(state)?;
        let cluster = match instance.lent.get(&id) {
            Some(of) => state.scope(&self.scope).clusters.get(of)?,
            None => own,
        };
        let task = cluster.tasks.get(&id)?;
        (task.container_instance == Some(self.instance)).then_some((cluster, task))
    }

    pub fn cluster_arn(&self) -> String {
        self.scope.cluster_arn(&self.cluster_name)
    }

    pub fn instance_arn(&self) -> String {
        self.scope.container_instance_arn(&self.cluster_name, self.instance)
    }

    /// The task of this container instance that `arn` names. One of Fargate may be another cluster's.
    pub fn task<'a>(&self, state: &'a State, arn: &str) -> Option<&'a Arc<TaskRecord>> {
        let records = state.scope(&self.scope);
        let (cluster, id) = match self.scope.in_cluster("task", arn) {
            InCluster::Qualified(of, id) if of == self.cluster_name => (records.clusters.get(&self.cluster)?, id),
            InCluster::Qualified(of, id) => (records.cluster_named(of)?, id),
            InCluster::Bare(id) => return self.task_here(state, id.parse().ok()?).map(|(_, task)| task),
            InCluster::Foreign => return None,
        };
        let task = cluster.tasks.get(&id.parse().ok()?)?;
        (task.container_instance == Some(self.instance)).then_some(task)
    }
}

fn unknown(named: &str) -> ServiceError {
    ServiceError::client("InvalidInstanceException", format!("The container instance {named} is not known."))
}
