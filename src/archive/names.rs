//! Which objects of a log an archive has, by their names. Asks the store for a list, which
//! costs time and money: only where the position is lost, and for a restore.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use super::error::ArchiveError;
use super::layout::{LogName, ObjectName, PROOF, Span};
use crate::store::{BackupStore, StoreError, StoreErrorKind};

/// What proves a log's records, by the names of the objects.
#[derive(Debug, Default)]
pub(super) struct Proofs {
    /// The first records of ranges, by epoch.
    pub(super) ranges: BTreeMap<u32, BTreeSet<u64>>,
    /// The sizes of checkpoints, by epoch.
    pub(super) checkpoints: BTreeMap<u32, BTreeSet<u64>>,
    /// The keys, by epoch and number of changes.
    pub(super) keys: BTreeSet<(u32, u32)>,
}

impl Proofs {
    /// Of one log.
    pub(super) fn of(store: &dyn BackupStore, log: &LogName) -> Result<Self, ArchiveError> {
        let mut found = Self::default();
        visit(store, &log.proofs(), &mut |name| match name {
            ObjectName::Range(log, first) => {
                found.ranges.entry(log.epoch()).or_default().insert(first);
            }
            ObjectName::Checkpoint(log, size) => {
                found.checkpoints.entry(log.epoch()).or_default().insert(size);
            }
            ObjectName::Keys(log, changes) => {
                found.keys.insert((log.epoch(), changes));
            }
            _ => {}
        })?;
        Ok(found)
    }

    /// The newest epoch of which there is anything.
    pub(super) fn newest_epoch(&self) -> Option<u32> {
        self.epochs().first().copied()
    }

    /// The epochs of which there is anything, the newest first. Only those that names are of:
    /// anybody can write any number into a name.
    pub(super) fn epochs(&self) -> Vec<u32> {
        let keys = self.keys.iter().map(|(epoch, _)| epoch);
        let found: BTreeSet<u32> =
            self.ranges.keys().chain(self.checkpoints.keys()).chain(keys).copied().collect();
        found.into_iter().rev().collect()
    }

    /// The largest committed size of an epoch.
    pub(super) fn committed(&self, epoch: u32) -> Option<u64> {
        self.checkpoints.get(&epoch)?.last().copied()
    }

    /// The first records of an epoch's ranges.
    pub(super) fn firsts(&self, epoch: u32) -> BTreeSet<u64> {
        self.ranges.get(&epoch).cloned().unwrap_or_default()
    }
}

/// A log's tails of an epoch, by their first records.
pub(super) fn tails(store: &dyn BackupStore, log: &LogName) -> Result<Vec<Span>, ArchiveError> {
    let mut found = Vec::new();
    visit(store, &format!("{}e{}.", log.tails(), log.epoch()), &mut |name| {
        if let ObjectName::Tail(of, span) = name
            && of == *log
        {
            found.push(span);
        }
    })?;
    found.sort_unstable();
    Ok(found)
}

/// The ids of the logs in an archive that begin so, in their order.
pub(super) fn logs(store: &dyn BackupStore, begin: &str) -> Result<Vec<String>, ArchiveError> {
    let mut found = BTreeSet::new();
    visit(store, &format!("{PROOF}{begin}"), &mut |name| {
        if let ObjectName::Range(log, _)
        | ObjectName::Checkpoint(log, _)
        | ObjectName::Keys(log, _) = name
        {
            found.insert(log.id().to_owned());
        }
    })?;
    Ok(found.into_iter().collect())
}

/// Shows the names that are those of an archive's objects; others are passed over.
fn visit(
    store: &dyn BackupStore,
    below: &str,
    see: &mut dyn FnMut(ObjectName),
) -> Result<(), ArchiveError> {
    store.visit(below, &mut |object| {
        if let Ok(name) = object.name.parse() {
            see(name);
        }
        Ok(())
    })?;
    Ok(())
}

/// An object's bytes; `None` when it is certainly not there.
pub(super) fn fetch(
    store: &dyn BackupStore,
    name: &ObjectName,
    most: u64,
) -> Result<Option<Vec<u8>>, ArchiveError> {
    let name = name.to_string();
    let url = store.url(&name);
    let mut reader = match store.open(&name, None, 0) {
        Ok(reader) => reader,
        Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    let read = (&mut reader).take(most + 1).read_to_end(&mut bytes);
    match read {
        Ok(_) if bytes.len() as u64 > most => Err(ArchiveError::Object {
            object: url,
            what: format!("it is larger than the {most} bytes that such an object can have"),
        }),
        Ok(_) => Ok(Some(bytes)),
        Err(error) => {
            let failed = StoreError::new(StoreErrorKind::Unreachable, url, "cannot be read");
            Err(failed.caused_by(&error).retryable().into())
        }
    }
}
