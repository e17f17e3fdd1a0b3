//! A Unix socket's file: what is at a path, and whether it is still ours.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// The longest path of a socket: `sun_path` holds 108 bytes with its NUL.
pub const MAX_SOCKET_PATH_BYTES: usize = 107;

/// What is at a path where a socket is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketFile {
    /// Whether it is a socket; anything else is somebody's file.
    pub is_socket: bool,
    /// Inode number.
    pub inode: u64,
    /// Device number.
    pub device: u64,
    /// Owner.
    pub uid: u32,
    /// When it was made, seconds and nanoseconds: inode numbers are used again.
    pub made: (i64, i64),
}

/// What is at the path itself (a symbolic link is not followed); `None` when
/// nothing is there.
///
/// # Errors
/// When that cannot be told.
pub fn at(path: &Path) -> io::Result<Option<SocketFile>> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(SocketFile {
            is_socket: meta.file_type().is_socket(),
            inode: meta.ino(),
            device: meta.dev(),
            uid: meta.uid(),
            made: (meta.mtime(), meta.mtime_nsec()),
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Hands a socket that was just bound to the owner of its directory, where root bound it.
///
/// # Errors
/// The operating system's.
pub fn give(path: &Path) -> io::Result<()> {
    match (super::heir::Heir::of(&super::parent(path))?, path.file_name()) {
        (Some(heir), Some(name)) => heir.give_socket(name),
        _ => Ok(()),
    }
}

/// Removes the file if it is still the one given: a successor's is left alone.
///
/// # Errors
/// The operating system's; that it is gone already is none.
pub fn remove_if(path: &Path, file: SocketFile) -> io::Result<()> {
    if at(path)? != Some(file) {
        return Ok(());
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn only_the_same_socket_is_removed() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("audit.sock");
        assert_eq!(at(&path).expect("asked"), None);
        let first = UnixListener::bind(&path).expect("bind");
        let file = at(&path).expect("asked").expect("there");
        assert!(file.is_socket);
        // A new name for the old one keeps its inode from being used again.
        std::fs::rename(&path, directory.path().join("old.sock")).expect("rename");
        let _second = UnixListener::bind(&path).expect("bind");
        remove_if(&path, file).expect("left alone");
        let second = at(&path).expect("asked").expect("still there");
        remove_if(&path, second).expect("removed");
        assert_eq!(at(&path).expect("asked"), None);
        remove_if(&path, second).expect("gone is fine");
        drop(first);
    }

    #[test]
    fn a_plain_file_is_no_socket() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("audit.sock");
        std::fs::write(&path, "mine").expect("write");
        assert!(!at(&path).expect("asked").expect("there").is_socket);
    }
}
