//! The manifest: what is sealed, where each block is, and what retention removed.
//!
//! `audit.manifest.json` is replaced atomically. It is an index, signed by the
//! log's key so that nobody else's is taken for it. Opening rebuilds one that is
//! not signed, or that does not fit the files: the signed heads, not the manifest,
//! say what the log must contain.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::checkpoint::{Note, Origin};
use super::facts::Span;
use super::keys::{Keyring, Place};
use super::merkle::{Hash, Range};
use super::segment::{Block, Layout, sealed_name};
use super::signer::SigningKey;
use crate::clock::Timestamp;
use crate::fsio::{self, Fs};

/// The on-disk format this version writes.
pub const FORMAT: u32 = 1;
/// A manifest larger than this is refused: about 4 million blocks.
pub(crate) const MAX_BYTES: u64 = 4 << 30;
/// The first line of what is signed; no checkpoint can begin like it.
const SIGNED: &str = "auditctl/manifest v1";

/// The manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// 1.
    pub format: u32,
    /// The log's id: 32 hex digits.
    pub log_id: String,
    /// 0, or the number of times signed records were set aside.
    pub epoch: u32,
    /// Signed heads that an epoch change abandoned, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub abandoned: Vec<String>,
    /// The tree over what retention has removed: everything before its end.
    pub pruned: Range,
    /// What the log's records say of backups of it.
    #[serde(default, skip_serializing_if = "BackupsNoted::is_nothing")]
    pub backups: BackupsNoted,
    /// The seq of the `audit.pruned` record that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned_by: Option<u64>,
    /// Records that an opening adopted without a signature over them, as the
    /// `audit.recovered` records name them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adopted: Vec<Span>,
    /// The size of the newest backup that an `audit.backup_made` record names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backed_up: Option<u64>,
    /// The key that the log's keys begin with: from it `audit.keys` leads to the one that
    /// signs. The log's first record says it too, or the newest `audit.pruned` record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_key: Option<String>,
    /// Sealed segments, in order, without gaps.
    pub segments: Vec<Segment>,
    /// The log's key's signature over all of the above, as a signed note; see
    /// [`signed_text`](Self::signed_text).
    #[serde(default)]
    pub signature: Option<String>,
}

/// What the log's own records say of backups of it: so that the log knows, also when
/// no backup is in reach, that it has been backed up.
///
/// A hint that saves reading. The records are `audit.backup_made`, and `audit.pruned`
/// where it names backups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupsNoted {
    /// All records below this were looked through for such a record.
    #[serde(default)]
    pub looked_to: u64,
    /// The newest such record that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<u64>,
}

impl BackupsNoted {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// A sealed segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// File name in the log directory.
    pub file: String,
    /// Its first record.
    pub first_seq: u64,
    /// Its number of records.
    pub records: u64,
    /// Its length as lines.
    pub raw_bytes: u64,
    /// Its length as stored.
    pub stored_bytes: u64,
    /// SHA-256 of the stored file, hex; absent until it has been compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// SHA-256 of its file of block filters, hex; absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters_sha256: Option<String>,
    /// When it was sealed.
    pub sealed_at: Timestamp,
    /// Earliest `timestamp` in it.
    pub min_timestamp: Timestamp,
    /// Latest `timestamp` in it.
    pub max_timestamp: Timestamp,
    /// What is known to be wrong with the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
    /// Its blocks, in order, without gaps.
    pub blocks: Vec<Block>,
}

/// The first builds knew no signature.
fn as_first_builds(encoded: &[u8]) -> Vec<u8> {
    let before = encoded.strip_suffix(b",\"signature\":null}\n").unwrap_or(encoded);
    [before, b"}\n"].concat()
}

#[derive(Deserialize)]
struct Versioned {
    format: u64,
}

/// Why the manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// It is of a format that this version does not know.
    #[error(
        "{path}: format {format} is not known to this version of auditctl, which reads format {FORMAT}; \
         a newer version made it: use that one"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The format that it says it has.
        format: u64,
    },
    /// It is not a manifest that this version understands, or contradicts itself.
    #[error("{path}: {reason}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Why a manifest's signature proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    /// There is none: an earlier build made it, or somebody without the key.
    #[error("it is not signed")]
    Absent,
    /// There is one, and it is not the log's over this manifest.
    #[error("{0}")]
    Wrong(String),
}

