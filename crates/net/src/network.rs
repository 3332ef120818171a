//! One data directory's bridge, addresses and ready namespaces.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longshore_seams::Seams;
use nix::sched::{CloneFlags, unshare};

use crate::nat::{Nat, PublishedPort};
use crate::rtnl::{self, Rtnl};
use crate::{NetError, NetResult, Subnet};

/// Settings of a [`Network`].
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// 8 hexadecimal digits: names of bridge, links and table derive from it.
    pub root_id: String,
    /// The bridge's subnet.
    pub subnet: Subnet,
    /// Ready namespaces to keep.
    pub spares: usize,
}

impl NetworkConfig {
    /// Name of the bridge that belongs to `root_id`.
    #[must_use]
    pub fn bridge_of(root_id: &str) -> String {
        format!("ls-{root_id}")
    }

    fn bridge(&self) -> String {
        Self::bridge_of(&self.root_id)
    }
}

/// A network namespace with a link to the bridge, ready to be entered.
///
/// It exists as long as this value or a process in it does.
#[derive(Debug)]
pub struct Attachment {
    /// The namespace.
    pub netns: OwnedFd,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its default gateway.
    pub gateway: Ipv4Addr,
    /// Prefix length of its subnet.
    pub prefix: u8,
    /// Its link's other end on the host.
    pub host_link: String,
}

#[derive(Debug, Default)]
struct Addresses {
    used: BTreeSet<Ipv4Addr>,
    /// Offset of the last address given out: addresses are reused as late as possible.
    last: u32,
    spares: Vec<Attachment>,
    /// Namespaces being made to become spares.
    making: usize,
    closed: bool,
}

/// A bridge with its subnet and published ports.
#[derive(Debug)]
pub struct Network {
    config: NetworkConfig,
    bridge_index: u32,
    addresses: Mutex<Addresses>,
    nat: Nat,
    /// Held while something is made in the background: cleaning up waits, so that nothing is made after it.
    making: tokio::sync::Mutex<()>,
    seams: Seams,
}

impl Network {
    /// Makes the bridge and the NAT table, or takes over those that are there.
    ///
    /// `leases` are the addresses of containers that run; links of any other address are removed, as are
    /// published ports other than `ports`.
    ///
    /// # Errors
    /// [`NetError::Overlap`] when the host uses the subnet; else what the kernel refused.
    pub async fn open(
        config: NetworkConfig,
        leases: &BTreeSet<Ipv4Addr>,
        ports: &[PublishedPort],
        seams: Seams,
    ) -> NetResult<Arc<Self>> {
        let bridge = config.bridge();
        let bridge_index = ensure_bridge(&bridge, config.subnet)?;
        sweep_links(&config, leases)?;
        let nat = Nat::open(&config.root_id, &bridge, config.subnet).await?;
        nat.replace(ports).await?;
        let addresses = Addresses { used: leases.clone(), ..Addresses::default() };
        let network = Self {
            config,
            bridge_index,
            addresses: Mutex::new(addresses),
            nat,
            making: tokio::sync::Mutex::default(),
            seams,
        };
        Ok(Arc::new(network))
    }

    /// The bridge's subnet.
    #[must_use]
    pub fn subnet(&self) -> Subnet {
        self.config.subnet
    }

    /// A namespace of its own for a container; a ready one when there is.
    ///
    /// # Errors
    /// [`NetError::NoAddress`], or what the kernel refused.
    pub async fn attach(self: &Arc<Self>) -> NetResult<Attachment> {
        let spare = self.locked().spares.pop();
        let attachment = match spare {
            Some(spare) => spare,
            None => self.make().await?,
        };
        self.refill();
        Ok(attachment)
    }

    /// Makes spare namespaces in the background until there are as many as configured.
    pub fn refill(self: &Arc<Self>) {
        let missing = {
            let mut addresses = self.locked();
            if addresses.closed {
                return;
            }
            let missing = self.config.spares.saturating_sub(addresses.spares.len() + addresses.making);
            addresses.making += missing;
            missing
        };
        if missing == 0 {
            return;
        }
        let network = Arc::clone(self);
        let work = async move {
            let _making = network.making.lock().await;
            if network.locked().closed {
                return;
            }
            // Docker may have been started since, and drop what is forwarded.
            if let Err(error) = network.nat.accept_forwarding(&network.config.bridge()).await {
                tracing::warn!(%error, "forwarded packets may be dropped by another firewall's rules");
            }
            for _ in 0..missing {
                let made = network.make().await;
                let mut addresses = network.locked();
                addresses.making -= 1;
                match made {
                    Ok(spare) if addresses.closed => {
                        addresses.used.remove(&spare.address);
                    }
                    Ok(spare) => addresses.spares.push(spare),
                    Err(error) => tracing::warn!(%error, "could not make a spare network namespace"),
                }
            }
        };
        self.seams.spawner.spawn("network namespaces", Box::pin(work));
    }

