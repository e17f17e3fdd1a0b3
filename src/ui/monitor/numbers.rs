//! The numbers, a line each.

use std::time::Duration;

use super::pieces::{Line, Piece, columns, fitted, rate, short_time, sparkline, thousands};
use super::screen::Screen;
use crate::clock::display_seconds;
use crate::health::Status;
use crate::health::wording::{age, count};
use crate::monitor::{Alerts, Archive, Events, Sample};
use crate::ui::health::status_style;
use crate::ui::style::{Style, escape};
use crate::units::human_bytes;

/// A sparkline shorter than this tells nothing.
const SHORTEST_SPARKLINE: usize = 10;

/// The numbers; without the sparkline where a graph takes its place.
pub(super) fn rows(sample: &Sample, screen: &Screen, spark: bool) -> Vec<Line> {
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
