//! What the process may do: after the start, the network of this node and nothing else.
//!
//! A capability belongs to a thread, so this has to be called while there is one; the threads and
//! programs that it starts later have no more than it has. The thread of the log is there before, and
//! [`renounce`]s all of them for itself. What always holds: nothing that is given up
//! comes back, by whatever program is run (`no_new_privs`).

use std::collections::HashSet;
use std::path::Path;

use caps::{CapSet, Capability, CapsHashSet};

use super::config::Process;
use super::listening::links;
use crate::topology::Plan;

/// What is kept, and what for: routes, devices, addresses, nftables, and the network's switches below
/// `/proc/sys`; ports below 1024 for an address to listen on that comes later.
const KEPT: [Capability; 2] = [Capability::CAP_NET_ADMIN, Capability::CAP_NET_BIND_SERVICE];

/// Gives up all that is not needed any more, unless that is switched off; the names of what is left.
/// `files` are read again on a reload: one that can't be is said now.
///
/// A plan with peers on links needs raw sockets, for router advertisements; one that comes later is told
/// that it takes a restart.
pub(super) fn confine(process: Process, plan: &Plan, files: &[&Path]) -> Vec<String> {
    if !process.keep_capabilities {
        let mut wanted = HashSet::from(KEPT);
        if !links(plan).is_empty() {
            wanted.insert(Capability::CAP_NET_RAW);
        }
        match give_up(&wanted) {
            Ok(()) => files.iter().for_each(|file| complain_of(file)),
            // A process that may too much works as well.
            Err(error) => tracing::warn!(%error, "cannot give up capabilities"),
        }
    }
    let held = caps::read(None, CapSet::Effective).unwrap_or_default();
    let mut names: Vec<String> = held.iter().map(ToString::to_string).collect();
    names.sort_unstable();
    names
}

/// Gives up all capabilities of this thread.
pub(super) fn renounce() {
    // Whoever has none has nothing to give up.
    let _nothing_to_give_up = give_up(&HashSet::new());
}

fn give_up(wanted: &CapsHashSet) -> Result<(), Box<dyn std::error::Error>> {
    let has = |set| caps::read(None, set);
    let kept = |of: &CapsHashSet| -> CapsHashSet { of.intersection(wanted).copied().collect() };
    // The program `nft` needs what we have; it gets it as root, or else by what was given to us so.
    let ambient = kept(&has(CapSet::Ambient)?);
    let inheritable = kept(&has(CapSet::Inheritable)?);
    let permitted = kept(&has(CapSet::Permitted)?);
    nix::sys::prctl::set_no_new_privs()?;
    for capability in has(CapSet::Bounding)?.difference(wanted) {
        // Only a process with CAP_SETPCAP may; for others `no_new_privs` says it all.
        let _without_setpcap = caps::drop(None, CapSet::Bounding, *capability);
    }
    caps::set(None, CapSet::Ambient, &ambient)?;
    caps::set(None, CapSet::Effective, &permitted)?;
    caps::set(None, CapSet::Permitted, &permitted)?;
    caps::set(None, CapSet::Inheritable, &inheritable)?;
    Ok(())
}

/// A root that lost its capabilities reads what root may read, and no longer what is others' alone.
fn complain_of(file: &Path) {
    if let Err(error) = std::fs::File::open(file)
        && error.kind() == std::io::ErrorKind::PermissionDenied
    {
        tracing::warn!(file = %file.display(), "cannot be read with the capabilities that are left, so \
            a change of it will not be seen: make it readable for the user that dunlin runs as, or set \
            keep-capabilities = true in [process]");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{self, Intent, Node};

    fn plan() -> Plan {
        let intent = Intent {
            nodes: vec![Node::named("me")],
            ..Intent::default()
        };
        topology::plan(&intent, "me").unwrap()
    }

    /// In a thread of its own, which is all that it confines.
    #[test]
    fn what_is_given_up_is_gone_and_the_rest_is_listed() {
        let before = caps::read(None, CapSet::Effective).unwrap();
        let keep = Process {
            keep_capabilities: true,
        };
        let all = confine(keep, &plan(), &[]);
        assert_eq!(all.len(), before.len());
        let confined = std::thread::spawn(|| {
            let names = confine(Process::default(), &plan(), &[]);
            for set in [CapSet::Permitted, CapSet::Effective, CapSet::Inheritable] {
                let left = caps::read(None, set).unwrap();
                assert!(
                    left.iter().all(|held| KEPT.contains(held)),
                    "{set:?}: {left:?}"
                );
            }
            assert!(nix::sys::prctl::get_no_new_privs().unwrap());
            names
        });
        let names = confined.join().unwrap();
        let expected = KEPT.iter().filter(|kept| before.contains(*kept));
        assert_eq!(names.len(), expected.count());
        assert_eq!(caps::read(None, CapSet::Effective).unwrap(), before);
    }
}
