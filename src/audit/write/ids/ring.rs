//! Entries in the order in which they came: added at the end, taken from the front.
//!
//! They are kept in pieces, so that adding one never moves the others.

use std::collections::VecDeque;

use super::Entry;

const PIECE: usize = 1_024;

/// Each entry has a number, from 0 on, that it keeps.
#[derive(Debug, Default)]
pub(super) struct Ring {
    pieces: VecDeque<Box<[Entry]>>,
    /// The number of the first entry, and one after that of the last.
    first: u64,
    end: u64,
    /// Where the first is in the first piece.
    skip: usize,
}

impl Ring {
    /// An empty one whose next entry has this number.
    pub(super) fn starting_at(nth: u64) -> Self {
        Self { first: nth, end: nth, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        (self.end - self.first) as usize
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.pieces.len() * PIECE * size_of::<Entry>()
            + self.pieces.capacity() * size_of::<Box<[Entry]>>()
    }

    pub(super) fn get(&self, nth: u64) -> Option<&Entry> {
        if !(self.first..self.end).contains(&nth) {
            return None;
        }
        let at = self.skip + (nth - self.first) as usize;
        self.pieces.get(at / PIECE)?.get(at % PIECE)
    }

    pub(super) fn first(&self) -> Option<&Entry> {
        self.get(self.first)
    }

    pub(super) fn first_nth(&self) -> Option<(u64, Entry)> {
        self.first().map(|entry| (self.first, *entry))
    }

    /// Adds one, and returns its number.
    pub(super) fn push(&mut self, entry: Entry) -> u64 {
        let at = self.skip + self.len();
        if at == self.pieces.len() * PIECE {
            self.pieces.push_back(vec![Entry::default(); PIECE].into());
        }
        if let Some(piece) = self.pieces.get_mut(at / PIECE) {
            piece[at % PIECE] = entry;
        }
        self.end += 1;
        self.end - 1
    }

    /// Removes the first.
    pub(super) fn pop(&mut self) {
        if self.first == self.end {
            return;
        }
        self.first += 1;
        self.skip += 1;
        if self.skip == PIECE {
            self.pieces.pop_front();
            self.skip = 0;
        }
    }
}
