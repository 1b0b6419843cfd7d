//! Capabilities: after the start, the network of this node and nothing else.
//!
//! A capability belongs to a thread, so this has to be called while there is one; the threads and
//! programs that it starts later have no more than it has. What always holds: nothing that is given up
//! comes back, by whatever program is run (`no_new_privs`); a program that is run has [`PASSED_ON`] at most,
//! whoever the user is.

use std::collections::HashSet;

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};

use crate::daemon::listening::links;
use crate::topology::Plan;

/// What is kept, and what for: routes, devices, addresses, nftables, and the network's switches below
/// `/proc/sys`; ports below 1024 for an address to listen on that comes later.
pub(super) const KEPT: [Capability; 2] =
    [Capability::CAP_NET_ADMIN, Capability::CAP_NET_BIND_SERVICE];
/// What the program `nft` gets (ambient).
const PASSED_ON: Capability = Capability::CAP_NET_ADMIN;

/// What a plan needs. Peers on links take raw sockets, for router advertisements; a plan with some that
/// comes later is told that it takes a restart.
pub(super) fn wanted(plan: &Plan) -> CapsHashSet {
    let mut wanted = HashSet::from(KEPT);
    if !links(plan).is_empty() {
        wanted.insert(Capability::CAP_NET_RAW);
    }
    wanted
}

/// Makes it impossible to get any beside `wanted`. To be called before the user changes: it takes
/// CAP_SETPCAP.
pub(super) fn bound(wanted: &CapsHashSet) -> Result<(), CapsError> {
    for capability in caps::read(None, CapSet::Bounding)?.difference(wanted) {
        // Only a process with CAP_SETPCAP may; for others `no_new_privs` says it all.
        let _without_setpcap = caps::drop(None, CapSet::Bounding, *capability);
    }
    Ok(())
}

/// Gives up all capabilities of this thread but `wanted`, and passes on what `nft` needs.
pub(super) fn keep_only(wanted: &CapsHashSet) -> Result<(), CapsError> {
    let permitted = caps::read(None, CapSet::Permitted)?;
    let kept: CapsHashSet = permitted.intersection(wanted).copied().collect();
    let passed_on: CapsHashSet = kept.iter().copied().filter(|it| *it == PASSED_ON).collect();
    caps::clear(None, CapSet::Ambient)?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    caps::set(None, CapSet::Inheritable, &passed_on)?;
    caps::set(None, CapSet::Ambient, &passed_on)
}

/// Makes all that is kept effective again after a change of user.
pub(super) fn raise() -> Result<(), CapsError> {
    let permitted = caps::read(None, CapSet::Permitted)?;
    caps::set(None, CapSet::Effective, &permitted)
}

/// Gives up all capabilities of this thread.
pub(super) fn renounce() {
    // Whoever has none has nothing to give up.
    let _nothing_to_give_up = keep_only(&HashSet::new());
}

/// The names of what this thread has.
pub(super) fn held() -> Vec<String> {
    let held = caps::read(None, CapSet::Effective).unwrap_or_default();
    let mut names: Vec<String> = held.iter().map(ToString::to_string).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{self, Intent, Node};

    /// In a thread of its own, which is all that it confines.
    #[test]
    fn what_is_given_up_is_gone_and_the_rest_is_listed() {
        let before = caps::read(None, CapSet::Effective).unwrap();
        let intent = Intent {
            nodes: vec![Node::named("me")],
            ..Intent::default()
        };
        let plan = topology::plan(&intent, "me").unwrap();
        let confined = std::thread::spawn(move || {
            nix::sys::prctl::set_no_new_privs().unwrap();
            let wanted = wanted(&plan);
            bound(&wanted).unwrap();
            keep_only(&wanted).unwrap();
            for set in [CapSet::Permitted, CapSet::Effective, CapSet::Inheritable] {
                let left = caps::read(None, set).unwrap();
                assert!(
                    left.iter().all(|held| KEPT.contains(held)),
                    "{set:?}: {left:?}"
                );
            }
            let ambient = caps::read(None, CapSet::Ambient).unwrap();
            assert!(ambient.iter().all(|it| *it == PASSED_ON), "{ambient:?}");
            held()
        });
        let names = confined.join().unwrap();
        let expected = KEPT.iter().filter(|kept| before.contains(*kept));
        assert_eq!(names.len(), expected.count());
        assert_eq!(caps::read(None, CapSet::Effective).unwrap(), before);
    }
}
