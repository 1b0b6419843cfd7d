//! Neighbours and FDB entries against the real kernel, each test in a network namespace of its own.

use dunlin::dataplane::{Action, Address, Change, Errno, KernelInput, Neighbour, Sysctl};
use dunlin::net::{Family, Mac};

use super::dataplane_netns::{in_namespace, ip};
use super::dataplane_wire::{PATIENCE, V4, V6, Wire, addr, bridge, mac, vxlan};

fn neighbours(rows: &[Change], interface: u32) -> Vec<(Neighbour, bool)> {
    let pick = |row: &Change| match row {
        Change::Neighbour {
            neighbour,
            permanent,
        } if neighbour.interface() == interface => Some((*neighbour, *permanent)),
        _ => None,
    };
    rows.iter().filter_map(pick).collect()
}

#[test]
fn neighbours_are_entered_replaced_dumped_and_lost() {
    in_namespace(|| {
        let mut wire = Wire::new();
        wire.dump();
        let interface = wire.made(&vxlan(V4, "10.9.0.1", None));
        for text in ["10.244.8.0", "fd00:244:8::"] {
            let entry = |mac| Neighbour::Address {
                interface,
                address: addr(text),
                mac,
            };
            for last in [1, 1, 2] {
                assert_eq!(wire.ask(Action::SetNeighbour(entry(mac(last)))), Ok(()));
                let shown = ip("neigh show dev vxlan.calico");
                let wanted = format!("{text} lladdr {} PERMANENT", mac(last));
                assert_eq!(shown.trim(), wanted);
                let rows = wire.dump();
                assert_eq!(neighbours(&rows, interface), [(entry(mac(last)), true)]);
            }
            let told = |permanent| Change::Neighbour {
                neighbour: entry(mac(3)),
                permanent,
            };
            ip(&format!(
                "neigh replace {text} dev {V4} lladdr {} nud permanent",
                mac(3)
            ));
            wire.hear_exactly(&told(true));
            ip(&format!(
                "neigh replace {text} dev {V4} lladdr {} nud reachable",
                mac(3)
            ));
            wire.hear_exactly(&told(false));
            assert_eq!(wire.ask(Action::SetNeighbour(entry(mac(3)))), Ok(()));
            ip(&format!("neigh del {text} dev {V4}"));
            wire.hear_exactly(&Change::NeighbourGone(entry(Mac::default())));

            assert_eq!(wire.ask(Action::SetNeighbour(entry(mac(4)))), Ok(()));
            assert_eq!(wire.ask(Action::DeleteNeighbour(entry(mac(4)))), Ok(()));
            assert_eq!(ip("neigh show dev vxlan.calico").trim(), "");
            let gone = wire.ask(Action::DeleteNeighbour(entry(mac(4))));
            assert_eq!(gone, Err(Errno::ENOENT));
        }
        // What other links resolve is none of our business.
        ip(&format!(
            "neigh add 10.9.0.77 dev v0 lladdr {} nud permanent",
            mac(9)
        ));
        ip(&format!(
            "neigh add 10.244.9.9 dev {V4} lladdr {} nud permanent",
            mac(9)
        ));
        wire.hear("the second one", |change| match change {
            Change::Neighbour { neighbour, .. } => {
                assert_eq!(neighbour.interface(), interface);
                matches!(neighbour, Neighbour::Address { address, .. } if *address == addr("10.244.9.9"))
                    .then_some(())
            }
            _ => None,
        });
    });
}

#[test]
fn an_fdb_entry_leads_to_one_node_at_a_time() {
    in_namespace(|| {
        let mut wire = Wire::new();
        wire.dump();
        for (name, local, nodes) in [
            (V4, "10.9.0.1", ["10.9.0.2", "10.9.0.3", "10.9.0.4"]),
            (V6, "fd00:9::1", ["fd00:9::2", "fd00:9::3", "fd00:9::4"]),
        ] {
            let interface = wire.made(&vxlan(name, local, None));
            let entry = |node| Neighbour::Forward {
                interface,
                mac: mac(1),
                node: addr(node),
            };
            let shown = || bridge(&format!("fdb show dev {name}"));
            let [first, second, third] = nodes;
            for node in [first, first, second] {
                assert_eq!(wire.ask(Action::SetNeighbour(entry(node))), Ok(()));
                let rows = wire.dump();
                assert_eq!(neighbours(&rows, interface), [(entry(node), true)]);
                let wanted = format!("{} dst {node} self permanent", mac(1));
                assert_eq!(shown().trim(), wanted, "the one before is gone");
            }
            bridge(&format!("fdb replace {} dev {name} dst {third}", mac(1)));
            wire.hear_exactly(&Change::Neighbour {
                neighbour: entry(third),
                permanent: true,
            });
            // Another port: it is there, but nothing that can stay.
            bridge(&format!(
                "fdb replace {} dev {name} dst {third} port 4000",
                mac(1)
            ));
            wire.hear_exactly(&Change::Neighbour {
                neighbour: entry(third),
                permanent: false,
            });
            assert_eq!(wire.ask(Action::SetNeighbour(entry(third))), Ok(()));
            assert!(!shown().contains("port"), "{}", shown());
            bridge(&format!("fdb del {} dev {name} dst {third}", mac(1)));
            wire.hear_exactly(&Change::NeighbourGone(entry(third)));
            let gone = wire.ask(Action::DeleteNeighbour(entry(third)));
            assert_eq!(gone, Err(Errno::ENOENT));

            assert_eq!(wire.ask(Action::SetNeighbour(entry(first))), Ok(()));
            // Linux 6.1 says yes to the wrong node, and leaves the entry alone all the same.
            let _ = wire.ask(Action::DeleteNeighbour(entry(second)));
            assert!(shown().contains(first), "it must match its node");
            assert_eq!(wire.ask(Action::DeleteNeighbour(entry(first))), Ok(()));
            assert_eq!(shown().trim(), "");
        }
    });
}

