//! Times for messages: short, rounded down to one unit.

use crate::clock::Timestamp;

/// `340 ms`, `7 s`, `3 min`, `2 h`, `5 d`.
pub(super) fn millis(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..120_000 => format!("{} s", millis / 1_000),
        120_000..7_200_000 => format!("{} min", millis / 60_000),
        7_200_000..172_800_000 => format!("{} h", millis / 3_600_000),
        _ => format!("{} d", millis / 86_400_000),
    }
}

/// Milliseconds from one wall-clock time to a later one; 0 when the clock was
/// set back in between.
pub(super) fn between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.micros().saturating_sub(from.micros())).unwrap_or(0) / 1_000
}

/// `1 event`, `2 events`.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_one_unit_that_fits() {
        for (given, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (7_400, "7 s"),
            (119_999, "119 s"),
            (120_000, "2 min"),
            (7_200_000, "2 h"),
            (200_000_000, "2 d"),
        ] {
            assert_eq!(millis(given), text);
        }
    }

    #[test]
    fn a_clock_set_back_gives_no_time_at_all() {
        let at = Timestamp::from_micros;
        assert_eq!(between(at(5_000), at(9_000)), 4);
        assert_eq!(between(at(9_000), at(5_000)), 0);
    }
}
