//! The tree of a snapshot's records.

use std::io;

use super::{Part, Snapshot};
use crate::audit::files::examine::{leaves, part_of};
use crate::audit::read::error::ReadError;
use crate::audit::tree::merkle::Range;

impl Snapshot {
    /// The tree over the first `size` records; `None` when the snapshot has fewer,
    /// or it ends within what retention removed. Sealed segments are taken at
    /// their manifest's word, but for the one in which it ends.
    ///
    /// # Errors
    /// When a file cannot be read, or does not hold what it should.
    pub fn tree_at(&self, size: u64) -> Result<Option<Range>, ReadError> {
        let mut tree = self.manifest.pruned.clone();
        if size < tree.end() || size > self.checkpoint.size {
            return Ok(None);
        }
        for part in &self.parts {
            if tree.end() == size {
                break;
            }
            if let Part::Stored(segment) | Part::Cut { segment, .. } = part
                && segment.end_seq() <= size
            {
                segment
                    .blocks
                    .iter()
                    .try_for_each(|block| tree.extend(&block.tree))
                    .map_err(|error| self.unreadable(&segment.file, io::Error::other(error)))?;
                continue;
            }
            if let Part::Left(left) = part {
                for piece in left.pieces() {
                    let block = piece.block();
                    let failed = |error| self.unreadable(&left.segment.file, error);
                    let joined = if block.tree.end() <= size {
                        tree.extend(&block.tree).is_ok()
                    } else if tree.end() == size {
                        break;
                    } else {
                        let raw = left.lines(piece).map_err(failed)?;
                        let within = match raw {
                            Some(raw) => Some(part_of(block, &raw, block.first_seq, size)),
                            None => block.tree.within(block.first_seq, size),
                        };
                        within.is_some_and(|within| tree.extend(&within).is_ok())
                    };
                    if !joined {
                        return Ok(None);
                    }
                }
                continue;
            }
            for block in self.blocks(part)? {
                let failed = |error| self.unreadable("audit.log", error);
                let (first_seq, raw) = block.map_err(failed)?;
                for (seq, leaf) in (first_seq..size).zip(leaves(&raw)) {
                    debug_assert_eq!(seq, tree.end(), "blocks follow each other");
                    tree.append(leaf);
                }
                if tree.end() == size {
                    break;
                }
            }
        }
        Ok((tree.end() == size).then_some(tree))
    }
}
