//! Signing keys and the files they are kept in.
//!
//! A private key is stored as one line, `PRIVATE+KEY+<name>+<8 hex digits of key
//! id>+<base64 of 0x01 and the 32-byte seed>`, the form of Go's `sumdb/note`; a
//! verifier key as [`VerifierKey`] prints it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer as _;

use crate::audit::keys::checkpoint::note::{ED25519, MAX_PUBLIC_KEYS_BYTES, parse_key_id};
use crate::audit::keys::checkpoint::{Note, NoteError, NoteSignature, VerifierKey};
use crate::audit::record::secret::Secret;
use crate::fsio::private::is_private;
use crate::fsio::{self, Fs, OpenMode};

const START: &str = "PRIVATE+KEY+";
const SEED_BYTES: usize = 32;
/// Far more than a private key's file has.
pub(crate) const MAX_FILE_BYTES: u64 = 4096;
/// What a public key's file may have.
const MAX_PUBLIC_BYTES: u64 = MAX_PUBLIC_KEYS_BYTES as u64;

/// Why a key could not be made, read or stored. Never holds key material.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum KeyError {
    /// The file could not be read or written.
    #[error("cannot {action} the key file {}: {source}", path.display())]
    Io {
        /// "read" or "write".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The private key can be read or changed by others than its owner.
    #[error(
        "the private key {} has mode {mode:04o}: users other than its owner can read it, so its \
         signatures prove nothing; run `chmod 600` on it (root's file may be 0640 or 0440, for \
         its group), or replace the key if others had access",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Somebody else put the key there.
    #[error(
        "{} belongs to user {uid}, who is neither root, nor the user who runs this, nor the owner \
         of the current key or of its directory, so it is not used: find out who put it there, \
         and remove it",
        path.display()
    )]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// There is a file already; keys are never overwritten.
    #[error("{} exists already: a key is never overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file's content is no key.
    #[error("{} holds no usable key: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<KeyError>,
    },
    /// The text is no private key.
    #[error("not a private key (PRIVATE+KEY+<name>+<8 hex digits>+<base64>): {reason}")]
    Malformed {
        /// What is wrong.
        reason: &'static str,
    },
    /// A name no key can have, or an unusable verifier key.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The system gave no randomness.
    #[error("the system gave no randomness for a new key: {0}")]
    Random(getrandom::Error),
}

/// An Ed25519 signing key and its name. Overwritten in memory when dropped;
/// `Debug` shows its name and id only.
pub struct SigningKey {
    key: ed25519_dalek::SigningKey,
    verifier: VerifierKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.verifier.label())
    }
}

impl SigningKey {
    /// A new key from the system's randomness.
    ///
    /// # Errors
    /// [`KeyError::Note`] for a name with spaces or plus signs;
    /// [`KeyError::Random`].
    pub fn generate(name: &str) -> Result<Self, KeyError> {
        let mut seed = Secret([0_u8; SEED_BYTES]);
        getrandom::fill(&mut seed.0).map_err(KeyError::Random)?;
        Self::from_seed(name, &seed.0)
    }

    fn from_seed(name: &str, seed: &[u8; SEED_BYTES]) -> Result<Self, KeyError> {
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        let verifier = VerifierKey::new(name, key.verifying_key())?;
        Ok(Self { key, verifier })
    }

