//! What an import has done, for people and for `--json`.

use serde_json::json;

use crate::audit::EventError;
use crate::cli::commands::record::lines::Place;
use crate::cli::commands::record::shape::Shape;
use crate::health::wording::count;

/// What was done so far.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) recorded: u64,
    /// Events that the log had before, by their ids.
    pub(super) duplicates: u64,
    pub(super) first_seq: Option<u64>,
    pub(super) last_seq: Option<u64>,
    pub(super) rejected: Vec<Rejected>,
    /// Whether places are told with their files.
    pub(super) names_files: bool,
    /// What runs before recorded: how many, the last of them, and up to where.
    pub(super) before: Option<Before>,
}

pub(super) struct Before {
    pub(super) recorded: u64,
    pub(super) last_seq: Option<u64>,
    pub(super) place: Place,
}

/// A line that is not recorded, and why.
pub(super) struct Rejected {
    pub(super) place: Place,
    pub(super) column: Option<usize>,
    pub(super) kind: String,
    pub(super) message: String,
    /// What to do about it.
    pub(super) hint: Option<String>,
}

impl Rejected {
    pub(super) fn of(place: Place, error: &EventError) -> Self {
        let kind = error.kind().to_owned();
        let (column, message) = match error {
            // A line has one place: the column belongs to it.
            EventError::NotJson(json) => {
                (Some(json.column), format!("not a JSON object: {}", json.what))
            }
            other => (None, other.to_string()),
        };
        let hint = match error {
            EventError::NotJson(json) if json.what.ends_with("is not UTF-8") => Some(
                "convert the file to UTF-8 first, for example with `iconv -f LATIN1 -t UTF-8`. A \
                 UTF-16 file needs no conversion if it begins with a byte order mark",
            ),
            EventError::UnknownKey(_) => Some(
                "to move unknown keys into details, add --lenient. If the file has another shape, \
                 convert it to one event a line first, for example with jq",
            ),
            EventError::Unmapped(_) => Some(
                "--explain shows what becomes of the first records; docs/mappings.md tells how to \
                 write a mapping of your own",
            ),
            EventError::MissingType => Some(
                "each line has to be an object with an event_type. If the file has another shape, \
                 convert it first, for example with jq",
            ),
            _ => None,
        };
        Self { place, column, kind, message, hint: hint.map(str::to_owned) }
    }

    /// The same where the line seems to be something else than a wrong event.
    pub(super) fn seen(self, shape: Option<Shape>) -> Self {
        match shape {
            None => self,
            Some(Shape { what, hint }) => {
                Self { column: None, message: what, hint: Some(hint), ..self }
            }
        }
    }
}

impl Tally {
    pub(super) fn document(&self) -> serde_json::Map<String, serde_json::Value> {
        let rejected: Vec<_> = self
            .rejected
            .iter()
            .map(|r| {
                let line = r.place.line;
                let mut told = json!({ "line": line, "kind": r.kind, "message": r.message });
                if let Some(record) = r.place.record {
                    told["record"] = json!(record);
                }
                if let Some(column) = r.column {
                    told["column"] = json!(column);
                }
                if self.names_files {
                    told["file"] = json!(&*r.place.file);
                }
                told
            })
            .collect();
        let mut map = serde_json::Map::new();
        map.insert("recorded".to_owned(), json!(self.recorded));
        map.insert("duplicates".to_owned(), json!(self.duplicates));
        map.insert("first_seq".to_owned(), json!(self.first_seq));
        map.insert("last_seq".to_owned(), json!(self.last_seq));
        map.insert("rejected".to_owned(), json!(rejected));
        if let Some(before) = &self.before {
            let (file, line) = (&*before.place.file, before.place.line);
            let told = json!({ "recorded": before.recorded, "file": file, "line": line });
            map.insert("went_on_after".to_owned(), told);
        }
        map
    }

    pub(super) fn recorded(&mut self, seq: u64) {
        self.recorded += 1;
        self.first_seq = Some(self.first_seq.map_or(seq, |first| first.min(seq)));
        self.last_seq = Some(self.last_seq.map_or(seq, |last| last.max(seq)));
    }

    /// For the position: the last seq, and how many, of all runs.
    pub(super) fn standing(&self) -> (Option<u64>, u64) {
        let (last, recorded) =
            self.before.as_ref().map_or((None, 0), |before| (before.last_seq, before.recorded));
        (last.max(self.last_seq), recorded + self.recorded)
    }

    pub(super) fn place(&self, place: &Place) -> String {
        match place.record {
            _ if self.names_files => place.to_string(),
            Some(record) => format!("record {record} (line {})", place.line),
            None => format!("line {}", place.line),
        }
    }

    pub(super) fn text(&self) -> String {
        let text = match (self.first_seq, self.last_seq) {
            (Some(first), Some(last)) => {
                let seqs = if first == last {
                    format!("seq {first}")
                } else {
                    format!("seq {first} to {last}")
                };
                format!("{} recorded, {seqs}", count(self.recorded, "event"))
            }
            _ => "0 events recorded".to_owned(),
        };
        let text = match self.duplicates {
            0 => text,
            before => format!("{text}; {} recorded before, by their ids", count(before, "event")),
        };
        match &self.before {
            // A position may have been written by anybody who may write the user's files.
            Some(before)
                if self.recorded == 0 && self.duplicates == 0 && self.rejected.is_empty() =>
            {
                format!(
                    "0 events recorded: an interrupted run had come to {}, with {} recorded; --from-start \
                 records all of it again",
                    self.place(&before.place),
                    count(before.recorded, "event")
                )
            }
            Some(before) => format!("{text}, after {} of an interrupted run", before.recorded),
            None => text,
        }
    }
}
