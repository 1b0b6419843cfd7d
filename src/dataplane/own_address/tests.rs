//! Each method as a table over one host, and what holds for all of them on any host.

use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::dataplane::{Change, Hop, KernelRoute, Ownership, Shape};

/// Links by index and name; `~` before a name: no carrier, `!`: down.
#[derive(Debug, Clone, Default)]
struct Host {
    links: Vec<(u32, String)>,
    /// Index, address with length, whether the connected route names it.
    addresses: Vec<(u32, String, bool)>,
    /// Prefix, gateway or nothing, index, metric, preferred source or nothing.
    routes: Vec<(String, String, u32, u32, String)>,
}

impl Host {
    fn view(&self) -> KernelView {
        let mut view = KernelView::new(Ownership::default());
        view.dump_begins();
        for (index, name) in &self.links {
            let plain = name.trim_start_matches(['!', '~']);
            let mut link = Link::named(*index, plain);
            link.up = !name.starts_with('!');
            link.lower_up = plain == name;
            link.loopback = plain == "lo";
            view.dumped(&Change::Link(Box::new(link)));
        }
        for (interface, text, primary) in &self.addresses {
            let (address, len) = text.split_once('/').unwrap();
            let address = Address {
                interface: *interface,
                address: address.parse().unwrap(),
                len: len.parse().unwrap(),
            };
            view.dumped(&Change::Address(address));
            let source = primary.then_some(address.address);
            let subnet = Prefix::new(address.address, address.len);
            if primary | address.address.is_ipv6() {
                let source = source.filter(|source| source.is_ipv4());
                view.dumped(&route(subnet, None, *interface, 0, source));
            }
        }
        for (prefix, gateway, link, metric, source) in &self.routes {
            let prefix = prefix.parse().unwrap();
            let gateway = gateway.parse().ok();
            view.dumped(&route(prefix, gateway, *link, *metric, source.parse().ok()));
        }
        view.dump_ends(true);
        view
    }
}

fn route(
    prefix: Prefix,
    via: Option<IpAddr>,
    link: u32,
    metric: u32,
    source: Option<IpAddr>,
) -> Change {
    let hop = Hop {
        via,
        interface: Some(link),
        onlink: false,
        weight: 1,
    };
    Change::Route {
        route: KernelRoute {
            prefix,
            table: 254,
            metric,
            protocol: 2,
            shape: Arc::new(Shape::unicast([hop]).with_preferred_source(source)),
        },
        replaced: false,
    }
}

