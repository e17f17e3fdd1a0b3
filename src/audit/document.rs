//! The JSON files that auditctl writes. Each says what it is, and all that are signed
//! are signed in one way.
//!
//! A file is one JSON object that begins `{"type":"auditctl/<kind>","format":<n>`.
//! Whoever reads one accepts members in any order, whitespace, and members that they do
//! not know; a format above the one that they know stops them. A later version may so
//! add to a file without a new format. The format changes where an older reader would
//! be wrong if it went on.
//!
//! A signed file has a last member `signature`: `null`, or a signed note. The note is
//! about bytes, so that nobody has to write JSON again to check it:
//!
//! ```text
//! auditctl/manifest v1                     the kind, and its format
//! example.com/audit/5f0c2b9e               the log's origin
//! 20852163                                 how many records it is about
//! 3f786850e387550fdab836ed7e6dc881de23001b SHA-256 of the file's bytes, `null` standing
//!                                          where its signature's value stands
//! ```
//!
//! The first line has a space in it, which no origin has: a note about a file never
//! passes for a checkpoint, nor one about a kind of file for one about another.

use std::borrow::Cow;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::checkpoint::{Note, Origin};
use super::keys::{Keyring, Place};
use super::merkle::Hash;
use super::signer::SigningKey;

/// A kind of file, and the format in which this version reads and writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    name: &'static str,
    format: u32,
}

impl Kind {
    /// `audit.manifest.json`.
    pub const MANIFEST: Self = Self::first("auditctl/manifest");
    /// `audit.keys`.
    pub const KEYS: Self = Self::first("auditctl/keys");
    /// `audit.restore.json`.
    pub const RESTORE: Self = Self::first("auditctl/restore");
    /// `audit.verified.json`.
    pub const VERIFIED: Self = Self::first("auditctl/verified");
    /// The header line of `audit.alerts.journal`.
    pub const ALERTS_JOURNAL: Self = Self::first("auditctl/alerts-journal");
    /// `audit.alerts.json`.
    pub const ALERTS: Self = Self::first("auditctl/alerts");
    /// The proof of a record.
    pub const PROOF: Self = Self::first("auditctl/proof");
    /// The proof that a tree continues an earlier one.
    pub const CONSISTENCY_PROOF: Self = Self::first("auditctl/consistency-proof");
    /// A backup's metadata.
    pub const BACKUP: Self = Self::first("auditctl/backup");
    /// The marker at the end of a backup's archive.
    pub const MARKER: Self = Self::first("auditctl/marker");
    /// The report of a restore drill.
    pub const DRILL: Self = Self::first("auditctl/drill");
    /// `.catalog.json`, beside backups.
    pub const CATALOG: Self = Self::first("auditctl/catalog");
    /// How far an upload of a backup is.
    pub const UPLOAD: Self = Self::first("auditctl/upload");

    /// All of them.
    pub const ALL: &[Self] = &[
        Self::MANIFEST,
        Self::KEYS,
        Self::RESTORE,
        Self::VERIFIED,
        Self::ALERTS_JOURNAL,
        Self::ALERTS,
        Self::PROOF,
        Self::CONSISTENCY_PROOF,
        Self::BACKUP,
        Self::MARKER,
        Self::DRILL,
        Self::CATALOG,
        Self::UPLOAD,
    ];

    const fn first(name: &'static str) -> Self {
        Self { name, format: 1 }
    }

    /// What such a file says that it is: `auditctl/manifest`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// The format that this version reads and writes.
    #[must_use]
    pub const fn format(self) -> u32 {
        self.format
    }
}

/// The first line of what is signed.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} v{}", self.name, self.format)
    }
}

/// Why some bytes are not a file of that kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// A newer version of auditctl made it.
    #[error(
        "format {found} of {} is not known to this version of auditctl, which reads format {}; a newer version \
         made it: use that one",
        kind.name, kind.format
    )]
    Newer {
        /// What it is.
        kind: Kind,
        /// The format that it says it has.
        found: u64,
    },
    /// It says that it is something else.
    #[error("it says that it is {found:?}, not {:?}", kind.name)]
    Other {
        /// What was expected.
        kind: Kind,
        /// What it says.
        found: String,
    },
    /// It is no such JSON object.
    #[error("{0}")]
    Malformed(String),
}

impl DocumentError {
    /// Whether a newer version of auditctl made it: nothing is wrong with the file then.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        matches!(self, Self::Newer { .. })
    }
}

/// How a file's JSON is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Without whitespace.
    Compact,
    /// Indented by two spaces, for people.
    Pretty,
}

