//! What the commands really print is what the published JSON Schema says, by another program's judgement.
#![expect(clippy::unwrap_used, reason = "a test that can not go on has failed")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::cli::{dunlin, pair};
use crate::folder::Folder;
use crate::lab_daemons::{Lab, root};

/// Whether there is a validator; Debian's is Python's.
fn validator() -> bool {
    let found = Command::new("python3")
        .args(["-c", "import jsonschema"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !found {
        let wanted = std::env::var_os("CI").is_some()
            || std::env::var("DUNLIN_TESTS").is_ok_and(|tests| tests == "all");
        assert!(
            !wanted,
            "python3-jsonschema is missing: apt-get install python3-jsonschema"
        );
        println!("skipped: python3-jsonschema is missing (apt-get install python3-jsonschema)");
    }
    found
}

/// What is published, and no key beside: a key that nobody wrote down is a fault here, though readers are to
/// bear with it.
fn strict() -> Value {
    let output = dunlin().arg("schema").output().unwrap();
    let mut schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    schema["unevaluatedProperties"] = json!(false);
    let branches = schema["oneOf"].as_array().unwrap().clone();
    let tagged: Vec<&str> = branches.iter().filter_map(|b| b["$ref"].as_str()).collect();
    for (name, definition) in schema["$defs"].as_object_mut().unwrap() {
        let is_tagged = tagged.contains(&format!("#/$defs/{name}").as_str());
        if definition["type"] == "object" && !is_tagged {
            definition["additionalProperties"] = json!(false);
        }
    }
    schema
}

/// Validates all at once; what the validator says, empty if all is well.
fn faults(folder: &Path, schema: &Value, answers: &[(String, Value)]) -> String {
    const JUDGE: &str = "
import json, sys, jsonschema
schema = json.load(open(sys.argv[1]))
judge = jsonschema.Draft202012Validator
judge.check_schema(schema)
for name, answer in json.load(open(sys.argv[2])):
    for error in judge(schema).iter_errors(answer):
        print(name, error.json_path, error.message[:300])
";
    let (schema_file, answers_file) = (folder.join("schema.json"), folder.join("answers.json"));
    fs::write(&schema_file, schema.to_string()).unwrap();
    fs::write(&answers_file, json!(answers).to_string()).unwrap();
    let output = Command::new("python3")
        .args(["-c", JUDGE])
        .args([&schema_file, &answers_file])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn answers(socket: &Path, commands: &[&[&str]]) -> Vec<(String, Value)> {
    let asked = commands.iter().map(|arguments| {
        let output = dunlin()
            .arg("--socket")
            .arg(socket)
            .args(*arguments)
            .args(["--output", "json"])
            .output()
            .unwrap();
        let said = serde_json::from_slice(&output.stdout);
        let said = said.unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}"));
        (arguments.join(" "), said)
    });
    asked.collect()
}

#[test]
fn every_answer_is_as_the_schema_says() {
    if !validator() {
        return;
    }
    let (folder, _port, a, b) = pair("words-schema");
    let config = folder.0.join("a.toml").display().to_string();
    let bad = folder.0.join("bad.toml");
    fs::write(&bad, "[node]\nnane = \"a\"\n").unwrap();
    let bad = bad.display().to_string();
    let mut all = answers(
        &b.socket,
        &[&["peer", "a", "shutdown", "--message", "words"]],
    );
    a.wait_for("session is down");
    all.extend(answers(
        &a.socket,
        &[
            &["status"],
            &["status", "--check"],
            &["peers"],
            &["peers", "b"],
            &["peers", "bb"],
            &["peer", "b", "reset"],
            &["routes"],
            &["routes", "10.244.0.0/26"],
            &["routes", "--peer", "b", "--sent"],
            &["routes", "nonsense"],
            &["fib"],
            &["explain", "10.244.1.5"],
            &["explain", "10.244.0.0/26"],
            &["explain", "b"],
            &["log"],
            &["log", "debug", "--peer", "b"],
            &["reload"],
            &["drain"],
            &["version"],
            &["check", "--config", &config],
            &["check", "--offline", "--config", &bad],
            &["address", "--config", &config],
        ],
    ));
    let schema = strict();
    assert_eq!(faults(&folder.0, &schema, &all), "");
    // The judge is awake: a key too much, one too few, a wrong type.
    let spoilt = |change: fn(&mut Value)| {
        let mut status = all[1].1.clone();
        change(&mut status);
        faults(&folder.0, &schema, &[("spoilt".to_owned(), status)])
    };
    assert_ne!(spoilt(|status| status["uptime"] = json!(1)), "");
    assert_ne!(
        spoilt(|status| status["problems"][0]["cod"] = json!("x")),
        ""
    );
    assert_ne!(spoilt(|status| status["uptime_s"] = json!("1")), "");
    assert_ne!(
        spoilt(|status| drop(status.as_object_mut().unwrap().remove("node"))),
        ""
    );
}

#[test]
fn answers_about_a_kernel_are_as_the_schema_says() {
    if !root() || !validator() {
        return;
    }
    let lab = Lab::start("schema");
    let folder = Folder::new("schema-of-a-lab");
    let mut all = Vec::new();
    for name in ["node-1", "router"] {
        let socket = lab.folder().join(name).join("control.sock");
        all.extend(answers(
            &socket,
            &[
                &["status"],
                &["fib"],
                &["peers"],
                &["routes"],
                &["explain", "10.244.0.1"],
                &["explain", "192.0.2.1"],
            ],
        ));
    }
    let fib = all.iter().filter(|(name, _)| name == "fib");
    let routes = fib.flat_map(|(_, fib)| fib["routes"].as_array().into_iter().flatten());
    assert!(routes.count() > 0, "no route of a kernel was looked at");
    assert_eq!(faults(&folder.0, &strict(), &all), "");
}
