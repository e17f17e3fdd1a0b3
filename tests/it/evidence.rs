//! What a running writer notices, and what the status page says of it: evidence that
//! health, an operator and the next opening rest on.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use auditctl::audit::state::security::SecurityKind;
use auditctl::audit::state::status::{Damage, StatusSnapshot, Word, WriterState};
use auditctl::audit::{AuditLog, Durability, Event, Options};
use auditctl::collector::Trust;
use auditctl::collector::client::{Answer, Client};
use auditctl::fsio::fault::{Fault, FaultFs, How, Op};

use crate::backups::{all_compressed, copy_dir};
use crate::serving::Serving;
use crate::support::{
    Dir, count, eventually, failing, open, options, records, root_agrees, run, types,
};

const EIO: i32 = 5;

fn fault(op: Op, name: &str, how: How) -> Fault {
    Fault { op, name_contains: name.to_owned(), after: 0, times: 1, how }
}

/// Should a test fail while the writer hangs: closing the log waits for it.
struct Heal(FaultFs);

impl Drop for Heal {
    fn drop(&mut self) {
        self.0.heal();
    }
}

fn record(log: &AuditLog, n: usize) {
    for _ in 0..n {
        log.record(Event::new("e")).expect("accepted").wait_durable().expect("durable");
    }
}

/// Changes one byte in the middle of the last line that holds `text`.
fn alter(path: &Path, text: &str) {
    let bytes = std::fs::read(path).expect("read");
    let at = memchr::memmem::rfind(&bytes, text.as_bytes()).expect("it is there");
    let file = std::fs::OpenOptions::new().write(true).open(path).expect("open");
    file.write_all_at(b"X", (at + text.len() / 2) as u64).expect("altered");
}

#[test]
fn an_altered_plain_segment_raises_damage_and_is_not_compressed() {
    let dir = Dir::new();
    let (options, fs) = failing(&dir);
    // Retention reads segments too.
    let log = open(Options { retention: None, ..options });
    record(&log, 5);
    fs.plan(fault(Op::Open, "audit.0000", How::Hang));
    let heal = Heal(fs.clone());
    log.seal();
    eventually("the keeper is about to read it", || fs.hits() == 1);
    let plain = dir.log().join("audit.00000000000000000000.log");
    alter(&plain, "\"event_type\":\"e\"");
    let altered = std::fs::read(&plain).expect("read");
    drop(heal);
    eventually("it is noticed", || {
        log.status().expect("status").damage() == Some(Damage::SegmentDamaged)
    });
    let segment = log.manifest().segments[0].clone();
    assert!(segment.damage.is_some(), "the manifest has it by then");
    assert!(!segment.is_compressed());
    assert_eq!(log.status().expect("status").security(SecurityKind::LogTampered), 1);
    record(&log, 1);
    log.close().expect("closed");
    assert_eq!(std::fs::read(&plain).expect("kept"), altered, "for whoever looks into it");
    assert!(!plain.with_extension("log.gz").exists());
    // And the next opening still says so.
    let again = open(crate::support::options(&dir));
    assert_eq!(again.status().expect("status").damage(), Some(Damage::SegmentDamaged));
    again.close().expect("closed");
}

