//! An archive that accidents, or others who can write there, have left in disorder.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use auditctl::archive::{
    ArchiveError, ArchiveStatus, Archiver, Cuts, ObjectName, POSITION_FILE, Wanted,
};
use auditctl::audit::tree::merkle::Range;
use auditctl::audit::{Event, Options, RetentionRule};
use auditctl::backup::{Extent, Stage, Unwatched, Watch};
use auditctl::fsio::OsFs;
use auditctl::store::fault::Operation;
use auditctl::store::{BackupStore, LocalStore};

use crate::archive::{Fleet, is_tail};
use crate::backups::{Home, all_compressed, copy_dir, read, record_into};
use crate::support::{all_lines, eventually, open};

/// What the log's objects in `proof/` begin with.
fn proofs(fleet: &Fleet) -> PathBuf {
    let found = std::fs::read_dir(fleet.bucket().join("proof")).expect("listed").next();
    found.expect("a log").expect("listed").path()
}

fn plant(fleet: &Fleet, name: &str) {
    std::fs::write(proofs(fleet).join(name), "junk").expect("written");
}

/// The position that a log has with another archive, as one that this archive never confirmed.
#[test]
fn a_position_that_claims_more_than_the_archive_has_leaves_no_record_out() {
    for is_committed in [false, true] {
        let fleet = Fleet::new();
        fleet.record(20);
        fleet.cut();
        fleet.record(20);
        let elsewhere = fleet.home.dir.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).expect("a directory");
        let cuts = Cuts { data_age: Duration::ZERO, ..fleet.cuts };
        let store: Arc<dyn BackupStore> = Arc::new(LocalStore::new(&elsewhere));
        let other = Archiver { cuts, store: store.clone(), ..fleet.archiver() };
        other.pass(&Unwatched).expect("shipped elsewhere");
        let path = fleet.home.log_dir().join(POSITION_FILE);
        let mut position: serde_json::Value =
            serde_json::from_slice(&read(&path)).expect("a position");
        position["destination"] = fleet.store.url("").into();
        position["committed"] = is_committed.into();
        std::fs::write(&path, position.to_string()).expect("written");
        if is_committed {
            // Whoever can write to both puts something under the name that is asked for.
            let size = position["data"]["end"].as_u64().expect("an end");
            plant(&fleet, &format!("e0.{size:020}.checkpoint"));
        }
        fleet.record(5);
        fleet.cut();
        assert_eq!(fleet.restored(), all_lines(&fleet.home.log_dir()), "{is_committed}");
    }
}

#[test]
fn a_name_of_a_huge_epoch_stops_nothing_and_contradicts_nothing() {
    let fleet = Fleet::new();
    fleet.record(20);
    fleet.cut();
    for name in ["00000000000000000007.checkpoint", "00000000000000000000.range.json"] {
        plant(&fleet, &format!("e4294967295.{name}"));
    }
    fleet.forget_position();
    fleet.record(20);
    fleet.cut();
    assert_eq!(fleet.restored(), all_lines(&fleet.home.log_dir()));
}

#[test]
fn a_newer_epoch_that_the_log_signed_still_contradicts_an_older_copy_of_it() {
    let fleet = Fleet::new();
    fleet.record(20);
    let made = fleet.home.back_up();
    fleet.record(20);
    fleet.cut();
    let older = fleet.home.dir.path().join("older");
    copy_dir(&fleet.home.log_dir(), &older);
    fleet.home.restore(auditctl::backup::Wish::Id(made.metadata.id)).expect("restored");
    fleet.record(20);
    fleet.ship();
    std::fs::remove_dir_all(fleet.home.log_dir()).expect("removed");
    copy_dir(&older, &fleet.home.log_dir());
    fleet.forget_position();
    let error = fleet.try_ship().expect_err("an epoch ahead");
    assert!(matches!(error, ArchiveError::Contradicted { .. }), "{error}");
    assert!(error.to_string().contains("epoch 1"), "{error}");
}

