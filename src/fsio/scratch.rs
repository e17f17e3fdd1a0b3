//! A directory to try things in, which goes when it is done with, and is known
//! for a leftover when its process was killed: the lock in it is then free.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::inspect::{self, Kind};
use super::lock::{FileLock, try_lock};

/// What their names begin with.
pub const PREFIX: &str = ".auditctl-validate-";
const LOCK: &str = "scratch.lock";
/// A directory that has no lock yet may be just being made.
const BEING_MADE: Duration = Duration::from_secs(60);
/// Who still writes in it while it is removed may need a moment to end.
const TRIES: u32 = 50;

/// A directory of mode 0700, removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    lock: Option<FileLock>,
}

impl Scratch {
    /// A new one in `parent`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn new_in(parent: &Path) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        let made = builder.prefix(PREFIX).permissions(mode).tempdir_in(parent)?;
        super::os::give_dir(made.path())?;
        let lock = try_lock(&made.path().join(LOCK))?;
        Ok(Self { path: made.keep(), lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, with all that is in it.
    ///
    /// # Errors
    /// The operating system's, after several tries.
    pub fn remove(mut self) -> io::Result<()> {
        self.clear()
    }

    fn clear(&mut self) -> io::Result<()> {
        if self.lock.is_none() {
            return Ok(());
        }
        remove_all(&self.path)?;
        self.lock = None;
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The next one who looks finds what stays.
        let _ = self.clear();
    }
}

/// What killed processes of this user have left in `parent`.
///
/// # Errors
/// When `parent` cannot be listed.
pub fn leftovers(parent: &Path) -> io::Result<Vec<PathBuf>> {
    let own = rustix::process::geteuid().as_raw();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(parent)? {
        let path = entry?.path();
        let ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        // A link of that name is somebody's trap.
        let is_directory = ours
            && inspect::at(&path)?
                .is_some_and(|entry| entry.kind == Kind::Directory && entry.uid == own);
        if is_directory && is_left(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn is_left(path: &Path) -> bool {
    let lock = path.join(LOCK);
    match inspect::at(&lock) {
        Ok(Some(_)) => matches!(super::lock::is_locked(&lock), Ok(false)),
        Ok(None) => std::fs::metadata(path)
            .and_then(|meta| meta.modified())
            .ok()
            .and_then(|made| SystemTime::now().duration_since(made).ok())
            .is_some_and(|age| age > BEING_MADE),
        Err(_) => false,
    }
}

/// Removes a leftover.
///
/// # Errors
/// The operating system's.
pub fn remove_leftover(path: &Path) -> io::Result<()> {
    remove_all(path)
}

fn remove_all(path: &Path) -> io::Result<()> {
    let mut left = TRIES;
    loop {
        left -= 1;
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && at_is_none(path) => {
                return Ok(());
            }
            Err(error) if left == 0 => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
            Ok(()) => return Ok(()),
        }
    }
}

fn at_is_none(path: &Path) -> bool {
    matches!(inspect::at(path), Ok(None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn it_is_private_and_goes_with_all_that_is_in_it() {
        let parent = tempfile::tempdir().expect("temporary directory");
        let scratch = Scratch::new_in(parent.path()).expect("made");
        let path = scratch.path().to_path_buf();
        std::fs::create_dir(path.join("inner")).expect("directory");
        std::fs::write(path.join("inner/file"), "x").expect("write");
        assert_eq!(inspect::at(&path).expect("asked").expect("there").mode, 0o700);
        assert_eq!(leftovers(parent.path()).expect("listed"), Vec::<PathBuf>::new());
        drop(scratch);
        assert_eq!(inspect::at(&path).expect("asked"), None);
    }

    #[test]
    fn what_nobody_holds_is_a_leftover_and_a_link_of_that_name_is_not() {
        let parent = tempfile::tempdir().expect("temporary directory");
        let elsewhere = tempfile::tempdir().expect("temporary directory");
        let left = parent.path().join(format!("{PREFIX}killed"));
        std::fs::create_dir(&left).expect("directory");
        std::fs::write(left.join(LOCK), "").expect("a lock that nobody holds");
        std::fs::create_dir(parent.path().join(format!("{PREFIX}new"))).expect("being made");
        symlink(elsewhere.path(), parent.path().join(format!("{PREFIX}trap"))).expect("link");
        assert_eq!(leftovers(parent.path()).expect("listed"), vec![left.clone()]);
        remove_leftover(&left).expect("removed");
        assert_eq!(leftovers(parent.path()).expect("listed"), Vec::<PathBuf>::new());
        assert!(elsewhere.path().exists());
    }
}
