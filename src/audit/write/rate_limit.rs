//! A token bucket for each sender and source, and the bursts of refusals that they
//! cause. Who sends is the system's word (a user, a token), a source is the sender's:
//! without the first, whoever may send could use up another's bucket by its name.
//!
//! Buckets are kept by when they are full again (the generic cell rate
//! algorithm, ITU-T I.371), in whole picoseconds, so that nothing is rounded
//! from one event to the next. Memory is bounded: of the sender that has the most
//! buckets, the least recently seen is forgotten first, and is full when its source
//! comes back. What was refused is never forgotten with it: its burst is still
//! handed out.

mod activity;
mod buckets;
mod bursts;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::options::RateLimit;
use crate::audit::state::status::TopBlocked;
use crate::clock::Timestamp;
use activity::Activity;
use buckets::{Bucket, Buckets, Key};
use bursts::Bursts;
pub use bursts::OTHER_SOURCES;

/// The sender of sources that are told apart by their name alone.
const NOBODY: &str = "";

const PS_PER_US: u128 = 1_000_000;
const PS_PER_MS: u128 = 1_000 * PS_PER_US;
const PS_PER_SECOND: f64 = 1e12;

/// Whether an event may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may; one token was taken.
    Allowed,
    /// It may not; nothing was taken.
    Refused {
        /// Trying again after this succeeds, unless others of the same source
        /// were faster; a millisecond less would not do. Whole milliseconds.
        retry_after: Duration,
    },
}

/// Refusals of one sender and source that belong together: no more than a second between
/// two of them, and a minute at most from the first to the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Burst {
    /// Who sent it, where the caller said; none where several had to be put together.
    pub sender: Option<String>,
    /// The source; [`OTHER_SOURCES`] where several had to be put together.
    pub source: String,
    /// How many events.
    pub refused: u64,
    /// Wall clock of the first refusal.
    pub first: Timestamp,
    /// Wall clock of the last refusal.
    pub last: Timestamp,
}

/// Limits how fast each source may send. Shared between threads; every call
/// takes one short lock.
pub struct RateLimiter {
    /// Whether there are limits; where not, nobody waits for the lock.
    limits: AtomicBool,
    state: Mutex<State>,
}

/// [`RateLimit`] in the units of the arithmetic.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// What one event costs.
    interval_ps: u128,
    /// What a full bucket holds.
    burst_ps: u128,
    max_sources: usize,
}

impl Limits {
    /// Values that make no sense are brought to the nearest that does: at least
    /// one event in 11 days, a burst of one, one source.
    fn new(limit: RateLimit) -> Self {
        // The comparison also catches NaN.
        let per_second = if limit.per_second > 1e-6 { limit.per_second.min(1e12) } else { 1e-6 };
        let interval_ps = (PS_PER_SECOND / per_second).round() as u128;
        Self {
            interval_ps,
            burst_ps: interval_ps * u128::from(limit.burst.max(1)),
            max_sources: limit.max_sources.max(1),
        }
    }
}

struct State {
    limits: Option<Limits>,
    /// Sources whose limits are not the others'.
    own: HashMap<Box<str>, Limits>,
    /// The latest time seen: callers read the clock before they get the lock, so
    /// theirs may be a little older.
    now_us: u64,
    /// `evict` keeps them to `max_sources`.
    buckets: Buckets,
    bursts: Bursts,
    activity: Activity,
    top: Option<(Key, u64)>,
}

fn sender_of(key: &Key) -> Option<String> {
    (&*key.sender != NOBODY).then(|| key.sender.to_string())
}

impl RateLimiter {
    /// With `None` everything is allowed, and no source is remembered.
    #[must_use]
    pub fn new(limit: Option<RateLimit>) -> Self {
        let limits = AtomicBool::new(limit.is_some());
        let state = Mutex::new(State {
            limits: limit.map(Limits::new),
            own: HashMap::new(),
            now_us: 0,
            buckets: Buckets::default(),
            bursts: Bursts::default(),
            activity: Activity::default(),
            top: None,
        });
        Self { limits, state }
    }

