//! Each problem is found where it is, and nothing is found that has no name.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{alerts, noted, with_catalog};
use crate::archive::{ArchiveFailure, ArchiveStatus, Position};
use crate::audit::files::examine::leaves;
use crate::audit::keys::histories::History;
use crate::audit::keys::signer::{Signer, SigningKey};
use crate::audit::state::security::{By, SecurityKind};
use crate::audit::state::status::{Damage, DiskStage, RetentionWait, Word};
use crate::audit::tree::document::{Kind, Layout, encode_file};
use crate::audit::tree::merkle::{Range, leaf_hash};
use crate::clock::{Clock, Timestamp};
use crate::fsio::{Fs, OsFs, Space};
use crate::health::Status::{Critical, Healthy, Unknown, Warning};
use crate::health::samples::{GIB, Sample, delivering, every_state, witnessed};
use crate::health::{Findings, Found, FoundBy, Problem, Status, unanswered};
use crate::units::ByteSize;

const DAY: i64 = 86_400;

/// A log with that problem. The match is without a rest: a new problem needs one.
pub(crate) fn with(problem: Problem) -> Sample {
    let state = |state: &str, nth: usize| {
        let found = every_state().into_iter().filter(|(name, _)| *name == state).nth(nth);
        found.expect("a sample of that state").1
    };
    match problem {
        Problem::PageMissing | Problem::NoLog => Sample::empty(),
        Problem::PageDenied => denied(),
        Problem::PageUnusable => state("unreadable", 0),
        Problem::PageStale | Problem::Died => state("died", 0),
        Problem::CertificateEnding => of_page(|sample| sample.ago(Word::TlsNotAfter, -DAY)),
        Problem::CertificateExpired => of_page(|sample| sample.ago(Word::TlsNotAfter, 1)),
        Problem::BufferFilling => of_page(|sample| {
            sample.set(Word::BufferEvents, 501);
            sample.ago(Word::OldestWaitingAt, 1);
        }),
        Problem::Opening => state("opening", 0),
        Problem::Hung => state("hung", 0),
        Problem::WriterDiskFull => state("disk_full", 0),
        Problem::WriteFailing => state("write_failing", 0),
        Problem::WriterFailed => state("writer_failed", 0),
        Problem::LockUnknown => state("unknown", 0),
        Problem::NewerVersion => state("unknown", 1),
        Problem::Stopped => state("stopped", 0),
        Problem::LogUnknown => unseen("audit.log"),
        Problem::LogDeleted => {
            of_page(|sample| std::fs::remove_file(sample.paths().active()).expect("remove"))
        }
        Problem::LogReplaced => of_page(|sample| sample.set(Word::ActiveInode, 1)),
        Problem::LogChanged => {
            let sample = Sample::closed();
            sample.set(Word::ActiveInode, 1);
            sample
        }
        Problem::LogTruncated => of_page(|sample| sample.set(Word::ActiveBytes, 11)),
        Problem::LogLarge => {
            let mut sample = Sample::running();
            sample.settings.health.log_bytes_warn = ByteSize(9);
            sample
        }
        Problem::Blocked => {
            let mut sample = of_page(|sample| {
                sample.page().count_security(
                    SecurityKind::RateLimited,
                    By::Known,
                    sample.clock.now(),
                );
            });
            sample.settings.health.blocked_warn = 0;
            sample
        }
        Problem::InvalidEvents => secure(SecurityKind::Validation, 21),
        Problem::SecurityEvents => secure(SecurityKind::Unauthorized, 6),
        Problem::DiskLow => {
            space(Some(Space { total: 100 * GIB, available: GIB - 1, ..Space::default() }))
        }
        Problem::DiskFull => of_page(|sample| sample.set(Word::DiskStage, DiskStage::Full as u64)),
        Problem::FilesLow => space(Some(Space {
            total: 100 * GIB,
            available: 99 * GIB,
            files_total: 18,
            files_available: 0,
        })),
        Problem::DiskUnknown => space(None),
        Problem::FileReplaced => damage(Damage::FileReplaced as u64),
        Problem::FileTruncated => damage(Damage::FileTruncated as u64),
        Problem::CorruptionAccepted => damage(Damage::CorruptionAccepted as u64),
        Problem::DirectoryGone => damage(Damage::DirectoryGone as u64),
        Problem::SegmentDamaged => damage(Damage::SegmentDamaged as u64),
        Problem::OwnFileGone => of_page(|sample| sample.set(Word::OwnFilesGone, 1 << 5)),
        Problem::OwnFilePutBack => of_page(|sample| {
            sample.set(Word::OwnFilesPutBack, 1 << 5);
            sample.ago(Word::OwnFilePutBackAt, 14 * 60);
        }),
        Problem::SegmentGone => of_page(|sample| sample.set(Word::SegmentsGone, 1)),
        Problem::DamageOther => damage(99),
        Problem::BackupsGone => of_page(|sample| sample.set(Word::BackupMade, 5)),
        Problem::RetentionWaits => waits(RetentionWait::NotHeld),
        Problem::ClockAhead => waits(RetentionWait::ClockAhead),
        Problem::RolledBack => history(History::RolledBack),
        Problem::SnapshotRestored => history(History::SnapshotRestored),
        Problem::Cloned => history(History::Cloned),
        Problem::LostRecords => of_page(|sample| sample.set(Word::LostRecords, 1)),
        Problem::CheckpointMissing => {
            of_page(|sample| std::fs::remove_file(sample.paths().checkpoint()).expect("remove"))
        }
        Problem::KeyUnusable => {
            let sample = Sample::closed();
            std::fs::write(sample.paths().key(), "").expect("written");
            sample
        }
        Problem::KeysUnusable => {
            let sample = Sample::closed();
            std::fs::write(sample.paths().keys(), "{}").expect("written");
            sample
        }
        Problem::FoundWrong => found(FoundBy::Verify),
        Problem::StartRefused => found(FoundBy::Start),
        Problem::FindingsUnusable => {
            let sample = Sample::closed();
            std::fs::write(sample.paths().findings(), "{}").expect("written");
            sample
        }
        Problem::CheckpointUnknown => unseen("audit.checkpoint"),
        Problem::CheckpointOld => of_page(|sample| sample.ago(Word::CheckpointAt, DAY)),
        Problem::ManifestMissing => {
            of_page(|sample| std::fs::remove_file(sample.paths().manifest()).expect("remove"))
        }
        Problem::ManifestUnknown => unseen("audit.manifest.json"),
        Problem::KeyChangePending => key_change(61),
        Problem::KeyMissing => {
            let sample = Sample::closed();
            std::fs::remove_file(sample.paths().key()).expect("remove");
            sample
        }
        Problem::UnsignedRecords => of_page(|sample| sample.set(Word::AdoptedEnd, 9)),
        Problem::BackupsUnknown => {
            of_page(|sample| std::fs::write(&sample.settings.backup.output_dir, "").expect("file"))
        }
        Problem::WitnessUnknown => {
            let sample = witnessed(|_, _| ());
            std::fs::write(sample.paths().witness_status(), "x").expect("written");
            sample
        }
        Problem::WitnessIdle => {
            let sample = witnessed(|_, _| ());
            std::fs::remove_file(sample.paths().witness_status()).expect("removed");
            sample
        }
        Problem::WitnessNoQuorum => witnessed(|status, sample| {
            let now = sample.clock.now().micros();
            status.quorum_at = Some(Timestamp::from_micros(now - 3_600 * 1_000_000));
            status.tree_size = 44;
        }),
        Problem::WitnessBehind => {
            witnessed(|status, _| status.witnesses[0].problem = Some("HTTP 503".to_owned()))
        }
        Problem::WitnessAhead => alarmed("ahead"),
        Problem::WitnessContradicted => alarmed("contradicted"),
        Problem::AlertsUnknown
        | Problem::AlertsIdle
        | Problem::AlertsQueueFilling
        | Problem::AlertsDelayed
        | Problem::AlertsFailed
        | Problem::AlertsBehind => of_alerts(problem),
        Problem::ArchiveUnknown
        | Problem::ArchiveBehind
        | Problem::ArchiveFailing
        | Problem::ArchiveContradicted
        | Problem::ArchiveRemovedUnshipped => of_archive(problem),
        Problem::BackupOld
        | Problem::BackupFailed
        | Problem::BackupLogChanged
        | Problem::BackupDamaged
        | Problem::BackupLacking
        | Problem::BackupUnsent
        | Problem::DrillFailed
        | Problem::DrillOld
        | Problem::DrillNever => of_backups(problem),
    }
}

