//! The kernel's word on operations of the machine.

use std::sync::Arc;

use super::super::device::{LinkSetting, Sysctl, lacks_driver};
use super::super::input::{Action, Change, OpId};
use super::super::resolve::KernelView;
use super::super::route::Errno;
use super::blame::blame;
use super::entries::Upshot;
use super::machine::{Doing, Tuned, Tunnels};
use super::needs::Part;
use super::news::TunnelNews;
use super::pace::Refusal;
use super::port::{Expects, Made, Port};
use super::pursuit::link_of;
use crate::time::{Duration, Instant};

/// The news of a link that was made come before the result, as a rule, or so much later at most.
pub(super) const HEARSAY: Duration = Duration::from_millis(50);

/// What came of an operation.
#[derive(Debug, Default)]
pub(in crate::dataplane) struct Outcome {
    /// What is so now, and nobody else may tell: for the view.
    pub(in crate::dataplane) effect: Option<Change>,
    /// What was refused: if it is no setback for all, [`Tunnels::refused`] is to be told.
    pub(in crate::dataplane) refused: Option<(Doing, Errno)>,
}

impl Tunnels {
    /// Takes in the result of an operation.
    pub(in crate::dataplane) fn done(
        &mut self,
        now: Instant,
        view: &KernelView,
        id: OpId,
        result: Result<(), Errno>,
    ) -> Outcome {
        self.now = now;
        let Some(doing) = self.outstanding.remove(&id) else {
            return Outcome::default();
        };
        self.dirty = true;
        self.changes += 1;
        match doing {
            Doing::Entry(key) => {
                let upshot = self.entries.done(now, key, result);
                let change = |change: Option<Change>| Outcome {
                    effect: change,
                    refused: None,
                };
                match upshot {
                    Upshot::Set => change(key.as_address().map(Change::Address)),
                    Upshot::Deleted => change(key.as_address().map(Change::AddressGone)),
                    Upshot::LinkGone => self.link_is_gone(key.interface),
                    Upshot::Refused(errno) => Outcome {
                        effect: None,
                        refused: Some((Doing::Entry(key), errno)),
                    },
                }
            }
            Doing::Host(sysctl) => {
                self.tuned(view, &"kernel".into(), &sysctl, result);
                Outcome::default()
            }
            Doing::Port { name, part, action } => {
                let Some(mut port) = self.ports.remove(&name) else {
                    return Outcome::default();
                };
                port.busy = false;
                let outcome = self.port_done(view, &mut port, (part, action), result);
                self.ports.insert(name, port);
                outcome
            }
        }
    }

    fn port_done(
        &mut self,
        view: &KernelView,
        port: &mut Port,
        (part, action): (Part, Action),
        result: Result<(), Errno>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        if let (Action::SetLink { index, .. } | Action::DeleteLink { index }, Err(Errno::ENODEV)) =
            (&action, result)
        {
            port.reset_link();
            return self.link_is_gone(*index);
        }
        if let Part::Tune(sysctl) = &part {
            self.tuned(view, &port.name, sysctl, result);
            return outcome;
        }
        if part == Part::Offload {
            if let Err(errno) = result {
                self.report(&port.name, TunnelNews::OffloadStays { errno });
            }
            port.offloaded = port.index;
            return outcome;
        }
        if let Err(errno) = result {
            let name = port.name.clone();
            outcome.refused = Some((Doing::Port { name, part, action }, errno));
            return outcome;
        }
        if port.refusals.remove(&part).is_some() {
            self.report(&port.name, TunnelNews::Recovered);
        }
        match action {
            Action::AddLink(spec) => {
                self.report(&port.name, TunnelNews::Made);
                port.made = Some(Made {
                    device: spec.device,
                    index: None,
                });
                port.expects = Expects::Link(self.now + HEARSAY);
            }
            Action::DeleteLink { index } => {
                if port.tunnel.is_some() {
                    self.report(&port.name, TunnelNews::MadeAnew);
                }
                if port.fitted.is_none() {
                    port.misfits = port.misfits.saturating_add(1);
                }
                port.reset_link();
                port.gone.insert(index);
                // Nobody need wait for news of it.
                port.made.take_if(|made| made.index == Some(index));
                outcome = self.link_is_gone(index);
            }
            Action::SetLink { index, setting } => {
                if part == Part::Mark && port.tunnel.is_some() && port.made.is_none() {
                    self.report(&port.name, TunnelNews::Taken);
                }
                if !port.crossed {
                    outcome.effect = changed(view, index, setting);
                }
            }
            _ => {}
        }
        outcome
    }

