//! What a question is answered with.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::filter::{Filter, GroupBy, Order, Query, Want};
use super::matcher::Matcher;
use crate::audit::record::peek_seq;

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

/// What a group may take on average, written as JSON: more than the longest of the
/// fields does. Groups by something in `details` can be longer, so there are fewer.
const GROUP_BYTES: usize = 420;

/// How many records there are of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    counts: HashMap<Box<[u8]>, u64>,
    /// What their names take, written as JSON.
    names: usize,
    /// Records that have no such field.
    pub missing: u64,
    /// Records in groups for which there was no room.
    pub beyond: u64,
}

impl Groups {
    /// Counts; a new group only while there are fewer than `room`, and their names no
    /// longer than so many may be.
    pub(super) fn add(&mut self, group: Option<&[u8]>, records: u64, room: usize) {
        let Some(group) = group else {
            self.missing += records;
            return;
        };
        if let Some(count) = self.counts.get_mut(group) {
            *count += records;
            return;
        }
        let names = self.names + written(group);
        if self.counts.len() < room && names <= room.saturating_mul(GROUP_BYTES) {
            self.counts.insert(group.into(), records);
            self.names = names;
        } else {
            self.beyond += records;
        }
    }

    /// Roughly what it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        const SLOT: usize = size_of::<(Box<[u8]>, u64)>() + 8;
        self.counts.keys().map(|group| group.len() + SLOT).sum()
    }

    pub(super) fn merge(&mut self, other: &Self, room: usize) {
        self.missing += other.missing;
        self.beyond += other.beyond;
        // In order, so that which ones find room is no accident.
        let mut groups: Vec<_> = other.counts.iter().collect();
        groups.sort_unstable();
        groups.into_iter().for_each(|(group, records)| self.add(Some(group), *records, room));
    }

    /// How many records they are of.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.counts.values().sum::<u64>() + self.missing + self.beyond
    }

    /// The groups: stretches of time in their order, others the largest first.
    /// Records without the field are the group `None`.
    #[must_use]
    pub fn sorted(&self, by: &GroupBy) -> Vec<(Option<String>, u64)> {
        let mut groups: Vec<(Option<String>, u64)> = self
            .counts
            .iter()
            .map(|(group, records)| (Some(String::from_utf8_lossy(group).into_owned()), *records))
            .collect();
        if self.missing > 0 {
            groups.push((None, self.missing));
        }
        match by {
            GroupBy::Time(_) => groups.sort_unstable(),
            _ => groups.sort_unstable_by(|one, two| (two.1, &one.0).cmp(&(one.1, &two.0))),
        }
        groups
    }
}

/// What a text takes, written as JSON.
fn written(text: &[u8]) -> usize {
    let byte = |byte: &u8| match byte {
        0..0x20 => 6,
        b'"' | b'\\' => 2,
        _ => 1,
    };
    text.iter().map(byte).sum()
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The records, in the order asked for.
    Records(Lines),
    /// How many.
    Count(u64),
    /// How many of each.
    Groups(Groups),
}

/// What the cache had to do with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

/// An answer. It is about the records `begin..end` of the log: all of them that
/// are still there, up to the last one that was durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What was found.
    pub found: Found,
    /// The first record that was there.
    pub begin: u64,
    /// One after the last.
    pub end: u64,
    /// It ends early: the page is full. [`rest`](Self::rest) asks for what follows.
    pub more: bool,
    /// Lines that are no records.
    pub unreadable: u64,
    /// What could not be read, and why; at most so many as [`MAX_DAMAGED`].
    pub damaged: Vec<String>,
    /// Records among those asked for that the log does not have any more, because they
    /// were damaged and given up.
    pub given_up: Vec<GivenUp>,
    /// What it took.
    pub effort: Effort,
}

/// Records that the log does not have any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// Places that an answer names at most.
pub const MAX_DAMAGED: usize = 16;

impl Answer {
    /// Whether it does not say all that was asked for.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        matches!(&self.found, Found::Groups(groups) if groups.beyond > 0)
    }

    /// The records, if it is records that were asked for.
    #[must_use]
    pub fn lines(&self) -> Option<&Lines> {
        match &self.found {
            Found::Records(lines) => Some(lines),
            _ => None,
        }
    }

    /// The question for what follows the page, about the same records.
    #[must_use]
    pub fn rest(&self, query: &Query) -> Option<Query> {
        let (Want::Records { order, limit }, Some(lines)) = (&query.want, self.lines()) else {
            return None;
        };
        let last = peek_seq(lines.iter().next_back()?)?;
        let limit = limit.saturating_sub(lines.len() as u64);
        if !self.more || limit == 0 {
            return None;
        }
        let (from, to) = match order {
            Order::Newest => (self.begin, last),
            Order::Oldest => (last + 1, self.end),
        };
        let want = Want::Records { order: *order, limit };
        Some(Query { filter: query.filter.within(from, to), want })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_with_long_names_are_fewer_and_none_is_left_out_of_the_count() {
        let mut groups = Groups::default();
        for nth in 0..100_u32 {
            let name = format!("{nth}{}", "\u{1}".repeat(1_000));
            groups.add(Some(name.as_bytes()), 2, 100);
        }
        assert_eq!(groups.counts.len(), 100 * GROUP_BYTES / 6_002, "as written");
        assert_eq!((groups.records(), groups.beyond > 0), (200, true));
        // What is there already is counted on.
        let beyond = groups.beyond;
        groups.add(Some(format!("0{}", "\u{1}".repeat(1_000)).as_bytes()), 5, 100);
        assert_eq!((groups.records(), groups.beyond), (205, beyond));
        // Names as long as a field may be all find room.
        let mut groups = Groups::default();
        for nth in 0..100_u32 {
            groups.add(Some(format!("{nth:0>256}").as_bytes()), 1, 100);
        }
        assert_eq!((groups.counts.len(), groups.beyond), (100, 0));
    }
    #[test]
    fn when_there_is_room_for_few_groups_it_is_the_first_by_name_that_find_it() {
        let mut some = Groups::default();
        for nth in 0..100_u32 {
            some.add(Some(format!("{nth:0>3}").as_bytes()), 1, 100);
        }
        let mut groups = Groups::default();
        groups.merge(&some, 10);
        assert_eq!((groups.records(), groups.beyond), (100, 90));
        let names: Vec<_> = (0..10).map(|nth| (Some(format!("{nth:0>3}")), 1)).collect();
        assert_eq!(groups.sorted(&GroupBy::Field(super::super::Field::Actor)), names);
    }
}
