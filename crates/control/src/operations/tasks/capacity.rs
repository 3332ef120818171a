//! Where tasks go: launch type, capacity provider strategy, or the cluster's default strategy.
//!
//! RunTask, the service scheduler and dry runs all place through [`place_tasks`].

use std::collections::BTreeMap;

use longshore_api::ServiceError;
use longshore_api::ecs::{
    CPUArchitecture, CapacityProviderStrategyItem, Compatibility, LaunchType, PlacementStrategy, TaskDefinition, error,
};
use longshore_model::Scope;
use longshore_model::capacity_provider::{CAPACITY_PROVIDER, FARGATE_SPOT};
use longshore_model::records::{ContainerInstanceStatus, TaskStatus};
use longshore_model::task_definition::{fargate_obstacle, managed_instances_obstacle};
use longshore_model::vpc::Subnet;
use longshore_scheduler::{Attribute, Refusal, Request, Share, SpreadField, Strategy, place, split};
use longshore_seams::Random;

use super::launch::Launch;
use crate::operations::capacity_providers;
use crate::quotas::{FargateQuota, FargateTasks, Quotas};
use crate::state::{ClusterState, InstanceState, LENT_GROUP, ScopeState};

fn invalid(message: impl Into<String>) -> ServiceError {
    error::invalid_parameter_exception(message)
}

/// What decides where tasks go.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Capacity {
    /// EC2, FARGATE or EXTERNAL.
    LaunchType(LaunchType),
    /// Capacity providers of one kind, with the launch type that tasks on them show.
    Strategy(LaunchType, Vec<Provider>),
}

/// A capacity provider of a strategy.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Provider {
    pub name: String,
    pub share: Share,
}

impl Capacity {
    /// Reads a request: the launch type or the strategy that it gives, else the cluster's default
    /// strategy, else EC2.
    ///
    /// # Errors
    /// `InvalidParameterException` for both at once, a launch type that only capacity providers have, and for a
    /// strategy out of its rules.
    pub fn of(
        state: &ScopeState,
        scope: &Scope,
        cluster: &ClusterState,
        launch_type: Option<&LaunchType>,
        strategy: Option<&[CapacityProviderStrategyItem]>,
    ) -> Result<Self, ServiceError> {
        let given = strategy.filter(|items| !items.is_empty());
        match (launch_type, given) {
            (Some(_), Some(_)) => Err(invalid(
                "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.",
            )),
            (Some(known @ (LaunchType::Ec2 | LaunchType::Fargate | LaunchType::External)), None) => {
                Ok(Self::LaunchType(known.clone()))
            }
            (Some(other), None) => Err(invalid(format!(
                "The launch type {} cannot be given: leave it out and name a capacity provider in a capacityProviderStrategy.",
                other.as_str()
            ))),
            (None, Some(items)) => Self::strategy(state, scope, cluster, items),
            (None, None) => match &cluster.record.default_strategy[..] {
                [] => Ok(Self::LaunchType(LaunchType::Ec2)),
                items => Self::strategy(state, scope, cluster, items),
            },
        }
    }

    fn strategy(
        state: &ScopeState,
        scope: &Scope,
        cluster: &ClusterState,
        items: &[CapacityProviderStrategyItem],
    ) -> Result<Self, ServiceError> {
        let associated = &cluster.record.capacity_providers;
        let items = capacity_providers::strategy(state, scope, items.to_vec(), associated)?;
        let count = |number: Option<i32>| number.and_then(|number| usize::try_from(number).ok()).unwrap_or(0);
        let mut providers: Vec<Provider> = items
            .into_iter()
            .map(|item| Provider {
                name: item.capacity_provider.unwrap_or_default(),
                share: Share { base: count(item.base), weight: count(item.weight) },
            })
            .collect();
        match &mut providers[..] {
            // The only provider gets everything, whatever its weight.
            [only] => only.share.weight = only.share.weight.max(1),
            all if all.iter().all(|provider| provider.share.weight == 0) => {
                return Err(invalid(
                    "The capacity provider strategy has only weights of 0. At least one capacity provider must have a weight greater than 0.",
                ));
            }
            _ => {}
        }
        // All are of one kind.
        let launch_type = providers.first().and_then(|it| capacity_providers::launch_type_of(state, &it.name));
        Ok(Self::Strategy(launch_type.unwrap_or(LaunchType::Ec2), providers))
    }

