//! Health and the status page as Prometheus metrics.
//!
//! The names are documented by their help texts. Counters count since the log
//! was opened; Prometheus knows what to make of their starting again.

use std::borrow::Cow;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::alerts::{AlertStatus, AlertsStatus};
use crate::audit::state::security::SecurityKind;
use crate::audit::state::status::{SYNC_BUCKETS_MICROS, StatusSnapshot, Word};
use crate::health::{HealthReport, Status};

/// The metrics of the tables, which are exported as soon as there is something to tell.
#[cfg(test)]
pub(super) fn named() -> impl Iterator<Item = &'static str> {
    let of_checks = OF_CHECKS.iter().map(|row| row.0);
    of_checks.chain(PLAIN.iter().map(|row| row.0)).chain(TIMES.iter().map(|row| row.0))
}

/// All metrics in the text format 0.0.4, or in OpenMetrics 1.0; ends in a line
/// end. Without a page there are only those that health knows by itself.
#[must_use]
pub fn prometheus(
    report: &HealthReport,
    page: Option<&StatusSnapshot>,
    alerts: Option<&AlertsStatus>,
    openmetrics: bool,
) -> String {
    let mut families = Families(of_report(report));
    if let Some(page) = page {
        families.0.extend(of_page(page));
    }
    if let Some(alerts) = alerts {
        families.0.extend(of_alerts(alerts));
    }
    let mut registry = Registry::with_prefix("auditctl");
    registry.register_collector(Box::new(families));
    let mut out = String::new();
    text::encode(&mut out, &registry).expect("writing to a string does not fail");
    if openmetrics { out } else { to_text_format(&out) }
}

/// One metric with all its label sets.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    samples: Vec<(Label, Sample)>,
}

/// At most one label: name, value.
type Label = Option<(&'static str, Cow<'static, str>)>;

#[derive(Debug)]
enum Sample {
    Count(u64),
    Value(f64),
    /// Sum, count, and (upper bound, how many) for each bucket.
    Histogram(f64, u64, Vec<(f64, u64)>),
    /// Its labels are what it says.
    Info,
}

