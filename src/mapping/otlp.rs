//! OpenTelemetry's log records, one by one, each as a plain JSON object with its resource
//! and scope: `{"timeUnixNano":"…","body":…,"attributes":{…},"resource":{"attributes":{…}}}`.
//!
//! Protobuf and JSON give the same objects (opentelemetry-proto 1.x, `logs.proto`). Of
//! protobuf only this is needed, so it is read here, where it stands, and nothing is
//! allocated for what a message claims to have.

mod json;
mod wire;

use std::borrow::Cow;

use json::JsonLogs;
use wire::WireLogs;

/// How a request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

/// Why there is no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogError {
    /// The request is not what it says it is; nothing follows.
    Broken(String),
    /// It cannot be read; others follow.
    Bad(String),
    /// It, or its resource and scope, has so many bytes.
    TooLarge(usize),
}

/// Values in a record, in its resource or its scope, at most: what each takes while it is
/// read is many times what it takes in the request.
pub const MAX_VALUES: usize = 65_536;
/// What such a value takes at most.
pub const VALUE_BYTES: usize = 256;
/// A record is a line of the log at last.
const MAX_RECORD_BYTES: usize = 1 << 20;
/// A request may cost so much at most (see [`Logs::measure`]): more than whole batches of
/// long records do.
pub const MAX_COST: usize = 256 << 20;
/// What a record takes besides its bytes, counted in them.
const RECORD_COSTS: usize = 256;

const TOO_MANY: &str = "it has too many values";
const TOO_DEEP: &str = "values are nested too deep";

fn bad(what: impl std::fmt::Display) -> LogError {
    LogError::Bad(format!("the log record cannot be read: {what}"))
}

/// A resource and a scope, written out, or why they cannot be.
#[derive(Debug)]
struct Around {
    resource: Result<String, String>,
    scope: Result<String, String>,
}

impl Default for Around {
    fn default() -> Self {
        Self { resource: Ok(String::new()), scope: Ok(String::new()) }
    }
}

impl Around {
    /// Their bytes, in the record.
    fn bytes(&self) -> usize {
        let of = |text: &Result<String, String>| text.as_ref().map_or(0, String::len);
        of(&self.resource) + of(&self.scope)
    }

    fn cost(&self, record: usize, max_bytes: usize) -> usize {
        let around = self.bytes();
        RECORD_COSTS + if around > max_bytes { 0 } else { around + record }
    }

    /// Both, if a record of so many bytes may have them.
    fn fit(&self, record: usize, max_bytes: usize) -> Result<(&str, &str), LogError> {
        let because = |what: &'static str| move |why: &String| bad(format!("its {what}: {why}"));
        let resource = self.resource.as_ref().map_err(because("resource"))?;
        let scope = self.scope.as_ref().map_err(because("scope"))?;
        // It would be written again and again.
        match self.bytes() {
            around if around > max_bytes => Err(LogError::TooLarge(around)),
            _ if record > MAX_RECORD_BYTES => Err(LogError::TooLarge(record)),
            _ => Ok((resource, scope)),
        }
    }
}

/// The records of an `ExportLogsServiceRequest`.
#[derive(Debug)]
pub struct Logs<'a> {
    of: Of<'a>,
    max_bytes: usize,
}

#[derive(Debug)]
enum Of<'a> {
    Wire(WireLogs<'a>),
    Json(JsonLogs<'a>),
}

impl<'a> Logs<'a> {
    /// Of a whole request. A record whose resource and scope have more than `max_bytes` is not
    /// written out.
    ///
    /// # Errors
    /// When it is no such request at all.
    pub fn new(body: &'a [u8], encoding: Encoding, max_bytes: usize) -> Result<Self, String> {
        let of = match encoding {
            Encoding::Protobuf => Of::Wire(WireLogs::new(body)),
            Encoding::Json => Of::Json(JsonLogs::new(body)?),
        };
        Ok(Self { of, max_bytes })
    }
}

impl Logs<'_> {
    /// What all of its records cost together, in bytes: each is written with its resource and
    /// scope. Nothing of a record is looked at but where it ends.
    ///
    /// # Errors
    /// When the request is broken.
    pub fn measure(mut self) -> Result<usize, String> {
        let mut all = 0_usize;
        loop {
            let one = match &mut self.of {
                Of::Wire(logs) => {
                    logs.raw().map(|raw| raw.map(|raw| logs.around.cost(raw.len(), self.max_bytes)))
                }
                Of::Json(logs) => {
                    logs.raw().map(|raw| raw.map(|raw| logs.around.cost(raw.len(), self.max_bytes)))
                }
            };
            match one {
                Ok(Some(cost)) => all = all.saturating_add(cost),
                Ok(None) => return Ok(all),
                Err(LogError::Broken(why) | LogError::Bad(why)) => return Err(why),
                Err(LogError::TooLarge(_)) => {}
            }
        }
    }
}

