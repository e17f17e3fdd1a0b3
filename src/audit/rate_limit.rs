//! The rate limiter: a token bucket for each source, memory bounded by
//! forgetting the least recently seen source.
//!
//! A refusal says exactly when trying again will succeed. Refusals of a source
//! are gathered into *bursts*: each becomes one record in the log when it ends.
//! A forgotten source starts anew with a full bucket.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;

use super::options::RateLimit;
use crate::clock::Timestamp;

/// A burst ends when nothing was refused for so long.
const BURST_QUIET_US: u64 = 1_000_000;
/// A burst is recorded after so long even if it goes on.
const BURST_LONGEST_US: u64 = 60_000_000;
/// A source counts as active for so long.
const ACTIVE_US: u64 = 60_000_000;

/// Whether an event may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may.
    Allowed,
    /// Its source sends too fast.
    Refused {
        /// Trying again after this succeeds, if the source does nothing meanwhile.
        retry_after: Duration,
    },
}

/// Refusals of one source in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Burst {
    /// The source.
    pub source: String,
    /// How many were refused.
    pub refused: u64,
    /// When the first was.
    pub first: Timestamp,
    /// When the last was.
    pub last: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Tokens, in millionths, at `at_us`.
    micro_tokens: u64,
    at_us: u64,
    /// Refusals since the log was opened.
    refused: u64,
}

#[derive(Debug)]
struct OpenBurst {
    refused: u64,
    first: Timestamp,
    last: Timestamp,
    began_us: u64,
    last_us: u64,
}

#[derive(Debug)]
struct State {
    limit: Option<RateLimit>,
    buckets: LruCache<String, Bucket>,
    bursts: HashMap<String, OpenBurst>,
    top: Option<(String, u64)>,
}

/// A token bucket for each source.
#[derive(Debug)]
pub struct RateLimiter(Mutex<State>);

const MICRO: u64 = 1_000_000;

