//! The file-system seam: everything the engine does to files goes through
//! [`Fs`] and [`FsFile`], so that a test can make any one operation fail
//! ([`fault`]) while production uses the operating system ([`os`]).
//!
//! Files are created with mode 0600 and directories with 0700, whatever the
//! umask; what root creates belongs to the owner of the directory that it is in. Names in a directory of ours are never followed elsewhere: what is
//! opened for writing, or as one of our own files, is a regular file and no
//! symbolic link, and what is written has no other name. Opening never waits,
//! so that a FIFO in a file's place is an error. The one exception is
//! [`Fs::read_given`], for what was named on the command line to be read now.
//! `tests/it/architecture.rs` fails where something else is opened.

pub mod aside;
pub mod beneath;
pub mod boot;
#[cfg(any(test, feature = "testing"))]
pub mod fault;
pub mod fixed;
pub mod given;
pub mod handed;
mod heir;
pub mod inspect;
pub mod lock;
pub mod looking;
pub mod os;
pub mod private;
pub(crate) mod read_only;
pub mod scratch;
pub mod socket;
pub mod tcp_owner;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

pub use os::OsFs;

/// What a file is, by its inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMeta {
    /// Length in bytes.
    pub len: u64,
    /// Inode number.
    pub inode: u64,
    /// Device number.
    pub device: u64,
    /// Number of names; 0 once the file has been deleted.
    pub links: u64,
    /// Last modification.
    pub modified: SystemTime,
    /// Last change of content or attributes, in nanoseconds since 1970: the system's
    /// own, which nobody can set.
    pub changed: i128,
    /// Permission bits, e.g. `0o600`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Whether it is a regular file.
    pub is_file: bool,
}

impl FileMeta {
    /// Whether both describe the same file.
    #[must_use]
    pub fn same_file(&self, other: &FileMeta) -> bool {
        self.inode == other.inode && self.device == other.device
    }
}

/// Space on a file system: for bytes, and for files (inodes).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Size of the file system in bytes.
    pub total: u64,
    /// Bytes that an unprivileged process may still use.
    pub available: u64,
    /// How many files it can hold; 0 where it sets no limit, as btrfs, or does not tell.
    pub files_total: u64,
    /// How many more files an unprivileged process may make; 0 too where
    /// `files_total` is.
    pub files_available: u64,
}

impl Space {
    /// How many more files may be made; `None` where the file system sets no limit.
    #[must_use]
    pub fn files_left(&self) -> Option<u64> {
        (self.files_total > 0).then_some(self.files_available)
    }
}

/// How a file is to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// For reading; must exist. For paths that an operator chose: a symbolic link
    /// is followed.
    Read,
    /// For reading one of our own files; a symbolic link in its place is an error.
    ReadOwn,
    /// For reading and writing; must exist.
    Write,
    /// For reading and writing; must not exist (`O_EXCL`).
    CreateNew,
    /// For reading and writing; made when it does not exist.
    Create,
}

/// An open file.
pub trait FsFile: Send + Sync + fmt::Debug {
    /// Writes at an offset; may write less than asked for.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Reads at an offset; may read less than asked for, 0 at the end.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
    /// `fdatasync`.
    fn sync_data(&self) -> io::Result<()>;
    /// Cuts or extends.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Reserves space (`fallocate`), falling back to writing zeros.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// What the open file is now, whatever its name has become.
    fn meta(&self) -> io::Result<FileMeta>;
    /// Asks the system to forget what it has cached of the file, so that the
    /// next read comes from the disk. Only what has been synced is forgotten;
    /// a file system that keeps no cache has nothing to do.
    fn drop_cache(&self) -> io::Result<()> {
        Ok(())
    }

