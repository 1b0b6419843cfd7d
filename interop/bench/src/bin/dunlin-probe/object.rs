//! What a message of the kernel speaks of: a route, a neighbour, an FDB entry, an address, a link.
//!
//! Two messages speak of the same object when its [`Object`]s are equal: what changes by itself (ages, counters,
//! flags of the moment) is left out.

use crate::error::{Error, Result};
use crate::netlink::{self, Message, attributes};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Kinds that are deleted and come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A route.
    Route,
    /// An address's MAC.
    Neighbour,
    /// A MAC's node.
    Fdb,
    /// A device's address.
    Address,
    /// A device. Never deleted here; those of others must stay as they are.
    Link,
}

/// An object, by all that makes it what it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Object {
    /// What it is.
    pub(crate) kind: Kind,
    /// The device it is on, where that is one.
    pub(crate) device: Option<u32>,
    head: Vec<u8>,
    attributes: BTreeMap<u16, Vec<u8>>,
}

const BRIDGE: u8 = 7;
const PERMANENT: u8 = 0x80;
/// Of a link: MAC, name, MTU, alias.
const LINK_ATTRIBUTES: &[u16] = &[1, 3, 4, 20];
/// Of an address: address, local, broadcast.
const ADDRESS_ATTRIBUTES: &[u16] = &[1, 2, 4];
/// Of a route: destination, source, link, gateway, metric, preferred source, metrics, multipath, via, encapsulation,
/// nexthop object.
const ROUTE_ATTRIBUTES: &[u16] = &[1, 2, 4, 5, 6, 7, 8, 9, 18, 21, 22, 30];
const ENCAPSULATION: u16 = 22;
/// Of a neighbour: destination, MAC, port, VNI, link.
const NEIGHBOUR_ATTRIBUTES: &[u16] = &[1, 2, 6, 7, 8];

/// Where an encapsulation leads to. Of the rest of it, a table says less than a notification (empty options).
fn far_end(encapsulation: &[u8]) -> Vec<u8> {
    const DESTINATION: u16 = 2;
    let parts = attributes(encapsulation, 0);
    let far_end = parts.into_iter().find(|(kind, _)| *kind == DESTINATION);
    far_end.map_or_else(|| encapsulation.to_vec(), |(_, address)| address)
}

impl Kind {
    /// Those that are deleted.
    pub(crate) const ALL: [Self; 4] = [Self::Route, Self::Neighbour, Self::Fdb, Self::Address];

    /// By the command line's word.
    pub(crate) fn parse(word: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.word() == word)
            .ok_or_else(|| Error::Usage(format!("`{word}` is no kind")))
    }

    /// The word for it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Neighbour => "neighbour",
            Self::Fdb => "fdb",
            Self::Address => "address",
            Self::Link => "link",
        }
    }
}

impl Object {
    /// What the message speaks of; nothing if it is of no kind that counts here.
    pub(crate) fn of(message: &Message) -> Option<Self> {
        let body = &message.body;
        let new = message.kind & !3;
        let (kind, length, wanted) = match new {
            netlink::NEW_LINK => (Kind::Link, 16, LINK_ATTRIBUTES),
            netlink::NEW_ADDRESS => (Kind::Address, 8, ADDRESS_ATTRIBUTES),
            netlink::NEW_ROUTE => (Kind::Route, 12, ROUTE_ATTRIBUTES),
            netlink::NEW_NEIGHBOUR if *body.first()? == BRIDGE => {
                (Kind::Fdb, 12, NEIGHBOUR_ATTRIBUTES)
            }
            netlink::NEW_NEIGHBOUR => (Kind::Neighbour, 12, NEIGHBOUR_ATTRIBUTES),
            _ => return None,
        };
        let mut head = body.get(..length)?.to_vec();
        // Flags of the moment.
        match kind {
            Kind::Link => head.get_mut(8..)?.fill(0),
            Kind::Address => *head.get_mut(2)? = 0,
            Kind::Route => head.get_mut(8..)?.fill(0),
            Kind::Neighbour | Kind::Fdb => {}
        }
        let mut attributes: BTreeMap<u16, Vec<u8>> = attributes(body, length)
            .into_iter()
            .filter(|(number, _)| wanted.contains(number))
            .collect();
        if kind == Kind::Route
            && let Some(encapsulation) = attributes.get_mut(&ENCAPSULATION)
        {
            *encapsulation = far_end(encapsulation);
        }
        let number = |bytes: &[u8]| Some(u32::from_ne_bytes(bytes.try_into().ok()?));
        let device = match kind {
            Kind::Route => attributes.get(&4).and_then(|b| number(b)),
            _ => number(head.get(4..8)?),
        };
        Some(Self {
            kind,
            device,
            head,
            attributes,
        })
    }

