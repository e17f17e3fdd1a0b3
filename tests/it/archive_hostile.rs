//! What others put into an archive, or take out of it, to hide a part of a log, to have another
//! believed, or to keep it from being shipped and read.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use auditctl::archive::{
    Course, Cuts, HostName, KeysDocument, ObjectName, Shipping, Wanted as Restored,
};
use auditctl::audit::keys::checkpoint::VerifierKey;
use auditctl::audit::keys::signer::SigningKey;
use auditctl::audit::write::key_change::RotateRequest;
use auditctl::audit::{Options, RetentionRule};
use auditctl::backup::{Extent, Unwatched};
use auditctl::fleet::{Severity, Wanted, prove};
use auditctl::fsio::OsFs;
use auditctl::store::LocalStore;

use crate::archive::{Fleet, is_tail};
use crate::backups::{Home, all_compressed, copy_dir, read, record_into};
use crate::fleet::{Hosts, codes, said};
use crate::support::{Dir, all_lines, eventually, open};

fn path(fleet: &Fleet, name: &ObjectName) -> PathBuf {
    fleet.bucket().join(name.to_string())
}

/// The objects of a kind, by their names.
fn all(fleet: &Fleet, is: impl Fn(&ObjectName) -> bool) -> Vec<ObjectName> {
    let mut found: Vec<_> = fleet.objects().into_iter().filter(|object| is(object)).collect();
    found.sort();
    found
}

fn refused(fleet: &Fleet, want: &Restored) -> String {
    let target = tempfile::tempdir_in(fleet.home.dir.path()).expect("a directory");
    let restored = fleet.restore_as(want, Extent::Whole, &target.path().join("there"));
    restored.expect_err("it is refused")
}

/// Removes everything about records below the one with which the last data object begins, except
/// what is to be kept.
fn behead(fleet: &Fleet, keep: fn(&ObjectName) -> bool) -> u64 {
    let ranges = all(fleet, |it| matches!(it, ObjectName::Range(..)));
    let Some(ObjectName::Range(_, begins, _)) = ranges.last() else { panic!("no range") };
    for name in fleet.objects() {
        let is_below = match &name {
            ObjectName::Data(place) | ObjectName::Parquet(place) => place.span.first < *begins,
            ObjectName::Range(_, first, _) | ObjectName::Tail(_, first, _) => first < begins,
            ObjectName::Checkpoint(_, size) => size <= begins,
            ObjectName::Keys(..) => false,
        };
        if is_below && !keep(&name) {
            std::fs::remove_file(path(fleet, &name)).expect("removed");
        }
    }
    *begins
}

#[test]
fn an_archive_without_its_beginning_is_not_taken_for_a_whole_one() {
    let fleet = Fleet::new();
    for _ in 0..3 {
        fleet.record(30);
        fleet.cut();
    }
    let begins = behead(&fleet, |_| false);
    let error = refused(&fleet, &Restored::default());
    assert!(error.contains(&format!("the archive begins with record {begins}")), "{error}");
    assert!(error.contains("bucket") && error.contains("is missing"), "{error}");
}

/// Retention removes from the log what was shipped long ago. That excuses nothing in the archive.
#[test]
fn what_was_shipped_is_missed_also_when_retention_removed_it_from_the_log_since() {
    let (home, clock) = Home::at("2026-02-04T10:00:00Z");
    let fleet = Fleet::of(home);
    for _ in 0..3 {
        fleet.record(150);
        fleet.cut();
    }
    let options =
        Options { retention_rule: RetentionRule::RemovesWithoutBackup, ..fleet.options() };
    clock.advance(Duration::from_secs(100 * 86_400));
    let log = open(options);
    clock.advance(Duration::from_secs(3_601));
    eventually("old segments are removed", || log.manifest().pruned.end() > 300);
    log.close().expect("closed");
    fleet.cut();
    let whole = fleet.restored();
    let begins = behead(&fleet, |it| matches!(it, ObjectName::Checkpoint(..)));
    assert!(begins > 300, "the last range is what came after the removal: {begins}");
    let error = refused(&fleet, &Restored::default());
    assert!(error.contains("were shipped"), "{} records before: {error}", whole.len());
}