    /// Writes all of it; a short write is continued, a zero-length one is an error.
    fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = &bytes[written..];
                    offset += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Fills the buffer; `UnexpectedEof` when the file ends before it is full.
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.read_at(&mut bytes[filled..], offset + filled as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Reads a file from an offset on.
#[derive(Debug)]
pub struct FileReader<'a> {
    /// The file.
    pub file: &'a dyn FsFile,
    /// Where the next read begins.
    pub offset: u64,
}

impl io::Read for FileReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// A file system.
pub trait Fs: Send + Sync + fmt::Debug {
    /// Opens a file; new ones get mode 0600.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn FsFile>>;
    /// Renames, replacing what is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Renames below a directory, from and to a name in it or in a directory in
    /// it, which must not be a symbolic link.
    fn rename_below(&self, root: &Path, from: &Path, to: &Path) -> io::Result<()> {
        self.rename(&root.join(from), &root.join(to))
    }
    /// Makes a directory that must not be there, mode 0700.
    fn create_dir_new(&self, path: &Path) -> io::Result<()> {
        match self.entry(path) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => self.create_dir_all(path),
        }
    }
    /// Removes a directory and the files in it. A symbolic link in its place is
    /// removed, and what it points to is left alone.
    fn clear_dir(&self, path: &Path) -> io::Result<()> {
        for name in self.list(path)? {
            let _ = self.remove(&path.join(name));
        }
        self.remove_dir(path)
    }
    /// Makes a directory and its parents, mode 0700.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// `fsync` on a directory, so that names made or changed in it last.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// File names in a directory, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// What is at the path (following symbolic links).
    fn meta(&self, path: &Path) -> io::Result<FileMeta>;
    /// What is at the path itself: a symbolic link is one, and no file.
    fn entry(&self, path: &Path) -> io::Result<FileMeta> {
        self.meta(path)
    }
    /// Space on the file system that holds the path.
    fn space(&self, path: &Path) -> io::Result<Space>;
    /// Reads a whole regular file, refusing one larger than `limit` bytes before it is
    /// read (`io::ErrorKind::InvalidData`); anything else in its place is an error at
    /// once. For paths that an operator chose in the settings: a symbolic link is
    /// followed, since mounted secrets are links.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>>;
    /// The same of one of our own files; a symbolic link in its place is an error.
    fn read_own(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        self.read(path, limit)
    }
    /// The same of what somebody names on the command line to be read now: it may be a
    /// pipe (`<(ssh …)`, `/dev/stdin`), and is waited for. Also what it is. Only for
    /// that: a pipe that others planted would be waited for without end.
    fn read_given(&self, path: &Path, limit: u64) -> io::Result<(Vec<u8>, FileMeta)> {
        Ok((self.read(path, limit)?, self.meta(path)?))
    }
}

/// A shared file system.
pub type SharedFs = Arc<dyn Fs>;

/// Replaces a file's content so that after a crash either the old or the new
/// content is there, whole: temporary file with a unique name in the same
/// directory, write, fdatasync, rename, directory sync. The temporary file is
/// removed when a step fails.
///
/// # Errors
/// The failing step's error.
pub fn replace_file(fs: &dyn Fs, path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = parent(path);
    let temporary = temporary_name(path);
    let attempt = || -> io::Result<()> {
        let file = fs.open(&temporary, OpenMode::CreateNew)?;
        file.write_all_at(content, 0)?;
        file.sync_data()?;
        fs.rename(&temporary, path)?;
        fs.sync_dir(&directory)
    };
    let result = attempt();
    if result.is_err() {
        // Only a leftover: opening the log clears it if this fails too.
        let _ = fs.remove(&temporary);
    }
    result
}

/// Makes a file that is not there yet, so that it is there whole or not at all.
///
/// # Errors
/// `AlreadyExists` where the name is taken; the failing step's error.
pub fn new_file(fs: &dyn Fs, path: &Path, content: &[u8]) -> io::Result<()> {
    match fs.entry(path) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => replace_file(fs, path, content),
        Err(error) => Err(error),
    }
}

