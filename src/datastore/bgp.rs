//! The table `[bgp]`: BGPConfiguration "default", and advertisements of single nodes.
//!
//! It reads tables; a community's name is resolved when all files have been read, because it may stand in
//! another one than its use.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::looks::hint;
use super::problem::{Place, Problems};
use super::record::{Places, Record, plain};
use super::records::Records;
use super::scalar::{self, Fault, one_of};
use super::schema::{ADVERTISEMENT, BIND_MODES, COMMUNITY};
use super::secrets::{Wanted, read_secret};
use super::sessions::{keepalive_too_long, read_bfd, read_session};
use super::table::{Located, TableReader};
use crate::net::{Community, Prefix};
use crate::topology::{BgpSettings, DEFAULT_HOLD_TIME, PrefixAdvertisement};

/// As many as Calico takes.
const MAX_ENTRIES: usize = 500;
/// As many for one prefix.
const MAX_COMMUNITIES: usize = 50;

/// What `[bgp]` says.
#[derive(Debug)]
pub(crate) struct Bgp {
    /// But for what other tables are needed for.
    pub(crate) record: Record<BgpSettings>,
    /// The secret of the mesh.
    pub(crate) secret: Option<Wanted>,
    /// The key of the mesh's BFD.
    pub(crate) bfd_secret: Option<Wanted>,
    /// Some community could not be read.
    pub(crate) communities_missing: bool,
    communities: BTreeMap<String, Community>,
    advertisements: Vec<Advertisement>,
}

/// Communities for routes inside a prefix, as they are written.
#[derive(Debug)]
pub(crate) struct Advertisement {
    cidr: Prefix,
    communities: Vec<Located<String>>,
}

impl Bgp {
    /// Where the table begins.
    pub(crate) const fn place(&self) -> &Place {
        self.record.place()
    }
}

/// Reads the table.
pub(crate) fn read_bgp(table: &TableReader<'_>, problems: &mut Problems) -> Bgp {
    let session = read_session(table, problems);
    if let (Some(keepalive), None) = (session.keepalive_time, session.hold_time)
        && let Some(message) = keepalive_too_long(keepalive, DEFAULT_HOLD_TIME)
    {
        problems.error(&table.key_place("keepalive-time"), message);
    }
    let defaults = BgpSettings::default();
    let mesh = table.read("node-to-node-mesh-enabled", scalar::boolean, problems);
    let restart = table.read("node-mesh-max-restart-time", scalar::restart_time, problems);
    let filters = table.read_list("node-mesh-filters", scalar::name, problems);
    let filters = filters.unwrap_or_default().into_iter();
    let (filters, places) = filters.map(|f| (f.value, f.place)).unzip();
    let bind = plain(table.read("bind-mode", one_of(BIND_MODES), problems));
    let (bfd, bfd_secret) = read_bfd(table, "node-mesh-bfd", problems);
    let settings = BgpSettings {
        as_number: plain(table.read("as-number", scalar::asn, problems))
            .unwrap_or(defaults.as_number),
        node_to_node_mesh_enabled: plain(mesh).unwrap_or(defaults.node_to_node_mesh_enabled),
        listen_port: plain(table.read("listen-port", scalar::port, problems))
            .unwrap_or(defaults.listen_port),
        session,
        node_mesh_max_restart_time: plain(restart),
        node_mesh_filters: filters,
        node_mesh_bfd: bfd,
        bind_mode: bind.unwrap_or(defaults.bind_mode),
        ..defaults
    };
    let before = problems.len();
    let communities = read_communities(table, problems);
    let communities_missing = problems.len() > before;
    Bgp {
        record: Places::default().record(table, settings, places),
        secret: read_secret(table, ["node-mesh-password", "node-mesh-tcp-ao"], problems),
        bfd_secret,
        communities_missing,
        communities,
        advertisements: read_advertisements(table, problems).unwrap_or_default(),
    }
}

fn read_communities(
    table: &TableReader<'_>,
    problems: &mut Problems,
) -> BTreeMap<String, Community> {
    let mut communities = BTreeMap::new();
    let mut places: BTreeMap<String, Place> = BTreeMap::new();
    let tables = table.tables("communities", &COMMUNITY, problems).readers;
    too_many(table, "communities", tables.len(), problems);
    for entry in tables {
        let value = entry.require("value", community, problems);
        let Some(name) = entry.require("name", scalar::text, problems) else {
            continue;
        };
        if let Some(first) = places.get(&name.value) {
            let message = format!("community {:?} is already at {first}", name.value);
            problems.error(&name.place, message);
            continue;
        }
        places.insert(name.value.clone(), name.place);
        communities.extend(value.map(|value| (name.value, value.value)));
    }
    communities
}

