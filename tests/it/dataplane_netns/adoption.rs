//! What BIRD and Felix left in a real kernel becomes ours, and at no moment is a route missing.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};

use dunlin::dataplane::Adopt;

use super::*;

/// Each leftover as `ip route add` takes it, and whether its prefix is wanted.
const LEFT: [(&str, bool); 14] = [
    ("10.244.1.0/26 via 10.9.0.7 proto bird", true),
    ("10.244.2.0/26 via 10.9.0.7 proto bird metric 1024", true),
    ("blackhole 10.244.3.0/26 proto bird", true),
    (
        "10.244.4.0/26 via 10.9.0.7 dev v0 proto 80 onlink mtu 1450",
        true,
    ),
    (
        "10.244.5.0/26 proto bird metric 512 nexthop via 10.9.0.7 nexthop via 10.9.0.8",
        true,
    ),
    (
        "10.244.6.7/32 dev vxlan.calico scope link proto boot mtu 1450",
        true,
    ),
    (
        "10.244.6.64/26 via 10.244.66.1 dev vxlan.calico onlink proto boot metric 7",
        true,
    ),
    (
        "10.244.7.0/26 via 10.9.0.7 dev v0 onlink proto 80 metric 99",
        false,
    ),
    (
        "10.244.7.64/26 proto bird nexthop via 10.9.0.7 nexthop via 10.9.0.8",
        false,
    ),
    (
        "10.244.7.129/32 dev vxlan.calico scope link proto boot",
        false,
    ),
    ("fd00:244:1::/64 via fd00:9::7 proto bird", true),
    ("fd00:244:2::/64 via fd00:9::7 proto bird metric 32", true),
    ("blackhole fd00:244:3::/64 proto 80", true),
    (
        "fd00:244:4::/64 proto bird metric 32 nexthop via fd00:9::7 dev v0 nexthop via fd00:9::8 dev v0",
        false,
    ),
];

/// What looks like theirs and must stay.
const OTHERS: [&str; 5] = [
    "10.244.8.5 dev v0 proto boot scope link",
    "10.244.8.6 dev v0 proto 80 scope link",
    "10.60.0.0/16 via 10.9.0.7 dev v0 proto bird",
    "10.244.10.0/26 via 10.9.0.7 dev v0 proto static",
    "unreachable 10.244.11.0/26 proto bird",
];

fn destination(route: &str) -> Prefix {
    let word = route
        .split_whitespace()
        .find(|word| word.contains('/'))
        .unwrap();
    prefix(word)
}

fn heir() -> Rig {
    let mut rig = Rig::new();
    rig.plane = Dataplane::new(Settings {
        adopt: Adopt {
            bird: true,
            felix: true,
        },
        ..Settings::default()
    });
    rig.plane
        .set_pools(vec![prefix("10.244.0.0/16"), prefix("fd00:244::/32")]);
    for (route, wanted) in LEFT {
        if wanted {
            let far = if route.contains("fd00") {
                "fd00:9::2"
            } else {
                "10.9.0.2"
            };
            rig.plane.want(destination(route), via(&[far]));
        }
    }
    rig
}

/// Every change of the kernel's routes, in the kernel's order.
fn witness() -> (Kernel, Receiver<Vec<KernelInput>>) {
    let (sender, events) = channel();
    let sink = move |batch| sender.send(batch).is_ok();
    (
        Kernel::spawn(KernelSettings::default(), sink).unwrap(),
        events,
    )
}