    /// Whether tasks go to machines that are lent to Fargate.
    pub fn is_fargate(&self) -> bool {
        self.launch_type() == LaunchType::Fargate
    }

    /// The launch type that its tasks show.
    pub fn launch_type(&self) -> LaunchType {
        match self {
            Self::LaunchType(launch_type) | Self::Strategy(launch_type, _) => launch_type.clone(),
        }
    }

    /// Refuses placement strategies where ECS chooses places itself (developer guide, "How Amazon ECS places tasks on
    /// container instances").
    ///
    /// # Errors
    /// `InvalidParameterException`.
    pub fn check_placement_strategies(&self, given: Option<&[PlacementStrategy]>) -> Result<(), ServiceError> {
        let launch_type = self.launch_type();
        let chooses = matches!(launch_type, LaunchType::Fargate | LaunchType::ManagedInstances);
        if !chooses || given.unwrap_or_default().is_empty() {
            return Ok(());
        }
        Err(invalid(format!("Placement strategies are not supported with {} launch type.", launch_type.as_str())))
    }

    /// Refuses a definition that can't be run there.
    ///
    /// # Errors
    /// `InvalidParameterException`.
    pub fn check_definition(&self, definition: &TaskDefinition) -> Result<(), ServiceError> {
        let launch_type = self.launch_type();
        let required = definition.requires_compatibilities.as_deref().unwrap_or_default();
        let named = |wanted: &Compatibility| wanted.as_str() == launch_type.as_str();
        let fits = match launch_type {
            LaunchType::Fargate => fargate_obstacle(definition).is_none(),
            LaunchType::ManagedInstances => managed_instances_obstacle(definition).is_none(),
            _ => required.is_empty() || required.iter().any(named),
        };
        if fits {
            return Ok(());
        }
        Err(invalid(format!("Task definition does not support launch_type {}.", launch_type.as_str())))
    }

    /// The capacity provider of each of `count` further tasks; `existing` tells how many tasks a
    /// provider has already.
    pub fn order(&self, existing: impl Fn(&str) -> usize, count: usize) -> Vec<Option<&str>> {
        match self {
            Self::LaunchType(_) => vec![None; count],
            Self::Strategy(_, providers) => {
                let shares: Vec<Share> = providers.iter().map(|provider| provider.share).collect();
                let held: Vec<usize> = providers.iter().map(|provider| existing(&provider.name)).collect();
                split(&shares, &held, count).into_iter().map(|at| Some(providers[at].name.as_str())).collect()
            }
        }
    }
}

/// The subnets of awsvpc tasks; none in other network modes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Network {
    pub subnets: Vec<Subnet>,
    /// Whether each task is to have a public address.
    pub public_ip: bool,
}

impl Network {
    /// The zones that the subnets bind tasks to; none when one of them is in no certain zone.
    pub fn zones(&self) -> Vec<String> {
        self.subnets.iter().map(|subnet| subnet.zone.clone()).collect::<Option<_>>().unwrap_or_default()
    }

    /// The subnet for a task in `zone`.
    fn in_zone(&self, zone: Option<&str>) -> Option<Subnet> {
        let there = self.subnets.iter().find(|subnet| subnet.zone.as_deref() == zone);
        there.or_else(|| self.subnets.iter().find(|subnet| subnet.zone.is_none())).or(self.subnets.first()).cloned()
    }
}

/// Where a task goes.
#[derive(Clone, Debug)]
pub(crate) struct Spot<'a> {
    pub instance: &'a InstanceState,
    pub gpus: Vec<String>,
    pub provider: Option<String>,
    /// Of an awsvpc task.
    pub subnet: Option<Subnet>,
}

impl<'a> Spot<'a> {
    /// Whether the task counts as one on FARGATE_SPOT.
    pub fn is_on_fargate_spot(&self) -> bool {
        self.provider.as_deref() == Some(FARGATE_SPOT)
    }

    /// On a container instance of the cluster.
    pub fn on(launch: &Launch<'_>, instance: &'a InstanceState, gpus: Vec<String>, provider: Option<&str>) -> Self {
        let zone = instance.node().attributes.get(longshore_scheduler::ZONE).and_then(Option::as_deref);
        let subnet = launch.network.in_zone(zone);
        Self { instance, gpus, provider: provider.map(str::to_owned), subnet }
    }
}

