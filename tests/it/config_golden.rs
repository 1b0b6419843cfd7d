//! Cluster files and `dunlin.toml` against what must become of them, in `proto-fixtures/intent/`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dunlin::daemon::config::{
    self, AddressChoice, Backend, Configured, OwnAddresses, Surroundings,
};
use dunlin::dataplane::own_address::Method;
use dunlin::datastore::{Loaded, Problems, read_cluster};
use dunlin::net::{Prefix, RouterId};
use dunlin::topology::{
    Dial, FelixSettings, NatExclusions, Plan, PlannedPeer, PoolMode, TunnelAddresses, plan,
};

#[test]
fn cluster_files_become_these_plans() {
    for folder in ["mesh", "peers"] {
        golden(folder, "plan", |name, text| {
            let Loaded { intent, warnings } = read_cluster(&[(name, text)]).unwrap();
            let mut out = lines(&warnings);
            for node in &intent.nodes {
                out.push_str(&render(&plan(&intent, &node.name).unwrap()));
            }
            out
        });
    }
}

#[test]
fn wrong_cluster_files_get_every_line_at_once() {
    for folder in ["invalid", "yaml-invalid"] {
        golden(folder, "problems", |name, text| {
            lines(&read_cluster(&[(name, text)]).unwrap_err())
        });
    }
}

#[test]
fn node_files_become_these_configurations() {
    golden("node", "config", |name, text| {
        let configured = config::parse(&name, &text, &surroundings()).unwrap();
        format!("{}{:#?}\n", lines(&configured.warnings), configured.config)
    });
}

#[test]
fn wrong_node_files_get_every_line_at_once() {
    golden("node-invalid", "problems", |name, text| {
        lines(&config::parse(&name, &text, &surroundings()).unwrap_err())
    });
}

#[test]
fn duplicates_in_two_files_name_both_places() {
    let node = "[bgp]\nas-number = 64512\n[[node]]\nname = \"a\"\nipv4-address = \"10.0.0.1/24\"\n";
    let files = [
        ("1.toml".into(), node.to_owned()),
        ("2.toml".into(), node.to_owned()),
    ];
    let problems = read_cluster(&files).unwrap_err();
    assert_eq!(
        lines(&problems),
        "2.toml:1:1: [bgp] is already at 1.toml:1:1; keep one of them\n\
         2.toml:4:8: node a is already taken at 1.toml:4:8\n\
         2.toml:5:16: address 10.0.0.1 is already taken at 1.toml:5:16\n"
    );
}

#[test]
fn a_table_that_can_not_be_read_spares_what_refers_to_it() {
    let text = "[[ip-pool]]\ncidr = \"nonsense\"\n[[node]]\nname = \"a\"\n\
                ipv4-address = \"10.0.0.1/24\"\nblocks = [\"10.244.0.0/26\"]\n";
    let problems = read_cluster(&[("c.toml".into(), text.to_owned())]).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems}");
}

#[test]
fn no_text_panics_whatever_is_cut_or_changed() {
    let folder = root().join("peers/reference.toml");
    let text = fs::read_to_string(folder).unwrap();
    let name: Arc<str> = "c.toml".into();
    let mut outcomes = BTreeSet::new();
    for (at, _) in text.char_indices().step_by(23) {
        let cut = text.get(..at).unwrap().to_owned();
        outcomes.insert(read_cluster(&[(Arc::clone(&name), cut)]).is_ok());
        for replacement in ["\"", "[", "9", "\u{0}", "ö"] {
            let changed = format!("{}{replacement}{}", &text[..at], &text[at + 1..]);
            outcomes.insert(read_cluster(&[(Arc::clone(&name), changed)]).is_ok());
        }
    }
    assert_eq!(outcomes.len(), 2, "some are still fine, some are not");
}

#[test]
fn nesting_without_end_is_refused_and_the_stack_survives() {
    let deep = 100_000;
    for text in [
        format!("x = {}", "[".repeat(deep)),
        format!("x = {}", "{a=".repeat(deep)),
        format!("x = {}1{}", "[".repeat(deep), "]".repeat(deep)),
        format!("{}a = 1", "a.".repeat(deep)),
        format!("[{}a]", "a.".repeat(deep)),
    ] {
        let head: String = text.chars().take(20).collect();
        assert!(read_cluster(&[("c.toml".into(), text)]).is_err(), "{head}");
    }
}

