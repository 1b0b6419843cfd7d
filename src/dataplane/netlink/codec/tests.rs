//! What is written reads the same, and nothing that is read panics.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::super::device::{LinkSetting, Neighbour};
use super::super::super::input::{Address, Link};
use super::super::super::route::{Hop, Shape};
use super::*;
use crate::net::Mac;

const LOCAL: std::net::Ipv6Addr = std::net::Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 1);

/// The message that an operation becomes, and that it is whole.
fn written(action: &Action) -> (Header, Vec<u8>) {
    let mut bytes = Vec::new();
    put_action(
        &mut bytes,
        7,
        action,
        &Tunnels::from([(6, None), (7, Some(LOCAL))]),
    );
    let (header, payload, rest) = split(&bytes).unwrap();
    assert_eq!((header.sequence, rest.len()), (7, 0));
    (header, payload.to_vec())
}

fn again(route: &KernelRoute) -> KernelRoute {
    let (header, payload) = written(&Action::Replace(route.clone()));
    assert_eq!(header.kind, RTM_NEWROUTE);
    routes::read(&payload).unwrap()
}

#[test]
fn a_route_reads_as_it_was_written() {
    let hop = |via: &str, index| Hop::new(via.parse().unwrap(), index);
    let onlink = Hop {
        onlink: true,
        ..hop("10.0.0.9", 4)
    };
    let tunnel = |via: &str, index| Hop {
        onlink: true,
        ..hop(via, index)
    };
    let heavy = Hop {
        weight: 5,
        ..hop("10.0.0.1", 2)
    };
    let cases = [
        ("10.1.0.0/16", Shape::blackhole()),
        ("10.1.0.0/16", Shape::unicast([onlink])),
        ("0.0.0.0/0", Shape::unicast([heavy, hop("10.0.0.2", 3)])),
        ("10.1.0.0/16", Shape::unicast([hop("fe80::1", 2)])),
        (
            "2001:db8::/32",
            Shape::unicast([hop("fe80::1", 2), hop("fe80::2", 2)]),
        ),
        ("2001:db8::/32", Shape::unicast([tunnel("fd00:9::2", 6)])),
        ("2001:db8::/32", Shape::unicast([tunnel("fd00:9::2", 7)])),
        (
            "2001:db8::/32",
            Shape::unicast([tunnel("fd00:9::2", 7), tunnel("fd00:9::3", 7)]),
        ),
    ];
    for (prefix, shape) in cases {
        let prefix = prefix.parse().unwrap();
        let shape = Arc::new(shape);
        let route = KernelRoute {
            prefix,
            table: 254,
            metric: 9,
            protocol: 179,
            shape,
        };
        assert_eq!(again(&route), route);
    }
}

#[test]
fn bytes_that_end_early_are_not_read() {
    let mut bytes = Vec::new();
    Stage::Routes6.put(&mut bytes, 1, 254);
    for len in 0..bytes.len() {
        assert!(split(bytes.get(..len).unwrap()).is_none(), "{len}");
    }
}

fn devices() -> impl Strategy<Value = Device> {
    let v4 = || proptest::option::of((1..=u32::MAX).prop_map(std::net::Ipv4Addr::from_bits));
    let v6 = || proptest::option::of((1..=u128::MAX).prop_map(std::net::Ipv6Addr::from_bits));
    let local = prop_oneof![
        v4().prop_map(|local| local.map(Into::into)),
        v6().prop_map(|local| local.map(Into::into)),
    ];
    let vxlan = (
        0..1_u32 << 24,
        any::<u16>(),
        local,
        proptest::option::of(1..=u32::MAX),
        any::<bool>(),
        any::<bool>(),
    );
    prop_oneof![
        (v4(), v4()).prop_map(|(local, remote)| Device::Ipip { local, remote }),
        (v6(), v6()).prop_map(|(local, remote)| Device::Ip6tnl { local, remote }),
        vxlan.prop_map(
            |(vni, port, local, parent, learning, external)| Device::Vxlan {
                vni,
                port,
                local,
                parent,
                learning,
                external,
            }
        ),
        "[a-z0-9]{1,12}".prop_filter_map("a kind of ours", |kind| {
            let ours = matches!(&*kind, "ipip" | "ip6tnl" | "vxlan");
            (!ours).then(|| Device::Other(kind.into()))
        }),
    ]
}

fn entries() -> impl Strategy<Value = Neighbour> {
    let mac = (1..1_u64 << 48).prop_map(|bits| {
        let [_, _, octets @ ..] = bits.to_be_bytes();
        Mac(octets)
    });
    let address = any::<std::net::IpAddr>().prop_filter("a node", |to| !to.is_multicast());
    (any::<u32>(), address, mac, any::<bool>()).prop_map(|(interface, address, mac, forward)| {
        if forward {
            Neighbour::Forward {
                interface,
                mac,
                node: address,
            }
        } else {
            Neighbour::Address {
                interface,
                address,
                mac,
            }
        }
    })
}

