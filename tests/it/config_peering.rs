//! Peering resources from file to intent: verbatim YAML and TOML alike, filters, communities, secrets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use dunlin::datastore::{Loaded, Problems, SecretFile, Secrets, read_cluster_with};
use dunlin::net::{Asn, Community, Family, Role, Secret};
use dunlin::policy::{Action, Direction, MatchOperator, Operation, PeerType, PrefixMatch};
use dunlin::topology::{
    AoAlgorithm, AoKey, Authentication, BfdAuthentication, BfdKey, BfdTerms, BindMode, FarEnd,
    Intent, LimitAction, MAX_PATHS, NextHopMode, Peer, PrefixAdvertisement, RoleTerms,
    SourceAddress, TtlRule,
};

/// A reader of secrets that there are: each path with its text and mode.
fn with(name: &str, text: &str, files: &[(&str, &str, u32)]) -> Result<Loaded, Problems> {
    let read = |path: &Path| {
        let found = files.iter().find(|(name, ..)| Path::new(name) == path);
        let (_, text, mode) = found.ok_or(io::ErrorKind::NotFound)?;
        Ok(SecretFile {
            octets: text.as_bytes().to_vec().into(),
            mode: 0o100_000 | mode,
        })
    };
    let secrets = Secrets {
        folder: Path::new("/secrets"),
        read: &read,
    };
    read_cluster_with(&[(name.into(), text.to_owned())], secrets)
}

const SECRETS: [(&str, &str, u32); 2] = [
    ("/secrets/bgp-secrets/mesh", "of the mesh\n", 0o400),
    ("/secrets/bgp-secrets/tor", "of the tor", 0o600),
];

fn fixture(name: &str) -> Loaded {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto-fixtures/intent/peering");
    let text = fs::read_to_string(root.join(name)).unwrap();
    with(name, &text, &SECRETS).unwrap()
}

/// The one peer of a cluster that has these lines in it.
fn peer(lines: &str) -> Result<Peer, String> {
    let loaded = peer_with(lines, &[]).map_err(|problems| problems.to_string())?;
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    Ok(loaded.intent.peers.into_iter().next().unwrap())
}

fn peer_with(lines: &str, files: &[(&str, &str, u32)]) -> Result<Loaded, Problems> {
    let text = format!(
        "[[node]]\nname = \"a\"\nipv4-address = \"10.0.0.1/24\"\n[[bgp-peer]]\nname = \"p\"\n{lines}"
    );
    with("/etc/dunlin/c.toml", &text, files)
}

fn at_an_address(lines: &str) -> Peer {
    peer(&format!(
        "peer-ip = \"10.0.0.9\"\nas-number = 64601\n{lines}"
    ))
    .unwrap()
}

#[test]
fn verbatim_yaml_and_toml_are_one_intent() {
    let (yaml, toml) = (fixture("cluster.yaml"), fixture("cluster.toml"));
    assert_eq!(yaml.intent, toml.intent);
    assert!(yaml.warnings.is_empty(), "{}", yaml.warnings);
}

#[test]
fn every_field_of_calicos_peer_arrives() {
    let intent: Intent = fixture("cluster.yaml").intent;
    let secret = |text: &str| Authentication::Md5(Secret::new(text.as_bytes().to_vec()));
    assert_eq!(intent.bgp.node_mesh_authentication, secret("of the mesh"));
    assert_eq!(intent.bgp.node_mesh_max_restart_time, Some(120));
    assert_eq!(intent.bgp.bind_mode, BindMode::NodeIp);
    assert!(intent.pools[0].disable_bgp_export);
    let reflector = &intent.nodes[0];
    assert_eq!(
        reflector.route_reflector_cluster_id,
        "244.0.0.1".parse().ok()
    );

    let tor = &intent.peers[0];
    assert_eq!(tor.filters, ["no-default", "tag"]);
    assert_eq!(tor.routes.next_hop, NextHopMode::Keep);
    assert_eq!(tor.session.keepalive_time, Some(20));
    assert_eq!(tor.session.max_restart_time, Some(120));
    assert_eq!(tor.local_as_number, Some(Asn(64700)));
    assert_eq!(tor.routes.allowed_local_as, 2);
    assert_eq!(tor.authentication, secret("of the tor"));
    assert_eq!(tor.reachable_by, "10.0.0.254".parse().ok());
    assert_eq!(tor.source_address, SourceAddress::Kernel);
    assert_eq!(tor.ttl, TtlRule::Security(2));
    assert!(tor.reverse);

    let nodes = &intent.peers[1];
    let FarEnd::Nodes(selector) = &nodes.far_end else {
        panic!("{:?}", nodes.far_end)
    };
    assert!(selector.matches(&reflector.labels));
    assert_eq!((nodes.as_number, nodes.reverse), (None, false));

    let v6 = &intent.peers[2];
    assert_eq!(v6.as_number, Some(Asn(65546)));
    assert_eq!(
        v6.routes.next_hop,
        NextHopMode::Own,
        "the newer word counts"
    );
}

