//! A directory as a store: for network disks and for tests. It knows no locks.
//!
//! An object is a file. Beside it, in `.NAME.metadata`, is the metadata it was put
//! with; while it is being put, it is `.NAME.part-<start of its SHA-256>`.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use super::backup_store::{BackupStore, Reading};
use super::confirm::{Sent, put_once};
use super::destination::check_name;
use super::error::{StoreError, StoreErrorKind};
use super::listing::Page;
use super::object::{Checksum, Object, Removed};
use super::put::{Content, Put, UploadState};
use crate::clock::Timestamp;
use crate::fsio::os::open_file;
use crate::fsio::{Fs, OpenMode, OsFs};

const PIECE: u64 = 1 << 20;
/// What an object's metadata may take; the clouds allow 2 to 8 KiB.
const MAX_NOTE_BYTES: u64 = 64 << 10;
/// The longest name of a folder that is looked into: longer than that of any object.
const MAX_FOLDER_BYTES: usize = 1_024;
/// What is written goes nowhere else, and waits for nobody: no symbolic link is
/// followed, and a FIFO is an error.
const ITSELF: i32 = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits() as i32;

/// A store in a directory, which must exist.
#[derive(Debug)]
pub struct LocalStore {
    root: PathBuf,
}

impl LocalStore {
    /// In this directory.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn path(&self, name: &str) -> Result<PathBuf, StoreError> {
        check_name(name)
            .map_err(|why| StoreError::new(StoreErrorKind::Usage, self.url(name), why))?;
        Ok(self.root.join(name))
    }

    fn failed(&self, name: &str, doing: &str, error: &io::Error) -> StoreError {
        let url = self.url(name);
        let message = format!("cannot {doing}");
        if !self.root.is_dir() {
            return StoreError::new(StoreErrorKind::NoBucket, url, "the directory is not there")
                .caused_by(error)
                .hint("make the directory, or mount what it should be on");
        }
        let kind = match error.kind() {
            io::ErrorKind::NotFound => StoreErrorKind::NotFound,
            io::ErrorKind::PermissionDenied => StoreErrorKind::AccessDenied,
            _ => StoreErrorKind::Other,
        };
        StoreError::new(kind, url, message).caused_by(error)
    }

    /// The files in a folder, as paths from the root. Folders in which no name can begin with
    /// `below` are not looked into.
    fn walk(&self, folder: &Path, below: &str, found: &mut Vec<PathBuf>) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join(folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            // No object is a symbolic link, a FIFO or a device.
            let kind = entry.file_type()?;
            if kind.is_dir() {
                let name = format!("{}/", path.to_string_lossy());
                if name.starts_with(below) || below.starts_with(&name) {
                    self.walk(&path, below, found)?;
                }
            } else if kind.is_file() {
                found.push(path);
            }
        }
        Ok(())
    }

    /// The folder that all names lie in which begin so, where there is one: its neighbours need
    /// not be read, of which an archive has as many as logs.
    fn folder_of(&self, below: &str) -> io::Result<Option<PathBuf>> {
        let whole = below.rfind('/').map_or("", |end| &below[..end]);
        let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\u{fffd}');
        // What no name of a folder looks like is compared with the names that there are.
        if whole.len() >= MAX_FOLDER_BYTES || !whole.split('/').all(plain) {
            return Ok(Some(PathBuf::new()));
        }
        let mut folder = PathBuf::new();
        for part in whole.split('/') {
            folder.push(part);
            match fs::symlink_metadata(self.root.join(&folder)) {
                Ok(meta) if meta.is_dir() => {}
                Ok(_) => return Ok(None),
                // Without the directory itself nothing can be listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.root.is_dir() => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Some(folder))
    }

    /// Shows what is in a folder and below, by name. A link, a file whose name is not UTF-8, and
    /// a folder that lies too deep are shown as well, as they would be on a terminal: whoever
    /// lists has to know that something is there, and no object has such a name.
    fn show(
        &self,
        folder: &Path,
        below: &str,
        see: &mut dyn FnMut(Object) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let failed = |error: io::Error| self.failed("", "list", &error);
        let mut entries = Vec::new();
        for entry in fs::read_dir(self.root.join(folder)).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            let path = folder.join(entry.file_name());
            let name = path.to_string_lossy().into_owned();
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            // As one name would sort among others that are longer.
            let key = match kind {
                kind if kind.is_file() => name,
                kind if kind.is_dir() => format!("{name}/"),
                kind if kind.is_symlink() => format!("{name}@"),
                _ => format!("{name}|"),
            };
            if kind.is_dir() && (key.starts_with(below) || below.starts_with(&key)) {
                entries.push((key, path, true));
            } else if !kind.is_dir() && !hidden && key.starts_with(below) {
                entries.push((key, path, false));
            }
        }
        entries.sort_unstable();
        for (key, path, is_folder) in entries {
            if is_folder && key.len() <= MAX_FOLDER_BYTES {
                self.show(&path, below, see)?;
                continue;
            }
            if is_folder {
                see(Object { name: key, ..Object::default() })?;
                continue;
            }
            match self.seen(&key, &self.root.join(&path)) {
                Ok(object) => see(object)?,
                // Removed since.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(self.failed(&key, "look at it", &error)),
            }
        }
        Ok(())
    }

    /// What is there of that name, whatever it is. A link is not followed.
    fn seen(&self, name: &str, path: &Path) -> io::Result<Object> {
        let meta = fs::symlink_metadata(path)?;
        let modified = meta.modified().ok().map(timestamp);
        Ok(Object { name: name.to_owned(), size: meta.len(), modified, ..Object::default() })
    }

    fn look(&self, name: &str, path: &Path) -> io::Result<Object> {
        if !fs::symlink_metadata(path)?.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.seen(name, path)
    }

    fn copy(&self, name: &str, path: &Path, put: &mut Put<'_>) -> Result<Sent, StoreError> {
        let failed = |doing: &'static str| move |error: io::Error| self.failed(name, doing, &error);
        let url = self.url(name);
        let metadata = put.full_metadata(&url)?;
        let digests = *put.body.digests();
        let content = put.body.open()?;
        let folder = path.parent().unwrap_or(&self.root);
        if !self.root.is_dir() {
            return Err(failed("write")(io::ErrorKind::NotFound.into()));
        }
        OsFs.create_dir_all(folder).map_err(failed("make its folder"))?;
        let part = hidden(path, &format!("part-{}", &digests.sha256_hex()[..16]));
        let mut file = made_or_there(&part).map_err(failed("write"))?;
        // An unusual umask could have taken bits away.
        file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(failed("write"))?;
        let fresh = UploadState::begun(&url, &digests, part.display().to_string(), PIECE);
        let mut state = put.resume.take().filter(|state| state.is_for(&url, &digests, u64::MAX));
        let state = state.get_or_insert(fresh);
        let there = file.metadata().map_err(failed("read"))?.len();
        state.stored = state.stored.min(there).min(digests.bytes);
        file.set_len(state.stored).map_err(failed("write"))?;

        let mut hasher = Sha256::new();
        copy_hash(&mut file, &mut hasher).map_err(failed("read"))?;
        while state.stored < digests.bytes {
            if put.is_interrupted() {
                return Err(StoreError::new(StoreErrorKind::Interrupted, url, "interrupted"));
            }
            let length = (digests.bytes - state.stored).min(PIECE);
            let bytes = read_content(&content, state.stored, length)?;
            hasher.update(&bytes);
            file.write_all(&bytes).map_err(failed("write"))?;
            state.stored += length;
            put.tell_state(state);
            put.tell_progress(state.stored);
        }
        if <[u8; 32]>::from(hasher.finalize()) != digests.sha256 {
            // Not to be resumed: what is wrong may be in what was there.
            let _ = fs::remove_file(&part);
            let message = "the data read does not match the checksum";
            return Err(StoreError::new(StoreErrorKind::ChecksumMismatch, url, message)
                .hint("the file changed after it was made; make the backup again"));
        }
        file.sync_all().map_err(failed("sync"))?;
        let sent = self.publish(path, &part, &metadata, put.content_type);
        let sent = sent.map_err(failed("write"))?;
        if matches!(sent, Sent::NameTaken)
            && fs::symlink_metadata(path).is_ok_and(|there| !there.is_file())
        {
            let message = "the name is taken by what is no file";
            return Err(StoreError::new(StoreErrorKind::ExistsAndDiffers, url, message)
                .hint("nothing was replaced; find out what made it"));
        }
        Ok(sent)
    }

    fn publish(
        &self,
        path: &Path,
        part: &Path,
        metadata: &BTreeMap<String, String>,
        content_type: &str,
    ) -> io::Result<Sent> {
        // A hard link fails where a rename would replace.
        match fs::hard_link(part, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(part)?;
                return Ok(Sent::NameTaken);
            }
            result => result?,
        }
        let note = serde_json::json!({ "content_type": content_type, "metadata": metadata });
        let mut file = made_or_there(&hidden(path, "metadata"))?;
        file.set_len(0)?;
        file.write_all(note.to_string().as_bytes())?;
        file.sync_all()?;
        fs::remove_file(part)?;
        File::open(path.parent().unwrap_or(&self.root))?.sync_all()?;
        Ok(Sent::As(None))
    }
}

