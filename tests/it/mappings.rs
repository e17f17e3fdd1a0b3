//! Foreign events: read from files and taken over HTTP, mapped, stored and queried.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::fetched::otel_python;
use crate::serving::{Serving, bearer, new_token};
use crate::support::{Dir, auditctl, ok, records, run};

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mappings").join(name)
}

/// The records that are not the log's own.
pub(crate) fn stored(dir: &Dir) -> Vec<Value> {
    let all = records(&dir.log()).into_iter().map(|(_, record)| record);
    all.filter(|record| {
        record["event_type"].as_str().is_none_or(|event_type| !event_type.starts_with("audit."))
    })
    .collect()
}

fn import(format: &str, name: &str) -> (Dir, Vec<Value>) {
    let dir = Dir::new();
    let file = fixture(name);
    ok(&dir, &["record", "--format", format, "--file", file.to_str().expect("UTF-8")]);
    let found = stored(&dir);
    (dir, found)
}

/// event_type, actor, source, target, outcome, timestamp, id.
pub(crate) fn fields(record: &Value) -> [&str; 7] {
    ["event_type", "actor", "source", "target", "outcome", "timestamp", "id"]
        .map(|key| record[key].as_str().unwrap_or("-"))
}

#[test]
fn a_file_of_cloudtrail_s_is_read_mapped_and_queried() {
    let (dir, found) = import("cloudtrail", "cloudtrail.json.gz");
    let alice = "arn:aws:iam::123456789012:user/Alice";
    let expected = [
        [
            "ec2:StartInstances",
            alice,
            "ec2.amazonaws.com",
            "-",
            "success",
            "2014-03-06T21:22:54.000000Z",
            "6e12345-2a4e-417c-aa78-7594fEXAMPLE",
        ],
        [
            "cloudtrail:UpdateTrail",
            alice,
            "cloudtrail.amazonaws.com",
            "-",
            "failure",
            "2016-07-14T19:15:45.000000Z",
            "b7d4398e-b2f0-4faa-9c76-e2d316a8d67f",
        ],
        [
            "signin:ConsoleLogin",
            "arn:aws:iam::111122223333:user/anaya",
            "signin.amazonaws.com",
            "-",
            "failure",
            "2023-07-19T21:44:40.000000Z",
            "11ea990b-4678-4bcd-8fbe-625090example",
        ],
        [
            "s3:GetBucketAcl",
            "config.amazonaws.com",
            "s3.amazonaws.com",
            "arn:aws:s3:::acme-audit",
            "denied",
            "2023-07-19T21:45:00.000000Z",
            "eb6b1a2f-0000-4bcd-8fbe-625090example",
        ],
    ];
    assert_eq!(found.iter().map(fields).collect::<Vec<_>>(), expected);
    assert_eq!(
        found[0]["details"]["requestParameters"]["instancesSet"]["items"][0]["instanceId"],
        "i-ebeaf9e2",
        "whole"
    );
    let asked = ok(
        &dir,
        &["query", "--outcome", "denied", "--where", "details.awsRegion = us-east-1", "--count"],
    );
    assert_eq!(asked.trim(), "1");
    // The same file again has nothing new.
    let file = fixture("cloudtrail.json.gz");
    let again =
        ["record", "--format", "cloudtrail", "--file", file.to_str().expect("UTF-8"), "--json"];
    let told: Value = serde_json::from_str(&ok(&dir, &again)).expect("JSON");
    assert_eq!((&told["recorded"], &told["duplicates"]), (&json!(0), &json!(4)), "{told}");
    assert_eq!(stored(&dir).len(), 4);
}

