//! The keys that are believed, and what each may sign.

use super::{Handover, Place, Rotation, RotationError, is_by, place_of};
use crate::audit::checkpoint::{
    Checkpoint, CheckpointError, Note, NoteError, SignedCheckpoint, VerifierKey,
};

/// Why a log's keys cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// A rotation proves nothing.
    #[error("rotation {number} (record {seq}): {source}")]
    Rotation {
        /// Which, counted from 1.
        number: usize,
        /// The record that it says it has.
        seq: u64,
        /// Why.
        source: RotationError,
    },
    /// A rotation does not go on where the one before ended.
    #[error("rotation {number} (record {seq}) {reason}")]
    Order {
        /// Which, counted from 1.
        number: usize,
        /// The record.
        seq: u64,
        /// What does not fit.
        reason: &'static str,
    },
    /// The key that is believed is none of them.
    #[error("{key} is none of the log's keys, which are {}", known.join(", "))]
    Stranger {
        /// Name and id of the key.
        key: String,
        /// Names and ids of the log's.
        known: Vec<String>,
    },
}

/// A log's keys, each with the part of the log that it is valid for. One of them
/// is believed from elsewhere, the others because the rotations lead to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyring {
    /// Oldest first; never empty.
    keys: Vec<VerifierKey>,
    /// Each leads from the key of the same number to the next.
    rotations: Vec<Rotation>,
    handovers: Vec<Handover>,
}

impl From<VerifierKey> for Keyring {
    /// Of a log that never changed its key.
    fn from(key: VerifierKey) -> Self {
        Self { keys: vec![key], rotations: Vec::new(), handovers: Vec::new() }
    }
}

impl Keyring {
    /// The keys that the rotations lead to, forward and back, from the one that
    /// is believed. Every rotation is checked.
    ///
    /// # Errors
    /// [`KeyringError`]: one that proves nothing spoils all.
    pub fn new(believed: VerifierKey, rotations: &[Rotation]) -> Result<Self, KeyringError> {
        let Some(first) = rotations.first() else { return Ok(believed.into()) };
        let mut ring: Option<Self> = None;
        for (rotation, number) in rotations.iter().zip(1..) {
            let seq = rotation.seq;
            let handover = rotation.check().map_err(|source| KeyringError::Rotation {
                number,
                seq,
                source,
            })?;
            let ring = ring.get_or_insert_with(|| handover.old.clone().into());
            let order = |reason| KeyringError::Order { number, seq, reason };
            if ring.newest() != &handover.old {
                return Err(order("begins with another key than the one before ended with"));
            }
            if ring.contains(&handover.new) {
                return Err(order("brings a retired key back"));
            }
            if ring.handovers.last().is_some_and(|before| before.place >= handover.place) {
                return Err(order("does not come after the one before"));
            }
            ring.keys.push(handover.new.clone());
            ring.rotations.push(rotation.clone());
            ring.handovers.push(handover);
        }
        match ring {
            Some(ring) if ring.contains(&believed) => Ok(ring),
            ring => Err(KeyringError::Stranger {
                key: believed.label(),
                known: ring.map_or_else(
                    || vec![first.old_key.clone()],
                    |ring| ring.keys.iter().map(VerifierKey::label).collect(),
                ),
            }),
        }
    }

    /// The same with what other rotations add at its end, if they are the same up
    /// to there, and good; anything else adds nothing.
    #[must_use]
    pub fn extended(self, rotations: &[Rotation]) -> Self {
        let Ok(other) = Self::new(self.newest().clone(), rotations) else { return self };
        let holds_ours = self.rotations.iter().all(|ours| other.rotations.contains(ours));
        if holds_ours && other.keys.len() > self.keys.len() { other } else { self }
    }

    /// Whether this leads to the same newest key as `other`, from an older one on, and
    /// has all that the other has.
    #[must_use]
    pub(crate) fn extends(&self, other: &Self) -> bool {
        self.newest() == other.newest()
            && self.keys.len() > other.keys.len()
            && other.rotations.iter().all(|theirs| self.rotations.contains(theirs))
    }

    fn position(&self, key: &VerifierKey) -> usize {
        self.keys.iter().position(|known| known == key).unwrap_or(0)
    }

    /// The first key that is known: the one that the log began with, if nothing
    /// is missing.
    #[must_use]
    pub fn oldest(&self) -> &VerifierKey {
        &self.keys[0]
    }

