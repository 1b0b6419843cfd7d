//! natOutgoing against the real kernel: what a packet's source is when it arrives outside.
#![expect(clippy::unwrap_used, reason = "a test that can't go on says where")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use dunlin::forwarding::Nat;
use dunlin::nft::{Settings, TableStatus};
use dunlin::topology::{NatExclusions, Node, PoolMode};

use super::nat_rooms::{DEADLINE, Folder, PORT, World, in_world, nat, settings};

#[test]
fn pods_leave_with_the_nodes_address_and_reach_pools_with_their_own() {
    in_world(|world| {
        let foreign = "table ip other { chain c { type nat hook postrouting priority 90; }; }";
        world.node.nft(foreign);
        assert_eq!(world.address_at("10.0.0.9"), "10.244.1.2");
        let before = world.node.nft("list table ip other");
        let kept = world.keep(Some(nat(|_| {})));
        for (target, source) in [
            ("10.0.0.9", "10.0.0.1"),
            ("fd00::9", "fd00::1"),
            ("10.245.0.9", "10.244.1.2"),
            ("10.246.0.9", "10.244.1.2"),
            ("fd00:11::9", "fd00:10:1::2"),
        ] {
            assert_eq!(world.address_at(target), source, "to {target}");
        }
        let own = world.source_of(&world.node, Some("10.244.1.1"), "10.245.0.9");
        assert_eq!(own.ip().to_string(), "10.244.1.1");
        assert_eq!(world.node.nft("list table ip other"), before);
        assert_eq!(
            kept.status.repaired, 0,
            "its own writes are not another program's"
        );
        assert_eq!(kept.status.to_string(), "on");
    });
}

#[test]
fn nodes_are_reached_under_the_pods_address_if_they_are_excluded() {
    in_world(|world| {
        let mut kept = world.keep(Some(nat(|_| {})));
        assert_eq!(world.address_at("10.0.0.9"), "10.0.0.1");
        let excluded = nat(|intent| {
            intent.felix.nat_outgoing_exclusions = NatExclusions::IpPoolsAndHostIps;
        });
        kept.set(Some(excluded));
        world.assert_address_at("10.0.0.9", "10.244.1.2");
        world.assert_address_at("fd00::9", "fd00:10:1::2");
        // Without node b at that address it is outside again.
        kept.set(Some(nat(|intent| {
            intent.felix.nat_outgoing_exclusions = NatExclusions::IpPoolsAndHostIps;
            intent.nodes.pop();
        })));
        world.assert_address_at("10.0.0.9", "10.0.0.1");
        assert_eq!(kept.status.repaired, 0);
    });
}

#[test]
fn the_source_address_and_the_ports_are_as_configured() {
    in_world(|world| {
        world.node.ip(&["addr add 10.0.0.77/32 dev o0"]);
        let ports = 30_000..=30_003;
        let _kept = world.keep(Some(nat(|intent| {
            intent.felix.nat_outgoing_address = "10.0.0.77".parse().ok();
            intent.felix.nat_port_range = Some((*ports.start(), *ports.end()));
        })));
        let v4 = world.source_at("10.0.0.9");
        assert_eq!(v4.ip().to_string(), "10.0.0.77");
        assert!(ports.contains(&v4.port()), "{v4}");
        let v6 = world.source_at("fd00::9");
        assert_eq!(v6.ip().to_string(), "fd00::1");
        assert!(ports.contains(&v6.port()), "{v6}");
        let (_stream, peer) = world.connect();
        assert_eq!(peer.ip().to_string(), "10.0.0.77");
        assert!(ports.contains(&peer.port()), "{peer}");
    });
}

#[test]
fn datagrams_to_the_vxlan_port_take_no_port_of_the_range() {
    in_world(|world| {
        // One place for all of them: the second flow would find none.
        let _kept = world.keep(Some(nat(|intent| {
            intent.felix.nat_port_range = Some((30_000, 30_000));
            intent.felix.vxlan_port = PORT;
            intent.felix.allow_vxlan_from_workloads = true;
            for pool in &mut intent.pools {
                pool.vxlan_mode = PoolMode::CrossSubnet;
            }
        })));
        let sources = [(); 3].map(|()| world.source_at("10.0.0.9"));
        assert!(
            sources
                .iter()
                .all(|source| source.ip().to_string() == "10.0.0.1")
        );
        let in_range = sources.iter().filter(|source| source.port() == 30_000);
        assert!(in_range.count() < 2, "{sources:?}");
    });
}

