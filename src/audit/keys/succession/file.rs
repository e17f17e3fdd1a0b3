//! The files that a log's keys are in: `audit.keys`, `audit.pub`, the private key
//! and, while a rotation is under way, the one that is to follow it.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Keyring, KeyringError, Rotation};
use crate::audit::keys::checkpoint::VerifierKey;
use crate::audit::keys::signer::{KeyError, SigningKey};
use crate::audit::paths::LogPaths;
use crate::audit::tree::document;
use crate::audit::tree::document::{DocumentError, Kind, Layout};
use crate::fsio::{self, Fs, OpenMode};

/// The most rotations that a log can have.
pub const MAX_ROTATIONS: usize = 10_000;
/// Far more than so many rotations take.
pub(crate) const MAX_BYTES: u64 = 128 << 20;

/// `audit.keys`: every rotation that the log had, oldest first. A log without one
/// has no such file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyHistory {
    /// The log's id.
    pub log_id: String,
    /// The rotations.
    pub rotations: Vec<Rotation>,
}

/// Why a log's public keys cannot be had.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum KeysError {
    /// `audit.pub` cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// `audit.keys` cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `audit.keys` is not what it should be.
    #[error("{}: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A newer version of auditctl made `audit.keys`.
    #[error("{}: {source}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        source: DocumentError,
    },
    /// The rotations do not lead from one key to the next.
    #[error("{}: {source}", path.display())]
    Ring {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KeyringError,
    },
}

impl KeyHistory {
    /// Of a log that never changed its key.
    #[must_use]
    pub fn new(log_id: &str) -> Self {
        Self { log_id: log_id.to_owned(), rotations: Vec::new() }
    }

    /// As a file's content.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        document::encode_file(Kind::KEYS, self, Layout::Pretty).unwrap_or_default()
    }

    /// Reads it; `None` when there is none.
    ///
    /// # Errors
    /// [`KeysError::Io`]; [`KeysError::Newer`] for a newer format;
    /// [`KeysError::Invalid`] for what is no such file, or has more rotations than
    /// [`MAX_ROTATIONS`].
    pub fn load(fs: &dyn Fs, paths: &LogPaths) -> Result<Option<Self>, KeysError> {
        let path = paths.keys();
        let invalid = |reason: String| KeysError::Invalid { path: path.clone(), reason };
        let text = match fs.read_own(&path, MAX_BYTES) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(invalid(error.to_string()));
            }
            Err(source) => return Err(KeysError::Io { path, source }),
        };
        let history: Self = document::decode(Kind::KEYS, &text).map_err(|error| {
            if error.is_newer() {
                return KeysError::Newer { path: path.clone(), source: error };
            }
            invalid(error.to_string())
        })?;
        if history.rotations.is_empty() || history.rotations.len() > MAX_ROTATIONS {
            return Err(invalid(format!("it holds {} rotations", history.rotations.len())));
        }
        Ok(Some(history))
    }

    /// Replaces the file atomically and durably.
    ///
    /// # Errors
    /// [`KeysError::Io`]; whether the old or the new content is there is then not
    /// known.
    pub fn store(&self, fs: &dyn Fs, path: &Path) -> Result<(), KeysError> {
        fsio::replace_file(fs, path, &self.encode())
            .map_err(|source| KeysError::Io { path: path.to_path_buf(), source })
    }

    /// The key that the last rotation led to.
    #[must_use]
    pub fn newest(&self) -> Option<&str> {
        self.rotations.last().map(|rotation| rotation.new_key.as_str())
    }

    /// The last change of key, if nobody signed it.
    #[must_use]
    pub fn replacement(&self) -> Option<&Rotation> {
        self.rotations.last().filter(|rotation| rotation.replaced.is_some())
    }

    /// The keys, when `believed` is one of them.
    ///
    /// # Errors
    /// See [`KeyringError`].
    pub fn ring(&self, believed: VerifierKey) -> Result<Keyring, KeyringError> {
        Keyring::new(believed, &self.rotations)
    }
}

/// The keys of the log in a directory, by the word of its own `audit.pub`, or of
/// a key that is `believed` from elsewhere.
///
/// The checkpoint that they shall check has to be read before: a writer stores a
/// rotation first, then `audit.pub`, then what the new key signs.
///
/// # Errors
/// See [`KeysError`].
pub fn load_keyring(
    fs: &dyn Fs,
    paths: &LogPaths,
    believed: Option<&VerifierKey>,
) -> Result<Keyring, KeysError> {
    let believed = match believed {
        Some(key) => key.clone(),
        None => VerifierKey::load_own(fs, &paths.public_key())?,
    };
    match KeyHistory::load(fs, paths)? {
        None => Ok(believed.into()),
        Some(history) => {
            history.ring(believed).map_err(|source| KeysError::Ring { path: paths.keys(), source })
        }
    }
}