    /// The key that signs now.
    #[must_use]
    pub fn newest(&self) -> &VerifierKey {
        self.keys.last().expect("a keyring has a key")
    }

    /// All of them, oldest first.
    #[must_use]
    pub fn keys(&self) -> &[VerifierKey] {
        &self.keys
    }

    /// How each hands over to the next.
    #[must_use]
    pub fn rotations(&self) -> &[Rotation] {
        &self.rotations
    }

    /// The same, checked.
    #[must_use]
    pub fn handovers(&self) -> &[Handover] {
        &self.handovers
    }

    /// Where the newest key took over; `None` when it signed from the beginning.
    #[must_use]
    pub fn last_place(&self) -> Option<Place> {
        self.handovers.last().map(|handover| handover.place)
    }

    /// Whether the key that is written so is one of them.
    #[must_use]
    pub fn holds(&self, key: &str) -> bool {
        key.parse::<VerifierKey>().is_ok_and(|key| self.contains(&key))
    }

    /// Whether this is one of the keys.
    #[must_use]
    pub fn contains(&self, key: &VerifierKey) -> bool {
        self.keys.contains(key)
    }

    /// The keys as they were when the log had come as far as `place`.
    #[must_use]
    pub fn until(&self, place: Place) -> Self {
        let count = self.handovers.iter().take_while(|handover| handover.place <= place).count();
        Self {
            keys: self.keys[..=count].to_vec(),
            rotations: self.rotations[..count].to_vec(),
            handovers: self.handovers[..count].to_vec(),
        }
    }

    /// The numbers of the first and the last key that are valid at a place.
    fn valid_at(&self, place: Place) -> (usize, usize) {
        let first = self.handovers.iter().take_while(|handover| handover.place < place).count();
        let last = self.handovers.iter().take_while(|handover| handover.place <= place).count();
        (first, last)
    }

    /// The checkpoint and the key that signed it, if that key was valid there.
    ///
    /// # Errors
    /// [`CheckpointError::OutOfTurn`] when it was signed by a key of the log that
    /// was not valid for so many records: retired before, or not yet in use. Any
    /// signature by a key of the log that is wrong. Otherwise as [`SignedCheckpoint::verify`].
    pub fn verify<'a>(
        &self,
        note: &'a SignedCheckpoint,
    ) -> Result<(&'a Checkpoint, &VerifierKey), CheckpointError> {
        let (first, last) = self.valid_at(place_of(note));
        let mut refused = None;
        for key in self.keys[first..=last].iter().rev() {
            match note.verify(key) {
                Ok(checkpoint) => {
                    // A wrong signature by any other of the log's keys says that the note
                    // was altered.
                    self.keys
                        .iter()
                        .filter(|other| *other != key)
                        .try_for_each(|other| note.refuse_wrong(other))?;
                    return Ok((checkpoint, key));
                }
                Err(error @ CheckpointError::Note(NoteError::WrongKey { .. })) => {
                    refused.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        let signed = |key: &&VerifierKey| is_by(note.note(), key);
        let (origin, size) = (&note.unverified().origin, note.unverified().size);
        let out_of_turn = |key: &VerifierKey, why: String| CheckpointError::OutOfTurn {
            key: key.label(),
            origin: origin.clone(),
            size,
            why,
        };
        if let Some(key) = self.keys[..first].iter().find(signed) {
            let at = &self.handovers[self.position(key)].place;
            let why = format!("was retired at {} records, epoch {}", at.size, at.epoch);
            return Err(out_of_turn(key, why));
        }
        if let Some(key) = self.keys[last + 1..].iter().find(signed) {
            let at = &self.handovers[self.position(key) - 1].place;
            let why = format!("came into use at {} records, epoch {}", at.size, at.epoch);
            return Err(out_of_turn(key, why));
        }
        Err(refused.expect("at least one key is valid at any place, and did not sign"))
    }

    /// Checks a note that is about the log at a place and may have been signed
    /// later: by a key that was valid there, or one after it.
    ///
    /// # Errors
    /// As [`Note::verify`].
    pub fn verify_later(&self, note: &Note, place: Place) -> Result<(), NoteError> {
        let (first, _) = self.valid_at(place);
        let mut outcome = note.verify(&self.keys[first]);
        for key in &self.keys[first + 1..] {
            if matches!(outcome, Err(NoteError::WrongKey { .. })) {
                outcome = note.verify(key);
            }
        }
        outcome
    }
}
