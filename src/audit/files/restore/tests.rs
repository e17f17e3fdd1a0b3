use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::fsio::fault::{Fault, FaultFs, How, Op};
use crate::fsio::{OpenMode, OsFs};

fn write(path: &Path, text: &str) {
    let file = OsFs.open(path, OpenMode::CreateNew).expect("new file");
    file.write_all_at(text.as_bytes(), 0).expect("written");
}

/// A directory with an old log and a staged new one, some names in both.
fn prepared(dir: &Path) -> (LogPaths, Journal) {
    let paths = LogPaths::new(dir);
    for name in [
        "audit.log",
        "audit.00000000000000000000.log.gz",
        MANIFEST,
        "audit.checkpoint",
        "audit.key",
    ] {
        write(&dir.join(name), &format!("old {name}"));
    }
    let staging = dir.join(".restore-1");
    OsFs.create_dir_all(&staging).expect("directory");
    for name in [
        "audit.00000000000000000000.log.gz",
        "audit.00000000000000000001.log.gz",
        MANIFEST,
        "audit.checkpoint",
    ] {
        write(&staging.join(name), &format!("new {name}"));
    }
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
    let journal = Journal {
        checkpoints: Vec::new(),
        old_manifest_sha256: Some(sha256_hex(format!("old {MANIFEST}").as_bytes())),
        signature: None,
        committed: false,
        staging: ".restore-1".to_owned(),
        aside: "before-restore-1".to_owned(),
        old: names(&["audit.log", "audit.00000000000000000000.log.gz", "audit.checkpoint"]),
        new: names(&[
            "audit.00000000000000000000.log.gz",
            "audit.00000000000000000001.log.gz",
            "audit.checkpoint",
        ]),
        manifest_sha256: sha256_hex(format!("new {MANIFEST}").as_bytes()),
        restored: Restored {
            backup: "20260101_000000".to_owned(),
            restored_at: Timestamp::default(),
            uid: 0,
            tree_size: 1,
            root_hash: String::new(),
            relation: "diverged".to_owned(),
            set_aside_records: 1,
            kept_in: None,
            abandoned_checkpoint: None,
            abandoned: Vec::new(),
            unproven: false,
        },
    };
    (paths, journal)
}

fn files(dir: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for name in OsFs.list(dir).expect("listed") {
        let path = dir.join(&name);
        if path.is_file() {
            let text = String::from_utf8(OsFs.read(&path, 1 << 20).expect("read")).expect("text");
            found.insert(name, text);
        }
    }
    found
}

fn expected(which: &str) -> BTreeMap<String, String> {
    let names: &[&str] = match which {
        "old" => &["audit.log", "audit.00000000000000000000.log.gz", MANIFEST, "audit.checkpoint"],
        _ => &[
            "audit.00000000000000000000.log.gz",
            "audit.00000000000000000001.log.gz",
            MANIFEST,
            "audit.checkpoint",
        ],
    };
    let key = ("audit.key".to_owned(), "old audit.key".to_owned());
    names.iter().map(|name| ((*name).to_owned(), format!("{which} {name}"))).chain([key]).collect()
}

#[test]
fn a_swap_puts_the_new_files_in_place_and_keeps_the_old_ones() {
    let home = tempfile::tempdir().expect("temporary directory");
    let (paths, journal) = prepared(home.path());
    swap(&OsFs, &paths, &journal).expect("swapped");
    let settled = settle(&OsFs, &paths, By::Operator).expect("settled").expect("a restore");
    assert_eq!(settled.restored, journal.restored);
    forget(&OsFs, &paths).expect("forgotten");
    assert_eq!(files(home.path()), expected("new"));
    let kept = files(&home.path().join(&journal.aside));
    let mut old = expected("old");
    old.remove("audit.key");
    assert_eq!(kept, old, "what was set aside is whole, its manifest included");
    assert!(!home.path().join(&journal.staging).exists());
    assert_eq!(settle(&OsFs, &paths, By::Operator).expect("settled"), None);
}

