//! The key of the HMACs, and the file that it is kept in: 32 random bytes as one
//! line of 64 hex digits, mode 0600.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::audit::record::secret::Secret;
use crate::field_path::MAX_FIELD_PATHS;
use crate::fsio::private::is_private;
use crate::fsio::{self, Fs, OpenMode};
use crate::units::hex_digits;

/// What a replaced value begins with; 64 hex digits follow.
pub const REDACTED_PREFIX: &str = "hmac-sha256:";

/// Whether a text is what stands for a value that was replaced.
#[must_use]
pub fn is_redacted(text: &str) -> bool {
    text.strip_prefix(REDACTED_PREFIX).is_some_and(|digits| {
        digits.len() == 64 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

const KEY_BYTES: usize = 32;
const FILE_BYTES: usize = 2 * KEY_BYTES + 1;
/// What the key's id is the HMAC of.
const ID_OF: &[u8] = b"auditctl redaction key id";

/// Why a redaction key could not be had. Never holds key material.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum RedactKeyError {
    /// The file could not be read or written.
    #[error("cannot {action} the redaction key {}: {source}", path.display())]
    Io {
        /// "read" or "write".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than its owner can read or change it.
    #[error(
        "the redaction key {} has mode {mode:04o}: anyone who can read it can guess what was \
         redacted; run `chmod 600` on it",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file's content is no key.
    #[error(
        "{} holds no redaction key (one line of 64 hex digits): put the right file back, or move it \
         away for a new key, which matches nothing that was redacted before",
        path.display()
    )]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// More is named than can be looked for.
    #[error("redact names {count} fields, more than {MAX_FIELD_PATHS}")]
    TooManyPaths {
        /// How many.
        count: usize,
    },
    /// The system gave no randomness.
    #[error("the system gave no randomness for a redaction key: {0}")]
    Random(getrandom::Error),
}

impl RedactKeyError {
    /// The file concerned, if there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Io { path, .. } | Self::Exposed { path, .. } | Self::NotAKey { path } => {
                Some(path)
            }
            Self::TooManyPaths { .. } | Self::Random(_) => None,
        }
    }
}

/// A log's key for what it redacts. `Debug` shows its id only.
#[derive(Clone)]
pub struct RedactKey {
    mac: Hmac<Sha256>,
    /// What its file holds: a running log puts one back that was lost.
    text: Arc<Secret<Vec<u8>>>,
}

impl fmt::Debug for RedactKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedactKey({})", self.id())
    }
}

impl RedactKey {
    fn new(key: &[u8; KEY_BYTES]) -> Self {
        // All the room at once: growing would leave copies behind.
        let mut text = Secret(vec![b'\n'; FILE_BYTES]);
        for (pair, byte) in text.0.chunks_exact_mut(2).zip(key) {
            pair.copy_from_slice(&hex_digits(*byte));
        }
        let mac = Hmac::new_from_slice(key).expect("HMAC takes a key of any length");
        Self { mac, text: Arc::new(text) }
    }

    /// What its file holds.
    pub(crate) fn text(&self) -> &Arc<Secret<Vec<u8>>> {
        &self.text
    }

    /// Whether this is what a file of just this key holds.
    pub(crate) fn is_text(&self, text: &[u8]) -> bool {
        let digits = text.strip_suffix(b"\n").unwrap_or(text);
        digits.eq_ignore_ascii_case(&self.text.0[..2 * KEY_BYTES])
    }

