//! What there is to see of many records at once: how many there are over time, and of which
//! values of several fields. It is put together in one look through them.

use std::collections::HashMap;
use std::sync::Arc;

use super::counts::{Counts, Rows};
use super::filter::{Overview, Query, Want};
use super::groups::{Group, Groups, Name, name_of};
use super::histogram::{Histogram, Series, Times};
use super::step::Step;
use crate::audit::files::columns::{Codes, Texts};
use crate::audit::record::head::Head;
use crate::clock::Timestamp;

/// Many records at once.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Summary {
    /// How many match.
    pub records: u64,
    /// The earliest and the latest time.
    pub span: Option<(Timestamp, Timestamp)>,
    /// How many there are over time.
    pub histogram: Histogram,
    /// How many there are of each, in the order asked for.
    pub by: Vec<Counted>,
    /// The time was over before all was looked at: it is about the records from this seq on.
    pub looked_from: Option<u64>,
    /// What it was made of, to which newer records can be added; of an answer from elsewhere
    /// there is none.
    pub(super) sketch: Option<Arc<Sketch>>,
}

impl PartialEq for Summary {
    fn eq(&self, other: &Self) -> bool {
        (self.records, self.span, &self.histogram, &self.by, self.looked_from)
            == (other.records, other.span, &other.histogram, &other.by, other.looked_from)
    }
}

impl Eq for Summary {}

impl Summary {
    /// Whether it says all that was asked for, of all records.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.looked_from.is_none() && self.by.iter().all(|counted| counted.bound == 0)
    }

    /// Roughly what it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        let value = |value: &Value| value.group.json().len() + 8 * value.series.len() + 64;
        let listed = self.by.iter().flat_map(|counted| &counted.values).map(value).sum::<usize>();
        listed + 8 * self.histogram.counts.len() + self.sketch.as_ref().map_or(0, |it| it.bytes())
    }
}

/// How many records there are of each value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Counted {
    /// Of what, as it was asked for.
    pub by: String,
    /// The most frequent values, in that order.
    pub values: Vec<Value>,
    /// Records with other values.
    pub other: u64,
    /// How many values there are; at least, where there was not room for all of them.
    pub distinct: u64,
    /// Each count is at most by so many too high. 0, unless there were more values than there
    /// is room for.
    pub error: u64,
    /// There was not room for all values: each of those that were left out has at most so many
    /// records. 0 where all found room.
    pub bound: u64,
}

/// A value, and how many records have it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Value {
    /// The value.
    pub group: Group,
    /// So many records.
    pub records: u64,
    /// How many of them are in each of the histogram's buckets; empty unless asked for.
    pub series: Vec<u64>,
}

/// What a summary is made of while it is counted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sketch {
    records: u64,
    times: Times,
    by: Vec<Groups>,
    /// The first record that was looked at.
    from: Option<u64>,
    series: Vec<Option<(Arc<Listed>, Series)>>,
}

/// The groups that have a series: which one by their key.
type Listed = HashMap<Box<[u8]>, usize>;

/// A group's key; of what is missing it is empty.
fn key_of(group: &Group) -> Box<[u8]> {
    Name::of(group).as_ref().map_or(&[][..], Name::key).into()
}

impl Sketch {
    pub(super) fn new(overview: &Overview, step: Step) -> Self {
        Self {
            records: 0,
            times: Times::new(overview.buckets, step),
            by: vec![Groups::default(); overview.by.len()],
            from: None,
            series: vec![None; overview.by.len()],
        }
    }

    /// For the second look, after which the listed groups of this one have their series.
    pub(super) fn again(&self, query: &Query, overview: &Overview) -> Self {
        let histogram = self.times.histogram(query.filter.since, query.filter.until);
        let mut again = Self::new(overview, self.times.step());
        for ((by, groups), series) in overview.by.iter().zip(&self.by).zip(&mut again.series) {
            let top = groups.sorted(by).into_iter().take(overview.top).enumerate();
            let listed: Listed = top.map(|(nth, (group, _))| (key_of(&group), nth)).collect();
            let counts = Series::new(&histogram, listed.len());
            *series = Some((Arc::new(listed), counts));
        }
        again
    }

    /// One that is empty, and counts the same.
    pub(super) fn empty(&self) -> Self {
        let of = |(listed, series): &(Arc<Listed>, Series)| (Arc::clone(listed), series.empty());
        Self {
            records: 0,
            times: self.times.empty(),
            by: vec![Groups::default(); self.by.len()],
            from: None,
            series: self.series.iter().map(|series| series.as_ref().map(of)).collect(),
        }
    }

