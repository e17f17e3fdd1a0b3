//! When to try again: at once the first times, then less and less often, so that
//! neither a place that cannot be written nor somebody who does not stop fills the
//! log with records.

use std::time::{Duration, Instant};

use super::TOLD_FOR;

const FIRST_WAIT: Duration = Duration::from_millis(250);
const LAST_WAIT: Duration = Duration::from_secs(30);
/// So many incidents of a file are mended as quickly as they are seen.
const QUICK: u32 = 20;

/// How patient to be with a file.
#[derive(Debug, Default)]
pub struct Patience {
    last: Option<Instant>,
    wait: Duration,
    incidents: u32,
}

impl Patience {
    /// Whether to try now.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.last.is_none_or(|last| last.elapsed() >= self.wait)
    }

    /// Whether the next attempt is long in coming.
    #[must_use]
    pub fn is_long(&self) -> bool {
        self.wait == LAST_WAIT
    }

    /// An attempt is made; `again` when the one before failed.
    pub fn tries(&mut self, again: bool) {
        if self.last.is_none_or(|last| last.elapsed() > TOLD_FOR) {
            self.incidents = 0;
        }
        self.last = Some(Instant::now());
        self.wait = if again {
            (self.wait * 2).clamp(FIRST_WAIT, LAST_WAIT)
        } else if self.incidents < QUICK {
            self.incidents += 1;
            FIRST_WAIT
        } else {
            LAST_WAIT
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_and_on_and_what_fails_is_tried_less_and_less_often() {
        let mut patience = Patience::default();
        assert!(patience.is_over());
        for _ in 0..QUICK {
            patience.tries(false);
            assert_eq!(patience.wait, FIRST_WAIT);
        }
        patience.tries(false);
        assert!(patience.wait == LAST_WAIT && !patience.is_over());
        let mut patience = Patience::default();
        patience.tries(false);
        let waits: Vec<u128> = (0..9)
            .map(|_| {
                patience.tries(true);
                patience.wait.as_millis()
            })
            .collect();
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
    }
}