/// Messages that begin as the kernel's do: a header of mostly small numbers, then attributes that
/// are nested here and there, and a cut at the end.
fn payloads() -> impl Strategy<Value = Vec<u8>> {
    let leaf = (0..40_u16, proptest::collection::vec(any::<u8>(), 0..20));
    let leaves = |nested: Vec<(u16, Vec<u8>)>| {
        let mut bytes = Vec::new();
        for (kind, value) in nested {
            super::super::attribute::put(&mut bytes, kind, &value);
        }
        bytes
    };
    let kinds = prop_oneof![
        Just(&b"ipip\0"[..]),
        Just(&b"ip6tnl\0"[..]),
        Just(&b"vxlan\0"[..]),
        Just(&b"\xff"[..])
    ];
    let info =
        (kinds, proptest::collection::vec(leaf.clone(), 0..6)).prop_map(move |(kind, data)| {
            let info = leaves(vec![(1, kind.to_vec()), (2, leaves(data))]);
            (18_u16, info)
        });
    let parts = proptest::collection::vec(prop_oneof![leaf, info], 0..8);
    let head = (
        prop_oneof![Just(0_u8), Just(2), Just(7), Just(10), any::<u8>()],
        proptest::collection::vec(any::<u8>(), 7..15),
    );
    (head, parts, 0..40_usize).prop_map(move |((family, head), parts, cut)| {
        let mut bytes = vec![family];
        bytes.extend(head);
        bytes.extend(leaves(parts));
        bytes.truncate(bytes.len().saturating_sub(cut / 4));
        bytes
    })
}

/// All that a payload could be taken for.
fn read_all(payload: &[u8]) {
    for kind in [RTM_NEWLINK, RTM_DELLINK] {
        let _ = links::read(kind, payload);
    }
    for kind in [RTM_NEWNEIGH, RTM_DELNEIGH] {
        let _ = neighbours::read(kind, payload);
    }
    let _ = addresses::read(RTM_NEWADDR, payload);
    let _ = routes::read(payload);
    let _ = error_code(payload);
    let mut rest = payload;
    while let Some((header, payload, next)) = split(rest) {
        let _ = Reader::default().change(header, payload);
        assert!(next.len() < rest.len(), "a datagram ends");
        rest = next;
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        read_all(&bytes);
    }

    #[test]
    fn no_message_panics(bytes in payloads()) {
        read_all(&bytes);
    }

    #[test]
    fn a_link_reads_as_it_was_asked_for(device in devices(), mtu in any::<u32>(), at in any::<prop::sample::Index>()) {
        let spec = LinkSpec {
            name: "vxlan.calico".into(),
            device,
            mtu,
            mac: None,
            alias: "dunlin".into(),
        };
        let (header, payload) = written(&Action::AddLink(Box::new(spec.clone())));
        prop_assert_eq!(header.flags & (NLM_F_CREATE | NLM_F_EXCL), NLM_F_CREATE | NLM_F_EXCL);
        let Some(Change::Link(link)) = links::read(header.kind, &payload) else {
            panic!("no link");
        };
        prop_assert_eq!((link.name, link.mtu, link.device), (spec.name, mtu, Some(spec.device)));
        // Cut anywhere it is another link, or none, but never a panic.
        read_all(&payload[..at.index(payload.len())]);
    }

    #[test]
    fn an_entry_reads_as_it_was_written(entry in entries(), at in any::<prop::sample::Index>()) {
        let (header, payload) = written(&Action::SetNeighbour(entry));
        let told = Change::Neighbour { neighbour: entry, permanent: true };
        prop_assert_eq!(neighbours::read(header.kind, &payload), Some(told));
        let (header, payload) = written(&Action::DeleteNeighbour(entry));
        let told = neighbours::read(header.kind, &payload);
        prop_assert_eq!(told, Some(Change::NeighbourGone(entry)));
        read_all(&payload[..at.index(payload.len())]);
    }

    #[test]
    fn an_address_reads_as_it_was_written(interface in any::<u32>(), address in any::<std::net::IpAddr>(), len in 0..=128_u8) {
        let address = Address { interface, address, len };
        let (header, payload) = written(&Action::AddAddress(address));
        prop_assert_eq!(addresses::read(header.kind, &payload), Some(Change::Address(address)));
        let (header, payload) = written(&Action::DeleteAddress(address));
        prop_assert_eq!(addresses::read(header.kind, &payload), Some(Change::AddressGone(address)));
    }
}