#[test]
fn only_links_of_the_filter_count() {
    in_world(|world| {
        let filtered = |text: &str| {
            let text = text.to_owned();
            Some(nat(|intent| {
                intent.felix.nat_outgoing_interface_filter = Some(text)
            }))
        };
        let mut kept = world.keep(filtered("o+"));
        assert_eq!(world.address_at("10.0.0.9"), "10.0.0.1");
        for (filter, source) in [
            ("eth+", "10.244.1.2"),
            ("o0", "10.0.0.1"),
            ("o", "10.244.1.2"),
            ("+", "10.0.0.1"),
            ("o*", "10.244.1.2"),
        ] {
            kept.set(filtered(filter));
            world.assert_address_at("10.0.0.9", source);
        }
    });
}

#[test]
fn own_packets_into_a_tunnel_leave_with_the_tunnels_address() {
    in_world(|world| {
        let vxlan = "link add vxlan.calico type vxlan id 4096 dstport 4789";
        world.node.ip(&[
            &format!("{vxlan} local 10.0.0.1 remote 10.0.0.9"),
            "addr add 10.244.1.0/32 dev vxlan.calico",
            "link set vxlan.calico up",
            "route add 10.244.9.0/24 dev vxlan.calico",
        ]);
        world.outside.ip(&[
            &format!("{vxlan} local 10.0.0.9 remote 10.0.0.1"),
            "addr add 10.244.9.9/24 dev vxlan.calico",
            "link set vxlan.calico up",
            "route add 10.244.1.0/24 dev vxlan.calico",
        ]);
        let into_tunnel = |from| {
            let source = world.source_of(&world.node, Some(from), "10.244.9.9");
            source.ip().to_string()
        };
        assert_eq!(into_tunnel("10.0.0.1"), "10.0.0.1", "without the rule");
        let _kept = world.keep(Some(nat(|intent| {
            for pool in &mut intent.pools {
                (pool.nat_outgoing, pool.vxlan_mode) = (false, PoolMode::Always);
            }
            intent.nodes[0].tunnels.vxlan_v4 = "10.244.1.0".parse().ok();
        })));
        assert_eq!(into_tunnel("10.0.0.1"), "10.244.1.0");
        assert_eq!(into_tunnel("10.244.1.0"), "10.244.1.0");
        assert_eq!(world.address_at("10.244.9.9"), "10.244.1.2", "a pod's own");
        assert_eq!(
            world.address_at("10.0.0.9"),
            "10.244.1.2",
            "no pool asks for NAT"
        );
    });
}

#[test]
fn a_table_of_another_shape_is_replaced_and_thousands_of_nodes_fit() {
    in_world(|world| {
        world.node.nft(
            "add table ip dunlin; add set ip dunlin nodes { type inet_service; }; \
             add chain ip dunlin postrouting; add rule ip dunlin postrouting drop",
        );
        let mut kept = world.keep(Some(nat(|_| {})));
        world.assert_address_at("10.0.0.9", "10.0.0.1");
        let many = |first: u8| {
            nat(|intent| {
                intent.felix.nat_outgoing_exclusions = NatExclusions::IpPoolsAndHostIps;
                for number in 0..5000 {
                    let mut node = Node::named(format!("node-{number}"));
                    let address = format!("10.{first}.{}.{}/8", number / 250, number % 250);
                    node.ipv4_address = address.parse().ok();
                    intent.nodes.push(node);
                }
            })
        };
        let began = Instant::now();
        kept.set(Some(many(1)));
        kept.set(Some(many(2)));
        println!("5000 nodes and 5000 others: {:?}", began.elapsed());
        world.assert_address_at("10.0.0.9", "10.244.1.2");
        let listing = world.node.nft("list set ip dunlin nodes");
        assert!(listing.contains("10.2.19.249") && !listing.contains("10.1.19.249"));
        assert_eq!(kept.status.repaired, 0);
    });
}

/// What one of many states of the rules wants: each translates what goes to 10.0.0.9.
fn state(number: usize) -> Nat {
    nat(|intent| {
        let extra = format!("10.{}.0.0/16", 100 + number % 7);
        intent.pools[1].cidr = extra.parse().unwrap();
        if number.is_multiple_of(2) {
            intent.felix.nat_port_range = Some((1024, 65_535));
        }
        if number.is_multiple_of(3) {
            intent.felix.nat_outgoing_exclusions = NatExclusions::IpPoolsAndHostIps;
            intent.nodes.pop();
        }
    })
}

