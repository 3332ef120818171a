//! Refusals in detail: what an instance lacks, by how much, and the smallest change that would place
//! the task. Recomputed on demand, by the same rules as placement.

use longshore_model::container_instance::{MAX_RESERVED_PORTS, Shortage};

use crate::placement::{Constraint, Refusal, Request, refusals};
use crate::{Node, ZONE};

/// One thing that keeps a task off an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Which requirement it is.
    pub refusal: Refusal,
    /// How much the task needs, of what can be counted.
    pub needed: Option<i64>,
    /// How much the instance has of it.
    pub available: Option<i64>,
    /// In words.
    pub detail: String,
    /// What would take it away, as an order to the reader, with `INSTANCE` for the instance's name.
    remedy: String,
}

/// Stands for the instance's name in [`Obstacle::remedy`].
const INSTANCE: &str = "{INSTANCE}";

impl Obstacle {
    fn new(refusal: Refusal, detail: String, remedy: String) -> Self {
        Self { refusal, needed: None, available: None, detail, remedy }
    }

    /// What would take it away from the instance called `name`.
    #[must_use]
    pub fn remedy(&self, name: &str) -> String {
        self.remedy.replace(INSTANCE, name)
    }

    /// How far the instance is from what is needed, in thousandths of it.
    fn distance(&self) -> i64 {
        match (self.needed, self.available) {
            (Some(needed), Some(available)) if needed > 0 => {
                needed.saturating_sub(available).saturating_mul(1000) / needed
            }
            _ => 1000,
        }
    }
}

/// Everything that keeps `request` off `node`, in detail; as long as [`refusals`].
#[must_use]
pub fn obstacles(node: &Node, request: &Request) -> Vec<Obstacle> {
    let mut unselected = request.constraints.iter().filter_map(|constraint| match constraint {
        Constraint::MemberOf(query) if !query.matches(node) => Some(query.text()),
        _ => None,
    });
    let explain = |refusal: Refusal| match &refusal {
        Refusal::Inactive => Obstacle::new(
            refusal,
            "It is not ACTIVE: it takes no new tasks.".to_owned(),
            format!("set the status of {INSTANCE} to ACTIVE"),
        ),
        Refusal::Agent => Obstacle::new(
            refusal,
            "Its agent is not connected.".to_owned(),
            format!("start the agent of {INSTANCE}, or its connection to this server"),
        ),
        Refusal::Location => location(node, request, refusal),
        Refusal::Attribute(name) => {
            let name = name.clone();
            attribute(node, request, &name, refusal)
        }
        Refusal::Resource(shortage) => {
            let shortage = *shortage;
            resource(node, request, shortage, refusal)
        }
        Refusal::DistinctInstance => Obstacle::new(
            refusal,
            format!("A task of the group {} is on it already, and each is to be on another instance.", request.group),
            "register another container instance".to_owned(),
        ),
        Refusal::MemberOf => {
            let text = unselected.next().unwrap_or_default();
            Obstacle::new(
                refusal,
                format!("The expression '{text}' does not select it."),
                format!("change the constraint '{text}' so that it selects {INSTANCE}"),
            )
        }
    };
    refusals(node, request).into_iter().map(explain).collect()
}

fn location(node: &Node, request: &Request, refusal: Refusal) -> Obstacle {
    let zone = node.attributes.get(ZONE).and_then(Option::as_deref).unwrap_or("no zone");
    Obstacle::new(
        refusal,
        format!("It is in {zone}, the task's subnets are in {}.", request.zones.join(", ")),
        format!("name a subnet in {zone}, where {INSTANCE} is"),
    )
}

fn attribute(node: &Node, request: &Request, name: &str, refusal: Refusal) -> Obstacle {
    let wanted = request.attributes.iter().find(|attribute| attribute.name == name);
    let wanted = wanted.and_then(|attribute| attribute.value.as_deref());
    let detail = match (node.attributes.get(name), wanted) {
        (Some(there), Some(wanted)) => {
            format!("Its attribute {name} is '{}', not '{wanted}'.", there.as_deref().unwrap_or(""))
        }
        (_, Some(wanted)) => format!("It lacks the attribute {name} with the value '{wanted}'."),
        _ => format!("It lacks the attribute {name}."),
    };
    let remedy = if longshore_model::container_instance::attributes::is_built_in(name) {
        format!("use a container instance whose agent offers {name}, or take away from the task what needs it")
    } else {
        format!("put the attribute {name} on {INSTANCE}")
    };
    Obstacle::new(refusal, detail, remedy)
}

fn resource(node: &Node, request: &Request, shortage: Shortage, refusal: Refusal) -> Obstacle {
    let (demand, left) = (&request.demand, &node.remaining);
    let counted = |what: &str, needed: i64, available: i64| {
        let lacking = needed.saturating_sub(available);
        let detail = format!("It has {available} {what} left, the task needs {needed}: {lacking} too few.");
        let remedy = format!("ask for {lacking} {what} less, or free as much on {INSTANCE}");
        Obstacle { needed: Some(needed), available: Some(available), ..Obstacle::new(refusal.clone(), detail, remedy) }
    };
    match shortage {
        Shortage::Cpu => counted("CPU units", demand.cpu, left.cpu),
        Shortage::Memory => counted("MiB of memory", demand.memory_mib, left.memory),
        Shortage::Gpu => counted("GPUs", demand.gpus, i64::try_from(left.gpus.len()).unwrap_or(i64::MAX)),
        Shortage::Interface => {
            counted("network interfaces for awsvpc tasks", demand.interfaces, left.interfaces.unwrap_or(0))
        }
        Shortage::Ports => {
            let tcp =
                demand.tcp_ports.iter().filter(|port| left.tcp_ports.contains(port)).map(|it| format!("{it}/tcp"));
            let udp =
                demand.udp_ports.iter().filter(|port| left.udp_ports.contains(port)).map(|it| format!("{it}/udp"));
            let taken: Vec<String> = tcp.chain(udp).collect();
            if taken.is_empty() {
                return Obstacle::new(
                    refusal,
                    format!("It may reserve no more than {MAX_RESERVED_PORTS} host ports."),
                    format!("use dynamic host ports, or free some on {INSTANCE}"),
                );
            }
            let taken = taken.join(", ");
            Obstacle::new(
                refusal,
                format!("Its host ports {taken} are taken."),
                format!("use other host ports than {taken} (or dynamic ones), or free them on {INSTANCE}"),
            )
        }
    }
}

