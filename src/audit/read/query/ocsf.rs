//! Records as OCSF events (Open Cybersecurity Schema Framework), for a SIEM: class API
//! Activity. A view: nothing of it is stored, and what is proven is the record, which
//! `metadata.uid` leads back to.
//!
//! Only attributes are used that the class has had since [`VERSION`] and still has in
//! 1.8.0. What has no place among them is kept, as it is stored, in `unmapped`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::History;
use super::json::{members, text_of};
use crate::audit::record::head::{Field, Head};
use crate::clock::Timestamp;

/// The version of OCSF that events say they are of.
pub const VERSION: &str = "1.1.0";
/// API Activity.
pub const CLASS_UID: u32 = 6003;
/// Application Activity, of which it is.
const CATEGORY_UID: u32 = 6;

/// Members of `details` that say from where something was done, the first that is an
/// address.
const ADDRESSES: &[&str] =
    &["ip", "source_ip", "src_ip", "client_ip", "remote_ip", "remote_addr", "sourceIPAddress"];

/// The severities, by what `details.severity` says.
const SEVERITIES: &[(u8, &str)] =
    &[(1, "Informational"), (2, "Low"), (3, "Medium"), (4, "High"), (5, "Critical"), (6, "Fatal")];

/// Words in an event type that say which of the class's activities it is.
const ACTIVITIES: &[(u8, &str, &[&str])] = &[
    (1, "Create", &["add", "added", "create", "created", "insert", "inserted", "register"]),
    (
        2,
        "Read",
        &[
            "describe",
            "download",
            "downloaded",
            "export",
            "exported",
            "get",
            "list",
            "listed",
            "query",
            "read",
            "search",
            "view",
            "viewed",
        ],
    ),
    (
        3,
        "Update",
        &[
            "change", "changed", "edit", "edited", "modified", "modify", "patch", "put", "rename",
            "renamed", "set", "update", "updated",
        ],
    ),
    (4, "Delete", &["delete", "deleted", "destroy", "destroyed", "purge", "remove", "removed"]),
];

const SUCCESS: &[&str] =
    &["success", "succeeded", "successful", "ok", "allow", "allowed", "granted", "accepted"];
const FAILURE: &[&str] =
    &["failure", "failed", "fail", "error", "deny", "denied", "refused", "rejected", "forbidden"];