/// Nothing is denied to root.
pub(crate) fn cannot_be_had(problem: Problem) -> bool {
    problem == Problem::PageDenied && rustix::process::geteuid().is_root()
}

/// A log with two signed records, and an archive.
pub(super) fn archived() -> Sample {
    let mut sample = Sample::running();
    sample.settings.archive.destination = Some("/archive".to_owned());
    let key = SigningKey::generate(&format!("auditctl/{}", "5f".repeat(16))).expect("a key");
    let now = sample.clock.now();
    let at = |seconds: i64| Timestamp::from_micros(now.micros() - seconds * 1_000_000);
    let line = |seq: u64, seconds: i64| {
        // The caller's time is of no account.
        format!(
            "{{\"seq\":{seq},\"timestamp\":\"2001-01-01T00:00:00.000000Z\",\"event_type\":\"x\",\
             \"recorded_at\":\"{}\"}}\n",
            at(seconds)
        )
    };
    let lines = line(0, 7_000) + &line(1, 400);
    std::fs::write(sample.paths().active(), &lines).expect("written");
    sample.set(Word::ActiveBytes, lines.len() as u64);
    let inode = OsFs.meta(&sample.paths().active()).expect("there").inode;
    sample.set(Word::ActiveInode, inode);
    let origin = format!("auditctl/{}", "5f".repeat(16)).parse().expect("an origin");
    let mut signer = Signer::new(key, origin).expect("a signer");
    let mut tree = Range::empty(0);
    leaves(lines.as_bytes()).for_each(|leaf| tree.append(leaf));
    let note = signer.sign(&tree, &tree).expect("signed").to_string();
    std::fs::write(sample.paths().checkpoint(), note).expect("written");
    sample
}

