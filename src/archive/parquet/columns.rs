//! A line becomes columns, and columns become a line.

use std::borrow::Cow;

use super::schema::Column;
use crate::audit::record::{Record, peek_seq, push_string};
use crate::clock::Timestamp;

/// What the columns hold of a record.
///
/// They hold what a JSON parser reads in the line. Where they do not make the very line again
/// (other keys, another order, a time that is spelled in another way, no record at all), the
/// line itself is kept as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Columns<'a> {
    pub(super) seq: u64,
    /// Microseconds.
    pub(super) timestamp: Option<i64>,
    pub(super) texts: [Option<Cow<'a, str>>; Column::TEXTS.len()],
    pub(super) details: Option<&'a str>,
    pub(super) origin: Option<&'a str>,
    pub(super) recorded_at: Option<i64>,
    pub(super) extra: Option<&'a [u8]>,
}

impl<'a> Columns<'a> {
    /// Of a line without its LF; `None` where it does not begin with a record's seq, which no
    /// line of a log does. `scratch` is overwritten.
    pub(super) fn of(line: &'a [u8], scratch: &mut Vec<u8>) -> Option<Self> {
        let seq = peek_seq(line)?;
        let foreign = Self {
            seq,
            timestamp: None,
            texts: [const { None }; Column::TEXTS.len()],
            details: None,
            origin: None,
            recorded_at: None,
            extra: Some(line),
        };
        let Ok(record) = serde_json::from_slice::<Record<'a>>(line) else { return Some(foreign) };
        if record.seq != seq {
            return Some(foreign);
        }
        let Record { event_type, actor, source, target, outcome, .. } = record;
        let mut columns = Self {
            timestamp: Some(record.timestamp.micros()),
            texts: [Some(event_type), actor, source, target, outcome],
            details: record.details.map(|json| json.get()),
            origin: record.origin.map(|json| json.get()),
            recorded_at: record.recorded_at.map(Timestamp::micros),
            extra: None,
            ..foreign
        };
        scratch.clear();
        columns.write_line(scratch);
        if scratch != line {
            columns.extra = Some(line);
        }
        Some(columns)
    }

    /// Appends the line that they make.
    pub(super) fn write_line(&self, out: &mut Vec<u8>) {
        if let Some(line) = self.extra {
            return out.extend_from_slice(line);
        }
        out.extend_from_slice(b"{\"seq\":");
        out.extend_from_slice(itoa::Buffer::new().format(self.seq).as_bytes());
        push_time(out, "timestamp", self.timestamp);
        for (column, text) in Column::TEXTS.iter().zip(&self.texts) {
            if let Some(text) = text {
                push_key(out, column.name());
                push_string(out, text);
            }
        }
        for (key, json) in [("details", self.details), ("origin", self.origin)] {
            if let Some(json) = json {
                push_key(out, key);
                out.extend_from_slice(json.as_bytes());
            }
        }
        push_time(out, "recorded_at", self.recorded_at);
        out.push(b'}');
    }
}

fn push_key(out: &mut Vec<u8>, key: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

fn push_time(out: &mut Vec<u8>, key: &str, micros: Option<i64>) {
    if let Some(micros) = micros {
        push_key(out, key);
        out.push(b'"');
        Timestamp::from_micros(micros).write_to(out);
        out.push(b'"');
    }
}
