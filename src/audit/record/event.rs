//! Events: what a caller submits.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::sanitize;
use super::sanitize::{DetailsError, clean_identifier, has_control, json_type};
use crate::clock::{Timestamp, TimestampError, is_finer_than_kept};
use crate::json_place::JsonError;

/// `event_type`, in bytes, at most.
pub const MAX_EVENT_TYPE_BYTES: usize = 128;
/// `actor`, `source`, `target` and `outcome`, in bytes, at most.
pub const MAX_IDENTIFIER_BYTES: usize = 256;
/// `id`, in bytes, at most.
pub const MAX_ID_BYTES: usize = 128;
/// A line, in bytes, at most; without its LF.
pub const MAX_LINE_BYTES: usize = 1 << 20;
/// However large `max_details_size` is: a record has to fit into a line.
pub const MAX_DETAILS_BYTES: usize = 512 << 10;
/// `details` as compact JSON, in bytes, at most, unless `max_details_size` says otherwise.
pub const DEFAULT_MAX_DETAILS_BYTES: usize = crate::defaults::MAX_DETAILS_SIZE;
/// Event types beginning so are the engine's own.
pub const RESERVED_PREFIX: &str = "audit.";

/// The member of `details` that a time stands in as it was given, where it is finer than a
/// record's own.
pub const EXACT_TIME: &str = "timestamp_exact";

const KEYS: &str = "event_type, actor, source, target, outcome, timestamp, details, id";

/// Whether an event may have a key of this name.
#[must_use]
pub fn is_event_key(name: &str) -> bool {
    KEYS.split(", ").any(|key| key == name)
}

/// What may be configured of the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventLimits {
    /// `details` as compact JSON, in bytes, at most.
    pub max_details_bytes: usize,
}

impl Default for EventLimits {
    fn default() -> Self {
        Self { max_details_bytes: DEFAULT_MAX_DETAILS_BYTES }
    }
}

/// What happens to keys that an event does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ParseMode {
    /// They are an error.
    #[default]
    Strict,
    /// They move into `details`.
    Lenient,
}

/// Why an event is refused; sending it again as it is cannot help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum EventError {
    /// Not JSON, not UTF-8, or not an object.
    #[error("not a JSON object: {0}")]
    NotJson(JsonError),
    /// Not what a line of its format is.
    #[error("not a JSON object: {0}")]
    Malformed(String),
    /// A foreign object that its mapping makes no event of.
    #[error("{0}")]
    Unmapped(String),
    /// The line is too long.
    #[error("the line has {actual} bytes, more than {MAX_LINE_BYTES}")]
    LineTooLong {
        /// Its length.
        actual: usize,
    },
    /// There is no event type.
    #[error("`event_type` is missing")]
    MissingType,
    /// A field is there and empty.
    #[error("`{0}` is empty")]
    Empty(&'static str),
    /// A field is too long.
    #[error("`{field}` has {actual} bytes, more than {limit}")]
    TooLong {
        /// Which.
        field: &'static str,
        /// Bytes allowed.
        limit: usize,
        /// Bytes given.
        actual: usize,
    },
    /// A field has a control character in it, and must not have one.
    #[error("`{0}` has a control character in it")]
    Control(&'static str),
    /// The event's id is not the one that was given beside it.
    #[error("`id` is not the one that {0} gives")]
    OtherId(&'static str),
    /// The event type is one of the engine's own.
    #[error("event types that begin with `{RESERVED_PREFIX}` belong to the log itself")]
    ReservedType,
    /// A key that events do not have.
    #[error(
        "unknown key `{0}`; an event has {KEYS} (put other keys into details, or add \
             --lenient)"
    )]
    UnknownKey(String),
    /// A key that the log sets itself.
    #[error("`{0}` is set by the log itself, not by the sender")]
    OwnKey(String),
    /// A key stands twice.
    #[error("the key `{0}` occurs twice")]
    DuplicateKey(String),
    /// A field has the wrong type.
    #[error("`{field}` must be a string, not {found}")]
    WrongType {
        /// Which.
        field: &'static str,
        /// What was given.
        found: &'static str,
    },
    /// The time cannot be read.
    #[error("`timestamp`: {0}")]
    Timestamp(#[from] TimestampError),
    /// `details` is not acceptable.
    #[error(transparent)]
    Details(#[from] DetailsError),
    /// `details` is too large.
    #[error("`details` has {actual} bytes, more than {limit} (max_details_size)")]
    DetailsTooLarge {
        /// Bytes allowed.
        limit: usize,
        /// Bytes given, as compact JSON.
        actual: usize,
    },
    /// `details` is too large once its secrets are replaced.
    #[error(
        "`details` has more than {limit} bytes (max_details_size) with the HMACs that stand for what is redacted"
    )]
    RedactedTooLarge {
        /// Bytes allowed.
        limit: usize,
    },
    /// `details` cannot be made JSON.
    #[error("`details` cannot be written as JSON: {0}")]
    NotSerializable(String),
}

