//! Times as foreign objects write them, as RFC 3339.

use crate::clock::Timestamp;

/// How a mapping's `timestamp` is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeFormat {
    /// `2026-02-04T21:09:40.123Z`.
    #[default]
    Rfc3339,
    /// Seconds since 1970, with a fraction perhaps.
    Unix,
    /// Milliseconds since 1970.
    UnixMs,
    /// Microseconds since 1970.
    UnixUs,
    /// Nanoseconds since 1970.
    UnixNs,
    /// What the Linux audit system calls an event: `1615114232.375:15558`.
    AuditId,
}

impl TimeFormat {
    /// The names of all, in the settings.
    pub const NAMES: &'static [&'static str] =
        &["rfc3339", "unix", "unix_ms", "unix_us", "unix_ns", "audit_id"];
    const ALL: [Self; 6] =
        [Self::Rfc3339, Self::Unix, Self::UnixMs, Self::UnixUs, Self::UnixNs, Self::AuditId];

    /// That of a name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().position(|known| *known == name).map(|at| Self::ALL[at])
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// The time in RFC 3339, with its zone if it had one and all of its digits; or why it
    /// is none.
    pub(super) fn read(self, text: &str) -> Result<String, String> {
        let digits_below_second = match self {
            Self::Rfc3339 => {
                let read: Result<Timestamp, _> = text.parse();
                return read.map(|_| text.to_owned()).map_err(|error| error.to_string());
            }
            Self::Unix | Self::AuditId => 0,
            Self::UnixMs => 3,
            Self::UnixUs => 6,
            Self::UnixNs => 9,
        };
        let number = match self {
            Self::AuditId => text.split_once(':').map_or(text, |(time, _)| time),
            _ => text,
        };
        nanoseconds(number, digits_below_second).and_then(written).ok_or_else(|| {
            format!("{} is not a time as {} writes it", super::path::shown(text), self.name())
        })
    }
}

/// A decimal number of a unit that is so many digits below a second.
fn nanoseconds(text: &str, digits_below_second: usize) -> Option<i128> {
    let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 20 || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let below = 9 - digits_below_second;
    let fraction: String = fraction.chars().chain(std::iter::repeat('0')).take(below).collect();
    let sum: i128 = format!("{whole}{fraction}").parse().ok()?;
    // Where something is not set, it is 0.
    (sum != 0).then_some(if is_negative { -sum } else { sum })
}

fn written(nanoseconds: i128) -> Option<String> {
    let micros = i64::try_from(nanoseconds.div_euclid(1_000)).ok()?;
    let at = Timestamp::from_micros(micros);
    if at.micros() != micros {
        return None;
    }
    let mut text = at.to_string();
    let rest = nanoseconds.rem_euclid(1_000);
    if rest > 0 {
        text.insert_str(text.len() - 1, &format!("{rest:03}"));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_their_zone_and_every_digit() {
        use TimeFormat::{AuditId, Rfc3339, Unix, UnixMs, UnixNs, UnixUs};
        for (format, text, expected) in [
            (Rfc3339, "2026-02-04T22:09:40.5+01:00", "2026-02-04T22:09:40.5+01:00"),
            (Unix, "1615114232", "2021-03-07T10:50:32.000000Z"),
            (Unix, "1615114232.375", "2021-03-07T10:50:32.375000Z"),
            (UnixMs, "1606929874512", "2020-12-02T17:24:34.512000Z"),
            (UnixUs, "1615114232375001", "2021-03-07T10:50:32.375001Z"),
            (UnixNs, "1544712660300000009", "2018-12-13T14:51:00.300000009Z"),
            (AuditId, "1615114232.375:15558", "2021-03-07T10:50:32.375000Z"),
            (Unix, "-1.5", "1969-12-31T23:59:58.500000Z"),
        ] {
            assert_eq!(format.read(text).as_deref(), Ok(expected), "{text}");
        }
        for (format, text) in [
            (Rfc3339, "yesterday"),
            (Unix, "1e9"),
            (Unix, ""),
            (Unix, "0"),
            (UnixNs, "99999999999999999999999999"),
            (UnixMs, "99999999999999999999"),
            (AuditId, ":1"),
        ] {
            assert!(format.read(text).is_err(), "{text}");
        }
    }
}
