//! The bundle as one `.tar.gz`.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::File;
use crate::clock::Timestamp;

/// The files in a directory of that name, as a gzipped tar archive, in memory.
///
/// # Errors
/// None on memory, but the writers' types have them.
pub(in crate::cli) fn pack(dir: &str, files: &[File], at: Timestamp) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(file.text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(at.unix_seconds()).unwrap_or(0));
        header.set_entry_type(tar::EntryType::Regular);
        let path = format!("{dir}/{}", file.name);
        archive.append_data(&mut header, path, file.text.as_bytes())?;
    }
    let mut encoder = archive.into_inner()?;
    encoder.flush()?;
    encoder.finish()
}
