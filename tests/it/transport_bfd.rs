//! BFD's thread against the kernel's UDP: two namespaces and a cable, IPv4 and IPv6.
#![expect(clippy::unwrap_used, reason = "a test that can't go on says where")]

use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};
use std::sync::mpsc;
use std::thread;
use std::time::Instant as Clock;

use dunlin::bfd::{
    Algorithm, Authentication, Diagnostic, FarEnd, Hops, Key, MULTIHOP_PORT, Packet, Refusal,
    Report, SINGLE_HOP_PORT, State, Terms, Watch,
};
use dunlin::dataplane::netlink::Questions;
use dunlin::net::Secret;
use dunlin::time::{Duration, Instant};
use dunlin::transport::bfd::Bfd;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;
use socket2::SockRef;

use crate::dataplane_netns::{in_namespace, ip};

const DEADLINE: Duration = Duration::from_secs(30);

type Orders = mpsc::Sender<Box<dyn FnOnce() + Send>>;

/// Another namespace, whose thread runs what it is given; and a process id by which it is known.
fn elsewhere() -> (Orders, nix::unistd::Pid) {
    let (orders, queue) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        tell.send(gettid()).unwrap();
        while let Ok(order) = queue.recv() {
            order();
        }
    });
    let there = told.recv_timeout(DEADLINE).unwrap();
    (orders, there)
}

/// Runs something there, and waits for it.
fn run<T: Send + 'static>(there: &Orders, what: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    there
        .send(Box::new(move || tell.send(what()).unwrap()))
        .unwrap();
    told.recv_timeout(DEADLINE).unwrap()
}

/// A cable from this namespace (10.9.1.1, fd00:9:1::1) to another (.2, ::2).
fn neighbour() -> Orders {
    let (orders, there) = elsewhere();
    ip(&format!("link add b0 type veth peer name b1 netns {there}"));
    ip("addr add 10.9.1.1/24 dev b0");
    ip("addr add fd00:9:1::1/64 dev b0 nodad");
    ip("link set b0 up");
    run(&orders, || {
        ip("link set lo up");
        ip("addr add 10.9.1.2/24 dev b1");
        ip("addr add fd00:9:1::2/64 dev b1 nodad");
        ip("link set b1 up");
    });
    orders
}

/// As `neighbour`'s, but on a link of its own, as a pod is, and with the neighbour's addresses.
fn pod() -> Orders {
    let (orders, there) = elsewhere();
    ip(&format!("link add c0 type veth peer name c1 netns {there}"));
    ip("addr add 10.244.0.1/32 dev c0");
    ip("link set c0 up");
    // A node with tunnels is as loose as this.
    for link in ["all", "c0"] {
        std::fs::write(format!("/proc/sys/net/ipv4/conf/{link}/rp_filter"), "0").unwrap();
    }
    run(&orders, || {
        ip("addr add 10.9.1.2/32 dev c1");
        ip("addr add fd00:9:1::2/128 dev c1 nodad");
        ip("link set c1 up");
        ip("route add 10.244.0.1/32 dev c1");
        ip("route add 10.9.1.1/32 via 10.244.0.1 dev c1");
        ip("-6 route add fd00:9:1::1/128 dev c1");
    });
    // Packets to its neighbour's address are this host's own, whichever link asks.
    std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
    ip("-6 neigh add proxy fd00:9:1::1 dev c0");
    std::fs::write("/proc/sys/net/ipv6/conf/c0/proxy_ndp", "1").unwrap();
    orders
}

/// What the daemon asks the kernel.
fn routes() -> dunlin::transport::bfd::Routes {
    let mut questions = Questions::open().unwrap();
    Box::new(move |to| questions.links_to(to).unwrap())
}

fn watches(me: u8) -> Vec<Watch> {
    let other = 3 - me;
    let watch = |local: String, remote: String| Watch {
        far_end: FarEnd {
            remote: remote.parse().unwrap(),
            local: Some(local.parse().unwrap()),
            interface: None,
        },
        hops: Hops::Single,
        least_ttl: 48,
        terms: Terms::new(Duration::from_millis(100), Duration::from_millis(100), 5),
        authentication: Authentication::None,
    };
    vec![
        watch(format!("10.9.1.{me}"), format!("10.9.1.{other}")),
        watch(format!("fd00:9:1::{me}"), format!("fd00:9:1::{other}")),
    ]
}

