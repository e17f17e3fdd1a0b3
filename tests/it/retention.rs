//! Retention, attacked: what no backup is proven to hold stays, whatever the manifest,
//! the catalog, file times and the clock say.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use auditctl::audit::state::status::{RetentionMode, RetentionWait, Word};
use auditctl::audit::{AuditLog, Event, Options, RetentionRule};
use auditctl::backup::{Holder, Level, Made};
use auditctl::clock::{Clock, ManualClock};

use crate::backups::{Home, copy_dir, record_into};
use crate::support::{all_lines, eventually, open, records, root_agrees};

const DAY: Duration = Duration::from_secs(86_400);

/// A log of several segments that are a hundred days old, by a clock that the test sets.
struct Old {
    home: Home,
    clock: Arc<ManualClock>,
}

impl Old {
    fn new() -> Self {
        let (home, clock) = Home::at("2026-02-04T21:09:40Z");
        let old = Self { home, clock };
        old.record(200);
        old
    }

    fn options(&self) -> Options {
        Options {
            clock: self.clock.clone(),
            backups: Some(Arc::new(Holder::new(self.home.backups()))),
            ..self.home.options()
        }
    }

    fn record(&self, count: usize) {
        let log = open(Options { retention: None, ..self.options() });
        record_into(&log, count);
        crate::backups::all_compressed(&log);
        log.close().expect("closed");
    }

    /// A backup, and the log's record of it.
    fn back_up(&self) -> Made {
        let made = self.home.back_up();
        let log = open(Options { retention: None, ..self.options() });
        log.record_backup_made(made.to_record()).wait_durable().expect("durable");
        log.close().expect("closed");
        made
    }

    /// Waits until retention has had a look at the time that it is now.
    fn looked(&self, log: &AuditLog) {
        let now = self.clock.now().micros() as u64;
        eventually("retention has looked", || log.page().get(Word::RetentionLookedAt) == now);
    }

    /// A hundred days go by; opens the log and lets the first hour go by too.
    fn later(&self) -> AuditLog {
        self.clock.advance(100 * DAY);
        let log = open(self.options());
        self.clock.advance(Duration::from_secs(3_601));
        log
    }
}

fn waits(log: &AuditLog, why: RetentionWait) {
    eventually("retention says why it waits", || log.page().get(Word::RetentionWait) == why as u64);
    assert_eq!(log.manifest().pruned.end(), 0, "nothing was removed");
}

/// Nothing was removed, and no removal is on its way: that is recorded first, at the
/// latest when retention has looked.
fn stays(log: &AuditLog) {
    assert_eq!(log.manifest().pruned.end(), 0);
    log.record(Event::new("e")).expect("accepted").wait_durable().expect("durable");
    let said = pruned_records(&log.options().dir);
    assert!(said.is_empty(), "{said:?}");
}

fn removed(log: &AuditLog) -> u64 {
    eventually("what is held is removed", || log.manifest().pruned.end() > 0);
    log.manifest().pruned.end()
}

fn pruned_records(log_dir: &Path) -> Vec<serde_json::Value> {
    let pruned = |(_, record): (u64, serde_json::Value)| {
        (record["event_type"] == "audit.pruned").then(|| record["details"].clone())
    };
    records(log_dir).into_iter().filter_map(pruned).collect()
}

