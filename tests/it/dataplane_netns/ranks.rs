//! Routes of ours beside those that the kernel makes for links, and their way from one metric to another.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::*;

const MARKER: &str = "10.255.255.254";

/// The kernel's own log of routes.
struct Monitor {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Monitor {
    fn start() -> Self {
        let mut child = Command::new("ip")
            .args(["-o", "monitor", "route"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut monitor = Self { child, lines };
        // It listens once it tells of something.
        let listens = thread::scope(|scope| {
            let heard = scope.spawn(|| monitor.lines.next().is_some());
            while !heard.is_finished() {
                ip(&format!("route replace unreachable {MARKER}/32"));
            }
            heard.join().unwrap()
        });
        assert!(listens);
        monitor
    }

    /// What it has told until now.
    fn stop(mut self) -> Vec<String> {
        ip(&format!("route del unreachable {MARKER}/32"));
        let deleted = |line: &String| line.contains("Deleted") && line.contains(MARKER);
        let lines = self.lines.by_ref().map(Result::unwrap);
        let lines = lines.take_while(|line| !deleted(line)).collect();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        lines
    }
}

/// How many ways to the prefix stood at least, by the log.
fn fewest(log: &[String], prefix: &str, before: i32) -> i32 {
    let mut count = before;
    let here = log.iter().filter(|line| line.contains(prefix));
    here.fold(before, |fewest, line| {
        let ways = i32::try_from(line.matches("via ").count().max(1)).unwrap();
        count += if line.contains("Deleted") {
            -ways
        } else {
            ways
        };
        fewest.min(count)
    })
}

fn bridge(add: bool) {
    if add {
        ip("link add cni0 type bridge");
        ip("addr add 10.244.1.1/24 dev cni0");
        ip("addr add fd00:244:1::1/64 dev cni0 nodad");
        ip("link set cni0 up");
    } else {
        ip("link del cni0");
    }
}

const BLOCKS: [&str; 2] = ["10.244.1.0/24", "fd00:244:1::/64"];

#[test]
fn a_bridge_with_the_own_block_as_its_subnet_wins_whoever_comes_first() {
    in_namespace(|| {
        bridge(true);
        let mut rig = Rig::synced();
        rig.plane.converged();
        for round in ["first", "later"] {
            for block in BLOCKS {
                rig.plane.want(prefix(block), Forwarding::Blackhole);
            }
            rig.until("the blackholes", |plane| {
                plane.counts().installed == 2 && plane.is_idle()
            });
            assert!(ip("route get 10.244.1.5").contains("dev cni0"), "{round}");
            assert!(
                ip("route get fd00:244:1::5").contains("dev cni0"),
                "{round}"
            );
            let blackholes = ip("route show type blackhole") + &ip("-6 route show type blackhole");
            assert_eq!(
                blackholes.matches("metric 4294967295").count(),
                2,
                "{blackholes}"
            );
            assert_eq!(rig.plane.troubled().count(), 0, "{round}");
            bridge(false);
            rig.catch_up();
            let dropped = Command::new("ip")
                .args(["route", "get", "10.244.1.5"])
                .output()
                .unwrap();
            assert!(!dropped.status.success(), "without the bridge it drops");
            bridge(true);
            rig.catch_up();
        }
        for block in BLOCKS {
            rig.plane.unwant(prefix(block));
        }
        rig.until("their end", |plane| plane.counts().in_kernel == 0);
        assert_eq!(
            ip("route show proto 179") + &ip("-6 route show proto 179"),
            ""
        );
    });
}

#[test]
fn a_block_changes_hands_and_back_and_always_has_a_route() {
    in_namespace(|| {
        let mut rig = Rig::synced();
        rig.plane.converged();
        let other = [
            ("10.244.3.0/26", "10.9.0.2"),
            ("fd00:244:3::/64", "fd00:9::2"),
        ];
        for (block, _) in other {
            rig.plane.want(prefix(block), Forwarding::Blackhole);
            rig.until_installed(block);
        }
        let monitor = Monitor::start();
        for turn in 0..4 {
            for (block, node) in other {
                let away = via(&[node]);
                let forwarding = if turn % 2 == 0 {
                    away
                } else {
                    Forwarding::Blackhole
                };
                rig.plane.want(prefix(block), forwarding);
            }
            for (block, _) in other {
                rig.until_installed(block);
            }
        }
        let log = monitor.stop();
        for (block, _) in other {
            assert_eq!(fewest(&log, block, 1), 1, "{log:?}");
            assert_eq!(
                log.iter().filter(|line| line.contains(block)).count(),
                8,
                "{log:?}"
            );
        }
        let left = ip("route show proto 179") + &ip("-6 route show proto 179");
        assert_eq!(left.lines().count(), 2, "{left}");
    });
}

#[test]
fn routes_of_former_metrics_are_taken_over_without_a_gap() {
    in_namespace(|| {
        ip("route add blackhole 10.244.1.0/26 proto 179");
        ip("route add 10.244.2.0/26 via 10.9.0.2 proto 179");
        ip("route add 10.244.3.0/26 via 10.9.0.2 proto 179 metric 32");
        ip("route add 10.244.4.0/26 via 10.9.0.2 proto 179 metric 32");
        ip("-6 route add blackhole fd00:244:1::/64 proto 179 metric 1024");
        ip("-6 route add fd00:244:2::/64 via fd00:9::2 proto 179 metric 1024");
        ip(
            "-6 route add fd00:244:3::/64 proto 179 metric 1024 nexthop via fd00:9::2 dev v0 nexthop via fd00:9::3 dev v0",
        );
        ip("-6 route add fd00:244:4::/64 via fd00:9::2 proto 179 metric 1024");
        let monitor = Monitor::start();
        let mut rig = Rig::synced();
        let wishes = [
            ("10.244.1.0/26", Forwarding::Blackhole),
            ("10.244.2.0/26", via(&["10.9.0.2"])),
            ("10.244.3.0/26", via(&["10.9.0.2"])),
            ("fd00:244:1::/64", Forwarding::Blackhole),
            ("fd00:244:2::/64", via(&["fd00:9::2"])),
            ("fd00:244:3::/64", via(&["fd00:9::2", "fd00:9::3"])),
        ];
        for (prefix_of, forwarding) in &wishes {
            rig.plane.want(prefix(prefix_of), forwarding.clone());
        }
        for (prefix_of, _) in &wishes {
            rig.until_installed(prefix_of);
        }
        for unheard in ["10.244.4.0/26", "fd00:244:4::/64"] {
            assert_eq!(rig.plane.state(prefix(unheard)), Some(RouteState::Stale));
        }
        rig.plane.converged();
        rig.until("the end of what nobody wants", |plane| {
            plane.counts().in_kernel == wishes.len() && plane.is_idle()
        });
        let log = monitor.stop();
        for (prefix_of, forwarding) in &wishes {
            let ways = match forwarding {
                Forwarding::Via(next_hops) => i32::try_from(next_hops.len()).unwrap(),
                Forwarding::Blackhole => 1,
            };
            let fewest = fewest(&log, prefix_of, ways);
            assert_eq!(fewest, ways, "{prefix_of}: {log:?}");
        }
        let v4 = listing("route show proto 179");
        assert_eq!(
            v4,
            [
                "blackhole 10.244.1.0/26 metric 4294967295",
                "10.244.2.0/26 via 10.9.0.2 dev v0",
                "10.244.3.0/26 via 10.9.0.2 dev v0",
            ]
        );
        let v6 = ip("-6 route show proto 179");
        assert_eq!(v6.matches("metric 1024").count(), 0, "{v6}");
        assert_eq!(v6.matches("nexthop via fd00:9::").count(), 2, "{v6}");
    });
}

#[test]
fn a_default_route_by_bgp_stands_above_that_of_an_advertisement() {
    in_namespace(|| {
        // As the kernel writes it for an advertisement.
        ip("-6 route add default via fe80::1 dev v0 proto ra metric 1024");
        let mut rig = Rig::synced();
        rig.plane.converged();
        rig.plane.want(prefix("::/0"), via(&["fd00:9::2"]));
        rig.until_installed("::/0");
        assert!(ip("-6 route get 2001:db8::1").contains("via fd00:9::2"));
        ip("-6 route del default via fe80::1 dev v0 proto ra");
        rig.catch_up();
        ip("-6 route add default via fe80::1 dev v0 proto ra metric 1024");
        rig.catch_up();
        let both = ip("-6 route show default");
        assert_eq!(both.lines().count(), 2, "{both}");
        assert_eq!(rig.plane.troubled().count(), 0);
        rig.plane.unwant(prefix("::/0"));
        rig.until("its end", |plane| plane.counts().in_kernel == 0);
        assert!(ip("-6 route get 2001:db8::1").contains("via fe80::1"));
    });
}
