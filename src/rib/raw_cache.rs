//! The last attribute blocks seen on the wire, so that the same bytes are not parsed again.
//!
//! It pays where the same block comes in many UPDATEs: a table with few sets, a peer that announces
//! again after a flap, a mesh at start. A full feed has each block once, and there the cache must
//! cost little: a fixed number of places, one hash, one comparison, no search.

use std::hash::BuildHasher as _;

use super::attributes::AttributesId;
use crate::net::Hashing;
use crate::wire::attribute::NextHop;

/// Places. A mesh of a thousand nodes has about that many blocks; it is 100-200 KB when full.
const PLACES: usize = 1024;
/// Longer blocks are rare and would make the cache's size a matter of the peer's taste.
const LONGEST: usize = 512;

#[derive(Debug)]
struct Place {
    context: u64,
    next_hop: Option<NextHop>,
    raw: Box<[u8]>,
    id: AttributesId,
}

#[derive(Debug)]
pub(crate) struct RawCache {
    places: Vec<Option<Box<Place>>>,
    hasher: Hashing,
}

impl RawCache {
    pub(crate) fn new(hasher: Hashing) -> Self {
        Self {
            places: Vec::new(),
            hasher,
        }
    }

    pub(crate) fn get(
        &self,
        context: u64,
        raw: &[u8],
        next_hop: Option<NextHop>,
    ) -> Option<AttributesId> {
        let place = self
            .places
            .get(self.place_of(context, raw, next_hop))?
            .as_ref()?;
        let same = place.context == context && place.next_hop == next_hop && *place.raw == *raw;
        same.then_some(place.id)
    }

    /// Enters a block; the number whose reference the cache no longer holds, perhaps the new one.
    pub(crate) fn put(
        &mut self,
        context: u64,
        raw: &[u8],
        next_hop: Option<NextHop>,
        id: AttributesId,
    ) -> Option<AttributesId> {
        if raw.len() > LONGEST {
            return Some(id);
        }
        if self.places.is_empty() {
            self.places.resize_with(PLACES, || None);
        }
        let place_of = self.place_of(context, raw, next_hop);
        let place = self.places.get_mut(place_of)?;
        let new = Box::new(Place {
            context,
            next_hop,
            raw: raw.into(),
            id,
        });
        place.replace(new).map(|old| old.id)
    }

    pub(crate) fn clear(&mut self) -> Vec<AttributesId> {
        core::mem::take(&mut self.places)
            .into_iter()
            .flatten()
            .map(|place| place.id)
            .collect()
    }

    fn place_of(&self, context: u64, raw: &[u8], next_hop: Option<NextHop>) -> usize {
        (self.hasher.hash_one((context, raw, next_hop)) as usize) % PLACES
    }
}
