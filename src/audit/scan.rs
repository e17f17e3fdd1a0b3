//! Reading segment files record by record, to rebuild what the writer knew:
//! blocks, tree, and where the first bad line is.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;

use super::event::MAX_LINE_BYTES;
use super::gzip::MAX_BLOCK_BYTES;
use super::merkle::Range;
use super::record;
use super::segment::{BLOCK_BYTES, Block, Layout, Staged};
use crate::fsio::{FileReader, FsFile};

/// Lines are staged until so many bytes are gathered.
const GATHER_BYTES: usize = 1 << 20;

/// The first line that is no record, or not the one expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadLine {
    pub(crate) seq: u64,
    pub(crate) offset: u64,
    pub(crate) reason: String,
}

/// What a segment file holds.
#[derive(Debug)]
pub(crate) struct Scan {
    /// The good records up to the first bad line.
    pub(crate) layout: Layout,
    pub(crate) bad: Option<BadLine>,
    /// If the watched size lies within the good records: the tree there, and
    /// the range of the good records since.
    pub(crate) watched: Option<(Range, Range)>,
    /// Whether any record is not the engine's own.
    pub(crate) has_events: bool,
    /// Whether the last good record is `audit.closed`.
    pub(crate) ends_closed: bool,
}

/// Scans a plain segment file that begins after `base`, and keeps the tree at
/// `watch` records on the way.
pub(crate) fn scan_plain(file: &dyn FsFile, base: Range, watch: Option<u64>) -> io::Result<Scan> {
    let mut scanner = Scanner::new(base, watch);
    let mut reader = BufReader::with_capacity(GATHER_BYTES, FileReader { file, offset: 0 });
    scanner.lines(&mut reader)?;
    Ok(scanner.finish())
}

/// Scans a compressed segment file; its members are the blocks.
pub(crate) fn scan_compressed(
    file: &dyn FsFile,
    base: Range,
    watch: Option<u64>,
) -> io::Result<(Scan, Vec<Block>)> {
    let mut scanner = Scanner::new(base, watch);
    let mut reader = Counted {
        inner: BufReader::with_capacity(256 * 1024, FileReader { file, offset: 0 }),
        consumed: 0,
    };
    let mut members = Vec::new();
    while scanner.bad.is_none() && !reader.fill_buf()?.is_empty() {
        let offset = reader.consumed;
        // One member at a time on purpose: each is a block. Bounded: a member
        // holds one block, which the last line may overshoot.
        #[allow(clippy::disallowed_methods)]
        let decoder = GzDecoder::new(&mut reader);
        let mut member = decoder.take(BLOCK_BYTES + MAX_LINE_BYTES as u64 + 2);
        if let Err(error) = scanner.lines(&mut BufReader::new(&mut member)) {
            scanner.absorb();
            scanner.spoil(scanner.layout.next_seq(), offset, format!("gzip member: {error}"));
        }
        members.push((offset, reader.consumed - offset));
    }
    let mut scan = scanner.finish();
    let mut blocks = scan.layout.blocks();
    if scan.bad.is_none() && blocks.len() != members.len() {
        let reason = format!("{} gzip members hold {} blocks", members.len(), blocks.len());
        scan.bad = Some(BadLine { seq: scan.layout.first_seq, offset: 0, reason });
    }
    for (block, (offset, stored_bytes)) in blocks.iter_mut().zip(members) {
        block.offset = offset;
        block.stored_bytes = stored_bytes;
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

struct Scanner {
    layout: Layout,
    staged: Staged,
    bad: Option<BadLine>,
    watch: Option<u64>,
    watched: Option<(Range, Range)>,
    has_events: bool,
    ends_closed: bool,
}

impl Scanner {
    fn new(base: Range, watch: Option<u64>) -> Self {
        let layout = Layout::new(base);
        let staged = Staged::after(&layout, Vec::with_capacity(GATHER_BYTES));
        let mut scanner = Self {
            layout,
            staged,
            bad: None,
            watch,
            watched: None,
            has_events: false,
            ends_closed: false,
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
                self.spoil(seq, offset, reason);
                return Ok(());
            }
        }
    }

    fn line(&mut self, line: &[u8], whole: bool) -> Result<(), String> {
        let expected = self.staged.next_seq();
        if !whole {
            return Err(if line.len() >= MAX_LINE_BYTES {
                format!("a line longer than {MAX_LINE_BYTES} bytes")
            } else {
                "a line without its end".to_owned()
            });
        }
        let seq = record::check_line(line).map_err(|error| error.to_string())?;
        if seq != expected {
            return Err(format!("record {seq} where record {expected} should be"));
        }
        let (event_time, _) = record::peek_times(line).ok_or("a record without a time")?;
        self.has_events |= memchr::memmem::find(line, b"\"event_type\":\"audit.").is_none();
        self.ends_closed = memchr::memmem::find(line, b"\"event_type\":\"audit.closed\"").is_some();
        self.staged.line(event_time, |out| out.extend_from_slice(line));
        if self.staged.bytes.len() >= GATHER_BYTES || self.watch == Some(expected + 1) {
            self.absorb();
        }
        Ok(())
    }

    fn absorb(&mut self) {
        self.layout.absorb(&self.staged);
        if let Some((_, since)) = &mut self.watched {
            self.staged.add_to(since);
        }
        let buffer = std::mem::take(&mut self.staged.bytes);
        self.staged = Staged::after(&self.layout, buffer);
        self.look();
    }

    fn look(&mut self) {
        if self.watched.is_none() && self.watch == Some(self.layout.next_seq()) {
            let tree = self.layout.tree();
            let since = Range::empty(tree.end());
            self.watched = Some((tree, since));
        }
    }

    fn spoil(&mut self, seq: u64, offset: u64, reason: String) {
        self.bad = Some(BadLine { seq, offset, reason });
    }

    fn finish(mut self) -> Scan {
        self.absorb();
        Scan {
            layout: self.layout,
            bad: self.bad,
            watched: self.watched,
            has_events: self.has_events,
            ends_closed: self.ends_closed,
        }
    }
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
