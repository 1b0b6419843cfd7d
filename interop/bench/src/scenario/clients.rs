//! The clients of a reflector: who they are, and what each of them gets.
//!
//! Each UPDATE is looked at completely, cheaply enough for millions of routes: a prefix must be a block of somebody's
//! and come as that client announced it, with the two attributes that a reflector adds (RFC 4456, section 8), or, from a
//! relay, with nothing added. The first thing that is wrong, and a session lost after all were up, stays as `failed`.

use super::blocks::Blocks;
use super::churn::Churn;
use super::reflector::BLOCKS;
use crate::daemon::LOCAL_AS;
use crate::netns::{DAEMON, peer_address};
use crate::session::{Event, Patience, PeerConfig, Role};
use crate::wire;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// A client.
pub(super) fn client(index: usize, hold_time: u16) -> PeerConfig {
    let address = peer_address(index);
    PeerConfig {
        local: address.into(),
        remote: SocketAddr::new(DAEMON.into(), 179),
        id: address,
        asn: LOCAL_AS,
        hold_time,
        four_octet: true,
        opening: None,
        role: Role::Dial(patience(index)),
    }
}

/// A router's: an attempt that takes 5 to 7 s is given up. One that fails at once is made again soon. Spread
/// deterministically, so that retries are no second burst.
pub(super) fn patience(index: usize) -> Patience {
    Patience {
        attempt: Duration::from_millis(5000 + (index as u64 * 131) % 2000),
        retry: Duration::from_millis(100 + (index as u64 * 37) % 100),
    }
}

/// What the clients got.
pub(super) struct Watch {
    /// Who they are.
    pub(super) clients: Vec<PeerConfig>,
    /// Who has whose blocks.
    pub(super) blocks: Blocks,
    /// S3: what has changed.
    pub(super) churn: Option<Churn>,
    /// What comes is what was sent, without the attributes that a reflector adds.
    relayed: bool,
    /// From here on a lost session fails the run.
    pub(super) armed: bool,
    /// UPDATEs that came.
    pub(super) updates: usize,
    /// Why the run has no figures.
    pub(super) failed: Option<String>,
    /// The last session or attempt that ended.
    pub(super) last_down: String,
}

/// The attributes of an UPDATE that are looked at.
#[derive(Default, PartialEq, Debug)]
struct Seen {
    next_hop: Option<Ipv4Addr>,
    originator: Option<Ipv4Addr>,
    clusters: usize,
    path: usize,
    local_pref: Option<u32>,
    metric: Option<u32>,
}

impl Seen {
    fn of(body: &[u8]) -> Result<Self, wire::Malformed> {
        let mut seen = Self::default();
        let number = |value: &[u8]| value.try_into().ok().map(u32::from_be_bytes);
        wire::attributes(body, |code, value| match code {
            2 => seen.path = value.len(),
            3 => seen.next_hop = number(value).map(Ipv4Addr::from),
            4 => seen.metric = number(value),
            5 => seen.local_pref = number(value),
            9 => seen.originator = number(value).map(Ipv4Addr::from),
            10 => seen.clusters = value.len() / 4,
            _ => {}
        })?;
        Ok(seen)
    }

    /// Whether this is how a client's route must come.
    fn is_of(&self, client: &PeerConfig, relayed: bool) -> bool {
        let same =
            self.next_hop == Some(client.id) && self.path == 0 && self.local_pref == Some(100);
        let added = self.originator == Some(client.id) && self.clusters == 1;
        let nothing = self.originator.is_none() && self.clusters == 0;
        same && if relayed { nothing } else { added }
    }
}

impl Watch {
    /// Nobody has anything.
    pub(super) fn new(clients: Vec<PeerConfig>, relayed: bool) -> Self {
        Self {
            blocks: Blocks::reflected(&clients, BLOCKS),
            clients,
            churn: None,
            relayed,
            armed: false,
            updates: 0,
            failed: None,
            last_down: String::new(),
        }
    }

    /// How many changes everybody has.
    pub(super) fn done(&self) -> usize {
        self.churn.as_ref().map_or(0, Churn::done)
    }

    /// Something happened on a session.
    pub(super) fn note(&mut self, index: usize, event: Event<'_>) {
        match event {
            Event::Message(frame) if frame.kind == wire::UPDATE => {
                self.updates += 1;
                if let Err(wrong) = self.update(index, frame.body) {
                    self.fail(format!("client {index} got {wrong}"));
                }
            }
            Event::Established | Event::Message(_) => {}
            Event::Down {
                established,
                reason,
            } => {
                self.last_down = format!("session {index}: {reason}");
                if established && self.armed {
                    self.fail(format!("lost {}", self.last_down));
                }
            }
        }
    }

    /// The first reason is the one that counts.
    fn fail(&mut self, reason: String) {
        self.failed.get_or_insert(reason);
    }

    fn update(&mut self, receiver: usize, body: &[u8]) -> Result<(), String> {
        let malformed = |error: wire::Malformed| error.to_string();
        let seen = Seen::of(body).map_err(malformed)?;
        let mut wrong = None;
        wire::prefixes(body, |announced, address, length| {
            let owner = self.blocks.owner(address).filter(|_| length == 26);
            let client = owner.and_then(|(owner, _)| self.clients.get(owner));
            let (Some((owner, block)), Some(client)) = (owner, client) else {
                wrong = Some(format!(
                    "{}/{length}, which nobody announced",
                    Ipv4Addr::from(address)
                ));
                return;
            };
            // What comes back to its own client is for that one to drop.
            if announced && owner != receiver && !seen.is_of(client, self.relayed) {
                wrong = Some(format!("a route of client {owner} as {seen:?}"));
            }
            self.blocks.see(receiver, announced, address);
            if let Some(churn) = self.churn.as_mut().filter(|_| block == 0) {
                match (announced, seen.metric) {
                    (true, Some(metric)) => churn.got(receiver, owner, Some(metric)),
                    (true, None) => {}
                    (false, _) => churn.got(receiver, owner, None),
                }
            }
        })
        .map_err(malformed)?;
        wrong.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What client 1 makes of a message with client 0's first block.
    fn arrives(added: &[u8], relayed: bool) -> (Result<(), String>, usize) {
        let clients = vec![client(0, 90), client(1, 90)];
        let hop = clients[0].id.octets();
        let common = [0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4];
        let preference = [0x40, 5, 4, 0, 0, 0, 100];
        let attributes = [&common[..], &hop, &preference, added].concat();
        let message = wire::update(&[], &attributes, &[26, 10, 0, 0, 0]);
        let mut watch = Watch::new(clients, relayed);
        let outcome = watch.update(1, &message[wire::HEADER..]);
        (outcome, watch.blocks.count())
    }

    #[test]
    fn a_reflected_route_tells_its_originator_and_one_cluster() {
        let originator = [&[0x80, 9, 4][..], &client(0, 90).id.octets()].concat();
        let both = [&originator[..], &[0x80, 10, 4, 1, 1, 1, 1]].concat();
        assert_eq!(arrives(&both, false), (Ok(()), 1));
        assert!(arrives(&originator, false).0.is_err());
        assert!(arrives(&[], false).0.is_err());
        assert_eq!(arrives(&[], true), (Ok(()), 1));
    }

    #[test]
    fn what_nobody_announced_is_told() {
        let mut watch = Watch::new(vec![client(0, 90), client(1, 90)], true);
        let message = wire::update(&[26, 10, 9, 9, 0], &[], &[]);
        assert!(watch.update(0, &message[wire::HEADER..]).is_err());
    }
}
