//! Router advertisements between the two ends of a cable, in a namespace of the test's own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use dunlin::transport::{Heard, Neighbours};
use tokio::sync::mpsc;

use crate::dataplane_netns::{in_namespace, ip};

const DEADLINE: Duration = Duration::from_secs(30);

/// The link-local address of a device, made by the test so that none is tentative.
fn link_local(device: &str, number: u8) -> IpAddr {
    let address = format!("fe80::{number}");
    ip(&format!("addr add {address}/64 dev {device} nodad"));
    address.parse().unwrap()
}

async fn next(heard: &mut mpsc::Receiver<Heard>) -> Heard {
    tokio::time::timeout(DEADLINE, heard.recv())
        .await
        .unwrap()
        .unwrap()
}

#[test]
fn the_two_ends_of_a_cable_hear_each_other_and_a_link_that_comes_later_is_found() {
    in_namespace(|| {
        // The kernel's own addresses would be heard as well.
        for device in ["v0", "v1"] {
            ip(&format!("link set {device} down"));
            ip(&format!("link set {device} addrgenmode none"));
            ip(&format!("link set {device} up"));
        }
        let ends = [("v1", link_local("v0", 1)), ("v0", link_local("v1", 2))];
        let expected: BTreeMap<String, IpAddr> = ends
            .into_iter()
            .map(|(on, address)| (on.to_owned(), address))
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let (events, mut queue) = mpsc::channel::<Heard>(16);
            let mut neighbours = Neighbours::default();
            let links = ["v0", "v1", "later0"].map(str::to_owned).into();
            neighbours.watch(&links, &events);
            let mut found = BTreeMap::new();
            while found != expected {
                let heard = next(&mut queue).await;
                let known = nix::net::if_::if_nametoindex(heard.interface.as_str());
                assert_eq!(known.unwrap(), heard.index);
                found.insert(heard.interface, heard.address);
            }
            ip("link add later0 type veth peer name later1");
            for device in ["later0", "later1"] {
                ip(&format!("link set {device} addrgenmode none"));
                ip(&format!("link set {device} up"));
            }
            let late = link_local("later1", 4);
            link_local("later0", 3);
            let links = ["later0", "later1"].map(str::to_owned).into();
            neighbours.watch(&links, &events);
            loop {
                let heard = next(&mut queue).await;
                if heard.interface == "later0" {
                    assert_eq!(heard.address, late);
                    break;
                }
            }
        });
    });
}
