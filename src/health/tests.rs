//! Every state and every check, over made-up situations.

use super::Component::{
    DiskSpace, Integrity, LogFile, QueryCache, RateLimiting, Security, WorkerThread, WriteBuffer,
};
use super::Status::{Critical, Healthy, Unknown, Warning};
use super::facts::{Found, Lock, Page, Process};
use super::report::{Component, HealthReport, Status};
use super::testing::{Situation, ago, check_of, file, hung_after};
use crate::audit::status::{Activity, Damage, Ring, Word, WriterState};
use crate::clock::Timestamp;
use crate::fsio::Space;

type Case = (&'static str, Situation, Status, &'static str);

/// Judges one component in each situation; its message begins, or goes on after
/// a `;`, with the text.
#[track_caller]
fn table(component: Component, cases: Vec<Case>) {
    for (what, situation, status, text) in cases {
        let report = situation.report();
        let check = check_of(&report, component);
        assert_eq!(check.status, status, "{what}: {}", check.message);
        assert!(check.message.contains(text), "{what}: {:?} has no {text:?}", check.message);
        assert!(report.status >= status, "{what}: the worst counts");
    }
}

#[track_caller]
fn state(report: &HealthReport, state: &str, overall: Status, worker: &str) {
    let check = check_of(report, WorkerThread);
    assert_eq!(report.metadata.state, state, "{}", check.message);
    assert_eq!(report.status, overall, "{}", check.message);
    assert!(check.message.contains(worker), "{:?} has no {worker:?}", check.message);
}

#[test]
fn a_writer_that_runs_is_well_in_every_respect() {
    let report = Situation::well().report();
    state(&report, "running", Healthy, "running (pid 4242) for 60 min; collector, idle");
    assert_eq!(report.uptime_seconds, Some(3_600));
    assert_eq!(report.summary.healthy, 8);
    assert!(report.metadata.hints.is_empty());
    let components: Vec<_> = report.checks.iter().map(|check| check.component).collect();
    assert_eq!(components, Component::ALL);
}

#[test]
fn no_log_yet_is_unknown_and_says_what_to_do() {
    let report = Situation::well().nothing_there().report_without(Page::Missing);
    state(&report, "no_log", Unknown, "no log yet; there is no directory logs");
    assert_eq!(report.uptime_seconds, None);
    assert_eq!(check_of(&report, DiskSpace).status, Healthy, "space can be told all the same");
    for component in [WriteBuffer, LogFile, RateLimiting, Security, QueryCache, Integrity] {
        assert_eq!(check_of(&report, component).status, Unknown);
    }
    assert!(report.metadata.hints.iter().any(|hint| hint.contains("auditctl serve")));

    let empty = Situation::well().nothing_there().with(|s| s.facts.dir = file(1, 4096));
    state(&empty.report_without(Page::Missing), "no_log", Unknown, "logs holds none");
    let copied = Situation::well().with(|s| s.facts.lock = Lock::Free);
    state(&copied.report_without(Page::Missing), "no_log", Unknown, "no status page; logs holds");
}

#[test]
fn what_may_not_be_read_is_unknown_never_well() {
    let denied = || "status page logs/audit.status: Permission denied (os error 13)".to_owned();
    let report = Situation::well().report_without(Page::Unreadable(denied()));
    state(&report, "unknown", Unknown, "Permission denied");
    assert!(report.metadata.hints.iter().any(|hint| hint.contains("owner")));

    let no_dir = Situation::well().with(|s| s.facts.dir = Found::Unknown(denied()));
    state(&no_dir.report_without(Page::Missing), "unknown", Unknown, "Permission denied");

    let no_lock = Situation::well().with(|s| s.facts.lock = Lock::Unknown(denied()));
    let report = no_lock.report();
    state(&report, "unknown", Unknown, "Permission denied");
    assert_eq!(check_of(&report, WriteBuffer).status, Unknown);

    let strange = Page::Unreadable("status page x is not one of version 1".to_owned());
    let report = Situation::well().report_without(strange);
    assert!(report.metadata.hints.iter().any(|hint| hint.contains("built with")));
}

