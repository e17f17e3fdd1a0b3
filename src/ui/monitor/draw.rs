//! Drawing the live view: what fits, on a terminal of any size.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style as CellStyle};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::Paragraph;

use super::charts::{self, Look};
use super::findings::healthy;
use super::layout;
use super::live::View;
use super::numbers::rows;
use super::pieces::{Piece, columns, cut};
use super::screen::Screen;
use super::tabs::{self, Tab};
use crate::health::wording::age;
use crate::monitor::Sample;
use crate::ui::style::{Style, escape};

/// From this many columns and rows on, charts and records are shown beside the numbers.
const WIDE: (usize, usize) = (100, 30);
/// Rows of a chart.
const CHART_ROWS: (usize, usize) = (8, 24);

type Pieces = Vec<Piece>;

impl View {
    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let (width, height) = (usize::from(area.width), usize::from(area.height));
        let Some(rows) = height.checked_sub(1) else { return };
        let screen = Screen { columns: width, rows: Some(rows), ascii: self.options.ascii };
        let mut top = self.warnings(&screen);
        top.truncate(rows);
        let used = top.len();
        self.lines(frame, Rect { height: used as u16, ..area }, top);
        let body = Rect { y: area.y + used as u16, height: (rows - used) as u16, ..area };
        let screen = Screen { rows: Some(rows - used), ..screen };
        self.body(frame, body, &screen);
        let last = Rect { y: area.y + rows as u16, height: 1, ..area };
        self.lines(frame, last, vec![self.bar(&screen)]);
    }

    /// What nobody must overlook.
    fn warnings(&self, screen: &Screen) -> Vec<Pieces> {
        let mut lines = Vec::new();
        if self.late > 0 {
            let late = age(Duration::from_secs(self.late));
            let text = format!("CRITICAL no answer from the file system for {late}");
            lines.push((text, Style::Bad));
        }
        if let Some(seconds) = self.paused_for {
            let ago = age(Duration::from_secs(seconds));
            lines.push((format!("PAUSED for {ago}: p goes on"), Style::Warning));
        }
        let piece = |(text, style): (String, Style)| {
            vec![Piece::styled(cut(&text, screen.columns, screen.ascii), style)]
        };
        lines.into_iter().map(piece).collect()
    }

    fn body(&mut self, frame: &mut Frame<'_>, area: Rect, screen: &Screen) {
        let room = usize::from(area.height);
        if self.keys.help {
            return self.lines(frame, area, tabs::keys(screen));
        }
        let Some(sample) = self.sample.clone() else { return };
        match self.keys.tab {
            Tab::Now if screen.columns >= WIDE.0 && room >= WIDE.1 => {
                self.wide(frame, area, &sample, screen);
            }
            Tab::Now => {
                let all = layout::lines(&sample, screen).into_iter().map(|line| line.pieces);
                self.lines(frame, area, all.collect());
            }
            Tab::Records => self.records(frame, area, &sample, screen),
            Tab::Findings => self.scrolled(frame, area, tabs::findings(&sample, screen)),
            Tab::Storage => {
                let all = tabs::storage(&sample, &self.newest, screen);
                self.scrolled(frame, area, all);
            }
        }
    }

    /// Records above, refusals below.
    fn records(&mut self, frame: &mut Frame<'_>, area: Rect, sample: &Sample, screen: &Screen) {
        let rows = usize::from(area.height);
        let mut below = tabs::refusals(sample, &self.newest, screen);
        below.truncate(rows / 3);
        let above = Rect { height: area.height - below.len() as u16, ..area };
        // What is below the screen need not be made; one more shows that there is more.
        let most = self.keys.scrolled.saturating_add(usize::from(above.height) + 1);
        let all = tabs::records(&self.newest, (&self.keys.filter, most), screen);
        self.scrolled(frame, above, all);
        let rest = Rect { y: area.y + above.height, height: below.len() as u16, ..area };
        self.lines(frame, rest, below);
    }

    /// The part of the lines that is scrolled to.
    fn scrolled(&mut self, frame: &mut Frame<'_>, area: Rect, lines: Vec<Pieces>) {
        let rows = usize::from(area.height);
        self.keys.within(lines.len(), rows);
        let shown = lines.into_iter().skip(self.keys.scrolled).take(rows).collect();
        self.lines(frame, area, shown);
    }

    /// All of it at a glance: what is wrong, charts, numbers, the newest records.
    fn wide(&self, frame: &mut Frame<'_>, area: Rect, sample: &Sample, screen: &Screen) {
        let total = usize::from(area.height);
        let head = layout::head(sample, screen, total / 3);
        let head: Vec<Pieces> = head.into_iter().map(|line| line.pieces).collect();
        let left_columns = (screen.columns * 2 / 5).max(60);
        let left_screen = Screen { columns: left_columns, rows: None, ..*screen };
        let mut left: Vec<Pieces> =
            rows(sample, &left_screen, false).into_iter().map(|line| line.pieces).collect();
        let checks = healthy(sample, &left_screen);
        let rest = total.saturating_sub(head.len() + left.len() + checks.len() + 3);
        let chart_rows = rest.clamp(CHART_ROWS.0, CHART_ROWS.1);
        let area_of = |rows: usize, y: &mut u16| {
            let height = (rows as u16).min((area.y + area.height).saturating_sub(*y));
            let part = Rect { y: *y, height, ..area };
            *y += height;
            part
        };
        let mut y = area.y;
        let head_area = area_of(head.len(), &mut y);
        self.lines(frame, head_area, head);
        area_of(1, &mut y);
        let chart_area = area_of(chart_rows, &mut y);
        let look = Look {
            ascii: screen.ascii,
            title: self.cell(Some(Style::Strong)),
            axis: self.cell(Some(Style::Faint)),
            line: self.cell(Some(Style::Good)),
        };
        charts::draw(frame, chart_area, &self.history, sample.timestamp.unix_seconds(), &look);
        area_of(1, &mut y);
        let bottom = area_of(total, &mut y);
        let below = usize::from(bottom.height);
        if left.len() + 1 < below {
            left.push(Vec::new());
            left.extend(checks);
        }
        let column = Rect { width: left_columns as u16, ..bottom };
        self.lines(frame, column, left.into_iter().take(below).collect());
        let x = left_columns + 2;
        let column = Rect { x: bottom.x + x as u16, width: (screen.columns - x) as u16, ..bottom };
        let right = Screen { columns: screen.columns - x, rows: None, ..*screen };
        self.lines(frame, column, self.newest_lines(sample, &right, below));
    }

    /// The newest records, and below them refusals if there are any.
    fn newest_lines(&self, sample: &Sample, screen: &Screen, rows: usize) -> Vec<Pieces> {
        let mut refusals = match self.newest.refusals.is_empty() {
            true => Vec::new(),
            false => tabs::refusals(sample, &self.newest, screen),
        };
        refusals.truncate(rows / 3);
        let mut lines = tabs::records(&self.newest, (&self.keys.filter, rows), screen);
        lines.truncate(rows.saturating_sub(refusals.len()));
        lines.extend(refusals);
        lines
    }

    /// The last line: the tabs, and the keys that matter most.
    fn bar(&self, screen: &Screen) -> Pieces {
        if let Some(typed) = &self.keys.typed {
            let wrong =
                self.keys.wrong.as_ref().map_or(String::new(), |it| format!("   {}", escape(it)));
            let text = format!("filter: {}_{wrong}", escape(typed));
            // The end is what is being typed.
            let hidden = columns(&text).saturating_sub(screen.columns);
            let text: String = text.chars().skip(hidden).collect();
            return vec![Piece::plain(cut(&text, screen.columns, screen.ascii))];
        }
        let every = format!("every {} s", self.options.refresh.as_secs_f64());
        if screen.columns < 60 {
            let text = cut(&format!("q quit   {every}"), screen.columns, screen.ascii);
            return vec![Piece::styled(text, Style::Faint)];
        }
        let mut pieces = vec![Piece::styled("q quit   ? keys  ", Style::Faint)];
        for (nth, tab) in Tab::ALL.into_iter().enumerate() {
            let is_here = tab == self.keys.tab && !self.keys.help;
            let text = match is_here {
                true => format!(" [{} {}]", nth + 1, tab.name()),
                false => format!("  {} {} ", nth + 1, tab.name()),
            };
            let style = if is_here { Style::Strong } else { Style::Faint };
            pieces.push(Piece::styled(text, style));
        }
        let used: usize = pieces.iter().map(Piece::columns).sum();
        let room = screen.columns.saturating_sub(used);
        if room > columns(&every) + 1 {
            pieces.push(Piece::styled(format!("{every:>room$}"), Style::Faint));
        }
        pieces
    }

    fn lines(&self, frame: &mut Frame<'_>, area: Rect, lines: Vec<Pieces>) {
        let lines: Vec<Line<'static>> = lines
            .into_iter()
            .map(|pieces| {
                let spans = pieces.into_iter();
                spans.map(|piece| Span::styled(piece.text, self.cell(piece.style))).collect()
            })
            .collect();
        frame.render_widget(Paragraph::new(Text::from(lines)), area);
    }

    fn cell(&self, style: Option<Style>) -> CellStyle {
        let new = CellStyle::new();
        let Some(style) = style else { return new };
        let styled = match style {
            Style::Good => new.fg(Color::Green),
            Style::Warning => new.fg(Color::Yellow).add_modifier(Modifier::BOLD),
            Style::Bad => new.fg(Color::Red).add_modifier(Modifier::BOLD),
            Style::Unknown => new.fg(Color::Magenta),
            Style::Strong => new.add_modifier(Modifier::BOLD),
            Style::Faint => new.add_modifier(Modifier::DIM),
        };
        if self.options.color { styled } else { new }
    }
}
