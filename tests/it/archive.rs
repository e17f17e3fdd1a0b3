//! Shipping a log to an archive, and getting it back from there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use auditctl::archive::{
    ArchiveError, Archiver, Cuts, HostName, ObjectName, POSITION_FILE, Reader, Shipped, Wanted,
};
use auditctl::audit::{AuditLog, Event, Options};
use auditctl::backup::{Extent, Outcome, RestoreRequest, Target, Unwatched, Wish};
use auditctl::fsio::fault::{Fault as FsFault, FaultFs, How, Op};
use auditctl::fsio::{OsFs, SharedFs};
use auditctl::store::fault::{Fault, FaultStore, Operation};
use auditctl::store::{BackupStore, LocalStore};

use crate::backups::{Home, all_compressed, copy_dir, names, read, record_into, time, wanted};
use crate::support::{all_lines, eventually, open};

/// A log, and a directory that it is shipped to.
pub(crate) struct Fleet {
    pub(crate) home: Home,
    pub(crate) cuts: Cuts,
    pub(crate) store: Arc<FaultStore<LocalStore>>,
}

impl Fleet {
    pub(crate) fn new() -> Self {
        Self::of(Home::new())
    }

    pub(crate) fn of(home: Home) -> Self {
        let bucket = home.dir.path().join("bucket");
        std::fs::create_dir(&bucket).expect("a directory");
        let store = Arc::new(FaultStore::new(LocalStore::new(&bucket)));
        Self { home, cuts: Cuts::default(), store }
    }

    pub(crate) fn bucket(&self) -> PathBuf {
        self.home.dir.path().join("bucket")
    }

    pub(crate) fn options(&self) -> Options {
        Options { clock: self.home.clock.clone(), ..self.home.options() }
    }

    /// Opens the log, records so many events, closes it.
    pub(crate) fn record(&self, count: usize) {
        let log = open(self.options());
        record_into(&log, count);
        all_compressed(&log);
        log.close().expect("closed");
    }

    pub(crate) fn archiver(&self) -> Archiver {
        Archiver {
            fs: self.home.fs.clone(),
            clock: self.home.clock.clone(),
            store: self.store.clone(),
            log_dir: self.home.log_dir(),
            host: HostName::of("web-1"),
            cuts: self.cuts,
        }
    }

    pub(crate) fn try_ship(&self) -> Result<Shipped, ArchiveError> {
        self.archiver().pass(&Unwatched)
    }

    pub(crate) fn ship(&self) -> Shipped {
        self.try_ship().expect("shipped")
    }

    /// Ships everything into data objects.
    pub(crate) fn cut(&self) -> Shipped {
        let cuts = Cuts { data_age: Duration::ZERO, ..self.cuts };
        Archiver { cuts, ..self.archiver() }.pass(&Unwatched).expect("shipped")
    }

    fn reader(&self) -> Reader {
        Reader::new(Arc::new(LocalStore::new(self.bucket())))
    }

    /// Puts together, and restores beside the log.
    pub(crate) fn restore_as(
        &self,
        want: &Wanted,
        extent: Extent,
        target: &Path,
    ) -> Result<Outcome, String> {
        let place = self.home.backups().fetch_place("archive").expect("a place");
        let assembled = self
            .reader()
            .assemble(want, place.path(), &Unwatched)
            .map_err(|error| error.to_string())?;
        let request = RestoreRequest {
            wish: Wish::Path(assembled.path),
            extent,
            target: Target::Beside(target.to_path_buf()),
            ..wanted()
        };
        self.home.restore_as(&request).map_err(|error| error.to_string())
    }

    /// The lines of the newest committed point; nothing that the log signed is missing.
    pub(crate) fn restored(&self) -> Vec<String> {
        self.restored_as(&Wanted::default())
    }

    /// The lines of the newest committed point, whatever is missing after it.
    pub(crate) fn restored_so_far(&self) -> Vec<String> {
        self.restored_as(&Wanted { force: true, ..Wanted::default() })
    }

    pub(crate) fn restored_as(&self, want: &Wanted) -> Vec<String> {
        let target = tempfile::tempdir_in(self.home.dir.path()).expect("a directory");
        self.restore_as(want, Extent::Whole, target.path()).expect("restored");
        all_lines(target.path())
    }

    pub(crate) fn objects(&self) -> Vec<ObjectName> {
        let listed = LocalStore::new(self.bucket()).list().expect("listed");
        listed.iter().map(|object| object.name.parse().expect("an archive's name")).collect()
    }

