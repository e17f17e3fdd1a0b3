//! What is shown of a record: its fields by name.

use serde_json::value::RawValue;

use super::json::text_of;
use super::path::{Path, find_outside};
use super::skim::{members, value};
use crate::audit::record::head::Head;

/// A column: a field of the record, or something in `details` or `origin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    name: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Key(usize),
    Path(Path),
}

/// The keys of a record, in stored order.
const KEYS: [&str; 11] = [
    "seq",
    "timestamp",
    "event_type",
    "actor",
    "source",
    "target",
    "outcome",
    "details",
    "origin",
    "id",
    "recorded_at",
];

/// What a record has in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// As JSON, as it is stored.
    pub json: String,
    /// A text without its quotes; anything else as it is stored.
    pub plain: String,
    /// Whether it is a text.
    pub is_text: bool,
}

impl Column {
    /// The columns that are shown unless others are asked for.
    #[must_use]
    pub fn defaults() -> Vec<Self> {
        (0..8).map(|key| Self { name: KEYS[key].to_owned(), kind: Kind::Key(key) }).collect()
    }

    /// Reads a name: a record's key (`type` is `event_type`), or a path.
    ///
    /// # Errors
    /// What would be understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let name = if text == "type" { "event_type" } else { text };
        let kind = match KEYS.iter().position(|key| *key == name) {
            Some(key) => Kind::Key(key),
            None => Kind::Path(
                Path::parse(name)
                    .map_err(|reason| format!("{reason}; or one of {}", KEYS.join(", ")))?,
            ),
        };
        Ok(Self { name: name.to_owned(), kind })
    }

    /// Reads several, with commas between them.
    ///
    /// # Errors
    /// What would be understood.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        let mut columns = Vec::new();
        let mut rest = text;
        while let Some(at) = find_outside(rest, &[',']) {
            columns.push(Self::parse(&rest[..at])?);
            rest = &rest[at + 1..];
        }
        columns.push(Self::parse(rest)?);
        Ok(columns)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its name without the path to it.
    #[must_use]
    pub fn short_name(&self) -> String {
        match &self.kind {
            Kind::Key(_) => self.name.clone(),
            Kind::Path(path) => path.last(),
        }
    }

    /// Whether it may hold other values than texts.
    #[must_use]
    pub fn is_typed(&self) -> bool {
        matches!(self.kind, Kind::Path(_))
    }

    /// What a stored line has in these columns, as it is stored; `None` for a line that is
    /// no record.
    #[must_use]
    pub fn row(columns: &[Self], line: &[u8]) -> Option<Vec<Option<Cell>>> {
        let values = Self::values(columns, line)?;
        Some(values.into_iter().map(|value| value.map(Cell::new)).collect())
    }

    /// The same, as it stands in the line.
    pub(super) fn values<'a>(
        columns: &[Self],
        line: &'a [u8],
    ) -> Option<Vec<Option<&'a RawValue>>> {
        Head::parse(line)?;
        let text = std::str::from_utf8(line).ok()?;
        let mut texts: [Option<&str>; KEYS.len()] = [None; KEYS.len()];
        let is_whole = members(text, &mut |key, value| {
            if let Some(at) = KEYS.iter().position(|known| *known == key) {
                texts[at] = Some(value);
            }
            true
        });
        let of = |column: &Self| match &column.kind {
            Kind::Key(at) => texts[*at].and_then(value),
            Kind::Path(path) => {
                let mut first = None;
                path.look(line, &mut |value| {
                    first = Some(value);
                    false
                });
                first
            }
        };
        is_whole.then(|| columns.iter().map(of).collect())
    }
}

impl Cell {
    fn new(raw: &RawValue) -> Self {
        let json = raw.get();
        let text = text_of(json);
        let is_text = text.is_some();
        let plain = text.map_or_else(|| json.to_owned(), |text| text.into_owned());
        Self { json: json.to_owned(), plain, is_text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C4: nothing is rounded or written anew.
    #[test]
    fn values_come_out_as_they_are_stored() {
        let line = br#"{"seq":7,"timestamp":"2026-02-04T21:09:40.000000Z","event_type":"x","details":{"n":18446744073709551617,"f":1.10,"e":1e-999999999,"o":{"z":1,"a":9007199254740993.0},"t":"\u00e4"},"origin":{}}"#;
        let columns: Vec<Column> =
            ["details.n", "details.f", "details.e", "details.o", "details.t"]
                .iter()
                .map(|name| Column::parse(name).expect("a column"))
                .collect();
        let row = Column::row(&columns, line).expect("a record");
        let cells: Vec<_> = row.into_iter().flatten().map(|cell| (cell.json, cell.plain)).collect();
        let same = |text: &str| (text.to_owned(), text.to_owned());
        assert_eq!(
            cells,
            [
                same("18446744073709551617"),
                same("1.10"),
                same("1e-999999999"),
                same(r#"{"z":1,"a":9007199254740993.0}"#),
                (r#""\u00e4""#.to_owned(), "ä".to_owned()),
            ]
        );
    }

    #[test]
    fn a_row_has_what_the_record_has() {
        let line = br#"{"seq":7,"timestamp":"2026-02-04T21:09:40.000000Z","event_type":"x","actor":"a\"b","details":{"n":[1,"two"]},"origin":{"uid":5}}"#;
        let columns: Vec<Column> = ["seq", "type", "actor", "target", "details.n.1", "origin.uid"]
            .iter()
            .map(|name| Column::parse(name).expect("a column"))
            .collect();
        let row = Column::row(&columns, line).expect("a record");
        let plain: Vec<_> = row.iter().map(|cell| cell.as_ref().map(|cell| &*cell.plain)).collect();
        assert_eq!(plain, [Some("7"), Some("x"), Some("a\"b"), None, Some("two"), Some("5")]);
        assert_eq!(row[2].as_ref().expect("a cell").json, r#""a\"b""#);
        assert_eq!(Column::row(&columns, b"no record"), None);
        assert!(Column::parse("colour").is_err());
        let names = |text: &str| {
            let columns = Column::parse_list(text).expect("columns");
            columns.iter().map(|column| column.name().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names("seq,type"), ["seq", "event_type"]);
        assert_eq!(names(r#"details."a,b".c,seq"#), [r#"details."a,b".c"#, "seq"]);
        assert_eq!(Column::defaults().len(), 8);
    }
}
