//! What is shown of a record: its fields by name.

use serde_json::Value;
use serde_json::value::RawValue;

use super::condition::Path;
use crate::audit::record::Record;

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
const KEYS: [&str; 10] = [
    "seq",
    "timestamp",
    "event_type",
    "actor",
    "source",
    "target",
    "outcome",
    "details",
    "origin",
    "recorded_at",
];

/// What a record has in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// As JSON.
    pub json: String,
    /// A text without its quotes; anything else as JSON.
    pub plain: String,
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

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a stored line has in these columns; `None` for a line that is no record.
    #[must_use]
    pub fn row(columns: &[Self], line: &[u8]) -> Option<Vec<Option<Cell>>> {
        let record: Record<'_> = serde_json::from_slice(line).ok()?;
        Some(columns.iter().map(|column| column.cell(&record, line)).collect())
    }

    fn cell(&self, record: &Record<'_>, line: &[u8]) -> Option<Cell> {
        let text = |text: Option<&str>| text.map(|text| Cell::new(&Value::from(text)));
        let raw = |raw: Option<&RawValue>| {
            raw.map(|raw| Cell { json: raw.get().to_owned(), plain: raw.get().to_owned() })
        };
        match &self.kind {
            Kind::Key(0) => Some(Cell::new(&Value::from(record.seq))),
            Kind::Key(1) => text(Some(&record.timestamp.to_string())),
            Kind::Key(2) => text(Some(&record.event_type)),
            Kind::Key(3) => text(record.actor.as_deref()),
            Kind::Key(4) => text(record.source.as_deref()),
            Kind::Key(5) => text(record.target.as_deref()),
            Kind::Key(6) => text(record.outcome.as_deref()),
            Kind::Key(7) => raw(record.details),
            Kind::Key(8) => raw(record.origin),
            Kind::Key(_) => text(record.recorded_at.map(|at| at.to_string()).as_deref()),
            Kind::Path(path) => {
                let mut cell = None;
                path.look(line, &mut |value| {
                    cell = Some(Cell::new(value));
                    false
                });
                cell
            }
        }
    }
}

impl Cell {
    fn new(value: &Value) -> Self {
        let plain = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Self { json: value.to_string(), plain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(Column::defaults().len(), 8);
    }
}
