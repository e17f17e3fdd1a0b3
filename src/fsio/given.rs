//! Reading what somebody named on the command line, from its beginning to its end:
//! whatever it is, a pipe and a device among it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::FileMeta;
use super::os::meta_of;

/// An open input.
#[derive(Debug)]
pub struct Given(File);

/// Opens it. Waits for a pipe's other end, which whoever named it holds.
///
/// # Errors
/// The system's; a directory is refused.
pub fn open(path: &Path) -> io::Result<(Given, FileMeta)> {
    let file = File::open(path)?;
    let meta = file.metadata()?;
    if meta.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok((Given(file), meta_of(&meta)))
}

impl Read for Given {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}
