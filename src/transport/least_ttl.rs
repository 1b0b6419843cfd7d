//! Which data a listening socket's connections never get: what has come from further away than its sender may be
//! (GTSM, RFC 5082), between the SYN and the moment at which the accepted socket has its own least TTL.
//!
//! A filter of the kernel's (classic BPF), made of the peers' rules; the narrowest that has the sender decides.
//! It only ever drops segments with data in them: a SYN from afar is still answered, so that the refusal can be
//! told, and what a connection says is never read. Pure: the listener attaches it.

use std::net::IpAddr;

use socket2::SockFilter;

use super::signing::KeyScope;

/// From whom data must have which TTL at least; 0 takes any.
pub type LeastTtls = Vec<(KeyScope, u8)>;

/// Instructions that the kernel takes (`BPF_MAXINSNS`).
const MOST: usize = 4096;

/// Where the network header is, whatever the packet begins with (`SKF_NET_OFF`).
const NETWORK: u32 = (-0x10_0000_i32).cast_unsigned();
const DROP: SockFilter = SockFilter::new(0x06, 0, 0, 0);
const KEEP: SockFilter = SockFilter::new(0x06, 0, 0, u32::MAX);
const LENGTH: u16 = 0x80;
const LOAD_WORD: u16 = 0x20;
const LOAD_OCTET: u16 = 0x30;
const AND: u16 = 0x54;
const SHIFT_RIGHT: u16 = 0x74;
const TO_INDEX: u16 = 0x07;
const LESS_INDEX: u16 = 0x1c;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;

const fn plain(code: u16, value: u32) -> SockFilter {
    SockFilter::new(code, 0, 0, value)
}

/// The filter for one family, and how many of its rules had no room; none if nobody has a rule.
pub(super) fn filter(rules: &LeastTtls, ipv4: bool) -> (Option<Vec<SockFilter>>, usize) {
    let mut ours: Vec<_> = rules
        .iter()
        .filter(|(scope, _)| scope.address.is_ipv4() == ipv4)
        .collect();
    if ours.iter().all(|(_, least)| *least == 0) {
        return (None, 0);
    }
    ours.sort_by_key(|(scope, _)| core::cmp::Reverse(scope.length));
    let mut program = vec![
        // Data is what is longer than the TCP header says of itself.
        plain(LOAD_OCTET, 12),
        plain(AND, 0xf0),
        plain(SHIFT_RIGHT, 2),
        plain(TO_INDEX, 0),
        plain(LENGTH, 0),
        plain(LESS_INDEX, 0),
        SockFilter::new(IF_EQUAL, 0, 1, 0),
        KEEP,
    ];
    let mut left_out = 0;
    for (scope, least) in ours {
        let rule = rule(*scope, *least);
        if program.len() + rule.len() < MOST {
            program.extend(rule);
        } else {
            left_out += 1;
        }
    }
    program.push(KEEP);
    (Some(program), left_out)
}

/// Decides if the sender is in `scope`, and else falls through.
fn rule(scope: KeyScope, least: u8) -> Vec<SockFilter> {
    let (words, source, ttl): (Vec<u32>, u32, u32) = match scope.address {
        IpAddr::V4(address) => (vec![address.to_bits()], 12, 8),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            let word = |at: u32| u32::try_from(bits >> (96 - 32 * at) & 0xffff_ffff).unwrap_or(0);
            ((0..4).map(word).collect(), 8, 7)
        }
    };
    let verdict = [
        plain(LOAD_OCTET, NETWORK + ttl),
        SockFilter::new(IF_AT_LEAST, 1, 0, least.into()),
        DROP,
        KEEP,
    ];
    // From the last word to the first, since each has to know how far it is to the end.
    let mut made: Vec<SockFilter> = verdict.into();
    for (at, word) in words.iter().enumerate().rev() {
        let at = u32::try_from(at).unwrap_or(0);
        let bits = u32::from(scope.length).saturating_sub(32 * at).min(32);
        if bits == 0 {
            continue;
        }
        let mask = u32::MAX << (32 - bits);
        let to_end = u8::try_from(made.len()).unwrap_or(u8::MAX);
        let test = [
            plain(LOAD_WORD, NETWORK + source + 4 * at),
            plain(AND, mask),
            SockFilter::new(IF_EQUAL, 0, to_end, word & mask),
        ];
        made.splice(0..0, test);
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_no_rule_costs_nothing_and_too_many_are_counted() {
        let any: LeastTtls = vec![(KeyScope::host([10, 0, 0, 1].into()), 0)];
        assert!(filter(&any, true).0.is_none() && filter(&any, false).0.is_none());
        let host = |n: u32| (KeyScope::host(IpAddr::V4(n.into())), 255);
        let all: LeastTtls = (0..1_000).map(host).collect();
        let (program, left_out) = filter(&all, true);
        let program = program.unwrap_or_default();
        assert!(program.len() <= MOST);
        assert_eq!(left_out, 1_000 - (MOST - 9) / 7);
        assert!(filter(&all, false).0.is_none());
    }
}
