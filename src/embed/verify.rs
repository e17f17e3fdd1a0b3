//! Verifying a log with nothing but its files and a public key.
//!
//! ```
//! use auditctl::verify::{Integrity, Verifier};
//! use auditctl::{AuditLog, Event, Options};
//!
//! # let directory = tempfile::tempdir()?;
//! # let dir = directory.path().join("logs");
//! let log = AuditLog::open(Options::new(&dir))?;
//! let key = log.verifier_key(); // keep it where nobody who can write the log can change it
//! let kept = log.checkpoint(); // and this
//! log.record(Event::new("login").actor("alice"))?.wait()?;
//! log.close()?;
//!
//! let report = Verifier::with_key(&key)?.against("kept", kept.as_bytes())?.verify(&dir)?;
//! assert!(report.passed());
//! assert_eq!(report.integrity, Integrity::Intact);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::path::Path;
use std::sync::Arc;

pub use crate::audit::keys::checkpoint::{CheckpointError, NoteError};
use crate::audit::read::error::ReadError;
pub use crate::audit::read::verify::{
    Abandoned, Completeness, Counts, Depth, Finding, GivenUp, Integrity, KeptCopy, KeySource,
    KeyStretch, Kind, OldestRead, Ranges, RemovedBy, ReplacedBy, Report, Stretch, TreePlace,
    WitnessStanding, Witnessed,
};

use crate::audit::keys::checkpoint::VerifierKey;
use crate::audit::read::verify::{Anchor, Request, verify};
use crate::audit::read::watch::Unwatched;
use crate::clock::Timestamp;
use crate::fsio::OsFs;

/// Verifies logs, beside a running writer or without one.
#[derive(Clone, Debug, Default)]
pub struct Verifier {
    key: Option<VerifierKey>,
    anchors: Vec<Anchor>,
    quick: bool,
}

impl Verifier {
    /// With the key that lies beside the log, in `audit.pub`. Whoever can change the log can
    /// change that as well: a verdict that others shall trust needs
    /// [`with_key`](Self::with_key).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With a public key that is kept elsewhere: what
    /// [`AuditLog::verifier_key`](crate::AuditLog::verifier_key) returned, or the content of
    /// a copy of `audit.pub`.
    ///
    /// # Errors
    /// [`NoteError`] when the text holds no key that can be used.
    pub fn with_key(text: &str) -> Result<Self, NoteError> {
        Ok(Self { key: Some(VerifierKey::parse_file(text)?), ..Self::default() })
    }

    /// Compares the log with a signed checkpoint that was kept elsewhere: what
    /// [`AuditLog::checkpoint`](crate::AuditLog::checkpoint) returned. Only this can show
    /// that the log's end was cut off. `name` is what the report calls it.
    ///
    /// # Errors
    /// [`CheckpointError`] when it is no signed checkpoint.
    pub fn against(mut self, name: &str, checkpoint: &[u8]) -> Result<Self, CheckpointError> {
        self.anchors.push(Anchor::parse(name, checkpoint)?);
        Ok(self)
    }

    /// Checks lengths, stored digests and the active segment, and does not read all records.
    #[must_use]
    pub fn quick(mut self) -> Self {
        self.quick = true;
        self
    }

    /// Verifies the log in `dir`. It reads every stored byte, unless it is
    /// [`quick`](Self::quick).
    ///
    /// # Errors
    /// [`ReadError`] when there is no verdict. What is wrong with the log is no error, but
    /// in the [`Report`].
    pub fn verify(&self, dir: impl AsRef<Path>) -> Result<Report, ReadError> {
        let request = Request {
            quick: self.quick,
            key: self.key.clone(),
            anchors: self.anchors.clone(),
            now: Timestamp::now(),
            ..Request::default()
        };
        let fs = Arc::new(OsFs) as _;
        verify(&fs, dir.as_ref(), &request, &Unwatched).map(|(report, _)| report)
    }
}
