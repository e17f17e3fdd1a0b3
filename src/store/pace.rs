//! Time, waiting and chance, so that tests of retries need none of them.

use std::fmt::Debug;
#[cfg(any(test, feature = "testing"))]
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A clock that can be waited by.
pub trait Pace: Send + Sync + Debug {
    /// Time since some beginning; never goes back.
    fn elapsed(&self) -> Duration;
    /// Waits, unless `stop` becomes true; whether it waited to the end.
    fn wait(&self, time: Duration, stop: &dyn Fn() -> bool) -> bool;
    /// A time from nothing to `bound`, drawn evenly.
    fn jitter(&self, bound: Duration) -> Duration;
}

/// The real one.
#[derive(Debug)]
pub struct RealPace {
    start: Instant,
}

impl Default for RealPace {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Pace for RealPace {
    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn wait(&self, time: Duration, stop: &dyn Fn() -> bool) -> bool {
        const LOOK: Duration = Duration::from_millis(100);
        let until = Instant::now() + time;
        loop {
            if stop() {
                return false;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(LOOK));
        }
    }

    fn jitter(&self, bound: Duration) -> Duration {
        let mut bytes = [0; 4];
        // Without randomness it waits the whole bound: no worse than no jitter.
        let drawn = getrandom::fill(&mut bytes).map_or(u32::MAX, |()| u32::from_le_bytes(bytes));
        bound.mul_f64(f64::from(drawn) / f64::from(u32::MAX))
    }
}

#[cfg(any(test, feature = "testing"))]
/// One in which waiting takes no time; it notes what was waited for.
#[derive(Debug, Default)]
pub struct TestPace {
    waits: Mutex<Vec<Duration>>,
}

#[cfg(any(test, feature = "testing"))]
impl TestPace {
    /// All waits so far.
    #[must_use]
    pub fn waits(&self) -> Vec<Duration> {
        self.waits.lock().map(|waits| waits.clone()).unwrap_or_default()
    }
}

#[cfg(any(test, feature = "testing"))]
impl Pace for TestPace {
    fn elapsed(&self) -> Duration {
        self.waits().iter().sum()
    }

    fn wait(&self, time: Duration, stop: &dyn Fn() -> bool) -> bool {
        if let Ok(mut waits) = self.waits.lock() {
            waits.push(time);
        }
        !stop()
    }

    /// The whole bound.
    fn jitter(&self, bound: Duration) -> Duration {
        bound
    }
}
