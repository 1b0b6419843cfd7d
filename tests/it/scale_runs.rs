//! Clusters of 100, 1,000 and 5,000 nodes, and what they cost, number by number.
//!
//! `DUNLIN_SCALE=1000` adds two levels of reflectors for so many nodes, `DUNLIN_SCALE=5000` reflectors in one
//! level and in two for five thousand: the same stories with more nodes.

use crate::scale_cluster::{Shape, Topology};
use crate::scale_count::{Counters, MessageCount};
use crate::scale_report::{golden, path, report};
use crate::scale_story::Story;

fn run(topology: Topology, nodes: usize) {
    let shape = Shape::new(topology, nodes);
    let middle = Story::middle(shape);
    let mut story = Story::new(
        shape,
        |number| shape.reflects(number) || number == middle,
        7,
    );
    let stages = [story.start(), story.join(), story.change(), story.idle()];
    golden(&path(topology, nodes), &report(&story, &stages));
    crate::scale_page::refresh();
}

/// Whether a size is asked for beside those that always run.
fn is_asked_for(nodes: usize) -> bool {
    let asked = std::env::var("DUNLIN_SCALE").ok();
    asked.is_some_and(|text| text.parse::<usize>().unwrap() >= nodes)
}

#[test]
fn a_hundred_nodes_in_a_mesh_and_with_reflectors() {
    run(Topology::Mesh, 100);
    run(Topology::Reflectors, 100);
}

#[test]
fn a_node_among_a_thousand_in_a_full_mesh() {
    run(Topology::Mesh, 1_000);
}

#[test]
fn a_node_among_five_thousand_in_a_full_mesh() {
    run(Topology::Mesh, 5_000);
}

#[test]
fn four_reflectors_serve_a_thousand_nodes_and_five_thousand_on_demand() {
    run(Topology::Reflectors, 1_000);
    if is_asked_for(5_000) {
        run(Topology::Reflectors, 5_000);
    }
}

#[test]
fn reflectors_in_two_levels_serve_a_hundred_nodes_and_more_on_demand() {
    run(Topology::Hierarchy, 100);
    for nodes in [1_000, 5_000] {
        if is_asked_for(nodes) {
            run(Topology::Hierarchy, nodes);
        }
    }
}

/// A stub costs the other end what a real node does, and is told the same. With two levels of reflectors the
/// order of arrivals decides which path is there first, so that only what nodes say themselves can be compared.
#[test]
fn a_stub_is_to_others_what_a_node_is() {
    for topology in Topology::ALL {
        let shape = Shape::new(topology, 24);
        let middle = Story::middle(shape);
        let start = |all_real: bool| {
            let real = |number| all_real || shape.reflects(number) || number == middle;
            let mut story = Story::new(shape, real, 7);
            let stage = story.start();
            let of = |number: usize| story.world.hosts[number].count;
            let counts: Vec<_> = match topology {
                Topology::Mesh => vec![of(middle)],
                Topology::Reflectors => (0..24).map(of).collect(),
                Topology::Hierarchy => {
                    let nodes = (shape.top + shape.second..24).map(of);
                    let sent = nodes.map(|count| Counters {
                        received: MessageCount::default(),
                        ..count
                    });
                    return (0, 0, sent.collect());
                }
            };
            (stage.messages, stage.octets, counts)
        };
        assert_eq!(start(false), start(true), "{topology:?}");
    }
}
