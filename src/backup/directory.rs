//! A directory of backups: what is in it, who may change it, and what a crash
//! left in it.
//!
//! A backup is there when its metadata is. Metadata comes last and goes first: by
//! a rename to a temporary name, so that an archive whose metadata has only such
//! a name is known to be ours and no backup, and the next run removes both. An
//! archive with no metadata at all may be all that somebody has left: it is shown,
//! and never removed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::error::{ArchiveFault, BackupError, io_error};
use super::marker::{MAX_MARKER_BYTES, Marker};
use super::metadata::{MAX_METADATA_BYTES, Metadata, MetadataError};
use super::name::{BackupId, FileKind, parse_name};
use crate::audit::keys::Keyring;
use crate::fsio::lock::{FileLock, try_lock, try_lock_shared};
use crate::fsio::{self, OpenMode, SharedFs};

/// Our own files in a backup directory that are no backups.
pub(crate) const LOCK: &str = "backups.lock";
pub(crate) const CATALOG: &str = ".catalog.json";
pub(crate) const DRILL: &str = "audit_drill_";
/// A directory for what is fetched from elsewhere, for as long as it is needed.
pub(crate) const FETCHING: &str = ".fetch-";

/// A directory of backups.
#[derive(Clone, Debug)]
pub struct BackupDir {
    pub(crate) fs: SharedFs,
    path: PathBuf,
}

/// A backup whose metadata is there.
#[derive(Debug)]
pub struct Entry {
    /// Its id, by name.
    pub id: BackupId,
    /// Its metadata; or why it cannot be used.
    pub metadata: Result<Metadata, BackupError>,
    /// The archive's length; none when there is no archive.
    pub stored_bytes: Option<u64>,
    /// Whether it is kept from cleanup.
    pub pinned: bool,
}

/// A directory of its own for what is fetched from elsewhere. It goes when this is dropped.
#[derive(Debug)]
pub struct FetchPlace {
    fs: SharedFs,
    path: PathBuf,
    /// A later run must not take it for a leftover.
    _lock: Option<FileLock>,
}