/// Makes a directory and its parents where they are not there, mode 0700, and has
/// their names last: what is durable in a directory whose name is lost is lost too.
///
/// # Errors
/// The failing step's error.
pub fn make_dirs(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    let named = |part: &&Path| !part.as_os_str().is_empty();
    let missing = path.ancestors().take_while(named).take_while(|part| fs.meta(part).is_err());
    let missing: Vec<&Path> = missing.collect();
    fs.create_dir_all(path)?;
    for part in missing {
        match fs.sync_dir(&parent(part)) {
            // Who may make names in a directory may not be allowed to read it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            synced => synced?,
        }
    }
    Ok(())
}

/// Reads one of our own text files, refusing one larger than `limit` bytes, and a
/// NUL as soon as it comes: a sparse file of gigabytes takes no memory.
///
/// # Errors
/// `InvalidData` for both; the failing step's error.
pub fn read_text(fs: &dyn Fs, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    let file = fs.open(path, OpenMode::ReadOwn)?;
    if file.meta()?.len > limit {
        return Err(invalid(format!("larger than {limit} bytes")));
    }
    let (mut text, mut piece) = (Vec::new(), vec![0; 256 * 1024]);
    loop {
        let read = file.read_at(&mut piece, text.len() as u64)?;
        if read == 0 {
            return Ok(text);
        }
        if memchr::memchr(0, &piece[..read]).is_some() {
            return Err(invalid("holds a NUL byte, so it is not text".to_owned()));
        }
        text.extend_from_slice(&piece[..read]);
    }
}

/// Makes sure that what is written to a file changes no other: one that has
/// further names (hard links) is copied, and the copy takes the name.
///
/// # Errors
/// The failing step's error; that there is no such file is none.
pub fn unshare(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    let shared = match fs.entry(path) {
        Ok(meta) => meta.is_file && meta.links > 1,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    if !shared {
        return Ok(());
    }
    let from = fs.open(path, OpenMode::ReadOwn)?;
    let temporary = temporary_name(path);
    let copied = (|| {
        let to = fs.open(&temporary, OpenMode::CreateNew)?;
        let (mut buffer, mut offset) = (vec![0; 256 * 1024], 0);
        loop {
            let read = from.read_at(&mut buffer, offset)?;
            if read == 0 {
                break;
            }
            to.write_all_at(&buffer[..read], offset)?;
            offset += read as u64;
        }
        to.sync_data()?;
        fs.rename(&temporary, path)?;
        fs.sync_dir(&parent(path))
    })();
    if copied.is_err() {
        let _ = fs.remove(&temporary);
    }
    copied
}

/// `<name>.tmp-<pid>-<n>` beside `path`: two processes never share it.
#[must_use]
pub fn temporary_name(path: &Path) -> PathBuf {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".tmp-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    path.with_file_name(name)
}

/// The directory a path is in; `.` for a bare name.
#[must_use]
pub fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// In an `impl Fs` of a test: what that file system does with names and folders as the real
/// one does, all but [`Fs::open`], [`Fs::meta`], [`Fs::space`] and [`Fs::read`].
#[cfg(test)]
macro_rules! names_and_folders_of_the_system {
    () => {
        fn rename(&self, from: &std::path::Path, to: &std::path::Path) -> std::io::Result<()> {
            $crate::fsio::OsFs.rename(from, to)
        }
        fn remove(&self, path: &std::path::Path) -> std::io::Result<()> {
            $crate::fsio::OsFs.remove(path)
        }
        fn create_dir_all(&self, path: &std::path::Path) -> std::io::Result<()> {
            $crate::fsio::OsFs.create_dir_all(path)
        }
        fn remove_dir(&self, path: &std::path::Path) -> std::io::Result<()> {
            $crate::fsio::OsFs.remove_dir(path)
        }
        fn sync_dir(&self, path: &std::path::Path) -> std::io::Result<()> {
            $crate::fsio::OsFs.sync_dir(path)
        }
        fn list(&self, path: &std::path::Path) -> std::io::Result<Vec<String>> {
            $crate::fsio::OsFs.list(path)
        }
    };
}
#[cfg(test)]
pub(crate) use names_and_folders_of_the_system;