#[derive(Serialize)]
struct Event<'a> {
    class_uid: u32,
    class_name: &'static str,
    category_uid: u32,
    category_name: &'static str,
    activity_id: u8,
    activity_name: &'a str,
    type_uid: u32,
    type_name: String,
    time: i64,
    severity_id: u8,
    severity: &'static str,
    status_id: u8,
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<&'a str>,
    message: String,
    actor: Actor<'a>,
    api: Api<'a>,
    src_endpoint: Endpoint<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<[Named<'a>; 1]>,
    metadata: Metadata<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    unmapped: BTreeMap<String, Cow<'a, RawValue>>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Actor<'a> {
    User(Named<'a>),
    /// Who did it is not said: who reports it.
    InvokedBy(&'a str),
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Api<'a> {
    operation: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<Named<'a>>,
}

#[derive(Serialize)]
struct Endpoint<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<IpAddr>,
    svc_name: &'a str,
}

#[derive(Serialize)]
struct Metadata<'a> {
    version: &'static str,
    product: Product,
    uid: String,
    sequence: u64,
    log_name: &'a str,
    log_provider: &'static str,
    event_code: &'a str,
    original_time: &'a str,
    logged_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_uid: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
struct Product {
    name: &'static str,
    vendor_name: &'static str,
    version: &'static str,
}

/// A stored line as an event, on one line without its end; `None` for a line that is no
/// record.
#[must_use]
pub fn event(line: &[u8], history: &History) -> Option<String> {
    let head = Head::parse(line)?;
    let text = |field| head.text(field).map(String::from_utf8_lossy);
    let event_type = text(Field::EventType)?;
    let [actor, source, target, outcome] =
        [Field::Actor, Field::Source, Field::Target, Field::Outcome].map(text);
    let [actor, source, target, outcome] =
        [&actor, &source, &target, &outcome].map(Option::as_deref);
    let original_time = std::str::from_utf8(&head.timestamp).ok()?;
    let time = milliseconds(original_time)?;
    let rest = Rest::of(line);
    let (activity_id, activity_name) = activity(&event_type).unwrap_or((99, &*event_type));
    let (status_id, status) = status(outcome);
    let (severity_id, severity) = rest.severity;
    let type_name = if activity_id == 99 { "Other" } else { activity_name };
    let svc_name = source.unwrap_or("unknown");
    let event = Event {
        class_uid: CLASS_UID,
        class_name: "API Activity",
        category_uid: CATEGORY_UID,
        category_name: "Application Activity",
        activity_id,
        activity_name,
        type_uid: CLASS_UID * 100 + u32::from(activity_id),
        type_name: format!("API Activity: {type_name}"),
        time,
        severity_id,
        severity,
        status_id,
        status,
        status_code: outcome,
        message: message(&event_type, actor, target, outcome),
        actor: actor.map_or(Actor::InvokedBy(svc_name), |name| Actor::User(Named { name })),
        api: Api { operation: &event_type, service: source.map(|name| Named { name }) },
        src_endpoint: Endpoint { ip: rest.ip, svc_name },
        resources: target.map(|name| [Named { name }]),
        metadata: Metadata {
            version: VERSION,
            product: Product {
                name: "auditctl",
                vendor_name: "auditctl",
                version: env!("CARGO_PKG_VERSION"),
            },
            uid: uid(history, head.seq),
            sequence: head.seq,
            log_name: &history.log_id,
            log_provider: "auditctl",
            event_code: &event_type,
            original_time,
            logged_time: rest.recorded_at.unwrap_or(time),
            correlation_uid: rest.id,
        },
        unmapped: rest.unmapped,
    };
    serde_json::to_string(&event).ok()
}

/// Records as events, one a line.
#[must_use]
pub fn events<'a>(lines: impl IntoIterator<Item = &'a [u8]>, history: &History) -> String {
    let mut out = String::new();
    for event in lines.into_iter().filter_map(|line| event(line, history)) {
        out.push_str(&event);
        out.push('\n');
    }
    out
}

/// Names the record for ever: after a restore that set records aside, the same seq in the
/// new epoch is another one's.
fn uid(history: &History, seq: u64) -> String {
    match history.epoch {
        0 => format!("{}/{seq}", history.log_id),
        epoch => format!("{}/e{epoch}/{seq}", history.log_id),
    }
}

fn milliseconds(time: &str) -> Option<i64> {
    let time: Timestamp = time.parse().ok()?;
    Some(time.micros().div_euclid(1_000))
}

/// The one activity of which there is a word in the event type.
fn activity(event_type: &str) -> Option<(u8, &'static str)> {
    let words = words(event_type);
    let mut found =
        ACTIVITIES.iter().filter(|(_, _, known)| words.iter().any(|word| known.contains(&&**word)));
    match (found.next(), found.next()) {
        (Some((id, name, _)), None) => Some((*id, *name)),
        _ => None,
    }
}

/// `user.created`, `DeleteUser` and `role-list` in words, in lower case.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for char in text.chars() {
        let starts = char.is_uppercase() && was_lower;
        was_lower = char.is_lowercase();
        if starts || !char.is_alphanumeric() {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| char.is_alphanumeric()) {
            word.extend(char.to_lowercase());
        }
    }
    words
}

fn status(outcome: Option<&str>) -> (u8, &str) {
    let Some(outcome) = outcome else { return (0, "Unknown") };
    let is_one = |known: &[&str]| known.iter().any(|word| outcome.eq_ignore_ascii_case(word));
    if is_one(SUCCESS) {
        (1, "Success")
    } else if is_one(FAILURE) {
        (2, "Failure")
    } else {
        (99, outcome)
    }
}

