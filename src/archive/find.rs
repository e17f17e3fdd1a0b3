//! Where shipping goes on, by what the archive has: for a log whose position is lost, or does
//! not fit it any more, because the log was restored, or the position's file was.

use super::documents::{KeysDocument, MAX_DOCUMENT_BYTES, RangeProof, signed};
use super::error::ArchiveError;
use super::layout::{LogName, ObjectName};
use super::log::{LogView, Piece, Pieces};
use super::members::{MAX_OBJECT_BYTES, Members, Tail};
use super::names::{Proofs, fetch, tails};
use crate::audit::files::examine::leaves;
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::MAX_NOTE_BYTES;
use crate::audit::tree::merkle::{Hash, Range};
use crate::store::BackupStore;

/// So many tails are read at most until one is found that a key of the log signed.
const MOST_TAILS: usize = 64;

/// Where shipping goes on.
#[derive(Debug)]
pub(super) struct Found {
    /// The tree over everything that data objects hold.
    pub(super) data: Range,
    /// Whether a checkpoint over exactly that tree is there.
    pub(super) committed: bool,
    /// How many changes of the key the archive knows of, in this epoch.
    pub(super) key_changes: Option<u32>,
}

/// Asks the archive. Never takes a name for a proof: what it finds is compared with the log.
///
/// # Errors
/// [`ArchiveError::Contradicted`] when the archive holds signed records of this log that the
/// log does not have.
pub(super) fn find(store: &dyn BackupStore, log: &LogView) -> Result<Found, ArchiveError> {
    let name = log.name()?;
    let proofs = Proofs::of(store, &name)?;
    let seek = Seek { store, log, name: &name };
    let key_changes =
        proofs.keys.iter().filter(|(epoch, _)| *epoch == name.epoch()).map(|(_, n)| *n).max();
    let found = |data, committed| Ok(Found { data, committed, key_changes });
    for newer in proofs.epochs().into_iter().filter(|epoch| *epoch > name.epoch()) {
        seek.is_not_signed(&proofs, newer)?;
    }
    seek.no_tail_is_ahead()?;
    if let Some(size) = proofs.committed(name.epoch()) {
        return found(seek.checkpoint(size)?, true);
    }
    if let Some(first) = proofs.firsts(name.epoch()).first() {
        // Begun, and interrupted before the first commit.
        let proof = seek.range(*first)?;
        return found(proof.before, false);
    }
    let earlier = proofs.epochs().into_iter().filter(|epoch| *epoch < name.epoch());
    let earlier = earlier.into_iter().find_map(|epoch| Some((epoch, proofs.committed(epoch)?)));
    let common = match earlier {
        Some((epoch, size)) => seek.common(&proofs, &name.in_epoch(epoch), size)?,
        None => None,
    };
    let common = common.filter(|common| common.end() > log.removed().end());
    found(common.unwrap_or_else(|| log.removed().clone()), false)
}

struct Seek<'a> {
    store: &'a dyn BackupStore,
    log: &'a LogView,
    name: &'a LogName,
}

