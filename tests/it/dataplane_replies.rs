//! What a kernel said over rtnetlink, in `proto-fixtures/netlink`: each recording says what its `.expect` has, and no
//! part of a message panics.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use dunlin::dataplane::netlink::{Dialogue, answer};
use dunlin::dataplane::{
    Action, Change, Device, Errno, Hop, KernelInput, KernelRoute, Op, OpId, Outcome, RouteKind,
};

/// A dump asks in this order; the recordings have the numbers 1 to 7.
const STAGES: [&str; 7] = [
    "links",
    "addresses",
    "neighbours",
    "forwards",
    "objects",
    "routes4",
    "routes6",
];
const HEADER: usize = 16;

struct Recording {
    path: PathBuf,
    /// How the datagrams are to be taken.
    told: String,
    datagrams: Vec<Vec<u8>>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("proto-fixtures/netlink")
}

fn recording(name: &str) -> Recording {
    let path = folder().join(name).with_extension("hex");
    let text = fs::read_to_string(&path).unwrap();
    let mut told = None;
    let mut datagrams = Vec::new();
    for line in text.lines() {
        if let Some(way) = line.strip_prefix("# told: ") {
            told = Some(way.to_owned());
        } else if line.starts_with("# datagram ") || datagrams.is_empty() {
            datagrams.push(Vec::new());
        }
        let octets = line.split('#').next().unwrap().split_whitespace();
        let octets = octets.map(|octet| u8::from_str_radix(octet, 16).unwrap());
        if let Some(last) = datagrams.last_mut() {
            last.extend(octets);
        }
    }
    datagrams.retain(|datagram: &Vec<u8>| !datagram.is_empty());
    Recording {
        path,
        told: told.unwrap(),
        datagrams,
    }
}

fn recordings() -> Vec<Recording> {
    let entries = fs::read_dir(folder()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let hex = paths.filter(|path| path.extension().is_some_and(|e| e == "hex"));
    let mut names: Vec<String> = hex
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names.iter().map(|name| recording(name)).collect()
}

/// A dialogue that has read the links, so that it knows which are VXLAN devices.
fn after_links() -> Dialogue {
    let mut dialogue = Dialogue::default();
    dialogue.dumping(1, OpId(1));
    for datagram in recording("links").datagrams {
        dialogue.hear_results(&datagram, |_| {});
    }
    dialogue
}

/// What a datagram says, taken as the recording asks for.
fn hear(dialogue: &mut Dialogue, told: &str, datagram: &[u8]) -> Vec<KernelInput> {
    let mut inputs = Vec::new();
    if told == "news" {
        dialogue.hear_news(datagram, |input| inputs.push(input));
    } else if dialogue.hear_results(datagram, |input| inputs.push(input)) {
        dialogue.next_stage(100, |input| inputs.push(input));
    }
    inputs
}

/// A dialogue in which the recording is an answer.
fn before(recording: &Recording) -> Dialogue {
    let mut dialogue = after_links();
    let mut words = recording.told.split(' ');
    match words.next().unwrap() {
        "dump" if recording.told == "dump alone" => {
            dialogue = Dialogue::default();
            dialogue.dumping(1, OpId(1));
        }
        "dump" => {
            let name = recording.path.file_stem().unwrap().to_str().unwrap();
            let stage = STAGES.iter().position(|stage| *stage == name).unwrap();
            if stage == 0 {
                dialogue = Dialogue::default();
                dialogue.dumping(1, OpId(1));
            }
            for number in 1..=stage {
                let number = u32::try_from(number).unwrap();
                assert!(dialogue.next_stage(number + 1, |input| panic!("{input:?}")));
            }
        }
        "results" => {
            for number in words {
                let number: u32 = number.parse().unwrap();
                let op = Op {
                    id: OpId(u64::from(number)),
                    action: Action::DeleteLink { index: number },
                };
                dialogue.ask(&mut Vec::new(), number, &op);
            }
        }
        _ => {}
    }
    dialogue
}

fn what_it_says(recording: &Recording) -> String {
    let mut dialogue = before(recording);
    let mut said = String::new();
    for datagram in &recording.datagrams {
        for input in hear(&mut dialogue, &recording.told, datagram) {
            writeln!(said, "{input:?}").unwrap();
        }
        if recording.told == "question" {
            writeln!(said, "{:?}", answer(datagram, 21)).unwrap();
        }
    }
    if dialogue.outstanding() > 0 {
        writeln!(said, "{} not answered", dialogue.outstanding()).unwrap();
    }
    said
}

#[test]
fn each_recording_says_what_it_should() {
    for recording in recordings() {
        let got = what_it_says(&recording);
        let expected = recording.path.with_extension("expect");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&expected, &got).unwrap();
        }
        let want = fs::read_to_string(&expected).unwrap_or_default();
        let name = expected.display();
        assert_eq!(got, want, "{name} differs; UPDATE_GOLDEN=1 rewrites it");
    }
}

fn routes(name: &str) -> Vec<KernelRoute> {
    let recording = recording(name);
    let mut dialogue = before(&recording);
    let datagrams = recording.datagrams.iter();
    let inputs = datagrams.flat_map(|datagram| hear(&mut dialogue, "dump", datagram));
    let routes = inputs.filter_map(|input| match input {
        KernelInput::Dumped(Change::Route { route, .. }) => Some(route),
        _ => None,
    });
    routes.collect()
}

