//! What a service is asked for that only its deployments and service revisions show.

use longshore_api::ServiceError;
use longshore_api::ecs::{
    CreateServiceRequest, GatewayConnector, MonitoringConfiguration, PortMapping, Service, ServiceConnectConfiguration,
    ServiceRevision, ServiceVolumeConfiguration, TaskDefinition, UpdateServiceRequest, VpcLatticeConfiguration, error,
};
use serde::{Deserialize, Serialize};

use super::{connect, connectors, lattice};
use crate::ebs;

/// The metrics of a service.
const METRICS: [&str; 2] = ["CPUUtilization", "MemoryUtilization"];
/// How often they come, in seconds.
const RESOLUTIONS: [i32; 2] = [20, 60];

/// What a service is asked for beside its [`Service`] settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RevisionSettings {
    /// Service Connect, with its namespace filled in. None when it is not enabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_connect: Option<ServiceConnectConfiguration>,
    /// What its volumes that are configured at launch are like.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<ServiceVolumeConfiguration>,
    /// VPC Lattice target groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vpc_lattice: Vec<VpcLatticeConfiguration>,
    /// Gateway connectors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gateway_connectors: Vec<GatewayConnector>,
    /// Metrics of a finer resolution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<MonitoringConfiguration>,
}

impl RevisionSettings {
    /// Those of a new service, in a cluster with this default namespace.
    ///
    /// # Errors
    /// `InvalidParameterException` for Service Connect without a namespace.
    pub fn of(input: &CreateServiceRequest, default_namespace: Option<&str>) -> Result<Self, ServiceError> {
        let connect = input.service_connect_configuration.clone();
        Ok(Self {
            service_connect: connect::settled(connect, default_namespace)?,
            volumes: input.volume_configurations.clone().unwrap_or_default(),
            vpc_lattice: input.vpc_lattice_configurations.clone().unwrap_or_default(),
            gateway_connectors: input.gateway_connectors.clone().unwrap_or_default(),
            monitoring: input.monitoring.clone(),
        })
    }

    /// Those that a service revision shows.
    pub(super) fn of_revision(revision: &ServiceRevision) -> Self {
        Self {
            service_connect: revision.service_connect_configuration.clone(),
            volumes: revision.volume_configurations.clone().unwrap_or_default(),
            vpc_lattice: revision.vpc_lattice_configurations.clone().unwrap_or_default(),
            gateway_connectors: revision.gateway_connectors.clone().unwrap_or_default(),
            monitoring: revision.monitoring.clone(),
        }
    }

    /// These after an update: members that are given replace those that were, and empty lists remove them.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn updated(&self, input: &UpdateServiceRequest, default_namespace: Option<&str>) -> Result<Self, ServiceError> {
        let mut after = self.clone();
        if let Some(connect) = input.service_connect_configuration.clone() {
            after.service_connect = connect::settled(Some(connect), default_namespace)?;
        }
        let lists = (&input.volume_configurations, &input.vpc_lattice_configurations, &input.gateway_connectors);
        if let Some(volumes) = lists.0 {
            after.volumes.clone_from(volumes);
        }
        if let Some(lattice) = lists.1 {
            after.vpc_lattice.clone_from(lattice);
        }
        if let Some(connectors) = lists.2 {
            after.gateway_connectors.clone_from(connectors);
        }
        if input.monitoring.is_some() {
            after.monitoring.clone_from(&input.monitoring);
        }
        Ok(after)
    }

    /// Whether nothing was asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an update says anything of these.
    #[must_use]
    pub fn are_in(input: &UpdateServiceRequest) -> bool {
        input.service_connect_configuration.is_some()
            || input.volume_configurations.is_some()
            || input.vpc_lattice_configurations.is_some()
            || input.gateway_connectors.is_some()
            || input.monitoring.is_some()
    }

    /// Checks them together with the service's settings and its task definition, which only the EXTERNAL controller
    /// goes without.
    ///
    /// # Errors
    /// `InvalidParameterException`, naming the first rule that is broken.
    pub fn check(&self, settings: &Service, definition: Option<&TaskDefinition>) -> Result<(), ServiceError> {
        connect::check(self.service_connect.as_ref(), settings, definition)?;
        ebs::check_service(&self.volumes, settings, definition)?;
        lattice::check(&self.vpc_lattice, settings, definition)?;
        self.monitoring.as_ref().map_or(Ok(()), check_monitoring)?;
        connectors::check(&self.gateway_connectors, settings, definition)
    }
}

/// Metrics of services are of two kinds and come every 20 or 60 seconds.
fn check_monitoring(monitoring: &MonitoringConfiguration) -> Result<(), ServiceError> {
    for configuration in monitoring.metric_configurations.iter().flatten() {
        let mut names = configuration.metric_names.iter().flatten();
        if let Some(name) = names.find(|name| !METRICS.contains(&name.as_str())) {
            return refused(format!("The metric '{name}' is not supported: use {}.", METRICS.join(" or ")));
        }
        if let Some(seconds) = configuration.resolution_seconds.filter(|seconds| !RESOLUTIONS.contains(seconds)) {
            return refused(format!(
                "resolutionSeconds is {seconds}; it must be {} or {}.",
                RESOLUTIONS[0], RESOLUTIONS[1]
            ));
        }
    }
    Ok(())
}

pub(super) fn refused<T>(message: impl Into<String>) -> Result<T, ServiceError> {
    Err(error::invalid_parameter_exception(message))
}

/// The port mapping called `name`, of whichever container.
pub(super) fn port_mapping<'a>(definition: &'a TaskDefinition, name: &str) -> Option<&'a PortMapping> {
    let containers = definition.container_definitions.iter().flatten();
    let mut mappings = containers.flat_map(|container| container.port_mappings.iter().flatten());
    mappings.find(|mapping| mapping.name.as_deref() == Some(name))
}

/// The port mapping that `portName` names in `what`.
///
/// # Errors
/// `InvalidParameterException` when no container has it.
pub(super) fn named_port<'a>(
    definition: &'a TaskDefinition,
    what: &str,
    name: Option<&str>,
) -> Result<&'a PortMapping, ServiceError> {
    let name = name.unwrap_or_default();
    if name.is_empty() {
        return refused(format!("{what} needs a portName."));
    }
    port_mapping(definition, name).ok_or_else(|| {
        error::invalid_parameter_exception(format!(
            "{what} has the portName '{name}', which is not the name of a port mapping in the task definition."
        ))
    })
}
