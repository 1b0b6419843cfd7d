//! The cluster file's tables, each read by itself into a record of the intent.
//!
//! A record keeps the place of every value that a check across records could complain about.
//! What can be judged within one table is judged here; what takes two is `assemble`'s.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::bgp::{Advertisement, Bgp, read_advertisements, read_bgp};
use super::felix::{Felix, read_felix};
use super::filters::read_filter;
use super::ipam::Owned;
use super::peers::read_peer;
use super::pools::read_pool;
use super::problem::{Place, Problems};
use super::record::{Places, Record, plain};
use super::scalar;
use super::schema::{BGP, FELIX, FILE, FILTER, NODE, PEER, POOL};
use super::secrets::Wanted;
use super::source::Source;
use super::table::{Located, TableReader};
use super::tunnels::read_tunnels;
use crate::net::Prefix;
use crate::policy::Filter;
use crate::topology::{Node, Peer, Pool};

/// Nodes of a cluster: ten times as many as the largest that are known.
const MAX_NODES: usize = 50_000;
/// Records of each other kind that a plan goes through for each node.
const MAX_OTHERS: usize = 10_000;

/// What the files hold, in their order, each table by itself.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) bgp: Option<Bgp>,
    pub(crate) felix: Option<Felix>,
    pub(crate) pools: Vec<Record<Pool>>,
    pub(crate) nodes: Vec<Record<Node>>,
    pub(crate) peers: Vec<Record<Peer>>,
    /// The secrets of peers, by their places in `peers`.
    pub(crate) secrets: Vec<(usize, Wanted)>,
    /// The keys of their BFD, likewise.
    pub(crate) bfd_secrets: Vec<(usize, Wanted)>,
    pub(crate) filters: Vec<Record<Filter>>,
    /// Blocks that belong to a node by IPAM.
    pub(crate) owned: Vec<Owned>,
    /// Addresses that a node has of another's block.
    pub(crate) borrowed: Vec<Owned>,
    /// Addresses that somebody has by IPAM, by their block, and the node whose tunnel's end each is, if it is.
    pub(crate) given: BTreeMap<Prefix, Vec<(IpAddr, Option<String>)>>,
    /// Ports of single nodes.
    pub(crate) ports: Vec<(Located<String>, Located<u16>)>,
    /// Advertisements of single nodes.
    pub(crate) advertisements: Vec<(Located<String>, Vec<Advertisement>)>,
    /// Where each resource of the kinds that are not tables stands.
    pub(crate) resources: BTreeMap<(&'static str, String), Place>,
    /// Some pool could not be read: whether a block lies in one can't be judged.
    pub(crate) pools_missing: bool,
    /// Some node could not be read: whether a name is one can't be judged.
    pub(crate) nodes_missing: bool,
    /// Some filter could not be read: whether a name is one can't be judged.
    pub(crate) filters_missing: bool,
    /// Some community could not be read: whether a name is one can't be judged.
    pub(crate) communities_missing: bool,
}

impl Records {
    /// Reads one file into what the others gave.
    pub(crate) fn read(&mut self, source: &Source<'_>, problems: &mut Problems) {
        let mut found = Problems::default();
        let table = source.parse(&mut found);
        let root = table
            .as_ref()
            .map(|table| TableReader::new(source, &FILE, source.whole(), table, &mut found));
        // A misspelled [[node]] is a key that the file does not have.
        if found.has_errors() {
            self.part_is_missing();
        }
        if let Some(root) = root {
            self.read_root(&root, &mut found);
        }
        problems.append(found);
    }

    /// Whether a plan can be made of so many; else the first that is one too many.
    pub(crate) fn few_enough(&self) -> Result<(), (Place, String)> {
        fn count<T>(records: &[Record<T>], most: usize, what: &str) -> Result<(), (Place, String)> {
            match records.get(most) {
                None => Ok(()),
                Some(first) => Err((first.place().clone(), format!("more than {most} {what}"))),
            }
        }
        count(&self.nodes, MAX_NODES, "nodes")?;
        count(&self.pools, MAX_OTHERS, "pools")?;
        count(&self.peers, MAX_OTHERS, "peers")?;
        count(&self.filters, MAX_OTHERS, "filters")
    }

    /// A part of a file could not be read, and it could have been anything.
    pub(crate) const fn part_is_missing(&mut self) {
        self.pools_missing = true;
        self.nodes_missing = true;
        self.filters_missing = true;
        self.communities_missing = true;
    }