fn rotate(fleet: &Fleet) {
    let log = open(fleet.options());
    log.rotate_key(&RotateRequest::default()).expect("the key is changed");
    record_into(&log, 20);
    all_compressed(&log);
    log.close().expect("closed");
}

fn public_key(fleet: &Fleet) -> VerifierKey {
    VerifierKey::load(&OsFs, &fleet.home.log_dir().join("audit.pub")).expect("a key")
}

fn keys(fleet: &Fleet) -> Vec<ObjectName> {
    all(fleet, |it| matches!(it, ObjectName::Keys(..)))
}

/// Old keys under the name of newer ones would end the log where it changed its key.
#[test]
fn old_keys_under_any_name_hide_nothing_that_newer_ones_signed() {
    let fleet = Fleet::new();
    fleet.record(20);
    fleet.cut();
    let first = public_key(&fleet);
    rotate(&fleet);
    fleet.cut();
    let lines = all_lines(&fleet.home.log_dir());
    let old = read(&path(&fleet, &keys(&fleet)[0]));
    let Some(ObjectName::Keys(log, ..)) = keys(&fleet).pop() else { panic!("keys") };
    for name in [ObjectName::Keys(log.clone(), 99, 0), ObjectName::Keys(log, 1, 1)] {
        std::fs::write(path(&fleet, &name), &old).expect("written");
    }
    for public_key in [Some(first), None] {
        let want = Restored { public_key, ..Restored::default() };
        assert_eq!(fleet.restored_as(&want), lines);
    }
}

/// The record of the change is signed by the old key as well: it says what is missing.
#[test]
fn keys_that_were_removed_are_missed_where_the_log_says_that_others_followed() {
    let fleet = Fleet::new();
    fleet.record(20);
    let first = public_key(&fleet);
    let log = open(fleet.options());
    log.rotate_key(&RotateRequest::default()).expect("the key is changed");
    fleet.cut();
    record_into(&log, 20);
    log.close().expect("closed");
    fleet.cut();
    let old = KeysDocument {
        log_id: first.log_id().expect("a log's key"),
        public_key: first.to_string(),
        rotations: Vec::new(),
    };
    let newer = keys(&fleet).pop().expect("keys");
    std::fs::remove_file(path(&fleet, &newer)).expect("removed");
    let name = ObjectName::Keys(newer.log().clone(), 0, 0);
    std::fs::write(path(&fleet, &name), old.encode().expect("encoded")).expect("written");
    let error = refused(&fleet, &Restored { public_key: Some(first), ..Restored::default() });
    assert!(error.contains("another key followed"), "{error}");
}

/// Anybody can write that his key took the place of the log's.
#[test]
fn keys_that_nobody_but_their_owner_signed_come_after_those_of_the_log() {
    let fleet = Fleet::new();
    fleet.record(20);
    fleet.cut();
    let lines = all_lines(&fleet.home.log_dir());
    let first = public_key(&fleet);
    let Some(ObjectName::Keys(log, ..)) = keys(&fleet).pop() else { panic!("keys") };
    // Another log of that name, whose only key is the forger's.
    let forger = SigningKey::generate(first.name()).expect("a key");
    let document = KeysDocument {
        log_id: log.id().to_owned(),
        public_key: forger.verifier().to_string(),
        rotations: Vec::new(),
    };
    let name = ObjectName::Keys(log, 0, 7);
    std::fs::write(path(&fleet, &name), document.encode().expect("encoded")).expect("written");
    for public_key in [Some(first), None] {
        let want = Restored { public_key, ..Restored::default() };
        assert_eq!(fleet.restored_as(&want), lines);
    }
}

