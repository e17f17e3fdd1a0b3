//! The signed heads of a log that an archive holds: in checkpoints, in the proofs of ranges and
//! in tails. Every one of them is compared with the records.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::finding::Evidence;
use super::seen_tails::Stretch;
use crate::archive::{
    ArchiveError, LogName, MAX_OBJECT_BYTES, ObjectName, Planner, Step, Tail, signed,
    unless_foreign,
};
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::{Origin, SignedCheckpoint};
use crate::audit::tree::merkle::Hash;
use crate::units::hex;

/// A signed head.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) size: u64,
    pub(crate) root: Hash,
    pub(crate) note: String,
    /// Where it is from, for people.
    pub(crate) object: String,
    /// The name of its object, where it is of the archive.
    pub(crate) name: Option<String>,
    /// The data object that a range names.
    pub(crate) data: Option<String>,
}

impl Head {
    /// One that was kept elsewhere, if it is of that epoch and a key of the log signed it.
    pub(crate) fn kept(
        from: String,
        note: &SignedCheckpoint,
        log: &LogName,
        keys: &Keyring,
    ) -> Option<Self> {
        let note = note.to_string();
        let found = signed(note.as_bytes(), log, keys).ok()?;
        let (size, root) = (found.size, found.root);
        Some(Self { size, root, note, object: from, name: None, data: None })
    }
}

/// A note, to be kept in a file.
pub(crate) fn evidence(log: &LogName, size: u64, note: &str) -> Evidence {
    let digest = Sha256::digest(note.as_bytes());
    let name =
        format!("{}.e{}.{size:020}.{}.checkpoint", log.id(), log.epoch(), hex(&digest[..16]));
    Evidence { name, note: note.to_owned() }
}

/// A note that says itself which log it is of.
pub(crate) fn evidence_of(note: &str) -> Option<Evidence> {
    let parsed = SignedCheckpoint::parse(note.as_bytes()).ok()?;
    let head = parsed.unverified();
    let origin: Origin = head.origin.parse().ok()?;
    let log = LogName::new(origin.log_id(), origin.epoch())?;
    Some(evidence(&log, head.size, note))
}

/// What was looked at before, and is unchanged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Skip<'a> {
    /// In `proof/`, up to this name.
    pub(crate) proof: &'a str,
    /// Tails.
    pub(crate) tails: Option<Stretch>,
}

/// Gathers them.
pub(crate) struct Heads<'a> {
    planner: Planner<'a>,
    log: &'a LogName,
    /// What was looked at before, and is unchanged.
    skip: Option<Skip<'a>>,
    pub(crate) found: Vec<Head>,
    /// Objects that no key of the log signed, and why not.
    pub(crate) foreign: Vec<(ObjectName, String)>,
    /// Tails whose records are walked through.
    walked: BTreeSet<u64>,
}

impl<'a> Heads<'a> {
    pub(crate) fn new(planner: Planner<'a>, log: &'a LogName, skip: Option<Skip<'a>>) -> Self {
        let (found, foreign, walked) = (Vec::new(), Vec::new(), BTreeSet::new());
        Self { planner, log, skip, found, foreign, walked }
    }

    fn add(&mut self, name: &ObjectName, note: &str, data: Option<String>) {
        let Ok(parsed) = SignedCheckpoint::parse(note.as_bytes()) else { return };
        // Whoever calls has verified it.
        let head = parsed.unverified();
        self.found.push(Head {
            size: head.size,
            root: head.root,
            note: note.to_owned(),
            object: self.planner.bucket.url(name),
            name: Some(name.to_string()),
            data,
        });
    }

    /// Of what a plan is made of: its ranges were read for it.
    pub(crate) fn of_step(&mut self, step: &Step) {
        match step {
            Step::Data(proof, _) if proof.log().as_ref() == Some(self.log) => {
                let name = ObjectName::Range(self.log.clone(), proof.span().first, 0);
                self.add(&name, &proof.checkpoint, Some(proof.data.clone()));
            }
            Step::Data(..) => {}
            Step::Tail(_, tail) => {
                self.walked.insert(tail.first);
            }
        }
    }

    /// Of all objects; `used` are the first records of the ranges that were read.
    pub(crate) fn of_objects(&mut self, used: &BTreeSet<u64>) -> Result<(), ArchiveError> {
        let Planner { bucket, proofs, keys, watch, .. } = self.planner;
        let epoch = self.log.epoch();
        for size in proofs.sizes(epoch) {
            let name = ObjectName::Checkpoint(self.log.clone(), size);
            if self.is_known(&name) {
                continue;
            }
            let read = unless_foreign(bucket.checkpoint(self.log, size, keys))?;
            match read {
                Ok((_, note)) => self.add(&name, &note, None),
                Err(error) => self.foreign.push((name, error.what())),
            }
        }
        let firsts = proofs.firsts(epoch);
        for (first, nth) in &firsts {
            let name = ObjectName::Range(self.log.clone(), *first, *nth);
            let alone = firsts.range((*first, 0)..=(*first, u8::MAX)).count() == 1;
            if self.is_known(&name) || alone && used.contains(first) {
                continue;
            }
            if watch.interrupted() {
                return Err(ArchiveError::Interrupted);
            }
            match unless_foreign(bucket.proof(self.log, (*first, *nth), keys))? {
                Ok((proof, _)) => self.add(&name, &proof.checkpoint, Some(proof.data.clone())),
                Err(error) => self.foreign.push((name, error.what())),
            }
        }
        let known = self.skip.and_then(|skip| skip.tails);
        for tail in proofs.tails(epoch, 0) {
            if known.is_some_and(|known| known.has(epoch, &tail)) {
                continue;
            }
            if watch.interrupted() {
                return Err(ArchiveError::Interrupted);
            }
            let name = tail.name(self.log);
            let read = match self.walked.contains(&tail.first) {
                true => bucket.marker(self.log, &tail, keys).map(|(marker, _)| marker.checkpoint),
                false => bucket.fetch(&name, MAX_OBJECT_BYTES).and_then(|bytes| {
                    let note = Tail::of(&bytes).and_then(|read| {
                        read.signed(self.log, tail.first, keys)?;
                        read.check().map(|()| read.marker.checkpoint)
                    });
                    note.map_err(|what| bucket.wrong(&name, what))
                }),
            };
            match unless_foreign(read)? {
                Ok(note) => self.add(&name, &note, None),
                // A lifecycle rule may remove a tail at any moment.
                Err(ArchiveError::Missing { .. }) => {}
                Err(error) => self.foreign.push((name, error.what())),
            }
        }
        Ok(())
    }

    fn is_known(&self, name: &ObjectName) -> bool {
        self.skip.is_some_and(|skip| name.to_string().as_str() <= skip.proof)
    }
}
