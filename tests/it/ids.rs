//! Ids: an event that comes again is recorded once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use auditctl::audit::{Event, Options, RecordError};
use auditctl::clock::{Clock, ManualClock, Timestamp};
use auditctl::fsio::fault::{Fault, How, Op};
use serde_json::{Value, json};

use crate::serving::{Serving, bearer, new_token};
use crate::support::{Dir, failing, json as run_json, ok, open, options, records, run};

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";
pub(crate) const UNLIMITED: &str = "[rate_limit]\nenabled = false\n";

fn event(id: &str) -> Event {
    Event::new("paid").actor("alice").id(id)
}

/// How often each id is in the log.
pub(crate) fn stored_ids(dir: &Dir) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for (_, record) in records(&dir.log()) {
        if let Some(id) = record["id"].as_str() {
            *found.entry(id.to_owned()).or_default() += 1;
        }
    }
    found
}

#[test]
fn the_same_event_again_is_its_first_record_and_another_with_its_id_is_refused() {
    let dir = Dir::new();
    let log = open(options(&dir));
    let first = log.record(event("a")).expect("accepted");
    assert!(!first.is_duplicate());
    let seq = first.wait().expect("durable");
    let again = log.record(event("a")).expect("accepted");
    assert_eq!((again.is_duplicate(), again.seq()), (true, seq));
    assert_eq!(again.wait().expect("durable"), seq);
    let other = log.record(event("a").target("7")).expect_err("a conflict");
    assert!(matches!(other, RecordError::Conflict { seq: first } if first == seq), "{other}");
    let another = log.record(event("b")).expect("accepted").wait().expect("durable");
    assert_eq!(another, seq + 1);
    log.close().expect("closed");
    assert_eq!(stored_ids(&dir), [("a".to_owned(), 1), ("b".to_owned(), 1)].into());
}

#[test]
fn an_event_without_an_id_is_recorded_each_time() {
    let dir = Dir::new();
    let log = open(options(&dir));
    let seqs: Vec<u64> = (0..3)
        .map(|_| log.record(Event::new("x")).expect("accepted").wait().expect("durable"))
        .collect();
    assert_eq!(seqs, [seqs[0], seqs[0] + 1, seqs[0] + 2]);
}

#[test]
fn the_id_stands_behind_the_origin_and_is_read_back_whole() {
    let dir = Dir::new();
    let log = open(options(&dir));
    let id = "a\"b\\c {},:\u{e4}";
    let at = "2026-01-01T00:00:00Z".parse().expect("a time");
    let seq = log.record(event(id).timestamp(at)).expect("accepted").wait().expect("durable");
    log.close().expect("closed");
    let line = crate::support::all_lines(&dir.log()).swap_remove(seq as usize);
    let tail = &line[line.find("\"origin\"").expect("an origin")..];
    let id = tail.find(r#"},"id":"a\"b\\c {},:ä","recorded_at":""#);
    assert!(id.is_some(), "{line}");
    assert_eq!(records(&dir.log())[seq as usize].1["id"], "a\"b\\c {},:\u{e4}");
}

#[test]
fn what_is_no_id_is_refused() {
    let dir = Dir::new();
    let log = open(options(&dir));
    let long = "x".repeat(129);
    for (id, part) in [
        ("", "`id` is empty"),
        (&*long, "`id` has 129 bytes, more than 128"),
        ("a\u{1}", "control character"),
        ("a\u{2028}", "control character"),
        ("\u{7f}", "control character"),
    ] {
        let error = log.record(event(id)).expect_err("refused");
        assert!(error.to_string().contains(part), "{id:?}: {error}");
    }
    log.record(event(&"x".repeat(128))).expect("accepted").wait().expect("durable");
}

#[test]
fn of_many_callers_with_one_id_one_is_recorded_and_all_are_told_its_seq() {
    let dir = Dir::new();
    let log = open(Options { rate_limit: None, ..options(&dir) });
    let rounds = 200;
    for round in 0..rounds {
        let barrier = Arc::new(Barrier::new(8));
        let told: Vec<(u64, bool)> = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..8)
                .map(|_| {
                    let (log, barrier) = (log.clone(), Arc::clone(&barrier));
                    scope.spawn(move || {
                        barrier.wait();
                        let receipt = log.record(event(&format!("{round}"))).expect("accepted");
                        let is_duplicate = receipt.is_duplicate();
                        (receipt.wait().expect("durable"), is_duplicate)
                    })
                })
                .collect();
            callers.into_iter().map(|caller| caller.join().expect("no panic")).collect()
        });
        assert_eq!(told.iter().filter(|(_, again)| !again).count(), 1, "{told:?}");
        assert!(told.iter().all(|(seq, _)| *seq == told[0].0), "{told:?}");
    }
    log.close().expect("closed");
    let stored = stored_ids(&dir);
    assert_eq!((stored.len(), stored.values().max()), (rounds, Some(&1)));
}