/// The archive holds so many of them.
pub(super) fn shipped(sample: &Sample, records: u64) {
    let mut tree = Range::empty(0);
    (0..records).for_each(|_| tree.append(leaf_hash(b"x")));
    let at = Timestamp::from_micros(sample.clock.now().micros() - 10_000_000);
    let position = Position {
        log_id: "5f".repeat(16),
        epoch: 0,
        destination: "/archive/".to_owned(),
        endpoint: None,
        data: Range::empty(0),
        committed: false,
        shipped: tree,
        tail_since: None,
        tail_bytes: 0,
        key_changes: None,
        shipped_at: at,
        removed_unshipped: 0,
        removed_to: 0,
        checkpoint: None,
    };
    let bytes = encode_file(Kind::ARCHIVE, &position, Layout::Pretty).expect("JSON");
    std::fs::write(sample.settings.log_dir.join("audit.archive.json"), bytes).expect("written");
}

fn of_archive(problem: Problem) -> Sample {
    let sample = archived();
    shipped(&sample, 1);
    let failed = |code: &str, failures| {
        let at = sample.clock.now();
        let error = Some(ArchiveFailure { at, code: code.to_owned(), message: "why".to_owned() });
        let destination = "/archive/".to_owned();
        let status = ArchiveStatus { at, destination, failures, error, ..ArchiveStatus::default() };
        status.store(&OsFs, &sample.settings.log_dir).expect("written");
    };
    match problem {
        Problem::ArchiveUnknown => {
            let path = sample.settings.log_dir.join("audit.archive.status.json");
            std::fs::write(path, "{").expect("written");
        }
        Problem::ArchiveFailing => {
            shipped(&sample, 2);
            failed("unreachable", 3);
        }
        Problem::ArchiveContradicted => failed("archive_contradicted", 1),
        Problem::ArchiveRemovedUnshipped => {
            shipped(&sample, 2);
            removed(&sample, 7, sample.clock.now());
        }
        _ => {}
    }
    sample
}

