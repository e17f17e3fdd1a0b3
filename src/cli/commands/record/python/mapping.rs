//! From a line of the Python utilities' logs to events: what has a place in an event
//! takes it; everything else, and what could not be kept as it was, stands in
//! `details.imported`. From that the line's object can be put together again.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::json::{Json, Text};
use super::time;
use super::{Place, Signature};
use crate::audit::record::event::{MAX_EVENT_TYPE_BYTES, MAX_IDENTIFIER_BYTES, RESERVED_PREFIX};
use crate::audit::record::push_string;
// The engine's, which has to find them again where something is hidden.
use crate::audit::record::sanitize::clean_identifier;
use crate::audit::{IMPORTED_FORMAT, IMPORTED_MOVED as MOVED, IMPORTED_NAMES as NAMES};
use crate::zone::{LocalTimeError, Zone};

/// The type of an event whose own cannot be one.
const UNNAMED: &str = "python.event";
/// Before one that is the log's own.
const PREFIX: &str = "python.";
/// A line that is no object.
const UNREADABLE: &str = "import.unreadable";
/// More of a line's text.
const PART: &str = "import.part";
/// What the rest of `details` takes beside a part's text, without the file's name.
const AROUND: usize = 400;
/// A part holds that much, whatever the limit.
const LEAST_PART: usize = 64;

type Members<'a> = [(Text<'a>, Json<'a>)];

/// An object, taken apart.
#[derive(Default)]
pub(super) struct Mapped {
    event_type: String,
    timestamp: Option<String>,
    /// Actor, source and target.
    names: [Option<String>; 3],
    /// The members of `details`, as text.
    details: Vec<u8>,
    /// What has no place of its own, as text.
    fields: Vec<u8>,
    /// The paths at which a text stands for what JSON does not have.
    replaced: Vec<String>,
    hmac: Option<String>,
    signature: Option<Signature>,
    /// Whether something found no place: the line's text has to be kept.
    pub(super) is_incomplete: bool,
    /// Whether there is no time that can be read.
    pub(super) without_time: bool,
    /// Whether the time's zone was assumed.
    pub(super) assumed_zone: bool,
    /// Why the time cannot be one in the assumed zone.
    pub(super) skipped: Option<LocalTimeError>,
}

impl Mapped {
    pub(super) fn new(members: &Members<'_>, signature: Signature, zone: &Zone) -> Self {
        let mut mapped = Self { signature: Some(signature), ..Self::default() };
        let mut event_type = None;
        mapped.without_time = true;
        for (key, value) in members {
            let kept = match (key.plain(), value) {
                (Some("event_type"), Json::Text(Text::Plain(text))) => {
                    let (own, kept) = type_of(text);
                    event_type = Some(own);
                    kept
                }
                (Some("timestamp"), value) => mapped.take_time(value, zone),
                // That there were none is said as well.
                (Some("details"), Json::Object(inside)) if !inside.is_empty() => {
                    mapped.take_details(inside, members);
                    true
                }
                (Some("signature"), Json::Text(Text::Plain(text))) if text.len() <= 128 => {
                    mapped.hmac = Some(text.to_string());
                    true
                }
                (Some(name), value) => {
                    let place = NAMES.iter().position(|(python, _)| *python == name);
                    place.is_some_and(|place| mapped.take_name(place, value))
                }
                (None, _) => false,
            };
            if !kept {
                mapped.keep(key, value);
            }
        }
        mapped.event_type = event_type.unwrap_or_else(|| UNNAMED.to_owned());
        mapped
    }