    /// The data objects' ranges follow each other, in each epoch; where each ends.
    pub(crate) fn data_is_gapless(&self) -> BTreeMap<u32, (u64, u64)> {
        let mut spans = BTreeMap::new();
        for object in self.objects() {
            if let ObjectName::Data(place) = object {
                let of: &mut Vec<_> = spans.entry(place.log.epoch()).or_default();
                of.push((place.span.first, place.span.end));
            }
        }
        let mut ends = BTreeMap::new();
        for (epoch, mut of) in spans {
            of.sort_unstable();
            for pair in of.windows(2) {
                assert_eq!(pair[0].1, pair[1].0, "epoch {epoch}: {of:?}");
            }
            ends.insert(epoch, (of[0].0, of[of.len() - 1].1));
        }
        ends
    }

    pub(crate) fn forget_position(&self) {
        std::fs::remove_file(self.home.log_dir().join(POSITION_FILE)).expect("removed");
    }
}

fn count(objects: &[ObjectName], is: impl Fn(&ObjectName) -> bool) -> usize {
    objects.iter().filter(|object| is(object)).count()
}

pub(crate) fn is_tail(object: &ObjectName) -> bool {
    matches!(object, ObjectName::Tail(..))
}

fn signed_size(log: &AuditLog) -> u64 {
    let note = log.checkpoint();
    note.lines().nth(1).and_then(|size| size.parse().ok()).unwrap_or(0)
}

#[test]
fn what_was_shipped_is_restored_byte_for_byte() {
    let fleet = Fleet::new();
    let log = open(fleet.options());
    for round in 0..4 {
        record_into(&log, 60);
        let seq = log.record(Event::new("last")).expect("recorded").wait().expect("durable");
        eventually("it is signed", || signed_size(&log) > seq);
        let shipped = fleet.ship();
        assert!(count(&shipped.objects, is_tail) == 1, "round {round}: {shipped:?}");
        assert_eq!(
            fleet.restored(),
            all_lines(&fleet.home.log_dir())[..shipped.tree_size as usize]
        );
    }
    all_compressed(&log);
    log.close().expect("closed");
    let shipped = fleet.cut();
    assert_eq!(shipped.data_end, shipped.tree_size);
    assert_eq!(fleet.restored(), all_lines(&fleet.home.log_dir()));
    assert_eq!(fleet.data_is_gapless(), BTreeMap::from([(0, (0, shipped.tree_size))]));
    // And on from there.
    fleet.record(30);
    fleet.ship();
    assert_eq!(fleet.restored(), all_lines(&fleet.home.log_dir()));
}

#[test]
fn a_pass_asks_for_no_list_and_one_without_anything_new_asks_for_nothing() {
    let fleet = Fleet::new();
    fleet.record(20);
    fleet.ship();
    let lists = fleet.store.calls(Operation::List);
    for _ in 0..3 {
        fleet.record(5);
        assert_eq!(fleet.ship().objects.len(), 1);
    }
    fleet.cut();
    assert_eq!(fleet.store.calls(Operation::List), lists);
    let puts = fleet.store.calls(Operation::Put);
    let shipped = fleet.ship();
    assert!(shipped.objects.is_empty() && shipped.records == 0, "{shipped:?}");
    assert_eq!(fleet.store.calls(Operation::Put), puts);
    assert_eq!(fleet.store.calls(Operation::List), lists);
}

