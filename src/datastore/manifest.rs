//! A YAML file's resources into records: which kind is which table.
//!
//! The tables are read by the same functions as TOML's. Kinds that have nothing to say here are
//! passed with one warning each, so that a whole cluster's dump can be given as it is.

use std::collections::BTreeSet;
use std::collections::btree_map::Entry;

use super::bgp::read_advertisements;
use super::ipam::{read_affinity, read_block};
use super::problem::{Place, Problems};
use super::records::Records;
use super::scalar;
use super::schema::{BGP, FELIX, FILTER, NODE, NODE_BGP, PEER, POOL};
use super::source::Source;
use super::table::{Located, Schema, TableReader};
use super::yaml::{Node, Resource, flatten_node, resources, table_of};
use crate::topology::nearest;

/// The kinds that are read.
const KINDS: [&str; 8] = [
    "BGPConfiguration",
    "BGPFilter",
    "BGPPeer",
    "BlockAffinity",
    "FelixConfiguration",
    "IPAMBlock",
    "IPPool",
    "Node",
];
/// What a BGPConfiguration or FelixConfiguration of one node is called, before the node's name.
const OF_NODE: &str = "node.";

/// Reads one file into what the others gave.
pub(crate) fn read(records: &mut Records, source: &Source<'_>, problems: &mut Problems) {
    let mut found = Problems::default();
    let mut skipped = BTreeSet::new();
    // What is no resource could have been a pool or a node.
    let mut envelope = Problems::default();
    resources(source, &mut envelope, |resource, _| {
        if resource.is_calicos() && KINDS.contains(&resource.kind) {
            Manifest {
                records,
                source,
                resource,
            }
            .read(&mut found);
        } else if skipped.insert((resource.api_version.to_owned(), resource.kind.to_owned())) {
            found.warning(&source.place(&resource.span), passed(resource));
        }
    });
    if envelope.has_errors() {
        records.part_is_missing();
    }
    problems.append(envelope);
    problems.append(found);
}

/// What to say of a resource that is not read.
fn passed(resource: &Resource<'_>) -> String {
    let (kind, version) = (resource.kind, resource.api_version);
    let hint = if kind == "Node" {
        "; `calicoctl get nodes -o yaml` prints the one that is".to_owned()
    } else if KINDS.contains(&kind) {
        "; expected apiVersion projectcalico.org/v3 or crd.projectcalico.org/v1".to_owned()
    } else {
        nearest(kind, KINDS).map_or(String::new(), |near| format!("; did you mean {near:?}?"))
    };
    let of = if version.is_empty() {
        String::new()
    } else {
        format!(" of {version}")
    };
    format!("{kind}{of} is not read here{hint}")
}

/// A resource on its way into the records.
struct Manifest<'m> {
    records: &'m mut Records,
    source: &'m Source<'m>,
    resource: &'m Resource<'m>,
}

impl Manifest<'_> {
    fn read(self, problems: &mut Problems) {
        let missing = match self.resource.kind {
            "IPPool" => false,
            _ => self.resource.name.is_none(),
        };
        if missing {
            let message = format!("{} needs \"metadata\" with \"name\"", self.resource.kind);
            problems.error(&self.source.place(&self.resource.span), message);
            self.records.nodes_missing |= self.resource.kind == "Node";
            self.records.filters_missing |= self.resource.kind == "BGPFilter";
            return;
        }
        match self.resource.kind {
            "IPPool" => self.table(&POOL, problems, Records::read_pool),
            "BGPPeer" => self.table(&PEER, problems, Records::read_peer),
            "BGPFilter" => self.table(&FILTER, problems, Records::read_filter),
            "Node" => self.node(problems),
            "BGPConfiguration" => self.bgp(problems),
            "FelixConfiguration" => self.felix(problems),
            "BlockAffinity" => self.affinity(problems),
            // `KINDS` has no other.
            _ => self.block(problems),
        }
    }

    fn name(&self) -> &str {
        self.resource.name.and_then(Node::text).unwrap_or_default()
    }

    fn table(
        self,
        schema: &'static Schema,
        problems: &mut Problems,
        read: impl FnOnce(&mut Records, &TableReader<'_>, &mut Problems),
    ) {
        let mut fields = table_of(self.resource, &[]);
        if !schema.keys.contains(&"name") {
            fields.remove("name");
        }
        let place = self.source.place(&self.resource.span);
        let table = TableReader::new(self.source, schema, place, &fields, problems);
        read(self.records, &table, problems);
    }

    fn node(self, problems: &mut Problems) {
        let fields = flatten_node(self.resource);
        let place = self.source.place(&self.resource.span);
        let table = TableReader::new(self.source, &NODE, place, &fields, problems);
        self.records.read_node(&table, problems);
    }

    fn bgp(mut self, problems: &mut Problems) {
        if self.name() == "default" {
            return self.table(&BGP, problems, Records::read_bgp);
        }
        let Some(node) = self.name().strip_prefix(OF_NODE).map(str::to_owned) else {
            return self.unnamed(problems);
        };
        if self.is_twice("BGPConfiguration", problems) {
            return;
        }
        let place = self.name_place();
        self.table(&NODE_BGP, problems, |records, table, problems| {
            let port = table.read("listen-port", scalar::port, problems);
            let node = Located { value: node, place };
            let advertisements = read_advertisements(table, problems);
            let of_node = advertisements.map(|list| (node.clone(), list));
            records.advertisements.extend(of_node);
            records.ports.extend(port.map(|port| (node, port)));
        });
    }

    fn felix(self, problems: &mut Problems) {
        if self.name() == "default" {
            return self.table(&FELIX, problems, Records::read_felix);
        }
        if self.name().starts_with(OF_NODE) {
            let message = "FelixConfiguration of a single node is not read in this version";
            problems.warning(&self.name_place(), message);
        } else {
            self.unnamed(problems);
        }
    }

    fn affinity(mut self, problems: &mut Problems) {
        if !self.is_twice("BlockAffinity", problems) {
            let owned = read_affinity(self.source, self.resource, problems);
            self.records.owned.extend(owned);
        }
    }

    fn block(mut self, problems: &mut Problems) {
        if !self.is_twice("IPAMBlock", problems) {
            read_block(self.source, self.resource, self.records, problems);
        }
    }

    /// A name that Calico reads nothing from, either.
    fn unnamed(&self, problems: &mut Problems) {
        let (kind, name) = (self.resource.kind, self.name());
        let message = format!(
            "{kind} {name:?} has no effect; expected the name \"default\", or \"node.\" and a node's"
        );
        problems.warning(&self.name_place(), message);
    }

    /// Whether the kind has this name already, which is noted.
    fn is_twice(&mut self, kind: &'static str, problems: &mut Problems) -> bool {
        let name = self.name().to_owned();
        let place = self.name_place();
        match self.records.resources.entry((kind, name)) {
            Entry::Occupied(first) => {
                let ((_, name), at) = (first.key(), first.get());
                problems.error(&place, format!("{kind} {name} is already taken at {at}"));
                true
            }
            Entry::Vacant(free) => {
                free.insert(place);
                false
            }
        }
    }

    fn name_place(&self) -> Place {
        let span = self.resource.name.map_or(&self.resource.span, |n| &n.span);
        self.source.place(span)
    }
}
