//! From one TOML value to one value of ours; the error says what was expected and what stood there.
//!
//! Each function takes a value and gives a [`Fault`]; who called adds key, table and place.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnetwork::{Ipv4Network, Ipv6Network};
use toml::Spanned;
use toml::de::DeValue;

use super::words::kebab;
use crate::net::{Asn, Mac, ParsePrefixError, Prefix, RouterId};
use crate::topology::{PeerAddress, Selector, SourceAddress, nearest};

/// The longest name of a link (IFNAMSIZ less the zero).
pub(crate) const MAX_LINK_NAME: usize = 15;

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// It is something else altogether.
    #[error("expected {expected}, found {found}")]
    Expected { expected: String, found: String },
    /// It is of the right kind, but can't be.
    #[error("{0}")]
    Wrong(String),
    /// A text is wrong from a character on.
    #[error("{message}")]
    Inside {
        /// What is wrong.
        message: String,
        /// The byte of the text, as it is read, that the character starts at.
        offset: usize,
    },
}

/// A value in the words of an error message.
pub(crate) fn found(value: &Spanned<DeValue<'_>>) -> String {
    show(value.get_ref())
}

/// The same, of a value without its place.
pub(crate) fn show(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.chars().count() <= 60 => format!("the string {text:?}"),
        DeValue::String(_) => "a long string".to_owned(),
        DeValue::Integer(number) => format!("the integer {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

impl Fault {
    /// That something else stands there than was expected.
    pub(crate) fn expected(expected: impl fmt::Display, value: &DeValue<'_>) -> Self {
        Self::Expected {
            expected: expected.to_string(),
            found: show(value),
        }
    }
}

fn expected(expected: impl fmt::Display, value: &DeValue<'_>) -> Fault {
    Fault::expected(expected, value)
}

/// A text that is not empty.
pub(crate) fn text(value: &DeValue<'_>) -> Result<String, Fault> {
    match value.as_str() {
        Some(text) if !text.trim().is_empty() => Ok(text.to_owned()),
        Some(_) | None => Err(expected("a text", value)),
    }
}

/// A name as Kubernetes has them: letters, digits, `.`, `_` and `-`.
pub(crate) fn name(value: &DeValue<'_>) -> Result<String, Fault> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match value.as_str() {
        Some(name) if !name.is_empty() && name.len() <= 253 && name.chars().all(allowed) => {
            Ok(name.to_owned())
        }
        Some(_) | None => Err(expected(
            "a name of up to 253 letters, digits, dots, dashes and underscores",
            value,
        )),
    }
}

/// `true` or `false`.
pub(crate) fn boolean(value: &DeValue<'_>) -> Result<bool, Fault> {
    value
        .as_bool()
        .ok_or_else(|| expected("true or false", value))
}

/// The same, or as a text: Calico's older custom resources have it so.
pub(crate) fn flag(value: &DeValue<'_>) -> Result<bool, Fault> {
    match value.as_str() {
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(_) | None => boolean(value),
    }
}

/// An AS number: an integer, or a text in asplain or asdot.
pub(crate) fn asn(value: &DeValue<'_>) -> Result<Asn, Fault> {
    let text = match value {
        DeValue::String(text) => Some(text.as_ref()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str()),
        // asdot without quotes looks like a number with a fraction.
        DeValue::Float(number) => Some(number.as_str()),
        _ => None,
    };
    let asn = text.and_then(|text| text.parse().ok()).ok_or_else(|| {
        expected(
            "an AS number from 1 to 4294967295, or in asdot form such as \"1.10\"",
            value,
        )
    })?;
    if asn == Asn::TRANS {
        let why = "AS 23456 stands for numbers that two octets can't hold; nobody can have it";
        return Err(Fault::Wrong(why.to_owned()));
    }
    Ok(asn)
}

/// An integer within bounds.
pub(crate) fn integer<T: TryFrom<i64>>(
    what: &'static str,
    bounds: core::ops::RangeInclusive<i64>,
) -> impl Fn(&DeValue<'_>) -> Result<T, Fault> {
    move |value| {
        let number = match value {
            DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix()).ok(),
            _ => None,
        };
        let number = number
            .filter(|n| bounds.contains(n))
            .and_then(|n| T::try_from(n).ok());
        let range = format!("{what} from {} to {}", bounds.start(), bounds.end());
        number.ok_or_else(|| expected(range, value))
    }
}

/// A port.
pub(crate) fn port(value: &DeValue<'_>) -> Result<u16, Fault> {
    integer("a port", 1..=65535)(value)
}

