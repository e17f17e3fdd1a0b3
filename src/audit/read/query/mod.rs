//! Asking the log: which records, how many, how many of each, how many over time.
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
mod chunk;
mod column;
mod columnar;
mod condition;
mod counts;
#[cfg(feature = "collector")]
pub mod csv;
mod document;
mod engine;
mod filter;
pub(in crate::audit::read) mod groups;
mod histogram;
mod json;
mod matcher;
mod number;
pub mod ocsf;
mod path;
mod pattern;
mod plan;
mod question;
pub(in crate::audit) mod redacted;
mod request;
mod run;
mod skim;
mod sofar;
mod step;
mod sum;
mod summary;
mod summary_document;
mod unread;
mod view;
mod when;

use std::path::Path;
use std::sync::Arc;

use crate::audit::read::error::ReadError;
use crate::audit::read::view::LogView;
use crate::audit::read::watch::Unwatched;
use crate::fsio::SharedFs;
use view::View;

pub use answer::{Answer, Bounds, CacheUse, Effort, Found, GivenUp, History, Lines, MAX_DAMAGED};
pub use cache::CACHE_BYTES;
pub use column::{Cell, Column};
pub use condition::{Condition, ConditionError, Operator, reads_as_itself};
pub(crate) use engine::Engine;
pub use filter::{DEFAULT_TOP, Filter, GroupBy, MAX_BY, Order, Overview, Query, Unit, Want};
pub use groups::{Group, Groups};
pub use histogram::{DEFAULT_BUCKETS, Histogram, MAX_BUCKETS};
#[cfg(feature = "alerts")]
pub(crate) use json::without;
pub use pattern::Pattern;
pub use question::Question;
pub use request::{DEFAULT_LIMIT, MAX_TEXT_BYTES, MAX_TEXTS, Request, RequestError};
pub use step::Step;
pub use summary::{Counted, Summary, Value};
pub(crate) use view::{Ledger, Listed};

pub use crate::audit::record::head::Field;

/// A view may be taken so often before retention is given up on.
const TRIES: u32 = 5;

/// Answers queries from a log's files, in any process that may read them.
#[derive(Debug)]
pub struct Reader {
    log: LogView,
    bounds: Bounds,
    view: View,
}

impl Reader {
    /// Looks at the log as it is now. Every answer is about that moment, until
    /// [`refresh`](Self::refresh).
    ///
    /// # Errors
    /// See [`ReadError`].
    #[doc(hidden)]
    pub fn open(fs: &SharedFs, dir: &Path, bounds: Bounds) -> Result<Self, ReadError> {
        let log = LogView::new(fs, dir);
        let view = look(&log)?;
        Ok(Self { log, bounds, view })
    }

    /// Looks again.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn refresh(&mut self) -> Result<(), ReadError> {
        self.view = look(&self.log)?;
        Ok(())
    }

    /// Answers a query. When retention has removed what was to be read, it is
    /// looked at the log anew.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn query(&mut self, query: &Query) -> Result<Answer, ReadError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match run::run(&self.view, query, self.bounds, &Unwatched) {
                Err(ReadError::Pruned { .. }) if tries < TRIES => self.refresh()?,
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

fn look(log: &LogView) -> Result<View, ReadError> {
    let ledger: Arc<dyn Ledger> = Arc::new(log.clone());
    View::take(log, &ledger)
}
