//! How packets travel by a route that is in the kernel: what a former process left says what it did.

use super::device::Device;
use super::forwarder::Dataplane;
use super::route::Hop;
use crate::net::Prefix;

/// How packets by a route travel to the next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Travel {
    /// As they are.
    Bare,
    /// In IP, by a tunnel device.
    Ipip,
    /// In VXLAN, by a tunnel device.
    Vxlan,
}

impl Dataplane {
    /// How packets to a prefix travel by the route of ours that is in the kernel; none if there is no such
    /// route, if it drops, or if it leads to a far end itself.
    pub fn travels(&self, prefix: Prefix) -> Option<Travel> {
        let hop = self.installed(prefix)?.hops.first()?;
        hop.via?;
        Some(self.by(hop))
    }

    fn by(&self, hop: &Hop) -> Travel {
        // Whether the device still has our note makes no difference to what it does.
        let link = hop.interface.filter(|_| hop.onlink);
        let link = link.and_then(|link| self.view().link_by_index(link));
        match link.and_then(|link| link.device.as_ref()) {
            Some(Device::Ipip { .. } | Device::Ip6tnl { .. }) => Travel::Ipip,
            Some(Device::Vxlan { .. }) => Travel::Vxlan,
            Some(Device::Other(_)) | None => Travel::Bare,
        }
    }
}
