//! Laws of the codec, over generated messages: what is encoded is decoded again, what is cut or
//! garbled is an error of a known kind, and how bytes arrive does not matter.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use dunlin::net::{AfiSafi, Asn, Family, Prefix, RouterId};
use dunlin::transport::codec::Stream;
use dunlin::wire::attribute::{
    Aggregator, AsPath, LargeCommunity, NextHop, Origin, PathAttributes, Segment, SegmentKind,
    UnknownAttribute, table,
};
use dunlin::wire::capability::Capability;
use dunlin::wire::frame::{self, MAX_EXTENDED_LEN, MAX_LEN, MessageKind, Step};
use dunlin::wire::notification::Notification;
use dunlin::wire::open::Open;
use dunlin::wire::route_refresh::RouteRefresh;
use dunlin::wire::update::{
    self, Announce, DecodeContext, RawUpdate, scan_attributes, write_announce, write_withdraw,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::wire_text::{Fixture, PLAIN, fixtures, outcome};

/// Read once: the generated cases draw from them again and again.
static FIXTURES: LazyLock<Vec<Fixture>> = LazyLock::new(fixtures);

/// Takes everything that our own encoder can write.
const OPEN_MINDED: DecodeContext = DecodeContext {
    ebgp: false,
    permit_as_sets: true,
    beside: false,
    ..PLAIN
};

fn asn() -> impl Strategy<Value = Asn> {
    prop_oneof![1..=65535_u32, 1..=u32::MAX].prop_map(Asn)
}

fn family() -> impl Strategy<Value = AfiSafi> {
    (any::<u16>(), any::<u8>()).prop_map(|(afi, safi)| AfiSafi { afi, safi })
}

fn capability() -> impl Strategy<Value = Capability> {
    let name = || vec(any::<u8>(), 0..100);
    prop_oneof![
        family().prop_map(Capability::Multiprotocol),
        Just(Capability::RouteRefresh),
        Just(Capability::ExtendedMessage),
        Just(Capability::EnhancedRouteRefresh),
        Just(Capability::Role(3)),
        vec((family(), any::<u16>()), 0..5).prop_map(Capability::ExtendedNextHop),
        (
            any::<bool>(),
            any::<bool>(),
            0..4096_u16,
            vec((family(), any::<bool>()), 0..5)
        )
            .prop_map(|(restarting, notification, time, families)| {
                Capability::GracefulRestart {
                    restarting,
                    notification,
                    time,
                    families,
                }
            }),
        asn().prop_map(Capability::FourOctetAs),
        vec((family(), 1..=3_u8), 0..5).prop_map(Capability::AddPath),
        vec((family(), any::<bool>(), 0..1_u32 << 24), 0..5)
            .prop_map(Capability::LongLivedGracefulRestart),
        (name(), name()).prop_map(|(host, domain)| Capability::Fqdn { host, domain }),
        (100..=255_u8, vec(any::<u8>(), 0..=255))
            .prop_map(|(code, value)| Capability::Unknown { code, value }),
    ]
}

fn open() -> impl Strategy<Value = Open> {
    let hold_time = prop_oneof![Just(0), 3..=u16::MAX];
    (
        1..=u16::MAX,
        hold_time,
        1..=u32::MAX,
        vec(capability(), 0..12),
    )
        .prop_map(|(my_as, hold_time, id, capabilities)| Open {
            my_as,
            hold_time,
            router_id: RouterId(id),
            capabilities,
        })
}

fn segment() -> impl Strategy<Value = Segment> {
    let kind = prop_oneof![4 => Just(SegmentKind::Sequence), 1 => Just(SegmentKind::Set)];
    (kind, vec(asn(), 1..40)).prop_map(|(kind, asns)| Segment { kind, asns })
}

fn next_hop() -> impl Strategy<Value = NextHop> {
    let ipv4 = (1..127_u8, any::<[u8; 3]>())
        .prop_map(|(a, [b, c, d])| NextHop::new(Ipv4Addr::new(a, b, c, d).into()));
    let global =
        any::<u64>().prop_map(|low| Ipv6Addr::from_bits(0x2001_u128 << 112 | u128::from(low)));
    let local =
        any::<u64>().prop_map(|low| Ipv6Addr::from_bits(0xFE80_u128 << 112 | u128::from(low)));
    let ipv6 = (global, option::of(local)).prop_map(|(address, link_local)| NextHop {
        link_local,
        ..NextHop::new(IpAddr::V6(address))
    });
    prop_oneof![ipv4, ipv6]
}

fn large() -> impl Strategy<Value = Vec<LargeCommunity>> {
    vec(any::<[u32; 3]>(), 0..30).prop_map(|list| {
        let mut list: Vec<_> = list
            .into_iter()
            .map(|[global, local1, local2]| LargeCommunity {
                global,
                local1,
                local2,
            })
            .collect();
        list.sort_unstable();
        list.dedup();
        list
    })
}

fn unknown() -> impl Strategy<Value = Vec<UnknownAttribute>> {
    vec((any::<u8>(), vec(any::<u8>(), 0..400)), 0..4).prop_map(|list| {
        let mut list: Vec<_> = list
            .into_iter()
            .filter(|(code, _)| table::lookup(*code).is_none())
            .map(|(code, value)| UnknownAttribute {
                flags: 0xE0,
                code,
                value,
            })
            .collect();
        list.sort_by_key(|unknown| unknown.code);
        list.dedup_by_key(|unknown| unknown.code);
        list
    })
}

pub(crate) fn attributes() -> impl Strategy<Value = PathAttributes> {
    let origin = prop_oneof![
        Just(Origin::Igp),
        Just(Origin::Egp),
        Just(Origin::Incomplete)
    ];
    let aggregator = (asn(), any::<u32>()).prop_map(|(asn, bits)| Aggregator {
        asn,
        address: Ipv4Addr::from_bits(bits),
    });
    let router_id = || any::<u32>().prop_map(RouterId);
    let numbers = (
        option::of(any::<u32>()),
        option::of(any::<u32>()),
        option::of(any::<u64>()),
        any::<bool>(),
    );
    let communities = (
        vec(any::<u32>(), 0..100),
        vec(any::<[u8; 8]>(), 0..40),
        large(),
    );
    let reflection = (option::of(router_id()), vec(router_id(), 0..70));
    (
        (origin, vec(segment(), 0..5), next_hop()),
        numbers,
        communities,
        reflection,
        (option::of(aggregator), option::of(asn()), unknown()),
    )
        .prop_map(
            |(path, numbers, communities, reflection, rest)| PathAttributes {
                origin: path.0,
                as_path: AsPath { segments: path.1 },
                next_hop: Some(path.2),
                med: numbers.0,
                local_pref: numbers.1,
                aigp: numbers.2,
                atomic_aggregate: numbers.3,
                communities: communities.0,
                extended_communities: communities.1,
                large_communities: communities.2,
                originator_id: reflection.0,
                cluster_list: reflection.1,
                aggregator: rest.0,
                otc: rest.1,
                unknown: rest.2,
            },
        )
}

/// Prefixes that no rule skips.
fn prefix(family: Family) -> BoxedStrategy<Prefix> {
    match family {
        Family::Ipv4 => (0x0A00_0000..0x0AFF_FFFF_u32, 8..=32_u8)
            .prop_map(|(bits, len)| Prefix::new(IpAddr::V4(Ipv4Addr::from_bits(bits)), len))
            .boxed(),
        Family::Ipv6 => (any::<u64>(), 16..=128_u8)
            .prop_map(|(high, len)| {
                let bits = 0x2001_u128 << 112 | u128::from(high) << 40;
                Prefix::new(IpAddr::V6(Ipv6Addr::from_bits(bits)), len)
            })
            .boxed(),
    }
}

fn routes() -> impl Strategy<Value = (Family, bool, Vec<(u32, Prefix)>)> {
    (
        prop_oneof![Just(Family::Ipv4), Just(Family::Ipv6)],
        any::<bool>(),
    )
        .prop_flat_map(|(family, add_path)| {
            let id = if add_path {
                any::<u32>().boxed()
            } else {
                Just(0).boxed()
            };
            (
                Just(family),
                Just(add_path),
                vec((id, prefix(family)), 1..1500),
            )
        })
}

/// A message followed by another is framed alone; every cut of it needs more octets.
fn body_of(whole: &[u8]) -> &[u8] {
    let len = whole.len();
    let kind = match frame::next(whole, MAX_EXTENDED_LEN) {
        Ok(Step::Message { kind, len: framed }) if framed == len => kind,
        other => panic!("{other:?}"),
    };
    let (again, body) = frame::messages(whole).next().unwrap();
    assert_eq!(again, kind);
    body
}

/// Decodes one of our own UPDATEs and hands its parts on.
pub(crate) fn decoded<'a>(whole: &'a [u8], ctx: &DecodeContext) -> update::Update<'a> {
    let update = update::decode(RawUpdate::split(body_of(whole)).unwrap(), ctx).unwrap();
    assert_eq!(update.faults, []);
    update
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_open_comes_back(open in open()) {
        let whole = open.encode();
        prop_assert!(whole.len() <= MAX_LEN);
        prop_assert_eq!(Open::decode(body_of(&whole)).unwrap(), open);
    }

    #[test]
    fn a_notification_comes_back(code: u8, subcode: u8, data in vec(any::<u8>(), 0..4075)) {
        let notification = Notification::new(code, subcode, data);
        let whole = notification.encode();
        prop_assert_eq!(&Notification::decode(body_of(&whole)).unwrap(), &notification);
        let text = notification.to_string();
        prop_assert!(!text.contains(char::is_control), "{}", text);
    }

    #[test]
    fn a_route_refresh_comes_back(family in family(), subtype: u8) {
        let refresh = RouteRefresh { family, subtype };
        prop_assert_eq!(RouteRefresh::decode(body_of(&refresh.encode())).unwrap(), refresh);
    }

    #[test]
    fn a_stored_attribute_set_comes_back(attributes in attributes()) {
        let mut stored = Vec::new();
        attributes.encode_canonical(&mut stored);
        prop_assert_eq!(PathAttributes::decode_canonical(&stored).unwrap(), attributes);
    }

    #[test]
    fn a_cut_stored_attribute_set_is_never_mistaken_for_it(attributes in attributes(), at: prop::sample::Index) {
        let mut stored = Vec::new();
        attributes.encode_canonical(&mut stored);
        let cut = &stored[..at.index(stored.len())];
        prop_assert_ne!(PathAttributes::decode_canonical(cut), Ok(attributes));
    }

    #[test]
    fn announced_attributes_come_back(attributes in attributes(), four_octet_as: bool) {
        let ipv6 = attributes.next_hop.filter(|hop| hop.address.is_ipv6());
        let family = if ipv6.is_some() { Family::Ipv6 } else { Family::Ipv4 };
        let mut block = Vec::new();
        attributes.encode(four_octet_as, ipv6.is_none(), &mut block);
        let params = Announce {
            family,
            attributes: &block,
            next_hop: ipv6.as_ref(),
            add_path: false,
            max_len: MAX_EXTENDED_LEN,
        };
        let prefix: Prefix = if ipv6.is_some() { "2001:db8::/32" } else { "10.0.0.0/8" }.parse().unwrap();
        let mut whole = Vec::new();
        write_announce(&mut whole, &params, &mut [(0, prefix)].into_iter()).unwrap();
        let update = decoded(&whole, &DecodeContext { four_octet_as, ..OPEN_MINDED });
        let mut back = update.attributes.clone();
        if let Some(mp) = update.mp_announced {
            back.next_hop = Some(mp.next_hop);
            prop_assert_eq!(mp.nlri.iter().collect::<Vec<_>>(), [(0, prefix)]);
        } else {
            prop_assert_eq!(update.announced.iter().collect::<Vec<_>>(), [(0, prefix)]);
        }
        // Merging AS4_PATH may join two sequences that lie side by side; the path is the same.
        prop_assert_eq!(back.as_path.to_string(), attributes.as_path.to_string());
        prop_assert_eq!(back.as_path.len(), attributes.as_path.len());
        back.as_path = attributes.as_path.clone();
        prop_assert_eq!(back, attributes);
    }

    #[test]
    fn routes_are_packed_within_the_limit_and_come_back(
        (family, add_path, routes) in routes(),
        attributes in attributes(),
        withdraw: bool,
    ) {
        let hop = attributes.next_hop.unwrap();
        let in_body = family == Family::Ipv4 && hop.address.is_ipv4();
        let hop = if family == Family::Ipv6 && hop.address.is_ipv4() {
            NextHop::new("2001:db8::1".parse().unwrap())
        } else {
            hop
        };
        let mut block = Vec::new();
        attributes.encode(true, in_body, &mut block);
        let next_hop = if in_body { None } else { Some(&hop) };
        let params = Announce { family, attributes: &block, next_hop, add_path, max_len: MAX_LEN };
        let mut out = Vec::new();
        let written = if withdraw {
            write_withdraw(&mut out, family, add_path, MAX_LEN, &mut routes.iter().copied())
        } else {
            match write_announce(&mut out, &params, &mut routes.iter().copied()) {
                Ok(written) => written,
                // Big attributes leave no room: nothing at all is written.
                Err(_) => {
                    prop_assert!(block.len() + 100 > MAX_LEN && out.is_empty());
                    return Ok(());
                }
            }
        };
        let ctx = DecodeContext { add_path: [add_path; 2], extended_next_hop: true, ..OPEN_MINDED };
        let mut back = Vec::new();
        let mut rest = &out[..];
        for _ in 0..written {
            let Ok(Step::Message { kind: MessageKind::Update, len }) = frame::next(rest, MAX_LEN) else {
                panic!("no whole UPDATE");
            };
            let update = decoded(&rest[..len], &ctx);
            let mp_reach = update.mp_announced.map(|mp| mp.nlri);
            let mp_unreach = update.mp_withdrawn.map(|(_, nlri)| nlri);
            let lists = [Some(update.withdrawn), Some(update.announced), mp_reach, mp_unreach];
            let lists: Vec<_> = lists.into_iter().flatten().filter(|list| !list.is_empty()).collect();
            prop_assert_eq!(lists.len(), 1, "one list a message (RFC 7606 5.1)");
            back.extend(lists[0].iter());
            let raw = RawUpdate::split(&rest[19..len]).unwrap();
            let scan = scan_attributes(raw.attributes);
            prop_assert!(scan.well_formed);
            if mp_reach.is_some() {
                prop_assert_eq!(scan.others, Some(&block[..]), "MP_REACH_NLRI comes first");
            }
            rest = &rest[len..];
        }
        prop_assert!(rest.is_empty());
        prop_assert_eq!(back, routes);
    }

    #[test]
    fn no_octets_panic_and_every_error_has_a_notification(octets in vec(any::<u8>(), 0..300), kind in 1..=5_u8, ctx in context()) {
        let whole = message(kind, &octets);
        check_outcome(&whole, &ctx);
        let _ = PathAttributes::decode_canonical(&octets);
        let _ = scan_attributes(&octets);
        let _ = frame::next(&octets, MAX_LEN);
    }

    #[test]
    fn garbled_fixtures_do_not_panic(which: prop::sample::Index, flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut: prop::sample::Index, ctx in context()) {
        let fixture = which.get(&FIXTURES);
        let mut body = fixture.bytes[19..].to_vec();
        if body.is_empty() {
            return Ok(());
        }
        for (at, octet) in flips {
            let at = at.index(body.len());
            body[at] = octet;
        }
        body.truncate(1 + cut.index(body.len()));
        check_outcome(&message(fixture.bytes[18], &body), &ctx);
    }

    #[test]
    fn streams_are_framed_alike_however_they_arrive(order in vec(any::<prop::sample::Index>(), 1..12), cuts in vec(1..200_usize, 1..40)) {
        let all: Vec<_> = FIXTURES.iter().filter(|f| !f.is_bad() && f.max == MAX_LEN).collect();
        let stream: Vec<u8> = order.iter().flat_map(|i| i.get(&all).bytes.clone()).collect();
        prop_assert_eq!(delivered(&stream, cuts.iter().copied().cycle()), stream);
    }
}

