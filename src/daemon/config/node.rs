//! `[node]`: who we are, and how our addresses are found.
//!
//! Words and variables are Calico's; `dunlin.toml` wins over the environment. It is only read here:
//! what a method finds on this host is for `own_address` to see.

use std::net::IpAddr;

use ipnetwork::{Ipv4Network, Ipv6Network};
use toml::de::DeValue;

use crate::dataplane::own_address::{Method, MethodError, Order};
use crate::datastore::{Fault, scalar};
use crate::net::RouterId;
use crate::topology::{Intent, nearest};

/// Who we are, as far as this file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The node in the cluster that we are.
    pub name: String,
    /// Our IPv4 address.
    pub ipv4: AddressChoice,
    /// Our IPv6 address.
    pub ipv6: AddressChoice,
    /// Which of several addresses is taken.
    pub address_order: Order,
    /// Our BGP Identifier; `None` derives it.
    pub router_id: Option<RouterId>,
}

/// Where an address of ours comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressChoice {
    /// What our node's record in the cluster says.
    FromCluster {
        /// How it is found if the record has no address of either family.
        otherwise: Method,
    },
    /// What this finds; what the record says counts as in use.
    Found(Method),
}

/// Our addresses, once they are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OwnAddresses {
    /// Of IPv4, with the mask of its subnet.
    pub ipv4: Option<Ipv4Network>,
    /// Of IPv6, with the mask of its subnet.
    pub ipv6: Option<Ipv6Network>,
}

impl NodeIdentity {
    /// What holds without any file.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ipv4: AddressChoice::FromCluster {
                otherwise: Method::FirstFound,
            },
            ipv6: AddressChoice::FromCluster {
                otherwise: Method::None,
            },
            address_order: Order::Preferred,
            router_id: None,
        }
    }

    /// Puts what is known about our own node into the cluster's intent.
    ///
    /// Returns a line for each difference that the other nodes can't know of.
    pub(crate) fn overlay(&self, intent: &mut Intent, own: OwnAddresses) -> Vec<String> {
        let mut differences = Vec::new();
        let Some(node) = intent.nodes.iter_mut().find(|node| node.name == self.name) else {
            return differences;
        };
        let mut differ = |family: &str, ours: Option<String>| {
            let name = &self.name;
            let ours = ours.unwrap_or_else(|| "none".to_owned());
            differences.push(format!(
                "{family} of {name} is {ours} on this host only; other nodes go by the cluster's \
                 record"
            ));
        };
        if node.ipv4_address != own.ipv4 {
            differ("ipv4", own.ipv4.map(|network| network.to_string()));
        }
        if node.ipv6_address != own.ipv6 {
            differ("ipv6", own.ipv6.map(|network| network.to_string()));
        }
        (node.ipv4_address, node.ipv6_address) = (own.ipv4, own.ipv6);
        node.router_id = self.router_id.or(node.router_id);
        differences
    }
}

/// A value of `ipv4`, or of the variable `IP`.
pub(super) fn ipv4(value: &DeValue<'_>) -> Result<AddressChoice, Fault> {
    choice(value, |value| {
        scalar::ipv4_address(value).map(|network| (network.ip().into(), network.prefix()))
    })
}

/// A value of `ipv6`, or of the variable `IP6`.
pub(super) fn ipv6(value: &DeValue<'_>) -> Result<AddressChoice, Fault> {
    choice(value, |value| {
        scalar::ipv6_address(value).map(|network| (network.ip().into(), network.prefix()))
    })
}

fn choice(
    value: &DeValue<'_>,
    address: fn(&DeValue<'_>) -> Result<(IpAddr, u8), Fault>,
) -> Result<AddressChoice, Fault> {
    let text = value.as_str().unwrap_or_default();
    if text == "none" {
        return Ok(AddressChoice::Found(Method::None));
    }
    match Method::parse(text) {
        Ok(method) => return Ok(AddressChoice::Found(method)),
        Err(MethodError::Unknown) => {}
        Err(error) => return Err(Fault::Wrong(error.to_string())),
    }
    match address(value) {
        Ok((address, len)) => Ok(AddressChoice::Found(Method::Literal {
            address,
            len: text.contains('/').then_some(len),
        })),
        Err(Fault::Expected { expected, .. }) => {
            let expected = format!("\"none\", {expected} or a method ({})", words());
            Err(unknown(value, expected, &Method::WORDS))
        }
        Err(fault) => Err(fault),
    }
}

/// A value of `IP_AUTODETECTION_METHOD`.
pub(super) fn method(value: &DeValue<'_>) -> Result<Method, Fault> {
    match Method::parse(value.as_str().unwrap_or_default()) {
        Ok(method) => Ok(method),
        Err(MethodError::Unknown) => Err(unknown(value, words(), &Method::WORDS)),
        Err(error) => Err(Fault::Wrong(error.to_string())),
    }
}

fn words() -> String {
    Method::WORDS.join(", ")
}

/// Something else; perhaps one of the words, with a letter wrong.
fn unknown(value: &DeValue<'_>, expected: String, words: &[&'static str]) -> Fault {
    let text = value.as_str().unwrap_or_default();
    let word = match text.find('=') {
        Some(at) => text.get(..=at).unwrap_or(text),
        None => text,
    };
    // An address is like no word.
    let near = nearest(word, words.iter().copied()).filter(|_| word.chars().count() >= 3);
    let hint = near
        .map(|word| format!("; did you mean {word:?}?"))
        .unwrap_or_default();
    Fault::Expected {
        expected,
        found: format!("{}{hint}", scalar::show(value)),
    }
}

/// Whether the variable for the method has a say: where the address is to be found, and not by a
/// method that is named already. IPv6 is looked for only on request, as in Calico.
pub(super) const fn takes_method(choice: &AddressChoice) -> bool {
    let (AddressChoice::Found(method) | AddressChoice::FromCluster { otherwise: method }) = choice;
    matches!(method, Method::FirstFound)
}

/// Puts the method in its place.
pub(super) fn use_method(choice: &mut AddressChoice, with: Method) {
    let (AddressChoice::Found(method) | AddressChoice::FromCluster { otherwise: method }) = choice;
    *method = with;
}

/// A BGP Identifier, or how it is made.
#[derive(Debug, Clone, Copy)]
pub(super) enum RouterIdChoice {
    /// From the IPv4 address, else from the name.
    Auto,
    /// From the name.
    Hash,
    /// This one.
    Given(RouterId),
}

impl RouterIdChoice {
    pub(super) fn settle(self, name: &str) -> Option<RouterId> {
        match self {
            Self::Auto => None,
            Self::Hash => Some(RouterId::from_name(name)),
            Self::Given(id) => Some(id),
        }
    }
}

pub(super) fn router_id(value: &DeValue<'_>) -> Result<RouterIdChoice, Fault> {
    match value.as_str() {
        Some("auto") => Ok(RouterIdChoice::Auto),
        Some("hash") => Ok(RouterIdChoice::Hash),
        Some(_) | None => match scalar::router_id(value) {
            Err(Fault::Expected { expected, .. }) => {
                let expected = format!("\"auto\", \"hash\" or {expected}");
                Err(unknown(value, expected, &["auto", "hash"]))
            }
            result => result.map(RouterIdChoice::Given),
        },
    }
}
