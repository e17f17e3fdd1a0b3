//! Is the audit trail well? Answered from outside, from the status page and a few
//! `stat`s: no lock is taken, no writer started, no log body read.
//!
//! [`gather`] looks; every check is a pure function of what it saw.

mod gather;
mod integrity;
mod live;
mod storage;
mod worker;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

pub use gather::{Liveness, Seen, gather};

use crate::audit::LogPaths;
use crate::audit::status::{StatusSnapshot, Word};
use crate::clock::{Clock, Timestamp};
use crate::config::Settings;
use crate::fsio::Fs;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Well.
    Healthy,
    /// Somebody should look.
    Warning,
    /// Somebody must look now.
    Critical,
    /// It cannot be told.
    Unknown,
}

impl Status {
    /// Worse is greater: critical, warning, unknown, healthy (the order of the
    /// Nagios plugin guidelines).
    #[must_use]
    pub fn severity(self) -> u8 {
        match self {
            Self::Healthy => 0,
            Self::Unknown => 1,
            Self::Warning => 2,
            Self::Critical => 3,
        }
    }

    /// As in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Unknown => "unknown",
        }
    }

    /// Whichever is worse.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        if other.severity() > self.severity() { other } else { self }
    }

    fn by_limits(value: u64, warning: u64, critical: u64) -> Self {
        if value > critical {
            Self::Critical
        } else if value > warning {
            Self::Warning
        } else {
            Self::Healthy
        }
    }
}

/// One check's result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// Its name, such as `write_buffer`.
    pub component: &'static str,
    /// How it is.
    pub status: Status,
    /// What was found, for people.
    pub message: String,
    /// The numbers behind it.
    pub metrics: BTreeMap<&'static str, Value>,
    /// What to do, if something is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Check {
    fn new(component: &'static str, status: Status, message: impl Into<String>) -> Self {
        Self { component, status, message: message.into(), metrics: BTreeMap::new(), hint: None }
    }

    fn metric(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.metrics.insert(name, value.into());
        self
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// For numbers that nobody keeps up to date any more: what they were.
    fn last_known(mut self, seen: &Seen) -> Self {
        if let Some(age) = seen.stale_seconds() {
            self.message = format!("{} (last known, {age} s ago)", self.message);
        }
        self
    }
}

/// How many checks came out how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// All.
    pub total_checks: usize,
    /// Well.
    pub healthy: usize,
    /// Warnings.
    pub warning: usize,
    /// Critical.
    pub critical: usize,
    /// Not to be told.
    pub unknown: usize,
}

/// What `health --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HealthReport {
    /// The worst of the checks.
    pub status: Status,
    /// When it was checked.
    pub timestamp: Timestamp,
    /// How long the writer has run; absent when none does.
    pub uptime_seconds: Option<u64>,
    /// The checks.
    pub checks: Vec<Check>,
    /// How many came out how.
    pub summary: Summary,
    /// Which log, and who writes it.
    pub metadata: BTreeMap<&'static str, Value>,
}

/// A report, and the page it was made from.
#[derive(Clone, Debug)]
pub struct Health {
    /// The report.
    pub report: HealthReport,
    /// The status page, if it could be read.
    pub snapshot: Option<StatusSnapshot>,
}

/// Looks and checks; takes milliseconds, whatever the log's size.
#[must_use]
pub fn check(settings: &Settings, fs: &dyn Fs, clock: &dyn Clock) -> Health {
    let paths = LogPaths::new(&settings.log_dir);
    let seen = gather(&paths, fs, clock);
    let report = report(&seen, settings, &paths);
    Health { report, snapshot: seen.page }
}

/// The checks on what was seen.
#[must_use]
pub fn report(seen: &Seen, settings: &Settings, paths: &LogPaths) -> HealthReport {
    let checks = vec![
        live::write_buffer(seen, settings),
        worker::worker_thread(seen, settings),
        storage::log_file(seen, settings),
        live::rate_limiting(seen, settings),
        live::security(seen, settings),
        live::query_cache(seen),
        storage::disk_space(seen, settings),
        integrity::integrity(seen, settings),
    ];
    let mut summary = Summary { total_checks: checks.len(), ..Summary::default() };
    let mut status = Status::Healthy;
    for check in &checks {
        status = status.worst(check.status);
        match check.status {
            Status::Healthy => summary.healthy += 1,
            Status::Warning => summary.warning += 1,
            Status::Critical => summary.critical += 1,
            Status::Unknown => summary.unknown += 1,
        }
    }
    let uptime_seconds = seen
        .page
        .as_ref()
        .filter(|_| seen.liveness == Liveness::Locked)
        .map(|page| seen.boot_ms.saturating_sub(page.get(Word::StartedBootMs)) / 1_000);
    let metadata = metadata(seen, paths);
    HealthReport { status, timestamp: seen.now, uptime_seconds, checks, summary, metadata }
}

fn metadata(seen: &Seen, paths: &LogPaths) -> BTreeMap<&'static str, Value> {
    let mut metadata = BTreeMap::new();
    metadata.insert("audit_file", paths.active().to_string_lossy().into());
    metadata.insert("log_dir", paths.dir.to_string_lossy().into());
    metadata.insert("version", env!("CARGO_PKG_VERSION").into());
    if let Some(page) = &seen.page {
        let time = |word| page.time(word).map(|at| at.to_string());
        metadata.insert("last_event_time", time(Word::LastEventAt).into());
        metadata.insert("last_checkpoint_time", time(Word::CheckpointAt).into());
        metadata.insert("pid", page.get(Word::Pid).into());
        metadata.insert("mode", page.mode().map(crate::audit::status::Mode::as_str).into());
        metadata.insert("state", page.state().map(|state| state.as_str()).into());
        metadata.insert("next_seq", page.get(Word::NextSeq).into());
        metadata.insert("durable_seq", page.get(Word::DurableSeq).into());
        metadata.insert("checkpoint_size", page.get(Word::CheckpointSize).into());
    }
    metadata
}

#[cfg(test)]
mod tests;