#[test]
fn a_pass_leaves_one_record_that_says_everything_removed_so_far() {
    let old = Old::new();
    let first = old.back_up();
    let log = old.later();
    let to = removed(&log);
    log.close().expect("closed");
    let mut said = pruned_records(&old.home.log_dir());
    old.record(200);
    let second = old.back_up();
    let log = old.later();
    eventually("a second pass", || log.manifest().pruned.end() > to);
    let (pruned, end) = (log.manifest().pruned.clone(), log.manifest().pruned.end());
    log.close().expect("closed");
    // The first one has been removed itself: the second says what it said.
    said.extend(pruned_records(&old.home.log_dir()));
    assert_eq!(said.len(), 2, "{said:?}");
    for (details, from, until, backup) in [(&said[0], 0, to, &first), (&said[1], to, end, &second)]
    {
        assert_eq!((&details["first_seq"], &details["pruned_to"]), (&from.into(), &until.into()));
        assert_eq!(details["records"], until - from);
        assert_eq!(details["held_by"], serde_json::json!([backup.metadata.id]));
    }
    assert_eq!(said[1]["tree"], serde_json::to_value(&pruned).expect("json"));
    assert_eq!(said[1]["root_hash"], pruned.root().expect("from 0").to_string());
    root_agrees(&old.home.log_dir());
}

#[test]
fn a_segment_just_younger_than_retention_stays() {
    let old = Old::new();
    old.back_up();
    old.clock.advance(89 * DAY);
    let log = open(old.options());
    old.clock.advance(DAY - Duration::from_secs(1));
    old.looked(&log);
    stays(&log);
    old.clock.advance(Duration::from_secs(3_602));
    removed(&log);
    log.close().expect("closed");
}

#[test]
fn sealed_at_and_the_times_in_the_manifest_set_old_remove_nothing() {
    let old = Old::new();
    old.back_up();
    let path = old.home.log_dir().join("audit.manifest.json");
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("json");
    for segment in manifest["segments"].as_array_mut().expect("segments") {
        for key in ["sealed_at", "min_timestamp", "max_timestamp"] {
            segment[key] = "2001-01-01T00:00:00.000000Z".into();
        }
    }
    std::fs::write(&path, format!("{manifest}\n")).expect("written");
    // Nor do the times of files, from which a manifest is made anew.
    for name in crate::backups::names(&old.home.log_dir()) {
        let file = std::fs::File::open(old.home.log_dir().join(name)).expect("open");
        let _ = file.set_modified(std::time::SystemTime::UNIX_EPOCH);
    }
    let log = open(old.options());
    old.looked(&log);
    old.clock.advance(Duration::from_secs(3_601));
    old.looked(&log);
    log.close().expect("closed");
    assert_eq!(records(&old.home.log_dir())[0].0, 0);
    assert!(pruned_records(&old.home.log_dir()).is_empty());
}

#[test]
fn a_caller_who_says_that_it_was_long_ago_removes_nothing() {
    let (home, clock) = Home::at("2026-02-04T21:09:40Z");
    let old = Old { home, clock };
    let log = open(old.options());
    for _ in 0..400 {
        let event = Event::new("old").timestamp("2001-01-01T00:00:00Z".parse().expect("a time"));
        log.record(event.target("x".repeat(100))).expect("accepted").wait().expect("durable");
    }
    crate::backups::all_compressed(&log);
    log.close().expect("closed");
    old.back_up();
    let log = open(old.options());
    old.clock.advance(Duration::from_secs(3_601));
    old.looked(&log);
    log.close().expect("closed");
    assert!(
        pruned_records(&old.home.log_dir()).is_empty(),
        "what counts is when they were accepted"
    );
}

#[test]
fn a_log_that_has_been_backed_up_keeps_everything_while_no_backup_is_to_be_seen() {
    for gone in ["unmounted", "emptied", "a file in its place"] {
        let old = Old::new();
        old.back_up();
        let dir = old.home.backups().path().to_path_buf();
        std::fs::remove_dir_all(&dir).expect("removed");
        match gone {
            "emptied" => std::fs::create_dir(&dir).expect("made"),
            "a file in its place" => std::fs::write(&dir, "").expect("written"),
            _ => {}
        }
        let log = old.later();
        waits(&log, RetentionWait::BackupsGone);
        log.close().expect("closed");
    }
}

