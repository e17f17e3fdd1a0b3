//! The engine's own records: what the log says about itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::audit::files::ended::EndedEpoch;
use crate::audit::files::manifest::{Manifest, Segment};
use crate::audit::files::restore::Restored;
use crate::audit::files::segment::Block;
use crate::audit::keys::Rotation;
use crate::audit::read::query::Question;
use crate::audit::record::event::{Event, MAX_LINE_BYTES};
use crate::audit::record::{EncodedOrigin, Origin, Via, encode_body};
use crate::audit::tree::merkle::{Hash, Range};
use crate::clock::Timestamp;

/// The event types of the log's own records.
pub const OWN_TYPES: &[&str] = &[
    "audit.log_created",
    "audit.opened",
    "audit.closed",
    "audit.recovered",
    "audit.rate_limited",
    "audit.gap",
    PRUNED,
    BACKUP_MADE,
    BACKUP_REMOVED,
    "audit.query",
    "audit.redact_key_created",
    "audit.restored",
    REPAIRED,
    "audit.rollback_accepted",
    "audit.log_file_replaced",
    "audit.file_replaced",
    "audit.config_changed",
    "audit.disk_full",
    "audit.disk_recovered",
    "audit.idle",
    "audit.clock_changed",
    ALERTS_LOST,
    ALERTS_POSITION,
    crate::audit::keys::KEY_ROTATED,
    crate::audit::keys::KEY_REPLACED,
];

/// The type of the record of a removal by retention.
pub const PRUNED: &str = "audit.pruned";
/// The type of the record of a backup that was made.
pub const BACKUP_MADE: &str = "audit.backup_made";
/// The type of the record of a backup that was removed.
pub const BACKUP_REMOVED: &str = "audit.backup_removed";
/// The type of the record of a repair from copies.
pub const REPAIRED: &str = "audit.repaired";
/// The type of the record of alerts that were lost: no alert is about it.
pub const ALERTS_LOST: &str = "audit.alert_lost";
/// The type of the record of how far alerts are: no alert is about it.
pub const ALERTS_POSITION: &str = "audit.alerts_position";

/// A setting that changed: key, old and new value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The setting's key.
    pub key: String,
    /// What it was.
    pub from: String,
    /// What it is.
    pub to: String,
}

/// What retention has removed so far, as its `audit.pruned` record says it. The
/// newest such record speaks for all before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// Records below this were removed, or are about to be.
    pub pruned_to: u64,
    /// The root of the tree over them.
    pub root_hash: Hash,
    /// That tree, as the manifest has it.
    pub tree: Range,
    /// The first record that this pass removes.
    pub first_seq: u64,
    /// How many records this pass removes.
    pub records: u64,
    /// In how many segments they were.
    pub segments: u64,
    /// How many bytes these had.
    pub bytes: u64,
    /// The backups that hold what this pass removes. Empty when none is required.
    #[serde(default)]
    pub held_by: Vec<String>,
    /// The key that the log's keys begin with, which a record that is removed may have
    /// said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_key: Option<String>,
    /// The signed heads that epochs so far do not continue, likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub abandoned: Vec<String>,
    /// Epochs that ended with records which the next one does not have, likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<EndedEpoch>,
    /// The size of the newest backup that a record names, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backed_up: Option<u64>,
}

/// A backup that was made, as its `audit.backup_made` record says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupMade {
    /// The backup's id.
    pub backup: String,
    /// Its first record.
    pub first_seq: u64,
    /// The size of the tree that it holds.
    pub tree_size: u64,
    /// That tree's root.
    pub root_hash: Hash,
    /// SHA-256 of its file.
    pub sha256: Hash,
    /// Where it was written.
    pub place: String,
    /// Who made it.
    pub uid: u32,
}

/// A log that goes on although signed heads elsewhere do not fit it, as its
/// `audit.rollback_accepted` record says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RollbackAccepted {
    /// What it looked like: `rolled_back`, `snapshot_restored` or `cloned`.
    pub history: String,
    /// The epoch that begins.
    pub epoch: u32,
    /// How many records the log had.
    pub records: u64,
    /// The log's own newest head, of the epoch that ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abandoned_checkpoint: Option<String>,
    /// The heads that do not fit.
    pub contradicting: Vec<Contradicting>,
    /// How many more there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub more: u64,
}

