//! What is asked, in its one normal form: two ways to ask the same are equal,
//! which is what the cache goes by.

use std::fmt;
use std::time::Duration;

use super::condition::Condition;
use super::histogram::DEFAULT_BUCKETS;
use super::path::Path;
use super::pattern::Pattern;
use crate::audit::record::head::Field;
use crate::clock::Timestamp;

/// Which records. All that is given must hold; of several patterns for a field
/// one must.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Filter {
    pub(super) fields: [Vec<Pattern>; 5],
    pub(super) ids: Vec<Pattern>,
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    /// From, and up to but without.
    pub(super) seq: (u64, u64),
    pub(super) conditions: Vec<Condition>,
    pub(super) texts: Vec<String>,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            fields: Default::default(),
            ids: Vec::new(),
            since: None,
            until: None,
            seq: (0, u64::MAX),
            conditions: Vec::new(),
            texts: Vec::new(),
        }
    }
}

impl Filter {
    /// Brings it into its normal form.
    pub(super) fn normalize(&mut self) {
        for patterns in self.fields.iter_mut().chain([&mut self.ids]) {
            patterns.sort_unstable();
            patterns.dedup();
        }
        self.conditions.sort_unstable();
        self.conditions.dedup();
        self.texts.retain(|text| !text.is_empty());
        self.texts.sort_unstable();
        self.texts.dedup();
    }

    /// The exact names that a field must have one of, if only exact ones will do.
    pub(super) fn exact(&self, field: Field) -> Option<Vec<&[u8]>> {
        exact(&self.fields[field as usize])
    }

    /// Records whose `seq` is below this are not wanted.
    #[must_use]
    pub fn first_seq(&self) -> u64 {
        self.seq.0
    }

    /// Nor are those whose `seq` is not below this.
    #[must_use]
    pub fn end_seq(&self) -> u64 {
        self.seq.1
    }

    /// Whether it is not confined to a range of seqs.
    #[must_use]
    pub fn is_about_all(&self) -> bool {
        self.seq == (0, u64::MAX)
    }

    /// The same of fewer records.
    #[must_use]
    pub fn within(&self, first_seq: u64, end_seq: u64) -> Self {
        let seq = (self.seq.0.max(first_seq), self.seq.1.min(end_seq));
        Self { seq, ..self.clone() }
    }
}

/// The exact names that these patterns stand for, if only exact ones will do.
pub(super) fn exact(patterns: &[Pattern]) -> Option<Vec<&[u8]>> {
    if patterns.is_empty() {
        return None;
    }
    let exact: Option<Vec<_>> = patterns.iter().map(Pattern::exact).collect();
    Some(exact?.concat())
}

/// Which end is asked for first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// The latest records, the last one first.
    #[default]
    Newest,
    /// From the first one on.
    Oldest,
}

/// What the records are counted by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum GroupBy {
    /// A field.
    Field(Field),
    /// Something in `details` or `origin`.
    Path(Path),
    /// A stretch of time.
    Time(Unit),
}

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum Unit {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day, in UTC.
    Day,
    /// A month, in UTC.
    Month,
}

impl Unit {
    /// The bytes of a stored time that all times in the stretch share.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Minute => "2026-02-04T21:09".len(),
            Self::Hour => "2026-02-04T21".len(),
            Self::Day => "2026-02-04".len(),
            Self::Month => "2026-02".len(),
        }
    }
}

impl fmt::Display for GroupBy {
    /// As it is asked for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Field(Field::EventType) => "type",
            Self::Field(Field::Actor) => "actor",
            Self::Field(Field::Source) => "source",
            Self::Field(Field::Target) => "target",
            Self::Field(Field::Outcome) => "outcome",
            Self::Time(Unit::Minute) => "minute",
            Self::Time(Unit::Hour) => "hour",
            Self::Time(Unit::Day) => "day",
            Self::Time(Unit::Month) => "month",
            Self::Path(path) => return path.fmt(f),
        })
    }
}

/// Fields that are counted at once, at most.
pub const MAX_BY: usize = 8;
/// Values that are listed of each when nothing is said.
pub const DEFAULT_TOP: usize = 10;

/// What is wanted of a summary.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Overview {
    /// Buckets of the histogram, at most: 1 to [`MAX_BUCKETS`](super::MAX_BUCKETS).
    pub buckets: usize,
    /// What the records are counted by, beside that.
    pub by: Vec<GroupBy>,
    /// The largest groups of each that are listed, at most.
    pub top: usize,
    /// Whether each of these has a histogram of its own, which takes a second look.
    pub series: bool,
    /// Ends the look when it takes longer; the newest records come first then. Series are left
    /// out where there is no time left for them.
    pub within: Option<Duration>,
}

impl Default for Overview {
    /// A histogram, and nothing else.
    fn default() -> Self {
        let (buckets, top) = (DEFAULT_BUCKETS, DEFAULT_TOP);
        Self { buckets, by: Vec::new(), top, series: false, within: None }
    }
}

/// What is wanted of the records.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum Want {
    /// They themselves, at most `limit`.
    Records {
        /// Which first.
        order: Order,
        /// At most so many.
        limit: u64,
    },
    /// How many there are.
    Count,
    /// How many there are of each.
    Groups(GroupBy),
    /// How many there are over time, and of each of several.
    Summary(Overview),
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Query {
    /// Which records.
    pub filter: Filter,
    /// What of them.
    pub want: Want,
}

impl Query {
    /// The same of fewer records.
    #[must_use]
    pub fn within(&self, first_seq: u64, end_seq: u64) -> Self {
        Self { filter: self.filter.within(first_seq, end_seq), want: self.want.clone() }
    }
}
