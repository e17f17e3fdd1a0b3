//! A file system that is only looked at: what would be changed stays as it is.

use std::io;
use std::path::Path;

use super::{FileMeta, Fs, FsFile, OpenMode, SharedFs, Space};

/// Another file system, of which nothing is changed. What is to be written is opened for
/// reading; whoever makes, renames or removes a name is told that it was done where a
/// look goes on without it, and refused where it would be read again.
#[derive(Debug)]
pub struct LookingFs(pub SharedFs);

impl Fs for LookingFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn FsFile>> {
        match mode {
            OpenMode::Read => self.0.open(path, mode),
            OpenMode::ReadOwn | OpenMode::Write => self.0.open(path, OpenMode::ReadOwn),
            OpenMode::CreateNew | OpenMode::Create => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
        }
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create_dir_all(&self, _path: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn remove_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.0.list(path)
    }

    fn meta(&self, path: &Path) -> io::Result<FileMeta> {
        self.0.meta(path)
    }

    /// With one name: whoever looks need not part a file from its other names.
    fn entry(&self, path: &Path) -> io::Result<FileMeta> {
        Ok(FileMeta { links: 1, ..self.0.entry(path)? })
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.0.space(path)
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        self.0.read(path, limit)
    }

    fn read_own(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        self.0.read_own(path, limit)
    }
}