/// Two network cards, one of them unplugged, one that is down, a bridge of Docker's, a VPN, pods.
fn host() -> Host {
    let link = |index, name: &str| (index, name.to_owned());
    let address = |index, text: &str, primary| (index, text.to_owned(), primary);
    let route = |prefix: &str, via: &str, link, metric, source: &str| {
        let texts = (prefix.to_owned(), via.to_owned(), source.to_owned());
        (texts.0, texts.1, link, metric, texts.2)
    };
    Host {
        links: vec![
            link(1, "lo"),
            link(2, "eth0"),
            link(3, "eth1"),
            link(4, "!eth2"),
            link(5, "~eth3"),
            link(6, "docker0"),
            link(7, "wg0"),
            link(8, "cali123"),
            link(9, "tunl6"),
        ],
        addresses: vec![
            address(1, "127.0.0.1/8", false),
            address(1, "::1/128", false),
            address(2, "192.168.7.9/24", true),
            address(3, "10.0.0.5/24", true),
            // A virtual address that somebody moves about: lower, and no route names it.
            address(3, "10.0.0.1/32", false),
            address(3, "fd00::5/64", true),
            address(3, "fd00::1/128", false),
            address(3, "fe80::5/64", true),
            address(4, "10.4.0.5/24", true),
            address(5, "10.5.0.5/24", true),
            address(5, "fd05::5/64", true),
            address(6, "172.17.0.1/16", true),
            address(7, "10.99.0.2/24", true),
            address(9, "fd00:244::1/128", true),
        ],
        routes: vec![
            route("0.0.0.0/0", "192.168.7.1", 2, 600, ""),
            route("0.0.0.0/0", "10.0.0.254", 3, 100, ""),
            route("::/0", "fe80::ff", 3, 1024, ""),
            route("198.51.100.0/24", "10.99.0.1", 7, 0, ""),
            route("203.0.113.0/24", "192.168.7.1", 2, 0, "10.5.0.5"),
        ],
    }
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// The answer as `address/len link`, `none`, or the failure.
fn ask(view: &KernelView, method: &str, order: Order, current: &[IpAddr]) -> [String; 2] {
    let literal = |text: &str| {
        let (address, len) = text
            .split_once('/')
            .map_or((text, None), |(a, l)| (a, l.parse().ok()));
        let address = address.parse().ok()?;
        Some(Method::Literal { address, len })
    };
    let parsed = match method {
        "none" => Method::None,
        text => literal(text).unwrap_or_else(|| Method::parse(text).unwrap()),
    };
    let targets: Vec<IpAddr> = match parsed.target() {
        Some("two-names") => ips(&["192.0.2.1", "2001:db8::1"]),
        Some(text) => text.parse().into_iter().collect(),
        None => Vec::new(),
    };
    let internal_ips = ips(&["10.5.0.5", "192.168.7.9", "fd99::1"]);
    [Family::Ipv4, Family::Ipv6].map(|family| {
        let answer = select(
            view,
            &Question {
                family,
                method: &parsed,
                order,
                current,
                targets: &targets,
                internal_ips: &internal_ips,
            },
        );
        match answer.chosen {
            Ok(Some(Chosen { address, len, link })) => {
                let link = link.as_deref().unwrap_or("-");
                format!("{address}/{len} {link}")
            }
            Ok(None) => "none".to_owned(),
            Err(failure) => failure.to_string(),
        }
    })
}

const V4: &str = "10.0.0.5/24 eth1";
const V6: &str = "fd00::5/64 eth1";

/// A method and what it finds on [`host`], of IPv4 and of IPv6.
const FOUND: &[(&str, &str, &str)] = &[
    ("none", "none", "none"),
    // The default route with the lowest metric leaves by eth1; the virtual address is lower.
    ("first-found", V4, V6),
    ("autodetect", V4, V6),
    (
        "interface=eth0",
        "192.168.7.9/24 eth0",
        "none of 6 IPv6 addresses will do",
    ),
    ("interface=wg.*,eth[1-2]", V4, V6),
    // Not anchored, and the default excludes do not apply.
    (
        "interface=ocker",
        "172.17.0.1/16 docker0",
        "none of 6 IPv6 addresses will do",
    ),
    (
        "interface=tunl",
        "none of 8 IPv4 addresses will do",
        "fd00:244::1/128 tunl6",
    ),
    (
        "skip-interface=eth1",
        "192.168.7.9/24 eth0",
        "fd05::5/64 eth3",
    ),
    (
        "skip-interface=eth,wg",
        "none of 8 IPv4 addresses will do",
        "none of 6 IPv6 addresses will do",
    ),
    (
        "cidr=10.99.0.0/16,fd05::/16",
        "10.99.0.2/24 wg0",
        "fd05::5/64 eth3",
    ),
    (
        "cidr=10.5.0.0/16,10.4.0.0/16",
        "10.5.0.5/24 eth3",
        "none of 6 IPv6 addresses will do",
    ),
    (
        "cidr=10.4.0.7/16",
        "10.4.0.5/24 eth2",
        "none of 6 IPv6 addresses will do",
    ),
    (
        "can-reach=198.51.100.9",
        "10.99.0.2/24 wg0",
        "\"198.51.100.9\" has no IPv6 address that is known",
    ),
    // The route prescribes the source.
    (
        "can-reach=203.0.113.9",
        "10.5.0.5/24 eth3",
        "\"203.0.113.9\" has no IPv6 address that is known",
    ),
    // By the gateway's subnet, not the lowest.
    ("can-reach=two-names", V4, V6),
    (
        "can-reach=172.17.0.1",
        "172.17.0.1/16 docker0",
        "\"172.17.0.1\" has no IPv6 address that is known",
    ),
    (
        "kubernetes-internal-ip",
        "10.5.0.5/24 eth3",
        "no link carries the InternalIP fd99::1, so its mask is unknown",
    ),
    ("192.168.7.9", "192.168.7.9/24 eth0", "192.168.7.9/32 -"),
    ("192.168.7.9/20", "192.168.7.9/20 eth0", "192.168.7.9/20 -"),
    ("10.1.1.1", "10.1.1.1/32 -", "10.1.1.1/32 -"),
];

#[test]
fn each_method_finds_its_address() {
    let view = host().view();
    for (method, ipv4, ipv6) in FOUND {
        let got = ask(&view, method, Order::Preferred, &[]);
        let got = [got[0].as_str(), got[1].as_str()];
        if method.starts_with(|c: char| c.is_ascii_digit()) {
            assert_eq!(got[0], *ipv4, "{method}");
            continue;
        }
        assert_eq!(got, [*ipv4, *ipv6], "{method}");
    }
}

#[test]
fn calicos_order_is_the_highest_index_whatever_the_link_does() {
    let view = host().view();
    for (method, ipv4, ipv6) in [
        ("first-found", "10.99.0.2/24 wg0", "fd05::5/64 eth3"),
        ("skip-interface=wg.*", "10.5.0.5/24 eth3", "fd05::5/64 eth3"),
        (
            "interface=eth0,eth2",
            "10.4.0.5/24 eth2",
            "none of 6 IPv6 addresses will do",
        ),
        (
            "cidr=0.0.0.0/0",
            "10.99.0.2/24 wg0",
            "none of 6 IPv6 addresses will do",
        ),
        ("can-reach=two-names", "10.0.0.5/24 eth1", "fd00::5/64 eth1"),
    ] {
        let current = ips(&["192.168.7.9"]);
        assert_eq!(
            ask(&view, method, Order::Calico, &current),
            [ipv4, ipv6],
            "{method}"
        );
    }
}

#[test]
fn the_current_address_stays_while_it_is_valid() {
    let view = host().view();
    let mut current = ips(&["192.168.7.9", "fd05::5"]);
    let kept = ["192.168.7.9/24 eth0", "fd05::5/64 eth3"];
    assert_eq!(ask(&view, "first-found", Order::Preferred, &current), kept);
    // Gone, on a link that is down, or on one that the method leaves out: not valid.
    for invalid in ["10.77.0.1", "10.4.0.5", "172.17.0.1"] {
        current[0] = invalid.parse().unwrap();
        let got = ask(&view, "first-found", Order::Preferred, &current);
        assert_eq!(got[0], "10.0.0.5/24 eth1", "{invalid}");
    }
    // The next in line is looked at, too.
    let line = ips(&["10.4.0.5", "10.99.0.2"]);
    let got = ask(&view, "first-found", Order::Preferred, &line);
    assert_eq!(got[0], "10.99.0.2/24 wg0");
}

#[test]
fn every_address_gets_its_reason() {
    let view = host().view();
    let method = Method::parse("skip-interface=wg").unwrap();
    let question = Question {
        family: Family::Ipv4,
        method: &method,
        order: Order::Preferred,
        current: &[],
        targets: &[],
        internal_ips: &[],
    };
    let lines: Vec<String> = select(&view, &question)
        .candidates
        .iter()
        .map(|c| format!("{} {}: {}", c.link, c.address.address, c.verdict))
        .collect();
    assert_eq!(
        lines,
        [
            "eth1 10.0.0.5: first of 5 that will do",
            "eth1 10.0.0.1: a secondary address of the link",
            "eth0 192.168.7.9: the default route leaves by eth1",
            "eth3 10.5.0.5: the link has no carrier",
            "eth2 10.4.0.5: the link is down",
            "lo 127.0.0.1: loopback: good on this host only",
            "docker0 172.17.0.1: links named docker... are left out by default",
            "wg0 10.99.0.2: skip-interface has wg",
        ]
    );
}

#[test]
fn a_host_without_an_address_says_so() {
    let empty = Host::default().view();
    assert_eq!(
        ask(&empty, "first-found", Order::Preferred, &[]),
        ["no link has an IPv4 address", "no link has an IPv6 address"]
    );
    let unreached = ask(&empty, "can-reach=192.0.2.1", Order::Preferred, &[]);
    assert_eq!(unreached[0], "no route leads to 192.0.2.1");
}

#[test]
fn what_is_no_method_is_refused_with_the_part_that_is_wrong() {
    for (text, error) in [
        (
            "interface=",
            "\"interface=\" needs a pattern of link names behind it",
        ),
        (
            "can-reach= ",
            "\"can-reach=\" needs an address or a host's name behind it",
        ),
        (
            "cidr=10.0.0.0",
            "\"10.0.0.0\" is no prefix such as 10.0.0.0/8",
        ),
        ("cidr=10.0.0.0/8,", "\"\" is no prefix such as 10.0.0.0/8"),
        (
            "inteface=eth0",
            "expected first-found, can-reach=, interface=, skip-interface=, cidr=, kubernetes-internal-ip",
        ),
        (
            "",
            "expected first-found, can-reach=, interface=, skip-interface=, cidr=, kubernetes-internal-ip",
        ),
    ] {
        assert_eq!(
            Method::parse(text).unwrap_err().to_string(),
            error,
            "{text}"
        );
    }
    let error = Method::parse("skip-interface=eth0,wg[").unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("\"wg[\" is no regular expression: "),
        "{error}"
    );
    let same = |a: &str, b: &str| Method::parse(a).unwrap() == Method::parse(b).unwrap();
    assert!(same("interface=a,b", "interface=a, b"));
    assert!(!same("interface=a", "interface=b"));
}

