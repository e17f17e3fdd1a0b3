//! What the log's own records say about the log: what retention removed, which
//! records an opening adopted unsigned, whether the log was closed.
//!
//! A record of the engine's own is a line whose parsed `event_type` begins with
//! `audit.` and whose parsed `origin` names the engine; a text that only looks
//! like one, inside `details` for instance, is none. Which of these records count
//! is decided by [`Facts::authority`]: only what was signed while the log was
//! written, never what an opening had to adopt.

mod authority;

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::ended::EndedEpoch;
use crate::audit::keys::checkpoint::{Origin as NoteOrigin, SignedCheckpoint};
use crate::audit::keys::{KEY_REPLACED, KEY_ROTATED};
use crate::audit::record::{Record, Via};
use crate::audit::tree::merkle::Range;
use crate::clock::Timestamp;
pub(crate) use authority::{Authority, Facts, NamedKeys};

/// Records `begin..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    /// The first record.
    pub begin: u64,
    /// One after the last.
    pub end: u64,
}

impl Span {
    /// Whether it holds a record.
    #[must_use]
    pub fn contains(&self, seq: u64) -> bool {
        (self.begin..self.end).contains(&seq)
    }

    /// How many records it holds.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.end.saturating_sub(self.begin)
    }
}

/// What one record of the engine says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// Retention removes everything below `end`.
    Pruned(Removal),
    /// An opening adopted these records without a signature over them, or began an
    /// epoch that does not continue this signed head.
    Reopened(Box<Reopened>),
    /// The log began with this key, in this format.
    Created { key: String, format: u64 },
    /// This key named another to follow it.
    ChangedKey { old: String },
    /// A backup of so many records was made.
    BackedUp { tree_size: u64 },
    /// The log was closed; nothing may follow until it is opened.
    Closed,
    /// Anything else.
    Other,
}

/// What an opening says of what it found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reopened {
    adopted: Option<Span>,
    abandoned: Vec<String>,
    keys_from: Option<String>,
    /// Records that were given up.
    pub(crate) holes: Vec<Hole>,
    /// Records that were left behind with the epoch that they are of.
    ended: Option<EndedEpoch>,
}

/// Records that are not in the log any more, as the record of an opening says that gave
/// them up.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Hole {
    pub(crate) first_seq: u64,
    pub(crate) end_seq: u64,
    #[serde(default)]
    pub(crate) file: String,
    #[serde(default)]
    pub(crate) reason: String,
    /// Their subtree hashes: with them a lost manifest can be made anew.
    #[serde(default)]
    pub(crate) tree: Option<Range>,
}

/// A hole, and which record names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedHole {
    pub(crate) record: u64,
    pub(crate) at: Timestamp,
    pub(crate) hole: Hole,
}

/// What an `audit.pruned` record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Removal {
    /// Everything below was removed, or is about to be.
    pub(crate) end: u64,
    /// When.
    pub(crate) at: Timestamp,
    /// The tree over what was removed; of old records it is not kept.
    pub(crate) tree: Option<Range>,
    /// The key that the log's keys begin with: the record that says it may be among
    /// those that are removed.
    pub(crate) first_key: Option<String>,
    /// Signed heads that epochs so far do not continue, likewise.
    pub(crate) abandoned: Vec<String>,
    /// The records that the newest backup held then, likewise.
    pub(crate) backed_up: Option<u64>,
    /// Epochs that ended with records which the next one does not have, likewise.
    pub(crate) ended: Vec<EndedEpoch>,
}

/// An engine's record: its seq and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) seq: u64,
    pub(crate) fact: Fact,
    pub(crate) at: Timestamp,
    /// Whether an opening writes such a record before it accepts anything.
    pub(crate) opens: bool,
}

static OWN: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"event_type\":\"audit."));

/// What a line says, if it is a record of the engine's own.
pub(crate) fn said(line: &[u8]) -> Option<Said> {
    // Only to save the parsing of what cannot be one.
    OWN.find(line)?;
    let record: Record<'_> = serde_json::from_slice(line).ok()?;
    if !record.event_type.starts_with("audit.") || !is_engine(record.origin) {
        return None;
    }
    let opens = OPENING.contains(&&*record.event_type);
    Some(Said { seq: record.seq, fact: fact(&record), at: record.timestamp, opens })
}

/// What the engine's records among whole lines say.
pub(crate) fn said_in(lines: &[u8]) -> Vec<Said> {
    let mut all = Vec::new();
    let mut from = 0;
    while let Some(at) = OWN.find(&lines[from..]) {
        let at = from + at;
        let begin = memchr::memrchr(b'\n', &lines[..at]).map_or(0, |lf| lf + 1);
        let end = memchr::memchr(b'\n', &lines[at..]).map_or(lines.len(), |lf| at + lf);
        all.extend(said(&lines[begin..end]));
        from = end;
    }
    all
}

