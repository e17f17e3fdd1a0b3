//! What an answer lacks is told: what a limit cut off, what retention removed, and which
//! groups found no room; with what to do next.

use std::process::Stdio;
use std::time::Duration;

use auditctl::audit::{Options, RetentionRule};
use auditctl::clock::ManualClock;
use serde_json::{Value, json};

use crate::backups::{Home, all_compressed, record_into};
use crate::serving::{Serving, bearer, new_token};
use crate::support::{Dir, all_lines, auditctl, eventually, open, run};

const NO_RATE: &str = "[rate_limit]\nenabled = false\n";

fn recorded(dir: &Dir, settings: &str, events: &str) {
    std::fs::write(dir.path().join("auditctl.toml"), settings).expect("settings");
    std::fs::write(dir.path().join("events"), events).expect("events");
    let (code, _, stderr) = run(dir, &["record", "--file", "events"]);
    assert_eq!(code, 0, "{stderr}");
}

fn numbered(count: usize) -> String {
    (0..count).map(|n| format!("{{\"event_type\":\"e\",\"details\":{{\"n\":{n}}}}}\n")).collect()
}

/// The range of seqs that a text says to go on with.
fn next_of(text: &str) -> String {
    let at = text.find("--seq ").unwrap_or_else(|| panic!("{text}")) + 6;
    text[at..].split([' ', '\n']).next().expect("a word").to_owned()
}

/// C3: what goes to a program is complete.
#[test]
fn ndjson_and_csv_to_a_pipe_or_a_file_are_complete_unless_a_limit_is_given() {
    let dir = Dir::new();
    recorded(&dir, NO_RATE, &numbered(250));
    let of = |args: &[&str]| run(&dir, &[&["query", "--type", "e"], args].concat());
    for (args, lines) in [
        (&[][..], 250),
        (&["--format", "ndjson"], 250),
        (&["--format", "csv"], 251),
        (&["--format", "csv", "--fields", "seq"], 251),
        (&["--fields", "seq"], 250),
        (&["--limit", "250"], 250),
    ] {
        let (code, stdout, stderr) = of(args);
        assert_eq!((code, stdout.lines().count(), &*stderr), (0, lines, ""), "{args:?}");
    }
    let file = std::fs::File::create(dir.path().join("export.csv")).expect("a file");
    let mut export = auditctl(&dir, &["query", "--type", "e", "--format", "csv"]);
    assert!(export.stdout(Stdio::from(file)).status().expect("runs").success());
    let text = std::fs::read_to_string(dir.path().join("export.csv")).expect("utf-8");
    assert_eq!(text.lines().count(), 251);
}

/// C3: page after page, by what each says, is all of it, in either order.
#[test]
fn where_a_limit_cuts_the_place_to_go_on_from_is_told_and_leads_to_the_end() {
    let dir = Dir::new();
    recorded(&dir, NO_RATE, &numbered(25));
    for order in ["--newest", "--oldest"] {
        let mut all = String::new();
        let mut range = "..".to_owned();
        let mut pages = 0;
        loop {
            let args = ["query", "--type", "e", "--limit", "7", order, "--seq", &range];
            let (code, stdout, stderr) = run(&dir, &args);
            assert_eq!(code, 0, "{stderr}");
            all.push_str(&stdout);
            pages += 1;
            if stderr.is_empty() {
                break;
            }
            range = next_of(&stderr);
        }
        assert_eq!(pages, 4);
        assert_eq!(all, run(&dir, &["query", "--type", "e", order]).1);
    }
    // Exactly as many as there are: nothing is cut.
    assert_eq!(run(&dir, &["query", "--type", "e", "--limit", "25"]).2, "");
    assert_ne!(run(&dir, &["query", "--type", "e", "--limit", "24"]).2, "");
    assert_eq!(run(&dir, &["query", "--type", "e", "--limit", "24", "--quiet"]).2, "");
}

/// C3: what people look at ends early, and says so.
#[test]
fn a_table_ends_after_a_hundred_records_and_says_how_to_see_the_rest() {
    let dir = Dir::new();
    recorded(&dir, NO_RATE, &numbered(250));
    let (code, table, stderr) = run(&dir, &["query", "--type", "e", "--format", "table"]);
    assert_eq!((code, table.lines().count()), (0, 101));
    assert!(stderr.contains("100 records shown") && stderr.contains("--limit 0"), "{stderr}");
    let range = next_of(&stderr);
    let (_, rest, _) = run(&dir, &["query", "--type", "e", "--seq", &range]);
    assert_eq!(rest.lines().count(), 150);
    let whole = run(&dir, &["query", "--type", "e", "--format", "table", "--limit", "0"]);
    assert_eq!((whole.1.lines().count(), &*whole.2), (251, ""));
}

