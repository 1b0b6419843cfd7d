//! What is kept from pods, against the real kernel: the ports by which nodes and routers are neighbours, and the
//! ends of tunnels. That a packet does not arrive is seen by one that was sent after it and does.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use dunlin::topology::{Intent, Peer, PoolMode};
use nix::sys::socket::sockopt;
use socket2::{Domain, Socket, Type};

use super::nat_rooms::{DEADLINE, Room, World, guarded, in_world, nat};
use dunlin::net::Asn;

/// A router behind the same link as the pod, which is none: by family.
const ROUTER: [&str; 2] = ["192.0.2.7", "2001:db8::7"];
const POD: [&str; 2] = ["10.244.1.2", "fd00:10:1::2"];
const NODE: [&str; 2] = ["10.0.0.1", "fd00::1"];
/// Node b.
const OTHER: [&str; 2] = ["10.0.0.9", "fd00::9"];

fn with_router(story: impl FnOnce(&World)) {
    in_world(|world| {
        for (address, via) in ROUTER.iter().zip(POD) {
            let nodad = if address.contains(':') { " nodad" } else { "" };
            world
                .pod
                .ip(&[&format!("addr add {address} dev eth0{nodad}")]);
            world.node.ip(&[&format!("route add {address} via {via}")]);
        }
        for (address, via) in ROUTER.iter().zip(NODE) {
            world
                .outside
                .ip(&[&format!("route add {address} via {via}")]);
        }
        story(world);
    });
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    Udp,
}

/// A socket in the other node's namespace.
enum Ear {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// How long a datagram is waited for, and how often it is said.
const AGAIN: Duration = Duration::from_secs(2);
const TRIES: u32 = 8;

impl Ear {
    fn open(room: &Room, kind: Kind, at: SocketAddr) -> Self {
        room.run(move || {
            let kind_of = if kind == Kind::Tcp {
                Type::STREAM
            } else {
                Type::DGRAM
            };
            let socket = Socket::new(Domain::for_address(at), kind_of, None).unwrap();
            nix::sys::socket::setsockopt(&socket, sockopt::ReuseAddr, &true).unwrap();
            socket.bind(&at.into()).unwrap();
            let patience = if kind == Kind::Tcp { DEADLINE } else { AGAIN };
            socket.set_read_timeout(Some(patience)).unwrap();
            match kind {
                Kind::Tcp => {
                    socket.listen(8).unwrap();
                    Self::Tcp(socket.into())
                }
                Kind::Udp => Self::Udp(socket.into()),
            }
        })
    }

