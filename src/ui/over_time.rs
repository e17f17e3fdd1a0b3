//! What `query` shows of many records over time: a histogram, and groups with a line each.

use serde_json::json;

use super::cells::{columns, solid, sparkline, thousands};
use super::query::{Table, cut, name_that_fits};
use super::style::{Style, paint};
use crate::audit::read::query::{Counted, Group, Histogram, Summary, csv};
use crate::clock::{Timestamp, display_seconds};
use crate::units::count;

/// A bar is so many columns long at most, and so many without a terminal.
const BAR: usize = 100;
const BAR_PRINTED: usize = 40;

/// A histogram with bars: its times are in UTC, which it says.
#[must_use]
pub fn histogram_text(summary: &Summary, table: &Table) -> String {
    let histogram = &summary.histogram;
    let times: Vec<String> = histogram.starts().map(|at| label(at, histogram)).collect();
    let counts: Vec<String> = histogram.counts.iter().copied().map(thousands).collect();
    let title = format!("UTC, {} each", histogram.step.as_str());
    let widest = |texts: &[String], title: &str| {
        texts.iter().map(|text| columns(text)).fold(columns(title), usize::max)
    };
    let (time, digits) = (widest(&times, &title), widest(&counts, "RECORDS"));
    let room = table.width.map_or(BAR_PRINTED, |columns| {
        usize::from(columns).saturating_sub(time + digits + 4).min(BAR)
    });
    let most = histogram.counts.iter().copied().max().unwrap_or(0);
    let mut lines = Vec::new();
    if !times.is_empty() {
        lines.push(format!("{title:<time$}  {:>digits$}", "RECORDS"));
    }
    for ((at, shown), records) in times.iter().zip(&counts).zip(&histogram.counts) {
        let bar = paint(&solid(*records, most, room, table.ascii), Style::Good, table.color);
        // Without colour nothing but the bar can be behind.
        let line = format!("{at:<time$}  {shown:>digits$}  {bar}");
        lines.push(if *records == 0 { line.trim_end().to_owned() } else { line });
    }
    lines.extend(beside(summary));
    let mut total = count_of(summary.records);
    if let Some((first, last)) = summary.span {
        total += &format!(", from {} to {}", display_seconds(first), display_seconds(last));
    }
    lines.push(total);
    let fit = |line: String| match table.width {
        // A bar is never too long; what is told in words may be.
        Some(width) if !line.contains('\u{1b}') => cut(&line, width.into(), table.ascii),
        _ => line,
    };
    lines.into_iter().map(|line| fit(line) + "\n").collect()
}

fn count_of(records: u64) -> String {
    format!("{} {}", thousands(records), if records == 1 { "record" } else { "records" })
}

/// Records that no bar has.
fn beside(summary: &Summary) -> Vec<String> {
    let histogram = &summary.histogram;
    let mut lines = Vec::new();
    if let (Some(start), 1..) = (histogram.start, histogram.earlier) {
        let first = summary.span.map_or_else(String::new, |span| display_seconds(span.0));
        let many = count_of(histogram.earlier);
        lines.push(format!(
            "earlier: {many}, long before {}, from {first}",
            label(start, histogram)
        ));
    }
    if let (Some(end), 1..) = (histogram.end(), histogram.later) {
        let last = summary.span.map_or_else(String::new, |span| display_seconds(span.1));
        let many = count_of(histogram.later);
        lines.push(format!("later: {many}, long after {}, up to {last}", label(end, histogram)));
    }
    if histogram.undated > 0 {
        lines.push(format!("without a valid time: {}", count_of(histogram.undated)));
    }
    lines
}

/// A bucket's time, as far as its step makes a difference.
fn label(at: Timestamp, histogram: &Histogram) -> String {
    let text = at.to_string();
    let part = match (histogram.step.seconds(), histogram.step.as_str()) {
        (Some(0..60), _) => "2026-02-04T21:09:40",
        (Some(60..86_400), _) => "2026-02-04T21:09",
        (Some(_), _) => "2026-02-04",
        (None, "1month" | "3months") => "2026-02",
        (None, _) => "2026",
    };
    text.get(..part.len()).unwrap_or(&text).replace('T', " ")
}

