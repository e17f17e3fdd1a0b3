//! `--format NAME` of a mapping: foreign objects, and `--explain`, which shows what becomes
//! of them.

use std::sync::Arc;

use serde_json::{Value, json};

use super::lines::{self, Lines, Place, Translate};
use super::{Format, RecordArgs};
use crate::audit::record::event::{MAX_DETAILS_BYTES, MAX_LINE_BYTES};
use crate::audit::record::sanitize::escape_for_terminal;
use crate::audit::{EventError, ParseMode};
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::config::{self, Settings};
use crate::health::wording::count;
use crate::mapping::otlp::{Encoding, LogError, Logs, MAX_COST};
use crate::mapping::{self, Mapping, NotMapped, Shape};

/// So many misfits are named.
const MAX_NAMED: usize = 20;

/// The mapping of a name, if it lets out nothing that the settings hide.
pub(super) fn named(settings: &Settings, name: &str) -> Result<Arc<Mapping>, CliError> {
    let Some(mapping) = settings.mapping.get(name) else {
        let names = settings.mapping.names();
        let hint = config::suggestion(name, &names);
        let known = format!("ndjson, python-audit, {}", names.join(", "));
        let hint = if hint.is_empty() { known } else { format!("{hint} There are {known}") };
        let name = escape_for_terminal(name);
        return Err(CliError::usage(format!("--format: there is no format {name:?}")).hint(hint));
    };
    if let Some((target, path)) = mapping.lets_out(&settings.redact) {
        let name = target.name();
        let text = format!(
            "the mapping {} takes {name} from {path}, which redact hides: it would be stored unredacted",
            mapping.name()
        );
        let hidden = format!("add {name:?} to redact, or ");
        let hidden = if target.can_be_hidden() { &*hidden } else { "" };
        let hint = format!("{hidden}take {name} from elsewhere in a mapping of your own");
        return Err(CliError::usage(text).hint(hint));
    }
    Ok(mapping)
}

/// Makes events of foreign objects.
pub(super) struct Mapped<'a> {
    mapping: Arc<Mapping>,
    settings: &'a Settings,
    records: u64,
    misfits: u64,
    named: Vec<(Place, String)>,
    shed: u64,
    /// Records of the last piece that make no event, while others of it do.
    refused: Option<Vec<EventError>>,
}

impl<'a> Mapped<'a> {
    /// With `keep_going` a record that makes no event costs none of the others of its piece.
    pub(super) fn new(mapping: Arc<Mapping>, settings: &'a Settings, keep_going: bool) -> Self {
        let refused = keep_going.then(Vec::new);
        Self { mapping, settings, records: 0, misfits: 0, named: Vec::new(), shed: 0, refused }
    }

    fn event(&mut self, place: &Place, object: &[u8]) -> Result<Vec<u8>, EventError> {
        let mapped = apply(&self.mapping, object, self.settings)?;
        self.shed += u64::from(!mapped.shed.is_empty());
        self.misfits += mapped.misfits.len() as u64;
        let room = MAX_NAMED.saturating_sub(self.named.len());
        let named = mapped.misfits.iter().take(room);
        self.named.extend(named.map(|misfit| (place.clone(), misfit.to_string())));
        Ok(mapped.line)
    }
}

/// Bytes that details may have.
fn max_details(settings: &Settings) -> usize {
    (settings.max_details_size.0 as usize).min(MAX_DETAILS_BYTES)
}

