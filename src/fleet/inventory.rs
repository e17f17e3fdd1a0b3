//! What a bucket lists, log by log, in memory that grows with the logs and not with their
//! objects. It is names, sizes and times: nothing is read, and no verdict rests on it alone.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::acknowledged::Acknowledgements;
use super::finding::FindingKind;
use super::state::State;
use crate::archive::{ArchiveError, HostName, ObjectName};
use crate::audit::read::watch::Watch;
use crate::clock::Timestamp;
use crate::store::{BackupStore, Object, StoreError, StoreErrorKind};

/// So many logs a bucket may have.
const MOST_LOGS: usize = 1_000_000;
/// So many names of one thing are kept to be shown.
pub(crate) const MOST_SHOWN: usize = 8;

/// What a bucket lists.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    /// The logs, by their ids.
    pub(crate) logs: BTreeMap<String, Listed>,
    /// Names that no object of an archive has: how many, and the first ones.
    pub(crate) foreign: Names,
    /// Names that the roster acknowledges as foreign, whatever is there; they are in no sum.
    pub(crate) named: Vec<String>,
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
}

/// Names, of which not all are kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    pub(crate) count: u64,
    /// How many of them lie where engines read.
    pub(crate) in_tables: u64,
    pub(crate) first: Vec<String>,
}

/// What is listed of a log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listed {
    pub(crate) hosts: BTreeSet<HostName>,
    pub(crate) bytes: u64,
    pub(crate) ranges: u64,
    pub(crate) tails: u64,
    /// The first range of all by its name, and the last one.
    pub(crate) range_ends: Option<((u32, u64), (u32, u64))>,
    /// The sum over the names of the data objects whose records are in Parquet, too.
    pub(crate) in_parquet: NameSum,
    /// The epoch and size of the newest checkpoint, by its name, and when it was written.
    pub(crate) newest: Option<(u32, u64, Option<Timestamp>)>,
    /// When anything of it was written last.
    pub(crate) last_put: Option<Timestamp>,
    pub(crate) data: Sequence,
    pub(crate) proof: Sequence,
    /// Objects in Parquet.
    pub(crate) tables: Sequence,
}

/// Objects in the order of a listing: how many, a hash over all that is listed of them, and a
/// sum over their names, which does not depend on the order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sequence {
    pub(crate) count: u64,
    pub(crate) hash: [u8; 32],
    /// The sum over all names.
    pub(crate) all: NameSum,
    /// The sum over the names behind the part that was the same as the last time.
    pub(crate) names: NameSum,
    /// Whether the first of them are those that were there the last time, unchanged.
    pub(crate) same: bool,
    /// Whether a name came before one that sorts before it: what is behind a name says nothing
    /// then, and nothing is the same.
    unsorted: bool,
    pub(crate) last: String,
}

/// A sum over names: equal for the same names in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NameSum {
    count: u64,
    sum: u128,
}

/// What [`NameSum`]s are made with: nobody can choose names whose sums are equal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SumKey([u8; 32]);

impl SumKey {
    /// From the system's randomness.
    pub(crate) fn random() -> Result<Self, String> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| error.to_string())?;
        Ok(Self(key))
    }

    pub(crate) fn add(&self, sum: &mut NameSum, name: &str) {
        let hash = Sha256::new().chain_update(self.0).chain_update(name).finalize();
        let half: [u8; 16] = std::array::from_fn(|at| hash[at]);
        sum.count += 1;
        sum.sum = sum.sum.wrapping_add(u128::from_be_bytes(half));
    }
}

impl Sequence {
    /// `known` is how many there were the last time, and the hash over these.
    fn add(&mut self, object: &Object, key: &SumKey, known: Option<(u64, [u8; 32])>) {
        self.unsorted |= self.last >= object.name;
        if known == Some((self.count, self.hash)) {
            (self.same, self.names) = (true, NameSum::default());
        }
        self.count += 1;
        key.add(&mut self.names, &object.name);
        key.add(&mut self.all, &object.name);
        let modified = object.modified.map(Timestamp::micros);
        let mut hasher = Sha256::new().chain_update(self.hash);
        hasher.update(object.name.as_bytes());
        hasher.update([0]);
        hasher.update(object.size.to_be_bytes());
        hasher.update(modified.unwrap_or_default().to_be_bytes());
        self.hash = hasher.finalize().into();
        self.last.clone_from(&object.name);
    }

    /// Whether nothing came after what was there the last time.
    fn end(&mut self, known: Option<(u64, [u8; 32])>) {
        if known == Some((self.count, self.hash)) {
            (self.same, self.names) = (true, NameSum::default());
        }
        self.same &= !self.unsorted;
    }
}

