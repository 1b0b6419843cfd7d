//! One family's NAT and guard as commands for `nft -j`, each list of them one transaction.
//!
//! A table `dunlin` of the family holds sets, a chain that translates and one that drops. What always holds: commands name no
//! other table, and a list leaves the table whole or not there at all. There is a table for IPv4 and
//! one for IPv6, rather than one of the family `inet`: NAT in `inet` needs Linux 5.2, and so what a
//! kernel lacks for one family costs the other nothing.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use crate::forwarding::{FamilyGuard, FamilyNat, LinkName};
use crate::net::{Family, Prefix};

/// The name of our tables; nobody else's has it.
pub(super) const TABLE: &str = "dunlin";

const SOURCES: &str = "nat-pools";
const POOLS: &str = "all-pools";
const NODES: &str = "nodes";
/// Addresses with ports, of nodes and their peers.
const ENDS: &str = "bgp-ends";
/// The same addresses.
const SPEAKERS: &str = "speakers";
const CLUSTER: &str = "cluster-nodes";
const ROUTER_PODS: &str = "router-pods";
const CHAIN: &str = "postrouting";
const GUARD: &str = "forward";
/// `srcnat`, where everybody translates sources.
const PRIORITY: i32 = 100;
/// Single hop, its echo, and multihop (RFC 5881 §4, RFC 5883 §5).
const BFD_PORTS: [u16; 3] = [3784, 3785, 4784];
/// IP in IP: of IPv4 (RFC 2003), of IPv6 (RFC 2473).
const IP_IN_IP: [u8; 2] = [4, 41];
/// Ports are drawn at random: two that are guessed one after the other can't collide on two CPUs.
const FLAGS: [&str; 1] = ["fully-random"];

/// A family as nft calls it.
pub(super) const fn word(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "ip",
        Family::Ipv6 => "ip6",
    }
}

/// The bytes that nft reads.
pub(super) fn document(commands: &[Value]) -> Vec<u8> {
    json!({ "nftables": commands }).to_string().into_bytes()
}

/// Whatever the table was, it is gone afterwards; no error if it was not there.
pub(super) fn remove(family: Family) -> Vec<Value> {
    let table = json!({ "table": { "family": word(family), "name": TABLE } });
    vec![json!({ "add": table }), json!({ "delete": table })]
}

/// Whatever the table was, it is this afterwards, with nothing else in it. A packet may meet the new
/// chain before the transaction and the old one after it, and so no rule at all. So this is for tables
/// that are not there, or that another program has changed.
pub(super) fn replace(family: Family, nat: &FamilyNat) -> Vec<Value> {
    let mut commands = remove(family);
    commands.push(add_table(family));
    commands.extend(containers(family, nat));
    commands.extend(contents(family, nat));
    commands
}

/// A table of ours, maybe of a former process, and maybe none: what a packet on its way meets stays,
/// with new contents. Refused if its sets or its chain are of another kind.
pub(super) fn adopt(family: Family, nat: &FamilyNat) -> Vec<Value> {
    let mut commands = vec![add_table(family)];
    commands.extend(containers(family, nat));
    commands.extend([CHAIN, GUARD].map(|chain| flush_chain(family, chain)));
    for (name, ..) in sets(nat) {
        commands.push(
            json!({ "flush": { "set": { "family": word(family), "table": TABLE,
            "name": name } } }),
        );
    }
    commands.extend(contents(family, nat));
    commands
}

fn add_table(family: Family) -> Value {
    json!({ "add": { "table": { "family": word(family), "name": TABLE } } })
}

/// The sets and the chains, empty.
fn containers(family: Family, nat: &FamilyNat) -> Vec<Value> {
    let mut commands = Vec::new();
    for (name, kind, _) in sets(nat) {
        let mut set = Map::new();
        set.insert("family".into(), json!(word(family)));
        set.insert("table".into(), json!(TABLE));
        set.insert("name".into(), json!(name));
        let address = address_type(family);
        let of = match kind {
            Kind::Addresses | Kind::Prefixes => json!(address),
            Kind::Ends => json!([address, "inet_service"]),
        };
        set.insert("type".into(), of);
        if kind == Kind::Prefixes {
            set.insert("flags".into(), json!(["interval"]));
        }
        commands.push(json!({ "add": { "set": set } }));
    }
    commands.push(
        json!({ "add": { "chain": { "family": word(family), "table": TABLE, "name": CHAIN,
            "type": "nat", "hook": "postrouting", "prio": PRIORITY, "policy": "accept" } } }),
    );
    commands.push(
        json!({ "add": { "chain": { "family": word(family), "table": TABLE, "name": GUARD,
            "type": "filter", "hook": "forward", "prio": 0, "policy": "accept" } } }),
    );
    commands
}