/// What a piece of the input holds: itself, or the log records of an OTLP request.
fn objects(
    mapping: &Mapping,
    piece: Vec<u8>,
    settings: &Settings,
) -> Result<Vec<Result<Vec<u8>, EventError>>, EventError> {
    if mapping.draft().shape != Shape::Otlp {
        return Ok(vec![Ok(piece)]);
    }
    let limit = max_details(settings);
    let logs = || Logs::new(&piece, Encoding::Json, limit);
    let cost = logs().and_then(Logs::measure).map_err(EventError::Malformed)?;
    if cost > MAX_COST {
        let text = "with its resource in each of its records the request is too large";
        return Err(EventError::Malformed(text.to_owned()));
    }
    let log = |log: Result<String, LogError>| match log {
        Ok(log) => Ok(log.into_bytes()),
        Err(LogError::Broken(reason) | LogError::Bad(reason)) => Err(EventError::Malformed(reason)),
        Err(LogError::TooLarge(actual)) => Err(EventError::DetailsTooLarge { limit, actual }),
    };
    Ok(logs().map_err(EventError::Malformed)?.map(log).collect())
}

/// The event of an object, checked as the collector will.
fn apply(
    mapping: &Mapping,
    object: &[u8],
    settings: &Settings,
) -> Result<mapping::Mapped, EventError> {
    let mapped = mapping.apply(object, max_details(settings), &settings.redact);
    let mapped = mapped.map_err(refused)?;
    // Around the object there is little: it tells what is too large better than the line.
    if mapped.line.len() > MAX_LINE_BYTES {
        let (limit, actual) = (max_details(settings), object.len());
        return Err(EventError::DetailsTooLarge { limit, actual });
    }
    lines::check(&mapped.line, ParseMode::Strict, settings)?;
    Ok(mapped)
}

fn refused(error: NotMapped) -> EventError {
    match error {
        NotMapped::NotJson(error) => EventError::NotJson(error),
        NotMapped::NotAnObject(_) => EventError::Malformed(error.to_string()),
        NotMapped::NoType { .. } => EventError::Unmapped(error.to_string()),
    }
}

impl Translate for Mapped<'_> {
    fn line(
        &mut self,
        place: &Place,
        line: Result<Vec<u8>, EventError>,
    ) -> Result<Vec<Vec<u8>>, EventError> {
        let mut events = Vec::new();
        for object in objects(&self.mapping, line?, self.settings)? {
            self.records += 1;
            match object.and_then(|object| self.event(place, &object)) {
                Ok(event) => events.push(event),
                Err(error) => match &mut self.refused {
                    Some(refused) => refused.push(error),
                    None => return Err(error),
                },
            }
        }
        Ok(events)
    }

    fn refused(&mut self) -> Vec<EventError> {
        self.refused.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn is_suspicious(&self) -> bool {
        self.misfits > 0
    }

    fn document(&self) -> Option<(&'static str, Value)> {
        let named = |(place, what): &(Place, String)| json!({ "file": &*place.file, "line": place.line, "record": place.record, "what": what });
        let document = json!({
            "name": self.mapping.name(),
            "records": self.records,
            "misfits": self.misfits,
            "first_misfits": self.named.iter().map(named).collect::<Vec<_>>(),
            "shed": self.shed,
        });
        Some(("mapping", document))
    }

    fn text(&self) -> Vec<String> {
        let mut said = Vec::new();
        if self.misfits > 0 {
            let fields = count(self.misfits, "field");
            said.push(format!("{fields} did not fit and are only in details:"));
        }
        said.extend(self.named.iter().map(|(place, what)| format!("  {place}: {what}")));
        if self.misfits > self.named.len() as u64 {
            said.push(format!("  and {} more", self.misfits - self.named.len() as u64));
        }
        if self.shed > 0 {
            let events = count(self.shed, "event");
            said.push(format!(
                "{events} had more than max_details_size: some of their parts are only there by their SHA-256"
            ));
        }
        said
    }
}

