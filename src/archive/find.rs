//! From where shipping continues, by what the archive has: for a log whose position is lost, or does
//! not fit it any more, because the log was restored, or the position's file was.

use std::sync::Arc;

use super::bucket::{Bucket, unless_foreign};
use super::documents::{KeysDocument, MAX_DOCUMENT_BYTES, RangeProof};
use super::error::ArchiveError;
use super::layout::{LogName, ObjectName};
use super::log::{LogView, Piece, Pieces};
use super::marks::Planner;
use super::members::{MAX_OBJECT_BYTES, Members};
use super::names::Proofs;
use crate::audit::files::examine::leaves;
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::Checkpoint;
use crate::audit::read::watch::Unwatched;
use crate::audit::tree::merkle::{Hash, Range};
use crate::store::BackupStore;

/// From where shipping continues.
#[derive(Debug)]
pub(super) struct Found {
    /// The tree over everything that data objects hold, or that retention removed.
    pub(super) data: Range,
    /// Whether a checkpoint over exactly that tree is there.
    pub(super) committed: bool,
    /// How many records retention removed that no data object holds.
    pub(super) removed: u64,
}

/// What the log says of a checkpoint that the archive has.
enum InLog {
    /// It has this tree.
    Tree(Range),
    /// Retention removed the records that would tell.
    Removed,
    /// It cannot be told.
    Unknown,
}

/// Asks the archive. Never takes a name for a proof: what it finds is compared with the log, and
/// what no key of the log signed is passed over.
///
/// # Errors
/// [`ArchiveError::Contradicted`] when the archive holds signed records of this log that the
/// log does not have.
pub(super) fn find(store: &Arc<dyn BackupStore>, log: &LogView) -> Result<Found, ArchiveError> {
    let name = log.name().clone();
    let proofs = Proofs::of(&**store, &name)?;
    let bucket = Bucket(Arc::clone(store));
    let seek = Seek { bucket: &bucket, proofs: &proofs, log, name: &name };
    for newer in proofs.epochs().into_iter().filter(|epoch| *epoch > name.epoch()) {
        seek.is_not_signed(newer)?;
    }
    let committed = seek.committed()?;
    seek.tails_are_in_log(committed.as_ref().map_or(0, |(size, _)| *size))?;
    let found = |data, committed| Ok(Found { data, committed, removed: 0 });
    match committed {
        Some((_, Some(tree))) => return found(tree, true),
        Some((size, None)) => {
            let data = log.removed().clone();
            let removed = data.end().saturating_sub(size);
            return Ok(Found { data, committed: false, removed });
        }
        None => {}
    }
    if let Some(proof) = seek.begun()? {
        // Begun, and interrupted before the first commit.
        return found(proof.before, false);
    }
    let earlier = proofs.epochs().into_iter().filter(|epoch| *epoch < name.epoch());
    for epoch in earlier {
        let log_there = name.in_epoch(epoch);
        let keys = log.keys();
        let planner =
            Planner { bucket: &bucket, proofs: &proofs, keys, watch: &Unwatched, from: None };
        let Some(mark) = planner.last_committed(&log_there)? else { continue };
        let common = seek.common(&log_there, mark.size)?;
        let common = common.filter(|common| common.end() > log.removed().end());
        return found(common.unwrap_or_else(|| log.removed().clone()), false);
    }
    found(log.removed().clone(), false)
}

struct Seek<'a> {
    bucket: &'a Bucket,
    proofs: &'a Proofs,
    log: &'a LogView,
    name: &'a LogName,
}

