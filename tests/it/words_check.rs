//! `check` finds what `run` would stumble over, on this host, too; and `run` obeys the command line.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::cli::{cluster, dunlin, free_port};
use crate::dataplane_netns::{in_namespace, ip};
use crate::folder::Folder;

fn check(config: &Path, more: &[&str]) -> (i32, serde_json::Value) {
    let output = dunlin()
        .args(["check", "--output", "json", "--config"])
        .arg(config)
        .args(more)
        .output()
        .unwrap();
    let said = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.status.code().unwrap(), said)
}

fn run(config: &Path) -> Output {
    let mut command = dunlin();
    command.args(["run", "--config"]).arg(config);
    command.stdout(Stdio::null()).output().unwrap()
}

/// A node's file with one more section; the control socket is in the folder unless that says otherwise.
fn file(folder: &Folder, section: &str) -> std::path::PathBuf {
    let socket = if section.contains("[control]") {
        String::new()
    } else {
        format!(
            "[control]\nsocket = \"{}\"\n",
            folder.path("d.sock").display()
        )
    };
    folder.write(
        "dunlin.toml",
        &format!("[node]\nname = \"a\"\n[datastore]\npath = \"cluster.toml\"\n{socket}{section}\n"),
    )
}

#[test]
fn what_run_fails_on_check_finds_and_offline_leaves_to_the_host() {
    let folder = Folder::new("words-check");
    folder.write("cluster.toml", &cluster(free_port(), ""));
    fs::write(folder.path("plain"), "").unwrap();
    let long = "x".repeat(108);
    let quiet = "[routing]\nkernel-routes = false\n";
    let others = ["127.0.0.1:0", "[::1]:0"].map(|address| TcpListener::bind(address).unwrap());
    let [taken, taken6] = others.each_ref().map(|other| other.local_addr().unwrap());
    let cases = [
        (
            format!(
                "{quiet}[control]\ngroup = \"no-such-group\"\nsocket = \"{}\"",
                folder.path("d.sock").display()
            ),
            "no group named \"no-such-group\"",
        ),
        (
            format!(
                "{quiet}[control]\nsocket = \"{}/plain/d.sock\"",
                folder.0.display()
            ),
            "is no folder",
        ),
        (
            format!("{quiet}[control]\nsocket = \"/{long}\""),
            "at most 107 octets",
        ),
        (
            format!("{quiet}[bgp]\nlisten = [\"{taken}\"]"),
            "another program does",
        ),
        (
            format!("{quiet}[bgp]\nlisten = [\"{taken6}\"]"),
            "another program does",
        ),
    ];
    for (section, words) in cases {
        let config = file(&folder, &section);
        let (code, said) = check(&config, &[]);
        assert_eq!(
            (code, &said["good"]),
            (5, &false.into()),
            "{section}: {said}"
        );
        let remark = &said["remarks"][0];
        assert_eq!(remark["severity"], "error");
        assert!(remark["text"].as_str().unwrap().contains(words), "{said}");
        let (code, said) = check(&config, &["--offline"]);
        assert_eq!(
            (code, &said["good"]),
            (0, &true.into()),
            "{section}: {said}"
        );
        let failed = run(&config);
        assert_eq!(
            failed.status.code(),
            Some(1),
            "{section}: run fails, too: {failed:?}"
        );
    }
}

