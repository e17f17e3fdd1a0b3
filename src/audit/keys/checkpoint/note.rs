//! Signed notes: a text and the signatures under it
//! (<https://c2sp.org/signed-note>, the form of Go's `sumdb/note`).
//!
//! ```text
//! <text, one or more lines>
//! <blank line>
//! — <key name> <base64 of 4 bytes of key id and the signature>
//! ```
//!
//! A note may carry signatures by keys nobody here knows (witnesses, an older
//! key); they are kept and printed again, and prove nothing.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

use super::origin::Origin;
use crate::audit::tree::merkle::Hash;

/// The largest note that is read, in bytes: room for 16 signatures, which every
/// reader has to accept, of the largest algorithm in sight (4,627 bytes, ML-DSA-87).
pub const MAX_NOTE_BYTES: usize = 128 * 1024;
/// The most signatures that are read under one note.
pub const MAX_SIGNATURES: usize = 100;
/// The largest file of verifier keys that is read, in bytes: room for 16 keys of
/// the largest algorithm in sight (2,592 bytes, ML-DSA-87).
pub const MAX_PUBLIC_KEYS_BYTES: usize = 64 * 1024;

/// Signature type of Ed25519 in keys and key ids.
pub(crate) const ED25519: u8 = 1;
const SIGNATURE_START: &str = "— ";

/// Why something is no signed note, or not signed as it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum NoteError {
    /// Larger than [`MAX_NOTE_BYTES`].
    #[error("the signed note has {bytes} bytes; at most {MAX_NOTE_BYTES} are read")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not UTF-8, a control character, no final newline, or no signatures.
    #[error("not a signed note: {reason}")]
    Malformed {
        /// What is wrong.
        reason: &'static str,
    },
    /// A line of the signature block that is no signature.
    #[error("signature {number} of the note is malformed: {reason}")]
    SignatureLine {
        /// Which one, counted from 1.
        number: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// No signature by the wanted key.
    #[error("not signed by {wanted}; signed by {}", found.join(", "))]
    WrongKey {
        /// Name and id of the key.
        wanted: String,
        /// Names and ids of the keys that signed.
        found: Vec<String>,
    },
    /// Signed by a key that took the place of the one that is believed, which never
    /// authorised it.
    #[error("it is signed by {key}, which {old} never authorised: {how}, without its signature")]
    NotAuthorised {
        /// Name and id of the key that signed.
        key: String,
        /// Name and id of the key that was replaced.
        old: String,
        /// By which key it was replaced, when, by whom and why.
        how: String,
    },
    /// A signature by the wanted key that does not fit the text.
    #[error("the signature by {key} does not fit the text: one of them was altered")]
    BadSignature {
        /// Name and id of the key.
        key: String,
    },
    /// A key name with a space or a plus sign, or none.
    #[error(
        "{name:?} cannot be a key name: it must not be empty nor contain spaces, control characters or \"+\""
    )]
    KeyName {
        /// The name.
        name: String,
    },
    /// A verifier key that cannot be read.
    #[error("not a verifier key (<name>+<8 hex digits>+<base64>): {reason}")]
    VerifierKey {
        /// What is wrong.
        reason: &'static str,
    },
}

/// Refuses a name that cannot stand in a signature line or a key.
///
/// # Errors
/// [`NoteError::KeyName`].
pub fn check_key_name(name: &str) -> Result<(), NoteError> {
    let forbidden = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    if name.is_empty() || name.contains(forbidden) {
        return Err(NoteError::KeyName { name: name.chars().take(80).collect() });
    }
    Ok(())
}

/// What anyone needs to check signatures: a name and a public Ed25519 key,
/// written `<name>+<8 hex digits of key id>+<base64 of 0x01 and the key>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key: VerifyingKey,
    id: u32,
}

