//! How many records there are over time, in a bounded number of buckets.
//!
//! Nobody knows beforehand which times the matching records have, and senders may set them to
//! anything from the year 0 to 9999. So it is counted in narrow buckets of which only those
//! exist that something is in, and these become wider when there would be too many. In the
//! end they are put together to the buckets that are shown. A few records that are far away
//! from all others are told beside them: one wrong clock must not make a single bar of a year.

use std::collections::BTreeMap;

use super::step::{Dates, Step, at};
use crate::clock::Timestamp;

/// Buckets of a histogram at most.
pub const MAX_BUCKETS: usize = 1_000;
/// Buckets when nothing is said.
pub const DEFAULT_BUCKETS: usize = 60;

/// Of one in so many records it may be told beside the histogram that they are earlier or
/// later than all of it, at each end.
const ASIDE: u64 = 400;
/// They are so many times as far away as all others are from each other.
const FAR: i64 = 9;

/// How many records there are over time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Histogram {
    /// How wide a bucket is.
    pub step: Step,
    /// Where the first one begins; `None` when there is none, because nothing matched.
    pub start: Option<Timestamp>,
    /// How many records are in each, one after the other without gaps.
    pub counts: Vec<u64>,
    /// Records long before the first bucket.
    pub earlier: u64,
    /// Records long after the last one.
    pub later: u64,
    /// Lines with a time that cannot be.
    pub undated: u64,
}

impl Histogram {
    /// Where each bucket begins.
    pub fn starts(&self) -> impl Iterator<Item = Timestamp> + '_ {
        let first = self.start.map_or(0, Timestamp::unix_seconds);
        let begins = std::iter::successors(Some(first), |begin| Some(self.step.next(*begin)));
        begins.take(self.counts.len()).map(at)
    }

    /// Where the last one ends.
    #[must_use]
    pub fn end(&self) -> Option<Timestamp> {
        let last = self.starts().last()?;
        Some(at(self.step.next(last.unix_seconds())))
    }
}

/// Counts records by their times.
#[derive(Clone, Debug)]
pub(super) struct Times {
    /// How wide what is counted in is by now.
    step: Step,
    most: usize,
    counts: BTreeMap<i64, u64>,
    /// The bucket that the last time was in, and what came into it since: most times follow
    /// each other.
    last: (i64, u64),
    dates: Dates,
    span: Option<(Timestamp, Timestamp)>,
    undated: u64,
}

impl Clone for Dates {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Times {
    fn eq(&self, other: &Self) -> bool {
        (self.step, self.span, self.undated) == (other.step, other.span, other.undated)
            && self.all() == other.all()
    }
}

impl Times {
    /// For a histogram of so many buckets, beginning with parts of that width.
    pub(super) fn new(most: usize, step: Step) -> Self {
        Self {
            step,
            most: most.clamp(1, MAX_BUCKETS),
            counts: BTreeMap::new(),
            last: (0, 0),
            dates: Dates::default(),
            span: None,
            undated: 0,
        }
    }

    /// Parts that may exist: a week has seven, and some are for times that are far away.
    fn room(&self) -> usize {
        8 * self.most + 1_024
    }

    /// One that is empty, and counts the same.
    pub(super) fn empty(&self) -> Self {
        Self::new(self.most, self.step)
    }

    pub(super) fn step(&self) -> Step {
        self.step
    }

    /// Roughly what it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.counts.len() * 2 * size_of::<(i64, u64)>()
    }

    /// The earliest and the latest time.
    pub(super) fn span(&self) -> Option<(Timestamp, Timestamp)> {
        self.span
    }

    /// Counts a time as it is stored; its seconds, if it is one.
    pub(super) fn add(&mut self, time: &[u8]) -> Option<i64> {
        let Some(seconds) = self.dates.seconds(time) else {
            self.undated += 1;
            return None;
        };
        let micros = time.get(20..26).map_or(0, |digits| {
            digits.iter().fold(0, |micros, digit| micros * 10 + i64::from(digit.wrapping_sub(b'0')))
        });
        self.add_at(Timestamp::from_micros(seconds * 1_000_000 + micros));
        Some(seconds)
    }

