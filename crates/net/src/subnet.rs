//! Which addresses a bridge gets.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{NetError, NetResult};

/// An IPv4 subnet without host bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    base: u32,
    prefix: u8,
}

impl Subnet {
    /// Made of its first address (host bits are cut off) and prefix length (at most 32).
    #[must_use]
    pub fn new(address: Ipv4Addr, prefix: u8) -> Self {
        let prefix = prefix.min(32);
        Self { base: u32::from(address) & mask(prefix), prefix }
    }

    /// Prefix length.
    #[must_use]
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The address at `offset` from the first.
    #[must_use]
    pub fn address(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.base.wrapping_add(offset))
    }

    /// The bridge's own address: the first usable one.
    #[must_use]
    pub fn gateway(self) -> Ipv4Addr {
        self.address(1)
    }

    /// Number of addresses a container can get: all but network, gateway and broadcast.
    #[must_use]
    pub fn usable(self) -> u32 {
        (!mask(self.prefix)).saturating_sub(2)
    }

    /// Whether the two share an address.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        let shorter = mask(self.prefix.min(other.prefix));
        self.base & shorter == other.base & shorter
    }

    /// Whether `address` is in it.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix) == self.base
    }

    /// The netmask's four bytes.
    pub(crate) fn netmask(self) -> [u8; 4] {
        mask(self.prefix).to_be_bytes()
    }

    /// The first address.
    pub(crate) fn network(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network(), self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = NetError;

    fn from_str(text: &str) -> NetResult<Self> {
        let bad = || NetError::BadSubnet(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
        let address: Ipv4Addr = address.parse().map_err(|_| bad())?;
        let prefix: u8 = prefix.parse().map_err(|_| bad())?;
        let subnet = Self::new(address, prefix);
        if !(8..=28).contains(&prefix) || subnet.network() != address {
            return Err(bad());
        }
        Ok(subnet)
    }
}

impl TryFrom<String> for Subnet {
    type Error = NetError;

    fn try_from(text: String) -> NetResult<Self> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

/// A route of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub destination: Subnet,
    /// Through which device.
    pub device: String,
}

/// The host's IPv4 routes but for default routes, from `/proc/net/route`.
///
/// # Errors
/// When the file cannot be read.
pub fn host_routes() -> NetResult<Vec<Route>> {
    let table = std::fs::read_to_string("/proc/net/route")
        .map_err(|error| NetError::kernel("reading /proc/net/route", error))?;
    Ok(parse_routes(&table))
}

fn parse_routes(table: &str) -> Vec<Route> {
    let parse = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let device = fields.next()?.to_owned();
        let destination = u32::from_str_radix(fields.next()?, 16).ok()?;
        let netmask = u32::from_str_radix(fields.nth(5)?, 16).ok()?;
        let prefix = u8::try_from(netmask.count_ones()).ok()?;
        // The file shows addresses as the machine's words of network-order bytes.
        let destination = Subnet::new(Ipv4Addr::from(destination.to_ne_bytes()), prefix);
        (prefix > 0).then_some(Route { destination, device })
    };
    table.lines().skip(1).filter_map(parse).collect()
}

/// The first of `routes` that `subnet` overlaps, other than those of `own_device`.
#[must_use]
pub fn overlapping_route<'a>(subnet: Subnet, routes: &'a [Route], own_device: &str) -> Option<&'a Route> {
    routes.iter().find(|route| route.device != own_device && route.destination.overlaps(subnet))
}

/// A /20 of 10.128.0.0/9 that no route overlaps, starting the search at a place that `root_id` decides, so
/// that data directories rarely try the same.
///
/// # Errors
/// [`NetError::NoSubnet`] when all are taken.
pub fn choose_subnet(root_id: &str, routes: &[Route], own_device: &str) -> NetResult<Subnet> {
    const PREFIX: u8 = 20;
    const CANDIDATES: u32 = 1 << (PREFIX - 9);
    let range = u32::from(Ipv4Addr::new(10, 128, 0, 0));
    let start = root_id.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (0..CANDIDATES)
        .map(|step| (start.wrapping_add(step) % CANDIDATES) << (32 - PREFIX))
        .map(|offset| Subnet::new(Ipv4Addr::from(range + offset), PREFIX))
        .find(|subnet| overlapping_route(*subnet, routes, own_device).is_none())
        .ok_or(NetError::NoSubnet)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(destination: &str, device: &str) -> Route {
        Route { destination: destination.parse().unwrap(), device: device.to_owned() }
    }

    #[test]
    fn a_subnet_with_host_bits_or_a_silly_prefix_is_refused() {
        for text in ["10.0.0.1/20", "10.0.0.0/30", "10.0.0.0", "10.0.0.0/x", "1.2.3/8", "0.0.0.0/0"] {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
        assert_eq!("10.0.16.0/20".parse::<Subnet>().unwrap().to_string(), "10.0.16.0/20");
    }

    #[test]
    fn overlap_is_seen_in_both_directions() {
        let (wide, narrow): (Subnet, Subnet) = ("10.0.0.0/8".parse().unwrap(), "10.3.16.0/20".parse().unwrap());
        assert!(wide.overlaps(narrow) && narrow.overlaps(wide));
        assert!(!narrow.overlaps("10.3.32.0/20".parse().unwrap()));
    }

    #[test]
    fn the_kernels_route_table_is_read_without_default_routes() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                     eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                     docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        if cfg!(target_endian = "little") {
            assert_eq!(parse_routes(table), [route("172.17.0.0/16", "docker0")]);
        }
    }

    #[test]
    fn a_chosen_subnet_avoids_the_hosts_routes_but_not_its_own() {
        let free = choose_subnet("0011aabb", &[], "ls-0011aabb").unwrap();
        let taken = [Route { destination: free, device: "eth7".to_owned() }];
        assert_ne!(choose_subnet("0011aabb", &taken, "ls-0011aabb").unwrap(), free);
        let own = [Route { destination: free, device: "ls-0011aabb".to_owned() }];
        assert_eq!(choose_subnet("0011aabb", &own, "ls-0011aabb").unwrap(), free);
        let all = [route("10.0.0.0/8", "eth0")];
        assert!(matches!(choose_subnet("0011aabb", &all, "x"), Err(NetError::NoSubnet)));
    }

    #[test]
    fn a_subnet_gives_all_but_three_addresses() {
        let subnet: Subnet = "10.0.0.0/28".parse().unwrap();
        assert_eq!((subnet.usable(), subnet.gateway()), (13, Ipv4Addr::new(10, 0, 0, 1)));
    }
}
