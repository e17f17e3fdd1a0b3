//! The one way to be a log's writer.
//!
//! A name can be removed, and another file put in its place: two programs that
//! each lock "the lock file" can both succeed. So a writer locks two things: the
//! lock file, which people know and which can be asked about without being taken,
//! and the log directory itself, by a descriptor that it keeps. Who removes the
//! lock file lets nobody in.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use super::{FileLock, is_locked, try_lock};

/// A starting writer tries for so long to lock the directory: whoever asks
/// whether a writer runs holds it for a moment.
const TRIES_FOR: Duration = Duration::from_millis(500);
const TRY_AGAIN: Duration = Duration::from_millis(5);

/// Held by a log's writer for its life, and by whoever puts other files in the
/// log's place.
#[derive(Debug)]
pub struct WriterLock {
    dir: PathBuf,
    path: PathBuf,
    held: Mutex<Option<Held>>,
}

#[derive(Debug)]
struct Held {
    directory: Directory,
    /// None for a moment: while the lock file is made anew.
    file: Option<FileLock>,
}

/// The directory by its descriptor.
#[derive(Debug)]
struct Directory {
    open: File,
    /// False where the file system locks no directories, as some networks' do.
    locked: bool,
    pid: u32,
}

impl Drop for Directory {
    fn drop(&mut self) {
        // As with the lock file: closing is not enough while a child has a copy,
        // and a fork must not release what its parent holds.
        if self.locked && self.pid == std::process::id() {
            let _ = flock(&self.open, FlockOperation::Unlock);
        }
    }
}

/// What stands where a writer's directory was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// The directory.
    Same,
    /// Nothing.
    Missing,
    /// Something else: another directory, or none.
    Other,
}

impl WriterLock {
    /// Takes both locks, making the lock file when needed; `None` when somebody
    /// else is the writer.
    ///
    /// # Errors
    /// When the directory or the lock file cannot be opened, or the file system
    /// knows no locks of files. One that knows none of directories is no error.
    pub fn take(dir: &Path, path: &Path) -> io::Result<Option<Self>> {
        // A writer whose lock file was removed makes it anew: whoever waits for the log must
        // not be found holding that one.
        if is_directory_locked(dir).unwrap_or(false) {
            return Ok(None);
        }
        // The file first: a writer that runs is told from this at once.
        let file = match try_lock(path) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(None),
            // Something else stands there: a writer that runs will set it aside.
            Err(_) if is_directory_locked(dir).unwrap_or(false) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(directory) = Directory::take(dir, TRIES_FOR)? else { return Ok(None) };
        let held = Mutex::new(Some(Held { directory, file: Some(file) }));
        let (dir, path) = (dir.to_path_buf(), path.to_path_buf());
        Ok(Some(Self { dir, path, held }))
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the directory is still where it was when it was locked.
    ///
    /// # Errors
    /// When that cannot be told.
    pub fn home(&self) -> io::Result<Home> {
        let held = self.held();
        let Some(held) = held.as_ref() else { return Ok(Home::Same) };
        let named = match std::fs::metadata(&self.dir) {
            Ok(named) => named,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Home::Missing),
            Err(error) => return Err(error),
        };
        let open = held.directory.open.metadata()?;
        let same = (named.dev(), named.ino()) == (open.dev(), open.ino());
        Ok(if same { Home::Same } else { Home::Other })
    }

    /// Goes on in the directory that is there now, if the one that was locked is
    /// deleted for good and nobody writes in the new one. One that was only moved
    /// may have a writer of its own by now, and is not left.
    ///
    /// # Errors
    /// When the new directory cannot be opened.
    pub fn move_in(&self) -> io::Result<bool> {
        let mut held = self.held();
        let Some(held) = held.as_mut() else { return Ok(false) };
        if held.directory.open.metadata()?.nlink() > 0 {
            return Ok(false);
        }
        let Some(directory) = Directory::take(&self.dir, Duration::ZERO)? else {
            return Ok(false);
        };
        held.directory = directory;
        Ok(true)
    }

    /// Whether the lock file's name still leads to the file that is locked;
    /// `Err(NotFound)` when there is none.
    ///
    /// # Errors
    /// When that cannot be told.
    pub fn is_named(&self) -> io::Result<bool> {
        let held = self.held();
        let named = std::fs::symlink_metadata(&self.path)?;
        match held.as_ref().and_then(|held| held.file.as_ref()) {
            None => Ok(false),
            Some(file) => {
                let open = file.file.metadata()?;
                Ok((named.dev(), named.ino()) == (open.dev(), open.ino()))
            }
        }
    }

    /// Makes the lock file anew, where there is none, and locks it; false when
    /// somebody was quicker.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn retake(&self) -> io::Result<bool> {
        let mut held = self.held();
        let Some(held) = held.as_mut() else { return Ok(false) };
        let Some(file) = try_lock(&self.path)? else { return Ok(false) };
        held.file = Some(file);
        Ok(true)
    }

    /// Releases both locks. A fork only closes its copies of the descriptors, so
    /// that the locks end with the parent. Does not wait.
    pub fn release(&self) {
        let held = match self.held.try_lock() {
            Ok(mut held) => held.take(),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().take(),
            // Another thread of the parent had it; the copies end with this process.
            Err(TryLockError::WouldBlock) => None,
        };
        drop(held);
    }
}

