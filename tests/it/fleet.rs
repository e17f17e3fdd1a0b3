//! Many logs in one bucket: what a verification says of them, and what it rests on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use auditctl::archive::{Archiver, Cuts, HostName, ObjectName};
use auditctl::audit::keys::checkpoint::{SignedCheckpoint, VerifierKey};
use auditctl::backup::{Unwatched, Wish};
use auditctl::fleet::{
    Expected, Fleet, FleetList, Request, Roster, Severity, Silence, State, Wanted, list, prove,
    verify,
};
use auditctl::fsio::OsFs;
use auditctl::store::fault::{Fault, FaultStore, Operation};
use auditctl::store::{BackupStore, LocalStore};

use crate::backups::{Home, read};
use crate::support::{Dir, all_lines};

/// Hosts that ship to one bucket.
pub(crate) struct Hosts {
    pub(crate) dir: Dir,
    pub(crate) homes: Vec<Home>,
}

impl Hosts {
    /// So many, each with two committed points, and a tail.
    pub(crate) fn new(count: usize) -> Self {
        let dir = Dir::new();
        std::fs::create_dir(dir.path().join("bucket")).expect("a directory");
        let homes = (0..count).map(|_| Home::new()).collect();
        let hosts = Self { dir, homes };
        for at in 0..count {
            hosts.homes[at].record(40);
            hosts.cut(at);
            hosts.homes[at].record(30);
            hosts.cut(at);
            hosts.homes[at].record(20);
            hosts.ship(at);
        }
        hosts.age();
        hosts
    }

    pub(crate) fn bucket(&self) -> PathBuf {
        self.dir.path().join("bucket")
    }

    pub(crate) fn archiver(&self, home: &Home, at: usize, cuts: Cuts) -> Archiver {
        Archiver {
            fs: home.fs.clone(),
            clock: home.clock.clone(),
            store: Arc::new(LocalStore::new(self.bucket())),
            log_dir: home.log_dir(),
            host: HostName::of(&format!("web-{at}")),
            cuts,
        }
    }

    pub(crate) fn ship(&self, at: usize) {
        self.archiver(&self.homes[at], at, Cuts::default()).pass(&Unwatched).expect("shipped");
    }

    pub(crate) fn cut(&self, at: usize) {
        let cuts = Cuts { data_age: Duration::ZERO, ..Cuts::default() };
        self.archiver(&self.homes[at], at, cuts).pass(&Unwatched).expect("shipped");
    }

    /// What is new was put two hours ago.
    pub(crate) fn age(&self) {
        let then = SystemTime::now() - Duration::from_secs(7_200);
        for name in self.names() {
            let file = std::fs::File::options().write(true).open(self.bucket().join(name));
            let file = file.expect("a file");
            let modified = file.metadata().and_then(|it| it.modified()).expect("dated");
            if modified.elapsed().is_ok_and(|age| age < Duration::from_secs(3_600)) {
                file.set_modified(then).expect("dated");
            }
        }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let listed = LocalStore::new(self.bucket()).list().expect("listed");
        listed.into_iter().map(|object| object.name).collect()
    }

    /// The objects of one host's log, in their order.
    pub(crate) fn of(&self, at: usize) -> Vec<ObjectName> {
        let id = self.id(at);
        let names = self.names().into_iter().filter_map(|name| name.parse().ok());
        let mut own: Vec<ObjectName> =
            names.filter(|name: &ObjectName| name.log().id() == id).collect();
        own.sort();
        own
    }

    pub(crate) fn path(&self, name: &ObjectName) -> PathBuf {
        self.bucket().join(name.to_string())
    }

    pub(crate) fn key(&self, at: usize) -> VerifierKey {
        VerifierKey::load(&OsFs, &self.homes[at].log_dir().join("audit.pub")).expect("a key")
    }

    pub(crate) fn id(&self, at: usize) -> String {
        self.key(at).log_id().expect("a log's key")
    }

    pub(crate) fn roster(&self) -> Roster {
        let logs = (0..self.homes.len()).map(|at| {
            let expected = Expected {
                key: self.key(at),
                hosts: vec![HostName::of(&format!("web-{at}"))],
                epoch: Some(0),
                silent_after: Silence::After(Duration::from_secs(86_400)),
            };
            (self.id(at), expected)
        });
        let date = "2026-02-04T21:09:40Z".parse().expect("a time");
        let (name, acknowledged) = ("test".to_owned(), Vec::new());
        Roster { name, sequence: 1, date, logs: logs.collect(), acknowledged }
    }

    pub(crate) fn request(&self) -> Request {
        Request { roster: Some(self.roster()), jobs: 2, ..Request::default() }
    }

