//! `verify`, `prove` and `checkpoint`: beside a writer, from the command line, and
//! for somebody who has nothing but a document.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use auditctl::audit::read::verify::{
    Anchor, Completeness, Depth, ProofDocument, Report, Request, State, prove, verify,
};
use auditctl::audit::read::watch::Unwatched;
use auditctl::audit::{Event, Options};
use auditctl::clock::Timestamp;
use serde_json::Value;

use crate::backups::Home;
use crate::support::{Dir, all_lines, eventually, open, run};

fn checked(home: &Home, request: &Request) -> (Report, Option<State>) {
    verify(&home.fs, &home.log_dir(), request, &Unwatched).expect("a report")
}

#[test]
fn p5_a_thousand_verifications_beside_a_writer_that_rotates_raise_no_alarm() {
    let home = Home::new();
    let log = open(Options {
        max_segment_size: 8 << 10,
        checkpoint_interval: Duration::from_millis(20),
        ..home.options()
    });
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !done.load(Ordering::Relaxed) {
                let event = Event::new("login").actor(format!("user{n}")).source("web");
                let _seq = log.record(event).expect("queued").wait().expect("durable");
                n += 1;
                // The log has to stay small for a thousand of them.
                std::thread::sleep(Duration::from_millis(8));
            }
        });
        let mut since = None;
        // A thousand, and more where that is over before anything was sealed.
        for round in 0.. {
            if round >= 1_000 && log.manifest().segments.len() > 2 {
                break;
            }
            let mut request = Request { quick: round % 3 == 1, ..Request::default() };
            if round % 3 == 2 {
                request.since = since.take();
            }
            let (report, state) = checked(&home, &request);
            if !report.passed() {
                done.store(true, Ordering::Relaxed);
                panic!("round {round}: {:?}", report.findings);
            }
            since = state.or(since);
            if !report.writer_runs {
                done.store(true, Ordering::Relaxed);
                panic!("round {round}: it saw no writer");
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    log.close().expect("closed");
    let (report, _) = checked(&home, &Request::default());
    assert!(report.passed(), "{:?}", report.findings);
}

#[test]
fn a_log_whose_beginning_retention_removed_is_verified_and_extends_what_was_signed_before() {
    let home = Home::new();
    home.record(300);
    let early = std::fs::read(home.log_dir().join("audit.checkpoint")).expect("a checkpoint");
    let log = open(Options {
        retention: Some(Duration::from_millis(1)),
        retention_rule: auditctl::audit::RetentionRule::RemovesWithoutBackup,
        ..home.options()
    });
    for n in 0..40 {
        let _seq = log.record(Event::new("x").actor(format!("{n}"))).expect("q").wait();
    }
    eventually("old segments are removed", || log.manifest().pruned.end() > 0);
    log.close().expect("closed");
    let late = std::fs::read(home.log_dir().join("audit.checkpoint")).expect("a checkpoint");
    home.record(5);
    let anchors = vec![Anchor::parse("late", &late).expect("a checkpoint")];
    let (report, _) = checked(&home, &Request { anchors, ..Request::default() });
    assert_eq!(report.completeness, Completeness::Anchored, "{:?}", report.findings);
    let removed = report.ranges.removed.end_seq;
    assert!(removed > 0);
    assert_eq!(report.ranges.anchored.first_seq, removed);

    // Every record that is still here can be proven; one that is not says so.
    for line in all_lines(&home.log_dir()) {
        let seq = serde_json::from_str::<Value>(&line).expect("json")["seq"].as_u64().expect("seq");
        let document = prove(&home.fs, &home.log_dir(), seq).expect("a proof");
        assert_eq!(document.record, line);
    }
    let gone = prove(&home.fs, &home.log_dir(), 0).expect_err("removed");
    assert!(gone.to_string().contains("removed by retention"), "{gone}");

    // What was signed before the removed records ended is compared where it can be.
    let anchor = Anchor::parse("early", &early).expect("a checkpoint");
    let (size, anchors) = (anchor.size, vec![anchor]);
    let (report, _) = checked(&home, &Request { anchors, ..Request::default() });
    assert_eq!(report.passed(), size >= removed, "{size} {removed}: {:?}", report.findings);
}

#[test]
fn every_record_is_proven_to_somebody_without_the_log_and_no_changed_proof_is_believed() {
    let home = Home::new();
    home.record(230);
    let lines = all_lines(&home.log_dir());
    for (seq, line) in lines.iter().enumerate() {
        let document = prove(&home.fs, &home.log_dir(), seq as u64).expect("a proof");
        let read = ProofDocument::parse(document.encode().as_bytes()).expect("a document");
        assert_eq!(&read.record, line);
        let proven = read.check(None).expect("proven");
        assert_eq!(proven.checkpoint.size, lines.len() as u64);
    }
    let text = prove(&home.fs, &home.log_dir(), 17).expect("a proof").encode();
    let key = auditctl::audit::keys::checkpoint::VerifierKey::load(
        &*home.fs,
        &home.log_dir().join("audit.pub"),
    )
    .expect("the key");
    let believed = |text: &[u8]| {
        ProofDocument::parse(text).and_then(|document| document.check(Some(&key))).is_ok()
    };
    assert!(believed(text.as_bytes()));
    for at in 0..text.len() {
        for bit in [0, 2, 4] {
            let mut bad = text.clone().into_bytes();
            bad[at] ^= 1 << bit;
            let whitespace = bad[at].is_ascii_whitespace();
            assert!(!believed(&bad) || whitespace, "byte {at} bit {bit} of the proof");
        }
    }
}

#[test]
fn since_last_reads_what_is_new_and_all_of_it_when_the_state_does_not_fit() {
    let home = Home::new();
    home.record(300);
    let (first, state) = checked(&home, &Request::default());
    let state = state.expect("nothing was wrong");
    assert_eq!(State::parse(&state.encode()), Ok(state.clone()));
    home.record(120);
    let (again, next) =
        checked(&home, &Request { since: Some(state.clone()), ..Request::default() });
    assert!(again.passed(), "{:?}", again.findings);
    assert_eq!(again.depth, Depth::SinceLast);
    assert!(again.counts.blocks_skipped > 0);
    assert!(again.counts.records < first.counts.records + 120, "{:?}", again.counts);
    let next = next.expect("a state");
    assert!(next.read.last().expect("sealed").end_seq > state.read.last().expect("s").end_seq);

    for misfit in [
        State { log_id: "other".to_owned(), ..state.clone() },
        State { tree_size: 1_000_000, ..state.clone() },
        State { root_hash: auditctl::audit::tree::merkle::empty_root(), ..state.clone() },
        State { key: "another".to_owned(), ..state.clone() },
        State { verified_at: Timestamp::from_micros(1), ..state },
    ] {
        let (report, _) = checked(&home, &Request { since: Some(misfit), ..Request::default() });
        assert!(report.passed(), "never tampered: {:?}", report.findings);
        assert_eq!(report.depth, Depth::Full);
        assert!(report.depth_reason.is_some());
    }
}

fn said(out: &str) -> Value {
    serde_json::from_str(out).expect(out)
}

#[test]
fn the_commands_say_what_they_found_and_end_as_documented() {
    let dir = Dir::new();
    let (code, out, err) = run(&dir, &["verify", "--json"]);
    assert_eq!(code, 3, "{out}{err}");
    assert_eq!(said(&out)["error"]["kind"], "no_log");

    let path = dir.path().join("events.ndjson");
    let events: String =
        (0..50).map(|n| format!("{{\"event_type\":\"login\",\"actor\":\"user{n}\"}}\n")).collect();
    std::fs::write(&path, events).expect("written");
    let events = path.to_str().expect("utf-8");
    assert_eq!(run(&dir, &["record", "--file", events]).0, 0);

    let (code, out, err) = run(&dir, &["verify"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.starts_with("logs: VERIFIED\n"), "{out}");
    let (code, out, _) = run(&dir, &["verify", "--json", "--since-last"]);
    assert_eq!((code, said(&out)["passed"].as_bool()), (0, Some(true)), "{out}");
    assert!(dir.log().join("audit.verified.json").exists());
    let (_, out, _) = run(&dir, &["verify", "--json", "--since-last"]);
    assert_eq!(said(&out)["depth"], "since_last");
    assert_eq!(said(&out)["timestamp"], Value::Null);
    let at: Timestamp = said(&out)["verified_at"].as_str().expect("a time").parse().expect("time");
    assert!(at > Timestamp::from_micros(0));

    let (code, note, _) = run(&dir, &["checkpoint"]);
    let stored = std::fs::read_to_string(dir.log().join("audit.checkpoint")).expect("stored");
    assert_eq!((code, &note), (0, &stored));
    let kept = dir.path().join("kept.checkpoint");
    std::fs::write(&kept, &note).expect("kept");
    let kept = kept.to_str().expect("utf-8");
    let (code, out, _) = run(&dir, &["verify", "--against", kept, "--json"]);
    assert_eq!((code, said(&out)["completeness"].as_str()), (0, Some("anchored")), "{out}");

    // A backup's metadata is a copy of the tree head as well, and itself can be verified.
    let (code, out, _) = run(&dir, &["backup", "--json"]);
    assert_eq!(code, 0, "{out}");
    let metadata = said(&out)["backup"]["metadata"].as_str().expect("a path").to_owned();
    let (code, out, _) = run(&dir, &["verify", "--against", &metadata, "--json"]);
    assert_eq!((code, said(&out)["completeness"].as_str()), (0, Some("anchored")), "{out}");
    let (code, out, err) = run(&dir, &["verify", "latest"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains(": VERIFIED\n") && !out.contains("dry-run"), "{out}");
    let (code, out, err) = run(&dir, &["verify", "latest", "--json"]);
    assert_eq!((code, said(&out)["passed"].as_bool()), (0, Some(true)), "{out}{err}");
    assert_eq!(said(&out)["integrity"], "intact");
    assert_eq!(said(&out)["restore"], Value::Null);

    let proof = dir.path().join("proof.json");
    let proof = proof.to_str().expect("utf-8");
    assert_eq!(run(&dir, &["prove", "7", "--output", proof]).0, 0);
    assert_eq!(run(&dir, &["prove", "7", "--output", proof]).0, 3, "never over another file");
    let elsewhere = Dir::new();
    let (code, out, _) = run(&elsewhere, &["verify", "--proof", proof]);
    assert_eq!(code, 0, "{out}");
    assert!(out.starts_with("record 7: VERIFIED"), "{out}");
    // The record's bytes, its members in the order in which they are stored.
    let (_, out, _) = run(&elsewhere, &["verify", "--proof", proof, "--json"]);
    let line = &all_lines(&dir.log())[7];
    assert!(out.contains(&format!("\"record\":{line}}}")), "{out}");
    let (code, out, _) = run(&dir, &["prove", "7"]);
    assert_eq!((code, &said(&out)), (0, &said(&std::fs::read_to_string(proof).expect("it"))));
    let (code, out, err) = run(&dir, &["prove", "100000", "--json"]);
    assert_eq!((code, said(&out)["error"]["kind"].as_str()), (2, Some("no_record")), "{err}");

    for usage in [
        &["verify", "--quick", "--since-last"][..],
        &["verify", "--public-key", events],
        &["verify", "--proof", proof, "--quick"],
        &["prove", "x"],
    ] {
        assert_eq!(run(&dir, usage).0, 2, "{usage:?}");
    }

    // The command line is right; the file that it names is no checkpoint.
    let (code, out, _) = run(&dir, &["verify", "--against", events, "--json"]);
    assert_eq!((code, said(&out)["error"]["kind"].as_str()), (3, Some("against")), "{out}");
    // Nor is one of two: another reader would take the other one.
    let two = dir.path().join("two.json");
    let note = serde_json::to_string(&note).expect("JSON");
    let text = format!("{{\"checkpoint\":\"an older one\",\"checkpoint\":{note}}}");
    std::fs::write(&two, text).expect("written");
    let two = two.to_str().expect("utf-8");
    let (code, out, _) = run(&dir, &["verify", "--against", two, "--json"]);
    assert_eq!((code, said(&out)["error"]["kind"].as_str()), (3, Some("against")), "{out}");
    assert!(out.contains("duplicate field"), "{out}");

    // A record altered by hand, in the archive and in the log.
    let archive = metadata.replace(".json", ".gz");
    let archive = dir.path().join(archive);
    let mut bytes = std::fs::read(&archive).expect("an archive");
    bytes[200] ^= 1;
    std::fs::write(&archive, bytes).expect("written");
    let (code, out, _) = run(&dir, &["verify", archive.to_str().expect("utf-8"), "--json"]);
    assert_eq!(code, 1, "{out}");
    let log = dir.log().join("audit.log");
    let text = std::fs::read_to_string(&log).expect("the log");
    std::fs::write(&log, text.replace("user31", "user13")).expect("written");
    let (code, out, _) = run(&dir, &["verify"]);
    assert_eq!(code, 1, "{out}");
    assert!(out.starts_with("logs: DAMAGED\n"), "{out}");
    assert!(out.contains("altered: audit.log record 33"), "{out}");
    assert_eq!(run(&dir, &["prove", "33", "--json"]).0, 1);
    let (code, out, _) = run(&elsewhere, &["verify", "--proof", events, "--json"]);
    assert_eq!((code, said(&out)["error"]["kind"].as_str()), (1, Some("proof")));
}