/// C3: the same over the socket, over HTTP and in one document.
#[test]
fn socket_http_and_json_say_more_and_what_to_ask_with_next() {
    let dir = Dir::new();
    recorded(&dir, NO_RATE, &numbered(250));
    let document = |args: &[&str]| -> Value {
        let args = [&["query", "--type", "e", "--json", "--direct"], args].concat();
        serde_json::from_str(&run(&dir, &args).1).expect("json")
    };
    let whole = document(&[]);
    assert_eq!(whole["records"].as_array().map(Vec::len), Some(250));
    assert_eq!((&whole["more"], whole.get("next")), (&json!(false), None));
    let cut = document(&["--limit", "100"]);
    assert_eq!((&cut["more"], &cut["next"]), (&json!(true), &json!({ "seq": "0..152" })));

    let token = bearer(&new_token(&dir, "auditor", &["--role", "read"]));
    let settings = format!("{NO_RATE}[collector]\ntoken_file = \"tokens\"\n");
    let collector = Serving::start(&dir, &settings);
    let mut peer = collector.connect();
    let mut seqs = Vec::new();
    let mut asked = json!({ "type": "e" });
    loop {
        let answer = peer.ask(&json!({ "query": asked }).to_string());
        let answer = &answer["ok"]["query"];
        seqs.extend(
            answer["records"].as_array().expect("records").iter().map(|r| r["seq"].clone()),
        );
        if answer["more"] == false {
            assert_eq!(answer.get("next"), None);
            break;
        }
        // The keys of `next` are keys of the question.
        for (key, value) in answer["next"].as_object().expect("next") {
            asked[key] = value.clone();
        }
    }
    assert_eq!(seqs, (2..=251).rev().map(Value::from).collect::<Vec<_>>());

    for accept in ["application/x-ndjson", "application/json"] {
        let headers = format!("{token}accept: {accept}\r\n");
        let (status, head, body) = collector.get("/v1/events?type=e", &headers);
        assert_eq!(status, 200, "{body}");
        assert!(head.contains("auditctl-next-seq: 0..152"), "{head}");
        let (_, head, body) = collector.get("/v1/events?type=e&seq=0..52", &headers);
        assert!(!head.contains("auditctl-next-seq"), "{head}");
        assert!(body.contains("\"n\":0}"), "{body}");
    }
    // The program asks the collector in pages, and prints all.
    assert_eq!(run(&dir, &["query", "--type", "e"]).1.lines().count(), 250);
    let whole: Value =
        serde_json::from_str(&run(&dir, &["query", "--type", "e", "--json"]).1).expect("json");
    assert_eq!(whole["records"].as_array().map(Vec::len), Some(250));
    assert_eq!((&whole["more"], whole.get("next")), (&json!(false), None));
}

/// A log of which retention has removed the older segments: its first seq.
fn pruned(home: &Home, clock: &ManualClock) -> u64 {
    let options = Options {
        clock: home.clock.clone(),
        retention_rule: RetentionRule::RemovesWithoutBackup,
        ..home.options()
    };
    let log = open(Options { retention: None, ..options.clone() });
    record_into(&log, 200);
    all_compressed(&log);
    log.close().expect("closed");
    clock.advance(Duration::from_secs(100 * 86_400));
    let log = open(options);
    // Retention lets the first hour go by.
    clock.advance(Duration::from_secs(3_601));
    eventually("retention has removed something", || log.manifest().pruned.end() > 10);
    log.close().expect("closed");
    let first: Value = serde_json::from_str(&all_lines(&home.log_dir())[0]).expect("json");
    first["seq"].as_u64().expect("a seq")
}