    /// Counts a time.
    pub(super) fn add_at(&mut self, time: Timestamp) {
        self.stretch((time, time));
        self.count(time.unix_seconds(), 1);
    }

    /// Counts records of which only the earliest and the latest time are known: in the same
    /// part, both of them.
    pub(super) fn add_all(&mut self, span: (Timestamp, Timestamp), records: u64) {
        self.stretch(span);
        self.count(span.0.unix_seconds(), records);
    }

    fn stretch(&mut self, (first, last): (Timestamp, Timestamp)) {
        let (from, to) = self.span.unwrap_or((first, last));
        self.span = Some((from.min(first), to.max(last)));
    }

    fn count(&mut self, seconds: i64, records: u64) {
        let begin = self.step.floor(seconds);
        if begin == self.last.0 {
            self.last.1 += records;
            return;
        }
        self.settle();
        self.last = (begin, records);
        while self.counts.len() >= self.room() && self.widen() {}
    }

    fn settle(&mut self) {
        let (begin, records) = std::mem::take(&mut self.last);
        if records > 0 {
            *self.counts.entry(begin).or_default() += records;
        }
    }

    /// Makes the parts wider; false when they are as wide as can be.
    fn widen(&mut self) -> bool {
        self.settle();
        let Some(wider) = self.step.wider() else { return false };
        self.step = wider;
        let mut counts = BTreeMap::new();
        for (begin, records) in std::mem::take(&mut self.counts) {
            *counts.entry(wider.floor(begin)).or_default() += records;
        }
        self.counts = counts;
        true
    }

    /// Adds others.
    pub(super) fn merge(&mut self, mut other: Self) {
        while self.step < other.step && self.widen() {}
        while other.step < self.step && other.widen() {}
        other.settle();
        for (begin, records) in &other.counts {
            self.count(*begin, *records);
        }
        other.span.into_iter().for_each(|span| self.stretch(span));
        self.undated += other.undated;
    }

    fn all(&self) -> BTreeMap<i64, u64> {
        let mut all = self.counts.clone();
        if self.last.1 > 0 {
            *all.entry(self.last.0).or_default() += self.last.1;
        }
        all
    }

    /// What is shown of it. It reaches from `since` to `until` where the question says them,
    /// else from the first to the last record that is not far from all others.
    pub(super) fn histogram(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Histogram {
        let all = self.all();
        let core = core(&all.iter().map(|(at, records)| (*at, *records)).collect::<Vec<_>>());
        let until = until.map(|until| Timestamp::from_micros(until.micros() - 1).unix_seconds());
        let since = since.map(Timestamp::unix_seconds);
        let first = since.or(core.map(|core| core.0)).or(until);
        let last = until.or(core.map(|core| core.1)).or(since);
        let mut histogram = Histogram {
            step: self.step,
            start: None,
            counts: Vec::new(),
            earlier: 0,
            later: 0,
            undated: self.undated,
        };
        let (Some(first), Some(last)) = (first, last) else { return histogram };
        if first > last {
            // Nothing was asked about.
            return histogram;
        }
        let step = Step::fitting((first, last), self.most, self.step);
        let begins = std::iter::successors(Some(step.floor(first)), |at| Some(step.next(*at)));
        let begins: Vec<i64> = begins.take_while(|begin| *begin <= last).collect();
        let mut counts = vec![0; begins.len()];
        for (begin, records) in all {
            match begins.binary_search(&step.floor(begin)) {
                Ok(place) => counts[place] += records,
                Err(0) => histogram.earlier += records,
                Err(_) => histogram.later += records,
            }
        }
        histogram.step = step;
        histogram.start = begins.first().copied().map(at);
        histogram.counts = counts;
        histogram
    }
}

/// From where to where most of it is: without the few at either end that are far away.
fn core(all: &[(i64, u64)]) -> Option<(i64, i64)> {
    let total: u64 = all.iter().map(|(_, records)| records).sum();
    let aside = total / ASIDE;
    // How many parts from that end hold no more than may be put aside.
    let few = |parts: &mut dyn Iterator<Item = u64>| {
        let sums = parts.scan(0, |sum, records| {
            *sum += records;
            Some(*sum)
        });
        sums.take_while(|sum| *sum <= aside).count()
    };
    let low = few(&mut all.iter().map(|part| part.1));
    let high = all.len() - few(&mut all.iter().rev().map(|part| part.1));
    let (inner_first, inner_last) = (all.get(low)?.0, all.get(high.checked_sub(1)?)?.0);
    let is_far = |gap: i64, width: i64| gap > FAR.saturating_mul(width.max(1));
    // Of several gaps the innermost.
    let from =
        (1..=low).rev().find(|at| is_far(all[*at].0 - all[at - 1].0, inner_last - all[*at].0));
    let to = (high..all.len())
        .find(|at| is_far(all[*at].0 - all[at - 1].0, all[at - 1].0 - inner_first));
    Some((all[from.unwrap_or(0)].0, all[to.unwrap_or(all.len()) - 1].0))
}

/// Of some groups, how many records they have in each bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Series {
    step: Step,
    begins: Vec<i64>,
    pub(super) counts: Vec<Vec<u64>>,
}

