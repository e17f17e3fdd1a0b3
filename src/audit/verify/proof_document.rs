//! One record with its proof, for somebody who has nothing else: the stored line,
//! the hashes that lead from it to the root, the signed checkpoint, the public key.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::VerifyError;
use super::pieces::{self, Pieces};
use super::tail;
use super::tally::Tally;
use super::view::View;
use crate::audit::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint, VerifierKey};
use crate::audit::keys::{Keyring, Rotation, load_keyring};
use crate::audit::merkle::{Hash, leaf_hash};
use crate::audit::proof::{
    InvalidProof, ProofError, RangeHashes, inclusion_proof, verify_inclusion,
};
use crate::audit::record::peek_seq;
use crate::audit::watch::Unwatched;
use crate::fsio::SharedFs;

const FORMAT: &str = "auditctl-proof-v1";

/// A record with its proof. Stored as one JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofDocument {
    /// `auditctl-proof-v1`.
    pub format: String,
    /// The record's place in the log, and in the tree.
    pub seq: u64,
    /// The stored line without its LF, byte for byte.
    pub record: String,
    /// The tree's size, as the checkpoint says it.
    pub tree_size: u64,
    /// RFC 6962 inclusion proof, the lowest hash first.
    pub inclusion_proof: Vec<Hash>,
    /// The signed note.
    pub checkpoint: String,
    /// The verifier key that signed it. It proves nothing by standing here: compare
    /// it with one that you had before.
    pub public_key: String,
    /// How the log's keys followed each other, when it changed them: who has an
    /// older key, or a newer one, can check the document with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_chain: Vec<Rotation>,
}

/// Why a document proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It is not a proof document.
    #[error("it is no proof document: {0}")]
    Malformed(String),
    /// Its checkpoint is not signed by the key.
    #[error("its checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// Its public key is none, or not the one that was given.
    #[error("its public key: {0}")]
    Key(String),
    /// It contradicts itself.
    #[error("{0}")]
    Contradiction(String),
    /// The hashes do not lead from the record to the signed root.
    #[error("the record is not the one that was signed: {0}")]
    Proof(#[from] InvalidProof),
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The log could not be read.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The checkpoint cannot be used.
    #[error("audit.checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// There is no checkpoint.
    #[error("audit.checkpoint is missing: nothing has been signed")]
    Unsigned,
    /// The record is not covered by a checkpoint yet.
    #[error("record {seq} is not signed yet: the newest checkpoint covers {signed} records")]
    NotYet {
        /// The record.
        seq: u64,
        /// What is signed.
        signed: u64,
    },
    /// Retention removed the record.
    #[error("record {seq} was removed by retention, which removed all before record {begin}")]
    Removed {
        /// The record.
        seq: u64,
        /// The first one that is here.
        begin: u64,
    },
    /// The log is damaged where the proof needs it.
    #[error("the log is damaged, so record {seq} cannot be proven: {reason}")]
    Damaged {
        /// The record.
        seq: u64,
        /// What does not fit.
        reason: String,
    },
}

/// What a document proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The checkpoint that covers the record.
    pub checkpoint: Checkpoint,
    /// Name and id of the key that signed it.
    pub key: String,
    /// The record's leaf hash.
    pub leaf_hash: Hash,
}

impl ProofDocument {
    /// Reads one.
    ///
    /// # Errors
    /// [`DocumentError::Malformed`].
    pub fn parse(text: &[u8]) -> Result<Self, DocumentError> {
        let document: Self = serde_json::from_slice(text)
            .map_err(|error| DocumentError::Malformed(error.to_string()))?;
        if document.format != FORMAT {
            let found: String = document.format.chars().take(40).collect();
            let text = format!("format {found:?} is not {FORMAT:?}");
            return Err(DocumentError::Malformed(text));
        }
        Ok(document)
    }

