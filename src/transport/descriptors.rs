//! How many descriptors connections may take: not the last ones, which control, log, reload and `nft` need.
//!
//! Nothing is counted. The kernel gives the lowest number that is free, so the number of a new descriptor says
//! how many are in use at least. What always holds: who calls gets none of the last [`RESERVE`], nor of a
//! share that our own dials have beside.

use std::os::fd::{AsFd, AsRawFd};

use nix::sys::resource::{Resource, getrlimit};

/// Descriptors that no connection gets, or half of all where these are few: sixteen clients of the control
/// socket, files of a reload, pipes of `nft`, sockets that a new plan listens on.
const RESERVE: u64 = 64;
/// The part of the others that callers leave to dials.
const SHARE_OF_DIALS: u64 = 8;

/// Who wants a descriptor for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Somebody who calls.
    Call,
    /// A dial of ours.
    Dial,
}

/// Whether a new descriptor is beyond what this use may have.
pub(super) fn is_beyond(new: &impl AsFd, of: Use) -> bool {
    let number = u64::try_from(new.as_fd().as_raw_fd()).unwrap_or(u64::MAX);
    number >= ceiling(limit(), of)
}

/// Whether callers are refused at the moment for want of descriptors, and of how many that is.
pub fn shortage() -> Option<u64> {
    let limit = limit();
    // The next one that would be given.
    let probe = std::io::stderr().as_fd().try_clone_to_owned();
    let short = probe.map_or(true, |probe| is_beyond(&probe, Use::Call));
    short.then_some(limit)
}

fn limit() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _hard)| soft)
}

/// Numbers below this may be used.
const fn ceiling(limit: u64, of: Use) -> u64 {
    let reserve = if limit / 2 < RESERVE {
        limit / 2
    } else {
        RESERVE
    };
    let for_all = limit - reserve;
    match of {
        Use::Dial => for_all,
        Use::Call => for_all - for_all / SHARE_OF_DIALS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_leave_a_share_to_dials_and_all_leave_a_reserve() {
        for limit in [0, 1, 40, 128, 1_024, 65_536, u64::MAX] {
            let (calls, dials) = (ceiling(limit, Use::Call), ceiling(limit, Use::Dial));
            assert!(calls <= dials && dials <= limit);
            assert!(limit - dials >= RESERVE.min(limit / 2), "{limit}");
        }
        assert_eq!(ceiling(1_024, Use::Dial), 960);
        assert_eq!(ceiling(1_024, Use::Call), 840);
        assert_eq!(shortage(), None);
    }
}
