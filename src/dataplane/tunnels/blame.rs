//! Who is in the way when the kernel refuses something about a tunnel's link: by name, as far as the
//! kernel's mirror knows.

use super::super::device::Device;
use super::super::input::Link;
use super::super::resolve::KernelView;
use super::super::route::Errno;
use super::needs::has_family;
use super::news::why;
use super::port::Port;
use super::{Tunnel, TunnelKind};

/// Why it was refused, after "cannot do this: ".
pub(super) fn blame(view: &KernelView, port: &Port, errno: Errno) -> String {
    let named = || match port.tunnel.as_deref() {
        Some(tunnel) if errno == Errno::EEXIST => exists(view, tunnel, port.index),
        Some(tunnel) if errno == Errno::EADDRINUSE => taken(view, tunnel, port.index),
        _ => None,
    };
    named().unwrap_or_else(|| why(errno))
}

fn others(view: &KernelView, own: Option<u32>) -> impl Iterator<Item = &Link> {
    view.links().filter(move |link| Some(link.index) != own)
}

fn exists(view: &KernelView, tunnel: &Tunnel, own: Option<u32>) -> Option<String> {
    if others(view, own).any(|link| *link.name == *tunnel.name) {
        return Some(format!("another device has the name {}", tunnel.name));
    }
    let TunnelKind::Vxlan { vni, port, .. } = tunnel.kind else {
        return None;
    };
    let has_it = |link: &&Link| match link.device {
        Some(Device::Vxlan {
            vni: id,
            port: udp,
            local,
            ..
        }) => (id, udp) == (vni, port) && has_family(local, tunnel.family()),
        _ => false,
    };
    let what = format!("VNI {vni} with UDP port {port}");
    Some(match others(view, own).find(has_it) {
        Some(link) => format!("the device {} has {what}", link.name),
        None => format!(
            "a device that was made here and moved to another network namespace has {what}; delete it there"
        ),
    })
}

fn taken(view: &KernelView, tunnel: &Tunnel, own: Option<u32>) -> Option<String> {
    let TunnelKind::Vxlan { port, .. } = tunnel.kind else {
        return None;
    };
    let listens = |link: &&Link| match link.device {
        Some(Device::Vxlan {
            port: udp, local, ..
        }) => link.up && udp == port && has_family(local, tunnel.family()),
        _ => false,
    };
    Some(match others(view, own).find(listens) {
        Some(link) => format!(
            "UDP port {port} is taken, by the device {} or by a program (`ss -ulnp` shows which)",
            link.name
        ),
        None => format!("a program has UDP port {port} (`ss -ulnp` shows which)"),
    })
}
