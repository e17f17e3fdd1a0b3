//! Reading segment files record by record, to rebuild what the writer knew:
//! blocks, tree, and where the first bad line is.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;

use super::facts;
use super::facts::{Fact, Said};
use super::gzip::MAX_BLOCK_BYTES;
use super::segment::{Block, Layout, Staged};
use crate::audit::record;
use crate::audit::record::event::{MAX_EVENT_TYPE_BYTES, MAX_IDENTIFIER_BYTES, MAX_LINE_BYTES};
use crate::audit::record::head::Head;
use crate::audit::record::sanitize;
use crate::audit::record::sanitize::MAX_DETAILS_DEPTH;
use crate::audit::tree::merkle::{Hash, Range};
use crate::fsio::{FileReader, FsFile};

/// Lines are staged until so many bytes are gathered.
const GATHER_BYTES: usize = 1 << 20;

/// The first line that is no record, or not the one expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadLine {
    pub(crate) seq: u64,
    pub(crate) offset: u64,
    pub(crate) reason: String,
    /// Whether it has its end.
    pub(crate) is_whole: bool,
}

/// What a segment file holds.
#[derive(Debug)]
pub(crate) struct Scan {
    /// The good records up to the first bad line.
    pub(crate) layout: Layout,
    pub(crate) bad: Option<BadLine>,
    /// For each watched size that lies within the good records: the tree there,
    /// and the range of the good records since.
    pub(crate) watched: Vec<(Range, Range)>,
    /// What the engine's own records say.
    pub(crate) said: Vec<Said>,
    /// The good records' leaf hashes, where they were wanted.
    pub(crate) leaves: Vec<Hash>,
}

impl Scan {
    /// Of an empty file behind `base`.
    pub(crate) fn empty(base: Range) -> Self {
        Self {
            layout: Layout::new(base),
            bad: None,
            watched: Vec::new(),
            said: Vec::new(),
            leaves: Vec::new(),
        }
    }

    /// Whether the last good record is `audit.closed`.
    pub(crate) fn ends_closed(&self) -> bool {
        self.is_closed_at(self.layout.next_seq())
    }

    /// Whether the record before `seq` is `audit.closed`.
    pub(crate) fn is_closed_at(&self, seq: u64) -> bool {
        let closes = |said: &Said| said.seq + 1 == seq && said.fact == Fact::Closed;
        self.said.iter().rev().take_while(|said| said.seq + 1 >= seq).any(closes)
    }

    /// The tree at a watched size, and the records since.
    pub(crate) fn take_watched(&mut self, size: u64) -> Option<(Range, Range)> {
        let at = self.watched.iter().position(|(tree, _)| tree.end() == size)?;
        Some(self.watched.swap_remove(at))
    }
}

/// Which part of a file is scanned, and what is noted on the way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Interest<'a> {
    /// Keeps the tree at these sizes.
    pub(crate) watch: &'a [u64],
    /// Takes no record from this one on.
    pub(crate) until: Option<u64>,
    /// Takes only lines as the writer writes them from this one on: nobody has signed
    /// these.
    pub(crate) strict_from: Option<u64>,
    /// Records that may be missing, in order: each such block stands for its own. Whether
    /// its hashes are true the signed root tells.
    pub(crate) holes: &'a [Block],
    /// Keeps the leaf hashes.
    pub(crate) leaves: bool,
}

impl<'a> Interest<'a> {
    pub(crate) fn watch(sizes: &'a [u64]) -> Self {
        Self { watch: sizes, ..Self::default() }
    }
}

/// Scans a plain segment file that begins after `base`.
pub(crate) fn scan_plain(
    file: &dyn FsFile,
    base: Range,
    interest: Interest<'_>,
) -> io::Result<Scan> {
    let mut scanner = Scanner::new(base, interest);
    let mut reader = BufReader::with_capacity(GATHER_BYTES, FileReader { file, offset: 0 });
    scanner.lines(&mut reader)?;
    Ok(scanner.finish())
}