    fn read_root(&mut self, root: &TableReader<'_>, problems: &mut Problems) {
        if let Some(table) = root.table("bgp", &BGP, problems) {
            self.read_bgp(&table, problems);
        }
        if let Some(table) = root.table("felix", &FELIX, problems) {
            self.read_felix(&table, problems);
        }
        let tables = root.tables("ip-pool", &POOL, problems);
        self.pools_missing |= !tables.complete;
        for table in tables.readers {
            self.read_pool(&table, problems);
        }
        let tables = root.tables("node", &NODE, problems);
        self.nodes_missing |= !tables.complete;
        for table in tables.readers {
            self.read_node(&table, problems);
        }
        for table in root.tables("bgp-peer", &PEER, problems).readers {
            self.read_peer(&table, problems);
        }
        let tables = root.tables("bgp-filter", &FILTER, problems);
        self.filters_missing |= !tables.complete;
        for table in tables.readers {
            self.read_filter(&table, problems);
        }
    }
}

impl Records {
    pub(crate) fn read_pool(&mut self, table: &TableReader<'_>, problems: &mut Problems) {
        let pool = read_pool(table, problems);
        self.pools_missing |= pool.is_none();
        self.pools.extend(pool);
    }

    pub(crate) fn read_node(&mut self, table: &TableReader<'_>, problems: &mut Problems) {
        let node = read_node(table, problems);
        self.nodes_missing |= node.is_none();
        if let Some(node) = &node {
            let place = node.at("name").clone();
            let value = node.value.name.clone();
            let advertisements = read_advertisements(table, problems);
            let of_node = advertisements.map(|list| (Located { value, place }, list));
            self.advertisements.extend(of_node);
        }
        self.nodes.extend(node);
    }

    pub(crate) fn read_peer(&mut self, table: &TableReader<'_>, problems: &mut Problems) {
        if let Some((peer, secrets)) = read_peer(table, problems) {
            let index = self.peers.len();
            self.peers.push(peer);
            let of_peer = |secret| (index, secret);
            self.secrets.extend(secrets.session.map(of_peer));
            self.bfd_secrets.extend(secrets.bfd.map(of_peer));
        }
    }

    pub(crate) fn read_filter(&mut self, table: &TableReader<'_>, problems: &mut Problems) {
        let filter = read_filter(table, problems);
        self.filters_missing |= filter.is_none();
        self.filters.extend(filter);
    }

    pub(crate) fn read_bgp(&mut self, table: &TableReader<'_>, problems: &mut Problems) {
        let bgp = read_bgp(table, problems);
        self.communities_missing |= bgp.communities_missing;
        match &self.bgp {
            Some(first) => only_one(table, first.place(), problems),
            None => self.bgp = Some(bgp),
        }
    }

    pub(crate) fn read_felix(&mut self, table: &TableReader<'_>, problems: &mut Problems) {
        let value = read_felix(table, problems);
        match &self.felix {
            Some(first) => only_one(table, &first.place, problems),
            None => self.felix = Some(value),
        }
    }
}

fn only_one(table: &TableReader<'_>, first: &Place, problems: &mut Problems) {
    let label = table.label();
    let message = format!("{label} is already at {first}; keep one of them");
    problems.error(table.place(), message);
}

fn read_node(table: &TableReader<'_>, problems: &mut Problems) -> Option<Record<Node>> {
    let mut places = Places::default();
    let ipv4 = table.read("ipv4-address", scalar::ipv4_address, problems);
    let ipv6 = table.read("ipv6-address", scalar::ipv6_address, problems);
    let router_id = table.read("router-id", scalar::router_id, problems);
    let cluster_id = table.read("route-reflector-cluster-id", scalar::router_id, problems);
    let as_number = plain(table.read("as-number", scalar::asn, problems));
    let listen_port = plain(table.read("listen-port", scalar::port, problems));
    let labels = plain(table.read("labels", scalar::labels, problems)).unwrap_or_default();
    let blocks = table
        .read_list("blocks", scalar::prefix, problems)
        .unwrap_or_default();
    let internal_ips = table
        .read_list("internal-ips", scalar::address, problems)
        .unwrap_or_default();
    let tunnels = read_tunnels(table, &mut places, problems);
    let (blocks, block_places) = blocks.into_iter().map(|b| (b.value, b.place)).unzip();
    let node = Node {
        name: places.note("name", table.require("name", scalar::name, problems))?,
        ipv4_address: places.note("ipv4-address", ipv4),
        ipv6_address: places.note("ipv6-address", ipv6),
        as_number,
        router_id: places.note("router-id", router_id),
        listen_port,
        route_reflector_cluster_id: plain(cluster_id),
        labels,
        blocks,
        tunnels,
        given: Vec::new(),
        internal_ips: internal_ips.into_iter().map(|ip| ip.value).collect(),
        prefix_advertisements: None,
    };
    places.mark("ipv4-address", table);
    places.mark("ipv6-address", table);
    Some(places.record(table, node, block_places))
}
