//! Clusters of 100, 1,000 and 5,000 nodes, and what they cost, number by number.
//!
//! Reflectors of 5,000 nodes run with `DUNLIN_SCALE=5000` only: the same stories with more nodes.

use crate::scale_cluster::{Shape, Topology};
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

/// The largest size that is asked for.
fn most() -> usize {
    let asked = std::env::var("DUNLIN_SCALE").ok();
    asked.map_or(1_000, |text| text.parse().unwrap())
}

fn run_on_demand(topology: Topology) {
    for nodes in [1_000, 5_000] {
        if nodes <= most().max(1_000) {
            run(topology, nodes);
        }
    }
}

#[test]
fn a_hundred_nodes_in_each_topology() {
    for topology in Topology::ALL {
        run(topology, 100);
    }
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
fn four_reflectors_serve_a_thousand_nodes() {
    run_on_demand(Topology::Reflectors);
}

#[test]
fn reflectors_in_two_levels_serve_a_thousand_nodes() {
    run_on_demand(Topology::Hierarchy);
}

/// A stub costs the other end what a real node does, and is told the same.
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
                Topology::Reflectors | Topology::Hierarchy => (0..24).map(of).collect(),
            };
            (stage.messages, stage.octets, counts)
        };
        let (with_stubs, all_real) = (start(false), start(true));
        assert_eq!(with_stubs.0, all_real.0, "{topology:?}");
        assert_eq!(with_stubs.1, all_real.1, "{topology:?}");
        assert_eq!(with_stubs.2, all_real.2, "{topology:?}");
    }
}
