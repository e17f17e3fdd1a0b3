//! One sample: plain data that serialises as documented.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::audit::state::security::SecurityKind;
use crate::audit::state::status::{Ring, StatusSnapshot, Word};
use crate::clock::Timestamp;
use crate::health::wording::{percent, since};
use crate::health::{Check, Health, Status};

/// The rate is over so many whole seconds.
const RATE_SECONDS: usize = 60;
/// A growth is not extrapolated from less.
const GROWTH_AFTER_SECONDS: u64 = 60;
const DAY_SECONDS: f64 = 86_400.0;
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

impl Finding {
    fn of(check: &Check) -> Self {
        Self {
            component: check.component,
            status: check.status,
            code: check.code(),
            message: check.message.clone(),
            hint: check.hint.clone().filter(|_| check.status != Status::Healthy),
        }
    }
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

    pub(super) fn of(health: &Health, newest_backup: Option<Timestamp>) -> Self {
        let report = &health.report;
        let now = report.timestamp;
        let page = health.snapshot.as_ref();
        let status = |component| report.check(component).map_or(Status::Unknown, |c| c.status);
        let checks: Vec<Finding> = report.checks.iter().map(Finding::of).collect();
        let bad = checks.iter().filter(|check| check.status != Status::Healthy);
        let mut findings: Vec<Finding> = bad.cloned().collect();
        // Stable: of equally bad ones the order of the checks stays.
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.status.rank()));
        Self {
            timestamp: now,
            status: report.status,
            audit_file: report.metadata.audit_file.clone(),
            writer: Writer::of(health),
            findings,
            checks,
            events: page.map(|page| Events::of(page, now)),
            write_buffer: page.map(|page| WriteBuffer::of(page, now, status("write_buffer"))),
            query_cache: page.map(Cache::of),
            rate_limiting: page.map(|page| RateLimiting::of(page, now, status("rate_limiting"))),
            security: page.map(|page| Security::of(page, now, status("security"))),
            alerts: report.check("alerts").map(Alerts::of),
            archive: report.check("archive").map(Archive::of),
            log: page.map(|page| Log::of(page, now)),
            sync: page.map(Sync::of),
            checkpoint: page.and_then(|page| CheckpointInfo::of(page, now)),
            backup: newest_backup.map(|at| {
                let metrics = report.check("backup").map(|check| &check.metrics);
                let number = |name| metrics?.get(name)?.as_u64();
                let (lag_records, backups) = (number("lag_records"), number("backups"));
                Backup { at, age_seconds: age(at, now), lag_records, backups }
            }),
            disk: page.and_then(|page| Disk::of(page, status("disk_space"))),
        }
    }
}

fn age(then: Timestamp, now: Timestamp) -> f64 {
    since(then, now).as_secs_f64()
}

impl Writer {
    fn of(health: &Health) -> Self {
        let (report, metadata) = (&health.report, &health.report.metadata);
        let check = report.check("worker_thread");
        let last_update = metadata.heartbeat_at;
        Self {
            state: metadata.state,
            message: check.map_or_else(String::new, |check| check.message.clone()),
            status: check.map_or(Status::Unknown, |check| check.status),
            is_current: report.uptime_seconds.is_some(),
            pid: metadata.pid,
            mode: metadata.mode,
            uptime_seconds: report.uptime_seconds,
            last_update,
            age_seconds: last_update.map(|at| age(at, report.timestamp)),
        }
    }
}

impl Events {
    fn of(page: &StatusSnapshot, now: Timestamp) -> Self {
        // The last slot is of the second that has not ended.
        let mut seconds = page.ring(Ring::Events, now, RATE_SECONDS);
        seconds.truncate(RATE_SECONDS);
        let refused_by: BTreeMap<_, _> =
            REFUSED.into_iter().map(|(reason, word)| (reason, page.get(word))).collect();
        Self {
            total: page.get(Word::Accepted),
            records: page.get(Word::NextSeq),
            per_second: seconds.iter().sum::<u64>() as f64 / RATE_SECONDS as f64,
            last_60_seconds: seconds,
            refused: refused_by.values().sum(),
            refused_by,
            duplicates: page.get(Word::Duplicates),
            ids: Ids {
                remembered: page.get(Word::Ids),
                capacity: page.get(Word::IdsCapacity),
                crowded_out: page.get(Word::IdsCrowdedOut),
                conflicts: page.get(Word::IdConflicts),
                unread_records: page.get(Word::IdsUnread),
            },
            last_event_at: page.time(Word::LastEventAt),
        }
    }
}

