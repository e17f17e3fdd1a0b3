//! The socket's language: a JSON object a line, both ways.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::audit::RecordError;
use crate::audit::read::query::Request;
use crate::audit::state::status::{StatusSnapshot, Word};
use crate::audit::write::key_change::RotateRequest;
use crate::audit::write::own::{BackupMade, BackupRemoved};
use crate::json_place::JsonError;

/// A line that is not an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Control {
    Status,
    Query(Box<Request>),
    Session(SessionWish),
    BackupMade(Box<BackupMade>),
    BackupRemoved(Box<BackupRemoved>),
    KeyRotate(Box<RotateRequest>),
}

/// What a peer asks of its session.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionWish {
    #[serde(default)]
    pub(super) import: bool,
    /// Which import it is, so that its sender can ask what of it arrived.
    #[serde(default)]
    pub(super) import_id: Option<String>,
    #[serde(default)]
    pub(super) lenient: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    status: Option<Value>,
    query: Option<Box<Request>>,
    session: Option<SessionWish>,
    backup_made: Option<Box<BackupMade>>,
    backup_removed: Option<Box<BackupRemoved>>,
    key_rotate: Option<Box<RotateRequest>>,
}

/// The control request that a line is, if it begins like one. Events never do:
/// they have no such keys.
pub(super) fn control(line: &[u8]) -> Option<Result<Control, String>> {
    let trimmed = line.trim_ascii_start();
    let starts = [
        &b"{\"status\""[..],
        b"{\"query\"",
        b"{\"session\"",
        b"{\"backup_made\"",
        b"{\"backup_removed\"",
        b"{\"key_rotate\"",
    ];
    if !starts.iter().any(|start| trimmed.starts_with(start)) {
        return None;
    }
    let wire: Wire = match serde_json::from_slice(trimmed) {
        Ok(wire) => wire,
        Err(error) => return Some(Err(JsonError::of(&error, trimmed).to_string())),
    };
    let Wire { status, query, session, backup_made, backup_removed, key_rotate } = wire;
    let mut wishes = [
        status.map(|_| Control::Status),
        query.map(Control::Query),
        session.map(Control::Session),
        backup_made.map(Control::BackupMade),
        backup_removed.map(Control::BackupRemoved),
        key_rotate.map(Control::KeyRotate),
    ]
    .into_iter()
    .flatten();
    Some(match (wishes.next(), wishes.next()) {
        (Some(wish), None) => Ok(wish),
        _ => Err("one request a line".to_owned()),
    })
}

/// `{"ok":{"seq":42}}`
pub(super) fn push_ok(out: &mut Vec<u8>, seq: u64) {
    out.extend_from_slice(b"{\"ok\":{\"seq\":");
    out.extend_from_slice(itoa::Buffer::new().format(seq).as_bytes());
    out.extend_from_slice(b"}}\n");
}

/// `{"ok":{"seq":42,"duplicate":true}}`
pub(super) fn push_duplicate(out: &mut Vec<u8>, seq: u64) {
    out.extend_from_slice(b"{\"ok\":{\"seq\":");
    out.extend_from_slice(itoa::Buffer::new().format(seq).as_bytes());
    out.extend_from_slice(b",\"duplicate\":true}}\n");
}

/// `{"error":{…}}`
pub(super) fn error_value(error: &RecordError) -> Value {
    let mut value = error_of(error.kind(), &error.to_string());
    if let RecordError::Conflict { seq } = error {
        value["error"]["seq"] = json!(seq);
    }
    if let Some(retry) = error.retry_after() {
        // Rounded up: a moment early would be refused again.
        value["error"]["retry_after_ms"] = json!(retry.as_micros().div_ceil(1_000) as u64);
    }
    value
}

/// The kinds of refusals that are the collector's own; an event's are those of
/// [`RecordError::kind`].
pub const REFUSALS: &[&str] = &[
    "forbidden",
    "unauthorized",
    "too_many_connections",
    "timeout",
    "unavailable",
    "busy",
    "usage",
    "query",
    "not_found",
    "method",
    "unsupported_media_type",
    "https_required",
    "key",
    "refused",
    "internal",
    "too_many_refusals",
];