    /// Whether the record's own time says all of it.
    fn take_time(&mut self, value: &Json<'_>, zone: &Zone) -> bool {
        let (found, text) = match value {
            Json::Text(Text::Plain(text)) => match time::parse(text, zone) {
                Ok(found) => (found, Some(text)),
                Err(skipped) => {
                    self.skipped = Some(skipped);
                    return false;
                }
            },
            Json::Int(number) | Json::Float(number) => {
                (time::of_number(number).map(|at| (at, false)), None)
            }
            _ => (None, None),
        };
        let Some((at, assumed)) = found else { return false };
        let written = at.to_string();
        let same = text.is_some_and(|text| **text == *written);
        (self.without_time, self.assumed_zone) = (false, assumed);
        self.timestamp = Some(written);
        same
    }

    /// Takes what can be a name; whether that is all of it.
    fn take_name(&mut self, place: usize, value: &Json<'_>) -> bool {
        let (text, is_text) = match value {
            Json::Text(Text::Plain(text)) => (&**text, true),
            Json::Int(number) => (*number, false),
            _ => return false,
        };
        if !(1..=MAX_IDENTIFIER_BYTES).contains(&text.len()) {
            return false;
        }
        let mut name = text.to_owned();
        // Done here: it is nobody's attack today.
        let cleaned = clean_identifier(&mut name);
        let fits = name.len() <= MAX_IDENTIFIER_BYTES;
        self.names[place] = fits.then_some(name);
        fits && is_text && !cleaned
    }

    fn take_details(&mut self, inside: &Members<'_>, all: &Members<'_>) {
        let mut path = vec!["details".to_owned()];
        for (key, value) in inside {
            // `imported` is ours: theirs is kept with what has no place.
            if key.plain() == Some("imported") {
                self.is_incomplete |= all.iter().any(|(key, _)| key.plain() == Some(MOVED));
                if !self.is_incomplete {
                    self.keep(&Text::Plain(Cow::Borrowed(MOVED)), value);
                }
                continue;
            }
            if !self.details.is_empty() {
                self.details.push(b',');
            }
            member(key, value, &mut path, &mut self.details, &mut self.replaced);
        }
    }

    fn keep(&mut self, key: &Text<'_>, value: &Json<'_>) {
        if !self.fields.is_empty() {
            self.fields.push(b',');
        }
        let mut path = ["details", "imported", "fields"].map(str::to_owned).to_vec();
        member(key, value, &mut path, &mut self.fields, &mut self.replaced);
    }

    /// The event; `None` when its details are larger than `limit`. `text_parts` follow it.
    pub(super) fn event(
        &self,
        place: &Place,
        limit: usize,
        text_parts: Option<usize>,
    ) -> Option<Vec<u8>> {
        let mut details = b"{".to_vec();
        details.extend_from_slice(&self.details);
        if !self.details.is_empty() {
            details.push(b',');
        }
        details.extend_from_slice(b"\"imported\":{");
        self.about(place, &mut details);
        if !self.fields.is_empty() {
            details.extend_from_slice(b",\"fields\":{");
            details.extend_from_slice(&self.fields);
            details.push(b'}');
        }
        for (nth, path) in self.replaced.iter().enumerate() {
            details.extend_from_slice(if nth == 0 { b",\"replaced\":[" } else { b"," });
            push_string(&mut details, path);
        }
        if !self.replaced.is_empty() {
            details.push(b']');
        }
        if let Some(parts) = text_parts {
            details.extend_from_slice(format!(",\"text_parts\":{parts}").as_bytes());
        }
        details.extend_from_slice(b"}}");
        (details.len() <= limit).then(|| self.with(&details))
    }

    /// The event, without what is too large, and the line's text in parts after it.
    pub(super) fn events_with_text(&self, place: &Place, line: &str, limit: usize) -> Vec<Vec<u8>> {
        let parts = texts(line.as_bytes(), room(place, limit));
        let event = self.event(place, limit, Some(parts.len())).unwrap_or_else(|| {
            let mut details = b"{\"imported\":{".to_vec();
            self.about(place, &mut details);
            details.extend_from_slice(format!(",\"text_parts\":{}}}}}", parts.len()).as_bytes());
            self.with(&details)
        });
        let mut events = vec![event];
        events.extend(part_events(place, &parts, self.timestamp.as_deref()));
        events
    }

