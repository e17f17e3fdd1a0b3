//! The tree of a log as its stored blocks make it up: over any of its beginnings,
//! and over any run of its records that are still here.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

use super::view::View;
use crate::audit::files::examine::{leaves, part_of};
use crate::audit::files::gzip::{MAX_BLOCK_BYTES, MAX_MEMBER_BYTES, Unpacker};
use crate::audit::files::segment::Block;
use crate::audit::read::error::ReadError;
use crate::audit::read::view::Stored;
use crate::audit::tree::merkle::{Range, RangeError};
use crate::fsio::FileReader;

/// Where a block's lines are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a sealed segment, by its number in the manifest.
    Segment(usize),
    /// In a file that the manifest does not list; the block's offset counts lines.
    Tail(usize),
}

/// A run of records that follow each other.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) place: Place,
    pub(super) block: Block,
}

/// All records, in pieces.
#[derive(Debug)]
pub(super) struct Pieces {
    pruned: Range,
    pieces: Vec<Piece>,
}

impl Pieces {
    /// The sealed ones, as the manifest notes them.
    pub(super) fn sealed(view: &View) -> Self {
        let segments = view.manifest.segments.iter().enumerate();
        let pieces = segments
            .flat_map(|(index, segment)| {
                let place = Place::Segment(index);
                segment.blocks.iter().map(move |block| Piece { place, block: block.clone() })
            })
            .collect();
        Self { pruned: view.manifest.pruned.clone(), pieces }
    }

    pub(super) fn push(&mut self, piece: Piece) {
        self.pieces.push(piece);
    }

    /// Takes another tree for a sealed block than the manifest notes.
    pub(super) fn replace(&mut self, place: Place, first_seq: u64, tree: Range) {
        let wanted =
            |piece: &&mut Piece| piece.place == place && piece.block.first_seq == first_seq;
        if let Some(piece) = self.pieces.iter_mut().find(wanted) {
            piece.block.tree = tree;
        }
    }

    /// The first record in a place.
    pub(super) fn first_of(&self, place: Place) -> Option<u64> {
        let piece = self.pieces.iter().find(|piece| piece.place == place)?;
        Some(piece.block.first_seq)
    }

    /// The first record that is here.
    pub(super) fn begin(&self) -> u64 {
        self.pruned.end()
    }

    /// One after the last.
    pub(super) fn end(&self) -> u64 {
        self.pieces.last().map_or(self.pruned.end(), |piece| piece.block.tree.end())
    }

    /// The tree over the first `size` records; `None` when there are fewer, or it
    /// ends within what retention removed.
    pub(super) fn tree_at(&self, view: &View, size: u64) -> Result<Option<Range>, ReadError> {
        if size < self.pruned.end() || size > self.end() {
            return Ok(None);
        }
        let mut tree = self.pruned.clone();
        let joined = self.extend(view, &mut tree, size)?;
        Ok(joined.then_some(tree))
    }

    /// The range of the records `begin..end`; `None` when they are not all here.
    pub(super) fn range(
        &self,
        view: &View,
        begin: u64,
        end: u64,
    ) -> Result<Option<Range>, ReadError> {
        let pruned = self.pruned.end();
        if begin == 0 && end >= pruned {
            return self.tree_at(view, end);
        }
        let mut range = if begin < pruned {
            let Some(kept) = self.pruned.within(begin, end.min(pruned)) else { return Ok(None) };
            kept
        } else {
            Range::empty(begin)
        };
        let joined = self.extend(view, &mut range, end)?;
        Ok(joined.then_some(range))
    }

