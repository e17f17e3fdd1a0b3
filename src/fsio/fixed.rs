//! A small file of a fixed size that one process overwrites in place, also on a
//! full disk, and that others read, cut, remove or replace when they like.
//!
//! It is written with plain `write`s. A memory mapping would be cheaper, but a
//! store into a mapping whose file somebody has cut, or whose file system has no
//! space left for a copy of the block, ends the whole process with SIGBUS.

use std::io;
use std::path::{Path, PathBuf};

use super::os::{self, OsFs};
use super::{FileMeta, Fs, FsFile, OpenMode, parent, temporary_name};

/// `BTRFS_SUPER_MAGIC`: overwriting needs new space there, unless the file says no.
const BTRFS: u64 = 0x9123_683e;

/// What somebody has done to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Its name is gone.
    Removed,
    /// Something else has its name.
    Replaced,
    /// It is shorter or longer than it was made.
    Resized,
    /// Other bytes are in it than were written last.
    Altered,
}

impl Changed {
    /// As the record about it says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Removed => "deleted",
            Self::Replaced => "replaced",
            Self::Resized => "truncated",
            Self::Altered => "altered",
        }
    }
}

/// The file, held open.
#[derive(Debug)]
pub struct FixedFile {
    path: PathBuf,
    file: Box<dyn FsFile>,
    /// What was written last, whole.
    content: Vec<u8>,
}

impl FixedFile {
    /// Takes over the file if it can be overwritten in place, and makes it
    /// otherwise; `content` is then in it. A directory in its place is renamed to
    /// `aside`; anything else that is no such file is replaced.
    ///
    /// # Errors
    /// When it can neither be taken over nor made.
    pub fn open(path: &Path, content: &[u8], aside: &Path) -> io::Result<Self> {
        let file = match take_over(path, content.len()) {
            Some(file) => file,
            None => make(path, content, aside)?,
        };
        file.write_all_at(content, 0)?;
        Ok(Self { path: path.to_path_buf(), file, content: content.to_vec() })
    }

    /// Overwrites the whole file; tells when it had another size. What is read
    /// meanwhile may be a mixture: readers need a checksum.
    ///
    /// # Errors
    /// The operating system's; the next `write` may succeed.
    pub fn write(&mut self, content: &[u8]) -> io::Result<Option<Changed>> {
        debug_assert_eq!(content.len(), self.content.len(), "the size is fixed");
        let resized = self.file.meta()?.len != content.len() as u64;
        if resized {
            self.file.set_len(content.len() as u64)?;
        }
        self.file.write_all_at(content, 0)?;
        self.content.copy_from_slice(content);
        Ok(resized.then_some(Changed::Resized))
    }

    /// Whether the name still leads to the open file, and what was written is in it.
    ///
    /// # Errors
    /// When that cannot be seen.
    pub fn look(&self) -> io::Result<Option<Changed>> {
        let open = self.file.meta()?;
        match OsFs.entry(&self.path) {
            Ok(named) if named.same_file(&open) => {}
            Ok(_) => return Ok(Some(Changed::Replaced)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Some(Changed::Removed));
            }
            Err(error) => return Err(error),
        }
        if open.len != self.content.len() as u64 {
            return Ok(Some(Changed::Resized));
        }
        let mut now = vec![0; self.content.len()];
        match self.file.read_exact_at(&mut now, 0) {
            Ok(()) if now == self.content => Ok(None),
            Ok(()) => Ok(Some(Changed::Altered)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Ok(Some(Changed::Resized))
            }
            Err(error) => Err(error),
        }
    }

    /// Puts the file back with what was written last.
    ///
    /// # Errors
    /// When that is not possible now; it may be later.
    pub fn put_back(&mut self, changed: Changed, aside: &Path) -> io::Result<()> {
        if matches!(changed, Changed::Resized | Changed::Altered) {
            self.file.set_len(self.content.len() as u64)?;
            return self.file.write_all_at(&self.content, 0);
        }
        self.file = make(&self.path, &self.content, aside)?;
        Ok(())
    }
}

/// The file that is there, if it can be overwritten in place.
fn take_over(path: &Path, length: usize) -> Option<Box<dyn FsFile>> {
    let fits = |meta: FileMeta| meta.is_file && meta.links == 1 && meta.len == length as u64;
    if !OsFs.entry(path).is_ok_and(fits) {
        return None;
    }
    let file = os::open_file(path, OpenMode::Write).ok()?;
    (!os::copies_on_write(&file, BTRFS)).then(|| os::wrapped(file))
}

