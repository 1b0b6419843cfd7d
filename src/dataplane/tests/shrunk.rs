//! What the model test found once, in its shortest form.

use super::*;

#[test]
fn a_route_written_under_our_name_while_an_addition_is_refused_is_found() {
    let mut world = World::new();
    let acts = [
        Act::News,
        Act::News,
        Act::LinkDown(2, true),
        Act::Ask,
        Act::News,
        Act::Run,
        Act::News,
        Act::News,
        Act::LinksUp,
        Act::Results,
        Act::Results,
        Act::News,
        Act::Mimic(3, Key::Way),
        Act::Want(3, via(&["10.9.0.3", "10.8.0.3"])),
        Act::Delete(0, Key::Way),
        Act::Results,
        Act::Ask,
        Act::Fail(Errno::EPERM),
        Act::News,
        Act::Run,
        Act::Want(3, via(&["10.7.0.1"])),
        Act::News,
        Act::News,
    ];
    for act in &acts {
        world.act(act);
    }
    world.settle();
    world.check();
}

#[test]
fn a_foreign_route_of_which_no_news_has_come_is_not_replaced() {
    let mut world = World::new();
    let acts = [
        Act::Want(0, Forwarding::Blackhole),
        Act::Ask,
        Act::Run,
        Act::Fail(Errno::EINVAL),
        Act::Foreign(0, Key::LastResort, false),
        Act::Results,
        Act::Results,
        Act::Want(0, Forwarding::Blackhole),
        Act::Results,
        Act::Results,
        Act::Results,
        Act::Pass(500),
        Act::Fail(Errno::ENOBUFS),
        Act::Foreign(0, Key::LastResort, true),
        Act::Delete(0, Key::LastResort),
        Act::Ask,
        Act::Converged,
        Act::Converged,
        Act::LinkDown(3, false),
        Act::Converged,
        Act::Run,
        Act::Results,
        Act::Converged,
        Act::Converged,
        Act::Foreign(0, Key::Way, false),
        Act::Want(0, via(&["10.9.0.2"])),
        Act::Converged,
    ];
    for act in &acts {
        world.act(act);
    }
    world.settle();
    world.check();
}

#[test]
fn a_conflict_by_late_news_does_not_last() {
    let mut world = World::new();
    let acts = [
        Act::LinkDown(3, false),
        Act::Ask,
        Act::Run,
        Act::News,
        Act::News,
        Act::Results,
        Act::Results,
        Act::Results,
        Act::News,
        Act::Results,
        Act::Pass(500),
        Act::Mimic(3, Key::Way),
        Act::Delete(3, Key::Way),
        Act::News,
        Act::News,
        Act::Want(3, via(&["10.9.0.3", "10.8.0.3"])),
        Act::News,
        Act::LinkDown(2, false),
        Act::LinksUp,
        Act::Foreign(3, Key::Way, false),
    ];
    for act in &acts {
        world.act(act);
    }
    world.settle();
    world.check();
}

#[test]
fn a_next_hop_inside_its_own_route_comes_to_rest() {
    let mut world = World::new();
    let acts = [
        Act::LinkDown(2, false),
        Act::LinksUp,
        Act::Ask,
        Act::Run,
        Act::LinkDown(2, false),
        Act::Converged,
        Act::LinksUp,
        Act::LinkDown(2, false),
        Act::LinksUp,
        Act::Results,
        Act::Results,
        Act::Want(2, via(&["10.244.2.1", "10.9.0.4"])),
    ];
    for act in &acts {
        world.act(act);
    }
    world.settle();
    world.check();
}