    /// As one JSON object.
    #[must_use]
    pub fn encode(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Checks it with nothing else at hand: against the key that was given, or
    /// against its own, which proves only that it is of one piece.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn check(&self, given: Option<&VerifierKey>) -> Result<Proven, DocumentError> {
        let own: VerifierKey = self
            .public_key
            .trim_end()
            .parse()
            .map_err(|error| DocumentError::Key(format!("{error}")))?;
        if let Some(given) = given.filter(|given| self.key_chain.is_empty() && **given != own) {
            let text = format!("it is {}, not the one given, {}", own.label(), given.label());
            return Err(DocumentError::Key(text));
        }
        let keys = Keyring::new(given.unwrap_or(&own).clone(), &self.key_chain)
            .map_err(|error| DocumentError::Key(error.to_string()))?;
        let note = SignedCheckpoint::parse(self.checkpoint.as_bytes())?;
        let (checkpoint, signer) = keys.verify(&note)?;
        let checkpoint = checkpoint.clone();
        if signer != &own {
            let text = format!("it is {}, its checkpoint is by {}", own.label(), signer.label());
            return Err(DocumentError::Key(text));
        }
        if checkpoint.size != self.tree_size {
            return Err(DocumentError::Contradiction(format!(
                "it says that the tree has {} records, its checkpoint {}",
                self.tree_size, checkpoint.size
            )));
        }
        if peek_seq(self.record.as_bytes()) != Some(self.seq) {
            return Err(DocumentError::Contradiction(format!(
                "its record is not record {}",
                self.seq
            )));
        }
        let leaf_hash = leaf_hash(self.record.as_bytes());
        verify_inclusion(
            &leaf_hash,
            self.seq,
            checkpoint.size,
            &self.inclusion_proof,
            &checkpoint.root,
        )?;
        Ok(Proven { checkpoint, key: own.label(), leaf_hash })
    }
}

/// Why a subtree's hash cannot be had.
#[derive(Debug, thiserror::Error)]
enum NoHash {
    #[error("records {0} to {1} are not here, or damaged")]
    Missing(u64, u64),
    #[error(transparent)]
    Verify(VerifyError),
}

struct Hashes<'a> {
    view: &'a View,
    pieces: &'a Pieces,
}

impl RangeHashes for Hashes<'_> {
    type Error = NoHash;

    fn range_hash(&self, begin: u64, end: u64) -> Result<Hash, NoHash> {
        let range = self.pieces.range(self.view, begin, end).map_err(NoHash::Verify)?;
        range.and_then(|range| range.subtree_hash().ok()).ok_or(NoHash::Missing(begin, end - 1))
    }
}

/// Makes the proof of a record under the newest signed head, and checks it.
///
/// # Errors
/// See [`ProveError`].
pub fn prove(fs: &SharedFs, dir: &Path, seq: u64) -> Result<ProofDocument, ProveError> {
    let view = View::take(fs, dir)?;
    let keys = load_keyring(&*view.fs, &view.paths, None).map_err(VerifyError::Keys)?;
    let note = view.note.as_deref().ok_or(ProveError::Unsigned)?;
    let mut signed = SignedCheckpoint::parse(note)?;
    keys.verify(&signed)?;
    // The head of the last durable batch is as good, and newer.
    let head = view.head.as_deref().and_then(|head| SignedCheckpoint::parse(head).ok());
    if let Some(head) = head.filter(|head| keys.verify(head).is_ok()) {
        let (older, newer) = (signed.unverified(), head.unverified());
        if newer.origin == older.origin && newer.size > older.size {
            signed = head;
        }
    }
    let (checkpoint, key) = keys.verify(&signed)?;
    let size = checkpoint.size;
    if seq >= size {
        return Err(ProveError::NotYet { seq, signed: size });
    }
    let mut pieces = Pieces::sealed(&view);
    if seq < pieces.begin() {
        return Err(ProveError::Removed { seq, begin: pieces.begin() });
    }
    tail::check(&view, &mut pieces, size, &Unwatched, &mut Tally::default())?;
    let damaged = |reason: String| ProveError::Damaged { seq, reason };
    let record = line_of(&view, &pieces, seq)?
        .ok_or_else(|| damaged("its block cannot be read, or holds other records".to_owned()))?;
    let proof = inclusion_proof(&Hashes { view: &view, pieces: &pieces }, seq, size);
    let inclusion_proof = proof.map_err(|error| match error {
        ProofError::Source(NoHash::Verify(error)) => ProveError::Verify(error),
        error => damaged(error.to_string()),
    })?;
    let document = ProofDocument {
        format: FORMAT.to_owned(),
        seq,
        record,
        tree_size: size,
        inclusion_proof,
        checkpoint: signed.to_string(),
        public_key: key.to_string(),
        key_chain: keys.rotations().to_vec(),
    };
    document.check(Some(key)).map_err(|error| damaged(error.to_string()))?;
    Ok(document)
}

fn line_of(view: &View, pieces: &Pieces, seq: u64) -> Result<Option<String>, VerifyError> {
    let Some(piece) = pieces.piece_of(seq) else { return Ok(None) };
    let Some(raw) = pieces::read(view, piece)? else { return Ok(None) };
    let line = raw
        .split(|byte| *byte == b'\n')
        .nth((seq - piece.block.first_seq) as usize)
        .filter(|line| peek_seq(line) == Some(seq));
    Ok(line.and_then(|line| String::from_utf8(line.to_vec()).ok()))
}
