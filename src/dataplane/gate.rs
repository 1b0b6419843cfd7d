//! Which tunnel devices may be routed through, and to which far ends: the tunnels' word to the view.
//!
//! What always holds:
//!
//! - A gate opens when device, address, settings (and, for VXLAN, the far end's entries) are in the
//!   kernel, and belongs to one interface index: a device that is made anew has a new gate.
//! - It does not close when another program removes an entry: the repair is quicker than to withdraw
//!   the route and bring it back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::next_hop::NextHop;
use super::resolve::KernelView;

/// The open gates, by device.
#[derive(Debug, Clone, Default)]
pub(super) struct Gates(BTreeMap<Arc<str>, Gate>);

/// A device that may be routed through.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Gate {
    index: u32,
    /// The far ends that are ready; none if the device needs nothing for them.
    far_ends: Option<BTreeSet<IpAddr>>,
}

impl Gates {
    /// Opens the gate of a device; with `by_far_end` for nobody yet. Whether that is new.
    pub(super) fn open(&mut self, device: &Arc<str>, index: u32, by_far_end: bool) -> bool {
        let known = self.0.get(device);
        if known.is_some_and(|gate| gate.index == index && gate.far_ends.is_some() == by_far_end) {
            return false;
        }
        let far_ends = by_far_end.then(BTreeSet::new);
        self.0.insert(Arc::clone(device), Gate { index, far_ends });
        true
    }

    /// Closes the gate of a device; whether it was open.
    pub(super) fn close(&mut self, device: &str) -> bool {
        self.0.remove(device).is_some()
    }

    /// Says whether a far end is ready; whether that is new.
    pub(super) fn set_far_end(&mut self, device: &str, address: IpAddr, ready: bool) -> bool {
        let Some(far_ends) = self
            .0
            .get_mut(device)
            .and_then(|gate| gate.far_ends.as_mut())
        else {
            return false;
        };
        if ready {
            far_ends.insert(address)
        } else {
            far_ends.remove(&address)
        }
    }

    /// The index of the device, if its gate is open for anybody.
    pub(super) fn device(&self, device: &str) -> Option<u32> {
        self.0.get(device).map(|gate| gate.index)
    }

    /// The index of the device, if packets for `address` may go through it.
    pub(super) fn index(&self, device: &str, address: IpAddr) -> Option<u32> {
        let gate = self.0.get(device)?;
        let ready = gate
            .far_ends
            .as_ref()
            .is_none_or(|ready| ready.contains(&address));
        ready.then_some(gate.index)
    }
}

impl KernelView {
    /// Packets may go through a tunnel device; with `by_far_end` only to those that are ready.
    pub(super) fn open_gate(&mut self, device: &Arc<str>, index: u32, by_far_end: bool) {
        self.dirty.all |= self.gates.open(device, index, by_far_end);
    }

    /// No packets may go through it.
    pub(super) fn close_gate(&mut self, device: &str) {
        self.dirty.all |= self.gates.close(device);
    }

    /// A far end of a tunnel device is ready, or no longer wanted.
    pub(super) fn set_far_end(&mut self, device: &Arc<str>, address: IpAddr, ready: bool) {
        if self.gates.set_far_end(device, address, ready) {
            let next_hop = NextHop::through(address, Arc::clone(device));
            self.dirty.next_hops.insert(next_hop);
        }
    }
}