    fn about(&self, place: &Place, out: &mut Vec<u8>) {
        push_place(place, out);
        if let Some(signature) = self.signature {
            out.extend_from_slice(format!(",\"signature\":\"{}\"", signature.as_str()).as_bytes());
        }
        if let Some(hmac) = &self.hmac {
            out.extend_from_slice(b",\"hmac\":");
            push_string(out, hmac);
        }
    }

    fn with(&self, details: &[u8]) -> Vec<u8> {
        let mut out = event_start(&self.event_type, self.timestamp.as_deref());
        for ((_, key), name) in NAMES.iter().zip(&self.names) {
            if let Some(name) = name {
                out.extend_from_slice(format!(",\"{key}\":").as_bytes());
                push_string(&mut out, name);
            }
        }
        out.extend_from_slice(b",\"details\":");
        out.extend_from_slice(details);
        out.push(b'}');
        out
    }
}

/// The events of a line that is no object that could be kept as one.
pub(super) fn unreadable(place: &Place, line: &[u8], reason: &str, limit: usize) -> Vec<Vec<u8>> {
    let parts = texts(line, room(place, limit));
    let mut out = event_start(UNREADABLE, None);
    out.extend_from_slice(b",\"details\":{\"imported\":{");
    push_place(place, &mut out);
    out.extend_from_slice(b",\"reason\":");
    push_string(&mut out, reason);
    match &parts[..] {
        [only] => only.push(&mut out),
        more => out.extend_from_slice(format!(",\"text_parts\":{}", more.len()).as_bytes()),
    }
    out.extend_from_slice(b"}}}");
    let mut events = vec![out];
    if parts.len() > 1 {
        events.extend(part_events(place, &parts, None));
    }
    events
}

fn part_events(place: &Place, parts: &[Part<'_>], timestamp: Option<&str>) -> Vec<Vec<u8>> {
    let of = parts.len();
    let event = |(nth, part): (usize, &Part<'_>)| {
        let mut out = event_start(PART, timestamp);
        out.extend_from_slice(b",\"details\":{\"imported\":{");
        push_place(place, &mut out);
        out.extend_from_slice(format!(",\"part\":{},\"of\":{of}", nth + 1).as_bytes());
        part.push(&mut out);
        out.extend_from_slice(b"}}}");
        out
    };
    parts.iter().enumerate().map(event).collect()
}

fn event_start(event_type: &str, timestamp: Option<&str>) -> Vec<u8> {
    let mut out = b"{\"event_type\":".to_vec();
    push_string(&mut out, event_type);
    if let Some(timestamp) = timestamp {
        out.extend_from_slice(b",\"timestamp\":");
        push_string(&mut out, timestamp);
    }
    out
}

fn push_place(place: &Place, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("\"format\":\"{IMPORTED_FORMAT}\",\"file\":").as_bytes());
    push_string(out, &place.file);
    out.extend_from_slice(format!(",\"line\":{}", place.line).as_bytes());
}

/// Bytes that a part's text may take, as it is written.
fn room(place: &Place, limit: usize) -> usize {
    // A control character in the name takes six.
    limit.saturating_sub(AROUND + 6 * place.file.len()).max(LEAST_PART)
}

/// A stretch of a line.
enum Part<'a> {
    Text(&'a str),
    /// What is not UTF-8.
    Bytes(&'a [u8]),
}

impl Part<'_> {
    fn push(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => {
                out.extend_from_slice(b",\"text\":");
                push_string(out, text);
            }
            Self::Bytes(bytes) => {
                out.extend_from_slice(b",\"text_base64\":");
                push_string(out, &STANDARD.encode(bytes));
            }
        }
    }
}