fn contents(family: Family, nat: &FamilyNat) -> Vec<Value> {
    let filled = sets(nat)
        .into_iter()
        .filter(|(.., elements)| !elements.is_empty());
    let mut commands: Vec<Value> = filled
        .map(|(name, _, elements)| elements_of(family, "add", name, elements))
        .collect();
    commands.extend(rules(family, nat));
    commands.extend(drops(family, nat));
    commands
}

fn elements_of(family: Family, verb: &str, name: &str, elements: Vec<Value>) -> Value {
    json!({ verb: { "element": { "family": word(family), "table": TABLE, "name": name,
        "elem": elements } } })
}

fn flush_chain(family: Family, chain: &str) -> Value {
    json!({ "flush": { "chain": { "family": word(family), "table": TABLE, "name": chain } } })
}

/// From a table that is as `old` says to `new`: what is in both stays, so that a packet on its way
/// meets a rule and its sets at any moment.
pub(super) fn change(family: Family, old: &FamilyNat, new: &FamilyNat) -> Vec<Value> {
    let mut commands = Vec::new();
    let mut elements = |verb: &str, name: &str, elements: Vec<Value>| {
        if !elements.is_empty() {
            commands.push(elements_of(family, verb, name, elements));
        }
    };
    for ((name, _, had), (.., has)) in sets(old).into_iter().zip(sets(new)) {
        let without = |these: &[Value], those: &[Value]| -> Vec<Value> {
            let those: std::collections::HashSet<&Value> = those.iter().collect();
            let gone = these.iter().filter(|element| !those.contains(element));
            gone.cloned().collect()
        };
        elements("delete", name, without(&had, &has));
        elements("add", name, without(&has, &had));
    }
    for (chain, rules) in [
        (CHAIN, rules as fn(Family, &FamilyNat) -> Vec<Value>),
        (GUARD, drops),
    ] {
        let (had, has) = (rules(family, old), rules(family, new));
        if had != has {
            commands.push(flush_chain(family, chain));
            commands.extend(has);
        }
    }
    commands
}

/// What a set holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Addresses,
    Prefixes,
    Ends,
}

fn sets(nat: &FamilyNat) -> [(&'static str, Kind, Vec<Value>); 7] {
    let prefixes = |these: &[Prefix]| these.iter().copied().map(prefix).collect();
    let addresses = |these: &[IpAddr]| these.iter().map(|one| json!(one.to_string())).collect();
    let none = FamilyGuard::default();
    let guard = nat.guard.as_ref().unwrap_or(&none);
    let ends = guard.ends.iter();
    let ends = ends.map(|(address, port)| json!({ "concat": [address.to_string(), port] }));
    [
        (SOURCES, Kind::Prefixes, prefixes(&nat.sources)),
        (POOLS, Kind::Prefixes, prefixes(&nat.pools)),
        (NODES, Kind::Addresses, addresses(&nat.nodes)),
        (ENDS, Kind::Ends, ends.collect()),
        (SPEAKERS, Kind::Addresses, addresses(&guard.speakers)),
        (CLUSTER, Kind::Addresses, addresses(&guard.nodes)),
        (ROUTER_PODS, Kind::Prefixes, prefixes(&guard.pods)),
    ]
}

fn prefix(prefix: Prefix) -> Value {
    json!({ "prefix": { "addr": prefix.address().to_string(), "len": prefix.len() } })
}

const fn address_type(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "ipv4_addr",
        Family::Ipv6 => "ipv6_addr",
    }
}

fn rules(family: Family, nat: &FamilyNat) -> Vec<Value> {
    let mut rules = Vec::new();
    for tunnel in &nat.tunnels {
        let statements = vec![
            leaves_by(&tunnel.device),
            address(family, "saddr", "!=", &tunnel.address.to_string()),
            is(
                "==",
                json!({ "fib": { "result": "type", "flags": ["saddr"] } }),
                json!("local"),
            ),
            translate(None, None),
        ];
        rules.push(rule(family, CHAIN, "own packets into a tunnel", statements));
    }
    if nat.sources.is_empty() {
        return rules;
    }
    if nat
        .guard
        .as_ref()
        .is_some_and(|guard| guard.sessions && !guard.pods.is_empty())
    {
        for port in neighbour_ports(family) {
            let mut statements = vec![address(family, "saddr", "==", &format!("@{ROUTER_PODS}"))];
            statements.extend(port);
            statements.push(json!({ "return": null }));
            let comment = "a pod that is a peer keeps its address";
            rules.push(rule(family, CHAIN, comment, statements));
        }
    }
    let to = nat.source_address;
    let mut add = |protocol: Option<Value>, ports| {
        let mut statements = pool_match(family, nat);
        statements.extend(protocol);
        statements.push(translate(to, ports));
        rules.push(rule(family, CHAIN, "natOutgoing", statements));
    };
    if nat.ports.is_some() {
        let protocol = |name: &str| is("==", json!({ "meta": { "key": "l4proto" } }), json!(name));
        let udp = match nat.vxlan_port {
            Some(port) => is("!=", payload("udp", "dport"), json!(port)),
            None => protocol("udp"),
        };
        add(Some(protocol("tcp")), nat.ports);
        add(Some(udp), nat.ports);
    }
    add(None, None);
    rules
}

