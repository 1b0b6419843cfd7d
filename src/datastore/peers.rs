//! One `[[bgp-peer]]`: who the other end is, what its session offers, which routes come and go.
//!
//! It reads one table and judges what can be judged within it; what takes other tables is
//! `peer_checks`'s.

use std::net::IpAddr;

use toml::de::DeValue;

use super::problem::Problems;
use super::record::{Places, Record, plain};
use super::scalar::{self, Fault, one_of};
use super::schema::{FAMILIES, LIMIT_ACTIONS, NEXT_HOPS, POLICIES, REVERSE, ROLES};
use super::secrets::{Wanted, read_secret};
use super::sessions::{read_bfd, read_session};
use super::table::TableReader;
use crate::net::{Asn, Family};
use crate::topology::{
    Authentication, Families, FarEnd, MAX_PATHS, NextHopMode, Peer, PeerCapabilities, PeerRoutes,
    PeerScope, PrefixLimit, RoleTerms, SourceAddress, TtlRule,
};

/// The keys that say who the other end is.
pub(crate) const FAR_ENDS: [&str; 4] = ["peer-ip", "peer-selector", "peer-range", "interface"];

/// What a peer's table names by a file.
#[derive(Debug)]
pub(crate) struct PeerSecrets {
    pub(crate) session: Option<Wanted>,
    pub(crate) bfd: Option<Wanted>,
}

/// Reads a table; its secrets come beside it, because they take files.
pub(crate) fn read_peer(
    table: &TableReader<'_>,
    problems: &mut Problems,
) -> Option<(Record<Peer>, PeerSecrets)> {
    let mut places = Places::default();
    let scope = read_scope(table, &mut places, problems);
    let far_end = read_far_end(table, &mut places, problems);
    let as_number = read_as_number(table, problems);
    let local_as_number = plain(table.read("local-as-number", scalar::asn, problems));
    let passive = plain(table.read("passive", scalar::boolean, problems)).unwrap_or(false);
    let shutdown = plain(table.read("shutdown", scalar::boolean, problems)).unwrap_or(false);
    let source = table.read("source-address", scalar::source_address, problems);
    let ttl = read_ttl(table, problems);
    let session = read_session(table, problems);
    for key in ["keepalive-time", "passive", "password", "tcp-ao"] {
        places.mark(key, table);
    }
    let capabilities = read_capabilities(table, problems);
    let routes = read_routes(table, problems);
    let filters = table.read_list("filters", scalar::name, problems);
    let filters = filters.unwrap_or_default().into_iter();
    let (filters, filter_places) = filters.map(|f| (f.value, f.place)).unzip();
    let (bfd, bfd_secret) = read_bfd(table, "bfd", problems);
    let reachable_by = table.read("reachable-by", scalar::address, problems);
    let reverse = plain(table.read("reverse-peering", one_of(REVERSE), problems));
    let secrets = PeerSecrets {
        session: read_secret(table, ["password", "tcp-ao"], problems),
        bfd: bfd_secret,
    };
    let name = places.note("name", table.require("name", scalar::name, problems));
    let source_address = places.note("source-address", source).unwrap_or_default();
    let reachable_by = places.note("reachable-by", reachable_by);
    let far_end = far_end?;
    check_source(table, &far_end, source_address, problems);
    check_gateway(table, &far_end, reachable_by, problems);
    let peer = Peer {
        name: name?,
        scope: scope?,
        far_end,
        as_number: as_number?,
        local_as_number,
        passive,
        shutdown,
        source_address,
        ttl,
        session,
        capabilities,
        routes,
        filters,
        authentication: Authentication::None,
        bfd,
        reachable_by,
        reverse: reverse.unwrap_or(true),
    };
    Some((places.record(table, peer, filter_places), secrets))
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
            let (node, selector) = (table.word("node"), table.word("node-selector"));
            let message = format!("a peer has {node:?} or {selector:?}, not both");
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

/// The other end, by the one key of four that is there.
fn read_far_end(
    table: &TableReader<'_>,
    places: &mut Places,
    problems: &mut Problems,
) -> Option<FarEnd> {
    let [ip, selector, range, link] = FAR_ENDS;
    let address = table.read(ip, scalar::peer_ip, problems);
    let nodes = table.read(selector, scalar::selector, problems);
    let prefix = table.read(range, scalar::prefix, problems);
    let name = table.read(link, link_name, problems);
    let words = FAR_ENDS.map(|key| format!("{:?}", table.word(key)));
    let [a, b, c, d] = &words;
    let there: Vec<&'static str> = FAR_ENDS.into_iter().filter(|key| table.has(key)).collect();
    match there.as_slice() {
        [] => {
            let message = format!("{} needs {a}, {b}, {c} or {d}", table.label());
            problems.error(table.place(), message);
            return None;
        }
        [_] => {}
        [_, second, ..] => {
            let message = format!("a peer has one of {a}, {b}, {c} and {d}");
            problems.error(&table.key_place(second), message);
            return None;
        }
    }
    for key in &there {
        places.mark(key, table);
    }
    let address = places.note(ip, address).map(FarEnd::Address);
    let nodes = places.note(selector, nodes).map(FarEnd::Nodes);
    let prefix = places.note(range, prefix).map(FarEnd::Range);
    let link = places.note(link, name).map(FarEnd::Link);
    address.or(nodes).or(prefix).or(link)
}

/// The name of a link.
fn link_name(value: &DeValue<'_>) -> Result<String, Fault> {
    let text = value.as_str().unwrap_or_default();
    let wrong = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '*');
    if text.is_empty()
        || text.len() > scalar::MAX_LINK_NAME
        || matches!(text, "." | "..")
        || text.contains(wrong)
    {
        let expected = "the name of a link, of up to 15 characters, such as \"eth1\"";
        return Err(Fault::expected(expected, value));
    }
    Ok(text.to_owned())
}

