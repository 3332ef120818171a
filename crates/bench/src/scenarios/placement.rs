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
/// The same, of a daemon.
const DAEMON_SIZES: [usize; 1] = [15_000];
/// Every so many instances run a task of another service.
const OTHER: usize = 10;
/// Every so many calls there is one that can't be placed.
const CHURN: usize = 10;
/// Tasks of one call, as RunTask has at most.
const CALL: usize = 10;
const RUN: Duration = Duration::from_secs(1);
/// Attributes that an instance has besides those that matter here, about as many as an agent registers.
const CAPABILITIES: usize = 40;
/// What the design promises on two quiet cores, for the largest cluster.
const PROMISED: f64 = 50_000.0;
/// How much faster than the plain search over all instances it has to be there.
const LEAST_RATIO: f64 = 5.0;

/// A way of placing: the shapes in which Kubernetes measures its own scheduler, and ours.
struct Shape {
    name: &'static str,
    sizes: &'static [usize],
    strategies: Vec<Strategy>,
    constraints: Vec<Constraint>,
    /// Between calls that are placed comes one that no instance has room for.
    churn: bool,
    promised: bool,
}

impl Shape {
    fn named(name: &'static str) -> Self {
        let (strategies, constraints) = (Vec::new(), Vec::new());
        Self { name, sizes: &SIZES, strategies, constraints, churn: false, promised: false }
    }

    fn request(&self) -> Request {
        Request {
            demand: Reservation { cpu: 10, memory_mib: 16, ..Reservation::default() },
            strategies: self.strategies.clone(),
            constraints: self.constraints.clone(),
            group: "service:measured".to_owned(),
            ..Request::default()
        }
    }
}

fn shapes() -> Result<Vec<Shape>> {
    let zones = Strategy::Spread(SpreadField::Attribute(ZONE.to_owned()));
    let member_of = |query: &str| Query::parse(query).map(Constraint::MemberOf);
    Ok(vec![
        Shape::named("basic"),
        Shape { strategies: service_default(), ..Shape::named("spread over zones and instances") },
        Shape {
            strategies: vec![zones, Strategy::Binpack(BinpackField::Memory)],
            constraints: vec![member_of("attribute:ecs.instance-type =~ m5.*")?],
            promised: true,
            ..Shape::named("spread + binpack + memberOf")
        },
        Shape {
            constraints: vec![member_of("task:group == service:other")?],
            ..Shape::named("affinity (memberOf task:group)")
        },
        Shape {
            constraints: vec![member_of("not(task:group == service:other)")?],
            strategies: service_default(),
            ..Shape::named("anti-affinity (memberOf not task:group)")
        },
        Shape { churn: true, ..Shape::named("basic, every tenth call unplaceable") },
        Shape {
            sizes: &DAEMON_SIZES,
            constraints: vec![Constraint::DistinctInstance],
            ..Shape::named("daemon (one task an instance)")
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
        for size in shape.sizes {
            let rate = indexed(&*bench.seams.clock, *size, &shape);
            let figure = Figure::new(NAME, format!("{}, {size} instances", shape.name), rate, "placements/s");
            let figure = figure.beside("plain search", plain(&*bench.seams.clock, *size, &shape));
            let large = Some(size) == shape.sizes.last();
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
        if at.is_multiple_of(OTHER) {
            node.groups.insert("service:other".to_owned(), 1);
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

/// Placements a second of `call`, which places some tasks and begins anew when there is no room left.
#[expect(clippy::cast_precision_loss, reason = "tasks of a second")]
fn rate(clock: &dyn Clock, shape: &Shape, mut call: impl FnMut(&Request) -> usize) -> f64 {
    let request = shape.request();
    let large = Reservation { memory_mib: i64::MAX / 2, ..request.demand.clone() };
    let unplaceable = Request { demand: large, ..request.clone() };
    let began = clock.monotonic();
    let mut placed = 0;
    for number in 1.. {
        if shape.churn && number % CHURN == 0 {
            call(&unplaceable);
            continue;
        }
        let now = call(&request);
        placed += now;
        let passed = clock.monotonic().saturating_sub(began);
        if passed > RUN || now == 0 {
            return placed as f64 / passed.as_secs_f64();
        }
    }
    0.0
}

/// As the control plane does: one index, told of every task.
fn indexed(clock: &dyn Clock, size: usize, shape: &Shape) -> f64 {
    let (mut nodes, random) = (fleet(size), SeededRandom::new(1));
    let mut index = Index::default();
    for (at, node) in nodes.iter().enumerate() {
        index.put(at, node);
    }
    rate(clock, shape, |request| {
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

fn plain(clock: &dyn Clock, size: usize, shape: &Shape) -> f64 {
    let (mut nodes, random) = (fleet(size), SeededRandom::new(1));
    rate(clock, shape, |request| {
        let all: Vec<&Node> = nodes.iter().collect();
        let placed = place(&all, request, CALL, &random).assignments;
        for assignment in &placed {
            put_task(&mut nodes[assignment.node], request);
        }
        placed.len()
    })
}
