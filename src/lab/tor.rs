//! The racks' routers on paper: where they are, and what BIRD or a dunlin in that role is told.
//!
//! A rack is a subnet and an AS. Its one or two ToRs reflect between the rack's nodes (iBGP) and talk to
//! the other rack's ToRs over a third network, the spine (eBGP); blocks from elsewhere have the ToR itself as
//! next hop, so that a node has one path for each of its ToRs. Pure, like the rest of the plan.

use core::fmt::Write as _;
use std::net::IpAddr;

use super::files::write_node;
use super::plan::{Mac, NodePlan, Plan, Subnet, address_on};
use crate::net::{Family, Prefix};

/// The number of the network between the racks: 172.31.0.0/24 and fd00:31::/64.
const SPINE: u8 = 0;
/// Its bridge.
pub(super) const SPINE_BRIDGE: &str = "br-spine";
/// The ToR's link to its rack.
pub(super) const DOWNLINK: &str = "eth0";
/// The ToR's link to the spine.
pub(super) const SPINE_LINK: &str = "eth1";

/// A router of a rack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TorPlan {
    /// Its place in the rack, from 1.
    pub(super) number: u8,
    /// `tor-a-1`.
    pub(super) name: String,
    /// `dunlin-lab-tor-a-1`.
    pub(super) namespace: String,
    /// Its rack.
    pub(super) subnet: Subnet,
    /// Its Ethernet address in the rack.
    pub(super) mac: Mac,
    /// Its Ethernet address on the spine.
    pub(super) spine_mac: Mac,
    /// Its addresses in the rack with the length of the subnet, by family.
    pub(super) addresses: Vec<(IpAddr, u8)>,
    /// Its addresses on the spine with the length of the subnet, by family.
    pub(super) spine_addresses: Vec<(IpAddr, u8)>,
}

/// The AS of a rack, its nodes and its ToRs.
pub(super) const fn as_number(subnet: Subnet) -> u32 {
    match subnet {
        Subnet::A => 64601,
        Subnet::B => 64602,
    }
}

/// What the rack on a subnet is called.
pub(super) const fn rack(subnet: Subnet) -> &'static str {
    match subnet {
        Subnet::A => "a",
        Subnet::B => "b",
    }
}

/// The ToRs of both racks.
pub(super) fn tors(instance: &str, families: &[Family], each: usize) -> Vec<TorPlan> {
    let numbers = (1..=2_u8).take(each);
    let places = Subnet::ALL
        .into_iter()
        .flat_map(|subnet| numbers.clone().map(move |number| (subnet, number)));
    places
        .map(|(subnet, number)| {
            let name = format!("tor-{}-{number}", rack(subnet));
            let on_spine = 2 * subnet.number() - 2 + number;
            TorPlan {
                number,
                namespace: format!("{instance}-{name}"),
                name,
                subnet,
                // The first one has the address that a plain router has: every node's gateway.
                mac: [0x02, 0, 0, 0, number - 1, subnet.number()],
                spine_mac: [0x02, 0, 0, 4, 0, on_spine],
                addresses: families
                    .iter()
                    .map(|f| subnet.address(*f, number))
                    .collect(),
                spine_addresses: families
                    .iter()
                    .map(|f| address_on(SPINE, *f, on_spine))
                    .collect(),
            }
        })
        .collect()
}

/// A session of a ToR, in one family.
#[derive(Debug)]
struct Session<'a> {
    name: String,
    family: Family,
    own: IpAddr,
    far: IpAddr,
    /// The AS of the far end.
    as_number: u32,
    /// The node, if it is one of the rack's.
    node: Option<&'a NodePlan>,
}

impl TorPlan {
    /// The cluster's records of this ToR: a session a family, as networks have them.
    pub(super) fn write_records(&self, text: &mut String) {
        for (address, _) in &self.addresses {
            let family = word(family_of(*address));
            let _ = write!(
                text,
                "\n[[bgp-peer]]\nname = \"{}-{family}\"\n\
                 node-selector = \"rack == '{}'\"\npeer-ip = \"{address}\"\n\
                 as-number = {}\nfamilies = [\"{family}\"]\n",
                self.name,
                rack(self.subnet),
                as_number(self.subnet),
            );
        }
    }