/// The AS of the other end; of a node it is the node's own. The outer `None` is an error.
fn read_as_number(table: &TableReader<'_>, problems: &mut Problems) -> Option<Option<Asn>> {
    if !table.has("peer-selector") {
        return plain(table.require("as-number", scalar::asn, problems)).map(Some);
    }
    if table.has("as-number") {
        let (key, selector) = (table.word("as-number"), table.word("peer-selector"));
        let message = format!(
            "{key:?} does not go with {selector:?}: each node that it selects has its own AS"
        );
        problems.error(&table.key_place("as-number"), message);
        return None;
    }
    Some(None)
}

fn check_source(
    table: &TableReader<'_>,
    far_end: &FarEnd,
    source: SourceAddress,
    problems: &mut Problems,
) {
    let SourceAddress::Address(source) = source else {
        return;
    };
    let peer = match far_end {
        FarEnd::Address(end) => end.address,
        FarEnd::Range(range) => range.address(),
        FarEnd::Nodes(_) => return,
        FarEnd::Link(link) => {
            let message = format!(
                "\"source-address\" {source} can't be: the session on {link} is between link-local \
                 addresses"
            );
            return problems.error(&table.key_place("source-address"), message);
        }
    };
    if source.is_ipv4() != peer.is_ipv4() {
        let message = format!("\"source-address\" {source} can't reach {peer}: another family");
        problems.error(&table.key_place("source-address"), message);
    } else if source == peer {
        let message = format!("\"source-address\" and \"peer-ip\" are both {source}");
        problems.error(&table.key_place("source-address"), message);
    }
}

fn check_gateway(
    table: &TableReader<'_>,
    far_end: &FarEnd,
    gateway: Option<IpAddr>,
    problems: &mut Problems,
) {
    let Some(gateway) = gateway else {
        return;
    };
    let (key, ip) = (table.word("reachable-by"), table.word("peer-ip"));
    let FarEnd::Address(end) = far_end else {
        let message = format!("{key:?} needs {ip:?}: the route is to one address");
        return problems.error(&table.key_place("reachable-by"), message);
    };
    if gateway.is_ipv4() != end.address.is_ipv4() {
        let peer = end.address;
        let message = format!("{key:?} {gateway} is no gateway to {peer}: another family");
        problems.error(&table.key_place("reachable-by"), message);
    } else if gateway == end.address {
        let message = format!("{key:?} and {ip:?} are both {gateway}");
        problems.error(&table.key_place("reachable-by"), message);
    }
}

fn read_ttl(table: &TableReader<'_>, problems: &mut Problems) -> TtlRule {
    let hops = |bounds| scalar::integer::<u8>("a number of hops", bounds);
    let multihop = plain(table.read("multihop", hops(1..=255), problems));
    // 0 is off, as in Calico.
    let security = plain(table.read("ttl-security", hops(0..=254), problems));
    let security = security.filter(|hops| *hops > 0);
    if table.has("multihop") && security.is_some() {
        let message = "a peer has \"multihop\" or \"ttl-security\", not both: packets that are to \
                       be known by their TTL leave with 255";
        problems.error(&table.key_place("ttl-security"), message);
    }
    security
        .map(TtlRule::Security)
        .or(multihop.map(TtlRule::Multihop))
        .unwrap_or_default()
}

