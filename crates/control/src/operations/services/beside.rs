//! What a service is asked for beside its settings, checked against what else there is.

use longshore_api::ServiceError;
use longshore_api::ecs::{AccessType, Service, TaskDefinition, error};
use longshore_model::Scope;
use longshore_model::service::{RevisionSettings, ServiceStatus, connect, connectors};

use crate::state::{ClusterState, ScopeState};

/// Checks `beside` of the service called `name`.
///
/// # Errors
/// `InvalidParameterException`, naming the first rule that is broken.
pub(super) fn check(
    state: &ScopeState,
    scope: &Scope,
    (cluster, name): (&ClusterState, &str),
    beside: &RevisionSettings,
    settings: &Service,
    definition: Option<&TaskDefinition>,
) -> Result<(), ServiceError> {
    beside.check(settings, definition)?;
    check_namespace(state, scope, (cluster, name), beside)
}

/// Endpoints of a namespace are told apart by their names, in whichever cluster they are.
fn check_namespace(
    state: &ScopeState,
    scope: &Scope,
    (cluster, name): (&ClusterState, &str),
    beside: &RevisionSettings,
) -> Result<(), ServiceError> {
    let Some(own) = &beside.service_connect else { return Ok(()) };
    let namespace = own.namespace.as_deref().unwrap_or_default();
    connect::check_namespace(scope, namespace)?;
    for other in state.clusters.values() {
        for service in other.services.values().filter(|it| it.status != ServiceStatus::Inactive) {
            let Some(known) = &service.revision_settings.service_connect else { continue };
            if other.record.id != cluster.record.id || service.name != name {
                connect::check_apart(own, &service.name, known)?;
            }
        }
    }
    Ok(())
}

/// Checks connectors that are new: each needs a gateway that the cluster may use, of a kind that it takes.
///
/// # Errors
/// `InvalidParameterException`.
pub(super) fn check_gateways(
    state: &ScopeState,
    cluster: &ClusterState,
    beside: &RevisionSettings,
) -> Result<(), ServiceError> {
    let associated = |it: &longshore_model::gateway::GatewayRecord| {
        let association = state.gateway_associations.get(&it.id).and_then(|of| of.get(&cluster.record.id));
        it.is_usable() && association.is_some_and(|known| known.active)
    };
    let kinds: Vec<AccessType> =
        state.gateways.values().filter(|it| associated(it)).map(|it| it.access_type()).collect();
    for connector in &beside.gateway_connectors {
        let wanted = connectors::access_types(connector);
        if !kinds.iter().any(|kind| wanted.is_empty() || wanted.contains(kind)) {
            let kind = match wanted {
                [one] => format!("{} gateway", one.as_str()),
                _ => "gateway".to_owned(),
            };
            return Err(error::invalid_parameter_exception(format!(
                "The cluster {} has no {kind} for the gateway connector of the port '{}': associate one with AssociateGatewayWithCluster.",
                cluster.record.name,
                connector.port_name.as_deref().unwrap_or_default()
            )));
        }
    }
    Ok(())
}