#[test]
fn the_record_of_a_backup_counts_when_the_manifest_no_longer_knows_of_it() {
    let old = Old::new();
    old.back_up();
    // It comes to lie in a sealed segment.
    old.record(100);
    std::fs::remove_dir_all(old.home.backups().path()).expect("removed");
    let path = old.home.log_dir().join("audit.manifest.json");
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("json");
    let noted = manifest.as_object_mut().expect("an object").remove("backups");
    assert!(noted.expect("it was noted")["newest"].is_u64());
    std::fs::write(&path, format!("{manifest}\n")).expect("written");
    let log = old.later();
    waits(&log, RetentionWait::BackupsGone);
    log.close().expect("closed");
}

#[test]
fn a_log_that_was_never_backed_up_keeps_everything_unless_that_was_said_in_so_many_words() {
    let old = Old::new();
    let log = old.later();
    waits(&log, RetentionWait::NeverBackedUp);
    assert_eq!(log.page().get(Word::RetentionMode), RetentionMode::HeldByBackup as u64);
    log.close().expect("closed");
    let retention_rule = RetentionRule::RemovesWithoutBackup;
    let log = open(Options { retention_rule, ..old.options() });
    assert_eq!(log.page().get(Word::RetentionMode), RetentionMode::WithoutBackup as u64);
    old.clock.advance(Duration::from_secs(3_601));
    removed(&log);
    log.close().expect("closed");
    assert_eq!(pruned_records(&old.home.log_dir())[0]["held_by"], serde_json::json!([]));
}

/// The library's defaults, but for the limits that a test cannot wait for.
fn by_default(old: &Old) -> Options {
    let Options { rate_limit, overflow_timeout, checkpoint_interval, max_segment_size, .. } =
        old.home.options();
    Options {
        rate_limit,
        overflow_timeout,
        checkpoint_interval,
        max_segment_size,
        clock: old.clock.clone(),
        ..Options::new(old.home.log_dir())
    }
}

#[test]
fn a_backup_ends_the_warning_that_there_is_none_without_waiting_an_hour() {
    let old = Old::new();
    let log = old.later();
    waits(&log, RetentionWait::NeverBackedUp);
    let made = old.home.back_up();
    log.record_backup_made(made.to_record()).wait_durable().expect("durable");
    eventually("retention looks again", || {
        log.page().get(Word::RetentionWait) != RetentionWait::NeverBackedUp as u64
    });
    log.close().expect("closed");
}

#[test]
fn embedded_by_default_only_what_a_backup_in_the_named_directory_holds_is_removed() {
    let old = Old::new();
    old.clock.advance(100 * DAY);
    let log = open(by_default(&old));
    assert_eq!(log.page().get(Word::RetentionMode), RetentionMode::NobodyToAsk as u64);
    old.clock.advance(Duration::from_secs(3_601));
    waits(&log, RetentionWait::NobodyToAsk);
    log.close().expect("closed");
    // Named, and there is none.
    let dir = old.home.backups().path().to_path_buf();
    let log = open(by_default(&old).backups_in(&dir));
    old.clock.advance(Duration::from_secs(3_601));
    waits(&log, RetentionWait::NeverBackedUp);
    log.close().expect("closed");
    let request = auditctl::backup::Request::of(&by_default(&old));
    let made = old.home.creator().create(&request, &auditctl::backup::Unwatched).expect("made");
    old.record(100);
    let log = open(by_default(&old).backups_in(&dir));
    log.record_backup_made(made.to_record()).wait_durable().expect("durable");
    old.clock.advance(100 * DAY);
    eventually("what is held is removed, and no more", || {
        old.clock.advance(Duration::from_secs(3_601));
        log.page().get(Word::RetentionWait) == RetentionWait::NotHeld as u64
    });
    assert!(removed(&log) <= made.metadata.range.tree_size);
    log.close().expect("closed");
}

