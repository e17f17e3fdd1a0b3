//! An archive's objects, read; what is missing or wrong is named by its URL.

use std::sync::Arc;

use super::documents::{MAX_DOCUMENT_BYTES, RangeProof, signed};
use super::error::{ArchiveError, cut};
use super::layout::{LogName, Nth, ObjectName};
use super::members::Tail;
use super::names::{TailThere, fetch, fetch_end};
use crate::audit::keys::Keyring;
use crate::audit::keys::checkpoint::{Checkpoint, MAX_NOTE_BYTES};
use crate::backup::Marker;
use crate::store::BackupStore;

/// An archive that is read.
#[derive(Clone, Debug)]
pub(crate) struct Bucket(pub(crate) Arc<dyn BackupStore>);

impl Bucket {
    /// For people.
    pub(crate) fn place(&self) -> String {
        self.0.url("")
    }

    pub(crate) fn url(&self, name: &ObjectName) -> String {
        self.0.url(&name.to_string())
    }

    /// An object that has to be there.
    pub(crate) fn fetch(&self, name: &ObjectName, most: u64) -> Result<Vec<u8>, ArchiveError> {
        fetch(&*self.0, name, most)?.ok_or_else(|| ArchiveError::Missing {
            object: self.url(name),
            what: "what is committed needs it".to_owned(),
        })
    }

    /// The proof of the range that begins with that record.
    pub(crate) fn proof(
        &self,
        log: &LogName,
        (first, nth): (u64, Nth),
        keys: &Keyring,
    ) -> Result<(RangeProof, Checkpoint), ArchiveError> {
        let name = ObjectName::Range(log.clone(), first, nth);
        let bytes = self.fetch(&name, MAX_DOCUMENT_BYTES)?;
        RangeProof::read(&bytes, &name, keys).map_err(|error| error.of(self.url(&name)))
    }

    /// The checkpoint of that size, and its note.
    pub(crate) fn checkpoint(
        &self,
        log: &LogName,
        size: u64,
        keys: &Keyring,
    ) -> Result<(Checkpoint, String), ArchiveError> {
        let name = ObjectName::Checkpoint(log.clone(), size);
        let note = self.fetch(&name, MAX_NOTE_BYTES as u64)?;
        let wrong = |what: String| self.wrong(&name, format!("checkpoint: {what}"));
        let checkpoint = signed(&note, log, keys).map_err(wrong)?;
        if checkpoint.size != size {
            return Err(wrong(format!("it is over {} records", checkpoint.size)));
        }
        Ok((checkpoint, String::from_utf8_lossy(&note).into_owned()))
    }

    /// What a tail's marker says, if a key of the log signed it. Its records are not read.
    pub(crate) fn marker(
        &self,
        log: &LogName,
        tail: &TailThere,
        keys: &Keyring,
    ) -> Result<(Marker, Checkpoint), ArchiveError> {
        let name = tail.name(log);
        let bytes = fetch_end(&*self.0, log, tail)?.ok_or_else(|| ArchiveError::Missing {
            object: self.url(&name),
            what: "it was listed a moment ago".to_owned(),
        })?;
        let wrong = |what: String| self.wrong(&name, what);
        let tail_end = Tail::of(&bytes).map_err(wrong)?;
        let checkpoint = tail_end.signed(log, tail.first, keys).map_err(wrong)?;
        Ok((tail_end.marker, checkpoint))
    }

    pub(crate) fn wrong(&self, name: &ObjectName, what: impl Into<String>) -> ArchiveError {
        ArchiveError::Object { object: self.url(name), what: cut(what.into()) }
    }
}

/// What an object that is not what it should be is passed over for: others may have put it
/// there, also one that cannot be read, or says that a newer version made it. Everything else
/// (no connection) stays an error.
pub(crate) fn unless_foreign<T>(
    read: Result<T, ArchiveError>,
) -> Result<Result<T, ArchiveError>, ArchiveError> {
    match read {
        Ok(found) => Ok(Ok(found)),
        Err(error @ (ArchiveError::Object { .. } | ArchiveError::Missing { .. })) => {
            tracing::warn!("{error}; it is passed over");
            Ok(Err(error))
        }
        Err(error) if error.is_unread() => {
            tracing::warn!("{error}; it is passed over");
            Ok(Err(error))
        }
        Err(error) => Err(error),
    }
}