impl Inventory {
    /// Lists the whole bucket, page by page.
    ///
    /// # Errors
    /// See [`StoreError`]; more logs than a bucket may have.
    pub(crate) fn take(
        store: &dyn BackupStore,
        key: &SumKey,
        state: &State,
        acknowledged: &Acknowledgements,
        watch: &dyn Watch,
    ) -> Result<Self, ArchiveError> {
        let mut found = Self::default();
        // Ranges are put before what they name: listed after it, each is there.
        for below in ["tail/", "parquet/", "data/", "proof/"] {
            store.visit_of_many(below, &mut |object| {
                if watch.interrupted() {
                    let url = store.url("");
                    return Err(StoreError::new(StoreErrorKind::Interrupted, url, "interrupted"));
                }
                if is_in_table(&object.name)
                    && acknowledged.names(FindingKind::ForeignObject, &object.name)
                {
                    found.objects += 1;
                    found.bytes = found.bytes.saturating_add(object.size);
                    found.named.push(object.name);
                    return Ok(());
                }
                found.see(object, key, state, store)
            })?;
        }
        for (id, listed) in &mut found.logs {
            listed.data.end(state.data_of(id));
            listed.proof.end(state.proof_of(id));
            listed.tables.end(state.tables_of(id));
        }
        Ok(found)
    }

    fn see(
        &mut self,
        object: Object,
        key: &SumKey,
        state: &State,
        store: &dyn BackupStore,
    ) -> Result<(), StoreError> {
        self.objects += 1;
        self.bytes = self.bytes.saturating_add(object.size);
        let Ok(name) = object.name.parse::<ObjectName>() else {
            self.foreign.add(&object.name);
            return Ok(());
        };
        let id = name.log().id();
        if !self.logs.contains_key(id) {
            if self.logs.len() == MOST_LOGS {
                let message = format!("there are more than {MOST_LOGS} logs");
                return Err(StoreError::new(StoreErrorKind::Other, store.url(""), message)
                    .hint("name a longer prefix, or find out what fills the bucket"));
            }
            self.logs.insert(id.to_owned(), Listed::default());
        }
        let Some(listed) = self.logs.get_mut(id) else { return Ok(()) };
        listed.bytes = listed.bytes.saturating_add(object.size);
        listed.last_put = listed.last_put.max(object.modified);
        match &name {
            ObjectName::Data(place) => {
                listed.data.add(&object, key, state.data_of(id));
                if listed.hosts.len() < MOST_SHOWN {
                    listed.hosts.insert(place.host.clone());
                }
            }
            ObjectName::Parquet(place) => {
                listed.tables.add(&object, key, state.tables_of(id));
                key.add(&mut listed.in_parquet, &ObjectName::Data(place.clone()).to_string());
            }
            ObjectName::Tail(..) => listed.tails += 1,
            ObjectName::Range(..) | ObjectName::Keys(..) => {
                if let ObjectName::Range(log, first, 0) = &name {
                    listed.ranges += 1;
                    let here = (log.epoch(), *first);
                    let (least, most) = listed.range_ends.unwrap_or((here, here));
                    listed.range_ends = Some((least.min(here), most.max(here)));
                }
                listed.proof.add(&object, key, state.proof_of(id));
            }
            ObjectName::Checkpoint(log, size) => {
                let here = (log.epoch(), *size, object.modified);
                listed.newest = listed.newest.max(Some(here));
                listed.proof.add(&object, key, state.proof_of(id));
            }
        }
        Ok(())
    }
}

impl Names {
    pub(crate) fn add(&mut self, name: &str) {
        self.count += 1;
        self.in_tables += u64::from(is_in_table(name));
        if self.first.len() < MOST_SHOWN {
            self.first.push(name.to_owned());
        }
    }
}

/// Whether engines read what has this name.
pub(crate) fn is_in_table(name: &str) -> bool {
    name.starts_with("data/") || name.starts_with("parquet/")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names in a listing, and whether it begins with what was known.
    fn listed(names: &[&str], known: Option<(u64, [u8; 32])>) -> Sequence {
        let key = SumKey([7; 32]);
        let mut sequence = Sequence::default();
        for name in names {
            let object = Object { name: (*name).to_owned(), size: 1, ..Object::default() };
            sequence.add(&object, &key, known);
        }
        sequence.end(known);
        sequence
    }

    #[test]
    fn a_store_that_lists_out_of_order_lists_nothing_unchanged() {
        let before = listed(&["a", "c"], None);
        let known = Some((before.count, before.hash));
        assert!(listed(&["a", "c"], known).same);
        assert!(listed(&["a", "c", "d"], known).same);
        // What was put since would be taken for what was looked at before.
        assert!(!listed(&["a", "c", "b"], known).same);
        assert!(!listed(&["c", "a"], Some((0, [0; 32]))).same);
    }
}