#[test]
fn each_preset_reads_what_its_sender_writes() {
    let (_, found) = import("kubernetes", "kubernetes.ndjson");
    let types: Vec<&str> = found.iter().map(|record| fields(record)[0]).collect();
    assert_eq!(types, ["create:pods", "create:pods", "update:configmaps", "get"]);
    let id = "d2a97a82-f39e-41d0-8b31-dd74f42ac7fe/ResponseComplete";
    assert_eq!(
        fields(&found[1])[1..],
        [
            "kubernetes-admin",
            "kube-apiserver",
            "pods/kube-system/nginx",
            "success",
            "2021-02-10T00:28:46.469021Z",
            id
        ]
    );
    assert_eq!((fields(&found[0])[4], fields(&found[3])[4]), ("-", "denied"));
    assert_eq!(fields(&found[3])[3], "/api?timeout=32s");

    let (_, found) = import("vault", "vault.ndjson");
    assert_eq!(
        fields(&found[0])[..5],
        ["request:read", "root", "vault", "secret/password", "success"]
    );
    assert_eq!(found[0]["details"]["timestamp_exact"], "2019-01-08T06:43:50.1574193Z");
    assert_eq!(fields(&found[0])[6], "request/d999de96-943f-b547-faf7-842c52c1150f");
    assert_eq!(
        fields(&found[2])[..5],
        ["response:update", "approle", "vault", "sys/policies/acl/admin", "denied"]
    );

    let (_, found) = import("github", "github.json");
    assert_eq!(
        fields(&found[0]),
        [
            "org.block_user",
            "Admin",
            "github",
            "Test-org",
            "-",
            "2023-05-30T16:53:46.150000Z",
            "aCjok7V1YYqP1c9IE6qbkg"
        ]
    );
    assert_eq!(fields(&found[1])[3], "octo-corp/example-team");

    let (_, found) = import("okta", "okta.json");
    assert_eq!(
        fields(&found[0]),
        [
            "user.session.start",
            "admin@example.com",
            "okta",
            "-",
            "success",
            "2018-03-28T22:23:07.777000Z",
            "f790999f-fe87-467a-9880-6982a583986c"
        ]
    );
    assert_eq!(fields(&found[1])[0], "system.api_token.create");

    let (_, found) = import("laurel", "laurel.ndjson");
    assert_eq!(
        fields(&found[0]),
        [
            "syscall:execve",
            "user",
            "auditd",
            "/usr/bin/whoami",
            "success",
            "2021-03-07T10:50:32.375000Z",
            "1615114232.375:15558"
        ]
    );
    assert_eq!(
        fields(&found[1]),
        [
            "user:login",
            "mallory",
            "web-1",
            "-",
            "failure",
            "2021-03-07T10:50:40.001000Z",
            "web-1/1615114240.001:15560"
        ]
    );

    let (_, found) = import("journald", "journald.ndjson");
    assert_eq!(fields(&found[0])[..4], ["python3", "uid:1001", "session-35898.scope", "bupkis"]);
    assert_eq!(fields(&found[0])[5], "2015-02-14T20:15:16.372858Z");
    assert_eq!(found[1]["details"]["MESSAGE"], json!([98, 105, 110, 255, 1]));

    let (_, found) = import("cloudevents", "cloudevents.json");
    assert_eq!(
        fields(&found[0]),
        [
            "com.example.someevent",
            "-",
            "/mycontext",
            "-",
            "-",
            "2018-04-05T17:31:00.000000Z",
            "/mycontext/C234-1234-1234"
        ]
    );
    let (_, found) = import("cloudevents", "cloudevents_batch.json");
    assert_eq!(fields(&found[1])[1..4], ["user_abc", "/mycontext/9", "acct-7"]);

    let (_, found) = import("otlp", "otlp.json");
    assert_eq!(
        fields(&found[0]),
        ["my.library", "-", "my.service", "-", "-", "2018-12-13T14:51:00.300000Z", "-"]
    );
    assert_eq!(found[0]["details"]["attributes"]["array.attribute"], json!(["many", "values"]));
}

#[test]
fn what_the_journal_of_this_machine_says_is_taken() {
    let output = Command::new("journalctl").args(["-o", "json", "-n", "50", "--no-pager"]).output();
    let lines = output.map(|output| output.stdout).unwrap_or_default();
    if lines.is_empty() {
        return crate::support::skipped("journalctl: no journal here");
    }
    let dir = Dir::new();
    let count = lines.iter().filter(|byte| **byte == b'\n').count();
    std::fs::write(dir.path().join("journal.json"), &lines).expect("file");
    ok(&dir, &["record", "--format", "journald", "--file", "journal.json"]);
    assert_eq!(stored(&dir).len(), count);
}

const MINE: &str = r#"
[mapping.mine]
records = "entries"
event_type = "what"
actor = ["who.name", "who.id"]
target = "{kind}/{name}"
source = "=gateway"
outcome = "decision"
outcome_values = { allow = "success", "*" = "failure" }
timestamp = "at"
timestamp_format = "unix_ms"
"#;

#[test]
fn a_mapping_of_one_s_own_explains_itself_and_records_nothing_then() {
    let dir = Dir::new();
    std::fs::write(dir.path().join("auditctl.toml"), MINE).expect("settings");
    let text = r#"{"entries":[{"what":"opened","who":{"id":7},"kind":"door","name":"a\u001b[2J","decision":"allow","at":1606929874512},{"what":"closed","at":"noon","who":{"name":["x"]}},{"who":1},7]}"#;
    std::fs::write(dir.path().join("in.json"), text).expect("file");
    let explain = ["record", "--format", "mine", "--file", "in.json", "--explain"];
    let (code, out, _) = run(&dir, &explain);
    assert_eq!(code, 1, "{out}");
    for part in [
        "event_type  opened  (from what)",
        "actor       7  (from who.id)",
        "target      door/a\\u{1b}[2J  (from {kind}/{name})",
        "source      gateway  (from =gateway)",
        "outcome     success  (from decision)",
        "timestamp   2020-12-02T17:24:34.512000Z  (from at)",
        "no fit      actor from who.name: it is an array",
        "no fit      timestamp from at: \"noon\"",
        "refused     no event_type: what",
        "this is a number, not an object",
        "in.json, record 4 (line 1)",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert!(!dir.log().exists(), "nothing was recorded");
    let (code, out, _) = run(&dir, &[&explain[..], &["--json"]].concat());
    let told: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(code, 1);
    assert_eq!(told["explained"][0]["fields"]["actor"], json!({ "value": "7", "from": "who.id" }));
    assert_eq!(told["explained"][2]["refused"]["kind"], "invalid");
    let (_, out, _) =
        run(&dir, &["record", "--format", "mine", "--file", "in.json", "--explain=1"]);
    assert!(!out.contains("record 2"), "{out}");

    // And then it does what it said.
    let (code, out, _) =
        run(&dir, &["record", "--format", "mine", "--file", "in.json", "--keep-going", "--json"]);
    let told: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (code, &told["recorded"], &told["mapping"]["misfits"]),
        (1, &json!(2), &json!(2)),
        "{told}"
    );
    assert_eq!(told["rejected"].as_array().map(Vec::len), Some(2), "{told}");
    assert_eq!(told["rejected"][0]["record"], 3);
    assert_eq!(fields(&stored(&dir)[1])[..2], ["closed", "-"]);
}

