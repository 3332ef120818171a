use std::collections::{BTreeMap, BTreeSet};

use longshore_model::container_instance::Books;
use longshore_seams::SeededRandom;
use proptest::prelude::{Strategy as Generator, any, prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::strategy::{BinpackField, SpreadField};

fn node(id: &str, zone: &str, cpu: i64, memory: i64) -> Node {
    Node {
        id: id.to_owned(),
        active: true,
        agent_connected: true,
        attributes: [("ecs.availability-zone".to_owned(), Some(zone.to_owned()))].into(),
        remaining: Books { cpu, memory, ..Books::default() },
        ..Node::default()
    }
}

fn request(cpu: i64, memory: i64) -> Request {
    Request {
        demand: Reservation { cpu, memory_mib: memory, ..Reservation::default() },
        group: "family:web".to_owned(),
        ..Request::default()
    }
}

fn run(nodes: &[Node], request: &Request, count: usize) -> Placement {
    let nodes: Vec<&Node> = nodes.iter().collect();
    place(&nodes, request, count, &SeededRandom::new(1))
}

fn chosen<'a>(nodes: &'a [Node], placement: &Placement) -> Vec<&'a str> {
    placement.assignments.iter().map(|assignment| nodes[assignment.node].id.as_str()).collect()
}

fn reasons(placement: &Placement) -> Vec<&'static str> {
    placement.refused.iter().map(|refused| refused.refusals[0].reason()).collect()
}

fn spread_zone() -> Strategy {
    Strategy::Spread(SpreadField::Attribute("ecs.availability-zone".to_owned()))
}

// spec: 14-025, 10-069, 24-060
#[test]
fn a_task_that_fits_nowhere_is_refused_with_the_resource() {
    let nodes = [node("a", "z1", 100, 8000), node("b", "z1", 2048, 100)];
    let placement = run(&nodes, &request(512, 8192), 1);
    assert_eq!(placement.assignments, []);
    assert_eq!(reasons(&placement), ["RESOURCE:CPU", "RESOURCE:MEMORY"]);
    let both = &placement.refused[0].refusals;
    assert_eq!(both, &[Refusal::Resource(Shortage::Cpu), Refusal::Resource(Shortage::Memory)]);
}

// spec: 05-012, 05-040, 15-068
#[test]
fn a_fixed_host_port_is_given_once_an_instance() {
    let nodes = [node("a", "z1", 2048, 2048), node("b", "z1", 2048, 2048)];
    let mut web = request(1, 1);
    web.demand.tcp_ports.push(80);
    let placement = run(&nodes, &web, 3);
    let mut ids = chosen(&nodes, &placement);
    ids.sort_unstable();
    assert_eq!(ids, ["a", "b"]);
    assert_eq!(reasons(&placement), ["RESOURCE:PORTS", "RESOURCE:PORTS"]);
}

// spec: 24-061
#[test]
fn a_task_gets_the_gpus_it_asks_for() {
    let mut with_gpus = node("a", "z1", 2048, 2048);
    with_gpus.remaining.gpus = ["g0".to_owned(), "g1".to_owned(), "g2".to_owned()].into();
    let mut train = request(1, 1);
    train.demand.gpus = 2;
    let placement = run(&[node("b", "z1", 2048, 2048), with_gpus], &train, 2);
    assert_eq!(placement.assignments, [Assignment { node: 1, gpus: vec!["g0".to_owned(), "g1".to_owned()] }]);
    assert_eq!(reasons(&placement), ["RESOURCE:GPU", "RESOURCE:GPU"]);
}

// spec: 10-012, 24-062, 24-066
#[test]
fn draining_and_disconnected_instances_get_nothing() {
    let draining = Node { active: false, ..node("a", "z1", 2048, 2048) };
    let silent = Node { agent_connected: false, ..node("b", "z1", 2048, 2048) };
    let placement = run(&[draining, silent], &request(1, 1), 1);
    assert_eq!(reasons(&placement), ["INACTIVE", "AGENT"]);
}

// spec: 06-045, 24-064
#[test]
fn a_required_attribute_must_be_there() {
    let nodes = [node("a", "z1", 10, 10)];
    let mut awsvpc = request(1, 1);
    awsvpc.attributes = vec![Attribute { name: "ecs.capability.task-eni".to_owned(), value: None }];
    assert_eq!(reasons(&run(&nodes, &awsvpc, 1)), ["ATTRIBUTE"]);
    awsvpc.attributes = vec![Attribute { name: "ecs.availability-zone".to_owned(), value: Some("z1".to_owned()) }];
    assert_eq!(chosen(&nodes, &run(&nodes, &awsvpc, 1)), ["a"]);
    awsvpc.attributes[0].value = Some("z2".to_owned());
    assert_eq!(reasons(&run(&nodes, &awsvpc, 1)), ["ATTRIBUTE"]);
}

