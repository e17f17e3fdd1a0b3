//! Health for people, and as one JSON document.

use std::fmt::Write as _;

use crate::clock::display_seconds;
use crate::health::wording::count;
use crate::health::{Check, HealthReport, Status};

use super::style::{Style, escape, paint};

/// A table of the checks, worst things standing out, each with its code and with
/// what to do about it; ends in a line end.
#[must_use]
pub fn health_human(report: &HealthReport, colour: bool) -> String {
    let path = report.metadata.audit_file.display().to_string();
    let mut text = format!(
        "{} {}  {}\n\n",
        paint(&escape(&path), Style::Strong, colour),
        status_word(report.status, colour),
        paint(&header_details(report), Style::Faint, colour),
    );
    let mut hints = Vec::new();
    for check in &report.checks {
        // What several checks advise alike is said once.
        let hint = check.hint.as_deref().filter(|hint| !hints.contains(hint));
        hints.extend(hint);
        text.push_str(&check_lines(check, hint, colour));
    }
    text.push('\n');
    text.push_str(&summary(report));
    text
}

/// The report as pretty JSON, without a line end.
#[must_use]
pub fn health_json(report: &HealthReport) -> String {
    serde_json::to_string_pretty(report).expect("a report has text keys and finite numbers only")
}

/// The report as JSON on one line, for watching.
#[must_use]
pub fn health_json_line(report: &HealthReport) -> String {
    serde_json::to_string(report).expect("a report has text keys and finite numbers only")
}

fn header_details(report: &HealthReport) -> String {
    let mut parts = vec![display_seconds(report.timestamp)];
    if let (Some(pid), Some(seconds)) = (report.metadata.pid, report.uptime_seconds) {
        let mode = report.metadata.mode.map_or_else(String::new, |mode| format!(" ({mode})"));
        parts.push(format!("process {pid}{mode} up {}", uptime(seconds)));
    }
    if let Some(records) = report.metadata.next_seq {
        parts.push(count(records, "record"));
    }
    parts.join(", ")
}

fn check_lines(check: &Check, hint: Option<&str>, colour: bool) -> String {
    // Padded before it is coloured: escapes have no width.
    let word = paint(&format!("{:<8}", check.status.as_str()), status_style(check.status), colour);
    let code = check.code().map_or_else(String::new, |code| {
        format!(" {}", paint(&format!("[{code}]"), Style::Faint, colour))
    });
    let mut lines = format!("  {word}  {:<14} {}{code}\n", check.component, escape(&check.message));
    if let Some(hint) = hint
        && check.status != Status::Healthy
    {
        let hint = format!("{:27}-> {}", "", escape(hint));
        // Writing to a string does not fail.
        let _ = writeln!(lines, "{}", paint(&hint, Style::Faint, colour));
    }
    lines
}

fn summary(report: &HealthReport) -> String {
    let summary = &report.summary;
    let counts = [
        (summary.critical, "critical"),
        (summary.warning, "warning"),
        (summary.unknown, "unknown"),
        (summary.healthy, "healthy"),
    ];
    let counts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    format!("{} checks: {}\n", summary.total_checks, counts.join(", "))
}

fn status_word(status: Status, colour: bool) -> String {
    paint(&status.as_str().to_uppercase(), status_style(status), colour)
}

pub(super) fn status_style(status: Status) -> Style {
    match status {
        Status::Healthy => Style::Good,
        Status::Warning => Style::Warning,
        Status::Critical => Style::Bad,
        Status::Unknown => Style::Unknown,
    }
}

/// `3d 4h`, `2h 5m`, `5m 12s`, `12s`.
pub(super) fn uptime(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, _) => format!("{minutes}m {rest}s"),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_names_the_two_units_that_matter() {
        for (seconds, text) in
            [(12, "12s"), (312, "5m 12s"), (7_500, "2h 5m"), (273_600, "3d 4h"), (0, "0s")]
        {
            assert_eq!(uptime(seconds), text);
        }
    }
}
