//! Where entries are, by their names: open addressing, four bytes a place.
//!
//! A name's digest is under a key of the process: nobody can choose names that crowd one
//! part of the table.

/// Numbers come round after so many; there are never nearly as many entries at once.
const ROUND: u64 = u32::MAX as u64;
const LEAST_PLACES: usize = 64;
/// At most three of four places are taken.
const FULL: (usize, usize) = (3, 4);

/// A place holds an entry's number, modulo [`ROUND`], plus 1; or 0.
#[derive(Debug, Default)]
pub(super) struct Table {
    places: Vec<u32>,
    taken: usize,
    /// A number that was in use lately: from it the whole number of a place is told.
    newest: u64,
}

impl Table {
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.places.len() * size_of::<u32>()
    }

    fn stored(nth: u64) -> u32 {
        (nth % ROUND) as u32 + 1
    }

    /// The number of the entry at a place.
    pub(super) fn at(&self, slot: usize) -> Option<u64> {
        let stored = u64::from(*self.places.get(slot)?);
        let part = stored.checked_sub(1)?;
        // The newest number with that remainder that is not above the newest.
        let back = (self.newest % ROUND + ROUND - part) % ROUND;
        self.newest.checked_sub(back)
    }

    fn mask(&self) -> usize {
        self.places.len() - 1
    }

    /// The place of the entry with this hash of which `is_it` says that it is the one.
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u64) -> bool) -> Option<usize> {
        if self.places.is_empty() {
            return None;
        }
        let mut slot = hash as usize & self.mask();
        while let Some(nth) = self.at(slot) {
            if is_it(nth) {
                return Some(slot);
            }
            slot = (slot + 1) & self.mask();
        }
        None
    }

    /// Another entry, the newest, takes the place.
    pub(super) fn set(&mut self, slot: usize, nth: u64) {
        self.newest = self.newest.max(nth);
        self.places[slot] = Self::stored(nth);
    }

    /// Adds an entry, the newest; `hash_of` tells the hash of any.
    pub(super) fn insert(&mut self, hash: u64, nth: u64, hash_of: impl Fn(u64) -> u64) {
        self.newest = self.newest.max(nth);
        if (self.taken + 1) * FULL.1 > self.places.len() * FULL.0 {
            self.grow(hash_of);
        }
        self.put(hash, nth);
        self.taken += 1;
    }

    fn put(&mut self, hash: u64, nth: u64) {
        let mut slot = hash as usize & self.mask();
        while self.places[slot] != 0 {
            slot = (slot + 1) & self.mask();
        }
        self.places[slot] = Self::stored(nth);
    }

    fn grow(&mut self, hash_of: impl Fn(u64) -> u64) {
        let places = vec![0; (2 * self.places.len()).max(LEAST_PLACES)];
        let before = std::mem::replace(&mut self.places, places);
        let numbers = Self { places: before, taken: 0, newest: self.newest };
        for nth in (0..numbers.places.len()).filter_map(|slot| numbers.at(slot)) {
            self.put(hash_of(nth), nth);
        }
    }

    /// Removes an entry; whether it was there.
    pub(super) fn remove(&mut self, hash: u64, nth: u64, hash_of: impl Fn(u64) -> u64) -> bool {
        let Some(mut hole) = self.find(hash, |other| other == nth) else { return false };
        self.taken -= 1;
        let mut slot = hole;
        loop {
            self.places[hole] = 0;
            // The next one that may stand here, where it is looked for on its way.
            loop {
                slot = (slot + 1) & self.mask();
                let Some(other) = self.at(slot) else { return true };
                let home = hash_of(other) as usize & self.mask();
                let from_home = |place: usize| place.wrapping_sub(home) & self.mask();
                if from_home(hole) < from_home(slot) {
                    break;
                }
            }
            self.places[hole] = self.places[slot];
            hole = slot;
        }
    }
}
