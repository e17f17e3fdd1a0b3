//! What the records of an opening say: what was found, given up, left behind or accepted.

use serde::Serialize;

use super::is_zero;
use crate::audit::files::ended::EndedEpoch;
use crate::audit::files::manifest::{Manifest, Segment};
use crate::audit::files::segment::Block;
use crate::audit::tree::merkle::{Hash, Range};

/// A log that goes on although signed heads elsewhere do not fit it, as its
/// `audit.rollback_accepted` record says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RollbackAccepted {
    /// What it looked like: `rolled_back`, `snapshot_restored` or `cloned`.
    pub history: String,
    /// The epoch that begins.
    pub epoch: u32,
    /// How many records the log had.
    pub records: u64,
    /// The log's own newest head, of the epoch that ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abandoned_checkpoint: Option<String>,
    /// The heads that do not fit.
    pub contradicting: Vec<Contradicting>,
    /// How many more there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub more: u64,
}

/// A signed head that does not fit the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Contradicting {
    /// The backup's id, or the file.
    pub name: String,
    /// The head's epoch.
    pub epoch: u32,
    /// How many records it is over.
    pub tree_size: u64,
    /// Their root.
    pub root_hash: Hash,
    /// The head itself, a signed note.
    pub checkpoint: String,
}

/// Records that the log does not have any more, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GivenUp {
    /// The first.
    pub first_seq: u64,
    /// One after the last.
    pub end_seq: u64,
    /// The segment's file.
    pub file: String,
    /// What is wrong with them.
    pub reason: String,
    /// Their subtree hashes.
    pub tree: Range,
}

impl GivenUp {
    /// All holes that a manifest has.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Vec<Self> {
        let named = |(segment, hole): (&Segment, &Block)| Self {
            first_seq: hole.first_seq,
            end_seq: hole.tree.end(),
            file: segment.file.clone(),
            reason: hole.hole.clone().unwrap_or_default(),
            tree: hole.tree.clone(),
        };
        manifest.holes().map(named).collect()
    }
}

/// Records that the log had signed and that the epoch which begins does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LeftBehind {
    /// The epoch that they are of.
    pub(crate) epoch: u32,
    /// The first.
    pub(crate) first_seq: u64,
    /// One after the last.
    pub(crate) end_seq: u64,
    /// The tree over what comes before them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<Range>,
}

impl LeftBehind {
    pub(crate) fn of(ended: &EndedEpoch) -> Self {
        Self {
            epoch: ended.epoch,
            first_seq: ended.first_seq,
            end_seq: ended.end_seq,
            before: ended.before.clone(),
        }
    }
}

/// What opening found that a clean close does not leave, as the `audit.recovered`
/// record says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Recovered {
    /// Bytes of a torn tail, and where they are kept.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) torn_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) torn_file: Option<String>,
    /// Records that were taken over although no signature covered them: from,
    /// and up to before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unsigned_first: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unsigned_end: Option<u64>,
    /// Lines behind a signed `audit.closed`, which no writer of this log wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) foreign_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) foreign_file: Option<String>,
    /// Why the manifest was not believed, but made anew from the segments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) manifest_rebuilt: Option<String>,
    /// Why `audit.checkpoint` could not be used; `audit.head` stood in for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) checkpoint_lost: Option<String>,
    /// Segments whose stored bytes are others than were noted, with the records
    /// that were signed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) stored_anew: Vec<String>,
    /// Records that the status page, which nobody signs, says were durable, and that
    /// are not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) missed_by_status_page: Option<u64>,
    /// What `--accept-corruption` accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) accepted_corruption: Option<String>,
    /// Records that were given up: all that are missing now, so that the newest such
    /// record speaks for all before it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) holes: Vec<GivenUp>,
    /// Where what stood in the active segment's file is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) damaged_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) abandoned_checkpoint: Option<String>,
    /// The records that were left behind with the epoch which that checkpoint is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) left_behind: Option<LeftBehind>,
    /// `audit.keys` was missing, short or damaged, and was put back from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keys_put_back: Option<String>,
    /// Where what stood there is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keys_file: Option<String>,
    /// How one key followed another before this one is lost, which was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keys_from: Option<String>,
}
