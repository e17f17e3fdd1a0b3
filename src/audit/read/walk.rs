//! All records of a log as they are stored, good or not: what can be read, line by
//! line, and what cannot, by its range. Nothing is judged; for that there is
//! [`verify`](super::verify).

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::verify::view::View;
use super::view::Stored;
use crate::audit::files::gzip::Unpacker;
use crate::audit::files::lines::{lines_of_block, lines_of_file};
use crate::audit::files::segment::BLOCK_BYTES;
use crate::audit::paths::parse_sealed_name;
use crate::audit::read::error::ReadError;
use crate::audit::record::event::MAX_LINE_BYTES;
use crate::audit::record::peek_seq;
use crate::fsio::{FileReader, FsFile, SharedFs};

/// Records that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
    /// Lines, without their LF.
    Lines(Vec<(u64, Vec<u8>)>),
    /// Records that cannot be read: the first, one after the last, and why.
    Unreadable(u64, u64, String),
}

impl Run {
    /// The lines of a block that begins with `first_seq`.
    #[must_use]
    pub fn of_block(first_seq: u64, raw: &[u8]) -> Self {
        let lines = raw.split_inclusive(|byte| *byte == b'\n');
        let lines = lines.map(|line| line.strip_suffix(b"\n").unwrap_or(line).to_vec());
        Self::Lines((first_seq..).zip(lines).collect())
    }
}

/// Walks through the log in `dir`, in the order of its records, as long as `take`
/// wants more.
///
/// # Errors
/// There is no log, or a file cannot be opened.
pub fn walk(fs: &SharedFs, dir: &Path, take: &mut dyn FnMut(Run) -> bool) -> Result<(), ReadError> {
    let view = View::take(fs, dir)?;
    for segment in &view.manifest.segments {
        let (file, now) = match view.open_segment(segment)? {
            Stored::Here(file, now) => (file, *now),
            Stored::Removed => continue,
            Stored::Missing(_) => {
                let why = format!("{} is not there", segment.file);
                if !take(Run::Unreadable(segment.first_seq, segment.end_seq(), why)) {
                    return Ok(());
                }
                continue;
            }
        };
        let mut unpacker = Unpacker::new();
        for block in &now.blocks {
            let run = match lines_of_block(&*file, &now, block, &mut unpacker) {
                Ok(raw) => Run::of_block(block.first_seq, &raw),
                Err(why) => {
                    let end = block.first_seq + block.records;
                    Run::Unreadable(block.first_seq, end, format!("{}: {why}", now.file))
                }
            };
            if !take(run) {
                return Ok(());
            }
        }
    }
    let mut next = view.manifest.end_seq();
    for tail in &view.tails {
        let failed = |source| ReadError::io("read", &view.log.paths.dir.join(&tail.name), source);
        let first = parse_sealed_name(&tail.name).map_or(next, |(first, _)| first);
        let mut numbers = Numbers { next: first };
        let goes_on = if tail.is_compressed() {
            let text = lines_of_file(true, &*tail.file).map_err(failed)?;
            take(Run::Lines(numbers.number(&text)))
        } else {
            plain(&*tail.file, &tail.name, &mut numbers, take).map_err(failed)?
        };
        if !goes_on {
            return Ok(());
        }
        next = numbers.next;
    }
    Ok(())
}

/// Goes through a plain file, about a block at a time, whatever its length and whatever is
/// in it: what is longer than any line is passed over. Whether more is wanted.
fn plain(
    file: &dyn FsFile,
    name: &str,
    numbers: &mut Numbers,
    take: &mut dyn FnMut(Run) -> bool,
) -> io::Result<bool> {
    let mut input = BufReader::with_capacity(256 * 1024, FileReader { file, offset: 0 });
    let mut raw = Vec::new();
    loop {
        let before = raw.len();
        let read = (&mut input).take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut raw)?;
        let is_line = raw.last() == Some(&b'\n') || read <= MAX_LINE_BYTES;
        if !is_line {
            raw.truncate(before);
            skip_line(&mut input)?;
        }
        let ends = read == 0;
        if (ends || !is_line || raw.len() as u64 >= BLOCK_BYTES) && !raw.is_empty() {
            if !take(Run::Lines(numbers.number(&raw))) {
                return Ok(false);
            }
            raw.clear();
        }
        if !is_line {
            let seq = numbers.next;
            let why = format!("{name}: {} bytes or more without a line's end", MAX_LINE_BYTES + 1);
            if !take(Run::Unreadable(seq, seq + 1, why)) {
                return Ok(false);
            }
            numbers.next = seq + 1;
        }
        if ends {
            return Ok(true);
        }
    }
}

/// Passes over what is left up to the next line's end.
fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let piece = input.fill_buf()?;
        if piece.is_empty() {
            return Ok(());
        }
        let (used, found) = match memchr::memchr(b'\n', piece) {
            Some(at) => (at + 1, true),
            None => (piece.len(), false),
        };
        input.consume(used);
        if found {
            return Ok(());
        }
    }
}

/// The numbers of the lines that follow each other.
struct Numbers {
    next: u64,
}

impl Numbers {
    /// Each line with its seq: the one that it begins with where that follows, else the
    /// next.
    fn number(&mut self, text: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let mut lines: Vec<(u64, Vec<u8>)> = Vec::new();
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            // A damaged digit must not move all that follows.
            let near = |seq: &u64| *seq >= self.next && *seq - self.next < 1 << 20;
            let seq = peek_seq(line).filter(near).unwrap_or(self.next);
            lines.push((seq, line.to_vec()));
            self.next = seq + 1;
        }
        lines
    }
}
