//! Every check in every state, on pages made without a writer.

mod alerts;
mod document;
pub(crate) mod problems;

use std::path::Path;
use std::time::Duration;

use super::gather::{Page, gather};
use super::samples::{GIB, Sample, every_state};
use super::{Check, Health, Status, unanswered};
use crate::audit::state::security::{By, SecurityKind};
use crate::audit::state::status::{
    Activity, Damage, DiskStage, Ring, StatusSnapshot, Word, WriterState,
};
use crate::audit::{AuditLog, Event, Options};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::config::{HealthCheckName, Settings};
use crate::fsio::lock::try_lock;
use crate::fsio::{Fs, OpenMode, OsFs, Space};
use crate::units::ByteSize;
use Status::{Critical, Healthy, Unknown, Warning};

fn one(sample: &Sample, component: &str) -> Check {
    sample.health().report.check(component).expect(component).clone()
}

/// The check's status and message.
fn said(sample: &Sample, component: &str) -> (Status, String) {
    let check = one(sample, component);
    (check.status, check.message)
}

fn status(sample: &Sample, component: &str) -> Status {
    one(sample, component).status
}

#[test]
fn a_log_that_runs_well_is_healthy_in_every_check() {
    let report = Sample::running().health().report;
    assert_eq!(report.status, Healthy, "{report:#?}");
    let names: Vec<_> = report.checks.iter().map(|check| check.component).collect();
    let expected = [
        "write_buffer",
        "worker_thread",
        "log_file",
        "rate_limiting",
        "security",
        "query_cache",
        "disk_space",
        "integrity",
        "backup",
    ];
    assert_eq!(names, expected);
    // What alerts may name is what health has, under the same names.
    assert_eq!(
        HealthCheckName::NAMES,
        [&expected[..], &["witness", "certificate", "alerts", "archive"]].concat()
    );
    assert_eq!((report.summary.total_checks, report.summary.healthy), (9, 9));
    assert_eq!(report.uptime_seconds, Some(3_600));
    assert!(report.checks.iter().all(|check| check.hint.is_none()));
}

#[test]
fn the_worst_check_decides_and_what_is_bad_outweighs_what_is_not_known() {
    assert_eq!(Healthy.worst(Unknown), Unknown);
    assert_eq!(Unknown.worst(Warning), Warning);
    assert_eq!(Warning.worst(Critical), Critical);
    assert_eq!(Critical.worst(Unknown), Critical);
}

#[test]
fn each_state_has_its_own_message_and_status() {
    let expected = [
        (Unknown, "no log yet in "),
        (Unknown, "is no status page: shorter than 4096 bytes"),
        (Unknown, "the lock cannot be examined: "),
        (Warning, "a writer holds the lock and is opening the log"),
        (Healthy, "running (pid 4242)"),
        (Critical, "hung in fdatasync for 7 s"),
        (Critical, "hung in fdatasync for 7 s: process 4242 is stopped by a signal (SIGSTOP)"),
        (Critical, "disk full for 0 s: new events are refused"),
        (Critical, "write failing for 0 s: fdatasync: Input/output error (os error 5)"),
        (Critical, "writer failed 0 s ago: nothing is accepted"),
        (Unknown, "state 99 is of a newer version"),
        (Critical, "writer died 0 s ago, without closing the log"),
        (Warning, "stopped cleanly 3 min ago"),
    ];
    let samples = every_state();
    assert_eq!(samples.len(), expected.len());
    for ((state, sample), (status, message)) in samples.iter().zip(expected) {
        let report = sample.health().report;
        let check = report.check("worker_thread").expect("always there");
        assert_eq!((report.metadata.state, check.status), (*state, status), "{check:?}");
        assert!(check.message.contains(message), "{:?} is not {message:?}", check.message);
        assert_eq!(check.hint.is_some(), status != Healthy, "{check:?}");
    }
}

#[test]
fn a_writer_is_hung_from_the_configured_silence_on() {
    let sample = Sample::running();
    sample.clock.advance(Duration::from_millis(4_999));
    assert_eq!(status(&sample, "worker_thread"), Healthy);
    sample.clock.advance(Duration::from_millis(1));
    assert_eq!(said(&sample, "worker_thread"), (Critical, "hung for 5 s".into()));
    assert_eq!(one(&sample, "worker_thread").number("heartbeat_age_seconds"), Some(5.0));
}

#[test]
fn a_wall_clock_that_jumps_makes_no_writer_hang() {
    let sample = Sample::running();
    let later = sample.clock.now().micros() + 30 * 60 * 1_000_000;
    sample.clock.set_wall(Timestamp::from_micros(later));
    assert_eq!(status(&sample, "worker_thread"), Healthy);
}

#[test]
fn a_hung_writer_says_in_what_and_why() {
    for (activity, process, expected) in [
        (Activity::Writing, Some('D'), "hung in write for 9 s: process 4242 waits for the disk"),
        (Activity::Sealing, Some('S'), "hung for 9 s while sealing the segment"),
        (Activity::Idle, Some('t'), "hung for 9 s: process 4242 is stopped by a debugger"),
        (Activity::Idle, None, "hung for 9 s: the lock is held, but process 4242 is not visible"),
    ] {
        let mut sample = Sample::running().silent_in(activity, 9);
        sample.fs.process = process;
        assert_eq!(said(&sample, "worker_thread"), (Critical, expected.to_owned()));
    }
}