impl RateLimiter {
    /// With `None` everything is allowed.
    #[must_use]
    pub fn new(limit: Option<RateLimit>) -> Self {
        Self(Mutex::new(State {
            limit,
            buckets: LruCache::unbounded(),
            bursts: HashMap::new(),
            top: None,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the limits; buckets keep what they hold, up to the new burst.
    pub fn set_limits(&self, limit: Option<RateLimit>) {
        self.lock().limit = limit;
    }

    /// Takes a token of the source, if it has one.
    pub fn check(&self, source: &str, now_us: u64, wall: Timestamp) -> Decision {
        let mut state = self.lock();
        let Some(limit) = state.limit else { return Decision::Allowed };
        let full = u64::from(limit.burst.max(1)) * MICRO;
        let Some(bucket) = state.buckets.get_mut(source) else {
            state.remember(source, limit.max_sources, full - MICRO, now_us);
            return Decision::Allowed;
        };
        let gained = refill(limit.per_second, now_us.saturating_sub(bucket.at_us));
        let tokens = bucket.micro_tokens.saturating_add(gained).min(full);
        if gained > 0 || tokens == full {
            bucket.micro_tokens = tokens;
            bucket.at_us = now_us;
        }
        if tokens >= MICRO {
            bucket.micro_tokens = tokens - MICRO;
            return Decision::Allowed;
        }
        bucket.refused += 1;
        let (refused, at_us) = (bucket.refused, bucket.at_us);
        let wait_us = time_for(limit.per_second, MICRO - tokens);
        let retry_after = Duration::from_micros((at_us + wait_us).saturating_sub(now_us).max(1));
        state.refuse(source, refused, now_us, wall);
        Decision::Refused { retry_after }
    }

    /// Bursts that have ended; with `all` also those that go on.
    pub fn finished_bursts(&self, now_us: u64, all: bool) -> Vec<Burst> {
        let mut state = self.lock();
        let ended = |burst: &OpenBurst| {
            all || now_us.saturating_sub(burst.last_us) >= BURST_QUIET_US
                || now_us.saturating_sub(burst.began_us) >= BURST_LONGEST_US
        };
        let mut finished: Vec<Burst> = state
            .bursts
            .extract_if(|_, burst| ended(burst))
            .map(|(source, burst)| Burst {
                source,
                refused: burst.refused,
                first: burst.first,
                last: burst.last,
            })
            .collect();
        finished.sort_by(|a, b| a.first.cmp(&b.first).then_with(|| a.source.cmp(&b.source)));
        finished
    }

    /// Sources seen in the last minute, as far as they are remembered.
    pub fn active_sources(&self, now_us: u64) -> usize {
        // Most recently seen first.
        let recent = |bucket: &Bucket| now_us.saturating_sub(bucket.at_us) < ACTIVE_US;
        self.lock().buckets.iter().take_while(|(_, bucket)| recent(bucket)).count()
    }

    /// The source refused most often, and how often.
    pub fn top_blocked(&self) -> Option<(String, u64)> {
        self.lock().top.clone()
    }
}

impl State {
    fn remember(&mut self, source: &str, max_sources: usize, micro_tokens: u64, at_us: u64) {
        let max = NonZeroUsize::new(max_sources).map_or(1, NonZeroUsize::get);
        while self.buckets.len() >= max {
            self.buckets.pop_lru();
        }
        self.buckets.put(source.to_owned(), Bucket { micro_tokens, at_us, refused: 0 });
    }

    fn refuse(&mut self, source: &str, refused: u64, now_us: u64, wall: Timestamp) {
        match self.bursts.get_mut(source) {
            Some(burst) => {
                burst.refused += 1;
                burst.last = burst.last.max(wall);
                burst.last_us = now_us;
            }
            None => {
                let burst = OpenBurst {
                    refused: 1,
                    first: wall,
                    last: wall,
                    began_us: now_us,
                    last_us: now_us,
                };
                self.bursts.insert(source.to_owned(), burst);
            }
        }
        match &mut self.top {
            Some((name, count)) if name == source => *count = refused,
            Some((_, count)) if *count >= refused => {}
            top => *top = Some((source.to_owned(), refused)),
        }
    }
}

/// Millionths of tokens gained in a time.
fn refill(per_second: f64, elapsed_us: u64) -> u64 {
    // per_second tokens a second are per_second millionths a microsecond.
    (per_second * elapsed_us as f64) as u64
}

/// Microseconds until so many millionths are gained.
fn time_for(per_second: f64, micro_tokens: u64) -> u64 {
    if per_second <= 0.0 {
        return u64::from(u32::MAX);
    }
    let mut wait = (micro_tokens as f64 / per_second).ceil() as u64;
    // Rounding must not tell a moment that is too early.
    while refill(per_second, wait) < micro_tokens {
        wait += 1;
    }
    wait
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: RateLimit = RateLimit { per_second: 10.0, burst: 3, max_sources: 4 };

    fn at(us: u64) -> Timestamp {
        Timestamp::from_micros(us as i64)
    }

    fn allowed(limiter: &RateLimiter, source: &str, us: u64) -> bool {
        limiter.check(source, us, at(us)) == Decision::Allowed
    }

    #[test]
    fn a_burst_passes_then_the_rate_holds_and_waiting_as_told_succeeds() {
        let limiter = RateLimiter::new(Some(LIMIT));
        assert!((0..3).all(|_| allowed(&limiter, "a", 0)));
        let Decision::Refused { retry_after } = limiter.check("a", 7, at(7)) else {
            panic!("the fourth at once is refused")
        };
        let then = 7 + retry_after.as_micros() as u64;
        assert!(!allowed(&limiter, "a", then - 1), "a microsecond earlier is too early");
        assert!(allowed(&limiter, "a", then));
        assert!(allowed(&limiter, "b", 8), "another source is not concerned");
    }

    #[test]
    fn each_burst_of_refusals_is_told_once_with_its_count_and_times() {
        let limiter = RateLimiter::new(Some(LIMIT));
        for us in 0..10 {
            allowed(&limiter, "a", us);
        }
        assert_eq!(limiter.finished_bursts(500_000, false), []);
        let told = limiter.finished_bursts(1_100_000, false);
        assert_eq!(told, [Burst { source: "a".into(), refused: 7, first: at(3), last: at(9) }]);
        assert_eq!(limiter.finished_bursts(9_000_000, true), []);
        assert_eq!(limiter.top_blocked(), Some(("a".to_owned(), 7)));
    }

    #[test]
    fn a_burst_that_does_not_end_is_told_every_minute() {
        let limiter = RateLimiter::new(Some(RateLimit { per_second: 0.001, ..LIMIT }));
        let mut told = 0;
        for second in 0..180 {
            allowed(&limiter, "a", second * 500_000);
            told += limiter.finished_bursts(second * 500_000, false).len();
        }
        assert_eq!(told, 1, "90 seconds hold one whole minute");
    }

    #[test]
    fn a_flood_of_sources_does_not_grow_the_memory_and_its_bursts_are_not_forgotten() {
        let limiter = RateLimiter::new(Some(LIMIT));
        for _ in 0..5 {
            allowed(&limiter, "noisy", 0);
        }
        for n in 0..1_000 {
            allowed(&limiter, &format!("s{n}"), 1);
        }
        assert_eq!(limiter.active_sources(2), 4);
        assert_eq!(limiter.finished_bursts(0, true)[0].refused, 2);
    }

    proptest! {
        /// Against a model with exact fractions and a plain list for recency.
        #[test]
        fn the_limiter_decides_as_a_naive_model_does(
            steps in prop::collection::vec((0_u8..7, 0_u64..400_000), 1..200),
        ) {
            let limiter = RateLimiter::new(Some(LIMIT));
            let mut model: Vec<(u8, u64, u64)> = Vec::new();
            let mut now = 0;
            for (source, wait) in steps {
                now += wait;
                let known = model.iter().position(|(name, ..)| *name == source);
                let (mut tokens, since) = match known.map(|index| model.remove(index)) {
                    Some((_, tokens, since)) => (tokens, since),
                    None => (3 * MICRO, now),
                };
                tokens = (tokens + 10 * (now - since)).min(3 * MICRO);
                let expected = tokens >= MICRO;
                if expected {
                    tokens -= MICRO;
                }
                if known.is_none() && model.len() == 4 {
                    model.remove(0);
                }
                model.push((source, tokens, now));
                prop_assert_eq!(allowed(&limiter, &source.to_string(), now), expected);
            }
        }
    }
}
