//! Do the pods reach each other? Asked with real UDP datagrams from every pod to every other.
//!
//! Each pod has one socket a family, opened inside its namespace and served from here, so that no
//! process is needed per pod. A pair counts as reached when an answer came back, through both
//! nodes' tables and the router's, in this round of questions or the one before.

use core::fmt;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::error::LabError;
use super::namespace::{self, Step};
use super::plan::Plan;
use crate::net::Family;

/// The port of the question-and-answer service in every pod.
pub(super) const PORT: u16 = 5179;

/// A round takes at least so long: the pace of the live view.
const ROUND: Duration = Duration::from_secs(1);
/// A round takes at least so many times its sweep, to leave the processor to the daemons.
const ROUND_SWEEPS: u32 = 5;
/// Unanswered questions are asked again after this time, or after as long as asking took.
const RETRY: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(2);
/// Questions asked at once, before answers are read: less than what queues on the way hold.
const BURST: usize = 2048;

const MAGIC: [u8; 4] = *b"dlab";
const QUESTION: u8 = b'?';
const ANSWER: u8 = b'!';
const LENGTH: usize = 9;

/// How many pairs of pods reached each other, of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Count {
    /// Pairs that answered.
    pub(super) reached: usize,
    /// All of them.
    pub(super) of: usize,
}

impl Count {
    pub(super) const fn is_full(self) -> bool {
        self.reached == self.of
    }
}

impl core::ops::Add for Count {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            reached: self.reached + other.reached,
            of: self.of + other.of,
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.reached, self.of))
    }
}

/// When each pair last answered; pure. A large lab has two million pairs: the counts are kept.
#[derive(Debug)]
struct Matrix {
    pods: usize,
    families: usize,
    round: u32,
    /// The round of the last answer, 0 if there was none.
    answered: Vec<u32>,
    /// By family and asking pod: who answered in this round, and who in this or the one before.
    this_round: Vec<usize>,
    reached: Vec<usize>,
}

impl Matrix {
    fn new(pods: usize, families: usize) -> Self {
        Self {
            pods,
            families,
            round: 1,
            answered: vec![0; pods * pods * families],
            this_round: vec![0; pods * families],
            reached: vec![0; pods * families],
        }
    }

    fn slot(&self, family: usize, from: usize, to: usize) -> Option<usize> {
        let known = family < self.families && from < self.pods && to < self.pods;
        known.then_some((family * self.pods + from) * self.pods + to)
    }

    /// The pair at a place of the sweep. Steps around the circle, so that neither questions nor
    /// answers crowd at one pod.
    fn pair(&self, place: usize) -> Option<(usize, usize, usize)> {
        let others = self.pods.checked_sub(1).filter(|others| *others > 0)?;
        let family = place % self.families;
        let from = place / self.families % self.pods;
        let step = place / self.families / self.pods;
        (step < others).then(|| (family, from, (from + step + 1) % self.pods))
    }

    fn mark(&mut self, family: usize, from: usize, to: usize) {
        let known = self.is_reached(family, from, to);
        let row = family * self.pods + from;
        let Some(slot) = self.slot(family, from, to) else {
            return;
        };
        let entries = (
            self.answered.get_mut(slot),
            self.this_round.get_mut(row),
            self.reached.get_mut(row),
        );
        if let (Some(answered), Some(this_round), Some(reached)) = entries
            && *answered != self.round
        {
            *answered = self.round;
            *this_round += 1;
            *reached += usize::from(!known);
        }
    }

    /// Begins the next round: what answered before this one counts no more.
    fn turn(&mut self) {
        self.round += 1;
        self.reached.clone_from(&self.this_round);
        self.this_round.fill(0);
    }

    fn is_round_answered(&self) -> bool {
        self.this_round
            .iter()
            .all(|answered| *answered + 1 >= self.pods)
    }

    fn last(&self, family: usize, from: usize, to: usize) -> u32 {
        let slot = self.slot(family, from, to);
        slot.and_then(|slot| self.answered.get(slot))
            .copied()
            .unwrap_or(0)
    }

    fn is_reached(&self, family: usize, from: usize, to: usize) -> bool {
        let last = self.last(family, from, to);
        last != 0 && last + 1 >= self.round
    }

    fn count(&self, family: usize, from: usize) -> Count {
        let reached = self.reached.get(family * self.pods + from);
        Count {
            reached: reached.copied().unwrap_or(0),
            of: self.pods.saturating_sub(1),
        }
    }
}

#[derive(Debug)]
struct Service {
    pod: usize,
    family: usize,
    socket: UdpSocket,
}

