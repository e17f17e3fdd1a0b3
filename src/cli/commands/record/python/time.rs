//! Times as Python programs write them: `isoformat()` with and without a zone,
//! `str(datetime)`, logging's comma, seconds since 1970.

use crate::clock::Timestamp;
use crate::zone::{LocalTimeError, Zone, local_time, offset_seconds};

/// A text's time, and whether its zone had to be assumed; nothing for what is no time.
///
/// # Errors
/// A time that clocks in the assumed zone never showed.
pub(super) fn parse(
    text: &str,
    assumed: &Zone,
) -> Result<Option<(Timestamp, bool)>, LocalTimeError> {
    let Some((naive, zone)) = split(text.trim()) else { return Ok(None) };
    let Some(naive) = local_time(&naive.replace(',', ".")) else { return Ok(None) };
    let at = match zone {
        Some(seconds) => within(naive.and_utc().timestamp_micros() - seconds * 1_000_000),
        None => match assumed.instant(naive) {
            Ok(at) => Some(at),
            Err(skipped @ LocalTimeError::Skipped { .. }) => return Err(skipped),
            Err(_) => None,
        },
    };
    Ok(at.map(|at| (at, zone.is_none())))
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
    Some((text[..at].trim_end(), Some(offset_seconds(&text[at..])?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsio::OsFs;
    use crate::zone::Machine;

    #[test]
    fn python_s_forms_are_read() {
        let utc = Zone::utc();
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
            assert_eq!(parse(text, &utc), Ok(Some((at, assumed))), "{text}");
        }
        let east = Machine::default().zone(&OsFs, "+02:00").expect("a zone");
        let east = parse("2024-01-05T10:00:00", &east).expect("not skipped").expect("a time");
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
            assert_eq!(parse(text, &Zone::utc()), Ok(None), "{text}");
        }
        assert_eq!(
            of_number("1704448800.25").map(|at| at.to_string()).as_deref(),
            Some("2024-01-05T10:00:00.250000Z")
        );
        assert_eq!(of_number("1704448800000"), None, "no guess about milliseconds");
    }
}
