//! The container instance that a connection speaks for.

use longshore_api::ServiceError;
use longshore_model::arn::InCluster;
use longshore_model::records::ContainerInstanceStatus;
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

    pub fn cluster_arn(&self) -> String {
        self.scope.cluster_arn(&self.cluster_name)
    }

    pub fn instance_arn(&self) -> String {
        self.scope.container_instance_arn(&self.cluster_name, self.instance)
    }

    /// The task of this cluster that `arn` names.
    pub fn task_id(&self, arn: &str) -> Option<Id> {
        match self.scope.in_cluster("task", arn) {
            InCluster::Qualified(of, id) if of == self.cluster_name => id.parse().ok(),
            InCluster::Bare(id) => id.parse().ok(),
            _ => None,
        }
    }
}

fn unknown(named: &str) -> ServiceError {
    ServiceError::client("InvalidInstanceException", format!("The container instance {named} is not known."))
}
