//! What stands where, for a screen of any size. What does not fit goes, the
//! least important first: within a line from its end, and of the lines by rank.
//! Room that is left shows what else there is: hints, the checks that are well,
//! and the last minute as a graph.

use super::findings::{self, Told};
use super::pieces::{Piece, columns, cut, graph, rate, short_time, sparkline, thousands, wrapped};
use super::screen::{INDENT, Screen};
use crate::clock::display_seconds;
use crate::health::Status;
use crate::health::wording::{age, count};
use crate::monitor::{Alerts, Archive, Events, Sample, Writer};
use crate::ui::health::{status_style, uptime};
use crate::ui::style::{Style, escape};
use crate::units::human_bytes;
use std::time::Duration;

/// A sparkline shorter than this tells nothing.
const SHORTEST_SPARKLINE: usize = 10;

/// A line of the screen.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) pieces: Vec<Piece>,
    /// Of two lines for which there is not room, the one with the higher rank goes.
    rank: u8,
}

/// Numbers of this rank and above give way to what to do about the worst.
const SPARE: u8 = 10;
/// A graph lower than this tells no more than a sparkline.
const LOWEST_GRAPH: usize = 4;

/// The screen's lines, none wider and not more than there is room for.
pub(super) fn lines(sample: &Sample, screen: &Screen) -> Vec<Line> {
    let mut told = vec![writer(sample, screen)];
    told.extend(findings::findings(sample, screen));
    let mut numbers = Vec::new();
    if sample.events.is_some() {
        numbers.push(Line { pieces: Vec::new(), rank: 20 });
        numbers.extend(rows(sample, screen, true));
    }
    let most = screen.rows.unwrap_or(usize::MAX);
    let spare = numbers.iter().filter(|line| line.rank >= SPARE).count();
    findings::grow(&mut told, most.saturating_sub(1 + numbers.len()), spare);
    let mut lines = vec![title(sample, screen)];
    for told in told {
        let rank = told.rank;
        lines.extend(told.lines().into_iter().map(|pieces| Line { pieces, rank }));
    }
    if let Some(rows) = screen.rows {
        let left = rows.saturating_sub(lines.len() + numbers.len());
        fill(sample, screen, left, &mut numbers);
    }
    lines.extend(numbers);
    while lines.len() > most {
        let least = lines.iter().map(|line| line.rank).max().unwrap_or(0);
        let last = lines.iter().rposition(|line| line.rank == least).unwrap_or(0);
        lines.remove(last);
    }
    lines
}

/// Uses the rows that are left: for the checks that are well, then for a graph.
fn fill(sample: &Sample, screen: &Screen, mut left: usize, numbers: &mut Vec<Line>) {
    let line = |pieces| Line { pieces, rank: 21 };
    let healthy = findings::healthy(sample, screen);
    let mut checks = Vec::new();
    if !healthy.is_empty() && healthy.len() < left {
        left -= healthy.len() + 1;
        checks.push(line(Vec::new()));
        checks.extend(healthy.into_iter().map(line));
    }
    if let Some(events) = &sample.events
        && left >= LOWEST_GRAPH
        && !screen.narrow()
    {
        *numbers = vec![Line { pieces: Vec::new(), rank: 20 }];
        numbers.extend(rows(sample, screen, false));
        // Below the events and their totals.
        let graph = graph_lines(events, screen, left).into_iter().map(line);
        numbers.splice(3..3, graph);
    }
    numbers.extend(checks);
}

/// The last minute, the highest second's number beside its top.
fn graph_lines(events: &Events, screen: &Screen, height: usize) -> Vec<Vec<Piece>> {
    let seconds = &events.last_60_seconds;
    let room = screen.columns.saturating_sub(screen.label());
    let each = (room / seconds.len().max(1)).max(1);
    let most = seconds.iter().copied().max().unwrap_or(0);
    let lines = graph(seconds, each, height, screen.ascii).into_iter().enumerate();
    let lines = lines.map(|(at, line)| {
        let label = match at {
            0 => thousands(most),
            at if at + 1 == height => "0".to_owned(),
            _ => String::new(),
        };
        let width = screen.label() - 2;
        let label = cut(&label, width, screen.ascii);
        vec![
            Piece::styled(format!("{label:>width$}  "), Style::Faint),
            Piece::plain(cut(&line, room, screen.ascii)),
        ]
    });
    lines.collect()
}

