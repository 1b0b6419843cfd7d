//! What BGP itself changes in a set of attributes that goes on to a peer, and how it is done.
//!
//! Not policy, and not the rules of who gets what: [`SentOn`] is their outcome as a value. It is
//! applied to a decoded set, or written straight from the stored octets where that is enough. What
//! always holds: the octets of both ways are the same.

use std::net::{IpAddr, Ipv4Addr};

use super::plain::SEQUENCE;
use super::table::{code, flag};
use super::{NextHop, PathAttributes};
use crate::net::{Asn, RouterId};

/// In the type of an extended community: not beyond the AS (RFC 4360 §3).
const EXTENDED_INTERNAL: u8 = 0x40;
const WELL_KNOWN: u8 = flag::TRANSITIVE;
const NON_TRANSITIVE: u8 = flag::OPTIONAL;

/// What changes on the way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SentOn {
    /// To another AS.
    Outside {
        /// Put in front of AS_PATH.
        local_as: Asn,
        /// MED came from a neighbour, and goes no further (RFC 4271 §5.1.4).
        drop_med: bool,
    },
    /// Within our AS.
    Inside {
        /// LOCAL_PREF of a route that has none.
        local_pref: u32,
        /// It is reflected (RFC 4456 §8).
        reflected: Option<Reflected>,
    },
}

/// What a reflector adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reflected {
    /// ORIGINATOR_ID, unless there is one.
    pub originator: RouterId,
    /// Put in front of CLUSTER_LIST.
    pub cluster: RouterId,
}

impl SentOn {
    /// Changes a decoded set. The next hop is not this one's matter.
    pub fn apply(&self, attributes: &mut PathAttributes) {
        match *self {
            Self::Outside { local_as, drop_med } => {
                attributes.as_path.prepend(local_as);
                attributes.local_pref = None;
                attributes.originator_id = None;
                attributes.cluster_list.clear();
                // Sent where both sides agreed on it only, and nobody has (RFC 7311 §3.4.1).
                attributes.aigp = None;
                attributes
                    .extended_communities
                    .retain(|[kind, ..]| kind & EXTENDED_INTERNAL == 0);
                if drop_med {
                    attributes.med = None;
                }
            }
            Self::Inside {
                local_pref,
                reflected,
            } => {
                attributes.local_pref.get_or_insert(local_pref);
                if let Some(reflected) = reflected {
                    attributes.originator_id.get_or_insert(reflected.originator);
                    attributes.cluster_list.insert(0, reflected.cluster);
                }
            }
        }
    }

    /// Appends a stored set as a four-octet peer is to see it, with NEXT_HOP; `None`, and no octet, if
    /// it has anything that takes decoding.
    ///
    /// `next_hop` is asked with the stored next hop, and gives the one to send.
    pub fn write(
        &self,
        canonical: &[u8],
        next_hop: impl FnOnce(Ipv4Addr) -> Option<NextHop>,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let origin = out.len();
        let mut writing = Writing {
            how: self,
            out,
            next_hop: Some(next_hop),
            owed: 0,
        };
        let done = writing.all(canonical);
        if done.is_none() {
            out.truncate(origin);
        }
        done
    }
}

/// A set under way.
struct Writing<'a, F> {
    how: &'a SentOn,
    out: &'a mut Vec<u8>,
    next_hop: Option<F>,
    /// How many of [`OWED`] were written or came.
    owed: usize,
}

/// What may have to be added, in order.
const OWED: [u8; 3] = [code::LOCAL_PREF, code::ORIGINATOR_ID, code::CLUSTER_LIST];

