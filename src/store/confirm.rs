//! Putting exactly once, and believing only what the store says it has.
//!
//! The same for all providers: look first unless told not to, send with the condition that nothing
//! is there, and look again. If the condition failed, somebody was first, and that
//! somebody may have been an attempt of ours whose answer was lost: the same
//! content is then success, another is an error that no retry can mend.

use std::io::Read;

use crc_fast::{CrcAlgorithm, Digest as Crc};
use sha2::{Digest, Sha256};

use super::backup_store::BackupStore;
use super::error::{StoreError, StoreErrorKind};
use super::object::{Checksum, Lock, Object};
use super::put::{Body, Put};

/// What a provider's own upload came to.
pub(crate) enum Sent {
    /// It was taken, as this version if the bucket keeps versions.
    As(Option<String>),
    /// An object of that name was there already.
    NameTaken,
}

/// Runs `upload` if there is nothing of that name, and settles what is there then.
pub(crate) fn put_once(
    store: &dyn BackupStore,
    name: &str,
    mut put: Put<'_>,
    upload: impl FnOnce(&mut Put<'_>) -> Result<Sent, StoreError>,
) -> Result<Object, StoreError> {
    let url = store.url(name);
    if put.is_interrupted() {
        return Err(StoreError::new(StoreErrorKind::Interrupted, url, "interrupted"));
    }
    if put.looks_first
        && let Some(object) = store.stat(name)?
    {
        return settle(store, object, &put, None);
    }
    check(&put, &url)?;
    let version = match upload(&mut put)? {
        Sent::As(version) => Some(version),
        Sent::NameTaken => None,
    };
    let there = match store.stat(name) {
        // What others put there may be under a key of theirs.
        Err(error) if version.is_none() && is_hidden(&error) => {
            let message = "exists already, and cannot be looked at";
            return Err(StoreError::new(StoreErrorKind::ExistsAndDiffers, url, message)
                .caused_by(&error)
                .hint("nothing was replaced; find out what wrote it"));
        }
        there => there?,
    };
    let Some(object) = there else {
        let message = "was accepted by the store, but is not there";
        return Err(StoreError::new(StoreErrorKind::Unconfirmed, url, message).retryable());
    };
    settle(store, object, &put, version)
}

/// Whether an object may be there all the same.
fn is_hidden(error: &StoreError) -> bool {
    matches!(error.kind, StoreErrorKind::AccessDenied | StoreErrorKind::Other) && !error.retryable
}

/// Whether what is there is what was to be put. `sent` holds the version that the
/// store gave to our upload, and is none when the object was there before.
fn settle(
    store: &dyn BackupStore,
    object: Object,
    put: &Put<'_>,
    sent: Option<Option<String>>,
) -> Result<Object, StoreError> {
    let url = store.url(&object.name);
    if let (Some(Some(ours)), Some(found)) = (&sent, &object.version)
        && ours != found
    {
        let message = format!("version {found} is newer than the one that was stored, {ours}");
        return Err(StoreError::new(StoreErrorKind::Unconfirmed, url, message)
            .hint("another program writes there; only auditctl should"));
    }
    let differs = |what: String| {
        if sent.is_some() {
            let message = format!("arrived altered: {what}");
            StoreError::new(StoreErrorKind::ChecksumMismatch, url.clone(), message)
                .hint("remove the object; if it happens again, check memory and network")
        } else {
            let message = format!("exists already and holds something else: {what}");
            StoreError::new(StoreErrorKind::ExistsAndDiffers, url.clone(), message)
                .hint("nothing was replaced; find out what wrote it")
        }
    };
    let digests = put.body.digests();
    if object.size != digests.bytes {
        return Err(differs(format!("it has {} bytes of {}", object.size, digests.bytes)));
    }
    let same = match object.checksum {
        Some(Checksum::Sha256(found)) => found == digests.sha256,
        Some(Checksum::Crc64Nvme(found)) => found == digests.crc64nvme,
        Some(Checksum::Crc32c(found)) => found == digests.crc32c,
        Some(Checksum::Md5(found)) => md5_of(put)? == Some(found),
        None => read_back(store, &object)? == digests.sha256,
    };
    if !same {
        let found = object.checksum.map_or("its SHA-256".to_owned(), |sum| sum.to_string());
        return Err(differs(format!("{found} is not the checksum of what was sent")));
    }
    if let Some(lock) = put.lock {
        check_lock(&object, lock, &url)?;
    }
    Ok(object)
}

/// For stores that give no checksum: all bytes, as they are there.
fn read_back(store: &dyn BackupStore, object: &Object) -> Result<[u8; 32], StoreError> {
    let mut reader = store.open(&object.name, object.version.as_deref(), 0)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finalize().into()),
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) => {
                let message = "could not be read back, and the store gives no checksum";
                let url = store.url(&object.name);
                let failed = StoreError::new(StoreErrorKind::Unconfirmed, url, message);
                let retry = StoreError::inside(&error).is_none_or(|inner| inner.retryable);
                let failed = failed.caused_by(&error);
                return Err(if retry { failed.retryable() } else { failed });
            }
        }
    }
}

