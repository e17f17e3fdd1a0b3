//! What has to be read: blocks and stretches of plain files, one after the other
//! in the order asked for, without those that can hold no match.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::answer::{Effort, GivenUp, MAX_DAMAGED};
use super::filter::{Filter, Order};
use super::step::Step;
use super::unread::{Whole, expected_step};
use super::view::{OpenSegment, View};
use crate::audit::files::block_filter::{BlockFilters, MAX_BYTES, Probe, covers};
use crate::audit::files::gzip::{MAX_BLOCK_BYTES, MAX_MEMBER_BYTES, Unpacker};
use crate::audit::files::manifest::Segment;
use crate::audit::files::restore::sha256_hex;
use crate::audit::files::segment::{BLOCK_BYTES, Block};
use crate::audit::read::error::ReadError;
use crate::audit::read::view::offset_of;
use crate::audit::record::event::MAX_LINE_BYTES;
use crate::audit::record::head::Field;
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
            Self::Counted { .. } => Ok((&[], 0)),
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

/// Goes through the log.
#[derive(Debug)]
pub(super) struct Planner<'a> {
    view: &'a View,
    filter: &'a Filter,
    order: Order,
    whole: Whole,
    /// How wide a histogram's parts are, to begin with.
    step: Step,
    /// For each field that has to have one of some names.
    probes: Vec<Vec<Probe>>,
    /// Segments, then tails, that are still to be looked at.
    left: std::ops::Range<usize>,
    ready: VecDeque<Chunk>,
    pub(super) effort: Effort,
}

impl<'a> Planner<'a> {
    /// `filter` must lie within the view's records.
    pub(super) fn new(view: &'a View, filter: &'a Filter, order: Order, whole: Whole) -> Self {
        let known = Field::ALL.into_iter().filter(|field| covers(*field));
        // A manifest that the log's key did not sign may be anybody's: what it says of
        // times and names leaves nothing out then, and no count is taken from it.
        let whole = if view.manifest_is_signed { whole } else { Whole::Never };
        let step = match whole {
            Whole::InOnePart(buckets) => expected_step(view, filter, buckets),
            _ => Step::NARROWEST,
        };
        let probes = known
            .filter_map(|field| Some((field, filter.exact(field)?)))
            .map(|(field, names)| names.iter().map(|name| Probe::new(field, name)).collect())
            .collect();
        let places = view.manifest.segments.len() + view.tails.len();
        let blocks = view.manifest.segments.iter().map(|segment| segment.blocks.len() as u64);
        let effort = Effort { segments: places as u64, blocks: blocks.sum(), ..Effort::default() };
        Self {
            view,
            filter,
            order,
            whole,
            step,
            probes,
            left: 0..places,
            ready: VecDeque::new(),
            effort,
        }
    }

    /// The next thing to read.
    ///
    /// # Errors
    /// A file that cannot be opened; [`ReadError::Pruned`] when retention has
    /// removed one.
    pub(super) fn next(&mut self) -> Result<Option<Chunk>, ReadError> {
        loop {
            let chunk = match self.order {
                Order::Oldest => self.ready.pop_front(),
                Order::Newest => self.ready.pop_back(),
            };
            if chunk.is_some() {
                return Ok(chunk);
            }
            let place = match self.order {
                Order::Oldest => self.left.next(),
                Order::Newest => self.left.next_back(),
            };
            let Some(place) = place else { return Ok(None) };
            let segments = self.view.manifest.segments.len();
            match self.view.manifest.segments.get(place) {
                Some(segment) => self.segment(segment)?,
                None => self.tail(place - segments)?,
            }
        }
    }

