//! An archive's objects, read; what is missing or wrong is named by its URL.

use std::sync::Arc;

use super::documents::{MAX_DOCUMENT_BYTES, RangeProof};
use super::error::ArchiveError;
use super::layout::{LogName, ObjectName};
use super::names::fetch;
use crate::audit::keys::Keyring;
use crate::store::BackupStore;

/// An archive that is read.
#[derive(Clone, Debug)]
pub(super) struct Bucket(pub(super) Arc<dyn BackupStore>);

impl Bucket {
    /// For people.
    pub(super) fn place(&self) -> String {
        self.0.url("")
    }

    pub(super) fn url(&self, name: &ObjectName) -> String {
        self.0.url(&name.to_string())
    }

    /// An object that has to be there.
    pub(super) fn fetch(&self, name: &ObjectName, most: u64) -> Result<Vec<u8>, ArchiveError> {
        fetch(&*self.0, name, most)?.ok_or_else(|| ArchiveError::Missing {
            object: self.url(name),
            what: "what is committed needs it".to_owned(),
        })
    }

    /// The proof of the range that begins with that record.
    pub(super) fn proof(
        &self,
        log: &LogName,
        first: u64,
        keys: &Keyring,
    ) -> Result<RangeProof, ArchiveError> {
        let name = ObjectName::Range(log.clone(), first);
        let bytes = self.fetch(&name, MAX_DOCUMENT_BYTES)?;
        let read = RangeProof::read(&bytes, &name, keys);
        read.map(|(proof, _)| proof).map_err(|error| error.of(self.url(&name)))
    }

    pub(super) fn wrong(&self, name: &ObjectName, what: impl Into<String>) -> ArchiveError {
        ArchiveError::Object { object: self.url(name), what: what.into() }
    }
}
