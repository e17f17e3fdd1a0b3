//! A backup's metadata: what it is, what it holds, and what checks it.
//!
//! Written last, once the archive has been read back: a backup without its
//! metadata is none. Never changed afterwards and the same in every place, so
//! that a copy in a locked bucket and one on a disk can be compared byte by byte.
//! What changes (uploads, later checks) is in the local catalog.
//!
//! It may say more than this version knows, in any order: what is changed in it is
//! found by its signature, which is over the file's bytes. Metadata without one is
//! believed only as far as its checkpoint and the archive bear it out.

use serde::{Deserialize, Serialize};

use super::base::{Base, check_bases};
use super::digest::Digests;
use super::hole::{Hole, check_holes, runs};
use super::marker::MAX_MARKER_BYTES;
use super::name::BackupId;
use crate::audit::Span;
use crate::audit::files::gzip::MAX_MEMBER_BYTES;
use crate::audit::keys::checkpoint::{
    Checkpoint, NoteError, Origin, SignedCheckpoint, VerifierKey,
};
use crate::audit::keys::signed_document;
use crate::audit::keys::signed_document::{About, Signature, Unsigned};
use crate::audit::keys::signer::SigningKey;
use crate::audit::keys::{Keyring, Rotation};
use crate::audit::tree::document;
use crate::audit::tree::document::{DocumentError, Kind, Layout, encode_file};
use crate::audit::tree::merkle::{Hash, Range};
use crate::clock::Timestamp;

/// A metadata file larger than this is none: about 4 million blocks, or 4 TiB of lines.
pub(crate) const MAX_METADATA_BYTES: u64 = 64 << 20;

/// The metadata of a backup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// The backup's id: when it was made.
    pub id: BackupId,
    /// What made it.
    pub tool: String,
    /// Where it was made.
    pub host: String,
    /// When it was made. Later than the id by the clock, when that was adjusted.
    pub created_at: Timestamp,
    /// Whether the id had to be moved past the newest backup's.
    pub clock_adjusted: bool,
    /// Which log it is of.
    pub log: LogIdentity,
    /// Which records it holds.
    pub range: Held,
    /// The root of the tree over all records below `range.tree_size`.
    pub root_hash: Hash,
    /// The signed checkpoint over that tree.
    pub checkpoint: String,
    /// The backup before it, and the proof that this one extends it.
    pub previous: Option<Previous>,
    /// The archives that hold the records before its own, the full one first; none for a
    /// full backup.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bases: Vec<Base>,
    /// The archive.
    pub archive: Archive,
    /// What the archive is made of, in order.
    pub segments: Vec<Stretch>,
    /// Records in its range that it does not hold, because the log did not: in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holes: Vec<Hole>,
    /// The newest checkpoint that witnesses had cosigned, over no more records than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cosigned: Option<String>,
    /// The encrypted file around the archive, if it is encrypted.
    pub encryption: Option<Encryption>,
    /// How it was checked before it was said to be made.
    pub verified: Verified,
    /// The log's key's signature over all of the above, as a signed note; none
    /// when the key was not at hand.
    pub signature: Option<String>,
    /// The signature and what it is about, of the file that this was read from.
    #[serde(skip)]
    pub(crate) read_from: Option<Signature>,
}

/// A log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogIdentity {
    /// Its id.
    pub id: String,
    /// Its epoch.
    pub epoch: u32,
    /// Both, as checkpoints name it.
    pub origin: String,
    /// The verifier key that signed its checkpoint; believe one that you have from
    /// elsewhere.
    pub public_key: String,
    /// How its keys followed each other, when it changed them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_chain: Vec<Rotation>,
}

/// Which records an archive holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The first record.
    pub first_seq: u64,
    /// The seq after the last record.
    pub tree_size: u64,
    /// How many.
    pub records: u64,
    /// The earliest `timestamp`.
    pub min_timestamp: Timestamp,
    /// The latest `timestamp`.
    pub max_timestamp: Timestamp,
    /// The tree over what retention had removed: everything before `first_seq`.
    pub pruned: Range,
}

/// The backup before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// Its id.
    pub id: BackupId,
    /// Its tree's size.
    pub tree_size: u64,
    /// Its tree's root.
    pub root_hash: Hash,
    /// RFC 6962 proof that this tree extends that one; none when retention had
    /// removed records that no backup held.
    pub consistency_proof: Option<Vec<Hash>>,
}

/// The archive: gzip members, about 1 MiB of lines each, and the marker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Archive {
    /// The stored file's name.
    pub file: String,
    /// Length and checksums of the `.gz`, also when what is stored is encrypted.
    pub digests: Digests,
    /// Length of the lines.
    pub raw_bytes: u64,
    /// SHA-256 of the lines: `zcat FILE | sha256sum`.
    pub raw_sha256: Hash,
    /// The gzip level of what this backup itself compressed.
    pub level: u32,
    /// By how much the archive is smaller than the lines, in percent.
    pub compression_percent: f64,
}