/// What a packet to a neighbour's port is: of BGP, of BFD.
fn neighbour_ports(family: Family) -> [Vec<Value>; 2] {
    let to = payload(word(family), "daddr");
    let end = json!({ "concat": [to, payload("tcp", "dport")] });
    [
        vec![is("==", end, json!(format!("@{ENDS}")))],
        vec![
            address(family, "daddr", "==", &format!("@{SPEAKERS}")),
            is("==", payload("udp", "dport"), json!({ "set": BFD_PORTS })),
        ],
    ]
}

/// What is not passed on. Each rule counts, for whoever asks `nft list table`.
fn drops(family: Family, nat: &FamilyNat) -> Vec<Value> {
    let Some(guard) = &nat.guard else {
        return Vec::new();
    };
    let from = |set: &str, op: &str| address(family, "saddr", op, &format!("@{set}"));
    let to_node = address(family, "daddr", "==", &format!("@{CLUSTER}"));
    let own = is(
        "==",
        json!({ "fib": { "result": "type", "flags": ["saddr"] } }),
        json!("local"),
    );
    let mut drops = Vec::new();
    let mut drop = |comment: &str, parts: &[&[Value]]| {
        let mut statements = parts.concat();
        statements.push(json!({ "counter": { "packets": 0, "bytes": 0 } }));
        statements.push(json!({ "drop": null }));
        drops.push(rule(family, GUARD, comment, statements));
    };
    if guard.sessions {
        let no_peer = from(ROUTER_PODS, "!=");
        for port in neighbour_ports(family) {
            let of_pool = [from(POOLS, "=="), no_peer.clone(), to_node.clone()];
            drop("a pod is no neighbour of nodes", &[&of_pool, &port]);
            let translated = [from(SOURCES, "=="), no_peer.clone()];
            drop(
                "nor of their peers in its node's name",
                &[&translated, &port],
            );
            drop(
                "nobody sends in this node's name",
                &[core::slice::from_ref(&own), &port],
            );
        }
    }
    let udp = |port: u16| is("==", payload("udp", "dport"), json!(port));
    let inside = json!({ "set": IP_IN_IP });
    let inside = is("==", json!({ "meta": { "key": "l4proto" } }), inside);
    let tunnelled = [guard.vxlan_port.map(udp), guard.ipip.then_some(inside)];
    for tunnelled in tunnelled.into_iter().flatten() {
        let comment = "a pod is no end of a tunnel";
        for source in [from(POOLS, "=="), own.clone()] {
            drop(comment, &[&[source, to_node.clone(), tunnelled.clone()]]);
        }
    }
    drops
}

fn pool_match(family: Family, nat: &FamilyNat) -> Vec<Value> {
    let mut statements = Vec::new();
    statements.extend(nat.link.as_ref().map(|link| match link {
        LinkName::Exactly(name) => leaves_by(name),
        // The only star that is not escaped stands for anything.
        LinkName::Beginning(text) => is("==", oifname(), json!(format!("{text}*"))),
    }));
    statements.push(address(family, "saddr", "==", &format!("@{SOURCES}")));
    statements.push(address(family, "daddr", "!=", &format!("@{POOLS}")));
    if !nat.nodes.is_empty() {
        statements.push(address(family, "daddr", "!=", &format!("@{NODES}")));
    }
    statements
}

fn translate(to: Option<IpAddr>, ports: Option<(u16, u16)>) -> Value {
    let mut how = Map::new();
    how.insert("flags".into(), json!(FLAGS));
    if let Some((first, last)) = ports {
        let port = if first == last {
            json!(first)
        } else {
            json!({ "range": [first, last] })
        };
        how.insert("port".into(), port);
    }
    match to {
        Some(to) => {
            how.insert("addr".into(), json!(to.to_string()));
            json!({ "snat": how })
        }
        None => json!({ "masquerade": how }),
    }
}

fn rule(family: Family, chain: &str, comment: &str, statements: Vec<Value>) -> Value {
    json!({ "add": { "rule": { "family": word(family), "table": TABLE, "chain": chain,
        "comment": comment, "expr": statements } } })
}

fn is(op: &str, left: Value, right: Value) -> Value {
    json!({ "match": { "op": op, "left": left, "right": right } })
}

fn payload(protocol: &str, field: &str) -> Value {
    json!({ "payload": { "protocol": protocol, "field": field } })
}

