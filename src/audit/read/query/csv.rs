//! Records and groups as CSV (RFC 4180): what is stored, unchanged. A spreadsheet takes what
//! begins with `=` for a formula unless it is told that the columns are text.

use csv::{Writer, WriterBuilder};
use rayon::prelude::{ParallelIterator, ParallelSlice};

use super::column::Column;
use super::groups::Group;
use super::json::text_of;
use super::run::pool;

/// So many rows are made by one thread.
const ROWS: usize = 128;

/// Records, a row each.
#[must_use]
pub fn records<'a>(
    lines: impl IntoIterator<Item = &'a [u8]>,
    columns: &[Column],
    header: bool,
) -> String {
    bounded(lines, columns, header, usize::MAX).unwrap_or_default()
}

/// The same; `None` when it would have more than `most` bytes. Columns may hold the same
/// again and again, so a table can be far larger than its records.
#[must_use]
pub fn bounded<'a>(
    lines: impl IntoIterator<Item = &'a [u8]>,
    columns: &[Column],
    header: bool,
    most: usize,
) -> Option<String> {
    let mut text = String::new();
    if header {
        let names: Vec<String> = columns.iter().map(|column| column.name().to_owned()).collect();
        text.push_str(&rows_of(&[names]));
    }
    let lines: Vec<&[u8]> = lines.into_iter().collect();
    let threads = pool().map_or(1, rayon::ThreadPool::current_num_threads);
    for some in lines.chunks(ROWS * 4 * threads) {
        let parts: Vec<String> = match pool() {
            Some(pool) if some.len() > ROWS => {
                pool.install(|| some.par_chunks(ROWS).map(|some| rows(some, columns)).collect())
            }
            _ => vec![rows(some, columns)],
        };
        for part in parts {
            text.push_str(&part);
            if text.len() > most {
                return None;
            }
        }
    }
    Some(text)
}

fn rows(lines: &[&[u8]], columns: &[Column]) -> String {
    let mut writer = writer();
    for line in lines {
        let row = Column::values(columns, line).unwrap_or_default();
        for value in row {
            let json = value.map_or("", |value| value.get());
            // Writing to memory does not fail.
            let _ = match text_of(json) {
                Some(text) => writer.write_field(text.as_bytes()),
                None => writer.write_field(json),
            };
        }
        let _ = writer.write_record(None::<&[u8]>);
    }
    text_from(writer)
}

fn writer() -> Writer<Vec<u8>> {
    WriterBuilder::new().flexible(true).from_writer(Vec::new())
}

fn text_from(writer: Writer<Vec<u8>>) -> String {
    let bytes = writer.into_inner().unwrap_or_default();
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Groups; the type tells `5` from `"5"`.
#[must_use]
pub fn groups(groups: &[(Group, u64)], top: usize) -> String {
    let mut rows = vec![["group", "records", "type"].map(str::to_owned).to_vec()];
    rows.extend(groups.iter().take(top).map(|(group, records)| {
        let plain = match group {
            Group::Missing => String::new(),
            Group::Text(text) | Group::Json(text) => text.clone(),
        };
        vec![plain, records.to_string(), group.type_name().to_owned()]
    }));
    rows_of(&rows)
}

/// Any rows.
#[must_use]
pub fn rows_of(rows: &[Vec<String>]) -> String {
    let mut writer = writer();
    // Writing to memory does not fail.
    rows.iter().for_each(|row| drop(writer.write_record(row)));
    text_from(writer)
}
