//! How many records there are of each value: as many values as there is room for, the
//! frequent ones, counted exactly.
//!
//! While values find room there is nothing to it. When they do not, those that seem
//! rarest are dropped, and an estimate is carried on that is never too low (Space-Saving,
//! in its form for summaries that are merged; Agarwal and others, "Mergeable summaries",
//! 2012). Whatever was dropped had at most [`Groups::bound`] records. A second look then
//! counts what was kept, so that what is said of a listed group is right.

use std::borrow::Cow;
use std::collections::HashMap;

use super::filter::GroupBy;
use super::json::{Kind, kind, text_of};
use super::number::Decimal;
use crate::audit::record::head::Head;

/// What a group may take on average, written as JSON: more than the longest of the
/// fields does. Groups by something in `details` can be longer, so there are fewer.
const GROUP_BYTES: usize = 420;

/// What all records of a group have.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum Group {
    /// Nothing: no such field.
    Missing,
    /// A text.
    Text(String),
    /// Another JSON value, as it is stored. Of numbers that are equal it is the shortest
    /// that is stored.
    Json(String),
}

impl Group {
    /// As JSON; what is missing is `null`.
    #[must_use]
    pub fn json(&self) -> Cow<'_, str> {
        match self {
            Self::Missing => Cow::Borrowed("null"),
            Self::Text(text) => Cow::Owned(serde_json::Value::from(&**text).to_string()),
            Self::Json(json) => Cow::Borrowed(json),
        }
    }

    /// As it was written; of what is missing that is told beside it.
    pub(super) fn written(json: &str, missing: bool) -> Self {
        match text_of(json) {
            _ if missing => Self::Missing,
            Some(text) => Self::Text(text.into_owned()),
            None => Self::Json(json.to_owned()),
        }
    }

    /// In a word, what it is: `text`, `number`, `boolean`, `null`, `object`, `array`,
    /// or `missing`.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Text(_) => "text",
            Self::Json(json) => match kind(json) {
                Kind::Object => "object",
                Kind::Array => "array",
                Kind::Number => "number",
                Kind::Text => "text",
                Kind::Word if json == "null" => "null",
                Kind::Word => "boolean",
            },
        }
    }
}

/// What a record is counted under.
#[derive(Debug)]
pub(in crate::audit::read) struct Name<'a> {
    key: Vec<u8>,
    /// How a number is written, which its key does not say.
    spelling: Option<&'a str>,
}

/// What a key begins with.
const TEXT: u8 = b'"';
const NUMBER: u8 = b'#';
const OTHER: u8 = b'=';

impl<'a> Name<'a> {
    /// Of a text.
    pub(in crate::audit::read) fn text(text: &[u8]) -> Self {
        Self { key: [&[TEXT], text].concat(), spelling: None }
    }

    /// Of a value as it is stored.
    pub(super) fn json(json: &'a str) -> Self {
        if let Some(text) = text_of(json) {
            return Self::text(text.as_bytes());
        }
        match Decimal::parse(json) {
            Some(number) if kind(json) == Kind::Number => {
                let key = [&[NUMBER], &number.key()[..]].concat();
                Self { key, spelling: Some(json) }
            }
            _ => Self { key: [&[OTHER], json.as_bytes()].concat(), spelling: None },
        }
    }

    /// Of a group; nothing has no name.
    pub(super) fn of(group: &'a Group) -> Option<Self> {
        match group {
            Group::Missing => None,
            Group::Text(text) => Some(Self::text(text.as_bytes())),
            Group::Json(json) => Some(Self::json(json)),
        }
    }
}

impl Name<'_> {
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counted {
    records: u64,
    spelling: Option<Box<str>>,
}

impl Counted {
    fn spelling_bytes(&self) -> usize {
        self.spelling.as_ref().map_or(0, |text| text.len())
    }

    /// The shorter spelling stays; of two of the same length the one that comes first.
    fn spelled(&mut self, spelling: Option<&str>) {
        let order = |text: &str| (text.len(), text.to_owned());
        if let Some(new) = spelling
            && self.spelling.as_deref().is_none_or(|old| order(new) < order(old))
        {
            self.spelling = Some(new.into());
        }
    }
}

/// What a record is counted under.
pub(super) fn name_of<'a>(by: &GroupBy, head: &Head<'_>, line: &'a [u8]) -> Option<Name<'a>> {
    match by {
        GroupBy::Field(field) => head.text(*field).map(Name::text),
        GroupBy::Time(unit) => Some(Name::text(&head.timestamp[..unit.bytes()])),
        GroupBy::Path(path) => {
            let mut name = None;
            path.look(line, &mut |value| {
                name = Some(Name::json(value.get()));
                false
            });
            name
        }
    }
}