impl EventError {
    /// The kind's name, as in answers on the wire: `malformed`, `too_large` or `invalid`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotJson(_) | Self::Malformed(_) => "malformed",
            Self::LineTooLong { .. }
            | Self::TooLong { .. }
            | Self::DetailsTooLarge { .. }
            | Self::RedactedTooLarge { .. } => "too_large",
            _ => "invalid",
        }
    }
}

/// What a caller submits. Only `event_type` is required.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub(in crate::audit) event_type: String,
    pub(in crate::audit) actor: Option<String>,
    pub(in crate::audit) source: Option<String>,
    pub(in crate::audit) target: Option<String>,
    pub(in crate::audit) outcome: Option<String>,
    pub(in crate::audit) timestamp: Option<Timestamp>,
    /// A compact JSON object.
    pub(in crate::audit) details: Option<String>,
    /// The sender's own name for the event.
    pub(in crate::audit) id: Option<String>,
}

impl Event {
    /// An event of a type such as `login`: up to [`MAX_EVENT_TYPE_BYTES`], not
    /// beginning with `audit.`.
    #[must_use]
    pub fn new(event_type: impl Into<String>) -> Self {
        Self { event_type: event_type.into(), ..Self::default() }
    }

    /// Who did it.
    #[must_use]
    pub fn actor(mut self, actor: impl Into<String>) -> Self {
        self.actor = Some(actor.into());
        self
    }

    /// Which service or system reports it; the rate limit's key.
    #[must_use]
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What it was done to.
    #[must_use]
    pub fn target(mut self, target: impl Into<String>) -> Self {
        self.target = Some(target.into());
        self
    }

    /// How it ended, such as `success` or `denied`.
    #[must_use]
    pub fn outcome(mut self, outcome: impl Into<String>) -> Self {
        self.outcome = Some(outcome.into());
        self
    }

    /// When it happened, if that is not now. The record then also says when it
    /// was accepted.
    #[must_use]
    pub fn timestamp(mut self, at: Timestamp) -> Self {
        self.timestamp = Some(at);
        self
    }

    /// Anything else, as a JSON object.
    ///
    /// # Errors
    /// When it does not serialize, or not to an object fit to be stored.
    pub fn details(mut self, details: &impl serde::Serialize) -> Result<Self, EventError> {
        let json = serde_json::to_string(details)
            .map_err(|error| EventError::NotSerializable(error.to_string()))?;
        let owned = match sanitize::compact_object(&json)? {
            Cow::Borrowed(_) => None,
            Cow::Owned(compact) => Some(compact),
        };
        self.details = Some(owned.unwrap_or(json));
        Ok(self)
    }

    /// Anything else, as the text of a JSON object.
    ///
    /// # Errors
    /// When it is not JSON, or not an object fit to be stored.
    pub fn details_json(mut self, json: &str) -> Result<Self, EventError> {
        let raw: &RawValue =
            serde_json::from_str(json).map_err(|error| malformed(&error, json.as_bytes()))?;
        self.details = Some(sanitize::compact_object(raw.get())?.into_owned());
        Ok(self)
    }

