//! Fetching a backup: into a directory of its own beside the local ones, checked
//! while it comes, and gone when it is not needed any more.

use std::path::{Path, PathBuf};

use super::{Remote, broken};
use crate::audit::restore::clear;
use crate::audit::watch::{Stage, Watch};
use crate::backup::digest::Digester;
use crate::backup::directory::{BackupDir, FETCHING};
use crate::backup::error::{ArchiveFault, BackupError, io_error};
use crate::backup::metadata::{MAX_METADATA_BYTES, Metadata};
use crate::backup::name::{BackupId, FileKind, parse_name};
use crate::fsio::lock::FileLock;
use crate::fsio::{self, OpenMode};
use crate::store::{StoreError, StoreErrorKind};

/// Which backup of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteWish {
    /// The one that reaches furthest, of those that are whole.
    Latest,
    /// By its id.
    Id(BackupId),
}

/// A backup that was fetched. Its files go when this is dropped.
#[derive(Debug)]
pub struct Fetched {
    dir: BackupDir,
    id: BackupId,
    archive: PathBuf,
    /// Where it came from.
    pub url: String,
    /// A later run must not take it for a leftover.
    _lock: Option<FileLock>,
}

impl Fetched {
    /// The directory that holds it.
    #[must_use]
    pub fn dir(&self) -> &BackupDir {
        &self.dir
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> BackupId {
        self.id
    }

    /// Its archive.
    #[must_use]
    pub fn archive(&self) -> &Path {
        &self.archive
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        clear(&*self.dir.fs, self.dir.path());
    }
}

impl Remote {
    /// Reads `…/latest`, `…/20260204_210940`, or the name of either file of a
    /// backup as a wish.
    #[must_use]
    pub fn wish(name: &str) -> Option<RemoteWish> {
        if name == "latest" {
            return Some(RemoteWish::Latest);
        }
        if let Ok(id) = name.parse() {
            return Some(RemoteWish::Id(id));
        }
        match parse_name(name)? {
            (id, FileKind::Metadata | FileKind::Archive(_)) => Some(RemoteWish::Id(id)),
            _ => None,
        }
    }

    /// This folder, when it is named by the store's own prefix.
    #[must_use]
    pub fn here(store: std::sync::Arc<dyn crate::store::BackupStore>) -> Self {
        Self::everything(store)
    }

    /// Fetches a backup into a directory of its own in `into`.
    ///
    /// # Errors
    /// See [`BackupError`]; bytes that are not those that were sent.
    pub fn fetch(
        &self,
        wish: &RemoteWish,
        into: &BackupDir,
        watch: &dyn Watch,
    ) -> Result<Fetched, BackupError> {
        let id = match wish {
            RemoteWish::Id(id) => *id,
            RemoteWish::Latest => self.latest()?,
        };
        let name = self.name(&id.metadata());
        let (metadata, text) =
            self.metadata(&name, id, MAX_METADATA_BYTES).map_err(|error| match error {
                BackupError::Store(error) if error.kind == StoreErrorKind::NotFound => {
                    BackupError::NotFound { wanted: id.to_string(), place: self.place().into() }
                }
                error => error,
            })?;
        let own = metadata.own_keys().and_then(|own| metadata.verify(&own));
        own.map_err(|what| BackupError::Metadata { path: self.store.url(&name).into(), what })?;

        let fs = &into.fs;
        fs.create_dir_all(into.path()).map_err(io_error("make the directory", into.path()))?;
        let lock = into.lock_shared().ok();
        let place = fsio::temporary_name(&into.join(&format!("{FETCHING}{id}")));
        fs.create_dir_new(&place).map_err(io_error("make the directory", &place))?;
        let dir = BackupDir::new(fs.clone(), &place);
        let archive = dir.join(&metadata.archive.file);
        let url = self.store.url(&self.name(&metadata.archive.file));
        let fetched = Fetched { dir, id, archive, url, _lock: lock };
        self.fetch_archive(&metadata, &fetched, watch)?;
        let sidecar = fetched.dir.join(&id.metadata());
        fsio::replace_file(&**fs, &sidecar, &text).map_err(io_error("write", &sidecar))?;
        Ok(fetched)
    }

