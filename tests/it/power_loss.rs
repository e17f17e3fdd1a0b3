//! Power loss: every operation on files is recorded, then the disk is rebuilt as
//! it may be found after the power went at any moment in between (see
//! [`disk`](crate::disk)).

use std::sync::Arc;

use auditctl::audit::files::manifest::InOneFile;
use auditctl::audit::{Durability, Event, Options};
use auditctl::fsio::{OpenMode, OsFs};

use crate::disk::{Change, Disk, Random, RecordingFs};
use crate::support::{Dir, open, options, records, root_agrees};

/// A run in which much happens: sealing, compression, checkpoints, reopening.
fn recorded_run(durability: Durability, in_one_file: InOneFile) -> (Dir, Vec<Change>) {
    let dir = Dir::new();
    let fs = RecordingFs::default();
    for run in 0..2 {
        let log = open(Options {
            fs: Arc::new(fs.clone()),
            durability,
            in_one_file,
            max_segment_size: 4 * 1024,
            checkpoint_interval: std::time::Duration::from_millis(3),
            disk_reserve: 0,
            ..options(&dir)
        });
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (log, fs) = (log.clone(), fs.clone());
                scope.spawn(move || {
                    for n in 0..40 {
                        let actor = format!("{run}-{thread}-{n}");
                        let event = Event::new("e").actor(&*actor).target("x".repeat(100));
                        let seq = log.record(event).expect("accepted").wait_durable();
                        fs.acknowledged(seq.expect("durable"), actor);
                    }
                });
            }
        });
        crate::backups::all_compressed(&log);
        log.close().expect("closed");
    }
    let changes = fs.changes();
    (dir, changes)
}

fn survives_power_loss(durability: Durability, seed: u64, in_one_file: InOneFile) {
    let (dir, changes) = recorded_run(durability, in_one_file);
    let sealed = |change: &Change| match change {
        Change::Rename(_, to) => to.to_string_lossy().ends_with(".log.gz"),
        _ => false,
    };
    assert!(
        changes.iter().filter(|change| sealed(change)).count() >= 5,
        "it sealed and compressed"
    );
    let mut random = Random(seed);
    let rounds = 150;
    for round in 0..rounds {
        let crash = (changes.len() * round / rounds).max(1) + random.below(changes.len() / rounds);
        let changes = &changes[..crash.min(changes.len())];
        let disk = Disk::after(changes, &mut random);
        let found = Dir::new();
        disk.put_into(&dir.log(), &found.log());
        let context =
            format!("{durability:?}, seed {seed}, after {crash} changes: {:?}", changes.last());
        let again = Options { durability, in_one_file, ..options(&found) };
        let log = match auditctl::audit::AuditLog::open(again) {
            Ok(log) => log,
            Err(error) => panic!("{context}: {error}; kept in {}", found.keep().display()),
        };
        log.record(Event::new("after")).expect("accepted").wait_durable().expect("durable");
        log.close().expect("closed");
        let stored = records(&found.log());
        for (at, (seq, _)) in stored.iter().enumerate() {
            assert_eq!(*seq, at as u64, "{context}");
        }
        for change in changes {
            let Change::Acknowledged(seq, actor) = change else { continue };
            let there = stored.get(*seq as usize).map(|(_, record)| &record["actor"]);
            assert_eq!(there, Some(&actor.as_str().into()), "{context}");
        }
        if round % 15 == 0 {
            root_agrees(&found.log());
        }
    }
}

#[test]
fn p1_what_was_acknowledged_survives_the_loss_of_power_at_any_moment() {
    survives_power_loss(Durability::Commit, 0x9e37_79b9_7f4a_7c15, InOneFile::default());
}

#[test]
fn p1_the_same_where_the_writer_syncs_at_intervals() {
    survives_power_loss(Durability::Interval, 0xd1b5_4a32_d192_ed03, InOneFile::default());
}

#[test]
fn p1_the_same_where_the_manifest_has_pages() {
    survives_power_loss(Durability::Commit, 0xbf58_476d_1ce4_e5b9, crate::pages::SMALL);
}

/// The key changes twice while events are recorded; then the log is closed.
fn run_with_changes_of_key() -> (Dir, Vec<Change>) {
    let dir = Dir::new();
    let fs = RecordingFs::default();
    let log = open(Options {
        fs: Arc::new(fs.clone()),
        checkpoint_interval: std::time::Duration::from_millis(3),
        disk_reserve: 0,
        ..options(&dir)
    });
    std::thread::scope(|scope| {
        let (writer, noted) = (log.clone(), fs.clone());
        scope.spawn(move || {
            for n in 0..60 {
                let actor = format!("{n}");
                let event = Event::new("e").actor(&*actor).target("x".repeat(100));
                let seq = writer.record(event).expect("accepted").wait_durable();
                noted.acknowledged(seq.expect("durable"), actor);
            }
        });
        for _ in 0..2 {
            log.rotate_key(&auditctl::audit::write::key_change::RotateRequest::default())
                .expect("the key is changed");
        }
    });
    log.close().expect("closed");
    let changes = fs.changes();
    (dir, changes)
}

