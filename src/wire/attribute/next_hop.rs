//! Next hops: NEXT_HOP (RFC 4271 §5.1.3) and the field of MP_REACH_NLRI (RFC 2545, RFC 8950).
//!
//! An address that no packet can be sent to is refused here; whether it can be *reached*, or is our
//! own, others know.

use core::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nom::Parser;
use nom::combinator::{all_consuming, opt};
use nom::number::complete::{be_u32, be_u128};

use super::NextHop;
use crate::net::{Family, ScopedAddress};
use crate::wire::error::{MpError, Parsed};

impl NextHop {
    /// A next hop of one address.
    pub const fn new(address: IpAddr) -> Self {
        Self {
            address,
            link_local: None,
            scope: 0,
        }
    }

    /// The same, its link-local address on the link of `scope`.
    pub const fn on(self, scope: u32) -> Self {
        Self { scope, ..self }
    }

    /// Where packets go. With a scope that is the link-local address, which needs no route; without one
    /// it is the address that the routes lead to.
    pub const fn target(&self) -> ScopedAddress {
        match (self.link_local, self.scope) {
            (Some(link_local), 1..) => ScopedAddress::new(IpAddr::V6(link_local), self.scope),
            (_, scope) => ScopedAddress::new(self.address, scope),
        }
    }

    /// Appends the next-hop field of MP_REACH_NLRI, without its length: 4, 16 or 32 octets.
    pub(in crate::wire) fn encode_field(&self, out: &mut Vec<u8>) {
        match self.address {
            IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
            IpAddr::V6(address) => {
                out.extend_from_slice(&address.octets());
                if let Some(link_local) = self.link_local {
                    out.extend_from_slice(&link_local.octets());
                }
            }
        }
    }
}

impl fmt::Debug for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("NextHop");
        out.field("address", &self.address);
        out.field("link_local", &self.link_local);
        if self.scope != 0 {
            out.field("scope", &self.scope);
        }
        out.finish()
    }
}

/// Whether packets can be sent to it: not 0/8, 224/3 (RFC 4271 §6.3) nor, unless they come from this very
/// host, 127/8.
const fn usable4(address: Ipv4Addr, beside: bool) -> bool {
    let [first, ..] = address.octets();
    !matches!(first, 0 | 224..) && (first != 127 || beside)
}

/// The value of NEXT_HOP; `None` is an address that can't be used. The length has been checked. `beside`:
/// the peer is on this host.
pub(super) fn parse_ipv4(value: &[u8], beside: bool) -> Option<NextHop> {
    let address: Parsed<'_, u32> = be_u32(value);
    let address = Ipv4Addr::from_bits(address.ok()?.1);
    usable4(address, beside).then_some(NextHop::new(IpAddr::V4(address)))
}

/// The next-hop field of MP_REACH_NLRI.
///
/// `Ok(None)`: readable, but not a place to send packets to. `extended`: RFC 8950 was agreed on; `beside`: the
/// peer is on this host.
pub(in crate::wire) fn parse_field(
    family: Family,
    field: &[u8],
    (extended, beside): (bool, bool),
) -> Result<Option<NextHop>, MpError> {
    let bad_length = || MpError::NextHopLength(u8::try_from(field.len()).unwrap_or(u8::MAX));
    match (family, field.len()) {
        (Family::Ipv4, 4) => Ok(parse_ipv4(field, beside)),
        (Family::Ipv4, 16 | 32) if extended => Ok(parse_ipv6(field, true, beside)),
        (Family::Ipv6, 16 | 32) => Ok(parse_ipv6(field, false, beside)),
        (Family::Ipv4 | Family::Ipv6, _) => Err(bad_length()),
    }
}

