//! An epoch that was given up: its records are named for ever, and a copy of them that
//! hashes to what the log had signed is put beside the log.

use std::path::PathBuf;
use std::sync::Arc;

use auditctl::audit::read::verify::{Abandoned, Kind, Report, Request};
use auditctl::audit::{AuditLog, LogPaths, Options};
use auditctl::clock::Clock;
use serde_json::Value;

use crate::backups::{Home, copy_dir, names, read, record_into};
use crate::disk::{Change, Disk, Random, RecordingFs};
use crate::holes::{accept, accepting, alter, lines, report};
use crate::support::{open, records, run};
use crate::verify_python::python;

/// A log of which nothing tells which record is damaged: its lines as they were, how many
/// of them the backup holds, and how many the log had signed.
struct Damaged {
    home: Home,
    before: Vec<(u64, String)>,
    backed_up: u64,
    signed: u64,
}

fn damaged(altered: u64) -> Damaged {
    let home = Home::new();
    let log = open(home.options());
    record_into(&log, 20);
    log.close().expect("closed");
    home.back_up();
    let backed_up = lines(&home).len() as u64;
    let log = open(home.options());
    record_into(&log, 8);
    log.close().expect("closed");
    let before = lines(&home);
    let paths = LogPaths::new(&home.log_dir());
    alter(&paths.active(), altered);
    std::fs::remove_file(paths.leaves()).expect("removed");
    let signed = before.len() as u64;
    Damaged { home, before, backed_up, signed }
}

fn full(home: &Home) -> Report {
    report(home, &Request::default())
}

fn only(report: &Report) -> &Abandoned {
    assert!(report.passed(), "{report:#?}");
    let [one] = report.abandoned.as_slice() else { panic!("{:#?}", report.abandoned) };
    one
}

/// Everybody who checks the log names them.
fn named(home: &Home, first: u64, end: u64) {
    for request in [Request::default(), Request { quick: true, ..Request::default() }] {
        let report = report(home, &request);
        let one = only(&report);
        assert_eq!((one.epoch, one.first_seq, one.end_seq), (0, first, end), "{one:?}");
    }
    let (code, text) = python(&[&home.log_dir()]);
    assert_eq!(code, 0, "{text}");
}

fn repair(home: &Home, more: &[&str]) -> (i32, String, String) {
    let backups = home.backups();
    let dir = backups.path().to_str().expect("text");
    run(&home.dir, &[&["repair", "--output-dir", dir], more].concat())
}

fn kept(home: &Home) -> PathBuf {
    home.log_dir().join("audit.epoch-0.00000000000000000000.log")
}

#[test]
fn records_that_were_left_behind_with_their_epoch_are_named_for_ever() {
    let Damaged { home, signed, .. } = damaged(7);
    accept(&home);
    assert_eq!(full(&home).epoch, 1);
    named(&home, 0, signed);
    let (code, text, _) = run(&home.dir, &["verify"]);
    assert_eq!(code, 0, "{text}");
    let wanted = format!("but for {signed} records of epoch 0 that were left behind");
    assert!(text.contains(&wanted), "{text}");
    let (_, text, _) = run(&home.dir, &["verify", "--json"]);
    let document: Value = serde_json::from_str(&text).expect("json");
    assert_eq!(document["abandoned"][0]["end_seq"], signed, "{document}");
    assert!(document["abandoned"][0]["record"].is_u64(), "{document}");
    // However often it is opened, whatever else is lost.
    home.record(300);
    named(&home, 0, signed);
    for text in ["", "{}"] {
        let path = LogPaths::new(&home.log_dir()).manifest();
        match text {
            "" => std::fs::remove_file(path).expect("removed"),
            text => std::fs::write(path, text).expect("written"),
        }
        home.record(1);
        named(&home, 0, signed);
    }
}

/// A manifest that names none hides none: the records say it, and they are signed.
#[test]
fn nobody_without_the_key_can_hide_what_was_left_behind() {
    let Damaged { home, signed, .. } = damaged(7);
    accept(&home);
    let path = LogPaths::new(&home.log_dir()).manifest();
    let mut manifest: Value = serde_json::from_slice(&read(&path)).expect("json");
    let ended = manifest.as_object_mut().expect("an object").remove("ended");
    assert!(ended.is_some_and(|ended| ended[0]["end_seq"] == signed), "the manifest names it");
    manifest["signature"] = Value::Null;
    std::fs::write(&path, format!("{manifest}\n")).expect("written");
    named(&home, 0, signed);
    home.record(1);
    named(&home, 0, signed);
}

