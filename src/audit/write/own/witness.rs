//! The records of a witness's own log: what it cosigned for other logs, and what it did
//! not. What it may cosign next rests on them.

use serde::{Deserialize, Serialize};

use crate::audit::tree::merkle::Hash;

/// A checkpoint of another log that was cosigned. Recorded, durably, before anybody is
/// given the cosignature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cosigned {
    /// The log's origin.
    pub origin: String,
    /// The size of the tree that it continues.
    pub old_size: u64,
    /// The size of the tree.
    pub tree_size: u64,
    /// Its root.
    pub root_hash: Hash,
    /// The signed note: the signatures by the log's keys that were checked, and the
    /// cosignature.
    pub checkpoint: String,
}

/// A checkpoint that a key of its log signed and that was not cosigned: the note may
/// prove that the log signed two histories.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CosigningRefused {
    /// The log's origin.
    pub origin: String,
    /// `split_view`: another root at the size that was cosigned; `not_consistent`: the
    /// proof does not lead from what was cosigned to it.
    pub reason: String,
    /// The size that it was said to continue.
    pub old_size: u64,
    /// The size of the tree.
    pub tree_size: u64,
    /// Its root.
    pub root_hash: Hash,
    /// The size that was cosigned last.
    pub cosigned_size: u64,
    /// The root there.
    pub cosigned_root: Hash,
    /// The signed note, with the signatures by the log's keys.
    pub checkpoint: String,
    /// The proof that came with it.
    pub proof: Vec<Hash>,
}

/// All that a witness knows when it starts: what was recorded before need not be read
/// again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessState {
    /// The witness's verifier key.
    pub key: String,
    /// The epoch of its own log.
    pub epoch: u32,
    /// The logs that it cosigned for.
    pub logs: Vec<WitnessedLog>,
}

/// What was cosigned last for a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessedLog {
    /// The log's origin.
    pub origin: String,
    /// The tree's size.
    pub tree_size: u64,
    /// Its root.
    pub root_hash: Hash,
    /// The record of it.
    pub record: u64,
}