impl Seek<'_> {
    fn url(&self, name: &ObjectName) -> String {
        self.store.url(&name.to_string())
    }

    fn contradicted(&self, name: &ObjectName, what: impl Into<String>) -> ArchiveError {
        ArchiveError::Contradicted { object: self.url(name), what: what.into() }
    }

    /// Whether nothing of a newer epoch is signed by a key that the log's keys lead to. A name
    /// alone says nothing: anybody can have put it there.
    fn is_not_signed(&self, proofs: &Proofs, newer: u32) -> Result<(), ArchiveError> {
        let log = self.name.in_epoch(newer);
        let keys = self.keys_of(proofs, &log)?;
        let contradicted = |object: &ObjectName| {
            let what = format!(
                "it is of epoch {newer}, and the log is in epoch {}: an older copy of the log was \
                 put back",
                self.name.epoch()
            );
            Err(self.contradicted(object, what))
        };
        for size in proofs.checkpoints.get(&newer).into_iter().flatten().rev() {
            let object = ObjectName::Checkpoint(log.clone(), *size);
            let note = fetch(self.store, &object, MAX_NOTE_BYTES as u64)?.unwrap_or_default();
            if keys.iter().any(|keys| signed(&note, &log, keys).is_ok()) {
                return contradicted(&object);
            }
        }
        for first in proofs.firsts(newer) {
            let object = ObjectName::Range(log.clone(), first);
            let bytes = fetch(self.store, &object, MAX_DOCUMENT_BYTES)?.unwrap_or_default();
            if keys.iter().any(|keys| RangeProof::read(&bytes, &object, keys).is_ok()) {
                return contradicted(&object);
            }
        }
        for span in tails(self.store, &log)?.into_iter().take(MOST_TAILS) {
            let object = ObjectName::Tail(log.clone(), span);
            let bytes = fetch(self.store, &object, MAX_OBJECT_BYTES)?.unwrap_or_default();
            let Ok(tail) = Tail::of(&bytes) else { continue };
            if keys.iter().any(|keys| tail.signed(&log, span, keys).is_ok()) {
                return contradicted(&object);
            }
        }
        tracing::warn!("what is there of epoch {newer} is not signed by the log: passed over");
        Ok(())
    }

    /// The log's keys, and those of an epoch to which they lead.
    fn keys_of(&self, proofs: &Proofs, log: &LogName) -> Result<Vec<Keyring>, ArchiveError> {
        let ours = self.log.keys();
        let mut rings = vec![ours.clone()];
        for (_, changes) in proofs.keys.iter().filter(|(epoch, _)| *epoch == log.epoch()) {
            let object = ObjectName::Keys(log.clone(), *changes);
            let Some(bytes) = fetch(self.store, &object, MAX_DOCUMENT_BYTES)? else { continue };
            let read = KeysDocument::read(&bytes, log.id());
            if let Ok((document, _)) = read
                && let Ok(ring) = Keyring::new(ours.newest().clone(), &document.rotations)
            {
                rings.push(ring);
            }
        }
        Ok(rings)
    }

    /// A tail that a key of the log signed over more records than the log has, or over others.
    fn no_tail_is_ahead(&self) -> Result<(), ArchiveError> {
        let mut spans = tails(self.store, self.name)?;
        spans.sort_unstable_by_key(|span| std::cmp::Reverse(span.end));
        for span in spans.into_iter().take(MOST_TAILS) {
            let object = ObjectName::Tail(self.name.clone(), span);
            let Some(bytes) = fetch(self.store, &object, MAX_OBJECT_BYTES)? else { continue };
            let tail = match Tail::of(&bytes) {
                Ok(tail) => tail,
                Err(what) => {
                    tracing::warn!("{}: {what}; it is not compared", self.url(&object));
                    continue;
                }
            };
            if self.is_in_log(&object, tail.marker.checkpoint.as_bytes())?.is_some() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The log's tree at a signed checkpoint, if the log has that tree; `None` for one that no
    /// key of the log signed.
    fn is_in_log(&self, object: &ObjectName, note: &[u8]) -> Result<Option<Range>, ArchiveError> {
        let checkpoint = match signed(note, self.name, self.log.keys()) {
            Ok(checkpoint) => checkpoint,
            Err(what) => {
                tracing::warn!("{}: {what}; it is not compared", self.url(object));
                return Ok(None);
            }
        };
        let ahead = format!(
            "a key of the log signed {} records there, and the log has {}: an older copy of the \
             log was put back",
            checkpoint.size,
            self.log.size()
        );
        if checkpoint.size > self.log.size() {
            return Err(self.contradicted(object, ahead));
        }
        match self.log.tree_at(checkpoint.size)? {
            Some(tree) if tree.root().is_ok_and(|root| root == checkpoint.root) => Ok(Some(tree)),
            Some(_) => Err(self.contradicted(
                object,
                format!("the log has other records below {}", checkpoint.size),
            )),
            // Removed by retention: what followed it is compared.
            None => Ok(None),
        }
    }

    /// The tree at a committed size.
    fn checkpoint(&self, size: u64) -> Result<Range, ArchiveError> {
        let object = ObjectName::Checkpoint(self.name.clone(), size);
        let note = fetch(self.store, &object, MAX_NOTE_BYTES as u64)?.unwrap_or_default();
        match self.is_in_log(&object, &note)? {
            Some(tree) => Ok(tree),
            None if size < self.log.removed().end() => Ok(self.log.removed().clone()),
            None => Err(ArchiveError::Object {
                object: self.url(&object),
                what: "it is no checkpoint that a key of the log signed".to_owned(),
            }),
        }
    }

    /// The proof of the range that begins there, compared with the log.
    fn range(&self, first: u64) -> Result<RangeProof, ArchiveError> {
        let object = ObjectName::Range(self.name.clone(), first);
        let proof = self.proof(&object)?;
        let before = self.log.tree_at(first)?;
        if before.is_some_and(|before| before != proof.before) {
            return Err(self.contradicted(&object, "the log has other records before it"));
        }
        Ok(proof)
    }

    fn proof(&self, object: &ObjectName) -> Result<RangeProof, ArchiveError> {
        let bytes = fetch(self.store, object, MAX_DOCUMENT_BYTES)?.ok_or_else(|| {
            ArchiveError::Missing { object: self.url(object), what: "it was listed".to_owned() }
        })?;
        let (proof, _) = RangeProof::read(&bytes, object, self.log.keys())
            .map_err(|error| error.of(self.url(object)))?;
        Ok(proof)
    }

    /// How far an earlier epoch's data and the log are the same: the tree there. So nothing is
    /// shipped twice after a restore.
    fn common(
        &self,
        proofs: &Proofs,
        earlier: &LogName,
        committed: u64,
    ) -> Result<Option<Range>, ArchiveError> {
        let firsts = proofs.firsts(earlier.epoch());
        for first in firsts.into_iter().rev().filter(|first| *first < committed) {
            if first > self.log.size() {
                continue;
            }
            let object = ObjectName::Range(earlier.clone(), first);
            let proof = self.proof(&object)?;
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
        let Some(bytes) = fetch(self.store, &object, MAX_OBJECT_BYTES)? else { return Ok(tree) };
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
