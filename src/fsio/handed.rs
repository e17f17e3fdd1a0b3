//! A file that another program of the same user is told of by its name, because what is in
//! it must be in no argument list: those every user of the machine can read.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::{Builder, TempPath};

use super::inspect;

/// One of mode 0600 in a directory that is this user's alone; removed when dropped.
#[derive(Debug)]
pub struct Handed(TempPath);

impl Handed {
    /// A new one with that content. What is left of earlier ones is removed, if it is older
    /// than `kept`.
    ///
    /// # Errors
    /// The operating system's; `PermissionDenied` when others may enter the directory.
    pub fn new_in(
        dir: &Path,
        (prefix, suffix): (&str, &str),
        content: &[u8],
        kept: Duration,
    ) -> io::Result<Self> {
        let own = rustix::process::geteuid().as_raw();
        let is_private =
            inspect::behind(dir)?.is_some_and(|it| it.uid == own && it.mode & 0o077 == 0);
        if !dir.is_absolute() || !is_private {
            let what = "it is not this user's alone (mode 0700)";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        }
        sweep(dir, (prefix, suffix), kept);
        // Mode 0600, and no other's file or link in its place.
        let mut file = Builder::new().prefix(prefix).suffix(suffix).tempfile_in(dir)?;
        file.write_all(content)?;
        file.flush()?;
        Ok(Self(file.into_temp_path()))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Removes what killed processes have left; as far as that can be done.
fn sweep(dir: &Path, (prefix, suffix): (&str, &str), kept: Duration) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_ours = name.starts_with(prefix) && name.ends_with(suffix);
        let age =
            |meta: std::fs::Metadata| SystemTime::now().duration_since(meta.modified().ok()?).ok();
        let old = is_ours && entry.metadata().ok().and_then(age).is_some_and(|age| age > kept);
        if old {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NAME: (&str, &str) = ("auditctl-open-", ".html");

    #[test]
    fn it_is_this_users_alone_and_goes_when_it_is_done_with() {
        let dir = tempfile::tempdir().expect("temporary directory");
        super::super::os::set_mode(dir.path(), 0o700).expect("mode");
        let handed = Handed::new_in(dir.path(), NAME, b"secret", Duration::ZERO).expect("made");
        let path = handed.path().to_path_buf();
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(
            (mode & 0o777, std::fs::read(&path).expect("read")),
            (0o600, b"secret".to_vec())
        );
        drop(handed);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_process_left_goes_and_others_files_stay() {
        let dir = tempfile::tempdir().expect("temporary directory");
        super::super::os::set_mode(dir.path(), 0o700).expect("mode");
        let (left, other) = (dir.path().join("auditctl-open-x.html"), dir.path().join("x.html"));
        [&left, &other].into_iter().for_each(|path| std::fs::write(path, "x").expect("written"));
        std::thread::sleep(Duration::from_millis(5));
        let new = Handed::new_in(dir.path(), NAME, b"", Duration::from_secs(60)).expect("made");
        assert!(left.exists(), "it may be being read");
        drop(new);
        let _new = Handed::new_in(dir.path(), NAME, b"", Duration::ZERO).expect("made");
        assert!(!left.exists() && other.exists());
    }

    #[test]
    fn a_directory_that_others_may_enter_is_refused() {
        let dir = tempfile::tempdir().expect("temporary directory");
        super::super::os::set_mode(dir.path(), 0o755).expect("mode");
        let refused = Handed::new_in(dir.path(), NAME, b"secret", Duration::ZERO);
        assert_eq!(refused.expect_err("refused").kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 0);
    }
}
