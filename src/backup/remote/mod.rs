//! Backups in a store elsewhere: sent, listed, fetched, removed.
//!
//! Below the destination's prefix each log of each host has a folder,
//! `<host>/<first 12 digits of the log's id>/`, so that permissions can be given
//! by host. A log's backups are found by the second part, under whichever host:
//! hosts are renamed, and pods have a new name each. In the folder are the same two
//! files as on the disk, and as there the metadata comes last and goes first.
//!
//! A folder's name is a hint. What a backup is of, its metadata say, whose signatures
//! are checked with the log's own keys where they are known.

mod fetch;
mod list;
mod removal;
mod upload;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use fetch::{Fetched, RemoteWish};
pub(crate) use upload::MAX_STATE_BYTES as MAX_UPLOAD_STATE_BYTES;
pub use upload::Uploaded;

use super::error::BackupError;
use super::metadata::{MAX_METADATA_BYTES, Metadata, MetadataError};
use super::name::BackupId;
use crate::audit::read::watch::Watch;
use crate::store::{BackupStore, Object, StoreError, StoreErrorKind};

/// How many files of backups are looked at: those of an hourly backup over twenty years.
const MOST_KEPT: usize = 400_000;

/// How many are looked at at a time.
const AT_ONCE: usize = 8;

/// How much of a log's id its folder is named by.
const LOG_DIGITS: usize = 12;

/// Backups in a store: those of a folder, of a log, or all.
#[derive(Clone, Debug)]
pub struct Remote {
    store: Arc<dyn BackupStore>,
    /// Where this host's backups of the log go.
    folder: String,
    sees: Sees,
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sees {
    /// The folder.
    Folder,
    /// Every host's folder of the log whose id begins so.
    Log(String),
    /// Everything.
    All,
}

impl Remote {
    /// The folder of a host's log.
    #[must_use]
    pub fn new(store: Arc<dyn BackupStore>, host: &str, log_id: &str) -> Self {
        Self { store, folder: folder(host, log_id), sees: Sees::Folder }
    }

    /// A log's backups, whichever host made them.
    #[must_use]
    pub fn of_log(store: Arc<dyn BackupStore>, host: &str, log_id: &str) -> Self {
        Self { store, folder: folder(host, log_id), sees: Sees::Log(digits(log_id)) }
    }

    /// Everything below the destination, of whichever host and log.
    #[must_use]
    pub fn everything(store: Arc<dyn BackupStore>) -> Self {
        Self { store, folder: String::new(), sees: Sees::All }
    }

    /// One folder of those that are seen.
    fn of_folder(&self, folder: &str) -> Self {
        Self { store: Arc::clone(&self.store), folder: folder.to_owned(), sees: Sees::Folder }
    }

    /// A folder by its URL, as lists show it.
    fn of_place(&self, place: &str) -> Self {
        self.of_folder(place.strip_prefix(&self.store.url("")).unwrap_or_default())
    }