#[test]
fn what_is_wrong_with_a_mapping_is_told_with_its_line() {
    let dir = Dir::new();
    for (text, part) in [
        (
            "[mapping.mine]\nactor = \"a\"\n",
            "auditctl.toml:1: [mapping.mine] event_type: it is missing",
        ),
        ("[mapping.mine]\nevent_type = \"a\"\nactor = \"a..b\"\n", "auditctl.toml:3"),
        ("[mapping.mine]\nevent_typ = \"a\"\n", "did you mean event_type?"),
        ("[mapping.mine]\npreset = \"kubernets\"\n", "did you mean \"kubernetes\"?"),
        ("[mapping.mine]\nevent_type = 7\n", "auditctl.toml:2"),
        ("[mapping.ndjson]\nevent_type = \"a\"\n", "a name that is no format already"),
        ("[mapping.\"A B\"]\nevent_type = \"a\"\n", "a name of 1 to 64"),
        ("[mapping]\nmine = 7\n", "a table"),
        ("mapping = 7\n", "tables in the file"),
        ("[mapping.mine]\nevent_type = \"a\"\nshape = \"otlp\"\n", "unknown setting"),
    ] {
        std::fs::write(dir.path().join("auditctl.toml"), text).expect("settings");
        let (code, _, err) = run(&dir, &["record", "--format", "mine", "--file", "-"]);
        assert_eq!(code, 2, "{text}: {err}");
        assert!(err.contains(part), "{part}: {err}");
    }
    std::fs::write(dir.path().join("auditctl.toml"), "").expect("settings");
    let (code, _, err) = run(&dir, &["record", "--format", "cloudtrial", "--file", "-"]);
    assert_eq!(code, 2);
    assert!(err.contains("did you mean \"cloudtrail\"?"), "{err}");
}