#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in &self.0 {
            let mut metric =
                encoder.encode_descriptor(family.name, family.help, None, family.kind)?;
            for (label, sample) in &family.samples {
                match label {
                    Some((key, value)) if !matches!(sample, Sample::Info) => {
                        let label = (*key, value.as_ref());
                        encode_sample(&mut metric.encode_family(&[label])?, label, sample)?;
                    }
                    label => {
                        let label = label.as_ref().map(|(key, value)| (*key, value.as_ref()));
                        encode_sample(&mut metric, label.unwrap_or_default(), sample)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn encode_sample(
    metric: &mut MetricEncoder<'_>,
    label: (&str, &str),
    sample: &Sample,
) -> fmt::Result {
    match sample {
        Sample::Count(count) => metric.encode_counter::<NoLabelSet, u64, u64>(count, None),
        Sample::Value(value) => metric.encode_gauge(value),
        Sample::Histogram(sum, count, buckets) => {
            metric.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)
        }
        Sample::Info => metric.encode_info(&[label]),
    }
}

fn gauge(name: &'static str, help: &'static str, value: Option<f64>) -> Option<Family> {
    let samples = vec![(None, Sample::Value(value?))];
    Some(Family { name, help, kind: MetricType::Gauge, samples })
}

fn counter(name: &'static str, help: &'static str, count: u64) -> Family {
    Family { name, help, kind: MetricType::Counter, samples: vec![(None, Sample::Count(count))] }
}

fn labelled(
    name: &'static str,
    help: &'static str,
    key: &'static str,
    counts: Vec<(&'static str, u64)>,
) -> Family {
    let sample = |(value, count)| (Some((key, Cow::Borrowed(value))), Sample::Count(count));
    let samples = counts.into_iter().map(sample).collect();
    Family { name, help, kind: MetricType::Counter, samples }
}

/// What health knows, with or without a page.
fn of_report(report: &HealthReport) -> Vec<Family> {
    let alive = matches!(report.metadata.state, "running" | "disk_full" | "write_failing");
    let status = |check: &crate::health::Check| {
        (Some(("component", Cow::Borrowed(check.component))), Sample::Value(code(check.status)))
    };
    let mut families = vec![
        Family {
            name: "build",
            help: "The auditctl that looked.",
            kind: MetricType::Info,
            samples: vec![(
                Some(("version", Cow::Borrowed(report.metadata.version))),
                Sample::Info,
            )],
        },
        Family {
            name: "health_status",
            help: "Each check: 0 healthy, 1 warning, 2 critical, 3 unknown.",
            kind: MetricType::Gauge,
            samples: report.checks.iter().map(status).collect(),
        },
    ];
    families.extend(
        [
            gauge(
                "up",
                "Whether a writer runs and is responsive.",
                Some(f64::from(u8::from(alive))),
            ),
            gauge(
                "health_overall_status",
                "The worst check: 0 healthy, 1 warning, 2 critical, 3 unknown.",
                Some(code(report.status)),
            ),
            gauge(
                "uptime_seconds",
                "For how long the log has been open.",
                report.uptime_seconds.map(|seconds| seconds as f64),
            ),
        ]
        .into_iter()
        .flatten(),
    );
    families.extend(OF_CHECKS.iter().filter_map(|(name, help, component, metric)| {
        gauge(name, help, report.check(component)?.number(metric))
    }));
    families.extend(of_archive(report));
    families
}

/// What single checks measured: the metric, its help, the check, the name there.
const OF_CHECKS: &[(&str, &str, &str, &str)] = &[
    (
        "heartbeat_age_seconds",
        "Time since the writer thread's last sign of life.",
        "worker_thread",
        "heartbeat_age_seconds",
    ),
    ("log_bytes", "Size of all segments as stored.", "log_file", "bytes"),
    (
        "disk_available_bytes",
        "What the file system below the log has left.",
        "disk_space",
        "available_bytes",
    ),
    ("disk_size_bytes", "Size of the file system below the log.", "disk_space", "total_bytes"),
    (
        "disk_available_inodes",
        "How many more files the file system below the log can hold.",
        "disk_space",
        "available_inodes",
    ),
    (
        "disk_inodes",
        "How many files the file system below the log can hold at all.",
        "disk_space",
        "total_inodes",
    ),
    (
        "backup_last_success_timestamp_seconds",
        "When the newest good backup was made.",
        "backup",
        "last_success_timestamp_seconds",
    ),
    (
        "backup_last_success_bytes",
        "Size of the newest good backup as stored.",
        "backup",
        "last_success_bytes",
    ),
    (
        "backup_lag_records",
        "Durable records that the newest good backup does not hold.",
        "backup",
        "lag_records",
    ),
    (
        "backup_last_failure_timestamp_seconds",
        "When a backup failed, if none was made since.",
        "backup",
        "last_failure_timestamp_seconds",
    ),
    ("backups", "Backups in the backup directory.", "backup", "backups"),
    (
        "retention_without_backup",
        "1 when retention removes what is old even if no backup holds it.",
        "backup",
        "retention_without_backup",
    ),
    (
        "backup_last_drill_timestamp_seconds",
        "When a restore was last tried.",
        "backup",
        "last_drill_timestamp_seconds",
    ),
    ("backup_last_drill_success", "Whether that restore worked.", "backup", "last_drill_passed"),
    (
        "archive_lag_seconds",
        "How long the oldest signed record that the archive lacks has waited.",
        "archive",
        "age_seconds",
    ),
    ("archive_lag_records", "Signed records that the archive lacks.", "archive", "lag_records"),
    ("archive_lag_bytes", "About how many bytes they have.", "archive", "lag_bytes"),
    (
        "archive_last_success_timestamp_seconds",
        "When shipping to the archive last ended well.",
        "archive",
        "last_success_timestamp_seconds",
    ),
    (
        "archive_failures",
        "How often shipping has failed since it last ended well.",
        "archive",
        "failures",
    ),
];

/// What the process that ships has put into the archive.
fn of_archive(report: &HealthReport) -> Vec<Family> {
    let shipped = |metric| report.check("archive")?.metrics.get(metric)?.as_u64();
    let family = |name, help, metric| shipped(metric).map(|many| counter(name, help, many));
    [
        family("archive_objects", "Objects put into the archive.", "objects"),
        family("archive_bytes", "Their bytes.", "bytes"),
        family(
            "archive_removed_unshipped",
            "Records that retention removed before the archive had them for good.",
            "removed_unshipped",
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Each alert's delivery.
fn of_alerts(status: &AlertsStatus) -> Vec<Family> {
    let family = |name, help, kind, value: &dyn Fn(&AlertStatus) -> Option<Sample>| {
        let sample = |alert: &AlertStatus| {
            let label = Some(("alert", Cow::Owned(alert.name.clone())));
            value(alert).map(|sample| (label, sample))
        };
        Family { name, help, kind, samples: status.alerts.iter().filter_map(sample).collect() }
    };
    let count = |name, help, count: fn(&AlertStatus) -> u64| {
        family(name, help, MetricType::Counter, &|alert| Some(Sample::Count(count(alert))))
    };
    vec![
        family("alerts_queued", "Alerts that wait to be delivered.", MetricType::Gauge, &|alert| {
            Some(Sample::Value(alert.queued as f64))
        }),
        family(
            "alerts_oldest_timestamp_seconds",
            "When the alert that waits longest was due.",
            MetricType::Gauge,
            &|alert| alert.oldest.map(|at| Sample::Value(at.micros() as f64 / 1e6)),
        ),
        count("alerts_delivered", "Alerts delivered.", |alert| alert.delivered),
        count("alerts_failed", "Alerts whose delivery failed for good.", |alert| alert.failed),
        count("alerts_retried", "Deliveries that have to be tried again.", |alert| alert.retried),
        count("alerts_dropped", "Alerts lost because the queue was full.", |alert| alert.dropped),
        count("alerts_suppressed", "Alerts held back by a cooldown.", |alert| alert.suppressed),
        count("alerts_refused", "Connections that the guard refused.", |alert| alert.refused),
    ]
}

/// As Nagios numbers them.
fn code(status: Status) -> f64 {
    match status {
        Status::Healthy => 0.0,
        Status::Warning => 1.0,
        Status::Critical => 2.0,
        Status::Unknown => 3.0,
    }
}

fn of_page(page: &StatusSnapshot) -> Vec<Family> {
    let mut families = counters(page);
    families.extend(gauges(page).into_iter().flatten());
    families.push(sync_durations(page));
    families
}

fn counters(page: &StatusSnapshot) -> Vec<Family> {
    let word = |word| page.get(word);
    let kinds = SecurityKind::ALL.map(|kind| (kind.as_str(), page.security(kind)));
    vec![
        counter("events", "Events accepted.", word(Word::Accepted)),
        counter("events_durable", "Events made durable.", word(Word::Durable)),
        labelled(
            "events_refused",
            "Events refused, by reason.",
            "reason",
            vec![
                ("invalid", word(Word::Invalid)),
                ("rate_limited", word(Word::RateLimited)),
                ("busy", word(Word::Busy)),
                ("unavailable", word(Word::Unavailable)),
                ("conflict", word(Word::IdConflicts)),
            ],
        ),
        counter(
            "events_duplicate",
            "Events that had been recorded before, by their ids.",
            word(Word::Duplicates),
        ),
        counter(
            "ids_crowded_out",
            "Ids forgotten before dedupe_window was over, because there were more than dedupe_ids.",
            word(Word::IdsCrowdedOut),
        ),
        labelled("security_events", "Security events, by kind.", "kind", kinds.to_vec()),
        counter("flushes", "Batches written.", word(Word::Flushes)),
        labelled(
            "errors",
            "Failures of the writer and of its background work, by operation.",
            "operation",
            vec![
                ("write", word(Word::WriteErrors)),
                ("sync", word(Word::SyncErrors)),
                ("maintenance", word(Word::MaintenanceErrors)),
            ],
        ),
        counter("lost_records", "Acknowledged records that were lost.", word(Word::LostRecords)),
        counter(
            "log_file_incidents",
            "Times the log file was found deleted, replaced or truncated.",
            word(Word::LogFileIncidents),
        ),
        labelled(
            "query_cache_lookups",
            "Look-ups in the query cache, by result.",
            "result",
            vec![("hit", word(Word::CacheHits)), ("miss", word(Word::CacheMisses))],
        ),
        counter(
            "query_cache_evictions",
            "Entries that the query cache gave up for others.",
            word(Word::CacheEvictions),
        ),
        labelled(
            "http_requests_refused",
            "HTTP requests refused, by reason: throttled ones are unauthenticated, too.",
            "reason",
            vec![
                ("unauthenticated", word(Word::RequestsUnauthenticated)),
                ("forbidden", word(Word::RequestsForbidden)),
                ("rate_limited", word(Word::RequestsRateLimited)),
                ("throttled", word(Word::RequestsThrottled)),
                ("rejected", word(Word::RequestsRejected)),
            ],
        ),
        counter(
            "requests_without_room",
            "Requests, queries and lines refused because collector.max_memory was reached.",
            word(Word::RequestsWithoutRoom),
        ),
        counter(
            "tls_handshakes_failed",
            "TLS handshakes that failed.",
            word(Word::TlsHandshakesFailed),
        ),
        counter(
            "connections_refused",
            "Connections that the collector refused.",
            word(Word::ConnectionsRefused),
        ),
    ]
}

fn gauges(page: &StatusSnapshot) -> Vec<Option<Family>> {
    let plain =
        PLAIN.iter().map(|(name, help, word)| gauge(name, help, Some(page.get(*word) as f64)));
    // No sample before there is a time: 0 would be 1970.
    let time = TIMES.iter().map(|(name, help, word)| {
        gauge(name, help, page.time(*word).map(|at| at.micros() as f64 / 1e6))
    });
    plain.chain(time).collect()
}

/// Numbers of the page as they are.
const PLAIN: &[(&str, &str, Word)] = &[
    ("ids", "Ids of events that are remembered.", Word::Ids),
    ("ids_capacity", "Ids of events that are remembered at most.", Word::IdsCapacity),
    (
        "ids_unread_records",
        "Records that the start could not read, and whose ids are not remembered.",
        Word::IdsUnread,
    ),
    ("write_buffer_events", "Events accepted and not yet settled.", Word::BufferEvents),
    (
        "write_buffer_capacity_events",
        "Events that the write buffer holds at most.",
        Word::CapacityEvents,
    ),
    ("write_buffer_bytes", "Bytes of the events in the write buffer.", Word::BufferBytes),
    (
        "write_buffer_capacity_bytes",
        "Bytes that the write buffer holds at most.",
        Word::CapacityBytes,
    ),
    ("next_seq", "The seq that the next event gets.", Word::NextSeq),
    ("durable_seq", "Records below this seq are durable.", Word::DurableSeq),
    ("segments", "Sealed segments.", Word::Segments),
    ("compress_backlog_segments", "Segments waiting to be compressed.", Word::CompressBacklog),
    ("active_sources", "Sources seen in the last minute.", Word::ActiveSources),
    ("query_cache_entries", "Entries of the query cache.", Word::CacheEntries),
    ("connections", "Connections open at the collector.", Word::Connections),
    ("checkpoint_size_records", "Records under the newest checkpoint.", Word::CheckpointSize),
];

/// Times of the page, in seconds since 1970.
const TIMES: &[(&str, &str, Word)] = &[
    ("checkpoint_timestamp_seconds", "When the newest checkpoint was signed.", Word::CheckpointAt),
    ("last_event_timestamp_seconds", "When the last event was accepted.", Word::LastEventAt),
    (
        "tls_certificate_expiry_timestamp_seconds",
        "When the certificate in use for HTTPS expires.",
        Word::TlsNotAfter,
    ),
    ("start_timestamp_seconds", "When the log was opened.", Word::StartedAt),
];

fn sync_durations(page: &StatusSnapshot) -> Family {
    let seconds = |micros: u64| micros as f64 / 1e6;
    let bounds = SYNC_BUCKETS_MICROS.iter().map(|bound| seconds(*bound)).chain([f64::MAX]);
    let buckets: Vec<(f64, u64)> = bounds
        .enumerate()
        .map(|(nth, bound)| (bound, page.nth(Word::SyncHistogram, nth)))
        .collect();
    // Not the page's own count, which may be one ahead: the last bucket has to
    // agree with it.
    let count = buckets.iter().map(|(_, count)| count).sum();
    let sum = seconds(page.get(Word::SyncMicrosSum));
    Family {
        name: "sync_duration_seconds",
        help: "Time that fdatasync took.",
        kind: MetricType::Histogram,
        samples: vec![(None, Sample::Histogram(sum, count, buckets))],
    }
}

/// OpenMetrics names a family without its samples' suffix and knows infos and an
/// end mark; the older text format knows sample names only.
fn to_text_format(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len() + 256);
    let mut lines = openmetrics.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ")
            && let Some((name, text)) = help.split_once(' ')
            && let Some(kind) = lines.peek().and_then(|next| next.rsplit(' ').next())
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                other => ("", other),
            };
            out.push_str(&format!("# HELP {name}{suffix} {text}\n# TYPE {name}{suffix} {kind}\n"));
            lines.next();
        } else if line != "# EOF" {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}
