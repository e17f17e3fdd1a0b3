//! Each operation fails once, or for a while; then the log is reopened and its
//! content asserted.

use auditctl::audit::state::status::{Damage, DiskStage, Word, WriterState};
use auditctl::audit::{AuditLog, Durability, Event, OpenError, Options};
use auditctl::fsio::Space;
use auditctl::fsio::fault::{Fault, How, Op};

use crate::support::{
    Dir, all_lines, count, eventually, failing, open, options, records, root_agrees, skipped,
    types, until_refused,
};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn fault(op: Op, name: &str, how: How) -> Fault {
    Fault { op, name_contains: name.to_owned(), after: 0, times: 1, how }
}

/// Records `n` events and waits for each.
fn record(log: &AuditLog, n: usize) {
    for _ in 0..n {
        log.record(Event::new("e")).expect("accepted").wait().expect("durable");
    }
}

/// Whatever failed, everything acknowledged is there once, in order, and the
/// tree agrees with the checkpoint, also after opening the log again.
fn whole(dir: &Dir, events: usize) {
    assert_eq!(count(&dir.log(), "e"), events);
    root_agrees(&dir.log());
    let again = open(options(dir));
    again.close().expect("closed");
    assert_eq!(count(&dir.log(), "e"), events);
    root_agrees(&dir.log());
}

#[test]
fn a_write_that_fails_once_is_made_good() {
    for how in [How::Errno(EIO), How::Short(EIO), How::Errno(ENOSPC), How::Short(ENOSPC)] {
        let dir = Dir::new();
        let (options, fs) = failing(&dir);
        let log = open(options);
        record(&log, 5);
        fs.plan(fault(Op::Write, "audit.log", how));
        let receipt = log.record(Event::new("e")).expect("accepted");
        receipt.wait().expect("durable in the end");
        assert!(fs.hits() >= 1, "{how:?}");
        assert!(log.status().expect("status").get(Word::WriteErrors) >= 1);
        eventually("events are taken again", || log.record(Event::new("late")).is_ok());
        log.close().expect("closed");
        whole(&dir, 6);
    }
}

#[test]
fn after_a_failed_sync_the_file_is_left_at_its_durable_length_and_a_fresh_one_begun() {
    for durability in [Durability::Commit, Durability::Interval] {
        let dir = Dir::new();
        let (options, fs) = failing(&dir);
        let log = open(Options { durability, ..options });
        record(&log, 5);
        log.record(Event::new("e")).expect("accepted").wait_durable().expect("durable");
        let before = all_lines(&dir.log()).len();
        fs.plan(fault(Op::SyncData, "audit.log", How::Errno(EIO)));
        log.record(Event::new("e")).expect("accepted").wait_durable().expect("durable in the end");
        let status = log.status().expect("status");
        assert_eq!(status.get(Word::SyncErrors), 1);
        assert_eq!(status.get(Word::ActiveFirstSeq), before as u64, "{durability:?}");
        record(&log, 3);
        log.close().expect("closed");
        whole(&dir, 10);
    }
}

#[test]
fn each_step_of_sealing_may_fail_once() {
    for (op, name) in [
        (Op::Rename, "audit.0000"),
        (Op::Open, "audit.log"),
        // By what it is renamed to: the next segment takes its place.
        (Op::Rename, "audit.log"),
        (Op::SetLen, "audit.log"),
        (Op::SyncDir, "logs"),
        (Op::SyncData, "audit.manifest"),
        (Op::Rename, "audit.manifest"),
        (Op::Open, "audit.0000"),
        (Op::Write, "audit.0000"),
        (Op::SyncData, "audit.0000"),
        (Op::Remove, "audit.0000"),
    ] {
        let dir = Dir::new();
        let (options, fs) = failing(&dir);
        let log = open(options);
        record(&log, 5);
        fs.plan(fault(op, name, How::Errno(EIO)));
        log.seal();
        record(&log, 5);
        eventually(&format!("{op:?} on {name} fails"), || fs.hits() == 1);
        record(&log, 5);
        log.close().expect("closed");
        whole(&dir, 15);
    }
}

