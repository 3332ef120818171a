//! Addresses, published ports, names.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use super::World;
use crate::{ContainerSpec, ContainerState, NetworkMode, PortBinding, Protocol, RuntimeError};

/// What the services of these tests answer.
const ANSWER: &str = "hello";
/// Where dynamic host ports come from when the machine's own range is the usual one.
const DYNAMIC_PORTS: std::ops::RangeInclusive<u16> = 32768..=60999;
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A container that answers every TCP connection to port 80 with [`ANSWER`].
fn server(world: &World) -> ContainerSpec {
    world.shell(&format!("while :; do echo {ANSWER} | nc -l -p 80 >/dev/null; done"))
}

/// One that says when a datagram has come for a port on which nobody listens: busybox has no server for
/// datagrams, but the kernel counts them.
fn datagram_counter(world: &World) -> ContainerSpec {
    world.shell("until [ $(awk '/^Udp: [0-9]/ {print $3}' /proc/net/snmp) != 0 ]; do sleep 0.05; done; echo came")
}

fn port(container_port: u16, host_port: u16, protocol: Protocol) -> PortBinding {
    PortBinding { container_port, host_port, protocol, host_ip: None }
}

/// A port that nobody uses at the moment.
fn free_port() -> u16 {
    TcpListener::bind((LOOPBACK, 0)).unwrap().local_addr().unwrap().port()
}

/// The IPv4 host port of a container's port.
fn host_port(state: &ContainerState, container_port: u16, protocol: Protocol) -> u16 {
    let binding = state.ports.iter().find(|binding| {
        binding.container_port == container_port
            && binding.protocol == protocol
            && binding.host_ip.is_none_or(|ip| ip.is_ipv4())
    });
    binding.unwrap_or_else(|| panic!("{container_port}/{protocol} is not among {:?}", state.ports)).host_port
}

fn ask(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.shutdown(std::net::Shutdown::Write).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.trim().to_owned()).filter(|answer| !answer.is_empty())
}

async fn answered(world: &World, ip: IpAddr, port: u16) {
    let answer = world.until("the service answers", || async move { ask((ip, port).into()) }).await;
    assert_eq!(answer, ANSWER);
}

/// An address of this machine other than loopback.
fn host_address() -> IpAddr {
    // Connecting a datagram socket sends nothing; it only picks a source address.
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").map_or(LOOPBACK, |()| socket.local_addr().unwrap().ip())
}

/// A bridged container has an address that the host reaches without any published port.
// spec: 05-009
pub async fn a_bridged_container_has_an_address(world: &World) {
    let started = world.start(&server(world)).await;
    let ip = started.ip.expect("an address in the bridge");
    assert_eq!(world.runtime.inspect(&started.id).await.unwrap().ip, Some(ip));
    answered(world, ip, 80).await;
    assert!(started.ports.is_empty());
}

/// Containers reach each other by address.
// spec: 05-082
pub async fn containers_reach_each_other(world: &World) {
    let ip = world.start(&server(world)).await.ip.unwrap();
    let script = format!("until nc -w 1 {ip} 80 </dev/null | grep {ANSWER}; do :; done");
    assert_eq!(world.output(&world.shell(&script)).await, ANSWER);
}

/// Containers see their address, a route, and the host's side of the bridge.
pub async fn a_bridged_container_has_a_route(world: &World) {
    let finished = world.start(&world.shell("ip -4 -o addr show eth0; ip route | grep ^default; sleep 3600")).await;
    let address = world.written(&finished.id, "eth0").await.line;
    assert!(String::from_utf8_lossy(&address).contains(&finished.ip.unwrap().to_string()));
    world.written(&finished.id, "default via").await;
}

/// A fixed host port leads to the container, from loopback and from the machine's own addresses.
// spec: 05-031, 05-037
pub async fn a_fixed_host_port_leads_to_the_container(world: &World) {
    let host = free_port();
    let spec = ContainerSpec { ports: vec![port(80, host, Protocol::Tcp)], ..server(world) };
    let started = world.start(&spec).await;
    assert_eq!(host_port(&started, 80, Protocol::Tcp), host);
    answered(world, LOOPBACK, host).await;
    answered(world, host_address(), host).await;
}

/// A container reaches another's published port through the host's address.
pub async fn a_published_port_is_reached_from_containers(world: &World) {
    let host = free_port();
    let spec = ContainerSpec { ports: vec![port(80, host, Protocol::Tcp)], ..server(world) };
    world.start(&spec).await;
    let address = host_address();
    let script = format!("until nc -w 1 {address} {host} </dev/null | grep {ANSWER}; do :; done");
    assert_eq!(world.output(&world.shell(&script)).await, ANSWER);
}

