//! A log's keys over time: which key signs for which part of the log.
//!
//! A key is valid by *place* (epoch, then tree size), never by wall clock, which
//! whoever has a stolen key can set as he likes. A [`Rotation`] hands over from
//! one key to the next at one place: the log's own record `audit.key_rotated`
//! names both, and the checkpoint that covers it carries both their signatures.
//! The old key so says who comes next, and the new one that it agrees. Up to that
//! place the old key is valid, from there on the new one; at the place itself
//! both are.
//!
//! `audit.keys` keeps these checkpoints for ever, each with its record and the
//! proof that the record is in it. Retention may remove the records; the way from
//! any key that was ever the log's to today's can be shown all the same, and the
//! other way round.
//!
//! Where the old key is lost, another may be [`Replaced`] for it: then nobody signed
//! the succession. Whoever believes the new key learns from it which one was before;
//! whoever believes the old one is led no further.

mod file;
mod replaced;
mod ring;

use serde::{Deserialize, Serialize};

pub(crate) use file::MAX_BYTES as MAX_KEYS_BYTES;
pub use file::{KeyFiles, KeyHistory, KeysError, MAX_ROTATIONS, load_keyring};
pub use replaced::{KEY_REPLACED, Replaced, Replacement, is_one_line};
pub use ring::{Keyring, KeyringError};

use super::checkpoint::{
    CheckpointError, Note, NoteError, Origin, OriginError, SignedCheckpoint, VerifierKey,
};
use crate::audit::record::peek_seq;
use crate::audit::tree::merkle::{Hash, Range, leaf_hash};
use crate::audit::tree::proof::{InvalidProof, verify_inclusion};

/// The event type of the record that names the new key.
pub const KEY_ROTATED: &str = "audit.key_rotated";

/// How far a log had come: its epoch, and the records that it had then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The epoch.
    pub epoch: u32,
    /// The tree's size.
    pub size: u64,
}

/// One handing over from a key to the next, with all that proves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// The seq of the `audit.key_rotated` record.
    pub seq: u64,
    /// The verifier key that was valid up to here.
    pub old_key: String,
    /// The verifier key that is valid from here on.
    pub new_key: String,
    /// The record's stored line without its LF, byte for byte.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub record: String,
    /// RFC 6962 inclusion proof of the record in the checkpoint's tree, the
    /// lowest hash first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inclusion_proof: Vec<Hash>,
    /// The checkpoint, as a signed note with the signatures of both keys; of a key that
    /// was replaced the last one that it signed.
    pub checkpoint: String,
    /// Nobody signed the succession, and this is what is said of it. There is no record
    /// and no proof then, and `seq` is the number of records that the old key signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<Box<Replaced>>,
}

/// Why a rotation proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RotationError {
    /// One of its keys is none.
    #[error("{which}: {source}")]
    Key {
        /// "the old key" or "the new key".
        which: &'static str,
        /// Why.
        source: NoteError,
    },
    /// Its checkpoint is none, or not signed by both keys.
    #[error("its checkpoint, by {which}: {source}")]
    Checkpoint {
        /// "the old key" or "the new key".
        which: &'static str,
        /// Why.
        source: CheckpointError,
    },
    /// Its checkpoint is of no log.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// Its record does not name these keys.
    #[error("its record {0}")]
    Record(&'static str),
    /// What is said of a key that was replaced does not hold.
    #[error("of a key that was replaced: {0}")]
    Replaced(&'static str),
    /// Its record is not in the tree that was signed.
    #[error("its record is not in the tree that was signed: {0}")]
    Proof(#[from] InvalidProof),
}

/// A rotation that was found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// The key before.
    pub old: VerifierKey,
    /// The key after.
    pub new: VerifierKey,
    /// Where the one ends and the other begins.
    pub place: Place,
    /// The root of the tree there; of a key that was replaced, of the last tree that it
    /// signed.
    pub root: Hash,
    /// What the succession rests on, where the old key did not sign it.
    pub replaced: Option<Replacement>,
}

#[derive(Deserialize)]
struct Line<'a> {
    event_type: &'a str,
    details: Named,
}

#[derive(Deserialize)]
struct Named {
    old_key: String,
    new_key: String,
}

impl Rotation {
    /// Puts one together. `before` is the tree without the record, which is the
    /// last one of the checkpoint's tree.
    pub(crate) fn of_last(
        keys: (&VerifierKey, &VerifierKey),
        line: String,
        before: &Range,
        checkpoint: &SignedCheckpoint,
    ) -> Self {
        Self {
            seq: before.end(),
            old_key: keys.0.to_string(),
            new_key: keys.1.to_string(),
            record: line,
            // The last leaf's siblings are all on its left: what the tree before
            // is made of, the smallest first.
            inclusion_proof: before.hashes().iter().rev().copied().collect(),
            checkpoint: checkpoint.to_string(),
            replaced: None,
        }
    }

    /// Checks all of it: both signatures, and that the tree they are under holds
    /// the record that names both keys.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn check(&self) -> Result<Handover, RotationError> {
        let key = |which, text: &str| {
            text.parse::<VerifierKey>().map_err(|source| RotationError::Key { which, source })
        };
        let (old, new) = (key("the old key", &self.old_key)?, key("the new key", &self.new_key)?);
        if let Some(replaced) = &self.replaced {
            return self.check_replaced(replaced, (old, new));
        }
        let by = |which| move |source| RotationError::Checkpoint { which, source };
        let note =
            SignedCheckpoint::parse(self.checkpoint.as_bytes()).map_err(by("the old key"))?;
        let checkpoint = note.verify(&old).map_err(by("the old key"))?;
        note.verify(&new).map_err(by("the new key"))?;
        let origin: Origin = checkpoint.origin.parse()?;
        self.check_record()?;
        let leaf = leaf_hash(self.record.as_bytes());
        let (size, root) = (checkpoint.size, checkpoint.root);
        verify_inclusion(&leaf, self.seq, size, &self.inclusion_proof, &root)?;
        Ok(Handover {
            old,
            new,
            place: Place { epoch: origin.epoch(), size },
            root,
            replaced: None,
        })
    }

    fn check_record(&self) -> Result<(), RotationError> {
        if peek_seq(self.record.as_bytes()) != Some(self.seq) {
            return Err(RotationError::Record("has another seq"));
        }
        let line: Line<'_> = serde_json::from_str(&self.record)
            .map_err(|_| RotationError::Record("names no keys"))?;
        if line.event_type != KEY_ROTATED {
            return Err(RotationError::Record("is of another type"));
        }
        if (&line.details.old_key, &line.details.new_key) != (&self.old_key, &self.new_key) {
            return Err(RotationError::Record("names other keys"));
        }
        Ok(())
    }
}

/// The place that a signed note speaks of, if it is a checkpoint of a log.
pub(crate) fn place_of(note: &SignedCheckpoint) -> Place {
    let checkpoint = note.unverified();
    let epoch = checkpoint.origin.parse::<Origin>().map_or(0, |origin| origin.epoch());
    Place { epoch, size: checkpoint.size }
}

/// Whether a note carries a signature by this key that fits.
pub(crate) fn is_by(note: &Note, key: &VerifierKey) -> bool {
    note.verify(key).is_ok()
}

#[cfg(test)]
mod tests;
