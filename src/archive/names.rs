//! Which objects of a log an archive has, by their names. Asks the store for a list, which
//! costs time and money: only where the position is lost, and for a restore.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use super::error::ArchiveError;
use super::layout::{LogName, Nth, ObjectName, PROOF};
use crate::backup::MAX_MARKER_BYTES;
use crate::clock::Timestamp;
use crate::store::{BackupStore, StoreError, StoreErrorKind};

/// What proves a log's records, by the names of the objects.
#[derive(Debug, Default)]
pub(crate) struct Proofs {
    /// The tails, by epoch.
    tails: BTreeMap<u32, BTreeSet<TailThere>>,
    /// The first records of ranges, by epoch.
    pub(crate) ranges: BTreeMap<u32, BTreeSet<(u64, Nth)>>,
    /// The sizes of checkpoints, by epoch.
    pub(crate) checkpoints: BTreeMap<u32, BTreeSet<u64>>,
    /// The keys, by epoch and number of changes.
    pub(crate) keys: BTreeSet<(u32, u32, Nth)>,
}

impl Proofs {
    /// Of one log. Asks for two lists. Tails come first: of a host that is at work they are so
    /// never newer than what is listed of the rest.
    pub(crate) fn of(store: &dyn BackupStore, log: &LogName) -> Result<Self, ArchiveError> {
        let mut found = Self::default();
        store.visit(&log.tails(), &mut |object| {
            if let Ok(ObjectName::Tail(log, first, nth)) = object.name.parse() {
                let (bytes, modified) = (object.size, object.modified);
                let there = TailThere { first, nth, bytes, modified };
                found.add_tail(log.epoch(), there);
            }
            Ok(())
        })?;
        visit(store, &log.proofs(), &mut |name| match name {
            ObjectName::Range(log, first, nth) => {
                found.ranges.entry(log.epoch()).or_default().insert((first, nth));
            }
            ObjectName::Checkpoint(log, size) => {
                found.checkpoints.entry(log.epoch()).or_default().insert(size);
            }
            ObjectName::Keys(log, changes, nth) => {
                found.keys.insert((log.epoch(), changes, nth));
            }
            _ => {}
        })?;
        Ok(found)
    }

    /// The epochs of which there is anything that could be signed, the newest first. Only those
    /// that names are of: anybody can write any number into a name.
    pub(crate) fn epochs(&self) -> Vec<u32> {
        let found: BTreeSet<u32> = self
            .ranges
            .keys()
            .chain(self.checkpoints.keys())
            .chain(self.tails.keys())
            .copied()
            .collect();
        found.into_iter().rev().collect()
    }

    pub(crate) fn add_tail(&mut self, epoch: u32, tail: TailThere) {
        self.tails.entry(epoch).or_default().insert(tail);
    }

    /// All tails with their epochs, the oldest first.
    pub(crate) fn all_tails(&self) -> impl DoubleEndedIterator<Item = (u32, TailThere)> + '_ {
        self.tails.iter().flat_map(|(epoch, tails)| tails.iter().map(|tail| (*epoch, *tail)))
    }

    /// The sizes of an epoch's checkpoints, the largest first. Whether they are signed, nobody
    /// knows yet.
    pub(crate) fn sizes(&self, epoch: u32) -> impl DoubleEndedIterator<Item = u64> {
        self.checkpoints.get(&epoch).into_iter().flatten().copied().rev()
    }

    /// The first records of an epoch's ranges, in their order.
    pub(crate) fn firsts(&self, epoch: u32) -> BTreeSet<(u64, Nth)> {
        self.ranges.get(&epoch).cloned().unwrap_or_default()
    }

    /// The tails of an epoch, from a record on, in their order.
    pub(crate) fn tails(
        &self,
        epoch: u32,
        from: u64,
    ) -> impl DoubleEndedIterator<Item = TailThere> + '_ {
        let from = TailThere { first: from, nth: 0, bytes: 0, modified: None };
        self.tails.get(&epoch).into_iter().flat_map(move |tails| tails.range(from..)).copied()
    }
}

/// A tail that is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TailThere {
    /// Its first record.
    pub(crate) first: u64,
    pub(crate) nth: Nth,
    /// Its size.
    pub(crate) bytes: u64,
    /// When it was written, by the store's clock.
    pub(crate) modified: Option<Timestamp>,
}

impl TailThere {
    pub(crate) fn name(&self, log: &LogName) -> ObjectName {
        ObjectName::Tail(log.clone(), self.first, self.nth)
    }
}

/// The end of a tail, in which its marker is.
pub(crate) fn fetch_end(
    store: &dyn BackupStore,
    log: &LogName,
    tail: &TailThere,
) -> Result<Option<Vec<u8>>, ArchiveError> {
    let most = MAX_MARKER_BYTES as u64;
    fetch_from(store, &tail.name(log), tail.bytes.saturating_sub(most), most)
}

/// The ids of the logs in an archive that begin so, in their order.
pub(crate) fn logs(store: &dyn BackupStore, begin: &str) -> Result<Vec<String>, ArchiveError> {
    let mut found = BTreeSet::new();
    visit(store, &format!("{PROOF}{begin}"), &mut |name| {
        if let ObjectName::Range(log, ..)
        | ObjectName::Checkpoint(log, _)
        | ObjectName::Keys(log, ..) = name
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
pub(crate) fn fetch(
    store: &dyn BackupStore,
    name: &ObjectName,
    most: u64,
) -> Result<Option<Vec<u8>>, ArchiveError> {
    fetch_from(store, name, 0, most)
}

fn fetch_from(
    store: &dyn BackupStore,
    name: &ObjectName,
    from: u64,
    most: u64,
) -> Result<Option<Vec<u8>>, ArchiveError> {
    let name = name.to_string();
    let url = store.url(&name);
    let mut reader = match store.open(&name, None, from) {
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
            if let Some(inside) = StoreError::inside(&error)
                && inside.kind == StoreErrorKind::TooMuch
            {
                let kind = inside.kind;
                return Err(StoreError::new(kind, url, inside.message.clone()).into());
            }
            let failed = StoreError::new(StoreErrorKind::Unreachable, url, "cannot be read");
            Err(failed.caused_by(&error).retryable().into())
        }
    }
}
