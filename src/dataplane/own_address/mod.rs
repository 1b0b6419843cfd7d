//! This node's own address: which one of the host's it is, and why no other.
//!
//! [`select`] is a pure function of a [`KernelView`] and a [`Question`]. It looks up no name and
//! waits for nothing; whoever asks brings what a name stands for and what the datastore knows. What
//! always holds: what is chosen by a method is among the candidates that this method admits; in the
//! preferred order a valid current address stays, and a link that is down never beats one that is
//! up. Same view and question, same answer.
//!
//! The kernel's own order of the addresses of one link is not in the view. The first one is told by
//! the connected route, which names it as its source; an IPv6 route does not, and there an address
//! without a subnet (/128) comes last.

mod method;
mod order;
mod reason;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use super::input::{Address, Link};
use super::resolve::KernelView;
use crate::net::{Family, Prefix};

pub use method::{Method, MethodError, Patterns};
pub use order::Order;
pub use reason::{Behind, Failure, Oddity, Refusal, Scope, Taken, Verdict};

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Of which family the address is.
    pub family: Family,
    /// How it is found.
    pub method: &'a Method,
    /// Which of several is taken.
    pub order: Order,
    /// On record or in use; the first one that is valid is kept.
    pub current: &'a [IpAddr],
    /// What the target of `can-reach` stands for, of either family.
    pub targets: &'a [IpAddr],
    /// What Kubernetes lists as InternalIP, of either family.
    pub internal_ips: &'a [IpAddr],
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The node's address; `Ok(None)` if it is to have none.
    pub chosen: Result<Option<Chosen>, Failure>,
    /// Every address of the family, the best first.
    pub candidates: Vec<Candidate>,
    /// What is odd about the chosen one.
    pub oddity: Option<Oddity>,
}

/// The node's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The address.
    pub address: IpAddr,
    /// The prefix length of its subnet.
    pub len: u8,
    /// The link that carries it.
    pub link: Option<Box<str>>,
}

/// An address of the host, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The name of the link.
    pub link: Box<str>,
    /// The address.
    pub address: Address,
    /// Taken, or why not.
    pub verdict: Verdict,
}

/// An address with all that the choice depends on.
struct Seen<'v> {
    link: &'v Link,
    address: Address,
    /// The default route leaves by its link.
    on_default_route: bool,
    /// Its subnet's connected route has it as the source.
    primary: bool,
}

/// Chooses the node's address.
pub fn select(view: &KernelView, question: &Question<'_>) -> Selection {
    let mut seen = look(view, question.family);
    seen.sort_by(|a, b| question.order.compare(a, b));
    let anchor = anchor(view, question, &seen);
    let refusals: Vec<Option<Refusal>> = seen
        .iter()
        .map(|seen| refusal(question, seen, &anchor))
        .collect();
    let admitted = || {
        seen.iter()
            .zip(&refusals)
            .filter(|(_, refusal)| refusal.is_none())
            .map(|(seen, _)| seen)
    };
    let kept = question.current.iter().find_map(|current| {
        let valid = |seen: &&Seen<'_>| seen.address.address == *current && seen.link.up;
        admitted().find(valid)
    });
    let kept = kept.filter(|_| question.order == Order::Preferred);
    let first = kept.or_else(|| admitted().next());
    let taken = match (kept, admitted().count()) {
        (_, 1) => Taken::Only,
        (Some(_), _) => Taken::Current,
        (None, of) => Taken::First { of },
    };
    let verdicts = seen.iter().zip(&refusals).map(|(seen, refusal)| {
        match (refusal, first) {
            (Some(refusal), _) => Verdict::Refused(refusal.clone()),
            (None, Some(first)) if core::ptr::eq(first, seen) => Verdict::Taken(taken),
            (None, _) if kept.is_some() => Verdict::Behind(Behind::CurrentIsKept),
            (None, Some(first)) => Verdict::Behind(question.order.why(seen, first)),
            // What is admitted has a first one.
            (None, None) => Verdict::Refused(Refusal::NotWanted),
        }
    });
    let mut candidates: Vec<Candidate> = seen
        .iter()
        .zip(verdicts)
        .map(|(seen, verdict)| Candidate {
            link: seen.link.name.clone(),
            address: seen.address,
            verdict,
        })
        .collect();
    // Stable: within each kind the order of the choice stays.
    candidates.sort_by_key(|candidate| match candidate.verdict {
        Verdict::Taken(_) => 0,
        Verdict::Behind(_) => 1,
        Verdict::Refused(_) => 2,
    });
    let (chosen, oddity) = conclude(question, first, &anchor, seen.len());
    Selection {
        chosen,
        candidates,
        oddity,
    }
}

fn look(view: &KernelView, family: Family) -> Vec<Seen<'_>> {
    let default_route = view.default_link(family);
    let of_family = |address: &Address| Prefix::host(address.address).family() == family;
    view.addresses()
        .filter(of_family)
        .filter_map(|address| {
            let link = view.link_by_index(address.interface)?;
            Some(Seen {
                link,
                address,
                on_default_route: default_route == Some(link.index),
                primary: match family {
                    Family::Ipv4 => view.is_source_of_its_subnet(address),
                    Family::Ipv6 => address.len < 128,
                },
            })
        })
        .collect()
}

/// The one address that a method is about, if it is about one.
enum Anchor {
    /// Any may do.
    Any,
    /// This one.
    Internal(IpAddr),
    /// That which the kernel would send from.
    Source { target: IpAddr, source: IpAddr },
    /// There is none.
    Missing(Failure),
}

