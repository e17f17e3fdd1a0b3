//! `auditctl archive`, and `restore` from there: as they are typed, killed at any moment, and
//! of logs that have a past.

use std::process::Stdio;
use std::time::Duration;

use auditctl::archive::{Position, Wanted};
use auditctl::audit::{Event, Options, RetentionRule};
use auditctl::backup::Extent;
use serde_json::Value;

use crate::archive::Fleet;
use crate::backups::{Home, record_into};
use crate::holes::{accept, alter};
use crate::support::{Dir, Moments, all_lines, auditctl, eventually, open, run};

fn ok(dir: &Dir, args: &[&str]) -> String {
    let (code, out, err) = run(dir, args);
    assert_eq!(code, 0, "{args:?}: {out}{err}");
    out
}

fn json(dir: &Dir, args: &[&str]) -> (i32, Value) {
    let (code, out, err) = run(dir, &[&["--json"], args].concat());
    (code, serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}")))
}

#[test]
fn a_log_is_shipped_and_restored_on_an_empty_machine_with_a_key_kept_elsewhere() {
    let dir = Dir::new();
    std::fs::create_dir(dir.path().join("bucket")).expect("a directory");
    ok(&dir, &["record", "--type", "login", "--actor", "alice"]);
    std::fs::copy(dir.log().join("audit.pub"), dir.path().join("kept.pub")).expect("copied");
    let text = ok(&dir, &["archive", "bucket"]);
    assert!(text.starts_with("Shipped ") && text.contains("bucket holds all "), "{text}");
    assert!(ok(&dir, &["archive", "bucket"]).starts_with("Nothing new: "));
    // Where shipping goes on does not depend on where the command is run.
    let position = std::fs::read(dir.log().join("audit.archive.json")).expect("a position");
    let position: Value = serde_json::from_slice(&position).expect("JSON");
    assert!(position["destination"].as_str().is_some_and(|to| to.starts_with('/')), "{position}");
    ok(&dir, &["key", "rotate", "--reason", "yearly"]);
    ok(&dir, &["record", "--type", "after.the.rotation"]);
    let (code, said) = json(&dir, &["archive", "bucket"]);
    assert_eq!(code, 0, "{said}");
    let objects = said["archive"]["objects"].as_array().expect("objects");
    assert_eq!(objects.len(), 2, "the keys, and a tail: {said}");
    let lines = all_lines(&dir.log());
    assert_eq!(said["archive"]["tree_size"], lines.len());

    // Another machine: nothing but the bucket and the first public key.
    let (code, plan) = json(&dir, &["--log-dir", "new", "restore", "bucket", "--dry-run"]);
    assert_eq!(code, 0, "{plan}");
    let restore = ["--log-dir", "new", "restore", "bucket", "--force", "--public-key", "kept.pub"];
    ok(&dir, &restore);
    assert_eq!(all_lines(&dir.path().join("new")), lines);
    ok(&dir, &["--log-dir", "new", "verify", "--public-key", "kept.pub"]);
    let (code, report) = json(&dir, &["restore", "bucket", "--drill"]);
    assert_eq!(code, 0, "{report}");
    // Another log's key.
    let (code, _, err) = run(&dir, &["--log-dir", "other", "record", "--type", "x"]);
    assert_eq!(code, 0, "{err}");
    let (code, _, err) =
        run(&dir, &["restore", "bucket", "--target", "t", "--public-key", "other/audit.pub"]);
    assert_ne!(code, 0, "{err}");
    let (code, _, err) = run(&dir, &["restore", "bucket", "--target", "part", "--to-seq", "2"]);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("The archive leads up to ") && err.contains("accepted at 2"), "{err}");
    assert_eq!(all_lines(&dir.path().join("part")), lines[..3]);
}

#[test]
fn what_cannot_be_shipped_or_restored_says_why() {
    let dir = Dir::new();
    std::fs::create_dir_all(dir.path().join("empty/proof")).expect("a directory");
    let (code, said) = json(&dir, &["archive", "empty"]);
    assert_eq!((code, &said["error"]["kind"]), (3, &Value::from("not_found")), "{said}");
    ok(&dir, &["record", "--type", "login"]);
    let (code, said) = json(&dir, &["archive", "nowhere"]);
    assert_eq!((code, &said["error"]["kind"]), (3, &Value::from("no_bucket")), "{said}");
    let (code, said) = json(&dir, &["restore", "empty", "--target", "t"]);
    assert_eq!((code, &said["error"]["kind"]), (3, &Value::from("not_found")), "{said}");
    assert!(said["error"]["hint"].as_str().is_some_and(|hint| hint.contains("archive")), "{said}");
    let newer = r#"{"type":"auditctl/archive","format":9}"#;
    std::fs::write(dir.log().join("audit.archive.json"), newer).expect("written");
    let (code, said) = json(&dir, &["archive", "empty"]);
    assert_eq!((code, &said["error"]["kind"]), (3, &Value::from("newer_version")), "{said}");
}

