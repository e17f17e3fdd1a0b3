//! The signed heads that the backups in a directory have: what a log is compared
//! with that was put back or copied.
//!
//! Only the beginning of each metadata file is read, up to its checkpoint. That is a
//! signed note of its own, so whatever else the file says needs no belief here. Metadata has
//! its `type`, `format`, `log` and `checkpoint` within [`MAX_HEAD_BYTES`], in any order.

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::name::{BackupId, FileKind, parse_name};
use crate::audit::keys::Rotation;
use crate::audit::keys::checkpoint::{Origin, SignedCheckpoint};
use crate::audit::keys::histories::{Kept, KnownHead};
use crate::audit::tree::document::{DocumentError, Kind, check_kind};
use crate::fsio::{Fs, FsFile, OpenMode};
use crate::json_place::JsonError;

/// So many backups are looked at by those who have time, the newest by name.
pub const MAX_HEADS: usize = 256;
/// So many are read at a time by those who want all of them.
const AT_A_TIME: usize = 64;
/// Names that lie further ahead are looked at last, in microseconds.
const AHEAD: i64 = 24 * 3_600 * 1_000_000;
/// So much of a metadata file is read at first, then more, then no more: `type`,
/// `format`, `log` and `checkpoint` stand within that.
const BEGINNINGS: [usize; 3] = [16 << 10, 256 << 10, MAX_HEAD_BYTES];
/// Within this much of a metadata file stands its head, whoever wrote it. It holds the
/// longest key chain that there can be, but for records of an unusual length.
pub(crate) const MAX_HEAD_BYTES: usize = 8 << 20;

/// The heads of a directory's backups.
#[derive(Debug, Default)]
pub struct Heads {
    /// Those of the log.
    pub heads: Vec<KnownHead>,
    /// How many backups there are, whosever they are.
    pub backups: usize,
    /// The ids of the log's own, the oldest first.
    pub own: Vec<BackupId>,
    /// The ids of those that a newer version made, whosever they are, the oldest first.
    pub newer: Vec<BackupId>,
    /// What could not be read, and why. It proves nothing.
    pub skipped: Vec<String>,
}

/// Reads the heads of a log's backups in a directory, or of any log's, of the `most` newest ones. Their signatures are not
/// checked.
///
/// # Errors
/// When the directory cannot be listed.
pub fn heads(fs: &dyn Fs, dir: &Path, log_id: Option<&str>, most: usize) -> io::Result<Heads> {
    let ids = ids(fs, dir)?;
    let newest = ids.len().saturating_sub(most);
    let found = read(fs, dir, log_id, &ids[newest..]);
    Ok(Heads { backups: ids.len(), ..found })
}

/// The same of all backups, the newest first, so many at a time: what is in memory does not grow
/// with their number. It ends where nobody wants more.
///
/// # Errors
/// When the directory cannot be listed.
pub fn all_heads(
    fs: &dyn Fs,
    dir: &Path,
    log_id: &str,
    found: &mut dyn FnMut(Heads) -> ControlFlow<()>,
) -> io::Result<()> {
    let ids = ids(fs, dir)?;
    for some in ids.rchunks(AT_A_TIME) {
        if found(Heads { backups: some.len(), ..read(fs, dir, Some(log_id), some) }).is_break() {
            break;
        }
    }
    Ok(())
}

/// The ids of a directory's backups, the newest last.
fn ids(fs: &dyn Fs, dir: &Path) -> io::Result<Vec<BackupId>> {
    let names = fs.list(dir)?;
    let mut ids: Vec<BackupId> = names
        .iter()
        .filter_map(|name| parse_name(name))
        .filter(|(_, kind)| matches!(kind, FileKind::Metadata))
        .map(|(id, _)| id)
        .collect();
    // One that says that it is yet to be made may be there to hide the others.
    let ahead = crate::clock::Clock::now(&crate::clock::SystemClock).micros() + AHEAD;
    ids.sort_unstable_by_key(|id| (id.time().micros() <= ahead, *id));
    Ok(ids)
}

fn read(fs: &dyn Fs, dir: &Path, log_id: Option<&str>, ids: &[BackupId]) -> Heads {
    let mut found = Heads::default();
    for id in ids.iter().rev().copied() {
        match head(fs, &dir.join(id.metadata())) {
            Ok((note, rotations)) if log_id.is_none_or(|id| is_of(&note, id)) => {
                found.own.push(id);
                let name = id.to_string();
                found.heads.push(KnownHead { name, kept: Kept::Backup, note, rotations });
            }
            Ok(_) => {}
            Err(why) => {
                if matches!(why, Unread::Newer(_)) {
                    found.newer.push(id);
                }
                found.skipped.push(format!("{}: {why}", id.metadata()));
            }
        }
    }
    found.own.sort_unstable();
    found.newer.reverse();
    found
}

