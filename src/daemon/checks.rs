//! What `dunlin run` would stumble over on this host, found without running it.
//!
//! It looks and asks, and leaves nothing behind: drivers are tried in a network namespace that ends with
//! the question. What the files alone say wrong is not its business.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Socket, Type};

use super::config::Config;
use super::{event_loop, host, listening, secrets};
use crate::control::door::{LONGEST_PATH, obstacle};
use crate::control::protocol::Remark;
use crate::control::viewers_socket;
use crate::dataplane::netlink::{Kernel, KernelSettings};
use crate::dataplane::{
    Action, Device, Errno, KernelInput, KernelView, LinkSpec, Op, OpId, TunnelKind, lacks_driver,
};
use crate::forwarding::Chooser;
use crate::node::Backend;
use crate::topology::Plan;

/// A kernel that has not made a device by then may be loading a driver from a slow disk.
const PATIENCE: Duration = Duration::from_secs(10);
/// Long enough for every kind of tunnel.
const MTU: u32 = 1280;

/// All that this host lacks.
pub(super) fn on_this_host(config: &Config, plan: &Plan) -> Vec<Remark> {
    let mut found = Vec::new();
    if let Err(missing) = event_loop::sockets(&config.control) {
        found.push(Remark::error(missing.to_string()));
    }
    let viewers =
        (config.control.viewers.is_some()).then(|| viewers_socket(&config.control.socket));
    for path in viewers.iter().chain([&config.control.socket]) {
        found.extend(socket(path).map(Remark::error));
    }
    if secrets::lacks_tcp_ao(plan) {
        found.push(Remark::error(
            "this kernel has no TCP-AO: sessions with tcp-ao can't come up",
        ));
    }
    let bgp = config.routing.backend == Backend::Bgp;
    match host::look() {
        Ok(view) if bgp => {
            let runs = UnixStream::connect(&config.control.socket).is_ok();
            for address in listening::wanted(config, plan) {
                if !runs && is_taken(address) {
                    found.push(Remark::error(format!(
                        "cannot listen on {address}: another program does; does another BGP speaker \
                         (BIRD, FRR) still run here?"
                    )));
                }
                if !has(&view, address.ip()) {
                    found.push(Remark::warning(format!(
                        "nobody can call {address}: this host does not have the address so far"
                    )));
                }
            }
            for own in plan.addresses().filter(|own| !has(&view, *own)) {
                found.push(Remark::warning(format!(
                    "no link has {own}, the node's own address, so far: give a link that address, or \
                     correct the node's record"
                )));
            }
            for link in listening::links(plan) {
                if view.link_by_name(&link).is_none() {
                    found.push(Remark::warning(format!(
                        "no link {link} is here so far: its peers wait for it"
                    )));
                }
            }
        }
        Ok(_) => {}
        Err(unseen) => found.push(Remark::error(unseen.to_string())),
    }
    if config.routing.kernel_routes && config.routing.backend != Backend::None {
        found.extend(programming(config, plan));
    }
    found
}

/// What the kernel routes and what belongs to them need.
fn programming(config: &Config, plan: &Plan) -> Vec<Remark> {
    let mut found = Vec::new();
    let chooser = Chooser::new(plan.fabric.clone(), &plan.name);
    let nft = crate::nft::Settings::with_program(config.nat.nft.as_deref());
    if chooser.fabric().has_nat_pools()
        && let Err(missing) = nft.program()
    {
        found.push(Remark::error(format!("natOutgoing: {missing}")));
    }
    let mut devices: Vec<(Device, String)> = chooser
        .tunnels()
        .into_iter()
        .map(|tunnel| (device(tunnel.kind), tunnel.name.to_string()))
        .collect();
    devices.dedup_by(|a, b| a.0.kind() == b.0.kind());
    if devices.is_empty() {
        return found;
    }
    match lacking(devices) {
        Ok(lacking) => found.extend(lacking.into_iter().map(|(device, name)| {
            let (kind, module) = (device.kind(), device.module());
            Remark::error(format!(
                "{name}: the kernel has no driver for {kind}: `modprobe {module}`, or choose another \
                 mode for the pools that need it"
            ))
        })),
        Err(why) => found.push(Remark::warning(format!(
            "whether the kernel has the drivers of the tunnels can't be seen ({why}): run this as root"
        ))),
    }
    found
}