impl FetchPlace {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for FetchPlace {
    fn drop(&mut self) {
        crate::audit::files::restore::clear(&*self.fs, &self.path);
    }
}

/// What is in a directory.
#[derive(Debug, Default)]
pub struct Contents {
    /// Backups, by id.
    pub backups: Vec<Entry>,
    /// Archives without metadata.
    pub orphans: Vec<String>,
    /// What a crash left, and the next run removes.
    pub leftovers: Vec<String>,
    /// Files of somebody else.
    pub foreign: Vec<String>,
}

impl BackupDir {
    /// Of a path; looks at nothing yet.
    #[must_use]
    pub fn new(fs: SharedFs, path: &Path) -> Self {
        Self { fs, path: path.to_path_buf() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// For changing what is in it. The directory is made when it is not there.
    ///
    /// # Errors
    /// [`BackupError::Locked`] and [`BackupError::Io`].
    pub fn lock_alone(&self) -> Result<FileLock, BackupError> {
        fsio::make_dirs(&*self.fs, &self.path)
            .map_err(io_error("make the directory", &self.path))?;
        self.taken(try_lock(&self.join(LOCK)))
    }

    /// For reading what must not go meanwhile.
    ///
    /// # Errors
    /// As [`lock_alone`](Self::lock_alone).
    pub fn lock_shared(&self) -> Result<FileLock, BackupError> {
        self.taken(try_lock_shared(&self.join(LOCK)))
    }

    fn taken(&self, lock: io::Result<Option<FileLock>>) -> Result<FileLock, BackupError> {
        let path = self.join(LOCK);
        match lock {
            Ok(Some(lock)) => Ok(lock),
            Ok(None) => Err(BackupError::Locked { path }),
            Err(source) => Err(BackupError::Io { action: "lock", path, source }),
        }
    }

    /// File names in it, sorted; none when the directory is not there.
    fn names(&self) -> Result<Vec<String>, BackupError> {
        match self.fs.list(&self.path) {
            Ok(names) => Ok(names),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(io_error("list", &self.path)(error)),
        }
    }

    /// The ids that files there have by their names.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub(crate) fn ids(&self) -> Result<BTreeSet<BackupId>, BackupError> {
        Ok(self.names()?.iter().filter_map(|name| parse_name(name)).map(|(id, _)| id).collect())
    }

    /// Everything in it, each metadata read.
    ///
    /// # Errors
    /// When the directory cannot be listed: a listing is whole or none.
    pub fn contents(&self) -> Result<Contents, BackupError> {
        let names = self.names()?;
        let mut ours: BTreeMap<BackupId, Vec<(FileKind, &String)>> = BTreeMap::new();
        let mut contents = Contents::default();
        for name in &names {
            match parse_name(name) {
                Some((id, kind)) => ours.entry(id).or_default().push((kind, name)),
                None if name.starts_with(CATALOG) || name == LOCK => {}
                None if name.starts_with(DRILL) => {}
                None if name.starts_with(FETCHING) => contents.leftovers.push(name.clone()),
                None => contents.foreign.push(name.clone()),
            }
        }
        for (id, files) in ours {
            let has = |wanted: FileKind| files.iter().any(|(kind, _)| *kind == wanted);
            let committed = has(FileKind::Metadata);
            for (kind, name) in &files {
                match kind {
                    FileKind::Uncommitted | FileKind::Temporary => {
                        contents.leftovers.push((*name).clone());
                    }
                    FileKind::Archive(_) if committed => {}
                    FileKind::Archive(_) if has(FileKind::Uncommitted) => {
                        contents.leftovers.push((*name).clone());
                    }
                    FileKind::Archive(_) => contents.orphans.push((*name).clone()),
                    FileKind::Upload if committed => {}
                    FileKind::Upload => contents.leftovers.push((*name).clone()),
                    FileKind::Metadata | FileKind::Pin => {}
                }
            }
            if committed {
                contents.backups.push(self.entry(id, has(FileKind::Pin)));
            }
        }
        Ok(contents)
    }

    fn entry(&self, id: BackupId, pinned: bool) -> Entry {
        let metadata = self.metadata(id);
        // Metadata that cannot be read does not say which of the two names it has.
        let kinds: &[bool] = match &metadata {
            Ok(metadata) if metadata.encryption.is_some() => &[true],
            Ok(_) => &[false],
            Err(_) => &[false, true],
        };
        let stored_bytes = kinds.iter().find_map(|encrypted| {
            let archive = self.join(&id.archive(*encrypted));
            self.fs.entry(&archive).ok().filter(|meta| meta.is_file).map(|meta| meta.len)
        });
        Entry { id, metadata, stored_bytes, pinned }
    }

    /// A backup's metadata, its form checked and nothing else.
    ///
    /// # Errors
    /// [`BackupError::NotFound`], [`BackupError::Metadata`], [`BackupError::Io`].
    pub fn metadata(&self, id: BackupId) -> Result<Metadata, BackupError> {
        let path = self.join(&id.metadata());
        let bytes = match fsio::read_text(&*self.fs, &path, MAX_METADATA_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let place = self.path.clone();
                return Err(BackupError::NotFound { wanted: id.to_string(), place });
            }
            // It could be read, and is no metadata; or it is a link, a pipe, a directory that
            // somebody put there, which will not be metadata later either.
            Err(error)
                if [io::ErrorKind::InvalidData, io::ErrorKind::InvalidInput]
                    .contains(&error.kind()) =>
            {
                let what = MetadataError::Altered(format!("it is not backup metadata: it {error}"));
                return Err(BackupError::Metadata { path, what });
            }
            // However opening it fails: a link, a socket, a device is no metadata.
            Err(_) if self.fs.entry(&path).is_ok_and(|meta| !meta.is_file) => {
                let what = "it is no metadata: it is not a regular file".to_owned();
                return Err(BackupError::Metadata { path, what: MetadataError::Altered(what) });
            }
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        Metadata::parse(&bytes, id).map_err(|what| BackupError::metadata(path, what))
    }

    /// Removes what a crash left. The caller has the directory alone.
    ///
    /// # Errors
    /// A file operation's.
    pub fn clear_leftovers(&self) -> Result<(), BackupError> {
        let names = self.names()?;
        let leftovers = self.contents()?.leftovers;
        let (metadata, rest): (Vec<String>, Vec<String>) = leftovers
            .into_iter()
            .partition(|name| matches!(parse_name(name), Some((_, FileKind::Uncommitted))));
        let catalogs = names.into_iter().filter(|name| name.starts_with(".catalog.json.tmp-"));
        // The metadata last: while it is there, the archive is known to be a leftover.
        for name in rest.into_iter().chain(metadata).chain(catalogs) {
            // Who can write here can put anything under such a name: it stops no backup.
            let is_dir = name.starts_with(FETCHING);
            match self.fs.entry(&self.join(&name)) {
                Ok(meta) if meta.is_file || is_dir => self.remove_file(&name)?,
                Ok(_) => tracing::warn!(name, "no regular file, and left where it is"),
                Err(error) => tracing::debug!(name, %error, "gone already"),
            }
        }
        Ok(())
    }

    fn remove_file(&self, name: &str) -> Result<(), BackupError> {
        let path = self.join(name);
        if name.starts_with(FETCHING) {
            crate::audit::files::restore::clear(&*self.fs, &path);
            return Ok(());
        }
        match self.fs.remove(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io_error("remove", &path)(error)),
        }
        self.fs.sync_dir(&self.path).map_err(io_error("sync", &self.path))
    }

