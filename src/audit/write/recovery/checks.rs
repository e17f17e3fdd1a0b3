//! What is stored, and whether it fits what was signed.

use std::io;

use super::inspect::Seen;
use super::rebuild::{Found, is_unusable};
use super::{Corruption, OpenError, Opening, Reached, Scanned, io_error};
use crate::audit::files::manifest::{Manifest, Segment};
use crate::audit::files::scan;
use crate::audit::files::scan::{Interest, scan_plain};
use crate::audit::files::segment::Block;
use crate::audit::keys::checkpoint::Checkpoint;
use crate::audit::state::status::{Damage, Word};
use crate::audit::tree::merkle::Range;
use crate::fsio::{FsFile, OpenMode, unshare};

impl Opening<'_> {
    /// Sealed segments must be there, as they were noted or with the same records;
    /// what is inside of those that have their length is for `verify`.
    pub(super) fn check_sealed(
        &self,
        found: &mut Found,
        trouble: &mut Option<Corruption>,
    ) -> Result<Option<Damage>, OpenError> {
        let mut damage = None;
        for segment in &mut found.manifest.segments {
            if segment.damage.is_some() {
                damage = Some(Damage::SegmentDamaged);
            }
            let wrong = found.wrong.iter().find(|(first, _)| *first == segment.first_seq);
            let Some((_, reason)) = wrong else { continue };
            damage = Some(Damage::SegmentDamaged);
            if self.options.accept_corruption {
                // The tree goes on: the manifest still has the segment's hashes.
                segment.damage = Some(reason.clone());
            } else if trouble.is_none() {
                *trouble = Some(Corruption {
                    file: segment.file.clone(),
                    seq: Some(segment.first_seq),
                    offset: None,
                    reason: reason.clone(),
                });
            }
        }
        Ok(damage)
    }

    pub(super) fn scan_active(
        &self,
        base: &Range,
        watch: &[u64],
        signed: u64,
    ) -> Result<Option<Scanned>, OpenError> {
        let path = self.paths.active();
        // What is cut or written here must change no other file.
        unshare(self.fs, &path).map_err(io_error("copy", &path))?;
        let file = match self.fs.open(&path, OpenMode::Write) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("open", &path)(error)),
        };
        let interest =
            Interest { strict_from: Some(signed), leaves: true, ..Interest::watch(watch) };
        let scan = scan_plain(&*file, base.clone(), interest).map_err(io_error("read", &path))?;
        Ok(Some((file, scan)))
    }

    /// The tree at the checkpoint's size, and what came since; `None` when the
    /// records do not reach so far.
    pub(super) fn reach(
        &self,
        manifest: &Manifest,
        active: Option<&mut Scanned>,
        checkpoint: &Checkpoint,
    ) -> Result<Option<Reached>, OpenError> {
        let scan = active.map(|(_, scan)| scan);
        if checkpoint.size >= manifest.end_seq() {
            let at_end = checkpoint.size == manifest.end_seq() && scan.is_none();
            return Ok(match scan.and_then(|scan| scan.take_watched(checkpoint.size)) {
                Some((tree, since)) => Some(Reached { tree, since }),
                None if at_end => {
                    Some(Reached { tree: manifest.tree()?, since: Range::empty(checkpoint.size) })
                }
                None => None,
            });
        }
        let mut tree = manifest.pruned.clone();
        let mut since = Range::empty(checkpoint.size);
        if tree.end() > checkpoint.size {
            // Retention removes only what a checkpoint covers.
            return Ok(None);
        }
        for segment in &manifest.segments {
            if segment.first_seq < checkpoint.size && checkpoint.size < segment.end_seq() {
                let Some((at, rest)) = self.split_segment(segment, tree, checkpoint.size)? else {
                    return Ok(None);
                };
                (tree, since) = (at, rest);
                continue;
            }
            let into = if segment.end_seq() <= checkpoint.size { &mut tree } else { &mut since };
            for block in &segment.blocks {
                into.extend(&block.tree).map_err(|error| self.start_error(error))?;
            }
        }
        if let Some(scan) = scan {
            for block in scan.layout.blocks() {
                since.extend(&block.tree).map_err(|error| self.start_error(error))?;
            }
        }
        Ok(Some(Reached { tree, since }))
    }

    /// The tree at a size within a sealed segment, and the segment's rest.
    fn split_segment(
        &self,
        segment: &Segment,
        base: Range,
        size: u64,
    ) -> Result<Option<(Range, Range)>, OpenError> {
        let path = self.paths.dir.join(&segment.file);
        let file = match self.fs.open(&path, OpenMode::ReadOwn) {
            Ok(file) => file,
            // Told as damage of the segment.
            Err(error) if is_unusable(&error) => return Ok(None),
            Err(error) => return Err(io_error("open", &path)(error)),
        };
        let failed = io_error("read", &path);
        let (sizes, begin) = ([size], base.end());
        let holes: Vec<Block> = segment.holes().cloned().collect();
        let interest = Interest { holes: &holes, ..Interest::watch(&sizes) };
        let mut scan = if segment.is_compressed() {
            scan::scan_compressed(&*file, base, interest).map_err(failed)?.0
        } else {
            scan_plain(&*file, base, interest).map_err(failed)?
        };
        debug_assert!(begin < size, "the size lies within the segment");
        Ok(scan.take_watched(size))
    }

    /// Whether what is stored fits the newest signed head.
    pub(super) fn judge(&self, seen: &Seen) -> Option<Corruption> {
        let manifest = &seen.manifest;
        let scan = seen.scan.as_ref().map(|(_, scan)| scan);
        let end = scan.map_or(manifest.end_seq(), |scan| scan.layout.next_seq());
        let bad = scan.and_then(|scan| scan.bad.as_ref());
        let corrupt = |seq, offset, reason| {
            Some(Corruption { file: "audit.log".to_owned(), seq, offset, reason })
        };
        let why = bad.map_or("the log ends there", |bad| bad.reason.as_str());
        let Some(head) = &seen.head else {
            // A log begins with a signed head, before its first line.
            let lines = scan.is_some_and(|scan| scan.layout.records() > 0 || scan.bad.is_some());
            if lines || seen.was_signed || !manifest.segments.is_empty() {
                return corrupt(None, None, "audit.checkpoint is missing".to_owned());
            }
            return None;
        };
        let signed = &head.checkpoint;
        if end < signed.size {
            let size = signed.size;
            let reason = format!(
                "the checkpoint was signed over {size} records, only {end} are whole: {why}"
            );
            return corrupt(Some(end), bad.map(|bad| bad.offset), reason);
        }
        let reached = seen.reached.as_ref();
        if reached.is_some_and(|reached| reached.tree.root().ok() == Some(signed.root)) {
            return None;
        }
        let first = scan.map_or(0, |scan| scan.layout.first_seq).min(signed.size);
        let reason = format!(
            "records were altered: the first {} do not hash to the signed root",
            signed.size
        );
        corrupt(Some(first), None, reason)
    }

    /// How many records the last writer of this very file had made durable, by its
    /// status page, that are not there. Nobody signed that page: it raises an alarm, and
    /// decides nothing. A copied or restored file has another inode.
    pub(super) fn missed_by_page(&self, file: &dyn FsFile, end: u64) -> Option<u64> {
        let earlier = self.earlier.as_ref()?;
        let meta = file.meta().ok()?;
        let durable = earlier.get(Word::DurableSeq);
        let same = earlier.get(Word::ActiveInode) == meta.inode;
        durable.checked_sub(end).filter(|missed| same && *missed > 0)
    }
}