    /// Joins what follows the range, up to `end`.
    fn extend(&self, view: &View, range: &mut Range, end: u64) -> Result<bool, ReadError> {
        let from = self.pieces.partition_point(|piece| piece.block.tree.end() <= range.end());
        for piece in &self.pieces[from..] {
            if range.end() >= end {
                break;
            }
            let block = &piece.block;
            let whole = range.end() == block.first_seq && block.tree.end() <= end;
            let joined = if whole {
                range.extend(&block.tree)
            } else {
                let part = match read(view, piece)? {
                    // A damaged block may hold fewer lines than it should.
                    Some(raw) => part_of(block, &raw, range.end(), end),
                    // What is noted of a hole may be enough.
                    None => match block.tree.within(range.end(), end.min(block.tree.end())) {
                        Some(part) => part,
                        None => return Ok(false),
                    },
                };
                range.extend(&part)
            };
            match joined {
                Ok(()) => {}
                Err(RangeError::NotAdjacent { .. }) => return Ok(false),
                Err(_) => return Ok(false),
            }
        }
        Ok(range.end() == end)
    }

    /// The block that holds a record.
    pub(super) fn piece_of(&self, seq: u64) -> Option<&Piece> {
        let at = self.pieces.partition_point(|piece| piece.block.tree.end() <= seq);
        self.pieces.get(at).filter(|piece| piece.block.first_seq <= seq)
    }
}

/// A block's lines; `None` when they cannot be had.
pub(super) fn read(view: &View, piece: &Piece) -> Result<Option<Vec<u8>>, ReadError> {
    let block = &piece.block;
    if block.is_hole() {
        return Ok(None);
    }
    if block.raw_bytes > MAX_BLOCK_BYTES as u64 || block.stored_bytes > MAX_MEMBER_BYTES as u64 {
        return Ok(None);
    }
    let (outcome, path) = match piece.place {
        Place::Tail(index) => {
            let tail = &view.tails[index];
            let mut raw = vec![0; block.raw_bytes as usize];
            let reader = FileReader { file: &*tail.file, offset: 0 };
            let outcome = if tail.is_compressed() {
                // Read from the beginning: a log without its manifest is damaged.
                let mut lines = MultiGzDecoder::new(reader);
                io::copy(&mut (&mut lines).take(block.offset), &mut io::sink())
                    .and_then(|_| lines.read_exact(&mut raw))
            } else {
                tail.file.read_exact_at(&mut raw, block.offset)
            };
            (outcome.map(|()| raw), view.log.paths.dir.join(&tail.name))
        }
        Place::Segment(index) => {
            let segment = &view.manifest.segments[index];
            let Stored::Here(file, now) = view.open_segment(segment)? else { return Ok(None) };
            let here = now.blocks.iter().find(|here| here.first_seq == block.first_seq);
            let is_one = |b: &&Block| !b.is_hole() && b.stored_bytes <= MAX_MEMBER_BYTES as u64;
            let Some(here) = here.filter(is_one) else {
                return Ok(None);
            };
            let mut stored = vec![0; here.stored_bytes as usize];
            let outcome = file.read_exact_at(&mut stored, here.offset).and_then(|()| {
                let mut raw = Vec::new();
                if !now.is_compressed() {
                    return Ok(stored);
                }
                match Unpacker::new().unpack(&stored, &mut raw) {
                    Ok(()) => Ok(raw),
                    Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
                }
            });
            (outcome, view.log.paths.dir.join(&now.file))
        }
    };
    match outcome {
        Ok(raw) => Ok(Some(raw)),
        Err(error) if is_damage(&error) => Ok(None),
        Err(source) => Err(ReadError::io("read", &path, source)),
    }
}

/// The same, if they are the lines that the tree has.
pub(super) fn read_noted(view: &View, piece: &Piece) -> Result<Option<Vec<u8>>, ReadError> {
    let raw = read(view, piece)?.filter(|raw| {
        let mut tree = Range::empty(piece.block.first_seq);
        leaves(raw).for_each(|leaf| tree.append(leaf));
        tree == piece.block.tree
    });
    Ok(raw)
}

/// Whether it is the file's content that is at fault, not the reading of it.
pub(super) fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}