#[test]
fn a_reboot_is_told_from_a_crash() {
    let mut sample = Sample::running().unlocked();
    sample.fs.boot_id = "ffffffffffffffff-1";
    let (status, message) = said(&sample, "worker_thread");
    assert_eq!(status, Critical);
    assert!(message.contains("the machine was rebooted since"), "{message}");
    // A writer that holds the lock now has not yet taken the old page over.
    sample.lock = try_lock(&sample.paths().lock()).expect("lock");
    assert_eq!(sample.health().report.metadata.state, "opening");
}

#[test]
fn a_page_that_is_missing_while_the_lock_is_held_means_opening() {
    let sample = Sample::running();
    std::fs::remove_file(sample.paths().status()).expect("remove");
    let report = sample.health().report;
    assert_eq!(report.metadata.state, "opening");
    assert_eq!(report.status, Warning);
}

#[test]
fn a_stopped_writer_is_fine_where_none_is_expected() {
    let mut sample = Sample::closed();
    let report = sample.health().report;
    assert_eq!((report.status, report.uptime_seconds), (Warning, None));
    sample.settings.expect_running = false;
    assert_eq!(sample.health().report.status, Healthy);
}

#[test]
fn without_a_writer_the_live_checks_give_last_known_values_with_their_age() {
    let closed = Sample::closed();
    let died = Sample::running().unlocked();
    died.set(Word::BufferEvents, 12);
    died.clock.advance(Duration::from_secs(600));
    for component in ["write_buffer", "rate_limiting", "security", "query_cache"] {
        let (status, message) = said(&closed, component);
        assert_eq!(status, Healthy, "{component}");
        assert!(message.starts_with("no writer runs; 3 min ago: "), "{component}: {message}");
        let (status, message) = said(&died, component);
        assert_eq!(status, Unknown, "{component}");
        assert!(message.starts_with("no writer runs; 10 min ago: "), "{component}: {message}");
    }
    assert!(said(&died, "worker_thread").1.ends_with("; 12 events waited"));
    assert!(said(&died, "write_buffer").1.ends_with("12 of 1000 events waited"));
}

#[test]
fn the_write_buffer_counts_above_its_thresholds_once_its_oldest_waited_a_second() {
    for (events, waited_ms, expected) in [
        (500, 60_000, Healthy),
        (501, 999, Healthy),
        (501, 1_000, Warning),
        (800, 1_000, Warning),
        (801, 999, Healthy),
        (801, 1_000, Critical),
        (1_000, 999, Healthy),
    ] {
        let sample = Sample::running();
        sample.set(Word::BufferEvents, events);
        sample.ago(Word::OldestWaitingAt, 0);
        sample.clock.advance(Duration::from_millis(waited_ms));
        sample.beat();
        assert_eq!(status(&sample, "write_buffer"), expected, "{events} for {waited_ms} ms");
    }
}

#[test]
fn a_full_buffer_is_critical_however_small_it_is() {
    let sample = Sample::running();
    sample.ago(Word::OldestWaitingAt, 1);
    sample.set(Word::CapacityEvents, 100);
    sample.set(Word::BufferEvents, 99);
    assert_eq!(status(&sample, "write_buffer"), Healthy);
    sample.set(Word::BufferEvents, 100);
    assert_eq!(status(&sample, "write_buffer"), Critical);
    sample.set(Word::BufferEvents, 1);
    sample.set(Word::BufferBytes, 16 << 20);
    assert_eq!(status(&sample, "write_buffer"), Critical);
}

#[test]
fn the_size_of_the_log_has_two_thresholds() {
    for (bytes, expected) in
        [(GIB, Healthy), (GIB + 1, Warning), (5 * GIB, Warning), (5 * GIB + 1, Critical)]
    {
        let sample = Sample::running();
        sample.set(Word::LogBytes, bytes);
        assert_eq!(status(&sample, "log_file"), expected, "{bytes}");
        assert_eq!(one(&sample, "log_file").number("bytes"), Some(bytes as f64));
    }
}

#[test]
fn a_deleted_log_file_is_critical_before_the_writer_notices_and_after_its_end() {
    for sample in [Sample::running(), Sample::closed(), Sample::running().unlocked()] {
        std::fs::remove_file(sample.paths().active()).expect("remove");
        assert_eq!(said(&sample, "log_file"), (Critical, "audit.log was deleted".into()));
    }
}

#[test]
fn a_replaced_log_file_is_critical_under_a_writer_and_a_warning_after_its_end() {
    for (sample, expected) in [(Sample::running(), Critical), (Sample::closed(), Warning)] {
        let path = sample.paths().active();
        std::fs::rename(&path, sample.settings.log_dir.join("moved")).expect("rename");
        std::fs::write(&path, b"0123456789").expect("write");
        assert_eq!(status(&sample, "log_file"), expected);
    }
}

