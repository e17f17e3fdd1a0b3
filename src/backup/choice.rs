//! Whose backup is taken, where those of several logs may lie together.
//!
//! The names of folders, the host and the log's id are what somebody has written there. Two logs
//! are told apart by the id together with the first key that leads to the one that signed: nobody can
//! sign under that key, nor lead from it to another one, who does not have it. (A key that was
//! replaced without a signature leads nowhere.) So whoever plants a backup that claims a log's id
//! makes a second log of that id, which is shown, and never takes the place of the first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::base::Base;
use super::error::BackupError;
use super::found_log::FoundLog;
use super::inventory::is_of;
use super::metadata::{Metadata, MetadataError};
use super::name::BackupId;
use crate::audit::LogPaths;
use crate::audit::keys::signer::SigningKey;
use crate::audit::keys::{Keyring, load_keyring};
use crate::clock::Timestamp;
use crate::fsio::Fs;

/// Which log's backups count.
#[derive(Clone, Debug, Default)]
pub struct LogChoice {
    /// The log's id, or its beginning, as somebody asked for it.
    pub log: Option<String>,
    /// The log's keys, where they are known from elsewhere than the backups: only what they
    /// signed counts then.
    pub keys: Option<Keyring>,
}

impl LogChoice {
    /// Whether a backup counts.
    ///
    /// # Errors
    /// It says that it is of a log that is wanted, and its signatures do not.
    pub(crate) fn admits(&self, metadata: &Metadata) -> Result<bool, MetadataError> {
        if self.log.as_ref().is_some_and(|log| !metadata.log.id.starts_with(log.as_str())) {
            return Ok(false);
        }
        if self.keys.as_ref().is_some_and(|keys| !is_of(keys, metadata)) {
            return Ok(false);
        }
        let own = metadata.own_keys()?;
        metadata.verify(self.keys.as_ref().unwrap_or(&own)).map(|_| true)
    }

    /// What is looked for, as an error names it.
    pub(crate) fn wanted(&self) -> String {
        match self.id() {
            Some(log) => format!("of log {log} that is whole"),
            None => "that is whole".to_owned(),
        }
    }

    /// The log's id, or its beginning, as far as it is known.
    pub(crate) fn id(&self) -> Option<String> {
        let of_keys = self.keys.as_ref().and_then(|keys| keys.newest().log_id());
        self.log.clone().or(of_keys)
    }
}

/// The log's keys, as far as they are in its directory, or its signing key is where it is
/// looked for: also where there is no log yet.
#[must_use]
pub fn keys_at_hand(fs: &dyn Fs, log_dir: &Path, key_path: Option<&Path>) -> Option<Keyring> {
    let paths = LogPaths::new(log_dir);
    let public = load_keyring(fs, &paths, None).ok();
    public.or_else(|| {
        let path = key_path.map_or_else(|| paths.key(), Path::to_path_buf);
        SigningKey::load(fs, &path).ok().map(|key| key.verifier().clone().into())
    })
}

/// How far a backup reaches, and what is needed to look at it. Metadata are large: they
/// are not kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reach {
    epoch: u32,
    tree_size: u64,
    /// Of two that reach as far the one that lacks less is taken.
    lacks: Reverse<u64>,
    /// Of two that reach as far the signed one is taken: what is not signed may be made up.
    signed: bool,
    pub(crate) id: BackupId,
    /// The folder in the store, or the directory.
    pub(crate) folder: String,
    log: (String, String),
    host: String,
    newest_record: Timestamp,
    pub(crate) archive: String,
    pub(crate) bytes: u64,
    encrypted: bool,
    /// What it builds on.
    pub(crate) bases: Vec<Base>,
}

impl Reach {
    pub(crate) fn of(metadata: &Metadata, folder: &str) -> Self {
        let key = metadata.own_keys().map(|keys| keys.vouching().to_string());
        Self {
            epoch: metadata.log.epoch,
            tree_size: metadata.range.tree_size,
            lacks: Reverse(metadata.lacks()),
            signed: metadata.signature.is_some(),
            id: metadata.id,
            folder: folder.to_owned(),
            log: (metadata.log.id.clone(), key.unwrap_or_default()),
            host: metadata.host.clone(),
            newest_record: metadata.range.max_timestamp,
            archive: metadata.archive.file.clone(),
            bytes: metadata.stored().bytes,
            encrypted: metadata.encryption.is_some(),
            bases: metadata.bases.clone(),
        }
    }
}

/// Which log a backup is of: its id, and the key that vouches for the one that signed it.
pub(crate) fn log_of(metadata: &Metadata) -> (String, String) {
    let key = metadata.own_keys().map(|keys| keys.vouching().to_string());
    (metadata.log.id.clone(), key.unwrap_or_default())
}

/// The backups of the one log that there is, the one that reaches furthest first. `url`
/// shows a folder.
///
/// # Errors
/// [`BackupError::SeveralLogs`].
pub(crate) fn of_one_log(
    mut found: Vec<Reach>,
    place: PathBuf,
    url: &dyn Fn(&str) -> String,
) -> Result<Vec<Reach>, BackupError> {
    found.sort_by(|a, b| b.cmp(a));
    let mut logs: BTreeMap<(String, String), FoundLog> = BTreeMap::new();
    for reach in &found {
        let log = logs.entry(reach.log.clone()).or_insert_with(|| FoundLog {
            log_id: reach.log.0.clone(),
            key: reach.log.1.clone(),
            hosts: BTreeSet::new(),
            backups: 0,
            newest: reach.id,
            place: url(&reach.folder),
            newest_record: reach.newest_record,
            tree_size: reach.tree_size,
            stored_bytes: reach.bytes,
            encrypted: reach.encrypted,
        });
        log.backups += 1;
        log.hosts.insert(reach.host.clone());
    }
    if logs.len() > 1 {
        return Err(BackupError::SeveralLogs { place, logs: logs.into_values().collect() });
    }
    Ok(found)
}
