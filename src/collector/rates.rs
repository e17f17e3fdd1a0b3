//! How fast events come, and how long they take to be durable: the status page's counters,
//! looked at every ten seconds. They are in this process's memory, and the writer does
//! nothing for it. What was before the collector started is not known: nothing is made up.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::Hub;
use crate::audit::AuditLog;
use crate::audit::state::status::{StatusPage, Word};
use crate::clock::{Clock, Timestamp};
use crate::monitor::REFUSED;

/// The counters are looked at so often.
const STEP: Duration = Duration::from_secs(10);
const STEP_MS: u64 = STEP.as_millis() as u64;
/// Steps that are told of: half an hour.
const STEPS: u64 = 180;
/// Of older looks one a minute is kept, for a day.
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Look {
    /// By a clock that nobody sets, and that goes on while the machine sleeps.
    at_ms: u64,
    accepted: u64,
    refused: u64,
    syncs: u64,
    sync_micros: u64,
}

impl Look {
    fn at(page: &StatusPage, at_ms: u64) -> Self {
        Self {
            at_ms,
            accepted: page.get(Word::Accepted),
            refused: REFUSED.into_iter().map(|(_, word)| page.get(word)).sum(),
            syncs: page.get(Word::Syncs),
            sync_micros: page.get(Word::SyncMicrosSum),
        }
    }

    fn step(&self) -> u64 {
        self.at_ms / STEP_MS
    }
}

/// Events a second; `None`: the collector has not run that long.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Average {
    pub(super) minute: Option<f64>,
    pub(super) hour: Option<f64>,
    pub(super) day: Option<f64>,
}

/// The last steps, the oldest first; `None` where nothing is known of one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Series {
    step_seconds: u64,
    /// When the first of them began.
    start: Timestamp,
    events_per_second: Vec<Option<f64>>,
    refused_per_second: Vec<Option<f64>>,
    /// `None` also where nothing was synced.
    sync_mean_ms: Vec<Option<f64>>,
}

#[derive(Debug, Default)]
struct Table {
    /// The oldest first.
    steps: VecDeque<Look>,
    minutes: VecDeque<Look>,
}

/// The counters as they were.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<Table>);

impl Rates {
    /// With a first look.
    pub(super) fn begin(log: &AuditLog) -> Arc<Self> {
        let rates = Arc::new(Self::default());
        rates.add(Look::at(log.page(), log.options().clock.boot_ms()));
        rates
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, look: Look) {
        let mut table = self.table();
        if table.steps.back().is_some_and(|last| last.step() >= look.step()) {
            return;
        }
        table.steps.push_back(look);
        while table.steps.front().is_some_and(|first| first.step() + STEPS < look.step()) {
            table.steps.pop_front();
        }
        let due = |last: &Look| last.at_ms / MINUTE_MS < look.at_ms / MINUTE_MS;
        if table.minutes.back().is_none_or(due) {
            table.minutes.push_back(look);
        }
        let old = |first: &Look| first.at_ms + DAY_MS + 2 * MINUTE_MS < look.at_ms;
        while table.minutes.front().is_some_and(old) {
            table.minutes.pop_front();
        }
    }

    pub(super) fn average(&self, page: &StatusPage, clock: &dyn Clock) -> Average {
        let now = Look::at(page, clock.boot_ms());
        let table = self.table();
        Average {
            minute: table.over(MINUTE_MS, &now),
            hour: table.over(HOUR_MS, &now),
            day: table.over(DAY_MS, &now),
        }
    }

    pub(super) fn series(&self, clock: &dyn Clock) -> Series {
        let (now, now_ms) = (clock.now(), clock.boot_ms());
        let table = self.table();
        let end = now_ms / STEP_MS;
        let first = table.steps.front().map_or(end, Look::step).max(end.saturating_sub(STEPS));
        let mut series = Series {
            step_seconds: STEP.as_secs(),
            start: now,
            events_per_second: Vec::new(),
            refused_per_second: Vec::new(),
            sync_mean_ms: Vec::new(),
        };
        // Of two looks in steps that follow each other.
        for step in first + 1..=end {
            let of = |step| table.steps.binary_search_by_key(&step, Look::step).ok();
            let both = of(step - 1).zip(of(step));
            let both = both.and_then(|(a, b)| table.steps.get(a).zip(table.steps.get(b)));
            let each = |count: fn(&Look) -> u64| {
                both.map(|(from, to)| per_second(count(to) - count(from), to.at_ms - from.at_ms))
            };
            series.events_per_second.push(each(|look| look.accepted));
            series.refused_per_second.push(each(|look| look.refused));
            series.sync_mean_ms.push(both.and_then(|(from, to)| {
                let (syncs, micros) = (to.syncs - from.syncs, to.sync_micros - from.sync_micros);
                (syncs > 0).then(|| micros as f64 / syncs as f64 / 1e3)
            }));
        }
        let ago_ms = now_ms - first * STEP_MS;
        let ago_us = i64::try_from(ago_ms * 1_000).unwrap_or(i64::MAX);
        series.start = Timestamp::from_micros(now.micros().saturating_sub(ago_us));
        // The step that has not ended was not looked at, unless it was at its beginning.
        if series.events_per_second.last().is_some_and(Option::is_none) {
            series.events_per_second.pop();
            series.refused_per_second.pop();
            series.sync_mean_ms.pop();
        }
        series
    }
}

