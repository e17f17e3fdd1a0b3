//! The lines of a snapshot's parts, block by block.

use std::io::{self, BufRead, BufReader, Read};

use flate2::read::MultiGzDecoder;

use super::{Left, Lines, Part, Snapshot};
use crate::audit::files::salvage::Piece;
use crate::audit::files::segment::BLOCK_BYTES;
use crate::audit::read::error::ReadError;
use crate::audit::read::view::offset_of;
use crate::audit::record::event::MAX_LINE_BYTES;
use crate::fsio::{FileReader, FsFile};

impl Snapshot {
    /// The part's lines, in blocks of whole lines of about 1 MiB, by the same
    /// rule as the writer's blocks.
    ///
    /// # Errors
    /// When a file cannot be opened.
    pub fn blocks<'a>(&'a self, part: &'a Part) -> Result<Blocks<'a>, ReadError> {
        let (segment, records) = match part {
            Part::Left(left) => return Ok(Blocks(Inner::Left(left, left.pieces.iter()))),
            Part::Lines(lines) => return Ok(Blocks::of(lines)),
            Part::Stored(segment) => (segment, segment.records),
            Part::Cut { segment, records } => (segment, *records),
        };
        let (file, now) = self.open_segment(segment)?;
        let reader = OwnedReader { file, offset: 0 };
        // Bounded by the lines that are asked for, each of which is bounded.
        let reader: Box<dyn Read> = if now.is_compressed() {
            Box::new(MultiGzDecoder::new(reader))
        } else {
            Box::new(reader)
        };
        Ok(Blocks::from_reader(reader, part.first_seq(), records))
    }
}

impl Lines {
    /// The lines from a record on, without reading what comes before it.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn blocks_from(&self, from: u64) -> io::Result<Blocks<'_>> {
        let end = self.first_seq + self.records;
        if from <= self.first_seq {
            return Ok(Blocks::of(self));
        }
        let offset = offset_of(&*self.file, self.bytes(), from)?;
        let reader = Box::new(FileReader { file: &*self.file, offset });
        Ok(Blocks::from_reader(reader, from, end.saturating_sub(from)))
    }
}

impl Snapshot {
    /// [`Self::blocks`] from a record on. What is compressed, or was, is read from its
    /// beginning.
    ///
    /// # Errors
    /// When a file cannot be opened or read.
    pub(crate) fn blocks_from<'a>(
        &'a self,
        part: &'a Part,
        from: u64,
    ) -> Result<Blocks<'a>, ReadError> {
        let failed = |source| self.unreadable("", source);
        match part {
            Part::Lines(lines) => lines.blocks_from(from).map_err(failed),
            Part::Cut { segment, records } if from > segment.first_seq => {
                let (file, now) = self.open_segment(segment)?;
                if now.is_compressed() {
                    return self.blocks(part);
                }
                let length = file.meta().map_err(failed)?.len;
                let offset = offset_of(&*file, length, from).map_err(failed)?;
                let left = (segment.first_seq + records).saturating_sub(from);
                Ok(Blocks::from_reader(Box::new(OwnedReader { file, offset }), from, left))
            }
            _ => self.blocks(part),
        }
    }
}

struct OwnedReader {
    file: Box<dyn FsFile>,
    offset: u64,
}

impl Read for OwnedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// The lines of a part, block by block; what is not here is left out.
pub struct Blocks<'a>(Inner<'a>);

impl<'a> Blocks<'a> {
    /// Those of a plain file.
    pub(super) fn of(lines: &'a Lines) -> Self {
        let reader = Box::new(FileReader { file: &*lines.file, offset: 0 });
        Self::from_reader(reader, lines.first_seq, lines.records)
    }

    fn from_reader(reader: Box<dyn Read + 'a>, first_seq: u64, records: u64) -> Self {
        let input = BufReader::with_capacity(256 * 1024, reader);
        Self(Inner::Lines(Gather { input, left: records, next_seq: first_seq }))
    }
}

enum Inner<'a> {
    Lines(Gather<'a>),
    Left(&'a Left, std::slice::Iter<'a, Piece>),
}

struct Gather<'a> {
    input: BufReader<Box<dyn Read + 'a>>,
    left: u64,
    next_seq: u64,
}

impl std::fmt::Debug for Blocks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocks").finish_non_exhaustive()
    }
}

impl Iterator for Blocks<'_> {
    /// The first record and the lines, each with its LF.
    type Item = io::Result<(u64, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Inner::Lines(gather) => (gather.left > 0)
                .then(|| gather.gather())
                .inspect(|block| gather.left = if block.is_ok() { gather.left } else { 0 }),
            Inner::Left(left, pieces) => {
                let piece = pieces.find(|piece| !matches!(piece, Piece::Hole(_)))?;
                let raw = left.lines(piece);
                Some(raw.map(|raw| (piece.block().first_seq, raw.unwrap_or_default())))
            }
        }
    }
}

impl Gather<'_> {
    fn gather(&mut self) -> io::Result<(u64, Vec<u8>)> {
        let first_seq = self.next_seq;
        let mut raw = Vec::with_capacity(BLOCK_BYTES as usize + 64 * 1024);
        while self.left > 0 && (raw.len() as u64) < BLOCK_BYTES {
            let before = raw.len();
            let mut line = (&mut self.input).take(MAX_LINE_BYTES as u64 + 1);
            line.read_until(b'\n', &mut raw)?;
            if raw.len() == before || raw.last() != Some(&b'\n') {
                let reason = format!("record {} is not whole", self.next_seq);
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
            }
            self.left -= 1;
            self.next_seq += 1;
        }
        Ok((first_seq, raw))
    }
}