#[test]
fn an_archive_that_was_emptied_gets_everything_again() {
    for cut in [false, true] {
        let fleet = Fleet::new();
        fleet.record(20);
        if cut {
            fleet.cut();
        } else {
            fleet.ship();
        }
        std::fs::remove_dir_all(fleet.bucket()).expect("removed");
        std::fs::create_dir(fleet.bucket()).expect("made");
        fleet.record(20);
        let shipped = fleet.ship();
        assert_eq!(shipped.records, shipped.tree_size, "cut: {cut}: all of it");
        assert_eq!(fleet.restored(), all_lines(&fleet.home.log_dir()), "cut: {cut}");
    }
}

#[test]
fn a_tail_with_more_in_it_than_was_signed_is_not_unpacked_further() {
    let fleet = Fleet::new();
    fleet.record(20);
    fleet.ship();
    let size = all_lines(&fleet.home.log_dir()).len();
    let name = fleet.objects().into_iter().find(is_tail).expect("a tail");
    let path = fleet.bucket().join(name.to_string());
    let mut bytes = read(&path);
    let marker = auditctl::backup::Marker::at_end(&bytes).expect("a marker").0;
    let more = format!(
        "{{\"seq\":{size},\"timestamp\":\"2026-02-04T10:00:00.000000Z\",\"x\":\"{}\"}}\n",
        "x".repeat(1 << 20)
    );
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut packer, more.as_bytes()).expect("packed");
    let member = packer.finish().expect("packed");
    bytes.splice(marker..marker, member);
    std::fs::write(&path, bytes).expect("written");
    let target = fleet.home.dir.path().join("there");
    let error = fleet.restore_as(&Wanted::default(), Extent::Whole, &target).expect_err("more");
    assert!(error.contains("it does not hold the records that were proven"), "{error}");
}

#[test]
fn a_folder_that_is_of_no_concern_need_not_be_readable() {
    use std::os::unix::fs::PermissionsExt as _;
    let fleet = Fleet::new();
    fleet.record(20);
    fleet.cut();
    let other = fleet.bucket().join("lost+found");
    std::fs::create_dir(&other).expect("made");
    let mode = |mode| std::fs::set_permissions(&other, std::fs::Permissions::from_mode(mode));
    mode(0o000).expect("closed");
    fleet.forget_position();
    fleet.record(5);
    fleet.ship();
    assert_eq!(fleet.restored(), all_lines(&fleet.home.log_dir()));
    mode(0o700).expect("opened, so that it can be removed");
}

/// A file of the bucket, whatever it is.
fn path(fleet: &Fleet, name: &ObjectName) -> PathBuf {
    fleet.bucket().join(name.to_string())
}

fn newest(fleet: &Fleet, is: impl Fn(&ObjectName) -> bool) -> ObjectName {
    let mut found: Vec<_> = fleet.objects().into_iter().filter(|object| is(object)).collect();
    found.sort();
    found.pop().expect("an object")
}

#[test]
fn junk_under_any_name_stops_neither_shipping_nor_a_restore() {
    let fleet = Fleet::new();
    fleet.record(20);
    let cut = fleet.cut();
    let next = cut.tree_size;
    let id = cut.log.id();
    for name in [
        "e0.00000000000000000001.range.json".to_owned(),
        format!("e0.{next:020}.range.json"),
        format!("e0.{next:020}.1.range.json"),
        "e0.18446744073709551615.checkpoint".to_owned(),
        "e0.00000000000000000003.checkpoint".to_owned(),
        "e0.00000000000000000007.keys.json".to_owned(),
    ] {
        plant(&fleet, &name);
    }
    let tails = fleet.bucket().join(format!("tail/log={id}"));
    std::fs::create_dir_all(&tails).expect("made");
    std::fs::write(tails.join(format!("e0.{next:020}.ndjson.gz")), "junk").expect("written");
    for forget in [false, true] {
        if forget {
            fleet.forget_position();
        }
        fleet.record(20);
        let tail = fleet.ship();
        assert_eq!(tail.objects.iter().filter(|object| is_tail(object)).count(), 1, "{tail:?}");
        assert_eq!(fleet.restored(), all_lines(&fleet.home.log_dir()));
    }
    fleet.cut();
    assert_eq!(fleet.restored(), all_lines(&fleet.home.log_dir()));
    fleet.data_is_gapless();
}