#[test]
fn a_field_from_a_hidden_path_is_refused_and_hidden_details_are_hidden() {
    let dir = Dir::new();
    let settings = format!("redact = [\"details.who.id\", \"secret\"]\n{MINE}");
    std::fs::write(dir.path().join("auditctl.toml"), &settings).expect("settings");
    std::fs::write(
        dir.path().join("in.json"),
        r#"{"what":"a","who":{"id":"hunter2"},"secret":"hunter3"}"#,
    )
    .expect("file");
    let (code, _, err) = run(&dir, &["record", "--format", "mine", "--file", "in.json"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("takes actor from who.id, which redact hides"), "{err}");
    let settings = settings.replace("\"secret\"]", "\"secret\", \"actor\"]");
    std::fs::write(dir.path().join("auditctl.toml"), &settings).expect("settings");
    let (_, out, _) = run(&dir, &["record", "--format", "mine", "--file", "in.json", "--explain"]);
    assert!(out.contains("actor       (redacted)") && !out.contains("hunter"), "{out}");
    ok(&dir, &["record", "--format", "mine", "--file", "in.json"]);
    let all = stored(&dir)[0].to_string();
    assert!(!all.contains("hunter"), "{all}");
}

#[test]
fn an_import_of_an_envelope_that_was_killed_goes_on_and_records_each_once() {
    let dir = Dir::new();
    std::fs::write(dir.path().join("auditctl.toml"), MINE).expect("settings");
    let entries: Vec<String> =
        (0..20_000).map(|n| format!("{{\"what\":\"e\",\"n\":{n}}}")).collect();
    let text = format!("{{\"entries\":[{}]}}", entries.join(","));
    std::fs::write(dir.path().join("in.json"), text).expect("file");
    let args = ["record", "--format", "mine", "--file", "in.json", "--wait", "60s"];
    let mut rounds = 0;
    loop {
        let mut child = auditctl(&dir, &args).spawn().expect("record");
        let begun = std::time::Instant::now();
        let ended = loop {
            if let Some(status) = child.try_wait().expect("waited") {
                break Some(status);
            }
            if rounds < 3 && begun.elapsed().as_millis() > 400 + 300 * rounds {
                child.kill().expect("killed");
                child.wait().expect("waited");
                break None;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        rounds += 1;
        if let Some(status) = ended {
            assert!(status.success());
            break;
        }
    }
    let found: Vec<u64> =
        stored(&dir).iter().filter_map(|record| record["details"]["n"].as_u64()).collect();
    assert_eq!(found.len(), 20_000, "after {rounds} runs");
    assert!(found.iter().enumerate().all(|(at, n)| at as u64 == *n), "in order");
}

pub(crate) fn post(
    collector: &Serving,
    path: &str,
    kind: &str,
    headers: &str,
    body: &str,
) -> (u16, String, Value) {
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {kind}\r\n\
         content-length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    let (status, head, text) = collector.http(&request);
    (status, head, serde_json::from_str(&text).unwrap_or_else(|_| json!({ "text": text })))
}

pub(crate) const JSON: &str = "application/json";

#[test]
fn a_batch_of_kube_apiserver_s_is_answered_so_that_it_sends_again_only_what_can_be_taken() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let text = std::fs::read_to_string(fixture("kubernetes.ndjson")).expect("fixture");
    let path = "/v1/ingest/kubernetes";
    let lines: Vec<&str> = text.lines().collect();
    let (status, _, told) = post(&collector, path, JSON, "", lines[0]);
    assert_eq!((status, &told["recorded"]), (200, &json!(2)), "{told}");
    // It lost the answer, and sends the batch again.
    let (status, _, told) = post(&collector, path, JSON, "", lines[0]);
    assert_eq!((status, &told["duplicates"]), (200, &json!(2)), "{told}");
    // What can never be taken is told and counted, and is no reason to send all again.
    let bad = r#"{"kind":"EventList","items":[{"auditID":"x","stage":"Panic"},{"verb":"get","auditID":"y","stage":"Panic"}]}"#;
    let (status, _, told) = post(&collector, path, JSON, "", bad);
    assert_eq!(
        (status, &told["recorded"], &told["rejected"]),
        (200, &json!(1), &json!(1)),
        "{told}"
    );
    assert_eq!(told["results"][0]["error"]["kind"], "invalid");
    let (status, _, told) = post(&collector, path, JSON, "", r#"{"kind":"EventList","items":[]}"#);
    assert_eq!(status, 200, "{told}");
    let (status, ..) = post(&collector, path, JSON, "", r#"{"kind":"EventList","items":[{"verb":"#);
    assert_eq!(status, 200, "what is broken will be broken again");
    drop(collector);
    assert_eq!(stored(&dir).len(), 3);
}

#[test]
fn a_batch_larger_than_the_burst_of_its_source_is_taken_at_its_rate() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "[rate_limit]\nper_second = 1000\nburst = 50\n");
    let items: Vec<String> = (0..400)
        .map(|n| format!("{{\"verb\":\"get\",\"auditID\":\"{n}\",\"stage\":\"Panic\"}}"))
        .collect();
    let body = format!("{{\"items\":[{}]}}", items.join(","));
    let (status, _, told) = post(&collector, "/v1/ingest/kubernetes", JSON, "", &body);
    assert_eq!((status, &told["recorded"]), (200, &json!(400)), "{told}");
}

#[test]
fn over_http_there_are_roles_media_types_and_names_and_what_did_not_fit_is_told() {
    let dir = Dir::new();
    let (write, read) =
        (new_token(&dir, "w", &["--role", "write"]), new_token(&dir, "r", &["--role", "read"]));
    let settings = format!("[collector]\ntoken_file = \"tokens\"\n{MINE}");
    let collector = Serving::start(&dir, &settings);
    let (write, read) = (bearer(&write), bearer(&read));
    let body = r#"{"entries":[{"what":"opened","who":{"name":["x"]}}]}"#;
    let (status, _, told) = post(&collector, "/v1/ingest/mine", JSON, &write, body);
    assert_eq!((status, &told["misfits"]), (200, &json!(1)), "{told}");
    assert_eq!(told["first_misfits"][0], "actor from who.name: it is an array");
    assert_eq!(post(&collector, "/v1/ingest/mine", JSON, "", body).0, 401);
    assert_eq!(post(&collector, "/v1/ingest/mine", JSON, &read, body).0, 403);
    assert_eq!(post(&collector, "/v1/logs", JSON, &read, "{}").0, 403);
    assert_eq!(post(&collector, "/v1/ingest/other", JSON, &write, body).0, 404);
    assert_eq!(post(&collector, "/v1/ingest/mine", "text/plain", &write, body).0, 415);
    assert_eq!(
        post(&collector, "/v1/ingest/mine", "application/cloudevents+json", &write, "{}").0,
        422
    );
    let (status, _, told) = post(
        &collector,
        "/v1/ingest/mine",
        "application/x-ndjson",
        &write,
        "{\"what\":\"a\"}\nbad\n{\"what\":\"b\"}\n",
    );
    assert_eq!(
        (status, &told["recorded"], &told["rejected"]),
        (207, &json!(2), &json!(1)),
        "{told}"
    );
}

#[test]
fn a_cloud_event_whose_attributes_are_headers_is_one_event() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let headers = "ce-specversion: 1.0\r\nce-type: com.example.someevent\r\nce-source: /mycontext\r\nce-id: 1%202\r\nce-time: 2018-04-05T17:31:00Z\r\n";
    let path = "/v1/ingest/cloudevents";
    assert_eq!(post(&collector, path, JSON, headers, "{ \"a\": 1.50 }").0, 200);
    assert_eq!(
        post(&collector, path, "text/xml", &headers.replace("ce-id: 1", "ce-id: 2"), "<a/>").0,
        200
    );
    assert_eq!(post(&collector, path, "text/xml", "", "<a/>").0, 415, "no CloudEvent");
    drop(collector);
    let found = stored(&dir);
    assert_eq!(
        (fields(&found[0])[0], fields(&found[0])[6]),
        ("com.example.someevent", "/mycontext/1 2")
    );
    assert_eq!(found[0]["details"]["data"], json!({ "a": 1.5 }));
    assert_eq!(found[1]["details"]["data"], "<a/>");
}

#[test]
fn an_envelope_larger_than_all_memory_for_requests_passes_through() {
    let dir = Dir::new();
    let settings =
        "[collector]\nmax_body = \"1GiB\"\nmax_memory = \"48MiB\"\n[rate_limit]\nenabled = false\n";
    let collector = Serving::start(&dir, &format!("{settings}{MINE}"));
    let entry = format!("{{\"what\":\"e\",\"text\":\"{}\"}}", "x".repeat(20_000));
    let count = 4_000;
    let length = "{\"entries\":[]}".len() + count * (entry.len() + 1) - 1;
    let mut stream = std::net::TcpStream::connect(collector.http).expect("connect");
    write!(stream, "POST /v1/ingest/mine HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {JSON}\r\ncontent-length: {length}\r\n\r\n{{\"entries\":[").expect("sent");
    for n in 0..count {
        let comma = if n > 0 { "," } else { "" };
        stream.write_all(format!("{comma}{entry}").as_bytes()).expect("sent");
    }
    stream.write_all(b"]}").expect("sent");
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).expect("answer");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"recorded\":4000"), "{answer}");
    let peak = crate::support::peak_kib(collector.pid()).expect("peak");
    assert!(peak < 400 << 10, "{peak} KiB for {length} bytes");
}