/// One end: its thread and what it has said.
struct End {
    bfd: Bfd,
    reports: tokio::sync::mpsc::Receiver<Report>,
    last: BTreeMap<IpAddr, Report>,
}

impl End {
    fn begin(seed: u64, watches: Vec<Watch>) -> Self {
        let begin = Clock::now();
        let clock = move || Instant::ZERO + begin.elapsed();
        // Room for one report only: a listener that is slow misses none of the failures.
        let (events, reports) = tokio::sync::mpsc::channel(1);
        let bfd = Bfd::spawn(seed, clock, routes(), events).unwrap();
        bfd.watch(watches);
        Self {
            bfd,
            reports,
            last: BTreeMap::new(),
        }
    }

    fn wait(&mut self, what: &str, holds: impl Fn(&BTreeMap<IpAddr, Report>) -> bool) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let until = Clock::now() + DEADLINE;
        while !holds(&self.last) {
            let left = until.saturating_duration_since(Clock::now());
            let next =
                runtime.block_on(async { tokio::time::timeout(left, self.reports.recv()).await });
            let report = next.unwrap_or_else(|_| panic!("{what}: {:?}", self.last));
            let report = report.unwrap();
            self.last.insert(report.far_end.remote, report);
        }
    }
}

fn both(state: State) -> impl Fn(&BTreeMap<IpAddr, Report>) -> bool {
    move |last| last.len() == 2 && last.values().all(|report| report.state == state)
}

#[test]
fn two_ends_meet_notice_a_dead_cable_and_part_in_order() {
    in_namespace(|| {
        let there = neighbour();
        let (tell, told) = mpsc::channel();
        let begin = move || tell.send(End::begin(2, watches(2))).unwrap();
        there.send(Box::new(begin)).unwrap();
        let mut other = told.recv_timeout(DEADLINE).unwrap();
        let mut end = End::begin(1, watches(1));
        end.wait("up", both(State::Up));
        other.wait("up at the other end", both(State::Up));
        ip("link set b0 down");
        end.wait("down", both(State::Down));
        assert!(end.last.values().all(|report| report.failures == 1));
        ip("link set b0 up");
        // Its address went with the link.
        ip("addr replace fd00:9:1::1/64 dev b0 nodad");
        end.wait("up again", both(State::Up));
        other.wait("up again at the other end", |last| {
            last.values()
                .all(|report| report.state == State::Up && report.failures == 1)
        });
        other.bfd.stop();
        end.wait("the goodbye", both(State::Down));
        for report in end.last.values() {
            assert_eq!(report.failures, 1, "an orderly end is no failure");
            assert_eq!(report.diagnostic, Diagnostic::NEIGHBOUR_SIGNALLED_DOWN);
        }
        end.bfd.stop();
    });
}

/// What a far end says that has heard nothing.
fn first_words(state: State) -> Packet {
    Packet {
        diagnostic: Diagnostic::NONE,
        state,
        poll: false,
        last: false,
        independent: false,
        demand: false,
        multiplier: 100,
        mine: 7,
        yours: 0,
        min_transmit: Duration::from_secs(1),
        min_receive: Duration::from_secs(1),
    }
}

/// Sends the first words with TTL 255 from the neighbour's addresses.
fn speak() {
    let octets = first_words(State::Down).encode();
    let v4 = UdpSocket::bind(("10.9.1.2", 0)).unwrap();
    SockRef::from(&v4).set_ttl_v4(255).unwrap();
    v4.send_to(&octets, ("10.9.1.1", SINGLE_HOP_PORT)).unwrap();
    let v6 = UdpSocket::bind(("fd00:9:1::2", 0)).unwrap();
    SockRef::from(&v6).set_unicast_hops_v6(255).unwrap();
    v6.send_to(&octets, ("fd00:9:1::1", SINGLE_HOP_PORT))
        .unwrap();
}

