//! What has to be read: blocks and stretches of plain files, one after the other
//! in the order asked for, without those that can hold no match.

use std::collections::VecDeque;
use std::sync::Arc;

use super::answer::{Effort, GivenUp, MAX_DAMAGED};
use super::chunk::Chunk;
use super::columnar::{Ask, AskedBlock, Use, has_needed, select};
use super::filter::{Filter, Order, Want};
use super::step::Step;
use super::unread::{Whole, expected_step};
use super::view::View;
use crate::audit::files::block_filter::{BlockFilters, MAX_BYTES, Probe, covers};
use crate::audit::files::columns::Columns;
use crate::audit::files::manifest::Segment;
use crate::audit::files::restore::sha256_hex;
use crate::audit::files::segment::{BLOCK_BYTES, Block};
use crate::audit::read::error::ReadError;
use crate::audit::read::view::offset_of;
use crate::audit::record::head::Field;
use crate::clock::Timestamp;

/// Goes through the log.
#[derive(Debug)]
pub(super) struct Planner<'a> {
    view: &'a View,
    filter: &'a Filter,
    want: &'a Want,
    order: Order,
    whole: Whole,
    /// What columns can say of it.
    columns: Use,
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
    pub(super) fn new(
        view: &'a View,
        (filter, want): (&'a Filter, &'a Want),
        order: Order,
        whole: Whole,
    ) -> Self {
        let known = Field::ALL.into_iter().filter(|field| covers(*field));
        // A manifest that the log's key did not sign may be anybody's: what it says of
        // times and names leaves nothing out then, and no count is taken from it.
        let whole = if view.manifest_is_signed { whole } else { Whole::Never };
        let columns = if view.manifest_is_signed { Use::of(filter, want) } else { Use::None };
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
            want,
            order,
            whole,
            columns,
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
                Some(segment) => self.segment(place, segment)?,
                None => self.tail(place - segments)?,
            }
        }
    }

    fn segment(&mut self, place: usize, segment: &Segment) -> Result<(), ReadError> {
        let blocks = segment.blocks.len() as u64;
        if !self.overlaps_seq(segment.first_seq, segment.end_seq()) {
            self.effort.skipped_seq += blocks;
            return Ok(());
        }
        if !self.overlaps_time(segment.min_timestamp, segment.max_timestamp) {
            self.effort.skipped_time += blocks;
            return Ok(());
        }
        let asks_for_ids = !self.filter.ids.is_empty() && self.view.manifest_is_signed;
        let mut wanted = Vec::new();
        for (nth, block) in segment.blocks.iter().enumerate() {
            if block.is_hole() {
                // Told beside the answer.
            } else if !self.overlaps_seq(block.first_seq, block.tree.end()) {
                self.effort.skipped_seq += 1;
            } else if !self.overlaps_time(block.min_timestamp, block.max_timestamp) {
                self.effort.skipped_time += 1;
            } else if block.ids == Some(0) && asks_for_ids {
                self.effort.skipped_filter += 1;
            } else {
                wanted.push(nth);
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let whole: Vec<(usize, Option<Chunk>)> =
            wanted.into_iter().map(|nth| (nth, self.counted(&segment.blocks[nth]))).collect();
        let columns = match self.columns {
            Use::None => None,
            _ if whole.iter().all(|(_, whole)| whole.is_some()) => None,
            _ => Columns::open(&*self.view.log.fs, &self.view.log.paths, segment).map(Arc::new),
        };
        let columns = columns.as_ref();
        let is_read = |(nth, whole): &&(usize, Option<Chunk>)| {
            whole.is_none() && self.answers(columns, &segment.blocks[*nth]).is_none()
        };
        let read: Vec<usize> = whole.iter().filter(is_read).map(|(nth, _)| *nth).collect();
        let all = read.len();
        let read = self.with_a_match((place, segment), columns, read);
        self.effort.skipped_filter += (all - read.len()) as u64;
        let mut blocks = match read[..] {
            [] => Vec::new(),
            _ => self.blocks(segment, &read)?,
        };
        blocks.reverse();
        let mut chunks: Vec<Chunk> = Vec::new();
        for (nth, whole) in whole {
            let block = &segment.blocks[nth];
            if let Some(whole) = whole {
                chunks.push(whole);
            } else if let Some((columns, stripe)) = self.answers(columns, block) {
                let asked = self.asked(nth, block);
                match chunks.last_mut() {
                    Some(Chunk::Columns(ask)) if ask.stripe == stripe => ask.blocks.push(asked),
                    _ => {
                        let columns = Arc::clone(columns);
                        let ask = Ask { columns, stripe, segment: place, blocks: vec![asked] };
                        chunks.push(Chunk::Columns(Box::new(ask)));
                    }
                }
            } else if read.binary_search(&nth).is_ok() {
                chunks.extend(blocks.pop());
            }
        }
        if self.order == Order::Newest {
            let asks = chunks.iter_mut().filter_map(|chunk| match chunk {
                Chunk::Columns(ask) => Some(ask),
                _ => None,
            });
            asks.for_each(|ask| ask.blocks.reverse());
        }
        self.ready.extend(chunks);
        Ok(())
    }

    /// Blocks of a segment that are to be read; where its file cannot be opened, that once.
    fn blocks(&mut self, segment: &Segment, read: &[usize]) -> Result<Vec<Chunk>, ReadError> {
        let open = match self.view.open(segment) {
            Ok(Some(open)) => Arc::new(open),
            Ok(None) => return Err(ReadError::Pruned { file: segment.file.clone() }),
            // The others can be read all the same.
            Err(error @ ReadError::Io { .. }) => {
                return Ok(vec![Chunk::Damaged(error.to_string())]);
            }
            Err(error) => return Err(error),
        };
        self.effort.segments_read += 1;
        self.effort.blocks_read += read.len() as u64;
        Ok(read.iter().map(|nth| Chunk::Block(Arc::clone(&open), *nth)).collect())
    }

    /// What is read in the place of columns that turned out not to be the log's.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub(super) fn instead(&mut self, ask: &Ask) -> Result<Vec<Chunk>, ReadError> {
        let segment = &self.view.manifest.segments[ask.segment];
        let blocks: Vec<usize> = ask.blocks.iter().map(|block| block.nth).collect();
        self.blocks(segment, &blocks)
    }

    /// The columns that have all that is asked of a block, and which stripe of them.
    fn answers<'c>(
        &self,
        columns: Option<&'c Arc<Columns>>,
        block: &Block,
    ) -> Option<(&'c Arc<Columns>, usize)> {
        let columns = columns.filter(|_| self.columns == Use::Answers)?;
        let stripe = columns.stripe_of(block.first_seq, block.tree.end())?;
        let has_all = has_needed(columns.stripe(stripe), self.filter, self.want);
        has_all.then_some((columns, stripe))
    }

    fn asked(&self, nth: usize, block: &Block) -> AskedBlock {
        let seqs = block.first_seq.max(self.filter.seq.0)..block.tree.end().min(self.filter.seq.1);
        AskedBlock { nth, seqs, times: (block.min_timestamp, block.max_timestamp) }
    }

    /// Those of some blocks that may have a match: by their columns, or else their filters.
    fn with_a_match(
        &mut self,
        (place, segment): (usize, &Segment),
        columns: Option<&Arc<Columns>>,
        blocks: Vec<usize>,
    ) -> Vec<usize> {
        let stripe_of = |nth: usize| {
            let block = &segment.blocks[nth];
            let stripe = columns?.stripe_of(block.first_seq, block.tree.end())?;
            has_needed(columns?.stripe(stripe), self.filter, &Want::Count).then_some(stripe)
        };
        let has_patterns = self.filter.fields.iter().any(|patterns| !patterns.is_empty());
        let (mut found, mut undecided, mut bytes_read) = (Vec::new(), Vec::new(), 0);
        for run in blocks.chunk_by(|one, next| stripe_of(*one) == stripe_of(*next)) {
            let selected = columns.filter(|_| has_patterns).zip(stripe_of(run[0])).and_then(
                |(columns, stripe)| {
                    let asked = |nth: &usize| self.asked(*nth, &segment.blocks[*nth]);
                    let blocks = run.iter().map(asked).collect();
                    let columns = Arc::clone(columns);
                    select(&Ask { columns, stripe, segment: place, blocks }, self.filter)
                },
            );
            match selected {
                Some((with_a_match, read)) => {
                    found.extend(with_a_match);
                    bytes_read += read;
                }
                None => undecided.extend_from_slice(run),
            }
        }
        self.effort.bytes_read += bytes_read;
        let filters = if undecided.is_empty() { None } else { self.filters(segment) };
        let may_have = |nth: &usize| {
            filters
                .as_ref()
                .is_none_or(|filters| self.probes.iter().all(|names| filters.may_have(*nth, names)))
        };
        found.extend(undecided.into_iter().filter(may_have));
        found.sort_unstable();
        found
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
