//! Each condition by itself, then all of them against a model that is as plain as can be.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
struct Route {
    prefix: Prefix,
    source: Source,
    peer_type: PeerType,
    interface: Option<String>,
    communities: Vec<Community>,
    path: Vec<Asn>,
    local_pref: Option<u32>,
}

impl Candidate for Route {
    fn prefix(&self) -> Prefix {
        self.prefix
    }
    fn source(&self) -> Source {
        self.source
    }
    fn peer_type(&self) -> PeerType {
        self.peer_type
    }
    fn interface(&self) -> Option<&str> {
        self.interface.as_deref()
    }
    fn has_community(&self, community: Community) -> bool {
        self.communities.contains(&community)
    }
    fn as_path_begins_with(&self, asns: &[Asn]) -> bool {
        self.path.starts_with(asns)
    }
    fn local_pref(&self) -> Option<u32> {
        self.local_pref
    }
}

fn route(prefix: &str) -> Route {
    Route {
        prefix: prefix.parse().unwrap(),
        source: Source::External,
        peer_type: PeerType::Ebgp,
        interface: None,
        communities: vec!["65000:1".parse().unwrap(), "1:2:3".parse().unwrap()],
        path: vec![Asn(65001), Asn(65002)],
        local_pref: None,
    }
}

fn anything() -> Rule {
    Rule::every(Action::Accept(Vec::new()))
}

fn filter(name: &str, import: Vec<Rule>) -> Arc<Filter> {
    Arc::new(Filter {
        name: name.to_owned(),
        import: [import, Vec::new()],
        export: [Vec::new(), Vec::new()],
    })
}

fn prefix_match(cidr: &str, operator: MatchOperator, lengths: Option<(u8, u8)>) -> PrefixMatch {
    PrefixMatch {
        cidr: cidr.parse().unwrap(),
        operator,
        lengths,
    }
}

#[test]
fn prefixes_are_compared_by_operator_and_length() {
    use MatchOperator::{Equal, In, NotEqual, NotIn};
    let cases = [
        ("10.1.0.0/16", Equal, None, "10.1.0.0/16", true),
        ("10.1.0.0/16", Equal, None, "10.1.0.0/17", false),
        ("10.1.0.0/16", NotEqual, None, "10.1.0.0/16", false),
        ("10.1.0.0/16", NotEqual, None, "10.1.0.0/17", true),
        ("10.1.0.0/16", In, None, "10.1.0.0/16", true),
        ("10.1.0.0/16", In, None, "10.1.255.0/26", true),
        ("10.1.0.0/16", In, None, "10.0.0.0/8", false),
        ("10.1.0.0/16", In, None, "10.2.0.0/24", false),
        ("10.1.0.0/16", NotIn, None, "10.1.2.0/24", false),
        ("10.1.0.0/16", NotIn, None, "10.0.0.0/8", true),
        ("10.1.0.0/16", In, Some((24, 26)), "10.1.2.0/24", true),
        ("10.1.0.0/16", In, Some((24, 26)), "10.1.2.0/26", true),
        ("10.1.0.0/16", In, Some((24, 26)), "10.1.2.0/27", false),
        ("10.1.0.0/16", In, Some((24, 26)), "10.1.0.0/16", false),
        ("10.1.0.0/16", NotIn, Some((24, 26)), "10.1.2.0/24", false),
        ("10.1.0.0/16", NotIn, Some((24, 26)), "10.1.2.0/27", true),
        // A length below the prefix's own changes nothing.
        ("10.1.0.0/16", In, Some((8, 16)), "10.1.0.0/16", true),
        ("10.1.0.0/16", In, Some((8, 16)), "10.0.0.0/8", false),
        ("0.0.0.0/0", Equal, None, "0.0.0.0/0", true),
        ("0.0.0.0/0", In, None, "10.1.2.3/32", true),
        ("fd00::/8", In, Some((48, 64)), "fd00:1::/64", true),
        ("fd00::/8", In, Some((48, 64)), "fd00:1::/65", false),
        ("::/0", Equal, None, "::/0", true),
    ];
    for (cidr, operator, lengths, text, expected) in cases {
        let matched = prefix_match(cidr, operator, lengths);
        let found = matched.matches(text.parse().unwrap());
        assert_eq!(found, expected, "{text} {operator:?} {cidr} {lengths:?}");
    }
}