/// A duplicate is acknowledged by what makes its first durable, and by nothing else.
#[test]
fn a_duplicate_waits_for_the_first_and_is_not_acknowledged_when_that_cannot_be_written() {
    let dir = Dir::new();
    let (options, fault) = failing(&dir);
    let log = open(options);
    let (op, name_contains) = (Op::Write, "audit.log".to_owned());
    fault.plan(Fault { op, name_contains, after: 0, times: u64::MAX, how: How::Errno(5) });
    let first = log.record(event("a")).expect("accepted");
    let again = log.record(event("a")).expect("accepted");
    assert_eq!((again.is_duplicate(), again.seq()), (true, first.seq()));
    let error = again.wait().expect_err("the first is not durable");
    assert!(matches!(error, RecordError::Unavailable { seq, .. } if seq == first.seq()), "{error}");
    assert!(first.wait().is_err());
    fault.heal();
    let seq = log.record(event("a")).expect("accepted").wait_durable();
    assert!(seq.is_ok() || matches!(seq, Err(RecordError::Unavailable { .. })));
    crate::support::eventually("the disk is back", || {
        log.record(event("a")).is_ok_and(|receipt| receipt.wait().is_ok())
    });
    log.close().expect("closed");
    assert_eq!(stored_ids(&dir), [("a".to_owned(), 1)].into());
}

const HOUR: Duration = Duration::from_secs(3_600);

fn is_known(log: &auditctl::audit::AuditLog, id: &str) -> bool {
    log.record(event(id)).expect("accepted").is_duplicate()
}

#[test]
fn an_id_is_remembered_for_the_window_of_time_that_passed_however_the_clock_is_set() {
    for set in [0, -200 * 3_600, 200 * 3_600] {
        for reopens in [false, true] {
            let dir = Dir::new();
            let start: Timestamp = "2026-03-01T00:00:00Z".parse().expect("a time");
            let clock = Arc::new(ManualClock::new(start));
            let with = || Options { clock: clock.clone(), ..options(&dir) };
            let mut log = open(with());
            assert!(!is_known(&log, "a"));
            clock.advance(HOUR);
            clock.set_wall(Timestamp::from_micros(clock.now().micros() + set * 1_000_000));
            log.record(Event::new("tick")).expect("accepted").wait().expect("durable");
            if reopens {
                log.close().expect("closed");
                log = open(with());
            }
            clock.advance(22 * HOUR);
            assert!(is_known(&log, "a"), "after 23 hours; set by {set} s, reopened: {reopens}");
            assert!(!is_known(&log, "b"));
            if reopens {
                log.close().expect("closed");
                log = open(with());
            }
            clock.advance(HOUR);
            // Set back, and told by the log alone: it may be longer, and is never shorter.
            let may_last = reopens && set < 0;
            let known = is_known(&log, "a");
            assert!(may_last || !known, "after 24 hours; set by {set} s, reopened: {reopens}");
            assert!(is_known(&log, "b"));
            log.close().expect("closed");
        }
    }
}

#[test]
fn of_more_ids_than_are_remembered_the_oldest_are_forgotten_and_the_status_says_so() {
    let dir = Dir::new();
    let log = open(Options { dedupe_ids: 10, rate_limit: None, ..options(&dir) });
    for n in 0..12 {
        assert!(!is_known(&log, &format!("{n}")));
    }
    use auditctl::audit::state::status::Word;
    let status = log.status().expect("a status");
    assert_eq!((status.get(Word::Ids), status.get(Word::IdsCapacity)), (10, 10));
    assert_eq!(status.get(Word::IdsCrowdedOut), 2);
    assert!(is_known(&log, "2"));
    assert!(!is_known(&log, "0"));
    let status = log.status().expect("a status");
    assert_eq!((status.get(Word::Duplicates), status.get(Word::IdConflicts)), (1, 0));
    log.close().expect("closed");
    for (count, window) in [(0, 24 * HOUR), (10, Duration::ZERO)] {
        let log = open(Options { dedupe_ids: count, dedupe_window: window, ..options(&dir) });
        assert!(!is_known(&log, "11") && !is_known(&log, "11"), "nothing is remembered");
        log.close().expect("closed");
    }
}

