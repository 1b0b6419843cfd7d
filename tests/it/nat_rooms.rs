//! A pod, its node and the world outside as three network namespaces, for the stories of `nat_netns`.

use std::io::{ErrorKind, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use dunlin::forwarding::{Chooser, Nat};
use dunlin::nft::{Nft, Settings, Status, TableStatus};
use dunlin::topology::{Fabric, Intent, Node, Pool, PoolMode, Speakers};
use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Socket, Type};

pub(crate) use crate::folder::Folder;

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
pub(crate) const PORT: u16 = 7000;

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a network namespace of its own; what is run in it happens there.
pub(crate) struct Room {
    jobs: Sender<Job>,
    thread: i32,
}

impl Room {
    fn open() -> nix::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (ready, opened) = mpsc::channel();
        thread::spawn(move || {
            let result = unshare(CloneFlags::CLONE_NEWNET);
            ready.send(result.map(|()| nix::unistd::gettid())).unwrap();
            for job in queue {
                job();
            }
        });
        let thread = opened.recv().unwrap()?.as_raw();
        let room = Self { jobs, thread };
        room.run(|| ip("link set lo up"));
        Ok(room)
    }

    pub(crate) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, result) = mpsc::channel();
        let job = move || {
            let outcome = catch_unwind(AssertUnwindSafe(work));
            sender.send(outcome).unwrap();
        };
        self.jobs.send(Box::new(job)).unwrap();
        result
            .recv()
            .unwrap()
            .unwrap_or_else(|panic| resume_unwind(panic))
    }

    pub(crate) fn ip(&self, lines: &[&str]) {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        self.run(move || lines.iter().for_each(|line| ip(line)));
    }

    /// Runs nft with `text` as its file and returns what it prints.
    pub(crate) fn nft(&self, text: &str) -> String {
        let text = text.to_owned();
        self.run(move || {
            let child = Command::new("nft")
                .args(["-f", "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn();
            let mut child = child.unwrap();
            child
                .stdin
                .take()
                .unwrap()
                .write_all(text.as_bytes())
                .unwrap();
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{text}");
            String::from_utf8(output.stdout).unwrap()
        })
    }
}

fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {stderr}");
}

/// ```text
/// pod 10.244.1.2, fd00:10:1::2 ── node 10.0.0.1, fd00::1 ── outside 10.0.0.9, fd00::9
/// ```
pub(crate) struct World {
    pub pod: Room,
    pub node: Room,
    pub outside: Room,
    /// Outside, where the pod's datagrams arrive, by family.
    pub ears: [UdpSocket; 2],
}

/// Runs `story` in a world of its own, or says what is missing for it.
pub(crate) fn in_world(story: impl FnOnce(&World)) {
    let strict = std::env::var_os("CI").is_some()
        || std::env::var("DUNLIN_TESTS").is_ok_and(|which| which == "all");
    let has_nft = Command::new("nft").arg("--version").output().is_ok();
    let rooms = [Room::open(), Room::open(), Room::open()];
    match rooms {
        [Ok(pod), Ok(node), Ok(outside)] if has_nft => story(&World::new(pod, node, outside)),
        _ => {
            assert!(!strict, "root and the package nftables are needed");
            println!("skipped: run as root, with nftables: cargo test --test it nat_netns");
        }
    }
}

