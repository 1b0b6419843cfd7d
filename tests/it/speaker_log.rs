//! What the log has of sessions that do not come up, and of an operator's orders.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use dunlin::net::Asn;
use dunlin::session::DialError;
use dunlin::speaker::{Output, Speaker};
use dunlin::time::{Duration, Instant};
use dunlin::topology::{Authentication, Peer};

use crate::speaker_rig as rig;

/// Lines of a log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Those that came since this was asked last.
    fn take(&self) -> Vec<String> {
        let text = std::mem::take(&mut *self.0.lock().unwrap());
        let text = String::from_utf8(text).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

struct World {
    speaker: Speaker,
    now: Instant,
    log: Lines,
    _guard: tracing::subscriber::DefaultGuard,
}

impl World {
    fn new(edit: impl FnOnce(&mut Peer)) -> Self {
        let log = Lines::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .finish();
        let guard = tracing::subscriber::set_default(subscriber);
        let mut peer = Peer::new("tor", "10.0.0.2".parse().unwrap(), Asn(65_002));
        edit(&mut peer);
        let now = Instant::from_secs(1);
        let speaker = rig::speaker(now, rig::planned(vec![peer]));
        log.take();
        Self {
            speaker,
            now,
            log,
            _guard: guard,
        }
    }

    /// For a while, every dial ends so.
    fn fail(
        &mut self,
        time: u64,
        how: impl Fn(&mut Speaker, Instant, dunlin::session::ConnectionId),
    ) {
        let end = self.now + Duration::from_secs(time);
        while let Some(at) = self.speaker.next_timeout().filter(|at| *at <= end) {
            self.now = at;
            self.speaker.handle_timeout(at);
            while let Some(output) = self.speaker.poll() {
                if let Output::Dial { connection, .. } = output {
                    how(&mut self.speaker, at, connection);
                }
            }
        }
        self.now = end;
    }
}

fn refused(speaker: &mut Speaker, now: Instant, connection: dunlin::session::ConnectionId) {
    speaker.dial_failed(now, connection, DialError::Refused);
}

/// The peer takes the call and says that it expects another AS.
fn another_as(speaker: &mut Speaker, now: Instant, connection: dunlin::session::ConnectionId) {
    speaker.connected(now, connection, "10.0.0.1".parse().unwrap());
    let mut bad_peer_as = vec![0xff; 16];
    bad_peer_as.extend([0, 21, 3, 2, 2]);
    speaker.received(now, connection, &bad_peer_as);
    speaker.closed(now, connection, None);
}

fn closed(speaker: &mut Speaker, now: Instant, connection: dunlin::session::ConnectionId) {
    speaker.connected(now, connection, "10.0.0.1".parse().unwrap());
    speaker.closed(now, connection, None);
}

#[test]
fn a_session_that_never_came_up_has_a_line_for_each_reason_and_no_more() {
    let mut world = World::new(|_| {});
    world.fail(600, refused);
    let lines = world.log.take();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(
        lines[0].contains("tor") && lines[0].contains("refused the connection"),
        "{lines:?}"
    );

    world.fail(600, another_as);
    let lines = world.log.take();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(
        lines[0].contains("WARN") && lines[0].contains("(2/2)"),
        "{lines:?}"
    );

    // What follows and says less is said once, with the reason that stays.
    world.fail(600, closed);
    world.fail(600, refused);
    let lines = world.log.take();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(
        lines[0].contains("(2/2)") && lines[0].contains("since then"),
        "{lines:?}"
    );
}

#[test]
fn a_password_that_is_missing_is_the_reason_and_not_the_silence() {
    let mut world = World::new(|peer| {
        peer.authentication = Authentication::Missing("no such file".into());
    });
    world.fail(120, refused);
    let lines = world.log.take();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains("no such file"), "{lines:?}");
}

#[test]
fn each_order_has_a_line_and_a_peer_that_is_shut_down_no_other() {
    let mut world = World::new(|_| {});
    let now = world.now;
    let one = |world: &World, word: &str| {
        let lines = world.log.take();
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert!(lines[0].contains(word), "{lines:?}");
    };
    world
        .speaker
        .shutdown_peer(now, "tor", "disk swap".into())
        .unwrap();
    one(&world, "disk swap");
    world.fail(60, refused);
    assert_eq!(world.log.take(), Vec::<String>::new());
    let now = world.now;
    world.speaker.enable_peer(now, "tor").unwrap();
    one(&world, "enables");
    world.speaker.reset_peer(now, "tor").unwrap();
    one(&world, "resets");
    world.speaker.set_draining(true);
    one(&world, "away");
    world.speaker.set_draining(true);
    assert_eq!(world.log.take(), Vec::<String>::new(), "no order at all");
    world.speaker.set_draining(false);
    one(&world, "come back");
    // What can't be carried out is said to who asked.
    world.speaker.refresh_peer("tor").unwrap_err();
    world.speaker.reset_peer(now, "nobody").unwrap_err();
    assert_eq!(world.log.take(), Vec::<String>::new());
}