    /// The sender's own name for this event, up to [`MAX_ID_BYTES`] without control characters:
    /// whoever hands in the same event with the same id again gets the seq of the first, and
    /// nothing is recorded twice. It is stored in the clear.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The id, if one was given.
    #[must_use]
    pub fn id_value(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The source, if one was given.
    #[must_use]
    pub fn source_name(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// The time that the caller gave.
    #[must_use]
    pub fn timestamp_value(&self) -> Option<Timestamp> {
        self.timestamp
    }

    /// Reads one event from a line of JSON (without its LF). Checks what can be
    /// told from the text; [`check`](Self::check) does the rest.
    ///
    /// # Errors
    /// See [`EventError`].
    #[doc(hidden)]
    pub fn from_json(line: &[u8], mode: ParseMode) -> Result<Self, EventError> {
        if line.len() > MAX_LINE_BYTES {
            return Err(EventError::LineTooLong { actual: line.len() });
        }
        // As some editors begin a file, and so whatever is made of several.
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        let fields: Fields<'_> =
            serde_json::from_slice(line).map_err(|error| malformed(&error, line))?;
        let string = |field, raw| string(field, raw, line);
        if let Some(key) = fields.duplicate {
            return Err(EventError::DuplicateKey(shorten(&key)));
        }
        let mut event = Self {
            event_type: string("event_type", fields.event_type)?.ok_or(EventError::MissingType)?,
            actor: string("actor", fields.actor)?,
            source: string("source", fields.source)?,
            target: string("target", fields.target)?,
            outcome: string("outcome", fields.outcome)?,
            timestamp: None,
            details: None,
            id: string("id", fields.id)?,
        };
        let mut finer = None;
        if let Some(text) = string("timestamp", fields.timestamp)? {
            event.timestamp = Some(text.parse()?);
            finer = is_finer_than_kept(&text).then_some(text);
        }
        let details = fields.details.map(RawValue::get).filter(|raw| *raw != "null");
        event.details = match details {
            None => None,
            Some(raw) => Some(sanitize::compact_object(raw)?.into_owned()),
        };
        if !fields.unknown.is_empty() {
            event.take_unknown(&fields.unknown, mode)?;
        }
        if let Some(text) = finer {
            event.keep_exact_time(&text)?;
        }
        Ok(event)
    }

    /// A record's time has microseconds: one that was given more exactly stands in
    /// `details` as it was given, so that nothing of it is lost.
    fn keep_exact_time(&mut self, text: &str) -> Result<(), EventError> {
        let json = match &self.details {
            None => format!("{{\"{EXACT_TIME}\":\"{text}\"}}"),
            Some(details) => {
                let begun = details.strip_suffix('}').unwrap_or(details);
                let comma = if begun.len() > 1 { "," } else { "" };
                format!("{begun}{comma}\"{EXACT_TIME}\":\"{text}\"}}")
            }
        };
        // One that is called so already is the sender's own, and stands twice: an error.
        self.details = Some(sanitize::compact_object(&json)?.into_owned());
        Ok(())
    }

    fn take_unknown(
        &mut self,
        unknown: &[(Cow<'_, str>, &RawValue)],
        mode: ParseMode,
    ) -> Result<(), EventError> {
        if mode == ParseMode::Strict {
            let key = &unknown[0].0;
            return Err(if matches!(&**key, "seq" | "origin" | "recorded_at") {
                EventError::OwnKey(key.to_string())
            } else {
                EventError::UnknownKey(shorten(key))
            });
        }
        // As text: numbers and strings stay as they were written, and a key that
        // stands twice is seen.
        let mut json = match &self.details {
            None => "{".to_owned(),
            Some(details) => details.strip_suffix('}').unwrap_or(details).to_owned(),
        };
        for (key, raw) in unknown {
            if json.len() > 1 {
                json.push(',');
            }
            json.push_str(&serde_json::Value::from(&**key).to_string());
            json.push(':');
            json.push_str(raw.get());
        }
        json.push('}');
        self.details = Some(sanitize::compact_object(&json)?.into_owned());
        Ok(())
    }

    /// Checks every limit and replaces control characters in identifiers;
    /// whether there were any.
    ///
    /// # Errors
    /// See [`EventError`].
    #[doc(hidden)]
    pub fn check(&mut self, limits: &EventLimits) -> Result<bool, EventError> {
        if self.event_type.starts_with(RESERVED_PREFIX) {
            return Err(EventError::ReservedType);
        }
        let mut cleaned = check_text("event_type", MAX_EVENT_TYPE_BYTES, &mut self.event_type)?;
        for (field, value) in [
            ("actor", &mut self.actor),
            ("source", &mut self.source),
            ("target", &mut self.target),
            ("outcome", &mut self.outcome),
        ] {
            if let Some(text) = value {
                cleaned |= check_text(field, MAX_IDENTIFIER_BYTES, text)?;
            }
        }
        if let Some(id) = &self.id {
            check_id(id)?;
        }
        let actual = self.details.as_ref().map_or(0, String::len);
        if actual > limits.max_details_bytes {
            return Err(EventError::DetailsTooLarge { limit: limits.max_details_bytes, actual });
        }
        Ok(cleaned)
    }
}

fn check_text(field: &'static str, limit: usize, text: &mut String) -> Result<bool, EventError> {
    let actual = text.len();
    match actual {
        0 => Err(EventError::Empty(field)),
        _ if actual > limit => Err(EventError::TooLong { field, limit, actual }),
        // U+FFFD is longer than what it replaces: a name at its limit may grow
        // a little past it, and stays one.
        _ => Ok(clean_identifier(text)),
    }
}

/// An id is compared as it is: nothing in it is replaced, or two would become one.
fn check_id(id: &str) -> Result<(), EventError> {
    match id.len() {
        0 => Err(EventError::Empty("id")),
        actual if actual > MAX_ID_BYTES => {
            Err(EventError::TooLong { field: "id", limit: MAX_ID_BYTES, actual })
        }
        _ if has_control(id) => Err(EventError::Control("id")),
        _ => Ok(()),
    }
}

fn malformed(error: &serde_json::Error, text: &[u8]) -> EventError {
    let mut told = JsonError::of(error, text);
    // Its message quotes what was found there.
    if error.classify() == serde_json::error::Category::Data && JsonError::not_utf8(text).is_none()
    {
        told.what = "expected an event object".to_owned();
    }
    EventError::NotJson(told)
}

/// For messages: what a hostile sender chose is not repeated at length.
fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
}

fn string(
    field: &'static str,
    raw: Option<&RawValue>,
    line: &[u8],
) -> Result<Option<String>, EventError> {
    let Some(raw) = raw.map(RawValue::get).filter(|raw| *raw != "null") else { return Ok(None) };
    match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        None => Err(EventError::WrongType { field, found: json_type(raw) }),
        Some(plain) if !plain.contains('\\') => Ok(Some(plain.to_owned())),
        Some(_) => serde_json::from_str(raw)
            .map(Some)
            .map_err(|error| EventError::NotJson(JsonError::of_part(&error, raw, line))),
    }
}

/// The values as they stand in the line.
#[derive(Default)]
struct Fields<'a> {
    event_type: Option<&'a RawValue>,
    actor: Option<&'a RawValue>,
    source: Option<&'a RawValue>,
    target: Option<&'a RawValue>,
    outcome: Option<&'a RawValue>,
    timestamp: Option<&'a RawValue>,
    details: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    unknown: Vec<(Cow<'a, str>, &'a RawValue)>,
    duplicate: Option<String>,
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::default();
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            let value: &RawValue = map.next_value()?;
            let slot = match &*key {
                "event_type" => &mut fields.event_type,
                "actor" => &mut fields.actor,
                "source" => &mut fields.source,
                "target" => &mut fields.target,
                "outcome" => &mut fields.outcome,
                "timestamp" => &mut fields.timestamp,
                "details" => &mut fields.details,
                "id" => &mut fields.id,
                _ => {
                    if fields.unknown.iter().any(|(known, _)| *known == key) {
                        fields.duplicate.get_or_insert_with(|| key.to_string());
                    }
                    fields.unknown.push((key, value));
                    continue;
                }
            };
            if slot.replace(value).is_some() {
                fields.duplicate.get_or_insert_with(|| key.to_string());
            }
        }
        Ok(fields)
    }
}

