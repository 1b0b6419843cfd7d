//! One device after the other: what is to be done about it now.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::device::{LinkSetting, Sysctl};
use super::super::input::{Action, Link};
use super::super::resolve::KernelView;
use super::key::Key;
use super::machine::Tunnels;
use super::needs::{self, Part, Verdict};
use super::news::TunnelNews;
use super::port::{Expects, Obstacle, Port};
use super::results::HEARSAY;
use super::uplink::{Underlay, underlay};
use super::{Tunnel, TunnelKind};

/// What this process makes is made anew so often if it is not what was asked for.
const MISFITS: u8 = 5;

impl Tunnels {
    /// What is to be done about one port; none if there is no port any more.
    pub(super) fn evaluate(&mut self, view: &mut KernelView, mut port: Port) -> Option<Port> {
        port.next = None;
        if port.busy {
            return Some(port);
        }
        let link = port.link(view).cloned();
        self.notice_loss(view, &mut port, link.as_ref());
        match (port.tunnel.clone(), link) {
            (Some(tunnel), link) => {
                self.pursue(view, &mut port, &tunnel, link.as_ref());
                Some(port)
            }
            (None, Some(link)) if needs::is_marked(&link) || port.still_has(&link) => {
                self.see_off(view, &mut port, &link);
                Some(port)
            }
            // It was made a moment ago, and may be without its note.
            (None, None) if port.expects != Expects::Nothing => Some(port),
            (None, _) => {
                if port.leaving.is_some_and(|leaving| leaving.goes) {
                    self.report(&port.name, TunnelNews::Removed);
                }
                if let Some(index) = port.index {
                    self.entries.release(index);
                }
                view.close_gate(&port.name);
                None
            }
        }
    }

    fn notice_loss(&mut self, view: &KernelView, port: &mut Port, link: Option<&Link>) {
        let made = port.made.as_mut();
        if let Some(made) = made.filter(|made| made.index.is_none()) {
            made.index = link.map(|link| link.index);
        }
        let fitted = port.fitted;
        let attributed = port.made.as_mut().filter(|made| {
            let unproven = |index: &u32| fitted != Some(*index);
            let index = made.index.filter(unproven);
            index.is_some_and(|index| view.link_by_index(index).is_none())
        });
        if let Some(made) = attributed {
            // It may have been an earlier one, of which late news came: ours is still to be heard of.
            made.index = link.map(|link| link.index);
            port.expects = Expects::Link(self.now + HEARSAY);
        }
        if link.is_some() {
            port.expects = Expects::Nothing;
        }
        if port
            .index
            .is_none_or(|index| link.is_some_and(|link| link.index == index))
        {
            return;
        }
        port.reset_link();
        if port.tunnel.is_some() {
            self.undone(port, "tunnel device");
        }
    }

    /// Somebody else changed the device: it is repaired, at a pace.
    fn undone(&mut self, port: &mut Port, what: &str) {
        let what = what.to_owned();
        let pause = self.pace.take(self.now, &port.name);
        port.due = pause.map(|pause| self.now + pause);
        let news = match pause {
            Some(_) => TunnelNews::Fought { what },
            None => TunnelNews::Repairing { what },
        };
        self.report(&port.name, news);
    }

    fn hinder(&mut self, port: &mut Port, obstacle: Obstacle, news: TunnelNews) {
        if port.obstacle != Some(obstacle) {
            port.obstacle = Some(obstacle);
            self.report(&port.name, news);
        }
    }

    /// Brings a wanted device nearer to what it should be.
    fn pursue(
        &mut self,
        view: &mut KernelView,
        port: &mut Port,
        tunnel: &Arc<Tunnel>,
        link: Option<&Link>,
    ) {
        // The port in hand is not among the others.
        let own = port.index;
        let is_ours = |link: &Link| {
            own == Some(link.index) || *link.name == *tunnel.name || self.is_port(link)
        };
        let Some(underlay) = underlay(tunnel, view, is_ours) else {
            let underlay = tunnel.underlay;
            self.hinder(
                port,
                Obstacle::NoUnderlay,
                TunnelNews::NoUnderlay { underlay },
            );
            return;
        };
        let in_use = link.is_some_and(|link| {
            let mut own = view.addresses().filter(|own| own.interface == link.index);
            own.any(|own| !needs::is_link_local(own.address))
        });
        let known = link.is_some_and(|link| port.knows(link));
        self.measure(port, tunnel, &underlay);
        let verdict = needs::verdict(tunnel, &underlay, link, known, in_use, self.adopt);
        match (verdict, link) {
            (Verdict::Make(spec), _) => {
                port.obstacle = None;
                if port.expects == Expects::Nothing {
                    port.made = None;
                    port.choose(vec![(Part::Add, Action::AddLink(Box::new(spec)))]);
                }
            }
            (Verdict::Foreign, _) => {
                view.close_gate(&port.name);
                self.hinder(port, Obstacle::Foreign, TunnelNews::Foreign);
            }
            (Verdict::Misfit { index }, _) => {
                view.close_gate(&port.name);
                self.entries.release(index);
                port.shut();
                port.index = Some(index);
                // Unless it happens again and again, somebody was quick to change it.
                if port.misfits >= MISFITS
                    && port.made_so(index, &needs::device(tunnel, underlay.parent))
                {
                    self.hinder(port, Obstacle::Misfit, TunnelNews::Misfit);
                    return;
                }
                port.obstacle = None;
                if port.calm.take().is_some() {
                    self.undone(port, "what can't be changed in place");
                }
                port.choose(vec![(Part::Remove, Action::DeleteLink { index })]);
            }
            (Verdict::Correct(steps), Some(link)) if !needs::is_marked(link) => {
                port.obstacle = None;
                port.choose(steps);
            }
            (Verdict::Correct(steps), Some(link)) => {
                port.obstacle = None;
                self.correct(view, port, &underlay, (link, steps));
            }
            (Verdict::Correct(_), None) => {}
        }
    }

