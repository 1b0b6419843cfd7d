//! A path of a destination, and the destination's set of paths: 16 bytes each.
//!
//! The usual single path lies inline; only a destination with several has an allocation. The set
//! keeps the paths that were selected (the best and its multipath equals) in front, best first.

use super::attributes::AttributesId;
use super::peer::PeerIndex;

/// One path of the Adj-RIB-In of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// Who sent it.
    pub peer: PeerIndex,
    /// Its attributes.
    pub attributes: AttributesId,
    /// Its path identifier (RFC 7911), 0 without Add-Path.
    pub path_id: u32,
    /// Whether import policy accepted it; otherwise it is only remembered.
    pub accepted: bool,
    /// When its peer said it: see [`Standing`](super::Standing).
    pub(crate) epoch: u8,
    /// Whether it is the best path or a multipath equal of it.
    pub selected: bool,
    /// The identifier that peers with Add-Path are sent it under; 0 if they are not sent it. It stays
    /// while the path is among those that are sent, and no two of them have the same.
    pub send_id: u8,
}

impl Path {
    /// A path as it has just come.
    pub(crate) const fn received(
        peer: PeerIndex,
        attributes: AttributesId,
        path_id: u32,
        accepted: bool,
    ) -> Self {
        Self {
            peer,
            attributes,
            path_id,
            accepted,
            epoch: 0,
            selected: false,
            send_id: 0,
        }
    }
}

/// So many paths of a destination are sent to peers with Add-Path. As many as share the traffic by
/// default; more would not be used, and each costs every receiver memory.
pub(crate) const MAX_SENT: u8 = 16;
/// So many at most to peers that want unequal paths, too: identifiers fit a set of 64 bits, and the lowest
/// is 1.
pub const MAX_SENT_UNEQUAL: u8 = 63;
/// So many paths of a destination a peer may have: more than anybody sends who shares traffic, few
/// enough that a prefix limit bounds memory and a decision stays short.
pub const MAX_RECEIVED: usize = 64;

/// What a destination holds.
#[derive(Debug)]
pub(crate) enum Paths {
    /// The id is free; the free ones beside it in their list, or `u32::MAX`.
    Vacant { next: u32, before: u32 },
    /// No path is left, but this many consumers have yet to hear of it.
    Empty { pins: u32 },
    /// One path.
    One(Path),
    /// Several, the selected ones in front.
    #[expect(
        clippy::box_collection,
        reason = "a Vec would make every single path 8 bytes larger"
    )]
    Many(Box<Vec<Path>>),
}

impl Paths {
    /// Whether the id is free.
    pub(crate) const fn is_vacant(&self) -> bool {
        matches!(self, Self::Vacant { .. })
    }

