//! What the backups in a directory hold, as retention asks it.
//!
//! The catalog has no say here. A backup counts when its metadata carries the
//! signature of one of the log's keys, and when its archive has been read, since it
//! last changed, and had the SHA-256 that the metadata says. What was read is
//! remembered by what the system says of the file, in memory only.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Level;
use super::base::Base;
use super::check::check;
use super::directory::BackupDir;
use super::heads::{self, heads};
use super::hole::Hole;
use super::metadata::Metadata;
use super::name::{BackupId, FileKind, parse_name};
use crate::audit::files::digest::digest_while;
use crate::audit::keys::Keyring;
use crate::audit::keys::histories::KnownHead;
use crate::audit::read::watch::{Stage, Watch};
use crate::audit::tree::merkle::Hash;
use crate::audit::{BackupClaim, BackupsHold};
use crate::fsio::{FileMeta, OpenMode};

/// An archive is read so fast at most, in bytes a second: it can wait.
const PACE: u64 = 64 << 20;

/// What the backups in a directory hold.
#[derive(Debug)]
pub struct Holder {
    dir: BackupDir,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// What the metadata said in the last look, verified.
    verified: BTreeMap<String, Verified>,
    /// Archives that were read and were good, as they were then.
    whole: BTreeMap<String, Stamp>,
}

/// What is kept of a backup's verified metadata.
#[derive(Clone, Debug)]
struct Verified {
    id: BackupId,
    archive: String,
    bytes: u64,
    sha256: Hash,
    /// `None` when the metadata is signed. Else nothing is but its head, by one of
    /// these keys, and the records themselves have to hash to its root.
    unsigned: Option<(Hash, Keyring)>,
    /// The backups that it builds on.
    bases: Vec<BackupId>,
}

impl Verified {
    fn of(id: BackupId, metadata: &Metadata, keys: &Keyring) -> Self {
        let stored = metadata.stored();
        let unsigned = metadata.signature.is_none().then(|| (metadata.root_hash, keys.clone()));
        let archive = metadata.archive.file.clone();
        let bases = metadata.bases.iter().map(|base| base.id).collect();
        Self { id, archive, bytes: stored.bytes, sha256: stored.sha256, unsigned, bases }
    }
}

/// What the system says of a file; differs once the file was changed or replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    modified: std::time::SystemTime,
    changed: i128,
    sha256: Hash,
}

impl Stamp {
    fn of(meta: &FileMeta, sha256: Hash) -> Self {
        let FileMeta { device, inode, len, modified, changed, .. } = *meta;
        Self { device, inode, len, modified, changed, sha256 }
    }
}