#[test]
fn a_truncated_log_file_is_critical_unless_a_power_loss_may_have_cut_it() {
    let cut = |sample: &Sample| {
        let file = OsFs.open(&sample.paths().active(), OpenMode::Write).expect("open");
        file.set_len(9).expect("cut");
    };
    for sample in [Sample::running(), Sample::closed()] {
        cut(&sample);
        assert_eq!(
            said(&sample, "log_file"),
            (Critical, "audit.log was truncated: 9 B of 10 B".into())
        );
    }
    let mut rebooted = Sample::running().unlocked();
    rebooted.fs.boot_id = "ffffffffffffffff-1";
    cut(&rebooted);
    assert_eq!(status(&rebooted, "log_file"), Healthy);
}

#[test]
fn a_segment_that_is_just_being_started_is_no_incident() {
    let sample = Sample::running();
    sample.page().activity(Activity::Sealing, sample.clock.boot_ms());
    let sealed = sample.paths().sealed(0);
    std::fs::rename(sample.paths().active(), sealed).expect("rename");
    assert_eq!(status(&sample, "log_file"), Healthy);
    std::fs::write(sample.paths().active(), b"").expect("write");
    assert_eq!(status(&sample, "log_file"), Healthy);
}

#[test]
fn a_log_file_that_may_not_be_seen_is_unknown() {
    let mut sample = Sample::running();
    sample.fs.denied = "audit.log";
    assert_eq!(status(&sample, "log_file"), Unknown);
}

#[test]
fn refusals_count_for_an_hour_above_their_thresholds() {
    for (blocked, expected) in [(500, Healthy), (501, Warning), (1_000, Warning), (1_001, Critical)]
    {
        let sample = Sample::running();
        sample.page().count(Ring::Blocked, sample.clock.now(), blocked);
        sample.page().top_blocked(None, "billing", blocked);
        let (status, message) = said(&sample, "rate_limiting");
        assert_eq!(status, expected, "{blocked}");
        assert!(message.ends_with("in the last hour, most of billing"), "{message}");
        sample.clock.advance(Duration::from_secs(62 * 60));
        sample.beat();
        assert_eq!(
            said(&sample, "rate_limiting"),
            (Healthy, "0 events refused in the last hour".into())
        );
    }
}

#[test]
fn the_last_hour_alarms_also_after_the_writer_stopped() {
    let sample = Sample::closed();
    sample.page().count(Ring::Blocked, sample.clock.now(), 1_001);
    sample.page().count(Ring::Security, sample.clock.now(), 6);
    assert_eq!(status(&sample, "rate_limiting"), Critical);
    assert_eq!(status(&sample, "security"), Warning);
}

#[test]
fn security_has_thresholds_for_invalid_events_and_for_all_others() {
    for (kind, count, expected) in [
        (SecurityKind::Validation, 20, Healthy),
        (SecurityKind::Validation, 21, Warning),
        (SecurityKind::Validation, 50, Warning),
        (SecurityKind::Validation, 51, Critical),
        (SecurityKind::Unauthorized, 5, Healthy),
        (SecurityKind::Unauthorized, 6, Warning),
        (SecurityKind::Oversize, 10, Warning),
        (SecurityKind::HostilePeer, 11, Critical),
    ] {
        let sample = Sample::running();
        (0..count).for_each(|_| sample.page().count_security(kind, By::Known, sample.clock.now()));
        let check = one(&sample, "security");
        assert_eq!(check.status, expected, "{count} {kind:?}");
        assert_eq!(check.number(&format!("{}_total", kind.as_str())), Some(f64::from(count)));
    }
}

#[test]
fn what_strangers_do_is_told_and_decides_nothing() {
    let sample = Sample::running();
    for kind in SecurityKind::ALL {
        for _ in 0..1_000 {
            sample.page().count_security(kind, By::Stranger, sample.clock.now());
        }
    }
    let health = sample.health();
    let check = one(&sample, "security");
    assert_eq!(check.status, Healthy, "{}", check.message);
    assert!(check.message.ends_with("; 9000 attempts without credentials"), "{}", check.message);
    assert_eq!(check.number("stranger_events_last_hour"), Some(9_000.0));
    assert_eq!(check.number("unauthorized_total"), Some(1_000.0), "and counted by kind");
    assert_eq!(one(&sample, "rate_limiting").status, Healthy);
    assert_eq!(health.report.status, Healthy);
}

#[test]
fn an_unused_cache_is_healthy_and_a_used_one_tells_its_measured_rate() {
    let sample = Sample::running();
    assert_eq!(said(&sample, "query_cache"), (Healthy, "not used yet".into()));
    sample.set(Word::CacheHits, 3);
    sample.set(Word::CacheMisses, 1);
    sample.set(Word::CacheEntries, 7);
    assert_eq!(said(&sample, "query_cache"), (Healthy, "75% hits, 7 of 128 entries".into()));
}

