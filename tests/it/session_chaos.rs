//! Random inputs in random order, from drivers and peers of any quality: nothing panics, nothing
//! wedges, nothing is said on a closed connection, and sessions come up one at a time.
#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

use std::collections::BTreeMap;

use dunlin::session::{
    AdminState, ConnectionId, Dial, DialError, GracefulRestart, HoldTime, Input, Output, Peer,
    PeerConfig, State, StopReason,
};
use dunlin::time::Duration;
use dunlin::wire::error::HeaderError;
use dunlin::wire::frame::MessageKind;
use dunlin::wire::notification::Notification;
use proptest::prelude::*;

use crate::session_harness::{Driver, EXCEEDED, body, config, mirrored, notifications};

const KINDS: [MessageKind; 5] = [
    MessageKind::Open,
    MessageKind::Update,
    MessageKind::Notification,
    MessageKind::Keepalive,
    MessageKind::RouteRefresh,
];

/// One step; numbers pick among what exists at that time.
#[derive(Debug, Clone)]
enum Step {
    Start,
    Stop(u8),
    Admin(u8),
    Wait(u32),
    Deadline,
    Accept,
    Connected(u8),
    DialFailed(u8),
    Closed(u8),
    Acknowledged(u8),
    GoodOpen(u8),
    Keepalive(u8),
    Bytes(u8, u8, Vec<u8>),
    BadHeader(u8),
    UpdateFailed(u8),
    Blocked(u8, bool),
    Reconfigure(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::Start),
        1 => any::<u8>().prop_map(Step::Stop),
        1 => any::<u8>().prop_map(Step::Admin),
        3 => (0..400_000_000_u32).prop_map(Step::Wait),
        9 => Just(Step::Deadline),
        6 => Just(Step::Accept),
        9 => any::<u8>().prop_map(Step::Connected),
        2 => any::<u8>().prop_map(Step::DialFailed),
        2 => any::<u8>().prop_map(Step::Closed),
        2 => any::<u8>().prop_map(Step::Acknowledged),
        12 => any::<u8>().prop_map(Step::GoodOpen),
        12 => any::<u8>().prop_map(Step::Keepalive),
        4 => (any::<u8>(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..64))
            .prop_map(|(a, b, c)| Step::Bytes(a, b, c)),
        1 => any::<u8>().prop_map(Step::BadHeader),
        1 => any::<u8>().prop_map(Step::UpdateFailed),
        2 => any::<(u8, bool)>().prop_map(|(a, b)| Step::Blocked(a, b)),
        1 => any::<u8>().prop_map(Step::Reconfigure),
    ]
}

fn some_config(pick: u8) -> PeerConfig {
    let mut config = config();
    let bit = |n: u8| pick >> n & 1 == 1;
    if bit(0) {
        config.timers.hold_time = HoldTime::from_secs(if bit(1) { 0 } else { 3 }).unwrap();
    }
    config.dial = match pick >> 2 & 3 {
        0 | 1 => Dial::Active,
        2 => Dial::Passive,
        _ => Dial::After(Duration::from_secs(30)),
    };
    if bit(4) {
        config.timers.delay_open = Some(Duration::from_secs(5));
    }
    if bit(5) {
        config.offer.graceful_restart = Some(GracefulRestart {
            time: 120,
            families: [Some(true), None],
            restarting: false,
            notification: bit(6),
            long_lived: 0,
        });
    }
    config.accept = !bit(7);
    config
}

/// The driver's view: which connections are open, and which session is up.
#[derive(Default)]
struct World {
    alive: BTreeMap<ConnectionId, bool>,
    up: Option<ConnectionId>,
    known: Vec<ConnectionId>,
}

impl World {
    fn pick(&self, pick: u8) -> ConnectionId {
        // Sometimes one that is gone, sometimes one that never was.
        let recent = self.known.iter().rev().take(4).copied().collect::<Vec<_>>();
        recent
            .get(usize::from(pick) % 5)
            .copied()
            .unwrap_or(ConnectionId(u64::MAX))
    }

