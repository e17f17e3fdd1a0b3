//! Health for people, for programs, and for Nagios.

use std::fmt::Write;

use crate::audit::sanitize::escape_for_terminal;
use crate::config::Settings;
use crate::health::{Check, HealthReport, Status};

/// Nagios shows one line; keep it short enough for a pager.
const NAGIOS_LINE: usize = 79;

/// For people: a line a check, with what to do where something is wrong.
/// Readable without colour.
#[must_use]
pub fn health_human(report: &HealthReport, color: bool) -> String {
    let mut out = String::new();
    let headline = match report.uptime_seconds {
        Some(seconds) => format!("up {}", duration(seconds)),
        None => "no writer".to_owned(),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{} ({headline})", paint(report.status, &title(report.status), color));
    for check in &report.checks {
        let mark = paint(check.status, &format!("{:<8}", check.status.as_str()), color);
        let message = escape_for_terminal(&check.message);
        let _ = writeln!(out, "  {mark} {:<14} {message}", check.component);
        if let Some(hint) = &check.hint {
            let _ = writeln!(out, "           {:<14} -> {}", "", escape_for_terminal(hint));
        }
    }
    out
}

fn title(status: Status) -> String {
    status.as_str().to_uppercase()
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

fn paint(status: Status, text: &str, color: bool) -> String {
    use anstyle::{AnsiColor, Style};
    if !color {
        return text.to_owned();
    }
    let shade = match status {
        Status::Healthy => AnsiColor::Green,
        Status::Warning => AnsiColor::Yellow,
        Status::Critical => AnsiColor::Red,
        Status::Unknown => AnsiColor::Magenta,
    };
    let style = Style::new().fg_color(Some(shade.into())).bold();
    format!("{style}{text}{style:#}")
}

/// One JSON document.
#[must_use]
pub fn health_json(report: &HealthReport) -> String {
    serde_json::to_string_pretty(report).unwrap_or_else(|error| {
        // Strings and numbers always serialize; should that change, say so in JSON.
        format!("{{\"error\":{{\"kind\":\"internal\",\"message\":\"{error}\"}}}}")
    })
}

/// One line after the Nagios plugin guidelines: state, what is wrong, and
/// performance data with the thresholds.
#[must_use]
pub fn health_nagios(report: &HealthReport, settings: &Settings) -> String {
    let state = match report.status {
        Status::Healthy => "OK",
        Status::Warning => "WARNING",
        Status::Critical => "CRITICAL",
        Status::Unknown => "UNKNOWN",
    };
    let mut bad: Vec<&Check> =
        report.checks.iter().filter(|check| check.status != Status::Healthy).collect();
    // The worst first; among equals the writer's own state says most.
    bad.sort_by_key(|check| {
        (std::cmp::Reverse(check.status.severity()), check.component != "worker_thread")
    });
    let what = match bad.as_slice() {
        [] => format!("{} checks healthy", report.checks.len()),
        [one] => format!("{}: {}", one.component, one.message),
        [worst, rest @ ..] => {
            format!("{}: {} (+{} more)", worst.component, worst.message, rest.len())
        }
    };
    let line = shorten(&format!("AUDIT {state} - {}", plain(&what)), NAGIOS_LINE);
    match perfdata(report, settings) {
        data if data.is_empty() => line,
        data => format!("{line} | {data}"),
    }
}

/// Nothing that would end the line or begin the performance data.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '|' => '/',
            c if c.is_ascii_graphic() || c == ' ' => c,
            _ => '?',
        })
        .collect()
}

fn shorten(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    // ASCII only, by `plain`.
    format!("{}...", &text[..limit - 3])
}

fn perfdata(report: &HealthReport, settings: &Settings) -> String {
    let limits = &settings.health;
    let value = |component: &str, metric: &str| {
        let check = report.checks.iter().find(|check| check.component == component)?;
        let number = check.metrics.get(metric).filter(|value| value.is_number())?;
        // Three decimals are a microsecond of a millisecond.
        Some(match number.as_u64() {
            Some(whole) => whole.to_string(),
            None => format!("{:.3}", number.as_f64().unwrap_or_default()),
        })
    };
    let pair = |warn: u64, critical: u64| format!("{warn};{critical};0;");
    let rows = [
        (
            "write_buffer",
            value("write_buffer", "events"),
            "",
            pair(limits.write_buffer_warn, limits.write_buffer_critical),
        ),
        (
            "log_bytes",
            value("log_file", "bytes"),
            "B",
            pair(limits.log_bytes_warn.0, limits.log_bytes_critical.0),
        ),
        (
            "blocked_1h",
            value("rate_limiting", "blocked_last_hour"),
            "",
            pair(limits.blocked_warn, limits.blocked_critical),
        ),
        (
            "validation_errors_1h",
            value("security", "validation_errors_last_hour"),
            "",
            pair(limits.validation_errors_warn, limits.validation_errors_critical),
        ),
        (
            "security_events_1h",
            value("security", "other_events_last_hour"),
            "",
            pair(limits.security_warn, limits.security_critical),
        ),
        ("disk_free", value("disk_space", "available_bytes"), "B", ";;0;".to_owned()),
        ("sync_mean", value("worker_thread", "sync_mean_ms"), "ms", ";;0;".to_owned()),
        ("unsigned_records", value("integrity", "unsigned_records"), "", ";;0;".to_owned()),
        ("lost_records", value("integrity", "lost_records"), "", "0;;0;".to_owned()),
    ];
    rows.into_iter()
        .filter_map(|(label, value, unit, limits)| {
            Some(format!("'{label}'={}{unit};{limits}", value?))
        })
        .collect::<Vec<_>>()
        .join(" ")
}
