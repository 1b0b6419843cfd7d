//! One `[[bgp-filter]]` (BGPFilter): rules for each direction and family, every field checked.
//!
//! It reads one table; what a rule means for a route is `policy`'s.

use core::num::NonZeroU32;

use toml::de::DeValue;

use super::bgp::community;
use super::problem::Problems;
use super::record::{Places, Record, plain};
use super::scalar::{self, Fault, one_of};
use super::schema::{
    ACTIONS, ADD_COMMUNITY, OPERATION, OPERATORS, PEER_TYPES, PREFIX_LENGTH, PREPEND_AS_PATH, RULE,
    SET_PRIORITY, SOURCES, VALUES,
};
use super::table::TableReader;
use crate::net::{Asn, Community, Family};
use crate::policy::{Action, Direction, Filter, Operation, PrefixMatch, Rule};

/// The keys of the four lists.
const LISTS: [(&str, Direction, Family); 4] = [
    ("import-v4", Direction::Import, Family::Ipv4),
    ("import-v6", Direction::Import, Family::Ipv6),
    ("export-v4", Direction::Export, Family::Ipv4),
    ("export-v6", Direction::Export, Family::Ipv6),
];
/// As many as Calico takes.
const MAX_OPERATIONS: usize = 10;
/// As many as Calico takes.
const MAX_PREPENDED: usize = 10;
/// The greatest priority; LOCAL_PREF carries 2^31 - 1 less the priority.
const MAX_PRIORITY: i64 = 2_147_483_646;

/// Reads a table; `None` if it can't be used.
pub(crate) fn read_filter(
    table: &TableReader<'_>,
    problems: &mut Problems,
) -> Option<Record<Filter>> {
    let mut places = Places::default();
    let mut filter = Filter::default();
    let mut whole = true;
    for (key, direction, family) in LISTS {
        let tables = table.tables(key, &RULE, problems);
        whole &= tables.complete;
        let lists = match direction {
            Direction::Import => &mut filter.import,
            Direction::Export => &mut filter.export,
        };
        let list = family.of_mut(lists);
        for rule in tables.readers {
            match read_rule(&rule, family, problems) {
                Some(rule) => list.push(rule),
                None => whole = false,
            }
        }
    }
    filter.name = places.note("name", table.require("name", scalar::name, problems))?;
    whole.then(|| places.record(table, filter, Vec::new()))
}

/// A rule; `None` if anything is wrong with it, for one whose match is left out would match everything.
fn read_rule(table: &TableReader<'_>, family: Family, problems: &mut Problems) -> Option<Rule> {
    let mut found = Problems::default();
    let rule = read_fields(table, family, &mut found);
    let rule = rule.filter(|_| !found.has_errors());
    problems.append(found);
    rule
}

fn read_fields(table: &TableReader<'_>, family: Family, problems: &mut Problems) -> Option<Rule> {
    let prefix = read_prefix(table, family, problems);
    let source = table.read("source", one_of(SOURCES), problems);
    let interface = table.read("interface", link_pattern, problems);
    let peer_type = table.read("peer-type", one_of(PEER_TYPES), problems);
    let community = read_community(table, problems);
    let path = table.read_list("as-path-prefix", scalar::asn, problems);
    let path = path.unwrap_or_default().into_iter();
    let priority = table.read("priority", priority, problems);
    let action = read_action(table, problems);
    Some(Rule {
        prefix,
        from_peers: plain(source).unwrap_or(false),
        interface: plain(interface),
        peer_type: plain(peer_type),
        community,
        as_path_prefix: path.map(|asn| asn.value).collect(),
        priority: plain(priority),
        action: action?,
    })
}

fn read_prefix(
    table: &TableReader<'_>,
    family: Family,
    problems: &mut Problems,
) -> Option<PrefixMatch> {
    let cidr = table.read("cidr", scalar::prefix, problems);
    let operator = table.read("match-operator", one_of(OPERATORS), problems);
    let needs = |key: &str, other: &str, problems: &mut Problems| {
        if table.has(key) && !table.has(other) {
            let (key, other) = (table.word(key), table.word(other));
            let message = format!("{key:?} needs {other:?} beside it");
            problems.error(table.place(), message);
        }
    };
    needs("cidr", "match-operator", problems);
    needs("match-operator", "cidr", problems);
    needs("prefix-length", "cidr", problems);
    let lengths = table.table("prefix-length", &PREFIX_LENGTH, problems);
    let bits: u8 = match family {
        Family::Ipv4 => 32,
        Family::Ipv6 => 128,
    };
    let mut length = |key| {
        let length = scalar::integer::<u8>("a prefix length", 0..=i64::from(bits));
        plain(lengths.as_ref()?.read(key, length, problems))
    };
    let (min, max) = (length("min"), length("max"));
    let cidr = cidr?;
    if cidr.value.family() != family {
        let message = format!("{} can't be in a rule for {family}", cidr.value);
        problems.error(&cidr.place, message);
        return None;
    }
    let (own, place) = (cidr.value.len(), table.key_place("prefix-length"));
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        let message = format!("\"min\" of {min} is more than \"max\" of {max}");
        problems.error(&place, message);
    } else if let Some(max) = max.filter(|max| *max < own) {
        let message = format!(
            "\"max\" of {max} is less than the length of {}: nothing inside is as short",
            cidr.value
        );
        problems.warning(&place, message);
    }
    // Nothing shorter lies inside.
    let lengths = lengths.map(|_| (min.unwrap_or(0).max(own), max.unwrap_or(bits)));
    Some(PrefixMatch {
        cidr: cidr.value,
        operator: plain(operator)?,
        lengths,
    })
}