/// The seal gives the file another name by its own: whoever takes that away in the last
/// moment must not take the records with it.
#[test]
fn a_log_file_that_is_deleted_or_replaced_as_it_is_sealed_loses_nothing() {
    for evil in [None, Some(&b"evil\n"[..])] {
        let dir = Dir::new();
        let (options, fs) = failing(&dir);
        let log = open(Options { retention: None, ..options });
        record(&log, 5);
        fs.plan(fault(Op::Rename, "audit.0000", How::Hang));
        let heal = Heal(fs.clone());
        log.seal();
        eventually("it is about to be sealed", || fs.hits() == 1);
        let path = dir.log().join("audit.log");
        std::fs::remove_file(&path).expect("removed");
        if let Some(evil) = evil {
            std::fs::write(&path, evil).expect("put there");
        }
        drop(heal);
        eventually("it is noticed", || log.page().get(Word::LogFileIncidents) > 0);
        let last = log.record(Event::new("e")).expect("accepted").seq();
        eventually("the log goes on", || log.page().get(Word::DurableSeq) > last);
        log.close().expect("closed");
        let stored = records(&dir.log());
        let incidents = stored.iter().filter(|(_, r)| r["event_type"] == "audit.log_file_replaced");
        let incidents: Vec<_> = incidents.map(|(_, r)| r["details"].clone()).collect();
        assert_eq!(incidents.len(), 1, "{incidents:?}");
        if let Some(evil) = evil {
            let aside = dir.log().join(incidents[0]["set_aside"].as_str().expect("named"));
            assert_eq!(std::fs::read(aside).expect("kept"), evil);
        }
        assert_eq!(count(&dir.log(), "e"), 6);
        open(crate::support::options(&dir)).close().expect("closed");
        root_agrees(&dir.log());
    }
}

#[test]
fn interval_mode_stops_when_read_back_lines_do_not_hash() {
    let dir = Dir::new();
    let (options, fs) = failing(&dir);
    let log = open(Options {
        durability: Durability::Interval,
        write_buffer_size: 1,
        write_flush_interval: Duration::from_secs(3_600),
        ..options
    });
    let receipt = log.record(Event::new("precious")).expect("accepted");
    let written = |log: &AuditLog| log.page().get(Word::WrittenSeq) > receipt.seq();
    eventually("it is written, and not synced", || written(&log));
    alter(&dir.log().join("audit.log"), "precious");
    fs.plan(fault(Op::SyncData, "audit.log", How::Errno(EIO)));
    let error = receipt.wait_durable().expect_err("what is there is not what was written");
    assert_eq!(error.kind(), "failed");
    assert!(error.to_string().contains("cannot be read back"), "{error}");
    assert_eq!(log.status().expect("status").state(), Some(WriterState::Poisoned));
    assert_eq!(log.record(Event::new("late")).expect_err("refused").kind(), "failed");
    assert!(log.close().is_err());
}

#[test]
fn a_short_write_is_not_taken_for_a_strangers_bytes() {
    let dir = Dir::new();
    let (options, fs) = failing(&dir);
    let log = open(options);
    record(&log, 3);
    let looked = |log: &AuditLog| log.page().get(Word::HeartbeatBootMs);
    fs.plan(Fault { times: u64::MAX, ..fault(Op::Write, "audit.log", How::Short(EIO)) });
    let _heal = Heal(fs.clone());
    let receipt = log.record(Event::new("e")).expect("accepted");
    eventually("half of it was written, and the rest failed", || fs.hits() >= 2);
    // The file is looked at between the attempts.
    let since = looked(&log);
    eventually("it was looked at", || looked(&log) > since + 600);
    assert_eq!(log.page().get(Word::LogFileIncidents), 0);
    fs.heal();
    let is_durable = |log: &AuditLog| log.page().get(Word::DurableSeq) > receipt.seq();
    eventually("it is durable in the end", || is_durable(&log));
    log.close().expect("closed");
    assert_eq!(count(&dir.log(), "audit.log_file_replaced"), 0);
    assert!(!crate::backups::names(&dir.log()).iter().any(|name| name.contains(".foreign-")));
    assert_eq!(count(&dir.log(), "e"), 4);
    root_agrees(&dir.log());
}