#[test]
fn a_change_breaks_no_connection_and_lets_no_packet_through() {
    in_world(|world| {
        let mut kept = world.keep(Some(state(0)));
        let ((mut near, mut far), _) = world.connect();
        let stop = Arc::new(AtomicBool::new(false));
        let (halt, ear) = (Arc::clone(&stop), world.ears[0].try_clone().unwrap());
        let flows = world.pod.run(move || {
            // A socket's namespace is that of the thread which opens it; each flow is a new one.
            let target: SocketAddr = ([10, 0, 0, 9], PORT).into();
            thread::spawn(move || {
                let mut sent = 0_u64;
                while !halt.load(Ordering::Relaxed) {
                    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                    sent += u64::from(socket.send_to(b"flow", target).is_ok());
                }
                sent
            })
        });
        let halt = Arc::clone(&stop);
        let counting = thread::spawn(move || {
            ear.set_read_timeout(Some(Duration::from_millis(200)))
                .unwrap();
            let (mut seen, mut bare, mut bytes) = (0_u64, 0_u64, [0; 16]);
            loop {
                match ear.recv_from(&mut bytes) {
                    Ok((_, source)) => {
                        seen += 1;
                        bare += u64::from(source.ip() != IpAddr::from([10, 0, 0, 1]));
                    }
                    Err(_) if halt.load(Ordering::Relaxed) => return (seen, bare),
                    Err(_) => {}
                }
            }
        });
        let restarts = std::env::var("DUNLIN_NAT_RESTARTS").map_or(3, |n| n.parse().unwrap());
        let began = Instant::now();
        for number in 1..=60 {
            kept.set(Some(state(number)));
            near.write_all(&[7]).unwrap();
            far.read_exact(&mut [0]).unwrap();
        }
        let chain = world.chain();
        for number in 0..restarts {
            // A restart: the first write of a process is about a table that it does not know.
            drop(kept);
            kept = world.keep(Some(state(number)));
        }
        near.write_all(&[7]).unwrap();
        far.read_exact(&mut [0]).unwrap();
        assert_eq!(world.chain(), chain, "a restart adopts the chain");
        let took = began.elapsed();
        stop.store(true, Ordering::Relaxed);
        let sent = flows.join().unwrap();
        let (seen, bare) = counting.join().unwrap();
        println!("{seen} of {sent} new flows in {took:?}, {bare} untranslated");
        assert!(seen > 500, "{seen} of {sent}");
        assert_eq!(bare, 0, "of {seen}");
        assert_eq!(kept.status.repaired, 0);
    });
}

#[test]
fn what_another_program_removes_or_changes_is_put_back_at_once() {
    in_world(|world| {
        let mut kept = world.keep(Some(nat(|_| {})));
        let [ours4, ours6] = ["list table ip dunlin", "list table ip6 dunlin"];
        let (before4, before6) = (world.node.nft(ours4), world.node.nft(ours6));
        for (number, harm) in [
            "flush ruleset",
            "delete table ip dunlin",
            "flush chain ip6 dunlin postrouting",
            "add element ip dunlin all-pools { 11.0.0.0/8 }",
            "insert rule ip dunlin postrouting accept",
        ]
        .into_iter()
        .enumerate()
        {
            let repaired = kept.status.repaired;
            world.node.nft(harm);
            let took = kept.until(|status| {
                status.repaired > repaired && status.tables == [const { TableStatus::Active }; 2]
            });
            println!("{harm}: back after {took:?}");
            assert_eq!(world.node.nft(ours4), before4, "{number} {harm}");
            assert_eq!(world.node.nft(ours6), before6, "{number} {harm}");
        }
        world.node.nft("add table ip other; add table inet dunlin");
        assert_eq!(world.address_at("10.0.0.9"), "10.0.0.1");
        assert_eq!(kept.status.repaired, 6, "{}", kept.status);
        assert!(
            kept.status
                .to_string()
                .ends_with("put back 6 times after other programs' changes")
        );
    });
}

#[test]
fn a_program_that_insists_is_answered_ever_more_slowly() {
    in_world(|world| {
        let mut kept = world.keep(Some(nat(|_| {})));
        let began = Instant::now();
        for times in 1..=5 {
            world.node.nft("delete table ip dunlin");
            kept.until(|status| {
                status.repaired == times && status.tables == [const { TableStatus::Active }; 2]
            });
        }
        // The first at once, the next after pauses of at least 20, 40, 80 and 160 ms.
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(300), "{took:?}");
        assert!(took < Duration::from_secs(10), "{took:?}");
    });
}

