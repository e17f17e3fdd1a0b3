//! What the view has seen so far: events a second, and how long syncs took.

use std::collections::VecDeque;

use crate::monitor::Sample;

/// Seconds that are kept.
const KEPT: usize = 3_600;

/// A second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Second {
    /// Events accepted; `None` where nobody looked.
    pub(super) events: Option<u64>,
    /// How long a sync took on average, in milliseconds; `None` where there was none.
    pub(super) sync_ms: Option<f64>,
}

/// The last hour at most, as far as it was watched.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// One after the other without gaps, the oldest first.
    seconds: VecDeque<Second>,
    /// The second, since 1970, after the last of them.
    end: i64,
    /// Syncs, and the seconds that all of them took, at the last sample.
    syncs: Option<(u64, f64)>,
    /// The last sample's second, and the writer that it was of.
    last: Option<(i64, Option<u64>)>,
}

impl History {
    /// Takes what a sample says: it has each of the last 60 seconds.
    pub(super) fn add(&mut self, sample: &Sample) {
        let now = sample.timestamp.unix_seconds();
        if now < self.end - 1 || now > self.end + KEPT as i64 {
            // The clock was set, or nobody looked for long.
            *self = Self::default();
        }
        if let Some(events) = &sample.events {
            let from = now - events.last_60_seconds.len() as i64;
            for (second, count) in (from..).zip(&events.last_60_seconds) {
                if let Some(place) = self.second(second) {
                    place.events = Some(*count);
                }
            }
        }
        self.sync(sample, now);
        while self.seconds.len() > KEPT {
            self.seconds.pop_front();
        }
    }

    /// The mean of the syncs since the last sample, in all seconds since then.
    fn sync(&mut self, sample: &Sample, now: i64) {
        let whose = sample.writer.pid.filter(|_| sample.writer.is_current);
        let total = sample
            .sync
            .as_ref()
            .map(|sync| (sync.count, sync.mean_seconds.unwrap_or(0.0) * sync.count as f64));
        if let (Some((count, sum)), Some((old_count, old_sum)), Some((then, who))) =
            (total, self.syncs, self.last)
            // Another writer counts from its own beginning.
            && who == whose && count > old_count
        {
            let mean = (sum - old_sum).max(0.0) * 1_000.0 / (count - old_count) as f64;
            for second in then..now.max(then + 1) {
                if let Some(place) = self.second(second) {
                    place.sync_ms = Some(mean);
                }
            }
        }
        self.syncs = total;
        self.last = Some((now, whose));
    }

    /// The place of a second, unless it is before all that is kept.
    fn second(&mut self, second: i64) -> Option<&mut Second> {
        if self.seconds.is_empty() {
            self.end = second;
        }
        while self.end <= second {
            self.seconds.push_back(Second::default());
            self.end += 1;
        }
        let back = usize::try_from(self.end - second).ok()?;
        let place = self.seconds.len().checked_sub(back)?;
        self.seconds.get_mut(place)
    }

    /// The newest so many seconds up to `until`, as points: seconds before `until` (0 and
    /// less), and what was then.
    pub(super) fn points(
        &self,
        (until, seconds): (i64, usize),
        of: impl Fn(&Second) -> Option<f64>,
    ) -> Vec<(f64, f64)> {
        let from = until - seconds as i64;
        let first = self.end - self.seconds.len() as i64;
        let all = (first..).zip(&self.seconds);
        let wanted = all.filter(|(second, _)| (from..until).contains(second));
        wanted.filter_map(|(second, it)| Some(((second - until) as f64, of(it)?))).collect()
    }

    /// For how many seconds it was watched.
    pub(super) fn len(&self) -> usize {
        self.seconds.len()
    }
}
