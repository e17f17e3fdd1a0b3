//! How wide a histogram's buckets are: widths that people think in, in UTC.

use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveTime};

use crate::clock::Timestamp;

/// The width of a histogram's buckets. Buckets begin where clocks and calendars do, in UTC:
/// at full minutes, hours and days, weeks on Mondays, months on their first day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Step(u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Seconds(i64),
    /// Seven days from a Monday on.
    Week,
    Months(u32),
    /// All that RFC 3339 can express.
    All,
}

const DAY: i64 = 86_400;
const WEEK: i64 = 7 * DAY;
/// 1970-01-05 was a Monday.
const MONDAY: i64 = 4 * DAY;

/// From narrow to wide. Each but the week divides all that follow it.
const STEPS: [(&str, Width); 21] = [
    ("1s", Width::Seconds(1)),
    ("5s", Width::Seconds(5)),
    ("10s", Width::Seconds(10)),
    ("30s", Width::Seconds(30)),
    ("1m", Width::Seconds(60)),
    ("5m", Width::Seconds(300)),
    ("10m", Width::Seconds(600)),
    ("30m", Width::Seconds(1_800)),
    ("1h", Width::Seconds(3_600)),
    ("3h", Width::Seconds(3 * 3_600)),
    ("6h", Width::Seconds(6 * 3_600)),
    ("12h", Width::Seconds(12 * 3_600)),
    ("1d", Width::Seconds(DAY)),
    ("7d", Width::Week),
    ("1month", Width::Months(1)),
    ("3months", Width::Months(3)),
    ("1year", Width::Months(12)),
    ("10years", Width::Months(120)),
    ("100years", Width::Months(1_200)),
    ("1000years", Width::Months(12_000)),
    ("all", Width::All),
];

impl Step {
    /// One second.
    pub(super) const NARROWEST: Self = Self(0);

    /// All of them, from narrow to wide.
    pub(super) fn all() -> impl DoubleEndedIterator<Item = Self> {
        (0..STEPS.len() as u8).map(Self)
    }

    fn width(self) -> Width {
        STEPS[usize::from(self.0)].1
    }

    /// `1s`, `5m`, `1h`, `7d`, `1month`, …, or `all` where nothing narrower will do.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        STEPS[usize::from(self.0)].0
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::all().find(|step| step.as_str() == name)
    }

    /// Its length, unless that depends on the month.
    #[must_use]
    pub fn seconds(self) -> Option<u64> {
        match self.width() {
            Width::Seconds(seconds) => Some(seconds as u64),
            Width::Week => Some(WEEK as u64),
            Width::Months(_) | Width::All => None,
        }
    }

    /// The widest of which all buckets of this one and of wider ones are made.
    pub(super) fn part(self) -> Self {
        match self.width() {
            // Months do not begin on Mondays.
            Width::Week => Self(self.0 - 1),
            _ => self,
        }
    }

    /// The next wider one that this one's buckets make up.
    pub(super) fn wider(self) -> Option<Self> {
        Self::all().find(|step| *step > self && step.part() == *step)
    }

    /// The beginning of the bucket that a time, in seconds since 1970, is in.
    pub(super) fn floor(self, seconds: i64) -> i64 {
        match self.width() {
            Width::Seconds(width) => seconds.div_euclid(width) * width,
            Width::Week => (seconds - MONDAY).div_euclid(WEEK) * WEEK + MONDAY,
            Width::Months(months) => begin_of_month(month_of(seconds) / months * months),
            Width::All => begin_of_month(0),
        }
    }

    /// Where the bucket after the one that begins there does.
    pub(super) fn next(self, begin: i64) -> i64 {
        match self.width() {
            Width::Seconds(width) => begin + width,
            Width::Week => begin + WEEK,
            Width::Months(months) => begin_of_month(month_of(begin) + months),
            Width::All => begin_of_month(10_000 * 12),
        }
    }

    /// How many buckets there are from the one with the first time to the one with the last.
    fn buckets(self, first: i64, last: i64) -> u64 {
        let (first, last) = (self.floor(first), self.floor(last));
        let between = match self.width() {
            Width::Seconds(width) => (last - first) / width,
            Width::Week => (last - first) / WEEK,
            Width::Months(months) => {
                (i64::from(month_of(last)) - i64::from(month_of(first))) / i64::from(months)
            }
            Width::All => 0,
        };
        between.unsigned_abs() + 1
    }

    /// The narrowest that needs at most so many buckets for these times, and is made of
    /// buckets of `least`.
    pub(super) fn fitting((first, last): (i64, i64), most: usize, least: Self) -> Self {
        let fits = |step: &Self| step.part() >= least && step.buckets(first, last) <= most as u64;
        Self::all().find(fits).unwrap_or(Self(STEPS.len() as u8 - 1))
    }
}

/// Months since the year 0.
fn month_of(seconds: i64) -> u32 {
    let date = DateTime::from_timestamp(seconds, 0).unwrap_or_default().date_naive();
    date.year().max(0) as u32 * 12 + date.month0()
}

fn begin_of_month(month: u32) -> i64 {
    let zero = NaiveDate::from_ymd_opt(0, 1, 1).unwrap_or_default();
    let date = zero.checked_add_months(Months::new(month)).unwrap_or_default();
    date.and_time(NaiveTime::MIN).and_utc().timestamp()
}

/// A time in seconds, as it is shown; one past the last that can be is the last.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds.saturating_mul(1_000_000))
}

