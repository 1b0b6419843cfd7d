//! BFD's thread against the kernel's UDP: two namespaces and a cable, IPv4 and IPv6.
#![expect(clippy::unwrap_used, reason = "a test that can't go on says where")]

use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};
use std::sync::mpsc;
use std::thread;
use std::time::Instant as Clock;

use dunlin::bfd::{
    Diagnostic, FarEnd, Hops, MULTIHOP_PORT, Packet, Report, SINGLE_HOP_PORT, State, Terms, Watch,
};
use dunlin::time::{Duration, Instant};
use dunlin::transport::bfd::Bfd;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;
use socket2::SockRef;

use crate::dataplane_netns::{in_namespace, ip};

const DEADLINE: Duration = Duration::from_secs(30);

/// A cable from this namespace (10.9.1.1, fd00:9:1::1) to that of the thread that it returns (.2, ::2),
/// which runs what it is given.
fn neighbour() -> mpsc::Sender<Box<dyn FnOnce() + Send>> {
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
    ip(&format!("link add b0 type veth peer name b1 netns {there}"));
    ip("addr add 10.9.1.1/24 dev b0");
    ip("addr add fd00:9:1::1/64 dev b0 nodad");
    ip("link set b0 up");
    let (tell, told) = mpsc::channel();
    let set_up = move || {
        ip("link set lo up");
        ip("addr add 10.9.1.2/24 dev b1");
        ip("addr add fd00:9:1::2/64 dev b1 nodad");
        ip("link set b1 up");
        tell.send(()).unwrap();
    };
    orders.send(Box::new(set_up)).unwrap();
    told.recv_timeout(DEADLINE).unwrap();
    orders
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
        terms: Terms::new(Duration::from_millis(100), Duration::from_millis(100), 5),
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
        let bfd = Bfd::spawn(seed, clock, events).unwrap();
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
        let packet = |state: State| Packet {
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
        };
        let say = |ttl: u32, state: State| {
            SockRef::from(&v4).set_ttl_v4(ttl).unwrap();
            SockRef::from(&v6).set_unicast_hops_v6(ttl).unwrap();
            let octets = packet(state).encode();
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
