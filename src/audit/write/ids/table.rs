//! Where entries are, by their names: open addressing, four bytes a place.
//!
//! It is in parts, each of which grows on its own: nobody waits until a million entries have
//! found another place. A name's digest is under a key of the process: nobody can choose
//! names that crowd one part of the table.

/// By the first bits of the hash.
const PARTS: usize = 256;
const LEAST_PLACES: usize = 16;
/// At most three of four places are taken.
const FULL: (usize, usize) = (3, 4);

#[derive(Debug, Default)]
pub(super) struct Table {
    /// None, or all of them.
    parts: Vec<Part>,
}

/// Which place it is: of which part, and which there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(usize, usize);

/// A place holds an entry's number, or 0.
#[derive(Clone, Debug, Default)]
struct Part {
    places: Vec<u32>,
    taken: usize,
}

fn part_of(hash: u64) -> usize {
    (hash >> 56) as usize % PARTS
}

impl Table {
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let places: usize = self.parts.iter().map(|part| part.places.len()).sum();
        places * size_of::<u32>() + self.parts.len() * size_of::<Part>()
    }

    /// The places that move at a time, at most.
    #[cfg(test)]
    pub(super) fn largest_part(&self) -> usize {
        self.parts.iter().map(|part| part.places.len()).max().unwrap_or(0)
    }

    /// The entry with this hash of which `is_it` says that it is the one.
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<(Place, u32)> {
        let part = part_of(hash);
        let (slot, nth) = self.parts.get(part)?.find(hash, is_it)?;
        Some((Place(part, slot), nth))
    }

    /// Another entry takes the place.
    pub(super) fn set(&mut self, place: Place, nth: u32) {
        self.parts[place.0].places[place.1] = nth;
    }

    /// Adds an entry; `hash_of` tells the hash of any.
    pub(super) fn insert(&mut self, hash: u64, nth: u32, hash_of: impl Fn(u32) -> u64) {
        if self.parts.is_empty() {
            self.parts = vec![Part::default(); PARTS];
        }
        self.parts[part_of(hash)].insert(hash, nth, hash_of);
    }

    /// Removes an entry; whether it was there.
    pub(super) fn remove(&mut self, hash: u64, nth: u32, hash_of: impl Fn(u32) -> u64) -> bool {
        let part = self.parts.get_mut(part_of(hash));
        part.is_some_and(|part| part.remove(hash, nth, hash_of))
    }
}

impl Part {
    fn mask(&self) -> usize {
        self.places.len() - 1
    }

    fn at(&self, slot: usize) -> Option<u32> {
        self.places.get(slot).copied().filter(|nth| *nth != 0)
    }

    fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<(usize, u32)> {
        if self.places.is_empty() {
            return None;
        }
        let mut slot = hash as usize & self.mask();
        while let Some(nth) = self.at(slot) {
            if is_it(nth) {
                return Some((slot, nth));
            }
            slot = (slot + 1) & self.mask();
        }
        None
    }

    fn insert(&mut self, hash: u64, nth: u32, hash_of: impl Fn(u32) -> u64) {
        if (self.taken + 1) * FULL.1 > self.places.len() * FULL.0 {
            let places = vec![0; (2 * self.places.len()).max(LEAST_PLACES)];
            let before = std::mem::replace(&mut self.places, places);
            before.into_iter().filter(|nth| *nth != 0).for_each(|nth| self.put(hash_of(nth), nth));
        }
        self.put(hash, nth);
        self.taken += 1;
    }

    fn put(&mut self, hash: u64, nth: u32) {
        let mut slot = hash as usize & self.mask();
        while self.places[slot] != 0 {
            slot = (slot + 1) & self.mask();
        }
        self.places[slot] = nth;
    }

    fn remove(&mut self, hash: u64, nth: u32, hash_of: impl Fn(u32) -> u64) -> bool {
        let Some((mut hole, _)) = self.find(hash, |other| other == nth) else { return false };
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
