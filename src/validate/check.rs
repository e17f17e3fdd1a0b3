//! What one check says.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use super::catalogue::Id;
use super::outcome::Status;

/// Numbers and words behind a judgement, by name; the unit is in the name.
pub type Metrics = BTreeMap<&'static str, Value>;

/// What one check says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// What was checked.
    pub id: Id,
    /// How it ended.
    pub status: Status,
    /// One line for people; may hold names from outside, so escape it for a terminal.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The file or directory concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// What it was judged by.
    #[serde(skip_serializing_if = "Metrics::is_empty")]
    pub metrics: Metrics,
}

impl Check {
    /// Ended so.
    #[must_use]
    pub fn new(id: Id, status: Status, message: impl Into<String>) -> Self {
        debug_assert!(status <= id.worst(), "the table has {} as {:?}", id.as_str(), id.worst());
        let message = message.into();
        Self { id, status, message, hint: None, path: None, metrics: Metrics::new() }
    }

    /// Well.
    #[must_use]
    pub fn passed(id: Id, message: impl Into<String>) -> Self {
        Self::new(id, Status::Passed, message)
    }

    /// To be looked at.
    #[must_use]
    pub fn warning(id: Id, message: impl Into<String>) -> Self {
        Self::new(id, Status::Warning, message)
    }

    /// To be put right; where the table says that nothing of the kind is worse than a
    /// warning, a warning.
    #[must_use]
    pub fn failed(id: Id, message: impl Into<String>) -> Self {
        Self::new(id, Status::Failed.min(id.worst()), message)
    }

    /// Not looked at.
    #[must_use]
    pub fn skipped(id: Id, message: impl Into<String>) -> Self {
        Self::new(id, Status::Skipped, message)
    }

    /// Says what to do; only a problem keeps it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        if self.status.is_problem() {
            self.hint = Some(hint.into());
        }
        self
    }

    /// Of which path.
    #[must_use]
    pub fn path(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Adds a metric; what is not known is left out.
    #[must_use]
    pub fn metric(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        let value = value.into();
        if !value.is_null() {
            self.metrics.insert(name, value);
        }
        self
    }
}