fn title(sample: &Sample, screen: &Screen) -> Line {
    let word = sample.status.as_str().to_uppercase();
    let time = if screen.narrow() {
        String::new()
    } else {
        format!("  {}  ", display_seconds(sample.timestamp))
    };
    let room = screen.columns.saturating_sub(word.len() + columns(&time) + 1);
    let path = escape(&sample.audit_file.display().to_string()).into_owned();
    let path = cut_front(&path, room, screen.ascii);
    let gap = screen.columns.saturating_sub(columns(&path) + columns(&time) + word.len());
    let pieces = vec![
        Piece::styled(path, Style::Strong),
        Piece::plain(" ".repeat(gap)),
        Piece::styled(time, Style::Faint),
        Piece::styled(word, status_style(sample.status)),
    ];
    Line { pieces, rank: 0 }
}

/// A path's end says more than its beginning.
fn cut_front(text: &str, most: usize, ascii: bool) -> String {
    if columns(text) <= most {
        return text.to_owned();
    }
    let mark = if ascii { "..." } else { "…" };
    let mut kept = String::new();
    for character in text.chars().rev() {
        let next = format!("{character}{kept}");
        if columns(&next) + columns(mark) > most {
            break;
        }
        kept = next;
    }
    format!("{mark}{kept}")
}

fn writer(sample: &Sample, screen: &Screen) -> Told {
    let writer = &sample.writer;
    let finding = sample.findings.iter().find(|finding| finding.component == "worker_thread");
    let code = finding.and_then(|finding| finding.code);
    let code = code.map_or_else(String::new, |code| format!("{code}: "));
    let message = format!("{code}{}", escape(&writer.message));
    let style = status_style(writer.status);
    let details = writer_details(writer);
    let mut all = vec![Piece::styled(message.clone(), style)];
    all.extend(details.iter().cloned());
    let short = fitted(all, screen.columns, ", ", screen.ascii);
    let width: usize = columns(&message) + details.iter().map(|d| d.columns() + 2).sum::<usize>();
    let whole = if width <= screen.columns {
        vec![short.clone()]
    } else {
        let rest = screen.columns.saturating_sub(INDENT);
        let message = wrapped(&message, screen.columns, rest).into_iter().enumerate();
        let message = message.map(|(at, line)| {
            let indent = " ".repeat(if at == 0 { 0 } else { INDENT });
            vec![Piece::styled(format!("{indent}{line}"), style)]
        });
        message.chain([fitted(details, screen.columns, ", ", screen.ascii)]).collect()
    };
    let hint = finding.and_then(|finding| finding.hint.as_deref());
    Told::new(short, whole, 0).hint(hint, screen)
}

fn writer_details(writer: &Writer) -> Vec<Piece> {
    let mut pieces = Vec::new();
    if let (true, Some(seconds)) = (writer.is_current, writer.uptime_seconds) {
        pieces.push(Piece::plain(format!("up {}", uptime(seconds))));
    }
    let update = writer.age_seconds.map(|seconds| {
        let ago = age(Duration::from_secs_f64(seconds));
        if writer.is_current {
            format!("last update {ago} ago")
        } else {
            format!("last known values, from {ago} ago")
        }
    });
    pieces.extend(update.map(Piece::plain));
    if let (true, Some(mode)) = (writer.is_current, writer.mode) {
        pieces.push(Piece::styled(mode, Style::Faint));
    }
    pieces
}

/// The numbers; without the sparkline where a graph takes its place.
fn rows(sample: &Sample, screen: &Screen, spark: bool) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut row = |rank, label: &str, narrow: &str, pieces: Vec<Piece>| {
        let label = if screen.narrow() { narrow } else { label };
        let width = screen.label();
        let mut line =
            Line { pieces: vec![Piece::styled(format!("{label:<width$}"), Style::Faint)], rank };
        let room = screen.columns.saturating_sub(width);
        line.pieces.extend(fitted(pieces, room, "  ", screen.ascii));
        lines.push(line);
    };
    if let Some(events) = &sample.events {
        row(2, "events", "events", event_pieces(events, screen, spark));
        row(4, "", "", total_pieces(events, screen));
    }
    row(3, "buffer", "buffer", buffer_pieces(sample, screen));
    row(11, "cache", "cache", cache_pieces(sample, screen));
    row(7, "rate limit", "limit", limit_pieces(sample));
    row(8, "security", "secur.", security_pieces(sample));
    if let Some(alerts) = &sample.alerts {
        row(8, "alerts", "alerts", alert_pieces(alerts));
    }
    row(5, "log", "log", log_pieces(sample));
    row(6, "sync", "sync", sync_pieces(sample, screen));
    row(10, "checkpoint", "signed", checkpoint_pieces(sample));
    row(12, "backup", "backup", backup_pieces(sample));
    if let Some(archive) = &sample.archive {
        row(12, "archive", "archiv", archive_pieces(archive));
    }
    row(13, "disk", "disk", disk_pieces(sample));
    lines
}

