//! Sizes and durations as people write them: `50KiB`, `1h30m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes, written as `50KiB`, `16 MiB`, `50KB` (decimal) or `1024`.
///
/// Units are case-insensitive: `B`, `KiB` to `TiB` and `K` to `T` count in
/// 1024s, `KB` to `TB` in 1000s; no unit means bytes. Shown in the largest
/// binary unit that is exact, so that it reads back as the same number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// Why a text is no size or no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum UnitError {
    /// The text is not a size.
    #[error("\"{text}\" is not a size such as 50KiB: {reason}")]
    Size {
        /// What was given, cut to 64 characters.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The text is not a duration.
    #[error("\"{text}\" is not a duration such as 5s or 1h30m: {reason}")]
    Duration {
        /// What was given, cut to 64 characters.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl UnitError {
    /// What is wrong, without the text and the example.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Size { reason, .. } | Self::Duration { reason, .. } => reason,
        }
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}

const BINARY_UNITS: [(&str, u64); 4] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse =
            |reason: &str| UnitError::Size { text: shortened(text), reason: reason.to_owned() };
        let trimmed = text.trim();
        let end = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
        let (digits, unit) = trimmed.split_at(end);
        if digits.is_empty() {
            return Err(refuse("it must begin with a whole number"));
        }
        let unit_bytes: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "t" | "tib" => 1 << 40,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            other if other.starts_with('.') => return Err(refuse("the number must be whole")),
            _ => {
                return Err(refuse("the unit is not one of B, KiB, MiB, GiB, TiB, KB, MB, GB, TB"));
            }
        };
        digits
            .parse::<u64>()
            .ok()
            .and_then(|count| count.checked_mul(unit_bytes))
            .map(Self)
            .ok_or_else(|| refuse("it is more than 64 bits hold"))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact =
            BINARY_UNITS.iter().find(|(_, unit)| self.0 > 0 && self.0.is_multiple_of(*unit));
        let (name, unit) = exact.copied().unwrap_or(("B", 1));
        f.pad(&format!("{}{name}", self.0 / unit))
    }
}

impl serde::Serialize for ByteSize {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for ByteSize {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ByteSizeVisitor)
    }
}

struct ByteSizeVisitor;

impl serde::de::Visitor<'_> for ByteSizeVisitor {
    type Value = ByteSize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as \"50KiB\", or a number of bytes")
    }

    fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
        Ok(ByteSize(bytes))
    }

    fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
        u64::try_from(bytes)
            .map(ByteSize)
            .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(bytes), &self))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ByteSize, E> {
        text.parse().map_err(E::custom)
    }
}

/// A size for people, with one decimal: `1.4 GiB`, `512 B`. Rounded; for the
/// exact text use [`ByteSize`].
#[must_use]
pub fn human_bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut name = "B";
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        // 1023.95 would be shown as 1024.0
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        name = next;
    }
    if name == "B" { format!("{bytes} B") } else { format!("{value:.1} {name}") }
}

const NANOS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Reads `5s`, `250ms`, `10m`, `1h30m` or `90d`: whole numbers, each with its
/// unit (`d`, `h`, `m` minutes, `s`, `ms`, `us`, `ns`), largest first.
///
/// # Errors
/// When a number has no unit, a unit is unknown, repeated or out of order, or
/// the sum is more than 64 bits of nanoseconds hold (584 years).
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let refuse = |reason: String| UnitError::Duration { text: shortened(text), reason };
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(refuse("it is empty".to_owned()));
    }
    let mut total: u64 = 0;
    let mut smallest = u64::MAX;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (digits, tail) = rest.split_at(end);
        let tail = tail.trim_start();
        let unit_end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, after) = tail.split_at(unit_end);
        rest = after.trim_start();
        if digits.is_empty() {
            return Err(refuse("a unit must follow a whole number".to_owned()));
        }
        if unit.is_empty() && rest.is_empty() {
            return Err(refuse(format!("the number has no unit; for seconds write {digits}s")));
        }
        let Some((_, nanos)) = NANOS.iter().find(|(name, _)| *name == unit) else {
            return Err(refuse(format!(
                "\"{}\" is not one of d, h, m, s, ms, us, ns",
                shortened(unit)
            )));
        };
        if *nanos >= smallest {
            return Err(refuse("units must be named once each, the largest first".to_owned()));
        }
        smallest = *nanos;
        total = digits
            .parse::<u64>()
            .ok()
            .and_then(|count| count.checked_mul(*nanos))
            .and_then(|part| part.checked_add(total))
            .ok_or_else(|| refuse("it is longer than 584 years".to_owned()))?;
    }
    Ok(Duration::from_nanos(total))
}

