//! What a snapshot is made of: stretches of records, each in one place.

use std::io;
use std::sync::Arc;

use crate::audit::files::examine::examine;
use crate::audit::files::gzip::{MAX_MEMBER_BYTES, Unpacker};
use crate::audit::files::manifest::Segment;
use crate::audit::files::salvage::Piece;
use crate::audit::files::segment::Block;
use crate::audit::read::error::ReadError;
use crate::audit::read::view::{LogView, Tail};
use crate::fsio::FsFile;

/// Records that follow each other, in one place.
#[derive(Debug)]
pub enum Part {
    /// A whole compressed segment.
    Stored(Segment),
    /// Lines of a plain file, which is held open.
    Lines(Lines),
    /// Lines of a sealed segment that is looked up when it is read: it is not compressed, or
    /// the checkpoint ends in it.
    Cut {
        /// The segment.
        segment: Segment,
        /// How many of its records belong to the snapshot.
        records: u64,
    },
    /// What is left of a segment of which some records are not here.
    Left(Left),
}

/// What is left of a segment, and the holes in it.
#[derive(Debug)]
pub struct Left {
    /// As the manifest has it.
    pub(super) segment: Segment,
    pub(super) file: Option<Box<dyn FsFile>>,
    pub(super) pieces: Vec<Piece>,
}

impl Left {
    /// A segment that has holes by the manifest's word, without the records from `size` on.
    pub(super) fn by_the_manifest(
        log: &LogView,
        segment: &Segment,
        size: u64,
    ) -> Result<Self, ReadError> {
        let path = log.paths.dir.join(&segment.file);
        let file = if segment.is_stored() { log.open(&path)? } else { None };
        let as_piece = |block: &Block| match block.is_hole() {
            true => Piece::Hole(block.clone()),
            false => Piece::Stored(block.clone()),
        };
        let pieces = segment.blocks.iter().map(as_piece).collect();
        let mut left = Self { segment: segment.clone(), file, pieces };
        left.cut(size).map_err(|source| ReadError::io("read", &path, source))?;
        Ok(left)
    }

    /// Its records that are not here.
    pub fn holes(&self) -> impl Iterator<Item = &Block> {
        self.pieces.iter().filter(|piece| matches!(piece, Piece::Hole(_))).map(Piece::block)
    }

    /// What is left, and the holes, in order.
    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// A block as it is stored.
    ///
    /// # Errors
    /// When it cannot be read, or says that it is larger than a block can be.
    pub(crate) fn stored(&self, block: &Block) -> io::Result<Vec<u8>> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        if block.stored_bytes > MAX_MEMBER_BYTES as u64 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut stored = vec![0; block.stored_bytes as usize];
        file.read_exact_at(&mut stored, block.offset)?;
        Ok(stored)
    }

    /// Whether what it has as it is stored is gzip members.
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        self.segment.is_compressed()
    }

    /// A piece's lines; `None` for a hole.
    pub(crate) fn lines(&self, piece: &Piece) -> io::Result<Option<Vec<u8>>> {
        let block = match piece {
            Piece::Hole(_) => return Ok(None),
            Piece::Lines(_, raw) => return Ok(Some(raw.clone())),
            Piece::Stored(block) => block,
        };
        let stored = self.stored(block)?;
        if !self.is_compressed() {
            return Ok(Some(stored));
        }
        let mut raw = Vec::new();
        let damaged = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        Unpacker::new().unpack(&stored, &mut raw).map_err(damaged)?;
        Ok(Some(raw))
    }

    /// The bytes of its lines that are here.
    #[must_use]
    pub fn raw_bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.block().raw_bytes).sum()
    }

    /// Leaves out the records from `size` on.
    pub(super) fn cut(&mut self, size: u64) -> io::Result<()> {
        let whole = self.pieces.partition_point(|piece| piece.block().tree.end() <= size);
        let rest = self.pieces.split_off(whole);
        let Some(piece) = rest.first().filter(|piece| piece.block().first_seq < size) else {
            return Ok(());
        };
        let cut = match self.lines(piece)? {
            Some(raw) => {
                let records = (size - piece.block().first_seq) as usize;
                let lines = raw.split_inclusive(|byte| *byte == b'\n').take(records);
                let raw: Vec<u8> = lines.flatten().copied().collect();
                let block = examine(&raw, piece.block().first_seq, (0, raw.len() as u64))
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                Piece::Lines(block, raw)
            }
            None => {
                let block = piece.block();
                let within = block.tree.within(block.first_seq, size);
                let within = within.ok_or_else(|| {
                    let reason = format!("the checkpoint ends at record {size}, in a hole");
                    io::Error::new(io::ErrorKind::InvalidData, reason)
                })?;
                let times = (block.min_timestamp, block.max_timestamp);
                let why = block.hole.as_deref().unwrap_or_default();
                Piece::Hole(Block::hole(within, times, why))
            }
        };
        self.pieces.push(cut);
        Ok(())
    }
}

/// Lines from a plain file's beginning on.
#[derive(Debug)]
pub struct Lines {
    pub(super) file: Arc<dyn FsFile>,
    /// The first record.
    pub first_seq: u64,
    /// How many.
    pub records: u64,
    bytes: u64,
}

impl Lines {
    pub(super) fn new(tail: &Tail, first_seq: u64, records: u64) -> Self {
        Self { file: Arc::clone(&tail.file), first_seq, records, bytes: tail.length }
    }

    /// The file's length when the snapshot was taken: what it holds at most.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Part {
    /// Its first record.
    #[must_use]
    pub fn first_seq(&self) -> u64 {
        match self {
            Self::Stored(segment) | Self::Cut { segment, .. } => segment.first_seq,
            Self::Lines(lines) => lines.first_seq,
            Self::Left(left) => left.segment.first_seq,
        }
    }

    /// Its number of records.
    #[must_use]
    pub fn records(&self) -> u64 {
        match self {
            Self::Stored(segment) => segment.records,
            Self::Lines(lines) => lines.records,
            Self::Cut { records, .. } => *records,
            Self::Left(left) => left.pieces.iter().map(|piece| piece.block().records).sum(),
        }
    }
}
