//! Times as Python programs write them: `isoformat()` with and without a zone,
//! `str(datetime)`, logging's comma, seconds since 1970.

use std::str::FromStr;

use chrono::{Duration, Local, LocalResult, NaiveDateTime, TimeZone};

use crate::clock::Timestamp;

/// What a time without a zone is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zone {
    /// Seconds east of UTC.
    Offset(i64),
    /// This machine's, with its summer times: `TZ` chooses another one.
    Local,
}

impl FromStr for Zone {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "UTC" | "utc" | "Z" => return Ok(Self::Offset(0)),
            "local" => return Ok(Self::Local),
            _ => {}
        }
        let offset = text.starts_with(['+', '-']).then(|| offset(text)).flatten();
        offset.map(Self::Offset).ok_or_else(|| {
            "expected UTC, local, or an offset such as +02:00; for a named zone use local and set TZ, \
             such as TZ=Europe/Berlin"
                .to_owned()
        })
    }
}

/// A text's time, and whether its zone had to be assumed.
pub(super) fn parse(text: &str, assumed: Zone) -> Option<(Timestamp, bool)> {
    let text = text.trim();
    let (naive, zone) = split(text)?;
    let naive = naive.replace(',', ".").replace(' ', "T");
    let naive = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(&naive, format).ok())?;
    let micros = match zone.map_or(assumed, Zone::Offset) {
        Zone::Offset(seconds) => naive.and_utc().timestamp_micros() - seconds * 1_000_000,
        Zone::Local => local(naive)?,
    };
    Some((within(micros)?, zone.is_none()))
}

/// Seconds since 1970, up to the year 2100: what `time.time()` gives.
pub(super) fn of_number(text: &str) -> Option<Timestamp> {
    let seconds: f64 = text.parse().ok()?;
    let plausible = (0.0..4_102_444_800.0).contains(&seconds);
    plausible.then(|| within((seconds * 1e6).round() as i64)).flatten()
}

fn within(micros: i64) -> Option<Timestamp> {
    let at = Timestamp::from_micros(micros);
    (at.micros() == micros).then_some(at)
}

/// The time without its zone, and the zone in seconds east of UTC.
fn split(text: &str) -> Option<(&str, Option<i64>)> {
    let utc = ["Z", "z", " UTC", "UTC"].iter().find_map(|mark| text.strip_suffix(mark));
    if let Some(naive) = utc {
        return Some((naive, Some(0)));
    }
    // Behind the date and the hour: a date has hyphens, too.
    let sign = text.get(13..)?.find(['+', '-']);
    let Some(at) = sign.map(|at| at + 13) else { return Some((text, None)) };
    Some((text[..at].trim_end(), Some(offset(&text[at..])?)))
}

/// `+02:00`, `-0530`, `+01`, `+05:53:28`, with fractions of a second.
fn offset(text: &str) -> Option<i64> {
    let (sign, rest) = text.split_at_checked(1)?;
    let whole = rest.split('.').next()?;
    let digits: String = whole.chars().filter(|c| *c != ':').collect();
    let fits = matches!(digits.len(), 2 | 4 | 6) && digits.bytes().all(|b| b.is_ascii_digit());
    let part = |at: usize| digits.get(at..at + 2).map_or(Some(0), |two| two.parse::<i64>().ok());
    let (hours, minutes, seconds) = (part(0)?, part(2)?, part(4)?);
    let within = fits && hours < 24 && minutes < 60 && seconds < 60;
    let sign = if sign == "-" { -1 } else { 1 };
    within.then_some(sign * (hours * 3600 + minutes * 60 + seconds))
}

/// In the machine's zone: the first of two that a clock set back shows twice; one that
/// a clock set forward never shows, as if it had not been.
fn local(naive: NaiveDateTime) -> Option<i64> {
    match Local.from_local_datetime(&naive) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => Some(at.timestamp_micros()),
        LocalResult::None => {
            let hours = Duration::hours(3);
            let before = Local.from_local_datetime(&(naive - hours)).earliest()?;
            Some((before + hours).timestamp_micros())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_s_forms_are_read() {
        let utc = Zone::Offset(0);
        for (text, expected, assumed) in [
            ("2024-01-05T10:00:00.123456", "2024-01-05T10:00:00.123456Z", true),
            ("2024-01-05T10:00:00", "2024-01-05T10:00:00Z", true),
            ("2024-01-05 10:00:00", "2024-01-05T10:00:00Z", true),
            ("2024-01-05 10:00:00,123", "2024-01-05T10:00:00.123Z", true),
            ("2024-01-05T10:00", "2024-01-05T10:00:00Z", true),
            ("2024-01-05T10:00:00Z", "2024-01-05T10:00:00Z", false),
            ("2024-01-05T10:00:00.5+00:00", "2024-01-05T10:00:00.5Z", false),
            ("2024-01-05 10:00:00.000001-05:30", "2024-01-05T15:30:00.000001Z", false),
            ("2024-01-05T10:00:00+0200", "2024-01-05T08:00:00Z", false),
            ("2024-01-05 10:00:00 UTC", "2024-01-05T10:00:00Z", false),
            ("1883-11-18T12:03:58-04:56:02", "1883-11-18T17:00:00Z", false),
        ] {
            let at = expected.parse::<Timestamp>().expect(expected);
            assert_eq!(parse(text, utc), Some((at, assumed)), "{text}");
        }
        let east = parse("2024-01-05T10:00:00", Zone::Offset(7200)).expect("a time");
        assert_eq!(east.0.to_string(), "2024-01-05T08:00:00.000000Z");
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "yesterday",
            "2024-01-05",
            "2024-13-05T10:00:00",
            "10:00:00",
            "2024-01-05T10:00:00+99:00",
            "2024-01-05T10:00:00ü",
            "0000-01-01T00:00:00+23:00",
        ] {
            assert_eq!(parse(text, Zone::Offset(0)), None, "{text}");
        }
        assert_eq!(
            of_number("1704448800.25").map(|at| at.to_string()).as_deref(),
            Some("2024-01-05T10:00:00.250000Z")
        );
        assert_eq!(of_number("1704448800000"), None, "no guess about milliseconds");
    }

    #[test]
    fn zones_are_read() {
        assert_eq!("UTC".parse(), Ok(Zone::Offset(0)));
        assert_eq!("-05:30".parse(), Ok(Zone::Offset(-19_800)));
        assert_eq!("local".parse(), Ok(Zone::Local));
        assert!("Europe/Berlin".parse::<Zone>().is_err_and(|text| text.contains("TZ=")));
        assert!("+2".parse::<Zone>().is_err());
    }
}
