//! The cluster file's tables, each read by itself into a record of the intent.
//!
//! A record keeps the place of every value that a check across records could complain about.
//! What can be judged within one table is judged here; what takes two is `assemble`'s.

use std::collections::BTreeMap;

use super::felix::{Felix, read_felix};
use super::ipam::Owned;
use super::pools::read_pool;
use super::problem::{Place, Problems};
use super::scalar::{self, one_of};
use super::schema::{BGP, FAMILIES, FELIX, FILE, NODE, PEER, POLICIES, POOL};
use super::source::Source;
use super::table::{Located, TableReader};
use super::tunnels::read_tunnels;
use crate::net::Asn;
use crate::topology::{
    Authentication, BgpSettings, DEFAULT_HOLD_TIME, Families, FarEnd, NextHopMode, Node, Peer,
    PeerAddress, PeerCapabilities, PeerRoutes, PeerScope, Pool, PrefixLimit, SessionSettings,
    SourceAddress, TtlRule,
};

/// What the files hold, in their order, each table by itself.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) bgp: Option<Located<BgpSettings>>,
    pub(crate) felix: Option<Felix>,
    pub(crate) pools: Vec<Record<Pool>>,
    pub(crate) nodes: Vec<Record<Node>>,
    pub(crate) peers: Vec<Record<Peer>>,
    /// Blocks that belong to a node by IPAM.
    pub(crate) owned: Vec<Owned>,
    /// Addresses that a node has of another's block.
    pub(crate) borrowed: Vec<Owned>,
    /// Ports of single nodes.
    pub(crate) ports: Vec<(Located<String>, Located<u16>)>,
    /// Where each resource of the kinds that are not tables stands.
    pub(crate) resources: BTreeMap<(&'static str, String), Place>,
    /// Some pool could not be read: whether a block lies in one can't be judged.
    pub(crate) pools_missing: bool,
    /// Some node could not be read: whether a name is one can't be judged.
    pub(crate) nodes_missing: bool,
}

/// A record and the places of its values.
#[derive(Debug)]
pub(crate) struct Record<T> {
    pub(crate) value: T,
    place: Place,
    values: BTreeMap<&'static str, Place>,
    /// The places of a node's blocks, in their order.
    pub(crate) blocks: Vec<Place>,
}

impl<T> Record<T> {
    /// The place of a value, or else of the table.
    pub(crate) fn at(&self, key: &str) -> &Place {
        self.values.get(key).unwrap_or(&self.place)
    }