    /// Whether there are limits at all.
    pub fn is_limiting(&self) -> bool {
        self.limits.load(Ordering::Relaxed)
    }

    /// Takes a token from the source's bucket, or says when there will be one.
    /// `now_us` is a monotonic clock in microseconds (any origin, the same for
    /// every call), `wall` what [`Burst`] says. For sources whose names nobody but
    /// the caller chooses; others are told apart by [`check_of`](Self::check_of).
    pub fn check(&self, source: &str, now_us: u64, wall: Timestamp) -> Decision {
        self.check_of(NOBODY, source, now_us, wall)
    }

    /// The same for a source of one sender: as much as another sends under that name,
    /// nothing of it counts here.
    pub fn check_of(&self, sender: &str, source: &str, now_us: u64, wall: Timestamp) -> Decision {
        self.state().check((sender, source), now_us, wall)
    }

    /// How long until so many events of the source could come in one after the other, if
    /// nobody else sends under its name meanwhile; nothing is taken. More of them than a
    /// full bucket holds have to come in parts.
    pub fn wait_of(&self, sender: &str, source: &str, events: u64, now_us: u64) -> Duration {
        let mut state = self.state();
        let Some(limits) = state.own.get(source).copied().or(state.limits) else {
            return Duration::ZERO;
        };
        let now_ps = u128::from(now_us) * PS_PER_US;
        let known = state.buckets.get_mut(sender, source);
        let full_at_ps = known.map_or(now_ps, |(_, _, bucket)| {
            bucket.full_at_ps.clamp(now_ps, now_ps + limits.burst_ps)
        });
        let full_after = full_at_ps + limits.interval_ps * u128::from(events);
        let wait_ps = full_after.saturating_sub(limits.burst_ps).saturating_sub(now_ps);
        Duration::from_millis(u64::try_from(wait_ps.div_ceil(PS_PER_MS)).unwrap_or(u64::MAX))
    }

    /// The bursts that have ended since the last call, oldest first; with `force`
    /// also those that go on. Its cost is that of the bursts, not of the sources.
    pub fn finished_bursts(&self, now_us: u64, force: bool) -> Vec<Burst> {
        let mut state = self.state();
        let now_us = state.advance(now_us);
        let mut from = 0;
        while let Some(index) = state.bursts.next_ended(from, now_us, force) {
            state.end_burst(index);
            // The last one takes this place: look here again.
            from = index;
        }
        state.bursts.take_ended()
    }

    /// Sources seen in the last minute, allowed or refused, each once for every sender
    /// that uses its name; a source counts for
    /// 59 to 60 seconds, since it is counted by whole seconds. Those that were
    /// forgotten for want of room are not in it, so it never exceeds `max_sources`.
    /// Costs the same however many there are.
    pub fn active_sources(&self, now_us: u64) -> usize {
        let mut state = self.state();
        state.advance(now_us);
        state.activity.active()
    }

    /// The source that was refused most since the limiter was made, and how
    /// often. One that was forgotten meanwhile counts from 0 when it comes back.
    #[must_use]
    pub fn top_blocked(&self) -> Option<TopBlocked> {
        self.state().top.as_ref().map(|(key, refused)| TopBlocked {
            sender: sender_of(key),
            source: key.source.to_string(),
            refused: *refused,
        })
    }

    /// Changes the limits from now on. A bucket keeps what it had, as far as that
    /// fits the new size. Sources that no
    /// longer find room are forgotten, and the refusals of all of them stay reported.
    pub fn set_limits(&self, limit: Option<RateLimit>) {
        let mut state = self.state();
        state.limits = limit.map(Limits::new);
        self.changed(&mut state);
    }

    /// Gives sources limits of their own, in place of those that any had. Of each
    /// limit only rate and burst count; buckets keep what they had, as far as it fits.
    pub fn set_own_limits(&self, own: impl IntoIterator<Item = (String, RateLimit)>) {
        let own = own.into_iter().map(|(source, limit)| (source.into(), Limits::new(limit)));
        let mut state = self.state();
        state.own = own.collect();
        self.changed(&mut state);
    }

