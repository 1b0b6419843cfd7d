//! What scripts read: one envelope, keys of one style, codes that are words and never prose.

use serde_json::Value;

use crate::cli::{dunlin, pair};

/// Keys whose value is a word that never changes.
const CODES: &[&str] = &[
    "answer",
    "reason",
    "policy",
    "severity",
    "fate",
    "verdict",
    "encapsulation",
    "device_state",
    "origin",
    "kind",
    "backend",
    "code",
    "problem_code",
];

fn is_word(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(plain)
}

/// Every key and every code within.
fn walk(place: &str, value: &Value) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let plain = is_word(key) && !key.contains('-');
                assert!(plain, "{place}: {key:?} is not in snake_case");
                if CODES.contains(&key.as_str())
                    && let Some(text) = value.as_str()
                {
                    assert!(is_word(text), "{place}: {key} is prose: {text:?}");
                }
                walk(&format!("{place}.{key}"), value);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| walk(place, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_command_says_its_answer_in_one_envelope_with_keys_of_one_style() {
    let (folder, _port, a, _b) = pair("words-json");
    let config = folder.0.join("a.toml").display().to_string();
    let commands: &[(&[&str], &str)] = &[
        (&["status"], "status"),
        (&["peers"], "peers"),
        (&["peers", "b"], "peers"),
        (&["peers", "bb"], "failed"),
        (&["peer", "b", "refresh"], "done"),
        (&["routes"], "routes"),
        (&["routes", "10.244.0.0/26"], "routes"),
        (&["routes", "nonsense"], "failed"),
        (&["fib"], "failed"),
        (&["explain", "10.244.1.5"], "explain"),
        (&["explain", "10.244.0.0/26"], "explain"),
        (&["explain", "b"], "explain"),
        (&["explain", "192.0.2.1"], "explain"),
        (&["log"], "log"),
        (&["reload"], "reloaded"),
        (&["drain", "--undo"], "done"),
        (&["version"], "version"),
        (&["check", "--config", &config], "check"),
        (&["address", "--config", &config], "address"),
    ];
    for (arguments, answer) in commands {
        let output = dunlin()
            .arg("--socket")
            .arg(&a.socket)
            .args(*arguments)
            .args(["--output", "json"])
            .output()
            .unwrap();
        let said: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}"));
        assert_eq!(said["answer"], **answer, "{arguments:?}: {said}");
        assert_eq!(said["protocol"], 1, "{arguments:?}");
        assert_eq!(said.get("next"), None, "no paging is shown");
        walk(answer, &said);
    }
    let routes = a.json(&["routes", "10.244.0.0/26"]);
    let path = &routes["routes"][0]["paths"][0];
    assert!(
        path["policy"].is_null() && path["reason"].is_null(),
        "{path}"
    );
    assert_eq!(path["stale"], false);
}