/// A run of members that were one segment, or the tail of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// Its first record.
    pub first_seq: u64,
    /// How many.
    pub records: u64,
    /// Where it begins in the archive.
    pub offset: u64,
    /// Its length in the archive.
    pub stored_bytes: u64,
    /// SHA-256 of those bytes, hex.
    pub sha256: Hash,
    /// The lengths of its members.
    pub members: Vec<u32>,
}

/// An encrypted file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encryption {
    /// `age`.
    pub format: String,
    /// Who can decrypt it.
    pub recipients: Vec<String>,
    /// Length and checksums of the encrypted file.
    pub digests: Digests,
}

/// A check that was passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Which: always `content`.
    pub level: String,
    /// How many records were read.
    pub records: u64,
    /// How long it took.
    pub milliseconds: u64,
}

/// What is wrong with a metadata file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// No metadata, or not as it was written.
    #[error("{0}")]
    Altered(String),
    /// A newer version made it.
    #[error("{0}")]
    Newer(DocumentError),
    /// Its parts contradict each other.
    #[error("it contradicts itself: {0}")]
    Contradiction(String),
    /// A signature or a checkpoint that does not verify.
    #[error("{0}")]
    Signature(String),
}

fn contradiction(what: impl Into<String>) -> MetadataError {
    MetadataError::Contradiction(what.into())
}

impl Metadata {
    /// The file's bytes.
    ///
    /// # Errors
    /// None that this struct can bring about.
    pub fn to_bytes(&self) -> Result<Vec<u8>, MetadataError> {
        encode_file(self.kind(), self, Layout::Pretty)
            .map_err(|error| MetadataError::Altered(error.to_string()))
    }

    /// Reads and checks the metadata of the backup `id`; trusts no number in it.
    ///
    /// # Errors
    /// See [`MetadataError`].
    pub fn parse(bytes: &[u8], id: BackupId) -> Result<Self, MetadataError> {
        let metadata = Self::decode(bytes)?;
        if metadata.id != id {
            return Err(contradiction(format!("it is of backup {}", metadata.id)));
        }
        metadata.check()?;
        Ok(metadata)
    }

