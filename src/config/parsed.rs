//! TOML with the line of each key.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::value::{Raw, RawTable};

/// A key of the file, known or not: dotted name, value, line.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) raw: Raw,
    pub(super) line: usize,
}

/// All keys of the text in the order of their lines. Tables that are sections are gone into:
/// each of their keys is one of the file.
pub(super) fn entries(
    path: &Path,
    content: &str,
    is_section: &dyn Fn(&str) -> bool,
) -> Result<Vec<Entry>, ConfigError> {
    // editors on other systems leave a byte order mark
    let content = content.strip_prefix('\u{feff}').unwrap_or(content);
    let document = DeTable::parse(content).map_err(|error| {
        let (line, column) = position(content, error.span().map_or(0, |span| span.start));
        let message = error.message().replace('\n', ", ");
        ConfigError::Syntax { path: path.to_owned(), line, column, message }
    })?;
    let mut found = Vec::new();
    flatten(content, "", document.get_ref(), is_section, &mut found);
    found.sort_by_key(|entry| entry.line);
    Ok(found)
}

fn flatten(
    content: &str,
    prefix: &str,
    table: &DeTable<'_>,
    is_section: &dyn Fn(&str) -> bool,
    found: &mut Vec<Entry>,
) {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.get_ref());
        match value.get_ref() {
            // an unknown table is one mistake, not one for each key in it
            DeValue::Table(inner) if is_section(&name) => {
                flatten(content, &format!("{name}."), inner, is_section, found);
            }
            other => {
                let line = position(content, key.span().start).0;
                let raw = tables(content, other).unwrap_or_else(|| raw(content, value));
                found.push(Entry { name, raw, line });
            }
        }
    }
}

/// An array of tables, and of nothing else.
fn tables(content: &str, value: &DeValue<'_>) -> Option<Raw> {
    let DeValue::Array(items) = value else { return None };
    let tables: Option<Vec<_>> = items
        .iter()
        .map(|item| match item.get_ref() {
            DeValue::Table(inner) => {
                Some(table(content, inner, position(content, item.span().start).0))
            }
            _ => None,
        })
        .collect();
    tables.filter(|tables| !tables.is_empty()).map(Raw::Tables)
}

fn table(content: &str, table: &DeTable<'_>, line: usize) -> RawTable {
    let mut entries: Vec<(String, Raw, usize)> = table
        .iter()
        .map(|(key, value)| {
            let line = position(content, key.span().start).0;
            (key.get_ref().to_string(), raw(content, value), line)
        })
        .collect();
    entries.sort_by_key(|(_, _, line)| *line);
    RawTable { line, entries }
}

fn raw(content: &str, spanned: &Spanned<DeValue<'_>>) -> Raw {
    let value = spanned.get_ref();
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) => {
            let digits = number.as_str().replace('_', "");
            i128::from_str_radix(&digits, number.radix())
                .map_or_else(|_| Raw::Other(number.to_string()), Raw::Integer)
        }
        DeValue::Float(number) => Raw::Other(number.as_str().to_owned()),
        DeValue::Boolean(value) => Raw::Bool(*value),
        DeValue::Datetime(at) => Raw::Other(format!("the date {at}")),
        DeValue::Array(items) => Raw::List(items.iter().map(|item| raw(content, item)).collect()),
        DeValue::Table(inner) => {
            Raw::Table(table(content, inner, position(content, spanned.span().start).0))
        }
    }
}

/// Line and column, from 1, of a byte offset.
fn position(content: &str, offset: usize) -> (usize, usize) {
    let before = content.get(..offset).unwrap_or(content);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
