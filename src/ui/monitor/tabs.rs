//! What there is to look at, one after the other: tabs, each a list of lines that can be
//! scrolled.

use super::findings;
use super::layout;
use super::numbers::rows;
use super::pieces::{Piece, columns, cut, thousands, wrapped};
use super::screen::{INDENT, Screen};
use crate::audit::read::query::Column;
use crate::clock::display_seconds;
use crate::health::wording::count;
use crate::monitor::{LOOKED_THROUGH, Newest, Sample};
use crate::ui::query::{Table, records_table};
use crate::ui::style::{Style, escape};
use crate::units::human_bytes;

/// A tab.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tab {
    /// Everything at a glance.
    #[default]
    Now,
    /// The newest records and refusals.
    Records,
    /// What is wrong, and what to do about it.
    Findings,
    /// Files, backups, archive.
    Storage,
}

impl Tab {
    pub(super) const ALL: [Self; 4] = [Self::Now, Self::Records, Self::Findings, Self::Storage];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::Records => "records",
            Self::Findings => "findings",
            Self::Storage => "storage",
        }
    }

    /// The one that is so many further on, round in a circle.
    pub(super) fn next(self, by: usize) -> Self {
        Self::ALL[(self as usize + by) % Self::ALL.len()]
    }
}

type Pieces = Vec<Piece>;

fn heading(text: impl Into<String>) -> Pieces {
    vec![Piece::styled(text, Style::Strong)]
}

fn faint(text: &str, screen: &Screen) -> Pieces {
    vec![Piece::styled(cut(text, screen.columns, screen.ascii), Style::Faint)]
}

/// The newest records, `most` of them.
pub(super) fn records(
    newest: &Newest,
    (filter, most): (&str, usize),
    screen: &Screen,
) -> Vec<Pieces> {
    let about = newest.about.1 - newest.about.0;
    let of = match filter {
        "" => format!("newest records, of {} in the log", thousands(newest.about.1)),
        filter => format!(
            "newest records with \"{}\", among the newest {}",
            escape(filter),
            thousands(about)
        ),
    };
    let seen = format!("; seen at {}", display_seconds(newest.at));
    let text = if columns(&of) + seen.len() > screen.columns { of } else { of + &seen };
    let mut lines = vec![heading(cut(&text, screen.columns, screen.ascii))];
    if let Some(problem) = &newest.problem {
        let text = format!("the records cannot be read: {}", escape(problem));
        let parts = wrapped(&text, screen.columns, screen.columns);
        lines.extend(parts.into_iter().map(|line| vec![Piece::styled(line, Style::Warning)]));
        return lines;
    }
    if newest.records.is_empty() {
        let text = match filter {
            "" => "no records yet".to_owned(),
            _ => format!("none; only the newest {} are looked through", thousands(LOOKED_THROUGH)),
        };
        lines.push(faint(&text, screen));
        return lines;
    }
    lines.extend(table(newest, most, screen));
    lines
}

/// The records alone.
fn table(newest: &Newest, most: usize, screen: &Screen) -> Vec<Pieces> {
    let width = u16::try_from(screen.columns).unwrap_or(u16::MAX);
    let table = Table { width: Some(width), color: false, ascii: screen.ascii };
    let shown: Vec<&[u8]> = newest.records.iter().map(Vec::as_slice).take(most).collect();
    let text = records_table(&shown, &Column::defaults(), true, &table);
    let mut lines: Vec<Pieces> = text.lines().map(|line| vec![Piece::plain(line)]).collect();
    if let Some(header) = lines.first_mut() {
        header.iter_mut().for_each(|piece| piece.style = Some(Style::Faint));
    }
    lines
}

/// What was refused: how much of it, and the newest.
pub(super) fn refusals(sample: &Sample, newest: &Newest, screen: &Screen) -> Vec<Pieces> {
    let mut lines = vec![heading("refusals and security events")];
    if let Some(events) = &sample.events {
        let by = events.refused_by.iter().filter(|(_, count)| **count > 0);
        let by: Vec<String> =
            by.map(|(reason, count)| format!("{reason} {}", thousands(*count))).collect();
        let text = match by.is_empty() {
            true => "no event was refused since the log was opened".to_owned(),
            false => format!("refused since the log was opened: {}", by.join(", ")),
        };
        lines.push(faint(&text, screen));
    }
    lines.extend(newest.refusals.iter().map(|refusal| {
        let times = match refusal.count {
            1 => String::new(),
            count => format!(" ({} times)", thousands(count)),
        };
        let source = refusal
            .source
            .as_deref()
            .map_or(String::new(), |source| format!(" {}:", escape(source)));
        let rest =
            format!("  {:<14}{source} {}{times}", escape(&refusal.kind), escape(&refusal.detail));
        let time = display_seconds(refusal.timestamp);
        let room = screen.columns.saturating_sub(time.len());
        vec![
            Piece::styled(cut(&time, screen.columns, screen.ascii), Style::Faint),
            Piece::plain(cut(&ascii_only(&rest, screen), room, screen.ascii)),
        ]
    }));
    lines
}