/// So many records were removed before they were shipped, as was found then.
fn removed(sample: &Sample, removed_unshipped: u64, then: Timestamp) {
    let status = ArchiveStatus {
        at: sample.clock.now(),
        destination: "/archive/".to_owned(),
        removed_unshipped,
        removed_at: Some(then),
        ..ArchiveStatus::default()
    };
    status.store(&OsFs, &sample.settings.log_dir).expect("written");
}

/// The warning ends, and the number stays.
#[test]
fn records_that_were_removed_unshipped_are_told_for_a_month_and_counted_for_ever() {
    let sample = archived();
    shipped(&sample, 2);
    for (days, expected) in [(29, Warning), (31, Healthy)] {
        let then = Timestamp::from_micros(sample.clock.now().micros() - days * 86_400_000_000);
        removed(&sample, 7, then);
        let report = sample.health().report;
        let check = report.check("archive").expect("there");
        assert_eq!((check.status, check.number("removed_unshipped")), (expected, Some(7.0)));
    }
}

/// What is missing is judged by when it was accepted, whatever its own time is; how long the
/// archive was looked at last, or by whom, makes no difference.
#[test]
fn the_archive_is_judged_by_the_age_of_what_it_lacks() {
    let found = |sample: &Sample| {
        let report = sample.health().report;
        let check = report.check("archive").expect("there").clone();
        let number = |name| check.number(name).map(|number| number as u64);
        (check.status, number("age_seconds"), number("lag_records"), number("lag_bytes"))
    };
    let sample = archived();
    let bytes = |from: usize| {
        let text = std::fs::read_to_string(sample.paths().active()).expect("lines");
        Some(text.split_inclusive('\n').skip(from).map(str::len).sum::<usize>() as u64)
    };
    assert_eq!(found(&sample), (Critical, Some(7_000), Some(2), bytes(0)));
    shipped(&sample, 1);
    assert_eq!(found(&sample), (Warning, Some(400), Some(1), bytes(1)));
    shipped(&sample, 2);
    assert_eq!(found(&sample), (Healthy, Some(0), Some(0), Some(0)));
    // A position of another archive, or of another epoch of the log, says nothing of this one.
    let mut elsewhere = archived();
    shipped(&elsewhere, 2);
    elsewhere.settings.archive.destination = Some("/other".to_owned());
    assert_eq!(found(&elsewhere).2, Some(2));
    // The longer the interval, the later it warns.
    let mut slow = archived();
    shipped(&slow, 1);
    slow.settings.archive.interval = Duration::from_secs(60);
    assert_eq!(found(&slow).0, Healthy);
    // Nobody who runs it: the files tell.
    let died = archived().unlocked();
    assert_eq!(found(&died).0, Critical);
}

fn of_alerts(problem: Problem) -> Sample {
    let sample = delivering(|status, sample| match problem {
        Problem::AlertsIdle => status.pid = 1,
        Problem::AlertsQueueFilling => status.alerts[0].queued = 6,
        Problem::AlertsDelayed => {
            status.alerts[0].queued = 1;
            status.alerts[0].oldest = Some(alerts::ago(sample, 720));
        }
        Problem::AlertsFailed => {
            let failed = alerts::failed(alerts::ago(sample, 60), "log/ops/3".to_owned());
            status.failures.push(failed);
        }
        Problem::AlertsBehind => {
            status.cursor = 40;
            status.at = alerts::ago(sample, 700);
        }
        _ => {}
    });
    if problem == Problem::AlertsUnknown {
        std::fs::write(sample.paths().alerts_status(), "{").expect("written");
    }
    sample
}