#[test]
fn many_entries_of_a_batch_are_answered_in_order() {
    in_namespace(|| {
        let mut wire = Wire::new();
        wire.dump();
        let interface = wire.made(&vxlan(V4, "10.9.0.1", None));
        let count = 1500_u32;
        let far = |n: u32| {
            let [a, b, c, d] = n.to_be_bytes();
            let mac = Mac([2, 1, a, b, c, d]);
            let node = std::net::Ipv4Addr::from_bits(0x0A64_0000 + n).into();
            let address = std::net::Ipv4Addr::from_bits(0x0AF4_0000 + n * 64).into();
            [
                Neighbour::Forward {
                    interface,
                    mac,
                    node,
                },
                Neighbour::Address {
                    interface,
                    address,
                    mac,
                },
            ]
        };
        let entries: Vec<Neighbour> = (0..count).flat_map(far).collect();
        // More than the kernel keeps of what it learns (gc_thresh3): permanent ones don't count.
        let set = entries.iter().copied().map(Action::SetNeighbour).collect();
        let (results, _) = wire.all(set);
        assert!(results.iter().all(Result::is_ok));
        let mut found: Vec<Neighbour> = neighbours(&wire.dump(), interface)
            .into_iter()
            .map(|(neighbour, permanent)| {
                assert!(permanent);
                neighbour
            })
            .collect();
        found.sort_unstable();
        let mut wanted = entries.clone();
        wanted.sort_unstable();
        assert_eq!(found, wanted);
        // A refusal in the midst of them is told at its place, as is a link operation.
        let missing = Neighbour::Address {
            interface,
            address: addr("10.0.0.1"),
            mac: mac(1),
        };
        let (results, _) = wire.all(vec![
            Action::DeleteNeighbour(entries[0]),
            Action::DeleteNeighbour(missing),
            Action::Tune(Sysctl::Forwarding(Family::Ipv4)),
            Action::DeleteNeighbour(entries[1]),
            Action::DeleteLink { index: interface },
            Action::SetNeighbour(missing),
        ]);
        let gone = Err(Errno::ENODEV);
        assert_eq!(
            results,
            [Ok(()), Err(Errno::ENOENT), Ok(()), Ok(()), Ok(()), gone]
        );
    });
}

#[test]
fn own_echoes_are_heard_only_where_the_kernel_names_nobody() {
    in_namespace(|| {
        let mut wire = Wire::new();
        wire.dump();
        let interface = wire.made(&vxlan(V4, "10.9.0.1", None));
        let v4 = Address {
            interface,
            address: addr("10.244.7.0"),
            len: 32,
        };
        let v6 = Address {
            interface,
            address: addr("fd00:244:7::"),
            len: 128,
        };
        let [near4, near6] = ["10.244.8.0", "fd00:244:8::"].map(|text| Neighbour::Address {
            interface,
            address: addr(text),
            mac: mac(1),
        });
        let forward = Neighbour::Forward {
            interface,
            mac: mac(1),
            node: addr("10.9.0.2"),
        };
        let (results, _) = wire.all(vec![
            Action::AddAddress(v4),
            Action::AddAddress(v6),
            Action::SetNeighbour(near4),
            Action::SetNeighbour(near6),
            Action::SetNeighbour(forward),
        ]);
        assert!(results.iter().all(Result::is_ok));
        ip("addr add 10.244.7.1/32 dev vxlan.calico");
        let marker = Change::Address(Address {
            address: addr("10.244.7.1"),
            ..v4
        });
        let mut heard = Vec::new();
        let give_up = std::time::Instant::now() + PATIENCE;
        loop {
            heard.append(&mut wire.heard);
            // That of an IPv6 address comes when the kernel is done with its duplicates.
            if heard.contains(&marker) && heard.contains(&Change::Address(v6)) {
                break;
            }
            let left = give_up.saturating_duration_since(std::time::Instant::now());
            for input in wire.inputs.recv_timeout(left).unwrap() {
                if let KernelInput::Changed(change) = input {
                    wire.note(change);
                }
            }
        }
        let entry = |neighbour| Change::Neighbour {
            neighbour,
            permanent: true,
        };
        let of = |change| heard.contains(&change);
        assert!(!of(Change::Address(v4)), "{heard:?}");
        assert!(!of(entry(near4)) && !of(entry(near6)), "{heard:?}");
        assert!(of(entry(forward)), "{heard:?}");
        assert_eq!(wire.ask(Action::DeleteNeighbour(near4)), Ok(()));
        wire.hear_exactly(&Change::NeighbourGone(Neighbour::Address {
            interface,
            address: addr("10.244.8.0"),
            mac: Mac::default(),
        }));
    });
}
