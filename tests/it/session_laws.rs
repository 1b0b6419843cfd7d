//! Collision and negotiation over their whole small domains, not samples of them.

use dunlin::net::{Asn, Family, RouterId};
use dunlin::session::collision::{Direction, Other, Party, Verdict, resolve, winner};
use dunlin::session::negotiate::{NegotiateError, negotiate};
use dunlin::session::{AddPath, GracefulRestart, HoldTime, PeerConfig, Role};
use dunlin::time::Duration;
use dunlin::wire::capability::Capability;

use crate::session_harness::{config, holding, mirrored};

fn parties() -> Vec<Party> {
    // Either side of the sign bit: identifiers are unsigned numbers, not addresses or integers.
    let ids = [1, 0x0A00_0001, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF];
    let asns = [1, 64512, 0xFFFF_FFFF];
    let party = |id, asn| Party {
        router_id: RouterId(id),
        asn: Asn(asn),
    };
    ids.into_iter()
        .flat_map(|id| asns.map(|asn| party(id, asn)))
        .collect()
}

fn flip(direction: Direction) -> Direction {
    match direction {
        Direction::Dialled => Direction::Accepted,
        Direction::Accepted => Direction::Dialled,
    }
}

#[test]
fn both_ends_of_a_collision_keep_the_same_connection() {
    for a in parties() {
        for b in parties().into_iter().filter(|b| *b != a) {
            assert_eq!(winner(a, b), flip(winner(b, a)), "{a:?} {b:?}");
            for new in [Direction::Dialled, Direction::Accepted] {
                // The winner closes what the other one dialled; the loser leaves that to it.
                let other = Other::OpenConfirm;
                let (at_a, at_b) = (resolve(a, b, new, other), resolve(b, a, flip(new), other));
                let (winners, losers) = match winner(a, b) {
                    Direction::Dialled => (at_a, at_b),
                    Direction::Accepted => (at_b, at_a),
                };
                assert_eq!(losers, Verdict::Undecided);
                let of_winner = if winner(a, b) == Direction::Dialled {
                    new
                } else {
                    flip(new)
                };
                let kept = match of_winner {
                    Direction::Dialled => Verdict::KeepNew,
                    Direction::Accepted => Verdict::KeepOther,
                };
                assert_eq!(winners, kept);
            }
        }
    }
}

#[test]
fn the_higher_identifier_wins_and_between_equal_ones_the_higher_as() {
    for a in parties() {
        for b in parties().into_iter().filter(|b| *b != a) {
            let a_wins = if a.router_id == b.router_id {
                a.asn.0 > b.asn.0
            } else {
                a.router_id.0 > b.router_id.0
            };
            assert_eq!(winner(a, b) == Direction::Dialled, a_wins, "{a:?} {b:?}");
        }
    }
}

#[test]
fn each_row_of_the_collision_table_holds_for_everybody() {
    for a in parties() {
        for b in parties().into_iter().filter(|b| *b != a) {
            for new in [Direction::Dialled, Direction::Accepted] {
                let verdict = |other| resolve(a, b, new, other);
                assert_eq!(verdict(Other::Unopened), Verdict::KeepNew);
                assert_eq!(verdict(Other::OpenSent), Verdict::Undecided);
                let confirmed = match (winner(a, b), new) {
                    (Direction::Accepted, _) => Verdict::Undecided,
                    (_, Direction::Dialled) => Verdict::KeepNew,
                    (_, Direction::Accepted) => Verdict::KeepOther,
                };
                assert_eq!(verdict(Other::OpenConfirm), confirmed);
                let up = |successor| verdict(Other::Established { successor });
                assert_eq!(up(true), Verdict::Wait);
                assert_eq!(up(false), Verdict::KeepOther);
            }
        }
    }
}

fn agree(
    ours: &PeerConfig,
    theirs: &PeerConfig,
) -> Result<dunlin::session::Negotiated, NegotiateError> {
    negotiate(&ours.open(), &theirs.open(), ours)
}

#[test]
fn the_hold_time_is_the_lesser_one_and_zero_on_either_side_disables_it() {
    for ours in [0, 3, 9, 90, 65535] {
        for theirs in [0, 3, 10, 90, 65535] {
            let (ours, mut peer) = (holding(ours), mirrored(&holding(90)));
            peer.timers.hold_time = HoldTime::from_secs(theirs).unwrap();
            let agreed = agree(&ours, &peer).unwrap();
            let hold = ours.timers.hold_time.as_secs().min(theirs);
            assert_eq!(agreed.hold_time.as_secs(), hold);
            let third = Duration::from_secs(hold.into()) / 3;
            let keepalive = (hold > 0).then_some(third.max(Duration::from_secs(1)));
            assert_eq!(agreed.keepalive, keepalive);
        }
    }
}

#[test]
fn an_illegal_or_too_short_hold_time_is_refused_but_a_disabled_one_is_not() {
    let mut ours = config();
    ours.required.min_hold_time = Some(Duration::from_secs(20));
    for (secs, ok) in [
        (0, true),
        (1, false),
        (2, false),
        (3, false),
        (19, false),
        (20, true),
    ] {
        let mut open = mirrored(&ours).open();
        open.hold_time = secs;
        let result = negotiate(&ours.open(), &open, &ours);
        assert_eq!(result.is_ok(), ok, "{secs}");
        if let Err(error) = result {
            let told = error.notification();
            assert_eq!((told.code, told.subcode), (2, 6));
        }
    }
}