    /// The protocol of a route in the main table.
    pub(crate) fn protocol(&self) -> Option<u8> {
        const MAIN: u8 = 254;
        (self.kind == Kind::Route && self.head.get(4) == Some(&MAIN))
            .then(|| self.head.get(5).copied())?
    }

    /// It stays until somebody deletes it: not learned, not of a link by itself.
    pub(crate) fn is_permanent(&self) -> bool {
        match self.kind {
            Kind::Neighbour | Kind::Fdb => self.head.get(8).is_some_and(|s| s & PERMANENT != 0),
            // 253 is the scope "link": every link gives itself such an address.
            Kind::Address => self.head.get(3).is_some_and(|scope| *scope != 253),
            // The kernel's own protocol is 2.
            Kind::Route => self.head.get(5).is_some_and(|protocol| *protocol > 2),
            Kind::Link => true,
        }
    }

    /// A link's name.
    pub(crate) fn name(&self) -> Option<String> {
        let name = self.attributes.get(&3)?;
        let text = name.strip_suffix(&[0]).unwrap_or(name);
        Some(String::from_utf8_lossy(text).into_owned())
    }

    fn address(&self, attribute: u16) -> Option<IpAddr> {
        let bytes = self.attributes.get(&attribute)?.as_slice();
        let v4 = || Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into());
        v4().or_else(|| Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()))
    }

    fn mac(&self) -> Option<String> {
        let bytes: Vec<String> = self
            .attributes
            .get(&2)?
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Some(bytes.join(":"))
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind.word())?;
        let length = self.head.get(1).copied().unwrap_or(0);
        match self.kind {
            Kind::Link => write!(f, " {}", self.name().unwrap_or_default())?,
            Kind::Route => match self.address(1) {
                Some(address) => write!(f, " {address}/{length}")?,
                None => write!(f, " default")?,
            },
            Kind::Fdb => write!(f, " {}", self.mac().unwrap_or_default())?,
            Kind::Neighbour | Kind::Address => {
                if let Some(address) = self.address(1) {
                    write!(f, " {address}")?;
                }
            }
        }
        match (self.kind, self.device) {
            (Kind::Link, _) | (_, None) => Ok(()),
            (_, Some(device)) => write!(f, " on link {device}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(flags: u32, protocol: u8) -> Message {
        let mut body = vec![2, 26, 0, 0, 254, protocol, 0, 1];
        body.extend(flags.to_ne_bytes());
        for (number, value) in [(1u16, [10, 244, 2, 0]), (4, [3, 0, 0, 0]), (12, [9; 4])] {
            body.extend(8u16.to_ne_bytes());
            body.extend(number.to_ne_bytes());
            body.extend(value);
        }
        Message {
            kind: netlink::NEW_ROUTE,
            body,
        }
    }

    #[test]
    fn a_route_is_the_same_whatever_its_flags_and_age() {
        let object = Object::of(&route(0, 179)).unwrap();
        assert_eq!(Some(&object), Object::of(&route(16, 179)).as_ref());
        assert_ne!(Some(&object), Object::of(&route(0, 80)).as_ref());
        assert_eq!((object.protocol(), object.device), (Some(179), Some(3)));
        assert_eq!(object.to_string(), "route 10.244.2.0/26 on link 3");
    }

    #[test]
    fn short_messages_speak_of_nothing() {
        for kind in 16..32 {
            assert_eq!(
                Object::of(&Message {
                    kind,
                    body: vec![0; 3]
                }),
                None
            );
        }
    }
}