#[test]
fn repair_puts_the_records_beside_the_log_when_a_copy_hashes_to_what_was_signed() {
    let Damaged { home, before, signed, .. } = damaged(7);
    accept(&home);
    home.record(3);
    // What it would do, and nothing else.
    let there = names(&home.log_dir());
    let (code, text, err) = repair(&home, &["--dry-run"]);
    assert_eq!(code, 0, "{text}{err}");
    assert!(text.contains("audit.epoch-0."), "{text}");
    assert_eq!(names(&home.log_dir()), there);
    // The backup has the damaged record, and what was set aside has the newer ones.
    let (code, text, err) = repair(&home, &[]);
    assert_eq!(code, 0, "{text}{err}");
    let whole: String = before.iter().map(|(_, line)| format!("{line}\n")).collect();
    assert_eq!(String::from_utf8(read(&kept(&home))).expect("text"), whole);
    let report = full(&home);
    let one = only(&report);
    assert_eq!(one.kept.as_ref().map(|kept| kept.end_seq), Some(signed), "{one:?}");
    assert_eq!(report.left_behind(), 0);
    let (_, text, _) = run(&home.dir, &["verify"]);
    assert!(text.contains("VERIFIED\n") && text.contains("audit.epoch-0."), "{text}");
    let stored = records(&home.log_dir());
    let told = stored.iter().find(|(_, record)| record["event_type"] == "audit.repaired");
    let details = &told.expect("recorded").1["details"];
    assert!(details.to_string().contains("audit.epoch-0."), "{details}");
    named(&home, 0, signed);
    // It is done.
    let (code, text, _) = repair(&home, &[]);
    assert_eq!(code, 0);
    assert!(text.contains("nothing is damaged"), "{text}");
    // What is kept is kept under check.
    let good = read(&kept(&home));
    alter(&kept(&home), 9);
    let report = full(&home);
    assert!(!report.passed(), "{report:#?}");
    assert!(report.findings.iter().any(|found| found.kind == Kind::Altered));
    let (code, text, err) = repair(&home, &[]);
    assert_eq!(code, 0, "{text}{err}");
    assert_eq!(read(&kept(&home)), good);
    // One that is gone is named again, and nothing else is wrong.
    std::fs::remove_file(kept(&home)).expect("removed");
    assert_eq!(full(&home).left_behind(), signed);
}

