//! How much of something an account, a cluster or a service may have: the adjustable quotas of ECS.

use longshore_api::ServiceError;
use longshore_api::ecs::{LaunchType, error};
use longshore_model::capacity_provider::FARGATE_SPOT;
use longshore_model::records::{TaskRecord, TaskStatus};

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
    /// Tasks on Fargate, other than on FARGATE_SPOT, of an account in a region.
    pub fargate_tasks: usize,
    /// Tasks on FARGATE_SPOT of an account in a region.
    pub fargate_spot_tasks: usize,
    /// Tasks on Fargate with a public address of an account in a region.
    pub fargate_public_ips: usize,
    /// Tasks that RunTask may start on Fargate in a second, with bursts of five times as many; 0 for any number.
    /// On-Demand and Spot are counted apart.
    pub fargate_launches_per_second: usize,
    /// Tasks of a cluster that may wait for capacity, PROVISIONING.
    pub provisioning_tasks_per_cluster: usize,
    /// Tasks that the service scheduler may start for one service in a minute; 0 for any number. AWS has 500.
    pub service_task_launches_per_minute: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            clusters_per_account: 10_000,
            container_instances_per_cluster: 5_000,
            services_per_cluster: 5_000,
            tasks_per_service: 5_000,
            fargate_tasks: 1_000,
            fargate_spot_tasks: 1_000,
            fargate_public_ips: 1_000,
            // Machines of one's own are slow by themselves; AWS has 20.
            fargate_launches_per_second: 0,
            provisioning_tasks_per_cluster: 500,
            service_task_launches_per_minute: 0,
        }
    }
}

/// Tasks on Fargate that have not stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FargateTasks {
    /// Other than on FARGATE_SPOT.
    pub on_demand: usize,
    /// On FARGATE_SPOT.
    pub spot: usize,
    /// With a public address.
    pub public_ips: usize,
}

impl FargateTasks {
    /// What a task counts.
    #[must_use]
    pub fn of(task: &TaskRecord) -> Self {
        if task.launch_type != LaunchType::Fargate || task.last_status == TaskStatus::Stopped {
            return Self::default();
        }
        let on_spot = task.capacity_provider.as_deref() == Some(FARGATE_SPOT);
        Self::one(on_spot, task.interface.as_ref().is_some_and(|interface| interface.public))
    }

    /// A single task.
    #[must_use]
    pub fn one(on_spot: bool, public_ip: bool) -> Self {
        Self { on_demand: usize::from(!on_spot), spot: usize::from(on_spot), public_ips: usize::from(public_ip) }
    }
}

impl std::ops::AddAssign for FargateTasks {
    fn add_assign(&mut self, other: Self) {
        self.on_demand += other.on_demand;
        self.spot += other.spot;
        self.public_ips += other.public_ips;
    }
}

impl std::ops::Add for FargateTasks {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl std::ops::SubAssign for FargateTasks {
    fn sub_assign(&mut self, other: Self) {
        self.on_demand -= other.on_demand;
        self.spot -= other.spot;
        self.public_ips -= other.public_ips;
    }
}

/// A quota of tasks on Fargate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FargateQuota {
    /// `fargate-tasks`
    OnDemand,
    /// `fargate-spot-tasks`
    Spot,
    /// `fargate-public-ips`
    PublicIps,
}

impl FargateQuota {
    /// Its name among [`Quotas::NAMES`].
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OnDemand => "fargate-tasks",
            Self::Spot => "fargate-spot-tasks",
            Self::PublicIps => "fargate-public-ips",
        }
    }

    /// The failure of a task that is one too many (guide chapter 31).
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::OnDemand | Self::Spot => "You've reached the limit on the number of tasks you can run concurrently",
            Self::PublicIps => "You've reached the limit on the number of public IP addresses that tasks can have",
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
    pub const NAMES: [&str; 10] = [
        "clusters-per-account",
        "container-instances-per-cluster",
        "services-per-cluster",
        "tasks-per-service",
        "fargate-tasks",
        "fargate-spot-tasks",
        "fargate-public-ips",
        "fargate-launches-per-second",
        "provisioning-tasks-per-cluster",
        "service-task-launches-per-minute",
    ];

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
                "fargate-tasks" => &mut quotas.fargate_tasks,
                "fargate-spot-tasks" => &mut quotas.fargate_spot_tasks,
                "fargate-public-ips" => &mut quotas.fargate_public_ips,
                "fargate-launches-per-second" => &mut quotas.fargate_launches_per_second,
                "provisioning-tasks-per-cluster" => &mut quotas.provisioning_tasks_per_cluster,
                "service-task-launches-per-minute" => &mut quotas.service_task_launches_per_minute,
                _ => return Err(invalid()),
            };
            *quota = number;
        }
        Ok(quotas)
    }

    /// The quota that an account with these tasks on Fargate has exceeded.
    #[must_use]
    pub fn barring(&self, tasks: &FargateTasks) -> Option<FargateQuota> {
        if tasks.on_demand > self.fargate_tasks {
            Some(FargateQuota::OnDemand)
        } else if tasks.spot > self.fargate_spot_tasks {
            Some(FargateQuota::Spot)
        } else if tasks.public_ips > self.fargate_public_ips {
            Some(FargateQuota::PublicIps)
        } else {
            None
        }
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
                tasks_per_service: 7,
                fargate_tasks: 7,
                fargate_spot_tasks: 7,
                fargate_public_ips: 7,
                fargate_launches_per_second: 7,
                provisioning_tasks_per_cluster: 7,
                service_task_launches_per_minute: 7,
            }
        );
        assert_eq!(Quotas::with([]).unwrap(), Quotas::default());
        for wrong in ["clusters-per-account", "clusters-per-account=many", "wishes=3", ""] {
            assert!(Quotas::with([wrong]).unwrap_err().to_string().contains("tasks-per-service"), "{wrong}");
        }
    }
}
