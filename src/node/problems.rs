//! All that the node knows to be wrong: sessions, routes, devices and the host under them.

use super::Node;
use crate::net::Prefix;
use crate::problem::{Code, Problem, Subject};
use crate::time::Instant;
use crate::topology::{Displaced, Encapsulation};

impl Node {
    /// What is wrong at `now`; one pass over peers, and over the prefixes that do not do well.
    pub fn problems(&self, now: Instant) -> Vec<Problem> {
        let mut problems = self.speaker.problems(now);
        if let Some(dataplane) = &self.dataplane {
            problems.extend(dataplane.problems(now));
            problems.extend(self.displaced_ends());
        }
        problems
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