    fn dial_failed(&mut self, driver: &mut Driver, pick: u8) -> Vec<Output> {
        let connection = self.pick(pick);
        if self.alive.get(&connection) == Some(&true) {
            return Vec::new();
        }
        self.alive.remove(&connection);
        driver.give(Input::DialFailed {
            connection,
            error: DialError::Refused,
        })
    }

    fn carry_out(&mut self, out: &[Output]) -> Result<(), TestCaseError> {
        for output in out {
            match output {
                Output::Dial { connection } => {
                    prop_assert!(!self.known.contains(connection), "an id twice");
                    self.known.push(*connection);
                    self.alive.insert(*connection, false);
                }
                Output::Send { connection, .. } => {
                    prop_assert_eq!(
                        self.alive.get(connection),
                        Some(&true),
                        "sent on no connection"
                    );
                }
                Output::Close { connection } | Output::Abort { connection } => {
                    self.alive.remove(connection);
                }
                Output::Up { connection, .. } => {
                    prop_assert_eq!(self.up, None);
                    prop_assert!(self.alive.contains_key(connection));
                    self.up = Some(*connection);
                }
                Output::Down { connection, .. } => {
                    prop_assert_eq!(self.up, Some(*connection));
                    self.up = None;
                }
                Output::Update { connection }
                | Output::RouteRefresh { connection, .. }
                | Output::Probe { connection } => {
                    prop_assert_eq!(self.up, Some(*connection));
                }
            }
        }
        Ok(())
    }
}

fn perform(driver: &mut Driver, world: &mut World, step: &Step) -> Vec<Output> {
    match step {
        Step::Start => driver.give(Input::Start),
        Step::Stop(pick) => driver.give(Input::Stop(stop_reason(*pick))),
        Step::Admin(pick) => driver.give(order(*pick)),
        Step::Wait(micros) => {
            driver.now = driver.now + Duration::from_micros(u64::from(*micros));
            driver.run(Duration::ZERO)
        }
        Step::Deadline => driver.next_timer().unwrap_or_default(),
        Step::Accept => {
            let connection = driver.ids.issue();
            world.known.push(connection);
            world.alive.insert(connection, true);
            driver.give(Input::Accepted { connection })
        }
        Step::Connected(pick) => {
            let connection = world.pick(*pick);
            if let Some(connected) = world.alive.get_mut(&connection) {
                *connected = true;
            }
            driver.give(Input::Connected { connection })
        }
        Step::DialFailed(pick) => world.dial_failed(driver, *pick),
        Step::Closed(pick) => {
            let connection = world.pick(*pick);
            world.alive.remove(&connection);
            driver.give(Input::Closed {
                connection,
                error: None,
            })
        }
        Step::Acknowledged(pick) => driver.give(Input::Acknowledged {
            connection: world.pick(*pick),
        }),
        Step::GoodOpen(pick) => driver.open(world.pick(*pick)),
        Step::Keepalive(pick) => driver.keepalive(world.pick(*pick)),
        Step::Bytes(pick, kind, body) => {
            let kind = KINDS[usize::from(*kind) % KINDS.len()];
            driver.message(world.pick(*pick), kind, body)
        }
        Step::BadHeader(pick) => driver.give(Input::BadHeader {
            connection: world.pick(*pick),
            error: HeaderError::Length(5),
        }),
        Step::UpdateFailed(pick) => {
            let connection = world.pick(*pick);
            driver.give(Input::UpdateFailed {
                connection,
                notification: Notification::new(3, 1, Vec::new()),
            })
        }
        Step::Blocked(pick, blocked) => {
            let connection = world.pick(*pick);
            driver.give(if *blocked {
                Input::SendBlocked { connection }
            } else {
                Input::Sent { connection }
            })
        }
        Step::Reconfigure(pick) => {
            driver
                .peer
                .reconfigure(driver.now, some_config(*pick), &mut driver.out);
            std::mem::take(&mut driver.out)
        }
    }
}