#[test]
fn timers_are_judged_with_those_that_they_inherit() {
    let read = |bgp: &str, peer: &str| {
        let text = format!(
            "[bgp]\n{bgp}\n[[bgp-peer]]\nname = \"p\"\npeer-ip = \"10.0.0.9\"\n\
             as-number = 1\n{peer}\n[[node]]\nname = \"a\"\nipv4-address = \"10.0.0.1/24\""
        );
        let loaded = read_cluster(&[("c.toml".into(), text)])?;
        let peer = plan(&loaded.intent, "a").unwrap().peers.remove(0);
        Ok::<_, Problems>((peer.open.hold_time, peer.open.keepalive_time))
    };
    assert_eq!(read("", ""), Ok((90, None)));
    assert_eq!(
        read("hold-time = 30\nkeepalive-time = 10", ""),
        Ok((30, Some(10)))
    );
    assert_eq!(read("keepalive-time = 10", "hold-time = 9"), Ok((9, None)));
    assert_eq!(
        read("hold-time = 30", "keepalive-time = 5"),
        Ok((30, Some(5)))
    );
    assert!(read("hold-time = 30", "keepalive-time = 40").is_err());
    assert!(read("", "keepalive-time = 90").is_err());
    assert!(read("keepalive-time = 90", "").is_err());
}

