//! `dunlin address`: which of the host's addresses is this node's own, and why no other.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use super::Exit;
use super::args::{AddressOptions, DEFAULT_CONFIG, Output};
use super::ask::{complain, print_json, printed_well};
use super::table::{Table, WIDTH, wrap};
use crate::control::protocol::{self, Address, AddressCandidate, AddressFamily};
use crate::daemon::own_address::{Answer, AnswerError, Ask, AskedBy, answer};
use crate::dataplane::own_address::Selection;
use crate::net::Family;

pub(super) fn print(options: &AddressOptions, output: Output) -> ExitCode {
    let path = options.config.as_deref();
    let answer = match answer(path.unwrap_or(Path::new(DEFAULT_CONFIG)), path.is_some()) {
        Ok(answer) => answer,
        Err(error) => {
            complain(&error);
            return match error {
                AnswerError::Configuration(_) => Exit::BadConfiguration.into(),
                AnswerError::Host(_) => Exit::Failed.into(),
            };
        }
    };
    let printed = match output {
        Output::Json => print_json(&protocol::Answer::Address(report(&answer))),
        Output::Table => {
            for note in &answer.notes {
                complain(note);
            }
            write!(io::stdout(), "{}", render(&answer, options.explain))
        }
    };
    let found = answer
        .asked
        .iter()
        .all(|(_, selection)| selection.chosen.is_ok());
    if found {
        printed_well(printed)
    } else {
        Exit::Failed.into()
    }
}

/// The answer for scripts.
fn report(answer: &Answer) -> Address {
    let families = answer.asked.iter();
    Address {
        order: answer.order.to_owned(),
        families: families.map(|(ask, found)| family(ask, found)).collect(),
        notes: answer.notes.clone(),
    }
}

fn family(ask: &Ask, selection: &Selection) -> AddressFamily {
    let chosen = selection.chosen.as_ref().ok().and_then(Option::as_ref);
    let candidates = selection
        .candidates
        .iter()
        .map(|candidate| AddressCandidate {
            link: candidate.link.to_string(),
            link_index: candidate.address.interface,
            address: format!("{}/{}", candidate.address.address, candidate.address.len),
            taken: candidate.verdict.is_taken(),
            why: candidate.verdict.to_string(),
        });
    AddressFamily {
        family: match ask.family {
            Family::Ipv4 => "ipv4",
            Family::Ipv6 => "ipv6",
        }
        .to_owned(),
        method: ask.method.to_string(),
        asked_by: match ask.source {
            AskedBy::Configuration => "configuration",
            AskedBy::Record => "record",
            AskedBy::Default => "default",
        }
        .to_owned(),
        address: chosen.map(|chosen| format!("{}/{}", chosen.address, chosen.len)),
        link: chosen.and_then(|chosen| chosen.link.as_deref().map(str::to_owned)),
        failure: selection.chosen.as_ref().err().map(ToString::to_string),
        oddity: selection.oddity.map(|oddity| oddity.to_string()),
        candidates: candidates.collect(),
    }
}

fn by(found: &AddressFamily) -> String {
    match found.asked_by.as_str() {
        "record" => "the node's record in the cluster".to_owned(),
        "default" if found.method == "none" => "nothing asks for one".to_owned(),
        "default" => format!("{}, as no record of this node has one", found.method),
        _ => found.method.clone(),
    }
}

/// The answer for people.
fn render(answer: &Answer, explain: bool) -> String {
    let report = report(answer);
    let dash = || "-".to_owned();
    let rows = report.families.iter().map(|family| {
        [
            family.family.to_owned(),
            family.address.clone().unwrap_or_else(dash),
            family.link.clone().unwrap_or_else(dash),
            by(family),
        ]
    });
    let mut out = table(["FAMILY", "ADDRESS", "LINK", "BY"], rows.collect());
    for family in &report.families {
        for line in family.failure.iter().chain(&family.oddity) {
            for line in wrap(&format!("{}: {line}", family.family), WIDTH) {
                let _ = writeln!(out, "{line}");
            }
        }
    }
    for family in report.families.iter().filter(|_| explain) {
        let _ = write!(
            out,
            "\n{} candidates, order {}:",
            family.family, report.order
        );
        if family.candidates.is_empty() {
            out.push_str(" none\n");
            continue;
        }
        let rows = family.candidates.iter().map(|candidate| {
            let taken = if candidate.taken { "taken" } else { "-" };
            [
                taken.to_owned(),
                candidate.link.clone(),
                candidate.address.clone(),
                candidate.why.clone(),
            ]
        });
        out.push('\n');
        out.push_str(&table(["", "LINK", "ADDRESS", "WHY"], rows.collect()));
    }
    out
}

