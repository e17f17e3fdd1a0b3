//! How far a log has been shipped: `audit.archive.json` beside it. A hint: it saves asking the
//! bucket. Where it is lost, or does not fit the log, the bucket is asked.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{ArchiveError, io_error};
use crate::audit::tree::document::{self, Kind, Layout};
use crate::audit::tree::merkle::Range;
use crate::clock::Timestamp;
use crate::fsio::{Fs, replace_file};

/// The file's name.
pub const FILE: &str = "audit.archive.json";
const MAX_BYTES: u64 = 1 << 20;

/// How far a log has been shipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The log's id.
    pub log_id: String,
    /// The epoch that is being shipped.
    pub epoch: u32,
    /// Where to: the archive's URL or directory.
    pub destination: String,
    /// Which service that is at, where it is not the provider's own for everybody: the address of
    /// an endpoint, or of an account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The tree over everything that data objects hold.
    pub data: Range,
    /// Whether a checkpoint over exactly that tree is in the archive.
    pub committed: bool,
    /// The tree over everything that was shipped, tails included.
    pub shipped: Range,
    /// When the first record that only tails hold was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail_since: Option<Timestamp>,
    /// How many bytes the tails have since then.
    pub tail_bytes: u64,
    /// How many changes of the key the archive knows of; absent before it has any key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_changes: Option<u32>,
    /// When everything that was signed had last been shipped.
    pub shipped_at: Timestamp,
    /// How many records retention removed, in all, before a data object held them.
    #[serde(default, skip_serializing_if = "is_none")]
    pub removed_unshipped: u64,
    /// Up to which record they are counted in.
    #[serde(default, skip_serializing_if = "is_none")]
    pub removed_to: u64,
    /// The newest signed checkpoint that was shipped: what the log is compared with that is put
    /// back without this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

impl Position {
    /// Where it is kept.
    #[must_use]
    pub fn path(log_dir: &Path) -> PathBuf {
        log_dir.join(FILE)
    }

    /// Reads it; `None` where there is none that could be used.
    ///
    /// # Errors
    /// It cannot be read, or a newer version made it.
    pub fn load(fs: &dyn Fs, log_dir: &Path) -> Result<Option<Self>, ArchiveError> {
        let path = Self::path(log_dir);
        let bytes = match fs.read_own(&path, MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == ErrorKind::InvalidData => return Ok(None),
            Err(error) => return Err(io_error("read", path)(error)),
        };
        match document::decode::<Self>(Kind::ARCHIVE, &bytes) {
            Ok(position) if position.is_possible() => Ok(Some(position)),
            Ok(_) => Ok(None),
            Err(source) if source.is_newer() => {
                Err(ArchiveError::Newer { place: path.display().to_string(), source })
            }
            Err(error) => {
                tracing::warn!("{}: {error}; the archive is asked instead", path.display());
                Ok(None)
            }
        }
    }

    /// Replaces it.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn store(&self, fs: &dyn Fs, log_dir: &Path) -> Result<(), ArchiveError> {
        let path = Self::path(log_dir);
        let bytes = document::encode_file(Kind::ARCHIVE, self, Layout::Pretty)
            .map_err(|error| io_error("write", &path)(std::io::Error::other(error)))?;
        replace_file(fs, &path, &bytes).map_err(io_error("write", path))
    }

    fn is_possible(&self) -> bool {
        self.data.begin() == 0 && self.shipped.begin() == 0 && self.data.end() <= self.shipped.end()
    }
}