#[test]
fn junk_under_the_name_of_the_keys_does_not_keep_a_log_from_being_shipped() {
    let fleet = Fleet::new();
    fleet.record(20);
    let log = fleet.ship().log;
    std::fs::write(path(&fleet, &ObjectName::Keys(log.clone(), 0, 0)), "junk").expect("written");
    fleet.forget_position();
    fleet.record(20);
    let shipped = fleet.ship();
    assert!(shipped.objects.contains(&ObjectName::Keys(log, 0, 1)), "{shipped:?}");
    assert_eq!(fleet.restored(), all_lines(&fleet.home.log_dir()));
}

#[test]
fn what_was_cut_off_the_end_is_said_as_long_as_anything_signed_proves_it() {
    let fleet = Fleet::new();
    fleet.record(20);
    fleet.cut();
    let first = all_lines(&fleet.home.log_dir());
    fleet.record(20);
    fleet.cut();
    let remove = |name: ObjectName| std::fs::remove_file(path(&fleet, &name)).expect("removed");
    remove(newest(&fleet, |it| matches!(it, ObjectName::Checkpoint(..))));
    remove(newest(&fleet, |it| matches!(it, ObjectName::Data(_))));
    let target = fleet.home.dir.path().join("there");
    let error = fleet.restore_as(&Wanted::default(), Extent::Whole, &target).expect_err("cut off");
    assert!(error.contains(&format!("the archive leads up to {}", first.len())), "{error}");
    assert_eq!(fleet.restored_so_far(), first);
}

#[test]
fn a_log_that_is_rolled_back_with_its_position_is_found_with_the_first_object() {
    let fleet = Fleet::new();
    let log_dir = fleet.home.log_dir();
    let copy = fleet.home.dir.path().join("copy");
    fleet.record(20);
    fleet.ship();
    copy_dir(&log_dir, &copy);
    fleet.record(20);
    fleet.ship();
    std::fs::remove_dir_all(&log_dir).expect("removed");
    copy_dir(&copy, &log_dir);
    fleet.record(30);
    let lists = fleet.store.calls(Operation::List);
    let error = fleet.try_ship().expect_err("two histories");
    assert!(matches!(error, ArchiveError::Contradicted { .. }), "{error}");
    assert_eq!(fleet.store.calls(Operation::List), lists, "the name told");
}

#[test]
fn unsigned_tails_do_not_hide_the_one_that_is_ahead() {
    let fleet = Fleet::new();
    let log_dir = fleet.home.log_dir();
    let copy = fleet.home.dir.path().join("copy");
    fleet.record(20);
    copy_dir(&log_dir, &copy);
    fleet.record(20);
    let log = fleet.ship().log;
    for first in 1_000..1_100 {
        let name = ObjectName::Tail(log.clone(), first, 0);
        std::fs::write(path(&fleet, &name), "junk").expect("written");
    }
    std::fs::remove_dir_all(&log_dir).expect("removed");
    copy_dir(&copy, &log_dir);
    let error = fleet.try_ship().expect_err("the archive is ahead");
    assert!(matches!(error, ArchiveError::Contradicted { .. }), "{error}");
}

#[test]
fn a_log_is_named_by_its_whole_id_whatever_else_begins_with_it() {
    let fleet = Fleet::new();
    fleet.record(20);
    let id = fleet.cut().log.id().to_owned();
    let sibling = fleet.bucket().join(format!("proof/log={id}x"));
    std::fs::create_dir(&sibling).expect("made");
    std::fs::write(sibling.join("e0.00000000000000000001.checkpoint"), "x").expect("written");
    let want = Wanted { log: Some(id), ..Wanted::default() };
    assert_eq!(fleet.restored_as(&want), all_lines(&fleet.home.log_dir()));
}

