//! This node's own addresses: found before the first plan, followed while the daemon runs.
//!
//! The choice itself is [`select`]'s. Here it is introduced to what is configured, to the node's
//! record in the cluster and to this host; if the answer changes, a new plan is made from the
//! intent that was read last, without reading a file. What always holds: an address that was in use
//! or is on record is never given up for none because a method finds nothing.

mod report;

use std::net::IpAddr;

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use super::config::{AddressChoice, NodeIdentity, OwnAddresses};
use super::event_loop::Daemon;
use super::host::{self, NAME_PATIENCE, Names};
use super::source;
use crate::dataplane::own_address::{Chosen, Method, Question, Selection, select};
use crate::dataplane::{Dataplane, KernelView, Ownership};
use crate::net::Family;
use crate::topology::{Intent, Node};

pub(crate) use report::{Answer, AnswerError, answer};

/// The families, in the order in which they are spoken of.
const FAMILIES: [Family; 2] = [Family::Ipv4, Family::Ipv6];

/// Everything that the search and its repetition need.
#[derive(Debug, Clone)]
pub(super) struct Own {
    /// Who we are, as it was read last.
    pub identity: NodeIdentity,
    /// The cluster as it was read last, without what this host says.
    pub intent: Intent,
    /// What names stand for.
    pub names: Names,
    /// The addresses in use.
    pub addresses: OwnAddresses,
    /// The revision of the view that they were found in.
    revision: Option<u64>,
    /// What was said last, so that it is said once.
    said: Vec<String>,
}

/// What a search gives.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// The addresses.
    pub addresses: OwnAddresses,
    /// Why these.
    pub because: Vec<String>,
    /// What is odd, or had to be done without.
    pub warnings: Vec<String>,
    /// Why the node can't run.
    pub obstacles: Vec<String>,
}

/// How an address is found, and on whose word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    /// Of which family.
    pub family: Family,
    /// How.
    pub method: Method,
    /// Who says so.
    pub source: AskedBy,
}

/// Who says how an address is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AskedBy {
    /// The configuration of this node.
    Configuration,
    /// The node's record in the cluster has the addresses.
    Record,
    /// Nobody: it has to be found, since the record has none.
    Default,
}

impl Ask {
    fn new(identity: &NodeIdentity, record: Option<&Node>, family: Family) -> Self {
        let choice = match family {
            Family::Ipv4 => &identity.ipv4,
            Family::Ipv6 => &identity.ipv6,
        };
        let addressed = |node: &&Node| node.ipv4_address.is_some() || node.ipv6_address.is_some();
        let (method, source) = match (choice, record.filter(addressed)) {
            (AddressChoice::Found(method), _) => (method.clone(), AskedBy::Configuration),
            (AddressChoice::FromCluster { .. }, Some(node)) => {
                let method = match of_record(node, family) {
                    Some(network) => Method::Literal {
                        address: network.ip(),
                        len: Some(network.prefix()),
                    },
                    None => Method::None,
                };
                (method, AskedBy::Record)
            }
            (AddressChoice::FromCluster { otherwise }, None) => {
                (otherwise.clone(), AskedBy::Default)
            }
        };
        Self {
            family,
            method,
            source,
        }
    }
}

fn of_record(node: &Node, family: Family) -> Option<IpNetwork> {
    match family {
        Family::Ipv4 => node.ipv4_address.map(IpNetwork::V4),
        Family::Ipv6 => node.ipv6_address.map(IpNetwork::V6),
    }
}

impl OwnAddresses {
    fn get(self, family: Family) -> Option<IpNetwork> {
        match family {
            Family::Ipv4 => self.ipv4.map(IpNetwork::V4),
            Family::Ipv6 => self.ipv6.map(IpNetwork::V6),
        }
    }

    fn set(&mut self, address: IpAddr, len: u8) {
        match address {
            IpAddr::V4(v4) => self.ipv4 = Ipv4Network::new(v4, len).ok(),
            IpAddr::V6(v6) => self.ipv6 = Ipv6Network::new(v6, len).ok(),
        }
    }
}

impl Found {
    fn troubles(&self) -> Vec<String> {
        self.warnings
            .iter()
            .chain(&self.obstacles)
            .cloned()
            .collect()
    }
}

impl Own {
    /// What is known before anything was looked for.
    pub(super) const fn new(identity: NodeIdentity, intent: Intent, names: Names) -> Self {
        Self {
            identity,
            intent,
            names,
            addresses: OwnAddresses {
                ipv4: None,
                ipv6: None,
            },
            revision: None,
            said: Vec::new(),
        }
    }

    fn record(&self) -> Option<&Node> {
        let ours = |node: &&Node| node.name == self.identity.name;
        self.intent.nodes.iter().find(ours)
    }

    /// How the addresses are found.
    pub(super) fn asks(&self) -> [Ask; 2] {
        FAMILIES.map(|family| Ask::new(&self.identity, self.record(), family))
    }

    /// Whether the answer can change while the configuration does not.
    pub(super) fn looks_at_host(&self) -> bool {
        self.asks().iter().any(|ask| ask.method.looks_at_host())
    }

    /// Looks up the names that methods need.
    pub(super) fn learn_names(&mut self) {
        for ask in self.asks() {
            if let Some(name) = ask.method.target() {
                self.names.learn(name, NAME_PATIENCE);
            }
        }
    }

