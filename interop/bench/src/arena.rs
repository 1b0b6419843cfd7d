//! Where bad input meets a live daemon: two peers who do nothing wrong, and guests who may.
//!
//! `good` and its `partner` keep sessions with a hold time of 9 s. Always judged, whatever the guests do: neither
//! drops, what reaches them can be parsed, the daemon is never silent for long, it lives, and it passes a route of
//! the partner's on to `good`. What the guests do is their owner's.

use crate::daemon::{Job, Kind, Peer, Programs, Running};
use crate::error::{Error, Result};
use crate::fleet::Fleet;
use crate::netns::{DAEMON, Pair, peer_address};
use crate::session::{Event, Patience, PeerConfig, Role};
use crate::wire;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The session that must not notice anything.
pub(crate) const GOOD: usize = 0;
/// Whose routes must get through.
pub(crate) const PARTNER: usize = 1;
/// The first guest.
pub(crate) const GUESTS: usize = 2;
/// Hold time of all sessions, in seconds.
pub(crate) const HOLD: u16 = 9;
/// KEEPALIVEs come every third of the hold time; a second is left to a busy machine.
const SILENCE: Duration = Duration::from_secs(4);
/// How long a good session or a route may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Routes of the partner's are in 198.18.0.0/15.
const TOKENS: u32 = 0xc612_0000;

/// A session that is not one of the good two.
pub(crate) struct Guest {
    /// The AS that the daemon expects, and that it claims.
    pub(crate) asn: u32,
    /// Whether it offers four-octet AS numbers.
    pub(crate) four_octet: bool,
    /// Its first message, if not a proper OPEN.
    pub(crate) opening: Option<Arc<Vec<u8>>>,
    /// The daemon sends it nothing and takes everything.
    pub(crate) evil: bool,
    /// The daemon takes no more than 4096 octets at once.
    pub(crate) short: bool,
    /// When it comes back after a failure; never, if there is nothing.
    pub(crate) retry: Option<Duration>,
    /// Its owner has sockets of its own: no session is kept here.
    pub(crate) raw: bool,
}

/// A guest's session or attempt that ended.
pub(crate) struct Down {
    /// Who.
    pub(crate) index: usize,
    /// The session was up.
    pub(crate) established: bool,
    /// Why, for people.
    pub(crate) reason: String,
}

/// What the sessions reported.
#[derive(Default)]
pub(crate) struct Seen {
    /// Guests' sessions that ended, until their owner takes them.
    pub(crate) downs: Vec<Down>,
    /// Guests' sessions that came up.
    pub(crate) ups: Vec<usize>,
    /// UPDATEs that reached the good two.
    pub(crate) relayed: usize,
    /// Prefixes announced to `good` and to its partner so far.
    pub(crate) gained: [usize; 2],
    /// Good sessions that dropped.
    pub(crate) drops: usize,
    /// What must not be.
    pub(crate) wrongs: Vec<String>,
    watch: bool,
    tokens: HashMap<u32, bool>,
}

impl Seen {
    fn note(&mut self, index: usize, event: Event<'_>) {
        match event {
            Event::Established if index >= GUESTS => self.ups.push(index),
            Event::Established => {}
            Event::Message(frame) if frame.kind == wire::UPDATE => self.update(index, frame),
            Event::Message(_) => {}
            Event::Down {
                established,
                reason,
            } if index >= GUESTS => self.downs.push(Down {
                index,
                established,
                reason: reason.to_owned(),
            }),
            Event::Down {
                established,
                reason,
            } if established && self.watch => {
                self.drops += 1;
                self.wrongs
                    .push(format!("good session {index} dropped: {reason}"));
            }
            Event::Down { .. } => {}
        }
    }

