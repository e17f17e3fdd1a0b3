//! Making backups from the process that writes the log, or from another.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::audit::{AuditLog, RecordError};
use crate::backup::{BackupDir, BackupError, Creator, Made, Request, Unwatched};
use crate::clock::SystemClock;
use crate::fsio::OsFs;

/// A directory of backups.
///
/// ```
/// use auditctl::{AuditLog, Backups, Event, Options};
///
/// # let directory = tempfile::tempdir()?;
/// # let (logs, place) = (directory.path().join("logs"), directory.path().join("backups"));
/// let log = AuditLog::open(Options::new(&logs).backups_in(&place))?;
/// log.record(Event::new("invoice.paid").source("billing"))?.wait()?;
/// let backup = Backups::in_dir(&place).make(&log)?; // now and then, from any thread
/// assert!(backup.archive.is_file() && backup.end_seq >= 3);
/// log.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Backups {
    dir: PathBuf,
    encrypt_to: Vec<String>,
}

/// A backup that was made, read back and proven.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backup {
    /// Its id: `YYYYMMDD_HHMMSS`.
    pub id: String,
    /// The archive.
    pub archive: PathBuf,
    /// Its metadata, in JSON.
    pub metadata_file: PathBuf,
    /// The first record that it holds.
    pub first_seq: u64,
    /// One after the last record that it holds.
    pub end_seq: u64,
    /// Ranges of records that the log lacks because it is damaged: the first, and one after the
    /// last. An earlier backup may hold them.
    pub lacking: Vec<(u64, u64)>,
}

/// Why no backup was made, or why the log could not record that one was.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct BackupFailed(Reason);

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error(transparent)]
    NotMade(#[from] BackupError),
    #[error("the backup was made, but the log could not record it: {0}")]
    NotRecorded(#[from] RecordError),
}

impl BackupFailed {
    /// Whether the backup was made, and only the log's record of it is missing.
    #[must_use]
    pub fn was_made(&self) -> bool {
        matches!(self.0, Reason::NotRecorded(_))
    }

    /// A stable name for programs, as docs/codes.md lists them.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.0 {
            Reason::NotMade(error) => error.kind(),
            Reason::NotRecorded(error) => error.kind(),
        }
    }
}

impl Backups {
    /// Backups in `dir`, which is made with the first one. Name the same directory with
    /// [`Options::backups_in`](crate::Options::backups_in), so that retention knows them.
    #[must_use]
    pub fn in_dir(dir: impl AsRef<Path>) -> Self {
        Self { dir: dir.as_ref().to_path_buf(), encrypt_to: Vec::new() }
    }

    /// Encrypts each archive to these age public keys (`age1…`), any of whose owners can
    /// restore it.
    #[cfg(feature = "encryption")]
    #[must_use]
    pub fn encrypted_to(mut self, keys: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.encrypt_to = keys.into_iter().map(Into::into).collect();
        self
    }

    /// Makes a full backup of an open log, and has the log record that. It returns once the
    /// archive has been read back and proven to hold the signed tree. It reads beside the
    /// writer, which never waits for it, and blocks the calling thread for as long as it takes.
    ///
    /// # Errors
    /// [`BackupFailed`]. No backup was made, unless [`was_made`](BackupFailed::was_made).
    pub fn make(&self, log: &AuditLog) -> Result<Backup, BackupFailed> {
        let dir = BackupDir::new(Arc::new(OsFs), &self.dir);
        let creator = Creator { fs: Arc::new(OsFs), clock: Arc::new(SystemClock), dir };
        let request = Request { encrypt_to: self.encrypt_to.clone(), ..Request::of(log.options()) };
        let made = creator.create(&request, &Unwatched).map_err(Reason::from)?;
        log.record_backup_made(made.to_record()).wait().map_err(Reason::from)?;
        Ok(Backup::of(made))
    }
}

impl Backup {
    fn of(made: Made) -> Self {
        let (metadata, range) = (&made.metadata, &made.metadata.range);
        Self {
            id: metadata.id.to_string(),
            first_seq: range.first_seq,
            end_seq: range.tree_size,
            lacking: metadata.lacking().iter().map(|span| (span.begin, span.end)).collect(),
            archive: made.archive,
            metadata_file: made.metadata_file,
        }
    }
}

impl From<Reason> for BackupFailed {
    fn from(reason: Reason) -> Self {
        Self(reason)
    }
}
