//! How a sample is taken: from what `health` saw, and from the status page.

use std::collections::BTreeMap;

use super::{
    Alerts, Archive, Backup, Cache, CheckpointInfo, Disk, Events, Finding, Ids, Log, REFUSED,
    RateLimiting, Sample, Security, Sync, TopBlocked, WriteBuffer, Writer,
};
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

impl Sample {
    pub(in crate::monitor) fn of(health: &Health, newest_backup: Option<Timestamp>) -> Self {
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
