//! Peers that misbehave below BGP, one daemon for all of it: strangers, half-open connections, one octet a second,
//! and a peer that does not read while a table goes to the others.

use super::Tally;
use crate::arena::{Arena, GOOD, GUESTS, Guest, HOLD, PARTNER, PATIENCE, announcement};
use crate::daemon::{Kind, Programs};
use crate::error::{Context, Error, Result};
use crate::netns::{DAEMON, peer_address};
use crate::wire;
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

const FEEDER: usize = GUESTS;
const SILENT: usize = GUESTS + 1;
const SLOW: usize = GUESTS + 2;
const DEAF: usize = GUESTS + 3;
const FIRST_AS: u32 = 64_000;
/// An address of the generator's that no peer has.
const STRANGER: Ipv4Addr = Ipv4Addr::new(172, 31, 250, 1);
/// Connections of a stranger at once.
const BURST: usize = 500;
/// Half-open connections of one peer.
const HALF_OPEN: usize = 50;
/// The table that a peer does not read, and how much of it has the same attributes.
const TABLE: u32 = 300_000;
const ALIKE: usize = 20;
/// What memory may grow by for those who never spoke BGP.
const GROWTH_MB: f64 = 16.0;
/// What the whole may take: the table and its paths, and what is queued for who does not read.
const PEAK_MB: f64 = 400.0;

type Verdict = std::result::Result<String, String>;

/// Runs all checks.
pub(super) fn run(programs: &Programs, stop: &Arc<AtomicBool>) -> Result<Tally> {
    let guest = |number: u32, raw: bool| Guest {
        asn: FIRST_AS + number,
        four_octet: true,
        opening: None,
        evil: false,
        short: false,
        retry: None,
        raw,
    };
    let guests = vec![
        guest(0, false),
        guest(1, true),
        guest(2, true),
        guest(3, true),
    ];
    let mut arena = Arena::start(Kind::Dunlin, programs, guests, stop)?;
    arena.until(PATIENCE, "the feeder", |arena| {
        arena.fleet.is_established(FEEDER)
    })?;
    let mut tally = Tally::default();
    tally.note(
        "a stranger is refused with RST at once",
        stranger(&mut arena)?,
    );
    tally.note("a burst of strangers", burst(&mut arena)?);
    tally.note("half-open connections of a peer", half_open(&mut arena)?);
    tally.note("one octet a second", one_octet_a_second(&mut arena)?);
    tally.note("a peer that does not read", deaf(&mut arena, programs)?);
    arena.finish();
    let detail = format!(
        "{} drops, heard nothing for at most {:.1} s, a route took at most {:.0} ms",
        arena.seen.drops,
        arena.silence().as_secs_f64(),
        arena.slowest_relay.as_secs_f64() * 1e3
    );
    let outcome = match arena.seen.wrongs.as_slice() {
        [] => Ok(detail),
        wrongs => Err(wrongs.join("; ")),
    };
    tally.note("the good sessions", outcome);
    arena.fleet.leave();
    Ok(tally)
}

/// A non-blocking connection that is being made.
fn dial(source: Ipv4Addr) -> Result<TcpStream> {
    dial_with(source, None)
}

/// The same with a receive buffer of this size.
fn dial_with(source: Ipv4Addr, buffer: Option<usize>) -> Result<TcpStream> {
    let what = || format!("connecting from {source}");
    let remote = SocketAddr::new(DAEMON.into(), 179);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).context(what())?;
    socket.set_nonblocking(true).context(what())?;
    socket.set_tcp_nodelay(true).context(what())?;
    if let Some(size) = buffer {
        socket.set_recv_buffer_size(size).context(what())?;
    }
    socket
        .bind(&SocketAddr::new(source.into(), 0).into())
        .context(what())?;
    match socket.connect(&remote.into()) {
        Err(error) if error.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32) => {
            Err(error).context(what())
        }
        Ok(()) | Err(_) => Ok(socket.into()),
    }
}

/// How a connection is, from this end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    Closed,
    Reset,
}

/// Reads what there is, and tells how the connection is.
fn fate(stream: &mut TcpStream) -> Fate {
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return Fate::Closed,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Fate::Open,
            // Before the handshake is done there is nothing to read from.
            Err(error) if error.kind() == ErrorKind::NotConnected => return Fate::Open,
            Err(_) => return Fate::Reset,
        }
    }
}