/// Plays the changes: how many routes a prefix has after each, and the least number that it ever had.
fn least(events: &Receiver<Vec<KernelInput>>, end: Prefix) -> BTreeMap<Prefix, i32> {
    let mut now: BTreeMap<Prefix, i32> = LEFT
        .iter()
        .map(|(route, _)| (destination(route), 1))
        .collect();
    let mut least = now.clone();
    loop {
        for input in events.recv_timeout(Duration::from_secs(10)).unwrap() {
            let (prefix, step) = match input {
                KernelInput::Changed(Change::Route { route, .. }) if route.prefix == end => {
                    return least;
                }
                KernelInput::Changed(Change::Route { route, replaced }) => {
                    (route.prefix, i32::from(!replaced))
                }
                KernelInput::Changed(Change::RouteGone(route)) => (route.prefix, -1),
                // Links and their addresses come up meanwhile.
                KernelInput::Changed(_) => continue,
                other => panic!("{other:?}"),
            };
            let count = now.entry(prefix).or_default();
            *count += step;
            let low = least.entry(prefix).or_default();
            *low = (*low).min(*count);
        }
    }
}

fn nothing_of_theirs_is_left() {
    // Nothing of theirs is left inside the pools, and each wanted prefix has one route.
    for family in ["", "-6 "] {
        let ours = listing(&format!("{family}route show proto 179"));
        let expected = LEFT
            .iter()
            .filter(|(route, wanted)| *wanted && route.contains("fd00") != family.is_empty());
        assert_eq!(ours.len(), expected.count(), "{ours:?}");
        for theirs in ["bird", "80", "boot"] {
            let left = listing(&format!("{family}route show proto {theirs}"));
            let known = |line: &String| {
                let words = |line: &str| {
                    let mut words: Vec<String> =
                        line.split_whitespace().map(str::to_owned).collect();
                    words.retain(|word| word != "proto" && word != theirs);
                    words
                };
                OTHERS.iter().any(|other| words(other) == words(line))
            };
            assert!(left.iter().all(known), "proto {theirs}: {left:?}");
        }
    }
}

#[test]
fn what_bird_and_felix_left_becomes_ours_without_a_gap() {
    in_namespace(|| {
        ip("link add vxlan.calico type veth peer name far");
        ip("link set far up");
        ip("link set vxlan.calico up");
        for route in LEFT.iter().map(|(route, _)| *route).chain(OTHERS) {
            ip(&format!("route add {route}"));
        }
        let (_watching, events) = witness();
        let mut rig = heir();
        let all = LEFT.iter().filter(|(_, wanted)| *wanted).count();
        rig.until("the takeover", |plane| {
            plane.counts().installed == all && plane.is_idle()
        });
        let reports = rig.reports();
        assert!(
            reports.contains(&Report::TookOver { bird: 8, felix: 6 }),
            "{reports:?}"
        );
        assert_eq!(
            reports.len(),
            2,
            "no conflict, no repair, nothing refused: {reports:?}"
        );
        for (route, wanted) in LEFT.iter().filter(|(_, wanted)| !wanted) {
            let family = if route.contains("fd00") { "-6 " } else { "" };
            let to = destination(route);
            let stands = ip(&format!("{family}route show {to}"));
            assert!(!stands.is_empty(), "{route}: gone too early ({wanted})");
        }
        rig.plane.converged();
        rig.until("the end of what is not wanted", |plane| plane.is_idle());

        nothing_of_theirs_is_left();
        let stands = ip("route show");
        assert_eq!(
            stands.matches("proto bird").count() + stands.matches("proto 80").count(),
            3,
            "{stands}"
        );

        ip("route add unreachable 10.255.255.254/32 proto static");
        let least = least(&events, prefix("10.255.255.254/32"));
        for (route, wanted) in LEFT {
            // The hops of an IPv6 route that is deleted are reported gone one by one.
            let low = least[&destination(route)].max(0);
            assert_eq!(low, i32::from(wanted), "{route}");
        }

        // The next process has nothing to take over, nothing to write, nothing to say.
        let mut next = heir();
        next.plane.converged();
        next.until("all", |plane| {
            plane.counts().installed == all && plane.is_idle()
        });
        assert_eq!(next.written, 1, "the dump");
        assert!(!matches!(
            next.reports().as_slice(),
            [.., Report::TookOver { .. }]
        ));
    });
}
