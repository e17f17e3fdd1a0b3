//! Repair: what is damaged comes back from copies, proven, and nothing else is touched.

mod trust;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use auditctl::audit::keys::Rotation;
use auditctl::audit::keys::checkpoint::Origin;
use auditctl::audit::keys::signer::{Signer, SigningKey};
use auditctl::audit::read::verify::Report;
use auditctl::audit::read::watch::Unwatched;
use auditctl::audit::tree::merkle::Range;
use auditctl::audit::write::own::Repaired;
use auditctl::audit::write::repair::{
    CopiedBlock, Copy, LogCopy, Needs, Repair, RepairError, apply, look, verified,
};
use auditctl::backup::{BackupCopy, Wish};
use auditctl::clock::SystemClock;
use auditctl::fsio::OsFs;
use auditctl::fsio::fault::{Fault, FaultFs, How, Op};

use crate::backups::{Home, copy_dir, names, read};
use crate::support::{all_lines, records, run, types};

fn needs<'a>(home: &Home, copies: &'a [&'a dyn Copy]) -> Needs<'a> {
    Needs {
        fs: home.fs.clone(),
        clock: Arc::new(SystemClock),
        dir: home.log_dir(),
        key: SigningKey::load(&OsFs, &home.log_dir().join("audit.key"))
            .ok()
            .map(|key| key.verifier().clone()),
        copies,
        report: None,
    }
}

fn newest(home: &Home) -> BackupCopy {
    BackupCopy::open(&home.backups(), &Wish::Latest, None, &[], &Unwatched).expect("a backup")
}

fn planned(home: &Home, copies: &[&dyn Copy]) -> Repair {
    look(&needs(home, copies), &Unwatched).expect("looked")
}

/// Repairs from these copies, as the command does: and opens the log, which records it.
fn repaired(home: &Home, copies: &[&dyn Copy]) -> (Repair, Repaired) {
    let needs = needs(home, copies);
    let repair = look(&needs, &Unwatched).expect("looked");
    let key = SigningKey::load(&OsFs, &home.log_dir().join("audit.key")).ok();
    let done = apply(&needs, &repair, key.as_ref()).expect("applied");
    if key.is_some() {
        let log = home.open();
        log.record_repaired(done.clone()).wait_durable().expect("recorded");
        log.close().expect("closed");
    }
    (repair, done)
}

fn report(home: &Home) -> Report {
    verified(&needs(home, &[]), &Unwatched).expect("a report")
}

/// A log of several compressed segments and an active one, backed up, with newer records
/// in the active one that no backup holds.
fn damaged_later() -> (Home, Vec<String>) {
    let home = Home::new();
    home.record(240);
    // Until the active segment has some records that the backup will hold.
    let active = || read(&home.log_dir().join("audit.log")).iter().filter(|b| **b == b'\n').count();
    while !(8..30).contains(&active()) {
        home.record(1);
    }
    home.back_up();
    home.record(3);
    let lines = all_lines(&home.log_dir());
    (home, lines)
}

fn sealed(home: &Home) -> Vec<PathBuf> {
    let names = names(&home.log_dir());
    let is_sealed = |name: &&String| name.ends_with(".log.gz");
    names.iter().filter(is_sealed).map(|name| home.log_dir().join(name)).collect()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = read(path);
    bytes[at] ^= 1;
    std::fs::write(path, bytes).expect("written");
}

fn edit_active(home: &Home, edit: impl FnOnce(&mut Vec<String>)) {
    let path = home.log_dir().join("audit.log");
    let text = String::from_utf8(read(&path)).expect("text");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    edit(&mut lines);
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(path, text).expect("written");
}

/// The first event in the active segment, which the backup holds.
fn event(lines: &[String]) -> usize {
    lines.iter().position(|line| line.contains("user-")).expect("an event")
}

fn falsify(lines: &mut [String]) {
    let at = event(lines);
    lines[at] = lines[at].replacen("user-", "abuser", 1);
}

type Damage = (&'static str, fn(&Home));

/// Everything that a disk or a person does to a log's files.
const DAMAGES: &[Damage] = &[
    ("a flipped byte in a sealed segment", |home| flip(&sealed(home)[1], 700)),
    ("a flipped byte in each sealed segment", |home| {
        sealed(home).iter().for_each(|path| flip(path, 300));
    }),
    ("a sealed segment that is gone", |home| {
        std::fs::remove_file(&sealed(home)[2]).expect("removed");
    }),
    ("a sealed segment that is cut", |home| {
        let path = &sealed(home)[1];
        std::fs::write(path, &read(path)[..600]).expect("cut");
    }),
    ("bytes behind a sealed segment", |home| {
        let path = &sealed(home)[1];
        std::fs::write(path, [&read(path)[..], b"garbage"].concat()).expect("written");
    }),
    ("another segment in its place", |home| {
        let sealed = sealed(home);
        std::fs::copy(&sealed[0], &sealed[1]).expect("copied");
    }),
    ("an empty file in its place", |home| {
        std::fs::write(&sealed(home)[0], b"").expect("written");
    }),
    ("an altered record in the active segment", |home| {
        edit_active(home, |lines| falsify(lines));
    }),
    ("a line of the active segment that is no record any more", |home| {
        edit_active(home, |lines| lines[2] = "nothing".to_owned());
    }),
    ("a record of the active segment that is gone", |home| {
        edit_active(home, |lines| drop(lines.remove(1)));
    }),
    ("a line too many in the active segment", |home| {
        edit_active(home, |lines| lines.insert(2, "never recorded".to_owned()));
    }),
    ("two records of the active segment in another order", |home| {
        edit_active(home, |lines| lines.swap(1, 2));
    }),
    ("a record of the active segment twice", |home| {
        edit_active(home, |lines| lines.insert(2, lines[1].clone()));
    }),
    ("two lines of the active segment that became one", |home| {
        edit_active(home, |lines| {
            let next = lines.remove(2);
            lines[1].push_str(&next);
        });
    }),
    ("no manifest", |home| {
        std::fs::remove_file(home.log_dir().join("audit.manifest.json")).expect("removed");
    }),
    ("a manifest that is none", |home| {
        std::fs::write(home.log_dir().join("audit.manifest.json"), b"{").expect("written");
    }),
    ("no manifest, and a damaged segment", |home| {
        std::fs::remove_file(home.log_dir().join("audit.manifest.json")).expect("removed");
        flip(&sealed(home)[1], 700);
    }),
    ("no manifest, and a segment that is gone", |home| {
        std::fs::remove_file(home.log_dir().join("audit.manifest.json")).expect("removed");
        std::fs::remove_file(&sealed(home)[1]).expect("removed");
    }),
    ("no checkpoint", |home| {
        std::fs::remove_file(home.log_dir().join("audit.checkpoint")).expect("removed");
    }),
    ("a damaged checkpoint", |home| flip(&home.log_dir().join("audit.checkpoint"), 90)),
    ("a damaged checkpoint and a damaged segment", |home| {
        flip(&home.log_dir().join("audit.checkpoint"), 90);
        flip(&sealed(home)[0], 700);
    }),
    ("a damaged public key", |home| {
        std::fs::write(home.log_dir().join("audit.pub"), b"nothing").expect("written");
    }),
    ("damaged block filters", |home| {
        let names = names(&home.log_dir());
        let filter = names.iter().find(|name| name.ends_with(".filter")).expect("filters");
        flip(&home.log_dir().join(filter), 20);
    }),
    ("a segment, an active record and the public key", |home| {
        flip(&sealed(home)[1], 700);
        edit_active(home, |lines| lines[1] = String::new());
        std::fs::remove_file(home.log_dir().join("audit.pub")).expect("removed");
    }),
];

/// B1: the newer records stay, the damaged ones come back, and what was damaged is kept.
#[test]
fn b1_every_kind_of_damage_is_mended_from_a_backup_and_newer_records_stay() {
    let (home, lines) = damaged_later();
    let pristine = home.dir.path().join("pristine");
    copy_dir(&home.log_dir(), &pristine);
    assert!(sealed(&home).len() >= 3, "{:?}", names(&home.log_dir()));
    for (what, damage) in DAMAGES {
        std::fs::remove_dir_all(home.log_dir()).expect("removed");
        copy_dir(&pristine, &home.log_dir());
        damage(&home);
        // With the key at hand nobody needs audit.pub; nobody believes wrong filters.
        let is_found =
            !report(&home).passed() || what.contains("public key") || what.contains("filters");
        assert!(is_found, "{what}: it is damage");
        let copy = newest(&home);
        let (repair, done) = repaired(&home, &[&copy]);
        assert!(!repair.is_nothing(), "{what}");
        assert!(repair.left.is_empty(), "{what}: {:?}", repair.left);
        let now = report(&home);
        assert!(now.passed(), "{what}: {:?}\n{:?}\n{done:?}", now.findings, repair.changes);
        assert_eq!(all_lines(&home.log_dir())[..lines.len()], lines, "{what}");
        for kept in done.files.iter().filter_map(|file| file.kept.as_ref()) {
            assert!(home.log_dir().join(kept).is_file(), "{what}: {kept}");
        }
        assert_eq!(types(&home.log_dir()).iter().filter(|t| *t == "audit.repaired").count(), 1);
    }
    home.back_up();
}

/// What was written is only what was damaged.
#[test]
fn b1_files_that_are_not_damaged_stay_byte_for_byte() {
    let (home, _) = damaged_later();
    let before: Vec<(PathBuf, Vec<u8>)> =
        sealed(&home).into_iter().map(|path| (path.clone(), read(&path))).collect();
    flip(&sealed(&home)[1], 700);
    let copy = newest(&home);
    let (repair, done) = repaired(&home, &[&copy]);
    assert!(repair.is_rooted, "proven by the signed root");
    for (path, bytes) in before {
        assert!(read(&path) == bytes, "{}: as it was, or again", path.display());
    }
    assert_eq!(done.files.len(), 1, "{done:?}");
    let damaged = home.log_dir().join(done.files[0].kept.as_ref().expect("kept"));
    assert!(read(&damaged) != read(&sealed(&home)[1]));
    let mut records = records(&home.log_dir()).into_iter().rev().map(|(_, record)| record);
    let record = records.find(|record| record["event_type"] == "audit.repaired");
    let details = &record.expect("a record")["details"];
    assert_eq!(details["from"][0], copy.name());
    assert_eq!(details["files"][0]["records"][0][0], repair.changes[0].first_seq);
}

#[test]
fn b1_a_dry_run_tells_record_by_record_and_changes_nothing() {
    let (home, lines) = damaged_later();
    edit_active(&home, |lines| falsify(lines));
    let before: Vec<_> = names(&home.log_dir())
        .into_iter()
        .map(|name| (read(&home.log_dir().join(&name)), name))
        .collect();
    let copy = newest(&home);
    let repair = planned(&home, &[&copy]);
    let [change] = &repair.changes[..] else { panic!("{:?}", repair.changes) };
    assert_eq!(change.end_seq, change.first_seq + 1, "one record, and not its file");
    let [record] = &change.records[..] else { panic!("{change:?}") };
    assert!(record.now.as_ref().is_some_and(|now| now.contains("abuser")));
    assert_eq!(record.then, lines[record.seq as usize]);
    let after: Vec<_> = names(&home.log_dir())
        .into_iter()
        .map(|name| (read(&home.log_dir().join(&name)), name))
        .collect();
    assert!(before == after);
}

/// What no copy holds stays, and is named; all else is mended.
#[test]
fn b1_what_no_copy_holds_is_named_and_stays_as_it_is() {
    let (home, _) = damaged_later();
    let damaged = sealed(&home)[1].clone();
    flip(&damaged, 700);
    let active = home.log_dir().join("audit.log");
    let text = String::from_utf8(read(&active)).expect("text");
    // One of the newer records, which are in no backup.
    let at = text.rfind("user-").expect("an event");
    flip(&active, at);
    let copy = newest(&home);
    let copies: [&dyn Copy; 1] = [&copy];
    let needs = needs(&home, &copies);
    let repair = look(&needs, &Unwatched).expect("looked");
    let [left] = &repair.left[..] else { panic!("{:?}", repair.left) };
    assert_eq!(left.file, "audit.log");
    assert_eq!(
        left.first_seq,
        copy.tree().end().max(left.first_seq),
        "what the backup has is good"
    );
    let before = read(&active);
    let key = SigningKey::load(&OsFs, &home.log_dir().join("audit.key")).expect("a key");
    let done = apply(&needs, &repair, Some(&key)).expect("applied");
    assert_eq!(done.left.len(), 1);
    assert!(read(&active) == before, "nothing is made up");
    let now = report(&home);
    assert!(!now.passed());
    assert!(now.findings.iter().all(|found| found.file == "audit.log"), "{:?}", now.findings);
}

#[test]
fn a_log_without_its_key_is_repaired_all_the_same() {
    let (home, lines) = damaged_later();
    std::fs::remove_file(home.log_dir().join("audit.key")).expect("removed");
    flip(&sealed(&home)[1], 700);
    std::fs::remove_file(&sealed(&home)[2]).expect("removed");
    edit_active(&home, |lines| lines[1] = String::new());
    let copy = newest(&home);
    let (repair, _) = repaired(&home, &[&copy]);
    assert!(repair.left.is_empty() && repair.is_rooted);
    assert!(report(&home).passed(), "{:?}", report(&home).findings);
    assert_eq!(all_lines(&home.log_dir()), lines);
}

/// A log directory is a copy as well: what a restore put beside, or set aside.
#[test]
fn a_log_directory_is_a_copy() {
    let (home, lines) = damaged_later();
    let beside = home.dir.path().join("beside");
    copy_dir(&home.log_dir(), &beside);
    let active = home.log_dir().join("audit.log");
    std::fs::write(&active, b"").expect("emptied");
    flip(&sealed(&home)[0], 500);
    let copy = LogCopy::open(&home.fs, &beside, &Unwatched).expect("a copy");
    let (repair, _) = repaired(&home, &[&copy]);
    assert!(repair.left.is_empty(), "{:?}", repair.left);
    assert!(report(&home).passed());
    assert_eq!(all_lines(&home.log_dir())[..lines.len()], lines);
}

/// B1: the backup that holds what a later one lacks is the only copy: it stays.
#[test]
fn b1_cleanup_keeps_the_backup_that_holds_what_is_damaged_in_the_log() {
    let (home, _) = damaged_later();
    let (logs, backups) = (home.log_dir(), home.backups().path().to_path_buf());
    let command = |args: &[&str]| {
        let dirs = ["--log-dir", logs.to_str().expect("text")];
        let output = ["--output-dir", backups.to_str().expect("text")];
        run(&home.dir, &[&dirs, args, &output].concat())
    };
    flip(&sealed(&home)[1], 700);
    let (code, out, err) = command(&["backup"]);
    assert_eq!(code, 1, "{out}{err}");
    let (code, out, err) = command(&["cleanup", "--keep", "1"]);
    assert!(code == 0 && out.contains("only copy"), "{code} {out}{err}");
    let (code, out, err) = command(&["repair"]);
    assert_eq!(code, 0, "{out}{err}");
}

/// A socket belongs to one log: whoever names another one does not reach its collector.
#[test]
fn a_collector_of_another_log_is_not_asked() {
    let home = Home::new();
    home.record(1);
    let other = home.dir.path().join("other");
    let settings = home.dir.path().join("both.toml");
    let socket = home.dir.path().join("both.sock");
    let log = home.log_dir();
    let text = format!("log_dir = {log:?}\n[collector]\nsocket = {socket:?}\nhttp = \"off\"\n");
    std::fs::write(&settings, text).expect("written");
    let config = ["--config", settings.to_str().expect("text")];
    let of_other = [&config[..], &["--log-dir", other.to_str().expect("text")]].concat();
    let with = |dirs: &[&str], args: &[&str]| run(&home.dir, &[dirs, args].concat());
    assert_eq!(with(&of_other, &["record", "--type", "made"]).0, 0);
    let mut collector = crate::support::auditctl(&home.dir, &[&config[..], &["serve"]].concat())
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("runs");
    crate::support::eventually("the collector listens", || socket.exists());
    assert_eq!(with(&of_other, &["record", "--type", "for_other"]).0, 0);
    assert_eq!(with(&config, &["record", "--type", "for_its_own"]).0, 0);
    let (_, counted, _) = with(&of_other, &["query", "--type", "for_*", "--count"]);
    assert_eq!(counted.trim(), "1");
    let pid = rustix::process::Pid::from_raw(collector.id().cast_signed()).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("told");
    collector.wait().expect("ended");
    let of = |dir: &Path, event: &str| types(dir).iter().filter(|t| *t == event).count();
    assert_eq!((of(&other, "for_other"), of(&log, "for_other")), (1, 0));
    assert_eq!((of(&other, "for_its_own"), of(&log, "for_its_own")), (0, 1));
}

#[test]
fn without_any_signed_head_nothing_is_repaired() {
    let (home, lines) = damaged_later();
    for name in ["audit.checkpoint", "audit.head"] {
        std::fs::remove_file(home.log_dir().join(name)).expect("removed");
    }
    let looked = look(&needs(&home, &[]), &Unwatched);
    assert!(matches!(looked, Err(RepairError::NoHead { .. })), "{looked:?}");
    // A backup has one. What is newer, nobody has signed: it stands behind a signed close,
    // and the opening keeps it aside and says so.
    let copy = newest(&home);
    let end = copy.tree().end() as usize;
    let (repair, _) = repaired(&home, &[&copy]);
    assert!(repair.others.iter().any(|other| other.file == "audit.checkpoint"));
    let now = report(&home);
    assert!(now.passed(), "{:?}", now.findings);
    let names = names(&home.log_dir());
    let kept = names.iter().find(|name| name.starts_with("audit.log.foreign-")).expect("kept");
    let kept = String::from_utf8(read(&home.log_dir().join(kept))).expect("text");
    assert!(kept.lines().eq(lines[end..].iter().map(String::as_str)));
}

/// A repair that fails, or is killed, at any of its steps leaves each file as it was or
/// as it becomes; the next one does the rest.
#[test]
fn a_repair_that_fails_anywhere_is_gone_on_with() {
    let (mut home, lines) = damaged_later();
    flip(&sealed(&home)[1], 700);
    edit_active(&home, |lines| lines[1] = String::new());
    flip(&home.log_dir().join("audit.checkpoint"), 90);
    let pristine = home.dir.path().join("damaged");
    copy_dir(&home.log_dir(), &pristine);
    let mut failed = 0;
    for op in [Op::Open, Op::Write, Op::SyncData, Op::Rename, Op::SyncDir] {
        for after in 0.. {
            std::fs::remove_dir_all(home.log_dir()).expect("removed");
            copy_dir(&pristine, &home.log_dir());
            let copy = newest(&home);
            let fs = FaultFs::new(Arc::new(OsFs));
            home.fs = Arc::new(fs.clone());
            let copies: [&dyn Copy; 1] = [&copy];
            let wanted = needs(&home, &copies);
            let repair = look(&wanted, &Unwatched).expect("looked");
            fs.plan(Fault {
                op,
                name_contains: String::new(),
                after,
                times: u64::MAX,
                how: How::Errno(if op == Op::Write { 28 } else { 5 }),
            });
            let key = SigningKey::load(&OsFs, &home.log_dir().join("audit.key")).ok();
            let done = apply(&wanted, &repair, key.as_ref());
            let hits = fs.hits();
            home.fs = Arc::new(OsFs);
            if hits == 0 {
                assert!(done.is_ok());
                break;
            }
            assert!(done.is_err(), "{op:?} {after}");
            failed += 1;
            repaired(&home, &[&copy]);
            assert!(report(&home).passed(), "{op:?} {after}: {:?}", report(&home).findings);
            assert_eq!(all_lines(&home.log_dir())[..lines.len()], lines, "{op:?} {after}");
        }
    }
    assert!(failed > 15, "{failed}");
}

/// B1 by hand: the commands, and what they say.
#[test]
fn b1_the_command_repairs_what_verify_finds_and_says_what_it_did() {
    let (home, _) = damaged_later();
    let dir = &home.dir;
    let logs = home.log_dir().display().to_string();
    let backups = home.backups().path().display().to_string();
    let command = |args: &[&str]| {
        let all = [&["--log-dir", &logs], args].concat();
        run(dir, &all)
    };
    let backups = ["--output-dir", &backups];
    let (code, out, _) = command(&[&["repair"][..], &backups].concat());
    assert_eq!((code, out.contains("nothing is damaged")), (0, true), "{out}");
    flip(&sealed(&home)[1], 700);
    assert_eq!(command(&["verify"]).0, 1);
    let (code, out, _) = command(&[&["repair", "--dry-run"][..], &backups].concat());
    assert!(code == 0 && out.contains("would be put back") && out.contains("    + {"), "{out}");
    assert_eq!(command(&["verify"]).0, 1, "nothing was changed");
    let (code, out, err) = command(&[&["repair", "--json"][..], &backups].concat());
    let value: serde_json::Value =
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}"));
    assert_eq!(
        (code, &value["passed"], &value["changed"]),
        (0, &true.into(), &true.into()),
        "{out}"
    );
    assert!(value["recorded"].is_u64(), "{out}");
    assert_eq!(command(&["verify"]).0, 0);
    // Nobody writes meanwhile.
    flip(&sealed(&home)[1], 700);
    let log = home.open();
    let (code, _, err) = command(&[&["repair"][..], &backups].concat());
    assert!(code == 4 && err.contains("stop the collector"), "{code} {err}");
    log.close().expect("closed");
    // Without a copy it says what to do, and finds what it found.
    let (code, out, _) = command(&["repair", "--output-dir", "/nonexistent"]);
    assert!(code == 1 && out.contains("--from") && out.contains("still damaged"), "{code} {out}");
}
