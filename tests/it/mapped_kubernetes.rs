//! What a real kube-apiserver sent to its webhook and wrote to its file (tests/fixtures/README.md tells how it was
//! recorded): read, mapped and queried, each event once.

use std::io::Write;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::mappings::{JSON, fields, fixture, post, stored};
use crate::serving::Serving;
use crate::support::{Dir, ok};

const PATH: &str = "/v1/ingest/kubernetes";
/// As its client sends them.
const ITS_HEADERS: &str =
    "accept: application/json, */*\r\nuser-agent: Go-http-client/1.1\r\naccept-encoding: gzip\r\n";

fn text(name: &str) -> String {
    std::fs::read_to_string(fixture(name)).expect("fixture")
}

/// The bodies of its requests, byte for byte; each ends with a line's end.
fn bodies() -> Vec<String> {
    text("kube-apiserver.bodies.ndjson").split_inclusive('\n').map(str::to_owned).collect()
}

fn events_of(body: &str) -> Vec<Value> {
    let list: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(
        (&list["kind"], &list["apiVersion"]),
        (&json!("EventList"), &json!("audit.k8s.io/v1"))
    );
    list["items"].as_array().expect("events").clone()
}

/// What the record of an event has to say, read from the event by other means than a mapping's.
fn expected(event: &Value) -> [String; 7] {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let object = &event["objectRef"];
    let verb = text(&event["verb"]).expect("a verb");
    let event_type = match (text(&object["resource"]), text(&object["subresource"])) {
        (Some(resource), Some(sub)) => format!("{verb}:{resource}/{sub}"),
        (Some(resource), None) => format!("{verb}:{resource}"),
        _ => verb,
    };
    let parts = [&object["resource"], &object["namespace"], &object["name"]];
    let parts: Vec<String> = parts.into_iter().filter_map(text).collect();
    // A kind of object alone is no object: then it is what was asked for.
    let target =
        if parts.len() > 1 { parts.join("/") } else { text(&event["requestURI"]).expect("URI") };
    let outcome = match event["responseStatus"]["code"].as_u64() {
        None => "-",
        Some(401 | 403) => "denied",
        Some(100..=399) => "success",
        Some(_) => "failure",
    };
    let [audit_id, stage, at] =
        ["auditID", "stage", "stageTimestamp"].map(|key| text(&event[key]).expect(key));
    let actor = text(&event["user"]["username"]).unwrap_or_else(|| "-".to_owned());
    [
        event_type,
        actor,
        "kube-apiserver".into(),
        target,
        outcome.into(),
        at,
        format!("{audit_id}/{stage}"),
    ]
}

/// Each event has one record that says what it says, and there is no other.
fn are_recorded(dir: &Dir, events: &[Value]) {
    let found = stored(dir);
    assert_eq!(found.len(), events.len());
    for event in events {
        let expected = expected(event);
        let mut of_event = found.iter().filter(|record| record["id"] == *expected[6]);
        let record = of_event.next().unwrap_or_else(|| panic!("{event}"));
        assert_eq!(fields(record), expected.each_ref().map(String::as_str));
        assert!(of_event.next().is_none(), "once: {event}");
        if event.to_string().len() < 50_000 {
            assert_eq!(record["details"], *event, "whole");
        }
    }
}

fn count(dir: &Dir, args: &[&str]) -> u64 {
    let asked = [&["query", "--count"], args].concat();
    ok(dir, &asked).trim().parse().expect("a number")
}

