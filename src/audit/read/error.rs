//! Why a log cannot be read: one answer for queries, verification, proofs and backups.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::audit::files::manifest::ManifestError;
use crate::audit::keys::KeysError;
use crate::audit::keys::checkpoint::CheckpointError;
use crate::audit::record::refusal::FORKED;
use crate::audit::tree::document;

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum ReadError {
    /// No log, or one that has signed nothing yet.
    #[error("there is no log in {}: {missing} is missing", dir.display())]
    NoLog {
        /// The log directory.
        dir: PathBuf,
        /// The file that every log has.
        missing: &'static str,
    },
    /// The log is there, and the file that says what was recorded is not.
    #[error("the log in {} is damaged: {missing} is missing, and with it what proves the records", dir.display())]
    NoHead {
        /// The log directory.
        dir: PathBuf,
        /// The file that every log has.
        missing: &'static str,
    },
    /// A restore was interrupted.
    #[error(
        "a restore into {} was interrupted; the next opening of the log finishes or undoes it",
        dir.display()
    )]
    RestorePending {
        /// The log directory.
        dir: PathBuf,
    },
    /// The files do not reach as far as they have to.
    #[error("{size} records are {why}, but the files in {} end at record {found}", dir.display())]
    Short {
        /// The log directory.
        dir: PathBuf,
        /// How many records there have to be.
        size: u64,
        /// Who says so.
        why: Known,
        /// Where the files end.
        found: u64,
    },
    /// Retention removed a segment again and again while it was to be read.
    #[error("retention removed {file} while it was being read")]
    Pruned {
        /// The segment's file.
        file: String,
    },
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
    /// The manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The log's keys cannot be used, or nothing leads from one to the next.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The checkpoint is not one that this log's key signed.
    #[error("{}: {source}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: CheckpointError,
    },
    /// A newer version of auditctl wrote the log.
    #[error("{}: {source}", dir.display())]
    Newer {
        /// The log directory.
        dir: PathBuf,
        /// What its first record says.
        source: document::DocumentError,
    },
    /// This process is a fork of the one that opened the log.
    #[error("{FORKED}")]
    Forked,
    /// It was asked to end.
    #[error("interrupted")]
    Interrupted,
}

/// Who says that so many records have to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum Known {
    /// The checkpoint.
    Signed,
    /// The running writer.
    Durable,
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signed => "signed",
            Self::Durable => "durable",
        })
    }
}

impl ReadError {
    /// What [`ReadError::kind`] can say.
    pub const KINDS: &[&str] =
        &["no_log", "damaged", "restore_pending", "io", "newer_version", "forked", "interrupted"];

    /// A stable name for scripts.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Newer { .. }
            | Self::Manifest(ManifestError::Newer { .. })
            | Self::Keys(KeysError::Newer { .. }) => "newer_version",
            Self::NoLog { .. } => "no_log",
            Self::NoHead { .. }
            | Self::Short { .. }
            | Self::Pruned { .. }
            | Self::Manifest(_)
            | Self::Keys(_)
            | Self::Checkpoint { .. } => "damaged",
            Self::RestorePending { .. } => "restore_pending",
            Self::Io { .. } => "io",
            Self::Forked => "forked",
            Self::Interrupted => "interrupted",
        }
    }

    pub(in crate::audit) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_path_buf(), source }
    }
}
