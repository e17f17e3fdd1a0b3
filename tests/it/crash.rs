//! P1 and P2: kill -9 at random moments, and what a power loss can leave.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use auditctl::audit::state::security::SecurityKind;
use auditctl::audit::{AuditLog, Durability, Event, ImportId, OpenError, Options};
use auditctl::collector::Trust;
use auditctl::collector::client::{Answer, Client};

use crate::serving::Serving;
use crate::support::{Dir, Moments, all_lines, count, open, options, records, root_agrees, types};

/// Rounds of kill -9; `CRASH_ROUNDS` sets another number.
const ROUNDS: u32 = 200;
/// Rounds in one log.
const ROUNDS_A_LOG: u32 = 20;

fn rounds() -> u32 {
    std::env::var("CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS)
}

#[test]
fn p1_an_acknowledged_event_survives_kill_nine_at_any_moment() {
    let rounds = rounds();
    // Any spread of moments will do; the scheduler adds its own.
    let mut moments = Moments::up_to(Duration::from_millis(40), 0x9e37_79b9);
    let mut acknowledged_in_all = 0;
    for first in (0..rounds).step_by(ROUNDS_A_LOG as usize) {
        let dir = Dir::new();
        std::fs::write(
            dir.path().join("auditctl.toml"),
            "max_segment_size = \"64KiB\"\ncheckpoint_interval = \"100ms\"\n",
        )
        .expect("settings");
        let acknowledged: Mutex<HashMap<String, u64>> = Mutex::default();
        for round in first..(first + ROUNDS_A_LOG).min(rounds) {
            let collector = Serving::start_alone(&dir);
            let before = acknowledged.lock().expect("lock").len();
            let delay = moments.next();
            std::thread::scope(|scope| {
                for worker in 0..3 {
                    let (dir, acknowledged) = (&dir, &acknowledged);
                    scope.spawn(move || send_until_gone(dir, round, worker, acknowledged));
                }
                std::thread::sleep(delay);
                collector.kill_nine();
            });
            moments.happened(acknowledged.lock().expect("lock").len() > before);
            every_acknowledged_event_is_there_once(&dir, &acknowledged);
        }
        // Opened once more by a clean writer: the tree goes on from what was signed.
        let log = open(options(&dir));
        log.close().expect("closed");
        every_acknowledged_event_is_there_once(&dir, &acknowledged);
        types(&dir.log());
        root_agrees(&dir.log());
        acknowledged_in_all += acknowledged.lock().expect("lock").len();
    }
    println!("{rounds} rounds, {acknowledged_in_all} events acknowledged");
    assert!(acknowledged_in_all > rounds as usize, "the rounds did send events");
}

fn send_until_gone(dir: &Dir, round: u32, worker: u32, acknowledged: &Mutex<HashMap<String, u64>>) {
    let Ok(mut client) =
        Client::connect(&dir.log().join("audit.sock"), &Trust::owner_of(&dir.log()))
    else {
        return;
    };
    if client.import(false, &ImportId::random().expect("an id")).is_err() {
        return;
    }
    for window in 0.. {
        let names: Vec<String> =
            (0..20).map(|n| format!("{round}-{worker}-{window}-{n}")).collect();
        let lines: Vec<String> = names
            .iter()
            .map(|name| format!("{{\"event_type\":\"e\",\"actor\":\"{name}\"}}"))
            .collect();
        let bytes: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
        let Ok(answers) = client.send(&bytes) else { return };
        let mut acknowledged = acknowledged.lock().expect("lock");
        for (name, answer) in names.into_iter().zip(answers) {
            if let Answer::Recorded(seq) = answer {
                acknowledged.insert(name, seq);
            }
        }
    }
}

fn every_acknowledged_event_is_there_once(dir: &Dir, acknowledged: &Mutex<HashMap<String, u64>>) {
    let mut stored: HashMap<String, u64> = HashMap::new();
    for line in all_lines(&dir.log()) {
        // A torn last line is no record yet.
        let Ok(value) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
        if value["event_type"] == "e" {
            let name = value["actor"].as_str().expect("actor").to_owned();
            let seq = value["seq"].as_u64().expect("seq");
            assert_eq!(stored.insert(name, seq), None, "stored twice: {line}");
        }
    }
    for (name, seq) in acknowledged.lock().expect("lock").iter() {
        assert_eq!(stored.get(name), Some(seq), "{name} was acknowledged");
    }
}

/// A log with ten events, ended without a close, and its length.
fn crashed(dir: &Dir) -> u64 {
    let log = open(options(dir));
    for _ in 0..10 {
        log.record(Event::new("e")).expect("accepted").wait().expect("durable");
    }
    log.close().expect("closed");
    std::fs::metadata(dir.log().join("audit.log")).expect("log").len()
}

/// A log as kill -9 leaves it: its files while it was open, copied.
pub(crate) fn killed(dir: &Dir, events: usize) {
    let image = Dir::new();
    let log = open(options(&image));
    for _ in 0..events {
        log.record(Event::new("e")).expect("accepted").wait().expect("durable");
    }
    std::fs::create_dir(dir.log()).expect("made");
    for entry in std::fs::read_dir(image.log()).expect("listed") {
        let entry = entry.expect("an entry");
        match std::fs::copy(entry.path(), dir.log().join(entry.file_name())) {
            // A temporary file has its own name by now.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            copied => drop(copied.expect("copied")),
        }
    }
    log.close().expect("closed");
}

fn append(dir: &Dir, bytes: &[u8]) {
    use std::io::Write;
    let path = dir.log().join("audit.log");
    let mut file = std::fs::OpenOptions::new().append(true).open(path).expect("open");
    file.write_all(bytes).expect("append");
}

#[test]
fn p2_a_torn_tail_is_cut_and_its_bytes_are_kept() {
    let whole =
        b"{\"seq\":12,\"timestamp\":\"2026-02-04T21:09:40.123456Z\",\"event_type\":\"e\"}\n";
    let mut holes = whole.to_vec();
    holes[20..40].fill(0);
    holes.extend_from_slice(whole);
    let zeros = vec![0; 5_000];
    for torn in [&whole[..30], &whole[..whole.len() - 1], b"\n", &zeros, &holes, b"\xff\xfe"] {
        let dir = Dir::new();
        killed(&dir, 10);
        let length = std::fs::metadata(dir.log().join("audit.log")).expect("log").len();
        append(&dir, torn);
        let log = open(options(&dir));
        log.close().expect("closed");
        assert_eq!(count(&dir.log(), "e"), 10);
        let stored = records(&dir.log());
        let recovered = stored.iter().find(|(_, r)| r["event_type"] == "audit.recovered");
        let details = &recovered.expect("recorded").1["details"];
        assert_eq!(details["torn_bytes"].as_u64(), Some(torn.len() as u64));
        let kept = dir.log().join(details["torn_file"].as_str().expect("named"));
        assert_eq!(std::fs::read(kept).expect("kept"), torn);
        let text = std::fs::read(dir.log().join("audit.log")).expect("log");
        assert!(text[length as usize..].starts_with(b"{\"seq\":12,"), "goes on where it was whole");
        root_agrees(&dir.log());
    }
}

pub(crate) fn line(seq: u64, event_type: &str) -> String {
    format!(
        "{{\"seq\":{seq},\"timestamp\":\"2026-02-04T21:09:40.123456Z\",\"event_type\":\"{event_type}\",\"origin\":{{\"via\":\"library\"}}}}\n"
    )
}

#[test]
fn p1_records_beyond_the_signed_head_of_a_killed_writer_are_adopted_and_named() {
    let dir = Dir::new();
    killed(&dir, 10);
    let end = records(&dir.log()).len() as u64;
    append(&dir, line(end, "e").as_bytes());
    open(options(&dir)).close().expect("closed");
    assert_eq!(count(&dir.log(), "e"), 11);
    let stored = records(&dir.log());
    let told = stored.iter().find(|(_, record)| record["event_type"] == "audit.recovered");
    let details = &told.expect("recorded").1["details"];
    assert_eq!(details["unsigned_first"].as_u64(), Some(end));
    assert_eq!(details["unsigned_end"].as_u64(), Some(end + 1));
    root_agrees(&dir.log());
    // What is told once is not told again.
    open(options(&dir)).close().expect("closed");
    assert_eq!(count(&dir.log(), "audit.recovered"), 1);
}

#[test]
fn p1_what_a_killed_writer_had_acknowledged_is_all_signed() {
    let dir = Dir::new();
    killed(&dir, 10);
    open(options(&dir)).close().expect("closed");
    assert_eq!(count(&dir.log(), "e"), 10);
    assert_eq!(count(&dir.log(), "audit.recovered"), 0, "the head covers what was acknowledged");
}

#[test]
fn p4_lines_behind_a_signed_close_are_set_aside_and_never_adopted() {
    let dir = Dir::new();
    let length = crashed(&dir);
    let forged = [line(13, "approve.payment"), line(14, "audit.pruned")].concat();
    append(&dir, forged.as_bytes());
    let log = open(options(&dir));
    let security = log.status().expect("page").security(SecurityKind::LogTampered);
    log.close().expect("closed");
    assert_eq!(security, 1);
    assert_eq!((count(&dir.log(), "approve.payment"), count(&dir.log(), "audit.pruned")), (0, 0));
    let stored = records(&dir.log());
    let told = stored.iter().find(|(_, record)| record["event_type"] == "audit.recovered");
    let details = &told.expect("recorded").1["details"];
    assert_eq!(details["foreign_bytes"].as_u64(), Some(forged.len() as u64));
    let kept = dir.log().join(details["foreign_file"].as_str().expect("named"));
    assert_eq!(std::fs::read(kept).expect("kept"), forged.as_bytes());
    let text = std::fs::read(dir.log().join("audit.log")).expect("log");
    assert!(text[length as usize..].starts_with(b"{\"seq\":13,"), "goes on where it was signed");
    root_agrees(&dir.log());
}

#[test]
fn p4_a_text_that_only_looks_like_a_close_closes_nothing() {
    let dir = Dir::new();
    let image = Dir::new();
    let log = open(options(&image));
    let event = Event::new("e").details_json(r#"{"event_type":"audit.closed"}"#).expect("details");
    log.record(event).expect("accepted").wait().expect("durable");
    std::fs::create_dir(dir.log()).expect("made");
    for entry in std::fs::read_dir(image.log()).expect("listed") {
        let entry = entry.expect("an entry");
        match std::fs::copy(entry.path(), dir.log().join(entry.file_name())) {
            // A temporary file has its own name by now.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            copied => drop(copied.expect("copied")),
        }
    }
    log.close().expect("closed");
    open(options(&dir)).close().expect("closed");
    let stored = records(&dir.log());
    let opened = stored.iter().filter(|(_, record)| record["event_type"] == "audit.opened");
    let clean: Vec<_> = opened.map(|(_, record)| record["details"]["clean"].as_bool()).collect();
    assert_eq!(clean, [Some(true), Some(false)]);
}

#[test]
fn p2_anything_wrong_before_the_checkpoint_is_corruption_and_changes_nothing() {
    type Damage = fn(Vec<u8>) -> Vec<u8>;
    let damages: [(&str, Damage); 6] = [
        ("a flipped byte in a value", |mut text| {
            let at = text.windows(3).rposition(|w| w == b"\"e\"").expect("an event");
            text[at + 1] = b'f';
            text
        }),
        ("a byte that breaks the JSON", |mut text| {
            let at = text.iter().position(|b| *b == b'\n').expect("a line") + 5;
            text[at] = 0;
            text
        }),
        ("a removed line", |text| {
            let end = text.iter().position(|b| *b == b'\n').expect("a line") + 1;
            text[end..].to_vec()
        }),
        ("a truncated tail", |text| text[..text.len() / 2].to_vec()),
        ("an emptied file", |_| Vec::new()),
        ("a doubled line", |text| {
            let end = text.iter().position(|b| *b == b'\n').expect("a line") + 1;
            [&text[..end], &text[..]].concat()
        }),
    ];
    for (what, damage) in damages {
        let dir = Dir::new();
        crashed(&dir);
        let path = dir.log().join("audit.log");
        let damaged = damage(std::fs::read(&path).expect("log"));
        std::fs::write(&path, &damaged).expect("damaged");
        let error = AuditLog::open(options(&dir)).expect_err(what);
        assert!(matches!(error, OpenError::Corrupt(_)), "{what}: {error}");
        assert!(error.to_string().contains("audit.log"), "{what}: {error}");
        assert_eq!(std::fs::read(&path).expect("log"), damaged, "{what}: nothing was changed");
        // Accepted, where nothing tells one record from another: a new epoch, what is not
        // proven set aside, and a record of it.
        std::fs::remove_file(dir.log().join("audit.leaves")).expect("removed");
        let log = open(Options { accept_corruption: true, ..options(&dir) });
        if what == "a doubled line" {
            // The lines themselves give the signed root: nothing of them is given up.
            assert!(!log.checkpoint().contains("/e1\n"), "{what}: {}", log.checkpoint());
            log.close().expect("closed");
            root_agrees(&dir.log());
            continue;
        }
        assert!(log.checkpoint().contains("/e1\n"), "{what}: {}", log.checkpoint());
        log.record(Event::new("after")).expect("accepted").wait().expect("durable");
        log.close().expect("closed");
        let stored = records(&dir.log());
        let recovered = stored.iter().find(|(_, r)| r["event_type"] == "audit.recovered");
        let details = &recovered.expect(what).1["details"];
        assert!(details["accepted_corruption"].is_string(), "{what}");
        assert!(details["abandoned_checkpoint"].is_string(), "{what}");
        root_agrees(&dir.log());
        open(options(&dir)).close().expect("opens as usual again");
    }
}

#[test]
fn p2_a_forged_or_missing_checkpoint_is_corruption() {
    let dir = Dir::new();
    crashed(&dir);
    let path = dir.log().join("audit.checkpoint");
    let text = std::fs::read_to_string(&path).expect("checkpoint");
    std::fs::write(&path, text.replace("\n13\n", "\n12\n").replace("\n14\n", "\n12\n"))
        .expect("forged");
    let head = dir.log().join("audit.head");
    let signed = std::fs::read(&head).expect("head");
    std::fs::remove_file(&head).expect("removed");
    assert!(matches!(AuditLog::open(options(&dir)), Err(OpenError::Corrupt(_))));
    std::fs::remove_file(&path).expect("removed");
    assert!(matches!(AuditLog::open(options(&dir)), Err(OpenError::Corrupt(_))));
    // The head stands in for it, and it is told.
    std::fs::write(&head, signed).expect("put back");
    open(options(&dir)).close().expect("closed");
    assert_eq!(std::fs::read_to_string(&path).expect("made anew").lines().nth(1), Some("16"));
    let stored = records(&dir.log());
    let told = stored.iter().find(|(_, record)| record["event_type"] == "audit.recovered");
    assert_eq!(told.expect("recorded").1["details"]["checkpoint_lost"], "it is missing");
}

#[test]
fn a_lost_manifest_is_rebuilt_from_the_segments() {
    let dir = Dir::new();
    let mut small = options(&dir);
    small.max_segment_size = 64 * 1024;
    let log = open(small.clone());
    for n in 0..2_000 {
        let _ = log.record(Event::new("e").actor(format!("{n}"))).expect("accepted");
    }
    log.close().expect("closed");
    let manifest = dir.log().join("audit.manifest.json");
    std::fs::remove_file(&manifest).expect("removed");
    let log = open(small);
    assert!(log.manifest().segments.len() >= 3);
    log.close().expect("closed");
    assert_eq!(count(&dir.log(), "e"), 2_000);
    root_agrees(&dir.log());
}

#[test]
fn a_lost_manifest_is_rebuilt_in_its_epoch() {
    let dir = Dir::new();
    crashed(&dir);
    let path = dir.log().join("audit.log");
    let text = std::fs::read(&path).expect("log");
    std::fs::write(&path, &text[..text.len() / 2]).expect("cut");
    std::fs::remove_file(dir.log().join("audit.leaves")).expect("removed");
    let log = open(Options { accept_corruption: true, ..options(&dir) });
    log.seal();
    log.record(Event::new("e")).expect("accepted").wait().expect("durable");
    log.close().expect("closed");
    std::fs::remove_file(dir.log().join("audit.manifest.json")).expect("removed");
    let log = open(options(&dir));
    assert_eq!(log.manifest().epoch, 1);
    assert!(log.checkpoint().contains("/e1\n"), "{}", log.checkpoint());
    log.close().expect("closed");
    root_agrees(&dir.log());
    open(options(&dir)).close().expect("closed");
}

#[test]
fn p3_what_an_interval_writer_lost_to_a_crash_is_a_gap_record() {
    let dir = Dir::new();
    std::fs::write(
        dir.path().join("auditctl.toml"),
        "durability = \"interval\"\nwrite_flush_interval = \"30s\"\nwrite_buffer_size = 500\n",
    )
    .expect("settings");
    let collector = Serving::start_alone(&dir);
    let mut client = Client::connect(&dir.log().join("audit.sock"), &Trust::owner_of(&dir.log()))
        .expect("connected");
    let lines = vec![&b"{\"event_type\":\"e\"}"[..]; 40];
    let answers = client.send(&lines).expect("answers");
    assert!(answers.iter().all(|answer| matches!(answer, Answer::Recorded(_))), "{answers:?}");
    collector.kill_nine();
    open(Options { durability: Durability::Interval, ..options(&dir) }).close().expect("closed");
    let stored = records(&dir.log());
    let there = stored.iter().filter(|(_, r)| r["event_type"] == "e").count() as u64;
    let gap = stored.iter().find(|(_, r)| r["event_type"] == "audit.gap");
    let lost = gap.map_or(0, |(_, r)| r["details"]["count"].as_u64().expect("count"));
    assert_eq!(there + lost, 40, "all are there or said to be lost");
    assert!(lost > 0, "a wait of 30 s was cut short");
    root_agrees(&dir.log());
}