    fn update(&mut self, index: usize, frame: &wire::Frame<'_>) {
        let mut gained = 0;
        let tokens = &mut self.tokens;
        let parsed = wire::prefixes(frame.body, |up, address, _| {
            gained += usize::from(up);
            if index == GOOD && address & 0xfffe_0000 == TOKENS {
                tokens.insert(address, up);
            }
        });
        if parsed
            .and_then(|()| wire::attributes(frame.body, |_, _| {}))
            .is_err()
        {
            let wrong = format!("the daemon sent a malformed UPDATE: {:02x?}", frame.whole);
            self.wrongs.push(wrong);
        }
        if let Some(count) = self.gained.get_mut(index) {
            *count += gained;
            self.relayed += 1;
        }
    }
}

/// The daemon, the good two and the guests.
pub(crate) struct Arena {
    /// All sessions.
    pub(crate) fleet: Fleet,
    /// What they reported.
    pub(crate) seen: Seen,
    /// The daemon under test.
    pub(crate) daemon: Running,
    /// The longest a route of the partner's took to reach `good`.
    pub(crate) slowest_relay: Duration,
    token: u32,
    begin: Instant,
    stop: Arc<AtomicBool>,
    _pair: Pair,
}

impl Arena {
    /// Starts the daemon and all sessions; returns when the good two are up. The calling thread is in the
    /// generator's namespace from then on.
    pub(crate) fn start(
        kind: Kind,
        programs: &Programs,
        guests: Vec<Guest>,
        stop: &Arc<AtomicBool>,
    ) -> Result<Self> {
        let pair = Pair::new()?;
        pair.enter_generator()?;
        let good = |_| Guest {
            asn: 0,
            four_octet: true,
            opening: None,
            evil: false,
            short: false,
            retry: Some(Duration::from_millis(50)),
            raw: false,
        };
        let all: Vec<Guest> = (0..GUESTS).map(good).chain(guests).collect();
        let asn = |index: usize, guest: &Guest| match guest.asn {
            0 => 64_900 + u32::try_from(index % GUESTS).unwrap_or(0),
            asn => asn,
        };
        let peers = all.iter().enumerate().map(|(index, guest)| Peer {
            address: peer_address(index),
            asn: asn(index, guest),
            evil: guest.evil,
            short: guest.short,
            quiet: false,
            client: false,
        });
        let job = Job {
            peers: peers.collect(),
            hold_time: HOLD,
            passive: true,
            kernel: false,
        };
        let mut daemon = Running::start(kind, programs, &pair, &job)?;
        daemon.await_listening(Duration::from_secs(15))?;
        let configs = all.iter().enumerate();
        let configs = configs.map(|(index, guest)| config(index, guest, asn(index, guest)));
        let mut arena = Self {
            fleet: Fleet::new(configs.collect(), Instant::now())?,
            seen: Seen::default(),
            daemon,
            slowest_relay: Duration::ZERO,
            token: 0,
            begin: Instant::now(),
            stop: Arc::clone(stop),
            _pair: pair,
        };
        arena.until(PATIENCE, "the good sessions", |arena| {
            arena.fleet.is_established(GOOD) && arena.fleet.is_established(PARTNER)
        })?;
        arena.seen.watch = true;
        Ok(arena)
    }

    /// Lets everything happen that is ready or due.
    pub(crate) fn poll(&mut self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let seen = &mut self.seen;
        self.fleet
            .poll(Duration::from_millis(2), &mut |index, event| {
                seen.note(index, event)
            })
    }