#[test]
fn opentelemetry_s_own_sdk_exports_to_the_collector() {
    let Some(python) = otel_python() else { return };
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/servers/otel_export.py");
    let url = format!("http://{}/v1/logs", collector.http);
    for args in [&["250"][..], &["250", "gzip"]] {
        let output =
            Command::new(&python).arg(&script).arg(&url).args(args).output().expect("python");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("Failed to export"), "{said}");
    }
    drop(collector);
    let found = stored(&dir);
    // The second run has the same uids with other times: those are other events.
    assert_eq!(found.len(), 500);
    assert_eq!(fields(&found[257])[6], "uid-7#2");
    assert_eq!(fields(&found[7])[..5], ["login", "alice", "shop", "-", "success"]);
    assert_eq!(fields(&found[7])[6], "uid-7");
    assert_eq!(found[7]["details"]["attributes"]["list"], json!(["a", "b"]));
    let asked = ok(&dir, &["query", "--where", "details.attributes.n >= 240", "--count"]);
    assert_eq!(asked.trim(), "20");
}

#[test]
fn an_event_is_not_lost_because_its_sender_gave_it_the_id_of_another() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let event =
        |verb: &str| format!("{{\"auditID\":\"a\",\"stage\":\"Panic\",\"verb\":\"{verb}\"}}");
    let list = |verbs: &[&str]| {
        let items: Vec<String> = verbs.iter().map(|verb| event(verb)).collect();
        format!("{{\"items\":[{}]}}", items.join(","))
    };
    let all = ["get", "delete", "get", "create", "patch", "update"];
    let path = "/v1/ingest/kubernetes";
    let (status, _, told) = post(&collector, path, JSON, "", &list(&all));
    assert_eq!(
        (status, &told["recorded"], &told["duplicates"], &told["other_ids"]),
        (200, &json!(6), &json!(1), &json!(4)),
        "{told}"
    );
    // What is sent again is known under the ids it got.
    let (status, _, told) = post(&collector, path, JSON, "", &list(&all[..5]));
    assert_eq!((status, &told["duplicates"]), (200, &json!(5)), "{told}");
    // As it is from a file.
    let lines: Vec<String> = all[..5].iter().chain(&["watch"]).map(|verb| event(verb)).collect();
    std::fs::write(dir.path().join("in.json"), lines.join("\n")).expect("file");
    let record = ["record", "--format", "kubernetes", "--file", "in.json", "--json"];
    let told: Value = serde_json::from_str(&ok(&dir, &record)).expect("JSON");
    assert_eq!((&told["recorded"], &told["duplicates"]), (&json!(1), &json!(5)), "{told}");
    drop(collector);
    let stored = stored(&dir);
    let found: Vec<[&str; 2]> =
        stored.iter().map(|record| [fields(record)[0], fields(record)[6]]).collect();
    let expected = [
        ["get", "a/Panic"],
        ["delete", "a/Panic#2"],
        ["create", "a/Panic#3"],
        ["patch", "a/Panic#4"],
        ["update", "-"],
        ["watch", "-"],
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_record_of_otlp_that_cannot_be_read_costs_none_but_itself() {
    let deep = format!("{}{{}}{}", "{\"arrayValue\":{\"values\":[".repeat(70), "]}}".repeat(70));
    let request = format!(
        "{{\"resourceLogs\":[{{\"scopeLogs\":[{{\"logRecords\":[{{\"eventName\":\"a\"}},{{\"body\":{deep}}},\
         {{\"eventName\":\"b\"}},7]}}]}}]}}"
    );
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let (status, _, told) = post(&collector, "/v1/logs", JSON, "", &request);
    let partial = &told["partialSuccess"];
    assert_eq!((status, &partial["rejectedLogRecords"]), (200, &json!("2")), "{told}");
    let why = partial["errorMessage"].as_str().expect("text");
    assert!(why.contains("the log record cannot be read"), "{why}");
    drop(collector);
    assert_eq!(stored(&dir).len(), 2);
    // From a file, where that is wanted; else it is all or nothing.
    std::fs::write(dir.path().join("in.json"), &request).expect("file");
    let record = ["record", "--format", "otlp", "--file", "in.json", "--json"];
    let (code, out, _) = run(&dir, &record);
    assert_ne!(code, 0, "{out}");
    assert_eq!(stored(&dir).len(), 2);
    let (code, out, err) = run(&dir, &[&record[..], &["--keep-going"]].concat());
    let told: Value = serde_json::from_str(&out).expect(&err);
    assert_eq!((code, &told["recorded"]), (1, &json!(2)), "{told}");
    assert_eq!(told["rejected"].as_array().map(Vec::len), Some(2), "{told}");
    assert_eq!(stored(&dir).len(), 4);
}

#[test]
fn a_request_of_otlp_that_is_small_and_costs_much_is_refused_before_anything_is_taken() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let records = vec!["{}"; 200_000].join(",");
    let request = |long: usize| {
        format!(
            "{{\"resourceLogs\":[{{\"resource\":{{\"attributes\":[{{\"key\":\"k\",\"value\":{{\"stringValue\":\"{}\"}}}}]}},\
             \"scopeLogs\":[{{\"logRecords\":[{records}]}}]}}]}}",
            "x".repeat(long)
        )
    };
    let (status, _, told) = post(&collector, "/v1/logs", JSON, "", &request(40_000));
    assert_eq!(status, 413, "{told}");
    let text = told["message"].as_str().expect("text");
    assert!(text.contains("with its resource"), "{text}");
    let (status, _, told) = post(&collector, "/v1/logs", JSON, "", &" ".repeat((4 << 20) + 1));
    assert_eq!(status, 413, "{told}");
    let text = told["message"].as_str().expect("text");
    assert!(text.contains("4194304 bytes") && !text.contains("max_body"), "{text}");
    drop(collector);
    assert_eq!(stored(&dir).len(), 0);
}