#[test]
fn tunnels_and_nat_reach_the_intent() {
    let text = fs::read_to_string(root().join("peers/reference.toml")).unwrap();
    let intent = read_cluster(&[("c.toml".into(), text)]).unwrap().intent;
    let modes: Vec<_> = intent
        .pools
        .iter()
        .map(|pool| (pool.ipip_mode, pool.vxlan_mode, pool.nat_outgoing))
        .collect();
    assert_eq!(
        modes,
        [
            (PoolMode::CrossSubnet, PoolMode::Never, true),
            (PoolMode::Never, PoolMode::Always, false)
        ]
    );
    let node = &intent.nodes[0];
    assert_eq!(
        node.tunnels,
        TunnelAddresses {
            ipip_v4: "10.244.0.1".parse().ok(),
            ipip_v6: "fd00:244::1".parse().ok(),
            vxlan_v4: "10.244.0.2".parse().ok(),
            vxlan_v6: "fd00:244::2".parse().ok(),
            vxlan_mac_v4: "66:3f:bd:27:5e:a2".parse().ok(),
            vxlan_mac_v6: "66:3f:bd:27:5e:a3".parse().ok(),
        }
    );
    assert_eq!(node.internal_ips, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
    let felix = FelixSettings {
        nat_port_range: Some((30000, 40000)),
        nat_outgoing_address: "10.0.0.9".parse().ok(),
        nat_outgoing_interface_filter: Some("eth+".to_owned()),
        ..FelixSettings::default()
    };
    assert_eq!(intent.felix, felix);
}

#[test]
fn felix_settings_are_read_in_all_their_spellings() {
    let felix = |text: &str| {
        let text = format!("[felix]\n{text}");
        read_cluster(&[("c.toml".into(), text)])
            .unwrap()
            .intent
            .felix
    };
    let all = felix(
        "ipipMTU = 1400\nvxlanMTU = 1410\nvxlanMTUV6 = 1390\nvxlanPort = 8472\nvxlanVNI = 1\n\
         natPortRange = 2000\nnatOutgoingExclusions = \"IPPoolsAndHostIPs\"\n\
         natOutgoingAddress = \"fd00::9\"\niptablesNATOutgoingInterfaceFilter = \"eth0\"\n\
         featureDetectOverride = \"SNATFullyRandom=true, ChecksumOffloadBroken=false\"\n\
         allowBGPPacketsFromWorkloads = true\nallowVXLANPacketsFromWorkloads = true\n\
         allowIPIPPacketsFromWorkloads = false\nipipEnabled = false\nprogramClusterRoutes = \"Enabled\"",
    );
    let expected = FelixSettings {
        ipip_mtu: Some(1400),
        vxlan_mtu: Some(1410),
        vxlan_mtu_v6: Some(1390),
        vxlan_port: 8472,
        vxlan_vni: 1,
        checksum_offload_broken: false,
        nat_port_range: Some((2000, 2000)),
        nat_outgoing_address: "fd00::9".parse().ok(),
        nat_outgoing_exclusions: NatExclusions::IpPoolsAndHostIps,
        nat_outgoing_interface_filter: Some("eth0".to_owned()),
        allow_bgp_from_workloads: true,
        allow_ipip_from_workloads: false,
        allow_vxlan_from_workloads: true,
    };
    assert_eq!(all, expected);
    assert_eq!(felix("ipip-mtu = 0"), FelixSettings::default());
    assert_eq!(
        felix("nat-port-range = \"2000:2000\"").nat_port_range,
        Some((2000, 2000))
    );
}

#[test]
fn the_node_file_overrides_its_own_record_and_says_so() {
    let cluster = "[[node]]\nname = \"host\"\nipv4-address = \"10.0.0.1/24\"\n\
                   ipv6-address = \"fd00::1/64\"\n";
    let loaded = read_cluster(&[("c.toml".into(), cluster.to_owned())]).unwrap();
    let parse = |text: &str| {
        config::parse(&"d.toml".into(), text, &surroundings())
            .unwrap()
            .config
    };

    let mut untouched = loaded.intent.clone();
    let own = OwnAddresses {
        ipv4: "10.0.0.1/24".parse().ok(),
        ipv6: "fd00::1/64".parse().ok(),
    };
    assert_eq!(parse("").overlay(&mut untouched, own), Vec::<String>::new());
    assert_eq!(untouched, loaded.intent);

    let mut changed = loaded.intent;
    let text = "node = { router-id = \"1.2.3.4\" }";
    let own = OwnAddresses {
        ipv4: "10.0.0.9/24".parse().ok(),
        ipv6: None,
    };
    assert_eq!(parse(text).overlay(&mut changed, own).len(), 2);
    let plan = plan(&changed, "host").unwrap();
    assert_eq!(plan.ipv4.unwrap().to_string(), "10.0.0.9/24");
    assert_eq!(plan.ipv6, None);
    assert_eq!(plan.router_id.to_string(), "1.2.3.4");
}

#[test]
fn the_environment_speaks_where_the_file_is_silent() {
    for (word, backend) in [
        ("bird", Backend::Bgp),
        ("vxlan", Backend::Vxlan),
        ("none", Backend::None),
        ("", Backend::Bgp),
    ] {
        let read = with_variables("", &[("CALICO_NETWORKING_BACKEND", word)]).unwrap();
        assert_eq!(read.config.routing.backend, backend, "{word}");
        assert_eq!(read.from_environment.len(), usize::from(!word.is_empty()));
    }
    let file = "routing = { backend = \"bgp\" }";
    let read = with_variables(file, &[("CALICO_NETWORKING_BACKEND", "vxlan")]).unwrap();
    assert_eq!(read.config.routing.backend, Backend::Bgp);
    assert_eq!(read.from_environment, [""; 0]);
    let wrong = with_variables("", &[("CALICO_NETWORKING_BACKEND", "vxlam")]).unwrap_err();
    assert_eq!(
        lines(&wrong),
        "environment variable CALICO_NETWORKING_BACKEND: expected \"bgp\", \"vxlan\", \"none\" or \
         \"bird\", found the string \"vxlam\"; did you mean \"vxlan\"?\n"
    );
}

#[test]
fn calicos_variables_say_how_the_address_is_found() {
    let method = |text: &str| Method::parse(text).unwrap();
    let record = |otherwise: Method| AddressChoice::FromCluster { otherwise };
    let eth = ("IP_AUTODETECTION_METHOD", "interface=eth.*");
    let eth6 = ("IP6_AUTODETECTION_METHOD", "interface=eth.*");
    for (file, variables, ipv4, ipv6, used) in [
        (
            "",
            vec![],
            record(Method::FirstFound),
            record(Method::None),
            0,
        ),
        // The record goes first, and IPv6 is looked for on request only.
        (
            "",
            vec![eth, eth6],
            record(method("interface=eth.*")),
            record(Method::None),
            1,
        ),
        (
            "",
            vec![("IP", "autodetect"), eth, ("IP6", "autodetect"), eth6],
            AddressChoice::Found(method("interface=eth.*")),
            AddressChoice::Found(method("interface=eth.*")),
            4,
        ),
        (
            "",
            vec![("IP", "none"), eth, ("IP6", "autodetect")],
            AddressChoice::Found(Method::None),
            AddressChoice::Found(Method::FirstFound),
            2,
        ),
        (
            "node = { ipv4 = \"first-found\" }",
            vec![("IP", "10.0.0.1"), eth],
            AddressChoice::Found(Method::FirstFound),
            record(Method::None),
            0,
        ),
    ] {
        let read = with_variables(file, &variables).unwrap();
        let (node, from) = (read.config.node, read.from_environment);
        assert_eq!(
            (node.ipv4, node.ipv6, from.len()),
            (ipv4, ipv6, used),
            "{variables:?}"
        );
    }
    let id = |text: &str| {
        with_variables("", &[("CALICO_ROUTER_ID", text)])
            .unwrap()
            .config
            .node
    };
    assert_eq!(id("hash").router_id, Some(RouterId::from_name("host")));
    assert_eq!(id("10.0.0.7").router_id, "10.0.0.7".parse().ok());
    assert_eq!(
        with_variables("", &[("NODENAME", "n7")])
            .unwrap()
            .config
            .node
            .name,
        "n7"
    );
    let wrong = with_variables("", &[("IP_AUTODETECTION_METHOD", "10.0.0.1")]).unwrap_err();
    assert!(
        lines(&wrong).contains("expected first-found, can-reach="),
        "{wrong}"
    );
}

fn with_variables(file: &str, variables: &[(&str, &str)]) -> Result<Configured, Problems> {
    let pair = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    let surroundings = Surroundings {
        environment: variables.iter().map(pair).collect(),
        ..surroundings()
    };
    config::parse(&"d.toml".into(), file, &surroundings)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("proto-fixtures/intent")
}

fn surroundings() -> Surroundings {
    Surroundings {
        host_name: "host".into(),
        folder: "/etc/dunlin".into(),
        environment: Default::default(),
    }
}

fn lines(problems: &Problems) -> String {
    problems
        .iter()
        .fold(String::new(), |out, problem| format!("{out}{problem}\n"))
}

/// Compares what `read` makes of each `.toml` and `.yaml` of a folder with the file beside it.
fn golden(folder: &str, extension: &str, read: impl Fn(Arc<str>, String) -> String) {
    let mut files: Vec<PathBuf> = fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "toml" || e == "yaml"));
    files.sort();
    assert!(!files.is_empty(), "no fixtures in {folder}");
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap().into();
        let got = read(name, fs::read_to_string(&path).unwrap());
        let expected = path.with_extension(extension);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&expected, &got).unwrap();
        }
        let want = fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(
            got,
            want,
            "{} differs; UPDATE_GOLDEN=1 rewrites it",
            expected.display()
        );
    }
}

