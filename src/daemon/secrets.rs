//! From what is planned to protect sessions to what the sockets are given.
//!
//! Nothing is read or kept here. What always holds: the listening sockets have a key for every peer that
//! is planned to have one, so nobody can connect in its name without it.

use crate::net::Prefix;
use crate::session::{CloseReason, DialError};
use crate::speaker::PeerStatus;
use crate::topology::{AoAlgorithm, Authentication, Plan, PlannedPeer, TemplateSource, TtlRule};
use crate::transport::{AoMac, KeyScope, Keys, Signing, has_tcp_ao};

/// What segments are signed with; none if nothing protects the session, or its secret is missing.
pub(super) fn signing(authentication: &Authentication) -> Option<Signing> {
    match authentication {
        Authentication::None | Authentication::Missing(_) => None,
        Authentication::Md5(secret) => Some(Signing::Md5(secret.clone())),
        Authentication::Ao(key) => Some(Signing::Ao {
            id: key.id,
            algorithm: match key.algorithm {
                AoAlgorithm::HmacSha1 => AoMac::HmacSha1,
                AoAlgorithm::AesCmac => AoMac::AesCmac,
                AoAlgorithm::HmacSha256 => AoMac::HmacSha256,
            },
            secret: key.secret.clone(),
        }),
    }
}

/// The keys that listening sockets need: of every peer, and of the ranges that peers may turn up from.
///
/// Two sessions with one address share a key there, since the kernel looks at nothing else: that of the
/// first by name. The other one is dialled with its own.
pub(super) fn keys(plan: &Plan) -> Keys {
    let mut keys = Keys::new();
    for peer in &plan.peers {
        if let Some(signing) = signing(&peer.authentication) {
            keys.entry(KeyScope::host(peer.address)).or_insert(signing);
        }
    }
    for template in &plan.templates {
        let TemplateSource::Range(range) = &template.from else {
            continue;
        };
        if let Some(signing) = signing(&template.peer.authentication) {
            keys.entry(scope(*range)).or_insert(signing);
        }
    }
    keys
}

/// The plan, with sessions that this kernel can't protect kept down. It is asked only if somebody wants
/// TCP-AO.
pub(super) fn fitted(plan: Plan) -> Plan {
    if !lacks_tcp_ao(&plan) {
        return plan;
    }
    tracing::error!("this kernel has no TCP-AO: sessions with tcp-ao stay down");
    without_tcp_ao(plan)
}

/// Whether a session of the plan wants TCP-AO, and this kernel does not have it.
pub(super) fn lacks_tcp_ao(plan: &Plan) -> bool {
    let wants_ao = |peer: &PlannedPeer| matches!(peer.authentication, Authentication::Ao(_));
    let of_templates = plan.templates.iter().map(|template| &template.peer);
    plan.peers.iter().chain(of_templates).any(wants_ao) && !has_tcp_ao().unwrap_or(false)
}

fn without_tcp_ao(mut plan: Plan) -> Plan {
    let of_templates = plan.templates.iter_mut().map(|template| &mut template.peer);
    for peer in plan.peers.iter_mut().chain(of_templates) {
        if matches!(peer.authentication, Authentication::Ao(_)) {
            let why = "this kernel has no TCP-AO; it takes Linux 6.7 or later with CONFIG_TCP_AO";
            peer.authentication = Authentication::Missing(why.to_owned());
        }
    }
    plan
}

/// Segments that the kernel has dropped for their signature or their TTL, of all sessions of this network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Dropped {
    /// There was none, and there had to be one.
    unsigned: u64,
    /// There was one, and none was expected.
    unexpected: u64,
    /// It was made with another password.
    wrong: u64,
    /// The TTL was too low (GTSM).
    too_far: u64,
}

impl Dropped {
    /// Since the namespace was made, as the kernel counts.
    pub(super) fn so_far() -> Self {
        let text = std::fs::read_to_string("/proc/self/net/netstat");
        Self::parse(&text.unwrap_or_default())
    }

