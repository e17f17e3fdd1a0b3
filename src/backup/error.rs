//! Why something with a backup did not work.

use std::io;
use std::path::{Path, PathBuf};

use super::found_log::FoundLog;
use super::marker::MarkerError;
use super::metadata::MetadataError;
use super::name::BackupId;
use crate::audit::OpenError;
use crate::audit::keys::histories::Contradiction;
use crate::audit::read::error::ReadError;
use crate::audit::tree::document::DocumentError;
use crate::store::{StoreError, StoreErrorKind};
use crate::units::human_bytes;

/// Why something with a backup did not work.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The log cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A signed head that is kept elsewhere does not fit the log.
    #[error("{0}; no backup was made")]
    OtherHistory(Box<Contradiction>),
    /// A store elsewhere failed.
    #[error(transparent)]
    Store(Box<StoreError>),
    /// A file operation failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another backup, restore or cleanup has the directory.
    #[error("{} is locked: another backup, restore or cleanup is running", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// Another writer has the log.
    #[error("{} is locked: a writer has the log open", path.display())]
    LogLocked {
        /// The lock file.
        path: PathBuf,
    },
    /// Not enough space.
    #[error(
        "{} needs about {} of space, {} is available",
        path.display(), human_bytes(*needed), human_bytes(*available)
    )]
    NoSpace {
        /// Where.
        path: PathBuf,
        /// What is needed, in bytes.
        needed: u64,
        /// What there is.
        available: u64,
    },
    /// The log's records are not those that were signed.
    #[error("the log is damaged, so no backup was made: {0}")]
    LogDamaged(String),
    /// `audit.keys` does not lead from the log's first key to the one that signs.
    #[error("{}: {what}; no backup was made, because it could not be checked without them", path.display())]
    KeyChain {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: String,
    },
    /// The log does not extend what was backed up before.
    #[error(
        "the log does not extend backup {previous} ({earlier} records, root {root}): {found}; \
         records that are in that backup were changed or are gone, so no backup was made"
    )]
    NotAPrefix {
        /// The backup before.
        previous: BackupId,
        /// Its tree's size.
        earlier: u64,
        /// Its root.
        root: String,
        /// What was found instead.
        found: String,
    },
    /// The archive is not what was written, or no archive.
    #[error("{}: {what}", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: ArchiveFault,
    },
    /// The metadata is not what was written, or no metadata.
    #[error("{}: {what}", path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: MetadataError,
    },
    /// A newer version of auditctl made it. It is not touched.
    #[error("{}: {what}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Which format it has.
        what: DocumentError,
    },
    /// An archive that an incremental backup builds on is missing, or is another one.
    #[error(
        "backup {backup} builds on backup {base}, which is not whole in {}: {why}", place.display()
    )]
    Base {
        /// The incremental backup.
        backup: String,
        /// What it builds on.
        base: BackupId,
        /// Where that should be.
        place: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// No such backup.
    #[error("there is no backup {wanted} in {}", place.display())]
    NotFound {
        /// What was asked for.
        wanted: String,
        /// Where.
        place: PathBuf,
    },
    /// Backups of several logs lie there, and nobody said of which one is wanted.
    #[error("{} holds backups of {} logs, and the command does not say which one", place.display(), logs.len())]
    SeveralLogs {
        /// Where.
        place: PathBuf,
        /// Which logs.
        logs: Vec<FoundLog>,
    },
    /// Restoring would set records aside, or put another log in place.
    #[error("{0}")]
    Refused(String),
    /// What was asked for cannot be had.
    #[error("{0}")]
    Usage(String),
    /// It was to stop.
    #[error("interrupted; nothing was changed")]
    Interrupted,
}

