//! What stands where, for a screen of any size. What does not fit goes, the
//! least important first: within a line from its end, and of the lines by rank.
//! Room that is left shows what else there is: hints, the checks that are well,
//! and the last minute as a graph.

use super::findings::{self, Told};
use super::numbers::rows;
use super::pieces::{Line, Piece, columns, cut, fitted, graph, thousands, wrapped};
use super::screen::{INDENT, Screen};
use crate::clock::display_seconds;
use crate::health::wording::age;
use crate::monitor::{Events, Sample, Writer};
use crate::ui::health::{status_style, uptime};
use crate::ui::style::{Style, escape};
use std::time::Duration;

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

/// Which log it is, its writer and what is wrong, with what to do about it as far as so many
/// lines have room for that.
pub(super) fn head(sample: &Sample, screen: &Screen, most: usize) -> Vec<Line> {
    let mut told = vec![writer(sample, screen)];
    told.extend(findings::findings(sample, screen));
    findings::grow(&mut told, most.saturating_sub(1), 0);
    let mut lines = vec![title(sample, screen)];
    for told in told {
        let rank = told.rank;
        lines.extend(told.lines().into_iter().map(|pieces| Line { pieces, rank }));
    }
    let more = lines.len().saturating_sub(most);
    if more > 0 {
        lines.truncate(most.saturating_sub(1));
        let text = format!("{} more: key 3", more + 1);
        lines.push(Line { pieces: vec![Piece::styled(text, Style::Warning)], rank: 0 });
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
