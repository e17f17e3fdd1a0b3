//! Samples of pages made up for it.

use super::{Sample, sample};
use crate::audit::state::security::{By, SecurityKind};
use crate::audit::state::status::{Ring, Word};
use crate::clock::Clock;
use crate::health::Status;
use crate::health::samples::{self, delivering, every_state};

fn of(page: &samples::Sample) -> Sample {
    page.publish();
    sample(&page.settings, &page.fs, &page.clock)
}

#[test]
fn the_rate_is_of_the_last_sixty_whole_seconds() {
    let page = samples::Sample::running();
    let now = page.clock.now();
    let ago =
        |seconds: i64| crate::clock::Timestamp::from_micros(now.micros() - seconds * 1_000_000);
    page.page().count(Ring::Events, ago(61), 1_000);
    page.page().count(Ring::Events, ago(60), 30);
    page.page().count(Ring::Events, ago(1), 90);
    page.page().count(Ring::Events, ago(0), 5_000);
    let events = of(&page).events.expect("a page");
    assert_eq!(events.per_second, 2.0, "120 in 60 s: neither older ones nor the second under way");
    assert_eq!(events.last_60_seconds.len(), 60);
    assert_eq!((events.last_60_seconds[0], events.last_60_seconds[59]), (30, 90));
}

#[test]
fn the_hit_rate_is_the_measured_one_and_unknown_before_the_first_query() {
    let page = samples::Sample::running();
    assert_eq!(of(&page).query_cache.expect("a page").hit_rate_percent, None);
    page.set(Word::CacheHits, 3);
    page.set(Word::CacheMisses, 1);
    assert_eq!(of(&page).query_cache.expect("a page").hit_rate_percent, Some(75.0));
}

#[test]
fn growth_is_what_was_written_as_well_as_it_compresses() {
    let page = samples::Sample::running();
    page.set(Word::BytesWritten, 3_600_000);
    let growth = |page| of(page).log.expect("a page").growth_bytes_per_day;
    assert_eq!(growth(&page), Some(86_400_000), "in an hour, nothing compressed yet");
    page.set(Word::SealedRawBytes, 1_000);
    page.set(Word::LogBytes, 10 + 250);
    assert_eq!(growth(&page), Some(21_600_000), "a quarter of it is stored");
    page.ago(Word::StartedAt, 59);
    assert_eq!(growth(&page), None, "a minute has to pass");
}

#[test]
fn the_buffer_is_as_full_as_the_fuller_of_its_two_limits() {
    let page = samples::Sample::running();
    page.set(Word::BufferEvents, 10);
    page.set(Word::BufferBytes, 12 << 20);
    page.ago(Word::OldestWaitingAt, 3);
    let buffer = of(&page).write_buffer.expect("a page");
    assert_eq!(buffer.fill_percent, 75.0);
    assert_eq!(buffer.oldest_waiting_seconds, Some(3.0));
}

#[test]
fn security_events_are_counted_by_kind() {
    let page = samples::Sample::running();
    let now = page.clock.now();
    page.page().count_security(SecurityKind::Oversize, By::Known, now);
    page.page().count_security(SecurityKind::Validation, By::Known, now);
    page.page().count_security(SecurityKind::Validation, By::Known, now);
    let security = of(&page).security.expect("a page");
    assert_eq!((security.total, security.last_hour), (3, 3));
    let kinds: Vec<_> = security.by_kind.into_iter().collect();
    assert_eq!(kinds, [("oversize", 1), ("validation", 2)]);
}

#[test]
fn alerts_are_told_where_they_are_set_as_health_sees_them() {
    assert_eq!(of(&samples::Sample::running()).alerts, None, "none are set");
    let page = delivering(|status, _| {
        let mut other = status.alerts[0].clone();
        (other.queued, other.delivered, other.failed) = (3, 10, 1);
        status.alerts.push(other);
    });
    let alerts = of(&page).alerts.expect("set");
    let counts = (alerts.queued, alerts.delivered, alerts.failed);
    assert_eq!((alerts.status, counts), (Status::Healthy, (Some(3), Some(17), Some(1))));
    // What another process delivered before is not what this one does.
    let alerts = of(&delivering(|status, _| status.pid = 1)).alerts.expect("set");
    assert_eq!((alerts.status, alerts.queued, alerts.failed), (Status::Warning, None, None));
    std::fs::write(page.paths().alerts_status(), "{").expect("written");
    let alerts = of(&page).alerts.expect("set");
    assert_eq!((alerts.status, alerts.delivered), (Status::Unknown, None));
}

#[test]
fn the_newest_backup_is_found_by_its_metadata() {
    let home = tempfile::tempdir().expect("temporary directory");
    let mut page = samples::Sample::running();
    page.settings.backup.output_dir = home.path().to_path_buf();
    let look = |page: &samples::Sample| {
        sample(&page.settings, &crate::fsio::OsFs, &page.clock).backup.map(|b| b.at.to_string())
    };
    assert_eq!(look(&page), None);
    for name in [
        "audit_backup_20260101_000000.json",
        "audit_backup_20260102_030405.json",
        // Not whole: its metadata was not written.
        "audit_backup_20260103_000000.gz",
    ] {
        std::fs::write(home.path().join(name), b"{}").expect("write");
    }
    assert_eq!(look(&page).as_deref(), Some("2026-01-02T03:04:05.000000Z"));
}

#[test]
fn every_state_has_a_sample_that_says_so_and_keeps_the_last_known_values() {
    for (state, page) in every_state() {
        let sample = of(&page);
        assert_eq!(sample.writer.state, state);
        assert!(!sample.writer.message.is_empty(), "{state}");
        let has_page = sample.events.is_some();
        assert_eq!(has_page, !matches!(state, "no_log" | "unreadable"), "{state}");
        if state != "running" {
            assert_ne!(sample.status, Status::Healthy, "{state}");
        }
        if matches!(state, "died" | "stopped") {
            assert!(!sample.writer.is_current, "{state}");
            assert_eq!(sample.events.expect("last known").records, 43, "{state}");
        }
    }
}

#[test]
fn findings_are_the_worst_first() {
    let page = samples::Sample::running();
    page.set(Word::RateLimited, 0);
    page.page().count(Ring::Blocked, page.clock.now(), 600);
    page.state(crate::audit::state::status::WriterState::DiskFull);
    let found: Vec<_> = of(&page).findings.iter().map(|f| f.status.rank()).collect();
    assert!(found.len() >= 2 && found.is_sorted_by(|a, b| a >= b), "{found:?}");
}
