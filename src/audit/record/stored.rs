//! Records: events as they are stored, one JSON object a line.
//!
//! The producer encodes everything but what only the queue knows (seq and time
//! of acceptance); the writer puts the two together with [`assemble`]. Keys
//! stand in this order, absent ones are left out: `seq`, `timestamp`,
//! `event_type`, `actor`, `source`, `target`, `outcome`, `details`, `origin`,
//! `id`, `recorded_at`.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::event::{Event, MAX_LINE_BYTES};
use crate::clock::Timestamp;

/// How an event came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// Through the library, in the writer's own process.
    Library,
    /// Through the collector's socket.
    Socket,
    /// Through the collector's HTTP server.
    Http,
    /// Through a listener of the collector's, which answers nothing.
    Listener,
    /// By `auditctl record` without a collector.
    Direct,
    /// By the engine itself.
    Engine,
}

impl Via {
    /// As stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Library => "library",
            Self::Socket => "socket",
            Self::Http => "http",
            Self::Listener => "listener",
            Self::Direct => "direct",
            Self::Engine => "engine",
        }
    }
}

/// What the system attests of a sender; never what the sender says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// How the event came in.
    pub via: Via,
    /// The sender's user id, by its socket's credentials.
    pub uid: Option<u32>,
    /// The sender's process id, likewise.
    pub pid: Option<u32>,
    /// The name of the token that was shown.
    pub token: Option<String>,
    /// The address that it came from, where that is not this machine.
    pub peer: Option<String>,
    /// An import by root or the collector's own user: not rate-limited.
    pub import: bool,
    /// Which one: all of its records have the same, so that it can be gone on with.
    pub import_id: Option<ImportId>,
}

/// The name of an import: 32 hexadecimal digits, by chance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportId(String);

impl ImportId {
    /// A new one; `None` when the system has no random numbers.
    #[must_use]
    pub fn random() -> Option<Self> {
        let mut random = [0_u8; 16];
        getrandom::fill(&mut random).ok()?;
        Some(Self(format!("{:032x}", u128::from_be_bytes(random))))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for ImportId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_hex = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == 32 && text.bytes().all(is_hex) {
            Ok(Self(text.to_owned()))
        } else {
            Err("an import's id is 32 hexadecimal digits in lower case")
        }
    }
}

impl Origin {
    /// This process, by its real user id.
    #[must_use]
    pub fn here(via: Via) -> Self {
        Self {
            via,
            uid: Some(rustix::process::getuid().as_raw()),
            pid: Some(std::process::id()),
            token: None,
            peer: None,
            import: false,
            import_id: None,
        }
    }
}

/// An origin's JSON, made once for a sender.
#[derive(Clone, Debug)]
pub struct EncodedOrigin {
    json: Arc<[u8]>,
    /// Who sends, for the rate limit.
    sender: Arc<str>,
    /// Who sends, by the system's word: also the source of events that name none.
    default_source: Arc<str>,
}

impl EncodedOrigin {
    /// Encodes it.
    #[must_use]
    pub fn new(origin: &Origin) -> Self {
        let mut json = ORIGIN_VIA.to_vec();
        json.extend_from_slice(origin.via.as_str().as_bytes());
        json.push(b'"');
        for (key, value) in [(&b",\"uid\":"[..], origin.uid), (b",\"pid\":", origin.pid)] {
            if let Some(value) = value {
                json.extend_from_slice(key);
                json.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
            }
        }
        for (key, value) in [(&b",\"token\":"[..], &origin.token), (b",\"peer\":", &origin.peer)] {
            if let Some(value) = value {
                json.extend_from_slice(key);
                push_string(&mut json, value);
            }
        }
        if origin.import {
            json.extend_from_slice(b",\"import\":true");
        }
        if let Some(id) = &origin.import_id {
            json.extend_from_slice(b",\"import_id\":");
            push_string(&mut json, id.as_str());
        }
        json.push(b'}');
        let via = origin.via.as_str();
        let default_source = match (&origin.token, origin.uid) {
            (Some(token), _) => format!("token:{token}"),
            (None, Some(uid)) => format!("uid:{uid}"),
            (None, None) => via.to_owned(),
        };
        // The process that has the log is not muted by others of its user.
        let sender = match origin.via {
            Via::Socket | Via::Http | Via::Listener => &*default_source,
            Via::Library | Via::Direct | Via::Engine => via,
        };
        Self { json: json.into(), sender: sender.into(), default_source: default_source.into() }
    }

    /// Who sends, for the rate limit: `uid:1000`, wherever that user comes in;
    /// `token:web-1`; or `library` for the log's own process.
    #[must_use]
    pub fn sender(&self) -> &str {
        &self.sender
    }

    /// Whose the ids of its events are: `token:web-1`, `uid:1000`, or how it came in
    /// where neither is known. `origin` in the record says the same.
    #[must_use]
    pub(crate) fn id_sender(&self) -> &str {
        &self.default_source
    }

