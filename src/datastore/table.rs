//! Walking a parsed TOML table by a list of keys, with the place of everything.
//!
//! One vocabulary: the fields of Calico's resources in kebab-case. Their camelCase is the same
//! word by rule (`asNumber`, `peerIP`, `localASNumber`), so both are read. A key that is not on
//! the list is an error that names the nearest one that is.

use core::ops::Range;
use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Place, Problems};
use super::scalar::{Fault, found};
use super::schema::is_default;
use crate::topology::nearest;

/// A text with a name, and where its lines begin.
pub(crate) struct Source<'t> {
    name: Arc<str>,
    text: &'t str,
    lines: Vec<usize>,
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// What a table may hold.
pub(crate) struct Schema {
    /// How people know the table: `[bgp]`, `[[node]]`.
    pub(crate) label: &'static str,
    /// The keys that are read.
    pub(crate) keys: &'static [&'static str],
    /// Keys of the vocabulary that change what is routed but that this version can't honour.
    pub(crate) unsupported: &'static [&'static str],
    /// Keys of the vocabulary that are none of dunlin's business.
    pub(crate) ignored: &'static [&'static str],
}

/// One table, read key by key.
pub(crate) struct TableReader<'a> {
    source: &'a Source<'a>,
    schema: &'static Schema,
    place: Place,
    values: BTreeMap<String, (Place, &'a Spanned<DeValue<'a>>)>,
}

/// The tables of an array.
pub(crate) struct Tables<'a> {
    pub(crate) readers: Vec<TableReader<'a>>,
    /// Whether nothing but tables was there.
    pub(crate) complete: bool,
}

impl<T> Located<T> {
    /// Another value at the same place.
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> Located<U> {
        Located {
            value: f(self.value),
            place: self.place,
        }
    }
}

impl<'t> Source<'t> {
    pub(crate) fn new(name: &Arc<str>, text: &'t str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = core::iter::once(0)
            .chain(newlines.map(|(at, _)| at + 1))
            .collect();
        Self {
            name: Arc::clone(name),
            text,
            lines,
        }
    }

    /// The file as a whole.
    pub(crate) fn whole(&self) -> Place {
        Place::whole(&self.name)
    }

    pub(crate) fn place(&self, span: &Range<usize>) -> Place {
        let line = self.lines.partition_point(|start| *start <= span.start);
        let start = line
            .checked_sub(1)
            .and_then(|i| self.lines.get(i))
            .copied()
            .unwrap_or(0);
        let before = self.text.get(start..span.start).unwrap_or_default();
        Place {
            file: Arc::clone(&self.name),
            line,
            column: before.chars().count() + 1,
        }
    }

    /// Parses the text; `None` after syntax errors, which are noted.
    pub(crate) fn parse(&self, problems: &mut Problems) -> Option<DeTable<'t>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        // What follows the first slip on a line is mostly noise of the recovery.
        let mut last = None;
        for error in &errors {
            let place = error
                .span()
                .map_or_else(|| self.whole(), |span| self.place(&span));
            if last != Some(place.line) {
                problems.error(&place, error.message().replace('\n', " "));
            }
            last = Some(place.line);
        }
        errors.is_empty().then(|| table.into_inner())
    }
}

