//! Packets that somebody else sends in the far end's name: none of them takes down what is up, keeps what is
//! signed from coming up, or leads a far end on a link to the port of those behind routers.

use std::collections::BTreeMap;

use proptest::prelude::*;

use dunlin::bfd::{
    Algorithm, Authentication, CHANGEOVER, Hops, Key, Packet, Refusal, SIGNED_LENGTH, State, Watch,
};
use dunlin::net::Secret;
use dunlin::time::Duration;

use crate::bfd_link::{LINK, Link, OTHER_LINK, ms, terms, watch};

fn key(algorithm: Algorithm, secret: &str) -> Authentication {
    Authentication::Key(Key {
        id: 1,
        algorithm,
        secret: Secret::new(secret.as_bytes().to_vec()),
    })
}

fn signed(end: usize, hops: Hops, authentication: &Authentication) -> Watch {
    Watch {
        authentication: authentication.clone(),
        ..watch(end, hops, terms(100, 100, 3))
    }
}

fn link_with(seed: u64, hops: Hops, authentication: &Authentication) -> Link {
    let mut link = Link::new(seed);
    for end in 0..2 {
        link.watch(end, &[signed(end, hops, authentication)]);
    }
    link
}

fn up(seed: u64, hops: Hops, authentication: &Authentication) -> Link {
    let mut link = link_with(seed, hops, authentication);
    let found = link.run_until(Duration::from_secs(5), Link::both_up);
    assert!(found.is_some(), "{hops:?} {authentication:?}");
    link.run(Duration::from_secs(1));
    link
}

fn dropped(link: &Link, end: usize, reason: Refusal) -> u64 {
    link.reports[end].as_ref().unwrap().dropped.of(reason)
}

const METICULOUS: Algorithm = Algorithm::MeticulousKeyedSha1;

fn with_all_authentications() -> [Authentication; 3] {
    [
        Authentication::None,
        key(Algorithm::KeyedSha1, "secret"),
        key(METICULOUS, "secret"),
    ]
}

/// What an attacker does, and what it has to know for that.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// All of it right, but from another link.
    OtherLink,
    /// All of it right, but with a lower TTL.
    Forwarded,
    /// All of it right, to the other port.
    OtherPort,
    /// It knows who talks to whom, and no name.
    Blind,
    /// It knows our name, and not the far end's.
    OtherDiscriminator,
    /// It has guessed the far end's name, and does not know ours.
    Guessed,
    /// It knows all but the key.
    WrongDigest,
    /// What the far end itself has sent before.
    Replayed,
}

fn kinds(hops: Hops, authentication: &Authentication) -> Vec<Kind> {
    let mut kinds = vec![Kind::Forwarded, Kind::OtherPort, Kind::Blind];
    kinds.push(Kind::OtherDiscriminator);
    match hops {
        Hops::Single => kinds.push(Kind::OtherLink),
        Hops::Multi => kinds.push(Kind::Guessed),
    }
    if let Authentication::Key(key) = authentication {
        kinds.push(Kind::WrongDigest);
        if key.algorithm == METICULOUS {
            kinds.push(Kind::Replayed);
        }
    }
    kinds
}

/// One packet of an attacker.
#[derive(Debug, Clone, Copy)]
struct Attack {
    kind: usize,
    to: usize,
    state: State,
    name: u32,
    naming: bool,
    pick: usize,
    pause: u64,
}

fn attack() -> impl Strategy<Value = Attack> {
    let state = prop::sample::select(State::ALL.to_vec());
    (
        0_usize..7,
        0_usize..2,
        state,
        1_u32..,
        any::<bool>(),
        any::<usize>(),
        0_u64..120,
    )
        .prop_map(|(kind, to, state, name, naming, pick, pause)| Attack {
            kind,
            to,
            state,
            name,
            naming,
            pick,
            pause,
        })
}

/// A packet in octets, with the signature of another one and a later number, if that has one.
fn dressed(packet: &Packet, last: &[u8], name: u32) -> Vec<u8> {
    let mut octets = packet.encode().to_vec();
    if last.len() == SIGNED_LENGTH {
        octets[1] |= 4;
        octets[3] = SIGNED_LENGTH as u8;
        octets.extend_from_slice(&last[24..]);
        let number = octets[28..32].try_into().unwrap();
        let number = u32::from_be_bytes(number).wrapping_add(1 + name % 9);
        octets[28..32].copy_from_slice(&number.to_be_bytes());
    }
    octets
}