/// A signed head that does not fit the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Contradicting {
    /// The backup's id, or the file.
    pub name: String,
    /// The head's epoch.
    pub epoch: u32,
    /// How many records it is over.
    pub tree_size: u64,
    /// Their root.
    pub root_hash: Hash,
    /// The head itself, a signed note.
    pub checkpoint: String,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A file that was repaired, as the `audit.repaired` record says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairedFile {
    /// The file.
    pub file: String,
    /// Where what it was is kept; `None` when there was nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
    /// The ranges of records that were put back: first, and one after the last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<(u64, u64)>,
}

/// A repair that was made, as its `audit.repaired` record says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repaired {
    /// What was written anew.
    pub files: Vec<RepairedFile>,
    /// The copies that records were taken from.
    pub from: Vec<String>,
    /// What stayed damaged: first record, and one after the last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<(u64, u64)>,
    /// Who wanted it.
    pub uid: u32,
}

/// A backup that a cleanup removed, as its `audit.backup_removed` record says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRemoved {
    /// The backup's id.
    pub backup: String,
    /// Where it was.
    pub place: String,
    /// Its first record.
    pub first_seq: u64,
    /// The size of the tree that it held.
    pub tree_size: u64,
    /// That tree's root.
    pub root_hash: String,
    /// SHA-256 of its file, hex.
    pub sha256: String,
    /// By which rule.
    pub reason: String,
    /// Who removed it.
    pub uid: u32,
}

/// The change from one signing key to the next, as its `audit.key_rotated` record
/// says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyRotated {
    /// The verifier key that was valid up to here.
    pub old_key: String,
    /// The verifier key that is valid from here on.
    pub new_key: String,
    /// Who wanted it.
    pub uid: u32,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A key that took the place of one that was lost, as its `audit.key_replaced` record
/// says it: nobody signed the succession.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyReplaced {
    /// The verifier key that is lost.
    pub old_key: String,
    /// The verifier key that took its place.
    pub new_key: String,
    /// The epoch that it begins.
    pub epoch: u32,
    /// When it was replaced.
    pub replaced_at: Timestamp,
    /// Who did it.
    pub uid: u32,
    /// That user's name, where the system knew one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Why.
    pub reason: String,
    /// How many records the old key had signed.
    pub signed_records: u64,
    /// Their root.
    pub signed_root: Hash,
    /// The last head that it signed, a signed note.
    pub last_checkpoint: String,
}

impl KeyReplaced {
    /// As a rotation in `audit.keys` says it, if it is such a one and holds.
    pub(crate) fn of(rotation: &Rotation) -> Option<Self> {
        let said = rotation.replaced.as_ref()?;
        let handover = rotation.check().ok()?;
        Some(Self {
            old_key: rotation.old_key.clone(),
            new_key: rotation.new_key.clone(),
            epoch: said.epoch,
            replaced_at: said.at,
            uid: said.uid,
            user: said.user.clone(),
            reason: said.reason.clone(),
            signed_records: rotation.seq,
            signed_root: handover.root,
            last_checkpoint: rotation.checkpoint.clone(),
        })
    }
}

/// Alerts that nobody was told of, as their `audit.alert_lost` record says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertsLost {
    /// The alert's name.
    pub alert: String,
    /// How many.
    pub count: u64,
    /// When the first was due.
    pub first: Timestamp,
    /// When the last was due.
    pub last: Timestamp,
    /// `queue_full`, `failed` or `journal_lost`.
    pub reason: String,
}

/// How far alerts are, as their `audit.alerts_position` record says it: from where
/// they look again when their journal is lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertsPosition {
    /// Whatever records below this triggered was delivered, or recorded as lost.
    pub settled_to: u64,
    /// Records below this have been looked at.
    pub cursor: u64,
    /// Deliveries that wait, by alert.
    pub waiting: BTreeMap<String, u64>,
    /// Those of them that are about health, and that no record tells again.
    #[serde(default)]
    pub health: BTreeMap<String, u64>,
}

/// Somebody who asked the collector, as its `audit.query` record says it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Queried {
    /// How: `socket` or `http`.
    pub via: String,
    /// The peer's user id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The peer's process id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The name of the token that was shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The address that was asked from, where that is not this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// What was asked.
    pub query: Question,
    /// How many records were handed over, or counted.
    pub records: u64,
}