/// How many records there are of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Groups {
    counts: HashMap<Box<[u8]>, Counted>,
    /// What they take, written as JSON.
    written: usize,
    /// Records that have no such field.
    pub missing: u64,
    /// Records in groups for which there was no room.
    pub beyond: u64,
    /// None of these groups has more records than this.
    pub bound: u64,
}

impl Groups {
    /// Counts; however many groups there are.
    pub(in crate::audit::read) fn add(&mut self, name: Option<Name<'_>>, records: u64) {
        match name {
            None => self.missing += records,
            Some(Name { key, spelling }) => self.add_key(&key, spelling, (records, 0)),
        }
    }

    /// Adds to a group; a new one begins with what it may have had before.
    fn add_key(&mut self, key: &[u8], spelling: Option<&str>, (records, before): (u64, u64)) {
        let counted = match self.counts.get_mut(key) {
            Some(counted) => counted,
            None => {
                self.written += written(key);
                let new = Counted { records: before, spelling: None };
                self.counts.entry(key.into()).or_insert(new)
            }
        };
        counted.records += records;
        let old = counted.spelling_bytes();
        counted.spelled(spelling);
        self.written = self.written - old + counted.spelling_bytes();
    }

    /// The same if it is one of those that others have; else it is beyond them.
    pub(super) fn add_if_in(&mut self, others: &Self, name: Option<Name<'_>>, records: u64) {
        match name {
            Some(name) if !others.counts.contains_key(&*name.key) => self.beyond += records,
            name => self.add(name, records),
        }
    }

    /// Whether others can be added without dropping any.
    pub(super) fn has_room_for(&self, others: &Self, room: usize) -> bool {
        let new = others.counts.keys().filter(|key| !self.counts.contains_key(*key));
        let (count, bytes) =
            new.fold((0, 0), |(count, bytes), key| (count + 1, bytes + written(key)));
        self.bound == 0
            && self.counts.len() + count <= room
            && self.written + bytes <= room.saturating_mul(GROUP_BYTES)
    }

    /// As it is listed in an answer.
    pub(super) fn add_listed(&mut self, group: &Group, records: u64) {
        self.add(Name::of(group), records);
    }

    /// Roughly what it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        const SLOT: usize = size_of::<(Box<[u8]>, Counted)>() + 8;
        let spelling = |counted: &Counted| counted.spelling.as_ref().map_or(0, |text| text.len());
        self.counts.iter().map(|(key, counted)| key.len() + spelling(counted) + SLOT).sum()
    }

    /// How many groups there are, as far as there was room for them.
    pub(super) fn len(&self) -> usize {
        self.counts.len() + usize::from(self.missing > 0)
    }

    /// Adds others that were counted exactly. While all find room the counts are exact;
    /// from then on they are what a group has at most.
    pub(in crate::audit::read) fn merge(&mut self, other: &Self, room: usize) {
        self.missing += other.missing;
        self.beyond += other.beyond;
        for (key, counted) in &other.counts {
            // It may have been here before.
            self.add_key(key, counted.spelling.as_deref(), (counted.records, self.bound));
        }
        self.shrink(room);
    }

    /// Drops the rarest until the rest has room.
    fn shrink(&mut self, room: usize) {
        let most_bytes = room.saturating_mul(GROUP_BYTES);
        if self.counts.len() <= room && self.written <= most_bytes {
            return;
        }
        let mut all: Vec<_> = std::mem::take(&mut self.counts).into_iter().collect();
        // By name where they are as frequent, so that which ones find room is no accident.
        all.sort_unstable_by(|one, two| {
            two.1.records.cmp(&one.1.records).then_with(|| one.0.cmp(&two.0))
        });
        let mut bytes = 0;
        for (key, counted) in all {
            let size = written(&key) + counted.spelling_bytes();
            if self.counts.len() < room && bytes + size <= most_bytes {
                bytes += size;
                self.counts.insert(key, counted);
            } else {
                self.bound = self.bound.max(counted.records);
            }
        }
        self.written = bytes;
    }

    /// How many records they are of.
    #[must_use]
    pub fn records(&self) -> u64 {
        let counted = self.counts.values().map(|counted| counted.records);
        counted.sum::<u64>() + self.missing + self.beyond
    }

    /// The groups: stretches of time in their order, others the largest first.
    #[must_use]
    pub fn sorted(&self, by: &GroupBy) -> Vec<(Group, u64)> {
        let mut groups: Vec<(Group, u64)> = self
            .counts
            .iter()
            .map(|(key, counted)| {
                let text = String::from_utf8_lossy(&key[1..]).into_owned();
                let group = match (key[0], &counted.spelling) {
                    (TEXT, _) => Group::Text(text),
                    (_, Some(spelling)) => Group::Json(spelling.to_string()),
                    (_, None) => Group::Json(text),
                };
                (group, counted.records)
            })
            .collect();
        if self.missing > 0 {
            groups.push((Group::Missing, self.missing));
        }
        match by {
            GroupBy::Time(_) => groups.sort_unstable(),
            _ => groups.sort_unstable_by(|one, two| (two.1, &one.0).cmp(&(one.1, &two.0))),
        }
        groups
    }

    /// How many of the listed groups are surely the largest of all, in this order.
    #[must_use]
    pub fn surely_largest(&self) -> usize {
        self.counts.values().filter(|counted| counted.records > self.bound).count()
    }
}

