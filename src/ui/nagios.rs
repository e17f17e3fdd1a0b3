//! The health report as a Nagios plugin says it: one line, and performance data
//! after the `|` (<https://nagios-plugins.org/doc/guidelines.html>).

use crate::audit::sanitize::escape_for_terminal;
use crate::health::{Check, Component, HealthReport, Limit, Metric, Perf, Status, Unit, Value};

/// What stands before the `|` has to be shorter than this: pagers and SMS cut it.
const LINE_CHARS: usize = 79;

/// `AUDIT OK - 8 checks healthy | 'write_buffer'=3;500;800;0;1000 …`, on one line.
#[must_use]
pub fn health_nagios(report: &HealthReport) -> String {
    let metrics = report.checks.iter().flat_map(|check| &check.metrics);
    let perf: Vec<String> = metrics.filter_map(perf_of).collect();
    let line = headline(report, LINE_CHARS - "AUDIT ".len());
    if perf.is_empty() {
        return format!("AUDIT {line}");
    }
    format!("AUDIT {line} | {}", perf.join(" "))
}

/// `AUDIT UNKNOWN - …`: what a plugin says that could not check at all.
#[must_use]
pub fn plugin_failure(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default().replace('|', "/");
    cut(&format!("AUDIT UNKNOWN - {}", escape_for_terminal(&line)), LINE_CHARS)
}

/// `CRITICAL - worker_thread: hung in fdatasync for 7 s`, with as many problems
/// as there is room for, the worst first; no line end, no `|`.
pub(super) fn headline(report: &HealthReport, room: usize) -> String {
    let mut text = format!("{} - ", word(report.status));
    let mut problems: Vec<&Check> =
        report.checks.iter().filter(|check| check.status != Status::Healthy).collect();
    // Of equals the writer's own: the others often only follow from it.
    problems.sort_by_key(|check| {
        (std::cmp::Reverse(check.status), check.component != Component::WorkerThread)
    });
    let Some((first, others)) = problems.split_first() else {
        text.push_str(&format!("{} checks healthy", report.summary.total_checks));
        return text;
    };
    text.push_str(&problem(first));
    let mut text = cut(&text, room);
    for (nth, other) in others.iter().enumerate() {
        let longer = format!("{text}, {}", problem(other));
        let left = others.len() - nth;
        let rest = format!(", +{} more", left - 1);
        let reserve = if left > 1 { rest.len() } else { 0 };
        if longer.chars().count() + reserve > room {
            let more = format!(", +{left} more");
            if text.chars().count() + more.len() <= room {
                text.push_str(&more);
            }
            break;
        }
        text = longer;
    }
    text
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Healthy => "OK",
        Status::Warning => "WARNING",
        Status::Critical => "CRITICAL",
        Status::Unknown => "UNKNOWN",
    }
}

fn problem(check: &Check) -> String {
    let headline = check.headline().replace('|', "/");
    format!("{}: {}", check.component.as_str(), escape_for_terminal(&headline))
}

fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let kept: String = text.chars().take(room - 3).collect();
    format!("{}...", kept.trim_end())
}

/// `'label'=value[UOM];warn;crit;min;max`, without what is empty at the end.
fn perf_of(metric: &Metric) -> Option<String> {
    let Perf { label, unit, warn, critical, max } = metric.perf.as_ref()?;
    let value = match &metric.value {
        Value::Count(count) => format!("{count}{}", uom(*unit)),
        Value::Number(number) => format!("{}{}", decimal(*number), uom(*unit)),
        Value::Missing | Value::Text(_) => return None,
    };
    let max = max.map(|max| max.to_string()).unwrap_or_default();
    let text = format!("'{label}'={value};{};{};0;{max}", range(*warn), range(*critical));
    Some(text.trim_end_matches(';').to_owned())
}

fn uom(unit: Unit) -> &'static str {
    match unit {
        Unit::None => "",
        Unit::Bytes => "B",
        Unit::Seconds => "s",
        Unit::Percent => "%",
        Unit::Counter => "c",
    }
}

/// An alarm range: `10` is outside 0 to 10, `10:` is below 10.
fn range(limit: Option<Limit>) -> String {
    match limit {
        None => String::new(),
        Some(Limit::Above(value)) => decimal(value),
        Some(Limit::Below(value)) => format!("{}:", decimal(value)),
    }
}

/// At most three decimals, none for whole numbers, never an exponent.
fn decimal(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
