//! auditctl keeps a service's audit trail: events go in, are durable and
//! tamper-evident, and their writer's state can be read by any process at any
//! moment.
//!
//! It is not a log shipper, not a search engine, and not `auditctl(8)`, the
//! Linux kernel audit tool.
//!
//! # What is promised
//! - An acknowledged event is durable: after `kill -9` or a power loss it is in
//!   the log, once, unaltered ([`Durability::Commit`], the default).
//! - The log always opens again; only a proven torn tail is cut, and kept.
//! - Nothing is dropped silently: what is refused gets an error that says why
//!   and when to try again, and is counted.
//! - Every record is a leaf of an RFC 6962 Merkle tree whose heads are signed
//!   (C2SP `tlog-checkpoint`), so that changes can be found and proven.
//! - [`check_health`] tells about the running writer, from outside, in milliseconds.
//!
//! # Embedding it
//! An embedder wants `default-features = false`: that is the engine, queries, verification,
//! health and local backups. Only Linux is supported, with Rust 1.95 or newer. Features add to
//! it:
//!
//! | feature | adds | on by default |
//! |---|---|---|
//! | `collector` | `serve`: a socket and HTTP, so that other processes send to the log | yes |
//! | `encryption` | backups encrypted to age keys | yes |
//! | `alerts` | `alerting`: webhooks, chat and e-mail | yes |
//! | `tls` | HTTPS for the collector | yes |
//! | `application` | the program; needs `collector` | yes |
//! | `s3`, `azure`, `gcs` | the program's backup destinations | yes |
//! | `testing` | opens all modules to auditctl's own tests; nothing of it is kept compatible | no |
//!
//! The public API is small. `tests/fixtures/public-api.txt` lists what it has without features.
//! Structs and enums that may grow are `non_exhaustive`: a later version adds to them without breaking a caller.
//! `examples/` has programs that embed the log: with threads, on tokio, reading from another
//! process, verifying, and recording what `tracing` is told.
//!
//! ```
//! use auditctl::{AuditLog, Event, Options};
//!
//! # let directory = tempfile::tempdir()?;
//! # let (logs, backups) = (directory.path().join("logs"), directory.path().join("backups"));
//! let log = AuditLog::open(Options::new(logs).backups_in(backups))?;
//! let receipt = log.record(Event::new("login").actor("alice").outcome("success"))?;
//! let seq = receipt.wait()?; // durable from here on
//! assert_eq!(seq, 2); // after the log's own `audit.log_created` and `audit.opened`
//! log.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Options`] has the program's defaults, except that no directory of backups is set, so
//! retention removes nothing (see below). What follows from them:
//!
//! - **Rate**: each source may send 100 events a second, 200 at once. Events beyond that are
//!   refused with [`RecordError::RateLimited`], which says when to try
//!   again. A service that is the only source sets another
//!   [`rate_limit`](Options::rate_limit), or `None`.
//! - **Blocking**: [`record`](AuditLog::record) waits for room up to
//!   [`overflow_timeout`](Options::overflow_timeout) (5 s) when the queue is full.
//!   [`wait`](Receipt::wait) blocks its thread until the record is on disk. Both
//!   block; in async code call them from `spawn_blocking`.
//! - **Durability**: by default, [`wait`](Receipt::wait) returns once the record is on disk. Many
//!   threads that wait share one sync. With [`Durability::Interval`] it returns at once, and
//!   [`wait_durable`](Receipt::wait_durable) waits for the disk. The event of a receipt that is
//!   dropped is recorded all the same.
//! - **Threads**: four a log, which write, keep house, wake those who wait, and publish the
//!   status page. Retention and queries use others for as long as they work. There is one
//!   writer a log: a second [`open`](AuditLog::open) is refused.
//! - **Retention** looks once an hour. Segments older than 90 days are removed, *if a backup
//!   is proven to hold them*. Without [`backups_in`](Options::backups_in) nothing is removed,
//!   and the log grows.
//!   Only [`RetentionRule::RemovesWithoutBackup`] removes what no
//!   backup holds; `retention(None)` keeps everything for ever.
//! - **Closing**: [`close`](AuditLog::close) makes everything accepted durable, records
//!   the end, signs the last checkpoint and joins the threads. The last clone that is dropped
//!   does the same, and can tell nobody that it failed. A log that was not closed opens again,
//!   and says that it was not.
//! - **Fork**: a child has no threads of the log. Every call in it says so
//!   ([`RecordError::Forked`]), changes nothing and waits for nothing; the
//!   parent's log goes on. Open another log in the child, or send to the parent.
//! - **Shared by threads**: [`AuditLog`], [`Options`], readers, reports and errors are `Send` and
//!   `Sync`. Clones of an [`AuditLog`] are the same log.
//! - **Health**: [`check_health`] judges the log from its files, from this or any other
//!   process. It takes [`Settings`], as the program has them; whoever has those opens the log
//!   with `Options::from(&settings)`.
//! - **In your process** no file is mapped, no signal handler installed and no signal's
//!   meaning changed, except by `serve::run`, which handles `SIGTERM`, `SIGINT` and `SIGHUP`. In
//!   the log's threads, and in a caller's while a log is opened,
//!   `SIGXFSZ` and `SIGPIPE` are blocked, so that a limit on the size of files makes a write
//!   fail and ends nothing. [`Backups`] and `serve` write without that
//!   protection, in the caller's thread and in their own. There, a write beyond a limit on
//!   the size of files (`ulimit -f`) raises `SIGXFSZ`, which by default ends the process. A
//!   process that can have such a limit handles or ignores the signal first, as `auditctl`
//!   does: `signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Default::default())`.
//!   `SIGPIPE` is ignored in every program whose `main` is Rust's; elsewhere ignore it too.
//!
//! # With backups, and only what they hold removed
//! ```
//! use auditctl::{AuditLog, Backups, Event, Options, Settings, check_health};
//!
//! # let directory = tempfile::tempdir()?;
//! let mut settings = Settings::default(); // or `settings::load`: file, environment, flags
//! settings.log_dir = directory.path().join("logs");
//! settings.backup.output_dir = directory.path().join("backups");
//! settings.retention_days = 365;
//!
//! // `from` already names the backups for retention. `backups_in` does that, and
//! // also compares the log with the backups' signed heads.
//! let backups = &settings.backup.output_dir;
//! let log = AuditLog::open(Options::from(&settings).backups_in(backups))?;
//! log.record(Event::new("invoice.paid").source("billing"))?.wait()?;
//!
//! // Now and then, from any thread: proven restorable once this returns. The log records it, so
//! // that backups that are lost later do not look like backups that were never made. Without
//! // one, retention removes nothing, and `check_health` warns once something is old enough.
//! Backups::in_dir(backups).make(&log)?;
//!
//! let health = check_health(&settings);
//! assert!(health.checks.iter().any(|check| check.component == "backup"));
//! log.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]
// Which parts are used depends on the features, and by what the tests are: they are judged with
// `testing`, where everything can be reached.
#![cfg_attr(not(feature = "testing"), allow(dead_code, unreachable_pub, unused_imports))]