#[test]
fn communities_are_resolved_by_name_for_the_cluster_and_for_a_node() {
    let intent = fixture("cluster.yaml").intent;
    let advertisement = |cidr: &str, communities: &[&str]| PrefixAdvertisement {
        cidr: cidr.parse().unwrap(),
        communities: communities.iter().map(|c| c.parse().unwrap()).collect(),
    };
    assert_eq!(
        intent.bgp.prefix_advertisements,
        [advertisement(
            "172.218.4.0/26",
            &["63400:300:100", "63400:120"]
        )]
    );
    assert_eq!(
        intent.nodes[0].prefix_advertisements,
        Some(vec![advertisement("172.218.4.0/27", &["64512:100"])])
    );
    assert_eq!(intent.nodes[1].prefix_advertisements, None);
    // The name may be in another file than its use.
    let files = [
        (
            "1.yaml",
            "kind: BGPConfiguration\nmetadata: {name: node.a}\n\
             spec: {prefixAdvertisements: [{cidr: 10.0.0.0/8, communities: [mine]}]}\n",
        ),
        (
            "2.toml",
            "[bgp]\ncommunities = [{ name = \"mine\", value = \"1:2\" }]\n[[node]]\nname = \"a\"\n\
             ipv4-address = \"10.0.0.1/24\"\n",
        ),
    ];
    let files = files.map(|(name, text)| (name.into(), text.to_owned()));
    let intent = dunlin::datastore::read_cluster(&files).unwrap().intent;
    let of_node = intent.nodes[0].prefix_advertisements.as_ref().unwrap();
    assert_eq!(of_node[0].communities, [Community::Standard(0x0001_0002)]);
}

#[test]
fn every_field_of_a_filter_arrives() {
    let intent = fixture("cluster.yaml").intent;
    let tag = &intent.filters["tag"];
    let community = |text: &str| text.parse::<Community>().unwrap();
    let [first, second, third] = tag.rules(Direction::Export, Family::Ipv4) else {
        panic!("{tag:?}")
    };
    let within = PrefixMatch {
        cidr: "77.0.0.0/16".parse().unwrap(),
        operator: MatchOperator::In,
        // Nothing shorter than the prefix itself lies inside.
        lengths: Some((16, 26)),
    };
    assert_eq!(first.prefix, Some(within));
    assert!(first.from_peers);
    assert_eq!(
        first.action,
        Action::Accept(vec![
            Operation::AddCommunity(community("65000:100")),
            Operation::PrependAsPath(vec![Asn(64512), Asn(64513)]),
            Operation::SetPriority(512.try_into().unwrap()),
        ])
    );
    assert_eq!(second.prefix, None);
    assert_eq!(second.as_path_prefix, [Asn(64512), Asn(64513)]);
    assert_eq!(second.interface.as_deref(), Some("*.calico"));
    assert_eq!(second.peer_type, Some(PeerType::Ebgp));
    assert_eq!(second.priority, 1024.try_into().ok());
    assert_eq!(second.action, Action::Accept(vec![]));
    assert_eq!(third.action, Action::Reject);

    let [first, second] = tag.rules(Direction::Export, Family::Ipv6) else {
        panic!("{tag:?}")
    };
    assert_eq!(first.community, Some(community("63400:300:100")));
    assert_eq!(first.prefix.unwrap().operator, MatchOperator::NotIn);
    assert_eq!(first.prefix.unwrap().lengths, Some((64, 128)));
    assert_eq!(second.prefix.unwrap().operator, MatchOperator::NotEqual);
    assert_eq!(second.prefix.unwrap().lengths, None);

    let import = intent.filters["no-default"].rules(Direction::Import, Family::Ipv6);
    assert_eq!(import[0].prefix.unwrap().cidr, "::/0".parse().unwrap());
    assert_eq!(intent.filters["no-default"].name, "no-default");
}

