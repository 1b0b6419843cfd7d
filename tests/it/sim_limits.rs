//! `max-prefixes` on whole nodes: what each action does at one more, what is left out, and what brings it back.

use dunlin::net::Prefix;
use dunlin::topology::{Intent, LimitAction, plan};

use crate::sim_filters::{B_C, block, has, row, secs, start};
use crate::sim_world::World;

#[test]
fn more_prefixes_than_allowed_do_what_the_plan_says() {
    for (action, up, stopped) in [
        (LimitAction::Warn, true, false),
        (LimitAction::Restart, false, false),
        (LimitAction::Stop, false, true),
    ] {
        let mut intent = row();
        let mut world = start(&intent);
        intent.peers[B_C].routes.limit.max = Some(1);
        intent.peers[B_C].routes.limit.action = Some(action);
        world.replan("b", plan(&intent, "b").unwrap());
        world.run(secs(1));
        assert_eq!(has(&world, "b").len(), 3, "one is allowed");
        let more = "20.2.1.0/24".parse().unwrap();
        intent.nodes[2].blocks.push(more);
        world.replan("c", plan(&intent, "c").unwrap());
        world.run(secs(1));
        let status = world.peer("b", "b-c");
        assert_eq!(status.negotiated.is_some(), up, "{action:?}");
        assert!(!status.shutdown, "no operator did anything: {action:?}");
        let counted = "2 of ipv4-unicast, and max-prefixes is 1";
        let problem = status.problem.unwrap_or_default();
        assert_eq!(problem.contains(counted), !up, "{action:?}: {problem}");
        assert_eq!(problem.starts_with("stopped"), stopped, "{problem}");
        let last = status.last_error.map(|error| error.to_string());
        assert_eq!(last.is_some_and(|last| last.contains(counted)), !up);
        assert_eq!(has(&world, "b").contains(&more), up, "{action:?}");
        // Long after, only an operator brings a stopped one back; the other is tried again.
        intent.nodes[2].blocks.pop();
        world.replan("c", plan(&intent, "c").unwrap());
        world.run(secs(600));
        let up = world.peer("b", "b-c").negotiated.is_some();
        assert_eq!(up, action != LimitAction::Stop, "{action:?}");
        world.with_node("b", |node, now| {
            node.speaker_mut().enable_peer(now, "b-c").unwrap();
        });
        let back = |world: &World| world.peer("b", "b-c").negotiated.is_some();
        assert!(world.until(secs(60), back).is_some(), "{action:?}");
    }
}

#[test]
fn another_limit_revives_who_was_stopped_by_it_and_an_operator_is_obeyed() {
    let stopped_at = |max, action| {
        let mut intent = row();
        intent.peers[B_C].routes.limit.max = Some(max);
        intent.peers[B_C].routes.limit.action = action;
        intent
    };
    let stop = Some(LimitAction::Stop);
    let many = |mut intent: Intent| {
        intent.nodes[2].blocks.extend(
            (1..4).map(|i| Prefix::V4(dunlin::net::Prefix4::new(0x1402_0000 + (i << 8), 24))),
        );
        intent
    };
    // Raised, but not enough; lowered; enough; no limit to speak of; another action.
    for (max, action, up) in [
        (3, stop, false),
        (1, stop, false),
        (4, stop, true),
        (1, Some(LimitAction::Discard), true),
        (1, Some(LimitAction::Warn), true),
    ] {
        for shut in [false, true] {
            let mut world = start(&stopped_at(2, stop));
            world.replan("c", plan(&many(row()), "c").unwrap());
            world.run(secs(5));
            let is_up = |world: &World| world.peer("b", "b-c").negotiated.is_some();
            assert!(!is_up(&world));
            if shut {
                world.with_node("b", |node, now| {
                    let speaker = node.speaker_mut();
                    speaker.shutdown_peer(now, "b-c", String::new()).unwrap();
                });
            }
            world.replan("b", plan(&stopped_at(max, action), "b").unwrap());
            world.run(secs(30));
            assert_eq!(is_up(&world), up && !shut, "{max} {action:?} {shut}");
        }
    }
}

#[test]
fn what_is_above_a_limit_is_left_out_and_taken_when_there_is_room() {
    let mut intent = row();
    intent.peers[B_C].routes.limit.max = Some(2);
    intent.peers[B_C].routes.limit.action = Some(LimitAction::Discard);
    let mut world = start(&intent);
    let more = |n: usize| -> Prefix { format!("20.2.{n}.0/24").parse().unwrap() };
    let ups = world.ups("b");
    for n in 1..4 {
        intent.nodes[2].blocks.push(more(n));
    }
    world.replan("c", plan(&intent, "c").unwrap());
    world.run(secs(60));
    let received = |world: &World| has(world, "b").len();
    assert_eq!((received(&world), world.peer("b", "b-c").untaken), (4, 2));
    // What goes makes room for what was left out.
    intent.nodes[2]
        .blocks
        .retain(|block| *block != self::block(2));
    world.replan("c", plan(&intent, "c").unwrap());
    world.run(secs(60));
    assert_eq!((received(&world), world.peer("b", "b-c").untaken), (4, 1));
    assert!(!has(&world, "b").contains(&block(2)));
    intent.peers[B_C].routes.limit.max = Some(3);
    world.replan("b", plan(&intent, "b").unwrap());
    world.run(secs(60));
    assert_eq!((received(&world), world.peer("b", "b-c").untaken), (5, 0));
    // A lower one takes nothing away.
    intent.peers[B_C].routes.limit.max = Some(1);
    world.replan("b", plan(&intent, "b").unwrap());
    world.run(secs(60));
    assert_eq!((received(&world), world.peer("b", "b-c").untaken), (5, 0));
    assert_eq!(world.ups("b"), ups, "a session ended");
}