#[test]
fn more_changes_of_outcome_than_an_answer_holds_keep_nothing_of_a_batch_from_being_taken() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "[rate_limit]\nenabled = false\n");
    // A verb is its type.
    let items: Vec<String> = (0..6_000)
        .map(|n| format!("{{\"auditID\":\"{n}\",\"verb\":\"get\"}},{{\"auditID\":\"{n}\"}}"))
        .collect();
    let body = format!("{{\"items\":[{}]}}", items.join(","));
    let (status, _, told) = post(&collector, "/v1/ingest/kubernetes", JSON, "", &body);
    assert_eq!(
        (status, &told["recorded"], &told["rejected"], &told["stopped"]),
        (200, &json!(6_000), &json!(6_000), &Value::Null)
    );
    let records = vec!["{\"eventName\":\"a\"},7"; 6_000].join(",");
    let body = format!("{{\"resourceLogs\":[{{\"scopeLogs\":[{{\"logRecords\":[{records}]}}]}}]}}");
    let (status, _, told) = post(&collector, "/v1/logs", JSON, "", &body);
    let rejected = &told["partialSuccess"]["rejectedLogRecords"];
    assert_eq!((status, rejected), (200, &json!("6000")), "{told}");
}

#[test]
fn an_idempotency_key_that_would_do_nothing_is_refused() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    for path in ["/v1/ingest/vault", "/v1/logs"] {
        let (status, _, told) = post(&collector, path, JSON, "idempotency-key: a\r\n", "{}");
        assert_eq!((status, &told["error"]["kind"]), (400, &json!("malformed")), "{told}");
    }
}

#[test]
fn otlp_answers_as_its_senders_expect() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "[collector]\nmax_body = \"64KiB\"\n");
    let text = std::fs::read_to_string(fixture("otlp.json")).expect("fixture");
    let (status, _, told) = post(&collector, "/v1/logs", JSON, "", &text);
    assert_eq!((status, told), (200, json!({})));
    // Too large for details, in all of its parts: partialSuccess, and never again.
    let long = "x".repeat(60_000);
    let logs = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [
        { "eventName": "a", "attributes": [{ "key": "k", "value": { "stringValue": long } }] },
        { "eventName": "b" },
    ]}]}]});
    let (status, _, told) = post(&collector, "/v1/logs", JSON, "", &logs.to_string());
    assert_eq!(
        (status, &told["partialSuccess"]["rejectedLogRecords"]),
        (200, &json!("1")),
        "{told}"
    );
    let (status, _, told) =
        post(&collector, "/v1/logs", JSON, "", "{\"resourceLogs\":[{\"scopeLogs\":[7]}]}");
    assert_eq!(status, 400, "{told}");
    assert!(
        told["message"].as_str().is_some_and(|text| text.contains("no OTLP request")),
        "{told}"
    );
    assert_eq!(post(&collector, "/v1/logs", "application/x-protobuf", "", "\u{a}\u{7f}").0, 400);
    assert_eq!(post(&collector, "/v1/logs", "text/plain", "", "{}").0, 415);
    assert_eq!(post(&collector, "/v1/logs", JSON, "", &"x".repeat(70_000)).0, 413);
    drop(collector);
    assert_eq!(stored(&dir).len(), 2);
}