#[derive(Deserialize)]
struct Sender<'a> {
    #[serde(borrow)]
    via: std::borrow::Cow<'a, str>,
}

pub(in crate::audit) fn is_engine(origin: Option<&RawValue>) -> bool {
    let from = origin.and_then(|origin| serde_json::from_str::<Sender<'_>>(origin.get()).ok());
    from.is_some_and(|from| from.via == Via::Engine.as_str())
}

#[derive(Deserialize)]
struct PrunedDetails {
    pruned_to: u64,
    tree: Option<Range>,
    first_key: Option<String>,
    #[serde(default)]
    abandoned: Vec<String>,
    #[serde(default)]
    ended: Vec<EndedEpoch>,
    backed_up: Option<u64>,
}

#[derive(Deserialize)]
struct RecoveredDetails {
    unsigned_first: Option<u64>,
    unsigned_end: Option<u64>,
    abandoned_checkpoint: Option<String>,
    #[serde(default)]
    abandoned: Vec<String>,
    #[serde(default)]
    contradicting: Vec<ContradictingDetails>,
    keys_from: Option<String>,
    #[serde(default)]
    holes: Vec<Hole>,
    accepted_corruption: Option<String>,
    left_behind: Option<LeftBehindDetails>,
    /// Of a restore that nobody with the key vouches for.
    #[serde(default)]
    unproven: bool,
}

#[derive(Deserialize)]
struct LeftBehindDetails {
    epoch: u32,
    first_seq: u64,
    end_seq: u64,
    before: Option<Range>,
}

impl RecoveredDetails {
    /// The records that were left behind when corruption was accepted. A record of an
    /// earlier build names the signed head only: what the log goes on with begins where
    /// the record stands, or with what it adopted.
    fn ended(&self, seq: u64, at: Timestamp) -> Option<EndedEpoch> {
        let reason = self.accepted_corruption.clone()?;
        let checkpoint = self.abandoned_checkpoint.clone()?;
        let (epoch, first_seq, end_seq, before) = match &self.left_behind {
            Some(left) => (left.epoch, left.first_seq, left.end_seq, left.before.clone()),
            None => {
                let note = SignedCheckpoint::parse(checkpoint.as_bytes()).ok()?;
                let head = note.unverified();
                let origin: NoteOrigin = head.origin.parse().ok()?;
                let first = self.unsigned_first.unwrap_or(seq).min(seq);
                (origin.epoch(), first, head.size, None)
            }
        };
        let before = before.filter(|tree| (tree.begin(), tree.end()) == (0, first_seq));
        let (record, at) = (Some(seq), Some(at));
        let ended =
            EndedEpoch { epoch, first_seq, end_seq, before, checkpoint, reason, record, at };
        (ended.records() > 0).then_some(ended)
    }
}

#[derive(Deserialize)]
struct ContradictingDetails {
    checkpoint: String,
}

#[derive(Deserialize)]
struct CreatedDetails {
    public_key: String,
    format: u64,
}

#[derive(Deserialize)]
struct RotatedDetails {
    old_key: String,
}

#[derive(Deserialize)]
struct BackupDetails {
    tree_size: u64,
}

fn fact(record: &Record<'_>) -> Fact {
    let details = record.details.map_or("null", RawValue::get);
    let other = Fact::Other;
    match &*record.event_type {
        "audit.closed" => Fact::Closed,
        "audit.pruned" => match serde_json::from_str(details) {
            Ok(found) => Fact::Pruned(removal(found, record.timestamp)),
            Err(_) => other,
        },
        "audit.recovered" | "audit.restored" | "audit.rollback_accepted" => {
            let Ok(found) = serde_json::from_str::<RecoveredDetails>(details) else { return other };
            let span = found.unsigned_first.zip(found.unsigned_end);
            let adopted = span
                .map(|(begin, end)| Span { begin, end })
                .filter(|span| span.begin < span.end && span.end <= record.seq);
            let ended = found.ended(record.seq, record.timestamp);
            let mut abandoned = found.abandoned;
            if found.unproven {
                // It excuses nothing that a signed head elsewhere says.
                return Fact::Reopened(Box::new(Reopened { adopted, ..Reopened::default() }));
            }
            abandoned.extend(found.contradicting.into_iter().map(|found| found.checkpoint));
            abandoned.extend(found.abandoned_checkpoint);
            let mut holes = found.holes;
            holes.retain(|hole| hole.first_seq < hole.end_seq && hole.end_seq <= record.seq);
            let keys_from = found.keys_from;
            Fact::Reopened(Box::new(Reopened { adopted, abandoned, keys_from, holes, ended }))
        }
        "audit.log_created" if record.seq == 0 => {
            match serde_json::from_str::<CreatedDetails>(details) {
                Ok(CreatedDetails { public_key: key, format }) => Fact::Created { key, format },
                Err(_) => other,
            }
        }
        KEY_ROTATED => match serde_json::from_str::<RotatedDetails>(details) {
            Ok(RotatedDetails { old_key: old }) => Fact::ChangedKey { old },
            Err(_) => other,
        },
        "audit.backup_made" => match serde_json::from_str::<BackupDetails>(details) {
            Ok(BackupDetails { tree_size }) => Fact::BackedUp { tree_size },
            Err(_) => other,
        },
        _ => other,
    }
}

/// What an opening writes before it accepts anything.
const OPENING: &[&str] = &[
    "audit.log_created",
    "audit.recovered",
    "audit.gap",
    "audit.restored",
    "audit.rate_limited",
    "audit.redact_key_created",
    "audit.rollback_accepted",
    KEY_REPLACED,
    "audit.clock_changed",
    "audit.opened",
];

fn removal(found: PrunedDetails, at: Timestamp) -> Removal {
    let end = found.pruned_to;
    let tree = found.tree.filter(|tree| tree.begin() == 0 && tree.end() == end);
    let PrunedDetails { first_key, abandoned, ended, backed_up, .. } = found;
    Removal { end, at, tree, first_key, abandoned, backed_up, ended }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seq: u64, event_type: &str, via: &str, details: &str) -> String {
        format!(
            r#"{{"seq":{seq},"timestamp":"2026-02-04T21:09:40.123456Z","event_type":"{event_type}","details":{details},"origin":{{"via":"{via}"}}}}"#
        )
    }

    #[test]
    fn a_hole_is_named_only_where_records_name_all_of_it() {
        let named = |record, first_seq, end_seq| NamedHole {
            record,
            at: Timestamp::default(),
            hole: Hole {
                first_seq,
                end_seq,
                file: String::new(),
                reason: String::new(),
                tree: None,
            },
        };
        let holes = vec![named(20, 3, 5), named(30, 5, 8)];
        let authority = Authority { holes, ..Authority::default() };
        assert!(authority.names_hole(3, 8) && authority.names_hole(4, 6));
        assert!(!authority.names_hole(2, 5) && !authority.names_hole(4, 9));
    }

    fn pruned(seq: u64, end: u64) -> String {
        line(seq, "audit.pruned", "engine", &format!(r#"{{"pruned_to":{end}}}"#))
    }

    fn adopted(seq: u64, begin: u64, end: u64) -> String {
        let details = format!(r#"{{"unsigned_first":{begin},"unsigned_end":{end}}}"#);
        line(seq, "audit.recovered", "engine", &details)
    }

    fn facts(lines: &[String]) -> Facts {
        let mut facts = Facts::default();
        said_in(lines.join("\n").as_bytes()).into_iter().for_each(|said| facts.note(said));
        facts
    }

    #[test]
    fn a_text_that_only_looks_like_the_engines_record_says_nothing() {
        let closed = line(3, "audit.closed", "engine", "{}");
        assert_eq!(said(closed.as_bytes()).map(|said| said.fact), Some(Fact::Closed));
        for line in [
            line(3, "audit.closed", "socket", "{}"),
            line(3, "login", "engine", r#"{"event_type":"audit.closed"}"#),
            line(3, "login", "socket", r#"{"x":{"event_type":"audit.closed","origin":"engine"}}"#),
        ] {
            assert_eq!(said(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn the_newest_signed_removal_counts_and_one_beyond_what_is_signed_does_not() {
        let facts = facts(&[pruned(10, 4), pruned(20, 8), pruned(30, 25)]);
        let end = |signed| facts.authority(signed).removal.map(|(seq, removal)| (seq, removal.end));
        assert_eq!(end(31), Some((30, 25)));
        assert_eq!(end(30), Some((20, 8)));
        assert_eq!(end(10), None);
    }

    #[test]
    fn what_an_opening_adopted_authorises_nothing_not_even_its_own_innocence() {
        // A forger left a removal and a harmless adoption in what was adopted later.
        let facts = facts(&[pruned(5, 3), pruned(11, 9), adopted(12, 0, 1), adopted(20, 10, 15)]);
        let authority = facts.authority(21);
        assert_eq!(authority.adopted, [Span { begin: 10, end: 15 }]);
        assert_eq!(authority.removal.map(|(seq, _)| seq), Some(5));
    }

    #[test]
    fn what_a_removal_says_of_records_that_it_removes_counts_like_these() {
        let details = r#"{"pruned_to":9,"first_key":"k","abandoned":["a","b"],"backed_up":8}"#;
        let authority = facts(&[line(12, "audit.pruned", "engine", details)]).authority(13);
        assert_eq!(authority.abandoned, ["a", "b"]);
        assert_eq!(authority.backed_up, Some(8));
        assert_eq!(authority.keys.first, Some((12, "k".to_owned())));
    }
}
