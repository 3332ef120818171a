//! Which tasks of a service go when there are too many: placement's rules, reversed (guide chapter 14).

use std::collections::BTreeMap;

use longshore_seams::{Random, Timestamp};

use crate::{BinpackField, Node, SpreadField, Strategy};

/// The attribute that names an instance's availability zone.
pub const ZONE: &str = "ecs.availability-zone";

/// How a service places tasks when it names no strategy: over zones, then over instances.
#[must_use]
pub fn service_default() -> Vec<Strategy> {
    vec![Strategy::Spread(SpreadField::Attribute(ZONE.to_owned())), Strategy::Spread(SpreadField::Instance)]
}

/// A task that may go.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Where it is, when that instance is still known.
    pub node: Option<&'a Node>,
    /// The task's own Availability Zone, where it is another than its instance's: on Fargate it is that of its subnet.
    pub zone: Option<&'a str>,
    /// Whether it runs already; one that does not goes first.
    pub running: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// CPU units and MiB that it gives back.
    pub freed: (i64, i64),
}

impl Candidate<'_> {
    /// An attribute of where it is.
    fn attribute(&self, name: &str) -> Option<String> {
        match self.zone {
            Some(zone) if name == ZONE => Some(zone.to_owned()),
            _ => self.node.and_then(|node| node.attributes.get(name).cloned().flatten()),
        }
    }
}

