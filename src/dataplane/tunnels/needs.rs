//! What has to be done to one link, by what is wanted of it and what it is: the state tables.
//!
//! Pure questions and answers; nothing is remembered here.

use std::net::IpAddr;

use super::super::adoption::Adopt;
use super::super::device::{Device, LinkSetting, LinkSpec, Sysctl};
use super::super::input::{Action, Address, Link};
use super::uplink::Underlay;
use super::{MARK, TooNarrow, Tunnel, TunnelKind};
use crate::net::{Family, Prefix};

/// No link carries less IPv4, and no tunnel is set to less.
const LEAST_V4: u32 = 68;
/// On a link that carries less the kernel switches IPv6 off (RFC 8200 §5), addresses, routes and all.
const LEAST_V6: u32 = 1280;

/// What can be done about a link; each is refused and tried again by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::dataplane) enum Part {
    /// To make it.
    Add,
    /// To delete it.
    Remove,
    /// To note whose it is.
    Mark,
    /// To set its MAC.
    Mac,
    /// To set its MTU.
    Mtu,
    /// To give it its name back.
    Name,
    /// To set it up or down.
    Up,
    /// A setting of the kernel.
    Tune(Sysctl),
    /// Checksum offloading.
    Offload,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It belongs to somebody else.
    Foreign,
    /// It is to be made.
    Make(LinkSpec),
    /// It differs in what can't be changed.
    Misfit {
        /// Its index.
        index: u32,
    },
    /// It is there; these settings are to be made, in this order.
    Correct(Vec<(Part, Action)>),
}

impl Part {
    /// It in words, after "cannot".
    pub(super) const fn what(&self) -> &'static str {
        match self {
            Self::Add => "make it",
            Self::Remove => "delete it",
            Self::Mark => "set its alias",
            Self::Mac => "set its MAC",
            Self::Mtu => "set its MTU",
            Self::Name => "give it its name back",
            Self::Up => "set it up or down",
            Self::Tune(_) => "tune the kernel for it",
            Self::Offload => "switch its checksum offloading off",
        }
    }
}

/// Whether a link carries our note.
pub(super) fn is_marked(link: &Link) -> bool {
    link.alias.as_deref() == Some(MARK)
}

/// Whether an address comes with a link by itself.
pub(super) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// The device that a tunnel wants.
pub(super) fn device(tunnel: &Tunnel, parent: Option<u32>) -> Device {
    match (tunnel.kind, tunnel.underlay) {
        (TunnelKind::Ipip, _) => Device::Ipip {
            local: None,
            remote: None,
        },
        (TunnelKind::Ip6tnl, underlay) => Device::Ip6tnl {
            local: match underlay {
                IpAddr::V6(address) => Some(address),
                IpAddr::V4(_) => None,
            },
            remote: None,
        },
        (TunnelKind::Vxlan { vni, port, .. }, underlay) => Device::Vxlan {
            vni,
            port,
            local: Some(underlay),
            parent,
            learning: false,
            external: false,
        },
    }
}

/// The MTU that a tunnel wants: never one with which it would carry nothing.
pub(super) fn mtu(tunnel: &Tunnel, underlay: &Underlay) -> u32 {
    let least = match tunnel.family() {
        Family::Ipv4 => LEAST_V4,
        Family::Ipv6 => LEAST_V6,
    };
    let left = underlay.mtu.saturating_sub(overhead(tunnel));
    tunnel.mtu.unwrap_or(left).max(least)
}

/// What the link under a tunnel carries, if packets as large as the tunnel takes in don't fit.
pub(super) fn too_narrow(tunnel: &Tunnel, underlay: &Underlay) -> Option<TooNarrow> {
    let needed = mtu(tunnel, underlay) + overhead(tunnel);
    let link = underlay.narrowest.as_ref()?;
    (needed > underlay.mtu).then(|| TooNarrow {
        link: link.clone(),
        mtu: underlay.mtu,
        needed,
    })
}

const fn overhead(tunnel: &Tunnel) -> u32 {
    tunnel.kind.overhead(tunnel.underlay)
}

