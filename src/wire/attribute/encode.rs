//! Attributes to bytes, for peers and for our own tables.

use std::net::IpAddr;

use super::table::{code, flag};
use super::{Aggregator, AsPath, NextHop, Origin, PathAttributes, UnknownAttribute};
use crate::net::{AfiSafi, Asn};

const WELL_KNOWN: u8 = flag::TRANSITIVE;
const NON_TRANSITIVE: u8 = flag::OPTIONAL;
const TRANSITIVE: u8 = flag::OPTIONAL | flag::TRANSITIVE;

impl PathAttributes {
    /// Appends the attributes in order of their codes, as a peer is to see them.
    ///
    /// `four_octet_as` false: AS_PATH and AGGREGATOR with AS_TRANS, and AS4_PATH and AS4_AGGREGATOR
    /// where needed (RFC 6793 §4.2.2). `include_next_hop`: NEXT_HOP (3), if it is an IPv4 address;
    /// MP_REACH_NLRI is written by [`write_announce`](crate::wire::update::write_announce).
    pub fn encode(&self, four_octet_as: bool, include_next_hop: bool, out: &mut Vec<u8>) {
        let mut writer = Writer {
            out,
            unknown: self.unknown.iter().peekable(),
        };
        self.write_body(&mut writer, four_octet_as, include_next_hop);
    }

    /// Appends the private form for our own tables: equal values give equal bytes.
    ///
    /// It is the form that a four-octet peer gets, except that the next hop is always there: IPv4 as
    /// NEXT_HOP, IPv6 as an MP_REACH_NLRI without NLRI, and with the scope if there is one.
    pub fn encode_canonical(&self, out: &mut Vec<u8>) {
        let Some(
            next_hop @ NextHop {
                address: IpAddr::V6(_),
                ..
            },
        ) = self.next_hop
        else {
            return self.encode(true, true, out);
        };
        let mut writer = Writer {
            out,
            unknown: [].iter().peekable(),
        };
        writer.put(NON_TRANSITIVE, code::MP_REACH, |out| {
            let AfiSafi { afi, safi } = AfiSafi::IPV6_UNICAST;
            out.extend_from_slice(&afi.to_be_bytes());
            out.push(safi);
            let start = out.len();
            out.push(0);
            next_hop.encode_field(out);
            if next_hop.scope != 0 {
                out.extend_from_slice(&next_hop.scope.to_be_bytes());
            }
            let len = u8::try_from(out.len() - start - 1).unwrap_or(u8::MAX);
            if let Some(place) = out.get_mut(start) {
                *place = len;
            }
            out.push(0);
        });
        self.encode(true, false, out);
    }

    fn write_body(&self, w: &mut Writer<'_>, four_octet_as: bool, include_next_hop: bool) {
        let narrow = !four_octet_as;
        w.put(WELL_KNOWN, code::ORIGIN, |out| out.push(self.origin.code()));
        w.put(WELL_KNOWN, code::AS_PATH, |out| {
            self.as_path.encode_value(narrow, out)
        });
        if let (
            true,
            Some(NextHop {
                address: IpAddr::V4(address),
                ..
            }),
        ) = (include_next_hop, self.next_hop)
        {
            w.put(WELL_KNOWN, code::NEXT_HOP, |out| {
                out.extend_from_slice(&address.octets())
            });
        }
        w.put_u32(NON_TRANSITIVE, code::MED, self.med);
        w.put_u32(WELL_KNOWN, code::LOCAL_PREF, self.local_pref);
        if self.atomic_aggregate {
            w.put(WELL_KNOWN, code::ATOMIC_AGGREGATE, |_| {});
        }
        if let Some(aggregator) = self.aggregator {
            w.put(TRANSITIVE, code::AGGREGATOR, |out| {
                aggregator.encode_value(narrow, out)
            });
        }
        w.put_list(
            TRANSITIVE,
            code::COMMUNITIES,
            self.communities.iter().map(|c| c.to_be_bytes()),
        );
        w.put_u32(
            NON_TRANSITIVE,
            code::ORIGINATOR_ID,
            self.originator_id.map(|id| id.0),
        );
        let clusters = self.cluster_list.iter().map(|id| id.0.to_be_bytes());
        w.put_list(NON_TRANSITIVE, code::CLUSTER_LIST, clusters);
        let extended = self.extended_communities.iter().copied();
        w.put_list(TRANSITIVE, code::EXTENDED_COMMUNITIES, extended);
        if narrow {
            self.write_as4(w);
        }
        if let Some(metric) = self.aigp {
            w.put(NON_TRANSITIVE, code::AIGP, |out| {
                out.extend_from_slice(&[1, 0, 11]);
                out.extend_from_slice(&metric.to_be_bytes());
            });
        }
        let large = self.large_communities.iter();
        let large = large.flat_map(|c| [c.global, c.local1, c.local2].map(u32::to_be_bytes));
        w.put_list(TRANSITIVE, code::LARGE_COMMUNITIES, large);
        w.put_u32(TRANSITIVE, code::OTC, self.otc.map(|asn| asn.0));
        w.flush_unknown_below(None);
    }

