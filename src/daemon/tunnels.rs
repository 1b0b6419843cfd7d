//! How the tunnel devices do, in the protocol's shapes and in words.

use super::event_loop::Daemon;
use crate::control::protocol::Tunnel;
use crate::dataplane::{TunnelState, TunnelStatus};
use crate::time::Instant;

/// All of them, those that are about to go among them.
pub(super) fn all(daemon: &Daemon, now: Instant) -> Vec<Tunnel> {
    let tunnels = daemon.node.dataplane().map(|plane| plane.tunnels());
    let shown = tunnels.unwrap_or_default();
    shown.iter().map(|status| shape(status, now)).collect()
}

fn shape(status: &TunnelStatus, now: Instant) -> Tunnel {
    Tunnel {
        name: status.name.to_string(),
        kind: status.kind.to_owned(),
        state: status.state.as_str().to_owned(),
        state_text: words(&status.state, now),
        works: match status.state {
            TunnelState::Up | TunnelState::Pending | TunnelState::Leaving { .. } => true,
            TunnelState::NoDriver { .. }
            | TunnelState::Foreign
            | TunnelState::Refused { .. }
            | TunnelState::NoUnderlay => false,
        },
        mtu: status.mtu,
        addresses: status.addresses.iter().map(ToString::to_string).collect(),
        far_ends: status.far_ends,
        ready: status.ready,
    }
}

fn words(state: &TunnelState, now: Instant) -> String {
    match state {
        TunnelState::Up => "up".to_owned(),
        TunnelState::Pending => "being set up".to_owned(),
        TunnelState::Leaving { at } => format!(
            "no longer needed; takes in packets of nodes that switch later for another {} s",
            at.since(now).as_secs()
        ),
        TunnelState::NoDriver { module } => format!(
            "the kernel has no driver for it: `modprobe {module}`, or choose another mode for the \
             pools that need it"
        ),
        TunnelState::Foreign => "a device of this name belongs to another program: stop that \
            program and let dunlin take over by `adopt = [\"felix\"]` in [routing]"
            .to_owned(),
        TunnelState::Refused { reason } => reason.clone(),
        TunnelState::NoUnderlay => {
            "no link of this host has the node's address under it".to_owned()
        }
    }
}