/// A batch that is larger than its sender may send at once, with what it has to be told.
fn lines_with_ids(count: u64) -> Vec<String> {
    (0..count).map(|n| format!("{{\"event_type\":\"paid\",\"id\":\"{n}\"}}")).collect()
}

#[test]
fn a_batch_that_is_larger_than_its_rate_allows_comes_in_when_it_is_sent_whole_again_and_again() {
    use auditctl::audit::{HandIn, Origin, ParseMode, RateLimit, Via};
    let dir = Dir::new();
    let clock = Arc::new(ManualClock::new("2026-03-01T00:00:00Z".parse().expect("a time")));
    let limit = RateLimit { per_second: 1.0, burst: 10, ..RateLimit::default() };
    let log = open(Options { rate_limit: Some(limit), clock: clock.clone(), ..options(&dir) });
    let session = log.session(&Origin::here(Via::Socket), false);
    let lines = lines_with_ids(25);
    let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
    for expected in [10, 20, 25, 25] {
        let outcomes = session.record_all(&lines, ParseMode::Strict, HandIn::new());
        let taken = outcomes.iter().take_while(|outcome| outcome.is_ok()).count();
        assert_eq!(taken, expected);
        let refused = |outcome: &Result<_, RecordError>| {
            matches!(outcome, Err(RecordError::RateLimited { .. }))
        };
        assert!(outcomes[taken..].iter().all(refused), "{outcomes:?}");
        clock.advance(Duration::from_secs(10));
    }
    // What its sender says under the id of something else costs as any other.
    let other = br#"{"event_type":"other","id":"0"}"#;
    let outcomes = session.record_all(&[&other[..]; 11], ParseMode::Strict, HandIn::new());
    assert!(matches!(outcomes[9], Err(RecordError::Conflict { .. })));
    assert!(matches!(outcomes[10], Err(RecordError::RateLimited { .. })));
    log.close().expect("closed");
    assert_eq!(stored_ids(&dir).len(), 25);
}

