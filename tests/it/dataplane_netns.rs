//! The route installer against the real kernel, each test in a network namespace of its own.
#![expect(clippy::unwrap_used, reason = "a test that can't go on says where")]

mod adoption;
mod ranks;
mod settings;
mod tunnels;

use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;

use dunlin::dataplane::netlink::{Kernel, KernelSettings};
use dunlin::dataplane::{
    Change, Dataplane, Forwarding, KernelInput, NextHop, Report, Resolution, RouteState, Settings,
};
use dunlin::net::Prefix;
use dunlin::time::{Duration, Instant};
use nix::sched::{CloneFlags, unshare};

const DEADLINE: Duration = Duration::from_secs(30);

/// Runs `body` in a fresh namespace with a veth pair, 10.9.0.1/24 and fd00:9::1/64 on its one end.
pub(crate) fn in_namespace(body: impl FnOnce() + Send + 'static) {
    let outcome = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        ip("link set lo up");
        ip("link add v0 type veth peer name v1");
        ip("addr add 10.9.0.1/24 dev v0");
        ip("addr add fd00:9::1/64 dev v0 nodad");
        ip("link set v1 up");
        ip("link set v0 up");
        body();
        Ok::<(), nix::errno::Errno>(())
    })
    .join();
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(errno)) => {
            let strict = std::env::var_os("CI").is_some()
                || std::env::var("DUNLIN_TESTS").is_ok_and(|which| which == "all");
            assert!(
                !strict,
                "no network namespace ({errno}): CAP_SYS_ADMIN is missing"
            );
            println!("skipped ({errno}): run as root: cargo test --test it dataplane_netns");
        }
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

pub(crate) fn ip(arguments: &str) -> String {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn ip_batch(lines: &str) {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(lines.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success());
}

/// The kernel's own listing, one line a route (or a hop), without trailing blanks.
fn listing(arguments: &str) -> Vec<String> {
    ip(arguments)
        .lines()
        .map(|line| line.trim().to_owned())
        .collect()
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn via(addresses: &[&str]) -> Forwarding {
    let hop = |text: &&str| NextHop::routed(text.parse::<IpAddr>().unwrap());
    Forwarding::Via(addresses.iter().map(hop).collect())
}

/// A dataplane with its kernel thread, driven by hand.
struct Rig {
    plane: Dataplane,
    kernel: Kernel,
    inputs: Receiver<Vec<KernelInput>>,
    start: std::time::Instant,
    /// Changes made by others that were heard.
    heard: usize,
    overruns: usize,
    written: usize,
}

impl Rig {
    fn new() -> Self {
        Self::with(KernelSettings::default())
    }

    fn with(settings: KernelSettings) -> Self {
        // Nobody reads in between: the channel is the bound, the socket buffer what is behind it.
        let (sender, inputs) = sync_channel(4);
        let kernel = Kernel::spawn(settings, move |batch| sender.send(batch).is_ok()).unwrap();
        Self {
            plane: Dataplane::new(Settings::default()),
            kernel,
            inputs,
            start: std::time::Instant::now(),
            heard: 0,
            overruns: 0,
            written: 0,
        }
    }

    fn synced() -> Self {
        let mut rig = Self::new();
        rig.until("the first dump", |plane| {
            plane.is_synced() && plane.is_idle()
        });
        rig
    }

    fn now(&self) -> Instant {
        Instant::from_micros(u64::try_from(self.start.elapsed().as_micros()).unwrap())
    }

    /// Moves bytes and timers until `done`; a deadline, never a sleep.
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Dataplane) -> bool) {
        let give_up = self.now() + DEADLINE;
        loop {
            let ops = self.plane.poll_ops(1024);
            if !ops.is_empty() {
                self.written += ops.len();
                assert!(self.kernel.send(ops));
                continue;
            }
            if done(&mut self.plane) {
                return;
            }
            let now = self.now();
            let counts = self.plane.counts();
            assert!(now < give_up, "waited in vain for {what}: {counts:?}");
            let wake = self.plane.next_timeout().unwrap_or(give_up).min(give_up);
            match self.inputs.recv_timeout(wake.since(now)) {
                Ok(batch) => self.take(batch),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => panic!("the kernel thread is gone"),
            }
            let now = self.now();
            self.plane.handle_timeout(now);
        }
    }

    fn take(&mut self, batch: Vec<KernelInput>) {
        let now = self.now();
        for input in batch {
            // The kernel's own routes come and go with its addresses, at its own pace.
            let route = match &input {
                KernelInput::Changed(Change::Route { route, .. } | Change::RouteGone(route)) => {
                    route.protocol != 2
                }
                KernelInput::Changed(_)
                | KernelInput::Dumped(_)
                | KernelInput::Done { .. }
                | KernelInput::Carried { .. }
                | KernelInput::Overrun => false,
            };
            self.heard += usize::from(route);
            self.overruns += usize::from(input == KernelInput::Overrun);
            self.plane.handle(now, input);
        }
    }

    fn until_installed(&mut self, text: &str) {
        let wanted = prefix(text);
        self.until(text, |plane| {
            plane.state(wanted) == Some(RouteState::Installed) && plane.is_idle()
        });
    }

    /// Everything that happened before this call is taken in when it returns.
    fn catch_up(&mut self) {
        ip("route add unreachable 10.255.255.255/32 proto static metric 77");
        let marker = "10.255.255.255".parse().unwrap();
        self.plane.track(NextHop::routed(marker));
        self.until("the marker", |plane| {
            let found = plane.view().resolve(&NextHop::routed(marker));
            found == Resolution::Unreachable(dunlin::dataplane::Unreachable::Dropped)
                && plane.is_idle()
        });
        self.plane.untrack(&NextHop::routed(marker));
        ip("route del unreachable 10.255.255.255/32 proto static metric 77");
    }

    fn reports(&mut self) -> Vec<Report> {
        core::iter::from_fn(|| self.plane.poll_report()).collect()
    }
}