/// The text [`parse_duration`] reads back as the same duration: `1h30m`,
/// `250ms`, `0s`. Days are used from two days on: `24h`, but `90d`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let mut left = duration.as_nanos();
    let mut text = String::new();
    for (name, nanos) in NANOS {
        let nanos = u128::from(nanos);
        if name == "d" && left < 2 * nanos {
            continue;
        }
        if left >= nanos {
            text.push_str(&format!("{}{name}", left / nanos));
            left %= nanos;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// `1 event`, `2 events`.
pub(crate) fn count(number: u64, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

/// `is` of one, `are` of several.
#[cfg(feature = "application")]
pub(crate) fn are(number: u64) -> &'static str {
    if number == 1 { "is" } else { "are" }
}

/// `was` of one, `were` of several.
pub(crate) fn were(number: u64) -> &'static str {
    if number == 1 { "was" } else { "were" }
}

/// `record 7`, `records 7 to 9`: from, and up to but without.
pub(crate) fn records(begin: u64, end: u64) -> String {
    match end.saturating_sub(begin) {
        0 | 1 => format!("record {begin}"),
        _ => format!("records {begin} to {}", end - 1),
    }
}

/// Bytes in hexadecimal, in lower case.
#[must_use]
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| hex_digits(*byte)).map(char::from).collect()
}

/// The two digits of one byte.
pub(crate) fn hex_digits(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_binary_and_decimal_units_whatever_the_case() {
        for (text, bytes) in [
            ("1024", 1024),
            ("0", 0),
            ("7B", 7),
            ("50KiB", 51_200),
            ("50kib", 51_200),
            ("50K", 51_200),
            ("50KB", 50_000),
            (" 16 MiB ", 16 << 20),
            ("1gib", 1 << 30),
            ("2TB", 2_000_000_000_000),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn a_size_shows_its_largest_exact_unit_and_reads_back() {
        for (bytes, text) in
            [(0, "0B"), (1000, "1000B"), (51_200, "50KiB"), (1 << 40, "1TiB"), (3 << 29, "1536MiB")]
        {
            assert_eq!(ByteSize(bytes).to_string(), text);
            assert_eq!(text.parse(), Ok(ByteSize(bytes)));
        }
        let most = ByteSize(u64::MAX);
        assert_eq!(most.to_string().parse(), Ok(most));
    }

    #[test]
    fn a_wrong_size_is_refused_with_the_text_and_an_example() {
        for text in ["", "KiB", "-1", "1.5GiB", "5 apples", "18446744073709551616", "99999999TiB"] {
            let error = text.parse::<ByteSize>().expect_err(text).to_string();
            assert!(error.contains(&format!("\"{text}\"")) && error.contains("50KiB"), "{error}");
        }
    }

    #[test]
    fn serde_takes_a_text_or_a_number_of_bytes() {
        let size = ByteSize(51_200);
        assert_eq!(serde_json::to_string(&size).unwrap(), "\"50KiB\"");
        assert_eq!(serde_json::from_str::<ByteSize>("\"50KiB\"").unwrap(), size);
        assert_eq!(serde_json::from_str::<ByteSize>("51200").unwrap(), size);
        assert!(serde_json::from_str::<ByteSize>("-1").is_err());
    }

    #[test]
    fn people_get_one_decimal() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_503_238_553, "1.4 GiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(human_bytes(bytes), text);
        }
    }

    #[test]
    fn every_byte_has_two_hexadecimal_digits() {
        let bytes: Vec<u8> = (0..=255).collect();
        let each: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex(&bytes), each);
    }

    #[test]
    fn durations_read_and_show_the_same_text() {
        for (text, ms) in [
            ("0s", 0),
            ("5s", 5_000),
            ("250ms", 250),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("24h", 86_400_000),
            ("90d", 7_776_000_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
            assert_eq!(format_duration(Duration::from_millis(ms)), text);
        }
        assert_eq!(parse_duration(" 1 h 30 m "), Ok(Duration::from_secs(5_400)));
        assert_eq!(format_duration(Duration::from_nanos(1_500_001)), "1ms500us1ns");
    }

    #[test]
    fn a_wrong_duration_is_refused_with_the_text_and_an_example() {
        for text in
            ["", "5", "s", "-5s", "1.5s", "5S", "5s5s", "5s1h", "5 weeks", "1h30", "9999999d"]
        {
            let error = parse_duration(text).expect_err(text).to_string();
            assert!(error.contains(&format!("\"{text}\"")) && error.contains("1h30m"), "{error}");
        }
        let bare = parse_duration("5").expect_err("no unit");
        assert!(bare.reason().contains("write 5s"), "{bare}");
    }
}
