//! `query --format ocsf`: what it prints is what OCSF's published schemas say, and leads back
//! to the records.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::fetched::http_python;
use crate::serving::{Serving, bearer, new_token};
use crate::support::{Dir, all_lines, ok, open, options, run};
use auditctl::audit::Event;

/// The versions of OCSF that the package has since the one that events say they are of.
const VERSIONS: [&str; 8] =
    ["1.1.0", "1.2.0", "1.3.0", "1.4.0", "1.5.0", "1.6.0", "1.7.0", "1.8.0"];

/// Checks events, one a line, against the class's schema in each version, the event's own
/// `metadata.version` set to it; prints what is wrong.
const CHECK: &str = r#"
import json, sys
import jsonschema_rs
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema
events = [json.loads(line) for line in sys.stdin]
for version in sys.argv[1:]:
    schemas = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=version))
    name = schemas.lookup_class_name_from_uid(class_uid=6003)
    schema = schemas.get_class_schema(class_name=name, profiles=[])
    validator = jsonschema_rs.validator_for(schema)
    for event in events:
        event["metadata"]["version"] = version
        for error in validator.iter_errors(event):
            print(version, list(error.instance_path), error.message[:300], json.dumps(event)[:500])
print(len(events), "events")
"#;

/// What is wrong with events, by OCSF's schemas.
fn wrong(events: &str, versions: &[&str]) -> Option<String> {
    let python = http_python()?;
    let mut child = Command::new(python)
        .args(["-c", CHECK])
        .args(versions)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python");
    child.stdin.take().expect("piped").write_all(events.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("python");
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).expect("text");
    let (found, count) = said.trim_end().rsplit_once('\n').unwrap_or(("", said.trim_end()));
    assert_eq!(count, format!("{} events", events.lines().count()));
    Some(found.to_owned())
}

/// Events of every kind: all fields, hardly any, odd texts, what is real, the log's own.
fn a_log_of_all_kinds(dir: &Dir) {
    let log = open(options(dir));
    let odd = "\u{202e}ä\u{0}🦀 \"\\";
    for (event_type, outcome) in [
        ("login", Some("success")),
        ("user.created", Some("DENIED")),
        ("DeleteBucket", Some("perhaps")),
        (odd, Some(odd)),
        ("x", None),
    ] {
        let mut event = Event::new(event_type);
        if let Some(outcome) = outcome {
            let details = json!({
                "ip": "2001:db8::1", "severity": "critical", "big": 1e300, "deep": [[{"a": null}]],
                odd: odd,
            });
            event = event.actor("alice").source("web").target(odd).outcome(outcome);
            event = event.details(&details).expect("details");
            event = event.timestamp("1969-07-20T20:17:40.5+02:00".parse().expect("a time"));
        }
        log.record(event).expect("recorded").wait().expect("durable");
    }
    log.close().expect("closed");
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/cloudtrail_sample.ndjson");
    ok(dir, &["record", "--file", sample]);
}

#[test]
fn every_record_as_an_ocsf_event_is_valid_by_the_published_schema_of_each_version() {
    let dir = Dir::new();
    a_log_of_all_kinds(&dir);
    let events = ok(&dir, &["query", "--format", "ocsf", "--oldest"]);
    let lines = all_lines(&dir.log());
    assert_eq!(events.lines().count(), lines.len(), "one for each record");
    for (event, line) in events.lines().zip(&lines) {
        let (event, record): (Value, Value) =
            (serde_json::from_str(event).expect(event), serde_json::from_str(line).expect(line));
        assert_eq!(event["metadata"]["sequence"], record["seq"]);
        assert_eq!(event["api"]["operation"], record["event_type"]);
        assert_eq!(event["unmapped"]["details"], record["details"], "{line}");
        let type_uid = 600_300 + event["activity_id"].as_u64().expect("activity");
        assert_eq!(event["type_uid"], type_uid);
    }
    let Some(found) = wrong(&events, &VERSIONS) else { return };
    assert_eq!(found, "", "by OCSF's own schemas");
}

#[test]
fn the_check_by_the_schema_notices_what_is_not_in_it() {
    let dir = Dir::new();
    open(options(&dir)).close().expect("closed");
    let events = ok(&dir, &["query", "--format", "ocsf", "--limit", "1"]);
    for (good, bad) in [
        ("\"class_uid\":6003", "\"class_uid\":6004"),
        ("\"severity_id\":1", "\"severity_id\":7"),
        ("\"svc_name\"", "\"name_of_none\""),
        ("\"time\":", "\"time\":\"x\",\"end_time\":"),
    ] {
        let Some(found) = wrong(&events.replace(good, bad), &VERSIONS[..1]) else { return };
        assert_ne!(found, "", "{bad}");
    }
}

#[test]
fn http_gives_the_same_events_as_the_command_line() {
    let dir = Dir::new();
    let token = new_token(&dir, "siem", &["--role", "read-write"]);
    let collector = Serving::start(&dir, "[collector]\ntoken_file = \"tokens\"\n");
    let batch = r#"[{"event_type":"login","actor":"alice"},{"event_type":"logout"}]"#;
    assert_eq!(collector.post("application/json", &bearer(&token), batch).0, 200);
    let ask = |query: &str| collector.get(&format!("/v1/events?{query}"), &bearer(&token));
    let (status, head, body) = ask("type=log*t*&type=login&order=oldest&format=ocsf");
    assert_eq!(status, 200, "{body}");
    assert!(head.contains("content-type: application/x-ndjson"), "{head}");
    let args = ["query", "--type", "log*t*", "--type", "login", "--oldest", "--format", "ocsf"];
    assert_eq!(body, ok(&dir, &args));
    assert_eq!(body.lines().count(), 2, "{body}");
    for wrong in [
        "count=true&format=ocsf",
        "group_by=actor&format=ocsf",
        "format=xml",
        "format=ocsf&format=ocsf",
    ] {
        let (status, _, body) = ask(wrong);
        assert_eq!(status, 400, "{wrong}: {body}");
        assert!(body.contains("format"), "{body}");
    }
    // It beats Accept, both ways.
    let (_, head, _) = ask("format=ndjson");
    assert!(head.contains("application/x-ndjson"), "{head}");
}

#[test]
fn a_view_of_whole_records_is_not_asked_for_counts_or_fields() {
    let dir = Dir::new();
    open(options(&dir)).close().expect("closed");
    for more in [&["--count"][..], &["--group-by", "actor"], &["--fields", "seq"]] {
        let (code, _, stderr) = run(&dir, &[&["query", "--format", "ocsf"], more].concat());
        assert_eq!(code, 2, "{more:?}: {stderr}");
        assert!(stderr.contains("--format ocsf"), "{stderr}");
    }
}
