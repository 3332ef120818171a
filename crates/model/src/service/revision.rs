//! Service revisions: what a service was at each of its deployments.

use longshore_api::ecs;
use longshore_seams::Timestamp;
use serde::{Deserialize, Serialize};

use super::{DeploymentRecord, RevisionSettings};
use crate::Id;
use crate::record::Record;

/// What a deployment puts in place. Never changed, except that images get the digests that its tasks found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceRevisionRecord {
    /// The cluster's incarnation.
    pub cluster: Id,
    /// The service's name.
    pub service: String,
    /// Nineteen digits: those of the deployment that it was made for.
    pub number: String,
    /// Task definition family.
    pub family: String,
    /// Task definition revision.
    pub revision: u32,
    /// What the service was like. ARNs and times are not in it.
    pub settings: ecs::ServiceRevision,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Record for ServiceRevisionRecord {
    const KIND: &'static str = "service revision";
    const FORMAT: u8 = 1;
}

impl ServiceRevisionRecord {
    /// The revision of a `service` with these settings that `deployment` puts in place.
    #[must_use]
    pub fn of(
        cluster: Id,
        service: &str,
        (settings, beside): (&ecs::Service, &RevisionSettings),
        deployment: &DeploymentRecord,
        definition: &ecs::TaskDefinition,
    ) -> Self {
        let image = |container: &ecs::ContainerDefinition| ecs::ContainerImage {
            container_name: container.name.clone(),
            image: container.image.clone(),
            image_digest: None,
        };
        let containers = definition.container_definitions.as_deref().unwrap_or_default();
        let own = &deployment.settings;
        Self {
            cluster,
            service: service.to_owned(),
            number: deployment.number().to_owned(),
            family: deployment.family.clone(),
            revision: deployment.revision,
            settings: ecs::ServiceRevision {
                capacity_provider_strategy: own.capacity_provider_strategy.clone(),
                launch_type: own.launch_type.clone(),
                platform_version: own.platform_version.clone(),
                platform_family: own.platform_family.clone(),
                network_configuration: own.network_configuration.clone(),
                load_balancers: settings.load_balancers.clone().filter(|list| !list.is_empty()),
                service_registries: settings.service_registries.clone().filter(|list| !list.is_empty()),
                container_images: Some(containers.iter().map(image).collect()),
                service_connect_configuration: own.service_connect_configuration.clone(),
                volume_configurations: own.volume_configurations.clone(),
                vpc_lattice_configurations: own.vpc_lattice_configurations.clone(),
                gateway_connectors: Some(beside.gateway_connectors.clone()).filter(|list| !list.is_empty()),
                monitoring: beside.monitoring.clone(),
                guard_duty_enabled: Some(false),
                ..ecs::ServiceRevision::default()
            },
            created_at: deployment.created_at,
        }
    }
}