    /// Reads metadata, of whichever backup.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, MetadataError> {
        let metadata: Self = document::decode(Kind::INCREMENTAL_BACKUP, bytes)?;
        Ok(Self { read_from: Some(Signature::read(bytes)?), ..metadata })
    }

    fn check(&self) -> Result<(), MetadataError> {
        let held = &self.range;
        if self.archive.file != self.id.archive(self.encryption.is_some()) {
            return Err(contradiction("the archive has another name"));
        }
        let end = held.first_seq.checked_add(held.records);
        if held.pruned.begin() != 0
            || held.pruned.end() != held.first_seq
            || end != Some(held.tree_size)
        {
            return Err(contradiction("its range of records"));
        }
        let (mut seq, mut offset) = (held.first_seq, 0_u64);
        for stretch in &self.segments {
            let members: u64 = stretch.members.iter().map(|bytes| u64::from(*bytes)).sum();
            let fits = stretch.first_seq == seq
                && stretch.offset == offset
                && stretch.records > 0
                && members == stretch.stored_bytes
                && stretch.members.iter().all(|bytes| *bytes as usize <= MAX_MEMBER_BYTES);
            let next = seq.checked_add(stretch.records).zip(offset.checked_add(members));
            match next {
                Some(next) if fits => (seq, offset) = next,
                _ => {
                    let what = format!("the segments do not follow each other at record {seq}");
                    return Err(contradiction(what));
                }
            }
        }
        if seq != held.tree_size {
            return Err(contradiction(format!("its segments end at record {seq}")));
        }
        check_holes(&self.holes, (held.first_seq, held.tree_size)).map_err(contradiction)?;
        check_bases(&self.bases, &held.pruned).map_err(contradiction)?;
        let marker = self.archive.digests.bytes.checked_sub(offset);
        if !marker.is_some_and(|bytes| (1..=MAX_MARKER_BYTES as u64).contains(&bytes)) {
            return Err(contradiction("its segments do not add up to the archive"));
        }
        let is_own = |origin: Origin| {
            (origin.log_id(), origin.epoch()) == (self.log.id.as_str(), self.log.epoch)
        };
        if !self.log.origin.parse().is_ok_and(is_own) {
            return Err(contradiction("the log's id, epoch and origin"));
        }
        Ok(())
    }

    /// Who reads only full backups would take an incremental one for the end of a log whose
    /// beginning retention removed: that is another format.
    fn kind(&self) -> Kind {
        if self.bases.is_empty() { Kind::BACKUP } else { Kind::INCREMENTAL_BACKUP }
    }

    /// As what builds on it names it.
    #[must_use]
    pub fn as_base(&self) -> Base {
        let stored = self.stored();
        Base {
            id: self.id,
            file: self.archive.file.clone(),
            bytes: stored.bytes,
            sha256: stored.sha256,
            first_seq: self.range.first_seq,
            tree_size: self.range.tree_size,
            root_hash: self.root_hash,
        }
    }

    /// Whether it holds only what came after another backup.
    #[must_use]
    pub fn is_incremental(&self) -> bool {
        !self.bases.is_empty()
    }

    /// The first record of what is restored from it.
    #[must_use]
    pub fn begin(&self) -> u64 {
        self.bases.first().map_or(self.range.first_seq, |base| base.first_seq)
    }

    /// Whether it holds all of these records.
    #[must_use]
    pub fn holds(&self, span: Span) -> bool {
        self.range.first_seq <= span.begin
            && span.end <= self.range.tree_size
            && !self
                .holes
                .iter()
                .any(|hole| hole.tree.begin() < span.end && span.begin < hole.tree.end())
    }

    /// The records that it holds: its range without its holes.
    #[must_use]
    pub fn runs(&self) -> Vec<(u64, u64)> {
        let holes = self.holes.iter().map(|hole| (hole.tree.begin(), hole.tree.end()));
        runs((self.range.first_seq, self.range.tree_size), holes)
    }

    /// How many records of its range it does not hold.
    #[must_use]
    pub fn lacks(&self) -> u64 {
        self.holes.iter().map(|hole| hole.span().records()).sum()
    }

    /// The records that it does not hold and nobody had given up.
    #[must_use]
    pub fn lacking(&self) -> Vec<Span> {
        let lacking = self.holes.iter().filter(|hole| hole.given_up_by.is_none());
        lacking.map(Hole::span).collect()
    }

    /// Where the marker begins: after all records.
    #[must_use]
    pub fn marker_offset(&self) -> u64 {
        self.segments.last().map_or(0, |stretch| stretch.offset + stretch.stored_bytes)
    }

    /// Length and checksums of the stored file.
    #[must_use]
    pub fn stored(&self) -> &Digests {
        self.encryption.as_ref().map_or(&self.archive.digests, |encryption| &encryption.digests)
    }

    /// The keys that it names itself.
    ///
    /// # Errors
    /// When that is no verifier key, or the others do not lead to it.
    pub fn own_keys(&self) -> Result<Keyring, MetadataError> {
        own_keys(&self.log.public_key, &self.log.key_chain)
    }

    /// Checks the checkpoint, and the signature over the metadata if there is one.
    /// The metadata of another log's key is another log's.
    ///
    /// # Errors
    /// [`MetadataError::Signature`] and [`MetadataError::Contradiction`].
    pub fn verify(&self, keys: &Keyring) -> Result<Checkpoint, MetadataError> {
        let failed = |what: &str, error: String| MetadataError::Signature(format!("{what}{error}"));
        self.own_keys()?;
        let keys = keys.clone().extended(&self.log.key_chain);
        let note = SignedCheckpoint::parse(self.checkpoint.as_bytes())
            .map_err(|error| failed("its checkpoint: ", error.to_string()))?;
        let (checkpoint, _) =
            keys.verify(&note).map_err(|error| failed("its checkpoint: ", error.to_string()))?;
        let same = checkpoint.origin == self.log.origin
            && checkpoint.size == self.range.tree_size
            && checkpoint.root == self.root_hash;
        if !same {
            return Err(contradiction("it contradicts its checkpoint"));
        }
        // The key may have been changed between the checkpoint and this.
        match self.read_signature()?.check(self.kind(), &self.about()?, &keys) {
            Ok(()) | Err(Unsigned::Absent) => Ok(checkpoint.clone()),
            Err(Unsigned::Wrong(why)) => Err(failed("its signature: ", why)),
        }
    }

    /// Of the file that it was read from; else of the one that it would be.
    fn read_signature(&self) -> Result<Signature, MetadataError> {
        match &self.read_from {
            Some(signature) => Ok(signature.clone()),
            None => Ok(Signature::read(&self.to_bytes()?)?),
        }
    }

    /// What is signed: which log, and how far the backup reaches in it.
    fn about(&self) -> Result<About, MetadataError> {
        let origin = self.log.origin.parse::<Origin>();
        let origin = origin.map_err(|_| contradiction("the log's origin"))?;
        Ok(About { origin, size: self.range.tree_size })
    }

    /// Signs it.
    ///
    /// # Errors
    /// None that an own key can bring about.
    pub fn sign(&mut self, key: &SigningKey) -> Result<(), MetadataError> {
        (self.signature, self.read_from) = (None, None);
        let note = signed_document::sign(self.kind(), &self.to_bytes()?, &self.about()?, key);
        self.signature = Some(note.map_err(MetadataError::Signature)?);
        Ok(())
    }
}

impl From<DocumentError> for MetadataError {
    fn from(error: DocumentError) -> Self {
        match error {
            newer @ DocumentError::Newer { .. } => Self::Newer(newer),
            other => Self::Altered(format!("it is not backup metadata: {other}")),
        }
    }
}

/// The keys that a backup brings itself.
pub(crate) fn own_keys(public_key: &str, chain: &[Rotation]) -> Result<Keyring, MetadataError> {
    let failed = |error: String| MetadataError::Signature(format!("its public key: {error}"));
    let key: VerifierKey =
        public_key.parse().map_err(|error: NoteError| failed(error.to_string()))?;
    Keyring::new(key, chain).map_err(|error| failed(error.to_string()))
}
