//! The collector's HTTP side.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::serving::Serving;
use crate::support::{Dir, missing, records};

const EVENT: &str = r#"{"event_type":"login","actor":"alice"}"#;
const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";

#[test]
fn one_event_is_recorded_and_says_its_seq() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let (status, head, body) = collector.post(JSON, "", &format!("{EVENT}\n"));
    assert_eq!(status, 201, "{body}");
    assert!(head.contains("content-type: application/json"), "{head}");
    let seq = body["seq"].as_u64().expect("seq");
    let (_, record) = records(&dir.log()).swap_remove(seq as usize);
    assert_eq!(record["origin"]["via"], "http");
    for (bad, status, kind) in [
        ("{}", 422, "invalid"),
        ("nonsense", 400, "malformed"),
        (r#"{"event_type":"audit.closed"}"#, 422, "invalid"),
    ] {
        let (found, _, body) = collector.post(JSON, "", bad);
        assert_eq!((found, body["error"]["kind"].as_str()), (status, Some(kind)), "{body}");
    }
}

#[test]
fn many_events_are_told_one_by_one() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let body = format!("{EVENT}\r\n\n{{}}\n{EVENT}");
    let (status, _, answer) = collector.post(LINES, "", &body);
    assert_eq!(status, 207, "{answer}");
    assert_eq!((&answer["recorded"], &answer["rejected"]), (&2.into(), &1.into()));
    let results = answer["results"].as_array().expect("results");
    assert_eq!(results.len(), 3);
    assert_eq!(results[1]["error"]["kind"], "invalid");
    assert!(results[0]["seq"].as_u64() < results[2]["seq"].as_u64(), "{answer}");
    let (status, _, answer) = collector.post(LINES, "", "{}\n{}\n");
    assert_eq!(status, 422, "{answer}");
    assert_eq!(collector.post(LINES, "", "\n").0, 400, "nothing at all");
}

#[test]
fn an_array_of_events_is_answered_as_lines_are() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "[rate_limit]\nenabled = false\n");
    let body = format!("\n [{EVENT},\n {{}} , 7, {EVENT}\n,]\n");
    let (status, head, answer) = collector.post(JSON, "", &body);
    assert_eq!(status, 207, "{answer}");
    assert!(head.contains("content-type: application/json"), "{head}");
    assert_eq!((&answer["recorded"], &answer["rejected"]), (&2.into(), &3.into()));
    let results = answer["results"].as_array().expect("results");
    let kinds: Vec<_> = results.iter().map(|one| one["error"]["kind"].as_str()).collect();
    assert_eq!(kinds, [None, Some("invalid"), Some("malformed"), None, Some("malformed")]);
    assert_eq!((&results[1]["line"], &results[4]["line"]), (&2.into(), &5.into()));
    let (status, _, answer) = collector.post(JSON, "", &format!("[{EVENT}]"));
    assert_eq!((status, &answer["recorded"]), (200, &1.into()), "also of one: {answer}");
    assert!(answer["results"][0]["seq"].is_u64(), "{answer}");
    assert_eq!(collector.post(JSON, "", "[{},{}]").0, 422);
    assert_eq!(collector.post(JSON, "", "[]").0, 400, "nothing at all");
}

#[test]
fn of_an_array_that_breaks_off_what_came_before_is_recorded_and_said() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    for (rest, why) in [(",{\"event_type\":\"lo", "does not end"), ("] x", "behind the end")] {
        let (status, _, answer) = collector.post(JSON, "", &format!("[{EVENT}{rest}"));
        assert_eq!((status, &answer["recorded"]), (400, &1.into()), "{answer}");
        let stopped = &answer["stopped"];
        assert_eq!((&stopped["line"], &stopped["error"]["kind"]), (&2.into(), &"malformed".into()));
        assert!(stopped["error"]["message"].as_str().expect("why").contains(why), "{stopped}");
    }
    let (status, _, answer) = collector.post(JSON, "", "[");
    assert_eq!((status, &answer["error"]["kind"]), (400, &"malformed".into()), "{answer}");
}

/// Far more than is kept of it at a time, in one line and indented.
#[test]
fn a_large_array_is_recorded_whole_and_in_order() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "[rate_limit]\nenabled = false\n");
    let event = |n: usize| {
        let text = "x]},[{\\\"".repeat(20);
        format!("{{\n  \"event_type\": \"n{n}\",\n  \"details\": {{\"text\": \"{text}\"}}\n}}")
    };
    let events: Vec<String> = (0..20_000).map(event).collect();
    let body = format!("[\n{}\n]", events.join(",\n"));
    let (status, _, answer) = collector.post(JSON, "", &body);
    assert_eq!((status, &answer["recorded"]), (200, &20_000.into()), "{answer}");
    let stored = records(&dir.log());
    let types = stored.iter().filter_map(|(_, r)| r["event_type"].as_str()?.strip_prefix('n'));
    assert!(types.eq((0..20_000).map(|n| n.to_string())), "each once, in order");
}

