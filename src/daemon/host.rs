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
use crate::dataplane::{Action, Errno, KernelInput, KernelView, Op, OpId, Ownership};

/// A kernel that says nothing for so long won't.
const KERNEL_PATIENCE: Duration = Duration::from_secs(5);
/// What changes under a dump makes it incomplete; then it is taken again.
const DUMPS: u64 = 5;
/// A resolver that has not answered by then is down.
pub(super) const NAME_PATIENCE: Duration = Duration::from_secs(5);
/// The same for a daemon whose peers wait meanwhile: shorter than any hold time.
pub(super) const NAME_PATIENCE_RUNNING: Duration = Duration::from_secs(1);

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
    let (sink, inputs) = channel();
    let hand_over = move |batch: Vec<KernelInput>| sink.send(batch).is_ok();
    let kernel = Kernel::spawn(KernelSettings::default(), hand_over).map_err(HostError::Kernel)?;
    let mut view = KernelView::new(Ownership::default());
    let mut result = Ok(());
    for id in (0..DUMPS).map(OpId) {
        view.dump_begins();
        let action = Action::Dump;
        if !kernel.send(vec![Op { id, action }]) {
            return Err(HostError::Silent);
        }
        result = dump(&mut view, &inputs, id)?;
        if result.is_ok() {
            break;
        }
    }
    result.map(|()| view).map_err(HostError::Incomplete)
}

/// Takes in a dump to its end; whether it was complete.
fn dump(
    view: &mut KernelView,
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
                KernelInput::Changed(change) => view.apply(&change),
                KernelInput::Dumped(row) => view.dumped(&row),
                KernelInput::Done { id, result } if id == dump => {
                    view.dump_ends(result.is_ok());
                    return Ok(result);
                }
                KernelInput::Done { .. } | KernelInput::Overrun => {}
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