/// A key that took the place of one that was lost is not led to by the lost one's signature. Who
/// believes that one is told that there is more.
#[test]
fn what_a_key_signed_that_nobody_authorised_is_not_left_out_without_a_word() {
    let fleet = Fleet::new();
    fleet.record(20);
    fleet.cut();
    let lines = all_lines(&fleet.home.log_dir());
    let first = public_key(&fleet);
    std::fs::remove_file(fleet.home.log_dir().join("audit.key")).expect("removed");
    let dir = fleet.home.log_dir();
    let replaced = std::process::Command::new(env!("CARGO_BIN_EXE_auditctl"))
        .args(["--log-dir", dir.to_str().expect("UTF-8"), "key", "replace", "--reason", "lost"])
        .output()
        .expect("run");
    assert!(replaced.status.success(), "{}", String::from_utf8_lossy(&replaced.stderr));
    fleet.record(20);
    fleet.cut();
    let want = Restored { public_key: Some(first), ..Restored::default() };
    let error = refused(&fleet, &want);
    assert!(error.contains("without its signature"), "{error}");
    let forced = fleet.restored_as(&Restored { force: true, ..want });
    assert_eq!(forced[..lines.len()], lines);
    let newer = Restored { public_key: Some(public_key(&fleet)), ..Restored::default() };
    assert_eq!(fleet.restored_as(&newer), all_lines(&fleet.home.log_dir()));
}

/// Who has the key, and a copy of the log, names another key to follow it.
#[test]
fn two_successors_that_one_key_signed_are_a_split_view() {
    let fleet = Fleet::new();
    fleet.record(20);
    fleet.cut();
    let first = public_key(&fleet);
    let copy = Fleet::new();
    copy_dir(&fleet.home.log_dir(), &copy.home.log_dir());
    rotate(&fleet);
    fleet.record(20);
    fleet.cut();
    rotate(&copy);
    copy.cut();
    let theirs = keys(&copy).pop().expect("keys");
    let ObjectName::Keys(log, changes, _) = theirs.clone() else { panic!("keys") };
    let second = ObjectName::Keys(log, changes, 1);
    std::fs::copy(path(&copy, &theirs), path(&fleet, &second)).expect("copied");
    let want = Restored { public_key: Some(first), ..Restored::default() };
    let error = refused(&fleet, &want);
    assert!(error.contains("signed two successions"), "{error}");
    let forced = fleet.restored_as(&Restored { force: true, ..want });
    assert_eq!(forced, all_lines(&fleet.home.log_dir()));
}

/// Nobody signs a document: whoever may put objects can put one that says that it is newer.
#[test]
fn what_says_that_a_newer_version_made_it_stops_neither_shipping_nor_a_restore() {
    let fleet = Fleet::new();
    fleet.record(20);
    let cut = fleet.cut();
    let (log, next) = (cut.log, cut.tree_size);
    let newer = |kind: &str| format!("{{\"type\":\"auditctl/archive-{kind}\",\"format\":2}}\n");
    for (name, kind) in [
        (ObjectName::Keys(log.clone(), 0, 1), "keys"),
        (ObjectName::Keys(log.clone(), 5, 0), "keys"),
        (ObjectName::Range(log.clone(), 3, 0), "range"),
        (ObjectName::Range(log, next, 0), "range"),
    ] {
        std::fs::write(path(&fleet, &name), newer(kind)).expect("written");
    }
    fleet.record(20);
    fleet.cut();
    fleet.record(20);
    fleet.cut();
    assert_eq!(fleet.restored(), all_lines(&fleet.home.log_dir()));
    // Behind the end, nobody knows what it holds: whoever restores is told.
    let ObjectName::Range(log, ..) =
        all(&fleet, |it| matches!(it, ObjectName::Range(..))).remove(0)
    else {
        panic!("a range")
    };
    let behind = ObjectName::Range(log, 999_999, 0);
    std::fs::write(path(&fleet, &behind), newer("range")).expect("written");
    let error = refused(&fleet, &Restored::default());
    assert!(error.contains("999999.range.json") && error.contains("newer version"), "{error}");
    assert_eq!(fleet.restored_so_far(), all_lines(&fleet.home.log_dir()));
}

