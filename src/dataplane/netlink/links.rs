//! Links to and from rtnetlink messages; not which of them should be there.
//!
//! A device that does not do what [`Device`] says of its kind (an ipip device that takes its far
//! ends from elsewhere, an ip6tnl that carries IPv4 or adds an option) is read as another kind. An
//! ip6tnl to any far end is one that takes it from the route (`external`): why, says `routes.rs`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::device::{Device, LinkSetting, LinkSpec};
use super::super::input::{Change, Link};
use super::attribute::{each, ip, mac, nest, number, octet, put, put_ip, put_text, text};
use super::codec::RTM_DELLINK;

const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 8;
const IFF_LOWER_UP: u32 = 0x1_0000;
const ARPHRD_ETHER: u16 = 1;
/// The length of `struct ifinfomsg`.
const HEAD: usize = 16;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_EXT_MASK: u16 = 29;
/// `RTEXT_FILTER_SKIP_STATS`.
const SKIP_STATS: u32 = 8;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;

const IPTUN_LOCAL: u16 = 2;
const IPTUN_REMOTE: u16 = 3;
const IPTUN_TTL: u16 = 4;
const IPTUN_FLAGS: u16 = 8;
const IPTUN_PROTO: u16 = 9;
const IPTUN_PMTUDISC: u16 = 10;
const IPTUN_COLLECT_METADATA: u16 = 19;
/// `IP6_TNL_F_IGN_ENCAP_LIMIT`: no destination option before the inner packet.
const IGNORE_LIMIT: u32 = 1;
const IPPROTO_IPIP: u8 = 4;
const IPPROTO_IPV6: u8 = 41;
/// What the outer IPv6 packet starts with. For IPv4 the inner packet's is taken over, as `tunl0`
/// does, which is the kernel's and can't be told otherwise.
const HOP_LIMIT: u8 = 64;

const VXLAN_ID: u16 = 1;
const VXLAN_LINK: u16 = 3;
const VXLAN_LOCAL: u16 = 4;
const VXLAN_LEARNING: u16 = 7;
const VXLAN_PORT: u16 = 15;
const VXLAN_LOCAL6: u16 = 17;
const VXLAN_COLLECT_METADATA: u16 = 25;

/// Appends the request for all links.
pub(super) fn put_dump(body: &mut Vec<u8>) {
    put_head(body, 0, 0, 0);
    put(body, IFLA_EXT_MASK, &SKIP_STATS.to_ne_bytes());
}

/// Appends what makes a link. Its note is not in it, nor that it is up: the kernel leaves out a note
/// on a link to be made (seen on 6.1 and 6.18). [`put_rest`] says both.
pub(super) fn put_new(body: &mut Vec<u8>, spec: &LinkSpec) {
    put_head(body, 0, 0, 0);
    put_text(body, IFLA_IFNAME, &spec.name);
    put(body, IFLA_MTU, &spec.mtu.to_ne_bytes());
    if let Some(mac) = spec.mac {
        put(body, IFLA_ADDRESS, &mac.0);
    }
    nest(body, IFLA_LINKINFO, |info| {
        put_text(info, INFO_KIND, spec.device.kind());
        put_device(info, &spec.device);
    });
}

/// Appends what a link that was just made lacks: its note, and that it is up.
pub(super) fn put_rest(body: &mut Vec<u8>, spec: &LinkSpec) {
    put_head(body, 0, IFF_UP, IFF_UP);
    put_text(body, IFLA_IFNAME, &spec.name);
    put(body, IFLA_IFALIAS, spec.alias.as_bytes());
}

/// Appends a change of a link in place.
pub(super) fn put_setting(body: &mut Vec<u8>, index: u32, setting: &LinkSetting) {
    let (flags, mask) = match setting {
        LinkSetting::Up => (IFF_UP, IFF_UP),
        LinkSetting::Down => (0, IFF_UP),
        LinkSetting::Name(_)
        | LinkSetting::Mtu(_)
        | LinkSetting::Mac(_)
        | LinkSetting::Alias(_) => (0, 0),
    };
    put_head(body, index, flags, mask);
    match setting {
        LinkSetting::Up | LinkSetting::Down => {}
        LinkSetting::Name(name) => put_text(body, IFLA_IFNAME, name),
        LinkSetting::Mtu(mtu) => put(body, IFLA_MTU, &mtu.to_ne_bytes()),
        LinkSetting::Mac(mac) => put(body, IFLA_ADDRESS, &mac.0),
        LinkSetting::Alias(note) => put(body, IFLA_IFALIAS, note.as_bytes()),
    }
}