/// Records that the log does not have any more, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GivenUp {
    /// The first.
    pub first_seq: u64,
    /// One after the last.
    pub end_seq: u64,
    /// The segment's file.
    pub file: String,
    /// What is wrong with them.
    pub reason: String,
    /// Their subtree hashes.
    pub tree: Range,
}

impl GivenUp {
    /// All holes that a manifest has.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Vec<Self> {
        let named = |(segment, hole): (&Segment, &Block)| Self {
            first_seq: hole.first_seq,
            end_seq: hole.tree.end(),
            file: segment.file.clone(),
            reason: hole.hole.clone().unwrap_or_default(),
            tree: hole.tree.clone(),
        };
        manifest.holes().map(named).collect()
    }
}

/// Records that the log had signed and that the epoch which begins does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LeftBehind {
    /// The epoch that they are of.
    pub(crate) epoch: u32,
    /// The first.
    pub(crate) first_seq: u64,
    /// One after the last.
    pub(crate) end_seq: u64,
    /// The tree over what comes before them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<Range>,
}

impl LeftBehind {
    pub(crate) fn of(ended: &EndedEpoch) -> Self {
        Self {
            epoch: ended.epoch,
            first_seq: ended.first_seq,
            end_seq: ended.end_seq,
            before: ended.before.clone(),
        }
    }
}

/// What opening found that a clean close does not leave, as the `audit.recovered`
/// record says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Recovered {
    /// Bytes of a torn tail, and where they are kept.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) torn_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) torn_file: Option<String>,
    /// Records that were taken over although no signature covered them: from,
    /// and up to before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unsigned_first: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unsigned_end: Option<u64>,
    /// Lines behind a signed `audit.closed`, which no writer of this log wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) foreign_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) foreign_file: Option<String>,
    /// Why the manifest was not believed, but made anew from the segments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) manifest_rebuilt: Option<String>,
    /// Why `audit.checkpoint` could not be used; `audit.head` stood in for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) checkpoint_lost: Option<String>,
    /// Segments whose stored bytes are others than were noted, with the records
    /// that were signed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) stored_anew: Vec<String>,
    /// Records that the status page, which nobody signs, says were durable, and that
    /// are not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) missed_by_status_page: Option<u64>,
    /// What `--accept-corruption` accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) accepted_corruption: Option<String>,
    /// Records that were given up: all that are missing now, so that the newest such
    /// record speaks for all before it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) holes: Vec<GivenUp>,
    /// Where what stood in the active segment's file is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) damaged_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) abandoned_checkpoint: Option<String>,
    /// The records that were left behind with the epoch which that checkpoint is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) left_behind: Option<LeftBehind>,
    /// `audit.keys` was missing, short or damaged, and was put back from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keys_put_back: Option<String>,
    /// Where what stood there is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keys_file: Option<String>,
    /// How one key followed another before this one is lost, which was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keys_from: Option<String>,
}

