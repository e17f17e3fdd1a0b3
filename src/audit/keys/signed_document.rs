//! How the JSON files are signed: all in one way.
//!
//! A signed file has a last member `signature`: `null`, or a signed note. The note is
//! about bytes, so that nobody has to write JSON again to check it:
//!
//! ```text
//! auditctl/manifest v1          the kind, and its format
//! example.com/audit/5f0c2b9e    the log's origin
//! 20852163                      how many records it is about
//! 9f2feb0f1ef425b292f2f9…       SHA-256 of the file's bytes, `null` standing where its
//!                               signature's value stands
//! ```
//!
//! The first line has a space in it, which no origin has: a note about a file never
//! passes for a checkpoint, nor one about a kind of file for one about another.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::checkpoint::{Note, Origin};
use super::signer::SigningKey;
use crate::audit::keys::{Keyring, Place};
use crate::audit::tree::document::{DocumentError, Kind, digest_with, signed_text};
use crate::audit::tree::merkle::Hash;

#[derive(Deserialize)]
struct Tail<'a> {
    #[serde(borrow)]
    signature: &'a RawValue,
}

/// A file's signature, and the digest of what it is about. Proves nothing before
/// [`check`](Self::check).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    note: Option<String>,
    digest: Hash,
}

/// Why a file's signature proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    /// There is none: whoever wrote the file had no key.
    #[error("it is not signed")]
    Absent,
    /// There is one, and it is not the log's over this file.
    #[error("{0}")]
    Wrong(String),
}

/// What a signed file is about: which log, and how many of its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The log's origin.
    pub origin: Origin,
    /// The records below this.
    pub size: u64,
}

impl About {
    fn text(&self, kind: Kind, digest: &Hash) -> String {
        signed_text(kind, &self.origin.to_string(), self.size, digest)
    }
}

impl Signature {
    /// Of a file's content.
    ///
    /// # Errors
    /// [`DocumentError::Malformed`] where there is no `signature`, or one that is
    /// neither a text nor `null`.
    pub fn read(bytes: &[u8]) -> Result<Self, DocumentError> {
        let tail: Tail<'_> = serde_json::from_slice(bytes).map_err(DocumentError::malformed)?;
        let note = serde_json::from_str(tail.signature.get()).map_err(DocumentError::malformed)?;
        Ok(Self { note, digest: digest_with(bytes, &[(tail.signature, "null")]) })
    }

    /// The note, if there is one.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Whether one of the log's keys signed the file, where that key was valid.
    ///
    /// # Errors
    /// [`Unsigned`], which says why it proves nothing.
    pub fn check(&self, kind: Kind, about: &About, keys: &Keyring) -> Result<(), Unsigned> {
        let note = self.note.as_ref().ok_or(Unsigned::Absent)?;
        let wrong = |error: String| Unsigned::Wrong(error);
        let note = Note::parse(note.as_bytes()).map_err(|error| wrong(error.to_string()))?;
        let place = Place { epoch: about.origin.epoch(), size: about.size };
        keys.verify_later(&note, place).map_err(|error| wrong(error.to_string()))?;
        if note.text() != about.text(kind, &self.digest) {
            return Err(wrong("its signature is of something else".to_owned()));
        }
        Ok(())
    }
}

/// The signature for a file whose content so far has `null` in its place.
///
/// # Errors
/// What keeps it from being signed, in words.
pub fn sign(
    kind: Kind,
    unsigned: &[u8],
    about: &About,
    key: &SigningKey,
) -> Result<String, String> {
    let signature = Signature::read(unsigned).map_err(|error| error.to_string())?;
    let note = key.sign_note(about.text(kind, &signature.digest));
    note.map(|note| note.to_string()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
