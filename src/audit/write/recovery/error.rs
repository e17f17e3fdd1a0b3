//! Why a log is not opened.

use std::io;
use std::path::{Path, PathBuf};

use crate::audit::files::manifest::ManifestError;
use crate::audit::keys::histories::{Contradiction, History};
use crate::audit::keys::signer::KeyError;
use crate::audit::record::redact::RedactKeyError;
use crate::audit::tree::document::DocumentError;

/// What was tried where an interrupted restore stands in the way.
pub const RESTORE_ACTION: &str = "finish or undo the restore in";

/// Why a log was not opened.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum OpenError {
    /// Another writer has it.
    #[error("{path} is locked: another writer has this log open")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The manifest is unreadable.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A newer version of auditctl wrote the log.
    #[error("{path}: {source}; nothing was changed")]
    Newer {
        /// The file that says so.
        path: PathBuf,
        /// What it says.
        source: DocumentError,
    },
    /// The signing key is missing or unusable.
    #[error("signing key {path}: {source}")]
    Key {
        /// The key file.
        path: PathBuf,
        /// Why.
        source: Box<KeyError>,
    },
    /// The log exists but its signing key does not.
    #[error(
        "the signing key is not at {path}: you can read, verify and back up the log in {dir}, but \
         not add to it"
    )]
    KeyMissing {
        /// The log directory.
        dir: PathBuf,
        /// Where the key is expected.
        path: PathBuf,
    },
    /// The key of what is redacted cannot be had, and nothing may be kept without it.
    #[error(transparent)]
    RedactKey(#[from] RedactKeyError),
    /// The key at hand was retired.
    #[error(
        "the key in {path} is {found}, which was retired: since record {since} this log is signed \
         by {wanted}; put that key back (a retired one must not sign)"
    )]
    KeyRetired {
        /// Where the key is expected.
        path: PathBuf,
        /// Name and id of the key that is there.
        found: String,
        /// Name and id of the key that has to be.
        wanted: String,
        /// The record that says so.
        since: u64,
    },
    /// Another key took the place of the key at hand, which did not sign that.
    #[error(
        "the key in {path} is {found}, but {keys} says that {by} took its place {told}, without \
         its signature"
    )]
    KeyReplaced {
        /// Where the key is expected.
        path: PathBuf,
        /// The file that says so.
        keys: PathBuf,
        /// Name and id of the key that is there.
        found: String,
        /// Name and id of the one that took its place.
        by: String,
        /// When, by whom and why.
        told: String,
    },
    /// There is an `audit.log` that is not ours.
    #[error(
        "{path} is not an auditctl log: {reason}; move it away or choose another log directory"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        reason: String,
    },
    /// Stored records do not fit the checkpoint.
    #[error("the log is corrupt: {0}; nothing was changed, and reading still works")]
    Corrupt(Corruption),
    /// A signed head that is kept elsewhere does not fit the log.
    #[error("{found}; nothing was changed in {}, and reading still works", dir.display())]
    OtherHistory {
        /// The log directory.
        dir: PathBuf,
        /// The head, and what it means.
        found: Box<Contradiction>,
    },
    /// A thread could not be started or the status page could not be made.
    #[error("cannot start the log in {dir}: {reason}")]
    Start {
        /// The log directory.
        dir: PathBuf,
        /// Why.
        reason: String,
    },
}

impl OpenError {
    /// What [`OpenError::kind`] can say.
    pub const KINDS: &[&str] = &[
        "locked",
        "io",
        "key",
        "key_missing",
        "key_replaced",
        "redact_key",
        "foreign",
        "corrupt",
        "newer_version",
        "start",
        "rolled_back",
        "snapshot_restored",
        "cloned",
    ];

    /// A stable name for scripts.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "locked",
            // It could be read, and is not what it should be.
            Self::Manifest(ManifestError::Invalid { .. }) => "corrupt",
            Self::Io { source, .. } | Self::Manifest(ManifestError::Io { source, .. })
                if source.kind() == io::ErrorKind::InvalidData =>
            {
                "corrupt"
            }
            Self::Manifest(ManifestError::Newer { .. }) | Self::Newer { .. } => "newer_version",
            Self::Io { .. } | Self::Manifest(ManifestError::Io { .. }) => "io",
            Self::Key { .. } | Self::KeyRetired { .. } => "key",
            Self::KeyMissing { .. } => "key_missing",
            Self::KeyReplaced { .. } => "key_replaced",
            Self::RedactKey(_) => "redact_key",
            Self::Foreign { .. } => "foreign",
            Self::Corrupt(_) => "corrupt",
            Self::OtherHistory { found, .. } => match found.history {
                History::RolledBack => "rolled_back",
                History::SnapshotRestored => "snapshot_restored",
                History::Cloned => "cloned",
            },
            Self::Start { .. } => "start",
        }
    }
}

/// Where and what is wrong before the checkpoint's size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {reason}", place(*seq, *offset))]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Corruption {
    /// The file it is in.
    pub file: String,
    /// The first record concerned, if known.
    pub seq: Option<u64>,
    /// The byte offset in the file, if known.
    pub offset: Option<u64>,
    /// What is wrong.
    pub reason: String,
}

fn place(seq: Option<u64>, offset: Option<u64>) -> String {
    match (seq, offset) {
        (Some(seq), Some(offset)) => format!(", record {seq} at byte {offset}"),
        (Some(seq), None) => format!(", from record {seq} on"),
        _ => String::new(),
    }
}

pub(super) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_path_buf();
    move |source| OpenError::Io { action, path, source }
}
