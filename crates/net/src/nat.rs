//! Published ports and masquerading: one nftables table for each data directory.
//!
//! A published port is one element of a map, so publishing another one costs the same however many
//! there are. The only thing outside the table is an accept for the bridge in the `ip filter` table of
//! iptables, made when that table drops forwarded packets (Docker sets that policy): a verdict of ours
//! cannot overrule another table's drop.

use std::net::Ipv4Addr;

use nlink::netlink::Nftables;
use nlink::netlink::nftables::{
    BaseChain, Chain, CmpOp, Expr, Family, FibFlags, FibResult, FilterHook, LookupExpr, MasqExpr, MetaKey, NatHook,
    PayloadBase, Policy, Priority, RawExpr, RawMessage, Register, Rule, Set, SetDataType, SetElement, SetKeyType,
    Verdict,
};
use serde::{Deserialize, Serialize};

use crate::{NetError, NetResult, Subnet, legacy};

type Connection = nlink::Connection<Nftables>;

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

/// A port of the host that the kernel forwards to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishedPort {
    /// TCP or UDP.
    pub transport: Transport,
    /// The host's address; all local ones when absent.
    pub host_address: Option<Ipv4Addr>,
    /// The host's port.
    pub host_port: u16,
    /// The container's address.
    pub address: Ipv4Addr,
    /// The container's port.
    pub port: u16,
}

/// Ports published on all addresses: (protocol, port) → (address, port).
const ANY: &str = "ports";
/// Ports published on one address: (address, protocol, port) → (address, port).
const ONE: &str = "address_ports";
/// Chain of the way to credentials.
const CREDENTIALS: &str = "credentials";
/// Where containers ask for credentials, on port 80.
const CREDENTIAL_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 2);
/// The port of their bridge's address that they are led to: the one which agents reserve for it.
pub const CREDENTIAL_PORT: u16 = 51_679;
/// Elements in one netlink datagram; far more were measured to pass.
const BATCH: usize = 128;

const FAMILY: Family = Family::Ip;
/// `RTN_LOCAL` of rtnetlink.
const ROUTE_LOCAL: u32 = 2;
/// `IPS_DST_NAT` of conntrack.
const STATUS_DNAT: u32 = 1 << 5;

/// The table of one data directory.
#[derive(Clone, Debug)]
pub(crate) struct Nat {
    table: String,
}

fn table_of(root_id: &str) -> String {
    format!("longshore_{root_id}")
}

fn failed<E: std::fmt::Display>(doing: &'static str) -> impl Fn(E) -> NetError {
    move |error| NetError::Nat { doing, message: error.to_string() }
}

fn connect() -> NetResult<Connection> {
    Connection::new().map_err(failed("opening a socket"))
}

impl Nat {
    /// Makes the table anew unless it is there, and lets the bridge through iptables.
    pub(crate) async fn open(root_id: &str, bridge: &str, subnet: Subnet) -> NetResult<Self> {
        let nat = Self { table: table_of(root_id) };
        let connection = connect()?;
        let mut credentials = false;
        let tables = connection.list_tables_in(FAMILY).await.map_err(failed("listing tables"))?;
        if !tables.iter().any(|table| table.name == nat.table) {
            nat.create(&connection, bridge, subnet).await?;
        } else {
            let chains =
                connection.list_chains_in(nat.table.as_str(), FAMILY).await.map_err(failed("listing chains"))?;
            credentials = chains.iter().any(|chain| chain.name == CREDENTIALS);
        }
        if !credentials {
            nat.keep_credentials(&connection, bridge, subnet).await?;
        }
        accept_forwarding(&connection, bridge).await?;
        Ok(nat)
    }

    /// Lets the bridge through iptables, unless it is let through already.
    pub(crate) async fn accept_forwarding(&self, bridge: &str) -> NetResult<()> {
        accept_forwarding(&connect()?, bridge).await
    }

    /// Removes everything that belongs to `root_id`.
    pub(crate) async fn destroy(root_id: &str, bridge: &str) -> NetResult<()> {
        let connection = connect()?;
        connection
            .del_table_if_exists(table_of(root_id).as_str(), FAMILY)
            .await
            .map_err(failed("removing the table"))?;
        legacy::forget(bridge);
        for (chain, handle) in forwarding_rules(&connection, bridge).await? {
            connection
                .del_rule_if_exists("filter", &chain, FAMILY, handle)
                .await
                .map_err(failed("removing an accept from iptables' filter table"))?;
        }
        Ok(())
    }