#[test]
fn methods_are_written_as_they_are_read() {
    for text in [
        "first-found",
        "can-reach=example.org",
        "interface=eth.*,en.*",
        "skip-interface=wg0",
        "cidr=10.0.0.0/8,fd00::/8",
        "kubernetes-internal-ip",
    ] {
        assert_eq!(Method::parse(text).unwrap().to_string(), text);
    }
}

fn hosts() -> impl Strategy<Value = Host> {
    let name = prop_oneof![
        Just("eth"),
        Just("wg"),
        Just("docker"),
        Just("!eth"),
        Just("~eth"),
        Just("!wg")
    ];
    let links = prop::collection::vec(name, 1..7);
    let address = (1u32..7, 0u8..4, 1u8..4, any::<bool>(), any::<bool>());
    let addresses = prop::collection::vec(address, 0..12);
    let routes = prop::collection::vec((1u32..7, 0u32..3), 0..3);
    (links, addresses, routes).prop_map(|(links, addresses, routes)| {
        let named = links
            .iter()
            .zip(1u32..)
            .map(|(name, index)| (index, format!("{name}{index}")));
        let addresses = addresses.into_iter().map(|(link, net, host, v6, primary)| {
            let text = if v6 {
                format!("fd0{net}::{host}/64")
            } else {
                format!("10.{net}.0.{host}/24")
            };
            (link, text, primary)
        });
        let routes = routes.into_iter().flat_map(|(link, metric)| {
            let to = |prefix: &str| {
                (
                    prefix.to_owned(),
                    String::new(),
                    link,
                    metric,
                    String::new(),
                )
            };
            [to("0.0.0.0/0"), to("::/0")]
        });
        Host {
            links: named.collect(),
            addresses: addresses.collect(),
            routes: routes.collect(),
        }
    })
}

