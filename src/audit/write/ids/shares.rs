//! Whose ids are remembered: how many of each sender, and which is the oldest.

use std::collections::{BTreeSet, HashMap};

/// The ids of one sender: a chain of entries, the oldest first.
#[derive(Clone, Copy, Debug)]
struct Share {
    first: u32,
    /// The first one's record.
    first_seq: u64,
    last: u32,
    len: usize,
}

/// Of all senders. One that has no ids is not there.
#[derive(Debug, Default)]
pub(super) struct Shares {
    of: HashMap<u64, Share>,
    /// Orders of the senders, from when they are first asked for: while there is room, nobody
    /// asks who has the most, and while a log is opened nobody asks who has the oldest.
    by_size: Option<BTreeSet<(usize, u64)>>,
    by_age: Option<BTreeSet<(u64, u64)>>,
}

impl Shares {
    /// Adds an entry of a sender, the newest of all; the sender's one before it, if it has
    /// any.
    pub(super) fn add(&mut self, sender: u64, nth: u32, seq: u64) -> Option<u32> {
        let Some(share) = self.of.get_mut(&sender) else {
            self.begin(sender, nth, seq);
            return None;
        };
        let last = std::mem::replace(&mut share.last, nth);
        share.len += 1;
        let len = share.len;
        self.resized(sender, len - 1, len);
        Some(last)
    }

    /// Adds an entry of a sender, the oldest of all; the one that comes after it, if it has any.
    pub(super) fn add_before(&mut self, sender: u64, nth: u32, seq: u64) -> Option<u32> {
        let Some(share) = self.of.get_mut(&sender) else {
            self.begin(sender, nth, seq);
            return None;
        };
        let next = std::mem::replace(&mut share.first, nth);
        let next_seq = std::mem::replace(&mut share.first_seq, seq);
        share.len += 1;
        let len = share.len;
        self.resized(sender, len - 1, len);
        if let Some(by_age) = &mut self.by_age {
            by_age.remove(&(next_seq, sender));
            by_age.insert((seq, sender));
        }
        Some(next)
    }

    fn begin(&mut self, sender: u64, nth: u32, seq: u64) {
        self.of.insert(sender, Share { first: nth, first_seq: seq, last: nth, len: 1 });
        self.resized(sender, 0, 1);
        if let Some(by_age) = &mut self.by_age {
            by_age.insert((seq, sender));
        }
    }

    fn resized(&mut self, sender: u64, from: usize, to: usize) {
        if let Some(by_size) = &mut self.by_size {
            by_size.remove(&(from, sender));
            if to > 0 {
                by_size.insert((to, sender));
            }
        }
    }

    /// How many a sender has.
    pub(super) fn len(&self, sender: u64) -> usize {
        self.of.get(&sender).map_or(0, |share| share.len)
    }

    /// A sender's oldest.
    pub(super) fn first(&self, sender: u64) -> Option<u32> {
        self.of.get(&sender).map(|share| share.first)
    }

    /// The oldest of all, and whose it is.
    pub(super) fn oldest(&mut self) -> Option<(u64, u32)> {
        let of = &self.of;
        let by_age = self.by_age.get_or_insert_with(|| {
            of.iter().map(|(sender, share)| (share.first_seq, *sender)).collect()
        });
        let (_, sender) = *by_age.first()?;
        Some((sender, self.first(sender)?))
    }

    /// The sender that has the most, and how many; of as many, the one that wants another.
    pub(super) fn largest(&mut self, wants: u64) -> Option<(u64, usize)> {
        let of = &self.of;
        let by_size = self
            .by_size
            .get_or_insert_with(|| of.iter().map(|(sender, share)| (share.len, *sender)).collect());
        let (most, sender) = *by_size.last()?;
        let as_many = self.len(wants) == most;
        Some((if as_many { wants } else { sender }, most))
    }

    /// A sender's oldest is gone; its next one is `next`, with its record's seq.
    pub(super) fn remove_first(&mut self, sender: u64, next: (u32, u64)) {
        let Some(share) = self.of.get_mut(&sender) else { return };
        let before = *share;
        share.len -= 1;
        (share.first, share.first_seq) = next;
        let after = *share;
        if after.len == 0 {
            self.of.remove(&sender);
        }
        self.resized(sender, before.len, after.len);
        if let Some(by_age) = &mut self.by_age {
            by_age.remove(&(before.first_seq, sender));
            if after.len > 0 {
                by_age.insert((after.first_seq, sender));
            }
        }
    }
}
