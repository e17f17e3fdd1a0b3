//! Time as the engine sees it: wall-clock instants with microseconds, and a
//! monotonic clock that counts through suspend, both behind a trait so that
//! tests can set them.

use std::fmt;
use std::str::FromStr;
#[cfg(any(test, feature = "testing"))]
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use chrono::{DateTime, SecondsFormat, Timelike, Utc};

/// A wall-clock instant: microseconds since 1970-01-01T00:00:00Z.
///
/// Shown and stored as RFC 3339 in UTC with exactly six decimals,
/// `2026-02-04T21:09:40.123456Z` (27 bytes for the years 0000 to 9999).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// Microseconds of 0000-01-01T00:00:00Z and 9999-12-31T23:59:59.999999Z: what
/// RFC 3339 can express.
const MIN_MICROS: i64 = -62_167_219_200_000_000;
const MAX_MICROS: i64 = 253_402_300_799_999_999;

/// Why a text is no timestamp.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not an RFC 3339 time such as 2026-02-04T21:09:40Z: {reason}")]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct TimestampError {
    text: String,
    reason: String,
}

impl Timestamp {
    /// From microseconds since the epoch; clamped to the years 0000 to 9999.
    #[must_use]
    pub fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(MIN_MICROS, MAX_MICROS))
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Appends the 27-byte RFC 3339 form.
    pub fn write_to(self, out: &mut Vec<u8>) {
        let seconds = self.0.div_euclid(1_000_000);
        let micros = self.0.rem_euclid(1_000_000);
        let days = seconds.div_euclid(86_400);
        let second_of_day = seconds.rem_euclid(86_400);
        let (year, month, day) = civil_from_days(days);
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        put_digits(&mut text[0..4], year);
        put_digits(&mut text[5..7], month);
        put_digits(&mut text[8..10], day);
        put_digits(&mut text[11..13], second_of_day / 3600);
        put_digits(&mut text[14..16], second_of_day / 60 % 60);
        put_digits(&mut text[17..19], second_of_day % 60);
        put_digits(&mut text[20..26], micros);
        out.extend_from_slice(&text);
    }

    /// `YYYYMMDD_HHMMSS` in UTC, for names of files set aside.
    #[must_use]
    pub fn file_stamp(self) -> String {
        let text = self.to_string();
        let digits: String = text[..19].chars().filter(char::is_ascii_digit).collect();
        format!("{}_{}", &digits[..8], &digits[8..])
    }
}

fn put_digits(slot: &mut [u8], mut value: i64) {
    for digit in slot.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Days since 1970-01-01 to (year, month, day) in the proleptic Gregorian
/// calendar (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(27);
        self.write_to(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |reason: &str| TimestampError {
            text: text.chars().take(64).collect(),
            reason: reason.to_owned(),
        };
        let parsed =
            DateTime::parse_from_rfc3339(text).map_err(|error| refuse(&error.to_string()))?;
        if is_leap_second(text) && !may_be_leap_second(&parsed) {
            return Err(refuse("a second 60 is only in the last minute of a day, UTC (23:59:60)"));
        }
        let micros = parsed.timestamp_micros();
        if !(MIN_MICROS..=MAX_MICROS).contains(&micros) {
            return Err(refuse("outside the years 0000 to 9999"));
        }
        Ok(Self(micros))
    }
}

/// Whether the seconds are written as 60; `text` has been read as RFC 3339.
fn is_leap_second(text: &str) -> bool {
    text.get(17..19) == Some("60")
}

/// Leap seconds are at the end of a day in UTC, wherever the time was written.
fn may_be_leap_second<Zone: chrono::TimeZone>(at: &DateTime<Zone>) -> bool {
    let utc = at.to_utc();
    (utc.hour(), utc.minute()) == (23, 59)
}

