//! Which files are private enough to be trusted.

use std::path::Path;

use super::FileMeta;

/// Whether a file of this owner and mode is private: its owner's alone, or root's with
/// its group allowed to read, as keys are handed to a service.
#[must_use]
pub fn is_private(uid: u32, mode: u32) -> bool {
    let allowed = if uid == 0 { 0o740 } else { 0o700 };
    mode & 0o777 & !allowed == 0
}

/// Why a file may be read by those who should not, and what to do; `None` when it
/// is private: its owner's alone, or root's with its group allowed to read, as
/// keys are handed to a service (and as systemd's credentials look).
#[must_use]
pub fn exposed(path: &Path, meta: &FileMeta) -> Option<String> {
    (!is_private(meta.uid, meta.mode)).then(|| {
        let file = path.display();
        format!("others can read it (mode {:04o}); run chmod 600 {file}", meta.mode & 0o7777)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsio::{Fs, OsFs};

    #[test]
    fn only_its_owner_may_use_it_or_the_group_of_roots_file_read_it() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("key");
        std::fs::write(&path, "").expect("written");
        let meta = OsFs.meta(&path).expect("there");
        for (uid, mode, private) in [
            (1000, 0o600, true),
            (1000, 0o400, true),
            (1000, 0o640, false),
            (1000, 0o604, false),
            (0, 0o600, true),
            (0, 0o640, true),
            (0, 0o440, true),
            (0, 0o660, false),
            (0, 0o644, false),
        ] {
            let found = exposed(&path, &FileMeta { uid, mode, ..meta });
            assert_eq!(found.is_none(), private, "{uid} {mode:o}: {found:?}");
        }
    }
}
