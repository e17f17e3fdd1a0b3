//! `audit.witness.json`: how it goes with the witnesses, for `health`, metrics and people.
//! Nothing depends on it.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::audit::tree::document::{Kind, decode};
#[cfg(any(test, feature = "witness"))]
use crate::audit::tree::document::{Layout, encode_file};
use crate::clock::Timestamp;
use crate::fsio::Fs;

/// No status is larger.
const MAX_STATUS_BYTES: u64 = 1 << 20;

/// How it goes with the witnesses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessStatus {
    /// When this was written.
    pub at: Timestamp,
    /// The process that asks them.
    pub pid: u32,
    /// Since when it has asked.
    pub since: Timestamp,
    /// The size of the checkpoint that was to be cosigned last.
    pub tree_size: u64,
    /// When a checkpoint with a quorum was last had, or found to be the newest still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum_at: Option<Timestamp>,
    /// The size of that checkpoint.
    #[serde(default)]
    pub quorum_size: u64,
    /// Each witness of the policy.
    pub witnesses: Vec<StandingOf>,
}

/// How it goes with one witness.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingOf {
    /// Its name in the policy.
    pub name: String,
    /// The size that it cosigned last.
    pub size: u64,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cosigned_at: Option<Timestamp>,
    /// Requests that failed since the last that did not.
    #[serde(default)]
    pub failures: u64,
    /// What went wrong last, while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// It speaks against the log: `ahead` (it has cosigned more than the log has) or
    /// `contradicted` (what it cosigned is not what the log continues).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarm: Option<String>,
}

impl WitnessStatus {
    /// The file's bytes.
    ///
    /// # Errors
    /// What keeps it from being JSON.
    #[cfg(any(test, feature = "witness"))]
    pub fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        encode_file(Kind::WITNESS, self, Layout::Compact)
    }

    /// Reads what a collector wrote; `None` where none did.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(fs: &dyn Fs, path: &Path) -> io::Result<Option<Self>> {
        match fs.read_own(path, MAX_STATUS_BYTES) {
            Ok(bytes) => decode(Kind::WITNESS, &bytes).map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
