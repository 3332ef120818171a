//! Links, addresses and routes, over a blocking rtnetlink socket.
//!
//! Blocking on purpose: namespaces are made on a thread of their own (a socket belongs to the
//! namespace it was opened in), and a batch of requests takes well under a millisecond.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage,
};
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rtnetlink::{AddressMessageBuilder, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use crate::{NetError, NetResult, Subnet};

/// A socket in the network namespace it was opened in.
pub(crate) struct Rtnl {
    socket: Socket,
}

/// One change, for [`Rtnl::apply`].
pub(crate) struct Change {
    doing: String,
    message: RouteNetlinkMessage,
    flags: u16,
}

impl Rtnl {
    /// Opens a socket in the calling thread's namespace.
    pub(crate) fn open() -> NetResult<Self> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            // Errors then come with the kernel's own words, and without a copy of the request.
            socket.set_ext_ack(true)?;
            socket.set_cap_ack(true)?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(socket)
        };
        Ok(Self { socket: open().map_err(|error| NetError::kernel("opening a netlink socket", error))? })
    }

    /// Makes the changes in order, in one datagram; answers the first refusal.
    pub(crate) fn apply(&self, changes: Vec<Change>) -> NetResult<()> {
        let mut batch = Vec::new();
        let mut doing = Vec::with_capacity(changes.len());
        for (index, change) in changes.into_iter().enumerate() {
            let mut message = NetlinkMessage::from(change.message);
            message.header.flags = NLM_F_REQUEST | NLM_F_ACK | change.flags;
            message.header.sequence_number = u32::try_from(index).unwrap_or(u32::MAX);
            message.finalize();
            let start = batch.len();
            batch.resize(start + message.buffer_len(), 0);
            message.serialize(&mut batch[start..]);
            doing.push(change.doing);
        }
        self.socket.send(&batch, 0).map_err(|error| NetError::kernel("sending to netlink", error))?;
        self.read_answers(&doing)
    }

    fn read_answers(&self, doing: &[String]) -> NetResult<()> {
        let mut refused: Option<NetError> = None;
        let mut answered = 0;
        while answered < doing.len() {
            let (datagram, _) =
                self.socket.recv_from_full().map_err(|error| NetError::kernel("reading from netlink", error))?;
            let mut rest = &datagram[..];
            while rest.len() >= 16 {
                let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest) else { break };
                let length = usize::try_from(message.header.length).unwrap_or(rest.len());
                let words = kernel_words(rest.get(..length).unwrap_or(rest));
                rest = rest.get(length.next_multiple_of(4).max(16)..).unwrap_or(&[]);
                let NetlinkPayload::Error(error) = message.payload else { continue };
                answered += 1;
                if error.code.is_some() && refused.is_none() {
                    let index = usize::try_from(message.header.sequence_number).unwrap_or(usize::MAX);
                    let mut doing = doing.get(index).cloned().unwrap_or_default();
                    if let Some(words) = words {
                        doing = format!("{doing}: {words}");
                    }
                    refused = Some(NetError::kernel(doing, error.to_io()));
                }
            }
        }
        refused.map_or(Ok(()), Err)
    }
}

/// The text of an extended acknowledgement.
fn kernel_words(message: &[u8]) -> Option<String> {
    const MESSAGE: u16 = 1;
    // After the header, the error code and the header of the request.
    let mut rest = message.get(16 + 4 + 16..)?;
    while rest.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
        let value = rest.get(4..length)?;
        if u16::from_ne_bytes([rest[2], rest[3]]) == MESSAGE {
            return Some(String::from_utf8_lossy(value).trim_end_matches('\0').to_owned());
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// Makes a bridge, up.
pub(crate) fn add_bridge(name: &str) -> Change {
    let message = LinkBridge::new(name).up().build();
    Change {
        doing: format!("making bridge {name}"),
        message: RouteNetlinkMessage::NewLink(message),
        flags: NLM_F_CREATE | NLM_F_EXCL,
    }
}

/// Removes a link.
pub(crate) fn delete_link(name: &str) -> Change {
    let message = LinkUnspec::new_with_name(name).build();
    Change { doing: format!("removing link {name}"), message: RouteNetlinkMessage::DelLink(message), flags: 0 }
}

/// Sets a link up.
pub(crate) fn set_up(index: u32, name: &str) -> Change {
    let message = LinkUnspec::new_with_index(index).up().build();
    Change { doing: format!("setting link {name} up"), message: RouteNetlinkMessage::SetLink(message), flags: 0 }
}

/// Makes a veth pair: `name` here, up and in the bridge; `eth0` with `mac` in the namespace.
pub(crate) fn add_veth(name: &str, bridge_index: u32, netns: BorrowedFd<'_>, mac: [u8; 6]) -> Change {
    let peer: LinkMessage = LinkMessageBuilder::<LinkUnspec>::new()
        .name("eth0")
        .address(mac.to_vec())
        .setns_by_fd(netns.as_raw_fd())
        .build();
    let message = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .name(name)
        .controller(bridge_index)
        .up()
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .build();
    Change {
        doing: format!("making veth {name}"),
        message: RouteNetlinkMessage::NewLink(message),
        flags: NLM_F_CREATE | NLM_F_EXCL,
    }
}

/// Lets a bridge send back to a link what came from it. Not by sysfs, where a writer turns idly while others change links.
pub(crate) fn set_hairpin_mode(name: &str) -> Change {
    let mut message = LinkUnspec::new_with_name(name).build();
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(true)])),
    ]));
    // A change, as without the flag that makes links.
    Change {
        doing: format!("setting the hairpin mode of link {name}"),
        message: RouteNetlinkMessage::NewLink(message),
        flags: 0,
    }
}

/// Gives a link an address.
pub(crate) fn add_address(index: u32, name: &str, address: Ipv4Addr, subnet: Subnet) -> Change {
    let message = AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(address, subnet.prefix()).build();
    Change {
        doing: format!("giving link {name} the address {address}/{}", subnet.prefix()),
        message: RouteNetlinkMessage::NewAddress(message),
        flags: NLM_F_CREATE,
    }
}

/// Adds a default route.
pub(crate) fn add_default_route(gateway: Ipv4Addr) -> Change {
    let message = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build();
    Change {
        doing: format!("adding a default route by {gateway}"),
        message: RouteNetlinkMessage::NewRoute(message),
        flags: NLM_F_CREATE | NLM_F_EXCL,
    }
}
