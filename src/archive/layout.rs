//! The names of an archive's objects: printed by one function, read by one.
//!
//! Every object of an archive is written once. Its name says which log it is of, in which
//! epoch, and which records it is about, so that nobody has to open an object to know what
//! it should hold. Names sort as records do. See docs/archive.md for the whole layout.

use std::fmt;
use std::str::FromStr;

use crate::audit::keys::checkpoint::Origin;
use crate::clock::Timestamp;
use crate::origin_prefix::OriginPrefix;

/// What the names of a log's tails begin with, before the log's id.
const TAIL: &str = "tail/log=";
/// What the names of everything that proves begin with, before the log's id.
pub(super) const PROOF: &str = "proof/log=";
const DATA: &str = "data/day=";
const PARQUET: &str = "parquet/v1/day=";
/// The longest part of a name that a host's name becomes.
const MAX_HOST_BYTES: usize = 64;

/// Which log an object is of, and in which of its epochs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogName {
    id: String,
    epoch: u32,
}

/// Records that follow each other: from `first` up to and without `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The first record.
    pub first: u64,
    /// The seq after the last one.
    pub end: u64,
}

/// A host's name as it stands in names of objects: ASCII letters, digits, `.`, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(String);

/// A day, UTC: `2026-02-04`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day([u8; 10]);

/// What a table's object is about: which records, when they were accepted, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The day on which the first record was accepted.
    pub day: Day,
    /// The host that wrote them.
    pub host: HostName,
    /// The log.
    pub log: LogName,
    /// The records.
    pub span: Span,
}

/// Which of the names that an object can have: 0, the first one, unless something that is
/// certainly not the log's has it.
pub type Nth = u8;
/// The last of them.
pub(super) const LAST_NAME: Nth = 99;

/// The name of an object of an archive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectName {
    /// Records that were shipped at once, from that one on, with a signed checkpoint. Without
    /// the last record in its name, one log cannot ship two histories from one record on.
    Tail(LogName, u64, Nth),
    /// Records as the log stores them.
    Data(Place),
    /// The same records, for engines that read Parquet.
    Parquet(Place),
    /// Which records a data object holds, from that record on, and what proves them.
    Range(LogName, u64, Nth),
    /// A signed checkpoint: everything below that size is in the archive.
    Checkpoint(LogName, u64),
    /// The log's keys, after so many changes of the key.
    Keys(LogName, u32, Nth),
}

/// A name that no object of an archive has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" is not the name of an object of an archive", .0.escape_debug())]
pub struct ForeignName(pub String);

impl LogName {
    /// Of a log's id and epoch; `None` where that can be no log's id.
    #[must_use]
    pub fn new(id: &str, epoch: u32) -> Option<Self> {
        Origin::new(&OriginPrefix::default(), id, epoch).ok()?;
        Some(Self { id: id.to_owned(), epoch })
    }

    /// The log's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The epoch; 0 is the first one.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The same log in another epoch.
    #[must_use]
    pub fn in_epoch(&self, epoch: u32) -> Self {
        Self { id: self.id.clone(), epoch }
    }

    /// What the names of all its tails begin with, whatever their epoch.
    #[must_use]
    pub fn tails(&self) -> String {
        Self::folder(TAIL, &self.id)
    }

    /// What the names of everything that proves begin with, whatever the epoch.
    #[must_use]
    pub fn proofs(&self) -> String {
        Self::folder(PROOF, &self.id)
    }

    fn folder(kind: &str, id: &str) -> String {
        format!("{kind}{id}/")
    }
}

impl Span {
    /// How many records.
    #[must_use]
    pub fn records(self) -> u64 {
        self.end - self.first
    }

    fn parse(text: &str) -> Option<Self> {
        let (first, end) = text.split_once('-')?;
        let (first, end) = (number(first)?, number(end)?);
        (first < end).then_some(Self { first, end })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}-{:020}", self.first, self.end)
    }
}