/// Whether a text that has been read as a time says more than that keeps: digits below a
/// microsecond that are not zero.
#[must_use]
pub fn is_finer_than_kept(text: &str) -> bool {
    let Some((_, rest)) = text.split_once('.') else { return false };
    let digits = rest.bytes().take_while(u8::is_ascii_digit);
    digits.skip(6).any(|digit| digit != b'0')
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl From<Timestamp> for DateTime<Utc> {
    fn from(value: Timestamp) -> Self {
        DateTime::from_timestamp_micros(value.0).unwrap_or_default()
    }
}

/// `2026-02-04T21:09:40Z`: whole seconds, for messages.
#[must_use]
pub fn display_seconds(at: Timestamp) -> String {
    DateTime::<Utc>::from(at).to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Where the engine takes time from.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock.
    fn now(&self) -> Timestamp;
    /// Milliseconds since boot, counting through suspend (`CLOCK_BOOTTIME`):
    /// never goes back while the machine is up, and two processes agree on it.
    fn boot_ms(&self) -> u64;
}

/// The machine's own clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // Through the C library, so that what shifts a program's clock shifts this one.
        let now = std::time::SystemTime::now();
        let micros = match now.duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |n| -n),
        };
        Timestamp::from_micros(micros)
    }

    fn boot_ms(&self) -> u64 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        (now.tv_sec as u64) * 1_000 + (now.tv_nsec as u64) / 1_000_000
    }
}

/// A wall clock that is watched: whether it goes on as the boot clock does, or was
/// set.
///
/// What is slewed, as time daemons do it, moves both clocks alike and is no change.
#[derive(Clone, Copy, Debug)]
pub struct ClockWatch {
    /// Both clocks at the last look.
    wall: Timestamp,
    boot_ms: Option<u64>,
}

/// The wall clock was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockChange {
    /// What it would have shown.
    pub from: Timestamp,
    /// What it shows.
    pub to: Timestamp,
}

impl ClockChange {
    /// By how much, in seconds rounded towards zero; negative when it was set back.
    #[must_use]
    pub fn seconds(self) -> i64 {
        (self.to.micros() - self.from.micros()) / 1_000_000
    }
}

/// A leap second, and clocks that are read one after the other, are no change.
const TOLERANCE_MICROS: i64 = 1_000_000;

impl ClockWatch {
    /// The last times that are known. `boot_ms` is `None` where they are of an
    /// earlier boot, or nobody knows: then only that the wall clock went back is seen.
    #[must_use]
    pub fn new(wall: Timestamp, boot_ms: Option<u64>) -> Self {
        Self { wall, boot_ms }
    }

    /// Whether the clock was set since the last look, given what it shows now. The
    /// boot clock is asked about once a second of wall time, so this costs nothing
    /// in between.
    pub fn look(&mut self, now: Timestamp, boot_ms: impl FnOnce() -> u64) -> Option<ClockChange> {
        let moved = now.micros() - self.wall.micros();
        if self.boot_ms.is_some() && (0..TOLERANCE_MICROS).contains(&moved) {
            return None;
        }
        let boot_now = boot_ms();
        let from = match self.boot_ms {
            Some(then) => {
                let passed = i64::try_from(boot_now.saturating_sub(then)).unwrap_or(i64::MAX);
                Timestamp::from_micros(
                    self.wall.micros().saturating_add(passed.saturating_mul(1_000)),
                )
            }
            // How long that was, nobody knows; back it does not go by itself.
            None if moved < 0 => self.wall,
            None => now,
        };
        *self = Self { wall: now, boot_ms: Some(boot_now) };
        let by = now.micros() - from.micros();
        (by.abs() > TOLERANCE_MICROS).then_some(ClockChange { from, to: now })
    }
}

#[cfg(any(test, feature = "testing"))]
/// A clock that moves only when told to.
#[derive(Debug, Default)]
pub struct ManualClock {
    micros: AtomicI64,
    boot_ms: AtomicU64,
}

#[cfg(any(test, feature = "testing"))]
impl ManualClock {
    /// Stands at `now`, and at one second since boot.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { micros: AtomicI64::new(now.micros()), boot_ms: AtomicU64::new(1_000) }
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: std::time::Duration) {
        self.micros.fetch_add(by.as_micros() as i64, Ordering::SeqCst);
        self.boot_ms.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
    }

    /// Sets the wall clock alone, as NTP or an operator would.
    pub fn set_wall(&self, now: Timestamp) {
        self.micros.store(now.micros(), Ordering::SeqCst);
    }
}