    /// Makes `ports` the published ones, and no others.
    pub(crate) async fn replace(&self, ports: &[PublishedPort]) -> NetResult<()> {
        let connection = connect()?;
        for set in [self.any(), self.one()] {
            let name = if matches!(set, MapOf::Any(_)) { ANY } else { ONE };
            let old = connection
                .list_set_elements(&self.table, name, FAMILY)
                .await
                .map_err(failed("listing published ports"))?;
            let (MapOf::Any(set) | MapOf::One(set)) = &set;
            for batch in old.chunks(BATCH) {
                connection.del_set_elements(set, batch).await.map_err(failed("removing published ports"))?;
            }
        }
        self.add(ports).await
    }

    /// Publishes `ports`.
    pub(crate) async fn add(&self, ports: &[PublishedPort]) -> NetResult<()> {
        if ports.is_empty() {
            return Ok(());
        }
        let connection = connect()?;
        for batch in ports.chunks(BATCH) {
            let (any, one) = elements(batch);
            let mut transaction = connection.transaction();
            let (MapOf::Any(any_set) | MapOf::One(any_set)) = self.any();
            let (MapOf::Any(one_set) | MapOf::One(one_set)) = self.one();
            if !any.is_empty() {
                transaction = transaction.add_set_elements(&any_set, &any);
            }
            if !one.is_empty() {
                transaction = transaction.add_set_elements(&one_set, &one);
            }
            transaction.commit(&connection).await.map_err(failed("publishing ports"))?;
        }
        Ok(())
    }