/// Cuts a line so that each part fits.
fn texts(line: &[u8], room: usize) -> Vec<Part<'_>> {
    let Ok(mut text) = std::str::from_utf8(line) else {
        return line.chunks((room / 4 * 3).max(1)).map(Part::Bytes).collect();
    };
    let mut parts = Vec::new();
    loop {
        let mut used = 2;
        let end = text.char_indices().find_map(|(at, char)| {
            used += match char {
                '"' | '\\' => 2,
                '\0'..' ' => 6,
                other => other.len_utf8(),
            };
            (used > room).then_some(at)
        });
        let (part, rest) = text.split_at(end.unwrap_or(text.len()));
        parts.push(Part::Text(part));
        if rest.is_empty() {
            return parts;
        }
        text = rest;
    }
}

/// The event's type, and whether it says all of what it was.
fn type_of(text: &str) -> (String, bool) {
    let mut own = text.to_owned();
    let mut kept = true;
    if own.starts_with(RESERVED_PREFIX) {
        own = format!("{PREFIX}{own}");
        kept = false;
    }
    // Theirs of that name is told from one that has none.
    kept &= !clean_identifier(&mut own) && own != UNNAMED;
    if own.is_empty() || own.len() > MAX_EVENT_TYPE_BYTES {
        return (UNNAMED.to_owned(), false);
    }
    (own, kept)
}

/// A key and its value. `path` is where they are.
fn member(
    key: &Text<'_>,
    value: &Json<'_>,
    path: &mut Vec<String>,
    out: &mut Vec<u8>,
    replaced: &mut Vec<String>,
) {
    let plain = match key {
        Text::Plain(plain) => plain.to_string(),
        // Never: see `are_keepable`.
        Text::Broken(_) => String::new(),
    };
    push_string(out, &plain);
    out.push(b':');
    path.push(plain.replace('\\', "\\\\").replace('.', "\\."));
    put(value, path, out, replaced);
    path.pop();
}

/// A value as it was written; what JSON or the log does not have as the text that
/// Python has for it.
fn put(value: &Json<'_>, path: &mut Vec<String>, out: &mut Vec<u8>, replaced: &mut Vec<String>) {
    match value {
        Json::Null => out.extend_from_slice(b"null"),
        Json::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Json::Int(text) | Json::Float(text) if text.parse::<f64>().is_ok_and(f64::is_finite) => {
            out.extend_from_slice(text.as_bytes());
        }
        Json::Text(Text::Plain(text)) => push_string(out, text),
        Json::Array(items) => {
            for (nth, item) in items.iter().enumerate() {
                out.push(if nth == 0 { b'[' } else { b',' });
                path.push(nth.to_string());
                put(item, path, out, replaced);
                path.pop();
            }
            out.extend_from_slice(if items.is_empty() { b"[]" } else { b"]" });
        }
        Json::Object(members) => {
            for (nth, (key, value)) in members.iter().enumerate() {
                out.push(if nth == 0 { b'{' } else { b',' });
                member(key, value, path, out, replaced);
            }
            out.extend_from_slice(if members.is_empty() { b"{}" } else { b"}" });
        }
        Json::Int(text) | Json::Float(text) => {
            push_string(out, text);
            replaced.push(path.join("."));
        }
        Json::Constant(_) | Json::Text(Text::Broken(_)) => {
            let mut text = Vec::new();
            super::dumps::dumps(value, &mut text);
            push_string(out, &String::from_utf8_lossy(&text));
            replaced.push(path.join("."));
        }
    }
}

/// Whether no key is broken: a key has no text that could stand for it.
pub(super) fn are_keepable(members: &Members<'_>) -> bool {
    fn is_keepable(value: &Json<'_>) -> bool {
        match value {
            Json::Array(items) => items.iter().all(is_keepable),
            Json::Object(members) => are_keepable(members),
            _ => true,
        }
    }
    members.iter().all(|(key, value)| key.plain().is_some() && is_keepable(value))
}