impl HostName {
    /// Of a host's name: every other character becomes `-`. A name of nothing, or of dots
    /// alone, becomes `unknown`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let kept = |c: char| if is_host_character(c) { c } else { '-' };
        let text: String = name.chars().map(kept).take(MAX_HOST_BYTES).collect();
        if text.chars().all(|c| c == '.') { Self("unknown".to_owned()) } else { Self(text) }
    }

    /// As it stands in names.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let fits = (1..=MAX_HOST_BYTES).contains(&text.len());
        let fine = fits && text.chars().all(is_host_character) && text.chars().any(|c| c != '.');
        fine.then(|| Self(text.to_owned()))
    }
}

fn is_host_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

impl Day {
    /// The day, UTC, of a time.
    #[must_use]
    pub fn of(time: Timestamp) -> Self {
        let mut text = Vec::with_capacity(27);
        time.write_to(&mut text);
        let mut day = [b'0'; 10];
        day.iter_mut().zip(text).for_each(|(to, from)| *to = from);
        Self(day)
    }

    /// `2026-02-04`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    fn parse(text: &str) -> Option<Self> {
        let time: Timestamp = format!("{text}T00:00:00Z").parse().ok()?;
        let day = Self::of(time);
        (day.as_str() == text).then_some(day)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { day, host, log, span } = self;
        write!(f, "{day}/host={}/{}.e{}.{span}", host.as_str(), log.id, log.epoch)
    }
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let day = Day::parse(parts.next()?)?;
        let host = HostName::parse(parts.next()?.strip_prefix("host=")?)?;
        let name = parts.next()?;
        if parts.next().is_some() {
            return None;
        }
        // From the end on: a log's id may have dots.
        let (rest, span) = name.rsplit_once('.')?;
        let (id, last) = rest.rsplit_once('.')?;
        let (log, span) = (LogName::new(id, epoch(last)?)?, Span::parse(span)?);
        Some(Self { day, host, log, span })
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tail(log, first, nth) => {
                let nth = suffix(*nth);
                write!(f, "{}e{}.{first:020}{nth}.ndjson.gz", log.tails(), log.epoch)
            }
            Self::Data(place) => write!(f, "{DATA}{place}.json.gz"),
            Self::Parquet(place) => write!(f, "{PARQUET}{place}.parquet"),
            Self::Range(log, first, nth) => {
                let nth = suffix(*nth);
                write!(f, "{}e{}.{first:020}{nth}.range.json", log.proofs(), log.epoch)
            }
            Self::Checkpoint(log, size) => {
                write!(f, "{}e{}.{size:020}.checkpoint", log.proofs(), log.epoch)
            }
            Self::Keys(log, changes, nth) => {
                let nth = suffix(*nth);
                write!(f, "{}e{}.{changes:020}{nth}.keys.json", log.proofs(), log.epoch)
            }
        }
    }
}

impl ObjectName {
    /// The log that it is of, by its name.
    #[must_use]
    pub fn log(&self) -> &LogName {
        match self {
            Self::Tail(log, ..)
            | Self::Range(log, ..)
            | Self::Checkpoint(log, _)
            | Self::Keys(log, ..) => log,
            Self::Data(place) | Self::Parquet(place) => &place.log,
        }
    }

    /// Whether no further name can be tried for the object.
    pub(super) fn is_last(&self) -> bool {
        match self {
            Self::Tail(_, _, nth) | Self::Range(_, _, nth) | Self::Keys(_, _, nth) => {
                *nth == LAST_NAME
            }
            _ => true,
        }
    }
}

/// `.1` of a second name; nothing of the first one.
fn suffix(nth: Nth) -> String {
    if nth == 0 { String::new() } else { format!(".{nth}") }
}

impl FromStr for ObjectName {
    type Err = ForeignName;

    fn from_str(text: &str) -> Result<Self, ForeignName> {
        parse(text).ok_or_else(|| ForeignName(text.chars().take(256).collect()))
    }
}