    /// Gives an address back; its namespace must be gone or going.
    pub fn release(&self, address: Ipv4Addr) {
        self.locked().used.remove(&address);
    }

    /// Publishes ports: from now on the kernel forwards them.
    ///
    /// # Errors
    /// What nftables refused.
    pub async fn publish(&self, ports: &[PublishedPort]) -> NetResult<()> {
        self.nat.add(ports).await
    }

    /// Ends the forwarding of `ports`; ones that are not published are no error.
    ///
    /// # Errors
    /// What nftables refused.
    pub async fn unpublish(&self, ports: &[PublishedPort]) -> NetResult<()> {
        self.nat.remove(ports).await
    }

    /// Removes bridge, links and table.
    ///
    /// # Errors
    /// What the kernel refused.
    pub async fn cleanup(&self) -> NetResult<()> {
        {
            let mut addresses = self.locked();
            addresses.closed = true;
            addresses.spares.clear();
        }
        let _making = self.making.lock().await;
        Self::remove_leftovers(&self.config.root_id).await
    }

    /// Removes whatever the kernel holds of the data directory `root_id`.
    ///
    /// # Errors
    /// What the kernel refused.
    pub async fn remove_leftovers(root_id: &str) -> NetResult<()> {
        let bridge = NetworkConfig::bridge_of(root_id);
        Nat::destroy(root_id, &bridge).await?;
        let rtnl = Rtnl::open()?;
        for link in bridge_links(&bridge)? {
            ignore_missing(rtnl.apply(vec![rtnl::delete_link(&link)]))?;
        }
        ignore_missing(rtnl.apply(vec![rtnl::delete_link(&bridge)]))
    }

    async fn make(&self) -> NetResult<Attachment> {
        let address = self.take_address()?;
        let (config, bridge_index) = (self.config.clone(), self.bridge_index);
        let attachment = on_thread(move || make_namespace(&config, bridge_index, address)).await;
        if attachment.is_err() {
            self.release(address);
        }
        attachment
    }

    fn take_address(&self) -> NetResult<Ipv4Addr> {
        let subnet = self.config.subnet;
        let mut addresses = self.locked();
        for _ in 0..subnet.usable() {
            addresses.last = addresses.last % subnet.usable() + 1;
            // Offset 0 is the network, 1 the gateway.
            let address = subnet.address(addresses.last + 1);
            if addresses.used.insert(address) {
                return Ok(address);
            }
        }
        Err(NetError::NoAddress { subnet, count: subnet.usable() })
    }

    fn locked(&self) -> MutexGuard<'_, Addresses> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A network namespace with nothing but loopback.
///
/// # Errors
/// What the kernel refused.
pub async fn isolated_namespace() -> NetResult<OwnedFd> {
    on_thread(|| {
        let netns = new_namespace()?;
        Rtnl::open()?.apply(vec![rtnl::set_up(link_index("lo")?, "lo")])?;
        Ok(netns)
    })
    .await
}

/// Runs `work` on a thread of its own, whose namespace it may change.
async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> NetResult<T> + Send + 'static) -> NetResult<T> {
    let (done, result) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("netns".to_owned()).spawn(move || {
        // The receiver only goes away with who asked.
        let _ = done.send(work());
    });
    thread.map_err(|error| NetError::kernel("starting a thread", error))?;
    let panicked = |_| NetError::kernel("making a network namespace", io::Error::other("the thread panicked"));
    result.await.map_err(panicked)?
}

/// Counters of a link, seen from the container's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Received: bytes, packets, errors, drops.
    pub rx: [u64; 4],
    /// Sent: bytes, packets, errors, drops.
    pub tx: [u64; 4],
}

/// Counters of the container whose link's host end is `host_link`; zeros when it is gone.
#[must_use]
pub fn link_counters(host_link: &str) -> LinkCounters {
    let read = |direction: &str| {
        ["bytes", "packets", "errors", "dropped"].map(|what| {
            let path = format!("/sys/class/net/{host_link}/statistics/{direction}_{what}");
            fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
        })
    };
    // What the host's end sends is what the container receives.
    LinkCounters { rx: read("tx"), tx: read("rx") }
}

/// Name of the host's end of the link of `address`: at most 15 characters, unique on the host.
fn host_link(root_id: &str, subnet: Subnet, address: Ipv4Addr) -> String {
    let offset = u32::from(address).wrapping_sub(u32::from(subnet.address(0)));
    format!("l{root_id}{offset:x}").chars().take(15).collect()
}

/// A fixed address for each IP, so that a reused IP never meets a stale neighbour entry.
fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x4c, a, b, c, d]
}