impl World {
    fn new(pod: Room, node: Room, outside: Room) -> Self {
        node.ip(&[
            &format!("link add p0 type veth peer name eth0 netns {}", pod.thread),
            &format!(
                "link add o0 type veth peer name eth0 netns {}",
                outside.thread
            ),
            "addr add 10.244.1.1/24 dev p0",
            "addr add fd00:10:1::1/64 dev p0 nodad",
            "addr add 10.0.0.1/24 dev o0",
            "addr add fd00::1/64 dev o0 nodad",
            "link set p0 up",
            "link set o0 up",
        ]);
        node.run(|| {
            for switch in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
                std::fs::write(format!("/proc/sys/net/{switch}"), "1").unwrap();
            }
        });
        pod.ip(&[
            "addr add 10.244.1.2/24 dev eth0",
            "addr add fd00:10:1::2/64 dev eth0 nodad",
            "link set eth0 up",
            "route add default via 10.244.1.1",
            "route add default via fd00:10:1::1",
        ]);
        outside.ip(&[
            "addr add 10.0.0.9/24 dev eth0",
            "addr add fd00::9/64 dev eth0 nodad",
            "link set eth0 up",
            "route add 10.244.0.0/16 via 10.0.0.1",
            "route add fd00:10::/32 via fd00::1",
        ]);
        // Another pool's and a disabled pool's addresses are outside, too.
        for address in ["10.245.0.9/32", "10.246.0.9/32", "fd00:11::9/128"] {
            let gateway = if address.contains(':') {
                "fd00::9"
            } else {
                "10.0.0.9"
            };
            outside.ip(&[&format!("addr add {address} dev lo")]);
            node.ip(&[&format!("route add {address} via {gateway}")]);
        }
        let ear = |any: &'static str| {
            outside.run(move || {
                let address = SocketAddr::new(any.parse().unwrap(), PORT);
                let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None).unwrap();
                if address.is_ipv6() {
                    socket.set_only_v6(true).unwrap();
                }
                socket.bind(&address.into()).unwrap();
                socket.set_read_timeout(Some(DEADLINE)).unwrap();
                UdpSocket::from(socket)
            })
        };
        let ears = [ear("0.0.0.0"), ear("::")];
        Self {
            pod,
            node,
            outside,
            ears,
        }
    }

    /// What a datagram of the pod to `target` has as its source when it arrives.
    pub(crate) fn source_at(&self, target: &str) -> SocketAddr {
        self.source_of(&self.pod, None, target)
    }

    /// The same for one of `room` with the address `from`.
    pub(crate) fn source_of(&self, room: &Room, from: Option<&str>, target: &str) -> SocketAddr {
        let target: IpAddr = target.parse().unwrap();
        let [v4, v6] = &self.ears;
        let (ear, any) = if target.is_ipv4() {
            (v4, "0.0.0.0")
        } else {
            (v6, "::")
        };
        let from: IpAddr = from.unwrap_or(any).parse().unwrap();
        room.run(move || {
            let socket = UdpSocket::bind(SocketAddr::new(from, 0)).unwrap();
            socket
                .send_to(b"hello", SocketAddr::new(target, PORT))
                .unwrap();
        });
        let mut bytes = [0; 16];
        let (length, source) = loop {
            match ear.recv_from(&mut bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result.unwrap(),
            }
        };
        assert_eq!(&bytes[..length], b"hello");
        source
    }

    /// The same, without the port.
    pub(crate) fn address_at(&self, target: &str) -> String {
        self.source_at(target).ip().to_string()
    }

    /// An adapter in the node that translates `nat`, which is settled.
    pub(crate) fn keep(&self, nat: Option<Nat>) -> Keeping {
        let mut keeping = self.begin(settings());
        keeping.set(nat);
        keeping
    }

    pub(crate) fn begin(&self, settings: Settings) -> Keeping {
        let (sender, news) = mpsc::channel();
        let sink = move |status| sender.send(status).is_ok();
        let nft = self.node.run(move || Nft::spawn(settings, sink).unwrap());
        Keeping {
            nft,
            news,
            status: Status::default(),
        }
    }
}

pub(crate) fn settings() -> Settings {
    Settings::with_program(None)
}

/// The adapter at work, and what it said last.
pub(crate) struct Keeping {
    pub nft: Nft,
    pub news: Receiver<Status>,
    pub status: Status,
}

impl Keeping {
    /// Says what is wanted, which must be another thing than before, and waits for it.
    pub(crate) fn set(&mut self, nat: Option<Nat>) {
        let wanted = nat.clone().unwrap_or_default();
        let table = |family| match wanted.family(family) {
            Some(_) => TableStatus::Active,
            None => TableStatus::Off,
        };
        let tables = dunlin::net::Family::ALL.map(table);
        assert!(self.nft.set(nat));
        let written = self.status.written;
        self.until(|status| status.tables == tables && status.written > written);
    }

    pub(crate) fn until(&mut self, done: impl Fn(&Status) -> bool) -> Duration {
        let began = Instant::now();
        while !done(&self.status) {
            let left = DEADLINE.saturating_sub(began.elapsed());
            let news = self.news.recv_timeout(left);
            self.status = news.unwrap_or_else(|_| panic!("waited in vain at {:?}", self.status));
        }
        began.elapsed()
    }
}

/// What node `a` translates in a cluster of two nodes, as `change` has it.
pub(crate) fn nat(change: impl FnOnce(&mut Intent)) -> Nat {
    let pool = |cidr: &str, nat_outgoing, disabled| Pool {
        name: cidr.to_owned(),
        cidr: cidr.parse().unwrap(),
        ipip_mode: PoolMode::Never,
        vxlan_mode: PoolMode::Never,
        nat_outgoing,
        disabled,
        disable_bgp_export: false,
    };
    let node = |name: &str, last: u8| {
        let mut node = Node::named(name);
        node.ipv4_address = format!("10.0.0.{last}/24").parse().ok();
        node.ipv6_address = format!("fd00::{last}/64").parse().ok();
        node
    };
    let mut intent = Intent {
        pools: vec![
            pool("10.244.0.0/16", true, false),
            pool("10.245.0.0/16", false, false),
            pool("10.246.0.0/16", false, true),
            pool("fd00:10::/32", true, false),
            pool("fd00:11::/32", false, true),
        ],
        nodes: vec![node("a", 1), node("b", 9)],
        ..Intent::default()
    };
    change(&mut intent);
    nat_of(&intent, None)
}

/// The same, and what it keeps pods from.
pub(crate) fn guarded(change: impl FnOnce(&mut Intent)) -> Nat {
    let mut seen = None;
    let _unguarded = nat(|intent| {
        change(intent);
        seen = Some(intent.clone());
    });
    let intent = seen.unwrap();
    nat_of(&intent, Some(&Speakers::new(&intent)))
}

fn nat_of(intent: &Intent, speakers: Option<&Speakers>) -> Nat {
    Nat::new(&Chooser::new(Arc::new(Fabric::new(intent)), "a"), speakers)
}