#[test]
fn hostile_objects_are_refused_and_the_others_are_taken() {
    let dir = Dir::new();
    std::fs::write(dir.path().join("auditctl.toml"), MINE).expect("settings");
    let deep = format!("{{\"what\":\"deep\",\"x\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    let lines = [
        r#"{"what":"twice","what":"other"}"#.to_owned(),
        r#"{"what":"number","n":1e999}"#.to_owned(),
        r#"{"what":"half","t":"\ud800"}"#.to_owned(),
        deep,
        format!("{{\"what\":\"long\",\"t\":\"{}\"}}", "x".repeat(2 << 20)),
        format!("{{\"what\":\"large\",\"t\":\"{}\"}}", "x".repeat(60_000)),
        "{\"entries\":\"none\"}".to_owned(),
        "{\"what\":\"bytes\",\"t\":\"\u{0}\"}".to_owned(),
        r#"{"what":"good"}"#.to_owned(),
    ];
    std::fs::write(dir.path().join("in.json"), lines.join("\n")).expect("file");
    let (code, out, err) =
        run(&dir, &["record", "--format", "mine", "--file", "in.json", "--keep-going", "--json"]);
    let told: Value = serde_json::from_str(&out).expect(&err);
    assert_eq!((code, &told["recorded"]), (1, &json!(1)), "{told}");
    let kinds: Vec<&str> = told["rejected"]
        .as_array()
        .expect("list")
        .iter()
        .filter_map(|one| one["kind"].as_str())
        .collect();
    assert_eq!(
        kinds,
        [
            "invalid",
            "invalid",
            "invalid",
            "invalid",
            "too_large",
            "too_large",
            "malformed",
            "malformed"
        ],
        "{told}"
    );
    assert_eq!(told["rejected"][7]["line"], 8, "{told}");
    assert!(!err.contains(&"x".repeat(1_000)), "nothing is repeated at length");
}

const VAULT: &str = "[listener.vault]\naddress = \"DIR/vault.sock\"\nformat = \"vault\"\n";

#[test]
fn vault_s_socket_device_is_taken_without_answers_and_over_its_rate_it_waits() {
    let dir = Dir::new();
    let settings = VAULT.replace("DIR", dir.path().to_str().expect("UTF-8"));
    let more = "[listener.tcp]\naddress = \"127.0.0.1:0\"\nformat = \"vault\"\n[rate_limit]\nper_second = 200\nburst = 20\n";
    let collector = Serving::start(&dir, &format!("{settings}{more}"));
    let mut stream =
        std::os::unix::net::UnixStream::connect(dir.path().join("vault.sock")).expect("connect");
    let lines = std::fs::read_to_string(fixture("vault.ndjson")).expect("fixture");
    stream.write_all(lines.as_bytes()).expect("sent");
    stream.write_all(b"no JSON\n").expect("sent");
    for n in 0..100 {
        let line = format!(
            "{{\"type\":\"request\",\"request\":{{\"id\":\"{n}\",\"operation\":\"read\"}}}}\n"
        );
        stream.write_all(line.as_bytes()).expect("sent");
    }
    drop(stream);
    crate::support::eventually("all are recorded", || stored(&dir).len() == 103);
    let found = stored(&dir);
    assert_eq!(fields(&found[0])[..2], ["request:read", "root"]);
    assert_eq!(found[0]["origin"]["via"], "listener");
    assert_eq!(found[0]["origin"]["uid"], json!(rustix::process::getuid().as_raw()));
    assert_eq!(fields(&found[102])[6], "request/99", "in their order");
    let (_, status) = crate::support::json(&dir, &["monitor", "--once", "--json"]);
    assert!(status["events"]["refused"] == 1, "{status}");
    collector.terminate();
    assert!(!dir.path().join("vault.sock").exists());
}

fn listening(more: &str) -> (Dir, Serving) {
    let dir = Dir::new();
    let settings = VAULT.replace("DIR", dir.path().to_str().expect("UTF-8"));
    let collector = Serving::start(&dir, &format!("{more}{settings}"));
    (dir, collector)
}

fn to_vault(dir: &Dir) -> std::os::unix::net::UnixStream {
    let stream =
        std::os::unix::net::UnixStream::connect(dir.path().join("vault.sock")).expect("connect");
    stream.set_read_timeout(Some(crate::support::PATIENCE)).expect("timeout");
    stream
}

