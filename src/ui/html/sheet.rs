//! A report that is filed: sections of facts, tables and drawings, and no script.

use askama::Template;

use super::{STYLE, policy, visible};
use crate::audit::read::query::{Field, Group, GroupBy, Groups};
use crate::audit::read::verify::{Activity, Told};
use crate::clock::Timestamp;

/// Drawings are so wide, in their own units.
const WIDTH: u64 = 640;
const HEIGHT: u64 = 120;
/// A bar is no wider than this.
const WIDEST: f64 = 40.0;
/// So many bars are still told apart.
const MAX_BARS: usize = 93;
const DAY_MICROS: i64 = 86_400_000_000;
/// So many values of a field are listed.
const MOST: usize = 10;

/// How it came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Bad,
    Open,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Open => "",
        }
    }
}

/// Who asked for the report, and how.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The command, as it can be typed again.
    pub command: String,
    /// The user.
    pub user: String,
    /// The machine.
    pub host: String,
    /// The program and its version.
    pub made_by: String,
    /// When the check began.
    pub at: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// What was looked at: a directory, a file, an archive.
    pub place: String,
    /// With what it was compared: what kind of copy, and which.
    pub copies: Vec<(String, String)>,
}

/// One part of a section.
#[derive(Debug)]
pub(super) enum Part {
    Text(String),
    Facts(Vec<(String, String)>),
    Table { head: Vec<String>, rows: Vec<Vec<String>>, numbers: bool },
    List(Vec<String>),
    Bars { title: String, bars: Vec<Bar>, most: u64, from: String, to: String },
}

#[derive(Debug)]
pub(super) struct Bar {
    name: String,
    count: u64,
    x: String,
    width: String,
    height: u64,
    y: u64,
}

/// Sections begin with a heading; some on a new page.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) title: String,
    pub(super) parts: Vec<Part>,
    pub(super) on_new_page: bool,
}

#[derive(Debug)]
pub(super) struct Sheet {
    pub(super) title: String,
    pub(super) word: String,
    pub(super) tone: Tone,
    pub(super) sentences: Vec<String>,
    pub(super) sections: Vec<Section>,
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    policy: String,
    style: &'static str,
    made_by: String,
    sheet: &'a Sheet,
}

impl Sheet {
    pub(super) fn section(&mut self, title: &str, parts: Vec<Part>) -> &mut Section {
        let section = Section { title: visible(title), parts, on_new_page: false };
        self.sections.push(section);
        self.sections.last_mut().expect("one was added")
    }

    pub(super) fn render(&self, made_by: &str) -> Result<String, askama::Error> {
        let (policy, made_by) = (policy(None), visible(made_by));
        Page { policy, style: STYLE, made_by, sheet: self }.render()
    }
}

pub(super) fn facts(rows: Vec<(&str, String)>) -> Part {
    Part::Facts(rows.into_iter().map(|(name, text)| (name.to_owned(), visible(&text))).collect())
}

pub(super) fn text(text: impl AsRef<str>) -> Part {
    Part::Text(visible(text.as_ref()))
}

pub(super) fn list(items: impl IntoIterator<Item = String>) -> Part {
    Part::List(items.into_iter().map(|item| visible(&item)).collect())
}

pub(super) fn table(head: &[&str], rows: Vec<Vec<String>>) -> Part {
    let rows = rows.into_iter().map(|row| row.iter().map(|cell| visible(cell)).collect()).collect();
    Part::Table { head: head.iter().map(|name| (*name).to_owned()).collect(), rows, numbers: false }
}

impl Asked {
    pub(super) fn facts(&self) -> Part {
        let mut rows = vec![
            ("Run by", self.user.clone()),
            ("On host", self.host.clone()),
            ("With", self.made_by.clone()),
            ("Began", self.at.to_string()),
            ("Ended", self.ended.to_string()),
            ("Command", self.command.clone()),
        ];
        if self.copies.is_empty() {
            rows.push(("Compared with", "nothing from elsewhere".to_owned()));
        }
        for (kind, name) in &self.copies {
            rows.push(("Compared with", format!("{kind}: {name}")));
        }
        facts(rows)
    }
}

/// What a log recorded of itself.
pub(super) fn own_records(found: &Activity) -> Part {
    let row = |told: &Told| {
        let (seq, at) = (told.seq.to_string(), told.at.to_string());
        vec![seq, at, told.event_type.clone(), told.details.clone()]
    };
    let rows = found.told.iter().map(row).collect();
    table(&["Record", "When", "What", "Details"], rows)
}

/// What records say that were counted.
pub(super) fn activity(found: &Activity) -> Vec<Part> {
    let mut parts = vec![bars(found)];
    if found.days_beyond > 0 {
        parts.push(text(format!("{} more records are of further days.", found.days_beyond)));
    }
    for (name, field, groups) in [
        ("Actor", Field::Actor, &found.actors),
        ("Event type", Field::EventType, &found.event_types),
    ] {
        parts.extend(top(name, field, groups));
    }
    parts
}

