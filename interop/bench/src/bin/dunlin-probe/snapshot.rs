//! What a namespace has, divided into dunlin's and everybody else's.

use crate::cli::RepairOptions;
use crate::error::{Error, Result};
use crate::netlink::{self, Message, Netlink};
use crate::object::{Kind, Object};
use std::collections::{BTreeMap, BTreeSet};

/// What was there at one moment.
pub(crate) struct Snapshot {
    /// dunlin's, with the message that deletes it.
    pub(crate) ours: BTreeMap<Object, Message>,
    /// Everybody else's that does not change by itself.
    pub(crate) foreign: BTreeSet<Object>,
    /// The numbers of dunlin's devices.
    devices: BTreeSet<u32>,
    protocol: u8,
}

const FAMILIES: [u8; 2] = [2, 10];
const BRIDGE: u8 = 7;

impl Snapshot {
    /// Reads all tables.
    pub(crate) fn take(netlink: &mut Netlink, options: &RepairOptions) -> Result<Self> {
        let mut messages = netlink.dump(netlink::NEW_LINK, &[0; 16])?;
        let devices = devices(&messages, &options.devices)?;
        for family in FAMILIES {
            messages.extend(netlink.dump(netlink::NEW_ADDRESS, &head(family, 8))?);
            messages.extend(netlink.dump(netlink::NEW_ROUTE, &head(family, 12))?);
            messages.extend(netlink.dump(netlink::NEW_NEIGHBOUR, &head(family, 12))?);
        }
        messages.extend(netlink.dump(netlink::NEW_NEIGHBOUR, &head(BRIDGE, 12))?);
        let mut snapshot = Self {
            ours: BTreeMap::new(),
            foreign: BTreeSet::new(),
            devices,
            protocol: options.protocol,
        };
        for message in messages {
            let Some(object) = Object::of(&message) else {
                continue;
            };
            if snapshot.is_ours(&object) {
                snapshot.ours.insert(object, message);
            } else if snapshot.is_foreign(&object) {
                snapshot.foreign.insert(object);
            }
        }
        Ok(snapshot)
    }

    fn is_ours(&self, object: &Object) -> bool {
        match object.kind {
            Kind::Route => object.protocol() == Some(self.protocol),
            Kind::Link => false,
            Kind::Neighbour | Kind::Fdb | Kind::Address => {
                object.is_permanent() && self.on_our_device(object)
            }
        }
    }

    /// Is it somebody else's, and does nothing but that somebody change it?
    pub(crate) fn is_foreign(&self, object: &Object) -> bool {
        object.is_permanent() && !self.is_ours(object) && !self.on_our_device(object)
    }

    fn on_our_device(&self, object: &Object) -> bool {
        object.device.is_some_and(|d| self.devices.contains(&d))
    }
}

fn head(family: u8, length: usize) -> Vec<u8> {
    let mut head = vec![0; length];
    if let Some(first) = head.first_mut() {
        *first = family;
    }
    head
}

fn devices(links: &[Message], wanted: &[String]) -> Result<BTreeSet<u32>> {
    let links: BTreeMap<String, u32> = links
        .iter()
        .filter_map(Object::of)
        .filter_map(|link| Some((link.name()?, link.device?)))
        .collect();
    wanted
        .iter()
        .map(|name| {
            let number = links.get(name).copied();
            number.ok_or_else(|| Error::Nothing(format!("there is no device {name}")))
        })
        .collect()
}