/// The private key's file and those beside it.
#[derive(Clone, Debug)]
pub struct KeyFiles {
    /// The private key.
    pub key: PathBuf,
    /// The public key.
    pub public: PathBuf,
}

impl KeyFiles {
    /// Of a log, whose private key may be kept elsewhere.
    #[must_use]
    pub fn new(paths: &LogPaths, key_path: Option<&Path>) -> Self {
        let key = key_path.map_or_else(|| paths.key(), Path::to_path_buf);
        Self { key, public: paths.public_key() }
    }

    /// Where the private key waits that is to follow.
    #[must_use]
    pub fn next(&self) -> PathBuf {
        let mut name = self.key.file_name().unwrap_or_default().to_os_string();
        name.push(".next");
        self.key.with_file_name(name)
    }

    /// The private key that is to follow, if a rotation is under way. Whoever may
    /// only make files in its directory must not name the log's next key: it has to
    /// belong to root, to who runs this, or to the owner of the key before or of its
    /// directory.
    ///
    /// # Errors
    /// When there is one that cannot be used.
    pub fn load_next(&self, fs: &dyn Fs) -> Result<Option<SigningKey>, KeyError> {
        let path = self.next();
        match fs.meta(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Ok(meta) => {
                let own = rustix::process::geteuid().as_raw();
                let of_key = fs.meta(&self.key).map_or(own, |meta| meta.uid);
                // What root makes there is the directory's owner's, who could put any other
                // in its place as well.
                let of_dir = fs.meta(&fsio::parent(&self.key)).map_or(own, |meta| meta.uid);
                if ![0, own, of_key, of_dir].contains(&meta.uid) {
                    return Err(KeyError::Owner { path, uid: meta.uid });
                }
            }
            Err(_) => {}
        }
        SigningKey::load(fs, &path).map(Some)
    }

    /// The key that waits is put in its place and goes on waiting, until
    /// [`forget_next`](Self::forget_next): that it took the place of another is still to
    /// be recorded.
    ///
    /// # Errors
    /// The step that failed; the log's next opening goes on here.
    pub(crate) fn take_next(&self, fs: &dyn Fs, next: &SigningKey) -> Result<(), KeyError> {
        let there = SigningKey::load(fs, &self.key);
        if there.is_ok_and(|there| there.verifier() == next.verifier()) {
            return Ok(());
        }
        fsio::replace_file(fs, &self.key, &next.encode().0).map_err(|source| KeyError::Io {
            action: "write",
            path: self.key.clone(),
            source,
        })
    }

    /// It is recorded, durably: nothing waits any more.
    ///
    /// # Errors
    /// A file operation's; it is then recorded once more by the next opening.
    pub(crate) fn forget_next(&self, fs: &dyn Fs) -> io::Result<()> {
        fs.remove(&self.next())?;
        fs.sync_dir(&fsio::parent(&self.key))
    }

    /// After the rotation is stored: the public key is published (for the epoch whose
    /// origin is given, too), the old private
    /// key overwritten, and the new one takes its place. May be done again.
    ///
    /// Overwriting reaches the blocks of a plain file system on a plain disk; a
    /// copy-on-write file system, a flash disk or a snapshot may keep the old
    /// bytes. So a retired key is worth nothing by its *place*, not by being gone.
    ///
    /// # Errors
    /// The step that failed; the log works all the same, and its next opening goes
    /// on here.
    pub fn finish(&self, fs: &dyn Fs, new: &VerifierKey, origin: &str) -> Result<(), KeyError> {
        new.save(fs, &self.public, origin)?;
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| KeyError::Io { action: "replace", path, source }
        };
        match fs.open(&self.key, OpenMode::Write) {
            Ok(file) => {
                let length = file.meta().map_err(failed(&self.key))?.len.min(4096);
                file.write_all_at(&vec![b'0'; length as usize], 0)
                    .and_then(|()| file.sync_data())
                    .map_err(failed(&self.key))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&self.key)(error)),
        }
        fs.rename(&self.next(), &self.key).map_err(failed(&self.key))?;
        fs.sync_dir(&fsio::parent(&self.key)).map_err(failed(&self.key))
    }
}