#[test]
fn an_old_copy_put_back_is_noticed_by_who_names_the_directory_of_backups() {
    let old = Old::new();
    let copy = old.home.dir.path().join("copy");
    copy_dir(&old.home.log_dir(), &copy);
    old.record(50);
    old.back_up();
    std::fs::remove_dir_all(old.home.log_dir()).expect("removed");
    copy_dir(&copy, &old.home.log_dir());
    let options = by_default(&old).backups_in(old.home.backups().path());
    let error = AuditLog::open(options).expect_err("not opened");
    assert_eq!(error.kind(), "rolled_back", "{error}");
}

#[test]
fn with_nobody_to_ask_for_backups_nothing_is_removed() {
    let old = Old::new();
    old.clock.advance(100 * DAY);
    let log = open(Options { backups: None, ..old.options() });
    old.clock.advance(Duration::from_secs(3_601));
    waits(&log, RetentionWait::NobodyToAsk);
    log.close().expect("closed");
}

#[test]
fn what_the_catalog_says_is_no_proof() {
    let old = Old::new();
    let held = old.back_up().metadata.range.tree_size;
    old.record(200);
    let path = old.home.backups().join(".catalog.json");
    let text = std::fs::read_to_string(&path).expect("read");
    let raised = text.replace(&format!("\"tree_size\": {held}"), "\"tree_size\": 999999");
    assert_ne!(text, raised);
    std::fs::write(&path, raised).expect("written");
    let log = old.later();
    waits_for_more(&log, held);
    log.close().expect("closed");
}

/// What is held goes, the rest stays and says why.
fn waits_for_more(log: &AuditLog, held: u64) {
    eventually("the rest waits", || {
        log.page().get(Word::RetentionWait) == RetentionWait::NotHeld as u64
            && log.manifest().pruned.end() > 0
    });
    assert!(log.manifest().pruned.end() <= held);
    assert!(log.manifest().segments.len() > 2);
}

#[test]
fn an_archive_that_was_overwritten_with_the_same_length_holds_nothing() {
    use std::os::unix::fs::FileExt;
    let old = Old::new();
    let made = old.back_up();
    let file = std::fs::OpenOptions::new().write(true).open(&made.archive).expect("open");
    let before = file.metadata().expect("there").modified().expect("a time");
    file.write_all_at(&[0; 100], made.metadata.archive.digests.bytes / 2).expect("written");
    file.set_modified(before).expect("set back");
    let log = old.later();
    waits(&log, RetentionWait::NotHeld);
    log.close().expect("closed");
}

#[test]
fn an_archive_is_read_again_once_it_has_changed() {
    use std::os::unix::fs::FileExt;
    let old = Old::new();
    old.clock.advance(50 * DAY);
    old.record(200);
    // It holds both what is old first and what is old later.
    let made = old.back_up();
    old.clock.advance(45 * DAY);
    let log = open(old.options());
    old.clock.advance(Duration::from_secs(3_601));
    let to = removed(&log);
    assert!(to < made.metadata.range.tree_size / 2 + 50, "only the first half is old");
    // This process has read it and found it good.
    let file = std::fs::OpenOptions::new().write(true).open(&made.archive).expect("open");
    file.write_all_at(&[0; 100], made.metadata.archive.digests.bytes / 2).expect("written");
    // The clock jumps, which costs an hour.
    old.clock.advance(50 * DAY);
    eventually("it waits", || {
        old.clock.advance(Duration::from_secs(3_601));
        log.page().get(Word::RetentionWait) == RetentionWait::NotHeld as u64
    });
    assert_eq!(log.manifest().pruned.end(), to);
    log.close().expect("closed");
}

