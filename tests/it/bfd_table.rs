//! One BFD session: each state × each event (RFC 5880 §6.2, §6.8), and each rule that has a number there.
#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

use std::net::IpAddr;

use dunlin::bfd::{
    Arrival, Diagnostic, Discard, Hops, Machine, Packet, PacketError, Refusal, Report, State,
    Terms, Watch,
};
use dunlin::time::{Duration, Instant};

use crate::bfd_link::{LINK, OTHER_LINK, address, ms, terms, watch};

/// One machine with one session, and a far end that is played.
struct Session {
    now: Instant,
    machine: Machine,
    mine: u32,
    report: Report,
    sent: Vec<Packet>,
}

const THEIRS: u32 = 77;

fn said(state: State, yours: u32) -> Packet {
    Packet {
        diagnostic: Diagnostic::NONE,
        state,
        poll: false,
        last: false,
        independent: false,
        demand: false,
        multiplier: 3,
        mine: THEIRS,
        yours,
        min_transmit: ms(200),
        min_receive: ms(100),
    }
}

impl Session {
    fn new(hops: Hops, terms: Terms) -> Self {
        let now = Instant::from_secs(10);
        let mut machine = Machine::new(5);
        let watch = watch(0, hops, terms);
        machine.watch(now, core::slice::from_ref(&watch));
        machine.reached_by(&watch.far_end, vec![LINK]);
        let report = machine.poll_report().unwrap();
        let mut session = Self {
            now,
            machine,
            mine: report.session,
            report,
            sent: Vec::new(),
        };
        session.collect();
        session
    }

    fn collect(&mut self) {
        while let Some(transmit) = self.machine.poll() {
            self.sent.push(Packet::decode(&transmit.octets).unwrap());
        }
        while let Some(report) = self.machine.poll_report() {
            self.report = report;
        }
    }

    fn hear(&mut self, packet: &Packet) -> Result<(), Discard> {
        self.arrive(packet, Hops::Single, Some(255), address(1))
    }

    fn arrive(
        &mut self,
        packet: &Packet,
        hops: Hops,
        ttl: Option<u8>,
        remote: IpAddr,
    ) -> Result<(), Discard> {
        let octets = packet.encode();
        let arrival = Arrival {
            remote,
            local: address(0),
            link: LINK,
            hops,
            ttl,
            octets: &octets,
        };
        self.sent.clear();
        let taken = self.machine.handle(self.now, &arrival);
        self.collect();
        taken
    }

    fn pass(&mut self, span: Duration) {
        let until = self.now + span;
        while let Some(at) = self.machine.next_timeout().filter(|at| *at <= until) {
            self.now = at;
            self.machine.handle_timeout(at);
            self.collect();
        }
        self.now = until;
    }

    /// In `state`, by what the far end says.
    fn in_state(state: State) -> Self {
        let mut session = Self::new(Hops::Single, terms(250, 250, 3));
        if matches!(state, State::Init | State::Up) {
            session.hear(&said(State::Down, 0)).unwrap();
        }
        if state == State::Up {
            let up = said(State::Up, session.mine);
            session.hear(&up).unwrap();
        }
        assert_eq!(session.report.state, state);
        session
    }
}

#[test]
fn every_state_and_every_event() {
    use State::{AdminDown, Down, Init, Up};
    // What is heard in each state: the state afterwards, and whether it is a failure of the path.
    let table = [
        (Down, AdminDown, Down, false),
        (Down, Down, Init, false),
        (Down, Init, Up, false),
        (Down, Up, Down, false),
        (Init, AdminDown, Down, false),
        (Init, Down, Init, false),
        (Init, Init, Up, false),
        (Init, Up, Up, false),
        (Up, AdminDown, Down, false),
        (Up, Down, Down, true),
        (Up, Init, Up, false),
        (Up, Up, Up, false),
    ];
    for (before, heard, after, failure) in table {
        let mut session = Session::in_state(before);
        let packet = said(heard, session.mine);
        session.hear(&packet).unwrap();
        let got = (session.report.state, session.report.failures);
        assert_eq!(got, (after, u64::from(failure)), "{heard} in {before}");
    }
}

#[test]
fn silence_in_every_state() {
    // Their multiplier, times the slower of our receiving and their sending: 3 × 250 ms.
    for (before, failures) in [(State::Down, 0), (State::Init, 0), (State::Up, 1)] {
        let mut session = Session::in_state(before);
        session.pass(ms(749));
        assert_eq!(session.report.state, before);
        session.pass(ms(1));
        assert_eq!(session.report.state, State::Down);
        assert_eq!(session.report.failures, failures, "silence in {before}");
        if before != State::Down {
            assert_eq!(
                session.report.diagnostic,
                Diagnostic::DETECTION_TIME_EXPIRED
            );
        }
        assert_eq!(session.report.detection, None, "nothing is heard");
    }
}

#[test]
fn a_change_is_told_at_once_and_names_the_far_end() {
    let mut session = Session::in_state(State::Down);
    session.hear(&said(State::Down, 0)).unwrap();
    let told = session.sent.last().unwrap();
    assert_eq!((told.state, told.yours), (State::Init, THEIRS));
}

