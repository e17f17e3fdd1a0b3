//! What is stored, and whether it fits what was signed.

use std::io;

use super::super::checkpoint::Checkpoint;
use super::super::manifest::{Manifest, Segment};
use super::super::merkle::Range;
use super::super::scan::{self, scan_plain};
use super::super::segment::sealed_name;
use super::super::status::{Damage, Word};
use super::{Corruption, OpenError, Opening, Reached, Scanned, io_error};
use crate::clock::Timestamp;
use crate::fsio::{FsFile, OpenMode, unshare};

impl Opening<'_> {
    /// Sealed files that a crash kept out of the manifest.
    pub(super) fn adopt_sealed(&self, manifest: &mut Manifest) -> Result<(), OpenError> {
        loop {
            let next = manifest.end_seq();
            let plain = sealed_name(next, false);
            let packed = sealed_name(next, true);
            // The plain file is only removed once the manifest names the packed
            // one, so the plain one is complete whenever it is there.
            let name = if self.names.contains(&plain) {
                plain
            } else if self.names.contains(&packed) {
                packed
            } else {
                return Ok(());
            };
            let path = self.paths.dir.join(&name);
            let failed = io_error("read", &path);
            let file = self.fs.open(&path, OpenMode::ReadOwn).map_err(io_error("open", &path))?;
            let meta = file.meta().map_err(io_error("look at", &path))?;
            let base = manifest.tree()?;
            let (scan, blocks) = if name.ends_with(".gz") {
                scan::scan_compressed(&*file, base, None).map_err(failed)?
            } else {
                let scan = scan_plain(&*file, base, None).map_err(failed)?;
                let blocks = scan.layout.blocks();
                (scan, blocks)
            };
            if scan.layout.records() == 0 {
                return Ok(());
            }
            let sealed_at = Timestamp::from_micros(
                meta.modified
                    .duration_since(std::time::UNIX_EPOCH)
                    .map_or(0, |since| since.as_micros() as i64),
            );
            let damage = scan
                .bad
                .as_ref()
                .map(|bad| format!("record {} at byte {}: {}", bad.seq, bad.offset, bad.reason));
            let mut segment = Segment::sealed(&scan.layout, sealed_at, damage);
            segment.file = name;
            segment.stored_bytes = blocks.iter().map(|block| block.stored_bytes).sum();
            segment.blocks = blocks;
            manifest.segments.push(segment);
        }
    }

    /// Sealed segments must be there with their size; what is inside is for `verify`.
    pub(super) fn check_sealed(
        &self,
        manifest: &mut Manifest,
        trouble: &mut Option<Corruption>,
    ) -> Result<Option<Damage>, OpenError> {
        let mut damage = None;
        for segment in &mut manifest.segments {
            if segment.damage.is_some() {
                damage = Some(Damage::SegmentDamaged);
                continue;
            }
            let mut path = self.paths.dir.join(&segment.file);
            if !self.names.contains(&segment.file) && !segment.is_compressed() {
                // Cannot be: the manifest is replaced before the plain file goes.
                path = self.paths.sealed(segment.first_seq);
            }
            let reason = match self.fs.meta(&path) {
                Ok(meta) if meta.len == segment.stored_bytes => continue,
                Ok(meta) => {
                    format!("it has {} bytes, the manifest says {}", meta.len, segment.stored_bytes)
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    "the file is missing".to_owned()
                }
                Err(error) => return Err(io_error("look at", &path)(error)),
            };
            damage = Some(Damage::SegmentDamaged);
            if self.options.accept_corruption {
                // The tree goes on: the manifest still has the segment's hashes.
                segment.damage = Some(reason);
            } else if trouble.is_none() {
                *trouble = Some(Corruption {
                    file: segment.file.clone(),
                    seq: Some(segment.first_seq),
                    offset: None,
                    reason,
                });
            }
        }
        Ok(damage)
    }

    pub(super) fn scan_active(
        &self,
        base: &Range,
        watch: Option<u64>,
    ) -> Result<Option<Scanned>, OpenError> {
        let path = self.paths.active();
        // What is cut or written here must change no other file.
        unshare(self.fs, &path).map_err(io_error("copy", &path))?;
        let file = match self.fs.open(&path, OpenMode::Write) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("open", &path)(error)),
        };
        let scan = scan_plain(&*file, base.clone(), watch).map_err(io_error("read", &path))?;
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
            return Ok(match scan.and_then(|scan| scan.watched.take()) {
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
        let file = self.fs.open(&path, OpenMode::ReadOwn).map_err(io_error("open", &path))?;
        let failed = io_error("read", &path);
        let scan = if segment.is_compressed() {
            scan::scan_compressed(&*file, base, Some(size)).map_err(failed)?.0
        } else {
            scan_plain(&*file, base, Some(size)).map_err(failed)?
        };
        Ok(scan.watched)
    }

    /// Whether what is stored fits the checkpoint.
    pub(super) fn judge(
        &self,
        manifest: &Manifest,
        active: Option<&Scanned>,
        signed: Option<&Checkpoint>,
        reached: Option<&Reached>,
        checkpoint_known: bool,
    ) -> Option<Corruption> {
        let scan = active.map(|(_, scan)| scan);
        let end = scan.map_or(manifest.end_seq(), |scan| scan.layout.next_seq());
        let bad = scan.and_then(|scan| scan.bad.as_ref());
        let corrupt = |seq, offset, reason| {
            Some(Corruption { file: "audit.log".to_owned(), seq, offset, reason })
        };
        let why = bad.map_or("the log ends there", |bad| bad.reason.as_str());
        let Some(checkpoint) = signed else {
            let events = scan.is_some_and(|scan| scan.has_events);
            if !checkpoint_known && (events || !manifest.segments.is_empty()) {
                return corrupt(None, None, "audit.checkpoint is missing".to_owned());
            }
            return None;
        };
        if end < checkpoint.size {
            let size = checkpoint.size;
            let reason = format!(
                "the checkpoint was signed over {size} records, only {end} are whole: {why}"
            );
            return corrupt(Some(end), bad.map(|bad| bad.offset), reason);
        }
        let durable = active.and_then(|(file, _)| self.durable_before(&**file));
        if let Some(durable) = durable.filter(|durable| end < *durable) {
            let reason = format!("{durable} records were durable, only {end} are whole: {why}");
            return corrupt(Some(end), bad.map(|bad| bad.offset), reason);
        }
        if reached.is_some_and(|reached| reached.tree.root().ok() == Some(checkpoint.root)) {
            return None;
        }
        let first = scan.map_or(0, |scan| scan.layout.first_seq).min(checkpoint.size);
        let reason = format!(
            "records were altered: the first {} do not hash to the signed root",
            checkpoint.size
        );
        corrupt(Some(first), None, reason)
    }

    /// What the last writer of this very file had made durable: its status page
    /// outlives a crash of the process. A copied or restored file has another inode.
    fn durable_before(&self, file: &dyn FsFile) -> Option<u64> {
        let earlier = self.earlier.as_ref()?;
        let meta = file.meta().ok()?;
        (earlier.get(Word::ActiveInode) == meta.inode).then(|| earlier.get(Word::DurableSeq))
    }
}