/// Asks and answers in every pod.
#[derive(Debug)]
pub(super) struct Prober {
    /// In the order of pods, then families: the place is `pod * families + family`.
    services: Vec<Service>,
    addresses: Vec<Vec<IpAddr>>,
    matrix: Matrix,
    /// Where in the sweep over all pairs the next question is; `None` between sweeps.
    place: Option<usize>,
    round_began: Instant,
    sweep_began: Instant,
    sweep_ended: Instant,
    /// The longest sweep of this round.
    sweep_took: Duration,
}

impl Prober {
    /// Opens a socket in every pod for every family.
    pub(super) fn open(plan: &Plan) -> Result<Self, LabError> {
        let mut services = Vec::new();
        for (pod, its) in plan.pods.iter().enumerate() {
            let sockets = namespace::inside(&its.namespace, Step::Enter, || {
                let bind = |address: &IpAddr| {
                    let socket = UdpSocket::bind(SocketAddr::new(*address, PORT))?;
                    socket.set_nonblocking(true)?;
                    Ok(socket)
                };
                its.addresses
                    .iter()
                    .map(bind)
                    .collect::<std::io::Result<Vec<_>>>()
            })?;
            let numbered = sockets.into_iter().enumerate();
            services.extend(numbered.map(|(family, socket)| Service {
                pod,
                family,
                socket,
            }));
        }
        let now = Instant::now();
        Ok(Self {
            services,
            addresses: plan.pods.iter().map(|pod| pod.addresses.clone()).collect(),
            matrix: Matrix::new(plan.pods.len(), plan.families.len()),
            place: Some(0),
            round_began: now,
            sweep_began: now,
            sweep_ended: now,
            sweep_took: Duration::ZERO,
        })
    }

    /// Asks and answers until `until`, or until `wake` becomes readable.
    pub(super) fn run(&mut self, until: Instant, wake: BorrowedFd<'_>) -> Result<(), LabError> {
        loop {
            let now = Instant::now();
            if now >= until {
                return Ok(());
            }
            let next = self.ask(now).min(until);
            let wait = next.saturating_duration_since(Instant::now());
            // Round up: a poll that ends too early would only spin.
            let millis = u16::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
            let mut ready = {
                let mut watched = vec![PollFd::new(wake, PollFlags::POLLIN)];
                let sockets = self.services.iter();
                watched.extend(sockets.map(|s| PollFd::new(s.socket.as_fd(), PollFlags::POLLIN)));
                match poll(&mut watched, PollTimeout::from(millis)) {
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(error) => return Err(LabError::system("wait for answers")(error)),
                }
                let readable = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
                watched.iter().map(readable).collect::<Vec<_>>().into_iter()
            };
            if ready.next() == Some(true) {
                return Ok(());
            }
            for (place, _) in ready.enumerate().filter(|(_, ready)| *ready) {
                self.serve(place);
            }
        }
    }

    /// Asks what is due; tells when the next question is.
    fn ask(&mut self, now: Instant) -> Instant {
        let Some(mut place) = self.place else {
            return self.turn(now);
        };
        let mut asked = 0;
        while asked < BURST {
            let Some((family, from, to)) = self.matrix.pair(place) else {
                self.place = None;
                self.sweep_ended = now;
                self.sweep_took = self.sweep_took.max(now - self.sweep_began);
                return now + self.retry();
            };
            place += 1;
            if self.matrix.last(family, from, to) != self.matrix.round {
                self.question(family, from, to);
                asked += 1;
            }
        }
        self.place = Some(place);
        // Read what came back before the next burst.
        now
    }

    /// Between sweeps: ask again what is unanswered, or begin the next round.
    fn turn(&mut self, now: Instant) -> Instant {
        let retry = self.sweep_ended + self.retry();
        if now < retry {
            return retry;
        }
        let round_end = self.round_began + ROUND.max(self.sweep_took * ROUND_SWEEPS);
        if now < round_end && self.matrix.is_round_answered() {
            return round_end;
        }
        if now >= round_end {
            self.matrix.turn();
            self.round_began = now;
            self.sweep_took = Duration::ZERO;
        }
        self.sweep_began = now;
        self.place = Some(0);
        now
    }

    fn retry(&self) -> Duration {
        (self.sweep_ended - self.sweep_began).clamp(RETRY, RETRY_MOST)
    }

    fn question(&self, family: usize, from: usize, to: usize) {
        let service = self.services.get(from * self.matrix.families + family);
        let address = self
            .addresses
            .get(to)
            .and_then(|addresses| addresses.get(family));
        if let (Some(service), Some(address)) = (service, address) {
            let datagram = encode(QUESTION, from, to);
            // A question that the kernel refuses (no route yet) is one without an answer.
            let _ = service.socket.send_to(&datagram, (*address, PORT));
        }
    }

