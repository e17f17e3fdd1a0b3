//! The local catalog: what is known about backups beyond their metadata, which is
//! never changed. Where they were sent, how they were checked last, what failed,
//! when a restore was last tried. `health` reads it: small, no key, no lock.
//!
//! It can be lost: what the metadata says is taken from there again. What a later
//! version added to it is kept when it is written.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::directory::{BackupDir, CATALOG};
use super::error::{BackupError, io_error};
use super::metadata::Metadata;
use super::name::BackupId;
use crate::audit::Span;
use crate::audit::tree::document::{DocumentError, Kind, Layout, Unknown, decode, encode_file};
use crate::audit::tree::merkle::Hash;
use crate::clock::Timestamp;
use crate::fsio::{self, Fs};

pub(crate) const MAX_CATALOG_BYTES: u64 = 64 << 20;

/// The catalog of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    /// By id.
    #[serde(default)]
    pub backups: BTreeMap<BackupId, Noted>,
    /// The last attempt that made no backup, if none was made since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
    /// When it was found last that there was nothing new to back up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_unchanged: Option<Unchanged>,
    /// The last restore drill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_drill: Option<Drill>,
    /// How backups that lie elsewhere were checked, by the URL of their metadata.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub elsewhere: BTreeMap<String, Checked>,
    /// What this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// What is noted of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// The log's id.
    pub log_id: String,
    /// Its epoch.
    pub epoch: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its first record.
    pub first_seq: u64,
    /// The seq after its last record.
    pub tree_size: u64,
    /// Its tree's root.
    pub root_hash: Hash,
    /// The stored file's length.
    pub stored_bytes: u64,
    /// The highest check that it has passed, and when.
    pub verified: Level,
    /// When that was.
    pub verified_at: Timestamp,
    /// Why the last check failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
    /// Records that it lacks because they were damaged, that nobody had given up, and that
    /// no earlier backup beside it held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uncovered: Vec<Span>,
    /// The backups that it builds on, the full one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bases: Vec<BackupId>,
    /// Records of its range that it does not hold, whatever became of them.
    #[serde(default, skip_serializing_if = "is_none")]
    pub lacks: u64,
    /// Where it was sent, by the URL of the folder there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub copies: BTreeMap<String, Copied>,
    /// What this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// What came of sending a backup somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// How far it is.
    pub state: CopyState,
    /// Since when.
    pub at: Timestamp,
    /// The archive's version there, where versions are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive_version: Option<String>,
    /// The metadata's version there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_version: Option<String>,
    /// The checksum over the archive that the store itself computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// Until when it cannot be removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked_until: Option<Timestamp>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// How far a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyState {
    /// It is being sent, or was when its sender ended.
    Uploading,
    /// The store has said to have all of it.
    Confirmed,
    /// It could not be sent.
    Failed,
}

impl CopyState {
    /// One word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uploading => "uploading",
            Self::Confirmed => "confirmed",
            Self::Failed => "failed",
        }
    }
}

impl Copied {
    /// With nothing known but that.
    #[must_use]
    pub(crate) fn new(state: CopyState, at: Timestamp) -> Self {
        Self {
            state,
            at,
            archive_version: None,
            metadata_version: None,
            checksum: None,
            locked_until: None,
            problem: None,
            unknown: Unknown::default(),
        }
    }
}

/// How far a backup has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Metadata and archive belong together: lengths, marker, signatures.
    Listed,
    /// The stored bytes have the SHA-256 that the metadata says.
    Stored,
    /// Everything decompressed: whole records, gapless, hashing to the signed root.
    Content,
    /// And it extends the backup before, and the live log extends it.
    Chain,
    /// It was restored, opened and read.
    Drill,
}

impl Level {
    /// One word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Listed => "listed",
            Self::Stored => "stored",
            Self::Content => "content",
            Self::Chain => "chain",
            Self::Drill => "drill",
        }
    }
}

/// An attempt that made no backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When.
    pub at: Timestamp,
    /// [`BackupError::kind`].
    pub kind: String,
    /// What went wrong.
    pub message: String,
    /// What this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// That there was nothing new to back up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unchanged {
    /// When.
    pub at: Timestamp,
    /// The backup that holds everything.
    pub backup: BackupId,
    /// The log's size then.
    pub tree_size: u64,
    /// What this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// How a backup was checked that lies elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// The highest check that it has passed.
    pub verified: Level,
    /// When that was.
    pub at: Timestamp,
    /// The archive that it was, by its SHA-256.
    pub sha256: Hash,
    /// Its version there, where versions are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// A restore that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drill {
    /// When.
    pub at: Timestamp,
    /// Which backup.
    pub backup: BackupId,
    /// Whether it could be restored.
    pub passed: bool,
    /// How long it took.
    pub milliseconds: u64,
    /// The report's file name.
    pub report: String,
    /// What this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

