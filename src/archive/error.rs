//! What can go wrong with an archive.

use std::io;
use std::path::PathBuf;

use crate::audit::read::error::ReadError;
use crate::audit::tree::document::DocumentError;
use crate::store::{StoreError, StoreErrorKind};

/// Why nothing could be shipped to an archive, or read from it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The log's records are not those that it signed.
    #[error("the log is damaged: {0}")]
    LogDamaged(String),
    /// The store could not do it.
    #[error(transparent)]
    Store(Box<StoreError>),
    /// A local file operation failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The archive holds another history of the log.
    #[error("the archive and the log contradict each other: {object}: {what}")]
    Contradicted {
        /// The object's URL.
        object: String,
        /// How it does not fit the log.
        what: String,
    },
    /// An object is not what its name or its proof says.
    #[error("{object}: {what}")]
    Object {
        /// The object's URL.
        object: String,
        /// What is wrong with it.
        what: String,
    },
    /// A key of the log signed two histories.
    #[error("{object}: {what}")]
    SplitView {
        /// The URL of an object of one of them.
        object: String,
        /// How they differ.
        what: String,
        /// The signed notes that prove it, as far as they are at hand.
        notes: Vec<String>,
    },
    /// An object that has to be there is not.
    #[error("{object} is missing: {what}")]
    Missing {
        /// The object's URL.
        object: String,
        /// Why it has to be there.
        what: String,
    },
    /// The log signed more than can be had from the archive.
    #[error("{object}: {what}")]
    Incomplete {
        /// The URL of the object that says so.
        object: String,
        /// What is not there.
        what: String,
    },
    /// A newer version made a file or an object.
    #[error("{place}: {source}")]
    Newer {
        /// The file, or the object's URL.
        place: String,
        /// Its format.
        source: DocumentError,
    },
    /// There is no archive, or none of that log.
    #[error("there is no archive of {wanted} in {place}")]
    NotFound {
        /// What was looked for.
        wanted: String,
        /// Where.
        place: String,
    },
    /// There are several logs in it, and nobody said which one is meant.
    #[error("the archive in {place} holds {} logs: {}", logs.len(), logs.join(", "))]
    SeveralLogs {
        /// Where.
        place: String,
        /// Their ids.
        logs: Vec<String>,
    },
    /// A Parquet object is not beside its data object. Nothing else is missing for it.
    #[error("{object}: {what}")]
    NoParquet {
        /// Its URL.
        object: String,
        /// Why.
        what: String,
    },
    /// Another process ships this log.
    #[error("another process is shipping this log to the archive ({} is locked)", path.display())]
    Locked {
        /// The lock's file.
        path: PathBuf,
    },
    /// It was to stop.
    #[error("interrupted")]
    Interrupted,
}

impl ArchiveError {
    /// What [`kind`](Self::kind) can say.
    pub const KINDS: &[&str] = &[
        "io",
        "corrupt",
        "archive_contradicted",
        "archive_object",
        "archive_split_view",
        "archive_missing",
        "archive_incomplete",
        "archive_parquet",
        "newer_version",
        "not_found",
        "several_logs",
        "locked",
        "interrupted",
    ];

    /// A stable name for scripts.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Store(error) => error.kind.name(),
            Self::Io { .. } => "io",
            Self::Log(ReadError::NoLog { .. }) => "not_found",
            Self::Log(ReadError::Io { .. } | ReadError::RestorePending { .. }) => "io",
            Self::Log(_) | Self::LogDamaged(_) => "corrupt",
            Self::Contradicted { .. } => "archive_contradicted",
            Self::Object { .. } => "archive_object",
            Self::SplitView { .. } => "archive_split_view",
            Self::Missing { .. } => "archive_missing",
            Self::Incomplete { .. } => "archive_incomplete",
            Self::NoParquet { .. } => "archive_parquet",
            Self::Newer { .. } => "newer_version",
            Self::NotFound { .. } => "not_found",
            Self::SeveralLogs { .. } => "several_logs",
            Self::Locked { .. } => "locked",
            Self::Interrupted => "interrupted",
        }
    }

    /// Whether it says that one object could not be read: nobody knows what is in it, and others
    /// may be read all the same. A connection that broke is something else.
    #[must_use]
    pub(crate) fn is_unread(&self) -> bool {
        match self {
            Self::Newer { .. } => true,
            Self::Store(error) => {
                use StoreErrorKind::{AccessDenied, ChecksumMismatch, Locked, Other};
                let of_object =
                    matches!(error.kind, AccessDenied | ChecksumMismatch | Locked(_) | Other);
                of_object && !error.retryable
            }
            _ => false,
        }
    }

    /// What is wrong, without the object that it is wrong with; no longer than people read.
    #[must_use]
    pub(crate) fn what(&self) -> String {
        cut(match self {
            Self::Object { what, .. }
            | Self::Missing { what, .. }
            | Self::SplitView { what, .. }
            | Self::Incomplete { what, .. } => what.clone(),
            Self::Newer { source, .. } => source.to_string(),
            Self::Store(error) => error.message.clone(),
            other => other.to_string(),
        })
    }
}

/// So much of a text that may quote what others wrote.
const MOST_TOLD: usize = 512;

/// The beginning of a text that may quote what others wrote.
pub(super) fn cut(mut text: String) -> String {
    if let Some((at, _)) = text.char_indices().nth(MOST_TOLD) {
        text.truncate(at);
        text.push('…');
    }
    text
}

impl From<StoreError> for ArchiveError {
    fn from(error: StoreError) -> Self {
        match error.kind {
            StoreErrorKind::Interrupted => Self::Interrupted,
            _ => Self::Store(Box::new(error)),
        }
    }
}

/// An error of a local file operation.
pub(super) fn io_error(
    action: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> ArchiveError {
    let path = path.into();
    move |source| ArchiveError::Io { action, path, source }
}
