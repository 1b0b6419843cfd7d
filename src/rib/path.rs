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
    /// Whether it is kept over a restart of its peer (RFC 4724) and not confirmed since.
    pub stale: bool,
    /// Whether it is long-lived stale: used only if nothing else is there (RFC 9494).
    pub long_lived_stale: bool,
    /// Whether it is the best path or a multipath equal of it.
    pub selected: bool,
}

/// What a destination holds.
#[derive(Debug)]
pub(crate) enum Paths {
    /// The id is free; the next free one, or `u32::MAX`.
    Vacant { next: u32 },
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