impl Seek<'_> {
    fn contradicted(&self, name: &ObjectName, what: impl Into<String>) -> ArchiveError {
        ArchiveError::Contradicted { object: self.bucket.url(name), what: what.into() }
    }

    /// Whether nothing of a newer epoch is signed by a key that the log's keys lead to. A name
    /// alone says nothing: anybody can have put it there.
    fn is_not_signed(&self, newer: u32) -> Result<(), ArchiveError> {
        let log = self.name.in_epoch(newer);
        for keys in self.keys_of(&log)? {
            let planner = Planner {
                bucket: self.bucket,
                proofs: self.proofs,
                keys: &keys,
                watch: &Unwatched,
                from: None,
            };
            if let Some(mark) = planner.last_signed(&log)? {
                let what = format!(
                    "it is of epoch {newer}, and the log is in epoch {}: an older copy of the log \
                     was put back",
                    self.name.epoch()
                );
                return Err(self.contradicted(&mark.object, what));
            }
        }
        tracing::warn!("what is there of epoch {newer} is not signed by the log: passed over");
        Ok(())
    }

    /// The log's keys, and those of an epoch to which they lead.
    fn keys_of(&self, log: &LogName) -> Result<Vec<Keyring>, ArchiveError> {
        let ours = self.log.keys();
        let mut rings = vec![ours.clone()];
        let of_epoch = self.proofs.keys.iter().filter(|(epoch, ..)| *epoch == log.epoch());
        for (_, changes, nth) in of_epoch {
            let object = ObjectName::Keys(log.clone(), *changes, *nth);
            let read = unless_foreign(self.bucket.fetch(&object, MAX_DOCUMENT_BYTES))?;
            let Ok(bytes) = read else { continue };
            if let Ok((document, _)) = KeysDocument::read(&bytes, log.id())
                && let Ok(ring) = Keyring::new(ours.newest().clone(), &document.rotations)
            {
                rings.push(ring);
            }
        }
        Ok(rings)
    }

    /// Tails that a key of the log signed over more records than the log has, or over others.
    fn tails_are_in_log(&self, from: u64) -> Result<(), ArchiveError> {
        for tail in self.proofs.tails(self.name.epoch(), from) {
            let read = self.bucket.marker(self.name, &tail, self.log.keys());
            if let Ok((_, checkpoint)) = unless_foreign(read)? {
                self.in_log(&tail.name(self.name), &checkpoint)?;
            }
        }
        Ok(())
    }

    /// The log's tree at a checkpoint that a key of the log signed, if the log has that tree.
    fn in_log(&self, object: &ObjectName, found: &Checkpoint) -> Result<InLog, ArchiveError> {
        let ahead = format!(
            "a key of the log signed {} records there, and the log has {}: an older copy of the \
             log was put back",
            found.size,
            self.log.size()
        );
        if found.size > self.log.size() {
            return Err(self.contradicted(object, ahead));
        }
        match self.log.tree_at(found.size)? {
            Some(tree) if tree.root().is_ok_and(|root| root == found.root) => Ok(InLog::Tree(tree)),
            Some(_) => Err(self
                .contradicted(object, format!("the log has other records below {}", found.size))),
            // What followed it is compared.
            None if found.size < self.log.removed().end() => Ok(InLog::Removed),
            None => Ok(InLog::Unknown),
        }
    }

    /// The largest committed size, and the log's tree there unless retention removed it.
    fn committed(&self) -> Result<Option<(u64, Option<Range>)>, ArchiveError> {
        for size in self.proofs.sizes(self.name.epoch()) {
            let object = ObjectName::Checkpoint(self.name.clone(), size);
            let read = self.bucket.checkpoint(self.name, size, self.log.keys());
            let Ok((checkpoint, _)) = unless_foreign(read)? else { continue };
            match self.in_log(&object, &checkpoint)? {
                InLog::Tree(tree) => return Ok(Some((size, Some(tree)))),
                InLog::Removed => return Ok(Some((size, None))),
                InLog::Unknown => {}
            }
        }
        Ok(None)
    }

    /// The proof of the first range, where none is committed; compared with the log.
    fn begun(&self) -> Result<Option<RangeProof>, ArchiveError> {
        for there in self.proofs.firsts(self.name.epoch()) {
            let read = self.bucket.proof(self.name, there, self.log.keys());
            let Ok((proof, _)) = unless_foreign(read)? else { continue };
            let before = self.log.tree_at(there.0)?;
            if before.is_some_and(|before| before != proof.before) {
                let object = ObjectName::Range(self.name.clone(), there.0, there.1);
                return Err(self.contradicted(&object, "the log has other records before it"));
            }
            return Ok(Some(proof));
        }
        Ok(None)
    }

    /// How far an earlier epoch's data and the log are the same: the tree there. So nothing is
    /// shipped twice after a restore.
    fn common(&self, earlier: &LogName, committed: u64) -> Result<Option<Range>, ArchiveError> {
        let firsts = self.proofs.firsts(earlier.epoch());
        for there in firsts.into_iter().rev().filter(|(first, _)| *first < committed) {
            let (first, _) = there;
            if first > self.log.size() {
                continue;
            }
            let read = self.bucket.proof(earlier, there, self.log.keys());
            let Ok((proof, _)) = unless_foreign(read)? else { continue };
            let Some(before) = self.log.tree_at(first)? else { return Ok(None) };
            if before != proof.before {
                continue;
            }
            let end = proof.tree.end();
            if end <= self.log.size() && self.log.range(first, end)?.as_ref() == Some(&proof.tree) {
                let mut tree = before;
                if tree.extend(&proof.tree).is_ok() {
                    return Ok(Some(tree));
                }
                return Ok(None);
            }
            return self.within(before, &proof).map(Some);
        }
        Ok(None)
    }

    /// The same within one data object, record by record.
    fn within(&self, before: Range, proof: &RangeProof) -> Result<Range, ArchiveError> {
        let mut tree = before;
        let Ok(object) = proof.data.parse::<ObjectName>() else { return Ok(tree) };
        let read = unless_foreign(self.bucket.fetch(&object, MAX_OBJECT_BYTES))?;
        let Ok(bytes) = read else { return Ok(tree) };
        let mut members = Members::of(&bytes, proof.span().end);
        let mut ours = Leaves::new(self.log, tree.end());
        while let Ok(Some((lines, _))) = members.next_lines() {
            if lines.first_seq != tree.end() {
                break;
            }
            for leaf in leaves(&lines.raw) {
                if ours.next()? != Some(leaf) {
                    return Ok(tree);
                }
                tree.append(leaf);
            }
        }
        Ok(tree)
    }
}

/// The log's leaf hashes from a record on, up to the first hole.
struct Leaves<'a> {
    pieces: Pieces<'a>,
    waiting: std::vec::IntoIter<Hash>,
}

impl<'a> Leaves<'a> {
    fn new(log: &'a LogView, from: u64) -> Self {
        Self { pieces: log.pieces(from), waiting: Vec::new().into_iter() }
    }

    fn next(&mut self) -> Result<Option<Hash>, ArchiveError> {
        loop {
            if let Some(leaf) = self.waiting.next() {
                return Ok(Some(leaf));
            }
            match self.pieces.next().transpose()? {
                Some(Piece::Lines(lines)) => {
                    self.waiting = leaves(&lines.raw).collect::<Vec<_>>().into_iter();
                }
                Some(Piece::Hole(_)) | None => return Ok(None),
            }
        }
    }
}
