//! What an archive is taken for: a known head, with which a start compares the log, and a place
//! that holds what retention removes. Neither rests on a file beside the log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use auditctl::archive::{ArchiveHolder, Position};
use auditctl::audit::state::status::Word;
use auditctl::audit::{AuditLog, Event, Options};
use auditctl::backup::Holder;
use auditctl::clock::{Clock, ManualClock};
use auditctl::fsio::OsFs;
use auditctl::store::{BackupStore, LocalStore};

use crate::archive::Fleet;
use crate::archive_serve::{bucket, restored, ships_to};
use crate::backups::{Home, copy_dir};
use crate::serving::{Serving, refuses_to_start};
use crate::support::{Dir, all_lines, eventually, open, records};

fn send(serving: &Serving, n: usize) {
    let mut peer = serving.connect();
    for _ in 0..n {
        let answer = peer.ask("{\"event_type\":\"login\"}");
        assert!(answer.get("ok").is_some(), "{answer}");
    }
}

fn shipped(dir: &Dir) -> u64 {
    let position = Position::load(&OsFs, &dir.log()).expect("readable");
    position.map_or(0, |position| position.shipped.end())
}

/// A log of which an older copy was put back, with everything that lies beside it.
fn put_back() -> (Dir, PathBuf) {
    let dir = Dir::new();
    let bucket = bucket(&dir);
    let settings = ships_to(bucket.to_str().expect("UTF-8"));
    let serving = Serving::start(&dir, &settings);
    send(&serving, 3);
    serving.terminate();
    let old = dir.path().join("old");
    copy_dir(&dir.log(), &old);
    let serving = Serving::start(&dir, &settings);
    send(&serving, 3);
    serving.terminate();
    std::fs::rename(dir.log(), dir.path().join("newer")).expect("renamed");
    std::fs::rename(&old, dir.log()).expect("renamed");
    (dir, bucket)
}

/// Log and position went back together: the archive tells.
#[test]
fn a_log_that_was_put_back_with_its_position_does_not_start() {
    let (dir, bucket) = put_back();
    let before = all_lines(&dir.log());
    let (code, said) = refuses_to_start(&dir, &[]);
    assert_ne!(code, Some(0));
    let place = bucket.to_str().expect("UTF-8");
    assert!(
        said.contains("an old copy of this log was put back") && said.contains(place),
        "{said}"
    );
    assert!(said.contains("--accept-rollback"), "{said}");
    assert_eq!(all_lines(&dir.log()), before, "nothing was recorded");
    // Nothing of the position is believed, whatever it says.
    std::fs::remove_file(dir.log().join("audit.archive.json")).expect("removed");
    let (_, said) = refuses_to_start(&dir, &[]);
    assert!(said.contains("an old copy of this log was put back"), "{said}");
    // To go on from here begins an epoch, which is shipped as well; the other history stays.
    let serving =
        Serving::start_with(&dir, &ships_to(place), &["--accept-rollback", "--http", "off"], &[]);
    send(&serving, 2);
    serving.terminate();
    let lines = all_lines(&dir.log());
    assert_eq!(shipped(&dir), lines.len() as u64);
    assert_eq!(restored(&dir, "bucket"), lines);
}

/// The archive cannot be reached, and the log was put back without its position: the signed
/// checkpoint in that tells. Without it a start is not held up, and says what was not compared.
#[test]
fn a_log_that_was_put_back_without_its_position_does_not_start_either() {
    let (dir, bucket) = put_back();
    std::fs::rename(&bucket, dir.path().join("away")).expect("renamed");
    let position = dir.log().join("audit.archive.json");
    std::fs::copy(dir.path().join("newer/audit.archive.json"), &position).expect("copied");
    let (_, said) = refuses_to_start(&dir, &[]);
    assert!(said.contains("put back") && said.contains("audit.archive.json"), "{said}");
    std::fs::remove_file(position).expect("removed");
    let settings = ships_to(bucket.to_str().expect("UTF-8"));
    let serving = Serving::start_with(&dir, &settings, &["--http", "off"], &[]);
    assert!(serving.stderr().contains("[not_compared]"), "{}", serving.stderr());
    assert!(serving.stderr().contains("the archive"), "{}", serving.stderr());
    serving.terminate();
}

const DAY: Duration = Duration::from_secs(86_400);

/// A log of several segments, and an archive, by a clock that the test sets.
struct Old {
    fleet: Fleet,
    clock: Arc<ManualClock>,
}

impl Old {
    fn new() -> Self {
        let (home, clock) = Home::at("2026-02-04T21:09:40Z");
        let old = Self { fleet: Fleet::of(home), clock };
        let log = open(Options { retention: None, ..old.options() });
        crate::backups::record_into(&log, 200);
        crate::backups::all_compressed(&log);
        log.close().expect("closed");
        old
    }