#[test]
fn another_as_than_the_configured_one_is_refused_and_any_is_taken_if_none_is() {
    for (expected, theirs) in [
        (64513, 64513),
        (64513, 64514),
        (70_000, 70_000),
        (70_000, 23456),
    ] {
        let (mut ours, mut peer) = (config(), mirrored(&config()));
        ours.remote_asn = Some(Asn(expected));
        peer.local_asn = Asn(theirs);
        match agree(&ours, &peer) {
            Ok(agreed) => assert_eq!((agreed.remote_asn, expected), (Asn(theirs), theirs)),
            Err(error) => {
                assert_ne!(expected, theirs);
                let told = error.notification();
                assert_eq!((told.code, told.subcode), (2, 2));
            }
        }
        ours.remote_asn = None;
        assert_eq!(agree(&ours, &peer).unwrap().remote_asn, Asn(theirs));
    }
}

#[test]
fn a_two_octet_speaker_knows_a_wide_as_as_as_trans_only() {
    let (mut ours, mut peer) = (config(), mirrored(&config()));
    ours.remote_asn = Some(Asn(70_000));
    peer.local_asn = Asn(70_000);
    ours.offer.four_octet_as = false;
    let agreed = agree(&ours, &peer).unwrap();
    assert!(!agreed.four_octet_as);
    assert_eq!(agreed.remote_asn, Asn(70_000));
    peer.offer.four_octet_as = false;
    ours.offer.four_octet_as = true;
    ours.remote_asn = Some(Asn(64513));
    peer.local_asn = Asn(64513);
    assert!(!agree(&ours, &peer).unwrap().four_octet_as);
}

#[test]
fn the_same_identifier_is_refused_within_an_as_and_taken_across() {
    for (asn, ok) in [(64512, false), (64513, true)] {
        let (mut ours, mut peer) = (config(), mirrored(&config()));
        ours.remote_asn = Some(Asn(asn));
        peer.local_asn = Asn(asn);
        peer.router_id = ours.router_id;
        let result = agree(&ours, &peer);
        assert_eq!(result.is_ok(), ok);
        if let Err(error) = result {
            let told = error.notification();
            assert_eq!((told.code, told.subcode), (2, 3));
        }
    }
}

#[test]
fn families_are_the_intersection_and_none_in_common_is_refused_with_the_capability() {
    let choices = [[false, false], [true, false], [false, true], [true, true]];
    for ours_has in choices {
        for theirs_has in choices {
            let (mut ours, mut peer) = (config(), mirrored(&config()));
            ours.offer.families = ours_has;
            peer.offer.families = theirs_has;
            // Without any multiprotocol capability IPv4 unicast is meant (RFC 4760 §8).
            let meant = if theirs_has == [false, false] {
                [true, false]
            } else {
                theirs_has
            };
            let both = [0, 1].map(|i| ours_has[i] && meant[i]);
            match agree(&ours, &peer) {
                Ok(agreed) => assert_eq!(agreed.families, both),
                Err(error) => {
                    assert_eq!(both, [false, false]);
                    let told = error.notification();
                    assert_eq!((told.code, told.subcode), (2, 7));
                    if ours_has != [false, false] {
                        let afi = if ours_has[0] { 1 } else { 2 };
                        assert_eq!(told.data, [1, 4, 0, afi, 0, 1]);
                    }
                }
            }
        }
    }
}

#[test]
fn each_required_capability_is_missed_by_its_name_and_code() {
    type Edit = fn(&mut PeerConfig);
    let cases: [(Edit, Edit, u8); 6] = [
        (
            |o| o.required.families = [false, true],
            |t| t.offer.families = [true, false],
            1,
        ),
        (
            |o| o.required.route_refresh = true,
            |t| t.offer.route_refresh = false,
            2,
        ),
        (
            |o| o.required.extended_next_hop = true,
            |t| t.offer.extended_next_hop = false,
            5,
        ),
        (
            |o| o.required.extended_messages = true,
            |t| t.offer.extended_messages = false,
            6,
        ),
        (
            |o| o.required.graceful_restart = true,
            |t| t.offer.graceful_restart = None,
            64,
        ),
        (
            |o| o.required.four_octet_as = true,
            |t| t.offer.four_octet_as = false,
            65,
        ),
    ];
    let everything = |config: &mut PeerConfig| {
        config.offer.families = [true, true];
        config.offer.extended_next_hop = true;
        config.offer.extended_messages = true;
        config.offer.graceful_restart = Some(restart(true));
    };
    for (demand, lack, code) in cases {
        let mut ours = config();
        everything(&mut ours);
        demand(&mut ours);
        let mut peer = mirrored(&ours);
        assert!(agree(&ours, &peer).is_ok(), "{code}");
        lack(&mut peer);
        let error = agree(&ours, &peer).unwrap_err();
        let told = error.notification();
        assert_eq!((told.code, told.subcode, told.data[0]), (2, 7, code));
        assert!(error.to_string().contains("required"), "{error}");
    }
}