/// Shows what the first objects would become, and records nothing.
pub(super) fn explain(
    context: &Context,
    settings: &Settings,
    args: &RecordArgs,
    first: u64,
) -> Result<u8, CliError> {
    let Format::Mapped(name) = &args.format else { return Ok(0) };
    let mapping = named(settings, name)?;
    let mut lines = Lines::cut(args.file.clone(), &mapping)?;
    let mut explained = Vec::new();
    let mut is_good = true;
    while (explained.len() as u64) < first
        && let Some((place, object)) = lines.next()?
    {
        let objects = object.and_then(|object| objects(&mapping, object, settings));
        let objects = match objects {
            Ok(objects) => objects,
            Err(error) => vec![Err(error)],
        };
        for object in objects {
            let size = object.as_ref().map_or(0, Vec::len);
            let outcome = object.and_then(|object| apply(&mapping, &object, settings));
            is_good &= outcome.as_ref().is_ok_and(|mapped| mapped.misfits.is_empty());
            if (explained.len() as u64) < first {
                explained.push((place.clone(), size, outcome));
            }
        }
    }
    if context.json {
        let all: Vec<Value> = explained.iter().map(|one| document(settings, one)).collect();
        context.print(&json!({ "format": mapping.name(), "explained": all }).to_string())?;
    } else if explained.is_empty() {
        context.print("There are no records.")?;
    } else {
        let all: Vec<String> = explained.iter().map(|one| text(settings, one)).collect();
        context.print(&all.join("\n"))?;
    }
    Ok(if is_good { 0 } else { Exit::Found as u8 })
}

type Explained = (Place, usize, Result<mapping::Mapped, EventError>);

/// A field's text, unless it is hidden in the log as well.
fn shown<'a>(settings: &Settings, field: &'a mapping::Field) -> &'a str {
    let is_named = |path: &crate::field_path::FieldPath| {
        path.name().is_some_and(|step| step.matches(field.target.name()))
    };
    if settings.redact.iter().any(is_named) { "(redacted)" } else { &field.text }
}

fn document(settings: &Settings, (place, size, outcome): &Explained) -> Value {
    let mut told = json!({ "file": &*place.file, "line": place.line, "record": place.record });
    match outcome {
        Ok(mapped) => {
            let mut fields = serde_json::Map::new();
            for field in &mapped.fields {
                let mut one = json!({ "value": shown(settings, field), "from": field.from });
                if field.is_cut {
                    one["cut"] = json!(true);
                }
                fields.insert(field.target.name().to_owned(), one);
            }
            told["fields"] = Value::Object(fields);
            told["details_bytes"] = json!(size);
            told["misfits"] = json!(
                mapped
                    .misfits
                    .iter()
                    .map(|m| json!({ "field": m.target.name(), "path": m.path, "what": m.what }))
                    .collect::<Vec<_>>()
            );
            let shed: Vec<Value> = mapped
                .shed
                .iter()
                .map(|(path, bytes)| json!({ "path": path, "bytes": bytes }))
                .collect();
            told["shed"] = json!(shed);
        }
        Err(error) => {
            told["refused"] = json!({ "kind": error.kind(), "message": error.to_string() })
        }
    }
    told
}

fn text(settings: &Settings, (place, size, outcome): &Explained) -> String {
    let mut out = format!("{}\n", escape_for_terminal(&place.to_string()));
    let mapped = match outcome {
        Ok(mapped) => mapped,
        Err(error) => {
            let error = error.to_string();
            return out + &format!("  refused     {}\n", escape_for_terminal(&error));
        }
    };
    for field in &mapped.fields {
        let (value, from) = (escape_for_terminal(shown(settings, field)), &field.from);
        let cut = if field.is_cut { ", cut" } else { "" };
        out += &format!(
            "  {:<10}  {value}  (from {}{cut})\n",
            field.target.name(),
            escape_for_terminal(from)
        );
    }
    out += &format!("  {:<10}  the whole object, {}\n", "details", count(*size as u64, "byte"));
    for (path, bytes) in &mapped.shed {
        out += &format!(
            "              without {} ({}): too large\n",
            escape_for_terminal(path),
            count(*bytes as u64, "byte")
        );
    }
    for misfit in &mapped.misfits {
        out += &format!("  no fit      {}\n", escape_for_terminal(&misfit.to_string()));
    }
    out
}
