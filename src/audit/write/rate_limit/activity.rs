//! How many sources were seen in the last minute, kept up with every event.

/// A power of two above the window, so that the second being cleared is never
/// one that is still counted.
const SLOTS: usize = 64;
/// The second that goes on, and the 59 before it.
const WINDOW_SECONDS: u64 = 60;

/// For each of the last seconds, how many sources were last seen in it.
#[derive(Debug)]
pub(super) struct Activity {
    second: u64,
    last_seen: [usize; SLOTS],
}

impl Default for Activity {
    fn default() -> Self {
        Self { second: 0, last_seen: [0; SLOTS] }
    }
}

impl Activity {
    /// Moves on to a second; one that has passed changes nothing.
    pub(super) fn advance(&mut self, second: u64) {
        let passed = second.saturating_sub(self.second).min(SLOTS as u64);
        for back in 0..passed {
            self.last_seen[slot(second - back)] = 0;
        }
        self.second = self.second.max(second);
    }

    /// A source that was not remembered is seen now.
    pub(super) fn seen_first(&mut self) -> u64 {
        self.last_seen[slot(self.second)] += 1;
        self.second
    }

    /// A source last seen in `seen_second` is seen now.
    pub(super) fn seen_again(&mut self, seen_second: &mut u64) {
        if *seen_second != self.second {
            self.forget(*seen_second);
            *seen_second = self.seen_first();
        }
    }

    /// A source last seen in `seen_second` is no longer remembered.
    pub(super) fn forget(&mut self, seen_second: u64) {
        if self.second - seen_second < SLOTS as u64 {
            self.last_seen[slot(seen_second)] -= 1;
        }
    }

    /// Sources last seen within the window.
    pub(super) fn active(&self) -> usize {
        let oldest = self.second.saturating_sub(WINDOW_SECONDS - 1);
        (oldest..=self.second).map(|second| self.last_seen[slot(second)]).sum()
    }
}

fn slot(second: u64) -> usize {
    (second % SLOTS as u64) as usize
}
