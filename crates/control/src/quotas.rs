//! How much of something an account, a cluster or a service may have: the adjustable quotas of ECS.

use longshore_api::ServiceError;
use longshore_api::ecs::error;

/// Adjustable quotas. The defaults are those of AWS today (its guide of 2020, chapter 22, had lower ones).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// ACTIVE clusters of an account in a region.
    pub clusters_per_account: usize,
    /// Registered container instances of a cluster.
    pub container_instances_per_cluster: usize,
    /// Services of a cluster that are not INACTIVE.
    pub services_per_cluster: usize,
    /// Desired count of a service.
    pub tasks_per_service: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            clusters_per_account: 10_000,
            container_instances_per_cluster: 5_000,
            services_per_cluster: 5_000,
            tasks_per_service: 5_000,
        }
    }
}

/// A quota that is not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{given}' sets no quota: use NAME=NUMBER, where NAME is one of {}", Quotas::NAMES.join(", "))]
pub struct InvalidQuota {
    given: String,
}

impl Quotas {
    /// Their names.
    pub const NAMES: [&str; 4] =
        ["clusters-per-account", "container-instances-per-cluster", "services-per-cluster", "tasks-per-service"];

    /// The defaults, but for what `given` (`NAME=NUMBER`) says.
    ///
    /// # Errors
    /// A name that is none, a number that is none.
    pub fn with<'a>(given: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidQuota> {
        let mut quotas = Self::default();
        for given in given {
            let invalid = || InvalidQuota { given: given.to_owned() };
            let (name, number) = given.split_once('=').ok_or_else(invalid)?;
            let number = number.trim().parse().map_err(|_| invalid())?;
            let quota = match name.trim() {
                "clusters-per-account" => &mut quotas.clusters_per_account,
                "container-instances-per-cluster" => &mut quotas.container_instances_per_cluster,
                "services-per-cluster" => &mut quotas.services_per_cluster,
                "tasks-per-service" => &mut quotas.tasks_per_service,
                _ => return Err(invalid()),
            };
            *quota = number;
        }
        Ok(quotas)
    }

    /// Whether an account that has `active` clusters may make one more.
    ///
    /// # Errors
    /// `ClientException`.
    pub fn check_clusters(&self, active: usize) -> Result<(), ServiceError> {
        let most = self.clusters_per_account;
        if active < most {
            return Ok(());
        }
        Err(error::client_exception(format!(
            "The account has {active} clusters in this region; the quota clusters-per-account is {most}. Delete some first."
        )))
    }

    /// Whether a cluster that has `registered` container instances takes one more.
    ///
    /// # Errors
    /// `ClientException`.
    pub fn check_container_instances(&self, registered: usize) -> Result<(), ServiceError> {
        let most = self.container_instances_per_cluster;
        if registered < most {
            return Ok(());
        }
        Err(error::client_exception(format!(
            "The cluster has {registered} container instances; the quota container-instances-per-cluster is {most}. Deregister some first."
        )))
    }

    /// Whether a cluster that has `services` takes one more.
    ///
    /// # Errors
    /// `InvalidParameterException`.
    pub fn check_services(&self, services: usize) -> Result<(), ServiceError> {
        let most = self.services_per_cluster;
        if services < most {
            return Ok(());
        }
        Err(error::invalid_parameter_exception(format!(
            "The cluster has {services} services; the quota services-per-cluster is {most}. Delete some first."
        )))
    }

    /// Whether a service may want `desired` tasks.
    ///
    /// # Errors
    /// `InvalidParameterException`.
    pub fn check_desired_count(&self, desired: i32) -> Result<(), ServiceError> {
        let most = self.tasks_per_service;
        if usize::try_from(desired).is_ok_and(|desired| desired > most) {
            return Err(error::invalid_parameter_exception(format!(
                "desiredCount is {desired}; the quota tasks-per-service is {most}."
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quota_can_be_set_by_its_name() {
        let given: Vec<String> = Quotas::NAMES.iter().map(|name| format!("{name}=7")).collect();
        let quotas = Quotas::with(given.iter().map(String::as_str)).unwrap();
        assert_eq!(
            quotas,
            Quotas {
                clusters_per_account: 7,
                container_instances_per_cluster: 7,
                services_per_cluster: 7,
                tasks_per_service: 7
            }
        );
        assert_eq!(Quotas::with([]).unwrap(), Quotas::default());
        for wrong in ["clusters-per-account", "clusters-per-account=many", "wishes=3", ""] {
            assert!(Quotas::with([wrong]).unwrap_err().to_string().contains("tasks-per-service"), "{wrong}");
        }
    }
}
