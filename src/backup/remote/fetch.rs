//! Fetching a backup: into a directory of its own beside the local ones, checked
//! while it comes, and gone when it is not needed any more.

use std::path::{Path, PathBuf};

use super::{LOG_DIGITS, Remote, Sees, a_few_at_a_time, broken, digits, last_part};
use crate::audit::read::watch::{Stage, Watch};
use crate::backup::base::Base;
use crate::backup::choice::{LogChoice, Reach, of_one_log};
use crate::backup::digest::{Digester, Digests};
use crate::backup::directory::{BackupDir, FetchPlace};
use crate::backup::error::{ArchiveFault, BackupError, io_error};
use crate::backup::metadata::{MAX_METADATA_BYTES, MetadataError};
use crate::backup::name::{BackupId, FileKind, parse_name};
use crate::fsio::{self, Fs, OpenMode};
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
    _place: FetchPlace,
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

    /// Fetches one of this folder, and what it builds on, which lies there as well.
    pub(super) fn fetch_id(
        &self,
        id: BackupId,
        into: &BackupDir,
        watch: &dyn Watch,
    ) -> Result<Fetched, BackupError> {
        let fetched = self.fetch_one(id, into, watch)?;
        let bases = match fetched.dir.metadata(id) {
            Ok(metadata) => metadata.bases,
            // Its metadata is lost: the archive itself says on which it builds.
            Err(BackupError::NotFound { .. }) => bases_of_archive(&fetched),
            Err(error) => return Err(error),
        };
        for base in &bases {
            self.fetch_base(base, &fetched, watch).map_err(|error| match error {
                BackupError::Interrupted | BackupError::NoSpace { .. } => error,
                BackupError::Store(store) if store.kind != StoreErrorKind::NotFound => {
                    BackupError::Store(store)
                }
                error => BackupError::Base {
                    backup: id.to_string(),
                    base: base.id,
                    place: self.place().into(),
                    why: error.to_string(),
                },
            })?;
        }
        Ok(fetched)
    }

    fn fetch_base(
        &self,
        base: &Base,
        fetched: &Fetched,
        watch: &dyn Watch,
    ) -> Result<(), BackupError> {
        let name = self.name(&base.id.metadata());
        let (metadata, text) = self.metadata(&name, base.id, MAX_METADATA_BYTES)?;
        let url = self.store.url(&name);
        if metadata.as_base() != *base {
            let what = "what lies there under its name is another backup".to_owned();
            let what = MetadataError::Contradiction(what);
            return Err(BackupError::Metadata { path: url.into(), what });
        }
        let archive = fetched.dir.join(&base.file);
        let found = self.fetch_archive(base.bytes, (&*fetched.dir.fs, &archive), watch)?;
        self.compare(&found, metadata.stored(), &base.file)?;
        let sidecar = fetched.dir.join(&base.id.metadata());
        let fs = &*fetched.dir.fs;
        fsio::replace_file(fs, &sidecar, &text).map_err(io_error("write", &sidecar))
    }

    /// Whether what came is what was sent.
    fn compare(&self, found: &Digests, expected: &Digests, file: &str) -> Result<(), BackupError> {
        if found == expected {
            return Ok(());
        }
        let what = if found.bytes == expected.bytes {
            let (expected, found) = (expected.sha256.to_string(), found.sha256.to_string());
            ArchiveFault::Checksum { expected, found }
        } else {
            ArchiveFault::Length { expected: expected.bytes, found: found.bytes }
        };
        let path = self.store.url(&self.name(file)).into();
        Err(BackupError::Archive { path, what })
    }

    /// Fetches one of this folder, and nothing that it builds on.
    pub(super) fn fetch_one(
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
        let found = self.fetch_archive(expected.bytes, (&*into.fs, &fetched.archive), watch)?;
        self.compare(&found, expected, &metadata.archive.file)?;
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
            let found = self.fetch_archive(object.size, (&*into.fs, &fetched.archive), watch)?;
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
        let place = into.fetch_place(&id.to_string())?;
        let dir = BackupDir::new(into.fs.clone(), place.path());
        let url = self.store.url(&self.name(archive));
        Ok(Fetched { archive: dir.join(archive), dir, id, url, _place: place })
    }

    fn fetch_archive(
        &self,
        bytes: u64,
        (fs, path): (&dyn Fs, &Path),
        watch: &dyn Watch,
    ) -> Result<Digests, BackupError> {
        let place = fsio::parent(path);
        let available = fs.space(&place).map_err(io_error("ask for space at", path))?.available;
        if available < bytes {
            let path = place;
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

    /// Whether the archives are there that a backup builds on.
    fn has_bases(&self, reach: &Reach) -> Result<bool, BackupError> {
        for base in &reach.bases {
            let object = self.store.stat(&format!("{}{}", reach.folder, base.file))?;
            if object.is_none_or(|object| object.size != base.bytes) {
                return Ok(false);
            }
        }
        Ok(true)
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
            if there.is_some_and(|object| object.size == reach.bytes) && self.has_bases(&reach)? {
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

/// What an archive that was fetched says that it builds on; nothing where it says nothing
/// that can be read without the private key: opening it says why.
fn bases_of_archive(fetched: &Fetched) -> Vec<Base> {
    crate::backup::source::bases_of(fetched.dir(), &fetched.archive).unwrap_or_default()
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
