//! All that the node knows to be wrong: sessions, routes, devices and the host under them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Backend, Node};
use crate::dataplane::{Dataplane, KernelView};
use crate::forwarding::{Choice, Reason, Way};
use crate::net::Prefix;
use crate::problem::{Code, Problem, Subject};
use crate::time::Instant;
use crate::topology::{Displaced, Encapsulation, TemplateSource};

impl Node {
    /// What is wrong at `now`; one pass over peers, and over the prefixes that do not do well.
    pub fn problems(&self, now: Instant) -> Vec<Problem> {
        let mut problems = self.speaker.problems(now);
        let Some(dataplane) = &self.dataplane else {
            return problems;
        };
        let of_routes = problems.len();
        problems.extend(dataplane.problems(now));
        for problem in problems.iter_mut().skip(of_routes) {
            if problem.code == Code::RouteWithoutWay {
                self.say_why(problem);
            }
        }
        if dataplane.is_synced() {
            self.of_links(dataplane.view(), &mut problems);
            self.of_addresses(dataplane, &mut problems);
            problems.extend(self.displaced_ends());
        }
        problems
    }

    /// Changes whenever [`Self::problems`] may.
    pub const fn news(&self) -> u64 {
        self.news + self.speaker.news()
    }

    /// Says what is not known of the node that has a route.
    fn say_why(&self, problem: &mut Problem) {
        let Subject::Route(prefix) = problem.subject else {
            return;
        };
        let Some(reason) = self.choice_for(prefix).map(|choice| choice.reason) else {
            return;
        };
        problem.what = reason.to_string();
        let remedy = match reason {
            Reason::NoVtep { .. } => {
                problem.code = Code::TunnelAddressUnknown;
                "give that node a tunnel address on record, or a block in a pool with VXLAN"
            }
            Reason::NotANode { .. } => {
                "add a record of the node with that address, or see why it announces the route"
            }
            Reason::OutsidePools
            | Reason::NoEncapsulation { .. }
            | Reason::Always { .. }
            | Reason::SameSubnet { .. }
            | Reason::OtherSubnet { .. }
            | Reason::TunnelEnd { .. }
            | Reason::PoolGone { .. }
            | Reason::NoNodeAddress { .. } => "complete that node's record",
        };
        problem.remedy = remedy.to_owned();
    }

    /// The choice that was made for a prefix without a way.
    fn choice_for(&self, prefix: Prefix) -> Option<Choice> {
        let choice = match self.backend() {
            Backend::Vxlan => self.chooser().route(prefix)?,
            Backend::Bgp | Backend::None => {
                let rib = self.speaker.rib();
                let attributes = rib.path_attributes(rib.lookup(prefix)?.best()?)?;
                let next_hop = attributes.decode().next_hop?.address;
                self.choose(prefix, next_hop)
            }
        };
        matches!(choice.way, Way::Unreachable).then_some(choice)
    }

    /// Links that a neighbour is expected on, and those with the node's own addresses.
    fn of_links(&self, view: &KernelView, problems: &mut Vec<Problem>) {
        let plan = self.speaker.plan();
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for template in &plan.templates {
            if let TemplateSource::Link(name) = &template.from {
                names.insert(name);
            }
        }
        let own: Vec<IpAddr> = plan.addresses().collect();
        let with_own = view.addresses().filter(|at| own.contains(&at.address));
        let with_own = with_own.filter_map(|at| view.link_by_index(at.interface));
        names.extend(with_own.map(|link| &*link.name));
        for name in names {
            let (what, remedy) = match view.link_by_name(name) {
                None => (
                    "there is no such link",
                    "is its name right, and its driver there?",
                ),
                Some(link) if !link.up => (
                    "the link is down",
                    "`ip link set NAME up`, and see who set it down",
                ),
                Some(link) if !link.lower_up => (
                    "the link has no carrier",
                    "look at its cable and at the port at the other end",
                ),
                Some(_) => continue,
            };
            let subject = Subject::Device(name.to_owned());
            problems.push(Problem::new(Code::LinkDown, subject, what, remedy));
        }
    }

    /// Addresses that the plan relies on, and this host lacks.
    fn of_addresses(&self, dataplane: &Dataplane, problems: &mut Vec<Problem>) {
        let here: BTreeSet<IpAddr> = dataplane.view().addresses().map(|at| at.address).collect();
        let own = self.speaker.plan().addresses();
        for address in own.filter(|own| !here.contains(own)) {
            problems.push(Problem::new(
                Code::NodeAddressMissing,
                Subject::Host,
                format!("no link of this host has {address}, the node's own address"),
                "give a link that address, or correct the node's record",
            ));
        }
        let fabric = self.chooser().fabric();
        let nat = fabric.felix.nat_outgoing_address;
        if let Some(address) = nat.filter(|at| fabric.has_nat_pools() && !here.contains(at)) {
            problems.push(Problem::new(
                Code::NatAddressMissing,
                Subject::Host,
                format!(
                    "no link of this host has {address}, the natOutgoingAddress: answers to pods do not \
                     come back"
                ),
                "give a link that address, or correct natOutgoingAddress",
            ));
        }
    }

    /// Tunnel devices that have another address than the one that would be theirs, or none.
    fn displaced_ends(&self) -> impl Iterator<Item = Problem> + '_ {
        let me = self.chooser().me();
        let pools = &self.chooser().fabric().pools;
        let lacks = move |family| {
            let mut tunnelled = pools
                .iter()
                .filter(|pool| pool.encapsulation != Encapsulation::None);
            tunnelled.any(|pool| pool.cidr.family() == family)
                && me.vtep(family).is_none()
                && me.ipip_address(family).is_none()
        };
        let in_use = move |one: &&Displaced| match one.instead {
            Some(instead) => me.ends().any(|end| end == instead),
            None => lacks(Prefix::host(one.given).family()),
        };
        me.displaced.iter().filter(in_use).map(|one| {
            let what = match one.instead {
                Some(instead) => format!(
                    "IPAM has given {}, the first address of this node's block, to somebody else; the \
                     tunnel device has {instead} in its place, which may be given away, too",
                    one.given
                ),
                None => "IPAM has given all addresses of this node's blocks away, so that its tunnel \
                         device has none"
                    .to_owned(),
            };
            let remedy = "reserve an address for the tunnel in IPAM and put it on the node's record \
                          (`ipv4-vxlan-tunnel-addr` and its like)";
            let subject = Subject::Record(format!("node {}", me.name));
            Problem::new(Code::TunnelAddressGiven, subject, what, remedy)
        })
    }
}
