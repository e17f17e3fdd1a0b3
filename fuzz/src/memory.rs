//! A file in memory, to be read only.

use std::io;
use std::time::UNIX_EPOCH;

use auditctl::fsio::{FileMeta, FsFile};

/// Its content.
#[derive(Debug)]
pub(crate) struct Memory<'a>(pub(crate) &'a [u8]);

impl FsFile for Memory<'_> {
    fn write_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let read = bytes.len().min(self.0.len() - from);
        bytes[..read].copy_from_slice(&self.0[from..from + read]);
        Ok(read)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn allocate(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn meta(&self) -> io::Result<FileMeta> {
        Ok(FileMeta {
            len: self.0.len() as u64,
            inode: 1,
            device: 1,
            links: 1,
            modified: UNIX_EPOCH,
            changed: 0,
            mode: 0o600,
            uid: 0,
            is_file: true,
        })
    }
}
