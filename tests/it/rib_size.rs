//! What a route costs: a quarter of a full table from one peer to another, counted by structures.

use std::time::Instant as Clock;

use dunlin::net::{Asn, Prefix4};
use dunlin::rib::{ExportKind, PeerIndex, PeerKind, RibConfig, StandardExport};
use dunlin::wire::attribute::{AsPath, NextHop, PathAttributes};

use crate::rib_support::{Net, OUR_AS, address, rib};

/// A quarter of a full table: hash tables of 2^18 and 2^20 entries are equally full, so what a route
/// costs is the same, and a debug build is done in seconds.
const ROUTES: u32 = 250_000;
/// About 36,000 sets: seven prefixes each, as in real tables.
const A_SET: u32 = 7;

#[test]
fn a_quarter_million_routes_take_at_most_64_bytes_each_all_in() {
    let mut net = Net::new(rib(RibConfig::default()));
    let kind = ExportKind::Ebgp {
        local_as: OUR_AS,
        remote_as: None,
    };
    net.up(1, PeerKind::Ebgp, kind);
    net.up(2, PeerKind::Ebgp, kind);
    let started = Clock::now();
    let (mut sent, mut chunks) = (0, 0);
    for set in 0..ROUTES.div_ceil(A_SET) {
        let path = [
            65001,
            64512 + set % 500,
            100_000 + set,
            4_200_000_000 + set % 9,
        ];
        let attributes = PathAttributes {
            as_path: AsPath::sequence(path.into_iter().map(Asn).collect()),
            next_hop: Some(NextHop::new(address(1))),
            communities: vec![set % 1000, set % 77],
            ..PathAttributes::default()
        };
        let id = net.rib.intern(&attributes);
        for number in (set * A_SET..(set + 1) * A_SET).take_while(|&number| number < ROUTES) {
            let prefix = Prefix4::new(0x0100_0000 + (number << 8), 24);
            net.rib.announce(PeerIndex(1), prefix.into(), 0, id, true);
        }
        net.rib.release(id);
        if set % 512 == 0 {
            while let Some(delivery) = net.rib.poll_send(net.now, &StandardExport) {
                for &peer in delivery.to.as_slice() {
                    net.rib.sent(peer, delivery.bytes.len());
                    sent += delivery.bytes.len();
                    chunks += 1;
                }
            }
        }
    }
    let memory = net.rib.memory();
    let each = memory.total() / ROUTES as usize;
    println!("{each} bytes a route: {memory:?}; {:?}", started.elapsed());
    println!("{sent} bytes sent in {chunks} chunks");
    assert!(each <= 64, "{each} bytes a route: {memory:?}");
    assert_eq!(net.rib.attributes().len(), ROUTES.div_ceil(A_SET) as usize);
    // As few messages as sets: 30 octets of overhead a set and 4 a prefix, or thereabouts.
    assert!(
        sent / ROUTES as usize <= 20,
        "{sent} bytes for {ROUTES} routes"
    );
    net.down(1);
    while net.rib.poll_send(net.now, &StandardExport).is_some() {}
    net.down(2);
    println!("gone after {:?}", started.elapsed());
    assert!(net.rib.attributes().is_empty());
}
