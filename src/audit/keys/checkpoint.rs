//! Checkpoints: the tree's size and root, signed
//! (<https://c2sp.org/tlog-checkpoint>).
//!
//! ```text
//! example.com/audit/5f0c2b9e            origin: which log, and which epoch of it
//! 20852163                              tree size, in records
//! CsUYapGGPo4dkMgIAUqom/X…=             root hash, base64
//!
//! — example.com/audit/5f0c2b9e Az3grl…  signature over the lines above
//! ```
//!
//! All epochs of a log sign with keys of one name, `<prefix>/<log id>`. From epoch 1
//! on the origin is another name, so the same key signs under that one, too: C2SP's
//! tools look for a key whose name is the origin.
//!
//! There may be more lines in the text (extension lines), and signatures by others:
//! they are carried along byte for byte.

pub mod note;
mod origin;

use std::fmt;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::audit::tree::merkle::{Hash, MAX_TREE_SIZE, empty_root};
use crate::fsio::Fs;
pub use note::{MAX_NOTE_BYTES, MAX_SIGNATURES, Note, NoteError, NoteSignature, VerifierKey};
pub use origin::{MAX_LOG_ID_BYTES, Origin, OriginError};

/// A checkpoint's file, whatever it holds; `None` when there is none.
///
/// # Errors
/// It cannot be read, is no regular file, or is longer than any note.
pub fn read_note(fs: &dyn Fs, path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs.read_own(path, MAX_NOTE_BYTES as u64) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Why a text is no checkpoint, or not one to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum CheckpointError {
    /// The note around it is malformed, or not signed as it must be.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// A line of the signed text is wrong.
    #[error("line {line} of the checkpoint is wrong: {reason}")]
    Text {
        /// Which line, counted from 1.
        line: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// Signed by a key of the log where that key is not valid.
    #[error(
        "the checkpoint of {origin} over {size} records is signed by {key}, which {why}: \
         whoever made it has a key that may not sign there"
    )]
    OutOfTurn {
        /// Name and id of the key.
        key: String,
        /// Whose checkpoint it is.
        origin: String,
        /// Over how many records.
        size: u64,
        /// When the key was retired, or came into use.
        why: String,
    },
    /// Rightly signed, but about another log than the key's.
    #[error("the checkpoint is of {origin:?}, which is not the log of the key {key}")]
    OtherLog {
        /// Whose checkpoint it is.
        origin: String,
        /// Name and id of the key.
        key: String,
    },
}

/// A tree size as it is written: digits only, no leading zero.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    let plain = text == "0" || !text.starts_with('0');
    if plain && text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// The tree's size and root, and whose it is. `Display` gives the text that is
/// signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log and epoch; see [`Origin`].
    pub origin: String,
    /// Number of records in the tree.
    pub size: u64,
    /// RFC 6962 root over them.
    pub root: Hash,
}

impl Checkpoint {
    /// Reads a signed text. Lines after the third are allowed when not empty,
    /// and ignored, as the format asks; auditctl writes none.
    ///
    /// # Errors
    /// [`CheckpointError::Text`].
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let refuse = |line, reason| CheckpointError::Text { line, reason };
        let body = text.strip_suffix('\n').unwrap_or(text);
        let mut lines = body.split('\n');
        let origin = lines.next().unwrap_or_default();
        note::check_key_name(origin)
            .map_err(|_| refuse(1, "the origin is empty or has spaces or \"+\""))?;
        let size = lines
            .next()
            .and_then(parse_decimal)
            .ok_or_else(|| refuse(2, "the tree size is not a plain decimal number"))?;
        if size > MAX_TREE_SIZE {
            return Err(refuse(2, "no tree is that large"));
        }
        let root = lines
            .next()
            .and_then(|line| STANDARD.decode(line).ok())
            .and_then(|bytes| bytes.try_into().ok())
            .map(Hash::from_bytes)
            .ok_or_else(|| refuse(3, "the root is not the base64 of 32 bytes"))?;
        if size == 0 && root != empty_root() {
            return Err(refuse(3, "a tree without records has another root"));
        }
        if let Some(empty) = lines.position(str::is_empty) {
            return Err(refuse(4 + empty, "it is empty"));
        }
        Ok(Self { origin: origin.to_owned(), size, root })
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, STANDARD.encode(self.root.as_bytes()))
    }
}

