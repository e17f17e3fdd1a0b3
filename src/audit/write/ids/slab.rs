//! Entries, each in a place that it keeps until it is freed.
//!
//! They are kept in pieces, so that adding one never moves the others.

use super::Entry;

const PIECE: usize = 1_024;

/// A number is that of a place, plus 1: 0 is none.
#[derive(Debug, Default)]
pub(super) struct Slab {
    pieces: Vec<Box<[Entry]>>,
    /// Places that were in use at some time.
    used: u32,
    len: usize,
    /// The first free one of those, which names the next.
    free: u32,
}

impl Slab {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.pieces.len() * PIECE * size_of::<Entry>()
            + self.pieces.capacity() * size_of::<Box<[Entry]>>()
    }

    pub(super) fn get(&self, nth: u32) -> Option<&Entry> {
        let at = nth.checked_sub(1)? as usize;
        self.pieces.get(at / PIECE)?.get(at % PIECE)
    }

    fn get_mut(&mut self, nth: u32) -> Option<&mut Entry> {
        let at = nth.checked_sub(1)? as usize;
        self.pieces.get_mut(at / PIECE)?.get_mut(at % PIECE)
    }

    /// Adds one, and returns its number.
    pub(super) fn put(&mut self, entry: Entry) -> u32 {
        let nth = match self.free {
            0 => {
                self.used += 1;
                if self.used as usize > self.pieces.len() * PIECE {
                    self.pieces.push(vec![Entry::default(); PIECE].into());
                }
                self.used
            }
            free => {
                self.free = self.get(free).map_or(0, |entry| entry.next);
                free
            }
        };
        self.len += 1;
        if let Some(place) = self.get_mut(nth) {
            *place = entry;
        }
        nth
    }

    pub(super) fn set_next(&mut self, nth: u32, next: u32) {
        if let Some(entry) = self.get_mut(nth) {
            entry.next = next;
        }
    }

    pub(super) fn free(&mut self, nth: u32) {
        let free = self.free;
        self.set_next(nth, free);
        self.free = nth;
        self.len -= 1;
    }
}