/// The smallest change that would place the task: the remedies of the instance with the least against
/// it. `instances` are names and what stands in the way of each.
#[must_use]
pub fn smallest_change(instances: &[(String, Vec<Obstacle>)]) -> Option<String> {
    let refused = instances.iter().filter(|(_, obstacles)| !obstacles.is_empty());
    let distance = |obstacles: &[Obstacle]| obstacles.iter().map(Obstacle::distance).sum::<i64>();
    let (name, obstacles) = refused.min_by_key(|(_, obstacles)| (obstacles.len(), distance(obstacles)))?;
    let remedies: Vec<String> = obstacles.iter().map(|obstacle| obstacle.remedy(name)).collect();
    let text = remedies.join("; and ");
    let (first, rest) = text.split_at(text.len().min(1));
    Some(format!("{}{rest}.", first.to_uppercase()))
}

#[cfg(test)]
mod tests {
    use longshore_model::container_instance::Books;
    use longshore_model::records::Reservation;

    use super::*;
    use crate::{Attribute, Query};

    fn node() -> Node {
        let mut node = Node { active: true, agent_connected: true, ..Node::default() };
        node.remaining = Books { cpu: 100, memory: 100, tcp_ports: [22, 80].into(), ..Books::default() };
        node.attributes.insert(ZONE.to_owned(), Some("zone-a".to_owned()));
        node.attributes.insert("stack".to_owned(), Some("test".to_owned()));
        node
    }

    fn details(node: &Node, request: &Request) -> Vec<String> {
        obstacles(node, request).into_iter().map(|obstacle| obstacle.detail).collect()
    }

    fn demand(cpu: i64, memory_mib: i64) -> Request {
        Request { demand: Reservation { cpu, memory_mib, ..Reservation::default() }, ..Request::default() }
    }

    // spec: 24-060, 24-061
    #[test]
    fn shortages_say_by_how_much() {
        let short = obstacles(&node(), &demand(300, 50));
        assert_eq!(short[0].detail, "It has 100 CPU units left, the task needs 300: 200 too few.");
        assert_eq!((short[0].needed, short[0].available), (Some(300), Some(100)));
        assert_eq!(
            details(&node(), &demand(0, 101)),
            ["It has 100 MiB of memory left, the task needs 101: 1 too few."]
        );
        let mut request = demand(0, 0);
        request.demand.gpus = 2;
        assert_eq!(details(&node(), &request), ["It has 0 GPUs left, the task needs 2: 2 too few."]);
        request.demand = Reservation { tcp_ports: vec![80, 81], ..Reservation::default() };
        assert_eq!(details(&node(), &request), ["Its host ports 80/tcp are taken."]);
    }

    // spec: 24-062, 24-063, 24-064, 24-066
    #[test]
    fn every_other_refusal_names_its_cause() {
        let asleep = Node { active: false, agent_connected: false, ..node() };
        assert_eq!(
            details(&asleep, &Request::default()),
            ["It is not ACTIVE: it takes no new tasks.", "Its agent is not connected."]
        );
        let mut request = Request { zones: vec!["zone-b".to_owned(), "zone-c".to_owned()], ..Request::default() };
        assert_eq!(details(&node(), &request), ["It is in zone-a, the task's subnets are in zone-b, zone-c."]);
        let wanted = |name: &str, value: Option<&str>| Attribute { name: name.into(), value: value.map(str::to_owned) };
        request =
            Request { attributes: vec![wanted("stack", Some("prod")), wanted("gpu", None)], ..Request::default() };
        assert_eq!(
            details(&node(), &request),
            ["Its attribute stack is 'test', not 'prod'.", "It lacks the attribute gpu."]
        );
        let query = Query::parse("attribute:stack == prod").unwrap();
        request = Request {
            constraints: vec![Constraint::DistinctInstance, Constraint::MemberOf(query)],
            group: "g".to_owned(),
            ..Request::default()
        };
        let mut node = node();
        node.groups.insert("g".to_owned(), 1);
        assert_eq!(
            details(&node, &request),
            [
                "A task of the group g is on it already, and each is to be on another instance.",
                "The expression 'attribute:stack == prod' does not select it.",
            ]
        );
    }

    #[test]
    fn the_smallest_change_is_that_of_the_instance_with_the_least_against_it() {
        let request = demand(300, 120);
        let roomy = Node { remaining: Books { cpu: 500, memory: 100, ..Books::default() }, ..node() };
        let far = Node { remaining: Books { cpu: 500, memory: 1, ..Books::default() }, ..node() };
        let named = [("one", node()), ("two", far), ("three", roomy)];
        let all: Vec<_> = named.iter().map(|(name, node)| ((*name).to_owned(), obstacles(node, &request))).collect();
        assert_eq!(smallest_change(&all).unwrap(), "Ask for 20 MiB of memory less, or free as much on three.");
        assert_eq!(smallest_change(&[]), None);
    }
}
