//! The log's records: what is sealed, what the active segment holds, and the tree over
//! them.

use std::io;

use super::Opening;
use super::error::{OpenError, io_error};
use super::heads::Head;
use super::rebuild::is_unusable;
use crate::audit::files::manifest::{Manifest, Segment};
use crate::audit::files::scan::{self, Interest, Scan, scan_plain};
use crate::audit::files::segment::Block;
use crate::audit::keys::checkpoint::Checkpoint;
use crate::audit::tree::merkle::Range;
use crate::fsio::{FsFile, OpenMode, unshare};

/// The log's records, as opening found them and goes on with them.
pub(super) struct Records {
    pub(super) manifest: Manifest,
    /// The tree over all that is sealed.
    pub(super) base: Range,
    /// The active segment, where there is one.
    pub(super) active: Option<Scanned>,
    /// The newest signed head's place in them; `None` where they do not reach so far.
    pub(super) reached: Option<Reached>,
}

/// The active segment's file, and what is in it.
pub(super) struct Scanned {
    pub(super) file: Box<dyn FsFile>,
    pub(super) scan: Scan,
}

/// The tree at some size, and the range of what came since.
pub(super) struct Reached {
    pub(super) tree: Range,
    pub(super) since: Range,
}

impl Reached {
    /// At the end: nothing came since.
    pub(super) fn end(tree: Range) -> Self {
        let since = Range::empty(tree.end());
        Self { tree, since }
    }
}

impl Scanned {
    /// The tree at a size that was watched while the file was read.
    pub(super) fn take_watched(&mut self, size: u64) -> Option<Reached> {
        take_watched(&mut self.scan, size)
    }
}

fn take_watched(scan: &mut Scan, size: u64) -> Option<Reached> {
    scan.take_watched(size).map(|(tree, since)| Reached { tree, since })
}

impl Records {
    /// One after the last good record.
    pub(super) fn end_seq(&self) -> u64 {
        let active = self.active.as_ref().map(|active| active.scan.layout.next_seq());
        active.unwrap_or_else(|| self.manifest.end_seq())
    }

    /// Whether they have the root that was signed over the first of them.
    pub(super) fn have_root_of(&self, head: &Head) -> bool {
        let root = self.reached.as_ref().and_then(|reached| reached.tree.root().ok());
        root == Some(head.checkpoint.root)
    }

    /// Goes on without what the active segment holds: which of its records were altered
    /// is unknown.
    pub(super) fn forget_active(&mut self) {
        if let Some(active) = &mut self.active {
            active.scan = Scan::empty(self.base.clone());
        }
    }
}

impl Opening<'_> {
    /// Reads the active segment. A file that has further names is copied first, so that
    /// nothing that is written here changes another.
    pub(super) fn scan_active(
        &self,
        base: &Range,
        signed: u64,
    ) -> Result<Option<Scanned>, OpenError> {
        let path = self.paths.active();
        unshare(self.fs, &path).map_err(io_error("copy", &path))?;
        let file = match self.fs.open(&path, OpenMode::Write) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("open", &path)(error)),
        };
        let watch = &[signed];
        let interest =
            Interest { strict_from: Some(signed), leaves: true, ..Interest::watch(watch) };
        let scan = scan_plain(&*file, base.clone(), interest).map_err(io_error("read", &path))?;
        Ok(Some(Scanned { file, scan }))
    }

    /// The tree at the checkpoint's size, and what came since; `None` when the
    /// records do not reach so far.
    pub(super) fn reach(
        &self,
        manifest: &Manifest,
        active: Option<&mut Scanned>,
        checkpoint: &Checkpoint,
    ) -> Result<Option<Reached>, OpenError> {
        if checkpoint.size >= manifest.end_seq() {
            return Ok(match active {
                Some(active) => active.take_watched(checkpoint.size),
                None if checkpoint.size == manifest.end_seq() => {
                    Some(Reached::end(manifest.tree()?))
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
                let Some(split) = self.split_segment(segment, tree, checkpoint.size)? else {
                    return Ok(None);
                };
                (tree, since) = (split.tree, split.since);
                continue;
            }
            let into = if segment.end_seq() <= checkpoint.size { &mut tree } else { &mut since };
            for block in &segment.blocks {
                into.extend(&block.tree).map_err(|error| self.start_error(error))?;
            }
        }
        for block in active.iter().flat_map(|active| active.scan.layout.blocks()) {
            since.extend(&block.tree).map_err(|error| self.start_error(error))?;
        }
        Ok(Some(Reached { tree, since }))
    }

    /// The tree at a size within a sealed segment, and the segment's rest.
    fn split_segment(
        &self,
        segment: &Segment,
        base: Range,
        size: u64,
    ) -> Result<Option<Reached>, OpenError> {
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
        Ok(take_watched(&mut scan, size))
    }
}
