//! Laws of the two short ways: a block that is taken as it is says what decoding it says, and a stored
//! set that is sent on octet by octet is what decoding, changing and encoding it gives.

use std::net::{IpAddr, Ipv4Addr};

use dunlin::net::{Asn, RouterId};
use dunlin::wire::attribute::plain::{self, Plain};
use dunlin::wire::attribute::sent_on::{Reflected, SentOn};
use dunlin::wire::attribute::{AsPath, LargeCommunity, NextHop, PathAttributes};
use dunlin::wire::update::{self, DecodeContext, RawUpdate};
use proptest::option;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::wire_laws::attributes;
use crate::wire_text::PLAIN;

/// As most of a full table is: one AS_SEQUENCE, an IPv4 next hop, short lists.
fn usual() -> impl Strategy<Value = PathAttributes> {
    let asn = (1..70_000_u32).prop_map(Asn);
    let path = prop::collection::vec(asn, 0..70);
    let large = |n: u32| LargeCommunity {
        global: n,
        local1: n,
        local2: 1,
    };
    let large = prop::collection::vec((1..3_u32).prop_map(large), 0..3);
    let (path, hop) = (path, 0x0A00_0001..0x0AFF_FFFF_u32);
    (attributes(), path, hop, large, any::<[bool; 6]>()).prop_map(
        |(mut set, path, hop, large, keep)| {
            set.as_path = AsPath::sequence(path);
            set.next_hop = Some(NextHop::new(IpAddr::V4(Ipv4Addr::from_bits(hop))));
            set.large_communities = large;
            set.large_communities.dedup();
            if keep[0] {
                set.communities.truncate(10);
                set.extended_communities.truncate(10);
                set.cluster_list.truncate(10);
            }
            if keep[1] || keep[2] {
                set.unknown.clear();
                (set.otc, set.aigp) = (None, None);
            }
            if keep[3] {
                (set.local_pref, set.originator_id) = (None, None);
                set.cluster_list.clear();
            }
            if keep[4] {
                set.extended_communities.clear();
            }
            set
        },
    )
}

fn canonical(set: &PathAttributes) -> Vec<u8> {
    let mut block = Vec::new();
    set.encode_canonical(&mut block);
    block
}

fn context(ebgp: bool) -> DecodeContext {
    DecodeContext { ebgp, ..PLAIN }
}

/// Whether a block is plain; if so, decoding it must say the same.
fn is_plain(block: &[u8], ebgp: bool) -> bool {
    let Some(plain) = Plain::read(block, &context(ebgp)) else {
        return false;
    };
    let mut body = vec![0, 0];
    body.extend_from_slice(&u16::try_from(block.len()).unwrap().to_be_bytes());
    body.extend_from_slice(block);
    body.extend_from_slice(&[8, 10]);
    let update = update::decode(RawUpdate::split(&body).unwrap(), &context(ebgp)).unwrap();
    assert_eq!((update.faults, update.treatment), (vec![], None));
    let set = update.attributes;
    assert_eq!(canonical(&set), block);
    let words = |words: &[plain::Word]| words.iter().map(|w| plain::of(*w)).collect::<Vec<_>>();
    assert_eq!(plain.block, block);
    assert_eq!(plain.origin, set.origin);
    assert_eq!(
        AsPath::sequence(words(plain.as_path).into_iter().map(Asn).collect()),
        set.as_path
    );
    assert_eq!(plain.first_as(), set.as_path.first_as());
    assert_eq!(Some(plain.next_hop), set.next_hop);
    assert_eq!((plain.med, plain.local_pref), (set.med, set.local_pref));
    assert_eq!(words(plain.communities), set.communities);
    assert_eq!(plain.originator_id, set.originator_id);
    let clusters: Vec<_> = set.cluster_list.iter().map(|id| id.0).collect();
    assert_eq!(words(plain.cluster_list), clusters);
    true
}

fn sent_on() -> impl Strategy<Value = SentOn> {
    let id = || any::<u32>().prop_map(RouterId);
    let reflected = (id(), id()).prop_map(|(originator, cluster)| Reflected {
        originator,
        cluster,
    });
    prop_oneof![
        (1..=u32::MAX, any::<bool>()).prop_map(|(asn, drop_med)| SentOn::Outside {
            local_as: Asn(asn),
            drop_med,
        }),
        (any::<u32>(), option::of(reflected)).prop_map(|(local_pref, reflected)| SentOn::Inside {
            local_pref,
            reflected,
        }),
    ]
}

/// Whether a set is sent on without decoding; if so, the octets must be those of the long way.
fn is_written(set: &PathAttributes, how: SentOn, hop: NextHop) -> bool {
    let mut out = vec![7];
    let done = how.write(&canonical(set), |_| Some(hop), &mut out);
    if done.is_none() {
        assert_eq!(out, [7], "nothing of it stays");
        return false;
    }
    let mut long = PathAttributes {
        next_hop: Some(hop),
        ..set.clone()
    };
    how.apply(&mut long);
    let mut expected = vec![7];
    long.encode(true, true, &mut expected);
    assert_eq!(out, expected);
    true
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plain_block_says_what_decoding_it_says(set in prop_oneof![usual().boxed(), attributes().boxed()], ebgp: bool) {
        is_plain(&canonical(&set), ebgp);
    }

    #[test]
    fn a_garbled_block_is_plain_only_if_it_is_sound(
        set in usual(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..3),
        cut in option::of(any::<prop::sample::Index>()),
        ebgp: bool,
    ) {
        let mut block = canonical(&set);
        for (at, octet) in flips {
            let at = at.index(block.len().min(80));
            block[at] = octet;
        }
        if let Some(cut) = cut {
            block.truncate(cut.index(block.len()));
        }
        is_plain(&block, ebgp);
    }

    #[test]
    fn a_set_sent_on_octet_by_octet_is_what_the_long_way_gives(
        set in prop_oneof![usual().boxed(), attributes().boxed()],
        how in sent_on(),
        hop in any::<u32>(),
    ) {
        is_written(&set, how, NextHop::new(IpAddr::V4(Ipv4Addr::from_bits(hop))));
    }
}

/// Laws about what is rarely met would hold of nothing.
#[test]
fn the_usual_sets_take_the_short_ways() {
    let mut runner = TestRunner::deterministic();
    let hop = NextHop::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)));
    let (mut plain, mut written) = (0, 0);
    for _ in 0..400 {
        let (set, how) = (usual(), sent_on())
            .new_tree(&mut runner)
            .unwrap()
            .current();
        plain += usize::from(is_plain(&canonical(&set), false));
        written += usize::from(is_written(&set, how, hop));
    }
    assert!(plain > 60, "{plain}");
    assert!(written > 60, "{written}");
}