/// B12: without an inode for the next segment the old one keeps its name and goes on.
#[test]
fn a_segment_whose_successor_cannot_be_made_keeps_its_name_and_is_sealed_later() {
    let dir = Dir::new();
    let (options, fs) = failing(&dir);
    let log = open(options);
    record(&log, 3);
    let no_files =
        Space { total: 1 << 30, available: 1 << 29, files_total: 18, files_available: 0 };
    fs.set_space(no_files);
    let fails = fault(Op::Open, "audit.log.tmp", How::Errno(ENOSPC));
    fs.plan(Fault { times: u64::MAX, ..fails });
    log.seal();
    eventually("the disk is full", || {
        assert!(dir.log().join("audit.log").exists(), "it is never without its name");
        log.status().expect("status").disk_stage() == Some(DiskStage::Full)
    });
    eventually("the record about it is in the old segment", || {
        count(&dir.log(), "audit.disk_full") == 1
    });
    eventually("it is tried again", || fs.hits() >= 2);
    assert_eq!(log.record(Event::new("e")).expect_err("refused").kind(), "disk_full");
    let page = log.status().expect("status");
    assert_eq!((page.get(Word::LogFileIncidents), page.get(Word::Segments)), (0, 0));
    fs.heal();
    let mut recorded = 3;
    eventually("it resumes", || {
        let is_ok = log.record(Event::new("e")).is_ok_and(|receipt| receipt.wait().is_ok());
        recorded += usize::from(is_ok);
        is_ok
    });
    eventually("it is sealed", || log.status().expect("status").get(Word::Segments) == 1);
    log.close().expect("closed");
    assert_eq!(count(&dir.log(), "audit.log_file_replaced"), 0);
    whole(&dir, recorded);
}

#[test]
fn a_checkpoint_that_cannot_be_written_is_written_later() {
    for op in [Op::Open, Op::Write, Op::SyncData, Op::Rename] {
        let dir = Dir::new();
        let (options, fs) = failing(&dir);
        let log = open(options);
        fs.plan(fault(op, "audit.checkpoint", How::Errno(EIO)));
        record(&log, 1);
        eventually("the checkpoint fails", || fs.hits() == 1);
        eventually("a checkpoint covers everything", || {
            let status = log.status().expect("status");
            status.get(Word::CheckpointSize) == status.get(Word::NextSeq)
        });
        log.close().expect("closed");
        whole(&dir, 1);
    }
}

#[test]
fn waiters_are_told_when_the_log_cannot_be_written_and_the_event_is_kept() {
    let dir = Dir::new();
    let (options, fs) = failing(&dir);
    let log = open(options);
    fs.plan(Fault { times: u64::MAX, ..fault(Op::Write, "audit.log", How::Errno(EIO)) });
    let receipt = log.record(Event::new("e")).expect("accepted");
    let error = receipt.wait().expect_err("not durable");
    assert_eq!(error.kind(), "unavailable");
    assert!(error.to_string().contains("write"), "{error}");
    let status = log.status().expect("status");
    assert_eq!(status.state(), Some(WriterState::Failing));
    assert_eq!(status.get(Word::LastErrno), EIO as u64);
    fs.heal();
    eventually("it runs again", || {
        log.status().expect("status").state() == Some(WriterState::Running)
    });
    log.close().expect("closed");
    whole(&dir, 1);
}

#[test]
fn a_panic_of_the_writer_is_an_error_for_everyone_and_never_silence() {
    let dir = Dir::new();
    let (options, fs) = failing(&dir);
    let log = open(options);
    record(&log, 3);
    fs.plan(fault(Op::Write, "audit.log", How::Panic));
    let error = log.record(Event::new("lost")).expect("accepted").wait().expect_err("failed");
    assert_eq!(error.kind(), "failed");
    assert!(error.to_string().contains("planned panic"), "{error}");
    assert_eq!(log.record(Event::new("late")).expect_err("poisoned").kind(), "failed");
    assert_eq!(log.status().expect("status").state(), Some(WriterState::Poisoned));
    assert!(log.close().is_err());
    drop(log);
    whole(&dir, 3);
}

#[test]
fn a_full_disk_refuses_new_events_writes_what_was_accepted_and_resumes_by_itself() {
    let dir = Dir::new();
    let (options, fs) = failing(&dir);
    let log = open(options);
    record(&log, 3);
    let full = Space { total: 1 << 30, available: 0, ..Space::default() };
    fs.set_space(full);
    eventually("the disk is full", || {
        log.status().expect("status").disk_stage() == Some(DiskStage::Full)
    });
    assert!(!dir.log().join("audit.reserve").exists(), "the reserve was given up");
    let error = log.record(Event::new("e")).expect_err("refused");
    assert_eq!(error.kind(), "disk_full");
    assert!(error.retry_after().is_some());
    eventually("the log says so itself", || count(&dir.log(), "audit.disk_full") == 1);
    fs.heal();
    eventually("it resumes", || log.record(Event::new("e")).is_ok());
    eventually("the page says so", || {
        log.status().expect("status").state() == Some(WriterState::Running)
    });
    assert!(dir.log().join("audit.reserve").exists());
    log.close().expect("closed");
    let stored = records(&dir.log());
    let recovered = stored.iter().find(|(_, r)| r["event_type"] == "audit.disk_recovered");
    let recovered = &recovered.expect("recorded").1;
    assert!(recovered["details"]["refused"].as_u64() >= Some(1), "{recovered}");
    whole(&dir, 4);
}

