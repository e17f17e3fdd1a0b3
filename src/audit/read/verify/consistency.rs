//! That a log's newest signed tree begins with an earlier one, for somebody who has no
//! log: the two roots, the hashes that lead from one to the other, the signed checkpoint.

use serde::{Deserialize, Serialize};

use super::anchor::Anchor;
use super::proof_document::{DocumentError, SignedTree, encoded};
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::{Checkpoint, CheckpointError, Origin, VerifierKey};
use crate::audit::tree::document;
use crate::audit::tree::document::Kind;
use crate::audit::tree::merkle::Hash;
use crate::audit::tree::proof::verify_consistency;

/// A proof of growth. Stored as one JSON object, [`Kind::CONSISTENCY_PROOF`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsistencyDocument {
    /// The earlier tree's size.
    pub from_size: u64,
    /// The earlier tree's root.
    pub from_root: Hash,
    /// The later tree's size, as the checkpoint says it.
    pub tree_size: u64,
    /// RFC 6962 consistency proof, the lowest hash first.
    pub consistency_proof: Vec<Hash>,
    /// Who signed the later tree.
    #[serde(flatten)]
    pub signed: SignedTree,
}

/// What a proof of growth proves.
#[derive(Clone, Debug)]
pub struct Grown {
    /// The later tree.
    pub checkpoint: Checkpoint,
    /// Name and id of the key that signed it.
    pub key: String,
    /// What each succession of keys rests on that nobody signed, in a sentence.
    pub notes: Vec<String>,
    /// All keys of the log that the document leads to.
    keys: Keyring,
}

/// Why a tree head from elsewhere is not the earlier tree of the proof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotEarlier {
    /// Another log's.
    #[error("it is of {found}, and the proof is of {own}")]
    OtherLog {
        /// Whose it is.
        found: String,
        /// Whose the proof is.
        own: String,
    },
    /// No key of the log signed it, or one that was not valid there.
    #[error("it proves nothing: {0}")]
    Unsigned(CheckpointError),
    /// It has another size, about which the proof says nothing.
    #[error(
        "it covers {found} records, but the proof begins at {from}; make a proof with `auditctl \
         prove --from {found}`"
    )]
    OtherSize {
        /// Its size.
        found: u64,
        /// The earlier tree's.
        from: u64,
    },
    /// Not the same records, since a restore set some of them aside.
    #[error(
        "the log was restored since then (epoch {then} then, {now} now), and no longer has all of \
         the {size} records; its `audit.restored` records say what was set aside"
    )]
    Restored {
        /// Its epoch.
        then: u32,
        /// The signed tree's epoch.
        now: u32,
        /// How many records it covers.
        size: u64,
    },
    /// So many records, but others.
    #[error(
        "its {size} records are not those that the signed tree begins with: the log was rewritten"
    )]
    OtherRecords {
        /// How many.
        size: u64,
    },
}

impl NotEarlier {
    /// Whether that says nothing against the log: another proof may show it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self, Self::OtherSize { .. })
    }
}

impl ConsistencyDocument {
    /// Reads one.
    ///
    /// # Errors
    /// [`DocumentError::Form`].
    pub fn parse(text: &[u8]) -> Result<Self, DocumentError> {
        Ok(document::decode(Kind::CONSISTENCY_PROOF, text)?)
    }

    /// As one JSON object.
    #[must_use]
    pub fn encode(&self) -> String {
        encoded(Kind::CONSISTENCY_PROOF, self)
    }

    /// Checks it with nothing else at hand, as
    /// [`ProofDocument::check`](super::ProofDocument::check) does.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn check(&self, given: Option<&VerifierKey>) -> Result<Grown, DocumentError> {
        let (checkpoint, key, keys) = self.signed.check(given, self.tree_size)?;
        let (from, root) = (&self.from_root, &checkpoint.root);
        verify_consistency(self.from_size, self.tree_size, from, root, &self.consistency_proof)
            .map_err(DocumentError::Consistency)?;
        Ok(Grown { checkpoint, key: key.label(), notes: keys.unsigned_successions(), keys })
    }

    /// Whether a tree head from elsewhere is the earlier tree of this proof, which has
    /// been checked.
    ///
    /// # Errors
    /// See [`NotEarlier`].
    pub fn begins_with(&self, earlier: &Anchor, grown: &Grown) -> Result<(), NotEarlier> {
        let (found, own) = (&earlier.origin, &grown.checkpoint.origin);
        let (then, now) = match (found.parse::<Origin>(), own.parse::<Origin>()) {
            (Ok(then), Ok(now)) if then.key_name() == now.key_name() => (then, now),
            _ => return Err(NotEarlier::OtherLog { found: found.clone(), own: own.clone() }),
        };
        if let Some(note) = &earlier.note {
            grown.keys.verify(note).map_err(NotEarlier::Unsigned)?;
        }
        if earlier.size != self.from_size {
            return Err(NotEarlier::OtherSize { found: earlier.size, from: self.from_size });
        }
        if earlier.root != self.from_root {
            let (then, now, size) = (then.epoch(), now.epoch(), earlier.size);
            return Err(if then == now {
                NotEarlier::OtherRecords { size }
            } else {
                NotEarlier::Restored { then, now, size }
            });
        }
        Ok(())
    }
}
