//! The JSON files that auditctl writes: each says what it is.
//!
//! A file is one JSON object that begins `{"type":"auditctl/<kind>","format":<n>`.
//! Whoever reads one accepts members in any order, whitespace, and members that they do
//! not know; a format above the one that they know stops them. A later version may so
//! add to a file without a new format. The format changes where an older reader would
//! be wrong if it went on.

mod measure;

use std::borrow::Cow;
use std::error::Error;
use std::{fmt, io};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::merkle::Hash;
use crate::audit::record::sanitize::check_members;
use crate::json_place::JsonError;
pub(crate) use measure::check_unknown;

/// A kind of file, and the format in which this version reads and writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    name: &'static str,
    format: u32,
}

impl Kind {
    /// A log; its first record says in which format.
    pub const LOG: Self = Self::first("auditctl/log");
    /// `audit.manifest.json`.
    pub const MANIFEST: Self = Self::first("auditctl/manifest");
    /// `audit.keys`.
    pub const KEYS: Self = Self::first("auditctl/keys");
    /// `audit.restore.json`.
    pub const RESTORE: Self = Self::first("auditctl/restore");
    /// `audit.verified.json`.
    pub const VERIFIED: Self = Self::first("auditctl/verified");
    /// `audit.findings.json`.
    pub const FINDINGS: Self = Self::first("auditctl/findings");
    /// The header line of `audit.alerts.journal`.
    pub const ALERTS_JOURNAL: Self = Self::first("auditctl/alerts-journal");
    /// `audit.alerts.json`.
    pub const ALERTS: Self = Self::first("auditctl/alerts");
    /// `audit.witness.json`.
    pub const WITNESS: Self = Self::first("auditctl/witness");
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
    /// `audit.archive.json`: how far a log has been shipped.
    pub const ARCHIVE: Self = Self::first("auditctl/archive");
    /// `audit.archive.status.json`: how shipping is.
    pub const ARCHIVE_STATUS: Self = Self::first("auditctl/archive-status");
    /// Which records an archive's data object holds, and what proves them.
    pub const ARCHIVE_RANGE: Self = Self::first("auditctl/archive-range");
    /// A log's keys, in an archive.
    pub const ARCHIVE_KEYS: Self = Self::first("auditctl/archive-keys");
    /// What a verification of a fleet's archive leaves for the next one.
    pub const FLEET_STATE: Self = Self::first("auditctl/fleet-state");
    /// The report of such a verification.
    pub const FLEET_REPORT: Self = Self::first("auditctl/fleet-report");

    /// A manifest with pages: who does not know of them would miss the records that they list.
    pub const PAGED_MANIFEST: Self = Self::later("auditctl/manifest", 2);
    /// A page of a manifest.
    pub const MANIFEST_PAGE: Self = Self::first("auditctl/manifest-page");
    /// A backup's metadata, also one that builds on others: who does not know that would
    /// restore its end without its beginning.
    pub const INCREMENTAL_BACKUP: Self = Self::later("auditctl/backup", 2);
    /// The marker of such a backup's archive.
    pub const INCREMENTAL_MARKER: Self = Self::later("auditctl/marker", 2);

    /// All of them, in the format that most are written in.
    pub const ALL: &[Self] = &[
        Self::MANIFEST,
        Self::MANIFEST_PAGE,
        Self::KEYS,
        Self::RESTORE,
        Self::VERIFIED,
        Self::FINDINGS,
        Self::ALERTS_JOURNAL,
        Self::ALERTS,
        Self::WITNESS,
        Self::PROOF,
        Self::CONSISTENCY_PROOF,
        Self::BACKUP,
        Self::MARKER,
        Self::DRILL,
        Self::CATALOG,
        Self::UPLOAD,
        Self::ARCHIVE,
        Self::ARCHIVE_STATUS,
        Self::ARCHIVE_RANGE,
        Self::ARCHIVE_KEYS,
        Self::FLEET_STATE,
        Self::FLEET_REPORT,
    ];

    const fn first(name: &'static str) -> Self {
        Self::later(name, 1)
    }

    const fn later(name: &'static str, format: u32) -> Self {
        Self { name, format }
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
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum DocumentError {
    /// A newer version of auditctl made it.
    #[error(
        "format {found} of {} is not known to this version of auditctl, which reads format {}; a \
         newer version made it; use that version",
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
    pub(in crate::audit) fn malformed(error: serde_json::Error) -> Self {
        Self::Malformed(JsonError::from(&error).to_string())
    }

    /// Whether a newer version of auditctl made it: nothing is wrong with the file then.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        matches!(self, Self::Newer { .. })
    }
}

/// That a newer version made a file, where this is what is behind an error.
#[must_use]
pub fn newer_behind<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a DocumentError> {
    let mut next = Some(error);
    while let Some(at) = next {
        // What an I/O error carries is not its source, but stands for it.
        let carried = at.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let at: &(dyn Error + 'static) = carried.map_or(at, |carried| carried);
        if let Some(found) = at.downcast_ref::<DocumentError>().filter(|found| found.is_newer()) {
            return Some(found);
        }
        next = at.source();
    }
    None
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
    #[serde(borrow)]
    format: &'a RawValue,
}

fn malformed(error: &dyn fmt::Display) -> DocumentError {
    DocumentError::Malformed(error.to_string())
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
    let head: Head<'_> = serde_json::from_slice(bytes).map_err(DocumentError::malformed)?;
    // A number of whatever size says that a newer version made it.
    let text = head.format.get();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let format = text.parse().ok().or(is_number.then_some(u64::MAX));
    let format = format.ok_or_else(|| {
        DocumentError::Malformed("its format is not a number without a sign".to_owned())
    })?;
    check_kind(kind, &head.kind, format)?;
    // serde_json passes over what is not asked for without looking how deep it is, or
    // whether it stands twice: two readers would see two files.
    let text = std::str::from_utf8(bytes).map_err(|error| malformed(&error))?;
    check_members(text, MAX_JSON_DEPTH).map_err(|error| malformed(&error))?;
    Ok(())
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
    decode_checked(bytes)
}

/// The same, where [`check_head`] has passed it.
///
/// # Errors
/// [`DocumentError::Malformed`].
pub(crate) fn decode_checked<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DocumentError> {
    serde_json::from_slice(bytes).map_err(DocumentError::malformed)
}

/// SHA-256 of a file's bytes, with other texts where these members' values stand. They
/// are borrowed from `bytes`, and in the order in which they stand there.
pub(crate) fn digest_with(bytes: &[u8], replaced: &[(&RawValue, &str)]) -> Hash {
    let mut hasher = Sha256::new();
    replacing(bytes, replaced, |piece| hasher.update(piece));
    Hash::from_bytes(hasher.finalize().into())
}

/// A file's bytes, with other texts where these members' values stand, as in
/// [`digest_with`].
pub(crate) fn replacing(bytes: &[u8], replaced: &[(&RawValue, &str)], mut take: impl FnMut(&[u8])) {
    let mut at = 0;
    for (value, text) in replaced {
        let begin = value.get().as_ptr().addr() - bytes.as_ptr().addr();
        take(&bytes[at..begin]);
        take(text.as_bytes());
        at = begin + value.get().len();
    }
    take(&bytes[at..]);
}

/// The text that is signed.
pub(crate) fn signed_text(kind: Kind, origin: &str, size: u64, digest: &Hash) -> String {
    format!("{kind}\n{origin}\n{size}\n{digest}\n")
}

#[cfg(test)]
mod tests;
