//! From records to one intent: what takes more than one record to judge.
//!
//! A pure function of texts. It finds all that is wrong before it gives up; but where a table
//! could not be read at all, it does not complain about what refers to it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use super::bgp::resolve_advertisements;
use super::file::is_yaml;
use super::ipam::{hand_out, hand_out_borrowed, hand_out_given};
use super::looks::can_be_planned;
use super::manifest;
use super::peer_checks::{check_filters, check_peers};
use super::problem::{Place, Problems, Severity};
use super::record::Record;
use super::records::Records;
use super::secrets::Secrets;
use super::source::Source;
use super::tunnels;
use crate::net::{Family, Prefix, Prefix4, Prefix6, PrefixSet, RouterId};
use crate::topology::{Intent, Pool};

/// An intent, and what is odd about its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The cluster, as wanted.
    pub intent: Intent,
    /// Warnings only.
    pub warnings: Problems,
}

/// Reads the files of a cluster, each a name and a text, into its intent; secrets can't be had.
///
/// A name that ends in `.yaml` or `.yml` is one of YAML, any other one of TOML.
/// The order of files matters only for which of two duplicates is called the first.
///
/// # Errors
/// Everything that is wrong with the texts.
pub fn read_cluster(files: &[(Arc<str>, String)]) -> Result<Loaded, Problems> {
    let nowhere = Secrets {
        folder: Path::new("secrets"),
        read: &|_| Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    read_cluster_with(files, nowhere)
}

/// The same, with secrets.
///
/// # Errors
/// Everything that is wrong with the texts, and secrets that can't be keys.
pub fn read_cluster_with(
    files: &[(Arc<str>, String)],
    secrets: Secrets<'_>,
) -> Result<Loaded, Problems> {
    let mut problems = Problems::default();
    let mut records = Records::default();
    for (name, text) in files {
        if is_yaml(Path::new(&**name)) {
            manifest::read(&mut records, &Source::yaml(name, text), &mut problems);
        } else {
            records.read(&Source::new(name, text), &mut problems);
        }
        if let Err((place, message)) = records.few_enough() {
            problems.error(&place, message);
            return Err(problems.sorted());
        }
    }
    if let Err((place, message)) = can_be_planned(&records) {
        problems.error(&place, message);
        return Err(problems.sorted());
    }
    hand_out(&mut records, &mut problems);
    resolve_advertisements(&mut records, &mut problems);
    check_pools(&records, &mut problems);
    check_nodes(&records, &mut problems);
    leave_out_blocks(&mut records, &mut problems);
    check_blocks(&records, &mut problems);
    check_peers(&records, &mut problems);
    check_filters(&records, &mut problems);
    if let Some(felix) = &records.felix {
        felix.check(records.pools.iter().map(|pool| &pool.value), &mut problems);
    }
    hand_out_borrowed(&mut records, &mut problems);
    hand_out_given(&mut records);
    fetch_secrets(&mut records, secrets, &mut problems);
    let problems = problems.sorted();
    if problems.has_errors() {
        return Err(problems);
    }
    Ok(Loaded {
        intent: intent_of(records),
        warnings: problems,
    })
}

fn intent_of(records: Records) -> Intent {
    fn values<T>(records: Vec<Record<T>>) -> impl Iterator<Item = T> {
        records.into_iter().map(|record| record.value)
    }
    let filters = values(records.filters).map(|filter| (filter.name.clone(), Arc::new(filter)));
    Intent {
        filters: filters.collect(),
        felix: records.felix.map(|felix| felix.value).unwrap_or_default(),
        bgp: records.bgp.map(|bgp| bgp.record.value).unwrap_or_default(),
        pools: values(records.pools).collect(),
        nodes: values(records.nodes).collect(),
        peers: values(records.peers).collect(),
    }
}

fn fetch_secrets(records: &mut Records, secrets: Secrets<'_>, problems: &mut Problems) {
    if let Some(bgp) = &mut records.bgp {
        let settings = &mut bgp.record.value;
        if let Some(wanted) = &bgp.secret {
            settings.node_mesh_authentication = secrets.get(wanted, "the mesh", problems);
        }
        if let (Some(wanted), Some(bfd)) = (&bgp.bfd_secret, &mut settings.node_mesh_bfd) {
            bfd.authentication = secrets.get_bfd(wanted, "the mesh", problems);
        }
    }
    for (index, wanted) in &records.bfd_secrets {
        if let Some(peer) = records.peers.get_mut(*index) {
            let whose = format!("peer {}", peer.value.name);
            if let Some(bfd) = &mut peer.value.bfd {
                bfd.authentication = secrets.get_bfd(wanted, &whose, problems);
            }
        }
    }
    for (index, wanted) in &records.secrets {
        if let Some(peer) = records.peers.get_mut(*index) {
            let whose = format!("peer {}", peer.value.name);
            peer.value.authentication = secrets.get(wanted, &whose, problems);
        }
    }
}

/// 169.254.0.0/16 (RFC 3927).
const LINK_LOCAL_V4: Prefix4 = Prefix4::new(0xA9FE_0000, 16);
/// fe80::/10 (RFC 4291 §2.5.6).
const LINK_LOCAL_V6: Prefix6 = Prefix6::new(0xFE80 << 112, 10);

/// Remembers who had a value first, and complains about everyone after.
pub(crate) struct Unique<'a, K>(BTreeMap<K, (&'a str, &'a Place)>);

impl<'a, K: Ord + Display> Unique<'a, K> {
    pub(crate) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub(crate) fn claim(
        &mut self,
        key: K,
        what: &str,
        (owner, at): (&'a str, &'a Place),
        out: &mut Problems,
    ) {
        match self.0.get(&key) {
            Some((first, place)) if *first == owner => {
                out.error(at, format!("{what} {key} is already taken at {place}"));
            }
            Some((first, place)) => {
                out.error(at, format!("{what} {key} is already {first}'s, at {place}"));
            }
            None => {
                self.0.insert(key, (owner, at));
            }
        }
    }
}

fn check_pools(records: &Records, problems: &mut Problems) {
    let mut names = Unique::new();
    for pool in &records.pools {
        let name = pool.value.name.as_str();
        names.claim(name, "pool", (name, pool.at("name")), problems);
        let cidr = pool.value.cidr;
        for link_local in [Prefix::V4(LINK_LOCAL_V4), Prefix::V6(LINK_LOCAL_V6)] {
            if link_local.covers(cidr) || cidr.covers(link_local) {
                let message = format!("pool {cidr} overlaps the link-local {link_local}");
                problems.error(pool.at("cidr"), message);
            }
        }
    }
    let ranges = records.pools.iter().map(|pool| Range {
        prefix: pool.value.cidr,
        owner: &pool.value.name,
        place: pool.at("cidr"),
    });
    for (inner, outer) in overlaps(ranges.collect()) {
        let (cidr, other, at) = (inner.prefix, outer.prefix, outer.place);
        problems.error(
            inner.place,
            format!("pool {cidr} overlaps pool {other} at {at}"),
        );
    }
}

fn check_nodes(records: &Records, problems: &mut Problems) {
    let (mut names, mut addresses) = (Unique::new(), Unique::<IpAddr>::new());
    let mut ids = Unique::<RouterId>::new();
    let mesh = records
        .bgp
        .as_ref()
        .is_none_or(|bgp| bgp.record.value.node_to_node_mesh_enabled);
    for node in &records.nodes {
        let name = node.value.name.as_str();
        names.claim(name, "node", (name, node.at("name")), problems);
        let keys = [
            (Family::Ipv4, "ipv4-address"),
            (Family::Ipv6, "ipv6-address"),
        ];
        for (family, key) in keys {
            if let Some(address) = node.value.address(family) {
                addresses.claim(address, "address", (name, node.at(key)), problems);
            }
        }
        let tunnels = &node.value.tunnels;
        let ends: [Option<IpAddr>; 4] = [
            tunnels.ipip_v4.map(Into::into),
            tunnels.ipip_v6.map(Into::into),
            tunnels.vxlan_v4.map(Into::into),
            tunnels.vxlan_v6.map(Into::into),
        ];
        for (address, key) in ends.into_iter().zip(tunnels::ADDRESSES) {
            if let Some(address) = address {
                addresses.claim(address, "address", (name, node.at(key)), problems);
            }
        }
        if let Some(id) = node.value.router_id {
            ids.claim(id, "router id", (name, node.at("router-id")), problems);
        }
        let addressed = keys.iter().any(|(_, key)| node.mentions(key));
        if mesh && !addressed {
            let message = format!("node {name} has no address, so no mesh session reaches it");
            problems.warning(node.at("name"), message);
        }
    }
    tunnels::check_macs(&records.nodes, problems);
    // Equal addresses have been reported; so an identifier from an address can only be one that
    // somebody configured, while one from a name can be anybody's.
    let derived = || {
        records
            .nodes
            .iter()
            .filter(|node| node.value.router_id.is_none())
    };
    for node in derived().filter(|node| node.value.ipv4_address.is_some()) {
        let (id, name) = (node.value.identifier(), &node.value.name);
        if let Some((owner, at)) = ids.0.get(&id) {
            let message = format!(
                "router id {id} of {owner} is what node {name} has from its address; give one \
                 another"
            );
            problems.error(at, message);
        }
    }
    for node in derived().filter(|node| node.value.ipv4_address.is_some()) {
        let owner = (node.value.name.as_str(), node.at("ipv4-address"));
        ids.0.entry(node.value.identifier()).or_insert(owner);
    }
    for node in derived().filter(|node| node.value.ipv4_address.is_none()) {
        let owner = (node.value.name.as_str(), node.at("name"));
        let what = "this name has no router id of its own (set \"router-id\"):";
        ids.claim(node.value.identifier(), what, owner, problems);
    }
}

/// Blocks outlive their pools in real clusters, and one faulty record is no reason to refuse the others. One
/// around a pool is nobody's.
fn leave_out_blocks(records: &mut Records, problems: &mut Problems) {
    if records.pools_missing {
        return;
    }
    let pools: PrefixSet = records.pools.iter().map(|pool| pool.value.cidr).collect();
    let hints = Family::ALL.map(|family| hint_of_pools(&records.pools, family));
    for node in &mut records.nodes {
        let (blocks, places) = (&mut node.value.blocks, &mut node.items);
        let both = std::mem::take(blocks)
            .into_iter()
            .zip(std::mem::take(places));
        for (block, place) in both {
            let inside = pools.covers(block);
            let around = pools.lies_in(block);
            if !inside && problems.only_counts(Severity::Warning) {
                problems.warning(&place, "");
            } else if !inside {
                let hint = block.family().of(&hints);
                let fate = if around {
                    "it is left out"
                } else {
                    "it keeps the way that it has, as far as that is known"
                };
                let message = format!("block {block} lies in no pool; {fate}; {hint}");
                problems.warning(&place, message);
            }
            if inside || !around {
                blocks.push(block);
                places.push(place);
            }
        }
    }
}

fn hint_of_pools(pools: &[Record<Pool>], family: Family) -> String {
    let of_family = pools.iter().map(|pool| pool.value.cidr);
    let of_family = of_family.filter(|cidr| cidr.family() == family);
    // The words of a problem are cut long before so many.
    let list: Vec<String> = of_family.take(128).map(|cidr| cidr.to_string()).collect();
    if list.is_empty() {
        "there is no pool of its family".to_owned()
    } else {
        format!("expected one within {}", list.join(" or "))
    }
}

fn check_blocks(records: &Records, problems: &mut Problems) {
    let mut ranges = Vec::new();
    for node in &records.nodes {
        for (block, place) in node.value.blocks.iter().zip(&node.items) {
            ranges.push(Range {
                prefix: *block,
                owner: &node.value.name,
                place,
            });
        }
    }
    for (inner, outer) in overlaps(ranges) {
        let (block, other, at) = (inner.prefix, outer.prefix, outer.place);
        let whose = if inner.owner == outer.owner {
            "the same node".to_owned()
        } else {
            format!("node {}", outer.owner)
        };
        let message = format!("block {block} overlaps block {other} of {whose}, at {at}");
        problems.error(inner.place, message);
    }
}

struct Range<'a> {
    prefix: Prefix,
    owner: &'a str,
    place: &'a Place,
}

/// Each range that lies in another, with the closest that it lies in.
fn overlaps(mut ranges: Vec<Range<'_>>) -> Vec<(Range<'_>, Range<'_>)> {
    // Prefixes nest or are apart: in this order whatever covers one stands before it, and the
    // ranges that are open at any point form a chain.
    ranges.sort_by(|a, b| {
        let key = |r: &Range<'_>| (r.prefix.family(), r.prefix.address(), r.prefix.len());
        key(a).cmp(&key(b)).then_with(|| a.place.cmp(b.place))
    });
    let mut open: Vec<Range<'_>> = Vec::new();
    let mut pairs = Vec::new();
    for range in ranges {
        while open
            .pop_if(|outer| !outer.prefix.covers(range.prefix))
            .is_some()
        {}
        if let Some(outer) = open.last() {
            pairs.push((range.copy(), outer.copy()));
        }
        open.push(range);
    }
    pairs
}

impl Range<'_> {
    const fn copy(&self) -> Self {
        Self {
            prefix: self.prefix,
            owner: self.owner,
            place: self.place,
        }
    }
}
