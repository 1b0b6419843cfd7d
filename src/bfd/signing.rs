//! Authentication of packets (RFC 5880 §4.4, §6.7.4): keyed SHA1 and meticulous keyed SHA1, and which
//! sequence numbers are taken.
//!
//! MD5 and simple passwords of the RFC are not spoken. What always holds: a digest is compared in a time
//! that does not depend on it; a sequence number counts only of a packet whose digest is right; nothing
//! here prints an octet of a key.
//!
//! Another key comes without a loss: until the far end has signed with the new one, or for
//! [`CHANGEOVER`], packets leave with the former, and for as long again the former is taken.

use sha1_smol::Sha1;

use super::packet::{AUTHENTICATED, LENGTH, Packet};
use super::refusal::Refusal;
use crate::net::Secret;
use crate::time::{Duration, Instant};

/// Octets of the section behind the packet.
const SECTION: usize = 28;
/// Octets of a signed packet.
pub const SIGNED_LENGTH: usize = LENGTH + SECTION;
/// Octets of a digest, and of a key with its padding.
const DIGEST: usize = 20;
/// Where the digest begins.
const DIGEST_AT: usize = SIGNED_LENGTH - DIGEST;
/// The longest key (RFC 5880 §4.4).
pub const LONGEST_KEY: usize = DIGEST;
/// How long a former key is used while the far end may not have the new one.
pub const CHANGEOVER: Duration = Duration::from_secs(60);

/// How packets are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// Type 4: a packet may be repeated with the same sequence number.
    KeyedSha1,
    /// Type 5: each packet has a number of its own.
    #[default]
    MeticulousKeyedSha1,
}

impl Algorithm {
    const fn number(self) -> u8 {
        match self {
            Self::KeyedSha1 => 4,
            Self::MeticulousKeyedSha1 => 5,
        }
    }
}

impl core::fmt::Display for Algorithm {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::KeyedSha1 => "keyed-sha1",
            Self::MeticulousKeyedSha1 => "meticulous-keyed-sha1",
        })
    }
}

/// What both ends have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its number on the wire.
    pub id: u8,
    /// How it is used.
    pub algorithm: Algorithm,
    /// Its octets; those beyond [`LONGEST_KEY`] are not used.
    pub secret: Secret,
}

/// What proves whose packets a session's are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Authentication {
    /// Nothing.
    #[default]
    None,
    /// A key.
    Key(Key),
    /// A key that can't be had: the session stays down.
    Missing,
}

/// The keys and the sequence numbers of one session.
#[derive(Debug)]
pub(super) struct Signing {
    /// What is to be used.
    wanted: Key,
    /// What packets leave with.
    sending: Key,
    /// What is taken beside that, and until when.
    other: Option<(Key, Instant)>,
    sent: u32,
    /// The last number that was taken, and until when it is remembered (`bfd.AuthSeqKnown`).
    received: Option<(u32, Instant)>,
}

/// A packet whose signature is right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signed {
    sequence: u32,
    by_other: bool,
}

impl Signing {
    /// `sequence` is where our numbers begin: at random, so that those of the process before are none of
    /// them.
    pub(super) fn new(key: Key, sequence: u32) -> Self {
        Self {
            wanted: key.clone(),
            sending: key,
            other: None,
            sent: sequence,
            received: None,
        }
    }

    pub(super) const fn algorithm(&self) -> Algorithm {
        self.sending.algorithm
    }

    /// Another key; `up` is whether there is something to lose.
    pub(super) fn change(&mut self, now: Instant, key: &Key, up: bool) {
        if self.wanted == *key {
            return;
        }
        self.wanted = key.clone();
        if !up {
            self.sending = key.clone();
            self.other = None;
        } else if self.sending == *key {
            // Back to what is still in use.
            self.other = None;
        } else {
            self.other = Some((key.clone(), now + CHANGEOVER));
        }
    }

    /// The other key at the end of its time: the new one takes over, a former one goes.
    fn settle(&mut self, now: Instant) {
        if let Some((_, until)) = &self.other
            && *until <= now
        {
            self.exchange(now);
        }
    }

    fn exchange(&mut self, now: Instant) {
        let Some((key, _)) = self.other.take() else {
            return;
        };
        if key == self.wanted {
            let former = core::mem::replace(&mut self.sending, key);
            self.other = Some((former, now + CHANGEOVER));
        }
    }

