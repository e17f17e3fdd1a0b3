//! The engine: events in, a durable and tamper-evident log on disk. Knows nothing
//! of the command line, tokio, clouds or terminals.
//!
//! [`AuditLog`] is the way in. The crate's documentation says what an embedder has to know:
//! features, the rate limit, blocking, threads, retention, closing, forks, health.
//!
//! ```
//! use auditctl::{AuditLog, Event, Options, RateLimit, RecordError};
//!
//! # let directory = tempfile::tempdir()?;
//! # let dir = directory.path().join("logs");
//! // 100 events a second, 200 at once, are the default for each source.
//! let log = AuditLog::open(Options::new(dir).rate_limit(RateLimit::new(5.0, 1)))?;
//! let event = || Event::new("tick").source("clock");
//! log.record(event())?.wait()?;
//! match log.record(event()) {
//!     Err(RecordError::RateLimited { retry_after, .. }) => std::thread::sleep(retry_after),
//!     other => panic!("{other:?}"),
//! }
//! log.record(event())?.wait()?;
//! log.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod files;
pub mod keys;
pub mod paths;
pub mod read;
pub mod record;
pub mod state;
pub mod tree;
pub mod write;

pub use files::facts::Span;
pub use files::scan::member_lengths;
pub use paths::LogPaths;
pub use read::error::ReadError;
pub use record::event::{Event, EventError, EventLimits, ParseMode};
pub use record::redact::{
    IMPORTED_FORMAT, IMPORTED_MOVED, IMPORTED_NAMES, REDACTED_PREFIX, RedactKey, RedactKeyError,
    is_redacted,
};
pub use record::refusal::RecordError;
pub use record::same::is_record_of;
pub use record::{ImportId, Origin, Via};
pub use state::progress::Progress;
pub use write::log::{AuditLog, HandIn, Handed, Receipt, Recorded, ReloadError, Session};
pub use write::options::{
    BackupClaim, BackupsHold, DiskThresholds, Durability, Options, RateLimit, RetentionRule,
    Tunables,
};
pub use write::queue::{Batch, Repeat, Submitted, Taken};
pub use write::recovery::{Corruption, Foreseen, OpenError, RESTORE_ACTION, foresee};
pub use write::seal::Seal;
