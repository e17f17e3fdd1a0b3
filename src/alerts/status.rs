//! `audit.alerts.json`: how the delivery is, for `health`, metrics and people.
//! Replaced at most once a second while something changes; nothing depends on it.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::audit::tree::document::{Kind, Layout, decode, encode_file};
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsio::OsFs;

    fn read(text: &str) -> io::Result<Option<AlertsStatus>> {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("audit.alerts.json");
        std::fs::write(&path, text).expect("written");
        AlertsStatus::read(&OsFs, &path)
    }

    #[test]
    fn a_status_may_be_added_to_and_a_newer_format_is_named() {
        let status = AlertsStatus {
            cursor: 7,
            alerts: vec![AlertStatus { name: "ops".to_owned(), ..AlertStatus::default() }],
            failures: vec![AlertFailure::default()],
            ..AlertsStatus::default()
        };
        let text = String::from_utf8(status.to_bytes().expect("JSON")).expect("UTF-8");
        assert!(text.starts_with(r#"{"type":"auditctl/alerts","format":1,"at":"#), "{text}");
        let whole = read(&text).expect("readable");
        assert_eq!(whole.as_ref(), Some(&status));
        let added = text.replace('{', "{ \"added\" : [ { } , 1 ] ,\n");
        assert_eq!(read(&added).expect("readable"), whole);
        let last = text.replace("\"format\":1,", "").replace("}\n", ",\"format\":1}");
        assert_eq!(read(&last).expect("readable"), whole);
        let newer = read(&text.replace("\"format\":1", "\"format\":2")).expect_err("newer");
        assert!(newer.to_string().contains("a newer version made it"), "{newer}");
    }

    #[test]
    fn a_status_is_read_up_to_its_limit() {
        let text = String::from_utf8(AlertsStatus::default().to_bytes().expect("JSON"));
        let text = text.expect("UTF-8");
        let filled = |bytes: u64| format!("{text}{}", " ".repeat(bytes as usize - text.len()));
        for bytes in [MAX_STATUS_BYTES - 1, MAX_STATUS_BYTES] {
            assert!(read(&filled(bytes)).is_ok(), "{bytes}");
        }
        assert!(read(&filled(MAX_STATUS_BYTES + 1)).is_err());
    }
}
