//! Segments and blocks: what is in a log file, and how lines are gathered into
//! blocks of about 1 MiB.
//!
//! A block closes with the first record that brings it to [`BLOCK_BYTES`]; the
//! rule depends on the lines alone, so a scan after a crash finds the same
//! blocks as the writer that wrote them.

use serde::{Deserialize, Serialize};

use crate::audit::record::id::is_recalled;
use crate::audit::tree::document::Unknown;
use crate::audit::tree::merkle::{Hash, Range};
use crate::clock::Timestamp;
use crate::fsio::FsFile;

/// A block closes when it holds so many raw bytes.
pub const BLOCK_BYTES: u64 = 1 << 20;

/// A run of whole records; one gzip member once its segment is compressed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Where it begins in the stored file.
    pub offset: u64,
    /// Its length in the stored file.
    pub stored_bytes: u64,
    /// Its length as lines.
    pub raw_bytes: u64,
    /// Its first record.
    pub first_seq: u64,
    /// Its number of records.
    pub records: u64,
    /// Earliest `timestamp` in it.
    pub min_timestamp: Timestamp,
    /// Latest `timestamp` in it.
    pub max_timestamp: Timestamp,
    /// Subtree hashes over its records.
    pub tree: Range,
    /// How many of its records have an id, or tell that the clock was set: what the window
    /// of ids is made again from. Absent where an older version sealed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<u64>,
    /// Why its records are not here. Such a block is a hole: it has no bytes, and its
    /// subtree hashes keep the tree whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hole: Option<String>,
    /// What a newer version has added.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl Block {
    /// A hole over those records. `times` are the earliest and latest that its records can
    /// have.
    pub(crate) fn hole(tree: Range, times: (Timestamp, Timestamp), why: &str) -> Self {
        Self {
            records: tree.len(),
            min_timestamp: times.0,
            max_timestamp: times.1,
            hole: Some(why.to_owned()),
            ids: None,
            ..Self { tree: tree.clone(), ..Self::empty(tree.begin(), 0) }
        }
    }

    /// Whether its records are not here.
    #[must_use]
    pub fn is_hole(&self) -> bool {
        self.hole.is_some()
    }

    pub(crate) fn empty(first_seq: u64, offset: u64) -> Self {
        Self {
            offset,
            stored_bytes: 0,
            raw_bytes: 0,
            first_seq,
            records: 0,
            min_timestamp: Timestamp::from_micros(i64::MAX),
            max_timestamp: Timestamp::from_micros(i64::MIN),
            tree: Range::empty(first_seq),
            ids: Some(0),
            hole: None,
            unknown: Unknown::default(),
        }
    }

    /// Adds a line; its leaf hash.
    pub(crate) fn push(&mut self, line: &[u8], event_time: Timestamp) -> Hash {
        let leaf = self.tree.append_line(line);
        self.raw_bytes += line.len() as u64 + 1;
        self.stored_bytes = self.raw_bytes;
        self.records += 1;
        self.min_timestamp = self.min_timestamp.min(event_time);
        self.max_timestamp = self.max_timestamp.max(event_time);
        if is_recalled(line) {
            self.ids = self.ids.map(|ids| ids + 1);
        }
        leaf
    }

    fn merge(&mut self, next: &Block) {
        join(&mut self.tree, &next.tree);
        self.raw_bytes += next.raw_bytes;
        self.stored_bytes = self.raw_bytes;
        self.records += next.records;
        self.min_timestamp = self.min_timestamp.min(next.min_timestamp);
        self.max_timestamp = self.max_timestamp.max(next.max_timestamp);
        self.ids = self.ids.zip(next.ids).map(|(ids, next)| ids + next);
    }
}

fn join(tree: &mut Range, next: &Range) {
    tree.extend(next).expect("the writer and the scan append in order, so ranges are adjacent");
}

/// Lines on their way into a segment: their bytes, and the pieces of blocks
/// they make. Nothing is part of the segment until [`Layout::absorb`].
#[derive(Debug)]
pub(crate) struct Staged {
    /// The lines, each with its LF.
    pub(crate) bytes: Vec<u8>,
    /// Their leaf hashes.
    pub(crate) leaves: Vec<Hash>,
    pieces: Vec<Block>,
    /// Bytes until the last piece's block closes.
    room: u64,
    next_seq: u64,
    next_offset: u64,
}

impl Staged {
    /// For what comes after `layout`, with a buffer to reuse.
    pub(crate) fn after(layout: &Layout, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        let filled = layout.current.as_ref().map_or(0, |block| block.raw_bytes);
        Self {
            bytes: buffer,
            leaves: Vec::new(),
            pieces: Vec::new(),
            room: BLOCK_BYTES.saturating_sub(filled),
            next_seq: layout.next_seq(),
            next_offset: layout.raw_bytes,
        }
    }

    /// Extends a range that ends where these lines begin.
    pub(crate) fn add_to(&self, range: &mut Range) {
        for piece in &self.pieces {
            join(range, &piece.tree);
        }
    }

    /// The seq that the next line must have.
    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Adds the line that `write` appends to the buffer, without its LF.
    pub(crate) fn line(&mut self, event_time: Timestamp, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        if self.pieces.is_empty() || self.room == 0 {
            if !self.pieces.is_empty() {
                self.room = BLOCK_BYTES;
            }
            self.pieces.push(Block::empty(self.next_seq, self.next_offset));
        }
        let length = (self.bytes.len() - start) as u64 + 1;
        if let Some(piece) = self.pieces.last_mut() {
            let leaf = piece.push(&self.bytes[start..], event_time);
            self.leaves.push(leaf);
        }
        self.room = self.room.saturating_sub(length);
        self.bytes.push(b'\n');
        self.next_seq += 1;
        self.next_offset += length;
    }
}

