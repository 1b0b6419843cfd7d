//! The record of what a cohort was sent: a number for each destination and path identifier.
//!
//! No attributes are in it, and no policy: it says whose route went out last. What always holds: what
//! was never sent under an identifier takes no memory, so without Add-Path it is one sparse array.

use super::chunks::SparseU32;
use super::peer::PeerIndex;
use super::prefix_map::DestinationId;

/// What the members were sent: per path identifier and destination the source.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sent {
    /// By identifier, from [`FIRST`] on: 0 if nothing was sent, else the source's index + 1. Without
    /// Add-Path, and where no destination ever had two paths, there is one of them.
    first: SparseU32,
    others: Vec<SparseU32>,
}

/// The lowest path identifier that is sent, and the only one without Add-Path.
pub(crate) const FIRST: u8 = 1;

impl Sent {
    /// Whose route was sent under an identifier.
    #[inline]
    pub(crate) fn get(&self, id: DestinationId, path: u8) -> Option<PeerIndex> {
        let places = match path.checked_sub(FIRST + 1) {
            None => &self.first,
            Some(at) => self.others.get(usize::from(at))?,
        };
        places.get(id).checked_sub(1).map(PeerIndex)
    }

    /// Notes whose route was sent, `None` for a withdrawal.
    #[inline]
    pub(crate) fn set(&mut self, id: DestinationId, path: u8, source: Option<PeerIndex>) {
        let value = source.map_or(0, |source| source.0.saturating_add(1));
        let Some(at) = path.checked_sub(FIRST + 1).map(usize::from) else {
            return self.first.set(id, value);
        };
        if at >= self.others.len() {
            self.others.resize_with(at + 1, SparseU32::default);
        }
        if let Some(places) = self.others.get_mut(at) {
            places.set(id, value);
        }
    }

    /// Notes whose route was sent, `None` for a withdrawal; gives whose was before.
    #[inline]
    pub(crate) fn replace(
        &mut self,
        id: DestinationId,
        path: u8,
        source: Option<PeerIndex>,
    ) -> Option<PeerIndex> {
        if path <= FIRST {
            let value = source.map_or(0, |source| source.0.saturating_add(1));
            let before = self.first.replace(id, value);
            return before.checked_sub(1).map(PeerIndex);
        }
        let before = self.get(id, path);
        self.set(id, path, source);
        before
    }

    /// Nothing is there any more from this destination on.
    pub(crate) fn truncate(&mut self, end: DestinationId) {
        self.first.truncate(end);
        self.others
            .iter_mut()
            .for_each(|places| places.truncate(end));
    }

    /// The identifiers that something was ever sent under.
    pub(crate) fn identifiers(&self) -> impl Iterator<Item = u8> + use<> {
        let others = u8::try_from(self.others.len()).unwrap_or(u8::MAX - FIRST);
        FIRST..=FIRST + others
    }

    /// Whether anything was sent of a destination.
    pub(crate) fn any(&self, id: DestinationId) -> bool {
        self.all().any(|places| places.get(id) != 0)
    }

    /// How many routes a member has by this record.
    pub(crate) fn count(&self, member: PeerIndex) -> usize {
        // The record's own source never got its route (split horizon).
        let own = member.0.saturating_add(1);
        let received = |sent: &u32| *sent != 0 && *sent != own;
        self.all()
            .flat_map(SparseU32::iter)
            .filter(received)
            .count()
    }

    /// Takes over what `other` has where this has nothing.
    pub(crate) fn fill_from(&mut self, other: &Self) {
        self.first.fill_from(&other.first);
        if self.others.len() < other.others.len() {
            self.others
                .resize_with(other.others.len(), SparseU32::default);
        }
        for (mine, theirs) in self.others.iter_mut().zip(&other.others) {
            mine.fill_from(theirs);
        }
    }

    fn all(&self) -> impl Iterator<Item = &SparseU32> {
        core::iter::once(&self.first).chain(&self.others)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.all().map(SparseU32::heap_bytes).sum::<usize>()
            + self.others.capacity() * size_of::<SparseU32>()
    }
}
