//! Restoring: all or nothing, and nothing that was there is lost.

use std::sync::Arc;
use std::time::Duration;

use auditctl::audit::{AuditLog, OpenError};
use auditctl::backup::{
    BackupError, Extent, Level, Relation, RestoreRequest, Target, Unwatched, Wish, parse_name,
};
use auditctl::fsio::OsFs;
use auditctl::fsio::fault::{Fault, FaultFs, How, Op};

use crate::backups::{Home, names, read, record_into, time, wanted};
use crate::support::{all_lines, records, root_agrees, types};

/// The stored lines of the records that were there before a restore added its own.
fn lines(home: &Home, count: usize) -> Vec<String> {
    all_lines(&home.log_dir()).into_iter().take(count).collect()
}

#[test]
fn p7_a_lost_log_comes_back_and_goes_on() {
    let home = Home::new();
    home.record(300);
    let before = all_lines(&home.log_dir());
    home.back_up();
    // All is lost but the key.
    for name in names(&home.log_dir()) {
        if name != "audit.key" {
            std::fs::remove_file(home.log_dir().join(name)).expect("removed");
        }
    }
    let outcome = home.restore(Wish::Latest).expect("restored");
    assert_eq!(outcome.plan.relation, Relation::Nothing);
    assert!(outcome.changed && outcome.unrecorded.is_none() && outcome.kept_in.is_none());
    assert!(!outcome.plan.new_epoch, "nothing signed is set aside");
    assert_eq!(lines(&home, before.len()), before);
    home.record(10);
    root_agrees(&home.log_dir());
    assert!(types(&home.log_dir()).contains(&"audit.restored".to_owned()));
    assert!(home.back_up().metadata.previous.is_some_and(|link| link.consistency_proof.is_some()));
}

#[test]
fn a_log_whose_key_is_lost_is_restored_and_recorded_once_the_key_is_back() {
    let home = Home::new();
    home.record(30);
    home.back_up();
    let key = read(&home.log_dir().join("audit.key"));
    std::fs::remove_dir_all(home.log_dir()).expect("removed");
    let outcome = home.restore(Wish::Latest).expect("restored");
    assert!(matches!(outcome.unrecorded, Some(OpenError::KeyMissing { .. })));
    root_agrees(&home.log_dir());
    assert!(matches!(AuditLog::open(home.options()), Err(OpenError::KeyMissing { .. })));
    let path = home.log_dir().join("audit.key");
    std::fs::write(&path, key).expect("written");
    auditctl::fsio::os::set_mode(&path, 0o600).expect("mode");
    home.record(1);
    assert_eq!(types(&home.log_dir()).iter().filter(|t| *t == "audit.restored").count(), 1);
    root_agrees(&home.log_dir());
}

#[test]
fn a_log_that_is_behind_gains_records_and_keeps_its_name() {
    let home = Home::new();
    home.record(100);
    let older = home.dir.path().join("older");
    crate::backups::copy_dir(&home.log_dir(), &older);
    home.record(100);
    let made = home.back_up();
    let newer = all_lines(&home.log_dir());
    std::fs::remove_dir_all(home.log_dir()).expect("removed");
    std::fs::rename(&older, home.log_dir()).expect("renamed");
    let outcome = home.restore(Wish::Latest).expect("restored");
    assert!(matches!(outcome.plan.relation, Relation::LiveIsPrefix { gained } if gained > 100));
    assert_eq!((outcome.plan.epoch, outcome.plan.new_epoch), (0, false));
    assert_eq!(lines(&home, newer.len()), newer);
    let kept = outcome.kept_in.expect("what was there is kept");
    root_agrees(&kept);
    root_agrees(&home.log_dir());
    let again = home.plan(Wish::Id(made.metadata.id)).expect("checked").plan;
    assert!(matches!(again.relation, Relation::BackupIsPrefix { .. }), "its own records follow");
}