/// How a segment is laid out: its blocks and its part of the tree.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) first_seq: u64,
    /// Bytes of its lines.
    pub(crate) raw_bytes: u64,
    closed: Vec<Block>,
    current: Option<Block>,
    /// The tree over everything before `current`, from seq 0.
    before_current: Range,
}

/// A point to come back to: see [`Layout::mark`].
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    raw_bytes: u64,
    closed: usize,
    current: Option<Block>,
    before_current: Range,
}

impl Layout {
    /// An empty segment after `tree`, which covers everything from seq 0.
    pub(crate) fn new(tree: Range) -> Self {
        Self {
            first_seq: tree.end(),
            raw_bytes: 0,
            closed: Vec::new(),
            current: None,
            before_current: tree,
        }
    }

    pub(crate) fn next_seq(&self) -> u64 {
        self.current
            .as_ref()
            .map_or(self.before_current.end(), |block| block.first_seq + block.records)
    }

    pub(crate) fn records(&self) -> u64 {
        self.next_seq() - self.first_seq
    }

    /// Makes staged lines part of the segment.
    pub(crate) fn absorb(&mut self, staged: &Staged) {
        for piece in &staged.pieces {
            match &mut self.current {
                Some(current) => current.merge(piece),
                None => self.current = Some(piece.clone()),
            }
            if let Some(full) = self.current.take_if(|block| block.raw_bytes >= BLOCK_BYTES) {
                join(&mut self.before_current, &full.tree);
                self.closed.push(full);
            }
        }
        self.raw_bytes += staged.bytes.len() as u64;
    }

    /// Adds records that are not here.
    pub(crate) fn push_hole(&mut self, hole: &Block) {
        self.close_block();
        join(&mut self.before_current, &hole.tree);
        self.closed.push(Block { offset: self.raw_bytes, ..hole.clone() });
    }

    /// Ends the block here, whatever its size.
    pub(crate) fn close_block(&mut self) {
        if let Some(current) = self.current.take() {
            join(&mut self.before_current, &current.tree);
            self.closed.push(current);
        }
    }

    /// The tree over everything from seq 0 to the segment's end.
    pub(crate) fn tree(&self) -> Range {
        let mut tree = self.before_current.clone();
        if let Some(current) = &self.current {
            join(&mut tree, &current.tree);
        }
        tree
    }

    /// Remembers where the segment ends now; cheap.
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            raw_bytes: self.raw_bytes,
            closed: self.closed.len(),
            current: self.current.clone(),
            before_current: self.before_current.clone(),
        }
    }

    /// Forgets what came after the mark.
    pub(crate) fn roll_back(&mut self, mark: &Mark) {
        self.raw_bytes = mark.raw_bytes;
        self.closed.truncate(mark.closed);
        self.current = mark.current.clone();
        self.before_current = mark.before_current.clone();
    }

    /// Its blocks, the last one possibly smaller than the others.
    pub(crate) fn blocks(&self) -> Vec<Block> {
        self.closed.iter().chain(&self.current).cloned().collect()
    }
}

/// The open active segment.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) file: Box<dyn FsFile>,
    pub(crate) layout: Layout,
    /// What is durable.
    pub(crate) synced: Mark,
}

impl Active {
    pub(crate) fn new(file: Box<dyn FsFile>, layout: Layout) -> Self {
        let synced = layout.mark();
        Self { file, layout, synced }
    }

    pub(crate) fn synced_bytes(&self) -> u64 {
        self.synced.raw_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::tree::merkle::leaf_hash;

    fn fill(layout: &mut Layout, lines: &[Vec<u8>], batch: usize) {
        for lines in lines.chunks(batch) {
            let mut staged = Staged::after(layout, Vec::new());
            for line in lines {
                staged.line(Timestamp::from_micros(5), |out| out.extend_from_slice(line));
            }
            layout.absorb(&staged);
        }
    }

    #[test]
    fn blocks_depend_on_the_lines_alone_not_on_how_they_were_batched() {
        let lines: Vec<Vec<u8>> =
            (0..9_000_usize).map(|n| vec![b'x'; 100 + (n * 7919) % 700]).collect();
        let mut whole = Layout::new(Range::empty(0));
        fill(&mut whole, &lines, lines.len());
        assert!(whole.blocks().len() > 3);
        for batch in [1, 7, 1000] {
            let mut parts = Layout::new(Range::empty(0));
            fill(&mut parts, &lines, batch);
            assert_eq!(parts.blocks(), whole.blocks(), "batches of {batch}");
            assert_eq!(parts.tree(), whole.tree());
            assert_eq!(parts.raw_bytes, whole.raw_bytes);
        }
        let mut tree = Range::empty(0);
        for line in &lines {
            tree.append(leaf_hash(line));
        }
        assert_eq!(whole.tree(), tree);
    }

    #[test]
    fn rolling_back_forgets_exactly_what_came_after_the_mark() {
        let lines: Vec<Vec<u8>> = (0..5_000).map(|_| vec![b'x'; 600]).collect();
        let mut layout = Layout::new(Range::empty(0));
        fill(&mut layout, &lines[..1_000], 100);
        let (mark, before) = (layout.mark(), layout.clone());
        fill(&mut layout, &lines[1_000..], 100);
        layout.roll_back(&mark);
        assert_eq!(layout.blocks(), before.blocks());
        assert_eq!(layout.tree(), before.tree());
        assert_eq!(layout.next_seq(), 1_000);
    }
}
