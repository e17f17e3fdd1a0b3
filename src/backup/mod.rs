//! Backups of a log.

mod name;

use std::path::Path;

pub use name::{metadata_name, parse_metadata_name};

use crate::clock::Timestamp;
use crate::fsio::Fs;

/// When the newest local backup was made: by the name of its metadata, which is
/// written last, once the backup is whole. `None` when there is none, or when
/// the directory cannot be read.
#[must_use]
pub fn newest(fs: &dyn Fs, dir: &Path) -> Option<Timestamp> {
    let names = fs.list(dir).ok()?;
    names.iter().filter_map(|name| parse_metadata_name(name)).max()
}