fn context() -> impl Strategy<Value = DecodeContext> {
    (any::<[bool; 4]>(), any::<[bool; 2]>(), any::<[bool; 2]>()).prop_map(
        |([four_octet_as, ebgp, extended_next_hop, permit_as_sets], add_path, families)| {
            DecodeContext {
                four_octet_as,
                ebgp,
                add_path,
                families,
                extended_next_hop,
                permit_as_sets,
                beside: false,
            }
        },
    )
}

pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut whole = frame::KEEPALIVE.to_vec();
    whole[18] = kind;
    whole.extend_from_slice(body);
    let len = u16::try_from(whole.len()).unwrap();
    whole[16..18].copy_from_slice(&len.to_be_bytes());
    whole
}

/// Decodes, and looks at what an error would tell the peer.
pub(crate) fn check_outcome(whole: &[u8], ctx: &DecodeContext) {
    let reaction = outcome(whole, ctx, MAX_EXTENDED_LEN).reaction;
    if let Some(code) = reaction.strip_prefix("reset ") {
        let (code, rest) = code.split_once('/').unwrap();
        let subcode = rest.split(' ').next().unwrap();
        let code: u8 = code.parse().unwrap();
        let notification = Notification::new(code, subcode.parse().unwrap(), Vec::new());
        assert!(notification.code_name().is_some(), "{reaction}");
        assert!(
            subcode == "0" || notification.subcode_name().is_some(),
            "{reaction}"
        );
    }
}

/// What a codec hands out of `stream`, arriving in pieces of the lengths that `cuts` gives.
pub(crate) fn delivered(stream: &[u8], mut cuts: impl Iterator<Item = usize>) -> Vec<u8> {
    let mut incoming = Stream::new(MAX_LEN);
    let mut out = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(cuts.next().unwrap().min(rest.len()));
        rest = after;
        let octets = [incoming.kept(), piece].concat();
        let (whole, bad) = incoming.cut(&octets);
        assert_eq!(bad, None);
        let mut framed = 0;
        for (_, body) in frame::messages(whole) {
            framed += 19 + body.len();
        }
        assert_eq!(framed, whole.len(), "only whole messages are handed out");
        out.extend_from_slice(whole);
    }
    incoming.end().unwrap();
    out
}