#[test]
fn a_silent_writer_is_hung_and_says_in_what_and_for_how_long() {
    let report = Situation::well().silent(7).busy(Activity::Syncing, 7).report();
    state(&report, "hung", Critical, "hung in fdatasync for 7 s; process 4242");
    assert_eq!(report.uptime_seconds, Some(3_600), "its process is there");
    let buffer = check_of(&report, WriteBuffer);
    assert_eq!(buffer.status, Unknown, "not known to be well");
    assert!(buffer.message.contains("as of 7 s ago"), "{}", buffer.message);

    let limit = hung_after().as_secs();
    state(&Situation::well().silent(limit).report(), "running", Healthy, "running");
    state(&Situation::well().silent(limit + 1).report(), "hung", Critical, "hung for 6 s");
}

#[test]
fn a_stopped_process_is_told_from_one_that_waits_for_the_disk() {
    let hung = |state: Option<char>| {
        Situation::well().silent(7).with(|s| s.facts.process = state.map(|state| Process { state }))
    };
    let report = hung(Some('T')).report();
    state(&report, "hung", Critical, "hung for 7 s, stopped by a signal (SIGSTOP); process 4242");
    assert!(report.metadata.hints.iter().any(|hint| hint.contains("kill -CONT 4242")));
    let disk = hung(Some('D')).busy(Activity::Writing, 9);
    state(
        &disk.report(),
        "hung",
        Critical,
        "hung in write for 9 s; process 4242 waits for the disk",
    );
    state(&hung(None).report(), "hung", Critical, "process 4242 is not seen from here");
}

#[test]
fn a_free_lock_without_a_clean_close_is_a_death() {
    let report = Situation::well().died(200).report();
    state(&report, "died", Critical, "died 3 min ago; process 4242 ended without closing the log");
    assert_eq!(report.uptime_seconds, None);
    let cache = check_of(&report, QueryCache);
    assert_eq!(cache.status, Unknown);
    assert!(cache.message.contains("as of 3 min ago, the writer died"), "{}", cache.message);

    let fresh = Situation::well().with(|s| s.facts.lock = Lock::Free);
    state(&fresh.report(), "died", Critical, "died 100 ms ago");
    let rebooted = Situation::well().died(200).set(Word::BootId, 1);
    state(&rebooted.report(), "died", Critical, "the machine was rebooted since");
}

#[test]
fn a_clean_stop_is_a_warning_unless_nothing_else_was_expected() {
    let report = Situation::well().stopped(300).report();
    state(&report, "stopped", Warning, "stopped cleanly 5 min ago");
    assert_eq!(report.summary.warning, 1, "and nothing else is wrong");
    let buffer = check_of(&report, WriteBuffer);
    assert_eq!(buffer.status, Healthy, "after a clean close nothing waits, for certain");
    assert!(buffer.message.contains("as of 5 min ago, when the log was closed"));

    let expected = Situation::well().stopped(300).with(|s| s.limits.expect_running = false);
    let report = expected.report();
    state(&report, "stopped", Healthy, "stopped cleanly");
    assert!(report.metadata.hints.is_empty());
}

#[test]
fn a_log_that_is_being_opened_is_neither_stopped_nor_hung() {
    let reopened = Situation::well().stopped(300).with(|s| s.facts.lock = Lock::Held);
    state(&reopened.report(), "opening", Warning, "being opened");
    let rebooted = Situation::well().silent(300).set(Word::BootId, 1);
    state(&rebooted.report(), "opening", Warning, "being opened");
    let unpublished = Situation::well().set(Word::HeartbeatBootMs, 0).set(Word::State, 0);
    state(&unpublished.report(), "opening", Warning, "being opened");
}

#[test]
fn a_writer_whose_page_was_deleted_is_critical() {
    let report = Situation::well().report_without(Page::Missing);
    state(&report, "page_gone", Critical, "a writer runs, its status page is gone");
    assert_eq!(check_of(&report, WriteBuffer).status, Unknown);
}

