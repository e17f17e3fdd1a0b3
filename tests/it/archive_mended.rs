//! An archive that accidents, or others who can write there, have left in disorder.

use std::path::PathBuf;

use auditctl::archive::{ArchiveError, Wanted};
use auditctl::backup::Extent;

use crate::archive::{Fleet, is_tail};
use crate::backups::read;
use crate::support::all_lines;

/// What the log's objects in `proof/` begin with.
fn proofs(fleet: &Fleet) -> PathBuf {
    let found = std::fs::read_dir(fleet.bucket().join("proof")).expect("listed").next();
    found.expect("a log").expect("listed").path()
}

fn plant(fleet: &Fleet, name: &str) {
    std::fs::write(proofs(fleet).join(name), "junk").expect("written");
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
    crate::backups::copy_dir(&fleet.home.log_dir(), &older);
    fleet.home.restore(auditctl::backup::Wish::Id(made.metadata.id)).expect("restored");
    fleet.record(20);
    fleet.ship();
    std::fs::remove_dir_all(fleet.home.log_dir()).expect("removed");
    crate::backups::copy_dir(&older, &fleet.home.log_dir());
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
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0)).expect("closed");
    fleet.forget_position();
    fleet.record(5);
    fleet.ship();
    assert_eq!(fleet.restored(), all_lines(&fleet.home.log_dir()));
}