#[test]
fn each_condition_asks_for_one_thing() {
    type Change = fn(&mut Rule);
    let cases: [(&str, Change, bool); 15] = [
        ("nothing", |_| {}, true),
        ("source", |rule| rule.from_peers = true, true),
        ("eBGP", |rule| rule.peer_type = Some(PeerType::Ebgp), true),
        ("iBGP", |rule| rule.peer_type = Some(PeerType::Ibgp), false),
        (
            "interface",
            |rule| rule.interface = Some("*".to_owned()),
            false,
        ),
        (
            "standard",
            |rule| rule.community = "65000:1".parse().ok(),
            true,
        ),
        ("large", |rule| rule.community = "1:2:3".parse().ok(), true),
        (
            "no standard",
            |rule| rule.community = "65000:2".parse().ok(),
            false,
        ),
        (
            "no large",
            |rule| rule.community = "1:2:4".parse().ok(),
            false,
        ),
        ("path", |rule| rule.as_path_prefix = vec![Asn(65001)], true),
        (
            "whole path",
            |rule| rule.as_path_prefix = vec![Asn(65001), Asn(65002)],
            true,
        ),
        (
            "middle of path",
            |rule| rule.as_path_prefix = vec![Asn(65002)],
            false,
        ),
        (
            "longer path",
            |rule| rule.as_path_prefix = vec![Asn(65001), Asn(65002), Asn(65003)],
            false,
        ),
        // 2147483647 - 100, as Calico sees a route without LOCAL_PREF.
        (
            "priority",
            |rule| rule.priority = NonZeroU32::new(2_147_483_547),
            true,
        ),
        (
            "no priority",
            |rule| rule.priority = NonZeroU32::new(1024),
            false,
        ),
    ];
    for (what, change, expected) in cases {
        let mut rule = anything();
        change(&mut rule);
        assert_eq!(rule.matches(&route("10.0.0.0/8")), expected, "{what}");
    }
}

#[test]
fn own_routes_have_no_source_and_the_normal_priority() {
    let own = Route {
        source: Source::Local,
        ..route("10.244.1.0/26")
    };
    let from_peers = Rule {
        from_peers: true,
        ..anything()
    };
    assert!(!from_peers.matches(&own));
    assert_eq!(priority(&own), NonZeroU32::new(1024));
    let local_pref = Some(local_pref_of(NonZeroU32::new(512).unwrap()));
    assert_eq!(local_pref, Some(2_147_483_135), "as Calico codes it");
    let urgent = Route { local_pref, ..own };
    assert_eq!(priority(&urgent), NonZeroU32::new(512));
    for too_high in [2_147_483_647, u32::MAX] {
        let local_pref = Some(too_high);
        assert_eq!(
            priority(&Route {
                local_pref,
                ..urgent.clone()
            }),
            None
        );
    }
}

#[test]
fn interfaces_are_compared_with_wildcards() {
    let cases = [
        ("eth0", "eth0", true),
        ("eth0", "eth01", false),
        ("eth*", "eth0", true),
        ("eth*", "eth", true),
        ("*.calico", "vxlan.calico", true),
        ("*.calico", "vxlan.cali", false),
        ("bpf*.cali", "bpfin.cali", true),
        ("bpf*.cali", "bpf.cali.x", false),
        ("*", "anything", true),
        ("a*b*c", "a-b-b-c", true),
        ("a*b*c", "ac", false),
        ("ab*ba", "aba", false),
        ("", "", true),
    ];
    for (pattern, name, expected) in cases {
        assert_eq!(matches_pattern(pattern, name), expected, "{pattern} {name}");
    }
}