/// Why no socket could be made there.
fn socket(path: &Path) -> Option<String> {
    let why = if path.as_os_str().len() > LONGEST_PATH {
        format!("a path of a socket has at most {LONGEST_PATH} octets")
    } else if let Err(obstacle) = obstacle(path) {
        return Some(obstacle.to_string());
    } else {
        let above = path.ancestors().skip(1).find(|folder| folder.exists());
        let above = above.filter(|folder| !folder.is_dir())?;
        format!("{} is no folder", above.display())
    };
    Some(format!("[control] socket {}: {why}", path.display()))
}

fn has(view: &KernelView, address: IpAddr) -> bool {
    address.is_unspecified()
        || address.is_loopback()
        || view.addresses().any(|own| own.address == address)
}

/// Whether somebody listens there. Nobody is kept waiting: the socket that asks does not listen.
fn is_taken(address: SocketAddr) -> bool {
    let bound = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        match address {
            SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
            SocketAddr::V6(_) => {
                socket.set_only_v6(true)?;
                socket.set_freebind_v6(true)?;
            }
        }
        socket.bind(&address.into())
    };
    bound().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

/// A device of the kind that hinders nobody.
fn device(kind: TunnelKind) -> Device {
    match kind {
        TunnelKind::Ipip => Device::Ipip {
            local: Some(Ipv4Addr::LOCALHOST),
            remote: None,
        },
        TunnelKind::Ip6tnl => Device::Ip6tnl {
            local: Some(Ipv6Addr::LOCALHOST),
            remote: None,
        },
        TunnelKind::Vxlan { vni, port, .. } => Device::Vxlan {
            vni,
            port,
            local: None,
            parent: None,
            learning: false,
            external: false,
        },
    }
}

/// Those that the kernel has no driver for: each is made in a namespace of its own thread.
fn lacking(devices: Vec<(Device, String)>) -> Result<Vec<(Device, String)>, String> {
    let asked = thread::Builder::new()
        .name("drivers".into())
        .spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| errno.desc().to_owned())?;
            let mut lacking = Vec::new();
            for (device, name) in devices {
                if make(&device)?.is_err_and(lacks_driver) {
                    lacking.push((device, name));
                }
            }
            Ok(lacking)
        });
    let asked = asked.map_err(|error| error.to_string())?;
    asked
        .join()
        .unwrap_or_else(|_| Err("it panicked".to_owned()))
}

/// Has the kernel make a device.
fn make(device: &Device) -> Result<Result<(), Errno>, String> {
    let (sink, inputs) = channel();
    let hand_over = move |batch: Vec<KernelInput>| sink.send(batch).is_ok();
    let kernel =
        Kernel::spawn(KernelSettings::default(), hand_over).map_err(|error| error.to_string())?;
    let id = OpId(0);
    let action = Action::AddLink(Box::new(LinkSpec {
        name: "dunlin-check".into(),
        device: device.clone(),
        mtu: MTU,
        mac: None,
        alias: "".into(),
    }));
    kernel.send(vec![Op { id, action }]);
    loop {
        let batch = inputs
            .recv_timeout(PATIENCE)
            .map_err(|_| "the kernel does not answer".to_owned())?;
        for input in batch {
            if let KernelInput::Done { id: done, result } = input
                && done == id
            {
                return Ok(result);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_can_not_be_made_is_named_with_the_reason() {
        let why = |path: &str| socket(Path::new(path)).unwrap_or_default();
        assert!(why("/").contains("a folder is there"));
        assert!(
            why("/etc/hostname").contains("a file is there"),
            "{}",
            why("/etc/hostname")
        );
        assert!(why("/etc/hostname/d.sock").contains("/etc/hostname is no folder"));
        assert!(why(&format!("/{}", "x".repeat(107))).contains("at most 107 octets"));
        assert_eq!(why("/run/nobody-has-made-this/dunlin.sock"), "");
    }
}