    pub(crate) fn store(&self) -> Arc<dyn BackupStore> {
        Arc::new(LocalStore::new(self.bucket()))
    }

    pub(crate) fn verify_as(&self, request: Request) -> Fleet {
        verify(self.store(), request, &Unwatched).expect("verified")
    }

    pub(crate) fn verify(&self) -> Fleet {
        self.verify_as(self.request())
    }
}

/// The codes of what was found.
pub(crate) fn codes(fleet: &Fleet) -> BTreeSet<&'static str> {
    fleet.all_findings().map(|finding| finding.kind.code()).collect()
}

pub(crate) fn said(fleet: &Fleet) -> String {
    let one = |it: &auditctl::fleet::Finding| {
        format!("{} {:?} {}: {:?}\n", it.kind.code(), it.severity, it.what, it.objects)
    };
    fleet.all_findings().map(one).collect()
}

pub(crate) fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        match entry.file_type().expect("a kind").is_dir() {
            true => copy_tree(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).expect("copied")),
        }
    }
}

#[test]
fn a_fleet_that_nobody_touched_is_healthy_and_everything_in_it_was_read() {
    let hosts = Hosts::new(3);
    let fleet = hosts.verify();
    assert_eq!(fleet.worst(), None, "{}", said(&fleet));
    assert_eq!(fleet.logs.len(), 3);
    for (at, home) in hosts.homes.iter().enumerate() {
        let id = hosts.id(at);
        let log = fleet.logs.iter().find(|log| log.id == id).expect("its log");
        let lines = all_lines(&home.log_dir()).len() as u64;
        assert_eq!((log.records, log.records_read, log.records_known), (lines, lines, 0));
        assert_eq!(log.hosts, [format!("web-{at}")]);
        // Two checkpoints, two ranges, one tail.
        assert_eq!((log.heads, log.heads_unchecked), (5, 0), "{log:?}");
        assert!(log.key_is_known);
    }
}

#[test]
fn a_list_has_a_row_for_each_log() {
    let hosts = Hosts::new(2);
    std::fs::write(hosts.bucket().join("data/_SUCCESS"), "").expect("written");
    let FleetList { logs, foreign, .. } = list(hosts.store(), 2, &Unwatched).expect("listed");
    assert_eq!((logs.len(), foreign), (2, 1));
    for row in logs {
        assert_eq!((row.epoch, row.ranges, row.hosts.len()), (0, 2, 1), "{row:?}");
        let committed = row.records;
        let at = (0..2).find(|at| hosts.id(*at) == row.id).expect("its host");
        let lines = all_lines(&hosts.homes[at].log_dir()).len() as u64;
        assert!(committed > 70 && committed < lines, "{row:?}");
        assert!(row.first_accepted < row.last_accepted && row.newest_put.is_some(), "{row:?}");
    }
}

#[test]
fn without_a_roster_the_keys_come_from_the_bucket_and_that_is_said() {
    let hosts = Hosts::new(1);
    let fleet = hosts.verify_as(Request { jobs: 1, ..Request::default() });
    assert!(!fleet.logs[0].key_is_known);
    // The log's first record names this machine.
    assert_eq!(codes(&fleet), BTreeSet::from(["other_host"]), "{}", said(&fleet));
    let keys = vec![hosts.key(0)];
    let fleet = hosts.verify_as(Request { keys, jobs: 1, ..Request::default() });
    assert!(fleet.logs[0].key_is_known);
}

#[test]
fn a_log_whose_key_is_not_the_one_of_the_roster_is_not_believed() {
    let hosts = Hosts::new(2);
    let mut roster = hosts.roster();
    // The same name, another key: who has replaced the whole log has only that.
    let name = hosts.key(0).name().to_owned();
    let other = auditctl::audit::keys::signer::SigningKey::generate(&name).expect("a key");
    roster.logs.get_mut(&hosts.id(0)).expect("its log").key = other.verifier().clone();
    let fleet = hosts.verify_as(Request { roster: Some(roster), jobs: 2, ..Request::default() });
    assert_eq!(codes(&fleet), BTreeSet::from(["keys_unproven"]), "{}", said(&fleet));
    assert_eq!(fleet.worst(), Some(Severity::Bad));
}

