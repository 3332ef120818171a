//! How many awsvpc tasks a container instance takes: each has an elastic network interface of its
//! own, and EC2 instance types have few (guide chapter 10, "Elastic Network Interface Trunking").

use longshore_api::ecs::Attribute;

use super::attributes::value;

/// The attribute of instances with a trunk network interface: they take more awsvpc tasks.
pub const TRUNK: &str = "ecs.awsvpc-trunk-id";

const INSTANCE_TYPE: &str = "ecs.instance-type";

/// Families whose sizes have the usual numbers of interfaces.
const FAMILIES: [&str; 12] = ["a1", "c5", "c5d", "m5", "m5a", "m5ad", "m5d", "p3", "r5", "r5a", "r5ad", "r5d"];

/// awsvpc tasks on an EC2 instance type: without and with a trunk. None for other machines, whose
/// number of interfaces nothing limits.
#[must_use]
pub fn task_limits(instance_type: &str) -> Option<(i64, i64)> {
    let (family, size) = instance_type.split_once('.')?;
    if !FAMILIES.contains(&family) {
        return None;
    }
    Some(match (family, size) {
        ("p3", "8xlarge") => (7, 60),
        ("p3", "16xlarge") => (7, 120),
        (_, "medium") => (1, 10),
        (_, "large") => (2, 10),
        (_, "xlarge") => (3, 20),
        (_, "2xlarge") => (3, 40),
        (_, "4xlarge" | "9xlarge" | "12xlarge") => (7, 60),
        (_, "18xlarge" | "24xlarge") => (14, 120),
        _ => return None,
    })
}

/// The number of awsvpc tasks that an instance with these attributes takes; none when it has no limit.
#[must_use]
pub fn task_interfaces(attributes: &[Attribute]) -> Option<i64> {
    let (plain, trunked) = task_limits(value(attributes, INSTANCE_TYPE)?)?;
    let has_trunk = attributes.iter().any(|attribute| attribute.name.as_deref() == Some(TRUNK));
    Some(if has_trunk { trunked } else { plain })
}

/// Whether a new instance with these attributes gets a trunk when its account has opted in.
#[must_use]
pub fn takes_trunk(attributes: &[Attribute]) -> bool {
    value(attributes, INSTANCE_TYPE).and_then(task_limits).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(pairs: &[(&str, &str)]) -> Vec<Attribute> {
        let attribute = |(name, value): &(&str, &str)| Attribute {
            name: Some((*name).to_owned()),
            value: Some((*value).to_owned()),
            ..Attribute::default()
        };
        pairs.iter().map(attribute).collect()
    }

    // spec: 10-055
    #[test]
    fn an_instance_type_limits_awsvpc_tasks_and_a_trunk_raises_the_limit() {
        for (kind, limits) in [
            ("a1.medium", (1, 10)),
            ("m5.large", (2, 10)),
            ("c5d.xlarge", (3, 20)),
            ("r5ad.2xlarge", (3, 40)),
            ("c5.9xlarge", (7, 60)),
            ("m5.12xlarge", (7, 60)),
            ("c5.18xlarge", (14, 120)),
            ("r5.24xlarge", (14, 120)),
            ("p3.8xlarge", (7, 60)),
            ("p3.16xlarge", (7, 120)),
        ] {
            assert_eq!(task_limits(kind), Some(limits), "{kind}");
            assert_eq!(task_interfaces(&attributes(&[(INSTANCE_TYPE, kind)])), Some(limits.0));
            assert_eq!(task_interfaces(&attributes(&[(INSTANCE_TYPE, kind), (TRUNK, "eni-1")])), Some(limits.1));
        }
    }

    // spec: 10-055
    #[test]
    fn families_without_trunks_and_machines_outside_ec2_have_no_limit() {
        for kind in ["c5n.large", "m5n.large", "m5dn.large", "r5n.large", "r5dn.large", "longshore.4x8gib", ""] {
            assert!(!takes_trunk(&attributes(&[(INSTANCE_TYPE, kind)])), "{kind}");
            assert_eq!(task_interfaces(&attributes(&[(INSTANCE_TYPE, kind), (TRUNK, "eni-1")])), None);
        }
        assert_eq!(task_interfaces(&[]), None);
    }
}