fn launch(link: &mut Link, hops: Hops, kind: Kind, attack: Attack) {
    let Attack { to, state, .. } = attack;
    let session = |end: usize| link.reports[end].as_ref().unwrap().session;
    let names = (session(1 - to), session(to));
    let of_far_end = link.octets.iter().filter(|(from, _)| *from == 1 - to);
    let heard: Vec<Vec<u8>> = of_far_end.map(|(_, octets)| octets.clone()).collect();
    let last = Packet::decode(heard.last().unwrap()).unwrap();
    let naming = attack.naming || matches!(state, State::Init | State::Up);
    let right = Packet {
        state,
        mine: names.0,
        yours: if naming { names.1 } else { 0 },
        ..last
    };
    // What says that its sender is down, with no name of ours in it.
    let down = if attack.naming {
        State::Down
    } else {
        State::AdminDown
    };
    let in_full = |packet: &Packet| dressed(packet, heard.last().unwrap(), attack.name);
    let way = (hops, 255);
    let other = Packet {
        mine: if attack.name == names.0 {
            1
        } else {
            attack.name
        },
        ..right
    };
    match kind {
        Kind::OtherLink => link.forge(to, OTHER_LINK, way, &in_full(&right)),
        Kind::Forwarded => {
            let ttl = if hops == Hops::Single { 254 } else { 47 };
            link.forge(to, LINK, (hops, ttl), &in_full(&right));
        }
        Kind::OtherPort => {
            let port = [Hops::Single, Hops::Multi][usize::from(hops == Hops::Single)];
            link.forge(to, LINK, (port, 255), &in_full(&right));
        }
        Kind::Blind => {
            let blind = Packet {
                state: down,
                yours: 0,
                ..other
            };
            link.forge(to, OTHER_LINK, way, &blind.encode());
            link.forge(to, LINK, way, &blind.encode());
        }
        Kind::Guessed => {
            let guessed = Packet {
                state: down,
                yours: 0,
                ..right
            };
            link.forge(to, LINK, way, &in_full(&guessed));
        }
        Kind::OtherDiscriminator => link.forge(to, LINK, way, &in_full(&other)),
        Kind::WrongDigest => link.forge(to, LINK, way, &in_full(&right)),
        Kind::Replayed => {
            let pick = attack.pick % heard.len();
            link.forge(to, LINK, way, &heard[pick]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Any sequence of such packets, at any time, to either end: what is up stays up.
    #[test]
    fn nothing_forged_takes_down_what_is_up(
        seed: u64,
        single: bool,
        protection in 0_usize..3,
        script in prop::collection::vec(attack(), 1..150),
    ) {
        let hops = if single { Hops::Single } else { Hops::Multi };
        let authentication = &with_all_authentications()[protection];
        let kinds = kinds(hops, authentication);
        let mut link = up(seed, hops, authentication);
        for attack in script {
            let kind = kinds[attack.kind % kinds.len()];
            // What was sent a moment ago is still under way: it is no replay yet.
            link.run(ms(attack.pause + 1));
            launch(&mut link, hops, kind, attack);
            prop_assert!(link.both_up(), "{kind:?} {attack:?}");
        }
        link.run(Duration::from_secs(2));
        prop_assert!(link.both_up());
        prop_assert_eq!([link.failures(0), link.failures(1)], [0, 0]);
        prop_assert_eq!(link.sent.last().unwrap().hops, hops);
    }

    /// And to two ends that look for each other with a key, or on a link from elsewhere: they meet.
    #[test]
    fn nothing_forged_keeps_what_is_signed_or_on_a_link_from_coming_up(
        seed: u64,
        protected: bool,
        script in prop::collection::vec(attack(), 1..60),
    ) {
        let authentication = match protected {
            true => key(METICULOUS, "secret"),
            false => Authentication::None,
        };
        let kinds = match protected {
            true => vec![Kind::WrongDigest, Kind::Blind, Kind::OtherPort, Kind::OtherDiscriminator],
            false => vec![Kind::OtherLink, Kind::OtherPort, Kind::Forwarded],
        };
        let mut link = link_with(seed, Hops::Single, &authentication);
        for attack in script {
            launch(&mut link, Hops::Single, kinds[attack.kind % kinds.len()], attack);
            link.run(ms(attack.pause));
        }
        prop_assert!(link.run_until(Duration::from_secs(3), Link::both_up).is_some());
        prop_assert!(link.sent.iter().all(|sent| sent.hops == Hops::Single));
    }
}

#[test]
fn each_way_to_be_refused_is_counted_under_its_name() {
    let mut link = up(1, Hops::Single, &key(METICULOUS, "secret"));
    let last = link.octets.iter().rfind(|(from, _)| *from == 1);
    let last = last.unwrap().1.clone();
    let packet = Packet::decode(&last).unwrap();
    let way = (Hops::Single, 255);
    link.forge(0, OTHER_LINK, way, &last);
    link.forge(0, LINK, (Hops::Single, 254), &last);
    link.forge(0, LINK, (Hops::Multi, 255), &last);
    link.forge(0, LINK, way, &last[..20]);
    link.forge(0, LINK, way, &packet.encode());
    let mut wrong = last.clone();
    wrong[51] ^= 1;
    link.forge(0, LINK, way, &wrong);
    link.forge(0, LINK, way, &last);
    link.run(Duration::from_secs(2));
    let counts: BTreeMap<&str, u64> = Refusal::ALL
        .into_iter()
        .map(|reason| (reason.as_str(), dropped(&link, 0, reason)))
        .filter(|(_, count)| *count > 0)
        .collect();
    let expected = [
        "wrong_link",
        "wrong_ttl",
        "wrong_port",
        "malformed",
        "unsigned",
        "wrong_key",
        "replayed",
    ];
    assert_eq!(counts, expected.into_iter().map(|name| (name, 1)).collect());
    assert!(link.both_up());
}

#[test]
fn ends_that_do_not_agree_on_the_key_stay_down_and_say_why() {
    let keys = with_all_authentications();
    let other = key(METICULOUS, "other");
    let missing = Authentication::Missing;
    for (first, second, reasons) in [
        (&keys[2], &other, [Refusal::Key, Refusal::Key]),
        (&keys[2], &keys[1], [Refusal::Key, Refusal::Key]),
        (&keys[2], &keys[0], [Refusal::Unsigned, Refusal::Signed]),
        (
            &missing,
            &keys[2],
            [Refusal::KeyMissing, Refusal::KeyMissing],
        ),
    ] {
        let mut link = Link::new(9);
        link.watch(0, &[signed(0, Hops::Single, first)]);
        link.watch(1, &[signed(1, Hops::Single, second)]);
        link.run(Duration::from_secs(10));
        for (end, reason) in reasons.into_iter().enumerate() {
            let report = link.reports[end].as_ref().unwrap();
            assert_eq!(report.state, State::Down);
            // An end without its key is silent: the other one hears nothing.
            let heard = !(end == 1 && *first == missing);
            assert_eq!(
                report.refused,
                heard.then_some(reason),
                "{first:?} {second:?}"
            );
        }
        if *first == missing {
            assert!(link.sent.iter().all(|sent| sent.from == 1));
        }
    }
}

#[test]
fn a_far_end_that_restarts_comes_back_quickly_and_is_no_failure_whatever_signs_it() {
    for authentication in with_all_authentications() {
        for hops in [Hops::Single, Hops::Multi] {
            let mut link = up(4, hops, &authentication);
            link.restart(0, 99, &[signed(0, hops, &authentication)]);
            let down = |link: &Link| link.state(1) != State::Up;
            assert!(
                link.run_until(ms(400), down).is_some(),
                "the old one is silent"
            );
            let back = link.run_until(Duration::from_secs(3), Link::both_up);
            assert!(back.is_some(), "{hops:?} {authentication:?}");
            assert_eq!(link.failures(1), 0, "{hops:?} {authentication:?}");
        }
    }
}

#[test]
fn another_key_costs_no_session_whichever_end_has_it_first() {
    let (old, new) = (key(METICULOUS, "old"), key(METICULOUS, "new"));
    for late in [ms(0), ms(1500), Duration::from_secs(50)] {
        let mut link = up(6, Hops::Single, &old);
        link.watch(0, &[signed(0, Hops::Single, &new)]);
        link.run(late);
        link.watch(1, &[signed(1, Hops::Single, &new)]);
        link.run(CHANGEOVER * 3);
        assert!(link.both_up());
        assert_eq!([link.failures(0), link.failures(1)], [0, 0], "{late:?}");
        // The former key is nobody's any more.
        link.restart(1, 7, &[signed(1, Hops::Single, &old)]);
        link.run(Duration::from_secs(5));
        assert_ne!(link.state(0), State::Up);
        assert!(dropped(&link, 0, Refusal::Key) > 0);
    }
}

#[test]
fn a_key_that_is_lost_keeps_what_is_up_and_one_that_comes_starts_anew() {
    let with = key(METICULOUS, "secret");
    let mut link = up(8, Hops::Single, &with);
    link.watch(0, &[signed(0, Hops::Single, &Authentication::Missing)]);
    link.run(Duration::from_secs(5));
    assert!(link.both_up(), "the key that it has goes on");
    // From nothing to a key: two sessions, and no failure at the end that is told goodbye.
    let mut link = up(8, Hops::Single, &Authentication::None);
    link.watch(0, &[signed(0, Hops::Single, &with)]);
    link.run(Duration::from_secs(2));
    assert_ne!(link.state(1), State::Up);
    assert_eq!(link.failures(1), 0);
    link.watch(1, &[signed(1, Hops::Single, &with)]);
    assert!(
        link.run_until(Duration::from_secs(3), Link::both_up)
            .is_some()
    );
}

#[test]
fn a_flood_of_refused_packets_makes_a_report_a_second() {
    let mut link = up(3, Hops::Single, &Authentication::None);
    let last = link.octets.last().unwrap().1.clone();
    let mut reports = 0;
    for _ in 0..3000 {
        let arrival = dunlin::bfd::Arrival {
            remote: crate::bfd_link::address(1),
            local: crate::bfd_link::address(0),
            link: OTHER_LINK,
            hops: Hops::Single,
            ttl: Some(255),
            octets: &last,
        };
        let _refused = link.ends[0].handle(link.now, &arrival);
        reports += std::iter::from_fn(|| link.ends[0].poll_report()).count();
        link.run(ms(1));
    }
    assert!(reports <= 4, "{reports} reports in 3 s");
}