    /// Reads a key; `None` when there is no such file.
    ///
    /// # Errors
    /// See [`RedactKeyError`].
    pub fn load(fs: &dyn Fs, path: &Path) -> Result<Option<Self>, RedactKeyError> {
        let failed = |source| RedactKeyError::Io { action: "read", path: path.to_owned(), source };
        let not_a_key = || RedactKeyError::NotAKey { path: path.to_owned() };
        // Before opening: opening a FIFO would wait for a writer.
        match fs.meta(path) {
            Ok(meta) if meta.is_file => {}
            Ok(_) => return Err(not_a_key()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
        let file = fs.open(path, OpenMode::Read).map_err(failed)?;
        // Of the open file, so that it cannot be swapped in between.
        let meta = file.meta().map_err(failed)?;
        if !is_private(meta.uid, meta.mode) {
            return Err(RedactKeyError::Exposed { path: path.to_owned(), mode: meta.mode });
        }
        if !(FILE_BYTES as u64 - 1..=FILE_BYTES as u64).contains(&meta.len) {
            return Err(not_a_key());
        }
        let mut text = Secret(vec![0_u8; meta.len as usize]);
        file.read_exact_at(&mut text.0, 0).map_err(failed)?;
        let digits = text.0.strip_suffix(b"\n").unwrap_or(&text.0);
        let mut key = Secret([0_u8; KEY_BYTES]);
        if digits.len() != 2 * KEY_BYTES {
            return Err(not_a_key());
        }
        for (byte, pair) in key.0.iter_mut().zip(digits.chunks_exact(2)) {
            let value = |digit: u8| char::from(digit).to_digit(16);
            let Some((high, low)) = value(pair[0]).zip(value(pair[1])) else {
                return Err(not_a_key());
            };
            *byte = (high << 4 | low) as u8;
        }
        Ok(Some(Self::new(&key.0)))
    }

    /// Makes a new key and its file, mode 0600, synced. Two processes must not do
    /// so at once: the caller holds the log's lock.
    ///
    /// # Errors
    /// See [`RedactKeyError`].
    pub fn create(fs: &dyn Fs, path: &Path) -> Result<Self, RedactKeyError> {
        let mut key = Secret([0_u8; KEY_BYTES]);
        getrandom::fill(&mut key.0).map_err(RedactKeyError::Random)?;
        let key = Self::new(&key.0);
        fsio::replace_file(fs, path, &key.text.0).map_err(|source| RedactKeyError::Io {
            action: "write",
            path: path.to_owned(),
            source,
        })?;
        Ok(key)
    }

    /// Eight hex digits that tell keys apart and say nothing of the key.
    #[must_use]
    pub fn id(&self) -> String {
        let mut id = self.digest(ID_OF);
        id.truncate(8);
        id
    }

    /// What stands for a value: `hmac-sha256:<64 hex digits>`.
    #[must_use]
    pub fn redacted(&self, value: &[u8]) -> String {
        let mut text = String::with_capacity(REDACTED_PREFIX.len() + 64);
        text.push_str(REDACTED_PREFIX);
        self.push_digest(value, &mut text);
        text
    }

    fn digest(&self, value: &[u8]) -> String {
        let mut text = String::with_capacity(64);
        self.push_digest(value, &mut text);
        text
    }

    fn push_digest(&self, value: &[u8], out: &mut String) {
        let mut mac = self.mac.clone();
        mac.update(value);
        for byte in mac.finalize().into_bytes() {
            out.extend(hex_digits(byte).map(char::from));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsio::OsFs;

    #[test]
    fn the_hmac_is_that_of_rfc_4231() {
        // Test case 2's key is short; HMAC pads keys with zeros.
        let mut key = [0; KEY_BYTES];
        key[..4].copy_from_slice(b"Jefe");
        let text = RedactKey::new(&key).redacted(b"what do ya want for nothing?");
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(text, format!("hmac-sha256:{expected}"));
    }

    #[test]
    fn a_key_is_kept_for_its_owner_alone_and_reads_back() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("audit.redact_key");
        assert!(RedactKey::load(&OsFs, &path).expect("no file").is_none());
        let made = RedactKey::create(&OsFs, &path).expect("made");
        assert_eq!(OsFs.meta(&path).expect("there").mode, 0o600);
        let read = RedactKey::load(&OsFs, &path).expect("read").expect("there");
        assert_eq!(read.redacted(b"x"), made.redacted(b"x"));
        assert_eq!(format!("{made:?}"), format!("RedactKey({})", made.id()));
        let other = RedactKey::create(&OsFs, &dir.path().join("other")).expect("made");
        assert_ne!(other.redacted(b"x"), made.redacted(b"x"));
    }

    #[test]
    fn what_is_no_key_or_open_to_others_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("key");
        RedactKey::create(&OsFs, &path).expect("made");
        let chmod = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("chmod");
        };
        chmod(0o604);
        let error = RedactKey::load(&OsFs, &path).expect_err("others can read it");
        assert!(matches!(error, RedactKeyError::Exposed { mode: 0o604, .. }), "{error}");
        chmod(0o600);
        for content in ["", "abc\n", &"g".repeat(64), &"a".repeat(63), &"a".repeat(66)] {
            std::fs::write(&path, content).expect("write");
            let error = RedactKey::load(&OsFs, &path).expect_err(content);
            assert!(matches!(error, RedactKeyError::NotAKey { .. }), "{content}: {error}");
        }
        let folder = RedactKey::load(&OsFs, dir.path());
        assert!(matches!(folder, Err(RedactKeyError::NotAKey { .. })));
    }
}