#[test]
fn close_without_checkpoint_is_not_told_as_closed() {
    let dir = Dir::new();
    let (options, fs) = failing(&dir);
    let log = open(options);
    record(&log, 3);
    fs.plan(Fault { times: u64::MAX, ..fault(Op::Rename, "audit.checkpoint", How::Errno(EIO)) });
    let _ = log.close();
    assert!(fs.hits() > 0);
    let page = StatusSnapshot::read(&dir.log().join("audit.status")).expect("page");
    assert_eq!(page.get(Word::ClosedAt), 0);
    assert_ne!(page.state(), Some(WriterState::Closed));
    // All of it is there and signed by the head.
    open(crate::support::options(&dir)).close().expect("closed");
    assert_eq!(count(&dir.log(), "e"), 3);
    let page = StatusSnapshot::read(&dir.log().join("audit.status")).expect("page");
    assert_ne!(page.get(Word::ClosedAt), 0);
    assert_eq!(page.state(), Some(WriterState::Closed));
}

#[test]
fn oldest_waiting_is_zero_once_settled() {
    for durability in [Durability::Commit, Durability::Interval] {
        let dir = Dir::new();
        let (options, fs) = failing(&dir);
        let log = open(Options { durability, ..options });
        let waits = |log: &AuditLog| log.page().get(Word::OldestWaitingAt);
        record(&log, 3);
        eventually("nothing waits", || waits(&log) == 0);
        let before = auditctl::clock::Clock::now(&auditctl::clock::SystemClock).micros() as u64;
        fs.plan(Fault { times: u64::MAX, ..fault(Op::Write, "audit.log", How::Errno(EIO)) });
        let _heal = Heal(fs.clone());
        let receipt = log.record(Event::new("e")).expect("accepted");
        eventually("it cannot be written", || fs.hits() >= 2);
        assert!(waits(&log) >= before, "{durability:?}: {} of {before}", waits(&log));
        fs.heal();
        let is_durable = |log: &AuditLog| log.page().get(Word::DurableSeq) > receipt.seq();
        eventually("it is durable in the end", || is_durable(&log));
        eventually("nothing waits any more", || waits(&log) == 0);
        log.close().expect("closed");
    }
}

#[test]
fn the_inode_on_the_page_is_the_active_files() {
    let dir = Dir::new();
    let log = open(Options { max_segment_size: 4 << 10, ..options(&dir) });
    let path = dir.log().join("audit.log");
    let of_file = || std::fs::metadata(&path).expect("there").ino();
    let on_page = || {
        StatusSnapshot::read(&dir.log().join("audit.status")).expect("page").get(Word::ActiveInode)
    };
    assert_eq!(on_page(), of_file(), "as it was opened");
    record(&log, 60);
    log.seal();
    record(&log, 1);
    all_compressed(&log);
    assert_eq!(on_page(), of_file(), "after it was sealed");
    std::fs::remove_file(&path).expect("removed");
    eventually("it is put back", || log.page().get(Word::LogFileIncidents) > 0);
    record(&log, 1);
    assert_eq!(on_page(), of_file(), "after it was put back");
    log.close().expect("closed");
    assert_eq!(on_page(), of_file());
}

#[test]
fn the_durable_seq_on_the_page_is_that_of_the_log_from_the_opening_to_the_close() {
    let dir = Dir::new();
    let page = || StatusSnapshot::read(&dir.log().join("audit.status")).expect("page");
    for _ in 0..2 {
        let log = open(options(&dir));
        assert_eq!(page().get(Word::DurableSeq), log.acked_seq());
        record(&log, 3);
        assert_eq!(page().get(Word::DurableSeq), log.acked_seq());
        log.close().expect("closed");
        assert_eq!(page().get(Word::DurableSeq), types(&dir.log()).len() as u64);
        assert_eq!(page().get(Word::CheckpointSize), types(&dir.log()).len() as u64);
    }
}