/// A router id, or a cluster id.
pub(crate) fn router_id(value: &DeValue<'_>) -> Result<RouterId, Fault> {
    let id = value.as_str().and_then(|text| text.parse().ok());
    id.ok_or_else(|| {
        expected(
            "an identifier written like an IPv4 address, not 0.0.0.0",
            value,
        )
    })
}

/// One of several words; `CrossSubnet`, `cross-subnet` and `crosssubnet` are the same one.
pub(crate) fn one_of<T: Copy>(
    words: &'static [(&'static str, T)],
) -> impl Fn(&DeValue<'_>) -> Result<T, Fault> {
    let same = |a: &str, b: &str| kebab(a).replace('-', "") == kebab(b).replace('-', "");
    move |value| {
        let text = value.as_str().unwrap_or_default();
        if let Some((_, meaning)) = words.iter().find(|(word, _)| same(word, text)) {
            return Ok(*meaning);
        }
        let list = alternatives(words.iter().map(|(word, _)| *word));
        let near = nearest(text, words.iter().map(|(word, _)| *word)).filter(|_| !text.is_empty());
        let hint = near
            .map(|word| format!("; did you mean {word:?}?"))
            .unwrap_or_default();
        Err(Fault::Expected {
            expected: list,
            found: format!("{}{hint}", show(value)),
        })
    }
}

/// `"a", "b" or "c"`.
fn alternatives(words: impl Iterator<Item = &'static str>) -> String {
    let mut quoted: Vec<String> = words.map(|word| format!("{word:?}")).collect();
    let last = quoted.pop().unwrap_or_default();
    if quoted.is_empty() {
        last
    } else {
        format!("{} or {last}", quoted.join(", "))
    }
}

/// A time: whole seconds, or a text such as `90s`, `1m30s`, `500ms`.
pub(crate) fn duration(value: &DeValue<'_>) -> Result<Duration, Fault> {
    let time = match value {
        DeValue::Integer(n) => u32::from_str_radix(n.as_str(), n.radix())
            .ok()
            .map(|s| Duration::from_secs(s.into())),
        DeValue::String(text) => parse_duration(text),
        _ => None,
    };
    time.ok_or_else(|| expected("a time such as 90, \"90s\" or \"1m30s\"", value))
}

fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, tail) = rest.split_at_checked(rest.find(|c: char| !c.is_ascii_digit())?)?;
        let unit_ends = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit_ends)?;
        let number: u32 = number.parse().ok()?;
        let one = match unit {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            _ => return None,
        };
        total = total.checked_add(one.checked_mul(number)?)?;
        rest = tail;
    }
    Some(total)
}

/// A hold time (RFC 4271 §4.2: zero, or at least three seconds).
pub(crate) fn hold_time(value: &DeValue<'_>) -> Result<u16, Fault> {
    match seconds(value, u16::MAX)? {
        1 | 2 => Err(Fault::Wrong(
            "a hold time of 1 or 2 s is not allowed; take 0 (no timer) or at least 3".to_owned(),
        )),
        seconds => Ok(seconds),
    }
}

/// The time between KEEPALIVEs.
pub(crate) fn keepalive_time(value: &DeValue<'_>) -> Result<u16, Fault> {
    match seconds(value, u16::MAX)? {
        0 => Err(Fault::Wrong(
            "a keepalive time of 0 sends none; set \"hold-time\" to 0 for that".to_owned(),
        )),
        seconds => Ok(seconds),
    }
}

/// A restart time; the capability has 12 bits for it (RFC 4724 §3).
pub(crate) fn restart_time(value: &DeValue<'_>) -> Result<u16, Fault> {
    seconds(value, 4095)
}

/// How long routes stay when the restart time has run out; the capability has 24 bits for it
/// (RFC 9494 §3.1).
pub(crate) fn long_lived_stale_time(value: &DeValue<'_>) -> Result<u32, Fault> {
    whole_seconds(value, 0x00FF_FFFF)
}

/// How long a peer may take none of our messages.
pub(crate) fn send_hold_time(value: &DeValue<'_>) -> Result<u16, Fault> {
    seconds(value, u16::MAX)
}

/// The time between two tries to connect.
pub(crate) fn connect_retry_time(value: &DeValue<'_>) -> Result<Duration, Fault> {
    let time = duration(value)?;
    if time < Duration::from_millis(100) {
        return Err(Fault::Wrong(
            "expected at least 100ms between two tries".to_owned(),
        ));
    }
    Ok(time)
}

