//! Encoded events on their way into the queue, and in it.

use crate::clock::Timestamp;

/// An encoded event in a chunk or batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Where its body ends in the bytes; it starts where the one before ends.
    pub(crate) end: u32,
    /// Whether the body begins with the caller's timestamp.
    pub(crate) has_timestamp: bool,
    /// The caller's timestamp; without one, set at acceptance.
    pub(crate) event_time: Timestamp,
    /// When it was accepted.
    pub(crate) accepted_at: Timestamp,
}

/// Accepted events, in order: `first_seq` is the first one's.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) first_seq: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) entries: Vec<Entry>,
}

impl Chunk {
    /// The bodies with their entries.
    pub(crate) fn bodies(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        let mut start = 0;
        self.entries.iter().map(move |entry| {
            let body = &self.bytes[start..entry.end as usize];
            start = entry.end as usize;
            (body, entry)
        })
    }
}

/// Events validated, rate-limited and encoded, not yet accepted; order is kept.
#[derive(Debug, Default)]
pub struct Batch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) entries: Vec<Entry>,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Events in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Its memory, filled or not.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// Forgets its events; keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }

    pub(super) fn remove_front(&mut self, count: usize) {
        if count == self.entries.len() {
            return self.clear();
        }
        let cut = self.entries[count - 1].end;
        self.bytes.drain(..cut as usize);
        self.entries.drain(..count);
        for entry in &mut self.entries {
            entry.end -= cut;
        }
    }
}

/// The seqs that the first `count` events of a batch got:
/// `first_seq .. first_seq + count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// Seq of the batch's first event.
    pub first_seq: u64,
    /// Events accepted; 0 when there was no room.
    pub count: usize,
}

impl Submitted {
    /// One after the last seq.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first_seq + self.count as u64
    }
}
