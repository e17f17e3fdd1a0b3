//! What a question is answered with.

use serde::{Deserialize, Serialize};

use super::filter::{Filter, Order, Query, Want};
use super::groups::Groups;
use super::matcher::Matcher;
use super::summary::Summary;
use crate::audit::record::head::Head;
use crate::audit::record::peek_seq;
use crate::clock::Timestamp;

/// How much an answer may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// A page of records ends with the record that reaches so many bytes.
    pub page_bytes: usize,
    /// Groups, at most (`max_memory_events`).
    pub groups: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { page_bytes: 1 << 20, groups: 10_000 }
    }
}

/// Stored lines, byte for byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Lines {
    /// Without their LF.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator + '_ {
        (0..self.ends.len()).map(|nth| {
            let begin = if nth == 0 { 0 } else { self.ends[nth - 1] };
            &self.bytes[begin..self.ends[nth]]
        })
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The places of those that a filter takes.
    #[must_use]
    #[doc(hidden)]
    pub fn matching(&self, filter: &Filter) -> Vec<usize> {
        let matcher = Matcher::new(filter);
        self.iter().enumerate().filter(|(_, line)| matcher.takes(line)).map(|(at, _)| at).collect()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Their length in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a line.
    pub(super) fn push(&mut self, line: &[u8]) {
        self.bytes.extend_from_slice(line);
        self.ends.push(self.bytes.len());
    }
}

impl<'a> FromIterator<&'a [u8]> for Lines {
    fn from_iter<T: IntoIterator<Item = &'a [u8]>>(lines: T) -> Self {
        let mut all = Self::default();
        lines.into_iter().for_each(|line| all.push(line));
        all
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum Found {
    /// The records, in the order asked for.
    Records(Lines),
    /// How many.
    Count(u64),
    /// How many of each.
    Groups(Groups),
    /// How many over time, and of each of several.
    Summary(Summary),
}

/// What the cache had to do with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum CacheUse {
    /// There is none.
    #[default]
    None,
    /// Not in it; it is now, if it is not too large.
    Miss,
    /// In it, and nothing is new.
    Hit,
    /// In it, and completed by what is new.
    Completed,
}

impl CacheUse {
    /// One word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Miss => "miss",
            Self::Hit => "hit",
            Self::Completed => "completed",
        }
    }
}

/// What was read, and what was not because it could hold no match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Effort {
    /// Sealed segments and files that are not in the manifest yet.
    pub segments: u64,
    /// Those of which something was read.
    pub segments_read: u64,
    /// Blocks of sealed segments.
    pub blocks: u64,
    /// Blocks read.
    pub blocks_read: u64,
    /// Blocks left out by their seqs.
    pub skipped_seq: u64,
    /// Blocks left out by their times.
    pub skipped_time: u64,
    /// Blocks left out by their filters.
    pub skipped_filter: u64,
    /// Bytes read, as stored.
    pub bytes_read: u64,
    /// Bytes looked through, as lines.
    pub bytes_scanned: u64,
    /// Records parsed.
    pub records_read: u64,
    /// Microseconds in the engine.
    pub micros: u64,
    /// What the cache had to do with it.
    pub cache: CacheUse,
}

impl Effort {
    /// With what another look took.
    pub(crate) fn add(&mut self, other: &Self) {
        self.segments_read += other.segments_read;
        self.blocks_read += other.blocks_read;
        self.bytes_read += other.bytes_read;
        self.bytes_scanned += other.bytes_scanned;
        self.records_read += other.records_read;
        self.micros += other.micros;
    }
}

/// An answer. It is about the records `begin..end` of the log: all of them that
/// are still there, up to the last one that was durable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Answer {
    /// What was found.
    pub found: Found,
    /// The first record that was there.
    pub begin: u64,
    /// One after the last.
    pub end: u64,
    /// Which history of which log it is about.
    pub history: History,
    /// It ends early: the page is full, or the limit is reached, and there are more
    /// records that match. Where finding that out would take long it is said although
    /// there may be none. [`next`](Self::next) says where they are, and
    /// [`rest`](Self::rest) asks for what the limit leaves of them.
    pub more: bool,
    /// Records that were asked about, and that retention has removed: from, and up to
    /// but without.
    pub pruned: Option<(u64, u64)>,
    /// Lines that are no records.
    pub unreadable: u64,
    /// What could not be read, and why; at most so many as [`MAX_DAMAGED`].
    pub damaged: Vec<String>,
    /// Records among those asked for that the log does not have any more, because they
    /// were damaged and given up.
    pub given_up: Vec<GivenUp>,
    /// Records that were asked about, that the log's newest signed head covers, and that its
    /// files do not hold: from, and up to but without. The log's end is missing.
    pub missing: Option<(u64, u64)>,
    /// What it took.
    pub effort: Effort,
}

