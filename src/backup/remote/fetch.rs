//! Fetching a backup: into a directory of its own beside the local ones, checked
//! while it comes, and gone when it is not needed any more.

use std::path::{Path, PathBuf};

use super::{LOG_DIGITS, Remote, Sees, a_few_at_a_time, broken, digits, last_part};
use crate::audit::files::restore::clear;
use crate::audit::read::watch::{Stage, Watch};
use crate::backup::choice::{LogChoice, Reach, of_one_log};
use crate::backup::digest::{Digester, Digests};
use crate::backup::directory::{BackupDir, FETCHING};
use crate::backup::error::{ArchiveFault, BackupError, io_error};
use crate::backup::metadata::MAX_METADATA_BYTES;
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

    /// Fetches a backup into a directory of its own in `into`. `of` says whose backups
    /// count where the names alone do not say it.
    ///
    /// # Errors
    /// See [`BackupError`]; bytes that are not those that were sent.
    pub fn fetch(
        &self,
        wish: &RemoteWish,
        of: &LogChoice,
        into: &BackupDir,
        watch: &dyn Watch,
    ) -> Result<Fetched, BackupError> {
        let id = match wish {
            RemoteWish::Id(id) => Some(*id),
            RemoteWish::Latest => None,
        };
        // Most often it is where its name says, or where this host's backups are.
        if let Some(id) = id {
            match self.of_folder(&self.folder).fetch_id(id, into, watch) {
                Err(BackupError::NotFound { .. }) if self.sees != Sees::Folder => {}
                done => return done,
            }
        }
        let found = self.furthest(id, of, watch)?;
        self.of_folder(&found.folder).fetch_id(found.id, into, watch)
    }

    /// Fetches one of this folder.
    pub(super) fn fetch_id(
        &self,
        id: BackupId,
        into: &BackupDir,
        watch: &dyn Watch,
    ) -> Result<Fetched, BackupError> {
        let name = self.name(&id.metadata());
        let (metadata, text) = match self.metadata(&name, id, MAX_METADATA_BYTES) {
            Err(BackupError::Store(error)) if error.kind == StoreErrorKind::NotFound => {
                return self.fetch_alone(id, into, watch);
            }
            read => read?,
        };
        let own = metadata.own_keys().and_then(|own| metadata.verify(&own));
        own.map_err(|what| BackupError::Metadata { path: self.store.url(&name).into(), what })?;
        let fetched = self.place_for(id, &metadata.archive.file, into)?;
        let expected = metadata.stored();
        let found = self.fetch_archive(expected.bytes, &fetched, watch)?;
        if found != *expected {
            let what = if found.bytes == expected.bytes {
                let (expected, found) = (expected.sha256.to_string(), found.sha256.to_string());
                ArchiveFault::Checksum { expected, found }
            } else {
                ArchiveFault::Length { expected: expected.bytes, found: found.bytes }
            };
            return Err(BackupError::Archive { path: fetched.url.clone().into(), what });
        }
        let sidecar = fetched.dir.join(&id.metadata());
        fsio::replace_file(&*into.fs, &sidecar, &text).map_err(io_error("write", &sidecar))?;
        Ok(fetched)
    }

    /// An archive whose metadata is lost: it says itself what it is. All that is known of
    /// its bytes before it is read is what the store knows.
    fn fetch_alone(
        &self,
        id: BackupId,
        into: &BackupDir,
        watch: &dyn Watch,
    ) -> Result<Fetched, BackupError> {
        for encrypted in [false, true] {
            let file = id.archive(encrypted);
            let Some(object) = self.store.stat(&self.name(&file))? else { continue };
            let fetched = self.place_for(id, &file, into)?;
            let found = self.fetch_archive(object.size, &fetched, watch)?;
            let fault = |what| BackupError::Archive { path: fetched.url.clone().into(), what };
            if found.bytes != object.size {
                let (expected, found) = (object.size, found.bytes);
                return Err(fault(ArchiveFault::Foreign(format!(
                    "{found} of its {expected} bytes arrived"
                ))));
            }
            let digests = found.for_store().map_err(|why| fault(ArchiveFault::Foreign(why)))?;
            if let Some(sum) = object.checksum.filter(|sum| digests.agree(sum) == Some(false)) {
                let what =
                    format!("the store's own checksum of it is {sum}, and other bytes arrived");
                return Err(fault(ArchiveFault::Foreign(what)));
            }
            return Ok(fetched);
        }
        Err(BackupError::NotFound { wanted: id.to_string(), place: self.place().into() })
    }

    /// A directory of its own for what is fetched.
    fn place_for(
        &self,
        id: BackupId,
        archive: &str,
        into: &BackupDir,
    ) -> Result<Fetched, BackupError> {
        let fs = &into.fs;
        let made = fsio::make_dirs(&**fs, into.path());
        made.map_err(io_error("make the directory", into.path()))?;
        let lock = into.lock_shared().ok();
        let place = fsio::temporary_name(&into.join(&format!("{FETCHING}{id}")));
        fs.create_dir_new(&place).map_err(io_error("make the directory", &place))?;
        let dir = BackupDir::new(fs.clone(), &place);
        let url = self.store.url(&self.name(archive));
        Ok(Fetched { archive: dir.join(archive), dir, id, url, _lock: lock })
    }

    fn fetch_archive(
        &self,
        bytes: u64,
        fetched: &Fetched,
        watch: &dyn Watch,
    ) -> Result<Digests, BackupError> {
        let fs = &fetched.dir.fs;
        let path = &fetched.archive;
        let available =
            fs.space(fetched.dir.path()).map_err(io_error("ask for space at", path))?.available;
        if available < bytes {
            let path = fetched.dir.path().to_path_buf();
            return Err(BackupError::NoSpace { path, needed: bytes, available });
        }
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let name = self.name(&file);
        let mut body = self.store.open(&name, None, 0)?;
        let file = fs.open(path, OpenMode::CreateNew).map_err(io_error("make", path))?;
        watch.stage(Stage::Download, bytes);
        let mut digester = Digester::default();
        let mut buffer = vec![0; 256 << 10];
        let mut at = 0;
        loop {
            if watch.interrupted() {
                return Err(BackupError::Interrupted);
            }
            let read =
                body.read(&mut buffer).map_err(|error| broken(&*self.store, &name, error))?;
            if read == 0 || at > bytes {
                return Ok(digester.finish());
            }
            digester.update(&buffer[..read]);
            file.write_all_at(&buffer[..read], at).map_err(io_error("write", path))?;
            at += read as u64;
            watch.advance(read as u64);
        }
    }

    /// The whole backup that reaches furthest, of the one log that there is; of those with
    /// an id, if one is named.
    fn furthest(
        &self,
        id: Option<BackupId>,
        of: &LogChoice,
        watch: &dyn Watch,
    ) -> Result<Reach, BackupError> {
        let wanted = of.id();
        let mut names: Vec<(String, BackupId)> = Vec::new();
        self.visit(&mut |folder, file, _| {
            if let Some((found, FileKind::Metadata)) = parse_name(file)
                && id.is_none_or(|id| id == found)
                && wanted.as_ref().is_none_or(|log| may_be_of(folder, log))
            {
                names.push((folder.to_owned(), found));
            }
            Ok(names.len())
        })?;
        let looked = a_few_at_a_time(&names, watch, &|(folder, id)| {
            let there = self.of_folder(folder);
            let name = there.name(&id.metadata());
            match there.metadata(&name, *id, MAX_METADATA_BYTES) {
                Ok((metadata, _)) => match of.admits(&metadata) {
                    Ok(counts) => Ok(Ok(counts.then(|| Reach::of(&metadata, folder)))),
                    Err(what) => {
                        let error = BackupError::metadata(self.store.url(&name), what);
                        tracing::warn!(%error, "not counted");
                        Ok(Err(Some(error)))
                    }
                },
                Err(error @ (BackupError::Store(_) | BackupError::Interrupted)) => Err(error),
                Err(error) => {
                    tracing::warn!(%error, "not looked at");
                    Ok(Err(error.is_newer().then_some(error)))
                }
            }
        })?;
        let (mut found, mut refused) = (Vec::new(), None);
        for one in looked {
            match one {
                Ok(reach) => found.extend(reach),
                Err(error) => refused = error.or(refused),
            }
        }
        let place = self.place();
        for reach in of_one_log(found, place.clone().into(), &|folder| self.store.url(folder))? {
            let name = format!("{}{}", reach.folder, reach.archive);
            let there = self.store.stat(&name)?;
            if there.is_some_and(|object| object.size == reach.bytes) {
                return Ok(reach);
            }
            let error =
                StoreError::new(StoreErrorKind::NotFound, self.store.url(&name), "is not whole");
            tracing::warn!(%error, "not the latest");
        }
        let wanted = id.map_or_else(|| of.wanted(), |id| id.to_string());
        // What cannot be read, or is not counted, may be what is looked for.
        Err(refused.unwrap_or_else(|| BackupError::NotFound { wanted, place: place.into() }))
    }
}

/// Whether a folder's name allows that it holds backups of a log whose id begins so. One
/// that is named in no such way may hold any.
fn may_be_of(folder: &str, log: &str) -> bool {
    let part = last_part(folder);
    part.len() != LOG_DIGITS || {
        let log = digits(log);
        part.starts_with(&log) || log.starts_with(part)
    }
}