/// kill -9 at any moment: nothing that was committed is missing, and nothing is in a table
/// twice.
#[test]
fn a_pass_that_is_killed_at_any_moment_loses_nothing_and_ships_nothing_twice() {
    let fleet = Fleet::new();
    let bucket = fleet.bucket();
    let bucket = bucket.to_str().expect("UTF-8");
    let mut moments = Moments::up_to(Duration::from_millis(20), 7);
    let (mut killed, mut done, mut committed) = (0, 0, 0);
    for round in 0..60 {
        fleet.record(20);
        let mut child = auditctl(&fleet.home.dir, &["archive", bucket])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        std::thread::sleep(moments.next());
        let ended = child.try_wait().expect("asked").is_some();
        if !ended {
            child.kill().expect("killed");
        }
        child.wait().expect("ended");
        moments.happened(ended);
        killed += u64::from(!ended);
        done += u64::from(ended);
        let lines = all_lines(&fleet.home.log_dir());
        if round % 10 == 9 {
            fleet.cut();
        }
        if let Ok(Some(position)) = Position::load(&*fleet.home.fs, &fleet.home.log_dir()) {
            let shipped = position.shipped.end();
            assert!(shipped >= committed, "round {round}");
            committed = shipped;
            let restored = fleet.restored_so_far();
            assert!(restored.len() as u64 >= committed, "round {round}");
            assert_eq!(restored, lines[..restored.len()], "round {round}");
        }
        fleet.data_is_gapless();
    }
    assert!(killed > 5 && done > 5, "{killed} killed, {done} done");
    fleet.cut();
    assert_eq!(fleet.restored(), all_lines(&fleet.home.log_dir()));
    fleet.data_is_gapless();
}

#[test]
fn what_retention_removed_before_is_no_hole_and_what_was_given_up_is_one() {
    let (home, clock) = Home::at("2026-02-04T10:00:00Z");
    let old = Options {
        clock: home.clock.clone(),
        retention_rule: RetentionRule::RemovesWithoutBackup,
        ..home.options()
    };
    let log = open(Options { retention: None, ..old.clone() });
    record_into(&log, 300);
    crate::backups::all_compressed(&log);
    log.close().expect("closed");
    clock.advance(Duration::from_secs(100 * 86_400));
    let log = open(old.clone());
    clock.advance(Duration::from_secs(3_601));
    eventually("old segments are removed", || log.manifest().pruned.end() > 0);
    log.record(Event::new("new")).expect("accepted").wait().expect("durable");
    log.close().expect("closed");

    let fleet = Fleet::of(home);
    let shipped = fleet.cut();
    let lines = all_lines(&fleet.home.log_dir());
    assert!((lines.len() as u64) < shipped.tree_size, "some are removed");
    assert_eq!(fleet.restored(), lines);
    let (first, end) = fleet.data_is_gapless()[&0];
    assert_eq!((end - first, end), (lines.len() as u64, shipped.tree_size));

    let fleet = Fleet::new();
    let log = open(fleet.options());
    record_into(&log, 30);
    log.close().expect("closed");
    let whole = all_lines(&fleet.home.log_dir());
    alter(&fleet.home.log_dir().join("audit.log"), 9);
    let error = fleet.try_ship().expect_err("damaged");
    assert_eq!(error.kind(), "corrupt", "{error}");
    accept(&fleet.home);
    fleet.ship();
    let lines = all_lines(&fleet.home.log_dir());
    assert_eq!(lines[..9], whole[..9]);
    assert_eq!(lines[9], whole[10], "one record is given up");
    assert_eq!(fleet.restored(), lines);
    fleet.cut();
    let target = fleet.home.dir.path().join("there");
    let outcome = fleet.restore_as(&Wanted::default(), Extent::Whole, &target).expect("restored");
    assert_eq!(all_lines(&target), lines);
    assert_eq!(outcome.plan.holes.len(), 1);
    assert_eq!(outcome.plan.lacking().count(), 0, "it was given up by a signed record");
}
