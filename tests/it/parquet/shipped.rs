//! Parquet objects beside data objects, as a pass puts them.

use auditctl::archive::parquet::{Lines, check};
use auditctl::archive::{Archiver, Cuts, ObjectName, Place, RangeProof};
use auditctl::audit::keys::Keyring;
use auditctl::backup::Unwatched;
use auditctl::store::fault::{Fault, Operation};
use serde_json::Value;

use crate::archive::Fleet;
use crate::backups::{Home, record_into};
use crate::holes::{accept, alter};
use crate::support::{open, run};

fn tables(fleet: &Fleet) -> Vec<Place> {
    let objects = fleet.objects().into_iter();
    objects
        .filter_map(|it| if let ObjectName::Parquet(place) = it { Some(place) } else { None })
        .collect()
}

fn data(fleet: &Fleet) -> Vec<Place> {
    let objects = fleet.objects().into_iter();
    objects
        .filter_map(|it| if let ObjectName::Data(place) = it { Some(place) } else { None })
        .collect()
}

/// Each data object has a Parquet object that gives its records again, to the byte.
fn all_are_there(fleet: &Fleet) {
    let (tables, data) = (tables(fleet), data(fleet));
    assert!(!data.is_empty() && tables == data, "{tables:?} {data:?}");
    for place in tables {
        let file = bytes_of(fleet, &ObjectName::Parquet(place.clone()));
        let mut lines = Lines::of(file, &place).expect("a Parquet file");
        check(&mut lines, &proof_of(fleet, &place)).expect("its records");
    }
}

fn bytes_of(fleet: &Fleet, name: &ObjectName) -> Vec<u8> {
    std::fs::read(fleet.bucket().join(name.to_string())).expect("the object")
}

fn proof_of(fleet: &Fleet, place: &Place) -> RangeProof {
    let name = ObjectName::Range(place.log.clone(), place.span.first, 0);
    let key = std::fs::read_to_string(fleet.home.log_dir().join("audit.pub")).expect("the key");
    let keys = Keyring::new(key.trim().parse().expect("a key"), &[]).expect("keys");
    RangeProof::read(&bytes_of(fleet, &name), &name, &keys).expect("a proof").0
}

#[test]
fn every_data_object_has_its_parquet_object_before_the_checkpoint_and_once() {
    let fleet = Fleet::new();
    fleet.record(400);
    let shipped = fleet.cut();
    assert!(shipped.not_made.is_empty(), "{shipped:?}");
    let at = |is: fn(&ObjectName) -> bool| shipped.objects.iter().position(is).expect("put");
    let table = at(|object| matches!(object, ObjectName::Parquet(_)));
    assert!(at(|object| matches!(object, ObjectName::Data(_))) < table);
    assert!(table < at(|object| matches!(object, ObjectName::Checkpoint(..))));
    all_are_there(&fleet);
    fleet.record(300);
    fleet.cut();
    all_are_there(&fleet);
    assert_eq!(tables(&fleet).len(), 2);
    assert!(fleet.cut().objects.is_empty(), "nothing is put again");
}