pub(super) fn error_of(kind: &str, message: &str) -> Value {
    debug_assert!(
        REFUSALS.contains(&kind) || RecordError::KINDS.contains(&kind),
        "{kind} is in no table"
    );
    json!({ "error": { "kind": kind, "message": message } })
}

pub(super) fn line_of(value: &Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// `{"ok":{"query":{…}}}`, around the answer's own object.
pub(super) fn answer_line(document: &str) -> Vec<u8> {
    format!("{{\"ok\":{{\"query\":{document}}}}}\n").into_bytes()
}

/// What `{"status":{}}` is answered.
pub(super) fn status_value(page: &StatusSnapshot) -> Value {
    json!({ "ok": { "status": {
        "state": page.state().map(|state| state.as_str()),
        "pid": page.get(Word::Pid),
        "next_seq": page.get(Word::NextSeq),
        "durable_seq": page.get(Word::DurableSeq),
        "checkpoint_size": page.get(Word::CheckpointSize),
        "accepted": page.get(Word::Accepted),
        "invalid": page.get(Word::Invalid),
        "rate_limited": page.get(Word::RateLimited),
        "duplicates": page.get(Word::Duplicates),
        "id_conflicts": page.get(Word::IdConflicts),
        "ids": page.get(Word::Ids),
        "ids_capacity": page.get(Word::IdsCapacity),
        "ids_crowded_out": page.get(Word::IdsCrowdedOut),
        "busy": page.get(Word::Busy),
        "buffer_events": page.get(Word::BufferEvents),
        "capacity_events": page.get(Word::CapacityEvents),
        "log_bytes": page.get(Word::LogBytes),
        "segments": page.get(Word::Segments),
        "connections": page.get(Word::Connections),
    }}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_no_control_request_and_a_request_is_no_event() {
        assert_eq!(control(b"{\"event_type\":\"status\"}"), None);
        assert_eq!(control(b"{\"status\":{}}"), Some(Ok(Control::Status)));
        let query = Box::new(Request { limit: Some(1), ..Request::default() });
        assert_eq!(control(b" {\"query\":{\"limit\":1}}"), Some(Ok(Control::Query(query))));
        assert!(matches!(control(b"{\"query\":{\"limt\":1}}"), Some(Err(_))));
        let rotate = Box::new(RotateRequest { reason: Some("x".into()), ..Default::default() });
        let asked = control(b"{\"key_rotate\":{\"reason\":\"x\"}}");
        assert_eq!(asked, Some(Ok(Control::KeyRotate(rotate))));
        assert!(matches!(control(b"{\"key_rotate\":{\"uid\":0}}"), Some(Err(_))));
        let wish = SessionWish { import: true, ..SessionWish::default() };
        assert_eq!(control(b"{\"session\":{\"import\":true}}"), Some(Ok(Control::Session(wish))));
        assert!(matches!(control(b"{\"session\":{\"root\":true}}"), Some(Err(_))));
        assert!(matches!(control(b"{\"status\":{},\"query\":{}}"), Some(Err(_))));
    }

    #[test]
    fn answers_are_the_documented_lines() {
        let mut out = Vec::new();
        push_ok(&mut out, 42);
        assert_eq!(out, b"{\"ok\":{\"seq\":42}}\n");
        out.clear();
        push_duplicate(&mut out, 42);
        assert_eq!(out, b"{\"ok\":{\"seq\":42,\"duplicate\":true}}\n");
        let conflict = error_value(&RecordError::Conflict { seq: 42 });
        assert_eq!(
            (&conflict["error"]["kind"], &conflict["error"]["seq"]),
            (&json!("conflict"), &json!(42))
        );
        let error = RecordError::RateLimited {
            source_name: "a".to_owned(),
            retry_after: std::time::Duration::from_micros(119_001),
        };
        let value = error_value(&error);
        assert_eq!(value["error"]["kind"], "rate_limited");
        assert_eq!(value["error"]["retry_after_ms"], 120);
    }
}
