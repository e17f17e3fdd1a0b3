//! To whom a file belongs that root makes.
//!
//! Root's commands work in a service's directory. What they make there goes to the
//! directory's owner, from the moment that it has its name: else the service could not
//! open its own files any more. Nothing is ever given away that was there before, and all
//! of it is done on descriptors: a name may lead elsewhere by then.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, chownat, fchown, fstat, linkat,
    openat, unlinkat,
};
use rustix::io::Errno;

/// The owner of a directory, for what root makes in it.
#[derive(Debug)]
pub(super) struct Heir {
    dir: OwnedFd,
    uid: Uid,
    gid: Gid,
}

impl Heir {
    /// Of the directory, where this runs as root and the directory is somebody else's.
    pub(super) fn of(dir: &Path) -> io::Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(CWD, dir, flags, Mode::empty())?;
        let stat = fstat(&dir)?;
        if stat.st_uid == 0 {
            return Ok(None);
        }
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        Ok(Some(Self { dir, uid, gid }))
    }

    /// Makes a file, mode 0600, that is the heir's before it has a name. An error when
    /// anything has the name.
    pub(super) fn make(&self, name: &OsStr) -> io::Result<File> {
        match self.unnamed() {
            Ok(file) => match self.name(&file, name) {
                // Without /proc nothing can be named.
                Err(Errno::NOENT) => self.make_named(name),
                named => {
                    named?;
                    Ok(file)
                }
            },
            // Not every file system has files without a name.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT | Errno::NOSYS) => {
                self.make_named(name)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn unnamed(&self) -> Result<File, Errno> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&self.dir, ".", flags, MODE)?;
        self.give(&file)?;
        Ok(file.into())
    }

    fn name(&self, file: &File, name: &OsStr) -> Result<(), Errno> {
        let from = format!("/proc/self/fd/{}", file.as_raw_fd());
        linkat(CWD, &*from, &self.dir, name, AtFlags::SYMLINK_FOLLOW)
    }

    fn make_named(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::CREATE
            | OFlags::EXCL
            | OFlags::NOFOLLOW
            | OFlags::RDWR
            | OFlags::NONBLOCK
            | OFlags::CLOEXEC;
        let file = openat(&self.dir, name, flags, MODE)?;
        if let Err(errno) = self.give(&file) {
            let _ = unlinkat(&self.dir, name, AtFlags::empty());
            return Err(errno.into());
        }
        Ok(file.into())
    }

    /// What this has just made becomes the heir's. Root in a container may lack the right:
    /// then it stays root's, as it was.
    fn give(&self, made: impl AsFd) -> Result<(), Errno> {
        match fchown(made, Some(self.uid), Some(self.gid)) {
            Err(Errno::PERM | Errno::INVAL) => Ok(()),
            given => given,
        }
    }

    /// A directory that this has just made. Another one of root's may have its name by
    /// now: one that holds anything is left alone.
    pub(super) fn give_dir(&self, name: &OsStr) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(&self.dir, name, flags, Mode::empty())?;
        if fstat(&made)?.st_uid != 0 || !is_empty(&made)? {
            return Ok(());
        }
        Ok(self.give(&made)?)
    }

    /// A socket that this has just bound.
    pub(super) fn give_socket(&self, name: &OsStr) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(&self.dir, name, flags, Mode::empty())?;
        let stat: Stat = fstat(&made)?;
        let is_socket = FileType::from_raw_mode(stat.st_mode) == FileType::Socket;
        if !is_socket || stat.st_uid != 0 || stat.st_nlink != 1 {
            return Ok(());
        }
        match chownat(&made, "", Some(self.uid), Some(self.gid), AtFlags::EMPTY_PATH) {
            Err(Errno::PERM | Errno::INVAL) => Ok(()),
            given => Ok(given?),
        }
    }
}

const MODE: Mode = Mode::RUSR.union(Mode::WUSR);