/// UDP too.
// spec: 05-042
pub async fn a_datagram_port_leads_to_the_container(world: &World) {
    let spec = ContainerSpec { ports: vec![port(53, 0, Protocol::Udp)], ..datagram_counter(world) };
    let started = world.start(&spec).await;
    let host = host_port(&started, 53, Protocol::Udp);
    world
        .until("a datagram comes through", || async {
            let socket = UdpSocket::bind((LOOPBACK, 0)).unwrap();
            socket.send_to(b"?", (LOOPBACK, host)).unwrap();
            let state = world.runtime.inspect(&started.id).await.unwrap();
            (state.exit_code == Some(0)).then_some(())
        })
        .await;
}

/// A host port of 0 becomes a free one of the dynamic range, another for each container.
// spec: 05-036
pub async fn dynamic_host_ports_are_chosen(world: &World) {
    let ports = vec![port(80, 0, Protocol::Tcp), port(81, 0, Protocol::Tcp), port(80, 0, Protocol::Udp)];
    let spec = || ContainerSpec { ports: ports.clone(), ..server(world) };
    let (first, second) = (world.start(&spec()).await, world.start(&spec()).await);
    let mut chosen: Vec<u16> = Vec::new();
    for state in [&first, &second] {
        chosen.extend([80, 81].map(|container| host_port(state, container, Protocol::Tcp)));
        assert!(DYNAMIC_PORTS.contains(&host_port(state, 80, Protocol::Udp)));
    }
    assert!(chosen.iter().all(|port| DYNAMIC_PORTS.contains(port)), "{chosen:?}");
    chosen.sort_unstable();
    chosen.dedup();
    assert_eq!(chosen.len(), 4);
    answered(world, LOOPBACK, host_port(&second, 80, Protocol::Tcp)).await;
    assert_eq!(world.runtime.inspect(&first.id).await.unwrap().ports, first.ports);
}

/// A port published on loopback is not reached otherwise.
pub async fn a_port_can_be_published_on_one_address(world: &World) {
    let host = free_port();
    let binding = PortBinding { host_ip: Some(LOOPBACK), ..port(80, host, Protocol::Tcp) };
    world.start(&ContainerSpec { ports: vec![binding], ..server(world) }).await;
    answered(world, LOOPBACK, host).await;
    let elsewhere = host_address();
    assert!(elsewhere == LOOPBACK || ask((elsewhere, host).into()).is_none());
}

fn is_port_in_use(result: Result<ContainerState, RuntimeError>, expected: u16) -> bool {
    matches!(result, Err(RuntimeError::PortInUse { port, protocol: Protocol::Tcp }) if port == expected)
}

/// A host port serves one container; it is free again when that is gone.
pub async fn a_host_port_serves_one_container(world: &World) {
    let host = free_port();
    let spec = || ContainerSpec { ports: vec![port(80, host, Protocol::Tcp)], ..server(world) };
    let first = world.start(&spec()).await;
    let second = world.runtime.create(&spec()).await.unwrap();
    assert!(is_port_in_use(world.runtime.start(&second).await, host));
    world.runtime.remove(&first.id).await.unwrap();
    world.runtime.remove(&second).await.unwrap();
    let third = world.start(&spec()).await;
    assert_eq!(host_port(&third, 80, Protocol::Tcp), host);
}

/// A stopped container gives its ports back before it is removed.
pub async fn a_stopped_container_frees_its_ports(world: &World) {
    let host = free_port();
    let spec = || ContainerSpec { ports: vec![port(80, host, Protocol::Tcp)], ..server(world) };
    let first = world.start(&spec()).await;
    world.runtime.kill(&first.id, 9).await.unwrap();
    assert!(world.ended(&first.id).await.ports.is_empty());
    let second = world.start(&spec()).await;
    answered(world, LOOPBACK, host_port(&second, 80, Protocol::Tcp)).await;
}

/// Nor does it take a port from a process of the host.
pub async fn a_host_process_keeps_its_port(world: &World) {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let host = listener.local_addr().unwrap().port();
    let spec = ContainerSpec { ports: vec![port(80, host, Protocol::Tcp)], ..server(world) };
    let id = world.runtime.create(&spec).await.unwrap();
    assert!(is_port_in_use(world.runtime.start(&id).await, host));
}

/// In host mode the container's ports are the host's.
// spec: 05-010
pub async fn host_mode_shares_the_host_s_network(world: &World) {
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    let spec = ContainerSpec { network: NetworkMode::Host, ..world.spec(&["readlink", "/proc/self/ns/net"]) };
    assert_eq!(world.output(&spec).await, own.to_string_lossy());
    let port = free_port();
    let script = format!("while :; do echo {ANSWER} | nc -l -p {port} >/dev/null; done");
    let started = world.start(&ContainerSpec { network: NetworkMode::Host, ..world.shell(&script) }).await;
    assert_eq!((started.ip, started.ports.len()), (None, 0));
    answered(world, LOOPBACK, port).await;
}