/// Indexes of the `count` candidates to stop, in order; each choice sees those before it.
///
/// `spread` takes from where most of the candidates are, `binpack` from the instance that has the
/// most left afterwards; what is equal is settled by age, the newest first, and then by `random`.
#[must_use]
pub fn scale_in(
    candidates: &[Candidate<'_>],
    strategies: &[Strategy],
    count: usize,
    random: &dyn Random,
) -> Vec<usize> {
    let mut left: Vec<usize> = (0..candidates.len()).collect();
    let mut freed: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    let mut crowds: Vec<Option<Crowd>> = strategies.iter().map(|strategy| Crowd::of(strategy, candidates)).collect();
    let mut chosen = Vec::new();
    while chosen.len() < count && !left.is_empty() {
        let mut best: Vec<usize> = left.clone();
        if best.iter().any(|at| !candidates[*at].running) {
            best.retain(|at| !candidates[*at].running);
        }
        for (strategy, crowd) in strategies.iter().zip(&crowds) {
            let weigh = |at: &usize| match crowd {
                Some(crowd) => crowd.counts[crowd.place_of[*at]],
                None => weight(strategy, &candidates[*at], &freed),
            };
            let costs: Vec<i64> = best.iter().map(weigh).collect();
            let Some(most) = costs.iter().max().copied() else { break };
            let mut costs = costs.into_iter();
            best.retain(|_| costs.next() == Some(most));
        }
        let newest = best.iter().map(|at| candidates[*at].created_at).max();
        best.retain(|at| Some(candidates[*at].created_at) == newest);
        let pick = random.below(best.len() as u64);
        let Some(at) = usize::try_from(pick).ok().and_then(|pick| best.get(pick)).copied() else { break };
        if let Some(node) = candidates[at].node {
            let given = freed.entry(node.id.as_str()).or_default();
            *given = (given.0 + candidates[at].freed.0, given.1 + candidates[at].freed.1);
        }
        crowds.iter_mut().flatten().for_each(|crowd| crowd.counts[crowd.place_of[at]] -= 1);
        left.retain(|other| *other != at);
        chosen.push(at);
    }
    chosen
}

/// How many of the candidates that are left share a place, for a `spread`.
struct Crowd {
    /// Each candidate's place.
    place_of: Vec<usize>,
    counts: Vec<i64>,
}

impl Crowd {
    /// None for a strategy that spreads nothing.
    fn of(strategy: &Strategy, candidates: &[Candidate<'_>]) -> Option<Self> {
        let Strategy::Spread(field) = strategy else { return None };
        let place = |candidate: &Candidate<'_>| match field {
            SpreadField::Instance => candidate.node.map(|node| node.id.clone()),
            SpreadField::Attribute(name) => candidate.attribute(name),
        };
        let mut places: BTreeMap<Option<String>, usize> = BTreeMap::new();
        let mut crowd = Self { place_of: Vec::with_capacity(candidates.len()), counts: Vec::new() };
        for candidate in candidates {
            let next = places.len();
            let place = *places.entry(place(candidate)).or_insert(next);
            if place == next {
                crowd.counts.push(0);
            }
            crowd.counts[place] += 1;
            crowd.place_of.push(place);
        }
        Some(crowd)
    }
}

/// How much `binpack` is for stopping a candidate.
fn weight(strategy: &Strategy, candidate: &Candidate<'_>, freed: &BTreeMap<&str, (i64, i64)>) -> i64 {
    let given = |node: &Node| freed.get(node.id.as_str()).copied().unwrap_or_default();
    let Strategy::Binpack(field) = strategy else { return 0 };
    candidate.node.map_or(i64::MAX, |node| match field {
        BinpackField::Cpu => node.remaining.cpu + given(node).0 + candidate.freed.0,
        BinpackField::Memory => node.remaining.memory + given(node).1 + candidate.freed.1,
    })
}

#[cfg(test)]
mod tests {
    use longshore_seams::SeededRandom;

    use super::*;

    fn stopped(candidates: &[Candidate<'_>], strategies: &[Strategy], count: usize) -> Vec<usize> {
        scale_in(candidates, strategies, count, &SeededRandom::new(1))
    }

    // spec: 14-038
    #[test]
    fn equals_go_newest_first_and_by_chance_when_they_are_of_one_age() {
        let one = node("1", "a", 0);
        let spread = [Strategy::Spread(SpreadField::Instance)];
        assert_eq!(stopped(&[on(&one, 1), on(&one, 3), on(&one, 2)], &spread, 3), [1, 2, 0]);
        let twins = [on(&one, 1), on(&one, 1), on(&one, 0)];
        let chosen: std::collections::BTreeSet<usize> =
            (0..50).map(|seed| scale_in(&twins, &spread, 1, &SeededRandom::new(seed))[0]).collect();
        assert_eq!(chosen, [0, 1].into());
    }

    fn node(id: &str, zone: &str, cpu: i64) -> Node {
        let mut node = Node { id: id.to_owned(), ..Node::default() };
        node.attributes.insert(ZONE.to_owned(), Some(zone.to_owned()));
        node.remaining.cpu = cpu;
        node
    }

    fn on(node: &Node, seconds: i64) -> Candidate<'_> {
        let created_at = Timestamp::from_secs(seconds);
        Candidate { node: Some(node), zone: None, running: true, created_at, freed: (10, 10) }
    }

    // spec: 15-014
    #[test]
    fn without_a_strategy_the_fullest_instance_of_the_fullest_zone_loses_its_newest_task() {
        let (a, b, b2) = (node("1", "a", 0), node("2", "b", 0), node("3", "b", 0));
        let tasks = [on(&a, 9), on(&b, 1), on(&b, 2), on(&b2, 8)];
        assert_eq!(stopped(&tasks, &service_default(), 1), [2]);
        assert_eq!(stopped(&tasks, &service_default(), 9).len(), 4);
    }

    // spec: 15-013
    #[test]
    fn a_spread_over_zones_keeps_what_remains_even() {
        let (a, b) = (node("1", "a", 0), node("2", "b", 0));
        let tasks = [on(&a, 1), on(&a, 2), on(&b, 3)];
        let zones = [Strategy::Spread(SpreadField::Attribute(ZONE.to_owned()))];
        assert_eq!(stopped(&tasks, &zones, 1), [1]);
    }

    // spec: 14-027
    #[test]
    fn tasks_of_fargate_are_in_the_zones_of_their_subnets_wherever_they_run() {
        let machine = node("1", "x", 0);
        let at = |zone, seconds| Candidate { zone: Some(zone), ..on(&machine, seconds) };
        let tasks = [at("a", 1), at("a", 2), at("b", 9)];
        assert_eq!(stopped(&tasks, &service_default(), 1), [1]);
    }

    // spec: 14-034
    #[test]
    fn a_binpack_empties_the_instance_that_has_the_most_left() {
        let (full, empty) = (node("1", "a", 5), node("2", "a", 50));
        let tasks = [on(&full, 1), on(&empty, 2), on(&full, 3)];
        assert_eq!(stopped(&tasks, &[Strategy::Binpack(BinpackField::Cpu)], 2), [1, 2]);
    }

    #[test]
    fn what_does_not_run_yet_goes_first() {
        let one = node("1", "a", 5);
        let tasks = [on(&one, 1), Candidate { running: false, ..on(&one, 0) }];
        assert_eq!(stopped(&tasks, &service_default(), 1), [1]);
    }
}
