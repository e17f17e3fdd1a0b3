//! Reading a file whole, for its digests.

use std::path::Path;

use super::digest::{Digester, Digests};
use super::error::{BackupError, io_error};
use crate::audit::read::watch::Watch;
use crate::fsio::FsFile;

/// Reads a file whole.
///
/// # Errors
/// A read error; an interruption.
pub(crate) fn digests(
    file: &dyn FsFile,
    path: &Path,
    watch: &dyn Watch,
) -> Result<Digests, BackupError> {
    let mut digester = Digester::default();
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        if watch.interrupted() {
            return Err(BackupError::Interrupted);
        }
        match file.read_at(&mut buffer, at).map_err(io_error("read", path))? {
            0 => return Ok(digester.finish()),
            read => {
                digester.update(&buffer[..read]);
                watch.advance(read as u64);
                at += read as u64;
            }
        }
    }
}