/// Appends the request to delete a link.
pub(super) fn put_deletion(body: &mut Vec<u8>, index: u32) {
    put_head(body, index, 0, 0);
}

/// Appends the fixed part, with those flags of `mask` set that are in `flags`.
fn put_head(body: &mut Vec<u8>, index: u32, flags: u32, mask: u32) {
    // Family, padding, hardware type: all of no meaning here.
    body.extend_from_slice(&[0; 4]);
    body.extend_from_slice(&index.to_ne_bytes());
    body.extend_from_slice(&flags.to_ne_bytes());
    body.extend_from_slice(&mask.to_ne_bytes());
}

fn put_device(info: &mut Vec<u8>, device: &Device) {
    nest(info, INFO_DATA, |data| match device {
        Device::Ipip { local, remote } => {
            let (local, remote) = (local.map(IpAddr::V4), remote.map(IpAddr::V4));
            put_ends(data, local, remote);
            put(data, IPTUN_PROTO, &[IPPROTO_IPIP]);
            put(data, IPTUN_PMTUDISC, &[1]);
        }
        Device::Ip6tnl { local, remote } => {
            let (local, remote) = (local.map(IpAddr::V6), remote.map(IpAddr::V6));
            put_ends(data, local, remote);
            put(data, IPTUN_PROTO, &[IPPROTO_IPV6]);
            put(data, IPTUN_TTL, &[HOP_LIMIT]);
            put(data, IPTUN_FLAGS, &IGNORE_LIMIT.to_ne_bytes());
            if remote.is_none() {
                put(data, IPTUN_COLLECT_METADATA, &[]);
            }
        }
        Device::Vxlan {
            vni,
            port,
            local,
            parent,
            learning,
            external,
        } => {
            put(data, VXLAN_ID, &vni.to_ne_bytes());
            put(data, VXLAN_PORT, &port.to_be_bytes());
            put(data, VXLAN_LEARNING, &[u8::from(*learning)]);
            match local {
                Some(local @ IpAddr::V4(_)) => put_ip(data, VXLAN_LOCAL, *local),
                Some(local @ IpAddr::V6(_)) => put_ip(data, VXLAN_LOCAL6, *local),
                None => {}
            }
            if let Some(parent) = parent {
                put(data, VXLAN_LINK, &parent.to_ne_bytes());
            }
            if *external {
                put(data, VXLAN_COLLECT_METADATA, &[1]);
            }
        }
        Device::Other(_) => {}
    });
}

fn put_ends(data: &mut Vec<u8>, local: Option<IpAddr>, remote: Option<IpAddr>) {
    if let Some(local) = local {
        put_ip(data, IPTUN_LOCAL, local);
    }
    if let Some(remote) = remote {
        put_ip(data, IPTUN_REMOTE, remote);
    }
}

