//! The logs of an archive, as their objects' names have them. Nothing is verified.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::acknowledged::Acknowledgements;
use super::inventory::{Inventory, Listed, SumKey};
use super::state::State;
use crate::archive::{ArchiveError, Bucket, LogName, ObjectName, RangeProof, unless_foreign};
use crate::audit::read::watch::Watch;
use crate::clock::Timestamp;
use crate::store::{BackupStore, StoreErrorKind};

/// The largest range's proof that is read for a list.
const MAX_RANGE_BYTES: u64 = 4 << 20;

/// What a bucket lists.
#[derive(Clone, Debug, Default)]
pub struct FleetList {
    /// The bucket, for people.
    pub place: String,
    /// What time it was by the store's clock.
    pub at: Option<Timestamp>,
    /// The logs, by their ids.
    pub logs: Vec<LogRow>,
    /// Objects with names that none of an archive has.
    pub foreign: u64,
}

/// A log, as its objects' names have it.
#[derive(Clone, Debug, Default)]
pub struct LogRow {
    /// Its id.
    pub id: String,
    /// The hosts under whose names its data is.
    pub hosts: Vec<String>,
    /// The epoch of its newest checkpoint.
    pub epoch: u32,
    /// How many records that is over.
    pub records: u64,
    /// When it was written, by the store's clock.
    pub newest_put: Option<Timestamp>,
    /// When the first record in data was accepted, as its range says.
    pub first_accepted: Option<Timestamp>,
    /// When the last one was.
    pub last_accepted: Option<Timestamp>,
    /// Bytes of all objects.
    pub bytes: u64,
    /// Ranges of records in data.
    pub ranges: u64,
    /// Tails.
    pub tails: u64,
}

/// Lists the logs of a bucket.
///
/// # Errors
/// It cannot be listed.
pub fn list(
    store: Arc<dyn BackupStore>,
    jobs: usize,
    watch: &dyn Watch,
) -> Result<FleetList, ArchiveError> {
    let bucket = Bucket(store);
    let sums = SumKey::random().map_err(|what| ArchiveError::Object {
        object: bucket.place(),
        what: format!("the system gave no randomness: {what}"),
    })?;
    let inventory =
        Inventory::take(&*bucket.0, &sums, &State::default(), &Acknowledgements::default(), watch)?;
    let listed: Vec<_> = inventory.logs.iter().collect();
    let rows = Mutex::new(vec![LogRow::default(); listed.len()]);
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, 64) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((id, log)) = listed.get(at).filter(|_| !watch.interrupted()) else {
                        return;
                    };
                    match row(&bucket, id, log) {
                        Ok(row) => {
                            rows.lock().unwrap_or_else(PoisonError::into_inner)[at] = row;
                        }
                        Err(error) => {
                            failed.lock().unwrap_or_else(PoisonError::into_inner).replace(error);
                            next.store(listed.len(), Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    if watch.interrupted() {
        return Err(ArchiveError::Interrupted);
    }
    Ok(FleetList {
        place: bucket.place(),
        at: bucket.0.now()?,
        logs: rows.into_inner().unwrap_or_else(PoisonError::into_inner),
        foreign: inventory.foreign.count,
    })
}

fn row(bucket: &Bucket, id: &str, listed: &Listed) -> Result<LogRow, ArchiveError> {
    let range = |(epoch, first): (u32, u64)| -> Result<Option<RangeProof>, ArchiveError> {
        let Some(log) = LogName::new(id, epoch) else { return Ok(None) };
        let name = ObjectName::Range(log, first, 0);
        let read = match unless_foreign(bucket.fetch(&name, MAX_RANGE_BYTES)) {
            // One object that cannot be read leaves a part of its row empty.
            Err(ArchiveError::Store(error)) if error.kind != StoreErrorKind::Interrupted => {
                return Ok(None);
            }
            read => read?,
        };
        Ok(read.ok().and_then(|bytes| RangeProof::unchecked(&bytes).ok()))
    };
    let first = listed.range_ends.map(|(first, _)| range(first)).transpose()?.flatten();
    let last = listed.range_ends.map(|(_, last)| range(last)).transpose()?.flatten();
    let (epoch, records, newest_put) = listed.newest.unwrap_or_default();
    Ok(LogRow {
        id: id.to_owned(),
        hosts: listed.hosts.iter().map(|host| host.as_str().to_owned()).collect(),
        epoch,
        records,
        newest_put,
        first_accepted: first.map(|it| it.first_accepted),
        last_accepted: last.map(|it| it.last_accepted),
        bytes: listed.bytes,
        ranges: listed.ranges,
        tails: listed.tails,
    })
}
