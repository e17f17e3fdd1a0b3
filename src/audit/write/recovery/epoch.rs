//! The epoch that an opening goes on with or begins, and its first signed head.

use std::sync::Arc;

use super::error::io_error;
use super::heads::Head;
use super::inspect::Evidence;
use super::opened::{Accepted, Rollback};
use super::records::Reached;
use super::{OpenError, Opening};
use crate::audit::files::ended::EndedEpoch;
use crate::audit::files::manifest::Manifest;
use crate::audit::files::scan::{Interest, scan_plain};
use crate::audit::files::segment::{Active, Block};
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::{Origin, SignedCheckpoint};
use crate::audit::keys::signer::{Signer, SigningKey};
use crate::audit::tree::merkle::Range;
use crate::fsio;

/// An epoch that begins with this opening.
#[derive(Debug)]
pub(super) struct Beginning {
    pub(super) epoch: u32,
    /// Signed heads that it does not continue.
    pub(super) abandons: Vec<String>,
}

/// What the writer signs with.
pub(super) struct Signing {
    pub(super) signer: Signer,
    /// The part of the tree that it has not signed yet.
    pub(super) grown: Range,
    /// The newest signed head.
    pub(super) checkpoint: String,
}

impl Opening<'_> {
    /// The epoch that begins, if one does: because damage or another history was
    /// accepted, because of a restore without the log's key, or because a key took
    /// another's place.
    pub(super) fn beginning(
        &self,
        evidence: &Evidence,
        manifest: &Manifest,
        accepted: Option<&Accepted>,
        rollback: Option<&Rollback>,
    ) -> Result<Option<Beginning>, OpenError> {
        let ring = &evidence.keys.ring;
        let (mut epochs, mut abandons) = (Vec::new(), Vec::new());
        if let Some(accepted) = accepted {
            epochs.push(self.next_epoch(manifest.epoch)?);
            abandons.extend(accepted.abandoned.clone());
        }
        if let Some(rollback) = rollback {
            epochs.push(rollback.record.epoch);
            // Its own head too: it is of the epoch that ends here.
            abandons.extend(evidence.head.iter().map(|head| head.text.clone()));
            abandons.extend(rollback.notes().cloned());
        }
        // The head that a restore left: what is signed next must not contradict it.
        if let Some(left) = self.left_head(ring, manifest) {
            epochs.push(self.next_epoch(left.epoch)?);
            // Where nobody with the key says so, it excuses nothing: should that head be
            // found elsewhere, the operator is asked.
            if self.settled.as_ref().is_some_and(|settled| settled.is_signed) {
                abandons.push(left.text);
            }
        }
        epochs.extend(begun_by_replacement(ring, manifest));
        Ok(epochs.into_iter().max().map(|epoch| Beginning { epoch, abandons }))
    }

    /// Epochs are counted in 32 bits; nobody has seen the last one.
    pub(super) fn next_epoch(&self, epoch: u32) -> Result<u32, OpenError> {
        epoch.checked_add(1).ok_or_else(|| {
            self.start_error("the log has had as many epochs as can be counted; begin another log")
        })
    }

    /// What accepting corruption leaves behind: the records of the epoch's last head that
    /// nothing proves to be those with which the log goes on.
    pub(super) fn left_behind(
        &self,
        accepted: &Accepted,
        manifest: &Manifest,
        active: &Active,
        covered: u64,
    ) -> Result<Option<EndedEpoch>, OpenError> {
        let Some(checkpoint) = accepted.abandoned.clone() else { return Ok(None) };
        let Ok(note) = SignedCheckpoint::parse(checkpoint.as_bytes()) else { return Ok(None) };
        let head = note.unverified();
        let Ok(origin) = head.origin.parse::<Origin>() else { return Ok(None) };
        let before = self.split(manifest, active, covered)?.tree;
        let ended = EndedEpoch {
            epoch: origin.epoch(),
            first_seq: before.end(),
            end_seq: head.size,
            before: Some(before),
            checkpoint,
            reason: accepted.reason.clone(),
            record: None,
            at: None,
        };
        Ok((origin.log_id() == manifest.log_id && ended.records() > 0).then_some(ended))
    }

    /// Goes on signing where the newest head ends.
    pub(super) fn resume(
        &self,
        key: Arc<SigningKey>,
        manifest: &Manifest,
        head: &Head,
        reached: Reached,
    ) -> Result<Signing, OpenError> {
        let origin = self.origin(&key, manifest)?;
        let signer = Signer::resume(key, origin, &head.checkpoint, reached.tree)
            .map_err(|error| self.start_error(error))?;
        Ok(Signing { signer, grown: reached.since, checkpoint: head.text.clone() })
    }

    /// Signs the first head of a log or of an epoch, over the tree that `reached` has. It
    /// is stored before anything else of theirs: a log without one has lost it.
    pub(super) fn first_head(
        &self,
        key: Arc<SigningKey>,
        manifest: &Manifest,
        reached: Reached,
    ) -> Result<Signing, OpenError> {
        let origin = self.origin(&key, manifest)?;
        let mut signer = Signer::new(key, origin).map_err(|error| self.start_error(error))?;
        let Reached { tree, since } = reached;
        let first = signer.sign(&tree, &tree).map_err(|error| self.start_error(error))?;
        let (path, checkpoint) = (self.paths.checkpoint(), first.to_string());
        fsio::replace_file(self.fs, &path, checkpoint.as_bytes())
            .map_err(io_error("write", &path))?;
        Ok(Signing { signer, grown: since, checkpoint })
    }

    fn origin(&self, key: &SigningKey, manifest: &Manifest) -> Result<Origin, OpenError> {
        Origin::of_key(key.name(), &manifest.log_id, manifest.epoch)
            .map_err(|error| self.start_error(error))
    }

    /// The tree over the first `size` records, and the range of those since; the tree
    /// over none where no block ends there and the active segment does not tell.
    pub(super) fn split(
        &self,
        manifest: &Manifest,
        active: &Active,
        size: u64,
    ) -> Result<Reached, OpenError> {
        let sealed = manifest.segments.iter().flat_map(|segment| segment.blocks.iter().cloned());
        let blocks: Vec<Block> = sealed.chain(active.layout.blocks()).collect();
        let (mut tree, mut since) = (manifest.pruned.clone(), Range::empty(size));
        for block in &blocks {
            if block.tree.end() <= size {
                tree.extend(&block.tree).map_err(|error| self.start_error(error))?;
            }
        }
        if tree.end() == size {
            for block in blocks.iter().filter(|block| block.first_seq >= size) {
                since.extend(&block.tree).map_err(|error| self.start_error(error))?;
            }
            debug_assert_eq!(since.end(), active.layout.tree().end(), "blocks follow each other");
            return Ok(Reached { tree, since });
        }
        let mut scan = scan_plain(&*active.file, manifest.tree()?, Interest::watch(&[size]))
            .map_err(io_error("read", &self.paths.active()))?;
        Ok(match scan.take_watched(size) {
            Some((tree, since)) => Reached { tree, since },
            None => Reached { tree: Range::empty(0), since: active.layout.tree() },
        })
    }
}

/// The epoch that a key has still to begin that took another's place.
pub(super) fn begun_by_replacement(ring: &Keyring, manifest: &Manifest) -> Option<u32> {
    let epoch = ring.last_replacement()?.place.epoch;
    (epoch > manifest.epoch).then_some(epoch)
}