#[test]
fn metadata_that_was_made_to_fit_a_worthless_archive_holds_nothing() {
    let old = Old::new();
    let made = old.back_up();
    let worthless = vec![0; made.metadata.archive.digests.bytes as usize];
    std::fs::write(&made.archive, &worthless).expect("written");
    let mut metadata = made.metadata.clone();
    let digest = auditctl::audit::files::restore::sha256_hex(&worthless);
    metadata.archive.digests.sha256 = digest.parse().expect("a hash");
    // With a signature that is of something else it is no backup at all.
    let (signed, unsigned) = (metadata.signature.clone(), None);
    for (signature, why) in
        [(signed, RetentionWait::BackupsGone), (unsigned, RetentionWait::NotHeld)]
    {
        metadata.signature = signature;
        std::fs::write(&made.metadata_file, metadata.to_bytes().expect("json")).expect("written");
        let log = old.later();
        waits(&log, why);
        log.close().expect("closed");
    }
}

#[test]
fn a_backup_of_another_history_of_the_log_holds_nothing_of_this_one() {
    let old = Old::new();
    let copy = old.home.dir.path().join("copy");
    copy_dir(&old.home.log_dir(), &copy);
    // The other history: more records, and the backup is of it.
    old.record(200);
    old.back_up();
    std::fs::remove_dir_all(old.home.log_dir()).expect("removed");
    copy_dir(&copy, &old.home.log_dir());
    let shared = records(&old.home.log_dir()).len() as u64;
    let log = open(Options { retention: None, ..old.options() });
    let event = |n: u64| Event::new("mine").actor(format!("{n}")).target("x".repeat(100));
    for n in 0..400 {
        log.record(event(n)).expect("accepted").wait().expect("durable");
    }
    crate::backups::all_compressed(&log);
    log.close().expect("closed");
    let log = old.later();
    waits(&log, RetentionWait::NotHeld);
    eventually("it is told", || log.page().get(Word::OtherHistory) != 0);
    log.close().expect("closed");
    assert_eq!(all_lines(&old.home.log_dir()).len() as u64, log.acked_seq());
    assert!(shared > 0);
}

#[test]
fn an_unsigned_backup_counts_once_its_records_are_proven() {
    let old = Old::new();
    let mut request = old.home.request();
    request.key_path = Some(old.home.dir.path().join("no-key-here"));
    let made = old.home.creator().create(&request, &auditctl::backup::Unwatched).expect("made");
    assert!(made.unsigned.is_some());
    let log = old.later();
    assert!(removed(&log) <= made.metadata.range.tree_size);
    log.close().expect("closed");
    assert!(old.home.list(Level::Listed).backups[0].is_good());
}

#[test]
fn a_clock_four_hundred_days_ahead_at_the_start_removes_nothing_in_the_first_hour() {
    let old = Old::new();
    old.back_up();
    let right = old.clock.now();
    old.clock.advance(400 * DAY);
    let log = open(old.options());
    waits(&log, RetentionWait::ClockAhead);
    old.clock.advance(Duration::from_secs(3_599));
    record_into(&log, 1);
    assert_eq!(log.manifest().pruned.end(), 0);
    // Somebody has seen it, and set it right.
    old.clock.set_wall(right);
    old.clock.advance(Duration::from_secs(10));
    old.looked(&log);
    waits(&log, RetentionWait::Nothing);
    assert_eq!(log.manifest().pruned.end(), 0);
    log.close().expect("closed");
}

#[test]
fn pruned_segments_take_their_filters_along() {
    let old = Old::new();
    old.back_up();
    let filters = || {
        let names = crate::backups::names(&old.home.log_dir()).into_iter();
        names.filter(|name| name.ends_with(".filter")).collect::<Vec<_>>()
    };
    let before = filters();
    assert!(before.len() > 2, "{before:?}");
    let log = old.later();
    let to = removed(&log);
    let gone = |name: &&String| {
        let seq = name.trim_start_matches("audit.").trim_end_matches(".filter").parse::<u64>();
        seq.expect("a seq") < to
    };
    assert!(before.iter().any(|name| gone(&name)), "{before:?} up to {to}");
    eventually("their filters go too", || !filters().iter().any(|name| gone(&name)));
    log.close().expect("closed");
}

