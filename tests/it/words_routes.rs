//! `dunlin routes` from a peer's side, and what it takes and refuses.

use serde_json::Value;

use crate::cli::{Daemon, pair};

fn prefixes(said: &Value) -> Vec<&str> {
    let routes = said["routes"].as_array().unwrap().iter();
    routes
        .map(|route| route["prefix"].as_str().unwrap())
        .collect()
}

fn refused(daemon: &Daemon, arguments: &[&str]) -> (Option<i32>, String) {
    let output = daemon.ask(arguments);
    assert!(output.stdout.is_empty(), "{output:?}");
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn routes_are_shown_as_a_peer_has_them() {
    // The other node's next hop is a loopback address, so that its one route was treated as withdrawn.
    let (_folder, _port, a, _b) = pair("words-routes");
    let sent = a.json(&["routes", "--peer", "b", "--sent"]);
    assert_eq!(sent["view"], "sent");
    assert_eq!(sent["peer"], "b");
    assert_eq!(prefixes(&sent), ["10.244.0.0/26"]);
    let route = &sent["routes"][0];
    assert_eq!(route["paths"][0]["peer"], "local");
    assert_eq!(route["paths"][0]["next_hop"], "127.0.0.1");
    assert_eq!(route["paths"][0]["policy"], "default");
    assert_eq!(route["paths"][0]["pending"], false);
    assert!(route["changed_ago_s"].as_u64().unwrap() < 600);
    let one = a.json(&["routes", "10.244.0.0/26", "--peer", "b", "--sent"]);
    assert_eq!(prefixes(&one), ["10.244.0.0/26"]);
    let received = a.json(&["routes", "--peer", "b"]);
    assert_eq!(received["view"], "received");
    assert_eq!(prefixes(&received), [""; 0]);
    let table = a.says(&["routes"]);
    assert!(
        table.contains("AGE since the prefix has the paths in use that it has"),
        "{table}"
    );
}

#[test]
fn routes_are_narrowed_and_wrong_questions_are_said_to_be() {
    let (_folder, _port, a, _b) = pair("words-narrowed");
    for (arguments, found) in [
        (&["routes", "10.244.0.0/16", "--longer"][..], 1),
        (&["routes", "10.245.0.0/16", "--longer"][..], 0),
        (&["routes", "fd00::/8", "--longer"][..], 0),
        (&["routes", "--community", "no-export"][..], 0),
    ] {
        assert_eq!(prefixes(&a.json(arguments)).len(), found, "{arguments:?}");
    }
    for (arguments, code, word) in [
        (&["routes", "--peer", "bb"][..], 4, "did you mean \"b\"?"),
        (&["routes", "--sent"][..], 2, "--peer"),
        (&["routes", "--longer"][..], 2, "PREFIX"),
        (
            &["routes", "--peer", "b", "--sent", "--accepted"][..],
            2,
            "cannot be used",
        ),
        (&["routes", "--community", "65000"][..], 2, "65000"),
        (&["routes", "10.244.0.1", "--longer"][..], 2, "10.244.0.1"),
        (
            &["routes", "10.244.0.0/26", "--community", "1:2"][..],
            4,
            "with the community 1:2",
        ),
        (&["routes", "10.244.1.0/26", "--peer", "b"][..], 4, "from b"),
    ] {
        let (status, words) = refused(&a, arguments);
        assert_eq!(status, Some(code), "{arguments:?}: {words}");
        assert!(words.contains(word), "{arguments:?}: {words}");
    }
}