fn is_empty(dir: &OwnedFd) -> io::Result<bool> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if ![c".", c".."].contains(&entry.file_name()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whose file stands in the way, and what to do, where the system says only that it is
/// denied.
pub(super) fn whose(path: &Path, error: io::Error) -> io::Error {
    let own = rustix::process::geteuid().as_raw();
    let Some(reason) = reason(path, own) else { return error };
    io::Error::new(io::ErrorKind::PermissionDenied, reason)
}

fn reason(path: &Path, own: u32) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let dir = super::parent(path);
    let owner = |meta: &std::fs::Metadata| match meta.uid() {
        0 => format!("root (mode {:04o})", meta.mode() & 0o7777),
        uid => format!("user {uid} (mode {:04o})", meta.mode() & 0o7777),
    };
    let of_dir = std::fs::metadata(&dir).ok();
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.uid() != own => {
            let mut reason = format!(
                "permission denied: it belongs to {}, and this is user {own}",
                owner(&meta)
            );
            // In its own directory it is a file that somebody else's command left.
            if of_dir.is_some_and(|dir| dir.uid() == own) {
                reason.push_str(&format!("; as root: chown {own} {}", path.display()));
            }
            Some(reason)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let meta = of_dir.filter(|meta| meta.uid() != own)?;
            Some(format!(
                "permission denied: the directory {} belongs to {}, and this is user {own}",
                dir.display(),
                owner(&meta)
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, chown, symlink};

    use crate::fsio::{Fs, OpenMode, OsFs, replace_file};

    const OTHER: u32 = 4242;

    /// A directory of another user's, if this may make one.
    fn place() -> Option<tempfile::TempDir> {
        let place = tempfile::tempdir().expect("temporary directory");
        let is_root = rustix::process::geteuid().is_root();
        (is_root && chown(place.path(), Some(OTHER), Some(OTHER + 1)).is_ok()).then_some(place)
    }

    fn owner(path: &Path) -> (u32, u32) {
        let meta = std::fs::symlink_metadata(path).expect("there");
        (meta.uid(), meta.gid())
    }

    /// B4.
    #[test]
    fn what_root_makes_is_the_directorys_owners_however_it_is_made() {
        let Some(place) = place() else { return };
        let at = |name: &str| place.path().join(name);
        drop(OsFs.open(&at("new"), OpenMode::CreateNew).expect("made"));
        drop(OsFs.open(&at("made"), OpenMode::Create).expect("made"));
        replace_file(&OsFs, &at("replaced"), b"x").expect("written");
        OsFs.create_dir_all(&at("a/b")).expect("made");
        drop(OsFs.open(&at("a/b/deep"), OpenMode::CreateNew).expect("made"));
        drop(crate::fsio::lock::try_lock(&at("lock")).expect("locked"));
        for name in ["new", "made", "replaced", "a", "a/b", "a/b/deep", "lock"] {
            assert_eq!(owner(&at(name)), (OTHER, OTHER + 1), "{name}");
        }
        let heir = Heir::of(place.path()).expect("asked").expect("somebody else");
        drop(heir.make_named(OsStr::new("plain")).expect("made"));
        assert_eq!(owner(&at("plain")), (OTHER, OTHER + 1));
        let mode = std::fs::metadata(at("plain")).expect("there").mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = heir.make(OsStr::new("plain")).expect_err("taken");
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        // In a directory of root's it stays root's.
        let own = tempfile::tempdir().expect("temporary directory");
        replace_file(&OsFs, &own.path().join("file"), b"x").expect("written");
        assert_eq!(owner(&own.path().join("file")), (0, 0));
    }

    /// B4.
    #[test]
    fn nothing_is_given_away_that_was_there_before_nor_through_a_link() {
        let Some(place) = place() else { return };
        let at = |name: &str| place.path().join(name);
        let precious = tempfile::tempdir().expect("temporary directory");
        let file = precious.path().join("file");
        std::fs::write(&file, "root's").expect("written");
        symlink(&file, at("link")).expect("link");
        assert!(OsFs.open(&at("link"), OpenMode::Create).is_err());
        assert!(OsFs.open(&at("link"), OpenMode::CreateNew).is_err());
        std::fs::write(at("own"), "root's, and there before").expect("written");
        drop(OsFs.open(&at("own"), OpenMode::Create).expect("opened"));
        drop(OsFs.open(&at("own"), OpenMode::Write).expect("opened"));
        assert_eq!((owner(&file), owner(&at("own"))), ((0, 0), (0, 0)));
        let heir = Heir::of(place.path()).expect("asked").expect("somebody else");
        // Whoever has the directory puts another of root's in the place of the new one.
        std::fs::create_dir(at("full")).expect("made");
        std::fs::write(at("full/secret"), "x").expect("written");
        heir.give_dir(OsStr::new("full")).expect("left alone");
        std::fs::create_dir(precious.path().join("empty")).expect("made");
        symlink(precious.path().join("empty"), at("elsewhere")).expect("link");
        heir.give_dir(OsStr::new("elsewhere")).expect_err("a link");
        heir.give_socket(OsStr::new("own")).expect("left alone");
        for path in [at("full"), at("own"), precious.path().join("empty")] {
            assert_eq!(owner(&path), (0, 0), "{}", path.display());
        }
    }
}