/// One or two IPv6 addresses. All variants seen in the field are taken: global, global and
/// link-local, link-local alone, `::` or link-local before link-local.
fn parse_ipv6(field: &[u8], ipv4_routes: bool, beside: bool) -> Option<NextHop> {
    let parsed: Parsed<'_, (u128, Option<u128>)> =
        all_consuming((be_u128, opt(be_u128))).parse(field);
    let (_, (first, second)) = parsed.ok()?;
    let first = Ipv6Addr::from_bits(first);
    let second = second
        .map(Ipv6Addr::from_bits)
        .filter(Ipv6Addr::is_unicast_link_local);
    if let Some(mapped) = first.to_ipv4_mapped() {
        // Never installed as is: what it means for IPv4 routes is clear, for IPv6 routes it is not.
        return (ipv4_routes && usable4(mapped, beside))
            .then_some(NextHop::new(IpAddr::V4(mapped)));
    }
    if first.is_unicast_link_local() {
        return Some(NextHop::new(IpAddr::V6(first)));
    }
    if first.is_unspecified() {
        return second.map(|address| NextHop::new(IpAddr::V6(address)));
    }
    let usable = !first.is_multicast() && (beside || !first.is_loopback());
    usable.then_some(NextHop {
        address: IpAddr::V6(first),
        link_local: second,
        scope: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(addresses: &[&str]) -> Vec<u8> {
        addresses
            .iter()
            .flat_map(|a| a.parse::<Ipv6Addr>().unwrap().octets())
            .collect()
    }

    fn read(addresses: &[&str]) -> Option<(String, Option<String>)> {
        let hop = parse_field(Family::Ipv6, &field(addresses), (false, false)).unwrap()?;
        Some((
            hop.address.to_string(),
            hop.link_local.map(|a| a.to_string()),
        ))
    }

    #[test]
    fn every_variant_of_link_local_next_hops_is_read() {
        let ll = || "fe80::1".to_owned();
        let global = || "2001:db8::1".to_owned();
        assert_eq!(read(&["2001:db8::1"]), Some((global(), None)));
        assert_eq!(
            read(&["2001:db8::1", "fe80::1"]),
            Some((global(), Some(ll())))
        );
        assert_eq!(read(&["2001:db8::1", "::"]), Some((global(), None)));
        assert_eq!(read(&["fe80::1"]), Some((ll(), None)));
        assert_eq!(read(&["::", "fe80::1"]), Some((ll(), None)));
        assert_eq!(read(&["fe80::1", "fe80::2"]), Some((ll(), None)));
    }

    #[test]
    fn a_scope_is_kept_in_our_tables_and_is_on_no_wire() {
        use crate::wire::attribute::PathAttributes;
        let global = NextHop::new("2001:db8::1".parse().unwrap());
        let both = NextHop {
            link_local: "fe80::1".parse().ok(),
            ..global
        };
        let alone = NextHop::new("fe80::1".parse().unwrap());
        for hop in [global, both, alone] {
            for scope in [0, 1, u32::MAX] {
                let set = PathAttributes {
                    next_hop: Some(hop.on(scope)),
                    ..PathAttributes::default()
                };
                let (mut kept, mut sent) = (Vec::new(), Vec::new());
                set.encode_canonical(&mut kept);
                assert_eq!(PathAttributes::decode_canonical(&kept), Ok(set));
                hop.on(scope).encode_field(&mut sent);
                assert_eq!(
                    parse_field(Family::Ipv6, &sent, (false, false)),
                    Ok(Some(hop))
                );
            }
        }
        assert_eq!(
            both.target().to_string(),
            "2001:db8::1",
            "the routes lead there"
        );
        assert_eq!(both.on(7).target().to_string(), "fe80::1%7");
        assert_eq!(alone.on(7).target().to_string(), "fe80::1%7");
    }

    #[test]
    fn addresses_that_take_no_packets_are_refused() {
        for address in ["::", "::1", "ff02::1", "::ffff:10.0.0.1"] {
            assert_eq!(read(&[address]), None, "{address}");
        }
        for address in [
            [0, 0, 0, 0],
            [127, 0, 0, 1],
            [224, 0, 0, 1],
            [255, 255, 255, 255],
        ] {
            assert_eq!(parse_ipv4(&address, false), None, "{address:?}");
        }
    }

    #[test]
    fn ipv4_over_ipv6_needs_the_capability() {
        let hop = field(&["2001:db8::1"]);
        assert_eq!(
            parse_field(Family::Ipv4, &hop, (false, false)),
            Err(MpError::NextHopLength(16))
        );
        assert!(
            parse_field(Family::Ipv4, &hop, (true, false))
                .unwrap()
                .is_some()
        );
        let mapped = parse_field(Family::Ipv4, &field(&["::ffff:10.0.0.1"]), (true, false))
            .unwrap()
            .unwrap();
        assert_eq!(mapped.address.to_string(), "10.0.0.1");
        for len in [0, 3, 9, 17, 64] {
            let field = vec![1; len];
            assert!(parse_field(Family::Ipv6, &field, (true, false)).is_err());
        }
    }
}
