//! One node with sessions and a kernel that are played by hand: every change is settled before the call
//! returns, so what a test sees next is what the same turn of the daemon would have done.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use dunlin::dataplane::{
    Action, Address, Change, Hop, KernelInput, KernelRoute, Link, Op, RouteKind, Shape,
};
use dunlin::net::{Asn, Family, Prefix, ScopedAddress};
use dunlin::node::{Input, Node, Output};
use dunlin::session::ConnectionId;
use dunlin::speaker;
use dunlin::time::Instant;
use dunlin::topology::{Intent, plan};
use dunlin::wire::capability::Capability;
use dunlin::wire::frame::{self, KEEPALIVE, MessageKind};
use dunlin::wire::open::Open;

use crate::sim_script::{attributes, message, split, update};
use crate::sim_world::settings;

pub(crate) struct Rig {
    pub(crate) node: Node,
    pub(crate) now: Instant,
    /// What the kernel tells at a dump, our own routes apart.
    rows: Vec<Change>,
    pub(crate) routes: BTreeMap<Prefix, Arc<Shape>>,
    /// What each connection was sent, by message.
    pub(crate) sent: BTreeMap<ConnectionId, Vec<(MessageKind, Vec<u8>)>>,
    /// Rounds of the last change, for those that must not take many.
    pub(crate) written: usize,
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

pub(crate) fn link(index: u32) -> Link {
    Link::named(index, &format!("eth{index}"))
}

pub(crate) fn address(index: u32, text: &str) -> [Change; 2] {
    let (address, len) = text.split_once('/').unwrap();
    let (address, len) = (ip(address), len.parse().unwrap());
    let connected = Hop {
        via: None,
        ..Hop::new(address, index)
    };
    let subnet = Prefix::new(address, len);
    [
        Change::Address(Address {
            interface: index,
            address,
            len,
        }),
        route(&subnet.to_string(), [connected]),
    ]
}

pub(crate) fn kernel_route(to: &str, hops: impl IntoIterator<Item = Hop>) -> KernelRoute {
    let prefix = prefix(to);
    KernelRoute {
        prefix,
        table: 254,
        metric: match prefix.family() {
            Family::Ipv4 => 0,
            Family::Ipv6 => 256,
        },
        protocol: 2,
        shape: Arc::new(Shape::unicast(hops)),
    }
}

pub(crate) fn route(to: &str, hops: impl IntoIterator<Item = Hop>) -> Change {
    Change::Route {
        route: kernel_route(to, hops),
        replaced: false,
    }
}

impl Rig {
    pub(crate) fn new(intent: &Intent, rows: Vec<Change>) -> Self {
        Self::after_a_restart(intent, rows, &[])
    }

    /// A former process has left these routes.
    pub(crate) fn after_a_restart(
        intent: &Intent,
        mut rows: Vec<Change>,
        left: &[KernelRoute],
    ) -> Self {
        let now = Instant::from_secs(1000);
        let settings = dunlin::node::Settings {
            speaker: speaker::Settings {
                max_paths: 4,
                ..settings(1, true).speaker
            },
            kept: [!left.is_empty(); 2],
            ..settings(1, true)
        };
        rows.extend(left.iter().map(|route| Change::Route {
            route: route.clone(),
            replaced: false,
        }));
        let routes = left
            .iter()
            .map(|route| (route.prefix, Arc::clone(&route.shape)));
        let routes = routes.collect();
        let mut rig = Self {
            node: Node::new(now, settings, plan(intent, "me").unwrap()),
            now,
            rows,
            routes,
            sent: BTreeMap::new(),
            written: 0,
        };
        rig.settle();
        rig
    }

    /// One turn, and no second one.
    pub(crate) fn settle(&mut self) {
        self.written = 0;
        self.node.settle(self.now);
        while let Some(output) = self.node.poll() {
            match output {
                Output::Transport(speaker::Output::Send { connection, bytes }) => {
                    let sent = self.sent.entry(connection).or_default();
                    let all = frame::messages(&bytes);
                    sent.extend(all.map(|(kind, body)| (kind, body.to_vec())));
                    self.node
                        .handle(self.now, Input::Sent(connection, bytes.len()));
                }
                Output::Transport(_) => {}
                Output::Kernel(ops) => {
                    for op in ops {
                        self.operate(op);
                    }
                    self.node.settle(self.now);
                }
            }
        }
    }

    fn operate(&mut self, Op { id, action }: Op) {
        match action {
            Action::Add(route) | Action::Replace(route) => {
                self.written += 1;
                assert!(self.written < 1000, "it does not settle");
                self.routes.insert(route.prefix, route.shape);
            }
            Action::Delete(route) => {
                self.written += 1;
                assert!(self.written < 1000, "it does not settle");
                self.routes.remove(&route.prefix);
            }
            Action::Dump => {
                for row in self.rows.clone() {
                    self.kernel(KernelInput::Dumped(row));
                }
            }
            _ => {}
        }
        let result = Ok(());
        self.kernel(KernelInput::Done { id, result });
    }

    fn kernel(&mut self, input: KernelInput) {
        self.node.handle(self.now, Input::Kernel(input));
    }

    pub(crate) fn change(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            self.kernel(KernelInput::Changed(change));
        }
        self.settle();
    }

    pub(crate) fn after(&mut self, time: dunlin::time::Duration) {
        self.now = self.now + time;
        self.node.handle_timeout(self.now);
        self.settle();
    }