impl Series {
    /// Of so many groups, in the histogram's buckets.
    pub(super) fn new(histogram: &Histogram, groups: usize) -> Self {
        let counts = vec![vec![0; histogram.counts.len()]; groups];
        let begins = histogram.starts().map(Timestamp::unix_seconds).collect();
        Self { step: histogram.step, begins, counts }
    }

    /// One that is empty, of the same groups.
    pub(super) fn empty(&self) -> Self {
        let counts = vec![vec![0; self.begins.len()]; self.counts.len()];
        Self { step: self.step, begins: self.begins.clone(), counts }
    }

    /// Adds a record of a group.
    pub(super) fn add(&mut self, group: usize, seconds: i64) {
        // What is earlier or later has no bucket.
        if let Ok(place) = self.begins.binary_search(&self.step.floor(seconds)) {
            self.counts[group][place] += 1;
        }
    }

    /// Adds what was counted elsewhere of the same groups.
    pub(super) fn merge(&mut self, other: &Self) {
        for (here, more) in self.counts.iter_mut().zip(&other.counts) {
            here.iter_mut().zip(more).for_each(|(here, more)| *here += more);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 86_400;
    /// 2026-02-04T00:00:00Z.
    const NOW: i64 = 1_770_163_200;

    fn counted(seconds: impl IntoIterator<Item = i64>, most: usize) -> Times {
        let mut times = Times::new(most, Step::NARROWEST);
        for seconds in seconds {
            assert_eq!(times.add(at(seconds).to_string().as_bytes()), Some(seconds));
        }
        times
    }

    #[test]
    fn a_histogram_has_each_record_in_its_bucket_and_the_empty_ones_between() {
        let histogram = counted([NOW, NOW + 59, NOW + 180], 4).histogram(None, None);
        assert_eq!((histogram.step.as_str(), &histogram.counts[..]), ("1m", &[2, 0, 0, 1][..]));
        assert_eq!(histogram.start, Some(at(NOW)));
        assert_eq!(histogram.end(), Some(at(NOW + 240)));
        let starts: Vec<_> = histogram.starts().map(Timestamp::unix_seconds).collect();
        assert_eq!(starts, [NOW, NOW + 60, NOW + 120, NOW + 180]);
    }

    #[test]
    fn a_histogram_reaches_over_all_of_the_time_that_is_asked_about() {
        let times = counted([NOW + 3_600], 24);
        let histogram = times.histogram(Some(at(NOW)), Some(at(NOW + DAY)));
        assert_eq!((histogram.step.as_str(), histogram.counts.len()), ("1h", 24));
        assert_eq!((histogram.counts[1], histogram.counts.iter().sum::<u64>()), (1, 1));
        let none = Times::new(24, Step::NARROWEST);
        assert_eq!(none.histogram(Some(at(NOW)), Some(at(NOW + DAY))).counts, [0; 24]);
        assert_eq!(none.histogram(None, None).start, None);
        assert_eq!(none.histogram(Some(at(NOW)), None).counts, [0]);
        assert_eq!(none.histogram(Some(at(NOW)), Some(at(NOW))).counts, [0_u64; 0]);
    }

    /// A sender whose clock is wrong, or who wants nobody to see anything.
    #[test]
    fn a_few_records_that_are_far_away_are_told_beside_the_histogram() {
        let minute = || (0..1_000).map(|nth| NOW + nth % 60);
        let hostile = [-62_167_219_200, 0, NOW + 9_000 * DAY];
        let histogram = counted(minute().chain(hostile), 60).histogram(None, None);
        assert_eq!((histogram.step.as_str(), histogram.counts.len()), ("1s", 60));
        assert_eq!((histogram.earlier, histogram.later), (2, 1));
        assert_eq!(histogram.counts.iter().sum::<u64>(), 1_000);
        // Those who ask for a time get it.
        let all = counted(minute().chain(hostile), 60).histogram(Some(at(0)), None);
        assert_eq!((all.step.as_str(), all.earlier, all.later), ("1year", 1, 1));
        // What is not far away, or not few, belongs to it.
        let near = counted(minute().chain([NOW + 300]), 60).histogram(None, None);
        assert_eq!((near.later, near.counts.iter().sum::<u64>()), (0, 1_001));
        let many = counted(minute().chain((0..9).map(|nth| nth * DAY)), 60).histogram(None, None);
        assert_eq!((many.earlier, many.counts.iter().sum::<u64>()), (0, 1_009));
    }

    #[test]
    fn times_all_over_the_calendar_take_no_more_memory_than_there_is_room_for() {
        let mut times = Times::new(10, Step::NARROWEST);
        for nth in 0..100_000_i64 {
            times.add(at((nth * 7_919_333_777) % 253_402_300_799).to_string().as_bytes());
            assert!(times.counts.len() <= times.room());
        }
        let histogram = times.histogram(None, None);
        assert!(histogram.counts.len() <= 10, "{histogram:?}");
        assert_eq!(histogram.counts.iter().sum::<u64>(), 100_000);
    }

    proptest! {
        /// Whatever is counted where, and put together in which order.
        #[test]
        fn parts_that_were_counted_apart_are_the_same_together(
            parts in prop::collection::vec(
                prop::collection::vec(prop_oneof![0..100_i64, 0..DAY, 0..4_000 * DAY], 0..60), 0..8),
            most in 1_usize..70,
        ) {
            let all = counted(parts.iter().flatten().map(|at| NOW + at), most);
            let mut merged = Times::new(most, Step::NARROWEST);
            for part in parts.iter().rev() {
                merged.merge(counted(part.iter().map(|at| NOW + at), most));
            }
            prop_assert_eq!(&merged, &all);
            let histogram = merged.histogram(None, None);
            prop_assert_eq!(&histogram, &all.histogram(None, None));
            prop_assert!(histogram.counts.len() <= most);
            let counted = histogram.counts.iter().sum::<u64>() + histogram.earlier + histogram.later;
            prop_assert_eq!(counted, parts.iter().flatten().count() as u64);
            let starts: Vec<i64> = histogram.starts().map(Timestamp::unix_seconds).collect();
            for (nth, begin) in starts.iter().enumerate() {
                let end = histogram.step.next(*begin);
                let within = parts.iter().flatten().filter(|at| (*begin..end).contains(&(NOW + **at)));
                prop_assert_eq!(within.count() as u64, histogram.counts[nth]);
            }
        }
    }
}
