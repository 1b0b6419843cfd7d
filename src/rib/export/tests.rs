//! The RFCs' rules for sending, one by one.

use std::net::IpAddr;

use super::super::AttributeStore;
use super::*;
use crate::wire::attribute::AsPath;
use crate::wire::attribute::community::{NO_ADVERTISE, NO_EXPORT, NO_EXPORT_SUBCONFED};

const EBGP: ExportKind = ExportKind::Ebgp {
    local_as: Asn(65000),
    remote_as: None,
};
const CLUSTER: RouterId = RouterId(77);
const TO_CLIENTS: ExportKind = ExportKind::Reflect {
    cluster_id: CLUSTER,
    to_clients: true,
};
const TO_OTHERS: ExportKind = ExportKind::Reflect {
    cluster_id: CLUSTER,
    to_clients: false,
};

fn hop(text: &str) -> NextHop {
    NextHop::new(text.parse().unwrap())
}

fn key(kind: ExportKind) -> GroupKey {
    GroupKey {
        kind,
        family: Family::Ipv4,
        four_octet_as: true,
        max_len: 4096,
        add_path: false,
        paths: 0,
        role: None,
        own_next_hop: hop("10.0.0.1"),
        next_hop_self: false,
        next_hop_keep: false,
        shared_subnet: None,
        extended_next_hop: false,
        long_lived: false,
        policy: 0,
    }
}

fn source(kind: PeerKind) -> PeerFacts {
    let asn = if kind == PeerKind::Ebgp {
        Asn(64512)
    } else {
        Asn(65000)
    };
    let address: IpAddr = "10.0.0.5".parse().unwrap();
    PeerFacts {
        kind,
        asn,
        router_id: RouterId(5),
        address,
    }
}

fn learnt() -> PathAttributes {
    PathAttributes {
        as_path: AsPath::sequence(vec![Asn(64512)]),
        next_hop: Some(hop("10.0.0.5")),
        med: Some(9),
        local_pref: Some(200),
        originator_id: Some(RouterId(4)),
        cluster_list: vec![RouterId(3)],
        aigp: Some(1),
        extended_communities: vec![[0x40; 8], [0; 8]],
        ..PathAttributes::default()
    }
}

fn sent(kind: ExportKind, from: PeerKind) -> PathAttributes {
    rewrite(&key(kind), learnt(), &source(from)).unwrap()
}

fn allowed(kind: ExportKind, from: PeerKind, communities: &[u32]) -> bool {
    let mut store = AttributeStore::new(crate::net::Hashing::default(), false);
    let attributes = PathAttributes {
        communities: communities.to_vec(),
        ..learnt()
    };
    let id = store.intern(PeerIndex::LOCAL, &attributes);
    permitted(&key(kind), &source(from), store.get(id).unwrap())
}

#[test]
fn another_as_gets_our_as_our_address_and_nothing_internal() {
    for from in [PeerKind::Ebgp, PeerKind::Ibgp] {
        let out = sent(EBGP, from);
        assert_eq!(out.as_path, AsPath::sequence(vec![Asn(65000), Asn(64512)]));
        assert_eq!(out.next_hop, Some(hop("10.0.0.1")));
        assert_eq!(
            (out.local_pref, out.med, out.originator_id, out.aigp),
            (None, None, None, None)
        );
        assert!(out.cluster_list.is_empty());
        assert_eq!(out.extended_communities, [[0; 8]]);
    }
    assert_eq!(
        sent(EBGP, PeerKind::Local).med,
        Some(9),
        "our own MED goes out"
    );
}

#[test]
fn our_as_gets_the_path_as_it_is() {
    let out = sent(ExportKind::Ibgp, PeerKind::Ebgp);
    assert_eq!(
        (out.as_path, out.next_hop),
        (learnt().as_path, learnt().next_hop)
    );
    assert_eq!(out.local_pref, Some(200));
    let bare = PathAttributes {
        local_pref: None,
        ..learnt()
    };
    let out = rewrite(&key(ExportKind::Ibgp), bare, &source(PeerKind::Ebgp)).unwrap();
    assert_eq!(
        out.local_pref,
        Some(DEFAULT_LOCAL_PREF),
        "LOCAL_PREF is always there"
    );
}

#[test]
fn a_next_hop_is_ours_for_our_own_routes_and_where_asked_for() {
    let own = PathAttributes::default();
    let out = rewrite(&key(ExportKind::Ibgp), own, &source(PeerKind::Local)).unwrap();
    assert_eq!(out.next_hop, Some(hop("10.0.0.1")));
    let asked = GroupKey {
        next_hop_self: true,
        ..key(ExportKind::Ibgp)
    };
    let out = rewrite(&asked, learnt(), &source(PeerKind::Ebgp)).unwrap();
    assert_eq!(out.next_hop, Some(hop("10.0.0.1")));
    let asked = GroupKey {
        next_hop_self: true,
        ..key(TO_CLIENTS)
    };
    let out = rewrite(&asked, learnt(), &source(PeerKind::IbgpClient)).unwrap();
    assert_eq!(
        out.next_hop,
        learnt().next_hop,
        "a reflector leaves it alone"
    );
}