    /// Polls for so long.
    pub(crate) fn during(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.poll()?;
        }
        Ok(())
    }

    /// Polls until the condition holds.
    pub(crate) fn until(
        &mut self,
        bound: Duration,
        what: &str,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> Result<()> {
        let end = Instant::now() + bound;
        while !done(self) {
            self.poll()?;
            if Instant::now() > end {
                self.daemon.check()?;
                let last = self.seen.downs.last().map_or("none", |down| &down.reason);
                let what = format!("{what} (the last failure of a guest: {last})");
                return Err(Error::Timeout { what, after: bound });
            }
        }
        Ok(())
    }

    /// Sends bytes on a session.
    pub(crate) fn send(&mut self, index: usize, bytes: Arc<Vec<u8>>) {
        let seen = &mut self.seen;
        self.fleet
            .send(index, bytes, &mut |index, event| seen.note(index, event));
    }

    /// The partner announces a route or withdraws it: `good` must hear of it.
    pub(crate) fn relay(&mut self) -> Result<()> {
        let (address, up) = (
            TOKENS | (self.token / 2 % 256) << 8,
            self.token.is_multiple_of(2),
        );
        self.token += 1;
        let update = match up {
            true => announcement(PARTNER, 64_901, None, &[address]),
            false => {
                let mut prefix = Vec::new();
                wire::put_prefix(&mut prefix, address, 24);
                wire::update(&prefix, &[], &[])
            }
        };
        let begin = Instant::now();
        self.send(PARTNER, Arc::new(update));
        self.until(
            PATIENCE,
            "a route of the partner's to reach the good peer",
            |arena| arena.seen.tokens.get(&address) == Some(&up),
        )?;
        self.slowest_relay = self.slowest_relay.max(begin.elapsed());
        self.daemon.check()
    }

    /// What must hold at the end; what does not is added to the wrongs.
    pub(crate) fn finish(&mut self) {
        // Less than a hold time would say nothing about KEEPALIVEs.
        let rest = Duration::from_secs(u64::from(HOLD) + 1).saturating_sub(self.begin.elapsed());
        if let Err(error) = self.during(rest).and_then(|()| self.relay()) {
            self.seen.wrongs.push(format!("at the end: {error}"));
        }
        for index in [GOOD, PARTNER] {
            if !self.fleet.is_established(index) {
                self.seen
                    .wrongs
                    .push(format!("good session {index} is down at the end"));
            }
        }
        self.seen.wrongs.extend(self.daemon.panic());
        if self.silence() > SILENCE {
            let wrong = format!("the good sessions heard nothing for {:.1?}", self.silence());
            self.seen.wrongs.push(wrong);
        }
    }

    /// The longest time in which one of the good two heard nothing.
    pub(crate) fn silence(&self) -> Duration {
        self.fleet.silence(GOOD).max(self.fleet.silence(PARTNER))
    }
}

fn config(index: usize, guest: &Guest, asn: u32) -> PeerConfig {
    let address = peer_address(index);
    let opening = || Arc::new(wire::open_dual(asn, HOLD, address, guest.four_octet));
    PeerConfig {
        local: address.into(),
        remote: SocketAddr::new(DAEMON.into(), 179),
        id: address,
        asn,
        hold_time: HOLD,
        four_octet: guest.four_octet,
        opening: guest.opening.clone().or_else(|| guest.evil.then(opening)),
        role: if guest.raw {
            Role::Accept { by_local: true }
        } else {
            Role::Dial(Patience {
                attempt: Duration::from_secs(5),
                retry: guest.retry.unwrap_or(Duration::from_secs(86_400)),
            })
        },
    }
}

/// An UPDATE that announces /24 prefixes with this peer as next hop, and with communities of this mark if any.
pub(crate) fn announcement(
    index: usize,
    asn: u32,
    mark: Option<u32>,
    addresses: &[u32],
) -> Vec<u8> {
    let mut prefixes = Vec::new();
    for address in addresses {
        wire::put_prefix(&mut prefixes, *address, 24);
    }
    let mut attributes = vec![0x40, 1, 1, 0, 0x40, 2, 6, 2, 1];
    attributes.extend_from_slice(&asn.to_be_bytes());
    attributes.extend_from_slice(&[0x40, 3, 4]);
    attributes.extend_from_slice(&peer_address(index).octets());
    if let Some(mark) = mark {
        attributes.extend_from_slice(&[0xc0, 8, 160]);
        (0..40)
            .for_each(|high: u32| attributes.extend_from_slice(&(high << 20 | mark).to_be_bytes()));
    }
    wire::update(&[], &attributes, &prefixes)
}