/// A token's rate is another limit than that of sources.
#[test]
fn a_body_that_is_larger_than_its_tokens_rate_allows_comes_in_when_it_is_sent_whole_again() {
    let dir = Dir::new();
    let token = new_token(&dir, "app", &["--rate", "20"]);
    let collector = Serving::start(&dir, "[collector]\ntoken_file = \"tokens\"\n");
    let body = lines_with_ids(100).join("\n");
    let mut recorded = 0;
    // More than it may send at once: several tries are needed.
    for _ in 0..20 {
        let (status, _, told) = collector.post(LINES, &bearer(&token), &body);
        let now = told["recorded"].as_u64().expect("a number");
        assert!(now > recorded || now == 100, "each try brings it on: {told}");
        recorded = now;
        if status == 200 {
            break;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(recorded, 100);
    collector.terminate();
    assert_eq!(stored_ids(&dir).len(), 100);
}

#[test]
fn a_sender_that_sends_many_ids_pushes_out_its_own_also_after_a_restart() {
    use auditctl::audit::{HandIn, Origin, ParseMode, Via};
    let dir = Dir::new();
    let with = || Options { dedupe_ids: 50, rate_limit: None, ..options(&dir) };
    let of = |uid: u32| Origin { uid: Some(uid), ..Origin::here(Via::Socket) };
    let mut log = open(with());
    let send = |log: &auditctl::audit::AuditLog, uid, count| {
        let session = log.session(&of(uid), true);
        let lines = lines_with_ids(count);
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        let outcomes = session.record_all(&lines, ParseMode::Strict, HandIn::new());
        let recorded = outcomes.into_iter().map(|outcome| outcome.expect("recorded"));
        recorded.filter(|recorded| recorded.is_duplicate).count()
    };
    assert_eq!(send(&log, 4_001, 10), 0);
    assert_eq!(send(&log, 4_002, 150), 0);
    assert_eq!(send(&log, 4_001, 10), 10, "all are known yet");
    log.close().expect("closed");
    log = open(with());
    assert_eq!(send(&log, 4_001, 10), 10, "and again");
    log.close().expect("closed");
}

#[test]
fn over_the_socket_each_line_has_its_answer_also_where_one_comes_twice_at_once() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, UNLIMITED);
    let mut peer = collector.connect();
    let line = |id: &str, actor: &str| {
        format!("{}\n", json!({ "event_type": "paid", "actor": actor, "id": id }))
    };
    peer.send(&[line("a", "x"), line("b", "x"), line("a", "x"), line("a", "y")].concat());
    let told: Vec<Value> = (0..4).map(|_| peer.answer().expect("an answer")).collect();
    let seq = told[0]["ok"]["seq"].as_u64().expect("a seq");
    assert_eq!(told[0], json!({ "ok": { "seq": seq } }));
    assert_eq!(told[1], json!({ "ok": { "seq": seq + 1 } }));
    assert_eq!(told[2], json!({ "ok": { "seq": seq, "duplicate": true } }));
    assert_eq!(
        (&told[3]["error"]["kind"], &told[3]["error"]["seq"]),
        (&json!("conflict"), &json!(seq))
    );
    // Another connection of the same user is the same sender; HTTP of this user, too.
    let again = collector.connect().ask(line("b", "x").trim());
    assert_eq!(again, json!({ "ok": { "seq": seq + 1, "duplicate": true } }));
    let (status, _, body) = collector.post(JSON, "", &line("a", "x"));
    assert_eq!((status, body), (200, json!({ "seq": seq, "duplicate": true })));
    let (status, _, body) = collector.post(JSON, "", &line("a", "z"));
    assert_eq!((status, &body["error"]["kind"]), (409, &json!("conflict")));
    let status = peer.ask(r#"{"status":{}}"#);
    let status = &status["ok"]["status"];
    assert_eq!(
        (&status["duplicates"], &status["id_conflicts"], &status["ids"]),
        (&json!(3), &json!(2), &json!(2))
    );
    collector.terminate();
    assert_eq!(stored_ids(&dir), [("a".to_owned(), 1), ("b".to_owned(), 1)].into());
}

#[test]
fn of_a_body_that_is_sent_again_each_line_has_its_first_seq() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, UNLIMITED);
    let body: String =
        (0..3_000).map(|n| format!("{{\"event_type\":\"e\",\"id\":\"{n}\"}}\n")).collect();
    let (status, _, first) = collector.post(LINES, "", &body);
    assert_eq!(status, 200, "{first}");
    assert_eq!((&first["recorded"], &first["duplicates"]), (&json!(3_000), &json!(0)));
    let more = body.clone() + "{\"event_type\":\"e\",\"id\":\"new\"}\n";
    let (status, _, again) = collector.post(LINES, "", &more);
    assert_eq!(status, 200, "{again}");
    assert_eq!((&again["recorded"], &again["duplicates"]), (&json!(3_001), &json!(3_000)));
    assert_eq!(again["rejected"], 0);
    let runs = again["runs"].as_array().expect("runs");
    assert_eq!((&runs[0]["seq"], &runs[0]["duplicate"]), (&first["runs"][0]["seq"], &json!(true)));
    // Twice in one body: the second is the first.
    let twice = "{\"event_type\":\"e\",\"id\":\"t\"}\n{\"event_type\":\"e\",\"id\":\"t\"}\n{\"event_type\":\"f\",\"id\":\"t\"}\n";
    let (status, _, told) = collector.post(LINES, "", twice);
    assert_eq!((status, &told["duplicates"], &told["rejected"]), (207, &json!(1), &json!(1)));
    assert_eq!(told["results"][0]["seq"], told["results"][1]["seq"]);
    assert_eq!(told["results"][2]["error"]["kind"], "conflict");
    collector.terminate();
    let stored = stored_ids(&dir);
    assert_eq!((stored.len(), stored.values().max()), (3_002, Some(&1)));
}

