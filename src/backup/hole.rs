//! Records that a backup does not hold, because the log did not have them.

use serde::{Deserialize, Serialize};

use crate::audit::Span;
use crate::audit::files::segment::Block;
use crate::audit::tree::merkle::Range;
use crate::clock::Timestamp;

/// Records that the log did not have when it was backed up: their subtree hashes keep the
/// tree whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hole {
    /// Which records, and their subtree hashes.
    pub tree: Range,
    /// What was wrong with them.
    pub reason: String,
    /// The earliest `timestamp` that they can have.
    pub min_timestamp: Timestamp,
    /// The latest.
    pub max_timestamp: Timestamp,
    /// The signed record in which they were given up; absent where they were damaged, and
    /// nobody had given them up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up_by: Option<u64>,
}

impl Hole {
    /// Of a hole in a log.
    pub(crate) fn of(block: &Block) -> Self {
        Self {
            tree: block.tree.clone(),
            reason: block.hole.clone().unwrap_or_default(),
            min_timestamp: block.min_timestamp,
            max_timestamp: block.max_timestamp,
            given_up_by: None,
        }
    }

    /// As a block of a log.
    pub(crate) fn block(&self) -> Block {
        let times = (self.min_timestamp, self.max_timestamp);
        Block::hole(self.tree.clone(), times, &self.reason)
    }

    /// Which records.
    #[must_use]
    pub fn span(&self) -> Span {
        Span { begin: self.tree.begin(), end: self.tree.end() }
    }
}

/// What holes, in their order, leave of a range.
pub(crate) fn runs(
    (begin, end): (u64, u64),
    holes: impl IntoIterator<Item = (u64, u64)>,
) -> Vec<(u64, u64)> {
    let (mut runs, mut next) = (Vec::new(), begin);
    for (from, until) in holes {
        if from > next {
            runs.push((next, from));
        }
        next = next.max(until);
    }
    if next < end {
        runs.push((next, end));
    }
    runs
}

/// Whether holes are in order, each of some records, and all within those bounds.
pub(crate) fn check_holes(holes: &[Hole], (first, end): (u64, u64)) -> Result<(), String> {
    let mut next = first;
    for hole in holes {
        if hole.tree.is_empty() || hole.tree.begin() < next || hole.tree.end() > end {
            return Err(format!("its holes do not follow each other at record {next}"));
        }
        next = hole.tree.end();
    }
    Ok(())
}