#[test]
fn what_retention_removed_before_it_was_shipped_is_said_and_the_rest_is_restored() {
    let (home, clock) = Home::at("2026-02-04T10:00:00Z");
    let fleet = Fleet::of(home);
    let options =
        Options { retention_rule: RetentionRule::RemovesWithoutBackup, ..fleet.options() };
    fleet.record(20);
    let shipped = fleet.cut();
    let log = open(Options { retention: None, ..options.clone() });
    record_into(&log, 300);
    all_compressed(&log);
    log.close().expect("closed");
    clock.advance(Duration::from_secs(100 * 86_400));
    let log = open(options);
    clock.advance(Duration::from_secs(3_601));
    eventually("old segments are removed", || log.manifest().pruned.end() > shipped.tree_size);
    log.record(Event::new("new")).expect("accepted").wait().expect("durable");
    let removed = log.manifest().pruned.end();
    log.close().expect("closed");
    let lost = removed - shipped.tree_size;
    // Passes that stop in the middle find it again, and count it once.
    let small = Archiver { cuts: Cuts { data_bytes: 1, ..fleet.cuts }, ..fleet.archiver() };
    for puts in 0..6 {
        let stopped = small.pass_and_note(&Stops(AtomicU32::new(puts)));
        assert!(matches!(stopped, Err(ArchiveError::Interrupted)), "{stopped:?}");
    }
    let again = fleet.archiver().pass_and_note(&Unwatched).expect("shipped");
    assert_eq!(again.removed_unshipped_ever, lost, "{again:?}");
    assert_eq!(again.data_end, again.tree_size, "what follows the gap is data at once");
    assert_eq!(fleet.restored(), all_lines(&fleet.home.log_dir()));
    fleet.record(5);
    let more = fleet.archiver().pass_and_note(&Unwatched).expect("shipped");
    assert_eq!((more.removed_unshipped, more.removed_unshipped_ever), (0, lost));
    assert_eq!(fleet.restored(), all_lines(&fleet.home.log_dir()));
    // Whoever ships later knows of it, also where the position is lost.
    fleet.forget_position();
    fleet.record(5);
    fleet.archiver().pass_and_note(&Unwatched).expect("shipped");
    let status = ArchiveStatus::read(&OsFs, &fleet.home.log_dir()).expect("readable");
    let status = status.expect("noted");
    assert_eq!((status.removed_unshipped, status.removed_at.is_some()), (lost, true));
}

/// Stops a pass that has put so many objects.
struct Stops(AtomicU32);

impl Watch for Stops {
    fn stage(&self, _: Stage, _: u64) {}

    fn advance(&self, _: u64) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    fn interrupted(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

#[test]
fn records_that_somebody_replaced_by_their_hashes_are_no_hole_of_the_log() {
    let fleet = Fleet::new();
    fleet.record(20);
    fleet.cut();
    let lines = all_lines(&fleet.home.log_dir());
    let range = newest(&fleet, |it| matches!(it, ObjectName::Range(..)));
    let mut tree = Range::empty(0);
    tree.append_line(lines[0].as_bytes());
    let mut proof: serde_json::Value =
        serde_json::from_slice(&read(&path(&fleet, &range))).expect("JSON");
    proof["holes"] = serde_json::json!([{
        "tree": tree,
        "reason": "it was damaged",
        "min_timestamp": proof["first_accepted"],
        "max_timestamp": proof["last_accepted"],
    }]);
    std::fs::write(path(&fleet, &range), proof.to_string()).expect("written");
    let data = newest(&fleet, |it| matches!(it, ObjectName::Data(_)));
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    for line in &lines[1..] {
        std::io::Write::write_all(&mut packer, format!("{line}\n").as_bytes()).expect("packed");
    }
    std::fs::write(path(&fleet, &data), packer.finish().expect("packed")).expect("written");
    let target = fleet.home.dir.path().join("there");
    let error = fleet.restore_as(&Wanted::default(), Extent::Whole, &target).expect_err("a hole");
    assert!(error.contains("only as hashes"), "{error}");
}
