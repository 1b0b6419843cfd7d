//! The few netlink requests that wiring a lab takes: one request, one acknowledgement.
//!
//! It is not the daemon's route client: it is synchronous, unbatched and knows no notifications. A
//! socket belongs to the namespace in which it was opened, whoever uses it.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsRawFd;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use super::error::LabError;
use super::namespace::{self, Step};
use super::plan::Mac;
use crate::net::{Family, Prefix};

/// The protocol number of routes that dunlin writes.
pub(super) const PROTOCOL_DUNLIN: u8 = 179;
/// The one of BIRD.
pub(super) const PROTOCOL_BIRD: u8 = 12;

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// Out of a link, the destination is right behind it; the node's own address as the source.
    Link {
        /// The link.
        index: u32,
        /// Without it the kernel chooses, by the link's scope.
        source: Option<IpAddr>,
    },
    /// To a gateway that is on a link even if no address says so.
    Gateway {
        /// Its address.
        address: IpAddr,
        /// The link.
        index: u32,
    },
    /// To a gateway that the kernel finds by its other routes.
    Via(IpAddr),
    /// Nowhere.
    Blackhole,
}

/// A request socket inside one namespace.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
    namespace: String,
}

impl Netlink {
    /// Opens one in the namespace.
    pub(super) fn open(namespace: &str) -> Result<Self, LabError> {
        let socket = namespace::inside(namespace, Step::Enter, || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(socket)
        })?;
        Ok(Self {
            socket,
            sequence: 0,
            namespace: namespace.to_owned(),
        })
    }

    /// The index of a link.
    pub(super) fn link(&mut self, name: &str) -> Result<u32, LabError> {
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::IfName(name.to_owned()));
        let replies = self
            .request(RouteNetlinkMessage::GetLink(message), 0)
            .map_err(self.failed(format!("find the link {name}")))?;
        let index = replies.into_iter().find_map(|reply| match reply {
            RouteNetlinkMessage::NewLink(link) => Some(link.header.index),
            _ => None,
        });
        index.ok_or_else(|| {
            let source = io::Error::from(io::ErrorKind::NotFound);
            self.failed(format!("find the link {name}"))(source)
        })
    }

    /// Makes a bridge and gives its index.
    pub(super) fn add_bridge(&mut self, name: &str, mac: Mac) -> Result<u32, LabError> {
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::Address(mac.to_vec()));
        message
            .attributes
            .push(LinkAttribute::IfName(name.to_owned()));
        message
            .attributes
            .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(
                InfoKind::Bridge,
            )]));
        self.create(RouteNetlinkMessage::NewLink(message), || {
            format!("make the bridge {name}")
        })?;
        self.link(name)
    }

    /// Whether the kernel has the driver of a kind of tunnel device; loads it if it may.
    pub(super) fn has_driver(&mut self, kind: &str) -> Result<bool, LabError> {
        const PROBE: &str = "probe";
        let mut info = vec![LinkInfo::Kind(kind.into())];
        if kind == "vxlan" {
            info.push(LinkInfo::Data(InfoData::Vxlan(vec![InfoVxlan::Id(1)])));
        }
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::IfName(PROBE.to_owned()));
        message.attributes.push(LinkAttribute::LinkInfo(info));
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        match self.request(RouteNetlinkMessage::NewLink(message), flags) {
            Ok(_) => {
                let mut gone = LinkMessage::default();
                gone.header.index = self.link(PROBE)?;
                self.request(RouteNetlinkMessage::DelLink(gone), NLM_F_ACK)
                    .map_err(self.failed(format!("remove the link {PROBE}")))?;
                Ok(true)
            }
            // The kernel's own device of the kind has the same ends: it is there.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(false),
            Err(error) => Err(self.failed(format!("make a link of kind {kind}"))(error)),
        }
    }

    /// Makes a pair of links: one end here, the other in another namespace. Gives the index of
    /// the end here.
    pub(super) fn add_veth(
        &mut self,
        (name, mac): (&str, Option<Mac>),
        (peer, peer_mac): (&str, Mac),
        peer_namespace: &str,
    ) -> Result<u32, LabError> {
        let file = namespace::path(peer_namespace);
        let there = File::open(&file).map_err(LabError::file("open", file))?;
        let mut other = LinkMessage::default();
        other
            .attributes
            .push(LinkAttribute::IfName(peer.to_owned()));
        other
            .attributes
            .push(LinkAttribute::Address(peer_mac.to_vec()));
        other
            .attributes
            .push(LinkAttribute::NetNsFd(there.as_raw_fd()));
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::IfName(name.to_owned()));
        message
            .attributes
            .extend(mac.map(|mac| LinkAttribute::Address(mac.to_vec())));
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(other))),
        ]));
        self.create(RouteNetlinkMessage::NewLink(message), || {
            format!("make the link {name} to {peer} in {peer_namespace}")
        })?;
        self.link(name)
    }

    /// Tells the Ethernet address of a neighbour for good.
    pub(super) fn add_neighbour(
        &mut self,
        index: u32,
        address: IpAddr,
        mac: Mac,
    ) -> Result<(), LabError> {
        let mut message = NeighbourMessage::default();
        message.header.family = address_family(address);
        message.header.ifindex = index;
        message.header.state = NeighbourState::Permanent;
        message
            .attributes
            .push(NeighbourAttribute::Destination(address.into()));
        message
            .attributes
            .push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
        self.create(RouteNetlinkMessage::NewNeighbour(message), || {
            format!("tell the link {index} about {address}")
        })
    }

    /// Switches a link on; with a bridge's index also attaches it there.
    pub(super) fn set_up(&mut self, index: u32, bridge: Option<u32>) -> Result<(), LabError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message
            .attributes
            .extend(bridge.map(LinkAttribute::Controller));
        self.request(RouteNetlinkMessage::SetLink(message), NLM_F_ACK)
            .map_err(self.failed(format!("switch on the link {index}")))?;
        Ok(())
    }

    /// Gives a link an address, usable at once (no duplicate address detection).
    pub(super) fn add_address(
        &mut self,
        index: u32,
        (address, len): (IpAddr, u8),
    ) -> Result<(), LabError> {
        let mut message = AddressMessage::default();
        message.header.family = address_family(address);
        message.header.prefix_len = len;
        message.header.index = index;
        message.attributes.push(AddressAttribute::Local(address));
        message.attributes.push(AddressAttribute::Address(address));
        match address {
            // Link-local, as the source of nothing that leaves the link.
            IpAddr::V4(v4) if v4.is_link_local() => message.header.scope = AddressScope::Link,
            IpAddr::V4(_) => {}
            IpAddr::V6(_) => {
                message.header.flags = AddressHeaderFlags::Nodad;
                message
                    .attributes
                    .push(AddressAttribute::Flags(AddressFlags::Nodad));
            }
        }
        self.create(RouteNetlinkMessage::NewAddress(message), || {
            format!("give the link {index} the address {address}/{len}")
        })
    }

    /// Adds a route to the main table, as a static one.
    pub(super) fn add_route(&mut self, to: Prefix, target: Target) -> Result<(), LabError> {
        let mut message = RouteMessage::default();
        message.header.address_family = match to.family() {
            Family::Ipv4 => AddressFamily::Inet,
            Family::Ipv6 => AddressFamily::Inet6,
        };
        message.header.destination_prefix_length = to.len();
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.scope = RouteScope::Universe;
        message.header.kind = RouteType::Unicast;
        let attributes = &mut message.attributes;
        attributes.push(RouteAttribute::Destination(to.address().into()));
        match target {
            Target::Link { index, source } => {
                if to.family() == Family::Ipv4 {
                    message.header.scope = RouteScope::Link;
                }
                attributes.push(RouteAttribute::Oif(index));
                attributes.extend(source.map(|s| RouteAttribute::PrefSource(s.into())));
            }
            Target::Gateway { address, index } => {
                attributes.push(RouteAttribute::Oif(index));
                attributes.push(RouteAttribute::Gateway(RouteAddress::from(address)));
            }
            Target::Via(address) => {
                attributes.push(RouteAttribute::Gateway(RouteAddress::from(address)));
            }
            Target::Blackhole => message.header.kind = RouteType::BlackHole,
        }
        self.create(RouteNetlinkMessage::NewRoute(message), || {
            format!("add a route to {to}")
        })
    }

    /// How many routes of the main table carry a protocol number, over both families.
    pub(super) fn count_routes(&mut self, protocol: u8) -> Result<usize, LabError> {
        let mut count = 0;
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let routes = self
                .request(RouteNetlinkMessage::GetRoute(message), NLM_F_DUMP)
                .map_err(self.failed("list the routes".to_owned()))?;
            count += routes
                .iter()
                .filter(|reply| match reply {
                    RouteNetlinkMessage::NewRoute(route) => {
                        u8::from(route.header.protocol) == protocol
                            && route.header.table == RouteHeader::RT_TABLE_MAIN
                    }
                    _ => false,
                })
                .count();
        }
        Ok(count)
    }

    fn create(
        &mut self,
        message: RouteNetlinkMessage,
        doing: impl FnOnce() -> String,
    ) -> Result<(), LabError> {
        match self.request(message, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL) {
            Ok(_) => Ok(()),
            Err(source) => Err(self.failed(doing())(source)),
        }
    }

    fn failed(&self, doing: String) -> impl FnOnce(io::Error) -> LabError + use<> {
        let namespace = self.namespace.clone();
        move |source| LabError::Kernel {
            namespace,
            doing,
            source,
        }
    }

    /// Sends one request and reads until it is answered for good.
    fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut packet = NetlinkMessage::from(message);
        packet.header.flags = NLM_F_REQUEST | flags;
        packet.header.sequence_number = self.sequence;
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let many = flags & (NLM_F_ACK | NLM_F_DUMP) != 0;
        let mut replies = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            if self.take(&datagram, &mut replies)? || (!many && !replies.is_empty()) {
                return Ok(replies);
            }
        }
    }

    /// Reads one datagram; true when it held the end of the answer.
    fn take(&self, datagram: &[u8], replies: &mut Vec<RouteNetlinkMessage>) -> io::Result<bool> {
        let mut rest = datagram;
        while !rest.is_empty() {
            let reply = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            // Messages are aligned to four octets; the last one may end without the padding.
            let len = usize::try_from(reply.header.length).unwrap_or(usize::MAX);
            rest = rest
                .get(len.next_multiple_of(4).max(4)..)
                .unwrap_or_default();
            if reply.header.sequence_number != self.sequence {
                continue;
            }
            match reply.payload {
                NetlinkPayload::Done(_) => return Ok(true),
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                NetlinkPayload::Error(_) => return Ok(true),
                NetlinkPayload::InnerMessage(message) => replies.push(message),
                NetlinkPayload::Noop => {}
                NetlinkPayload::Overrun(_) => {
                    return Err(io::Error::other("the kernel dropped a reply"));
                }
                _ => return Err(io::Error::other("an unknown kind of netlink message")),
            }
        }
        Ok(false)
    }
}

fn address_family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

/// The default route of a family.
pub(super) fn default_route(family: Family) -> Prefix {
    match family {
        Family::Ipv4 => Prefix::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0),
        Family::Ipv6 => Prefix::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
    }
}