fn seconds(value: &DeValue<'_>, max: u16) -> Result<u16, Fault> {
    whole_seconds(value, max)
}

fn whole_seconds<T>(value: &DeValue<'_>, max: T) -> Result<T, Fault>
where
    T: TryFrom<u64> + PartialOrd + fmt::Display,
{
    let time = duration(value)?;
    let seconds = T::try_from(time.as_secs()).ok().filter(|s| *s <= max);
    match seconds {
        Some(seconds) if time.subsec_nanos() == 0 => Ok(seconds),
        Some(_) | None => Err(expected(format!("whole seconds, at most {max}"), value)),
    }
}

/// A prefix with clear host bits.
pub(crate) fn prefix(value: &DeValue<'_>) -> Result<Prefix, Fault> {
    let text = value.as_str().unwrap_or_default();
    text.parse().map_err(|error| match error {
        ParsePrefixError::Syntax => expected(
            "a prefix such as \"10.244.0.0/16\" or \"fd00:244::/48\"",
            value,
        ),
        ParsePrefixError::Length { max } => {
            Fault::Wrong(format!("{text:?} is too long; its family has {max} bits"))
        }
        ParsePrefixError::HostBits { network } => Fault::Wrong(format!(
            "{text:?} has host bits set; did you mean \"{network}\"?"
        )),
    })
}

/// A node's IPv4 address and mask; without a mask it is alone on its subnet.
pub(crate) fn ipv4_address(value: &DeValue<'_>) -> Result<Ipv4Network, Fault> {
    let parsed = value
        .as_str()
        .and_then(|text| text.parse::<Ipv4Network>().ok());
    let network = parsed
        .ok_or_else(|| expected("an IPv4 address with mask such as \"10.0.0.1/24\"", value))?;
    usable(network.ip().into())?;
    if network.prefix() < 31 && network.ip() == network.network() {
        return Err(Fault::Wrong(format!(
            "{network} is the subnet, not an address in it"
        )));
    }
    if network.prefix() < 31 && network.ip() == network.broadcast() {
        return Err(Fault::Wrong(format!(
            "{network} is the subnet's broadcast address"
        )));
    }
    Ok(network)
}

/// A node's IPv6 address and mask; without a mask it is alone on its subnet.
pub(crate) fn ipv6_address(value: &DeValue<'_>) -> Result<Ipv6Network, Fault> {
    let parsed = value
        .as_str()
        .and_then(|text| text.parse::<Ipv6Network>().ok());
    let network = parsed
        .ok_or_else(|| expected("an IPv6 address with mask such as \"fd00::1/64\"", value))?;
    usable(network.ip().into())?;
    if network.prefix() < 127 && network.ip() == network.network() {
        return Err(Fault::Wrong(format!(
            "{network} is the subnet, not an address in it"
        )));
    }
    Ok(network)
}

/// The IPv4 address of a tunnel device. Calico may write it with a mask, which says nothing.
pub(crate) fn tunnel_ipv4(value: &DeValue<'_>) -> Result<Ipv4Addr, Fault> {
    let text = value.as_str().unwrap_or_default();
    let bare = text.strip_suffix("/32").unwrap_or(text);
    let address = bare
        .parse::<Ipv4Addr>()
        .map_err(|_| expected("an IPv4 address such as \"10.244.0.1\"", value))?;
    usable(address.into())?;
    Ok(address)
}

/// The IPv6 address of a tunnel device.
pub(crate) fn tunnel_ipv6(value: &DeValue<'_>) -> Result<Ipv6Addr, Fault> {
    let text = value.as_str().unwrap_or_default();
    let bare = text.strip_suffix("/128").unwrap_or(text);
    let address = bare
        .parse::<Ipv6Addr>()
        .map_err(|_| expected("an IPv6 address such as \"fd00:244::1\"", value))?;
    usable(address.into())?;
    Ok(address)
}

/// An address of either family that one host can have.
pub(crate) fn address(value: &DeValue<'_>) -> Result<IpAddr, Fault> {
    let text = value.as_str().unwrap_or_default();
    let address = text
        .parse()
        .map_err(|_| expected("an address such as \"10.0.0.1\" or \"fd00::1\"", value))?;
    usable(address)?;
    Ok(address)
}

/// The Ethernet address of one device.
pub(crate) fn mac(value: &DeValue<'_>) -> Result<Mac, Fault> {
    let text = value.as_str().unwrap_or_default();
    let mac: Mac = text
        .parse()
        .map_err(|_| expected("an Ethernet address such as \"66:3f:bd:27:5e:a2\"", value))?;
    let Mac([first, ..]) = mac;
    if first & 1 != 0 {
        return Err(Fault::Wrong(format!("{mac} is a group address")));
    }
    if mac == Mac::default() {
        return Err(Fault::Wrong(format!("{mac} is nobody's address")));
    }
    Ok(mac)
}

/// Whether one end of a session can have the address.
fn usable(address: IpAddr) -> Result<(), Fault> {
    let why = match address {
        IpAddr::V4(Ipv4Addr::BROADCAST) => "is the broadcast address",
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => "is an IPv4 address written as IPv6",
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            "is link-local, which this version can't peer on"
        }
        _ if address.is_unspecified() => "is the unspecified address",
        _ if address.is_multicast() => "is a multicast address",
        IpAddr::V4(_) | IpAddr::V6(_) => return Ok(()),
    };
    Err(Fault::Wrong(format!("{address} {why}")))
}

