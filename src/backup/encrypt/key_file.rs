//! A file with private keys that opens encrypted backups.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::error::{BackupError, io_error};
use crate::audit::record::secret::Secret;
use crate::fsio::Fs;
use crate::fsio::private::exposed;

/// More than any such file holds.
const MAX_BYTES: u64 = 1 << 20;

/// What a file with private keys holds, read before anything is begun: it may be a pipe
/// that is waited for.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "encryption"), allow(dead_code))]
pub struct KeyFile {
    pub(super) path: PathBuf,
    pub(super) text: Arc<Secret<Vec<u8>>>,
}

impl KeyFile {
    /// Reads it.
    ///
    /// # Errors
    /// It cannot be read, or others may: who can read it can read every backup. What a
    /// pipe gives has no owner to be asked for.
    pub fn read(fs: &dyn Fs, path: &Path) -> Result<Self, BackupError> {
        let (text, meta) = fs.read_given(path, MAX_BYTES).map_err(io_error("read", path))?;
        let text = Arc::new(Secret(text));
        match exposed(path, &meta).filter(|_| meta.is_file) {
            Some(why) => Err(BackupError::Usage(format!("{}: {why}", path.display()))),
            None => Ok(Self { path: path.to_path_buf(), text }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsio::OsFs;
    use crate::fsio::os::set_mode;

    #[test]
    fn a_file_with_private_keys_that_others_may_read_is_refused_with_what_to_do() {
        let place = tempfile::tempdir().expect("temporary directory");
        let path = place.path().join("key.txt");
        std::fs::write(&path, "AGE-SECRET-KEY-1HUSH").expect("written");
        for (mode, fine) in [(0o600, true), (0o400, true), (0o644, false), (0o602, false)] {
            set_mode(&path, mode).expect("mode");
            match KeyFile::read(&OsFs, &path) {
                Ok(read) => assert!(fine && !format!("{read:?}").contains("HUSH"), "{mode:o}"),
                Err(error) => {
                    let said = error.to_string();
                    assert!(!fine && said.contains("chmod 600"), "{mode:o}: {said}");
                    assert!(!said.contains("HUSH"), "{said}");
                }
            }
        }
    }
}