/// In a bucket that is an object under a key of somebody else's, or in an archive of tapes.
#[test]
fn what_cannot_be_read_has_its_name_and_shipping_takes_another() {
    let fleet = Fleet::new();
    fleet.record(20);
    let cut = fleet.cut();
    let (log, next) = (cut.log, cut.tree_size);
    let link = |name: &ObjectName| {
        let at = path(&fleet, name);
        std::fs::create_dir_all(at.parent().expect("a folder")).expect("made");
        std::os::unix::fs::symlink(fleet.home.dir.path().join("elsewhere"), at).expect("a link");
    };
    link(&ObjectName::Tail(log.clone(), next, 0));
    link(&ObjectName::Range(log, next, 0));
    fleet.record(20);
    let shipped = fleet.ship();
    let second = |it: &ObjectName| matches!(it, ObjectName::Tail(_, _, 1));
    assert!(shipped.objects.iter().any(second), "{shipped:?}");
    let shipped = fleet.cut();
    let second = |it: &ObjectName| matches!(it, ObjectName::Range(_, _, 1));
    assert!(shipped.objects.iter().any(second), "{shipped:?}");
    for link in ["tail", "proof"] {
        let log = std::fs::read_dir(fleet.bucket().join(link)).expect("listed").next();
        for entry in std::fs::read_dir(log.expect("one").expect("one").path()).expect("listed") {
            let entry = entry.expect("an entry");
            if entry.file_type().expect("a type").is_symlink() {
                std::fs::remove_file(entry.path()).expect("removed");
            }
        }
    }
    assert_eq!(fleet.restored(), all_lines(&fleet.home.log_dir()));
}

/// An epoch of which only damaged tails are there is not passed over for the one before it.
#[test]
fn an_epoch_of_which_nothing_whole_is_there_is_missed() {
    let fleet = Fleet::new();
    fleet.record(20);
    let made = fleet.home.back_up();
    fleet.record(5);
    fleet.ship();
    let before = all_lines(&fleet.home.log_dir());
    let wish = auditctl::backup::Wish::Id(made.metadata.id);
    fleet.home.restore(wish).expect("restored");
    fleet.record(20);
    fleet.ship();
    let is_new = |it: &ObjectName| is_tail(it) && it.log().epoch() == 1;
    let tails = all(&fleet, is_new);
    let ObjectName::Tail(log, first, 0) = tails[0].clone() else { panic!("a tail") };
    let mut bytes = read(&path(&fleet, &tails[0]));
    bytes[40] ^= 1;
    for nth in 0..2 {
        let name = ObjectName::Tail(log.clone(), first, nth);
        std::fs::write(path(&fleet, &name), &bytes).expect("written");
    }
    let error = refused(&fleet, &Restored::default());
    assert!(error.contains("ndjson.gz") && error.contains("epoch 1"), "{error}");
    // What is there of epoch 0 is what somebody asks for.
    let epoch = Restored { epoch: Some(0), ..Restored::default() };
    assert_eq!(fleet.restored_as(&epoch), before);
}

/// A proof is made of what was proven to be there, or not at all.
#[test]
fn a_data_object_with_records_out_of_place_proves_none_of_them() {
    let hosts = Hosts::new(1);
    let data = hosts.of(0).into_iter().find(|it| matches!(it, ObjectName::Data(_))).expect("data");
    let mut raw = Vec::new();
    let bytes = read(&hosts.path(&data));
    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(&bytes[..]), &mut raw)
        .expect("gzip");
    let lines: Vec<&[u8]> = raw.split_inclusive(|byte| *byte == b'\n').collect();
    let mut parts = Vec::new();
    for part in [&lines[..3], &lines[9..]] {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut packer, &part.concat()).expect("packed");
        parts.extend(packer.finish().expect("packed"));
    }
    std::fs::write(hosts.path(&data), parts).expect("written");
    let wanted = Wanted { log: hosts.id(0), seq: 1, epoch: None, public_key: None };
    let error = prove(hosts.store(), &wanted).expect_err("no proof").to_string();
    assert!(error.contains("record 9 is out of place"), "{error}");
}