/// In none mode there is only loopback.
// spec: 05-008
pub async fn none_mode_has_only_loopback(world: &World) {
    let script = "ls /sys/class/net; cat /sys/class/net/lo/operstate; ip route";
    let started = world.run(&ContainerSpec { network: NetworkMode::None, ..world.shell(script) }).await;
    let interfaces: Vec<&str> = started.stdout.lines().collect();
    assert!(interfaces.contains(&"lo") && !interfaces.iter().any(|name| name.starts_with("eth")), "{interfaces:?}");
    assert!(!started.stdout.contains("default"));
    assert_eq!(started.state.ip, None);
}

/// With networking off, too, whatever the mode.
// spec: 05-080
pub async fn networking_can_be_off(world: &World) {
    let script = "ls /sys/class/net | grep eth; echo checked";
    let spec = ContainerSpec { network_disabled: true, ..world.shell(script) };
    let started = world.start(&spec).await;
    assert_eq!(started.ip, None);
    world.ended(&started.id).await;
    assert_eq!(world.lines(&started.id, Default::default()).await[0].line, b"checked");
}

/// A container can share another's network: they reach each other on loopback.
pub async fn a_network_can_be_shared(world: &World) {
    let first = world.start(&server(world)).await;
    let script = format!("until nc -w 1 127.0.0.1 80 </dev/null | grep {ANSWER}; do :; done; hostname");
    let spec = ContainerSpec { network: NetworkMode::Container(first.id.clone()), ..world.shell(&script) };
    assert_eq!(world.output(&spec).await.lines().next(), Some(ANSWER));
}

/// Name servers and search domains replace the host's.
// spec: 05-084, 05-085
pub async fn name_servers_are_as_given(world: &World) {
    let spec = ContainerSpec {
        dns: vec!["192.0.2.53".to_owned(), "192.0.2.54".to_owned()],
        dns_search: vec!["a.example".to_owned(), "b.example".to_owned()],
        ..world.spec(&["grep", "-E", "^(nameserver|search)", "/etc/resolv.conf"])
    };
    let output = world.output(&spec).await;
    let mut lines: Vec<&str> = output.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["nameserver 192.0.2.53", "nameserver 192.0.2.54", "search a.example b.example"]);
}

/// Without, there is a resolver configuration still.
pub async fn name_servers_come_from_the_host_else(world: &World) {
    let output = world.output(&world.shell("[ -f /etc/resolv.conf ] && echo there")).await;
    assert_eq!(output, "there");
}

/// Names are added to the hosts file, which also knows the container itself and loopback.
// spec: 05-086
pub async fn the_hosts_file_has_the_given_names(world: &World) {
    let spec = ContainerSpec {
        hostname: Some("web-1".to_owned()),
        extra_hosts: vec![("db".to_owned(), "192.0.2.7".to_owned())],
        ..world.spec(&["cat", "/etc/hosts"])
    };
    let finished = world.run(&spec).await;
    let names: Vec<Vec<&str>> = finished.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(names.contains(&vec!["127.0.0.1", "localhost"]), "{names:?}");
    assert!(names.contains(&vec!["192.0.2.7", "db"]), "{names:?}");
    assert!(names.iter().any(|words| words.contains(&"web-1")), "{names:?}");
}

/// A linked container is reached by its alias.
// spec: 05-081
pub async fn a_link_is_a_name(world: &World) {
    let first = world.start(&server(world)).await;
    let script = format!("until nc -w 1 storage 80 </dev/null | grep {ANSWER}; do :; done");
    let spec = ContainerSpec { links: vec![(first.id.clone(), "storage".to_owned())], ..world.shell(&script) };
    assert_eq!(world.output(&spec).await, ANSWER);
}

/// Traffic of a bridged container is counted.
pub async fn traffic_is_counted(world: &World) {
    let started = world.start(&server(world)).await;
    answered(world, started.ip.unwrap(), 80).await;
    let stats = world.runtime.stats(&started.id).await.unwrap();
    assert!(stats.rx[0] > 0 && stats.rx[1] > 0 && stats.tx[0] > 0 && stats.tx[1] > 0, "{stats:?}");
}

/// The host reaches a connection's whole life through a published port: request and answer.
pub async fn a_published_port_carries_both_directions(world: &World) {
    let host = free_port();
    let ports = vec![port(7, host, Protocol::Tcp)];
    world.start(&ContainerSpec { ports, ..world.shell("while :; do nc -l -p 7 -e cat; done") }).await;
    let sent = vec![b'x'; 200_000];
    let expected = sent.clone();
    let echoed = world.until("the service echoes", || {
        let sent = sent.clone();
        async move {
            let mut stream = TcpStream::connect_timeout(&(LOOPBACK, host).into(), Duration::from_secs(1)).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
            let mut writing = stream.try_clone().ok()?;
            let writer = std::thread::spawn(move || {
                writing.write_all(&sent).and_then(|()| writing.shutdown(std::net::Shutdown::Write))
            });
            let mut echoed = Vec::new();
            let read = stream.read_to_end(&mut echoed);
            writer.join().ok()?.ok()?;
            read.ok().filter(|length| *length > 0).map(|_| echoed)
        }
    });
    assert!(echoed.await == expected);
}
