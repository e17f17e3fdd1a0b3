//! Lines as a file has them, good or not, and what they are compared with what
//! should be there. Only damaged files are read this way: a good one is checked
//! block by block.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};

use super::report::{Finding, Kind};
use crate::audit::files::segment::Block;
use crate::audit::record::event::MAX_LINE_BYTES;
use crate::audit::record::{peek_seq, peek_times};
use crate::audit::tree::merkle::{Hash, Range, leaf_hash};

/// A line, or a stretch of bytes that holds none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// `None` when it is no record.
    pub(super) seq: Option<u64>,
    /// Where it, or its gzip member, begins in the stored file.
    pub(super) offset: u64,
    pub(super) leaf: Hash,
    /// The file ends within it.
    pub(super) cut: bool,
}

impl Line {
    /// Bytes that hold no record.
    pub(super) fn none(offset: u64) -> Self {
        Self { seq: None, offset, leaf: leaf_hash(b""), cut: false }
    }
}

/// Reads lines up to the end; `at` is where the first begins. With `fixed` all
/// of them are said to be there.
pub(super) fn read_lines(
    reader: &mut dyn BufRead,
    mut at: u64,
    fixed: bool,
    lines: &mut Vec<Line>,
) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        let whole = line.pop_if(|last| *last == b'\n').is_some();
        // Bytes that were overwritten within a record, or between two, leave its beginning.
        let is_record = || serde_json::from_slice::<serde::de::IgnoredAny>(&line).is_ok();
        let seq = peek_seq(&line).filter(|_| whole && peek_times(&line).is_some() && is_record());
        let cut = !fixed && !whole && line.len() <= MAX_LINE_BYTES;
        lines.push(Line { seq, offset: at, leaf: leaf_hash(&line), cut });
        if !fixed {
            at += read as u64;
        }
    }
}

/// A plain file's lines.
pub(super) fn of_plain(reader: impl Read) -> io::Result<Vec<Line>> {
    let mut lines = Vec::new();
    read_lines(&mut BufReader::with_capacity(256 << 10, reader), 0, false, &mut lines)?;
    Ok(lines)
}

/// What is wrong with the lines of a file that should hold the records
/// `first..end`, by their seqs alone.
pub(super) fn compare(file: &str, lines: &[Line], first: u64, end: u64) -> Vec<Finding> {
    let wanted = |seq: &u64| (first..end).contains(seq);
    let mut places: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for line in lines {
        if let Some(seq) = line.seq.filter(wanted) {
            places.entry(seq).or_default().push(line.offset);
        }
    }
    let mut findings = Vec::new();
    let mut strangers = strangers(lines, first, end);
    for (begin, stop) in gaps(places.keys().copied(), first, end) {
        // Something else stands where they should: they were altered.
        let found = strangers.iter().position(|(before, ..)| *before == begin);
        let finding = if let Some(found) = found {
            let (_, offset, cut) = strangers.swap_remove(found);
            strangers.retain(|(before, ..)| *before != begin);
            let finding = if cut {
                Finding::new(Kind::Truncated, file, "the file ends within or before them")
            } else {
                Finding::new(Kind::Altered, file, "it differs from what was recorded")
            };
            finding.at(offset)
        } else if stop == end {
            Finding::new(Kind::Truncated, file, "the file ends before them")
        } else {
            Finding::new(Kind::Missing, file, "they are not there")
        };
        findings.push(finding.records(begin, stop));
    }
    for (before, offset, _) in strangers {
        let text = format!("there is a line before record {before} that was not recorded");
        findings.push(Finding::new(Kind::Extra, file, text).records(before, before).at(offset));
    }
    for (seq, offsets) in places.iter().filter(|(_, offsets)| offsets.len() > 1) {
        let text = format!("it is there {} times", offsets.len());
        let finding = Finding::new(Kind::Extra, file, text).records(*seq, seq + 1);
        findings.push(finding.at(offsets[1]));
    }
    findings.extend(disorder(file, lines, first, end));
    findings
}

/// Lines that are none of the records: the record that should follow, where, and whether
/// the file ends there.
fn strangers(lines: &[Line], first: u64, end: u64) -> Vec<(u64, u64, bool)> {
    let mut next = first;
    let mut found = Vec::new();
    for line in lines {
        match line.seq.filter(|seq| (first..end).contains(seq)) {
            Some(seq) => next = seq + 1,
            None => found.push((next, line.offset, line.cut)),
        }
    }
    found
}

/// The runs of `first..end` that are not among `present`, which ascends.
fn gaps(present: impl Iterator<Item = u64>, first: u64, end: u64) -> Vec<(u64, u64)> {
    let mut next = first;
    let mut gaps = Vec::new();
    for seq in present.chain([end]) {
        if seq > next {
            gaps.push((next, seq));
        }
        next = next.max(seq + 1);
    }
    gaps
}

/// The records between the first and the last that stand out of order.
fn disorder(file: &str, lines: &[Line], first: u64, end: u64) -> Option<Finding> {
    let mut highest: Option<u64> = None;
    let mut out: Option<(u64, u64, u64)> = None;
    for line in lines {
        let Some(seq) = line.seq.filter(|seq| (first..end).contains(seq)) else { continue };
        match highest {
            // The same one again is a copy, not disorder.
            Some(high) if seq < high => {
                let (low, top, offset) = out.unwrap_or((seq, high, line.offset));
                out = Some((low.min(seq), top.max(high), offset));
            }
            _ => highest = Some(seq),
        }
    }
    let (low, high, offset) = out?;
    let copies = lines.iter().filter(|line| line.seq == Some(low)).count();
    // A copy of an earlier record, put in again, disturbs no order by itself.
    if copies > 1 {
        return None;
    }
    let text = "they are in another order";
    Some(Finding::new(Kind::Reordered, file, text).records(low, high + 1).at(offset))
}

/// The records of a block whose lines are all there and hash to something else:
/// as narrow as the subtrees that the manifest keeps allow.
pub(super) fn altered_part(block: &Block, found: &Range) -> Option<(u64, u64)> {
    let same_shape = found.begin() == block.tree.begin() && found.end() == block.tree.end();
    if !same_shape {
        return Some((block.first_seq, block.first_seq + block.records));
    }
    let mut part: Option<(u64, u64)> = None;
    for (noted, now) in block.tree.subtrees().zip(found.subtrees()) {
        if noted.hash != now.hash {
            let (begin, end) = (noted.begin, noted.begin + (1 << noted.level));
            part = Some(part.map_or((begin, end), |(first, _)| (first, end)));
        }
    }
    part
}
