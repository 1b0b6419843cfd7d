//! `dunlin explain`: from an address, a prefix or a peer to the packet's way, in a few lines.

mod kernel;

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::answers::fib::fib_route;
use super::answers::malformed;
use super::answers::routes::path;
use super::event_loop::Daemon;
use crate::control::protocol::{Answer, Explanation, Export, Path, Way};
use crate::dataplane::Reach;
use crate::net::Prefix;
use crate::node::Backend;
use crate::speaker::RouteStatus;

/// What is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    Address(IpAddr),
    Prefix(Prefix),
    /// A peer by its name, at its address.
    Peer(String, IpAddr),
}

impl Subject {
    fn read(daemon: &Daemon, text: &str) -> Option<Self> {
        if let Ok(address) = text.parse() {
            return Some(Self::Address(address));
        }
        if let Ok(prefix) = text.parse() {
            return Some(Self::Prefix(prefix));
        }
        let peer = daemon.node.speaker().peer_named(text)?;
        Some(Self::Peer(text.to_owned(), peer.planned.address))
    }

    const fn is_peer(&self) -> bool {
        matches!(self, Self::Peer(..))
    }

    fn address(&self) -> IpAddr {
        match self {
            Self::Address(address) | Self::Peer(_, address) => *address,
            Self::Prefix(prefix) => prefix.address(),
        }
    }
}

pub(super) fn explain(daemon: &mut Daemon, text: &str) -> Answer {
    let Some(subject) = Subject::read(daemon, text) else {
        return malformed(format!(
            "{text:?} is no address, no prefix, and no peer of this node (`dunlin peers`)"
        ));
    };
    let address = subject.address();
    let speaker = daemon.node.speaker_mut();
    let exact = match subject {
        Subject::Prefix(prefix) => speaker.route(prefix).map(|_| prefix),
        Subject::Address(_) | Subject::Peer(..) => None,
    };
    let best_match = speaker.rib().longest_match(address);
    let known = speaker.rib().longest_known(address);
    let known = exact.or(known.map(|route| route.prefix));
    let best_match = exact.or(best_match.map(|route| route.prefix));
    // What is used, and beside it a more specific one that is not; without any the latter alone.
    let held_back = known.filter(|known| best_match.is_some_and(|used| used != *known));
    let prefix = match (best_match.or(known), daemon.node.dataplane()) {
        (None, Some(dataplane)) if daemon.node.backend() == Backend::Vxlan => {
            covering(dataplane.prefixes(), address)
        }
        (found, _) => found,
    };
    let status = prefix.and_then(|prefix| daemon.node.speaker_mut().route(prefix));
    let block = covering(
        daemon.places.blocks.iter().map(|(block, _)| *block),
        address,
    );
    let node = daemon
        .places
        .blocks
        .iter()
        .find(|(prefix, _)| Some(*prefix) == block);
    let held_back = held_back.and_then(|prefix| daemon.node.speaker_mut().route(prefix));
    let row = prefix.and_then(|prefix| Some(fib_route(daemon.node.dataplane()?, prefix)));
    let mut explanation = Explanation {
        asked: text.to_owned(),
        address,
        prefix: prefix.map(|prefix| prefix.to_string()),
        node: node.map(|(_, name)| name.clone()),
        pool: covering(daemon.places.pools.iter().copied(), address).map(|pool| pool.to_string()),
        paths: status
            .iter()
            .flat_map(|status| &status.paths)
            .map(path)
            .collect(),
        exports: prefix.map_or_else(Vec::new, |prefix| exports(daemon, prefix)),
        ways: Vec::new(),
        wanted: row.as_ref().and_then(|row| row.wanted.clone()),
        installed: row.as_ref().and_then(|row| row.installed.clone()),
        kernel: Vec::new(),
        problems: Vec::new(),
        lines: Vec::new(),
    };
    explanation.ways = prefix.map_or_else(Vec::new, |prefix| ways(daemon, prefix, &explanation));
    let wish = wish(daemon, &explanation, prefix, block);
    explanation.kernel = kernel::ask(daemon, address, wish);
    explanation.problems = if subject.is_peer() {
        peer_problems(daemon, text, &explanation)
    } else {
        problems(daemon, &explanation, block)
    };
    explanation
        .problems
        .extend(kernel::problems(&explanation.kernel));
    explanation.lines = lines(daemon, &subject, &explanation, block, held_back.as_ref());
    Answer::Explain(Box::new(explanation))
}