fn of_page(change: impl FnOnce(&Sample)) -> Sample {
    let sample = Sample::running();
    change(&sample);
    sample
}

/// The key that is to follow, stored so long ago.
fn key_change(seconds: u64) -> Sample {
    of_page(|sample| {
        let next = sample.settings.log_dir.join("audit.key.next");
        let file = std::fs::File::create(next).expect("created");
        let now = Duration::from_micros(sample.clock.now().micros() as u64);
        let at = std::time::UNIX_EPOCH + now - Duration::from_secs(seconds);
        file.set_modified(at).expect("dated");
    })
}

/// A closed log of which something was found a minute ago.
fn alarmed(alarm: &str) -> Sample {
    witnessed(|status, _| {
        status.witnesses[0].problem = Some("it has cosigned 99 records".to_owned());
        status.witnesses[0].alarm = Some(alarm.to_owned());
    })
}

fn found(by: FoundBy) -> Sample {
    let sample = Sample::closed();
    let at = Timestamp::from_micros(sample.clock.now().micros() - 60_000_000);
    let found = Found {
        kinds: vec!["altered".to_owned()],
        ..Found::new(by, at, "altered: audit.log record 7: it is not what was recorded")
    };
    found.store(&OsFs, &sample.paths()).expect("stored");
    sample
}

fn damage(damage: u64) -> Sample {
    of_page(|sample| {
        sample.set(Word::Damage, damage);
        sample.ago(Word::DamageAt, 1);
    })
}

fn secure(kind: SecurityKind, times: u32) -> Sample {
    of_page(|sample| {
        (0..times).for_each(|_| sample.page().count_security(kind, By::Known, sample.clock.now()));
    })
}

fn waits(why: RetentionWait) -> Sample {
    of_page(|sample| sample.set(Word::RetentionWait, why as u64))
}

fn history(history: History) -> Sample {
    of_page(|sample| sample.set(Word::OtherHistory, history as u64))
}

fn unseen(file: &'static str) -> Sample {
    let mut sample = Sample::running();
    sample.fs.denied = file;
    sample
}

fn space(space: Option<Space>) -> Sample {
    let mut sample = Sample::running();
    sample.fs.space = space;
    sample
}

/// A page that may not be read; a reader with all rights may read any, so one that
/// cannot be opened is as near as a test can come as root.
fn denied() -> Sample {
    use std::os::unix::fs::PermissionsExt;
    let sample = Sample::running();
    let unreadable = std::fs::Permissions::from_mode(0o000);
    std::fs::set_permissions(sample.paths().status(), unreadable).expect("mode");
    sample
}

