//! What is at a path, without opening it: kind, owner, mode, and what the file
//! system below it is.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, StatVfsMountFlags, accessat, statfs, statvfs};

/// What kind of thing is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A socket.
    Socket,
    /// A device, a pipe.
    Other,
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What kind of thing.
    pub kind: Kind,
    /// Permission bits, e.g. `0o600`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes.
    pub len: u64,
    /// Inode number.
    pub inode: u64,
    /// Device number.
    pub device: u64,
}

impl Entry {
    fn of(meta: &std::fs::Metadata) -> Self {
        let kind = match meta.file_type() {
            kind if kind.is_file() => Kind::File,
            kind if kind.is_dir() => Kind::Directory,
            kind if kind.is_symlink() => Kind::Symlink,
            kind if kind.is_socket() => Kind::Socket,
            _ => Kind::Other,
        };
        Self {
            kind,
            mode: meta.mode() & 0o7777,
            uid: meta.uid(),
            gid: meta.gid(),
            len: meta.len(),
            inode: meta.ino(),
            device: meta.dev(),
        }
    }
}

/// What is at the path itself; a symbolic link is not followed. `None` when nothing is.
///
/// # Errors
/// When that cannot be told.
pub fn at(path: &Path) -> io::Result<Option<Entry>> {
    found(std::fs::symlink_metadata(path))
}

/// What a path leads to. `None` when nothing is there.
///
/// # Errors
/// When that cannot be told.
pub fn behind(path: &Path) -> io::Result<Option<Entry>> {
    found(std::fs::metadata(path))
}

fn found(meta: io::Result<std::fs::Metadata>) -> io::Result<Option<Entry>> {
    match meta {
        Ok(meta) => Ok(Some(Entry::of(&meta))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The path without symbolic links, from the root.
///
/// # Errors
/// The operating system's; nothing there is one.
pub fn resolved(path: &Path) -> io::Result<PathBuf> {
    path.canonicalize()
}

/// Where a symbolic link leads.
///
/// # Errors
/// The operating system's; no symbolic link is one.
pub fn link_target(path: &Path) -> io::Result<PathBuf> {
    std::fs::read_link(path)
}

/// Whether there is an access control list: the mode bits are then not all.
#[must_use]
pub fn has_acl(path: &Path) -> bool {
    let mut buffer = [0_u8; 4096];
    // No such list, and no such lists at all, are the same here.
    rustix::fs::getxattr(path, "system.posix_acl_access", &mut buffer[..])
        .is_ok_and(|length| length > 0)
}

/// What somebody wants to do with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Read a file, list a directory.
    pub read: bool,
    /// Write a file, change what is in a directory.
    pub write: bool,
    /// Reach what is in a directory.
    pub search: bool,
}

/// Whether this process may, by the kernel's own word (`faccessat`, effective ids).
///
/// # Errors
/// Why not.
pub fn may(path: &Path, wanted: Wanted) -> io::Result<()> {
    let mut access = Access::EXISTS;
    access.set(Access::READ_OK, wanted.read);
    access.set(Access::WRITE_OK, wanted.write);
    access.set(Access::EXEC_OK, wanted.search);
    accessat(CWD, path, access, AtFlags::EACCESS).map_err(io::Error::from)
}

/// The file system below a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its kind, as `statfs(2)` numbers them.
    pub magic: u64,
    /// Whether nothing can be written there.
    pub read_only: bool,
}

/// The file system below a path.
///
/// # Errors
/// The operating system's.
pub fn volume(path: &Path) -> io::Result<Volume> {
    // The kernel's numbers have 32 bits, also where the field has more and a sign.
    let magic = statfs(path)?.f_type as u64 & 0xffff_ffff;
    let read_only = statvfs(path)?.f_flag.contains(StatVfsMountFlags::RDONLY);
    Ok(Volume { magic, read_only })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_link_is_seen_as_one_and_as_what_it_leads_to() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        std::fs::write(&file, "abc").expect("write");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).expect("mode");
        symlink(&file, &link).expect("link");
        assert_eq!(at(&link).expect("asked").expect("there").kind, Kind::Symlink);
        let behind = behind(&link).expect("asked").expect("there");
        assert_eq!((behind.kind, behind.mode, behind.len), (Kind::File, 0o640, 3));
        assert_eq!(link_target(&link).expect("a link"), file);
        assert_eq!(at(&directory.path().join("nothing")).expect("asked"), None);
    }

    #[test]
    fn a_file_system_has_a_number_and_may_be_written() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let volume = volume(directory.path()).expect("asked");
        assert!(volume.magic != 0 && !volume.read_only);
        let all = Wanted { read: true, write: true, search: true };
        may(directory.path(), all).expect("our own directory");
        may(&directory.path().join("nothing"), all).expect_err("nothing there");
    }
}
