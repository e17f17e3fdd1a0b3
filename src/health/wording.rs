//! Numbers as people say them.

use std::time::Duration;

use crate::clock::Timestamp;
pub(crate) use crate::units::{count, records, were};

/// `7 s`, `12 min`, `5 h`, `3 days`: rounded down, in a unit that leaves at
/// least two of it.
pub(crate) fn age(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// From `then` to `now`; nothing when the clock was set back since.
pub(crate) fn since(then: Timestamp, now: Timestamp) -> Duration {
    let micros = now.micros().saturating_sub(then.micros());
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// Of 100, with one decimal; `None` of nothing.
pub(crate) fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 / whole as f64 * 1_000.0).round() / 10.0)
}

/// Seconds with three decimals, for metrics.
pub(crate) fn seconds(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_said_in_a_unit_that_tells_something() {
        for (seconds, text) in [
            (0, "0 s"),
            (7, "7 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7_199, "119 min"),
            (7_200, "2 h"),
            (172_799, "47 h"),
            (172_800, "2 days"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_negative_age() {
        let at = |micros| Timestamp::from_micros(micros);
        assert_eq!(since(at(1_000_000), at(3_500_000)), Duration::from_millis(2_500));
        assert_eq!(since(at(3_500_000), at(1_000_000)), Duration::ZERO);
    }

    #[test]
    fn one_is_not_many_and_nothing_has_no_percentage() {
        assert_eq!((count(1, "event"), count(0, "event")), ("1 event".into(), "0 events".into()));
        assert_eq!((percent(1, 3), percent(0, 0)), (Some(33.3), None));
        assert_eq!((were(1), were(0)), ("was", "were"));
        assert_eq!((records(7, 8), records(7, 10)), ("record 7".into(), "records 7 to 9".into()));
    }
}
