//! What the model test found once, in its shortest form.

use super::*;

#[test]
fn a_route_written_under_our_name_while_an_addition_is_refused_is_found() {
    let mut world = World::new();
    let acts = [
        Act::Want(3, Forwarding::Blackhole),
        Act::Mimic(3),
        Act::Ask,
        Act::Fail(Errno::EPERM),
        Act::Converged,
        Act::News,
        Act::News,
        Act::Fail(Errno::EPERM),
        Act::Run,
        Act::Want(3, via(&["10.7.0.1"])),
        Act::News,
        Act::Run,
    ];
    for act in &acts {
        world.act(act);
    }
    world.settle();
    world.check();
}