impl<'a> TableReader<'a> {
    /// Notes every key that `schema` does not know, and every one that stands there twice.
    pub(crate) fn new(
        source: &'a Source<'a>,
        schema: &'static Schema,
        place: Place,
        table: &'a DeTable<'a>,
        problems: &mut Problems,
    ) -> Self {
        let mut values = BTreeMap::new();
        // The table is sorted by key; what stands first in the file is the first of duplicates.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let at = source.place(&key.span());
            let written: &str = key.get_ref();
            let word = kebab(written);
            if !schema.admits((written, &word), value.get_ref(), &at, problems) {
                continue;
            }
            if let Some((first, _)) = values.insert(word, (at.clone(), value)) {
                let label = schema.label;
                problems.error(
                    &at,
                    format!("{written:?} in {label} is already set at {first}, in other letters"),
                );
            }
        }
        Self {
            source,
            schema,
            place,
            values,
        }
    }

    /// How people know the table.
    pub(crate) const fn label(&self) -> &'static str {
        self.schema.label
    }

    /// The key as it stands there, or as it would.
    pub(crate) fn word(&self, key: &'static str) -> &str {
        key
    }

    /// Where the table begins.
    pub(crate) const fn place(&self) -> &Place {
        &self.place
    }

    /// The value of `key`; `None` if it is not there, or is wrong, which is noted.
    pub(crate) fn read<T>(
        &self,
        key: &'static str,
        decode: impl FnOnce(&DeValue<'_>) -> Result<T, Fault>,
        problems: &mut Problems,
    ) -> Option<Located<T>> {
        debug_assert!(
            self.schema.keys.contains(&key),
            "{key} is not in the schema"
        );
        let (_, value) = self.values.get(key)?;
        let place = self.source.place(&value.span());
        match decode(value.get_ref()) {
            Ok(value) => Some(Located { value, place }),
            Err(fault) => {
                let label = self.schema.label;
                problems.error(&place, format!("{key:?} in {label}: {fault}"));
                None
            }
        }
    }

    /// Like `read`, for a key that has to be there.
    pub(crate) fn require<T>(
        &self,
        key: &'static str,
        decode: impl FnOnce(&DeValue<'_>) -> Result<T, Fault>,
        problems: &mut Problems,
    ) -> Option<Located<T>> {
        if !self.has(key) {
            problems.error(&self.place, format!("{} needs {key:?}", self.schema.label));
        }
        self.read(key, decode, problems)
    }

    /// Whether the key is there, right or wrong.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// Where the key stands.
    pub(crate) fn key_place(&self, key: &str) -> Place {
        self.values
            .get(key)
            .map_or_else(|| self.place.clone(), |(place, _)| place.clone())
    }

    /// The elements of an array, each with its place; those that are wrong are noted and left out.
    pub(crate) fn read_list<T>(
        &self,
        key: &'static str,
        decode: impl Fn(&DeValue<'_>) -> Result<T, Fault>,
        problems: &mut Problems,
    ) -> Option<Vec<Located<T>>> {
        let (_, value) = self.values.get(key)?;
        let label = self.schema.label;
        let DeValue::Array(items) = value.get_ref() else {
            let message = format!(
                "{key:?} in {label}: expected an array, found {}",
                found(value)
            );
            problems.error(&self.source.place(&value.span()), message);
            return None;
        };
        let mut list = Vec::new();
        for item in items.iter() {
            let place = self.source.place(&item.span());
            match decode(item.get_ref()) {
                Ok(value) => list.push(Located { value, place }),
                Err(fault) => problems.error(&place, format!("{key:?} in {label}: {fault}")),
            }
        }
        Some(list)
    }

    /// A table inside, such as `[bgp]` in the file.
    pub(crate) fn table(
        &self,
        key: &'static str,
        schema: &'static Schema,
        problems: &mut Problems,
    ) -> Option<Self> {
        let (_, value) = self.values.get(key)?;
        let place = self.source.place(&value.span());
        if let DeValue::Table(table) = value.get_ref() {
            return Some(TableReader::new(
                self.source,
                schema,
                place,
                table,
                problems,
            ));
        }
        let label = schema.label;
        problems.error(
            &place,
            format!("expected a table {label}, found {}", found(value)),
        );
        None
    }

    /// The tables of an array such as `[[node]]`; what is no table is noted.
    pub(crate) fn tables(
        &self,
        key: &'static str,
        schema: &'static Schema,
        problems: &mut Problems,
    ) -> Tables<'a> {
        let mut tables = Tables {
            readers: Vec::new(),
            complete: true,
        };
        let Some((_, value)) = self.values.get(key) else {
            return tables;
        };
        let label = schema.label;
        let DeValue::Array(items) = value.get_ref() else {
            let place = self.source.place(&value.span());
            let hint = match value.get_ref() {
                DeValue::Table(_) => "; there can be many, so it takes two brackets",
                _ => "",
            };
            problems.error(
                &place,
                format!("expected {label}, found {}{hint}", found(value)),
            );
            return Tables {
                complete: false,
                ..tables
            };
        };
        for item in items.iter() {
            let place = self.source.place(&item.span());
            if let DeValue::Table(table) = item.get_ref() {
                let reader = TableReader::new(self.source, schema, place, table, problems);
                tables.readers.push(reader);
            } else {
                problems.error(&place, format!("expected {label}, found {}", found(item)));
                tables.complete = false;
            }
        }
        tables
    }
}

impl Schema {
    fn admits(
        &self,
        (written, word): (&str, &str),
        value: &DeValue<'_>,
        at: &Place,
        problems: &mut Problems,
    ) -> bool {
        if self.keys.contains(&word) {
            return true;
        }
        let label = self.label;
        if self.unsupported.contains(&word) {
            if is_default(word, value) {
                return false;
            }
            problems.error(
                at,
                format!("{written:?} in {label} is not supported in this version"),
            );
        } else if !self.ignored.contains(&word) {
            let near = nearest(word, self.keys.iter().copied());
            let hint = match near {
                Some(key) => format!("; did you mean {key:?}?"),
                None => format!("; it may have {}", self.keys.join(", ")),
            };
            problems.error(at, format!("unknown key {written:?} in {label}{hint}"));
        }
        false
    }
}

/// `asNumber`, `peerIP`, `localASNumber` in kebab-case; kebab-case is left as it is.
///
/// A run of capitals is one word, its plural `s` and a digit behind it included
/// (`serviceClusterIPs`, `localWorkloadPeeringIPV4`, `sourceAddressIPv6`), but `V` and a digit behind another
/// abbreviation are a word of their own (`vxlanMTUV6`).
pub(crate) fn kebab(word: &str) -> String {
    let letters: Vec<char> = word.chars().collect();
    let mut out = String::with_capacity(word.len() + 4);
    for (at, letter) in letters.iter().enumerate() {
        let (before, after) = letters.split_at_checked(at).unwrap_or_default();
        if letter.is_ascii_uppercase() && starts_word(before, after) {
            out.push('-');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// Whether a word starts with the capital that `after` starts with.
fn starts_word(before: &[char], after: &[char]) -> bool {
    match before.last() {
        Some(last) if last.is_ascii_lowercase() || last.is_ascii_digit() => true,
        Some(last) if last.is_ascii_uppercase() => match after {
            [_, 's'] => false,
            [_, 's', next, ..] if !next.is_ascii_lowercase() => false,
            [_, 'v', next, ..] if next.is_ascii_digit() => false,
            ['V', next, ..] if next.is_ascii_digit() => !before.ends_with(&['I', 'P']),
            [_, next, ..] => next.is_ascii_lowercase(),
            _ => false,
        },
        Some(_) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn camel_case_is_the_same_word_by_rule() {
        for (camel, expected) in [
            ("asNumber", "as-number"),
            ("peerIP", "peer-ip"),
            ("localASNumber", "local-as-number"),
            ("nodeToNodeMeshEnabled", "node-to-node-mesh-enabled"),
            ("ipv4Address", "ipv4-address"),
            ("routeReflectorClusterID", "route-reflector-cluster-id"),
            ("disableBGPExport", "disable-bgp-export"),
            ("IPPool", "ip-pool"),
            ("BGPPeer", "bgp-peer"),
            ("as-number", "as-number"),
            ("ipipMode", "ipip-mode"),
            ("vxlanMode", "vxlan-mode"),
            ("natOutgoing", "nat-outgoing"),
            ("ipipMTU", "ipip-mtu"),
            ("vxlanMTU", "vxlan-mtu"),
            ("vxlanMTUV6", "vxlan-mtu-v6"),
            ("vxlanPort", "vxlan-port"),
            ("vxlanVNI", "vxlan-vni"),
            ("ipipEnabled", "ipip-enabled"),
            ("natPortRange", "nat-port-range"),
            ("natOutgoingAddress", "nat-outgoing-address"),
            ("natOutgoingExclusions", "nat-outgoing-exclusions"),
            (
                "iptablesNATOutgoingInterfaceFilter",
                "iptables-nat-outgoing-interface-filter",
            ),
            ("featureDetectOverride", "feature-detect-override"),
            ("ipv4IPIPTunnelAddr", "ipv4-ipip-tunnel-addr"),
            ("ipv6IPIPTunnelAddr", "ipv6-ipip-tunnel-addr"),
            ("ipv4VXLANTunnelAddr", "ipv4-vxlan-tunnel-addr"),
            ("ipv6VXLANTunnelAddr", "ipv6-vxlan-tunnel-addr"),
            ("vxlanTunnelMACAddr", "vxlan-tunnel-mac-addr"),
            ("vxlanTunnelMACAddrV6", "vxlan-tunnel-mac-addr-v6"),
            ("internalIPs", "internal-ips"),
            ("serviceClusterIPs", "service-cluster-ips"),
            ("serviceLoadBalancerIPs", "service-load-balancer-ips"),
            ("localWorkloadPeeringIPV4", "local-workload-peering-ipv4"),
            ("numAllowedLocalASNumbers", "num-allowed-local-as-numbers"),
            (
                "allowIPIPPacketsFromWorkloads",
                "allow-ipip-packets-from-workloads",
            ),
            (
                "allowVXLANPacketsFromWorkloads",
                "allow-vxlan-packets-from-workloads",
            ),
            (
                "deviceRouteSourceAddressIPv6",
                "device-route-source-address-ipv6",
            ),
            ("IPPoolsAndHostIPs", "ip-pools-and-host-ips"),
            ("IPIPCrossSubnet", "ipip-cross-subnet"),
        ] {
            assert_eq!(kebab(camel), expected);
        }
    }

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let name: Arc<str> = "a.toml".into();
        let text = "x = 1\nä = \"ö\" # y\n";
        let source = Source::new(&name, text);
        assert_eq!(source.place(&(0..1)).to_string(), "a.toml:1:1");
        let hash = text.find('#').unwrap();
        assert_eq!(source.place(&(hash..hash + 1)).to_string(), "a.toml:2:9");
        assert_eq!(source.whole().to_string(), "a.toml");
        assert_eq!(
            source.place(&(999..1000)).line,
            3,
            "past the end is the last line"
        );
    }
}