#[test]
fn words_that_calico_lacks_arrive_too() {
    let all = at_an_address(
        "passive = true\nhold-time = 30\nconnect-retry-time = \"2s\"\nlong-lived-stale-time = \"1h\"\n\
         max-prefixes = 10\nmax-prefixes-action = \"stop\"\nadd-path = true\n\
         extended-messages = false\ngraceful-shutdown = true\nroute-reflector-client = false\n\
         shutdown = true\nsend-hold-time = \"10m\"\ncapabilities = false\n\
         bfd = { min-transmit = \"50ms\", multiplier = 5 }\nsource-address = \"10.0.0.7\"\n",
    );
    assert!(all.passive && all.routes.graceful_shutdown);
    assert_eq!(all.session.hold_time, Some(30));
    assert_eq!(all.session.connect_retry_time, Some(Duration::from_secs(2)));
    assert_eq!(all.session.long_lived_stale_time, Some(3600));
    assert_eq!(all.routes.limit.max, Some(10));
    assert_eq!(all.routes.limit.action, Some(LimitAction::Stop));
    assert_eq!(all.capabilities.add_path, Some(true));
    assert!(!all.capabilities.extended_messages && !all.capabilities.any);
    assert!(all.shutdown);
    assert_eq!(all.session.send_hold_time, Some(600));
    assert_eq!(all.routes.client, Some(false));
    let bfd = BfdTerms {
        min_transmit: Duration::from_millis(50),
        multiplier: 5,
        ..BfdTerms::default()
    };
    assert_eq!(all.bfd, Some(bfd));

    let plain = at_an_address("");
    let default = Peer::new("p", "10.0.0.9".parse().unwrap(), Asn(64601));
    assert_eq!(plain, default);
    assert_eq!(at_an_address("bfd = true").bfd, Some(BfdTerms::default()));
    assert_eq!(at_an_address("bfd = false").bfd, None);
    let range = peer("peer-range = \"fd00:9::/64\"\nas-number = 1\n").unwrap();
    assert_eq!(range.far_end, FarEnd::Range("fd00:9::/64".parse().unwrap()));
    let link = peer("interface = \"eth1.100\"\nas-number = 1\n").unwrap();
    assert_eq!(link.far_end, FarEnd::Link("eth1.100".into()));
    for (words, expected) in [
        ("next-hop-mode = \"Keep\"", NextHopMode::Keep),
        ("keep-original-next-hop = true", NextHopMode::Keep),
        ("next-hop-self = true", NextHopMode::Own),
        (
            "next-hop-mode = \"Auto\"\nkeep-original-next-hop = true",
            NextHopMode::Auto,
        ),
        (
            "next-hop-mode = \"Self\"\nnext-hop-self = true",
            NextHopMode::Own,
        ),
        (
            "next-hop-self = false\nkeep-original-next-hop = true",
            NextHopMode::Keep,
        ),
    ] {
        assert_eq!(at_an_address(words).routes.next_hop, expected, "{words}");
    }
}

#[test]
fn roles_and_backup_paths_are_words_of_a_peer() {
    for (words, offered, paths) in [
        ("", None, 0),
        ("add-path = true", Some(true), 0),
        ("add-path = false", Some(false), 0),
        ("add-path = 1", Some(true), 1),
        ("add-path = 63", Some(true), 63),
        ("add-path = \"all\"", Some(true), MAX_PATHS),
    ] {
        let peer = at_an_address(words);
        assert_eq!(peer.capabilities.add_path, offered, "{words}");
        assert_eq!(peer.routes.paths, paths, "{words}");
    }
    for role in Role::ALL {
        let peer = at_an_address(&format!("role = \"{role}\"\nrole-strict = true"));
        let (role, strict) = (Some(role), true);
        assert_eq!(peer.capabilities.role, RoleTerms { role, strict });
    }
    assert_eq!(at_an_address("").capabilities.role, RoleTerms::default());
    let discard = at_an_address("max-prefixes-action = \"discard\"");
    assert_eq!(discard.routes.limit.action, Some(LimitAction::Discard));
}

#[test]
fn the_own_address_at_another_port_or_calling_is_somebody_else() {
    let own = |words: &str| {
        peer(&format!(
            "node = \"a\"\nas-number = 64999\npeer-ip = {words}\n"
        ))
    };
    for refused in ["\"10.0.0.1\"", "\"10.0.0.1:179\""] {
        assert!(
            own(refused).unwrap_err().contains("own address"),
            "{refused}"
        );
    }
    for taken in [
        "\"10.0.0.1:1179\"",
        "\"10.0.0.1\"\npassive = true",
        "\"127.0.0.1:1179\"",
    ] {
        own(taken).unwrap();
    }
}

