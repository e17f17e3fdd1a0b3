//! The lock that a writer holds for its life.
//!
//! An *open file description* lock (`F_OFD_SETLK`): like `flock` it belongs to
//! the open file, is released by the kernel when its process ends however it
//! ends, and keeps two logs in one process apart. Unlike `flock` it can be asked
//! about (`F_OFD_GETLK`) without being taken, so that `health` never gets in a
//! starting writer's way.

use std::fs::File;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::OpenMode;
use super::os::{open_file, open_lock};

/// A held lock; dropping it releases it.
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

impl Drop for FileLock {
    /// Closing alone would not release it while a child that another thread is
    /// just starting still has a copy of the descriptor, between its `fork` and
    /// its `exec`.
    fn drop(&mut self) {
        let unlock = libc::flock { l_type: libc::F_UNLCK as libc::c_short, ..whole_file() };
        // What could be wrong with it ends with the descriptor.
        let _ = fcntl(&self.file, FcntlArg::F_OFD_SETLK(&unlock));
    }
}

/// Takes the lock, creating the file when needed; `None` when another open
/// file holds it.
///
/// # Errors
/// When the file cannot be opened or the file system knows no locks.
pub fn try_lock(path: &Path) -> io::Result<Option<FileLock>> {
    take(path, libc::F_WRLCK)
}

/// Takes the lock together with others who share it; `None` when somebody has
/// it alone.
///
/// # Errors
/// As [`try_lock`].
pub fn try_lock_shared(path: &Path) -> io::Result<Option<FileLock>> {
    take(path, libc::F_RDLCK)
}

fn take(path: &Path, kind: libc::c_int) -> io::Result<Option<FileLock>> {
    let file = open_lock(path)?;
    let wanted = libc::flock { l_type: kind as libc::c_short, ..whole_file() };
    match fcntl(&file, FcntlArg::F_OFD_SETLK(&wanted)) {
        Ok(_) => Ok(Some(FileLock { file })),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Keeps other changers of a directory's files out, until it is dropped; see
/// [`lock_directory`].
#[derive(Debug)]
pub struct DirectoryLock {
    _directory: File,
}

/// Waits until nobody else holds the directory's lock (`flock` on the directory
/// itself: it leaves no file behind, and needs only the right to read).
///
/// # Errors
/// When the directory cannot be opened or the file system knows no locks.
pub fn lock_directory(path: &Path) -> io::Result<DirectoryLock> {
    let directory = File::open(path)?;
    rustix::io::retry_on_intr(|| {
        rustix::fs::flock(&directory, rustix::fs::FlockOperation::LockExclusive)
    })?;
    Ok(DirectoryLock { _directory: directory })
}

/// Whether somebody holds the lock, without taking it. A file that does not
/// exist is not locked.
///
/// # Errors
/// When the file cannot be opened for reading, or the question is not answered.
pub fn is_locked(path: &Path) -> io::Result<bool> {
    let file = match open_file(path, OpenMode::ReadOwn) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut wanted = whole_file();
    fcntl(&file, FcntlArg::F_OFD_GETLK(&mut wanted))?;
    Ok(i32::from(wanted.l_type) != libc::F_UNLCK)
}

fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_is_seen_and_not_taken_and_ends_with_its_holder() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("audit.lock");
        assert!(!is_locked(&path).expect("no file yet"));
        let held = try_lock(&path).expect("lock").expect("free");
        assert!(is_locked(&path).expect("asked"));
        assert!(try_lock(&path).expect("asked").is_none());
        drop(held);
        assert!(!is_locked(&path).expect("asked"));
        assert!(try_lock(&path).expect("lock").is_some());
    }

    #[test]
    fn a_shared_lock_keeps_out_only_who_wants_it_alone() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("backups.lock");
        let one = try_lock_shared(&path).expect("lock").expect("free");
        let two = try_lock_shared(&path).expect("lock").expect("shared");
        assert!(try_lock(&path).expect("asked").is_none());
        drop((one, two));
        let alone = try_lock(&path).expect("lock").expect("free");
        assert!(try_lock_shared(&path).expect("asked").is_none());
        drop(alone);
    }

    #[test]
    fn a_directorys_lock_is_waited_for() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path();
        let counted = std::sync::Mutex::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let held = lock_directory(path).expect("lock");
                    let alone = counted.try_lock().map(|mut count| *count += 1);
                    assert!(alone.is_ok(), "nobody else has it");
                    drop(held);
                });
            }
        });
        assert_eq!(counted.into_inner().expect("not poisoned"), 8);
        assert!(lock_directory(&path.join("none")).is_err());
    }

    #[test]
    fn a_dropped_lock_is_free_though_a_copy_of_its_descriptor_lives() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("audit.lock");
        let held = try_lock(&path).expect("lock").expect("free");
        let copy = held.file.try_clone().expect("a second descriptor");
        drop(held);
        assert!(try_lock(&path).expect("lock").is_some());
        drop(copy);
    }
}