fn message(
    event_type: &str,
    actor: Option<&str>,
    target: Option<&str>,
    outcome: Option<&str>,
) -> String {
    let mut text = event_type.to_owned();
    for (between, part) in [(" by ", actor), (" on ", target), (": ", outcome)] {
        if let Some(part) = part {
            text.push_str(between);
            text.push_str(part);
        }
    }
    text
}

/// What stands in a record beside its own fields.
struct Rest<'a> {
    unmapped: BTreeMap<String, Cow<'a, RawValue>>,
    recorded_at: Option<i64>,
    id: Option<Cow<'a, str>>,
    ip: Option<IpAddr>,
    severity: (u8, &'static str),
}

impl<'a> Rest<'a> {
    fn of(line: &'a [u8]) -> Self {
        let mut rest = Self {
            unmapped: BTreeMap::new(),
            recorded_at: None,
            id: None,
            ip: None,
            severity: (1, "Informational"),
        };
        let text = std::str::from_utf8(line).ok();
        let is_whole =
            text.is_some_and(|text| members(text, &mut |key, value| rest.member(key, value)));
        if !is_whole {
            // Only its own fields could be read. Nothing of it is lost.
            rest.unmapped.clear();
            let raw = to_raw_value(&String::from_utf8_lossy(line)).ok();
            rest.unmapped.extend(raw.map(|raw| ("line".to_owned(), Cow::Owned(raw))));
        }
        rest
    }

    fn member(&mut self, key: &str, value: &'a RawValue) -> bool {
        match key {
            "seq" | "timestamp" | "event_type" | "actor" | "source" | "target" | "outcome" => {
                return true;
            }
            "recorded_at" => {
                self.recorded_at = text_of(value.get()).and_then(|time| milliseconds(&time));
            }
            "id" => self.id = text_of(value.get()),
            "details" => self.details(value),
            _ => {}
        }
        let has_place = match key {
            "recorded_at" => self.recorded_at.is_some(),
            "id" => self.id.is_some(),
            _ => false,
        };
        if !has_place {
            self.unmapped.insert(key.to_owned(), Cow::Borrowed(value));
        }
        true
    }

