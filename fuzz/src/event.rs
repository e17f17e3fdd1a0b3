//! Lines of events: what is accepted becomes a record that reads back as what
//! was sent; what is refused has one of three kinds.

use std::collections::BTreeMap;

use auditctl::audit::record::event::{EventError, EventLimits};
use auditctl::audit::record::sanitize::escape_for_terminal;
use auditctl::audit::record::{
    EncodedOrigin, Record, assemble, check_line, encode_body, peek_seq, peek_times,
};
use auditctl::audit::{Event, Origin, ParseMode, Via};
use auditctl::clock::Timestamp;
use serde_json::value::RawValue;

const SEQ: u64 = 42;
/// What the log adds to an event; of each key in it.
const ADDED: [&str; 3] = ["seq", "origin", "recorded_at"];

/// Both ways of reading it.
pub fn check(line: &[u8]) {
    for mode in [ParseMode::Strict, ParseMode::Lenient] {
        match parse(line, mode) {
            Ok(event) => accepted(&event, line),
            Err(error) => refused(&error),
        }
    }
    let shown = String::from_utf8_lossy(line);
    assert!(!escape_for_terminal(&shown).contains(char::is_control), "a terminal would obey");
}

fn parse(line: &[u8], mode: ParseMode) -> Result<Event, EventError> {
    let mut event = Event::from_json(line, mode)?;
    event.check(&EventLimits::default())?;
    Ok(event)
}

fn refused(error: &EventError) {
    assert!(["malformed", "too_large", "invalid"].contains(&error.kind()), "{error:?}");
    // What a hostile sender chose is not repeated at length.
    assert!(error.to_string().len() < 1_024, "{} bytes of message", error.to_string().len());
}

fn stored(event: &Event) -> Vec<u8> {
    let accepted_at = Timestamp::from_micros(1_770_239_380_123_456).to_string();
    let (mut body, mut record) = (Vec::new(), Vec::new());
    encode_body(event, &EncodedOrigin::new(&Origin::here(Via::Library)), &mut body);
    let own_time = event.timestamp_value().is_some();
    assemble(SEQ, accepted_at.as_bytes(), own_time, &body, &mut record);
    record
}

fn accepted(event: &Event, line: &[u8]) {
    let record = stored(event);
    assert!(record.iter().all(|byte| *byte >= 0x20), "one line, and nothing that a terminal obeys");
    assert_eq!(check_line(&record), Ok(SEQ));
    assert_eq!(peek_seq(&record), Some(SEQ));
    assert!(record.len() < line.len() * 6 + 1_024, "{} of {}", record.len(), line.len());
    let read: Record<'_> = serde_json::from_slice(&record).expect("a stored record reads back");
    let times = peek_times(&record).expect("its times");
    assert_eq!(times, (read.timestamp, read.recorded_at.unwrap_or(read.timestamp)));
    assert_eq!(event.source_name(), read.source.as_deref());
    if let Some(time) = event.timestamp_value() {
        assert_eq!(time, read.timestamp);
    }
    for name in [&read.event_type].into_iter().chain(&read.actor).chain(&read.target) {
        assert!(!name.contains(char::is_control), "{name:?}");
    }
    again(&record, event.timestamp_value().is_some());
}

/// The event in a record, sent once more, is the same record.
fn again(record: &[u8], own_time: bool) {
    let keys: BTreeMap<&str, &RawValue> = serde_json::from_slice(record).expect("an object");
    let parts: Vec<String> = keys
        .iter()
        .filter(|(key, _)| !ADDED.contains(key) && (own_time || **key != "timestamp"))
        .map(|(key, value)| format!("\"{key}\":{value}"))
        .collect();
    let line = format!("{{{}}}", parts.join(","));
    match parse(line.as_bytes(), ParseMode::Strict) {
        Ok(event) => assert_eq!(stored(&event), record_without_time(record, &event)),
        // U+FFFD is longer than the control character in whose place it stands.
        Err(EventError::TooLong { .. }) => {}
        Err(error) => panic!("{error}: {line}"),
    }
}

/// `stored` gives every record the same time of acceptance.
fn record_without_time(record: &[u8], event: &Event) -> Vec<u8> {
    let times = peek_times(record).expect("its times");
    assert_eq!(event.timestamp_value().unwrap_or(times.0), times.0);
    record.to_vec()
}