    /// Counts a record; of groups those that an earlier look has `kept`, where it has not
    /// kept all.
    pub(super) fn add(
        &mut self,
        overview: &Overview,
        (head, line): (&Head<'_>, &[u8]),
        kept: Option<&Self>,
    ) {
        self.records += 1;
        let seconds = self.times.add(&head.timestamp);
        for (nth, by) in overview.by.iter().enumerate() {
            let name = name_of(by, head, line);
            if let (Some((listed, series)), Some(seconds)) = (&mut self.series[nth], seconds) {
                let key = name.as_ref().map_or(&[][..], Name::key);
                if let Some(group) = listed.get(key) {
                    series.add(*group, seconds);
                }
            }
            match kept {
                Some(kept) => self.by[nth].add_if_in(&kept.by[nth], name, 1),
                None => self.by[nth].add(name, 1),
            }
        }
    }

    /// Counts records by their columns, as [`add`](Self::add) does, but for the groups.
    pub(super) fn add_columns(
        &mut self,
        (rows, times): (&Rows, &[i64]),
        by: &[(Arc<Texts>, Codes)],
    ) {
        self.records += rows.len() as u64;
        rows.each(|row| self.times.add_at(Timestamp::from_micros(times[row])));
        for (series, (texts, codes)) in self.series.iter_mut().zip(by) {
            let Some((listed, series)) = series else { continue };
            let place = |text: Option<&[u8]>| {
                let name = text.map(Name::text);
                listed.get(name.as_ref().map_or(&[][..], Name::key)).copied()
            };
            let places: Vec<Option<usize>> =
                (0..=texts.len()).map(|code| place(texts.get(code))).collect();
            rows.each(|row| {
                if let Some(group) = places[codes.get(row)] {
                    series.add(group, times[row].div_euclid(1_000_000));
                }
            });
        }
    }

    /// Counts groups by the columns of some blocks; of a second look those that an earlier one
    /// has `kept`.
    pub(super) fn add_groups(&mut self, counts: &[Counts], kept: Option<&Self>, groups: usize) {
        let room = self.room(groups);
        for (nth, (here, counts)) in self.by.iter_mut().zip(counts).enumerate() {
            counts.add_to(here, kept.map(|kept| &kept.by[nth]), room);
        }
    }

    /// All groups share the room that there is for them.
    fn room(&self, groups: usize) -> usize {
        (groups / self.by.len().max(1)).max(1)
    }

    /// Counts records that need not be read: all of the same part of time.
    pub(super) fn add_all(&mut self, span: (Timestamp, Timestamp), records: u64) {
        self.records += records;
        self.times.add_all(span, records);
    }

    /// That records from there on have been looked at.
    pub(super) fn looked_from(&mut self, seq: u64) {
        self.from = Some(self.from.map_or(seq, |from| from.min(seq)));
    }

    pub(super) fn merge(&mut self, other: Self, groups: usize) {
        self.records += other.records;
        self.times.merge(other.times);
        let room = self.room(groups);
        for (here, more) in self.by.iter_mut().zip(&other.by) {
            here.merge(more, room);
        }
        for (here, more) in self.series.iter_mut().flatten().zip(other.series.iter().flatten()) {
            here.1.merge(&more.1);
        }
        other.from.into_iter().for_each(|seq| self.looked_from(seq));
    }

    /// What an earlier look says of groups for which there was no room.
    pub(super) fn bounded_as(&mut self, kept: &Self) {
        for (groups, kept) in self.by.iter_mut().zip(&kept.by) {
            groups.bound = kept.bound;
        }
    }

    /// Roughly what it takes in memory.
    fn bytes(&self) -> usize {
        self.by.iter().map(Groups::bytes).sum::<usize>() + self.times.bytes()
    }

    /// What is shown of it.
    /// `cut` is where the records end, when the time was over before all was looked at.
    pub(super) fn summary(self, query: &Query, cut: Option<u64>) -> Summary {
        let nothing = Overview::default();
        let overview = match &query.want {
            Want::Summary(overview) => overview,
            _ => &nothing,
        };
        let histogram = self.times.histogram(query.filter.since, query.filter.until);
        let by = overview.by.iter().enumerate().map(|(nth, by)| {
            let groups = &self.by[nth];
            let series = self.series[nth].as_ref();
            let values =
                groups.sorted(by).into_iter().take(overview.top).map(|(group, records)| {
                    let key = key_of(&group);
                    let of = |(listed, series): &(Arc<Listed>, Series)| {
                        Some(series.counts[*listed.get(&key)?].clone())
                    };
                    Value { group, records, series: series.and_then(of).unwrap_or_default() }
                });
            let values: Vec<Value> = values.collect();
            let listed: u64 = values.iter().map(|value| value.records).sum();
            Counted {
                by: by.to_string(),
                values,
                other: self.records.saturating_sub(listed),
                distinct: groups.len() as u64,
                // What was counted in a second look is exact.
                error: if series.is_some() { 0 } else { groups.bound },
                bound: groups.bound,
            }
        });
        let by = by.collect();
        Summary {
            records: self.records,
            span: self.times.span(),
            histogram,
            by,
            looked_from: cut.map(|end| self.from.unwrap_or(end)),
            sketch: (cut.is_none() && !overview.series).then(|| Arc::new(self)),
        }
    }
}