/// The schema has no column for ids: the line itself is kept, and comes back.
#[test]
fn records_with_ids_come_back_to_the_byte() {
    let fleet = Fleet::new();
    let log = fleet.home.open();
    let at = "2026-01-01T00:00:00Z".parse().expect("a time");
    for n in 0..50 {
        let event = auditctl::audit::Event::new("paid").actor("alice").id(format!("order \"{n}\""));
        let event = if n % 2 == 0 { event.timestamp(at) } else { event };
        log.record(event).expect("accepted").wait().expect("durable");
    }
    log.close().expect("closed");
    fleet.cut();
    all_are_there(&fleet);
    let place = tables(&fleet).swap_remove(0);
    let mut lines =
        Lines::of(bytes_of(&fleet, &ObjectName::Parquet(place.clone())), &place).expect("a file");
    let mut found = 0;
    while let Some((_, line)) = lines.next_line().expect("a line") {
        found += usize::from(String::from_utf8_lossy(line).contains(r#","id":"order \""#));
    }
    assert_eq!(found, 50);
}

#[test]
fn a_pass_that_ends_between_the_data_and_its_parquet_object_is_gone_on_with() {
    for lost in [Fault::Unreachable, Fault::AnswerLost] {
        let fleet = Fleet::new();
        fleet.record(200);
        // The keys, the proof and the data object are put; then comes the fault.
        for _ in 0..3 {
            fleet.store.next(Operation::Put, Fault::CutAfter(0));
        }
        fleet.store.next(Operation::Put, lost);
        let cuts = Cuts { data_age: std::time::Duration::ZERO, ..fleet.cuts };
        let error = Archiver { cuts, ..fleet.archiver() }.pass(&Unwatched).expect_err("no answer");
        assert!(["unreachable", "timeout"].contains(&error.kind()), "{error}");
        assert_eq!(data(&fleet).len(), 1);
        let there = fleet.objects().len();
        let shipped = fleet.cut();
        assert!(shipped.not_made.is_empty(), "{shipped:?}");
        assert!(fleet.objects().len() > there, "at least the checkpoint");
        all_are_there(&fleet);
        assert_eq!(data(&fleet).len(), 1, "no data object twice");
    }
}

#[test]
fn who_may_not_put_parquet_objects_ships_everything_else_and_is_told() {
    let fleet = Fleet::new();
    fleet.record(200);
    for _ in 0..3 {
        fleet.store.next(Operation::Put, Fault::CutAfter(0));
    }
    fleet.store.next(Operation::Put, Fault::Denied);
    let shipped = fleet.cut();
    assert_eq!(shipped.not_made.len(), 1, "{shipped:?}");
    assert!(shipped.not_made[0].why.contains("denied"), "{shipped:?}");
    assert!(matches!(shipped.objects.last(), Some(ObjectName::Checkpoint(..))), "{shipped:?}");
    assert!(tables(&fleet).is_empty());
}

#[test]
fn what_has_a_parquet_objects_name_and_is_another_file_stops_nothing_and_is_named() {
    let fleet = Fleet::new();
    fleet.record(200);
    let bucket = fleet.bucket();
    let shipped = fleet.cut();
    let table = tables(&fleet).pop().expect("a Parquet object");
    let name = ObjectName::Parquet(table).to_string();
    for kind in ["tail", "data", "proof", "parquet"] {
        let _ = std::fs::remove_dir_all(bucket.join(kind));
    }
    let path = bucket.join(&name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(&path, b"PAR1 junk PAR1").expect("written");
    std::fs::remove_file(fleet.home.log_dir().join("audit.archive.json")).expect("removed");
    let bucket = bucket.to_str().expect("UTF-8").to_owned();
    let again = fleet.cut();
    assert_eq!(again.tree_size, shipped.tree_size);
    assert_eq!(again.not_made.len(), 1, "{again:?}");
    assert!(again.not_made[0].why.contains(&name), "{again:?}");
    assert_eq!(std::fs::read(&path).expect("read"), b"PAR1 junk PAR1");
    let (code, out, err) = run(&fleet.home.dir, &["restore", &bucket, "--target", "there"]);
    assert_eq!(code, 0, "{out}{err}");
}

#[test]
fn the_program_ships_parquet_unless_it_is_told_not_to() {
    for (args, expected) in
        [(&["archive", "bucket"][..], 1), (&["archive", "bucket", "--no-parquet"], 0)]
    {
        let fleet = Fleet::of(Home::at("2026-02-04T10:00:00Z").0);
        // Recorded by the test's clock, on a day that has ended: at once a data object.
        fleet.record(50);
        let (code, out, err) = run(&fleet.home.dir, &[&["--json"], args].concat());
        assert_eq!(code, 0, "{out}{err}");
        let said: Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(said["archive"]["without_parquet"], serde_json::json!([]), "{said}");
        assert_eq!(data(&fleet).len(), 1, "{said}");
        assert_eq!(tables(&fleet).len(), expected, "{said}");
    }
}

#[test]
fn records_that_the_log_lost_have_no_rows_and_the_rest_is_proven() {
    let fleet = Fleet::new();
    let log = open(fleet.options());
    record_into(&log, 30);
    log.close().expect("closed");
    alter(&fleet.home.log_dir().join("audit.log"), 9);
    accept(&fleet.home);
    fleet.cut();
    all_are_there(&fleet);
    let place = tables(&fleet).remove(0);
    assert!(!proof_of(&fleet, &place).holes.is_empty(), "there is a hole");
}
