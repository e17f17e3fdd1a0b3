//! `--limit-upload`: a token bucket for what is sent.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Allows so many bytes a second, over all uploads that share it, and a quarter
/// of a second's worth at once.
#[derive(Debug)]
pub(crate) struct Throttle {
    rate: u64,
    start: Instant,
    /// When what was allowed so far will have been sent.
    paid_until: Mutex<Duration>,
}

impl Throttle {
    const BURST: Duration = Duration::from_millis(250);

    pub(crate) fn new(rate: u64) -> Self {
        Self { rate: rate.max(1), start: Instant::now(), paid_until: Mutex::default() }
    }

    /// The most to ask for at once, so that the flow stays even.
    pub(crate) fn piece(&self, wanted: u64) -> u64 {
        wanted.min((self.rate / 8).max(1_024))
    }

    /// Takes leave to send so many bytes; how long to wait before doing so.
    pub(crate) fn take(&self, bytes: u64) -> Duration {
        self.take_at(self.start.elapsed(), bytes)
    }

    fn take_at(&self, now: Duration, bytes: u64) -> Duration {
        let cost = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        let mut paid_until = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        let start = (*paid_until).max(now.saturating_sub(Self::BURST));
        *paid_until = start + cost;
        paid_until.saturating_sub(now + Self::BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_time_no_more_is_sent_than_allowed() {
        let throttle = Throttle::new(1_000);
        let mut now = Duration::ZERO;
        for _ in 0..100 {
            now += throttle.take_at(now, 100);
        }
        // 10 kB at 1 kB/s, less the burst.
        assert!(now >= Duration::from_millis(9_400) && now <= Duration::from_secs(10), "{now:?}");
    }

    #[test]
    fn a_pause_does_not_pile_up_leave_to_send() {
        let throttle = Throttle::new(1_000);
        let late = Duration::from_secs(3_600);
        assert_eq!(throttle.take_at(late, 100), Duration::ZERO);
        assert!(throttle.take_at(late, 2_000) > Duration::from_secs(1));
    }
}