impl Holder {
    /// Of a backup directory.
    #[must_use]
    pub fn new(dir: BackupDir) -> Self {
        Self { dir, seen: Mutex::default() }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_whole(
        &self,
        known: &Verified,
        id: &str,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> io::Result<bool> {
        let path = self.dir.join(&known.archive);
        let file = self.dir.fs.open(&path, OpenMode::ReadOwn)?;
        let before = Stamp::of(&file.meta()?, known.sha256);
        if self.seen().whole.get(id) == Some(&before) {
            return Ok(true);
        }
        if before.len != known.bytes {
            return Ok(false);
        }
        let good = match &known.unsigned {
            None => paced_sha256(&*file, go_on)? == Some(known.sha256),
            Some((root, keys)) => self.records_hash_to(known, *root, keys, go_on),
        };
        // Changed meanwhile: what was read is not what is there.
        let now = self.dir.fs.open(&path, OpenMode::ReadOwn)?.meta()?;
        if good && Stamp::of(&now, known.sha256) == before {
            self.seen().whole.insert(id.to_owned(), before);
            return Ok(true);
        }
        Ok(false)
    }

    /// Decompresses the archive. One that is encrypted cannot be told.
    fn records_hash_to(
        &self,
        known: &Verified,
        root: Hash,
        keys: &Keyring,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> bool {
        let Ok(metadata) = self.dir.metadata(known.id) else { return false };
        metadata.root_hash == root
            && metadata.encryption.is_none()
            && check(&self.dir, &metadata, Level::Content, Some(keys), None, &Until(go_on)).is_ok()
    }
}

impl BackupsHold for Holder {
    fn claims(&self, log_id: &str, keys: &Keyring) -> io::Result<Vec<BackupClaim>> {
        // An empty list and a directory that is not there are different things here.
        let names = self.dir.fs.list(self.dir.path())?;
        let mut verified: BTreeMap<String, Verified> = BTreeMap::new();
        let mut found: Vec<(BackupClaim, Vec<Base>)> = Vec::new();
        // One at a time: who may write here decides how large they are.
        for id in names.iter().filter_map(|name| match parse_name(name) {
            Some((id, FileKind::Metadata)) => Some(id),
            _ => None,
        }) {
            let Ok(metadata) = self.dir.metadata(id) else { continue };
            if metadata.log.id != log_id || metadata.verify(keys).is_err() {
                continue;
            }
            let claim = BackupClaim {
                id: id.to_string(),
                first_seq: metadata.begin(),
                tree_size: metadata.range.tree_size,
                root: metadata.root_hash,
                holes: metadata.holes.iter().map(Hole::span).collect(),
            };
            found.push((claim, metadata.bases.clone()));
            verified.insert(id.to_string(), Verified::of(id, &metadata, keys));
        }
        // What builds on an archive that is not there holds nothing.
        let is_there = |base: &Base| {
            let known = verified.get(&base.id.to_string());
            known.is_some_and(|known| (known.sha256, known.bytes) == (base.sha256, base.bytes))
        };
        let whole = found.into_iter().filter(|(_, bases)| bases.iter().all(is_there));
        let claims = whole.map(|(claim, _)| claim).collect();
        let mut seen = self.seen();
        seen.whole.retain(|id, _| verified.contains_key(id));
        seen.verified = verified;
        Ok(claims)
    }

    fn is_whole(&self, id: &str, go_on: &(dyn Fn() -> bool + Sync)) -> bool {
        let Some(known) = self.seen().verified.get(id).cloned() else { return false };
        for base in &known.bases {
            let base = base.to_string();
            let Some(known) = self.seen().verified.get(&base).cloned() else { return false };
            if !self.is_read_whole(&known, &base, go_on) {
                return false;
            }
        }
        self.is_read_whole(&known, id, go_on)
    }

    fn heads(&self, log_id: &str) -> Vec<KnownHead> {
        match heads(&*self.dir.fs, self.dir.path(), Some(log_id), heads::MAX_HEADS) {
            Ok(heads::Heads { heads, .. }) => heads,
            Err(error) => {
                tracing::debug!(%error, "the log is not compared with its backups");
                Vec::new()
            }
        }
    }
}

impl Holder {
    fn is_read_whole(&self, known: &Verified, id: &str, go_on: &(dyn Fn() -> bool + Sync)) -> bool {
        match self.read_whole(known, id, go_on) {
            Ok(whole) => {
                if !whole && go_on() {
                    tracing::warn!(backup = id, "its archive is not what its metadata says");
                }
                whole
            }
            Err(error) => {
                tracing::warn!(backup = id, %error, "its archive cannot be read");
                false
            }
        }
    }
}

/// The file's SHA-256; `None` when it was given up.
fn paced_sha256(
    file: &dyn crate::fsio::FsFile,
    go_on: &(dyn Fn() -> bool + Sync),
) -> io::Result<Option<Hash>> {
    let started = Instant::now();
    digest_while(file, |read| {
        let due = Duration::from_secs_f64(read as f64 / PACE as f64);
        if let Some(early) = due.checked_sub(started.elapsed()) {
            std::thread::sleep(early);
        }
        go_on()
    })
}

/// Interrupted once it is told not to go on.
struct Until<'a>(&'a (dyn Fn() -> bool + Sync));

impl Watch for Until<'_> {
    fn stage(&self, _: Stage, _: u64) {}
    fn advance(&self, _: u64) {}
    fn interrupted(&self) -> bool {
        !(self.0)()
    }
}