/// Waits until the collector has hung up.
fn hung_up(stream: &mut std::os::unix::net::UnixStream) {
    match std::io::Read::read(stream, &mut [0; 16]) {
        Ok(read) => assert_eq!(read, 0, "there are no answers"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

const READ: &str = "{\"type\":\"request\",\"request\":{\"operation\":\"read\"}}\n";
const DELETE: &str = "{\"type\":\"request\",\"request\":{\"operation\":\"delete\"}}\n";

#[test]
fn a_web_page_and_a_sender_of_rubbish_are_hung_up_on_by_a_listener() {
    let (dir, collector) = listening("");
    let page =
        format!("POST / HTTP/1.1\r\nHost: 127.0.0.1:9751\r\nContent-Length: 60\r\n\r\n\n{DELETE}");
    let mut stream = to_vault(&dir);
    stream.write_all(page.as_bytes()).expect("sent");
    hung_up(&mut stream);
    let mut stream = to_vault(&dir);
    let rubbish = "{\"type\":}\n".repeat(100);
    stream.write_all(format!(" \r\n{READ}{rubbish}{DELETE}").as_bytes()).expect("sent");
    hung_up(&mut stream);
    crate::support::eventually("the first is recorded", || stored(&dir).len() == 1);
    let mut stream = to_vault(&dir);
    stream.write_all(READ.as_bytes()).expect("sent");
    drop(stream);
    crate::support::eventually("another is recorded", || stored(&dir).len() == 2);
    let types: Vec<Value> =
        stored(&dir).into_iter().map(|record| record["event_type"].clone()).collect();
    assert_eq!(types, ["request:read", "request:read"], "and nothing of the page's");
    collector.terminate();
}

#[test]
fn who_does_not_finish_an_object_or_is_silent_is_hung_up_on_and_loses_nothing_whole() {
    let (dir, collector) =
        listening("[collector]\nread_timeout = \"100ms\"\nidle_timeout = \"1s\"\n");
    let (mut half, mut silent) = (to_vault(&dir), to_vault(&dir));
    half.write_all(format!("{READ}{{\"type\":").as_bytes()).expect("sent");
    silent.write_all(READ.as_bytes()).expect("sent");
    hung_up(&mut half);
    hung_up(&mut silent);
    let error = silent.write_all(DELETE.as_bytes()).expect_err("it notices");
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    crate::support::eventually("both are recorded", || stored(&dir).len() == 2);
    crate::support::eventually("it is told what was lost", || {
        let said = collector.stderr();
        said.contains("it was not finished in time [listener_lost]")
    });
    collector.terminate();
}

#[test]
fn senders_to_a_listener_share_the_memory_that_requests_may_take() {
    let (dir, collector) = listening(
        "[collector]\nmax_memory = \"48MiB\"\nmax_connections_per_uid = 200\nread_timeout = \"1h\"\n",
    );
    let half = format!("{{\"type\":\"{}", "x".repeat(1_000_000));
    let mut streams: Vec<_> = (0..150)
        .map(|_| {
            let stream = to_vault(&dir);
            stream.set_nonblocking(true).expect("set");
            (stream, half.as_bytes())
        })
        .collect();
    let mut quiet = 0;
    while quiet < 20 {
        let mut sent = 0;
        for (stream, rest) in &mut streams {
            // As much as there is room for: that there is none is what is waited for.
            #[allow(clippy::disallowed_methods)]
            while let Ok(wrote) = stream.write(rest) {
                *rest = &rest[wrote..];
                sent += wrote;
                if rest.is_empty() {
                    break;
                }
            }
        }
        quiet = if sent == 0 { quiet + 1 } else { 0 };
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let peak = crate::support::peak_kib(collector.pid()).expect("peak");
    println!("150 objects of 1 MB that are not finished: {peak} KiB");
    assert!(peak < 130 << 10, "{peak} KiB");
    collector.terminate();
}

#[test]
fn an_object_that_is_not_finished_holds_back_none_before_it() {
    let dir = Dir::new();
    let mut child = auditctl(&dir, &["record", "--format", "vault", "--file", "-", "--keep-going"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("record");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(format!("{READ}{READ}{{\"type\":").as_bytes()).expect("sent");
    crate::support::eventually("what is whole is recorded", || {
        dir.log().join("audit.log").exists() && stored(&dir).len() == 2
    });
    input.write_all(b"\"response\"}").expect("sent");
    drop(input);
    assert!(child.wait().expect("ends").success());
    assert_eq!(stored(&dir).len(), 3);
}

#[test]
fn a_listener_that_cannot_be_is_told_before_the_log_is_opened() {
    let dir = Dir::new();
    for (text, part) in [
        (
            "[listener.x]\naddress = \"0.0.0.0:9751\"\nformat = \"vault\"\n",
            "address = \"0.0.0.0:9751\", expected an address on loopback",
        ),
        ("[listener.x]\naddress = \"127.0.0.1:0\"\n", "format is missing"),
        (
            "[listener.x]\naddress = \"127.0.0.1:0\"\nformat = \"valt\"\n",
            "there is no mapping \"valt\"",
        ),
        ("[listener.x]\nadress = \"127.0.0.1:0\"\n", "did you mean address?"),
    ] {
        std::fs::write(dir.path().join("auditctl.toml"), text).expect("settings");
        let (code, said) = crate::serving::refuses_to_start(&dir, &[]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!dir.log().exists());
}
