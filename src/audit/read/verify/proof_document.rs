//! One record with its proof, for somebody who has nothing else: the stored line,
//! the hashes that lead from it to the root, the signed checkpoint, the public key.

use serde::{Deserialize, Serialize};

use crate::audit::keys::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint, VerifierKey};
use crate::audit::keys::{Keyring, Rotation};
use crate::audit::record::peek_seq;
use crate::audit::tree::document;
use crate::audit::tree::document::{Kind, Layout};
use crate::audit::tree::merkle::{Hash, leaf_hash};
use crate::audit::tree::proof::{InvalidProof, verify_inclusion};

/// A record with its proof. Stored as one JSON object, [`Kind::PROOF`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofDocument {
    /// The record's place in the log, and in the tree.
    pub seq: u64,
    /// The stored line without its LF, byte for byte.
    pub record: String,
    /// The tree's size, as the checkpoint says it.
    pub tree_size: u64,
    /// RFC 6962 inclusion proof, the lowest hash first.
    pub inclusion_proof: Vec<Hash>,
    /// Who signed that tree.
    #[serde(flatten)]
    pub signed: SignedTree,
}

/// A signed tree head, and what it takes to check it: the end of each proof document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedTree {
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
    /// It is not a proof, or a newer version made it.
    #[error("it is not a readable proof: {0}")]
    Form(#[from] document::DocumentError),
    /// It is a `tlog-proof`, and a line of it is wrong.
    #[error("line {line} of the proof is wrong: {reason}")]
    Line {
        /// Which, counted from 1.
        line: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// The record that it is about has to be given with it.
    #[error("it does not hold the record that it proves")]
    NoRecord,
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
    /// The hashes do not lead from the earlier root to the signed one.
    #[error("the signed tree does not begin with the earlier one: {0}")]
    Consistency(InvalidProof),
}

impl DocumentError {
    /// Whether a newer version of auditctl made it: nothing is wrong with it then.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        matches!(self, Self::Form(error) if error.is_newer())
    }
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
    /// What each succession of keys rests on that nobody signed, in a sentence.
    pub notes: Vec<String>,
}

impl SignedTree {
    /// The checkpoint, its key, and all keys that lead to it: by the key that was given,
    /// or by the document's own, which proves only that it is of one piece.
    ///
    /// # Errors
    /// [`DocumentError::Key`] and [`DocumentError::Checkpoint`].
    pub(super) fn check(
        &self,
        given: Option<&VerifierKey>,
        tree_size: u64,
    ) -> Result<(Checkpoint, VerifierKey, Keyring), DocumentError> {
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
        if checkpoint.size != tree_size {
            return Err(DocumentError::Contradiction(format!(
                "it says that the tree has {tree_size} records, its checkpoint {}",
                checkpoint.size
            )));
        }
        Ok((checkpoint, own, keys))
    }
}

impl ProofDocument {
    /// Reads one.
    ///
    /// # Errors
    /// [`DocumentError::Form`].
    pub fn parse(text: &[u8]) -> Result<Self, DocumentError> {
        Ok(document::decode(Kind::PROOF, text)?)
    }

    /// As one JSON object.
    #[must_use]
    pub fn encode(&self) -> String {
        encoded(Kind::PROOF, self)
    }

    /// Checks it with nothing else at hand: against the key that was given, or
    /// against its own, which proves only that it is of one piece.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn check(&self, given: Option<&VerifierKey>) -> Result<Proven, DocumentError> {
        let (checkpoint, key, keys) = self.signed.check(given, self.tree_size)?;
        let leaf_hash = included(&self.record, self.seq, &self.inclusion_proof, &checkpoint)?;
        Ok(Proven { checkpoint, key: key.label(), leaf_hash, notes: keys.unsigned_successions() })
    }
}

pub(super) fn encoded<T: Serialize>(kind: Kind, document: &T) -> String {
    let text = document::encode(kind, document, Layout::Pretty).unwrap_or_default();
    String::from_utf8(text).unwrap_or_default()
}

/// The record's leaf hash, if the proof leads from it to the checkpoint's root.
pub(super) fn included(
    record: &str,
    seq: u64,
    proof: &[Hash],
    checkpoint: &Checkpoint,
) -> Result<Hash, DocumentError> {
    if peek_seq(record.as_bytes()) != Some(seq) {
        let text = format!("its record is not record {seq}");
        return Err(DocumentError::Contradiction(text));
    }
    let leaf_hash = leaf_hash(record.as_bytes());
    verify_inclusion(&leaf_hash, seq, checkpoint.size, proof, &checkpoint.root)?;
    Ok(leaf_hash)
}
