//! Why a packet of a far end that is watched counts for nothing, and how often.
//!
//! Only what seems to be of a session is counted; whoever else sends leaves no trace.

/// Why a packet counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Refusal {
    /// It came by a link that the far end is not reached by (RFC 5881 §3).
    #[error("it came by another link than the far end is reached by")]
    Link,
    /// It was forwarded more often than it may be, or nobody knows how often (RFC 5881 §5).
    #[error("its TTL says that it came from too far away")]
    Ttl,
    /// It came to the port of the other kind of hops.
    #[error("it came to the port of the other kind of BFD")]
    Port,
    /// It can't be read.
    #[error("it is malformed")]
    Malformed,
    /// No signature, and one is wanted.
    #[error("it is not signed")]
    Unsigned,
    /// A signature, and none is configured.
    #[error("it is signed, and no key is configured here")]
    Signed,
    /// Another key, another algorithm, or an octet that was changed on the way.
    #[error("it is signed with another key")]
    Key,
    /// A sequence number from before, or from nowhere.
    #[error("its sequence number is out of turn")]
    Replayed,
    /// It names the session in another way than the far end that is up.
    #[error("it has another discriminator than the far end that is up")]
    Discriminator,
    /// There is no key here that it could be checked with.
    #[error("the key is missing here")]
    KeyMissing,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Link,
        Self::Ttl,
        Self::Port,
        Self::Malformed,
        Self::Unsigned,
        Self::Signed,
        Self::Key,
        Self::Replayed,
        Self::Discriminator,
        Self::KeyMissing,
    ];

    /// For scripts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Link => "wrong_link",
            Self::Ttl => "wrong_ttl",
            Self::Port => "wrong_port",
            Self::Malformed => "malformed",
            Self::Unsigned => "unsigned",
            Self::Signed => "signed",
            Self::Key => "wrong_key",
            Self::Replayed => "replayed",
            Self::Discriminator => "other_discriminator",
            Self::KeyMissing => "key_missing",
        }
    }
}

/// How many packets of each kind were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped([u64; Refusal::ALL.len()]);

impl Dropped {
    /// How many for this reason.
    pub fn of(&self, reason: Refusal) -> u64 {
        self.0.get(reason as usize).copied().unwrap_or_default()
    }

    pub(super) fn count(&mut self, reason: Refusal) {
        if let Some(count) = self.0.get_mut(reason as usize) {
            *count += 1;
        }
    }
}
