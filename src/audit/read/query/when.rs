//! Times as people say them: `2026-02-04T21:09:40Z`, `2026-02-04`, `24h`.

use chrono::NaiveDate;

use crate::clock::Timestamp;
use crate::units::parse_duration;

/// Reads RFC 3339, a date (its beginning, in UTC), a duration before `now`, or
/// `now`. What is reckoned from `now` is rounded down to the second.
///
/// # Errors
/// What would be understood.
pub(super) fn parse(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let text = text.trim();
    let second = now.unix_seconds();
    if text == "now" {
        return Ok(Timestamp::from_micros(second * 1_000_000));
    }
    if let Ok(date) = text.parse::<NaiveDate>() {
        let days = date.signed_duration_since(NaiveDate::default()).num_days();
        return Ok(Timestamp::from_micros(days.saturating_mul(86_400_000_000)));
    }
    if let Ok(ago) = parse_duration(text) {
        let ago = i64::try_from(ago.as_secs()).unwrap_or(i64::MAX);
        return Ok(Timestamp::from_micros(second.saturating_sub(ago).saturating_mul(1_000_000)));
    }
    text.parse().map_err(|_| {
        format!(
            "\"{}\" is not a time: write 2026-02-04T21:09:40Z (RFC 3339, with its zone), a date \
             such as 2026-02-04, or how long ago, such as 24h or 7d",
            text.chars().take(64).flat_map(char::escape_debug).collect::<String>()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rfc_3339_a_date_or_how_long_ago() {
        let now: Timestamp = "2026-02-04T21:09:40.5Z".parse().expect("time");
        for (text, expected) in [
            ("2026-02-04T21:09:40Z", "2026-02-04T21:09:40Z"),
            ("2026-02-04T22:09:40+01:00", "2026-02-04T21:09:40Z"),
            ("2026-02-04", "2026-02-04T00:00:00Z"),
            ("1969-12-31", "1969-12-31T00:00:00Z"),
            ("24h", "2026-02-03T21:09:40Z"),
            ("7d", "2026-01-28T21:09:40Z"),
            ("1h30m", "2026-02-04T19:39:40Z"),
            ("now", "2026-02-04T21:09:40Z"),
        ] {
            assert_eq!(parse(text, now), Ok(expected.parse().expect("time")), "{text}");
        }
        for text in ["", "yesterday", "2026-02-04T21:09:40", "2026-02-30", "24", "-1h"] {
            let error = parse(text, now).expect_err(text);
            assert!(error.contains("RFC 3339"), "{error}");
        }
    }
}
