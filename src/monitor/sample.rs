//! One sample: plain data that serialises as documented.

mod taken;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::audit::state::status::Word;
use crate::clock::Timestamp;
use crate::health::Status;

/// The counters of events that were refused, by why.
pub(crate) const REFUSED: [(&str, Word); 5] = [
    ("invalid", Word::Invalid),
    ("rate_limited", Word::RateLimited),
    ("busy", Word::Busy),
    ("unavailable", Word::Unavailable),
    ("conflict", Word::IdConflicts),
];

/// How the log and its writer were at one moment. Counters are since the log was
/// opened; a writer that has gone leaves its last ones.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// When it was looked.
    pub timestamp: Timestamp,
    /// Overall, as `health` judges.
    pub status: Status,
    /// The active segment's path.
    pub audit_file: PathBuf,
    /// The writer.
    pub writer: Writer,
    /// What is not healthy: each such check, worst first.
    pub findings: Vec<Finding>,
    /// Every check in the order of the report, for a screen with room to spare.
    /// `health --json` has them as JSON.
    #[serde(skip)]
    pub checks: Vec<Finding>,
    /// Events accepted; `None`, as all below, when there is no status page.
    pub events: Option<Events>,
    /// Events accepted and not yet settled.
    pub write_buffer: Option<WriteBuffer>,
    /// The query cache.
    pub query_cache: Option<Cache>,
    /// What the rate limiter refused.
    pub rate_limiting: Option<RateLimiting>,
    /// Security events.
    pub security: Option<Security>,
    /// How alerts are delivered; `None` when none are set.
    pub alerts: Option<Alerts>,
    /// What the archive lacks; `None` when the settings name none.
    pub archive: Option<Archive>,
    /// The log's files.
    pub log: Option<Log>,
    /// `fdatasync`.
    pub sync: Option<Sync>,
    /// The newest signed checkpoint; `None` before the first.
    pub checkpoint: Option<CheckpointInfo>,
    /// The newest local backup; `None` when there is none.
    pub backup: Option<Backup>,
    /// The log's disk, as the writer saw it last.
    pub disk: Option<Disk>,
}

/// The writer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Writer {
    /// `running`, `hung`, `died`, `stopped`, `disk_full`, … as in `health`.
    pub state: &'static str,
    /// The same as a sentence.
    pub message: String,
    /// How that is judged.
    pub status: Status,
    /// Whether the numbers are of a writer that has the log now.
    pub is_current: bool,
    /// Its process; the last one's when none runs.
    pub pid: Option<u64>,
    /// `library`, `collector` or `record`.
    pub mode: Option<&'static str>,
    /// For how long it has run.
    pub uptime_seconds: Option<u64>,
    /// Its last sign of life.
    pub last_update: Option<Timestamp>,
    /// How long ago that was.
    pub age_seconds: Option<f64>,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Which.
    pub component: &'static str,
    /// How it is.
    pub status: Status,
    /// The problem's stable name, which the guide has a row for; `None` when healthy.
    pub code: Option<&'static str>,
    /// In words.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Events accepted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Events {
    /// Since the log was opened.
    pub total: u64,
    /// Records in the log, the engine's own included.
    pub records: u64,
    /// In the last 60 whole seconds, a second.
    pub per_second: f64,
    /// In each of them, the oldest first.
    pub last_60_seconds: Vec<u64>,
    /// Refused: invalid, over a rate limit, buffer full, disk full or failing, or with the id
    /// of another event.
    pub refused: u64,
    /// The same by reason.
    pub refused_by: BTreeMap<&'static str, u64>,
    /// Recorded before, by their ids.
    pub duplicates: u64,
    /// The ids that are remembered.
    pub ids: Ids,
    /// When the last one was accepted.
    pub last_event_at: Option<Timestamp>,
}

/// The ids of events that are remembered, so that none is recorded twice.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ids {
    /// How many are.
    pub remembered: u64,
    /// How many may be.
    pub capacity: u64,
    /// Those forgotten before `dedupe_window` was over, because there were more.
    pub crowded_out: u64,
    /// Events refused because another event has their id.
    pub conflicts: u64,
    /// Records whose ids are not known, because they could not be read when the log was opened.
    pub unread_records: u64,
}

/// Events accepted and not yet settled.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WriteBuffer {
    /// How that is judged.
    pub status: Status,
    /// How many wait.
    pub events: u64,
    /// How many may.
    pub capacity_events: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many bytes may wait.
    pub capacity_bytes: u64,
    /// The fuller of both, of 100.
    pub fill_percent: f64,
    /// How long the oldest has waited.
    pub oldest_waiting_seconds: Option<f64>,
}

