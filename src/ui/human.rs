//! The health report for people.

use anstyle::{AnsiColor, Style};

use crate::audit::sanitize::escape_for_terminal;
use crate::clock::display_seconds;
use crate::health::{Check, HealthReport, Status};

/// A line for each check, with what to do below it.
#[must_use]
pub fn health_human(report: &HealthReport, color: bool) -> String {
    let file = report.metadata.audit_file.to_string_lossy();
    let mut text = format!(
        "{}  {}  {}\n\n",
        painted(report.status, report.status.as_str(), color),
        escape_for_terminal(&file),
        display_seconds(report.timestamp),
    );
    for check in &report.checks {
        text.push_str(&line(check, color));
    }
    let summary = &report.summary;
    let counts = [
        (summary.healthy, "healthy"),
        (summary.warning, "warning"),
        (summary.critical, "critical"),
        (summary.unknown, "unknown"),
    ];
    let counts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    text.push_str(&format!("\n{} checks: {}\n", summary.total_checks, counts.join(", ")));
    text
}

/// The report on one line, with its time: for watching.
#[must_use]
pub fn health_human_line(report: &HealthReport, color: bool) -> String {
    const ROOM: usize = 100;
    let line = super::nagios::headline(report, ROOM);
    let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
    let word = painted(report.status, word, color);
    format!("{}  {word} {rest}", display_seconds(report.timestamp))
}

fn line(check: &Check, color: bool) -> String {
    let name = check.component.as_str();
    let status = format!("{:<8}", check.status.as_str());
    let status = painted(check.status, &status, color);
    let mut text = format!("  {status}  {name:<13}  {}\n", escape_for_terminal(&check.message));
    if let Some(hint) = &check.hint {
        text.push_str(&format!("{:27}hint: {}\n", "", escape_for_terminal(hint)));
    }
    text
}

fn painted(status: Status, text: &str, color: bool) -> String {
    if !color {
        return text.to_owned();
    }
    let style = match status {
        Status::Healthy => AnsiColor::Green.on_default(),
        Status::Warning => AnsiColor::Yellow.on_default().bold(),
        Status::Critical => AnsiColor::Red.on_default().bold(),
        Status::Unknown => Style::new().bold(),
    };
    format!("{style}{text}{style:#}")
}
