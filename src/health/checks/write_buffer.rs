//! `write_buffer`: events accepted and not yet settled.

use std::time::Duration;

use crate::audit::state::status::Word;
use crate::config::Settings;
use crate::health::gather::Facts;
use crate::health::liveness::Liveness;
use crate::health::problem::Problem;
use crate::health::report::{Check, Status};
use crate::health::wording::{age, count, seconds, since};

use super::common::{above, last_known, unseen};

const NAME: &str = "write_buffer";
/// A fill counts once its oldest event has waited so long: a burst is no incident.
const COUNTS_AFTER: Duration = Duration::from_secs(1);

pub(super) fn check(facts: &Facts, settings: &Settings, liveness: Liveness) -> Check {
    let Some(page) = facts.page() else { return unseen(NAME, facts) };
    let (events, capacity) = (page.get(Word::BufferEvents), page.get(Word::CapacityEvents));
    let (bytes, capacity_bytes) = (page.get(Word::BufferBytes), page.get(Word::CapacityBytes));
    let waited =
        page.time(Word::OldestWaitingAt).map_or(Duration::ZERO, |oldest| since(oldest, facts.now));
    let limits = &settings.health;

    let fill = format!("{events} of {}", count(capacity, "event"));
    let check = if let Some(known) = last_known(facts, page, liveness) {
        Check::either(NAME, known.found, format!("{}{fill} waited", known.prefix))
    } else {
        // Full is critical even where the capacity is below the threshold.
        let full =
            (capacity > 0 && events >= capacity) || (capacity_bytes > 0 && bytes >= capacity_bytes);
        let fill_status = if full {
            Some(Status::Critical)
        } else {
            above(events, limits.write_buffer_warn, limits.write_buffer_critical)
        };
        match fill_status {
            None => Check::healthy(NAME, format!("{fill} waiting")),
            Some(_) if waited < COUNTS_AFTER => {
                Check::healthy(NAME, format!("{fill} waiting, a burst"))
            }
            Some(status) => {
                let message = format!("{fill} waiting, the oldest for {}", age(waited));
                Check::found(NAME, Problem::BufferFilling, status, message).hint(
                    "the disk is too slow: see the sync times of worker_thread. When the buffer \
                     is full, callers wait, and are then refused as busy",
                )
            }
        }
    };
    check
        .metric("events", events)
        .metric("capacity_events", capacity)
        .metric("bytes", bytes)
        .metric("capacity_bytes", capacity_bytes)
        .metric("oldest_waiting_seconds", seconds(waited))
        .metric("refused_busy", page.get(Word::Busy))
}