/// What ought to become of packets to the address.
fn wish(
    daemon: &Daemon,
    found: &Explanation,
    prefix: Option<Prefix>,
    block: Option<Prefix>,
) -> kernel::Wish {
    let Some(dataplane) = daemon.node.dataplane() else {
        return kernel::Wish::Nothing;
    };
    let sent_on = |prefix| {
        let target = dataplane.target(prefix);
        target.is_some_and(|shape| !shape.hops.is_empty())
    };
    let own = found.node.as_ref() == Some(&daemon.node.speaker().plan().name);
    match (prefix, block) {
        (Some(prefix), _) if sent_on(prefix) => kernel::Wish::Ours(prefix),
        (_, Some(block)) if own => kernel::Wish::Pod(block),
        // Wanted, and without a way: whatever takes the packet is not what should.
        (Some(prefix), _) if found.node.is_some() || is_best_elsewhere(found) => {
            kernel::Wish::Ours(prefix)
        }
        _ => kernel::Wish::Nothing,
    }
}

/// Whether the best path leads to somebody else.
fn is_best_elsewhere(found: &Explanation) -> bool {
    let mut paths = found.paths.iter();
    paths.any(|path| path.best && path.peer != "local")
}

/// What is wrong about a peer: its session, and packets to it.
fn peer_problems(daemon: &Daemon, name: &str, found: &Explanation) -> Vec<String> {
    let status = daemon.node.speaker().peer_named(name);
    let mut problems: Vec<String> = status.and_then(|peer| peer.problem).into_iter().collect();
    let sent = found.kernel.iter().filter(|answer| answer.from.is_none());
    let lost = sent.filter(|answer| !matches!(answer.fate.as_str(), "sent_on" | "local"));
    problems.extend(lost.map(|answer| {
        let fate = answer.fate.replace('_', " ");
        format!("packets to it do not leave this host: {fate}")
    }));
    problems
}

fn exports(daemon: &Daemon, prefix: Prefix) -> Vec<Export> {
    let exports = daemon.node.speaker().exports(prefix).into_iter();
    exports
        .map(|found| Export {
            peer: found.peer,
            sent: found.sent,
            policy: found.code.to_owned(),
            policy_text: found.why,
        })
        .collect()
}

fn covering(prefixes: impl Iterator<Item = Prefix>, address: IpAddr) -> Option<Prefix> {
    prefixes
        .filter(|prefix| prefix.contains(address))
        .max_by_key(|prefix| prefix.len())
}

/// The way to each next hop in use; without BGP the node's address is the next hop.
fn ways(daemon: &Daemon, prefix: Prefix, found: &Explanation) -> Vec<Way> {
    let own = found.node.as_ref() == Some(&daemon.node.chooser().me().name);
    let mut next_hops: Vec<IpAddr> = match daemon.node.backend() {
        Backend::Vxlan if !own => {
            let fabric = daemon.node.chooser().fabric();
            let node = found.node.as_ref().and_then(|name| fabric.node(name));
            node.and_then(|node| node.address(prefix.family()))
                .into_iter()
                .collect()
        }
        Backend::Bgp | Backend::Vxlan | Backend::None => {
            let used = found
                .paths
                .iter()
                .filter(|path| path.best || path.multipath);
            used.filter_map(|path| path.next_hop).collect()
        }
    };
    next_hops.dedup();
    let tunnels = super::tunnels::all(daemon, daemon.clock.now());
    let way = |next_hop| {
        let choice = daemon.node.choose(prefix, next_hop);
        let hop = choice.way.next_hop();
        let device = hop.and_then(|hop| match &hop.reach {
            Reach::Device(name) | Reach::Onto(name) => Some(name.to_string()),
            Reach::Routed | Reach::Link(_) | Reach::Beside(_) => None,
        });
        let tunnel = tunnels
            .iter()
            .find(|tunnel| Some(&tunnel.name) == device.as_ref());
        Way {
            next_hop,
            encapsulation: choice.way.as_str().to_owned(),
            via: hop.map(|hop| hop.address),
            reason: choice.reason.as_str().to_owned(),
            reason_text: choice.reason.to_string(),
            device_state: tunnel.map(|tunnel| tunnel.state.clone()),
            device_state_text: tunnel.map(|tunnel| tunnel.state_text.clone()),
            device,
        }
    };
    next_hops.into_iter().map(way).collect()
}

fn way_lines(way: &Way) -> [String; 2] {
    let encapsulation = match way.encapsulation.as_str() {
        "ipip" => "IP-in-IP",
        "vxlan" => "VXLAN",
        "none" => "no way",
        native => native,
    };
    let device = way.device.as_ref();
    let device = device.map(|name| format!(" by {name}")).unwrap_or_default();
    let via = way.via.map(|via| format!(" via {via}")).unwrap_or_default();
    [
        format!("way      {encapsulation}{device}{via}"),
        format!("         because {}", way.reason_text),
    ]
}