#[test]
fn a_secret_is_the_file_without_its_last_newline() {
    let end = "peer-ip = \"10.0.0.9\"\nas-number = 64601\n";
    for (words, path) in [
        ("{ file = \"/run/k\" }", "/run/k"),
        ("{ file = \"keys/k\" }", "/etc/dunlin/keys/k"),
        (
            "{ secret-key-ref = { name = \"bgp\", key = \"tor.key\" } }",
            "/secrets/bgp/tor.key",
        ),
    ] {
        for text in ["a b", "a b\n", "a b\r\n"] {
            let lines = format!("{end}password = {words}\n");
            let loaded = peer_with(&lines, &[(path, text, 0o600)]).unwrap();
            let got = &loaded.intent.peers[0].authentication;
            let secret = Secret::new(b"a b".to_vec());
            assert_eq!(*got, Authentication::Md5(secret), "{words} {text:?}");
            assert!(loaded.warnings.is_empty());
        }
    }
    let ao = "tcp-ao = { id = 7, algorithm = \"hmac-sha-256\", file = \"/k\" }\n";
    let loaded = peer_with(&format!("{end}{ao}"), &[("/k", "x\n\n", 0o400)]).unwrap();
    let key = AoKey {
        id: 7,
        algorithm: AoAlgorithm::HmacSha256,
        secret: Secret::new(b"x\n".to_vec()),
    };
    assert_eq!(
        loaded.intent.peers[0].authentication,
        Authentication::Ao(key)
    );
}

#[test]
fn a_secret_that_can_not_be_had_keeps_the_session_down_and_says_why() {
    let lines = "peer-ip = \"10.0.0.9\"\nas-number = 64601\npassword = { file = \"/k\" }\n";
    let long = "x".repeat(81);
    for (files, why) in [
        (vec![], "there is no secret at /k; put it there"),
        (
            vec![("/k", "hunter2", 0o644)],
            "the secret at /k has mode 0644, which lets others than its owner in; give it 0600 or 0400",
        ),
        (
            vec![("/k", "hunter2", 0o620)],
            "the secret at /k has mode 0620, which lets others than its owner in; give it 0600 or 0400",
        ),
        (
            vec![("/k", "\n", 0o600)],
            "the secret at /k is empty; put it there",
        ),
    ] {
        let loaded = peer_with(lines, &files).unwrap();
        let got = &loaded.intent.peers[0].authentication;
        assert_eq!(*got, Authentication::Missing(why.into()));
        assert_eq!(
            loaded.warnings.to_string(),
            format!(
                "/etc/dunlin/c.toml:8:12: warning: {why}; until then the sessions of peer p stay down"
            )
        );
    }
    let problems = peer_with(lines, &[("/k", &long, 0o600)]).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "/etc/dunlin/c.toml:8:12: /k holds more than 80 octets, which is as long as a key can be"
    );
    assert!(peer_with(lines, &[("/k", &long[1..], 0o600)]).is_ok());
}

#[test]
fn no_octet_of_a_secret_is_shown() {
    let lines = "peer-ip = \"10.0.0.9\"\nas-number = 64601\npassword = { file = \"/k\" }\n";
    for mode in [0o600, 0o644] {
        let loaded = peer_with(lines, &[("/k", "hunter2", mode)]).unwrap();
        assert!(!format!("{loaded:?}").contains("hunter2"));
    }
    let clear = "peer-ip = \"10.0.0.9\"\nas-number = 64601\npassword = \"hunter2\"\n";
    let problems = peer_with(clear, &[]).unwrap_err().to_string();
    assert!(problems.contains("in the clear"), "{problems}");
    assert!(!problems.contains("hunter2"), "{problems}");
}