impl Directory {
    /// `None` when somebody else has it all the time.
    fn take(dir: &Path, tries_for: Duration) -> io::Result<Option<Self>> {
        let open = open_directory(dir)?;
        let until = Instant::now() + tries_for;
        loop {
            match flock(&open, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    let pid = std::process::id();
                    return Ok(Some(Self { open, locked: true, pid }));
                }
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if Instant::now() >= until => return Ok(None),
                Err(Errno::WOULDBLOCK) => std::thread::sleep(TRY_AGAIN),
                // The lock file alone, then.
                Err(_) => return Ok(Some(Self { open, locked: false, pid: std::process::id() })),
            }
        }
    }
}

fn open_directory(dir: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(dir, flags, Mode::empty())?.into())
}

/// Whether a writer has the log in `dir`, whose lock file is `path`. Takes
/// nothing from a writer that is just starting.
///
/// # Errors
/// When the lock file cannot be asked about and nobody has the directory.
pub fn writer_runs(dir: &Path, path: &Path) -> io::Result<bool> {
    let file = is_locked(path);
    if matches!(file, Ok(true)) {
        return Ok(true);
    }
    match is_directory_locked(dir) {
        Ok(true) => Ok(true),
        Ok(false) => file,
        // Whoever may look at the file, and not list the directory, learns what
        // the file tells.
        Err(error) => file.and_then(|free| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(free),
            io::ErrorKind::PermissionDenied => Ok(free),
            _ => Err(error),
        }),
    }
}

fn is_directory_locked(dir: &Path) -> io::Result<bool> {
    let open = open_directory(dir)?;
    loop {
        match flock(&open, FlockOperation::NonBlockingLockShared) {
            Ok(()) => {
                let _ = flock(&open, FlockOperation::Unlock);
                return Ok(false);
            }
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => return Ok(true),
            Err(_) => return Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let dir = directory.path().join("logs");
        std::fs::create_dir(&dir).expect("directory");
        let path = dir.join("audit.lock");
        (directory, dir, path)
    }

    fn take(dir: &Path, path: &Path) -> Option<WriterLock> {
        WriterLock::take(dir, path).expect("asked")
    }

    #[test]
    fn removing_or_replacing_the_lock_file_lets_no_second_writer_in() {
        let (_place, dir, path) = place();
        assert!(!writer_runs(&dir, &path).expect("asked"));
        let writer = take(&dir, &path).expect("free");
        assert!(writer.is_named().expect("asked"));
        std::fs::remove_file(&path).expect("removed");
        assert!(writer_runs(&dir, &path).expect("asked"), "the directory tells it");
        assert!(take(&dir, &path).is_none());
        assert!(!path.exists(), "who does not get in makes no lock file");
        assert!(writer.retake().expect("made") && writer.is_named().expect("asked"));
        drop(writer);
        assert!(!writer_runs(&dir, &path).expect("asked"));
        assert!(take(&dir, &path).is_some());
    }

    #[test]
    fn who_asks_all_the_time_keeps_no_writer_from_starting() {
        let (_place, dir, path) = place();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        let _ = writer_runs(&dir, &path);
                        std::thread::yield_now();
                    }
                });
            }
            let taken: Vec<bool> = (0..20).map(|_| take(&dir, &path).is_some()).collect();
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(taken.iter().all(|taken| *taken), "{taken:?}");
        });
    }

    #[test]
    fn a_directory_that_was_moved_away_is_missed_and_only_a_deleted_one_is_left() {
        let (place, dir, path) = place();
        let writer = take(&dir, &path).expect("free");
        assert_eq!(writer.home().expect("asked"), Home::Same);
        let moved = place.path().join("moved");
        std::fs::rename(&dir, &moved).expect("moved");
        assert_eq!(writer.home().expect("asked"), Home::Missing);
        std::fs::create_dir(&dir).expect("another");
        assert_eq!(writer.home().expect("asked"), Home::Other);
        assert!(!writer.move_in().expect("asked"), "the first may have a writer yet");
        std::fs::remove_dir_all(&moved).expect("deleted");
        let other = take(&dir, &path).expect("nobody writes there");
        assert!(!writer.move_in().expect("asked"), "somebody else does");
        drop(other);
        assert!(writer.move_in().expect("asked"));
        assert_eq!(writer.home().expect("asked"), Home::Same);
        assert!(take(&dir, &path).is_none());
    }

    #[test]
    fn what_was_released_is_free_and_is_not_taken_again() {
        let (_place, dir, path) = place();
        let writer = take(&dir, &path).expect("free");
        writer.release();
        assert!(take(&dir, &path).is_some());
        assert_eq!(writer.home().expect("asked"), Home::Same);
        assert!(!writer.retake().expect("nothing to take for"));
    }
}
