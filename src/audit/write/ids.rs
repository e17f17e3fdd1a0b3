//! The window of ids: which events are known, so that one that is sent again is not
//! recorded again.
//!
//! It holds so many ids at most, and not longer than so long. Each takes [`BYTES_AN_ID`] at
//! most. Where there is no room for another, the sender that has the most loses its oldest:
//! whoever sends many shortens the window for nobody else. The time that counts is that of acceptance, and it passes as the
//! boot clock has it: a wall clock that is set makes no id older or younger.

mod shares;
mod slab;
mod table;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::audit::record::id::Fingerprint;
use crate::clock::Timestamp;
use shares::Shares;
use slab::Slab;
use table::Table;

/// What one id takes at most, once there are many: its entry, and its part of the table.
#[cfg(test)]
const BYTES_AN_ID: usize = 64;
/// So many that are too old are forgotten with each event that has an id.
const A_FEW: usize = 4;

/// How many ids are remembered, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdLimits {
    pub(crate) count: usize,
    pub(crate) age: Duration,
}

impl IdLimits {
    /// Whether no id is remembered at all.
    pub(crate) fn remember_nothing(&self) -> bool {
        self.count == 0 || self.age.is_zero()
    }

    /// Whether what was accepted `at` is not to be remembered any more; both in µs.
    pub(crate) fn is_over(&self, at: i64, now: i64) -> bool {
        let age = i64::try_from(self.age.as_micros()).unwrap_or(i64::MAX);
        now.saturating_sub(at) >= age
    }
}

/// What is known of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing, or nothing any more.
    New,
    /// It is this record.
    Same(u64),
    /// This record has its id, and other content.
    Other(u64),
}

/// A remembered id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Entry {
    name: [u64; 2],
    content: u64,
    seq: u64,
    /// When it was accepted, in µs, on a clock that nobody sets.
    at: i64,
    /// Where its sender's next one is.
    next: u32,
}

/// The ids that are remembered.
#[derive(Debug)]
pub(crate) struct IdWindow {
    limits: IdLimits,
    entries: Slab,
    /// Where they are, by name.
    table: Table,
    /// Whose they are.
    shares: Shares,
    /// How far the wall clock was set ahead since the log was opened, in µs.
    set_ahead: i64,
    /// Ids that were forgotten before their time, for want of room.
    crowded_out: u64,
}

impl IdWindow {
    pub(crate) fn new(limits: IdLimits) -> Self {
        Self {
            limits,
            entries: Slab::default(),
            table: Table::default(),
            shares: Shares::default(),
            set_ahead: 0,
            crowded_out: 0,
        }
    }

    /// How many are remembered.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many were forgotten before their time.
    pub(crate) fn crowded_out(&self) -> u64 {
        self.crowded_out
    }

