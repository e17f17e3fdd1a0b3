//! What the records say that a verification reads, counted on the way: a report's figures
//! come from the bytes that were hashed, and from no second look.

use std::collections::BTreeMap;

use crate::audit::files::facts::is_engine;
use crate::audit::read::query::groups::Name;
use crate::audit::read::query::{Field, Groups};
use crate::audit::record::event::RESERVED_PREFIX;
use crate::audit::record::head::Head;
use crate::audit::record::{Record, peek_seq, peek_times};
use crate::clock::Timestamp;

/// So many different values of a field are counted; of more than that the frequent ones.
const ROOM: usize = 1_000;
/// A log of a century has no more days.
const MAX_DAYS: usize = 40_000;
/// So many of the engine's own records are kept, the first ones.
const MAX_TOLD: usize = 500;
/// Of a record's details no more is kept.
const MAX_DETAILS: usize = 600;
const DAY_MICROS: i64 = 86_400_000_000;

/// What the engine records of itself all the time.
const ROUTINE: [&[u8]; 9] = [
    b"audit.opened",
    b"audit.closed",
    b"audit.query",
    b"audit.idle",
    b"audit.cosigned",
    b"audit.alerts_position",
    b"audit.backup_made",
    b"audit.witness_state",
    b"audit.rate_limited",
];

/// What records say, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Activity {
    /// How many records were counted.
    pub records: u64,
    /// When the first of them was accepted, by the writer's clock.
    pub first: Option<Timestamp>,
    /// When the last was.
    pub last: Option<Timestamp>,
    /// How many were accepted on each day, UTC; by days since 1970.
    pub days: BTreeMap<i64, u64>,
    /// Records of days for which there was no room.
    pub days_beyond: u64,
    /// By `actor`.
    pub actors: Groups,
    /// By `event_type`.
    pub event_types: Groups,
    /// What the engine recorded of itself that is not routine: restores, changes of key,
    /// removals, repairs.
    pub told: Vec<Told>,
    /// How many more of these there are.
    pub told_beyond: u64,
}

/// A record of the engine's own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Told {
    /// Its place.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What kind.
    pub event_type: String,
    /// Its details as JSON, cut when long.
    pub details: String,
}

impl Activity {
    /// Of whole lines: the records from `first` up to but without `end`, each in its place. A
    /// line that is not the next record ends it, whatever it says of itself.
    pub(crate) fn of(lines: &[u8], first: u64, end: u64) -> Self {
        let mut found = Self::default();
        let (mut from, mut next) = (0, first);
        while from < lines.len() && next < end {
            let to = memchr::memchr(b'\n', &lines[from..]).map_or(lines.len(), |at| from + at);
            let line = &lines[from..to];
            if peek_seq(line) != Some(next) {
                break;
            }
            found.line(line);
            next += 1;
            from = to + 1;
        }
        found
    }

    fn line(&mut self, line: &[u8]) {
        self.records += 1;
        if let Some((_, at)) = peek_times(line) {
            self.first = Some(self.first.map_or(at, |first| first.min(at)));
            self.last = Some(self.last.map_or(at, |last| last.max(at)));
            self.on_day(at.micros().div_euclid(DAY_MICROS), 1);
        }
        let head = Head::parse(line);
        let text = |field| head.as_ref().and_then(|head| head.text(field));
        self.actors.add(text(Field::Actor).map(Name::text), 1);
        self.event_types.add(text(Field::EventType).map(Name::text), 1);
        let own = text(Field::EventType)
            .filter(|kind| kind.starts_with(RESERVED_PREFIX.as_bytes()) && !ROUTINE.contains(kind));
        if own.is_some() {
            self.tell(line);
        }
    }

    fn tell(&mut self, line: &[u8]) {
        let Ok(record) = serde_json::from_slice::<Record<'_>>(line) else { return };
        // Nobody else may use these names; what says otherwise was not written by us.
        if !is_engine(record.origin) {
            return;
        }
        if self.told.len() >= MAX_TOLD {
            self.told_beyond += 1;
            return;
        }
        let details = record.details.map_or("", |details| details.get());
        let mut kept: String = details.chars().take(MAX_DETAILS).collect();
        if kept.len() < details.len() {
            kept.push('…');
        }
        self.told.push(Told {
            seq: record.seq,
            at: record.recorded_at.unwrap_or(record.timestamp),
            event_type: record.event_type.into_owned(),
            details: kept,
        });
    }

    fn on_day(&mut self, day: i64, records: u64) {
        if self.days.len() >= MAX_DAYS && !self.days.contains_key(&day) {
            self.days_beyond += records;
        } else {
            *self.days.entry(day).or_default() += records;
        }
    }