#[test]
fn p1_a_change_of_key_survives_the_loss_of_power_at_any_moment() {
    let (dir, all) = run_with_changes_of_key();
    let first = std::fs::read_to_string(dir.log().join("audit.keys")).expect("read");
    let first: serde_json::Value = serde_json::from_str(&first).expect("json");
    let first: auditctl::audit::keys::checkpoint::VerifierKey =
        first["rotations"][0]["old_key"].as_str().expect("a key").parse().expect("a key");
    let named = |name: &str| {
        all.iter().any(|change| match change {
            Change::Rename(_, to) => to.ends_with(name),
            _ => false,
        })
    };
    assert!(named("audit.keys") && named("audit.key") && named("audit.key.next"));
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    // From where the log is whole to its end, each step.
    for crash in (all.len() / 20)..=all.len() {
        let disk = Disk::after(&all[..crash], &mut random);
        let found = Dir::new();
        disk.put_into(&dir.log(), &found.log());
        let context = format!("after {crash} of {}: {:?}", all.len(), all[crash - 1]);
        let log = match auditctl::audit::AuditLog::open(options(&found)) {
            Ok(log) => log,
            Err(error) => panic!("{context}: {error}; kept in {}", found.keep().display()),
        };
        log.record(Event::new("after")).expect("accepted").wait_durable().expect("durable");
        log.close().expect("closed");
        assert!(!found.log().join("audit.key.next").exists(), "{context}");
        let fs: auditctl::fsio::SharedFs = Arc::new(OsFs);
        for key in [None, Some(first.clone())] {
            let request = auditctl::audit::read::verify::Request { key, ..Default::default() };
            let watch = &auditctl::audit::read::watch::Unwatched;
            let report = auditctl::audit::read::verify::verify(&fs, &found.log(), &request, watch);
            let report = report.expect("a report").0;
            assert!(report.passed(), "{context}: {:?}", report.findings);
        }
        let stored = records(&found.log());
        for change in &all[..crash] {
            let Change::Acknowledged(seq, actor) = change else { continue };
            let there = stored.get(*seq as usize).map(|(_, record)| &record["actor"]);
            assert_eq!(there, Some(&actor.as_str().into()), "{context}");
        }
        if crash % 40 == 0 {
            root_agrees(&found.log());
        }
    }
}

/// A log whose old segments are removed while events are recorded.
pub(crate) fn run_with_retention(in_one_file: InOneFile) -> (Dir, RecordingFs) {
    use auditctl::clock::ManualClock;
    use std::time::Duration;
    let dir = Dir::new();
    let fs = RecordingFs::default();
    let clock = Arc::new(ManualClock::new("2026-02-04T21:09:40Z".parse().expect("a time")));
    let with = || Options {
        fs: Arc::new(fs.clone()),
        clock: clock.clone(),
        max_segment_size: 4 * 1024,
        checkpoint_interval: Duration::from_millis(3),
        disk_reserve: 0,
        retention_rule: auditctl::audit::RetentionRule::RemovesWithoutBackup,
        in_one_file,
        ..options(&dir)
    };
    let record = |log: &auditctl::audit::AuditLog, n: usize| {
        let actor = format!("{n}");
        let event = Event::new("e").actor(&*actor).target("x".repeat(100));
        let seq = log.record(event).expect("accepted").wait_durable();
        fs.acknowledged(seq.expect("durable"), actor);
    };
    let log = open(with());
    (0..100).for_each(|n| record(&log, n));
    crate::backups::all_compressed(&log);
    log.close().expect("closed");
    clock.advance(Duration::from_secs(100 * 86_400));
    let log = open(with());
    clock.advance(Duration::from_secs(3_601));
    for n in 100.. {
        record(&log, n);
        if n > 120 && log.manifest().pruned.end() > 0 {
            break;
        }
    }
    let gone = || {
        fs.changes().iter().rev().any(|change| matches!(change, Change::Remove(path) if path.ends_with("audit.00000000000000000000.log.gz")))
    };
    crate::support::eventually("the files go", gone);
    log.close().expect("closed");
    (dir, fs)
}

#[test]
fn p1_retention_survives_the_loss_of_power() {
    retention_survives_the_loss_of_power(InOneFile::default());
}

#[test]
fn p1_retention_survives_the_loss_of_power_where_the_manifest_has_pages() {
    retention_survives_the_loss_of_power(crate::pages::SMALL);
}