#[test]
fn refusals_for_now_say_when_to_come_again() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "[rate_limit]\nper_second = 1\nburst = 1\n");
    assert_eq!(collector.post(JSON, "", EVENT).0, 201);
    // Where one takes a second another may be due: the next will not.
    let refused = |kind: &str, body: &str| {
        let mut answers = (0..50).map(|_| collector.post(kind, "", body));
        answers.find(|(status, ..)| !matches!(status, 200 | 201 | 207)).expect("too many")
    };
    let (status, head, body) = refused(JSON, EVENT);
    assert_eq!(status, 429, "{body}");
    assert!(head.contains("retry-after: 1"), "{head}");
    let (status, head, body) = refused(LINES, &format!("{EVENT}\n{EVENT}\n"));
    assert_eq!(status, 429, "{body}");
    assert!(head.contains("retry-after: "), "{head}");
}

#[test]
fn the_rest_of_the_paths_answer_or_say_what_is_wrong_as_json() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "[collector]\nmax_body = \"4KiB\"\n");
    let (status, _, checkpoint) = collector.get("/v1/checkpoint", "");
    assert_eq!(status, 200);
    assert!(
        checkpoint.starts_with("auditctl/") && checkpoint.contains("\n\u{2014} "),
        "{checkpoint}"
    );
    let (status, head, health) = collector.get("/health", "");
    assert!(matches!(status, 200 | 503) && head.contains("application/json"), "{head}");
    let health: serde_json::Value = serde_json::from_str(&health).expect("JSON");
    assert!(health["checks"].is_array());
    for (path, status, kind) in [("/v1/events", 403, "forbidden"), ("/nowhere", 404, "not_found")] {
        let (found, _, body) = collector.get(path, "");
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((found, body["error"]["kind"].as_str()), (status, Some(kind)));
    }
    let large = format!(r#"{{"event_type":"x","actor":"{}"}}"#, "y".repeat(5_000));
    let (status, _, body) = collector.post(JSON, "", &large);
    assert_eq!((status, body["error"]["kind"].as_str()), (413, Some("too_large")));
    let (status, _, _) =
        collector.http("DELETE /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    assert_eq!(status, 405);
}

#[test]
fn prometheus_gets_metrics_that_its_own_tool_accepts() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let (status, head, text) = collector.get("/metrics", "");
    assert_eq!(status, 200);
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    let accept = "accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4\r\n";
    let (_, head, open) = collector.get("/health", accept);
    assert!(head.contains("application/openmetrics-text"), "{head}");
    assert!(open.ends_with("# EOF\n"));
    let Ok(mut promtool) = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    else {
        missing("promtool");
        return;
    };
    promtool.stdin.take().expect("piped").write_all(text.as_bytes()).expect("written");
    let output = promtool.wait_with_output().expect("promtool");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_web_page_in_a_local_browser_does_not_get_in() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    for host in ["evil.example", "localhost.evil.example", "10.0.0.1:9750"] {
        let request =
            format!("GET /v1/checkpoint HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        assert_eq!(collector.http(&request).0, 403, "{host}");
    }
    assert_eq!(collector.post(JSON, "origin: http://evil.example\r\n", EVENT).0, 403);
    for host in ["127.0.0.1:9750", "LOCALHOST", "[::1]:1"] {
        let request =
            format!("GET /v1/checkpoint HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        assert_eq!(collector.http(&request).0, 200, "{host}");
    }
    // What a form can send without asking.
    let form = collector.post("text/plain", "", EVENT);
    assert_eq!(form.0, 415, "{}", form.2);
}

#[test]
fn a_request_that_does_not_end_is_not_waited_for() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "[collector]\nread_timeout = \"300ms\"\n");
    for begun in [
        "GET /health HTTP/1.1\r\nhost: localh",
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: 100\r\n\r\n{",
    ] {
        let mut stream = TcpStream::connect(collector.http).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
        stream.write_all(begun.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it is closed");
        assert!(answer.is_empty() || answer.contains(" 408 "), "{answer}");
    }
    assert_eq!(collector.post(JSON, "", EVENT).0, 201, "others are served");
}
