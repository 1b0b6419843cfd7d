//! What only this host can say, asked once and waited for: its links, addresses and routes, and
//! what a name stands for.
//!
//! For whoever has no running dataplane to look at: the daemon before it starts, and the commands
//! that work without one. Everything has a time limit.

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use crate::dataplane::netlink::{Kernel, KernelError, KernelSettings};
use crate::dataplane::{
    Action, Change, Errno, KernelInput, KernelView, Op, OpId, Owner, Ownership,
};

/// A kernel that says nothing for so long won't.
const KERNEL_PATIENCE: Duration = Duration::from_secs(5);
/// What changes under a dump makes it incomplete; then it is taken again.
const DUMPS: u64 = 5;
/// A resolver that has not answered by then is down.
pub(super) const NAME_PATIENCE: Duration = Duration::from_secs(5);

/// Why the host could not be looked at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostError {
    /// No netlink.
    #[error("{0}")]
    Kernel(KernelError),
    /// No answer.
    #[error("the kernel does not say which links and addresses it has")]
    Silent,
    /// It kept changing, or refused.
    #[error("the kernel's list of links and addresses is not complete: {0}")]
    Incomplete(Errno),
}

/// Links, addresses and routes as they are now. Needs no privilege.
pub(super) fn look() -> Result<KernelView, HostError> {
    let mut view = KernelView::new(Ownership::default());
    ask(|news| match news {
        News::Begin => view.dump_begins(),
        News::Row(row) => view.dumped(&row),
        News::Changed(change) => {
            let _incomplete = view.apply(&change);
        }
        News::End(complete) => view.dump_ends(complete),
    })?;
    Ok(view)
}

/// Families of which a former process has left routes of ours, by `Family::index`.
pub(super) fn kept_routes() -> Result<[bool; 2], HostError> {
    let rule = Ownership::default();
    let mut kept = [false; 2];
    ask(|news| match news {
        News::Begin => kept = [false; 2],
        News::Row(Change::Route { route, .. })
            if matches!(rule.of(&route), Owner::Ours(_) | Owner::Stray) =>
        {
            *route.prefix.family().of_mut(&mut kept) = true;
        }
        News::Row(_) | News::Changed(_) | News::End(_) => {}
    })?;
    Ok(kept)
}

/// What a look at the kernel brings.
enum News {
    /// All that came before is of no use.
    Begin,
    Row(Change),
    Changed(Change),
    /// Whether it was complete.
    End(bool),
}

/// Has the kernel tell all it has, again if that was not complete.
fn ask(mut hear: impl FnMut(News)) -> Result<(), HostError> {
    let (sink, inputs) = channel();
    let hand_over = move |batch: Vec<KernelInput>| sink.send(batch).is_ok();
    let kernel = Kernel::spawn(KernelSettings::default(), hand_over).map_err(HostError::Kernel)?;
    let mut result = Ok(());
    for id in (0..DUMPS).map(OpId) {
        hear(News::Begin);
        let action = Action::Dump;
        if !kernel.send(vec![Op { id, action }]) {
            return Err(HostError::Silent);
        }
        result = dump(&mut hear, &inputs, id)?;
        if result.is_ok() {
            break;
        }
    }
    result.map_err(HostError::Incomplete)
}

/// Takes in a dump to its end; whether it was complete.
fn dump(
    hear: &mut impl FnMut(News),
    inputs: &Receiver<Vec<KernelInput>>,
    dump: OpId,
) -> Result<Result<(), Errno>, HostError> {
    loop {
        let batch = inputs
            .recv_timeout(KERNEL_PATIENCE)
            .map_err(|error| match error {
                RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected => HostError::Silent,
            })?;
        for input in batch {
            match input {
                KernelInput::Changed(change) => hear(News::Changed(change)),
                KernelInput::Dumped(row) => hear(News::Row(row)),
                KernelInput::Done { id, result } if id == dump => {
                    hear(News::End(result.is_ok()));
                    return Ok(result);
                }
                KernelInput::Done { .. } | KernelInput::Carried { .. } | KernelInput::Overrun => {}
            }
        }
    }
}

/// What names stand for, so that none is asked for twice.
#[derive(Debug, Clone, Default)]
pub(super) struct Names(BTreeMap<String, Vec<IpAddr>>);

impl Names {
    /// The addresses of a host, those of both families; an address stands for itself.
    pub(super) fn get(&self, name: &str) -> Vec<IpAddr> {
        match name.parse() {
            Ok(address) => vec![address],
            Err(_) => self.0.get(name).cloned().unwrap_or_default(),
        }
    }

    /// Asks the system's resolver for a name that is not known, and waits for it so long.
    pub(super) fn learn(&mut self, name: &str, patience: Duration) {
        if !self.get(name).is_empty() {
            return;
        }
        let (answer, answered) = channel();
        let asked = name.to_owned();
        // The resolver can't be interrupted: whoever no longer waits leaves it behind.
        let resolver = thread::Builder::new()
            .name("resolver".into())
            .spawn(move || {
                let ends = (asked.as_str(), 80).to_socket_addrs();
                let found: Vec<IpAddr> = ends.into_iter().flatten().map(|end| end.ip()).collect();
                let _nobody_waits = answer.send(found);
            });
        if resolver.is_ok()
            && let Ok(found) = answered.recv_timeout(patience)
        {
            self.0.insert(name.to_owned(), found);
        }
    }
}
