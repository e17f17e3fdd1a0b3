//! Text in columns of a terminal: how wide it is, what of it fits, and lines of columns.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How many columns a text takes.
pub(super) fn columns(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// Cuts a text to at most that many columns, and puts the mark at its end if it was cut.
pub(super) fn cut_with(text: &str, most: usize, mark: &str) -> String {
    if columns(text) <= most {
        return text.to_owned();
    }
    let room = most.saturating_sub(columns(mark));
    let (mut kept, mut used) = (String::new(), 0);
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used > room {
            break;
        }
        kept.push(character);
    }
    // What belongs together may be wider than its parts.
    while columns(&kept) > room && kept.pop().is_some() {}
    if columns(mark) <= most {
        kept.push_str(mark);
    }
    kept
}

/// A line of columns as high as the values; fewer columns than values show means.
pub(super) fn sparkline(values: &[u64], columns: usize, ascii: bool) -> String {
    let levels: Vec<char> = if ascii { "_.-:=+*#" } else { "▁▂▃▄▅▆▇█" }.chars().collect();
    let columns = columns.min(values.len());
    let means: Vec<f64> = (0..columns)
        .map(|column| {
            let (from, to) =
                (column * values.len() / columns, (column + 1) * values.len() / columns);
            values[from..to].iter().sum::<u64>() as f64 / (to - from) as f64
        })
        .collect();
    let most = means.iter().copied().fold(0.0, f64::max);
    let level = |mean: f64| {
        if mean <= 0.0 {
            return levels[0];
        }
        // Anything above nothing is above the ground.
        let height = (mean / most * (levels.len() - 1) as f64).ceil() as usize;
        levels[height.clamp(1, levels.len() - 1)]
    };
    means.into_iter().map(level).collect()
}

/// A bar as long as a part of the room; anything above nothing shows.
pub(super) fn solid(value: u64, most: u64, room: usize, ascii: bool) -> String {
    let length =
        if most == 0 { 0 } else { (u128::from(value) * room as u128).div_ceil(most.into()) };
    if ascii { "#" } else { "█" }.repeat(length as usize)
}

/// `12,345,678`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_shows_a_lone_event_beside_a_flood() {
        assert_eq!(sparkline(&[0, 1, 1_000], 3, false), "▁▂█");
        assert_eq!(sparkline(&[0, 0], 2, true), "__");
        assert_eq!(sparkline(&[2, 2, 0, 0], 2, true), "#_");
        assert_eq!(sparkline(&[], 5, true), "");
    }

    #[test]
    fn what_is_cut_is_never_wider_than_there_is_room_for() {
        for text in
            ["abcdef", "漢字漢字", "e\u{301}e\u{301}e\u{301}", "👨\u{200d}👩\u{200d}👧 and", ""]
        {
            for most in 0..9 {
                for mark in ["…", "~", "..."] {
                    let cut = cut_with(text, most, mark);
                    assert!(columns(&cut) <= most, "{text:?} {most} {cut:?}");
                    assert!(cut == text || most < columns(mark) || cut.ends_with(mark), "{cut:?}");
                }
            }
        }
        assert_eq!(cut_with("漢字漢字", 5, "~"), "漢字~");
    }

    #[test]
    fn digits_are_grouped_and_bars_show_the_least_value() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(solid(1, 1_000_000, 4, true), "#");
        assert_eq!(
            (solid(0, 5, 4, true), solid(5, 5, 4, true)),
            (String::new(), "####".to_owned())
        );
        assert_eq!(solid(0, 0, 4, false), "");
    }
}
