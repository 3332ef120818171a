//! The placement engine by itself: tasks placed a second, on snapshots of small and large clusters.

use std::time::Duration;

use longshore_model::container_instance::Books;
use longshore_model::records::Reservation;
use longshore_scheduler::{
    BinpackField, Constraint, Index, Node, Query, Request, SpreadField, Strategy, ZONE, place, service_default,
};
use longshore_seams::{Clock, SeededRandom};

use crate::Result;
use crate::figure::{Figure, Floor};
use crate::process::Bench;

const NAME: &str = "placement";
/// Container instances.
const SIZES: [usize; 3] = [10, 1_000, 5_000];
/// Tasks of one call, as RunTask has at most.
const CALL: usize = 10;
const RUN: Duration = Duration::from_secs(1);
/// Attributes that an instance has besides those that matter here, about as many as an agent registers.
const CAPABILITIES: usize = 40;
/// What the design promises on two quiet cores, for the largest cluster.
const PROMISED: f64 = 50_000.0;
/// How much faster than the plain search over all instances it has to be there.
const LEAST_RATIO: f64 = 5.0;

/// A way of placing.
struct Shape {
    name: &'static str,
    strategies: Vec<Strategy>,
    constraints: Vec<Constraint>,
    promised: bool,
}

fn shapes() -> Result<Vec<Shape>> {
    let zones = Strategy::Spread(SpreadField::Attribute(ZONE.to_owned()));
    let large = Constraint::MemberOf(Query::parse("attribute:ecs.instance-type =~ m5.*")?);
    Ok(vec![
        Shape { name: "random", strategies: Vec::new(), constraints: Vec::new(), promised: false },
        Shape {
            name: "spread over zones and instances",
            strategies: service_default(),
            constraints: Vec::new(),
            promised: false,
        },
        Shape {
            name: "spread + binpack + memberOf",
            strategies: vec![zones, Strategy::Binpack(BinpackField::Memory)],
            constraints: vec![large],
            promised: true,
        },
    ])
}

/// Measures.
///
/// # Errors
/// A query that can't be read.
pub fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for shape in shapes()? {
        for size in SIZES {
            let request = Request {
                demand: Reservation { cpu: 10, memory_mib: 16, ..Reservation::default() },
                strategies: shape.strategies.clone(),
                constraints: shape.constraints.clone(),
                group: "service:measured".to_owned(),
                ..Request::default()
            };
            let rate = indexed(&*bench.seams.clock, size, &request);
            let figure = Figure::new(NAME, format!("{}, {size} instances", shape.name), rate, "placements/s");
            let figure = figure.beside("plain search", plain(&*bench.seams.clock, size, &request));
            let large = size == SIZES[SIZES.len() - 1];
            figures.push(if large { figure.held_to(Floor::RatioAtLeast(LEAST_RATIO)) } else { figure });
            if large && shape.promised {
                let figure =
                    Figure::new(NAME, format!("{}, {size} instances, promised", shape.name), rate, "placements/s");
                figures.push(figure.held_to(Floor::AtLeast(PROMISED)));
            }
        }
    }
    Ok(figures)
}

fn fleet(size: usize) -> Vec<Node> {
    let node = |at: usize| {
        let mut node = Node { id: at.to_string(), active: true, agent_connected: true, ..Node::default() };
        let kind = ["m5.large", "m5.xlarge", "c5.large", "t3.medium"][at / 3 % 4];
        node.attributes.insert(ZONE.to_owned(), Some(format!("zone-{}", at % 3)));
        node.attributes.insert("ecs.instance-type".to_owned(), Some(kind.to_owned()));
        for capability in 0..CAPABILITIES {
            node.attributes.insert(format!("com.amazonaws.ecs.capability.{capability}"), None);
        }
        node.remaining = Books { cpu: 64 * 1024, memory: 256 * 1024, ..Books::default() };
        node
    };
    (0..size).map(node).collect()
}

fn put_task(node: &mut Node, request: &Request) {
    node.remaining.take(&request.demand);
    *node.groups.entry(request.group.clone()).or_default() += 1;
}

#[expect(clippy::cast_precision_loss, reason = "tasks of a second")]
fn rate(clock: &dyn Clock, mut call: impl FnMut() -> usize) -> f64 {
    let began = clock.monotonic();
    let mut placed = 0;
    loop {
        placed += call();
        let passed = clock.monotonic().saturating_sub(began);
        if passed > RUN {
            return placed as f64 / passed.as_secs_f64();
        }
    }
}

/// As the control plane does: one index, told of every task.
fn indexed(clock: &dyn Clock, size: usize, request: &Request) -> f64 {
    let (mut nodes, random) = (fleet(size), SeededRandom::new(1));
    let mut index = Index::default();
    for (at, node) in nodes.iter().enumerate() {
        index.put(at, node);
    }
    rate(clock, || {
        let placed = index.place(request, CALL, &random, |at| &nodes[at]).assignments;
        for assignment in &placed {
            let node = &mut nodes[assignment.node];
            put_task(node, request);
            index.put_books(assignment.node, node);
            index.put_group(assignment.node, &request.group, node.tasks_in(&request.group));
        }
        placed.len()
    })
}

fn plain(clock: &dyn Clock, size: usize, request: &Request) -> f64 {
    let (mut nodes, random) = (fleet(size), SeededRandom::new(1));
    rate(clock, || {
        let all: Vec<&Node> = nodes.iter().collect();
        let placed = place(&all, request, CALL, &random).assignments;
        for assignment in &placed {
            put_task(&mut nodes[assignment.node], request);
        }
        placed.len()
    })
}
