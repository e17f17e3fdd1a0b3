//! An object that is made in a file before it is sent.

use std::path::{Path, PathBuf};

use super::error::{ArchiveError, io_error};
use crate::backup::FileSink;
use crate::fsio::{FsFile, OpenMode, SharedFs};

/// An object that is made in a file, so that memory stays bounded; the file goes with it.
pub(super) struct Spool<'a> {
    fs: &'a SharedFs,
    pub(super) path: PathBuf,
    file: Box<dyn FsFile>,
}

impl<'a> Spool<'a> {
    pub(super) fn new(fs: &'a SharedFs, log_dir: &Path) -> Result<Self, ArchiveError> {
        let path = log_dir.join("audit.archive.spool");
        // Whoever left one behind is dead: this process has the lock.
        let _ = fs.remove(&path);
        let file = fs.open(&path, OpenMode::CreateNew).map_err(io_error("make", &path))?;
        Ok(Self { fs, path, file })
    }

    pub(super) fn fill<T>(
        &self,
        write: impl FnOnce(&mut FileSink<'_>) -> Result<T, ArchiveError>,
    ) -> Result<(T, crate::store::Digests), ArchiveError> {
        let mut sink = FileSink::new(&*self.file);
        let written = write(&mut sink).map_err(|error| match error {
            ArchiveError::Io { action, source, .. } => {
                ArchiveError::Io { action, path: self.path.clone(), source }
            }
            error => error,
        })?;
        let digests = sink.digests().for_store().map_err(ArchiveError::LogDamaged)?;
        Ok((written, digests))
    }
}

impl Drop for Spool<'_> {
    fn drop(&mut self) {
        let _ = self.fs.remove(&self.path);
    }
}