mod embed;

// The examples of this page compile and run.
#[cfg(doctest)]
#[doc = include_str!("../docs/embedding.md")]
struct Page;

pub use audit::{
    AuditLog, Corruption, DiskThresholds, Durability, Event, EventError, OpenError, Options,
    RateLimit, ReadError, Receipt, RecordError, RetentionRule,
};
pub use clock::Timestamp;
pub use config::Settings;
#[cfg(feature = "alerts")]
pub use embed::alerting;
#[cfg(feature = "collector")]
pub use embed::serve;
pub use embed::{Backup, BackupFailed, Backups, check_health, errors, query, settings, verify};
pub use field_path::{FieldPath, FieldPathError};
pub use health::{
    Check as HealthCheck, HealthReport, Metadata as HealthMetadata, Problem as HealthProblem,
    Status as HealthStatus, Summary as HealthSummary,
};
pub use origin_prefix::{OriginPrefix, OriginPrefixError};

// What the binary calls. Its comments are help texts, in which `<file>` is a word to fill in.
#[cfg(feature = "application")]
#[allow(rustdoc::invalid_html_tags)]
#[doc(hidden)]
pub mod cli;

// The modules are private, so that what an embedder can reach is what is listed above. With the
// feature `testing` they are open, because the integration tests, the benchmarks and the fuzz
// targets are crates of their own: they look at single parts, make files and clocks fail, and
// need names for that which nobody else should rely on.
#[cfg(not(feature = "testing"))]
mod access;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod access;
#[cfg(not(feature = "testing"))]
mod alerts;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod alerts;
#[cfg(not(feature = "testing"))]
mod archive;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod archive;
#[cfg(not(feature = "testing"))]
mod audit;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod audit;
#[cfg(not(feature = "testing"))]
mod backup;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod backup;
#[cfg(feature = "application")]
mod built;
#[cfg(not(feature = "testing"))]
mod clock;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod clock;
mod coded;
#[cfg(all(feature = "collector", not(feature = "testing")))]
mod collector;
#[cfg(all(feature = "collector", feature = "testing"))]
#[doc(hidden)]
pub mod collector;
#[cfg(not(feature = "testing"))]
mod config;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod config;
#[cfg(not(feature = "testing"))]
mod defaults;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod defaults;
#[cfg(not(feature = "testing"))]
mod field_path;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod field_path;
#[cfg(not(feature = "testing"))]
mod fleet;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod fleet;
#[cfg(not(feature = "testing"))]
mod fsio;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod fsio;
#[cfg(not(feature = "testing"))]
mod health;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod health;
#[cfg(not(feature = "testing"))]
mod json_place;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod json_place;
#[cfg(not(feature = "testing"))]
mod limits;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod limits;
#[cfg(not(feature = "testing"))]
mod mapping;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod mapping;
#[cfg(all(feature = "collector", not(feature = "testing")))]
mod monitor;
#[cfg(all(feature = "collector", feature = "testing"))]
#[doc(hidden)]
pub mod monitor;
#[cfg(not(feature = "testing"))]
mod origin_prefix;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod origin_prefix;
#[cfg(not(feature = "testing"))]
mod store;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod store;
#[cfg(all(feature = "application", not(feature = "testing")))]
mod ui;
#[cfg(all(feature = "application", feature = "testing"))]
#[doc(hidden)]
pub mod ui;
#[cfg(not(feature = "testing"))]
mod units;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod units;
#[cfg(all(feature = "application", not(feature = "testing")))]
mod validate;
#[cfg(all(feature = "application", feature = "testing"))]
#[doc(hidden)]
pub mod validate;
#[cfg(not(feature = "testing"))]
mod witness;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod witness;
#[cfg(all(feature = "application", not(feature = "testing")))]
mod zone;
#[cfg(all(feature = "application", feature = "testing"))]
#[doc(hidden)]
pub mod zone;