    /// The source of events that name none, for the rate limit.
    #[must_use]
    pub fn default_source(&self) -> &str {
        &self.default_source
    }
}

/// How each origin begins.
pub(super) const ORIGIN_VIA: &[u8] = br#"{"via":""#;

/// Appends an event's part of its record: everything after seq and the time of
/// acceptance, without the closing brace. An event with its own time begins
/// with `"timestamp"`. Returns how many of the bytes are the event's content: what its
/// sender said, without `origin` and `id`.
pub fn encode_body(event: &Event, origin: &EncodedOrigin, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    if let Some(at) = event.timestamp {
        out.extend_from_slice(b"\"timestamp\":\"");
        at.write_to(out);
        out.extend_from_slice(b"\",");
    }
    out.extend_from_slice(b"\"event_type\":");
    push_string(out, &event.event_type);
    for (key, value) in [
        (&b",\"actor\":"[..], &event.actor),
        (b",\"source\":", &event.source),
        (b",\"target\":", &event.target),
        (b",\"outcome\":", &event.outcome),
    ] {
        if let Some(value) = value {
            out.extend_from_slice(key);
            push_string(out, value);
        }
    }
    if let Some(details) = &event.details {
        out.extend_from_slice(b",\"details\":");
        out.extend_from_slice(details.as_bytes());
    }
    let content = out.len() - start;
    out.extend_from_slice(ORIGIN_START);
    out.extend_from_slice(&origin.json);
    if let Some(id) = &event.id {
        out.extend_from_slice(ID_START);
        push_string(out, id);
    }
    content
}

pub(super) const ORIGIN_START: &[u8] = b",\"origin\":";
pub(super) const ID_START: &[u8] = b",\"id\":";

/// Appends the whole line, without its LF. `accepted_at` is the 27-byte text.
pub fn assemble(seq: u64, accepted_at: &[u8], has_timestamp: bool, body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(SEQ_START);
    out.extend_from_slice(itoa::Buffer::new().format(seq).as_bytes());
    if has_timestamp {
        out.push(b',');
        out.extend_from_slice(body);
        out.extend_from_slice(RECORDED_AT);
        out.extend_from_slice(accepted_at);
        out.extend_from_slice(b"\"}");
    } else {
        out.extend_from_slice(b",\"timestamp\":\"");
        out.extend_from_slice(accepted_at);
        out.extend_from_slice(b"\",");
        out.extend_from_slice(body);
        out.push(b'}');
    }
}

pub(super) const TIMESTAMP: &[u8] = b"\"timestamp\":\"";
pub(super) const RECORDED_AT: &[u8] = b",\"recorded_at\":\"";
const SEQ_START: &[u8] = b"{\"seq\":";

/// Appends a JSON string, in the one way in which records have them: escaped are
/// only the quote, the backslash and control characters.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut plain_from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[plain_from..at]);
        plain_from = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            _ => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
    }
    out.extend_from_slice(&bytes[plain_from..]);
    out.push(b'"');
}

/// Why a stored line is no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordLineError {
    /// Longer than any record.
    #[error("a line of {0} bytes, more than {MAX_LINE_BYTES}")]
    TooLong(usize),
    /// It does not begin with `{"seq":<number>,`.
    #[error("a line that does not begin with a record's seq")]
    NoSeq,
    /// It is not one whole JSON object.
    #[error("a line that is not JSON: {0}")]
    NotJson(String),
}

/// The seq that a line begins with.
#[must_use]
pub fn peek_seq(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(SEQ_START)?;
    let digits = memchr::memchr(b',', rest.get(..21.min(rest.len()))?)?;
    let text = std::str::from_utf8(&rest[..digits]).ok()?;
    let plain = text == "0" || !text.starts_with(['0', '+']);
    if plain { text.parse().ok() } else { None }
}

/// Checks that a line is one whole record; its seq.
///
/// # Errors
/// See [`RecordLineError`].
pub fn check_line(line: &[u8]) -> Result<u64, RecordLineError> {
    // A stored line is longer than the event by what the log adds.
    if line.len() > MAX_LINE_BYTES {
        return Err(RecordLineError::TooLong(line.len()));
    }
    let seq = peek_seq(line).ok_or(RecordLineError::NoSeq)?;
    match serde_json::from_slice::<IgnoredAny>(line) {
        Ok(_) => Ok(seq),
        Err(error) => Err(RecordLineError::NotJson(error.to_string())),
    }
}

/// A stored line's `timestamp` and the time at which it was accepted.
#[must_use]
pub fn peek_times(line: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let rest = line.strip_prefix(SEQ_START)?;
    let comma = memchr::memchr(b',', rest)?;
    let at = text_after(&rest[comma + 1..], TIMESTAMP)?;
    let tail = line.len().checked_sub(RECORDED_AT.len() + 27 + 2).and_then(|from| line.get(from..));
    let accepted = tail.and_then(|tail| text_after(tail, RECORDED_AT)).or_else(|| {
        // Not where this version writes it: a later one may have added members behind it.
        memchr::memmem::find(line, RECORDED_AT)?;
        serde_json::from_slice::<Record<'_>>(line).ok()?.recorded_at
    });
    Some((at, accepted.unwrap_or(at)))
}