#[test]
fn a_header_names_a_single_event() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let post = |kind: &str, header: &str, body: &str| collector.post(kind, header, body);
    let plain = r#"{"event_type":"paid"}"#;
    let key = "idempotency-key: order-7\r\n";
    let (status, _, first) = post(JSON, key, plain);
    assert_eq!(status, 201, "{first}");
    let again = json!({ "seq": first["seq"], "duplicate": true });
    for (header, body) in [
        (key, plain),
        ("Idempotency-Key: \"order-7\"\r\n", plain),
        (key, r#"{"event_type":"paid","id":"order-7"}"#),
        ("", r#"{"id":"order-7","event_type":"paid"}"#),
    ] {
        let (status, _, body) = post(JSON, header, body);
        assert_eq!((status, &body), (200, &again), "{header}");
    }
    let (status, _, body) = post(JSON, key, r#"{"event_type":"paid","id":"order-8"}"#);
    assert_eq!((status, &body["error"]["kind"]), (422, &json!("invalid")), "{body}");
    for (kind, header) in [(LINES, key), (JSON, "idempotency-key: a\r\nidempotency-key: a\r\n")] {
        let (status, _, body) = post(kind, header, plain);
        assert_eq!((status, &body["error"]["kind"]), (400, &json!("malformed")), "{body}");
    }
    let (status, _, body) = post(JSON, "idempotency-key: \"\"\r\n", plain);
    assert_eq!((status, &body["error"]["kind"]), (422, &json!("invalid")), "{body}");
    collector.terminate();
    assert_eq!(stored_ids(&dir), [("order-7".to_owned(), 1)].into());
}

#[test]
fn the_ids_of_one_sender_are_none_of_anothers() {
    let dir = Dir::new();
    let (first, second) = (new_token(&dir, "first", &[]), new_token(&dir, "second", &[]));
    let settings = "[collector]\ntoken_file = \"tokens\"\n";
    let collector = Serving::start(&dir, settings);
    let mut seqs = HashMap::new();
    let body = r#"{"event_type":"paid","id":"a"}"#;
    for (name, token) in [("first", &first), ("second", &second)] {
        let (status, _, told) = collector.post(JSON, &bearer(token), body);
        assert_eq!(status, 201, "{told}");
        seqs.insert(name, told["seq"].as_u64().expect("a seq"));
    }
    let local = collector.connect().ask(body);
    assert!(local["ok"]["duplicate"].is_null() && local["ok"]["seq"].is_u64(), "{local}");
    // Whoever knows another's id learns nothing by it, and takes nothing from it.
    let other = r#"{"event_type":"other","id":"b"}"#;
    assert_eq!(collector.post(JSON, &bearer(&second), other).0, 201);
    assert_eq!(collector.post(JSON, &bearer(&first), r#"{"event_type":"mine","id":"b"}"#).0, 201);
    let (status, _, told) = collector.post(JSON, &bearer(&first), body);
    assert_eq!((status, told["seq"].as_u64()), (200, seqs.get("first").copied()));
    collector.terminate();
    assert_eq!(stored_ids(&dir), [("a".to_owned(), 3), ("b".to_owned(), 2)].into());
}

#[test]
fn record_takes_an_id_and_says_what_became_of_it() {
    let dir = Dir::new();
    let one = ["record", "--type", "paid", "--id", "order-7"];
    let seq: u64 = ok(&dir, &one).trim().parse().expect("a seq");
    let (code, told) = run_json(&dir, &[&one[..], &["--json"]].concat());
    assert_eq!((code, told), (0, json!({ "seq": seq, "duplicate": true })));
    let (code, _, stderr) = run(&dir, &[&one[..], &["--actor", "alice"]].concat());
    assert_eq!(code, 4, "{stderr}");
    assert!(stderr.contains("has the same id and other content"), "{stderr}");
    let (code, _, stderr) = run(&dir, &["record", "--type", "paid", "--id", ""]);
    assert_eq!(code, 2, "{stderr}");
    // A file of events with ids can be sent again as often as one likes.
    let lines: String =
        (0..5).map(|n| format!("{{\"event_type\":\"paid\",\"id\":\"f{n}\"}}\n")).collect();
    let file = dir.path().join("events.ndjson");
    std::fs::write(&file, &lines).expect("written");
    let file = file.to_str().expect("a path");
    let (_, told) = run_json(&dir, &["record", "--file", file, "--json"]);
    assert_eq!((&told["recorded"], &told["duplicates"]), (&json!(5), &json!(0)), "{told}");
    std::fs::write(file, lines + "{\"event_type\":\"paid\",\"id\":\"f5\"}\n").expect("written");
    let (code, told) = run_json(&dir, &["record", "--file", file, "--json"]);
    assert_eq!((code, &told["recorded"], &told["duplicates"]), (0, &json!(1), &json!(5)), "{told}");
    let text = ok(&dir, &["record", "--file", file]);
    assert!(text.contains("0 events recorded; 6 events recorded before, by their ids"), "{text}");
    // The collector's user is the same sender as whoever opens the log directly.
    let collector = Serving::start(&dir, "");
    let (code, told) = run_json(&dir, &[&one[..], &["--json"]].concat());
    assert_eq!((code, told), (0, json!({ "seq": seq, "duplicate": true })));
    collector.terminate();
    assert_eq!(stored_ids(&dir).values().max(), Some(&1));
}
