//! Filters before defaults, defaults by class, and marks that bring back what they stand for.

use core::num::NonZeroU32;

use super::super::evaluate::Source;
use super::super::filter::{Action, PeerType, Rule};
use super::*;
use crate::net::Asn;

struct Route {
    prefix: Prefix,
    source: Source,
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
        PeerType::Ebgp
    }
    fn interface(&self) -> Option<&str> {
        None
    }
    fn has_community(&self, _community: Community) -> bool {
        false
    }
    fn as_path_begins_with(&self, _asns: &[Asn]) -> bool {
        false
    }
    fn local_pref(&self) -> Option<u32> {
        self.local_pref
    }
}

fn route(source: Source, text: &str) -> Route {
    Route {
        prefix: text.parse().unwrap(),
        source,
        local_pref: None,
    }
}

fn export_terms(kind: PolicyKind, class: PeerClass) -> ExportTerms {
    ExportTerms {
        kind,
        class,
        filters: Vec::new(),
        unexported: Vec::new(),
        reflected: Vec::new(),
        advertisements: Vec::new(),
        last_choice: false,
        links: None,
    }
}

fn filter(action: Action) -> Arc<Filter> {
    let rule = Rule::every(action);
    let both = || [vec![rule.clone()], vec![rule.clone()]];
    Arc::new(Filter {
        name: "f".to_owned(),
        import: both(),
        export: both(),
    })
}

/// Whether it goes, and why in words.
fn sent(terms: &ExportTerms, route: &Route) -> (bool, String) {
    let own = ["10.244.1.0/26".parse().unwrap()];
    let ruling = terms.rule(&own, route);
    (ruling.accepts(), terms.explain(&ruling))
}

#[test]
fn by_default_only_own_blocks_leave_to_the_outside_unless_switched() {
    use PeerClass::{External, Internal, Mesh};
    use PolicyKind::{AcceptAll, RejectAll, Safe};
    let own = route(Source::Local, "10.244.1.0/26");
    let learnt = route(Source::Internal, "10.244.2.0/26");
    for (kind, class, own_goes, learnt_goes) in [
        (Safe, External, true, false),
        (Safe, Internal, true, true),
        (Safe, Mesh, true, true),
        (AcceptAll, External, true, true),
        (RejectAll, External, false, false),
        (RejectAll, Mesh, false, false),
    ] {
        let terms = export_terms(kind, class);
        assert_eq!(sent(&terms, &own).0, own_goes, "{kind:?} {class:?}");
        assert_eq!(sent(&terms, &learnt).0, learnt_goes, "{kind:?} {class:?}");
    }
}

#[test]
fn a_reflector_sends_the_pools_that_it_reflects_to_the_outside_and_nothing_else() {
    let mut terms = export_terms(PolicyKind::Safe, PeerClass::External);
    terms.reflected = vec!["10.244.0.0/16".parse().unwrap()];
    assert!(sent(&terms, &route(Source::Internal, "10.244.2.0/26")).0);
    assert!(!sent(&terms, &route(Source::External, "10.244.2.0/26")).0);
    assert!(!sent(&terms, &route(Source::Internal, "0.0.0.0/0")).0);
}

#[test]
fn what_is_inside_an_own_block_is_told_by_the_block_unless_a_pod_is_about_to_move() {
    let terms = export_terms(PolicyKind::Safe, PeerClass::Internal);
    let mut pod = route(Source::External, "10.244.1.7/32");
    let (goes, why) = sent(&terms, &pod);
    assert_eq!((goes, why.contains("own blocks")), (false, true), "{why}");
    let urgent = super::super::local_pref_of(NonZeroU32::new(512).unwrap());
    pod.local_pref = Some(urgent);
    assert!(sent(&terms, &pod).0);
    let switched = export_terms(PolicyKind::AcceptAll, PeerClass::Internal);
    pod.local_pref = None;
    assert!(sent(&switched, &pod).0);
}

#[test]
fn a_filter_lifts_the_defaults_but_not_disable_bgp_export() {
    let mut terms = export_terms(PolicyKind::RejectAll, PeerClass::External);
    terms.filters = vec![filter(Action::Accept(Vec::new()))];
    let learnt = route(Source::Internal, "10.244.2.0/26");
    assert_eq!(
        sent(&terms, &learnt),
        (
            true,
            "filter \"f\", rule 1 of export-v4, accepts it".to_owned()
        )
    );
    terms.unexported = vec!["10.244.0.0/16".parse().unwrap()];
    assert_eq!(
        sent(&terms, &learnt),
        (false, "its pool has `disable-bgp-export`".to_owned())
    );
    terms.unexported.clear();
    terms.kind = PolicyKind::AcceptAll;
    terms.filters = vec![filter(Action::Reject)];
    assert!(!sent(&terms, &learnt).0);
}

#[test]
fn an_import_filter_comes_before_the_default_and_silence_leaves_it() {
    let around = Surroundings {
        pools: vec!["10.244.0.0/16".parse().unwrap()],
        ..Surroundings::default()
    };
    let mut terms = ImportTerms {
        kind: PolicyKind::Safe,
        class: PeerClass::Mesh,
        is_node: true,
        filters: Vec::new(),
        last_choice: false,
        links: None,
    };
    let outside = route(Source::Internal, "8.8.8.0/24");
    let inside = route(Source::Internal, "10.244.2.0/26");
    assert!(terms.plain());
    assert!(!terms.rule(&around, &outside).accepts());
    let ruling = terms.rule(&around, &inside);
    assert_eq!(terms.explain(&ruling), "the default for peers of the mesh");
    assert_eq!(terms.mark(&ruling), Mark(0));
    terms.filters = vec![filter(Action::Accept(Vec::new()))];
    assert!(!terms.plain());
    assert!(terms.rule(&around, &outside).accepts());
    terms.filters = vec![filter(Action::Reject)];
    assert!(!terms.rule(&around, &inside).accepts());
}

#[test]
fn a_mark_brings_back_the_operations_and_all_communities_around_a_prefix() {
    let operations = vec![Operation::AddCommunity(Community::Standard(7))];
    let mut terms = export_terms(PolicyKind::Safe, PeerClass::Internal);
    terms.filters = vec![
        filter(Action::Accept(operations.clone())),
        filter(Action::Reject),
    ];
    let advertisement = |cidr: &str, community| Advertisement {
        cidr: cidr.parse().unwrap(),
        communities: vec![Community::Standard(community)],
    };
    terms.advertisements = vec![
        advertisement("10.0.0.0/8", 1),
        advertisement("10.244.0.0/16", 2),
        advertisement("10.244.0.0/16", 3),
        advertisement("10.250.0.0/16", 4),
    ];
    for (text, operations, communities) in [
        ("10.244.2.0/26", &operations[..], vec![1, 2, 3]),
        ("10.1.0.0/24", &operations[..], vec![1]),
        ("10.250.1.0/24", &operations[..], vec![1, 4]),
        ("20.0.0.0/8", &operations[..], vec![]),
    ] {
        let learnt = route(Source::Internal, text);
        let mark = terms.mark(&terms.rule(&[], &learnt), learnt.prefix);
        let changes = terms.changes(Family::Ipv4, mark);
        assert_eq!(changes.operations, operations, "{text}");
        let expected: Vec<_> = communities.into_iter().map(Community::Standard).collect();
        assert_eq!(changes.communities, expected, "{text}");
    }
    terms.filters.clear();
    let learnt = route(Source::Internal, "20.0.0.0/8");
    let mark = terms.mark(&terms.rule(&[], &learnt), learnt.prefix);
    assert_eq!(mark, Mark(0), "nothing applies");
}
