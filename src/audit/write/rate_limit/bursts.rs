//! Refusals that belong together.

use std::mem;

use super::buckets::Key;
use super::{Burst, sender_of};
use crate::clock::Timestamp;

/// A burst has ended when nothing was refused for so long.
const QUIET_US: u64 = 1_000_000;
/// And no burst is longer than this: a source that never stops is reported
/// again and again.
const LONGEST_US: u64 = 60_000_000;
/// Ended bursts that wait to be fetched; more are put together into one.
pub(super) const MAX_ENDED: usize = 4_096;

/// What stands for the source of refusals that were too many to keep apart
/// until [`RateLimiter::finished_bursts`](super::RateLimiter::finished_bursts)
/// fetched them.
pub const OTHER_SOURCES: &str = "(other sources)";

#[derive(Debug)]
struct OpenBurst {
    key: Key,
    refused: u64,
    first: Timestamp,
    last: Timestamp,
    first_us: u64,
    last_us: u64,
}

impl OpenBurst {
    fn has_ended(&self, now_us: u64) -> bool {
        now_us - self.last_us >= QUIET_US || now_us - self.first_us >= LONGEST_US
    }
}

/// The bursts of all buckets. The open ones lie side by side, and a bucket knows
/// the place of its own, so that neither a refusal nor a look for ended ones
/// searches anything.
#[derive(Debug, Default)]
pub(super) struct Bursts {
    open: Vec<OpenBurst>,
    ended: Vec<Burst>,
}

impl Bursts {
    /// Counts a refusal; `place` is where the bucket's open burst is, if it has one.
    pub(super) fn refused(
        &mut self,
        key: impl Fn() -> Key,
        place: &mut Option<usize>,
        now_us: u64,
        wall: Timestamp,
    ) {
        let new = || OpenBurst {
            key: key(),
            refused: 1,
            first: wall,
            last: wall,
            first_us: now_us,
            last_us: now_us,
        };
        let index = *place.get_or_insert(self.open.len());
        match self.open.get_mut(index) {
            None => self.open.push(new()),
            Some(burst) if burst.has_ended(now_us) => {
                let ended = mem::replace(burst, new());
                self.keep(&ended);
            }
            Some(burst) => {
                burst.refused += 1;
                burst.last = wall;
                burst.last_us = now_us;
            }
        }
    }

    /// The place of an open burst at or after `from` that has ended by now; any,
    /// with `force`.
    pub(super) fn next_ended(&self, from: usize, now_us: u64, force: bool) -> Option<usize> {
        let ended = |burst: &OpenBurst| force || burst.has_ended(now_us);
        self.open[from..].iter().position(ended).map(|offset| from + offset)
    }

    /// Ends the burst at a place. Gives whose it was, and whose burst has that place
    /// from now on.
    pub(super) fn end(&mut self, index: usize) -> (Key, Option<&Key>) {
        let burst = self.open.swap_remove(index);
        self.keep(&burst);
        (burst.key, self.open.get(index).map(|moved| &moved.key))
    }

    /// The ended bursts, oldest first.
    pub(super) fn take_ended(&mut self) -> Vec<Burst> {
        let mut ended = mem::take(&mut self.ended);
        ended.sort_by_key(|burst| burst.first);
        ended
    }

    /// How many are open.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    fn keep(&mut self, burst: &OpenBurst) {
        let OpenBurst { refused, first, last, .. } = *burst;
        if self.ended.len() < MAX_ENDED {
            let (sender, source) = (sender_of(&burst.key), burst.key.source.to_string());
            self.ended.push(Burst { sender, source, refused, first, last });
        } else if let Some(others) = self.ended.last_mut() {
            others.sender = None;
            OTHER_SOURCES.clone_into(&mut others.source);
            others.refused += refused;
            others.first = others.first.min(first);
            others.last = others.last.max(last);
        }
    }
}