/// Whether a link is the device that a tunnel wants, made by a former process and renamed since.
pub(super) fn is_strayed(tunnel: &Tunnel, link: &Link) -> bool {
    let same = |found: &Device| match (tunnel.kind, found) {
        (
            TunnelKind::Vxlan { vni, port, .. },
            Device::Vxlan {
                vni: id,
                port: udp,
                local,
                ..
            },
        ) => (vni, port) == (*id, *udp) && has_family(*local, tunnel.family()),
        (TunnelKind::Ipip, Device::Ipip { .. }) => true,
        (TunnelKind::Ip6tnl, Device::Ip6tnl { .. }) => true,
        _ => false,
    };
    is_marked(link) && link.device.as_ref().is_some_and(same)
}

/// Whether a VXLAN device that sends from `local` is of a family: there is one network of each number for
/// each.
pub(super) fn has_family(local: Option<IpAddr>, family: Family) -> bool {
    local.map_or(Family::Ipv4, |local| Prefix::host(local).family()) == family
}

/// What has to be done to the link of a tunnel. `made` says that we have just made it, and
/// its note may be still to come; `in_use` that it has addresses.
pub(super) fn verdict(
    tunnel: &Tunnel,
    underlay: &Underlay,
    link: Option<&Link>,
    made: bool,
    in_use: bool,
    adopt: Adopt,
) -> Verdict {
    let wanted = device(tunnel, underlay.parent);
    let mtu = mtu(tunnel, underlay);
    let mac = match tunnel.kind {
        TunnelKind::Vxlan { mac, .. } => Some(mac),
        TunnelKind::Ipip | TunnelKind::Ip6tnl => None,
    };
    let Some(link) = link else {
        return Verdict::Make(LinkSpec {
            name: (*tunnel.name).into(),
            device: wanted,
            mtu,
            mac,
            alias: MARK.into(),
        });
    };
    let index = link.index;
    let set = |part, setting| (part, Action::SetLink { index, setting });
    if !is_marked(link) {
        // Down, unused and just as we make it: a process of ours was killed between making it and
        // marking it.
        let half_made = !link.up && !in_use && link.device.as_ref() == Some(&wanted);
        let half_made = half_made && mac.is_none_or(|mac| link.mac == Some(mac));
        if !made && !half_made && !may_take(tunnel, link, in_use, adopt) {
            return Verdict::Foreign;
        }
        // First whose it is: nothing else is touched before the kernel has that.
        let mark = LinkSetting::Alias(MARK.into());
        return Verdict::Correct(vec![set(Part::Mark, mark)]);
    }
    if !link
        .device
        .as_ref()
        .is_some_and(|found| fits(found, &wanted))
    {
        return Verdict::Misfit { index };
    }
    let mut steps = Vec::new();
    if let Some(mac) = mac.filter(|mac| link.mac != Some(*mac)) {
        steps.push(set(Part::Mac, LinkSetting::Mac(mac)));
    }
    if link.mtu != mtu {
        steps.push(set(Part::Mtu, LinkSetting::Mtu(mtu)));
    }
    // While it is down every kernel lets it be renamed.
    if *link.name != *tunnel.name {
        let name = LinkSetting::Name((*tunnel.name).into());
        steps.push(set(Part::Name, name));
    }
    if !link.up {
        steps.push(set(Part::Up, LinkSetting::Up));
    }
    Verdict::Correct(steps)
}

/// Whether a device is what is wanted. One that is tied to no link goes by the host's routes, which is
/// right wherever they lead; it is not made anew when it might be tied to one.
pub(super) fn fits(found: &Device, wanted: &Device) -> bool {
    let mut loosened = wanted.clone();
    if let (Device::Vxlan { parent, .. }, Device::Vxlan { parent: None, .. }) =
        (&mut loosened, found)
    {
        *parent = None;
    }
    *found == loosened
}

/// Whether a device without our note may become ours.
fn may_take(tunnel: &Tunnel, link: &Link, in_use: bool, adopt: Adopt) -> bool {
    if tunnel.kind != TunnelKind::Ipip {
        return adopt.felix;
    }
    let unclaimed = link.alias.as_deref().is_none_or(str::is_empty);
    let kernels_own = unclaimed && is_fallback(link);
    adopt.felix || adopt.bird || kernels_own && (!link.up || !in_use)
}

/// Whether a link is (or is like) the one that the kernel itself makes with the driver.
pub(super) fn is_fallback(link: &Link) -> bool {
    let any = Device::Ipip {
        local: None,
        remote: None,
    };
    link.device.as_ref() == Some(&any)
}

