//! Availability Zone rebalancing: tasks move from the fullest zone to the emptiest, one after the other.

use std::collections::BTreeMap;

use longshore_api::ecs::{AvailabilityZoneRebalancing, Deployment, DeploymentRolloutState, LaunchType};
use longshore_model::capacity_provider::BUILT_IN;
use longshore_model::records::TaskRecord;
use longshore_model::service::{Bounds, DeploymentRecord};
use longshore_model::vpc;
use longshore_scheduler::{SpreadField, Strategy, ZONE};

use super::launch::{launch, strategies};
use super::work::Work;
use crate::operations::tasks::capacity::{Means, candidates, place_tasks};

impl Work<'_> {
    /// Marks a task of the fullest zone as one that leaves, when another has room for it. It stays
    /// until the one that takes its place is healthy.
    pub(super) fn rebalance(&mut self) {
        let Some(zones) = self.uneven_zones() else {
            return self.note_balance();
        };
        if !self.record.rebalancing {
            self.record.rebalancing = true;
            self.say(&format!("is not AZ balanced with {}. AZ Rebalancing in progress.", spelled(&zones)));
        }
        if let Some(at) = self.goes(&zones) {
            self.live[at].leaves = true;
        }
    }

    /// The task of the fullest zone that may go.
    fn goes(&self, zones: &BTreeMap<String, usize>) -> Option<usize> {
        let fullest = zones.iter().max_by_key(|(_, count)| **count).map(|(zone, _)| zone);
        let protected = |task: &TaskRecord| task.protected_until.is_some_and(|until| until > self.now);
        self.live.iter().rposition(|it| {
            it.wanted && it.healthy && !protected(it.task) && it.task.availability_zone.as_ref() == fullest
        })
    }

    /// Says that the zones are balanced, once the task that moved last has made place for its successor.
    fn note_balance(&mut self) {
        if !self.record.rebalancing {
            return;
        }
        let zones = self.zones();
        let desired = usize::try_from(self.record.desired_count).unwrap_or(0);
        let moving = is_even(&zones) && self.live.iter().filter(|it| it.wanted).count() > desired;
        if moving {
            return;
        }
        self.record.rebalancing = false;
        if is_even(&zones) {
            self.say(&format!("is AZ balanced with {}.", spelled(&zones)));
        }
    }

    /// Tasks by zone, when two zones differ by more than one and the emptiest has room.
    fn uneven_zones(&self) -> Option<BTreeMap<String, usize>> {
        let settings = &self.record.settings;
        let enabled = settings.availability_zone_rebalancing == Some(AvailabilityZoneRebalancing::Enabled);
        let primary = self.record.deployments.first().filter(|_| enabled && self.record.deployments.len() == 1)?;
        let rests = primary.rollout_state == DeploymentRolloutState::Completed;
        let external = primary.settings.launch_type == Some(LaunchType::External);
        let first = strategies(&self.record).into_iter().next();
        let spreads = matches!(first, Some(Strategy::Spread(SpreadField::Attribute(name))) if name == ZONE);
        let desired = usize::try_from(self.record.desired_count).unwrap_or(0);
        let room = Bounds::of(desired, settings.deployment_configuration.as_ref()).cap > desired;
        if !(rests && !external && spreads && room) || self.live.iter().any(|it| it.leaves) {
            return None;
        }
        // What ended is replaced first; what is being moved has one too many for a while.
        let wanted = || self.live.iter().filter(|it| it.wanted);
        if !(self.record.rebalancing || wanted().count() == desired && wanted().all(|it| it.healthy)) {
            return None;
        }
        let zones = self.zones();
        if is_even(&zones) {
            return None;
        }
        if self.record.rebalancing && wanted().count() > desired {
            // The one that takes its place is under way; it may have taken all the room there was.
            return Some(zones);
        }
        let fewest = *zones.values().min()?;
        let next = self.next_zone(primary, &zones)?;
        (zones.get(&next) == Some(&fewest)).then_some(zones)
    }

    /// The zone in which the task would be that takes the place of one of the fullest; none when there is no room.
    fn next_zone(&self, primary: &DeploymentRecord, zones: &BTreeMap<String, usize>) -> Option<String> {
        let (records, cluster) = (self.records, self.cluster);
        let (launch, request, capacity) = launch(self.scope, records, cluster, &self.record, primary).ok()?;
        // Which one goes decides which capacity provider gets the next.
        let goes = self.goes(zones)?;
        let existing = |provider: &str| {
            let stays = |at: usize| self.live[at].wanted && at != goes;
            let of = |at: &usize| self.live[*at].task.capacity_provider.as_deref() == Some(provider);
            (0..self.live.len()).filter(|at| stays(*at)).filter(of).count()
        };
        let means = Means { random: self.random, quotas: self.quotas };
        let placed = place_tasks(records, cluster, &launch, &request, &capacity.order(existing, 1), means);
        let spot = placed.spots.into_iter().next()?;
        let own = || spot.instance.node().attributes.get(ZONE).cloned().flatten();
        spot.subnet.as_ref().and_then(|subnet| subnet.zone.clone()).or_else(own)
    }

    /// Healthy tasks in each zone that has connected container instances; on Fargate, that the subnets are in.
    fn zones(&self) -> BTreeMap<String, usize> {
        let mut zones = match self.record.deployments.first() {
            Some(primary) if is_on_fargate(&primary.settings) => self.zones_of_subnets(&primary.settings),
            Some(primary) => self.zones_of_instances(&primary.settings),
            None => BTreeMap::new(),
        };
        for live in self.live.iter().filter(|it| it.wanted && it.healthy) {
            if let Some(count) = live.task.availability_zone.as_ref().and_then(|zone| zones.get_mut(zone)) {
                *count += 1;
            }
        }
        zones
    }

    /// None when one of the subnets is in no certain zone: then there is nothing to balance.
    fn zones_of_subnets(&self, settings: &Deployment) -> BTreeMap<String, usize> {
        let network = settings.network_configuration.as_ref().and_then(|it| it.awsvpc_configuration.as_ref());
        let subnets = network.and_then(|it| it.subnets.as_deref()).unwrap_or_default();
        let zone = |id: &String| vpc::subnet(self.scope, id).and_then(|subnet| subnet.zone).map(|zone| (zone, 0));
        subnets.iter().map(zone).collect::<Option<_>>().unwrap_or_default()
    }

    fn zones_of_instances(&self, settings: &Deployment) -> BTreeMap<String, usize> {
        let strategy = settings.capacity_provider_strategy.as_deref().unwrap_or_default();
        let takes = |provider: Option<&str>| {
            strategy.is_empty()
                || strategy.iter().any(|item| provider.is_some() && item.capacity_provider.as_deref() == provider)
        };
        let mut zones = BTreeMap::new();
        for instance in candidates(self.cluster, None) {
            if instance.agent_connected() && takes(instance.capacity_provider()) {
                zones.extend(instance.node().attributes.get(ZONE).cloned().flatten().map(|zone| (zone, 0)));
            }
        }
        zones
    }
}

fn is_on_fargate(settings: &Deployment) -> bool {
    let strategy = settings.capacity_provider_strategy.as_deref().unwrap_or_default();
    let first = strategy.first().and_then(|item| item.capacity_provider.as_deref());
    settings.launch_type == Some(LaunchType::Fargate) || first.is_some_and(|name| BUILT_IN.contains(&name))
}

fn is_even(zones: &BTreeMap<String, usize>) -> bool {
    let (most, fewest) = (zones.values().max(), zones.values().min());
    most.unwrap_or(&0).saturating_sub(*fewest.unwrap_or(&0)) <= 1
}

fn spelled(zones: &BTreeMap<String, usize>) -> String {
    let zones: Vec<String> = zones.iter().map(|(zone, count)| format!("{count} tasks in {zone}")).collect();
    zones.join(", ")
}
