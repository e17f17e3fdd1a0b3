//! Time zones, strictly: one that is not known is an error and never taken for UTC. Of a
//! local time that a clock set back shows twice the first is meant; one that a clock set
//! forward never shows is an error that names the choice.
//!
//! The rules are those of the machine's own files (TZif, RFC 9636), which its updates
//! keep right.

use std::ffi::OsString;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use crate::clock::Timestamp;
use crate::fsio::Fs;

/// Where the rules of named zones are: the first of these directories that is there.
pub const DATABASES: [&str; 4] =
    ["/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo"];
/// The machine's own zone.
pub const LOCALTIME: &str = "/etc/localtime";
/// The rules of a zone take at most so many bytes: the largest have 4 KiB.
const MAX_RULES_BYTES: u64 = 1 << 20;

/// What the machine says of zones. Who asks has read the environment.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// `TZ`, where it is set.
    pub tz: Option<OsString>,
    /// `TZDIR`, where it is set.
    pub tzdir: Option<OsString>,
}

/// A time zone.
#[derive(Clone, Debug)]
pub struct Zone {
    name: String,
    rules: TimeZone,
}

/// Why a text is no zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZoneError {
    /// Nobody knows it.
    #[error(
        "the time zone {name:?} is not known on this machine: {reason}; write a name as in {}, \
         such as Europe/Berlin, or UTC, or an offset such as +02:00",
        DATABASES[0]
    )]
    Unknown {
        /// As it was given.
        name: String,
        /// What was looked for.
        reason: String,
    },
    /// The machine does not say.
    #[error(
        "this machine has no time zone: TZ is not set, and {LOCALTIME} is unusable ({reason}); \
         name the zone, such as Europe/Berlin or UTC"
    )]
    NoLocal {
        /// What is wrong with the file.
        reason: String,
    },
}

/// Why a local time is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocalTimeError {
    /// It was skipped.
    #[error(
        "clocks in {zone} never showed {local}, because they were set forward over it; write \
         {local}{before} (which is {by_before}) or {local}{after} ({by_after})"
    )]
    Skipped {
        /// The time.
        local: String,
        /// The zone's name.
        zone: String,
        /// The offset until then.
        before: String,
        /// The time by that offset.
        by_before: Timestamp,
        /// The offset from then on.
        after: String,
        /// The time by that offset.
        by_after: Timestamp,
    },
    /// It is outside the years 0000 to 9999.
    #[error("{local} is outside of the years 0000 to 9999 in UTC")]
    OutOfRange {
        /// The time.
        local: String,
    },
    /// It is none.
    #[error(
        "\"{text}\" is not a time: write 2026-02-04T21:09:40 for one in {zone}, or a date such as \
         2026-02-04 for its beginning there"
    )]
    NotATime {
        /// As it was given.
        text: String,
        /// The zone's name.
        zone: String,
    },
}

impl Machine {
    /// The zone of that name: `UTC`, `local`, an offset such as `+02:00`, or a name that
    /// the machine has rules for.
    ///
    /// # Errors
    /// See [`ZoneError`].
    pub fn zone(&self, fs: &dyn Fs, text: &str) -> Result<Zone, ZoneError> {
        match text {
            "UTC" | "utc" | "Z" => Ok(Zone::utc()),
            "local" => self.local(fs),
            _ if text.starts_with(['+', '-']) => {
                Zone::offset(text).ok_or_else(|| unknown(text, "it is not an offset from UTC"))
            }
            _ => self.named(fs, text),
        }
    }