#[test]
fn every_shape_of_route_is_installed_and_removed() {
    in_namespace(|| {
        ip("route add 10.50.0.0/16 via 10.9.0.254");
        let mut rig = Rig::synced();
        rig.plane.converged();
        rig.plane.want(prefix("10.244.1.0/26"), via(&["10.9.0.2"]));
        rig.plane
            .want(prefix("10.244.2.0/26"), via(&["10.9.0.2", "10.9.0.3"]));
        rig.plane
            .want(prefix("10.244.3.0/26"), Forwarding::Blackhole);
        rig.plane.want(prefix("10.244.4.0/26"), via(&["10.50.1.1"]));
        rig.plane.want(prefix("10.244.5.0/26"), via(&["fd00:9::2"]));
        rig.plane.want(prefix("10.244.6.0/26"), via(&["10.77.0.1"]));
        rig.plane
            .want(prefix("fd00:244:1::/64"), via(&["fd00:9::2"]));
        rig.plane
            .want(prefix("fd00:244:2::/64"), via(&["fd00:9::2", "fd00:9::3"]));
        rig.plane
            .want(prefix("fd00:244:3::/64"), Forwarding::Blackhole);
        rig.until("all but one", |plane| {
            plane.counts().installed == 8 && plane.is_idle()
        });
        assert_eq!(
            rig.plane.state(prefix("10.244.6.0/26")),
            Some(RouteState::Unresolved)
        );
        let v4 = listing("route show proto 179");
        assert_eq!(
            v4,
            [
                "10.244.1.0/26 via 10.9.0.2 dev v0",
                "10.244.2.0/26",
                "nexthop via 10.9.0.2 dev v0 weight 1",
                "nexthop via 10.9.0.3 dev v0 weight 1",
                "blackhole 10.244.3.0/26 metric 4294967295",
                "10.244.4.0/26 via 10.9.0.254 dev v0",
                "10.244.5.0/26 via inet6 fd00:9::2 dev v0",
            ]
        );
        let v6 = ip("-6 route show proto 179");
        assert!(
            v6.contains("fd00:244:1::/64 via fd00:9::2 dev v0 metric 300"),
            "{v6}"
        );
        assert_eq!(v6.matches("nexthop via fd00:9::").count(), 2, "{v6}");
        assert!(v6.contains("blackhole fd00:244:3::/64"), "{v6}");

        // Shapes change into each other in place, and the last one goes when it is unwanted.
        rig.plane
            .want(prefix("fd00:244:2::/64"), Forwarding::Blackhole);
        rig.plane
            .want(prefix("fd00:244:3::/64"), via(&["fd00:9::2", "fd00:9::3"]));
        rig.plane.want(prefix("10.244.3.0/26"), via(&["10.9.0.3"]));
        rig.plane.unwant(prefix("10.244.2.0/26"));
        rig.plane.unwant(prefix("fd00:244:1::/64"));
        rig.until("changes", |plane| {
            plane.counts().installed == 6 && plane.is_idle()
        });
        rig.catch_up();
        let v6 = ip("-6 route show proto 179");
        assert!(v6.contains("blackhole fd00:244:2::/64"), "{v6}");
        assert_eq!(v6.matches("nexthop via fd00:9::").count(), 2, "{v6}");
        assert!(!v6.contains("fd00:244:1::"), "{v6}");
        assert_eq!(
            rig.heard, 1,
            "own echoes are filtered; only the marker is heard"
        );
    });
}

