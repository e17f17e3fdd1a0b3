//! What opening hands over to the writer.

use std::sync::Arc;

use crate::audit::files::ended::EndedEpoch;
use crate::audit::files::leaves::LeavesFile;
use crate::audit::files::manifest::Manifest;
use crate::audit::files::restore::Restored;
use crate::audit::files::segment::Active;
use crate::audit::keys::KeyHistory;
use crate::audit::keys::signer::Signer;
use crate::audit::state::status::Damage;
use crate::audit::tree::merkle::Range;
use crate::audit::write::head_file::HeadFile;
use crate::audit::write::own::{KeyReplaced, Recovered, RollbackAccepted};
use crate::clock::{ClockWatch, Timestamp};
use crate::fsio::lock::WriterLock;

/// Bytes that were set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Aside {
    pub(crate) bytes: u64,
    pub(crate) file: String,
}

/// Corruption that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) reason: String,
    pub(crate) abandoned: Option<String>,
}

/// Acknowledged events that a crash of an interval-durability writer lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) count: u64,
    pub(crate) first: Option<Timestamp>,
    pub(crate) last: Option<Timestamp>,
}

/// Refusals of the rate limiter that are in no record, because the writer was
/// killed before it made one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The source that was refused most; of the others nothing is known.
    pub(crate) source: String,
    /// Who sent it.
    pub(crate) sender: Option<String>,
    pub(crate) count: u64,
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
}

/// Another history that was accepted: what begins because of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rollback {
    pub(crate) record: RollbackAccepted,
}

impl Rollback {
    /// The contradicting heads' signed notes.
    pub(crate) fn notes(&self) -> impl Iterator<Item = &String> {
        self.record.contradicting.iter().map(|found| &found.checkpoint)
    }
}

/// A log ready for its writer.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) lock: Arc<WriterLock>,
    pub(crate) manifest: Manifest,
    pub(crate) active: Active,
    pub(crate) signer: Signer,
    /// The part of the tree that the signer has not signed yet.
    pub(crate) grown: Range,
    pub(crate) head: HeadFile,
    pub(crate) leaves: LeavesFile,
    pub(crate) checkpoint: String,
    pub(crate) clean: bool,
    /// What is recorded of the opening, unless there is nothing to tell.
    pub(crate) recovered: Option<Recovered>,
    /// Somebody who is no writer of this log appended to it.
    pub(crate) foreign: bool,
    /// Another history of the log that was accepted.
    pub(crate) rollback: Option<Rollback>,
    pub(crate) lost: Option<Lost>,
    /// Refusals that the writer before died with.
    pub(crate) refused: Option<Refused>,
    /// The clocks as the writer before saw them last.
    pub(crate) watch: Option<ClockWatch>,
    pub(crate) damage: Option<Damage>,
    /// Epochs that ended with records which the next one does not have, and of which no
    /// record is known to say so yet.
    pub(crate) ended: Vec<EndedEpoch>,
    /// When the last event was accepted, where that is known.
    pub(crate) last_event: Option<Timestamp>,
    /// Up to where records were adopted unsigned that no backup holds; 0 for none.
    pub(crate) uncovered: u64,
    /// A restore that is complete but for its record.
    pub(crate) restored: Option<Restored>,
    pub(crate) verifier_key: String,
    /// How one key followed another so far.
    pub(crate) keys: KeyHistory,
    /// A change of key was begun and has still to be finished.
    pub(crate) rotates: bool,
    /// The key took another's place, which is still to be recorded.
    pub(crate) replaced: Option<KeyReplaced>,
}