#[test]
fn the_smaller_of_both_limits_of_disk_space_counts() {
    const MIB: u64 = 1 << 20;
    // 100 GiB: the byte limits are smaller; 1 GiB: the percentages.
    for (total, available, expected) in [
        (100 * GIB, GIB, Healthy),
        (100 * GIB, GIB - 1, Warning),
        (100 * GIB, 256 * MIB, Warning),
        (100 * GIB, 256 * MIB - 1, Critical),
        (GIB, GIB / 100 * 10, Healthy),
        (GIB, GIB / 100 * 10 - 1, Warning),
        (GIB, GIB / 100 * 5, Warning),
        (GIB, GIB / 100 * 5 - 1, Critical),
    ] {
        let mut sample = Sample::running();
        sample.fs.space = Some(Space { total, available, ..Space::default() });
        assert_eq!(status(&sample, "disk_space"), expected, "{available} of {total}");
    }
}

#[test]
fn a_disk_that_is_full_to_the_writer_is_critical_whatever_space_there_is() {
    let sample = Sample::running();
    sample.set(Word::DiskStage, DiskStage::Full as u64);
    assert_eq!(said(&sample, "disk_space").0, Critical);
    let stopped = Sample::closed();
    stopped.set(Word::DiskStage, DiskStage::Full as u64);
    assert_eq!(status(&stopped, "disk_space"), Healthy, "that was then");
    let mut unseen = Sample::running();
    unseen.fs.space = None;
    assert_eq!(status(&unseen, "disk_space"), Unknown);
}

/// B12: that a third of the disk is free and nothing is taken has to be explained.
#[test]
fn a_full_disk_says_what_is_kept_back_and_how_much_is_missing() {
    const MIB: u64 = 1 << 20;
    let full = |space| {
        let mut sample = Sample::running();
        sample.fs.space = Some(space);
        sample.set(Word::DiskStage, DiskStage::Full as u64);
        one(&sample, "disk_space")
    };
    let bytes = Space { total: 24 * MIB, available: 8 * MIB, ..Space::default() };
    let check = full(bytes);
    assert_eq!(check.code(), Some("disk_space.full"));
    assert_eq!(
        check.message,
        "full for new events: 8.0 MiB (33.3%) free of 24.0 MiB; the log has used its reserve for \
         its own records; recording resumes at 16.0 MiB free, 8.0 MiB more"
    );
    let files = Space { available: 23 * MIB, files_total: 18, files_available: 1, ..bytes };
    let check = full(files);
    assert_eq!(check.code(), Some("disk_space.inodes"));
    assert_eq!(
        check.message,
        "full for new events: 1 inode left of 18; 23.0 MiB (95.8%) free of 24.0 MiB; recording \
         resumes with 3 inodes more"
    );
    let both = full(Space { available: 8 * MIB, files_available: 0, ..files });
    assert_eq!(both.code(), Some("disk_space.full"));
    assert!(both.message.ends_with("recording resumes with 8.0 MiB and 4 inodes more"), "{both:?}");
    let enough = full(Space { available: 23 * MIB, files_available: 9, ..files });
    assert!(enough.message.ends_with("so recording resumes within seconds"), "{enough:?}");
}

/// B12: inodes run out on a disk with room, and where there is no limit on them they
/// never do.
#[test]
fn few_inodes_are_told_as_few_bytes_are() {
    for (files_total, files_available, expected) in [
        (0, 0, Healthy),
        (10_000_000, 1_000, Healthy),
        (10_000_000, 999, Warning),
        (10_000_000, 99, Critical),
        (1_000, 100, Healthy),
        (1_000, 99, Warning),
        (1_000, 49, Critical),
        (18, 4, Healthy),
        (18, 3, Critical),
    ] {
        let mut sample = Sample::running();
        let space = Space { total: 100 * GIB, available: 99 * GIB, ..Space::default() };
        sample.fs.space = Some(Space { files_total, files_available, ..space });
        let check = one(&sample, "disk_space");
        assert_eq!(check.status, expected, "{files_available} of {files_total}: {check:?}");
        if expected != Healthy {
            assert_eq!(check.code(), Some("disk_space.inodes"));
            assert!(check.message.starts_with(&format!("{files_available} inodes left of ")));
        }
        #[cfg(feature = "application")]
        {
            let line = crate::ui::health_nagios(&sample.health().report, &sample.settings);
            let perfdata = format!("'disk_inodes'={files_available};");
            assert_eq!(line.contains(&perfdata), files_total > 0, "{line}");
        }
    }
}

/// B8: a verification of all of the log after the writer saved a file's records ends
/// what is told of it. One from before does not, nor does one from a time to come, nor
/// does any end what is still damaged.
#[test]
fn a_verification_after_the_file_was_saved_ends_it_and_no_other_does() {
    let verified = |sample: &Sample, seconds_ago: i64| {
        let at = Timestamp::from_micros(sample.clock.now().micros() - seconds_ago * 1_000_000);
        let state = crate::audit::read::verify::State {
            log_id: "0".repeat(32),
            epoch: 0,
            key: "auditctl/x+00000000".to_owned(),
            tree_size: 43,
            root_hash: crate::audit::tree::merkle::empty_root(),
            read: Vec::new(),
            verified_at: at,
        };
        std::fs::write(sample.paths().verified(), state.encode()).expect("written");
    };
    for (damage, verified_ago, expected) in [
        (Damage::FileReplaced, 50, Healthy),
        (Damage::FileReplaced, 0, Healthy),
        (Damage::FileReplaced, 60, Critical),
        (Damage::FileReplaced, 70, Critical),
        (Damage::FileReplaced, -1, Critical),
        (Damage::FileReplaced, -90_000, Critical),
        (Damage::FileTruncated, 50, Critical),
        (Damage::SegmentDamaged, 50, Critical),
        (Damage::CorruptionAccepted, 50, Warning),
    ] {
        let sample = Sample::running();
        sample.set(Word::Damage, damage as u64);
        sample.ago(Word::DamageAt, 60);
        verified(&sample, verified_ago);
        assert_eq!(status(&sample, "integrity"), expected, "{damage:?} {verified_ago} s ago");
    }
}

