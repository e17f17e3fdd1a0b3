//! The judgement, as every format shows it.

use std::path::PathBuf;

use serde::Serialize;

use super::metric::{Metric, as_object};
use crate::clock::Timestamp;

/// How something is. Ordered by how bad it is, so that the worst is the
/// largest: critical > warning > unknown > healthy. (What is known to be bad
/// counts more than what is not known; Nagios's exit codes are another order.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As it should be.
    Healthy,
    /// It cannot be told.
    Unknown,
    /// Somebody should look at it.
    Warning,
    /// Somebody must.
    Critical,
}

impl Status {
    /// As in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// By two thresholds, each of which has to be exceeded.
    #[must_use]
    pub fn above(value: u64, warn: u64, critical: u64) -> Self {
        if value > critical {
            Self::Critical
        } else if value > warn {
            Self::Warning
        } else {
            Self::Healthy
        }
    }
}

macro_rules! components {
    ($($(#[doc = $doc:literal])+ $name:ident => $text:literal),+ $(,)?) => {
        /// What is checked, in this order.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Component { $($(#[doc = $doc])+ $name),+ }

        impl Component {
            /// All, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// As in JSON.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }
        }
    };
}

components! {
    /// Events accepted and not yet durable.
    WriteBuffer => "write_buffer",
    /// The writer thread, and with it the process.
    WorkerThread => "worker_thread",
    /// The log's size, and whether `audit.log` is the file that is written.
    LogFile => "log_file",
    /// Events refused for their source's rate.
    RateLimiting => "rate_limiting",
    /// Invalid events and other security events.
    Security => "security",
    /// The query cache.
    QueryCache => "query_cache",
    /// Free space.
    DiskSpace => "disk_space",
    /// Known damage, checkpoint and manifest.
    Integrity => "integrity",
}

/// One check's result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// What was checked.
    pub component: Component,
    /// How it is.
    pub status: Status,
    /// For people. What stands before the first `;` is its [`headline`](Self::headline).
    pub message: String,
    /// The numbers behind it.
    #[serde(serialize_with = "as_object")]
    pub metrics: Vec<Metric>,
    /// What to do; in JSON among `metadata.hints`.
    #[serde(skip)]
    pub hint: Option<String>,
}

impl Check {
    /// The part of the message that fits a line with others.
    #[must_use]
    pub fn headline(&self) -> &str {
        self.message.split(';').next().unwrap_or_default()
    }
}

/// How many checks came out how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// All.
    pub total_checks: usize,
    /// As they should be.
    pub healthy: usize,
    /// To be looked at.
    pub warning: usize,
    /// To be acted on.
    pub critical: usize,
    /// Not to be told.
    pub unknown: usize,
}

/// What the report is about.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metadata {
    /// The active segment.
    pub audit_file: PathBuf,
    /// The log directory.
    pub log_dir: PathBuf,
    /// When the writer last accepted an event.
    pub last_event_time: Option<Timestamp>,
    /// This program's version.
    pub version: &'static str,
    /// The writer's process, or the last one's.
    pub pid: Option<u64>,
    /// `running`, `hung`, `died`, …; see [`LogState`](super::LogState).
    pub state: &'static str,
    /// How the log was opened.
    pub mode: Option<&'static str>,
    /// When.
    pub started_at: Option<Timestamp>,
    /// The writer's last sign of life.
    pub heartbeat_at: Option<Timestamp>,
    /// The seq of the next event.
    pub next_seq: Option<u64>,
    /// Records below it are durable.
    pub durable_seq: Option<u64>,
    /// What to do, check by check.
    pub hints: Vec<String>,
}

/// The judgement. Serialises to the JSON document of `auditctl health --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HealthReport {
    /// The worst of the checks.
    pub status: Status,
    /// When it was looked.
    pub timestamp: Timestamp,
    /// How long the writer has been running; `None` when none is.
    pub uptime_seconds: Option<u64>,
    /// Each check, in the order of [`Component::ALL`].
    pub checks: Vec<Check>,
    /// How many came out how.
    pub summary: Summary,
    /// What it is about.
    pub metadata: Metadata,
}

impl HealthReport {
    pub(super) fn new(
        timestamp: Timestamp,
        uptime_seconds: Option<u64>,
        checks: Vec<Check>,
        mut metadata: Metadata,
    ) -> Self {
        let of = |status| checks.iter().filter(|check| check.status == status).count();
        let summary = Summary {
            total_checks: checks.len(),
            healthy: of(Status::Healthy),
            warning: of(Status::Warning),
            critical: of(Status::Critical),
            unknown: of(Status::Unknown),
        };
        let status = checks.iter().map(|check| check.status).max().unwrap_or(Status::Unknown);
        for check in &checks {
            if let Some(hint) = &check.hint {
                metadata.hints.push(format!("{}: {hint}", check.component.as_str()));
            }
        }
        Self { status, timestamp, uptime_seconds, checks, summary, metadata }
    }

    /// For when looking did not end in time: everything unknown.
    #[must_use]
    pub fn timed_out(now: Timestamp, audit_file: PathBuf, after: std::time::Duration) -> Self {
        let message = format!(
            "no answer from the file system within {}",
            super::span::millis(after.as_millis() as u64)
        );
        let checks = Component::ALL.iter().map(|component| Check {
            component: *component,
            status: Status::Unknown,
            message: message.clone(),
            metrics: Vec::new(),
            hint: (*component == Component::DiskSpace).then(|| {
                "look at the disk or network file system below the log directory; \
                 `health.deadline` is how long health waits"
                    .to_owned()
            }),
        });
        let metadata = Metadata {
            log_dir: crate::fsio::parent(&audit_file),
            audit_file,
            last_event_time: None,
            version: env!("CARGO_PKG_VERSION"),
            pid: None,
            state: "unknown",
            mode: None,
            started_at: None,
            heartbeat_at: None,
            next_seq: None,
            durable_seq: None,
            hints: Vec::new(),
        };
        Self::new(now, None, checks.collect(), metadata)
    }

    /// The worst check; the first of several.
    #[must_use]
    pub fn worst(&self) -> Option<&Check> {
        self.checks.iter().find(|check| check.status == self.status)
    }
}