/// A record of the engine's own; its fields become `details`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum OwnRecord {
    /// Seq 0.
    LogCreated { log_id: String, origin: String, format: u32, host: String, public_key: String },
    /// A writer opened the log; `clean` is false after a crash.
    Opened { version: String, pid: u32, mode: String, clean: bool },
    /// The last record of a clean close.
    Closed { records_since_open: u64 },
    /// What opening found that a clean close does not leave.
    Recovered(Box<Recovered>),
    /// A burst of refusals ended.
    RateLimited {
        source: String,
        /// Who sent it, by the system's word: the limit is each sender's and source's.
        #[serde(skip_serializing_if = "Option::is_none")]
        sender: Option<String>,
        refused: u64,
        first: Timestamp,
        last: Timestamp,
        /// The writer that refused them died: this is from its status page, and the
        /// source is the one it had refused most.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        from_status_page: bool,
    },
    /// Events were lost.
    Gap {
        #[serde(skip_serializing_if = "Option::is_none")]
        source: Option<String>,
        count: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        first: Option<Timestamp>,
        #[serde(skip_serializing_if = "Option::is_none")]
        last: Option<Timestamp>,
        reason: String,
    },
    /// Retention removes segments.
    Pruned(Pruned),
    /// A backup was made.
    BackupMade(BackupMade),
    /// The log goes on although heads elsewhere do not fit it.
    RollbackAccepted(RollbackAccepted),
    /// A cleanup removed a backup.
    BackupRemoved(BackupRemoved),
    /// Alerts were not delivered.
    AlertsLost(AlertsLost),
    /// How far alerts are.
    AlertsPosition(AlertsPosition),
    /// Somebody asked.
    Queried(Box<Queried>),
    /// Another key signs from here on.
    KeyRotated(KeyRotated),
    /// Another key took the place of one that was lost.
    KeyReplaced(Box<KeyReplaced>),
    /// A backup took this log's place.
    Restored(Restored),
    /// Damaged records were put back from copies.
    Repaired(Repaired),
    /// The active segment's file was not the one being written.
    LogFileReplaced {
        what: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        set_aside: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        first_lost: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        lost: Option<u64>,
    },
    /// Another of the program's own files, or a sealed segment, was not the one that
    /// it should be.
    FileReplaced {
        file: String,
        what: String,
        put_back: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        set_aside: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Settings were changed while the log was open.
    ConfigChanged { changes: Vec<Change> },
    /// A key for what is redacted was made: what an earlier one made matches no more.
    RedactKeyCreated { key_id: String },
    /// New events are refused for want of space, or of inodes; `available_files` is left
    /// out where the file system sets no limit on them.
    DiskFull {
        available_bytes: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        available_files: Option<u64>,
    },
    /// There is space again.
    DiskRecovered { available_bytes: u64, refused: u64 },
    /// Nothing happened since the last checkpoint: written so that the next one
    /// proves it.
    Idle { since: Timestamp },
    /// The wall clock was set: it would have shown `from`, and shows `to`.
    ClockChanged { from: Timestamp, to: Timestamp, by_seconds: i64 },
}

impl OwnRecord {
    fn event_type(&self) -> &'static str {
        match self {
            Self::LogCreated { .. } => "audit.log_created",
            Self::Opened { .. } => "audit.opened",
            Self::Closed { .. } => "audit.closed",
            Self::Recovered(_) => "audit.recovered",
            Self::RateLimited { .. } => "audit.rate_limited",
            Self::Gap { .. } => "audit.gap",
            Self::Pruned(_) => PRUNED,
            Self::BackupMade(_) => BACKUP_MADE,
            Self::RollbackAccepted(_) => "audit.rollback_accepted",
            Self::BackupRemoved(_) => BACKUP_REMOVED,
            Self::AlertsLost(_) => ALERTS_LOST,
            Self::AlertsPosition(_) => ALERTS_POSITION,
            Self::Queried(_) => "audit.query",
            Self::KeyRotated(_) => crate::audit::keys::KEY_ROTATED,
            Self::KeyReplaced(_) => crate::audit::keys::KEY_REPLACED,
            Self::Restored(_) => "audit.restored",
            Self::Repaired(_) => REPAIRED,
            Self::LogFileReplaced { .. } => "audit.log_file_replaced",
            Self::FileReplaced { .. } => "audit.file_replaced",
            Self::ConfigChanged { .. } => "audit.config_changed",
            Self::RedactKeyCreated { .. } => "audit.redact_key_created",
            Self::DiskFull { .. } => "audit.disk_full",
            Self::DiskRecovered { .. } => "audit.disk_recovered",
            Self::Idle { .. } => "audit.idle",
            Self::ClockChanged { .. } => "audit.clock_changed",
        }
    }
}

/// The record's details have so many bytes at most: a line that is longer than a record
/// may be would make the log unreadable from there on.
const MAX_DETAILS_BYTES: usize = MAX_LINE_BYTES - (64 << 10);

/// In a record that would be too long, a text has so many bytes, and a list so many
/// items. Signed notes stay whole: they prove something. One of the log's own signatures
/// is far shorter than this; a longer text that looks like a note is somebody else's.
const SHORT_TEXT: usize = 400;
const LONGEST_NOTE: usize = 4096;
const SHORT_LIST: usize = 100;

/// The details, short enough for a record. What they authorise (numbers, hashes, signed
/// notes) is all there: only texts that were quoted from elsewhere, and long lists, are
/// cut, and it says how long they were.
fn details(own: &OwnRecord) -> Value {
    // Plain structs of numbers and strings always serialize.
    let mut details = serde_json::to_value(own).unwrap_or_default();
    let bytes = details.to_string().len();
    if bytes >= MAX_DETAILS_BYTES {
        shorten(&mut details);
        if let Value::Object(members) = &mut details {
            members.insert("cut_from_bytes".to_owned(), bytes.into());
        }
    }
    details
}