    /// What two octets could not say (RFC 6793 §4.2.2), without confederation segments (§3).
    fn write_as4(&self, w: &mut Writer<'_>) {
        if self.as_path.iter().any(|asn| !asn.fits_two_octets()) {
            let mut outside = self.as_path.clone();
            outside
                .segments
                .retain(|segment| !segment.kind.is_confederation());
            if outside != AsPath::default() {
                w.put(TRANSITIVE, code::AS4_PATH, |out| {
                    outside.encode_value(false, out)
                });
            }
        }
        if let Some(aggregator) = self.aggregator.filter(|a| !a.asn.fits_two_octets()) {
            w.put(TRANSITIVE, code::AS4_AGGREGATOR, |out| {
                aggregator.encode_value(false, out)
            });
        }
    }
}

impl Origin {
    /// The number on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::Igp => 0,
            Self::Egp => 1,
            Self::Incomplete => 2,
        }
    }

    pub(super) const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Igp,
            1 => Self::Egp,
            2 => Self::Incomplete,
            _ => return None,
        })
    }
}

impl Aggregator {
    fn encode_value(self, narrow: bool, out: &mut Vec<u8>) {
        let Self {
            asn: Asn(number),
            address,
        } = self;
        if narrow {
            out.extend_from_slice(&self.asn.to_two_octets().to_be_bytes());
        } else {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&address.octets());
    }
}

/// Writes attributes in order of their codes, the unknown ones in between.
struct Writer<'a> {
    out: &'a mut Vec<u8>,
    unknown: core::iter::Peekable<core::slice::Iter<'a, UnknownAttribute>>,
}

impl Writer<'_> {
    fn put(&mut self, flags: u8, code: u8, value: impl FnOnce(&mut Vec<u8>)) {
        self.flush_unknown_below(Some(code));
        self.put_now(flags, code, value);
    }

    fn put_now(&mut self, flags: u8, code: u8, value: impl FnOnce(&mut Vec<u8>)) {
        self.out.extend_from_slice(&[flags, code, 0]);
        let start = self.out.len();
        value(self.out);
        let len = self.out.len() - start;
        if let Ok(short) = u8::try_from(len) {
            if let Some(field) = self.out.get_mut(start - 1) {
                *field = short;
            }
            return;
        }
        // Rare: only a value above 255 octets has to be moved for the second length octet.
        self.out.insert(start, 0);
        if let Some([flags, _code, high, low]) = self.out.get_mut(start - 3..=start) {
            *flags |= flag::EXTENDED;
            [*high, *low] = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
        }
    }

    fn put_u32(&mut self, flags: u8, code: u8, value: Option<u32>) {
        if let Some(value) = value {
            self.put(flags, code, |out| {
                out.extend_from_slice(&value.to_be_bytes())
            });
        }
    }

    fn put_list<const N: usize>(
        &mut self,
        flags: u8,
        code: u8,
        items: impl Iterator<Item = [u8; N]>,
    ) {
        let mut items = items.peekable();
        if items.peek().is_some() {
            self.put(flags, code, |out| {
                items.for_each(|item| out.extend_from_slice(&item))
            });
        }
    }

    fn flush_unknown_below(&mut self, code: Option<u8>) {
        while let Some(unknown) = self
            .unknown
            .next_if(|unknown| code.is_none_or(|code| unknown.code < code))
        {
            // The low bits are zero when sent (RFC 4271 §4.3); the length decides about bit 4.
            let flags = unknown.flags & 0xE0;
            self.put_now(flags, unknown.code, |out| {
                out.extend_from_slice(&unknown.value)
            });
        }
    }
}