/// Whether a link is the kernel's own `tunl0`, which can't be deleted.
fn is_undying(link: &Link) -> bool {
    is_fallback(link) && &*link.name == "tunl0"
}

/// Whether it is as the kernel made it, for anybody to use.
pub(super) fn is_given_back(link: &Link) -> bool {
    is_undying(link) && !link.up && link.alias.is_none()
}

/// How a link of ours that nobody wants goes: the kernel's own `tunl0` can't be deleted. `addresses`
/// says that there are some left on it. An empty answer means that it is given back.
pub(super) fn farewell(link: &Link, addresses: bool) -> Vec<(Part, Action)> {
    let index = link.index;
    if !is_undying(link) {
        return vec![(Part::Remove, Action::DeleteLink { index })];
    }
    if addresses {
        return Vec::new();
    }
    let set = |part, setting| (part, Action::SetLink { index, setting });
    if link.up {
        return vec![set(Part::Up, LinkSetting::Down)];
    }
    // The note goes last: until then it is ours to tidy up.
    vec![set(Part::Mark, LinkSetting::Alias("".into()))]
}

/// The kernel's settings that a tunnel hangs on, whose link has the name `device`.
pub(super) fn sysctls(tunnel: &Tunnel, device: &str, underlay: &Underlay) -> Vec<Sysctl> {
    let family = tunnel.family();
    let mut sysctls = vec![Sysctl::Forwarding(family)];
    // A device is made as new links are to begin with.
    if family == Family::Ipv6 {
        sysctls.push(Sysctl::Ipv6On(device.into()));
    }
    // Only IPv4 has the filter.
    if family == Family::Ipv4 {
        sysctls.push(Sysctl::LooseReversePath(device.into()));
        let links = underlay.links.iter();
        sysctls.extend(links.map(|(_, name)| Sysctl::LooseReversePath(name.clone())));
    }
    sysctls
}

