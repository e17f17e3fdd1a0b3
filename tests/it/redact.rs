//! Redaction: what is to be hidden is in no file, no message and no answer; equal
//! values can be matched, and looked up by who has the key.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use auditctl::audit::{AuditLog, Batch, Options, Origin, ParseMode, Via};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::serving::Serving;
use crate::support::{
    Dir, all_lines, auditctl, count, eventually, missing, open, options, records, root_agrees, run,
};

/// What must be found nowhere.
const SECRET: &str = "hunter2-GEHEIM";

/// Every byte of every file below a directory, decompressed where it is packed.
pub(crate) fn everything(dir: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).expect("directory") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            all.extend(everything(&path));
        } else if let Ok(bytes) = std::fs::read(&path) {
            if bytes.starts_with(&[0x1f, 0x8b]) {
                let mut decoder = flate2::read::MultiGzDecoder::new(&bytes[..]);
                std::io::Read::read_to_end(&mut decoder, &mut all).expect("gzip");
            }
            all.extend(bytes);
        }
    }
    all
}

pub(crate) fn holds(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}

fn with_redaction(dir: &Dir, paths: &[&str]) -> Options {
    let redact = paths.iter().map(|path| path.parse().expect("a path")).collect();
    Options { redact, max_details_size: 512 << 10, ..options(dir) }
}

/// The texts inside a value.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(members) => members.values().for_each(|value| texts(value, found)),
        _ => {}
    }
}

/// A JSON string, some of its characters written as escapes that need not be.
fn escaped(text: &str, seed: u64) -> String {
    let mut state = seed | 1;
    let mut out = String::from("\"");
    for char in text.chars() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if state >> 62 == 0 || char == '"' || char == '\\' {
            let mut units = [0; 2];
            for unit in char.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(char);
        }
    }
    out + "\""
}

/// Any JSON, with keys among its that are to be hidden.
fn shape() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Into::into),
        any::<i32>().prop_map(Into::into),
        "[a-z \"\\\\äß]{0,6}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        3 => "[a-z]{1,4}",
        2 => Just("password".to_owned()),
        1 => Just("PASSWORD".to_owned()),
        1 => Just("card".to_owned()),
        1 => Just("api_token".to_owned()),
        1 => Just("passwörd".to_owned()),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

type Hidden<'a> = &'a dyn Fn(&[String]) -> bool;

