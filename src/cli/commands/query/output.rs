//! Where what was found goes, and as what.

use clap::ValueEnum;

use crate::audit::read::query::{Answer, Column, Found, History, Query, Want, csv, ocsf};
use crate::cli::context::Context;
use crate::cli::exit::CliError;
use crate::ui::{self, Table};

/// How records are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Table,
    /// One JSON object a line: the stored bytes, unless --fields is given
    Ndjson,
    /// RFC 4180, with a header
    Csv,
    /// For a SIEM: one OCSF event a line, of the class API Activity
    Ocsf,
}

/// Where records go, and as what.
pub(super) struct Output<'a> {
    pub(super) context: &'a Context,
    pub(super) format: Format,
    pub(super) columns: Vec<Column>,
    /// Whether fields were chosen: NDJSON then is not the stored bytes.
    pub(super) chosen: bool,
    /// Whether a header has been printed.
    pub(super) begun: bool,
}

impl Output<'_> {
    pub(super) fn print(
        &mut self,
        answer: &Answer,
        query: &Query,
        top: Option<usize>,
    ) -> Result<(), CliError> {
        match &answer.found {
            Found::Count(count) => self.context.stream(&count.to_string()),
            Found::Groups(groups) => {
                let Want::Groups(by) = &query.want else { return Ok(()) };
                let all = groups.sorted(by);
                let top = top.unwrap_or(usize::MAX);
                let text = match self.format {
                    Format::Table => ui::groups_text(&all, top, &self.table()),
                    Format::Ndjson | Format::Ocsf => ui::groups_ndjson(&all, top),
                    Format::Csv => csv::groups(&all, top),
                };
                if text.is_empty() { Ok(()) } else { self.context.stream(&text) }
            }
            Found::Summary(summary) => {
                let table = self.table();
                let text = match (self.format, summary.by.first()) {
                    (Format::Table, None) => ui::histogram_text(summary, &table),
                    (Format::Csv, _) => ui::histogram_csv(summary),
                    (_, None) => ui::histogram_ndjson(summary),
                    (Format::Table, Some(by)) => ui::groups_over_time_text(summary, by, &table),
                    (_, Some(by)) => ui::groups_over_time_ndjson(summary, by),
                };
                if text.is_empty() { Ok(()) } else { self.context.stream(&text) }
            }
            Found::Records(lines) => {
                for part in lines.iter().collect::<Vec<_>>().chunks(ui::ROWS_A_TABLE) {
                    self.records(part, &answer.history)?;
                }
                Ok(())
            }
        }
    }

    /// Prints some records.
    pub(super) fn records(&mut self, lines: &[&[u8]], history: &History) -> Result<(), CliError> {
        if lines.is_empty() {
            return Ok(());
        }
        let header = !std::mem::replace(&mut self.begun, true);
        match self.format {
            Format::Table => {
                self.context.stream(&ui::records_table(lines, &self.columns, header, &self.table()))
            }
            Format::Csv => {
                self.context.stream(&csv::records(lines.iter().copied(), &self.columns, header))
            }
            Format::Ocsf => {
                self.context.print_bytes(ocsf::events(lines.iter().copied(), history).as_bytes())
            }
            Format::Ndjson if self.chosen => {
                self.context.stream(&ui::records_chosen(lines, &self.columns))
            }
            Format::Ndjson => {
                // As they are stored, whatever is in them.
                let mut bytes = lines.join(&b'\n');
                bytes.push(b'\n');
                self.context.print_bytes(&bytes)
            }
        }
    }

    /// CSV without records still has its header.
    pub(super) fn end(&self, total: &Answer) -> Result<(), CliError> {
        match (total.lines(), self.format) {
            (Some(_), Format::Csv) if !self.begun => {
                self.context.stream(&csv::records([], &self.columns, true))
            }
            _ => Ok(()),
        }
    }

    fn table(&self) -> Table {
        Table {
            width: self.context.printer.width(),
            color: self.context.printer.color(),
            ascii: self.context.ascii,
        }
    }
}
