//! Checkpoints: the tree's size and root, signed
//! (<https://c2sp.org/tlog-checkpoint>).
//!
//! ```text
//! auditctl/5f0c2b9e            origin: which log, and which epoch of it
//! 20852163                     tree size, in records
//! CsUYapGGPo4dkMgIAUqom/X…=    root hash, base64
//!
//! — auditctl/5f0c2b9e Az3grl…  signature over the three lines
//! ```
//!
//! All epochs of a log sign with keys of one name, `auditctl/<log id>`.

pub mod note;

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::merkle::{Hash, MAX_TREE_SIZE, empty_root};
pub use note::{MAX_NOTE_BYTES, MAX_SIGNATURES, Note, NoteError, NoteSignature, VerifierKey};

/// The longest log id, in bytes.
pub const MAX_LOG_ID_BYTES: usize = 64;

const ORIGIN_START: &str = "auditctl/";

/// Why a text is no checkpoint, or not one to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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

/// Why a text names no log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} names no log: \"auditctl/<log id>\" or \"auditctl/<log id>/e<epoch>\" is expected, \
     the log id being 1 to {MAX_LOG_ID_BYTES} of a-z A-Z 0-9 . _ -"
)]
pub struct OriginError {
    text: String,
}

/// Which log, and which epoch of it: `auditctl/<log id>`, and from epoch 1 on
/// `auditctl/<log id>/e<epoch>`. Within one origin the tree only grows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    log_id: String,
    epoch: u32,
}

impl Origin {
    /// The origin of a log's epoch; the first epoch is 0.
    ///
    /// # Errors
    /// [`OriginError`] for a log id that is empty, longer than
    /// [`MAX_LOG_ID_BYTES`], or has other characters than `a-z A-Z 0-9 . _ -`.
    pub fn new(log_id: &str, epoch: u32) -> Result<Self, OriginError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if log_id.is_empty() || log_id.len() > MAX_LOG_ID_BYTES || !log_id.bytes().all(allowed) {
            return Err(OriginError { text: log_id.chars().take(80).collect() });
        }
        Ok(Self { log_id: log_id.to_owned(), epoch })
    }

    /// The log's id.
    #[must_use]
    pub fn log_id(&self) -> &str {
        &self.log_id
    }

    /// The epoch, 0 until a restore begins another.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The name of the keys that sign for this log: `auditctl/<log id>`,
    /// whatever the epoch.
    #[must_use]
    pub fn key_name(&self) -> String {
        format!("{ORIGIN_START}{}", self.log_id)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ORIGIN_START}{}", self.log_id)?;
        if self.epoch > 0 {
            write!(f, "/e{}", self.epoch)?;
        }
        Ok(())
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let refuse = || OriginError { text: text.chars().take(80).collect() };
        let rest = text.strip_prefix(ORIGIN_START).ok_or_else(refuse)?;
        let (log_id, epoch) = match rest.split_once("/e") {
            Some((log_id, epoch)) => {
                let epoch = parse_decimal(epoch).filter(|epoch| *epoch > 0).ok_or_else(refuse)?;
                (log_id, u32::try_from(epoch).map_err(|_| refuse())?)
            }
            None => (rest, 0),
        };
        Self::new(log_id, epoch).map_err(|_| refuse())
    }
}

/// A tree size as it is written: digits only, no leading zero.
fn parse_decimal(text: &str) -> Option<u64> {
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
        Ok(&self.checkpoint)
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

impl fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.note.fmt(f)
    }
}

#[cfg(test)]
mod tests;
