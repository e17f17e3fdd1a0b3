//! Whose ids are remembered: how many of each sender, and which is the oldest.

use std::collections::{BTreeSet, HashMap};

use crate::audit::record::id::Fingerprint;

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
    by_size: BTreeSet<(usize, u64)>,
    by_age: BTreeSet<(u64, u64)>,
}

impl Shares {
    /// Adds an entry of a sender, the newest of all; the sender's one before it, if it has
    /// any.
    pub(super) fn add(&mut self, sender: u64, nth: u32, seq: u64) -> Option<u32> {
        let Some(share) = self.of.get_mut(&sender) else {
            self.of.insert(sender, Share { first: nth, first_seq: seq, last: nth, len: 1 });
            self.by_size.insert((1, sender));
            self.by_age.insert((seq, sender));
            return None;
        };
        let last = std::mem::replace(&mut share.last, nth);
        self.by_size.remove(&(share.len, sender));
        share.len += 1;
        self.by_size.insert((share.len, sender));
        Some(last)
    }

    /// A sender's oldest.
    pub(super) fn first(&self, sender: u64) -> Option<u32> {
        self.of.get(&sender).map(|share| share.first)
    }

    /// The oldest of all, and whose it is.
    pub(super) fn oldest(&self) -> Option<(u64, u32)> {
        let (_, sender) = self.by_age.first()?;
        Some((*sender, self.first(*sender)?))
    }

    /// The sender that has the most; of as many, the one that wants another.
    pub(super) fn largest(&self, wants: u64) -> Option<u64> {
        let (most, sender) = self.by_size.last()?;
        let as_many = self.of.get(&wants).is_some_and(|share| share.len == *most);
        Some(if as_many { wants } else { *sender })
    }

    /// A sender's oldest is gone; its next one is `next`, with its record's seq.
    pub(super) fn remove_first(&mut self, sender: u64, next: (u32, u64)) {
        let Some(share) = self.of.get_mut(&sender) else { return };
        self.by_size.remove(&(share.len, sender));
        self.by_age.remove(&(share.first_seq, sender));
        share.len -= 1;
        (share.first, share.first_seq) = next;
        if share.len == 0 {
            self.of.remove(&sender);
            return;
        }
        self.by_size.insert((share.len, sender));
        self.by_age.insert((share.first_seq, sender));
    }
}

/// Ids as they are found from the newest on: as many as there is room for, with the same
/// share for each sender.
#[derive(Debug)]
pub(crate) struct Fair {
    most: usize,
    len: usize,
    of: HashMap<u64, Vec<(u64, Fingerprint, i64)>>,
    by_size: BTreeSet<(usize, u64)>,
}

impl Fair {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, len: 0, of: HashMap::new(), by_size: BTreeSet::new() }
    }

    /// Takes the next one, which is older than all before: its record, what it is, when it
    /// was accepted.
    pub(crate) fn take(&mut self, found: (u64, Fingerprint, i64)) {
        let sender = found.1.sender;
        let has = self.of.get(&sender).map_or(0, Vec::len);
        if self.len >= self.most {
            match self.by_size.last().copied() {
                Some((most, largest)) if has < most => {
                    self.of.entry(largest).or_default().pop();
                    self.by_size.remove(&(most, largest));
                    self.by_size.insert((most - 1, largest));
                    self.len -= 1;
                }
                // It is older than those that its sender has.
                _ => return,
            }
        }
        self.of.entry(sender).or_default().push(found);
        self.by_size.remove(&(has, sender));
        self.by_size.insert((has + 1, sender));
        self.len += 1;
    }

    /// All of them, the oldest first.
    pub(crate) fn into_found(self) -> Vec<(u64, Fingerprint, i64)> {
        let mut found: Vec<_> = self.of.into_values().flatten().collect();
        found.sort_unstable_by_key(|(seq, ..)| *seq);
        found
    }
}
