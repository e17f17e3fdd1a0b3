//! What the writer counts: its buffer, refusals, security events, the cache.

use super::{Check, Seen, Status};
use crate::audit::security::SecurityKind;
use crate::audit::status::{Ring, StatusSnapshot, Word};
use crate::config::Settings;

/// A fill counts once its oldest event has waited so long: a burst is no incident.
const WAITED_MICROS: i64 = 1_000_000;

fn no_page(name: &'static str) -> Check {
    Check::new(name, Status::Unknown, "no status page")
}

pub(super) fn write_buffer(seen: &Seen, settings: &Settings) -> Check {
    let Some(page) = &seen.page else { return no_page("write_buffer") };
    let (events, capacity) = (page.get(Word::BufferEvents), page.get(Word::CapacityEvents));
    let waited = page
        .time(Word::OldestWaitingAt)
        .filter(|_| events > 0)
        .map_or(0, |at| (seen.now.micros() - at.micros()).max(0));
    let limits = &settings.health;
    let mut status = Status::Healthy;
    if waited >= WAITED_MICROS {
        status = Status::by_limits(events, limits.write_buffer_warn, limits.write_buffer_critical);
    }
    let mut message = format!("{events} of {capacity} events wait");
    if waited >= WAITED_MICROS {
        message.push_str(&format!(", the oldest for {} s", waited / 1_000_000));
    }
    let mut check = Check::new("write_buffer", status, message)
        .metric("events", events)
        .metric("capacity", capacity)
        .metric("bytes", page.get(Word::BufferBytes))
        .metric("capacity_bytes", page.get(Word::CapacityBytes))
        .metric("oldest_waiting_ms", waited / 1_000)
        .metric("busy_refused", page.get(Word::Busy));
    if status != Status::Healthy {
        check = check.hint("the disk does not keep up: see worker_thread's sync times");
    }
    check.last_known(seen)
}

pub(super) fn rate_limiting(seen: &Seen, settings: &Settings) -> Check {
    let Some(page) = &seen.page else { return no_page("rate_limiting") };
    let blocked = page.recent(Ring::Blocked, seen.now);
    let limits = &settings.health;
    let status = Status::by_limits(blocked, limits.blocked_warn, limits.blocked_critical);
    let mut message = format!("{blocked} events refused in the last hour");
    let top = page.top_blocked();
    if blocked > 0
        && let Some((source, count)) = &top
    {
        message.push_str(&format!(", most from \"{source}\" ({count} since the start)"));
    }
    let mut check = Check::new("rate_limiting", status, message)
        .metric("blocked_last_hour", blocked)
        .metric("blocked_total", page.get(Word::RateLimited))
        .metric("active_sources", page.get(Word::ActiveSources))
        .metric("top_blocked_source", top.map(|(source, _)| source));
    if status != Status::Healthy {
        check = check.hint("mend the noisy source, or raise rate_limit.per_second");
    }
    check.last_known(seen)
}

pub(super) fn security(seen: &Seen, settings: &Settings) -> Check {
    let Some(page) = &seen.page else { return no_page("security") };
    let invalid = page.recent(Ring::Validation, seen.now);
    let others = page.recent(Ring::Security, seen.now);
    let limits = &settings.health;
    let status = Status::by_limits(
        invalid,
        limits.validation_errors_warn,
        limits.validation_errors_critical,
    )
    .worst(Status::by_limits(others, limits.security_warn, limits.security_critical));
    let message =
        format!("{invalid} validation errors and {others} other security events in the last hour");
    let mut check = Check::new("security", status, message)
        .metric("validation_errors_last_hour", invalid)
        .metric("other_events_last_hour", others);
    for kind in SecurityKind::ALL {
        check = check.metric(kind.as_str(), page.security(kind));
    }
    if status != Status::Healthy {
        check = check.hint("security_events.log in the log directory says who and what");
    }
    check.last_known(seen)
}

pub(super) fn query_cache(seen: &Seen) -> Check {
    let Some(page) = &seen.page else { return no_page("query_cache") };
    let (hits, misses) = (page.get(Word::CacheHits), page.get(Word::CacheMisses));
    let asked = hits + misses;
    let (entries, capacity) = (page.get(Word::CacheEntries), page.get(Word::CacheCapacity));
    let rate = (asked > 0).then(|| hits as f64 / asked as f64);
    let message = rate.map_or_else(
        || "not used yet".to_owned(),
        |rate| format!("{entries} of {capacity} entries, {:.0}% hits", rate * 100.0),
    );
    Check::new("query_cache", Status::Healthy, message)
        .metric("entries", entries)
        .metric("capacity", capacity)
        .metric("hits", hits)
        .metric("misses", misses)
        .metric("hit_rate", rate)
        .last_known(seen)
}

/// Whether the page's numbers say that something was lost.
pub(super) fn lost(page: &StatusSnapshot) -> u64 {
    page.get(Word::LostRecords)
}