/// Whether a head says that it is of that log.
pub(crate) fn is_of(note: &SignedCheckpoint, log_id: &str) -> bool {
    let origin = note.unverified().origin.parse::<Origin>();
    origin.is_ok_and(|origin| origin.log_id() == log_id)
}

/// Why a metadata file has no head.
#[derive(Debug, thiserror::Error)]
enum Unread {
    /// A newer version made it.
    #[error("{0}")]
    Newer(DocumentError),
    /// In words.
    #[error("{0}")]
    Other(String),
}

fn head(fs: &dyn Fs, path: &Path) -> Result<(SignedCheckpoint, Vec<Rotation>), Unread> {
    let other = |error: String| Unread::Other(error);
    let file = fs.open(path, OpenMode::ReadOwn).map_err(|error| other(error.to_string()))?;
    let mut why = Unread::Other("it is empty".to_owned());
    // Most have it in the first few kilobytes.
    for length in BEGINNINGS {
        let beginning = read_beginning(&*file, length).map_err(|error| other(error.to_string()))?;
        if beginning.is_empty() {
            break;
        }
        let found = Head::of(&beginning);
        match found.finish() {
            Ok((note, rotations)) => {
                let note = SignedCheckpoint::parse(note.as_bytes());
                let note = note.map_err(|error| other(error.to_string()))?;
                return Ok((note, rotations));
            }
            Err(newer @ Unread::Newer(_)) => return Err(newer),
            Err(error) => why = error,
        }
        if beginning.len() < length {
            break;
        }
    }
    Err(why)
}

/// What is wanted of a metadata file, as far as it was read.
#[derive(Default)]
struct Head<'a> {
    kind: Option<String>,
    format: Option<u64>,
    /// Read once it is known that they are in a format that can be read.
    log: Option<&'a RawValue>,
    checkpoint: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Log {
    #[serde(default)]
    key_chain: Vec<Rotation>,
}

impl<'a> Head<'a> {
    /// Of a file's beginning: in whichever order its members stand, and up to the last of
    /// them that is wanted.
    fn of(beginning: &'a [u8]) -> Self {
        let mut head = Self::default();
        let mut reader = serde_json::Deserializer::from_slice(beginning);
        // It ends where all is there, or where the beginning does.
        let _ = Seek(&mut head).deserialize(&mut reader);
        head
    }

    fn is_complete(&self) -> bool {
        self.kind.is_some()
            && self.format.is_some()
            && self.log.is_some()
            && self.checkpoint.is_some()
    }

    fn finish(self) -> Result<(String, Vec<Rotation>), Unread> {
        let other = |what: &str| Unread::Other(what.to_owned());
        let kind = self.kind.ok_or_else(|| other("it is not backup metadata"))?;
        let format = self.format.ok_or_else(|| other("it is not backup metadata"))?;
        match check_kind(Kind::INCREMENTAL_BACKUP, &kind, format) {
            Ok(()) => {}
            Err(newer @ DocumentError::Newer { .. }) => return Err(Unread::Newer(newer)),
            Err(error) => return Err(Unread::Other(error.to_string())),
        }
        let note = self.checkpoint.ok_or_else(|| other("it has no checkpoint"))?;
        let log = self.log.ok_or_else(|| other("it does not name its log"))?;
        let malformed =
            |error: serde_json::Error| Unread::Other(JsonError::from(&error).to_string());
        let log: Log = serde_json::from_str(log.get()).map_err(malformed)?;
        Ok((serde_json::from_str(note.get()).map_err(malformed)?, log.key_chain))
    }
}

/// Fills a [`Head`] while it reads, so that what was read stays where the text ends.
struct Seek<'a, 'de>(&'a mut Head<'de>);

impl<'de> DeserializeSeed<'de> for Seek<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a backup's metadata")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<String>()? {
            match name.as_str() {
                "type" => self.0.kind = Some(members.next_value()?),
                "format" => self.0.format = Some(members.next_value()?),
                "log" => self.0.log = Some(members.next_value()?),
                "checkpoint" => self.0.checkpoint = Some(members.next_value()?),
                _ => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
            // A newer format may have put the rest elsewhere.
            let newer = self.0.kind.is_some()
                && self
                    .0
                    .format
                    .is_some_and(|format| format > u64::from(Kind::INCREMENTAL_BACKUP.format()));
            if self.0.is_complete() || newer {
                return Err(A::Error::custom("all is there"));
            }
        }
        Ok(())
    }
}

fn read_beginning(file: &dyn FsFile, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