#[test]
fn a_setting_touches_one_thing() {
    let mac = Mac([2, 0, 0, 0, 0, 9]);
    let read = |setting| {
        let (header, payload) = written(&Action::SetLink { index: 4, setting });
        let up = u32::from_ne_bytes(payload[8..12].try_into().unwrap());
        let mask = u32::from_ne_bytes(payload[12..16].try_into().unwrap());
        (header.kind, up, mask, payload[16..].to_vec())
    };
    assert_eq!(read(LinkSetting::Up), (RTM_SETLINK, 1, 1, vec![]));
    assert_eq!(read(LinkSetting::Down), (RTM_SETLINK, 0, 1, vec![]));
    for setting in [
        LinkSetting::Mtu(1450),
        LinkSetting::Mac(mac),
        LinkSetting::Alias("x".into()),
    ] {
        let (_, _, mask, attributes) = read(setting);
        assert_eq!((mask, attributes.len() <= 12), (0, true));
        assert!(!attributes.is_empty());
    }
}

#[test]
fn an_entry_that_was_permanent_is_told_as_lost() {
    let interface = 5;
    let entry = Neighbour::Address {
        interface,
        address: "10.0.0.1".parse().unwrap(),
        mac: Mac([2, 0, 0, 0, 0, 1]),
    };
    let (_, payload) = written(&Action::SetNeighbour(entry));
    let with_state = |state: u16| {
        let mut payload = payload.clone();
        payload[8..10].copy_from_slice(&state.to_ne_bytes());
        neighbours::read(RTM_NEWNEIGH, &payload)
    };
    let learnt = Change::Neighbour {
        neighbour: entry,
        permanent: false,
    };
    assert_eq!(with_state(0x02), Some(learnt));
    assert_eq!(with_state(0x20), Some(Change::NeighbourGone(entry)));
}

#[test]
fn neighbours_of_other_links_are_not_told() {
    let entry = Neighbour::Address {
        interface: 5,
        address: "10.0.0.1".parse().unwrap(),
        mac: Mac([2, 0, 0, 0, 0, 1]),
    };
    let (header, payload) = written(&Action::SetNeighbour(entry));
    let mut reader = Reader::default();
    assert_eq!(reader.change(header, &payload), None);
    let link = |kind: &str| {
        Change::Link(Box::new(Link {
            device: Some(match kind {
                "vxlan" => Device::Vxlan {
                    vni: 1,
                    port: 2,
                    local: None,
                    parent: None,
                    learning: false,
                    external: false,
                },
                other => Device::Other(other.into()),
            }),
            ..Link::named(5, "x")
        }))
    };
    reader.note(&link("veth"));
    assert_eq!(reader.change(header, &payload), None);
    reader.note(&link("vxlan"));
    assert!(reader.change(header, &payload).is_some());
    reader.note(&Change::LinkGone { index: 5 });
    assert_eq!(reader.change(header, &payload), None);
}

#[test]
fn devices_that_do_something_else_are_of_another_kind() {
    let info = |kind: &str, attributes: &[(u16, &[u8])]| {
        use super::super::attribute::{nest, put, put_text};
        let mut payload = vec![0; 16];
        put_text(&mut payload, 3, "t");
        nest(&mut payload, 18, |info| {
            put_text(info, 1, kind);
            nest(info, 2, |data| {
                for (kind, value) in attributes {
                    put(data, *kind, value);
                }
            });
        });
        let Some(Change::Link(link)) = links::read(RTM_NEWLINK, &payload) else {
            panic!("no link");
        };
        link.device
    };
    let other = |kind: &str| Some(Device::Other(kind.into()));
    let any6 = Some(Device::Ip6tnl {
        local: None,
        remote: None,
    });
    let ip6tnl = |attributes: &[(u16, &[u8])]| info("ip6tnl", attributes);
    let plain = 1_u32.to_ne_bytes();
    assert_eq!(ip6tnl(&[(8, &plain), (9, &[41]), (19, &[])]), any6);
    assert_eq!(ip6tnl(&[(8, &plain), (9, &[0]), (19, &[])]), any6);
    // It carries IPv4; it adds the option; it takes the far end from a gateway.
    assert_eq!(
        ip6tnl(&[(8, &plain), (9, &[4]), (19, &[])]),
        other("ip6tnl")
    );
    assert_eq!(
        ip6tnl(&[(8, &[0; 4]), (9, &[41]), (19, &[])]),
        other("ip6tnl")
    );
    assert_eq!(ip6tnl(&[(8, &plain), (9, &[41])]), other("ip6tnl"));
    assert_eq!(info("ipip", &[(19, &[])]), other("ipip"));
    assert_eq!(info("veth", &[]), other("veth"));
}