#[test]
fn what_a_real_kube_apiserver_posts_is_read_mapped_and_queried_and_sent_again_is_there_once() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let bodies = bodies();
    let deliver = |collector: &Serving, known: bool| {
        for body in &bodies {
            let items = events_of(body).len();
            let (status, _, told) = post(collector, PATH, JSON, ITS_HEADERS, body);
            let duplicates = if known { items } else { 0 };
            assert_eq!(
                (status, &told["recorded"], &told["duplicates"], &told["rejected"]),
                (200, &json!(items), &json!(duplicates), &json!(0)),
                "{told}"
            );
            assert_eq!(
                (&told["misfits"], &told["other_ids"]),
                (&Value::Null, &Value::Null),
                "{told}"
            );
        }
    };
    deliver(&collector, false);
    let events: Vec<Value> = bodies.iter().flat_map(|body| events_of(body)).collect();
    are_recorded(&dir, &events);
    // It asks again for what it got no answer to, also of a collector that was killed meanwhile.
    deliver(&collector, true);
    collector.kill_nine();
    let collector = Serving::start(&dir, "");
    deliver(&collector, true);
    are_recorded(&dir, &events);

    // Who was refused; who had no valid token; who was nobody.
    assert_eq!(count(&dir, &["--actor", "alice", "--outcome", "denied"]), 3);
    assert_eq!(
        count(&dir, &["--outcome", "denied", "--where", "details.responseStatus.code = 401"]),
        1
    );
    assert_eq!(count(&dir, &["--actor", "system:anonymous", "--type", "list:secrets"]), 2);
    // Who acted as another.
    let robot = "details.impersonatedUser.username = \"system:serviceaccount:shop:robot\"";
    assert_eq!(count(&dir, &["--actor", "kubernetes-admin", "--where", robot]), 1);
    // A command and a log of a pod that is not there, as they began and ended.
    assert_eq!(count(&dir, &["--type", "create:pods/exec", "--outcome", "failure"]), 2);
    assert_eq!(count(&dir, &["--type", "get:pods/log", "--target", "pods/shop/missing"]), 3);
    assert_eq!(count(&dir, &["--type", "watch:configmaps"]), 3);
    // What was created and deleted, by its name.
    assert_eq!(count(&dir, &["--target", "secrets/shop/db", "--type", "delete:secrets"]), 2);
    let colour = "details.requestObject.data.colour = \"grün ✓\"";
    assert_eq!(count(&dir, &["--type", "patch:configmaps", "--where", colour]), 1);
    collector.terminate();
}

#[test]
fn of_a_real_event_that_is_too_large_only_what_the_preset_sheds_is_left_out() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let body = bodies().into_iter().find(|body| body.contains("xxxxxxxx")).expect("a large one");
    let (status, _, told) = post(&collector, PATH, JSON, ITS_HEADERS, &body);
    assert_eq!((status, &told["rejected"]), (200, &json!(0)), "{told}");
    drop(collector);
    let events = events_of(&body);
    let large = events.iter().find(|event| event.to_string().len() > 50 << 10).expect("it");
    let found = stored(&dir);
    let record = found.iter().find(|record| {
        record["details"]["auditID"] == large["auditID"]
            && record["details"]["stage"] == "ResponseComplete"
    });
    let details = &record.expect("recorded")["details"];
    let shed = &details["responseObject"];
    let (_, left_out) = body
        .match_indices("\"responseObject\":")
        .map(|(at, key)| body.split_at(at + key.len()))
        .find(|(_, rest)| {
            rest.split("\"requestReceivedTimestamp\":")
                .next()
                .is_some_and(|part| part.contains("xxxxxxxx"))
        })
        .expect("its text");
    let bytes = usize::try_from(shed["left_out_bytes"].as_u64().expect("a number")).expect("few");
    let left_out = &left_out[..bytes];
    assert_eq!(serde_json::from_str::<Value>(left_out).expect("whole"), large["responseObject"]);
    let digest: String =
        Sha256::digest(left_out).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(shed["sha256"], *digest);
    for key in ["requestObject", "objectRef", "user", "responseStatus", "annotations"] {
        assert_eq!(details[key], large[key], "{key}");
    }
}

#[test]
fn a_delivery_that_breaks_off_anywhere_and_is_made_again_leaves_each_event_once() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let body = bodies().swap_remove(0);
    for cut in (1..body.len()).step_by(body.len() / 9) {
        let mut stream = std::net::TcpStream::connect(collector.http).expect("connect");
        let head = format!(
            "POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {JSON}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("sent");
        stream.write_all(&body.as_bytes()[..cut]).expect("sent");
    }
    let (status, _, told) = post(&collector, PATH, JSON, ITS_HEADERS, &body);
    assert_eq!((status, &told["rejected"]), (200, &json!(0)), "{told}");
    are_recorded(&dir, &events_of(&body));
    collector.terminate();
    are_recorded(&dir, &events_of(&body));
}

#[test]
fn what_a_real_kube_apiserver_wrote_to_its_file_is_imported_once() {
    let dir = Dir::new();
    let name = "kube-apiserver.audit.ndjson";
    let file = fixture(name);
    let lines: Vec<Value> =
        text(name).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let args =
        ["record", "--format", "kubernetes", "--json", "--file", file.to_str().expect("UTF-8")];
    for duplicates in [0, lines.len()] {
        let told: Value = serde_json::from_str(&ok(&dir, &args)).expect("JSON");
        let recorded = lines.len() - duplicates;
        assert_eq!(
            (&told["recorded"], &told["duplicates"], &told["mapping"]["misfits"]),
            (&json!(recorded), &json!(duplicates), &json!(0)),
            "{told}"
        );
        are_recorded(&dir, &lines);
    }
    assert_eq!(count(&dir, &["--actor", "alice", "--outcome", "denied"]), 3);
}