    pub(crate) fn as_slice(&self) -> &[Path] {
        match self {
            Self::Vacant { .. } | Self::Empty { .. } => &[],
            Self::One(path) => core::slice::from_ref(path),
            Self::Many(paths) => paths,
        }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [Path] {
        match self {
            Self::Vacant { .. } | Self::Empty { .. } => &mut [],
            Self::One(path) => core::slice::from_mut(path),
            Self::Many(paths) => paths,
        }
    }

    /// The best path, if any path is eligible.
    pub(crate) fn best(&self) -> Option<&Path> {
        self.as_slice().first().filter(|path| path.selected)
    }

    /// The best path and its multipath equals.
    pub(crate) fn selected(&self) -> impl Iterator<Item = &Path> {
        self.as_slice().iter().take_while(|path| path.selected)
    }

    /// The paths that somebody is sent, the selected ones in front.
    pub(crate) fn shown(&self) -> impl Iterator<Item = &Path> {
        let paths = self.as_slice().iter();
        paths.take_while(|path| path.selected || path.send_id != 0)
    }

    /// Gives each path that is to be sent its identifier: the lowest free one if it has none yet. `front` of
    /// them are to be sent at least, as they stand in front.
    pub(crate) fn number(&mut self, front: usize) {
        match self {
            Self::Vacant { .. } | Self::Empty { .. } => {}
            Self::One(path) if path.selected => path.send_id = path.send_id.max(1),
            Self::One(path) => path.send_id = 0,
            Self::Many(paths) => number(paths, front),
        }
    }

    pub(crate) fn push(&mut self, path: Path) {
        match self {
            Self::Vacant { .. } | Self::Empty { .. } => *self = Self::One(path),
            Self::One(first) => *self = Self::Many(Box::new(vec![*first, path])),
            Self::Many(paths) => paths.push(path),
        }
    }

    /// Removes the path at `place`; the set may be `Empty` with no pins after it.
    pub(crate) fn remove(&mut self, place: usize) {
        match self {
            Self::Vacant { .. } | Self::Empty { .. } => {}
            Self::One(_) => *self = Self::Empty { pins: 0 },
            Self::Many(paths) => {
                if place < paths.len() {
                    paths.remove(place);
                }
                if let [last] = paths.as_slice() {
                    *self = Self::One(*last);
                }
            }
        }
    }
}

/// See [`Paths::number`]; the selected paths are in front.
fn number(paths: &mut [Path], front: usize) {
    let count = paths.iter().take_while(|path| path.selected).count();
    let count = count.min(usize::from(MAX_SENT)).max(front);
    let count = count.min(usize::from(MAX_SENT_UNEQUAL));
    let (sent, rest) = paths.split_at_mut_checked(count).unwrap_or_default();
    for path in rest {
        path.send_id = 0;
    }
    let mut taken = sent.iter().fold(1_u64, |taken, path| taken | bit(path));
    for path in sent.iter_mut().filter(|path| path.send_id == 0) {
        // So many are taken at most that there is a free one.
        path.send_id = u8::try_from(taken.trailing_ones()).unwrap_or(MAX_SENT_UNEQUAL);
        taken |= bit(path);
    }
}

const fn bit(path: &Path) -> u64 {
    1_u64.wrapping_shl(path.send_id as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(peer: u32, selected: bool) -> Path {
        Path {
            peer: PeerIndex(peer),
            attributes: AttributesId(0),
            path_id: 0,
            accepted: true,
            epoch: 0,
            selected,
            send_id: 0,
        }
    }

    fn numbers(paths: &Paths) -> Vec<(u32, u8)> {
        let paths = paths.as_slice().iter();
        paths.map(|path| (path.peer.0, path.send_id)).collect()
    }

    #[test]
    fn a_path_keeps_its_number_while_it_is_sent_and_no_other_has_it() {
        let mut paths = Paths::Many(Box::new([1, 2, 3].map(|peer| path(peer, true)).to_vec()));
        paths.number(0);
        assert_eq!(numbers(&paths), [(1, 1), (2, 2), (3, 3)]);
        paths.remove(0);
        paths.number(0);
        assert_eq!(numbers(&paths), [(2, 2), (3, 3)]);
        paths.push(path(4, true));
        paths.number(0);
        assert_eq!(numbers(&paths), [(2, 2), (3, 3), (4, 1)]);
        paths.remove(2);
        paths.remove(0);
        paths.number(0);
        assert_eq!(numbers(&paths), [(3, 3)], "alone, too");
        paths.as_mut_slice()[0].selected = false;
        paths.number(0);
        assert_eq!(numbers(&paths), [(3, 0)]);
    }

    #[test]
    fn sixteen_have_a_number_and_who_follows_has_none() {
        let all = (1..=40).map(|peer| path(peer, peer <= 30)).collect();
        let mut paths = Paths::Many(Box::new(all));
        paths.number(0);
        let sent = numbers(&paths).into_iter().filter(|(_, id)| *id != 0);
        let expected: Vec<_> = (1..=16).map(|n| (n, u8::try_from(n).unwrap())).collect();
        assert_eq!(sent.collect::<Vec<_>>(), expected);
        paths.as_mut_slice().rotate_left(1);
        // The first is last among the selected now, and gives its number to who comes after.
        paths.as_mut_slice()[29..].reverse();
        paths.number(0);
        let ids = numbers(&paths);
        assert_eq!(ids[0], (2, 2));
        assert_eq!(ids[15], (17, 1));
        assert!(ids[16..].iter().all(|(_, id)| *id == 0));
    }
}
