//! Whether a stored record is that of an event: for senders that lost the answer, and
//! have to know what of theirs arrived.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::event::Event;
use super::redact::is_redacted;

#[derive(Deserialize)]
struct Stored<'a> {
    timestamp: Value,
    event_type: Value,
    #[serde(default)]
    actor: Value,
    #[serde(default)]
    source: Value,
    #[serde(default)]
    target: Value,
    #[serde(default)]
    outcome: Value,
    #[serde(borrow)]
    details: Option<&'a RawValue>,
    #[serde(default)]
    recorded_at: Value,
}

/// Whether the record on this line can be the event's, which was checked
/// ([`Event::check`]) as it is on its way into the log. What the log redacts is taken
/// for whatever the event has there.
#[must_use]
pub fn is_record_of(event: &Event, line: &[u8]) -> bool {
    let Ok(stored) = serde_json::from_slice::<Stored<'_>>(line) else { return false };
    let texts = [
        (&stored.event_type, Some(&event.event_type)),
        (&stored.actor, event.actor.as_ref()),
        (&stored.source, event.source.as_ref()),
        (&stored.target, event.target.as_ref()),
        (&stored.outcome, event.outcome.as_ref()),
    ];
    let same_texts = texts.into_iter().all(|(stored, given)| match (stored, given) {
        (Value::Null, None) => true,
        (Value::String(stored), Some(given)) => stored == given || is_redacted(stored),
        _ => false,
    });
    let same_time = match event.timestamp {
        None => stored.recorded_at.is_null(),
        Some(at) => !stored.recorded_at.is_null() && stored.timestamp == *at.to_string(),
    };
    same_texts && same_time && same_details(event.details.as_deref(), stored.details)
}

fn same_details(given: Option<&str>, stored: Option<&RawValue>) -> bool {
    match (given, stored.map(RawValue::get)) {
        (None, None) => true,
        // As it was written, with every digit.
        (Some(given), Some(stored)) if given == stored => true,
        (Some(given), Some(stored)) => {
            let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
            let (given, stored) = (read(given), read(stored));
            has_redacted(&stored) && same(&given, &stored)
        }
        _ => false,
    }
}

fn has_redacted(stored: &Value) -> bool {
    match stored {
        Value::String(text) => is_redacted(text),
        Value::Array(items) => items.iter().any(has_redacted),
        Value::Object(members) => members.values().any(has_redacted),
        _ => false,
    }
}

fn same(given: &Value, stored: &Value) -> bool {
    match (given, stored) {
        (_, Value::String(text)) if is_redacted(text) => true,
        (Value::Array(given), Value::Array(stored)) => {
            given.len() == stored.len() && given.iter().zip(stored).all(|(g, s)| same(g, s))
        }
        (Value::Object(given), Value::Object(stored)) => {
            given.len() == stored.len()
                && given.iter().all(|(key, g)| stored.get(key).is_some_and(|s| same(g, s)))
        }
        _ => given == stored,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::record::event::{EventLimits, ParseMode};

    /// C11.
    #[test]
    fn a_record_is_that_of_the_event_that_it_was_made_of_and_of_no_other() {
        let event = |text: &str| {
            let mut event = Event::from_json(text.as_bytes(), ParseMode::Strict).expect("event");
            event.check(&EventLimits::default()).expect("fine");
            event
        };
        let now = r#""seq":3,"timestamp":"2026-01-01T00:00:00.000000Z""#;
        let line = |rest: &str| format!("{{{now},{rest},\"origin\":{{}}}}").into_bytes();
        let plain = event(r#"{"event_type":"a","actor":"b","details":{"n":1.10}}"#);
        let stored = line(r#""event_type":"a","actor":"b","details":{"n":1.10}"#);
        assert!(is_record_of(&plain, &stored));
        for other in [
            r#"{"event_type":"a","actor":"b","details":{"n":1.1}}"#,
            r#"{"event_type":"a","actor":"b"}"#,
            r#"{"event_type":"a","details":{"n":1.10}}"#,
            r#"{"event_type":"a","actor":"c","details":{"n":1.10}}"#,
            r#"{"event_type":"a","actor":"b","source":"s","details":{"n":1.10}}"#,
            r#"{"event_type":"a","actor":"b","timestamp":"2026-01-01T00:00:00Z","details":{"n":1.10}}"#,
        ] {
            assert!(!is_record_of(&event(other), &stored), "{other}");
        }
        let timed = event(r#"{"event_type":"a","timestamp":"2026-01-01T01:00:00+01:00"}"#);
        assert!(is_record_of(&timed, &line(r#""event_type":"a","recorded_at":"x""#)));
        assert!(!is_record_of(&timed, &line(r#""event_type":"a""#)), "the time of acceptance");
        let cleaned = event("{\"event_type\":\"a\",\"actor\":\"b\\u0007\"}");
        assert!(is_record_of(&cleaned, &line("\"event_type\":\"a\",\"actor\":\"b\u{fffd}\"")));
        assert!(!is_record_of(&plain, b"{"));
    }
}
