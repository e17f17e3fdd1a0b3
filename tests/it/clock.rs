//! A wall clock that is set: it is followed and recorded, the order stays that of
//! the seqs, and questions about times stay exact.

use std::sync::Arc;
use std::time::Duration;

use auditctl::audit::read::query::{Found, Request};
use auditctl::audit::state::status::{StatusSnapshot, Word};
use auditctl::audit::{AuditLog, Event, Options};
use auditctl::clock::{Clock, ManualClock, Timestamp};
use auditctl::collector::Trust;
use auditctl::collector::client::{Answer, Client};
use proptest::prelude::*;
use serde_json::Value;

use crate::serving::Serving;
use crate::support::{Dir, eventually, missing, open, options, records, root_agrees, types};

const BEGIN: i64 = 1_770_000_000_000_000;

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_micros(BEGIN)))
}

fn with(clock: &Arc<ManualClock>, dir: &Dir) -> Options {
    let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    Options { clock, ..options(dir) }
}

fn record(log: &AuditLog) -> u64 {
    log.record(Event::new("e")).expect("accepted").wait().expect("durable")
}

fn move_wall(clock: &ManualClock, seconds: i64) {
    clock.set_wall(Timestamp::from_micros(clock.now().micros() + seconds * 1_000_000));
}

fn time_of(log_dir: &std::path::Path, seq: u64) -> String {
    let found = records(log_dir).into_iter().find(|(at, _)| *at == seq).expect("there");
    found.1["timestamp"].as_str().expect("time").to_owned()
}

fn changes(log_dir: &std::path::Path) -> Vec<(u64, Value)> {
    let all = records(log_dir).into_iter();
    all.filter(|(_, record)| record["event_type"] == "audit.clock_changed").collect()
}

#[test]
fn a_clock_that_is_set_is_followed_and_recorded_before_the_next_event() {
    let dir = Dir::new();
    let clock = clock();
    let log = open(with(&clock, &dir));
    record(&log);
    let mut expected = Vec::new();
    for by in [400 * 86_400, -400 * 86_400, -3_600, 7_200] {
        move_wall(&clock, by);
        let seq = record(&log);
        assert_eq!(time_of(&dir.log(), seq), clock.now().to_string(), "what the clock shows");
        expected.push((seq - 1, by));
        // Time that passes, and a little more or less of it, is no change.
        clock.advance(Duration::from_secs(5_000));
        clock.set_wall(Timestamp::from_micros(clock.now().micros() - 900_000));
        let seq = record(&log);
        assert_eq!(time_of(&dir.log(), seq), clock.now().to_string());
    }
    log.close().expect("closed");
    let told: Vec<(u64, i64)> = changes(&dir.log())
        .iter()
        .map(|(seq, record)| (*seq, record["details"]["by_seconds"].as_i64().expect("number")))
        .collect();
    assert_eq!(told, expected);
    let (_, last) = changes(&dir.log()).pop().expect("one");
    let parse = |key: &str| -> Timestamp {
        last["details"][key].as_str().expect("time").parse().expect("time")
    };
    assert_eq!(parse("to").micros() - parse("from").micros(), 7_200_000_000);
    root_agrees(&dir.log());
}

#[test]
fn a_batch_keeps_its_seqs_together_behind_the_record_of_the_change() {
    let dir = Dir::new();
    let clock = clock();
    let log = open(with(&clock, &dir));
    let session = log.session(&auditctl::audit::Origin::here(auditctl::audit::Via::Socket), true);
    move_wall(&clock, -86_400);
    let mut batch = auditctl::audit::Batch::new();
    for _ in 0..3 {
        let line = br#"{"event_type":"e"}"#;
        session.prepare(line, auditctl::audit::ParseMode::Strict, &mut batch).expect("prepared");
    }
    let submitted = log.try_submit(&mut batch).expect("accepted");
    log.close().expect("closed");
    let types = types(&dir.log());
    let first = submitted.first_seq as usize;
    assert_eq!(submitted.count, 3);
    assert_eq!(types[first - 1..first + 3], ["audit.clock_changed", "e", "e", "e"]);
}

#[test]
fn a_clock_set_back_while_the_log_was_closed_is_seen_at_the_next_opening() {
    let dir = Dir::new();
    let before = clock();
    let log = open(with(&before, &dir));
    record(&log);
    log.close().expect("closed");
    // Without the page only the last record says when it was.
    std::fs::remove_file(dir.log().join("audit.status")).expect("removed");
    let later = Arc::new(ManualClock::new(Timestamp::from_micros(BEGIN - 60_000_000)));
    open(with(&later, &dir)).close().expect("closed");
    let told = changes(&dir.log());
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].1["details"]["by_seconds"], -60);
    let order = types(&dir.log());
    assert_eq!(order[told[0].0 as usize + 1], "audit.opened");
    root_agrees(&dir.log());
}

#[test]
fn a_clock_set_back_since_the_last_sign_of_life_is_seen_though_no_record_is_as_late() {
    let dir = Dir::new();
    let clock = clock();
    let log = open(with(&clock, &dir));
    record(&log);
    let newest = clock.now();
    clock.advance(Duration::from_secs(3_600));
    let alive = clock.now().micros() as u64;
    let page = dir.log().join("audit.status");
    eventually("a sign of life", || {
        StatusSnapshot::read(&page).is_ok_and(|page| page.get(Word::HeartbeatAt) == alive)
    });
    // As kill -9 leaves it.
    let image = Dir::new();
    std::fs::create_dir(image.log()).expect("made");
    for entry in std::fs::read_dir(dir.log()).expect("listed") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), image.log().join(entry.file_name())).expect("copied");
    }
    log.close().expect("closed");
    // Half an hour before the last sign of life, half an hour after the last record.
    clock.advance(Duration::from_secs(10));
    move_wall(&clock, -1_810);
    assert!(clock.now() > newest);
    open(with(&clock, &image)).close().expect("closed");
    let told = changes(&image.log());
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].1["details"]["by_seconds"], -1_810);
}