fn top(name: &str, field: Field, groups: &Groups) -> Vec<Part> {
    let sorted = groups.sorted(&GroupBy::Field(field));
    let all: u64 = sorted.iter().map(|(_, records)| records).sum();
    let shown: Vec<Vec<String>> = sorted
        .iter()
        .take(MOST)
        .map(|(group, records)| {
            let value = match group {
                Group::Missing => "(none)".to_owned(),
                Group::Text(text) => visible(text),
                Group::Json(json) => visible(json),
            };
            vec![records.to_string(), value]
        })
        .collect();
    let more = sorted.len().saturating_sub(MOST);
    let rest: u64 = all - sorted.iter().take(MOST).map(|(_, records)| records).sum::<u64>();
    let head = vec!["Records".to_owned(), name.to_owned()];
    let mut parts = vec![Part::Table { head, rows: shown, numbers: true }];
    if groups.bound > 0 {
        parts.push(text(format!(
            "There are more different values than were kept: each count is at most what is shown, \
             and no value that is not listed has more than {} records.",
            groups.bound
        )));
    } else if more > 0 {
        parts.push(text(format!("{more} other values: {rest} records.")));
    }
    parts
}

/// Years without records are shown too, unless the log spans more years than this.
const MOST_YEARS: i64 = 500;

/// With the months, or years, between the first and the last that have no records.
fn filled(counted: Vec<(String, u64)>, a_year: i64) -> Vec<(String, u64)> {
    let number = |name: &str| -> Option<i64> {
        let year: i64 = name.get(..4)?.parse().ok()?;
        let month = if a_year == 1 { 1 } else { name.get(5..7)?.parse().ok()? };
        Some(year * a_year + month - 1)
    };
    let ends = counted.first().zip(counted.last());
    let ends = ends.and_then(|(first, last)| Some((number(&first.0)?, number(&last.0)?)));
    let Some((first, last)) = ends.filter(|(first, last)| last - first < MOST_YEARS * a_year)
    else {
        return counted;
    };
    let name = |at: i64| match a_year {
        1 => format!("{at:04}"),
        _ => format!("{:04}-{:02}", at.div_euclid(a_year), at.rem_euclid(a_year) + 1),
    };
    let known: std::collections::BTreeMap<String, u64> = counted.into_iter().collect();
    let with = |at| (name(at), known.get(&name(at)).copied().unwrap_or(0));
    (first..=last).map(with).collect()
}

/// Days that follow each other; of more than fit months, or years.
fn bars(found: &Activity) -> Part {
    let date = |day: i64| Timestamp::from_micros(day.saturating_mul(DAY_MICROS)).to_string();
    let first = found.days.keys().next().copied().unwrap_or(0);
    let last = found.days.keys().next_back().copied().unwrap_or(0);
    let by = |length: usize| {
        let mut all: Vec<(String, u64)> = Vec::new();
        for (day, records) in &found.days {
            let name: String = date(*day).chars().take(length).collect();
            match all.last_mut().filter(|(before, _)| *before == name) {
                Some((_, count)) => *count += records,
                None => all.push((name, *records)),
            }
        }
        all
    };
    let (unit, counted): (&str, Vec<(String, u64)>) = if last - first < MAX_BARS as i64 {
        // A day without records is seen as one.
        let day = |day| {
            let name: String = date(day).chars().take(10).collect();
            (name, found.days.get(&day).copied().unwrap_or(0))
        };
        ("day", (first..=last).map(day).collect())
    } else {
        // Nor is a silent month or year left out.
        let months = filled(by(7), 12);
        if months.len() <= MAX_BARS { ("month", months) } else { ("year", filled(by(4), 1)) }
    };
    let most = counted.iter().map(|(_, records)| *records).max().unwrap_or(0);
    let each = WIDTH as f64 / counted.len().max(1) as f64;
    let name = |at: Option<&(String, u64)>| at.map_or_else(String::new, |(name, _)| name.clone());
    let (from, to) = (name(counted.first()), name(counted.last()));
    let bar = |(at, (name, count)): (usize, (String, u64))| {
        let share = u128::from(count) * u128::from(HEIGHT) / u128::from(most.max(1));
        let height = (share as u64).max(u64::from(count > 0));
        Bar {
            name,
            count,
            x: format!("{:.2}", at as f64 * each),
            width: format!("{:.2}", (each * 0.85).clamp(0.5, WIDEST)),
            height,
            y: HEIGHT - height,
        }
    };
    let bars = counted.into_iter().enumerate().map(bar).collect();
    let title = format!("Records per {unit} (UTC, by the time at which they were accepted)");
    Part::Bars { title, bars, most, from, to }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_months_and_years_are_bars_as_well() {
        let of = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), 3)).collect();
        let names = |all: Vec<(String, u64)>| -> Vec<String> {
            all.into_iter().map(|(name, count)| format!("{name}:{count}")).collect()
        };
        assert_eq!(
            names(filled(of(&["2025-11", "2026-02"]), 12)),
            ["2025-11:3", "2025-12:0", "2026-01:0", "2026-02:3"]
        );
        assert_eq!(names(filled(of(&["2024", "2026"]), 1)), ["2024:3", "2025:0", "2026:3"]);
        assert_eq!(filled(of(&["0001", "9999"]), 1).len(), 2, "no drawing has room for those");
        assert_eq!(filled(Vec::new(), 12), Vec::new());
    }
}
