//! A real bridge with real namespaces. Needs root; says so and passes without it.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use longshore_net::{Attachment, Network, NetworkConfig, PublishedPort, Transport, choose_subnet, host_routes};
use longshore_seams::{Random, Seams, SystemRandom};

/// Removes everything of its root when dropped, so that a failed test leaves nothing.
struct Root {
    id: String,
    network: Arc<Network>,
}

impl Root {
    async fn open() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: making network namespaces needs root");
            return None;
        }
        let id = SystemRandom.hex32()[..8].to_owned();
        let network = open(&id, &BTreeSet::new(), &[]).await;
        Some(Self { id, network })
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let id = self.id.clone();
        let removed = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(Network::remove_leftovers(&id))
        });
        removed.join().unwrap().unwrap();
    }
}

async fn open(id: &str, leases: &BTreeSet<Ipv4Addr>, ports: &[PublishedPort]) -> Arc<Network> {
    let subnet = choose_subnet(id, &host_routes().unwrap(), &NetworkConfig::bridge_of(id)).unwrap();
    let config = NetworkConfig { root_id: id.to_owned(), subnet, spares: 0 };
    Network::open(config, leases, ports, Seams::system()).await.unwrap()
}

fn inside<T: Send + 'static>(attachment: &Attachment, work: impl FnOnce() -> T + Send + 'static) -> T {
    let netns = attachment.netns.as_fd().try_clone_to_owned().unwrap();
    let thread = std::thread::spawn(move || {
        nix::sched::setns(&netns, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        work()
    });
    thread.join().unwrap()
}

/// Serves `hello` on port 80 inside the namespace until the test ends.
fn serve(attachment: &Attachment) {
    let listener = inside(attachment, || TcpListener::bind("0.0.0.0:80").unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(b"hello");
        }
    });
}

fn read_from(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn published(attachment: &Attachment, host_address: Option<Ipv4Addr>, host_port: u16) -> PublishedPort {
    let (transport, address) = (Transport::Tcp, attachment.address);
    PublishedPort { transport, host_address, host_port, address, port: 80 }
}

/// A port that nobody listens on now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn a_published_port_is_reached_on_loopback_from_another_container_and_from_itself() {
    let Some(root) = Root::open().await else { return };
    let server = root.network.attach().await.unwrap();
    let client = root.network.attach().await.unwrap();
    serve(&server);
    // Without br_netfilter the last of these works anyway.
    let mode = format!("/sys/class/net/{}/brport/hairpin_mode", server.host_link);
    assert_eq!(std::fs::read_to_string(mode).unwrap().trim(), "1");
    let port = free_port();
    root.network.publish(&[published(&server, None, port)]).await.unwrap();
    assert_eq!(read_from(([127, 0, 0, 1], port).into()).unwrap(), "hello");
    let gateway = root.network.subnet().gateway();
    for from in [&client, &server] {
        let read = inside(from, move || read_from((gateway, port).into()));
        assert_eq!(read.unwrap(), "hello", "from {}", from.address);
    }
    root.network.unpublish(&[published(&server, None, port)]).await.unwrap();
    root.network.unpublish(&[published(&server, None, port)]).await.unwrap();
    assert!(read_from(([127, 0, 0, 1], port).into()).is_err());
}

#[tokio::test]
async fn a_port_published_on_one_address_is_not_reached_on_another() {
    let Some(root) = Root::open().await else { return };
    let server = root.network.attach().await.unwrap();
    serve(&server);
    let port = free_port();
    root.network.publish(&[published(&server, Some(Ipv4Addr::LOCALHOST), port)]).await.unwrap();
    assert_eq!(read_from(([127, 0, 0, 1], port).into()).unwrap(), "hello");
    let gateway = root.network.subnet().gateway();
    assert!(read_from((gateway, port).into()).is_err());
}

#[tokio::test]
async fn a_container_does_not_reach_the_hosts_loopback_services() {
    let Some(root) = Root::open().await else { return };
    let client = root.network.attach().await.unwrap();
    let host = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = host.local_addr().unwrap();
    let gateway = root.network.subnet().gateway();
    let refused = inside(&client, move || {
        // Even with a route of its own that sends loopback addresses to the bridge.
        std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").unwrap();
        let _ = std::process::Command::new("ip").args(["addr", "del", "127.0.0.1/8", "dev", "lo"]).status();
        let via = gateway.to_string();
        let _ = std::process::Command::new("ip").args(["route", "add", "127.0.0.0/8", "via", &via]).status();
        TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_err()
    });
    assert!(refused);
}

#[tokio::test]
async fn opening_again_keeps_leased_links_and_their_ports_and_removes_the_rest() {
    let Some(root) = Root::open().await else { return };
    let kept = root.network.attach().await.unwrap();
    let dropped = root.network.attach().await.unwrap();
    serve(&kept);
    let (port, other) = (free_port(), free_port());
    let ports = [published(&kept, None, port), published(&dropped, None, other)];
    root.network.publish(&ports).await.unwrap();
    let again = open(&root.id, &BTreeSet::from([kept.address]), &ports[..1]).await;
    assert_eq!(read_from(([127, 0, 0, 1], port).into()).unwrap(), "hello");
    assert!(read_from(([127, 0, 0, 1], other).into()).is_err());
    let exists = |link: &str| std::path::Path::new("/sys/class/net").join(link).exists();
    assert!(exists(&kept.host_link));
    assert!(!exists(&dropped.host_link));
    assert_ne!(again.attach().await.unwrap().address, kept.address);
}

#[tokio::test]
async fn cleanup_removes_bridge_table_and_accepts() {
    let Some(root) = Root::open().await else { return };
    let _attachment = root.network.attach().await.unwrap();
    root.network.cleanup().await.unwrap();
    assert!(!std::path::Path::new("/sys/class/net").join(NetworkConfig::bridge_of(&root.id)).exists());
    let rules = std::process::Command::new("nft").args(["list", "ruleset"]).output();
    if let Ok(rules) = rules {
        assert!(!String::from_utf8_lossy(&rules.stdout).contains(&root.id));
    }
}
