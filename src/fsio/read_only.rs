//! Files that are only read, such as what is put together of several.

use std::fmt;
use std::io;

use super::{FileMeta, FsFile};

/// What can be read, and has no way to be written.
pub(crate) trait Readable: Send + Sync + fmt::Debug {
    /// As [`FsFile::read_at`].
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
    /// As [`FsFile::meta`].
    fn meta(&self) -> io::Result<FileMeta>;
}

/// It, as a file.
#[derive(Debug)]
pub(crate) struct ReadOnly<T>(pub(crate) T);

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl<T: Readable> FsFile for ReadOnly<T> {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(bytes, offset)
    }

    fn meta(&self) -> io::Result<FileMeta> {
        self.0.meta()
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        refused()
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        refused()
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        refused()
    }
}