/// B8: every finding says what to do, and what it says is about it.
#[test]
fn every_problem_has_a_hint() {
    for problem in super::Problem::ALL {
        if problems::cannot_be_had(*problem) {
            continue;
        }
        for check in problems::with(*problem).health().report.checks {
            assert_eq!(check.hint.is_some(), check.status != Healthy, "{problem:?}: {check:?}");
        }
    }
}

#[test]
fn known_damage_is_critical_or_a_warning_by_what_it_costs() {
    for (damage, seconds_ago, expected) in [
        (Damage::FileReplaced as u64, 0, Critical),
        (Damage::FileReplaced as u64, 899, Critical),
        (Damage::FileReplaced as u64, 900, Warning),
        (Damage::FileTruncated as u64, 90_000, Critical),
        (Damage::SegmentDamaged as u64, 90_000, Critical),
        (Damage::DirectoryGone as u64, 90_000, Critical),
        (Damage::CorruptionAccepted as u64, 0, Warning),
        (99, 0, Critical),
    ] {
        let sample = Sample::running();
        sample.set(Word::Damage, damage);
        sample.ago(Word::DamageAt, seconds_ago);
        assert_eq!(status(&sample, "integrity"), expected, "{damage} {seconds_ago} s ago");
    }
}

#[test]
fn lost_records_warn_and_the_worst_finding_comes_first() {
    let sample = Sample::running();
    sample.set(Word::LostRecords, 1);
    let lost = "1 acknowledged record lost; see the audit.gap records";
    assert_eq!(said(&sample, "integrity"), (Warning, lost.into()));
    std::fs::remove_file(sample.paths().manifest()).expect("remove");
    let both = format!("audit.manifest.json is missing; {lost}");
    assert_eq!(said(&sample, "integrity"), (Critical, both));
}

#[test]
fn a_checkpoint_has_to_be_there_and_while_a_writer_runs_be_young() {
    let age = |seconds| {
        let sample = Sample::running();
        sample.ago(Word::CheckpointAt, seconds);
        sample
    };
    assert_eq!(status(&age(3_599), "integrity"), Healthy);
    assert_eq!(status(&age(3_600), "integrity"), Critical);
    assert_eq!(status(&age(3_600).unlocked(), "integrity"), Healthy, "none is due");
    let sample = Sample::running();
    std::fs::remove_file(sample.paths().checkpoint()).expect("remove");
    assert_eq!(said(&sample, "integrity"), (Critical, "audit.checkpoint is missing".into()));
}

#[test]
fn a_log_just_made_needs_no_checkpoint_for_a_minute() {
    let sample = Sample::running();
    std::fs::remove_file(sample.paths().checkpoint()).expect("remove");
    sample.set(Word::CheckpointAt, 0);
    sample.ago(Word::StartedAt, 59);
    assert_eq!(status(&sample, "integrity"), Healthy);
    sample.ago(Word::StartedAt, 60);
    assert_eq!(status(&sample, "integrity"), Critical);
}

#[test]
fn records_are_not_read_and_the_message_says_who_does() {
    // The files hold no records at all, the file system refuses to be read.
    let (status, message) = said(&Sample::running(), "integrity");
    assert_eq!(status, Healthy);
    assert!(message.contains("to check the records, run `auditctl verify`"), "{message}");
}

#[test]
fn looking_changes_nothing_in_the_directory() {
    let sample = Sample::closed();
    let before = OsFs.list(&sample.settings.log_dir).expect("list");
    sample.health();
    assert_eq!(OsFs.list(&sample.settings.log_dir).expect("list"), before);
    assert!(try_lock(&sample.paths().lock()).expect("lock").is_some(), "and the lock is free");
    let empty = Sample::empty();
    empty.health();
    assert!(!empty.settings.log_dir.exists());
}

#[test]
fn without_a_log_everything_about_it_is_unknown() {
    let sample = Sample::empty();
    let health = sample.health();
    assert!(health.snapshot.is_none());
    assert_eq!(health.report.status, Unknown);
    assert_eq!((health.report.summary.unknown, health.report.summary.healthy), (7, 2));
}

#[test]
fn a_failing_writer_that_goes_silent_is_hung() {
    let sample = Sample::running();
    sample.state(WriterState::Failing);
    let sample = sample.silent_in(Activity::Retrying, 6);
    assert_eq!(sample.health().report.metadata.state, "hung");
}