/// The pieces with what separates them, as many as fit; the first is cut if need be.
fn fitted(pieces: Vec<Piece>, room: usize, separator: &str, ascii: bool) -> Vec<Piece> {
    let mut kept: Vec<Piece> = Vec::new();
    let mut used = 0;
    for mut piece in pieces.into_iter().filter(|piece| !piece.text.is_empty()) {
        if kept.is_empty() {
            piece.text = cut(&piece.text, room, ascii);
            used = piece.columns();
            kept.push(piece);
            continue;
        }
        let more = columns(separator) + piece.columns();
        if used + more > room {
            break;
        }
        used += more;
        kept.push(Piece::plain(separator));
        kept.push(piece);
    }
    kept
}

fn event_pieces(events: &Events, screen: &Screen, spark: bool) -> Vec<Piece> {
    let rate = Piece::plain(format!("{:<11}", rate(events.per_second)));
    let over = if screen.narrow() { "60 s" } else { "over the last 60 s" };
    let room = screen.columns.saturating_sub(screen.label());
    let taken = rate.columns() + columns(over) + 4;
    let columns = room.saturating_sub(taken).min(events.last_60_seconds.len());
    let mut pieces = vec![rate];
    if spark && columns >= SHORTEST_SPARKLINE {
        pieces.push(Piece::plain(sparkline(&events.last_60_seconds, columns, screen.ascii)));
    }
    pieces.push(Piece::styled(over, Style::Faint));
    pieces
}

fn total_pieces(events: &Events, screen: &Screen) -> Vec<Piece> {
    let total = match screen.narrow() {
        true => format!("{} total", thousands(events.total)),
        false => format!("{} since opened", thousands(events.total)),
    };
    let mut pieces = vec![Piece::plain(total)];
    if !screen.narrow() {
        pieces.push(Piece::plain(format!("{} records", thousands(events.records))));
    }
    let style = if events.refused > 0 { Some(Style::Warning) } else { None };
    let refused = format!("{} refused", thousands(events.refused));
    pieces.push(Piece { text: refused, style });
    if events.duplicates > 0 {
        pieces.push(Piece::plain(format!("{} sent again", thousands(events.duplicates))));
    }
    pieces
}

fn buffer_pieces(sample: &Sample, screen: &Screen) -> Vec<Piece> {
    let Some(buffer) = &sample.write_buffer else { return Vec::new() };
    let fill = format!("{} of {}", thousands(buffer.events), thousands(buffer.capacity_events));
    let mut pieces = vec![screen.bar(buffer.fill_percent), Piece::plain(fill)];
    pieces.push(Piece::styled(buffer.status.as_str(), status_style(buffer.status)));
    if let (Some(seconds), true) = (buffer.oldest_waiting_seconds, sample.writer.is_current) {
        pieces.push(Piece::plain(format!("oldest {}", short_time(seconds, screen.ascii))));
    }
    pieces
}

fn cache_pieces(sample: &Sample, screen: &Screen) -> Vec<Piece> {
    let Some(cache) = &sample.query_cache else { return Vec::new() };
    let fill = if cache.capacity == 0 {
        0.0
    } else {
        cache.entries as f64 * 100.0 / cache.capacity as f64
    };
    let hits = match cache.hit_rate_percent {
        Some(percent) => format!("{percent:.1}% hits"),
        None => "no queries yet".to_owned(),
    };
    vec![
        screen.bar(fill),
        Piece::plain(format!("{} of {}", thousands(cache.entries), thousands(cache.capacity))),
        Piece::plain(hits),
        Piece::plain(format!("{} evicted", thousands(cache.evictions))),
    ]
}

fn limit_pieces(sample: &Sample) -> Vec<Piece> {
    let Some(limit) = &sample.rate_limiting else { return Vec::new() };
    let style = match limit.status {
        Status::Healthy => None,
        status => Some(status_style(status)),
    };
    let blocked = format!("{} blocked in the last hour", thousands(limit.blocked_last_hour));
    let mut pieces = vec![
        Piece { text: blocked, style },
        Piece::plain(count(limit.active_sources, "active source")),
    ];
    if let Some(top) = &limit.top_blocked {
        let from = top.sender.as_ref().map(|sender| format!(" from {}", escape(sender)));
        let from = from.unwrap_or_default();
        let text = format!("most: {}{from} ({})", escape(&top.source), thousands(top.count));
        pieces.push(Piece::plain(text));
    }
    pieces
}