/// What a message says about a link; none if it is none of our business.
pub(super) fn read(kind: u16, payload: &[u8]) -> Option<Change> {
    let (head, attributes) = payload.split_first_chunk::<HEAD>()?;
    let [family, _, h0, h1, i0, i1, i2, i3, f0, f1, f2, f3, ..] = *head;
    // Bridges report their ports a second time, under their own family.
    if family != 0 {
        return None;
    }
    let index = u32::from_ne_bytes([i0, i1, i2, i3]);
    if kind == RTM_DELLINK {
        return Some(Change::LinkGone { index });
    }
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    let ethernet = u16::from_ne_bytes([h0, h1]) == ARPHRD_ETHER;
    let mut link = Link {
        up: flags & IFF_UP != 0,
        lower_up: flags & IFF_LOWER_UP != 0,
        loopback: flags & IFF_LOOPBACK != 0,
        mtu: 0,
        ..Link::named(index, "")
    };
    for (kind, value) in each(attributes) {
        match kind {
            IFLA_IFNAME => link.name = text(value)?.into(),
            IFLA_MTU => link.mtu = number(value)?,
            IFLA_ADDRESS if ethernet => link.mac = mac(value),
            IFLA_IFALIAS => {
                link.alias = text(value).filter(|note| !note.is_empty()).map(Into::into)
            }
            IFLA_LINKINFO => link.device = device(value),
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(Change::Link(Box::new(link)))
}

fn device(info: &[u8]) -> Option<Device> {
    let kind = each(info).find_map(|(kind, value)| (kind == INFO_KIND).then_some(value))?;
    let kind = text(kind)?;
    let data = each(info).find_map(|(kind, value)| (kind == INFO_DATA).then_some(value));
    let data = data.unwrap_or_default();
    let known = match kind {
        "ipip" => ipip(data),
        "ip6tnl" => ip6tnl(data),
        "vxlan" => vxlan(data),
        _ => None,
    };
    Some(known.unwrap_or_else(|| Device::Other(kind.into())))
}

fn ipip(data: &[u8]) -> Option<Device> {
    let (mut local, mut remote) = (None, None);
    for (kind, value) in each(data) {
        match kind {
            IPTUN_LOCAL => local = some4(value),
            IPTUN_REMOTE => remote = some4(value),
            IPTUN_COLLECT_METADATA => return None,
            // 0 is "whatever comes", IPv4 among it.
            IPTUN_PROTO if !matches!(octet(value)?, 0 | IPPROTO_IPIP) => return None,
            _ => {}
        }
    }
    Some(Device::Ipip { local, remote })
}

fn ip6tnl(data: &[u8]) -> Option<Device> {
    let (mut local, mut remote, mut flags, mut external) = (None, None, 0, false);
    for (kind, value) in each(data) {
        match kind {
            IPTUN_LOCAL => local = some6(value),
            IPTUN_REMOTE => remote = some6(value),
            IPTUN_FLAGS => flags = number(value)?,
            IPTUN_COLLECT_METADATA => external = true,
            IPTUN_PROTO if !matches!(octet(value)?, 0 | IPPROTO_IPV6) => return None,
            _ => {}
        }
    }
    let fits = flags & IGNORE_LIMIT != 0 && external == remote.is_none();
    fits.then_some(Device::Ip6tnl { local, remote })
}

fn vxlan(data: &[u8]) -> Option<Device> {
    let (mut id, mut udp, mut from, mut under) = (None, None, None, None);
    let (mut learns, mut by_route) = (false, false);
    for (kind, value) in each(data) {
        match kind {
            VXLAN_ID => id = number(value),
            VXLAN_PORT => udp = value.try_into().ok().map(u16::from_be_bytes),
            VXLAN_LOCAL => from = some4(value).map(IpAddr::V4),
            VXLAN_LOCAL6 => from = some6(value).map(IpAddr::V6),
            VXLAN_LINK => under = number(value).filter(|index| *index != 0),
            VXLAN_LEARNING => learns = octet(value)? != 0,
            // An octet since Linux 4.3, a bare flag in between.
            VXLAN_COLLECT_METADATA => by_route = octet(value) != Some(0),
            _ => {}
        }
    }
    Some(Device::Vxlan {
        vni: id?,
        port: udp?,
        local: from,
        parent: under,
        learning: learns,
        external: by_route,
    })
}

/// An address, if it is one and not "any".
fn some4(value: &[u8]) -> Option<Ipv4Addr> {
    match ip(value)? {
        IpAddr::V4(address) => (!address.is_unspecified()).then_some(address),
        IpAddr::V6(_) => None,
    }
}

fn some6(value: &[u8]) -> Option<Ipv6Addr> {
    match ip(value)? {
        IpAddr::V6(address) => (!address.is_unspecified()).then_some(address),
        IpAddr::V4(_) => None,
    }
}