#[test]
fn signed_records_that_are_set_aside_begin_a_new_epoch_and_can_be_had_back() {
    let home = Home::new();
    home.record(100);
    let made = home.back_up();
    home.record(50);
    let longer = all_lines(&home.log_dir());
    let head = String::from_utf8(read(&home.log_dir().join("audit.checkpoint"))).expect("text");

    let outcome = home.restore(Wish::Latest).expect("restored");
    // A segment's block filters go where it goes.
    let kept = outcome.kept_in.as_ref().expect("what was there is kept");
    let filters = |dir: &std::path::Path| {
        names(dir).into_iter().filter(|name| name.ends_with(".filter")).count()
    };
    let segments = names(kept).into_iter().filter(|name| name.ends_with(".log.gz")).count();
    assert!(segments > 0 && filters(kept) == segments, "{:?}", names(kept));
    let set_aside = longer.len() as u64 - made.metadata.range.tree_size;
    assert_eq!(outcome.plan.relation.set_aside(), set_aside);
    assert_eq!((outcome.plan.epoch, outcome.plan.new_epoch), (1, true));
    let checkpoint = read(&home.log_dir().join("audit.checkpoint"));
    let first_line = String::from_utf8_lossy(&checkpoint).lines().next().map(str::to_owned);
    assert_eq!(first_line, Some(format!("auditctl/{}/e1", made.metadata.log.id)));
    let restored: Vec<_> = records(&home.log_dir())
        .into_iter()
        .filter(|(_, record)| record["event_type"] == "audit.restored")
        .collect();
    assert_eq!(restored.len(), 1);
    let (seq, record) = &restored[0];
    assert_eq!(*seq, made.metadata.range.tree_size);
    assert_eq!(
        record["details"]["abandoned_checkpoint"],
        head.as_str(),
        "both branches stay provable"
    );
    assert_eq!(record["details"]["set_aside_records"], set_aside);
    root_agrees(&home.log_dir());
    home.record(20);

    // What was set aside is a log of its own, and can take its place again.
    let kept = outcome.kept_in.expect("kept");
    assert_eq!(all_lines(&kept), longer);
    let undone = home.restore(Wish::Path(kept)).expect("undone");
    assert_eq!(undone.plan.epoch, 2);
    assert!(matches!(undone.plan.relation, Relation::Diverged { .. }));
    assert_eq!(lines(&home, longer.len()), longer);
    root_agrees(&home.log_dir());
    // Backups of every epoch are told apart, and the chain goes on.
    home.back_up();
    let listed = home.list(Level::Chain);
    assert!(listed.backups.iter().all(|backup| backup.is_good()));
    assert_eq!(listed.backups[0].metadata.as_ref().map(|m| m.log.epoch), Some(2));
}

#[test]
fn the_same_log_is_left_alone_and_a_damaged_one_is_mended() {
    let home = Home::new();
    home.record(300);
    home.back_up();
    let before = all_lines(&home.log_dir());
    let outcome = home.restore(Wish::Latest).expect("looked");
    assert_eq!(outcome.plan.relation, Relation::Identical);
    assert!(!outcome.changed);

    let sealed = names(&home.log_dir()).into_iter().find(|name| name.ends_with(".log.gz"));
    let path = home.log_dir().join(sealed.expect("a sealed segment"));
    let mut bytes = read(&path);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).expect("written");
    let outcome = home.restore(Wish::Latest).expect("mended");
    assert!(outcome.changed && !outcome.plan.live_damage.is_empty());
    assert_eq!(outcome.plan.relation, Relation::Identical);
    assert!(!outcome.plan.new_epoch, "what was signed is what was restored");
    assert_eq!(lines(&home, before.len()), before);
    root_agrees(&home.log_dir());
}

#[test]
fn a_log_without_its_manifest_or_with_a_torn_one_is_restored() {
    for content in [None, Some(&b"{\"format\":1"[..])] {
        let home = Home::new();
        home.record(100);
        let before = all_lines(&home.log_dir());
        home.back_up();
        let path = home.log_dir().join("audit.manifest.json");
        match content {
            None => std::fs::remove_file(&path).expect("removed"),
            Some(bytes) => std::fs::write(&path, bytes).expect("written"),
        }
        let outcome = home.restore(Wish::Latest).expect("restored");
        assert!(!outcome.plan.live_damage.is_empty());
        assert_eq!(lines(&home, before.len()), before);
        root_agrees(&home.log_dir());
    }
}

