//! The engine's own records: what the log says about itself.

mod encoded;
mod opening;
mod witness;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::audit::files::ended::EndedEpoch;
use crate::audit::files::restore::Restored;
use crate::audit::keys::Rotation;
use crate::audit::read::query::Question;
use crate::audit::tree::merkle::{Hash, Range};
use crate::clock::Timestamp;
pub(crate) use encoded::{encode, fits};
pub use opening::{Contradicting, GivenUp, RollbackAccepted};
pub(crate) use opening::{LeftBehind, Recovered};
pub use witness::{Cosigned, CosigningRefused, WitnessState, WitnessedLog};

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
    COSIGNED,
    COSIGNING_REFUSED,
    WITNESS_STATE,
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

/// The type of the record of a checkpoint that was cosigned.
pub const COSIGNED: &str = "audit.cosigned";
/// The type of the record of a signed checkpoint that was not cosigned.
pub const COSIGNING_REFUSED: &str = "audit.cosigning_refused";
/// The type of the record of all that a witness knows.
pub const WITNESS_STATE: &str = "audit.witness_state";

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
    /// What was read, where it was no query: `record`, `proof`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub what: Option<String>,
    /// The peer's user id, or that of the user whose session it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The name of the user whose session it is, where the system knew one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
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
    /// A checkpoint of another log was cosigned.
    Cosigned(Box<Cosigned>),
    /// A signed checkpoint of another log was not cosigned.
    CosigningRefused(Box<CosigningRefused>),
    /// All that a witness knows.
    WitnessState(WitnessState),
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
            Self::Cosigned(_) => COSIGNED,
            Self::CosigningRefused(_) => COSIGNING_REFUSED,
            Self::WitnessState(_) => WITNESS_STATE,
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
