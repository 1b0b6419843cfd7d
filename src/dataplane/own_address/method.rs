//! The ways of finding a node's own address, as they are written in a configuration.
//!
//! The words and what they mean are Calico's (`IP_AUTODETECTION_METHOD`), so that a manifest can be
//! taken over. Name patterns are searched for anywhere in the name and any of several is enough:
//! `interface=eth.*` takes `veth0`, too.

use core::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use regex_lite::Regex;

use crate::net::Prefix;

/// Links that hold no address of the node: bridges, tunnels and pods' ends of container software.
const NOT_THE_NODES: [&str; 19] = [
    "docker",
    "cbr",
    "dummy",
    "podman",
    "virbr",
    "lxcbr",
    "veth",
    "lo",
    "br-",
    "cali",
    // tunl0, and our own tunl6 for IPv6.
    "tunl",
    "flannel",
    "kube-ipvs",
    "cni",
    "vxlan.calico",
    "vxlan-v6.calico",
    "wireguard.cali",
    "wg-v6.cali",
    "nodelocaldns",
];

/// How the address is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// There is none.
    None,
    /// This one; without a length it gets that of the link which carries it.
    Literal {
        /// The address.
        address: IpAddr,
        /// The prefix length of its subnet.
        len: Option<u8>,
    },
    /// The first on a link that is not one of container software's.
    FirstFound,
    /// What the kernel would send from to this address, or to the host of this name.
    CanReach(Box<str>),
    /// On a link whose name matches.
    Interface(Patterns),
    /// First-found, without the links whose names match.
    SkipInterface(Patterns),
    /// Inside one of these.
    Cidr(Box<[Prefix]>),
    /// What Kubernetes lists as the node's InternalIP, if a link carries it.
    KubernetesInternalIp,
}

/// Regular expressions over link names, any of which is enough.
#[derive(Clone)]
pub struct Patterns(Box<[Regex]>);

/// Why a text is no method.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MethodError {
    /// Another word altogether.
    #[error("expected {}", Method::WORDS.join(", "))]
    Unknown,
    /// Nothing stands behind the equals sign.
    #[error("{word:?} needs {wanted} behind it")]
    Empty {
        /// The word.
        word: &'static str,
        /// What it needs.
        wanted: &'static str,
    },
    /// No regular expression.
    #[error("{pattern:?} is no regular expression: {error}")]
    Pattern {
        /// The part between the commas.
        pattern: String,
        /// What is wrong with it.
        error: String,
    },
    /// No prefix.
    #[error("{0:?} is no prefix such as 10.0.0.0/8")]
    Cidr(String),
}

impl Method {
    /// How the methods begin.
    pub const WORDS: [&'static str; 6] = [
        "first-found",
        "can-reach=",
        "interface=",
        "skip-interface=",
        "cidr=",
        "kubernetes-internal-ip",
    ];

    /// Reads a method that looks at the host; a literal and `none` are for the caller to know.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, MethodError> {
        let text = text.trim();
        match text {
            "first-found" | "autodetect" => return Ok(Self::FirstFound),
            "kubernetes-internal-ip" => return Ok(Self::KubernetesInternalIp),
            _ => {}
        }
        let (word, rest) = text.split_once('=').ok_or(MethodError::Unknown)?;
        let rest = rest.trim();
        let need = |word, wanted| {
            if rest.is_empty() {
                Err(MethodError::Empty { word, wanted })
            } else {
                Ok(())
            }
        };
        match word.trim() {
            "can-reach" => need("can-reach=", "an address or a host's name")
                .map(|()| Self::CanReach(rest.into())),
            "interface" => {
                need("interface=", "a pattern of link names")?;
                Patterns::parse(rest).map(Self::Interface)
            }
            "skip-interface" => {
                need("skip-interface=", "a pattern of link names")?;
                Patterns::parse(rest).map(Self::SkipInterface)
            }
            "cidr" => {
                need("cidr=", "a prefix")?;
                rest.split(',')
                    .map(cidr)
                    .collect::<Result<_, _>>()
                    .map(Self::Cidr)
            }
            _ => Err(MethodError::Unknown),
        }
    }

    /// Whether the answer depends on what links and addresses the host has.
    pub const fn looks_at_host(&self) -> bool {
        !matches!(self, Self::None | Self::Literal { len: Some(_), .. })
    }

    /// The host whose addresses the shell has to look up for [`Question::targets`].
    ///
    /// [`Question::targets`]: super::Question::targets
    pub fn target(&self) -> Option<&str> {
        match self {
            Self::CanReach(target) => Some(target),
            _ => None,
        }
    }
}

/// With or without host bits, as Calico takes it; the length has to be there.
fn cidr(text: &str) -> Result<Prefix, MethodError> {
    let text = text.trim();
    text.parse::<IpNetwork>()
        .ok()
        .filter(|_| text.contains('/'))
        .map(|network| Prefix::new(network.ip(), network.prefix()))
        .ok_or_else(|| MethodError::Cidr(text.to_owned()))
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Literal { address, len: None } => address.fmt(f),
            Self::Literal {
                address,
                len: Some(len),
            } => write!(f, "{address}/{len}"),
            Self::FirstFound => f.write_str("first-found"),
            Self::CanReach(target) => write!(f, "can-reach={target}"),
            Self::Interface(patterns) => write!(f, "interface={patterns}"),
            Self::SkipInterface(patterns) => write!(f, "skip-interface={patterns}"),
            Self::Cidr(list) => {
                let list: Vec<String> = list.iter().map(ToString::to_string).collect();
                write!(f, "cidr={}", list.join(","))
            }
            Self::KubernetesInternalIp => f.write_str("kubernetes-internal-ip"),
        }
    }
}

impl Patterns {
    /// Reads regular expressions separated by commas.
    ///
    /// # Errors
    /// The first part that is none.
    pub fn parse(text: &str) -> Result<Self, MethodError> {
        let one = |part: &str| {
            Regex::new(part.trim()).map_err(|error| MethodError::Pattern {
                pattern: part.trim().to_owned(),
                error: error.to_string(),
            })
        };
        // An empty part, as a comma too many makes it, would match every name.
        let parts = text.split(',').filter(|part| !part.trim().is_empty());
        parts.map(one).collect::<Result<_, _>>().map(Self)
    }

    /// The first one that matches a name.
    pub fn find(&self, name: &str) -> Option<&str> {
        let hit = self.0.iter().find(|regex| regex.is_match(name));
        hit.map(Regex::as_str)
    }
}

impl fmt::Display for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<&str> = self.0.iter().map(Regex::as_str).collect();
        f.write_str(&parts.join(","))
    }
}

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl PartialEq for Patterns {
    fn eq(&self, other: &Self) -> bool {
        let texts = |patterns: &'_ Self| patterns.to_string();
        texts(self) == texts(other)
    }
}

impl Eq for Patterns {}

/// The beginning of a name that belongs to container software.
pub(super) fn not_the_nodes(name: &str) -> Option<&'static str> {
    NOT_THE_NODES
        .into_iter()
        .find(|begin| name.starts_with(begin))
}