fn render(plan: &Plan) -> String {
    let mut out = String::new();
    let show = |name: &str, list: &[Prefix]| {
        let list: Vec<String> = list.iter().map(ToString::to_string).collect();
        format!(
            "  {name} {}\n",
            if list.is_empty() {
                "-".to_owned()
            } else {
                list.join(" ")
            }
        )
    };
    let address = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    writeln!(
        out,
        "\n{} as {} id {} v4 {} v6 {} port {} mesh {}",
        plan.name,
        plan.asn,
        plan.router_id,
        address(plan.ipv4.map(|n| n.to_string())),
        address(plan.ipv6.map(|n| n.to_string())),
        plan.listen_port,
        plan.mesh
    )
    .unwrap();
    out.push_str(&show("pools", &plan.pools));
    out.push_str(&show("own-blocks", &plan.own_blocks));
    out.push_str(&show("originate", &plan.originate));
    for peer in &plan.peers {
        out.push_str(&render_peer(peer));
    }
    out
}

fn render_peer(peer: &PlannedPeer) -> String {
    let dial = match peer.dial {
        Dial::Active => "active".to_owned(),
        Dial::Passive => "passive".to_owned(),
        Dial::After(wait) => format!("after {}s", wait.as_secs()),
    };
    let families: Vec<String> = peer.open.families.iter().map(|f| f.to_string()).collect();
    let or_default = |number: Option<u32>| number.map_or("-".to_owned(), |n| n.to_string());
    format!(
        "  peer {} {:?} {} port {} as {} local-as {} from {} {dial}\n    \
         hold {} keepalive {} retry {}ms {} as4 {} extended {} restart {}\n    \
         ttl {:?} import {:?} export {:?} next-hop {:?} max {} \
         enforce-first-as {}\n",
        peer.name,
        peer.kind,
        peer.address,
        peer.port,
        peer.remote_asn,
        peer.local_asn,
        peer.source_address
            .map_or("-".to_owned(), |a| a.to_string()),
        peer.open.hold_time,
        or_default(peer.open.keepalive_time.map(u32::from)),
        peer.connect_retry.as_millis(),
        families.join("+"),
        peer.open.four_octet_as,
        peer.open.extended_messages,
        peer.open.restart.time,
        peer.ttl,
        peer.policy.import,
        peer.policy.export,
        peer.policy.next_hop,
        or_default(peer.policy.limit.max),
        peer.policy.enforce_first_as,
    )
}