/// The query cache.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cache {
    /// Entries.
    pub entries: u64,
    /// Entries it may hold.
    pub capacity: u64,
    /// Bytes of their results.
    pub bytes: u64,
    /// Queries answered from it.
    pub hits: u64,
    /// Queries that were not.
    pub misses: u64,
    /// Of 100, as counted; `None` before the first query.
    pub hit_rate_percent: Option<f64>,
    /// Entries that had to go.
    pub evictions: u64,
}

/// What the rate limiter refused.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RateLimiting {
    /// How that is judged.
    pub status: Status,
    /// Events refused since the log was opened.
    pub blocked: u64,
    /// In the last hour.
    pub blocked_last_hour: u64,
    /// Sources seen in the last minute.
    pub active_sources: u64,
    /// The most refused source.
    pub top_blocked: Option<TopBlocked>,
}

/// The most refused source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TopBlocked {
    /// Its name, as it came: escape it for a terminal.
    pub source: String,
    /// Who sent it, by the system's word: `uid:1000`, `token:web-1`, `library`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// Its refused events.
    pub count: u64,
}

/// Security events.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Security {
    /// How that is judged.
    pub status: Status,
    /// Since the log was opened.
    pub total: u64,
    /// In the last hour.
    pub last_hour: u64,
    /// Since the log was opened, by kind; kinds that never were are left out.
    pub by_kind: BTreeMap<&'static str, u64>,
}

/// How alerts are delivered, as `health` sees it. The counts are since the collector
/// started; `None` where no collector delivers them, or nothing is known of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alerts {
    /// How that is judged.
    pub status: Status,
    /// Waiting to be delivered, now.
    pub queued: Option<u64>,
    /// Delivered.
    pub delivered: Option<u64>,
    /// Failed for good.
    pub failed: Option<u64>,
}

/// What the archive lacks, as `health` sees it; `None` where that is not known.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Archive {
    /// How that is judged.
    pub status: Status,
    /// Signed records that it lacks.
    pub lag_records: Option<u64>,
    /// About how many bytes they have.
    pub lag_bytes: Option<u64>,
    /// How long the oldest of them has waited.
    pub age_seconds: Option<u64>,
    /// Records that retention removed before the archive had them.
    pub removed_unshipped: Option<u64>,
    /// Signed records that it has.
    pub shipped_records: Option<u64>,
    /// How often shipping has failed since it last ended well.
    pub failures: Option<u64>,
}

/// The log's files.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Log {
    /// Bytes of all segments as stored.
    pub bytes: u64,
    /// Of the active one.
    pub active_bytes: u64,
    /// Sealed segments.
    pub segments: u64,
    /// How fast it grows as stored, by what was written since it was opened and
    /// how well its sealed segments compressed; `None` in the first minute.
    pub growth_bytes_per_day: Option<u64>,
}

/// `fdatasync`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sync {
    /// How many.
    pub count: u64,
    /// On average; `None` before the first.
    pub mean_seconds: Option<f64>,
    /// The longest.
    pub max_seconds: f64,
    /// How many failed.
    pub errors: u64,
}

/// A signed checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckpointInfo {
    /// When it was signed.
    pub at: Timestamp,
    /// How long ago.
    pub age_seconds: f64,
    /// How many records it covers.
    pub records: u64,
}

/// A backup.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Backup {
    /// When it was made.
    pub at: Timestamp,
    /// How long ago.
    pub age_seconds: f64,
    /// Durable records that the newest good one does not hold; `None` where that is not known.
    pub lag_records: Option<u64>,
    /// How many the catalogue knows.
    pub backups: Option<u64>,
}

/// The log's disk.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Disk {
    /// How that is judged.
    pub status: Status,
    /// Free bytes.
    pub available_bytes: u64,
    /// All bytes.
    pub total_bytes: u64,
}

/// How the log is in one sentence, for who reads no more.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// As `health` judges.
    pub status: Status,
    /// What is the matter, or that all is well.
    pub sentence: String,
    /// What to do about it.
    pub remedy: Option<String>,
    /// So many other findings there are.
    pub more: usize,
}

impl Sample {
    /// The worst finding as a sentence, and what to do about it.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let Some(worst) = self.findings.first() else {
            let checks = self.checks.len();
            let writer = match self.writer.state {
                "running" => "the writer runs",
                _ => "no writer runs, as it should be",
            };
            let sentence = format!("All is well: {writer}, and all {checks} checks pass.");
            return Verdict { status: self.status, sentence, remedy: None, more: 0 };
        };
        let about = worst.component.replace('_', " ");
        let about = about[..1].to_uppercase() + &about[1..];
        Verdict {
            status: self.status,
            sentence: format!("{about}: {}.", worst.message.trim_end_matches('.')),
            remedy: worst.hint.clone(),
            more: self.findings.len() - 1,
        }
    }
}
