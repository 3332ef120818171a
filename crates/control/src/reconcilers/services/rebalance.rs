//! Availability Zone rebalancing: tasks move from the fullest zone to the emptiest, one after the other.

use std::collections::BTreeMap;

use longshore_api::ecs::{AvailabilityZoneRebalancing, DeploymentRolloutState, LaunchType};
use longshore_model::service::Bounds;
use longshore_scheduler::{SpreadField, Strategy, ZONE, refusals};

use super::launch::{launch, strategies};
use super::work::Work;
use crate::operations::tasks::capacity::candidates;

impl Work<'_> {
    /// Marks a task of the fullest zone as one that leaves, when another has room for it. It stays
    /// until the one that takes its place is healthy.
    pub(super) fn rebalance(&mut self) {
        let Some(zones) = self.uneven_zones() else {
            return self.note_balance();
        };
        let fullest = zones.iter().max_by_key(|(_, count)| **count).map(|(zone, _)| zone.clone());
        if !self.record.rebalancing {
            self.record.rebalancing = true;
            self.say(&format!("is not AZ balanced with {}. AZ Rebalancing in progress.", spelled(&zones)));
        }
        let now = self.now;
        let mut movable = self.live.iter_mut().filter(|it| {
            let protected = it.task.protected_until.is_some_and(|until| until > now);
            it.wanted && it.healthy && !protected && it.task.availability_zone == fullest
        });
        if let Some(live) = movable.next_back() {
            live.leaves = true;
        }
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
        let on_instances = primary.settings.launch_type == Some(LaunchType::Ec2);
        let first = strategies(&self.record).into_iter().next();
        let spreads = matches!(first, Some(Strategy::Spread(SpreadField::Attribute(name))) if name == ZONE);
        let desired = usize::try_from(self.record.desired_count).unwrap_or(0);
        let room = Bounds::of(desired, settings.deployment_configuration.as_ref()).cap > desired;
        if !(rests && on_instances && spreads && room) || self.live.iter().any(|it| it.leaves) {
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
        let fewest = zones.values().min()?;
        let empty: Vec<&String> = zones.iter().filter(|(_, count)| *count == fewest).map(|(zone, _)| zone).collect();
        let (_, request, _) = launch(self.scope, self.records, self.cluster, &self.record, primary).ok()?;
        let mut open = candidates(self.cluster, None).into_iter().filter(|instance| {
            let zone = instance.node().attributes.get(ZONE).cloned().flatten();
            zone.is_some_and(|zone| empty.contains(&&zone))
        });
        open.any(|instance| refusals(instance.node(), &request).is_empty()).then_some(zones)
    }

    /// Healthy tasks in each zone that has connected container instances.
    fn zones(&self) -> BTreeMap<String, usize> {
        let mut zones = BTreeMap::new();
        for instance in candidates(self.cluster, None).into_iter().filter(|it| it.agent_connected()) {
            if let Some(zone) = instance.node().attributes.get(ZONE).cloned().flatten() {
                zones.insert(zone, 0);
            }
        }
        for live in self.live.iter().filter(|it| it.wanted && it.healthy) {
            if let Some(count) = live.task.availability_zone.as_ref().and_then(|zone| zones.get_mut(zone)) {
                *count += 1;
            }
        }
        zones
    }
}

fn is_even(zones: &BTreeMap<String, usize>) -> bool {
    let (most, fewest) = (zones.values().max(), zones.values().min());
    most.unwrap_or(&0).saturating_sub(*fewest.unwrap_or(&0)) <= 1
}

fn spelled(zones: &BTreeMap<String, usize>) -> String {
    let zones: Vec<String> = zones.iter().map(|(zone, count)| format!("{count} tasks in {zone}")).collect();
    zones.join(", ")
}