#[test]
fn an_older_roster_and_another_with_the_same_number_are_named() {
    let hosts = Hosts::new(1);
    let newer = Roster { sequence: 2, ..hosts.roster() };
    let with = |roster: &Roster, state| {
        let roster = Some(roster.clone());
        hosts.verify_as(Request { roster, state, jobs: 1, ..Request::default() })
    };
    let state = with(&newer, State::default()).state;
    let fleet = with(&hosts.roster(), state.clone());
    assert_eq!(codes(&fleet), BTreeSet::from(["roster_old"]));
    assert_eq!(fleet.state.rosters, state.rosters, "the newest stays known");
    let mut other = newer.clone();
    other.logs.values_mut().for_each(|log| log.silent_after = Silence::Never);
    assert_eq!(codes(&with(&other, state.clone())), BTreeSet::from(["roster_contradicts"]));
    assert_eq!(codes(&with(&newer, state)), BTreeSet::new());
}

#[test]
fn what_the_store_lists_unchanged_is_not_read_again_and_only_speed_depends_on_it() {
    let hosts = Hosts::new(2);
    let again = |state: &State, full| {
        let state = state.clone();
        hosts.verify_as(Request { state, full, trusts_times: true, ..hosts.request() })
    };
    let first = again(&State::default(), false);
    assert_eq!(first.worst(), None, "{}", said(&first));
    let second = again(&first.state, false);
    assert_eq!(second.worst(), None, "{}", said(&second));
    for (log, before) in second.logs.iter().zip(&first.logs) {
        assert!(log.records_known > 70, "{log:?}");
        assert_eq!((log.records, log.root), (before.records, before.root));
        assert!(log.records_read < 30, "only the tail: {log:?}");
        assert_eq!(
            (log.first_accepted, log.last_accepted),
            (before.first_accepted, before.last_accepted)
        );
    }
    // More comes, and is read.
    hosts.homes[0].record(25);
    hosts.cut(0);
    hosts.age();
    let third = again(&second.state, false);
    assert_eq!(third.worst(), None, "{}", said(&third));
    let log = third.logs.iter().find(|log| log.id == hosts.id(0)).expect("its log");
    assert_eq!(log.records, all_lines(&hosts.homes[0].log_dir()).len() as u64);
    assert_eq!(log.records_known + log.records_read, log.records);
    assert!(log.records_known > 70, "{log:?}");
    // A state may be lost: everything is read then. It may be of no use.
    assert_eq!(again(&State::default(), false).logs[0].records_known, 0);
    assert_eq!(again(&third.state, true).logs[0].records_known, 0);
    let untrusted = Request { state: third.state.clone(), ..hosts.request() };
    assert_eq!(hosts.verify_as(untrusted).logs[0].records_known, 0);
    // What is altered has another time.
    let data = hosts.of(0).into_iter().find(|it| matches!(it, ObjectName::Data(_)));
    let path = hosts.path(&data.expect("data"));
    let mut bytes = read(&path);
    bytes[60] ^= 1;
    std::fs::write(&path, bytes).expect("written");
    let found = again(&third.state, false);
    assert_eq!(codes(&found), BTreeSet::from(["object_altered"]), "{}", said(&found));
    // Whoever can set the time of a file, and is believed, is not found: that is why a directory
    // is not believed without --trust-mtime.
    hosts.age();
    let then = SystemTime::now() - Duration::from_secs(7_200);
    assert!(then.elapsed().is_ok());
    let fleet = hosts.verify_as(Request { state: third.state, ..hosts.request() });
    assert_eq!(codes(&fleet), BTreeSet::from(["object_altered"]), "{}", said(&fleet));
}

#[test]
fn tails_that_were_compared_once_are_not_read_again_and_others_of_their_names_are() {
    let hosts = Hosts::new(1);
    for _ in 0..70 {
        hosts.homes[0].record(2);
        hosts.ship(0);
    }
    hosts.cut(0);
    hosts.age();
    let opened = |state: &State| {
        let store = Arc::new(FaultStore::new(LocalStore::new(hosts.bucket())));
        let request = Request { state: state.clone(), trusts_times: true, ..hosts.request() };
        let fleet = verify(store.clone(), request, &Unwatched).expect("verified");
        (fleet, store.calls(Operation::Open))
    };
    let (first, all) = opened(&State::default());
    assert_eq!(first.worst(), None, "{}", said(&first));
    let tails: Vec<ObjectName> =
        hosts.of(0).into_iter().filter(|it| matches!(it, ObjectName::Tail(..))).collect();
    assert!(tails.len() > 70 && all > tails.len(), "{} of {all}", tails.len());
    // A rule removes the oldest, and new ones come.
    tails[..20].iter().for_each(|name| std::fs::remove_file(hosts.path(name)).expect("removed"));
    for _ in 0..5 {
        hosts.homes[0].record(2);
        hosts.ship(0);
    }
    hosts.age();
    let (second, fewer) = opened(&first.state);
    assert_eq!(second.worst(), None, "{}", said(&second));
    assert!(fewer < all - 60, "{fewer} of {all}");
    // One that was put again is read again, though it is as long as it was.
    let path = hosts.path(&tails[50]);
    let mut bytes = read(&path);
    bytes[60] ^= 1;
    std::fs::write(&path, bytes).expect("written");
    let (third, _) = opened(&second.state);
    assert_eq!(codes(&third), BTreeSet::from(["foreign_object"]), "{}", said(&third));
}