/// The name of a link with `*` for any letters.
fn link_pattern(value: &DeValue<'_>) -> Result<String, Fault> {
    let text = value.as_str().unwrap_or_default();
    let wrong = |c: char| c.is_whitespace() || c.is_control() || c == '/';
    if text.is_empty() || text.len() > scalar::MAX_LINK_NAME || text.contains(wrong) {
        let expected = "the name of a link, of up to 15 characters, such as \"eth0\" or \"*.cali\"";
        return Err(Fault::expected(expected, value));
    }
    Ok(text.to_owned())
}

/// `{ values = ["64512:100"] }`: one, because Calico takes one.
fn read_community(table: &TableReader<'_>, problems: &mut Problems) -> Option<Community> {
    let values = table.table("communities", &VALUES, problems)?;
    let list = values.read_list("values", community, problems);
    let before = list.as_ref().map_or(0, Vec::len);
    let mut list = list.unwrap_or_default().into_iter();
    let first = list.next();
    if before != 1 && (before > 1 || first.is_none()) {
        let message = "\"communities\" of a rule has one value: a rule matches one community";
        problems.error(&table.key_place("communities"), message);
    }
    plain(first)
}

fn priority(value: &DeValue<'_>) -> Result<NonZeroU32, Fault> {
    let number = scalar::integer::<u32>("a priority", 1..=MAX_PRIORITY)(value)?;
    NonZeroU32::new(number).ok_or_else(|| Fault::expected("a priority from 1", value))
}

fn read_action(table: &TableReader<'_>, problems: &mut Problems) -> Option<Action> {
    let accepts = table.require("action", one_of(ACTIONS), problems);
    let tables = table.tables("operations", &OPERATION, problems);
    let operations: Vec<Option<Operation>> = tables
        .readers
        .iter()
        .map(|operation| read_operation(operation, problems))
        .collect();
    let place = table.key_place("operations");
    if operations.len() > MAX_OPERATIONS {
        let message = format!("a rule has at most {MAX_OPERATIONS} operations");
        problems.error(&place, message);
    }
    if accepts?.value {
        let operations: Option<Vec<Operation>> = operations.into_iter().collect();
        return operations.map(Action::Accept);
    }
    if !operations.is_empty() {
        let message = "\"operations\" go with \"Accept\": what is rejected is not changed";
        problems.error(&place, message);
    }
    Some(Action::Reject)
}

fn read_operation(table: &TableReader<'_>, problems: &mut Problems) -> Option<Operation> {
    const KEYS: [&str; 3] = ["add-community", "prepend-as-path", "set-priority"];
    let [add, prepend, set] = KEYS;
    if KEYS.into_iter().filter(|key| table.has(key)).count() != 1 {
        let words = KEYS.map(|key| format!("{:?}", table.word(key)));
        let message = format!("an operation has one of {}", words.join(", "));
        problems.error(table.place(), message);
        return None;
    }
    if table.has(add) {
        let value = table.table(add, &ADD_COMMUNITY, problems)?;
        let community = value.require("value", community, problems);
        return plain(community).map(Operation::AddCommunity);
    }
    if table.has(set) {
        let value = table.table(set, &SET_PRIORITY, problems)?;
        let priority = value.require("value", priority, problems);
        return plain(priority).map(Operation::SetPriority);
    }
    let prefix = table.table(prepend, &PREPEND_AS_PATH, problems)?;
    read_prepended(&prefix, problems).map(Operation::PrependAsPath)
}

fn read_prepended(table: &TableReader<'_>, problems: &mut Problems) -> Option<Vec<Asn>> {
    let mut found = Problems::default();
    let numbers = table.read_list("prefix", scalar::asn, &mut found);
    let numbers: Vec<Asn> = numbers.into_iter().flatten().map(|n| n.value).collect();
    let wrong = found.has_errors();
    problems.append(found);
    if wrong {
        return None;
    }
    if numbers.is_empty() || numbers.len() > MAX_PREPENDED {
        let message = format!("\"prefix\" has 1 to {MAX_PREPENDED} AS numbers");
        problems.error(table.place(), message);
        return None;
    }
    Some(numbers)
}
