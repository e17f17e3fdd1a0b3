//! What health says: plain data that serialises as documented.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::problem::Problem;
pub use super::status::Status;
use crate::clock::Timestamp;

/// Numbers and words behind a judgement, by name; the unit is in the name.
pub type Metrics = BTreeMap<&'static str, Value>;

/// One check's judgement.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Check {
    /// What was looked at: `write_buffer`, `worker_thread`, `log_file`, …
    pub component: &'static str,
    /// How it is.
    pub status: Status,
    // Private: a check that is not healthy is only made with a problem.
    #[serde(rename = "code", serialize_with = "code_or_null")]
    problem: Option<Problem>,
    /// One line for people; may hold names that came with events, so escape it
    /// for a terminal.
    pub message: String,
    /// What it was judged by; what is not known is left out.
    pub metrics: Metrics,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Check {
    /// Nothing is wrong.
    pub(super) fn healthy(component: &'static str, message: impl Into<String>) -> Self {
        Self::new(component, Status::Healthy, None, message.into())
    }

    /// Something is wrong: `status` is one of the problem's.
    pub(super) fn found(
        component: &'static str,
        problem: Problem,
        status: Status,
        message: impl Into<String>,
    ) -> Self {
        debug_assert!(problem.statuses().contains(&status), "{problem:?} is never {status:?}");
        Self::new(component, status, Some(problem), message.into())
    }

    /// Nothing is wrong, or that.
    pub(super) fn either(
        component: &'static str,
        found: Option<(Problem, Status)>,
        message: impl Into<String>,
    ) -> Self {
        match found {
            Some((problem, status)) => Self::found(component, problem, status, message),
            None => Self::healthy(component, message),
        }
    }

    fn new(
        component: &'static str,
        status: Status,
        problem: Option<Problem>,
        message: String,
    ) -> Self {
        Self { component, status, problem, message, metrics: Metrics::new(), hint: None }
    }

    /// What was found, the worst of it; `None` when healthy.
    #[must_use]
    pub fn problem(&self) -> Option<Problem> {
        self.problem
    }

    /// The problem's stable name, such as `write_buffer.filling`; `None` when healthy.
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        self.problem.map(Problem::code)
    }

    /// Adds a metric; what is not known (`None`, not a finite number) is left out.
    pub(super) fn metric(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        let value = value.into();
        if !value.is_null() {
            self.metrics.insert(name, value);
        }
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A metric that is a number.
    #[must_use]
    pub fn number(&self, metric: &str) -> Option<f64> {
        self.metrics.get(metric).and_then(Value::as_f64)
    }
}

#[expect(clippy::ref_option, reason = "serde gives a reference")]
fn code_or_null<S: Serializer>(problem: &Option<Problem>, to: S) -> Result<S::Ok, S::Error> {
    problem.map(Problem::code).serialize(to)
}

/// How many checks ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Summary {
    /// All of them.
    pub total_checks: usize,
    /// [`Status::Healthy`].
    pub healthy: usize,
    /// [`Status::Warning`].
    pub warning: usize,
    /// [`Status::Critical`].
    pub critical: usize,
    /// [`Status::Unknown`].
    pub unknown: usize,
}

/// What was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Metadata {
    /// The active segment's path.
    pub audit_file: PathBuf,
    /// When the last event was accepted; `None` where the log has none.
    pub last_event_time: Option<Timestamp>,
    /// Version of the program that looked.
    pub version: &'static str,
    /// The writer's process; `None` when none was seen yet. The last one's when
    /// none runs.
    pub pid: Option<u64>,
    /// `running`, `hung`, `died`, `stopped`, `disk_full`, `write_failing`,
    /// `writer_failed`, `opening`, `no_log`, `unreadable` or `unknown`.
    pub state: &'static str,
    /// The log directory.
    pub log_dir: PathBuf,
    /// How the log was opened: `library`, `collector` or `record`.
    pub mode: Option<&'static str>,
    /// When the log was opened.
    pub started_at: Option<Timestamp>,
    /// The seq that the next event gets: how many records there are.
    pub next_seq: Option<u64>,
    /// Records below this seq are durable.
    pub durable_seq: Option<u64>,
    /// The writer thread's last sign of life.
    pub heartbeat_at: Option<Timestamp>,
}

/// The whole judgement. Serialises as the document of `health --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct HealthReport {
    /// The worst of the checks.
    pub status: Status,
    /// When it was looked.
    pub timestamp: Timestamp,
    /// For how long the writer has run; `None` when none runs.
    pub uptime_seconds: Option<u64>,
    /// The checks, always all and in the same order.
    pub checks: Vec<Check>,
    /// How many ended how.
    pub summary: Summary,
    /// What was looked at.
    pub metadata: Metadata,
}

impl HealthReport {
    pub(super) fn new(
        timestamp: Timestamp,
        uptime_seconds: Option<u64>,
        checks: Vec<Check>,
        metadata: Metadata,
    ) -> Self {
        let status = checks.iter().fold(Status::Healthy, |worst, check| worst.worst(check.status));
        let count = |status| checks.iter().filter(|check| check.status == status).count();
        let summary = Summary {
            total_checks: checks.len(),
            healthy: count(Status::Healthy),
            warning: count(Status::Warning),
            critical: count(Status::Critical),
            unknown: count(Status::Unknown),
        };
        Self { status, timestamp, uptime_seconds, checks, summary, metadata }
    }

    /// The check of that component.
    #[must_use]
    pub fn check(&self, component: &str) -> Option<&Check> {
        self.checks.iter().find(|check| check.component == component)
    }
}
