//! `--resume`: after which line the log goes on.

use std::path::PathBuf;

use serde_json::Value;

use super::Place;
use super::rotation::name_of;
use crate::audit::read::error::ReadError;
use crate::audit::read::query::{Bounds, Reader, Request};
use crate::audit::{EventError, is_redacted};
use crate::cli::exit::CliError;
use crate::cli::open::shared_fs;
use crate::cli::reach;
use crate::clock::{Clock, SystemClock};
use crate::collector::client::ClientError;
use crate::config::Settings;

/// The last record of these files that the log has.
#[derive(Debug)]
pub(crate) struct Position {
    place: Place,
    /// How many of the line's events are there.
    events: usize,
    record: Value,
}

impl Position {
    /// Whether all of a line that is at `place` has been recorded: it comes before.
    pub(crate) fn is_at(&self, place: &Place) -> bool {
        self.place == *place
    }

    /// Where it is.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// What is still to be recorded of the line's events, if it is the same line.
    pub(super) fn rest(&self, mut events: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, EventError> {
        let same = events.get(self.events - 1).is_some_and(|event| {
            let event: Value = serde_json::from_slice(event).unwrap_or_default();
            let imported = |record: &Value, key: &str| record["details"]["imported"][key].clone();
            event["event_type"] == self.record["event_type"]
                && (event["timestamp"].is_null() || event["timestamp"] == self.record["timestamp"])
                // The log may have hidden it, with what it was made of.
                && (imported(&event, "hmac") == imported(&self.record, "hmac")
                    || imported(&self.record, "hmac").as_str().is_some_and(is_redacted))
        });
        if !same {
            return Err(EventError::Malformed(format!(
                "it is not the line that the log has from there (record {}). To continue, give \
                 the files their old names, or leave out --resume",
                self.record["seq"]
            )));
        }
        Ok(events.split_off(self.events))
    }
}

/// What the log has of an import.
pub(super) enum Found {
    /// Nothing at all.
    Nothing,
    /// Of these files.
    Here(Position),
    /// Only of others, or of these under other names: the last line.
    Others(Place),
}

/// Asks the log: the collector if one runs, else the files.
pub(super) fn find(settings: &Settings, files: &[PathBuf]) -> Result<Found, CliError> {
    let names: Vec<String> = files.iter().map(|file| regex::escape(&name_of(file))).collect();
    let ours = format!("details.imported.file ~ ^(?:{})$", names.join("|"));
    if let Some(position) = newest(settings, Some(ours))? {
        return Ok(Found::Here(position));
    }
    let others = newest(settings, None)?;
    Ok(others.map_or(Found::Nothing, |position| Found::Others(position.place)))
}

fn newest(settings: &Settings, ours: Option<String>) -> Result<Option<Position>, CliError> {
    let mut conditions = vec!["details.imported.format = python-audit".to_owned()];
    conditions.extend(ours);
    let request = Request { conditions, limit: Some(1), ..Request::default() };
    let question = request.question(SystemClock.now())?;
    let answer = match reach::collector(settings) {
        Ok(mut client) => client.query(&question)?,
        Err(ClientError::NotRunning { .. }) => {
            let reader = Reader::open(&shared_fs(), &settings.log_dir, Bounds::default());
            let mut reader = match reader {
                Err(ReadError::NoLog { .. }) => return Ok(None),
                opened => opened?,
            };
            reader.query(&question.query)?
        }
        Err(error) => return Err(error.into()),
    };
    let Some(line) = answer.lines().and_then(|lines| lines.iter().next()) else { return Ok(None) };
    let record: Value = serde_json::from_slice(line).unwrap_or_default();
    let imported = &record["details"]["imported"];
    let (Some(file), Some(line)) = (imported["file"].as_str(), imported["line"].as_u64()) else {
        return Ok(None);
    };
    let events = 1 + imported["part"].as_u64().unwrap_or(0) as usize;
    let place = Place { file: file.into(), line, record: None };
    Ok(Some(Position { place, events, record }))
}
