//! `audit.alerts.json`: how the delivery is, for `health`, metrics and people.
//! Replaced at most once a second while something changes; nothing depends on it.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::audit::document::{Kind, Layout, decode, encode_file};
use crate::clock::Timestamp;
use crate::fsio::Fs;

/// No status is larger.
pub(crate) const MAX_STATUS_BYTES: u64 = 1 << 20;

/// How the delivery of all alerts is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertsStatus {
    /// When this was written.
    pub at: Timestamp,
    /// The process that delivers.
    pub pid: u32,
    /// Records below this seq have been looked at.
    pub cursor: u64,
    /// Deliveries of one alert that may wait.
    pub capacity: u64,
    /// Each alert.
    pub alerts: Vec<AlertStatus>,
    /// The newest deliveries that failed for good: when, id, why.
    #[serde(default)]
    pub failures: Vec<AlertFailure>,
}

/// A delivery that failed for good.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertFailure {
    /// When it was given up.
    pub at: Timestamp,
    /// The id of what was to be delivered.
    pub id: String,
    /// Why.
    pub reason: String,
}

/// How the delivery of one alert is. Counts are since the collector started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertStatus {
    /// Its name.
    pub name: String,
    /// `webhook`, `slack`, `discord` or `email`.
    pub kind: String,
    /// Host and port of its target.
    pub target: String,
    /// Waiting to be delivered, now.
    pub queued: u64,
    /// Delivered.
    pub delivered: u64,
    /// Failed for good.
    pub failed: u64,
    /// Tried again.
    pub retried: u64,
    /// Not queued because the queue was full.
    pub dropped: u64,
    /// Held back by the cooldown.
    pub suppressed: u64,
    /// Connections that the guard refused.
    pub refused: u64,
    /// When the oldest that waits was due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Timestamp>,
    /// What went wrong last, while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl AlertsStatus {
    /// The file's bytes.
    ///
    /// # Errors
    /// What keeps it from being JSON.
    pub fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        encode_file(Kind::ALERTS, self, Layout::Compact)
    }

    /// Reads what a collector wrote; `None` where none did.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(fs: &dyn Fs, path: &Path) -> io::Result<Option<Self>> {
        match fs.read_own(path, MAX_STATUS_BYTES) {
            Ok(bytes) => decode(Kind::ALERTS, &bytes).map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