// spec: 14-004
#[test]
fn without_a_strategy_tasks_go_to_random_instances() {
    let nodes: Vec<Node> = ["a", "b", "c"].iter().map(|id| node(id, "z1", 10_000, 10_000)).collect();
    let nodes: Vec<&Node> = nodes.iter().collect();
    let random = SeededRandom::new(7);
    let mut counts = BTreeMap::new();
    for _ in 0..100 {
        for assignment in place(&nodes, &request(1, 1), 3, &random).assignments {
            *counts.entry(assignment.node).or_insert(0) += 1;
        }
    }
    assert!(counts.len() == 3 && counts.values().all(|count| (60..140).contains(count)), "{counts:?}");
}

// spec: 14-033
#[test]
fn binpack_takes_the_instance_with_the_least_left() {
    let nodes = [node("a", "z1", 1000, 500), node("b", "z1", 400, 900), node("c", "z1", 50, 100)];
    let mut packed = request(100, 200);
    packed.strategies = vec![Strategy::Binpack(BinpackField::Memory)];
    assert_eq!(chosen(&nodes, &run(&nodes, &packed, 3)), ["a", "a", "b"]);
    packed.strategies = vec![Strategy::Binpack(BinpackField::Cpu)];
    assert_eq!(chosen(&nodes, &run(&nodes, &packed, 1)), ["b"]);
}

// spec: 14-037
#[test]
fn spread_counts_only_tasks_of_the_same_group() {
    let busy_with_others = Node { groups: [("family:db".to_owned(), 9)].into(), ..node("a", "z1", 1000, 1000) };
    let has_one = Node { groups: [("family:web".to_owned(), 1)].into(), ..node("b", "z1", 1000, 1000) };
    let nodes = [busy_with_others, has_one];
    let mut web = request(1, 1);
    web.strategies = vec![Strategy::Spread(SpreadField::Instance)];
    assert_eq!(chosen(&nodes, &run(&nodes, &web, 1)), ["a"]);
}

// spec: 14-039
#[test]
fn zones_are_balanced_before_the_instances_in_them() {
    let nodes = [node("a1", "z1", 1000, 1000), node("a2", "z1", 1000, 1000), node("b1", "z2", 1000, 1000)];
    let mut web = request(1, 1);
    web.strategies = vec![spread_zone(), Strategy::Spread(SpreadField::Instance)];
    let placement = run(&nodes, &web, 4);
    let mut ids = chosen(&nodes, &placement);
    ids.sort_unstable();
    assert_eq!(ids, ["a1", "a2", "b1", "b1"]);
}

// spec: 14-040
#[test]
fn zones_are_balanced_and_packed_inside() {
    let nodes = [node("a1", "z1", 1000, 300), node("a2", "z1", 1000, 900), node("b1", "z2", 1000, 900)];
    let mut web = request(1, 100);
    web.strategies = vec![spread_zone(), Strategy::Binpack(BinpackField::Memory)];
    let placement = run(&nodes, &web, 6);
    let mut ids = chosen(&nodes, &placement);
    ids.sort_unstable();
    assert_eq!(ids, ["a1", "a1", "a1", "b1", "b1", "b1"]);
}

// spec: 14-028
#[test]
fn a_strategy_does_not_keep_a_task_from_running() {
    let full = Node { remaining: Books::default(), ..node("a", "z1", 0, 0) };
    let crowded = Node { groups: [("family:web".to_owned(), 5)].into(), ..node("b", "z2", 1000, 1000) };
    let nodes = [full, crowded];
    let mut web = request(1, 1);
    web.strategies = vec![spread_zone()];
    assert_eq!(chosen(&nodes, &run(&nodes, &web, 1)), ["b"]);
}

// spec: 14-041
#[test]
fn distinct_instance_gives_each_task_of_the_group_its_own_instance() {
    let has_one = Node { groups: [("family:web".to_owned(), 1)].into(), ..node("a", "z1", 1000, 1000) };
    let nodes = [has_one, node("b", "z1", 1000, 1000)];
    let mut web = request(1, 1);
    web.constraints = vec![Constraint::DistinctInstance];
    let placement = run(&nodes, &web, 2);
    assert_eq!(chosen(&nodes, &placement), ["b"]);
    assert_eq!(reasons(&placement), ["DistinctInstance placement constraint unsatisfied."; 2]);
}

// spec: 14-029, 14-042
#[test]
fn member_of_is_binding() {
    let nodes = [node("a", "z1", 1000, 1000), node("b", "z2", 1000, 1000)];
    let mut web = request(1, 1);
    web.constraints = vec![Constraint::MemberOf(Query::parse("attribute:ecs.availability-zone == z2").unwrap())];
    assert_eq!(chosen(&nodes, &run(&nodes, &web, 2)), ["b", "b"]);
    web.constraints = vec![Constraint::MemberOf(Query::parse("attribute:ecs.availability-zone == z3").unwrap())];
    assert_eq!(reasons(&run(&nodes, &web, 1)), ["MemberOf placement constraint unsatisfied."; 2]);
}