fn problems(daemon: &Daemon, found: &Explanation, block: Option<Prefix>) -> Vec<String> {
    let speaker = daemon.node.speaker();
    let malformed = speaker.malformed_to(found.address).into_iter();
    let mut problems: Vec<String> = malformed
        .map(|(peer, prefix)| {
            format!(
                "{peer} has sent {prefix} with attributes that make it count as withdrawn: `dunlin status` has \
                 which"
            )
        })
        .collect();
    let me = &speaker.plan().name;
    match (&found.prefix, &found.node, block) {
        (None, _, _) if !problems.is_empty() => {}
        (None, Some(node), Some(block)) => problems.push(format!(
            "{block} is a block of {node}, but nobody announces it here: is the session with {node} \
             up (`dunlin peers`), and does it run dunlin?"
        )),
        (None, _, _) if found.pool.is_some() => {
            problems.push("it is in a pool, but in no node's block: no pod has it".to_owned());
        }
        (None, _, _) => problems.push("no route covers it; the kernel's other routes do".to_owned()),
        (Some(_), _, _) => {}
    }
    let by_paths = daemon.node.backend() == Backend::Bgp;
    if by_paths && found.prefix.is_some() && !found.paths.iter().any(|path| path.best) {
        problems.push("no path of it can be used; see the reasons above".to_owned());
    }
    let view = daemon
        .node
        .dataplane()
        .map(crate::dataplane::Dataplane::view);
    for way in &found.ways {
        let own = |address: &crate::dataplane::Address| Some(address.address) == way.via;
        let at = view.and_then(|view| {
            let own = view.addresses().find(own)?;
            view.link_by_index(own.interface)
        });
        if let (Some(via), Some(link)) = (way.via, at) {
            problems.push(format!(
                "its next hop {via} is an address of this host, on {}: packets to the node can't leave \
                 until it is removed there",
                link.name
            ));
        }
    }
    let no_way = found.ways.iter().filter(|way| way.via.is_none());
    problems.extend(no_way.map(|way| format!("no way to {}: {}", way.next_hop, way.reason_text)));
    for way in &found.ways {
        if let (Some(device), Some(state)) = (&way.device, &way.device_state_text)
            && way.device_state.as_deref() != Some("up")
        {
            problems.push(format!("{device}: {state}"));
        }
    }
    if found.wanted != found.installed {
        problems.push("the kernel does not have what it ought to (`dunlin fib`)".to_owned());
    }
    let best = found.paths.iter().find(|path| path.best);
    if let (Some(node), Some(best)) = (&found.node, best)
        && best.peer == "local"
        && node != me
    {
        problems.push(format!(
            "the block belongs to {node}, but this node announces it"
        ));
    }
    problems
}

/// Whose address it is.
fn place(daemon: &Daemon, found: &Explanation, block: Option<Prefix>) -> String {
    let address = found.address;
    match (&found.node, block) {
        (Some(node), Some(block)) => {
            let own = node == &daemon.node.speaker().plan().name;
            let whose = if own {
                "this node".to_owned()
            } else {
                format!("node {node}")
            };
            let pool = found.pool.as_deref().unwrap_or("no pool");
            format!("{address} is in block {block} of {whose} (pool {pool})")
        }
        _ => match &found.pool {
            Some(pool) => format!("{address} is in pool {pool}, in no node's block"),
            None => format!("{address} is in no pool"),
        },
    }
}

/// What the subject is.
fn beginning(
    daemon: &Daemon,
    subject: &Subject,
    found: &Explanation,
    block: Option<Prefix>,
) -> Vec<String> {
    match subject {
        Subject::Address(_) => vec![place(daemon, found, block)],
        Subject::Peer(name, address) => {
            let status = daemon.node.speaker().peer_named(name);
            let state = status.map(|peer| format!("{:?}", peer.state));
            vec![format!(
                "{name} is a peer at {address}: {}",
                state.as_deref().unwrap_or("gone")
            )]
        }
        Subject::Prefix(prefix) => {
            let mut lines = vec![
                place(daemon, found, block),
                format!("of {prefix}, {} is asked about", found.address),
            ];
            let view = daemon
                .node
                .dataplane()
                .map(crate::dataplane::Dataplane::view);
            let inside = view
                .map(|view| view.foreign_inside(*prefix))
                .unwrap_or_default();
            lines.extend(inside.iter().take(NAMED).map(|(route, protocol, _)| {
                format!("inside   {route} of {}", kernel::owner(*protocol))
            }));
            if let Some(more) = inside.len().checked_sub(NAMED).filter(|more| *more > 0) {
                lines.push(format!("         and {more} more routes of others"));
            }
            lines
        }
    }
}

