//! `audit.archive.status.json`: how the shipping is, for `health`, metrics and people. Written by
//! whoever ships; nothing depends on it.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{ArchiveError, io_error};
use super::position::Position;
use super::ship::{Archiver, Shipped};
use crate::audit::LogPaths;
use crate::audit::keys::checkpoint::{Origin, SignedCheckpoint, read_note};
use crate::audit::read::snapshot::Behind;
use crate::audit::read::watch::Watch;
use crate::audit::tree::document::{Kind, Layout, decode, encode_file};
use crate::clock::Timestamp;
use crate::fsio::{Fs, replace_file};

/// The file's name.
pub const STATUS_FILE: &str = "audit.archive.status.json";
const MAX_BYTES: u64 = 64 << 10;
/// What is written of an error's message.
const MAX_MESSAGE_CHARS: usize = 600;

/// How shipping is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveStatus {
    /// When this was written.
    pub at: Timestamp,
    /// The process that ships.
    pub pid: u32,
    /// Where to: the archive's URL or directory.
    pub destination: String,
    /// When everything that was signed was last known to be in the archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete_at: Option<Timestamp>,
    /// When a pass last ended well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succeeded_at: Option<Timestamp>,
    /// How many passes have failed since then.
    pub failures: u64,
    /// Why the last pass failed, until one ends well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ArchiveFailure>,
    /// Objects that this process has put.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records that it has shipped.
    pub records: u64,
    /// Records that retention removed from the log, in all, before the archive had them for good.
    #[serde(default)]
    pub removed_unshipped: u64,
    /// When a pass last found that there are more of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed_at: Option<Timestamp>,
}

/// A pass that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveFailure {
    /// When it ended.
    pub at: Timestamp,
    /// The code of what went wrong, such as `unreachable`.
    pub code: String,
    /// In words.
    pub message: String,
}

impl ArchiveStatus {
    /// Where it is kept.
    #[must_use]
    pub fn path(log_dir: &Path) -> PathBuf {
        log_dir.join(STATUS_FILE)
    }