#[test]
fn a_poll_is_answered_at_once_and_never_with_a_poll() {
    let mut session = Session::in_state(State::Up);
    let poll = Packet {
        poll: true,
        ..said(State::Up, session.mine)
    };
    session.hear(&poll).unwrap();
    let answer = session.sent.first().unwrap();
    assert!(answer.last && !answer.poll);
}

#[test]
fn a_flood_of_polls_gets_few_answers() {
    let mut session = Session::in_state(State::Up);
    let poll = Packet {
        poll: true,
        ..said(State::Up, session.mine)
    };
    let mut answers = 0;
    for _ in 0..1000 {
        session.hear(&poll).unwrap();
        answers += session.sent.len();
    }
    assert!(answers <= 8, "{answers} answers in one moment");
}

#[test]
fn while_nothing_is_up_packets_are_a_second_apart() {
    let mut session = Session::new(Hops::Single, terms(50, 50, 3));
    assert_eq!(session.sent.len(), 1, "the first at once");
    assert_eq!(session.sent[0].min_transmit, Duration::from_secs(1));
    session.sent.clear();
    session.pass(Duration::from_secs(30));
    let packets = session.sent.len();
    assert!((30..=40).contains(&packets), "{packets} in 30 s");
}

#[test]
fn up_brings_our_pace_and_a_poll_until_it_is_confirmed() {
    let mut session = Session::in_state(State::Up);
    let told = session.sent.last().unwrap();
    assert!(told.poll, "1 s became 250 ms (RFC 5880 §6.8.3)");
    assert_eq!(told.min_transmit, ms(250));
    let confirmed = Packet {
        last: true,
        ..said(State::Up, session.mine)
    };
    session.hear(&confirmed).unwrap();
    session.pass(ms(250));
    assert!(!session.sent.last().unwrap().poll);
}

#[test]
fn a_slower_pace_waits_for_the_far_end_and_a_faster_one_does_not() {
    let mut session = Session::in_state(State::Up);
    let up = said(State::Up, session.mine);
    let confirmed = Packet { last: true, ..up };
    session.hear(&confirmed).unwrap();
    let change = |session: &mut Session, to: Terms| {
        let watches: [Watch; 1] = [watch(0, Hops::Single, to)];
        session.machine.watch(session.now, &watches);
        session.collect();
    };
    change(&mut session, terms(500, 100, 3));
    assert_eq!(
        session.report.transmit,
        ms(250),
        "not before it is confirmed"
    );
    assert_eq!(session.report.detection, Some(ms(750)));
    session.hear(&confirmed).unwrap();
    assert_eq!(session.report.transmit, ms(500));
    assert_eq!(session.report.detection, Some(ms(600)), "3 × their 200 ms");
    change(&mut session, terms(150, 400, 3));
    assert_eq!(session.report.transmit, ms(150), "at once");
    assert_eq!(session.report.detection, Some(ms(1200)), "at once");
    session.sent.clear();
    session.pass(ms(200));
    assert!(session.sent.last().unwrap().poll, "and it is told");
}

#[test]
fn the_pace_is_what_the_slower_end_can_take() {
    let mut session = Session::in_state(State::Up);
    let slow = Packet {
        min_receive: ms(1000),
        last: true,
        ..said(State::Up, session.mine)
    };
    session.hear(&slow).unwrap();
    assert_eq!(session.report.transmit, ms(1000));
}

#[test]
fn who_takes_no_packets_gets_none_and_neither_does_demand_mode() {
    let quiet = [
        Packet {
            min_receive: Duration::ZERO,
            ..said(State::Up, 0)
        },
        Packet {
            demand: true,
            last: true,
            ..said(State::Up, 0)
        },
    ];
    for packet in quiet {
        let mut session = Session::in_state(State::Up);
        let packet = Packet {
            yours: session.mine,
            ..packet
        };
        session.hear(&packet).unwrap();
        session.sent.clear();
        session.pass(ms(700));
        assert_eq!(session.sent, [], "{packet:?}");
    }
}

#[test]
fn another_process_at_the_far_end_is_no_failure() {
    let mut session = Session::in_state(State::Up);
    let anew = Packet {
        mine: THEIRS + 1,
        ..said(State::Down, 0)
    };
    let refused = Err(Discard::Refused(Refusal::Discriminator));
    assert_eq!(session.hear(&anew), refused);
    assert_eq!(
        session.report.state,
        State::Up,
        "the old one may be there yet"
    );
    session.pass(ms(750));
    assert_eq!(
        session.report.state,
        State::Init,
        "it is not, and the new one is taken up"
    );
    assert_eq!(session.report.failures, 0);
    // Somebody who began long before the silence is no reason for it.
    let mut session = Session::in_state(State::Up);
    assert_eq!(session.hear(&anew), refused);
    session.pass(ms(100));
    session.hear(&said(State::Up, session.mine)).unwrap();
    session.pass(ms(750));
    assert_eq!(session.report.state, State::Down);
    assert_eq!(session.report.failures, 1);
    // The same process that has lost us is one.
    let mut session = Session::in_state(State::Up);
    session.hear(&said(State::Down, 0)).unwrap();
    assert_eq!(session.report.failures, 1);
}

