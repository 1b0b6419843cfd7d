//! A relay that passes bytes on without a table: what the harness and the kernel's TCP cost by themselves.
//!
//! Started by the driver as if it were a daemon. It is not a BGP speaker anyone should use.

use crate::daemon::LOCAL_AS;
use crate::error::{Context, Error, Result};
use crate::fleet::Fleet;
use crate::netns::DAEMON;
use crate::session::{Event, PeerConfig, Role};
use crate::wire;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Runs until it is killed. The file has a line `ADDRESS AS` for each peer.
pub(crate) fn run(peers_file: &str, hold_time: u16) -> Result<()> {
    let text = std::fs::read_to_string(peers_file).context(format!("reading {peers_file}"))?;
    let mut peers = Vec::new();
    for line in text.lines() {
        let (address, _) = line.split_once(' ').unwrap_or((line, ""));
        let address: Ipv4Addr = address
            .parse()
            .map_err(|_| Error::Usage(format!("`{address}` is no IPv4 address")))?;
        peers.push(PeerConfig {
            local: DAEMON.into(),
            remote: SocketAddr::new(address.into(), 179),
            id: DAEMON,
            asn: LOCAL_AS,
            hold_time,
            four_octet: true,
            opening: None,
            role: Role::Accept { by_local: false },
        });
    }
    let count = peers.len();
    let mut fleet = Fleet::new(peers, Instant::now())?;
    fleet.listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 179))?;
    let mut received: Vec<Vec<u8>> = vec![Vec::new(); count];
    loop {
        fleet.poll(Duration::from_millis(100), &mut |index, event| {
            let (Event::Message(frame), Some(bytes)) = (event, received.get_mut(index)) else {
                return;
            };
            if frame.kind == wire::UPDATE && frame.body.len() > 4 {
                bytes.extend_from_slice(frame.whole);
            }
        })?;
        for from in 0..count {
            let Some(bytes) = received.get_mut(from).filter(|bytes| !bytes.is_empty()) else {
                continue;
            };
            let bytes = Arc::new(std::mem::take(bytes));
            for to in (0..count).filter(|to| *to != from) {
                fleet.send(to, Arc::clone(&bytes), &mut |_, _| {});
            }
        }
    }
}
