//! Health as one line for Nagios and Icinga.
//!
//! Format: Nagios Plugin Development Guidelines, "Plugin Output for Nagios" and
//! "Performance data": text, `|`, then `'label'=value[UOM];warn;crit;min;max`.
//! Thresholds are ranges: `500` alerts above 500, `500:` below.

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
            format!("{}: {}", check.component, check.message)
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

/// One label with its bounds; an empty bound is one that there is not.
struct Datum {
    label: &'static str,
    component: &'static str,
    metric: &'static str,
    unit: &'static str,
    warn: String,
    critical: String,
    max: String,
}

fn perfdata(report: &HealthReport, settings: &Settings) -> Vec<String> {
    let mut data: Vec<String> = data(report, settings)
        .iter()
        .filter_map(|datum| {
            let value = report.check(datum.component)?.number(datum.metric)?;
            Some(format!(
                "'{}'={value}{};{};{};0;{}",
                datum.label, datum.unit, datum.warn, datum.critical, datum.max
            ))
        })
        .collect();
    if let Some(seconds) = report.uptime_seconds {
        data.push(format!("'uptime'={seconds}s;;;0;"));
    }
    data
}

fn data(report: &HealthReport, settings: &Settings) -> Vec<Datum> {
    let limits = &settings.health;
    let datum = |label, component, metric, unit, warn: String, critical: String| Datum {
        label,
        component,
        metric,
        unit,
        warn,
        critical,
        max: String::new(),
    };
    let none = String::new;
    let metric = |component, metric| {
        report
            .check(component)
            .and_then(|check| check.number(metric))
            .map_or_else(String::new, |value| value.to_string())
    };
    let below = |metric_name| match metric("disk_space", metric_name) {
        text if text.is_empty() => text,
        text => format!("{text}:"),
    };
    let warn_critical = |warn: u64, critical: u64| (warn.to_string(), critical.to_string());
    let (buffer_warn, buffer_critical) =
        warn_critical(limits.write_buffer_warn, limits.write_buffer_critical);
    let (log_warn, log_critical) =
        warn_critical(limits.log_bytes_warn.0, limits.log_bytes_critical.0);
    let (blocked_warn, blocked_critical) =
        warn_critical(limits.blocked_warn, limits.blocked_critical);
    let (invalid_warn, invalid_critical) =
        warn_critical(limits.validation_errors_warn, limits.validation_errors_critical);
    let (security_warn, security_critical) =
        warn_critical(limits.security_warn, limits.security_critical);
    vec![
        Datum {
            max: metric("write_buffer", "capacity_events"),
            ..datum("write_buffer", "write_buffer", "events", "", buffer_warn, buffer_critical)
        },
        datum("events", "worker_thread", "accepted", "c", none(), none()),
        datum("durable_events", "worker_thread", "durable", "c", none(), none()),
        datum("heartbeat_age", "worker_thread", "heartbeat_age_seconds", "s", none(),
            limits.hung_after.as_secs_f64().to_string()),
        datum("sync_mean", "worker_thread", "sync_mean_ms", "ms", none(), none()),
        datum("log_size", "log_file", "bytes", "B", log_warn, log_critical),
        datum("blocked_last_hour", "rate_limiting", "blocked_last_hour", "", blocked_warn,
            blocked_critical),
        datum("invalid_last_hour", "security", "validation_errors_last_hour", "", invalid_warn,
            invalid_critical),
        datum("security_last_hour", "security", "security_events_last_hour", "", security_warn,
            security_critical),
        Datum {
            max: "100".to_owned(),
            ..datum("cache_hit_rate", "query_cache", "hit_rate_percent", "%", none(), none())
        },
        Datum {
            max: metric("disk_space", "total_bytes"),
            ..datum("disk_available", "disk_space", "available_bytes", "B",
                below("warn_below_bytes"), below("critical_below_bytes"))
        },
        datum("checkpoint_age", "integrity", "checkpoint_age_seconds", "s", none(),
            limits.checkpoint_age_critical.as_secs_f64().to_string()),
    ]
}