/// A table whose last column is broken into lines where it would be too wide.
fn table(heads: [&str; 4], rows: Vec<[String; 4]>) -> String {
    let mut table = Table::new(&heads);
    let widest = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(String::as_str);
        let all = cells.chain(heads.get(column).copied());
        // Columns are two spaces apart.
        all.map(|cell| cell.chars().count() + 2).max().unwrap_or(0)
    };
    let left = WIDTH.saturating_sub((0..3).map(widest).sum()).max(20);
    for [first, second, third, last] in rows {
        let mut cells = vec![first, second, third];
        for line in wrap(&last, left) {
            cells.push(line);
            table.row(cells);
            cells = vec![String::new(); 3];
        }
    }
    let mut bytes = Vec::new();
    // Writing to memory does not fail.
    let _ = table.print(&mut bytes);
    String::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::dataplane::own_address::{Method, Order, Question, select};
    use crate::dataplane::{Address, Change, Hop, KernelRoute, KernelView, Link, Ownership, Shape};

    /// Two cards, the second one unplugged, a bridge, a VPN and a card that is down.
    fn view() -> KernelView {
        let mut view = KernelView::new(Ownership::default());
        view.dump_begins();
        let names = [
            "lo",
            "enp4s0f0np0",
            "enp4s0f1np1",
            "docker0",
            "wireguard-work",
            "eth9",
        ];
        for (index, name) in (1..).zip(names) {
            let mut link = Link::named(index, name);
            link.up = name != "eth9";
            link.lower_up = link.up && name != "enp4s0f1np1";
            view.dumped(&Change::Link(Box::new(link)));
        }
        for (interface, address, len) in [
            (1, "127.0.0.1", 8),
            (1, "::1", 128),
            (2, "10.0.0.5", 24),
            (2, "10.0.0.1", 32),
            (2, "2001:db8:ffff:eeee:dddd:cccc:bbbb:aaaa", 64),
            (2, "fe80::4a21:bff:fe11:2233", 64),
            (3, "10.5.0.5", 24),
            (4, "172.17.0.1", 16),
            (5, "10.99.0.2", 24),
            (5, "fd99::2", 64),
            (6, "10.9.0.5", 24),
        ] {
            let address: IpAddr = address.parse().unwrap();
            view.dumped(&Change::Address(Address {
                interface,
                address,
                len,
            }));
            if address.is_ipv4() && len < 32 {
                let subnet = crate::net::Prefix::new(address, len);
                view.dumped(&route(&subnet.to_string(), None, interface, Some(address)));
            }
        }
        view.dumped(&route("0.0.0.0/0", "10.0.0.254".parse().ok(), 2, None));
        view.dumped(&route("198.51.100.0/24", "10.99.0.1".parse().ok(), 5, None));
        view.dump_ends(true);
        view
    }

    fn route(prefix: &str, via: Option<IpAddr>, link: u32, source: Option<IpAddr>) -> Change {
        let hop = Hop {
            via,
            interface: Some(link),
            onlink: false,
            weight: 1,
        };
        Change::Route {
            route: KernelRoute {
                prefix: prefix.parse().unwrap(),
                table: 254,
                metric: 0,
                protocol: 2,
                shape: Arc::new(Shape::unicast([hop]).with_preferred_source(source)),
            },
            replaced: false,
        }
    }

    fn told(methods: [(Method, AskedBy); 2], order: Order) -> Answer {
        let view = view();
        let targets = ["198.51.100.7".parse().unwrap()];
        let families = [Family::Ipv4, Family::Ipv6];
        let asked = families.into_iter().zip(methods).map(|(family, asked)| {
            let (method, source) = asked;
            let question = Question {
                family,
                method: &method,
                order,
                current: &[],
                targets: &targets,
                internal_ips: &[],
            };
            let selection = select(&view, &question);
            let ask = Ask {
                family,
                method,
                source,
            };
            (ask, selection)
        });
        Answer {
            asked: asked.collect(),
            order: order.as_str(),
            notes: Vec::new(),
        }
    }

    #[test]
    fn every_candidate_is_explained_within_a_hundred_columns() {
        let method = |text: &str| Method::parse(text).unwrap();
        let configured = |text: &str| (method(text), AskedBy::Configuration);
        let literal = Method::Literal {
            address: "10.0.0.77".parse().unwrap(),
            len: None,
        };
        let long = "skip-interface=^(docker|podman|nerdctl|containerd)[0-9]+$,work$";
        for (name, answer) in [
            (
                "first-found",
                told(
                    [
                        (method("first-found"), AskedBy::Default),
                        (Method::None, AskedBy::Default),
                    ],
                    Order::Preferred,
                ),
            ),
            (
                "calico-order",
                told([configured("first-found"), configured(long)], Order::Calico),
            ),
            (
                "can-reach",
                told(
                    [
                        configured("can-reach=198.51.100.7"),
                        configured("can-reach=198.51.100.7"),
                    ],
                    Order::Preferred,
                ),
            ),
            (
                "interface",
                told(
                    [
                        configured("interface=eth.*"),
                        configured("interface=enp,wire"),
                    ],
                    Order::Preferred,
                ),
            ),
            (
                "record",
                told(
                    [(literal, AskedBy::Record), (Method::None, AskedBy::Record)],
                    Order::Preferred,
                ),
            ),
        ] {
            let got = render(&answer, true);
            let widest = got.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(WIDTH), "{name}: {widest:?}");
            let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
                .join("proto-fixtures/address")
                .join(format!("{name}.txt"));
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                std::fs::write(&path, &got).unwrap();
            }
            let want = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(got, want, "{name} differs; UPDATE_GOLDEN=1 rewrites it");
            assert!(got.starts_with(&render(&answer, false)));
        }
    }
}