    /// What was refused, and the refusal is about nothing but it.
    pub(in crate::dataplane) fn refused(&mut self, view: &KernelView, doing: Doing, errno: Errno) {
        let (name, part, action) = match doing {
            Doing::Entry(key) => return self.entries.refused(self.now, key, errno),
            Doing::Port { name, part, action } => (name, part, action),
            // Its refusal was reported with its answer.
            Doing::Host(_) => return,
        };
        let Some(port) = self.ports.get_mut(&name) else {
            return;
        };
        let before = port.refusals.get(&part).copied();
        let refusal = Refusal::after(before, self.now, errno);
        let mut is_news = before.is_none_or(|before| before.errno != errno);
        let kind = port.tunnel.as_ref().map(|tunnel| tunnel.kind);
        if part == Part::Add && errno == Errno::EEXIST {
            // Loading the driver makes tunl0; or somebody was quicker. Only twice is it strange.
            port.expects = Expects::Dump;
            self.dump_wanted = true;
            is_news = refusal.failures == 3;
        }
        port.named_down |= part == Part::Name && errno == Errno::EBUSY;
        port.refusals.insert(part.clone(), refusal);
        if !is_news {
            return;
        }
        let news = match (kind, &action) {
            (Some(kind), Action::AddLink(_)) if lacks_driver(errno) => TunnelNews::NoDriver {
                kind: kind.word(),
                module: kind.module(),
            },
            _ => TunnelNews::Refused {
                what: part.what().to_owned(),
                why: blame(view, port, errno),
            },
        };
        self.report(&name, news);
    }

    fn tuned(
        &mut self,
        view: &KernelView,
        name: &Arc<str>,
        sysctl: &Sysctl,
        result: Result<(), Errno>,
    ) {
        let Some(index) = link_of(view, sysctl) else {
            return;
        };
        let another = self.host.answered(self.now, (sysctl, index), result);
        let tuned = Tuned { index, fresh: true };
        let before = self.tuned.insert(sysctl.clone(), tuned);
        if before.is_some_and(|before| before.index == index) && !another {
            return;
        }
        let sysctl = sysctl.clone();
        let news = match result {
            Ok(()) => TunnelNews::Tuned { sysctl },
            // It is no reason not to route: the setting may be right, and only unreadable.
            Err(errno) => TunnelNews::NotTuned { sysctl, errno },
        };
        self.report(name, news);
    }

    fn link_is_gone(&mut self, index: u32) -> Outcome {
        self.entries.link_gone(index);
        Outcome {
            effect: Some(Change::LinkGone { index }),
            refused: None,
        }
    }
}

/// The link as it is after a setting was made.
fn changed(view: &KernelView, index: u32, setting: LinkSetting) -> Option<Change> {
    let mut link = view.link_by_index(index)?.clone();
    match setting {
        LinkSetting::Up => link.up = true,
        LinkSetting::Down => link.up = false,
        LinkSetting::Name(name) => link.name = name,
        LinkSetting::Mtu(mtu) => link.mtu = mtu,
        LinkSetting::Mac(mac) => link.mac = Some(mac),
        LinkSetting::Alias(alias) => link.alias = (!alias.is_empty()).then_some(alias),
    }
    Some(Change::Link(Box::new(link)))
}