impl VerifierKey {
    /// From a name and a public key.
    ///
    /// # Errors
    /// [`NoteError::KeyName`]; [`NoteError::VerifierKey`] for a point of small
    /// order, under which one signature fits many texts.
    pub(crate) fn new(name: &str, key: VerifyingKey) -> Result<Self, NoteError> {
        check_key_name(name)?;
        if key.is_weak() {
            return Err(NoteError::VerifierKey { reason: "the key is of small order" });
        }
        Ok(Self { name: name.to_owned(), id: key_id(name, ED25519, key.as_bytes()), key })
    }

    /// The key's name: `<prefix>/<log id>` for a log's own.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first four bytes of SHA-256(name || LF || 0x01 || public key). It
    /// names the key; it does not prove it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The same key under the name of a later epoch's origin; `None` when the origin
    /// is the key's own name, or of another log.
    #[must_use]
    pub fn in_epoch(&self, origin: &str) -> Option<Self> {
        let of_this = origin
            .parse::<Origin>()
            .is_ok_and(|origin| origin.epoch() > 0 && origin.key_name() == self.name);
        let id = key_id(origin, ED25519, self.key.as_bytes());
        of_this.then(|| Self { name: origin.to_owned(), id, ..self.clone() })
    }

    /// The log that the key is of, by its name.
    #[must_use]
    pub fn log_id(&self) -> Option<String> {
        let origin: Origin = self.name.parse().ok()?;
        (origin.epoch() == 0).then(|| origin.log_id().to_owned())
    }

    /// What `audit.pub` holds: the key, and below it the same key under the origin's
    /// name, where that is another.
    #[must_use]
    pub fn public_text(&self, origin: &str) -> String {
        let of_epoch = self.in_epoch(origin);
        std::iter::once(self).chain(&of_epoch).map(|key| format!("{key}\n")).collect()
    }

    /// Reads a file of verifier keys, one a line, of which the first usable one is
    /// meant. Keys of algorithms that are not known here are skipped, and so is what
    /// is no key; an Ed25519 key that is damaged is an error. A key that only stands
    /// there under the name of a later epoch is the log's all the same.
    ///
    /// # Errors
    /// [`NoteError::VerifierKey`]: of a damaged key, or why the first line is none.
    pub fn parse_file(text: &str) -> Result<Self, NoteError> {
        let mut first_error = None;
        let mut of_epoch = None;
        for line in text.lines().filter(|line| !line.is_empty()) {
            match line.parse::<Self>() {
                Ok(key) => match key.name.parse::<Origin>() {
                    Ok(origin) if origin.epoch() > 0 => {
                        of_epoch.get_or_insert((origin.key_name(), key.key));
                    }
                    _ => return Ok(key),
                },
                Err(error) if claims_ed25519(line) => return Err(error),
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        match of_epoch {
            Some((name, key)) => Self::new(&name, key),
            None => Err(first_error.unwrap_or(NoteError::VerifierKey { reason: "it is empty" })),
        }
    }

    /// `<name>+<key id>`, for messages.
    #[must_use]
    pub fn label(&self) -> String {
        label(&self.name, self.id())
    }

    /// SHA-256 of the key as it is written, without a newline: for people to compare. The
    /// key id is too short for that, since another key with the same one is soon found.
    #[must_use]
    pub fn fingerprint(&self) -> Hash {
        Hash::from_bytes(Sha256::digest(self.to_string()).into())
    }
}

/// The first four bytes of SHA-256(name || LF || type || public key).
pub(in crate::audit::keys) fn key_id(name: &str, kind: u8, key: &[u8]) -> u32 {
    let mut hasher = Sha256::new();
    hasher.update(name.as_bytes());
    hasher.update([b'\n', kind]);
    hasher.update(key);
    let hash = hasher.finalize();
    u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])
}

/// Whether a line is written as a verifier key of the algorithm that is known here.
fn claims_ed25519(line: &str) -> bool {
    let key = line.splitn(3, '+').nth(2).and_then(|key| STANDARD.decode(key).ok());
    key.is_some_and(|key| key.first() == Some(&ED25519))
}