#[test]
fn a_part_of_a_backup_is_restored_to_a_seq_and_to_a_time() {
    let home = Home::new();
    let log = home.open();
    record_into(&log, 150);
    std::thread::sleep(Duration::from_millis(5));
    let middle = log.acked_seq();
    std::thread::sleep(Duration::from_millis(5));
    record_into(&log, 150);
    log.close().expect("closed");
    let made = home.back_up();
    let all = records(&home.log_dir());
    let accepted = |seq: u64| all[seq as usize].1["timestamp"].as_str().map(time).expect("a time");
    let end = made.metadata.range.tree_size;
    let cases = [
        (Extent::ToSeq(0), 1),
        (Extent::ToSeq(middle), middle + 1),
        (Extent::ToSeq(end - 1), end),
        (Extent::ToTime(accepted(middle - 1)), middle),
        (Extent::ToTime(time("2100-01-01T00:00:00Z")), end),
    ];
    for (number, (extent, size)) in cases.into_iter().enumerate() {
        let target = home.dir.path().join(format!("part-{number}"));
        let request = RestoreRequest { extent, target: Target::Beside(target.clone()), ..wanted() };
        let plan = home.restore_as(&request).expect("restored").plan;
        assert_eq!(plan.tree_size, size, "{extent:?}");
        assert_eq!(plan.new_epoch, size < end, "{extent:?}");
        let restored = segments_lines(&target);
        assert_eq!(restored.len() as u64, size, "{extent:?}");
        assert_eq!(restored, all_lines(&home.log_dir())[..size as usize], "{extent:?}");
    }
    for extent in [Extent::ToSeq(end), Extent::ToTime(time("2001-01-01T00:00:00Z"))] {
        let error = home.restore_as(&RestoreRequest { extent, ..wanted() }).expect_err("no such");
        assert_eq!(error.kind(), "usage", "{extent:?}");
    }
    // In place it sets the rest aside, and the log goes on.
    let request = RestoreRequest { extent: Extent::ToSeq(99), ..wanted() };
    let outcome = home.restore_as(&request).expect("restored");
    assert_eq!(outcome.plan.relation.set_aside(), all.len() as u64 - 100);
    home.record(5);
    root_agrees(&home.log_dir());
}

fn segments_lines(dir: &std::path::Path) -> Vec<String> {
    // all_lines wants an active segment, which a directory has once it was opened.
    std::fs::write(dir.join("audit.log"), "").expect("written");
    all_lines(dir)
}

#[test]
fn p6_a_running_writer_keeps_its_log() {
    let home = Home::new();
    home.record(20);
    home.back_up();
    let log = home.open();
    record_into(&log, 20);
    let error = home.restore(Wish::Latest).expect_err("a writer runs");
    assert_eq!(error.kind(), "locked");
    // To look is allowed, and right, as often as one likes.
    for _ in 0..20 {
        record_into(&log, 1);
        let plan = home.plan(Wish::Latest).expect("a dry run");
        assert_eq!(plan.plan.relation.word(), "backup_is_prefix");
        assert!(plan.plan.live_damage.is_empty(), "{:?}", plan.plan.live_damage);
    }
    record_into(&log, 20);
    log.close().expect("closed");
}

#[test]
fn who_says_no_changes_nothing() {
    let home = Home::new();
    home.record(20);
    home.back_up();
    home.record(20);
    let before = names(&home.log_dir());
    let mut no = |_: &_| Err(BackupError::Refused("no".to_owned()));
    let refused = home.restorer().restore(&wanted(), &mut no, &Unwatched);
    assert!(matches!(refused, Err(BackupError::Refused(_))));
    assert_eq!(names(&home.log_dir()), before);
    home.plan(Wish::Latest).expect("a dry run");
    assert_eq!(names(&home.log_dir()), before);
    let full = home.dir.path().join("full");
    std::fs::create_dir(&full).expect("directory");
    std::fs::write(full.join("mine"), "mine").expect("written");
    let request = RestoreRequest { target: Target::Beside(full.clone()), ..wanted() };
    assert!(matches!(home.restore_as(&request), Err(BackupError::Refused(_))));
    assert_eq!(names(&full), ["mine"]);
}