fn parse(text: &str) -> Option<ObjectName> {
    if let Some(rest) = text.strip_prefix(DATA) {
        return Place::parse(rest.strip_suffix(".json.gz")?).map(ObjectName::Data);
    }
    if let Some(rest) = text.strip_prefix(PARQUET) {
        return Place::parse(rest.strip_suffix(".parquet")?).map(ObjectName::Parquet);
    }
    if let Some(rest) = text.strip_prefix(TAIL) {
        let (log, rest) = of_log(rest)?;
        let (number, nth, kind) = numbered(rest)?;
        return (kind == "ndjson.gz").then_some(ObjectName::Tail(log, number, nth));
    }
    let (log, rest) = of_log(text.strip_prefix(PROOF)?)?;
    let (number, nth, kind) = numbered(rest)?;
    Some(match kind {
        "range.json" => ObjectName::Range(log, number, nth),
        "checkpoint" if nth == 0 => ObjectName::Checkpoint(log, number),
        "keys.json" => ObjectName::Keys(log, u32::try_from(number).ok()?, nth),
        _ => return None,
    })
}

/// `<log id>/e<epoch>.`, and what follows.
fn of_log(text: &str) -> Option<(LogName, &str)> {
    let (id, name) = text.split_once('/')?;
    let (first, rest) = name.split_once('.')?;
    Some((LogName::new(id, epoch(first)?)?, rest))
}

/// `<20 digits>[.<nth>].<kind>`.
fn numbered(text: &str) -> Option<(u64, Nth, &str)> {
    let (digits, rest) = text.split_once('.')?;
    let number = number(digits)?;
    let Some((first, kind)) = rest.split_once('.') else { return Some((number, 0, rest)) };
    let Ok(nth) = first.parse::<Nth>() else { return Some((number, 0, rest)) };
    ((1..=LAST_NAME).contains(&nth) && nth.to_string() == first).then_some((number, nth, kind))
}

/// `e3`.
fn epoch(text: &str) -> Option<u32> {
    let epoch: u32 = text.strip_prefix('e')?.parse().ok()?;
    (format!("e{epoch}") == text).then_some(epoch)
}

