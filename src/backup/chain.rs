//! That a backup extends the one before: which hashes the proof needs, and the
//! proof once they are known.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;

use super::error::BackupError;
use super::metadata::{Metadata, Previous};
use crate::audit::keys::checkpoint::Checkpoint;
use crate::audit::tree::merkle::{Hash, Range, empty_root};
use crate::audit::tree::proof::{RangeHashes, consistency_proof, verify_consistency};

/// The subtrees that the proof from `first` to `second` records is made of.
pub(crate) fn needed(first: u64, second: u64) -> Vec<(u64, u64)> {
    struct Asked(RefCell<Vec<(u64, u64)>>);
    impl RangeHashes for Asked {
        type Error = Infallible;
        fn range_hash(&self, begin: u64, end: u64) -> Result<Hash, Infallible> {
            self.0.borrow_mut().push((begin, end));
            Ok(empty_root())
        }
    }
    let asked = Asked(RefCell::default());
    // Sizes that cannot be are refused again when the proof is made.
    let _ = consistency_proof(&asked, first, second);
    asked.0.into_inner()
}

#[derive(Debug, thiserror::Error)]
#[error("the records {0}..{1} were removed by retention")]
struct Removed(u64, u64);

struct Known<'a>(&'a BTreeMap<(u64, u64), Range>);

impl RangeHashes for Known<'_> {
    type Error = Removed;
    fn range_hash(&self, begin: u64, end: u64) -> Result<Hash, Removed> {
        self.0
            .get(&(begin, end))
            .and_then(|range| range.subtree_hash().ok())
            .ok_or(Removed(begin, end))
    }
}

/// The link to the previous backup: with the proof, or without one when records
/// that it would need were removed.
///
/// # Errors
/// [`BackupError::NotAPrefix`] when the tree does not extend the previous one.
pub(crate) fn link(
    previous: &Metadata,
    checkpoint: &Checkpoint,
    ranges: &BTreeMap<(u64, u64), Range>,
) -> Result<Previous, BackupError> {
    let (first, second) = (previous.range.tree_size, checkpoint.size);
    let forked = |found: String| BackupError::NotAPrefix {
        previous: previous.id,
        earlier: first,
        root: previous.root_hash.to_string(),
        found,
    };
    if first > second {
        return Err(forked(format!("it has {second} records")));
    }
    let consistency_proof = match consistency_proof(&Known(ranges), first, second) {
        Ok(proof) => {
            verify_consistency(first, second, &previous.root_hash, &checkpoint.root, &proof)
                .map_err(|error| forked(error.to_string()))?;
            Some(proof)
        }
        // An own tree of the same size needs no hash, so this is retention's doing.
        Err(_) => None,
    };
    Ok(Previous {
        id: previous.id,
        tree_size: first,
        root_hash: previous.root_hash,
        consistency_proof,
    })
}

/// Checks a link as it is stored.
///
/// # Errors
/// What is wrong with it.
pub fn verify_link(metadata: &Metadata) -> Result<(), String> {
    let Some(previous) = &metadata.previous else { return Ok(()) };
    let Some(proof) = &previous.consistency_proof else { return Ok(()) };
    verify_consistency(
        previous.tree_size,
        metadata.range.tree_size,
        &previous.root_hash,
        &metadata.root_hash,
        proof,
    )
    .map_err(|error| format!("it does not extend backup {}: {error}", previous.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::tree::merkle::leaf_hash;

    #[test]
    fn the_needed_ranges_are_exactly_those_of_the_proof() {
        let leaves: Vec<Hash> = (0..40_u8).map(|n| leaf_hash(&[n])).collect();
        for second in 1..=40_u64 {
            for first in 1..=second {
                let ranges: BTreeMap<(u64, u64), Range> = needed(first, second)
                    .into_iter()
                    .map(|(begin, end)| {
                        let mut range = Range::empty(begin);
                        leaves[begin as usize..end as usize].iter().for_each(|l| range.append(*l));
                        ((begin, end), range)
                    })
                    .collect();
                let proof = consistency_proof(&Known(&ranges), first, second).expect("all known");
                let expected = consistency_proof(&leaves[..], first, second).expect("leaves");
                assert_eq!(proof, expected, "{first}..{second}");
            }
        }
    }
}