#[test]
fn only_packets_that_nobody_forwarded_count_on_a_link() {
    let mut session = Session::in_state(State::Down);
    let down = said(State::Down, 0);
    for ttl in [Some(254), Some(0), None] {
        let taken = session.arrive(&down, Hops::Single, ttl, address(1));
        assert_eq!(taken, Err(Discard::Refused(Refusal::Ttl)));
    }
    assert_eq!(session.report.state, State::Down);
    let mut far = Session::new(Hops::Multi, terms(250, 250, 3));
    for ttl in [Some(47), Some(0), None] {
        let taken = far.arrive(&down, Hops::Multi, ttl, address(1));
        assert_eq!(taken, Err(Discard::Refused(Refusal::Ttl)));
    }
    assert_eq!(far.report.state, State::Down);
    let taken = far.arrive(&down, Hops::Multi, Some(48), address(1));
    assert_eq!(taken, Ok(()));
    assert_eq!(far.report.state, State::Init);
}

#[test]
fn strangers_and_guesses_change_nothing() {
    let mut session = Session::in_state(State::Up);
    let mine = session.mine;
    let elsewhere: IpAddr = "10.0.0.9".parse().unwrap();
    for (packet, remote, hops) in [
        (said(State::Down, 0), elsewhere, Hops::Single),
        (said(State::Down, mine), elsewhere, Hops::Single),
        (said(State::Down, mine ^ 1), address(1), Hops::Single),
    ] {
        let taken = session.arrive(&packet, hops, Some(255), remote);
        assert_eq!(taken, Err(Discard::Stranger));
    }
    // What is up is not led elsewhere.
    let taken = session.arrive(&said(State::Down, 0), Hops::Multi, Some(255), address(1));
    assert_eq!(taken, Err(Discard::Refused(Refusal::Port)));
    let mut octets = said(State::Down, mine).encode();
    octets[2] = 0;
    let arrival = Arrival {
        remote: address(1),
        local: address(0),
        link: LINK,
        hops: Hops::Single,
        ttl: Some(255),
        octets: &octets,
    };
    let taken = session.machine.handle(session.now, &arrival);
    assert_eq!(taken, Err(Discard::Packet(PacketError::Multiplier)));
    assert_eq!(session.report.state, State::Up);
}

#[test]
fn a_link_local_far_end_is_known_by_its_link() {
    let mut wanted = watch(0, Hops::Single, terms(250, 250, 3));
    let there: IpAddr = "fe80::2".parse().unwrap();
    wanted.far_end.remote = there;
    wanted.far_end.local = None;
    let on = |link: &str| Watch {
        far_end: dunlin::bfd::FarEnd {
            interface: Some(link.to_owned()),
            ..wanted.far_end.clone()
        },
        ..wanted.clone()
    };
    let mut machine = Machine::new(1);
    let now = Instant::from_secs(1);
    machine.watch(now, &[on("eth0"), on("eth1")]);
    machine.reached_by(&on("eth0").far_end, vec![LINK]);
    machine.reached_by(&on("eth1").far_end, vec![OTHER_LINK]);
    while machine.poll_report().is_some() {}
    let octets = said(State::Down, 0).encode();
    let mut from = |link: u32| {
        let arrival = Arrival {
            remote: there,
            local: "fe80::1".parse().unwrap(),
            link,
            hops: Hops::Single,
            ttl: Some(255),
            octets: &octets,
        };
        machine.handle(now, &arrival)?;
        Ok::<_, Discard>(machine.poll_report().unwrap().far_end.interface)
    };
    assert_eq!(from(OTHER_LINK), Ok(Some("eth1".to_owned())));
    assert_eq!(from(LINK), Ok(Some("eth0".to_owned())));
    assert_eq!(from(4), Err(Discard::Stranger));
}

#[test]
fn a_session_that_nobody_wants_says_goodbye_and_is_gone() {
    let mut session = Session::in_state(State::Up);
    session.sent.clear();
    session.machine.stop(session.now);
    session.collect();
    let goodbye = session.sent.last().unwrap();
    assert_eq!(goodbye.state, State::AdminDown);
    assert_eq!(goodbye.diagnostic, Diagnostic::ADMINISTRATIVELY_DOWN);
    session.pass(ms(700));
    assert!(session.sent.len() >= 3, "one lost packet is not enough");
    session.pass(ms(100));
    assert!(session.machine.is_idle());
    assert_eq!(session.machine.next_timeout(), None);
    // Who was never heard is not told.
    let mut session = Session::in_state(State::Down);
    session.sent.clear();
    session.machine.stop(session.now);
    session.collect();
    assert_eq!(session.sent, []);
    assert!(session.machine.is_idle());
}