fn shorten(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > SHORT_TEXT => {
            if text.len() <= LONGEST_NOTE && text.contains("\n\n\u{2014} ") {
                return;
            }
            let end = (0..=SHORT_TEXT).rev().find(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or(0));
            text.push('…');
        }
        Value::Array(items) => {
            items.truncate(SHORT_LIST);
            items.iter_mut().for_each(shorten);
        }
        Value::Object(members) => members.values_mut().for_each(shorten),
        _ => {}
    }
}

/// Whether a record of it can be made at all: what is not recorded must not be done.
pub(crate) fn fits(own: &OwnRecord) -> bool {
    details(own).to_string().len() < MAX_DETAILS_BYTES
}

/// The record's part that the queue takes.
pub(crate) fn encode(own: &OwnRecord) -> Vec<u8> {
    let mut event = Event::new(own.event_type()).actor("auditctl").source("auditctl");
    // In the order in which the struct has them, unless something had to be cut.
    let whole = event.clone().details(own);
    event = match whole {
        Ok(with) if with.details.as_ref().map_or(0, String::len) < MAX_DETAILS_BYTES => with,
        _ => match event.clone().details(&details(own)) {
            Ok(with) if with.details.as_ref().map_or(0, String::len) < MAX_DETAILS_BYTES => with,
            // Nothing that is bounded as it should be comes here; the log stays readable.
            _ => event,
        },
    };
    let origin = Origin { pid: Some(std::process::id()), ..Origin::here(Via::Engine) };
    let mut body = Vec::with_capacity(256);
    encode_body(&event, &EncodedOrigin::new(&origin), &mut body);
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_record_is_never_longer_than_a_line_may_be() {
        let reason = "x".repeat(MAX_LINE_BYTES);
        let gap = OwnRecord::Gap { source: None, count: 3, first: None, last: None, reason };
        let text = String::from_utf8(encode(&gap)).expect("utf-8");
        assert!(text.contains(r#""event_type":"audit.gap""#), "{text}");
        assert!(text.contains(r#""count":3"#), "{text}");
        assert!(text.contains(r#""cut_from_bytes":10"#), "{text}");
        assert!(text.len() < 1_000);
    }

    #[test]
    fn what_a_record_authorises_is_there_however_long_the_texts_are_that_it_quotes() {
        let note =
            format!("auditctl/5f0c\n7\nroot\n\n\u{2014} auditctl/5f0c {}\n", "A".repeat(900));
        let recovered = Recovered {
            unsigned_first: Some(10),
            unsigned_end: Some(11),
            // Also one that is made to look like a note.
            manifest_rebuilt: Some(format!("log \n\n\u{2014} {}", "A".repeat(MAX_LINE_BYTES))),
            checkpoint_lost: Some("\u{1}".repeat(MAX_LINE_BYTES)),
            stored_anew: vec!["audit.00000000000000000000.log.gz".to_owned(); 50_000],
            abandoned_checkpoint: Some(note.clone()),
            ..Recovered::default()
        };
        let own = OwnRecord::Recovered(Box::new(recovered));
        assert!(fits(&own));
        let text = String::from_utf8(encode(&own)).expect("utf-8");
        let at = text.find(r#""details":"#).expect("details") + 10;
        let mut found = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
        let details = found.next().expect("a value").expect("json");
        assert_eq!(
            (&details["unsigned_first"], &details["unsigned_end"]),
            (&10.into(), &11.into())
        );
        assert_eq!(details["abandoned_checkpoint"], note);
        assert_eq!(details["stored_anew"].as_array().map(Vec::len), Some(SHORT_LIST));
    }

    #[test]
    fn an_own_record_names_itself_and_leaves_out_what_is_absent() {
        let body = encode(&OwnRecord::Gap {
            source: None,
            count: 3,
            first: None,
            last: None,
            reason: "test".to_owned(),
        });
        let text = String::from_utf8(body).expect("utf-8");
        assert!(text.starts_with(
            r#""event_type":"audit.gap","actor":"auditctl","source":"auditctl","details":{"count":3,"reason":"test"},"origin":{"via":"engine""#
        ), "{text}");
    }
}