#[test]
fn the_first_rule_that_matches_decides_over_all_filters() {
    let reject = Rule {
        prefix: Some(prefix_match("10.9.0.0/16", MatchOperator::In, None)),
        action: Action::Reject,
        ..anything()
    };
    let ibgp_only = Rule {
        peer_type: Some(PeerType::Ibgp),
        ..anything()
    };
    let filters = [
        filter("first", vec![ibgp_only.clone(), reject]),
        filter("second", vec![ibgp_only, anything()]),
    ];
    let decided = |prefix| {
        let found = decide(&filters, Direction::Import, &route(prefix)).unwrap();
        (found.to_string(), found.accepts(), found.running)
    };
    assert_eq!(
        decided("10.9.1.0/24"),
        (
            "filter \"first\", rule 2 of import-v4, rejects it".to_owned(),
            false,
            2
        )
    );
    assert_eq!(
        decided("10.8.1.0/24"),
        (
            "filter \"second\", rule 2 of import-v4, accepts it".to_owned(),
            true,
            4
        )
    );
    // Another family and the other direction have lists of their own.
    assert!(decide(&filters, Direction::Import, &route("fd00::/64")).is_none());
    assert!(decide(&filters, Direction::Export, &route("10.9.1.0/24")).is_none());
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let operator = prop_oneof![
        Just(MatchOperator::Equal),
        Just(MatchOperator::NotEqual),
        Just(MatchOperator::In),
        Just(MatchOperator::NotIn)
    ];
    let lengths = proptest::option::of((0..=6u8, 0..=6u8).prop_map(|(a, b)| (a.min(b), a.max(b))));
    let matched = (0..8u32, 0..=4u8, operator, lengths);
    let matched = matched.prop_map(|(bits, length, operator, lengths)| PrefixMatch {
        cidr: Prefix::new(std::net::Ipv4Addr::from_bits(bits << 29).into(), length),
        operator,
        lengths,
    });
    let rule = (
        proptest::option::of(matched),
        proptest::bool::weighted(0.2),
        proptest::option::weighted(0.2, proptest::bool::ANY),
        proptest::option::weighted(0.2, 0..3u32),
        proptest::collection::vec(1..3u32, 0..2),
        proptest::option::weighted(0.1, 1..3u32),
        proptest::bool::ANY,
    );
    let rule = rule.prop_map(
        |(prefix, from_peers, ebgp, community, path, priority, accept)| Rule {
            prefix,
            from_peers,
            interface: None,
            peer_type: ebgp.map(|ebgp| if ebgp { PeerType::Ebgp } else { PeerType::Ibgp }),
            community: community.map(Community::Standard),
            as_path_prefix: path.into_iter().map(Asn).collect(),
            priority: priority.and_then(NonZeroU32::new),
            action: if accept {
                Action::Accept(Vec::new())
            } else {
                Action::Reject
            },
        },
    );
    proptest::collection::vec(rule, 0..6)
}

/// Rule by rule and bit by bit.
fn model(filters: &[Arc<Filter>], route: &Route) -> Option<(String, usize)> {
    let bits = |prefix: Prefix| match prefix.address() {
        std::net::IpAddr::V4(address) => address.to_bits(),
        std::net::IpAddr::V6(_) => panic!("the model is of one family"),
    };
    for filter in filters {
        for (number, rule) in filter.import[0].iter().enumerate() {
            let mut fits = true;
            if let Some(PrefixMatch {
                cidr,
                operator,
                lengths,
            }) = rule.prefix
            {
                let (a, b) = (bits(cidr), bits(route.prefix));
                let (min, max) = lengths.unwrap_or((0, 32));
                let right_length = route.prefix.len() >= min && route.prefix.len() <= max;
                let mut inside = route.prefix.len() >= cidr.len();
                for bit in 0..u32::from(cidr.len()) {
                    inside &= (a >> (31 - bit)) & 1 == (b >> (31 - bit)) & 1;
                }
                let equal = a == b && cidr.len() == route.prefix.len();
                fits &= match operator {
                    MatchOperator::Equal => equal && right_length,
                    MatchOperator::In => inside && right_length,
                    MatchOperator::NotEqual => !equal || !right_length,
                    MatchOperator::NotIn => !inside || !right_length,
                };
            }
            if rule.from_peers && route.source == Source::Local {
                fits = false;
            }
            if rule
                .peer_type
                .is_some_and(|wanted| wanted != route.peer_type)
            {
                fits = false;
            }
            if let Some(wanted) = rule.community {
                fits &= route.communities.contains(&wanted);
            }
            for (at, wanted) in rule.as_path_prefix.iter().enumerate() {
                fits &= route.path.get(at) == Some(wanted);
            }
            if let Some(wanted) = rule.priority {
                let preference = route.local_pref.map_or(100, i64::from);
                fits &= 2_147_483_647 - preference == i64::from(wanted.get());
            }
            if fits {
                return Some((filter.name.clone(), number + 1));
            }
        }
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn filters_decide_as_a_plain_model_does(
        first in rules(),
        second in rules(),
        (bits, length) in (0..8u32, 0..=6u8),
        ebgp in any::<bool>(),
        communities in proptest::collection::vec(0..3u32, 0..3),
        path in proptest::collection::vec(1..3u32, 0..3),
        local_pref in proptest::option::of(2_147_483_644..2_147_483_650u32),
    ) {
        let filters = [filter("first", first), filter("second", second)];
        let route = Route {
            prefix: Prefix::new(std::net::Ipv4Addr::from_bits(bits << 29).into(), length),
            source: if ebgp { Source::External } else { Source::Internal },
            peer_type: if ebgp { PeerType::Ebgp } else { PeerType::Ibgp },
            interface: None,
            communities: communities.into_iter().map(Community::Standard).collect(),
            path: path.into_iter().map(Asn).collect(),
            local_pref,
        };
        let found = decide(&filters, Direction::Import, &route);
        let found = found.map(|decided| (decided.filter.name.clone(), decided.rule));
        prop_assert_eq!(found, model(&filters, &route));
    }
}