#[test]
fn what_this_host_only_may_lack_is_a_warning() {
    let folder = Folder::new("words-check-warning");
    folder.write("cluster.toml", &cluster(free_port(), ""));
    let quiet = "[routing]\nkernel-routes = false\n";
    for address in ["192.0.2.77:0", "[2001:db8::77]:0"] {
        let section = format!("{quiet}[bgp]\nlisten = [\"{address}\"]");
        let (code, said) = check(&file(&folder, &section), &[]);
        assert_eq!(
            (code, &said["remarks"][0]["severity"]),
            (0, &"warning".into()),
            "{said}"
        );
        assert!(
            said["remarks"][0]["text"]
                .as_str()
                .unwrap()
                .contains(address)
        );
    }
    let (code, said) = check(&file(&folder, quiet), &[]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(said["node"]["name"], "a");
    assert_eq!(said["answer"], "check");
    assert_eq!(said["protocol"], 1);
}

#[test]
fn an_own_address_on_no_link_is_a_warning() {
    let folder = Folder::new("words-check-record");
    let text = cluster(free_port(), "");
    let quiet = "[routing]\nkernel-routes = false\n";
    for (address, warned) in [("192.0.2.77/24", true), ("127.0.0.1/8", false)] {
        folder.write("cluster.toml", &text.replace("127.0.0.1/8", address));
        let config = file(&folder, quiet);
        let (code, said) = check(&config, &[]);
        assert_eq!(code, 0, "{said}");
        let remarks = said["remarks"].to_string();
        let named = remarks.contains("no link has 192.0.2.77, the node's own address");
        assert_eq!(named, warned, "{said}");
        let (_, said) = check(&config, &["--offline"]);
        assert_eq!(said["remarks"], serde_json::json!([]), "{said}");
    }
}

#[test]
fn an_address_that_this_host_lacks_is_an_error_for_check_as_for_run() {
    in_namespace(|| {
        let folder = Folder::new("words-check-own");
        let text = cluster(free_port(), "");
        folder.write(
            "cluster.toml",
            &text.replace("ipv4-address = \"127.0.0.1/8\"\n", ""),
        );
        let section = |method: &str| format!("[routing]\nkernel-routes = false\n#{method}");
        let with = |method: &str| {
            let config = file(&folder, &section(method));
            let text = fs::read_to_string(&config).unwrap();
            let text = text.replace(
                "name = \"a\"",
                &format!("name = \"a\"\nipv4 = \"{method}\""),
            );
            fs::write(&config, text).unwrap();
            config
        };
        let lacking = with("interface=nowhere0");
        let (code, said) = check(&lacking, &[]);
        assert_eq!(code, 5, "{said}");
        let text = said["remarks"].to_string();
        assert!(
            text.contains("on this host") && text.contains("nowhere0"),
            "{text}"
        );
        assert_eq!(check(&lacking, &["--offline"]).0, 0);
        assert_eq!(run(&lacking).status.code(), Some(5));
        let (code, said) = check(&with("interface=v0"), &[]);
        assert_eq!(code, 0, "{said}");
    });
}

#[test]
fn a_kernel_without_the_driver_of_a_pool_is_found_by_asking_it() {
    in_namespace(|| {
        let folder = Folder::new("words-check-driver");
        for (mode, device, kind) in [
            ("ipip-mode = \"Always\"", "tunl0", "ipip"),
            ("vxlan-mode = \"Always\"", "vxlan.calico", "vxlan"),
        ] {
            let text = cluster(free_port(), "");
            let text = text.replace(
                "cidr = \"10.244.0.0/16\"",
                &format!("cidr = \"10.244.0.0/16\"\n{mode}"),
            );
            folder.write("cluster.toml", &text);
            let made = Command::new("ip")
                .args(["link", "add", "probe0", "type", kind])
                .args(if kind == "vxlan" {
                    &["id", "7", "dstport", "7"][..]
                } else {
                    &[][..]
                })
                .output()
                .unwrap();
            let has_driver = made.status.success()
                || !String::from_utf8_lossy(&made.stderr).contains("Unknown device type");
            let names = || -> Vec<String> {
                let links = ip("-o link show");
                let name = |line: &str| line.split(": ").nth(1).map(str::to_owned);
                links.lines().filter_map(name).collect()
            };
            let before = names();
            let (code, said) = check(&file(&folder, ""), &[]);
            let text = said["remarks"].to_string();
            let complains =
                text.contains(&format!("{device}: the kernel has no driver for {kind}"));
            assert_eq!(complains, !has_driver, "{kind}: {said}");
            assert_eq!(code, if has_driver { 0 } else { 5 }, "{said}");
            assert_eq!(names(), before, "nothing is left behind");
            assert_eq!(check(&file(&folder, ""), &["--offline"]).0, 0);
        }
    });
}

#[test]
fn places_are_fields_and_all_of_them_are_there() {
    let folder = Folder::new("words-check-places");
    folder.write(
        "cluster.toml",
        "[bgp]\nas-nubmer = 1\nlisten-port = 99999\n",
    );
    let (code, said) = check(&file(&folder, ""), &["--offline"]);
    assert_eq!(code, 5);
    let remarks = said["remarks"].as_array().unwrap();
    let of = |line: u64| remarks.iter().find(|remark| remark["line"] == line);
    let first = of(2).unwrap_or_else(|| panic!("{said}"));
    assert_eq!(first["column"], 1);
    assert!(first["file"].as_str().unwrap().ends_with("cluster.toml"));
    assert!(first["text"].as_str().unwrap().contains("as-number"));
    assert_eq!(first["severity"], "error");
    assert!(of(3).is_some(), "all problems are said at once: {said}");
    assert!(said["node"].is_null());
}

#[test]
fn a_text_with_endless_faults_is_so_many_lines_and_a_count() {
    let folder = Folder::new("words-check-endless");
    let faults = "[[node]]\nnmae = \"a\"\n".repeat(600);
    folder.write("cluster.toml", &faults);
    let config = file(&folder, "");
    let (code, said) = check(&config, &["--offline"]);
    assert_eq!(code, 5);
    let remarks = said["remarks"].as_array().unwrap();
    assert_eq!(remarks.len(), 501);
    let last = remarks.last().unwrap();
    // Each has a key that is not known and lacks the one that is needed.
    assert_eq!(last["text"], "and 700 more errors");
    let failed = run(&config);
    assert_eq!(failed.status.code(), Some(5));
    let log = String::from_utf8(failed.stderr).unwrap();
    assert!(log.contains("and 700 more errors"), "{log}");
}
