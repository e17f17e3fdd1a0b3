//! The engine: events in, a durable and tamper-evident log on disk. Knows nothing
//! of the command line, tokio, clouds or terminals.
//!
//! [`AuditLog`] is the way in. The crate's documentation says what an embedder has to know:
//! features, the rate limit, blocking, threads, retention, closing, forks, health. `record`
//! can block up to `overflow_timeout` (5 s), and `wait` blocks its thread. In async code
//! call them from `spawn_blocking`.
//!
//! ```
//! use auditctl::audit::{AuditLog, Event, Options, RateLimit, RecordError};
//!
//! # let directory = tempfile::tempdir()?;
//! # let dir = directory.path().join("logs");
//! // 100 events a second, 200 at once, are the default for each source.
//! let rate_limit = Some(RateLimit { per_second: 5.0, burst: 1, ..RateLimit::default() });
//! let log = AuditLog::open(Options { rate_limit, ..Options::new(dir) })?;
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

pub(crate) mod block_filter;
pub mod checkpoint;
pub mod document;
pub mod event;
pub mod examine;
pub mod ended;
pub(crate) mod facts;
pub mod gzip;
mod head;
mod head_file;
pub mod histories;
mod keeper;
pub mod key_change;
pub mod key_replace;
pub mod keys;
pub(crate) mod leaves;
mod log;
pub mod manifest;
pub mod merkle;
pub mod options;
pub mod own;
pub mod own_files;
pub mod paths;
mod progress;
pub mod proof;
pub mod query;
mod queue;
pub mod rate_limit;
pub mod record;
mod recovery;
mod redact;
mod refusal;
pub mod repair;
pub mod restore;
pub(crate) mod room;
mod roots;
pub(crate) mod salvage;
mod same;
pub mod sanitize;
mod scan;
mod seal;
pub(crate) mod secret;
pub mod security;
pub mod segment;
mod shelter;
pub mod signed_document;
pub mod signer;
pub mod snapshot;
pub mod status;
pub mod survey;
pub mod trouble;
pub mod verify;
pub mod walk;
pub mod watch;
mod writer;

pub use event::{Event, EventError, EventLimits, ParseMode};
pub use facts::Span;
pub use log::{AuditLog, Receipt, ReloadError, Session};
pub use options::{
    BackupClaim, BackupsHold, DiskThresholds, Durability, Options, RateLimit, RetentionRule,
    Tunables,
};
pub use paths::LogPaths;
pub use progress::Progress;
pub use queue::{Batch, Submitted};
pub use record::{ImportId, Origin, Via};
pub use recovery::{Corruption, OpenError, RESTORE_ACTION};
pub use redact::{
    IMPORTED_FORMAT, IMPORTED_MOVED, IMPORTED_NAMES, REDACTED_PREFIX, RedactKey, RedactKeyError,
    is_redacted,
};
pub use refusal::RecordError;
pub use same::is_record_of;
pub use scan::member_lengths;
pub use seal::Seal;
