//! A log whose backups were found, where nobody said which log is wanted.

use std::collections::BTreeSet;

use super::name::BackupId;
use crate::clock::Timestamp;

/// A log that some backups are of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundLog {
    /// Its id.
    pub log_id: String,
    /// The key that vouches for the ones that signed them, as `audit.pub` has it.
    pub key: String,
    /// Where its backups were made.
    pub hosts: BTreeSet<String>,
    /// How many there are.
    pub backups: usize,
    /// The one that reaches furthest.
    pub newest: BackupId,
    /// Where that is: a folder or its URL.
    pub place: String,
    /// The time of the newest record in it.
    pub newest_record: Timestamp,
    /// The seq after its last record.
    pub tree_size: u64,
    /// Its length.
    pub stored_bytes: u64,
    /// Whether it is encrypted.
    pub encrypted: bool,
}
