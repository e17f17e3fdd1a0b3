//! The lock that a writer holds for its life.
//!
//! An *open file description* lock (`F_OFD_SETLK`): like `flock` it belongs to
//! the open file, is released by the kernel when its process ends however it
//! ends, and keeps two logs in one process apart. Unlike `flock` it can be asked
//! about (`F_OFD_GETLK`) without being taken, so that `health` never gets in a
//! starting writer's way.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::OpenMode;
use super::os::{open_file, open_lock};

mod writer;

pub use writer::{Home, WriterLock, writer_runs};

/// A held lock; dropping it releases it, except in a fork of the process that
/// took it: a fork has the same lock, and must not release its parent's.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    pid: u32,
}

impl Drop for FileLock {
    /// Closing alone would not release it while a child that another thread is
    /// just starting still has a copy of the descriptor, between its `fork` and
    /// its `exec`.
    fn drop(&mut self) {
        if self.pid != std::process::id() {
            return;
        }
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
        Ok(_) => Ok(Some(FileLock { file, pid: std::process::id() })),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Keeps other changers of a file out, until it is dropped; see [`lock_for_change`].
#[derive(Debug)]
pub struct ChangeLock {
    file: File,
    path: PathBuf,
    made: bool,
}

impl ChangeLock {
    /// Whether the file is there only for the lock: it was made, empty.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.made
    }
}

impl Drop for ChangeLock {
    fn drop(&mut self) {
        // Nothing took its place: there was no file before, and there is none now.
        if self.made && is_at(&self.path, &self.file).unwrap_or(false) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Waits until nobody else changes a file that is changed by replacing it (`flock`
/// on the file itself). A file that does not exist is made, mode 0600, and goes
/// again with the lock unless another takes its place.
///
/// # Errors
/// When the file cannot be opened or made, or the file system knows no locks.
pub fn lock_for_change(path: &Path) -> io::Result<ChangeLock> {
    loop {
        let (file, made) = match open_file(path, OpenMode::Read) {
            Ok(file) => (file, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match open_file(path, OpenMode::CreateNew) {
                    Ok(file) => (file, true),
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                    Err(error) => return Err(error),
                }
            }
            Err(error) => return Err(error),
        };
        rustix::io::retry_on_intr(|| {
            rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
        })?;
        // It may have been replaced while this waited.
        if is_at(path, &file)? {
            return Ok(ChangeLock { file, path: path.to_path_buf(), made });
        }
    }
}

fn is_at(path: &Path, file: &File) -> io::Result<bool> {
    let named = match std::fs::metadata(path) {
        Ok(named) => named,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let open = file.metadata()?;
    Ok((named.dev(), named.ino()) == (open.dev(), open.ino()))
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
    fn who_changes_a_file_by_replacing_it_waits_for_who_does() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("tokens");
        let alone = std::sync::Mutex::new(());
        std::thread::scope(|scope| {
            for turn in 0..8 {
                let (path, alone) = (&path, &alone);
                scope.spawn(move || {
                    let held = lock_for_change(path).expect("lock");
                    let one = alone.try_lock().expect("nobody else has it");
                    let new = path.with_extension(turn.to_string());
                    let before = std::fs::read_to_string(path).expect("read");
                    std::fs::write(&new, format!("{before}{turn}\n")).expect("write");
                    // Once it is replaced, the next one may begin.
                    drop(one);
                    std::fs::rename(&new, path).expect("replaced");
                    drop(held);
                });
            }
        });
        let lines = std::fs::read_to_string(&path).expect("read");
        assert_eq!(lines.lines().count(), 8, "none is lost: {lines}");
        assert!(lock_for_change(&directory.path().join("none/tokens")).is_err());
    }

    #[test]
    fn a_file_made_only_to_be_locked_goes_with_the_lock() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("tokens");
        let held = lock_for_change(&path).expect("lock");
        assert!(held.is_new() && path.exists());
        drop(held);
        assert!(!path.exists());
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
