//! What is under a tunnel: the link that it is tied to, those that its packets leave by, and how large
//! they may be.
//!
//! Pure questions to the kernel's mirror. What always holds:
//!
//! - a device of ours is never under a tunnel, whatever its name: its MTU would become its own measure;
//! - a tunnel is tied to the link with the underlay address only if packets leave by that link: the
//!   kernel sends by no other one then. An address on the loopback or on a dummy ties it to none;
//! - of several ways the one that carries least counts, and what a route says about its MTU counts, too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::input::Link;
use super::super::resolve::KernelView;
use super::{Tunnel, needs};
use crate::net::Family;

/// An Ethernet's MTU, where nothing else is known.
const ETHERNET: u32 = 1500;

/// What is under a tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Underlay {
    /// The link that the tunnel is tied to; none if any link may carry the packets.
    pub(super) parent: Option<u32>,
    /// The links that packets leave by, and come by; none if no way is known.
    pub(super) links: Vec<(u32, Box<str>)>,
    /// The largest packet that can leave.
    pub(super) mtu: u32,
    /// The link that carries no larger one, if that is known.
    pub(super) narrowest: Option<Box<str>>,
}

/// What is under a tunnel; none if no link has the underlay address. `is_ours` tells devices of ours.
pub(super) fn underlay(
    tunnel: &Tunnel,
    view: &KernelView,
    is_ours: impl Fn(&Link) -> bool,
) -> Option<Underlay> {
    let is_ours = |link: &Link| needs::is_marked(link) || is_ours(link);
    let carrying = view
        .addresses()
        .filter(|own| own.address == tunnel.underlay)
        .filter_map(|own| view.link_by_index(own.interface))
        .filter(|link| !is_ours(link));
    // An address that is on a link and on the loopback leaves by the link.
    let holder = carrying.min_by_key(|link| (carries_nothing(link), link.index))?;
    let mut ways = ways(tunnel, view, &is_ours);
    let parent = is_way(holder, view, &ways).then_some(holder);
    if let Some(parent) = parent
        && ways.iter().all(|(link, _)| link.index != parent.index)
    {
        ways.push((parent, parent.mtu));
    }
    let narrowest = ways.iter().min_by_key(|(_, mtu)| *mtu);
    let elsewhere = || fallback(view, is_ours).unwrap_or(ETHERNET);
    Some(Underlay {
        parent: parent.map(|link| link.index),
        mtu: narrowest.map_or_else(elsewhere, |(_, mtu)| *mtu),
        narrowest: narrowest.map(|(link, _)| link.name.clone()),
        links: ways
            .iter()
            .map(|(link, _)| (link.index, link.name.clone()))
            .collect(),
    })
}

/// Whether an address there is one of the host, and not one of a way out.
fn carries_nothing(link: &Link) -> bool {
    link.loopback || link.device.as_ref().is_some_and(|d| d.kind() == "dummy")
}

/// Whether packets leave by the link that has the underlay address, as far as is known.
fn is_way(holder: &Link, view: &KernelView, ways: &[(&Link, u32)]) -> bool {
    if carries_nothing(holder) {
        return false;
    }
    // A link whose own subnet is not in the main table belongs to a VRF, of whose ways nothing is known
    // here; and the kernel looks them up there by the link that the tunnel is tied to.
    ways.is_empty()
        || ways.iter().any(|(link, _)| link.index == holder.index)
        || !view.has_subnet_on(holder.index)
}

/// The links by which packets to the other nodes leave, each once, with what it carries.
fn ways<'a>(
    tunnel: &Tunnel,
    view: &'a KernelView,
    is_ours: &impl Fn(&Link) -> bool,
) -> Vec<(&'a Link, u32)> {
    let mut ways: Vec<(&Link, u32)> = Vec::new();
    let mut add = |address: IpAddr| {
        for (index, limit) in view.links_toward(address) {
            let Some(link) = view.link_by_index(index).filter(|link| !is_ours(link)) else {
                continue;
            };
            let mtu = limit.map_or(link.mtu, |limit| limit.min(link.mtu));
            match ways.iter_mut().find(|(known, _)| known.index == index) {
                Some((_, least)) => *least = mtu.min(*least),
                None => ways.push((link, mtu)),
            }
        }
    };
    tunnel.toward.iter().copied().for_each(&mut add);
    if tunnel.toward.is_empty() {
        // Nobody is there to send to, and who comes will be somewhere behind the default route.
        add(match tunnel.family() {
            Family::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
        });
    }
    ways
}

/// The least that a link carries by which packets may leave, if no route tells which.
fn fallback(view: &KernelView, is_ours: impl Fn(&Link) -> bool) -> Option<u32> {
    let leaving = || {
        let links = view
            .links()
            .filter(|link| link.up && !carries_nothing(link));
        links.filter(|link| !is_ours(link))
    };
    // Pods' ends say nothing about the fabric, unless there is nothing else (a lab's namespaces).
    let is_veth = |link: &&Link| link.device.as_ref().is_some_and(|d| d.kind() == "veth");
    let physical = leaving().filter(|link| !is_veth(link));
    let physical = physical.map(|link| link.mtu).min();
    physical.or_else(|| leaving().map(|link| link.mtu).min())
}