#[test]
fn a_real_log_is_healthy_while_open_and_stopped_once_closed() {
    let home = tempfile::tempdir().expect("temporary directory");
    let mut settings = Settings { log_dir: home.path().join("logs"), ..Settings::default() };
    // What the machine has left is not what is tested.
    settings.disk.warn_bytes = ByteSize(0);
    settings.disk.critical_bytes = ByteSize(0);
    let look = || super::check(&settings, &OsFs, &SystemClock).report;
    assert_eq!(look().metadata.state, "no_log");
    let log = AuditLog::open(Options::new(&settings.log_dir)).expect("open");
    let receipt = log.record(Event::new("login")).expect("accepted");
    receipt.wait_durable().expect("durable");
    let report = look();
    assert_eq!((report.metadata.state, report.status), ("running", Healthy), "{report:#?}");
    assert_eq!(report.metadata.pid, Some(std::process::id().into()));
    log.seal();
    assert_eq!(look().status, Healthy);
    log.close().expect("close");
    let report = look();
    assert_eq!((report.metadata.state, report.status), ("stopped", Warning), "{report:#?}");
    assert_eq!(report.summary.healthy, 8);
}

#[test]
fn a_look_that_does_not_end_is_unknown_in_every_check_and_says_why() {
    let sample = Sample::running();
    let after = std::time::Duration::from_secs(8);
    let Health { report, snapshot, .. } = unanswered(&sample.settings, &sample.clock, after);
    assert!(snapshot.is_none());
    assert_eq!((report.status, report.summary.unknown), (Status::Unknown, 9), "{report:?}");
    let worker = report.check("worker_thread").expect("always there");
    assert!(worker.message.contains("no answer from the file system within 8s"));
    assert_eq!(report.metadata.audit_file, sample.settings.log_dir.join("audit.log"));
}

/// A catalog beside the sample's log, as `auditctl backup` leaves it.
fn with_catalog(sample: &Sample, catalog: &serde_json::Value) {
    let dir = &sample.settings.backup.output_dir;
    OsFs.create_dir_all(dir).expect("directory");
    let mut catalog = catalog.clone();
    catalog["type"] = "auditctl/catalog".into();
    crate::fsio::replace_file(&OsFs, &dir.join(".catalog.json"), catalog.to_string().as_bytes())
        .expect("catalog");
}

fn noted(sample: &Sample, seconds_ago: i64, tree_size: u64) -> serde_json::Value {
    let at = crate::clock::Clock::now(&sample.clock).micros() - seconds_ago * 1_000_000;
    let at = crate::clock::Timestamp::from_micros(at);
    serde_json::json!({
        "log_id": "x", "epoch": 0, "created_at": at, "first_seq": 0, "tree_size": tree_size,
        "root_hash": "0".repeat(64), "stored_bytes": 4096, "verified": "content",
        "verified_at": at,
    })
}

#[test]
fn the_newest_backups_age_and_what_it_lacks_are_told_and_judged() {
    const HOUR: i64 = 3_600;
    for (age, status) in [
        (HOUR, Healthy),
        (26 * HOUR - 1, Healthy),
        (26 * HOUR, Warning),
        (72 * HOUR - 1, Warning),
        (72 * HOUR, Critical),
        (73 * HOUR, Critical),
    ] {
        let sample = Sample::running();
        let catalog = serde_json::json!({
            "format": 1, "backups": { "20260203_000000": noted(&sample, age, 40) },
        });
        with_catalog(&sample, &catalog);
        let report = sample.health().report;
        let check = report.check("backup").expect("always there");
        assert_eq!(check.status, status, "{}", check.message);
        assert_eq!(check.number("age_seconds"), Some(age as f64));
        assert_eq!(check.number("lag_records"), Some(3.0));
        assert_eq!(check.number("last_success_bytes"), Some(4096.0));
        #[cfg(feature = "application")]
        {
            let line = crate::ui::health_nagios(&report, &sample.settings);
            assert!(line.contains(&format!("'backup_age'={age}s;93600;259200;0;")), "{line}");
        }
    }
}

#[test]
fn no_backup_at_all_is_said_and_is_no_alarm() {
    let sample = Sample::running();
    let report = sample.health().report;
    let check = report.check("backup").expect("always there");
    assert_eq!(check.status, Healthy);
    assert!(check.message.starts_with("no backup was made yet"), "{}", check.message);
    assert_eq!(check.number("age_seconds"), None);
}

#[test]
fn a_failed_backup_warns_until_one_is_made_and_a_rolled_back_log_alarms() {
    let sample = Sample::running();
    let failure = |seconds_ago: i64, kind: &str| {
        let at = crate::clock::Clock::now(&sample.clock).micros() - seconds_ago * 1_000_000;
        let at = crate::clock::Timestamp::from_micros(at);
        serde_json::json!({
            "format": 1,
            "backups": { "20260203_000000": noted(&sample, 600, 43) },
            "last_failure": { "at": at, "kind": kind, "message": "what went wrong" },
        })
    };
    for (seconds_ago, kind, status) in
        [(60, "no_space", Warning), (60, "not_a_prefix", Critical), (900, "no_space", Healthy)]
    {
        with_catalog(&sample, &failure(seconds_ago, kind));
        let report = sample.health().report;
        let check = report.check("backup").expect("always there");
        assert_eq!(check.status, status, "{}", check.message);
        assert_eq!(check.message.contains("what went wrong"), status != Healthy);
    }
}