const ROLES: [Role; 5] = [
    Role::Provider,
    Role::RouteServer,
    Role::RouteServerClient,
    Role::Customer,
    Role::Peer,
];

#[test]
fn only_the_five_role_pairs_of_rfc_9234_agree_and_within_an_as_none_is_looked_at() {
    let allowed = [(0, 3), (3, 0), (1, 2), (2, 1), (4, 4)];
    for ours_is in ROLES {
        for theirs_is in ROLES {
            let (mut ours, mut peer) = (config(), mirrored(&config()));
            ours.offer.role = Some(ours_is);
            peer.offer.role = Some(theirs_is);
            let ok = allowed.contains(&(ours_is.code(), theirs_is.code()));
            match agree(&ours, &peer) {
                Ok(agreed) => assert_eq!((ok, agreed.remote_role), (true, Some(theirs_is))),
                Err(error) => {
                    assert!(!ok);
                    let told = error.notification();
                    assert_eq!((told.code, told.subcode), (2, 11));
                }
            }
            ours.remote_asn = Some(ours.local_asn);
            let mut open = peer.open();
            open.my_as = 64512;
            open.capabilities
                .retain(|c| !matches!(c, Capability::FourOctetAs(_)));
            assert_eq!(
                negotiate(&ours.open(), &open, &ours).unwrap().remote_role,
                None
            );
        }
    }
}

#[test]
fn an_unassigned_or_missing_role_is_a_mismatch_only_where_roles_matter() {
    let (mut ours, peer) = (config(), mirrored(&config()));
    let mut open = peer.open();
    open.capabilities.push(Capability::Role(9));
    assert!(negotiate(&ours.open(), &open, &ours).is_ok());
    ours.offer.role = Some(Role::Peer);
    assert!(negotiate(&ours.open(), &open, &ours).is_err());
    assert!(agree(&ours, &peer).is_ok());
    ours.required.role = true;
    assert_eq!(agree(&ours, &peer), Err(NegotiateError::RoleMissing));
}

#[test]
fn additional_paths_are_agreed_a_direction_and_a_family_at_a_time() {
    let all = [(false, false), (true, false), (false, true), (true, true)]
        .map(|(send, receive)| AddPath { send, receive });
    for ours_is in all {
        for theirs_is in all {
            let (mut ours, mut peer) = (config(), mirrored(&config()));
            ours.offer.families = [true, true];
            peer.offer.families = [true, true];
            ours.offer.add_path[Family::Ipv6.index()] = ours_is;
            peer.offer.add_path[Family::Ipv6.index()] = theirs_is;
            let agreed = agree(&ours, &peer).unwrap().add_path;
            assert_eq!(agreed[0], AddPath::default());
            assert_eq!(agreed[1].send, ours_is.send && theirs_is.receive);
            assert_eq!(agreed[1].receive, ours_is.receive && theirs_is.send);
        }
    }
}

fn restart(notification: bool) -> GracefulRestart {
    GracefulRestart {
        time: 120,
        families: [Some(true), None],
        restarting: true,
        notification,
        long_lived: 0,
    }
}

#[test]
fn graceful_restart_and_the_n_bit_need_both_sides() {
    let offers = [None, Some(restart(false)), Some(restart(true))];
    for ours_is in offers {
        for theirs_is in offers {
            let (mut ours, mut peer) = (config(), mirrored(&config()));
            ours.offer.graceful_restart = ours_is;
            peer.offer.graceful_restart = theirs_is;
            let agreed = agree(&ours, &peer).unwrap().graceful_restart;
            let (Some(a), Some(b)) = (ours_is, theirs_is) else {
                assert_eq!(agreed, None);
                continue;
            };
            let agreed = agreed.unwrap();
            assert_eq!(agreed.notification, a.notification && b.notification);
            assert_eq!(agreed.time, Duration::from_secs(120));
            assert_eq!(agreed.families, [Some(true), None]);
            assert!(agreed.restarting);
        }
    }
}

#[test]
fn the_other_capabilities_follow_who_must_have_them() {
    for bits in 0..16_u8 {
        let (mut ours, mut peer) = (config(), mirrored(&config()));
        let [a, b, c, d] = [1, 2, 4, 8].map(|bit| bits & bit != 0);
        ours.offer.extended_messages = a;
        peer.offer.extended_messages = b;
        ours.offer.enhanced_refresh = a;
        peer.offer.enhanced_refresh = b;
        ours.offer.extended_next_hop = c;
        peer.offer.extended_next_hop = d;
        ours.offer.route_refresh = c;
        peer.offer.route_refresh = d;
        let agreed = agree(&ours, &peer).unwrap();
        assert_eq!((agreed.accept_extended, agreed.extended_messages), (a, b));
        assert_eq!(agreed.enhanced_refresh, a && b);
        assert_eq!(agreed.extended_next_hop, c && d);
        assert_eq!(agreed.route_refresh, d);
    }
}
