//! natOutgoing and the guard of the daemon: from the node's plan to the thread that keeps the rules.
//!
//! It decides nothing but who may touch nftables at all: nobody with `kernel-routes = false`. With
//! `backend = "none"` the rules of a former process go. What always holds: the daemon does not wait
//! for nftables, but for [`AT_START`] when it begins.

use std::cell::RefCell;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use tokio::sync::mpsc::Sender;

use super::config::Config;
use super::event_loop::Event;
use crate::forwarding::Nat;
use crate::nft::{Nft, Settings, Status};
use crate::node::{Backend, Node};
use crate::problem::{Code, Problem, Subject};

/// How long the start may wait for the rules: a packet that leaves by a new route before them keeps
/// its connection untranslated. nft takes some hundredths of a second.
const AT_START: Duration = Duration::from_secs(2);

/// The rules and how they do.
#[derive(Debug)]
pub(super) struct NatOutgoing {
    nft: Option<Nft>,
    news: Receiver<Status>,
    /// The last of the news.
    status: RefCell<Status>,
}

impl NatOutgoing {
    /// Writes the rules of `node`, or removes those of a former process, if `kernel-routes` lets it.
    pub(super) fn start(config: &Config, node: &Node, events: &Sender<Event>) -> Self {
        let (sender, news) = mpsc::channel();
        let may_write = config.routing.kernel_routes;
        let settings = Settings::with_program(config.nat.nft.as_deref());
        let events = events.clone();
        let tell = move |status| {
            let heard = sender.send(status).is_ok();
            // A full queue wakes the daemon anyway.
            let _woken = events.try_send(Event::Nat);
            heard
        };
        let spawned = may_write.then(|| Nft::spawn(settings, tell));
        let mut nat = Self {
            nft: None,
            news,
            status: RefCell::default(),
        };
        match spawned {
            Some(Ok(nft)) => nat.nft = Some(nft),
            Some(Err(error)) => tracing::error!("natOutgoing: no thread for it: {error}"),
            None => return nat,
        }
        nat.replan(node);
        // Without such a pool no pod's packet waits for a rule.
        let awaited = node.backend() == Backend::None || node.chooser().fabric().has_nat_pools();
        while awaited && !nat.status.borrow().is_settled() {
            match nat.news.recv_timeout(AT_START) {
                Ok(status) => *nat.status.borrow_mut() = status,
                // Later, or never: the routes do without.
                Err(_) => break,
            }
        }
        nat
    }

    /// The node has another plan.
    pub(super) fn replan(&mut self, node: &Node) {
        let wanted = match node.backend() {
            Backend::Bgp | Backend::Vxlan => Some(wanted(node)),
            Backend::None => None,
        };
        if let Some(nft) = &self.nft
            && !nft.set(wanted)
        {
            tracing::error!("natOutgoing: its thread has ended; the rules stay as they are");
            self.nft = None;
        }
    }

    /// How the rules do; `None` if this daemon has nothing to do with them.
    pub(super) fn status(&self) -> Option<Status> {
        let mut status = self.status.borrow_mut();
        if let Some(newest) = self.news.try_iter().last() {
            *status = newest;
        }
        self.nft.as_ref().map(|_| status.clone())
    }

    /// What is kept from pods, in words; `None` if this daemon has nothing to do with it.
    pub(super) fn guard(&self, node: &Node) -> Option<String> {
        let status = self.status().filter(|_| node.backend() == Backend::Bgp)?;
        Some(if node.chooser().fabric().felix.allow_bgp_from_workloads {
            "off: pods may speak to nodes' BGP (allow-bgp-packets-from-workloads)".to_owned()
        } else if !wanted(node).guards_sessions() {
            "off: no pool has pods to keep from nodes' BGP".to_owned()
        } else if status.is_failing() {
            format!("not in force: {status}")
        } else {
            format!("{status}: nothing of pods is passed on to the BGP and BFD ports of nodes")
        })
    }

    /// What somebody has to look after.
    pub(super) fn problems(&self, node: &Node) -> Vec<Problem> {
        let Some(status) = self.status().filter(Status::is_failing) else {
            return Vec::new();
        };
        let remedy =
            "install nft and let this process use it (CAP_NET_ADMIN); it is tried again by itself";
        let mut problems = Vec::new();
        if node.chooser().fabric().has_nat_pools() {
            let what = format!("the rules for natOutgoing are not in force: {status}");
            problems.push(Problem::new(Code::NatFailing, Subject::Host, what, remedy));
        }
        if node.backend() == Backend::Bgp && wanted(node).guards_sessions() {
            let what = format!(
                "nothing keeps pods from speaking to the BGP and BFD ports of nodes: {status}"
            );
            problems.push(Problem::new(
                Code::GuardFailing,
                Subject::Host,
                what,
                remedy,
            ));
        }
        problems
    }
}

/// What a node that forwards has rules for.
fn wanted(node: &Node) -> Nat {
    let speakers = &node.speaker().plan().speakers;
    let speaks = node.backend() == Backend::Bgp;
    Nat::new(node.chooser(), speaks.then_some(&**speakers))
}