/// Reads the seconds of stored times; many follow on the same day.
#[derive(Debug, Default)]
pub(super) struct Dates {
    day: [u8; 10],
    begin: Option<i64>,
}

impl Dates {
    /// The whole seconds since 1970 of a time as it is stored; `None` for one that has the
    /// form and is none, which no writer of ours has written.
    pub(super) fn seconds(&mut self, time: &[u8]) -> Option<i64> {
        let (day, rest) = time.split_first_chunk::<10>()?;
        if *day != self.day || self.begin.is_none() {
            self.day = *day;
            self.begin = std::str::from_utf8(day).ok().and_then(|day| {
                let date: NaiveDate = day.parse().ok()?;
                Some(date.and_time(NaiveTime::MIN).and_utc().timestamp())
            });
        }
        let two = |at: usize, most: i64| {
            let digits = rest.get(at..at + 2)?;
            let number = digits.iter().try_fold(0, |number, digit| {
                digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0'))
            })?;
            (number <= most).then_some(number)
        };
        Some(self.begin? + two(1, 23)? * 3_600 + two(4, 59)? * 60 + two(7, 59)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(time: &str) -> i64 {
        time.parse::<Timestamp>().expect("a time").unix_seconds()
    }

    #[test]
    fn buckets_begin_where_clocks_and_calendars_do() {
        let time = seconds("2026-02-04T21:09:47Z");
        for (step, begin) in [
            ("1s", "2026-02-04T21:09:47Z"),
            ("30s", "2026-02-04T21:09:30Z"),
            ("5m", "2026-02-04T21:05:00Z"),
            ("6h", "2026-02-04T18:00:00Z"),
            ("1d", "2026-02-04T00:00:00Z"),
            ("7d", "2026-02-02T00:00:00Z"),
            ("1month", "2026-02-01T00:00:00Z"),
            ("3months", "2026-01-01T00:00:00Z"),
            ("10years", "2020-01-01T00:00:00Z"),
            ("1000years", "2000-01-01T00:00:00Z"),
            ("all", "0000-01-01T00:00:00Z"),
        ] {
            let step = Step::named(step).expect("a step");
            assert_eq!(step.floor(time), seconds(begin), "{step:?}");
        }
        // Before 1970 as well.
        let week = Step::named("7d").expect("a step");
        assert_eq!(week.floor(seconds("1969-12-28T23:59:59Z")), seconds("1969-12-22T00:00:00Z"));
    }

    #[test]
    fn the_narrowest_step_is_chosen_that_needs_few_enough_buckets() {
        for (first, last, most, step) in [
            ("2026-02-04T21:00:00Z", "2026-02-04T21:00:00Z", 1, "1s"),
            ("2026-02-04T21:00:00Z", "2026-02-04T21:00:59Z", 60, "1s"),
            ("2026-02-04T21:00:00Z", "2026-02-04T21:01:00Z", 60, "5s"),
            ("2026-02-04T00:00:00Z", "2026-02-04T23:59:59Z", 48, "30m"),
            ("2026-01-01T00:00:00Z", "2026-12-31T00:00:00Z", 60, "7d"),
            ("2026-01-01T00:00:00Z", "2026-12-31T00:00:00Z", 12, "1month"),
            ("0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z", 60, "1000years"),
            ("0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z", 1, "all"),
            ("1999-12-31T23:59:59Z", "2000-01-01T00:00:00Z", 1, "7d"),
            ("1999-12-01T00:00:00Z", "2000-01-31T00:00:00Z", 1, "all"),
        ] {
            let found = Step::fitting((seconds(first), seconds(last)), most, Step::NARROWEST);
            assert_eq!(found.as_str(), step, "{first} {last} {most}");
        }
    }

    #[test]
    fn a_time_with_the_form_of_one_that_cannot_be_has_no_seconds() {
        let mut dates = Dates::default();
        let of = |dates: &mut Dates, time: &str| dates.seconds(time.as_bytes());
        let good = "2026-02-04T21:09:47.123456Z";
        assert_eq!(of(&mut dates, good), Some(seconds(good)));
        for bad in [
            "2026-02-30T21:09:47.123456Z",
            "2026-00-04T21:09:47.123456Z",
            "2026-02-04T24:09:47.123456Z",
            "2026-02-04T21:60:47.123456Z",
            "2026-02-04T21:09:60.123456Z",
            "2026-02",
        ] {
            assert_eq!(of(&mut dates, bad), None, "{bad}");
        }
        assert_eq!(of(&mut dates, good), Some(seconds(good)), "the next one is read again");
    }

    proptest! {
        #[test]
        fn every_time_is_in_one_bucket_which_is_made_of_narrower_ones(
            seconds in -62_167_219_200_i64..=253_402_300_799, nth in 0..STEPS.len() as u8,
        ) {
            let step = Step(nth);
            let begin = step.floor(seconds);
            prop_assert!(begin <= seconds && seconds < step.next(begin), "{step:?}");
            prop_assert_eq!(step.floor(begin), begin);
            prop_assert_eq!(step.floor(step.part().floor(seconds)), begin);
            if let Some(wider) = step.part().wider() {
                prop_assert_eq!(wider.floor(step.part().floor(seconds)), wider.floor(seconds));
            }
            let text = at(seconds).to_string();
            prop_assert_eq!(Dates::default().seconds(text.as_bytes()), Some(seconds));
        }
    }
}