/// Writes the shape as JSON with the secret planted wherever a rule hides it; how often.
fn planted(
    value: &Value,
    path: &mut Vec<String>,
    (hidden, seed): (Hidden<'_>, &mut u64),
    out: &mut String,
) -> usize {
    *seed = seed.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(3_037_000_493);
    match value {
        Value::Object(members) => {
            out.push('{');
            let mut count = 0;
            let mut between = "";
            for (key, value) in members {
                out.push_str(between);
                between = " ,";
                out.push_str(&escaped(key, *seed));
                out.push(':');
                path.push(key.clone());
                count += planted(value, path, (hidden, seed), out);
                path.pop();
            }
            out.push('}');
            count
        }
        Value::Array(items) => {
            out.push('[');
            let mut count = 0;
            for (nth, item) in items.iter().enumerate() {
                out.push_str(if nth == 0 { "" } else { ", " });
                path.push(nth.to_string());
                count += planted(item, path, (hidden, seed), out);
                path.pop();
            }
            out.push(']');
            count
        }
        _ if hidden(path) => {
            out.push_str(&escaped(SECRET, *seed));
            1
        }
        other => {
            out.push_str(&other.to_string());
            0
        }
    }
}

#[test]
fn wherever_a_secret_is_planted_no_stored_byte_holds_it() {
    // With and without what a quick look at the keys can tell.
    plant_everywhere(&["password", "*_token", "passwörd", "details.card.*"]);
    plant_everywhere(&["password", "api_token", "details.card.*"]);
}

fn plant_everywhere(paths: &[&str]) {
    let dir = Dir::new();
    let log = open(with_redaction(&dir, paths));
    let umlaut = paths.contains(&"passwörd");
    let session = log.session(&Origin::here(Via::Library), true);
    let mut runner = TestRunner::deterministic();
    let mut expected = Vec::new();
    for seed in 0..400_u64 {
        let shape = shape().new_tree(&mut runner).expect("a shape").current();
        let mut json = String::new();
        let mut state = seed;
        let shape = json!({ "x": shape.clone(), "card": shape });
        let hidden = |path: &[String]| {
            let is_named = |key: &String| {
                let lower = key.to_lowercase();
                lower == "password" || lower == "api_token" || umlaut && lower == "passwörd"
            };
            path.iter().any(is_named) || path[0] == "card" && path.len() > 1
        };
        let count = planted(&shape, &mut Vec::new(), (&hidden, &mut state), &mut json);
        let line = format!("{{\"event_type\":\"planted\",\"details\":{json}}}");
        let mut batch = Batch::new();
        session
            .prepare(line.as_bytes(), ParseMode::Strict, &mut batch)
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(log.try_submit(&mut batch).expect("submitted").count, 1);
        let seen: Value = serde_json::from_str(&line).expect("json");
        assert!(
            serde_json::to_string(&seen).expect("json").contains(SECRET) == (count > 0),
            "{line}"
        );
        expected.push(count);
    }
    assert!(expected.iter().sum::<usize>() > 500, "secrets were planted");
    log.close().expect("close");
    let mut all = Vec::new();
    for line in all_lines(&dir.log()) {
        let record: Value = serde_json::from_str(&line).expect("json");
        if record["event_type"] == "planted" {
            let mut inside = Vec::new();
            texts(&record["details"], &mut inside);
            assert!(!inside.iter().any(|text| text.contains(SECRET)), "{line}");
            all.push(line.matches("\"hmac-sha256:").count());
        }
    }
    assert_eq!(all, expected, "each of them is replaced, and nothing else");
    assert!(!holds(&everything(&dir.log()), SECRET));
    let hmacs: std::collections::HashSet<String> = all_lines(&dir.log())
        .iter()
        .flat_map(|line| {
            line.split('"')
                .filter(|part| part.starts_with("hmac-"))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(hmacs.len(), 1, "equal values have equal HMACs");
    root_agrees(&dir.log());
}

#[test]
fn neither_files_nor_messages_nor_answers_hold_it_whatever_is_wrong_with_the_event() {
    let dir = Dir::new();
    let settings =
        "redact = [\"password\", \"actor\", \"source\"]\n[rate_limit]\nper_second = 1\nburst = 2\n";
    let mut collector = Serving::start_with(&dir, settings, &["--verbose"], &[]);
    let s = SECRET;
    let long = "x".repeat(60 << 10);
    let lines = [
        format!(r#"{{"event_type":"a","details":{{"password":"{s}"}}}}"#),
        format!(r#"{{"event_type":"a","actor":"{s}","source":"{s}"}}"#),
        format!(r#"{{"event_type":"a","source":"{s}"}}"#),
        format!(r#"{{"event_type":"a","source":"{s}"}}"#),
        format!(r#"{{"event_type":"a","source":"{s}","actor":"a\u0007b"}}"#),
        format!(r#"{{"event_type":"audit.x","source":"{s}","details":{{"password":"{s}"}}}}"#),
        format!(
            r#"{{"event_type":"a","source":"{s}","target":"","details":{{"password":"{s}"}}}}"#
        ),
        format!(
            r#"{{"event_type":"a","source":"{s}","details":{{"password":"{s}","x":"{long}"}}}}"#
        ),
        format!(r#"{{"event_type":"a","password":"{s}"}}"#),
        format!(r#"{{"event_type":"a","details":{{"password":"{s}"}},"x":1}}"#),
        format!(r#"{{"event_type":"a","details":{{"password":"{s}""#),
        format!(r#"{{"event_type":7,"details":{{"password":"{s}"}}}}"#),
        format!(r#"{{"event_type":"a","timestamp":"now","details":{{"password":"{s}"}}}}"#),
        format!(r#"{{"event_type":"a","details":"password={s}"}}"#),
        format!(r#"{{"event_type":"a","details":{{"password":"{s}\ud800"}}}}"#),
        format!(r#"{{"event_type":"a","actor":["{s}"]}}"#),
        format!(r#""{s}""#),
        format!(r#"["password","{s}"]"#),
        format!("password={s}"),
    ];
    let mut peer = collector.connect();
    let mut answers = String::new();
    for line in &lines {
        answers.push_str(&peer.ask(line).to_string());
    }
    for body in &lines {
        answers.push_str(&collector.post("application/json", "", body).2.to_string());
    }
    answers.push_str(&collector.post("application/x-ndjson", "", &lines.join("\n")).2.to_string());
    let file = dir.path().join("events.ndjson");
    std::fs::write(&file, lines[..2].join("\n")).expect("input");
    for args in [
        &["record", "--verbose", "--file", "events.ndjson", "--keep-going"][..],
        &["record", "--type", "a", "--actor", s, "--json"],
        &["record", "--type", "audit.x", "--actor", s, "--json"],
    ] {
        let (_, stdout, stderr) = run(&dir, args);
        answers.push_str(&stdout);
        answers.push_str(&stderr);
    }
    std::fs::remove_file(&file).expect("input");
    answers.push_str(&collector.get("/metrics", "").2);
    answers.push_str(&run(&dir, &["health", "--json"]).1);
    answers.push_str(&run(&dir, &["monitor", "--once"]).1);
    collector.signal(Signal::TERM);
    assert!(collector.wait().success());
    answers.push_str(&collector.stderr());
    // Directly as well.
    for line in &lines[..3] {
        let mut child = auditctl(&dir, &["record", "--verbose", "--file", "-", "--keep-going"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("record");
        child.stdin.take().expect("piped").write_all(line.as_bytes()).expect("sent");
        let output = child.wait_with_output().expect("record");
        answers.push_str(&String::from_utf8_lossy(&output.stdout));
        answers.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    assert!(!answers.contains(SECRET), "{answers}");
    let files = everything(&dir.log());
    assert!(!holds(&files, SECRET));
    assert!(dir.log().join("security_events.log").exists(), "what was refused was told");
    let told =
        std::fs::read_to_string(dir.log().join("security_events.log")).expect("security events");
    assert!(told.contains("hmac-sha256:"), "the source's HMAC stands for it: {told}");
    assert!(count(&dir.log(), "a") >= 6);
    assert!(count(&dir.log(), "audit.rate_limited") >= 1);
}

/// The HMAC of a value as Python computes it, with the log's key.
fn by_python(dir: &Dir, value: &str) -> Option<String> {
    let key = std::fs::read_to_string(dir.log().join("audit.redact_key")).expect("key");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python_audit.py");
    let started = Command::new("python3")
        .args([script, "hmac", key.trim()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = started else {
        missing("python3");
        return None;
    };
    child.stdin.take().expect("piped").write_all(value.as_bytes()).expect("sent");
    let output = child.wait_with_output().expect("python3");
    Some(String::from_utf8(output.stdout).expect("utf-8").trim().to_owned())
}

/// `query` with the value on standard input.
fn look_up(dir: &Dir, value: &str, args: &[&str]) -> (i32, String, String) {
    let mut all = vec!["query", "--redacted-value"];
    all.extend(args);
    let mut child = auditctl(dir, &all)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("query");
    child.stdin.take().expect("piped").write_all(value.as_bytes()).expect("sent");
    let output = child.wait_with_output().expect("query");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("utf-8");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

#[test]
fn a_value_is_looked_up_directly_and_through_the_collector_and_python_agrees() {
    let dir = Dir::new();
    let collector = Serving::start(
        &dir,
        "redact = [\"token\", \"actor\", \"details.card.*\"]\naudit_reads = true\n",
    );
    let mut peer = collector.connect();
    for line in [
        r#"{"event_type":"a","actor":"søren","details":{"token":"t\u00e4 \"1\""}}"#,
        r#"{"event_type":"b","details":{"card":{"number":4711,"ok":true}}}"#,
        r#"{"event_type":"c","details":{"card":{"number":"4711"},"ok":"4711"}}"#,
        r#"{"event_type":"d","details":{"token":""}}"#,
    ] {
        let answer = peer.ask(line);
        assert!(answer["ok"]["seq"].is_u64(), "{answer}");
    }
    let found = |value: &str, args: &[&str]| {
        let mut all = vec![
            "--fields", "type", "--format", "csv", "--oldest", "--type", "?", "--type", "a",
            "--type", "b", "--type", "c", "--type", "d",
        ];
        all.extend(args);
        let (code, stdout, stderr) = look_up(&dir, value, &all);
        assert_eq!(code, 0, "{stderr}");
        stdout.lines().skip(1).collect::<Vec<_>>().join(" ")
    };
    let check = || {
        assert_eq!(found("tä \"1\"\n", &[]), "a");
        assert_eq!(found("tä \"1\"", &["--redacted-in", "details.token"]), "a");
        assert_eq!(found("tä \"1\"", &["--redacted-in", "actor"]), "");
        assert_eq!(found("søren\r\n", &["--redacted-in", "actor"]), "a");
        assert_eq!(found("4711\n", &[]), "b c", "a number's text is as the string of it");
        assert_eq!(found("true", &["--redacted-in", "details.card.*"]), "b");
        assert_eq!(found("nobody", &[]), "");
        assert_eq!(found("\n", &[]), "d", "also that there was none");
    };
    check();
    let asked = records(&dir.log()).into_iter().filter(|(_, r)| r["event_type"] == "audit.query");
    let asked: String = asked.map(|(_, r)| r.to_string()).collect();
    assert!(
        asked.contains("hmac-sha256:") && !asked.contains("\"4711") && !asked.contains("søren"),
        "{asked}"
    );
    let value = dir.path().join("value");
    std::fs::write(&value, "søren\n").expect("value");
    let (code, stdout, _) =
        run(&dir, &["query", "--redacted-value", "value", "--count", "--type", "a"]);
    assert_eq!((code, stdout.trim()), (0, "1"));
    collector.terminate();
    check();
    let stored = all_lines(&dir.log()).join("\n");
    for value in ["søren", "tä \"1\"", "4711", "true", ""] {
        let Some(hmac) = by_python(&dir, value) else { return };
        assert!(stored.contains(&format!("\"{hmac}\"")), "{value}: {hmac}");
    }
}

#[test]
fn another_log_has_another_key_and_so_other_hmacs() {
    let stored = || {
        let dir = Dir::new();
        let log = open(with_redaction(&dir, &["token"]));
        for event_type in ["a", "b"] {
            let event = auditctl::audit::Event::new(event_type).details_json(r#"{"token":"same"}"#);
            log.record(event.expect("event")).expect("recorded").wait().expect("durable");
        }
        log.close().expect("close");
        let key = std::fs::metadata(dir.log().join("audit.redact_key")).expect("key");
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
        let tokens: Vec<Value> = records(&dir.log())
            .iter()
            .filter(|(_, r)| r["details"]["token"].is_string())
            .map(|(_, r)| r["details"]["token"].clone())
            .collect();
        assert_eq!(tokens[0], tokens[1]);
        assert_eq!(count(&dir.log(), "audit.redact_key_created"), 1);
        tokens[0].clone()
    };
    assert_ne!(stored(), stored());
}

#[test]
fn without_a_usable_key_nothing_is_looked_up_and_nothing_is_recorded() {
    let dir = Dir::new();
    assert_eq!(run(&dir, &["record", "--type", "a"]).0, 0);
    let (code, stdout, _) = look_up(&dir, "x", &["--json"]);
    let told: Value = serde_json::from_str(&stdout).expect("json");
    assert_eq!((code, &told["error"]["kind"]), (3, &json!("no_redact_key")));
    std::fs::write(dir.path().join("auditctl.toml"), "redact = [\"token\"]\n").expect("settings");
    assert_eq!(run(&dir, &["record", "--type", "a", "--details", "{\"token\":1}"]).0, 0);
    for (value, code) in [("", 2), ("\u{0}", 0)] {
        assert_eq!(look_up(&dir, value, &[]).0, code, "{value:?}");
    }
    // Somebody takes the value for an argument: it is not repeated.
    let (code, stdout, stderr) = run(&dir, &["query", "--json", "--redacted-value", SECRET]);
    assert_eq!(code, 2);
    assert!(!stdout.contains(SECRET) && !stderr.contains(SECRET), "{stdout}{stderr}");
    let key = dir.log().join("audit.redact_key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    let (code, stdout, _) = run(&dir, &["record", "--type", "a", "--json"]);
    let told: Value = serde_json::from_str(&stdout).expect("json");
    assert_eq!((code, &told["error"]["kind"]), (3, &json!("redact_key")), "{told}");
    assert_eq!(count(&dir.log(), "a"), 2);
}

#[test]
fn a_reload_hides_what_is_named_from_then_on() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let mut peer = collector.connect();
    let line = r#"{"event_type":"a","details":{"token":"t","pin":1}}"#;
    let mut last = |settings: &str, reloads: usize| {
        std::fs::write(dir.path().join("auditctl.toml"), settings).expect("settings");
        collector.signal(Signal::HUP);
        eventually("it is read again", || {
            collector.stderr().matches("settings reloaded").count() == reloads
        });
        let seq = peer.ask(line)["ok"]["seq"].as_u64().expect("seq");
        records(&dir.log())[seq as usize].1["details"].clone()
    };
    let details = last("redact = [\"token\"]\n", 1);
    assert!(details["token"].as_str().is_some_and(|text| text.starts_with("hmac-sha256:")));
    assert_eq!(details["pin"], 1);
    let details = last("redact = [\"pin\"]\n", 2);
    assert!(details["pin"].as_str().is_some_and(|text| text.starts_with("hmac-sha256:")));
    assert_eq!(details["token"], "t");
    assert_eq!(last("", 3), json!({ "token": "t", "pin": 1 }));
    assert_eq!(count(&dir.log(), "audit.config_changed"), 3);
    // A setting that is wrong changes nothing.
    std::fs::write(dir.path().join("auditctl.toml"), "redact = [\"timestamp\"]\n")
        .expect("settings");
    collector.signal(Signal::HUP);
    eventually("it is refused", || collector.stderr().contains("details.timestamp"));
}

#[test]
fn what_grows_beyond_max_details_size_is_refused_as_too_large() {
    let dir = Dir::new();
    let redact = vec!["pins".parse().expect("path")];
    let log =
        AuditLog::open(Options { redact, max_details_size: 1024, ..options(&dir) }).expect("open");
    let record = |count: usize| {
        let details = json!({ "pins": vec![1; count] });
        let event = auditctl::audit::Event::new("a").details(&details).expect("event");
        log.record(event).map(|receipt| receipt.wait())
    };
    record(10).expect("fits").expect("durable");
    let error = record(20).expect_err("too large");
    assert_eq!(error.kind(), "too_large");
    assert!(error.to_string().contains("HMAC"), "{error}");
    log.close().expect("close");
}

#[test]
fn a_backup_leaves_the_key_behind_and_a_restore_leaves_it_alone() {
    let dir = Dir::new();
    std::fs::write(dir.path().join("auditctl.toml"), "redact = [\"token\"]\n").expect("settings");
    let record = |value: &str| {
        let details = json!({ "token": value }).to_string();
        assert_eq!(run(&dir, &["record", "--type", "a", "--details", &details]).0, 0);
    };
    record("first");
    let (code, _, stderr) = run(&dir, &["backup"]);
    assert_eq!(code, 0, "{stderr}");
    let key = std::fs::read_to_string(dir.log().join("audit.redact_key")).expect("key");
    assert!(
        !holds(&everything(&dir.path().join("backups")), key.trim()),
        "no backup holds the key"
    );
    record("second");
    let (code, _, stderr) = run(&dir, &["restore", "latest", "--force"]);
    assert_eq!(code, 0, "{stderr}");
    record("first");
    let (code, stdout, stderr) = look_up(&dir, "first", &["--count"]);
    assert_eq!((code, stdout.trim()), (0, "2"), "the same key before and after: {stderr}");
    // On another machine only matching is lost.
    let (code, _, stderr) = run(&dir, &["restore", "latest", "--force", "--target", "elsewhere"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(!dir.path().join("elsewhere/audit.redact_key").exists());
    assert_eq!(run(&dir, &["--log-dir", "elsewhere", "verify"]).0, 0);
    let (code, _, stderr) = look_up(&dir, "first", &["--log-dir", "elsewhere"]);
    assert_eq!(code, 3);
    assert!(stderr.contains("no redaction key"), "{stderr}");
}
