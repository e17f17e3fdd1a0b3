//! Health as one line for Nagios and Icinga.
//!
//! Format: Nagios Plugin Development Guidelines, "Plugin Output for Nagios" and
//! "Performance data": text, `|`, then `'label'=value[UOM];warn;crit;min;max`.
//! Thresholds are ranges: `500` alerts above 500, `500:` below.

use crate::clock::display_seconds;
use crate::config::Settings;
use crate::health::{Check, HealthReport, Status};

/// Text before the `|` stays below this many characters.
const TEXT_LIMIT: usize = 80;

/// `AUDIT OK - 8 checks healthy | 'write_buffer'=0;500;800;0;1000 …`: one line,
/// without a line end. Perfdata of what is not known is left out.
#[must_use]
pub fn health_nagios(report: &HealthReport, settings: &Settings) -> String {
    let text = shortened(&plain(&summary(report)));
    let data = perfdata(report, settings);
    if data.is_empty() { text } else { format!("{text} | {}", data.join(" ")) }
}

/// `AUDIT UNKNOWN - config: …`: what a plugin says that could not check at all; one
/// line: the error's kind, which the guide has a row for, and the message's first line.
#[must_use]
pub fn plugin_failure(kind: &str, message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    shortened(&plain(&format!("AUDIT UNKNOWN - {kind}: {line}")))
}

/// The report as a line for people who watch: `2026-02-04T21:09:40Z  AUDIT OK - …`.
#[must_use]
pub fn health_line(report: &HealthReport) -> String {
    format!("{}  {}", display_seconds(report.timestamp), plain(&summary(report)))
}

fn summary(report: &HealthReport) -> String {
    let word = match report.status {
        Status::Healthy => "OK",
        Status::Warning => "WARNING",
        Status::Critical => "CRITICAL",
        Status::Unknown => "UNKNOWN",
    };
    let bad: Vec<&Check> =
        report.checks.iter().filter(|check| check.status == report.status).collect();
    // What the writer is says more than what follows from it.
    let first = bad.iter().find(|check| check.component == "worker_thread").or(bad.first());
    let text = match first {
        Some(check) if report.status != Status::Healthy => {
            // The code leads to the guide's row, which says what to do: it stands first,
            // so that it is never cut.
            format!("{}: {}", check.code().unwrap_or(check.component), check.message)
        }
        _ => format!("{} checks healthy", report.summary.healthy),
    };
    format!("AUDIT {word} - {text}")
}

/// On one line, and without what separates text from data.
fn plain(text: &str) -> String {
    let replaced = text.replace('|', "/").replace(char::is_whitespace, " ");
    super::style::escape(&replaced).into_owned()
}

fn shortened(text: &str) -> String {
    if text.chars().count() < TEXT_LIMIT {
        return text.to_owned();
    }
    let kept: String = text.chars().take(TEXT_LIMIT - 4).collect();
    format!("{}...", kept.trim_end())
}

/// From where on it alerts; empty where nothing does.
#[derive(Default)]
struct Bounds {
    warn: String,
    critical: String,
    max: String,
}

impl Bounds {
    fn above(warn: impl ToString, critical: impl ToString) -> Self {
        Self { warn: warn.to_string(), critical: critical.to_string(), max: String::new() }
    }

    fn critical(critical: f64) -> Self {
        Self { critical: critical.to_string(), ..Self::default() }
    }

    fn max(self, max: Option<f64>) -> Self {
        Self { max: max.map_or_else(String::new, |max| max.to_string()), ..self }
    }
}

fn perfdata(report: &HealthReport, settings: &Settings) -> Vec<String> {
    let limits = &settings.health;
    let number = |component, metric| report.check(component).and_then(|check| check.number(metric));
    let mut data = Vec::new();
    let mut add = |label: &str, unit: &str, value: Option<f64>, bounds: Bounds| {
        let Bounds { warn, critical, max } = bounds;
        // What is not known is left out: 0 would be a value.
        data.extend(
            value.map(|value| format!("'{label}'={value}{unit};{warn};{critical};0;{max}")),
        );
    };

    let buffer = Bounds::above(limits.write_buffer_warn, limits.write_buffer_critical)
        .max(number("write_buffer", "capacity_events"));
    add("write_buffer", "", number("write_buffer", "events"), buffer);
    let worker = |metric| number("worker_thread", metric);
    add("events", "c", worker("accepted"), Bounds::default());
    add("durable_events", "c", worker("durable"), Bounds::default());
    let hung = Bounds::critical(limits.hung_after.as_secs_f64());
    add("heartbeat_age", "s", worker("heartbeat_age_seconds"), hung);
    add("sync_mean", "ms", worker("sync_mean_ms"), Bounds::default());
    let log = Bounds::above(limits.log_bytes_warn.0, limits.log_bytes_critical.0);
    add("log_size", "B", number("log_file", "bytes"), log);
    let blocked = Bounds::above(limits.blocked_warn, limits.blocked_critical);
    add("blocked_last_hour", "", number("rate_limiting", "blocked_last_hour"), blocked);
    let invalid = Bounds::above(limits.validation_errors_warn, limits.validation_errors_critical);
    add("invalid_last_hour", "", number("security", "validation_errors_last_hour"), invalid);
    let security = Bounds::above(limits.security_warn, limits.security_critical);
    add("security_last_hour", "", number("security", "security_events_last_hour"), security);
    let hits = number("query_cache", "hit_rate_percent");
    add("cache_hit_rate", "%", hits, Bounds::default().max(Some(100.0)));
    let disk = |metric| number("disk_space", metric);
    let below = |metric| disk(metric).map_or_else(String::new, |bytes| format!("{bytes}:"));
    let free = Bounds::above(below("warn_below_bytes"), below("critical_below_bytes"));
    add("disk_available", "B", disk("available_bytes"), free.max(disk("total_bytes")));
    let below = |metric| disk(metric).map_or_else(String::new, |files| format!("{files}:"));
    let inodes = Bounds::above(below("warn_below_inodes"), below("critical_below_inodes"));
    add("disk_inodes", "", disk("available_inodes"), inodes.max(disk("total_inodes")));
    let checkpoint = Bounds::critical(limits.checkpoint_age_critical.as_secs_f64());
    add("checkpoint_age", "s", number("integrity", "checkpoint_age_seconds"), checkpoint);
    let backup = Bounds::above(
        limits.backup_age_warn.as_secs_f64(),
        limits.backup_age_critical.as_secs_f64(),
    );
    add("backup_age", "s", number("backup", "age_seconds"), backup);
    let archive = |metric| number("archive", metric);
    let bound = |metric| archive(metric).map_or_else(String::new, |seconds| seconds.to_string());
    let lag = Bounds::above(bound("warn_above_seconds"), bound("critical_above_seconds"));
    add("archive_lag", "s", archive("age_seconds"), lag);
    add("archive_lag_records", "", archive("lag_records"), Bounds::default());
    add("uptime", "s", report.uptime_seconds.map(|seconds| seconds as f64), Bounds::default());
    data
}
