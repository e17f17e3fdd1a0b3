//! OTLP in JSON (protobuf's JSON mapping, with ids in hexadecimal).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Any, Around, LogError, MAX_VALUES, Object, TOO_MANY, bad};
use crate::json_place::JsonError;

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow, default, rename = "resourceLogs")]
    resource_logs: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct ResourceLogs<'a> {
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "scopeLogs")]
    scope_logs: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct ScopeLogs<'a> {
    #[serde(borrow)]
    scope: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "logRecords")]
    log_records: Option<Vec<&'a RawValue>>,
}

#[derive(Default, Deserialize)]
struct Attributed<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    version: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    attributes: Option<Vec<Pair<'a>>>,
}

#[derive(Deserialize)]
struct Pair<'a> {
    #[serde(borrow, default)]
    key: Cow<'a, str>,
    #[serde(borrow)]
    value: Option<AnyValue<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnyValue<'a> {
    #[serde(borrow)]
    string_value: Option<Cow<'a, str>>,
    bool_value: Option<bool>,
    #[serde(borrow)]
    int_value: Option<&'a RawValue>,
    #[serde(borrow)]
    double_value: Option<&'a RawValue>,
    #[serde(borrow)]
    array_value: Option<Values<'a>>,
    #[serde(borrow)]
    kvlist_value: Option<Pairs<'a>>,
    #[serde(borrow)]
    bytes_value: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Values<'a> {
    #[serde(borrow, default)]
    values: Option<Vec<AnyValue<'a>>>,
}

#[derive(Deserialize)]
struct Pairs<'a> {
    #[serde(borrow, default)]
    values: Option<Vec<Pair<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogRecord<'a> {
    #[serde(borrow)]
    time_unix_nano: Option<&'a RawValue>,
    #[serde(borrow)]
    observed_time_unix_nano: Option<&'a RawValue>,
    #[serde(borrow)]
    severity_number: Option<&'a RawValue>,
    #[serde(borrow)]
    severity_text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    body: Option<AnyValue<'a>>,
    #[serde(borrow, default)]
    attributes: Option<Vec<Pair<'a>>>,
    #[serde(borrow)]
    dropped_attributes_count: Option<&'a RawValue>,
    #[serde(borrow)]
    flags: Option<&'a RawValue>,
    #[serde(borrow)]
    trace_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    span_id: Option<Cow<'a, str>>,
}

/// What is in a request's frame.
fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, LogError> {
    serde_json::from_str(text).map_err(|error| LogError::Broken(broken(&error, text.as_bytes())))
}

/// What is in a record, a resource or a scope: it alone is bad if it cannot be read.
fn read_values<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    if objects(text) > MAX_VALUES {
        return Err(TOO_MANY.to_owned());
    }
    serde_json::from_str(text).map_err(|error| JsonError::of(&error, text.as_bytes()).to_string())
}

/// How many objects a JSON text has, itself and inside each other.
fn objects(text: &str) -> usize {
    let (mut in_text, mut escaped, mut found) = (false, false, 0);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b'{' if !in_text => found += 1,
            _ => {}
        }
    }
    found
}

fn broken(error: &serde_json::Error, text: &[u8]) -> String {
    format!("the body is no OTLP request in JSON: {}", JsonError::of(error, text))
}

/// A number as JSON has it, whether it came with or without quotes: in these it may be written in
/// ways that JSON does not know, such as 05.
fn bare(raw: &RawValue) -> Cow<'_, str> {
    let text = raw.get();
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match inner.and_then(|digits| digits.parse::<i64>().ok()) {
        Some(number) => Cow::Owned(number.to_string()),
        None => Cow::Borrowed(text),
    }
}

impl<'a> AnyValue<'a> {
    fn any(self) -> Any<'a> {
        if let Some(text) = self.string_value.or(self.bytes_value) {
            return Any::Text(text);
        }
        if let Some(value) = self.bool_value {
            return Any::Plain(Cow::Borrowed(if value { "true" } else { "false" }));
        }
        if let Some(number) = self.int_value {
            return Any::Plain(bare(number));
        }
        if let Some(number) = self.double_value {
            return Any::Plain(Cow::Borrowed(number.get()));
        }
        if let Some(array) = self.array_value {
            return Any::Array(array.values.into_iter().flatten().map(Self::any).collect());
        }
        self.kvlist_value.map_or(Any::Nothing, |pairs| Any::Map(map(pairs.values)))
    }
}

