//! Below a directory and nowhere else: for directories in a log's or a backup's
//! directory whose names come from a file that somebody else may have written.
//!
//! `openat2` with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS` where the kernel has it
//! (Linux 5.6), else `O_NOFOLLOW`, which is the same for a single name. The
//! directory above is the operator's choice, and may be a symbolic link.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, ResolveFlags, openat, openat2, renameat};
use rustix::io::Errno;

/// Whether a text is one name: no way up, down or elsewhere.
#[must_use]
pub fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}

fn directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

/// The directory of that name itself, never what a symbolic link points to.
fn below(root: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    if !is_plain_name(name) {
        let reason = format!("{name:?} is not a plain name");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let opened = match openat2(root.as_fd(), name, flags, Mode::empty(), resolve) {
        // An older kernel, or a sandbox that does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => openat(root.as_fd(), name, flags, Mode::empty()),
        opened => opened,
    };
    Ok(opened?)
}

/// Splits `name` or `directory/name`.
fn parts(path: &Path) -> io::Result<(Option<&str>, &str)> {
    let text = path.to_str().ok_or(io::ErrorKind::InvalidInput)?;
    let (parent, name) = match text.rsplit_once('/') {
        Some((parent, name)) => (Some(parent), name),
        None => (None, text),
    };
    if is_plain_name(name) { Ok((parent, name)) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// Renames below `root`, replacing what is there. Both are a name, or a
/// directory's name and a name in it; the directories are no symbolic links.
pub(super) fn rename(root: &Path, from: &Path, to: &Path) -> io::Result<()> {
    let root = directory(root)?;
    let ((from_dir, from), (to_dir, to)) = (parts(from)?, parts(to)?);
    let from_dir = from_dir.map(|name| below(&root, name)).transpose()?;
    let to_dir = to_dir.map(|name| below(&root, name)).transpose()?;
    let (from_dir, to_dir) = (from_dir.as_ref().unwrap_or(&root), to_dir.as_ref().unwrap_or(&root));
    Ok(renameat(from_dir, from, to_dir, to)?)
}

/// Removes a directory of files. A symbolic link in its place is removed, and
/// what it points to is left alone; so is any directory in it.
pub(super) fn clear(dir: &Path) -> io::Result<()> {
    let Some(name) = dir.file_name().and_then(|name| name.to_str()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let root = directory(&super::parent(dir))?;
    let inside = match below(&root, name) {
        Ok(inside) => inside,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
        Err(_) => return Ok(rustix::fs::unlinkat(&root, name, AtFlags::empty())?),
    };
    for entry in Dir::read_from(&inside)? {
        let entry = entry?;
        let file = entry.file_name();
        if file.to_bytes() != b"." && file.to_bytes() != b".." {
            // What cannot be removed keeps the directory, below.
            let _ = rustix::fs::unlinkat(&inside, file, AtFlags::empty());
        }
    }
    Ok(rustix::fs::unlinkat(&root, name, AtFlags::REMOVEDIR)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_in_a_directorys_place_is_removed_and_what_it_points_to_stays() {
        let place = tempfile::tempdir().expect("temporary directory");
        let elsewhere = place.path().join("elsewhere");
        fs::create_dir(&elsewhere).expect("directory");
        fs::write(elsewhere.join("precious"), "x").expect("file");
        let link = place.path().join(".restore-x");
        symlink(&elsewhere, &link).expect("link");
        clear(&link).expect("the link goes");
        assert!(elsewhere.join("precious").exists() && link.symlink_metadata().is_err());
        // A directory of our own goes with what is in it, links too.
        fs::create_dir(&link).expect("directory");
        fs::write(link.join("a"), "x").expect("file");
        symlink(elsewhere.join("precious"), link.join("b")).expect("link");
        clear(&link).expect("cleared");
        assert!(elsewhere.join("precious").exists() && !link.exists());
        assert_eq!(clear(&link).expect_err("gone").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn nothing_is_moved_through_a_link_or_upwards() {
        let place = tempfile::tempdir().expect("temporary directory");
        let root = place.path().join("logs");
        fs::create_dir_all(root.join("aside")).expect("directories");
        fs::write(root.join("audit.log"), "x").expect("file");
        symlink(place.path(), root.join("out")).expect("link");
        for to in ["out/audit.log", "../audit.log", "aside/../../x", "/tmp/x", "aside/..", ""] {
            rename(&root, Path::new("audit.log"), Path::new(to)).expect_err(to);
        }
        rename(&root, Path::new("audit.log"), Path::new("aside/audit.log")).expect("moved");
        rename(&root, Path::new("aside/audit.log"), Path::new("audit.log")).expect("and back");
        // The directory above may be a link: it is the operator's.
        let link = place.path().join("chosen");
        symlink(&root, &link).expect("link");
        rename(&link, Path::new("audit.log"), Path::new("aside/audit.log")).expect("moved");
    }
}
