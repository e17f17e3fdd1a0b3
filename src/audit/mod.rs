//! The engine: events in, a durable and tamper-evident log on disk. Knows nothing
//! of the command line, tokio, clouds or terminals.
//!
//! [`AuditLog`] is the way in; see the crate's documentation for an example.

mod block_filter;
pub mod checkpoint;
pub mod event;
pub mod examine;
pub(crate) mod facts;
pub mod gzip;
mod head;
mod head_file;
pub mod histories;
mod keeper;
pub mod key_change;
pub mod keys;
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
pub mod restore;
mod roots;
pub mod sanitize;
mod scan;
mod seal;
mod secret;
pub mod security;
pub mod segment;
mod shelter;
pub mod signer;
pub mod snapshot;
pub mod status;
pub mod survey;
pub mod trouble;
pub mod verify;
pub mod watch;
mod writer;

pub use event::{Event, EventError, EventLimits, ParseMode};
pub use facts::Span;
pub use log::{AuditLog, Receipt, ReloadError, Session};
pub use options::{
    BackupClaim, BackupsHold, DiskThresholds, Durability, Options, RateLimit, Tunables,
};
pub use paths::LogPaths;
pub use progress::Progress;
pub use queue::{Batch, Submitted};
pub use record::{Origin, Via};
pub use recovery::{Corruption, OpenError};
pub use redact::{REDACTED_PREFIX, RedactKey, RedactKeyError};
pub use refusal::RecordError;
pub use scan::member_lengths;
pub use seal::Seal;
