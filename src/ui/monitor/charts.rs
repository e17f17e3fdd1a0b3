//! Charts of what the view has seen: ratatui's where there is more than ASCII, else columns of
//! characters.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style as CellStyle;
use ratatui::symbols::Marker;
use ratatui::text::{Line, Text};
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, Paragraph};

use super::history::{History, Second};
use super::pieces::{columns, cut, graph, rate};

/// What charts are drawn with.
pub(super) struct Look {
    pub(super) ascii: bool,
    pub(super) title: CellStyle,
    pub(super) axis: CellStyle,
    pub(super) line: CellStyle,
}

/// Seconds that a chart shows at least, so that the first ones are not stretched.
const LEAST: usize = 60;

/// Both charts, side by side.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, history: &History, until: i64, look: &Look) {
    let halves = Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)])
        .spacing(2)
        .split(area);
    let seconds = history.len().max(LEAST);
    let events = |second: &Second| second.events.map(|events| events as f64);
    let points = history.points((until, seconds), events);
    one(frame, halves[0], ("events a second", &points, seconds), &rate, look);
    let points = history.points((until, seconds), |second| second.sync_ms);
    let ms = |value: f64| format!("{value:.1} ms");
    one(frame, halves[1], ("sync, on average", &points, seconds), &ms, look);
}

fn one(
    frame: &mut Frame<'_>,
    area: Rect,
    (title, points, seconds): (&str, &[(f64, f64)], usize),
    shown: &dyn Fn(f64) -> String,
    look: &Look,
) {
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    let most = points.iter().map(|point| point.1).fold(0.0, f64::max);
    let title = match points.last() {
        Some((_, now)) => format!("{title}: {}, at most {}", shown(*now), shown(most)),
        None => format!("{title}: nothing seen yet"),
    };
    let title = cut(&title, head.width.into(), look.ascii);
    frame.render_widget(Paragraph::new(Line::styled(title, look.title)), head);
    // Of nothing the axis still has a height.
    let top = if most > 0.0 { most * 1.05 } else { 1.0 };
    if look.ascii {
        frame.render_widget(Paragraph::new(in_ascii(body, points, (seconds, top), look)), body);
        return;
    }
    let dataset = Dataset::default()
        .marker(Marker::Braille)
        .graph_type(GraphType::Line)
        .style(look.line)
        .data(points);
    let ago = match seconds {
        0..120 => format!("-{seconds} s"),
        _ => format!("-{} min", seconds / 60),
    };
    let x = Axis::default().bounds([-(seconds as f64), 0.0]).labels([ago, "now".to_owned()]);
    let y = Axis::default().bounds([0.0, top]).labels(["0".to_owned(), shown(top)]);
    let chart = Chart::new(vec![dataset])
        .x_axis(x.style(look.axis))
        .y_axis(y.style(look.axis))
        .legend_position(None);
    frame.render_widget(chart, body);
}

/// Columns of characters, each the greatest of its stretch of time.
fn in_ascii(
    area: Rect,
    points: &[(f64, f64)],
    (seconds, top): (usize, f64),
    look: &Look,
) -> Text<'static> {
    const SCALE: f64 = 1_000.0;
    let width = usize::from(area.width).min(seconds);
    let height = usize::from(area.height.saturating_sub(1));
    let mut values = vec![0_u64; width];
    for (at, value) in points {
        let place = ((at / seconds as f64 + 1.0) * width as f64) as usize;
        if let Some(most) = values.get_mut(place.min(width.saturating_sub(1))) {
            *most = (*most).max((value / top * SCALE) as u64);
        }
    }
    let mut lines: Vec<Line<'static>> = graph(&values, 1, height, true)
        .into_iter()
        .map(|line| Line::styled(line, look.line))
        .collect();
    let ago = format!("-{seconds} s");
    let gap = width.saturating_sub(columns(&ago) + 3);
    let axis = format!("{ago}{}now", " ".repeat(gap));
    lines.push(Line::styled(cut(&axis, area.width.into(), true), look.axis));
    Text::from(lines)
}