    /// The zone that this process is in: what `TZ` says, as POSIX has it, else what
    /// `/etc/localtime` does.
    ///
    /// # Errors
    /// See [`ZoneError`].
    pub fn local(&self, fs: &dyn Fs) -> Result<Zone, ZoneError> {
        let Some(tz) = &self.tz else {
            let no_local = |reason: String| ZoneError::NoLocal { reason };
            let rules = read(fs, Path::new(LOCALTIME), "local").map_err(no_local)?;
            return Ok(Zone { name: "the local time zone".to_owned(), rules });
        };
        let given = tz.to_string_lossy().into_owned();
        let text = tz.to_str().ok_or_else(|| unknown(&given, "TZ is not UTF-8"))?;
        let (text, is_file) = match text.strip_prefix(':') {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        if text.is_empty() {
            // So says POSIX of an empty one, and the C library does.
            return Ok(Zone::utc());
        }
        if text.starts_with('/') {
            let rules = read(fs, Path::new(text), text).map_err(|reason| unknown(text, &reason))?;
            return Ok(Zone { name: text.to_owned(), rules });
        }
        match self.named(fs, text) {
            // `CET-1CEST,M3.5.0,M10.5.0/3`, `<+03>-3`: rules of their own, without a file.
            Err(error) if !is_file && text.contains(|c: char| c.is_ascii_digit()) => {
                let posix = TimeZone::posix(text).map_err(|_| error)?;
                Ok(Zone { name: text.to_owned(), rules: posix })
            }
            found => found,
        }
    }

    fn named(&self, fs: &dyn Fs, name: &str) -> Result<Zone, ZoneError> {
        let plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        if name.is_empty() || !plain || name.contains('\0') {
            return Err(unknown(name, "it is not a name"));
        }
        if matches!(name, "UTC" | "GMT") {
            return Ok(Zone { name: name.to_owned(), ..Zone::utc() });
        }
        if name.starts_with("right/") {
            return Err(unknown(name, "its clock counts leap seconds, which records do not"));
        }
        let directories: Vec<PathBuf> = match self.tzdir.as_deref().filter(|dir| !dir.is_empty()) {
            Some(dir) => vec![dir.into()],
            None => DATABASES.map(PathBuf::from).to_vec(),
        };
        let is_there = |dir: &&PathBuf| fs.meta(dir).is_ok();
        let Some(database) = directories.iter().find(is_there) else {
            let first = directories[0].display();
            return Err(unknown(name, &format!("there is no {first} (install tzdata)")));
        };
        let rules =
            read(fs, &database.join(name), name).map_err(|reason| unknown(name, &reason))?;
        Ok(Zone { name: name.to_owned(), rules })
    }
}

fn unknown(name: &str, reason: &str) -> ZoneError {
    let name = name.chars().take(128).collect();
    ZoneError::Unknown { name, reason: reason.to_owned() }
}

fn read(fs: &dyn Fs, path: &Path, name: &str) -> Result<TimeZone, String> {
    let failed = |what: &dyn fmt::Display| format!("{}: {what}", path.display());
    let bytes = fs.read(path, MAX_RULES_BYTES).map_err(|error| failed(&error))?;
    // The header's count of leap seconds: times of such a zone are not POSIX's.
    if bytes.starts_with(b"TZif") && bytes.get(28..32).is_some_and(|count| count != [0; 4]) {
        return Err(failed(&"its clock counts leap seconds, which records do not"));
    }
    TimeZone::tzif(name, &bytes).map_err(|_| failed(&"it holds no rules of a time zone (TZif)"))
}

impl Zone {
    /// UTC.
    #[must_use]
    pub fn utc() -> Self {
        Self { name: "UTC".to_owned(), rules: TimeZone::UTC }
    }