/// The other end of a peering: `10.0.0.1`, `10.0.0.1:1790`, `2001:db8::1`, `[2001:db8::1]:1790`.
pub(crate) fn peer_ip(value: &DeValue<'_>) -> Result<PeerAddress, Fault> {
    let text = value.as_str().unwrap_or_default();
    let peer = match (text.parse::<IpAddr>(), text.parse::<SocketAddr>()) {
        (Ok(address), _) => PeerAddress {
            address,
            port: None,
        },
        (Err(_), Ok(end)) if end.port() != 0 => PeerAddress {
            address: end.ip(),
            port: Some(end.port()),
        },
        (Err(_), _) => match bracketed(text) {
            Some(address) => PeerAddress {
                address: address.into(),
                port: None,
            },
            None => {
                let forms = "an address such as \"10.0.0.1\", \"10.0.0.1:1790\" or \
                             \"[fd00::1]:1790\"";
                return Err(expected(forms, value));
            }
        },
    };
    if let IpAddr::V6(address) = peer.address
        && address.is_unicast_link_local()
    {
        return Err(Fault::Wrong(format!(
            "{address} is link-local, and on which link is not known; name the link with \"interface\" \
             instead"
        )));
    }
    usable(peer.address)?;
    Ok(peer)
}

fn bracketed(text: &str) -> Option<Ipv6Addr> {
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// An address with a port to listen on.
pub(crate) fn socket_address(value: &DeValue<'_>) -> Result<SocketAddr, Fault> {
    let end = value.as_str().and_then(|text| text.parse().ok());
    end.ok_or_else(|| {
        expected(
            "an address and port such as \"0.0.0.0:179\" or \"[::]:179\"",
            value,
        )
    })
}

/// `UseNodeIP`, `None`, or an address.
pub(crate) fn source_address(value: &DeValue<'_>) -> Result<SourceAddress, Fault> {
    if let Some(address) = value.as_str().and_then(|text| text.parse::<IpAddr>().ok()) {
        usable(address)?;
        return Ok(SourceAddress::Address(address));
    }
    match value.as_str().map(kebab).as_deref() {
        Some("use-node-ip") => Ok(SourceAddress::UseNodeIp),
        Some("none") => Ok(SourceAddress::Kernel),
        Some(_) | None => Err(expected("\"UseNodeIP\", \"None\" or an address", value)),
    }
}

/// A selector over labels.
pub(crate) fn selector(value: &DeValue<'_>) -> Result<Selector, Fault> {
    let text = value
        .as_str()
        .ok_or_else(|| expected("a selector such as \"all()\"", value))?;
    Selector::parse(text).map_err(|error| Fault::Inside {
        message: error.message,
        offset: error.offset,
    })
}

/// A table of texts.
pub(crate) fn labels(value: &DeValue<'_>) -> Result<BTreeMap<String, String>, Fault> {
    let DeValue::Table(table) = value else {
        return Err(expected("labels such as { rack = \"1\" }", value));
    };
    let mut labels = BTreeMap::new();
    for (key, value) in table {
        let key: &str = key.get_ref();
        let text = value.get_ref().as_str().ok_or_else(|| {
            let value = found(value);
            Fault::Wrong(format!("label {key:?}: expected a text, found {value}"))
        })?;
        labels.insert(key.to_owned(), text.to_owned());
    }
    Ok(labels)
}

#[cfg(test)]
mod tests;