    /// Its memory.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.entries.bytes() + self.table.bytes()
    }

    /// The wall clock was set.
    pub(crate) fn clock_set(&mut self, from: Timestamp, to: Timestamp) {
        let step = to.micros().saturating_sub(from.micros());
        self.set_ahead = self.set_ahead.saturating_add(step);
    }

    fn steady(&self, now: Timestamp) -> i64 {
        now.micros().saturating_sub(self.set_ahead)
    }

    fn is_over(&self, entry: &Entry, now: i64) -> bool {
        self.limits.is_over(entry.at, now)
    }

    /// Its place in the table, and it.
    fn find(&self, name: [u64; 2]) -> Option<(table::Place, &Entry)> {
        let is_it = |nth| self.entries.get(nth).is_some_and(|entry| entry.name == name);
        let (place, nth) = self.table.find(name[0], is_it)?;
        Some((place, self.entries.get(nth)?))
    }

    /// What is known of an event that comes in now.
    pub(crate) fn look(&self, fingerprint: &Fingerprint, now: Timestamp) -> Known {
        match self.find(fingerprint.name) {
            Some((_, entry)) if self.is_over(entry, self.steady(now)) => Known::New,
            Some((_, entry)) if entry.content == fingerprint.content => Known::Same(entry.seq),
            Some((_, entry)) => Known::Other(entry.seq),
            None => Known::New,
        }
    }

    /// Remembers an event that was accepted now as this record. Seqs ascend.
    pub(crate) fn add(&mut self, fingerprint: &Fingerprint, seq: u64, now: Timestamp) {
        self.add_at(fingerprint, seq, self.steady(now), self.steady(now));
    }

    /// Remembers one that an earlier writer accepted, before any is added. Seqs descend: of each
    /// sender the newest count, as many as when they were added.
    pub(crate) fn recall(&mut self, fingerprint: &Fingerprint, seq: u64, at: Timestamp) {
        if self.limits.remember_nothing() {
            return;
        }
        let Fingerprint { sender, name, content } = *fingerprint;
        if self.entries.len() >= self.limits.count {
            // What is found now is older than all that its sender has.
            let Some((largest, most)) = self.shares.largest(sender) else { return };
            if self.shares.len(sender) >= most {
                return;
            }
            let _ = self.drop_first(largest);
        }
        let nth = self.entries.put(Entry { name, content, seq, at: at.micros(), next: 0 });
        if let Some(next) = self.shares.add_before(sender, nth, seq) {
            self.entries.set_next(nth, next);
        }
        // Where the id came again after its time, the newer one counts.
        if self.find(name).is_none() {
            self.place(name[0], nth);
        }
    }

    fn add_at(&mut self, fingerprint: &Fingerprint, seq: u64, at: i64, now: i64) {
        if self.limits.remember_nothing() {
            return;
        }
        self.forget_some(A_FEW, now);
        let Fingerprint { sender, name, content } = *fingerprint;
        while self.entries.len() >= self.limits.count {
            let whose = match self.oldest() {
                Some((whose, entry)) if self.is_over(&entry, now) => Some(whose),
                _ => self.shares.largest(sender).map(|(whose, _)| whose),
            };
            let Some(whose) = whose else { break };
            self.forget_first(whose, now);
        }
        let nth = self.entries.put(Entry { name, content, seq, at, next: 0 });
        if let Some(last) = self.shares.add(sender, nth, seq) {
            self.entries.set_next(last, nth);
        }
        match self.find(name) {
            // One that is too old, which goes with its turn.
            Some((place, _)) => self.table.set(place, nth),
            None => self.place(name[0], nth),
        }
    }

    fn place(&mut self, hash: u64, nth: u32) {
        let entries = &self.entries;
        let hash_of = |nth| entries.get(nth).map_or(0, |entry| entry.name[0]);
        self.table.insert(hash, nth, hash_of);
    }

    /// Forgets ids that are too old, so many at most. Those that remain count for nothing
    /// either; it is for their memory.
    pub(crate) fn forget_old(&mut self, most: usize, now: Timestamp) {
        self.forget_some(most, self.steady(now));
    }

    fn oldest(&mut self) -> Option<(u64, Entry)> {
        let (whose, nth) = self.shares.oldest()?;
        Some((whose, *self.entries.get(nth)?))
    }

    fn forget_some(&mut self, most: usize, now: i64) {
        for _ in 0..most {
            match self.oldest() {
                Some((whose, entry)) if self.is_over(&entry, now) => self.forget_first(whose, now),
                _ => return,
            }
        }
    }

    /// Forgets a sender's oldest.
    fn forget_first(&mut self, whose: u64, now: i64) {
        if let Some((entry, true)) = self.drop_first(whose)
            && !self.is_over(&entry, now)
        {
            self.crowded_out += 1;
        }
    }

    /// Drops a sender's oldest; whether its id is not known any more: it is where it came again since, after
    /// its time.
    fn drop_first(&mut self, whose: u64) -> Option<(Entry, bool)> {
        let nth = self.shares.first(whose)?;
        let entry = *self.entries.get(nth)?;
        let entries = &self.entries;
        let hash = |nth| entries.get(nth).map_or(0, |entry| entry.name[0]);
        let is_gone = self.table.remove(entry.name[0], nth, hash);
        let next = entries.get(entry.next).map_or(0, |next| next.seq);
        self.shares.remove_first(whose, (entry.next, next));
        self.entries.free(nth);
        if self.entries.len() == 0 {
            (self.entries, self.table) = (Slab::default(), Table::default());
        }
        Some((entry, is_gone))
    }
}