    /// `+02:00`, `-0530`, `+01`, `+05:53:28`.
    fn offset(text: &str) -> Option<Self> {
        let offset = Offset::from_seconds(i32::try_from(offset_seconds(text)?).ok()?).ok()?;
        Some(Self { name: text.to_owned(), rules: TimeZone::fixed(offset) })
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When clocks there showed a time: for the first time, if they did so twice.
    ///
    /// # Errors
    /// See [`LocalTimeError`].
    pub fn instant(&self, local: NaiveDateTime) -> Result<Timestamp, LocalTimeError> {
        let shown = local.format("%Y-%m-%dT%H:%M:%S%.f").to_string();
        let out_of_range = || LocalTimeError::OutOfRange { local: shown.clone() };
        let civil = civil(local).ok_or_else(out_of_range)?;
        // A leap second's nanoseconds are a billion and more.
        let micros = i64::from(local.nanosecond() / 1_000);
        let at = |offset: Offset| {
            let seconds = offset.to_timestamp(civil).ok()?.as_second();
            let micros = seconds.checked_mul(1_000_000)?.checked_add(micros)?;
            let at = Timestamp::from_micros(micros);
            (at.micros() == micros).then_some(at)
        };
        match self.rules.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset }
            | AmbiguousOffset::Fold { before: offset, .. } => at(offset).ok_or_else(out_of_range),
            AmbiguousOffset::Gap { before, after } => {
                let (by_before, by_after) = at(before).zip(at(after)).ok_or_else(out_of_range)?;
                Err(LocalTimeError::Skipped {
                    local: shown,
                    zone: self.name.clone(),
                    before: offset_text(before),
                    by_before,
                    after: offset_text(after),
                    by_after,
                })
            }
        }
    }

    /// The same of a text: `2026-02-04T21:09:40`, also with a space in it and without
    /// seconds, or a date, which is its beginning.
    ///
    /// # Errors
    /// See [`LocalTimeError`].
    pub fn read(&self, text: &str) -> Result<Timestamp, LocalTimeError> {
        let not_a_time = || LocalTimeError::NotATime {
            text: text.chars().take(64).flat_map(char::escape_debug).collect(),
            zone: self.name.clone(),
        };
        let local = match text.parse::<NaiveDate>() {
            Ok(date) => date.and_time(NaiveTime::MIN),
            Err(_) => local_time(text).ok_or_else(not_a_time)?,
        };
        self.instant(local)
    }
}

/// A date and a time of day without a zone.
#[must_use]
pub fn local_time(text: &str) -> Option<NaiveDateTime> {
    let text = text.replace(' ', "T");
    ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(&text, format).ok())
}