/// Makes the file beside its place, and gives it its name when it is complete.
fn make(path: &Path, content: &[u8], aside: &Path) -> io::Result<Box<dyn FsFile>> {
    let temporary = temporary_name(path);
    let attempt = || {
        let file = os::open_file(&temporary, OpenMode::CreateNew)?;
        // Only works while the file is empty, and only where there is such a thing.
        os::stop_copying_on_write(&file);
        let file = os::wrapped(file);
        file.write_all_at(content, 0)?;
        // The blocks are to be there: a later overwrite must not need space.
        file.sync_data()?;
        if let Err(error) = OsFs.rename(&temporary, path) {
            // Only a directory is not replaced.
            if OsFs.entry(path).is_ok_and(|meta| meta.is_file) {
                return Err(error);
            }
            OsFs.rename(path, aside)?;
            OsFs.rename(&temporary, path)?;
        }
        OsFs.sync_dir(&parent(path))?;
        Ok(file)
    };
    let made = attempt();
    if made.is_err() {
        let _ = OsFs.remove(&temporary);
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const CONTENT: &[u8] = &[7; 64];

    fn fixed() -> (tempfile::TempDir, PathBuf, FixedFile) {
        let place = tempfile::tempdir().expect("temporary directory");
        let path = place.path().join("page");
        let file = FixedFile::open(&path, CONTENT, &place.path().join("aside")).expect("made");
        (place, path, file)
    }

    fn in_place_of_it(what: &str, path: &Path) {
        match what {
            "emptied" => fs::File::options().write(true).truncate(true).open(path).map(drop),
            "longer" => fs::File::options().write(true).open(path).and_then(|f| f.set_len(99)),
            "altered" => fs::write(path, [8; 64]),
            _ => fs::remove_file(path),
        }
        .expect("done");
        match what {
            "another" => fs::write(path, "x"),
            "link" => std::os::unix::fs::symlink("elsewhere", path),
            "pipe" => rustix::fs::mknodat(
                rustix::fs::CWD,
                path,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RWXU,
                0,
            )
            .map_err(Into::into),
            "directory" => fs::create_dir_all(path.join("full")),
            _ => Ok(()),
        }
        .expect("put there");
    }

    #[test]
    fn whatever_is_done_to_the_file_is_seen_and_it_is_put_back_whole() {
        for (what, changed) in [
            ("removed", Changed::Removed),
            ("emptied", Changed::Resized),
            ("longer", Changed::Resized),
            ("altered", Changed::Altered),
            ("another", Changed::Replaced),
            ("link", Changed::Replaced),
            ("pipe", Changed::Replaced),
            ("directory", Changed::Replaced),
        ] {
            let (place, path, mut file) = fixed();
            assert_eq!(file.look().expect("seen"), None);
            in_place_of_it(what, &path);
            assert_eq!(file.look().expect("seen"), Some(changed), "{what}");
            file.put_back(changed, &place.path().join("aside")).expect(what);
            assert_eq!(fs::read(&path).expect(what), CONTENT, "{what}");
            assert_eq!(file.look().expect("seen"), None, "{what}");
            assert_eq!(place.path().join("aside/full").exists(), what == "directory");
            assert!(!place.path().join("elsewhere").exists(), "nothing is written through a link");
        }
    }

    #[test]
    fn a_file_that_was_cut_is_whole_again_with_the_next_write_and_that_is_told() {
        let (_place, path, mut file) = fixed();
        for what in ["emptied", "longer"] {
            in_place_of_it(what, &path);
            assert_eq!(file.write(&[9; 64]).expect("written"), Some(Changed::Resized));
            assert_eq!(fs::read(&path).expect("read"), [9; 64], "{what}");
        }
    }

    #[test]
    fn what_is_there_is_taken_over_or_replaced_when_it_is_opened_again() {
        for what in ["taken over", "emptied", "another", "link", "pipe", "directory"] {
            let (place, path, file) = fixed();
            let inode = OsFs.entry(&path).expect("there").inode;
            drop(file);
            if what != "taken over" {
                in_place_of_it(what, &path);
            }
            let mut file =
                FixedFile::open(&path, &[9; 64], &place.path().join("aside")).expect(what);
            assert_eq!(fs::read(&path).expect(what), [9; 64], "{what}");
            assert_eq!(file.write(CONTENT).expect("written"), None);
            assert_eq!(fs::read(&path).expect(what), CONTENT, "{what}");
            if what == "taken over" {
                assert_eq!(OsFs.entry(&path).expect("there").inode, inode);
            }
            let left: Vec<_> = fs::read_dir(place.path()).expect("list").collect();
            assert_eq!(left.len(), if what == "directory" { 2 } else { 1 }, "{what}: {left:?}");
        }
    }
}
