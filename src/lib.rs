//! auditctl keeps a service's audit trail: events go in, are durable and
//! tamper-evident, and their writer's state can be read by any process at any
//! moment.
//!
//! It is not a log shipper, not a search engine, and not `auditctl(8)`, the
//! Linux kernel audit tool.
//!
//! # What is promised
//! - An acknowledged event is durable: after `kill -9` or a power loss it is in
//!   the log, once, unaltered ([`audit::Durability::Commit`], the default).
//! - The log always opens again; only a proven torn tail is cut, and kept.
//! - Nothing is dropped silently: what is refused gets an error that says why
//!   and when to try again, and is counted.
//! - Every record is a leaf of an RFC 6962 Merkle tree whose heads are signed
//!   (C2SP `tlog-checkpoint`), so that changes can be found and proven.
//! - [`health`] tells about the running writer, from outside, in milliseconds.
//!
//! # Embedding it
//! An embedder wants `default-features = false`: that is the engine, health and local
//! backups. Only Linux is supported, with Rust 1.95 or newer. Features add to it:
//!
//! | feature | adds | on by default |
//! |---|---|---|
//! | `collector` | [`collector`]: a socket and HTTP, so that other processes send to the log | yes |
//! | `application` | the program: `cli`, `ui`, `monitor`, `validate`; needs `collector` | yes |
//! | `encryption` | backups encrypted to age keys | yes |
//! | `alerts` | webhooks, chat and e-mail | yes |
//! | `tls` | HTTPS for the collector | yes |
//! | `s3`, `azure`, `gcs` | backup destinations | yes |
//! | `testing` | file systems and stores that fail when told to, a clock set by hand | no |
//!
//! ```
//! use auditctl::audit::{AuditLog, Event, Options};
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
//! [`Options`](audit::Options) have the program's defaults ([`defaults`] has all of them),
//! with one exception: `backups` is `None`, so that retention removes nothing (see below).
//! What follows from them:
//!
//! - **Rate**: each source may send 100 events a second, 200 at once. What is more is
//!   refused with [`RecordError::RateLimited`](audit::RecordError), which says when to try
//!   again. A service that is the only source sets another
//!   [`rate_limit`](audit::Options::rate_limit), or `None`.
//! - **Blocking**: [`record`](audit::AuditLog::record) waits for room up to
//!   [`overflow_timeout`](audit::Options::overflow_timeout) (5 s) when the queue is full.
//!   [`wait`](audit::Receipt::wait) blocks its thread until the record is on disk. Both
//!   block; in async code call them from `spawn_blocking`.
//! - **Durability**: [`wait`](audit::Receipt::wait) returns once the record is on disk. Many
//!   threads that wait share one sync. The event of a receipt that is dropped is recorded
//!   all the same.
//! - **Threads**: four a log, which write, keep house, wake those who wait, and publish the
//!   status page. Retention and queries use others for as long as they work. There is one
//!   writer a log: a second [`open`](audit::AuditLog::open) is refused.
//! - **Retention** looks once an hour. Segments older than 90 days are removed, *if a backup
//!   is proven to hold them*. Without [`backups_in`](audit::Options::backups_in), or something
//!   else that implements [`BackupsHold`](audit::BackupsHold), nothing is removed, and the log
//!   grows.
//!   Only [`RetentionRule::RemovesWithoutBackup`](audit::RetentionRule) removes what no
//!   backup holds; `retention: None` keeps everything for ever.
//! - **Closing**: [`close`](audit::AuditLog::close) makes everything accepted durable, records
//!   the end, signs the last checkpoint and joins the threads. The last clone that is dropped
//!   does the same, and can tell nobody that it failed. A log that was not closed opens again,
//!   and says that it was not.
//! - **Fork**: a child has no threads of the log. Every call in it says so
//!   ([`RecordError::Forked`](audit::RecordError)), changes nothing and waits for nothing; the
//!   parent's log goes on. Open another log in the child, or send to the parent.
//! - **Health**: [`health::check`] judges the log from its files, from this or any other
//!   process. It takes [`Settings`](config::Settings), as the program has them; whoever has
//!   those opens the log with `Options::from(&settings)`.
//! - **In your process** no file is mapped, no signal handler installed and no signal's
//!   meaning changed. In the log's threads, and in a caller's while a log is opened,
//!   `SIGXFSZ` and `SIGPIPE` are blocked, so that a limit on the size of files makes a write
//!   fail and ends nothing. [`backup`], [`store`] and [`collector`] write without that
//!   protection, in the caller's thread and in their own. There, a write beyond a limit on
//!   the size of files (`ulimit -f`) raises `SIGXFSZ`, which by default ends the process. A
//!   process that can have such a limit handles or ignores the signal first, as `auditctl`
//!   does: `signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Default::default())`.
//!   `SIGPIPE` is ignored in every program whose `main` is Rust's; elsewhere ignore it too.
//!
//! # With backups, and only what they hold removed
//! ```
//! use std::sync::Arc;
//!
//! use auditctl::audit::{AuditLog, Event, Options};
//! use auditctl::backup::{BackupDir, Creator, Request, Unwatched};
//! use auditctl::clock::SystemClock;
//! use auditctl::config::Settings;
//! use auditctl::fsio::OsFs;
//! use auditctl::health;
//!
//! # let directory = tempfile::tempdir()?;
//! let mut settings = Settings::default(); // or `config::load`: file, environment, flags
//! settings.log_dir = directory.path().join("logs");
//! settings.backup.output_dir = directory.path().join("backups");
//! settings.retention_days = 365;
//!
//! let backups = settings.backup.output_dir.clone();
//! // `from` already names the backups for retention. `backups_in` does that, and
//! // also compares the log with the backups' signed heads.
//! let options = Options::from(&settings).backups_in(&backups);
//! let log = AuditLog::open(options.clone())?;
//! log.record(Event::new("invoice.paid").source("billing"))?.wait()?;
//!
//! // Now and then, from any thread or process: proven restorable once this returns.
//! let dir = BackupDir::new(Arc::new(OsFs), &backups);
//! let creator = Creator { fs: Arc::new(OsFs), clock: Arc::new(SystemClock), dir };
//! let made = creator.create(&Request::of(&options), &Unwatched)?;
//! // The log knows from here on that it has been backed up. Without this record, backups
//! // that are lost later look like backups that were never made. Without a backup that is
//! // proven, retention removes nothing, and `health` warns once something is old enough.
//! log.record_backup_made(made.to_record()).wait()?;
//!
//! let found = health::check(&settings, &OsFs, &SystemClock);
//! assert!(found.report.checks.iter().any(|check| check.component == "backup"));
//! log.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

pub mod access;
pub mod alerts;
pub mod audit;
pub mod backup;
#[cfg(feature = "application")]
mod built;
#[cfg(feature = "application")]
pub mod cli;
pub mod clock;
#[cfg(feature = "collector")]
pub mod collector;
pub mod config;
pub mod defaults;
pub mod field_path;
pub mod fsio;
pub mod health;
pub mod json_place;
pub mod limits;
#[cfg(feature = "application")]
pub mod monitor;
pub mod origin_prefix;
pub mod store;
#[cfg(feature = "application")]
pub mod ui;
pub mod units;
#[cfg(feature = "application")]
pub mod validate;
#[cfg(feature = "application")]
pub mod zone;
