//! Which backups hold the same records at the same places, so that one of them is enough.
//!
//! Within an epoch the log signs one history. From one epoch to the next it may have gone on
//! from what was signed, or set some of it aside: what says that it went on is a proof, that of
//! a backup's link to the one before it, or the roots that the log itself had.

use std::collections::{BTreeMap, BTreeSet};

use super::log_under;
use crate::audit::read::snapshot::Snapshot;
use crate::audit::tree::merkle::{Hash, empty_root};
use crate::audit::tree::proof::verify_consistency;
use crate::backup::inventory::Listed;
use crate::backup::metadata::Metadata;

/// A tree: its size and its root.
type Tree = (u64, Hash);
/// Which log: its id, and its first key.
type Log = (String, String);

/// What is known of some backups, by their number.
pub(super) struct Histories {
    logs: Vec<(Log, u32)>,
    trees: Vec<Tree>,
    /// The trees that it provably extends, by each tree of a log.
    before: BTreeMap<(Log, Tree), Tree>,
    /// Whether the log, as it is now, has its records at the same places.
    pub(super) in_live: Vec<bool>,
}

impl Histories {
    /// Looks at the proofs of some backups; all that cannot be read are of no log.
    pub(super) fn of(listed: &[&Listed], live: Option<&Snapshot>) -> Self {
        let metadata: Vec<Option<&Metadata>> =
            listed.iter().map(|listed| listed.metadata.as_ref()).collect();
        let known = metadata.iter().flatten();
        let before = known.filter_map(|metadata| {
            let previous = metadata.previous.as_ref()?;
            let tree = tree(metadata);
            let proof = previous.consistency_proof.as_ref()?;
            let from = (previous.tree_size, previous.root_hash);
            verify_consistency(from.0, tree.0, &from.1, &tree.1, proof).ok()?;
            // A tree of the same size is itself.
            (from != tree).then(|| ((log_under(metadata, live), tree), from))
        });
        let before = before.collect();
        let of_live =
            |metadata: &&Metadata| live.is_some_and(|live| live.manifest.log_id == metadata.log.id);
        let sizes: BTreeSet<u64> =
            metadata.iter().flatten().filter(|m| of_live(m)).map(|m| m.range.tree_size).collect();
        let roots = live.map_or_else(BTreeMap::new, |live| live.roots(&sizes));
        let in_live = metadata.iter().map(|metadata| {
            let Some(metadata) = metadata.filter(of_live) else { return false };
            live.is_some_and(|live| live.manifest.epoch == metadata.log.epoch)
                || roots.get(&metadata.range.tree_size) == Some(&metadata.root_hash)
        });
        let in_live = in_live.collect();
        let log = |metadata: &Option<&Metadata>| {
            metadata.map_or_else(Default::default, |m| (log_under(m, live), m.log.epoch))
        };
        Self {
            logs: metadata.iter().map(log).collect(),
            trees: metadata.iter().map(|m| m.map_or((0, empty_root()), tree)).collect(),
            before,
            in_live,
        }
    }

    /// Whether one of the two is the beginning of the other.
    pub(super) fn same(&self, one: usize, other: usize) -> bool {
        let ((log, epoch), (other_log, other_epoch)) = (&self.logs[one], &self.logs[other]);
        log == other_log
            && (epoch == other_epoch
                || self.in_live[one] && self.in_live[other]
                || self.leads(one, other)
                || self.leads(other, one))
    }

    /// Whether the proofs lead from one back to the other.
    fn leads(&self, from: usize, to: usize) -> bool {
        let log = &self.logs[from].0;
        let mut at = self.trees[from];
        // Each step leads to a smaller tree, or one of the same size is looked at once.
        for _ in 0..=self.before.len() {
            if at == self.trees[to] {
                return true;
            }
            match self.before.get(&(log.clone(), at)) {
                Some(before) => at = *before,
                None => return false,
            }
        }
        false
    }
}

fn tree(metadata: &Metadata) -> Tree {
    (metadata.range.tree_size, metadata.root_hash)
}