pub(in crate::audit::keys) fn label(name: &str, id: u32) -> String {
    format!("{name}+{id:08x}")
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![ED25519];
        key.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{:08x}+{}", self.name, self.id(), STANDARD.encode(key))
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    /// Reads what `Display` wrote; one newline at the end is allowed.
    fn from_str(text: &str) -> Result<Self, NoteError> {
        let refuse = |reason| NoteError::VerifierKey { reason };
        let parts = KeyParts::parse(text)?;
        if parts.kind != ED25519 {
            return Err(refuse("the key is not an Ed25519 key (type 1)"));
        }
        let key = Self::new(parts.name, parts.ed25519()?)?;
        if key.id() != parts.id {
            return Err(refuse("the key id does not belong to this name and key"));
        }
        Ok(key)
    }
}

/// A verifier key of any algorithm, taken apart.
#[derive(Debug)]
pub(in crate::audit::keys) struct KeyParts<'a> {
    pub(in crate::audit::keys) name: &'a str,
    pub(in crate::audit::keys) id: u32,
    /// The signature type.
    pub(in crate::audit::keys) kind: u8,
    pub(in crate::audit::keys) key: Vec<u8>,
}

impl<'a> KeyParts<'a> {
    pub(in crate::audit::keys) fn parse(text: &'a str) -> Result<Self, NoteError> {
        let refuse = |reason| NoteError::VerifierKey { reason };
        if text.len() > MAX_NOTE_BYTES {
            return Err(refuse("too long"));
        }
        let text = text.strip_suffix('\n').unwrap_or(text);
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(refuse("it has not three parts"));
        };
        let id = parse_key_id(id).ok_or_else(|| refuse("the key id is not 8 hex digits"))?;
        let key = STANDARD.decode(key).map_err(|_| refuse("the key is not base64"))?;
        let Some((&kind, key)) = key.split_first() else {
            return Err(refuse("the key is empty"));
        };
        Ok(Self { name, id, kind, key: key.to_vec() })
    }

    /// The key as one of Ed25519.
    pub(in crate::audit::keys) fn ed25519(&self) -> Result<VerifyingKey, NoteError> {
        let refuse = |reason| NoteError::VerifierKey { reason };
        let key = self.key.as_slice().try_into();
        let key = key.map_err(|_| refuse("the key has not 32 bytes"))?;
        let key =
            VerifyingKey::from_bytes(key).map_err(|_| refuse("the key is not a curve point"))?;
        if key.is_weak() {
            return Err(refuse("the key is of small order"));
        }
        Ok(key)
    }
}

/// Eight hexadecimal digits.
pub(crate) fn parse_key_id(text: &str) -> Option<u32> {
    let hex = text.len() == 8 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if hex { u32::from_str_radix(text, 16).ok() } else { None }
}

/// One signature under a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    /// The signing key's name.
    pub name: String,
    /// The signing key's id.
    pub key_id: u32,
    /// The signature; 64 bytes for Ed25519.
    pub signature: Vec<u8>,
}