fn address(family: Family, field: &str, op: &str, right: &str) -> Value {
    is(op, payload(word(family), field), json!(right))
}

fn oifname() -> Value {
    json!({ "meta": { "key": "oifname" } })
}

fn leaves_by(link: &str) -> Value {
    // A star at the end of a link's own name is no wildcard.
    let name = match link.strip_suffix('*') {
        Some(beginning) => format!("{beginning}\\*"),
        None => link.to_owned(),
    };
    is("==", oifname(), json!(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forwarding::TunnelSource;

    fn prefixes(texts: &[&str]) -> Vec<Prefix> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn everything() -> FamilyNat {
        FamilyNat {
            sources: prefixes(&["10.244.0.0/16"]),
            pools: prefixes(&["10.244.0.0/16", "10.245.0.0/16"]),
            nodes: vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()],
            link: Some(LinkName::Beginning("eth".into())),
            source_address: "10.0.0.77".parse().ok(),
            ports: Some((30_000, 40_000)),
            vxlan_port: Some(4789),
            tunnels: vec![TunnelSource {
                device: "vxlan.calico".into(),
                address: "10.244.1.0".parse().unwrap(),
            }],
            guard: Some(FamilyGuard {
                sessions: true,
                ends: vec![
                    ("10.0.0.1".parse().unwrap(), 179),
                    ("10.0.0.254".parse().unwrap(), 1790),
                ],
                speakers: vec!["10.0.0.1".parse().unwrap(), "10.0.0.254".parse().unwrap()],
                nodes: vec!["10.0.0.1".parse().unwrap()],
                pods: prefixes(&["10.244.7.7/32"]),
                vxlan_port: Some(4789),
                ipip: true,
            }),
        }
    }

    fn plain6() -> FamilyNat {
        FamilyNat {
            sources: prefixes(&["fd00:10::/48"]),
            pools: prefixes(&["fd00:10::/48"]),
            ..FamilyNat::default()
        }
    }

    /// The file lists one command a line; `DUNLIN_WRITE=1` writes it anew.
    fn golden(name: &str, commands: &[Value]) {
        let path = format!("{}/proto-fixtures/nft/{name}", env!("CARGO_MANIFEST_DIR"));
        let lines: Vec<String> = commands.iter().map(ToString::to_string).collect();
        let text = lines.join("\n") + "\n";
        if std::env::var_os("DUNLIN_WRITE").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let file = std::fs::read_to_string(&path).unwrap();
        let wanted: Vec<Value> = file
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(commands, wanted, "{path}");
    }

    #[test]
    fn a_table_with_everything_is_rendered_so() {
        golden("everything.jsonl", &replace(Family::Ipv4, &everything()));
    }

    #[test]
    fn a_table_with_one_pool_is_rendered_so() {
        golden("plain6.jsonl", &replace(Family::Ipv6, &plain6()));
    }

    #[test]
    fn a_table_of_a_former_process_keeps_its_chain_and_its_sets() {
        golden("adopt6.jsonl", &adopt(Family::Ipv6, &plain6()));
    }

    #[test]
    fn a_change_names_only_what_differs() {
        let old = everything();
        assert_eq!(change(Family::Ipv4, &old, &old), Vec::<Value>::new());
        let mut new = old.clone();
        new.nodes = vec!["10.0.0.1".parse().unwrap(), "10.0.0.3".parse().unwrap()];
        new.pools.pop();
        golden("pools-and-nodes.jsonl", &change(Family::Ipv4, &old, &new));
        new = FamilyNat {
            ports: None,
            vxlan_port: None,
            ..old.clone()
        };
        golden("without-ports.jsonl", &change(Family::Ipv4, &old, &new));
        new = FamilyNat {
            guard: None,
            ..old.clone()
        };
        golden("without-guard.jsonl", &change(Family::Ipv4, &old, &new));
    }

    #[test]
    fn no_text_of_a_user_gets_out_of_its_quotes() {
        let nat = FamilyNat {
            link: Some(LinkName::Exactly("a\"}, {\"*".into())),
            ..plain6()
        };
        let bytes = document(&replace(Family::Ipv6, &nat));
        let read: Value = serde_json::from_slice(&bytes).unwrap();
        let is_rule = |one: &&Value| one.pointer("/add/rule/chain") == Some(&json!(CHAIN));
        let rules = read.pointer("/nftables").and_then(Value::as_array);
        let rule = rules.and_then(|all| all.iter().find(is_rule));
        let link = rule.and_then(|rule| rule.pointer("/add/rule/expr/0/match/right"));
        assert_eq!(link, Some(&json!("a\"}, {\"\\*")));
    }

    #[test]
    fn a_range_of_one_port_is_that_port() {
        let one = translate(None, Some((5000, 5000)));
        assert_eq!(one.pointer("/masquerade/port"), Some(&json!(5000)));
    }
}