impl WriteBuffer {
    fn of(page: &StatusSnapshot, now: Timestamp, status: Status) -> Self {
        let (events, capacity_events) =
            (page.get(Word::BufferEvents), page.get(Word::CapacityEvents));
        let (bytes, capacity_bytes) = (page.get(Word::BufferBytes), page.get(Word::CapacityBytes));
        let fill = |part, whole| percent(part, whole).unwrap_or(0.0);
        Self {
            status,
            events,
            capacity_events,
            bytes,
            capacity_bytes,
            fill_percent: fill(events, capacity_events).max(fill(bytes, capacity_bytes)),
            oldest_waiting_seconds: page.time(Word::OldestWaitingAt).map(|at| age(at, now)),
        }
    }
}

impl Cache {
    fn of(page: &StatusSnapshot) -> Self {
        let (hits, misses) = (page.get(Word::CacheHits), page.get(Word::CacheMisses));
        Self {
            entries: page.get(Word::CacheEntries),
            capacity: page.get(Word::CacheCapacity),
            bytes: page.get(Word::CacheBytes),
            hits,
            misses,
            hit_rate_percent: percent(hits, hits + misses),
            evictions: page.get(Word::CacheEvictions),
        }
    }
}

impl RateLimiting {
    fn of(page: &StatusSnapshot, now: Timestamp, status: Status) -> Self {
        Self {
            status,
            blocked: page.get(Word::RateLimited),
            blocked_last_hour: page.recent(Ring::Blocked, now),
            active_sources: page.get(Word::ActiveSources),
            top_blocked: page.top_blocked().map(|top| TopBlocked {
                source: top.source,
                sender: top.sender,
                count: top.refused,
            }),
        }
    }
}

impl Security {
    fn of(page: &StatusSnapshot, now: Timestamp, status: Status) -> Self {
        let by_kind: BTreeMap<&'static str, u64> = SecurityKind::ALL
            .into_iter()
            .map(|kind| (kind.as_str(), page.security(kind)))
            .filter(|(_, count)| *count > 0)
            .collect();
        Self {
            status,
            total: by_kind.values().sum(),
            last_hour: page.recent(Ring::Validation, now) + page.recent(Ring::Security, now),
            by_kind,
        }
    }
}

impl Alerts {
    fn of(check: &Check) -> Self {
        let number = |name| check.metrics.get(name).and_then(serde_json::Value::as_u64);
        Self {
            status: check.status,
            queued: number("queued"),
            delivered: number("delivered"),
            failed: number("failed"),
        }
    }
}

impl Archive {
    fn of(check: &Check) -> Self {
        let number = |name| check.metrics.get(name).and_then(serde_json::Value::as_u64);
        Self {
            status: check.status,
            lag_records: number("lag_records"),
            lag_bytes: number("lag_bytes"),
            age_seconds: number("age_seconds"),
            removed_unshipped: number("removed_unshipped"),
            shipped_records: number("shipped_records"),
            failures: number("failures"),
        }
    }
}

impl Log {
    fn of(page: &StatusSnapshot, now: Timestamp) -> Self {
        let (bytes, active_bytes) = (page.get(Word::LogBytes), page.get(Word::ActiveBytes));
        Self {
            bytes,
            active_bytes,
            segments: page.get(Word::Segments),
            growth_bytes_per_day: growth(page, bytes.saturating_sub(active_bytes), now),
        }
    }
}

/// What was written, over the time in which it was: until the last sign of life.
fn growth(page: &StatusSnapshot, sealed_bytes: u64, now: Timestamp) -> Option<u64> {
    let end = page.time(Word::HeartbeatAt).unwrap_or(now);
    let seconds = since(page.time(Word::StartedAt)?, end).as_secs();
    if seconds < GROWTH_AFTER_SECONDS {
        return None;
    }
    let raw = page.get(Word::SealedRawBytes);
    let stored_part = if raw == 0 { 1.0 } else { sealed_bytes as f64 / raw as f64 };
    let written = page.get(Word::BytesWritten) as f64;
    Some((written / seconds as f64 * DAY_SECONDS * stored_part) as u64)
}

impl Sync {
    fn of(page: &StatusSnapshot) -> Self {
        let count = page.get(Word::Syncs);
        let seconds = |word| page.get(word) as f64 / 1e6;
        Self {
            count,
            mean_seconds: (count > 0).then(|| seconds(Word::SyncMicrosSum) / count as f64),
            max_seconds: seconds(Word::SyncMicrosMax),
            errors: page.get(Word::SyncErrors),
        }
    }
}

impl CheckpointInfo {
    fn of(page: &StatusSnapshot, now: Timestamp) -> Option<Self> {
        let at = page.time(Word::CheckpointAt)?;
        Some(Self { at, age_seconds: age(at, now), records: page.get(Word::CheckpointSize) })
    }
}

impl Disk {
    fn of(page: &StatusSnapshot, status: Status) -> Option<Self> {
        let total_bytes = page.get(Word::DiskTotal);
        let available_bytes = page.get(Word::DiskAvailable);
        (total_bytes > 0).then_some(Self { status, available_bytes, total_bytes })
    }
}