#[test]
fn a_day_of_acceptance_ends_a_data_object_and_an_hour_makes_one() {
    let (home, clock) = Home::at("2026-02-04T23:10:00Z");
    let fleet = Fleet::of(home);
    fleet.record(20);
    let before = fleet.ship();
    assert!(before.objects.iter().all(|object| !matches!(object, ObjectName::Data(_))));
    clock.advance(Duration::from_secs(55 * 60));
    fleet.record(20);
    let shipped = fleet.ship();
    let days: Vec<String> = shipped
        .objects
        .iter()
        .filter_map(|object| match object {
            ObjectName::Data(place) => Some(place.day.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(days, ["2026-02-04", "2026-02-05"]);
    assert_eq!(shipped.data_end, shipped.tree_size);
    assert!(matches!(shipped.objects.last(), Some(ObjectName::Checkpoint(..))), "the commit mark");
    fleet.record(20);
    assert_eq!(count(&fleet.ship().objects, is_tail), 1);
    clock.advance(Duration::from_secs(3_600));
    let shipped = fleet.ship();
    assert_eq!(count(&shipped.objects, |it| matches!(it, ObjectName::Data(_))), 1);
    assert_eq!(fleet.restored(), all_lines(&fleet.home.log_dir()));
    fleet.data_is_gapless();
}

#[test]
fn a_long_outage_is_caught_up_with_in_objects_of_bounded_size() {
    let mut fleet = Fleet::new();
    fleet.record(600);
    // Less than a segment: several objects, and no tail.
    fleet.cuts = Cuts { data_bytes: 2 << 10, tail_bytes: 1 << 10, ..Cuts::default() };
    let shipped = fleet.ship();
    assert!(count(&shipped.objects, |it| matches!(it, ObjectName::Data(_))) > 3, "{shipped:?}");
    assert_eq!(count(&shipped.objects, is_tail), 0);
    assert_eq!(count(&shipped.objects, |it| matches!(it, ObjectName::Checkpoint(..))), 1);
    assert_eq!(fleet.restored(), all_lines(&fleet.home.log_dir()));
    fleet.data_is_gapless();
}

#[test]
fn a_lost_position_is_found_again_and_nothing_is_shipped_twice() {
    let fleet = Fleet::new();
    for round in 0..3 {
        fleet.record(40);
        fleet.ship();
        fleet.forget_position();
        fleet.record(10);
        fleet.cut();
        fleet.forget_position();
        let shipped = fleet.ship();
        assert!(shipped.objects.is_empty(), "round {round}: {shipped:?}");
        fleet.data_is_gapless();
        assert_eq!(fleet.restored(), all_lines(&fleet.home.log_dir()));
    }
}

#[test]
fn an_older_position_that_was_put_back_ships_nothing_twice() {
    let fleet = Fleet::new();
    let position = fleet.home.log_dir().join(POSITION_FILE);
    fleet.record(20);
    fleet.cut();
    let old = read(&position);
    fleet.record(20);
    fleet.cut();
    fleet.record(20);
    fleet.ship();
    std::fs::write(&position, old).expect("written");
    fleet.record(20);
    fleet.cut();
    fleet.data_is_gapless();
    assert_eq!(fleet.restored(), all_lines(&fleet.home.log_dir()));
}

/// Every operation of a pass fails once: the next pass goes on, and all is as if nothing had
/// been.
#[test]
fn a_pass_that_is_cut_off_at_any_request_leaves_what_the_next_one_goes_on_from() {
    for (operation, fault) in [
        (Operation::Put, Fault::Denied),
        (Operation::Put, Fault::AnswerLost),
        (Operation::Open, Fault::Unreachable),
        (Operation::List, Fault::Unreachable),
    ] {
        for at in 0.. {
            let mut fleet = Fleet::new();
            fleet.cuts = Cuts { data_bytes: 3 << 10, tail_bytes: 2 << 10, ..Cuts::default() };
            fleet.record(30);
            let skip = Fault::EndsAfter(u64::MAX);
            (0..at).for_each(|_| fleet.store.next(operation, skip));
            fleet.store.next(operation, fault);
            let first = fleet.try_ship();
            let is_over = first.is_ok() && fleet.store.calls(operation) <= at;
            // The host may be another one by then, and its log may have grown.
            fleet.record(25);
            if at % 2 == 0 && fleet.home.log_dir().join(POSITION_FILE).exists() {
                fleet.forget_position();
            }
            let _ = fleet.try_ship();
            fleet.cut();
            let what = format!("{operation:?} {at}: {fault:?}");
            fleet.data_is_gapless();
            assert_eq!(fleet.restored(), all_lines(&fleet.home.log_dir()), "{what}");
            if is_over {
                break;
            }
            assert!(at < 40, "{what}: a pass has an end");
        }
    }
}

/// The same of the files of the host.
#[test]
fn a_pass_that_a_file_fails_leaves_what_the_next_one_goes_on_from() {
    for op in [Op::Open, Op::Write, Op::SyncData, Op::Rename, Op::SyncDir, Op::Read] {
        for after in 0.. {
            let fs = FaultFs::new(Arc::new(OsFs));
            let mut home = Home::new();
            home.record(30);
            home.fs = Arc::new(fs.clone()) as SharedFs;
            let mut fleet = Fleet::of(home);
            fleet.cuts = Cuts { data_bytes: 3 << 10, tail_bytes: 2 << 10, ..Cuts::default() };
            let name_contains = "audit.".to_owned();
            fs.plan(FsFault { op, name_contains, after, times: 1, how: How::Errno(5) });
            let first = fleet.try_ship();
            fs.heal();
            fleet.home.fs = Arc::new(OsFs);
            fleet.record(5);
            fleet.cut();
            fleet.data_is_gapless();
            assert_eq!(fleet.restored(), all_lines(&fleet.home.log_dir()), "{op:?} {after}");
            let left = names(&fleet.home.log_dir());
            assert!(!left.iter().any(|name| name == "audit.archive.spool"), "{left:?}");
            if first.is_ok() {
                break;
            }
            assert!(after < 200, "{op:?}: a pass has an end");
        }
    }
}

#[test]
fn an_older_copy_of_the_log_is_not_shipped_over_what_the_archive_has() {
    let fleet = Fleet::new();
    let log_dir = fleet.home.log_dir();
    let copy = fleet.home.dir.path().join("copy");
    fleet.record(20);
    copy_dir(&log_dir, &copy);
    fleet.record(20);
    fleet.ship();
    for cut in [false, true] {
        if cut {
            fleet.cut();
        }
        let newest = fleet.home.dir.path().join(format!("newest-{cut}"));
        std::fs::rename(&log_dir, &newest).expect("moved");
        copy_dir(&copy, &log_dir);
        let error = fleet.try_ship().expect_err("the archive is ahead");
        assert!(matches!(error, ArchiveError::Contradicted { .. }), "{error}");
        // It goes on from the same place, otherwise.
        fleet.record(40);
        let error = fleet.try_ship().expect_err("the archive differs");
        assert!(matches!(error, ArchiveError::Contradicted { .. }), "{error}");
        std::fs::remove_dir_all(&log_dir).expect("removed");
        std::fs::rename(&newest, &log_dir).expect("moved back");
        fleet.ship();
        assert_eq!(fleet.restored(), all_lines(&log_dir));
    }
}

/// Restores an older backup in the log's place, which begins an epoch.
fn begin_epoch(fleet: &Fleet, wish: Wish) {
    let outcome = fleet.home.restore(wish).expect("restored");
    assert!(outcome.plan.new_epoch);
}

#[test]
fn a_restore_that_begins_an_epoch_is_shipped_as_one_and_no_record_is_in_a_table_twice() {
    let fleet = Fleet::new();
    fleet.record(50);
    let made = fleet.home.back_up();
    fleet.record(50);
    fleet.cut();
    let old = fleet.restored_so_far();
    begin_epoch(&fleet, Wish::Id(made.metadata.id));
    fleet.record(30);
    // First a tail, of which nothing else tells to what it belongs.
    let shipped = fleet.ship();
    assert_eq!(shipped.log.epoch(), 1);
    let lines = all_lines(&fleet.home.log_dir());
    assert_eq!(fleet.restored_so_far(), lines);
    fleet.cut();
    assert_eq!(fleet.restored_so_far(), lines);
    let spans = fleet.data_is_gapless();
    let common = lines.iter().zip(&old).take_while(|(a, b)| a == b).count() as u64;
    assert!(common < old.len() as u64);
    assert_eq!(spans[&0], (0, old.len() as u64));
    assert_eq!(spans[&1], (common, lines.len() as u64), "from where the histories part");
    // The epoch before has records that this one leaves out: that is said, or asked for.
    let target = fleet.home.dir.path().join("there");
    let want = Wanted::default();
    let error = fleet.restore_as(&want, Extent::Whole, &target).expect_err("two epochs");
    assert!(error.contains("in epoch 0, which epoch 1 does not continue"), "{error}");
    let of = |epoch| Wanted { epoch: Some(epoch), ..Wanted::default() };
    assert_eq!(fleet.restored_as(&of(0)), old);
    assert_eq!(fleet.restored_as(&of(1)), lines);
    // And another one, before the second has a table.
    let made = fleet.home.back_up();
    fleet.record(10);
    fleet.cut();
    begin_epoch(&fleet, Wish::Id(made.metadata.id));
    fleet.record(10);
    fleet.forget_position();
    fleet.cut();
    assert_eq!(fleet.restored_so_far(), all_lines(&fleet.home.log_dir()));
}

#[test]
fn an_epoch_of_which_nothing_is_committed_yet_leaves_the_one_before_it() {
    let fleet = Fleet::new();
    fleet.record(30);
    let made = fleet.home.back_up();
    fleet.record(30);
    fleet.cut();
    let old = fleet.restored_so_far();
    begin_epoch(&fleet, Wish::Id(made.metadata.id));
    fleet.record(10);
    // The keys and the proof of the first range are put, and the data is not.
    let nothing = Fault::EndsAfter(u64::MAX);
    for fault in [nothing, nothing, Fault::Denied] {
        fleet.store.next(Operation::Put, fault);
    }
    let cuts = Cuts { data_age: Duration::ZERO, ..fleet.cuts };
    let error = Archiver { cuts, ..fleet.archiver() }.pass(&Unwatched).expect_err("denied");
    assert_eq!(error.kind(), "access_denied", "{error}");
    assert_eq!(fleet.restored_so_far(), old);
    fleet.cut();
    assert_eq!(fleet.restored_so_far(), all_lines(&fleet.home.log_dir()));
}

#[test]
fn a_part_up_to_a_record_or_a_time_is_restored_as_of_a_backup() {
    let (home, clock) = Home::at("2026-02-04T10:00:00Z");
    let fleet = Fleet::of(home);
    let mut ends = Vec::new();
    for _ in 0..3 {
        fleet.record(20);
        ends.push(fleet.cut().tree_size);
        clock.advance(Duration::from_secs(600));
    }
    let lines = all_lines(&fleet.home.log_dir());
    for (seq, size) in [(ends[0] - 1, ends[0]), (ends[0] + 3, ends[0] + 4), (7, 8)] {
        let target = fleet.home.dir.path().join(format!("to-{seq}"));
        let want = Wanted { holds: Some(seq), ..Wanted::default() };
        let outcome = fleet.restore_as(&want, Extent::ToSeq(seq), &target).expect("restored");
        assert_eq!(outcome.plan.tree_size, size);
        assert_eq!(
            outcome.plan.new_epoch,
            !ends.contains(&size),
            "where it was signed, it goes on"
        );
        assert_eq!(all_lines(&target), lines[..size as usize]);
    }
    let target = fleet.home.dir.path().join("to-time");
    let until = Extent::ToTime(time("2026-02-04T10:05:00Z"));
    fleet.restore_as(&Wanted::default(), until, &target).expect("restored");
    assert_eq!(all_lines(&target).len() as u64, ends[0]);
}

#[test]
fn several_logs_share_an_archive_and_one_is_named_by_the_beginning_of_its_id() {
    let (one, mut two) = (Fleet::new(), Fleet::new());
    one.record(10);
    one.ship();
    two.record(20);
    two.store = Arc::new(FaultStore::new(LocalStore::new(one.bucket())));
    let shipped = two.ship();
    let target = one.home.dir.path().join("there");
    let error = one.restore_as(&Wanted::default(), Extent::Whole, &target).expect_err("which?");
    assert!(error.contains("holds 2 logs"), "{error}");
    let log = Some(shipped.log.id()[..8].to_owned());
    one.restore_as(&Wanted { log, ..Wanted::default() }, Extent::Whole, &target).expect("restored");
    assert_eq!(all_lines(&target), all_lines(&two.home.log_dir()));
}

#[test]
fn two_who_ship_one_log_at_once_are_told_apart() {
    let fleet = Fleet::new();
    fleet.record(10);
    let path = fleet.home.log_dir().join("audit.archive.lock");
    let _lock = auditctl::fsio::lock::try_lock(&path).expect("locked").expect("free");
    assert!(matches!(fleet.try_ship(), Err(ArchiveError::Locked { .. })));
}

/// Two histories that one key signed, each shipped as far as it can be.
#[test]
fn a_second_history_by_the_same_key_is_found_when_it_is_shipped() {
    let fleet = Fleet::new();
    let log_dir = fleet.home.log_dir();
    fleet.record(20);
    fleet.cut();
    let clone = fleet.home.dir.path().join("clone");
    copy_dir(&log_dir, &clone);
    fleet.record(20);
    fleet.cut();
    let first = fleet.home.dir.path().join("first");
    std::fs::rename(&log_dir, &first).expect("moved");
    // The clone has the position as it was, and records something else.
    copy_dir(&clone, &log_dir);
    let log: AuditLog = open(fleet.options());
    log.record(Event::new("of.the.clone")).expect("recorded").wait().expect("durable");
    record_into(&log, 40);
    log.close().expect("closed");
    let cuts = Cuts { data_age: Duration::ZERO, ..fleet.cuts };
    let error = Archiver { cuts, ..fleet.archiver() }.pass(&Unwatched).expect_err("two histories");
    assert!(matches!(error, ArchiveError::Contradicted { .. }), "{error}");
    fleet.data_is_gapless();
}
