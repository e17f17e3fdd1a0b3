//! A writer that is killed between any two of its writes leaves what a crash leaves, and
//! `verify` takes none of it for tampering.

use std::sync::Arc;
use std::time::Duration;

use auditctl::audit::files::manifest::InOneFile;
use auditctl::audit::read::verify::{Kind, Report, Request, verify};
use auditctl::audit::read::watch::Unwatched;
use auditctl::audit::write::key_change::RotateRequest;
use auditctl::audit::{Event, LogPaths, Options};
use auditctl::fsio::OsFs;

use crate::backups::all_compressed;
use crate::disk::{Change, Disk, RecordingFs};
use crate::support::{Dir, open, options};

/// Everything that writes more than one file: sealing, compression, checkpoints, a change
/// of key, a close, an opening after it.
fn run(in_one_file: InOneFile) -> (Dir, Vec<Change>) {
    let dir = Dir::new();
    let fs = RecordingFs::default();
    for rotates in [true, false] {
        let log = open(Options {
            fs: Arc::new(fs.clone()),
            max_segment_size: 4 << 10,
            checkpoint_interval: Duration::from_millis(3),
            disk_reserve: 0,
            in_one_file,
            ..options(&dir)
        });
        for n in 0..40 {
            let event = Event::new("e").actor(format!("{n}")).target("x".repeat(100));
            log.record(event).expect("accepted").wait_durable().expect("durable");
            if rotates && n == 20 {
                log.rotate_key(&RotateRequest::default()).expect("the key is changed");
            }
        }
        all_compressed(&log);
        log.close().expect("closed");
    }
    (dir, fs.changes())
}

fn report(dir: &Dir) -> Report {
    let fs = Arc::new(OsFs) as auditctl::fsio::SharedFs;
    verify(&fs, &dir.log(), &Request::default(), &Unwatched).expect("a report").0
}

/// What says that somebody changed something.
fn is_tampering(kind: Kind) -> bool {
    !matches!(kind, Kind::Unclean)
}

#[test]
fn what_is_left_between_any_two_writes_is_not_taken_for_tampering() {
    is_not_taken_for_tampering(InOneFile::default());
}

#[test]
fn nor_is_it_where_the_manifest_has_pages() {
    is_not_taken_for_tampering(crate::pages::SMALL);
}

fn is_not_taken_for_tampering(in_one_file: InOneFile) {
    let (dir, changes) = run(in_one_file);
    // Until the first checkpoint is there, there is no log yet.
    let begun = changes
        .iter()
        .position(
            |change| matches!(change, Change::Rename(_, to) if to.ends_with("audit.checkpoint")),
        )
        .expect("a first checkpoint");
    let mut looked = 0;
    for to in begun + 1..=changes.len() {
        // A sync changes nothing that another process sees.
        if matches!(changes[to - 1], Change::SyncData(_) | Change::SyncDir(_)) {
            continue;
        }
        let found = Dir::new();
        Disk::as_killed(&changes[..to]).put_into(&dir.log(), &found.log());
        let report = report(&found);
        let tampering: Vec<_> =
            report.findings.iter().filter(|finding| is_tampering(finding.kind)).collect();
        assert!(
            tampering.is_empty(),
            "after {to} of {} changes, the last {:?}: {tampering:#?}",
            changes.len(),
            changes[to - 1]
        );
        looked += 1;
    }
    assert!(looked > 200, "{looked}");
}

/// What can be told apart is told apart: a log whose signed close is in `audit.head` has a
/// checkpoint over it, because that is written first.
#[test]
fn an_older_checkpoint_in_the_place_of_the_closing_one_is_found() {
    let dir = Dir::new();
    let log = open(options(&dir));
    log.record(Event::new("e")).expect("accepted").wait_durable().expect("durable");
    let paths = LogPaths::new(&dir.log());
    crate::support::eventually("a checkpoint", || {
        std::fs::read(paths.checkpoint()).is_ok_and(|text| !text.is_empty())
    });
    let older = std::fs::read(paths.checkpoint()).expect("read");
    log.close().expect("closed");
    assert!(report(&dir).passed());
    std::fs::write(paths.checkpoint(), older).expect("put back");
    let report = report(&dir);
    assert!(report.findings.iter().any(|found| found.kind == Kind::Altered), "{report:#?}");
}