/// Tasks that were placed, and what refused the others.
#[derive(Debug, Default)]
pub(crate) struct Placed<'a> {
    pub spots: Vec<Spot<'a>>,
    pub unplaced: Vec<Unplaced<'a>>,
}

/// Candidates that did not take a task.
#[derive(Debug)]
pub(crate) enum Unplaced<'a> {
    /// Container instances, each with everything that stood in the way.
    Instances(Vec<(&'a InstanceState, Vec<Refusal>)>),
    /// Machines that are lent to Fargate, as [`Self::Instances`]; none of them had room.
    Fargate(Vec<(&'a InstanceState, Vec<Refusal>)>),
    /// A quota of Fargate is used up.
    Quota(FargateQuota),
    /// No container instance belongs to the capacity provider; `None` for the cluster itself.
    Empty(Option<String>),
}

impl Unplaced<'_> {
    /// The capacity provider that has no place, of a strategy of providers other than Fargate's.
    pub fn provider(&self) -> Option<&str> {
        match self {
            Self::Instances(refused) => refused.first().and_then(|(instance, _)| instance.capacity_provider()),
            Self::Empty(provider) => provider.as_deref(),
            Self::Fargate(_) | Self::Quota(_) => None,
        }
    }
}

/// With what places are chosen.
#[derive(Clone, Copy)]
pub(crate) struct Means<'a> {
    pub random: &'a dyn Random,
    pub quotas: &'a Quotas,
}

/// Places one task for each item of `order`, which names their capacity providers.
pub(crate) fn place_tasks<'a>(
    records: &'a ScopeState,
    cluster: &'a ClusterState,
    launch: &Launch<'_>,
    request: &Request,
    order: &[Option<&str>],
    means: Means<'_>,
) -> Placed<'a> {
    if launch.launch_type == LaunchType::Fargate {
        return place_on_fargate(records, cluster, launch, request, order, means);
    }
    let random = means.random;
    let mut counts: BTreeMap<Option<&str>, usize> = BTreeMap::new();
    for provider in order {
        *counts.entry(*provider).or_default() += 1;
    }
    let mut placed = Placed::default();
    for (provider, count) in counts {
        let of_provider =
            provider.map(|name| Attribute { name: CAPACITY_PROVIDER.to_owned(), value: Some(name.to_owned()) });
        if !cluster.placement.has_active(of_provider.as_slice()) {
            placed.unplaced.push(Unplaced::Empty(provider.map(str::to_owned)));
            continue;
        }
        let mut request = request.clone();
        request.attributes.extend(of_provider);
        let placement = cluster.placement.place(&request, count, random, |id| cluster.instances[&id].node());
        for assignment in placement.assignments {
            let instance = &cluster.instances[&assignment.node];
            placed.spots.push(Spot::on(launch, instance, assignment.gpus, provider));
        }
        let refused =
            placement.refused.into_iter().map(|refused| (&cluster.instances[&refused.node], refused.refusals));
        let refused: Vec<_> =
            refused.filter(|(it, _)| provider.is_none() || it.capacity_provider() == provider).collect();
        if !refused.is_empty() {
            placed.unplaced.push(Unplaced::Instances(refused));
        }
    }
    placed
}

/// The ACTIVE container instances, of one capacity provider or of the whole cluster.
pub(crate) fn candidates<'a>(cluster: &'a ClusterState, provider: Option<&str>) -> Vec<&'a InstanceState> {
    let active = |instance: &&InstanceState| instance.record.status == ContainerInstanceStatus::Active;
    let of_provider = |instance: &&InstanceState| provider.is_none() || instance.capacity_provider() == provider;
    cluster.visible_instances().filter(active).filter(of_provider).collect()
}

/// What is asked of machines that are lent to Fargate.
pub(crate) fn on_fargate(launch: &Launch<'_>, request: &Request) -> Request {
    Request {
        demand: request.demand.clone(),
        attributes: platform_attributes(&launch.definition.definition),
        constraints: Vec::new(),
        strategies: vec![Strategy::Spread(SpreadField::Instance)],
        group: LENT_GROUP.to_owned(),
        // The zone is the subnet's; the machines stand wherever the operator has them.
        zones: Vec::new(),
        lent: true,
    }
}

