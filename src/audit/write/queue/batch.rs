//! Encoded events on their way into the queue, and in it.

use crate::audit::record::id::Fingerprint;
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
    /// The batch that the writer takes it in.
    pub(crate) batch: u64,
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
    /// Of those that have an id, in their order: which they are, and their fingerprints.
    pub(crate) ids: Vec<(usize, Fingerprint)>,
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
        self.bytes.capacity()
            + self.entries.capacity() * size_of::<Entry>()
            + self.ids.capacity() * size_of::<(usize, Fingerprint)>()
    }

    /// Forgets its events; keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.ids.clear();
    }

    /// An event's body was appended to the bytes.
    pub(crate) fn encoded(&mut self, caller_time: Option<Timestamp>, id: Option<Fingerprint>) {
        self.ids.extend(id.map(|id| (self.entries.len(), id)));
        self.entries.push(Entry {
            // A batch is what one read brought: far below 4 GiB.
            end: self.bytes.len() as u32,
            has_timestamp: caller_time.is_some(),
            event_time: caller_time.unwrap_or_default(),
            accepted_at: Timestamp::default(),
        });
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
        let gone = self.ids.partition_point(|(at, _)| *at < count);
        self.ids.drain(..gone);
        for (at, _) in &mut self.ids {
            *at -= count;
        }
    }
}

/// What became of the first `count` events of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Submitted {
    /// Seq of the first of them that is recorded now; the others follow it.
    pub first_seq: u64,
    /// Events taken out of the batch; 0 when there was no room.
    pub count: usize,
    /// Those of them whose ids are known, in their order: nothing is recorded of them now.
    pub repeats: Vec<Repeat>,
}

/// An event whose id its sender has used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// Which of the batch it is.
    pub at: usize,
    /// The record that has the id.
    pub seq: u64,
    /// Whether it says the same as that record.
    pub is_same: bool,
}

/// What became of events next to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// They are recorded, so many, with seqs from the first on.
    New {
        /// The first one's.
        first_seq: u64,
        /// How many.
        count: u64,
    },
    /// One is recorded already.
    Duplicate {
        /// The record.
        seq: u64,
    },
    /// One is refused: its id is another event's.
    Conflict {
        /// The record that has the id.
        seq: u64,
    },
}

impl Submitted {
    /// One after the last seq.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first_seq + (self.count - self.repeats.len()) as u64
    }

    /// What became of them, in their order.
    pub fn taken(&self) -> impl Iterator<Item = Taken> {
        let (mut at, mut next_seq) = (0, self.first_seq);
        let ends = self.repeats.iter().map(Some).chain([None]);
        ends.flat_map(move |repeat| {
            let count = (repeat.map_or(self.count, |repeat| repeat.at) - at) as u64;
            let new = (count > 0).then_some(Taken::New { first_seq: next_seq, count });
            next_seq += count;
            at += count as usize + usize::from(repeat.is_some());
            let known = repeat.map(|repeat| match repeat.is_same {
                true => Taken::Duplicate { seq: repeat.seq },
                false => Taken::Conflict { seq: repeat.seq },
            });
            new.into_iter().chain(known)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_events_is_told_in_their_order() {
        let repeat = |at, seq, is_same| Repeat { at, seq, is_same };
        let repeats = vec![repeat(0, 3, true), repeat(3, 4, false), repeat(4, 3, true)];
        let submitted = Submitted { first_seq: 70, count: 6, repeats };
        let told: Vec<Taken> = submitted.taken().collect();
        let expected = [
            Taken::Duplicate { seq: 3 },
            Taken::New { first_seq: 70, count: 2 },
            Taken::Conflict { seq: 4 },
            Taken::Duplicate { seq: 3 },
            Taken::New { first_seq: 72, count: 1 },
        ];
        assert_eq!((told, submitted.end()), (expected.to_vec(), 73));
        let nothing = Submitted { first_seq: 7, ..Submitted::default() };
        assert_eq!((nothing.taken().count(), nothing.end()), (0, 7));
    }
}