#[test]
fn a_packet_from_another_link_counts_for_nothing() {
    in_namespace(|| {
        let there = neighbour();
        let pod = pod();
        let mut end = End::begin(6, watches(1));
        end.wait("the beginning", both(State::Down));
        run(&pod, speak);
        end.wait("what a pod sends is counted", |last| {
            last.values()
                .all(|report| report.dropped.of(Refusal::Link) == 1)
        });
        for report in end.last.values() {
            assert_eq!(report.state, State::Down);
            assert_eq!(report.refused, Some(Refusal::Link));
        }
        run(&there, speak);
        end.wait("what the neighbour sends counts", both(State::Init));
        end.bfd.stop();
    });
}

#[test]
fn the_link_may_become_another() {
    in_namespace(|| {
        let there = neighbour();
        let mut other = run(&there, || End::begin(8, watches(2)));
        let mut end = End::begin(7, watches(1));
        end.wait("up", both(State::Up));
        // Under another name, and then as a port of a bridge that has the addresses.
        ip("link add br0 type bridge");
        ip("addr flush dev b0");
        ip("link set b0 name uplink master br0");
        ip("addr add 10.9.1.1/24 dev br0");
        ip("addr add fd00:9:1::1/64 dev br0 nodad");
        ip("link set br0 up");
        end.wait("the first packet by the bridge", |last| {
            last.values()
                .all(|report| report.dropped.of(Refusal::Link) > 0)
        });
        end.wait("up", both(State::Up));
        other.wait("up there", both(State::Up));
        other.bfd.stop();
        end.wait("the goodbye came by the bridge", both(State::Down));
        for report in end.last.values() {
            assert_eq!(report.diagnostic, Diagnostic::NEIGHBOUR_SIGNALLED_DOWN);
        }
        end.bfd.stop();
    });
}

/// A second cable; the neighbour's loopback address is behind both, ours behind both of its own.
#[test]
fn a_far_end_behind_two_cables_may_answer_by_either() {
    in_namespace(|| {
        let there = neighbour();
        let id = run(&there, gettid);
        ip(&format!("link add d0 type veth peer name d1 netns {id}"));
        ip("addr add 10.9.2.1/24 dev d0");
        ip("link set d0 up");
        ip("link set lo up");
        ip("addr add 10.50.0.1/32 dev lo");
        run(&there, || {
            ip("addr add 10.9.2.2/24 dev d1");
            ip("link set d1 up");
            ip("addr add 10.50.0.2/32 dev lo");
            ip("route add 10.50.0.1/32 nexthop via 10.9.1.1 nexthop via 10.9.2.1");
        });
        ip("route add 10.50.0.2/32 nexthop via 10.9.1.2 nexthop via 10.9.2.2");
        let watch = |me: u8| Watch {
            far_end: FarEnd {
                remote: format!("10.50.0.{}", 3 - me).parse().unwrap(),
                local: format!("10.50.0.{me}").parse().ok(),
                interface: None,
            },
            ..watches(me).remove(0)
        };
        let theirs = watch(2);
        let mut other = run(&there, move || End::begin(10, vec![theirs]));
        let mut end = End::begin(9, vec![watch(1)]);
        let up =
            |last: &BTreeMap<IpAddr, Report>| last.values().any(|report| report.state == State::Up);
        end.wait("up", up);
        other.wait("up there", up);
        // Whichever each of them uses: the second one only from now on.
        ip("link set b0 down");
        run(&there, || ip("route replace 10.50.0.1/32 via 10.9.2.1"));
        other.bfd.stop();
        end.wait("the goodbye came by the second cable", |last| {
            let said = Diagnostic::NEIGHBOUR_SIGNALLED_DOWN;
            last.values().any(|report| report.diagnostic == said)
        });
        end.bfd.stop();
    });
}