    fn options(&self) -> Options {
        let bucket = self.fleet.bucket();
        let backups = Arc::new(Holder::new(self.fleet.home.backups()));
        let open = move || {
            let store: Arc<dyn BackupStore> = Arc::new(LocalStore::new(&bucket));
            Some(Ok(store))
        };
        Options {
            clock: self.clock.clone(),
            backups: Some(Arc::new(ArchiveHolder::new(backups, Box::new(open)))),
            ..self.fleet.home.options()
        }
    }

    /// A hundred days go by; opens the log and lets the first hour go by too.
    fn later(&self) -> AuditLog {
        self.clock.advance(100 * DAY);
        let log = open(self.options());
        self.clock.advance(Duration::from_secs(3_601));
        log
    }

    /// Retention has looked, and removed nothing.
    fn keeps_everything(&self, what: &str) {
        let log = self.later();
        let now = self.clock.now().micros() as u64;
        eventually("retention has looked", || log.page().get(Word::RetentionLookedAt) == now);
        assert_eq!(log.manifest().pruned.end(), 0, "{what}");
        log.record(Event::new("e")).expect("accepted").wait_durable().expect("durable");
        log.close().expect("closed");
        assert!(pruned(&self.fleet.home.log_dir()).is_empty(), "{what}");
    }

    /// A data object.
    fn data(&self) -> PathBuf {
        let mut folders = vec![self.fleet.bucket().join("data")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("readable").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "gz") {
                    return path;
                }
            }
        }
        panic!("there is no data object")
    }
}

fn pruned(log_dir: &Path) -> Vec<serde_json::Value> {
    let pruned = |(_, record): (u64, serde_json::Value)| {
        (record["event_type"] == "audit.pruned").then(|| record["details"].clone())
    };
    records(log_dir).into_iter().filter_map(pruned).collect()
}

#[test]
fn retention_removes_what_was_read_back_from_the_archive_and_names_it() {
    let old = Old::new();
    old.fleet.cut();
    let lines = all_lines(&old.fleet.home.log_dir());
    let log = old.later();
    eventually("what is held is removed", || log.manifest().pruned.end() > 0);
    log.close().expect("closed");
    let told = pruned(&old.fleet.home.log_dir());
    let place = old.fleet.bucket();
    let held_by = told[0]["held_by"][0].as_str().expect("a holder");
    assert!(held_by.starts_with(place.to_str().expect("UTF-8")), "{held_by}");
    assert!(held_by.ends_with(".range.json"), "{held_by}");
    // It is there, and the log still leads up to it.
    old.fleet.ship();
    let there = old.fleet.restored();
    assert!(there.starts_with(&lines), "{} of {}", there.len(), lines.len());
}

/// Nothing is removed for what a file beside the log says, or for what is in the archive and is
/// not what the log signed.
#[test]
fn retention_keeps_what_the_archive_only_seems_to_hold() {
    let tails = Old::new();
    tails.fleet.ship();
    tails.keeps_everything("only tails hold it");

    let emptied = Old::new();
    emptied.fleet.cut();
    std::fs::remove_dir_all(emptied.fleet.bucket()).expect("removed");
    std::fs::create_dir(emptied.fleet.bucket()).expect("a directory");
    emptied.keeps_everything("the position says that all is there, and nothing is");

    let altered = Old::new();
    altered.fleet.cut();
    let data = altered.data();
    let mut bytes = std::fs::read(&data).expect("bytes");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&data, bytes).expect("written");
    altered.keeps_everything("a data object was altered");

    let removed = Old::new();
    removed.fleet.cut();
    std::fs::remove_file(removed.data()).expect("removed");
    removed.keeps_everything("a data object is missing");

    let uncommitted = Old::new();
    uncommitted.fleet.cut();
    let proofs = uncommitted.fleet.bucket().join("proof");
    let log = std::fs::read_dir(proofs).expect("a folder").next().expect("one").expect("readable");
    for entry in std::fs::read_dir(log.path()).expect("a folder") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|extension| extension == "checkpoint") {
            std::fs::remove_file(path).expect("removed");
        }
    }
    uncommitted.keeps_everything("nothing commits it");

    // Another log's, under this one's names and position.
    let (one, other) = (Old::new(), Old::new());
    other.fleet.cut();
    std::fs::remove_dir_all(one.fleet.bucket()).expect("removed");
    std::fs::rename(other.fleet.bucket(), one.fleet.bucket()).expect("renamed");
    one.keeps_everything("it is another log's archive");
}