fn ensure_bridge(bridge: &str, subnet: Subnet) -> NetResult<u32> {
    let routes = crate::host_routes()?;
    if let Some(route) = crate::overlapping_route(subnet, &routes, bridge) {
        return Err(NetError::Overlap { subnet, route: route.destination, device: route.device.clone() });
    }
    let rtnl = Rtnl::open()?;
    let has_address = routes.iter().any(|route| route.device == bridge && route.destination == subnet);
    if link_index(bridge).is_err() {
        rtnl.apply(vec![rtnl::add_bridge(bridge)])?;
    }
    let index = link_index(bridge)?;
    // The bridge would ask for no IPv6 address anyway, but would announce itself on every change.
    write_sysctl(&format!("net/ipv6/conf/{bridge}/disable_ipv6"), "1");
    if !has_address {
        rtnl.apply(vec![rtnl::add_address(index, bridge, subnet.gateway(), subnet), rtnl::set_up(index, bridge)])?;
    }
    // Published ports are reachable on the host's loopback address too; the NAT table refuses
    // everything else that arrives from the bridge for that address.
    write_sysctl(&format!("net/ipv4/conf/{bridge}/route_localnet"), "1");
    write_sysctl("net/ipv4/ip_forward", "1");
    Ok(index)
}

/// Sets a kernel parameter; a kernel without it needs no setting.
fn write_sysctl(name: &str, value: &str) {
    let path = format!("/proc/sys/{name}");
    if fs::read_to_string(&path).is_ok_and(|current| current.trim() == value) {
        return;
    }
    if let Err(error) = fs::write(&path, value)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(name, value, %error, "could not set a kernel parameter");
    }
}

fn sweep_links(config: &NetworkConfig, leases: &BTreeSet<Ipv4Addr>) -> NetResult<()> {
    let keep: BTreeSet<String> =
        leases.iter().map(|address| host_link(&config.root_id, config.subnet, *address)).collect();
    let rtnl = Rtnl::open()?;
    for link in bridge_links(&config.bridge())? {
        if !keep.contains(&link) {
            ignore_missing(rtnl.apply(vec![rtnl::delete_link(&link)]))?;
        }
    }
    Ok(())
}

/// A link that vanished with its namespace meanwhile is what was wanted.
fn ignore_missing(result: NetResult<()>) -> NetResult<()> {
    match result {
        Err(NetError::Kernel { source, .. }) if source.raw_os_error() == Some(nix::libc::ENODEV) => Ok(()),
        other => other,
    }
}

fn bridge_links(bridge: &str) -> NetResult<Vec<String>> {
    let entries = match fs::read_dir(format!("/sys/class/net/{bridge}/brif")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(NetError::kernel(format!("listing the links of bridge {bridge}"), error)),
    };
    let name = |entry: io::Result<fs::DirEntry>| Some(entry.ok()?.file_name().to_string_lossy().into_owned());
    Ok(entries.filter_map(name).collect())
}

fn link_index(name: &str) -> NetResult<u32> {
    nix::net::if_::if_nametoindex(name).map_err(|error| NetError::kernel(format!("finding link {name}"), error))
}

/// Moves the calling thread to a new namespace.
fn new_namespace() -> NetResult<OwnedFd> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| NetError::kernel("making a network namespace", error))?;
    let netns = File::open("/proc/thread-self/ns/net");
    Ok(netns.map_err(|error| NetError::kernel("opening a network namespace", error))?.into())
}

/// Runs on a thread that ends afterwards, because it changes the thread's namespace.
fn make_namespace(config: &NetworkConfig, bridge_index: u32, address: Ipv4Addr) -> NetResult<Attachment> {
    let host = Rtnl::open()?;
    let netns = new_namespace()?;
    // No IPv6 but on loopback: the bridge has none.
    write_sysctl("net/ipv6/conf/default/disable_ipv6", "1");
    let (subnet, name) = (config.subnet, host_link(&config.root_id, config.subnet, address));
    // With br_netfilter a container's use of its own published port is sent back by the bridge itself.
    let veth =
        || vec![rtnl::add_veth(&name, bridge_index, netns.as_fd(), mac_of(address)), rtnl::set_hairpin_mode(&name)];
    if let Err(error) = host.apply(veth()) {
        // Left over from a namespace that is still dying.
        tracing::debug!(%error, name, "making the link again");
        ignore_missing(host.apply(vec![rtnl::delete_link(&name)]))?;
        host.apply(veth())?;
    }
    let inside = Rtnl::open()?;
    let (lo, eth0) = (link_index("lo")?, link_index("eth0")?);
    inside.apply(vec![
        rtnl::set_up(lo, "lo"),
        rtnl::add_address(eth0, "eth0", address, subnet),
        rtnl::set_up(eth0, "eth0"),
        rtnl::add_default_route(subnet.gateway()),
    ])?;
    Ok(Attachment { netns, address, gateway: subnet.gateway(), prefix: subnet.prefix(), host_link: name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_names_fit_the_kernel_and_differ() {
        let subnet: Subnet = "10.128.0.0/20".parse().unwrap();
        let first = host_link("0011aabb", subnet, subnet.address(2));
        let last = host_link("0011aabb", subnet, subnet.address(4094));
        assert!(first.len() <= 15 && last.len() <= 15 && first != last);
        assert!(NetworkConfig::bridge_of("0011aabb").len() <= 15);
    }
}