fn of_backups(problem: Problem) -> Sample {
    let mut sample = Sample::running();
    let mut one = noted(&sample, 600, 43);
    let at = |seconds: i64| {
        let micros = sample.clock.now().micros() - seconds * 1_000_000;
        crate::clock::Timestamp::from_micros(micros)
    };
    let drill = |seconds: i64, passed: bool| {
        serde_json::json!({ "at": at(seconds), "backup": "20260203_000000", "passed": passed,
            "milliseconds": 5, "report": "x" })
    };
    let failed = |kind: &str| serde_json::json!({ "at": at(60), "kind": kind, "message": "x" });
    let (mut failure, mut drilled) = (None, None);
    match problem {
        Problem::BackupOld => one = noted(&sample, 2 * DAY, 43),
        Problem::BackupFailed => failure = Some(failed("no_space")),
        Problem::BackupLogChanged => failure = Some(failed("not_a_prefix")),
        Problem::BackupDamaged => one["damage"] = "altered".into(),
        Problem::BackupLacking => one["uncovered"] = serde_json::json!([{"begin": 5, "end": 9}]),
        Problem::BackupUnsent => {
            one["copies"] = serde_json::json!({ "s3://b/": { "state": "failed", "at": at(60) } });
        }
        Problem::DrillFailed => drilled = Some(drill(60, false)),
        Problem::DrillOld => drilled = Some(drill(100 * DAY, true)),
        Problem::DrillNever => {}
        other => panic!("{other:?} has no sample"),
    }
    let backups = serde_json::json!({ "20260203_000000": one });
    let mut catalog = serde_json::json!({ "format": 1, "backups": backups });
    if let Some(failure) = failure {
        catalog["last_failure"] = failure;
    }
    if let Some(drilled) = drilled {
        catalog["last_drill"] = drilled;
    }
    if matches!(problem, Problem::DrillOld | Problem::DrillNever) {
        sample.settings.health.drill_age_warn = Duration::from_secs(99 * DAY as u64);
    }
    with_catalog(&sample, &catalog);
    sample
}

#[test]
fn every_problem_is_found_in_a_log_that_has_it() {
    for problem in Problem::ALL {
        if cannot_be_had(*problem) {
            continue;
        }
        let report = with(*problem).health().report;
        let found: Vec<_> = report.checks.iter().filter_map(|check| check.code()).collect();
        assert!(found.contains(&problem.code()), "{problem:?}: {found:?} {report:#?}");
    }
}

#[test]
fn what_is_not_healthy_has_a_code_and_is_as_bad_as_the_table_says() {
    for problem in Problem::ALL {
        let sample = with(*problem);
        let mut reports = vec![sample.health().report];
        reports.push(unanswered(&sample.settings, &sample.clock, Duration::from_secs(8)).report);
        for check in reports.into_iter().flat_map(|report| report.checks) {
            match check.problem() {
                None => assert_eq!(check.status, Healthy, "{check:?}"),
                Some(found) => {
                    assert!(found.statuses().contains(&check.status), "{check:?}");
                    assert_eq!(check.code(), Some(found.code()));
                }
            }
        }
    }
}

#[test]
fn a_change_of_key_that_is_going_on_is_no_problem_and_one_that_stays_is() {
    let found = |sample: &Sample| {
        let report = sample.health().report;
        let check = report.check("integrity").expect("always there");
        (check.status, check.hint.clone().unwrap_or_default())
    };
    assert_eq!(found(&key_change(60)).0, Healthy);
    let (status, hint) = found(&key_change(61));
    assert!(status == Warning && hint.contains("key rotate"), "{hint}");
    let mut elsewhere = key_change(61);
    assert_eq!(found(&elsewhere).0, Warning);
    elsewhere.settings.key_path = Some(elsewhere.settings.log_dir.join("keys/audit.key"));
    assert_eq!(found(&elsewhere).0, Healthy, "beside the key that signs, nothing waits");
    assert_eq!(found(&key_change(61).unlocked()).0, Warning, "also without a writer");
}

#[test]
fn a_file_that_was_put_back_is_told_for_a_while_and_named_and_one_that_is_gone_leads_out() {
    let integrity = |sample: &Sample| {
        let report = sample.health().report;
        report.check("integrity").expect("always there").clone()
    };
    let put_back = with(Problem::OwnFilePutBack);
    let check = integrity(&put_back);
    assert!(check.status == Warning && check.message.contains("audit.key"), "{check:?}");
    put_back.ago(Word::OwnFilePutBackAt, 15 * 60);
    assert_eq!(integrity(&put_back).status, Healthy, "over after a while");
    for problem in [Problem::OwnFileGone, Problem::SegmentGone] {
        let check = integrity(&with(problem));
        assert_eq!(check.status, Critical);
        assert!(check.hint.is_some_and(|hint| hint.contains("put the file back")), "{problem:?}");
        // The page of a writer that has ended says nothing of now.
        assert_eq!(integrity(&with(problem).unlocked()).status, Healthy, "{problem:?}");
    }
}