#[test]
fn a_third_party_next_hop_needs_a_shared_subnet_and_the_source_itself() {
    let shared = GroupKey {
        shared_subnet: "10.0.0.0/24".parse().ok(),
        ..key(EBGP)
    };
    let out = rewrite(&shared, learnt(), &source(PeerKind::Ebgp)).unwrap();
    assert_eq!(out.next_hop, Some(hop("10.0.0.5")));
    let other = PathAttributes {
        next_hop: Some(hop("10.0.0.6")),
        ..learnt()
    };
    let out = rewrite(&shared, other, &source(PeerKind::Ebgp)).unwrap();
    assert_eq!(
        out.next_hop,
        Some(hop("10.0.0.1")),
        "it may be the very peer we send to"
    );
    let far = GroupKey {
        shared_subnet: "10.1.0.0/24".parse().ok(),
        ..key(EBGP)
    };
    let out = rewrite(&far, learnt(), &source(PeerKind::Ebgp)).unwrap();
    assert_eq!(out.next_hop, Some(hop("10.0.0.1")));
}

#[test]
fn a_next_hop_that_cannot_be_carried_is_not_sent() {
    let v6 = PathAttributes {
        next_hop: Some(hop("2001:db8::5")),
        ..learnt()
    };
    let ibgp = key(ExportKind::Ibgp);
    assert_eq!(rewrite(&ibgp, v6.clone(), &source(PeerKind::Ebgp)), None);
    let extended = GroupKey {
        extended_next_hop: true,
        ..ibgp
    };
    assert!(rewrite(&extended, v6, &source(PeerKind::Ebgp)).is_some());
    let family = GroupKey {
        family: Family::Ipv6,
        ..ibgp
    };
    assert_eq!(rewrite(&family, learnt(), &source(PeerKind::Ebgp)), None);
    let unset = GroupKey {
        own_next_hop: hop("0.0.0.0"),
        ..ibgp
    };
    let own = PathAttributes::default();
    assert_eq!(rewrite(&unset, own, &source(PeerKind::Local)), None);
}

#[test]
fn a_link_local_address_stays_on_its_link() {
    let link_local = "fe80::5".parse().ok();
    let next_hop = NextHop {
        link_local,
        ..hop("2001:db8::5")
    };
    let own = NextHop {
        link_local: "fe80::1".parse().ok(),
        ..hop("2001:db8::1")
    };
    let v6 = PathAttributes {
        next_hop: Some(next_hop),
        ..learnt()
    };
    let base = GroupKey {
        family: Family::Ipv6,
        own_next_hop: own,
        ..key(ExportKind::Ibgp)
    };
    let out = rewrite(&base, v6.clone(), &source(PeerKind::Ebgp)).unwrap();
    assert_eq!(out.next_hop, Some(hop("2001:db8::5")));
    let asked = GroupKey {
        next_hop_self: true,
        ..base
    };
    let out = rewrite(&asked, v6, &source(PeerKind::Ebgp)).unwrap();
    assert_eq!(out.next_hop, Some(own));
}

#[test]
fn unknown_attributes_pass_marked_partial_if_transitive() {
    let unknown = |flags, code| UnknownAttribute {
        flags,
        code,
        value: vec![1],
    };
    let attributes = PathAttributes {
        unknown: vec![unknown(0xC0, 99), unknown(0x80, 100)],
        ..learnt()
    };
    let out = rewrite(&key(EBGP), attributes, &source(PeerKind::Ebgp)).unwrap();
    assert_eq!(out.unknown, [unknown(0xE0, 99)]);
}

#[test]
fn a_reflector_names_the_originator_once_and_adds_its_cluster() {
    let out = sent(TO_CLIENTS, PeerKind::IbgpClient);
    assert_eq!(out.originator_id, Some(RouterId(4)), "never overwritten");
    assert_eq!(out.cluster_list, [CLUSTER, RouterId(3)]);
    let fresh = PathAttributes {
        originator_id: None,
        cluster_list: Vec::new(),
        ..learnt()
    };
    let out = rewrite(
        &key(TO_OTHERS),
        fresh.clone(),
        &source(PeerKind::IbgpClient),
    )
    .unwrap();
    assert_eq!(
        (out.originator_id, out.cluster_list),
        (Some(RouterId(5)), vec![CLUSTER])
    );
    let out = rewrite(&key(TO_CLIENTS), fresh, &source(PeerKind::Ebgp)).unwrap();
    assert_eq!(
        (out.originator_id, out.cluster_list),
        (None, vec![]),
        "that is no reflection"
    );
}

#[test]
fn who_may_hear_of_whose_routes() {
    use PeerKind::{Ebgp, Ibgp, IbgpClient, Local};
    let to = |kind| [Local, Ebgp, Ibgp, IbgpClient].map(|from| allowed(kind, from, &[]));
    assert_eq!(to(EBGP), [true, true, true, true]);
    assert_eq!(to(ExportKind::Ibgp), [true, true, false, false]);
    assert_eq!(to(TO_CLIENTS), [true, true, true, true]);
    assert_eq!(to(TO_OTHERS), [true, true, false, true]);
}

#[test]
fn well_known_communities_bind() {
    for (community, ebgp, ibgp) in [
        (NO_EXPORT, false, true),
        (NO_EXPORT_SUBCONFED, false, true),
        (NO_ADVERTISE, false, false),
        (65000 << 16, true, true),
    ] {
        assert_eq!(allowed(EBGP, PeerKind::Ebgp, &[1, community]), ebgp);
        assert_eq!(
            allowed(ExportKind::Ibgp, PeerKind::Ebgp, &[1, community]),
            ibgp
        );
    }
}