#[test]
fn a_restart_writes_nothing_and_later_removes_what_is_not_wanted() {
    in_namespace(|| {
        let all: Vec<Prefix> = (0..500_u32)
            .map(|n| {
                Prefix::new(
                    std::net::Ipv4Addr::from_bits(0x0AF4_0000 + n * 64).into(),
                    26,
                )
            })
            .collect();
        let mut first = Rig::synced();
        for wanted in &all {
            first.plane.want(*wanted, via(&["10.9.0.2", "10.9.0.3"]));
        }
        first
            .plane
            .want(prefix("fd00:244:2::/64"), via(&["fd00:9::2", "fd00:9::3"]));
        first.until("all", |plane| {
            plane.counts().installed == 501 && plane.is_idle()
        });
        drop(first);

        let mut watcher = Rig::synced();
        let mut second = Rig::synced();
        let before = second.written;
        for wanted in &all[1..] {
            second.plane.want(*wanted, via(&["10.9.0.3", "10.9.0.2"]));
        }
        second
            .plane
            .want(prefix("fd00:244:2::/64"), via(&["fd00:9::3", "fd00:9::2"]));
        second.until("idle", |plane| plane.is_idle());
        assert_eq!(second.plane.counts().installed, 500);
        assert_eq!(second.written, before, "no operation");
        assert_eq!(second.plane.state(all[0]), Some(RouteState::Stale));
        watcher.catch_up();
        assert_eq!(watcher.heard, 1, "only the marker");

        second.plane.converged();
        second.until("the end of the stale one", |plane| {
            plane.counts().in_kernel == 500
        });
        assert!(!ip("route show proto 179").contains("10.244.0.0/26"));
    });
}

#[test]
fn what_others_do_to_our_routes_is_undone_and_theirs_are_left() {
    in_namespace(|| {
        ip("route add 10.244.9.0/26 via 10.9.0.77 proto static");
        let mut rig = Rig::synced();
        rig.plane.converged();
        for text in ["10.244.1.0/26", "10.244.2.0/26", "10.244.9.0/26"] {
            rig.plane.want(prefix(text), via(&["10.9.0.2"]));
        }
        rig.plane
            .want(prefix("fd00:244:2::/64"), via(&["fd00:9::2", "fd00:9::3"]));
        rig.until("three", |plane| {
            plane.counts().installed == 3 && plane.is_idle()
        });
        assert_eq!(
            rig.plane.state(prefix("10.244.9.0/26")),
            Some(RouteState::Conflict { protocol: 4 })
        );
        let conflict = Report::Conflict {
            prefix: prefix("10.244.9.0/26"),
            protocol: 4,
        };
        assert!(rig.reports().contains(&conflict));

        ip("route del 10.244.1.0/26");
        ip("route replace 10.244.2.0/26 via 10.9.0.66");
        ip("-6 route del fd00:244:2::/64 via fd00:9::2 dev v0");
        rig.catch_up();
        rig.until("repairs", |plane| {
            plane.counts().installed == 3 && plane.is_idle()
        });
        let listed = ip("route show");
        assert!(
            listed.contains("10.244.1.0/26 via 10.9.0.2 dev v0 proto 179"),
            "{listed}"
        );
        assert!(
            listed.contains("10.244.2.0/26 via 10.9.0.2 dev v0 proto 179"),
            "{listed}"
        );
        assert!(
            listed.contains("10.244.9.0/26 via 10.9.0.77 dev v0 proto static"),
            "{listed}"
        );
        assert_eq!(ip("-6 route show proto 179").matches("nexthop").count(), 2);

        // The foreign one goes, ours takes its place; ours goes, nothing foreign goes with it.
        ip("route del 10.244.9.0/26");
        rig.until_installed("10.244.9.0/26");
        ip("route add 10.244.1.0/26 via 10.9.0.55 metric 5 proto static");
        rig.plane.unwant(prefix("10.244.1.0/26"));
        rig.until("deletion", |plane| {
            plane.state(prefix("10.244.1.0/26")).is_none()
        });
        assert!(ip("route show").contains("10.244.1.0/26 via 10.9.0.55 dev v0 proto static"));
    });
}