    /// Reads what was written; `None` where nothing was.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn read(fs: &dyn Fs, log_dir: &Path) -> io::Result<Option<Self>> {
        match fs.read_own(&Self::path(log_dir), MAX_BYTES) {
            Ok(bytes) => decode(Kind::ARCHIVE_STATUS, &bytes).map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What a process begins with that ships there: what the one before it left counts on,
    /// but not what it had put.
    #[must_use]
    pub fn begin(fs: &dyn Fs, log_dir: &Path, destination: &str) -> Self {
        let before = Self::read(fs, log_dir).ok().flatten();
        let before = before.filter(|before| before.destination == destination).unwrap_or_default();
        Self {
            pid: std::process::id(),
            destination: destination.to_owned(),
            objects: 0,
            bytes: 0,
            records: 0,
            ..before
        }
    }

    /// Takes in how a pass ended.
    pub fn ended(
        &mut self,
        pass: &Result<Shipped, ArchiveError>,
        began: Timestamp,
        now: Timestamp,
    ) {
        self.at = now;
        match pass {
            Ok(shipped) => {
                // What was signed while it was at work is not in it.
                self.complete_at = Some(began);
                self.succeeded_at = Some(now);
                (self.failures, self.error) = (0, None);
                self.objects += shipped.objects.len() as u64;
                self.bytes += shipped.bytes;
                self.records += shipped.records;
                // Either file may have been lost: what the other one knows stays.
                if shipped.removed_unshipped_ever > self.removed_unshipped {
                    self.removed_unshipped = shipped.removed_unshipped_ever;
                    self.removed_at = Some(now);
                }
            }
            Err(ArchiveError::Interrupted) => {}
            Err(error) => {
                self.failures += 1;
                let message = error.to_string().chars().take(MAX_MESSAGE_CHARS).collect();
                self.error =
                    Some(ArchiveFailure { at: now, code: error.kind().to_owned(), message });
            }
        }
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn store(&self, fs: &dyn Fs, log_dir: &Path) -> io::Result<()> {
        let bytes = encode_file(Kind::ARCHIVE_STATUS, self, Layout::Compact)?;
        replace_file(fs, &Self::path(log_dir), &bytes)
    }
}

impl Archiver {
    /// One pass of a process that does no other: how it ended is noted for `health`.
    ///
    /// # Errors
    /// As [`Self::pass`].
    pub fn pass_and_note(&self, watch: &dyn Watch) -> Result<Shipped, ArchiveError> {
        let began = self.clock.now();
        let done = self.pass(watch);
        let is_theirs = matches!(&done, Err(ArchiveError::Locked { .. } | ArchiveError::Log(_)));
        if !is_theirs {
            let mut status = ArchiveStatus::begin(&*self.fs, &self.log_dir, &self.destination());
            status.ended(&done, began, self.clock.now());
            if let Err(error) = status.store(&*self.fs, &self.log_dir) {
                tracing::warn!("how the archive is cannot be noted: {error}");
            }
        }
        done
    }
}

/// How far an archive is behind the log: by hints, in milliseconds, whatever runs or hangs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Records that the log has signed.
    pub signed: u64,
    /// Records that the archive holds; 0 where nothing is known to have been shipped there.
    pub shipped: u64,
    /// About how many bytes the rest has.
    pub bytes: u64,
    /// How long the oldest of the rest has waited; at most so long where that is not known
    /// exactly.
    pub age_seconds: u64,
}

impl Lag {
    /// Of the log in `log_dir`, by its newest checkpoint, the position and the files' lengths;
    /// `None` where nothing was signed yet.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn look(
        fs: &dyn Fs,
        log_dir: &Path,
        destination: &str,
        now: Timestamp,
    ) -> Result<Option<Self>, ArchiveError> {
        let path = LogPaths::new(log_dir).checkpoint();
        let note = read_note(fs, &path).map_err(io_error("read", &path))?;
        let note = note.and_then(|note| SignedCheckpoint::parse(&note).ok());
        let Some(note) = note else { return Ok(None) };
        let Ok(origin) = note.unverified().origin.parse::<Origin>() else { return Ok(None) };
        let (log_id, epoch, signed) = (origin.log_id(), origin.epoch(), note.unverified().size);
        let position = Position::load(fs, log_dir)?.filter(|position| {
            position.destination == destination
                && position.log_id == log_id
                && position.epoch == epoch
        });
        let shipped = position.as_ref().map_or(0, |position| position.shipped.end().min(signed));
        if shipped == signed {
            return Ok(Some(Self { signed, shipped, bytes: 0, age_seconds: 0 }));
        }
        let status = ArchiveStatus::read(fs, log_dir).ok().flatten();
        let status = status.filter(|status| status.destination == destination);
        let behind = Behind::look(fs, log_dir, shipped).map_err(io_error("read", log_dir))?;
        let seconds = |at: Timestamp| {
            u64::try_from(now.micros().saturating_sub(at.micros()) / 1_000_000).unwrap_or(0)
        };
        let complete = status
            .and_then(|status| status.complete_at)
            .max(position.map(|position| position.shipped_at));
        // The record itself tells; an old one is at most as old as the last complete pass, and at
        // least as old as the first of the active segment.
        let age_seconds = match (behind.accepted, complete) {
            // One from a time to come tells nothing: the clock was set back since.
            (Some(accepted), None) => seconds(accepted),
            (Some(accepted), Some(complete)) if accepted > now => seconds(complete),
            (Some(accepted), Some(_)) => seconds(accepted),
            (None, Some(complete)) => seconds(complete),
            (None, None) => behind.since.map_or(0, seconds),
        };
        Ok(Some(Self { signed, shipped, bytes: behind.bytes, age_seconds }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsio::OsFs;

    #[test]
    fn a_failure_is_told_until_a_pass_ends_well_and_a_new_process_counts_from_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = Timestamp::from_micros;
        let mut status = ArchiveStatus::begin(&OsFs, dir.path(), "s3://a/");
        let path = dir.path().join("audit.archive.lock");
        status.ended(&Err(ArchiveError::Locked { path }), at(1), at(2));
        assert_eq!((status.failures, status.complete_at), (1, None));
        assert_eq!(status.error.as_ref().map(|error| error.code.as_str()), Some("locked"));
        status.store(&OsFs, dir.path()).expect("written");
        let again = ArchiveStatus::begin(&OsFs, dir.path(), "s3://a/");
        assert_eq!(again.failures, 1);
        assert_eq!(ArchiveStatus::begin(&OsFs, dir.path(), "s3://b/").failures, 0);
        status.ended(&Err(ArchiveError::Interrupted), at(3), at(4));
        assert_eq!(status.failures, 1, "to be stopped is no failure");
    }
}