    pub(crate) fn found(&mut self, interface: &str, index: u32, neighbour: &str) {
        self.node
            .neighbour_found(self.now, interface, index, ip(neighbour));
        self.settle();
    }

    /// A session from an address, on the link with this index if it is a link-local one.
    pub(crate) fn session(
        &mut self,
        from: (&str, u32),
        local: &str,
        asn: u32,
        more: &[Capability],
    ) -> Option<ConnectionId> {
        let remote = ScopedAddress::new(ip(from.0), from.1);
        let (connection, _) = self.node.accepted(self.now, remote, ip(local))?;
        let mut capabilities = vec![
            Capability::Multiprotocol(Family::Ipv4.afi_safi()),
            Capability::Multiprotocol(Family::Ipv6.afi_safi()),
            Capability::FourOctetAs(Asn(asn)),
            Capability::ExtendedNextHop(vec![(Family::Ipv4.afi_safi(), 2)]),
        ];
        capabilities.extend(more.iter().cloned());
        let open = Open {
            my_as: Asn(asn).to_two_octets(),
            hold_time: 0,
            router_id: std::net::Ipv4Addr::from(0x0909_0000 + connection.0 as u32).into(),
            capabilities,
        };
        self.say(connection, &open.encode());
        self.say(connection, &KEEPALIVE);
        Some(connection)
    }

    pub(crate) fn say(&mut self, connection: ConnectionId, messages: &[u8]) {
        self.node
            .handle(self.now, Input::Received(connection, messages));
        self.settle();
    }

    /// The hops of the kernel's route, as `ADDRESS@INDEX`.
    pub(crate) fn hops(&self, of: &str) -> Option<Vec<String>> {
        let shape = self.routes.get(&prefix(of))?;
        assert_eq!(shape.kind, RouteKind::Unicast);
        let hop = |hop: &Hop| format!("{}@{}", hop.via.unwrap(), hop.interface.unwrap());
        Some(shape.hops.iter().map(hop).collect())
    }

    /// The IPv4 prefixes that a connection was told of and not withdrawn.
    pub(crate) fn announced(&self, connection: ConnectionId) -> BTreeSet<Prefix> {
        let mut table = BTreeSet::new();
        for body in self.updates(connection) {
            let (withdrawn, _, announced) = split(body);
            for prefix in withdrawn {
                table.remove(&prefix);
            }
            table.extend(announced);
        }
        table
    }

    pub(crate) fn updates(&self, connection: ConnectionId) -> Vec<&[u8]> {
        let sent = self.sent.get(&connection).into_iter().flatten();
        let updates = sent.filter(|(kind, _)| *kind == MessageKind::Update);
        updates.map(|(_, body)| body.as_slice()).collect()
    }
}

/// An UPDATE that announces routes by MP_REACH_NLRI, with a path of so many numbers.
pub(crate) fn reach(next_hop: &[&str], path: &[u32], prefixes: &[&str]) -> Vec<u8> {
    let family = prefix(prefixes[0]).family();
    let pair = family.afi_safi();
    let mut mp = pair.afi.to_be_bytes().to_vec();
    let octets = |address: &str| match ip(address) {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let hop: Vec<u8> = next_hop.iter().flat_map(|one| octets(one)).collect();
    mp.extend([pair.safi, u8::try_from(hop.len()).unwrap()]);
    mp.extend(hop);
    mp.push(0);
    for one in prefixes {
        let one = prefix(one);
        mp.push(one.len());
        let octets = octets(&one.address().to_string());
        mp.extend(&octets[..usize::from(one.len().div_ceil(8))]);
    }
    let mut attributes = vec![0x40, 1, 1, 0, 0x40, 2];
    if path.is_empty() {
        attributes.push(0);
    } else {
        attributes.push(u8::try_from(2 + 4 * path.len()).unwrap());
        attributes.extend([2, u8::try_from(path.len()).unwrap()]);
        attributes.extend(path.iter().flat_map(|asn| asn.to_be_bytes()));
    }
    attributes.extend([0x80, 14, u8::try_from(mp.len()).unwrap()]);
    attributes.extend(mp);
    let mut body = vec![0, 0];
    body.extend(u16::try_from(attributes.len()).unwrap().to_be_bytes());
    body.extend(attributes);
    message(2, &body)
}

/// The same in the body of the UPDATE.
pub(crate) fn reach_v4(next_hop: &str, path: &[u32], prefixes: &[&str]) -> Vec<u8> {
    let mut attributes = attributes(path, next_hop);
    if path.is_empty() {
        // An empty AS_PATH has no segment.
        attributes.splice(4..9, [0x40, 2, 0]);
    }
    let prefixes: Vec<Prefix> = prefixes.iter().map(|text| prefix(text)).collect();
    update(&[], &attributes, &prefixes)
}

/// An UPDATE that withdraws routes of either family.
pub(crate) fn unreach(prefixes: &[&str]) -> Vec<u8> {
    let all: Vec<Prefix> = prefixes.iter().map(|text| prefix(text)).collect();
    let pair = all[0].family().afi_safi();
    let mut mp = pair.afi.to_be_bytes().to_vec();
    mp.push(pair.safi);
    for one in all {
        mp.push(one.len());
        let octets = match one.address() {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        mp.extend(&octets[..usize::from(one.len().div_ceil(8))]);
    }
    let mut body = vec![0, 0];
    body.extend(u16::try_from(mp.len() + 3).unwrap().to_be_bytes());
    body.extend([0x80, 15, u8::try_from(mp.len()).unwrap()]);
    body.extend(mp);
    message(2, &body)
}
