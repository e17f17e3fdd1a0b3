//! `query` as a command, over the socket and over HTTP.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::serving::{Serving, bearer, new_token};
use crate::support::{Dir, all_lines, auditctl, count, eventually, records, run};

/// Records some events directly, and closes the log.
fn filled() -> Dir {
    let dir = Dir::new();
    let events = dir.path().join("events");
    let mut text = String::new();
    for n in 0..40 {
        let (actor, ip) = if n % 4 == 0 { ("alice", "10.0.0.1") } else { ("bob", "10.0.0.2") };
        text.push_str(&format!(
            "{{\"event_type\":\"login\",\"actor\":\"{actor}\",\"details\":{{\"ip\":\"{ip}\",\"n\" : {n}}}}}\n"
        ));
    }
    text.push_str("{\"event_type\":\"note\",\"details\":{\"text\":\"\\u001b[31mred\\u001b[0m, \\\"quoted\\\"\"}}\n");
    std::fs::write(&events, text).expect("written");
    let (code, _, stderr) = run(&dir, &["record", "--file", "events"]);
    assert_eq!(code, 0, "{stderr}");
    dir
}

#[test]
fn records_are_printed_as_they_are_stored_and_the_newest_come_first() {
    let dir = filled();
    let lines = all_lines(&dir.log());
    let (code, stdout, stderr) = run(&dir, &["query", "--limit", "0", "--oldest"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(stdout.lines().collect::<Vec<_>>(), lines);
    let (_, stdout, _) = run(&dir, &["query", "--limit", "5"]);
    let newest: Vec<&str> = lines.iter().rev().take(5).map(String::as_str).collect();
    assert_eq!(stdout.lines().collect::<Vec<_>>(), newest);
    let (code, stdout, _) = run(&dir, &["query", "--actor", "nobody"]);
    assert_eq!((code, stdout.as_str()), (0, ""), "to find nothing is no failure");
}

#[test]
fn every_format_says_the_same_and_none_commands_the_terminal() {
    let dir = filled();
    let of = |args: &[&str]| {
        let (code, stdout, stderr) = run(&dir, args);
        assert_eq!(code, 0, "{args:?}: {stderr}");
        stdout
    };
    let fields = "--fields=type,details.n,details.ip";
    let wanted = ["query", "--actor", "alice", "--limit", "2", fields];
    assert_eq!(
        of(&wanted),
        "{\"event_type\":\"login\",\"details.n\":36,\"details.ip\":\"10.0.0.1\"}\n\
         {\"event_type\":\"login\",\"details.n\":32,\"details.ip\":\"10.0.0.1\"}\n"
    );
    assert_eq!(
        of(&[&wanted[..], &["--format", "csv"]].concat()),
        "event_type,details.n,details.ip\nlogin,36,10.0.0.1\nlogin,32,10.0.0.1\n"
    );
    let table = of(&[&wanted[..], &["--format", "table"]].concat());
    assert!(table.contains("EVENT_TYPE") && table.contains("36"), "{table}");
    let note = of(&["query", "--type", "note", "--format", "table"]);
    assert!(!note.contains('\u{1b}') && note.contains("red"), "{note}");
    let note = of(&["query", "--type", "note", "--format", "csv", "--fields", "details.text"]);
    assert!(note.contains("\"\"quoted\"\""), "{note}");
    assert_eq!(of(&["query", "--actor", "nobody", "--format", "csv", "--fields", "seq"]), "seq\n");

    assert_eq!(of(&["query", "--where", "details.n >= 38", "--count"]), "2\n");
    assert_eq!(of(&["query", "--grep", "say", "--count"]), "0\n");
    assert_eq!(of(&["query", "--grep", "\"quoted\"", "--count"]), "1\n");
    assert_eq!(of(&["query", "--grep", r#"\"quoted\""#, "--count"]), "1\n", "as JSON has it");
    assert_eq!(of(&["query", "--grep", "\"lice\"", "--count"]), "0\n", "quotes are quotes");
    assert_eq!(
        of(&["query", "--type", "login", "--group-by", "actor", "--format", "table"]),
        "bob    30  ########################################\nalice  10  ##############\n"
    );
    assert_eq!(
        of(&["query", "--group-by", "details.ip", "--top", "1"]),
        "{\"group\":\"10.0.0.2\",\"records\":30}\n"
    );
    let document: Value =
        serde_json::from_str(&of(&["query", "--actor", "bob", "--limit", "3", "--json"]))
            .expect("json");
    assert_eq!(document["records"].as_array().expect("records").len(), 3);
    assert_eq!(
        (&document["more"], &document["partial"]),
        (&Value::Bool(true), &Value::Bool(false))
    );
    assert!(document["next"]["seq"].is_string(), "{document}");
    let document: Value =
        serde_json::from_str(&of(&["query", "--group-by", "actor", "--json"])).expect("json");
    assert_eq!(document["groups"][0]["group"], "bob");
}

#[test]
fn what_is_wrong_is_said_with_the_option_and_no_log_is_no_empty_answer() {
    let dir = filled();
    for (args, part) in [
        (&["--since", "soon"][..], "--since"),
        (&["--seq", "a"], "--seq"),
        (&["--where", "n=1"], "--where"),
        (&["--where", "details.n ~ ("], "--where"),
        (&["--group-by", "colour"], "--group-by"),
        (&["--fields", "colour"], "--fields"),
        (&["--json", "--format", "csv"], "--json"),
    ] {
        let (code, stdout, stderr) = run(&dir, &[&["query"], args].concat());
        assert_eq!(code, 2, "{args:?}");
        assert!(stderr.contains(part) || stdout.contains(part), "{args:?}: {stdout}{stderr}");
    }
    let (code, stdout, stderr) = run(&dir, &["query", "--log-dir", "nowhere", "--json"]);
    assert_eq!(code, 3, "{stderr}");
    let document: Value = serde_json::from_str(&stdout).expect("json");
    assert_eq!(document["error"]["kind"], "no_log");
}

#[test]
fn groups_beyond_what_memory_allows_make_the_answer_partial_and_it_says_so() {
    let dir = Dir::new();
    std::fs::write(dir.path().join("auditctl.toml"), "max_memory_events = 10\n").expect("settings");
    let events: String = (0..60)
        .map(|n| format!("{{\"event_type\":\"x\",\"actor\":\"user{}\"}}\n", n % 30))
        .collect();
    std::fs::write(dir.path().join("events"), events).expect("events");
    assert_eq!(run(&dir, &["record", "--file", "events"]).0, 0);
    let ask = ["query", "--type", "x", "--group-by", "actor"];
    let (code, stdout, stderr) = run(&dir, &ask);
    assert_eq!((code, stdout.lines().count()), (0, 10));
    assert!(stderr.contains("partial: 40 records"), "{stderr}");
    let (_, stdout, _) = run(&dir, &[&ask[..], &["--json"]].concat());
    let document: Value = serde_json::from_str(&stdout).expect("json");
    assert_eq!((&document["partial"], &document["beyond"]), (&Value::Bool(true), &Value::from(40)));
    let groups = document["groups"].as_array().expect("groups");
    assert!(groups.iter().all(|group| group["records"] == 2), "what is counted is counted whole");
    // With --json records are held in memory as well.
    let (_, stdout, stderr) = run(&dir, &["query", "--limit", "0", "--json"]);
    let document: Value = serde_json::from_str(&stdout).expect("json");
    assert_eq!(document["records"].as_array().expect("records").len(), 10);
    assert_eq!(document["more"], true);
    assert!(stderr.contains("partial"), "{stderr}");
}

#[test]
fn a_collector_answers_for_everybody_from_one_cache_and_large_answers_come_in_pages() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "[rate_limit]\nenabled = false\n");
    let mut peer = collector.connect();
    let filler = "f".repeat(30_000);
    for n in 0..120 {
        let seq = peer.ask(&format!(
            "{{\"event_type\":\"bulk\",\"actor\":\"a{}\",\"details\":{{\"f\":\"{filler}\"}}}}",
            n % 2
        ));
        assert!(seq["ok"]["seq"].is_u64(), "{seq}");
    }
    let lines = all_lines(&dir.log());
    for order in ["--oldest", "--newest"] {
        let (code, stdout, stderr) =
            run(&dir, &["query", "--type", "bulk", "--limit", "0", order, "--explain"]);
        assert_eq!(code, 0, "{stderr}");
        let mut expected: Vec<&String> = lines.iter().filter(|l| l.contains("\"bulk\"")).collect();
        if order == "--newest" {
            expected.reverse();
        }
        assert_eq!(stdout.lines().collect::<Vec<_>>(), expected, "{order}");
        assert!(stderr.contains("by the collector"), "{stderr}");
    }
    let count = ["query", "--actor", "a1", "--count", "--explain"];
    let (_, first, said) = run(&dir, &count);
    assert!(said.contains("cache     miss"), "{said}");
    let (_, again, said) = run(&dir, &count);
    assert!(said.contains("cache     hit"), "{said}");
    assert_eq!((first.as_str(), again.as_str()), ("60\n", "60\n"));
    peer.ask("{\"event_type\":\"bulk\",\"actor\":\"a1\"}");
    let (_, more, said) = run(&dir, &count);
    assert_eq!(more, "61\n", "never stale");
    assert!(said.contains("cache     completed"), "{said}");
    let (_, direct, said) = run(&dir, &[&count[..], &["--direct"]].concat());
    assert_eq!(direct, "61\n");
    assert!(said.contains("from the files"), "{said}");
    let (_, status, _) = run(&dir, &["monitor", "--once", "--json"]);
    let status: Value = serde_json::from_str(&status).expect("json");
    assert!(status.to_string().contains("\"hits\":2"), "{status}");
}

#[test]
fn answers_come_in_the_order_of_the_requests_whatever_they_are() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let mut peer = collector.connect();
    let mut text = String::new();
    for n in 0..10 {
        text.push_str(&format!("{{\"event_type\":\"e{n}\"}}\n"));
        text.push_str(&format!("{{\"query\":{{\"type\":\"e{n}\",\"count\":true}}}}\n"));
        text.push_str("{\"status\":{}}\n");
    }
    text.push_str("{\"query\":{\"typ\":\"x\"}}\n{\"query\":{\"since\":\"soon\"}}\n");
    peer.send(&text);
    for _ in 0..10 {
        let [event, query, status] = [(); 3].map(|()| peer.answer().expect("an answer"));
        assert!(event["ok"]["seq"].is_u64(), "{event}");
        assert!(query["ok"]["query"]["count"].is_u64(), "{query}");
        assert!(status["ok"]["status"].is_object(), "{status}");
    }
    assert_eq!(peer.answer().expect("an answer")["error"]["kind"], "malformed");
    let refused = peer.answer().expect("an answer");
    assert_eq!(refused["error"]["kind"], "usage", "{refused}");
    // What is acknowledged is found by who asks next.
    let seq = peer.ask("{\"event_type\":\"last\"}")["ok"]["seq"].clone();
    let found = peer.ask("{\"query\":{\"type\":\"last\"}}");
    assert_eq!(found["ok"]["query"]["records"][0]["seq"], seq);
}

#[test]
fn over_http_only_a_token_reads_and_ndjson_is_the_stored_bytes() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let (status, _, body) = collector.get("/v1/events", "");
    assert_eq!(status, 403, "{body}");
    assert!(body.contains("collector.token_file"), "{body}");
    collector.terminate();
    let bearer = &bearer(&new_token(&dir, "auditor", &["--role", "read"]));
    let collector =
        Serving::start(&dir, "audit_reads = true\n[collector]\ntoken_file = \"tokens\"\n");
    assert_eq!(collector.get("/v1/events", "").0, 401);
    let (status, head, body) = collector.get(
        "/v1/events?type=audit.o*&type=audit.log*&order=oldest&limit=2&where=details.format%20exists",
        &format!("{bearer}accept: application/x-ndjson\r\n"),
    );
    assert_eq!(status, 200, "{body}");
    assert!(head.contains("application/x-ndjson"), "{head}");
    assert_eq!(body, format!("{}\n", all_lines(&dir.log())[0]));
    let (_, _, body) = collector.get("/v1/events?count", bearer);
    let document: Value = serde_json::from_str(&body).expect("json");
    assert!(document["count"].as_u64().expect("a count") >= 3, "{body}");
    for wrong in ["limit=x", "colour=red", "since=soon", "limit=1&limit=2", "count=maybe"] {
        let (status, _, body) = collector.get(&format!("/v1/events?{wrong}"), bearer);
        assert_eq!(status, 400, "{wrong}: {body}");
        assert!(body.contains("\"usage\""), "{body}");
    }
    // Who read what is in the log before the answer is out.
    let queries: Vec<Value> = records(&dir.log())
        .into_iter()
        .map(|(_, record)| record)
        .filter(|record| record["event_type"] == "audit.query")
        .collect();
    assert_eq!(queries.len(), 2, "{queries:?}");
    assert_eq!(queries[0]["details"]["via"], "http");
    assert_eq!(queries[0]["details"]["token"], "auditor");
    assert_eq!(queries[0]["details"]["records"], 1);
    assert_eq!(queries[0]["details"]["query"]["where"][0], "details.format exists");
}

#[test]
fn follow_prints_each_record_once_through_rotation_and_a_killed_collector() {
    let dir = Dir::new();
    let settings =
        "max_segment_size = \"64KiB\"\naudit_reads = true\n[rate_limit]\nenabled = false\n";
    let collector = Serving::start(&dir, settings);
    let record = |collector: &Serving, range: std::ops::Range<u32>| {
        let mut peer = collector.connect();
        for n in range {
            let filler = "f".repeat(2_000);
            let event =
                format!("{{\"event_type\":\"work\",\"details\":{{\"n\":{n},\"f\":\"{filler}\"}}}}");
            assert!(peer.ask(&event)["ok"]["seq"].is_u64());
        }
    };
    record(&collector, 0..20);
    let mut follower = auditctl(&dir, &["query", "--follow", "--type", "work", "--limit", "5"]);
    let mut follower =
        follower.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a follower");
    let mut lines = BufReader::new(follower.stdout.take().expect("piped")).lines();
    let mut next = || {
        let line = lines.next().expect("a line").expect("read");
        let record: Value = serde_json::from_str(&line).expect("json");
        record["details"]["n"].as_u64().expect("a number")
    };
    for n in 15..20 {
        assert_eq!(next(), n, "it begins with the last few");
    }
    record(&collector, 20..100);
    for n in 20..100 {
        assert_eq!(next(), n);
    }
    collector.kill_nine();
    let collector = Serving::start(&dir, settings);
    record(&collector, 100..150);
    for n in 100..150 {
        assert_eq!(next(), n, "after a restart it goes on where it was");
    }
    follower.kill().expect("killed");
    follower.wait().expect("waited");
    let segments = std::fs::read_dir(dir.log()).expect("log").filter(|entry| {
        let name = entry.as_ref().expect("entry").file_name().into_string().expect("utf-8");
        auditctl::audit::paths::parse_sealed_name(&name).is_some()
    });
    assert!(segments.count() >= 3, "segments were sealed meanwhile");
    eventually("the collector is done", || count(&dir.log(), "work") == 150);
    // The follower's own reads are not what it follows for ever.
    assert!(count(&dir.log(), "audit.query") < 10);
}