/// What is wrong with an archive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveFault {
    /// Another length.
    #[error("it has {found} bytes, its metadata says {expected}")]
    Length {
        /// By the metadata.
        expected: u64,
        /// What it has.
        found: u64,
    },
    /// Other bytes.
    #[error("its SHA-256 is {found}, its metadata says {expected}")]
    Checksum {
        /// By the metadata.
        expected: String,
        /// What it has.
        found: String,
    },
    /// A member that is none, or holds no records.
    #[error("gzip member {member} at byte {offset}: {reason}")]
    Member {
        /// Counted from 0.
        member: u64,
        /// Where it begins.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// The records have another root than was signed.
    #[error("its {records} records do not hash to the signed root: it was altered")]
    Root {
        /// How many.
        records: u64,
    },
    /// Records are missing at its beginning, and nothing signed says why.
    #[error(
        "records {first} to {} are not in it, and no signed audit.pruned record in it says that \
         retention removed them", end - 1
    )]
    Unexplained {
        /// The first of them.
        first: u64,
        /// One after the last of them.
        end: u64,
    },
    /// The marker is missing or contradicts the rest.
    #[error("{0}")]
    Marker(String),
    /// No archive at all.
    #[error("it is not a backup archive: {0}")]
    Foreign(String),
}

impl From<StoreError> for BackupError {
    fn from(error: StoreError) -> Self {
        match error.kind {
            StoreErrorKind::Interrupted => Self::Interrupted,
            _ => Self::Store(Box::new(error)),
        }
    }
}

impl BackupError {
    /// What is wrong with the metadata in that file.
    pub(crate) fn metadata(path: impl Into<PathBuf>, what: MetadataError) -> Self {
        match what {
            MetadataError::Newer(what) => Self::Newer { path: path.into(), what },
            what => Self::Metadata { path: path.into(), what },
        }
    }

    /// What is wrong with the marker in that archive.
    pub(crate) fn marker(path: impl Into<PathBuf>, what: MarkerError) -> Self {
        match what {
            MarkerError::Newer(what) => Self::Newer { path: path.into(), what },
            what => {
                Self::Archive { path: path.into(), what: ArchiveFault::Marker(what.to_string()) }
            }
        }
    }

    /// Whether a newer version made it: nothing is wrong with it then.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        matches!(self, Self::Newer { .. })
    }

    /// What [`BackupError::kind`] can say of its own; what a store says, and why a log
    /// cannot be opened, have their own names.
    pub const KINDS: &[&str] = &[
        "not_found",
        "bad_signature",
        "corrupt",
        "restore_pending",
        "pruned",
        "io",
        "open",
        "busy",
        "locked",
        "no_space",
        "not_a_prefix",
        "checksum_mismatch",
        "bad_archive",
        "bad_metadata",
        "newer_version",
        "bad_base",
        "several_logs",
        "would_discard",
        "usage",
        "interrupted",
    ];

    /// A stable name for scripts.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Log(ReadError::NoLog { .. }) | Self::NotFound { .. } => "not_found",
            Self::Log(ReadError::Checkpoint { .. } | ReadError::Keys(_)) => "bad_signature",
            Self::Log(
                ReadError::Short { .. } | ReadError::NoHead { .. } | ReadError::Manifest(_),
            ) => "corrupt",
            Self::Log(ReadError::RestorePending { .. }) => "restore_pending",
            Self::Log(ReadError::Pruned { .. }) => "pruned",
            Self::Log(ReadError::Io { .. }) | Self::Io { .. } => "io",
            Self::Open(_) => "open",
            Self::OtherHistory(found) => found.history.code(),
            Self::Store(error) => error.kind.name(),
            Self::Locked { .. } => "busy",
            Self::LogLocked { .. } => "locked",
            Self::NoSpace { .. } => "no_space",
            Self::LogDamaged(_) | Self::KeyChain { .. } => "corrupt",
            Self::NotAPrefix { .. } => "not_a_prefix",
            Self::Archive { what: ArchiveFault::Checksum { .. }, .. } => "checksum_mismatch",
            Self::Archive { .. } => "bad_archive",
            Self::Metadata { what: MetadataError::Signature(_), .. } => "bad_signature",
            Self::Metadata { .. } => "bad_metadata",
            Self::Newer { .. } | Self::Log(ReadError::Newer { .. }) => "newer_version",
            Self::Base { .. } => "bad_base",
            Self::SeveralLogs { .. } => "several_logs",
            Self::Refused(_) => "would_discard",
            // No backup is made by a fork.
            Self::Usage(_) | Self::Log(ReadError::Forked) => "usage",
            Self::Interrupted | Self::Log(ReadError::Interrupted) => "interrupted",
        }
    }
}

/// Names the operation and the file that an I/O error is about.
pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_path_buf();
    move |source| BackupError::Io { action, path, source }
}
