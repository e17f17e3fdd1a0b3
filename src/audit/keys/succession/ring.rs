//! The keys that are believed, and what each may sign.

use super::{Handover, Place, Rotation, RotationError, is_by, place_of};
use crate::audit::keys::checkpoint::{
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
    #[error("{key} is not one of the log's keys, which are {}", known.join(", "))]
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
    /// The number of the key that is believed from elsewhere.
    believed: usize,
}

impl From<VerifierKey> for Keyring {
    /// Of a log that never changed its key.
    fn from(key: VerifierKey) -> Self {
        Self { keys: vec![key], rotations: Vec::new(), handovers: Vec::new(), believed: 0 }
    }
}

impl Keyring {
    /// The keys that the rotations lead to, forward and back, from the one that
    /// is believed. Every rotation is checked. Over one that the old key did not sign
    /// nothing leads forward: those behind it are known, and none of them is valid.
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
            if ring.keys.last() != Some(&handover.old) {
                return Err(order("begins with another key than the one before ended with"));
            }
            if ring.contains(&handover.new) {
                return Err(order("brings a retired key back"));
            }
            // Of a key that was replaced it is what it signed last that has to come after.
            let signed = handover.replaced.as_ref().map_or(handover.place, |it| it.signed);
            let is_before = |before: &Handover| match &handover.replaced {
                Some(_) => before.place > signed,
                None => before.place >= signed,
            };
            if ring.handovers.last().is_some_and(is_before) {
                return Err(order("does not come after the one before"));
            }
            ring.keys.push(handover.new.clone());
            ring.rotations.push(rotation.clone());
            ring.handovers.push(handover);
        }
        match ring {
            Some(ring) if ring.contains(&believed) => {
                Ok(Self { believed: ring.position(&believed), ..ring })
            }
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
        let believed = self.keys[self.believed].clone();
        let Ok(other) = Self::new(believed, rotations) else { return self };
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

    /// Whether both are the same keys, handed over in the same way.
    #[must_use]
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        self.keys == other.keys && self.handovers == other.handovers
    }

    /// Whether another has all of these keys, one after the other as here, and more, of which
    /// what follows them is signed by the key before.
    #[must_use]
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        let Some(at) = other.keys.iter().position(|key| key == self.oldest()) else { return false };
        let end = at + self.handovers.len();
        self.keys.len() < other.keys.len()
            && other.handovers.get(at..end) == Some(&self.handovers[..])
            && other.handovers[end..].iter().all(|handover| handover.replaced.is_none())
    }

    /// How many handovers, each signed by the key before, lead on from the believed key.
    #[must_use]
    pub(crate) fn signed_after(&self) -> usize {
        self.reach() - self.believed
    }

    /// Two handovers that one key signed in one epoch, as far as the believed key of each leads.
    #[must_use]
    pub(crate) fn divergence<'a>(
        &'a self,
        other: &'a Self,
    ) -> Option<(&'a Handover, &'a Handover)> {
        let signed = |it: &&Handover| it.replaced.is_none();
        for ours in self.handovers[..self.reach()].iter().filter(signed) {
            let contradicts = |it: &&Handover| {
                it.old == ours.old && it.place.epoch == ours.place.epoch && *it != ours
            };
            let theirs = other.handovers[..other.reach()].iter().filter(signed).find(contradicts);
            if let Some(theirs) = theirs {
                return Some((ours, theirs));
            }
        }
        None
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

    /// The first of the keys that lead to the believed one by signatures alone. Whoever has
    /// another key cannot lead from there to it: what nobody signed, anybody can write.
    #[must_use]
    pub fn vouching(&self) -> &VerifierKey {
        let before = self.handovers[..self.believed].iter();
        let replaced = before.rev().find(|handover| handover.replaced.is_some());
        replaced.map_or(self.oldest(), |handover| &handover.new)
    }

    /// The key that signs now, as far as the believed one leads.
    #[must_use]
    pub fn newest(&self) -> &VerifierKey {
        &self.keys[self.reach()]
    }

    /// The number of the newest key that the believed one leads to.
    fn reach(&self) -> usize {
        let ahead = self.handovers.iter().enumerate().skip(self.believed);
        let mut unsigned = ahead.filter(|(_, handover)| handover.replaced.is_some());
        unsigned.next().map_or(self.keys.len() - 1, |(index, _)| index)
    }

    /// The replacement that ends what the believed key leads to: from there on the log
    /// is under keys that it never authorised.
    #[must_use]
    pub fn unauthorised(&self) -> Option<&Handover> {
        self.handovers.get(self.reach())
    }

    /// The same keys, by the word of the last of them.
    #[must_use]
    pub fn by_the_last(&self) -> Self {
        Self { believed: self.keys.len() - 1, ..self.clone() }
    }

    /// Why a key that the believed one does not lead to proves nothing.
    fn not_authorised(&self, note: &Note) -> Option<NoteError> {
        let reach = self.reach();
        let signer = self.keys[reach + 1..].iter().find(|key| is_by(note, key))?;
        let handover = &self.handovers[reach];
        let replaced = handover.replaced.as_ref()?;
        Some(NoteError::NotAuthorised {
            key: signer.label(),
            old: handover.old.label(),
            how: format!("{} replaced it {}", handover.new.label(), replaced.told()),
        })
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

    /// The newest change of key that its old key did not sign, as far as the believed
    /// key leads.
    #[must_use]
    pub fn last_replacement(&self) -> Option<&Handover> {
        let within = self.handovers[..self.reach()].iter();
        within.rev().find(|handover| handover.replaced.is_some())
    }

    /// What each succession rests on that nobody signed, in a sentence, as far as the
    /// believed key leads.
    #[must_use]
    pub fn unsigned_successions(&self) -> Vec<String> {
        let within = self.handovers[..self.reach()].iter();
        let replaced = within.filter_map(|handover| Some((handover, handover.replaced.as_ref()?)));
        replaced
            .map(|(Handover { old, new, place, .. }, replaced)| {
                let (old, new) = (old.label(), new.label());
                format!(
                    "{new} took the place of {old} {}, without its signature: {old} vouches for \
                     the first {} records, {new} for all from there on (epoch {})",
                    replaced.told(),
                    replaced.signed.size,
                    place.epoch
                )
            })
            .collect()
    }

    /// Whether a key that was replaced had signed as far as this place: the epoch after
    /// it goes on from there.
    #[must_use]
    pub(crate) fn goes_on_from(&self, place: Place) -> bool {
        let within = self.handovers[..self.reach()].iter();
        let signed = within.filter_map(|handover| Some(handover.replaced.as_ref()?.signed));
        signed.into_iter().any(|signed| place <= signed)
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
            believed: self.believed.min(count),
        }
    }

    /// The numbers of the first and the last key that are valid at a place. What the
    /// believed key does not lead to neither is valid nor retires it.
    fn valid_at(&self, place: Place) -> (usize, usize) {
        let handovers = &self.handovers[..self.reach()];
        let first = handovers.iter().take_while(|handover| handover.place < place).count();
        let last = handovers.iter().take_while(|handover| handover.place <= place).count();
        (first, last)
    }

    /// The checkpoint and the key that signed it, if that key was valid there.
    ///
    /// # Errors
    /// [`CheckpointError::OutOfTurn`] when it was signed by a key of the log that
    /// was not valid for so many records: retired before, or not yet in use. Any
    /// signature by a key of the log that is wrong. [`NoteError::NotAuthorised`] when it
    /// was signed by one that took the place of the believed key, or of a later one,
    /// without its signature. Otherwise as [`SignedCheckpoint::verify`].
    pub fn verify<'a>(
        &self,
        note: &'a SignedCheckpoint,
    ) -> Result<(&'a Checkpoint, &VerifierKey), CheckpointError> {
        let (first, last) = self.valid_at(place_of(note));
        let keys = &self.keys[..=self.reach()];
        let mut refused = None;
        for key in keys[first..=last].iter().rev() {
            match note.verify(key) {
                Ok(checkpoint) => {
                    // A wrong signature by any other of the log's keys says that the note
                    // was altered.
                    keys.iter()
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
        if let Some(error) = self.not_authorised(note.note()) {
            return Err(error.into());
        }
        let signed = |key: &&VerifierKey| is_by(note.note(), key);
        let (origin, size) = (&note.unverified().origin, note.unverified().size);
        let out_of_turn = |key: &VerifierKey, why: String| CheckpointError::OutOfTurn {
            key: key.label(),
            origin: origin.clone(),
            size,
            why,
        };
        if let Some(key) = keys[..first].iter().find(signed) {
            let handover = &self.handovers[self.position(key)];
            let at = handover.replaced.as_ref().map_or(handover.place, |it| it.signed);
            let why = format!("was retired at {} records, epoch {}", at.size, at.epoch);
            return Err(out_of_turn(key, why));
        }
        if let Some(key) = keys[last + 1..].iter().find(signed) {
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
    /// As [`Note::verify`], and [`NoteError::NotAuthorised`].
    pub fn verify_later(&self, note: &Note, place: Place) -> Result<(), NoteError> {
        let (first, _) = self.valid_at(place);
        let keys = &self.keys[..=self.reach()];
        let mut outcome = note.verify(&keys[first]);
        for key in &keys[first + 1..] {
            if matches!(outcome, Err(NoteError::WrongKey { .. })) {
                outcome = note.verify(key);
            }
        }
        match outcome {
            Err(NoteError::WrongKey { .. }) => self.not_authorised(note).map_or(outcome, Err),
            outcome => outcome,
        }
    }
}