#[test]
fn routes_follow_their_links_down_and_up() {
    in_namespace(|| {
        let mut rig = Rig::synced();
        rig.plane.converged();
        let far = NextHop::routed("10.9.0.2".parse().unwrap());
        rig.plane.track(far);
        rig.plane.want(prefix("10.244.1.0/26"), via(&["10.9.0.2"]));
        rig.plane
            .want(prefix("fd00:244:1::/64"), via(&["fd00:9::2"]));
        rig.until("both", |plane| {
            plane.counts().installed == 2 && plane.is_idle()
        });
        let (_, found) = core::iter::from_fn(|| rig.plane.poll_resolution())
            .last()
            .unwrap();
        assert!(found.is_reachable());

        ip("link set v0 down");
        rig.until("the loss", |plane| {
            plane.counts().in_kernel == 0 && plane.is_idle()
        });
        let (_, found) = core::iter::from_fn(|| rig.plane.poll_resolution())
            .last()
            .unwrap();
        assert!(!found.is_reachable());
        ip("link set v0 up");
        // IPv6 addresses do not outlive a link that goes down.
        ip("addr replace fd00:9::1/64 dev v0 nodad");
        rig.until("the return", |plane| {
            plane.counts().installed == 2 && plane.is_idle()
        });
        assert_eq!(
            listing("route show proto 179"),
            ["10.244.1.0/26 via 10.9.0.2 dev v0"]
        );

        // The link is made anew, under another index.
        ip("link del v0");
        rig.until("the loss", |plane| {
            plane.counts().in_kernel == 0 && plane.is_idle()
        });
        ip("link add v0 index 99 type veth peer name v1");
        ip("addr add 10.9.0.1/24 dev v0");
        ip("link set v1 up");
        ip("link set v0 up");
        rig.until_installed("10.244.1.0/26");
        assert_eq!(
            listing("route show proto 179"),
            ["10.244.1.0/26 via 10.9.0.2 dev v0"]
        );
    });
}

#[test]
fn a_hundred_thousand_routes_go_in_and_out_in_batches() {
    in_namespace(|| {
        let mut rig = Rig::synced();
        rig.plane.converged();
        let all: Vec<Prefix> = (0..100_000_u32)
            .map(|n| {
                Prefix::new(
                    std::net::Ipv4Addr::from_bits(0x1400_0000 + n * 64).into(),
                    26,
                )
            })
            .collect();
        for wanted in &all {
            rig.plane.want(*wanted, via(&["10.9.0.2"]));
        }
        let (cpu, wall) = (cpu_time(), std::time::Instant::now());
        rig.until("all in", |plane| plane.is_idle());
        println!("add: {:?} CPU, {:?} wall", cpu_time() - cpu, wall.elapsed());
        assert_eq!(rig.plane.counts().installed, 100_000);
        assert_eq!(listing("route show proto 179").len(), 100_000);

        let (cpu, wall) = (cpu_time(), std::time::Instant::now());
        let reader = Rig::synced();
        println!(
            "dump: {:?} CPU, {:?} wall",
            cpu_time() - cpu,
            wall.elapsed()
        );
        assert_eq!(reader.plane.counts().in_kernel, 100_000);
        drop(reader);

        for wanted in &all {
            rig.plane.unwant(*wanted);
        }
        let (cpu, wall) = (cpu_time(), std::time::Instant::now());
        rig.until("all out", |plane| plane.is_idle());
        println!(
            "delete: {:?} CPU, {:?} wall",
            cpu_time() - cpu,
            wall.elapsed()
        );
        assert_eq!(listing("route show proto 179").len(), 0);
        assert_eq!(rig.heard, 0, "own echoes never reach the dataplane");
    });
}

