//! Placement strategies: which of the feasible instances are best.

use std::collections::BTreeMap;

use crate::Node;

/// One step of a strategy chain; each narrows what the one before left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Any instance.
    Random,
    /// The instances (or values of an attribute) with the fewest tasks of the same group.
    Spread(SpreadField),
    /// The instance with the least left of a resource.
    Binpack(BinpackField),
}

/// What tasks are spread over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpreadField {
    /// `instanceId`, or `host`.
    Instance,
    /// `attribute:NAME`. Instances without the attribute count as one value of their own.
    Attribute(String),
}

/// What is packed tightly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinpackField {
    /// CPU units.
    Cpu,
    /// Memory.
    Memory,
}

/// A strategy that ECS does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StrategyError {
    /// Not `random`, `spread` or `binpack`.
    #[error("The placement strategy type '{0}' is not valid: use random, spread or binpack.")]
    Type(String),
    /// A field that the type does not have.
    #[error("The field '{field}' is not valid for the placement strategy {kind}: use {allowed}.")]
    Field {
        /// The strategy's type.
        kind: &'static str,
        /// What was given.
        field: String,
        /// What may be.
        allowed: &'static str,
    },
}

impl Strategy {
    /// Reads the API's `type` and `field`. Field names are read without regard to case.
    ///
    /// # Errors
    /// A type or field that ECS does not know.
    pub fn read(kind: &str, field: Option<&str>) -> Result<Self, StrategyError> {
        let given = field.unwrap_or("");
        match kind {
            "random" => Ok(Self::Random),
            "spread" if given.is_empty() || ["instanceid", "host"].contains(&given.to_ascii_lowercase().as_str()) => {
                Ok(Self::Spread(SpreadField::Instance))
            }
            "spread" => match given.strip_prefix("attribute:").filter(|name| !name.is_empty()) {
                Some(name) => Ok(Self::Spread(SpreadField::Attribute(name.to_owned()))),
                None => Err(StrategyError::Field {
                    kind: "spread",
                    field: given.to_owned(),
                    allowed: "instanceId, host or attribute:NAME",
                }),
            },
            "binpack" => match given.to_ascii_lowercase().as_str() {
                "cpu" => Ok(Self::Binpack(BinpackField::Cpu)),
                "memory" => Ok(Self::Binpack(BinpackField::Memory)),
                _ => Err(StrategyError::Field { kind: "binpack", field: given.to_owned(), allowed: "cpu or memory" }),
            },
            _ => Err(StrategyError::Type(kind.to_owned())),
        }
    }
}

/// The tasks of one group, counted by the values of every attribute that a chain spreads over.
pub(crate) struct PeerCounts<'a> {
    by_attribute: BTreeMap<&'a str, BTreeMap<Option<&'a str>, u32>>,
}

impl<'a> PeerCounts<'a> {
    pub(crate) fn count(strategies: &'a [Strategy], nodes: &[&'a Node], group: &str) -> Self {
        let mut by_attribute = BTreeMap::new();
        for strategy in strategies {
            let Strategy::Spread(SpreadField::Attribute(name)) = strategy else { continue };
            let mut counts: BTreeMap<Option<&str>, u32> = BTreeMap::new();
            // What runs on an instance that is being drained is on its way to another.
            for node in nodes.iter().filter(|node| node.active) {
                *counts.entry(attribute(node, name)).or_default() += node.tasks_in(group);
            }
            by_attribute.insert(name.as_str(), counts);
        }
        Self { by_attribute }
    }

    /// One more task of the group is on `node`.
    pub(crate) fn add(&mut self, node: &'a Node) {
        if !node.active {
            return;
        }
        for (name, counts) in &mut self.by_attribute {
            *counts.entry(attribute(node, name)).or_default() += 1;
        }
    }

    fn peers(&self, node: &Node, name: &str) -> u32 {
        self.by_attribute.get(name).and_then(|counts| counts.get(&attribute(node, name))).copied().unwrap_or(0)
    }
}

fn attribute<'a>(node: &'a Node, name: &str) -> Option<&'a str> {
    node.attributes.get(name).map(|value| value.as_deref().unwrap_or(""))
}

/// The candidates that are best under the whole chain.
pub(crate) fn best<'n>(
    strategies: &[Strategy],
    peers: &PeerCounts<'_>,
    group: &str,
    mut candidates: Vec<usize>,
    node: impl Fn(usize) -> &'n Node,
) -> Vec<usize> {
    for strategy in strategies {
        let cost = |at: usize| -> i64 {
            let node = node(at);
            match strategy {
                Strategy::Random => 0,
                Strategy::Spread(SpreadField::Instance) => i64::from(node.tasks_in(group)),
                Strategy::Spread(SpreadField::Attribute(name)) => i64::from(peers.peers(node, name)),
                Strategy::Binpack(BinpackField::Cpu) => node.remaining.cpu,
                Strategy::Binpack(BinpackField::Memory) => node.remaining.memory,
            }
        };
        let Some(lowest) = candidates.iter().map(|at| cost(*at)).min() else { break };
        candidates.retain(|at| cost(*at) == lowest);
    }
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: 14-036
    #[test]
    fn spread_reads_instance_id_host_and_attributes() {
        for field in ["instanceId", "host"] {
            assert_eq!(Strategy::read("spread", Some(field)), Ok(Strategy::Spread(SpreadField::Instance)));
        }
        let zone = Strategy::Spread(SpreadField::Attribute("ecs.availability-zone".to_owned()));
        assert_eq!(Strategy::read("spread", Some("attribute:ecs.availability-zone")), Ok(zone));
    }

    #[test]
    fn unknown_types_and_fields_are_refused_by_name() {
        assert_eq!(Strategy::read("pack", None), Err(StrategyError::Type("pack".to_owned())));
        let message = Strategy::read("binpack", Some("disk")).unwrap_err().to_string();
        assert_eq!(message, "The field 'disk' is not valid for the placement strategy binpack: use cpu or memory.");
        assert!(Strategy::read("spread", Some("zone")).is_err());
        assert!(Strategy::read("spread", Some("attribute:")).is_err());
    }
}