    /// What came since `before` was counted.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            unsigned: self.unsigned.saturating_sub(before.unsigned),
            unexpected: self.unexpected.saturating_sub(before.unexpected),
            wrong: self.wrong.saturating_sub(before.wrong),
            too_far: self.too_far.saturating_sub(before.too_far),
        }
    }

    /// So many with another password.
    #[cfg(test)]
    pub(super) fn wrong(wrong: u64) -> Self {
        Self {
            wrong,
            ..Self::default()
        }
    }

    /// The table has a line of names and a line of values for each protocol.
    fn parse(text: &str) -> Self {
        let mut of_tcp = text.lines().filter(|line| line.starts_with("TcpExt:"));
        let names = of_tcp.next().unwrap_or_default().split_whitespace();
        let values = of_tcp.next().unwrap_or_default().split_whitespace();
        let mut dropped = Self::default();
        for (name, value) in names.zip(values) {
            let place = match name {
                "TCPMD5NotFound" => &mut dropped.unsigned,
                "TCPMD5Unexpected" => &mut dropped.unexpected,
                "TCPMD5Failure" => &mut dropped.wrong,
                "TCPMinTTLDrop" => &mut dropped.too_far,
                _other => continue,
            };
            *place = value.parse().unwrap_or_default();
        }
        dropped
    }

    /// A peer's problem, with the question of the password if it may be that. `self` is what came since it
    /// was tried last.
    pub(super) fn problem(self, peer: &PeerStatus) -> Option<String> {
        let problem = peer.problem.as_ref()?;
        Some(match self.question(peer) {
            Some(question) => followed_by(problem, &question),
            None => problem.clone(),
        })
    }

    /// What to ask about the protection of a session that is down: the kernel tells neither end of a wrong
    /// password, a dial just finds no answer.
    pub(super) fn question(self, peer: &PeerStatus) -> Option<String> {
        let error = peer.last_error.as_ref();
        let latest = error.map(|error| {
            let since = error.since.as_ref();
            since.map_or(&error.reason, |(_, since)| since)
        });
        let silent = latest == Some(&CloseReason::DialFailed(DialError::TimedOut));
        let Self {
            unsigned,
            unexpected,
            wrong,
            too_far,
        } = self;
        if matches!(peer.planned.ttl, TtlRule::Security(_)) && too_far > 0 {
            return Some(format!(
                "is it further away than ttl-security allows, or without GTSM itself? this kernel has \
                 dropped {too_far} segments for their TTL since, of all peers"
            ));
        }
        if let Some(CloseReason::ReceivedNotification(_) | CloseReason::SentNotification { .. }) =
            latest
        {
            // Whoever has been heard has the password. (It may have lost GTSM since, and is not heard now.)
            return None;
        }
        match &peer.planned.authentication {
            Authentication::Md5(_) if unsigned + wrong > 0 => Some(format!(
                "is the password the same on both ends? this kernel has dropped {unsigned} segments \
                 without and {wrong} with a wrong one since, of all peers"
            )),
            Authentication::Md5(_) if silent => {
                Some("is the password the same on both ends?".to_owned())
            }
            Authentication::None if silent && unexpected > 0 => Some(format!(
                "does the other end have a password? this kernel has dropped {unexpected} segments that \
                 were signed unexpectedly since, of all peers"
            )),
            Authentication::Md5(_)
            | Authentication::None
            | Authentication::Ao(_)
            | Authentication::Missing(_) => None,
        }
    }
}

/// One sentence after another that may be a question.
pub(super) fn followed_by(first: &str, second: &str) -> String {
    let between = match first {
        "" => "",
        first if first.ends_with('?') => " ",
        _statement => "; ",
    };
    format!("{first}{between}{second}")
}

pub(super) fn scope(range: Prefix) -> KeyScope {
    KeyScope {
        address: range.address(),
        length: range.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Asn, Secret};
    use crate::topology::{AoKey, Intent, Node, Peer, plan};

    fn plan_with(protected: &[(&str, Authentication)]) -> Plan {
        let mut node = Node::named("me");
        node.ipv4_address = Some("10.0.0.1/24".parse().unwrap());
        let peers = protected.iter().map(|(address, authentication)| {
            let mut peer = Peer::new(*address, address.parse().unwrap(), Asn(65_001));
            peer.authentication = authentication.clone();
            peer
        });
        let intent = Intent {
            peers: peers.collect(),
            nodes: vec![node],
            ..Intent::default()
        };
        plan(&intent, "me").unwrap()
    }

    fn md5(text: &str) -> Authentication {
        Authentication::Md5(Secret::new(text.as_bytes().to_vec()))
    }

    fn ao() -> Authentication {
        Authentication::Ao(AoKey {
            id: 1,
            algorithm: AoAlgorithm::HmacSha1,
            secret: Secret::new(b"key".to_vec()),
        })
    }

    #[test]
    fn the_listener_has_a_key_for_each_peer_that_is_to_have_one() {
        let plan = plan_with(&[
            ("10.0.0.2", md5("two")),
            ("10.0.0.3", Authentication::None),
            ("fd00::4", ao()),
            ("10.0.0.5", Authentication::Missing("gone".into())),
        ]);
        let keys = keys(&plan);
        let scopes: Vec<_> = keys.keys().map(|scope| scope.address.to_string()).collect();
        assert_eq!(scopes, ["10.0.0.2", "fd00::4"]);
        assert!(!format!("{keys:?}").contains("two"), "a secret can be seen");
    }

    #[test]
    fn without_tcp_ao_in_the_kernel_the_session_is_kept_down_and_others_are_not() {
        let plan = without_tcp_ao(plan_with(&[("10.0.0.2", ao()), ("10.0.0.3", md5("a"))]));
        assert!(matches!(
            &plan.peers[0].authentication,
            Authentication::Missing(why) if why.contains("CONFIG_TCP_AO")
        ));
        assert_eq!(plan.peers[1].authentication, md5("a"));
    }

    #[test]
    fn the_kernel_s_counters_are_found_by_name() {
        let text = "TcpExt: SyncookiesSent TCPMD5NotFound TCPMD5Unexpected TCPMD5Failure Other TCPMinTTLDrop\n\
                    TcpExt: 1 2 3 4 5 6\nIpExt: InNoRoutes\nIpExt: 0\n";
        let expected = Dropped {
            unsigned: 2,
            unexpected: 3,
            wrong: 4,
            too_far: 6,
        };
        assert_eq!(Dropped::parse(text), expected);
        assert_eq!(Dropped::parse(""), Dropped::default());
        assert_eq!(
            Dropped::parse("TcpExt: TCPMD5Failure\n"),
            Dropped::default()
        );
    }
}