#[test]
fn a_deleted_log_file_is_noticed_and_no_record_is_lost() {
    let dir = Dir::new();
    let log = open(options(&dir));
    record(&log, 5);
    std::fs::remove_file(dir.log().join("audit.log")).expect("removed");
    eventually("it is noticed", || {
        log.status().expect("status").damage() == Some(Damage::FileReplaced)
    });
    record(&log, 5);
    log.close().expect("closed");
    assert_eq!(count(&dir.log(), "audit.log_file_replaced"), 1);
    whole(&dir, 10);
}

#[test]
fn a_replaced_log_file_is_set_aside_and_the_real_one_put_back() {
    let dir = Dir::new();
    let log = open(options(&dir));
    record(&log, 5);
    let path = dir.log().join("audit.log");
    std::fs::rename(&path, dir.log().join("audit.log.1")).expect("rotated by a stranger");
    std::fs::write(&path, b"evil\n").expect("replaced");
    eventually("it is noticed", || {
        log.status().expect("status").damage() == Some(Damage::FileReplaced)
    });
    record(&log, 5);
    log.close().expect("closed");
    let stored = records(&dir.log());
    let incident = stored.iter().find(|(_, r)| r["event_type"] == "audit.log_file_replaced");
    let aside = incident.expect("recorded").1["details"]["set_aside"].as_str().map(str::to_owned);
    let aside = dir.log().join(aside.expect("named"));
    assert_eq!(std::fs::read(aside).expect("kept"), b"evil\n");
    whole(&dir, 10);
}

#[test]
fn bytes_set_aside_are_byte_for_byte_in_the_named_file() {
    use std::io::Write;
    let dir = Dir::new();
    let log = open(options(&dir));
    record(&log, 2);
    let path = dir.log().join("audit.log");
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).expect("open");
    let forged = b"{\"seq\":4,\"forged\":true}\nand \0 half a line";
    file.write_all(forged).expect("append");
    eventually("it is noticed", || log.status().expect("status").get(Word::LogFileIncidents) == 1);
    record(&log, 2);
    log.close().expect("closed");
    let stored = records(&dir.log());
    let incident = stored.iter().find(|(_, r)| r["event_type"] == "audit.log_file_replaced");
    let details = &incident.expect("recorded").1["details"];
    assert_eq!(details["what"], "foreign_bytes");
    let aside = dir.log().join(details["set_aside"].as_str().expect("named"));
    assert_eq!(std::fs::read(aside).expect("kept"), forged);
    assert!(!all_lines(&dir.log()).iter().any(|line| line.contains("forged")));
    whole(&dir, 4);
}

#[test]
fn a_truncated_log_file_is_told_with_the_records_that_are_lost() {
    let dir = Dir::new();
    let log = open(options(&dir));
    record(&log, 8);
    let path = dir.log().join("audit.log");
    let text = std::fs::read_to_string(&path).expect("log");
    let keep: usize = text.split_inclusive('\n').take(4).map(str::len).sum();
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("open");
    file.set_len(keep as u64).expect("truncated");
    eventually("it is noticed", || {
        log.status().expect("status").damage() == Some(Damage::FileTruncated)
    });
    assert_eq!(log.status().expect("status").get(Word::LostRecords), 6);
    log.record(Event::new("after")).expect("accepted").wait().expect("durable");
    log.close().expect("closed");
    let lines = all_lines(&dir.log());
    let incident = lines.iter().find(|line| line.contains("audit.log_file_replaced"));
    let incident: serde_json::Value =
        serde_json::from_str(incident.expect("recorded")).expect("json");
    assert_eq!(incident["details"]["what"], "truncated");
    assert_eq!(incident["details"]["first_lost"], 4);
    assert_eq!(incident["details"]["lost"], 6);
    let damage = log.manifest().segments[0].damage.clone().expect("noted in the manifest");
    assert!(damage.contains("records 4 to 9 are lost"), "{damage}");
    // What is known need not be accepted again.
    let again = open(options(&dir));
    assert_eq!(
        again.status().expect("status").damage(),
        Some(Damage::SegmentDamaged),
        "health keeps saying so"
    );
    again.close().expect("closed");
}