impl<F: FnOnce(Ipv4Addr) -> Option<NextHop>> Writing<'_, F> {
    fn all(&mut self, canonical: &[u8]) -> Option<()> {
        let mut rest = canonical;
        while let [_, code, len, tail @ ..] = rest {
            // A long value has a second octet of length, which its flags say.
            let (value, behind) = tail.split_at_checked(usize::from(*len))?;
            let (whole, _) = rest.split_at_checked(rest.len() - behind.len())?;
            self.add_below(*code);
            self.one(*code, value, whole)?;
            rest = behind;
        }
        self.add_below(u8::MAX);
        // What we originate has no next hop yet, and is written the long way.
        (rest.is_empty() && self.next_hop.is_none()).then_some(())
    }

    #[inline]
    fn one(&mut self, code: u8, value: &[u8], whole: &[u8]) -> Option<()> {
        if whole.first()? & flag::EXTENDED != 0 {
            return None;
        }
        match (code, self.how) {
            (code::ORIGIN | code::ATOMIC_AGGREGATE | code::AGGREGATOR, _)
            | (code::COMMUNITIES | code::LARGE_COMMUNITIES, _)
            | (code::EXTENDED_COMMUNITIES | code::AS_PATH, SentOn::Inside { .. }) => {
                self.out.extend_from_slice(whole);
            }
            (code::AS_PATH, SentOn::Outside { local_as, .. }) => self.prepend(*local_as, value)?,
            (code::NEXT_HOP, _) => {
                let learnt = Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?);
                let hop = self.next_hop.take()?(learnt)?;
                let IpAddr::V4(address) = hop.address else {
                    return None;
                };
                self.put(WELL_KNOWN, code::NEXT_HOP, address.octets());
            }
            (code::MED, SentOn::Outside { drop_med: true, .. })
            | (
                code::LOCAL_PREF | code::ORIGINATOR_ID | code::CLUSTER_LIST,
                SentOn::Outside { .. },
            ) => {}
            (code::MED, _) => self.out.extend_from_slice(whole),
            (code::LOCAL_PREF | code::ORIGINATOR_ID, SentOn::Inside { .. }) => {
                self.owed += 1;
                self.out.extend_from_slice(whole);
            }
            (code::CLUSTER_LIST, SentOn::Inside { reflected, .. }) => {
                self.owed += 1;
                let Some(Reflected { cluster, .. }) = reflected else {
                    self.out.extend_from_slice(whole);
                    return Some(());
                };
                let len = u8::try_from(value.len() + 4).ok()?;
                self.out
                    .extend_from_slice(&[NON_TRANSITIVE, code::CLUSTER_LIST, len]);
                self.out.extend_from_slice(&cluster.0.to_be_bytes());
                self.out.extend_from_slice(value);
            }
            _ => return None,
        }
        Some(())
    }

    /// Adds what is owed and belongs in front of `code`.
    #[inline]
    fn add_below(&mut self, code: u8) {
        let SentOn::Inside {
            local_pref,
            reflected,
        } = *self.how
        else {
            return;
        };
        while let Some(&next) = OWED.get(self.owed)
            && next < code
        {
            self.owed += 1;
            match (next, reflected) {
                (code::LOCAL_PREF, _) => self.put(WELL_KNOWN, next, local_pref.to_be_bytes()),
                (code::ORIGINATOR_ID, Some(Reflected { originator, .. })) => {
                    self.put(NON_TRANSITIVE, next, originator.0.to_be_bytes());
                }
                (_, Some(Reflected { cluster, .. })) => {
                    self.put(NON_TRANSITIVE, next, cluster.0.to_be_bytes());
                }
                (_, None) => {}
            }
        }
    }

    fn put(&mut self, flags: u8, code: u8, [a, b, c, d]: [u8; 4]) {
        self.out.extend_from_slice(&[flags, code, 4, a, b, c, d]);
    }

    /// AS_PATH with one more number in front, if it is one AS_SEQUENCE that stays short, or empty.
    fn prepend(&mut self, asn: Asn, value: &[u8]) -> Option<()> {
        let (count, numbers) = match value {
            [] => (0, value),
            [SEQUENCE, count, numbers @ ..] if usize::from(*count) * 4 == numbers.len() => {
                (*count, numbers)
            }
            _ => return None,
        };
        let len = u8::try_from(numbers.len() + 6).ok()?;
        let [a, b, c, d] = asn.0.to_be_bytes();
        let head = [WELL_KNOWN, code::AS_PATH, len, SEQUENCE, count + 1];
        self.out.extend_from_slice(&head);
        self.out.extend_from_slice(&[a, b, c, d]);
        self.out.extend_from_slice(numbers);
        Some(())
    }
}
