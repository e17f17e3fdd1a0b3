//! What a block's lines are, from the lines alone.

use super::segment::Block;
use crate::audit::record;
use crate::audit::tree::merkle::{Hash, MAX_TREE_SIZE, Range, leaf_hash};

/// A line that is not the record that should be there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {seq}, at byte {offset} of its block: {reason}")]
pub struct WrongLine {
    /// The record that should be there.
    pub seq: u64,
    /// Where the line begins, in the block's lines.
    pub offset: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// Looks through a block's lines: each whole, each a record, their seqs without
/// gap from `first_seq` on. `offset` and `stored_bytes` are taken over as they
/// are. That the lines are JSON is not asked: whether they are the very bytes
/// that were recorded, the tree says.
///
/// # Errors
/// The first line that is wrong.
pub fn examine(
    raw: &[u8],
    first_seq: u64,
    (offset, stored_bytes): (u64, u64),
) -> Result<Block, WrongLine> {
    if first_seq >= MAX_TREE_SIZE {
        let reason = "no log has so many records".to_owned();
        return Err(WrongLine { seq: first_seq, offset: 0, reason });
    }
    let mut block = Block::empty(first_seq, offset);
    let mut at = 0;
    while at < raw.len() {
        let seq = first_seq + block.records;
        let wrong = |reason: String| WrongLine { seq, offset: at as u64, reason };
        let end = memchr::memchr(b'\n', &raw[at..])
            .ok_or_else(|| wrong("a line without its end".to_owned()))?;
        let line = &raw[at..at + end];
        match record::peek_seq(line) {
            Some(found) if found == seq && seq < MAX_TREE_SIZE => {}
            Some(found) => return Err(wrong(format!("record {found} is in its place"))),
            None => return Err(wrong("a line that does not begin with a record's seq".to_owned())),
        }
        let (time, _) = record::peek_times(line)
            .ok_or_else(|| wrong("a record without a timestamp".to_owned()))?;
        block.push(line, time);
        at += end + 1;
    }
    block.stored_bytes = stored_bytes;
    Ok(block)
}

/// The subtree hashes over some lines.
pub(crate) fn tree_of(lines: &[u8], first_seq: u64) -> Range {
    let mut tree = Range::empty(first_seq);
    leaves(lines).for_each(|leaf| tree.append(leaf));
    tree
}

/// The leaf hashes of a block's lines.
pub fn leaves(raw: &[u8]) -> impl Iterator<Item = Hash> + '_ {
    raw.split_inclusive(|byte| *byte == b'\n')
        .map(|line| leaf_hash(line.strip_suffix(b"\n").unwrap_or(line)))
}

/// The subtree hashes over the records of a block that lie in `begin..end`.
/// `raw` are the block's lines.
#[must_use]
pub fn part_of(block: &Block, raw: &[u8], begin: u64, end: u64) -> Range {
    let begin = begin.max(block.first_seq);
    let end = end.min(block.first_seq + block.records).max(begin);
    if begin == block.first_seq && end == block.first_seq + block.records {
        return block.tree.clone();
    }
    let mut range = Range::empty(begin);
    let skip = (begin - block.first_seq) as usize;
    for leaf in leaves(raw).skip(skip).take((end - begin) as usize) {
        range.append(leaf);
    }
    range
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seq: u64) -> String {
        format!("{{\"seq\":{seq},\"timestamp\":\"2026-01-01T00:00:{:02}.000000Z\"}}\n", seq % 60)
    }

    #[test]
    fn a_block_is_what_the_writer_would_have_noted() {
        let raw: String = (5..25).map(line).collect();
        let block = examine(raw.as_bytes(), 5, (100, 77)).expect("records");
        assert_eq!((block.first_seq, block.records, block.offset), (5, 20, 100));
        assert_eq!((block.raw_bytes, block.stored_bytes), (raw.len() as u64, 77));
        assert_eq!(block.min_timestamp.to_string(), "2026-01-01T00:00:05.000000Z");
        assert_eq!(block.max_timestamp.to_string(), "2026-01-01T00:00:24.000000Z");
        let mut tree = Range::empty(5);
        leaves(raw.as_bytes()).for_each(|leaf| tree.append(leaf));
        assert_eq!(block.tree, tree);
    }

    #[test]
    fn a_part_of_a_block_is_the_range_of_its_records() {
        let raw: String = (8..40).map(line).collect();
        let block = examine(raw.as_bytes(), 8, (0, 0)).expect("records");
        for (begin, end) in [(8, 40), (8, 9), (10, 39), (0, 12), (39, 100), (20, 20)] {
            let mut expected = Range::empty(begin.max(8));
            (begin.max(8)..end.min(40))
                .for_each(|seq| expected.append(leaf_hash(line(seq).trim_end().as_bytes())));
            assert_eq!(part_of(&block, raw.as_bytes(), begin, end), expected, "{begin}..{end}");
        }
    }

    #[test]
    fn the_first_wrong_line_is_named() {
        let good: String = (0..3).map(line).collect();
        let cases = [
            (format!("{good}{}", line(4)), 3, "record 4 is in its place"),
            (format!("{good}{}", line(2)), 3, "record 2 is in its place"),
            (good[..good.len() - 1].to_owned(), 2, "without its end"),
            (format!("{good}nonsense\n"), 3, "does not begin with"),
            (format!("{good}{{\"seq\":3,\"x\":1}}\n"), 3, "without a timestamp"),
        ];
        for (raw, seq, reason) in cases {
            let error = examine(raw.as_bytes(), 0, (0, 0)).expect_err(reason);
            assert_eq!(error.seq, seq);
            assert!(error.reason.contains(reason), "{error}");
        }
    }
}