/// An interval writer that accepted forty events and was killed before it wrote them.
fn killed_with_forty(dir: &Dir) {
    std::fs::write(
        dir.path().join("auditctl.toml"),
        "durability = \"interval\"\nwrite_flush_interval = \"30s\"\nwrite_buffer_size = 500\n",
    )
    .expect("settings");
    let collector = Serving::start_alone(dir);
    let mut client = Client::connect(&dir.log().join("audit.sock"), &Trust::owner_of(&dir.log()))
        .expect("connected");
    let lines = vec![&b"{\"event_type\":\"e\"}"[..]; 40];
    let answers = client.send(&lines).expect("answers");
    assert!(answers.iter().all(|answer| matches!(answer, Answer::Recorded(_))), "{answers:?}");
    collector.kill_nine();
}

#[test]
fn health_shows_records_lost_by_the_crash() {
    let dir = Dir::new();
    killed_with_forty(&dir);
    let collector = Serving::start_alone(&dir);
    let (_, out, err) = run(&dir, &["health", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{err}"));
    let checks = report["checks"].as_array().expect("checks");
    let integrity = checks.iter().find(|check| check["component"] == "integrity").expect("one");
    let stored = records(&dir.log());
    let gap = stored.iter().find(|(_, record)| record["event_type"] == "audit.gap");
    let lost = gap.expect("a gap").1["details"]["count"].as_u64().expect("a count");
    assert!(lost > 0);
    assert_eq!(integrity["metrics"]["lost_records"], lost, "{integrity}");
    assert_ne!(integrity["status"], "healthy", "{integrity}");
    collector.terminate();
    // The next opening has lost nothing.
    let log = open(options(&dir));
    assert_eq!(log.page().get(Word::LostRecords), 0);
    log.close().expect("closed");
}

#[test]
fn a_copied_interval_log_gets_no_gap() {
    let dir = Dir::new();
    killed_with_forty(&dir);
    // Other files: what the page says of the first ones says nothing of these.
    let copy = Dir::new();
    copy_dir(&dir.log(), &copy.log());
    for (dir, gaps) in [(&copy, 0), (&dir, 1)] {
        let log = open(Options { durability: Durability::Interval, ..options(dir) });
        assert_eq!(log.page().get(Word::LostRecords) > 0, gaps > 0);
        log.close().expect("closed");
        assert_eq!(count(&dir.log(), "audit.gap"), gaps);
        root_agrees(&dir.log());
    }
}

#[test]
fn records_that_the_page_knew_durable_and_that_are_gone_are_told_and_not_of_a_copy() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    let mut peer = collector.connect();
    assert!(peer.ask(r#"{"event_type":"e"}"#)["ok"]["seq"].is_u64());
    let (log, checkpoint, head) = (
        dir.log().join("audit.log"),
        dir.log().join("audit.checkpoint"),
        dir.log().join("audit.head"),
    );
    let covered = || {
        let page = StatusSnapshot::read(&dir.log().join("audit.status")).expect("page");
        page.get(Word::CheckpointSize) == page.get(Word::DurableSeq)
    };
    eventually("all of it is signed", covered);
    let (length, kept) = (
        std::fs::metadata(&log).expect("there").len(),
        [std::fs::read(&checkpoint).expect("read"), std::fs::read(&head).expect("read")],
    );
    for _ in 0..5 {
        assert!(peer.ask(r#"{"event_type":"e"}"#)["ok"]["seq"].is_u64());
    }
    drop(peer);
    collector.kill_nine();
    // Somebody cuts the log and puts back what was signed then.
    std::fs::write(&checkpoint, &kept[0]).expect("put back");
    std::fs::write(&head, &kept[1]).expect("put back");
    let file = std::fs::OpenOptions::new().write(true).open(&log).expect("open");
    file.set_len(length).expect("cut");
    let copy = Dir::new();
    copy_dir(&dir.log(), &copy.log());
    for (dir, missed) in [(&copy, None), (&dir, Some(5))] {
        open(options(dir)).close().expect("closed");
        let stored = records(&dir.log());
        let told = stored.iter().find(|(_, record)| record["event_type"] == "audit.recovered");
        let told = told.and_then(|(_, record)| record["details"]["missed_by_status_page"].as_u64());
        assert_eq!(told, missed);
    }
}
