//! The signed heads that an archive has of a log: what a log is compared with that was put back
//! or copied.

use std::sync::Arc;

use super::bucket::{Bucket, unless_foreign};
use super::documents::{KeysDocument, MAX_DOCUMENT_BYTES, RangeProof};
use super::error::ArchiveError;
use super::layout::{LogName, ObjectName};
use super::members::Tail;
use super::names::{Proofs, fetch_end};
use super::position::Position;
use crate::audit::keys::checkpoint::{MAX_NOTE_BYTES, SignedCheckpoint};
use crate::audit::keys::histories::{Kept, KnownHead};
use crate::audit::keys::{Keyring, Rotation};
use crate::audit::tree::document;
use crate::fsio::Fs;
use crate::store::BackupStore;

/// So many epochs are looked at, the newest first.
const MOST_EPOCHS: usize = 4;
/// So many objects of a kind are read until one is signed by the log: others may have put what
/// they like there.
const MOST_READ: usize = 16;

/// The newest signed heads of each kind and epoch. Asks for two lists.
///
/// # Errors
/// The store cannot be asked.
pub fn heads(
    store: &Arc<dyn BackupStore>,
    log_id: &str,
    keys: &Keyring,
) -> Result<Vec<KnownHead>, ArchiveError> {
    let Some(log) = LogName::new(log_id, 0) else { return Ok(Vec::new()) };
    let proofs = Proofs::of(&**store, &log)?;
    let bucket = Bucket(Arc::clone(store));
    let mut found = Vec::new();
    for epoch in proofs.epochs().into_iter().take(MOST_EPOCHS) {
        let log = log.in_epoch(epoch);
        let rotations = rotations(&bucket, &proofs, &log, keys)?;
        let seek = Seek { bucket: &bucket, keys: keys.clone().extended(&rotations), rotations };
        found.extend(seek.first_of(proofs.sizes(epoch), |size| {
            let object = ObjectName::Checkpoint(log.clone(), size);
            let note = unless_foreign(bucket.fetch(&object, MAX_NOTE_BYTES as u64))?;
            Ok(note.ok().map(|note| (object, note)))
        })?);
        found.extend(seek.first_of(proofs.firsts(epoch).into_iter().rev(), |(first, nth)| {
            let object = ObjectName::Range(log.clone(), first, nth);
            let bytes = unless_foreign(bucket.fetch(&object, MAX_DOCUMENT_BYTES))?;
            let proof: Option<RangeProof> = bytes
                .ok()
                .and_then(|bytes| document::decode(document::Kind::ARCHIVE_RANGE, &bytes).ok());
            Ok(proof.map(|proof| (object, proof.checkpoint.into_bytes())))
        })?);
        found.extend(seek.first_of(proofs.tails(epoch, 0).rev(), |tail| {
            let end = unless_foreign(fetch_end(&**store, &log, &tail))?;
            let Some(end) = end.ok().flatten() else { return Ok(None) };
            let note = Tail::of(&end).ok().map(|tail| tail.marker.checkpoint.into_bytes());
            Ok(note.map(|note| (tail.name(&log), note)))
        })?);
    }
    Ok(found)
}

/// The head that the position beside the log has: of a log that was put back without it.
#[must_use]
pub fn kept_head(fs: &dyn Fs, log_dir: &std::path::Path) -> Option<KnownHead> {
    let position = Position::load(fs, log_dir).ok()??;
    let note = SignedCheckpoint::parse(position.checkpoint?.as_bytes()).ok()?;
    let name = Position::path(log_dir).display().to_string();
    Some(KnownHead { name, kept: Kept::Archive, note, rotations: Vec::new() })
}

/// How the log's keys go on by the archive's documents: an old copy of the log does not know.
fn rotations(
    bucket: &Bucket,
    proofs: &Proofs,
    log: &LogName,
    keys: &Keyring,
) -> Result<Vec<Rotation>, ArchiveError> {
    let of_epoch = proofs.keys.iter().rev().filter(|(epoch, ..)| *epoch == log.epoch());
    for (_, changes, nth) in of_epoch.take(MOST_READ) {
        let object = ObjectName::Keys(log.clone(), *changes, *nth);
        let Ok(bytes) = unless_foreign(bucket.fetch(&object, MAX_DOCUMENT_BYTES))? else {
            continue;
        };
        if let Ok((document, ring)) = KeysDocument::read(&bytes, log.id())
            && ring.contains(keys.newest())
        {
            return Ok(document.rotations);
        }
    }
    Ok(Vec::new())
}

struct Seek<'a> {
    bucket: &'a Bucket,
    keys: Keyring,
    rotations: Vec<Rotation>,
}

impl Seek<'_> {
    /// The first that a key of the log signed.
    fn first_of<T>(
        &self,
        candidates: impl Iterator<Item = T>,
        note: impl Fn(T) -> Result<Option<(ObjectName, Vec<u8>)>, ArchiveError>,
    ) -> Result<Option<KnownHead>, ArchiveError> {
        for candidate in candidates.take(MOST_READ) {
            let Some((object, text)) = note(candidate)? else { continue };
            let Ok(note) = SignedCheckpoint::parse(&text) else { continue };
            if self.keys.verify(&note).is_ok() {
                let name = self.bucket.url(&object);
                let rotations = self.rotations.clone();
                return Ok(Some(KnownHead { name, kept: Kept::Archive, note, rotations }));
            }
        }
        Ok(None)
    }
}