fn methods() -> impl Strategy<Value = Method> {
    let text = prop_oneof![
        Just("first-found"),
        Just("interface=eth,docker"),
        Just("skip-interface=g[1-3]"),
        Just("cidr=10.1.0.0/16,10.2.0.0/16,fd01::/16"),
        Just("kubernetes-internal-ip"),
        Just("can-reach=10.1.0.1"),
    ];
    text.prop_map(|text| Method::parse(text).unwrap())
}

proptest! {
    #[test]
    fn laws_of_the_choice(
        host in hosts(),
        method in methods(),
        v6 in any::<bool>(),
        calico in any::<bool>(),
        current in 0usize..12,
    ) {
        let view = host.view();
        let family = if v6 { Family::Ipv6 } else { Family::Ipv4 };
        let order = if calico { Order::Calico } else { Order::Preferred };
        let current: Vec<IpAddr> = host
            .addresses
            .get(current)
            .map(|(_, text, _)| text.split('/').next().unwrap().parse().unwrap())
            .into_iter()
            .collect();
        let targets = ips(&["10.1.0.1", "fd01::1"]);
        let question = Question {
            family,
            method: &method,
            order,
            current: &current,
            targets: &targets,
            internal_ips: &targets,
        };
        let answer = select(&view, &question);
        prop_assert_eq!(&answer, &select(&view, &question));
        let links = &view;
        let up = |c: &Candidate| links.link_by_index(c.address.interface).unwrap().up;
        let admitted = |c: &&Candidate| !matches!(c.verdict, Verdict::Refused(_));
        let taken: Vec<&Candidate> =
            answer.candidates.iter().filter(|c| c.verdict.is_taken()).collect();
        match &answer.chosen {
            Ok(Some(chosen)) => {
                prop_assert_eq!(taken.len(), 1);
                let (Some(first), Some(link)) = (answer.candidates.first(), &chosen.link) else {
                    return Err(TestCaseError::fail("nothing carries it"));
                };
                prop_assert!(first.verdict.is_taken(), "the best comes first");
                prop_assert_eq!((first.address.address, first.address.len, &first.link), (chosen.address, chosen.len, link));
                let valid = answer.candidates.iter().filter(admitted).find(|c| up(c) && current.contains(&c.address.address));
                match order {
                    Order::Preferred => {
                        if let Some(valid) = valid {
                            prop_assert_eq!(valid.address.address, chosen.address, "kept");
                        }
                        let any_up = answer.candidates.iter().filter(admitted).any(up);
                        prop_assert!(up(first) || !any_up, "a link that is up goes first");
                    }
                    Order::Calico => {
                        let highest = answer.candidates.iter().filter(admitted).map(|c| c.address.interface).max();
                        prop_assert_eq!(highest, Some(first.address.interface));
                    }
                }
            }
            Ok(None) => prop_assert!(false, "no method here wants none"),
            Err(_) => prop_assert!(!answer.candidates.iter().any(|c| admitted(&c))),
        }
    }
}