    /// With every node of the rack and every ToR of the other one.
    fn sessions<'a>(&self, plan: &'a Plan) -> Vec<Session<'a>> {
        let mut sessions = Vec::new();
        for node in plan.nodes.iter().filter(|n| n.subnet == self.subnet) {
            for ((own, _), (far, _)) in self.addresses.iter().zip(&node.addresses) {
                let family = family_of(*own);
                sessions.push(Session {
                    name: format!("{}-{}", node.name, word(family)),
                    family,
                    own: *own,
                    far: *far,
                    as_number: as_number(self.subnet),
                    node: Some(node),
                });
            }
        }
        for other in plan.tors.iter().filter(|t| t.subnet != self.subnet) {
            for ((own, _), (far, _)) in self.spine_addresses.iter().zip(&other.spine_addresses) {
                let family = family_of(*own);
                sessions.push(Session {
                    name: format!("{}-{}", other.name, word(family)),
                    family,
                    own: *own,
                    far: *far,
                    as_number: as_number(other.subnet),
                    node: None,
                });
            }
        }
        sessions
    }

    /// For BIRD 2.
    pub(super) fn bird_file(&self, plan: &Plan) -> String {
        let mut text = format!(
            "# Written by `dunlin lab`: {}, for BIRD 2.\nlog stderr all;\nrouter id {};\n\
             protocol device {{ }}\n",
            self.name,
            self.router_id(),
        );
        for family in &plan.families {
            let word = word(*family);
            let _ = write!(
                text,
                "protocol direct {{ {word}; interface \"{DOWNLINK}\"; }}\n\
                 protocol kernel {{ {word} {{ import none; export where source = RTS_BGP; }}; \
                 merge paths yes; }}\n",
            );
        }
        for session in self.sessions(plan) {
            let word = word(session.family);
            // Between racks the rack's own network goes, too, so that nodes reach each other.
            let (role, export) = match session.node {
                Some(_) => (
                    "rr client; ",
                    "next hop self ebgp; export where source = RTS_BGP;",
                ),
                None => ("", "export where source ~ [ RTS_BGP, RTS_DEVICE ];"),
            };
            let _ = writeln!(
                text,
                "protocol bgp {} {{ local {} as {}; neighbor {} as {}; {role}connect delay time 1; \
                 connect retry time 1; error wait time 1, 2; {word} {{ import all; {export} }}; }}",
                session.name.replace('-', "_"),
                session.own,
                as_number(self.subnet),
                session.far,
                session.as_number,
            );
        }
        text
    }

    /// The cluster file of a dunlin in this role: a cluster of its own that consists of it.
    pub(super) fn dunlin_file(&self, plan: &Plan) -> String {
        let mut text = format!(
            "# Written by `dunlin lab`: {}, a dunlin that plays a ToR.\n\
             [bgp]\nas-number = {}\nnode-to-node-mesh-enabled = false\n",
            self.name,
            as_number(self.subnet),
        );
        let cluster_id = format!("route-reflector-cluster-id = \"{}\"", self.router_id());
        write_node(&mut text, &self.name, &self.addresses, &[], &[cluster_id]);
        for session in self.sessions(plan) {
            let client = if session.node.is_some() {
                "route-reflector-client = true\n"
            } else {
                ""
            };
            let _ = write!(
                text,
                "\n[[bgp-peer]]\nname = \"{}\"\npeer-ip = \"{}\"\nas-number = {}\n\
                 source-address = \"{}\"\nfamilies = [\"{}\"]\n{client}\
                 import = \"accept-all\"\nexport = \"accept-all\"\n",
                session.name,
                session.far,
                session.as_number,
                session.own,
                word(session.family),
            );
        }
        text
    }

    fn router_id(&self) -> String {
        let first = self.addresses.first();
        first.map_or_else(String::new, |(address, _)| address.to_string())
    }
}

fn family_of(address: IpAddr) -> Family {
    Prefix::host(address).family()
}

/// As dunlin and BIRD spell it.
const fn word(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "ipv4",
        Family::Ipv6 => "ipv6",
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::{LabOptions, Topology};
    use super::*;

    fn plan(tors: usize) -> Plan {
        Plan::new(&LabOptions {
            topology: Topology::Tor,
            tors,
            ..LabOptions::default()
        })
    }

    #[test]
    fn no_two_tors_share_an_address() {
        let plan = plan(2);
        let all = plan.tors.iter().flat_map(|t| {
            let both = t.addresses.iter().chain(&t.spine_addresses);
            both.map(|a| a.0).collect::<Vec<_>>()
        });
        let all: Vec<IpAddr> = all.collect();
        assert_eq!(all.len(), 4 * 4);
        let different: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        let macs = plan.tors.iter().flat_map(|t| [t.mac, t.spine_mac]);
        let macs: std::collections::HashSet<_> = macs.collect();
        assert_eq!(macs.len(), 8);
    }

    #[test]
    fn a_tor_talks_to_its_nodes_and_to_the_other_rack() {
        let plan = plan(2);
        let sessions = plan.tors[0].sessions(&plan);
        let names: Vec<&str> = sessions.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "node-1-ipv4",
                "node-1-ipv6",
                "node-3-ipv4",
                "node-3-ipv6",
                "tor-b-1-ipv4",
                "tor-b-1-ipv6",
                "tor-b-2-ipv4",
                "tor-b-2-ipv6"
            ]
        );
        assert!(sessions.iter().all(|s| s.own.is_ipv4() == s.far.is_ipv4()));
    }

    #[test]
    fn the_files_of_a_tor_name_every_session() {
        let plan = plan(1);
        let router = &plan.tors[1];
        let cluster: toml::Table = router.dunlin_file(&plan).parse().unwrap();
        let peers = cluster["bgp-peer"].as_array().unwrap();
        assert_eq!(peers.len(), router.sessions(&plan).len());
        let bird = router.bird_file(&plan);
        assert_eq!(bird.matches("protocol bgp ").count(), peers.len());
        assert_eq!(bird.matches('{').count(), bird.matches('}').count());
    }
}
