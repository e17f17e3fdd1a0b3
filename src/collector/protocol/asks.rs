//! Which lines of the socket are requests, and which of them.
//!
//! A line is a request when it is an object whose first key is one of [`REQUESTS`], or
//! whose only key is no event's and stands before an object: such a one may be a request
//! of a later version. Every other line is an event, however wrong.

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use crate::audit::read::query::Request;
use crate::audit::record::event::is_event_key;
use crate::audit::write::key_change::RotateRequest;
use crate::audit::write::own::{BackupMade, BackupRemoved};
use crate::json_place::JsonError;

/// The keys that a request has, each its only one.
pub const REQUESTS: &[&str] =
    &["hello", "status", "query", "session", "open", "backup_made", "backup_removed", "key_rotate"];
/// Those of them that events could begin with before they were requests: a line is one only
/// where it would have been an unknown request.
const LATER: &[&str] = &["open"];
/// A name may have so many bytes to be that of a request.
const MAX_NAME_BYTES: usize = 64;

/// A line that is not an event.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::collector) enum Control {
    Hello,
    Status,
    Query(Box<Request>),
    Session(SessionWish),
    /// A session for HTTP.
    Open,
    BackupMade(Box<BackupMade>),
    BackupRemoved(Box<BackupRemoved>),
    KeyRotate(Box<RotateRequest>),
    /// One that this version does not have.
    Unknown(String),
}

/// What a peer asks of its session.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(in crate::collector) struct SessionWish {
    #[serde(default)]
    pub(in crate::collector) import: bool,
    /// Which import it is, so that its sender can ask what of it arrived.
    #[serde(default)]
    pub(in crate::collector) import_id: Option<String>,
    #[serde(default)]
    pub(in crate::collector) lenient: bool,
}

/// What a client says of itself. What it says beyond that is for later collectors.
#[derive(Deserialize)]
struct Greeting {
    #[serde(default, rename = "client")]
    _client: Option<String>,
}

/// An object without members.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    hello: Option<Greeting>,
    status: Option<Value>,
    query: Option<Box<Request>>,
    session: Option<SessionWish>,
    open: Option<Nothing>,
    backup_made: Option<Box<BackupMade>>,
    backup_removed: Option<Box<BackupRemoved>>,
    key_rotate: Option<Box<RotateRequest>>,
}

/// The request that a line is, if it is one.
pub(in crate::collector) fn control(line: &[u8]) -> Option<Result<Control, String>> {
    let name = first_key(line)?;
    let is_one_object = || serde_json::from_slice::<OneObject>(line).is_ok();
    if !REQUESTS.contains(&name) {
        let may_be = is_request_name(name) && !is_event_key(name);
        return (may_be && is_one_object()).then(|| Ok(Control::Unknown(name.to_owned())));
    }
    if LATER.contains(&name) && !is_one_object() {
        return None;
    }
    let wire: Wire = match serde_json::from_slice(line) {
        Ok(wire) => wire,
        Err(error) => return Some(Err(JsonError::of(&error, line).to_string())),
    };
    let Wire { hello, status, query, session, open, backup_made, backup_removed, key_rotate } =
        wire;
    let mut wishes = [
        hello.map(|_| Control::Hello),
        status.map(|_| Control::Status),
        query.map(Control::Query),
        session.map(Control::Session),
        open.map(|Nothing {}| Control::Open),
        backup_made.map(Control::BackupMade),
        backup_removed.map(Control::BackupRemoved),
        key_rotate.map(Control::KeyRotate),
    ]
    .into_iter()
    .flatten();
    Some(match (wishes.next(), wishes.next()) {
        (Some(wish), None) => Ok(wish),
        (None, _) => Err(format!("the request is empty: {{\"{name}\":{{}}}}")),
        (Some(_), Some(_)) => Err("one request a line".to_owned()),
    })
}

/// The name of an object's first key, as far as it is written without escapes.
fn first_key(line: &[u8]) -> Option<&str> {
    let inside = line.trim_ascii_start().strip_prefix(b"{")?;
    let name = inside.trim_ascii_start().strip_prefix(b"\"")?;
    let end = memchr::memchr2(b'"', b'\\', &name[..name.len().min(MAX_NAME_BYTES + 1)])?;
    if name[end] != b'"' {
        return None;
    }
    std::str::from_utf8(&name[..end]).ok()
}

fn is_request_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// An object with one key, before an object.
struct OneObject;

/// An object, whatever is in it.
struct Object;

impl<'de> Deserialize<'de> for OneObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One;
        impl<'de> Visitor<'de> for One {
            type Value = OneObject;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object with one key")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<OneObject, M::Error> {
                let one = map.next_entry::<serde::de::IgnoredAny, Object>()?;
                let more = map.next_key::<serde::de::IgnoredAny>()?;
                match (one, more) {
                    (Some(_), None) => Ok(OneObject),
                    _ => Err(M::Error::custom("not one key")),
                }
            }
        }
        deserializer.deserialize_map(One)
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Object;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Object, M::Error> {
                type Any = serde::de::IgnoredAny;
                while map.next_entry::<Any, Any>()?.is_some() {}
                Ok(Object)
            }
        }
        deserializer.deserialize_map(Any)
    }
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
        assert_eq!(control(b"{\"open\":{}}"), Some(Ok(Control::Open)));
        assert!(matches!(control(b"{\"open\":{\"uid\":0}}"), Some(Err(_))));
        assert!(matches!(control(b"{\"status\":{},\"query\":{}}"), Some(Err(_))));
        assert!(matches!(control(b"{\"hello\":null}"), Some(Err(_))));
    }

    #[test]
    fn a_request_is_told_whatever_space_is_in_it() {
        for text in ["{\"hello\":{}}", "{ \"hello\" : { } }", "\t{\t\"hello\":{}}  "] {
            assert_eq!(control(text.as_bytes()), Some(Ok(Control::Hello)), "{text}");
        }
        let later = br#"{"hello":{"client":"x/1","protocol":9,"wants":["y"]}}"#;
        assert_eq!(control(later), Some(Ok(Control::Hello)), "a later client says more");
        assert!(matches!(control(b"{\"hello\":{\"client\":1}}"), Some(Err(_))));
    }

    #[test]
    fn what_may_be_a_request_of_a_later_version_is_not_taken_for_an_event() {
        for text in [r#"{"version":{}}"#, r#"{ "x2_y": {"a":[1,{"b":null}]} }"#] {
            let found = control(text.as_bytes());
            assert!(matches!(found, Some(Ok(Control::Unknown(_)))), "{text}");
        }
        let long = format!("{{\"{}\":{{}}}}", "x".repeat(65));
        for event in [
            "{}",
            "[]",
            "nonsense",
            "{\"version\":1}",
            "{\"version\":{}",
            "{\"version\":{}} x",
            "{\"version\":{},\"more\":{}}",
            "{\"version\":{},\"version\":{}}",
            "{\"version\":{},\"event_type\":\"x\"}",
            "{\"details\":{}}",
            "{\"event_type\":{}}",
            "{\"open\":1.5,\"close\":2,\"event_type\":\"tick\"}",
            "{\"Version\":{}}",
            "{\"a b\":{}}",
            "{\"\":{}}",
            "{\"\\u0073tatus\":{}}",
            &long,
        ] {
            assert_eq!(control(event.as_bytes()), None, "{event}");
        }
    }
}