impl Segment {
    /// Whether it is stored as gzip members.
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        self.file.ends_with(".gz")
    }

    /// The seq after its last record.
    #[must_use]
    pub fn end_seq(&self) -> u64 {
        self.first_seq + self.records
    }

    /// A segment that has just been sealed and is not compressed yet.
    pub(crate) fn sealed(layout: &Layout, sealed_at: Timestamp, damage: Option<String>) -> Self {
        let blocks = layout.blocks();
        Self {
            file: sealed_name(layout.first_seq, false),
            first_seq: layout.first_seq,
            records: layout.records(),
            raw_bytes: layout.raw_bytes,
            stored_bytes: layout.raw_bytes,
            sha256: None,
            filters_sha256: None,
            sealed_at,
            min_timestamp: blocks.iter().map(|b| b.min_timestamp).min().unwrap_or_default(),
            max_timestamp: blocks.iter().map(|b| b.max_timestamp).max().unwrap_or_default(),
            damage,
            blocks,
        }
    }

    fn check(&self) -> Result<(), String> {
        let (mut seq, mut offset, mut raw) = (self.first_seq, 0_u64, 0_u64);
        for block in &self.blocks {
            let fits = block.first_seq == seq
                && block.offset == offset
                && block.records > 0
                && block.tree.begin() == seq
                && Some(block.tree.end()) == seq.checked_add(block.records);
            if !fits {
                return Err(format!(
                    "{}: its blocks do not follow each other at record {seq}",
                    self.file
                ));
            }
            seq = block.tree.end();
            offset = offset.checked_add(block.stored_bytes).ok_or("sizes overflow")?;
            raw = raw.checked_add(block.raw_bytes).ok_or("sizes overflow")?;
        }
        let named = [sealed_name(self.first_seq, false), sealed_name(self.first_seq, true)];
        if Some(seq) != self.first_seq.checked_add(self.records)
            || raw != self.raw_bytes
            || offset != self.stored_bytes
            || !named.contains(&self.file)
        {
            return Err(format!("{}: its blocks do not add up to it", self.file));
        }
        Ok(())
    }
}

impl Manifest {
    /// Of a new log.
    #[must_use]
    pub fn new(log_id: String) -> Self {
        Self {
            format: FORMAT,
            log_id,
            epoch: 0,
            abandoned: Vec::new(),
            pruned: Range::empty(0),
            backups: BackupsNoted::default(),
            pruned_by: None,
            adopted: Vec::new(),
            backed_up: None,
            first_key: None,
            segments: Vec::new(),
            signature: None,
        }
    }

    /// The text that is signed: its kind, the log and epoch, the size of the tree
    /// over what is sealed, and the SHA-256 of the file with `null` in the
    /// signature's place.
    ///
    /// # Errors
    /// What keeps it from being a manifest, in words.
    pub fn signed_text(&self) -> Result<String, String> {
        let origin = Origin::new(&self.log_id, self.epoch).map_err(|error| error.to_string())?;
        let unsigned = Self { signature: None, ..self.clone() };
        let bytes = unsigned.encode().map_err(|error| error.to_string())?;
        let digest = Hash::from_bytes(Sha256::digest(&bytes).into());
        Ok(format!("{SIGNED}\n{origin}\n{}\n{digest}\n", self.end_seq()))
    }

    /// Signs it.
    ///
    /// # Errors
    /// What keeps it from being a manifest, in words.
    pub fn sign(&mut self, key: &SigningKey) -> Result<(), String> {
        let text = self.signed_text()?;
        self.signature = Some(key.sign_note(text).map_err(|error| error.to_string())?.to_string());
        Ok(())
    }

