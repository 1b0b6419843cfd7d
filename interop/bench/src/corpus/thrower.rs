//! The two peers of the bad-input story and the order of what they do.
//!
//! One message is in flight at a time: it is sent, then the daemon has the settle time to end the session.
//! An answer later than that is counted all the same, only not for the right message. Everything is bounded.

use super::file::Message;
use super::{Bounds, Outcome};
use crate::daemon::{Job, Kind, Peer, Programs, Running};
use crate::error::{Error, Result};
use crate::fleet::Fleet;
use crate::netns::{DAEMON, Pair, peer_address};
use crate::scenario::megabytes;
use crate::session::{Event, Patience, PeerConfig, Role};
use crate::wire;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const GOOD: usize = 0;
const EVIL: usize = 1;
/// `good`'s AS number; `evil` has the next.
const FIRST_AS: u32 = 65_001;
/// How long a session with the daemon may take to come up, whatever happened before.
const PATIENCE: Duration = Duration::from_secs(20);
/// `good` changes a route after every so many messages.
const HEARTBEAT_EVERY: usize = 50;
/// The route that must still get through at the end: 198.18.99.0/24.
const LAST_ROUTE: u32 = 0xc612_6300;

/// Runs the story.
pub(super) fn run(
    kind: Kind,
    programs: &Programs,
    messages: Vec<Message>,
    bounds: &Bounds,
) -> Result<Outcome> {
    let pair = Pair::new()?;
    pair.enter_generator()?;
    let peers = [GOOD, EVIL].map(|i| Peer {
        address: peer_address(i),
        asn: asn(i),
    });
    let job = Job {
        peers: peers.to_vec(),
        hold_time: 9,
        passive: true,
    };
    let mut daemon = Running::start(kind, programs, &pair, &job)?;
    daemon.await_listening(Duration::from_secs(15))?;
    let begin = Instant::now();
    let mut story = Story {
        fleet: Fleet::new([GOOD, EVIL].map(config).to_vec(), begin)?,
        seen: Seen::default(),
        outcome: Outcome {
            total: messages.len(),
            ..Outcome::default()
        },
        daemon,
        four_octet: true,
        opened_with_corpus: false,
    };
    story.until(PATIENCE, |story| story.fleet.established() == 2)?;
    story.seen.watch_good = true;
    story.good_routes();
    let deadline = begin + bounds.timeout;
    for message in &messages {
        if bounds.stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        if Instant::now() > deadline {
            let wrong = format!(
                "cut short by --timeout after {} messages",
                story.outcome.thrown
            );
            story.outcome.wrongs.push(wrong);
            break;
        }
        if let Err(error) = story.throw(message, bounds.settle) {
            story
                .outcome
                .wrongs
                .push(format!("at {}: {error}", message.origin));
            break;
        }
    }
    story.finish();
    story.outcome.wall = begin.elapsed().as_secs_f64();
    Ok(story.outcome)
}

fn asn(index: usize) -> u32 {
    FIRST_AS + u32::try_from(index).unwrap_or(0)
}

fn config(index: usize) -> PeerConfig {
    let address = peer_address(index);
    PeerConfig {
        local: address.into(),
        remote: SocketAddr::new(DAEMON.into(), 179),
        id: address,
        asn: asn(index),
        hold_time: 9,
        four_octet: true,
        opening: None,
        role: Role::Dial(Patience {
            attempt: Duration::from_secs(5),
            retry: Duration::from_millis(20),
        }),
    }
}

/// What the sessions reported since it was last looked at.
#[derive(Default)]
struct Seen {
    /// `good` is up and must stay so.
    watch_good: bool,
    evil_down: Option<String>,
    last_route: bool,
    relayed: usize,
    good_drops: usize,
    wrongs: Vec<String>,
    /// Why the last attempt of any session failed.
    last_down: String,
}

impl Seen {
    fn note(&mut self, index: usize, event: Event<'_>) {
        match event {
            Event::Established => {}
            Event::Message(frame) => self.message(index, frame),
            Event::Down {
                established,
                reason,
            } => {
                self.last_down = reason.to_owned();
                if index == EVIL {
                    self.evil_down = Some(reason.to_owned());
                } else if established && self.watch_good {
                    self.good_drops += 1;
                    self.wrongs
                        .push(format!("the good session dropped: {reason}"));
                }
            }
        }
    }

    fn message(&mut self, index: usize, frame: &wire::Frame<'_>) {
        if frame.kind != wire::UPDATE {
            return;
        }
        let mut last_route = false;
        let parsed = wire::prefixes(frame.body, |up, address, _| {
            last_route |= up && address == LAST_ROUTE;
        });
        let parsed = parsed.and_then(|()| wire::attributes(frame.body, |_, _| {}));
        if parsed.is_err() {
            self.wrongs.push(format!(
                "the daemon sent a malformed UPDATE: {:02x?}",
                frame.whole
            ));
        }
        if index == GOOD {
            self.relayed += 1;
        } else {
            self.last_route |= last_route;
        }
    }
}

struct Story {
    fleet: Fleet,
    seen: Seen,
    outcome: Outcome,
    daemon: Running,
    /// What `evil`'s session negotiates.
    four_octet: bool,
    /// `evil`'s session came up with an OPEN of the corpus.
    opened_with_corpus: bool,
}

impl Story {
    fn poll(&mut self) -> Result<()> {
        let seen = &mut self.seen;
        self.fleet
            .poll(Duration::from_millis(2), &mut |index, event| {
                seen.note(index, event)
            })
    }

