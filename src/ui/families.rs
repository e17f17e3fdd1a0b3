//! Health report and status page as metric families: which metrics there are,
//! what they are called and where they come from.
//!
//! Names carry their unit; labels come from fixed lists only, never from events.

use crate::audit::security::SecurityKind;
use crate::audit::status::{SYNC_BUCKETS_MICROS, StatusSnapshot, Word};
use crate::clock::Timestamp;
use crate::health::{Component, HealthReport, Status};

/// One metric family; its full name has `auditctl_` before, and for counters
/// `_total` behind.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) samples: Samples,
}

/// A family's samples, each with its label if it has one.
#[derive(Debug)]
pub(super) enum Samples {
    Counter(Vec<(Option<Label>, u64)>),
    Gauge(Vec<(Option<Label>, f64)>),
    Histogram {
        sum: f64,
        count: u64,
        /// Upper bound (the last: `f64::MAX`) and count, not cumulative.
        buckets: Vec<(f64, u64)>,
    },
}

pub(super) type Label = (&'static str, &'static str);

/// All families; without a page only what the report alone says.
pub(super) fn families(report: &HealthReport, page: Option<&StatusSnapshot>) -> Vec<Family> {
    let mut all = of_report(report);
    if let Some(page) = page {
        all.extend(totals(page));
        all.extend(gauges(page, report.timestamp));
        all.push(sync_duration(page));
    }
    all
}

fn of_report(report: &HealthReport) -> Vec<Family> {
    let mut statuses = vec![(Some(("component", "overall")), code(report.status))];
    for check in &report.checks {
        statuses
            .push((Some(("component", Component::as_str(check.component))), code(check.status)));
    }
    let running = f64::from(u8::from(report.uptime_seconds.is_some()));
    vec![
        Family {
            name: "build_info",
            help: "Version of the auditctl that answers",
            samples: Samples::Gauge(vec![(Some(("version", report.metadata.version)), 1.0)]),
        },
        Family {
            name: "health_status",
            help: "Result of each health check: 0 healthy, 1 warning, 2 critical, 3 unknown",
            samples: Samples::Gauge(statuses),
        },
        gauge(
            "health_timestamp_seconds",
            "When health was looked at, since 1970",
            seconds(report.timestamp),
        ),
        gauge("writer_running", "Whether a process has the log open for writing", running),
    ]
}

fn totals(page: &StatusSnapshot) -> Vec<Family> {
    let one = |name, help, word| Family {
        name,
        help,
        samples: Samples::Counter(vec![(None, page.get(word))]),
    };
    let refused = [
        ("invalid", Word::Invalid),
        ("rate_limited", Word::RateLimited),
        ("busy", Word::Busy),
        ("unavailable", Word::Unavailable),
    ];
    let refused =
        refused.iter().map(|(reason, word)| (Some(("reason", *reason)), page.get(*word))).collect();
    let security = SecurityKind::ALL
        .iter()
        .map(|kind| (Some(("kind", kind.as_str())), page.security(*kind)))
        .collect();
    vec![
        one("events", "Events accepted since the log was opened", Word::Accepted),
        one("events_durable", "Events made durable since the log was opened", Word::Durable),
        Family {
            name: "events_refused",
            help: "Events refused since the log was opened, by reason",
            samples: Samples::Counter(refused),
        },
        Family {
            name: "security_events",
            help: "Security events since the log was opened, by kind",
            samples: Samples::Counter(security),
        },
        one("flushes", "Batches written since the log was opened", Word::Flushes),
        one("write_errors", "Failed writes", Word::WriteErrors),
        one("sync_errors", "Failed syncs", Word::SyncErrors),
        one("maintenance_errors", "Failures of the background work", Word::MaintenanceErrors),
        one("lost_records", "Acknowledged records lost", Word::LostRecords),
        one(
            "log_file_incidents",
            "Times the log file was found deleted, replaced or truncated",
            Word::LogFileIncidents,
        ),
        one("query_cache_hits", "Blocks that queries found in the cache", Word::CacheHits),
        one("query_cache_misses", "Blocks that queries had to read", Word::CacheMisses),
        one("query_cache_evictions", "Blocks that made room for others", Word::CacheEvictions),
        one(
            "collector_connections_refused",
            "Connections that the collector refused",
            Word::ConnectionsRefused,
        ),
    ]
}