/// Text that can be shown where only ASCII can.
fn ascii_only(text: &str, screen: &Screen) -> String {
    if !screen.ascii || text.is_ascii() {
        return text.to_owned();
    }
    text.chars().map(|char| if char.is_ascii() { char } else { '?' }).collect()
}

/// What is wrong with what to do about it, and what is well.
pub(super) fn findings(sample: &Sample, screen: &Screen) -> Vec<Pieces> {
    let head = layout::head(sample, screen, usize::MAX);
    let mut lines: Vec<Pieces> = head.into_iter().map(|line| line.pieces).collect();
    if sample.findings.is_empty() {
        lines.push(faint("every check is well", screen));
    }
    let healthy = findings::healthy(sample, screen);
    if !healthy.is_empty() {
        lines.push(Vec::new());
        lines.extend(healthy);
    }
    lines
}

/// The log's files, backups and archive.
pub(super) fn storage(sample: &Sample, newest: &Newest, screen: &Screen) -> Vec<Pieces> {
    let mut lines = vec![heading("files, backups, archive")];
    let wanted = ["log", "sync", "check", "signed", "backup", "archiv", "disk"];
    let is_wanted = |pieces: &Pieces| {
        pieces.first().is_some_and(|label| wanted.iter().any(|it| label.text.starts_with(it)))
    };
    let numbers = rows(sample, screen, false).into_iter().map(|line| line.pieces);
    lines.extend(numbers.filter(is_wanted));
    let mut more = |text: String| {
        for (at, line) in wrapped(&text, screen.columns, screen.columns.saturating_sub(INDENT))
            .into_iter()
            .enumerate()
        {
            let indent = " ".repeat(if at == 0 { 0 } else { INDENT });
            lines.push(vec![Piece::plain(format!("{indent}{line}"))]);
        }
    };
    if let Some(lag) = sample.backup.as_ref().and_then(|backup| backup.lag_records) {
        let text = match lag {
            0 => "the newest good backup holds all durable records".to_owned(),
            lag => format!("the newest good backup lacks {}", count(lag, "durable record")),
        };
        more(text);
    }
    if let Some(archive) = &sample.archive {
        if let Some(shipped) = archive.shipped_records {
            more(format!("the archive has {} signed records", thousands(shipped)));
        }
        if let Some(failures @ 1..) = archive.failures {
            more(format!(
                "shipping has failed {} since it last ended well",
                count(failures, "time")
            ));
        }
    }
    if let Some(events) = &sample.events {
        let ids = &events.ids;
        more(format!(
            "ids: {} of {} remembered, {} forgotten early, {} conflicts, {} sent again",
            thousands(ids.remembered),
            thousands(ids.capacity),
            thousands(ids.crowded_out),
            thousands(ids.conflicts),
            thousands(events.duplicates)
        ));
    }
    lines.push(Vec::new());
    lines.extend(backups(newest, screen));
    lines
}

fn backups(newest: &Newest, screen: &Screen) -> Vec<Pieces> {
    if newest.backups.is_empty() {
        return vec![faint("no backups are known here: auditctl backup makes one", screen)];
    }
    let mut lines = vec![heading("newest backups")];
    lines.extend(newest.backups.iter().map(|backup| {
        let records = format!("records {} to {}", backup.seqs.0, backup.seqs.1.saturating_sub(1));
        let text = format!(
            "{}  {records:<24}  {:>10}  checked: {}  {}",
            backup.id,
            human_bytes(backup.bytes),
            backup.verified,
            count(backup.copies as u64, "copy elsewhere")
                .replace("copy elsewheres", "copies elsewhere"),
        );
        match &backup.damage {
            Some(damage) => {
                let text = format!("{text}  {}", ascii_only(&escape(damage), screen));
                vec![Piece::styled(cut(&text, screen.columns, screen.ascii), Style::Bad)]
            }
            None => vec![Piece::plain(cut(&text, screen.columns, screen.ascii))],
        }
    }));
    lines
}

/// What the keys do.
pub(super) fn keys(screen: &Screen) -> Vec<Pieces> {
    let all = [
        ("1 2 3 4", "now, records, findings, storage; also Tab and the arrows left and right"),
        ("up down", "scroll; also k and j, PgUp, PgDn, Home, End"),
        ("/", "filter the newest records; Enter applies it, Esc leaves it as it was"),
        ("p", "pause, and go on; also the space bar"),
        ("?", "these keys"),
        ("q", "quit; also Esc and Ctrl-C"),
    ];
    let mut lines = vec![heading("keys")];
    for (key, what) in all {
        let room = screen.columns.saturating_sub(10);
        let parts = wrapped(what, room, room).into_iter().enumerate();
        lines.extend(parts.map(|(at, text)| {
            let key = if at == 0 { key } else { "" };
            vec![Piece::styled(format!("{key:<10}"), Style::Strong), Piece::plain(text)]
        }));
    }
    let text = format!("a filter is {}", super::filter::EXAMPLE);
    let parts = wrapped(&text, screen.columns, screen.columns);
    lines.extend(parts.into_iter().map(|line| vec![Piece::styled(line, Style::Faint)]));
    lines
}