#[test]
fn a_backup_that_did_not_arrive_is_told_until_one_does() {
    let sample = Sample::running();
    let copied = |state: &str, age: i64| {
        let at = crate::clock::Clock::now(&sample.clock).micros() - age * 1_000_000;
        let at = crate::clock::Timestamp::from_micros(at);
        serde_json::json!({ "state": state, "at": at, "problem": "there is no such bucket" })
    };
    let place = "s3://b/audit-backups/web/0123/";
    for (older, newer, expected) in [
        ("confirmed", ("failed", 60), Some("20260203_000001")),
        ("failed", ("confirmed", 60), None),
        ("failed", ("uploading", 60), None),
        ("confirmed", ("uploading", 100_000), Some("20260203_000001")),
    ] {
        let (mut one, mut two) = (noted(&sample, 700, 43), noted(&sample, 600, 43));
        one["copies"] = serde_json::json!({ place: copied(older, 650) });
        two["copies"] = serde_json::json!({ place: copied(newer.0, newer.1) });
        let backups = serde_json::json!({ "20260203_000000": one, "20260203_000001": two });
        with_catalog(&sample, &serde_json::json!({ "format": 1, "backups": backups }));
        let report = sample.health().report;
        let check = report.check("backup").expect("always there");
        let told = check.message.contains(&format!("to {place}"));
        assert_eq!(told, expected.is_some(), "{older} {newer:?}: {}", check.message);
        if let Some(id) = expected {
            assert!(check.message.contains(&format!("sending {id}")), "{}", check.message);
            assert!(check.message.contains("there is no such bucket"), "{}", check.message);
            let hint = check.hint.clone().expect("a hint");
            assert!(hint.contains(&format!("backup resume {id}")), "{hint}");
        }
    }
}

/// B6
#[test]
fn that_a_backup_did_not_arrive_is_over_once_it_or_a_later_one_did_or_it_was_removed() {
    let sample = Sample::running();
    let at = crate::clock::Clock::now(&sample.clock);
    let copy = |state: &str| serde_json::json!({ "state": state, "at": at });
    let (mistyped, right) =
        ("s3://typo/audit-backups/web/0123/", "s3://acme/audit-backups/web/0123/");
    let told = |backups: &[(&str, serde_json::Value)]| {
        let mut all = serde_json::Map::new();
        for (age, (id, copies)) in backups.iter().enumerate() {
            let mut one = noted(&sample, 600 - age as i64, 43);
            one["copies"] = copies.clone();
            all.insert((*id).to_owned(), one);
        }
        with_catalog(&sample, &serde_json::json!({ "format": 1, "backups": all }));
        let report = sample.health().report;
        report.check("backup").expect("always there").message.contains("sending ")
    };
    let (one, two, three) = ("20260203_000000", "20260203_000001", "20260203_000002");
    let failed = || serde_json::json!({ mistyped: copy("failed") });
    assert!(told(&[(one, failed())]));
    // It arrived itself, or a later one did, where a backup should go.
    let both = serde_json::json!({ mistyped: copy("failed"), right: copy("confirmed") });
    assert!(!told(&[(one, both)]), "it is there");
    let arrived = || serde_json::json!({ right: copy("confirmed") });
    assert!(!told(&[(one, failed()), (two, arrived())]), "a later one is there");
    assert!(told(&[(one, arrived()), (two, failed())]), "an earlier one does not hold it");
    // It was removed.
    assert!(!told(&[(two, serde_json::json!({}))]));
    // Two places that both take backups: one that no longer does is told.
    let only = |there: &str, lost: &str| serde_json::json!({ there: copy("confirmed"), lost: copy("failed") });
    let both = || serde_json::json!({ mistyped: copy("confirmed"), right: copy("confirmed") });
    assert!(told(&[(one, both()), (two, only(right, mistyped))]));
    assert!(told(&[(one, both()), (two, only(right, mistyped)), (three, only(right, mistyped))]));
    // Backups go elsewhere since.
    assert!(!told(&[(one, both()), (two, only(right, mistyped)), (three, arrived())]));
}

/// F11: a log in which nothing happens is no alarm, and a job that no longer runs is one.
#[test]
fn the_age_of_a_backup_counts_from_when_nothing_was_new_last() {
    let sample = Sample::running();
    let two_days = 2 * 86_400;
    let status = |looked: Option<(i64, &str)>| {
        let backups = serde_json::json!({ "20260203_000000": noted(&sample, two_days, 43) });
        let mut catalog = serde_json::json!({ "format": 1, "backups": backups });
        if let Some((age, id)) = looked {
            let micros = crate::clock::Clock::now(&sample.clock).micros() - age * 1_000_000;
            let at = crate::clock::Timestamp::from_micros(micros);
            catalog["last_unchanged"] =
                serde_json::json!({ "at": at, "backup": id, "tree_size": 45 });
        }
        with_catalog(&sample, &catalog);
        let report = sample.health().report;
        let check = report.check("backup").expect("always there").clone();
        (check.code().map(str::to_owned), check.message)
    };
    let old = |found: &(Option<String>, String)| found.0.as_deref() == Some("backup.old");
    assert!(old(&status(None)));
    let fresh = status(Some((600, "20260203_000000")));
    assert!(!old(&fresh) && fresh.1.contains("nothing new 10 min ago"), "{fresh:?}");
    assert!(old(&status(Some((two_days, "20260203_000000")))), "nobody looked since");
    assert!(old(&status(Some((600, "20260101_000000")))), "of another backup");
    assert!(old(&status(Some((-9_000, "20260203_000000")))), "a time to come");
}