    /// Ends the forwarding of `ports`.
    pub(crate) async fn remove(&self, ports: &[PublishedPort]) -> NetResult<()> {
        if ports.is_empty() {
            return Ok(());
        }
        let connection = connect()?;
        let (MapOf::Any(any_set) | MapOf::One(any_set)) = self.any();
        let (MapOf::Any(one_set) | MapOf::One(one_set)) = self.one();
        let (any, one) = elements(ports);
        for (set, elements) in [(&any_set, any), (&one_set, one)] {
            // One by one: a missing element would fail a batch as a whole.
            for element in elements {
                match connection.del_set_elements(set, &[element]).await {
                    Err(error) if !error.is_not_found() => return Err(failed("removing published ports")(error)),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn any(&self) -> MapOf {
        let key = SetKeyType::Concat(vec![SetKeyType::InetProto, SetKeyType::InetService]);
        MapOf::Any(Set::new(&self.table, ANY).family(FAMILY).key_type(key).map(destination_type()))
    }

    fn one(&self) -> MapOf {
        let key = SetKeyType::Concat(vec![SetKeyType::Ipv4Addr, SetKeyType::InetProto, SetKeyType::InetService]);
        MapOf::One(Set::new(&self.table, ONE).family(FAMILY).key_type(key).map(destination_type()))
    }

    async fn create(&self, connection: &Connection, bridge: &str, subnet: Subnet) -> NetResult<()> {
        let chain = |name: &str, base: BaseChain| {
            Ok::<_, NetError>(
                Chain::new(self.table.as_str(), name).map_err(failed("naming a chain"))?.family(FAMILY).base(base),
            )
        };
        let (MapOf::Any(any) | MapOf::One(any)) = self.any();
        let (MapOf::Any(one) | MapOf::One(one)) = self.one();
        let mut transaction = connection
            .transaction()
            .add_table(&self.table, FAMILY)
            .add_set(any)
            .add_set(one)
            .add_chain(chain("guard", BaseChain::filter(FilterHook::Prerouting, Priority::Raw).policy(Policy::Accept))?)
            .add_chain(chain("incoming", BaseChain::nat(NatHook::Prerouting, Priority::DstNat))?)
            .add_chain(chain("local", BaseChain::nat(NatHook::Output, Priority::DstNat))?)
            .add_chain(chain("outgoing", BaseChain::nat(NatHook::Postrouting, Priority::SrcNat))?);
        for rule in self.rules(bridge, subnet) {
            transaction = transaction.add_rule(rule);
        }
        transaction.commit(connection).await.map_err(failed("making the table"))
    }

    /// What containers ask of [`CREDENTIAL_ADDRESS`] stays on their own bridge, whatever ports of this host anybody
    /// publishes: the first chain to translate a connection decides, so this one comes before all others.
    async fn keep_credentials(&self, connection: &Connection, bridge: &str, subnet: Subnet) -> NetResult<()> {
        const HTTP: u16 = 80;
        let priority = Priority::Custom(Priority::DstNat.to_i32() - 10);
        let chain = Chain::new(self.table.as_str(), CREDENTIALS).map_err(failed("naming a chain"))?;
        let chain = chain.family(FAMILY).base(BaseChain::nat(NatHook::Prerouting, priority));
        // NFTA_NAT_TYPE: destination; NFTA_NAT_FAMILY: IPv4; registers of the address and of the port.
        let mut nat = Vec::new();
        attribute_u32(&mut nat, 1, 1);
        attribute_u32(&mut nat, 2, 2);
        attribute_u32(&mut nat, 3, 8);
        attribute_u32(&mut nat, 5, 9);
        let exprs = [
            name_is(MetaKey::IifName, bridge),
            vec![load(DESTINATION, 4, Register::R0), compare(CmpOp::Eq, CREDENTIAL_ADDRESS.octets().to_vec())],
            vec![Expr::Meta { dreg: Register::R0, key: MetaKey::L4Proto }],
            vec![compare(CmpOp::Eq, vec![Transport::Tcp.number()])],
            vec![Expr::Payload { dreg: Register::R0, base: PayloadBase::Transport, offset: 2, len: 2 }],
            vec![compare(CmpOp::Eq, HTTP.to_be_bytes().to_vec())],
            vec![Expr::Immediate { dreg: Register::Reg32_00, data: subnet.gateway().octets().to_vec() }],
            vec![Expr::Immediate { dreg: Register::Reg32_01, data: CREDENTIAL_PORT.to_be_bytes().to_vec() }],
            vec![Expr::Raw(RawExpr::new("nat", nat))],
        ];
        let rule = exprs.concat().into_iter().fold(Rule::new(&self.table, CREDENTIALS).family(FAMILY), Rule::then);
        let transaction = connection.transaction().add_chain(chain).add_rule(rule);
        transaction.commit(connection).await.map_err(failed("keeping the way to credentials"))
    }

    fn rules(&self, bridge: &str, subnet: Subnet) -> Vec<Rule> {
        let rule = |chain: &str, exprs: Vec<Expr>| {
            exprs.into_iter().fold(Rule::new(&self.table, chain).family(FAMILY), Rule::then)
        };
        let join = |parts: [Vec<Expr>; 3]| parts.concat();
        let loopback = Subnet::new(Ipv4Addr::LOCALHOST, 8);
        let mut rules = vec![
            // The bridge has route_localnet: without this a container could reach the host's loopback services.
            rule(
                "guard",
                join([
                    name_is(MetaKey::IifName, bridge),
                    address_in(DESTINATION, loopback, CmpOp::Eq),
                    vec![Expr::Verdict(Verdict::Drop)],
                ]),
            ),
        ];
        for chain in ["incoming", "local"] {
            rules.push(rule(
                chain,
                join([is_local(), vec![load(DESTINATION, 4, Register::Reg32_00)], forward(ONE, true)]),
            ));
            rules.push(rule(chain, join([is_local(), Vec::new(), forward(ANY, false)])));
        }
        let masquerade = || vec![Expr::Masquerade(MasqExpr::new())];
        let from_subnet = || address_in(SOURCE, subnet, CmpOp::Eq);
        rules.extend([
            rule("outgoing", join([from_subnet(), name_is_not(MetaKey::OifName, bridge), masquerade()])),
            // A container that uses its own published port must not see itself as the client.
            rule(
                "outgoing",
                [name_is(MetaKey::OifName, bridge), from_subnet(), is_translated(), masquerade()].concat(),
            ),
            rule(
                "outgoing",
                join([name_is(MetaKey::OifName, bridge), address_in(SOURCE, loopback, CmpOp::Eq), masquerade()]),
            ),
        ]);
        rules
    }
}

enum MapOf {
    Any(Set),
    One(Set),
}

fn destination_type() -> SetDataType {
    SetDataType::Value(SetKeyType::Concat(vec![SetKeyType::Ipv4Addr, SetKeyType::InetService]))
}

/// Map elements of `ports`: those on all addresses, and those on one.
fn elements(ports: &[PublishedPort]) -> (Vec<SetElement>, Vec<SetElement>) {
    let (mut any, mut one) = (Vec::new(), Vec::new());
    for port in ports {
        let to = SetElement::concat([SetElement::ipv4(port.address), SetElement::port(port.port)]);
        let protocol = SetElement::new(vec![port.transport.number()]);
        let host_port = SetElement::port(port.host_port);
        match port.host_address.filter(|address| !address.is_unspecified()) {
            None => any.push(SetElement::concat([protocol, host_port]).value(to)),
            Some(address) => {
                one.push(SetElement::concat([SetElement::ipv4(address), protocol, host_port]).value(to));
            }
        }
    }
    (any, one)
}

const SOURCE: u32 = 12;
const DESTINATION: u32 = 16;

fn load(offset: u32, len: u32, dreg: Register) -> Expr {
    Expr::Payload { dreg, base: PayloadBase::Network, offset, len }
}

fn compare(op: CmpOp, data: Vec<u8>) -> Expr {
    Expr::Cmp { sreg: Register::R0, op, data }
}

fn name_is(key: MetaKey, name: &str) -> Vec<Expr> {
    vec![Expr::Meta { dreg: Register::R0, key }, compare(CmpOp::Eq, interface_name(name))]
}

fn name_is_not(key: MetaKey, name: &str) -> Vec<Expr> {
    vec![Expr::Meta { dreg: Register::R0, key }, compare(CmpOp::Neq, interface_name(name))]
}

/// The kernel compares all 16 bytes of a name.
fn interface_name(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

fn address_in(offset: u32, subnet: Subnet, op: CmpOp) -> Vec<Expr> {
    let (sreg, dreg) = (Register::R0, Register::R0);
    vec![
        load(offset, 4, Register::R0),
        Expr::Bitwise { sreg, dreg, len: 4, mask: subnet.netmask().to_vec(), xor: vec![0; 4] },
        compare(op, subnet.network().octets().to_vec()),
    ]
}

/// `fib daddr type local`
fn is_local() -> Vec<Expr> {
    vec![
        Expr::Fib { dreg: Register::R0, result: FibResult::AddrType, flags: FibFlags::DADDR },
        compare(CmpOp::Eq, ROUTE_LOCAL.to_ne_bytes().to_vec()),
    ]
}

/// `ct status dnat`
fn is_translated() -> Vec<Expr> {
    let (sreg, dreg) = (Register::R0, Register::R0);
    vec![
        Expr::Ct { dreg, key: nlink::netlink::nftables::CtKey::Status },
        Expr::Bitwise { sreg, dreg, len: 4, mask: STATUS_DNAT.to_ne_bytes().to_vec(), xor: vec![0; 4] },
        compare(CmpOp::Neq, vec![0; 4]),
    ]
}

/// `dnat to … map @map`; with `after_address` the key begins with the address already loaded.
fn forward(map: &str, after_address: bool) -> Vec<Expr> {
    let (protocol, port) =
        if after_address { (Register::Reg32_01, Register::Reg32_02) } else { (Register::Reg32_00, Register::Reg32_01) };
    let mut nat = Vec::new();
    // NFTA_NAT_TYPE: destination; NFTA_NAT_FAMILY: IPv4; registers of the address and of the port.
    attribute_u32(&mut nat, 1, 1);
    attribute_u32(&mut nat, 2, 2);
    attribute_u32(&mut nat, 3, 8);
    attribute_u32(&mut nat, 5, 9);
    vec![
        Expr::Meta { dreg: protocol, key: MetaKey::L4Proto },
        Expr::Payload { dreg: port, base: PayloadBase::Transport, offset: 2, len: 2 },
        LookupExpr::new(map, Register::Reg32_00).dreg(Register::Reg32_00).into(),
        Expr::Raw(RawExpr::new("nat", nat)),
    ]
}

fn attribute(out: &mut Vec<u8>, kind: u16, payload: &[u8]) {
    let length = u16::try_from(payload.len() + 4).expect("attributes written here are short");
    out.extend_from_slice(&length.to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(payload);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn attribute_u32(out: &mut Vec<u8>, kind: u16, value: u32) {
    attribute(out, kind, &value.to_be_bytes());
}

fn nested(out: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    const NESTED: u16 = 1 << 15;
    let mut inner = Vec::new();
    fill(&mut inner);
    attribute(out, kind | NESTED, &inner);
}

fn text(out: &mut Vec<u8>, kind: u16, value: &str) {
    let mut bytes = value.as_bytes().to_vec();
    bytes.push(0);
    attribute(out, kind, &bytes);
}

/// `NEWRULE` at the head of `chain` of `ip filter`: `-i bridge -j ACCEPT` or `-o bridge -j ACCEPT`, written with
/// the very expressions that iptables writes, so that iptables still understands its table.
fn accept_at_head(chain: &str, key: MetaKey, bridge: &str) -> RawMessage {
    const NEW_RULE: u8 = 6;
    const CREATE: u16 = 0x400;
    let key = if key == MetaKey::IifName { 6 } else { 7 };
    let expression = |out: &mut Vec<u8>, name: &str, fill: &dyn Fn(&mut Vec<u8>)| {
        nested(out, 1, |out| {
            text(out, 1, name);
            nested(out, 2, fill);
        });
    };
    let mut attrs = Vec::new();
    text(&mut attrs, 1, "filter");
    text(&mut attrs, 2, chain);
    nested(&mut attrs, 4, |out| {
        expression(out, "meta", &|out| {
            attribute_u32(out, 1, 1);
            attribute_u32(out, 2, key);
        });
        expression(out, "cmp", &|out| {
            attribute_u32(out, 1, 1);
            attribute_u32(out, 2, 0);
            // iptables compares the name with its final zero and no more.
            nested(out, 3, |out| {
                let mut name = bridge.as_bytes().to_vec();
                name.push(0);
                attribute(out, 1, &name);
            });
        });
        expression(out, "counter", &|out| {
            attribute(out, 1, &0_u64.to_be_bytes());
            attribute(out, 2, &0_u64.to_be_bytes());
        });
        expression(out, "immediate", &|out| {
            attribute_u32(out, 1, 0);
            // NF_ACCEPT
            nested(out, 2, |out| nested(out, 2, |out| attribute_u32(out, 1, 1)));
        });
    });
    RawMessage::new(NEW_RULE, FAMILY).flags(CREATE).attrs(attrs)
}

/// Rules of ours in iptables' filter table: (chain, handle).
async fn forwarding_rules(connection: &Connection, bridge: &str) -> NetResult<Vec<(String, u64)>> {
    let tables = connection.list_tables_in(FAMILY).await.map_err(failed("listing tables"))?;
    if !tables.iter().any(|table| table.name == "filter") {
        return Ok(Vec::new());
    }
    let rules = connection.list_rules("filter", FAMILY).await.map_err(failed("listing iptables' filter table"))?;
    let name = bridge.as_bytes();
    let ours = |rule: &nlink::netlink::nftables::RuleInfo| {
        rule.expression_bytes.windows(name.len()).any(|bytes| bytes == name)
    };
    Ok(rules.iter().filter(|rule| ours(rule)).map(|rule| (rule.chain.clone(), rule.handle)).collect())
}

/// Docker sets the policy of `FORWARD` to drop; its `DOCKER-USER` chain is the place for rules of others.
async fn accept_forwarding(connection: &Connection, bridge: &str) -> NetResult<()> {
    legacy::accept(bridge);
    let chains = connection.list_chains_in("filter", FAMILY).await.map_err(failed("listing iptables' chains"))?;
    let Some(chain) =
        ["DOCKER-USER", "FORWARD"].into_iter().find(|name| chains.iter().any(|chain| chain.name == *name))
    else {
        return Ok(());
    };
    let present = forwarding_rules(connection, bridge).await?;
    if present.iter().filter(|(name, _)| name == chain).count() >= 2 {
        return Ok(());
    }
    connection
        .transaction()
        .raw(accept_at_head(chain, MetaKey::IifName, bridge))
        .raw(accept_at_head(chain, MetaKey::OifName, bridge))
        .commit(connection)
        .await
        .map_err(failed("accepting the bridge in iptables' filter table"))
}