/// A checkpoint with its signatures, as `audit.checkpoint` holds it. `Display`
/// gives the file's content back, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    note: Note,
    checkpoint: Checkpoint,
}

impl SignedCheckpoint {
    /// Reads a checkpoint file's content; checks its form, no signature.
    ///
    /// # Errors
    /// [`CheckpointError::Note`] and [`CheckpointError::Text`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CheckpointError> {
        Self::from_note(Note::parse(bytes)?)
    }

    /// From a note whose text is a checkpoint.
    ///
    /// # Errors
    /// [`CheckpointError::Text`].
    pub fn from_note(note: Note) -> Result<Self, CheckpointError> {
        let checkpoint = Checkpoint::parse(note.text())?;
        Ok(Self { note, checkpoint })
    }

    /// The checkpoint, if `key` signed it and is a key of its log.
    ///
    /// # Errors
    /// [`CheckpointError::Note`] when it did not sign, or the text was altered;
    /// [`CheckpointError::OtherLog`].
    pub fn verify(&self, key: &VerifierKey) -> Result<&Checkpoint, CheckpointError> {
        self.note.verify(key)?;
        let origin = &self.checkpoint.origin;
        let own = match origin.parse::<Origin>() {
            Ok(origin) => origin.key_name() == key.name(),
            Err(_) => origin == key.name(),
        };
        if !own {
            return Err(CheckpointError::OtherLog { origin: origin.clone(), key: key.label() });
        }
        self.refuse_wrong_of_epoch(key)?;
        Ok(&self.checkpoint)
    }

    /// Refuses a signature by `key` that is wrong, under its own name and under that
    /// of the epoch. None at all is none that is wrong.
    ///
    /// # Errors
    /// [`CheckpointError::Note`] with [`NoteError::BadSignature`].
    pub fn refuse_wrong(&self, key: &VerifierKey) -> Result<(), CheckpointError> {
        tolerant(self.note.verify(key))?;
        self.refuse_wrong_of_epoch(key)
    }

    fn refuse_wrong_of_epoch(&self, key: &VerifierKey) -> Result<(), CheckpointError> {
        match key.in_epoch(&self.checkpoint.origin) {
            Some(key) => tolerant(self.note.verify(&key)),
            None => Ok(()),
        }
    }

    /// The same with no other signatures than those by `key`, under either of its names:
    /// for a place that has no room for all of them.
    #[must_use]
    pub fn only_by(&self, key: &VerifierKey) -> Self {
        let of_epoch = key.in_epoch(&self.checkpoint.origin);
        let own = |signature: &&NoteSignature| {
            std::iter::once(key)
                .chain(&of_epoch)
                .any(|key| (key.name(), key.id()) == (&*signature.name, signature.key_id))
        };
        let signatures = self.note.signatures().iter().filter(own).cloned().collect();
        match Note::new(self.note.text().to_owned(), signatures) {
            Ok(note) => Self { note, checkpoint: self.checkpoint.clone() },
            Err(_) => self.clone(),
        }
    }

    /// What it claims, for showing and for finding the key; believe only
    /// [`verify`](Self::verify).
    #[must_use]
    pub fn unverified(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The signed note.
    #[must_use]
    pub fn note(&self) -> &Note {
        &self.note
    }
}

/// A key that did not sign is no fault.
fn tolerant(verified: Result<(), NoteError>) -> Result<(), CheckpointError> {
    match verified {
        Ok(()) | Err(NoteError::WrongKey { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.note.fmt(f)
    }
}

#[cfg(test)]
mod tests;