fn is_none(number: &u64) -> bool {
    *number == 0
}

impl Noted {
    /// What the metadata says.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            log_id: metadata.log.id.clone(),
            epoch: metadata.log.epoch,
            created_at: metadata.created_at,
            first_seq: metadata.range.first_seq,
            tree_size: metadata.range.tree_size,
            root_hash: metadata.root_hash,
            stored_bytes: metadata.stored().bytes,
            verified: Level::Content,
            verified_at: metadata.created_at,
            damage: None,
            uncovered: metadata.lacking(),
            bases: metadata.bases.iter().map(|base| base.id).collect(),
            lacks: metadata.lacks(),
            copies: BTreeMap::new(),
            unknown: Unknown::default(),
        }
    }

    /// Notes a check that was passed; one that is less than an earlier one only
    /// renews its time.
    pub fn passed(&mut self, level: Level, at: Timestamp) {
        self.verified = self.verified.max(level);
        self.verified_at = at;
        self.damage = None;
    }
}

impl Catalog {
    /// The directory's catalog, completed and corrected by what metadata is there.
    ///
    /// # Errors
    /// When the directory cannot be listed. [`BackupError::Newer`]. A catalog that
    /// cannot be read is no error: it is made anew.
    pub fn load(dir: &BackupDir) -> Result<Self, BackupError> {
        let mut catalog = Self::peek(&*dir.fs, dir.path())?.unwrap_or_default();
        let contents = dir.contents()?;
        catalog.backups.retain(|id, _| contents.backups.iter().any(|entry| entry.id == *id));
        for entry in &contents.backups {
            if let Ok(metadata) = &entry.metadata {
                catalog.backups.entry(entry.id).or_insert_with(|| Noted::of(metadata));
            }
        }
        Ok(catalog)
    }

    /// Changes the stored one, waiting a few seconds for whoever is at work in the
    /// directory.
    ///
    /// # Errors
    /// [`BackupError::Locked`] when that takes longer; [`BackupError::Newer`]; a file
    /// operation's.
    pub(crate) fn update(
        dir: &BackupDir,
        change: impl FnOnce(&mut Self),
    ) -> Result<(), BackupError> {
        const PATIENCE: Duration = Duration::from_secs(10);
        let until = Instant::now() + PATIENCE;
        let _lock = loop {
            match dir.lock_alone() {
                Err(BackupError::Locked { .. }) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                taken => break taken?,
            }
        };
        let mut catalog = Self::load(dir)?;
        change(&mut catalog);
        catalog.store(dir)
    }

    /// The catalog as it is stored; none when there is none that can be read.
    ///
    /// # Errors
    /// [`BackupError::Newer`]: what a newer version noted is not to be overwritten, and
    /// not to be taken for nothing.
    pub fn peek(fs: &dyn Fs, dir: &Path) -> Result<Option<Self>, BackupError> {
        let path = dir.join(CATALOG);
        let Ok(bytes) = fs.read_own(&path, MAX_CATALOG_BYTES) else { return Ok(None) };
        match decode::<Self>(Kind::CATALOG, &bytes) {
            Ok(catalog) => Ok(Some(Self { unknown: catalog.unknown.without_head(), ..catalog })),
            Err(what @ DocumentError::Newer { .. }) => Err(BackupError::Newer { path, what }),
            Err(_) => Ok(None),
        }
    }

    /// Replaces the stored one.
    ///
    /// # Errors
    /// A file operation's.
    pub fn store(&self, dir: &BackupDir) -> Result<(), BackupError> {
        let path = dir.join(CATALOG);
        let failed = io_error("write", &path);
        match encode_file(Kind::CATALOG, self, Layout::Pretty) {
            Ok(text) => fsio::replace_file(&*dir.fs, &path, &text).map_err(failed),
            Err(error) => Err(failed(io::Error::other(error))),
        }
    }

    /// The first backup that this one builds on and that is not here, or damaged.
    #[must_use]
    pub fn broken_base(&self, noted: &Noted) -> Option<BackupId> {
        let good = |id: &BackupId| self.backups.get(id).is_some_and(|base| base.damage.is_none());
        noted.bases.iter().copied().find(|id| !good(id))
    }

    /// The backup of that log that reaches furthest, and is not known to be damaged; nor is
    /// any that it builds on.
    #[must_use]
    pub fn newest(&self, log_id: Option<&str>) -> Option<(BackupId, &Noted)> {
        self.backups
            .iter()
            .filter(|(_, noted)| log_id.is_none_or(|log_id| noted.log_id == log_id))
            .filter(|(_, noted)| noted.damage.is_none() && self.broken_base(noted).is_none())
            .max_by_key(|(id, noted)| (noted.epoch, noted.tree_size, **id))
            .map(|(id, noted)| (*id, noted))
    }
}
