//! The socket's language: a JSON object a line, both ways.

use serde_json::{Value, json};

use crate::audit::record::event::MAX_LINE_BYTES;
use crate::audit::state::status::{StatusSnapshot, Word};
use crate::audit::{Durability, RecordError};

mod asks;

pub use asks::REQUESTS;
pub(super) use asks::{Control, SessionWish, control};

/// The version of the socket's language. It changes when a client that knows the version
/// before would misread something; what is merely added has a name in [`FEATURES`].
pub const PROTOCOL: u32 = 1;

/// What this collector can do that not every one could since there is [`PROTOCOL`] 1. A
/// client asks for a name here before it counts on it.
pub const FEATURES: &[&str] =
    &["follow", "ids", "import", "key_rotate", "lenient", "open", "query", "summary"];

/// Events of a connection in flight; reading pauses beyond.
pub(crate) const MAX_IN_FLIGHT: usize = 16_384;

/// What `{"hello":{}}` is answered.
pub(super) fn hello_value(durability: Durability) -> Value {
    let durability = match durability {
        Durability::Commit => "commit",
        Durability::Interval => "interval",
    };
    json!({ "ok": { "hello": {
        "protocol": PROTOCOL,
        "version": env!("CARGO_PKG_VERSION"),
        "features": FEATURES,
        "durability": durability,
        "limits": { "line_bytes": MAX_LINE_BYTES, "in_flight": MAX_IN_FLIGHT },
    }}})
}

/// What a request gets that this version does not have. It is no event that was lost, and
/// no attack: a later client asks so.
pub(super) fn unknown_request(name: &str) -> Value {
    let known = REQUESTS.join(", ");
    let text =
        format!("there is no request `{name}`; there are {known} (an event needs `event_type`)");
    let mut value = error_of("unknown_request", &text);
    value["error"]["request"] = json!(name);
    value
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
    "session_ended",
    "no_http",
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
    "unknown_request",
    "no_record",
    "not_signed",
    "removed",
    "given_up",
    "bad_signature",
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
