//! What the kernel says about packets to an address, and whether that is what is wanted.
//!
//! It is asked for a packet of this host itself, and for one that is passed on: from a pod of this node, or,
//! to an own block, from another node. The answer names whose route takes the packet, whatever table or
//! rule it is found by. What a rule by mark or by port would say is not seen.

use std::net::IpAddr;
use std::sync::Arc;

use crate::control::protocol::KernelAnswer;
use crate::daemon::answers::fib::in_words;
use crate::daemon::event_loop::Daemon;
use crate::dataplane::netlink::Questions;
use crate::dataplane::{
    Dataplane, Fate, KernelRoute, KernelView, Outcome, Ownership, Packet, Shape, protocol_name,
    table_name,
};
use crate::net::Prefix;

/// What ought to become of the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// Our route to this prefix takes it.
    Ours(Prefix),
    /// It is in an own block: whoever made the pod has a route to it.
    Pod(Prefix),
    /// Nothing of ours has to do with it.
    Nothing,
}

/// How wish and answer go together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is as it ought to be.
    Well(&'static str),
    /// It is not; in words that follow "a packet from here".
    Wrong(&'static str, String),
}

/// The answers about `to`; none if there is no kernel to ask.
pub(super) fn ask(daemon: &Daemon, to: IpAddr, wish: Wish) -> Vec<KernelAnswer> {
    let Ok(mut questions) = Questions::open() else {
        return Vec::new();
    };
    let view = daemon.node.dataplane().map(Dataplane::view);
    let own = Packet {
        to,
        from: None,
        arriving: None,
    };
    let passed_on = passed_on(daemon, &mut questions, to, wish);
    let packets = std::iter::once(own).chain(passed_on);
    let mut answers = Vec::new();
    for packet in packets {
        if let Ok(outcome) = questions.ask(&packet) {
            answers.push(shown(view, &packet, &outcome, wish));
        }
    }
    answers
}

/// A packet that others send through this host to there, if anybody could.
fn passed_on(daemon: &Daemon, questions: &mut Questions, to: IpAddr, wish: Wish) -> Option<Packet> {
    let view = daemon.node.dataplane()?.view();
    let (from, arriving) = match wish {
        Wish::Pod(_) => from_a_node(daemon, questions, to)?,
        Wish::Ours(_) | Wish::Nothing => from_a_pod(daemon, view, to)?,
    };
    Some(Packet {
        to,
        from: Some(from),
        arriving: Some(arriving),
    })
}

/// A pod of this node and its link: by the route that its maker has for it.
fn from_a_pod(daemon: &Daemon, view: &KernelView, to: IpAddr) -> Option<(IpAddr, u32)> {
    let family = Prefix::host(to).family();
    let blocks = daemon.node.speaker().plan().own_blocks.iter();
    let blocks = blocks.filter(|block| block.family() == family);
    let mut routes = blocks.flat_map(|block| view.foreign_inside(*block));
    routes.find_map(|(prefix, _, shape)| {
        let [hop] = &*shape.hops else {
            return None;
        };
        let pod = somebody_in(view, prefix)?;
        Some((pod, hop.interface.filter(|_| pod != to)?))
    })
}

/// An address of the prefix that is not this host's.
fn somebody_in(view: &KernelView, prefix: Prefix) -> Option<IpAddr> {
    if prefix.is_host() {
        return Some(prefix.address());
    }
    let beyond = |n: u32| match prefix.address() {
        IpAddr::V4(first) => IpAddr::V4(u32::from(first).saturating_add(n).into()),
        IpAddr::V6(first) => IpAddr::V6(u128::from(first).saturating_add(n.into()).into()),
    };
    let mut candidates = (2..6).map(beyond).filter(|one| prefix.contains(*one));
    candidates.find(|one| view.addresses().all(|own| own.address != *one))
}

/// Another node and the link that leads to it.
fn from_a_node(daemon: &Daemon, questions: &mut Questions, to: IpAddr) -> Option<(IpAddr, u32)> {
    let chooser = daemon.node.chooser();
    let family = Prefix::host(to).family();
    let others = chooser.fabric().nodes.iter();
    let others = others.filter(|node| node.name != chooser.me().name);
    let address = others.filter_map(|node| node.address(family)).next()?;
    let packet = Packet {
        to: address,
        from: None,
        arriving: None,
    };
    match questions.ask(&packet).ok()? {
        Outcome::Taken(route) => Some((address, route.shape.hops.first()?.interface?)),
        Outcome::Refused(_) => None,
    }
}

fn shown(
    view: Option<&KernelView>,
    packet: &Packet,
    outcome: &Outcome,
    wish: Wish,
) -> KernelAnswer {
    let link = packet.arriving.and_then(|index| view?.link_by_index(index));
    let route = match outcome {
        Outcome::Taken(route) => Some(route),
        Outcome::Refused(_) => None,
    };
    let words =
        |shape: &Arc<Shape>| view.map_or_else(|| shape.to_string(), |view| in_words(view, shape));
    let way = route.map(|route| words(&route.shape));
    let (verdict, wrong) = match judge(wish, packet, outcome) {
        Verdict::Well(code) => (code, None),
        Verdict::Wrong(code, text) => (code, Some(text)),
    };
    KernelAnswer {
        from: packet.from,
        arriving_link: link.map(|link| link.name.to_string()),
        fate: outcome.fate().as_str().to_owned(),
        prefix: route.map(|route| route.prefix.to_string()),
        way,
        table: route.map(|route| route.table),
        metric: route.map(|route| route.metric),
        protocol: route.map(|route| route.protocol),
        owner: route.map(|route| owner(route.protocol)),
        verdict: verdict.to_owned(),
        wrong,
    }
}

/// Who makes such routes.
pub(super) fn owner(protocol: u8) -> String {
    match protocol_name(protocol) {
        Some(name) => format!("{name} (protocol {protocol})"),
        None => format!("protocol {protocol}"),
    }
}

fn table(number: u32) -> String {
    match table_name(number) {
        Some(name) => format!("table {name}"),
        None => format!("table {number}"),
    }
}

/// Whether the kernel does what is wanted; what it does instead, and whose doing that is.
pub(super) fn judge(wish: Wish, packet: &Packet, outcome: &Outcome) -> Verdict {
    let fate = match outcome.fate() {
        // A source that can't be one here is refused with the errno of a blackhole.
        Fate::Blackhole if packet.arriving.is_some() && matches!(outcome, Outcome::Refused(_)) => {
            Fate::Refused
        }
        fate => fate,
    };
    match (wish, outcome) {
        (Wish::Nothing, _) => Verdict::Well("not_ours"),
        (Wish::Pod(block), Outcome::Taken(route)) if is_pods(block, route) => Verdict::Well("pod"),
        (Wish::Pod(_), Outcome::Taken(_)) if fate == Fate::Local => Verdict::Well("own_address"),
        (Wish::Pod(_), _) if fate == Fate::Blackhole => Verdict::Wrong(
            "nobody",
            "is dropped: this address is nobody's, no route leads to a pod that has it".to_owned(),
        ),
        // The block's own blackhole or a pod's absence is said by the packet of this host.
        (Wish::Pod(_), Outcome::Refused(_)) if fate == Fate::Refused => Verdict::Well("not_known"),
        (Wish::Ours(_), Outcome::Refused(_)) if fate == Fate::Refused => Verdict::Well("not_known"),
        (Wish::Pod(block), Outcome::Taken(route)) => Verdict::Wrong(
            "nobody",
            format!(
                "leaves the node although it is in {block} of this node: this address is nobody's here; \
                 {}",
                taken_by(route)
            ),
        ),
        (Wish::Pod(_) | Wish::Ours(_), Outcome::Refused(_)) => {
            Verdict::Wrong(fate.as_str(), fate.words().to_owned())
        }
        (Wish::Ours(prefix), Outcome::Taken(route)) => compare(prefix, route, fate),
    }
}

/// Whether a route is what whoever makes pods has for one.
fn is_pods(block: Prefix, route: &KernelRoute) -> bool {
    let ours = route.protocol == Ownership::PROTOCOL;
    !ours && block.covers(route.prefix) && !route.shape.hops.is_empty()
}

fn compare(prefix: Prefix, route: &KernelRoute, fate: Fate) -> Verdict {
    let main = route.table == Ownership::MAIN_TABLE;
    let ours = route.protocol == Ownership::PROTOCOL && main;
    if fate == Fate::Local {
        let what =
            "is taken for one to this host itself: the address is on a link of its own (`ip addr`)";
        return Verdict::Wrong("local", what.to_owned());
    }
    if ours && route.prefix == prefix {
        return Verdict::Well("as_wanted");
    }
    let (code, why) = if !main {
        (
            "other_table",
            "a policy rule (`ip rule`) sends it to another table",
        )
    } else if ours {
        ("other_prefix", "our route for another prefix takes it")
    } else if route.prefix == prefix {
        ("same_prefix", "another route for the very prefix takes it")
    } else if prefix.covers(route.prefix) {
        ("more_specific", "a more specific route takes it")
    } else {
        (
            "less_specific",
            "our route is not there, and a wider one takes it",
        )
    };
    Verdict::Wrong(
        code,
        format!("goes another way: {why}: {}", taken_by(route)),
    )
}

/// A route in the words that name whose it is.
fn taken_by(route: &KernelRoute) -> String {
    let KernelRoute {
        prefix,
        metric,
        protocol,
        ..
    } = route;
    let (table, owner) = (table(route.table), owner(*protocol));
    format!("{prefix} of {owner} in {table}, metric {metric}")
}

/// One line an answer.
pub(super) fn lines(answers: &[KernelAnswer]) -> Vec<String> {
    let line = |answer: &KernelAnswer| {
        let packet = match (&answer.from, &answer.arriving_link) {
            (Some(from), Some(link)) => format!("passed on from {from} by {link}"),
            (Some(from), None) => format!("passed on from {from}"),
            (None, _) => "sent from here".to_owned(),
        };
        let takes = match (&answer.prefix, &answer.way, &answer.owner, answer.table) {
            (Some(prefix), Some(way), Some(owner), Some(number)) => {
                format!("{prefix} {way}, of {owner} in {}", table(number))
            }
            _ => answer.fate.replace('_', " "),
        };
        format!("packet   {packet}: {takes}")
    };
    answers.iter().map(line).collect()
}

/// What is wrong, each once.
pub(super) fn problems(answers: &[KernelAnswer]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for answer in answers {
        let Some(wrong) = &answer.wrong else {
            continue;
        };
        let packet = if answer.from.is_some() {
            "a packet that is passed on"
        } else {
            "a packet from here"
        };
        if !found.iter().any(|said| said.ends_with(wrong.as_str())) {
            found.push(format!("{packet} {wrong}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::{Errno, Hop, RouteKind};

    fn route(prefix: &str, protocol: u8, table: u32) -> Outcome {
        let hop = Hop {
            via: None,
            interface: Some(3),
            onlink: false,
            weight: 1,
        };
        Outcome::Taken(KernelRoute {
            prefix: prefix.parse().unwrap(),
            table,
            metric: 0,
            protocol,
            shape: Arc::new(Shape::unicast([hop])),
        })
    }

    fn special(prefix: &str, kind: RouteKind) -> Outcome {
        let Outcome::Taken(mut taken) = route(prefix, 2, 255) else {
            unreachable!("it is a route");
        };
        let shape = Shape {
            kind,
            ..Shape::unicast([])
        };
        taken.shape = Arc::new(shape);
        Outcome::Taken(taken)
    }

    fn code(wish: Wish, arriving: Option<u32>, outcome: &Outcome) -> &'static str {
        let packet = Packet {
            to: "10.244.1.5".parse().unwrap(),
            from: None,
            arriving,
        };
        match judge(wish, &packet, outcome) {
            Verdict::Well(code) => code,
            Verdict::Wrong(code, text) => {
                assert!(!text.is_empty());
                code
            }
        }
    }

    #[test]
    fn what_takes_a_packet_is_set_beside_what_should() {
        let block = "10.244.1.0/26".parse().unwrap();
        let ours = Wish::Ours(block);
        assert_eq!(
            code(ours, None, &route("10.244.1.0/26", 179, 254)),
            "as_wanted"
        );
        assert_eq!(
            code(ours, None, &route("10.244.1.0/28", 179, 254)),
            "other_prefix"
        );
        assert_eq!(
            code(ours, None, &route("10.244.1.0/26", 179, 100)),
            "other_table"
        );
        assert_eq!(
            code(ours, None, &route("10.244.1.0/26", 4, 254)),
            "same_prefix"
        );
        assert_eq!(
            code(ours, None, &route("10.244.1.4/30", 4, 254)),
            "more_specific"
        );
        assert_eq!(
            code(ours, None, &route("0.0.0.0/0", 3, 254)),
            "less_specific"
        );
        let local = special("10.244.1.5/32", RouteKind::Other(2));
        assert_eq!(code(ours, None, &local), "local");
        for (errno, word) in [
            (101, "no_route"),
            (113, "unreachable"),
            (13, "prohibited"),
            (22, "blackhole"),
        ] {
            assert_eq!(code(ours, None, &Outcome::Refused(Errno(errno))), word);
        }
        assert_eq!(
            code(ours, Some(3), &Outcome::Refused(Errno(18))),
            "reverse_path"
        );
        assert_eq!(
            code(ours, Some(3), &Outcome::Refused(Errno(22))),
            "not_known"
        );
        let pod = Wish::Pod(block);
        assert_eq!(code(pod, None, &route("10.244.1.5/32", 3, 254)), "pod");
        assert_eq!(
            code(pod, None, &route("10.244.1.0/26", 2, 254)),
            "pod",
            "a bridge"
        );
        assert_eq!(code(pod, None, &local), "own_address");
        assert_eq!(code(pod, None, &Outcome::Refused(Errno(22))), "nobody");
        let v6 = special("10.244.1.0/26", RouteKind::Blackhole);
        assert_eq!(code(pod, None, &v6), "nobody", "IPv6 names its blackholes");
        assert_eq!(code(pod, None, &route("10.244.0.0/16", 4, 254)), "nobody");
        assert_eq!(
            code(Wish::Nothing, None, &route("0.0.0.0/0", 3, 254)),
            "not_ours"
        );
    }
}