#[test]
fn retention_at_the_limit_removes_what_is_a_microsecond_older_and_nothing_else() {
    let old = Old::new();
    old.back_up();
    let newest = old.clock.now();
    // Open all the while: the clock is not ahead of what it should be.
    let log = open(old.options());
    old.clock.advance(90 * DAY);
    assert_eq!(old.clock.now().micros() - newest.micros(), 90 * 86_400_000_000);
    old.looked(&log);
    // Exactly as old as retention.
    stays(&log);
    let over = auditctl::clock::Timestamp::from_micros(old.clock.now().micros() + 1);
    old.clock.advance(Duration::from_secs(3_601));
    old.clock.set_wall(over);
    removed(&log);
    log.close().expect("closed");
}

#[test]
fn a_clock_that_is_set_back_removes_nothing_and_brings_nothing_back() {
    let old = Old::new();
    old.back_up();
    let log = open(old.options());
    let before = old.clock.now();
    old.clock.advance(Duration::from_secs(3_601));
    let far_back = auditctl::clock::Timestamp::from_micros(before.micros() - 400 * 86_400_000_000);
    old.clock.set_wall(far_back);
    old.looked(&log);
    stays(&log);
    record_into(&log, 20);
    log.close().expect("closed");
    root_agrees(&old.home.log_dir());
    assert!(pruned_records(&old.home.log_dir()).is_empty());
}

#[test]
fn p1_that_a_backup_was_made_is_known_after_the_loss_of_power() {
    use crate::disk::{Change, Disk, Random, RecordingFs};
    let old = Old::new();
    let made = old.home.back_up();
    std::fs::remove_dir_all(old.home.backups().path()).expect("removed");
    let fs = RecordingFs::on(old.home.dir.path());
    let log = open(Options { fs: Arc::new(fs.clone()), retention: None, ..old.options() });
    log.record_backup_made(made.to_record()).wait_durable().expect("durable");
    fs.told();
    record_into(&log, 20);
    log.close().expect("closed");
    let all = fs.changes();
    let told = all.iter().position(|change| matches!(change, Change::Told)).expect("told");
    let mut random = Random(0x5851_f42d_4c95_7f2d);
    for crash in (told..=all.len()).step_by(((all.len() - told) / 12).max(1)) {
        let disk = Disk::after(&all[..crash], &mut random);
        let mut found =
            Old { home: Home::new(), clock: Arc::new(ManualClock::new(old.clock.now())) };
        found.home.clock = found.clock.clone();
        disk.put_into(old.home.dir.path(), found.home.dir.path());
        let log = found.later();
        waits(&log, RetentionWait::BackupsGone);
        log.close().expect("closed");
    }
}

#[test]
fn retention_waits_for_the_checkpoint() {
    use auditctl::fsio::OsFs;
    use auditctl::fsio::fault::{Fault, FaultFs, How, Op};
    let old = Old::new();
    old.back_up();
    old.clock.advance(100 * DAY);
    let fs = FaultFs::new(Arc::new(OsFs));
    let log = open(Options { fs: Arc::new(fs.clone()), ..old.options() });
    // From here on no checkpoint can be stored.
    fs.plan(Fault {
        op: Op::Rename,
        name_contains: "audit.checkpoint".to_owned(),
        after: 0,
        times: u64::MAX,
        how: How::Errno(5),
    });
    old.clock.advance(Duration::from_secs(3_601));
    eventually("it is recorded", || {
        all_lines(&old.home.log_dir()).iter().any(|line| line.contains("audit.pruned"))
    });
    record_into(&log, 1);
    let hits = fs.hits();
    eventually("checkpoints fail", || fs.hits() > hits + 2);
    assert_eq!(log.manifest().pruned.end(), 0, "no stored checkpoint covers the record");
    fs.heal();
    removed(&log);
    log.close().expect("closed");
}