/// The process's, of user and kernel.
fn cpu_time() -> Duration {
    let used = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).unwrap();
    let time = |t: nix::sys::time::TimeVal| {
        Duration::from_micros(u64::try_from(t.tv_sec() * 1_000_000 + t.tv_usec()).unwrap())
    };
    time(used.user_time()) + time(used.system_time())
}

#[test]
fn lost_notifications_are_made_good_by_a_dump() {
    in_namespace(|| {
        let tiny = KernelSettings {
            news_buffer: 4096,
            ..KernelSettings::default()
        };
        let mut rig = Rig::with(tiny);
        rig.plane.converged();
        let count = 2000_u32;
        let block = |n: u32| std::net::Ipv4Addr::from_bits(0x0AF4_0000 + n * 64);
        for n in 0..count {
            rig.plane
                .want(Prefix::new(block(n).into(), 26), via(&["10.9.0.2"]));
        }
        rig.until("all in", |plane| {
            plane.counts().installed == 2000 && plane.is_idle()
        });
        let lines: String = (0..count)
            .map(|n| format!("route del {}/26\n", block(n)))
            .collect();
        ip_batch(&lines);
        rig.until("an overrun", |plane| {
            core::iter::from_fn(|| plane.poll_report()).any(|report| report == Report::Overrun)
        });
        rig.until("repairs", |plane| {
            plane.counts().installed == 2000 && plane.is_idle()
        });
        assert!(rig.overruns > 0);
        assert_eq!(listing("route show proto 179").len(), 2000);
    });
}

/// Other programs' routes over nexthop objects, with and without the hops in the routes themselves.
#[test]
fn next_hops_follow_the_nexthop_objects_of_others() {
    for compatible in ["1", "0"] {
        in_namespace(move || {
            // The one of this thread's namespace.
            let switch = "/proc/sys/net/ipv4/nexthop_compat_mode";
            if std::fs::write(switch, compatible).is_err() {
                println!("skipped: no {switch} that can be written");
                return;
            }
            ip("nexthop add id 1 via 10.9.0.5 dev v0");
            ip("nexthop add id 2 via 10.9.0.6 dev v0");
            ip("nexthop add id 10 group 1/2,3");
            ip("nexthop add id 21 via fd00:9::5 dev v0");
            ip("route add 10.50.0.0/16 nhid 10 proto static");
            ip("-6 route add fd00:50::/64 nhid 21 proto static");
            let mut rig = Rig::synced();
            rig.plane.converged();
            let (four, six) = (prefix("10.244.1.0/26"), prefix("fd00:244:1::/64"));
            rig.plane.want(four, via(&["10.50.0.1"]));
            rig.plane.want(six, via(&["fd00:50::1"]));
            let has = |rig: &mut Rig, of: Prefix, wanted: &[&str]| {
                rig.until(&format!("{of} via {wanted:?}"), |plane| {
                    let hops = plane.installed(of).map(|shape| shape.hops.clone());
                    let hops = hops.unwrap_or_default();
                    let found = hops
                        .iter()
                        .map(|hop| format!("{}*{}", hop.via.unwrap(), hop.weight));
                    found.eq(wanted.iter().copied()) && plane.is_idle()
                });
            };
            has(&mut rig, four, &["10.9.0.5*1", "10.9.0.6*3"]);
            has(&mut rig, six, &["fd00:9::5*1"]);
            // Replaced in place: ours follow in place, too.
            ip("nexthop replace id 2 via 10.9.0.7 dev v0");
            ip("nexthop replace id 21 via fd00:9::7 dev v0");
            has(&mut rig, four, &["10.9.0.5*1", "10.9.0.7*3"]);
            has(&mut rig, six, &["fd00:9::7*1"]);
            ip("nexthop replace id 10 group 1");
            has(&mut rig, four, &["10.9.0.5*1"]);
            // And gone at once with them.
            let before = rig.now();
            ip("nexthop del id 1");
            ip("nexthop del id 21");
            has(&mut rig, four, &[]);
            has(&mut rig, six, &[]);
            assert!(rig.now().since(before) < Duration::from_secs(2), "at once");
        });
    }
}
