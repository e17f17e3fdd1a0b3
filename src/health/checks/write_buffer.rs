//! Events accepted and not yet durable.

use crate::audit::status::{StatusSnapshot, Word};
use crate::health::metric::{Limit, Metric, Unit};
use crate::health::report::{Check, Component, Status};
use crate::health::span;
use crate::health::view::{Verdict, View};

/// A burst is no incident: a fill counts once its oldest event has waited so long.
const COUNTS_AFTER_MS: u64 = 1_000;
/// A part of the capacity (in bytes) that counts like the thresholds in events.
const WARN_PERCENT: u64 = 50;
const CRITICAL_PERCENT: u64 = 80;

pub(super) fn check(view: &View<'_>) -> Check {
    view.of_page(Component::WriteBuffer, |page| judge(view, page))
}

fn judge(view: &View<'_>, page: &StatusSnapshot) -> Verdict {
    let (events, bytes) = (page.get(Word::BufferEvents), page.get(Word::BufferBytes));
    let (capacity, room) = (page.get(Word::CapacityEvents), page.get(Word::CapacityBytes));
    let limits = &view.limits.health;
    let waited_ms = view.since(page.time(Word::OldestWaitingAt));
    let full = capacity > 0 && events >= capacity;
    let by_events = Status::above(events, limits.write_buffer_warn, limits.write_buffer_critical);
    let otherwise = fill_in_bytes(bytes, room)
        // However the thresholds are set, full is full.
        .max(if full { Status::Critical } else { Status::Healthy });
    let fill = by_events.max(otherwise);
    let status = if waited_ms < COUNTS_AFTER_MS {
        Status::Healthy
    } else if by_design(view, events, waited_ms) {
        otherwise
    } else {
        fill
    };
    let percent = percent(events, capacity).max(percent(bytes, room));
    let waiting = span::count(events, "event waits", "events wait");
    let message = if events == 0 {
        "nothing waits".to_owned()
    } else if status == Status::Healthy && fill != Status::Healthy {
        format!("{waiting} ({percent}% full); a burst, the oldest for {}", span::millis(waited_ms))
    } else {
        format!("{waiting} ({percent}% full); the oldest for {}", span::millis(waited_ms))
    };
    let metrics = vec![
        Metric::perf("events", events, "write_buffer", Unit::None)
            .limits(
                Limit::Above(limits.write_buffer_warn as f64),
                Limit::Above(limits.write_buffer_critical as f64),
            )
            .max(capacity),
        Metric::new("capacity_events", capacity),
        Metric::perf("bytes", bytes, "write_buffer_bytes", Unit::Bytes).max(room),
        Metric::new("capacity_bytes", room),
        Metric::new("fill_percent", percent),
        Metric::new("oldest_wait_ms", waited_ms),
        Metric::new("refused_busy", page.get(Word::Busy)),
    ];
    Verdict::new(status, message, metrics).hint(
        "the disk does not keep up: see worker_thread's sync times; `write_queue_capacity` and \
         `write_buffer_size` are the settings",
    )
}

/// Events that the settings let wait for a full batch.
fn by_design(view: &View<'_>, events: u64, waited_ms: u64) -> bool {
    let flush_ms = view.limits.flush_interval.as_millis() as u64;
    events <= view.limits.flush_events && waited_ms < flush_ms + COUNTS_AFTER_MS
}

fn fill_in_bytes(bytes: u64, room: u64) -> Status {
    Status::above(bytes, room / 100 * WARN_PERCENT, room / 100 * CRITICAL_PERCENT)
}

fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100).checked_div(whole).unwrap_or(0)
}