#[test]
fn without_anything_to_translate_leftovers_go_and_nothing_else() {
    in_world(|world| {
        world
            .node
            .nft("add table ip dunlin; add chain ip dunlin old; add table ip6 dunlin");
        world.node.nft("add table ip other; add table inet dunlin");
        let mut kept = world.keep(None);
        let tables = || world.node.nft("list tables");
        assert_eq!(tables(), "table ip other\ntable inet dunlin\n");
        kept.set(Some(nat(|intent| intent.pools.truncate(3))));
        assert!(tables().contains("table ip dunlin\n") && !tables().contains("ip6"));
        kept.set(None);
        assert_eq!(tables(), "table ip other\ntable inet dunlin\n");
        assert_eq!(kept.status.to_string(), "off");
        // The tables of one that ends stay.
        kept.set(Some(nat(|_| {})));
        drop(kept);
        assert_eq!(world.address_at("10.0.0.9"), "10.0.0.1");
    });
}

#[test]
fn without_nft_it_is_said_and_tried_again() {
    in_world(|world| {
        let folder = Folder::new("missing");
        let mut kept = world.begin(Settings {
            places: vec![folder.0.join("nft")],
            held: None,
            limit: Duration::from_millis(300),
            retry: Duration::from_millis(50),
        });
        assert!(kept.nft.set(Some(nat(|_| {}))));
        kept.until(|status| status.is_settled());
        assert_eq!(
            kept.status.to_string(),
            format!(
                "nftables is needed: there is no program {}/nft: install the package nftables, or say \
                 where it is ([nat] nft); no packet of a pod is translated or kept from nodes' BGP",
                folder.0.display()
            )
        );
        // One that never ends is ended.
        write_program(&folder, "exec sleep 1000");
        kept.until(|status| {
            status
                .to_string()
                .contains("nft has not answered within 300ms")
        });
        write_program(&folder, "echo 'Error: Operation not supported' >&2; exit 1");
        kept.until(|status| status.to_string().contains("the kernel lacks nf_tables"));
        write_program(
            &folder,
            "PATH=/usr/sbin:/sbin:/usr/bin:/bin exec nft \"$@\"",
        );
        kept.until(|status| status.to_string() == "on");
        assert_eq!(world.address_at("10.0.0.9"), "10.0.0.1");
        // It is gone again: what is there stays there, until something else is wanted.
        std::fs::remove_file(folder.0.join("nft")).unwrap();
        assert!(kept.nft.set(Some(state(1))));
        kept.until(|status| status.is_failing());
        let said = kept.status.to_string();
        assert!(
            said.contains("the former rules stay in force; IPv6: on"),
            "{said}"
        );
        assert_eq!(world.address_at("10.0.0.9"), "10.0.0.1");
    });
}

#[test]
fn the_daemon_has_the_rules_before_it_runs_and_follows_its_files() {
    in_world(|world| {
        let folder = Folder::new("daemon");
        let cluster = |nat: bool| {
            let text = format!(
                "[bgp]\nas-number = 64512\n[[ip-pool]]\ncidr = \"10.244.0.0/16\"\n\
                 nat-outgoing = {nat}\n[[node]]\nname = \"a\"\n\
                 ipv4-address = \"10.0.0.1/24\"\nblocks = [\"10.244.1.0/26\"]\n"
            );
            std::fs::write(folder.0.join("cluster.toml"), text).unwrap();
        };
        let tables = || world.node.nft("list tables");
        cluster(true);
        let daemon = Daemon::start(world, &folder, "backend = \"bgp\"");
        assert_eq!(tables(), "table ip dunlin\n");
        world.assert_address_at("10.0.0.9", "10.0.0.1");
        cluster(false);
        daemon.until("natOutgoing: off; pods are kept from nodes' BGP: IPv4: on; IPv6: off");
        world.assert_address_at("10.0.0.9", "10.244.1.2");
        let rules = world.node.nft("list table ip dunlin");
        assert!(rules.contains("a pod is no neighbour of nodes"), "{rules}");
        cluster(true);
        daemon.until("natOutgoing: IPv4: on; IPv6: off");
        drop(daemon);
        assert_eq!(tables(), "table ip dunlin\n", "rules stay as routes do");
        let hands_off = Daemon::start(world, &folder, "kernel-routes = false");
        assert_eq!(tables(), "table ip dunlin\n", "no hands on the kernel");
        drop(hands_off);
        let _none = Daemon::start(world, &folder, "backend = \"none\"");
        assert_eq!(tables(), "");
    });
}