/// A file to write, made where there is none: for the owner of its directory.
fn made_or_there(path: &Path) -> io::Result<File> {
    match open_file(path, OpenMode::CreateNew) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mut open = OpenOptions::new();
            open.read(true).write(true).custom_flags(ITSELF).open(path)
        }
        made => made,
    }
}

/// `.NAME.<what>` beside it; not part of any listing.
fn hidden(path: &Path, what: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{what}"))
}

fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

fn read_content(content: &Content, at: u64, length: u64) -> Result<bytes::Bytes, StoreError> {
    content.read(at, length as usize).map_err(|error| {
        StoreError::new(StoreErrorKind::LocalFile, "the file", "cannot be read").caused_by(&error)
    })
}

fn copy_hash(from: &mut File, hasher: &mut Sha256) -> io::Result<()> {
    let mut buffer = vec![0; PIECE as usize];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

impl BackupStore for LocalStore {
    fn url(&self, name: &str) -> String {
        self.root.join(name).display().to_string()
    }

    fn page(&self, below: &str, _after: Option<&str>) -> Result<Page, StoreError> {
        let mut objects = Vec::new();
        self.visit(below, &mut |object| {
            objects.push(object);
            Ok(())
        })?;
        Ok(Page { objects, next: None })
    }

    fn visit(
        &self,
        below: &str,
        see: &mut dyn FnMut(Object) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        // Folder by folder: nothing is kept but the names in those that are open.
        match self.folder_of(below).map_err(|error| self.failed("", "list", &error))? {
            Some(folder) => self.show(&folder, below, see),
            None => Ok(()),
        }
    }

    /// That of this machine: a directory's files are dated by it, unless it is on another one.
    fn now(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(Some(timestamp(SystemTime::now())))
    }

    fn stat_version(
        &self,
        name: &str,
        _version: Option<&str>,
    ) -> Result<Option<Object>, StoreError> {
        let path = self.path(name)?;
        let mut object = match self.look(name, &path) {
            Ok(object) => object,
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.root.is_dir() => {
                return Ok(None);
            }
            Err(error) => return Err(self.failed(name, "look at it", &error)),
        };
        let failed = |error: io::Error| self.failed(name, "read", &error);
        let mut hasher = Sha256::new();
        copy_hash(&mut open_file(&path, OpenMode::ReadOwn).map_err(failed)?, &mut hasher)
            .map_err(failed)?;
        object.checksum = Some(Checksum::Sha256(hasher.finalize().into()));
        // Without it the object is still whole: a crash may have come between.
        let note = OsFs.read_own(&hidden(&path, "metadata"), MAX_NOTE_BYTES).unwrap_or_default();
        let note: serde_json::Value = serde_json::from_slice(&note).unwrap_or_default();
        if let Some(metadata) = note["metadata"].as_object() {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            object.metadata =
                metadata.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        }
        Ok(Some(object))
    }

    fn open(&self, name: &str, _version: Option<&str>, from: u64) -> Result<Reading, StoreError> {
        let failed = |error: io::Error| self.failed(name, "read", &error);
        let mut file = open_file(&self.path(name)?, OpenMode::ReadOwn).map_err(failed)?;
        file.seek(SeekFrom::Start(from)).map_err(failed)?;
        Ok(Box::new(file))
    }

    fn put_new(&self, name: &str, put: Put<'_>) -> Result<Object, StoreError> {
        let path = self.path(name)?;
        if put.lock.is_some() {
            let message = "a directory cannot lock an object";
            return Err(StoreError::new(StoreErrorKind::LockNotApplied, self.url(name), message));
        }
        put_once(self, name, put, |put| self.copy(name, &path, put))
    }

    fn remove(&self, name: &str, _version: Option<&str>) -> Result<Removed, StoreError> {
        let path = self.path(name)?;
        for path in [&path, &hidden(&path, "metadata")] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound || !self.root.is_dir() => {
                    return Err(self.failed(name, "remove", &error));
                }
                _ => {}
            }
        }
        Ok(Removed::Gone)
    }

    fn abort_stale_uploads(&self, older_than: Duration) -> Result<u64, StoreError> {
        let failed = |error: io::Error| self.failed("", "remove what uploads left", &error);
        let mut paths = Vec::new();
        self.walk(Path::new(""), "", &mut paths).map_err(failed)?;
        let mut removed = 0;
        for path in paths.iter().map(|path| self.root.join(path)) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_part = name.starts_with('.')
                && name.rsplit_once(".part-").is_some_and(|(_, hash)| hash.len() == 16);
            let modified = fs::metadata(&path).and_then(|meta| meta.modified()).map_err(failed)?;
            if is_part && modified.elapsed().unwrap_or_default() >= older_than {
                fs::remove_file(&path).map_err(failed)?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_in_the_directory_is_no_object_and_is_not_written_through() {
        let dir = tempfile::tempdir().expect("a directory");
        let (root, precious) = (dir.path().join("store"), dir.path().join("precious"));
        fs::create_dir(&root).expect("a directory");
        fs::write(&precious, "x").expect("a file");
        let listed = |store: &LocalStore| -> Vec<String> {
            store.list().expect("listed").into_iter().map(|object| object.name).collect()
        };
        for (name, to) in [("a.gz", &precious), ("b.gz", &dir.path().join("nothing"))] {
            std::os::unix::fs::symlink(to, root.join(name)).expect("a link");
        }
        let store = LocalStore::new(&root);
        // Others follow it: whoever lists is told that it is there.
        assert_eq!(listed(&store), ["a.gz@", "b.gz@"]);
        assert!(store.stat("a.gz").expect("asked").is_none());
        assert!(store.open("a.gz", None, 0).is_err());
        let put = Put::new(crate::store::Body::Bytes(b"y"), "application/gzip");
        let error = store.put_new("a.gz", put).expect_err("taken");
        assert_eq!(error.kind, StoreErrorKind::ExistsAndDiffers, "{error}");
        store.remove("a.gz", None).expect("the link goes");
        assert_eq!(fs::read_to_string(&precious).expect("there"), "x");
    }

    #[test]
    fn what_has_no_name_in_utf8_is_listed_under_one_that_opens_nothing() {
        use std::os::unix::ffi::OsStrExt as _;
        let dir = tempfile::tempdir().expect("a directory");
        let raw = |name: &[u8]| dir.path().join(std::ffi::OsStr::from_bytes(name));
        fs::create_dir(raw(b"data")).expect("a directory");
        fs::create_dir(raw(b"data/\xff")).expect("a directory");
        fs::write(raw(b"data/\xff/a.gz"), "x").expect("a file");
        fs::write(raw(b"data/\xfe.gz"), "x").expect("a file");
        fs::write(raw(b"data/b.gz"), "x").expect("a file");
        let store = LocalStore::new(dir.path());
        let names: Vec<_> = store.list().expect("listed").into_iter().map(|it| it.name).collect();
        assert_eq!(names, ["data/b.gz", "data/\u{fffd}.gz", "data/\u{fffd}/a.gz"]);
        assert!(store.stat("data/\u{fffd}.gz").expect("asked").is_none());
    }

    #[test]
    fn names_that_begin_with_a_folder_are_those_that_a_whole_listing_has() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path();
        for file in ["a/b/1.gz", "a/b/2.gz", "a/bb/1.gz", "a/b.gz", "ab/1.gz", ".h/1.gz", "c"] {
            fs::create_dir_all(root.join(file).parent().expect("a folder")).expect("folders");
            fs::write(root.join(file), "x").expect("a file");
        }
        std::os::unix::fs::symlink(root.join("a"), root.join("link")).expect("a link");
        let store = LocalStore::new(root);
        let all: Vec<_> = store.list().expect("listed").into_iter().map(|it| it.name).collect();
        for below in
            ["", "a", "a/", "a/b", "a/b/", "a/b/1", "a/bb/", "a/x/", "x/", "c/", "link/", ".h/"]
        {
            let page = store.page(below, None).expect("listed");
            let names: Vec<_> = page.objects.into_iter().map(|it| it.name).collect();
            let wanted: Vec<_> =
                all.iter().filter(|name| name.starts_with(below)).cloned().collect();
            assert_eq!(names, wanted, "{below:?}");
        }
        for odd in ["../", "a/../", "/a/", "a//b/", "./a/"] {
            assert!(store.page(odd, None).expect("listed").objects.is_empty(), "{odd:?}");
        }
        assert!(LocalStore::new(root.join("nowhere")).page("a/", None).is_err());
        assert!(LocalStore::new(root.join("nowhere")).page("", None).is_err());
    }

    #[test]
    fn a_folder_that_is_deeper_than_any_name_is_listed_and_not_looked_into() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = ["f".repeat(200).as_str(); 6].join("/");
        fs::create_dir_all(dir.path().join(&folder)).expect("folders");
        fs::write(dir.path().join(&folder).join("a.gz"), "x").expect("a file");
        let names: Vec<_> = LocalStore::new(dir.path()).list().expect("listed");
        assert_eq!(names.len(), 1, "{names:?}");
        assert!(names[0].name.ends_with('/'), "{names:?}");
    }

    #[test]
    fn names_do_not_leave_the_directory() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = LocalStore::new(dir.path());
        for name in ["../x", "/etc/passwd", "a/../../x", ""] {
            let error = store.stat(name).expect_err(name);
            assert_eq!(error.kind, StoreErrorKind::Usage, "{error}");
        }
    }
}