fn fates(streams: &mut [TcpStream], wanted: Fate) -> usize {
    streams
        .iter_mut()
        .map(fate)
        .filter(|fate| *fate == wanted)
        .count()
}

fn stranger(arena: &mut Arena) -> Result<Verdict> {
    let begin = Instant::now();
    let mut stream = dial(STRANGER)?;
    let mut last = Fate::Open;
    let done = arena.until(Duration::from_secs(1), "an answer", |_| {
        last = fate(&mut stream);
        last != Fate::Open
    });
    Ok(match (done, last) {
        (Ok(()), Fate::Reset) => Ok(format!(
            "after {:.1} ms",
            begin.elapsed().as_secs_f64() * 1e3
        )),
        (Ok(()), _) => Err("closed in order, which leaves state behind".to_owned()),
        (Err(_), _) => Err("the connection is open after 1 s".to_owned()),
    })
}

fn rss_mb(arena: &Arena) -> f64 {
    arena.daemon.processes().cost().rss as f64 / 1e6
}

fn burst(arena: &mut Arena) -> Result<Verdict> {
    let before = rss_mb(arena);
    let begin = Instant::now();
    let mut streams = (0..BURST)
        .map(|_| dial(STRANGER))
        .collect::<Result<Vec<_>>>()?;
    let mut reset = 0;
    let done = arena.until(PATIENCE, "the strangers' refusals", |_| {
        streams.retain_mut(|stream| {
            let gone = fate(stream) == Fate::Reset;
            reset += usize::from(gone);
            !gone
        });
        streams.is_empty()
    });
    let took = begin.elapsed().as_secs_f64();
    arena.relay()?;
    let grown = rss_mb(arena) - before;
    if done.is_err() {
        return Ok(Err(format!("{reset} of {BURST} were reset in {took:.1} s")));
    }
    let detail = format!(
        "{BURST} refused in {:.0} ms, memory grew by {grown:.1} MB",
        took * 1e3
    );
    Ok(if grown <= GROWTH_MB {
        Ok(detail)
    } else {
        Err(detail)
    })
}

fn half_open(arena: &mut Arena) -> Result<Verdict> {
    let before = rss_mb(arena);
    let address = peer_address(SILENT);
    let mut streams = (0..HALF_OPEN)
        .map(|_| dial(address))
        .collect::<Result<Vec<_>>>()?;
    // One may stay until its open wait is over: the newest, as the others' dialler has plainly given them up.
    let settled = arena.until(PATIENCE, "the others' refusals", |_| {
        fates(&mut streams, Fate::Open) <= 1
    });
    arena.during(Duration::from_millis(500))?;
    arena.relay()?;
    let (open, grown) = (fates(&mut streams, Fate::Open), rss_mb(arena) - before);
    let detail = format!("{open} of {HALF_OPEN} is open, memory grew by {grown:.1} MB");
    Ok(if settled.is_ok() && open == 1 && grown <= GROWTH_MB {
        Ok(detail)
    } else {
        Err(detail)
    })
}

fn one_octet_a_second(arena: &mut Arena) -> Result<Verdict> {
    let mut stream = dial(peer_address(SLOW))?;
    let bytes = wire::open(FIRST_AS + 2, HOLD, peer_address(SLOW), true);
    for (number, octet) in bytes.iter().take(6).enumerate() {
        arena.during(Duration::from_secs(1))?;
        arena.relay()?;
        if stream.peek(&mut [0]).is_ok_and(|count| count == 0)
            || !matches!(stream.write(&[*octet]), Ok(1))
        {
            return Ok(Err(format!("closed after {number} octets")));
        }
    }
    // Slow is not wrong: with the rest of it the session comes up.
    let _ = stream.write(bytes.get(6..).unwrap_or_default());
    let _ = stream.write(&wire::keepalive());
    let (mut received, mut bytes) = (Vec::new(), [0; 4096]);
    let done = arena.until(PATIENCE, "the slow peer's session", |_| {
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            received.extend_from_slice(bytes.get(..count).unwrap_or_default());
        }
        matches!(wire::next_frame(&received), Ok(Some(frame)) if received
            .get(frame.whole.len()..)
            .is_some_and(|rest| matches!(wire::next_frame(rest), Ok(Some(frame)) if frame.kind == wire::KEEPALIVE)))
    });
    Ok(match done {
        Ok(()) => Ok("6 s harmed nobody, then the session came up".to_owned()),
        Err(error) => Err(error.to_string()),
    })
}

