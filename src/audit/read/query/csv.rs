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
    let mut rows = Vec::new();
    if header {
        rows.push(columns.iter().map(|column| column.name().to_owned()).collect());
    }
    for line in lines {
        let row = Column::row(columns, line).unwrap_or_default();
        let row: Vec<String> =
            row.into_iter().map(|cell| cell.map_or_else(String::new, |cell| cell.plain)).collect();
        rows.push(row);
    }
    rows_of(&rows)
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