/// Reads `prefix-advertisements`; `None` if they are not there.
pub(crate) fn read_advertisements(
    table: &TableReader<'_>,
    problems: &mut Problems,
) -> Option<Vec<Advertisement>> {
    const KEY: &str = "prefix-advertisements";
    if !table.has(KEY) {
        return None;
    }
    let tables = table.tables(KEY, &ADVERTISEMENT, problems).readers;
    too_many(table, KEY, tables.len(), problems);
    let mut list = Vec::new();
    for entry in tables {
        let cidr = entry.require("cidr", scalar::prefix, problems);
        let communities = entry.read_list("communities", scalar::text, problems);
        let communities = communities.unwrap_or_default();
        if communities.len() > MAX_COMMUNITIES {
            let message = format!("a prefix has at most {MAX_COMMUNITIES} communities");
            problems.error(&entry.key_place("communities"), message);
        }
        list.extend(cidr.map(|cidr| Advertisement {
            cidr: cidr.value,
            communities,
        }));
    }
    Some(list)
}

fn too_many(table: &TableReader<'_>, key: &'static str, count: usize, problems: &mut Problems) {
    if count > MAX_ENTRIES {
        let message = format!("{:?} has at most {MAX_ENTRIES} entries", table.word(key));
        problems.error(&table.key_place(key), message);
    }
}

/// A community in digits, or a well-known one by its name.
pub(crate) fn community(value: &DeValue<'_>) -> Result<Community, Fault> {
    let text = value.as_str().and_then(|text| text.parse().ok());
    text.ok_or_else(|| {
        let forms = "a community such as \"64512:100\" (up to 65535 each) or \"63400:300:100\"";
        Fault::expected(forms, value)
    })
}

/// Gives the cluster and its nodes their advertisements, the names of communities resolved.
pub(crate) fn resolve_advertisements(records: &mut Records, problems: &mut Problems) {
    let none = BTreeMap::new();
    let names = records.bgp.as_ref().map_or(&none, |bgp| &bgp.communities);
    let resolver = Resolver {
        names,
        complete: !records.communities_missing,
    };
    let of_cluster = records.bgp.as_ref().map(|bgp| &bgp.advertisements);
    let cluster = of_cluster.map(|list| resolver.resolve(list, problems));
    let of_nodes: Vec<(String, Vec<PrefixAdvertisement>)> = records
        .advertisements
        .iter()
        .map(|(node, list)| (node.value.clone(), resolver.resolve(list, problems)))
        .collect();
    if let (Some(bgp), Some(cluster)) = (&mut records.bgp, cluster) {
        bgp.record.value.prefix_advertisements = cluster;
    }
    // What comes first counts, as for ports.
    let mut of_nodes: BTreeMap<String, Vec<PrefixAdvertisement>> =
        of_nodes.into_iter().rev().collect();
    for node in &mut records.nodes {
        node.value.prefix_advertisements = of_nodes.remove(&node.value.name);
    }
}

struct Resolver<'r> {
    names: &'r BTreeMap<String, Community>,
    complete: bool,
}

impl Resolver<'_> {
    fn resolve(&self, list: &[Advertisement], problems: &mut Problems) -> Vec<PrefixAdvertisement> {
        let mut resolved = Vec::with_capacity(list.len());
        for advertisement in list {
            let named = advertisement.communities.iter();
            let communities = named.filter_map(|name| self.community(name, problems));
            resolved.push(PrefixAdvertisement {
                cidr: advertisement.cidr,
                communities: communities.collect(),
            });
        }
        resolved
    }

    fn community(&self, text: &Located<String>, problems: &mut Problems) -> Option<Community> {
        let name = text.value.as_str();
        if let Some(community) = self.names.get(name) {
            return Some(*community);
        }
        match name.parse() {
            Ok(community) => Some(community),
            Err(error) if name.contains(':') => {
                let error: crate::net::ParseCommunityError = error;
                problems.error(&text.place, error.to_string());
                None
            }
            Err(_) if !self.complete => None,
            Err(_) => {
                let hint = hint(name, self.names.keys().map(String::as_str), problems);
                let message = format!("no community is named {name:?}{hint}");
                problems.error(&text.place, message);
                None
            }
        }
    }
}