#[cfg(any(test, feature = "testing"))]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.micros.load(Ordering::SeqCst))
    }

    fn boot_ms(&self) -> u64 {
        self.boot_ms.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_prints_as_chrono_does_and_reads_back() {
        for micros in [0, 1, -1, 951_782_400_000_000, 1_770_239_380_123_456, MIN_MICROS, MAX_MICROS]
        {
            let at = Timestamp::from_micros(micros);
            let chrono = DateTime::<Utc>::from_timestamp_micros(micros)
                .expect("in range")
                .to_rfc3339_opts(SecondsFormat::Micros, true);
            assert_eq!(at.to_string(), chrono);
            assert_eq!(at.to_string().parse::<Timestamp>(), Ok(at));
        }
    }

    #[test]
    fn an_offset_is_turned_into_utc() {
        let at: Timestamp = "2026-02-04T23:09:40+02:00".parse().expect("valid");
        assert_eq!(at.to_string(), "2026-02-04T21:09:40.000000Z");
        assert_eq!(at.file_stamp(), "20260204_210940");
    }

    #[test]
    fn a_clock_that_is_set_is_told_from_one_that_goes_on() {
        let at = |millis: i64| Timestamp::from_micros(1_770_000_000_000_000 + millis * 1_000);
        let mut watch = ClockWatch::new(at(0), Some(50_000));
        let mut look = |wall: i64, boot: u64| {
            watch.look(at(wall), || boot).map(|change| (change.from, change.to, change.seconds()))
        };
        assert_eq!(look(999, 999_999), None, "within a second nothing is asked");
        assert_eq!(look(1_000, 51_000), None);
        assert_eq!(look(3_600_000, 3_650_000), None, "an idle hour, or a suspended one");
        assert_eq!(look(3_599_100, 3_650_050), None, "less than a second back");
        assert_eq!(look(0, 3_651_050), Some((at(3_600_100), at(0), -3_600)), "an hour back");
        assert_eq!(look(500, 3_651_550), None, "it is told once");
        let year = 365 * 86_400_000;
        let told = look(year, 3_652_550);
        assert_eq!(told, Some((at(1_500), at(year), 365 * 86_400 - 2)), "a year ahead");
        let mut reopened = ClockWatch::new(at(60_000), None);
        assert_eq!(reopened.look(at(90_000_000), || 5), None, "nobody knows how long it was");
        let mut reopened = ClockWatch::new(at(60_000), None);
        let back = reopened.look(at(0), || 5).expect("set back while nobody looked");
        assert_eq!((back.from, back.seconds()), (at(60_000), -60));
    }

    /// C15.
    #[test]
    fn a_second_sixty_is_only_where_a_leap_second_can_be() {
        for good in
            ["2016-12-31T23:59:60Z", "2017-01-01T00:59:60+01:00", "2016-12-31T18:29:60.5-05:30"]
        {
            good.parse::<Timestamp>().expect(good);
        }
        for bad in [
            "2016-12-31T12:00:60Z",
            "2016-12-31T23:58:60Z",
            "2016-12-31T23:59:60+01:00",
            "2016-12-31T23:59:61Z",
        ] {
            let error = bad.parse::<Timestamp>().expect_err(bad).to_string();
            assert!(error.contains(bad), "{error}");
        }
    }

    /// C15.
    #[test]
    fn digits_below_a_microsecond_are_seen_where_they_say_something() {
        for (text, finer) in [
            ("2026-02-04T21:09:40Z", false),
            ("2026-02-04T21:09:40.123456Z", false),
            ("2026-02-04T21:09:40.123456000Z", false),
            ("2026-02-04T21:09:40.123456001Z", true),
            ("2026-02-04T21:09:40.1234567+01:00", true),
        ] {
            text.parse::<Timestamp>().expect(text);
            assert_eq!(is_finer_than_kept(text), finer, "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_text_and_an_example() {
        let error = "yesterday".parse::<Timestamp>().expect_err("no time").to_string();
        assert!(error.contains("yesterday") && error.contains("2026-02-04"), "{error}");
    }
}