#[test]
fn a_check_that_finds_several_things_has_the_code_of_the_worst() {
    let sample = with(Problem::LostRecords);
    std::fs::remove_file(sample.paths().manifest()).expect("remove");
    let report = sample.health().report;
    let check = report.check("integrity").expect("always there");
    assert_eq!((check.status, check.code()), (Critical, Some("integrity.manifest_missing")));
}

#[test]
fn codes_are_unique_and_say_what_is_looked_at() {
    let codes: BTreeSet<&str> = Problem::ALL.iter().map(|problem| problem.code()).collect();
    assert_eq!(codes.len(), Problem::ALL.len());
    // Without alerts there is no check of them.
    let mut sample = delivering(|_, _| {});
    // Without a policy there is none of witnesses.
    sample.settings.witness.policy = Some("policy".into());
    sample.settings.archive.destination = Some("/archive".to_owned());
    // Without HTTPS there is no check of its certificate.
    sample.ago(Word::TlsNotAfter, -100 * DAY);
    let report = sample.health().report;
    for code in codes {
        let (what, which) = code.split_once('.').expect(code);
        assert!(what == "status_page" || report.check(what).is_some(), "{code}");
        assert!(which.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{code}");
    }
    let bad: &[Status] = &[Warning, Critical, Unknown];
    for problem in Problem::ALL {
        assert!(problem.statuses().iter().all(|status| bad.contains(status)), "{problem:?}");
    }
}

/// What a verification found ends with a later one; what kept a writer from starting ends
/// when one has started; only what lies in the signed records is critical.
#[test]
fn what_commands_found_is_told_with_when_by_what_and_what_to_do() {
    let integrity = |sample: &Sample| {
        let checks = sample.health().report.checks;
        checks.into_iter().find(|check| check.component == "integrity").expect("the check")
    };
    let sample = found(FoundBy::Verify);
    let check = integrity(&sample);
    assert_eq!((check.problem(), check.status), (Some(Problem::FoundWrong), Critical));
    assert!(check.message.contains("verify found 60 s ago: altered: audit.log"), "{check:?}");
    let hint = check.hint.expect("a hint");
    assert!(
        hint.contains("`auditctl repair`") && hint.contains("Then `auditctl verify`"),
        "{hint}"
    );

    let with = |change: fn(&mut Found)| {
        let sample = found(FoundBy::Verify);
        let Findings::Some(mut found) = Findings::load(&OsFs, &sample.paths()) else {
            panic!("it is there");
        };
        change(&mut found);
        found.store(&OsFs, &sample.paths()).expect("stored");
        integrity(&sample)
    };
    let mild = with(|found| found.kinds = vec!["extra".to_owned()]);
    assert_eq!(mild.status, Warning, "{mild:?}");
    assert!(mild.hint.expect("a hint").contains("start the collector"));
    let unknown = with(|found| found.kinds = vec!["extra".to_owned(), "of_tomorrow".to_owned()]);
    assert_eq!(unknown.status, Critical, "{unknown:?}");
    let compared = with(|found| found.against = true);
    assert!(compared.hint.expect("a hint").contains("verify --against FILE"));
    let several = with(|found| found.findings = 3);
    assert!(several.message.contains("and 2 more findings"), "{several:?}");

    let refused = found(FoundBy::Start);
    let check = integrity(&refused);
    assert_eq!((check.problem(), check.status), (Some(Problem::StartRefused), Critical));
    refused.ago(Word::StartedAt, 30);
    assert_eq!(integrity(&refused).status, Healthy, "one has started since");
    refused.ago(Word::StartedAt, 61);
    assert_eq!(integrity(&refused).problem(), Some(Problem::StartRefused), "one from before");
}