    /// Reads what a pod received: answers questions, notes answers.
    fn serve(&mut self, place: usize) {
        let Some(service) = self.services.get(place) else {
            return;
        };
        let mut buffer = [0; LENGTH + 1];
        // An error other than "nothing more" is a report about an earlier datagram: read on later.
        while let Ok((length, sender)) = service.socket.recv_from(&mut buffer) {
            match buffer.get(..length).and_then(decode) {
                Some((QUESTION, from, to)) if to == service.pod => {
                    let _ = service.socket.send_to(&encode(ANSWER, from, to), sender);
                }
                Some((ANSWER, from, to)) if from == service.pod => {
                    self.matrix.mark(service.family, from, to);
                }
                Some(_) | None => {}
            }
        }
    }

    /// The pairs of one family, all pods together.
    pub(super) fn count(&self, family: usize) -> Count {
        (0..self.matrix.pods).fold(Count::default(), |sum, pod| {
            sum + self.reached_by(family, pod)
        })
    }

    /// The pairs that begin at a pod.
    pub(super) fn reached_by(&self, family: usize, pod: usize) -> Count {
        self.matrix.count(family, pod)
    }

    /// Whether every pod reaches every other in every family.
    pub(super) fn is_complete(&self) -> bool {
        (0..self.matrix.families).all(|family| self.count(family).is_full())
    }

    /// Up to `most` pairs that do not reach each other: who asks whom, and the address.
    pub(super) fn unreached(&self, plan: &Plan, most: usize) -> Vec<String> {
        let m = &self.matrix;
        (0..)
            .map_while(|place| m.pair(place))
            .filter(|(family, from, to)| !m.is_reached(*family, *from, *to))
            .filter_map(|(family, from, to)| {
                let address = self.addresses.get(to)?.get(family)?;
                Some(format!(
                    "{} does not reach {} ({address})",
                    plan.pods.get(from)?.name,
                    plan.pods.get(to)?.name
                ))
            })
            .take(most)
            .collect()
    }
}

/// The families' names in tables, by the index that [`Prober`] uses.
pub(super) const fn family_name(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "IPv4",
        Family::Ipv6 => "IPv6",
    }
}

fn encode(kind: u8, from: usize, to: usize) -> Vec<u8> {
    let number = |n: usize| u16::try_from(n).unwrap_or(u16::MAX).to_be_bytes();
    [&MAGIC[..], &[kind], &number(from), &number(to)].concat()
}

fn decode(datagram: &[u8]) -> Option<(u8, usize, usize)> {
    let rest = datagram.strip_prefix(&MAGIC)?;
    match rest {
        [kind, a, b, c, d] => {
            let number = |high, low| usize::from(u16::from_be_bytes([high, low]));
            Some((*kind, number(*a, *b), number(*c, *d)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_sweep_asks_every_pair_of_each_family_once_and_no_pod_itself() {
        let matrix = Matrix::new(5, 2);
        let asked: Vec<_> = (0..).map_while(|place| matrix.pair(place)).collect();
        assert_eq!(asked.len(), 5 * 4 * 2);
        assert!(asked.iter().all(|(_, from, to)| from != to));
        assert_eq!(asked.into_iter().collect::<HashSet<_>>().len(), 40);
    }

    #[test]
    fn a_single_pod_has_nobody_to_reach_and_is_complete() {
        let matrix = Matrix::new(1, 2);
        assert_eq!(matrix.pair(0), None);
        assert!(matrix.count(0, 0).is_full());
    }

    #[test]
    fn an_answer_counts_for_its_round_and_the_next() {
        let mut matrix = Matrix::new(3, 1);
        assert!(!matrix.is_reached(0, 0, 1));
        matrix.mark(0, 0, 1);
        matrix.mark(0, 0, 1);
        assert_eq!(matrix.count(0, 0), Count { reached: 1, of: 2 });
        matrix.turn();
        assert!(matrix.is_reached(0, 0, 1));
        matrix.mark(0, 0, 2);
        assert!(matrix.count(0, 0).is_full());
        matrix.turn();
        assert!(!matrix.is_reached(0, 0, 1));
        assert_eq!(matrix.count(0, 0), Count { reached: 1, of: 2 });
        matrix.mark(0, 0, 1);
        matrix.turn();
        matrix.turn();
        assert_eq!(matrix.count(0, 0), Count { reached: 0, of: 2 });
    }

    #[test]
    fn a_foreign_datagram_marks_nothing() {
        assert_eq!(decode(&encode(ANSWER, 3, 1000)), Some((ANSWER, 3, 1000)));
        for bad in [&b""[..], b"dlab", b"dlab!12345", b"xlab!\0\0\0\0"] {
            assert_eq!(decode(bad), None);
        }
        let mut matrix = Matrix::new(2, 1);
        matrix.mark(0, 7, 9);
        matrix.mark(5, 0, 1);
        assert!(matrix.answered.iter().all(|round| *round == 0));
    }
}