    /// A directory in this one for what is fetched from elsewhere.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn fetch_place(&self, of: &str) -> Result<FetchPlace, BackupError> {
        let made = fsio::make_dirs(&*self.fs, &self.path);
        made.map_err(io_error("make the directory", &self.path))?;
        let lock = self.lock_shared().ok();
        let path = fsio::temporary_name(&self.join(&format!("{FETCHING}{of}")));
        self.fs.create_dir_new(&path).map_err(io_error("make the directory", &path))?;
        Ok(FetchPlace { fs: self.fs.clone(), path, _lock: lock })
    }

    /// Removes a backup: it is gone as a whole once its metadata has its other
    /// name. The caller has the directory alone.
    ///
    /// # Errors
    /// A file operation's; what is left is then removed by the next run.
    pub fn remove(&self, id: BackupId) -> Result<(), BackupError> {
        let metadata = self.join(&id.metadata());
        let uncommitted = fsio::temporary_name(&metadata);
        self.fs.rename(&metadata, &uncommitted).map_err(io_error("rename", &metadata))?;
        self.fs.sync_dir(&self.path).map_err(io_error("sync", &self.path))?;
        for encrypted in [false, true] {
            self.remove_file(&id.archive(encrypted))?;
        }
        let name = uncommitted.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.remove_file(&name)
    }

    /// Keeps a backup from being cleaned up, or lets it go again.
    ///
    /// # Errors
    /// [`BackupError::NotFound`], [`BackupError::Io`].
    pub fn pin(&self, id: BackupId, pinned: bool) -> Result<(), BackupError> {
        self.fs.meta(&self.join(&id.metadata())).map_err(|_| BackupError::NotFound {
            wanted: id.to_string(),
            place: self.path.clone(),
        })?;
        if pinned {
            let path = self.join(&id.pin());
            return fsio::replace_file(&*self.fs, &path, b"").map_err(io_error("write", &path));
        }
        self.remove_file(&id.pin())
    }

    /// Puts a backup in place: the archive gets its name, then the metadata does.
    /// The caller has the directory alone and has made both durable.
    ///
    /// # Errors
    /// A file operation's; the next run removes what is left.
    pub(crate) fn commit(
        &self,
        metadata: &Metadata,
        archive: &Path,
        sidecar: &Path,
    ) -> Result<(), BackupError> {
        let named = self.join(&metadata.archive.file);
        self.fs.rename(archive, &named).map_err(io_error("name", &named))?;
        self.fs.sync_dir(&self.path).map_err(io_error("sync", &self.path))?;
        let path = self.join(&metadata.id.metadata());
        self.fs.rename(sidecar, &path).map_err(io_error("name", &path))?;
        self.fs.sync_dir(&self.path).map_err(io_error("sync", &self.path))
    }

    /// The check `listed`: metadata and archive belong together, as far as can be
    /// told without reading the archive: its length, its marker, the signatures.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check_listed(
        &self,
        metadata: &Metadata,
        keys: Option<&Keyring>,
    ) -> Result<(), BackupError> {
        let path = self.join(&metadata.id.metadata());
        let bad = |what| BackupError::Metadata { path: path.clone(), what };
        let own = metadata.own_keys().map_err(bad)?;
        metadata.verify(keys.unwrap_or(&own)).map_err(bad)?;
        let path = self.join(&metadata.archive.file);
        let file = self.fs.open(&path, OpenMode::ReadOwn).map_err(io_error("open", &path))?;
        let found = file.meta().map_err(io_error("look at", &path))?.len;
        let expected = metadata.stored().bytes;
        let fault = |what| BackupError::Archive { path: path.clone(), what };
        if found != expected {
            return Err(fault(ArchiveFault::Length { expected, found }));
        }
        if metadata.encryption.is_some() {
            return Ok(());
        }
        let from = metadata.marker_offset();
        let length = found.saturating_sub(from).min(MAX_MARKER_BYTES as u64);
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, from).map_err(io_error("read", &path))?;
        let marker =
            Marker::parse(&bytes).map_err(|error| BackupError::marker(path.clone(), error))?;
        let same = marker.log_id == metadata.log.id
            && marker.epoch == metadata.log.epoch
            && marker.tree_size == metadata.range.tree_size
            && marker.root_hash == metadata.root_hash;
        if same {
            return Ok(());
        }
        let what = format!("its marker is of another backup, over {} records", marker.tree_size);
        Err(fault(ArchiveFault::Marker(what)))
    }
}
