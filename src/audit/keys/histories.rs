//! Other histories of a log: signed heads that are kept outside its directory, and
//! what it means when one of them does not fit the log.
//!
//! A head of this log that reaches further than the log, or that has another root at
//! a size that the log has, was signed by this log's own key over records that are
//! not here. An old copy of the directory was put back, a machine was rolled back to
//! a snapshot, or two copies of one log both record.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::checkpoint::{Origin, SignedCheckpoint};
use crate::audit::keys::{Keyring, Place, Rotation};
use crate::audit::tree::merkle::Hash;

/// Where a head is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In a backup's metadata.
    Backup,
    /// Where checkpoints are pushed to.
    Pushed,
    /// In the archive that the log is shipped to.
    Archive,
}

/// A signed head that is kept outside the log's directory.
#[derive(Clone, Debug)]
pub struct KnownHead {
    /// What it is called in messages: its file's path, or the backup's id.
    pub name: String,
    /// Where it is kept.
    pub kept: Kept,
    /// The signed note.
    pub note: SignedCheckpoint,
    /// How the log's keys followed each other up to it, as far as that is kept with it.
    pub rotations: Vec<Rotation>,
}

/// What a head that does not fit means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u64)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum History {
    /// Only pushed checkpoints are ahead, the backups are not: log and backups went
    /// back together, as when a machine or a disk is rolled back to a snapshot.
    SnapshotRestored = 1,
    /// A backup or the archive is ahead of the log: an old copy of the log's directory was put
    /// back.
    RolledBack = 2,
    /// Another root at a size that the log has: two copies of the log both recorded.
    Cloned = 3,
}

impl History {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::SnapshotRestored, Self::RolledBack, Self::Cloned];

    /// A stable name for scripts.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::SnapshotRestored => "snapshot_restored",
            Self::RolledBack => "rolled_back",
            Self::Cloned => "cloned",
        }
    }

    /// From the status page's word.
    #[must_use]
    #[doc(hidden)]
    pub fn from_word(word: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|history| *history as u64 == word)
    }
}

/// A head that does not fit the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub struct Contradiction {
    /// What it means.
    pub history: History,
    /// The head's name.
    pub name: String,
    /// Where it is kept.
    pub(crate) kept: Kept,
    /// Its epoch.
    pub epoch: u32,
    /// How many records it is over.
    pub size: u64,
    /// Their root.
    pub root: Hash,
    /// How many records the log has.
    pub found: u64,
    /// The head's signed note.
    pub note: String,
}

impl Contradiction {
    /// In this order the gravest comes first.
    pub(crate) fn gravity(&self) -> std::cmp::Reverse<(History, u32, u64)> {
        std::cmp::Reverse((self.history, self.epoch, self.size))
    }
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, size, found, root, epoch, .. } = self;
        match self.history {
            History::RolledBack if self.kept == Kept::Archive => write!(
                f,
                "an old copy of this log was put back: the archive's {name} was signed over {size} \
                 records (epoch {epoch}), but the log here has {found}"
            ),
            History::RolledBack => write!(
                f,
                "an old copy of this log was put back: backup {name} holds {size} records (epoch \
                 {epoch}), but the log here has {found}"
            ),
            History::SnapshotRestored => write!(
                f,
                "this log and its backups were put back to an earlier state, as a machine's \
                 snapshot does: the checkpoint {name} was signed over {size} records (epoch \
                 {epoch}), but the log here has {found}"
            ),
            History::Cloned => write!(
                f,
                "two copies of this log have both recorded events: {name} was signed over {size} \
                 records with the root {root}, but the first {size} records here have another \
                 root"
            ),
        }
    }
}

/// What is known of the log itself.
#[derive(Debug)]
pub struct OwnHistory<'a> {
    /// Its id.
    pub log_id: &'a str,
    /// Its epoch.
    pub epoch: u32,
    /// How many records it has.
    pub size: u64,
    /// Its keys.
    pub keys: &'a Keyring,
    /// The signed heads that its earlier epochs ended with, as its own signed records
    /// and manifest name them; `None` where they are not at hand: earlier epochs are
    /// not compared then.
    pub abandoned: Option<&'a [String]>,
}