#[test]
fn the_rules_follow_a_change_of_mode_when_it_comes_into_force() {
    in_world(|world| {
        let folder = Folder::new("mode");
        let cluster = |mode: &str| {
            let text = format!(
                "[[ip-pool]]\ncidr = \"10.244.0.0/16\"\nvxlan-mode = \"{mode}\"\n\
                 [[node]]\nname = \"a\"\nipv4-address = \"10.0.0.1/24\"\n\
                 blocks = [\"10.244.1.0/26\"]\n"
            );
            std::fs::write(folder.0.join("cluster.toml"), text).unwrap();
        };
        cluster("Never");
        let routing = "backend = \"vxlan\"\nmode-switch-delay = 1";
        let daemon = Daemon::start(world, &folder, routing);
        cluster("Always");
        daemon.until("natOutgoing: IPv4: on; IPv6: off");
        let rules = world.node.nft("list table ip dunlin");
        assert!(rules.contains("vxlan.calico"), "{rules}");
    });
}

/// A daemon in the node; killed when it goes out of scope.
struct Daemon {
    child: Child,
    lines: Receiver<String>,
}

impl Daemon {
    /// Starts one with `routing` in its file, and waits until it says that it runs.
    fn start(world: &World, folder: &Folder, routing: &str) -> Self {
        let (socket, file) = (folder.0.join("socket"), folder.0.join("dunlin.toml"));
        let text =
            format!("[node]\nname = \"a\"\n[routing]\n{routing}\n[control]\nsocket = {socket:?}\n");
        std::fs::write(&file, text).unwrap();
        let mut child = world.node.run(move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
            command.args(["run", "--config"]).arg(file);
            command.stderr(Stdio::piped()).spawn().unwrap()
        });
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            let lines = stderr.lines().map_while(Result::ok);
            lines
                .map(|line| sender.send(line))
                .take_while(Result::is_ok)
                .count()
        });
        let daemon = Self { child, lines };
        daemon.until("dunlin is running");
        daemon
    }

    fn until(&self, text: &str) {
        let mut said = Vec::new();
        loop {
            match self.lines.recv_timeout(DEADLINE) {
                Ok(line) if line.contains(text) => return,
                Ok(line) => said.push(line),
                Err(_) => panic!("waited in vain for {text:?}: {said:#?}"),
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

fn write_program(folder: &Folder, script: &str) {
    let (new, path) = (folder.0.join("new"), folder.0.join("nft"));
    std::fs::write(&new, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::rename(new, path).unwrap();
}

#[test]
fn nft_is_looked_for_at_absolute_places_whatever_path_says() {
    let usual = Settings::with_program(None).places;
    assert!(usual.iter().all(|place| place.is_absolute()), "{usual:?}");
    assert!(settings().program().is_ok());
    let folder = Folder::new("nft-named");
    write_program(&folder, "exit 0");
    let named = Settings::with_program(Some(&folder.0.join("nft")));
    assert_eq!(named.program(), Ok(folder.0.join("nft")));
    // Nobody's, wherever we were started.
    let relative = Settings::with_program(Some(Path::new("nft")));
    assert!(
        relative
            .program()
            .unwrap_err()
            .contains("there is no program nft")
    );
}

impl World {
    /// A TCP connection from the pod to outside: both ends, and the pod's as seen there.
    fn connect(&self) -> ((TcpStream, TcpStream), SocketAddr) {
        let listener = self
            .outside
            .run(|| TcpListener::bind(("10.0.0.9", 7001)).unwrap());
        let target = listener.local_addr().unwrap();
        let near = self
            .pod
            .run(move || TcpStream::connect_timeout(&target, DEADLINE).unwrap());
        let (far, peer) = listener.accept().unwrap();
        far.set_read_timeout(Some(DEADLINE)).unwrap();
        ((near, far), peer)
    }

    /// The line of our chain with its handle, which is another for each chain that is made.
    fn chain(&self) -> String {
        let listing = self.node.run(|| {
            let arguments = ["-a", "list", "table", "ip", "dunlin"];
            let output = Command::new("nft").args(arguments).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        });
        let line = listing
            .lines()
            .find(|line| line.contains("chain postrouting"));
        line.unwrap().to_owned()
    }

    fn assert_address_at(&self, target: &str, wanted: &str) {
        assert_eq!(self.address_at(target), wanted, "to {target}");
    }
}