/// The golden files are written by what they test; this is what was asked of the kernel (`record.py`).
#[test]
fn what_was_made_is_what_is_read() {
    let four = routes("routes4");
    let of = |prefix: &str| {
        let prefix = prefix.parse().unwrap();
        let mut found = four.iter().filter(|route| route.prefix == prefix);
        let route = found.next().unwrap_or_else(|| panic!("{prefix}"));
        assert!(found.next().is_none(), "{prefix} twice");
        route
    };
    let blackhole = of("10.77.0.0/24");
    assert_eq!(blackhole.shape.kind, RouteKind::Blackhole);
    assert_eq!((blackhole.metric, blackhole.protocol), (u32::MAX, 179));
    let onlink = of("10.77.1.0/24").shape.hops[0];
    assert!(onlink.onlink && onlink.via == Some("10.77.1.0".parse().unwrap()));
    let weighed: Vec<(String, u16)> = of("10.77.2.0/24")
        .shape
        .hops
        .iter()
        .map(|hop| (hop.via.unwrap().to_string(), hop.weight))
        .collect();
    let expected = [("192.0.2.2".to_owned(), 1), ("192.0.2.3".to_owned(), 5)];
    assert_eq!(weighed, expected);
    let via6: Hop = of("10.77.3.0/24").shape.hops[0];
    assert_eq!(via6.via, Some("fe80::2".parse().unwrap()));
    assert_eq!(of("10.77.5.0/24").shape.object, 9);
    assert_eq!(of("10.77.10.0/24").shape.mtu, Some(1300));
    let source = of("10.77.10.0/24").shape.preferred_source;
    assert_eq!(source, Some("192.0.2.1".parse().unwrap()));
    let other = |prefix: &str| {
        let prefix = prefix.parse().unwrap();
        four.iter().any(|route| route.prefix == prefix)
    };
    assert!(
        !other("10.77.11.0/24"),
        "by type of service: no key of ours"
    );
    assert!(!other("10.77.12.0/24"), "of another table");
}

#[test]
fn the_node_of_an_encapsulation_is_the_hop() {
    let six = routes("routes6");
    let tunnelled = six
        .iter()
        .filter(|route| route.prefix == "fd00:77:4::/64".parse().unwrap());
    let hops: Vec<Hop> = tunnelled
        .flat_map(|route| route.shape.hops.to_vec())
        .collect();
    assert!(
        hops.iter()
            .any(|hop| hop.via == Some("2001:db8::2".parse().unwrap()) && hop.onlink),
        "the node of an encapsulation is the hop: {hops:?}"
    );
    assert!(
        !six.iter()
            .any(|route| route.prefix == "fd00:77:7::/64".parse().unwrap())
    );
}

#[test]
fn devices_are_read_as_they_were_made() {
    let mut devices = Vec::new();
    let mut dialogue = Dialogue::default();
    dialogue.dumping(1, OpId(1));
    for datagram in recording("links").datagrams {
        dialogue.hear_results(&datagram, |input| {
            if let KernelInput::Dumped(Change::Link(link)) = input {
                devices.push((link.name.to_string(), link.device, link.mtu));
            }
        });
    }
    let calico = devices.iter().find(|(name, ..)| name == "vxlan.calico");
    let Some((
        _,
        Some(Device::Vxlan {
            vni,
            local,
            learning,
            external,
            ..
        }),
        _,
    )) = calico
    else {
        panic!("{devices:?}")
    };
    let local = local.unwrap().to_string();
    assert_eq!(
        (*vni, local.as_str(), *learning, *external),
        (4096, "192.0.2.1", false, false)
    );
    let metadata = devices.iter().find(|(name, ..)| name == "metadata");
    let external = Some(Device::Vxlan {
        vni: 0,
        port: 4791,
        local: None,
        parent: None,
        learning: false,
        external: true,
    });
    assert!(
        metadata.is_some_and(|(_, device, _)| *device == external),
        "{metadata:?}"
    );
}

#[test]
fn a_question_is_answered_by_the_route_or_the_refusal() {
    let question = |name: &str| answer(&recording(name).datagrams[0], 21);
    let taken = |name: &str| match question(name) {
        Some(Outcome::Taken(route)) => route.prefix.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(taken("answer4"), "10.77.2.0/24");
    assert_eq!(taken("answer6"), "fd00:77:2::/64");
    let Some(Outcome::Refused(errno)) = question("answer-none") else {
        panic!("refused")
    };
    assert_eq!(errno, Errno(113));
}

/// The messages of a datagram.
fn messages(datagram: &[u8]) -> Vec<&[u8]> {
    let mut rest = datagram;
    let mut messages = Vec::new();
    while let Some(length) = rest.first_chunk::<4>() {
        let length = usize::try_from(u32::from_ne_bytes(*length)).unwrap();
        messages.push(&rest[..length]);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    messages
}

#[test]
fn no_part_of_a_recording_panics() {
    let mut parts = 0;
    for recording in recordings() {
        for message in recording
            .datagrams
            .iter()
            .flat_map(|datagram| messages(datagram))
        {
            let mut dialogue = before(&recording);
            for end in 0..message.len() {
                if recording.told.starts_with("results") {
                    dialogue = before(&recording);
                }
                // The system cut it: the length says more than there is.
                let cut = &message[..end];
                assert_eq!(hear(&mut dialogue, &recording.told, cut), []);
                assert_eq!(answer(cut, 21), None);
                if end < HEADER {
                    continue;
                }
                // The kernel said no more: its attributes end where they do.
                let mut whole = cut.to_vec();
                whole[..4].copy_from_slice(&u32::try_from(end).unwrap().to_ne_bytes());
                let inputs = hear(&mut dialogue, &recording.told, &whole);
                let _any = answer(&whole, 21);
                assert!(
                    inputs.len() <= 5,
                    "one message, and five results: {inputs:?}"
                );
                parts += 1;
            }
        }
    }
    assert!(parts > 10_000, "{parts}");
}
