//! Every file of `proto-fixtures`: the bytes get the reaction that the file asks for, and the text
//! that stands beside it. `UPDATE_GOLDEN=1` writes the texts anew; the reactions are never rewritten.

use std::collections::BTreeSet;

use dunlin::wire::frame::{self, MessageKind};
use dunlin::wire::open::Open;
use dunlin::wire::route_refresh::RouteRefresh;

use crate::wire_text::{Fixture, fixtures, folder, outcome};

#[test]
fn every_fixture_is_decoded_into_the_text_beside_it_and_gets_its_reaction() {
    let rewrite = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for fixture in fixtures() {
        let outcome = outcome(&fixture.bytes, &fixture.ctx, fixture.max);
        if outcome.reaction != fixture.must {
            wrong.push(format!(
                "{}: {} instead of {}\n{}",
                fixture.name(),
                outcome.reaction,
                fixture.must,
                outcome.text
            ));
        }
        let expected = fixture.path.with_extension("expect");
        let text = format!("{}reaction: {}\n", outcome.text, outcome.reaction);
        if rewrite {
            std::fs::write(&expected, &text).unwrap();
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != text {
            wrong.push(format!(
                "{}: the text differs, now:\n{text}",
                fixture.name()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_fixture_says_where_it_comes_from_and_has_no_orphan_text() {
    let all = fixtures();
    let hex: BTreeSet<_> = all
        .iter()
        .map(|f| f.path.with_extension("expect"))
        .collect();
    for fixture in &all {
        assert!(
            fixture.provenance.is_some(),
            "{}: no provenance",
            fixture.name()
        );
        assert!(!fixture.must.is_empty(), "{}: no must", fixture.name());
        if !fixture.is_bad() {
            assert_eq!(fixture.must, "accept", "{}: not a good one", fixture.name());
        }
    }
    let mut folders = vec![folder()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // What the kernel says has a test of its own (`dataplane_replies`).
            if path.ends_with("netlink") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "expect") {
                assert!(
                    hex.contains(&path),
                    "{}: no bytes beside it",
                    path.display()
                );
            }
        }
    }
}

/// The subject of a fixture is the first word of its name.
fn subject(fixture: &Fixture) -> (String, String) {
    let kind = fixture
        .path
        .parent()
        .unwrap()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap();
    let stem = fixture.path.file_stem().unwrap().to_str().unwrap();
    (kind.to_owned(), stem.split('-').next().unwrap().to_owned())
}

#[test]
fn every_bad_fixture_has_a_good_one_on_the_same_subject() {
    let all = fixtures();
    let good: BTreeSet<_> = all.iter().filter(|f| !f.is_bad()).map(subject).collect();
    for fixture in all.iter().filter(|f| f.is_bad()) {
        assert!(
            good.contains(&subject(fixture)),
            "{}: no good one",
            fixture.name()
        );
    }
}

#[test]
fn decoded_opens_and_refreshes_come_back_from_their_own_encoding() {
    for fixture in fixtures().iter().filter(|f| f.must == "accept") {
        let Some((kind, body)) = frame::messages(&fixture.bytes).next() else {
            continue;
        };
        match kind {
            MessageKind::Open => {
                let open = Open::decode(body).unwrap();
                let again = open.encode();
                let (_, body) = frame::messages(&again).next().unwrap();
                // Undefined add-path modes are dropped when decoded, everything else survives.
                assert_eq!(Open::decode(body).unwrap(), open, "{}", fixture.name());
            }
            MessageKind::RouteRefresh => {
                let refresh = RouteRefresh::decode(body).unwrap();
                let again = refresh.encode();
                assert_eq!(again[19..], body[..4], "{}", fixture.name());
            }
            MessageKind::Update | MessageKind::Notification | MessageKind::Keepalive => {}
        }
    }
}