fn gauges(page: &StatusSnapshot, now: Timestamp) -> Vec<Family> {
    let of = |name, help, word| gauge(name, help, page.get(word) as f64);
    // A time that is not known has no sample rather than 1970.
    let at = |name, help, word| Family {
        name,
        help,
        samples: Samples::Gauge(
            page.time(word).map(|at| (None, seconds(at))).into_iter().collect(),
        ),
    };
    let waiting = page.time(Word::OldestWaitingAt).map_or(0.0, |at| seconds(now) - seconds(at));
    vec![
        of("write_buffer_events", "Events accepted and not yet durable", Word::BufferEvents),
        of("write_buffer_bytes", "Bytes accepted and not yet durable", Word::BufferBytes),
        of(
            "write_buffer_capacity_events",
            "Events that may be accepted and not yet durable",
            Word::CapacityEvents,
        ),
        of(
            "write_buffer_capacity_bytes",
            "Bytes that may be accepted and not yet durable",
            Word::CapacityBytes,
        ),
        gauge(
            "write_buffer_oldest_wait_seconds",
            "How long the oldest event in the write buffer has waited",
            waiting.max(0.0),
        ),
        of("records", "Records in the log, those removed by retention included", Word::NextSeq),
        of("checkpoint_records", "Records that the newest checkpoint covers", Word::CheckpointSize),
        at(
            "checkpoint_timestamp_seconds",
            "When the newest checkpoint was signed, since 1970",
            Word::CheckpointAt,
        ),
        at(
            "last_event_timestamp_seconds",
            "When the last event was accepted, since 1970",
            Word::LastEventAt,
        ),
        at("start_timestamp_seconds", "When the log was opened, since 1970", Word::StartedAt),
        at(
            "heartbeat_timestamp_seconds",
            "The writer's last sign of life, since 1970",
            Word::HeartbeatAt,
        ),
        of("log_size_bytes", "Size of all segments as stored", Word::LogBytes),
        of("active_segment_size_bytes", "Size of the active segment", Word::ActiveBytes),
        of("sealed_segments", "Sealed segments", Word::Segments),
        of(
            "compression_backlog_segments",
            "Sealed segments that wait to be compressed",
            Word::CompressBacklog,
        ),
        of("disk_free_bytes", "Free space at the writer's last look", Word::DiskAvailable),
        of("disk_size_bytes", "Size of the log's file system", Word::DiskTotal),
        of("query_cache_blocks", "Blocks in the query cache", Word::CacheEntries),
        of("query_cache_capacity_blocks", "Room in the query cache", Word::CacheCapacity),
        of(
            "rate_limiter_active_sources",
            "Sources that sent events in the last minute",
            Word::ActiveSources,
        ),
        of("collector_connections", "Connections open at the collector", Word::Connections),
    ]
}

fn sync_duration(page: &StatusSnapshot) -> Family {
    let bounds = SYNC_BUCKETS_MICROS.iter().map(|micros| *micros as f64 / 1e6);
    let buckets: Vec<(f64, u64)> = bounds
        .chain([f64::MAX])
        .enumerate()
        .map(|(nth, bound)| (bound, page.nth(Word::SyncHistogram, nth)))
        .collect();
    Family {
        name: "sync_duration_seconds",
        help: "Time that fdatasync took",
        samples: Samples::Histogram {
            sum: page.get(Word::SyncMicrosSum) as f64 / 1e6,
            // Of the buckets, so that the two never differ in one exposition.
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
        },
    }
}

fn gauge(name: &'static str, help: &'static str, value: f64) -> Family {
    Family { name, help, samples: Samples::Gauge(vec![(None, value)]) }
}

fn seconds(at: Timestamp) -> f64 {
    at.micros() as f64 / 1e6
}

/// As Nagios's exit codes, which people know.
fn code(status: Status) -> f64 {
    match status {
        Status::Healthy => 0.0,
        Status::Warning => 1.0,
        Status::Critical => 2.0,
        Status::Unknown => 3.0,
    }
}