    /// Whether a link is that of a port, by whatever name.
    fn is_port(&self, link: &Link) -> bool {
        let mut ports = self.ports.values();
        self.ports.contains_key(&*link.name) || ports.any(|port| port.index == Some(link.index))
    }

    /// Says it if the links under a tunnel carry less than it takes in.
    fn measure(&mut self, port: &mut Port, tunnel: &Tunnel, underlay: &Underlay) {
        let found = needs::too_narrow(tunnel, underlay);
        if port.too_narrow == found {
            return;
        }
        port.too_narrow.clone_from(&found);
        if let Some(narrow) = found {
            self.report(&port.name, TunnelNews::TooNarrow(narrow));
        }
    }

    /// The device is ours and of the right kind.
    fn correct(
        &mut self,
        view: &mut KernelView,
        port: &mut Port,
        underlay: &Underlay,
        (link, mut steps): (&Link, Vec<(Part, Action)>),
    ) {
        let Some(tunnel) = port.tunnel.clone() else {
            return;
        };
        let index = link.index;
        (port.index, port.fitted) = (Some(index), Some(index));
        port.misfits = 0;
        if !port.wished {
            port.wished = true;
            let wishes = port.wishes(index);
            self.entries.want(index, wishes);
        }
        let mtu = needs::mtu(&tunnel, underlay);
        if steps.is_empty() {
            port.calm = Some(mtu);
        } else if port.calm.take() == Some(mtu) {
            let what = match *link.name == *tunnel.name {
                true => "a setting of the device",
                false => "its name",
            };
            self.undone(port, what);
        }
        if port.named_down && link.up {
            set_down_first(index, &mut steps);
        }
        let sysctls = self.sysctls(view, (&tunnel, link), underlay);
        port.hangs_on = sysctls.iter().map(|(sysctl, _)| sysctl.clone()).collect();
        let is_tuned = |sysctl: &Sysctl, index: u32| {
            self.tuned
                .get(sysctl)
                .is_some_and(|tuned| tuned.index == index)
        };
        let answered = sysctls
            .iter()
            .all(|(sysctl, index)| is_tuned(sysctl, *index));
        for (sysctl, index) in sysctls {
            let tuned = self.tuned.get(&sysctl);
            if !tuned.is_some_and(|tuned| tuned.fresh && tuned.index == index) {
                steps.push((Part::Tune(sysctl.clone()), Action::Tune(sysctl)));
            }
        }
        let offload_off = matches!(
            tunnel.kind,
            TunnelKind::Vxlan {
                checksum_offload: false,
                ..
            }
        );
        let offload_done = !offload_off || port.offloaded == Some(index);
        if !offload_done {
            let link = link.name.clone();
            steps.push((Part::Offload, Action::Offload { link, on: false }));
        }
        let address = needs::address(&tunnel, index).map(Key::address);
        let addressed = address.is_none_or(|key| self.entries.is_settled(key));
        if link.up && answered && offload_done && addressed && port.ready != Some(index) {
            port.ready = Some(index);
            view.open_gate(&port.name, index, port.is_vxlan());
        }
        port.choose(steps);
    }

    /// The settings that a tunnel hangs on, with the index of their link.
    fn sysctls(
        &self,
        view: &KernelView,
        (tunnel, link): (&Tunnel, &Link),
        under: &Underlay,
    ) -> Vec<(Sysctl, u32)> {
        let sysctls = needs::sysctls(tunnel, &link.name, under).into_iter();
        sysctls
            .filter_map(|sysctl| Some((sysctl.clone(), link_of(view, &sysctl)?)))
            .collect()
    }

    /// Nobody wants the device: it takes in packets for a while, and then it goes.
    fn see_off(&mut self, view: &mut KernelView, port: &mut Port, link: &Link) {
        port.index = Some(link.index);
        if !port.leaving.is_some_and(|leaving| leaving.goes) {
            self.entries.release(link.index);
            return;
        }
        view.close_gate(&port.name);
        port.shut();
        port.hangs_on.clear();
        if needs::is_fallback(link) {
            self.entries.want(link.index, BTreeMap::new());
        } else {
            self.entries.release(link.index);
        }
        let addresses = self.entries.has_address(link.index);
        port.choose(needs::farewell(link, addresses));
    }
}

/// The index of the link that a setting is about; 0 for the whole host.
pub(super) fn link_of(view: &KernelView, sysctl: &Sysctl) -> Option<u32> {
    match sysctl.link() {
        None => Some(0),
        Some(name) => view.link_by_name(name).map(|link| link.index),
    }
}

/// Where a link has to be down to be renamed, whoever renamed it has set it down, and its routes are gone
/// as a rule.
fn set_down_first(index: u32, steps: &mut [(Part, Action)]) {
    let name = steps.iter_mut().find(|(part, _)| *part == Part::Name);
    if let Some((_, action)) = name {
        let setting = LinkSetting::Down;
        *action = Action::SetLink { index, setting };
    }
}
