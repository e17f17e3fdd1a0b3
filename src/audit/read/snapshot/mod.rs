//! The log as its newest checkpoint has it, read beside a running writer.
//!
//! A snapshot is exactly the tree that was signed: what came after belongs to
//! the next one. Taking it needs no lock and stops nobody. Files may be sealed,
//! compressed and removed meanwhile: plain files are held open from the start,
//! and a sealed segment that is not where it was is looked up again.

mod blocks;
mod part;
mod recent;
mod salvage;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use crate::audit::files::leaves as noted_leaves;
use crate::audit::files::manifest::{Manifest, ManifestError, Segment};
use crate::audit::files::roots::roots_at;
use crate::audit::files::salvage::Piece;
use crate::audit::files::segment::Block;
use crate::audit::keys::checkpoint::{
    Checkpoint, CheckpointError, Origin, SignedCheckpoint, VerifierKey,
};
use crate::audit::keys::histories::{Contradiction, KnownHead, OwnHistory};
use crate::audit::keys::{Keyring, load_keyring};
use crate::audit::paths::ACTIVE;
use crate::audit::read::error::{Known, ReadError};
use crate::audit::read::view::{LogView, Look, Stored};
use crate::audit::tree::merkle::Hash;
use crate::fsio::{FsFile, SharedFs};
pub use blocks::Blocks;
pub use part::{Left, Lines, Part};
pub(crate) use recent::{Behind, Recent};

/// A snapshot.
#[derive(Debug)]
pub struct Snapshot {
    log: LogView,
    /// What was sealed when the snapshot was taken.
    pub manifest: Manifest,
    /// The checkpoint, signed by `verifier`.
    pub checkpoint: Checkpoint,
    /// The checkpoint's signed note.
    pub note: SignedCheckpoint,
    /// The key that signed it.
    pub verifier: VerifierKey,
    /// All of the log's keys.
    pub keys: Keyring,
    /// All records from the end of what retention removed to the checkpoint's
    /// size, in order.
    pub parts: Vec<Part>,
}

impl Snapshot {
    /// Takes one of the log in `dir`.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn take(fs: &SharedFs, dir: &Path) -> Result<Self, ReadError> {
        let log = LogView::new(fs, dir);
        let found = log.settled(|| match attempt(&log, Active::BeginsRight) {
            // Between sealing and noting it the files do not fit together.
            Err(error @ (ReadError::Short { .. } | ReadError::Io { .. })) if log.is_live() => {
                Look::Moving(Err(error))
            }
            done => Look::Settled(done),
        });
        match found {
            // They are damaged, unless the leaves tell what they were.
            Err(short @ ReadError::Short { .. }) => {
                attempt(&log, Active::OfItsLeaves).map_err(|_| short)
            }
            found => found,
        }
    }

    /// The log's id and epoch.
    ///
    /// # Errors
    /// When the manifest's log id cannot be one.
    pub fn origin(&self) -> Result<Origin, ReadError> {
        origin_of(&self.log, &self.manifest, &self.keys)
    }

    /// A stored segment's file, and the segment as it is there: the same records,
    /// possibly under another name by now.
    ///
    /// # Errors
    /// [`ReadError::Pruned`] when retention has removed it.
    pub fn open_segment(&self, segment: &Segment) -> Result<(Box<dyn FsFile>, Segment), ReadError> {
        match self.stored(segment)? {
            Stored::Here(file, segment) => Ok((file, *segment)),
            Stored::Removed => Err(ReadError::Pruned { file: segment.file.clone() }),
            Stored::Missing(error) => Err(error),
        }
    }

    fn stored(&self, segment: &Segment) -> Result<Stored, ReadError> {
        self.log.segment(segment, || Ok(Some(self.log.manifest()?.into())))
    }

    /// The records that are not here, though retention did not remove them.
    pub fn holes(&self) -> impl Iterator<Item = &Block> {
        self.parts
            .iter()
            .flat_map(|part| match part {
                Part::Left(left) => left.pieces(),
                _ => &[],
            })
            .filter(|piece| matches!(piece, Piece::Hole(_)))
            .map(Piece::block)
    }

    /// Compares the log as it was signed with signed heads that are kept elsewhere,
    /// which have to be read before the snapshot is taken: those of this log that do
    /// not fit it, the gravest first.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn compare(&self, heads: &[KnownHead]) -> Result<Vec<Contradiction>, ReadError> {
        let manifest = &self.manifest;
        let (size, keys) = (self.checkpoint.size, &self.keys);
        let own = OwnHistory {
            log_id: &manifest.log_id,
            epoch: manifest.epoch,
            size,
            keys,
            abandoned: Some(&manifest.abandoned),
        };
        let mut sizes = own.sizes(heads);
        let sealed = manifest.end_seq();
        let asks_active = sizes.last().is_some_and(|last| *last > sealed);
        if asks_active {
            sizes.insert(size);
        }
        let mut roots = roots_at(&*self.log.fs, &self.log.paths, manifest, &sizes)
            .map_err(|error| self.unreadable("", error))?;
        if asks_active && roots.get(&size) != Some(&self.checkpoint.root) {
            // The active segment is not what this log signed itself: it is damaged, and
            // says nothing of other histories.
            roots.retain(|at, _| *at <= sealed);
        }
        Ok(own.contradictions(heads, &roots))
    }

    /// The log's roots at those sizes, as far as they can be told.
    #[must_use]
    pub fn roots(&self, sizes: &BTreeSet<u64>) -> BTreeMap<u64, Hash> {
        let sizes = sizes.iter().copied().filter(|size| *size <= self.checkpoint.size).collect();
        roots_at(&*self.log.fs, &self.log.paths, &self.manifest, &sizes).unwrap_or_default()
    }

    fn unreadable(&self, file: &str, source: io::Error) -> ReadError {
        ReadError::io("read", &self.log.paths.dir.join(file), source)
    }
}