fn stop_reason(pick: u8) -> StopReason {
    match pick % 3 {
        0 => StopReason::AdminShutdown("x".repeat(usize::from(pick) * 2)),
        1 => StopReason::Deconfigured,
        _ => StopReason::Quiet,
    }
}

fn order(pick: u8) -> Input<'static> {
    match pick % 3 {
        0 => Input::Reset,
        1 => Input::ConfigurationChange,
        _ => Input::PrefixLimit(EXCEEDED),
    }
}

fn check(driver: &Driver, world: &World) -> Result<(), TestCaseError> {
    let peer = &driver.peer;
    let (state, enabled) = (peer.state(), *peer.admin_state() == AdminState::Enabled);
    prop_assert_eq!(state == State::Established, world.up.is_some());
    prop_assert_eq!(peer.established().map(|(id, _)| id), world.up);
    let passive = peer.config().dial == Dial::Passive && state == State::Active;
    if enabled && state != State::Established && !passive {
        prop_assert!(
            peer.next_timeout().is_some(),
            "wedged in {state:?}: {peer:?}"
        );
    }
    if !enabled {
        prop_assert_eq!((state, peer.next_timeout()), (State::Idle, None));
    }
    prop_assert!(world.alive.len() <= 2, "{:?}", world.alive);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_any_inputs_keeps_every_promise(
        pick in any::<u8>(),
        steps in prop::collection::vec(step(), 1..100),
    ) {
        let mut driver = Driver::new(some_config(pick));
        let mut world = World::default();
        driver.give(Input::Start);
        for step in &steps {
            let out = perform(&mut driver, &mut world, step);
            world.carry_out(&out)?;
            check(&driver, &world)?;
            if let Step::Bytes(_, 2, body) = step && body.len() >= 2 {
                prop_assert!(notifications(&out).is_empty(), "a NOTIFICATION was answered");
            }
        }
        // However it got here, a peer that is wanted comes up with a healthy neighbour.
        driver.give(Input::Start);
        recovers(&mut driver)?;
    }

    #[test]
    fn a_peer_at_its_deadlines_moves_on(pick in any::<u8>(), seed in any::<u64>()) {
        let mut driver = Driver::new(some_config(pick));
        driver.peer = Peer::new(some_config(pick), seed);
        driver.give(Input::Start);
        let mut same = 0;
        for _ in 0..200 {
            let before = driver.now;
            if driver.next_timer().is_none() {
                break;
            }
            same = if driver.now == before { same + 1 } else { 0 };
            prop_assert!(same < 4, "a deadline is not used up");
        }
    }
}

/// Plays a healthy neighbour until the session is up.
fn recovers(driver: &mut Driver) -> Result<(), TestCaseError> {
    let mirror = mirrored(driver.peer.config());
    let open = body(&mirror.open().encode());
    for _ in 0..400 {
        if driver.peer.state() == State::Established {
            return Ok(());
        }
        let mut out = driver.next_timer().unwrap_or_default();
        driver.now = driver.now + Duration::from_millis(100);
        if driver.peer.config().accept && driver.peer.state() <= State::Active {
            let (connection, more) = driver.accept();
            out.extend(more);
            out.extend(driver.message(connection, MessageKind::Open, &open));
            out.extend(driver.keepalive(connection));
        }
        for output in out {
            if let Output::Dial { connection } = output {
                driver.give(Input::Connected { connection });
                driver.message(connection, MessageKind::Open, &open);
                driver.keepalive(connection);
            }
        }
    }
    let deaf = !driver.peer.config().accept && driver.peer.config().dial == Dial::Passive;
    prop_assert!(
        deaf || driver.peer.state() == State::Established,
        "{:?}",
        driver.peer
    );
    Ok(())
}