fn text_after(bytes: &[u8], start: &[u8]) -> Option<Timestamp> {
    let text = bytes.strip_prefix(start)?.get(..27)?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A stored record, read back. Members that a later version added are passed over.
#[derive(Clone, Debug, Deserialize)]
pub struct Record<'a> {
    /// Its position, from 0.
    pub seq: u64,
    /// The caller's time, or when it was accepted.
    pub timestamp: Timestamp,
    /// What happened.
    #[serde(borrow)]
    pub event_type: Cow<'a, str>,
    /// Who did it.
    #[serde(borrow, default)]
    pub actor: Option<Cow<'a, str>>,
    /// Who reports it.
    #[serde(borrow, default)]
    pub source: Option<Cow<'a, str>>,
    /// What it was done to.
    #[serde(borrow, default)]
    pub target: Option<Cow<'a, str>>,
    /// How it ended.
    #[serde(borrow, default)]
    pub outcome: Option<Cow<'a, str>>,
    /// Anything else, as stored.
    #[serde(borrow, default)]
    pub details: Option<&'a RawValue>,
    /// What the system attested of the sender, as stored.
    #[serde(borrow, default)]
    pub origin: Option<&'a RawValue>,
    /// The sender's own name for it.
    #[serde(borrow, default)]
    pub id: Option<Cow<'a, str>>,
    /// When it was accepted, if the caller gave `timestamp`.
    #[serde(default)]
    pub recorded_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(event: &Event, seq: u64, accepted: Timestamp) -> Vec<u8> {
        let origin = Origin {
            via: Via::Socket,
            uid: Some(1000),
            pid: Some(4242),
            token: None,
            peer: None,
            import: false,
            import_id: None,
        };
        let mut body = Vec::new();
        encode_body(event, &EncodedOrigin::new(&origin), &mut body);
        let mut out = Vec::new();
        let text = accepted.to_string();
        assemble(seq, text.as_bytes(), event.timestamp_value().is_some(), &body, &mut out);
        out
    }

    #[test]
    fn a_record_is_the_documented_line() {
        let accepted = "2026-02-04T21:09:40.123456Z".parse().expect("time");
        let event = Event::new("login")
            .actor("alice")
            .source("billing")
            .target("acct-7")
            .outcome("success")
            .details_json(r#"{"ip":"::1"}"#)
            .expect("details");
        let text = String::from_utf8(line(&event, 42, accepted)).expect("utf-8");
        assert_eq!(
            text,
            r#"{"seq":42,"timestamp":"2026-02-04T21:09:40.123456Z","event_type":"login","actor":"alice","source":"billing","target":"acct-7","outcome":"success","details":{"ip":"::1"},"origin":{"via":"socket","uid":1000,"pid":4242}}"#
        );
        let event = event.timestamp("2023-07-10T11:42:36Z".parse().expect("time"));
        let text = String::from_utf8(line(&event, 42, accepted)).expect("utf-8");
        assert!(
            text.starts_with(r#"{"seq":42,"timestamp":"2023-07-10T11:42:36.000000Z","event_type""#)
        );
        assert!(text.ends_with(r#","recorded_at":"2026-02-04T21:09:40.123456Z"}"#));
        let times = peek_times(text.as_bytes()).expect("times");
        assert_eq!(times, ("2023-07-10T11:42:36Z".parse().expect("time"), accepted));
    }

    proptest! {
        #[test]
        fn whatever_the_text_the_line_reads_back_as_the_event(
            event_type in "\\PC{1,40}", actor in ".{0,40}", seq in any::<u64>(), micros in 0_i64..4_000_000_000_000_000,
        ) {
            let event = Event::new(event_type.clone()).actor(actor.clone());
            let accepted = Timestamp::from_micros(micros);
            let line = line(&event, seq, accepted);
            prop_assert!(!line.contains(&b'\n'));
            prop_assert_eq!(check_line(&line), Ok(seq));
            prop_assert_eq!(peek_times(&line), Some((accepted, accepted)));
            let record: Record<'_> = serde_json::from_slice(&line).expect("record");
            prop_assert_eq!(&*record.event_type, event_type);
            prop_assert_eq!(record.actor.as_deref(), Some(&*actor));
            prop_assert_eq!(record.timestamp, accepted);
        }

        #[test]
        fn no_cut_line_passes_for_a_record(cut in 0_usize..60) {
            let whole = line(&Event::new("login").actor("al"), 7, Timestamp::default());
            prop_assert!(check_line(&whole[..whole.len() - 1 - cut.min(whole.len() - 1)]).is_err());
        }
    }
}