#[test]
fn trouble_with_writing_is_critical_each_with_its_own_words() {
    let since = |state: WriterState| {
        Situation::well().set(Word::State, state as u64).set(Word::StateSince, ago(30))
    };
    let full = since(WriterState::DiskFull);
    state(&full.report(), "disk_full", Critical, "disk full for 30 s; new events are refused");

    let failing = since(WriterState::Failing);
    failing.page.error(
        &std::io::Error::from_raw_os_error(5),
        Activity::Syncing,
        Timestamp::from_micros(ago(1) as i64),
    );
    state(
        &failing.report(),
        "write_failing",
        Critical,
        "write failing for 30 s: Input/output error (os error 5) in fdatasync",
    );

    let poisoned = since(WriterState::Poisoned).silent(30);
    state(&poisoned.report(), "writer_failed", Critical, "writer failed 30 s ago");
    let then_died = since(WriterState::Poisoned).died(30);
    state(&then_died.report(), "died", Critical, "died 30 s ago");
    let silent = since(WriterState::Failing).silent(9);
    state(&silent.report(), "hung", Critical, "hung for 9 s");
}

#[test]
fn a_full_write_buffer_counts_only_once_it_waits() {
    let waiting = |events: u64, since_ms: u64| {
        Situation::well()
            .set(Word::BufferEvents, events)
            .set(Word::OldestWaitingAt, ago(0) - since_ms * 1_000)
    };
    table(
        WriteBuffer,
        vec![
            ("nothing", Situation::well(), Healthy, "nothing waits"),
            ("a burst", waiting(900, 999), Healthy, "900 events wait (90% full); a burst"),
            ("at the limit", waiting(500, 2_000), Healthy, "500 events wait"),
            ("above it", waiting(501, 1_000), Warning, "the oldest for 1 s"),
            ("at the next", waiting(800, 2_000), Warning, "800 events"),
            ("above that", waiting(801, 2_000), Critical, "(80% full)"),
            ("one", waiting(1, 60_000), Healthy, "1 event waits"),
            (
                "full in bytes",
                waiting(12, 2_000).set(Word::BufferBytes, 14 << 20),
                Critical,
                "(87% full)",
            ),
            (
                "a small one that is full",
                waiting(200, 2_000).set(Word::CapacityEvents, 200),
                Critical,
                "(100% full)",
            ),
            (
                "the clock was set back",
                Situation::well()
                    .set(Word::BufferEvents, 900)
                    .set(Word::OldestWaitingAt, ago(-600)),
                Healthy,
                "a burst",
            ),
        ],
    );
}

#[test]
fn events_that_wait_for_a_large_batch_by_design_are_no_backlog() {
    let large = |since: i64| {
        Situation::well()
            .with(|s| {
                s.limits.flush_events = 1_000;
                s.limits.flush_interval = std::time::Duration::from_secs(30);
            })
            .set(Word::CapacityEvents, 2_000)
            .set(Word::BufferEvents, 900)
            .set(Word::OldestWaitingAt, ago(since))
    };
    let cases = vec![
        ("within the interval", large(29), Healthy, "900 events wait"),
        ("after it", large(32), Critical, "the oldest for 32 s"),
    ];
    table(WriteBuffer, cases);
}

#[test]
fn the_log_file_is_judged_by_its_size() {
    let size = |bytes: u64| Situation::well().set(Word::LogBytes, bytes);
    table(
        LogFile,
        vec![
            ("small", size(3 << 20), Healthy, "3.0 MiB in 3 segments"),
            ("at 1 GiB", size(1 << 30), Healthy, "1.0 GiB"),
            ("above 1 GiB", size((1 << 30) + 1), Warning, "above 1.0 GiB"),
            ("above 5 GiB", size((5 << 30) + 1), Critical, "above 5.0 GiB"),
        ],
    );
}

#[test]
fn a_log_file_that_is_not_the_one_being_written_is_critical() {
    let found = |found: Found| Situation::well().with(|s| s.facts.active = found);
    for (active, name, text) in [
        (Found::No, "log_file_deleted", "audit.log was deleted while it is written"),
        (file(78, 50_000), "log_file_replaced", "audit.log was replaced while it is written"),
        (file(77, 9), "log_file_truncated", "audit.log was truncated to 9 of 50000 bytes"),
    ] {
        let report = found(active).report();
        assert_eq!((report.metadata.state, report.status), (name, Critical));
        assert!(check_of(&report, LogFile).message.contains(text));
    }
    let grown = found(file(77, 90_000)).report();
    assert_eq!(grown.status, Healthy, "the page may be a moment behind the file");
}