/// Objects and arrays may stand in each other so deep, also in members that nobody
/// knows: what most parsers take, serde_json among them.
pub const MAX_JSON_DEPTH: usize = 127;

/// Members of a JSON object that this version does not know: whoever writes the file
/// again writes them too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Unknown(serde_json::Map<String, Value>);

impl Unknown {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Of a whole file, what every file has goes without saying.
    pub(crate) fn without_head(mut self) -> Self {
        for known in ["type", "format"] {
            self.0.remove(known);
        }
        self
    }
}

#[derive(Serialize)]
struct Whole<'a, T> {
    #[serde(rename = "type")]
    kind: &'static str,
    format: u32,
    #[serde(flatten)]
    value: &'a T,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    format: u64,
}

#[derive(Deserialize)]
struct Tail<'a> {
    #[serde(borrow)]
    signature: &'a RawValue,
}

/// A file's content, without a final LF.
///
/// # Errors
/// What keeps the value from being JSON.
pub fn encode<T: Serialize>(kind: Kind, value: &T, layout: Layout) -> serde_json::Result<Vec<u8>> {
    let whole = Whole { kind: kind.name, format: kind.format, value };
    match layout {
        Layout::Compact => serde_json::to_vec(&whole),
        Layout::Pretty => serde_json::to_vec_pretty(&whole),
    }
}

/// A file's content, with its final LF.
///
/// # Errors
/// As [`encode`].
pub fn encode_file<T: Serialize>(
    kind: Kind,
    value: &T,
    layout: Layout,
) -> serde_json::Result<Vec<u8>> {
    let mut text = encode(kind, value, layout)?;
    text.push(b'\n');
    Ok(text)
}

/// Whether some bytes say that they are of that kind, in a format that can be read.
///
/// # Errors
/// See [`DocumentError`].
pub fn check_head(kind: Kind, bytes: &[u8]) -> Result<(), DocumentError> {
    if is_too_deep(bytes) {
        let why = format!("it is nested more than {MAX_JSON_DEPTH} deep");
        return Err(DocumentError::Malformed(why));
    }
    let head: Head<'_> = serde_json::from_slice(bytes).map_err(malformed)?;
    check_kind(kind, &head.kind, head.format)
}

/// Whether what a file says that it is, is that kind, in a format that can be read.
///
/// # Errors
/// See [`DocumentError`].
pub fn check_kind(kind: Kind, name: &str, format: u64) -> Result<(), DocumentError> {
    if name != kind.name {
        let found = name.chars().take(80).collect();
        return Err(DocumentError::Other { kind, found });
    }
    match format {
        found if found > u64::from(kind.format) => Err(DocumentError::Newer { kind, found }),
        0 => Err(DocumentError::Malformed("there is no format 0".to_owned())),
        _ => Ok(()),
    }
}

/// Reads a file's content.
///
/// # Errors
/// See [`DocumentError`].
pub fn decode<T: DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<T, DocumentError> {
    check_head(kind, bytes)?;
    serde_json::from_slice(bytes).map_err(malformed)
}

/// serde_json passes over what is not asked for without looking how deep it is.
fn is_too_deep(bytes: &[u8]) -> bool {
    let (mut depth, mut is_text) = (0_usize, false);
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => is_text = !is_text,
            b'\\' if is_text => {
                rest.next();
            }
            b'{' | b'[' if !is_text => {
                depth += 1;
                if depth > MAX_JSON_DEPTH {
                    return true;
                }
            }
            b'}' | b']' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

fn malformed(error: serde_json::Error) -> DocumentError {
    DocumentError::Malformed(error.to_string())
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
        format!("{kind}\n{}\n{}\n{digest}\n", self.origin, self.size)
    }
}

impl Signature {
    /// Of a file's content.
    ///
    /// # Errors
    /// [`DocumentError::Malformed`] where there is no `signature`, or one that is
    /// neither a text nor `null`.
    pub fn read(bytes: &[u8]) -> Result<Self, DocumentError> {
        let tail: Tail<'_> = serde_json::from_slice(bytes).map_err(malformed)?;
        let value = tail.signature.get();
        let note: Option<String> = serde_json::from_str(value).map_err(malformed)?;
        // Borrowed from `bytes`, so the difference is where it stands in them.
        let begin = value.as_ptr().addr() - bytes.as_ptr().addr();
        let mut hasher = Sha256::new();
        hasher.update(&bytes[..begin]);
        hasher.update(b"null");
        hasher.update(&bytes[begin + value.len()..]);
        Ok(Self { note, digest: Hash::from_bytes(hasher.finalize().into()) })
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