#[test]
fn a_damaged_backup_and_a_failed_or_missing_drill_are_told() {
    let mut sample = Sample::running();
    let mut damaged = noted(&sample, 60, 43);
    damaged["damage"] = "altered".into();
    let good = noted(&sample, 600, 43);
    let mut catalog = serde_json::json!({
        "format": 1, "backups": { "20260203_000001": damaged, "20260203_000000": good },
    });
    with_catalog(&sample, &catalog);
    let message = |sample: &Sample| {
        let report = sample.health().report;
        let check = report.check("backup").expect("always there");
        (check.status, check.message.clone())
    };
    assert_eq!(message(&sample), (Warning, "1 backup damaged".to_owned()));
    sample.settings.health.drill_age_warn = std::time::Duration::from_secs(3_600);
    assert!(message(&sample).1.contains("no restore has ever been tried"));
    let at = crate::clock::Clock::now(&sample.clock);
    catalog["last_drill"] = serde_json::json!({
        "at": at, "backup": "20260203_000000", "passed": false, "milliseconds": 5, "report": "x",
    });
    with_catalog(&sample, &catalog);
    let (status, text) = message(&sample);
    assert_eq!(status, Critical);
    assert!(text.contains("restore drill") && text.contains("failed"), "{text}");
}

#[test]
fn the_published_status_pages_mean_what_is_said_of_them() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/vectors");
    let index = std::fs::read(home.join("index.json")).expect("the vectors");
    let index: serde_json::Value = serde_json::from_slice(&index).expect("json");
    let mut seen = 0;
    for case in index["cases"].as_array().expect("cases") {
        for means in case["means"].as_array().into_iter().flatten() {
            let sample = Sample::running();
            let mut facts = gather(&sample.settings, &sample.fs, &sample.clock);
            let path = home.join(case["path"].as_str().expect("a path"));
            let page = StatusSnapshot::read(&path).expect("a page");
            facts.boot_id = Some(page.get(Word::BootId));
            facts.boot_ms = means["now_boot_ms"].as_u64().expect("a time");
            facts.locked = Ok(means["lock_held"] == true);
            facts.page = Page::Read(page);
            let liveness = super::liveness::of(&facts, &sample.settings);
            assert_eq!(Some(liveness.name()), means["writer"].as_str(), "{} {means}", case["name"]);
            seen += 1;
        }
    }
    assert!(seen >= 4, "{seen}");
}

#[test]
fn witnesses_are_judged_by_what_they_say_and_by_how_old_their_quorum_is() {
    use super::samples::witnessed;
    use crate::witness::WitnessStatus;
    type Change = fn(&mut WitnessStatus, &Sample);
    fn ago(sample: &Sample, seconds: i64) -> Timestamp {
        Timestamp::from_micros(sample.clock.now().micros() - seconds * 1_000_000)
    }
    let cases: [(&str, Change, Status, Option<&str>); 9] = [
        ("well", |_, _| {}, Healthy, None),
        (
            "grown, a moment ago",
            |status, sample| {
                status.tree_size = 50;
                status.quorum_at = Some(ago(sample, 599));
            },
            Healthy,
            None,
        ),
        (
            "grown since long",
            |status, sample| {
                status.tree_size = 50;
                status.quorum_at = Some(ago(sample, 600));
            },
            Warning,
            Some("witness.no_quorum"),
        ),
        (
            "grown since longer",
            |status, sample| {
                status.tree_size = 50;
                status.quorum_at = Some(ago(sample, 3_600));
            },
            Critical,
            Some("witness.no_quorum"),
        ),
        (
            "never had one",
            |status, _| (status.quorum_at, status.quorum_size) = (None, 0),
            Critical,
            Some("witness.no_quorum"),
        ),
        (
            "one is behind",
            |status, _| status.witnesses[1].problem = Some("HTTP 500".to_owned()),
            Warning,
            Some("witness.behind"),
        ),
        (
            "one speaks against the log",
            |status, _| {
                status.witnesses[0].problem = Some("HTTP 500".to_owned());
                status.witnesses[1].problem = Some("HTTP 422".to_owned());
                status.witnesses[1].alarm = Some("contradicted".to_owned());
            },
            Critical,
            Some("witness.contradicted"),
        ),
        ("of another run", |status, _| status.pid = 1, Warning, Some("witness.not_asking")),
        (
            "nobody asks any more",
            |status, sample| status.at = ago(sample, 400),
            Warning,
            Some("witness.not_asking"),
        ),
    ];
    for (what, change, expected, code) in cases {
        let report = witnessed(change).health().report;
        let check = report.check("witness").expect("the check");
        assert_eq!((check.status, check.code()), (expected, code), "{what}: {}", check.message);
    }
}