    /// Polls until the condition holds.
    fn until(&mut self, bound: Duration, done: impl Fn(&Self) -> bool) -> Result<()> {
        let end = Instant::now() + bound;
        while !done(self) {
            self.poll()?;
            if Instant::now() > end {
                self.daemon.check()?;
                let what = format!("the session; the last attempt: {}", self.seen.last_down);
                return Err(Error::Timeout { what, after: bound });
            }
        }
        Ok(())
    }

    fn send(&mut self, index: usize, bytes: Arc<Vec<u8>>) {
        let seen = &mut self.seen;
        self.fleet
            .send(index, bytes, &mut |index, event| seen.note(index, event));
    }

    /// `good` announces a prefix of 198.18.0.0/15, or withdraws it.
    fn good_route(&mut self, address: u32, announce: bool) {
        let mut prefix = Vec::new();
        wire::put_prefix(&mut prefix, address, 24);
        let mut attributes = vec![0x40, 1, 1, 0, 0x40, 2, 6, 2, 1];
        attributes.extend_from_slice(&asn(GOOD).to_be_bytes());
        attributes.extend_from_slice(&[0x40, 3, 4]);
        attributes.extend_from_slice(&peer_address(GOOD).octets());
        let update = match announce {
            true => wire::update(&[], &attributes, &prefix),
            false => wire::update(&prefix, &[], &[]),
        };
        self.send(GOOD, Arc::new(update));
    }

    fn good_routes(&mut self) {
        for third in 0..4 {
            self.good_route(0xc612_0000 | third << 8, true);
        }
    }

    /// Has `evil` in a proper session of this kind.
    fn ready_evil(&mut self, four_octet: bool) -> Result<()> {
        self.account_reset();
        if self.four_octet != four_octet || self.opened_with_corpus {
            self.fleet.restart(EVIL, four_octet, None);
            self.four_octet = four_octet;
            self.opened_with_corpus = false;
        }
        self.until(PATIENCE, |story| story.fleet.is_established(EVIL))?;
        // What failed on the way is the daemon's holding off, not an answer to a message.
        self.seen.evil_down = None;
        Ok(())
    }

    fn account_reset(&mut self) -> bool {
        let down = self.seen.evil_down.take();
        let any = down.is_some();
        if let Some(reason) = down {
            *self.outcome.resets.entry(reason).or_default() += 1;
        }
        any
    }

    fn throw(&mut self, message: &Message, settle: Duration) -> Result<()> {
        if message.kind() == wire::OPEN {
            self.throw_open(message)?;
        } else {
            self.ready_evil(message.four_octet)?;
            self.send(EVIL, Arc::clone(&message.bytes));
            let end = Instant::now() + settle;
            while self.seen.evil_down.is_none() && Instant::now() < end {
                self.poll()?;
            }
            if !self.account_reset() && !message.is_framed() {
                // The daemon may wait for the rest of it: the next message starts on a clean session.
                self.fleet.restart(EVIL, message.four_octet, None);
            }
        }
        self.outcome.thrown += 1;
        *self.outcome.by_type.entry(message.kind()).or_default() += 1;
        if self.outcome.thrown.is_multiple_of(HEARTBEAT_EVERY) {
            let odd = self.outcome.thrown / HEARTBEAT_EVERY % 2 == 1;
            self.good_route(0xc612_6200, odd);
            self.daemon.check()?;
            eprint!("\r{} of {} thrown", self.outcome.thrown, self.outcome.total);
        }
        Ok(())
    }

    fn throw_open(&mut self, message: &Message) -> Result<()> {
        // A session must have been possible, else a refusal says nothing about this OPEN.
        self.ready_evil(self.four_octet)?;
        self.fleet
            .restart(EVIL, self.four_octet, Some(Arc::clone(&message.bytes)));
        self.opened_with_corpus = true;
        let end = Instant::now() + Duration::from_secs(1);
        while self.seen.evil_down.is_none()
            && !self.fleet.is_established(EVIL)
            && Instant::now() < end
        {
            self.poll()?;
        }
        if self.fleet.is_established(EVIL) {
            self.outcome.opens_accepted += 1;
        }
        self.account_reset();
        Ok(())
    }

    /// The daemon lives, `good` is up, and a new route of `good` reaches `evil` in a proper session.
    fn finish(&mut self) {
        eprintln!();
        self.good_route(LAST_ROUTE, true);
        let last = match self.ready_evil(true) {
            Ok(()) => self.until(PATIENCE, |story| story.seen.last_route),
            Err(error) => Err(error),
        };
        if let Err(error) = last {
            let wrong = format!(
                "at the end a route of the good peer does not reach the other one: {error}"
            );
            self.outcome.wrongs.push(wrong);
        }
        if !self.fleet.is_established(GOOD) {
            self.outcome
                .wrongs
                .push("the good session is down at the end".to_owned());
        }
        if let Err(error) = self.daemon.check() {
            self.outcome.wrongs.push(error.to_string());
        }
        self.outcome.wrongs.append(&mut self.seen.wrongs);
        self.outcome.relayed = self.seen.relayed;
        self.outcome.good_drops = self.seen.good_drops;
        let cost = self.daemon.processes().cost();
        (self.outcome.cpu, self.outcome.rss_mb) = (cost.cpu, megabytes(cost.peak_rss));
    }
}