#[test]
fn a_bucket_that_was_set_back_is_found_by_what_was_seen_before_or_kept_elsewhere() {
    let hosts = Hosts::new(2);
    let old = hosts.dir.path().join("old");
    copy_tree(&hosts.bucket(), &old);
    hosts.homes[1].record(30);
    hosts.cut(1);
    hosts.age();
    let seen = hosts.verify();
    assert_eq!(seen.worst(), None, "{}", said(&seen));
    let note = read(&hosts.homes[1].log_dir().join("audit.checkpoint"));
    std::fs::remove_dir_all(hosts.bucket()).expect("removed");
    copy_tree(&old, &hosts.bucket());
    // By itself it is as it was then.
    let fleet = hosts.verify();
    assert_eq!((fleet.worst(), fleet.had_state), (None, false), "{}", said(&fleet));
    let fleet = hosts.verify_as(Request { state: seen.state.clone(), ..hosts.request() });
    assert_eq!(codes(&fleet), BTreeSet::from(["truncated"]), "{}", said(&fleet));
    // What was seen before stays known.
    let fleet = hosts.verify_as(Request { state: fleet.state, ..hosts.request() });
    assert_eq!(codes(&fleet), BTreeSet::from(["truncated"]), "{}", said(&fleet));
    let note = SignedCheckpoint::parse(&note).expect("a checkpoint");
    let against = vec![("kept".to_owned(), note)];
    let fleet = hosts.verify_as(Request { against, ..hosts.request() });
    assert_eq!(codes(&fleet), BTreeSet::from(["truncated"]), "{}", said(&fleet));
}

#[test]
fn a_host_that_ships_nothing_for_too_long_is_silent_by_the_time_of_its_objects() {
    let hosts = Hosts::new(2);
    let mut roster = hosts.roster();
    let after = Silence::After(Duration::from_secs(300));
    roster.logs.get_mut(&hosts.id(0)).expect("its log").silent_after = after;
    let request = |roster: &Roster| Request { roster: Some(roster.clone()), ..hosts.request() };
    let fleet = hosts.verify_as(request(&roster));
    assert_eq!(codes(&fleet), BTreeSet::from(["silent"]), "{}", said(&fleet));
    hosts.homes[0].record(1);
    hosts.ship(0);
    let fleet = hosts.verify_as(request(&roster));
    assert_eq!(fleet.worst(), None, "{}", said(&fleet));
    hosts.age();
    roster.logs.get_mut(&hosts.id(0)).expect("its log").silent_after = Silence::Never;
    assert_eq!(hosts.verify_as(request(&roster)).worst(), None);
}

#[test]
fn a_new_epoch_is_named_until_the_roster_knows_of_it() {
    let hosts = Hosts::new(1);
    let home = &hosts.homes[0];
    let made = home.back_up();
    home.record(30);
    hosts.cut(0);
    let outcome = home.restore(Wish::Id(made.metadata.id)).expect("restored");
    assert!(outcome.plan.new_epoch);
    home.record(10);
    hosts.cut(0);
    hosts.age();
    let fleet = hosts.verify();
    let expected = BTreeSet::from(["new_epoch", "epoch_left"]);
    assert_eq!(codes(&fleet), expected, "{}", said(&fleet));
    let log = &fleet.logs[0];
    assert_eq!((log.epoch, log.epochs.len()), (Some(1), 2), "{log:?}");
    assert_eq!(log.records, all_lines(&home.log_dir()).len() as u64);
    let mut roster = hosts.roster();
    roster.logs.values_mut().for_each(|log| log.epoch = Some(1));
    let request = Request { roster: Some(roster), trusts_times: true, ..hosts.request() };
    let fleet = hosts.verify_as(request);
    assert_eq!(fleet.worst(), Some(Severity::Note), "{}", said(&fleet));
}

#[test]
fn a_store_that_cannot_be_reached_is_a_failure_and_one_object_that_cannot_a_finding() {
    let hosts = Hosts::new(1);
    let store = Arc::new(FaultStore::new(LocalStore::new(hosts.bucket())));
    store.next(Operation::List, Fault::Denied);
    assert!(verify(store, hosts.request(), &Unwatched).is_err());
    let store = Arc::new(FaultStore::new(LocalStore::new(hosts.bucket())));
    store.next(Operation::Open, Fault::Denied);
    let fleet = verify(store, hosts.request(), &Unwatched).expect("verified");
    assert_eq!(codes(&fleet), BTreeSet::from(["unread"]), "{}", said(&fleet));
}