impl OwnHistory<'_> {
    /// The heads that are of this log: of its id, signed by a key that was valid
    /// there, and of its epoch or a later one, or of an earlier one beyond the place
    /// where that is known to have ended.
    fn own<'a>(&self, heads: &'a [KnownHead]) -> Vec<(&'a KnownHead, u32)> {
        let of_this = |head: &'a KnownHead| {
            let origin: Origin = head.note.unverified().origin.parse().ok()?;
            let size = head.note.unverified().size;
            let told = origin.epoch() < self.epoch && self.is_left(origin.epoch(), size);
            let same = origin.log_id() == self.log_id && !told;
            // An old copy does not know the keys that came after it.
            let keys = self.keys.clone().extended(&head.rotations);
            (same && keys.verify(&head.note).is_ok()).then_some((head, origin.epoch()))
        };
        heads.iter().filter_map(of_this).collect()
    }

    /// Whether the log says that it left a head of that epoch and size behind.
    fn is_left(&self, epoch: u32, size: u64) -> bool {
        let Some(abandoned) = self.abandoned else { return true };
        if self.keys.goes_on_from(Place { epoch, size }) {
            return true;
        }
        abandoned.iter().any(|text| {
            let Ok(note) = SignedCheckpoint::parse(text.as_bytes()) else { return false };
            let Ok(origin) = note.unverified().origin.parse::<Origin>() else { return false };
            let further =
                origin.epoch() > epoch || origin.epoch() == epoch && note.unverified().size >= size;
            further && self.keys.verify(&note).is_ok()
        })
    }

    /// The sizes at which the log's roots are needed to compare these heads.
    #[must_use]
    pub fn sizes(&self, heads: &[KnownHead]) -> BTreeSet<u64> {
        let own = self.own(heads).into_iter();
        own.filter(|(_, epoch)| *epoch == self.epoch)
            .map(|(head, _)| head.note.unverified().size)
            .filter(|size| *size <= self.size)
            .collect()
    }

    /// The largest of those sizes: for who has no time to read for all of them. What is
    /// ahead of the log is found without reading.
    #[must_use]
    pub fn newest_sizes(&self, heads: &[KnownHead], most: usize) -> BTreeSet<u64> {
        self.sizes(heads).into_iter().rev().take(most).collect()
    }

    /// The heads that do not fit, the gravest first. `roots` are the log's own; where
    /// one is missing, that head tells nothing.
    #[must_use]
    pub fn contradictions(
        &self,
        heads: &[KnownHead],
        roots: &BTreeMap<u64, Hash>,
    ) -> Vec<Contradiction> {
        let mut found = Vec::new();
        for (head, epoch) in self.own(heads) {
            let checkpoint = head.note.unverified();
            let ahead = epoch != self.epoch || checkpoint.size > self.size;
            let history = match (ahead, roots.get(&checkpoint.size)) {
                (true, _) if head.kept != Kept::Pushed => History::RolledBack,
                (true, _) => History::SnapshotRestored,
                (false, Some(root)) if *root != checkpoint.root => History::Cloned,
                (false, _) => continue,
            };
            let keys = self.keys.clone().extended(&head.rotations);
            // Whoever keeps a copy of it may have added signatures of any kind.
            let note = keys.verify(&head.note).map(|(_, key)| head.note.only_by(key));
            let Ok(note) = note else { continue };
            found.push(Contradiction {
                history,
                name: head.name.clone(),
                kept: head.kept,
                epoch,
                size: checkpoint.size,
                root: checkpoint.root,
                found: self.size,
                note: note.to_string(),
            });
        }
        found.sort_by_key(Contradiction::gravity);
        found
    }
}