impl Table {
    /// Events a second since about so long ago; by the time that really passed.
    fn over(&self, span_ms: u64, now: &Look) -> Option<f64> {
        let age = |look: &&Look| now.at_ms.saturating_sub(look.at_ms);
        let looks = self.minutes.iter().chain(&self.steps);
        let from = looks.filter(|look| age(look) >= span_ms).min_by_key(age)?;
        // The machine slept, or the collector was stopped, in between: that would be another
        // time's rate.
        let age = age(&from);
        let late = age > span_ms + span_ms / 10 + 2 * STEP_MS;
        (!late).then(|| per_second(now.accepted - from.accepted, age))
    }
}

fn per_second(events: u64, ms: u64) -> f64 {
    events as f64 * 1e3 / ms.max(1) as f64
}

/// Looks again and again.
pub(super) async fn count(hub: Arc<Hub>) {
    let mut ticks = tokio::time::interval(STEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        hub.rates.add(Look::at(hub.log.page(), hub.log.options().clock.boot_ms()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    /// Looks each ten seconds, from `from` on for `seconds`, of a log that takes so many
    /// events a second, each synced alone in 2 ms.
    fn run(rates: &Rates, from: u64, seconds: u64, per_second: u64) {
        let last = rates.table().steps.back().copied().unwrap_or_default();
        for nth in 0..=seconds / 10 {
            let events = last.accepted + nth * 10 * per_second;
            rates.add(Look {
                at_ms: (from + nth * 10) * 1_000,
                accepted: events,
                refused: 0,
                syncs: events,
                sync_micros: events * 2_000,
            });
        }
    }

    fn over(rates: &Rates, span_ms: u64, at: u64) -> Option<f64> {
        let table = rates.table();
        let last = table.steps.back().copied().expect("a look");
        table.over(span_ms, &Look { at_ms: at * 1_000, ..last })
    }

    #[test]
    fn a_rate_is_told_once_the_collector_has_run_that_long() {
        let rates = Rates::default();
        run(&rates, 1_000, 50, 7);
        assert_eq!(over(&rates, MINUTE_MS, 1_050), None);
        let rates = Rates::default();
        run(&rates, 1_000, 3_600, 7);
        assert_eq!(over(&rates, MINUTE_MS, 4_600), Some(7.0));
        assert_eq!(over(&rates, HOUR_MS, 4_600), Some(7.0));
        assert_eq!(over(&rates, DAY_MS, 4_600), None);
    }

    #[test]
    fn a_day_is_counted_whole_and_no_more_is_kept_of_it() {
        let rates = Rates::default();
        run(&rates, 0, 2 * 86_400, 3);
        assert_eq!(over(&rates, DAY_MS, 2 * 86_400), Some(3.0));
        let table = rates.table();
        assert!(table.steps.len() <= STEPS as usize + 1, "{}", table.steps.len());
        assert!(table.minutes.len() <= 24 * 60 + 4, "{}", table.minutes.len());
    }

    #[test]
    fn after_a_sleep_nothing_is_told_of_a_time_that_was_not_looked_at() {
        let rates = Rates::default();
        run(&rates, 1_000, 600, 7);
        run(&rates, 20_000, 30, 7);
        assert_eq!(over(&rates, MINUTE_MS, 20_030), None);
        let clock = ManualClock::new(Timestamp::from_micros(1_000_000_000_000));
        clock.advance(Duration::from_secs(20_030 - 1));
        let series = rates.series(&clock);
        assert_eq!(series.events_per_second, [Some(7.0); 3], "the older ones are too old");
    }

    #[test]
    fn a_series_has_a_place_for_each_step_and_says_when_it_began() {
        let rates = Rates::default();
        run(&rates, 100, 40, 5);
        run(&rates, 160, 20, 1);
        let clock = ManualClock::new(Timestamp::from_micros(0));
        clock.advance(Duration::from_secs(184));
        let series = rates.series(&clock);
        let (five, one) = (Some(5.0), Some(1.0));
        assert_eq!(series.events_per_second, [five, five, five, five, None, None, one, one]);
        assert_eq!(series.sync_mean_ms[0], Some(2.0));
        assert_eq!(series.sync_mean_ms.len(), 8);
        // The clock stands at 185 s since boot, and at 184 s: the first step began 85 s ago.
        assert_eq!(series.start.to_string(), "1970-01-01T00:01:39.000000Z");
    }
}
