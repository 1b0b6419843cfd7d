//! The time between a start and the moment when what is known is what the peers have to say.
//!
//! There is one notion of "settled" for all that hangs on it: a former process's routes that nobody
//! confirmed are deleted, those that somebody wants otherwise are changed, and End-of-RIB goes out
//! (RFC 4724 §4.1: a speaker that has restarted first hears what there is). Nothing else waits: own
//! blocks and whatever is learnt go to each peer as soon as its session is up, and a prefix that the
//! kernel has no route for gets one at once.
//!
//! What always holds: it ends when every peer is up and has been heard, those among them that a template
//! makes and that routes in the kernel speak of ([`awaited`]), and at the latest
//! [`CONVERGENCE_LIMIT`] after the start. A peer that has restarted itself may be waiting for us as we
//! wait for it, so End-of-RIB does not wait for such a peer; the kernel's routes do, since that peer
//! waits for nobody else any more.

mod awaited;

use super::{CONVERGENCE_LIMIT, Node};
use crate::dataplane::{Change, Dataplane, Forwarding, KernelInput, RouteState};
use crate::net::Prefix;
use crate::rib::{ForwardingChange, PeerIndex};
use crate::speaker::Awaited;
use crate::time::{Duration, Instant};

/// How often it is looked whether it is over: some peers never say that they have said all.
const LOOK: Duration = Duration::from_secs(1);

/// What a node remembers of its start.
#[derive(Debug)]
pub(super) struct Settling {
    started: Instant,
    looked: Instant,
    over: bool,
    /// Families whose packets were forwarded when we started (F).
    kept: [bool; 2],
    /// A former process's route is wanted otherwise, and stays as it is so long.
    held: bool,
    /// One that is held may have gone by somebody else's doing: then there is nothing to keep.
    lost: bool,
    /// It is over, and not all that is wanted was carried down since.
    concluding: bool,
    /// A peer that was waited for.
    awaited: Option<PeerIndex>,
    /// Ways to peers that have not turned up.
    ways: awaited::Ways,
}

impl Settling {
    pub(super) fn new(now: Instant, kept: [bool; 2]) -> Self {
        Self {
            started: now,
            looked: now,
            over: false,
            kept,
            held: false,
            lost: false,
            concluding: false,
            awaited: None,
            ways: awaited::Ways::default(),
        }
    }

    /// Whether this is a restart: somebody has forwarded packets for us.
    pub(super) fn is_restart(&self) -> bool {
        !self.over && self.kept.contains(&true)
    }

    /// When it is time to look again.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let limit = self.deadline()?;
        Some(limit.min(self.looked + LOOK))
    }

    /// When it ends at the latest, if it has not.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (!self.over).then(|| self.started + CONVERGENCE_LIMIT)
    }

    /// Whether the kernel's side has to wait for the first look at it: what a former process left is
    /// not known before.
    pub(super) fn is_blind(&self, dataplane: &Dataplane) -> bool {
        self.is_restart() && !dataplane.is_synced()
    }

    /// Whether a change of forwarding waits: a former process's route stands there by links that work, and
    /// is not just what is wanted.
    pub(super) fn holds(
        &mut self,
        dataplane: &Dataplane,
        prefix: Prefix,
        change: &ForwardingChange,
        wanted: Option<&Forwarding>,
    ) -> bool {
        let own = match change {
            ForwardingChange::Withdrawn => false,
            ForwardingChange::Paths(paths) => paths.iter().any(|path| path.peer.is_local()),
        };
        let holds = self.is_restart()
            && !own
            && dataplane.state(prefix) == Some(RouteState::Stale)
            && dataplane.installed(prefix).is_some()
            && dataplane.is_whole(prefix)
            && !wanted.is_some_and(|wanted| dataplane.was_left(prefix, wanted));
        self.held |= holds;
        holds
    }

    /// Takes note of a change in the kernel by which a route that is held may have gone.
    pub(super) const fn note(&mut self, input: &KernelInput) {
        if let KernelInput::Changed(
            Change::RouteGone(_)
            | Change::Route { replaced: true, .. }
            | Change::Link(_)
            | Change::LinkGone { .. },
        ) = input
        {
            self.lost |= self.held;
        }
    }

    /// Whether to say all forwarding again, since something that was held may be gone.
    pub(super) fn takes_loss(&mut self, dataplane: &Dataplane) -> bool {
        !dataplane.is_reading() && core::mem::take(&mut self.lost)
    }
}

impl Node {
    /// Notices the end of the settling time, and what OPEN can say of our forwarding from then on.
    pub(super) fn notice_convergence(&mut self, now: Instant) {
        if let Some(limit) = self.settling.deadline() {
            let look = now.since(self.settling.looked) >= LOOK;
            if look {
                self.settling.looked = now;
            }
            let enough = self.is_over_for(now, Awaited::ButRestarted, look);
            if enough {
                self.speaker.hold_end_of_rib(false);
            }
            if (enough && self.is_over_for(now, Awaited::All, false)) || now >= limit {
                self.settled();
            }
        }
        if self.settling.over {
            let kept = self.dataplane.as_ref().is_none_or(Dataplane::is_synced);
            self.speaker.set_own_start(false, [kept; 2]);
        }
    }

    /// Whether nobody is waited for; asked after each change, so one that is waited for is remembered.
    fn is_over_for(&mut self, now: Instant, whom: Awaited, look: bool) -> bool {
        let awaited = self.speaker.awaited(now, whom, self.settling.awaited);
        self.settling.awaited = awaited;
        awaited.is_none() && !self.awaits_template(now, whom, look)
    }

    fn settled(&mut self) {
        self.settling.over = true;
        self.speaker.hold_end_of_rib(false);
        if core::mem::take(&mut self.settling.held) {
            self.speaker.forward_again();
        }
        self.settling.concluding = true;
    }

    /// Lets what a former process left go, once all that is wanted was `carried` down: not before the kernel was
    /// read, since until then no next hop is known to lead anywhere, and little is wanted.
    pub(super) fn conclude(&mut self, carried: bool) {
        let is_read = self.dataplane.as_ref().is_none_or(Dataplane::is_synced);
        if !carried || !is_read || !core::mem::take(&mut self.settling.concluding) {
            return;
        }
        let Some(dataplane) = &mut self.dataplane else {
            return;
        };
        dataplane.converged();
        let (peers, up) = self.speaker.sessions();
        tracing::info!(
            peers,
            up,
            "converged: routes of a former process that nobody confirmed go"
        );
    }
}
