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
//! # In somebody else's process
//! The engine maps no file, installs no signal handler and changes no signal's
//! meaning. In its own threads, and in a caller's while a log is opened, `SIGXFSZ`
//! and `SIGPIPE` are blocked, so that a limit on the size of files makes a write fail
//! and ends nothing. What writes elsewhere in the caller's thread ([`backup`],
//! [`store`], [`collector`]) is for a process that ignores both, as `auditctl` does.
//!
//! # Example
//! ```
//! use auditctl::audit::{AuditLog, Event, Options};
//!
//! # let directory = tempfile::tempdir()?;
//! # let dir = directory.path().join("logs");
//! let log = AuditLog::open(Options::new(dir))?;
//! let receipt = log.record(Event::new("login").actor("alice").outcome("success"))?;
//! let seq = receipt.wait()?; // durable from here on
//! assert_eq!(seq, 2); // after the log's own `audit.log_created` and `audit.opened`
//! log.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

pub mod access;
pub mod alerts;
pub mod audit;
pub mod backup;
pub mod cli;
pub mod clock;
pub mod collector;
pub mod config;
pub mod defaults;
pub mod field_path;
pub mod fsio;
pub mod health;
pub mod monitor;
pub mod store;
pub mod ui;
pub mod units;
pub mod validate;
