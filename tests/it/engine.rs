//! The engine as a library: recording, sealing, reopening.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use auditctl::audit::state::status::{StatusSnapshot, Word};
use auditctl::audit::{AuditLog, Durability, Event, OpenError, Options, RecordError};

use auditctl::clock::ManualClock;
use auditctl::fsio::OsFs;
use auditctl::fsio::fault::{Fault, FaultFs, How, Op};

use crate::backups::all_compressed;
use crate::support::{
    Dir, all_lines, count, eventually, open, options, records, root_agrees, types,
};

#[test]
fn an_event_is_durable_once_its_receipt_says_so() {
    let dir = Dir::new();
    let log = open(options(&dir));
    let receipt = log.record(Event::new("login").actor("alice")).expect("accepted");
    let seq = receipt.wait().expect("durable");
    let line = &all_lines(&dir.log())[seq as usize];
    assert!(line.starts_with(&format!("{{\"seq\":{seq},\"timestamp\":\"")), "{line}");
    assert!(line.contains("\"event_type\":\"login\",\"actor\":\"alice\""), "{line}");
    log.close().expect("closed");
    assert_eq!(types(&dir.log()), ["audit.log_created", "audit.opened", "login", "audit.closed"]);
    root_agrees(&dir.log());
}

#[test]
fn twenty_threads_write_every_event_once_in_one_gapless_order() {
    let dir = Dir::new();
    let log = open(options(&dir));
    let acknowledged: Vec<(u64, String)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..20)
            .map(|worker| {
                let log = log.clone();
                scope.spawn(move || {
                    (0..200)
                        .map(|n| {
                            let name = format!("{worker}-{n}");
                            let receipt =
                                log.record(Event::new("e").actor(&*name)).expect("accepted");
                            (receipt.wait().expect("durable"), name)
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("worker")).collect()
    });
    log.close().expect("closed");
    let stored = records(&dir.log());
    for (seq, name) in &acknowledged {
        assert_eq!(stored[*seq as usize].1["actor"], name.as_str());
    }
    let distinct: HashSet<u64> = acknowledged.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(distinct.len(), 4_000);
    assert_eq!(count(&dir.log(), "e"), 4_000);
    root_agrees(&dir.log());
}

#[test]
fn a_log_that_grows_is_sealed_and_compressed_and_stays_whole() {
    let dir = Dir::new();
    let mut small = options(&dir);
    small.max_segment_size = 200_000;
    let log = open(small.clone());
    for n in 0..6_000 {
        let event = Event::new("e").actor(format!("{n}")).details(&serde_json::json!({ "n": n }));
        let _ = log.record(event.expect("details")).expect("accepted");
    }
    let last = log.record(Event::new("last")).expect("accepted").wait().expect("durable");
    all_compressed(&log);
    eventually("the page says so", || {
        let status = log.status().expect("status");
        status.get(Word::Segments) >= 4 && status.get(Word::CompressBacklog) == 0
    });
    log.close().expect("closed");
    assert_eq!(last, 6_002);
    assert_eq!(count(&dir.log(), "e"), 6_000);
    root_agrees(&dir.log());
    let manifest = log.manifest();
    assert!(manifest.segments.iter().all(|segment| segment.is_compressed()));
    assert!(manifest.segments.iter().all(|segment| segment.sha256.is_some()));
    // And it opens again, and goes on.
    let again = open(small);
    assert_eq!(again.record(Event::new("more")).expect("accepted").wait().expect("durable"), 6_005);
    again.close().expect("closed");
    root_agrees(&dir.log());
}

#[test]
fn only_one_writer_has_the_log_and_the_next_one_goes_on_where_it_ended() {
    let dir = Dir::new();
    let first = open(options(&dir));
    assert!(matches!(AuditLog::open(options(&dir)), Err(OpenError::Locked { .. })));
    first.close().expect("closed");
    let second = open(options(&dir));
    second.close().expect("closed");
    let expected =
        ["audit.log_created", "audit.opened", "audit.closed", "audit.opened", "audit.closed"];
    assert_eq!(types(&dir.log()), expected);
    let stored = records(&dir.log());
    assert_eq!(stored[3].1["details"]["clean"], true);
    assert_eq!(first.log_id(), second.log_id());
}

#[test]
fn nothing_is_recorded_after_close() {
    let dir = Dir::new();
    let log = open(options(&dir));
    log.close().expect("closed");
    log.close().expect("closing twice is fine");
    assert!(matches!(log.record(Event::new("late")), Err(RecordError::Closed)));
    assert_eq!(count(&dir.log(), "late"), 0);
}

#[test]
fn a_full_buffer_makes_callers_wait_and_then_says_busy() {
    let dir = Dir::new();
    let (mut tight, fs) = crate::support::failing(&dir);
    tight.write_queue_capacity = 10;
    tight.overflow_timeout = std::time::Duration::from_millis(100);
    let log = open(tight);
    fs.plan(auditctl::fsio::fault::Fault {
        op: auditctl::fsio::fault::Op::Write,
        name_contains: "audit.log".to_owned(),
        after: 0,
        times: u64::MAX,
        how: auditctl::fsio::fault::How::Errno(5),
    });
    let refused = (0..20).find_map(|_| log.record(Event::new("e")).err()).expect("full");
    assert_eq!(refused.kind(), "busy");
    assert!(refused.retry_after().is_some());
    assert!(log.status().expect("status").get(Word::Busy) >= 1);
    fs.heal();
    log.record(Event::new("after")).expect("room again").wait().expect("durable");
    log.close().expect("closed");
    assert_eq!(count(&dir.log(), "after"), 1);
    assert_eq!(count(&dir.log(), "e"), 10, "what was accepted is there, what was refused is not");
}

#[test]
fn the_status_page_tells_another_reader_what_the_writer_did() {
    let dir = Dir::new();
    let log = open(options(&dir));
    for _ in 0..7 {
        log.record(Event::new("e")).expect("accepted").wait().expect("durable");
    }
    let _ = log.record(Event::new("audit.evil")).expect_err("reserved");
    let read = || StatusSnapshot::read(&dir.log().join("audit.status")).expect("page");
    eventually("refusals are published soon", || read().get(Word::Invalid) == 1);
    let seen = read();
    assert_eq!(seen.get(Word::Accepted), 7);
    assert_eq!(seen.get(Word::DurableSeq), seen.get(Word::NextSeq));
    assert_eq!(seen.get(Word::Pid), u64::from(std::process::id()));
    assert!(seen.get(Word::Syncs) >= 7 && seen.get(Word::SyncMicrosSum) > 0);
    log.close().expect("closed");
    let seen = StatusSnapshot::read(&dir.log().join("audit.status")).expect("page");
    assert!(seen.get(Word::ClosedAt) > 0);
}

#[test]
fn interval_durability_acknowledges_at_once_and_flushes_within_the_interval() {
    let dir = Dir::new();
    let log = open(Options { durability: Durability::Interval, ..options(&dir) });
    let receipt = log.record(Event::new("e")).expect("accepted");
    let seq = receipt.wait().expect("acknowledged");
    eventually("it is on disk", || all_lines(&dir.log()).len() as u64 > seq);
    let durable = log.record(Event::new("e")).expect("accepted").wait_durable().expect("durable");
    assert_eq!(all_lines(&dir.log()).len() as u64, durable + 1);
    log.close().expect("closed");
    root_agrees(&dir.log());
}

#[test]
fn files_are_for_their_owner_alone() {
    use std::os::unix::fs::MetadataExt;
    let dir = Dir::new();
    let log = open(options(&dir));
    log.close().expect("closed");
    assert_eq!(std::fs::metadata(dir.log()).expect("directory").mode() & 0o777, 0o700);
    for entry in std::fs::read_dir(dir.log()).expect("directory") {
        let entry = entry.expect("entry");
        let mode = entry.metadata().expect("metadata").mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
    }
}

/// A log with sealed segments that a clock says are a hundred days old.
fn aged(dir: &Dir) -> (Arc<ManualClock>, usize) {
    let clock = Arc::new(ManualClock::new("2026-02-04T21:09:40Z".parse().expect("a time")));
    let log = open(Options { clock: clock.clone(), ..small(dir) });
    for n in 0..400 {
        log.record(Event::new("old").actor(format!("{n}")))
            .expect("accepted")
            .wait()
            .expect("durable");
    }
    all_compressed(&log);
    log.close().expect("closed");
    let sealed = log.manifest().segments.len();
    assert!(sealed >= 3, "{sealed}");
    clock.advance(Duration::from_secs(100 * 24 * 3600));
    (clock, sealed)
}

/// The clock went on by 100 days while nobody wrote: retention waits for an hour.
fn after_the_first_hour(clock: &ManualClock) {
    clock.advance(Duration::from_secs(3601));
}

fn small(dir: &Dir) -> Options {
    Options {
        max_segment_size: 16 * 1024,
        retention_rule: auditctl::audit::RetentionRule::RemovesWithoutBackup,
        ..options(dir)
    }
}

#[test]
fn retention_removes_old_sealed_segments_and_says_so_and_the_rest_stays_provable() {
    let dir = Dir::new();
    let (clock, sealed) = aged(&dir);
    let whole = records(&dir.log());
    let log = open(Options { clock: clock.clone(), ..small(&dir) });
    after_the_first_hour(&clock);
    eventually("they are removed", || log.manifest().segments.is_empty());
    let pruned_to = log.manifest().pruned.end();
    eventually("their files are gone", || {
        !std::fs::read_dir(dir.log()).expect("list").any(|entry| {
            let name = entry.expect("entry").file_name();
            auditctl::audit::paths::parse_sealed_name(&name.to_string_lossy()).is_some()
        })
    });
    log.record(Event::new("new")).expect("accepted").wait().expect("durable");
    log.close().expect("closed");
    root_agrees(&dir.log());
    let stored = records(&dir.log());
    assert_eq!(stored[0].0, pruned_to, "what was removed is what the manifest says");
    assert_eq!(stored[0].1, whole[pruned_to as usize].1, "the rest is as it was");
    let said: Vec<_> = stored.iter().filter(|(_, r)| r["event_type"] == "audit.pruned").collect();
    assert_eq!(said.len(), 1, "one for all");
    let details = &said[0].1["details"];
    assert_eq!(details["segments"], sealed);
    assert_eq!(
        (details["first_seq"].as_u64(), details["records"].as_u64()),
        (Some(0), Some(pruned_to))
    );
    assert_eq!(details["pruned_to"], pruned_to);
    let pruned = log.manifest().pruned.clone();
    assert_eq!(details["tree"], serde_json::to_value(&pruned).expect("json"));
    assert_eq!(details["root_hash"], pruned.root().expect("from 0").to_string());

    let again = open(Options { clock, ..small(&dir) });
    again.record(Event::new("newer")).expect("accepted").wait().expect("durable");
    again.close().expect("closed");
    root_agrees(&dir.log());
}

#[test]
fn retention_of_zero_days_removes_nothing() {
    let dir = Dir::new();
    let (clock, sealed) = aged(&dir);
    let log = open(Options { clock, retention: None, ..small(&dir) });
    log.record(Event::new("new")).expect("accepted").wait().expect("durable");
    log.close().expect("closed");
    assert!(log.manifest().segments.len() >= sealed);
    assert_eq!(count(&dir.log(), "old"), 400);
}

#[test]
fn a_removal_by_retention_that_a_crash_cut_short_is_completed_by_the_next_opening() {
    let dir = Dir::new();
    let (clock, _) = aged(&dir);
    let fs = FaultFs::new(Arc::new(OsFs));
    let failing = Options { clock: clock.clone(), fs: Arc::new(fs.clone()), ..small(&dir) };
    fs.plan(Fault {
        op: Op::Remove,
        name_contains: "audit.0000".to_owned(),
        after: 0,
        times: u64::MAX,
        how: How::Errno(5),
    });
    let log = open(failing);
    after_the_first_hour(&clock);
    let sealed = |log: &AuditLog| log.manifest().segments.len();
    // Compression removes files as well.
    eventually("the files cannot be removed", || fs.hits() > 0 && sealed(&log) == 0);
    log.close().expect("closed");
    let log = open(Options { clock, ..small(&dir) });
    assert_eq!(sealed(&log), 0);
    log.close().expect("closed");
    assert!(records(&dir.log())[0].0 > 0, "the removed segments are not there again");
    root_agrees(&dir.log());
}

#[test]
fn opening_reads_only_the_newest_of_what_is_sealed() {
    use auditctl::fsio::fault::Op;
    let dir = crate::support::Dir::new();
    let with = || auditctl::audit::Options {
        max_segment_size: 2_000,
        retention: None,
        ..crate::support::options(&dir)
    };
    let log = crate::support::open(with());
    for n in 0..200 {
        let event = auditctl::audit::Event::new("e").actor(format!("{n}")).target("x".repeat(200));
        log.record(event).expect("accepted").wait_durable().expect("durable");
    }
    crate::backups::all_compressed(&log);
    let segments = log.manifest().segments.len();
    log.close().expect("closed");
    assert!(segments > 20, "{segments}");
    let fs = auditctl::fsio::fault::FaultFs::new(std::sync::Arc::new(auditctl::fsio::OsFs));
    let log = crate::support::open(auditctl::audit::Options {
        fs: std::sync::Arc::new(fs.clone()),
        ..with()
    });
    let opened = fs.take_log().into_iter().filter(|(op, path)| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        *op == Op::Open && auditctl::audit::paths::parse_sealed_name(&name).is_some()
    });
    let opened = opened.count();
    log.close().expect("closed");
    assert!(opened <= 6, "{opened} of {segments}");
}
