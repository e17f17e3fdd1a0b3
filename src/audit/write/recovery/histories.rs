//! Whether this is the log's only history: it is compared with the signed heads that
//! are kept outside its directory.

use super::epoch::begun_by_replacement;
use super::error::io_error;
use super::inspect::Evidence;
use super::opened::Rollback;
use super::records::Records;
use super::{OpenError, Opening};
use crate::audit::files::roots::roots_at;
use crate::audit::keys::checkpoint::Origin;
use crate::audit::keys::histories::{KnownHead, OwnHistory};
use crate::audit::write::own::{Contradicting, RollbackAccepted};

/// So many contradicting heads are named, and kept in the manifest.
const NAMED: usize = 16;

/// So many heads that the log reaches beyond are compared when it is opened; the running
/// writer and `backup` compare all.
const COMPARED: usize = 4;

impl Opening<'_> {
    /// Compares the log with the heads in reach. `None` when all fit. `unknown` is the
    /// first record of which nothing tells any more what was recorded, where corruption is
    /// accepted: a head over such records, no further than the log's own, says nothing.
    ///
    /// # Errors
    /// [`OpenError::OtherHistory`] when one does not, unless that is accepted.
    pub(super) fn other_history(
        &self,
        evidence: &Evidence,
        records: &Records,
        unknown: Option<u64>,
    ) -> Result<Option<Rollback>, OpenError> {
        let signed = evidence.signed();
        let is_of_unknown = |known: &KnownHead| {
            let head = known.note.unverified();
            let epoch = head.origin.parse::<Origin>().map(|origin| origin.epoch());
            epoch == Ok(records.manifest.epoch)
                && unknown.is_some_and(|from| head.size > from && head.size <= signed)
        };
        let heads: Vec<KnownHead> =
            self.options.heads.iter().filter(|known| !is_of_unknown(known)).cloned().collect();
        let heads = &heads;
        if heads.is_empty() {
            return Ok(None);
        }
        let (manifest, keys) = (&records.manifest, &evidence.keys.ring);
        let size = records.end_seq();
        let own = OwnHistory {
            log_id: &manifest.log_id,
            epoch: manifest.epoch,
            size,
            keys,
            abandoned: Some(&manifest.abandoned),
        };
        let mut sizes = own.newest_sizes(heads, COMPARED);
        // That of the newest signed head is known, since the active segment was just read.
        let reached = records.reached.as_ref().map(|reached| &reached.tree);
        let reached = reached.and_then(|tree| Some((sizes.take(&tree.end())?, tree.root().ok()?)));
        let mut roots = roots_at(self.fs, self.paths, manifest, &sizes)
            .map_err(io_error("read the log in", &self.options.dir))?;
        roots.extend(reached);
        let found = own.contradictions(heads, &roots);
        let Some(gravest) = found.first() else { return Ok(None) };
        if !self.options.accept_rollback {
            return Err(OpenError::OtherHistory {
                dir: self.options.dir.clone(),
                found: Box::new(gravest.clone()),
            });
        }
        let newest = found.iter().map(|found| found.epoch).max().unwrap_or(0);
        let next = self.next_epoch(newest.max(manifest.epoch))?;
        let epoch = next.max(begun_by_replacement(keys, manifest).unwrap_or(0));
        let history = found.iter().map(|found| found.history).max();
        let contradicting = found.iter().take(NAMED).map(|found| Contradicting {
            name: found.name.clone(),
            epoch: found.epoch,
            tree_size: found.size,
            root_hash: found.root,
            checkpoint: found.note.clone(),
        });
        Ok(Some(Rollback {
            record: RollbackAccepted {
                history: history.map_or_else(String::new, |history| history.code().to_owned()),
                epoch,
                records: size,
                abandoned_checkpoint: evidence.head.as_ref().map(|head| head.text.clone()),
                contradicting: contradicting.collect(),
                more: found.len().saturating_sub(NAMED) as u64,
            },
        }))
    }
}
