//! Service revisions: what a service was at each of its deployments.

use longshore_api::ecs;
use longshore_seams::Timestamp;
use serde::{Deserialize, Serialize};

use super::rules::is_fargate;
use super::{DeploymentRecord, RevisionSettings, ServiceRecord};
use crate::record::Record;
use crate::{Id, fargate};

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

    /// Makes a service again what it was like when this revision was made, as far as revisions keep it: what a
    /// rollback does. Counts, percentages and tags stay.
    pub fn restore(&self, service: &mut ServiceRecord) {
        let (kept, settings) = (&self.settings, &mut service.settings);
        settings.capacity_provider_strategy.clone_from(&kept.capacity_provider_strategy);
        settings.launch_type.clone_from(&kept.launch_type);
        settings.network_configuration.clone_from(&kept.network_configuration);
        settings.platform_family.clone_from(&kept.platform_family);
        settings.load_balancers = Some(kept.load_balancers.clone().unwrap_or_default());
        settings.service_registries = Some(kept.service_registries.clone().unwrap_or_default());
        // A revision has the number that LATEST stood for; the service goes on with LATEST.
        let latest = settings.platform_version.as_deref() == Some(fargate::LATEST);
        if kept.platform_version.is_none() || !latest {
            settings.platform_version.clone_from(&kept.platform_version);
        }
        if kept.load_balancers.is_none() {
            settings.health_check_grace_period_seconds = None;
        }
        if is_fargate(settings) {
            settings.placement_constraints = Some(Vec::new());
            settings.placement_strategy = Some(Vec::new());
        }
        service.revision_settings = RevisionSettings::of_revision(kept);
    }
}

#[cfg(test)]
mod tests {
    use longshore_api::ecs::{LaunchType, PlacementConstraint, Service, ServiceRevision};

    use super::*;

    fn cluster() -> Id {
        "00000000000000000000000000000001".parse().expect("32 digits")
    }

    fn service(settings: Service) -> ServiceRecord {
        let mut record: ServiceRecord = serde_json::from_value(serde_json::json!({
            "cluster": cluster(), "name": "web", "status": "ACTIVE", "desired_count": 1, "settings": {},
            "created_at": Timestamp::from_secs(0), "created_by": "root",
        }))
        .unwrap();
        record.settings = settings;
        record
    }

    fn revision(settings: ServiceRevision) -> ServiceRevisionRecord {
        ServiceRevisionRecord {
            cluster: cluster(),
            service: "web".to_owned(),
            number: "1".to_owned(),
            family: "web".to_owned(),
            revision: 1,
            settings,
            created_at: Timestamp::from_secs(0),
        }
    }

    fn on_fargate(version: &str) -> ServiceRevision {
        ServiceRevision {
            launch_type: Some(LaunchType::Fargate),
            platform_version: Some(version.to_owned()),
            platform_family: Some("Linux".to_owned()),
            ..ServiceRevision::default()
        }
    }

    #[test]
    fn a_service_on_fargate_goes_on_with_latest() {
        for (given, expected) in [("LATEST", "LATEST"), ("1.3.0", "1.4.0")] {
            let mut record = service(Service {
                launch_type: Some(LaunchType::Fargate),
                platform_version: Some(given.to_owned()),
                ..Service::default()
            });
            revision(on_fargate("1.4.0")).restore(&mut record);
            assert_eq!(record.settings.platform_version.as_deref(), Some(expected), "{given}");
        }
    }

    #[test]
    fn what_belongs_to_another_launch_type_goes_with_it() {
        let mut record = service(Service {
            launch_type: Some(LaunchType::Ec2),
            placement_constraints: Some(vec![PlacementConstraint::default()]),
            ..Service::default()
        });
        revision(on_fargate("1.4.0")).restore(&mut record);
        assert_eq!(record.settings.placement_constraints, Some(Vec::new()));
        assert_eq!(record.settings.platform_family.as_deref(), Some("Linux"));
        let on_ec2 = ServiceRevision { launch_type: Some(LaunchType::Ec2), ..ServiceRevision::default() };
        record.settings.platform_version = Some("LATEST".to_owned());
        revision(on_ec2).restore(&mut record);
        assert_eq!((record.settings.platform_version, record.settings.platform_family), (None, None));
    }
}