    /// Who is heard first of those that `say` has speak: again where nobody is, since a datagram may be lost.
    fn first<T>(self, mut say: impl FnMut() -> T) -> String {
        let heard = match self {
            Self::Tcp(listener) => {
                let _said = say();
                listener.accept().unwrap().1.ip()
            }
            Self::Udp(socket) => {
                let mut hear = || {
                    let _said = say();
                    socket.recv_from(&mut [0; 8]).ok()
                };
                let mut tries = (0..TRIES).filter_map(|_| hear());
                tries.next().unwrap().1.ip()
            }
        };
        heard.to_string()
    }
}

/// Says something; a connection is begun, and is there as long as what is returned.
fn speak(room: &Room, kind: Kind, from: &str, to: SocketAddr) -> Socket {
    let from = SocketAddr::new(from.parse().unwrap(), 0);
    room.run(move || {
        let kind_of = if kind == Kind::Tcp {
            Type::STREAM
        } else {
            Type::DGRAM
        };
        let socket = Socket::new(Domain::for_address(to), kind_of, None).unwrap();
        socket.bind(&from.into()).unwrap();
        socket.set_nonblocking(true).unwrap();
        match (kind, socket.connect(&to.into())) {
            (Kind::Tcp, Err(error)) => assert_eq!(error.raw_os_error(), Some(libc::EINPROGRESS)),
            (Kind::Tcp, Ok(())) => {}
            (Kind::Udp, connected) => {
                connected.unwrap();
                socket.send(b"hello").unwrap();
            }
        }
        socket
    })
}

/// Whether the pod is heard at a port, and by which address: it speaks, and then the router does.
fn heard(world: &World, kind: Kind, family: usize, target: &str, port: u16) -> Option<String> {
    let to = SocketAddr::new(target.parse().unwrap(), port);
    let ear = Ear::open(&world.outside, kind, to);
    let both = || [POD[family], ROUTER[family]].map(|from| speak(&world.pod, kind, from, to));
    let first = ear.first(both);
    (first != ROUTER[family]).then_some(first)
}

const NEIGHBOURS: [(Kind, u16); 4] = [
    (Kind::Tcp, 179),
    (Kind::Udp, 3784),
    (Kind::Udp, 3785),
    (Kind::Udp, 4784),
];

#[test]
fn nothing_of_a_pod_reaches_a_neighbours_port_and_all_else_does() {
    with_router(|world| {
        let mut kept = world.keep(Some(nat(|_| {})));
        for (kind, port) in NEIGHBOURS {
            for family in 0..2 {
                let name = heard(world, kind, family, OTHER[family], port);
                assert_eq!(
                    name.as_deref(),
                    Some(NODE[family]),
                    "in its node's name: {port}"
                );
            }
        }
        kept.set(Some(guarded(|_| {})));
        for family in 0..2 {
            for (kind, port) in NEIGHBOURS {
                assert_eq!(
                    heard(world, kind, family, OTHER[family], port),
                    None,
                    "{kind:?} {port}"
                );
            }
            // Everything else of the pod, and the node's own.
            for (kind, port) in [(Kind::Tcp, 180), (Kind::Udp, 3786), (Kind::Udp, 179)] {
                let name = heard(world, kind, family, OTHER[family], port);
                assert_eq!(name.as_deref(), Some(NODE[family]), "{kind:?} {port}");
            }
            for (kind, port) in NEIGHBOURS {
                let to = SocketAddr::new(OTHER[family].parse().unwrap(), port);
                let ear = Ear::open(&world.outside, kind, to);
                let own = || speak(&world.node, kind, NODE[family], to);
                assert_eq!(ear.first(own), NODE[family]);
            }
        }
        let rules = world.node.nft("list table ip dunlin");
        assert!(rules.contains("counter packets 1"), "{rules}");
        kept.set(Some(guarded(|intent| {
            intent.felix.allow_bgp_from_workloads = true
        })));
        let name = heard(world, Kind::Tcp, 0, OTHER[0], 179);
        assert_eq!(name.as_deref(), Some(NODE[0]), "switched off");
        assert_eq!(kept.status.repaired, 0);
    });
}

/// A pool without NAT: the pod has its own name, and only nodes are kept from it.
#[test]
fn a_pod_with_its_own_address_reaches_routers_and_no_nodes() {
    with_router(|world| {
        let plain = |intent: &mut Intent| {
            for pool in &mut intent.pools {
                pool.nat_outgoing = false;
            }
            for (name, address) in [("tor", "10.246.0.9"), ("tor6", "fd00:11::9")] {
                let mut peer = Peer::new(name, address.parse().unwrap(), Asn(65_001));
                if let dunlin::topology::FarEnd::Address(end) = &mut peer.far_end {
                    end.port = Some(1790);
                }
                intent.peers.push(peer);
            }
        };
        let mut kept = world.keep(Some(guarded(plain)));
        let tors = ["10.246.0.9", "fd00:11::9"];
        for family in 0..2 {
            assert_eq!(heard(world, Kind::Tcp, family, OTHER[family], 179), None);
            let name = heard(world, Kind::Tcp, family, tors[family], 1790);
            assert_eq!(name.as_deref(), Some(POD[family]));
        }
        kept.set(Some(guarded(|intent| {
            plain(intent);
            for pool in &mut intent.pools {
                pool.nat_outgoing = true;
            }
        })));
        for (family, tor) in tors.iter().enumerate() {
            assert_eq!(heard(world, Kind::Tcp, family, tor, 1790), None);
            let name = heard(world, Kind::Tcp, family, tor, 1791);
            assert_eq!(name.as_deref(), Some(POD[family]), "pools keep it anyway");
        }
    });
}

#[test]
fn a_pod_that_is_a_peer_is_one_under_its_own_address() {
    with_router(|world| {
        let _kept = world.keep(Some(guarded(|intent| {
            for address in POD {
                let peer = Peer::new(address, address.parse().unwrap(), Asn(65_001));
                intent.peers.push(peer);
            }
        })));
        for family in 0..2 {
            for (kind, port) in NEIGHBOURS {
                let name = heard(world, kind, family, OTHER[family], port);
                assert_eq!(name.as_deref(), Some(POD[family]), "{kind:?} {port}");
            }
            let name = heard(world, Kind::Tcp, family, OTHER[family], 180);
            assert_eq!(name.as_deref(), Some(NODE[family]), "elsewhere as all pods");
        }
    });
}

/// IPv4 has a check of its own for that.
#[test]
fn nobody_speaks_in_this_nodes_own_name() {
    with_router(|world| {
        world.pod.ip(&["addr add fd00::1/128 dev eth0 nodad"]);
        let to = SocketAddr::new(OTHER[1].parse().unwrap(), 4784);
        let spoofed = || {
            let ear = Ear::open(&world.outside, Kind::Udp, to);
            ear.first(|| [NODE[1], ROUTER[1]].map(|from| speak(&world.pod, Kind::Udp, from, to)))
        };
        let mut kept = world.keep(Some(nat(|_| {})));
        assert_eq!(spoofed(), NODE[1], "without the guard");
        kept.set(Some(guarded(|_| {})));
        assert_eq!(spoofed(), ROUTER[1]);
    });
}

#[test]
fn a_pod_is_no_end_of_a_tunnel() {
    with_router(|world| {
        let tunnels = |intent: &mut Intent| {
            for pool in &mut intent.pools {
                pool.vxlan_mode = PoolMode::Always;
            }
        };
        let mut kept = world.keep(Some(nat(|intent| {
            tunnels(intent);
            intent.felix.allow_vxlan_from_workloads = true;
        })));
        for family in 0..2 {
            let name = heard(world, Kind::Udp, family, OTHER[family], 4789);
            assert_eq!(
                name.as_deref(),
                Some(NODE[family]),
                "as if its node had sent it"
            );
        }
        // Without BGP, too: it is the tunnel that is guarded.
        kept.set(Some(guarded(|intent| {
            tunnels(intent);
            intent.felix.allow_bgp_from_workloads = true;
        })));
        for family in 0..2 {
            assert_eq!(heard(world, Kind::Udp, family, OTHER[family], 4789), None);
            let name = heard(world, Kind::Udp, family, OTHER[family], 4790);
            assert_eq!(name.as_deref(), Some(NODE[family]));
        }
        kept.set(Some(guarded(|intent| {
            tunnels(intent);
            intent.felix.allow_vxlan_from_workloads = true;
        })));
        let name = heard(world, Kind::Udp, 0, OTHER[0], 4789);
        assert_eq!(name.as_deref(), Some(NODE[0]), "switched off");
    });
}