    fn details(&mut self, details: &'a RawValue) {
        let mut best = ADDRESSES.len();
        members(details.get(), &mut |key, value| {
            let at = ADDRESSES.iter().position(|known| *known == key).filter(|at| *at < best);
            if let Some(at) = at
                && let Some(ip) = text_of(value.get()).and_then(|text| text.parse().ok())
            {
                (best, self.ip) = (at, Some(ip));
            }
            if key == "severity"
                && let Some(text) = text_of(value.get())
                && let Some(known) =
                    SEVERITIES.iter().find(|(_, name)| name.eq_ignore_ascii_case(&text))
            {
                self.severity = *known;
            }
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn history(epoch: u32) -> History {
        History { log_id: "5f0c".to_owned(), epoch }
    }

    fn of(line: &str) -> Value {
        let event = event(line.as_bytes(), &history(0)).expect("an event");
        assert!(!event.contains('\n'), "one line");
        serde_json::from_str(&event).expect("JSON")
    }

    #[test]
    fn a_record_s_fields_have_their_places_and_the_rest_is_kept_as_it_is() {
        let found = of(
            r#"{"seq":42,"timestamp":"2026-02-04T21:09:40.123999Z","event_type":"user.deleted","actor":"alice","source":"billing","target":"acct-7","outcome":"success","details":{"ip":"::ffff:1.2.3.4","n":12345678901234567890123,"severity":"high"},"origin":{"via":"http","token":"web-1"},"recorded_at":"2026-02-04T21:10:00.000000Z"}"#,
        );
        assert_eq!((&found["class_uid"], &found["type_uid"]), (&json!(6003), &json!(600_304)));
        assert_eq!(found["type_name"], "API Activity: Delete");
        assert_eq!(found["time"], 1_770_239_380_123_i64);
        assert_eq!((&found["severity_id"], &found["severity"]), (&json!(4), &json!("High")));
        assert_eq!((&found["status_id"], &found["status"]), (&json!(1), &json!("Success")));
        assert_eq!(found["actor"], json!({ "user": { "name": "alice" } }));
        let api = json!({ "operation": "user.deleted", "service": { "name": "billing" } });
        assert_eq!(found["api"], api);
        assert_eq!(found["src_endpoint"], json!({ "ip": "::ffff:1.2.3.4", "svc_name": "billing" }));
        assert_eq!(found["resources"], json!([{ "name": "acct-7" }]));
        assert_eq!(found["message"], "user.deleted by alice on acct-7: success");
        assert_eq!(found["metadata"]["uid"], "5f0c/42");
        assert_eq!(found["metadata"]["logged_time"], 1_770_239_400_000_i64);
        assert_eq!(found["unmapped"]["origin"], json!({ "via": "http", "token": "web-1" }));
        assert!(found["unmapped"].get("recorded_at").is_none());
    }

    #[test]
    fn numbers_in_details_are_kept_to_the_digit() {
        let line = br#"{"seq":1,"timestamp":"2026-02-04T21:09:40.000000Z","event_type":"a","details":{"n":12345678901234567890123.50},"origin":{}}"#;
        let event = event(line, &history(2)).expect("an event");
        assert!(event.contains(r#""details":{"n":12345678901234567890123.50}"#), "{event}");
        assert!(event.contains(r#""uid":"5f0c/e2/1""#), "{event}");
    }

    #[test]
    fn what_a_record_does_not_say_is_not_made_up() {
        let found = of(
            r#"{"seq":0,"timestamp":"1969-12-31T23:59:59.999500Z","event_type":"audit.log_created","details":{"ip":"not one","severity":"loud"},"origin":{}}"#,
        );
        assert_eq!(found["time"], -1);
        assert_eq!(found["actor"], json!({ "invoked_by": "unknown" }));
        assert_eq!(found["src_endpoint"], json!({ "svc_name": "unknown" }));
        assert_eq!((&found["status_id"], &found["severity_id"]), (&json!(0), &json!(1)));
        assert!(found.get("resources").is_none() && found.get("status_code").is_none());
        let found = of(
            r#"{"seq":0,"timestamp":"2026-02-04T21:09:40.000000Z","event_type":"login","outcome":"maybe","origin":{},"id":"k-1","new":[1]}"#,
        );
        assert_eq!((&found["status_id"], &found["status"]), (&json!(99), &json!("maybe")));
        assert_eq!((&found["activity_id"], &found["activity_name"]), (&json!(99), &json!("login")));
        assert_eq!(found["metadata"]["correlation_uid"], "k-1");
        assert_eq!(found["unmapped"]["new"], json!([1]), "of a later version");
    }

    #[test]
    fn an_activity_is_told_by_one_word_and_not_by_two_that_differ() {
        for (event_type, expected) in [
            ("user.created", 1),
            ("CreateUser", 1),
            ("role_list", 2),
            ("s3:GetObject", 2),
            ("password-change", 3),
            ("key/removed", 4),
            ("login", 99),
            ("get_or_create", 99),
            ("budget", 99),
            ("settings", 99),
            ("", 99),
        ] {
            let found = activity(event_type).map_or(99, |(id, _)| id);
            assert_eq!(found, expected, "{event_type}");
        }
    }

    #[test]
    fn a_line_of_which_only_the_head_can_be_read_is_kept_whole() {
        let line = r#"{"seq":7,"timestamp":"2026-02-04T21:09:40.000000Z","event_type":"a","details":{"x":nonsense},"origin":{}}"#;
        assert_eq!(of(line)["unmapped"], json!({ "line": line }));
        assert_eq!(event(b"no record", &history(0)), None);
    }
}