/// Engines follow links, and read names that are not UTF-8.
#[test]
fn links_and_names_that_are_not_utf8_in_a_directory_are_foreign_and_stop_nothing() {
    use std::os::unix::ffi::OsStrExt as _;
    let raw = |data: PathBuf, name: &[u8]| data.join(std::ffi::OsStr::from_bytes(name));
    let plants: [&dyn Fn(PathBuf); 3] = [
        &|data| {
            std::fs::create_dir(raw(data.clone(), b"\xff")).expect("made");
            std::fs::write(raw(data, b"\xff/a.gz"), "x").expect("written");
        },
        &|data| std::fs::write(raw(data, b"\xff.gz"), "x").expect("written"),
        &|data| {
            let to = data.join("../elsewhere");
            std::os::unix::fs::symlink(to, data.join("day=2026-01-01")).expect("a link");
        },
    ];
    for plant in plants {
        let hosts = Hosts::new(1);
        plant(hosts.bucket().join("data"));
        let fleet = hosts.verify();
        assert_eq!(codes(&fleet), ["foreign_object"].into(), "{}", said(&fleet));
        assert_eq!(fleet.worst(), Some(Severity::Bad), "{}", said(&fleet));
    }
}

/// A log that rests has nothing to put, and learns all the same that its archive is gone.
#[test]
fn a_session_with_nothing_new_looks_after_its_archive_and_fills_it_again() {
    let (home, clock) = Home::at("2026-02-04T10:00:00Z");
    let fleet = Fleet::of(home);
    fleet.record(20);
    let archiver = auditctl::archive::Archiver {
        cuts: Cuts { data_age: Duration::ZERO, ..fleet.cuts },
        ..fleet.archiver()
    };
    let mut session = archiver.begin().expect("the lock");
    session.pass(&archiver, &Unwatched).expect("shipped");
    std::fs::remove_dir_all(fleet.bucket()).expect("removed");
    clock.advance(Duration::from_secs(601));
    // It cannot be looked at: that is no archive that holds everything.
    session.pass(&archiver, &Unwatched).expect_err("the directory is not there");
    std::fs::create_dir(fleet.bucket()).expect("made");
    session.pass(&archiver, &Unwatched).expect("shipped");
    assert_eq!(fleet.restored(), all_lines(&fleet.home.log_dir()));
}

/// A store that hangs is left when another one is named.
#[test]
fn a_change_of_the_archive_ends_a_pass_that_hangs_on_the_old_one() {
    let dir = Dir::new();
    let log = open(Options::new(dir.log()));
    record_into(&log, 10);
    let bucket = dir.path().join("bucket");
    std::fs::create_dir(&bucket).expect("a directory");
    let course = |open: Arc<auditctl::archive::OpenStore>, to: &str| Course {
        open,
        destination: to.to_owned(),
        interval: Duration::from_millis(20),
        host: HostName::of("web-1"),
        cuts: Cuts::default(),
    };
    let hangs: Arc<auditctl::archive::OpenStore> = Arc::new(|stop: auditctl::store::Stop| {
        // As a request that is tried again and again until somebody says stop.
        while !stop.asked() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let url = "hangs".to_owned();
        let kind = auditctl::store::StoreErrorKind::Interrupted;
        Err(auditctl::store::StoreError::new(kind, url, "interrupted"))
    });
    let shipping = Shipping::start(
        (Arc::new(OsFs), Arc::new(auditctl::clock::SystemClock)),
        &dir.log(),
        Some(course(hangs, "hangs")),
        |_| (),
    );
    let shipping = shipping.expect("started");
    let there = bucket.clone();
    let works: Arc<auditctl::archive::OpenStore> =
        Arc::new(move |_| Ok(Arc::new(LocalStore::new(&there))));
    shipping.change(Some(course(works, "works")));
    eventually("it is shipped to the other", || bucket.join("tail").exists());
    shipping.end(Duration::from_secs(10));
    log.close().expect("closed");
}