    fn fetch_archive(
        &self,
        metadata: &Metadata,
        fetched: &Fetched,
        watch: &dyn Watch,
    ) -> Result<(), BackupError> {
        let fs = &fetched.dir.fs;
        let path = &fetched.archive;
        let expected = metadata.stored();
        let available =
            fs.space(fetched.dir.path()).map_err(io_error("ask for space at", path))?.available;
        if available < expected.bytes {
            let path = fetched.dir.path().to_path_buf();
            return Err(BackupError::NoSpace { path, needed: expected.bytes, available });
        }
        let name = self.name(&metadata.archive.file);
        let mut body = self.store.open(&name, None, 0)?;
        let file = fs.open(path, OpenMode::CreateNew).map_err(io_error("make", path))?;
        watch.stage(Stage::Download, expected.bytes);
        let mut digester = Digester::default();
        let mut buffer = vec![0; 256 << 10];
        let mut at = 0;
        loop {
            if watch.interrupted() {
                return Err(BackupError::Interrupted);
            }
            let read =
                body.read(&mut buffer).map_err(|error| broken(&*self.store, &name, error))?;
            if read == 0 || at > expected.bytes {
                break;
            }
            digester.update(&buffer[..read]);
            file.write_all_at(&buffer[..read], at).map_err(io_error("write", path))?;
            at += read as u64;
            watch.advance(read as u64);
        }
        let found = digester.finish();
        if found == *expected {
            return Ok(());
        }
        let what = if found.bytes == expected.bytes {
            let (expected, found) = (expected.sha256.to_string(), found.sha256.to_string());
            ArchiveFault::Checksum { expected, found }
        } else {
            ArchiveFault::Length { expected: expected.bytes, found: found.bytes }
        };
        Err(BackupError::Archive { path: fetched.url.clone().into(), what })
    }

    /// The whole backup that reaches furthest.
    fn latest(&self) -> Result<BackupId, BackupError> {
        let mut ids = Vec::new();
        self.visit(&mut |object| {
            let file = object.name.strip_prefix(self.folder.as_str());
            if let Some((id, FileKind::Metadata)) = file.and_then(parse_name) {
                ids.push(id);
            }
            Ok(ids.len())
        })?;
        let mut found: Vec<Reach> = Vec::new();
        let mut newer = None;
        for id in ids {
            match self.metadata(&self.name(&id.metadata()), id, MAX_METADATA_BYTES) {
                Ok((metadata, _)) => found.push(Reach::of(&metadata, id)),
                Err(error @ (BackupError::Store(_) | BackupError::Interrupted)) => {
                    return Err(error);
                }
                Err(error) => {
                    tracing::warn!(%error, "not looked at");
                    newer = newer.or(error.is_newer().then_some(error));
                }
            }
        }
        found.sort();
        let logs: std::collections::BTreeSet<&str> =
            found.iter().map(|reach| reach.log.as_str()).collect();
        if logs.len() > 1 {
            let message =
                format!("{} holds backups of {} logs: say which", self.place(), logs.len());
            return Err(BackupError::Usage(message));
        }
        while let Some(reach) = found.pop() {
            let name = self.name(&reach.archive);
            let there = self.store.stat(&name)?;
            if there.is_some_and(|object| object.size == reach.bytes) {
                return Ok(reach.id);
            }
            let error =
                StoreError::new(StoreErrorKind::NotFound, self.store.url(&name), "is not whole");
            tracing::warn!(%error, "not the latest");
        }
        // That there is none which this version can read says nothing of the rest.
        Err(newer.unwrap_or_else(|| BackupError::NotFound {
            wanted: "that is whole".to_owned(),
            place: self.place().into(),
        }))
    }
}

/// How far a backup reaches, and what is needed to look at it. Metadata are large: they
/// are not kept.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Reach {
    epoch: u32,
    tree_size: u64,
    id: BackupId,
    log: String,
    archive: String,
    bytes: u64,
}

impl Reach {
    fn of(metadata: &Metadata, id: BackupId) -> Self {
        Self {
            epoch: metadata.log.epoch,
            tree_size: metadata.range.tree_size,
            id,
            log: metadata.log.id.clone(),
            archive: metadata.archive.file.clone(),
            bytes: metadata.stored().bytes,
        }
    }
}
