//! The default VPC: subnets by zone, and the network interfaces of awsvpc tasks.
//!
//! No EC2 API makes subnets here, so any id that is written like one is taken; those of the
//! default VPC have a zone, others have whichever the task gets.

use std::net::Ipv4Addr;

use longshore_api::ecs::{Attachment, KeyValuePair, NetworkInterface};
use serde::{Deserialize, Serialize};

use crate::Scope;

const ZONE_LETTERS: [char; 3] = ['a', 'b', 'c'];

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// `subnet-` and 17 digits.
    pub id: String,
    /// Its availability zone, when it is one of the default VPC's.
    pub zone: Option<String>,
}

/// The subnets of the default VPC of `scope`, one in each of its zones.
#[must_use]
pub fn default_subnets(scope: &Scope) -> Vec<Subnet> {
    let subnet = |letter: char| {
        let zone = format!("{}{letter}", scope.region);
        Subnet { id: format!("subnet-{}", digits(&format!("{}/{zone}", scope.account))), zone: Some(zone) }
    };
    ZONE_LETTERS.into_iter().map(subnet).collect()
}

/// The subnet called `id`; none when that can't be a subnet's id.
#[must_use]
pub fn subnet(scope: &Scope, id: &str) -> Option<Subnet> {
    if let Some(own) = default_subnets(scope).into_iter().find(|subnet| subnet.id == id) {
        return Some(own);
    }
    is_id(id, "subnet-").then(|| Subnet { id: id.to_owned(), zone: None })
}

/// Whether `id` can be a security group's.
#[must_use]
pub fn is_security_group(id: &str) -> bool {
    is_id(id, "sg-")
}

fn is_id(id: &str, prefix: &str) -> bool {
    id.strip_prefix(prefix).is_some_and(|rest| {
        (1..=64).contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}

/// 17 hexadecimal digits that follow from `text`, as EC2's ids have.
pub(crate) fn digits(text: &str) -> String {
    format!("{:032x}", hash(text))[..17].to_owned()
}

/// FNV-1a.
pub(crate) fn hash(text: &str) -> u128 {
    text.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash: u128, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    })
}

/// The network interface of an awsvpc task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// UUID of its attachment.
    pub attachment: String,
    /// The subnet's id.
    pub subnet: String,
    /// How far it is.
    pub status: InterfaceStatus,
    /// Its address, once the agent has reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// Whether it was asked for with a public address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub public: bool,
}

/// Where a network interface is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum InterfaceStatus {
    /// Nothing was done yet.
    Precreated,
    /// The agent is at it.
    Attaching,
    /// The task's containers have it.
    Attached,
    /// The task has ended, and it is taken away.
    Detaching,
    /// It is gone with the task.
    Deleted,
}

impl InterfaceStatus {
    /// As ECS spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Precreated => "PRECREATED",
            Self::Attaching => "ATTACHING",
            Self::Attached => "ATTACHED",
            Self::Detaching => "DETACHING",
            Self::Deleted => "DELETED",
        }
    }
}

impl Interface {
    /// One that is to be made in `subnet`.
    #[must_use]
    pub fn new(attachment: String, subnet: String) -> Self {
        Self { attachment, subnet, status: InterfaceStatus::Precreated, address: None, public: false }
    }

    /// `eni-` and 17 digits.
    #[must_use]
    pub fn id(&self) -> String {
        format!("eni-{}", digits(&self.attachment))
    }

    /// A locally administered address that follows from the attachment.
    #[must_use]
    pub fn mac_address(&self) -> String {
        let [.., a, b, c, d, e] = hash(&self.attachment).to_be_bytes();
        format!("0a:{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}")
    }

    /// As a task shows it among its attachments.
    #[must_use]
    pub fn attachment(&self, region: &str) -> Attachment {
        let pair = |name: &str, value: String| KeyValuePair { name: Some(name.to_owned()), value: Some(value) };
        let mut details = vec![pair("subnetId", self.subnet.clone())];
        if self.status > InterfaceStatus::Precreated {
            details.push(pair("networkInterfaceId", self.id()));
            details.push(pair("macAddress", self.mac_address()));
        }
        if let Some(address) = self.address {
            details.push(pair("privateDnsName", private_dns_name(address, region)));
            details.push(pair("privateIPv4Address", address.to_string()));
        }
        Attachment {
            id: Some(self.attachment.clone()),
            r#type: Some("ElasticNetworkInterface".to_owned()),
            status: Some(self.status.as_str().to_owned()),
            details: Some(details),
        }
    }

    /// As each container of the task shows it; none before it has an address.
    #[must_use]
    pub fn of_container(&self) -> Option<NetworkInterface> {
        let address = self.address.filter(|_| self.status == InterfaceStatus::Attached)?;
        Some(NetworkInterface {
            attachment_id: Some(self.attachment.clone()),
            private_ipv4_address: Some(address.to_string()),
            ipv6_address: None,
        })
    }
}

/// `ip-10-0-0-1.ec2.internal` in us-east-1, `ip-10-0-0-1.REGION.compute.internal` elsewhere.
fn private_dns_name(address: Ipv4Addr, region: &str) -> String {
    let host = address.to_string().replace('.', "-");
    match region {
        "us-east-1" => format!("ip-{host}.ec2.internal"),
        region => format!("ip-{host}.{region}.compute.internal"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_subnets_are_known_with_their_zones() {
        let scope = Scope::new("123456789012", "eu-west-1");
        let own = default_subnets(&scope);
        assert_eq!(own.len(), 3);
        assert_eq!(own[1].zone.as_deref(), Some("eu-west-1b"));
        assert_eq!(own[1].id.len(), "subnet-".len() + 17);
        assert_eq!(subnet(&scope, &own[1].id), Some(own[1].clone()));
        assert_ne!(default_subnets(&Scope::new("123456789012", "us-east-1"))[0].id, own[0].id);
    }

    #[test]
    fn what_is_written_like_an_id_is_one() {
        let scope = Scope::new("123456789012", "eu-west-1");
        assert_eq!(subnet(&scope, "subnet-1").unwrap().zone, None);
        for text in ["", "subnet", "subnet-", "vpc-1", "subnet-a b"] {
            assert_eq!(subnet(&scope, text), None, "{text}");
        }
        assert!(is_security_group("sg-12345678") && !is_security_group("default"));
    }

    #[test]
    fn an_interface_shows_more_as_it_comes_up() {
        let mut interface = Interface::new("11111111-2222-4333-8444-555555555555".to_owned(), "subnet-1".to_owned());
        let names = |interface: &Interface| -> Vec<String> {
            let details = interface.attachment("eu-west-1").details.unwrap();
            details.into_iter().filter_map(|detail| detail.name).collect()
        };
        assert_eq!(names(&interface), ["subnetId"]);
        interface.status = InterfaceStatus::Attached;
        interface.address = Some(Ipv4Addr::new(10, 0, 0, 7));
        assert_eq!(
            names(&interface),
            ["subnetId", "networkInterfaceId", "macAddress", "privateDnsName", "privateIPv4Address"]
        );
        let shown = interface.attachment("eu-west-1").details.unwrap();
        assert_eq!(shown[3].value.as_deref(), Some("ip-10-0-0-7.eu-west-1.compute.internal"));
        assert_eq!(interface.of_container().unwrap().private_ipv4_address.as_deref(), Some("10.0.0.7"));
    }
}