/// Where the damaged record is newer than all backups, what the backup's own signed head
/// proves comes back, and the rest stays named.
#[test]
fn what_an_older_head_of_the_epoch_proves_comes_back_and_the_rest_stays_named() {
    let Damaged { home, before, backed_up, signed } = damaged(25);
    accept(&home);
    let (code, text, err) = repair(&home, &[]);
    assert_eq!(code, 0, "{text}{err}");
    let report = full(&home);
    let one = only(&report);
    assert_eq!(one.kept.as_ref().map(|kept| kept.end_seq), Some(backed_up), "{one:?}");
    assert_eq!(report.left_behind(), signed - backed_up);
    let whole: String =
        before.iter().take(backed_up as usize).map(|(_, line)| format!("{line}\n")).collect();
    assert_eq!(String::from_utf8(read(&kept(&home))).expect("text"), whole);
    let (_, text, _) = run(&home.dir, &["verify"]);
    let wanted = format!("but for {} records of epoch 0", signed - backed_up);
    assert!(text.contains(&wanted), "{text}");
    // No more can be had: said, and no failure.
    let (code, text, _) = repair(&home, &[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("left behind"), "{text}");
}

/// Without the key nobody makes such a copy.
#[test]
fn a_forged_copy_or_head_beside_the_log_proves_nothing() {
    let Damaged { home, signed, .. } = damaged(7);
    accept(&home);
    let dir = home.log_dir();
    let head = dir.join("audit.epoch-0.00000000000000000000.checkpoint");
    let aside = names(&dir).into_iter().find(|name| name.contains(".damaged-")).expect("kept");
    std::fs::copy(dir.join(aside), kept(&home)).expect("copied");
    // Alone, with a head of another log, with one of the next epoch.
    let other = Home::new();
    other.record(10);
    let heads: [Option<Vec<u8>>; 3] = [
        None,
        Some(read(&other.log_dir().join("audit.checkpoint"))),
        Some(read(&dir.join("audit.checkpoint"))),
    ];
    for text in heads {
        match text {
            Some(text) => std::fs::write(&head, text).expect("written"),
            None => assert!(!head.exists()),
        }
        let report = full(&home);
        assert!(!report.passed(), "{report:#?}");
        assert_eq!(report.left_behind(), signed);
    }
    // Repair leads out: the forged one is kept as evidence, the true one takes its place.
    let (code, text, err) = repair(&home, &[]);
    assert_eq!(code, 0, "{text}{err}");
    assert_eq!(full(&home).left_behind(), 0);
    assert!(
        names(&dir)
            .iter()
            .any(|name| name.starts_with("audit.epoch-0.") && name.contains(".damaged-"))
    );
}

/// A damaged copy that no other replaces is set aside: the log is no worse for it.
#[test]
fn a_damaged_copy_that_cannot_be_made_again_is_set_aside() {
    let Damaged { home, signed, .. } = damaged(7);
    accept(&home);
    assert_eq!(repair(&home, &[]).0, 0);
    alter(&kept(&home), 12);
    std::fs::remove_dir_all(home.backups().path()).expect("removed");
    for name in names(&home.log_dir()).iter().filter(|name| name.contains("audit.log.damaged-")) {
        std::fs::remove_file(home.log_dir().join(name)).expect("removed");
    }
    assert!(!full(&home).passed());
    let (code, text, err) = repair(&home, &[]);
    assert_eq!(code, 0, "{text}{err}");
    assert_eq!(full(&home).left_behind(), signed);
    named(&home, 0, signed);
}

/// A backup in reach is no sign of a clone when what it holds is just what was damaged.
#[test]
fn accepting_damage_is_not_taken_for_another_history_of_the_log() {
    let Damaged { home, signed, .. } = damaged(7);
    let found = home.backups().contents().expect("listed").backups;
    assert_eq!(found.len(), 1);
    let metadata = found[0].metadata.as_ref().expect("metadata");
    let note =
        auditctl::audit::keys::checkpoint::SignedCheckpoint::parse(metadata.checkpoint.as_bytes());
    let known = auditctl::audit::keys::histories::KnownHead {
        name: "the backup".to_owned(),
        kept: auditctl::audit::keys::histories::Kept::Backup,
        note: note.expect("signed"),
        rotations: Vec::new(),
    };
    let heads = vec![known];
    assert!(AuditLog::open(Options { heads: heads.clone(), ..home.options() }).is_err());
    let log = open(Options { heads: heads.clone(), ..accepting(&home) });
    log.close().expect("closed");
    named(&home, 0, signed);
    // And never again.
    open(Options { heads, ..home.options() }).close().expect("closed");
}

/// When retention removes the record that named them, its own record goes on naming them.
#[test]
fn what_was_left_behind_stays_named_when_the_record_of_it_is_removed() {
    let (home, clock) = Home::at("2026-02-04T21:09:40Z");
    let day = std::time::Duration::from_secs(86_400);
    let keeps = |home: &Home| Options { retention: None, clock: clock.clone(), ..home.options() };
    let log = open(keeps(&home));
    record_into(&log, 20);
    log.close().expect("closed");
    let signed = lines(&home).len() as u64;
    let paths = LogPaths::new(&home.log_dir());
    alter(&paths.active(), 7);
    let whole: Vec<u8> = read(&paths.active());
    std::fs::remove_file(paths.leaves()).expect("removed");
    let log = open(Options { accept_corruption: true, ..keeps(&home) });
    record_into(&log, 200);
    crate::backups::all_compressed(&log);
    log.close().expect("closed");
    clock.advance(100 * day);
    let rule = auditctl::audit::RetentionRule::RemovesWithoutBackup;
    let log = open(Options { retention_rule: rule, clock: clock.clone(), ..home.options() });
    clock.advance(std::time::Duration::from_secs(3_601));
    crate::support::eventually("old segments are removed", || log.manifest().pruned.end() > 0);
    log.close().expect("closed");
    let _ = clock.now();
    named(&home, 0, signed);
    std::fs::remove_file(paths.manifest()).expect("removed");
    open(keeps(&home)).close().expect("closed");
    named(&home, 0, signed);
    // A copy is still proven: the tree before its records is in the record.
    let good = String::from_utf8(whole).expect("text").replacen("\"Login\"", "\"login\"", 1);
    let copy = kept(&home);
    std::fs::write(&copy, good).expect("written");
    let report = full(&home);
    let note = report.abandoned[0].checkpoint.clone();
    std::fs::write(copy.with_extension("checkpoint"), note).expect("written");
    assert_eq!(full(&home).left_behind(), 0, "{:#?}", full(&home));
}

/// Killed, or without power, at any step of beginning the epoch: what is left behind is
/// named in the end all the same.
#[test]
fn a_crash_at_any_step_of_beginning_the_epoch_hides_nothing() {
    let Damaged { home: image, signed, .. } = damaged(7);
    let fs = RecordingFs::on(image.dir.path());
    let begun = fs.changes().len();
    let log = open(Options { fs: Arc::new(fs.clone()), ..accepting(&image) });
    log.close().expect("closed");
    let changes = fs.changes();
    let mut random = Random(0x5eed);
    for to in begun..=changes.len() {
        for power in [false, true] {
            let home = Home::new();
            std::fs::create_dir_all(home.log_dir()).expect("made");
            let disk = match power {
                true if matches!(changes.get(to), Some(Change::Write(..))) => continue,
                true => Disk::after(&changes[..to], &mut random),
                false => Disk::as_killed(&changes[..to]),
            };
            disk.put_into(image.dir.path(), home.dir.path());
            // As a supervisor does: as usual, and with the flag where that does not open.
            if let Ok(log) = AuditLog::open(home.options()) {
                log.close().expect("closed");
            } else {
                accept(&home);
            }
            let report = full(&home);
            assert!(report.passed(), "after {to} steps ({power}): {report:#?}");
            let told: u64 = report.abandoned.iter().map(|one| one.end_seq).max().unwrap_or(0);
            assert_eq!(told, signed, "after {to} steps ({power}): {:?}", changes.get(to));
            open(home.options()).close().expect("opens as usual again");
        }
    }
}

/// The collector's own manifest is not taken for a stranger's.
#[test]
fn giving_up_records_is_no_incident_of_the_manifest() {
    for leaves in [true, false] {
        let Damaged { home, .. } = damaged(7);
        if leaves {
            // With them only the damaged record is given up.
            let image = Home::new();
            copy_dir(&home.log_dir(), &image.log_dir());
            let home = Home::new();
            let log = open(home.options());
            record_into(&log, 30);
            log.close().expect("closed");
            alter(&LogPaths::new(&home.log_dir()).active(), 9);
            looks_fine(&home);
        } else {
            looks_fine(&home);
        }
    }
}

fn looks_fine(home: &Home) {
    let log = open(accepting(home));
    // The keeper looks every 200 ms; compressing what was given up makes it look, too.
    let begun = std::time::Instant::now();
    crate::support::eventually("it has looked", || {
        begun.elapsed() > std::time::Duration::from_millis(700)
    });
    log.close().expect("closed");
    let stored = records(&home.log_dir());
    let incident = stored.iter().find(|(_, record)| record["event_type"] == "audit.file_replaced");
    assert!(incident.is_none(), "{incident:?}");
    assert!(!home.log_dir().join("security_events.log").exists());
}

/// Manifest, checkpoint and head are lost: what is there is said, and the hints lead out.
#[test]
fn a_log_that_only_its_key_names_is_told_for_what_it_is() {
    for backed_up in [true, false] {
        let home = Home::new();
        home.record(20);
        if backed_up {
            home.back_up();
        }
        let before = lines(&home);
        let paths = LogPaths::new(&home.log_dir());
        std::fs::write(paths.manifest(), "{").expect("written");
        for path in [paths.checkpoint(), paths.head()] {
            std::fs::remove_file(path).expect("removed");
        }
        let report = full(&home);
        assert!(!report.passed() && !report.log_id.is_empty(), "{report:#?}");
        assert!(!report.findings.iter().any(|found| found.kind == Kind::WrongKey), "{report:#?}");
        let here = format!("records 0 to {} are here", before.len() - 1);
        assert!(report.notes.iter().any(|note| note.contains(&here)), "{:?}", report.notes);
        let refused = AuditLog::open(home.options()).expect_err("not opened");
        assert_eq!(refused.kind(), "corrupt", "{refused}");
        let (code, text, err) = repair(&home, &[]);
        if backed_up {
            assert_eq!(code, 0, "{text}{err}");
        } else {
            assert!(code != 0 && err.contains("--accept-corruption"), "{text}{err}");
            accept(&home);
        }
        home.record(1);
        assert!(full(&home).passed(), "{:#?}", full(&home));
        let now = lines(&home);
        assert!(before.iter().all(|line| now.contains(line)), "nothing is gone");
    }
}
