//! Something to read, and reading it: a block, a stretch of a plain file, or what need not be
//! read.

use std::io;
use std::sync::Arc;

use super::columnar::Ask;
use super::view::OpenSegment;
use crate::audit::files::gzip::{MAX_BLOCK_BYTES, MAX_MEMBER_BYTES, Unpacker};
use crate::audit::files::segment::{BLOCK_BYTES, Block};
use crate::audit::record::event::MAX_LINE_BYTES;
use crate::clock::Timestamp;
use crate::fsio::FsFile;

/// Something to read.
#[derive(Debug)]
pub(super) enum Chunk {
    /// A sealed segment's block, by its number.
    Block(Arc<OpenSegment>, usize),
    /// The lines of a plain file that begin in this stretch of bytes.
    Lines {
        file: Arc<dyn FsFile>,
        name: String,
        from: u64,
        to: u64,
        /// The file's length.
        length: u64,
    },
    /// Matching records that need not be read.
    Counted {
        /// The first one's seq.
        from: u64,
        /// Their earliest and latest time.
        span: (Timestamp, Timestamp),
        /// How many.
        records: u64,
    },
    /// Blocks whose columns have what is asked for.
    Columns(Box<Ask>),
    /// What cannot be read, and why.
    Damaged(String),
}

/// Buffers and a decompressor, for many chunks.
#[derive(Debug, Default)]
pub(super) struct Worker {
    unpacker: Unpacker,
    stored: Vec<u8>,
    lines: Vec<u8>,
}

impl Chunk {
    /// The chunk's lines, and how many bytes were read for them. The first one may
    /// belong to another chunk and lack its beginning: it is then left out.
    pub(super) fn read<'w>(&self, worker: &'w mut Worker) -> Result<(&'w [u8], u64), String> {
        match self {
            Self::Counted { .. } | Self::Columns(_) => Ok((&[], 0)),
            Self::Damaged(reason) => Err(reason.clone()),
            Self::Block(open, nth) => {
                let block = &open.segment.blocks[*nth];
                let read = block_lines(open, block, worker);
                if let Err(error) = read
                    && !open.repacked_lines(block, &mut worker.lines)
                {
                    return Err(format!("{}, block {nth}: {error}", open.segment.file));
                }
                Ok((&worker.lines, block.stored_bytes))
            }
            Self::Lines { file, name, from, to, length } => {
                let failed = |error: io::Error| format!("{name}, from byte {from}: {error}");
                plain_lines(&**file, (*from, *to, *length), worker).map_err(failed)
            }
        }
    }
}

fn block_lines(open: &OpenSegment, block: &Block, worker: &mut Worker) -> Result<(), String> {
    let Worker { unpacker, stored, lines } = worker;
    let packed = open.segment.is_compressed();
    // What the manifest says is not taken for true where it costs memory.
    let most = if packed { MAX_MEMBER_BYTES } else { MAX_BLOCK_BYTES };
    let length = usize::try_from(block.stored_bytes).ok().filter(|length| *length <= most);
    let length = length.ok_or_else(|| format!("{} bytes are not a block", block.stored_bytes))?;
    let target = if packed { &mut *stored } else { &mut *lines };
    target.resize(length, 0);
    open.file.read_exact_at(target, block.offset).map_err(|error| error.to_string())?;
    if packed {
        unpacker.unpack(stored, lines).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn plain_lines<'w>(
    file: &dyn FsFile,
    (from, to, length): (u64, u64, u64),
    worker: &'w mut Worker,
) -> io::Result<(&'w [u8], u64)> {
    // With the byte before, which says whether a line begins here.
    let begin = from.saturating_sub(1);
    let lines = &mut worker.lines;
    lines.resize((to - begin) as usize, 0);
    file.read_exact_at(lines, begin)?;
    // The last line that begins here ends behind.
    let mut end = to;
    while lines.last() != Some(&b'\n') && end < length {
        let more = (length - end).min(64 * 1024);
        if lines.len() > BLOCK_BYTES as usize + 2 * MAX_LINE_BYTES {
            break;
        }
        let old = lines.len();
        lines.resize(old + more as usize, 0);
        file.read_exact_at(&mut lines[old..], end)?;
        end += more;
        if let Some(lf) = memchr::memchr(b'\n', &lines[old..]) {
            lines.truncate(old + lf + 1);
        }
    }
    let read = end - begin;
    let first = if from == 0 {
        0
    } else {
        // A line that began before belongs to the stretch before.
        memchr::memchr(b'\n', lines).map_or(lines.len(), |lf| lf + 1)
    };
    // Nor does one count that begins behind, or has no end: it is torn.
    let within = (to - begin) as usize;
    let first = if first > within { lines.len() } else { first };
    let last = memchr::memrchr(b'\n', lines).map_or(0, |lf| lf + 1).max(first);
    Ok((&lines[first..last], read))
}
