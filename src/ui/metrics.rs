//! Prometheus: the same numbers for the textfile collector and for a scrape.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::audit::security::SecurityKind;
use crate::audit::status::{SYNC_BUCKETS_MICROS, StatusSnapshot, Word};
use crate::health::HealthReport;

/// The metrics as text: OpenMetrics 1.0, or Prometheus's text format 0.0.4.
#[must_use]
pub fn prometheus(
    report: &HealthReport,
    snapshot: Option<&StatusSnapshot>,
    openmetrics: bool,
) -> String {
    let mut registry = Registry::with_prefix("auditctl");
    let health = report
        .checks
        .iter()
        .map(|check| (check.component, i64::from(check.status.severity())))
        .collect();
    let up = report.uptime_seconds.is_some();
    registry.register_collector(Box::new(Metrics { snapshot: snapshot.cloned(), health, up }));
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = text::encode(&mut out, &registry);
    if openmetrics { out } else { to_text_format(&out) }
}

#[derive(Debug)]
struct Metrics {
    snapshot: Option<StatusSnapshot>,
    health: Vec<(&'static str, i64)>,
    up: bool,
}

type Encoded = Result<(), std::fmt::Error>;

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Encoded {
        let out = &mut encoder;
        labelled(
            out,
            ("build_info", "Which version this is", MetricType::Gauge),
            "version",
            &[(env!("CARGO_PKG_VERSION"), 1)],
        )?;
        gauge(out, "up", "Whether a writer runs", i64::from(self.up))?;
        labelled(
            out,
            ("health_status", "0 healthy, 1 unknown, 2 warning, 3 critical", MetricType::Gauge),
            "component",
            &self.health,
        )?;
        match &self.snapshot {
            Some(page) => from_page(out, page),
            None => Ok(()),
        }
    }
}

fn from_page(out: &mut DescriptorEncoder<'_>, page: &StatusSnapshot) -> Encoded {
    let get = |word| page.get(word);
    counter(out, "events", "Events accepted since the log was opened", get(Word::Accepted))?;
    counter(out, "events_durable", "Records made durable", get(Word::Durable))?;
    let refused = [
        ("invalid", get(Word::Invalid)),
        ("rate_limited", get(Word::RateLimited)),
        ("busy", get(Word::Busy)),
        ("unavailable", get(Word::Unavailable)),
    ];
    counters(out, ("events_refused", "Events refused, by why"), "reason", &refused)?;
    let security: Vec<_> =
        SecurityKind::ALL.iter().map(|kind| (kind.as_str(), page.security(*kind))).collect();
    counters(out, ("security_events", "Security events, by kind"), "kind", &security)?;
    for (name, help, word) in [
        ("write_errors", "Failed writes", Word::WriteErrors),
        ("sync_errors", "Failed syncs", Word::SyncErrors),
        ("flushes", "Batches flushed", Word::Flushes),
        ("lost_records", "Acknowledged records that were lost", Word::LostRecords),
        (
            "log_file_incidents",
            "Times the log file was deleted, replaced or cut",
            Word::LogFileIncidents,
        ),
        ("maintenance_errors", "Failures of background work", Word::MaintenanceErrors),
        ("query_cache_hits", "Queries answered from the cache", Word::CacheHits),
        ("query_cache_misses", "Queries not in the cache", Word::CacheMisses),
        ("query_cache_evictions", "Cache entries evicted", Word::CacheEvictions),
        ("connections_refused", "Connections refused by the collector", Word::ConnectionsRefused),
    ] {
        counter(out, name, help, get(word))?;
    }
    for (name, help, word) in [
        ("write_buffer_events", "Events accepted and not yet settled", Word::BufferEvents),
        ("write_buffer_capacity_events", "Room for such events", Word::CapacityEvents),
        ("write_buffer_bytes", "Bytes accepted and not yet settled", Word::BufferBytes),
        ("log_bytes", "Bytes of all segments as stored", Word::LogBytes),
        ("segments", "Sealed segments", Word::Segments),
        ("compress_backlog_segments", "Segments waiting to be compressed", Word::CompressBacklog),
        ("checkpoint_size_records", "Records under the newest checkpoint", Word::CheckpointSize),
        ("next_seq", "The seq of the next record", Word::NextSeq),
        ("durable_seq", "Records below this are durable", Word::DurableSeq),
        ("disk_available_bytes", "Free space", Word::DiskAvailable),
        ("disk_stage", "0 ok, 1 low, 2 critical, 3 full", Word::DiskStage),
        ("rate_limit_active_sources", "Sources seen in the last minute", Word::ActiveSources),
        ("connections", "Connections open at the collector", Word::Connections),
        ("query_cache_entries", "Entries in the query cache", Word::CacheEntries),
    ] {
        gauge(out, name, help, get(word).cast_signed())?;
    }
    for (name, help, word) in [
        ("start_time_seconds", "When the log was opened", Word::StartedAt),
        ("heartbeat_timestamp_seconds", "The writer's last sign of life", Word::HeartbeatAt),
        ("last_event_timestamp_seconds", "When the last event was accepted", Word::LastEventAt),
        (
            "checkpoint_timestamp_seconds",
            "When the newest checkpoint was signed",
            Word::CheckpointAt,
        ),
    ] {
        if let Some(at) = page.time(word) {
            let metric = ConstGauge::new(at.micros() as f64 / 1e6);
            metric.encode(out.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
    }
    histogram(out, page)
}

fn counter(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> Encoded {
    let metric = ConstCounter::new(value);
    metric.encode(out.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn gauge(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: i64) -> Encoded {
    let metric = ConstGauge::new(value);
    metric.encode(out.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn labelled(
    out: &mut DescriptorEncoder<'_>,
    (name, help, kind): (&str, &str, MetricType),
    label: &str,
    values: &[(&str, i64)],
) -> Encoded {
    let mut family = out.encode_descriptor(name, help, None, kind)?;
    for (value, number) in values {
        let labels = [(label, *value)];
        ConstGauge::new(*number).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn counters(
    out: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    label: &str,
    values: &[(&str, u64)],
) -> Encoded {
    let mut family = out.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (value, number) in values {
        let labels = [(label, *value)];
        ConstCounter::new(*number).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn histogram(out: &mut DescriptorEncoder<'_>, page: &StatusSnapshot) -> Encoded {
    let mut buckets: Vec<(f64, u64)> = SYNC_BUCKETS_MICROS
        .iter()
        .enumerate()
        .map(|(nth, micros)| (*micros as f64 / 1e6, page.nth(Word::SyncHistogram, nth)))
        .collect();
    buckets.push((f64::MAX, page.nth(Word::SyncHistogram, SYNC_BUCKETS_MICROS.len())));
    let count = buckets.iter().map(|(_, count)| count).sum();
    let sum = page.get(Word::SyncMicrosSum) as f64 / 1e6;
    let mut metric: MetricEncoder<'_> = out.encode_descriptor(
        "sync_duration_seconds",
        "Time in fdatasync",
        None,
        MetricType::Histogram,
    )?;
    metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
}

/// OpenMetrics names a counter's family without `_total`; text format 0.0.4
/// wants the sample's own name, and knows no end mark.
fn to_text_format(openmetrics: &str) -> String {
    let counters: Vec<&str> = openmetrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut out = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines().filter(|line| *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        let (mark, keyword, name) = (words.next(), words.next(), words.next());
        match (mark, keyword, name) {
            (Some("#"), Some(keyword), Some(name)) if counters.contains(&name) => {
                let rest = words.next().unwrap_or_default();
                out.push_str(&format!("# {keyword} {name}_total {rest}"));
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}
