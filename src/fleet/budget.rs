//! So much is read for one log, and no more: whoever fills one log's part of a bucket keeps the
//! check of that log from its end, and not the check of the others.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::store::{
    BackupStore, Object, Page, Put, Reading, Removed, StoreError, StoreErrorKind, VersionsPage,
};
use crate::units::human_bytes;

/// How much is read for one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// So many objects are listed, and so many are asked for.
    pub objects: u64,
    /// So many bytes are read.
    pub bytes: u64,
}

impl Default for Most {
    /// A host leaves about 35,000 objects a year, beside its tails.
    fn default() -> Self {
        Self { objects: 1_000_000, bytes: 1 << 40 }
    }
}

/// A store that gives so much.
#[derive(Debug)]
pub(super) struct Budget {
    store: Arc<dyn BackupStore>,
    most: Most,
    listed: AtomicU64,
    asked: AtomicU64,
    read: Arc<AtomicU64>,
}

impl Budget {
    pub(super) fn new(store: Arc<dyn BackupStore>, most: Most) -> Self {
        let (listed, asked) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { store, most, listed, asked, read: Arc::default() }
    }

    fn spend(&self, of: &AtomicU64, name: &str, done: &str) -> Result<(), StoreError> {
        let most = self.most.objects;
        if of.fetch_add(1, Ordering::Relaxed) < most {
            return Ok(());
        }
        let what = format!("more than {most} objects were {done} for this log");
        Err(too_much(self.url(name), &what))
    }
}

fn too_much(url: String, what: &str) -> StoreError {
    let message = format!("{what}: the rest of it is not checked");
    StoreError::new(StoreErrorKind::TooMuch, url, message)
}

/// Counts what is read.
struct Counted {
    reading: Reading,
    url: String,
    read: Arc<AtomicU64>,
    most: u64,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reading.read(buffer)?;
        let before = self.read.fetch_add(length as u64, Ordering::Relaxed);
        if before.saturating_add(length as u64) > self.most {
            let what = format!("more than {} were read for this log", human_bytes(self.most));
            return Err(too_much(self.url.clone(), &what).into());
        }
        Ok(length)
    }
}

impl BackupStore for Budget {
    fn url(&self, name: &str) -> String {
        self.store.url(name)
    }

    fn endpoint(&self) -> Result<Option<String>, StoreError> {
        self.store.endpoint()
    }

    fn page(&self, below: &str, after: Option<&str>) -> Result<Page, StoreError> {
        let page = self.store.page(below, after)?;
        page.objects.iter().try_for_each(|it| self.spend(&self.listed, &it.name, "listed"))?;
        Ok(page)
    }

    fn now(&self) -> Result<Option<Timestamp>, StoreError> {
        self.store.now()
    }

    fn versions_page(&self, below: &str, after: Option<&str>) -> Result<VersionsPage, StoreError> {
        self.store.versions_page(below, after)
    }

    fn stat_version(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<Object>, StoreError> {
        self.spend(&self.asked, name, "asked for")?;
        self.store.stat_version(name, version)
    }

    fn open(&self, name: &str, version: Option<&str>, from: u64) -> Result<Reading, StoreError> {
        self.spend(&self.asked, name, "asked for")?;
        let (read, most) = (Arc::clone(&self.read), self.most.bytes);
        let reading = self.store.open(name, version, from)?;
        Ok(Box::new(Counted { reading, url: self.url(name), read, most }))
    }

    fn put_new(&self, name: &str, put: Put<'_>) -> Result<Object, StoreError> {
        self.store.put_new(name, put)
    }

    fn remove(&self, name: &str, version: Option<&str>) -> Result<Removed, StoreError> {
        self.store.remove(name, version)
    }

    fn abort_stale_uploads(&self, older_than: Duration) -> Result<u64, StoreError> {
        self.store.abort_stale_uploads(older_than)
    }
}
