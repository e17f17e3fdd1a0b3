//! Whether an archive takes what is shipped, tried without leaving anything there.

use std::path::Path;

use super::error::ArchiveError;
use super::layout::{LogName, ObjectName};
use super::position::Position;
use crate::fsio::Fs;
use crate::store::{BackupStore, Body, Put, StoreError, StoreErrorKind};

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probed {
    /// It takes new objects, and keeps those that it has.
    Takes,
    /// It answers; nothing of the log was shipped there yet, so that nothing more can be tried.
    Answers,
}

/// Asks for an object that has to be there, and puts it again on condition that it is not: who may
/// put is told that it is there, who may not is told that, and nothing is written. Where nothing
/// was shipped yet, one object is asked for.
///
/// # Errors
/// The store does not answer, or does not let this host ask or put.
pub fn probe(store: &dyn BackupStore, fs: &dyn Fs, log_dir: &Path) -> Result<Probed, ArchiveError> {
    let position = Position::load(fs, log_dir)?;
    let position = position.filter(|position| position.destination == store.url(""));
    let keys = position.and_then(|position| {
        let log = LogName::new(&position.log_id, position.epoch)?;
        Some(ObjectName::Keys(log, position.key_changes?, 0).to_string())
    });
    let Some(name) = keys else {
        // A directory, or the bucket, has to be there.
        store.page("proof/", None)?;
        return Ok(Probed::Answers);
    };
    if store.stat(&name)?.is_none() {
        return Err(ArchiveError::Missing {
            object: store.url(&name),
            what: "it was shipped there, and is not there any more".to_owned(),
        });
    }
    let put = Put { looks_first: false, ..Put::new(Body::Bytes(b"\n"), "text/plain") };
    match store.put_new(&name, put) {
        Err(StoreError { kind: StoreErrorKind::ExistsAndDiffers, .. }) => Ok(Probed::Takes),
        Err(error) => Err(error.into()),
        Ok(_) => Err(ArchiveError::Object {
            object: store.url(&name),
            what:
                "the store replaced it, though it was to be put only if nothing of that name was \
                   there: it does not honour If-None-Match"
                    .to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsio::OsFs;
    use crate::store::LocalStore;

    #[test]
    fn an_archive_is_tried_without_leaving_anything() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = LocalStore::new(dir.path());
        assert_eq!(probe(&store, &OsFs, dir.path()).expect("there"), Probed::Answers);
        assert_eq!(std::fs::read_dir(dir.path()).expect("there").count(), 0);
        let gone = LocalStore::new(dir.path().join("gone"));
        probe(&gone, &OsFs, dir.path()).expect_err("not there");
    }
}