fn security_pieces(sample: &Sample) -> Vec<Piece> {
    let Some(security) = &sample.security else { return Vec::new() };
    let style = match security.status {
        Status::Healthy => None,
        status => Some(status_style(status)),
    };
    let text = format!("{} in the last hour", thousands(security.last_hour));
    let mut pieces = vec![Piece { text, style }];
    let mut kinds: Vec<(&&str, &u64)> = security.by_kind.iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    pieces.extend(
        kinds
            .into_iter()
            .map(|(kind, count)| Piece::plain(format!("{kind} {}", thousands(*count)))),
    );
    pieces
}

fn alert_pieces(alerts: &Alerts) -> Vec<Piece> {
    let style = |status| match status {
        Status::Healthy => None,
        status => Some(status_style(status)),
    };
    let (Some(queued), Some(delivered), Some(failed)) =
        (alerts.queued, alerts.delivered, alerts.failed)
    else {
        let text = match alerts.status {
            Status::Unknown => "not known",
            _ => "no collector is delivering them",
        };
        return vec![Piece { text: text.to_owned(), style: style(alerts.status) }];
    };
    let bad = (failed > 0).then_some(Style::Warning);
    vec![
        Piece { text: format!("{} queued", thousands(queued)), style: style(alerts.status) },
        Piece::plain(format!("{} delivered", thousands(delivered))),
        Piece { text: format!("{} failed", thousands(failed)), style: bad },
    ]
}

fn log_pieces(sample: &Sample) -> Vec<Piece> {
    let Some(log) = &sample.log else { return Vec::new() };
    let mut pieces = vec![
        Piece::plain(human_bytes(log.bytes)),
        Piece::plain(count(log.segments, "sealed segment")),
    ];
    if let Some(growth) = log.growth_bytes_per_day {
        pieces.push(Piece::plain(format!("grows {} a day", human_bytes(growth))));
    }
    pieces
}

fn sync_pieces(sample: &Sample, screen: &Screen) -> Vec<Piece> {
    let Some(sync) = &sample.sync else { return Vec::new() };
    let Some(mean) = sync.mean_seconds else { return vec![Piece::plain("none yet")] };
    let mut pieces = vec![
        Piece::plain(format!("mean {}", short_time(mean, screen.ascii))),
        Piece::plain(format!("max {}", short_time(sync.max_seconds, screen.ascii))),
    ];
    if sync.errors > 0 {
        pieces.push(Piece::styled(format!("{} failed", thousands(sync.errors)), Style::Bad));
    }
    pieces
}

fn ago(seconds: f64) -> String {
    format!("{} ago", age(Duration::from_secs_f64(seconds)))
}

fn checkpoint_pieces(sample: &Sample) -> Vec<Piece> {
    match &sample.checkpoint {
        None => vec![Piece::plain("none signed yet")],
        Some(checkpoint) => vec![
            Piece::plain(ago(checkpoint.age_seconds)),
            Piece::plain(format!("over {} records", thousands(checkpoint.records))),
        ],
    }
}

fn backup_pieces(sample: &Sample) -> Vec<Piece> {
    match &sample.backup {
        None => vec![Piece::plain("none")],
        Some(backup) => vec![
            Piece::plain(ago(backup.age_seconds)),
            Piece::styled(display_seconds(backup.at), Style::Faint),
        ],
    }
}

fn archive_pieces(archive: &Archive) -> Vec<Piece> {
    let style = match archive.status {
        Status::Healthy => None,
        status => Some(status_style(status)),
    };
    let mut pieces = match (archive.lag_records, archive.age_seconds) {
        (Some(0), _) => vec![Piece { text: "holds everything".to_owned(), style }],
        (Some(lag), Some(age)) => vec![
            Piece { text: format!("{} missing", thousands(lag)), style },
            Piece::plain(format!("the oldest {}", ago(age as f64))),
        ],
        _ => vec![Piece { text: "not known".to_owned(), style }],
    };
    if let Some(removed @ 1..) = archive.removed_unshipped {
        pieces.push(Piece::plain(format!("{} removed unshipped", thousands(removed))));
    }
    pieces
}

fn disk_pieces(sample: &Sample) -> Vec<Piece> {
    let Some(disk) = &sample.disk else { return vec![Piece::plain("not checked yet")] };
    let style = match disk.status {
        Status::Healthy => None,
        status => Some(status_style(status)),
    };
    let free = format!("{} free", human_bytes(disk.available_bytes));
    vec![Piece { text: free, style }, Piece::plain(format!("of {}", human_bytes(disk.total_bytes)))]
}