    /// The URL of what is looked at.
    #[must_use]
    pub fn place(&self) -> String {
        match self.sees {
            Sees::Folder => self.store.url(&self.folder),
            Sees::Log(_) | Sees::All => self.store.url(""),
        }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &dyn BackupStore {
        &*self.store
    }

    /// Shows every object that is looked at: its folder, its name there, and itself.
    /// `keep` says how much it keeps of that, which has a bound. Says what could not be
    /// looked at.
    fn visit(
        &self,
        keep: &mut dyn FnMut(&str, &str, Object) -> Result<usize, StoreError>,
    ) -> Result<Option<String>, StoreError> {
        let mut see = |object: Object| {
            let (folder, file) = match object.name.rfind('/') {
                Some(at) => object.name.split_at(at + 1),
                None => ("", object.name.as_str()),
            };
            let (folder, file) = (folder.to_owned(), file.to_owned());
            if !self.looks_at(&folder) || keep(&folder, &file, object)? <= MOST_KEPT {
                return Ok(());
            }
            let message = format!("there are more than {MOST_KEPT} files of backups");
            Err(StoreError::new(StoreErrorKind::Other, self.place(), message)
                .hint("name a longer prefix: --destination BUCKET/PREFIX"))
        };
        let below = if self.sees == Sees::Folder { self.folder.as_str() } else { "" };
        match self.store.visit(below, &mut see) {
            Ok(()) => Ok(None),
            // Who may see only one host's folder still sees that.
            Err(error)
                if error.kind == StoreErrorKind::AccessDenied
                    && matches!(self.sees, Sees::Log(_)) =>
            {
                self.store.visit(&self.folder, &mut see).map_err(|_| error)?;
                let (all, own) = (self.place(), self.store.url(&self.folder));
                Ok(Some(format!(
                    "the credentials allow {own} to be listed, but not {all}: backups under other \
                     hosts' names are unknown"
                )))
            }
            Err(error) => Err(error),
        }
    }

    fn looks_at(&self, folder: &str) -> bool {
        match &self.sees {
            Sees::Folder => folder == self.folder,
            Sees::Log(digits) => last_part(folder) == digits,
            Sees::All => true,
        }
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
    format!("{host}/{}/", digits(log_id))
}

/// What the folders of a log are named by.
fn digits(log_id: &str) -> String {
    log_id.chars().filter(char::is_ascii_alphanumeric).take(LOG_DIGITS).collect()
}

/// `0123456789ab` of `web-1/0123456789ab/`.
fn last_part(folder: &str) -> &str {
    let folder = folder.strip_suffix('/').unwrap_or(folder);
    folder.rsplit('/').next().unwrap_or(folder)
}

/// Looks at many things, a few at a time: each look is a few round trips. The order is
/// lost; the first error ends it.
fn a_few_at_a_time<T: Sync, R: Send>(
    things: &[T],
    watch: &dyn Watch,
    look: &(dyn Fn(&T) -> Result<R, BackupError> + Sync),
) -> Result<Vec<R>, BackupError> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Ok(Vec::with_capacity(things.len())));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(things.len()) {
            scope.spawn(|| {
                while let Some(thing) = things.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let seen = if watch.interrupted() {
                        Err(BackupError::Interrupted)
                    } else {
                        look(thing)
                    };
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    match (seen, &mut *found) {
                        (Ok(seen), Ok(all)) => all.push(seen),
                        (Err(error), Ok(_)) => {
                            *found = Err(error);
                            return;
                        }
                        (_, Err(_)) => return,
                    }
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
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
    use std::sync::Arc;
    use std::time::Duration;

    use super::{Remote, folder, last_part};
    use crate::store::{
        BackupStore, Body, LocalStore, Object, Page, Put, Reading, Removed, StoreError,
        StoreErrorKind,
    };

    /// A store that lists one host's folder and no other.
    #[derive(Debug)]
    struct Narrow(LocalStore, &'static str);

    impl BackupStore for Narrow {
        fn url(&self, name: &str) -> String {
            self.0.url(name)
        }

        fn page(&self, below: &str, after: Option<&str>) -> Result<Page, StoreError> {
            if below.starts_with(self.1) {
                return self.0.page(below, after);
            }
            Err(StoreError::new(StoreErrorKind::AccessDenied, self.url(below), "denied"))
        }

        fn stat_version(&self, name: &str, at: Option<&str>) -> Result<Option<Object>, StoreError> {
            self.0.stat_version(name, at)
        }

        fn open(
            &self,
            name: &str,
            version: Option<&str>,
            from: u64,
        ) -> Result<Reading, StoreError> {
            self.0.open(name, version, from)
        }

        fn put_new(&self, name: &str, put: Put<'_>) -> Result<Object, StoreError> {
            self.0.put_new(name, put)
        }

        fn remove(&self, name: &str, version: Option<&str>) -> Result<Removed, StoreError> {
            self.0.remove(name, version)
        }

        fn abort_stale_uploads(&self, older_than: Duration) -> Result<u64, StoreError> {
            self.0.abort_stale_uploads(older_than)
        }
    }

    fn store() -> (tempfile::TempDir, LocalStore) {
        let place = tempfile::tempdir().expect("temporary directory");
        let store = LocalStore::new(place.path());
        for folder in ["web-1/0123456789ab/", "web-2/0123456789ab/", "web-1/ffff56789abc/"] {
            let name = format!("{folder}audit_backup_20260101_000000.json");
            store.put_new(&name, Put::new(Body::Bytes(b"{}"), "application/json")).expect("put");
        }
        (place, store)
    }

    /// B11
    #[test]
    fn of_a_log_every_hosts_folder_is_seen_and_no_other_logs() {
        let (_place, store) = store();
        let remote = Remote::of_log(Arc::new(store), "web-3", "0123456789abcdef");
        let mut seen = Vec::new();
        let unseen = remote.visit(&mut |folder, _, _| {
            seen.push(folder.to_owned());
            Ok(0)
        });
        assert_eq!(unseen.expect("listed"), None);
        seen.sort();
        assert_eq!(seen, ["web-1/0123456789ab/", "web-2/0123456789ab/"]);
    }

    #[test]
    fn who_may_list_only_one_hosts_folder_sees_that_and_is_told() {
        let (_place, store) = store();
        let store = Arc::new(Narrow(store, "web-1/"));
        let of = |host| Remote::of_log(store.clone(), host, "0123456789abcdef");
        let mut seen = Vec::new();
        let unseen = of("web-1").visit(&mut |folder, _, _| {
            seen.push(folder.to_owned());
            Ok(0)
        });
        assert!(unseen.expect("listed").expect("told").contains("to be listed, but not"));
        assert_eq!(seen, ["web-1/0123456789ab/"]);
        // Where not even that may be seen, it is an error, not an empty list.
        let error = of("web-9").visit(&mut |_, _, _| Ok(0)).expect_err("denied");
        assert_eq!(error.kind, StoreErrorKind::AccessDenied);
    }

    #[test]
    fn a_folder_is_named_by_host_and_log() {
        assert_eq!(folder("web-1.acme", "0123456789abcdef"), "web-1.acme/0123456789ab/");
        assert_eq!(folder("a/../b c", "01"), "a-..-b-c/01/");
        assert_eq!(folder("..", "01"), "unnamed/01/");
        assert_eq!(last_part("web-1/0123456789ab/"), "0123456789ab");
        assert_eq!((last_part("0123456789ab/"), last_part("")), ("0123456789ab", ""));
    }
}
