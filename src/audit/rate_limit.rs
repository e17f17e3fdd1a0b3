//! A token bucket for each source, and the bursts of refusals that they cause.
//!
//! Buckets are kept by when they are full again (the generic cell rate
//! algorithm, ITU-T I.371), in whole picoseconds, so that nothing is rounded
//! from one event to the next. Memory is bounded: the least recently seen source
//! is forgotten first, and starts with a full bucket when it comes back. What was
//! refused is never forgotten with it: its burst is still handed out.

mod activity;
mod bursts;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::hash::RandomState;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;

use super::options::RateLimit;
use crate::clock::Timestamp;
use activity::Activity;
use bursts::Bursts;
pub use bursts::OTHER_SOURCES;

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

/// Refusals of one source that belong together: no more than a second between
/// two of them, and a minute at most from the first to the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Burst {
    /// Who was refused; [`OTHER_SOURCES`] where several had to be put together.
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

#[derive(Debug)]
struct Bucket {
    /// When it is full again.
    full_at_ps: u128,
    /// Refused since the source is remembered.
    refused: u64,
    /// The place of its open burst.
    burst: Option<usize>,
    /// The second it was last seen in.
    seen_second: u64,
}

struct State {
    limits: Option<Limits>,
    /// Sources whose limits are not the others'.
    own: HashMap<Box<str>, Limits>,
    /// The latest time seen: callers read the clock before they get the lock, so
    /// theirs may be a little older.
    now_us: u64,
    /// Unbounded as far as `LruCache` knows (it would allocate its bound at
    /// once); `evict` keeps it to `max_sources`. SipHash, since names may be chosen
    /// by an attacker.
    buckets: LruCache<Arc<str>, Bucket, RandomState>,
    bursts: Bursts,
    activity: Activity,
    top: Option<(Arc<str>, u64)>,
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
            buckets: LruCache::unbounded_with_hasher(RandomState::new()),
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
    /// every call), `wall` what [`Burst`] says.
    pub fn check(&self, source: &str, now_us: u64, wall: Timestamp) -> Decision {
        self.state().check(source, now_us, wall)
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

    /// Sources seen in the last minute, allowed or refused; a source counts for
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
    pub fn top_blocked(&self) -> Option<(String, u64)> {
        self.state().top.as_ref().map(|(source, count)| (source.to_string(), *count))
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

    fn check(&mut self, source: &str, caller_us: u64, wall: Timestamp) -> Decision {
        let Some(limits) = self.own.get(source).copied().or(self.limits) else {
            return Decision::Allowed;
        };
        let now_us = self.advance(caller_us);
        let now_ps = u128::from(now_us) * PS_PER_US;
        let Some((source, bucket)) = self.buckets.get_key_value_mut(source) else {
            self.remember(source, now_ps + limits.interval_ps);
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
        self.bursts.refused(source, &mut bucket.burst, now_us, wall);
        match &mut self.top {
            Some((top, count)) if bucket.refused > *count => {
                *count = bucket.refused;
                if !Arc::ptr_eq(top, source) {
                    *top = Arc::clone(source);
                }
            }
            Some(_) => {}
            none => *none = Some((Arc::clone(source), 1)),
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

    fn remember(&mut self, source: &str, full_at_ps: u128) {
        let seen_second = self.activity.seen_first();
        let bucket = Bucket { full_at_ps, refused: 0, burst: None, seen_second };
        self.buckets.put(source.into(), bucket);
    }

    /// Forgets the least recently seen sources until `keep` are left.
    fn evict(&mut self, keep: usize) {
        while self.buckets.len() > keep {
            let Some((_, bucket)) = self.buckets.pop_lru() else { return };
            self.activity.forget(bucket.seen_second);
            if let Some(index) = bucket.burst {
                self.end_burst(index);
            }
        }
    }

    fn end_burst(&mut self, index: usize) {
        let (source, moved) = self.bursts.end(index);
        if let Some(bucket) = moved.and_then(|source| self.buckets.peek_mut(source)) {
            bucket.burst = Some(index);
        }
        // Not there when the burst ends because the source was forgotten.
        if let Some(bucket) = self.buckets.peek_mut(&source) {
            bucket.burst = None;
        }
    }
}
