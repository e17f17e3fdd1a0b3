//! `record`, through the collector and without one.

use std::io::{BufRead, BufReader, Write};
use std::process::{Output, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::serving::Serving;
use crate::support::{Dir, auditctl, count, open, options, records, types};

fn record(dir: &Dir, args: &[&str]) -> Output {
    let mut all = vec!["record"];
    all.extend(args);
    auditctl(dir, &all).output().expect("record")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

fn document(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).expect("one JSON document")
}

fn input(dir: &Dir, text: &str) -> String {
    let path = dir.path().join("events.ndjson");
    std::fs::write(&path, text).expect("input");
    path.to_str().expect("utf-8").to_owned()
}

const FLAGS: [&str; 14] = [
    "--type",
    "login",
    "--actor",
    "alice",
    "--source",
    "billing",
    "--target",
    "acct-7",
    "--outcome",
    "success",
    "--details",
    "{\"n\": 1}",
    "--timestamp",
    "2026-02-04T21:09:40Z",
];

#[test]
fn one_event_goes_into_the_log_itself_when_no_collector_runs() {
    let dir = Dir::new();
    let output = record(&dir, &FLAGS);
    assert!(output.status.success(), "{}", stderr(&output));
    let seq: usize = stdout(&output).trim().parse().expect("a seq");
    let (_, stored) = records(&dir.log()).swap_remove(seq);
    for (key, value) in [
        ("event_type", json!("login")),
        ("actor", json!("alice")),
        ("source", json!("billing")),
        ("target", json!("acct-7")),
        ("outcome", json!("success")),
        ("details", json!({ "n": 1 })),
        ("timestamp", json!("2026-02-04T21:09:40.000000Z")),
    ] {
        assert_eq!(stored[key], value, "{key}");
    }
    assert_eq!(stored["origin"]["via"], "direct");
    assert_eq!(types(&dir.log()).last().map(String::as_str), Some("audit.closed"));
}

#[test]
fn one_event_goes_through_the_collector_when_one_runs() {
    let dir = Dir::new();
    let _collector = Serving::start(&dir, "");
    let output = record(&dir, &["--type", "login", "--json"]);
    let seq = document(&output)["seq"].as_u64().expect("seq");
    let (_, stored) = records(&dir.log()).swap_remove(seq as usize);
    assert_eq!(stored["origin"]["via"], "socket");
}

/// Blank lines, CRLF, no line feed at the end.
const FORMS: &str =
    "{\"event_type\":\"a\"}\r\n\n  \n{\"event_type\":\"b\"}\n{\"event_type\":\"c\"}";

#[test]
fn a_file_is_imported_in_order_whatever_its_line_ends() {
    for with_collector in [true, false] {
        let dir = Dir::new();
        let collector = with_collector.then(|| Serving::start(&dir, ""));
        let file = input(&dir, FORMS);
        let output = record(&dir, &["--file", &file, "--json"]);
        assert!(output.status.success(), "{}", stderr(&output));
        let told = document(&output);
        let first = told["first_seq"].as_u64().expect("first");
        assert_eq!(
            told,
            json!({ "recorded": 3, "duplicates": 0, "first_seq": first, "last_seq": first + 2, "rejected": [] })
        );
        let stored = records(&dir.log());
        for (n, event_type) in ["a", "b", "c"].iter().enumerate() {
            let record = &stored[first as usize + n].1;
            assert_eq!(record["event_type"], *event_type);
            assert_eq!(record["origin"]["import"], true, "an import says so");
        }
        drop(collector);
    }
}

#[test]
fn a_bad_line_stops_the_import_and_all_before_it_is_durable() {
    for with_collector in [true, false] {
        let dir = Dir::new();
        let collector = with_collector.then(|| Serving::start(&dir, ""));
        let file =
            input(&dir, "{\"event_type\":\"a\"}\n\n{\"event\":\"b\"}\n{\"event_type\":\"c\"}\n");
        let output = record(&dir, &["--file", &file]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        let said = stderr(&output);
        assert!(said.contains("line 3") && said.contains("1 event recorded"), "{said}");
        assert_eq!((count(&dir.log(), "a"), count(&dir.log(), "c")), (1, 0));
        drop(collector);
    }
}

#[test]
fn keep_going_reports_each_bad_line_and_ends_with_1() {
    let dir = Dir::new();
    let _collector = Serving::start(&dir, "");
    let long = format!("{{\"event_type\":\"x\",\"actor\":\"{}\"}}", "y".repeat(2 << 20));
    let file = input(
        &dir,
        &format!("nonsense\n{{\"event_type\":\"a\"}}\n{long}\n{{}}\n{{\"event_type\":\"b\"}}\n"),
    );
    let output = record(&dir, &["--file", &file, "--keep-going", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let told = document(&output);
    assert_eq!(told["recorded"], 2);
    let rejected: Vec<_> = told["rejected"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|r| (r["line"].as_u64().expect("line"), r["kind"].as_str().expect("kind")))
        .collect();
    assert_eq!(rejected, [(1, "malformed"), (3, "too_large"), (4, "invalid")]);
}

#[test]
fn lenient_moves_unknown_keys_into_details() {
    let dir = Dir::new();
    let file = input(&dir, "{\"event_type\":\"a\",\"shoe_size\":44}\n");
    assert_eq!(record(&dir, &["--file", &file]).status.code(), Some(2));
    assert!(record(&dir, &["--file", &file, "--lenient"]).status.success());
    let stored = records(&dir.log());
    let (_, stored) = stored.iter().find(|(_, r)| r["event_type"] == "a").expect("recorded");
    assert_eq!(stored["details"], json!({ "shoe_size": 44 }));
}

#[test]
fn standard_input_is_recorded_as_it_comes() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let mut child = auditctl(&dir, &["record", "--file", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("record");
    let mut stdin = child.stdin.take().expect("piped");
    let mut peer = collector.connect();
    for n in 1..=3 {
        // The next line comes only when the one before is recorded.
        writeln!(stdin, "{{\"event_type\":\"n\"}}").expect("written");
        crate::support::eventually("the line is recorded while more may come", || {
            peer.ask(r#"{"status":{}}"#)["ok"]["status"]["accepted"].as_u64() >= Some(n)
                && count(&dir.log(), "n") as u64 == n
        });
    }
    drop(stdin);
    let output = child.wait_with_output().expect("record");
    assert!(output.status.success());
    assert!(stdout(&output).contains("3 events recorded"), "{}", stdout(&output));
}

#[test]
fn an_import_of_the_own_user_is_not_rate_limited_but_single_events_wait() {
    let dir = Dir::new();
    let _collector = Serving::start(&dir, "[rate_limit]\nper_second = 5\nburst = 1\n");
    let file = input(&dir, &"{\"event_type\":\"bulk\",\"source\":\"s\"}\n".repeat(2_000));
    assert!(record(&dir, &["--file", &file]).status.success());
    for _ in 0..4 {
        let output = record(&dir, &["--type", "single", "--source", "t"]);
        assert!(output.status.success(), "it waits and sends again: {}", stderr(&output));
    }
    assert_eq!((count(&dir.log(), "bulk"), count(&dir.log(), "single")), (2_000, 4));
}

#[test]
fn a_collector_that_goes_away_leaves_a_true_count() {
    let dir = Dir::new();
    let mut collector = Serving::start(&dir, "");
    let mut child = auditctl(&dir, &["record", "--file", "-", "--json", "--wait", "0s"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("record");
    let mut stdin = child.stdin.take().expect("piped");
    let feeding = std::thread::spawn(move || {
        while stdin.write_all(&b"{\"event_type\":\"n\"}\n".repeat(100)).is_ok() {}
    });
    crate::support::eventually("some are recorded", || {
        std::fs::metadata(dir.log().join("audit.log")).is_ok_and(|meta| meta.len() > 200_000)
    });
    collector.signal(Signal::KILL);
    collector.wait();
    let output = child.wait_with_output().expect("record");
    feeding.join().expect("feeder");
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let told = document(&output);
    let recorded = told["recorded"].as_u64().expect("a count");
    assert!(recorded > 0 && told["error"]["message"].is_string(), "{told}");
    // Opening it cuts a torn tail, never what was acknowledged.
    open(options(&dir)).close().expect("close");
    assert!(count(&dir.log(), "n") as u64 >= recorded);
}

#[test]
fn a_log_held_by_somebody_without_a_socket_is_busy() {
    let dir = Dir::new();
    let log = open(options(&dir));
    let output = record(&dir, &["--type", "login", "--json"]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    let told = document(&output);
    assert_eq!(told["error"]["kind"], "locked");
    assert!(told["error"]["hint"].is_string());
    log.close().expect("close");
}

#[test]
fn a_log_directory_too_deep_for_a_socket_can_still_be_written() {
    let dir = Dir::new();
    let deep = dir.path().join("d".repeat(120));
    let output = record(&dir, &["--type", "login", "--log-dir", deep.to_str().expect("utf-8")]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn flags_that_make_no_event_are_refused_before_anything_is_opened() {
    let dir = Dir::new();
    for args in [
        &["--type", "login", "--details", "[1]"][..],
        &["--type", "login", "--timestamp", "yesterday"],
        &["--type", "audit.closed"],
        &["--actor", "alice"],
    ] {
        let output = record(&dir, args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
    }
    assert!(!dir.log().exists());
}

#[test]
fn several_imports_at_once_lose_and_repeat_nothing() {
    let dir = Dir::new();
    let _collector = Serving::start(&dir, "");
    let children: Vec<_> = (0..4)
        .map(|sender| {
            let path = dir.path().join(format!("{sender}.ndjson"));
            let lines: String =
                (0..1_000).map(|n| format!("{{\"event_type\":\"s{sender}-{n}\"}}\n")).collect();
            std::fs::write(&path, lines).expect("input");
            auditctl(&dir, &["record", "--file", path.to_str().expect("utf-8")])
                .stdout(Stdio::piped())
                .spawn()
                .expect("record")
        })
        .collect();
    for mut child in children {
        let mut said = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut said).expect("said");
        assert!(child.wait().expect("record").success());
        assert!(said.contains("1000 events recorded"), "{said}");
    }
    let types = types(&dir.log());
    for sender in 0..4 {
        let of_sender: Vec<_> =
            types.iter().filter(|t| t.starts_with(&format!("s{sender}-"))).cloned().collect();
        let sent: Vec<_> = (0..1_000).map(|n| format!("s{sender}-{n}")).collect();
        assert_eq!(of_sender, sent, "sender {sender}: each once, in order");
    }
}