    fn segment(&mut self, segment: &Segment) -> Result<(), ReadError> {
        let blocks = segment.blocks.len() as u64;
        if !self.overlaps_seq(segment.first_seq, segment.end_seq()) {
            self.effort.skipped_seq += blocks;
            return Ok(());
        }
        if !self.overlaps_time(segment.min_timestamp, segment.max_timestamp) {
            self.effort.skipped_time += blocks;
            return Ok(());
        }
        let filters = self.filters(segment);
        let asks_for_ids = !self.filter.ids.is_empty() && self.view.manifest_is_signed;
        let mut wanted = Vec::new();
        for (nth, block) in segment.blocks.iter().enumerate() {
            if block.is_hole() {
                // Told beside the answer.
            } else if !self.overlaps_seq(block.first_seq, block.tree.end()) {
                self.effort.skipped_seq += 1;
            } else if !self.overlaps_time(block.min_timestamp, block.max_timestamp) {
                self.effort.skipped_time += 1;
            } else if block.ids == Some(0) && asks_for_ids
                || filters.as_ref().is_some_and(|filters| {
                    !self.probes.iter().all(|names| filters.may_have(nth, names))
                })
            {
                self.effort.skipped_filter += 1;
            } else {
                wanted.push(nth);
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let whole: Vec<Option<Chunk>> =
            wanted.iter().map(|nth| self.counted(&segment.blocks[*nth])).collect();
        if whole.iter().all(Option::is_some) {
            self.ready.extend(whole.into_iter().flatten());
            return Ok(());
        }
        let open = match self.view.open(segment) {
            Ok(Some(open)) => open,
            Ok(None) => return Err(ReadError::Pruned { file: segment.file.clone() }),
            // The others can be read all the same.
            Err(error @ ReadError::Io { .. }) => {
                self.ready.push_back(Chunk::Damaged(error.to_string()));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.effort.segments_read += 1;
        self.effort.blocks_read += whole.iter().filter(|chunk| chunk.is_none()).count() as u64;
        let open = Arc::new(open);
        let chunks = wanted.into_iter().zip(whole);
        self.ready.extend(
            chunks
                .map(|(nth, whole)| whole.unwrap_or_else(|| Chunk::Block(Arc::clone(&open), nth))),
        );
        Ok(())
    }

    /// A block whose records need not be read.
    fn counted(&self, block: &Block) -> Option<Chunk> {
        let (min, max) = (block.min_timestamp, block.max_timestamp);
        let filter = self.filter;
        let is_within = filter.seq.0 <= block.first_seq
            && block.tree.end() <= filter.seq.1
            && filter.since.is_none_or(|since| since <= min)
            && filter.until.is_none_or(|until| max < until);
        let part = |time: Timestamp| self.step.floor(time.unix_seconds());
        let is_whole = match self.whole {
            Whole::Never => false,
            Whole::Within => is_within,
            Whole::InOnePart(_) => is_within && min <= max && part(min) == part(max),
        };
        let (from, records) = (block.first_seq, block.records);
        is_whole.then_some(Chunk::Counted { from, span: (min, max), records })
    }

    /// How wide a histogram's parts are, to begin with.
    pub(super) fn step(&self) -> Step {
        self.step
    }

    /// Whether there is nothing left to read.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub(super) fn is_at_the_end(&mut self) -> Result<bool, ReadError> {
        let next = self.next()?;
        let is_none = next.is_none();
        match self.order {
            Order::Oldest => next.into_iter().for_each(|chunk| self.ready.push_front(chunk)),
            Order::Newest => next.into_iter().for_each(|chunk| self.ready.push_back(chunk)),
        }
        Ok(is_none)
    }

    fn tail(&mut self, nth: usize) -> Result<(), ReadError> {
        let tail = &self.view.tails[nth];
        let Some(seqs) = &tail.seqs else { return Ok(()) };
        if !self.overlaps_seq(seqs.start, seqs.end) {
            return Ok(());
        }
        let path = self.view.log.paths.dir.join(&tail.name);
        let find = |seq| {
            offset_of(&*tail.file, tail.length, seq)
                .map_err(|source| ReadError::io("read", &path, source))
        };
        let from = if self.filter.seq.0 > seqs.start { find(self.filter.seq.0)? } else { 0 };
        let to = if self.filter.seq.1 < seqs.end { find(self.filter.seq.1)? } else { tail.length };
        self.effort.segments_read += 1;
        let mut at = from;
        while at < to {
            let next = (at + BLOCK_BYTES).min(to);
            self.ready.push_back(Chunk::Lines {
                file: Arc::clone(&tail.file),
                name: tail.name.clone(),
                from: at,
                to: next,
                length: tail.length,
            });
            at = next;
        }
        Ok(())
    }

    /// The records among those asked for that were given up. Where nobody signed the
    /// manifest that says so they are damage.
    pub(super) fn given_up(&self) -> Result<Vec<GivenUp>, Vec<String>> {
        let mut holes: Vec<GivenUp> = Vec::new();
        for (_, hole) in self.view.manifest.holes() {
            let (first_seq, end_seq) = (hole.first_seq, hole.tree.end());
            let wanted = self.overlaps_seq(first_seq, end_seq)
                && self.overlaps_time(hole.min_timestamp, hole.max_timestamp);
            if !wanted {
                continue;
            }
            let reason = hole.hole.clone().unwrap_or_default();
            match holes.last_mut() {
                Some(last) if last.end_seq == first_seq && last.reason == reason => {
                    last.end_seq = end_seq;
                }
                _ => holes.push(GivenUp { first_seq, end_seq, reason }),
            }
        }
        if self.view.manifest_is_signed {
            return Ok(holes);
        }
        let unsigned = |hole: &GivenUp| {
            format!(
                "records {} to {}: missing, according to a manifest that is not signed",
                hole.first_seq,
                hole.end_seq - 1
            )
        };
        Err(holes.iter().take(MAX_DAMAGED).map(unsigned).collect())
    }

    fn overlaps_seq(&self, begin: u64, end: u64) -> bool {
        begin < self.filter.seq.1 && self.filter.seq.0 < end
    }

    fn overlaps_time(&self, min: Timestamp, max: Timestamp) -> bool {
        !self.view.manifest_is_signed
            || self.filter.since.is_none_or(|since| max >= since)
                && self.filter.until.is_none_or(|until| min < until)
    }

    /// The segment's block filters, where they could help, are there, and are those
    /// that the log made.
    fn filters(&self, segment: &Segment) -> Option<BlockFilters> {
        if self.probes.is_empty() || !self.view.manifest_is_signed {
            return None;
        }
        let (sha256, noted) = (segment.sha256.as_deref()?, segment.filters_sha256.as_deref()?);
        let path = self.view.log.paths.filters(segment.first_seq);
        let file = self.view.log.fs.read_own(&path, MAX_BYTES).ok()?;
        (sha256_hex(&file) == noted)
            .then(|| BlockFilters::decode(&file, sha256, segment.blocks.len()))?
    }
}