/// The address that a tunnel wants on its link.
pub(super) fn address(tunnel: &Tunnel, interface: u32) -> Option<Address> {
    let address = tunnel.address?;
    Some(Address {
        interface,
        address,
        len: if address.is_ipv4() { 32 } else { 128 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Mac;

    fn tunnel(vxlan: bool) -> Tunnel {
        let kind = TunnelKind::Vxlan {
            vni: 4096,
            port: 4789,
            mac: Mac([2; 6]),
            checksum_offload: false,
        };
        Tunnel {
            name: if vxlan { "vxlan.calico" } else { "tunl0" }.into(),
            kind: if vxlan { kind } else { TunnelKind::Ipip },
            underlay: "10.9.0.1".parse().unwrap(),
            address: None,
            mtu: None,
            far_ends: Vec::new(),
            toward: Vec::new(),
        }
    }

    fn under() -> Underlay {
        Underlay {
            parent: Some(2),
            links: vec![(2, "eth0".into())],
            mtu: 1500,
            narrowest: Some("eth0".into()),
        }
    }

    fn fitting(tunnel: &Tunnel) -> Link {
        Link {
            mtu: mtu(tunnel, &under()),
            mac: Some(Mac([2; 6])),
            alias: Some(MARK.into()),
            device: Some(device(tunnel, Some(2))),
            ..Link::named(7, &tunnel.name)
        }
    }

    /// The parts that are to be set, or the verdict in a word.
    fn answer(tunnel: &Tunnel, link: &Link, in_use: bool, adopt: Adopt) -> String {
        match verdict(tunnel, &under(), Some(link), false, in_use, adopt) {
            Verdict::Foreign => "foreign".into(),
            Verdict::Make(_) => "make".into(),
            Verdict::Misfit { .. } => "anew".into(),
            Verdict::Correct(steps) => {
                let parts = steps.iter().map(|(part, _)| format!("{part:?}"));
                parts.collect::<Vec<_>>().join(" ")
            }
        }
    }

    type Change = fn(&mut Link);

    #[test]
    fn what_can_be_corrected_is_and_the_rest_is_made_anew() {
        let table: [(&str, Change); 10] = [
            ("", |_| {}),
            ("Mtu", |link| link.mtu = 1400),
            ("Up", |link| link.up = false),
            ("Mac", |link| link.mac = None),
            ("Mac Mtu Up", |link| {
                (link.mac, link.mtu, link.up) = (None, 9, false)
            }),
            ("anew", |link| {
                link.device = Some(Device::Other("dummy".into()))
            }),
            ("anew", |link| {
                if let Some(Device::Vxlan { learning, .. }) = &mut link.device {
                    *learning = true;
                }
            }),
            ("", |link| {
                if let Some(Device::Vxlan { parent, .. }) = &mut link.device {
                    *parent = None;
                }
            }),
            ("anew", |link| {
                if let Some(Device::Vxlan { parent, .. }) = &mut link.device {
                    *parent = Some(3);
                }
            }),
            ("foreign", |link| link.alias = None),
        ];
        for (expected, change) in table {
            let tunnel = tunnel(true);
            let mut link = fitting(&tunnel);
            change(&mut link);
            let found = answer(&tunnel, &link, true, Adopt::default());
            assert_eq!(found, expected, "{link:?}");
        }
        let none = verdict(
            &tunnel(true),
            &under(),
            None,
            false,
            false,
            Adopt::default(),
        );
        assert!(matches!(none, Verdict::Make(spec) if spec.mtu == 1450 && &*spec.alias == MARK));
    }

    #[test]
    fn no_tunnel_is_narrower_than_what_its_family_needs() {
        let mut tunnel = tunnel(true);
        let under = |mtu| Underlay { mtu, ..under() };
        assert_eq!(mtu(&tunnel, &under(1500)), 1450);
        assert_eq!(too_narrow(&tunnel, &under(1500)), None);
        assert_eq!(mtu(&tunnel, &under(600)), 550);
        assert_eq!(mtu(&tunnel, &under(60)), 68);
        tunnel.mtu = Some(1500);
        let narrow = too_narrow(&tunnel, &under(1500)).unwrap();
        assert_eq!((narrow.mtu, narrow.needed), (1500, 1550));
        tunnel.underlay = "fd09::1".parse().unwrap();
        tunnel.mtu = None;
        assert_eq!(mtu(&tunnel, &under(1500)), 1430);
        assert_eq!(mtu(&tunnel, &under(1350)), 1280);
        assert_eq!(too_narrow(&tunnel, &under(1350)), None);
        assert_eq!(mtu(&tunnel, &under(1300)), 1280);
        let narrow = too_narrow(&tunnel, &under(1300)).unwrap();
        assert_eq!((narrow.mtu, narrow.needed), (1300, 1350));
        tunnel.mtu = Some(1000);
        assert_eq!(mtu(&tunnel, &under(1500)), 1280);
    }

    #[test]
    fn a_device_without_our_note_is_taken_only_when_it_may_be() {
        let felix = Adopt {
            felix: true,
            bird: false,
        };
        let bird = Adopt {
            felix: false,
            bird: true,
        };
        let table = [
            // VXLAN, up, in use, whom we adopt: what follows.
            (true, true, false, Adopt::default(), "foreign"),
            (true, true, false, bird, "foreign"),
            (true, true, true, felix, "Mark"),
            (true, false, true, Adopt::default(), "foreign"),
            (true, false, false, Adopt::default(), "Mark"),
            (false, true, true, Adopt::default(), "foreign"),
            (false, true, false, Adopt::default(), "Mark"),
            (false, false, true, Adopt::default(), "Mark"),
            (false, true, true, bird, "Mark"),
            (false, true, true, felix, "Mark"),
        ];
        for (vxlan, up, in_use, adopt, expected) in table {
            let tunnel = tunnel(vxlan);
            let mut link = fitting(&tunnel);
            (link.alias, link.up) = (None, up);
            let found = answer(&tunnel, &link, in_use, adopt);
            assert_eq!(found, expected, "{vxlan} {up} {in_use} {adopt:?}");
        }
    }

    #[test]
    fn a_device_goes_and_tunl0_is_given_back() {
        let gone = farewell(&fitting(&tunnel(true)), true);
        assert_eq!(gone, [(Part::Remove, Action::DeleteLink { index: 7 })]);
        let mut link = fitting(&tunnel(false));
        assert_eq!(farewell(&link, true), [], "first its addresses");
        let set = |setting| Action::SetLink { index: 7, setting };
        assert_eq!(farewell(&link, false), [(Part::Up, set(LinkSetting::Down))]);
        link.up = false;
        let bare = LinkSetting::Alias("".into());
        assert_eq!(farewell(&link, false), [(Part::Mark, set(bare))]);
    }
}