fn map(pairs: Option<Vec<Pair<'_>>>) -> Vec<(Cow<'_, str>, Any<'_>)> {
    let pairs = pairs.into_iter().flatten();
    pairs.map(|pair| (pair.key, pair.value.map_or(Any::Nothing, AnyValue::any))).collect()
}

/// The records of a request.
#[derive(Debug)]
pub(super) struct JsonLogs<'a> {
    resources: std::vec::IntoIter<&'a RawValue>,
    scopes: std::vec::IntoIter<&'a RawValue>,
    records: std::vec::IntoIter<&'a RawValue>,
    pub(super) around: Around,
}

impl<'a> JsonLogs<'a> {
    pub(super) fn new(body: &'a [u8]) -> Result<Self, String> {
        let request: Request<'a> =
            serde_json::from_slice(body).map_err(|error| broken(&error, body))?;
        let resources = request.resource_logs.unwrap_or_default().into_iter();
        let none = Vec::new().into_iter();
        Ok(Self { resources, scopes: none.clone(), records: none, around: Around::default() })
    }

    /// The text of the next record, with what is around it at hand.
    pub(super) fn raw(&mut self) -> Result<Option<&'a str>, LogError> {
        loop {
            if let Some(raw) = self.records.next() {
                return Ok(Some(raw.get()));
            } else if let Some(raw) = self.scopes.next() {
                let logs: ScopeLogs<'a> = read(raw.get())?;
                self.around.scope = attributed(logs.scope, false);
                self.records = logs.log_records.unwrap_or_default().into_iter();
            } else if let Some(raw) = self.resources.next() {
                let logs: ResourceLogs<'a> = read(raw.get())?;
                self.around.resource = attributed(logs.resource, true);
                self.scopes = logs.scope_logs.unwrap_or_default().into_iter();
            } else {
                return Ok(None);
            }
        }
    }

    pub(super) fn next(&mut self, max_bytes: usize) -> Result<Option<String>, LogError> {
        let Some(text) = self.raw()? else { return Ok(None) };
        let (resource, scope) = self.around.fit(text.len(), max_bytes)?;
        let record = record(read_values(text).map_err(bad)?);
        Ok(Some(record.whole(resource, scope)))
    }
}

fn attributed(what: Option<&RawValue>, always: bool) -> Result<String, String> {
    let mut object = Object::default();
    let Some(what) = what else { return Ok(object.end()) };
    let what: Attributed<'_> = read_values(what.get())?;
    for (key, text) in [("name", what.name), ("version", what.version)] {
        object.set(key, &text.map_or(Any::Nothing, Any::Text));
    }
    if always || what.attributes.as_ref().is_some_and(|pairs| !pairs.is_empty()) {
        object.set("attributes", &Any::Map(map(what.attributes)));
    }
    Ok(object.end())
}

fn record(log: LogRecord<'_>) -> Object {
    let mut object = Object::default();
    let quoted = |raw: Option<&RawValue>| {
        raw.map_or(Any::Nothing, |raw| {
            Any::Text(Cow::Owned(raw.get().trim_matches('"').to_owned()))
        })
    };
    let plain = |raw: Option<&RawValue>| {
        raw.map_or(Any::Nothing, |raw| Any::Plain(Cow::Owned(bare(raw).into_owned())))
    };
    object.set("timeUnixNano", &quoted(log.time_unix_nano));
    object.set("observedTimeUnixNano", &quoted(log.observed_time_unix_nano));
    object.set("severityNumber", &plain(log.severity_number));
    object.set("severityText", &log.severity_text.map_or(Any::Nothing, Any::Text));
    object.set("eventName", &log.event_name.map_or(Any::Nothing, Any::Text));
    object.set("body", &log.body.map_or(Any::Nothing, AnyValue::any));
    object.set("droppedAttributesCount", &plain(log.dropped_attributes_count));
    object.set("flags", &plain(log.flags));
    object.set("traceId", &log.trace_id.map_or(Any::Nothing, Any::Text));
    object.set("spanId", &log.span_id.map_or(Any::Nothing, Any::Text));
    object.set("attributes", &Any::Map(map(log.attributes)));
    object
}
