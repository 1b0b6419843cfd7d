//! By which links far ends are reached: the link that a peer is named by, those whose subnet holds its
//! address, and those by which the kernel sends to it.
//!
//! Several links are no fault: two cards in one subnet, or a loopback address behind two cables. A far end may
//! answer by either, so all of them are given. A link is the one that has addresses: a bond or a bridge, never
//! its ports, and in a VRF the member. What always holds: a link is known by its index, so a new name changes
//! nothing; what was read is never older than [`FRESH`] while packets come, and is read anew when one comes by
//! a link that was not expected, though for one far end no more often than once in [`PAUSE`].

use std::collections::BTreeMap;
use std::net::IpAddr;

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sys::socket::SockaddrStorage;

use super::socket::address_of;
use crate::bfd::FarEnd;
use crate::time::{Duration, Instant};

/// How long what was read is taken for true.
const FRESH: Duration = Duration::from_secs(1);
/// Between two readings, whoever sends us packets.
const PAUSE: Duration = Duration::from_millis(100);

/// Asks the kernel by which links packets to an address leave.
pub type Routes = Box<dyn FnMut(IpAddr) -> Vec<u32> + Send>;

/// An address of this host.
#[derive(Debug)]
struct Own {
    link: String,
    is_loopback: bool,
    address: IpAddr,
    mask: Option<IpAddr>,
}

/// What is known of this host's links.
pub(super) struct Links {
    routes: Routes,
    own: Vec<Own>,
    read: Option<Instant>,
    /// Far ends that were asked for out of turn since.
    asked: BTreeMap<FarEnd, Instant>,
}

impl Links {
    pub(super) const fn new(routes: Routes) -> Self {
        Self {
            routes,
            own: Vec::new(),
            read: None,
            asked: BTreeMap::new(),
        }
    }

    /// Whether what was read may be true no more.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        self.read.is_none_or(|read| now.since(read) >= FRESH)
    }

    /// By which links a far end is reached now, of which a packet came by one that was not among them; `None`
    /// if that was asked a moment ago.
    pub(super) fn look_again(&mut self, now: Instant, far_end: &FarEnd) -> Option<Vec<u32>> {
        if let Some(asked) = self.asked.get(far_end)
            && now.since(*asked) < PAUSE
        {
            return None;
        }
        if self.read.is_none_or(|read| now.since(read) >= PAUSE) {
            self.read_addresses(now);
        }
        self.asked.insert(far_end.clone(), now);
        Some(self.of(far_end))
    }

    /// Reads the addresses in turn.
    pub(super) fn read(&mut self, now: Instant) {
        self.asked.clear();
        self.read_addresses(now);
    }

    fn read_addresses(&mut self, now: Instant) {
        self.read = Some(now);
        match getifaddrs() {
            Ok(all) => self.own = all.filter_map(|one| own(&one)).collect(),
            Err(error) => tracing::debug!(%error, "cannot read the addresses of this host"),
        }
    }

    /// By which links a far end is reached.
    pub(super) fn of(&mut self, far_end: &FarEnd) -> Vec<u32> {
        if let Some(name) = &far_end.interface {
            return if_nametoindex(name.as_str()).ok().into_iter().collect();
        }
        let remote = far_end.remote;
        let is_here = self.own.iter().any(|own| own.address == remote);
        let near = |own: &&Own| own.has(remote) || (is_here && own.is_loopback);
        let names = self.own.iter().filter(near).map(|own| own.link.as_str());
        let mut links: Vec<u32> = names.filter_map(|name| if_nametoindex(name).ok()).collect();
        links.extend((self.routes)(remote));
        links.sort_unstable();
        links.dedup();
        links
    }
}

impl Own {
    /// Whether the subnet of this address holds another. Every link has the link-local one.
    fn has(&self, remote: IpAddr) -> bool {
        match (self.address, self.mask, remote) {
            (IpAddr::V4(own), Some(IpAddr::V4(mask)), IpAddr::V4(remote)) => {
                let mask = mask.to_bits();
                own.to_bits() & mask == remote.to_bits() & mask
            }
            (IpAddr::V6(own), Some(IpAddr::V6(mask)), IpAddr::V6(remote)) => {
                let mask = mask.to_bits();
                !own.is_unicast_link_local() && own.to_bits() & mask == remote.to_bits() & mask
            }
            _other => false,
        }
    }
}

fn own(one: &InterfaceAddress) -> Option<Own> {
    let ip = |address: &Option<SockaddrStorage>| Some(address_of(address.as_ref()?)?.ip());
    Some(Own {
        link: one.interface_name.clone(),
        is_loopback: one.flags.contains(InterfaceFlags::IFF_LOOPBACK),
        address: ip(&one.address)?,
        mask: ip(&one.netmask),
    })
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links")
            .field("own", &self.own)
            .field("read", &self.read)
            .finish_non_exhaustive()
    }
}
