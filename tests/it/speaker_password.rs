//! Passwords as the speaker sees them: what changes in place, what starts a session anew, and that there
//! is none without its secret.

use dunlin::net::{Asn, Secret};
use dunlin::session::ConnectionId;
use dunlin::speaker::{Output, PeerStatus, Speaker};
use dunlin::time::{Duration, Instant};
use dunlin::topology::{AoAlgorithm, AoKey, Authentication, Peer, Plan, TtlRule};

use crate::speaker_rig::{self as rig, LOCAL, REMOTE, message};

const THEIR_AS: u16 = 65_002;

fn md5(text: &str) -> Authentication {
    Authentication::Md5(Secret::new(text.as_bytes().to_vec()))
}

fn ao(id: u8) -> Authentication {
    Authentication::Ao(AoKey {
        id,
        algorithm: AoAlgorithm::default(),
        secret: Secret::new(b"key".to_vec()),
    })
}

fn missing() -> Authentication {
    Authentication::Missing("tor.key: no such file".to_owned())
}

fn plan_with(authentication: Authentication) -> Plan {
    plan_of(authentication, true, TtlRule::Any)
}

fn plan_of(authentication: Authentication, passive: bool, ttl: TtlRule) -> Plan {
    let mut peer = Peer::new("tor", REMOTE, Asn(u32::from(THEIR_AS)));
    peer.passive = passive;
    peer.authentication = authentication;
    peer.ttl = ttl;
    rig::planned(vec![peer])
}

fn speaker(plan: Plan) -> Speaker {
    rig::speaker(Instant::ZERO, plan)
}

/// A speaker with a session that is up.
fn up(authentication: Authentication) -> (Speaker, ConnectionId) {
    let mut speaker = speaker(plan_with(authentication));
    let (connection, _) = speaker.accepted(Instant::ZERO, REMOTE, LOCAL).unwrap();
    let [high, low] = THEIR_AS.to_be_bytes();
    let open = [
        4, high, low, 0, 90, 10, 0, 0, 2, 10, 2, 8, 1, 4, 0, 1, 0, 1, 2, 0,
    ];
    speaker.received(Instant::ZERO, connection, &message(1, &open));
    speaker.received(Instant::ZERO, connection, &message(4, &[]));
    assert!(status(&speaker).negotiated.is_some());
    outputs(&mut speaker);
    (speaker, connection)
}

fn status(speaker: &Speaker) -> PeerStatus {
    speaker.peer_named("tor").unwrap()
}

fn outputs(speaker: &mut Speaker) -> Vec<Output> {
    std::iter::from_fn(|| speaker.poll()).collect()
}

#[test]
fn a_changed_password_is_given_to_the_connection_and_the_session_stays() {
    let (mut speaker, connection) = up(md5("old"));
    let said = speaker.replan(Instant::ZERO, plan_with(md5("new")));
    assert_eq!(said, ["peer tor changed (password): session stays"]);
    let sign = Output::Sign {
        connection,
        authentication: md5("new"),
    };
    assert_eq!(outputs(&mut speaker), [sign]);
    assert!(status(&speaker).negotiated.is_some());
}

#[test]
fn what_protects_a_session_can_t_be_switched_in_place() {
    let switches = [
        (Authentication::None, md5("a")),
        (md5("a"), Authentication::None),
        (md5("a"), ao(1)),
        (ao(1), ao(2)),
        (Authentication::None, missing()),
    ];
    for (before, after) in switches {
        let (mut speaker, _) = up(before.clone());
        let said = speaker.replan(Instant::ZERO, plan_with(after.clone()));
        assert_eq!(
            said,
            ["peer tor changed (authentication): session starts anew"],
            "{before:?} to {after:?}"
        );
        assert!(status(&speaker).negotiated.is_none());
    }
}

#[test]
fn a_secret_that_can_t_be_read_any_more_takes_no_session_down_but_lets_none_in() {
    let (mut speaker, connection) = up(md5("old"));
    speaker.replan(Instant::ZERO, plan_with(missing()));
    assert_eq!(outputs(&mut speaker), []);
    assert!(status(&speaker).negotiated.is_some());
    speaker.closed(Instant::ZERO, connection, None);
    assert!(speaker.accepted(Instant::ZERO, REMOTE, LOCAL).is_none());
    let problem = status(&speaker).problem.unwrap();
    assert!(problem.contains("tor.key: no such file"), "{problem}");
    speaker.replan(Instant::ZERO, plan_with(md5("old")));
    assert!(speaker.accepted(Instant::ZERO, REMOTE, LOCAL).is_some());
}

#[test]
fn nobody_is_dialled_without_the_secret_and_soon_with_it() {
    let active = |authentication| plan_of(authentication, false, TtlRule::Any);
    let mut speaker = speaker(active(missing()));
    let mut now = Instant::ZERO;
    let mut run = |speaker: &mut Speaker, time: Duration| {
        let end = now + time;
        let mut seen = Vec::new();
        while let Some(at) = speaker.next_timeout().filter(|at| *at <= end) {
            now = at;
            speaker.handle_timeout(now);
            seen.extend(outputs(speaker));
        }
        now = end;
        seen
    };
    let seen = run(&mut speaker, Duration::from_secs(60));
    assert!(
        !seen
            .iter()
            .any(|output| matches!(output, Output::Dial { .. })),
        "{seen:?}"
    );
    speaker.replan(Instant::from_secs(60), active(md5("new")));
    let seen = run(&mut speaker, Duration::from_secs(10));
    let with_key = seen.iter().any(|output| match output {
        Output::Dial { socket, .. } => socket.authentication == md5("new"),
        _other => false,
    });
    assert!(with_key, "{seen:?}");
}

#[test]
fn a_session_lost_after_a_changed_password_says_so() {
    let (mut speaker, _) = up(md5("old"));
    let changed = Instant::from_secs(1);
    speaker.replan(changed, plan_with(md5("new")));
    let mut now = changed;
    while status(&speaker).negotiated.is_some() {
        now = speaker.next_timeout().unwrap();
        speaker.handle_timeout(now);
    }
    assert!(now.since(changed) <= Duration::from_secs(90), "{now:?}");
    let problem = status(&speaker).problem.unwrap();
    assert!(
        problem.contains("the password was changed here"),
        "{problem}"
    );
}

#[test]
fn ttl_security_wants_255_less_the_hops_between() {
    for (hops, least) in [(1, 255), (2, 254), (255, 1)] {
        let mut speaker = speaker(plan_of(Authentication::None, true, TtlRule::Security(hops)));
        let (_, terms) = speaker.accepted(Instant::ZERO, REMOTE, LOCAL).unwrap();
        assert_eq!((terms.ttl, terms.min_ttl), (Some(255), Some(least)));
    }
}