/// Scans a compressed segment file; its members are the blocks.
pub(crate) fn scan_compressed(
    file: &dyn FsFile,
    base: Range,
    interest: Interest<'_>,
) -> io::Result<(Scan, Vec<Block>)> {
    let mut scanner = Scanner::new(base, interest);
    let mut reader = Counted {
        inner: BufReader::with_capacity(256 * 1024, FileReader { file, offset: 0 }),
        consumed: 0,
    };
    let mut members = Vec::new();
    while scanner.bad.is_none() && !reader.fill_buf()?.is_empty() {
        let offset = reader.consumed;
        // One member at a time on purpose: each is a block, and bounded as one.
        #[allow(clippy::disallowed_methods)]
        let decoder = GzDecoder::new(&mut reader);
        let mut member = decoder.take(MAX_BLOCK_BYTES as u64 + 1);
        if let Err(error) = scanner.lines(&mut BufReader::new(&mut member)) {
            scanner.absorb();
            let seq = scanner.layout.next_seq();
            scanner.spoil(seq, offset, format!("gzip member: {error}"), false);
        }
        // A member is a block, also where whole backups were joined in one file.
        scanner.absorb();
        scanner.layout.close_block();
        members.push((offset, reader.consumed - offset));
    }
    let mut scan = scanner.finish();
    let mut blocks = scan.layout.blocks();
    let held = blocks.iter().filter(|block| !block.is_hole()).count();
    if scan.bad.is_none() && held != members.len() {
        let reason = format!("{} gzip members hold {held} blocks", members.len());
        scan.bad = Some(BadLine { seq: scan.layout.first_seq, offset: 0, reason, is_whole: true });
    }
    let (mut members, mut end) = (members.into_iter(), 0);
    for block in &mut blocks {
        block.offset = end;
        if !block.is_hole()
            && let Some((offset, stored_bytes)) = members.next()
        {
            (block.offset, block.stored_bytes) = (offset, stored_bytes);
            end = offset + stored_bytes;
        }
    }
    Ok((scan, blocks))
}

/// The lengths of a gzip file's members, the empty ones too. Reads all of it:
/// where a member ends is known only once it has been decompressed.
///
/// # Errors
/// When the file cannot be read, or at a member that is damaged or holds more
/// than a block can, with the byte at which it begins.
pub fn member_lengths(file: &dyn FsFile) -> io::Result<Vec<u64>> {
    let mut reader = Counted {
        inner: BufReader::with_capacity(256 * 1024, FileReader { file, offset: 0 }),
        consumed: 0,
    };
    let mut lengths = Vec::new();
    while !reader.fill_buf()?.is_empty() {
        let offset = reader.consumed;
        let limit = MAX_BLOCK_BYTES as u64;
        // One member at a time on purpose, and bounded by what a block can hold.
        #[allow(clippy::disallowed_methods)]
        let mut member = GzDecoder::new(&mut reader).take(limit + 1);
        let held = io::copy(&mut member, &mut io::sink())
            .map_err(|error| io::Error::new(error.kind(), format!("at byte {offset}: {error}")))?;
        if held > limit {
            let reason = format!("at byte {offset}: a member holds more than {limit} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        lengths.push(reader.consumed - offset);
    }
    Ok(lengths)
}

struct Scanner<'a> {
    layout: Layout,
    staged: Staged,
    bad: Option<BadLine>,
    interest: Interest<'a>,
    watched: Vec<(Range, Range)>,
    said: Vec<Said>,
    leaves: Vec<Hash>,
}

impl<'a> Scanner<'a> {
    fn new(base: Range, interest: Interest<'a>) -> Self {
        let layout = Layout::new(base);
        let staged = Staged::after(&layout, Vec::with_capacity(GATHER_BYTES));
        let mut scanner = Self {
            layout,
            staged,
            bad: None,
            interest,
            watched: Vec::new(),
            said: Vec::new(),
            leaves: Vec::new(),
        };
        scanner.look();
        scanner
    }

    fn lines(&mut self, reader: &mut dyn BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = reader.take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok(());
            }
            let whole = line.pop_if(|last| *last == b'\n').is_some();
            if let Err(reason) = self.line(&line, whole) {
                self.absorb();
                let (seq, offset) = (self.layout.next_seq(), self.layout.raw_bytes);
                self.spoil(seq, offset, reason, whole);
                return Ok(());
            }
        }
    }

    fn line(&mut self, line: &[u8], whole: bool) -> Result<(), String> {
        if !whole {
            return Err(if line.len() >= MAX_LINE_BYTES {
                format!("a line longer than {MAX_LINE_BYTES} bytes")
            } else {
                "a line without its end".to_owned()
            });
        }
        let seq = record::check_line(line).map_err(|error| error.to_string())?;
        self.pass_holes(seq);
        let expected = self.staged.next_seq();
        if seq != expected {
            return Err(format!("record {seq} where record {expected} should be"));
        }
        let (event_time, _) = record::peek_times(line).ok_or("a record without a time")?;
        if self.interest.until.is_some_and(|until| seq >= until) {
            return Err("a record that nobody signed".to_owned());
        }
        if self.interest.strict_from.is_some_and(|from| seq >= from) && !is_as_written(line) {
            return Err("a line that no writer of this log writes".to_owned());
        }
        self.said.extend(facts::said(line));
        self.staged.line(event_time, |out| out.extend_from_slice(line));
        let watched = self.interest.watch.contains(&(expected + 1));
        if self.staged.bytes.len() >= GATHER_BYTES || watched {
            self.absorb();
        }
        Ok(())
    }

    /// Passes over the known holes in front of record `to`.
    fn pass_holes(&mut self, to: u64) {
        while self.staged.next_seq() < to
            && let Ok(at) = self
                .interest
                .holes
                .binary_search_by_key(&self.staged.next_seq(), |hole| hole.first_seq)
        {
            let hole = &self.interest.holes[at];
            self.absorb();
            self.layout.push_hole(hole);
            for (_, since) in &mut self.watched {
                // Both begin where the layout ended.
                let _ = since.extend(&hole.tree);
            }
            let buffer = std::mem::take(&mut self.staged.bytes);
            self.staged = Staged::after(&self.layout, buffer);
            self.look();
        }
    }

    fn absorb(&mut self) {
        if self.interest.leaves {
            self.leaves.append(&mut self.staged.leaves);
        }
        self.layout.absorb(&self.staged);
        for (_, since) in &mut self.watched {
            self.staged.add_to(since);
        }
        let buffer = std::mem::take(&mut self.staged.bytes);
        self.staged = Staged::after(&self.layout, buffer);
        self.look();
    }

    fn look(&mut self) {
        let at = self.layout.next_seq();
        let noted = self.watched.iter().any(|(tree, _)| tree.end() == at);
        if !noted && self.interest.watch.contains(&at) {
            self.watched.push((self.layout.tree(), Range::empty(at)));
        }
    }

    fn spoil(&mut self, seq: u64, offset: u64, reason: String, is_whole: bool) {
        self.bad = Some(BadLine { seq, offset, reason, is_whole });
    }

    fn finish(mut self) -> Scan {
        self.absorb();
        if self.bad.is_none() {
            self.pass_holes(u64::MAX);
        }
        Scan {
            layout: self.layout,
            bad: self.bad,
            watched: self.watched,
            said: self.said,
            leaves: self.leaves,
        }
    }
}