    /// Searches, and takes what was found. The host is looked at if a method asks for it.
    pub(super) fn find(&mut self) -> Found {
        let mut unseen = None;
        let empty = || KernelView::new(Ownership::default());
        let view = match self.looks_at_host() {
            false => empty(),
            true => host::look().unwrap_or_else(|error| {
                unseen = Some(error.to_string());
                empty()
            }),
        };
        let mut found = self.find_in(&view);
        found.warnings.extend(unseen);
        found
    }

    /// The same in what a running dataplane sees of the host.
    pub(super) fn find_in(&mut self, view: &KernelView) -> Found {
        let found = self.search(view);
        self.said = found.troubles();
        self.addresses = found.addresses;
        found
    }

    /// The answer for one family, by what is in `view`.
    fn select(&self, view: &KernelView, ask: &Ask) -> Selection {
        let record = self.record();
        // What other nodes dial goes before what we happened to take.
        let current = [
            record.and_then(|node| of_record(node, ask.family)),
            self.addresses.get(ask.family),
        ];
        let current: Vec<IpAddr> = current.into_iter().flatten().map(|n| n.ip()).collect();
        let targets = ask.method.target().map(|name| self.names.get(name));
        select(
            view,
            &Question {
                family: ask.family,
                method: &ask.method,
                order: self.identity.address_order,
                current: &current,
                targets: &targets.unwrap_or_default(),
                internal_ips: record.map_or(&[], |node| &node.internal_ips),
            },
        )
    }

    /// That another node's record has the address, too.
    fn taken_twice(&self, address: IpAddr) -> Option<String> {
        let theirs = |node: &&Node| {
            let families = FAMILIES
                .into_iter()
                .filter_map(|family| of_record(node, family));
            node.name != self.identity.name && families.into_iter().any(|n| n.ip() == address)
        };
        let other = self.intent.nodes.iter().find(theirs)?;
        let name = &other.name;
        Some(format!(
            "{address} is on record as the address of node {name}, too; one of them is wrong"
        ))
    }

    fn search(&self, view: &KernelView) -> Found {
        let mut found = Found::default();
        for ask in self.asks() {
            let selection = self.select(view, &ask);
            let (name, method) = (word(ask.family), &ask.method);
            match &selection.chosen {
                Ok(None) => {}
                Ok(Some(chosen)) => {
                    found.addresses.set(chosen.address, chosen.len);
                    found.warnings.extend(self.taken_twice(chosen.address));
                    if method.looks_at_host() {
                        found.because.push(because(&ask, chosen, &selection));
                        found
                            .warnings
                            .extend(selection.oddity.map(|odd| odd.to_string()));
                    }
                }
                Err(failure) => {
                    let record = self.record().and_then(|node| of_record(node, ask.family));
                    let what = format!("no {name} address is found by {method}: {failure}");
                    if let Some(kept) = self.addresses.get(ask.family).or(record) {
                        found.addresses.set(kept.ip(), kept.prefix());
                        found.warnings.push(format!("{what}; {kept} is kept"));
                    } else if ask.source == AskedBy::Default {
                        let what = format!("{what}, and the node's record has none");
                        found.warnings.push(what);
                    } else {
                        let advice = "`dunlin address --explain` shows every candidate";
                        found.obstacles.push(format!("{what}; {advice}"));
                    }
                }
            }
        }
        found
    }
}

/// `ipv4 is 10.0.0.1/24 of eth0 by first-found: the only one that will do`.
fn because(ask: &Ask, chosen: &Chosen, selection: &Selection) -> String {
    let Chosen { address, len, link } = chosen;
    let link = link.as_deref().map(|name| format!(" of {name}"));
    let verdict = selection.candidates.iter().find(|c| c.verdict.is_taken());
    let why = verdict.map(|candidate| format!(": {}", candidate.verdict));
    format!(
        "{} is {address}/{len}{} by {}{}",
        word(ask.family),
        link.unwrap_or_default(),
        ask.method,
        why.unwrap_or_default()
    )
}

const fn word(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "IPv4",
        Family::Ipv6 => "IPv6",
    }
}

impl Daemon {
    /// Searches again if links, addresses or routes have changed, and makes a new plan if the answer
    /// is another one.
    pub(super) fn follow_own_address(&mut self) {
        let view = self.node.dataplane().map(Dataplane::view);
        let Some(view) = view.filter(|view| view.is_known()) else {
            return;
        };
        let revision = Some(view.revision());
        if self.own.revision == revision || !self.own.looks_at_host() {
            return;
        }
        let found = self.own.search(view);
        self.own.revision = revision;
        let said = found.troubles();
        if said != self.own.said {
            for line in &said {
                tracing::warn!("{line}");
            }
            self.own.said = said;
        }
        if found.addresses == self.own.addresses {
            return;
        }
        for line in &found.because {
            tracing::info!("own address: {line}");
        }
        self.own.addresses = found.addresses;
        self.plan_again();
    }

    /// What a reading has found; why is said only if it is news.
    pub(super) fn take_own(&mut self, own: Own, notes: &[String]) {
        if own.addresses != self.own.addresses {
            for line in notes {
                tracing::info!("own address: {line}");
            }
        }
        self.own = own;
    }

    /// A new plan from what was read last and what this host says now.
    fn plan_again(&mut self) {
        match source::plan(&self.config, &self.own) {
            Ok(planned) => {
                for warning in planned.warnings {
                    tracing::warn!("{warning}");
                }
                self.places = planned.places;
                let now = self.clock.now();
                for change in self.node.replan(now, planned.plan) {
                    tracing::info!("{change}");
                }
                self.nat.replan(&self.node);
            }
            Err(bad) => tracing::error!("{bad}"),
        }
    }
}