#[test]
fn an_opening_that_fails_says_where_and_leaves_the_log_as_it_was() {
    for (op, name) in [
        (Op::Open, "audit.log"),
        (Op::Read, "audit.checkpoint"),
        (Op::Read, "audit.manifest"),
        (Op::Read, "audit.key"),
        (Op::SyncData, "audit.log"),
    ] {
        let dir = Dir::new();
        let log = open(options(&dir));
        record(&log, 3);
        log.close().expect("closed");
        let before = all_lines(&dir.log());
        let (options, fs) = failing(&dir);
        // Each time: some of the opening's looks make do without.
        fs.plan(Fault { times: u64::MAX, ..fault(op, name, How::Errno(EIO)) });
        let error = AuditLog::open(options).expect_err("fails");
        assert!(error.to_string().contains(name), "{op:?} {name}: {error}");
        assert_eq!(all_lines(&dir.log()), before);
        whole(&dir, 3);
    }
}

#[test]
fn a_new_log_whose_making_failed_can_be_made_again() {
    for (op, name) in [
        (Op::Write, "audit.manifest"),
        (Op::Rename, "audit.manifest"),
        (Op::Open, "audit.key"),
        (Op::Open, "audit.log"),
        (Op::SyncDir, "logs"),
    ] {
        let dir = Dir::new();
        let (options, fs) = failing(&dir);
        fs.plan(fault(op, name, How::Errno(EIO)));
        assert!(AuditLog::open(options).is_err(), "{op:?} {name}");
        let log = open(crate::support::options(&dir));
        record(&log, 2);
        log.close().expect("closed");
        whole(&dir, 2);
        assert_eq!(types(&dir.log())[0], "audit.log_created");
    }
}

#[test]
fn the_signing_key_is_never_replaced_behind_the_back() {
    let dir = Dir::new();
    open(options(&dir)).close().expect("closed");
    let key = dir.log().join("audit.key");
    let kept = dir.path().join("kept");
    std::fs::rename(&key, &kept).expect("moved");
    assert!(matches!(AuditLog::open(options(&dir)), Err(OpenError::KeyMissing { .. })));
    assert!(!key.exists());
    open(Options { key_path: Some(kept), ..options(&dir) }).close().expect("closed");
    root_agrees(&dir.log());
}

#[test]
fn a_real_full_disk_is_survived_where_a_small_tmpfs_can_be_mounted() {
    let dir = Dir::new();
    let mount = dir.path().join("small");
    std::fs::create_dir(&mount).expect("directory");
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"])
        .arg(&mount)
        .output();
    if !mounted.as_ref().is_ok_and(|output| output.status.success()) {
        skipped(&format!("this user may not mount a tmpfs: {mounted:?}"));
        return;
    }
    let _unmount = Unmount(mount.clone());
    let mut options = options(&dir);
    options.dir = mount.join("logs");
    options.overflow_timeout = std::time::Duration::from_millis(400);
    let log = open(options.clone());
    let ballast = mount.join("ballast");
    std::fs::write(&ballast, vec![0; 3 << 20]).expect("ballast");
    let (acknowledged, refused) = until_refused(&log, 20_000, 1_000);
    assert!(["disk_full", "unavailable"].contains(&refused.kind()), "{refused}");
    eventually("health can see it", || {
        log.status().expect("status").state() == Some(WriterState::DiskFull)
    });
    std::fs::remove_file(&ballast).expect("space again");
    eventually("recording resumes", || {
        log.record(Event::new("after")).is_ok_and(|receipt| receipt.wait().is_ok())
    });
    log.close().expect("closed");
    let stored = count(&options.dir, "e");
    assert!(stored >= acknowledged, "{stored} of {acknowledged} acknowledged");
    assert_eq!(count(&options.dir, "audit.disk_full"), 1);
    assert_eq!(count(&options.dir, "audit.disk_recovered"), 1);
    root_agrees(&options.dir);
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_clean_close_works_on_a_full_disk() {
    let dir = Dir::new();
    let (options, fs) = failing(&dir);
    let log = open(options);
    record(&log, 3);
    fs.set_space(Space { total: 1 << 30, available: 0, ..Space::default() });
    eventually("the disk is full", || {
        log.status().expect("status").disk_stage() == Some(DiskStage::Full)
    });
    log.close().expect("closed");
    assert_eq!(types(&dir.log()).last().map(String::as_str), Some("audit.closed"));
    whole(&dir, 3);
}