    fn changed(&self, state: &mut State) {
        let limiting = state.limits.is_some() || !state.own.is_empty();
        self.limits.store(limiting, Ordering::Relaxed);
        let keep = state.max_sources();
        state.evict(keep);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change leaves the state usable, so a panic elsewhere is no reason
        // to let nobody in.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("RateLimiter")
            .field("limits", &state.limits)
            .field("sources", &state.buckets.len())
            .field("open_bursts", &state.bursts.open())
            .finish_non_exhaustive()
    }
}

impl State {
    fn advance(&mut self, now_us: u64) -> u64 {
        self.now_us = self.now_us.max(now_us);
        self.activity.advance(self.now_us / 1_000_000);
        self.now_us
    }

    fn check(
        &mut self,
        (sender, source): (&str, &str),
        caller_us: u64,
        wall: Timestamp,
    ) -> Decision {
        let Some(limits) = self.own.get(source).copied().or(self.limits) else {
            return Decision::Allowed;
        };
        let now_us = self.advance(caller_us);
        let now_ps = u128::from(now_us) * PS_PER_US;
        let Some((sender, source, bucket)) = self.buckets.get_mut(sender, source) else {
            self.remember((sender, source), now_ps + limits.interval_ps);
            let keep = self.max_sources();
            self.evict(keep);
            return Decision::Allowed;
        };
        self.activity.seen_again(&mut bucket.seen_second);
        // No bucket is emptier than empty; only changed limits make it look so.
        bucket.full_at_ps = bucket.full_at_ps.clamp(now_ps, now_ps + limits.burst_ps);
        let full_after = bucket.full_at_ps + limits.interval_ps;
        if full_after <= now_ps + limits.burst_ps {
            bucket.full_at_ps = full_after;
            return Decision::Allowed;
        }
        bucket.refused += 1;
        let key = || Key { sender: Arc::clone(sender), source: Arc::clone(source) };
        self.bursts.refused(key, &mut bucket.burst, now_us, wall);
        if self.top.as_ref().is_none_or(|(_, count)| bucket.refused > *count) {
            self.top = Some((key(), bucket.refused));
        }
        // From the caller's own time, and rounded up: a clock of milliseconds must do.
        let wait_ps = full_after - limits.burst_ps - u128::from(caller_us) * PS_PER_US;
        let wait_ms = u64::try_from(wait_ps.div_ceil(PS_PER_MS)).unwrap_or(u64::MAX);
        Decision::Refused { retry_after: Duration::from_millis(wait_ms) }
    }

    /// Sources that are remembered: those with limits of their own find room as well.
    fn max_sources(&self) -> usize {
        self.limits.map_or(0, |limits| limits.max_sources) + self.own.len()
    }

    fn remember(&mut self, (sender, source): (&str, &str), full_at_ps: u128) {
        let seen_second = self.activity.seen_first();
        let bucket = Bucket { full_at_ps, refused: 0, burst: None, seen_second };
        self.buckets.put(sender, source, bucket);
    }

    /// Forgets buckets until `keep` are left.
    fn evict(&mut self, keep: usize) {
        while self.buckets.len() > keep {
            let Some((_, bucket)) = self.buckets.pop() else { return };
            self.activity.forget(bucket.seen_second);
            if let Some(index) = bucket.burst {
                self.end_burst(index);
            }
        }
    }

    fn end_burst(&mut self, index: usize) {
        let (key, moved) = self.bursts.end(index);
        if let Some(bucket) = moved.and_then(|key| self.buckets.peek_mut(key)) {
            bucket.burst = Some(index);
        }
        // Not there when the burst ends because the bucket was forgotten.
        if let Some(bucket) = self.buckets.peek_mut(&key) {
            bucket.burst = None;
        }
    }
}