/// Buckets as rows: where one begins and ends, and how many records it has. What is earlier
/// or later than all of them has an end or a beginning only.
fn rows(summary: &Summary) -> Vec<(Option<Timestamp>, Option<Timestamp>, u64)> {
    let histogram = &summary.histogram;
    let mut rows = Vec::new();
    if histogram.earlier > 0 {
        rows.push((None, histogram.start, histogram.earlier));
    }
    let starts: Vec<Timestamp> = histogram.starts().chain(histogram.end()).collect();
    for (ends, records) in starts.windows(2).zip(&histogram.counts) {
        rows.push((Some(ends[0]), Some(ends[1]), *records));
    }
    if histogram.later > 0 {
        rows.push((histogram.end(), None, histogram.later));
    }
    if histogram.undated > 0 {
        rows.push((None, None, histogram.undated));
    }
    rows
}

/// A histogram as NDJSON.
#[must_use]
pub fn histogram_ndjson(summary: &Summary) -> String {
    let line = |(start, end, records): (Option<Timestamp>, Option<Timestamp>, u64)| {
        format!("{}\n", json!({ "start": start, "end": end, "records": records }))
    };
    rows(summary).into_iter().map(line).collect()
}

/// A histogram as CSV.
#[must_use]
pub fn histogram_csv(summary: &Summary) -> String {
    let text = |at: Option<Timestamp>| at.map_or_else(String::new, |at| at.to_string());
    let mut all = vec![["start", "end", "records"].map(str::to_owned).to_vec()];
    all.extend(
        rows(summary)
            .into_iter()
            .map(|(start, end, records)| vec![text(start), text(end), records.to_string()]),
    );
    csv::rows_of(&all)
}

/// Groups, each with a line over time and a bar.
#[must_use]
pub fn groups_over_time_text(summary: &Summary, counted: &Counted, table: &Table) -> String {
    let histogram = &summary.histogram;
    let names: Vec<String> =
        counted.values.iter().map(|value| name_that_fits(&value.group, table)).collect();
    let widest = names.iter().map(|name| columns(name)).max().unwrap_or(0);
    let most = counted.values.iter().map(|value| value.records).max().unwrap_or(0);
    let digits = most.to_string().len();
    let over_time = histogram.counts.len();
    let taken = widest + digits + 4;
    let left = table
        .width
        .map_or(BAR_PRINTED + over_time, |columns| usize::from(columns).saturating_sub(taken));
    let line = over_time.min(left);
    let room = left.saturating_sub(line + 2).min(BAR_PRINTED);
    let mut out = String::new();
    for (value, name) in counted.values.iter().zip(&names) {
        let pad = " ".repeat(widest - columns(name));
        let line = sparkline(&value.series, line, table.ascii);
        let bar = paint(&solid(value.records, most, room, table.ascii), Style::Good, table.color);
        out.push_str(format!("{name}{pad}  {:>digits$}  {line}  {bar}", value.records).trim_end());
        out.push('\n');
    }
    let listed = counted.values.len() as u64;
    if counted.distinct > listed {
        let more = count(counted.distinct - listed, "more group");
        out.push_str(&format!("{more}: {}\n", count(counted.other, "record")));
    }
    if let (Some(start), Some(end)) = (histogram.start, histogram.end()) {
        let text = format!(
            "over time: {} each, from {} to {} UTC",
            histogram.step.as_str(),
            label(start, histogram),
            label(end, histogram)
        );
        let text = table.width.map_or(text.clone(), |width| cut(&text, width.into(), table.ascii));
        out.push_str(&paint(&text, Style::Faint, table.color));
        out.push('\n');
    }
    out
}

/// The same as NDJSON.
#[must_use]
pub fn groups_over_time_ndjson(summary: &Summary, counted: &Counted) -> String {
    let histogram = &summary.histogram;
    let (start, step) = (json!(histogram.start), json!(histogram.step.as_str()));
    let line = |value: &crate::audit::read::query::Value| {
        let missing = if value.group == Group::Missing { "\"missing\":true," } else { "" };
        format!(
            "{{\"group\":{},{missing}\"records\":{},\"start\":{start},\"step\":{step},\"series\":{}}}\n",
            value.group.json(),
            value.records,
            json!(value.series)
        )
    };
    counted.values.iter().map(line).collect()
}
