//! The one message of BFD, in octets (RFC 5880 §4.1): 24 octets, read and written.
//!
//! What can be told without knowing a session is checked here (§6.8.6, its first half); whom a packet
//! belongs to is [`Machine`](super::Machine)'s business, and what is behind the 24 octets is
//! [`signing`](super::signing)'s.

use crate::time::Duration;

/// Octets of a packet without authentication.
pub const LENGTH: usize = 24;
/// Octets that an authentication section has at least: its type and its length.
const SHORTEST_SECTION: usize = 2;
/// The version of RFC 5880.
const VERSION: u8 = 1;

/// How one end sees the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum State {
    /// Held down by its operator, which says nothing about the path.
    AdminDown = 0,
    /// Nothing is heard.
    #[default]
    Down = 1,
    /// The far end is heard; whether it hears us is not known.
    Init = 2,
    /// Both ends hear each other.
    Up = 3,
}

impl State {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::AdminDown, Self::Down, Self::Init, Self::Up];
}

impl core::fmt::Display for State {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::AdminDown => "AdminDown",
            Self::Down => "Down",
            Self::Init => "Init",
            Self::Up => "Up",
        })
    }
}

/// Why a session changed last (§4.1); a number that we do not know is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Diagnostic(pub u8);

impl Diagnostic {
    /// Nothing to say.
    pub const NONE: Self = Self(0);
    /// Nothing came for the detection time.
    pub const DETECTION_TIME_EXPIRED: Self = Self(1);
    /// The far end said that the session is down.
    pub const NEIGHBOUR_SIGNALLED_DOWN: Self = Self(3);
    /// An operator, or the end of the process, took it down.
    pub const ADMINISTRATIVELY_DOWN: Self = Self(7);
}

impl core::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self.0 {
            0 => "no diagnostic",
            1 => "nothing came for the detection time",
            2 => "echo failed",
            3 => "the far end signalled that the session is down",
            4 => "the forwarding plane was reset",
            5 => "the path is down",
            6 => "a concatenated path is down",
            7 => "administratively down",
            8 => "a reverse concatenated path is down",
            number => return write!(f, "diagnostic {number}"),
        })
    }
}

/// A packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Why the sender's session changed last.
    pub diagnostic: Diagnostic,
    /// The sender's state.
    pub state: State,
    /// It wants an answer with `last`.
    pub poll: bool,
    /// The answer to `poll` (the F bit).
    pub last: bool,
    /// The sender's BFD lives on when its control plane does not.
    pub independent: bool,
    /// The sender wants no periodic packets while both are up.
    pub demand: bool,
    /// So many lost packets are a failure.
    pub multiplier: u8,
    /// The sender's name for the session; never 0.
    pub mine: u32,
    /// What the sender has heard as our name; 0 if nothing.
    pub yours: u32,
    /// The interval at which the sender wants to send.
    pub min_transmit: Duration,
    /// The interval at which it can receive; 0 is no periodic packets at all.
    pub min_receive: Duration,
}

/// Why octets are not a packet for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Shorter than a packet is, or than it says.
    #[error("it is cut off")]
    Short,
    /// Not version 1.
    #[error("it is of version {0}")]
    Version(u8),
    /// A length that no packet has.
    #[error("it says that it has {0} octets")]
    Length(u8),
    /// The M bit, which must be 0.
    #[error("it is marked as multipoint")]
    Multipoint,
    /// A multiplier of 0.
    #[error("its detection multiplier is 0")]
    Multiplier,
    /// No name for the session.
    #[error("its discriminator is 0")]
    Discriminator,
    /// No name of ours in a state that needs one.
    #[error("it is in state {0} and names no session of ours")]
    Nobody(State),
}

const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const INDEPENDENT: u8 = 0x08;
pub(super) const AUTHENTICATED: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

impl Packet {
    /// Reads a datagram; what follows the length that the packet says is ignored.
    ///
    /// # Errors
    /// What RFC 5880 §6.8.6 says must be discarded.
    pub fn decode(octets: &[u8]) -> Result<Self, PacketError> {
        let header: &[u8; LENGTH] = octets.first_chunk().ok_or(PacketError::Short)?;
        let [first, flags, multiplier, length, rest @ ..] = header;
        if first >> 5 != VERSION {
            return Err(PacketError::Version(first >> 5));
        }
        let has = |bit: u8| flags & bit != 0;
        check_length(*length, has(AUTHENTICATED), octets)?;
        if has(MULTIPOINT) {
            return Err(PacketError::Multipoint);
        }
        if *multiplier == 0 {
            return Err(PacketError::Multiplier);
        }
        let [
            m0,
            m1,
            m2,
            m3,
            y0,
            y1,
            y2,
            y3,
            t0,
            t1,
            t2,
            t3,
            r0,
            r1,
            r2,
            r3,
            ..,
        ] = *rest;
        let word = |octets: [u8; 4]| u32::from_be_bytes(octets);
        let interval = |octets| Duration::from_micros(u64::from(word(octets)));
        let packet = Self {
            diagnostic: Diagnostic(first & 0x1F),
            state: match flags >> 6 {
                0 => State::AdminDown,
                1 => State::Down,
                2 => State::Init,
                _ => State::Up,
            },
            poll: has(POLL),
            last: has(FINAL),
            independent: has(INDEPENDENT),
            demand: has(DEMAND),
            multiplier: *multiplier,
            mine: word([m0, m1, m2, m3]),
            yours: word([y0, y1, y2, y3]),
            min_transmit: interval([t0, t1, t2, t3]),
            min_receive: interval([r0, r1, r2, r3]),
        };
        if packet.mine == 0 {
            return Err(PacketError::Discriminator);
        }
        if packet.yours == 0 && matches!(packet.state, State::Init | State::Up) {
            return Err(PacketError::Nobody(packet.state));
        }
        Ok(packet)
    }

