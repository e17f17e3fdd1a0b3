//! The monitor: one layout, printed once or kept on a terminal.

mod charts;
mod draw;
mod filter;
mod findings;
mod history;
mod keys;
mod layout;
mod live;
mod numbers;
mod pieces;
mod screen;
mod tabs;
#[cfg(test)]
mod tests;

pub use live::{Feed, Live, live};

use crate::monitor::Sample;

use super::style::paint;
use screen::Screen;

/// Columns of a screen that is printed.
const PRINTED_COLUMNS: usize = 80;

/// The screen as text, without control codes unless coloured; ends in a line end.
#[must_use]
pub fn monitor_text(sample: &Sample, ascii: bool, colour: bool) -> String {
    let screen = Screen { columns: PRINTED_COLUMNS, rows: None, ascii };
    let mut text = String::new();
    for line in layout::lines(sample, &screen) {
        let mut printed = String::new();
        for piece in &line.pieces {
            match piece.style {
                Some(style) => printed.push_str(&paint(&piece.text, style, colour)),
                None => printed.push_str(&piece.text),
            }
        }
        text.push_str(printed.trim_end());
        text.push('\n');
    }
    text
}

/// The sample as pretty JSON, without a line end.
#[must_use]
pub fn monitor_json(sample: &Sample) -> String {
    serde_json::to_string_pretty(sample).expect("a sample has text keys and finite numbers only")
}

/// The sample as JSON on one line.
#[must_use]
pub fn monitor_json_line(sample: &Sample) -> String {
    serde_json::to_string(sample).expect("a sample has text keys and finite numbers only")
}
