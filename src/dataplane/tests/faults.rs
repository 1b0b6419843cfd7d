//! A route that the kernel refuses for ever: it is named, and nobody else waits for it.

use super::*;
use crate::problem::{Code, Subject};

/// All that a kernel is known to answer to a route, but for EPERM, which is about the process.
const ERRORS: [Errno; 16] = [
    Errno::E2BIG,
    Errno(4),
    Errno(11),
    Errno::ENOMEM,
    Errno::EACCES,
    Errno::EEXIST,
    Errno::ENODEV,
    Errno::EINVAL,
    Errno::ENOSPC,
    Errno::EROFS,
    Errno::EOPNOTSUPP,
    Errno::EADDRNOTAVAIL,
    Errno::ENETDOWN,
    Errno::ENETUNREACH,
    Errno::ENOBUFS,
    Errno::EHOSTUNREACH,
];

impl World {
    /// Everything that is due within so long happens.
    fn pass(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        loop {
            self.ask();
            self.kernel.run_one();
            if self.deliver(true) | self.deliver(false) || !self.kernel.asked.is_empty() {
                continue;
            }
            match self.plane.next_timeout().filter(|due| *due <= end) {
                Some(due) => self.now = self.now.max(due),
                None => break,
            }
            self.plane.handle_timeout(self.now);
        }
        self.now = end;
        self.plane.handle_timeout(end);
    }
}

#[test]
fn whatever_the_kernel_says_to_one_route_the_others_are_written() {
    for (errno, n) in ERRORS
        .into_iter()
        .flat_map(|errno| [(errno, 0), (errno, 1)])
    {
        let mut world = World::new();
        world.kernel.refuses.insert(block(n), errno);
        world.plane.converged();
        for other in 0..40 {
            let path = via(&["10.9.0.2"]);
            world.wanted.insert(block(other), path.clone());
            world.plane.want(block(other), path);
        }
        world.pass(3);
        assert_eq!(world.plane.counts().installed, 39, "{errno}");
        let before = (world.kernel.dumps, world.kernel.writes);
        // Others come while it is tried again and again, and each is there at once.
        for other in 40..100 {
            let path = via(&["10.9.0.3"]);
            world.wanted.insert(block(other), path.clone());
            world.plane.want(block(other), path);
            world.pass(1);
            let state = world.plane.state(block(other));
            assert_eq!(state, Some(RouteState::Installed), "{errno}");
        }
        assert_eq!(world.kernel.writes - before.1, 60, "{errno}");
        assert!(
            world.kernel.dumps - before.0 <= 5,
            "{errno}: {}",
            world.kernel.dumps
        );
        let problems = world.plane.problems(world.now);
        let [problem] = problems.as_slice() else {
            panic!("{errno}: {problems:?}")
        };
        assert_eq!(problem.code, Code::RouteRefused, "{errno}");
        assert_eq!(problem.subject, Subject::Route(block(n)));
        let reports: Vec<Report> = core::iter::from_fn(|| world.plane.poll_report()).collect();
        assert!(!reports.contains(&Report::Denied), "{errno}");
        world.kernel.refuses.clear();
        world.settle();
        world.check();
        assert_eq!(world.plane.problems(world.now), []);
    }
}

#[test]
fn a_link_without_ipv6_is_named() {
    let mut world = World::new();
    world.kernel.refuses.insert(block(1), Errno::EACCES);
    world.plane.converged();
    world.plane.want(block(1), via(&["10.9.0.2"]));
    world.pass(1);
    let problems = world.plane.problems(world.now);
    assert_eq!(
        problems[0].remedy,
        "set net.ipv6.conf.eth0.disable_ipv6 = 0"
    );
    assert!(
        !problems[0].what.contains("CAP_NET_ADMIN"),
        "{}",
        problems[0]
    );
}