/// F8: what retention removed is not passed over in silence.
#[test]
fn a_question_about_records_that_retention_removed_says_which_are_gone() {
    let (home, clock) = Home::at("2026-02-04T21:09:40Z");
    let first = pruned(&home, &clock);
    let dir = home.dir;
    std::fs::write(dir.path().join("auditctl.toml"), "retention_days = 0\n").expect("settings");
    let ask = |args: &[&str]| run(&dir, &[&["query", "--direct"], args].concat());
    let gone = |to: u64| format!("records 0 to {} were removed by retention", to - 1);
    for (args, to) in [
        (&["--seq", "0..10"][..], 10),
        (&["--count"], first),
        (&["--group-by", "type"], first),
        (&["--since", "2020-01-01", "--count"], first),
        (&["--format", "csv"], first),
        (&["--oldest", "--limit", "3"], first),
    ] {
        let (code, _, stderr) = ask(args);
        assert_eq!(code, 0, "{args:?}: {stderr}");
        assert!(
            stderr.contains(&gone(to)) && stderr.contains("auditctl list"),
            "{args:?}: {stderr}"
        );
    }
    // What was asked about is there.
    for args in [
        &["--seq", &format!("{first}..")][..],
        &["--since", "2s", "--limit", "1"],
        &["--limit", "3"],
    ] {
        let (_, _, stderr) = ask(args);
        assert!(!stderr.contains("retention"), "{args:?}: {stderr}");
    }
    let document: Value =
        serde_json::from_str(&ask(&["--seq", "5..10", "--json"]).1).expect("json");
    assert_eq!(document["pruned"], json!({ "begin": 5, "end": 10 }));
    assert_eq!(document["records"], json!([]));

    let token = bearer(&new_token(&dir, "auditor", &["--role", "read"]));
    let settings = "retention_days = 0\n[collector]\ntoken_file = \"tokens\"\n";
    let collector = Serving::start(&dir, settings);
    let headers = format!("{token}accept: application/x-ndjson\r\n");
    let (_, head, _) = collector.get("/v1/events?seq=0..10", &headers);
    assert!(head.contains("auditctl-pruned: 0..10"), "{head}");
    // From the cache, too.
    let mut peer = collector.connect();
    for _ in 0..3 {
        let answer = peer.ask("{\"query\":{\"count\":true}}");
        assert_eq!(
            answer["ok"]["query"]["pruned"],
            json!({ "begin": 0, "end": first }),
            "{answer}"
        );
    }
}

/// F9: three that are frequent among thousands that are not, in an order that hides them.
#[test]
fn the_largest_groups_are_right_although_there_are_more_than_there_is_room_for() {
    let dir = Dir::new();
    let filler = "f".repeat(300);
    let mut events = String::new();
    let mut one = |actor: &str| {
        events.push_str(&format!(
            "{{\"event_type\":\"e\",\"actor\":\"{actor}\",\"details\":{{\"f\":\"{filler}\"}}}}\n"
        ));
    };
    // Those that come first are many, and stay alone; the frequent ones come one by one.
    for n in 0..9_000 {
        one(&format!("rare{n}"));
        if n > 1_000 {
            match n % 9 {
                0 | 3 | 6 => one("zoe"),
                1 | 4 => one("yan"),
                2 => one("xie"),
                _ => {}
            }
        }
    }
    let settings = format!("max_memory_events = 40\nmax_segment_size = \"256KiB\"\n{NO_RATE}");
    recorded(&dir, &settings, &events);
    let count = |actor: &str| events.matches(&format!("\"actor\":\"{actor}\"")).count() as u64;
    let largest: Vec<(&str, u64)> =
        ["zoe", "yan", "xie"].map(|actor| (actor, count(actor))).to_vec();
    let ask = ["query", "--type", "e", "--group-by", "actor", "--top", "3"];
    let (code, stdout, stderr) = run(&dir, &ask);
    let lines: Vec<String> = largest
        .iter()
        .map(|(actor, records)| format!("{{\"group\":\"{actor}\",\"records\":{records}}}"))
        .collect();
    assert_eq!(
        (code, stdout.lines().collect::<Vec<_>>()),
        (0, lines.iter().map(String::as_str).collect())
    );
    assert!(stderr.contains("partial") && stderr.contains("max_memory_events = 40"), "{stderr}");
    let document: Value =
        serde_json::from_str(&run(&dir, &[&ask[..], &["--json"]].concat()).1).expect("json");
    let bound = document["beyond_each"].as_u64().expect("a bound");
    assert!(bound < largest[2].1, "the bound shows that they are the largest: {bound}");
    let listed: u64 = {
        let args = ["query", "--type", "e", "--group-by", "actor", "--json"];
        let all: Value = serde_json::from_str(&run(&dir, &args).1).expect("json");
        assert_eq!(all["partial"], true);
        all["groups"]
            .as_array()
            .expect("groups")
            .iter()
            .map(|g| g["records"].as_u64().expect("n"))
            .sum()
    };
    let total = events.lines().count() as u64;
    assert_eq!(
        listed + document["beyond"].as_u64().expect("beyond"),
        total,
        "none is counted twice or lost"
    );
    // The same from a collector, also when it completes what it remembers.
    let collector = Serving::start_with(&dir, &settings, &["--http", "off"], &[]);
    let mut peer = collector.connect();
    for more in 0..3 {
        let answer = peer.ask("{\"query\":{\"type\":\"e\",\"group_by\":\"actor\",\"top\":3}}");
        let groups = &answer["ok"]["query"]["groups"];
        let zoe = largest[0].1 + more;
        assert_eq!(groups[0], json!({ "group": "zoe", "records": zoe }), "{answer}");
        assert_eq!(groups[2], json!({ "group": "xie", "records": largest[2].1 }));
        peer.ask("{\"event_type\":\"e\",\"actor\":\"zoe\"}");
    }
}
