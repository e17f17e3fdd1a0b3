//! Cosignatures: a witness's word that a log only grew
//! (<https://c2sp.org/tlog-cosignature>, the Ed25519 form).
//!
//! A witness signs `cosignature/v1`, the time, and the checkpoint's text. Its key has
//! another type than a log's, so neither is ever taken for the other: the type is a part
//! of the key's id, and the id stands in the signature line. Signatures of types that are
//! not known here are carried along, and prove nothing.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, VerifyingKey};

use super::checkpoint::note::{KeyParts, check_key_name, key_id, label};
use super::checkpoint::{Note, NoteError, NoteSignature};
use super::signer::{KeyError, encode_private, parse_private, read_private, save_private};
use crate::audit::record::secret::Secret;
use crate::fsio::Fs;

/// Signature type of a timestamped Ed25519 cosignature.
pub(super) const COSIGNATURE: u8 = 4;
/// The time and the signature.
const BYTES: usize = 8 + 64;
/// No later time is one.
const MAX_TIME: u64 = i64::MAX as u64;

/// What anyone needs to check a witness's cosignatures, written as a verifier key
/// of type 4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessKey {
    name: String,
    key: VerifyingKey,
    id: u32,
}

impl WitnessKey {
    fn new(name: &str, key: VerifyingKey) -> Result<Self, NoteError> {
        check_key_name(name)?;
        Ok(Self { name: name.to_owned(), id: key_id(name, COSIGNATURE, key.as_bytes()), key })
    }

    /// The witness's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `<name>+<key id>`, for messages.
    #[must_use]
    pub fn label(&self) -> String {
        label(&self.name, self.id)
    }

    /// When this witness cosigned the note, in seconds since 1970: the latest time, if
    /// it did more than once. `None` when it did not.
    ///
    /// # Errors
    /// [`NoteError::BadSignature`] when one of its cosignatures does not fit.
    pub fn cosigned_at(&self, note: &Note) -> Result<Option<u64>, NoteError> {
        let mut newest = None;
        let by_this = |s: &&NoteSignature| s.key_id == self.id && s.name == self.name;
        for signature in note.signatures().iter().filter(by_this) {
            let at = self.check(note.text(), &signature.signature);
            let at = at.ok_or_else(|| NoteError::BadSignature { key: self.label() })?;
            newest = newest.max(Some(at));
        }
        Ok(newest)
    }

    fn check(&self, text: &str, signature: &[u8]) -> Option<u64> {
        let bytes: &[u8; BYTES] = signature.try_into().ok()?;
        let (time, signature) = bytes.split_first_chunk::<8>()?;
        let at = u64::from_be_bytes(*time);
        let signature = Signature::from_slice(signature).ok()?;
        // A cosignature of a checkpoint always has a time.
        if at == 0 || at > MAX_TIME {
            return None;
        }
        self.key.verify_strict(message(text, at).as_bytes(), &signature).ok()?;
        Some(at)
    }
}

/// What is signed.
fn message(text: &str, at: u64) -> String {
    format!("cosignature/v1\ntime {at}\n{text}")
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![COSIGNATURE];
        key.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{}", self.label(), STANDARD.encode(key))
    }
}

impl FromStr for WitnessKey {
    type Err = NoteError;

    /// Reads what `Display` wrote; one newline at the end is allowed.
    fn from_str(text: &str) -> Result<Self, NoteError> {
        Self::from_parts(&KeyParts::parse(text)?)
    }
}

impl WitnessKey {
    pub(super) fn from_parts(parts: &KeyParts<'_>) -> Result<Self, NoteError> {
        let refuse = |reason| NoteError::VerifierKey { reason };
        if parts.kind != COSIGNATURE {
            return Err(refuse("the key is not a witness's Ed25519 key (type 4)"));
        }
        let key = Self::new(parts.name, parts.ed25519()?)?;
        if key.id != parts.id {
            return Err(refuse("the key id does not belong to this name and key"));
        }
        Ok(key)
    }
}

/// A witness's private key. Overwritten in memory when dropped; `Debug` shows its name
/// and id only.
pub struct CosigningKey {
    key: ed25519_dalek::SigningKey,
    verifier: WitnessKey,
}

impl fmt::Debug for CosigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CosigningKey({})", self.verifier.label())
    }
}

impl CosigningKey {
    /// A new key from the system's randomness.
    ///
    /// # Errors
    /// [`KeyError::Note`] for a name that no key can have; [`KeyError::Random`].
    pub fn generate(name: &str) -> Result<Self, KeyError> {
        let mut seed = Secret([0_u8; 32]);
        getrandom::fill(&mut seed.0).map_err(KeyError::Random)?;
        Self::from_seed(name, &seed)
    }

    fn from_seed(name: &str, seed: &Secret<[u8; 32]>) -> Result<Self, KeyError> {
        let key = ed25519_dalek::SigningKey::from_bytes(&seed.0);
        let verifier = WitnessKey::new(name, key.verifying_key())?;
        Ok(Self { key, verifier })
    }

    /// Reads the key's file: as a log's signing key, with type 4.
    ///
    /// # Errors
    /// As of a log's signing key; [`KeyError::File`] for one of another type.
    pub fn load(fs: &dyn Fs, path: &Path) -> Result<Self, KeyError> {
        let bytes = read_private(fs, path)?;
        std::str::from_utf8(&bytes.0)
            .map_err(|_| KeyError::Malformed { reason: "it is not text" })
            .and_then(Self::parse)
            .map_err(|source| KeyError::File { path: path.to_owned(), source: Box::new(source) })
    }

    fn parse(text: &str) -> Result<Self, KeyError> {
        let (name, id, seed) = parse_private(text, COSIGNATURE)?;
        let key = Self::from_seed(name, &seed)?;
        if key.verifier.id != id {
            let reason = "the key id does not belong to this name and key";
            return Err(KeyError::Malformed { reason });
        }
        Ok(key)
    }

    /// Stores the key in a new file, mode 0600, synced.
    ///
    /// # Errors
    /// [`KeyError::Exists`] and [`KeyError::Io`].
    pub fn save(&self, fs: &dyn Fs, path: &Path) -> Result<(), KeyError> {
        let seed = Secret(self.key.to_bytes());
        save_private(fs, path, &encode_private(&self.verifier.label(), COSIGNATURE, &seed))
    }

    /// The key that checks this one's cosignatures.
    #[must_use]
    pub fn verifier(&self) -> &WitnessKey {
        &self.verifier
    }

    /// Cosigns a checkpoint's text, at a time in seconds since 1970. Says nothing about
    /// whether that is right: the caller has checked it, and stored that.
    #[must_use]
    pub fn cosign(&self, text: &str, at: u64) -> NoteSignature {
        let mut signature = at.to_be_bytes().to_vec();
        signature.extend_from_slice(&self.key.sign(message(text, at).as_bytes()).to_bytes());
        NoteSignature { name: self.verifier.name.clone(), key_id: self.verifier.id, signature }
    }
}

/// A signature's line, with its newline.
#[must_use]
pub fn line(signature: &NoteSignature) -> String {
    super::checkpoint::note::signature_line(signature)
}

/// The signature lines of a witness's answer, in their order. Empty lines are none.
///
/// # Errors
/// [`NoteError::SignatureLine`] of the first line that is no signature.
pub fn parse_lines(text: &str) -> Result<Vec<NoteSignature>, NoteError> {
    let lines = text.split('\n').filter(|line| !line.is_empty());
    lines
        .zip(1..)
        .map(|(line, number)| super::checkpoint::note::parse_signature(line, number))
        .collect()
}

#[cfg(test)]
mod tests;