/// A session whose owner never reads after the handshake, but sends KEEPALIVEs.
struct Deaf {
    stream: TcpStream,
    keepalive_at: Instant,
}

impl Deaf {
    fn new(arena: &mut Arena) -> Result<Self> {
        let mut stream = dial_with(peer_address(DEAF), Some(4096))?;
        let open = wire::open(FIRST_AS + 3, HOLD, peer_address(DEAF), true);
        let mut first = [0; 19];
        arena.until(PATIENCE, "the deaf peer's connection", |_| {
            stream.write(&open).is_ok()
        })?;
        arena.until(PATIENCE, "the deaf peer's OPEN", |_| {
            stream.peek(&mut first).is_ok()
        })?;
        let keepalive_at = Instant::now();
        Ok(Self {
            stream,
            keepalive_at,
        })
    }

    fn tick(&mut self) {
        if self.keepalive_at <= Instant::now() {
            // Once the daemon has given up on it there is nobody to write to.
            let _ = self.stream.write(&wire::keepalive());
            self.keepalive_at = Instant::now() + Duration::from_secs(2);
        }
    }
}

fn deaf(arena: &mut Arena, programs: &Programs) -> Result<Verdict> {
    let before = rss_mb(arena);
    let mut deaf = Deaf::new(arena)?;
    deaf.tick();
    arena.during(Duration::from_millis(300))?;
    let start = arena.seen.gained;
    let begin = Instant::now();
    let addresses: Vec<u32> = (0..TABLE).map(|i| 0x1400_0000 + (i << 8)).collect();
    // Megabytes of UPDATEs: more than the buffers between the daemon and the deaf peer take.
    for (number, chunk) in addresses.chunks(ALIKE).enumerate() {
        let mark = u32::try_from(number).ok();
        let update = announcement(FEEDER, FIRST_AS, mark, chunk);
        arena.send(FEEDER, Arc::new(update));
        if number % 50 == 0 {
            arena.poll()?;
        }
    }
    let done = arena.until(
        Duration::from_secs(60),
        "the table at the others",
        |arena| {
            deaf.tick();
            let gained = |index: usize| arena.seen.gained.get(index).zip(start.get(index));
            let complete =
                |index| gained(index).is_some_and(|(now, then)| now - then >= TABLE as usize);
            complete(GOOD) && complete(PARTNER)
        },
    );
    let took = begin.elapsed().as_secs_f64();
    // Long enough for the daemon's send hold timer, or to show that it queues without end.
    let end = Instant::now() + Duration::from_secs(u64::from(HOLD) + 6);
    while Instant::now() < end {
        deaf.tick();
        arena.during(Duration::from_millis(100))?;
    }
    arena.relay()?;
    let cost = arena.daemon.processes().cost();
    let (grown, peak) = (rss_mb(arena) - before, cost.peak_rss as f64 / 1e6);
    let deaf_is = state_of(arena, programs, DEAF);
    match done {
        Err(error @ Error::Timeout { .. }) => return Ok(Err(error.to_string())),
        other => other?,
    }
    let detail = format!(
        "the others had all {TABLE} prefixes after {took:.1} s, memory grew by {grown:.0} MB to at most \
         {peak:.0} MB; then the deaf one is {deaf_is}"
    );
    // Established would mean that it was not deaf at all: everything fitted into the kernel's buffers.
    let given_up = !deaf_is.is_empty() && !deaf_is.starts_with("Established");
    Ok(if peak <= PEAK_MB && given_up {
        Ok(detail)
    } else {
        Err(detail)
    })
}

/// What dunlin says of a peer: its state, and what ended its last session.
fn state_of(arena: &Arena, programs: &Programs, index: usize) -> String {
    let answer = arena.daemon.dunlin_peers(programs).unwrap_or_default();
    let name = format!("p{index}");
    let mut peers = answer["peers"].as_array().into_iter().flatten();
    let peer = peers.find(|peer| peer["name"] == name.as_str());
    peer.map_or_else(String::new, |peer| {
        let (state, error) = (&peer["state"], &peer["last_error"]["message"]);
        let word = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
        format!("{} ({})", word(state), word(error))
    })
}