#[test]
fn a_speaker_beside_us_is_reached_by_the_loopback() {
    in_namespace(|| {
        ip("link set lo up");
        // The node's own address, which is on another link than packets to it come by.
        ip("link add own type bridge");
        ip("addr add 10.9.9.1/24 dev own");
        ip("link set own up");
        let mut end = End::begin(
            11,
            ["127.0.0.1", "10.9.9.1", "::1"]
                .map(|remote| Watch {
                    far_end: FarEnd {
                        remote: remote.parse().unwrap(),
                        local: None,
                        interface: None,
                    },
                    ..watches(1).remove(0)
                })
                .into(),
        );
        // It hears itself, and takes that for the other end: what matters is that it counts.
        end.wait("heard", |last| {
            last.len() == 3 && last.values().all(|report| report.detection.is_some())
        });
        end.bfd.stop();
    });
}

#[test]
fn two_ends_with_a_key_meet_and_one_without_says_why_not() {
    in_namespace(|| {
        let signed = |me: u8, secret: &str| -> Vec<Watch> {
            let key = Key {
                id: 5,
                algorithm: Algorithm::MeticulousKeyedSha1,
                secret: Secret::new(secret.as_bytes().to_vec()),
            };
            let with = |watch: Watch| Watch {
                authentication: Authentication::Key(key.clone()),
                ..watch
            };
            watches(me).into_iter().map(with).collect()
        };
        let there = neighbour();
        let theirs = signed(2, "right");
        let other = run(&there, move || End::begin(13, theirs));
        let mut end = End::begin(12, signed(1, "right"));
        end.wait("up", both(State::Up));
        end.bfd.stop();
        let mut end = End::begin(14, signed(1, "wrong"));
        end.wait("the reason", |last| {
            last.len() == 2
                && last
                    .values()
                    .all(|report| report.refused == Some(Refusal::Key))
        });
        other.bfd.stop();
        end.bfd.stop();
    });
}

#[test]
fn a_packet_that_was_forwarded_does_not_count_on_a_link() {
    in_namespace(|| {
        let there = neighbour();
        let mut end = End::begin(3, watches(1));
        end.wait("the beginning", both(State::Down));
        let (tell, told) = mpsc::channel();
        let sockets = move || {
            let open = |address: &str| UdpSocket::bind((address, 0)).unwrap();
            tell.send([open("10.9.1.2"), open("fd00:9:1::2")]).unwrap();
        };
        there.send(Box::new(sockets)).unwrap();
        let [v4, v6] = told.recv_timeout(DEADLINE).unwrap();
        let say = |ttl: u32, state: State| {
            SockRef::from(&v4).set_ttl_v4(ttl).unwrap();
            SockRef::from(&v6).set_unicast_hops_v6(ttl).unwrap();
            let octets = first_words(state).encode();
            v4.send_to(&octets, ("10.9.1.1", SINGLE_HOP_PORT)).unwrap();
            v6.send_to(&octets, ("fd00:9:1::1", SINGLE_HOP_PORT))
                .unwrap();
        };
        // Taken, it would make the session Init, and what follows would take it down again.
        say(254, State::Down);
        say(255, State::AdminDown);
        end.wait("the packet from the link", |last| {
            last.values().all(|report| report.detection.is_some())
        });
        for report in end.last.values() {
            assert_eq!(report.state, State::Down);
            assert_eq!(report.diagnostic, Diagnostic::NONE, "it was never up");
        }
        drop((v4, v6));
        end.bfd.stop();
    });
}

#[test]
fn a_port_that_another_daemon_holds_is_no_end_of_the_world() {
    in_namespace(|| {
        let there = neighbour();
        let holder = UdpSocket::bind(("0.0.0.0", MULTIHOP_PORT)).unwrap();
        let (tell, told) = mpsc::channel();
        let begin = move || tell.send(End::begin(5, watches(2))).unwrap();
        there.send(Box::new(begin)).unwrap();
        let other = told.recv_timeout(DEADLINE).unwrap();
        let mut end = End::begin(4, watches(1));
        end.wait("up by the other ports", both(State::Up));
        other.bfd.stop();
        drop(holder);
        end.bfd.stop();
    });
}
