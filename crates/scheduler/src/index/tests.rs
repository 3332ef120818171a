use longshore_model::container_instance::Books;
use longshore_model::records::Reservation;
use longshore_seams::SeededRandom;
use proptest::prelude::{Just, ProptestConfig, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Generate;

use super::*;
use crate::Query;
use crate::strategy::{PeerCounts, best};

#[derive(Clone, Debug)]
struct Case {
    nodes: Vec<Node>,
    request: Request,
    count: usize,
    seed: u64,
}

fn node() -> impl Generate<Value = Node> {
    let zone = prop_oneof![Just("a"), Just("b"), Just("c")];
    let kind = prop_oneof![Just(None), Just(Some("large")), Just(Some("small"))];
    let groups = proptest::collection::btree_map("g|h", 1u32..4, 0..3);
    (zone, kind, 0i64..40, 0i64..40, any::<[bool; 3]>(), groups).prop_map(
        |(zone, kind, cpu, memory, [active, connected, more], groups)| {
            let mut attributes = BTreeMap::from([(crate::ZONE.to_owned(), Some(zone.to_owned()))]);
            if let Some(kind) = kind {
                attributes.insert("kind".to_owned(), Some(kind.to_owned()));
            }
            Node {
                active: active || more,
                agent_connected: connected || more,
                attributes,
                remaining: Books { cpu, memory, ..Books::default() },
                groups,
                ..Node::default()
            }
        },
    )
}

fn chain() -> impl Generate<Value = Vec<Strategy>> {
    let one = prop_oneof![
        Just(Strategy::Random),
        Just(Strategy::Spread(SpreadField::Instance)),
        Just(Strategy::Spread(SpreadField::Attribute(crate::ZONE.to_owned()))),
        Just(Strategy::Spread(SpreadField::Attribute("kind".to_owned()))),
        Just(Strategy::Binpack(BinpackField::Cpu)),
        Just(Strategy::Binpack(BinpackField::Memory)),
    ];
    proptest::collection::vec(one, 0..4)
}

fn constraints() -> impl Generate<Value = Vec<Constraint>> {
    let query = |text: &str| Constraint::MemberOf(Query::parse(text).unwrap());
    prop_oneof![
        4 => Just(vec![]),
        1 => Just(vec![Constraint::DistinctInstance]),
        1 => Just(vec![query("attribute:kind == large")]),
        1 => Just(vec![query("task:group == h")]),
        1 => Just(vec![query("not(task:group == h) and attribute:ecs.availability-zone != a")]),
    ]
}

fn case() -> impl Generate<Value = Case> {
    let nodes = proptest::collection::vec(node(), 0..24);
    (nodes, chain(), constraints(), 0i64..12, 0i64..12, 1usize..12, any::<u64>()).prop_map(
        |(nodes, strategies, constraints, cpu, memory_mib, count, seed)| {
            let demand = Reservation { cpu, memory_mib, ..Reservation::default() };
            let request = Request { demand, strategies, constraints, group: "g".to_owned(), ..Request::default() };
            Case { nodes, request, count, seed }
        },
    )
}

fn index_of(nodes: &[Node]) -> Index<usize> {
    let mut index = Index::default();
    for (at, node) in nodes.iter().enumerate() {
        index.put(at, node);
    }
    index
}

/// What the plain search would choose the next task's instance from.
fn best_plain(nodes: &[Node], request: &Request) -> Vec<usize> {
    let all: Vec<&Node> = nodes.iter().collect();
    let peers = PeerCounts::count(&request.strategies, &all, &request.group);
    let feasible = (0..nodes.len()).filter(|at| accepts(&nodes[*at], request)).collect();
    best(&request.strategies, &peers, &request.group, feasible, |at| &nodes[at])
}

fn put_task(node: &mut Node, request: &Request) {
    node.remaining.take(&request.demand);
    *node.groups.entry(request.group.clone()).or_default() += 1;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_choice_is_one_that_the_plain_search_could_make(case in case()) {
        let Case { mut nodes, request, count, seed } = case;
        let index = index_of(&nodes);
        let placement = index.place(&request, count, &SeededRandom::new(seed), |at| &nodes[at]);
        let (placed, refused) = (placement.assignments, placement.refused);
        for assignment in &placed {
            let best = best_plain(&nodes, &request);
            prop_assert!(best.contains(&assignment.node), "{assignment:?} is not among {best:?}");
            put_task(&mut nodes[assignment.node], &request);
        }
        if placed.len() < count {
            prop_assert!(best_plain(&nodes, &request).is_empty());
            prop_assert_eq!(refused.len(), nodes.len());
            prop_assert!(refused.iter().all(|refused| !refused.refusals.is_empty()));
        }
    }

    #[test]
    fn an_index_that_followed_every_change_is_as_good_as_a_new_one(
        case in case(),
        changes in proptest::collection::vec((0usize..24, node()), 0..12),
    ) {
        let Case { mut nodes, request, count, seed } = case;
        let mut index = index_of(&nodes);
        let before: Vec<Node> = nodes.clone();
        for at in index.place(&request, count, &SeededRandom::new(seed), |at| &before[at]).assignments {
            put_task(&mut nodes[at.node], &request);
            index.put_books(at.node, &nodes[at.node]);
            index.put_group(at.node, &request.group, nodes[at.node].tasks_in(&request.group));
        }
        for (at, changed) in changes {
            if let Some(node) = nodes.get_mut(at) {
                // Tasks are told one by one, never with the rest.
                let groups = std::mem::take(&mut node.groups);
                *node = Node { groups, ..changed };
                index.put(at, node);
            }
        }
        let one = index.place(&request, count, &SeededRandom::new(seed), |at| &nodes[at]);
        for assignment in &one.assignments {
            let best = best_plain(&nodes, &request);
            prop_assert!(best.contains(&assignment.node));
            let mut after = nodes[assignment.node].clone();
            put_task(&mut after, &request);
            nodes[assignment.node] = after;
        }
        prop_assert!(one.assignments.len() == count || best_plain(&nodes, &request).is_empty());
        for at in 0..nodes.len() {
            index.remove(at);
        }
        prop_assert!(index.is_empty() && index.classes.is_empty() && index.groups.is_empty() && index.kinds.is_empty());
    }
}

#[test]
fn equals_are_chosen_at_random() {
    let node = Node { active: true, agent_connected: true, ..Node::default() };
    let nodes = vec![node; 50];
    let index = index_of(&nodes);
    let chosen: BTreeSet<usize> = (0..200)
        .map(|seed| {
            let placement = index.place(&Request::default(), 1, &SeededRandom::new(seed), |at| &nodes[at]);
            placement.assignments[0].node
        })
        .collect();
    assert!(chosen.len() > 30, "{chosen:?}");
}
