//! One thing to tell: what an alert was triggered by, as it waits and is sent.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::audit::read::query::without;
use crate::clock::Timestamp;

/// A record is told whole up to this size; of a larger one, all but its details.
pub(super) const MAX_RECORD_BYTES: usize = 16 << 10;

/// Something to tell. Its id never changes, however often it is sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Occurrence {
    /// `<log id>/<alert>/<seq>` for one about records; for health
    /// `<log id>/<alert>/health-<time in ms>`.
    pub id: String,
    /// The alert's name.
    pub alert: String,
    /// `event`, `errors`, `health` or `test`.
    pub trigger: String,
    /// When: for records the time of acceptance.
    pub at: Timestamp,
    /// The record that triggered it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<Box<RawValue>>,
    /// Whether the record's details were left out because of its size.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub record_cut: bool,
    /// How many errors within how long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<Errors>,
    /// How health changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthChange>,
    /// What the cooldown held back before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suppressed: Option<Suppressed>,
    /// Since when this process has had it.
    #[serde(skip, default = "Instant::now")]
    pub queued: Instant,
}

impl Occurrence {
    /// The seq of the record that triggered it; none for one about health.
    pub(super) fn seq(&self) -> Option<u64> {
        self.id.rsplit('/').next()?.parse().ok()
    }
}

/// Errors that came together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Errors {
    /// How many.
    pub count: u32,
    /// Within so many seconds.
    pub within_seconds: u64,
}

/// A change of health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HealthChange {
    /// What it was when it was told last.
    pub from: String,
    /// What it is.
    pub to: String,
    /// The checks that are not healthy.
    pub checks: Vec<HealthCheck>,
}

/// One check of health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// Which.
    pub component: String,
    /// `healthy`, `warning`, `critical` or `unknown`.
    pub status: String,
    /// The problem's stable name, such as `disk_space.full`; none when healthy, and in
    /// what an earlier version had waiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// In words.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Triggers that a cooldown held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Suppressed {
    /// How many.
    pub count: u64,
    /// Since when.
    pub since: Timestamp,
}

/// A stored line as it is told: whole, or without its details when it is large.
#[must_use]
pub(super) fn told(line: &[u8]) -> (Option<Box<RawValue>>, bool) {
    let text = String::from_utf8_lossy(line);
    if line.len() <= MAX_RECORD_BYTES {
        return (RawValue::from_string(text.into_owned()).ok(), false);
    }
    (without(&text, "details"), true)
}
