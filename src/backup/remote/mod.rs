//! Backups in a store elsewhere: sent, listed, fetched, removed.
//!
//! Below the destination's prefix each log of each host has a folder,
//! `<host>/<first 12 digits of the log's id>/`, so that permissions can be given
//! by host and a host that was set up anew does not mix its histories. In it are
//! the same two files as on the disk, and as there the metadata comes last and
//! goes first.

mod fetch;
mod list;
mod removal;
mod upload;

use std::sync::Arc;

pub use fetch::{Fetched, RemoteWish};
pub(crate) use upload::MAX_STATE_BYTES as MAX_UPLOAD_STATE_BYTES;
pub use upload::Uploaded;

use super::error::BackupError;
use super::metadata::{MAX_METADATA_BYTES, Metadata, MetadataError};
use super::name::BackupId;
use crate::store::{BackupStore, Object, StoreError, StoreErrorKind};

/// How many files of backups are looked at: those of an hourly backup over twenty years.
const MOST_KEPT: usize = 400_000;

/// How much of a log's id its folder is named by.
const LOG_DIGITS: usize = 12;

/// A folder of backups in a store.
#[derive(Clone, Debug)]
pub struct Remote {
    store: Arc<dyn BackupStore>,
    folder: String,
}

impl Remote {
    /// The folder of a host's log.
    #[must_use]
    pub fn new(store: Arc<dyn BackupStore>, host: &str, log_id: &str) -> Self {
        Self { store, folder: folder(host, log_id) }
    }

    /// Everything below the destination, of whichever host and log; to look at.
    #[must_use]
    pub fn everything(store: Arc<dyn BackupStore>) -> Self {
        Self { store, folder: String::new() }
    }

    /// The folder's URL.
    #[must_use]
    pub fn place(&self) -> String {
        self.store.url(&self.folder)
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &dyn BackupStore {
        &*self.store
    }

    /// Shows what is in the folder and below it. `keep` says how much it keeps of that,
    /// which has a bound.
    fn visit(
        &self,
        keep: &mut dyn FnMut(Object) -> Result<usize, StoreError>,
    ) -> Result<(), StoreError> {
        self.store.visit(&self.folder, &mut |object| {
            if keep(object)? <= MOST_KEPT {
                return Ok(());
            }
            let message = format!("there are more than {MOST_KEPT} files of backups");
            Err(StoreError::new(StoreErrorKind::Other, self.place(), message)
                .hint("name a longer prefix: --destination BUCKET/PREFIX"))
        })
    }

    fn name(&self, file: &str) -> String {
        format!("{}{file}", self.folder)
    }

    /// The metadata of a backup below the store's prefix, its form checked and
    /// nothing else; and its bytes, of which there are no more than `most`.
    fn metadata(
        &self,
        name: &str,
        id: BackupId,
        most: u64,
    ) -> Result<(Metadata, Vec<u8>), BackupError> {
        let most = most.min(MAX_METADATA_BYTES);
        let bad = |what| BackupError::Metadata { path: self.store.url(name).into(), what };
        let mut body = self.store.open(name, None, 0)?.take(most + 1);
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes).map_err(|error| broken(&*self.store, name, error))?;
        if bytes.len() as u64 > most {
            let why = format!("it is longer than the {most} bytes that it has, or may have");
            return Err(bad(MetadataError::Altered(why)));
        }
        let metadata = Metadata::parse(&bytes, id)
            .map_err(|what| BackupError::metadata(self.store.url(name), what))?;
        Ok((metadata, bytes))
    }
}

use std::io::Read as _;

/// `<host>/<first digits of the log's id>/`; of the host's name what an object's
/// name may hold.
fn folder(host: &str, log_id: &str) -> String {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let host: String = host.chars().map(|c| if fine(c) { c } else { '-' }).collect();
    let host = host.trim_matches('.');
    let host = if host.is_empty() { "unnamed" } else { host };
    let digits: String =
        log_id.chars().filter(char::is_ascii_alphanumeric).take(LOG_DIGITS).collect();
    format!("{host}/{digits}/")
}

/// What a store's reader says.
fn broken(store: &dyn BackupStore, name: &str, error: std::io::Error) -> BackupError {
    match error.downcast::<StoreError>() {
        Ok(error) => error.into(),
        Err(error) => StoreError::new(StoreErrorKind::Unreachable, store.url(name), "broke off")
            .caused_by(&error)
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::folder;

    #[test]
    fn a_folder_is_named_by_host_and_log() {
        assert_eq!(folder("web-1.acme", "0123456789abcdef"), "web-1.acme/0123456789ab/");
        assert_eq!(folder("a/../b c", "01"), "a-..-b-c/01/");
        assert_eq!(folder("..", "01"), "unnamed/01/");
    }
}