    /// Whether the table has a value for the key, though it may be wrong.
    pub(crate) fn mentions(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }
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
        self.pools_missing |= found.has_errors();
        self.nodes_missing |= found.has_errors();
        if let Some(root) = root {
            self.read_root(&root, &mut found);
        }
        problems.append(found);
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
        self.nodes.extend(node);
    }

    pub(crate) fn read_peer(&mut self, table: &TableReader<'_>, problems: &mut Problems) {
        self.peers.extend(read_peer(table, problems));
    }

    pub(crate) fn read_bgp(&mut self, table: &TableReader<'_>, problems: &mut Problems) {
        let value = read_bgp(table, problems);
        match &self.bgp {
            Some(first) => only_one(table, &first.place, problems),
            None => {
                self.bgp = Some(Located {
                    value,
                    place: table.place().clone(),
                });
            }
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

/// Remembers the place of each value that it hands on.
#[derive(Default)]
pub(crate) struct Places {
    values: BTreeMap<&'static str, Place>,
}

impl Places {
    pub(crate) fn note<T>(&mut self, key: &'static str, value: Option<Located<T>>) -> Option<T> {
        value.map(|located| {
            self.values.insert(key, located.place);
            located.value
        })
    }

    pub(crate) fn record<T>(
        self,
        table: &TableReader<'_>,
        value: T,
        blocks: Vec<Place>,
    ) -> Record<T> {
        Record {
            value,
            place: table.place().clone(),
            values: self.values,
            blocks,
        }
    }
}

fn read_bgp(table: &TableReader<'_>, problems: &mut Problems) -> BgpSettings {
    let session = read_session(table, problems);
    if let (Some(keepalive), None) = (session.keepalive_time, session.hold_time)
        && let Some(message) = keepalive_too_long(keepalive, DEFAULT_HOLD_TIME)
    {
        problems.error(&table.key_place("keepalive-time"), message);
    }
    let defaults = BgpSettings::default();
    let mesh = table.read("node-to-node-mesh-enabled", scalar::boolean, problems);
    BgpSettings {
        as_number: plain(table.read("as-number", scalar::asn, problems))
            .unwrap_or(defaults.as_number),
        node_to_node_mesh_enabled: plain(mesh).unwrap_or(defaults.node_to_node_mesh_enabled),
        listen_port: plain(table.read("listen-port", scalar::port, problems))
            .unwrap_or(defaults.listen_port),
        session,
        ..defaults
    }
}

pub(crate) fn plain<T>(value: Option<Located<T>>) -> Option<T> {
    value.map(|located| located.value)
}

fn read_session(table: &TableReader<'_>, problems: &mut Problems) -> SessionSettings {
    let hold = table.read("hold-time", scalar::hold_time, problems);
    let keepalive = table.read("keepalive-time", scalar::keepalive_time, problems);
    let connect = table.read("connect-retry-time", scalar::connect_retry_time, problems);
    let restart = table.read("max-restart-time", scalar::restart_time, problems);
    if let (Some(hold), Some(keepalive)) = (&hold, &keepalive)
        && let Some(message) = keepalive_too_long(keepalive.value, hold.value)
    {
        problems.error(&keepalive.place, message);
    }
    if let Some(restart) = &restart {
        let message = "\"max-restart-time\" has no effect in this version, which has no graceful \
                       restart; routes stay in the kernel all the same";
        problems.warning(&restart.place, message);
    }
    SessionSettings {
        hold_time: plain(hold),
        keepalive_time: plain(keepalive),
        connect_retry_time: plain(connect),
        max_restart_time: plain(restart),
        long_lived_stale_time: None,
    }
}

/// What to say of a keepalive time that the hold time does not leave room for.
pub(crate) fn keepalive_too_long(keepalive: u16, hold: u16) -> Option<String> {
    let message = || {
        let third = hold / 3;
        format!(
            "\"keepalive-time\" of {keepalive} s with a hold time of {hold} s: the other end \
             would give up before each KEEPALIVE; expected less, best {third} s"
        )
    };
    (hold > 0 && keepalive >= hold).then(message)
}

fn read_node(table: &TableReader<'_>, problems: &mut Problems) -> Option<Record<Node>> {
    let mut places = Places::default();
    let ipv4 = table.read("ipv4-address", scalar::ipv4_address, problems);
    let ipv6 = table.read("ipv6-address", scalar::ipv6_address, problems);
    let router_id = table.read("router-id", scalar::router_id, problems);
    let cluster_id = table.read("route-reflector-cluster-id", scalar::router_id, problems);
    if let Some(cluster_id) = &cluster_id {
        let message = "\"route-reflector-cluster-id\" has no effect in this version: the node \
                       takes part in the mesh like any other and reflects nothing";
        problems.warning(&cluster_id.place, message);
    }
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
        internal_ips: internal_ips.into_iter().map(|ip| ip.value).collect(),
        prefix_advertisements: None,
    };
    for key in ["ipv4-address", "ipv6-address"]
        .into_iter()
        .filter(|key| table.has(key))
    {
        places
            .values
            .entry(key)
            .or_insert_with(|| table.key_place(key));
    }
    Some(places.record(table, node, block_places))
}

fn read_peer(table: &TableReader<'_>, problems: &mut Problems) -> Option<Record<Peer>> {
    let mut places = Places::default();
    let scope = read_scope(table, &mut places, problems);
    let local_as_number = plain(table.read("local-as-number", scalar::asn, problems));
    let passive = plain(table.read("passive", scalar::boolean, problems)).unwrap_or(false);
    let source = table.read("source-address", scalar::source_address, problems);
    let ttl = read_ttl(table, problems);
    let session = read_session(table, problems);
    if table.has("keepalive-time") {
        places
            .values
            .insert("keepalive-time", table.key_place("keepalive-time"));
    }
    let capabilities = read_capabilities(table, problems);
    let routes = read_routes(table, problems);
    let name = places.note("name", table.require("name", scalar::name, problems));
    let peer_ip = places.note(
        "peer-ip",
        table.require("peer-ip", scalar::peer_ip, problems),
    );
    let as_number: Option<Asn> = plain(table.require("as-number", scalar::asn, problems));
    let source_address = places.note("source-address", source).unwrap_or_default();
    let peer_ip = peer_ip?;
    check_source(table, &peer_ip, source_address, problems);
    let peer = Peer {
        name: name?,
        scope: scope?,
        far_end: FarEnd::Address(peer_ip),
        as_number: Some(as_number?),
        local_as_number,
        passive,
        source_address,
        ttl,
        session,
        capabilities,
        routes,
        filters: Vec::new(),
        authentication: Authentication::None,
        bfd: None,
        reachable_by: None,
        reverse: true,
    };
    Some(places.record(table, peer, Vec::new()))
}

fn check_source(
    table: &TableReader<'_>,
    peer_ip: &PeerAddress,
    source: SourceAddress,
    problems: &mut Problems,
) {
    let SourceAddress::Address(source) = source else {
        return;
    };
    if source.is_ipv4() != peer_ip.address.is_ipv4() {
        let peer = peer_ip.address;
        let message = format!("\"source-address\" {source} can't reach {peer}: another family");
        problems.error(&table.key_place("source-address"), message);
    } else if source == peer_ip.address {
        let message = format!("\"source-address\" and \"peer-ip\" are both {source}");
        problems.error(&table.key_place("source-address"), message);
    }
}

fn read_scope(
    table: &TableReader<'_>,
    places: &mut Places,
    problems: &mut Problems,
) -> Option<PeerScope> {
    let node = table.read("node", scalar::name, problems);
    let selector = table.read("node-selector", scalar::selector, problems);
    match (table.has("node"), table.has("node-selector")) {
        (true, true) => {
            let message = "a peer has \"node\" or \"node-selector\", not both";
            problems.error(&table.key_place("node-selector"), message);
            None
        }
        (true, false) => places.note("node", node).map(PeerScope::Node),
        (false, true) => places
            .note("node-selector", selector)
            .map(PeerScope::Selector),
        (false, false) => Some(PeerScope::All),
    }
}

fn read_ttl(table: &TableReader<'_>, problems: &mut Problems) -> TtlRule {
    let hops = scalar::integer::<u8>("a number of hops", 1..=255);
    plain(table.read("multihop", hops, problems)).map_or(TtlRule::Any, TtlRule::Multihop)
}

fn read_capabilities(table: &TableReader<'_>, problems: &mut Problems) -> PeerCapabilities {
    let defaults = PeerCapabilities::default();
    let before = problems.len();
    let list = table.read_list("families", one_of(FAMILIES), problems);
    let families = list.map(|list| {
        list.iter().fold(
            Families {
                ipv4: false,
                ipv6: false,
            },
            |all, one| Families {
                ipv4: all.ipv4 || one.value.ipv4,
                ipv6: all.ipv6 || one.value.ipv6,
            },
        )
    });
    let none = Families {
        ipv4: false,
        ipv6: false,
    };
    // Elements that could not be read have been noted already.
    if families == Some(none) && problems.len() == before {
        let message = "\"families\" has none; a session needs \"ipv4\", \"ipv6\" or both";
        problems.error(&table.key_place("families"), message);
    }
    let four_octet_as = plain(table.read("four-octet-as", scalar::boolean, problems));
    let extended = plain(table.read("extended-messages", scalar::boolean, problems));
    PeerCapabilities {
        families,
        four_octet_as: four_octet_as.unwrap_or(defaults.four_octet_as),
        extended_messages: extended.unwrap_or(defaults.extended_messages),
        ..defaults
    }
}

fn read_routes(table: &TableReader<'_>, problems: &mut Problems) -> PeerRoutes {
    let limit = scalar::integer::<u32>("a number of prefixes", 1..=i64::from(u32::MAX));
    let defaults = PeerRoutes::default();
    let next_hop_self = plain(table.read("next-hop-self", scalar::boolean, problems));
    let first_as = plain(table.read("enforce-first-as", scalar::boolean, problems));
    PeerRoutes {
        import: plain(table.read("import", one_of(POLICIES), problems)).unwrap_or_default(),
        export: plain(table.read("export", one_of(POLICIES), problems)).unwrap_or_default(),
        next_hop: if next_hop_self == Some(true) {
            NextHopMode::Own
        } else {
            NextHopMode::Auto
        },
        limit: PrefixLimit {
            max: plain(table.read("max-prefixes", limit, problems)),
            ..defaults.limit
        },
        enforce_first_as: first_as.unwrap_or(defaults.enforce_first_as),
        ..defaults
    }
}