#[test]
fn a_key_of_bfd_is_had_as_a_password_is_and_a_missing_one_keeps_bfd_down() {
    let end = "peer-ip = \"10.0.0.9\"\nas-number = 64601\n";
    let bfd = |loaded: &Loaded| loaded.intent.peers[0].bfd.clone().unwrap();
    let files = [("/k", "secret\n", 0o600)];
    for (words, id, meticulous) in [
        ("file = \"/k\"", 1, true),
        (
            "file = \"/k\", id = 7, algorithm = \"keyed-sha1\"",
            7,
            false,
        ),
    ] {
        let lines = format!("{end}bfd = {{ min-ttl = 250, authentication = {{ {words} }} }}\n");
        let loaded = peer_with(&lines, &files).unwrap();
        let key = BfdKey {
            id,
            meticulous,
            secret: Secret::new(b"secret".to_vec()),
        };
        assert_eq!(bfd(&loaded).authentication, BfdAuthentication::Key(key));
        assert_eq!(bfd(&loaded).min_ttl, Some(250));
        assert!(!format!("{loaded:?}").contains("secret\\"));
        let loaded = peer_with(&lines, &[]).unwrap();
        let why = "there is no secret at /k; put it there";
        assert_eq!(
            bfd(&loaded).authentication,
            BfdAuthentication::Missing(why.into())
        );
        assert_eq!(loaded.intent.peers[0].authentication, Authentication::None);
        assert_eq!(
            loaded.warnings.to_string(),
            format!(
                "/etc/dunlin/c.toml:8:41: warning: {why}; until then BFD of peer p stays down, and its \
                 sessions go on without"
            )
        );
        let long = peer_with(&lines, &[("/k", &"x".repeat(21), 0o600)]).unwrap_err();
        assert!(long.to_string().contains("more than 20 octets"), "{long}");
    }
    let mesh = "[bgp]\nnode-mesh-bfd = { authentication = { file = \"/k\" } }\n";
    let loaded = with("c.toml", mesh, &files).unwrap();
    let terms = loaded.intent.bgp.node_mesh_bfd.unwrap();
    assert!(matches!(terms.authentication, BfdAuthentication::Key(_)));
    let clear = peer_with(
        &format!("{end}bfd = {{ authentication = \"hunter2\" }}\n"),
        &[],
    );
    let problems = clear.unwrap_err().to_string();
    assert!(problems.contains("a file of its own"), "{problems}");
    assert!(!problems.contains("hunter2"), "{problems}");
}

#[test]
fn a_part_that_could_not_be_read_spares_what_refers_to_it() {
    let text = "[bgp]\nnode-mesh-filters = [\"f\"]\ncommunities = [{ name = \"a\", value = \"x\" }]\n\
                prefix-advertisements = [{ cidr = \"10.0.0.0/8\", communities = [\"a\"] }]\n\
                [[bgp-filter]]\nname = \"f\"\nexport-v4 = [{ action = \"Axept\" }]\n";
    let problems = with("c.toml", text, &[]).unwrap_err();
    assert_eq!(problems.len(), 2, "{problems}");
}

#[test]
fn no_cut_or_change_of_a_cluster_panics() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto-fixtures/intent/peering");
    let mut outcomes = [0, 0];
    for name in ["cluster.yaml", "cluster.toml"] {
        let text = fs::read_to_string(root.join(name)).unwrap();
        for (at, _) in text.char_indices().step_by(41) {
            let cut = with(name, &text[..at], &SECRETS);
            outcomes[usize::from(cut.is_ok())] += 1;
            for replacement in ["\"", "[", "9", "{", "\n", ": ", "\u{0}"] {
                let changed = format!("{}{replacement}{}", &text[..at], &text[at + 1..]);
                let read = with(name, &changed, &SECRETS);
                outcomes[usize::from(read.is_ok())] += 1;
                if let Err(problems) = read {
                    assert!(problems.has_errors());
                }
            }
        }
    }
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}

#[test]
fn values_that_ask_for_nothing_are_the_defaults() {
    // As the API server fills them in.
    let text = "kind: BGPPeer\nmetadata: {name: p}\nspec: {peerIP: 10.0.0.9, asNumber: 64601, \
                node: '', nodeSelector: null, peerSelector: '', keepOriginalNextHop: false, \
                nextHopMode: Auto, sourceAddress: UseNodeIP, reversePeering: Auto, filters: [], \
                ttlSecurity: 0, numAllowedLocalASNumbers: 0, reachableBy: ''}\n";
    let loaded = with("c.yaml", text, &[]).unwrap();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let default = Peer::new("p", "10.0.0.9".parse().unwrap(), Asn(64601));
    assert_eq!(loaded.intent.peers, [default]);
}

#[test]
fn a_link_local_address_needs_its_link() {
    let problem = peer("peer-ip = \"fe80::1\"\nas-number = 1\n").unwrap_err();
    assert!(
        problem.ends_with("name the link with \"interface\" instead"),
        "{problem}"
    );
}

#[test]
fn selected_peers_that_nobody_matches_are_warned_of() {
    let loaded = peer_with("peer-selector = \"has(reflector)\"\n", &[]).unwrap();
    assert_eq!(
        loaded.warnings.to_string(),
        "/etc/dunlin/c.toml:6:17: warning: no node matches \"has(reflector)\""
    );
}