fn anchor(view: &KernelView, question: &Question<'_>, seen: &[Seen<'_>]) -> Anchor {
    let family = question.family;
    let of_family = |address: &&IpAddr| Prefix::host(**address).family() == family;
    match question.method {
        Method::CanReach(name) => {
            let targets = || question.targets.iter().filter(of_family).copied();
            let Some(target) = targets().next() else {
                let target = name.clone();
                return Anchor::Missing(Failure::NoTarget { target, family });
            };
            let sources = targets().filter_map(|target| {
                let source = source_towards(view, seen, target)?;
                Some(Anchor::Source { target, source })
            });
            let missing = Anchor::Missing(Failure::NoWay { target });
            sources.into_iter().next().unwrap_or(missing)
        }
        Method::KubernetesInternalIp => match question.internal_ips.iter().find(of_family) {
            Some(address) => Anchor::Internal(*address),
            None => Anchor::Missing(Failure::NoInternalIp(family)),
        },
        _ => Anchor::Any,
    }
}

/// The source address that the kernel gives a packet to `target`.
fn source_towards(view: &KernelView, seen: &[Seen<'_>], target: IpAddr) -> Option<IpAddr> {
    if seen.iter().any(|seen| seen.address.address == target) {
        return Some(target);
    }
    let way = view.way_to(target)?;
    if way.source.is_some() {
        return way.source;
    }
    let next = way.gateway.unwrap_or(target);
    let goal = if target.is_ipv4() { next } else { target };
    // The subnet of the next neighbour (IPv4), the likest address (IPv6, RFC 6724 §5 rule 8).
    let likeness = |seen: &&Seen<'_>| {
        let own = seen.address;
        let same_subnet = Prefix::new(own.address, own.len).contains(next);
        let alike = match goal {
            IpAddr::V4(_) => 0,
            IpAddr::V6(_) => common_bits(own.address, goal),
        };
        (same_subnet && goal.is_ipv4(), alike, seen.primary)
    };
    let on_link = seen
        .iter()
        .filter(|seen| seen.link.index == way.link && Scope::of(seen.address.address).is_none());
    // The last of equals is what `max_by_key` gives; the first one comes first here.
    on_link
        .rev()
        .max_by_key(likeness)
        .map(|seen| seen.address.address)
}

fn common_bits(a: IpAddr, b: IpAddr) -> u32 {
    match (a, b) {
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V4(_) | IpAddr::V6(_), _) => 0,
    }
}

/// Why the method does not admit an address.
fn refusal(question: &Question<'_>, seen: &Seen<'_>, anchor: &Anchor) -> Option<Refusal> {
    let own = seen.address.address;
    match question.method {
        Method::None => return Some(Refusal::NotWanted),
        Method::Literal { address, .. } => {
            return (own != *address).then_some(Refusal::NotTheLiteral);
        }
        _ => {}
    }
    if let Some(scope) = Scope::of(own) {
        return Some(Refusal::Scope(scope));
    }
    let name = &seen.link.name;
    let by_default = || method::not_the_nodes(name).map(Refusal::NotTheNodes);
    match question.method {
        Method::FirstFound => by_default(),
        Method::SkipInterface(patterns) => by_default().or_else(|| {
            let pattern = patterns.find(name)?;
            Some(Refusal::Skipped(pattern.into()))
        }),
        Method::Interface(patterns) => patterns.find(name).is_none().then_some(Refusal::NoMatch),
        Method::Cidr(list) => {
            let inside = list.iter().any(|prefix| prefix.contains(own));
            (!inside).then_some(Refusal::OutsideCidrs)
        }
        Method::CanReach(_) => match anchor {
            Anchor::Source { target, source } => {
                let (target, source) = (*target, *source);
                (own != source).then_some(Refusal::NotTheSource { target, source })
            }
            _ => Some(Refusal::NoWay),
        },
        Method::KubernetesInternalIp => match anchor {
            Anchor::Internal(address) if own == *address => None,
            _ => Some(Refusal::NotInternalIp),
        },
        // Both were dealt with above.
        Method::None | Method::Literal { .. } => None,
    }
}

fn conclude(
    question: &Question<'_>,
    first: Option<&Seen<'_>>,
    anchor: &Anchor,
    of: usize,
) -> (Result<Option<Chosen>, Failure>, Option<Oddity>) {
    let family = question.family;
    match (question.method, first) {
        (Method::None, _) => (Ok(None), None),
        (Method::Literal { address, len }, None) => {
            let chosen = Chosen {
                address: *address,
                len: len.unwrap_or(Prefix::host(*address).len()),
                link: None,
            };
            let oddity = match len {
                Some(_) => Oddity::Elsewhere(*address),
                None => Oddity::MaskUnknown(*address),
            };
            (Ok(Some(chosen)), Some(oddity))
        }
        (method, Some(seen)) => {
            let len = match method {
                Method::Literal { len: Some(len), .. } => *len,
                _ => seen.address.len,
            };
            let chosen = Chosen {
                address: seen.address.address,
                len,
                link: Some(seen.link.name.clone()),
            };
            let down = (!seen.link.up).then_some(Oddity::LinkDown(chosen.address));
            (Ok(Some(chosen)), down)
        }
        (_, None) => {
            let failure = match anchor {
                Anchor::Missing(failure) => failure.clone(),
                Anchor::Internal(address) => Failure::InternalIpElsewhere(*address),
                Anchor::Any | Anchor::Source { .. } if of == 0 => Failure::NoAddress(family),
                Anchor::Any | Anchor::Source { .. } => Failure::NoneAdmitted { family, of },
            };
            (Err(failure), None)
        }
    }
}
