//! What an incremental backup builds on: the archives that hold the records before its own.
//!
//! An incremental backup is the end of a log, from the record on with which the backup before
//! it ended. It carries the hashes of the tree up to there, whose root is the one that the backup
//! before it was signed over: so it is provable alone, and the two provably belong together. All
//! the archives it needs are listed in it, the full one first, each with its length and SHA-256.

use serde::{Deserialize, Serialize};

use super::name::BackupId;
use crate::audit::tree::merkle::{Hash, Range};

/// No backup needs more archives than this, its own among them.
pub(crate) const MAX_CHAIN: usize = 64;

/// An archive that holds what comes before an incremental backup.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Base {
    /// The backup's id.
    pub id: BackupId,
    /// The stored file's name.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: Hash,
    /// The first record that it holds.
    pub first_seq: u64,
    /// The seq after the last one.
    pub tree_size: u64,
    /// The root of the tree up to there.
    pub root_hash: Hash,
}

/// Whether bases follow each other, and end where the tree before the first own record does.
pub(crate) fn check_bases(bases: &[Base], before: &Range) -> Result<(), String> {
    let Some(last) = bases.last() else { return Ok(()) };
    if bases.len() >= MAX_CHAIN {
        let most = MAX_CHAIN - 1;
        return Err(format!(
            "it builds on {} archives, and no more than {most} may be",
            bases.len()
        ));
    }
    let follow = bases.windows(2).all(|two| two[0].tree_size == two[1].first_seq);
    let ordered = bases.iter().all(|base| base.first_seq < base.tree_size);
    if !follow || !ordered || last.tree_size != before.end() {
        return Err("the archives that it builds on do not follow each other".to_owned());
    }
    if before.root() != Ok(last.root_hash) {
        return Err(format!("it does not begin where backup {} ends", last.id));
    }
    Ok(())
}
