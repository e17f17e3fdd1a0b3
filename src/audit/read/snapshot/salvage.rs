//! A snapshot of a damaged log: what is left of it, and holes of which the hashes are known.

use std::io;

use super::{Blocks, Left, Lines, Part, Snapshot};
use crate::audit::files::examine::examine;
use crate::audit::files::leaves as noted_leaves;
use crate::audit::files::manifest::Segment;
use crate::audit::files::salvage;
use crate::audit::files::salvage::{Piece, active};
use crate::audit::read::error::ReadError;
use crate::audit::read::view::Stored;
use crate::audit::tree::merkle::Range;

impl Snapshot {
    /// Leaves out what is damaged: the snapshot holds what is left then, and holes of which
    /// the hashes are known. False where nothing was found to be damaged.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn salvage(&mut self) -> Result<bool, ReadError> {
        let mut found = false;
        let mut tree = self.manifest.pruned.clone();
        for at in 0..self.parts.len() {
            let first_seq = self.parts[at].first_seq();
            let segment = self.manifest.segments.beginning_at(first_seq);
            let left = match segment {
                Some(segment) => {
                    let left = self.left_of(segment)?;
                    for block in &segment.blocks {
                        let joined = tree.extend(&block.tree);
                        debug_assert!(joined.is_ok(), "a loaded manifest's ranges are adjacent");
                    }
                    left
                }
                None if at + 1 == self.parts.len() => self.left_of_active(&tree)?,
                None => None,
            };
            if let Some(left) = left {
                self.parts[at] = Part::Left(left);
                found = true;
            }
        }
        Ok(found)
    }

    /// `None` where all of it is there.
    fn left_of(&self, segment: &Segment) -> Result<Option<Left>, ReadError> {
        if !segment.is_stored() {
            return Ok(None);
        }
        let (file, segment) = match self.stored(segment) {
            Ok(Stored::Here(file, now)) => (Some(file), *now),
            Ok(Stored::Missing(_)) => (None, segment.clone()),
            Ok(Stored::Removed) => return Err(ReadError::Pruned { file: segment.file.clone() }),
            Err(ReadError::Io { source, .. }) if is_damage(&source) => (None, segment.clone()),
            Err(error) => return Err(error),
        };
        let missing = file.is_none().then_some("its file is missing");
        let why = missing.or(segment.damage.as_deref());
        let failed = |error| self.unreadable(&segment.file, error);
        let pieces = salvage::pieces_of(file.as_deref(), &segment, why).map_err(failed)?;
        if salvage::is_whole(&pieces, &segment) {
            return Ok(None);
        }
        let mut left = Left { segment, file, pieces };
        let cut = left.cut(self.checkpoint.size);
        cut.map_err(|error| self.unreadable(&left.segment.file, error))?;
        Ok(Some(left))
    }

    fn left_of_active(&self, base: &Range) -> Result<Option<Left>, ReadError> {
        let Some(Part::Lines(lines)) = self.parts.last() else { return Ok(None) };
        let signed = (self.checkpoint.size, self.checkpoint.root);
        let noted =
            noted_leaves::load(&*self.log.fs, &self.log.paths, &self.manifest.log_id, base.end());
        let noted = noted.unwrap_or_default();
        let placed = active::place(base, signed, &noted, &[&*lines.file])
            .map_err(|error| self.unreadable("audit.log", error))?;
        let Some(placed) = placed else { return Ok(None) };
        let is_hole = |piece: &Piece| matches!(piece, Piece::Hole(_));
        // Lines out of their order are damage, too.
        let segment = Segment::empty(base.end(), signed.0 - base.end());
        let ordered = !placed.pieces.iter().any(is_hole) && lines.records == segment.records;
        let left = Left { segment, file: None, pieces: placed.pieces };
        if ordered && is_in_order(lines) {
            return Ok(None);
        }
        Ok(Some(left))
    }
}

/// Whether a plain file begins with the records that it should hold.
fn is_in_order(lines: &Lines) -> bool {
    Blocks::of(lines)
        .all(|block| block.is_ok_and(|(first_seq, raw)| examine(&raw, first_seq, (0, 0)).is_ok()))
}

/// Whether it is what stands there that is at fault.
fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, IsADirectory};
    matches!(error.kind(), InvalidData | IsADirectory)
}
