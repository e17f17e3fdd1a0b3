//! How backups are named: `audit_backup_YYYYMMDD_HHMMSS`, UTC.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

const PREFIX: &str = "audit_backup_";
const ARCHIVE: &str = ".gz";
const ENCRYPTED: &str = ".gz.age";
const METADATA: &str = ".json";
const PIN: &str = ".pin";

/// A backup's id: when it was made, to the second, as `YYYYMMDD_HHMMSS` in UTC.
/// Ids sort as their times do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BackupId(Timestamp);

/// Why a text is no backup id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a backup id: YYYYMMDD_HHMMSS is expected, such as 20260204_210940")]
pub struct BackupIdError(String);

impl BackupId {
    /// Of a backup made then; fractions of a second are dropped.
    #[must_use]
    pub fn at(made: Timestamp) -> Self {
        Self(Timestamp::from_micros(made.unix_seconds() * 1_000_000))
    }

    /// When it was made.
    #[must_use]
    pub fn time(self) -> Timestamp {
        self.0
    }

    /// The id that a backup made one second later would have.
    #[must_use]
    pub fn next(self) -> Self {
        Self(Timestamp::from_micros(self.0.micros() + 1_000_000))
    }

    /// `audit_backup_YYYYMMDD_HHMMSS`
    #[must_use]
    pub fn stem(self) -> String {
        format!("{PREFIX}{self}")
    }

    /// The archive's file name; encrypted ones end in `.gz.age`.
    #[must_use]
    pub fn archive(self, encrypted: bool) -> String {
        format!("{}{}", self.stem(), if encrypted { ENCRYPTED } else { ARCHIVE })
    }

    /// The metadata's file name.
    #[must_use]
    pub fn metadata(self) -> String {
        format!("{}{METADATA}", self.stem())
    }

    /// The name of the file that keeps it from being cleaned up.
    #[must_use]
    pub fn pin(self) -> String {
        format!("{}{PIN}", self.stem())
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.file_stamp())
    }
}

impl FromStr for BackupId {
    type Err = BackupIdError;

    fn from_str(stamp: &str) -> Result<Self, BackupIdError> {
        let refuse = || BackupIdError(stamp.chars().take(80).collect());
        let digits = |at: std::ops::Range<usize>| {
            stamp.get(at).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let parts = [0..4, 4..6, 6..8, 9..11, 11..13, 13..15].map(digits);
        let [Some(year), Some(month), Some(day), Some(hour), Some(minute), Some(second)] = parts
        else {
            return Err(refuse());
        };
        let text = format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z");
        let time: Timestamp = text.parse().map_err(|_| refuse())?;
        let id = Self(time);
        // One text for one id: no leap second, no other separator, nothing after.
        if id.to_string() == stamp { Ok(id) } else { Err(refuse()) }
    }
}

impl TryFrom<String> for BackupId {
    type Error = BackupIdError;

    fn try_from(text: String) -> Result<Self, BackupIdError> {
        text.parse()
    }
}

impl From<BackupId> for String {
    fn from(id: BackupId) -> Self {
        id.to_string()
    }
}

/// What a file in a backup directory is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// An archive; `true` when encrypted.
    Archive(bool),
    /// Metadata: the backup is there.
    Metadata,
    /// Metadata under a temporary name: the backup is not there yet, or no more.
    Uncommitted,
    /// Something else on its way into place.
    Temporary,
    /// A pin.
    Pin,
    /// How far an upload got.
    Upload,
}

/// Whose file it is and what it is, if the name is one of ours.
#[must_use]
pub fn parse_name(name: &str) -> Option<(BackupId, FileKind)> {
    if name.contains(|c: char| c == '/' || c.is_control()) {
        return None;
    }
    let rest = name.strip_prefix(PREFIX)?;
    let (stamp, suffix) = rest.split_at_checked(15)?;
    let id = stamp.parse().ok()?;
    let kind = match suffix {
        ARCHIVE => FileKind::Archive(false),
        ENCRYPTED => FileKind::Archive(true),
        METADATA => FileKind::Metadata,
        PIN => FileKind::Pin,
        _ if suffix.starts_with(".json.tmp-") => FileKind::Uncommitted,
        _ if suffix.contains(".tmp-") => FileKind::Temporary,
        _ if suffix.starts_with(".upload-") => FileKind::Upload,
        _ => return None,
    };
    Some((id, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_when_the_backup_was_made() {
        let made: Timestamp = "2026-02-04T21:09:40.987654Z".parse().expect("a time");
        let id = BackupId::at(made);
        assert_eq!(id.to_string(), "20260204_210940");
        assert_eq!(id.archive(false), "audit_backup_20260204_210940.gz");
        assert_eq!(id.archive(true), "audit_backup_20260204_210940.gz.age");
        assert_eq!(id.metadata(), "audit_backup_20260204_210940.json");
        assert_eq!("20260204_210940".parse(), Ok(id));
        assert_eq!(id.next().to_string(), "20260204_210941");
    }

    #[test]
    fn names_are_read_back_and_others_are_none_of_ours() {
        let id: BackupId = "20260204_210940".parse().expect("an id");
        for (name, kind) in [
            (id.archive(false), FileKind::Archive(false)),
            (id.archive(true), FileKind::Archive(true)),
            (id.metadata(), FileKind::Metadata),
            (id.pin(), FileKind::Pin),
            (format!("{}.tmp-1-2", id.metadata()), FileKind::Uncommitted),
            (format!("{}.tmp-1-2", id.archive(false)), FileKind::Temporary),
        ] {
            assert_eq!(parse_name(&name), Some((id, kind)), "{name}");
        }
        for name in [
            "audit_backup_20261304_210940.json",
            "audit_backup_2026020_2109400.json",
            "audit_backup_20260204-210940.gz",
            "audit_backup_20260204_210940.gz.bak",
            "audit_backup_20260204_210940.json~",
            "audit_backup_.json",
            "audit_backup_20260204_210940.json.tmp-/../../x",
            "audit_backup_20260204_210940.upload-\u{1b}[2J",
            "audit_backup_ä0260204_210940.json",
            "backup.json",
        ] {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }
}