    /// Adds what follows in the log, or comes from another part of it.
    pub(crate) fn merge(&mut self, next: Self) {
        self.records += next.records;
        let least = |one: Option<Timestamp>, two: Option<Timestamp>| one.into_iter().chain(two);
        self.first = least(self.first, next.first).min();
        self.last = least(self.last, next.last).max();
        next.days.into_iter().for_each(|(day, records)| self.on_day(day, records));
        self.days_beyond += next.days_beyond;
        self.actors.merge(&next.actors, ROOM);
        self.event_types.merge(&next.event_types, ROOM);
        self.told_beyond += next.told_beyond;
        if next.told.is_empty() {
            return;
        }
        // Parts come in any order: the first ones of all stay.
        self.told.extend(next.told);
        self.told.sort_by_key(|told| told.seq);
        self.tell_no_more_than(MAX_TOLD);
    }

    /// Keeps so many of the engine's own records, the first ones, and counts the others.
    pub(crate) fn tell_no_more_than(&mut self, most: usize) {
        self.told_beyond += self.told.len().saturating_sub(most) as u64;
        self.told.truncate(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seq: u64, day: u32, kind: &str, actor: &str, via: &str) -> String {
        format!(
            "{{\"seq\":{seq},\"timestamp\":\"2026-01-{day:02}T00:00:00.000000Z\",\"event_type\":\"{kind}\",\
             \"actor\":\"{actor}\",\"details\":{{\"reason\":\"x\"}},\"origin\":{{\"via\":\"{via}\"}}}}\n"
        )
    }

    #[test]
    fn records_are_counted_by_day_actor_and_type_up_to_what_is_signed() {
        let lines = [
            line(0, 1, "login", "ann", "library"),
            line(1, 1, "login", "bob", "library"),
            line(2, 3, "logout", "ann", "library"),
            line(3, 4, "login", "eve", "library"),
        ]
        .concat();
        let (one, two) = lines.split_at(line(0, 1, "login", "ann", "library").len());
        let mut found = Activity::of(one.as_bytes(), 0, 3);
        found.merge(Activity::of(two.as_bytes(), 1, 3));
        assert_eq!(found.records, 3, "the last is not signed");
        assert_eq!(found.days.into_iter().collect::<Vec<_>>(), [(20_454, 2), (20_456, 1)]);
        let by = crate::audit::read::query::GroupBy::Field(Field::Actor);
        let actors: Vec<u64> = found.actors.sorted(&by).into_iter().map(|(_, n)| n).collect();
        assert_eq!((actors, found.actors.bound), (vec![2, 1], 0));
        assert_eq!(
            found.last.map(|at| at.to_string()[..10].to_owned()).as_deref(),
            Some("2026-01-03")
        );
    }

    #[test]
    fn a_line_that_claims_a_place_which_is_another_s_ends_what_is_counted() {
        let good = [line(4, 1, "login", "ann", "library"), line(5, 1, "login", "bob", "library")];
        for forged in [4, 3, 7] {
            let forged = line(forged, 1, "login", "mallory", "library").repeat(9);
            let lines = [good.concat(), forged, line(6, 1, "login", "ann", "library")].concat();
            assert_eq!(Activity::of(lines.as_bytes(), 4, 100).records, 2);
        }
    }

    #[test]
    fn what_the_engine_says_of_itself_is_told_and_what_others_say_in_its_name_is_not() {
        let lines = [
            line(0, 1, "audit.opened", "", "engine"),
            line(1, 1, "audit.restored", "", "engine"),
            line(2, 1, "audit.restored", "", "http"),
        ]
        .concat();
        let found = Activity::of(lines.as_bytes(), 0, 9);
        let told: Vec<u64> = found.told.iter().map(|told| told.seq).collect();
        assert_eq!((told, found.told_beyond), (vec![1], 0));
    }

    #[test]
    fn floods_of_days_and_of_own_records_are_bounded_and_counted() {
        let mut found = Activity::default();
        (0..MAX_DAYS as i64 + 5).for_each(|day| found.on_day(day, 1));
        assert_eq!((found.days.len(), found.days_beyond), (MAX_DAYS, 5));
        let own = |seq| line(seq, 1, "audit.repaired", "", "engine");
        let lines: String = (0..MAX_TOLD as u64 + 3).map(own).collect();
        let told = Activity::of(lines.as_bytes(), 0, u64::MAX);
        assert_eq!((told.told.len(), told.told_beyond), (MAX_TOLD, 3));
    }
}
