//! What `query` shows.

use std::time::Duration;

use comfy_table::{Table as Cells, presets};
use serde_json::json;

use super::cells::{columns as width, cut_with, solid};
use super::style::{Style, escape, paint};
use crate::audit::read::query::{Answer, Cell, Column, Group, reads_as_itself};
use crate::units::{count, human_bytes};

/// Rows whose widths are made to agree: what comes later is another table.
pub const ROWS_A_TABLE: usize = 500;
/// A cell shows so many characters at most.
const CELL_CHARS: usize = 400;
const BAR_CHARS: usize = 40;

/// What a table may look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// The terminal's width in columns; `None` without one.
    pub width: Option<u16>,
    /// Whether colour may be used.
    pub color: bool,
    /// Whether only ASCII can be shown.
    pub ascii: bool,
}

/// Records as a table, a line each. Texts are escaped, and cut to what there is room
/// for; times are shown to the second, and columns that nothing is in are left out.
#[must_use]
pub fn records_table(lines: &[&[u8]], columns: &[Column], header: bool, table: &Table) -> String {
    let rows: Vec<Vec<String>> = lines.iter().map(|line| row(line, columns, table.ascii)).collect();
    let used = |nth: &usize| {
        columns.len() == 1 || rows.iter().any(|row| row.get(*nth).is_some_and(|text| text != "-"))
    };
    let shown: Vec<usize> = (0..columns.len()).filter(used).collect();
    let titles: Vec<String> = columns.iter().map(title).collect();
    let mut widths: Vec<usize> = shown
        .iter()
        .map(|nth| {
            let title = if header { width(&titles[*nth]) } else { 0 };
            rows.iter()
                .filter_map(|row| row.get(*nth))
                .map(|text| width(text))
                .fold(title, usize::max)
        })
        .collect();
    if let Some(terminal) = table.width {
        // What comfy-table puts around a cell.
        let room = usize::from(terminal).saturating_sub(2 * shown.len());
        let whole: Vec<bool> = shown.iter().map(|nth| is_short(&columns[*nth])).collect();
        fit(&mut widths, &whole, room);
    }
    let mut cells = Cells::new();
    cells.load_style(presets::NOTHING);
    let cut = |texts: &[String]| -> Vec<String> {
        let texts = shown.iter().filter_map(|nth| texts.get(*nth));
        texts.zip(&widths).map(|(text, width)| cut(text, *width, table.ascii)).collect()
    };
    if header {
        cells.set_header(cut(&titles));
    }
    rows.iter().for_each(|row| {
        cells.add_row(cut(row));
    });
    let text = cells.trim_fmt();
    match table.width {
        // Where there is less room than the least that columns can do with.
        Some(columns) if text.lines().any(|line| width(line) > columns.into()) => {
            let lines = text.lines().map(|line| self::cut(line, columns.into(), table.ascii));
            lines.collect::<Vec<_>>().join("\n")
        }
        _ => text,
    }
}

/// Whether half of it would be of no use.
fn is_short(column: &Column) -> bool {
    matches!(column.name(), "seq" | "timestamp" | "recorded_at")
}

fn title(column: &Column) -> String {
    column.short_name().to_uppercase()
}

fn row(line: &[u8], columns: &[Column], ascii: bool) -> Vec<String> {
    let Some(row) = Column::row(columns, line) else {
        let text = shortened(&String::from_utf8_lossy(line), ascii);
        let shown = |char: char| if ascii && !char.is_ascii() { '?' } else { char };
        return vec![text.chars().map(shown).collect()];
    };
    let text = |(cell, column): (Option<Cell>, &Column)| match cell {
        None => "-".to_owned(),
        Some(cell) if matches!(column.name(), "timestamp" | "recorded_at") => {
            let plain = &cell.plain;
            plain.get(..19).map_or(shortened(plain, ascii), |seconds| format!("{seconds}Z"))
        }
        Some(cell) => shown(&cell, column.is_typed(), ascii),
    };
    row.into_iter().zip(columns).map(text).collect()
}

/// Takes from the widest until all fit, but leaves each enough to be told apart, and
/// what is `whole` as it is: half a time is of no use.
fn fit(widths: &mut [usize], whole: &[bool], room: usize) {
    const LEAST: usize = 6;
    while widths.iter().sum::<usize>() > room {
        let spare =
            widths.iter_mut().zip(whole).filter(|(width, whole)| !**whole && **width > LEAST);
        match spare.max_by_key(|(width, _)| **width) {
            Some((widest, _)) => *widest -= 1,
            None => return,
        }
    }
}

/// At most so many columns of a text.
pub(super) fn cut(text: &str, most: usize, ascii: bool) -> String {
    cut_with(text, most, mark(ascii))
}