/// A text and the signatures under it, none of them checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl Note {
    /// A text (its final newline included) with signatures over it.
    ///
    /// # Errors
    /// What [`parse`](Self::parse) would not read back.
    pub fn new(text: String, signatures: Vec<NoteSignature>) -> Result<Self, NoteError> {
        Self::new_within(text, signatures, MAX_NOTE_BYTES)
    }

    /// The same of a text that may be longer than those of checkpoints.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn new_within(
        text: String,
        signatures: Vec<NoteSignature>,
        most: usize,
    ) -> Result<Self, NoteError> {
        let note = Self { text, signatures };
        // One judge of what a note is: the parser.
        match Self::parse_within(note.to_string().as_bytes(), most)? {
            parsed if parsed == note => Ok(note),
            _ => Err(malformed("the text ends in a blank line and signatures of its own")),
        }
    }

    /// Reads a signed note; strict about its form.
    ///
    /// # Errors
    /// [`NoteError::TooLarge`], [`NoteError::Malformed`],
    /// [`NoteError::SignatureLine`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        Self::parse_within(bytes, MAX_NOTE_BYTES)
    }

    /// The same of a note that may be longer than those of checkpoints.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub(crate) fn parse_within(bytes: &[u8], most: usize) -> Result<Self, NoteError> {
        if bytes.len() > most {
            return Err(NoteError::TooLarge { bytes: bytes.len() });
        }
        let note = std::str::from_utf8(bytes).map_err(|_| malformed("it is not UTF-8"))?;
        if note.bytes().any(|b| b < b' ' && b != b'\n') {
            return Err(malformed("it contains a control character"));
        }
        // The last blank line divides: the text may have blank lines of its own.
        let (text, block) =
            note.rsplit_once("\n\n").ok_or_else(|| malformed("no blank line and signatures"))?;
        let block = block
            .strip_suffix('\n')
            .ok_or_else(|| malformed("it does not end in a signature line and a newline"))?;
        let signatures = block
            .split('\n')
            .zip(1..)
            .map(|(line, number)| parse_signature(line, number))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { text: format!("{text}\n"), signatures })
    }

    /// The signed text, its final newline included. Means nothing before
    /// [`verify`](Self::verify).
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures, in their order.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Checks that `key` signed the text: at least one signature by it, and
    /// none of its signatures wrong. Those by other keys are ignored.
    ///
    /// # Errors
    /// [`NoteError::WrongKey`] and [`NoteError::BadSignature`].
    pub fn verify(&self, key: &VerifierKey) -> Result<(), NoteError> {
        let id = key.id();
        let mut signed = false;
        for signature in self.signatures.iter().filter(|s| s.key_id == id && s.name == key.name) {
            Signature::from_slice(&signature.signature)
                .and_then(|signature| key.key.verify_strict(self.text.as_bytes(), &signature))
                .map_err(|_| NoteError::BadSignature { key: key.label() })?;
            signed = true;
        }
        if signed {
            return Ok(());
        }
        let found = self.signatures.iter().take(3).map(|s| label(&s.name, s.key_id)).collect();
        Err(NoteError::WrongKey { wanted: key.label(), found })
    }
}

fn malformed(reason: &'static str) -> NoteError {
    NoteError::Malformed { reason }
}

/// Reads one signature line, without its newline.
pub(crate) fn parse_signature(line: &str, number: usize) -> Result<NoteSignature, NoteError> {
    let refuse = |reason| NoteError::SignatureLine { number, reason };
    if number > MAX_SIGNATURES {
        return Err(refuse("more than 100 signatures"));
    }
    let (name, signature) = line
        .strip_prefix(SIGNATURE_START)
        .and_then(|rest| rest.split_once(' '))
        .ok_or_else(|| refuse("it is not \"— <key name> <base64>\""))?;
    check_key_name(name).map_err(|_| refuse("no key can have this name"))?;
    let bytes = STANDARD.decode(signature).map_err(|_| refuse("the signature is not base64"))?;
    match bytes.split_first_chunk::<4>() {
        Some((id, signature)) if !signature.is_empty() => Ok(NoteSignature {
            name: name.to_owned(),
            key_id: u32::from_be_bytes(*id),
            signature: signature.to_vec(),
        }),
        _ => Err(refuse("the signature is too short")),
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| f.write_str(&signature_line(signature)))
    }
}

/// A signature's line, with its newline.
pub(crate) fn signature_line(signature: &NoteSignature) -> String {
    let mut bytes = signature.key_id.to_be_bytes().to_vec();
    bytes.extend_from_slice(&signature.signature);
    format!("{SIGNATURE_START}{} {}\n", signature.name, STANDARD.encode(bytes))
}
