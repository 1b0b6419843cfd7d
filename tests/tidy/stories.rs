//! House rules of what stands outside the sources: interop stories and message fixtures.
//!
//! Nothing is run. What always holds: a story that nobody would find, or a fixture that says nothing, fails here.

use std::fs;

use super::report;
use super::source::{files, relative, root};

#[test]
fn a_story_asks_json_in_one_way() {
    // jq 1.6 says yes to `-e` where there is no input.
    let asks = |line: &str| {
        let mut words = line.split_whitespace().skip_while(|word| *word != "jq");
        words.nth(1).is_some_and(|option| {
            option.starts_with('-') && !option.starts_with("--") && option.contains('e')
        })
    };
    assert!(asks("daemon | jq -ce '.up'") && !asks("daemon | jq -r '.e'"));
    let scripts = files("interop").into_iter().filter(|path| {
        path.file_name().is_some_and(|name| name == "check")
            || path.extension().is_some_and(|kind| kind == "sh")
    });
    let mut found = Vec::new();
    for path in scripts {
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        let lines = text.lines().enumerate();
        let lines = lines.filter(|(_, line)| !line.trim_start().starts_with('#') && asks(line));
        found.extend(lines.map(|(at, _)| {
            let place = format!("{}:{}", relative(&path), at + 1);
            format!("{place} ask by is_true (interop/json.sh)")
        }));
    }
    report("a story asks of JSON by is_true", &found);
}

#[test]
fn every_story_has_its_place() {
    let text = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let run = text("interop/run");
    let order = run.split("ORDER=\"").nth(1).unwrap();
    let order: Vec<_> = order
        .split('"')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let matrix = text("interop/README.md");
    let mut found = Vec::new();
    for check in files("interop") {
        let folder = check.parent().unwrap();
        let story = folder.file_name().unwrap().to_string_lossy().into_owned();
        // The containers' story runs when it is named, and against no peer of this machine.
        if !check.ends_with("check") || story == "containers" {
            continue;
        }
        let at = relative(&check);
        if !order.contains(&&*story) {
            found.push(format!("{at}:1 give it a place in ORDER of interop/run"));
        }
        if !folder.join("README.md").exists() {
            found.push(format!("{at}:1 say in a README.md what it proves"));
        }
        let elsewhere = text(&at).contains("\n# kernel: ");
        if !elsewhere && !matrix.contains(&format!("\n| [{story}]({story}/README.md) |")) {
            found.push(format!("{at}:1 run interop/run --matrix"));
        }
    }
    report("each story is listed and explained", &found);
}

#[test]
fn every_message_fixture_has_its_meaning() {
    let fixtures = files("proto-fixtures");
    let mut found = Vec::new();
    let mut messages = 0;
    for path in &fixtures {
        let (other, what) = match path.extension().and_then(|e| e.to_str()) {
            Some("hex") => ("expect", "write what it must decode to"),
            Some("expect") => ("hex", "the message is missing"),
            _ => continue,
        };
        messages += 1;
        if !fixtures.contains(&path.with_extension(other)) {
            found.push(format!("{}:1 has no .{other}: {what}", relative(path)));
        }
    }
    assert!(messages > 100, "only {messages} fixtures were found");
    report("a fixture is a .hex and an .expect", &found);
}
