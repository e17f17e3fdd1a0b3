//! All records of a log as they are stored, good or not: what can be read, line by
//! line, and what cannot, by its range. Nothing is judged; for that there is
//! [`verify`](super::verify).

use std::path::Path;

use super::verify::VerifyError;
use super::verify::view::{Stored, View};
use crate::audit::files::gzip::Unpacker;
use crate::audit::files::lines::{lines_of_block, lines_of_file};
use crate::audit::paths::parse_sealed_name;
use crate::audit::record::peek_seq;
use crate::fsio::SharedFs;

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
pub fn walk(
    fs: &SharedFs,
    dir: &Path,
    take: &mut dyn FnMut(Run) -> bool,
) -> Result<(), VerifyError> {
    let view = View::take(fs, dir)?;
    for segment in &view.manifest.segments {
        let (file, now) = match view.open_segment(segment)? {
            Stored::Here(file, now) => (file, *now),
            Stored::Removed => continue,
            Stored::Missing => {
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
        let failed = |source| VerifyError::io("read", &view.paths.dir.join(&tail.name), source);
        let first = parse_sealed_name(&tail.name).map_or(next, |(first, _)| first);
        let text = lines_of_file(tail.is_compressed(), &*tail.file).map_err(failed)?;
        let lines = numbered(&text, first);
        next = lines.last().map_or(first, |(seq, _)| seq + 1);
        if !take(Run::Lines(lines)) {
            return Ok(());
        }
    }
    Ok(())
}

/// Each line with its seq: the one that it begins with where that follows, else the
/// next.
fn numbered(text: &[u8], first: u64) -> Vec<(u64, Vec<u8>)> {
    let mut lines: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut next = first;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        // A damaged digit must not move all that follows.
        let near = |seq: &u64| *seq >= next && *seq - next < 1 << 20;
        let seq = peek_seq(line).filter(near).unwrap_or(next);
        lines.push((seq, line.to_vec()));
        next = seq + 1;
    }
    lines
}
