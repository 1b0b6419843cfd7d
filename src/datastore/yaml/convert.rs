//! From a resource's fields to a table as the TOML reader has them.
//!
//! Values keep their places. A null and an empty text are what is not set, as in Calico.

use core::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::entries::Entries;
use super::resource::Resource;
use super::tree::{Node, Value};

/// The table of a resource: its name, and the fields of its spec but for those in `without`.
pub(crate) fn table_of<'n>(resource: &Resource<'n>, without: &[&str]) -> DeTable<'n> {
    let mut table = DeTable::new();
    if let Some(spec) = resource.spec {
        fill(&mut table, spec, without);
    }
    if let Some(name) = resource.name {
        put(&mut table, "name", name.span.clone(), name);
    }
    table
}

/// The table of a Node: `spec.bgp` beside the rest, labels from the metadata, and those of its
/// addresses that Kubernetes calls internal.
pub(crate) fn flatten_node<'n>(resource: &Resource<'n>) -> DeTable<'n> {
    const ELSEWHERE: [&str; 5] = ["bgp", "addresses", "orchRefs", "wireguard", "interfaces"];
    let mut table = table_of(resource, &ELSEWHERE);
    let field = |key| resource.spec.and_then(|spec| spec.get(key));
    if let Some((at, bgp)) = field("bgp") {
        match bgp.entries() {
            Some(entries) => fill(&mut table, entries, &[]),
            // Let it be found to be an unknown key.
            None => put(&mut table, "bgp", at.clone(), bgp),
        }
    }
    if let Some((at, addresses)) = field("addresses") {
        match internal_addresses(addresses) {
            Some(value) => {
                table.insert(Spanned::new(at.clone(), "internalIPs".into()), value);
            }
            None => put(&mut table, "addresses", at.clone(), addresses),
        }
    }
    if let Some(labels) = resource.labels {
        let value = Spanned::new(labels.span.clone(), labels_of(labels));
        table.insert(Spanned::new(labels.span.clone(), "labels".into()), value);
    }
    table
}

/// The internal ones of a node's addresses, without masks; `None` if it is no list.
fn internal_addresses(addresses: &Node) -> Option<Spanned<DeValue<'_>>> {
    let Value::Sequence(items) = &addresses.value else {
        return None;
    };
    let mut internal = DeArray::new();
    for item in items {
        if item.get("type").and_then(Node::text) != Some("InternalIP") {
            continue;
        }
        if let Some((address, text)) = item.get("address").and_then(|a| Some((a, a.text()?))) {
            let bare = text.split_once('/').map_or(text, |(address, _)| address);
            let value = DeValue::String(bare.into());
            internal.push(Spanned::new(address.span.clone(), value));
        }
    }
    Some(Spanned::new(
        addresses.span.clone(),
        DeValue::Array(internal),
    ))
}

/// Labels, among which those without a value are common.
fn labels_of(labels: &Node) -> DeValue<'_> {
    let mut table = DeTable::new();
    for (key, (at, node)) in labels.entries().into_iter().flat_map(Entries::iter) {
        let value = match node.text() {
            Some(text) => Some(DeValue::String(text.into())),
            None => value_of(node),
        };
        if let Some(value) = value {
            let value = Spanned::new(node.span.clone(), value);
            table.insert(Spanned::new(at.clone(), key.as_str().into()), value);
        }
    }
    DeValue::Table(table)
}

fn fill<'n>(table: &mut DeTable<'n>, entries: &'n Entries, without: &[&str]) {
    for (key, (at, node)) in entries.iter() {
        if !without.contains(&key.as_str()) {
            put(table, key, at.clone(), node);
        }
    }
}

fn put<'n>(table: &mut DeTable<'n>, key: &'n str, at: Range<usize>, node: &'n Node) {
    if let Some(value) = value_of(node) {
        let value = Spanned::new(node.span.clone(), value);
        table.insert(Spanned::new(at, key.into()), value);
    }
}

fn value_of(node: &Node) -> Option<DeValue<'_>> {
    let value = match &node.value {
        Value::Null => return None,
        Value::Text(text) if text.is_empty() => return None,
        Value::Boolean(value) => DeValue::Boolean(*value),
        Value::Integer(text) | Value::Float(text) => number(text),
        Value::Text(text) => DeValue::String(text.as_str().into()),
        Value::Sequence(items) => {
            let mut array = DeArray::new();
            for item in items {
                if let Some(value) = value_of(item) {
                    array.push(Spanned::new(item.span.clone(), value));
                }
            }
            DeValue::Array(array)
        }
        Value::Mapping(entries) => {
            let mut table = DeTable::new();
            fill(&mut table, entries, &[]);
            DeValue::Table(table)
        }
    };
    Some(value)
}

/// A number has no constructor but the parser.
fn number(text: &str) -> DeValue<'_> {
    DeValue::parse(text).map_or_else(|_| DeValue::String(text.into()), Spanned::into_inner)
}