#[test]
fn a_part_of_the_fleet_can_be_asked_for_and_is_said_to_be_one() {
    let hosts = Hosts::new(3);
    let logs = vec![hosts.id(1)];
    let fleet = hosts.verify_as(Request { logs, ..hosts.request() });
    assert_eq!((fleet.logs.len(), fleet.is_partial), (1, true));
    let fleet = hosts.verify_as(Request { hosts: vec!["web-2".to_owned()], ..hosts.request() });
    assert_eq!(fleet.logs.iter().map(|log| log.id.clone()).collect::<Vec<_>>(), [hosts.id(2)]);
}

#[test]
fn every_record_can_be_proven_from_the_bucket_and_fetches_only_its_object() {
    let hosts = Hosts::new(1);
    let lines = all_lines(&hosts.homes[0].log_dir());
    let store = Arc::new(FaultStore::new(LocalStore::new(hosts.bucket())));
    for (seq, line) in lines.iter().enumerate() {
        let wanted = Wanted {
            log: hosts.id(0),
            seq: seq as u64,
            epoch: None,
            public_key: Some(hosts.key(0)),
        };
        let before = store.calls(Operation::Open);
        let proven = prove(store.clone(), &wanted).expect("proven");
        assert!(store.calls(Operation::Open) - before <= 4, "record {seq}");
        assert_eq!(&proven.document.record, line);
        let checked = proven.document.check(Some(&hosts.key(0))).expect("good");
        assert!(checked.checkpoint.size > seq as u64);
    }
    let beyond =
        Wanted { log: hosts.id(0), seq: lines.len() as u64, epoch: None, public_key: None };
    let error = prove(store, &beyond).expect_err("no such record");
    assert_eq!(error.kind(), "not_found");
}

#[test]
fn a_state_reads_back_as_it_was_written() {
    let hosts = Hosts::new(2);
    let fleet = hosts.verify();
    let path = hosts.dir.path().join("state.json");
    fleet.state.save(&OsFs, &path).expect("saved");
    assert_eq!(State::load(&OsFs, &path).expect("read"), Some(fleet.state.clone()));
    assert_eq!(fleet.state.logs.len(), 2);
    assert!(fleet.state.logs.values().all(|log| log.verified.is_some() && log.heads.len() == 1));
}

#[test]
fn what_records_say_is_counted_once_and_only_of_logs_with_which_nothing_is_wrong() {
    let hosts = Hosts::new(3);
    let request = || Request { activity: true, ..hosts.request() };
    let fleet = hosts.verify_as(request());
    let lines = |at: usize| all_lines(&hosts.homes[at].log_dir()).len() as u64;
    let activity = fleet.activity.as_ref().expect("it was asked for");
    assert_eq!(activity.records, (0..3).map(lines).sum::<u64>());
    assert_eq!(activity.days.values().sum::<u64>(), activity.records);
    for log in &fleet.logs {
        let counted = log.counted.as_ref().expect("it was counted");
        assert_eq!(counted.records, log.records_read);
        assert_eq!((counted.first, counted.last), (log.first_accepted, log.last_accepted));
    }
    assert!(hosts.verify().activity.is_none(), "nobody asked");
    // What was verified before is not read, and so not counted.
    let state = fleet.state.clone();
    let again = Request { state, trusts_times: true, ..request() };
    let fleet = hosts.verify_as(again);
    let known: u64 = fleet.logs.iter().map(|log| log.records_known).sum();
    let activity = fleet.activity.as_ref().expect("it was asked for");
    assert!(known > 0, "{}", said(&fleet));
    assert_eq!(activity.records + known, (0..3).map(lines).sum::<u64>());
    // Nor does an altered log tell anything.
    let is_data = |name: &&ObjectName| matches!(name, ObjectName::Data(_));
    let names = hosts.of(1);
    let path = hosts.path(names.iter().find(is_data).expect("a data object"));
    let mut bytes = read(&path);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).expect("altered");
    let fleet = hosts.verify_as(request());
    let activity = fleet.activity.as_ref().expect("it was asked for");
    assert_eq!(activity.records, lines(0) + lines(2), "{}", said(&fleet));
    let silent = fleet.logs.iter().find(|log| log.id == hosts.id(1)).expect("its log");
    assert!(silent.counted.is_none());
}