/// Every single operation of a swap, and of undoing it, may be the last before
/// the process dies or the disk fails.
#[test]
fn whatever_operation_fails_the_log_is_the_old_one_or_the_new_one() {
    let mut outcomes = [0, 0];
    for op in [Op::Open, Op::Write, Op::SyncData, Op::Rename, Op::Remove, Op::SyncDir] {
        for after in 0.. {
            let home = tempfile::tempdir().expect("temporary directory");
            let (paths, journal) = prepared(home.path());
            let fs = FaultFs::new(Arc::new(OsFs));
            // From then on nothing works, as after kill -9.
            for dead in [Op::Open, Op::Write, Op::SyncData, Op::Rename, Op::Remove, Op::SyncDir] {
                fs.plan(Fault {
                    op: dead,
                    name_contains: String::new(),
                    after: if dead == op { after } else { u64::MAX },
                    times: u64::MAX,
                    how: How::Errno(5),
                });
            }
            let done = swap(&fs, &paths, &journal);
            if fs.hits() == 0 {
                break;
            }
            // The next process may die in the same place, once more.
            let second = FaultFs::new(Arc::new(OsFs));
            second.plan(Fault {
                op,
                name_contains: String::new(),
                after: after / 2,
                times: u64::MAX,
                how: How::Errno(5),
            });
            let _ = settle(&second, &paths, By::Operator);
            let restored = settle(&OsFs, &paths, By::Operator).expect("settled in the end");
            let which = usize::from(restored.is_some() || done.is_ok());
            outcomes[which] += 1;
            if restored.is_some() {
                forget(&OsFs, &paths).expect("forgotten");
            }
            assert_eq!(files(home.path()), expected(["old", "new"][which]), "{op:?} {after}");
            if which == 0 {
                assert!(done.is_err(), "{op:?} {after}: nothing was restored");
            }
        }
    }
    assert!(outcomes[0] > 10 && outcomes[1] > 0, "{outcomes:?}");
}

#[test]
fn a_crash_after_settle_is_not_undone() {
    let home = tempfile::tempdir().expect("temporary directory");
    let (paths, journal) = prepared(home.path());
    let fs = FaultFs::new(Arc::new(OsFs));
    // The manifest is in place; that the journal says so fails.
    fs.plan(Fault {
        op: Op::Rename,
        name_contains: "audit.restore.json".to_owned(),
        after: 1,
        times: u64::MAX,
        how: How::Errno(5),
    });
    swap(&fs, &paths, &journal).expect_err("the disk fails");
    let settled = settle(&OsFs, &paths, By::Operator).expect("settled");
    assert_eq!(settled.map(|settled| settled.restored), Some(journal.restored.clone()));
    // The opening goes on: it stores a manifest of its own, and is killed then.
    let file = OsFs.open(&paths.manifest(), OpenMode::Write).expect("there");
    file.write_all_at(b"NEW", 0).expect("written");
    let again = settle(&OsFs, &paths, By::Operator).expect("settled");
    assert_eq!(again.map(|settled| settled.restored), Some(journal.restored));
    let mut expected = expected("new");
    expected.insert(MANIFEST.to_owned(), format!("NEW {MANIFEST}"));
    let mut found = files(home.path());
    found.remove("audit.restore.json");
    assert_eq!(found, expected);
}

#[test]
fn a_journal_that_reaches_out_of_the_directory_is_refused() {
    let home = tempfile::tempdir().expect("temporary directory");
    let (paths, journal) = prepared(home.path());
    for name in ["../x", "/etc/passwd", "", ".."] {
        let mut bad = journal.clone();
        bad.old.push(name.to_owned());
        bad.store(&OsFs, &paths).expect("stored");
        let error = settle(&OsFs, &paths, By::Operator).expect_err("refused");
        assert!(error.to_string().contains("no name that a restore gives"), "{error}");
    }
    assert_eq!(files(home.path()).get("audit.log").map(String::as_str), Some("old audit.log"));
}