/// What may be shown of a text.
fn shortened(text: &str, ascii: bool) -> String {
    // Escaping makes texts longer: cut first.
    let mut chars = text.chars();
    let cut: String = chars.by_ref().take(CELL_CHARS).collect();
    let cut = escape(&cut).into_owned();
    if chars.next().is_some() { cut + mark(ascii) } else { cut }
}

/// What stands for what is left out.
fn mark(ascii: bool) -> &'static str {
    if ascii { "~" } else { "…" }
}

/// A value so that a copy of it finds it again: a text without quotes where it is read as
/// itself, in a place for values of any type (`typed`) or for names; else as JSON has it.
fn shown(cell: &Cell, typed: bool, ascii: bool) -> String {
    let text = &*cell.plain;
    if !cell.is_text {
        return if ascii && !text.is_ascii() {
            json_escaped(text, ascii)
        } else {
            shortened(text, ascii)
        };
    }
    let plain = if typed {
        reads_as_itself(text)
    } else {
        !text.is_empty() && !text.starts_with('"') && text.trim() == text
    };
    let can_be_shown = escape(text) == text && (!ascii || text.is_ascii());
    if plain && text != "-" && can_be_shown { shortened(text, ascii) } else { quoted(text, ascii) }
}

/// A text as JSON has it, of harmless characters, cut to what is shown.
fn quoted(text: &str, ascii: bool) -> String {
    let cut: String = text.chars().take(CELL_CHARS).collect();
    let out = escaped_characters(&json!(cut).to_string(), ascii);
    if cut.len() < text.len() { out + mark(ascii) } else { out }
}

/// JSON as it is stored, of harmless characters, cut to what is shown.
fn json_escaped(json: &str, ascii: bool) -> String {
    let cut: String = json.chars().take(CELL_CHARS).collect();
    let out = escaped_characters(&cut, ascii);
    if cut.len() < json.len() { out + mark(ascii) } else { out }
}

/// The same JSON, with what cannot be shown as JSON escapes it.
fn escaped_characters(json: &str, ascii: bool) -> String {
    let mut out = String::with_capacity(json.len());
    for char in json.chars() {
        let one = char.encode_utf8(&mut [0; 4]).to_owned();
        match escape(&one) {
            harmless if harmless == one && (!ascii || char.is_ascii()) => out.push(char),
            _ => {
                let units = one.encode_utf16();
                units.for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
            }
        }
    }
    out
}

/// A group, told apart from others that look alike: `5` is a number, `"5"` a text.
pub(super) fn group_name(group: &Group, ascii: bool) -> String {
    let cell = |json: &str, plain: &str, is_text| Cell {
        json: json.to_owned(),
        plain: plain.to_owned(),
        is_text,
    };
    match group {
        Group::Missing => "-".to_owned(),
        Group::Text(text) => shown(&cell("", text, true), true, ascii),
        Group::Json(json) => shown(&cell(json, json, false), true, ascii),
    }
}

/// Records as NDJSON with only some of their fields.
#[must_use]
pub fn records_chosen(lines: &[&[u8]], columns: &[Column]) -> String {
    let mut out = String::new();
    for line in lines {
        let row = Column::row(columns, line).unwrap_or_default();
        let fields = columns
            .iter()
            .zip(row)
            .filter_map(|(column, cell)| Some(format!("{}:{}", json!(column.name()), cell?.json)));
        out.push_str(&format!("{{{}}}\n", fields.collect::<Vec<_>>().join(",")));
    }
    out
}

/// A group's name, cut to half of the terminal.
pub(super) fn name_that_fits(group: &Group, table: &Table) -> String {
    let name = group_name(group, table.ascii);
    match table.width {
        Some(columns) => cut(&name, (usize::from(columns) / 2).max(8), table.ascii),
        None => name,
    }
}

/// Groups with bars.
#[must_use]
pub fn groups_text(groups: &[(Group, u64)], top: usize, table: &Table) -> String {
    let shown = &groups[..groups.len().min(top)];
    let names: Vec<String> = shown.iter().map(|(group, _)| name_that_fits(group, table)).collect();
    let widest = names.iter().map(|name| width(name)).max().unwrap_or(0);
    let most = shown.iter().map(|(_, records)| *records).max().unwrap_or(0);
    let digits = most.to_string().len();
    let room = table.width.map_or(BAR_CHARS, |columns| {
        usize::from(columns).saturating_sub(widest + digits + 4).min(BAR_CHARS)
    });
    let mut out = String::new();
    for ((_, records), name) in shown.iter().zip(&names) {
        let bar = solid(*records, most, room, table.ascii);
        let pad = " ".repeat(widest - width(name));
        let bar = paint(&bar, Style::Good, table.color);
        out.push_str(format!("{name}{pad}  {records:>digits$}  {bar}").trim_end());
        out.push('\n');
    }
    if groups.len() > shown.len() {
        let others: u64 = groups[shown.len()..].iter().map(|(_, records)| *records).sum();
        let more = (groups.len() - shown.len()) as u64;
        let others = count(others, "record");
        out.push_str(&format!("{}: {others}\n", count(more, "more group")));
    }
    out
}