fn check_lock(object: &Object, lock: Lock, url: &str) -> Result<(), StoreError> {
    // Stores keep whole seconds.
    let long_enough =
        object.locked_until.is_some_and(|until| until.unix_seconds() >= lock.until.unix_seconds());
    if long_enough && object.lock_mode == Some(lock.mode) {
        return Ok(());
    }
    let found = match (object.locked_until, object.lock_mode) {
        (Some(until), Some(mode)) => format!("it is locked until {until} ({mode})"),
        _ => "it is not locked".to_owned(),
    };
    let message = format!(
        "is stored, but should be locked until {} ({}), and {found}",
        lock.until, lock.mode
    );
    Err(StoreError::new(StoreErrorKind::LockNotApplied, url, message)
        .hint("the bucket needs object lock (immutability, object retention) and versioning"))
}

/// Whether a file still is what its digests say. Stores compare what they get with a
/// checksum too, but not all do it always, and none can tell that a disk was wrong.
fn check(put: &Put<'_>, url: &str) -> Result<(), StoreError> {
    let Body::File { path, digests } = put.body else { return Ok(()) };
    let mut sha256 = Sha256::new();
    let mut crc64 = Crc::new(CrcAlgorithm::Crc64Nvme);
    let mut crc32 = Crc::new(CrcAlgorithm::Crc32Iscsi);
    put.body.open()?.for_each(0, digests.bytes, |bytes| {
        sha256.update(bytes);
        crc64.update(bytes);
        crc32.update(bytes);
        if put.is_interrupted() {
            return Err(StoreError::new(StoreErrorKind::Interrupted, url, "interrupted"));
        }
        Ok(())
    })?;
    let same = <[u8; 32]>::from(sha256.finalize()) == digests.sha256
        && crc64.finalize() == digests.crc64nvme
        && crc32.finalize() == u64::from(digests.crc32c);
    if same {
        return Ok(());
    }
    let message = "does not hold what it held when its checksums were taken";
    Err(StoreError::new(StoreErrorKind::LocalFile, path.display().to_string(), message)
        .hint("nothing was sent; run `auditctl list --verify content`, and make the backup again"))
}

/// MD5 over the body as it is now, which must still be what its digests say. None
/// in builds without a provider that has MD5.
#[cfg(feature = "azure")]
pub(crate) fn md5_of(put: &Put<'_>) -> Result<Option<[u8; 16]>, StoreError> {
    use md5::Md5;

    let body = &put.body;
    let digests = body.digests();
    let (mut md5, mut sha256) = (Md5::new(), Sha256::new());
    body.open()?.for_each(0, digests.bytes, |bytes| {
        md5.update(bytes);
        sha256.update(bytes);
        if put.is_interrupted() {
            return Err(StoreError::new(StoreErrorKind::Interrupted, "the file", "interrupted"));
        }
        Ok(())
    })?;
    let same = <[u8; 32]>::from(sha256.finalize()) == digests.sha256;
    Ok(same.then(|| md5.finalize().into()))
}

#[cfg(not(feature = "azure"))]
fn md5_of(_put: &Put<'_>) -> Result<Option<[u8; 16]>, StoreError> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::LocalStore;
    use crate::store::fault::{FaultStore, Operation};

    #[test]
    fn who_expects_a_new_name_does_not_look_at_it_before_it_is_sent() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = FaultStore::new(LocalStore::new(dir.path()));
        for (looks_first, looked) in [(true, 1), (false, 0)] {
            let put = Put { looks_first, ..Put::new(Body::Bytes(b"a"), "text/plain") };
            let before = store.calls(Operation::Stat);
            let mut asked = None;
            // Nothing is stored, so that it says that nothing is there.
            let result = put_once(&store, "a", put, |_| {
                asked = Some(store.calls(Operation::Stat) - before);
                Ok(Sent::As(None))
            });
            assert_eq!(result.expect_err("not there").kind, StoreErrorKind::Unconfirmed);
            assert_eq!(asked, Some(looked));
        }
    }

    #[test]
    fn a_name_that_is_taken_is_found_out_without_looking_first() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = LocalStore::new(dir.path());
        let put = |bytes| {
            let put = Put::new(Body::Bytes(bytes), "text/plain");
            store.put_new("a", Put { looks_first: false, ..put })
        };
        put(b"a").expect("stored");
        put(b"a").expect("the same");
        assert_eq!(put(b"b").expect_err("taken").kind, StoreErrorKind::ExistsAndDiffers);
    }
}