/// The tasks of `order` that the quotas of Fargate leave room for, and the quota that bars the others.
fn within_quotas<'a>(
    records: &ScopeState,
    launch: &Launch<'_>,
    order: &[Option<&'a str>],
    quotas: &Quotas,
) -> (Vec<Option<&'a str>>, Option<FargateQuota>) {
    let mut used = FargateTasks::default();
    for cluster in records.clusters.values() {
        used += cluster.index.fargate;
    }
    let (mut within, mut over) = (Vec::with_capacity(order.len()), None);
    for provider in order {
        let after = used + FargateTasks::one(*provider == Some(FARGATE_SPOT), launch.network.public_ip);
        match quotas.barring(&after) {
            Some(quota) => over = Some(quota),
            None => {
                used = after;
                within.push(*provider);
            }
        }
    }
    (within, over)
}

fn place_on_fargate<'a>(
    records: &'a ScopeState,
    cluster: &'a ClusterState,
    launch: &Launch<'_>,
    request: &Request,
    order: &[Option<&str>],
    means: Means<'_>,
) -> Placed<'a> {
    let (order, over) = within_quotas(records, launch, order, means.quotas);
    let lenders: Vec<&InstanceState> = records.lenders().collect();
    let nodes: Vec<_> = lenders.iter().map(|instance| instance.node()).collect();
    let request = on_fargate(launch, request);
    let placement = place(&nodes, &request, order.len(), means.random);
    let mut placed = Placed { unplaced: over.map(Unplaced::Quota).into_iter().collect(), ..Placed::default() };
    let mut zones = ZoneCounts::of(cluster, &launch.group, &launch.network.subnets);
    for (assignment, provider) in placement.assignments.into_iter().zip(&order) {
        placed.spots.push(Spot {
            instance: lenders[assignment.node],
            gpus: assignment.gpus,
            provider: provider.map(str::to_owned),
            subnet: zones.next(&launch.network.subnets),
        });
    }
    if placed.spots.len() < order.len() {
        let refused = placement.refused.into_iter().map(|refused| (lenders[refused.node], refused.refusals));
        placed.unplaced.push(Unplaced::Fargate(refused.collect()));
    }
    placed
}

/// What a machine must be to run tasks of `definition`.
pub(super) fn platform_attributes(definition: &TaskDefinition) -> Vec<Attribute> {
    let platform = definition.runtime_platform.as_ref();
    let windows = platform.and_then(|it| it.operating_system_family.as_ref());
    let windows = windows.is_some_and(|family| family.as_str().starts_with("WINDOWS"));
    let attribute = |name: &str, value: &str| Attribute { name: name.to_owned(), value: Some(value.to_owned()) };
    let mut attributes = vec![attribute("ecs.os-type", if windows { "windows" } else { "linux" })];
    match platform.and_then(|it| it.cpu_architecture.as_ref()) {
        Some(CPUArchitecture::Arm64) => attributes.push(attribute("ecs.cpu-architecture", "arm64")),
        Some(CPUArchitecture::X8664) => attributes.push(attribute("ecs.cpu-architecture", "x86_64")),
        _ => {}
    }
    attributes
}

/// Live tasks of a group by subnet: Fargate spreads over the zones of the subnets.
struct ZoneCounts(Vec<usize>);

impl ZoneCounts {
    fn of(cluster: &ClusterState, group: &str, subnets: &[Subnet]) -> Self {
        let mut counts = vec![0; subnets.len()];
        let ids = cluster.index.group.get(group).into_iter().flatten();
        for task in ids.filter_map(|id| cluster.tasks.get(id)).filter(|task| task.last_status != TaskStatus::Stopped) {
            let Some(interface) = &task.interface else { continue };
            if let Some(at) = subnets.iter().position(|subnet| subnet.id == interface.subnet) {
                counts[at] += 1;
            }
        }
        Self(counts)
    }

    /// The subnet with the fewest tasks in its zone; the first of equals.
    fn next(&mut self, subnets: &[Subnet]) -> Option<Subnet> {
        let in_zone = |at: usize| -> usize {
            let same = |other: &usize| {
                *other == at || (subnets[at].zone.is_some() && subnets[*other].zone == subnets[at].zone)
            };
            (0..subnets.len()).filter(same).map(|other| self.0[other]).sum()
        };
        let at = (0..subnets.len()).min_by_key(|at| (in_zone(*at), self.0[*at]))?;
        self.0[at] += 1;
        Some(subnets[at].clone())
    }
}