/// Whether a writer could have written the line: in the form of every record, its values of
/// their kinds, its names clean and no longer than names are, nothing twice, and nested as
/// deep as a record may be. A later version's writer may have added members.
pub(crate) fn is_as_written(line: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Parts {
        #[serde(default)]
        details: serde_json::Map<String, serde_json::Value>,
        origin: serde_json::Map<String, serde_json::Value>,
    }
    let Ok(text) = std::str::from_utf8(line) else { return false };
    let Ok(record) = serde_json::from_str::<record::Record<'_>>(text) else { return false };
    // What is not looked at otherwise has to be JSON that everybody can read, too.
    let readable = serde_json::from_str::<serde_json::Value>(text).is_ok();
    let names = [&record.actor, &record.source, &record.target, &record.outcome];
    let clean = sanitize::is_clean(&record.event_type, MAX_EVENT_TYPE_BYTES)
        && names.into_iter().flatten().all(|name| sanitize::is_clean(name, MAX_IDENTIFIER_BYTES));
    // The record's own braces are one level more than those of `details`.
    let compact = sanitize::check_members(text, MAX_DETAILS_DEPTH + 1) == Ok(0);
    let parts = serde_json::from_str::<Parts>(text);
    readable
        && clean
        && compact
        && Head::is_as_written(line)
        && parts.is_ok_and(|parts| {
            // Read so that they are checked.
            let _ = (parts.details, parts.origin);
            true
        })
}

/// Counts what a gzip member takes from the file.
struct Counted<R> {
    inner: R,
    consumed: u64,
}

impl<R: Read> Read for Counted<BufReader<R>> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.consumed += read as u64;
        Ok(read)
    }
}

impl<R: Read> BufRead for Counted<BufReader<R>> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.consumed += amount as u64;
        self.inner.consume(amount);
    }
}