/// An offset's seconds east of UTC: `+02:00`, `-0530`, `+01`, `+05:53:28`, with fractions
/// of a second.
#[must_use]
pub fn offset_seconds(text: &str) -> Option<i64> {
    let (sign, rest) = text.split_at_checked(1)?;
    let whole = rest.split('.').next()?;
    let digits: String = whole.chars().filter(|c| *c != ':').collect();
    let fits = matches!(digits.len(), 2 | 4 | 6) && digits.bytes().all(|b| b.is_ascii_digit());
    let part = |at: usize| digits.get(at..at + 2).map_or(Some(0), |two| two.parse::<i64>().ok());
    let (hours, minutes, seconds) = (part(0)?, part(2)?, part(4)?);
    let within = fits && hours < 24 && minutes < 60 && seconds < 60;
    let sign = match sign {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    within.then_some(sign * (hours * 3600 + minutes * 60 + seconds))
}

/// Its whole seconds.
fn civil(local: NaiveDateTime) -> Option<DateTime> {
    let small = |number: u32| i8::try_from(number).ok();
    DateTime::new(
        i16::try_from(local.year()).ok()?,
        small(local.month())?,
        small(local.day())?,
        small(local.hour())?,
        small(local.minute())?,
        small(local.second())?,
        0,
    )
    .ok()
}

/// As RFC 3339 has it; with seconds where it has some, as before 1900.
fn offset_text(offset: Offset) -> String {
    let seconds = offset.seconds();
    let (sign, all) = (if seconds < 0 { '-' } else { '+' }, seconds.unsigned_abs());
    let text = format!("{sign}{:02}:{:02}", all / 3600, all / 60 % 60);
    if all % 60 == 0 { text } else { format!("{text}:{:02}", all % 60) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsio::OsFs;

    fn machine(tz: &str) -> Machine {
        Machine { tz: Some(tz.into()), tzdir: None }
    }

    /// A machine may be without tzdata.
    fn knows_zones() -> bool {
        std::path::Path::new("/usr/share/zoneinfo/Europe/Berlin").exists()
    }

    fn local(tz: &str) -> Result<Zone, ZoneError> {
        machine(tz).local(&OsFs)
    }

    /// C1: what is not known is named, and is not UTC.
    #[test]
    fn an_unknown_zone_is_an_error_that_names_it() {
        for tz in [
            "Europe/Berln",
            "berlin",
            "../zoneinfo/Europe/Berlin",
            "Europe",
            "tzdata.zi",
            "right/Europe/Berlin",
            ":Europe/Berln",
            "/etc/hostname",
            "/nowhere",
            "CET-1CEST",
            "CET-1CEST,M13.1.0,M10.5.0",
            "Mars/Olympus1",
        ] {
            let error = local(tz).expect_err(tz).to_string();
            assert!(error.contains(tz.trim_start_matches(':')), "{tz}: {error}");
        }
        let empty = tempfile::tempdir().expect("directory");
        let nowhere = empty.path().join("no-tzdata");
        let without = Machine { tz: Some("Europe/Berlin".into()), tzdir: Some(nowhere.into()) };
        let error = without.local(&OsFs).expect_err("no database").to_string();
        assert!(error.contains("Europe/Berlin") && error.contains("install tzdata"), "{error}");
        assert!(without.zone(&OsFs, "UTC").is_ok(), "which needs no rules");
        let odd = std::os::unix::ffi::OsStringExt::from_vec(vec![0xff]);
        let odd = Machine { tz: Some(odd), tzdir: None };
        assert!(odd.local(&OsFs).is_err());
    }

    #[test]
    fn every_form_of_tz_that_is_supported_means_the_same_as_to_the_c_library() {
        if !knows_zones() {
            return;
        }
        for (tz, expected) in [
            ("Europe/Berlin", "2026-07-01T10:00:00Z"),
            (":Europe/Berlin", "2026-07-01T10:00:00Z"),
            ("/usr/share/zoneinfo/Europe/Berlin", "2026-07-01T10:00:00Z"),
            ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-07-01T10:00:00Z"),
            ("<+0530>-5:30", "2026-07-01T06:30:00Z"),
            ("EST5EDT", "2026-07-01T16:00:00Z"),
            ("JST-9", "2026-07-01T03:00:00Z"),
            ("UTC", "2026-07-01T12:00:00Z"),
            ("UTC0", "2026-07-01T12:00:00Z"),
            ("", "2026-07-01T12:00:00Z"),
        ] {
            let zone = local(tz).unwrap_or_else(|error| panic!("{tz}: {error}"));
            let at = zone.read("2026-07-01T12:00:00").expect("a time");
            assert_eq!(Ok(at), expected.parse(), "{tz}");
        }
        let east = Machine::default().zone(&OsFs, "+02:00").expect("an offset");
        assert_eq!(east.read("2026-07-01"), Ok("2026-06-30T22:00:00Z".parse().expect("time")));
        for none in ["+2", "+25:00", "-", "+02:00x"] {
            assert!(Machine::default().zone(&OsFs, none).is_err(), "{none}");
        }
    }

    /// C2: the first of two; what was skipped is an error with the choice.
    #[test]
    fn of_a_time_shown_twice_the_first_counts_and_a_skipped_one_is_an_error() {
        if !knows_zones() {
            return;
        }
        let berlin = local("Europe/Berlin").expect("a zone");
        let at = |text: &str| berlin.read(text).map(|at| at.to_string());
        assert_eq!(at("2026-10-25T02:30:00").as_deref(), Ok("2026-10-25T00:30:00.000000Z"));
        assert_eq!(at("2026-10-25 03:00").as_deref(), Ok("2026-10-25T02:00:00.000000Z"));
        assert_eq!(at("2026-03-29T01:59:59.5").as_deref(), Ok("2026-03-29T00:59:59.500000Z"));
        assert_eq!(at("2026-03-29T03:00:00").as_deref(), Ok("2026-03-29T01:00:00.000000Z"));
        let error = at("2026-03-29T02:30:00").expect_err("skipped").to_string();
        for part in ["Europe/Berlin", "2026-03-29T02:30:00+01:00", "2026-03-29T02:30:00+02:00"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(at("soon").is_err_and(|error| error.to_string().contains("Europe/Berlin")));
    }
}