fn lines(
    daemon: &Daemon,
    subject: &Subject,
    found: &Explanation,
    block: Option<Prefix>,
    held_back: Option<&RouteStatus>,
) -> Vec<String> {
    let mut lines = beginning(daemon, subject, found, block);
    if let Some(prefix) = &found.prefix {
        let count = found.paths.len();
        let plural = if count == 1 { "" } else { "s" };
        match daemon.node.backend() {
            Backend::Vxlan => {
                lines.push(format!(
                    "route    {prefix}, from the cluster's records (no BGP)"
                ));
            }
            Backend::Bgp | Backend::None => {
                lines.push(format!("route    {prefix}, {count} path{plural}:"));
            }
        }
        lines.extend(found.paths.iter().map(path_line));
        lines.extend(export_lines(&found.exports));
    }
    if let Some(RouteStatus { prefix, paths, .. }) = held_back {
        lines.push(format!("closer   {prefix}, not used:"));
        lines.extend(paths.iter().map(|status| path_line(&path(status))));
    }
    lines.extend(found.ways.iter().flat_map(way_lines));
    lines.extend(kernel_lines(daemon, found));
    lines.extend(kernel::lines(&found.kernel));
    lines.extend(
        found
            .problems
            .iter()
            .map(|problem| format!("problem  {problem}")),
    );
    if found.problems.is_empty() {
        lines.push("nothing is wrong".to_owned());
    }
    lines
}

fn kernel_lines(daemon: &Daemon, found: &Explanation) -> Vec<String> {
    match (&found.wanted, &found.installed) {
        _ if daemon.node.dataplane().is_none() => {
            vec!["kernel   not programmed (kernel-routes = false)".to_owned()]
        }
        (Some(wanted), Some(installed)) if wanted == installed => {
            vec![format!("kernel   {installed}, as it ought to be")]
        }
        (None, None) => vec!["kernel   has no route of ours for it".to_owned()],
        (wanted, installed) => {
            let said = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".to_owned());
            vec![
                format!("kernel   has {}", said(installed)),
                format!("         ought to have {}", said(wanted)),
            ]
        }
    }
}

fn path_line(path: &Path) -> String {
    let mark = if path.best {
        "best"
    } else if path.multipath {
        "also"
    } else {
        "    "
    };
    let hop = path
        .next_hop
        .map_or_else(|| "here".to_owned(), |hop| format!("via {hop}"));
    let stale = if path.stale {
        "; stale: kept over a restart of its peer, and not confirmed since"
    } else {
        ""
    };
    // Why a path was kept out is its reason already.
    let reason = match (&path.reason_text, &path.policy_text) {
        (Some(why), _) => format!("; {why}"),
        (None, Some(policy)) => format!("; import: {policy}"),
        (None, None) => String::new(),
    };
    let as_path = if path.as_path.is_empty() {
        "empty".to_owned()
    } else {
        path.as_path.clone()
    };
    format!(
        "  {mark} {hop} from {}, AS path {as_path}{reason}{stale}",
        path.peer
    )
}

/// So many peers are named in one line.
const NAMED: usize = 3;

/// Peers with one and the same answer in one line, whom it goes to first.
fn export_lines(exports: &[Export]) -> Vec<String> {
    let mut answers: BTreeMap<(bool, &str), Vec<&str>> = BTreeMap::new();
    for Export {
        peer,
        sent,
        policy_text: why,
        ..
    } in exports
    {
        answers.entry((!sent, why)).or_default().push(peer);
    }
    let line = |((kept, why), peers): ((bool, &str), Vec<&str>)| {
        let how = if kept { "not to" } else { "sent to" };
        let more = match peers.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let named: Vec<&str> = peers.into_iter().take(NAMED).collect();
        format!("export   {how} {}{more}: {why}", named.join(", "))
    };
    answers.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_with_one_answer_share_a_line_and_only_some_are_named() {
        let export = |peer: &str, sent, why: &str| Export {
            peer: peer.to_owned(),
            sent,
            policy: "filter".to_owned(),
            policy_text: why.to_owned(),
        };
        let mut exports = vec![
            export(
                "tor1",
                false,
                "filter \"out\", rule 2 of export-v4, rejects it",
            ),
            export("tor2", true, "export = \"accept-all\""),
        ];
        let nodes = ["n1", "n2", "n3", "n4", "n5"];
        exports.extend(nodes.map(|name| export(name, true, "the default for peers of the mesh")));
        assert_eq!(
            export_lines(&exports),
            [
                "export   sent to tor2: export = \"accept-all\"",
                "export   sent to n1, n2, n3 and 2 more: the default for peers of the mesh",
                "export   not to tor1: filter \"out\", rule 2 of export-v4, rejects it",
            ]
        );
    }
}
