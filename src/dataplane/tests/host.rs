//! Settings of the kernel that somebody changes while we run.

use super::*;
use crate::net::Family;
use crate::problem::{Code, Subject};

fn told(family: Family, link: Option<u32>, on: bool) -> Change {
    Change::Setting(Setting {
        family,
        link,
        forwarding: Some(on),
        reverse_path: None,
    })
}

impl World {
    fn forwarding() -> Self {
        let mut world = Self::new();
        world.plane.set_forwarding(Family::ALL.into_iter());
        world.act(&Act::Want(0, via(&["10.9.0.2"])));
        world.settle();
        world.kernel.tuned.clear();
        world
    }

    /// What is asked for after the kernel has told of a change.
    fn after(&mut self, change: Change) -> Vec<Sysctl> {
        self.kernel.tell(change);
        self.settle();
        core::mem::take(&mut self.kernel.tuned)
    }

    fn codes(&self) -> Vec<Code> {
        let problems = self.plane.problems(self.now);
        problems.iter().map(|problem| problem.code).collect()
    }
}

#[test]
fn forwarding_that_was_switched_off_is_switched_on_again() {
    let mut world = World::forwarding();
    for family in Family::ALL {
        let asked = world.after(told(family, None, false));
        assert_eq!(asked, [Sysctl::Forwarding(family)]);
        assert_eq!(world.after(told(family, None, true)), [], "its own echo");
    }
    // By a link that routes lead over, by another one, and by one that is not there.
    let on = Sysctl::ForwardingOn("eth0".into());
    assert_eq!(world.after(told(Family::Ipv4, Some(2), false)), [on]);
    assert_eq!(world.after(told(Family::Ipv4, Some(3), false)), []);
    assert_eq!(world.after(told(Family::Ipv4, Some(77), false)), []);
    assert_eq!(
        world.after(told(Family::Ipv6, Some(2), false)),
        [],
        "IPv6 has one switch"
    );
    assert_eq!(world.codes(), []);
    // To switch the host off tells of each link, too, and one operation is enough.
    for link in [2, 3] {
        world.kernel.tell(told(Family::Ipv4, Some(link), false));
    }
    world.kernel.tell(told(Family::Ipv4, None, false));
    for link in [2, 3] {
        world.kernel.tell(told(Family::Ipv4, Some(link), true));
    }
    world.settle();
    assert_eq!(
        world.kernel.tuned.last(),
        Some(&Sysctl::Forwarding(Family::Ipv4))
    );
}

#[test]
fn nobody_who_forwards_nothing_is_asked_to() {
    let mut world = World::forwarding();
    world.plane.set_forwarding(core::iter::once(Family::Ipv6));
    world.settle();
    world.kernel.tuned.clear();
    assert_eq!(world.after(told(Family::Ipv4, None, false)), []);
    assert_eq!(world.after(told(Family::Ipv4, Some(2), false)), []);
}

#[test]
fn what_may_not_be_changed_is_a_problem_until_it_is_right() {
    let moment = Duration::from_secs(1);
    for family in Family::ALL {
        for told_of in [true, false] {
            let mut world = World::forwarding();
            let whole = Sysctl::Forwarding(family);
            world.kernel.untunable.insert(whole.clone());
            world.kernel.tell(told(family, None, false));
            world.settle_within(moment);
            let problems = world.plane.problems(world.now);
            let [problem] = problems.as_slice() else {
                panic!("{problems:?}")
            };
            assert_eq!(
                (problem.code, &problem.subject),
                (Code::ForwardingOff, &Subject::Host)
            );
            assert!(problem.remedy.contains(&whole.to_string()), "{problem}");
            world.settle_within(Duration::from_secs(100));
            assert_eq!(world.codes(), [Code::ForwardingOff], "asked in vain");
            world.kernel.untunable.clear();
            if told_of {
                world.kernel.tell(told(family, None, true));
                world.settle_within(moment);
            } else {
                // A file system that is writable again tells nobody.
                world.settle();
            }
            assert_eq!(world.codes(), []);
        }
    }
}

#[test]
fn a_link_that_may_not_forward_is_a_problem_while_routes_lead_over_it() {
    for told_of in [true, false] {
        let mut world = World::forwarding();
        let on = Sysctl::ForwardingOn("eth0".into());
        world.kernel.untunable.insert(on);
        world.kernel.tell(told(Family::Ipv4, Some(2), false));
        world.settle_within(Duration::from_secs(100));
        assert_eq!(world.codes(), [Code::ForwardingOff]);
        if told_of {
            // An operator has switched it on.
            world.kernel.untunable.clear();
            world.kernel.tell(told(Family::Ipv4, Some(2), true));
            world.settle_within(Duration::from_secs(1));
        } else {
            world.act(&Act::Want(0, via(&["10.8.0.2"])));
            world.settle();
        }
        assert_eq!(world.codes(), []);
    }
}

#[test]
fn two_programs_of_different_opinions_have_a_pace() {
    let mut world = World::forwarding();
    let end = world.now + Duration::from_secs(60);
    while world.now < end {
        world.kernel.tell(told(Family::Ipv4, None, false));
        while world.deliver(true) {}
        world.ask();
        world.kernel.run_one();
        while world.deliver(false) {}
        world.act(&Act::Pass(50));
    }
    let repairs = world.kernel.tuned.len();
    assert!((30..70).contains(&repairs), "{repairs} repairs in a minute");
}

#[test]
fn lost_notifications_are_made_up_for() {
    let mut world = World::forwarding();
    world.act(&Act::Lose);
    world.settle();
    let both = Family::ALL.map(Sysctl::Forwarding);
    assert_eq!(world.kernel.tuned, both);
}
