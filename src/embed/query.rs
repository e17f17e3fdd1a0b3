//! Asking a log, from the process that writes it or from any other that may read its files.
//!
//! A [`Request`] says in words what is asked for, and [`resolve`](Request::resolve) makes a
//! [`Query`] of it. A [`Reader`] answers it from the files, beside a running writer, and
//! [`AuditLog::query`](crate::AuditLog::query) in the writer's own process, with a cache.
//!
//! ```
//! use auditctl::query::{Reader, Request};
//! use auditctl::{AuditLog, Event, Options, Timestamp};
//!
//! # let directory = tempfile::tempdir()?;
//! # let dir = directory.path().join("logs");
//! # let log = AuditLog::open(Options::new(&dir))?;
//! # log.record(Event::new("login").actor("alice"))?.wait()?;
//! let mut request = Request::default();
//! request.actor = vec!["alice".to_owned()];
//! let answer = Reader::at(&dir)?.query(&request.resolve(Timestamp::now())?)?;
//! for line in answer.lines().into_iter().flat_map(|lines| lines.iter()) {
//!     println!("{}", String::from_utf8_lossy(line)); // the record, as it is stored
//! }
//! # assert_eq!(answer.lines().map(|lines| lines.len()), Some(1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::path::Path;
use std::sync::Arc;

use crate::audit::read::error::ReadError;
pub use crate::audit::read::query::{
    Answer, CacheUse, Counted, Effort, Field, Filter, Found, GivenUp, Group, GroupBy, Groups,
    Histogram, History, Lines, Order, Overview, Query, Question, Reader, Request, RequestError,
    Step, Summary, Unit, Value, Want,
};

use crate::audit::read::query::Bounds;
use crate::fsio::OsFs;

impl Reader {
    /// Looks at the log in `dir` as it is now. Every answer is about that moment, until
    /// [`refresh`](Self::refresh). Needs no lock, and never waits for the writer.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn at(dir: impl AsRef<Path>) -> Result<Self, ReadError> {
        Self::open(&(Arc::new(OsFs) as _), dir.as_ref(), Bounds::default())
    }
}
