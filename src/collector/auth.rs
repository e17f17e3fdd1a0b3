//! Who may write, and who may query: by the kernel's word for a socket's peer, by a token over HTTP.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::fsio::{Fs, OsFs};

/// A token shorter than this can be guessed.
pub(super) const MIN_TOKEN_CHARS: usize = 16;

/// Why a token file cannot be used; never says what is in it.
#[derive(Debug, thiserror::Error)]
#[error("token file {path}: {reason}")]
pub struct TokenError {
    path: PathBuf,
    reason: String,
}

/// Who may write, and who may query.
#[derive(Debug)]
pub(super) struct Access {
    own_uid: u32,
    uids: Vec<u32>,
    gids: Vec<u32>,
    reader_uids: Vec<u32>,
    reader_gids: Vec<u32>,
    /// SHA-256 of the token: of equal length whatever is shown.
    token: Option<[u8; 32]>,
}

impl Access {
    pub(super) fn new(
        (uids, gids): (&[u32], &[u32]),
        (reader_uids, reader_gids): (&[u32], &[u32]),
        token_file: Option<&Path>,
    ) -> Result<Self, TokenError> {
        Ok(Self {
            own_uid: rustix::process::getuid().as_raw(),
            uids: uids.to_vec(),
            gids: gids.to_vec(),
            reader_uids: reader_uids.to_vec(),
            reader_gids: reader_gids.to_vec(),
            token: token_file.map(read_token).transpose()?,
        })
    }

    /// Whether a socket's peer may write.
    pub(super) fn allows(&self, uid: u32, gid: u32) -> bool {
        self.may_import(uid) || self.uids.contains(&uid) || self.gids.contains(&gid)
    }

    /// Whether a socket's peer may query: who may write need not.
    pub(super) fn may_read(&self, uid: u32, gid: u32) -> bool {
        self.may_import(uid) || self.reader_uids.contains(&uid) || self.reader_gids.contains(&gid)
    }

    /// Whether a peer's imports are free of the rate limit: root's and the
    /// collector's own user's.
    pub(super) fn may_import(&self, uid: u32) -> bool {
        uid == 0 || uid == self.own_uid
    }

    /// Whether anybody but root and the collector's own user may connect.
    pub(super) fn open_to_others(&self) -> bool {
        [&self.uids, &self.gids, &self.reader_uids, &self.reader_gids]
            .iter()
            .any(|ids| !ids.is_empty())
    }

    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Whether this is the token; takes as long whatever is wrong with it.
    pub(super) fn is_token(&self, shown: &[u8]) -> bool {
        let shown: [u8; 32] = Sha256::digest(shown).into();
        self.token.is_some_and(|token| token.ct_eq(&shown).into())
    }
}

fn read_token(path: &Path) -> Result<[u8; 32], TokenError> {
    let refuse = |reason: String| TokenError { path: path.to_path_buf(), reason };
    let meta = OsFs.meta(path).map_err(|error| refuse(error.to_string()))?;
    if meta.mode & 0o077 != 0 {
        return Err(refuse(format!("others may read it (mode {:o}); chmod 600 it", meta.mode)));
    }
    let bytes = OsFs.read(path, 4096).map_err(|error| refuse(error.to_string()))?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let token = line.trim_ascii();
    if token.len() < MIN_TOKEN_CHARS {
        return Err(refuse(format!("its first line is shorter than {MIN_TOKEN_CHARS} characters")));
    }
    Ok(Sha256::digest(token).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn root_and_the_own_user_may_always_others_only_when_allowed() {
        let access = Access::new((&[7], &[8]), (&[17], &[18]), None).expect("no token");
        let access = Access { own_uid: 1000, ..access };
        for (uid, gid, allowed) in
            [(0, 5, true), (1000, 5, true), (7, 5, true), (9, 8, true), (9, 9, false)]
        {
            assert_eq!(access.allows(uid, gid), allowed, "{uid}/{gid}");
        }
        assert!(access.may_import(0) && access.may_import(1000) && !access.may_import(7));
        // To write is one thing, to read what all have written another.
        for (uid, gid, allowed) in [
            (0, 5, true),
            (1000, 5, true),
            (7, 8, false),
            (17, 9, true),
            (9, 18, true),
            (9, 9, false),
        ] {
            assert_eq!(access.may_read(uid, gid), allowed, "{uid}/{gid}");
        }
        assert!(!access.allows(17, 18));
    }

    #[test]
    fn a_token_must_be_long_and_private_and_is_compared_whole() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("token");
        std::fs::write(&path, "0123456789abcdef\n").expect("write");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).expect("mode");
        assert!(
            Access::new((&[], &[]), (&[], &[]), Some(&path))
                .expect_err("open")
                .to_string()
                .contains("chmod")
        );
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("mode");
        let access = Access::new((&[], &[]), (&[], &[]), Some(&path)).expect("token");
        assert!(access.is_token(b"0123456789abcdef"));
        assert!(!access.is_token(b"0123456789abcde") && !access.is_token(b""));
        std::fs::write(&path, "short\n").expect("write");
        let error =
            Access::new((&[], &[]), (&[], &[]), Some(&path)).expect_err("short").to_string();
        assert!(error.contains("16") && !error.contains("short\n"), "{error}");
    }
}