    /// The octets of a packet that leaves.
    pub(super) fn sign(&mut self, now: Instant, packet: &Packet) -> Vec<u8> {
        self.settle(now);
        // With keyed SHA1, too, where it may stay: the fewer packets can be repeated the better.
        self.sent = self.sent.wrapping_add(1);
        let key = &self.sending;
        let mut octets = Vec::with_capacity(SIGNED_LENGTH);
        octets.extend_from_slice(&packet.encode());
        if let Some(flags) = octets.get_mut(1) {
            *flags |= AUTHENTICATED;
        }
        if let Some(length) = octets.get_mut(3) {
            *length = SIGNED_LENGTH as u8;
        }
        octets.extend_from_slice(&[key.algorithm.number(), SECTION as u8, key.id, 0]);
        octets.extend_from_slice(&self.sent.to_be_bytes());
        let digest = digest(&octets, key);
        octets.extend_from_slice(&digest);
        octets
    }

    /// Looks at a packet that came; `octets` is the datagram.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn check(
        &mut self,
        now: Instant,
        octets: &[u8],
        packet: &Packet,
    ) -> Result<Signed, Refusal> {
        self.settle(now);
        if !is_signed(octets) {
            return Err(Refusal::Unsigned);
        }
        // §6.7.4: whatever is not exactly this section is discarded.
        let wanted = [SIGNED_LENGTH as u8, SECTION as u8];
        let lengths = [octets.get(3), octets.get(25)].map(Option::<&u8>::copied);
        if lengths != wanted.map(Some) {
            return Err(Refusal::Key);
        }
        let other = self.other.as_ref().map(|(key, _)| key);
        let by_sending = matches(octets, &self.sending);
        let by_other = !by_sending && other.is_some_and(|key| matches(octets, key));
        if !by_sending && !by_other {
            return Err(Refusal::Key);
        }
        let number = octets.get(28..).and_then(<[u8]>::first_chunk);
        let sequence = u32::from_be_bytes(*number.ok_or(Refusal::Key)?);
        let meticulous = octets.get(24) == Some(&Algorithm::MeticulousKeyedSha1.number());
        if let Some((last, _)) = self.received.filter(|(_, until)| now < *until) {
            let ahead = sequence.wrapping_sub(last);
            let first = u32::from(meticulous);
            if ahead < first || ahead > 3 * u32::from(packet.multiplier) {
                return Err(Refusal::Replayed);
            }
        }
        Ok(Signed { sequence, by_other })
    }

    /// A packet was taken whose signature is right. Its number is forgotten after twice the detection time
    /// without another (§6.8.1).
    pub(super) fn took(&mut self, now: Instant, signed: Signed, detection: Duration) {
        self.received = Some((signed.sequence, now + detection * 2));
        if signed.by_other
            && self
                .other
                .as_ref()
                .is_some_and(|(key, _)| *key == self.wanted)
        {
            self.exchange(now);
        }
    }
}

/// Whether a packet says that it is signed.
pub(super) fn is_signed(octets: &[u8]) -> bool {
    octets
        .get(1)
        .is_some_and(|flags| flags & AUTHENTICATED != 0)
}

/// Whether the key, as it is named in the packet, has made its digest.
fn matches(octets: &[u8], key: &Key) -> bool {
    let named = [octets.get(24), octets.get(26)].map(Option::<&u8>::copied);
    if named != [Some(key.algorithm.number()), Some(key.id)] {
        return false;
    }
    let (Some(signed), Some(theirs)) = (
        octets.get(..DIGEST_AT),
        octets.get(DIGEST_AT..SIGNED_LENGTH),
    ) else {
        return false;
    };
    let ours = digest(signed, key);
    // All octets are looked at, whichever differs first.
    let pairs = ours.iter().zip(theirs);
    pairs.fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// Of the octets before the digest, with the key in its place.
fn digest(before: &[u8], key: &Key) -> [u8; DIGEST] {
    let mut hash = Sha1::new();
    hash.update(before);
    let secret = key.secret.octets();
    let secret = secret.get(..DIGEST).unwrap_or(secret);
    hash.update(secret);
    hash.update([0; DIGEST].get(secret.len()..).unwrap_or_default());
    hash.digest().bytes()
}