fn read_capabilities(table: &TableReader<'_>, problems: &mut Problems) -> PeerCapabilities {
    let defaults = PeerCapabilities::default();
    let before = problems.len();
    let list = table.read_list("families", one_of(FAMILIES), problems);
    let has = |family| {
        let mut list = list.iter().flatten();
        list.any(|one| one.value.contains(family))
    };
    let families = list.is_some().then(|| Families {
        ipv4: has(Family::Ipv4),
        ipv6: has(Family::Ipv6),
    });
    // Elements that could not be read have been noted already.
    if families.is_some_and(|set| set.iter().next().is_none()) && problems.len() == before {
        let message = "\"families\" has none; a session needs \"ipv4\", \"ipv6\" or both";
        problems.error(&table.key_place("families"), message);
    }
    let add_path = plain(table.read("add-path", paths, problems));
    let role = plain(table.read("role", one_of(ROLES), problems));
    let mut flag = |key| plain(table.read(key, scalar::boolean, problems));
    let any = flag("capabilities").unwrap_or(defaults.any);
    let strict = flag("role-strict").unwrap_or(false);
    let capabilities = PeerCapabilities {
        families,
        any,
        four_octet_as: flag("four-octet-as").unwrap_or(defaults.four_octet_as),
        extended_messages: flag("extended-messages").unwrap_or(defaults.extended_messages),
        add_path: add_path.map(|paths| paths.is_some()),
        role: RoleTerms { role, strict },
    };
    if !any && has(Family::Ipv6) {
        let message = "\"capabilities\" is false, so the session has IPv4 routes only: \"families\" can't have \
                       \"ipv6\" (RFC 4760)";
        problems.error(&table.key_place("families"), message);
    }
    if strict && role.is_none() && !table.has("role") {
        let message = "\"role-strict\" needs \"role\": a role is required of the other end only if this end has one";
        problems.error(&table.key_place("role-strict"), message);
    }
    if !any && has(Family::Ipv6) {
        let message = "\"capabilities\" is false, so the session has IPv4 routes only: \"families\" can't have \
                       \"ipv6\" (RFC 4760)";
        problems.error(&table.key_place("families"), message);
    }
    capabilities
}

/// Whether additional paths are offered, and if so how many of a prefix are sent: 0 is the best and its equals.
fn paths(value: &DeValue<'_>) -> Result<Option<u8>, Fault> {
    if value.as_str() == Some("all") {
        return Ok(Some(MAX_PATHS));
    }
    if value.as_integer().is_some() {
        let count = scalar::integer::<u8>("a number of paths", 1..=i64::from(MAX_PATHS));
        return count(value).map(Some);
    }
    match value.as_bool() {
        Some(offered) => Ok(offered.then_some(0)),
        None => Err(Fault::expected(
            "true, false, \"all\" or a number of paths",
            value,
        )),
    }
}

fn read_routes(table: &TableReader<'_>, problems: &mut Problems) -> PeerRoutes {
    let limit = scalar::integer::<u32>("a number of prefixes", 1..=i64::from(u32::MAX));
    let times = scalar::integer::<u8>("a number of times", 0..=255);
    let action = table.read("max-prefixes-action", one_of(LIMIT_ACTIONS), problems);
    // A fault of it is said where the capability is read.
    let sent = plain(table.read("add-path", paths, &mut Problems::default()));
    let own_as = table.read("num-allowed-local-as-numbers", times, problems);
    let defaults = PeerRoutes::default();
    let mut flag = |key| plain(table.read(key, scalar::boolean, problems));
    let first_as = flag("enforce-first-as");
    let client = flag("route-reflector-client");
    let shutdown = flag("graceful-shutdown");
    PeerRoutes {
        import: plain(table.read("import", one_of(POLICIES), problems)).unwrap_or_default(),
        export: plain(table.read("export", one_of(POLICIES), problems)).unwrap_or_default(),
        next_hop: read_next_hop(table, problems),
        limit: PrefixLimit {
            max: plain(table.read("max-prefixes", limit, problems)),
            action: plain(action),
        },
        paths: sent.flatten().unwrap_or(0),
        allowed_local_as: plain(own_as).unwrap_or(defaults.allowed_local_as),
        client,
        graceful_shutdown: shutdown.unwrap_or(defaults.graceful_shutdown),
        enforce_first_as: first_as.unwrap_or(defaults.enforce_first_as),
    }
}

/// Three words for one thing: Calico's, the one that it took the place of, and ours.
fn read_next_hop(table: &TableReader<'_>, problems: &mut Problems) -> NextHopMode {
    let mode = plain(table.read("next-hop-mode", one_of(NEXT_HOPS), problems));
    let mut flag = |key| plain(table.read(key, scalar::boolean, problems)).unwrap_or(false);
    let keep = flag("keep-original-next-hop");
    let own = flag("next-hop-self");
    let contradicted = match mode {
        Some(mode) if own && mode != NextHopMode::Own => Some("next-hop-mode"),
        None if own && keep => Some("keep-original-next-hop"),
        Some(_) | None => None,
    };
    if let Some(other) = contradicted {
        let message = format!(
            "\"next-hop-self\" and {:?} contradict each other",
            table.word(other)
        );
        problems.error(&table.key_place("next-hop-self"), message);
    }
    match mode {
        // It has the last word in Calico, too.
        Some(mode) => mode,
        None if own => NextHopMode::Own,
        None if keep => NextHopMode::Keep,
        None => NextHopMode::Auto,
    }
}