/// What a key takes, written as JSON.
fn written(key: &[u8]) -> usize {
    let byte = |byte: &u8| match byte {
        0..0x20 => 6,
        b'"' | b'\\' => 2,
        _ => 1,
    };
    key[1..].iter().map(byte).sum()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::audit::read::query::Field;
    use proptest::prelude::*;

    const BY_ACTOR: GroupBy = GroupBy::Field(Field::Actor);

    fn counted(names: impl IntoIterator<Item = String>) -> Groups {
        let mut groups = Groups::default();
        names.into_iter().for_each(|name| groups.add(Some(Name::text(name.as_bytes())), 1));
        groups
    }

    #[test]
    fn groups_with_long_names_are_fewer() {
        let name = |nth: u32| format!("{nth}{}", "\u{1}".repeat(1_000));
        let mut groups = Groups::default();
        groups.merge(&counted((0..100).map(name)), 100);
        assert_eq!(groups.counts.len(), 100 * GROUP_BYTES / 6_002, "as written");
        assert_eq!(groups.bound, 1);
        // Names as long as a field may be all find room.
        let mut groups = Groups::default();
        groups.merge(&counted((0..100).map(|nth| format!("{nth:0>256}"))), 100);
        assert_eq!((groups.counts.len(), groups.bound), (100, 0));
    }

    #[test]
    fn when_there_is_room_for_few_groups_it_is_the_first_by_name_that_find_it() {
        let mut groups = Groups::default();
        groups.merge(&counted((0..100).map(|nth| format!("{nth:0>3}"))), 10);
        assert_eq!((groups.bound, groups.surely_largest()), (1, 0));
        let names: Vec<_> = (0..10).map(|nth| (Group::Text(format!("{nth:0>3}")), 1)).collect();
        assert_eq!(groups.sorted(&BY_ACTOR), names);
    }

    /// C4: a number and the text that looks like it are two groups; equal numbers are one.
    #[test]
    fn values_are_grouped_by_their_type_and_numbers_by_their_value() {
        let mut groups = Groups::default();
        for json in [
            "5",
            "5.0",
            "0.50e1",
            "\"5\"",
            "\"\\u0035\"",
            "null",
            "true",
            "\"null\"",
            "18446744073709551617",
            "18446744073709551618",
            "1.10",
            "{\"b\":1,\"a\":2.0}",
        ] {
            groups.add(Some(Name::json(json)), 1);
        }
        groups.add(None, 1);
        let all = groups.sorted(&BY_ACTOR);
        let listed: Vec<_> = all
            .iter()
            .map(|(group, records)| (group.json().into_owned(), group.type_name(), *records))
            .collect();
        let of = |json: &str, kind, records| (json.to_owned(), kind, records);
        assert_eq!(
            listed,
            [
                of("5", "number", 3),
                of("\"5\"", "text", 2),
                of("null", "missing", 1),
                of("\"null\"", "text", 1),
                of("1.10", "number", 1),
                of("18446744073709551617", "number", 1),
                of("18446744073709551618", "number", 1),
                of("null", "null", 1),
                of("true", "boolean", 1),
                of("{\"b\":1,\"a\":2.0}", "object", 1),
            ]
        );
    }

    proptest! {
        /// F9: what is not listed has no more records than is said, and a listed group has
        /// no more than its estimate.
        #[test]
        fn no_group_that_is_dropped_has_more_records_than_the_bound(
            chunks in proptest::collection::vec(proptest::collection::vec(0_u32..40, 0..60), 1..12),
            room in 1_usize..12,
        ) {
            let mut truth: BTreeMap<String, u64> = BTreeMap::new();
            let mut groups = Groups::default();
            for chunk in &chunks {
                // Small numbers are frequent.
                let names: Vec<String> = chunk.iter().map(|n| (n * n / 40).to_string()).collect();
                names.iter().for_each(|name| *truth.entry(name.clone()).or_default() += 1);
                groups.merge(&counted(names), room);
            }
            prop_assert!(groups.counts.len() <= room);
            for (name, records) in truth {
                let estimate = groups.counts.get(&*Name::text(name.as_bytes()).key);
                match estimate {
                    Some(estimate) => prop_assert!(estimate.records >= records),
                    None => prop_assert!(groups.bound >= records, "{} {}", name, records),
                }
            }
        }
    }
}
