//! Why a log is not repaired.

use std::path::PathBuf;

use crate::audit::read::error::ReadError;

/// Why nothing was repaired.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// It could not be looked at.
    #[error(transparent)]
    Verify(#[from] ReadError),
    /// A file operation failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Nobody knows whose log it is.
    #[error("cannot tell which key is the log's: {0}")]
    NoKey(String),
    /// No signed head of the log is left here to say which of two records is right.
    #[error(
        "no signed head of the log is left here, and {name} has another record {seq}: nothing \
         shows which of the two was recorded"
    )]
    Contradicts {
        /// The copy.
        name: String,
        /// The record.
        seq: u64,
    },
    /// No signed head of the log is left, here or in a copy.
    #[error("nothing shows what was recorded: no signed head is left in {}, and no copy has one", dir.display())]
    NoHead {
        /// The log directory.
        dir: PathBuf,
    },
}