impl Iterator for Logs<'_> {
    type Item = Result<String, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = match &mut self.of {
            Of::Wire(logs) => logs.next(self.max_bytes),
            Of::Json(logs) => logs.next(self.max_bytes),
        };
        next.transpose()
    }
}

/// A value of OpenTelemetry's.
#[derive(Debug)]
enum Any<'a> {
    Nothing,
    Text(Cow<'a, str>),
    /// As JSON writes it.
    Plain(Cow<'a, str>),
    Array(Vec<Any<'a>>),
    Map(Vec<(Cow<'a, str>, Any<'a>)>),
}

impl Any<'_> {
    fn write(&self, out: &mut String) {
        match self {
            Self::Nothing => out.push_str("null"),
            Self::Text(text) => quote(text, out),
            Self::Plain(text) => out.push_str(text),
            Self::Array(values) => {
                out.push('[');
                for (at, value) in values.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    value.write(out);
                }
                out.push(']');
            }
            Self::Map(pairs) => {
                out.push('{');
                for (at, (key, value)) in pairs.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    quote(key, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

fn quote(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

/// A floating-point number; JSON has no word for those that are none.
fn number(value: f64) -> String {
    if value.is_finite() {
        serde_json::Value::from(value).to_string()
    } else {
        format!("\"{value}\"")
    }
}

/// An object that is being written.
#[derive(Debug, Default)]
struct Object(String);

impl Object {
    fn set(&mut self, key: &str, value: &Any<'_>) {
        if !matches!(value, Any::Nothing) {
            self.key(key);
            value.write(&mut self.0);
        }
    }

    fn plain(&mut self, key: &str, json: &str) {
        self.key(key);
        self.0.push_str(json);
    }

    fn key(&mut self, key: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        quote(key, &mut self.0);
        self.0.push(':');
    }

    /// A record with what is around it.
    fn whole(mut self, resource: &str, scope: &str) -> String {
        self.plain("resource", resource);
        self.plain("scope", scope);
        self.end()
    }

    fn end(mut self) -> String {
        if self.0.is_empty() {
            self.0.push('{');
        }
        self.0.push('}');
        self.0
    }
}

/// What a whole request is answered: how many were refused for good, and the first reason.
#[must_use]
pub fn response(encoding: Encoding, rejected: u64, reason: Option<&str>) -> Vec<u8> {
    let reason = reason.unwrap_or_default();
    match encoding {
        Encoding::Json if rejected == 0 => b"{}".to_vec(),
        Encoding::Json => serde_json::json!({ "partialSuccess": {
            "rejectedLogRecords": rejected.to_string(), "errorMessage": reason,
        }})
        .to_string()
        .into_bytes(),
        Encoding::Protobuf if rejected == 0 => Vec::new(),
        Encoding::Protobuf => {
            let mut partial = Vec::new();
            wire::put_varint(&mut partial, 1, rejected);
            wire::put_bytes(&mut partial, 2, reason.as_bytes());
            let mut whole = Vec::new();
            wire::put_bytes(&mut whole, 1, &partial);
            whole
        }
    }
}

/// What a request is told that was not taken: a `google.rpc.Status`.
#[must_use]
pub fn status(encoding: Encoding, message: &str) -> Vec<u8> {
    match encoding {
        Encoding::Json => serde_json::json!({ "message": message }).to_string().into_bytes(),
        Encoding::Protobuf => {
            let mut whole = Vec::new();
            wire::put_bytes(&mut whole, 2, message.as_bytes());
            whole
        }
    }
}

#[cfg(test)]
mod tests;