fn retention_survives_the_loss_of_power(in_one_file: InOneFile) {
    let (dir, fs) = run_with_retention(in_one_file);
    let all = fs.changes();
    let mut random = Random(0x94d0_49bb_1331_11eb);
    let rounds = 200;
    let (mut whole, mut pruned) = (0, 0);
    let tells = |change: &Change| match change {
        Change::Write(_, _, bytes) => memchr::memmem::find(bytes, b"audit.pruned").is_some(),
        _ => false,
    };
    let from = all.iter().position(tells).expect("it is recorded").saturating_sub(30);
    // Until a little after the last file is gone.
    let gone = |change: &Change| matches!(change, Change::Remove(path) if path.to_string_lossy().ends_with(".log.gz"));
    let until = (all.iter().rposition(gone).expect("files go") + 30).min(all.len());
    for round in 0..rounds {
        let crash = from + (until - from) * round / rounds + random.below(2);
        let changes = &all[..crash.min(all.len())];
        let disk = Disk::after(changes, &mut random);
        let found = Dir::new();
        disk.put_into(&dir.log(), &found.log());
        let context = format!("after {crash} of {} changes: {:?}", all.len(), changes.last());
        let log =
            match auditctl::audit::AuditLog::open(Options { retention: None, ..options(&found) }) {
                Ok(log) => log,
                Err(error) => panic!("{context}: {error}; kept in {}", found.keep().display()),
            };
        let first = log.manifest().pruned.end();
        log.close().expect("closed");
        let stored = records(&found.log());
        let seqs: Vec<u64> = stored.iter().map(|(seq, _)| *seq).collect();
        assert_eq!(seqs, (first..first + stored.len() as u64).collect::<Vec<_>>(), "{context}");
        let said = stored.iter().rev().find(|(_, record)| record["event_type"] == "audit.pruned");
        if first == 0 {
            whole += 1;
        } else {
            pruned += 1;
            let (_, said) = said.unwrap_or_else(|| panic!("{context}: removed without a record"));
            assert_eq!(said["details"]["pruned_to"], first, "{context}");
        }
        for change in changes {
            let Change::Acknowledged(seq, actor) = change else { continue };
            let Some(at) = seq.checked_sub(first) else { continue };
            let there = stored.get(at as usize).map(|(_, record)| &record["actor"]);
            assert_eq!(there, Some(&actor.as_str().into()), "{context}");
        }
        if round % 20 == 0 {
            root_agrees(&found.log());
        }
    }
    assert!(whole > 10 && pruned > 10, "{whole} before, {pruned} after the removal");
}

#[test]
fn p1_what_was_adopted_unsigned_stays_named_when_the_power_goes_in_the_opening() {
    let dir = Dir::new();
    crate::crash::killed(&dir, 10);
    let end = records(&dir.log()).len() as u64;
    // In the page cache only: the writer was killed before it synced.
    let fs = RecordingFs::on(dir.path());
    let path = dir.log().join("audit.log");
    let length = std::fs::metadata(&path).expect("there").len();
    let file = auditctl::fsio::Fs::open(&fs, &path, OpenMode::Write).expect("open");
    let line = crate::crash::line(end, "unsigned");
    file.write_all_at(line.as_bytes(), length).expect("written");
    let begun = fs.changes().len();
    let log = open(Options { fs: Arc::new(fs.clone()), ..options(&dir) });
    fs.told();
    log.close().expect("closed");
    let all = fs.changes();
    let mut random = Random(0xa076_1d64_78bd_642f);
    let mut kept = 0;
    for crash in begun..=all.len() {
        let disk = Disk::after(&all[..crash], &mut random);
        let found = Dir::new();
        disk.put_into(dir.path(), found.path());
        let context = format!("after {crash} of {}: {:?}", all.len(), all[..crash].last());
        let log = match auditctl::audit::AuditLog::open(options(&found)) {
            Ok(log) => log,
            Err(error) => panic!("{context}: {error}; kept in {}", found.keep().display()),
        };
        let noted = log.manifest().adopted.iter().any(|span| span.contains(end));
        log.close().expect("closed");
        let stored = records(&found.log());
        let told = all[..crash].iter().any(|change| matches!(change, Change::Told));
        if stored[end as usize].1["event_type"] != "unsigned" {
            assert!(!told, "{context}: adopted, and not there");
            continue;
        }
        kept += 1;
        let names = |(_, record): &(u64, serde_json::Value)| {
            let details = &record["details"];
            let (first, end_of) =
                (details["unsigned_first"].as_u64(), details["unsigned_end"].as_u64());
            record["event_type"] == "audit.recovered"
                && first.is_some_and(|first| first <= end)
                && end_of.is_some_and(|end_of| end < end_of)
        };
        assert!(stored.iter().any(names), "{context}: a record names it");
        assert!(noted, "{context}: the manifest notes it");
        if crash % 20 == 0 {
            root_agrees(&found.log());
        }
    }
    assert!(kept * 2 > all.len() - begun, "{kept}");
}
