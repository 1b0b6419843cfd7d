//! A growing array in chunks: growth never copies what is there, so a table of a million entries
//! never needs twice its memory for a moment, and its tail costs one chunk at most.

/// log2 of the elements of a chunk. 4096 entries of a table are about 100 KB.
const SHIFT: u32 = 12;
const CHUNK: usize = 1 << SHIFT;

/// An array indexed by `u32`.
#[derive(Debug)]
pub(crate) struct Chunks<T> {
    chunks: Vec<Vec<T>>,
    len: u32,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            len: 0,
        }
    }
}

impl<T> Chunks<T> {
    pub(crate) const fn len(&self) -> u32 {
        self.len
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.chunks
            .get((index >> SHIFT) as usize)?
            .get(index as usize & (CHUNK - 1))
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.chunks
            .get_mut((index >> SHIFT) as usize)?
            .get_mut(index as usize & (CHUNK - 1))
    }

    /// Appends and gives the index.
    pub(crate) fn push(&mut self, value: T) -> u32 {
        let index = self.len;
        let chunk = (index >> SHIFT) as usize;
        if chunk == self.chunks.len() {
            // The first chunk grows by itself, so that a small table is small.
            let room = if chunk == 0 { 0 } else { CHUNK };
            self.chunks.push(Vec::with_capacity(room));
        }
        if let Some(chunk) = self.chunks.get_mut(chunk) {
            chunk.push(value);
            self.len += 1;
        }
        index
    }

    /// Takes all from `len` on away, and the chunks that are empty then.
    pub(crate) fn truncate(&mut self, len: usize) {
        let keep = len.div_ceil(CHUNK);
        self.chunks.truncate(keep);
        self.chunks.shrink_to_fit();
        if let Some(last) = self.chunks.last_mut() {
            last.truncate(len - (keep - 1) * CHUNK);
        }
        self.len = self.len.min(u32::try_from(len).unwrap_or(u32::MAX));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..self.len).zip(self.chunks.iter().flatten())
    }

    /// Bytes allocated.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.chunks
            .iter()
            .map(|chunk| chunk.capacity() * size_of::<T>())
            .sum()
    }
}

/// `u32`s by index, 0 unless set, in pages: a page of zeros takes no memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct SparseU32 {
    pages: Vec<Option<Box<[u32; PAGE]>>>,
}

/// 4 KiB.
const PAGE: usize = 1024;

impl SparseU32 {
    #[inline]
    pub(crate) fn get(&self, index: u32) -> u32 {
        let page = self
            .pages
            .get(index as usize / PAGE)
            .and_then(Option::as_ref);
        page.and_then(|page| page.get(index as usize % PAGE))
            .copied()
            .unwrap_or(0)
    }

    /// Forgets what is at and behind an index, but for the rest of its page.
    pub(crate) fn truncate(&mut self, index: u32) {
        let pages = (index as usize).div_ceil(PAGE);
        if pages < self.pages.len() {
            self.pages.truncate(pages);
            self.pages.shrink_to_fit();
        }
    }

    #[inline]
    pub(crate) fn set(&mut self, index: u32, value: u32) {
        let number = index as usize / PAGE;
        if number >= self.pages.len() {
            if value == 0 {
                return;
            }
            self.pages.resize(number + 1, None);
        }
        let Some(page) = self.pages.get_mut(number) else {
            return;
        };
        if page.is_none() && value == 0 {
            return;
        }
        let page = page.get_or_insert_with(|| Box::new([0; PAGE]));
        if let Some(place) = page.get_mut(index as usize % PAGE) {
            *place = value;
        }
    }

    /// Sets a place and gives what was there.
    #[inline]
    pub(crate) fn replace(&mut self, index: u32, value: u32) -> u32 {
        let page = self.pages.get_mut(index as usize / PAGE);
        let place = page
            .and_then(Option::as_mut)
            .and_then(|page| page.get_mut(index as usize % PAGE));
        if let Some(place) = place {
            return core::mem::replace(place, value);
        }
        self.set(index, value);
        0
    }

    /// All that was ever in a page that is there, zeros included.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let pages = self.pages.iter().flatten();
        pages.flat_map(|page| page.iter().copied())
    }

    /// Takes over what `other` has where this has 0.
    pub(crate) fn fill_from(&mut self, other: &Self) {
        if self.pages.len() < other.pages.len() {
            self.pages.resize(other.pages.len(), None);
        }
        for (mine, theirs) in self.pages.iter_mut().zip(&other.pages) {
            let Some(theirs) = theirs else { continue };
            let Some(mine) = mine else {
                *mine = Some(theirs.clone());
                continue;
            };
            for (mine, theirs) in mine.iter_mut().zip(theirs.iter()) {
                if *mine == 0 {
                    *mine = *theirs;
                }
            }
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.pages.capacity() * size_of::<Option<Box<[u32; PAGE]>>>()
            + self.pages.iter().flatten().count() * size_of::<[u32; PAGE]>()
    }
}
