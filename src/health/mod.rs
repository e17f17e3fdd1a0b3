//! Whether the trail is well: pure judgements over what was found.
//!
//! [`gather`] is the only part that looks: the status page, whether the lock is
//! held, the names and sizes of a few files, free space, and the writer's entry
//! in `/proc`. It takes no lock, starts nothing and reads no log bodies, so it
//! costs milliseconds whatever the log's size, and never gets in a writer's way.
//! [`judge`] turns what was found into a [`HealthReport`]: first what the log is
//! in ([`LogState`]), then one check after the other, each in its own file.
//!
//! A check whose values are not live (the writer hangs, or is gone) says so with
//! their age, and is never `healthy` because of them.

mod checks;
mod facts;
mod gather;
mod limits;
mod metric;
mod report;
mod span;
mod state;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod view;

pub use facts::{Facts, Found, Lock, Page, Process};
pub use gather::gather;
pub use limits::Limits;
pub use metric::{Limit, Metric, Perf, Unit, Value};
pub use report::{Check, Component, HealthReport, Metadata, Status, Summary};
pub use state::LogState;

use crate::audit::status::StatusSnapshot;
use crate::clock::Clock;
use crate::config::Settings;
use crate::fsio::Fs;
use view::View;

/// What a look at the log gives.
#[derive(Clone, Debug)]
pub struct Health {
    /// The judgement.
    pub report: HealthReport,
    /// The status page it is based on, for the metrics that are not judged;
    /// `None` when there is none, or it may not be read.
    pub snapshot: Option<StatusSnapshot>,
}

/// Looks and judges. Blocks as long as the file system does: callers who must
/// answer in time run it in a thread, with [`HealthReport::timed_out`] for when
/// it does not return.
#[must_use]
pub fn check(settings: &Settings, fs: &dyn Fs, clock: &dyn Clock) -> Health {
    let facts = gather(&settings.log_dir, fs, clock);
    let report = judge(&facts, &Limits::new(settings));
    let snapshot = match facts.page {
        Page::Read(snapshot) => Some(snapshot),
        Page::Missing | Page::Unreadable(_) => None,
    };
    Health { report, snapshot }
}

/// Judges what was found.
#[must_use]
pub fn judge(facts: &Facts, limits: &Limits) -> HealthReport {
    let state = LogState::of(facts, limits.hung_after);
    let view = View { facts, limits, state: &state };
    let checks = checks::ALL.iter().map(|check| check(&view)).collect();
    HealthReport::new(facts.now, view.uptime_seconds(), checks, metadata(&view))
}

fn metadata(view: &View<'_>) -> Metadata {
    use crate::audit::status::Word;
    let page = view.page();
    Metadata {
        audit_file: view.facts.paths.active(),
        log_dir: view.facts.paths.dir.clone(),
        last_event_time: page.and_then(|page| page.time(Word::LastEventAt)),
        version: env!("CARGO_PKG_VERSION"),
        pid: page.map(|page| page.get(Word::Pid)).filter(|pid| *pid > 0),
        state: checks::file_incident(view).unwrap_or_else(|| view.state.as_str()),
        mode: page.and_then(StatusSnapshot::mode).map(|mode| mode.as_str()),
        started_at: page.and_then(|page| page.time(Word::StartedAt)),
        heartbeat_at: page.and_then(|page| page.time(Word::HeartbeatAt)),
        next_seq: page.map(|page| page.get(Word::NextSeq)),
        durable_seq: page.map(|page| page.get(Word::DurableSeq)),
        hints: Vec::new(),
    }
}
