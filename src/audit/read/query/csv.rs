//! Records and groups as CSV (RFC 4180): what is stored, unchanged. A spreadsheet takes what
//! begins with `=` for a formula unless it is told that the columns are text.

use super::column::Column;
use super::groups::Group;

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
    for line in lines {
        let row = Column::row(columns, line).unwrap_or_default();
        let row: Vec<String> =
            row.into_iter().map(|cell| cell.map_or_else(String::new, |cell| cell.plain)).collect();
        text.push_str(&rows_of(&[row]));
        if text.len() > most {
            return None;
        }
    }
    Some(text)
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
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    // Writing to memory does not fail.
    rows.iter().for_each(|row| drop(writer.write_record(row)));
    let bytes = writer.into_inner().unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