    /// Whether one of the log's keys signed it, where that key was valid.
    ///
    /// # Errors
    /// [`Unsigned`], which says why it proves nothing.
    pub fn check_signature(&self, keys: &Keyring) -> Result<(), Unsigned> {
        let signature = self.signature.as_ref().ok_or(Unsigned::Absent)?;
        let wrong = |error: String| Unsigned::Wrong(error);
        let note = Note::parse(signature.as_bytes()).map_err(|error| wrong(error.to_string()))?;
        let place = Place { epoch: self.epoch, size: self.end_seq() };
        keys.verify_later(&note, place).map_err(|error| wrong(error.to_string()))?;
        if note.text() != self.signed_text().map_err(wrong)? {
            return Err(Unsigned::Wrong("its signature is of something else".to_owned()));
        }
        Ok(())
    }

    /// Reads it; `None` when there is none.
    ///
    /// # Errors
    /// [`ManifestError::Invalid`] for another format, unknown keys, or segments
    /// and blocks that do not follow each other.
    pub fn load(fs: &dyn Fs, path: &Path) -> Result<Option<Self>, ManifestError> {
        Ok(Self::load_text(fs, path)?.map(|(manifest, _)| manifest))
    }

    /// The same, and whether the file is byte for byte as [`store`](Self::store)
    /// writes it.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_exact(fs: &dyn Fs, path: &Path) -> Result<Option<(Self, bool)>, ManifestError> {
        Ok(Self::load_text(fs, path)?.map(|(manifest, text)| {
            let exact = manifest.encode().is_ok_and(|encoded| {
                encoded == text || manifest.signature.is_none() && as_first_builds(&encoded) == text
            });
            (manifest, exact)
        }))
    }

    fn load_text(fs: &dyn Fs, path: &Path) -> Result<Option<(Self, Vec<u8>)>, ManifestError> {
        let text = match fsio::read_text(fs, path, MAX_BYTES) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ManifestError::Io { path: path.to_path_buf(), source }),
        };
        let path = path.to_path_buf();
        if let Ok(Versioned { format }) = serde_json::from_slice(&text)
            && format != u64::from(FORMAT)
        {
            return Err(ManifestError::Version { path, format });
        }
        let manifest =
            Self::parse(&text).map_err(|reason| ManifestError::Invalid { path, reason })?;
        Ok(Some((manifest, text)))
    }

    /// Reads a manifest's text; believes no number in it that contradicts another.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!(
                "format {} is not known to this version, which reads format {FORMAT}",
                self.format
            ));
        }
        if self.pruned.begin() != 0 {
            return Err("the removed range does not begin at 0".to_owned());
        }
        let (mut next, mut stored) = (self.pruned.end(), 0_u64);
        for segment in &self.segments {
            if segment.first_seq != next {
                return Err(format!("records {next} to {} are in no segment", segment.first_seq));
            }
            segment.check()?;
            next = segment.end_seq();
            stored = stored.checked_add(segment.stored_bytes).ok_or("sizes overflow")?;
        }
        Ok(())
    }

    /// Replaces the file atomically and durably.
    ///
    /// # Errors
    /// [`ManifestError::Io`]; the old file is then still there.
    pub fn store(&self, fs: &dyn Fs, path: &Path) -> Result<(), ManifestError> {
        let failed = |source| ManifestError::Io { path: path.to_path_buf(), source };
        let text = self.encode().map_err(|error| failed(error.into()))?;
        fsio::replace_file(fs, path, &text).map_err(failed)
    }

    /// The file's content.
    ///
    /// # Errors
    /// None that this struct can bring about.
    pub fn encode(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = serde_json::to_vec(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// The tree over everything sealed or removed, from seq 0.
    ///
    /// # Errors
    /// When ranges are not adjacent, which [`load`](Self::load) has ruled out.
    pub fn tree(&self) -> Result<Range, ManifestError> {
        let mut tree = self.pruned.clone();
        for block in self.segments.iter().flat_map(|segment| &segment.blocks) {
            tree.extend(&block.tree).map_err(|error| ManifestError::Invalid {
                path: PathBuf::from("audit.manifest.json"),
                reason: error.to_string(),
            })?;
        }
        Ok(tree)
    }

    /// The seq after the last sealed record.
    #[must_use]
    pub fn end_seq(&self) -> u64 {
        self.segments.last().map_or(self.pruned.end(), Segment::end_seq)
    }

    /// Bytes of all sealed segments as stored.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.stored_bytes).sum()
    }
}