/// Any operation may be the last that works; the next process finds a working disk.
#[test]
fn whatever_operation_fails_the_log_is_the_old_one_or_the_new_one() {
    let mut home = Home::new();
    home.record(60);
    home.back_up();
    home.record(20);
    let pristine = home.dir.path().join("pristine");
    crate::backups::copy_dir(&home.log_dir(), &pristine);
    let old = all_lines(&home.log_dir());
    let restored = home.list(Level::Listed).backups[0].metadata.as_ref().map(|m| m.range.tree_size);
    let restored = restored.expect("a backup") as usize;
    let (mut stayed, mut changed) = (0, 0);
    for op in [Op::Open, Op::Write, Op::SyncData, Op::Rename, Op::SyncDir, Op::Remove, Op::SetLen] {
        for after in (0..).step_by(if op == Op::Write { 3 } else { 1 }) {
            std::fs::remove_dir_all(home.log_dir()).expect("removed");
            crate::backups::copy_dir(&pristine, &home.log_dir());
            let fs = FaultFs::new(Arc::new(OsFs));
            fs.plan(Fault {
                op,
                name_contains: String::new(),
                after,
                times: u64::MAX,
                how: How::Errno(if op == Op::Write { 28 } else { 5 }),
            });
            home.fs = Arc::new(fs.clone());
            // The opening that records it is another test's business.
            let mut restorer = home.restorer();
            restorer.options.fs = Arc::new(OsFs);
            let outcome = restorer.restore(&wanted(), &mut |_| Ok(()), &Unwatched);
            home.fs = Arc::new(OsFs);
            if fs.hits() == 0 {
                break;
            }
            home.record(1);
            let now = all_lines(&home.log_dir());
            let types = types(&home.log_dir());
            let is_new = types.iter().any(|event_type| event_type == "audit.restored");
            if is_new {
                changed += 1;
                assert_eq!(now[..restored], old[..restored], "{op:?} {after}");
            } else {
                stayed += 1;
                assert!(outcome.is_err(), "{op:?} {after}: said to be restored, and is not");
                assert_eq!(now[..old.len()], old, "{op:?} {after}");
            }
            if after % 8 == 0 {
                root_agrees(&home.log_dir());
            }
            let left = names(&home.log_dir());
            assert!(
                !left.iter().any(|name| name.starts_with(".restore-")),
                "{op:?} {after}: {left:?}"
            );
            assert!(!left.iter().any(|name| name == "audit.restore.json"), "{op:?} {after}");
        }
    }
    assert!(stayed > 20 && changed > 2, "{stayed} {changed}");
}

#[test]
fn a_drill_restores_opens_reads_and_leaves_a_signed_report() {
    let home = Home::new();
    home.record(100);
    home.back_up();
    home.record(50);
    let before = names(&home.log_dir());
    let (report, path) = home.restorer().drill(&wanted(), None, &Unwatched).expect("a report");
    assert!(report.passed, "{report:?}");
    let steps: Vec<&str> = report.steps.iter().map(|step| &*step.step).collect();
    assert_eq!(steps, ["restore", "open", "record", "read", "compare"]);
    assert!(report.signature.is_some());
    assert!(path.exists());
    assert_eq!(names(&home.log_dir()), before, "the log is not touched");
    assert!(names(home.backups().path()).iter().all(|name| !name.starts_with(".drill")));
    let listed = home.list(Level::Listed);
    assert_eq!(listed.backups[0].level, Some(Level::Drill));
    assert!(listed.foreign.is_empty());

    // A backup that cannot be restored is what a drill is for.
    let archive = home.backups().join(&listed.backups[0].id.archive(false));
    let mut bytes = read(&archive);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&archive, bytes).expect("written");
    let (report, _) = home.restorer().drill(&wanted(), None, &Unwatched).expect("a report");
    assert!(!report.passed && !report.steps[0].passed, "{report:?}");
}