/// A key, borrowed from the line where it has no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E: de::Error>(self, key: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(key)))
            }

            fn visit_str<E: de::Error>(self, key: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Event, EventError> {
        let mut event = Event::from_json(line.as_bytes(), ParseMode::Strict)?;
        event.check(&EventLimits::default())?;
        Ok(event)
    }

    #[test]
    fn a_line_reads_as_the_event_it_says() {
        let event = parse(
            r#"{"event_type":"login","actor":"al\u0069ce","source":"billing","target":null,
                "timestamp":"2026-02-04T21:09:40+01:00","details":{ "ip": "::1" }}"#,
        )
        .expect("valid");
        let expected = Event::new("login")
            .actor("alice")
            .source("billing")
            .timestamp("2026-02-04T20:09:40Z".parse().expect("time"))
            .details_json(r#"{"ip":"::1"}"#)
            .expect("details");
        assert_eq!(event, expected);
    }

    #[test]
    fn each_mistake_has_its_own_message_and_kind() {
        let long = "x".repeat(MAX_IDENTIFIER_BYTES + 1);
        let big = "x".repeat(DEFAULT_MAX_DETAILS_BYTES);
        for (line, kind, part) in [
            ("", "malformed", "EOF"),
            ("[]", "malformed", "event object"),
            ("{\"event_type\":\"a\"", "malformed", "EOF"),
            ("{\"event_type\":\"a\"} x", "malformed", "trailing"),
            ("{}", "invalid", "`event_type` is missing"),
            ("{\"event_type\":\"\"}", "invalid", "`event_type` is empty"),
            ("{\"event_type\":7}", "invalid", "`event_type` must be a string, not a number"),
            ("{\"event_type\":\"audit.closed\"}", "invalid", "belong to the log itself"),
            ("{\"event_type\":\"a\",\"user\":\"b\"}", "invalid", "unknown key `user`"),
            ("{\"event_type\":\"a\",\"seq\":1}", "invalid", "`seq` is set by the log itself"),
            ("{\"event_type\":\"a\",\"event_type\":\"b\"}", "invalid", "occurs twice"),
            ("{\"event_type\":\"a\",\"timestamp\":\"now\"}", "invalid", "RFC 3339"),
            ("{\"event_type\":\"a\",\"details\":[1]}", "invalid", "must be a JSON object"),
            (
                &format!("{{\"event_type\":\"a\",\"actor\":\"{long}\"}}"),
                "too_large",
                "257 bytes, more than 256",
            ),
            (
                &format!("{{\"event_type\":\"a\",\"details\":{{\"b\":\"{big}\"}}}}"),
                "too_large",
                "max_details_size",
            ),
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.kind(), kind, "{line}: {error}");
            assert!(error.to_string().contains(part), "{line}: {error}");
        }
        let invalid = Event::from_json(b"{\"event_type\":\"\xff\"}", ParseMode::Strict);
        assert_eq!(invalid.expect_err("not UTF-8").kind(), "malformed");
    }

    #[test]
    fn lenient_moves_unknown_keys_into_details_and_never_over_one_that_is_there() {
        // In the order of the line, and as they were written: a number that no
        // 64-bit float holds exactly keeps its digits.
        let line = br#"{"event_type":"a","user":"b","seq":12345678901234567890123,"details":{"ip":"::1"}}"#;
        let event = Event::from_json(line, ParseMode::Lenient).expect("lenient");
        let moved = r#"{"ip":"::1","user":"b","seq":12345678901234567890123}"#;
        assert_eq!(event.details.as_deref(), Some(moved));
        let line = br#"{"event_type":"a","z":{"a":1,"a":2}}"#;
        let error = Event::from_json(line, ParseMode::Lenient).expect_err("twice inside");
        assert_eq!(error.kind(), "invalid");
        let clash = br#"{"event_type":"a","ip":"x","details":{"ip":"::1"}}"#;
        let error = Event::from_json(clash, ParseMode::Lenient).expect_err("clash");
        assert!(error.to_string().contains("\"ip\""), "{error}");
    }

    #[test]
    fn what_a_sender_wrote_is_not_repeated_at_length() {
        let huge = format!("{:?}", "x".repeat(200_000));
        for line in
            [huge.clone(), format!("{{\"event_type\":\"a\",{huge}:1}}"), format!("[{huge}]")]
        {
            let error = parse(&line).expect_err("refused").to_string();
            assert!(error.len() < 500, "{} bytes", error.len());
        }
        let error = parse(&huge).expect_err("refused").to_string();
        assert!(error.ends_with("at column 200002"), "{error}");
    }

    #[test]
    fn the_real_events_are_all_valid() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/cloudtrail_sample.ndjson");
        let text = std::fs::read_to_string(path).expect("fixture");
        assert!(text.lines().count() >= 200);
        for line in text.lines() {
            parse(line).expect(line);
        }
    }
}