    /// Reads the `PRIVATE+KEY+…` form; one newline at the end is allowed.
    ///
    /// # Errors
    /// [`KeyError::Malformed`], which never quotes the text.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (name, id, seed) = parse_private(text, ED25519)?;
        let key = Self::from_seed(name, &seed.0)?;
        if key.verifier.id() != id {
            return Err(KeyError::Malformed {
                reason: "the key id does not belong to this name and key",
            });
        }
        Ok(key)
    }

    /// The file's content.
    pub(crate) fn encode(&self) -> Secret<Vec<u8>> {
        encode_private(&self.verifier.label(), ED25519, &Secret(self.key.to_bytes()))
    }

    /// The same key once more; both are overwritten when they are dropped.
    #[must_use]
    pub(crate) fn clone_key(&self) -> Self {
        Self { key: self.key.clone(), verifier: self.verifier.clone() }
    }

    /// The key's name: `<prefix>/<log id>`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.verifier.name()
    }

    /// The key that checks this one's signatures.
    #[must_use]
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs a text, which has to end in a newline.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] and others for a text that no note can have.
    pub fn sign_note(&self, text: String) -> Result<Note, NoteError> {
        let signature = self.key.sign(text.as_bytes()).to_vec();
        Note::new(text, vec![under(&self.verifier, signature)])
    }

    /// The same of a text that may be longer than those of checkpoints.
    ///
    /// # Errors
    /// As [`sign_note`](Self::sign_note).
    pub(crate) fn sign_note_within(&self, text: String, most: usize) -> Result<Note, NoteError> {
        let signature = self.key.sign(text.as_bytes()).to_vec();
        Note::new_within(text, vec![under(&self.verifier, signature)], most)
    }

    /// Signs a checkpoint's text: under the key's own name, and under the origin's
    /// where that is another.
    ///
    /// # Errors
    /// As [`sign_note`](Self::sign_note).
    pub fn sign_checkpoint(&self, text: String) -> Result<Note, NoteError> {
        let origin = text.split('\n').next().unwrap_or_default();
        let of_epoch = self.verifier.in_epoch(origin);
        let names = std::iter::once(&self.verifier).chain(&of_epoch);
        // Neither name nor id is signed, so the signature is the same.
        let signature = self.key.sign(text.as_bytes()).to_vec();
        let signatures = names.map(|name| under(name, signature.clone())).collect();
        Note::new(text, signatures)
    }

    /// Reads a private key's file.
    ///
    /// # Errors
    /// [`KeyError::Exposed`] when others may get at it: see [`is_private`];
    /// [`KeyError::File`] when it holds no key; [`KeyError::Io`].
    pub fn load(fs: &dyn Fs, path: &Path) -> Result<Self, KeyError> {
        let bytes = read_private(fs, path)?;
        std::str::from_utf8(&bytes.0)
            .map_err(|_| KeyError::Malformed { reason: "it is not text" })
            .and_then(Self::parse)
            .map_err(|source| KeyError::File { path: path.to_owned(), source: Box::new(source) })
    }

    /// Stores the key in a new file, mode 0600, synced. Two processes must not
    /// do so at once: the caller holds the log's lock.
    ///
    /// # Errors
    /// [`KeyError::Exists`] and [`KeyError::Io`].
    pub fn save(&self, fs: &dyn Fs, path: &Path) -> Result<(), KeyError> {
        save_private(fs, path, &self.encode())
    }
}

/// A private key's name, id and seed.
pub(in crate::audit::keys) fn parse_private(
    text: &str,
    kind: u8,
) -> Result<(&str, u32, Secret<[u8; SEED_BYTES]>), KeyError> {
    let refuse = |reason| KeyError::Malformed { reason };
    let text = text.strip_suffix('\n').unwrap_or(text);
    let rest = text.strip_prefix(START).ok_or_else(|| refuse("it begins otherwise"))?;
    let mut parts = rest.splitn(3, '+');
    let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(refuse("a part is missing"));
    };
    let id = parse_key_id(id).ok_or_else(|| refuse("the key id is not 8 hex digits"))?;
    // Room for what the decoder estimates, which is a little more.
    let mut bytes = Secret([0_u8; SEED_BYTES + 4]);
    let length = STANDARD
        .decode_slice(key, &mut bytes.0)
        .map_err(|_| refuse("the key is not the base64 of 33 bytes"))?;
    let seed = match bytes.0[..length].split_first() {
        Some((found, seed)) if *found == kind => seed,
        _ if kind == ED25519 => return Err(refuse("the key is not an Ed25519 key (type 1)")),
        _ => return Err(refuse("the key is not a witness's (type 4)")),
    };
    let seed = seed.try_into().map_err(|_| refuse("the seed has not 32 bytes"))?;
    Ok((name, id, Secret(seed)))
}