/// Records that the log does not have any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct GivenUp {
    /// The first.
    pub first_seq: u64,
    /// One after the last.
    pub end_seq: u64,
    /// What was wrong with them.
    pub reason: String,
}

impl GivenUp {
    /// How many.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.end_seq.saturating_sub(self.first_seq)
    }
}

/// A log, and how often records of it were set aside: what has been read of another
/// history says nothing of this one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct History {
    /// The log's id.
    pub log_id: String,
    /// Its epoch.
    pub epoch: u32,
}

/// Places that an answer names at most.
pub const MAX_DAMAGED: usize = 16;

impl Answer {
    /// Whether it does not say all that was asked for.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        match &self.found {
            Found::Groups(groups) => groups.beyond > 0,
            Found::Summary(summary) => !summary.is_complete(),
            _ => false,
        }
    }

    /// The records, if it is records that were asked for.
    #[must_use]
    pub fn lines(&self) -> Option<&Lines> {
        match &self.found {
            Found::Records(lines) => Some(lines),
            _ => None,
        }
    }

    /// The summary, if it is one that was asked for.
    #[must_use]
    pub fn summary(&self) -> Option<&Summary> {
        match &self.found {
            Found::Summary(summary) => Some(summary),
            _ => None,
        }
    }

    /// The seq of its last record.
    #[must_use]
    pub fn last_seq(&self) -> Option<u64> {
        seq_of(self.lines()?.iter().next_back()?)
    }

    /// The records in which to look for what follows: from, and up to but without.
    #[must_use]
    pub fn next(&self, query: &Query) -> Option<(u64, u64)> {
        let Want::Records { order, .. } = &query.want else { return None };
        let last = self.last_seq().filter(|_| self.more)?;
        let about = query.filter.within(self.begin, self.end);
        Some(match order {
            Order::Newest => (about.first_seq(), last),
            Order::Oldest => (last + 1, about.end_seq()),
        })
    }

    /// The question for what follows the page, about the same records, if its limit
    /// leaves anything of them.
    #[must_use]
    pub fn rest(&self, query: &Query) -> Option<Query> {
        let Want::Records { order, limit } = query.want else { return None };
        let (from, to) = self.next(query)?;
        let limit = limit.saturating_sub(self.lines()?.len() as u64);
        let want = Want::Records { order, limit };
        (limit > 0).then(|| Query { filter: query.filter.within(from, to), want })
    }
}

/// A line's seq, however it is written.
fn seq_of(line: &[u8]) -> Option<u64> {
    peek_seq(line).or_else(|| Head::parse(line).map(|head| head.seq))
}

/// What of the records that a query is about is signed and not there: those from `end` on.
pub(super) fn missing(query: &Query, (end, signed): (u64, u64)) -> Option<(u64, u64)> {
    let (from, to) = (query.filter.seq.0.max(end), query.filter.seq.1.min(signed));
    (from < to).then_some((from, to))
}

/// What of the records that a query is about retention has removed: those before `begin`.
/// `oldest` is the time of the oldest that is left, and `more` whether the answer ends
/// before it comes to them.
pub(super) fn pruned(
    query: &Query,
    (begin, oldest): (u64, Option<Timestamp>),
    more: bool,
) -> Option<(u64, u64)> {
    let filter = &query.filter;
    let (from, to) = (filter.seq.0, filter.seq.1.min(begin));
    // Records come about in the order of their times.
    let is_later = filter.since.zip(oldest).is_some_and(|(since, oldest)| since >= oldest);
    let newest_first = matches!(query.want, Want::Records { order: Order::Newest, .. });
    (from < to && !is_later && !(newest_first && more)).then_some((from, to))
}