#[test]
fn a_drill_of_another_logs_backup_does_not_pass() {
    let (home, other) = (Home::new(), Home::new());
    home.record(20);
    other.record(30);
    let theirs = other.back_up();
    std::fs::create_dir_all(home.backups().path()).expect("made");
    for path in [&theirs.archive, &theirs.metadata_file] {
        let name = path.file_name().expect("a name");
        std::fs::copy(path, home.backups().path().join(name)).expect("copied");
    }
    let wish = Wish::Id(theirs.metadata.id);
    for wish in [wish, Wish::Path(theirs.archive.clone())] {
        let request = RestoreRequest { wish, ..wanted() };
        let (report, _) = home.restorer().drill(&request, None, &Unwatched).expect("a report");
        let last = report.steps.last().expect("a step");
        assert!(!report.passed && last.step == "compare", "{report:?}");
        assert!(last.found.contains(&theirs.metadata.log.id), "{report:?}");
        // Who says so wants it.
        let log = Some(theirs.metadata.log.id.clone());
        let request = RestoreRequest { log, ..request };
        let (report, _) = home.restorer().drill(&request, None, &Unwatched).expect("a report");
        assert!(report.passed, "{report:?}");
    }
}

#[test]
fn in_a_directory_with_the_backups_of_two_logs_each_gets_its_own_and_never_the_others() {
    let (home, _) = Home::at("2026-02-04T21:09:40Z");
    home.record(100);
    home.back_up();
    // The newest is the other log's, and reaches further.
    let (other, _) = Home::at("2026-02-05T21:09:40Z");
    other.record(200);
    let id = other.back_up().metadata.id;
    for name in names(other.backups().path()) {
        if parse_name(&name).is_some() {
            let path = home.backups().path().join(&name);
            std::fs::copy(other.backups().path().join(&name), path).expect("copied");
        }
    }
    let outcome = home.plan(Wish::Latest).expect("a plan");
    assert_eq!(outcome.plan.relation, Relation::Identical);
    let before = all_lines(&home.log_dir());
    for forced in [home.plan(Wish::Id(id)), home.restore(Wish::Id(id))] {
        let error = forced.expect_err("another log's").to_string();
        assert!(error.contains("is a backup of log"), "{error}");
    }
    assert_eq!(all_lines(&home.log_dir()), before);
}

#[test]
fn over_a_log_whose_signed_head_cannot_be_read_what_is_restored_begins_a_new_epoch() {
    let home = Home::new();
    home.record(100);
    home.back_up();
    let checkpoint = home.log_dir().join("audit.checkpoint");
    let plan = || home.plan(Wish::Latest).expect("a plan").plan;
    assert!(!plan().new_epoch, "it continues what was signed");
    // It may have said anything.
    std::fs::write(&checkpoint, "no checkpoint").expect("written");
    assert_eq!(plan().relation, Relation::Identical);
    assert!(plan().new_epoch);
}

#[test]
fn over_a_log_that_lost_records_it_had_signed_what_is_restored_begins_a_new_epoch() {
    let home = Home::new();
    home.record(100);
    home.back_up();
    let dir = home.log_dir();
    let kept: Vec<_> = names(&dir)
        .into_iter()
        .filter(|name| dir.join(name).is_file())
        .map(|name| (read(&dir.join(&name)), name))
        .collect();
    home.record(20);
    // Of what was signed since then only the signed heads are left.
    for (bytes, name) in kept {
        if !["audit.checkpoint", "audit.head"].contains(&&*name) {
            std::fs::write(dir.join(name), bytes).expect("put back");
        }
    }
    let plan = home.plan(Wish::Latest).expect("a plan").plan;
    assert_eq!(plan.relation, Relation::Identical);
    assert!(plan.new_epoch, "what follows must not be signed under the same name again");
}