pub(in crate::audit::keys) fn encode_private(
    label: &str,
    kind: u8,
    seed: &Secret<[u8; SEED_BYTES]>,
) -> Secret<Vec<u8>> {
    let mut key = Secret([kind; SEED_BYTES + 1]);
    key.0[1..].copy_from_slice(&seed.0);
    let start = format!("{START}{label}+");
    // All the room at once: growing would leave copies behind.
    let mut text = Secret(vec![0_u8; start.len() + 45]);
    text.0[..start.len()].copy_from_slice(start.as_bytes());
    let base64 = STANDARD
        .encode_slice(key.0, &mut text.0[start.len()..])
        .expect("33 bytes are 44 in base64");
    text.0[start.len() + base64] = b'\n';
    text
}

/// Stores a private key in a new file, mode 0600, synced.
pub(in crate::audit::keys) fn save_private(
    fs: &dyn Fs,
    path: &Path,
    text: &Secret<Vec<u8>>,
) -> Result<(), KeyError> {
    let io_error = |source| KeyError::Io { action: "write", path: path.to_owned(), source };
    match fs.meta(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error(error)),
        Ok(_) => return Err(KeyError::Exists { path: path.to_owned() }),
    }
    fsio::replace_file(fs, path, &text.0).map_err(io_error)
}

fn under(name: &VerifierKey, signature: Vec<u8>) -> NoteSignature {
    NoteSignature { name: name.name().to_owned(), key_id: name.id(), signature }
}

/// Reads a file that is private: its owner's alone, or root's with its group allowed to
/// read, as Kubernetes hands a Secret to a service. Permissions are asked
/// of the open file, so that it cannot be swapped in between.
pub(in crate::audit::keys) fn read_private(
    fs: &dyn Fs,
    path: &Path,
) -> Result<Secret<Vec<u8>>, KeyError> {
    let io_error = |source| KeyError::Io { action: "read", path: path.to_owned(), source };
    let unusual =
        || io_error(io::Error::new(io::ErrorKind::InvalidData, "not a small regular file"));
    // Before opening: opening a FIFO would wait for a writer.
    if !fs.meta(path).map_err(io_error)?.is_file {
        return Err(unusual());
    }
    let file = fs.open(path, OpenMode::Read).map_err(io_error)?;
    let meta = file.meta().map_err(io_error)?;
    if !meta.is_file || meta.len > MAX_FILE_BYTES {
        return Err(unusual());
    }
    if !is_private(meta.uid, meta.mode) {
        return Err(KeyError::Exposed { path: path.to_owned(), mode: meta.mode });
    }
    let length = usize::try_from(meta.len).map_err(|_| unusual())?;
    let mut bytes = Secret(vec![0_u8; length]);
    file.read_exact_at(&mut bytes.0, 0).map_err(io_error)?;
    Ok(bytes)
}

impl VerifierKey {
    /// Reads a verifier key's file (`audit.pub`), or the pipe that was named for it.
    ///
    /// # Errors
    /// [`KeyError::Io`]; [`KeyError::File`] when it holds no verifier key.
    pub fn load(fs: &dyn Fs, path: &Path) -> Result<Self, KeyError> {
        Self::read(path, fs.read_given(path, MAX_PUBLIC_BYTES).map(|(bytes, _)| bytes))
    }

    /// The same of a log's own file, in whose place a symbolic link or a FIFO is
    /// an error.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_own(fs: &dyn Fs, path: &Path) -> Result<Self, KeyError> {
        Self::read(path, fs.read_own(path, MAX_PUBLIC_BYTES))
    }

    fn read(path: &Path, bytes: io::Result<Vec<u8>>) -> Result<Self, KeyError> {
        let bytes = bytes.map_err(|source| KeyError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        })?;
        std::str::from_utf8(&bytes)
            .map_err(|_| NoteError::VerifierKey { reason: "it is not text" })
            .and_then(Self::parse_file)
            .map_err(|source| KeyError::File {
                path: path.to_owned(),
                source: Box::new(source.into()),
            })
    }

    /// Stores the key, and under the name of the origin where that is another,
    /// replacing what is there, synced.
    ///
    /// # Errors
    /// [`KeyError::Io`].
    pub fn save(&self, fs: &dyn Fs, path: &Path, origin: &str) -> Result<(), KeyError> {
        fsio::replace_file(fs, path, self.public_text(origin).as_bytes())
            .map_err(|source| KeyError::Io { action: "write", path: path.to_owned(), source })
    }
}
