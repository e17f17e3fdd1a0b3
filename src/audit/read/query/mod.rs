//! Asking the log: which records, how many, how many of each.
//!
//! A [`Request`] says it in words; [`Request::question`] makes a [`Question`] of it, and
//! its [`Query`] is the same for all ways of asking the same. A [`Reader`] answers it from
//! the files, beside a running writer, and
//! [`AuditLog::query`](crate::audit::AuditLog::query) from the writer's own process, with
//! a cache.
//!
//! An answer is about the records that are there and durable at one moment, all
//! of them. Records are the stored bytes, unchanged. Nothing is verified:
//! [`verify`](super::verify) does that.

mod answer;
mod cache;
mod column;
mod condition;
mod document;
mod engine;
mod filter;
mod groups;
mod json;
mod matcher;
mod number;
mod path;
mod pattern;
mod plan;
mod question;
pub(in crate::audit) mod redacted;
mod request;
mod run;
mod view;
mod when;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::audit::files::manifest::ManifestError;
use crate::audit::paths::LogPaths;
use crate::audit::record::refusal::FORKED;
use crate::fsio::SharedFs;
use view::{Files, View};

pub use answer::{Answer, CacheUse, Effort, Found, GivenUp, History, Lines, MAX_DAMAGED};
pub use cache::CACHE_BYTES;
pub use column::{Cell, Column};
pub use condition::{Condition, ConditionError, Operator, reads_as_itself};
pub(crate) use engine::Engine;
pub use filter::{Filter, GroupBy, Order, Query, Unit, Want};
pub use groups::{Group, Groups};
#[cfg(feature = "alerts")]
pub(crate) use json::without;
pub use pattern::Pattern;
pub use question::Question;
pub use request::{DEFAULT_LIMIT, MAX_TEXT_BYTES, MAX_TEXTS, Request, RequestError};
pub use run::Bounds;
pub(crate) use view::{Ledger, Listed};

pub use crate::audit::record::head::Field;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// No log.
    #[error("there is no log in {}: audit.manifest.json is missing", dir.display())]
    NoLog {
        /// The log directory.
        dir: PathBuf,
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
    /// The files do not reach as far as what is durable.
    #[error(
        "{durable} records are durable, but the files in {} end at record {found}; run `auditctl \
         verify`",
        dir.display()
    )]
    Short {
        /// The log directory.
        dir: PathBuf,
        /// What the writer says.
        durable: u64,
        /// Where the files end.
        found: u64,
    },
    /// Retention removed a segment again and again while it was to be read.
    #[error("retention removed {file} while it was being read")]
    Pruned {
        /// The segment's file.
        file: String,
    },
    /// This process is a fork of the one that opened the log.
    #[error("{FORKED}")]
    Forked,
    /// The manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
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
}

impl QueryError {
    fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_path_buf(), source }
    }
}

/// A view may be taken so often before retention is given up on.
const TRIES: u32 = 5;

/// Answers queries from a log's files, in any process that may read them.
#[derive(Debug)]
pub struct Reader {
    fs: SharedFs,
    dir: PathBuf,
    bounds: Bounds,
    view: View,
}

impl Reader {
    /// Looks at the log as it is now. Every answer is about that moment, until
    /// [`refresh`](Self::refresh).
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn open(fs: &SharedFs, dir: &Path, bounds: Bounds) -> Result<Self, QueryError> {
        let view = look(fs, dir)?;
        Ok(Self { fs: fs.clone(), dir: dir.to_path_buf(), bounds, view })
    }

    /// Looks again.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn refresh(&mut self) -> Result<(), QueryError> {
        self.view = look(&self.fs, &self.dir)?;
        Ok(())
    }

    /// Answers a query. When retention has removed what was to be read, it is
    /// looked at the log anew.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn query(&mut self, query: &Query) -> Result<Answer, QueryError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match run::run(&self.view, query, self.bounds) {
                Err(QueryError::Pruned { .. }) if tries < TRIES => self.refresh()?,
                done => return done,
            }
        }
    }

    /// One after the last record that answers are about.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.view.end
    }

    /// The first record that is there.
    #[must_use]
    pub fn begin(&self) -> u64 {
        self.view.begin
    }
}

fn look(fs: &SharedFs, dir: &Path) -> Result<View, QueryError> {
    let files = Files { fs: fs.clone(), paths: LogPaths::new(dir) };
    let ledger: Arc<dyn Ledger> = Arc::new(files);
    View::take(fs, dir, &ledger)
}