#[test]
fn while_nobody_writes_a_copied_file_is_fine_and_a_missing_one_is_not() {
    let stopped = |found: Found| Situation::well().stopped(60).with(|s| s.facts.active = found);
    table(
        LogFile,
        vec![
            ("copied", stopped(file(99, 50_000)), Healthy, "3.0 MiB"),
            ("missing", stopped(Found::No), Critical, "audit.log is missing"),
            ("cut", stopped(file(99, 10)), Critical, "truncated to 10 of 50000"),
            (
                "cut by a crash",
                Situation::well().died(60).with(|s| s.facts.active = file(77, 10)),
                Unknown,
                "as of 60 s ago",
            ),
        ],
    );
}

#[test]
fn an_incident_that_the_writer_repaired_is_shown_for_an_hour() {
    let replaced = |ago| Situation::well().damaged(Damage::FileReplaced, ago);
    table(
        LogFile,
        vec![
            ("just now", replaced(1), Critical, "deleted or replaced 1 s ago; its records were"),
            ("an hour ago", replaced(3_601), Healthy, "3.0 MiB"),
            (
                "truncated",
                Situation::well().damaged(Damage::FileTruncated, 5),
                Critical,
                "truncated 5 s ago; records are missing",
            ),
        ],
    );
    assert_eq!(replaced(3_601).report().status, Healthy, "nothing is missing");
}

#[test]
fn refusals_are_counted_over_the_last_hour() {
    let blocked = |count| Situation::well().counted(Ring::Blocked, 1_800, count);
    table(
        RateLimiting,
        vec![
            ("none", Situation::well(), Healthy, "nothing refused in the last hour"),
            ("at the limit", blocked(500), Healthy, "500 events refused"),
            ("above it", blocked(501), Warning, "501 events refused"),
            ("above the next", blocked(1_001), Critical, "1001 events refused"),
            (
                "long ago",
                Situation::well().counted(Ring::Blocked, 3_700, 5_000),
                Healthy,
                "nothing refused",
            ),
        ],
    );
    let hostile = blocked(501);
    hostile.page.top_blocked("evil\x1b[2J;x|y", 400);
    let report = hostile.report();
    let check = check_of(&report, RateLimiting);
    assert!(!check.message.contains('\x1b'), "{}", check.message);
    assert_eq!(check.headline(), "501 events refused in the last hour");
}

#[test]
fn security_events_have_limits_of_their_own() {
    let counted = |ring, count| Situation::well().counted(ring, 600, count);
    table(
        Security,
        vec![
            ("none", Situation::well(), Healthy, "nothing in the last hour"),
            ("20 invalid", counted(Ring::Validation, 20), Healthy, "20 invalid events, 0 other"),
            ("21 invalid", counted(Ring::Validation, 21), Warning, "21 invalid events"),
            ("51 invalid", counted(Ring::Validation, 51), Critical, "51 invalid events"),
            ("5 others", counted(Ring::Security, 5), Healthy, "0 invalid events, 5 other"),
            ("6 others", counted(Ring::Security, 6), Warning, "6 other"),
            ("11 others", counted(Ring::Security, 11), Critical, "11 other"),
        ],
    );
}

#[test]
fn the_hit_rate_is_the_measured_one() {
    let used = Situation::well()
        .set(Word::CacheHits, 30)
        .set(Word::CacheMisses, 10)
        .set(Word::CacheEntries, 12);
    table(
        QueryCache,
        vec![
            ("unused", Situation::well(), Healthy, "not used yet; room for 128 blocks"),
            ("used", used, Healthy, "75% hits; 12 of 128 blocks kept"),
        ],
    );
}

#[test]
fn free_space_is_judged_below_the_smaller_of_two_limits() {
    let space = |total: u64, available: u64| {
        Situation::well().with(|s| s.facts.space = Ok(Space { total, available }))
    };
    let (gib, mib) = (1_u64 << 30, 1_u64 << 20);
    table(
        DiskSpace,
        vec![
            ("1 GiB of a large disk", space(1_000 * gib, gib), Healthy, "1.0 GiB free (0%)"),
            ("less", space(1_000 * gib, gib - 1), Warning, "below 1.0 GiB"),
            ("much less", space(1_000 * gib, 256 * mib - 1), Critical, "below 256.0 MiB"),
            ("a small disk", space(100 * mib, 10 * mib), Healthy, "10.0 MiB free (10%)"),
            ("a small disk, fuller", space(100 * mib, 9 * mib), Warning, "below 10.0 MiB"),
            ("a small disk, full", space(100 * mib, 0), Critical, "0 B free (0%)"),
            (
                "full to the writer",
                Situation::well().set(Word::DiskStage, 3),
                Critical,
                "the writer refuses new events",
            ),
            (
                "was full to a writer that is gone",
                Situation::well().set(Word::DiskStage, 3).stopped(60),
                Healthy,
                "50.0 GiB free",
            ),
            (
                "not to be told",
                Situation::well().with(|s| s.facts.space = Err("gone".to_owned())),
                Unknown,
                "gone",
            ),
        ],
    );
}

