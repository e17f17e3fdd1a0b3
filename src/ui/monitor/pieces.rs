//! Pieces of a line, bars and sparklines.

use std::time::Duration;

use unicode_width::UnicodeWidthChar;

use crate::health::wording::age;
use crate::ui::cells::cut_with;
pub(super) use crate::ui::cells::{columns, sparkline, thousands};
use crate::ui::style::Style;

/// Text in one style.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) style: Option<Style>,
}

impl Piece {
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), style: None }
    }

    pub(super) fn styled(text: impl Into<String>, style: Style) -> Self {
        Self { text: text.into(), style: Some(style) }
    }

    pub(super) fn columns(&self) -> usize {
        columns(&self.text)
    }
}

/// A line of the screen.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) pieces: Vec<Piece>,
    /// Of two lines for which there is not room, the one with the higher rank goes.
    pub(super) rank: u8,
}

/// Cuts a text to at most that many columns, and marks its end if it was cut.
pub(super) fn cut(text: &str, most: usize, ascii: bool) -> String {
    cut_with(text, most, if ascii { "..." } else { "…" })
}

/// The text on lines of at most so many columns, the first and the rest; broken
/// between words, and within one only where it is wider than a line.
pub(super) fn wrapped(text: &str, first: usize, rest: usize) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split_whitespace() {
        let room = if lines.is_empty() { first } else { rest };
        if !line.is_empty() && columns(&line) + 1 + columns(word) > room {
            lines.push(std::mem::take(&mut line));
        } else if !line.is_empty() {
            line.push(' ');
        }
        for character in word.chars() {
            let room = if lines.is_empty() { first } else { rest };
            let width = character.width().unwrap_or(0);
            if !line.is_empty() && columns(&line) + width > room {
                lines.push(std::mem::take(&mut line));
            }
            line.push(character);
        }
    }
    lines.push(line);
    lines
}

/// The pieces with what separates them, as many as fit; the first is cut if need be.
pub(super) fn fitted(pieces: Vec<Piece>, room: usize, separator: &str, ascii: bool) -> Vec<Piece> {
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

/// A bar of that many columns, filled to a part of 100; anything above nothing
/// shows.
pub(super) fn bar(percent: f64, columns: usize, ascii: bool) -> String {
    let (full, empty) = if ascii { ('#', '.') } else { ('█', '░') };
    let part = (percent / 100.0).clamp(0.0, 1.0);
    let mut filled = (part * columns as f64).round() as usize;
    if percent > 0.0 {
        filled = filled.max(1);
    }
    let filled = filled.min(columns);
    let mut text = String::with_capacity(columns * full.len_utf8());
    text.extend(std::iter::repeat_n(full, filled));
    text.extend(std::iter::repeat_n(empty, columns - filled));
    text
}

/// `0.4/s`, `37/s`, `12,345/s`.
pub(super) fn rate(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 10.0 {
        format!("{per_second:.1}/s")
    } else {
        format!("{}/s", thousands(per_second.round() as u64))
    }
}

/// `180 µs`, `2.4 ms`, `1.20 s`, `3 min`.
pub(super) fn short_time(seconds: f64, ascii: bool) -> String {
    let micro = if ascii { "us" } else { "µs" };
    if seconds < 0.001 {
        format!("{:.0} {micro}", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1e3)
    } else if seconds < 100.0 {
        format!("{seconds:.2} s")
    } else {
        age(Duration::from_secs_f64(seconds))
    }
}

/// Columns as high as the values, each so many characters wide, on `height` lines.
pub(super) fn graph(values: &[u64], each: usize, height: usize, ascii: bool) -> Vec<String> {
    let levels: Vec<char> = if ascii { " _.-:=+*#" } else { " ▁▂▃▄▅▆▇█" }.chars().collect();
    let full = levels.len() - 1;
    let most = values.iter().copied().max().unwrap_or(0).max(1) as f64;
    // Anything above nothing shows.
    let eighths = |value: u64| (value as f64 / most * (height * full) as f64).ceil() as usize;
    (0..height)
        .map(|row| {
            let below = (height - 1 - row) * full;
            let cell = |value: &u64| levels[eighths(*value).saturating_sub(below).min(full)];
            values.iter().flat_map(|value| std::iter::repeat_n(cell(value), each)).collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_between_words_and_loses_nothing() {
        assert_eq!(wrapped("start the service", 9, 20), ["start the", "service"]);
        assert_eq!(wrapped("", 5, 5), [""]);
        assert_eq!(wrapped("a /very/long/path b", 4, 6), ["a", "/very/", "long/p", "ath b"]);
        for (text, width) in [("漢字漢字 漢字", 3), ("abc def", 1), ("one two three", 200)] {
            let lines = wrapped(text, width, width);
            assert!(width < 2 || lines.iter().all(|line| columns(line) <= width), "{lines:?}");
            assert_eq!(lines.concat().replace(' ', ""), text.replace(' ', ""));
        }
    }

    #[test]
    fn a_graph_is_as_high_as_its_values_and_shows_the_least_of_them() {
        assert_eq!(graph(&[0, 1, 8, 16], 1, 2, false), ["   █", " ▁██"]);
        assert_eq!(graph(&[0, 4], 2, 2, true), ["  ##", "  ##"]);
        assert_eq!(graph(&[0, 0], 1, 1, true), ["  "]);
    }

    #[test]
    fn a_bar_is_full_only_when_full_and_empty_only_when_empty() {
        assert_eq!(bar(0.0, 4, true), "....");
        assert_eq!(bar(0.1, 4, true), "#...");
        assert_eq!(bar(50.0, 4, false), "██░░");
        assert_eq!(bar(100.0, 4, true), "####");
        assert_eq!(bar(250.0, 4, true), "####");
    }

    #[test]
    fn what_is_cut_is_marked_and_never_too_wide() {
        assert_eq!(cut("abcdef", 6, true), "abcdef");
        assert_eq!(cut("abcdef", 5, true), "ab...");
        assert_eq!(cut("abcdef", 5, false), "abcd…");
        assert_eq!(cut("漢字漢字", 5, false), "漢字…");
        for most in 0..8 {
            assert!(columns(&cut("漢字漢字", most, true)) <= most);
        }
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            (rate(0.0), rate(0.42), rate(12_345.4)),
            ("0/s".into(), "0.4/s".into(), "12,345/s".into())
        );
        assert_eq!(short_time(0.000_18, true), "180 us");
        assert_eq!(short_time(0.0024, true), "2.4 ms");
        assert_eq!(short_time(1.2, true), "1.20 s");
        assert_eq!(short_time(190.0, true), "3 min");
    }
}