/// Groups as NDJSON: each value as JSON, so that `5` and `"5"` are told apart.
#[must_use]
pub fn groups_ndjson(groups: &[(Group, u64)], top: usize) -> String {
    let line = |(group, records): &(Group, u64)| {
        let missing = if *group == Group::Missing { "\"missing\":true," } else { "" };
        format!("{{\"group\":{},{missing}\"records\":{records}}}\n", group.json())
    };
    groups.iter().take(top).map(line).collect()
}

/// What an answer took.
#[must_use]
pub fn query_explained(answer: &Answer, way: &str, taken: Duration) -> String {
    let effort = &answer.effort;
    let mut lines = Vec::new();
    let mut row = |name: &str, value: String| lines.push(format!("{name:<9} {value}"));
    row("answered", format!("{way}, about records {}..{}", answer.begin, answer.end));
    row("cache", effort.cache.as_str().to_owned());
    row("segments", format!("{} of {} read", effort.segments_read, effort.segments));
    row(
        "blocks",
        format!(
            "{} of {} read; left out: {} by seq, {} by time, {} by filter",
            effort.blocks_read,
            effort.blocks,
            effort.skipped_seq,
            effort.skipped_time,
            effort.skipped_filter
        ),
    );
    row(
        "bytes",
        format!(
            "{} read, {} looked through, {} parsed",
            human_bytes(effort.bytes_read),
            human_bytes(effort.bytes_scanned),
            count(effort.records_read, "record")
        ),
    );
    let ms = |micros: u128| format!("{}.{:03} ms", micros / 1_000, micros % 1_000);
    row(
        "time",
        format!("{} in the engine, {} in all", ms(effort.micros.into()), ms(taken.as_micros())),
    );
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::read::query::csv;

    const LINES: [&[u8]; 2] = [
        br#"{"seq":1,"timestamp":"2026-02-04T21:09:40.000000Z","event_type":"lo\u001b[31mgin","actor":"a,\"b\"","details":{"ip":"::1"},"origin":{}}"#,
        br#"{"seq":2,"timestamp":"2026-02-04T21:09:41.000000Z","event_type":"logout","origin":{}}"#,
    ];

    fn columns(names: &[&str]) -> Vec<Column> {
        names.iter().map(|name| Column::parse(name).expect("a column")).collect()
    }

    #[test]
    fn a_table_never_commands_the_terminal() {
        let table = Table { width: Some(80), color: false, ascii: false };
        let text = records_table(&LINES, &Column::defaults(), true, &table);
        assert!(text.starts_with(" SEQ"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(text.contains("logout"), "{text}");
        assert_eq!(text.lines().count(), 3, "a line each: {text}");
        assert!(text.lines().all(|line| width(line) <= 80), "{text}");
        assert!(!text.contains("TARGET"), "nothing is in it: {text}");
        let narrow = Table { width: Some(50), ascii: true, ..table };
        let text = records_table(&LINES, &Column::defaults(), true, &narrow);
        assert!(text.lines().all(|line| width(line) <= 50) && text.contains('~'), "{text}");
        assert!(text.contains("2026-02-04T21:09:40Z"), "a time is not cut: {text}");
    }

    /// Texts of every kind, on terminals of every width.
    #[test]
    fn no_line_of_a_table_is_wider_than_the_terminal_and_ascii_is_ascii() {
        let long = "漢".repeat(5_000);
        let line = |actor: &str| {
            json!({
                "seq": u64::MAX, "timestamp": "2026-02-04T21:09:40.000000Z", "event_type": "größe",
                "actor": actor, "source": "e\u{301}\u{202e}\u{1b}]0;x\u{7}", "target": "👨\u{200d}👩\u{200d}👧",
                "outcome": "success", "details": { "schlüssel": "wörter", "long": long }, "origin": {},
            })
            .to_string()
            .into_bytes()
        };
        let lines = [line("alice"), line(&long), b"no record \xff\x1b[2J".to_vec()];
        let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        for columns in [1, 7, 20, 40, 80, 120, 400] {
            for ascii in [false, true] {
                let table = Table { width: Some(columns), color: false, ascii };
                let text = records_table(&lines, &Column::defaults(), true, &table);
                assert_eq!(text.lines().count(), 4, "a line each: {text}");
                assert!(
                    text.lines().all(|line| width(line) <= columns.into()),
                    "{columns}: {text}"
                );
                assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
                assert!(!text.contains('\u{202e}'), "{text:?}");
                assert!(!ascii || text.is_ascii(), "{text}");
                assert!(columns < 120 || text.contains("2026-02-04T21:09:40Z"), "{text}");
            }
        }
    }

    /// What is copied from a table finds its record where only ASCII can be shown, too.
    #[test]
    fn other_letters_than_ascii_are_shown_as_json_escapes_them_where_they_cannot_be_shown() {
        assert_eq!(quoted("größe", true), r#""gr\u00f6\u00dfe""#);
        let text = Group::Text("größe".to_owned());
        assert_eq!(group_name(&text, true), r#""gr\u00f6\u00dfe""#);
        assert_eq!(group_name(&text, false), "größe");
        assert_eq!(group_name(&Group::Json("{\"ö\":1}".to_owned()), true), r#"{"\u00f6":1}"#);
    }

    #[test]
    fn csv_quotes_and_chosen_fields_are_json() {
        let chosen = columns(&["seq", "actor", "details.ip"]);
        assert_eq!(
            csv::records(LINES, &chosen, true),
            "seq,actor,details.ip\n1,\"a,\"\"b\"\"\",::1\n2,,\n"
        );
        assert_eq!(
            records_chosen(&LINES, &chosen),
            "{\"seq\":1,\"actor\":\"a,\\\"b\\\"\",\"details.ip\":\"::1\"}\n{\"seq\":2}\n"
        );
    }

    #[test]
    fn bars_are_as_long_as_what_they_stand_for() {
        let text = |text: &str| Group::Text(text.to_owned());
        let groups = vec![(text("alice"), 40), (Group::Missing, 20), (text("é"), 1)];
        let table = Table { width: Some(30), color: false, ascii: true };
        assert_eq!(
            groups_text(&groups, 2, &table),
            "alice  40  ###################\n-      20  ##########\n1 more group: 1 record\n"
        );
        assert_eq!(groups_ndjson(&groups, 1), "{\"group\":\"alice\",\"records\":40}\n");
        assert_eq!(
            csv::groups(&groups, 9),
            "group,records,type\nalice,40,text\n,20,missing\né,1,text\n"
        );
    }

    /// C4: a number, the text that looks like it, and what is not there.
    #[test]
    fn groups_that_look_alike_are_told_apart() {
        let groups: Vec<(Group, u64)> = [
            Group::Json("5".to_owned()),
            Group::Text("5".to_owned()),
            Group::Json("null".to_owned()),
            Group::Text("null".to_owned()),
            Group::Missing,
            Group::Text("-".to_owned()),
            Group::Text(String::new()),
        ]
        .map(|group| (group, 1))
        .to_vec();
        let table = Table { width: Some(30), color: false, ascii: true };
        let text = groups_text(&groups, 9, &table);
        let names: Vec<_> =
            text.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(names, ["5", "\"5\"", "null", "\"null\"", "-", "\"-\"", "\"\""]);
        let mut lines: Vec<String> = groups_ndjson(&groups, 9).lines().map(str::to_owned).collect();
        assert!(lines.contains(&"{\"group\":null,\"missing\":true,\"records\":1}".to_owned()));
        lines.sort();
        lines.dedup();
        assert_eq!(lines.len(), groups.len());
    }

    /// C5: what a table shows of a text, copied, finds the text.
    #[test]
    fn a_text_that_would_be_read_otherwise_is_shown_as_json_has_it() {
        let of = |text: &str, typed| {
            let json = json!(text).to_string();
            shown(&Cell { json, plain: text.to_owned(), is_text: true }, typed, false)
        };
        for (text, in_details, as_name) in [
            ("plain text", "plain text", "plain text"),
            ("5", "\"5\"", "5"),
            ("true", "\"true\"", "true"),
            (" x", "\" x\"", "\" x\""),
            (r"C:\new", r"C:\new", r"C:\new"),
            ("C:\\new\nx", r#""C:\\new\nx""#, r#""C:\\new\nx""#),
            ("\u{202e}abc", r#""\u202eabc""#, r#""\u202eabc""#),
            ("\u{1b}[31m", r#""\u001b[31m""#, r#""\u001b[31m""#),
        ] {
            assert_eq!(of(text, true), in_details);
            assert_eq!(of(text, false), as_name);
        }
        assert!(of(&"x".repeat(500), true).ends_with('…'), "what is cut says so");
    }
}