// spec: 14-063
#[test]
fn anti_affinity_holds_among_the_tasks_of_one_call() {
    let nodes = [node("a", "z1", 1000, 1000), node("b", "z1", 1000, 1000)];
    let mut web = request(1, 1);
    web.constraints = vec![Constraint::MemberOf(Query::parse("not(task:group == family:web)").unwrap())];
    assert_eq!(run(&nodes, &web, 3).assignments.len(), 2);
}

// spec: 14-030, 14-031
#[test]
fn resources_then_constraints_then_strategies_decide() {
    let too_small = node("small", "z1", 1, 1);
    let wrong_zone = node("wrong", "z2", 1000, 20);
    let nodes = [too_small, wrong_zone, node("loose", "z1", 1000, 1000), node("tight", "z1", 1000, 100)];
    let mut web = request(10, 10);
    web.constraints = vec![Constraint::MemberOf(Query::parse("attribute:ecs.availability-zone == z1").unwrap())];
    web.strategies = vec![Strategy::Binpack(BinpackField::Memory)];
    assert_eq!(chosen(&nodes, &run(&nodes, &web, 1)), ["tight"]);
}

fn any_nodes() -> impl Generator<Value = Vec<Node>> {
    let one = (0..4u8, 0..500i64, 0..500i64, proptest::collection::btree_set(1..6u16, 0..3), any::<bool>());
    proptest::collection::vec(one, 0..6).prop_map(|nodes| {
        nodes
            .into_iter()
            .enumerate()
            .map(|(at, (zone, cpu, memory, ports, connected))| {
                let mut node = node(&format!("n{at}"), &format!("z{zone}"), cpu, memory);
                node.remaining.tcp_ports = ports;
                node.agent_connected = connected;
                node
            })
            .collect()
    })
}

fn any_request() -> impl Generator<Value = Request> {
    (0..200i64, 0..200i64, proptest::option::of(1..6u16), 0..5usize, any::<bool>()).prop_map(
        |(cpu, memory, port, strategy, distinct)| {
            let mut request = request(cpu, memory);
            request.demand.tcp_ports = port.into_iter().collect();
            request.strategies = match strategy {
                0 => vec![],
                1 => vec![Strategy::Random],
                2 => vec![spread_zone(), Strategy::Spread(SpreadField::Instance)],
                3 => vec![Strategy::Binpack(BinpackField::Cpu)],
                _ => vec![spread_zone(), Strategy::Binpack(BinpackField::Memory)],
            };
            request.constraints = if distinct { vec![Constraint::DistinctInstance] } else { vec![] };
            request
        },
    )
}

proptest! {
    // spec: 14-001
    #[test]
    fn nothing_is_ever_given_twice(nodes in any_nodes(), request in any_request(), count in 0..12usize, seed: u64) {
        let snapshot: Vec<&Node> = nodes.iter().collect();
        let placement = place(&snapshot, &request, count, &SeededRandom::new(seed));
        prop_assert!(placement.assignments.len() <= count);
        let mut after = nodes.clone();
        for assignment in &placement.assignments {
            let node = &mut after[assignment.node];
            prop_assert!(node.agent_connected && node.active);
            for port in &request.demand.tcp_ports {
                prop_assert!(!node.remaining.tcp_ports.contains(port));
            }
            node.remaining.take(&request.demand);
            prop_assert!(node.remaining.cpu >= 0 && node.remaining.memory >= 0);
        }
        if request.constraints.is_empty() && placement.assignments.len() < count {
            // Whoever refuses says why, and nobody who could take one more is passed over.
            prop_assert!(after.iter().all(|node| !accepts(node, &request)));
        }
        if placement.assignments.len() < count {
            prop_assert_eq!(placement.refused.len(), nodes.len());
            prop_assert!(placement.refused.iter().all(|refused| !refused.refusals.is_empty()));
        } else {
            prop_assert!(placement.refused.is_empty());
        }
        if !request.constraints.is_empty() {
            let distinct: BTreeSet<usize> = placement.assignments.iter().map(|assignment| assignment.node).collect();
            prop_assert_eq!(distinct.len(), placement.assignments.len());
        }
    }

    #[test]
    fn a_seed_gives_the_same_plan(nodes in any_nodes(), request in any_request(), count in 0..12usize, seed: u64) {
        let nodes: Vec<&Node> = nodes.iter().collect();
        let plan = |seed| place(&nodes, &request, count, &SeededRandom::new(seed));
        prop_assert_eq!(plan(seed), plan(seed));
    }

    #[test]
    fn an_instance_accepts_exactly_when_nothing_refuses(nodes in any_nodes(), request in any_request()) {
        for node in &nodes {
            prop_assert_eq!(accepts(node, &request), refusals(node, &request).is_empty());
        }
    }
}