#[test]
fn integrity_is_what_can_be_known_without_reading() {
    table(
        Integrity,
        vec![
            ("well", Situation::well(), Healthy, "no known damage; a checkpoint over 1000 records"),
            ("says what it does not do", Situation::well(), Healthy, "`auditctl verify`"),
            (
                "no manifest",
                Situation::well().with(|s| s.facts.manifest = Found::No),
                Critical,
                "audit.manifest.json is missing",
            ),
            (
                "no checkpoint",
                Situation::well().with(|s| s.facts.checkpoint = Found::No),
                Critical,
                "audit.checkpoint is missing",
            ),
            (
                "an old checkpoint put back",
                Situation::well().with(|s| s.facts.checkpoint_size = Some(999)),
                Critical,
                "not the newest: 999 of 1000",
            ),
            (
                "a newer one than the page knows yet",
                Situation::well().with(|s| s.facts.checkpoint_size = Some(1_001)),
                Healthy,
                "no known damage",
            ),
            ("idle", Situation::well().set(Word::CheckpointAt, ago(659)), Healthy, "10 min ago"),
            (
                "late",
                Situation::well().set(Word::CheckpointAt, ago(661)),
                Warning,
                "no checkpoint was signed for 11 min",
            ),
            (
                "very late",
                Situation::well().set(Word::CheckpointAt, ago(3_700)),
                Critical,
                "no checkpoint was signed for 61 min",
            ),
            (
                "old, of a stopped log",
                Situation::well().stopped(9_000).set(Word::CheckpointAt, ago(9_000)),
                Healthy,
                "no known damage",
            ),
            (
                "stopped before the end",
                Situation::well().stopped(60).set(Word::CheckpointSize, 990),
                Warning,
                "does not cover all records",
            ),
            (
                "damage",
                Situation::well().damaged(Damage::SegmentDamaged, 90_000),
                Critical,
                "a sealed segment is missing or damaged",
            ),
            (
                "accepted corruption",
                Situation::well().damaged(Damage::CorruptionAccepted, 10),
                Warning,
                "accepted corruption",
            ),
            (
                "lost records",
                Situation::well().set(Word::LostRecords, 7),
                Warning,
                "7 acknowledged records were lost",
            ),
        ],
    );
}

#[test]
fn the_worst_of_several_problems_comes_first() {
    let report =
        Situation::well().set(Word::LostRecords, 1).with(|s| s.facts.manifest = Found::No).report();
    let check = check_of(&report, Integrity);
    assert_eq!(check.headline(), "audit.manifest.json is missing");
    assert!(check.message.contains("1 acknowledged record was lost"));
}

#[test]
fn critical_outweighs_warning_outweighs_unknown() {
    assert!(Critical > Warning && Warning > Unknown && Unknown > Healthy);
}

#[test]
fn a_look_that_does_not_end_is_unknown_in_every_component() {
    let report = HealthReport::timed_out(
        Timestamp::from_micros(0),
        "logs/audit.log".into(),
        std::time::Duration::from_secs(8),
    );
    assert_eq!((report.status, report.summary.unknown), (Unknown, Component::ALL.len()));
    assert!(report.checks[0].message.contains("within 8 s"));
}

#[test]
fn every_performance_label_is_unique() {
    let report = Situation::well().report();
    let mut labels: Vec<_> = report
        .checks
        .iter()
        .flat_map(|check| &check.metrics)
        .filter_map(|metric| metric.perf.as_ref().map(|perf| perf.label))
        .collect();
    let all = labels.len();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), all);
}