/// What the active segment is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Active {
    /// Itself, if it begins with the record that is due.
    BeginsRight,
    /// Itself, however it begins, if its leaves are noted as those of the records due.
    OfItsLeaves,
}

fn attempt(log: &LogView, active: Active) -> Result<Snapshot, ReadError> {
    let path = log.paths.checkpoint();
    let text = log.note().map_err(|source| ReadError::io("read", &path, source))?;
    let text = text.ok_or_else(|| log.no_log("audit.checkpoint"))?;
    let keys = load_keyring(&*log.fs, &log.paths, None)?;
    let bad = |source| ReadError::Checkpoint { path: path.clone(), source };
    let note = SignedCheckpoint::parse(&text).map_err(bad)?;
    let (checkpoint, verifier) = keys.verify(&note).map_err(bad)?;
    let (checkpoint, verifier) = (checkpoint.clone(), verifier.clone());
    let manifest = log.manifest()?;
    let origin = origin_of(log, &manifest, &keys)?;
    if checkpoint.origin != origin.to_string() {
        return Err(bad(CheckpointError::OtherLog {
            origin: checkpoint.origin,
            key: origin.to_string(),
        }));
    }
    let mut parts = sealed(log, &manifest, checkpoint.size)?;
    parts.extend(plain(log, &manifest, checkpoint.size, active)?);
    Ok(Snapshot { log: log.clone(), manifest, checkpoint, note, verifier, keys, parts })
}

fn origin_of(log: &LogView, manifest: &Manifest, keys: &Keyring) -> Result<Origin, ReadError> {
    Origin::of_key(keys.newest().name(), &manifest.log_id, manifest.epoch).map_err(|error| {
        ReadError::Manifest(ManifestError::Invalid {
            path: log.paths.manifest(),
            reason: error.to_string(),
        })
    })
}

/// The records below `size` that the manifest lists.
fn sealed(log: &LogView, manifest: &Manifest, size: u64) -> Result<Vec<Part>, ReadError> {
    let mut parts = Vec::new();
    for segment in &manifest.segments {
        let records = segment.end_seq().min(size).saturating_sub(segment.first_seq);
        if records == 0 {
            break;
        }
        parts.push(if segment.holes().next().is_some() {
            Part::Left(Left::by_the_manifest(log, segment, size)?)
        } else if segment.is_compressed() && records == segment.records {
            Part::Stored(segment.clone())
        } else {
            // There may be thousands that nobody has compressed yet, and each open file is a
            // descriptor: they are opened when they are read, under whichever name by then.
            Part::Cut { segment: segment.clone(), records }
        });
    }
    Ok(parts)
}

/// The records below `size` that the manifest does not list.
fn plain(
    log: &LogView,
    manifest: &Manifest,
    size: u64,
    active: Active,
) -> Result<Vec<Part>, ReadError> {
    let mut parts = Vec::new();
    let mut next = manifest.end_seq();
    if next >= size {
        return Ok(parts);
    }
    for tail in log.tails(next)? {
        // What was sealed ends with its last record; the active segment has to hold the rest.
        let end = match &tail.seqs {
            Some(seqs) if !tail.is_active() => seqs.end.min(size),
            _ => size,
        };
        if next < end {
            parts.push(Part::Lines(Lines::new(&tail, next, end - next)));
            next = end;
        }
    }
    let is_noted = || noted_leaves::load(&*log.fs, &log.paths, &manifest.log_id, next).is_some();
    if next < size
        && active == Active::OfItsLeaves
        && is_noted()
        && let Some(tail) = log.tail(ACTIVE.to_owned())?
    {
        parts.push(Part::Lines(Lines::new(&tail, next, size - next)));
        next = size;
    }
    if next < size {
        let (dir, why) = (log.paths.dir.clone(), Known::Signed);
        return Err(ReadError::Short { dir, size, why, found: next });
    }
    Ok(parts)
}
