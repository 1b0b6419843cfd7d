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
        Act::Mimic(3),
        Act::Want(3, via(&["10.9.0.3", "10.8.0.3"])),
        Act::Delete(0),
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