    /// Writes it without authentication; the interval of echo packets is 0, since none are taken.
    pub fn encode(&self) -> [u8; LENGTH] {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let flags = (self.state as u8) << 6
            | flag(self.poll, POLL)
            | flag(self.last, FINAL)
            | flag(self.independent, INDEPENDENT)
            | flag(self.demand, DEMAND);
        let mut octets = [0; LENGTH];
        let header = [
            VERSION << 5 | (self.diagnostic.0 & 0x1F),
            flags,
            self.multiplier,
            LENGTH as u8,
        ];
        let words = [
            self.mine,
            self.yours,
            micros(self.min_transmit),
            micros(self.min_receive),
            0,
        ];
        let all = header
            .into_iter()
            .chain(words.into_iter().flat_map(u32::to_be_bytes));
        for (place, octet) in octets.iter_mut().zip(all) {
            *place = octet;
        }
        octets
    }
}

fn check_length(length: u8, authenticated: bool, octets: &[u8]) -> Result<(), PacketError> {
    let section = if authenticated { SHORTEST_SECTION } else { 0 };
    if usize::from(length) < LENGTH + section {
        return Err(PacketError::Length(length));
    }
    if usize::from(length) > octets.len() {
        return Err(PacketError::Short);
    }
    Ok(())
}

fn micros(interval: Duration) -> u32 {
    u32::try_from(interval.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Down, multiplier 3, 1 s to send and 300 ms to receive.
    const FIRST: [u8; LENGTH] = [
        0x20, 0x40, 3, 24, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0, 0, 0x0F, 0x42, 0x40, 0, 0x04, 0x93,
        0xE0, 0, 0, 0, 0,
    ];

    fn first() -> Packet {
        Packet {
            diagnostic: Diagnostic::NONE,
            state: State::Down,
            poll: false,
            last: false,
            independent: false,
            demand: false,
            multiplier: 3,
            mine: 0x1234_5678,
            yours: 0,
            min_transmit: Duration::from_secs(1),
            min_receive: Duration::from_millis(300),
        }
    }

    #[test]
    fn the_first_packet_of_a_session_in_octets() {
        assert_eq!(Packet::decode(&FIRST), Ok(first()));
        assert_eq!(first().encode(), FIRST);
    }

    #[test]
    fn each_flag_has_its_bit() {
        let with = |change: fn(&mut Packet)| {
            let mut packet = first();
            change(&mut packet);
            let octets = packet.encode();
            assert_eq!(Packet::decode(&octets), Ok(packet));
            octets[1]
        };
        assert_eq!(with(|p| p.poll = true), 0x60);
        assert_eq!(with(|p| p.last = true), 0x50);
        assert_eq!(with(|p| p.independent = true), 0x48);
        assert_eq!(with(|p| p.demand = true), 0x42);
        assert_eq!(with(|p| p.state = State::AdminDown), 0);
        let named = |state: State| {
            let mut packet = first();
            packet.state = state;
            packet.yours = 9;
            packet.diagnostic = Diagnostic::NEIGHBOUR_SIGNALLED_DOWN;
            let octets = packet.encode();
            assert_eq!(Packet::decode(&octets), Ok(packet));
            (octets[0], octets[1])
        };
        assert_eq!(named(State::Init), (0x23, 0x80));
        assert_eq!(named(State::Up), (0x23, 0xC0));
    }

    #[test]
    fn what_must_be_discarded_is() {
        let with = |at: usize, octet: u8| {
            let mut octets = FIRST;
            octets[at] = octet;
            Packet::decode(&octets).unwrap_err()
        };
        assert_eq!(with(0, 0x00), PacketError::Version(0));
        assert_eq!(with(0, 0x40), PacketError::Version(2));
        assert_eq!(
            with(1, 0x44),
            PacketError::Length(24),
            "no room for a section"
        );
        assert_eq!(with(1, 0x41), PacketError::Multipoint);
        assert_eq!(with(1, 0x80), PacketError::Nobody(State::Init));
        assert_eq!(with(1, 0xC0), PacketError::Nobody(State::Up));
        assert_eq!(with(2, 0), PacketError::Multiplier);
        assert_eq!(with(3, 23), PacketError::Length(23));
        assert_eq!(with(3, 25), PacketError::Short);
        for length in 0..LENGTH {
            assert_eq!(Packet::decode(&FIRST[..length]), Err(PacketError::Short));
        }
        let mut nameless = FIRST;
        nameless[4..8].fill(0);
        assert_eq!(Packet::decode(&nameless), Err(PacketError::Discriminator));
    }

    #[test]
    fn what_follows_the_packet_is_ignored() {
        let mut long = FIRST.to_vec();
        long.extend([0xFF; 8]);
        assert_eq!(Packet::decode(&long), Ok(first()));
    }

    #[test]
    fn an_interval_that_has_no_number_is_the_longest() {
        let mut packet = first();
        packet.min_transmit = Duration::from_secs(1_000_000);
        assert_eq!(packet.encode()[12..16], [0xFF; 4]);
    }
}
