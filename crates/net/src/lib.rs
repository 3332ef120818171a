//! Networks of containers: one bridge, one subnet and one NAT table for each data directory.
//!
//! [`Network`] hands out ready network namespaces ([`Attachment`]) and publishes ports by kernel
//! NAT, so that both outlive every process of ours. Nothing here is a file on disk: a namespace
//! lives as long as a descriptor or a process holds it, and takes its veth pair along when it dies.
//! What must be remembered (which address belongs to which container) is in the container's own
//! record; [`Network::open`] is told and removes everything else.
//!
//! Containers that ask for credentials are led to their own bridge; who answers there is the agent's business.
//!
//! Invariants: every name in the kernel derives from the root id, so two data directories never
//! meet; only [`nat`] knows nftables; nothing here knows what a container is.

mod legacy;
mod nat;
mod network;
mod rtnl;
mod subnet;

pub use nat::{CREDENTIAL_PORT, PublishedPort, Transport};
pub use network::{Attachment, LinkCounters, Network, NetworkConfig, isolated_namespace, link_counters};
pub use subnet::{Route, Subnet, choose_subnet, host_routes, overlapping_route};

/// Why the network could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The kernel refused.
    #[error("{doing}: {source}")]
    Kernel {
        /// What was being done, to what.
        doing: String,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// nftables refused.
    #[error("nftables: {doing}: {message}")]
    Nat {
        /// What was being done.
        doing: &'static str,
        /// The kernel's answer.
        message: String,
    },
    /// The configured subnet is in use on the host.
    #[error("subnet {subnet} overlaps the route {route} of device {device}: choose another with --subnet")]
    Overlap {
        /// Configured.
        subnet: Subnet,
        /// Existing.
        route: Subnet,
        /// Device of the existing route.
        device: String,
    },
    /// All private ranges are taken.
    #[error("no free private subnet is left on this host: configure one with --subnet")]
    NoSubnet,
    /// All addresses are taken.
    #[error("all {count} addresses of subnet {subnet} are in use")]
    NoAddress {
        /// The subnet.
        subnet: Subnet,
        /// Its size.
        count: u32,
    },
    /// Not `a.b.c.d/n` with n from 8 to 28.
    #[error("{0:?} is not an IPv4 subnet such as 10.200.0.0/20 (prefix from 8 to 28, no host bits)")]
    BadSubnet(String),
}

impl NetError {
    pub(crate) fn kernel(doing: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::Kernel { doing: doing.into(), source: source.into() }
    }
}

/// Result of a network call.
pub type NetResult<T> = Result<T, NetError>;