/// 20 digits.
fn number(text: &str) -> Option<u64> {
    let digits = text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn log() -> impl Strategy<Value = LogName> {
        let id = prop_oneof!["[0-9a-f]{32}", "[a-zA-Z0-9._-]{1,64}"];
        (id, prop_oneof![Just(0_u32), any::<u32>()])
            .prop_filter_map("a log's id", |(id, epoch)| LogName::new(&id, epoch))
    }

    fn span() -> impl Strategy<Value = Span> {
        (any::<u64>(), any::<u64>())
            .prop_filter("records", |(a, b)| a != b)
            .prop_map(|(a, b)| Span { first: a.min(b), end: a.max(b) })
    }

    fn place() -> impl Strategy<Value = Place> {
        let day = (0_i64..4_102_444_800_000_000).prop_map(|at| Day::of(Timestamp::from_micros(at)));
        (day, ".*", log(), span()).prop_map(|(day, host, log, span)| Place {
            day,
            host: HostName::of(&host),
            log,
            span,
        })
    }

    fn nth() -> impl Strategy<Value = Nth> {
        0..=LAST_NAME
    }

    fn name() -> impl Strategy<Value = ObjectName> {
        prop_oneof![
            (log(), any::<u64>(), nth()).prop_map(|(log, at, n)| ObjectName::Tail(log, at, n)),
            place().prop_map(ObjectName::Data),
            place().prop_map(ObjectName::Parquet),
            (log(), any::<u64>(), nth()).prop_map(|(log, at, n)| ObjectName::Range(log, at, n)),
            (log(), any::<u64>()).prop_map(|(log, at)| ObjectName::Checkpoint(log, at)),
            (log(), any::<u32>(), nth()).prop_map(|(log, at, n)| ObjectName::Keys(log, at, n)),
        ]
    }

    proptest! {
        #[test]
        fn every_name_reads_back_as_what_was_printed(name in name()) {
            prop_assert_eq!(name.to_string().parse::<ObjectName>(), Ok(name));
        }

        #[test]
        fn what_reads_as_a_name_prints_as_it_was_written(
            text in "(tail/log=|data/day=2026-01-0[1-9]/host=a/|proof/log=)[0-9a-z./-]{1,90}"
        ) {
            if let Ok(name) = text.parse::<ObjectName>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }

        #[test]
        fn names_of_an_epoch_sort_as_their_records_do(
            log in log(), a in any::<u64>(), b in any::<u64>()
        ) {
            let name = |first| ObjectName::Tail(log.clone(), first, 0).to_string();
            prop_assert_eq!(name(a).cmp(&name(b)), a.cmp(&b));
        }
    }

    #[test]
    fn names_are_those_of_the_documented_layout() {
        let id = "ae1ff7c78ac7".to_owned();
        let log = LogName::new(&id, 0).expect("a log's id");
        let span = Span { first: 0, end: 4821 };
        let time: Timestamp = "2026-02-04T23:59:59Z".parse().expect("a time");
        let place =
            Place {
                day: Day::of(time), host: HostName::of("web 1/ä"), log: log.in_epoch(2), span
            };
        for (name, expected) in [
            (
                ObjectName::Tail(log.clone(), 4821, 0),
                "tail/log=ae1ff7c78ac7/e0.00000000000000004821.ndjson.gz",
            ),
            (
                ObjectName::Data(place.clone()),
                "data/day=2026-02-04/host=web-1--/ae1ff7c78ac7.e2.00000000000000000000-\
                 00000000000000004821.json.gz",
            ),
            (
                ObjectName::Parquet(place),
                "parquet/v1/day=2026-02-04/host=web-1--/ae1ff7c78ac7.e2.00000000000000000000-\
                 00000000000000004821.parquet",
            ),
            (
                ObjectName::Range(log.in_epoch(2), 7, 0),
                "proof/log=ae1ff7c78ac7/e2.00000000000000000007.range.json",
            ),
            (
                ObjectName::Range(log.in_epoch(2), 7, 12),
                "proof/log=ae1ff7c78ac7/e2.00000000000000000007.12.range.json",
            ),
            (
                ObjectName::Checkpoint(log.clone(), 4821),
                "proof/log=ae1ff7c78ac7/e0.00000000000000004821.checkpoint",
            ),
            (
                ObjectName::Keys(log, 1, 0),
                "proof/log=ae1ff7c78ac7/e0.00000000000000000001.keys.json",
            ),
        ] {
            assert_eq!(name.to_string(), expected);
        }
    }

    #[test]
    fn what_is_no_name_of_an_archive_is_refused() {
        for text in [
            "",
            "tail/log=a/e0.1-2.ndjson.gz",
            "tail/log=a/e0.00000000000000000001.0.ndjson.gz",
            "tail/log=a/e0.00000000000000000001.100.ndjson.gz",
            "tail/log=a/e0.00000000000000000001.01.ndjson.gz",
            "tail/log=a/e00.00000000000000000001.ndjson.gz",
            "tail/log=../00000000000000000001.ndjson.gz/x",
            "tail/log=a/b/e0.00000000000000000001.ndjson.gz",
            "proof/log=a/e0.00000000000000000001.1.checkpoint",
            "data/day=2026-02-30/host=a/l.e0.00000000000000000000-00000000000000000001.json.gz",
            "data/day=2026-02-03/host=../l.e0.00000000000000000000-00000000000000000001.json.gz",
            "proof/log=a/e0.00000000000000000001.checkpoint.tmp",
            "proof/log=a/e0.99999999999999999999.checkpoint",
        ] {
            assert!(text.parse::<ObjectName>().is_err(), "{text}");
        }
    }
}