/// What is asked, and what a plain walk over all records says.
fn asked(log: &AuditLog, request: &Request) -> (u64, Vec<u64>) {
    let now = Timestamp::from_micros(BEGIN);
    let count = Request { count: true, ..request.clone() }.resolve(now).expect("a query");
    let Found::Count(count) = log.query(&count).expect("answered").found else {
        panic!("a count was asked for")
    };
    let listed =
        Request { limit: Some(100_000), order: Some("oldest".to_owned()), ..request.clone() };
    let answer = log.query(&listed.resolve(now).expect("a query")).expect("answered");
    let Found::Records(lines) = answer.found else { panic!("records were asked for") };
    let seqs = lines.iter().map(|line| {
        let record: Value = serde_json::from_slice(line).expect("record");
        record["seq"].as_u64().expect("seq")
    });
    (count, seqs.collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Segments of a few records, so that whole blocks and segments are skipped by
    /// their times.
    #[test]
    fn times_asked_for_are_exact_when_the_clock_goes_back_and_forth(
        moves in proptest::collection::vec((-5_000_i64..5_000, 1_usize..6), 4..14),
        questions in proptest::collection::vec((-9_000_i64..9_000, 0_i64..6_000), 6),
    ) {
        let dir = Dir::new();
        let clock = clock();
        let log = open(Options { max_segment_size: 2_000, ..with(&clock, &dir) });
        let mut half = Vec::new();
        // Each event with what the clock showed.
        let mut all = Vec::new();
        for (nth, (by, events)) in moves.iter().enumerate() {
            move_wall(&clock, *by);
            for _ in 0..*events {
                let receipt = log.record(Event::new("e")).expect("accepted");
                all.push((receipt.seq(), clock.now().to_string()));
                clock.advance(Duration::from_millis(700));
                // Some batches hold one record, some several.
                if nth % 2 == 0 {
                    receipt.wait().expect("durable");
                }
            }
            all.push((record(&log), clock.now().to_string()));
            if nth == moves.len() / 2 {
                // From here on the same questions are completed from the cache.
                half = questions.iter().map(|question| asked(&log, &request(*question))).collect();
            }
        }
        prop_assert_eq!(half.len(), questions.len());
        for question in &questions {
            let request = request(*question);
            let (count, seqs) = asked(&log, &request);
            let (since, until) = (request.since.expect("set"), request.until.expect("set"));
            let within = all.iter().filter(|(_, at)| *at >= since && *at < until);
            let plain: Vec<u64> = within.map(|(seq, _)| *seq).collect();
            prop_assert_eq!(&seqs, &plain, "{} to {}", since, until);
            prop_assert_eq!(count, plain.len() as u64);
        }
        log.close().expect("closed");
        root_agrees(&dir.log());
    }
}

fn request((from, length): (i64, i64)) -> Request {
    let at = |seconds: i64| Timestamp::from_micros(BEGIN + seconds * 1_000_000).to_string();
    let event_type = vec!["e".to_owned()];
    let (since, until) = (Some(at(from)), Some(at(from + length)));
    Request { event_type, since, until, ..Request::default() }
}

/// The library that shifts a program's wall clock, where Debian's package has it.
pub(crate) fn libfaketime() -> Option<&'static str> {
    let known = [
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    ];
    known.into_iter().find(|path| std::path::Path::new(path).exists())
}

#[test]
fn a_real_collector_follows_a_clock_that_jumps_ahead_and_back_and_records_both() {
    let Some(library) = libfaketime() else { return missing("faketime") };
    let dir = Dir::new();
    let shift = dir.path().join("shift");
    std::fs::write(&shift, "+0\n").expect("written");
    let env = [
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", shift.to_str().expect("utf-8")),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let settings = "write_flush_interval = \"50ms\"\n";
    let collector = Serving::start_with(&dir, settings, &["--http", "off"], &env);
    let socket = dir.log().join("audit.sock");
    let send = |actor: &str| {
        let line = format!("{{\"event_type\":\"e\",\"actor\":\"{actor}\"}}");
        let answers = Client::connect(&socket, &Trust::owner_of(&dir.log()))
            .expect("connected")
            .send(&[line.as_bytes()]);
        match answers.as_deref() {
            Ok([Answer::Recorded(seq)]) => *seq,
            other => panic!("{other:?}"),
        }
    };
    let before = send("before");
    std::fs::write(&shift, "+400d\n").expect("written");
    let ahead = send("ahead");
    std::fs::write(&shift, "+0\n").expect("written");
    let back = send("back");
    collector.terminate();
    let at = |seq| time_of(&dir.log(), seq).parse::<Timestamp>().expect("a time").unix_seconds();
    let days = |seconds: i64| (seconds as f64 / 86_400.0).round() as i64;
    assert_eq!(days(at(ahead) - at(before)), 400);
    assert_eq!(days(at(back) - at(before)), 0);
    let by: Vec<i64> = changes(&dir.log())
        .iter()
        .map(|(_, record)| days(record["details"]["by_seconds"].as_f64().expect("seconds") as i64))
        .collect();
    assert_eq!(by, [400, -400]);
    root_agrees(&dir.log());
}
